//! **Owns** what one partition knows of its idempotent and transactional producers: the last batches, epochs, open
//! transactions, the last stable offset.
//! **Lives on** the shard that owns the partition, inside its log; rebuilt from a snapshot and the log behind it.
//! **Invariants** (1) At most five batches of one producer are remembered, with sequences that follow each other.
//! (2) A producer has at most one open transaction; the open ones are ordered by their first offset. (3) Nothing here
//! changes on a refusal: [`Producers::admit`] only looks, [`Producers::append`] only records.
//! **Not here** when snapshots are written (`log`), the aborted index's file (`index`), coordinators (`broker`).

mod snapshot;
mod verification;

use std::collections::BTreeMap;

use smallvec::SmallVec;

pub use snapshot::{Snapshot, SnapshotEntry, SnapshotError};
pub use verification::{Guard, Standing, TransactionVersion};

use crate::batch::{EndTransactionMarker, Header};
use crate::limits::PRODUCER_BATCHES_CACHED;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Who appends. A leader checks its clients; a follower takes what its leader has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A producing client.
    Client,
    /// This broker's own coordinators: their batches have epochs, but no sequences.
    Coordinator,
    /// The leader, or the log itself during recovery.
    Replication,
}

/// What [`Producers::admit`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The batch is to be appended.
    Append,
    /// It was appended before, as the batch described here. Kafka answers with its base offset, and with its
    /// timestamp as the log append time.
    Duplicate(CachedBatch),
}

/// Why a batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error("producer {producer}: sequence {incoming} does not follow {last}")]
    OutOfOrderSequence {
        /// The producer.
        producer: ProducerId,
        /// First sequence of the batch.
        incoming: Sequence,
        /// Last sequence appended.
        last: Sequence,
    },
    /// A new epoch must begin at sequence 0. `OUT_OF_ORDER_SEQUENCE_NUMBER`.
    #[error(
        "producer {producer}: epoch {incoming_epoch}, after {current_epoch}, begins at sequence {incoming}, not 0"
    )]
    NewEpochNotFromZero {
        /// The producer.
        producer: ProducerId,
        /// Epoch of the batch.
        incoming_epoch: ProducerEpoch,
        /// Epoch known.
        current_epoch: ProducerEpoch,
        /// First sequence of the batch.
        incoming: Sequence,
    },
    /// `INVALID_PRODUCER_EPOCH`.
    #[error("producer {producer}: epoch {incoming} comes behind {current}")]
    StaleEpoch {
        /// The producer.
        producer: ProducerId,
        /// Epoch of the batch.
        incoming: ProducerEpoch,
        /// Epoch known.
        current: ProducerEpoch,
    },
    /// A batch outside a transaction while the producer has one open. `INVALID_TXN_STATE`.
    #[error(
        "producer {producer} has a transaction open since offset {first_offset} and wrote outside it"
    )]
    NotTransactional {
        /// The producer.
        producer: ProducerId,
        /// Where its transaction began.
        first_offset: Offset,
    },
    /// A transactional batch of a producer whose transaction is not open here and was not vouched for.
    /// `INVALID_TXN_STATE`.
    #[error("producer {producer} has no transaction open here")]
    NotInTransaction {
        /// The producer.
        producer: ProducerId,
    },
    /// A marker from a coordinator that was replaced. `TRANSACTION_COORDINATOR_FENCED`.
    #[error("producer {producer}: coordinator epoch {incoming} is older than {current}")]
    CoordinatorFenced {
        /// The producer.
        producer: ProducerId,
        /// Epoch of the marker.
        incoming: i32,
        /// Epoch known.
        current: i32,
    },
}

/// A batch that is remembered to recognise its repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedBatch {
    /// Sequence of its last record.
    pub last_sequence: Sequence,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Last offset less first offset.
    pub offset_delta: i32,
    /// Its max timestamp.
    pub timestamp: Timestamp,
}

impl CachedBatch {
    /// Sequence of its first record.
    pub fn first_sequence(&self) -> Sequence {
        self.last_sequence.back(self.offset_delta)
    }

    /// Offset of its first record.
    pub fn first_offset(&self) -> Offset {
        self.last_offset - i64::from(self.offset_delta)
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    last_timestamp: Timestamp,
    transaction: Option<Offset>,
    /// Oldest first. Empty after a marker raised the epoch.
    batches: SmallVec<[CachedBatch; 2]>,
}

impl ProducerState {
    /// Its epoch.
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// Epoch of the coordinator that wrote its last marker, or -1.
    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// Timestamp of its last batch or marker.
    pub fn last_timestamp(&self) -> Timestamp {
        self.last_timestamp
    }

