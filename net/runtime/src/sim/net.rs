//! Owns: the simulated network: listeners, connections, packets in transit.
//! Lives on: the world.
//! Invariants: 1. Each direction of a connection keeps its order. 2. A sender has at most `WINDOW` bytes
//! that its peer has not read. 3. Between hosts that are cut off packets wait; they are not lost, as TCP's are not.
//! Not here: readiness and waiting (`source`), the same as in production.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::{Buf, Bytes};
use rustix::io::Errno;

use super::{Node, State, World, below};
use crate::driver::Event;
use crate::source::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_RDHUP};

/// Bytes a connection holds in one direction.
const WINDOW: usize = 64 << 10;
/// How often a held-back packet is tried again.
const RETRY_NS: u64 = 10_000_000;

#[derive(Default)]
pub(super) struct Net {
    sockets: BTreeMap<u64, End>,
    listeners: BTreeMap<SocketAddr, Vec<u64>>,
    handed: BTreeMap<i32, u64>,
    next_id: u64,
    next_port: u16,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each direction ends by itself"
)]
struct End {
    node: Node,
    local: SocketAddr,
    watch: Option<(Node, u32, u32)>,
    /// Set on a listener: connections to be accepted.
    waiting: Option<VecDeque<u64>>,
    peer: Option<(u64, SocketAddr)>,
    status: Status,
    /// Arrived and not read.
    arrived: VecDeque<Bytes>,
    /// Sent by this end and not yet arrived.
    transit: VecDeque<Packet>,
    /// Sent by this end and not yet read by the peer.
    unread: usize,
    peer_ended: bool,
    ended: bool,
    read_ended: bool,
    /// Nobody holds it; it stays while something is in transit.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Connecting,
    Open,
    Failed(Errno),
}

enum Packet {
    Data(Bytes),
    End,
    Reset,
}

#[derive(Clone, Copy)]
pub(super) enum What {
    /// A connection request reaches its address.
    Request { client: u64, to: SocketAddr },
    /// The answer reaches the client.
    Answer {
        client: u64,
        server: Option<(u64, SocketAddr)>,
    },
    /// The first packet in transit from this end arrives.
    Arrive { from: u64, to: u64 },
}

impl State {
    pub(super) fn watch(&mut self, id: u64, watch: Option<(Node, u32, u32)>) {
        if let Some(end) = self.net.sockets.get_mut(&id) {
            end.watch = watch;
            if let Some((node, ..)) = watch {
                end.node = node;
            }
        }
    }

    fn edge(&mut self, id: u64, events: u32) {
        if let Some((node, index, generation)) = self.net.sockets.get(&id).and_then(|end| end.watch)
        {
            let event = Event::Poll {
                index,
                generation,
                events,
                disarmed: None,
            };
            self.nodes[node].inbox.push(event);
        }
    }

    fn add_end(&mut self, node: Node, local: SocketAddr, status: Status) -> u64 {
        self.net.next_id += 1;
        let id = self.net.next_id;
        let end = End {
            node,
            local,
            watch: None,
            waiting: None,
            peer: None,
            status,
            arrived: VecDeque::new(),
            transit: VecDeque::new(),
            unread: 0,
            peer_ended: false,
            ended: false,
            read_ended: false,
            closed: false,
        };
        self.net.sockets.insert(id, end);
        id
    }

    fn port(&mut self) -> u16 {
        self.net.next_port = self.net.next_port.wrapping_add(1);
        20_000 + self.net.next_port % 40_000
    }

    fn post(&mut self, from: u64, packet: Packet) {
        let Some(end) = self.net.sockets.get_mut(&from) else {
            return;
        };
        let Some((to, _)) = end.peer else { return };
        end.transit.push_back(packet);
        let delay = self.between(20, 500);
        self.after(delay, super::What::Net(What::Arrive { from, to }));
    }

