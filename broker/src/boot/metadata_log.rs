//! The metadata log of a quorum of one, before the shards run.
//!
//! Owns: opening `__cluster_metadata-0`, replaying it, winning the epoch, registering the node.
//! Lives on: the main thread, which may block.
//! Invariants:
//! 1. Each start begins a new epoch, said in `quorum-state` before the first record of it.
//! 2. What the image holds is on disk.
//!
//! Not here: later records (`shard/control.rs`), the records (`metadata`).

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_storage::batch::{Batch, UncheckedBatch};
use corelog_storage::checkpoint::{QuorumState, name};
use corelog_storage::disk::{DiskError, LogDir};
use corelog_storage::log::{Log, LogSettings, Open, Origin, Read, Wait};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

use super::directories::{Directories, metadata_directory, random_id};
use crate::config::BrokerConfig;
use crate::metadata::log::{self, Place};
use crate::metadata::{
    Image, MetadataRecord, NodeRegistration, Replay, Restart, SnapshotId, bootstrap, snapshot,
};

/// The folder's topic.
pub(crate) const TOPIC: &str = "__cluster_metadata";

/// The log, ready for shard 0, and what it says.
pub(crate) struct MetadataLog {
    pub(crate) log: Log,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) image: Image,
}

/// Opens the log and makes the node its leader.
pub(crate) fn open(
    config: &BrokerConfig,
    directories: &mut Directories,
) -> anyhow::Result<MetadataLog> {
    let at = metadata_directory(config);
    let directory = &directories.all[at].clone();
    let state = &directories.checkpoints.directories[at];
    let name = TopicPartition {
        topic: TOPIC.into(),
        partition: 0,
    };
    let now = Timestamp(corelog_runtime::wall_clock());
    let settings = Arc::new(LogSettings {
        segment_bytes: u32::try_from(config.metadata_log.segment_bytes).unwrap_or(u32::MAX),
        // Records below a snapshot may go; until snapshots are made, nothing does.
        retention_ms: None,
        retention_bytes: None,
        delete: false,
        ..LogSettings::default()
    });
    let mut log = if state.live.contains(&name) {
        let open = Open {
            recovery_point: state
                .recovery_points
                .get(&name)
                .copied()
                .unwrap_or(Offset::ZERO),
            log_start_offset: state.log_starts.get(&name).copied().unwrap_or(Offset::ZERO),
            high_watermark: Offset::ZERO,
            clean_shutdown: state.clean,
            now,
        };
        let (log, recovered) = Log::open(directory, &name, settings, &open, &mut |_| {})
            .context("the metadata log cannot be opened")?;
        if let Some(cut) = &recovered.cut {
            tracing::warn!(
                "{} was cut at position {}: {}",
                cut.path,
                cut.position,
                cut.why
            );
        }
        log
    } else {
        Log::create(directory, &name, settings, now)
            .context("the metadata log cannot be created")?
    };
    log.set_high_watermark(log.end_offset());
    let (image, open_transaction) = replay(directory, &name, &mut log)?;
    directories.settle(config, &image)?;
    let epoch = win(directory, &name, config.node_id)?;
    log.begin_epoch(epoch);
    let mut writer = Writer {
        log,
        epoch,
        now,
        image,
    };
    let place = writer.place();
    writer.batch(log::leader_change(config.node_id, place)?)?;
    if open_transaction {
        writer.records(&[bootstrap::abort_transaction()])?;
    }
    if writer.image.features().is_empty() {
        writer.records(&bootstrap::empty_cluster())?;
    }
    let node = NodeRegistration {
        node_id: config.node_id,
        incarnation_id: Uuid(random_id().0),
        endpoints: config.advertised.clone(),
        rack: config.rack.clone(),
        log_dirs: directories
            .ids
            .iter()
            .flatten()
            .map(|id| Uuid(id.0))
            .collect(),
    };
    let restart = if directories.clean() {
        Restart::Clean
    } else {
        Restart::Unclean
    };
    let records = bootstrap::start(&writer.image, &node, writer.log.end_offset().0, restart);
    writer.records(&records)?;
    let Writer {
        mut log, mut image, ..
    } = writer;
    log.set_high_watermark(log.end_offset());
    image.set_at(SnapshotId {
        end_offset: log.end_offset().0,
        epoch: epoch.0,
    });
    Ok(MetadataLog { log, epoch, image })
}

/// Appends to the log and to the disk, and keeps the image beside it.
struct Writer {
    log: Log,
    epoch: LeaderEpoch,
    now: Timestamp,
    image: Image,
}

impl Writer {
    fn place(&self) -> Place {
        Place {
            base_offset: self.log.end_offset(),
            epoch: self.epoch,
            now: self.now,
        }
    }

