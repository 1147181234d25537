//! The log directories at start and stop.
//!
//! Owns: their locks, `meta.properties`, the checkpoint files, the clean-shutdown marker.
//! Lives on: the main thread at start, a companion later.
//! Invariants:
//! 1. All directories belong to one node of one cluster, or the broker does not start. One whose disk fails is left
//!    out of this run, with all that lies in it.
//! 2. An empty directory is not taken for a new disk while one of the node's directories is missing: it may be the
//!    mount point of a disk that is not mounted.
//! 3. A recovery point is written only for what is on disk.
//!
//! Not here: the files' formats (`corelog_storage::checkpoint`), the logs (`shard/logs.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use corelog_net::wire::Uuid;
use corelog_storage::checkpoint::{
    CleanShutdown, MetaProperties, OffsetCheckpoint, PartitionMetadata, name,
};
use corelog_storage::disk::{DiskError, LayoutError, Lock, LogDir};
use corelog_storage::segment::name::{Folder, parse_folder};
use corelog_storage::types::{Offset, TopicId, TopicPartition};

use super::format;
use super::metadata_log::TOPIC as METADATA_TOPIC;
use crate::config::BrokerConfig;
use crate::metadata::Image;
use crate::metadata::image::is_reserved;
use crate::shard::LogOffsets;
use crate::shard::disks::Disks;
use crate::shard::logs::{Checkpoints, DirectoryState};

/// The log directories, locked and checked.
#[derive(Clone)]
pub(crate) struct Directories {
    pub(crate) all: Arc<[LogDir]>,
    pub(crate) cluster_id: Arc<str>,
    /// The id of each directory; `None` when it is not in use.
    pub(crate) ids: Arc<[Option<TopicId>]>,
    /// Why a directory is not in use.
    pub(crate) offline: Arc<[Option<String>]>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    _locks: Arc<[Option<Lock>]>,
}

/// One directory at start.
struct Found {
    directory: LogDir,
    usable: Result<Usable, String>,
}

struct Usable {
    lock: Lock,
    /// `None`: it has no `meta.properties` yet.
    properties: Option<MetaProperties>,
}

/// Why a directory is not used.
enum Fault {
    /// Its disk fails: only what lies in it is concerned.
    Disk(String),
    /// It is not this broker's, or not as it should be: nothing may be written before that is cleared up.
    Refused(anyhow::Error),
}

