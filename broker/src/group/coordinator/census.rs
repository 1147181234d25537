//! Counting groups and their committed offsets, for metrics.
//!
//! Owns: [`Census`].
//! Lives on: the shard that owns the offsets partition; what it hands out is read on shard 0.
//! Invariants: counting changes nothing, and costs a pass over the groups.
//! Not here: names of metrics.

use std::sync::Arc;

use super::{Coordinator, ListGroups};

/// The groups of one or more coordinators, counted.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Groups by type and state, in Kafka's words.
    pub groups: Vec<(&'static str, &'static str, u64)>,
    /// Offsets that are committed and stored.
    pub offsets: u64,
    /// As many of them as there was room for.
    pub commits: Vec<Commit>,
}

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// What is committed.
    pub offset: i64,
}

impl Census {
    /// Adds `count` groups.
    pub fn add(&mut self, group_type: &'static str, state: &'static str, count: u64) {
        let same = |one: &&mut (&str, &str, u64)| (one.0, one.1) == (group_type, state);
        match self.groups.iter_mut().find(same) {
            Some(known) => known.2 += count,
            None => self.groups.push((group_type, state, count)),
        }
    }
}

impl Coordinator {
    /// Counts this coordinator's groups in. No more than `commits_max` offsets are named, over all coordinators counted
    /// into `census`.
    pub fn count_into(&self, census: &mut Census, commits_max: usize) {
        for group in self.list(&ListGroups::default()) {
            census.add(group.group_type, group.state, 1);
        }
        for (id, group) in self.groups.iter() {
            for (topic, partition, offset) in group.offsets.stored() {
                census.offsets += 1;
                if census.commits.len() < commits_max {
                    census.commits.push(Commit {
                        group: Arc::clone(id),
                        topic: Arc::clone(topic),
                        partition,
                        offset,
                    });
                }
            }
        }
    }
}