    fn records(&mut self, records: &[MetadataRecord]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut replay = Replay::from(std::mem::take(&mut self.image));
        for record in records {
            replay.record(record.clone())?;
        }
        self.image = replay.finish().image;
        let version = self.image.metadata_version();
        let batch = log::batch(records, version, self.place())?;
        self.batch(batch)
    }

    fn batch(&mut self, batch: Batch) -> anyhow::Result<()> {
        self.log
            .append([batch], Origin::Coordinator, self.epoch, self.now)?;
        while let Some(write) = self.log.take_write() {
            self.log
                .written(write.token, write.run().map_err(DiskError::into_io))?;
        }
        while let Some(sync) = self.log.take_sync() {
            self.log
                .synced(sync.token, sync.run().map_err(DiskError::into_io))?;
        }
        Ok(())
    }
}

/// The image that the newest snapshot and the log behind it give, and whether the log ends within a
/// metadata transaction.
fn replay(
    directory: &LogDir,
    name: &TopicPartition,
    log: &mut Log,
) -> anyhow::Result<(Image, bool)> {
    let folder = name.to_string();
    let snapshots = directory
        .list(&folder)?
        .into_iter()
        .filter_map(|entry| SnapshotId::from_file_name(&entry.name));
    let mut image = Image::default();
    let mut from = Offset::ZERO;
    if let Some(id) = snapshots.max() {
        let path = format!("{folder}/{}", id.file_name());
        let bytes = Bytes::from(directory.read_file(&path)?);
        image = snapshot::read(bytes, id).with_context(|| {
            format!(
                "{} cannot be read; remove it if the log still begins at 0",
                directory.path(&path).display()
            )
        })?;
        from = Offset(id.end_offset);
    }
    anyhow::ensure!(
        from >= log.start_offset(),
        "the metadata log begins at offset {}, and no snapshot holds what was before",
        log.start_offset()
    );
    let mut replay = Replay::from(image);
    while from < log.end_offset() {
        let batches = read(log, from)?;
        let Some(last) = batches.last() else { break };
        let next = last.header().next_offset();
        for batch in &batches {
            replay.batch(batch)?;
        }
        from = next;
    }
    let replayed = replay.finish();
    Ok((replayed.image, replayed.open_transaction))
}

/// Whole batches from `from` on.
fn read(log: &mut Log, from: Offset) -> anyhow::Result<Vec<Batch>> {
    let upper = log.end_offset();
    let mut read = log.read(from, READ_BYTES, upper, true)?;
    if let Read::Locate(job) = read {
        read = log.located(job.run(Wait::Yes)?)?;
    }
    let mut bytes = match read {
        Read::Empty => Bytes::new(),
        Read::Memory { parts, .. } => parts.concat().into(),
        Read::File { file, range } => {
            let size = usize::try_from(range.end - range.start)?;
            file.read_exact_at(size, range.start)?.into()
        }
        Read::Locate(_) => anyhow::bail!("a place in the metadata log cannot be found"),
    };
    let mut batches = Vec::new();
    while let Some(batch) = UncheckedBatch::take(&mut bytes)? {
        batches.push(batch.check()?);
    }
    Ok(batches)
}

/// Begins the next epoch: the only voter votes for itself.
fn win(directory: &LogDir, name: &TopicPartition, node_id: i32) -> anyhow::Result<LeaderEpoch> {
    let path = format!("{name}/{}", name::QUORUM_STATE);
    let before = match directory.read_file(&path) {
        Ok(text) => Some(
            QuorumState::parse(&text)
                .with_context(|| format!("{} is damaged", directory.path(&path).display()))?,
        ),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let epoch = |before: LeaderEpoch| LeaderEpoch(before.0 + 1);
    let (state, epoch) = match before {
        Some(QuorumState::V1 {
            leader_epoch,
            voted_directory_id,
            ..
        }) => {
            let leader_epoch = epoch(leader_epoch);
            let state = QuorumState::V1 {
                leader_id: node_id,
                leader_epoch,
                voted_id: node_id,
                voted_directory_id,
            };
            (state, leader_epoch)
        }
        other => {
            let leader_epoch = match other {
                Some(QuorumState::V0 { leader_epoch, .. }) => epoch(leader_epoch),
                _ => LeaderEpoch(1),
            };
            let state = QuorumState::V0 {
                cluster_id: String::new(),
                leader_id: node_id,
                leader_epoch,
                voted_id: node_id,
                applied_offset: Offset::ZERO,
                current_voters: vec![node_id],
            };
            (state, leader_epoch)
        }
    };
    directory.replace_file(&path, state.print().as_bytes())?;
    Ok(epoch)
}

const READ_BYTES: usize = 1024 * 1024;
