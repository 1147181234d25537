//! `SyncGroup`: the leader's assignment is stored, then everybody gets its part.
//!
//! Owns the assignments of a generation.
//! Lives inside its group.
//! Invariants: 1. A member sees an assignment only after the record that holds it is stored.
//! Not here: when a generation begins (`rebalance`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{ClassicGroup, State};
use crate::group::step::{After, Step};
use crate::group::{AppendError, GroupError, SyncGroup, SyncedGroup, Token};

impl ClassicGroup {
    pub(in crate::group) fn sync(&mut self, cx: &mut Step<'_>, token: Token, request: SyncGroup) {
        if let Err(error) = self.check_sync(&request) {
            cx.synced(token, SyncedGroup::refused(error));
            return;
        }
        let id = request.member_id.as_str();
        if self.unsynced.remove(id) && self.unsynced.is_empty() {
            cx.cancel(&mut self.sync_timer);
        }
        let stable = self.state == State::Stable;
        let leads = self.is_leader(id);
        let answer = self.assignment_of(id);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if stable {
            cx.synced(token, answer);
            return;
        }
        if let Some(earlier) = member.syncing.replace(token) {
            cx.synced(
                earlier,
                SyncedGroup::refused(GroupError::RebalanceInProgress),
            );
        }
        if leads {
            self.store_assignment(cx, request.assignments);
        }
    }

    fn check_sync(&self, request: &SyncGroup) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |given: &Option<String>, ours: &Option<Arc<str>>| {
            given.is_some() && given.as_deref() != ours.as_deref()
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMemberId),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// Members the leader forgot get nothing; names it made up are dropped.
    fn store_assignment(&mut self, cx: &mut Step<'_>, assignments: Vec<(String, Bytes)>) {
        let mut assignment: BTreeMap<Arc<str>, Bytes> = BTreeMap::new();
        for (id, part) in assignments {
            if let Some((id, _)) = self.members.get_key_value(&*id) {
                assignment.insert(id.clone(), Bytes::copy_from_slice(&part));
            }
        }
        self.write(cx, |id, _| assignment.get(id).cloned().unwrap_or_default());
        let (group, generation) = (self.id.clone(), self.generation);
        cx.out.after.push(After::Assigned {
            group,
            generation,
            assignment,
        });
    }

    /// The record of an assignment is stored, or is not.
    pub(in crate::group) fn assigned(
        &mut self,
        cx: &mut Step<'_>,
        generation: i32,
        mut assignment: BTreeMap<Arc<str>, Bytes>,
        stored: Result<(), AppendError>,
    ) {
        // Members may have come or gone meanwhile; then another generation is on its way.
        if self.state != State::CompletingRebalance || self.generation != generation {
            return;
        }
        match stored {
            Ok(()) => {
                for (id, member) in &mut self.members {
                    member.assignment = assignment.remove(id).unwrap_or_default();
                }
                self.transition(cx, State::Stable);
                self.answer_syncs(cx, None);
            }
            Err(error) => {
                self.reset_assignments(cx, error.for_group());
                self.rebalance_or_complete_join(cx);
            }
        }
    }

    pub(super) fn reset_assignments(&mut self, cx: &mut Step<'_>, error: GroupError) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(cx, Some(error));
    }

    /// Whoever waits is answered and has a new session: an old one may have run out unnoticed meanwhile.
    fn answer_syncs(&mut self, cx: &mut Step<'_>, error: Option<GroupError>) {
        let ids = self
            .members
            .iter()
            .filter(|(_, m)| m.syncing.is_some())
            .map(|(id, _)| id.clone());
        let ids: Vec<Arc<str>> = ids.collect();
        for id in ids {
            let assigned = self.assignment_of(&id);
            let Some(token) = self.members.get_mut(&id).and_then(|m| m.syncing.take()) else {
                continue;
            };
            cx.synced(token, error.map_or(assigned, SyncedGroup::refused));
            self.restart_session(cx, &id);
        }
    }

    fn assignment_of(&self, id: &str) -> SyncedGroup {
        SyncedGroup {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|m| m.assignment.clone())
                .unwrap_or_default(),
        }
    }
}