impl Directories {
    /// Opens, locks and reads every directory. One whose disk fails is left out; the one of the metadata log must
    /// not fail. Directories of a node that starts for the first time get their `meta.properties`.
    pub(crate) fn open(config: &BrokerConfig) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for path in &config.log_dirs {
            found.push(find(path, config)?);
        }
        let cluster_id = cluster_id(&found)?;
        let known = cluster_id.is_some();
        let cluster_id: Arc<str> = cluster_id.unwrap_or_else(|| random_id().to_string()).into();
        let mut directories = Self {
            all: found.iter().map(|one| one.directory.clone()).collect(),
            ids: vec![None; found.len()].into(),
            offline: found
                .iter()
                .map(|one| one.usable.as_ref().err().cloned())
                .collect(),
            checkpoints: Arc::default(),
            cluster_id,
            _locks: Arc::default(),
        };
        let metadata = metadata_directory(config);
        let mut locks = Vec::new();
        let mut ids = vec![None; found.len()];
        for (at, one) in found.into_iter().enumerate() {
            let Ok(usable) = one.usable else {
                locks.push(None);
                continue;
            };
            locks.push(Some(usable.lock));
            match usable.properties {
                Some(MetaProperties {
                    directory_id: Some(id),
                    ..
                }) => ids[at] = Some(id),
                None if known && at == metadata => anyhow::bail!(
                    "log directory {} is to hold the metadata log and has no meta.properties, but others belong to \
                     cluster {}: is its disk mounted?",
                    one.directory.root().display(),
                    directories.cluster_id
                ),
                // What it is to be follows from the metadata: see `settle`.
                None if known => {}
                properties => ids[at] = Some(directories.format(config, at, properties)?),
            }
        }
        if let Some(why) = &directories.offline[metadata] {
            anyhow::bail!("the metadata log cannot be read: {why}");
        }
        directories.ids = ids.into();
        let mut states = Vec::new();
        for at in 0..directories.all.len() {
            states.push(directories.state(at, metadata)?);
        }
        directories.checkpoints = Arc::new(Checkpoints {
            directories: states,
            ..Checkpoints::default()
        });
        Ok(Self {
            _locks: locks.into(),
            ..directories
        })
    }

    /// Gives a directory its `meta.properties`; its id.
    fn format(
        &self,
        config: &BrokerConfig,
        at: usize,
        before: Option<MetaProperties>,
    ) -> anyhow::Result<TopicId> {
        let id = random_id();
        if before.is_none() {
            format::bootstrap(&self.all[at])?;
            // One without `meta.properties` holds the metadata log of a new cluster alone.
            if at == metadata_directory(config) && config.metadata_log.dynamic_quorum {
                format::standalone(config, &self.all[at], id)?;
            }
        }
        let properties = MetaProperties {
            cluster_id: self.cluster_id.to_string(),
            node_id: config.node_id,
            directory_id: Some(id),
            date: None,
            others: before.map(|one| one.others).unwrap_or_default(),
        };
        let directory = &self.all[at];
        directory.write_meta_properties(&properties)?;
        tracing::info!("log directory {} is formatted", directory.root().display());
        Ok(id)
    }

    /// What lies in a directory.
    fn state(&mut self, at: usize, metadata: usize) -> anyhow::Result<DirectoryState> {
        if self.offline[at].is_some() {
            return Ok(DirectoryState::default());
        }
        let directory = &self.all[at];
        match state(directory) {
            Ok(state) => {
                tracing::info!(
                    "log directory {} partitions={} {}",
                    directory.root().display(),
                    state.live.len(),
                    if state.clean {
                        "clean"
                    } else {
                        "not shut down cleanly, or new"
                    }
                );
                Ok(state)
            }
            Err(error) if at == metadata => {
                Err(anyhow::Error::from(error).context("the metadata log cannot be read"))
            }
            Err(error) => {
                self.leave(at, error.to_string());
                Ok(DirectoryState::default())
            }
        }
    }

    /// The directory is not used in this run.
    fn leave(&mut self, at: usize, why: String) {
        tracing::error!(
            "log directory {} is offline: {why}",
            self.all[at].root().display()
        );
        let mut offline = self.offline.to_vec();
        offline[at] = Some(why);
        self.offline = offline.into();
        let mut ids = self.ids.to_vec();
        ids[at] = None;
        self.ids = ids.into();
    }

    /// Compares what is on the disks with the metadata, before the node registers: empty directories are formatted
    /// or left alone, folders that no topic claims are set aside, partitions found twice are noted.
    pub(crate) fn settle(&mut self, config: &BrokerConfig, image: &Image) -> anyhow::Result<()> {
        let missing = self.missing(config, image);
        for at in 0..self.all.len() {
            if self.ids[at].is_some() || self.offline[at].is_some() {
                continue;
            }
            if let Some((id, partitions)) = missing.iter().next() {
                let why = format!(
                    "it is empty, and directory id {id} of this node with {partitions} partitions is not found: if its \
                     disk is not mounted, mount it and start again; if the disk is new, give it a meta.properties \
                     (kafka-storage format) and start again"
                );
                self.leave(at, why);
                continue;
            }
            let id = self.format(config, at, None)?;
            let mut ids = self.ids.to_vec();
            ids[at] = Some(id);
            self.ids = ids.into();
        }
        let mut checkpoints = std::mem::take(&mut self.checkpoints);
        let found = Arc::get_mut(&mut checkpoints).expect("nobody shares it before the start");
        for (directory, state) in self.all.iter().zip(&mut found.directories) {
            let claimed = |name: &TopicPartition| is_claimed(name, image);
            set_aside(directory, state, claimed)?;
        }
        self.resolve_moves(found, image)?;
        // Only where a partition lies twice is it asked whether one is of an older topic of this name.
        let twice = found.found_twice();
        for (directory, state) in self.all.iter().zip(&mut found.directories) {
            let claimed = |name: &TopicPartition| {
                !twice.contains(name) || is_of_this_topic(directory, name, image)
            };
            set_aside(directory, state, claimed)?;
        }
        found.note_twice(&self.all);
        self.checkpoints = checkpoints;
        Ok(())
    }

    /// Ends what a crash left of moves: a copy without its original is the partition, one beside its original is
    /// begun again; an original that lost its name to a copy that is not there gets it back. Other folders without
    /// a name are removed.
    fn resolve_moves(&self, found: &mut Checkpoints, image: &Image) -> Result<(), DiskError> {
        let mut live: BTreeSet<TopicPartition> = found
            .directories
            .iter()
            .flat_map(|state| state.live.iter().cloned())
            .collect();
        let all_online = self.offline.iter().all(Option::is_none);
        for (at, directory) in self.all.iter().enumerate() {
            let state = &mut found.directories[at];
            for folder in std::mem::take(&mut state.future) {
                let Ok(Folder::Future(name)) = parse_folder(&folder) else {
                    continue;
                };
                let path = directory.path(&folder);
                if !is_claimed(&name, image) {
                    directory.remove_dir(&folder)?;
                } else if live.contains(&name) {
                    directory.remove_dir(&folder)?;
                    found.moves.push((name, at));
                } else if !all_online {
                    // Its original may lie in the directory that is not at hand.
                    tracing::warn!(
                        "partition={name} {} may be a part of a copy: it is looked at again when all log directories \
                         are there",
                        path.display()
                    );
                } else if is_whole(directory, &folder, &name, image) {
                    // ORDER: that the original lost its name is durable before the copy has it: the process may have
                    // ended between that renaming and its sync, and a power cut would bring the original back.
                    for other in self.all.iter() {
                        other.sync_dir("")?;
                    }
                    directory.rename(&folder, &name.to_string())?;
                    directory.sync_dir("")?;
                    tracing::warn!(
                        "partition={name} its move had ended but for the name: {} is the partition now",
                        path.display()
                    );
                    live.insert(name.clone());
                    state.live.push(name);
                    state.live.sort();
                } else {
                    tracing::warn!(
                        "partition={name} {} is a part of a copy whose original is gone: it is left as it is",
                        path.display()
                    );
                }
            }
        }
        for (directory, state) in self.all.iter().zip(&mut found.directories) {
            for folder in std::mem::take(&mut state.deleted) {
                // Two renamings of one move: the second one failed, and so did taking back the first. While a directory
                // is not at hand nobody can tell.
                if let Ok(Folder::Deleted(name)) = parse_folder(&folder)
                    && is_claimed(&name, image)
                    && !live.contains(&name)
                    && is_whole(directory, &folder, &name, image)
                {
                    if !all_online {
                        continue;
                    }
                    directory.rename(&folder, &name.to_string())?;
                    directory.sync_dir("")?;
                    live.insert(name.clone());
                    state.live.push(name);
                    state.live.sort();
                } else {
                    directory.remove_dir(&folder)?;
                }
            }
        }
        Ok(())
    }

    /// Directory ids that the metadata gives to this node and no directory has, with the number of their partitions.
    fn missing(&self, config: &BrokerConfig, image: &Image) -> BTreeMap<Uuid, usize> {
        let node = config.node_id;
        let mut missing = BTreeMap::new();
        if let Some(broker) = image.broker(node) {
            missing.extend(broker.registration.log_dirs.iter().map(|id| (*id, 0)));
        }
        for topic in image.topics() {
            for (_, partition) in topic.numbered() {
                if let Some(id) = partition.directory(node) {
                    *missing.entry(id).or_insert(0) += 1;
                }
            }
        }
        let known: BTreeSet<Uuid> = self.ids.iter().flatten().map(|id| Uuid(id.0)).collect();
        missing.retain(|id, _| !known.contains(id) && !is_reserved(*id));
        missing
    }

    /// Did the last stop leave every directory clean?
    pub(crate) fn clean(&self) -> bool {
        let used = self.checkpoints.directories.iter().zip(&*self.ids);
        used.filter(|(_, id)| id.is_some())
            .all(|(state, _)| state.clean)
    }

    /// Writes the checkpoint files; where that was not possible, and why. A directory that fails does not keep the others
    /// from theirs.
    pub(crate) fn checkpoint(
        &self,
        offsets: &[LogOffsets],
        disks: &Disks,
    ) -> Vec<(usize, DiskError)> {
        let usable = self.all.iter().enumerate();
        usable
            .filter(|(at, _)| !disks.is_offline(*at))
            .filter_map(|(at, directory)| {
                let failed = checkpoint_one(directory, at, offsets).err()?;
                Some((at, failed))
            })
            .collect()
    }

    /// The same, first after recovery. Where the disk is full the old recovery points go: they may name what a crash took,
    /// and the next start scans more instead.
    pub(crate) fn checkpoint_recovered(
        &self,
        offsets: &[LogOffsets],
        disks: &Disks,
    ) -> Vec<(usize, DiskError)> {
        let forget = |(at, error): (usize, DiskError)| {
            if !error.is_full() {
                return (at, error);
            }
            let directory = &self.all[at];
            let gone = directory
                .remove_file(name::RECOVERY_POINTS)
                .and_then(|()| directory.sync_dir(""));
            (at, gone.err().unwrap_or(error))
        };
        let failed = self.checkpoint(offsets, disks);
        failed.into_iter().map(forget).collect()
    }

    /// Writes the checkpoint files and, last, the markers of a clean stop.
    pub(crate) fn close(
        &self,
        offsets: &[LogOffsets],
        broker_epoch: i64,
        disks: &Disks,
    ) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for (at, directory) in self.all.iter().enumerate() {
            if disks.is_offline(at) {
                tracing::warn!(
                    "log directory {} failed; what lies in it is recovered when it is back",
                    directory.root().display()
                );
                continue;
            }
            if let Err(error) = close_one(directory, at, offsets, broker_epoch) {
                let path = directory.root().display();
                tracing::error!("log directory {path} is not closed cleanly: {error}");
                outcome = outcome.and(Err(error.into()));
            }
        }
        outcome
    }
}

