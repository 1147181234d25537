//! Owns: waiting between tasks of one shard: `Notify`, `oneshot`, `queue`, `Semaphore`.
//! Lives on: its shard; nothing here is atomic and nothing is `Send`.
//! Invariants: 1. Waiters are served in the order they came. 2. A waiter that was served and is dropped before
//! it looked passes what it was given on, so no wake is lost.
//! Not here: between shards (`mesh`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Waiters in order of arrival. A key stays valid until `leave`.
#[derive(Default)]
struct Waiters {
    line: RefCell<VecDeque<Waiter>>,
    next: Cell<u64>,
}

struct Waiter {
    key: u64,
    waker: Waker,
}

impl Waiters {
    fn join(&self, cx: &Context<'_>) -> u64 {
        let key = self.next.get();
        self.next.set(key + 1);
        self.line.borrow_mut().push_back(Waiter {
            key,
            waker: cx.waker().clone(),
        });
        key
    }

    /// Keeps the waker current; `false` when the waiter was served.
    fn refresh(&self, key: u64, cx: &Context<'_>) -> bool {
        let mut line = self.line.borrow_mut();
        // Keys ascend along the line.
        match line.binary_search_by_key(&key, |waiter| waiter.key) {
            Ok(place) => {
                line[place].waker.clone_from(cx.waker());
                true
            }
            Err(_) => false,
        }
    }

    /// `false` when the waiter was served before.
    fn leave(&self, key: u64) -> bool {
        let mut line = self.line.borrow_mut();
        let place = line.binary_search_by_key(&key, |waiter| waiter.key);
        place.is_ok_and(|place| line.remove(place).is_some())
    }

    /// Serves the first in line.
    fn serve(&self) -> bool {
        let first = self.line.borrow_mut().pop_front();
        match first {
            Some(waiter) => {
                waiter.waker.wake();
                true
            }
            None => false,
        }
    }

    /// Serves everybody who stands in line now; the line keeps its memory.
    // HOT: 0 alloc
    fn serve_all(&self) {
        let until = self.next.get();
        loop {
            let first = {
                let mut line = self.line.borrow_mut();
                let is_due = line.front().is_some_and(|waiter| waiter.key < until);
                is_due.then(|| line.pop_front()).flatten()
            };
            let Some(first) = first else { return };
            first.waker.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.line.borrow().is_empty()
    }
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} waiting", self.line.borrow().len())
    }
}

/// Wakes tasks that wait for «something happened».
#[derive(Default, Debug)]
pub struct Notify {
    waiters: Waiters,
    permit: Cell<bool>,
}

impl Notify {
    /// Nobody waits, nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the first waiter; with none, the next `notified` returns at once (one such permit is kept).
    pub fn notify_one(&self) {
        if !self.waiters.serve() {
            self.permit.set(true);
        }
    }

    /// Wakes all who wait now; keeps no permit.
    pub fn notify_all(&self) {
        self.waiters.serve_all();
    }

    /// Waits for a notification that comes after the first poll (or for the kept permit).
    pub fn notified(&self) -> Notified<'_> {
        Notified {
            notify: self,
            key: None,
        }
    }
}

/// See `Notify::notified`.
#[must_use = "futures do nothing unless awaited"]
pub struct Notified<'a> {
    notify: &'a Notify,
    key: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.key {
            None if self.notify.permit.take() => Poll::Ready(()),
            None => {
                self.key = Some(self.notify.waiters.join(cx));
                Poll::Pending
            }
            Some(key) if self.notify.waiters.refresh(key, cx) => Poll::Pending,
            Some(_) => {
                self.key = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && !self.notify.waiters.leave(key)
        {
            self.notify.notify_one();
        }
    }
}

/// The other end is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other end was dropped")]
pub struct Closed;

/// One value, once, between two tasks of a shard.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let cell = Rc::new(Once {
        state: RefCell::new(OnceState::Empty),
        waiter: RefCell::new(None),
    });
    (Sender { cell: cell.clone() }, Receiver { cell })
}

struct Once<T> {
    state: RefCell<OnceState<T>>,
    waiter: RefCell<Option<Waker>>,
}

enum OnceState<T> {
    Empty,
    Full(T),
    Closed,
}

/// Gives the value. Dropping it unsent tells the receiver `Closed`.
pub struct Sender<T> {
    cell: Rc<Once<T>>,
}

impl<T> Sender<T> {
    /// Gives the value; back when the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        self.cell.state.replace(OnceState::Full(value));
        Ok(())
    }

    /// Whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        matches!(*self.cell.state.borrow(), OnceState::Closed)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        {
            let mut state = self.cell.state.borrow_mut();
            if matches!(*state, OnceState::Empty) {
                *state = OnceState::Closed;
            }
        }
        let waiter = self.cell.waiter.take();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