    /// First offset of its open transaction.
    pub fn transaction(&self) -> Option<Offset> {
        self.transaction
    }

    /// The batches remembered, oldest first.
    pub fn batches(&self) -> &[CachedBatch] {
        &self.batches
    }

    /// The last sequence appended in the current epoch, or none.
    pub fn last_sequence(&self) -> Sequence {
        self.batches
            .last()
            .map_or(Sequence::NONE, |batch| batch.last_sequence)
    }

    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            transaction: None,
            batches: SmallVec::new(),
        }
    }

    /// Takes over another epoch; the batches of the old one can no longer be repeated.
    fn enter(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    fn duplicate(&self, header: &Header) -> Option<CachedBatch> {
        if self.epoch != header.producer_epoch {
            return None;
        }
        let wanted = (header.base_sequence, header.last_sequence());
        self.batches
            .iter()
            .find(|batch| (batch.first_sequence(), batch.last_sequence) == wanted)
            .copied()
    }
}

/// A transaction that a marker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTransaction {
    /// Its producer.
    pub producer: ProducerId,
    /// Its first offset in the partition.
    pub first_offset: Offset,
    /// The offset of the marker.
    pub last_offset: Offset,
    /// Whether it was aborted.
    pub aborted: bool,
}

/// All producers of one partition.
#[derive(Clone, Debug)]
pub struct Producers {
    states: BTreeMap<ProducerId, ProducerState>,
    /// Open transactions: first offset → producer.
    ongoing: BTreeMap<Offset, ProducerId>,
    /// Ended transactions whose marker is not yet below the high watermark: first offset → marker's offset.
    unreplicated: BTreeMap<Offset, Offset>,
    /// Ended transactions whose marker is not yet on the disk: first offset → marker's offset.
    undurable: BTreeMap<Offset, Offset>,
    verifications: verification::Verifications,
    /// The log has been taken account of up to here.
    end_offset: Offset,
    expiration_ms: i64,
}

impl Producers {
    /// Nobody known. A producer without an open transaction is forgotten `expiration_ms` after its last batch
    /// (`producer.id.expiration.ms`).
    pub fn new(expiration_ms: i64) -> Self {
        Self {
            states: BTreeMap::new(),
            ongoing: BTreeMap::new(),
            unreplicated: BTreeMap::new(),
            undurable: BTreeMap::new(),
            verifications: verification::Verifications::default(),
            end_offset: Offset::ZERO,
            expiration_ms,
        }
    }

    /// Continues from a snapshot that was taken at `offset`. Expired producers stay away.
    pub fn restore(
        snapshot: &Snapshot,
        offset: Offset,
        expiration_ms: i64,
        now: Timestamp,
    ) -> Self {
        let mut producers = Self::new(expiration_ms);
        producers.end_offset = offset;
        for entry in &snapshot.entries {
            let state = entry.state();
            if producers.is_expired(&state, now) {
                continue;
            }
            if let Some(first_offset) = state.transaction {
                producers.ongoing.insert(first_offset, entry.producer);
            }
            producers.states.insert(entry.producer, state);
        }
        producers
    }

    /// What a snapshot at [`Producers::end_offset`] holds, ordered by producer.
    pub fn snapshot(&self) -> Snapshot {
        let entries = self
            .states
            .iter()
            .map(|(&producer, state)| SnapshotEntry::of(producer, state))
            .collect();
        Snapshot { entries }
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        self.states
            .iter()
            .map(|(&producer, state)| (producer, state))
    }

    /// What is known of one producer.
    pub fn state(&self, producer: ProducerId) -> Option<&ProducerState> {
        self.states.get(&producer)
    }

    /// The log has been taken account of up to here.
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// Says that the log up to `offset` is taken account of, also where no batch had a producer.
    pub fn advance(&mut self, offset: Offset) {
        self.end_offset = self.end_offset.max(offset);
    }

