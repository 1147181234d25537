//! The groups of one offsets partition: found by hash, walked in the order of their ids.
//!
//! Owns both indexes.
//! Lives inside the coordinator.
//! Invariants: 1. Both hold the same ids.
//! Not here: what a group is (`coordinator`).
//!
//! A heartbeat looks its group up twice. In an ordered map that were sixteen comparisons of ids that begin alike, each of them
//! a line of memory that nobody has touched for seconds.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use corelog_runtime::Map;

use super::Group;

/// Groups by id.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_id: Map<Arc<str>, Box<Group>>,
    order: BTreeSet<Arc<str>>,
}

impl Groups {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    // HOT: 0 alloc
    pub(super) fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id).map(AsRef::as_ref)
    }

    // HOT: 0 alloc
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Group> {
        self.by_id.get_mut(id).map(AsMut::as_mut)
    }

    pub(super) fn get_key_value(&self, id: &str) -> Option<(&Arc<str>, &Group)> {
        let (id, group) = self.by_id.get_key_value(id)?;
        Some((id, group))
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The group, which `make` makes when there is none.
    pub(super) fn get_or_insert_with(
        &mut self,
        id: &Arc<str>,
        make: impl FnOnce() -> Box<Group>,
    ) -> &mut Group {
        if !self.by_id.contains_key(id) {
            self.order.insert(id.clone());
        }
        self.by_id.entry(id.clone()).or_insert_with(make)
    }

    pub(super) fn insert(&mut self, id: Arc<str>, group: Box<Group>) {
        self.order.insert(id.clone());
        self.by_id.insert(id, group);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
        self.order.remove(id);
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
        self.order.clear();
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.order.iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.after(None)
    }

    /// Those whose ids come after this one.
    pub(super) fn after(&self, id: Option<&Arc<str>>) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        let ids = self.order.range::<Arc<str>, _>((start, Bound::Unbounded));
        ids.filter_map(|id| Some((id, self.get(id)?)))
    }

    /// All of them, to be changed, in the order of their ids.
    pub(super) fn for_each_mut(&mut self, mut change: impl FnMut(&mut Group)) {
        for id in &self.order {
            if let Some(group) = self.by_id.get_mut(id) {
                change(group);
            }
        }
    }
}
