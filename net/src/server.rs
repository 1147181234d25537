//! The server of one shard: accepting, spreading, supervising, stopping.
//!
//! **Owns** the shard's listeners and the registry of its connections.
//! **Lives on** one shard; [`Admission`] is what the shards share.
//! **Invariants**
//! 1. Every accepted socket holds a permit from before it is handed over until it is closed, so the
//!    counts are exact whatever becomes of it.
//! 2. After [`Server::shutdown`] no connection task of this server is left.
//!
//! **Not here**: how a socket crosses to another shard (the broker's mesh), what a connection does
//! (`connection`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use corelog_runtime::{
    Instant, ListenOptions, Listener, Notify, Task, Tcp, now, sleep_until, spawn, timeout_at,
};

use crate::connection::{Budget, CloseReason, Order, Peer, Service, Shared, serve};
use crate::limits::ConnectionLimits;
use crate::transport::Transport;

mod accept;
mod admission;
mod counters;
mod log;

pub use admission::{Admission, Permit, Refusal};
pub use counters::{Counter, Counters, CountersSnapshot};

use log::ConnectionLog;

/// An accepted socket on its way to the shard that will serve it. It may be sent to another thread;
/// dropping it closes the socket and gives its place back.
#[derive(Debug)]
pub struct Accepted {
    socket: OwnedFd,
    addr: SocketAddr,
    listener: Arc<str>,
    permit: Permit,
}

impl Accepted {
    /// The shard it was counted for, which is to [`Server::adopt`] it.
    pub fn shard(&self) -> usize {
        self.permit.shard()
    }
}

/// Takes an accepted socket to another shard, or gives it back when that is not possible now. The
/// other shard passes it to [`Server::adopt`].
pub type HandOver = Box<dyn Fn(usize, Accepted) -> Result<(), Accepted>>;

/// The server of one shard. Clones are handles of the same server.
pub struct Server<S: Service>(Rc<Inner<S>>);

impl<S: Service> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

struct Inner<S: Service> {
    service: Rc<S>,
    shard: usize,
    limits: Rc<ConnectionLimits>,
    admission: Arc<Admission>,
    hand_over: HandOver,
    budget: Rc<Budget>,
    counters: Rc<Counters>,
    log: ConnectionLog,
    connections: RefCell<BTreeMap<u64, Rc<Shared>>>,
    next_id: Cell<u64>,
    /// Acceptors, and the supervisor of idle connections.
    tasks: RefCell<Vec<Task<()>>>,
    stopping: Cell<bool>,
    /// A connection ended.
    ended: Notify,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when it began.
    pub connections: usize,
    /// Those of them that were cut at the deadline, with requests unanswered.
    pub cut: usize,
}

impl<S: Service> Server<S> {
    /// The server of this shard. To be called within its runtime, on each shard with the same
    /// `admission`.
    pub fn new(
        service: Rc<S>,
        shard: usize,
        limits: ConnectionLimits,
        admission: Arc<Admission>,
        hand_over: HandOver,
    ) -> Self {
        let inner = Rc::new(Inner {
            service,
            shard,
            budget: Budget::new(limits.request_bytes_max),
            limits: Rc::new(limits),
            admission,
            hand_over,
            counters: Rc::default(),
            log: ConnectionLog::default(),
            connections: RefCell::default(),
            next_id: Cell::new(0),
            tasks: RefCell::default(),
            stopping: Cell::new(false),
            ended: Notify::new(),
        });
        let supervisor = spawn("connection supervisor", supervise(Rc::clone(&inner)));
        inner.tasks.borrow_mut().push(supervisor);
        Self(inner)
    }