/// Awaits the value.
#[must_use = "futures do nothing unless awaited"]
pub struct Receiver<T> {
    cell: Rc<Once<T>>,
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Closed>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.cell.state.borrow_mut();
        match std::mem::replace(&mut *state, OnceState::Closed) {
            OnceState::Full(value) => Poll::Ready(Ok(value)),
            OnceState::Closed => Poll::Ready(Err(Closed)),
            OnceState::Empty => {
                *state = OnceState::Empty;
                self.cell.waiter.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.cell.state.replace(OnceState::Closed);
        drop(left);
    }
}

/// Counts what may be done at a time.
pub struct Semaphore {
    free: Cell<usize>,
    waiters: Waiters,
}

impl Semaphore {
    /// With this many permits.
    pub fn new(permits: usize) -> Self {
        Self {
            free: Cell::new(permits),
            waiters: Waiters::default(),
        }
    }

    /// Permits free now.
    pub fn available(&self) -> usize {
        self.free.get()
    }

    /// A permit if one is free.
    pub fn try_acquire(&self) -> Option<Permit<'_>> {
        let free = self.free.get();
        (free > 0 && self.waiters.is_empty()).then(|| {
            self.free.set(free - 1);
            Permit { semaphore: self }
        })
    }

    /// Waits for a permit, first come first served.
    pub async fn acquire(&self) -> Permit<'_> {
        let mut turn = Turn {
            semaphore: self,
            key: None,
        };
        std::future::poll_fn(|cx| turn.poll(cx)).await
    }

    /// Gives permits back (forgotten ones, or new ones).
    pub fn release(&self, permits: usize) {
        for _ in 0..permits {
            // A permit goes to the first in line by name; it counts as free only when nobody waits.
            if !self.waiters.serve() {
                self.free.set(self.free.get() + 1);
            }
        }
    }
}

struct Turn<'a> {
    semaphore: &'a Semaphore,
    key: Option<u64>,
}

impl<'a> Turn<'a> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Permit<'a>> {
        match self.key {
            None => {
                if let Some(permit) = self.semaphore.try_acquire() {
                    return Poll::Ready(permit);
                }
                self.key = Some(self.semaphore.waiters.join(cx));
                Poll::Pending
            }
            Some(key) if self.semaphore.waiters.refresh(key, cx) => Poll::Pending,
            Some(_) => {
                self.key = None;
                Poll::Ready(Permit {
                    semaphore: self.semaphore,
                })
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key
            && !self.semaphore.waiters.leave(key)
        {
            self.semaphore.release(1);
        }
    }
}

/// Held while doing what a semaphore counts.
#[must_use = "a permit that is dropped is free again"]
pub struct Permit<'a> {
    semaphore: &'a Semaphore,
}

impl Permit<'_> {
    /// Keeps the permit taken; `Semaphore::release` gives it back.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.semaphore.release(1);
    }
}

/// A bounded first-in-first-out queue between tasks of one shard. Clones share it.
pub fn queue<T>(capacity: usize) -> Queue<T> {
    Queue {
        shared: Rc::new(QueueShared {
            items: RefCell::default(),
            capacity: capacity.max(1),
            closed: Cell::new(false),
            takers: Notify::new(),
            givers: Notify::new(),
        }),
    }
}

struct QueueShared<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    closed: Cell<bool>,
    takers: Notify,
    givers: Notify,
}

/// See `queue`.
pub struct Queue<T> {
    shared: Rc<QueueShared<T>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Queue<T> {
    /// Puts an item in if there is room and the queue is open; back else.
    pub fn try_push(&self, item: T) -> Result<(), T> {
        let mut items = self.shared.items.borrow_mut();
        if self.shared.closed.get() || items.len() >= self.shared.capacity {
            return Err(item);
        }
        items.push_back(item);
        drop(items);
        self.shared.takers.notify_one();
        Ok(())
    }

    /// Waits for room; the item comes back when the queue is closed.
    pub async fn push(&self, mut item: T) -> Result<(), T> {
        loop {
            match self.try_push(item) {
                Ok(()) => {
                    // A permit stands for «look again»: pass it on while there is room.
                    if self.len() < self.shared.capacity {
                        self.shared.givers.notify_one();
                    }
                    return Ok(());
                }
                Err(back) if self.shared.closed.get() => return Err(back),
                Err(back) => item = back,
            }
            self.shared.givers.notified().await;
        }
    }

    /// The next item if there is one.
    pub fn try_pop(&self) -> Option<T> {
        let item = self.shared.items.borrow_mut().pop_front();
        if item.is_some() {
            self.shared.givers.notify_one();
        }
        item
    }

    /// Waits for the next item; `None` when the queue is closed and empty.
    pub async fn pop(&self) -> Option<T> {
        loop {
            if let Some(item) = self.try_pop() {
                if !self.is_empty() {
                    self.shared.takers.notify_one();
                }
                return Some(item);
            }
            if self.shared.closed.get() {
                return None;
            }
            self.shared.takers.notified().await;
        }
    }

    /// Takes nothing more in; what is inside can still be taken out.
    pub fn close(&self) {
        self.shared.closed.set(true);
        self.shared.takers.notify_all();
        self.shared.givers.notify_all();
    }

    /// Items inside.
    pub fn len(&self) -> usize {
        self.shared.items.borrow().len()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
