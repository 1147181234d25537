//! A map whose clones share what they do not change.
//!
//! **Owns** the split of entries over buckets.
//! **Lives on** any thread.
//! **Invariants**: 1. an entry's bucket depends on its key only; 2. after a clone, writing one entry
//! copies the bucket list once and that one bucket, never the map.
//! **Not here**: what is kept.
//!
//! Why not a tree of nodes: a change to an image of 100,000 topics then copies 256 pointers and one
//! bucket of about 400 entries (a few microseconds), readers get plain sorted maps, and the code
//! stays this short. Bucket maps are ordered, so hostile names cannot degrade them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::binary_heap::{BinaryHeap, PeekMut};
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

/// Keys that know their bucket; a borrowed form must name the same one.
pub trait Bucketed: Ord {
    /// A number spread evenly over `u8`.
    fn bucket(&self) -> u8;
}

/// See the module.
#[derive(Debug, PartialEq)]
pub struct ShardedMap<K, V> {
    buckets: Arc<[Arc<BTreeMap<K, V>>]>,
    len: usize,
}

impl<K, V> Clone for ShardedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            buckets: Arc::clone(&self.buckets),
            len: self.len,
        }
    }
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        let empty = Arc::new(BTreeMap::new());
        Self {
            buckets: (0..BUCKETS).map(|_| Arc::clone(&empty)).collect(),
            len: 0,
        }
    }
}

impl<K: Bucketed + Clone, V: Clone> ShardedMap<K, V> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a key.
    #[must_use]
    pub fn get<Q: Bucketed + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.buckets[usize::from(key.bucket())].get(key)
    }

    /// All entries in the bucket of a key, whether it is there or not.
    pub fn beside<Q: Bucketed + ?Sized>(&self, key: &Q) -> impl Iterator<Item = (&K, &V)> {
        self.buckets[usize::from(key.bucket())].iter()
    }

    /// Sets a value; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.bucket_mut(&key).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.get::<K>(key)?;
        let before = self.bucket_mut(key).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }

    /// The value of a key, to be changed in place.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.get::<K>(key)?;
        self.bucket_mut(key).get_mut(key)
    }

    /// All entries; in the keys' order only within a bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.buckets
            .iter()
            .flat_map(|bucket| -> btree_map::Iter<'_, K, V> { bucket.iter() })
    }

    /// All entries in the keys' order, found as they are asked for: the first costs no more than the others.
    pub fn in_order(&self) -> InOrder<'_, K, V> {
        let mut heads = BinaryHeap::with_capacity(BUCKETS);
        for bucket in self.buckets.iter() {
            let mut rest = bucket.iter();
            if let Some(first) = rest.next() {
                heads.push(Head { first, rest });
            }
        }
        InOrder { heads }
    }

    /// All entries in the keys' order.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&K, &V)> {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        entries
    }

    fn bucket_mut(&mut self, key: &K) -> &mut BTreeMap<K, V> {
        let buckets = Arc::make_mut(&mut self.buckets);
        Arc::make_mut(&mut buckets[usize::from(key.bucket())])
    }
}

/// A map's entries in the keys' order.
pub struct InOrder<'a, K, V> {
    heads: BinaryHeap<Head<'a, K, V>>,
}

impl<K, V> fmt::Debug for InOrder<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InOrder({} buckets left)", self.heads.len())
    }
}

impl<'a, K: Ord, V> Iterator for InOrder<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        let next = head.rest.next();
        Some(match next {
            Some(next) => std::mem::replace(&mut head.first, next),
            None => PeekMut::pop(head).first,
        })
    }
}

/// What is left of a bucket.
struct Head<'a, K, V> {
    first: (&'a K, &'a V),
    rest: btree_map::Iter<'a, K, V>,
}

impl<K: Ord, V> Ord for Head<'_, K, V> {
    /// The heap gives the greatest, we want the least.
    fn cmp(&self, other: &Self) -> Ordering {
        other.first.0.cmp(self.first.0)
    }
}

impl<K: Ord, V> PartialOrd for Head<'_, K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> PartialEq for Head<'_, K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<K: Ord, V> Eq for Head<'_, K, V> {}

/// Spreads bytes over buckets (FNV-1a, folded).
#[must_use]
pub fn spread(bytes: impl Iterator<Item = u8>) -> u8 {
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    a ^ b ^ c ^ d
}

const BUCKETS: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::ShardedMap;

    #[test]
    fn order_is_the_keys_whatever_the_bucket() {
        let mut map: ShardedMap<Arc<str>, usize> = ShardedMap::default();
        assert!(map.in_order().next().is_none());
        for number in 0..2_000_usize {
            map.insert(format!("topic-{}", number * 7_919 % 2_000).into(), number);
        }
        let all: Vec<_> = map.in_order().collect();
        assert_eq!(all.len(), 2_000);
        assert_eq!(all, map.sorted());
    }

    #[test]
    fn names_that_collide_stand_beside_each_other() {
        let mut map: ShardedMap<Arc<str>, ()> = ShardedMap::default();
        for number in 0..1_000 {
            map.insert(format!("a.b_{number}").into(), ());
        }
        assert!(map.beside("a_b.77").any(|(name, ())| **name == *"a.b_77"));
        assert!(
            map.beside("a_b.77").count() < 100,
            "one bucket, not the map"
        );
    }
}
