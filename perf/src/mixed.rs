//! **Owns** running a workload: threads, stages, windows, and what comes out of it; `corelog-perf mixed`.
//! **Lives on** the command's thread, which decides, and threads with a runtime each, which do.
//! **Invariants** (1) Everybody is connected, and readers know their positions, before the first record is due. (2) Measuring
//! begins and ends between two windows, and the broker's processor time is read there. (3) A failure of one client ends the
//! run with its text.
//! **Not here** what a workload may say (`workload`), what a client does (`sender`, `reader`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Config, Instant, Runtime, now, random, sleep, sleep_until, spawn};
use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Opt, Table, value};
use corelog_tools::client::Client;
use corelog_tools::client::admin::{Admin, NewTopic};
use corelog_tools::load::verify::Findings;
use corelog_tools::load::{cpu_time, to_f64};
use serde::Serialize;

use crate::meter::{Assembly, Failures, Window};
use crate::result::{BrokerCost, Cost, Flow, Moment, Origin, Second, Watched, put, text_of};
use crate::schedule::is_steady;
use crate::workload::{Consumers, Draft, STEADY_WITHIN, WarmUp, Workload, parse};

mod reader;
mod sender;

use reader::{Reader, Seen, missing};
use sender::{Role, Sent, letters};

const OPTIONS: &[Opt] = &[
    value(
        "workload",
        "file",
        "REQUIRED: the workload; see the README.",
    ),
    value(
        "bootstrap-server",
        "host:port,…",
        "The brokers; goes before the file's.",
    ),
    value(
        "seconds",
        "count",
        "How long to measure; goes before the file's.",
    ),
    value(
        "warm-up-seconds",
        "count|steady",
        "How long not to; goes before the file's.",
    ),
    value(
        "broker-pid",
        "pid",
        "A broker on this machine whose processor time to show.",
    ),
    value("json", "file", "Also write the result there."),
];

