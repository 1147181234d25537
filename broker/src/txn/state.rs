//! What is known of one transactional id, and how it changes.
//!
//! Owns [`Transaction`]: what a record of `__transaction_state` says, and the changes from one to the next.
//! Lives inside its coordinator.
//! Invariants:
//! 1. A change is made on a copy, which becomes the truth when its record is stored.
//! 2. An epoch of `i16::MAX` is never given to a producer: it is left for fencing the last one.
//!
//! Not here: who may ask for a change (`coordinator`), bytes (`log`).

use std::collections::BTreeSet;

use corelog_storage::types::TopicPartition;

/// The states of a transactional id, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing has been written since the producer began.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// It will be committed: that is stored, the markers may not be.
    PrepareCommit,
    /// It will be aborted.
    PrepareAbort,
    /// It was committed.
    CompleteCommit,
    /// It was aborted.
    CompleteAbort,
    /// The id is being forgotten. Never stored; a filter may name it.
    Dead,
    /// The producer is being fenced. Never stored; a filter may name it.
    PrepareEpochFence,
}

impl State {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// The state of a name, written exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Kafka's number.
    pub fn id(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
            Self::Dead => 6,
            Self::PrepareEpochFence => 7,
        }
    }

    /// The state of a number.
    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.id() == id)
    }

    /// Its end is decided and not yet in all partitions.
    pub fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Nothing is open.
    pub fn is_idle(self) -> bool {
        matches!(
            self,
            Self::Empty | Self::CompleteCommit | Self::CompleteAbort
        )
    }
}

/// The rules a transaction follows (the feature `transaction.version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Levels 0 and 1: the epoch stays; partitions are added by request.
    #[default]
    One,
    /// Level 2 (KIP-890): the epoch rises with each transaction; producing adds partitions.
    Two,
}

impl Version {
    /// As it stands in records and markers.
    pub fn level(self) -> i16 {
        match self {
            Self::One => 0,
            Self::Two => 2,
        }
    }

    /// Of a level in a record, a marker or the features.
    pub fn of_level(level: i16) -> Self {
        if level >= 2 { Self::Two } else { Self::One }
    }
}

/// What is known of one transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) producer_id: i64,
    /// The one before the last change, to recognise a retry over a change of ids; -1: none.
    pub(super) previous_producer_id: i64,
    /// The one that will follow when the transaction is over; -1: the same.
    pub(super) next_producer_id: i64,
    /// -1: none was given out yet.
    pub(super) epoch: i16,
    /// The one before, to recognise a retry; -1: none. Not stored.
    pub(super) last_epoch: i16,
    pub(super) timeout_ms: i32,
    pub(super) state: State,
    pub(super) partitions: BTreeSet<TopicPartition>,
    /// When the transaction began; -1: none did.
    pub(super) start_ms: i64,
    pub(super) update_ms: i64,
    pub(super) version: Version,
}

/// From here on an epoch is not raised for a producer: it gets another id.
const EPOCH_LAST: i16 = i16::MAX - 1;

/// Whether a producer with this epoch needs another id next.
pub(super) fn is_exhausted(epoch: i16) -> bool {
    epoch >= EPOCH_LAST
}

