//! Owns the deadlines of a coordinator, in order.
//! Lives inside its coordinator.
//! Invariants:
//! 1. Every slot has exactly one entry in `order`, at `queued`, and `queued <= deadline`.
//! 2. Moving a deadline later writes one field: the entry is moved when it comes up, once per period, not per heartbeat.
//!
//! Not here: what an alarm means (`Coordinator::ring`).

use std::collections::BTreeSet;

use slab::Slab;

/// Alarms by deadline, in milliseconds on the steady clock.
#[derive(Debug)]
pub(super) struct Timers<A> {
    slots: Slab<Slot<A>>,
    order: BTreeSet<(u64, usize)>,
    operations: u64,
}

#[derive(Debug)]
struct Slot<A> {
    deadline: u64,
    queued: u64,
    alarm: A,
}

/// A running timer. Valid until it is cancelled or its alarm is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerId(usize);

impl<A> Timers<A> {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            order: BTreeSet::new(),
            operations: 0,
        }
    }

    pub(super) fn start(&mut self, deadline: u64, alarm: A) -> TimerId {
        let slot = self.slots.insert(Slot {
            deadline,
            queued: deadline,
            alarm,
        });
        self.order.insert((deadline, slot));
        self.operations += 1;
        TimerId(slot)
    }

    /// Moves the deadline. Later costs a store; earlier costs a move in the order.
    // HOT: 0 alloc
    pub(super) fn restart(&mut self, TimerId(id): TimerId, deadline: u64) {
        let slot = &mut self.slots[id];
        slot.deadline = deadline;
        if deadline < slot.queued {
            self.order.remove(&(slot.queued, id));
            slot.queued = deadline;
            self.order.insert((deadline, id));
            self.operations += 2;
        }
    }

    pub(super) fn cancel(&mut self, TimerId(id): TimerId) {
        let slot = self.slots.remove(id);
        self.order.remove(&(slot.queued, id));
        self.operations += 1;
    }

    /// The next alarm due at `now`; its timer is gone with it.
    pub(super) fn pop(&mut self, now: u64) -> Option<A> {
        while let Some(&(queued, id)) = self.order.first() {
            if queued > now {
                return None;
            }
            self.order.pop_first();
            self.operations += 1;
            let slot = &mut self.slots[id];
            if slot.deadline <= now {
                return Some(self.slots.remove(id).alarm);
            }
            slot.queued = slot.deadline;
            self.order.insert((slot.queued, id));
            self.operations += 1;
        }
        None
    }

    /// Not later than the earliest deadline.
    pub(super) fn next(&self) -> Option<u64> {
        self.order.first().map(|&(queued, _)| queued)
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
    }

    /// Moves within the order so far: what timers cost.
    #[cfg(test)]
    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.slots.len(), self.order.len());
        self.slots.len()
    }
}
