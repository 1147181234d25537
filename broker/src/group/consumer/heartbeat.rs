//! `ConsumerGroupHeartbeat`: join, stay, change one's mind; and what the group does on that occasion.
//!
//! Owns the way of a heartbeat: who is let in, when the epoch rises, when partitions are assigned anew.
//! Lives inside its group.
//! Invariants:
//! 1. Whoever is refused left no trace.
//! 2. A heartbeat with nothing new writes nothing and allocates nothing.
//! 3. Records come in Kafka's order: member, expressions, epoch, targets, their epoch, what the member holds.
//!
//! Not here: leaving (`leave`), members of the classic protocol (`classic`).

use std::collections::BTreeSet;
use std::sync::Arc;

use corelog_net::wire::Uuid;

use super::assignor::{Topic, Wish};
use super::member::{LEAVE_STATIC_EPOCH, Member, MemberState, Partitions};
use super::reconcile::{self, Subscription, Target};
use super::regex::{self, Resolution, Resolve, Resolved};
use super::{ConsumerGroup, Why};
use crate::group::step::Step;
use crate::group::{ConsumerBeat, ConsumerHeartbeat, GroupError, log};

/// Why a heartbeat is refused, with the text that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub error: GroupError,
    /// Kafka's text; `None`: it has none.
    pub message: Option<String>,
}

impl Refusal {
    pub(in crate::group) fn new(error: GroupError, message: String) -> Self {
        Self {
            error,
            message: Some(message),
        }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        Self {
            error,
            message: None,
        }
    }
}

/// What a member said that the group must follow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    /// It names other topics, or an expression whose topics are known.
    pub(super) bump: bool,
    /// It wants something else than before.
    pub(super) subscription: bool,
}

