//! Who holds how much request memory.
//!
//! **Owns** the shard's budget of request bytes and each connection's account with it.
//! **Lives on** one shard; nothing here is shared between cores.
//! **Invariants**
//! 1. `used` of the budget is the sum of all live charges and of nothing else.
//! 2. Waiting connections are served in their order: a large frame is not starved by small ones.
//! 3. When nothing is charged, any request fits: a frame above the whole budget is still read.
//!
//! **Not here**: memory of responses (`queue`), decoding budgets (`wire::Budget`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

#[cfg(test)]
mod tests;

/// The request bytes of a shard.
pub(crate) struct Budget {
    limit: usize,
    used: Cell<usize>,
    waiters: RefCell<VecDeque<Rc<Waiter>>>,
}

struct Waiter {
    bytes: usize,
    granted: Cell<bool>,
    waker: RefCell<Waker>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit,
            used: Cell::new(0),
            waiters: RefCell::default(),
        })
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// Whether a connection waits for memory that others hold.
    pub(crate) fn contended(&self) -> bool {
        !self.waiters.borrow().is_empty()
    }

    fn fits(&self, bytes: usize) -> bool {
        let used = self.used.get();
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    fn try_take(&self, bytes: usize) -> bool {
        let taken = self.fits(bytes) && !self.contended();
        if taken {
            self.used.set(self.used.get() + bytes);
        }
        taken
    }

    async fn take(self: &Rc<Self>, bytes: usize) {
        if self.try_take(bytes) {
            return;
        }
        let mut place = Place {
            budget: self,
            waiter: None,
        };
        poll_fn(|cx| {
            let waiter = place.waiter.get_or_insert_with(|| {
                let waiter = Rc::new(Waiter {
                    bytes,
                    granted: Cell::new(false),
                    waker: RefCell::new(cx.waker().clone()),
                });
                self.waiters.borrow_mut().push_back(Rc::clone(&waiter));
                waiter
            });
            if waiter.granted.get() {
                return Poll::Ready(());
            }
            waiter.waker.borrow_mut().clone_from(cx.waker());
            Poll::Pending
        })
        .await;
        place.waiter = None;
    }

    fn release(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes);
        self.grant();
    }

    #[inline]
    fn grant(&self) {
        if self.contended() {
            self.grant_waiters();
        }
    }

    #[cold]
    fn grant_waiters(&self) {
        loop {
            let next = {
                let mut waiters = self.waiters.borrow_mut();
                match waiters.front() {
                    Some(front) if self.fits(front.bytes) => waiters.pop_front(),
                    _ => None,
                }
            };
            let Some(next) = next else { return };
            self.used.set(self.used.get() + next.bytes);
            next.granted.set(true);
            next.waker.borrow().wake_by_ref();
        }
    }
}

/// A place in the line; given up when the waiting connection ends.
struct Place<'a> {
    budget: &'a Budget,
    waiter: Option<Rc<Waiter>>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(waiter) = self.waiter.take() else {
            return;
        };
        if waiter.granted.get() {
            self.budget.release(waiter.bytes);
        } else {
            self.budget
                .waiters
                .borrow_mut()
                .retain(|other| !Rc::ptr_eq(other, &waiter));
            self.budget.grant(); // the next one may fit where this one did not
        }
    }
}

/// The request bytes of one connection.
pub(crate) struct Account {
    budget: Rc<Budget>,
    bytes: Cell<usize>,
    /// The connection's task, while it waits for its own requests to release memory.
    blocked: RefCell<Option<Waker>>,
}

impl Account {
    pub(crate) fn new(budget: Rc<Budget>) -> Rc<Self> {
        Rc::new(Self {
            budget,
            bytes: Cell::new(0),
            blocked: RefCell::default(),
        })
    }

    /// Bytes charged to this connection.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    /// Wakes this task when the connection's charges next shrink.
    pub(crate) fn wake_when_released(&self, waker: &Waker) {
        *self.blocked.borrow_mut() = Some(waker.clone());
    }

    /// Charges these bytes, after waiting for the shard's budget if need be.
    pub(crate) async fn charge(self: &Rc<Self>, bytes: usize) -> Charge {
        self.budget.take(bytes).await;
        self.bytes.set(self.bytes.get() + bytes);
        Charge {
            account: Rc::clone(self),
            bytes,
        }
    }
}

/// Memory of a request, charged to its connection and its shard until this is dropped.
pub struct Charge {
    account: Rc<Account>,
    bytes: usize,
}

impl Charge {
    /// Bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Charges more for a frame that is arriving. It does not wait, because those who wait may wait
    /// for this frame to end; but it refuses at twice the budget.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Overdrawn> {
        let more = bytes.saturating_sub(self.bytes);
        let budget = &self.account.budget;
        let used = budget.used.get() + more;
        if used > budget.limit.saturating_mul(2) && used > bytes {
            return Err(Overdrawn);
        }
        budget.used.set(used);
        self.account.bytes.set(self.account.bytes.get() + more);
        self.bytes += more;
        Ok(())
    }

    /// Gives back what is above this.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.account.give_back(less);
    }
}

/// The shard holds twice its budget of request bytes.
#[derive(Debug)]
pub(crate) struct Overdrawn;

impl Account {
    fn give_back(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        self.budget.release(bytes);
        let blocked = self.blocked.borrow_mut().take();
        if let Some(waker) = blocked {
            waker.wake();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({})", self.bytes)
    }
}
