//! Owns: the companion: one low-priority thread per shard for long blocking jobs.
//! Lives on: its shard; the thread starts with the first job and is joined at the end of the runtime.
//! Invariants: 1. Jobs take owned values and return owned values. 2. Jobs run one at a time, in the order
//! given. 3. A job that was begun is finished, also when nobody waits for it any more.
//! Not here: file operations of the readiness driver, which have their own threads.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
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
    submit(&core, name, job);
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

fn submit(core: &Core, name: &'static str, job: Job) {
    if core.closing.get() {
        return;
    }
    let mut companion = core.companion.borrow_mut();
    let companion = companion.get_or_insert_with(|| Companion::start(core.shard, core.cpu));
    companion.submit(name, job);
}

/// The thread and the way to it.
pub(crate) struct Companion {
    jobs: Option<flume::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Companion {
    fn start(shard: usize, cpu: Option<usize>) -> Self {
        let (jobs, queue) = flume::unbounded::<Job>();
        let thread = std::thread::Builder::new()
            .name(format!("companion-{shard}"))
            .spawn(move || {
                if let Some(cpu) = cpu
                    && let Err(error) = crate::limits::pin(cpu)
                {
                    tracing::warn!(cpu, %error, "the companion thread is not pinned");
                }
                crate::limits::lowest_priority();
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .expect("the system can start one thread more per shard");
        Self {
            jobs: Some(jobs),
            thread: Some(thread),
        }
    }

    fn submit(&self, name: &'static str, job: Job) {
        let sent = self
            .jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok());
        if !sent {
            tracing::error!(job = name, "the companion thread is gone");
        }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        // ORDER: the queue is closed before the thread is joined.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