impl ConsumerGroup {
    /// Whether the member may do this.
    pub(in crate::group) fn check_heartbeat(
        &self,
        members_max: usize,
        request: &ConsumerHeartbeat,
    ) -> Result<(), Refusal> {
        let id = request.member_id.as_str();
        self.check_room(members_max, id)?;
        let joins = request.member_epoch == 0;
        let member = match request.instance_id.as_deref() {
            Some(instance) => self.check_static(instance, id, joins)?,
            None => self.members.get(id),
        };
        match member {
            None if !joins => return Err(self.unknown(id)),
            Some(member) if !joins => check_epoch(member, request)?,
            _ => {}
        }
        if let Some(pattern) = request
            .regex
            .as_deref()
            .filter(|pattern| !pattern.is_empty())
            && !self.matching.contains_key(pattern)
            && let Err(reason) = regex::compile(pattern)
        {
            return Err(Refusal::new(
                GroupError::InvalidRegularExpression,
                format!(
                    "SubscribedTopicRegex `{pattern}` is not a valid regular expression: {reason}."
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn check_room(&self, members_max: usize, id: &str) -> Result<(), Refusal> {
        if self.members.len() >= members_max && !self.members.contains_key(id) {
            let text = format!(
                "The consumer group has reached its maximum capacity of {members_max} members."
            );
            return Err(Refusal::new(GroupError::GroupMaxSizeReached, text));
        }
        Ok(())
    }

    /// The static member, if it is there and this is it, or one that may take its place.
    fn check_static(
        &self,
        instance: &str,
        id: &str,
        joins: bool,
    ) -> Result<Option<&Arc<Member>>, Refusal> {
        let Some((owner, member)) = self.static_member(instance) else {
            if joins {
                return Ok(None);
            }
            return Err(unknown_instance(instance));
        };
        if !joins {
            check_owner(instance, owner, id)?;
        } else if member.epoch != LEAVE_STATIC_EPOCH && !member.is_classic() {
            return Err(Refusal::new(
                GroupError::UnreleasedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} cannot join the group because \
                     the instance id is owned by {owner} member."
                ),
            ));
        }
        Ok(Some(member))
    }

    pub(super) fn static_member(&self, instance: &str) -> Option<(&Arc<str>, &Arc<Member>)> {
        let owner = self.statics.get(instance)?;
        self.members.get_key_value(owner)
    }

    pub(super) fn unknown(&self, id: &str) -> Refusal {
        let text = format!("Member {id} is not a member of group {}.", self.id);
        Refusal::new(GroupError::UnknownMemberId, text)
    }

    /// A heartbeat that [`ConsumerGroup::check_heartbeat`] has let pass.
    // HOT: 0 alloc
    pub(in crate::group) fn heartbeat(
        &mut self,
        cx: &mut Step<'_>,
        request: &ConsumerHeartbeat,
    ) -> ConsumerBeat {
        if self.limits.session_timeout_ms == 0 || self.seen != cx.metadata.sequence {
            self.take_limits(cx);
        }
        let joins = request.member_epoch == 0;
        let id = self.enter(
            cx,
            &request.member_id,
            request.instance_id.as_deref(),
            joins,
        );
        let before = self.members.get(&id).cloned();
        let mut news = News::default();
        if let Some(said) = hear(before.as_deref(), request) {
            news = self.take_in(cx, &id, before.as_deref(), said);
        }
        self.follow(cx, news.bump);
        self.reconcile(cx, &id, news, request.owned.as_deref());
        self.restart_session(cx, &id);
        let member = &self.members[&id];
        let is_full = request.rebalance_timeout_ms != -1
            && (request.topics.is_some() || request.regex.is_some())
            && request.owned.is_some();
        let moved = before.is_none_or(|before| before.assigned != member.assigned);
        ConsumerBeat {
            member_id: id.clone(),
            member_epoch: member.epoch,
            heartbeat_interval_ms: self.limits.heartbeat_interval_ms,
            assignment: (joins || is_full || moved).then(|| member.assignment()),
        }
    }

    /// The member's id as the group holds it. A static member that joins takes over what its predecessor had.
    // HOT: 0 alloc
    fn enter(
        &mut self,
        cx: &mut Step<'_>,
        id: &str,
        instance: Option<&str>,
        joins: bool,
    ) -> Arc<str> {
        if joins
            && let Some(instance) = instance
            && let Some((owner, _)) = self.static_member(instance)
        {
            let (owner, id) = (owner.clone(), Arc::from(id));
            self.replace(cx, &owner, &id);
            return id;
        }
        self.members
            .get_key_value(id)
            .map_or_else(|| id.into(), |(id, _)| id.clone())
    }

    /// One static member takes the place of another, in epoch 0 and with all it has.
    pub(super) fn replace(&mut self, cx: &mut Step<'_>, old: &Arc<str>, new: &Arc<str>) {
        let mut member = Member::clone(&self.members[old]);
        let target = self.targets.get(old).cloned().unwrap_or_default();
        self.remove_member(cx, old);
        (member.epoch, member.previous_epoch) = (0, 0);
        member.state = MemberState::Stable;
        // What it was to give back, the process before it has lost.
        member.revoking.clear();
        for since in member
            .assigned
            .values_mut()
            .flat_map(|held| held.values_mut())
        {
            *since = 0;
        }
        cx.write(log::consumer_member(&self.id, new, &member));
        cx.write(log::consumer_target(&self.id, new, &target));
        cx.write(log::consumer_assignment(&self.id, new, &member));
        let undo = self.set_member(new.clone(), Some(Arc::new(member)));
        self.note(cx, undo);
        let undo = self.set_target(new.clone(), Some(target));
        self.note(cx, undo);
    }

    /// The member says something new.
    pub(super) fn take_in(
        &mut self,
        cx: &mut Step<'_>,
        id: &Arc<str>,
        before: Option<&Member>,
        said: Member,
    ) -> News {
        let none = Member::default();
        let before = before.unwrap_or(&none);
        let names = before.topics != said.topics;
        let pattern = said.regex.clone().filter(|_| before.regex != said.regex);
        let old = before.regex.clone().filter(|_| before.regex != said.regex);
        let known = |pattern: &Arc<str>| {
            self.matching.contains_key(pattern) && self.regexes.contains_key(pattern)
        };
        let bump = names || pattern.as_ref().is_some_and(known);
        self.put_member(cx, id, said);
        self.drop_unused_regexes(cx, old.clone().into_iter());
        News {
            bump,
            subscription: names || pattern.is_some() || old.is_some(),
        }
    }

    /// The group follows its members and the metadata: expressions, epoch, targets.
    // HOT: 0 alloc
    pub(super) fn follow(&mut self, cx: &mut Step<'_>, bump: bool) {
        if !self.matching.is_empty() {
            self.resolve_again(cx);
        }
        if bump || self.seen != cx.metadata.sequence {
            self.seen = cx.metadata.sequence;
            let hash = self.topics_hash(&cx.metadata.image);
            if bump || hash != self.metadata_hash {
                self.bump_epoch(cx, hash);
            }
        }
        let due_ms = self
            .assigned_at_ms
            .saturating_add(self.limits.assignment_interval_ms);
        // A clock that was set back must not stop assignments.
        let early = (self.assigned_at_ms..due_ms).contains(&cx.now.wall_ms);
        if self.epoch > self.target_epoch && !early {
            self.assign(cx);
        }
    }

    /// Asks for the topics of the group's expressions when there is reason to.
    fn resolve_again(&mut self, cx: &mut Step<'_>) {
        if self.resolving {
            return;
        }
        let last = self.regexes.values().map(|resolved| resolved.at_ms).max();
        let age_ms = last.map_or(i64::MAX, |last| cx.now.wall_ms.saturating_sub(last));
        if age_ms <= REFRESH_PAUSE_MS {
            return;
        }
        let version = self.regexes.values().map(|resolved| resolved.version).min();
        let due = self.matching.len() != self.regexes.len()
            || version.is_none_or(|version| version < cx.metadata.topics_created_at)
            || age_ms > cx.settings.consumer.regex_refresh_interval_ms;
        if due {
            self.resolving = true;
            cx.out.resolve.push(Resolve {
                group: self.id.clone(),
                patterns: self.matching.keys().cloned().collect(),
                image: cx.metadata.image.clone(),
            });
        }
    }

    /// The topics of the group's expressions, as they were when somebody looked.
    pub(in crate::group) fn resolved(&mut self, cx: &mut Step<'_>, resolution: Resolution) {
        self.resolving = false;
        let mut bump = false;
        for (pattern, topics) in resolution.topics {
            if !self.matching.contains_key(&pattern) {
                continue;
            }
            let before = self.regexes.get(&pattern);
            bump |= before.map_or(!topics.is_empty(), |before| before.topics != topics);
            let resolved = Resolved {
                topics,
                version: resolution.version,
                at_ms: cx.now.wall_ms,
            };
            cx.write(log::consumer_regex(&self.id, &pattern, &resolved));
            let undo = self.set_regex(pattern, Some(Arc::new(resolved)));
            self.note(cx, undo);
        }
        if bump {
            let hash = self.topics_hash(&cx.metadata.image);
            self.bump_epoch(cx, hash);
        }
    }

    /// Computes the targets of everybody anew, for the group's epoch.
    fn assign(&mut self, cx: &mut Step<'_>) {
        let assigned = self.ask_assignor(cx);
        for (id, target) in assigned {
            if self
                .targets
                .get(&id)
                .is_some_and(|before| **before == target)
            {
                continue;
            }
            cx.write(log::consumer_target(&self.id, &id, &target));
            let undo = self.set_target(id, Some(Arc::new(target)));
            self.note(cx, undo);
        }
        let (epoch, at_ms) = (self.epoch, cx.now.wall_ms);
        cx.write(log::consumer_target_metadata(&self.id, epoch, at_ms));
        let undo = self.set_target_epoch(epoch, at_ms);
        self.note(cx, undo);
    }

    fn ask_assignor(&self, cx: &Step<'_>) -> Vec<(Arc<str>, Partitions)> {
        let image = &cx.metadata.image;
        let mut topics = Vec::new();
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in self.subscribed_topics() {
            if let Some(topic) = image.topic(&name) {
                topics.push(Topic {
                    id: topic.id,
                    partitions: topic.partition_count(),
                });
                names.push(name);
            }
        }
        let place = |name: &Arc<str>| names.binary_search(name).ok();
        let none = Partitions::new();
        let mut same: Option<(&Member, Arc<[usize]>)> = None;
        let mut wishes: Vec<Wish<'_>> = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            let wanted = match &same {
                Some((last, wanted))
                    if last.topics == member.topics && last.regex == member.regex =>
                {
                    wanted.clone()
                }
                _ => {
                    let resolved = member
                        .regex
                        .as_ref()
                        .and_then(|regex| self.regexes.get(regex));
                    let matching = resolved.into_iter().flat_map(|resolved| &resolved.topics);
                    let all = member.topics.iter().chain(matching).filter_map(place);
                    let all: BTreeSet<usize> = all.collect();
                    all.into_iter().collect()
                }
            };
            same = Some((member, wanted.clone()));
            wishes.push(Wish {
                member_id: id,
                instance_id: member.instance_id.as_deref(),
                topics: wanted,
                current: self.targets.get(id).map_or(&none, |target| target),
            });
        }
        let assignor = self.assignor(&cx.settings.consumer.assignors);
        let assigned = assignor.assign(&topics, &wishes);
        self.members.keys().cloned().zip(assigned).collect()
    }

    /// Brings the member one step nearer to its target.
    // HOT: 0 alloc
    pub(super) fn reconcile(
        &mut self,
        cx: &mut Step<'_>,
        id: &Arc<str>,
        news: News,
        owned: Option<&[(Uuid, Vec<i32>)]>,
    ) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        if !news.subscription && member.is_reconciled_to(self.target_epoch) {
            return;
        }
        let image = &cx.metadata.image;
        let none = Partitions::new();
        let target = Target {
            epoch: self.target_epoch,
            partitions: self.targets.get(id).map_or(&none, |target| target),
            subscribed: &|topic| {
                let topic = image.topic_by_id(topic);
                topic.is_some_and(|topic| self.is_subscribed(member, &topic.name))
            },
            free: &|topic, partition| self.is_free(topic, partition),
            owned,
        };
        let subscription = if news.subscription {
            Subscription::Changed
        } else {
            Subscription::Kept
        };
        let Ok(Some(next)) = reconcile::step(member, &target, subscription) else {
            return;
        };
        let revokes = next.state == MemberState::UnrevokedPartitions && !next.is_classic();
        let (epoch, timeout_ms) = (next.epoch, next.rebalance_timeout_ms);
        let classic = next.is_classic();
        self.put_member(cx, id, next);
        if revokes {
            self.wait_for(cx, id, Why::Revoke { epoch }, timeout_ms);
        } else if !classic {
            self.stop_waiting(cx, id);
        }
    }
}

