//! Consumer groups as the coordinator sees them: which group is asked, what becomes of its type, what is answered when.
//!
//! Owns the way of a request to a consumer group, and the change of a group's type.
//! Lives inside the coordinator.
//! Invariants: 1. An answer leaves when all that it may have seen is stored, also what other members' requests changed.
//! Not here: what a consumer group does (`consumer`).

use std::sync::Arc;

use super::super::classic::ClassicGroup;
use super::super::consumer::leave::Left;
use super::super::consumer::member::{LEAVE_EPOCH, LEAVE_STATIC_EPOCH};
use super::super::consumer::regex::Resolution;
use super::super::consumer::{ConsumerGroup, Joined, Refusal, Undo};
use super::super::step::{After, Outcomes, Step};
use super::super::{
    ConsumerHeartbeat, DescribedConsumerGroup, GroupError, JoinGroup, Now, Reply, Request, Ticket,
    Token,
};
use super::{Coordinator, Group, Protocol};

impl Coordinator {
    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        token: Token,
        request: &ConsumerHeartbeat,
        out: &mut Outcomes,
    ) {
        let answer = match request.member_epoch {
            LEAVE_EPOCH | LEAVE_STATIC_EPOCH => self.leave_consumers(now, request, out),
            0 => self.join_consumers(now, request, out),
            _ => self.beat_consumer(now, request, out),
        };
        let answer = answer.map_err(Box::new);
        self.answer_from(
            &request.group_id,
            token,
            Reply::ConsumerHeartbeat(answer),
            out,
        );
    }

    // HOT: 0 alloc
    fn beat_consumer(
        &mut self,
        now: Now,
        request: &ConsumerHeartbeat,
        out: &mut Outcomes,
    ) -> Result<super::super::ConsumerBeat, Refusal> {
        let (mut cx, groups) = self.context(now, out);
        let group = groups.get_mut(&request.group_id);
        let group = consumer_group(group, &request.group_id)?;
        group.check_heartbeat(cx.settings.consumer.members_max, request)?;
        Ok(group.heartbeat(&mut cx, request))
    }

    fn join_consumers(
        &mut self,
        now: Now,
        request: &ConsumerHeartbeat,
        out: &mut Outcomes,
    ) -> Result<super::super::ConsumerBeat, Refusal> {
        let (mut cx, groups) = self.context(now, out);
        let members_max = cx.settings.consumer.members_max;
        let known = groups.get_mut(&request.group_id);
        if let Some(Protocol::Consumer(group)) = known.as_ref().map(|group| &group.protocol) {
            group.check_heartbeat(members_max, request)?;
            return self.beat_consumer(now, request, out);
        }
        let id: Arc<str> = request.group_id.as_str().into();
        let classic = known.as_ref().and_then(|group| group.as_classic());
        let new = match classic {
            Some(classic) if !classic.members.is_empty() => {
                ConsumerGroup::upgrade(classic, cx.settings, &cx.metadata.image)?
            }
            _ => ConsumerGroup::new(id.clone()),
        };
        new.check_heartbeat(members_max, request)?;
        let upgraded = !new.is_empty();
        if upgraded {
            new.write_whole(&mut cx);
        } else if classic.is_some_and(|classic| !classic.is_simple()) {
            cx.write(super::super::log::classic_group_tombstone(&id));
        }
        if let Some(Protocol::Classic(classic)) = known.map(|group| &mut group.protocol) {
            classic.retire(&mut cx);
        }
        become_protocol(&mut cx, groups, &id, Protocol::Consumer(Box::new(new)));
        let group = groups.get_mut(&id);
        let group = consumer_group(group, &id)?;
        if upgraded {
            group.resume(&mut cx);
        }
        Ok(group.heartbeat(&mut cx, request))
    }

    fn leave_consumers(
        &mut self,
        now: Now,
        request: &ConsumerHeartbeat,
        out: &mut Outcomes,
    ) -> Result<super::super::ConsumerBeat, Refusal> {
        let (mut cx, groups) = self.context(now, out);
        let group = groups.get_mut(&request.group_id);
        let group = consumer_group(group, &request.group_id)?;
        let id = group.id.clone();
        let (beat, left) = group.leave(&mut cx, request)?;
        settle_left(&mut cx, groups, &id, left);
        Ok(beat)
    }

    /// `JoinGroup` to a group that may be a consumer group. `None`: it is one, and has been answered.
    pub(super) fn join_as_classic(
        &mut self,
        now: Now,
        token: Token,
        request: JoinGroup,
        out: &mut Outcomes,
    ) -> Option<JoinGroup> {
        let (mut cx, groups) = self.context(now, out);
        let group = groups.get_mut(&request.group_id)?;
        let Protocol::Consumer(group) = &mut group.protocol else {
            return Some(request);
        };
        if group.is_empty() {
            return Some(request);
        }
        let id = group.id.clone();
        let joined = match group.join_classic(&mut cx, &request) {
            Joined::Answer(joined) => joined,
            Joined::Classic(classic, member_id) => {
                settle_left(&mut cx, groups, &id, Left::Classic(classic));
                if let Some(classic) = groups.get_mut(&id).and_then(|group| group.as_classic_mut())
                {
                    let member_id = member_id.to_string();
                    classic.join(
                        &mut cx,
                        token,
                        JoinGroup {
                            member_id,
                            ..request
                        },
                    );
                }
                return None;
            }
        };
        self.answer_from(&id, token, Reply::JoinGroup(Box::new(joined)), out);
        None
    }

    /// `SyncGroup`, Heartbeat and `LeaveGroup` of a consumer group's members.
    pub(super) fn ask_consumer_group(
        &mut self,
        now: Now,
        token: Token,
        request: Request,
        out: &mut Outcomes,
    ) {
        let (mut cx, groups) = self.context(now, out);
        let found = request.group_id().and_then(|id| groups.get_mut(id));
        let Some(Protocol::Consumer(group)) = found.map(|group| &mut group.protocol) else {
            return;
        };
        let id = group.id.clone();
        let reply = match request {
            Request::Heartbeat(request) => Reply::Heartbeat(group.beat_classic(&mut cx, &request)),
            Request::SyncGroup(request) => Reply::SyncGroup(group.sync_classic(&mut cx, &request)),
            Request::LeaveGroup(request) => {
                let (verdicts, left) = group.leave_classic(&mut cx, request);
                settle_left(&mut cx, groups, &id, left);
                Reply::LeaveGroup(Ok(verdicts))
            }
            request => request.refuse(GroupError::Unknown),
        };
        self.answer_from(&id, token, reply, out);
    }

    pub(super) fn describe_consumers(
        &self,
        id: &str,
    ) -> Result<DescribedConsumerGroup, GroupError> {
        let group = self.groups.get(id).ok_or(GroupError::GroupIdNotFound)?;
        match &group.protocol {
            Protocol::Consumer(group) => Ok(group.describe(&self.settings.consumer.assignors)),
            Protocol::Classic(_) => Err(GroupError::NotConsumerGroup),
        }
    }

    pub(super) fn resolved(&mut self, now: Now, resolution: Resolution, out: &mut Outcomes) {
        let (mut cx, groups) = self.context(now, out);
        let found = groups.get_mut(&resolution.group);
        if let Some(Protocol::Consumer(group)) = found.map(|group| &mut group.protocol) {
            group.resolved(&mut cx, resolution);
        }
    }

    /// The answer leaves with the records of this step, or with the last of the group's that are under way.
    pub(super) fn answer_from(
        &mut self,
        group: &str,
        token: Token,
        reply: Reply,
        out: &mut Outcomes,
    ) {
        if !out.records.is_empty() {
            out.after.push(After::Reply(token, reply));
            return;
        }
        let last = self
            .groups
            .get(group)
            .and_then(|group| match &group.protocol {
                Protocol::Consumer(group) => Some(group.last_ticket),
                Protocol::Classic(_) => None,
            });
        let under_way = last.and_then(|last| {
            let mut appends = self.appends.iter_mut().rev();
            appends.find(|(ticket, _)| *ticket == last)
        });
        match under_way {
            Some((_, after)) => after.push(After::Reply(token, reply)),
            None => out.replies.push((token, reply)),
        }
    }

    /// These changes are in the append numbered `ticket`.
    pub(super) fn note_ticket(&mut self, undo: &[(Arc<str>, Undo)], ticket: Ticket) {
        for (id, _) in undo {
            let found = self.groups.get_mut(id);
            if let Some(Protocol::Consumer(group)) = found.map(|group| &mut group.protocol) {
                group.last_ticket = ticket;
            }
        }
    }

    /// Takes back changes that were not stored, the last first.
    pub(super) fn take_back(&mut self, now: Now, undo: Vec<(Arc<str>, Undo)>, out: &mut Outcomes) {
        let mut touched: Vec<Arc<str>> = undo.iter().map(|(id, _)| id.clone()).collect();
        touched.sort_unstable();
        touched.dedup();
        let (mut cx, groups) = self.context(now, out);
        for (id, undo) in undo.into_iter().rev() {
            if let Undo::Protocol(before) = undo {
                restore_protocol(&mut cx, groups, &id, before);
                continue;
            }
            let found = groups.get_mut(&id);
            if let Some(Protocol::Consumer(group)) = found.map(|group| &mut group.protocol) {
                group.undo(undo);
            }
        }
        for id in touched {
            let found = groups.get_mut(&id);
            if let Some(Protocol::Consumer(group)) = found.map(|group| &mut group.protocol) {
                group.mend_timers(&mut cx);
            }
        }
    }
}

