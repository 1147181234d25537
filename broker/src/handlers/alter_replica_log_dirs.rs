//! AlterReplicaLogDirs (key 34): which directory a replica shall live in. KIP-113.
//!
//! Versions: v2 flexible.
//!
//! Owns: the answer.
//! Lives on: the connection's shard; directories come from all shards.
//! Invariants: a replica that was told to stay where it is stays.
//! Not here: the directories (`boot/directories.rs`).
//!
//! Known deviations: logs are not copied between directories yet, so a node with several is not
//! asked at all (the API is then not advertised, see `Shard::versions`).

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};

use crate::handlers::Context;
use crate::handlers::describe_log_dirs::absolute;
use crate::metadata::Image;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let directories: Vec<_> = shard
        .directories
        .iter()
        .map(|directory| absolute(directory.root()))
        .collect();
    answer(&shard.image(), &directories, &request)
}

/// With one directory every replica is where it may be; other paths are no directories of ours.
fn answer(
    image: &Image,
    directories: &[String],
    request: &AlterReplicaLogDirsRequest,
) -> AlterReplicaLogDirsResponse {
    let mut topics: BTreeMap<&str, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for target in &request.dirs {
        let ours = directories.contains(&target.path);
        for topic in &target.topics {
            let results = topic.partitions.iter().map(|partition_index| {
                let exists = image
                    .topic(&topic.name)
                    .is_some_and(|topic| topic.partition(*partition_index).is_some());
                let error = match (ours, exists) {
                    (false, _) => ErrorCode::LogDirNotFound,
                    (true, false) => ErrorCode::UnknownTopicOrPartition,
                    (true, true) => ErrorCode::None,
                };
                AlterReplicaLogDirPartitionResult {
                    partition_index: *partition_index,
                    error_code: error.code(),
                    ..Default::default()
                }
            });
            topics.entry(&topic.name).or_default().extend(results);
        }
    }
    let result = |(name, partitions): (&str, Vec<_>)| AlterReplicaLogDirTopicResult {
        topic_name: name.to_owned(),
        partitions,
        ..Default::default()
    };
    AlterReplicaLogDirsResponse {
        results: topics.into_iter().map(result).collect(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
