//! `JoinGroup`: who may come in, under which id, and whether it makes the group rebalance.
//!
//! Owns the way in.
//! Lives inside its group.
//! Invariants: 1. Whoever is refused left no trace in the group.
//! Not here: the end of the join phase (`rebalance`).

use std::sync::Arc;

use bytes::Bytes;

use super::{ClassicGroup, JoinPhase, Member, State};
use crate::group::step::{After, Alarm, Step, millis};
use crate::group::{AppendError, GroupError, JoinGroup, JoinProtocol, JoinedGroup, Token};

/// A static member that came back under a new id while the group was stable, and what it was before.
#[derive(Debug)]
pub(in crate::group) struct Replaced {
    token: Token,
    old_id: Arc<str>,
    new_id: Arc<str>,
    old_protocols: Vec<(Arc<str>, Bytes)>,
    old_session_timeout_ms: i32,
    old_rebalance_timeout_ms: i32,
    leader_before: Arc<str>,
    supports_skipping_assignment: bool,
}

impl ClassicGroup {
    /// A `JoinGroup` whose session timeout and group id have been checked.
    pub(in crate::group) fn join(&mut self, cx: &mut Step<'_>, token: Token, request: JoinGroup) {
        match self.admit(cx, token, request) {
            Ok(()) => {}
            Err((error, member_id)) => cx.joined(token, JoinedGroup::refused(error, &member_id)),
        }
    }

    fn admit(
        &mut self,
        cx: &mut Step<'_>,
        token: Token,
        request: JoinGroup,
    ) -> Result<(), (GroupError, String)> {
        if !self.has_room_for(&request.member_id, cx.settings.members_max) {
            let id = request.member_id;
            self.remove_member(cx, &id);
            self.complete_join_if_all_joined(cx);
            return Err((GroupError::GroupMaxSizeReached, String::new()));
        }
        if !self.suits(&request) {
            return Err((GroupError::InconsistentGroupProtocol, request.member_id));
        }
        if request.member_id.is_empty() {
            self.join_newcomer(cx, token, request);
            return Ok(());
        }
        let id: Arc<str> = request.member_id.as_str().into();
        if request.instance_id.is_none() && self.pending.contains_key(&id) {
            self.add_member(cx, token, id, request);
            return Ok(());
        }
        if let Err(error) = self.check_member(&id, request.instance_id.as_deref()) {
            return Err((error, request.member_id));
        }
        self.rejoin(cx, token, id, request);
        Ok(())
    }

