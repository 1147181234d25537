//! Departures: members that leave, are silent, or do not give back in time.
//!
//! Owns the ways out of the group.
//! Lives inside its group.
//! Invariants: 1. What a member held is free when it is gone. 2. A static member that will return keeps what it has.
//! Not here: the records of a conversion (`migrate`).

use std::sync::Arc;

use super::heartbeat::{Refusal, check_owner, unknown_instance};
use super::member::{LEAVE_STATIC_EPOCH, Member};
use super::{ConsumerGroup, Why};
use crate::group::classic::ClassicGroup;
use crate::group::notes::Removal;
use crate::group::step::Step;
use crate::group::{ConsumerBeat, ConsumerHeartbeat, log};

/// What is left of the group after a departure.
#[derive(Debug)]
#[must_use]
pub(in crate::group) enum Left {
    /// A consumer group.
    Consumer,
    /// Only members of the classic protocol are left: the group is one of theirs now.
    Classic(Box<ClassicGroup>),
}

impl ConsumerGroup {
    /// Epochs -1 and -2.
    pub(in crate::group) fn leave(
        &mut self,
        cx: &mut Step<'_>,
        request: &ConsumerHeartbeat,
    ) -> Result<(ConsumerBeat, Left), Refusal> {
        let id = request.member_id.as_str();
        let found = match request.instance_id.as_deref() {
            None => self
                .members
                .get_key_value(id)
                .ok_or_else(|| self.unknown(id))?,
            Some(instance) => {
                let found = self.static_member(instance);
                let found = found.ok_or_else(|| unknown_instance(instance))?;
                check_owner(instance, found.0, id)?;
                found
            }
        };
        let (id, member) = (found.0.clone(), found.1.clone());
        let beat = ConsumerBeat {
            member_id: id.clone(),
            member_epoch: request.member_epoch,
            heartbeat_interval_ms: 0,
            assignment: None,
        };
        if request.member_epoch == LEAVE_STATIC_EPOCH {
            self.step_out(cx, &id, &member);
            return Ok((beat, Left::Consumer));
        }
        Ok((beat, self.depart(cx, &[id])))
    }

    /// A static member goes for a while: its session decides for how long.
    fn step_out(&mut self, cx: &mut Step<'_>, id: &Arc<str>, member: &Member) {
        let mut away = member.clone();
        away.epoch = LEAVE_STATIC_EPOCH;
        away.revoking.clear();
        self.stop_waiting(cx, id);
        self.put_member(cx, id, away);
    }

    /// These members are gone.
    pub(in crate::group) fn depart(&mut self, cx: &mut Step<'_>, leaving: &[Arc<str>]) -> Left {
        if self.may_downgrade(cx.settings, leaving) {
            return Left::Classic(Box::new(self.downgrade(cx, leaving)));
        }
        let mut patterns = Vec::new();
        for id in leaving {
            let member = self.members.get(id);
            patterns.extend(member.and_then(|member| member.regex.clone()));
            self.remove_member(cx, id);
        }
        patterns.sort_unstable();
        patterns.dedup();
        self.drop_unused_regexes(cx, patterns.into_iter());
        let hash = self.topics_hash(&cx.metadata.image);
        self.bump_epoch(cx, hash);
        Left::Consumer
    }

    /// The member was silent for too long.
    pub(in crate::group) fn session_over(&mut self, cx: &mut Step<'_>, id: &Arc<str>) -> Left {
        if let Some(waits) = self.waits.get_mut(id) {
            waits.session = None;
        }
        if self.members.contains_key(id) {
            cx.removed(&self.id, id, Removal::Silent);
            return self.depart(cx, std::slice::from_ref(id));
        }
        Left::Consumer
    }

    /// The member did not do in time what it had to.
    pub(in crate::group) fn rebalance_over(&mut self, cx: &mut Step<'_>, id: &Arc<str>) -> Left {
        let Some(waits) = self.waits.get_mut(id) else {
            return Left::Consumer;
        };
        waits.rebalance = None;
        let why = waits.why;
        let late = self.members.get(id).is_some_and(|member| match why {
            Why::Revoke { epoch } => member.epoch == epoch,
            Why::Join | Why::Sync => member.is_classic(),
        });
        if late {
            let missed = match why {
                Why::Revoke { .. } => Removal::DidNotRevoke,
                Why::Join => Removal::DidNotJoin,
                Why::Sync => Removal::DidNotSync,
            };
            cx.removed(&self.id, id, missed);
            return self.depart(cx, std::slice::from_ref(id));
        }
        Left::Consumer
    }

    /// The records of all members, and then of the group, go.
    pub(super) fn write_end(&self, cx: &mut Step<'_>) {
        for id in self.members.keys() {
            cx.write(log::consumer_assignment_tombstone(&self.id, id));
        }
        for id in self.targets.keys() {
            cx.write(log::consumer_target_tombstone(&self.id, id));
        }
        cx.write(log::consumer_target_metadata_tombstone(&self.id));
        for id in self.members.keys() {
            cx.write(log::consumer_member_tombstone(&self.id, id));
        }
        for pattern in self.regexes.keys() {
            cx.write(log::consumer_regex_tombstone(&self.id, pattern));
        }
        cx.write(log::consumer_partitions_tombstone(&self.id));
        cx.write(log::consumer_group_tombstone(&self.id));
    }
}
