//! Owns: starting, running and ending a runtime; its counters.
//! Lives on: the thread that made it.
//! Invariants: `run` returns only when no task is left and no operation is in flight; so does dropping a
//! runtime that never ran, and unwinding out of one.
//! Not here: the loop itself (`core`).

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;

use crate::config::{Backend, BackendChoice, Config, StartError};
use crate::core::{Core, in_runtime};
use crate::driver::Driver;
use crate::readiness::Readiness;
use crate::ring::Ring;
use crate::slot::Slot;
use crate::task::spawn;

/// The runtime of one shard. Belongs to the thread that made it.
pub struct Runtime {
    core: Rc<Core>,
}

impl Runtime {
    /// Makes a runtime on this thread and, when asked, pins the thread.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        if in_runtime() {
            return Err(StartError::Nested);
        }
        if let Some(cpu) = config.cpu {
            crate::limits::pin(cpu).map_err(|source| StartError::Pin {
                shard: config.shard,
                cpu,
                source,
            })?;
        }
        let slot = Slot::claim()?;
        let driver = choose(config, slot).inspect_err(|_| slot.release())?;
        Ok(Self {
            core: Core::new(config.shard, config.cpu, config.seed, slot, driver),
        })
    }

    /// A runtime whose turns the simulated world takes.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn hosted(core: Rc<Core>) -> Self {
        Self { core }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// The driver it runs on.
    pub fn backend(&self) -> Backend {
        self.core.backend
    }

    /// Runs until `root` is done. Then cancels every task that is left (its future is dropped), cancels every
    /// operation and waits for the kernel to let go of every buffer; joins the companion thread.
    ///
    /// # Panics
    /// When `root` panicked.
    pub fn run<T: 'static>(self, root: impl Future<Output = T> + 'static) -> T {
        let entered = self.core.enter();
        let root = spawn("root", root);
        while !root.is_done() {
            self.core.turn(|| root.is_done());
        }
        let result = root.take_result().expect("a finished task has its result");
        drop(root);
        drop(entered);
        drop(self);
        match result {
            Ok(value) => value,
            Err(panicked) => panic!("{panicked}"),
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let entered = self.core.enter();
        self.core.shut_down();
        drop(entered);
        self.core.slot.release();
    }
}

fn choose(config: &Config, slot: &'static Slot) -> Result<Driver, StartError> {
    let ring = || Ring::new(config.ring_entries, slot).map(|ring| Driver::Ring(Box::new(ring)));
    let readiness = || match Readiness::new(config.shard, slot) {
        Ok(readiness) => Ok(Driver::Readiness(Box::new(readiness))),
        Err(error) => Err(StartError::Readiness(error)),
    };
    match config.backend {
        BackendChoice::Ring => ring(),
        BackendChoice::Readiness => readiness(),
        BackendChoice::Auto => ring().or_else(|refusal| {
            tracing::warn!(shard = config.shard, "running on epoll: {refusal}");
            readiness()
        }),
    }
}

/// What a runtime has done and holds, for metrics and tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Turns of the loop.
    pub turns: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// System calls into the driver (`io_uring_enter` or `epoll_wait`).
    pub enters: u64,
    /// Times the loop allowed itself to sleep.
    pub sleeps: u64,
    /// Nanoseconds that it slept: the rest of the time it was busy, or waited for its core.
    pub slept_ns: u64,
    /// Timers fired.
    pub timers: u64,
    /// Tasks alive.
    pub tasks: usize,
    /// Timers set.
    pub timers_set: usize,
    /// File operations in flight.
    pub operations: usize,
    /// Blocks of this shard's pool in hands anywhere.
    pub blocks: usize,
    /// Memory of this shard's pool that waits to be used again, bytes.
    pub pooled_bytes: usize,
}

/// Counters of the current runtime.
///
/// # Panics
/// Outside of a runtime.
pub fn stats() -> Stats {
    let core = crate::core::current();
    let counters = &core.counters;
    let tasks = core.tasks.borrow().alive();
    let timers_set = core.timers.borrow().len();
    let operations = core.ops.borrow().len();
    Stats {
        turns: counters.turns.get(),
        polls: counters.polls.get(),
        enters: counters.enters.get(),
        sleeps: counters.sleeps.get(),
        slept_ns: counters.slept.get(),
        timers: counters.timers.get(),
        tasks,
        timers_set,
        operations,
        blocks: core.pool.alive(),
        pooled_bytes: core.pool.bytes(),
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) turns: Cell<u64>,
    pub(crate) polls: Cell<u64>,
    pub(crate) enters: Cell<u64>,
    pub(crate) sleeps: Cell<u64>,
    pub(crate) slept: Cell<u64>,
    pub(crate) timers: Cell<u64>,
}
