//! **Owns** what a partition remembers of producers that want to begin a transaction on it and whose coordinator has
//! not vouched for them yet (KIP-890).
//! **Lives on** the shard that owns the partition, inside its producers; in memory only.
//! **Invariants** (1) A guard is given out once, so an answer from before a marker is never taken for one after it.
//! (2) A marker or the first batch of the transaction takes the guard away; not a late marker of the one before.
//! **Not here** asking the coordinator (`broker`).

use std::collections::BTreeMap;

use super::{ProducerError, Producers};
use crate::batch::Header;
use crate::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Permission for the first batch of a transaction, once the coordinator has vouched for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u64);

impl Guard {
    /// What a batch of an ongoing transaction carries: it needs no permission, and opens nothing.
    pub const NONE: Self = Self(0);
}

/// Which rules the producer's transactions follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionVersion {
    /// The epoch stays from one transaction to the next; partitions are added by request.
    One,
    /// Each transaction has an epoch of its own; partitions are added by producing (KIP-890).
    Two,
}

/// What a partition says to a producer that wants to write in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its transaction is open here: the coordinator knows of it.
    Ongoing,
    /// Ask the coordinator, then come back with this.
    Unverified(Guard),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    guard: Guard,
    epoch: ProducerEpoch,
    version: TransactionVersion,
    /// The first batch must be the earliest that was announced.
    lowest: Sequence,
    since: Timestamp,
}

/// Producers between asking and their first batch.
#[derive(Clone, Debug, Default)]
pub(super) struct Verifications {
    entries: BTreeMap<ProducerId, Entry>,
    last: u64,
}

impl Verifications {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn remove(&mut self, producer: ProducerId) {
        if !self.entries.is_empty() {
            self.entries.remove(&producer);
        }
    }

    /// A marker of `epoch` ends what was vouched for before it. Under version 2 it has the epoch of the transaction that
    /// follows: one that comes late, or again, says nothing of that.
    pub(super) fn marker(&mut self, producer: ProducerId, epoch: ProducerEpoch) {
        let follows =
            |entry: &Entry| entry.version == TransactionVersion::Two && epoch.0 <= entry.epoch.0;
        if !self.entries.get(&producer).is_some_and(follows) {
            self.remove(producer);
        }
    }

    pub(super) fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.entries
            .retain(|_, entry| now.0.saturating_sub(entry.since.0) < expiration_ms);
    }
}

impl Producers {
    /// What a batch of `producer` with this epoch and first sequence needs before it may be appended.
    pub fn begin_verification(
        &mut self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        version: TransactionVersion,
        now: Timestamp,
    ) -> Standing {
        if self.in_transaction(producer, epoch) {
            return Standing::Ongoing;
        }
        let all = &mut self.verifications;
        if let Some(entry) = all.entries.get_mut(&producer)
            && entry.epoch >= epoch
        {
            if entry.epoch == epoch {
                entry.lowest = entry.lowest.min(sequence);
            }
            return Standing::Unverified(entry.guard);
        }
        all.last += 1;
        let guard = Guard(all.last);
        let entry = Entry {
            guard,
            epoch,
            version,
            lowest: sequence,
            since: now,
        };
        all.entries.insert(producer, entry);
        Standing::Unverified(guard)
    }

    /// Whether a transactional batch belongs to an open transaction, or opens one that the coordinator vouched for.
    pub fn admit_in_transaction(&self, header: &Header, guard: Guard) -> Result<(), ProducerError> {
        let producer = header.producer_id;
        let state = self.state(producer);
        if self.in_transaction(producer, header.producer_epoch)
            || state.is_some_and(|state| state.duplicate(header).is_some())
        {
            return Ok(());
        }
        let entry = self.verifications.entries.get(&producer);
        let Some(entry) = entry.filter(|entry| entry.guard == guard) else {
            return Err(ProducerError::NotInTransaction { producer });
        };
        let incoming = header.base_sequence;
        let unknown = state.is_none_or(|state| state.batches().is_empty());
        let gap = incoming > entry.lowest
            || (entry.version == TransactionVersion::Two && unknown && incoming.0 > 0);
        if gap && incoming.is_some() {
            return Err(ProducerError::OutOfOrderSequence {
                producer,
                incoming,
                last: state.map_or(Sequence::NONE, super::ProducerState::last_sequence),
            });
        }
        Ok(())
    }

    fn in_transaction(&self, producer: ProducerId, epoch: ProducerEpoch) -> bool {
        self.state(producer)
            .is_some_and(|state| state.epoch() == epoch && state.transaction().is_some())
    }
}
