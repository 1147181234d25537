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

use crate::source::{Direction, Source};

/// A signal that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGHUP, 1.
    Hangup,
    /// SIGINT, 2.
    Interrupt,
    /// SIGUSR1, 10.
    User1,
    /// SIGUSR2, 12.
    User2,
    /// SIGTERM, 15.
    Terminate,
}

impl Signal {
    const ALL: [Self; 5] = [
        Self::Hangup,
        Self::Interrupt,
        Self::User1,
        Self::User2,
        Self::Terminate,
    ];

    /// The number of the signal on Linux.
    pub const fn number(self) -> u8 {
        match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::User1 => 10,
            Self::User2 => 12,
            Self::Terminate => 15,
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
    pub async fn next(&mut self) -> io::Result<Signal> {
        if let Some(fd) = self.fd.take() {
            self.source = Some(Source::new(fd)?);
        }
        let source = self.source.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        loop {
            source.ready(Direction::Read).await;
            // struct signalfd_siginfo: 128 bytes, the number first.
            let mut info = [0_u8; 128];
            match rustix::io::read(source, &mut info[..]) {
                Ok(_) => {
                    if let Some(signal) = Signal::ALL.into_iter().find(|s| s.number() == info[0]) {
                        return Ok(signal);
                    }
                }
                Err(Errno::AGAIN) => source.clear_blocked(Direction::Read),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
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
