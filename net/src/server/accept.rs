//! Accepting.
//!
//! **Owns** the accept loop of a listener, the checks of a new connection, the choice of its shard.
//! **Lives on** every shard that listens.
//! **Invariants** 1. A failing accept never spins: it waits, longer each time, up to a second.
//! **Not here**: the counts (`admission`).

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_runtime::{Listener, Tcp, sleep};

use super::{Accepted, Inner, Permit, Refusal};
use crate::connection::Service;

pub(super) async fn accept<S: Service>(inner: Rc<Inner<S>>, listener: Listener, name: Arc<str>) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((tcp, addr)) => {
                pause = PAUSE_MIN;
                inner.counters.accepted.add(1);
                if let Some(permit) = admit(&inner, addr).await {
                    place(&inner, tcp, addr, &name, permit);
                }
            }
            // The peer was gone before we took it.
            Err(error) if is_of_the_peer(&error) => inner.counters.accept_errors.add(1),
            Err(error) => {
                inner.counters.accept_errors.add(1);
                inner.log.accept_failed(advice(&error), &error);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Waits for a place among all connections; refuses one too many of an address.
async fn admit<S: Service>(inner: &Rc<Inner<S>>, addr: SocketAddr) -> Option<Permit> {
    let mut told = false;
    loop {
        match inner.admission.admit(inner.shard, addr.ip()) {
            Ok(permit) => return Some(permit),
            Err(refusal @ Refusal::PerIp { .. }) => {
                inner.counters.refused_per_ip.add(1);
                inner.log.refused(addr, refusal);
                return None;
            }
            // As Kafka does: the connection waits, and those behind it in the backlog.
            Err(refusal @ Refusal::Full { .. }) => {
                if !told {
                    told = true;
                    inner.counters.waited_full.add(1);
                    inner.log.refused(addr, refusal);
                }
                sleep(FULL_PAUSE).await;
            }
        }
    }
}

fn place<S: Service>(
    inner: &Rc<Inner<S>>,
    tcp: Tcp,
    addr: SocketAddr,
    name: &Arc<str>,
    permit: Permit,
) {
    if permit.shard() == inner.shard {
        inner.start(tcp, addr, Arc::clone(name), permit);
        return;
    }
    let shard = permit.shard();
    let accepted = Accepted {
        socket: tcp.into_fd(),
        addr,
        listener: Arc::clone(name),
        permit,
    };
    match (inner.hand_over)(shard, accepted) {
        Ok(()) => inner.counters.handed_over.add(1),
        // The way is full: served here, counted here.
        Err(back) => {
            let Accepted {
                socket,
                addr,
                listener,
                mut permit,
            } = back;
            permit.move_to(inner.shard);
            match Tcp::from_fd(socket) {
                Ok(tcp) => inner.start(tcp, addr, listener, permit),
                Err(error) => inner
                    .log
                    .accept_failed("taking a socket back failed", &error),
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

/// What an operator can do about it.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => {
            "accepting failed: no descriptors are left; raise the open-files limit (ulimit -n, \
             LimitNOFILE) or lower max.connections"
        }
        Some(ENOMEM | ENOBUFS) => "accepting failed: the kernel has no memory for sockets",
        _ => "accepting failed",
    }
}

const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENOMEM: i32 = 12;
const ENOBUFS: i32 = 105;

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a connection above `max.connections` waits before it looks again.
const FULL_PAUSE: Duration = Duration::from_millis(50);