const TABLE: Table = Table {
    about: "Runs a workload of producers, consumers and connections, open loop, and measures it.",
    options: OPTIONS,
};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let given = match TABLE.parse(arguments) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let read = || -> Result<(Draft, Printing), String> {
        let path = given
            .one("workload")?
            .ok_or("--workload is not set: name a workload file (TOML)")?;
        let mut draft = parse(&text_of(path)?, path)?;
        draft.seconds = given.parsed("seconds")?.or(draft.seconds);
        if let Some(warm_up) = given.one("warm-up-seconds")? {
            draft.warm_up_seconds = Some(warm_up.into());
        }
        if let Some(bootstrap) = given.one("bootstrap-server")? {
            draft.bootstrap_server = Some(bootstrap.to_owned());
        }
        Ok((draft, Printing::read(&given)?))
    };
    match read() {
        Ok((draft, printing)) => carry_out("mixed", arguments, &draft, &printing, out),
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct Printing {
    /// Standard output is JSON.
    pub json: bool,
    /// A file to write the JSON to.
    pub file: Option<String>,
    /// Whose processor time to show.
    pub broker_pid: Option<String>,
}

impl Printing {
    /// From the flags `output`, `json` and `broker-pid`.
    pub fn read(given: &corelog_tools::cli::options::Given) -> Result<Self, String> {
        Ok(Self {
            json: given.json()?,
            file: given.one("json")?.map(str::to_owned),
            broker_pid: given.one("broker-pid")?.map(str::to_owned),
        })
    }
}

/// Runs a draft, shows its progress and prints its result; gives the exit code.
pub fn carry_out(
    command: &str,
    arguments: &[String],
    draft: &Draft,
    printing: &Printing,
    out: &mut Out,
) -> u8 {
    let outcome = (|| {
        let workload = draft.check(None)?;
        let watched = printing
            .broker_pid
            .as_deref()
            .map(Watched::new)
            .transpose()?;
        let outcome = measure(&workload, watched, &mut |second, counts| {
            let line = progress_line(second, counts);
            // With JSON, standard output holds nothing else.
            if printing.json {
                out.progress(&line);
            } else {
                out.line(&line);
                out.flush();
            }
        })?;
        Ok::<_, String>(outcome)
    })();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    for (failure, count) in &outcome.failures {
        out.error(&format!("{count} records were not delivered: {failure}"));
    }
    if !printing.json {
        for line in outcome.lines() {
            out.line(&line);
        }
    }
    let is_bad = outcome.failed > 0 || outcome.verified.as_ref().is_some_and(|it| !it.is_clean());
    let result = MixedResult {
        origin: Origin::new(command, arguments),
        settings: draft,
        outcome,
    };
    let mut printed = Ok(());
    if printing.json {
        printed = put(&result, None, out);
    }
    if let Some(file) = &printing.file {
        printed = printed.and(put(&result, Some(file), out));
    }
    if let Err(error) = printed {
        out.error(&error);
        return 1;
    }
    u8::from(is_bad)
}

fn progress_line(second: &Second, counts: bool) -> String {
    let side = |name: &str, moment: &Moment| {
        let latency = match (moment.p50, moment.p99, moment.max) {
            (Some(p50), Some(p99), Some(max)) => {
                format!(", {p50:.2} ms p50, {p99:.2} ms p99, {max:.2} ms max")
            }
            _ => String::new(),
        };
        format!(
            "{name} {:.0} records/s, {:.2} MB/s{latency}",
            moment.records_per_second, moment.megabytes_per_second
        )
    };
    format!(
        "{:>5.0} s{}  {}; {}",
        second.at,
        if counts { " " } else { "w" },
        side("produced", &second.produced),
        side("consumed", &second.consumed),
    )
}

#[derive(Serialize)]
struct MixedResult<'a> {
    #[serde(flatten)]
    origin: Origin,
    settings: &'a Draft,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What a workload came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How long was measured.
    pub seconds: f64,
    /// How long was not.
    pub warm_up_seconds: f64,
    /// Whether throughput had settled when measuring began.
    pub was_steady: bool,
    /// What producers sent.
    pub produced: Flow,
    /// What consumers got; latencies are from when a record was due to when its consumer had it.
    pub consumed: Flow,
    /// Requests of connections that do nothing else.
    pub pings: u64,
    /// What this process cost.
    pub client: Cost,
    /// What the broker cost.
    pub broker: Option<BrokerCost>,
    /// Records that were not delivered.
    pub failed: u64,
    /// Why.
    pub failures: Failures,
    /// What was found wrong.
    pub verified: Option<Verified>,
    /// Second by second.
    pub series: Vec<Second>,
}

/// What consumers got against what producers sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Records in order.
    pub good: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There twice.
    pub duplicated: u64,
    /// Behind one that was sent later.
    pub reordered: u64,
    /// Given out again by a group, as after a rebalance; no fault.
    pub repeated: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.duplicated == 0
    }
}

impl Outcome {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, flow, what) in [
            ("produced", &self.produced, "acknowledged after"),
            ("consumed", &self.consumed, "end to end"),
        ] {
            if flow.records > 0 {
                lines.push(format!(
                    "{name} {} records in {:.1} s, {:.1} records/s ({:.2} MB/s), {} requests",
                    flow.records,
                    self.seconds,
                    flow.records_per_second,
                    flow.megabytes_per_second,
                    flow.requests
                ));
            }
            if let Some(quantiles) = &flow.latency_ms {
                lines.push(quantiles.line(what));
            }
        }
        if !self.was_steady {
            lines.push(format!(
                "throughput had not settled after {:.0} s of warm-up",
                self.warm_up_seconds
            ));
        }
        lines.push(self.client.line());
        lines.extend(self.broker.as_ref().map(BrokerCost::line));
        if let Some(it) = self.verified {
            lines.push(format!(
                "verified: {} in order, {} lost, {} duplicated, {} out of order, {} given out again by a group",
                it.good, it.lost, it.duplicated, it.reordered, it.repeated
            ));
        }
        lines
    }
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
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
type Place = (String, i32, u64);
/// The number after the last acknowledged record.
type Acked = BTreeMap<Place, u64>;

