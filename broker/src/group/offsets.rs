//! The committed offsets of one group.
//!
//! Owns offsets by topic and partition: what is stored, what is being stored, what transactions hold back.
//! Lives inside its group.
//! Invariants:
//! 1. `OffsetFetch` shows stored offsets only: what it tells survives a crash.
//! 2. `latest` is what the log will say once all appends under way are stored; decisions look at it.
//!
//! Not here: who may commit (`classic`), bytes (`log`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FetchTopic, FetchedPartition, FetchedTopic, GroupError, Ticket};

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Box<str>,
    /// Wall clock of the commit.
    pub(super) commit_ms: i64,
    /// Wall clock of the end, when the committer named one.
    pub(super) expire_ms: Option<i64>,
    /// All zero when unknown.
    pub(super) topic_id: [u8; 16],
    /// Orders commits as the log does.
    pub(super) sequence: u64,
}

/// A commit (or, with `None`, a deletion) that is on its way to the log.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) value: Option<Committed>,
}

#[derive(Debug, Default)]
struct Entry {
    stored: Option<Committed>,
    /// The newest of the changes under way.
    latest: Option<(Ticket, Option<Committed>)>,
}

/// All offsets of a group.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    topics: BTreeMap<Arc<str>, BTreeMap<i32, Entry>>,
    /// Offsets that count when their transaction commits, by producer id.
    transactional: BTreeMap<i64, BTreeMap<(Arc<str>, i32), Committed>>,
}

impl Entry {
    fn latest(&self) -> Option<&Committed> {
        match &self.latest {
            Some((_, value)) => value.as_ref(),
            None => self.stored.as_ref(),
        }
    }
}

