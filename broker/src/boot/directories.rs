//! The log directories at start and stop.
//!
//! Owns: their locks, `meta.properties`, the checkpoint files, the clean-shutdown marker.
//! Lives on: the main thread at start, a companion later.
//! Invariants:
//! 1. All directories belong to one node of one cluster, or the broker does not start.
//! 2. A recovery point is written only for what is on disk.
//!
//! Not here: the files' formats (`corelog_storage::checkpoint`), the logs (`shard/logs.rs`).

use std::sync::Arc;

use anyhow::Context as _;
use corelog_storage::checkpoint::{CleanShutdown, MetaProperties, name};
use corelog_storage::disk::{Lock, LogDir};
use corelog_storage::types::{Offset, TopicId, TopicPartition};

use crate::config::BrokerConfig;
use crate::shard::LogOffsets;
use crate::shard::logs::{Checkpoints, DirectoryState};

/// The log directories, locked and checked.
#[derive(Clone)]
pub(crate) struct Directories {
    pub(crate) all: Arc<[LogDir]>,
    pub(crate) cluster_id: Arc<str>,
    /// The id of each directory.
    pub(crate) ids: Arc<[TopicId]>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    _locks: Arc<[Lock]>,
}

impl Directories {
    /// Opens, locks and reads every directory; gives empty ones their `meta.properties`.
    pub(crate) fn open(config: &BrokerConfig) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        let mut locks = Vec::new();
        let mut found = Vec::new();
        for path in &config.log_dirs {
            let directory = LogDir::open(path).context("a log directory cannot be used")?;
            locks.push(directory.lock().with_context(|| {
                format!("log directory {path} cannot be locked: is another broker running on it?")
            })?);
            let properties = directory.read_meta_properties()?;
            if let Some(properties) = &properties
                && properties.node_id != config.node_id
            {
                anyhow::bail!(
                    "log directory {path} belongs to node.id {}, this is node.id {}: set node.id={0} or \
                     name another directory",
                    properties.node_id,
                    config.node_id
                );
            }
            found.push(properties);
            all.push(directory);
        }
        let known: Vec<_> = found
            .iter()
            .flatten()
            .map(|one| one.cluster_id.clone())
            .collect();
        if let Some(other) = known.iter().find(|id| **id != known[0]) {
            anyhow::bail!(
                "the log directories belong to different clusters, {} and {other}",
                known[0]
            );
        }
        let cluster_id = known
            .first()
            .cloned()
            .unwrap_or_else(|| random_id().to_string());
        let mut ids = Vec::new();
        let mut states = Vec::new();
        for (directory, properties) in all.iter().zip(found) {
            let properties = match properties {
                Some(properties) if properties.directory_id.is_some() => properties,
                other => {
                    let properties = MetaProperties {
                        cluster_id: cluster_id.clone(),
                        node_id: config.node_id,
                        directory_id: Some(random_id()),
                        date: None,
                        others: other.map(|one| one.others).unwrap_or_default(),
                    };
                    directory.write_meta_properties(&properties)?;
                    tracing::info!("log directory {} is formatted", directory.root().display());
                    properties
                }
            };
            ids.push(properties.directory_id.expect("just made sure"));
            states.push(state(directory)?);
            tracing::info!(
                "log directory {} partitions={} {}",
                directory.root().display(),
                states.last().map_or(0, |state| state.live.len()),
                if states.last().is_some_and(|state| state.clean) {
                    "clean"
                } else {
                    "not shut down cleanly, or new"
                }
            );
        }
        Ok(Self {
            all: all.into(),
            cluster_id: cluster_id.into(),
            ids: ids.into(),
            checkpoints: Arc::new(Checkpoints {
                directories: states,
            }),
            _locks: locks.into(),
        })
    }

    /// Did the last stop leave every directory clean?
    pub(crate) fn clean(&self) -> bool {
        self.checkpoints.directories.iter().all(|state| state.clean)
    }

    /// Writes the checkpoint files.
    pub(crate) fn checkpoint(&self, offsets: &[LogOffsets]) -> anyhow::Result<()> {
        for (at, directory) in self.all.iter().enumerate() {
            let here = || offsets.iter().filter(move |one| one.directory == at);
            let of = |offset: fn(&LogOffsets) -> Offset| -> Vec<(TopicPartition, Offset)> {
                here().map(|one| (one.name.clone(), offset(one))).collect()
            };
            directory.write_offsets(name::RECOVERY_POINTS, of(|one| one.recovery_point))?;
            directory.write_offsets(name::HIGH_WATERMARKS, of(|one| one.high_watermark))?;
            let moved = here().filter(|one| one.log_start_offset > Offset::ZERO);
            let starts: Vec<_> = moved
                .map(|one| (one.name.clone(), one.log_start_offset))
                .collect();
            directory.write_offsets(name::LOG_STARTS, starts)?;
        }
        Ok(())
    }

    /// Writes the checkpoint files and, last, the markers of a clean stop.
    pub(crate) fn close(&self, offsets: &[LogOffsets], broker_epoch: i64) -> anyhow::Result<()> {
        self.checkpoint(offsets)?;
        for (at, directory) in self.all.iter().enumerate() {
            let closed: Vec<_> = offsets.iter().filter(|one| one.directory == at).collect();
            let open = directory
                .folders()?
                .live
                .into_iter()
                .filter(|name| !closed.iter().any(|one| one.name == *name))
                .count();
            if open > 0 {
                tracing::warn!(
                    "log directory {}: {open} partitions did not close; they are recovered at the next start",
                    directory.root().display()
                );
                continue;
            }
            directory.write_clean_shutdown(CleanShutdown { broker_epoch })?;
        }
        Ok(())
    }
}

fn state(directory: &LogDir) -> anyhow::Result<DirectoryState> {
    let folders = directory.folders()?;
    for sentence in &folders.refused {
        tracing::warn!("{sentence}");
    }
    for folder in &folders.deleted {
        directory.remove_dir(folder)?;
    }
    let clean = directory.take_clean_shutdown()?.is_some();
    Ok(DirectoryState {
        clean,
        live: folders.live,
        recovery_points: directory.read_offsets(name::RECOVERY_POINTS)?,
        log_starts: directory.read_offsets(name::LOG_STARTS)?,
        high_watermarks: directory.read_offsets(name::HIGH_WATERMARKS)?,
    })
}

/// A random id that prints well: none that begins with a dash, which command lines take for a flag.
pub(crate) fn random_id() -> TopicId {
    loop {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&corelog_runtime::entropy().to_be_bytes());
        bytes[8..].copy_from_slice(&corelog_runtime::entropy().to_be_bytes());
        // Version 4, variant 1 (RFC 9562), as Java's random UUIDs are.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let id = TopicId(bytes);
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}
