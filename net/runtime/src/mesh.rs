//! Owns: the queues between shards: one bounded ring per ordered pair, and the wake-ups over them.
//! Lives on: between shards; a `Port` may be moved to its thread and then lives on its shard.
//! Invariants: 1. One producer and one consumer per ring: a `Port` is not `Sync`, and each ring's ends belong to
//! one port each. 2. Who finds a ring empty or full registers, then looks again, then waits; who pushes
//! or pops looks for the registration afterwards: no wake is lost. 3. A wake is a bit in memory; the eventfd is
//! written only when the target sleeps.
//! Not here: what the messages mean, and which may call which (broker `mesh`).
#![expect(
    unsafe_code,
    reason = "a single-producer single-consumer ring of cells"
)]

use std::cell::{Cell, RefCell, UnsafeCell};
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::core::with_current;
use crate::shared_waker::SharedWaker;

/// One port per shard; each can send to every other (and to itself). `capacity` is per ordered pair.
pub fn mesh<T: Send + 'static>(shards: usize, capacity: usize) -> Vec<Port<T>> {
    let capacity = capacity.max(1).next_power_of_two();
    let bells: Vec<_> = (0..shards).map(|_| Arc::new(SharedWaker::new())).collect();
    let lines: Vec<Vec<Arc<Line<T>>>> = (0..shards)
        .map(|_| (0..shards).map(|_| Arc::new(Line::new(capacity))).collect())
        .collect();
    (0..shards)
        .map(|me| Port {
            me,
            bell: bells[me].clone(),
            bells: bells.clone(),
            outgoing: (0..shards).map(|to| lines[me][to].clone()).collect(),
            incoming: (0..shards).map(|from| lines[from][me].clone()).collect(),
            stuck: (0..shards).map(|_| RefCell::default()).collect(),
            turn: Cell::new(0),
        })
        .collect()
}

/// One shard's end of the mesh.
pub struct Port<T> {
    me: usize,
    bell: Arc<SharedWaker>,
    bells: Vec<Arc<SharedWaker>>,
    outgoing: Vec<Arc<Line<T>>>,
    incoming: Vec<Arc<Line<T>>>,
    /// Tasks here that wait for room, per target.
    stuck: Vec<RefCell<Vec<Waker>>>,
    /// The queue to look at first, so that no sender starves another.
    turn: Cell<usize>,
}

