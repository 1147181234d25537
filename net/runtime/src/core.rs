//! Owns: all of one runtime: tasks, ready queue, timers, operations, watches, driver, pool, counters.
//! Lives on: its thread (in a simulation several share one thread, one current at a time).
//! Invariants: 1. Every cell is borrowed for a few lines only, never across a poll, a drop of foreign code or
//! a wake. 2. A turn polls at most `POLLS_PER_TURN` tasks before it looks at the driver.
//! Not here: what the user holds (`runtime`, `task`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::block::Pool;
use crate::clock::{Instant, read_monotonic};
use crate::companion::Companion;
use crate::config::Backend;
use crate::driver::{Driver, Event, Wait};
use crate::op::{OpKey, Ops};
use crate::runtime::Counters;
use crate::slot::Slot;
use crate::socket::Socket;
use crate::source::{Direction, Watch, Watches};
use crate::task::Tasks;
use crate::timer::Timers;
use crate::waker::TaskId;

/// Tasks polled between two looks at the driver.
const POLLS_PER_TURN: usize = 128;
/// Socket and queue operations one poll of a task may complete before it goes to the back of the queue.
const BUDGET_PER_POLL: u32 = 64;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}

/// Whether this thread is inside of a runtime.
pub fn in_runtime() -> bool {
    with_current(|_| ()).is_some()
}

/// The shard of the current runtime.
///
/// # Panics
/// Outside of a runtime.
pub fn shard() -> usize {
    current().shard
}

/// 64 random bits from the seed of the runtime: the only randomness, so a simulation is repeatable.
/// Not for secrets.
///
/// # Panics
/// Outside of a runtime.
pub fn random() -> u64 {
    with_current(Core::random).expect("random() is called inside of a runtime")
}

pub(crate) fn with_current<T>(f: impl FnOnce(&Core) -> T) -> Option<T> {
    CURRENT
        .try_with(|current| current.borrow().as_deref().map(f))
        .ok()
        .flatten()
}

pub(crate) fn current() -> Rc<Core> {
    CURRENT
        .with(|current| current.borrow().clone())
        .expect("called inside of a corelog runtime: from a task or from Runtime::run")
}

/// Makes a core the current one until dropped.
pub(crate) struct Entered(Option<Rc<Core>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = CURRENT.try_with(|current| current.replace(before));
    }
}

pub(crate) struct Core {
    pub(crate) shard: usize,
    pub(crate) slot: &'static Slot,
    pub(crate) backend: Backend,
    pub(crate) tasks: RefCell<Tasks>,
    pub(crate) ready: RefCell<VecDeque<TaskId>>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) ops: RefCell<Ops>,
    watches: RefCell<Watches>,
    pub(crate) driver: RefCell<Driver>,
    events: RefCell<Vec<Event>>,
    pub(crate) pool: Pool,
    pub(crate) companion: RefCell<Option<Companion>>,
    pub(crate) counters: Counters,
    clock: Cell<Option<Instant>>,
    random: Cell<u64>,
    budget: Cell<u32>,
    pub(crate) cpu: Option<usize>,
    /// Shutting down: nothing new may start.
    pub(crate) closing: Cell<bool>,
}