    /// Whether the batch of `header` may be appended. It decides nothing about batches without a producer: they may.
    pub fn admit(&self, header: &Header, origin: Origin) -> Result<Admission, ProducerError> {
        if !header.has_producer() || header.attributes.is_control() || origin == Origin::Replication
        {
            return Ok(Admission::Append);
        }
        let producer = header.producer_id;
        // A producer that is not known may begin anywhere: retention may have taken what was known of it.
        let Some(state) = self.states.get(&producer) else {
            return Ok(Admission::Append);
        };
        if origin == Origin::Client
            && let Some(batch) = state.duplicate(header)
        {
            return Ok(Admission::Duplicate(batch));
        }
        let (epoch, incoming) = (header.producer_epoch, header.base_sequence);
        if epoch < state.epoch {
            return Err(ProducerError::StaleEpoch {
                producer,
                incoming: epoch,
                current: state.epoch,
            });
        }
        let sequenced = origin == Origin::Client;
        if sequenced && state.epoch.is_some() && epoch != state.epoch && incoming.0 != 0 {
            let (incoming_epoch, current_epoch) = (epoch, state.epoch);
            return Err(ProducerError::NewEpochNotFromZero {
                producer,
                incoming_epoch,
                current_epoch,
                incoming,
            });
        }
        if sequenced
            && state.epoch.is_some()
            && epoch == state.epoch
            && !incoming.follows(state.last_sequence())
        {
            let last = state.last_sequence();
            return Err(ProducerError::OutOfOrderSequence {
                producer,
                incoming,
                last,
            });
        }
        match state.transaction {
            Some(first_offset) if !header.attributes.is_transactional() => {
                Err(ProducerError::NotTransactional {
                    producer,
                    first_offset,
                })
            }
            _ => Ok(Admission::Append),
        }
    }

    /// Whether a marker may be appended. Under version 2 the coordinator has raised the epoch: one that is not above
    /// the producer's is late, unless nothing is open: then it is the repetition of a marker that ended it.
    pub fn admit_marker(
        &self,
        header: &Header,
        marker: EndTransactionMarker,
        version: TransactionVersion,
        origin: Origin,
    ) -> Result<(), ProducerError> {
        let producer = header.producer_id;
        let Some(state) = self.states.get(&producer) else {
            return Ok(());
        };
        if origin == Origin::Replication {
            return Ok(());
        }
        let late = version == TransactionVersion::Two
            && header.producer_epoch == state.epoch
            && state.transaction.is_some();
        if header.producer_epoch < state.epoch || late {
            let (incoming, current) = (header.producer_epoch, state.epoch);
            return Err(ProducerError::StaleEpoch {
                producer,
                incoming,
                current,
            });
        }
        if marker.coordinator_epoch < state.coordinator_epoch {
            let (incoming, current) = (marker.coordinator_epoch, state.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced {
                producer,
                incoming,
                current,
            });
        }
        Ok(())
    }

    /// Records a data batch that was appended. `header` has its offsets.
    pub fn append(&mut self, header: &Header) {
        self.advance(header.next_offset());
        if !header.has_producer() || header.attributes.is_control() {
            return;
        }
        let epoch = header.producer_epoch;
        let state = self
            .states
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState::new(epoch));
        state.enter(epoch);
        if state.batches.len() == PRODUCER_BATCHES_CACHED {
            state.batches.remove(0);
        }
        state.batches.push(CachedBatch {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        state.last_timestamp = header.max_timestamp;
        if header.attributes.is_transactional() && state.transaction.is_none() {
            state.transaction = Some(header.base_offset);
            self.ongoing.insert(header.base_offset, header.producer_id);
            self.verifications.remove(header.producer_id);
        }
    }

    /// Records a marker that was appended. `header` has its offset. Returns the transaction that it ended, for the
    /// aborted index; none when the producer had written nothing here.
    pub fn append_marker(
        &mut self,
        header: &Header,
        marker: EndTransactionMarker,
    ) -> Option<CompletedTransaction> {
        self.advance(header.next_offset());
        if !header.has_producer() {
            return None;
        }
        let epoch = header.producer_epoch;
        self.verifications.marker(header.producer_id, epoch);
        let state = self
            .states
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState::new(epoch));
        state.enter(epoch);
        state.coordinator_epoch = marker.coordinator_epoch;
        state.last_timestamp = header.max_timestamp;
        let first_offset = state.transaction.take()?;
        self.ongoing.remove(&first_offset);
        let last_offset = header.base_offset;
        self.unreplicated.insert(first_offset, last_offset);
        self.undurable.insert(first_offset, last_offset);
        Some(CompletedTransaction {
            producer: header.producer_id,
            first_offset,
            last_offset,
            aborted: !marker.commit,
        })
    }

