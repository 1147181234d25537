//! DescribeLogDirs (key 35): log directories, their space, the sizes of the logs in them. KIP-113.
//!
//! Versions: v2 flexible · v3 error of the whole · v4 space of the volume (KIP-827) · v5 cordoned
//! directories (KIP-1066).
//!
//! Owns: the answer.
//! Lives on: the connection's shard; sizes come from all shards.
//! Invariants: the metadata log is not told, as Kafka does not tell it.
//! Not here: the logs (`shard/logs.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest,
    DescribeLogDirsResponse, DescribeLogDirsResult, DescribeLogDirsTopic,
};

use crate::boot::METADATA_TOPIC;
use crate::handlers::Context;
use crate::mesh;
use crate::shard::{LogSize, Shard};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let mut sizes = Vec::new();
    for reply in shard.call_all(|| mesh::Request::Sizes).await {
        if let mesh::Reply::Sizes(more) = reply {
            sizes.extend(more);
        }
    }
    let directories = std::sync::Arc::clone(&shard.directories);
    let disks = std::sync::Arc::clone(shard.allowances.disks());
    // A volume in trouble may keep the question waiting.
    let spaces = corelog_runtime::blocking("log directories", move || {
        let one = |(at, directory): (usize, &corelog_storage::disk::LogDir)| {
            let space = if disks.is_offline(at) {
                Err("it is offline".to_owned())
            } else {
                let space = directory.space().map_err(|error| error.to_string());
                space.map(|(usable, total)| (total, usable))
            };
            (absolute(directory.root()), space)
        };
        directories.iter().enumerate().map(one).collect::<Vec<_>>()
    })
    .await;
    let asked = request.topics.as_deref().map(wanted);
    let config = shard.live_config();
    let results = spaces.into_iter().enumerate().map(|(at, (path, space))| {
        let here = sizes.iter().filter(|log| log.directory == at);
        let result = described(path, space, here, asked.as_ref());
        DescribeLogDirsResult {
            is_cordoned: config.is_cordoned(at),
            ..result
        }
    });
    DescribeLogDirsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

type Wanted<'a> = BTreeSet<(&'a str, i32)>;

fn wanted(topics: &[DescribableLogDirTopic]) -> Wanted<'_> {
    let partitions = |topic: &'_ DescribableLogDirTopic| topic.partitions.clone().into_iter();
    topics
        .iter()
        .flat_map(|topic| partitions(topic).map(|part| (topic.topic.as_str(), part)))
        .collect()
}

/// One directory. What was asked for and is not there is left out.
fn described<'a>(
    log_dir: String,
    space: Result<(u64, u64), String>,
    logs: impl Iterator<Item = &'a LogSize>,
    asked: Option<&Wanted<'_>>,
) -> DescribeLogDirsResult {
    let (total, usable) = match space {
        Ok(space) => space,
        Err(why) => {
            tracing::debug!("log directory {log_dir}: {why}");
            return DescribeLogDirsResult {
                error_code: ErrorCode::KafkaStorageError.code(),
                log_dir,
                ..Default::default()
            };
        }
    };
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for log in logs {
        let topic: &str = &log.name.topic;
        let told = asked.is_none_or(|asked| asked.contains(&(topic, log.name.partition)));
        if topic == METADATA_TOPIC || !told {
            continue;
        }
        topics
            .entry(topic)
            .or_default()
            .push(DescribeLogDirsPartition {
                partition_index: log.name.partition,
                partition_size: signed(log.size),
                // A leader's log is not behind its own high watermark.
                offset_lag: log.future_lag.unwrap_or(0),
                is_future_key: log.future_lag.is_some(),
                ..Default::default()
            });
    }
    let topics = topics.into_iter().map(|(name, mut partitions)| {
        partitions.sort_unstable_by_key(|part| part.partition_index);
        DescribeLogDirsTopic {
            name: name.to_owned(),
            partitions,
            ..Default::default()
        }
    });
    DescribeLogDirsResult {
        error_code: ErrorCode::None.code(),
        log_dir,
        topics: topics.collect(),
        total_bytes: signed(total),
        usable_bytes: signed(usable),
        ..Default::default()
    }
}

/// The path as Kafka names it: from the root.
pub(crate) fn absolute(root: &Path) -> String {
    std::path::absolute(root)
        .unwrap_or_else(|_| root.to_owned())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests;
