//! All groups of one offsets partition.
//!
//! Owns the groups, the timers, the appends under way, and the way of every event to its group.
//! Lives on the shard that owns the partition.
//! Invariants:
//! 1. Appends are numbered in the order of their records, and resolved in it.
//! 2. An error of an append is the error of all later ones.
//!
//! Not here: what a group does (`classic`, `offsets`).

mod census;
mod commits;
mod consumers;
mod expiry;
mod groups;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use self::census::{Census, Commit};
use self::commits::write_marker;
use self::consumers::become_protocol;
use self::expiry::write_deletions;
use self::groups::Groups;
use super::classic::{ClassicGroup, State};
use super::consumer::ConsumerGroup;
use super::consumer::replay::Entry;
use super::log::{self, Stored};
use super::metadata::Metadata;
use super::offsets::{Change, Committed, Offsets};
use super::random::Random;
use super::step::{After, Alarm, Outcomes, Step};
use super::timers::Timers;
use super::{
    Append, AppendError, CommittedTopic, Effects, Event, GroupError, GroupSettings, GroupType,
    JoinGroup, ListGroups, ListedGroup, Now, OffsetDelete, OffsetFetch, Outcome, ReplayError,
    Reply, Request, TEXT_SIZE_MAX, Ticket, Token, Writer,
};
use crate::metadata::{Delta, Image};

/// All groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Coordinator {
    partition: i32,
    settings: Arc<GroupSettings>,
    metadata: Metadata,
    phase: Phase,
    groups: Groups,
    timers: Timers<Alarm>,
    random: Random,
    appends: VecDeque<(Ticket, Vec<After>)>,
    last_ticket: Ticket,
    /// Counts commits read and written.
    sequence: u64,
    /// Groups with offsets of a producer's open transaction.
    transactional: BTreeMap<i64, BTreeSet<Arc<str>>>,
    /// Where the search for expired offsets goes on.
    expiry_cursor: Option<Arc<str>>,
    records_skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Loading,
    Active,
    Resigned,
}

/// A group of any type: its offsets, and its protocol. The other types of groups will be variants of [`Protocol`].
#[derive(Debug)]
struct Group {
    protocol: Protocol,
    offsets: Offsets,
}

#[derive(Debug)]
pub(super) enum Protocol {
    Classic(Box<ClassicGroup>),
    Consumer(Box<ConsumerGroup>),
}

impl Coordinator {
    /// A coordinator that has read nothing yet and refuses until [`Coordinator::loaded`]. Member ids follow from `seed`,
    /// which must differ from one life of the coordinator to the next.
    pub fn new(partition: i32, settings: Arc<GroupSettings>, seed: u64) -> Self {
        Self {
            partition,
            metadata: Metadata::new(settings.consumer.assignment_interval_ms),
            settings,
            phase: Phase::Loading,
            groups: Groups::default(),
            timers: Timers::new(),
            random: Random::new(seed),
            appends: VecDeque::new(),
            last_ticket: Ticket(0),
            sequence: 0,
            transactional: BTreeMap::new(),
            expiry_cursor: None,
            records_skipped: 0,
        }
    }

    /// The partition of the offsets topic.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Records of unknown kinds or versions met while loading.
    pub fn records_skipped(&self) -> u64 {
        self.records_skipped
    }

    /// Takes in one record of the partition's log, in order. `producer_id` is the batch's when it is transactional: such
    /// offsets count when their marker says so. A record that fails is left out; the rest can still be read.
    pub fn replay(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        producer_id: Option<i64>,
    ) -> Result<(), ReplayError> {
        assert_eq!(
            self.phase,
            Phase::Loading,
            "partition {}: the log is read while loading",
            self.partition
        );
        self.sequence += 1;
        match log::decode(key, value, self.sequence)? {
            Stored::Offset {
                group,
                topic,
                partition,
                value,
            } => {
                self.replay_offset(&group, &topic, partition, value, producer_id);
            }
            Stored::ClassicGroup {
                group,
                value: Some(value),
            } => {
                let id: Arc<str> = group.into();
                let group = self.group_or_new(&id);
                group.protocol = Protocol::Classic(Box::new(ClassicGroup::restore(id, *value)));
            }
            Stored::ClassicGroup { group, value: None } => {
                // The end of a classic group may have been written before the beginning of a consumer group, or after:
                // an older broker writes it for whatever it deletes.
                if self
                    .groups
                    .get(&group)
                    .is_some_and(|kept| kept.as_classic().is_some())
                {
                    self.forget_protocol(&group);
                }
            }
            Stored::Consumer { group, entry } => self.replay_consumer(&group, entry),
            Stored::Unknown => self.records_skipped += 1,
        }
        Ok(())
    }

