//! Owns: the choice between the drivers, which carry out the same plain-data operations.
//! Lives on: its shard.
//! Invariants: a driver wakes nobody; it reports events, and the core wakes once nothing is borrowed.
//! Not here: the drivers (`ring`, `readiness`, `sim`).

use std::io;
use std::time::Duration;

use crate::config::Backend;
use crate::op::{OpKey, Ops, Outcome, Work};
use crate::readiness::Readiness;
use crate::ring::Ring;
use crate::runtime::Counters;
use crate::socket::Socket;
use crate::source::{Direction, Watch};

/// How long `park` may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    For(Duration),
    Forever,
}

/// What a driver reports.
pub(crate) enum Event {
    /// An edge on a descriptor, as `poll(2)` bits; `disarmed` says which poll has ended.
    Poll {
        index: u32,
        generation: u32,
        events: u32,
        disarmed: Option<Direction>,
    },
    /// An operation is done; helper threads bring the work back.
    Op {
        key: OpKey,
        outcome: Outcome,
        work: Option<Box<Work>>,
    },
}

pub(crate) enum Driver {
    Ring(Box<Ring>),
    Readiness(Box<Readiness>),
    #[cfg(any(test, feature = "sim"))]
    Sim(crate::sim::Driver),
}

impl Driver {
    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Ring(_) => Backend::Ring,
            Self::Readiness(_) => Backend::Readiness,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => Backend::Sim,
        }
    }

    pub(crate) fn register(
        &mut self,
        index: u32,
        watch: &Watch,
        socket: &Socket,
    ) -> io::Result<()> {
        match self {
            Self::Ring(_) => Ok(()),
            Self::Readiness(readiness) => readiness.register(index, watch, socket.fd()),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.register(index, watch, socket),
        }
    }

    pub(crate) fn unregister(&mut self, index: u32, watch: &Watch, socket: &Socket) {
        match self {
            Self::Ring(ring) => ring.disarm(index, watch),
            Self::Readiness(readiness) => readiness.unregister(socket.fd()),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.unregister(socket),
        }
    }

    pub(crate) fn arm(&mut self, index: u32, watch: &Watch, socket: &Socket, direction: Direction) {
        match self {
            Self::Ring(ring) => ring.arm(index, watch, socket.fd(), direction),
            // Registered once, for every edge.
            Self::Readiness(_) => {}
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => {}
        }
    }

    pub(crate) fn start(&mut self, key: OpKey, ops: &mut Ops) {
        match self {
            Self::Ring(ring) => ring.start(key, ops),
            Self::Readiness(readiness) => readiness.start(key, ops),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.start(key, ops),
        }
    }

    pub(crate) fn cancel(&mut self, key: OpKey) {
        match self {
            Self::Ring(ring) => ring.cancel(key),
            // The helper finishes what it was sent; its answer finds an orphaned slot.
            Self::Readiness(_) => {}
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => {}
        }
    }

    pub(crate) fn cancel_all(&mut self) {
        match self {
            Self::Ring(ring) => ring.cancel_all(),
            Self::Readiness(_) => {}
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.cancel_all(),
        }
    }

    /// Operations and polls that the kernel (or a helper) still holds.
    pub(crate) fn in_flight(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.in_flight(),
            Self::Readiness(readiness) => readiness.in_flight(),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.in_flight(),
        }
    }

    pub(crate) fn park(&mut self, wait: Wait, events: &mut Vec<Event>, counters: &Counters) {
        match self {
            Self::Ring(ring) => ring.park(wait, events, counters),
            Self::Readiness(readiness) => readiness.park(wait, events, counters),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(sim) => sim.park(events),
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn world(&self) -> Option<&crate::sim::Driver> {
        match self {
            Self::Sim(sim) => Some(sim),
            Self::Ring(_) | Self::Readiness(_) => None,
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn virtual_now(&self) -> Option<crate::clock::Instant> {
        self.world().map(crate::sim::Driver::now)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn virtual_wall_clock(&self) -> Option<i64> {
        self.world().map(crate::sim::Driver::wall_clock)
    }
}