    pub(super) fn net_happens(&mut self, what: What) {
        match what {
            What::Request { client, to } => self.request(client, to),
            What::Answer { client, server } => self.answer(client, server),
            What::Arrive { from, to } => self.arrive(from, to),
        }
    }

    fn request(&mut self, client: u64, to: SocketAddr) {
        let Some(from) = self
            .net
            .sockets
            .get(&client)
            .map(|end| (end.node, end.local))
        else {
            return;
        };
        let listeners = self.net.listeners.get(&to).cloned().unwrap_or_default();
        let server = if listeners.is_empty() {
            None
        } else {
            let chosen = below(self.draw(), listeners.len());
            let listener = listeners[chosen];
            let node = self.net.sockets[&listener].node;
            if self.is_cut(from.0, node) {
                self.after(RETRY_NS, super::What::Net(What::Request { client, to }));
                return;
            }
            let server = self.add_end(node, to, Status::Open);
            if let Some(end) = self.net.sockets.get_mut(&server) {
                end.peer = Some((client, from.1));
            }
            if let Some(waiting) = self
                .net
                .sockets
                .get_mut(&listener)
                .and_then(|end| end.waiting.as_mut())
            {
                waiting.push_back(server);
            }
            self.edge(listener, POLL_IN);
            Some((server, to))
        };
        let delay = self.between(20, 300);
        self.after(delay, super::What::Net(What::Answer { client, server }));
    }

    fn answer(&mut self, client: u64, server: Option<(u64, SocketAddr)>) {
        let Some(end) = self.net.sockets.get_mut(&client) else {
            // It gave up meanwhile.
            if let Some((server, _)) = server {
                self.fail(server);
            }
            return;
        };
        if server.is_some() {
            end.peer = server;
            end.status = Status::Open;
            self.edge(client, POLL_OUT);
        } else {
            end.status = Status::Failed(Errno::CONNREFUSED);
            self.edge(client, POLL_OUT | POLL_HUP | POLL_ERR);
        }
    }

    fn arrive(&mut self, from: u64, to: u64) {
        let Some(sender) = self.net.sockets.get(&from).map(|end| end.node) else {
            return;
        };
        let Some(receiver) = self.net.sockets.get(&to).map(|end| end.node) else {
            self.fail(from);
            return;
        };
        if self.is_cut(sender, receiver) {
            self.after(RETRY_NS, super::What::Net(What::Arrive { from, to }));
            return;
        }
        let packet = self
            .net
            .sockets
            .get_mut(&from)
            .and_then(|end| end.transit.pop_front());
        let drained = |end: &End| end.closed && end.transit.is_empty();
        if self.net.sockets.get(&from).is_some_and(drained) {
            self.net.sockets.remove(&from);
        }
        match packet {
            None => {}
            Some(Packet::Data(bytes)) => {
                if let Some(end) = self.net.sockets.get_mut(&to) {
                    end.arrived.push_back(bytes);
                }
                self.edge(to, POLL_IN);
            }
            Some(Packet::End) => {
                if let Some(end) = self.net.sockets.get_mut(&to) {
                    end.peer_ended = true;
                }
                self.edge(to, POLL_IN | POLL_RDHUP);
            }
            Some(Packet::Reset) => self.fail(to),
        }
    }

    fn fail(&mut self, id: u64) {
        if let Some(end) = self.net.sockets.get_mut(&id) {
            end.status = Status::Failed(Errno::CONNRESET);
        }
        self.edge(id, POLL_IN | POLL_OUT | POLL_HUP | POLL_ERR);
    }