    /// The group is no more but what its offsets make of it.
    fn forget_protocol(&mut self, id: &str) {
        let emptied = self.groups.get_mut(id).is_some_and(|kept| {
            kept.protocol = Protocol::Classic(Box::new(ClassicGroup::simple(id.into())));
            kept.offsets.is_empty()
        });
        if emptied {
            self.groups.remove(id);
        }
    }

    /// A record of a consumer group. Deletions of what there is not make no group, and a classic group that is in the
    /// log, not only in its offsets, is not replaced.
    fn replay_consumer(&mut self, id: &str, entry: Entry) {
        let kept = self.groups.get_mut(id);
        let is_consumer = kept
            .as_ref()
            .is_some_and(|kept| kept.as_classic().is_none());
        if let Entry::Group(None) = entry {
            if is_consumer {
                self.forget_protocol(id);
            }
            return;
        }
        if !is_consumer {
            let classic = kept.and_then(|kept| kept.as_classic());
            if entry.is_tombstone() || classic.is_some_and(|classic| !classic.is_simple()) {
                return;
            }
            let id: Arc<str> = id.into();
            let protocol = Protocol::Consumer(Box::new(ConsumerGroup::new(id.clone())));
            self.group_or_new(&id).protocol = protocol;
        }
        if let Some(Protocol::Consumer(group)) =
            self.groups.get_mut(id).map(|kept| &mut kept.protocol)
        {
            group.replay(entry);
        }
    }

    fn replay_offset(
        &mut self,
        group: &str,
        topic: &str,
        partition: i32,
        value: Option<Committed>,
        producer_id: Option<i64>,
    ) {
        let id: Arc<str> = self
            .groups
            .get_key_value(group)
            .map_or_else(|| group.into(), |(id, _)| id.clone());
        match (value, producer_id) {
            (Some(value), Some(producer)) => {
                self.transactional
                    .entry(producer)
                    .or_default()
                    .insert(id.clone());
                let offsets = &mut self.group_or_new(&id).offsets;
                offsets.hold(producer, topic, partition, value);
            }
            (value @ Some(_), None) => {
                self.group_or_new(&id)
                    .offsets
                    .replay(topic, partition, value);
            }
            // A tombstone of an unknown group makes no group.
            (None, _) => {
                if let Some(group) = self.groups.get_mut(&id) {
                    group.offsets.replay(topic, partition, None);
                    self.drop_if_trivial(&id);
                }
            }
        }
    }

    /// A transaction marker of the partition's log.
    pub fn replay_marker(&mut self, producer_id: i64, outcome: Outcome) {
        for id in self.transactional.remove(&producer_id).unwrap_or_default() {
            if let Some(group) = self.groups.get_mut(&id) {
                group
                    .offsets
                    .end_transaction(producer_id, outcome == Outcome::Commit);
            }
            self.drop_if_trivial(&id);
        }
    }

    /// A group that only offsets made goes when they go.
    fn drop_if_trivial(&mut self, id: &str) {
        let trivial = |group: &Group| match &group.protocol {
            Protocol::Classic(classic) => group.offsets.is_empty() && classic.is_simple(),
            Protocol::Consumer(_) => false,
        };
        if self.groups.get(id).is_some_and(trivial) {
            self.groups.remove(id);
        }
    }

    fn group_or_new(&mut self, id: &Arc<str>) -> &mut Group {
        self.groups
            .get_or_insert_with(id, || Group::simple(id.clone()))
    }