    /// Listens on an address and starts accepting. Every shard listens on the same one; with port 0
    /// the first one learns the port for the others.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn listen(&self, name: &str, addr: SocketAddr) -> io::Result<SocketAddr> {
        let backlog = self.0.limits.backlog;
        let listener = Listener::bind(
            addr,
            &ListenOptions {
                reuse_port: true,
                backlog,
            },
        )?;
        let bound = listener.local_addr()?;
        let accepting = accept::accept(Rc::clone(&self.0), listener, Arc::from(name));
        self.0.tasks.borrow_mut().push(spawn("acceptor", accepting));
        Ok(bound)
    }

    /// Serves a socket that another shard accepted and handed over.
    pub fn adopt(&self, accepted: Accepted) {
        let Accepted {
            socket,
            addr,
            listener,
            permit,
        } = accepted;
        match Tcp::from_fd(socket) {
            Ok(tcp) => self.0.start(tcp, addr, listener, permit),
            Err(error) => self.0.log.accept_failed("adopting a socket failed", &error),
        }
    }

    /// Other numbers of connections, on all shards; what else stands in the limits stays as it was.
    pub fn set_limits(&self, limits: &ConnectionLimits) {
        self.0.admission.set_limits(limits);
    }

    /// Connections served here now.
    pub fn connection_count(&self) -> usize {
        self.0.connections.borrow().len()
    }

    /// Connections served here now that came by the listener of this name.
    pub fn connection_count_of(&self, listener: &str) -> usize {
        let connections = self.0.connections.borrow();
        let of = |shared: &&Rc<Shared>| *shared.peer.listener == *listener;
        connections.values().filter(of).count()
    }

    /// Bytes of requests held here now, arriving or in flight.
    pub fn request_bytes(&self) -> usize {
        self.0.budget.used()
    }

    /// What was counted so far.
    pub fn counters(&self) -> CountersSnapshot {
        self.0.counters.snapshot()
    }

    /// Stops accepting and reading, answers what is in flight, and closes. Connections that have not
    /// been answered by the deadline are cut.
    pub async fn shutdown(&self, deadline: Instant) -> Drained {
        let inner = &self.0;
        self.stop_accepting();
        let connections = self.connection_count();
        inner.give_order(Order::Drain);
        timeout_at(deadline, inner.all_ended()).await;
        let cut = self.connection_count();
        inner.give_order(Order::Close(CloseReason::ShutdownCut));
        inner.all_ended().await;
        Drained { connections, cut }
    }

    /// Stops accepting; the connections go on. Sockets that are handed over from now on are closed.
    pub fn stop_accepting(&self) {
        self.0.stopping.set(true);
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
    }
}

impl<S: Service> Inner<S> {
    /// Starts serving a socket here.
    fn start(self: &Rc<Self>, tcp: Tcp, addr: SocketAddr, listener: Arc<str>, permit: Permit) {
        if self.stopping.get() {
            return;
        }
        let limits = &self.limits;
        let transport = match Transport::plain(tcp, limits.send_buffer, limits.receive_buffer) {
            Ok(transport) => transport,
            Err(error) => return self.log.accept_failed("setting up a socket failed", &error),
        };
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let shared = Shared::new(
            Peer { addr, listener, id },
            Rc::clone(&self.limits),
            Rc::clone(&self.counters),
            Rc::clone(&self.budget),
        );
        self.counters.opened.add(1);
        self.connections.borrow_mut().insert(id, Rc::clone(&shared));
        let registered = Registered {
            inner: Rc::clone(self),
            id,
            permit,
        };
        let serving = serve(Rc::clone(&self.service), transport, Rc::clone(&shared));
        spawn("connection", async move {
            let reason = serving.await;
            let inner = &registered.inner;
            inner.counters.closed(reason);
            inner.log.closed(&shared.peer, reason);
        })
        .detach();
    }

    fn give_order(&self, order: Order) {
        for shared in self.connections.borrow().values() {
            shared.give_order(order);
        }
    }

    async fn all_ended(&self) {
        while !self.connections.borrow().is_empty() {
            self.ended.notified().await;
        }
    }
}

/// A connection's place in the registry, held by its task.
struct Registered<S: Service> {
    inner: Rc<Inner<S>>,
    id: u64,
    permit: Permit,
}

impl<S: Service> Drop for Registered<S> {
    fn drop(&mut self) {
        let _ = &self.permit; // given back after this
        self.inner.connections.borrow_mut().remove(&self.id);
        self.inner.ended.notify_all();
    }
}

/// Closes connections that are idle or do not move while others wait.
async fn supervise<S: Service>(inner: Rc<Inner<S>>) {
    let often = inner.limits.stall_max.min(inner.limits.idle_max) / 2;
    loop {
        let now = now();
        let mut next = now + often;
        for shared in inner.connections.borrow().values() {
            match shared.check_idle(now) {
                Ok(due) => next = next.min(due),
                Err(reason) => shared.give_order(Order::Close(reason)),
            }
        }
        sleep_until(next.max(now + SUPERVISE_MIN)).await;
    }
}

/// The supervisor looks at all connections, so not too often.
const SUPERVISE_MIN: std::time::Duration = std::time::Duration::from_millis(10);
