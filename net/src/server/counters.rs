//! What connections count.
//!
//! **Owns** the counters of one shard's connections.
//! **Lives on** its shard: plain cells, read by the shard when it is asked for metrics.
//! **Invariants** 1. Counting costs one addition: nothing here is shared between cores.
//! **Not here**: names and exposition (the broker's metrics).

use std::cell::Cell;

use crate::connection::CloseReason;

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.set(self.0.get().wrapping_add(count));
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a shard's connections.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub(crate) $name: Counter,)*
            closed: [Counter; CloseReason::COUNT],
        }

        /// The values of [`Counters`] at one moment.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Connections closed, by [`CloseReason::index`].
            pub closed: [u64; CloseReason::COUNT],
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot {
                    $($name: self.$name.0.get(),)*
                    closed: std::array::from_fn(|index| self.closed[index].0.get()),
                }
            }
        }
    };
}

counters! {
    /// Sockets accepted by this shard, for itself or another.
    accepted,
    /// Accepts that failed.
    accept_errors,
    /// Sockets closed at once for `max.connections.per.ip`.
    refused_per_ip,
    /// Sockets that had to wait for `max.connections`.
    waited_full,
    /// Sockets handed to another shard.
    handed_over,
    /// Connections begun on this shard.
    opened,
    /// Requests read.
    requests,
    /// Their bytes.
    request_bytes,
    /// Responses begun to be sent.
    responses,
    /// Their bytes.
    response_bytes,
    /// Bytes of them that came from files.
    file_bytes,
    /// Receives that brought bytes, or the end.
    receives,
    /// Vectored sends.
    sends,
    /// Times a connection was not read because of what it had in flight or unread.
    held_back,
}

impl Counters {
    pub(crate) fn closed(&self, reason: CloseReason) {
        self.closed[reason.index()].add(1);
    }
}

impl CountersSnapshot {
    /// Connections closed for a reason of this kind.
    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.closed[reason.index()]
    }

    /// Connections closed.
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }
}
