//! Owns: the readiness of a descriptor: what both real drivers know about a socket.
//! Lives on: its shard. Socket calls are tried inline first; only waiting goes through the driver.
//! Invariants: 1. Readiness starts out assumed, is cleared by «would block» or a short read, and comes
//! back with the driver's next edge. 2. A hang-up is sticky: after it every call is tried. 3. At most one
//! task waits for each direction; a later one replaces the earlier. 4. No buffer is ever in the kernel's
//! hands here, so cancelling a socket call is dropping its future.
//! Not here: arming polls (`ring`, `readiness`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::core::{Core, current};
use crate::socket::Socket;

pub(crate) const POLL_IN: u32 = 0x1;
pub(crate) const POLL_OUT: u32 = 0x4;
pub(crate) const POLL_ERR: u32 = 0x8;
pub(crate) const POLL_HUP: u32 = 0x10;
pub(crate) const POLL_RDHUP: u32 = 0x2000;

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What the driver keeps of a descriptor.
pub(crate) struct Watch {
    pub(crate) generation: u32,
    readable: Cell<bool>,
    writable: Cell<bool>,
    hung_up: Cell<bool>,
    /// Whether the driver has a poll armed, per direction.
    pub(crate) read_armed: Cell<bool>,
    pub(crate) write_armed: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Watch {
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            generation,
            readable: Cell::new(true),
            writable: Cell::new(true),
            hung_up: Cell::new(false),
            read_armed: Cell::new(false),
            write_armed: Cell::new(false),
            reader: RefCell::new(None),
            writer: RefCell::new(None),
        }
    }

    /// Records an edge. Wakes nobody: the wakers are the caller's to wake once nothing is borrowed.
    #[must_use]
    pub(crate) fn note(&self, events: u32) -> [Option<Waker>; 2] {
        let end = events & (POLL_ERR | POLL_HUP | POLL_RDHUP) != 0;
        if end {
            self.hung_up.set(true);
        }
        let mut wakers = [None, None];
        if end || events & POLL_IN != 0 {
            self.readable.set(true);
            wakers[0] = self.reader.borrow_mut().take();
        }
        if end || events & POLL_OUT != 0 {
            self.writable.set(true);
            wakers[1] = self.writer.borrow_mut().take();
        }
        wakers
    }
}

/// A nonblocking descriptor registered with this shard's driver.
pub(crate) struct Source {
    core: Rc<Core>,
    index: u32,
    watch: Rc<Watch>,
    /// `None` only while this is taken apart.
    socket: Option<Socket>,
}

impl Source {
    /// Registers a socket that is already nonblocking.
    pub(crate) fn new(socket: Socket) -> std::io::Result<Self> {
        let core = current();
        let (index, watch) = core.watch(&socket)?;
        Ok(Self {
            core,
            index,
            watch,
            socket: Some(socket),
        })
    }

    // HOT
    pub(crate) fn socket(&self) -> &Socket {
        self.socket
            .as_ref()
            .expect("only taking it apart takes it out")
    }

    /// Waits until a call in this direction is worth trying.
    pub(crate) fn poll_ready(&self, direction: Direction, cx: &mut Context<'_>) -> Poll<()> {
        let (ready, waiter) = match direction {
            Direction::Read => (&self.watch.readable, &self.watch.reader),
            Direction::Write => (&self.watch.writable, &self.watch.writer),
        };
        if ready.get() {
            return self.core.spend(cx);
        }
        let mut waiter = waiter.borrow_mut();
        match &mut *waiter {
            Some(old) => old.clone_from(cx.waker()),
            None => *waiter = Some(cx.waker().clone()),
        }
        drop(waiter);
        self.core
            .arm(self.index, &self.watch, self.socket(), direction);
        Poll::Pending
    }

    pub(crate) async fn ready(&self, direction: Direction) {
        std::future::poll_fn(|cx| self.poll_ready(direction, cx)).await;
    }

    /// A call said «would block» (or read less than it could): wait for the next edge.
    pub(crate) fn clear(&self, direction: Direction) {
        match direction {
            Direction::Read => self.watch.readable.set(self.watch.hung_up.get()),
            Direction::Write => self.watch.writable.set(false),
        }
    }

    /// As `clear` after «would block»: even a hang-up does not make the call worth trying again.
    pub(crate) fn clear_blocked(&self, direction: Direction) {
        match direction {
            Direction::Read => self.watch.readable.set(false),
            Direction::Write => self.watch.writable.set(false),
        }
    }

    /// Takes the socket out of this shard's driver.
    pub(crate) fn into_socket(mut self) -> Socket {
        let socket = self
            .socket
            .take()
            .expect("only taking it apart takes it out");
        self.core.unwatch(self.index, &self.watch, &socket);
        socket
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // ORDER: the driver lets go of the socket before it is closed.
        if let Some(socket) = self.socket.take() {
            self.core.unwatch(self.index, &self.watch, &socket);
        }
    }
}

/// The watches of a shard.
pub(crate) struct Watches {
    slots: slab::Slab<Rc<Watch>>,
    generation: u32,
}

impl Watches {
    pub(crate) const fn new() -> Self {
        Self {
            slots: slab::Slab::new(),
            generation: 0,
        }
    }

    pub(crate) fn insert(&mut self) -> (u32, Rc<Watch>) {
        self.generation = self.generation.wrapping_add(1) & crate::op::GENERATION_MASK;
        let watch = Rc::new(Watch::new(self.generation));
        let index =
            u32::try_from(self.slots.insert(watch.clone())).expect("fewer than 2^32 sockets");
        (index, watch)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Rc<Watch> {
        self.slots.remove(index as usize)
    }

    pub(crate) fn find(&self, index: u32, generation: u32) -> Option<&Rc<Watch>> {
        self.slots
            .get(index as usize)
            .filter(|watch| watch.generation == generation)
    }
}