    fn close(&mut self, id: u64) {
        let Some(end) = self.net.sockets.get_mut(&id) else {
            return;
        };
        if end.waiting.is_some() {
            let local = end.local;
            let left = end.waiting.take().unwrap_or_default();
            if let Some(ids) = self.net.listeners.get_mut(&local) {
                ids.retain(|other| *other != id);
            }
            self.net.listeners.retain(|_, ids| !ids.is_empty());
            self.net.sockets.remove(&id);
            for server in left {
                self.close(server);
            }
            return;
        }
        let (rude, ended) = (
            !end.arrived.is_empty(),
            std::mem::replace(&mut end.ended, true),
        );
        if rude {
            self.post(id, Packet::Reset);
        } else if !ended {
            self.post(id, Packet::End);
        }
        // What is in transit still arrives; nothing arrives here any more.
        let Some(end) = self.net.sockets.get_mut(&id) else {
            return;
        };
        end.watch = None;
        end.closed = true;
        if end.transit.is_empty() || end.peer.is_none() {
            self.net.sockets.remove(&id);
        }
    }

    pub(super) fn drop_sockets_of(&mut self, node: Node) {
        let ids: Vec<u64> = self
            .net
            .sockets
            .iter()
            .filter(|(_, end)| end.node == node)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            let Some(end) = self.net.sockets.remove(&id) else {
                continue;
            };
            if let Some(ids) = self.net.listeners.get_mut(&end.local) {
                ids.retain(|other| *other != id);
            }
            if let Some((peer, _)) = end.peer {
                self.fail(peer);
            }
        }
        self.net.listeners.retain(|_, ids| !ids.is_empty());
    }
}

impl World {
    fn here() -> Node {
        crate::core::with_current(|core| core.driver.borrow().world().map(|driver| driver.node))
            .flatten()
            .expect("a simulated socket is used inside of its runtime")
    }

    fn socket(&self, id: u64) -> Socket {
        Socket {
            world: Some(self.clone()),
            id,
        }
    }

    pub(crate) fn listen(&self, mut address: SocketAddr) -> Socket {
        let node = Self::here();
        let mut state = self.shared.state.borrow_mut();
        if address.port() == 0 {
            let port = state.port();
            address.set_port(port);
        }
        let id = state.add_end(node, address, Status::Open);
        if let Some(end) = state.net.sockets.get_mut(&id) {
            end.waiting = Some(VecDeque::new());
        }
        state.net.listeners.entry(address).or_default().push(id);
        drop(state);
        self.socket(id)
    }

    pub(crate) fn connect(&self, to: SocketAddr) -> Socket {
        let node = Self::here();
        let mut state = self.shared.state.borrow_mut();
        let port = state.port();
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let client = state.add_end(node, local, Status::Connecting);
        let delay = state.between(20, 300);
        state.after(delay, super::What::Net(What::Request { client, to }));
        drop(state);
        self.socket(client)
    }

    pub(crate) fn take_over(&self, fd: OwnedFd) -> io::Result<Socket> {
        let id = self
            .shared
            .state
            .borrow_mut()
            .net
            .handed
            .remove(&fd.as_raw_fd());
        let id = id.ok_or(io::ErrorKind::InvalidInput)?;
        drop(fd);
        Ok(self.socket(id))
    }
}

/// One end of a connection, or a listener.
pub(crate) struct Socket {
    /// `None` once it is handed over.
    world: Option<World>,
    id: u64,
}

impl Socket {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn with<T>(&self, f: impl FnOnce(&mut State, u64) -> Result<T, Errno>) -> Result<T, Errno> {
        let world = self.world.as_ref().ok_or(Errno::BADF)?;
        let mut state = world.shared.state.borrow_mut();
        if state.net.sockets.contains_key(&self.id) {
            f(&mut state, self.id)
        } else {
            Err(Errno::CONNRESET)
        }
    }

    fn end<T>(&self, f: impl FnOnce(&mut End) -> Result<T, Errno>) -> Result<T, Errno> {
        self.with(|state, id| f(state.net.sockets.get_mut(&id).ok_or(Errno::CONNRESET)?))
    }

    pub(crate) fn accept(&self) -> Result<(Self, SocketAddr), Errno> {
        let id = self.end(|end| {
            let waiting = end.waiting.as_mut().ok_or(Errno::INVAL)?;
            waiting.pop_front().ok_or(Errno::AGAIN)
        })?;
        let socket = Self {
            world: self.world.clone(),
            id,
        };
        let peer = socket.end(|end| {
            end.peer
                .map(|(_, address)| address)
                .ok_or(Errno::CONNABORTED)
        })?;
        Ok((socket, peer))
    }

