//! What is said about connections.
//!
//! **Owns** the wording and the rate of log lines that peers can cause.
//! **Lives on** its shard.
//! **Invariants** 1. However many connections misbehave, a shard writes at most
//! [`LINES_PER_WINDOW`] lines about them in a window, and says how many it left out.
//! **Not here**: counts (`counters`).

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use corelog_runtime::{Instant, now};

use super::Refusal;
use crate::connection::{CloseReason, Peer};

#[derive(Default)]
pub(super) struct ConnectionLog {
    window: Cell<Option<Instant>>,
    lines: Cell<u32>,
    left_out: Cell<u64>,
}

impl ConnectionLog {
    #[cold]
    pub(super) fn closed(&self, peer: &Peer, reason: CloseReason) {
        if reason.is_ordinary() {
            tracing::debug!("{peer}: {reason}");
        } else if reason.is_ours() {
            if self.may_write() {
                tracing::error!("{peer}: closed the connection: {reason}");
            }
        } else if self.may_write() {
            tracing::info!("{peer}: closed the connection: {reason}");
        }
    }

    #[cold]
    pub(super) fn refused(&self, addr: SocketAddr, refusal: Refusal) {
        if self.may_write() {
            tracing::warn!("peer={addr}: {refusal}");
        }
    }

    #[cold]
    pub(super) fn accept_failed(&self, what: &str, error: &io::Error) {
        if self.may_write() {
            tracing::warn!("{what}: {error}");
        }
    }

    fn may_write(&self) -> bool {
        let now = now();
        if self.window.get().is_none_or(|began| began + WINDOW <= now) {
            self.window.set(Some(now));
            self.lines.set(0);
            let left_out = self.left_out.take();
            if left_out > 0 {
                tracing::info!("left out {left_out} more lines about connections");
            }
        }
        let may = self.lines.get() < LINES_PER_WINDOW;
        if may {
            self.lines.set(self.lines.get() + 1);
        } else {
            self.left_out.set(self.left_out.get() + 1);
        }
        may
    }
}

const WINDOW: Duration = Duration::from_secs(1);
const LINES_PER_WINDOW: u32 = 10;