impl Transaction {
    /// An id that was never seen.
    pub(super) fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            producer_id,
            previous_producer_id: -1,
            next_producer_id: -1,
            epoch: -1,
            last_epoch: -1,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            update_ms: now_ms,
            version: Version::One,
        }
    }

    /// The copy that becomes the next one.
    fn change(&self, now_ms: i64) -> Self {
        Self {
            previous_producer_id: self.producer_id,
            update_ms: now_ms,
            ..self.clone()
        }
    }

    /// A producer begins with this epoch.
    fn begun(&self, timeout_ms: i32, now_ms: i64) -> Self {
        Self {
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start_ms: -1,
            ..self.change(now_ms)
        }
    }

    /// A producer begins, or goes on with the epoch it `expected` to have. `None`: another one took over, or the epochs
    /// are used up.
    pub(super) fn raise_epoch(
        &self,
        timeout_ms: i32,
        expected: Option<i16>,
        now_ms: i64,
    ) -> Option<Self> {
        let raised = (!is_exhausted(self.epoch)).then(|| self.epoch + 1);
        let (epoch, last_epoch) = match expected {
            None => (raised?, -1),
            Some(expected) if self.epoch == -1 || expected == self.epoch => (raised?, self.epoch),
            // A retry: the answer was lost.
            Some(expected) if expected == self.last_epoch && self.epoch != i16::MAX => {
                (self.epoch, self.last_epoch)
            }
            Some(_) => return None,
        };
        Some(Self {
            epoch,
            last_epoch,
            ..self.begun(timeout_ms, now_ms)
        })
    }

    /// A producer begins with another id: the epochs of this one are used up.
    pub(super) fn rotate(
        &self,
        producer_id: i64,
        timeout_ms: i32,
        keeps_last: bool,
        now_ms: i64,
    ) -> Self {
        Self {
            producer_id,
            epoch: 0,
            last_epoch: if keeps_last { self.epoch } else { -1 },
            ..self.begun(timeout_ms, now_ms)
        }
    }

    /// These partitions are written to.
    pub(super) fn add(&self, partitions: &[TopicPartition], version: Version, now_ms: i64) -> Self {
        let mut next = self.change(now_ms);
        if next.state != State::Ongoing {
            next.start_ms = now_ms;
        }
        next.state = State::Ongoing;
        next.partitions.extend(partitions.iter().cloned());
        next.version = version;
        next
    }

    /// The end is decided. `next_producer_id` is for a producer whose epochs are used up by this.
    pub(super) fn prepare(
        &self,
        commit: bool,
        version: Version,
        next_producer_id: Option<i64>,
        now_ms: i64,
    ) -> Self {
        let mut next = self.change(now_ms);
        if next.state != State::Ongoing {
            // Version 2 may abort what never began: the epoch rises all the same.
            next.start_ms = now_ms;
            next.partitions.clear();
        }
        next.state = if commit {
            State::PrepareCommit
        } else {
            State::PrepareAbort
        };
        if version == Version::Two {
            next.last_epoch = self.epoch;
            next.epoch = self.epoch.saturating_add(1);
        }
        next.next_producer_id = next_producer_id.unwrap_or(-1);
        next.version = version;
        next
    }

    /// The open transaction is aborted for a producer that may still live: its epoch must be worth nothing.
    pub(super) fn fence(&self, version: Version, now_ms: i64) -> Self {
        let mut next = self.prepare(false, version, None, now_ms);
        next.epoch = self.epoch.saturating_add(1);
        if version == Version::One {
            next.last_epoch = -1;
        }
        next
    }

    /// Every partition has its marker.
    pub(super) fn complete(&self, now_ms: i64) -> Self {
        let mut next = self.change(now_ms);
        next.state = if self.state == State::PrepareCommit {
            State::CompleteCommit
        } else {
            State::CompleteAbort
        };
        next.partitions.clear();
        if self.version == Version::Two && self.next_producer_id != -1 {
            next.producer_id = self.next_producer_id;
            next.epoch = 0;
        }
        next.next_producer_id = -1;
        next
    }

    /// A retry of the `EndTxn` that used up the producer's epochs: it knows the id before.
    pub(super) fn is_retry_over_ids(&self, producer_id: i64, epoch: i16) -> bool {
        self.previous_producer_id == producer_id && epoch == EPOCH_LAST && self.epoch == 0
    }

    /// A retry of an `EndTxn` of version 2, which raised the epoch. The last epoch of all was raised by fencing: the answer
    /// would give it to a producer, whose next transaction could never be ended.
    pub(super) fn is_retry(&self, epoch: i16) -> bool {
        epoch.checked_add(1) == Some(self.epoch) && self.epoch != i16::MAX
    }

    /// Whether the transaction has been open for too long.
    pub(super) fn is_overdue(&self, now_ms: i64) -> bool {
        // The longest timeout of all is none: a two-phase commit waits for its coordinator.
        self.state == State::Ongoing
            && self.timeout_ms != i32::MAX
            && self.start_ms.saturating_add(i64::from(self.timeout_ms)) < now_ms
    }
}