/// Which directory holds the metadata log.
pub(crate) fn metadata_directory(config: &BrokerConfig) -> usize {
    let at = |path: &String| *path == config.metadata_log_dir;
    config.log_dirs.iter().position(at).unwrap_or(0)
}

/// Opens, locks and reads one directory.
fn find(path: &str, config: &BrokerConfig) -> anyhow::Result<Found> {
    let (directory, usable) = match LogDir::open(path) {
        Ok(directory) => {
            let usable = take(&directory, config);
            (directory, usable)
        }
        Err(error) => (LogDir::at(path), Err(Fault::Disk(error.to_string()))),
    };
    let usable = match usable {
        Ok(usable) => Ok(usable),
        Err(Fault::Refused(error)) => return Err(error),
        Err(Fault::Disk(why)) => {
            tracing::error!("log directory {path} is offline: {why}");
            Err(why)
        }
    };
    Ok(Found { directory, usable })
}

fn take(directory: &LogDir, config: &BrokerConfig) -> Result<Usable, Fault> {
    let failed = |error: DiskError| Fault::Disk(error.to_string());
    let path = directory.root().display();
    if directory.look().map_err(failed)?.read_only {
        return Err(Fault::Disk("its file system is read-only".to_owned()));
    }
    let lock = directory
        .lock()
        .map_err(|error| match error.source.kind() {
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::PermissionDenied => {
                let sentence = format!(
                    "log directory {path} cannot be locked: is another broker running on it?"
                );
                Fault::Refused(anyhow::Error::new(error).context(sentence))
            }
            _ => failed(error),
        })?;
    let properties = directory
        .read_meta_properties()
        .map_err(|error| match error {
            LayoutError::Disk(error) => failed(error),
            LayoutError::Malformed { .. } => Fault::Refused(error.into()),
        })?;
    if let Some(properties) = &properties
        && properties.node_id != config.node_id
    {
        return Err(Fault::Refused(anyhow::anyhow!(
            "log directory {path} belongs to node.id {}, this is node.id {}: set node.id={0} or name another directory",
            properties.node_id,
            config.node_id
        )));
    }
    Ok(Usable { lock, properties })
}