/// The consumer group, or what the member is told instead.
fn consumer_group<'a>(
    group: Option<&'a mut Group>,
    id: &str,
) -> Result<&'a mut ConsumerGroup, Refusal> {
    match group.map(|group| &mut group.protocol) {
        Some(Protocol::Consumer(group)) => Ok(group),
        Some(Protocol::Classic(_)) => Err(Refusal::new(
            GroupError::GroupIdNotFound,
            format!("Group {id} is not a consumer group."),
        )),
        None => Err(Refusal::new(
            GroupError::GroupIdNotFound,
            format!("Consumer group {id} not found."),
        )),
    }
}

/// The group is of this type from now on; its offsets stay.
pub(super) fn become_protocol(
    cx: &mut Step<'_>,
    groups: &mut super::Groups,
    id: &Arc<str>,
    protocol: Protocol,
) {
    let before = if let Some(group) = groups.get_mut(id) {
        Some(Box::new(std::mem::replace(&mut group.protocol, protocol)))
    } else {
        groups.insert(id.clone(), Group::of(protocol));
        None
    };
    cx.out.undo.push((id.clone(), Undo::Protocol(before)));
}

fn restore_protocol(
    cx: &mut Step<'_>,
    groups: &mut super::Groups,
    id: &Arc<str>,
    before: Option<Box<Protocol>>,
) {
    let Some(group) = groups.get_mut(id) else {
        return;
    };
    let before = before.map_or_else(
        || Protocol::Classic(Box::new(ClassicGroup::simple(id.clone()))),
        |before| *before,
    );
    let after = std::mem::replace(&mut group.protocol, before);
    match after {
        Protocol::Consumer(mut group) => group.retire(cx),
        Protocol::Classic(mut group) => group.retire(cx),
    }
    if let Protocol::Classic(classic) = &mut group.protocol {
        classic.revive(cx);
        if classic.is_simple() && group.offsets.is_empty() {
            groups.remove(id);
        }
    }
}

/// After a departure or a replacement: the group may be a classic one now, whose members share anew.
pub(super) fn settle_left(
    cx: &mut Step<'_>,
    groups: &mut super::Groups,
    id: &Arc<str>,
    left: Left,
) {
    let Left::Classic(classic) = left else {
        return;
    };
    become_protocol(cx, groups, id, Protocol::Classic(classic));
    if let Some(classic) = groups.get_mut(id).and_then(|group| group.as_classic_mut()) {
        classic.take_over(cx, true);
    }
}
