//! A group whose members are given their partitions by the coordinator (KIP-848).
//!
//! Owns the members, their targets, the epochs, and who holds which partition.
//! Lives inside its coordinator.
//! Invariants:
//! 1. All that is here but timers and the progress of regular expressions is in the log: every change writes its record.
//! 2. A partition has one holder at most.
//! 3. `target_epoch <= epoch`; a member's epoch is never above `target_epoch`.
//! 4. What a change replaced is kept until its records are stored ([`Undo`]).
//!
//! Not here: offsets (`offsets`), the log's bytes (`log`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corelog_net::wire::Uuid;

use super::classic::CommitKind;
use super::step::{Alarm, Step, millis};
use super::timers::TimerId;
use super::{DescribedConsumer, DescribedConsumerGroup, GroupError, OffsetCommit, Ticket, log};
use crate::metadata::Image;

pub(super) mod assignor;
pub(super) mod check;
mod classic;
mod heartbeat;
pub(super) mod leave;
pub(super) mod member;
pub(super) mod migrate;
mod reconcile;
pub(super) mod regex;
pub(super) mod replay;
mod topics;
mod undo;

pub(super) use classic::Joined;
pub use heartbeat::Refusal;
use member::{Held, Member, Partitions};
use regex::Resolved;
pub(super) use undo::Undo;

/// A consumer group.
#[derive(Debug)]
pub(super) struct ConsumerGroup {
    pub(super) id: Arc<str>,
    epoch: i32,
    metadata_hash: i64,
    target_epoch: i32,
    /// Wall clock of the last assignment; 0 when there was none.
    assigned_at_ms: i64,
    members: BTreeMap<Arc<str>, Arc<Member>>,
    targets: BTreeMap<Arc<str>, Arc<Partitions>>,
    regexes: BTreeMap<Arc<str>, Arc<Resolved>>,
    /// Members by instance id.
    statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Who holds a partition, also one that it is to give back.
    holders: BTreeMap<(Uuid, i32), Arc<str>>,
    /// Members that name a topic, an expression, an assignor.
    naming: BTreeMap<Arc<str>, usize>,
    matching: BTreeMap<Arc<str>, usize>,
    preferring: BTreeMap<Arc<str>, usize>,
    /// Members of the classic protocol.
    classic_count: usize,
    waits: BTreeMap<Arc<str>, Waits>,
    /// The topics of its expressions are being looked up.
    resolving: bool,
    /// Which metadata the hash was last compared with; 0: none yet.
    seen: u64,
    limits: Limits,
    /// The last append with changes of this group.
    pub(super) last_ticket: Ticket,
}

/// The settings of this group: its own or the broker's.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_field_names,
    reason = "the unit comes last in every name"
)]
struct Limits {
    session_timeout_ms: i32,
    heartbeat_interval_ms: i32,
    assignment_interval_ms: i64,
}

/// The deadlines of a member.
#[derive(Debug, Default)]
struct Waits {
    session: Option<TimerId>,
    /// To give partitions back, to join again, or to fetch its assignment.
    rebalance: Option<TimerId>,
    /// What the rebalance timer is for.
    why: Why,
}

/// What a member must do in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Why {
    /// Give partitions back; it is then still in this epoch.
    Revoke { epoch: i32 },
    /// Send `JoinGroup` again.
    #[default]
    Join,
    /// Send `SyncGroup`.
    Sync,
}

