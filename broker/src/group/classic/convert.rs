//! A classic group that comes from a consumer group, or becomes one.
//!
//! Owns what of the group's inner life begins and ends with that.
//! Lives inside its group.
//! Invariants: 1. Whoever waits is told before the group is another.
//! Not here: the consumer group's side (`consumer::migrate`).

use std::sync::Arc;

use bytes::Bytes;

use super::{ClassicGroup, Member, State};
use crate::group::step::Step;
use crate::group::{GroupError, JoinedGroup, Now, SyncedGroup, log};

impl ClassicGroup {
    /// A stable group of consumers with these members and their assignments.
    pub(in crate::group) fn of_members(
        id: Arc<str>,
        generation: i32,
        members: Vec<(Arc<str>, Member)>,
        now: Now,
    ) -> Self {
        let mut group = Self {
            generation,
            protocol_type: Some("consumer".into()),
            state: State::Stable,
            previous: State::Stable,
            ..Self::new(id, now)
        };
        for (id, member) in members {
            group.insert_member(id, member);
        }
        group.protocol = group.select_protocol();
        group.subscribed = group.read_subscriptions();
        group
    }

    /// The record of the group as it is.
    pub(in crate::group) fn record(&self) -> (Bytes, Option<Bytes>) {
        log::classic_group(self, |_, member| member.assignment.clone())
    }

    /// The group becomes a consumer group: members join again and find it so.
    pub(in crate::group) fn retire(&mut self, cx: &mut Step<'_>) {
        for (id, member) in &mut self.members {
            cx.cancel(&mut member.timer);
            if let Some(token) = member.joining.take() {
                let refused = JoinedGroup::refused(GroupError::RebalanceInProgress, id);
                cx.joined(token, refused);
            }
            if let Some(token) = member.syncing.take() {
                cx.synced(token, SyncedGroup::refused(GroupError::RebalanceInProgress));
            }
        }
        self.awaiting_join = 0;
        for (_, timer) in std::mem::take(&mut self.pending) {
            cx.timers.cancel(timer);
        }
        self.unsynced.clear();
        cx.cancel(&mut self.join_timer);
        cx.cancel(&mut self.sync_timer);
    }

    /// The group was a consumer group until now; some of its members may be gone, and then the others share anew.
    pub(in crate::group) fn take_over(&mut self, cx: &mut Step<'_>, rebalance: bool) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            self.restart_session(cx, &id);
        }
        if rebalance && self.state == State::Stable {
            self.prepare_rebalance(cx);
        }
    }

    /// The group was to become a consumer group, and that was not stored.
    pub(in crate::group) fn revive(&mut self, cx: &mut Step<'_>) {
        let interrupted = !self.members.is_empty() && self.state != State::Stable;
        if interrupted {
            self.state = State::Stable;
        } else if self.members.is_empty() {
            self.state = State::Empty;
        }
        for member in self.members.values_mut() {
            member.is_new = false;
        }
        self.take_over(cx, interrupted);
    }
}
