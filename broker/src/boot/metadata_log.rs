//! The metadata log of a quorum of one, before the shards run.
//!
//! Owns: opening `__cluster_metadata-0`, winning the epoch, registering the node.
//! Lives on: the main thread, which may block.
//! Invariants:
//! 1. Each start begins a new epoch, said in `quorum-state` before the first record of it.
//! 2. What the image holds is on disk.
//!
//! Not here: reading it (`metadata_load.rs`), later records (`shard/control.rs`), the records (`metadata`).

use std::sync::Arc;

use anyhow::Context as _;
use corelog_net::wire::Uuid;
use corelog_storage::batch::Batch;
use corelog_storage::checkpoint::{QuorumState, name};
use corelog_storage::disk::{DiskError, LogDir};
use corelog_storage::log::{Log, LogSettings, Open, Origin};
use corelog_storage::types::{
    DirectoryId, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition,
};

use super::directories::{Directories, metadata_directory, random_id};
use super::{format, metadata_load};
use crate::config::BrokerConfig;
use crate::metadata::features::SUPPORTED;
use crate::metadata::log::{self, Place};
use crate::metadata::{
    Image, MetadataRecord, NodeRegistration, Quorum, Replay, ResourceType, Restart, SnapshotId,
    bootstrap,
};
use crate::shard::snapshots::Written;

/// The folder's topic.
pub(crate) const TOPIC: &str = "__cluster_metadata";

/// The log, ready for shard 0, and what it says.
pub(crate) struct MetadataLog {
    pub(crate) log: Log,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) image: Image,
    /// What is not in a snapshot.
    pub(crate) written: Written,
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
        segment_ms: config.metadata_log.segment_ms,
        // Only what lies below a snapshot goes, see `shard/snapshots.rs`.
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
    let loaded = metadata_load::load(directory, &name, &mut log, now)?;
    let image = loaded.image;
    directories.settle(config, &image)?;
    let (directory, directory_id) = (&directories.all[at], directories.ids[at]);
    let directory_id = directory_id.context("the metadata log's directory has no id")?;
    let epoch = win(directory, &name, config.node_id, directory_id, &image, &log)?;
    log.begin_epoch(epoch);
    // What stands only in the file that `format` made goes into the log as well.
    let unsaid = if log.end_offset() == Offset::ZERO {
        image.quorum().to_records()?
    } else {
        Vec::new()
    };
    let mut writer = Writer {
        log,
        epoch,
        now,
        image,
        written: loaded.written,
    };
    let place = writer.place();
    let change = log::leader_change(config.node_id, unsaid, place)?;
    writer.batch(change)?;
    if loaded.open_transaction {
        writer.records(&[bootstrap::abort_transaction()])?;
    }
    if writer.image.features().is_empty() {
        let decided = format::decided(directory)?.unwrap_or_else(bootstrap::features);
        writer.records(&bootstrap::empty_cluster(decided))?;
    }
    check_features(&writer.image)?;
    let live = config.with_dynamic(
        writer
            .image
            .config(ResourceType::Broker, &config.node_id.to_string()),
        writer.image.config(ResourceType::Broker, ""),
    );
    let cordoned = (0..directories.ids.len()).filter(|at| live.is_cordoned(*at));
    let node = NodeRegistration {
        cordoned_log_dirs: cordoned
            .filter_map(|at| directories.ids[at])
            .map(|id| Uuid(id.0))
            .collect(),
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
    for batch in records.chunks(bootstrap::RECORDS_PER_BATCH) {
        writer.records(batch)?;
    }
    let Writer {
        mut log,
        mut image,
        written,
        ..
    } = writer;
    log.set_high_watermark(log.end_offset());
    image.set_at(SnapshotId {
        end_offset: log.end_offset().0,
        epoch: epoch.0,
    });
    Ok(MetadataLog {
        log,
        epoch,
        image,
        written,
    })
}

/// Appends to the log and to the disk, and keeps the image beside it.
struct Writer {
    log: Log,
    epoch: LeaderEpoch,
    now: Timestamp,
    image: Image,
    written: Written,
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
        self.written.bytes += batch.header().size() as u64;
        self.written.last_timestamp = self.now;
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

/// Begins the next epoch: the only voter votes for itself.
fn win(
    directory: &LogDir,
    name: &TopicPartition,
    node_id: i32,
    directory_id: DirectoryId,
    image: &Image,
    log: &Log,
) -> anyhow::Result<LeaderEpoch> {
    let path = format!("{name}/{}", name::QUORUM_STATE);
    let file = directory.path(&path);
    let before = match directory.read_file(&path) {
        Ok(text) => Some(
            QuorumState::parse(&text).with_context(|| format!("{} is damaged", file.display()))?,
        ),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    let dynamic = image.quorum().kraft_version > 0;
    let said = match &before {
        Some(QuorumState::V0 {
            leader_epoch,
            current_voters,
            ..
        }) => {
            let alone = dynamic || current_voters.iter().all(|voter| *voter == node_id);
            anyhow::ensure!(
                alone,
                "{} names the voters {current_voters:?} and this broker can only be a quorum of its own; \
                 if the others are gone for good, remove that file",
                file.display()
            );
            leader_epoch.0
        }
        Some(QuorumState::V1 { leader_epoch, .. }) => leader_epoch.0,
        None => 0,
    };
    if dynamic {
        alone(image.quorum(), node_id, directory_id)?;
    }
    let logged = log.epochs().latest().map_or(0, |entry| entry.epoch.0);
    let leader_epoch = LeaderEpoch(said.max(logged).max(image.at().epoch) + 1);
    let state = if dynamic {
        QuorumState::V1 {
            leader_id: node_id,
            leader_epoch,
            voted_id: node_id,
            voted_directory_id: directory_id,
        }
    } else {
        QuorumState::V0 {
            cluster_id: String::new(),
            leader_id: node_id,
            leader_epoch,
            voted_id: node_id,
            applied_offset: Offset::ZERO,
            current_voters: vec![node_id],
        }
    };
    directory.replace_file(&path, state.print().as_bytes())?;
    Ok(leader_epoch)
}

/// Refuses a cluster whose records and APIs this release does not know.
fn check_features(image: &Image) -> anyhow::Result<()> {
    for (name, level) in image.features() {
        let known = SUPPORTED.iter().find(|feature| feature.name == *name);
        let (min, max) = known.map_or((0, 0), |feature| (feature.min, feature.max));
        anyhow::ensure!(
            (min..=max).contains(level),
            "the cluster runs {name} {level}, and this release knows {min} to {max}: start it with the \
             release that raised it"
        );
    }
    Ok(())
}

/// Refuses a quorum in which this node is not the only voter.
fn alone(quorum: &Quorum, node_id: i32, directory_id: DirectoryId) -> anyhow::Result<()> {
    let voters: Vec<i32> = quorum.voters().iter().map(|voter| voter.voter_id).collect();
    anyhow::ensure!(
        voters == [node_id],
        "the metadata log names the voters {voters:?} and this broker can only be a quorum of its own: \
         remove the others with kafka-metadata-quorum while they run"
    );
    let known = TopicId(quorum.voters()[0].voter_directory_id.0);
    anyhow::ensure!(
        known == directory_id,
        "the metadata log knows node {node_id} by the directory.id {known}, and this directory has \
         {directory_id}: put the first into its meta.properties"
    );
    Ok(())
}
