//! **Owns** one thread of a workload: its clients from connecting to the last record, its windows.
//! **Lives on** a thread with a runtime of its own.
//! **Invariants** (1) Everybody is connected, and readers know their positions, before the thread says that it is ready. (2) A
//! failure of one client is told, so that the run ends with its text.
//! **Not here** when stages change (`conductor`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corelog_runtime::{Config, Instant, Runtime, now, random, sleep, sleep_until, spawn};
use corelog_tools::client::Client;
use corelog_tools::load::verify::Findings;

use super::reader::{Reader, Seen, missing};
use super::sender::{self, Role, Sent, letters};
use crate::meter::{Failures, Window};
use crate::workload::{Consumers, Workload};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Everybody connects.
    Prepare,
    /// Records are due.
    Run,
    /// What was sent is answered.
    Flush,
    /// Readers read to the end.
    Drain,
}

/// Topic, partition and run.
pub(super) type Place = (String, i32, u64);
/// The number after the last acknowledged record.
pub(super) type Acked = BTreeMap<Place, u64>;

/// What all threads look at.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) stage: AtomicU8,
    pub(super) begin: AtomicU64,
    pub(super) acked: OnceLock<Acked>,
    /// The first of this process's runs, and how many there are.
    pub(super) runs: (u64, u64),
    pub(super) stamped: BTreeSet<String>,
}

impl Control {
    pub(super) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }
}

/// What clients of one thread share.
pub(super) struct Thread {
    pub(super) workload: Arc<Workload>,
    pub(super) control: Arc<Control>,
    pub(super) meter: RefCell<Window>,
    pub(super) failures: RefCell<Failures>,
    pub(super) filler: Rc<[u8]>,
}

impl Thread {
    pub(super) fn stage(&self) -> Stage {
        match self.control.stage.load(Ordering::Acquire) {
            0 => Stage::Prepare,
            1 => Stage::Run,
            2 => Stage::Flush,
            _ => Stage::Drain,
        }
    }

    pub(super) fn begin(&self) -> Instant {
        Instant::from_nanos(self.control.begin.load(Ordering::Acquire))
    }

    pub(super) fn acked(&self) -> Option<&Acked> {
        self.control.acked.get()
    }

    pub(super) fn is_ours(&self, run: u64) -> bool {
        let (first, count) = self.control.runs;
        run.wrapping_sub(first) < count
    }

    pub(super) fn is_stamped(&self, topic: &str) -> bool {
        self.control.stamped.contains(topic)
    }
}

/// What a thread says.
pub(super) enum Said {
    Ready,
    Window(u64, Box<Window>),
    Flushed { sent: Sent, failures: Failures },
    Ended { findings: Vec<Checked> },
    Failed(String),
}

/// What readers of the same records found.
pub(super) struct Checked {
    pub(super) findings: Findings,
    pub(super) missing: u64,
    pub(super) shares: bool,
}

/// What one thread does.
pub(super) struct Share {
    pub(super) senders: Vec<Role>,
    /// Readers that know the same records.
    pub(super) readers: Vec<(Consumers, usize)>,
    pub(super) idle: Vec<(usize, Option<Duration>)>,
}

pub(super) fn runtime() -> Result<Runtime, String> {
    let config = Config {
        ring_entries: 4096,
        ..Config::default()
    };
    Runtime::new(&config).map_err(|error| error.to_string())
}

/// Runs a thread's share to its end.
pub(super) fn run(
    workload: Arc<Workload>,
    control: Arc<Control>,
    share: Share,
    say: Sender<Said>,
) -> Result<(), String> {
    let largest = workload
        .producers
        .iter()
        .map(|one| one.sizes.largest())
        .max();
    let runtime = runtime()?;
    runtime.run(async move {
        let thread = Rc::new(Thread {
            workload,
            control,
            meter: RefCell::default(),
            failures: RefCell::default(),
            filler: letters(largest.unwrap_or(0)),
        });
        drive(&thread, share, &say).await
    })
}