    pub(crate) fn recv(&self, into: &mut [u8]) -> Result<usize, Errno> {
        self.with(|state, id| {
            let end = state.net.sockets.get_mut(&id).ok_or(Errno::CONNRESET)?;
            let mut n = 0;
            while n < into.len()
                && let Some(front) = end.arrived.front_mut()
            {
                let step = front.len().min(into.len() - n);
                front.copy_to_slice(&mut into[n..n + step]);
                n += step;
                if front.is_empty() {
                    end.arrived.pop_front();
                }
            }
            if n > 0 {
                let peer = end.peer.map(|(peer, _)| peer);
                if let Some(peer) = peer
                    && let Some(sender) = state.net.sockets.get_mut(&peer)
                {
                    let was_full = sender.unread >= WINDOW;
                    sender.unread -= n.min(sender.unread);
                    if was_full {
                        state.edge(peer, POLL_OUT);
                    }
                }
                return Ok(n);
            }
            match end.status {
                Status::Failed(error) => Err(error),
                Status::Connecting => Err(Errno::NOTCONN),
                Status::Open if end.peer_ended || end.read_ended => Ok(0),
                Status::Open => Err(Errno::AGAIN),
            }
        })
    }

    pub(crate) fn send(&self, parts: &[Bytes]) -> Result<usize, Errno> {
        self.with(|state, id| {
            let end = state.net.sockets.get_mut(&id).ok_or(Errno::CONNRESET)?;
            match end.status {
                Status::Failed(error) => return Err(error),
                Status::Connecting => return Err(Errno::AGAIN),
                Status::Open if end.ended => return Err(Errno::PIPE),
                Status::Open => {}
            }
            let mut room = WINDOW.saturating_sub(end.unread);
            if room == 0 {
                return Err(Errno::AGAIN);
            }
            // Now and then less is taken than there is room for.
            if state.draw().is_multiple_of(8) {
                room = 1 + below(state.draw(), room);
            }
            let mut sent = 0;
            for part in parts {
                let step = part.len().min(room - sent);
                if step > 0 {
                    state.post(id, Packet::Data(part.slice(..step)));
                    sent += step;
                }
            }
            if let Some(end) = state.net.sockets.get_mut(&id) {
                end.unread += sent;
            }
            Ok(sent)
        })
    }

    pub(crate) fn shutdown(&self, both: bool) {
        let _ = self.with(|state, id| {
            let end = state.net.sockets.get_mut(&id).ok_or(Errno::CONNRESET)?;
            end.read_ended |= both;
            let ended = std::mem::replace(&mut end.ended, true);
            if !ended {
                state.post(id, Packet::End);
            }
            if both {
                state.edge(id, POLL_IN | POLL_RDHUP);
            }
            Ok(())
        });
    }

    pub(crate) fn peer_addr(&self) -> Result<SocketAddr, Errno> {
        self.end(|end| match end.status {
            Status::Open => end.peer.map(|(_, address)| address).ok_or(Errno::NOTCONN),
            Status::Connecting => Err(Errno::NOTCONN),
            Status::Failed(error) => Err(error),
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.end(|end| Ok(end.local)).unwrap_or(nowhere)
    }

    /// A descriptor that stands for this socket: an eventfd nobody uses.
    pub(crate) fn hand_over(mut self) -> OwnedFd {
        use rustix::event::{EventfdFlags, eventfd};
        let fd = eventfd(0, EventfdFlags::CLOEXEC).expect("a test has a descriptor to spare");
        if let Some(world) = self.world.take() {
            world
                .shared
                .state
                .borrow_mut()
                .net
                .handed
                .insert(fd.as_raw_fd(), self.id);
        }
        fd
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(world) = self.world.take() {
            world.shared.state.borrow_mut().close(self.id);
        }
    }
}