impl<T: Send + 'static> Port<T> {
    /// The shard this port belongs to.
    pub fn shard(&self) -> usize {
        self.me
    }

    /// How many shards the mesh has.
    pub fn shards(&self) -> usize {
        self.outgoing.len()
    }

    /// Puts a message into the queue to a shard; back when that queue is full.
    // HOT: 0 alloc
    pub fn try_send(&self, to: usize, message: T) -> Result<(), T> {
        self.outgoing[to].push(message)?;
        self.bells[to].wake();
        Ok(())
    }

    /// Waits for room. Messages of one task arrive in the order sent. A port whose receiver is gone has a
    /// queue that stays full.
    pub async fn send(&self, to: usize, message: T) {
        let mut message = Some(message);
        let mut wait = Stuck {
            port: self,
            to,
            waited: false,
        };
        poll_fn(move |cx| wait.poll(&mut message, cx)).await;
    }

    /// The next message and who sent it, the senders taking turns. One task receives at a time.
    pub async fn recv(&self) -> (usize, T) {
        poll_fn(|cx| {
            if with_current(|core| core.spend(cx).is_pending()) == Some(true) {
                return Poll::Pending;
            }
            if let Some(received) = self.try_recv() {
                return Poll::Ready(received);
            }
            self.bell.register(cx.waker());
            match self.try_recv() {
                Some(received) => Poll::Ready(received),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// The next message if there is one.
    pub fn try_recv(&self) -> Option<(usize, T)> {
        let count = self.incoming.len();
        for step in 0..count {
            let from = (self.turn.get() + step) % count;
            if let Some(message) = self.incoming[from].pop() {
                self.turn.set((from + 1) % count);
                self.incoming[from].room.wake();
                return Some((from, message));
            }
        }
        None
    }

    /// Messages under way to this port.
    pub fn pending(&self) -> usize {
        self.incoming.iter().map(|line| line.len()).sum()
    }

    fn wake_stuck(&self, to: usize) {
        let stuck = self.stuck[to].take();
        for waker in stuck {
            waker.wake();
        }
    }
}

/// A send that waits for room.
struct Stuck<'a, T: Send + 'static> {
    port: &'a Port<T>,
    to: usize,
    waited: bool,
}

impl<T: Send + 'static> Stuck<'_, T> {
    fn poll(&mut self, message: &mut Option<T>, cx: &Context<'_>) -> Poll<()> {
        for register in [true, false] {
            let Some(held) = message.take() else {
                return Poll::Ready(());
            };
            match self.port.try_send(self.to, held) {
                Ok(()) => return Poll::Ready(()),
                Err(back) => *message = Some(back),
            }
            if register {
                self.port.outgoing[self.to].room.register(cx.waker());
            }
        }
        // The registration holds one waker only: the others of this shard wait here, and whoever is woken
        // (or dropped) wakes them to look again.
        self.waited = true;
        let mut stuck = self.port.stuck[self.to].borrow_mut();
        if !stuck.iter().any(|waker| waker.will_wake(cx.waker())) {
            stuck.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl<T: Send + 'static> Drop for Stuck<'_, T> {
    fn drop(&mut self) {
        if self.waited {
            self.port.wake_stuck(self.to);
        }
    }
}

/// A bounded ring with one producer and one consumer.
struct Line<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Messages taken so far; written by the consumer.
    head: Apart<AtomicUsize>,
    /// Messages put so far; written by the producer.
    tail: Apart<AtomicUsize>,
    /// The producer's waker, when the ring was full.
    room: SharedWaker,
}

/// On a cache line of its own.
#[repr(align(128))]
struct Apart<T>(T);

// SAFETY: a cell is touched by the producer before `tail` passes it and by the consumer after, and the other
// way round for `head`; the messages themselves are Send.
unsafe impl<T: Send> Sync for Line<T> {}
// SAFETY: owning the ring is owning its messages, which are Send.
unsafe impl<T: Send> Send for Line<T> {}

impl<T> Line<T> {
    fn new(capacity: usize) -> Self {
        Self {
            cells: (0..capacity)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
            head: Apart(AtomicUsize::new(0)),
            tail: Apart(AtomicUsize::new(0)),
            room: SharedWaker::new(),
        }
    }

    fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Acquire);
        self.tail.0.load(Ordering::Acquire).wrapping_sub(head)
    }

    /// Called by the one producer.
    fn push(&self, message: T) -> Result<(), T> {
        let tail = self.tail.0.load(Ordering::Relaxed);
        if tail.wrapping_sub(self.head.0.load(Ordering::Acquire)) == self.cells.len() {
            return Err(message);
        }
        let cell = self.cells[tail & (self.cells.len() - 1)].get();
        // SAFETY: `head` says the consumer is done with this cell, and only this producer writes.
        unsafe { cell.write(MaybeUninit::new(message)) };
        self.tail.0.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Called by the one consumer.
    fn pop(&self) -> Option<T> {
        let head = self.head.0.load(Ordering::Relaxed);
        if head == self.tail.0.load(Ordering::Acquire) {
            return None;
        }
        let cell = self.cells[head & (self.cells.len() - 1)].get();
        // SAFETY: `tail` says the producer has written this cell, and only this consumer reads.
        let held = unsafe { cell.read() };
        // SAFETY: it was written by `push` and is taken once: `head` moves past it next.
        let message = unsafe { held.assume_init() };
        self.head.0.store(head.wrapping_add(1), Ordering::Release);
        Some(message)
    }
}

impl<T> Drop for Line<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