/// What all threads look at.
#[derive(Debug)]
struct Control {
    stage: AtomicU8,
    begin: AtomicU64,
    acked: OnceLock<Acked>,
    /// The first of this process's runs, and how many there are.
    runs: (u64, u64),
    stamped: BTreeSet<String>,
}

impl Control {
    fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }
}

/// What clients of one thread share.
struct Thread {
    workload: Arc<Workload>,
    control: Arc<Control>,
    meter: RefCell<Window>,
    failures: RefCell<Failures>,
    filler: Rc<[u8]>,
}

impl Thread {
    fn stage(&self) -> Stage {
        match self.control.stage.load(Ordering::Acquire) {
            0 => Stage::Prepare,
            1 => Stage::Run,
            2 => Stage::Flush,
            _ => Stage::Drain,
        }
    }

    fn begin(&self) -> Instant {
        Instant::from_nanos(self.control.begin.load(Ordering::Acquire))
    }

    fn acked(&self) -> Option<&Acked> {
        self.control.acked.get()
    }

    fn is_ours(&self, run: u64) -> bool {
        let (first, count) = self.control.runs;
        run.wrapping_sub(first) < count
    }

    fn is_stamped(&self, topic: &str) -> bool {
        self.control.stamped.contains(topic)
    }
}

/// What a thread says.
enum Said {
    Ready,
    Window(u64, Box<Window>),
    Flushed { sent: Sent, failures: Failures },
    Ended { findings: Vec<Checked> },
    Failed(String),
}

/// What readers of the same records found.
struct Checked {
    findings: Findings,
    missing: u64,
    shares: bool,
}

/// What one thread does.
struct Share {
    senders: Vec<Role>,
    /// Readers that know the same records.
    readers: Vec<(Consumers, usize)>,
    idle: Vec<(usize, Option<Duration>)>,
}

/// Runs a workload; `on_second` is called with every window, and whether it counts.
pub fn measure(
    workload: &Workload,
    watched: Option<Watched>,
    on_second: &mut dyn FnMut(&Second, bool),
) -> Result<Outcome, String> {
    raise_limit_of_files();
    let workload = Arc::new(workload.clone());
    prepare(&workload)?;
    let stamped = workload
        .producers
        .iter()
        .filter(|producers| producers.stamped)
        .map(|producers| producers.topic.clone())
        .collect();
    let count = workload
        .producers
        .iter()
        .map(|one| one.clients as u64)
        .sum();
    let control = Arc::new(Control {
        stage: AtomicU8::new(Stage::Prepare as u8),
        begin: AtomicU64::new(0),
        acked: OnceLock::new(),
        // Far from where numbers wrap.
        runs: (corelog_runtime::entropy() >> 1, count),
        stamped,
    });
    let (say, hear) = channel();
    let shares = shares_of(&workload, control.runs.0);
    let threads = shares.len();
    let mut handles = Vec::new();
    for share in shares {
        let (workload, control, say) = (Arc::clone(&workload), Arc::clone(&control), say.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "a load generator has as many runtimes as it is told to"
        )]
        handles.push(std::thread::spawn(move || {
            if let Err(error) = thread(workload, control, share, say.clone()) {
                // Who would hear it has gone.
                let _ = say.send(Said::Failed(error));
            }
        }));
    }
    drop(say);
    let outcome = Conductor {
        workload: &workload,
        control: &control,
        hear,
        threads,
        watched,
        failures: Failures::new(),
        failed: 0,
        acked: Acked::new(),
        checked: Vec::new(),
        ended: 0,
        flushed: 0,
        ready: 0,
        assembly: Assembly::new(threads),
    }
    .conduct(on_second);
    control.set(Stage::Drain);
    if outcome.is_ok() {
        for handle in handles {
            handle
                .join()
                .map_err(|_| "a thread of the load panicked".to_owned())?;
        }
    }
    outcome
}

struct Conductor<'a> {
    workload: &'a Workload,
    control: &'a Control,
    hear: Receiver<Said>,
    threads: usize,
    watched: Option<Watched>,
    failures: Failures,
    failed: u64,
    acked: Acked,
    checked: Vec<Checked>,
    ready: usize,
    flushed: usize,
    ended: usize,
    assembly: Assembly,
}