impl Offsets {
    /// Nothing stored, nothing under way, nothing held back.
    pub(super) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.transactional.is_empty()
    }

    /// What is stored: topic, partition, offset.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&Arc<str>, i32, i64)> {
        let of = |(topic, partitions)| partitions_of(topic, partitions);
        self.topics.iter().flat_map(of)
    }

    /// Whether a commit is there or under way.
    pub(super) fn contains(&self, topic: &str, partition: i32) -> bool {
        let entry = self
            .topics
            .get(topic)
            .and_then(|partitions| partitions.get(&partition));
        entry.is_some_and(|entry| entry.latest().is_some()) || self.is_held_back(topic, partition)
    }

    fn is_held_back(&self, topic: &str, partition: i32) -> bool {
        let held = |of: &BTreeMap<(Arc<str>, i32), Committed>| {
            of.keys().any(|(t, p)| **t == *topic && *p == partition)
        };
        self.transactional.values().any(held)
    }

    /// The topic's name as already held, to share it.
    pub(super) fn topic_name(&self, name: &str) -> Arc<str> {
        self.topics
            .get_key_value(name)
            .map_or_else(|| name.into(), |(name, _)| name.clone())
    }

    /// The change is in the append numbered `ticket`.
    pub(super) fn begin(&mut self, ticket: Ticket, change: &Change) {
        let partitions = self.topics.entry(change.topic.clone()).or_default();
        partitions.entry(change.partition).or_default().latest =
            Some((ticket, change.value.clone()));
    }

    /// The append numbered `ticket` is stored.
    pub(super) fn store(&mut self, ticket: Ticket, change: Change) {
        let Change {
            topic,
            partition,
            value,
        } = change;
        self.topics
            .entry(topic.clone())
            .or_default()
            .entry(partition)
            .or_default();
        if value.is_none() {
            self.let_go(&topic, partition);
        }
        self.edit(&topic, partition, |entry| {
            entry.stored = value;
            entry.latest.take_if(|(latest, _)| *latest <= ticket);
        });
    }

    /// A deletion is one of what open transactions hold back too.
    fn let_go(&mut self, topic: &str, partition: i32) {
        for held in self.transactional.values_mut() {
            held.retain(|(t, p), _| **t != *topic || *p != partition);
        }
        self.transactional.retain(|_, held| !held.is_empty());
    }

    /// Changes from `ticket` on are not stored.
    pub(super) fn take_back(&mut self, from: Ticket, change: &Change) {
        self.edit(&change.topic, change.partition, |entry| {
            entry.latest.take_if(|(latest, _)| *latest >= from);
        });
    }

    /// A record read from the log.
    pub(super) fn replay(&mut self, topic: &str, partition: i32, value: Option<Committed>) {
        if value.is_none() {
            self.let_go(topic, partition);
        }
        let topic = self.topic_name(topic);
        self.topics
            .entry(topic.clone())
            .or_default()
            .entry(partition)
            .or_default();
        self.edit(&topic, partition, |entry| entry.stored = value);
    }

    /// A transactional record of the log: it counts when its marker says so.
    pub(super) fn hold(&mut self, producer_id: i64, topic: &str, partition: i32, value: Committed) {
        self.transactional
            .entry(producer_id)
            .or_default()
            .insert((topic.into(), partition), value);
    }

    /// The producer's transaction ended. A commit made outside it after its offset was written stands.
    pub(super) fn end_transaction(&mut self, producer_id: i64, committed: bool) {
        let held = self.transactional.remove(&producer_id).unwrap_or_default();
        for ((topic, partition), value) in held.into_iter().filter(|_| committed) {
            let entry = self
                .topics
                .entry(topic)
                .or_default()
                .entry(partition)
                .or_default();
            if entry
                .stored
                .as_ref()
                .is_none_or(|stored| stored.sequence < value.sequence)
            {
                entry.stored = Some(value);
            }
        }
    }

    fn edit(&mut self, topic: &str, partition: i32, change: impl FnOnce(&mut Entry)) {
        let Some(partitions) = self.topics.get_mut(topic) else {
            return;
        };
        let Some(entry) = partitions.get_mut(&partition) else {
            return;
        };
        change(entry);
        if entry.stored.is_none() && entry.latest.is_none() {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// What is stored for these partitions; -1 where nothing is.
    pub(super) fn fetch(&self, topics: Vec<FetchTopic>, require_stable: bool) -> Vec<FetchedTopic> {
        let fetch_topic = |topic: FetchTopic| {
            let stored = self.topics.get_key_value(&*topic.name);
            let fetch = |partition: i32| {
                if require_stable && self.is_held_back(&topic.name, partition) {
                    return FetchedPartition {
                        error: Some(GroupError::UnstableOffsetCommit),
                        ..FetchedPartition::none(partition)
                    };
                }
                let entry = stored.and_then(|(_, partitions)| partitions.get(&partition));
                let committed = entry.and_then(|entry| entry.stored.as_ref());
                committed.map_or_else(|| FetchedPartition::none(partition), |c| c.show(partition))
            };
            let partitions = topic
                .partitions
                .iter()
                .map(|&partition| fetch(partition))
                .collect();
            let name = stored.map_or_else(|| topic.name.as_str().into(), |(name, _)| name.clone());
            FetchedTopic {
                name,
                topic_id: topic.topic_id,
                partitions,
            }
        };
        topics.into_iter().map(fetch_topic).collect()
    }

    /// All that is stored.
    pub(super) fn fetch_all(&self, require_stable: bool) -> Vec<FetchedTopic> {
        let mut all = Vec::with_capacity(self.topics.len());
        for (topic, partitions) in &self.topics {
            let stored = partitions
                .iter()
                .filter_map(|(p, entry)| Some((*p, entry.stored.as_ref()?)));
            let mut topic_id = [0; 16];
            let mut shown = Vec::with_capacity(partitions.len());
            for (partition, committed) in stored {
                topic_id = committed.topic_id;
                let unstable = require_stable && self.is_held_back(topic, partition);
                shown.push(if unstable {
                    let error = Some(GroupError::UnstableOffsetCommit);
                    FetchedPartition {
                        error,
                        ..FetchedPartition::none(partition)
                    }
                } else {
                    committed.show(partition)
                });
            }
            if !shown.is_empty() {
                all.push(FetchedTopic {
                    name: topic.clone(),
                    topic_id,
                    partitions: shown,
                });
            }
        }
        all
    }

    /// Every partition with an offset there, under way or held back, of topics that are `wanted`, as deletions.
    /// `held_under_way`: what will be held back once it is stored.
    pub(super) fn deletions_of(
        &self,
        wanted: impl Fn(&str) -> bool,
        held_under_way: Vec<(Arc<str>, i32)>,
    ) -> Vec<Change> {
        let mut gone: BTreeSet<_> = held_under_way.into_iter().collect();
        for (topic, partitions) in &self.topics {
            let there = partitions.iter().filter(|(_, e)| e.latest().is_some());
            gone.extend(there.map(|(&partition, _)| (topic.clone(), partition)));
        }
        gone.extend(
            self.transactional
                .values()
                .flat_map(BTreeMap::keys)
                .cloned(),
        );
        gone.into_iter()
            .filter(|(topic, _)| wanted(topic))
            .map(|(topic, partition)| Change {
                topic,
                partition,
                value: None,
            })
            .collect()
    }

    /// Every partition with an offset there or under way for which `condition` holds, as deletions. What a transaction
    /// holds back is being used.
    pub(super) fn deletions(&self, condition: impl Fn(&str, &Committed) -> bool) -> Vec<Change> {
        let mut deletions = Vec::new();
        for (topic, partitions) in &self.topics {
            for (&partition, entry) in partitions {
                if entry
                    .latest()
                    .is_some_and(|committed| condition(topic, committed))
                    && !self.is_held_back(topic, partition)
                {
                    deletions.push(Change {
                        topic: topic.clone(),
                        partition,
                        value: None,
                    });
                }
            }
        }
        deletions
    }

    /// Whether nothing would be left after these deletions.
    pub(super) fn is_emptied_by(&self, deletions: &[Change]) -> bool {
        let partitions = self.topics.values().flat_map(BTreeMap::values);
        let left = partitions.filter(|entry| entry.latest().is_some()).count();
        self.transactional.is_empty() && left <= deletions.len()
    }
}

fn partitions_of<'a>(
    topic: &'a Arc<str>,
    partitions: &'a BTreeMap<i32, Entry>,
) -> impl Iterator<Item = (&'a Arc<str>, i32, i64)> {
    let stored = move |(&partition, entry): (&i32, &'a Entry)| {
        Some((topic, partition, entry.stored.as_ref()?.offset))
    };
    partitions.iter().filter_map(stored)
}

impl Committed {
    fn show(&self, partition: i32) -> FetchedPartition {
        FetchedPartition {
            partition,
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
            error: None,
        }
    }
}

impl FetchedPartition {
    pub(super) fn none(partition: i32) -> Self {
        Self {
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: "".into(),
            error: None,
        }
    }
}
