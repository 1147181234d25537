//! **Owns** whether somebody reads: a consumer that asks for nothing is no use to its group (`max.poll.interval.ms`).
//! **Lives on** the client's thread.
//! **Invariants** who waits for records polls all the time.
//! **Not here** what follows from it (`group`).

use std::cell::Cell;
use std::time::Duration;

use corelog_runtime::{Instant, Notify, now};

/// When a consumer's reader asked last.
pub(super) struct Polls {
    waiting: Cell<usize>,
    last: Cell<Instant>,
    came: Notify,
}

/// A reader that asks, until it is dropped.
pub(super) struct Polling<'a>(&'a Polls);

impl Polls {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            waiting: Cell::new(0),
            last: Cell::new(at),
            came: Notify::new(),
        }
    }

    /// A reader asks, and perhaps waits.
    pub(super) fn begin(&self) -> Polling<'_> {
        self.waiting.set(self.waiting.get() + 1);
        self.came.notify_all();
        Polling(self)
    }

    /// Counts from now on.
    pub(super) fn restart(&self) {
        self.last.set(now());
    }

    /// Until when nobody has to ask.
    pub(super) fn deadline(&self, interval: Duration) -> Instant {
        let from = if self.waiting.get() > 0 {
            now()
        } else {
            self.last.get()
        };
        from + interval
    }

    /// Whether nobody has asked for so long.
    pub(super) fn is_overdue(&self, interval: Duration) -> bool {
        self.deadline(interval) <= now()
    }

    /// Waits for somebody to ask.
    pub(super) async fn next(&self) {
        loop {
            let came = self.came.notified();
            if self.waiting.get() > 0 {
                return;
            }
            came.await;
        }
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
        self.0.last.set(now());
    }
}