impl Conductor<'_> {
    fn conduct(mut self, on_second: &mut dyn FnMut(&Second, bool)) -> Result<Outcome, String> {
        while self.ready < self.threads {
            self.hear_one()?;
        }
        self.control
            .begin
            .store((now() + LEAD_IN).as_nanos(), Ordering::Release);
        self.control.set(Stage::Run);
        let mut series = Vec::new();
        let mut rates = Vec::new();
        let mut passed = Duration::ZERO;
        let mut show = |window: &Window, passed: Duration, is_measured: bool| {
            let second = second_of(window, passed, is_measured);
            on_second(&second, is_measured);
            series.push(second);
        };
        let is_even = |rates: &[f64]| is_steady(rates, STEADY_TOLERANCE);
        loop {
            let is_warm = match self.workload.warm_up {
                WarmUp::For(length) => passed >= length,
                WarmUp::UntilSteady => is_even(&rates) || passed >= STEADY_WITHIN,
            };
            if is_warm {
                break;
            }
            let window = self.next_window()?;
            passed += window.length;
            rates.push(rate_of(&window));
            show(&window, passed, false);
        }
        let warm_up = passed;
        let was_steady = match self.workload.warm_up {
            // A short warm-up cannot tell.
            WarmUp::For(_) => rates.len() < crate::schedule::STEADY_COUNT || is_even(&rates),
            WarmUp::UntilSteady => is_even(&rates),
        };
        if let Some(watched) = &mut self.watched {
            watched.begin();
        }
        let cpu = cpu_time();
        let mut total = Window::default();
        while total.length < self.workload.seconds {
            let window = self.next_window()?;
            passed += window.length;
            total.then(&window);
            show(&window, passed, true);
        }
        let broker_cpu = self.watched.as_ref().map(Watched::so_far);
        let cpu_end = cpu_time();
        self.control.set(Stage::Flush);
        while self.flushed < self.threads {
            self.hear_one()?;
        }
        // Once only: nobody else sets it.
        let _ = self.control.acked.set(std::mem::take(&mut self.acked));
        self.control.set(Stage::Drain);
        while self.ended < self.threads {
            self.hear_one()?;
        }
        let flow = |side: &crate::meter::Side| {
            Flow::new(
                side.records,
                side.bytes,
                side.requests,
                total.length,
                &side.latencies,
            )
        };
        let client = (
            cpu_end.0.saturating_sub(cpu.0),
            cpu_end.1.saturating_sub(cpu.1),
        );
        let requests = total.produced.requests + total.consumed.requests + total.pings;
        Ok(Outcome {
            seconds: total.length.as_secs_f64(),
            warm_up_seconds: warm_up.as_secs_f64(),
            was_steady,
            client: Cost::new(client, total.produced.records + total.consumed.records),
            broker: self.watched.as_ref().zip(broker_cpu).map(|(watched, cpu)| {
                watched.cost(
                    cpu,
                    total.produced.bytes + total.consumed.bytes,
                    requests,
                    total.length,
                )
            }),
            verified: self.workload.verify.then(|| self.verdict()),
            produced: flow(&total.produced),
            consumed: flow(&total.consumed),
            pings: total.pings,
            failed: self.failed,
            failures: self.failures,
            series,
        })
    }

    fn verdict(&self) -> Verified {
        let mut verified = Verified::default();
        for one in &self.checked {
            verified.good += one.findings.good;
            // What was refused leaves a gap, and was never acknowledged.
            verified.lost += (one.findings.lost + one.missing).saturating_sub(self.failed);
            verified.reordered += one.findings.reordered;
            if one.shares {
                verified.repeated += one.findings.duplicated;
            } else {
                verified.duplicated += one.findings.duplicated;
            }
        }
        verified
    }

    fn next_window(&mut self) -> Result<Window, String> {
        loop {
            if let Some(window) = self.assembly.take_next() {
                return Ok(window);
            }
            self.hear_one()?;
        }
    }

    fn hear_one(&mut self) -> Result<(), String> {
        match self.hear.recv_timeout(SILENCE_MAX) {
            Ok(Said::Ready) => self.ready += 1,
            Ok(Said::Window(number, window)) => self.assembly.add(number, &window),
            Ok(Said::Flushed { sent, failures }) => {
                self.flushed += 1;
                self.failed += sent.failed;
                for (place, end) in sent.ends {
                    let known = self.acked.entry(place).or_default();
                    *known = end.max(*known);
                }
                for (failure, count) in failures {
                    *self.failures.entry(failure).or_default() += count;
                }
            }
            Ok(Said::Ended { findings }) => {
                self.ended += 1;
                self.checked.extend(findings);
            }
            Ok(Said::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "the load has said nothing for {} s: is the broker there?",
                    SILENCE_MAX.as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err("a thread of the load ended early".to_owned());
            }
        }
        Ok(())
    }
}