    /// Whether the size limit lets this member in. While members rejoin, those who wait are counted rather than those
    /// who are listed: a lowered limit then pushes out the last to come.
    fn has_room_for(&self, id: &str, limit: usize) -> bool {
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                self.members.get(id).is_some_and(|m| m.joining.is_some())
                    || self.awaiting_join < limit
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(id) || self.members.len() < limit
            }
        }
    }

    /// Whether the member's protocols fit the group's.
    fn suits(&self, request: &JoinGroup) -> bool {
        if self.state == State::Empty || self.members.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(&*request.protocol_type)
            && self.speaks_any(&request.protocols)
    }

    fn join_newcomer(&mut self, cx: &mut Step<'_>, token: Token, request: JoinGroup) {
        let prefix = request.instance_id.as_ref().unwrap_or(&request.client_id);
        let id: Arc<str> = loop {
            let id = format!("{prefix}-{}", cx.random.uuid());
            if !self.members.contains_key(&*id) && !self.pending.contains_key(&*id) {
                break id.into();
            }
        };
        let owner = request
            .instance_id
            .as_deref()
            .and_then(|instance| self.statics.get(instance));
        if let Some(old_id) = owner.cloned() {
            self.replace_static_member(cx, token, old_id, &id, request);
        } else if request.instance_id.is_none() && request.requires_known_member_id {
            let alarm = Alarm::Session {
                group: self.id.clone(),
                member: id.clone(),
            };
            let timer = cx.start_timer(millis(request.session_timeout_ms), alarm);
            self.pending.insert(id.clone(), timer);
            cx.joined(
                token,
                JoinedGroup::refused(GroupError::MemberIdRequired, &id),
            );
        } else {
            self.add_member(cx, token, id, request);
        }
    }

    fn add_member(&mut self, cx: &mut Step<'_>, token: Token, id: Arc<str>, request: JoinGroup) {
        let rebalance_timeout_ms = rebalance_timeout_ms(&request);
        if let Some(timer) = self.pending.remove(&id) {
            cx.timers.cancel(timer);
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.into());
        }
        if self.state == State::PreparingRebalance
            && let JoinPhase::Initial { member_added, .. } = &mut self.join_phase
        {
            *member_added = true;
        }
        let alarm = Alarm::Session {
            group: self.id.clone(),
            member: id.clone(),
        };
        let timer = cx.start_timer(cx.settings.new_member_join_timeout_ms, alarm);
        let member = Member {
            instance_id: request.instance_id.map(Arc::from),
            client_id: request.client_id.into(),
            client_host: request.client_host.into(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            protocols: own(request.protocols),
            assignment: Bytes::new(),
            is_new: true,
            joining: Some(token),
            syncing: None,
            timer: Some(timer),
        };
        self.insert_member(id, member);
        self.rebalance_or_complete_join(cx);
    }

    fn rejoin(&mut self, cx: &mut Step<'_>, token: Token, id: Arc<str>, request: JoinGroup) {
        let unchanged = self
            .members
            .get(&id)
            .is_some_and(|member| member.speaks(&request.protocols));
        match self.state {
            State::PreparingRebalance => self.update_and_rebalance(cx, token, &id, request),
            // The answer to its JoinGroup may have been lost: it gets the same again.
            State::CompletingRebalance if unchanged => {
                let members = if self.is_leader(&id) {
                    self.roster()
                } else {
                    Vec::new()
                };
                cx.joined(token, self.generation_for(id, members));
            }
            // A leader that joins again wants to assign anew, for instance because topics have grown.
            State::Stable if unchanged && !self.is_leader(&id) => {
                cx.joined(token, self.generation_for(id, Vec::new()));
            }
            State::CompletingRebalance | State::Stable => {
                self.update_and_rebalance(cx, token, &id, request);
            }
            State::Empty => unreachable!("an empty group has no member {id} to rejoin"),
        }
    }

    fn update_and_rebalance(
        &mut self,
        cx: &mut Step<'_>,
        token: Token,
        id: &str,
        request: JoinGroup,
    ) {
        self.update_member(cx, token, id, request);
        self.rebalance_or_complete_join(cx);
    }

    fn update_member(&mut self, cx: &mut Step<'_>, token: Token, id: &str, request: JoinGroup) {
        let rebalance_timeout_ms = rebalance_timeout_ms(&request);
        self.set_protocols(id, own(request.protocols));
        let member = self
            .members
            .get_mut(id)
            .expect("the caller found the member");
        member.session_timeout_ms = request.session_timeout_ms;
        member.rebalance_timeout_ms = rebalance_timeout_ms;
        match member.joining.replace(token) {
            None => self.awaiting_join += 1,
            // Kafka forgets the earlier request and its connection waits for ever; here it is told to try again.
            Some(earlier) => cx.joined(
                earlier,
                JoinedGroup::refused(GroupError::RebalanceInProgress, id),
            ),
        }
    }

    fn set_protocols(&mut self, id: &str, protocols: Vec<(Arc<str>, Bytes)>) {
        for (name, _) in &protocols {
            *self.offered.entry(name.clone()).or_default() += 1;
        }
        let member = self
            .members
            .get_mut(id)
            .expect("the caller found the member");
        let before = std::mem::replace(&mut member.protocols, protocols);
        self.withdraw_protocols(&before);
    }

    /// A static member came back without its id: it gets a new one, and the old one is fenced.
    fn replace_static_member(
        &mut self,
        cx: &mut Step<'_>,
        token: Token,
        old_id: Arc<str>,
        new_id: &Arc<str>,
        request: JoinGroup,
    ) {
        let leader_before = self.leader.clone().unwrap_or_default();
        let supports_skipping_assignment = request.supports_skipping_assignment;
        self.rename_member(cx, &old_id, new_id);
        let member = self
            .members
            .get_mut(new_id)
            .expect("the member was just renamed");
        let replaced = Replaced {
            token,
            old_id,
            new_id: new_id.clone(),
            old_protocols: member.protocols.clone(),
            old_session_timeout_ms: member.session_timeout_ms,
            old_rebalance_timeout_ms: member.rebalance_timeout_ms,
            leader_before,
            supports_skipping_assignment,
        };
        self.update_member(cx, token, new_id, request);
        self.restart_session(cx, new_id);
        match self.state {
            // The same protocol wins as before: the assignment holds, only the new id has to be stored.
            State::Stable if self.select_protocol() == self.protocol => {
                self.write(cx, |_, member| member.assignment.clone());
                let group = self.id.clone();
                cx.out.after.push(After::Replaced {
                    group,
                    replaced: Box::new(replaced),
                });
            }
            // The old id may already be on its way to the leader, whose assignment would then miss the new one.
            State::Stable | State::CompletingRebalance => self.rebalance_or_complete_join(cx),
            State::PreparingRebalance => self.complete_join_if_all_joined(cx),
            State::Empty => unreachable!("an empty group has no static member"),
        }
    }

    fn rename_member(&mut self, cx: &mut Step<'_>, old_id: &Arc<str>, new_id: &Arc<str>) {
        let mut member = self
            .members
            .remove(old_id)
            .expect("the old id is a member's");
        if let Some(token) = member.joining.take() {
            self.awaiting_join -= 1;
            cx.joined(
                token,
                JoinedGroup::refused(GroupError::FencedInstanceId, old_id),
            );
        }
        if let Some(token) = member.syncing.take() {
            cx.synced(
                token,
                super::SyncedGroup::refused(GroupError::FencedInstanceId),
            );
        }
        cx.cancel(&mut member.timer);
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), new_id.clone());
        }
        if self.is_leader(old_id) {
            self.leader = Some(new_id.clone());
        }
        if self.unsynced.remove(old_id) {
            self.unsynced.insert(new_id.clone());
        }
        member.is_new = false;
        self.members.insert(new_id.clone(), member);
    }

    /// The record of a replaced static member is stored, or is not.
    pub(in crate::group) fn replaced(
        &mut self,
        cx: &mut Step<'_>,
        replaced: Replaced,
        stored: Result<(), AppendError>,
    ) {
        let Replaced { token, new_id, .. } = &replaced;
        // A rebalance that began meanwhile answers it (as one who has joined), or has answered it already.
        let waits = self
            .members
            .get(new_id)
            .is_some_and(|member| member.joining == Some(*token));
        if self.state != State::Stable || !waits {
            return;
        }
        if let Some(member) = self.members.get_mut(new_id) {
            member.joining = None;
            self.awaiting_join -= 1;
        }
        if let Err(error) = stored {
            self.undo_replacement(cx, replaced, error);
            return;
        }
        let leads = self.is_leader(new_id);
        let joined = if replaced.supports_skipping_assignment {
            let members = if leads { self.roster() } else { Vec::new() };
            JoinedGroup {
                skip_assignment: leads,
                ..self.generation_for(new_id.clone(), members)
            }
        } else {
            // An old client takes the old leader's id for somebody else's, and so does not assign.
            let leader = replaced.leader_before.clone();
            JoinedGroup {
                leader,
                ..self.generation_for(new_id.clone(), Vec::new())
            }
        };
        self.restart_session(cx, &replaced.new_id);
        cx.joined(replaced.token, joined);
    }

    /// The id the log knows is the member's again.
    fn undo_replacement(&mut self, cx: &mut Step<'_>, replaced: Replaced, error: AppendError) {
        let joined = self.generation_for(Arc::from(""), Vec::new());
        cx.joined(
            replaced.token,
            JoinedGroup {
                error: Some(error.for_group()),
                ..joined
            },
        );
        self.set_protocols(&replaced.new_id, replaced.old_protocols);
        self.rename_member(cx, &replaced.new_id, &replaced.old_id);
        if let Some(member) = self.members.get_mut(&replaced.old_id) {
            member.session_timeout_ms = replaced.old_session_timeout_ms;
            member.rebalance_timeout_ms = replaced.old_rebalance_timeout_ms;
        }
        self.restart_session(cx, &replaced.old_id);
    }
}

/// Version 0 has no rebalance timeout: the session timeout stands for it.
fn rebalance_timeout_ms(request: &JoinGroup) -> i32 {
    if request.rebalance_timeout_ms < 0 {
        request.session_timeout_ms
    } else {
        request.rebalance_timeout_ms
    }
}

/// Copies what outlives the request: its bytes are slices of a receive buffer that would otherwise stay with them.
fn own(protocols: Vec<JoinProtocol>) -> Vec<(Arc<str>, Bytes)> {
    protocols
        .into_iter()
        .map(|p| (p.name.into(), Bytes::copy_from_slice(&p.metadata)))
        .collect()
}
