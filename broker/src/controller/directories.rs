//! Log directories of this node's replicas: which one a new partition gets, what a failed one means.
//!
//! **Owns** the least loaded choice over the whole node, the records of a failed directory and of a changed one (KIP-858).
//! **Lives on** shard 0.
//! **Invariants** 1. A directory that is not registered (failed), that is cordoned (KIP-1066), or that is avoided (full)
//! gets no new partition, unless no other is left: then rather a full one than a cordoned one. 2. A replica in a failed directory leads nothing.
//! **Not here**: finding out that a directory failed (`shard/disks.rs`), moving logs (`shard/moves.rs`).

use std::collections::BTreeMap;

use corelog_net::wire::Uuid;
use corelog_net::wire::records::{BrokerRegistrationChangeRecord, PartitionChangeRecord};
use corelog_storage::disks;

use super::Controller;
use crate::metadata::MetadataRecord;
use crate::metadata::features::METADATA_VERSION_CORDONED;
use crate::metadata::image::{LEADER_UNCHANGED, NO_LEADER, RECOVERY_UNCHANGED};

impl Controller<'_> {
    /// Fills in the directory of this node's replicas where the records of new partitions leave it open. Those in
    /// `avoided` get new partitions only when all are in it; cordoned ones only what names this node by hand.
    pub fn choose_directories(&self, records: &mut [MetadataRecord], avoided: &[Uuid]) {
        let node = self.config.node_id;
        let Some(broker) = self.image.broker(node) else {
            return;
        };
        let directories = &broker.registration.log_dirs;
        let open = |record: &MetadataRecord| match record {
            MetadataRecord::Partition(partition) => place_of(partition, node).is_some(),
            _ => false,
        };
        if directories.len() < 2 || !records.iter().any(open) {
            return;
        }
        let is_avoided = |at: usize| avoided.contains(&directories[at]);
        let is_open = |at: usize| !broker.cordoned().contains(&directories[at]);
        let mut loads = self.directory_loads(directories);
        for record in records {
            let MetadataRecord::Partition(partition) = record else {
                continue;
            };
            let Some(place) = place_of(partition, node) else {
                continue;
            };
            let chosen = disks::least_loaded(&loads, |at| is_open(at) && !is_avoided(at))
                .or_else(|| disks::least_loaded(&loads, is_open))
                .or_else(|| disks::least_loaded(&loads, |_| true));
            if let Some(at) = chosen {
                loads[at] += 1;
                partition.directories[place] = directories[at];
            }
        }
    }

    /// How many replicas of this node lie in each directory.
    fn directory_loads(&self, directories: &[Uuid]) -> Vec<usize> {
        let at: BTreeMap<Uuid, usize> = (0..).zip(directories).map(|(at, id)| (*id, at)).collect();
        let mut loads = vec![0; directories.len()];
        for topic in self.image.topics() {
            for (_, partition) in topic.numbered() {
                let directory = partition.directory(self.config.node_id);
                if let Some(at) = directory.and_then(|id| at.get(&id)) {
                    loads[*at] += 1;
                }
            }
        }
        loads
    }

    /// These directories of this node get no new partitions from now on, and all others do. Not recorded in a cluster
    /// whose records cannot hold it.
    #[must_use]
    pub fn cordon(&self, cordoned: &[Uuid]) -> Option<MetadataRecord> {
        let broker = self.image.broker(self.config.node_id)?;
        let sorted = |ids: &[Uuid]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids
        };
        if self.image.metadata_version() < METADATA_VERSION_CORDONED
            || sorted(broker.cordoned()) == sorted(cordoned)
        {
            return None;
        }
        let change = BrokerRegistrationChangeRecord {
            broker_id: self.config.node_id,
            broker_epoch: broker.registration.broker_epoch,
            cordoned_log_dirs: Some(cordoned.to_vec()),
            ..BrokerRegistrationChangeRecord::default()
        };
        Some(change.into())
    }

    /// A directory of this node failed: it is registered no longer, and what lies in it has no leader here.
    #[must_use]
    pub fn directory_failed(&self, id: Uuid) -> Vec<MetadataRecord> {
        let node = self.config.node_id;
        let Some(broker) = self.image.broker(node) else {
            return Vec::new();
        };
        let registered = &broker.registration.log_dirs;
        if !registered.contains(&id) || registered.len() < 2 {
            return Vec::new();
        }
        let left = registered.iter().copied().filter(|one| *one != id);
        let change = BrokerRegistrationChangeRecord {
            broker_id: node,
            broker_epoch: broker.registration.broker_epoch,
            log_dirs: left.collect(),
            ..BrokerRegistrationChangeRecord::default()
        };
        let mut records = vec![change.into()];
        for topic in self.image.topics_sorted() {
            for (partition_id, partition) in topic.numbered() {
                if partition.leader == node && partition.directory(node) == Some(id) {
                    let change = PartitionChangeRecord {
                        partition_id,
                        topic_id: topic.id,
                        leader: NO_LEADER,
                        leader_recovery_state: RECOVERY_UNCHANGED,
                        ..PartitionChangeRecord::default()
                    };
                    records.push(change.into());
                }
            }
        }
        records
    }

    /// Records in which directory this node keeps its replicas; those that are already so recorded,
    /// unknown, or not on this node are left out. A replica that is found gets back the lead it lost.
    #[must_use]
    pub fn assign_directories(&self, chosen: &[(Uuid, i32, Uuid)]) -> Vec<MetadataRecord> {
        let node = self.config.node_id;
        let assign = |(topic_id, partition_id, directory): &(Uuid, i32, Uuid)| {
            let partition = self
                .image
                .topic_by_id(*topic_id)?
                .partition(*partition_id)?;
            let place = partition
                .replicas
                .iter()
                .position(|replica| *replica == node)?;
            let leads = partition.leader == NO_LEADER && partition.isr.contains(&node);
            let mut directories = partition.directories.clone();
            directories.resize(partition.replicas.len(), Uuid::ZERO);
            if directories[place] == *directory && !leads {
                return None;
            }
            directories[place] = *directory;
            let change = PartitionChangeRecord {
                partition_id: *partition_id,
                topic_id: *topic_id,
                leader: if leads { node } else { LEADER_UNCHANGED },
                leader_recovery_state: RECOVERY_UNCHANGED,
                directories: Some(directories),
                ..PartitionChangeRecord::default()
            };
            Some(change.into())
        };
        chosen.iter().filter_map(assign).collect()
    }
}

/// The place of this node's replica, when its directory is left open.
fn place_of(partition: &corelog_net::wire::records::PartitionRecord, node: i32) -> Option<usize> {
    let place = partition.replicas.iter().position(|id| *id == node)?;
    let directory = partition.directories.get(place)?;
    directory.is_zero().then_some(place)
}
