//! Changes to a group, each with the way back.
//!
//! Owns the only functions that change what is in the log, and what follows from it (counts, holders, instance ids).
//! Lives inside its group; an [`Undo`] waits in the coordinator until its records are stored.
//! Invariants: 1. Undoing all changes of failed appends, the last first, gives the state of the log.
//! Not here: records (`log`), rules (`heartbeat`).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ConsumerGroup;
use super::member::{Member, Partitions};
use super::regex::Resolved;
use crate::group::coordinator::Protocol;

/// What was before a change.
#[derive(Debug)]
pub(in crate::group) enum Undo {
    Member(Arc<str>, Option<Arc<Member>>),
    Target(Arc<str>, Option<Arc<Partitions>>),
    Regex(Arc<str>, Option<Arc<Resolved>>),
    /// Epoch and hash.
    Epoch(i32, i64),
    /// Epoch and time of the assignment.
    TargetEpoch(i32, i64),
    /// The group was of another type; `None`: there was none.
    Protocol(Option<Box<Protocol>>),
}

impl ConsumerGroup {
    pub(super) fn set_member(&mut self, id: Arc<str>, member: Option<Arc<Member>>) -> Undo {
        let before = self.members.remove(&id);
        if let Some(before) = &before {
            self.count_out(&id, before);
        }
        if let Some(member) = member {
            self.count_in(&id, &member);
            self.members.insert(id.clone(), member);
        }
        Undo::Member(id, before)
    }

    fn count_in(&mut self, id: &Arc<str>, member: &Member) {
        for topic in &member.topics {
            *self.naming.entry(topic.clone()).or_default() += 1;
        }
        if let Some(regex) = &member.regex {
            *self.matching.entry(regex.clone()).or_default() += 1;
        }
        if let Some(assignor) = &member.assignor {
            *self.preferring.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.classic_count += usize::from(member.is_classic());
        self.hold(id, &member.assigned);
        self.hold(id, &member.revoking);
    }

    fn count_out(&mut self, id: &Arc<str>, member: &Member) {
        for topic in &member.topics {
            less(&mut self.naming, topic);
        }
        if let Some(regex) = &member.regex {
            less(&mut self.matching, regex);
        }
        if let Some(assignor) = &member.assignor {
            less(&mut self.preferring, assignor);
        }
        if let Some(instance) = &member.instance_id
            && self.statics.get(instance) == Some(id)
        {
            self.statics.remove(instance);
        }
        self.classic_count -= usize::from(member.is_classic());
        self.release(id, &member.assigned);
        self.release(id, &member.revoking);
    }

    pub(super) fn set_target(&mut self, id: Arc<str>, target: Option<Arc<Partitions>>) -> Undo {
        let before = match target {
            Some(target) => self.targets.insert(id.clone(), target),
            None => self.targets.remove(&id),
        };
        Undo::Target(id, before)
    }

    pub(super) fn set_regex(&mut self, pattern: Arc<str>, resolved: Option<Arc<Resolved>>) -> Undo {
        let before = match resolved {
            Some(resolved) => self.regexes.insert(pattern.clone(), resolved),
            None => self.regexes.remove(&pattern),
        };
        Undo::Regex(pattern, before)
    }

    pub(super) fn set_epoch(&mut self, epoch: i32, metadata_hash: i64) -> Undo {
        let undo = Undo::Epoch(self.epoch, self.metadata_hash);
        (self.epoch, self.metadata_hash) = (epoch, metadata_hash);
        undo
    }

    pub(super) fn set_target_epoch(&mut self, epoch: i32, at_ms: i64) -> Undo {
        let undo = Undo::TargetEpoch(self.target_epoch, self.assigned_at_ms);
        (self.target_epoch, self.assigned_at_ms) = (epoch, at_ms);
        undo
    }

    /// Takes one change back. A change of type is the coordinator's.
    pub(in crate::group) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Member(id, before) => drop(self.set_member(id, before)),
            Undo::Target(id, before) => drop(self.set_target(id, before)),
            Undo::Regex(pattern, before) => drop(self.set_regex(pattern, before)),
            Undo::Epoch(epoch, hash) => drop(self.set_epoch(epoch, hash)),
            Undo::TargetEpoch(epoch, at_ms) => drop(self.set_target_epoch(epoch, at_ms)),
            Undo::Protocol(_) => {}
        }
    }
}

fn less(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
