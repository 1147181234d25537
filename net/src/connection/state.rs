//! What the reader, the writer and the server know about one connection.
//!
//! **Owns** the state that these share, and the orders the server gives.
//! **Lives on** its shard; single-threaded cells.
//! **Invariants** 1. No borrow of a cell is held across an await or a call of the service, except
//! that the queue is borrowed while replies are polled: a reply cannot reach its own queue.
//! **Not here**: what they do with it (`reader`, `writer`, `task`).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use corelog_runtime::{Instant, now};

use super::budget::{Account, Budget};
use super::queue::Queue;
use super::{CloseReason, Peer};
use crate::limits::ConnectionLimits;
use crate::server::Counters;
use crate::transport::Transport;

/// One connection as its task holds it.
pub(crate) struct Connection<S: super::Service> {
    pub(crate) service: Rc<S>,
    pub(crate) session: Rc<S::Session>,
    pub(crate) transport: Transport,
    pub(crate) shared: Rc<Shared>,
}

/// What the server may tell a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Go on.
    Run,
    /// Read no further request, answer what is in flight, close.
    Drain,
    /// Close now.
    Close(CloseReason),
}

/// The part of a connection that does not depend on the service.
pub(crate) struct Shared {
    pub(crate) peer: Peer,
    pub(crate) limits: Rc<ConnectionLimits>,
    pub(crate) counters: Rc<Counters>,
    pub(super) account: Rc<Account>,
    budget: Rc<Budget>,
    pub(super) queue: RefCell<Queue>,
    /// Responses taken from the queue that are not on the socket yet, and their bytes in memory.
    pub(super) sending: Cell<(usize, usize)>,
    pub(super) progress: Cell<Progress>,
    order: Cell<Order>,
    last_moved: Cell<Instant>,
    /// The waker of the connection's task; the same as long as it lives.
    task: RefCell<Option<Waker>>,
    /// Set while the reader waits for something that the writer changes.
    reader_blocked: Cell<bool>,
    /// The reader is to be polled again before the task rests.
    pub(super) look_again: Cell<bool>,
}

/// What the reader does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Waits for the first bytes of a frame.
    BetweenFrames,
    /// Waits for the rest of a frame, and holds memory for it.
    WithinFrame,
    /// Waits until it may hold another request.
    HeldBack,
    /// The service starts a request.
    Dispatching,
    /// Reads no more.
    Ended,
}

impl Shared {
    pub(crate) fn new(
        peer: Peer,
        limits: Rc<ConnectionLimits>,
        counters: Rc<Counters>,
        budget: Rc<Budget>,
    ) -> Rc<Self> {
        Rc::new(Self {
            peer,
            limits,
            counters,
            account: Account::new(Rc::clone(&budget)),
            budget,
            queue: RefCell::default(),
            sending: Cell::new((0, 0)),
            progress: Cell::new(Progress::BetweenFrames),
            order: Cell::new(Order::Run),
            last_moved: Cell::new(now()),
            task: RefCell::default(),
            reader_blocked: Cell::new(false),
            look_again: Cell::new(false),
        })
    }

    /// Gives an order and wakes the task. An order to close is final.
    pub(crate) fn give_order(&self, order: Order) {
        if !matches!(self.order.get(), Order::Close(_)) {
            self.order.set(order);
            let task = self.task.borrow().clone();
            if let Some(task) = task {
                task.wake();
            }
        }
    }

    pub(super) fn order(&self) -> Order {
        self.order.get()
    }

    pub(super) fn remember_task(&self, waker: &Waker) {
        let mut task = self.task.borrow_mut();
        match &*task {
            Some(known) if known.will_wake(waker) => {}
            _ => *task = Some(waker.clone()),
        }
    }

    /// The waker of the task; it polls the caller, so it is known.
    pub(super) fn task(&self) -> Waker {
        self.task
            .borrow()
            .clone()
            .unwrap_or_else(|| Waker::noop().clone())
    }

    /// Bytes moved on the socket.
    #[inline]
    pub(super) fn moved(&self) {
        self.last_moved.set(now());
    }

    /// When the server should look at this connection again, or why it is to be closed at `now`.
    pub(crate) fn check_idle(&self, now: Instant) -> Result<Instant, CloseReason> {
        let queue = self.queue.borrow();
        let progress = self.progress.get();
        let stopped_arriving = progress == Progress::WithinFrame && self.budget.contended();
        let (allowed, reason) = if stopped_arriving {
            (self.limits.stall_max, CloseReason::Stalled)
        } else if self.sending.get().0 > 0 {
            (self.limits.idle_max, CloseReason::Unread)
        } else {
            (self.limits.idle_max, CloseReason::Idle)
        };
        let at_work = progress == Progress::Dispatching
            || (progress == Progress::HeldBack && self.sending.get().0 == 0)
            || (queue.waiting() > 0 && self.sending.get().0 == 0 && progress != Progress::Ended);
        if at_work {
            return Ok(now + allowed);
        }
        let due = self.last_moved.get() + allowed;
        if due <= now { Err(reason) } else { Ok(due) }
    }

    /// Whether another request of this size may be held.
    fn has_room(&self, frame_size: usize) -> bool {
        let queue = self.queue.borrow();
        let (sending, sending_bytes) = self.sending.get();
        let held = self.account.bytes();
        queue.len() + sending < self.limits.in_flight_max
            && queue.response_bytes() + sending_bytes < self.limits.response_bytes_max
            && (held == 0 || held + frame_size <= self.limits.connection_request_bytes_max)
    }

    /// Waits until another request of this size may be held.
    #[inline]
    pub(super) async fn room(&self, frame_size: usize) {
        if self.has_room(frame_size) {
            return;
        }
        self.counters.held_back.add(1);
        self.progress.set(Progress::HeldBack);
        poll_fn(|cx| {
            if self.has_room(frame_size) {
                self.reader_blocked.set(false);
                return Poll::Ready(());
            }
            // The writer and the queue share this task and look at the mark; charges may be dropped
            // by other tasks.
            self.reader_blocked.set(true);
            self.account.wake_when_released(cx.waker());
            Poll::Pending
        })
        .await;
        self.progress.set(Progress::BetweenFrames);
    }

    /// Something changed that the reader may wait for; it shares the task, which looks again.
    pub(super) fn reader_may_go_on(&self) {
        if self.reader_blocked.get() {
            self.look_again.set(true);
        }
    }

    /// The connection has ended: replies that are still worked on are cancelled.
    pub(super) fn clear(&self) {
        let queue = std::mem::take(&mut *self.queue.borrow_mut());
        drop(queue);
    }
}