async fn drive(thread: &Rc<Thread>, share: Share, say: &Sender<Said>) -> Result<(), String> {
    // Whoever would hear it has gone only when the run has failed.
    let tell = |said: Said| {
        let _ = say.send(said);
    };
    let mut readers = Vec::new();
    let mut known = Vec::new();
    for (kind, clients) in share.readers {
        let kind = Rc::new(kind);
        let seen = Rc::new(RefCell::new(Seen {
            shares: kind.group.is_some(),
            ..Seen::default()
        }));
        let first = readers.len();
        for _ in 0..clients {
            readers.push(Reader::connect(thread, Rc::clone(&kind), Rc::clone(&seen)).await?);
        }
        until_positioned(thread, &readers[first..], &kind).await?;
        known.push((kind, seen));
    }
    let mut senders = Vec::new();
    for role in share.senders {
        let producer = sender::connect(&thread.workload.client, &role.kind).await?;
        senders.push((role, producer));
    }
    let mut idle = Vec::new();
    for (count, every) in share.idle {
        for index in 0..count {
            let client = Client::connect(thread.workload.client.clone())
                .await
                .map_err(|error| format!("connection {index} of {count}: {error}"))?;
            idle.push((client, every));
        }
    }
    tell(Said::Ready);
    while thread.stage() == Stage::Prepare {
        sleep(Duration::from_millis(2)).await;
    }
    let reporter = spawn("load.windows", windows(Rc::clone(thread), say.clone()));
    let readers: Vec<_> = readers
        .into_iter()
        .map(|reader| {
            spawn(
                "load.reader",
                guarded(say.clone(), reader.read(Rc::clone(thread))),
            )
        })
        .collect();
    let senders: Vec<_> = senders
        .into_iter()
        .map(|(role, producer)| {
            let work = sender::send(Rc::clone(thread), role, producer);
            spawn("load.sender", guarded(say.clone(), work))
        })
        .collect();
    let pings: Vec<_> = idle
        .into_iter()
        .map(|(client, every)| spawn("load.idle", ping(Rc::clone(thread), client, every)))
        .collect();
    let mut sent = Sent::default();
    for one in senders {
        if let Ok(Some(one)) = one.await {
            sent.ends.extend(one.ends);
            sent.failed += one.failed;
        }
    }
    // Without producers the load is as long as its windows.
    while thread.stage() == Stage::Run {
        sleep(Duration::from_millis(10)).await;
    }
    tell(Said::Flushed {
        sent,
        failures: thread.failures.borrow().clone(),
    });
    for one in readers {
        // A failure has been told.
        let _ = one.await;
    }
    while thread.stage() != Stage::Drain {
        sleep(Duration::from_millis(10)).await;
    }
    // One by one: what is left to the end of the runtime is cancelled all at once, and for that the kernel looks at every
    // connection for every connection (9,000: 46 s).
    for ping in pings {
        ping.cancel().await;
    }
    reporter.cancel().await;
    let findings = thread.acked().map_or_else(Vec::new, |acked| {
        known
            .iter()
            .map(|(kind, seen)| {
                let seen = seen.borrow();
                let mut findings = Findings::default();
                for checker in seen.checkers.values() {
                    let of_topic = checker.findings();
                    findings.good += of_topic.good;
                    findings.lost += of_topic.lost;
                    findings.duplicated += of_topic.duplicated;
                    findings.reordered += of_topic.reordered;
                }
                Checked {
                    findings,
                    missing: missing(&seen, acked, kind),
                    shares: seen.shares,
                }
            })
            .collect()
    });
    tell(Said::Ended { findings });
    Ok(())
}

/// Tells a failure, so that the whole run ends with it.
async fn guarded<T>(say: Sender<Said>, work: impl Future<Output = Result<T, String>>) -> Option<T> {
    match work.await {
        Ok(value) => Some(value),
        Err(error) => {
            let _ = say.send(Said::Failed(error));
            None
        }
    }
}

/// Waits until each reader knows where to begin, or all of a group's do together.
async fn until_positioned(
    thread: &Thread,
    readers: &[Reader],
    kind: &Consumers,
) -> Result<(), String> {
    let mut wanted = 0;
    let client = Client::connect(thread.workload.client.clone())
        .await
        .map_err(|error| error.to_string())?;
    for topic in &kind.topics {
        let count = client
            .topic(topic)
            .await
            .map_err(|error| format!("topic {topic}: {}", error.text()))?;
        wanted += usize::try_from(count).unwrap_or(0);
    }
    let until = now() + POSITION_PATIENCE;
    loop {
        let are_ready = if kind.group.is_some() {
            let has: usize = readers.iter().map(Reader::partitions).sum();
            has >= wanted
                && readers
                    .iter()
                    .all(|reader| reader.partitions() == 0 || reader.is_positioned())
        } else {
            readers.iter().all(Reader::is_positioned)
        };
        if are_ready {
            return Ok(());
        }
        if now() >= until {
            return Err(format!(
                "consumers of {} do not know where to begin after {} s",
                kind.topics.join(", "),
                POSITION_PATIENCE.as_secs()
            ));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Hands a window over at the end of each.
async fn windows(thread: Rc<Thread>, say: Sender<Said>) {
    let begin = thread.begin();
    sleep_until(begin).await;
    let (mut last, mut number) = (begin, 0);
    loop {
        let steps = u32::try_from(number + 1).unwrap_or(u32::MAX);
        sleep_until(begin + WINDOW * steps).await;
        let mut window = std::mem::take(&mut *thread.meter.borrow_mut());
        window.length = now() - last;
        last = now();
        if say.send(Said::Window(number, Box::new(window))).is_err() {
            return;
        }
        number += 1;
    }
}

async fn ping(thread: Rc<Thread>, client: Rc<Client>, every: Option<Duration>) {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    // They are not in step.
    let mut due = now() + every * u32::try_from(random() % 1_000).unwrap_or(0) / 1_000;
    loop {
        sleep_until(due).await;
        due = due + every;
        if client.refresh().await.is_ok() {
            thread.meter.borrow_mut().pings += 1;
        }
    }
}

/// How long a window is.
pub(super) const WINDOW: Duration = Duration::from_secs(1);
const POSITION_PATIENCE: Duration = Duration::from_mins(1);
