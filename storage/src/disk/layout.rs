//! What lies in a log directory beside the segments: checkpoints, the clean-shutdown marker, partition folders.
//!
//! **Owns** reading and replacing these files through the door. **Lives on** the companion: everything here blocks.
//! **Invariants** 1. A file that is not there is no error; one that cannot be read is, with its path. 2. Every
//! replacement is atomic. 3. A folder that is not ours is named in a sentence, never touched.
//! **Not here** the formats (`checkpoint`), folder names (`segment::name`).

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{DiskError, EntryKind, LogDir};
use crate::checkpoint::{CleanShutdown, MetaProperties, OffsetCheckpoint, PartitionMetadata, name};
use crate::segment::name::{Folder, deleted_folder, folder, parse_folder, stray_folder};
use crate::types::{Offset, TopicPartition};

/// Why a file of a log directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file does not hold what it should.
    #[error("{path} is damaged: {why}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// The folders of a log directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folders {
    /// Partitions, sorted.
    pub live: Vec<TopicPartition>,
    /// Names of folders of deleted partitions: to be removed with [`LogDir::remove_dir`].
    pub deleted: Vec<String>,
    /// Names of folders of partitions on the move: their move begins again.
    pub future: Vec<String>,
    /// Names of folders of partitions that no metadata knows.
    pub stray: Vec<String>,
    /// Sentences about folders that are not ours.
    pub refused: Vec<String>,
}

impl LogDir {
    /// Looks through the directory.
    pub fn folders(&self) -> Result<Folders, DiskError> {
        let mut folders = Folders::default();
        for entry in self.list("")? {
            if entry.kind != EntryKind::Directory {
                continue;
            }
            match parse_folder(&entry.name) {
                Ok(Folder::Live(partition)) => folders.live.push(partition),
                Ok(Folder::Deleted(_)) => folders.deleted.push(entry.name),
                Ok(Folder::Future(_)) => folders.future.push(entry.name),
                Ok(Folder::Stray(_)) => folders.stray.push(entry.name),
                Err(sentence) => {
                    folders
                        .refused
                        .push(format!("{}: {sentence}", self.root().display()));
                }
            }
        }
        folders.live.sort();
        Ok(folders)
    }

    /// Reads one of the checkpoint files that keep an offset per partition (`checkpoint::name`).
    pub fn read_offsets(
        &self,
        file: &str,
    ) -> Result<BTreeMap<TopicPartition, Offset>, LayoutError> {
        // Kafka creates such a file empty, before it has something to say.
        let checkpoint = self.read_with(file, |text| match text {
            [] => Ok(OffsetCheckpoint::default()),
            text => OffsetCheckpoint::parse(text),
        })?;
        Ok(checkpoint
            .map(|checkpoint| checkpoint.entries.into_iter().collect())
            .unwrap_or_default())
    }

    /// Replaces one of them.
    pub fn write_offsets(
        &self,
        file: &str,
        offsets: impl IntoIterator<Item = (TopicPartition, Offset)>,
    ) -> Result<(), DiskError> {
        let checkpoint = OffsetCheckpoint {
            entries: offsets.into_iter().collect(),
        };
        self.replace_file(file, checkpoint.print().as_bytes())
    }

    /// The marker of a clean shutdown, if it is there; removes it durably, so that a crash from now on is seen.
    pub fn take_clean_shutdown(&self) -> Result<Option<CleanShutdown>, LayoutError> {
        let marker = self.read_with(name::CLEAN_SHUTDOWN, CleanShutdown::parse)?;
        if marker.is_some() {
            self.remove_file(name::CLEAN_SHUTDOWN)?;
        }
        // ORDER: also when there is none: a start before this one may have removed it and failed here, and a power cut
        // would bring it back over a log that was written to since.
        self.sync_dir("")?;
        Ok(marker)
    }

    /// Writes the marker, the last thing of a clean shutdown.
    pub fn write_clean_shutdown(&self, marker: CleanShutdown) -> Result<(), DiskError> {
        self.replace_file(name::CLEAN_SHUTDOWN, marker.print().as_bytes())
    }

    /// Whose directory this is.
    pub fn read_meta_properties(&self) -> Result<Option<MetaProperties>, LayoutError> {
        self.read_with(name::META_PROPERTIES, MetaProperties::parse)
    }

    /// Says whose directory this is.
    pub fn write_meta_properties(&self, properties: &MetaProperties) -> Result<(), DiskError> {
        self.replace_file(name::META_PROPERTIES, properties.print().as_bytes())
    }

    /// Which topic the folder of a partition belongs to.
    pub fn read_partition_metadata(
        &self,
        partition: &TopicPartition,
    ) -> Result<Option<PartitionMetadata>, LayoutError> {
        let file = format!("{}/{}", folder(partition), name::PARTITION_METADATA);
        self.read_with(&file, PartitionMetadata::parse)
    }

    /// Says which topic the folder of a partition belongs to.
    pub fn write_partition_metadata(
        &self,
        partition: &TopicPartition,
        metadata: &PartitionMetadata,
    ) -> Result<(), DiskError> {
        let file = format!("{}/{}", folder(partition), name::PARTITION_METADATA);
        self.replace_file(&file, metadata.print().as_bytes())
    }

    /// Renames the folder of a partition so that it counts as deleted; returns the new name, for [`LogDir::remove_dir`]
    /// after `file.delete.delay.ms`. `id` keeps the name unique. Durable with the next `sync_dir("")`.
    pub fn mark_deleted(&self, partition: &TopicPartition, id: u128) -> Result<String, DiskError> {
        let name = deleted_folder(partition, id);
        self.rename(&folder(partition), &name)?;
        Ok(name)
    }

    /// Renames the folder of a partition that no metadata knows, durably; returns the new name.
    pub fn mark_stray(&self, partition: &TopicPartition, id: u128) -> Result<String, DiskError> {
        let name = stray_folder(partition, id);
        self.rename(&folder(partition), &name)?;
        self.sync_dir("")?;
        Ok(name)
    }

    fn read_with<T, E: Display>(
        &self,
        file: &str,
        parse: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<Option<T>, LayoutError> {
        match self.read_file(file) {
            Ok(bytes) => match parse(&bytes) {
                Ok(value) => Ok(Some(value)),
                Err(error) => Err(LayoutError::Malformed {
                    path: self.path(file).display().to_string(),
                    why: error.to_string(),
                }),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