impl Core {
    pub(crate) fn new(
        shard: usize,
        cpu: Option<usize>,
        seed: u64,
        slot: &'static Slot,
        driver: Driver,
    ) -> Rc<Self> {
        Rc::new(Self {
            shard,
            slot,
            backend: driver.backend(),
            tasks: RefCell::new(Tasks::new(slot)),
            ready: RefCell::default(),
            timers: RefCell::new(Timers::new()),
            ops: RefCell::new(Ops::new()),
            watches: RefCell::new(Watches::new()),
            driver: RefCell::new(driver),
            events: RefCell::default(),
            pool: Pool::new(),
            companion: RefCell::new(None),
            counters: Counters::default(),
            clock: Cell::new(None),
            random: Cell::new(seed),
            budget: Cell::new(0),
            cpu,
            closing: Cell::new(false),
        })
    }

    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered(CURRENT.with(|current| current.replace(Some(self.clone()))))
    }

    pub(crate) fn now(&self) -> Instant {
        if let Some(now) = self.clock.get() {
            return now;
        }
        self.refresh_now()
    }

    pub(crate) fn refresh_now(&self) -> Instant {
        #[cfg(any(test, feature = "sim"))]
        if let Some(now) = self.driver.borrow().virtual_now() {
            return now;
        }
        let now = read_monotonic();
        self.clock.set(Some(now));
        now
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn virtual_wall_clock(&self) -> Option<i64> {
        self.driver.borrow().virtual_wall_clock()
    }

    /// splitmix64.
    pub(crate) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Counts one completed operation against this poll of the task; when the budget is used up the task
    /// goes to the back of the ready queue, so one that always finds work does not starve the others.
    pub(crate) fn spend(&self, cx: &Context<'_>) -> Poll<()> {
        let left = self.budget.get();
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.budget.set(left - 1);
        Poll::Ready(())
    }

    /// Queues a task of this runtime, unless it is stale or queued already.
    pub(crate) fn make_ready(&self, task: TaskId) {
        if self.tasks.borrow_mut().mark_queued(task) {
            self.ready.borrow_mut().push_back(task);
        }
    }

    /// One turn of the loop: foreign wakes, timers, a batch of tasks, the driver (which may sleep, unless the
    /// batch has finished what the loop runs for).
    pub(crate) fn turn(&self, finished: impl Fn() -> bool) {
        self.prepare();
        for _ in 0..POLLS_PER_TURN {
            let Some(task) = self.next_ready() else { break };
            self.poll_task(task);
        }
        if !finished() {
            self.park(self.wait());
        }
    }

    /// Foreign wakes and timers become ready tasks.
    pub(crate) fn prepare(&self) {
        self.counters.turns.set(self.counters.turns.get() + 1);
        if self.slot.has_foreign() {
            self.slot.take_foreign(|index| {
                let task = self.tasks.borrow_mut().queue_index(index);
                if let Some(task) = task {
                    self.ready.borrow_mut().push_back(task);
                }
            });
        }
        if self.timers.borrow().len() > 0 {
            let now = self.now();
            loop {
                let due = self.timers.borrow_mut().take_due(now);
                let Some(waker) = due else { break };
                self.counters.timers.set(self.counters.timers.get() + 1);
                waker.wake();
            }
        }
    }

    pub(crate) fn next_ready(&self) -> Option<TaskId> {
        #[cfg(any(test, feature = "sim"))]
        if self.backend == Backend::Sim {
            // Any ready task may be next: what code may rely on is only what it awaits.
            let count = self.ready.borrow().len();
            let chosen = (count > 0).then(|| crate::sim::below(self.random(), count))?;
            let task = self.ready.borrow_mut().remove(chosen)?;
            if let Some(world) = self.driver.borrow().world() {
                world.note_poll(task.index());
            }
            return Some(task);
        }
        self.ready.borrow_mut().pop_front()
    }

    pub(crate) fn poll_task(&self, task: TaskId) {
        let Some(mut future) = self.tasks.borrow_mut().begin(task) else {
            return;
        };
        self.counters.polls.set(self.counters.polls.get() + 1);
        self.budget.set(BUDGET_PER_POLL);
        // The waker owns nothing: dropping it does nothing.
        let waker = task.waker();
        let done = future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready();
        if let Some(future) = self.tasks.borrow_mut().end(task, future, done) {
            crate::task::drop_quietly(future);
        }
    }

    fn wait(&self) -> Wait {
        if !self.ready.borrow().is_empty() || self.closing.get() {
            return Wait::No;
        }
        let Some(next) = self.timers.borrow().next() else {
            return Wait::Forever;
        };
        // Read afresh: the batch may have taken long.
        let left = next.duration_since(self.refresh_now());
        if left.is_zero() {
            Wait::No
        } else {
            Wait::For(left)
        }
    }

    /// Lets the driver submit, wait and reap, then wakes whom that concerns.
    pub(crate) fn park(&self, wait: Wait) {
        let wait = if wait != Wait::No && !self.slot.fall_asleep() {
            Wait::No
        } else {
            wait
        };
        let mut events = self.events.take();
        // Two readings of the clock, and only when there is nothing to do.
        let asleep = (wait != Wait::No).then(|| self.refresh_now());
        self.driver
            .borrow_mut()
            .park(wait, &mut events, &self.counters);
        self.clock.set(None);
        if let Some(asleep) = asleep {
            self.slot.wake_up();
            let slept = self
                .refresh_now()
                .as_nanos()
                .saturating_sub(asleep.as_nanos());
            let counters = &self.counters;
            counters.sleeps.set(counters.sleeps.get() + 1);
            counters.slept.set(counters.slept.get() + slept);
        }
        for event in events.drain(..) {
            self.dispatch(event);
        }
        self.events.replace(events);
    }

    fn dispatch(&self, event: Event) {
        match event {
            Event::Poll {
                index,
                generation,
                events,
                disarmed,
            } => {
                let wakers = {
                    let watches = self.watches.borrow();
                    let Some(watch) = watches.find(index, generation) else {
                        return;
                    };
                    match disarmed {
                        Some(Direction::Read) => watch.read_armed.set(false),
                        Some(Direction::Write) => watch.write_armed.set(false),
                        None => {}
                    }
                    watch.note(events)
                };
                wakers.into_iter().flatten().for_each(Waker::wake);
            }
            Event::Op { key, outcome, work } => {
                let (waker, orphan) = self.ops.borrow_mut().complete(key, outcome, work);
                drop(orphan);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
    }

    pub(crate) fn start(&self, key: OpKey) {
        self.driver
            .borrow_mut()
            .start(key, &mut self.ops.borrow_mut());
    }

    pub(crate) fn cancel_op(&self, key: OpKey) {
        self.driver.borrow_mut().cancel(key);
    }

    pub(crate) fn watch(&self, socket: &Socket) -> std::io::Result<(u32, Rc<Watch>)> {
        let (index, watch) = self.watches.borrow_mut().insert();
        let registered = self.driver.borrow_mut().register(index, &watch, socket);
        if let Err(error) = registered {
            let watch = self.watches.borrow_mut().remove(index);
            drop(watch);
            return Err(error);
        }
        Ok((index, watch))
    }

    pub(crate) fn unwatch(&self, index: u32, watch: &Watch, socket: &Socket) {
        self.driver.borrow_mut().unregister(index, watch, socket);
        let watch = self.watches.borrow_mut().remove(index);
        drop(watch);
    }

    pub(crate) fn arm(&self, index: u32, watch: &Watch, socket: &Socket, direction: Direction) {
        self.driver
            .borrow_mut()
            .arm(index, watch, socket, direction);
    }

    /// Cancels every task and operation and reaps until nothing is in flight.
    pub(crate) fn shut_down(&self) {
        self.closing.set(true);
        // A dropped task may wake or spawn others; spawns while closing are dropped at once.
        loop {
            let futures = self.tasks.borrow_mut().take_all();
            if futures.is_empty() {
                break;
            }
            futures.into_iter().for_each(crate::task::drop_quietly);
        }
        self.ready.borrow_mut().clear();
        let companion = self.companion.take();
        drop(companion);
        self.driver.borrow_mut().cancel_all();
        while self.driver.borrow().in_flight() > 0 || self.ops.borrow().len() > 0 {
            // Nobody is left to be woken; the bits would only keep it from sleeping.
            self.slot.take_foreign(|_| ());
            self.park(Wait::For(Duration::from_millis(100)));
            if self.driver.borrow().in_flight() > 0 {
                self.driver.borrow_mut().cancel_all();
            }
        }
    }
}