fn rate_of(window: &Window) -> f64 {
    let seconds = window.length.as_secs_f64().max(f64::MIN_POSITIVE);
    to_f64(window.produced.records + window.consumed.records + window.pings) / seconds
}

fn second_of(window: &Window, passed: Duration, is_measured: bool) -> Second {
    let moment = |side: &crate::meter::Side| {
        Moment::new(side.records, side.bytes, window.length, &side.latencies)
    };
    Second {
        at: passed.as_secs_f64(),
        is_measured,
        produced: moment(&window.produced),
        consumed: moment(&window.consumed),
    }
}

/// Deals the clients out to threads.
fn shares_of(workload: &Workload, first_run: u64) -> Vec<Share> {
    let mut shares: Vec<Share> = (0..workload.threads)
        .map(|_| Share {
            senders: Vec::new(),
            readers: Vec::new(),
            idle: Vec::new(),
        })
        .collect();
    let mut run = first_run;
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        (turn - 1) % workload.threads
    };
    for producers in &workload.producers {
        let kind = Arc::new(producers.clone());
        for index in 0..producers.clients {
            shares[next()].senders.push(Role {
                kind: Arc::clone(&kind),
                run,
                index,
            });
            run += 1;
        }
    }
    for consumers in &workload.consumers {
        if consumers.group.is_some() {
            shares[next()]
                .readers
                .push((consumers.clone(), consumers.clients));
        } else {
            for _ in 0..consumers.clients {
                shares[next()].readers.push((consumers.clone(), 1));
            }
        }
    }
    for connections in &workload.connections {
        for (index, share) in shares.iter_mut().enumerate() {
            let count = connections.count / workload.threads
                + usize::from(index < connections.count % workload.threads);
            share.idle.push((count, connections.request_every));
        }
    }
    shares
}

fn runtime() -> Result<Runtime, String> {
    let config = Config {
        ring_entries: 4096,
        ..Config::default()
    };
    Runtime::new(&config).map_err(|error| error.to_string())
}

/// Creates the topics that are not there.
fn prepare(workload: &Arc<Workload>) -> Result<(), String> {
    let workload = Arc::clone(workload);
    runtime()?.run(async move {
        let client = Client::connect(workload.client.clone())
            .await
            .map_err(|error| error.to_string())?;
        let admin = Admin::new(&client);
        for topic in &workload.topics {
            let new = NewTopic {
                replication_factor: topic.replication_factor,
                configs: topic
                    .configs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                ..NewTopic::new(topic.name.clone(), topic.partitions)
            };
            match admin.create_topic(new).await {
                Ok(_) => {}
                Err(error) if error.refusal() == Some(ErrorCode::TopicAlreadyExists) => {}
                Err(error) => return Err(format!("topic {}: {}", topic.name, error.text())),
            }
        }
        Ok(())
    })
}

fn thread(
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
    drop(pings);
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

/// As many files as this process may have.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What is refused here is told when a connection cannot be made.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Between everybody being ready and the first record.
const LEAD_IN: Duration = Duration::from_millis(20);
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(1);
/// How far windows of a load that has settled are from their mean.
const STEADY_TOLERANCE: f64 = 0.1;
/// Nothing is heard for so long only when something hangs.
const SILENCE_MAX: Duration = Duration::from_mins(3);
const POSITION_PATIENCE: Duration = Duration::from_mins(1);
