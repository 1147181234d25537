//! Owns: the socket of who started the process and watches over it (systemd's `Type=notify`), and what it asks for.
//! Lives on: any thread; telling never waits.
//! Invariants: what is told may be lost when the other side does not read; who tells something important tells it again.
//! Not here: when to tell what (broker `supervision`).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Who watches over the process: `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Supervisor {
    socket: UnixDatagram,
    address: SocketAddr,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// As the environment says; `None` when nobody watches.
    pub fn from_environment() -> Option<io::Result<Self>> {
        let name = std::env::var_os("NOTIFY_SOCKET")?;
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let watchdog = watchdog(
            number("WATCHDOG_USEC"),
            number("WATCHDOG_PID"),
            std::process::id(),
        );
        Some(Self::at(name.as_bytes(), watchdog))
    }

    /// At this address; one that begins with `@` has no file.
    fn at(name: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
            _ => {
                let sentence = "NOTIFY_SOCKET is neither a path nor an abstract name";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, sentence));
            }
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            address,
            watchdog,
        })
    }

    /// How long it may be without `WATCHDOG=1` before it ends the process; `None` when it does not look.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells it: lines of `NAME=value`, as `sd_notify(3)` has them.
    pub fn tell(&self, text: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(text.as_bytes(), &self.address)
            .map(drop)
    }
}

/// The interval, if it is meant for this process.
fn watchdog(microseconds: Option<u64>, meant: Option<u64>, own: u32) -> Option<Duration> {
    let is_meant = meant.is_none_or(|pid| pid == u64::from(own));
    microseconds
        .filter(|microseconds| is_meant && *microseconds > 0)
        .map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_it_names() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some(1_000_000), None, 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(7), 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(8), 7), None);
        assert_eq!(watchdog(Some(0), None, 7), None);
        assert_eq!(watchdog(None, Some(7), 7), None);
    }

    #[test]
    fn what_is_told_arrives_with_and_without_a_file() {
        let path = std::env::temp_dir().join(format!("corelog-notify-{}", std::process::id()));
        let _ = rustix::fs::unlink(&path);
        let name = format!("corelog-test-{}", std::process::id());
        let hidden = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let sockets = [
            (
                path.as_os_str().as_bytes().to_vec(),
                UnixDatagram::bind(&path).unwrap(),
            ),
            (
                format!("@{name}").into_bytes(),
                UnixDatagram::bind_addr(&hidden).unwrap(),
            ),
        ];
        for (name, socket) in sockets {
            let supervisor = Supervisor::at(&name, None).unwrap();
            supervisor.tell("READY=1\nSTATUS=serving").unwrap();
            let mut text = [0; 64];
            let size = socket.recv(&mut text).unwrap();
            assert_eq!(&text[..size], b"READY=1\nSTATUS=serving");
            drop(socket);
            assert!(supervisor.tell("STOPPING=1").is_err(), "nobody is there");
        }
        rustix::fs::unlink(&path).unwrap();
        assert!(Supervisor::at(b"vsock:2:1", None).is_err());
        assert!(Supervisor::at(b"", None).is_err());
    }

    #[test]
    fn a_reader_that_does_not_read_is_not_waited_for() {
        let name = format!("corelog-test-full-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let _socket = UnixDatagram::bind_addr(&address).unwrap();
        let supervisor = Supervisor::at(format!("@{name}").as_bytes(), None).unwrap();
        let refused = (0..100_000).find_map(|_| supervisor.tell("WATCHDOG=1").err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