/// The member as it is after this request; `None`: it says nothing new.
// HOT: 0 alloc
fn hear(before: Option<&Member>, request: &ConsumerHeartbeat) -> Option<Member> {
    let given = |text: &Option<String>| text.as_deref().map(Arc::<str>::from);
    let Some(before) = before else {
        let topics = request.topics.iter().flatten();
        return Some(Member {
            instance_id: given(&request.instance_id),
            rack_id: given(&request.rack_id),
            client_id: request.client_id.as_str().into(),
            client_host: request.client_host.as_str().into(),
            topics: topics.map(|name| name.as_str().into()).collect(),
            regex: given(&request.regex).filter(|pattern| !pattern.is_empty()),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            assignor: given(&request.assignor),
            ..Member::default()
        });
    };
    let differs = |given: &Option<String>, ours: &Option<Arc<str>>| {
        given
            .as_deref()
            .is_some_and(|given| given != ours.as_deref().unwrap_or_default())
    };
    let topics_differ = request.topics.as_ref().is_some_and(|given| {
        let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
        !given
            .iter()
            .copied()
            .eq(before.topics.iter().map(|name| &**name))
    });
    let timeout_differs = request.rebalance_timeout_ms != -1
        && request.rebalance_timeout_ms != before.rebalance_timeout_ms;
    let same = !differs(&request.rack_id, &before.rack_id)
        && !differs(&request.regex, &before.regex)
        && !differs(&request.assignor, &before.assignor)
        && !topics_differ
        && !timeout_differs
        && *before.client_id == *request.client_id
        && *before.client_host == *request.client_host
        && !before.is_classic();
    if same {
        return None;
    }
    let mut said = before.clone();
    said.classic = None;
    said.client_id = request.client_id.as_str().into();
    said.client_host = request.client_host.as_str().into();
    said.rack_id = given(&request.rack_id).or(said.rack_id);
    said.assignor = given(&request.assignor).or(said.assignor);
    if let Some(pattern) = given(&request.regex) {
        said.regex = Some(pattern).filter(|pattern| !pattern.is_empty());
    }
    if timeout_differs {
        said.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(topics) = &request.topics {
        said.topics = topics.iter().map(|name| name.as_str().into()).collect();
    }
    Some(said)
}

/// The member is where it says it is, or where it was before an answer that it may not have got.
fn check_epoch(member: &Member, request: &ConsumerHeartbeat) -> Result<(), Refusal> {
    let (theirs, ours) = (request.member_epoch, member.epoch);
    let word = match theirs.cmp(&ours) {
        std::cmp::Ordering::Equal => return check_state(member, request),
        std::cmp::Ordering::Greater => "greater",
        std::cmp::Ordering::Less => {
            let owned = request.owned.as_deref();
            if theirs == member.previous_epoch && owned.is_some_and(|owned| member.may_hold(owned))
            {
                return check_state(member, request);
            }
            "smaller"
        }
    };
    Err(Refusal::new(
        GroupError::FencedMemberEpoch,
        format!(
            "The consumer group member has a {word} member epoch ({theirs}) than the one known by the group \
             coordinator ({ours}). The member must abandon all its partitions and rejoin."
        ),
    ))
}

fn check_state(member: &Member, request: &ConsumerHeartbeat) -> Result<(), Refusal> {
    if member.state == MemberState::Unknown
        && request.owned.as_ref().is_none_or(|owned| !owned.is_empty())
    {
        return Err(Refusal::new(
            GroupError::FencedMemberEpoch,
            "The consumer group member is in a unknown state. The member must abandon all its \
             partitions and rejoin."
                .to_owned(),
        ));
    }
    Ok(())
}

pub(super) fn unknown_instance(instance: &str) -> Refusal {
    let text = format!("Instance id {instance} is unknown.");
    Refusal::new(GroupError::UnknownMemberId, text)
}

pub(super) fn check_owner(instance: &str, owner: &str, id: &str) -> Result<(), Refusal> {
    if owner == id {
        return Ok(());
    }
    Err(Refusal::new(
        GroupError::FencedInstanceId,
        format!("Static member {id} with instance id {instance} was fenced by member {owner}."),
    ))
}

/// Between two resolutions of a group's expressions.
const REFRESH_PAUSE_MS: i64 = 10_000;
