//! What can happen to a log in one step.
//!
//! **Owns** the list of events and how common each is.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. [`Event::ALL`] has every event once.
//! **Not here** what an event does (`sim::world`).

use crate::disk::sim::Random;

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $weight:literal,)*) => {
        /// One event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            pub(super) const ALL: &[Self] = &[$(Self::$name,)*];

            /// How common it is, before the profile has its say.
            pub(super) fn weight(self) -> u64 {
                match self {
                    $(Self::$name => $weight,)*
                }
            }
        }
    };
}

events! {
    /// A producer without an id, or an idempotent one.
    Append = 30,
    /// A batch of a transaction.
    AppendInTransaction = 14,
    /// A marker ends a transaction.
    EndTransaction = 6,
    /// A batch comes again, with a gap, or with an old epoch.
    Probe = 4,
    /// The writer takes what there is and carries out what it has.
    Write = 16,
    /// A sync begins or ends.
    Sync = 8,
    /// File work begins or ends.
    Work = 7,
    /// Deleted files are unlinked.
    Unlink = 2,
    Read = 14,
    ReadToTheEnd = 4,
    LookUpTime = 2,
    LookUpMaxTimestamp = 1,
    LookUpAborted = 4,
    LookUpEpoch = 2,
    /// The tail in memory is cut down.
    Trim = 2,
    /// The log gives back what an idle one does not need.
    ReleaseIdle = 1,
    Reserve = 1,
    /// A new leader epoch begins here.
    BeginEpoch = 2,
    /// The checkpoint files are written.
    Checkpoint = 3,
    DeleteRecords = 2,
    Retention = 3,
    /// A cleaning begins or goes on.
    Compact = 6,
    /// The partition moves to the other log directory, or goes on doing so.
    Move = 6,
    Truncate = 1,
    /// The log starts anew at another offset.
    StartAnew = 1,
    /// Nothing happens for a while: what is there grows old.
    Wait = 1,
    /// Everything is written, synced and worked off.
    Settle = 1,
    /// Closed in order and opened again.
    Close = 1,
    Kill = 2,
    Crash = 3,
    /// The disk is full, for a while.
    Fill = 1,
    /// It has room again.
    Free = 3,
}

impl Event {
    /// Whether a run without it would be none.
    pub(super) fn is_needed(self) -> bool {
        matches!(self, Self::Append | Self::Write | Self::Sync | Self::Work)
    }

    /// Draws one.
    pub(super) fn draw(random: &mut Random, weights: &[u64]) -> Self {
        let total: u64 = weights.iter().sum();
        let mut drawn = random.below(total);
        for (event, weight) in Self::ALL.iter().zip(weights) {
            if drawn < *weight {
                return *event;
            }
            drawn -= weight;
        }
        Self::Append
    }
}
