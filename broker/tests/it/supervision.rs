//! What systemd is told (`Type=notify`): ready when clients are served, alive while every shard answers, stopping.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::harness::{Broker, PATIENCE};

/// The other end of `NOTIFY_SOCKET`.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    fn new(name: &str) -> Self {
        // A socket's path is short.
        let path = std::env::temp_dir().join(format!("corelog-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket can be bound");
        let patience = Some(PATIENCE);
        socket.set_read_timeout(patience).expect("it has a timeout");
        Self { socket, path }
    }

    /// The lines of the next message.
    fn next(&self) -> BTreeSet<String> {
        let mut text = [0; 4096];
        let size = self.socket.recv(&mut text).expect("a message comes");
        let text = String::from_utf8_lossy(&text[..size]);
        text.lines().map(str::to_owned).collect()
    }

    /// Messages up to the first with this line.
    fn until(&self, line: &str) -> Vec<BTreeSet<String>> {
        let mut all = Vec::new();
        while !all
            .last()
            .is_some_and(|last: &BTreeSet<String>| last.contains(line))
        {
            all.push(self.next());
        }
        all
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn systemd_is_told_of_readiness_life_and_the_stop() {
    let systemd = Systemd::new("notify");
    let mut broker = Broker::start();
    broker.stop();
    broker.set_environment("NOTIFY_SOCKET", &systemd.path.display().to_string());
    broker.set_environment("WATCHDOG_USEC", "2000000");
    broker.launch();
    let start = systemd.until("READY=1");
    assert!(
        start
            .last()
            .is_some_and(|last| last.iter().any(|line| line.starts_with("STATUS=serving")))
    );
    for _ in 0..4 {
        let beat = systemd.next();
        assert!(
            beat.contains("WATCHDOG=1") && !beat.contains("READY=1"),
            "{beat:?}"
        );
    }
    broker.stop();
    let stop = systemd.until("STOPPING=1");
    assert!(
        stop.last()
            .is_some_and(|last| last.contains("STATUS=stopping"))
    );
}

#[test]
fn a_watchdog_of_another_process_is_not_ours() {
    let systemd = Systemd::new("other");
    let mut broker = Broker::start();
    broker.stop();
    broker.set_environment("NOTIFY_SOCKET", &systemd.path.display().to_string());
    broker.set_environment("WATCHDOG_USEC", "1000000");
    broker.set_environment("WATCHDOG_PID", "1");
    broker.launch();
    broker.stop();
    let all = systemd.until("STOPPING=1");
    assert!(all.iter().any(|one| one.contains("READY=1")));
    assert!(all.iter().all(|one| !one.contains("WATCHDOG=1")), "{all:?}");
}

#[test]
fn a_socket_that_is_not_there_is_no_reason_not_to_serve() {
    let mut broker = Broker::start();
    broker.stop();
    broker.set_environment("NOTIFY_SOCKET", "/no/such/socket");
    broker.launch();
    broker.stop();
}
