//! `uniform`: equal shares, and of what members have as much as possible stays theirs.
//!
//! Owns the balance.
//! Lives nowhere: a pure function.
//! Invariants:
//! 1. With one subscription, loads differ by at most one, and no assignment that is as even moves fewer partitions.
//! 2. With several, no move and no chain of moves evens out two loads that differ by two or more.
//!
//! Not here: who is asked (`assignor`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use corelog_net::wire::Uuid;

use super::super::member::Partitions;
use super::{Topic, Wish, is_homogeneous};

pub(super) fn assign(topics: &[Topic], members: &[Wish<'_>]) -> Vec<Partitions> {
    if members.is_empty() {
        return Vec::new();
    }
    if is_homogeneous(members) {
        assign_evenly(topics, members)
    } else {
        Balance::new(topics, members).settle()
    }
}

/// Everybody wants the same topics: count, keep up to the quota, hand out the rest.
fn assign_evenly(topics: &[Topic], members: &[Wish<'_>]) -> Vec<Partitions> {
    let wanted: BTreeMap<Uuid, i32> = members[0]
        .topics
        .iter()
        .map(|&topic| (topics[topic].id, topics[topic].partitions))
        .collect();
    let total: usize = wanted
        .values()
        .map(|&count| count.max(0).unsigned_abs() as usize)
        .sum();
    let quota = total / members.len();
    let mut extras = total % members.len();
    let mut taken = BTreeSet::new();
    let mut assigned = Vec::with_capacity(members.len());
    let mut loads = Vec::with_capacity(members.len());
    for member in members {
        // A partition with two owners in the old target stays with the first.
        let mut valid = valid(member, &wanted);
        valid.retain(|place| !taken.contains(place));
        let limit = if valid.len() > quota && extras > 0 {
            extras -= 1;
            quota + 1
        } else {
            quota
        };
        valid.truncate(limit);
        let load = valid.len();
        let mut kept = Partitions::new();
        for (topic, partition) in valid {
            taken.insert((topic, partition));
            kept.entry(topic).or_default().push(partition);
        }
        assigned.push(kept);
        loads.push(load);
    }
    let mut free = wanted
        .iter()
        .flat_map(|(&topic, &count)| (0..count).map(move |partition| (topic, partition)))
        .filter(|partition| !taken.contains(partition));
    for (kept, load) in assigned.iter_mut().zip(&loads) {
        let mut room = quota.saturating_sub(*load);
        if *load <= quota && extras > 0 {
            extras -= 1;
            room += 1;
        }
        for (topic, partition) in free.by_ref().take(room) {
            kept.entry(topic).or_default().push(partition);
        }
    }
    debug_assert!(free.next().is_none(), "the quotas add up to all partitions");
    for partitions in assigned.iter_mut().flat_map(BTreeMap::values_mut) {
        partitions.sort_unstable();
    }
    assigned
}

/// What the member has and may keep, in order.
fn valid(member: &Wish<'_>, wanted: &BTreeMap<Uuid, i32>) -> Vec<(Uuid, i32)> {
    let mut valid = Vec::new();
    for (&topic, partitions) in member.current {
        let count = wanted.get(&topic).copied().unwrap_or(0);
        let there = partitions.iter().filter(|&&partition| partition < count);
        valid.extend(there.map(|&partition| (topic, partition)));
    }
    valid
}

/// Members want different topics: start with what they have, give the rest to the least loaded, then move partitions
/// from the more to the less loaded until no move helps. Every move lowers the sum of the squares of the loads.
struct Balance<'a> {
    topics: &'a [Topic],
    /// Members that want the topic.
    wanted_by: Vec<Vec<usize>>,
    /// Owner of each partition of each topic.
    owners: Vec<Vec<Option<usize>>>,
    loads: Vec<usize>,
}

impl<'a> Balance<'a> {
    fn new(topics: &'a [Topic], members: &[Wish<'_>]) -> Self {
        let mut wanted_by = vec![Vec::new(); topics.len()];
        let mut owners: Vec<Vec<Option<usize>>> = topics
            .iter()
            .map(|topic| vec![None; usize::try_from(topic.partitions).unwrap_or(0)])
            .collect();
        let mut loads = vec![0; members.len()];
        for (place, member) in members.iter().enumerate() {
            for &topic in member.topics.iter() {
                wanted_by[topic].push(place);
                let current = member.current.get(&topics[topic].id);
                for &partition in current.into_iter().flatten() {
                    let slot = usize::try_from(partition)
                        .ok()
                        .and_then(|partition| owners[topic].get_mut(partition));
                    if let Some(slot @ None) = slot {
                        *slot = Some(place);
                        loads[place] += 1;
                    }
                }
            }
        }
        Self {
            topics,
            wanted_by,
            owners,
            loads,
        }
    }

    fn settle(mut self) -> Vec<Partitions> {
        // Topics that few members want first: the others can still make up for it.
        let mut order: Vec<usize> = (0..self.topics.len()).collect();
        order.sort_by_key(|&topic| (self.wanted_by[topic].len(), topic));
        for &topic in &order {
            self.hand_out(topic);
        }
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for &topic in &order {
                moved |= self.even_out(topic);
            }
            if !moved {
                break;
            }
        }
        let mut chains = self.loads.len() * CHAINS_PER_MEMBER_MAX;
        while chains > 0 && self.pass_along() {
            chains -= 1;
        }
        let mut assigned = vec![Partitions::new(); self.loads.len()];
        for (topic, owners) in self.topics.iter().zip(&self.owners) {
            for (owner, partition) in owners.iter().zip(0..) {
                if let Some(owner) = owner {
                    assigned[*owner]
                        .entry(topic.id)
                        .or_default()
                        .push(partition);
                }
            }
        }
        assigned
    }

    /// Gives the topic's free partitions to the least loaded of those who want it.
    fn hand_out(&mut self, topic: usize) {
        let mut by_load: BTreeSet<(usize, usize)> = self.wanted_by[topic]
            .iter()
            .map(|&member| (self.loads[member], member))
            .collect();
        for slot in &mut self.owners[topic] {
            if slot.is_some() {
                continue;
            }
            let Some((load, member)) = by_load.pop_first() else {
                return;
            };
            *slot = Some(member);
            self.loads[member] += 1;
            by_load.insert((load + 1, member));
        }
    }

    /// Where no single move helps a chain may: one member hands a partition to a second, which hands one of another topic
    /// to a third. Takes the shortest chain from a most loaded member that has one. Whether there was any.
    fn pass_along(&mut self) -> bool {
        let mut held = vec![BTreeMap::new(); self.loads.len()];
        for (topic, owners) in self.owners.iter().enumerate() {
            for (partition, owner) in owners.iter().enumerate() {
                if let Some(owner) = owner {
                    held[*owner].insert(topic, partition);
                }
            }
        }
        let least = self.loads.iter().min().copied().unwrap_or(0);
        let mut rich: Vec<usize> = (0..self.loads.len()).collect();
        rich.retain(|&member| self.loads[member] > least + 1);
        rich.sort_by_key(|&member| (Reverse(self.loads[member]), member));
        rich.into_iter().any(|from| self.pass_from(from, &held))
    }

    fn pass_from(&mut self, from: usize, held: &[BTreeMap<usize, usize>]) -> bool {
        // From whom, and with a partition of which topic, a member is reached.
        let mut reached: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
        let mut seen_topics = BTreeSet::new();
        let mut queue = VecDeque::from([from]);
        while let Some(member) = queue.pop_front() {
            if self.loads[member] + 1 < self.loads[from] {
                let mut to = member;
                while let Some(&(giver, topic)) = reached.get(&to) {
                    self.owners[topic][held[giver][&topic]] = Some(to);
                    to = giver;
                }
                self.loads[from] -= 1;
                self.loads[member] += 1;
                return true;
            }
            for &topic in held[member].keys() {
                if !seen_topics.insert(topic) {
                    continue;
                }
                for &next in &self.wanted_by[topic] {
                    if next != from && !reached.contains_key(&next) {
                        reached.insert(next, (member, topic));
                        queue.push_back(next);
                    }
                }
            }
        }
        false
    }

    /// Moves partitions of the topic from its most to its least loaded members. Whether any was moved.
    fn even_out(&mut self, topic: usize) -> bool {
        let mut held = vec![Vec::new(); self.loads.len()];
        for (partition, owner) in self.owners[topic].iter().enumerate() {
            if let Some(owner) = owner {
                held[*owner].push(partition);
            }
        }
        let wanted_by = &self.wanted_by[topic];
        let load_of = |member: &usize| (self.loads[*member], *member);
        let mut takers: BTreeSet<(usize, usize)> = wanted_by.iter().map(load_of).collect();
        let holders = wanted_by.iter().filter(|&&member| !held[member].is_empty());
        let mut holders: BTreeSet<(usize, usize)> = holders.map(load_of).collect();
        let mut moved = false;
        while let (Some(&(most, from)), Some(&(least, to))) = (holders.last(), takers.first())
            && most > least + 1
        {
            let partition = held[from].pop().expect("a holder holds something");
            self.owners[topic][partition] = Some(to);
            holders.remove(&(most, from));
            takers.remove(&(most, from));
            takers.remove(&(least, to));
            holders.remove(&(least, to));
            (self.loads[from], self.loads[to]) = (most - 1, least + 1);
            takers.insert((most - 1, from));
            takers.insert((least + 1, to));
            if !held[from].is_empty() {
                holders.insert((most - 1, from));
            }
            held[to].push(partition);
            holders.insert((least + 1, to));
            moved = true;
        }
        moved
    }
}

/// Chains are the last resort of odd subscriptions, and each costs a look at everybody.
const CHAINS_PER_MEMBER_MAX: usize = 4;

/// Far more than balancing needs; a bound all the same.
const ROUNDS_MAX: usize = 1_000;