    /// Records a marker that a cleaning emptied: of the transaction it ended nothing is left but its producer's epoch.
    pub fn append_emptied_marker(&mut self, header: &Header) {
        self.advance(header.next_offset());
        if !header.has_producer() {
            return;
        }
        let epoch = header.producer_epoch;
        let state = self
            .states
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState::new(epoch));
        if epoch < state.epoch {
            return;
        }
        state.enter(epoch);
        state.last_timestamp = state.last_timestamp.max(header.max_timestamp);
        if let Some(first_offset) = state.transaction.take() {
            // A snapshot from before the cleaning says that it is open.
            self.ongoing.remove(&first_offset);
        }
    }

    /// The last stable offset once `completed` is over and replicated: where the next open transaction begins, else
    /// behind the marker. This is what the aborted index stores.
    pub fn last_stable_offset_after(&self, completed: &CompletedTransaction) -> Offset {
        self.ongoing
            .iter()
            .find(|&(_, &producer)| producer != completed.producer)
            .map_or(completed.last_offset.next(), |(&first_offset, _)| {
                first_offset
            })
    }

    /// The first offset that a `read_committed` reader must not see: of the first transaction that is open, or ended
    /// by a marker that is not replicated. None: it may read to the high watermark.
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        let ongoing = self.ongoing.first_key_value().map(|(&offset, _)| offset);
        let unreplicated = self
            .unreplicated
            .first_key_value()
            .map(|(&offset, _)| offset);
        ongoing.into_iter().chain(unreplicated).min()
    }

    /// The first offset of a transaction that is open, or would be open again if the machine ended now: what lies behind
    /// it may not be thrown away on the strength of a marker.
    pub fn first_undecided_offset(&self) -> Option<Offset> {
        let undurable = self.undurable.first_key_value().map(|(&offset, _)| offset);
        undurable
            .into_iter()
            .chain(self.first_unstable_offset())
            .min()
    }

    /// Everything below is on the disk: so are the markers there.
    pub fn durable_to(&mut self, offset: Offset) {
        if !self.undurable.is_empty() {
            self.undurable.retain(|_, &mut marker| marker >= offset);
        }
    }

    /// The high watermark moved: transactions whose marker lies below it are decided for good.
    pub fn replicated_to(&mut self, high_watermark: Offset) {
        if !self.unreplicated.is_empty() {
            self.unreplicated
                .retain(|_, &mut marker| marker >= high_watermark);
        }
    }

    /// The log start moved: ended transactions before it are gone.
    pub fn start_moved_to(&mut self, log_start_offset: Offset) {
        self.unreplicated
            .retain(|_, &mut marker| marker >= log_start_offset);
        self.undurable
            .retain(|_, &mut marker| marker >= log_start_offset);
        self.advance(log_start_offset);
    }

    /// Forgets everything, for reloading after a truncation to `end_offset`.
    pub fn clear(&mut self, end_offset: Offset) {
        self.states.clear();
        self.ongoing.clear();
        self.unreplicated.clear();
        self.undurable.clear();
        self.verifications.clear();
        self.end_offset = end_offset;
    }

    /// Forgets producers that have been silent too long; those with an open transaction stay. Returns how many went.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let before = self.states.len();
        let expiration_ms = self.expiration_ms;
        self.verifications.expire(now, expiration_ms);
        self.states
            .retain(|_, state| !expired(state, now, expiration_ms));
        before - self.states.len()
    }

    /// Changes `producer.id.expiration.ms`.
    pub fn set_expiration(&mut self, expiration_ms: i64) {
        self.expiration_ms = expiration_ms;
    }

    fn is_expired(&self, state: &ProducerState, now: Timestamp) -> bool {
        expired(state, now, self.expiration_ms)
    }
}

fn expired(state: &ProducerState, now: Timestamp, expiration_ms: i64) -> bool {
    state.transaction.is_none() && now.0.saturating_sub(state.last_timestamp.0) >= expiration_ms
}

/// One aborted transaction, an entry of `.txnindex`.
///
/// ```text
/// version i16 = 0 | producer id i64 | first offset i64 | last offset i64 | last stable offset i64      34 bytes
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer: ProducerId,
    /// Its first offset.
    pub first_offset: Offset,
    /// The offset of the abort marker.
    pub last_offset: Offset,
    /// The last stable offset when the marker was written.
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    /// Bytes of an entry.
    pub const SIZE: usize = 34;

    /// The entry's bytes.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[2..10].copy_from_slice(&self.producer.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.first_offset.0.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.last_offset.0.to_be_bytes());
        bytes[26..34].copy_from_slice(&self.last_stable_offset.0.to_be_bytes());
        bytes
    }

    /// Reads an entry; an unknown version gives that version back.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, i16> {
        let number = |at: usize| {
            let mut field = [0; 8];
            field.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(field)
        };
        match i16::from_be_bytes([bytes[0], bytes[1]]) {
            0 => Ok(Self {
                producer: ProducerId(number(2)),
                first_offset: Offset(number(10)),
                last_offset: Offset(number(18)),
                last_stable_offset: Offset(number(26)),
            }),
            version => Err(version),
        }
    }
}

#[cfg(test)]
mod tests;
