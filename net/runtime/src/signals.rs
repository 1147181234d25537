//! Owns: signals as a stream of values.
//! Lives on: the shard that awaits them.
//! Invariants: the signals are blocked in every thread that is started after `Signals::new`, so they are
//! delivered nowhere but here.
//! Not here: what a signal means (broker `boot`).
#![expect(
    unsafe_code,
    reason = "rustix has neither pthread_sigmask nor signalfd"
)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::socket::Socket;
use crate::source::{Direction, Source};

/// A signal that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGHUP, 1.
    Hup,
    /// SIGINT, 2.
    Int,
    /// SIGUSR1, 10.
    Usr1,
    /// SIGUSR2, 12.
    Usr2,
    /// SIGTERM, 15.
    Term,
}

impl Signal {
    const ALL: [Self; 5] = [Self::Hup, Self::Int, Self::Usr1, Self::Usr2, Self::Term];

    /// The number of the signal on Linux.
    pub const fn number(self) -> u8 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
        }
    }
}

/// Blocked signals, as a stream. Make it before any thread starts; await it inside of a runtime.
pub struct Signals {
    fd: Option<OwnedFd>,
    source: Option<Source>,
}

impl Signals {
    /// Blocks the signals in this thread (and those it will start) and makes them readable.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let mut set = SigSet([0; 16]);
        for signal in signals {
            set.0[0] |= 1 << (signal.number() - 1);
        }
        // SAFETY: `set` is a sigset_t of the size both glibc and musl use; the old mask is not wanted.
        let blocked = unsafe { pthread_sigmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if blocked != 0 {
            return Err(io::Error::from_raw_os_error(blocked));
        }
        // SAFETY: as above; -1 asks for a new descriptor.
        let fd = unsafe { signalfd(-1, &raw const set, SFD_CLOEXEC | SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self {
            fd: Some(fd),
            source: None,
        })
    }

    /// The next signal. Dropping the future loses none.
    ///
    /// # Panics
    /// When the driver cannot watch the descriptor: out of memory, in practice.
    pub async fn next(&mut self) -> Signal {
        if let Some(fd) = self.fd.take() {
            self.source = Some(Source::new(Socket::Real(fd)).expect("a signalfd can be watched"));
        }
        let source = self.source.as_ref().expect("made by the first call");
        loop {
            source.ready(Direction::Read).await;
            // struct signalfd_siginfo: 128 bytes, the number first.
            let mut info = [0_u8; 128];
            match rustix::io::read(source.socket().fd(), &mut info[..]) {
                Ok(_) => {
                    if let Some(signal) = Signal::ALL.into_iter().find(|s| s.number() == info[0]) {
                        return signal;
                    }
                }
                // Only «would block» and «interrupted» can come from a signalfd.
                Err(Errno::INTR) => {}
                Err(_) => source.clear_blocked(Direction::Read),
            }
        }
    }
}

/// `sigset_t`: 1024 bits in glibc and musl, of which the kernel uses 64.
#[repr(C)]
struct SigSet([u64; 16]);

const SIG_BLOCK: i32 = 0;
const SFD_CLOEXEC: i32 = 0o2_000_000;
const SFD_NONBLOCK: i32 = 0o4_000;

unsafe extern "C" {
    fn pthread_sigmask(how: i32, set: *const SigSet, old: *mut SigSet) -> i32;
    fn signalfd(fd: i32, mask: *const SigSet, flags: i32) -> i32;
}
