//! Owns: the simulated world: one virtual clock, a network, disks, and several runtimes on one thread.
//! Lives on: the thread of the test; everything in it is a function of the seed.
//! Invariants: 1. Nothing here reads a real clock, socket or file. 2. Equal seeds give equal traces, bit for
//! bit. 3. Which runtime, which task and which of several due events is next is drawn from the seed.
//! 4. Time moves only when no runtime has anything to do.
//! Not here: the executor, timers, mesh, buffers: they are the production ones.

mod disk;
mod net;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

use crate::clock::Instant;
use crate::core::{Core, with_current};
use crate::driver::{Event, Wait};
use crate::op::{OpKey, Ops, Work};
use crate::runtime::Runtime;
use crate::slot::Slot;
use crate::socket::Socket as AnySocket;
use crate::source::Watch;
use crate::task::{Panicked, Task, spawn};
use disk::Disk;
use net::Net;
pub(crate) use net::Socket;

/// The world. Clones are the same world.
#[derive(Clone)]
pub struct World {
    shared: Rc<Shared>,
}

struct Shared {
    state: RefCell<State>,
    runtimes: RefCell<Vec<Option<Hosted>>>,
}

/// A runtime in the world, by number.
type Node = usize;

struct Hosted {
    host: String,
    runtime: Runtime,
    done: Rc<dyn Fn() -> bool>,
}

/// What `World::run` came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every root is done.
    Finished,
    /// Some root is not done and nothing will ever happen again.
    Stuck,
    /// The time given is over.
    TimeOver,
}

/// The root of a simulated runtime.
pub struct Root<T> {
    task: Rc<RefCell<Option<Task<T>>>>,
}

impl<T: 'static> Root<T> {
    /// Its result, once it is done; a crashed one never is.
    pub fn take(&self) -> Option<Result<T, Panicked>> {
        self.task.borrow().as_ref().and_then(Task::take_result)
    }
}