impl ConsumerGroup {
    /// A group nobody is in. Like Kafka's its first epoch is 1, before anybody has come.
    pub(super) fn new(id: Arc<str>) -> Self {
        Self {
            id,
            epoch: 1,
            metadata_hash: 0,
            target_epoch: 1,
            assigned_at_ms: 0,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            statics: BTreeMap::new(),
            holders: BTreeMap::new(),
            naming: BTreeMap::new(),
            matching: BTreeMap::new(),
            preferring: BTreeMap::new(),
            classic_count: 0,
            waits: BTreeMap::new(),
            resolving: false,
            seen: 0,
            limits: Limits::default(),
            last_ticket: Ticket(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Kafka's name of the state. A dead group is one that does not exist.
    pub(super) fn state(&self) -> &'static str {
        let settled = |member: &Arc<Member>| member.is_reconciled_to(self.target_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(settled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether somebody names the topic, or an expression of somebody stands for it.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.naming.contains_key(topic)
            || self.regexes.iter().any(|(pattern, resolved)| {
                self.matching.contains_key(pattern) && resolved.topics.contains(topic)
            })
    }

    /// Whether this committer may commit these offsets.
    // HOT: 0 alloc
    pub(super) fn check_commit(
        &self,
        commit: &OffsetCommit,
        kind: CommitKind,
    ) -> Result<(), GroupError> {
        if commit.generation_id < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&*commit.member_id);
        let member = member.ok_or(GroupError::UnknownMemberId)?;
        let epoch = commit.generation_id;
        if member.is_classic() {
            return if epoch == member.epoch {
                Ok(())
            } else {
                Err(GroupError::IllegalGeneration)
            };
        }
        if kind == CommitKind::Plain && !commit.knows_member_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        if epoch > member.epoch {
            return Err(GroupError::StaleMemberEpoch);
        }
        // An older epoch will do for partitions that the member has held since then.
        let held_since = |topic: &super::CommitTopic| {
            topic.partitions.iter().all(|commit| {
                let since = member.epoch_of(Uuid(topic.topic_id), commit.partition);
                since.is_some_and(|since| since <= epoch)
            })
        };
        if epoch == member.epoch || commit.topics.iter().all(held_since) {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// Whether this reader may see offsets. Administrators name no member.
    pub(super) fn check_fetch(
        &self,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), GroupError> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.members.get(member_id.unwrap_or_default());
        let member = member.ok_or(GroupError::UnknownMemberId)?;
        match (epoch == member.epoch, member.is_classic()) {
            (true, _) => Ok(()),
            (false, true) => Err(GroupError::IllegalGeneration),
            (false, false) => Err(GroupError::StaleMemberEpoch),
        }
    }

    /// As `ConsumerGroupDescribe` shows it.
    pub(super) fn describe(&self, assignors: &[assignor::Assignor]) -> DescribedConsumerGroup {
        let none = Partitions::new();
        let describe = |(id, member): (&Arc<str>, &Arc<Member>)| {
            let target = self.targets.get(id).map_or(&none, |target| target);
            DescribedConsumer {
                member_id: id.clone(),
                instance_id: member.instance_id.clone(),
                rack_id: member.rack_id.clone(),
                epoch: member.epoch,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                topics: member.topics.iter().cloned().collect(),
                regex: member.regex.clone().unwrap_or_default(),
                assignment: Self::held_by(member),
                target: target.iter().map(|(id, all)| (*id, all.clone())).collect(),
                is_classic: member.is_classic(),
            }
        };
        DescribedConsumerGroup {
            state: self.state(),
            epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor: self.assignor(assignors).name(),
            members: self.members.iter().map(describe).collect(),
        }
    }

    /// What the member has: with what it is to give back, until it has.
    fn held_by(member: &Member) -> Vec<(Uuid, Vec<i32>)> {
        let mut all: BTreeMap<Uuid, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            all.entry(*topic).or_default().extend(partitions.keys());
        }
        all.into_iter()
            .map(|(topic, partitions)| (topic, partitions.into_iter().collect()))
            .collect()
    }

    /// The assignor most members prefer; the broker's first when nobody says.
    fn assignor(&self, configured: &[assignor::Assignor]) -> assignor::Assignor {
        let votes = self.preferring.iter().rev();
        let preferred = votes.max_by_key(|(_, votes)| **votes);
        preferred
            .and_then(|(name, _)| assignor::Assignor::find(name))
            .or(configured.first().copied())
            .unwrap_or(assignor::Assignor::Uniform)
    }

    /// Every topic that somebody wants, by name.
    fn subscribed_topics(&self) -> BTreeSet<Arc<str>> {
        let mut topics: BTreeSet<Arc<str>> = self.naming.keys().cloned().collect();
        for pattern in self.matching.keys() {
            let resolved = self.regexes.get(pattern);
            topics.extend(
                resolved
                    .into_iter()
                    .flat_map(|resolved| &resolved.topics)
                    .cloned(),
            );
        }
        topics
    }

    fn is_subscribed(&self, member: &Member, topic: &str) -> bool {
        let resolved = member
            .regex
            .as_ref()
            .and_then(|regex| self.regexes.get(regex));
        member.topics.contains(topic)
            || resolved.is_some_and(|resolved| resolved.topics.contains(topic))
    }

    /// Serving begins: members have a session from now on; those who must give back have time for it.
    pub(super) fn resume(&mut self, cx: &mut Step<'_>) {
        self.take_limits(cx);
        let ids: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for id in ids {
            self.restart_session(cx, &id);
            let Some(member) = self.members.get(&id).cloned() else {
                continue;
            };
            if !member.is_classic() && member.state == member::MemberState::UnrevokedPartitions {
                let epoch = member.epoch;
                self.wait_for(cx, &id, Why::Revoke { epoch }, member.rebalance_timeout_ms);
            }
        }
    }

    /// The group's own settings, where it has some.
    fn take_limits(&mut self, cx: &Step<'_>) {
        let settings = &cx.settings.consumer;
        let own = cx.metadata.group_setting(&self.id);
        let or = |name: &str, broker: i64| own(name).unwrap_or(broker);
        let int = |ms: i64| i32::try_from(ms).unwrap_or(i32::MAX);
        let session = or(
            "consumer.session.timeout.ms",
            settings.session_timeout_ms.into(),
        );
        let heartbeat = or(
            "consumer.heartbeat.interval.ms",
            settings.heartbeat_interval_ms.into(),
        );
        let interval = or(
            "consumer.assignment.interval.ms",
            cx.metadata.assignment_interval_ms,
        );
        // Limits that were narrowed later hold for older settings too.
        let (lowest, highest) = settings.session_timeout_ms_range;
        let session_timeout_ms = int(session).clamp(lowest, highest.max(lowest));
        let (lowest, highest) = settings.heartbeat_interval_ms_range;
        let heartbeat_interval_ms = int(heartbeat).clamp(lowest, highest.max(lowest));
        let (lowest, highest) = settings.assignment_interval_ms_range;
        self.limits = Limits {
            session_timeout_ms,
            heartbeat_interval_ms,
            assignment_interval_ms: interval.clamp(lowest, highest.max(lowest)),
        };
    }

    /// The member has been heard of.
    // HOT: 0 alloc
    fn restart_session(&mut self, cx: &mut Step<'_>, id: &Arc<str>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let session_ms = member
            .classic
            .as_ref()
            .map_or(self.limits.session_timeout_ms, |classic| {
                classic.session_timeout_ms
            });
        let deadline = cx.now.steady_ms + millis(session_ms);
        if let Some(waits) = self.waits.get_mut(id)
            && let Some(timer) = waits.session
        {
            cx.timers.restart(timer, deadline);
            return;
        }
        let alarm = Alarm::Session {
            group: self.id.clone(),
            member: id.clone(),
        };
        let timer = cx.timers.start(deadline, alarm);
        self.waits.entry(id.clone()).or_default().session = Some(timer);
    }

    /// The member has this long.
    fn wait_for(&mut self, cx: &mut Step<'_>, id: &Arc<str>, why: Why, timeout_ms: i32) {
        let alarm = Alarm::Rebalance {
            group: self.id.clone(),
            member: id.clone(),
        };
        let waits = self.waits.entry(id.clone()).or_default();
        cx.cancel(&mut waits.rebalance);
        waits.rebalance = Some(cx.start_timer(millis(timeout_ms), alarm));
        waits.why = why;
    }

    /// The member need not hurry any more.
    fn stop_waiting(&mut self, cx: &mut Step<'_>, id: &str) {
        if let Some(waits) = self.waits.get_mut(id) {
            cx.cancel(&mut waits.rebalance);
        }
    }

    /// Everybody has a session and nobody else, after changes were taken back.
    pub(super) fn mend_timers(&mut self, cx: &mut Step<'_>) {
        let strangers: Vec<Arc<str>> = self
            .waits
            .keys()
            .filter(|id| !self.members.contains_key(*id))
            .cloned()
            .collect();
        for id in strangers {
            self.forget_timers(cx, &id);
        }
        // What was seen of the metadata may not be in the log.
        self.seen = 0;
        self.resume(cx);
    }

    fn forget_timers(&mut self, cx: &mut Step<'_>, id: &str) {
        if let Some(mut waits) = self.waits.remove(id) {
            cx.cancel(&mut waits.session);
            cx.cancel(&mut waits.rebalance);
        }
    }

    /// All timers go: the group becomes another or nothing.
    pub(super) fn retire(&mut self, cx: &mut Step<'_>) {
        for (_, mut waits) in std::mem::take(&mut self.waits) {
            cx.cancel(&mut waits.session);
            cx.cancel(&mut waits.rebalance);
        }
    }

    fn note(&self, cx: &mut Step<'_>, undo: Undo) {
        cx.out.undo.push((self.id.clone(), undo));
    }

    /// The next epoch, for these topics.
    fn bump_epoch(&mut self, cx: &mut Step<'_>, metadata_hash: i64) {
        let epoch = self.epoch + 1;
        cx.write(log::consumer_group(&self.id, epoch, metadata_hash));
        let undo = self.set_epoch(epoch, metadata_hash);
        self.note(cx, undo);
    }

    /// The hash of all topics that somebody wants now.
    fn topics_hash(&self, image: &Image) -> i64 {
        topics::hash(image, self.subscribed_topics().iter())
    }

    /// Puts a member in and writes what is new about it.
    fn put_member(&mut self, cx: &mut Step<'_>, id: &Arc<str>, member: Member) {
        let before = self.members.get(id);
        let news = before.is_none_or(|before| !before.says_the_same(&member));
        if news {
            cx.write(log::consumer_member(&self.id, id, &member));
        }
        if before.map_or(Member::default().holds_the_same(&member), |before| {
            before.holds_the_same(&member)
        }) {
            if !news {
                return;
            }
        } else {
            cx.write(log::consumer_assignment(&self.id, id, &member));
        }
        let undo = self.set_member(id.clone(), Some(Arc::new(member)));
        self.note(cx, undo);
    }

    /// Takes a member out, with its records.
    fn remove_member(&mut self, cx: &mut Step<'_>, id: &Arc<str>) {
        self.forget_timers(cx, id);
        cx.write(log::consumer_assignment_tombstone(&self.id, id));
        cx.write(log::consumer_target_tombstone(&self.id, id));
        cx.write(log::consumer_member_tombstone(&self.id, id));
        let undo = self.set_target(id.clone(), None);
        self.note(cx, undo);
        let undo = self.set_member(id.clone(), None);
        self.note(cx, undo);
    }

    /// Forgets expressions that nobody uses any more.
    fn drop_unused_regexes(
        &mut self,
        cx: &mut Step<'_>,
        candidates: impl Iterator<Item = Arc<str>>,
    ) {
        for pattern in candidates {
            if !self.matching.contains_key(&pattern) {
                cx.write(log::consumer_regex_tombstone(&self.id, &pattern));
                let undo = self.set_regex(pattern, None);
                self.note(cx, undo);
            }
        }
    }

    /// The records that end a group without members.
    pub(super) fn write_tombstones(id: &str, cx: &mut Step<'_>) {
        cx.write(log::consumer_target_metadata_tombstone(id));
        // Kafka before 4.1 kept partitions in a record of their own.
        cx.write(log::consumer_partitions_tombstone(id));
        cx.write(log::consumer_group_tombstone(id));
    }

    /// Whether nobody holds the partition.
    fn is_free(&self, topic: Uuid, partition: i32) -> bool {
        !self.holders.contains_key(&(topic, partition))
    }

    fn hold(&mut self, id: &Arc<str>, held: &Held) {
        for (topic, partitions) in held {
            for partition in partitions.keys() {
                self.holders.insert((*topic, *partition), id.clone());
            }
        }
    }

    fn release(&mut self, id: &str, held: &Held) {
        for (topic, partitions) in held {
            for partition in partitions.keys() {
                let key = (*topic, *partition);
                if self.holders.get(&key).is_some_and(|holder| **holder == *id) {
                    self.holders.remove(&key);
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        let mut holders = BTreeMap::new();
        for (id, member) in &self.members {
            for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
                for partition in partitions.keys() {
                    let before = holders.insert((*topic, *partition), id.clone());
                    assert_eq!(before, None, "{topic}-{partition} has two holders");
                }
            }
            assert!(
                member.epoch <= self.target_epoch,
                "{id}: {} <= {}",
                member.epoch,
                self.target_epoch
            );
            assert!(
                self.waits
                    .get(id)
                    .is_some_and(|waits| waits.session.is_some()),
                "{id} has a session"
            );
        }
        assert_eq!(holders, self.holders);
        assert!(self.target_epoch <= self.epoch);
        assert!(self.targets.keys().all(|id| self.members.contains_key(id)));
        let classic = self.members.values().filter(|member| member.is_classic());
        assert_eq!(classic.count(), self.classic_count);
        assert!(self.waits.keys().all(|id| self.members.contains_key(id)));
    }
}