/// The cluster that the directories belong to: one, or the start is refused.
fn cluster_id(found: &[Found]) -> anyhow::Result<Option<String>> {
    let mut known: Option<(&str, &LogDir)> = None;
    for one in found {
        let properties = one
            .usable
            .as_ref()
            .ok()
            .and_then(|one| one.properties.as_ref());
        let Some(properties) = properties else {
            continue;
        };
        let (id, directory) = *known.get_or_insert((&properties.cluster_id, &one.directory));
        anyhow::ensure!(
            id == properties.cluster_id,
            "the log directories belong to different clusters: {} to {id}, {} to {}; take the one that is not this \
             broker's out of log.dirs",
            directory.root().display(),
            one.directory.root().display(),
            properties.cluster_id
        );
    }
    Ok(known.map(|(id, _)| id.to_owned()))
}

fn checkpoint_one(directory: &LogDir, at: usize, offsets: &[LogOffsets]) -> Result<(), DiskError> {
    // What left a moment ago stays until the directory it lies in has said so.
    let is_here = move |one: &&LogOffsets| one.directory == at || one.left == Some(at);
    let here = || offsets.iter().filter(is_here);
    let of = |offset: fn(&LogOffsets) -> Offset| -> Vec<(TopicPartition, Offset)> {
        here().map(|one| (one.name.clone(), offset(one))).collect()
    };
    let moved = here().filter(|one| one.log_start_offset > Offset::ZERO);
    let starts: Vec<_> = moved
        .map(|one| (one.name.clone(), one.log_start_offset))
        .collect();
    let cleaned = here().filter_map(|one| Some((one.name.clone(), one.cleaned?)));
    let print = |entries| OffsetCheckpoint { entries }.print();
    directory.replace_files(
        "",
        &[
            (name::RECOVERY_POINTS, print(of(|one| one.recovery_point))),
            (name::HIGH_WATERMARKS, print(of(|one| one.high_watermark))),
            (name::LOG_STARTS, print(starts)),
            (name::CLEANED, print(cleaned.collect())),
        ],
    )
}

