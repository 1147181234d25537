//! The requests of a connection that have not been answered on the socket.
//!
//! **Owns** the order of responses, and the polling of those that take time.
//! **Lives on** its connection's task.
//! **Invariants**
//! 1. A response leaves the queue only from its front.
//! 2. A reply that takes time is polled only when its own waker was called, so a connection with
//!    many of them in flight does not poll all when one becomes ready.
//! 3. After a close nothing more is taken out.
//!
//! **Not here**: sending (`writer`).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{CloseReason, Later, Reply, Response};
use crate::wire::ApiKey;

#[cfg(test)]
mod tests;

#[derive(Default)]
pub(super) struct Queue {
    slots: VecDeque<Slot>,
    /// How many slots wait.
    waiting: usize,
    /// Bytes in memory of the responses that are ready.
    response_bytes: usize,
    /// Wakers of slots that are done, to be used again.
    spare: Vec<Arc<SlotWaker>>,
}

enum Slot {
    Waiting {
        later: Later,
        waker: Arc<SlotWaker>,
        api_key: ApiKey,
    },
    Ready(Response),
    Nothing,
    Close(CloseReason),
}

/// What the front of the queue holds.
pub(super) enum Front {
    /// Nothing that could be sent yet.
    NotReady,
    /// The next response.
    Response(Response),
    /// Everything before the close has been taken.
    Close(CloseReason),
}

/// Marks one slot and wakes the connection's task. Its reference may outlive the reply; a late call
/// then costs a poll and harms nothing.
struct SlotWaker {
    woken: AtomicBool,
    task: Waker,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // ORDER: the mark before the wake-up, or the task could look before there is one.
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.task.wake_by_ref();
        }
    }
}

impl Queue {
    /// Requests in the queue.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Requests that the service still works on.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Bytes in memory of the responses that are ready.
    pub(super) fn response_bytes(&self) -> usize {
        self.response_bytes
    }

    /// Adds what became of the next request.
    #[inline]
    pub(super) fn push_reply(&mut self, reply: Reply) {
        match reply {
            Reply::Response(response) => {
                self.response_bytes += response.memory();
                self.slots.push_back(Slot::Ready(response));
            }
            Reply::Nothing => {}
            Reply::Close(reason) => self.push_close(CloseReason::Service(reason)),
        }
    }

    /// Adds a reply that takes time. It is first polled by the next [`Queue::poll_waiting`].
    pub(super) fn push_later(&mut self, later: Later, api_key: ApiKey, task: &Waker) {
        let waker = loop {
            match self.spare.pop() {
                Some(spare) if spare.task.will_wake(task) => {
                    spare.woken.store(true, Ordering::Release);
                    break spare;
                }
                Some(_) => {}
                None => {
                    let woken = AtomicBool::new(true);
                    break Arc::new(SlotWaker {
                        woken,
                        task: task.clone(),
                    });
                }
            }
        };
        self.waiting += 1;
        self.slots.push_back(Slot::Waiting {
            later,
            waker,
            api_key,
        });
    }

    /// Adds the end of the connection.
    pub(super) fn push_close(&mut self, reason: CloseReason) {
        self.slots.push_back(Slot::Close(reason));
    }

    /// Polls the replies whose wakers were called. Says whether one of them is done.
    #[inline]
    pub(super) fn poll_waiting(&mut self) -> bool {
        self.waiting > 0 && self.poll_woken()
    }

    fn poll_woken(&mut self) -> bool {
        let mut any = false;
        for slot in &mut self.slots {
            let Slot::Waiting {
                later,
                waker,
                api_key,
            } = slot
            else {
                continue;
            };
            if !waker.woken.swap(false, Ordering::AcqRel) {
                continue;
            }
            let task = Waker::from(Arc::clone(waker));
            let poll = || later.as_mut().poll(&mut Context::from_waker(&task));
            let done = match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(Poll::Pending) => continue,
                Ok(Poll::Ready(Reply::Response(response))) => {
                    self.response_bytes += response.memory();
                    Slot::Ready(response)
                }
                Ok(Poll::Ready(Reply::Nothing)) => Slot::Nothing,
                Ok(Poll::Ready(Reply::Close(reason))) => Slot::Close(CloseReason::Service(reason)),
                Err(_) => Slot::Close(CloseReason::Panicked(*api_key)),
            };
            if let Slot::Waiting { waker, .. } = std::mem::replace(slot, done) {
                self.spare.push(waker);
            }
            self.waiting -= 1;
            any = true;
        }
        any
    }

    /// Takes what is next, if it is ready.
    #[inline]
    pub(super) fn take(&mut self) -> Front {
        loop {
            match self.slots.front() {
                None | Some(Slot::Waiting { .. }) => return Front::NotReady,
                Some(Slot::Close(reason)) => return Front::Close(*reason),
                Some(Slot::Ready(_) | Slot::Nothing) => {}
            }
            if let Some(Slot::Ready(response)) = self.slots.pop_front() {
                self.response_bytes -= response.memory();
                return Front::Response(response);
            }
        }
    }
}
