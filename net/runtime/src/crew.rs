//! Owns: threads for many blocking jobs at once: opening, closing and creating the logs of a shard.
//! Lives on: its shard, whose processor they share; each crew is started for its jobs and ends with them.
//! Invariants: 1. Jobs take owned values and return owned values. 2. They begin in the order given; the answers
//! come in that order. 3. A crew never has more threads than it was given, nor more than jobs.
//! Not here: single long jobs (`companion`).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Poll;

use crate::companion::{Lane, submit};
use crate::core::current;
use crate::shared_waker::SharedWaker;

/// Runs blocking jobs on up to `threads` threads at once, so that their waits for the disk overlap (the kernel makes
/// one journal commit of syncs that arrive together), and waits for all. Dropping the future lets the jobs that were
/// begun finish unheard; the others are not run.
///
/// The threads have the shard's own priority, unlike the companion's: somebody waits for all of them together. They are
/// for jobs that mostly wait.
///
/// # Panics
/// With the panic of a job, in the task that waits.
pub async fn blocking_all<T, J>(name: &'static str, threads: usize, jobs: Vec<J>) -> Vec<T>
where
    T: Send + 'static,
    J: FnOnce() -> T + Send + 'static,
{
    let count = jobs.len();
    #[cfg(any(test, feature = "sim"))]
    if current().backend == crate::config::Backend::Sim {
        let mut answers = Vec::with_capacity(count);
        for job in jobs {
            answers.push(crate::companion::blocking(name, job).await);
        }
        return answers;
    }
    if count == 0 {
        return Vec::new();
    }
    let (queue, waiting) = flume::unbounded();
    for numbered in jobs.into_iter().enumerate() {
        let _ = queue.send(numbered);
    }
    drop(queue);
    let (sender, receiver) = flume::bounded(count);
    let answer = Arc::new(SharedWaker::new());
    let core = current();
    for number in 0..threads.clamp(1, count) {
        let (waiting, sender, bell) = (waiting.clone(), sender.clone(), answer.clone());
        let work = move || {
            while let Ok((at, job)) = waiting.try_recv() {
                if sender.is_disconnected() {
                    return;
                }
                let result = catch_unwind(AssertUnwindSafe(job));
                // Nobody waits any more: the value is dropped here.
                let _ = sender.send((at, result));
                bell.wake();
            }
        };
        let alone = (number == 0).then(|| work.clone());
        let started = std::thread::Builder::new()
            .name(format!("crew-{}-{number}", core.shard))
            .spawn(work);
        if let Err(error) = started {
            tracing::warn!(job = name, %error, "a thread cannot be started: fewer jobs run at once");
            if let Some(work) = alone {
                submit(&core, Lane::Long, name, Box::new(work));
            }
            break;
        }
    }
    drop((core, sender));
    let mut answers: Vec<Option<T>> = Vec::new();
    answers.resize_with(count, || None);
    let mut missing = count;
    let panicked = std::future::poll_fn(|cx| {
        answer.register(cx.waker());
        loop {
            match receiver.try_recv() {
                Ok((at, Ok(value))) => {
                    answers[at] = Some(value);
                    missing -= 1;
                    if missing == 0 {
                        return Poll::Ready(None);
                    }
                }
                Ok((_, Err(panic))) => return Poll::Ready(Some(panic)),
                Err(flume::TryRecvError::Empty) => return Poll::Pending,
                Err(flume::TryRecvError::Disconnected) => {
                    return Poll::Ready(Some(Box::new("a crew ended without its work")));
                }
            }
        }
    })
    .await;
    if let Some(panic) = panicked {
        tracing::error!(
            job = name,
            message = crate::task::message(&*panic),
            "a job panicked"
        );
        resume_unwind(panic);
    }
    answers
        .into_iter()
        .map(|answer| answer.expect("none is missing"))
        .collect()
}
