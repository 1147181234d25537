//! Owns: the companion: one low-priority thread per shard for long blocking jobs, and a few for brief ones
//! that somebody waits for.
//! Lives on: its shard; threads start when there is a job for them and are joined at the end of the runtime.
//! Invariants: 1. Jobs take owned values and return owned values. 2. Long jobs run one at a time, in the order
//! given; brief ones side by side, at most `BRIEF_THREADS` of them. 3. A brief job never waits for a long one.
//! 4. A job that was begun is finished, also when nobody waits for it any more.
//! Not here: file operations of the readiness driver, which have their own threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;

use crate::core::{Core, current};
use crate::shared_waker::SharedWaker;

/// Runs a blocking job on this shard's companion thread (same processor, lowest priority) and waits for it.
/// Dropping the future lets the job finish unheard; a job that has not begun is not run.
///
/// # Panics
/// With the job's own panic, in the task that waits: it ends as that task's `Panicked`.
pub async fn blocking<T: Send + 'static>(
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    run(Lane::Long, name, job).await
}

/// As [`blocking`], for a job of milliseconds that a client waits for (a lookup on a cold disk, a batch to be
/// compressed anew): it does not stand behind long jobs, and several run side by side in no order.
///
/// # Panics
/// As [`blocking`].
pub async fn blocking_brief<T: Send + 'static>(
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    run(Lane::Brief, name, job).await
}

/// Which threads a job may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Long,
    Brief,
}

async fn run<T: Send + 'static>(
    lane: Lane,
    name: &'static str,
    job: impl FnOnce() -> T + Send + 'static,
) -> T {
    let core = current();
    #[cfg(any(test, feature = "sim"))]
    if core.backend == crate::config::Backend::Sim {
        let delay = std::time::Duration::from_micros(core.random() % 2_000);
        drop(core);
        crate::timer::sleep(delay).await;
        return job();
    }
    let answer = Arc::new(SharedWaker::new());
    let (sender, receiver) = flume::bounded(1);
    let bell = answer.clone();
    let job = Box::new(move || {
        if sender.is_disconnected() {
            return;
        }
        let result = catch_unwind(AssertUnwindSafe(job));
        // Nobody waits any more: the value is dropped here.
        let _ = sender.send(result);
        bell.wake();
    });
    submit(&core, lane, name, job);
    drop(core);
    let result = std::future::poll_fn(move |cx| {
        answer.register(cx.waker());
        match receiver.try_recv() {
            Ok(result) => Poll::Ready(result),
            Err(flume::TryRecvError::Empty) => Poll::Pending,
            Err(flume::TryRecvError::Disconnected) => {
                let lost: Box<dyn Any + Send> = Box::new("the companion thread is gone");
                Poll::Ready(Err(lost))
            }
        }
    })
    .await;
    match result {
        Ok(value) => value,
        Err(panic) => {
            tracing::error!(
                job = name,
                message = crate::task::message(&*panic),
                "a job panicked"
            );
            resume_unwind(panic)
        }
    }
}

type Job = Box<dyn FnOnce() + Send>;

pub(crate) fn submit(core: &Core, lane: Lane, name: &'static str, job: Job) {
    if core.closing.get() {
        return;
    }
    let mut companion = core.companion.borrow_mut();
    let companion = companion.get_or_insert_with(|| Companion::new(core.shard, core.cpu));
    companion.submit(lane, name, job);
}

/// The threads and the way to them.
pub(crate) struct Companion {
    long: Threads,
    brief: Threads,
}

impl Companion {
    fn new(shard: usize, cpu: Option<usize>) -> Self {
        Self {
            long: Threads::new(format!("companion-{shard}"), cpu, 1, LONG_NICE),
            brief: Threads::new(format!("brief-{shard}"), cpu, BRIEF_THREADS, BRIEF_NICE),
        }
    }

    fn submit(&mut self, lane: Lane, name: &'static str, job: Job) {
        let threads = match lane {
            Lane::Long => &mut self.long,
            Lane::Brief => &mut self.brief,
        };
        threads.submit(name, job);
    }
}

/// Threads that take jobs from one queue.
struct Threads {
    name: String,
    cpu: Option<usize>,
    count_max: usize,
    nice: i32,
    jobs: Option<flume::Sender<Job>>,
    queue: flume::Receiver<Job>,
    /// Jobs given and not done.
    open: Arc<AtomicUsize>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn new(name: String, cpu: Option<usize>, count_max: usize, nice: i32) -> Self {
        let (jobs, queue) = flume::unbounded();
        Self {
            name,
            cpu,
            count_max,
            nice,
            jobs: Some(jobs),
            queue,
            open: Arc::new(AtomicUsize::new(0)),
            running: Vec::new(),
        }
    }

    fn submit(&mut self, name: &'static str, job: Job) {
        // Exact only from this side: a job that ends meanwhile makes one thread too many at most.
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.running.len() && self.running.len() < self.count_max {
            self.start();
        }
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            tracing::error!(job = name, "the companion thread is gone");
        }
    }

    fn start(&mut self) {
        let (queue, open) = (self.queue.clone(), Arc::clone(&self.open));
        let (cpu, nice) = (self.cpu, self.nice);
        let thread = std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || {
                if let Some(cpu) = cpu
                    && let Err(error) = crate::limits::pin(cpu)
                {
                    tracing::warn!(cpu, %error, "the companion thread is not pinned");
                }
                crate::limits::lower_priority(nice);
                while let Ok(job) = queue.recv() {
                    job();
                    open.fetch_sub(1, Ordering::Relaxed);
                }
            })
            .expect("the system can start a few threads more per shard");
        self.running.push(thread);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // ORDER: the queue is closed before the threads are joined.
        self.jobs = None;
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Nice 19 has 1/68 of the weight of the shard's own thread: next to nothing under load, yet never starved for ever.
const LONG_NICE: i32 = 19;
/// Nice 10 has 1/9: somebody waits, but the shard serves everybody else.
const BRIEF_NICE: i32 = 10;
/// Enough for a disk to work on several lookups at once; a shard has few cold readers at a time.
const BRIEF_THREADS: usize = 4;