impl World {
    /// A world that is a function of `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            now: 1_000_000_000,
            random: seed,
            trace: seed,
            steps: 0,
            order: 0,
            queue: BTreeMap::new(),
            nodes: Vec::new(),
            net: Net::default(),
            disk: Disk::default(),
            cut: BTreeSet::new(),
        };
        Self {
            shared: Rc::new(Shared {
                state: RefCell::new(state),
                runtimes: RefCell::default(),
            }),
        }
    }

    /// The world the current runtime lives in.
    pub fn current() -> Option<Self> {
        with_current(|core| {
            core.driver
                .borrow()
                .world()
                .map(|driver| driver.world.clone())
        })
        .flatten()
    }

    /// Starts a runtime on a host (made by naming it). Hosts crash and are cut off as a whole.
    ///
    /// # Panics
    /// When the process has no room for one runtime more.
    pub fn start<T: 'static>(
        &self,
        host: &str,
        shard: usize,
        root: impl Future<Output = T> + 'static,
    ) -> Root<T> {
        let slot = Slot::claim().expect("a simulation has far fewer than 4096 runtimes");
        let (node, seed) = {
            let mut state = self.shared.state.borrow_mut();
            state.nodes.push(NodeState {
                host: host.to_owned(),
                ..NodeState::default()
            });
            (state.nodes.len() - 1, state.draw())
        };
        let driver = crate::driver::Driver::Sim(Driver {
            world: self.clone(),
            node,
        });
        let runtime = Runtime::hosted(Core::new(shard, None, seed, slot, driver));
        let entered = runtime.core().enter();
        let task = Rc::new(RefCell::new(Some(spawn("root", root))));
        drop(entered);
        let watched = task.clone();
        let done: Rc<dyn Fn() -> bool> =
            Rc::new(move || watched.borrow().as_ref().is_some_and(Task::is_done));
        let hosted = Hosted {
            host: host.to_owned(),
            runtime,
            done,
        };
        self.shared.runtimes.borrow_mut().push(Some(hosted));
        Root { task }
    }

    /// Runs until every root is done or nothing can happen any more.
    pub fn run(&self) -> Ended {
        self.run_until(Instant::MAX)
    }

    /// Runs for a span of virtual time.
    pub fn run_for(&self, span: Duration) -> Ended {
        self.run_until(self.now() + span)
    }

    /// Runs until a point of the virtual clock.
    pub fn run_until(&self, end: Instant) -> Ended {
        loop {
            self.retire();
            let busy = self.busy();
            if !busy.is_empty() {
                let chosen = below(self.shared.state.borrow_mut().draw(), busy.len());
                self.turn(busy[chosen]);
                continue;
            }
            if self.shared.runtimes.borrow().iter().all(Option::is_none) {
                return Ended::Finished;
            }
            match self.next_time() {
                None => return Ended::Stuck,
                Some(time) if time > end => {
                    let mut state = self.shared.state.borrow_mut();
                    state.now = state.now.max(end.as_nanos());
                    return Ended::TimeOver;
                }
                Some(time) => self.advance(time),
            }
        }
    }

    /// The virtual clock.
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.shared.state.borrow().now)
    }

    /// A digest of everything that has happened, in order, and how many steps that was.
    pub fn trace(&self) -> (u64, u64) {
        let state = self.shared.state.borrow();
        (state.trace, state.steps)
    }

    /// A draw from the world's randomness, for the test's own choices.
    pub fn random(&self) -> u64 {
        self.shared.state.borrow_mut().draw()
    }

    /// The host dies: its tasks are dropped, its connections reset, what it had not synced is lost, in whole
    /// or in part. Its files stay, for whoever is started there next.
    pub fn crash(&self, host: &str) {
        let victims: Vec<Hosted> = {
            let mut runtimes = self.shared.runtimes.borrow_mut();
            let of_host = |hosted: &mut Option<Hosted>| {
                hosted.as_ref().is_some_and(|hosted| hosted.host == host)
            };
            runtimes
                .iter_mut()
                .filter_map(|hosted| of_host(hosted).then(|| hosted.take())?)
                .collect()
        };
        {
            // First the world forgets the host: what its tasks do while they are dropped reaches nobody.
            let mut state = self.shared.state.borrow_mut();
            state.crash(host);
        }
        drop(victims);
        self.shared.state.borrow_mut().disk.crash_done(host);
    }

    /// Ends every runtime that is left, as `crash` does but without a crash: for worlds that got stuck.
    pub fn end(&self) {
        let left: Vec<Hosted> = self
            .shared
            .runtimes
            .borrow_mut()
            .iter_mut()
            .filter_map(Option::take)
            .collect();
        drop(left);
    }

    /// Holds back everything between two hosts, both ways, until `heal`.
    pub fn cut(&self, one: &str, other: &str) {
        self.shared.state.borrow_mut().cut.insert(pair(one, other));
    }

    /// Ends a `cut`; what was held back arrives.
    pub fn heal(&self, one: &str, other: &str) {
        self.shared.state.borrow_mut().cut.remove(&pair(one, other));
    }

    /// Finished runtimes end: their tasks are dropped and their operations cancelled.
    fn retire(&self) {
        loop {
            let done = {
                let mut runtimes = self.shared.runtimes.borrow_mut();
                let place = runtimes
                    .iter_mut()
                    .find(|hosted| hosted.as_ref().is_some_and(|hosted| (hosted.done)()));
                place.and_then(Option::take)
            };
            if done.is_none() {
                return;
            }
            drop(done);
        }
    }

    fn busy(&self) -> Vec<Node> {
        let runtimes = self.shared.runtimes.borrow();
        let state = self.shared.state.borrow();
        let is_busy = |node: &Node| {
            runtimes[*node].as_ref().is_some_and(|hosted| {
                let core = hosted.runtime.core();
                !core.ready.borrow().is_empty()
                    || core.slot.has_foreign()
                    || !state.nodes[*node].inbox.is_empty()
                    || core
                        .timers
                        .borrow()
                        .next()
                        .is_some_and(|due| due.as_nanos() <= state.now)
            })
        };
        (0..runtimes.len()).filter(is_busy).collect()
    }

    fn turn(&self, node: Node) {
        let core = match &self.shared.runtimes.borrow()[node] {
            Some(hosted) => hosted.runtime.core().clone(),
            None => return,
        };
        let polls = {
            let mut state = self.shared.state.borrow_mut();
            state.note(1, node as u64);
            1 + below(state.draw(), 8)
        };
        let entered = core.enter();
        core.prepare();
        for _ in 0..polls {
            let Some(task) = core.next_ready() else { break };
            core.poll_task(task);
        }
        core.park(Wait::No);
        drop(entered);
    }

    fn next_time(&self) -> Option<Instant> {
        let queued = self
            .shared
            .state
            .borrow()
            .queue
            .first_key_value()
            .map(|((time, _), _)| *time);
        let runtimes = self.shared.runtimes.borrow();
        let timers = runtimes.iter().flatten().filter_map(|hosted| {
            hosted
                .runtime
                .core()
                .timers
                .borrow()
                .next()
                .map(Instant::as_nanos)
        });
        timers.chain(queued).min().map(Instant::from_nanos)
    }

    fn advance(&self, time: Instant) {
        let mut state = self.shared.state.borrow_mut();
        state.now = state.now.max(time.as_nanos());
        while let Some(entry) = state.queue.first_entry() {
            if entry.key().0 > time.as_nanos() {
                break;
            }
            let ((at, _), what) = entry.remove_entry();
            state.note(2, at);
            state.happen(what);
        }
    }
}

/// What the world's clock brings.
#[derive(Clone, Copy)]
enum What {
    /// An operation of a runtime completes.
    Op(Node, OpKey),
    Net(net::What),
}

