//! Owns: listening and connected TCP sockets.
//! Lives on: the shard that made them; `into_fd`/`from_fd` hand one over.
//! Invariants: 1. Sockets are `O_NONBLOCK | CLOEXEC` with `TCP_NODELAY`. 2. Calls are made inline and
//! waiting is by readiness, so an idle connection holds no buffer and a dropped call leaves nothing behind.
//! 3. One task reads and one task writes at a time.
//! Not here: frames and response order (net).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::Io;
use crate::block::{BLOCK_MIN, Block, block};
use crate::file::File;
use crate::socket::Socket;
use crate::source::{Direction, Source};

/// How to listen.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// Several shards listen on the same port and the kernel spreads connections (`SO_REUSEPORT`).
    pub reuse_port: bool,
    /// Connections that may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            reuse_port: false,
            backlog: 1024,
        }
    }
}

/// A listening socket.
pub struct Listener {
    source: Source,
}

impl Listener {
    /// Binds and listens. Port 0 takes a free one. `SO_REUSEADDR` is set; an IPv6 wildcard also takes IPv4
    /// where the system says so (`net.ipv6.bindv6only`).
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> io::Result<Self> {
        Ok(Self {
            source: Source::new(Socket::listen(address, *options)?)?,
        })
    }

    /// Where it listens, with the port that was taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.source.socket().local_addr()?)
    }

    /// The next connection. Errors of a single connection (reset before it was accepted) are passed over;
    /// «too many open files» is returned: the caller decides how to wait.
    pub async fn accept(&self) -> io::Result<(Tcp, SocketAddr)> {
        loop {
            self.source.ready(Direction::Read).await;
            match self.source.socket().accept() {
                Ok((socket, peer)) => return Ok((Tcp::new(socket)?, peer)),
                Err(Errno::AGAIN) => self.source.clear_blocked(Direction::Read),
                Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A connected socket.
pub struct Tcp {
    source: Source,
    /// What `recv_some` takes, between `BLOCK_MIN` and `RECV_MAX`: grows when filled, shrinks when
    /// mostly empty.
    appetite: Cell<usize>,
}

/// The largest block `recv_some` takes.
const RECV_MAX: usize = 256 << 10;
/// The most one `sendfile` moves before other tasks get a turn.
const SENDFILE_MAX: u64 = 1 << 20;

impl Tcp {
    fn new(socket: Socket) -> io::Result<Self> {
        Ok(Self {
            source: Source::new(socket)?,
            appetite: Cell::new(BLOCK_MIN),
        })
    }

    /// Connects. Waits as long as the kernel tries; give it a `timeout_at`.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let tcp = Self::new(Socket::connect(address)?)?;
        while !tcp.source.socket().connected()? {
            tcp.source.clear_blocked(Direction::Write);
            tcp.source.ready(Direction::Write).await;
        }
        Ok(tcp)
    }

    /// Takes the socket out of this shard, to be given to another.
    pub fn into_fd(self) -> OwnedFd {
        self.source.into_socket().into_fd()
    }

    /// Takes a connected socket into this shard; makes it nonblocking.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        Self::new(Socket::from_fd(fd)?)
    }

    /// Waits for data and returns it in a block of this shard's pool. The block is taken only when data is
    /// there. An empty block is the end of the stream.
    // HOUSE: at most 256 KiB at a time; the size follows what the peer sends.
    pub async fn recv_some(&self) -> io::Result<Block> {
        loop {
            self.source.ready(Direction::Read).await;
            let wanted = self.appetite.get();
            let mut into = block(wanted);
            match self.try_recv(&mut into) {
                Ok(Some(n)) => {
                    if n == into.capacity() {
                        self.appetite.set((wanted * 4).min(RECV_MAX));
                    } else if n < into.capacity() / 8 {
                        self.appetite.set((wanted / 4).max(BLOCK_MIN));
                    }
                    return Ok(into);
                }
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for data and appends it to the block. 0 is the end of the stream (or a full block).
    pub async fn recv(&self, mut into: Block) -> Io<usize, Block> {
        if into.len() == into.capacity() {
            return (Ok(0), into);
        }
        loop {
            self.source.ready(Direction::Read).await;
            match self.try_recv(&mut into) {
                Ok(Some(n)) => return (Ok(n), into),
                Ok(None) => {}
                Err(error) => return (Err(error), into),
            }
        }
    }

    /// Waits until reading is worth a try, holding no memory.
    pub async fn readable(&self) {
        self.source.ready(Direction::Read).await;
    }

    // HOT: 0 alloc, 1 copy
    fn try_recv(&self, into: &mut Block) -> io::Result<Option<usize>> {
        let spare = into.spare();
        let room = spare.len();
        match self.source.socket().recv(spare) {
            Ok(n) => {
                into.advance(n);
                if n > 0 && n < room {
                    // The kernel's queue was empty; what comes later is a new edge.
                    self.source.clear(Direction::Read);
                }
                Ok(Some(n))
            }
            Err(Errno::AGAIN) => {
                self.source.clear_blocked(Direction::Read);
                Ok(None)
            }
            Err(Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends everything, in however many steps. The vector comes back cleared, for reuse. A send that is
    /// dropped half-way leaves a prefix on the wire: close the connection then.
    // HOT: 0 alloc, 0 copy
    pub async fn send(&self, mut parts: Vec<Bytes>) -> Io<(), Vec<Bytes>> {
        let mut first = 0;
        let result = loop {
            while parts.get(first).is_some_and(Bytes::is_empty) {
                first += 1;
            }
            if first == parts.len() {
                break Ok(());
            }
            self.source.ready(Direction::Write).await;
            match self.source.socket().send(&parts[first..]) {
                Ok(sent) => first += advance(&mut parts[first..], sent),
                Err(Errno::AGAIN) => self.source.clear_blocked(Direction::Write),
                Err(Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        };
        parts.clear();
        (result, parts)
    }

    /// Sends a range of a file without copying it through this process. The file must be as long as the range
    /// says (`UnexpectedEof` else). Pages that are not in memory are read by the calling thread: check
    /// `File::resident` first.
    pub async fn send_file(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut position = range.start;
        let mut moved = 0;
        while position < range.end {
            self.source.ready(Direction::Write).await;
            let count = usize::try_from((range.end - position).min(SENDFILE_MAX))
                .expect("at most SENDFILE_MAX");
            match self.source.socket().send_file(file, &mut position, count) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    moved += n as u64;
                    if moved >= SENDFILE_MAX && position < range.end {
                        moved = 0;
                        crate::task::yield_now().await;
                    }
                }
                Err(Errno::AGAIN) => self.source.clear_blocked(Direction::Write),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Ends both directions: the peer sees the end, waiting calls here return.
    pub fn shutdown(&self) {
        self.source.socket().shutdown(Shutdown::Both);
    }

    /// Ends the sending direction only: the peer sees the end, reading goes on.
    pub fn shutdown_send(&self) {
        self.source.socket().shutdown(Shutdown::Write);
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.source.socket().peer_addr()?)
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.source.socket().local_addr()?)
    }

    /// `TCP_NODELAY`, on from the start.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.source.socket().set_nodelay(on)
    }

    /// `SO_RCVBUF` and `SO_SNDBUF`, bytes; `None` leaves the kernel's own tuning on.
    pub fn set_buffer_sizes(&self, receive: Option<usize>, send: Option<usize>) -> io::Result<()> {
        self.source.socket().set_buffer_sizes(receive, send)
    }
}

/// Takes `sent` bytes off the front; how many parts are done with.
fn advance(parts: &mut [Bytes], mut sent: usize) -> usize {
    let mut done = 0;
    for part in parts {
        if sent < part.len() {
            part.advance(sent);
            break;
        }
        sent -= part.len();
        // What is sent is released now, not when the last part is.
        *part = Bytes::new();
        done += 1;
    }
    done
}
