//! Heartbeats, departures and silence.
//!
//! Owns the ways in which a member stays or goes.
//! Lives inside its group.
//! Invariants: 1. A heartbeat allocates nothing and, in the steady state, moves no timer.
//! Not here: members that miss a rebalance (`rebalance`).

use std::sync::Arc;

use super::{ClassicGroup, State};
use crate::group::notes::Removal;
use crate::group::step::Step;
use crate::group::{GroupError, Heartbeat, LeaveGroup, LeavingMember, LeftMember, Reply, Token};

impl ClassicGroup {
    // HOT: 0 alloc
    pub(in crate::group) fn heartbeat(
        &mut self,
        cx: &mut Step<'_>,
        request: &Heartbeat,
    ) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => {
                self.restart_session(cx, &request.member_id);
                Err(GroupError::RebalanceInProgress)
            }
            State::CompletingRebalance | State::Stable => {
                self.restart_session(cx, &request.member_id);
                Ok(())
            }
        }
    }

    pub(in crate::group) fn leave(&mut self, cx: &mut Step<'_>, token: Token, request: LeaveGroup) {
        let mut left = Vec::with_capacity(request.members.len());
        for member in request.members {
            let error = self.let_go(cx, &member).err();
            left.push(LeftMember {
                member_id: member.member_id,
                instance_id: member.instance_id,
                error,
            });
        }
        if left.iter().any(|member| member.error.is_none()) {
            self.after_departure(cx);
        }
        cx.reply_when_stored(token, Reply::LeaveGroup(Ok(left)));
    }

    fn let_go(&mut self, cx: &mut Step<'_>, member: &LeavingMember) -> Result<(), GroupError> {
        let instance_id = member.instance_id.as_deref();
        let id: Arc<str> = if member.member_id.is_empty() {
            // An administrator takes a static member out by its instance id.
            let owner = instance_id.and_then(|instance| self.statics.get(instance));
            owner.ok_or(GroupError::UnknownMemberId)?.clone()
        } else {
            if !self.pending.contains_key(&*member.member_id) {
                self.check_member(&member.member_id, instance_id)?;
            }
            member.member_id.as_str().into()
        };
        self.remove_member(cx, &id);
        Ok(())
    }

    fn after_departure(&mut self, cx: &mut Step<'_>) {
        match self.state {
            State::Stable | State::CompletingRebalance => self.prepare_rebalance(cx),
            State::PreparingRebalance => self.complete_join_if_all_joined(cx),
            State::Empty => {}
        }
    }

    /// The session timer of a member, or of an id handed out, rang.
    pub(in crate::group) fn session_over(&mut self, cx: &mut Step<'_>, id: &str) {
        if self.pending.remove(id).is_some() {
            self.complete_join_if_all_joined(cx);
            return;
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.timer = None;
        // Those who wait for an answer cannot heartbeat; the answer starts a new session. Newcomers are the exception:
        // their client may be long gone.
        if !member.is_new && (member.joining.is_some() || member.syncing.is_some()) {
            return;
        }
        cx.removed(&self.id, &id.into(), Removal::Silent);
        self.remove_member(cx, id);
        self.after_departure(cx);
    }
}
