//! `range`: of each topic a contiguous range to every member that wants it.
//!
//! Owns the order of members: static ones first, by instance id, so that a restart under a new member id moves nothing;
//! then the others by member id.
//! Lives nowhere: a pure function.
//! Invariants: 1. Topics of equal size whose members are the same are cut at the same places.
//! Not here: stickiness; Kafka's assignor has none since 4.0 either.

use super::super::member::Partitions;
use super::{Topic, Wish};

pub(super) fn assign(topics: &[Topic], members: &[Wish<'_>]) -> Vec<Partitions> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&place| {
        let member = &members[place];
        let dynamic = member.instance_id.is_none();
        (dynamic, member.instance_id.unwrap_or(member.member_id))
    });
    let mut wanted_by = vec![0_i32; topics.len()];
    for &topic in members.iter().flat_map(|member| member.topics.iter()) {
        wanted_by[topic] += 1;
    }
    let mut shares: Vec<Share> = topics
        .iter()
        .zip(wanted_by)
        .map(|(topic, members)| Share {
            next: 0,
            each: topic.partitions / members.max(1),
            extras: topic.partitions % members.max(1),
        })
        .collect();
    let mut assigned = vec![Partitions::new(); members.len()];
    for place in order {
        for &topic in members[place].topics.iter() {
            let range = shares[topic].take();
            if !range.is_empty() {
                assigned[place].insert(topics[topic].id, range.collect());
            }
        }
    }
    assigned
}

/// What is left of a topic.
struct Share {
    next: i32,
    each: i32,
    /// This many members get one more.
    extras: i32,
}

impl Share {
    fn take(&mut self) -> std::ops::Range<i32> {
        let start = self.next;
        self.next += self.each;
        if self.extras > 0 {
            self.extras -= 1;
            self.next += 1;
        }
        start..self.next
    }
}
