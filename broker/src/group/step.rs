//! Owns what one step may use and what it leaves behind.
//! Lives for the length of a step.
//! Invariants: 1. Whatever waits for an append was put down in the step whose records it waits for.
//! Not here: tickets (`Coordinator` numbers the appends).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::classic::Replaced;
use super::consumer::Undo;
use super::consumer::regex::Resolve;
use super::metadata::Metadata;
use super::notes::{News, Note, Removal};
use super::offsets::Change;
use super::random::Random;
use super::timers::{TimerId, Timers};
use super::{
    AppendError, GroupSettings, JoinedGroup, Now, Outcome, Record, Reply, SyncedGroup, Token,
    Writer,
};

/// What a group may use during a step.
pub(super) struct Step<'a> {
    pub(super) now: Now,
    pub(super) settings: &'a GroupSettings,
    pub(super) metadata: &'a Metadata,
    pub(super) timers: &'a mut Timers<Alarm>,
    pub(super) random: &'a mut Random,
    pub(super) out: &'a mut Outcomes,
}

/// What a timer calls for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Alarm {
    /// The member, or the id handed out and not yet used, was silent for too long.
    Session { group: Arc<str>, member: Arc<str> },
    /// The join phase has lasted long enough.
    Join { group: Arc<str> },
    /// Members have not asked for their assignment.
    Sync { group: Arc<str> },
    /// The member of a consumer group has had its time to give back, to join, or to sync.
    Rebalance { group: Arc<str>, member: Arc<str> },
    /// Time to look for expired offsets and groups.
    Expiry,
}

/// What a step leaves behind.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) records: Vec<Record>,
    pub(super) replies: Vec<(Token, Reply)>,
    pub(super) after: Vec<After>,
    /// What the step replaced in consumer groups, in order.
    pub(super) undo: Vec<(Arc<str>, Undo)>,
    /// Regular expressions to be resolved elsewhere.
    pub(super) resolve: Vec<Resolve>,
    /// What operators are told.
    pub(super) notes: Vec<Note>,
    /// In whose name the records are written.
    pub(super) writer: Writer,
}

/// What to do when the records of the step are stored, or are not.
#[derive(Debug)]
pub(super) enum After {
    /// Answer, or say why not.
    Reply(Token, Reply),
    /// Offsets became visible.
    Offsets {
        group: Arc<str>,
        changes: Vec<Change>,
    },
    /// Offsets wait for the end of their transaction.
    Held {
        group: Arc<str>,
        producer_id: i64,
        changes: Vec<Change>,
    },
    /// Consumer groups have changed; the way back, in the order of the changes.
    Changed(Vec<(Arc<str>, Undo)>),
    /// A transaction ended.
    Ended { producer_id: i64, outcome: Outcome },
    /// The leader's assignment is safe: hand it out.
    Assigned {
        group: Arc<str>,
        generation: i32,
        assignment: BTreeMap<Arc<str>, Bytes>,
    },
    /// A static member came back under a new id.
    Replaced {
        group: Arc<str>,
        replaced: Box<Replaced>,
    },
    /// The group may be dropped from memory if it is still vacant.
    Vacated { group: Arc<str> },
}

impl Step<'_> {
    pub(super) fn reply(&mut self, token: Token, reply: Reply) {
        self.out.replies.push((token, reply));
    }

    pub(super) fn joined(&mut self, token: Token, joined: JoinedGroup) {
        self.reply(token, Reply::JoinGroup(Box::new(joined)));
    }

    pub(super) fn synced(&mut self, token: Token, synced: SyncedGroup) {
        self.reply(token, Reply::SyncGroup(synced));
    }

    /// A reply that says the step's records are safe; at once when the step wrote none.
    pub(super) fn reply_when_stored(&mut self, token: Token, reply: Reply) {
        if self.out.records.is_empty() {
            self.reply(token, reply);
        } else {
            self.out.after.push(After::Reply(token, reply));
        }
    }

    pub(super) fn write(&mut self, (key, value): (Bytes, Option<Bytes>)) {
        self.out.records.push(Record {
            key,
            value,
            timestamp_ms: self.now.wall_ms,
        });
    }

    pub(super) fn removed(&mut self, group: &Arc<str>, member: &Arc<str>, why: Removal) {
        self.out.notes.push(Note {
            group: group.clone(),
            news: News::Removed(member.clone(), why),
        });
    }

    pub(super) fn start_timer(&mut self, delay_ms: u64, alarm: Alarm) -> TimerId {
        self.timers.start(self.now.steady_ms + delay_ms, alarm)
    }

    pub(super) fn cancel(&mut self, timer: &mut Option<TimerId>) {
        if let Some(timer) = timer.take() {
            self.timers.cancel(timer);
        }
    }
}

impl After {
    /// Who is waiting for it, to be told that the coordinator is gone.
    pub(super) fn abandon(self, error: AppendError) -> Option<(Token, Reply)> {
        match self {
            Self::Reply(token, reply) => Some((token, reply.unstored(error))),
            Self::Offsets { .. }
            | Self::Changed(_)
            | Self::Held { .. }
            | Self::Ended { .. }
            | Self::Assigned { .. }
            | Self::Replaced { .. }
            | Self::Vacated { .. } => None,
        }
    }
}

/// Milliseconds of a peer's timeout; a negative one is none.
pub(super) fn millis(timeout_ms: i32) -> u64 {
    u64::try_from(timeout_ms).unwrap_or(0)
}