    /// The log is read to its end; serving begins.
    pub fn loaded(&mut self, now: Now) -> Effects {
        if self.phase == Phase::Resigned {
            // The partition went while it was read.
            return Effects::default();
        }
        assert_eq!(
            self.phase,
            Phase::Loading,
            "partition {}: loaded once",
            self.partition
        );
        self.phase = Phase::Active;
        self.timers.start(
            now.steady_ms + self.settings.offsets_retention_check_interval_ms,
            Alarm::Expiry,
        );
        let mut out = Outcomes::default();
        let (mut cx, groups) = self.context(now, &mut out);
        groups.for_each_mut(|group| match &mut group.protocol {
            Protocol::Classic(classic) => classic.resume(&mut cx),
            Protocol::Consumer(group) => {
                group.read_whole();
                group.resume(&mut cx);
            }
        });
        self.finish(out)
    }

    /// Coordination ends here: all who wait are told `NOT_COORDINATOR`. Appends under way may still become part of the
    /// log; the next coordinator will see them.
    pub fn unload(&mut self) -> Effects {
        self.phase = Phase::Resigned;
        let mut replies = Vec::new();
        for (_, after) in self.appends.drain(..) {
            replies.extend(
                after
                    .into_iter()
                    .filter_map(|after| after.abandon(AppendError::NotLeader)),
            );
        }
        self.groups.for_each_mut(|group| {
            if let Protocol::Classic(classic) = &mut group.protocol {
                replies.extend(classic.abandon());
            }
        });
        self.timers.clear();
        self.groups.clear();
        self.transactional.clear();
        Effects {
            replies,
            ..Effects::default()
        }
    }

    /// The metadata before there is a change to follow; the first thing a coordinator is told.
    pub fn set_metadata(&mut self, image: Arc<Image>, assignment_interval_ms: i64) {
        self.metadata.set(image, assignment_interval_ms);
    }

    /// The metadata has changed. Groups act on it with their members' next requests.
    pub fn follow_metadata(
        &mut self,
        image: Arc<Image>,
        delta: &Delta,
        assignment_interval_ms: i64,
    ) {
        self.metadata.follow(image, delta, assignment_interval_ms);
    }

