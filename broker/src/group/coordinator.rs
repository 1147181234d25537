//! All groups of one offsets partition.
//!
//! Owns the groups, the timers, the appends under way, and the way of every event to its group.
//! Lives on the shard that owns the partition.
//! Invariants:
//! 1. Appends are numbered in the order of their records, and resolved in it.
//! 2. An error of an append is the error of all later ones.
//!
//! Not here: what a group does (`classic`, `offsets`).

mod commits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use self::commits::write_marker;
use super::classic::{ClassicGroup, State};
use super::log::{self, Stored};
use super::offsets::{Change, Committed, Offsets};
use super::random::Random;
use super::step::{After, Alarm, Outcomes, Step};
use super::timers::Timers;
use super::{
    Append, AppendError, CommittedTopic, Effects, Event, GroupError, GroupSettings, GroupType,
    JoinGroup, ListGroups, ListedGroup, Now, OffsetDelete, OffsetFetch, Outcome, ReplayError,
    Reply, Request, Ticket, Token, Writer,
};

/// All groups of one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct Coordinator {
    partition: i32,
    settings: Arc<GroupSettings>,
    phase: Phase,
    groups: BTreeMap<Arc<str>, Box<Group>>,
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
enum Protocol {
    Classic(ClassicGroup),
}

