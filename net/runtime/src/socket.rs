//! Owns: the socket calls, on the real system or on the simulated network.
//! Lives on: the shard of the socket.
//! Invariants: every call is nonblocking and answers as Linux does; production has one variant only.
//! Not here: waiting (`source`), what the calls are for (`tcp`).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType,
    sockopt,
};
use smallvec::SmallVec;

use crate::file::File;
#[cfg(any(test, feature = "sim"))]
use crate::sim;
use crate::tcp::ListenOptions;

/// Slices in one `sendmsg`.
const SLICES_MAX: usize = 64;
const SOCKET_FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket (or another descriptor that can be polled).
pub(crate) enum Socket {
    Real(OwnedFd),
    #[cfg(any(test, feature = "sim"))]
    Sim(sim::Socket),
}

impl Socket {
    /// The descriptor, for the real drivers.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Real(fd) => fd.as_fd(),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => unreachable!("a simulated socket meets a real driver"),
        }
    }

    pub(crate) fn listen(address: SocketAddr, options: ListenOptions) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(world) = sim::World::current() {
            return Ok(Self::Sim(world.listen(address)));
        }
        let fd = open(&address)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        if options.reuse_port {
            sockopt::set_socket_reuseport(&fd, true)?;
        }
        rustix::net::bind(&fd, &address)?;
        rustix::net::listen(&fd, options.backlog)?;
        Ok(Self::Real(fd))
    }

    pub(crate) fn accept(&self) -> Result<(Self, SocketAddr), Errno> {
        match self {
            Self::Real(fd) => {
                let (fd, peer) = rustix::net::acceptfrom_with(fd, SOCKET_FLAGS)?;
                // A peer that is gone already fails here; its first read will tell.
                let _ = sockopt::set_tcp_nodelay(&fd, true);
                let peer = peer.ok_or(Errno::CONNABORTED)?;
                Ok((Self::Real(fd), SocketAddr::try_from(peer)?))
            }
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => socket
                .accept()
                .map(|(socket, peer)| (Self::Sim(socket), peer)),
        }
    }

    /// Starts to connect.
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(world) = sim::World::current() {
            return Ok(Self::Sim(world.connect(address)));
        }
        let fd = open(&address)?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        match rustix::net::connect(&fd, &address) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(Self::Real(fd)),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether connecting is over; its error if it failed.
    pub(crate) fn connected(&self) -> io::Result<bool> {
        match self {
            Self::Real(fd) => sockopt::socket_error(fd)??,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => {}
        }
        match self.peer_addr() {
            Ok(_) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn recv(&self, into: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Real(fd) => Ok(rustix::net::recv(fd, into, RecvFlags::DONTWAIT)?.0),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => socket.recv(into),
        }
    }

    pub(crate) fn send(&self, parts: &[Bytes]) -> Result<usize, Errno> {
        let fd = match self {
            Self::Real(fd) => fd,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => return socket.send(parts),
        };
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        if let [only] = parts {
            return rustix::net::send(fd, only, flags);
        }
        let slices: SmallVec<[IoSlice<'_>; SLICES_MAX]> = parts
            .iter()
            .take(SLICES_MAX)
            .map(|part| IoSlice::new(part))
            .collect();
        rustix::net::sendmsg(fd, &slices, &mut SendAncillaryBuffer::default(), flags)
    }

    /// Moves up to `count` bytes of a file, from `position`, which moves along.
    pub(crate) fn send_file(
        &self,
        file: &File,
        position: &mut u64,
        count: usize,
    ) -> Result<usize, Errno> {
        match self {
            Self::Real(fd) => rustix::fs::sendfile(fd, file.fd(), Some(position), count),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => {
                let mut bytes = vec![0; count];
                let n = file.read_simulated(&mut bytes, *position)?;
                bytes.truncate(n);
                let sent = if n == 0 {
                    0
                } else {
                    socket.send(&[Bytes::from(bytes)])?
                };
                *position += sent as u64;
                Ok(sent)
            }
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        match self {
            // Not connected any more: what was wanted.
            Self::Real(fd) => drop(rustix::net::shutdown(fd, how)),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => socket.shutdown(how == Shutdown::Both),
        }
    }

    pub(crate) fn peer_addr(&self) -> Result<SocketAddr, Errno> {
        match self {
            Self::Real(fd) => {
                SocketAddr::try_from(rustix::net::getpeername(fd)?.ok_or(Errno::NOTCONN)?)
            }
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => socket.peer_addr(),
        }
    }

    pub(crate) fn local_addr(&self) -> Result<SocketAddr, Errno> {
        match self {
            Self::Real(fd) => SocketAddr::try_from(rustix::net::getsockname(fd)?),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => Ok(socket.local_addr()),
        }
    }

    pub(crate) fn set_nodelay(&self, on: bool) -> io::Result<()> {
        match self {
            Self::Real(fd) => Ok(sockopt::set_tcp_nodelay(fd, on)?),
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => Ok(()),
        }
    }

    pub(crate) fn set_buffer_sizes(
        &self,
        receive: Option<usize>,
        send: Option<usize>,
    ) -> io::Result<()> {
        let fd = match self {
            Self::Real(fd) => fd,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(_) => return Ok(()),
        };
        if let Some(size) = receive {
            sockopt::set_socket_recv_buffer_size(fd, size)?;
        }
        if let Some(size) = send {
            sockopt::set_socket_send_buffer_size(fd, size)?;
        }
        Ok(())
    }

    /// As a descriptor, for another shard.
    pub(crate) fn into_fd(self) -> OwnedFd {
        match self {
            Self::Real(fd) => fd,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(socket) => socket.hand_over(),
        }
    }

    /// From a descriptor of another shard.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        #[cfg(any(test, feature = "sim"))]
        if let Some(world) = sim::World::current() {
            return Ok(Self::Sim(world.take_over(fd)?));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self::Real(fd))
    }
}

fn open(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        SOCKET_FLAGS,
        None,
    )?)
}