fn close_one(
    directory: &LogDir,
    at: usize,
    offsets: &[LogOffsets],
    broker_epoch: i64,
) -> Result<(), DiskError> {
    checkpoint_one(directory, at, offsets)?;
    let closed: BTreeSet<_> = offsets
        .iter()
        .filter(|one| one.directory == at)
        .map(|one| &one.name)
        .collect();
    let live = directory.folders()?.live;
    let open = live.iter().filter(|name| !closed.contains(name)).count();
    if open > 0 {
        tracing::warn!(
            "log directory {}: {open} partitions did not close; they are recovered at the next start",
            directory.root().display()
        );
        return Ok(());
    }
    directory.write_clean_shutdown(CleanShutdown { broker_epoch })
}

fn state(directory: &LogDir) -> Result<DirectoryState, DiskError> {
    let folders = directory.folders()?;
    for sentence in &folders.refused {
        tracing::warn!("{sentence}");
    }
    let clean = match directory.take_clean_shutdown() {
        Ok(marker) => marker.is_some(),
        Err(LayoutError::Disk(error)) => return Err(error),
        Err(error) => {
            tracing::warn!("{error}: taken for a crash");
            directory.remove_file(name::CLEAN_SHUTDOWN)?;
            false
        }
    };
    Ok(DirectoryState {
        clean,
        live: folders.live,
        future: folders.future,
        deleted: folders.deleted,
        recovery_points: offsets(directory, name::RECOVERY_POINTS)?,
        log_starts: offsets(directory, name::LOG_STARTS)?,
        high_watermarks: offsets(directory, name::HIGH_WATERMARKS)?,
        cleaned: offsets(directory, name::CLEANED)?,
    })
}

/// A checkpoint file; one that is damaged says nothing, so that more is scanned.
fn offsets(directory: &LogDir, file: &str) -> Result<BTreeMap<TopicPartition, Offset>, DiskError> {
    match directory.read_offsets(file) {
        Ok(offsets) => Ok(offsets),
        Err(LayoutError::Disk(error)) => Err(error),
        Err(error) => {
            tracing::warn!("{error}: it is not used");
            Ok(BTreeMap::new())
        }
    }
}

/// Folders that no topic claims: their topic was deleted while the directory was offline. They are renamed and kept.
fn set_aside(
    directory: &LogDir,
    state: &mut DirectoryState,
    claimed: impl Fn(&TopicPartition) -> bool,
) -> Result<(), DiskError> {
    let (live, strays): (Vec<_>, Vec<_>) = std::mem::take(&mut state.live)
        .into_iter()
        .partition(claimed);
    state.live = live;
    for name in strays {
        let folder = directory.mark_stray(&name, u128::from_be_bytes(random_id().0))?;
        tracing::warn!(
            "partition={name} in {} belongs to no topic: its folder is now {folder}; remove it when nobody needs it",
            directory.root().display()
        );
    }
    Ok(())
}

/// Whether a folder under another name is a whole log of the topic that the metadata has: `partition.metadata` is the
/// last that a copy gets.
fn is_whole(directory: &LogDir, folder: &str, name: &TopicPartition, image: &Image) -> bool {
    let path = format!("{folder}/{}", name::PARTITION_METADATA);
    let Some(topic) = image.topic(&name.topic) else {
        return false;
    };
    let found = directory.read_file(&path).ok();
    let found = found.and_then(|bytes| PartitionMetadata::parse(&bytes).ok());
    found.is_some_and(|found| found.topic_id.0 == topic.id.0)
}

/// Whether the metadata has a partition of this name.
fn is_claimed(name: &TopicPartition, image: &Image) -> bool {
    *name.topic == *METADATA_TOPIC
        || image
            .topic(&name.topic)
            .is_some_and(|topic| topic.partition(name.partition).is_some())
}

/// Whether a folder is of the topic that has its name now. One that does not say is.
fn is_of_this_topic(directory: &LogDir, name: &TopicPartition, image: &Image) -> bool {
    match (
        directory.read_partition_metadata(name),
        image.topic(&name.topic),
    ) {
        (Ok(Some(found)), Some(topic)) => found.topic_id.0 == topic.id.0,
        _ => true,
    }
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