#[derive(Default)]
struct NodeState {
    host: String,
    inbox: Vec<Event>,
    in_flight: BTreeMap<(u32, u32), Box<Work>>,
    dead: bool,
}

struct State {
    now: u64,
    random: u64,
    trace: u64,
    steps: u64,
    order: u64,
    /// By time, then by a drawn number: events of one time come in any order.
    queue: BTreeMap<(u64, u64), What>,
    nodes: Vec<NodeState>,
    net: Net,
    disk: Disk,
    cut: BTreeSet<(String, String)>,
}

impl State {
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    fn note(&mut self, kind: u64, what: u64) {
        self.steps += 1;
        self.trace = mix(self.trace ^ mix(self.now) ^ mix(kind << 56 ^ what));
    }

    fn between(&mut self, low_us: u64, high_us: u64) -> u64 {
        let span = high_us - low_us;
        (low_us + self.draw() % span.max(1)) * 1000
    }

    fn after(&mut self, delay_ns: u64, what: What) {
        self.order += 1;
        let tie = self.draw() << 32 | (self.order & 0xffff_ffff);
        self.queue.insert((self.now + delay_ns, tie), what);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Op(node, key) => {
                let Some(mut work) = self.nodes[node]
                    .in_flight
                    .remove(&(key.index, key.generation))
                else {
                    return;
                };
                let outcome = self.disk.carry_out(&mut work);
                let event = Event::Op {
                    key,
                    outcome,
                    work: Some(work),
                };
                self.nodes[node].inbox.push(event);
            }
            What::Net(what) => self.net_happens(what),
        }
    }

    fn is_cut(&self, one: Node, other: Node) -> bool {
        !self.cut.is_empty()
            && self
                .cut
                .contains(&pair(&self.nodes[one].host, &self.nodes[other].host))
    }

    fn crash(&mut self, host: &str) {
        let nodes: Vec<Node> = (0..self.nodes.len())
            .filter(|node| self.nodes[*node].host == host)
            .collect();
        for node in nodes {
            if !std::mem::replace(&mut self.nodes[node].dead, true) {
                self.drop_sockets_of(node);
            }
        }
        let seed = self.draw();
        self.disk.crash(host, seed);
    }
}

/// The driver of one simulated runtime.
pub(crate) struct Driver {
    world: World,
    node: Node,
}

impl Driver {
    pub(crate) fn now(&self) -> Instant {
        self.world.now()
    }

    /// The virtual clock starts at 2023-11-14.
    pub(crate) fn wall_clock(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX / 2)
    }

    pub(crate) fn note_poll(&self, task: u32) {
        self.world
            .shared
            .state
            .borrow_mut()
            .note(3, (self.node as u64) << 32 | u64::from(task));
    }

    pub(crate) fn register(&self, index: u32, watch: &Watch, socket: &AnySocket) -> io::Result<()> {
        let AnySocket::Sim(socket) = socket else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut state = self.world.shared.state.borrow_mut();
        state.watch(socket.id(), Some((self.node, index, watch.generation)));
        Ok(())
    }

    pub(crate) fn unregister(&self, socket: &AnySocket) {
        if let AnySocket::Sim(socket) = socket {
            self.world
                .shared
                .state
                .borrow_mut()
                .watch(socket.id(), None);
        }
    }

    pub(crate) fn start(&self, key: OpKey, ops: &mut Ops) {
        let work = ops.take_work(key).expect("a fresh operation has its work");
        let mut state = self.world.shared.state.borrow_mut();
        let delay = match *work {
            Work::Sync { .. } => state.between(100, 5_000),
            _ => state.between(10, 300),
        };
        state.nodes[self.node]
            .in_flight
            .insert((key.index, key.generation), work);
        state.after(delay, What::Op(self.node, key));
    }

    /// What has not happened will not happen.
    pub(crate) fn cancel_all(&self) {
        let mut state = self.world.shared.state.borrow_mut();
        let node = &mut state.nodes[self.node];
        let cancelled = std::mem::take(&mut node.in_flight);
        for ((index, generation), work) in cancelled {
            let key = OpKey { index, generation };
            let outcome = -Errno::CANCELED.raw_os_error();
            node.inbox.push(Event::Op {
                key,
                outcome,
                work: Some(work),
            });
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.world.shared.state.borrow().nodes[self.node]
            .in_flight
            .len()
    }

    pub(crate) fn park(&self, events: &mut Vec<Event>) {
        events.append(&mut self.world.shared.state.borrow_mut().nodes[self.node].inbox);
    }
}

/// A number below `count`, from a draw.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below a usize"
)]
pub(crate) fn below(draw: u64, count: usize) -> usize {
    (draw % count as u64) as usize
}

fn pair(one: &str, other: &str) -> (String, String) {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    (first.to_owned(), second.to_owned())
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
