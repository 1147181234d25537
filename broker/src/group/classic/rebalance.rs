//! From one generation to the next: the join phase, the election, the deadlines.
//!
//! Owns the phases of a rebalance.
//! Lives inside its group.
//! Invariants:
//! 1. A generation number is used once.
//! 2. The join phase ends by itself: everybody has joined, or its timer rings.
//!
//! Not here: handing out assignments (`sync`).

use std::sync::Arc;

use bytes::Bytes;

use super::{ClassicGroup, JoinPhase, Member, State};
use crate::group::notes::{News, Note, Removal};
use crate::group::step::{Alarm, Step};
use crate::group::{GroupError, log};

impl ClassicGroup {
    pub(super) fn rebalance_or_complete_join(&mut self, cx: &mut Step<'_>) {
        if self.state == State::PreparingRebalance {
            self.complete_join_if_all_joined(cx);
        } else {
            self.prepare_rebalance(cx);
        }
    }

    /// Members have to join (again) from here on.
    pub(super) fn prepare_rebalance(&mut self, cx: &mut Step<'_>) {
        if self.state == State::CompletingRebalance {
            self.reset_assignments(cx, GroupError::RebalanceInProgress);
        }
        cx.cancel(&mut self.sync_timer);
        let initial = self.state == State::Empty;
        self.transition(cx, State::PreparingRebalance);
        if initial {
            let delay_ms = cx.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms);
            self.join_phase = JoinPhase::Initial {
                delay_ms,
                remaining_ms,
                member_added: false,
            };
            self.restart_join_timer(cx, delay_ms);
        } else {
            self.join_phase = JoinPhase::Rejoin;
            if self.have_all_joined() {
                self.complete_join(cx);
            } else {
                self.restart_join_timer(cx, self.rebalance_timeout_ms());
            }
        }
    }

    /// While the members of a new group gather, only the timer ends the phase.
    pub(super) fn complete_join_if_all_joined(&mut self, cx: &mut Step<'_>) {
        let gathering = self.previous == State::Empty;
        if self.state == State::PreparingRebalance && !gathering && self.have_all_joined() {
            self.complete_join(cx);
        }
    }

    fn have_all_joined(&self) -> bool {
        self.awaiting_join == self.members.len() && self.pending.is_empty()
    }

    fn restart_join_timer(&mut self, cx: &mut Step<'_>, delay_ms: u64) {
        cx.cancel(&mut self.join_timer);
        self.join_timer = Some(cx.start_timer(
            delay_ms,
            Alarm::Join {
                group: self.id.clone(),
            },
        ));
    }

    /// The join timer rang.
    pub(in crate::group) fn join_phase_over(&mut self, cx: &mut Step<'_>) {
        self.join_timer = None;
        assert_eq!(
            self.state,
            State::PreparingRebalance,
            "{}: only this state has a join timer",
            self.id
        );
        match self.join_phase {
            JoinPhase::Initial {
                delay_ms,
                remaining_ms,
                member_added: true,
            } if remaining_ms > 0 => {
                let next_ms = cx.settings.initial_rebalance_delay_ms.min(remaining_ms);
                self.join_phase = JoinPhase::Initial {
                    delay_ms: next_ms,
                    remaining_ms: remaining_ms.saturating_sub(delay_ms),
                    member_added: false,
                };
                self.restart_join_timer(cx, next_ms);
            }
            JoinPhase::Initial { .. } | JoinPhase::Rejoin => self.complete_join(cx),
        }
    }

    /// Ends the join phase: those who have not come are out, the others are the next generation.
    fn complete_join(&mut self, cx: &mut Step<'_>) {
        cx.cancel(&mut self.join_timer);
        let absent = |(id, m): (&Arc<str>, &Member)| {
            (m.joining.is_none() && m.instance_id.is_none()).then(|| id.clone())
        };
        let absent: Vec<Arc<str>> = self.members.iter().filter_map(absent).collect();
        for id in &absent {
            cx.removed(&self.id, id, Removal::DidNotJoin);
            self.remove_member(cx, id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left and none has come: their sessions decide, this phase goes on.
            self.restart_join_timer(cx, self.rebalance_timeout_ms());
            return;
        }
        self.generation += 1;
        self.unsynced.clear();
        let protocol = self.select_protocol();
        cx.out.notes.push(Note {
            group: self.id.clone(),
            news: News::Generation(self.generation, self.members.len(), protocol.clone()),
        });
        if self.members.is_empty() {
            self.protocol = None;
            self.transition(cx, State::Empty);
            self.subscribed = self.read_subscriptions();
            self.write(cx, |_, _| Bytes::new());
        } else {
            self.protocol = protocol;
            self.subscribed = self.read_subscriptions();
            self.transition(cx, State::CompletingRebalance);
            self.announce_generation(cx);
        }
    }

    /// A leader that has joined, or else the first member that has.
    fn elect_joined_leader(&mut self) -> bool {
        let joined = |member: &Member| member.joining.is_some();
        if self
            .leader
            .as_ref()
            .is_some_and(|leader| self.members.get(leader).is_some_and(joined))
        {
            return true;
        }
        let first = self
            .members
            .iter()
            .find(|(_, member)| joined(member))
            .map(|(id, _)| id.clone());
        let found = first.is_some();
        self.leader = first.or(self.leader.take());
        found
    }

    fn announce_generation(&mut self, cx: &mut Step<'_>) {
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            let roster = if self.is_leader(&id) {
                self.roster()
            } else {
                Vec::new()
            };
            let joined = self.generation_for(id.clone(), roster);
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.is_new = false;
            if let Some(token) = member.joining.take() {
                self.awaiting_join -= 1;
                cx.joined(token, joined);
            }
            self.restart_session(cx, &id);
            self.unsynced.insert(id);
        }
        let timer = cx.start_timer(
            self.rebalance_timeout_ms(),
            Alarm::Sync {
                group: self.id.clone(),
            },
        );
        self.sync_timer = Some(timer);
    }

    /// Members did not ask for their assignment in time: they are out, and the rest goes round again.
    pub(in crate::group) fn sync_phase_over(&mut self, cx: &mut Step<'_>) {
        self.sync_timer = None;
        let late = std::mem::take(&mut self.unsynced);
        if late.is_empty() || !matches!(self.state, State::CompletingRebalance | State::Stable) {
            return;
        }
        for id in &late {
            cx.removed(&self.id, id, Removal::DidNotSync);
            self.remove_member(cx, id);
        }
        self.prepare_rebalance(cx);
    }

    /// The record of the group as it is, with these assignments.
    pub(super) fn write(
        &self,
        cx: &mut Step<'_>,
        assignment: impl Fn(&Arc<str>, &Member) -> Bytes,
    ) {
        cx.write(log::classic_group(self, assignment));
    }
}