    /// One event. The shell hands `Effects::append` to the log before it steps this coordinator again.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        let mut out = Outcomes::default();
        match event {
            Event::Request { token, request } => self.serve(now, token, request, &mut out),
            _ if self.phase != Phase::Active => {}
            Event::Tick => self.tick(now, &mut out),
            Event::TopicsDeleted(topics) => self.forget_topics(now, &topics, &mut out),
            Event::Resolved(resolution) => self.resolved(now, resolution, &mut out),
            Event::Appended(through) => self.appended(now, through, &mut out),
            Event::AppendFailed { from, error } => self.append_failed(now, from, error, &mut out),
            Event::AppendRefused { ticket, error } => {
                self.append_refused(now, ticket, error, &mut out);
            }
        }
        self.finish(out)
    }

    /// On the steady clock (`Now::steady_ms`): when a `Tick` is next wanted. May be early, never late.
    pub fn next_deadline(&self) -> Option<u64> {
        self.timers.next()
    }

    fn context<'a>(&'a mut self, now: Now, out: &'a mut Outcomes) -> (Step<'a>, &'a mut Groups) {
        let Self {
            settings,
            metadata,
            timers,
            random,
            groups,
            ..
        } = self;
        (
            Step {
                now,
                settings,
                metadata,
                timers,
                random,
                out,
            },
            groups,
        )
    }

    /// Numbers the step's append and remembers what waits for it.
    fn finish(&mut self, out: Outcomes) -> Effects {
        let Outcomes {
            records,
            replies,
            mut after,
            undo,
            resolve,
            notes,
            writer,
        } = out;
        if records.is_empty() && !matches!(writer, Writer::Marker(_)) {
            assert!(
                after.is_empty(),
                "what waits for an append came with records"
            );
            assert!(undo.is_empty(), "every change of a group has its record");
            return Effects {
                append: None,
                replies,
                resolve,
                notes,
            };
        }
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
        if !undo.is_empty() {
            self.note_ticket(&undo, ticket);
            after.push(After::Changed(undo));
        }
        for after in &after {
            let After::Offsets { group, changes } = after else {
                continue;
            };
            let Some(group) = self.groups.get_mut(group) else {
                continue;
            };
            for change in changes {
                group.offsets.begin(ticket, change);
            }
        }
        self.appends.push_back((ticket, after));
        Effects {
            append: Some(Append {
                ticket,
                writer,
                records,
            }),
            replies,
            resolve,
            notes,
        }
    }

    fn serve(&mut self, now: Now, token: Token, request: Request, out: &mut Outcomes) {
        if let Err(error) = self.admit(&request) {
            // Kafka answers heartbeats blindly while it loads: no member need leave because of a restart.
            let blind =
                error == GroupError::LoadInProgress && matches!(request, Request::Heartbeat(_));
            let reply = if blind {
                Reply::Heartbeat(Ok(()))
            } else {
                request.refuse(error)
            };
            out.replies.push((token, reply));
            return;
        }
        match request {
            Request::ConsumerHeartbeat(request) => {
                self.consumer_heartbeat(now, token, &request, out);
            }
            Request::DescribeConsumerGroup(request) => {
                let described = self.describe_consumers(&request.group_id);
                out.replies
                    .push((token, Reply::DescribeConsumerGroup(described)));
            }
            Request::JoinGroup(request) => self.join_group(now, token, *request, out),
            Request::OffsetCommit(request) => self.commit(now, token, request, out),
            Request::TxnOffsetCommit(request) => {
                self.commit_in_transaction(now, token, *request, out);
            }
            Request::Marker(marker) => write_marker(token, marker, out),
            Request::OffsetFetch(request) => {
                let fetched = self.fetch(request);
                out.replies.push((token, Reply::OffsetFetch(fetched)));
            }
            Request::OffsetDelete(request) => self.delete_offsets(now, token, request, out),
            Request::DeleteGroup(request) => self.delete_group(now, token, &request.group_id, out),
            Request::ListGroups(request) => {
                out.replies
                    .push((token, Reply::ListGroups(Ok(self.list(&request)))));
            }
            Request::DescribeGroup(request) => {
                let group = self
                    .groups
                    .get(&request.group_id)
                    .ok_or(GroupError::GroupIdNotFound);
                let described = group.and_then(|group| {
                    let classic = group.as_classic().ok_or(GroupError::NotClassicGroup)?;
                    Ok(classic.describe())
                });
                out.replies.push((token, Reply::DescribeGroup(described)));
            }
            Request::SyncGroup(_) | Request::Heartbeat(_) | Request::LeaveGroup(_) => {
                self.ask_member_of_group(now, token, request, out);
            }
        }
    }

    /// What is refused without a look at the group.
    // HOT: 0 alloc
    fn admit(&self, request: &Request) -> Result<(), GroupError> {
        match self.phase {
            Phase::Resigned => return Err(GroupError::NotCoordinator),
            Phase::Loading | Phase::Active => {}
        }
        let group_id = request.group_id().unwrap_or_default();
        if matches!(request, Request::ConsumerHeartbeat(_)) && !self.settings.consumer.enabled {
            return Err(GroupError::UnsupportedVersion);
        }
        let members_only = matches!(
            request,
            Request::JoinGroup(_)
                | Request::SyncGroup(_)
                | Request::Heartbeat(_)
                | Request::LeaveGroup(_)
        );
        if (members_only && group_id.is_empty()) || group_id.len() > TEXT_SIZE_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        if let Request::JoinGroup(join) = request {
            let (min, max) = (
                self.settings.session_timeout_ms_min,
                self.settings.session_timeout_ms_max,
            );
            if !(min..=max).contains(&join.session_timeout_ms) {
                return Err(GroupError::InvalidSessionTimeout);
            }
            if !join.texts_fit() {
                return Err(GroupError::Unknown);
            }
        }
        if self.phase == Phase::Loading {
            Err(GroupError::LoadInProgress)
        } else {
            Ok(())
        }
    }

    fn join_group(&mut self, now: Now, token: Token, request: JoinGroup, out: &mut Outcomes) {
        let known = self.groups.contains(&request.group_id);
        let request = if known {
            match self.join_as_classic(now, token, request, out) {
                Some(request) => request,
                None => return,
            }
        } else {
            request
        };
        let id: Arc<str> = request.group_id.as_str().into();
        let (mut cx, groups) = self.context(now, out);
        let group = groups.get_mut(&id);
        let ended = group
            .as_ref()
            .is_some_and(|group| group.as_classic().is_none());
        if let Some(Protocol::Classic(classic)) = group.map(|group| &mut group.protocol) {
            classic.join(&mut cx, token, request);
            return;
        }
        // There is no group, or a consumer group without members.
        if !request.member_id.is_empty() {
            let refusal = Request::JoinGroup(Box::new(request)).refuse(GroupError::UnknownMemberId);
            cx.reply(token, refusal);
            return;
        }
        if ended {
            ConsumerGroup::write_tombstones(&id, &mut cx);
        }
        let before = cx.out.records.len();
        let mut classic = Box::new(ClassicGroup::new(id.clone(), now));
        classic.join(&mut cx, token, request);
        if classic.is_vacant() {
            // Refused: as if nobody had asked.
            cx.out.records.clear();
            return;
        }
        if cx.out.records.len() == before {
            cx.write(classic.empty_record());
        }
        if ended {
            become_protocol(&mut cx, groups, &id, Protocol::Classic(classic));
        } else {
            groups.insert(id, Group::of(Protocol::Classic(classic)));
        }
    }

    // HOT: heartbeat 0 alloc
    fn ask_member_of_group(
        &mut self,
        now: Now,
        token: Token,
        request: Request,
        out: &mut Outcomes,
    ) {
        let (mut cx, groups) = self.context(now, out);
        let Some(group) = request.group_id().and_then(|id| groups.get_mut(id)) else {
            let reply = match request {
                Request::LeaveGroup(request) => Reply::LeaveGroup(Ok(request.all_unknown())),
                request => request.refuse(GroupError::UnknownMemberId),
            };
            cx.reply(token, reply);
            return;
        };
        let Protocol::Classic(classic) = &mut group.protocol else {
            self.ask_consumer_group(now, token, request, out);
            return;
        };
        match request {
            Request::Heartbeat(request) => {
                let alive = classic.heartbeat(&mut cx, &request);
                cx.reply(token, Reply::Heartbeat(alive));
            }
            Request::SyncGroup(request) => classic.sync(&mut cx, token, request),
            Request::LeaveGroup(request) => classic.leave(&mut cx, token, request),
            _ => unreachable!("only requests of members come here"),
        }
    }

    fn fetch(&self, request: OffsetFetch) -> Result<Vec<super::FetchedTopic>, GroupError> {
        let group = self.groups.get(&request.group_id);
        if let Some(Protocol::Consumer(group)) = group.map(|group| &group.protocol) {
            group.check_fetch(request.member_id.as_deref(), request.member_epoch)?;
        }
        Ok(match request.topics {
            Some(topics) => {
                let none = Offsets::default();
                group
                    .map_or(&none, |group| &group.offsets)
                    .fetch(topics, request.require_stable)
            }
            None => group
                .map(|group| group.offsets.fetch_all(request.require_stable))
                .unwrap_or_default(),
        })
    }

    fn delete_offsets(
        &mut self,
        now: Now,
        token: Token,
        request: OffsetDelete,
        out: &mut Outcomes,
    ) {
        let (mut cx, groups) = self.context(now, out);
        let Some((id, group)) = groups.get_key_value(&request.group_id) else {
            cx.reply(token, Reply::OffsetDelete(Err(GroupError::GroupIdNotFound)));
            return;
        };
        let is_closed = |classic: &ClassicGroup| {
            classic.state != State::Empty && !classic.uses_consumer_protocol()
        };
        if group.as_classic().is_some_and(is_closed) {
            cx.reply(token, Reply::OffsetDelete(Err(GroupError::NonEmptyGroup)));
            return;
        }
        let mut changes = Vec::new();
        let mut verdicts = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let subscribed = group.is_subscribed_to(&topic.name);
            let error = subscribed.then_some(GroupError::GroupSubscribedToTopic);
            let partitions = topic.partitions.into_iter().map(|partition| {
                if !subscribed && group.offsets.contains(&topic.name, partition) {
                    changes.push(Change {
                        topic: topic.name.as_str().into(),
                        partition,
                        value: None,
                    });
                }
                (partition, error)
            });
            let partitions = partitions.collect();
            verdicts.push(CommittedTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions,
            });
        }
        write_deletions(&mut cx, id, changes);
        cx.reply_when_stored(token, Reply::OffsetDelete(Ok(verdicts)));
    }

    fn delete_group(&mut self, now: Now, token: Token, id: &str, out: &mut Outcomes) {
        let held = self.held_under_way(id);
        let (mut cx, groups) = self.context(now, out);
        let refusal = match groups.get_key_value(id) {
            None => GroupError::GroupIdNotFound,
            Some((_, group)) if !group.is_empty() => GroupError::NonEmptyGroup,
            Some((id, group)) => {
                write_deletions(&mut cx, id, group.offsets.deletions_of(|_| true, held));
                group.write_end(id, &mut cx);
                cx.out.after.push(After::Vacated { group: id.clone() });
                cx.reply_when_stored(token, Reply::DeleteGroup(Ok(())));
                return;
            }
        };
        cx.reply(token, Reply::DeleteGroup(Err(refusal)));
    }

    fn list(&self, request: &ListGroups) -> Vec<ListedGroup> {
        let wanted = |filter: &[String], name: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let list = |id: &Arc<str>, group: &Group| {
            let (protocol_type, state, group_type) = match &group.protocol {
                Protocol::Classic(classic) => (
                    classic.protocol_type.clone().unwrap_or_default(),
                    classic.state.name(),
                    GroupType::Classic,
                ),
                Protocol::Consumer(group) => {
                    ("consumer".into(), group.state(), GroupType::Consumer)
                }
            };
            ListedGroup {
                group_id: id.clone(),
                protocol_type,
                state,
                group_type: group_type.name(),
            }
        };
        let listed = self.groups.iter().map(|(id, group)| list(id, group));
        listed
            .filter(|g| wanted(&request.states, g.state) && wanted(&request.types, g.group_type))
            .collect()
    }

    fn appended(&mut self, now: Now, through: Ticket, out: &mut Outcomes) {
        while self
            .appends
            .front()
            .is_some_and(|(ticket, _)| *ticket <= through)
        {
            let Some((ticket, after)) = self.appends.pop_front() else {
                return;
            };
            for after in after {
                self.settle(now, ticket, after, Ok(()), out);
            }
        }
    }

    fn append_failed(&mut self, now: Now, from: Ticket, error: AppendError, out: &mut Outcomes) {
        let kept = self
            .appends
            .iter()
            .take_while(|(ticket, _)| *ticket < from)
            .count();
        let mut failed = self.appends.split_off(kept);
        let mut changed = Vec::new();
        for after in failed.iter_mut().flat_map(|(_, after)| after) {
            if let After::Changed(undo) = after {
                changed.append(undo);
            }
        }
        self.take_back(now, changed, out);
        let mut touched = BTreeSet::new();
        for (ticket, after) in failed {
            for after in after {
                if let After::Offsets { group, .. } | After::Held { group, .. } = &after {
                    touched.insert(group.clone());
                }
                self.settle(now, ticket, after, Err((from, error)), out);
            }
        }
        // ORDER: a group whose earlier changes are still under way must be seen to have them before it may be dropped.
        self.restate_latest();
        for id in touched {
            self.drop_if_trivial(&id);
        }
    }

    /// The log would not take this append; others are not concerned.
    fn append_refused(&mut self, now: Now, ticket: Ticket, error: AppendError, out: &mut Outcomes) {
        let refused = self.appends.iter().position(|(one, _)| *one == ticket);
        let Some((_, after)) = refused.and_then(|at| self.appends.remove(at)) else {
            return;
        };
        for after in after {
            if let After::Held { group, .. } = &after {
                self.drop_if_trivial(group);
            }
            self.settle(now, ticket, after, Err((ticket, error)), out);
        }
    }

    /// After changes were taken back, the newest of those still under way count again.
    fn restate_latest(&mut self) {
        for (ticket, after) in &self.appends {
            for after in after {
                let After::Offsets { group, changes } = after else {
                    continue;
                };
                let Some(group) = self.groups.get_mut(group) else {
                    continue;
                };
                for change in changes {
                    group.offsets.begin(*ticket, change);
                }
            }
        }
    }

    fn settle(
        &mut self,
        now: Now,
        ticket: Ticket,
        after: After,
        stored: Result<(), (Ticket, AppendError)>,
        out: &mut Outcomes,
    ) {
        let (mut cx, groups) = self.context(now, out);
        let verdict = stored.map_err(|(_, error)| error);
        match after {
            After::Reply(token, reply) => match verdict {
                Ok(()) => cx.reply(token, reply),
                Err(error) => cx.reply(token, reply.unstored(error)),
            },
            After::Offsets { group: id, changes } => {
                let Some(group) = groups.get_mut(&id) else {
                    return;
                };
                for change in changes {
                    match stored {
                        Ok(()) => group.offsets.store(ticket, change),
                        Err((from, _)) => group.offsets.take_back(from, &change),
                    }
                }
            }
            After::Held {
                group,
                producer_id,
                changes,
            } => {
                if stored.is_ok() {
                    self.hold(producer_id, &group, changes);
                }
            }
            After::Ended {
                producer_id,
                outcome,
            } => {
                if stored.is_ok() {
                    self.replay_marker(producer_id, outcome);
                }
            }
            After::Assigned {
                group,
                generation,
                assignment,
            } => {
                // A group that has become a consumer group meanwhile has told its members so.
                if let Some(classic) = groups
                    .get_mut(&group)
                    .and_then(|group| group.as_classic_mut())
                {
                    classic.assigned(&mut cx, generation, assignment, verdict);
                }
            }
            After::Replaced { group, replaced } => {
                if let Some(classic) = groups
                    .get_mut(&group)
                    .and_then(|group| group.as_classic_mut())
                {
                    classic.replaced(&mut cx, *replaced, verdict);
                }
            }
            // Failed ones were taken back together, the last first.
            After::Changed(_) => {}
            After::Vacated { group: id } => {
                let vacant = |group: &Group| group.is_vacant() && group.offsets.is_empty();
                if stored.is_ok() && groups.get(&id).is_some_and(vacant) {
                    groups.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
impl Coordinator {
    pub(super) fn assert_sound(&self) {
        for (_, group) in self.groups.iter() {
            match &group.protocol {
                Protocol::Classic(classic) => classic.assert_sound(),
                Protocol::Consumer(group) => group.assert_sound(),
            }
        }
    }

    pub(super) fn timer_operations(&self) -> u64 {
        self.timers.operations()
    }

    pub(super) fn timer_count(&self) -> usize {
        self.timers.len()
    }
}

impl Group {
    #[expect(clippy::unnecessary_box_returns, reason = "groups are kept in boxes")]
    fn of(protocol: Protocol) -> Box<Self> {
        Box::new(Self {
            protocol,
            offsets: Offsets::default(),
        })
    }

    /// A group that somebody's commit made.
    #[expect(clippy::unnecessary_box_returns, reason = "groups are kept in boxes")]
    fn simple(id: Arc<str>) -> Box<Self> {
        Self::of(Protocol::Classic(Box::new(ClassicGroup::simple(id))))
    }

    fn as_classic(&self) -> Option<&ClassicGroup> {
        match &self.protocol {
            Protocol::Classic(classic) => Some(classic),
            Protocol::Consumer(_) => None,
        }
    }

    fn as_classic_mut(&mut self) -> Option<&mut ClassicGroup> {
        match &mut self.protocol {
            Protocol::Classic(classic) => Some(classic),
            Protocol::Consumer(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.state == State::Empty,
            Protocol::Consumer(group) => group.is_empty(),
        }
    }

    /// Nobody is in it, and nobody is about to be.
    fn is_vacant(&self) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_vacant(),
            Protocol::Consumer(group) => group.is_empty(),
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.protocol {
            Protocol::Classic(classic) => classic.is_subscribed_to(topic),
            Protocol::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// The records that end a group without members.
    fn write_end(&self, id: &str, cx: &mut Step<'_>) {
        match &self.protocol {
            Protocol::Classic(_) => cx.write(log::classic_group_tombstone(id)),
            Protocol::Consumer(_) => ConsumerGroup::write_tombstones(id, cx),
        }
    }
}

impl JoinGroup {
    /// Whether every text fits the records of the log, whose lengths are `i16`.
    fn texts_fit(&self) -> bool {
        let texts = [
            &self.member_id,
            &self.client_id,
            &self.client_host,
            &self.protocol_type,
        ];
        let names = self.protocols.iter().map(|protocol| &protocol.name);
        texts
            .into_iter()
            .chain(&self.instance_id)
            .chain(names)
            .all(|text| text.len() <= TEXT_SIZE_MAX)
    }
}
