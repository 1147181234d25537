//! Where replicas go.
//!
//! **Owns** the choice of brokers for new partitions, and the check of choices made by hand.
//! **Lives on** shard 0.
//! **Invariants**: a partition's replicas are distinct registered brokers; the first is unfenced.
//! **Not here**: directories within a broker (`directories`).

use corelog_net::wire::records::PartitionRecord;
use corelog_net::wire::{ErrorCode, Uuid};

use crate::config::alter::Refusal;
use crate::metadata::Image;

/// Chooses replicas for `count` new partitions after `first`: leaders go round over the unfenced
/// brokers, so that a topic spreads evenly. Brokers whose directories are all cordoned are left out.
pub(super) fn place(
    image: &Image,
    first: usize,
    count: usize,
    replication_factor: usize,
) -> Result<Vec<Vec<i32>>, Refusal> {
    let open = image.brokers().filter(|(_, broker)| !broker.is_cordoned());
    let all: Vec<i32> = open.map(|(id, _)| id).collect();
    let mut brokers: Vec<i32> = usable(image, &all);
    let refuse = |reason: String| Err(Refusal::new(ErrorCode::InvalidReplicationFactor, reason));
    if brokers.is_empty() {
        let reason =
            "All brokers are currently fenced, or have all their log directories cordoned.";
        return refuse(reason.to_owned());
    }
    if replication_factor > all.len() {
        return refuse(format!(
            "The target replication factor of {replication_factor} cannot be reached because only \
             {} broker(s) are registered or some brokers have all their log directories cordoned.",
            all.len()
        ));
    }
    // Fenced brokers come last: they get replicas only when the others do not suffice.
    let leaders = brokers.len();
    brokers.extend(all.iter().filter(|id| usable(image, &[**id]).is_empty()));
    let replicas = |partition: usize| {
        let leader = partition % leaders;
        let mut order: Vec<i32> = brokers[leader..leaders].to_vec();
        order.extend(&brokers[..leader]);
        order.extend(&brokers[leaders..]);
        order.truncate(replication_factor);
        order
    };
    Ok((first..first + count).map(replicas).collect())
}

/// Checks replicas that were chosen by hand.
pub(super) fn check_manual(
    image: &Image,
    replicas: &[i32],
    replication_factor: Option<usize>,
) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    if replicas.is_empty() {
        let message = "The manual partition assignment includes an empty replica list.";
        return refuse(message.to_owned());
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    let mut before = None;
    for id in sorted {
        if image.broker(id).is_none() {
            return refuse(format!(
                "The manual partition assignment includes broker {id}, but no such broker is \
                 registered."
            ));
        }
        if before == Some(id) {
            return refuse(format!(
                "The manual partition assignment includes the broker {id} more than once."
            ));
        }
        before = Some(id);
    }
    match replication_factor {
        Some(expected) if expected != replicas.len() => refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is \
             not consistent with previous partitions, which have {expected} replica(s).",
            replicas.len()
        )),
        _ => Ok(()),
    }
}

/// The record of a new partition with these replicas; refused when none of them can lead.
pub(super) fn new_partition(
    image: &Image,
    topic: Uuid,
    index: usize,
    replicas: Vec<i32>,
) -> Result<PartitionRecord, Refusal> {
    let isr = usable(image, &replicas);
    let Some(leader) = isr.first().copied() else {
        return Err(Refusal::new(
            ErrorCode::InvalidReplicaAssignment,
            format!(
                "All brokers specified in the manual partition assignment for partition {index} \
                 are fenced or in controlled shutdown."
            ),
        ));
    };
    Ok(PartitionRecord {
        partition_id: i32::try_from(index).unwrap_or(i32::MAX),
        topic_id: topic,
        directories: replicas
            .iter()
            .map(|id| default_directory(image, *id))
            .collect(),
        replicas,
        isr,
        leader,
        leader_epoch: 0,
        partition_epoch: 0,
        ..PartitionRecord::default()
    })
}

/// A broker's only directory; zero (not assigned) when the broker has to choose.
fn default_directory(image: &Image, broker: i32) -> Uuid {
    match image
        .broker(broker)
        .map(|broker| broker.registration.log_dirs.as_slice())
    {
        Some([only]) => *only,
        _ => Uuid::ZERO,
    }
}

/// Those of `ids` that may lead, in their order.
pub(super) fn usable(image: &Image, ids: &[i32]) -> Vec<i32> {
    let usable = |id: &i32| {
        image
            .broker(*id)
            .is_some_and(|broker| !broker.fenced() && !broker.registration.in_controlled_shutdown)
    };
    ids.iter().copied().filter(usable).collect()
}