impl Coordinator {
    /// A coordinator that has read nothing yet and refuses until [`Coordinator::loaded`]. Member ids follow from `seed`,
    /// which must differ from one life of the coordinator to the next.
    pub fn new(partition: i32, settings: Arc<GroupSettings>, seed: u64) -> Self {
        Self {
            partition,
            settings,
            phase: Phase::Loading,
            groups: BTreeMap::new(),
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
                group.protocol = Protocol::Classic(ClassicGroup::restore(id, *value));
            }
            Stored::ClassicGroup { group, value: None } => {
                let emptied = self.groups.get_mut(&*group).is_some_and(|kept| {
                    kept.protocol = Protocol::Classic(ClassicGroup::simple(group.as_str().into()));
                    kept.offsets.is_empty()
                });
                if emptied {
                    self.groups.remove(&*group);
                }
            }
            Stored::Unknown => self.records_skipped += 1,
        }
        Ok(())
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
        };
        if self.groups.get(id).is_some_and(|group| trivial(group)) {
            self.groups.remove(id);
        }
    }

    fn group_or_new(&mut self, id: &Arc<str>) -> &mut Group {
        self.groups
            .entry(id.clone())
            .or_insert_with(|| Group::simple(id.clone()))
    }

    /// The log is read to its end; serving begins.
    pub fn loaded(&mut self, now: Now) -> Effects {
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
        for group in groups.values_mut() {
            match &mut group.protocol {
                Protocol::Classic(classic) => classic.resume(&mut cx),
            }
        }
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
        for group in self.groups.values_mut() {
            let Protocol::Classic(classic) = &mut group.protocol;
            replies.extend(classic.abandon());
        }
        self.timers.clear();
        self.groups.clear();
        self.transactional.clear();
        Effects {
            append: None,
            replies,
        }
    }

    /// One event. The shell hands `Effects::append` to the log before it steps this coordinator again.
    pub fn step(&mut self, now: Now, event: Event) -> Effects {
        let mut out = Outcomes::default();
        match event {
            Event::Request { token, request } => self.serve(now, token, request, &mut out),
            _ if self.phase != Phase::Active => {}
            Event::Tick => self.tick(now, &mut out),
            Event::TopicsDeleted(topics) => self.forget_topics(now, &topics, &mut out),
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

    fn context<'a>(
        &'a mut self,
        now: Now,
        out: &'a mut Outcomes,
    ) -> (Step<'a>, &'a mut BTreeMap<Arc<str>, Box<Group>>) {
        let Self {
            settings,
            timers,
            random,
            groups,
            ..
        } = self;
        (
            Step {
                now,
                settings,
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
            after,
            writer,
        } = out;
        if records.is_empty() && !matches!(writer, Writer::Marker(_)) {
            assert!(
                after.is_empty(),
                "what waits for an append came with records"
            );
            return Effects {
                append: None,
                replies,
            };
        }
        let ticket = Ticket(self.last_ticket.0 + 1);
        self.last_ticket = ticket;
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
            Request::JoinGroup(request) => self.join_group(now, token, *request, out),
            Request::OffsetCommit(request) => self.commit(now, token, request, out),
            Request::TxnOffsetCommit(request) => {
                self.commit_in_transaction(now, token, *request, out);
            }
            Request::Marker(marker) => write_marker(token, marker, out),
            Request::OffsetFetch(request) => {
                out.replies
                    .push((token, Reply::OffsetFetch(Ok(self.fetch(request)))));
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
                    .get(&*request.group_id)
                    .ok_or(GroupError::GroupIdNotFound);
                let described = group.map(|group| group.classic().describe());
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
        let known = self.groups.contains_key(&*request.group_id);
        if !known && !request.member_id.is_empty() {
            out.replies.push((
                token,
                Request::JoinGroup(Box::new(request)).refuse(GroupError::UnknownMemberId),
            ));
            return;
        }
        if !known {
            let id: Arc<str> = request.group_id.as_str().into();
            let protocol = Protocol::Classic(ClassicGroup::new(id.clone(), now));
            self.groups.insert(
                id,
                Box::new(Group {
                    protocol,
                    offsets: Offsets::default(),
                }),
            );
        }
        let id: Arc<str> = request.group_id.as_str().into();
        let (mut cx, groups) = self.context(now, out);
        let Some(group) = groups.get_mut(&id) else {
            return;
        };
        let Protocol::Classic(classic) = &mut group.protocol;
        classic.join(&mut cx, token, request);
        if !known {
            if classic.is_vacant() {
                // Refused: as if nobody had asked.
                groups.remove(&id);
            } else if cx.out.records.is_empty() {
                cx.write(classic.empty_record());
            }
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
        let Protocol::Classic(classic) = &mut group.protocol;
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

    fn fetch(&self, request: OffsetFetch) -> Vec<super::FetchedTopic> {
        let group = self.groups.get(&*request.group_id);
        match request.topics {
            Some(topics) => {
                let none = Offsets::default();
                group
                    .map_or(&none, |group| &group.offsets)
                    .fetch(topics, request.require_stable)
            }
            None => group
                .map(|group| group.offsets.fetch_all(request.require_stable))
                .unwrap_or_default(),
        }
    }

    fn delete_offsets(
        &mut self,
        now: Now,
        token: Token,
        request: OffsetDelete,
        out: &mut Outcomes,
    ) {
        let (mut cx, groups) = self.context(now, out);
        let Some((id, group)) = groups.get_key_value(&*request.group_id) else {
            cx.reply(token, Reply::OffsetDelete(Err(GroupError::GroupIdNotFound)));
            return;
        };
        let classic = group.classic();
        if classic.state != State::Empty && !classic.uses_consumer_protocol() {
            cx.reply(token, Reply::OffsetDelete(Err(GroupError::NonEmptyGroup)));
            return;
        }
        let mut changes = Vec::new();
        let mut verdicts = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let subscribed = classic.is_subscribed_to(&topic.name);
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
            Some((_, group)) if group.classic().state != State::Empty => GroupError::NonEmptyGroup,
            Some((id, group)) => {
                write_deletions(&mut cx, id, group.offsets.deletions_of(|_| true, held));
                cx.write(log::classic_group_tombstone(id));
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
            let classic = group.classic();
            ListedGroup {
                group_id: id.clone(),
                protocol_type: classic.protocol_type.clone().unwrap_or_default(),
                state: classic.state.name(),
                group_type: GroupType::Classic.name(),
            }
        };
        let listed = self.groups.iter().map(|(id, group)| list(id, group));
        listed
            .filter(|g| wanted(&request.states, g.state) && wanted(&request.types, g.group_type))
            .collect()
    }

    /// Rings due alarms until enough records have gathered; what is left is due at once.
    fn tick(&mut self, now: Now, out: &mut Outcomes) {
        while out.records.len() < TICK_RECORDS_MAX
            && let Some(alarm) = self.timers.pop(now.steady_ms)
        {
            if alarm == Alarm::Expiry {
                self.expire(now, out);
                continue;
            }
            let (mut cx, groups) = self.context(now, out);
            let (Alarm::Session { group: id, .. }
            | Alarm::Join { group: id }
            | Alarm::Sync { group: id }) = &alarm
            else {
                continue;
            };
            let Some(group) = groups.get_mut(id) else {
                continue;
            };
            let Protocol::Classic(classic) = &mut group.protocol;
            match &alarm {
                Alarm::Session { member, .. } => classic.session_over(&mut cx, member),
                Alarm::Join { .. } => classic.join_phase_over(&mut cx),
                Alarm::Sync { .. } => classic.sync_phase_over(&mut cx),
                Alarm::Expiry => {}
            }
        }
    }

    /// Deletes expired offsets, and groups that have neither members nor offsets; a slice of the groups at a time.
    fn expire(&mut self, now: Now, out: &mut Outcomes) {
        let from = self.expiry_cursor.take();
        let start = from.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut cx, groups) = self.context(now, out);
        let mut cursor = None;
        for (seen, (id, group)) in groups
            .range::<Arc<str>, _>((start, Bound::Unbounded))
            .enumerate()
        {
            if seen == EXPIRY_GROUPS_MAX || cx.out.records.len() >= TICK_RECORDS_MAX {
                break;
            }
            let deletions = group.expired(now.wall_ms, cx.settings.offsets_retention_ms);
            let vacated = group.classic().is_vacant() && group.offsets.is_emptied_by(&deletions);
            write_deletions(&mut cx, id, deletions);
            if vacated {
                cx.write(log::classic_group_tombstone(id));
                cx.out.after.push(After::Vacated { group: id.clone() });
            }
            cursor = Some(id.clone());
        }
        let more = cursor.as_ref().is_some_and(|last| {
            groups
                .range::<Arc<str>, _>((Bound::Excluded(last), Bound::Unbounded))
                .next()
                .is_some()
        });
        let interval_ms = cx.settings.offsets_retention_check_interval_ms;
        cx.start_timer(
            if more { EXPIRY_PAUSE_MS } else { interval_ms },
            Alarm::Expiry,
        );
        self.expiry_cursor = cursor.filter(|_| more);
    }

    fn forget_topics(&mut self, now: Now, topics: &[String], out: &mut Outcomes) {
        let ids: Vec<_> = self.groups.keys().cloned().collect();
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
    fn held_under_way(&self, id: &str) -> Vec<(Arc<str>, i32)> {
        let after = self.appends.iter().flat_map(|(_, after)| after);
        let held = after.filter_map(|after| match after {
            After::Held { group, changes, .. } if **group == *id => Some(changes),
            _ => None,
        });
        held.flatten()
            .map(|change| (change.topic.clone(), change.partition))
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
        let failed = self.appends.split_off(kept);
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
                let Some(group) = groups.get_mut(&group) else {
                    return;
                };
                let Protocol::Classic(classic) = &mut group.protocol;
                classic.assigned(&mut cx, generation, assignment, verdict);
            }
            After::Replaced { group, replaced } => {
                let Some(group) = groups.get_mut(&group) else {
                    return;
                };
                let Protocol::Classic(classic) = &mut group.protocol;
                classic.replaced(&mut cx, *replaced, verdict);
            }
            After::Vacated { group: id } => {
                let vacant =
                    |group: &Group| group.classic().is_vacant() && group.offsets.is_empty();
                if stored.is_ok() && groups.get(&id).is_some_and(|group| vacant(group)) {
                    groups.remove(&id);
                }
            }
        }
    }
}

#[cfg(test)]
impl Coordinator {
    pub(super) fn assert_sound(&self) {
        for group in self.groups.values() {
            group.classic().assert_sound();
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
    /// A group that somebody's commit made.
    fn simple(id: Arc<str>) -> Box<Self> {
        let protocol = Protocol::Classic(ClassicGroup::simple(id));
        Box::new(Self {
            protocol,
            offsets: Offsets::default(),
        })
    }

    fn classic(&self) -> &ClassicGroup {
        let Protocol::Classic(classic) = &self.protocol;
        classic
    }

    /// Which offsets have outlived their retention. Without members it runs from the moment the last one left; without
    /// any protocol, from each commit; with members, from each commit and only for topics nobody subscribes to.
    fn expired(&self, now_ms: i64, retention_ms: i64) -> Vec<Change> {
        let classic = self.classic();
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
            let over = match committed.expire_ms {
                Some(expire_ms) => now_ms >= expire_ms,
                None => now_ms.saturating_sub(since(classic, committed)) >= retention_ms,
            };
            over && !classic.is_subscribed_to(topic)
        })
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

fn write_deletions(cx: &mut Step<'_>, group: &Arc<str>, changes: Vec<Change>) {
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

/// Bytes of an id or a name. With a UUID behind it, it still fits an `i16` length.
const TEXT_SIZE_MAX: usize = 32_000;
const _: () = assert!(TEXT_SIZE_MAX + 37 <= i16::MAX as usize);

/// After this many records a tick ends, so that its append stays small.
const TICK_RECORDS_MAX: usize = 500;

/// After this many groups the search for expired offsets makes room for others.
const EXPIRY_GROUPS_MAX: usize = 1_000;

/// Between two slices of that search.
const EXPIRY_PAUSE_MS: u64 = 1;
