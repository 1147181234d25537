//! Owns: one waker that another thread may take.
//! Lives on: between two threads: one registers, others wake.
//! Invariants: who registers checks its condition again afterwards; who makes the condition true wakes
//! afterwards; both are sequentially consistent, so no wake is lost.
//! Not here: local wakers (a plain `Waker` in a cell does).

#[expect(
    clippy::disallowed_types,
    reason = "only for wakers that are not ours (combinators): never on the usual path"
)]
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use crate::waker::TaskId;

const NONE: u64 = 0;
/// A task of ours never has these bits: generations start at 1, and so does bit 20.
const ELSEWHERE: u64 = 1;

#[expect(clippy::disallowed_types, reason = "see above")]
pub(crate) struct SharedWaker {
    task: AtomicU64,
    other: Mutex<Option<Waker>>,
}

impl SharedWaker {
    #[expect(clippy::disallowed_types, reason = "see above")]
    pub(crate) const fn new() -> Self {
        Self {
            task: AtomicU64::new(NONE),
            other: Mutex::new(None),
        }
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let bits = if let Some(task) = TaskId::of(waker) {
            task.bits()
        } else {
            *self.lock() = Some(waker.clone());
            ELSEWHERE
        };
        self.task.swap(bits, Ordering::SeqCst);
    }

    pub(crate) fn wake(&self) {
        // ORDER: what the woken will look at was written before this load.
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.task.load(Ordering::SeqCst) == NONE {
            return;
        }
        match self.task.swap(NONE, Ordering::SeqCst) {
            NONE => {}
            ELSEWHERE => {
                let waker = self.lock().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            bits => TaskId::from_bits(bits).wake(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.other
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
