//! Counting transactional ids, for metrics.
//!
//! Owns: the count by state.
//! Lives on: the shard that owns the transaction partition.
//! Invariants: counting changes nothing, and costs a pass over the ids.
//! Not here: names of metrics.

use super::Coordinator;

impl Coordinator {
    /// Counts this coordinator's ids in, by Kafka's names of their states.
    pub fn count_into(&self, states: &mut Vec<(&'static str, u64)>) {
        for entry in self.entries.values() {
            let state = entry.current.state.name();
            match states.iter_mut().find(|one| one.0 == state) {
                Some(known) => known.1 += 1,
                None => states.push((state, 1)),
            }
        }
    }
}
