//! What time does: alarms, expired offsets and groups, deleted topics.
//!
//! Owns the order in which due things are done, and how much of it at once.
//! Lives inside the coordinator.
//! Invariants: 1. A step writes a bounded number of records, however much is due.
//! Not here: what an alarm means to its group (`classic`, `consumer`).

use std::sync::Arc;

use super::super::Now;
use super::super::classic::{ClassicGroup, State};
use super::super::log;
use super::super::offsets::{Change, Committed};
use super::super::step::{After, Alarm, Outcomes, Step};
use super::consumers::settle_left;
use super::{Coordinator, Group, Protocol};

impl Coordinator {
    /// Rings due alarms until enough records have gathered; what is left is due at once.
    pub(super) fn tick(&mut self, now: Now, out: &mut Outcomes) {
        while out.records.len() < TICK_RECORDS_MAX
            && let Some(alarm) = self.timers.pop(now.steady_ms)
        {
            if alarm == Alarm::Expiry {
                self.expire(now, out);
                continue;
            }
            let (mut cx, groups) = self.context(now, out);
            let (Alarm::Session { group: id, .. }
            | Alarm::Rebalance { group: id, .. }
            | Alarm::Join { group: id }
            | Alarm::Sync { group: id }) = &alarm
            else {
                continue;
            };
            let Some(group) = groups.get_mut(id) else {
                continue;
            };
            match (&mut group.protocol, &alarm) {
                (Protocol::Classic(classic), Alarm::Session { member, .. }) => {
                    classic.session_over(&mut cx, member);
                }
                (Protocol::Classic(classic), Alarm::Join { .. }) => {
                    classic.join_phase_over(&mut cx);
                }
                (Protocol::Classic(classic), Alarm::Sync { .. }) => {
                    classic.sync_phase_over(&mut cx);
                }
                (Protocol::Consumer(group), Alarm::Session { member, .. }) => {
                    let left = group.session_over(&mut cx, member);
                    settle_left(&mut cx, groups, id, left);
                }
                (Protocol::Consumer(group), Alarm::Rebalance { member, .. }) => {
                    let left = group.rebalance_over(&mut cx, member);
                    settle_left(&mut cx, groups, id, left);
                }
                // The timers of a group that changes its type go with the old one.
                (Protocol::Classic(_), Alarm::Rebalance { .. })
                | (Protocol::Consumer(_), Alarm::Join { .. } | Alarm::Sync { .. })
                | (_, Alarm::Expiry) => {}
            }
        }
    }

    /// Deletes expired offsets, and groups that have neither members nor offsets; a slice of the groups at a time.
    pub(super) fn expire(&mut self, now: Now, out: &mut Outcomes) {
        let from = self.expiry_cursor.take();
        let (mut cx, groups) = self.context(now, out);
        let mut cursor = None;
        for (seen, (id, group)) in groups.after(from.as_ref()).enumerate() {
            if seen == EXPIRY_GROUPS_MAX || cx.out.records.len() >= TICK_RECORDS_MAX {
                break;
            }
            let deletions = group.expired(now.wall_ms, cx.settings.offsets_retention_ms);
            let vacated = group.is_vacant() && group.offsets.is_emptied_by(&deletions);
            write_deletions(&mut cx, id, deletions);
            if vacated {
                group.write_end(id, &mut cx);
                cx.out.after.push(After::Vacated { group: id.clone() });
            }
            cursor = Some(id.clone());
        }
        let more = cursor
            .as_ref()
            .is_some_and(|last| groups.after(Some(last)).next().is_some());
        let interval_ms = cx.settings.offsets_retention_check_interval_ms;
        cx.start_timer(
            if more { EXPIRY_PAUSE_MS } else { interval_ms },
            Alarm::Expiry,
        );
        self.expiry_cursor = cursor.filter(|_| more);
    }

    pub(super) fn forget_topics(&mut self, now: Now, topics: &[String], out: &mut Outcomes) {
        let ids: Vec<_> = self.groups.ids().cloned().collect();
        for id in ids {
            let held = self.held_under_way(&id);
            let (mut cx, groups) = self.context(now, out);
            let is_gone = |topic: &str| topics.iter().any(|gone| gone == topic);
            if let Some(group) = groups.get(&id) {
                write_deletions(&mut cx, &id, group.offsets.deletions_of(is_gone, held));
            }
        }
    }

    /// The group's offsets of open transactions whose records are not stored yet.
    pub(super) fn held_under_way(&self, id: &str) -> Vec<(Arc<str>, i32)> {
        let after = self.appends.iter().flat_map(|(_, after)| after);
        let held = after.filter_map(|after| match after {
            After::Held { group, changes, .. } if **group == *id => Some(changes),
            _ => None,
        });
        held.flatten()
            .map(|change| (change.topic.clone(), change.partition))
            .collect()
    }
}

impl Group {
    /// Which offsets have outlived their retention. Without members it runs from the moment the last one left; without
    /// any protocol, from each commit; with members, from each commit and only for topics nobody subscribes to.
    fn expired(&self, now_ms: i64, retention_ms: i64) -> Vec<Change> {
        let classic = match &self.protocol {
            Protocol::Classic(classic) => classic,
            Protocol::Consumer(group) => {
                return self.offsets.deletions(|topic, committed| {
                    is_over(committed, committed.commit_ms, now_ms, retention_ms)
                        && !group.is_subscribed_to(topic)
                });
            }
        };
        let since: fn(&ClassicGroup, &Committed) -> i64 =
            match (&classic.protocol_type, classic.state) {
                (None, _) => |_, committed| committed.commit_ms,
                (Some(_), State::Empty) => {
                    |classic, committed| classic.state_since_ms.unwrap_or(committed.commit_ms)
                }
                (Some(_), State::Stable) if classic.knows_subscriptions() => {
                    |_, committed| committed.commit_ms
                }
                (Some(_), _) => return Vec::new(),
            };
        self.offsets.deletions(|topic, committed| {
            is_over(committed, since(classic, committed), now_ms, retention_ms)
                && !classic.is_subscribed_to(topic)
        })
    }
}

/// Whether an offset has outlived its own or the broker's retention.
fn is_over(committed: &Committed, since_ms: i64, now_ms: i64, retention_ms: i64) -> bool {
    match committed.expire_ms {
        Some(expire_ms) => now_ms >= expire_ms,
        None => now_ms.saturating_sub(since_ms) >= retention_ms,
    }
}

pub(super) fn write_deletions(cx: &mut Step<'_>, group: &Arc<str>, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    for change in &changes {
        cx.write(log::offset_tombstone(
            group,
            &change.topic,
            change.partition,
        ));
    }
    cx.out.after.push(After::Offsets {
        group: group.clone(),
        changes,
    });
}

/// After this many records a tick ends, so that its append stays small.
const TICK_RECORDS_MAX: usize = 500;

/// After this many groups the search for expired offsets makes room for others.
const EXPIRY_GROUPS_MAX: usize = 1_000;

/// Between two slices of that search.
const EXPIRY_PAUSE_MS: u64 = 1;
