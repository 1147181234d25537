//! AlterReplicaLogDirs (key 34): which directory a replica shall live in. KIP-113.
//!
//! Versions: v2 flexible.
//!
//! Owns: the answer.
//! Lives on: the connection's shard; the shards of the partitions begin the moves.
//! Invariants: an answer without an error means that the replica is there or on its way.
//! Not here: the moves (`shard/moves.rs`).

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use corelog_storage::types::TopicId;

use crate::handlers::Context;
use crate::handlers::describe_log_dirs::absolute;
use crate::mesh;
use crate::metadata::Image;
use crate::partition::owner;
use crate::shard::Shard;
use crate::shard::moves::Relocate;

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
    let config = shard.live_config();
    let is_cordoned = |at: usize| config.is_cordoned(at);
    let asked = ask(&shard.image(), &directories, is_cordoned, &request);
    let mut calls: BTreeMap<usize, Vec<Relocate>> = BTreeMap::new();
    let mut errors = Vec::with_capacity(asked.len());
    for one in &asked {
        errors.push(match one.question {
            Ok(relocate) => {
                let to = owner(relocate.topic_id, relocate.partition, shard.shards);
                let call = calls.entry(to).or_default();
                call.push(relocate);
                Err((to, call.len() - 1))
            }
            Err(error) => Ok(error),
        });
    }
    let mut answers: BTreeMap<usize, Vec<ErrorCode>> = BTreeMap::new();
    for (to, wanted) in calls {
        if let mesh::Reply::Relocated(errors) =
            shard.call(to, mesh::Request::Relocate(wanted)).await
        {
            answers.insert(to, errors);
        }
    }
    let errors = errors.into_iter().map(|one| match one {
        Ok(error) => error,
        Err((to, at)) => answers
            .get(&to)
            .and_then(|errors| errors.get(at).copied())
            .unwrap_or(ErrorCode::NotLeaderOrFollower),
    });
    answer(&asked, errors)
}

/// One replica of the request.
struct Asked<'a> {
    topic: &'a str,
    partition: i32,
    /// What its shard is asked, or what is wrong with it.
    question: Result<Relocate, ErrorCode>,
}

fn ask<'a>(
    image: &Image,
    directories: &[String],
    is_cordoned: impl Fn(usize) -> bool,
    request: &'a AlterReplicaLogDirsRequest,
) -> Vec<Asked<'a>> {
    let mut asked = Vec::new();
    for target in &request.dirs {
        let directory = directories.iter().position(|path| *path == target.path);
        for topic in &target.topics {
            let known = image.topic(&topic.name);
            for partition in topic.partitions.iter().copied() {
                let known = known.filter(|topic| topic.partition(partition).is_some());
                let question = match (directory, known) {
                    (None, _) => Err(ErrorCode::LogDirNotFound),
                    // Also for a replica that is there already, as in Kafka.
                    (Some(target), _) if is_cordoned(target) => {
                        Err(ErrorCode::InvalidReplicaAssignment)
                    }
                    (Some(_), None) => Err(ErrorCode::UnknownTopicOrPartition),
                    (Some(target), Some(topic)) => Ok(Relocate {
                        topic_id: TopicId(topic.id.0),
                        partition,
                        target,
                    }),
                };
                asked.push(Asked {
                    topic: &topic.name,
                    partition,
                    question,
                });
            }
        }
    }
    asked
}

fn answer(
    asked: &[Asked<'_>],
    errors: impl Iterator<Item = ErrorCode>,
) -> AlterReplicaLogDirsResponse {
    let mut topics: BTreeMap<&str, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for (one, error) in asked.iter().zip(errors) {
        let result = AlterReplicaLogDirPartitionResult {
            partition_index: one.partition,
            error_code: error.code(),
            ..Default::default()
        };
        topics.entry(one.topic).or_default().push(result);
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
