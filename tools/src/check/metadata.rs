//! **Owns** what the metadata log of the checked directories says of topics: ids, compaction, where partitions belong.
//! **Lives on** the command's thread, before the partitions are shared out.
//! **Invariants** (1) A record that cannot be read is passed over: the log itself is checked as a partition.
//! **Not here** the image of a broker (`broker`).

use std::collections::BTreeMap;

use bytes::Bytes;
use corelog_net::wire::records::{
    ConfigRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use corelog_net::wire::{Cursor, Message, Record, Uuid};
use corelog_storage::disk::{LogDir, Mode};
use corelog_storage::limits::INFLATED_BYTES_MAX;
use corelog_storage::segment::name::{self, Content, Fate};
use corelog_storage::segment::reader::{Found, Reader};
use corelog_storage::types::{TopicId, TopicPartition};

use super::directory::Directory;
use super::{Finding, Severity};

/// Name of the topic.
pub(super) const TOPIC: &str = "__cluster_metadata";

/// What the metadata says of a topic.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) compacted: bool,
}

/// Topics and the places of partitions.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    names: BTreeMap<Uuid, String>,
    cleanup: BTreeMap<String, String>,
    /// Topic and partition → replicas with their directories.
    places: BTreeMap<(Uuid, i32), Vec<(i32, Uuid)>>,
    /// The folder it was read from.
    read_from: String,
}

/// Reads the metadata log of the first directory that has one.
pub(super) fn read(directories: &[Directory], findings: &mut Vec<Finding>) -> Option<Metadata> {
    let partition = TopicPartition::new(TOPIC, 0);
    let directory = directories
        .iter()
        .find(|directory| directory.partitions.contains(&partition))?;
    let folder = name::folder(&partition);
    let mut metadata = Metadata {
        read_from: directory.dir.path(&folder).display().to_string(),
        ..Metadata::default()
    };
    if metadata.load(&directory.dir, &folder).is_none() {
        findings.push(Finding {
            severity: Severity::Warning,
            path: metadata.read_from.clone(),
            position: None,
            what: "the metadata log could not be read to its end".into(),
            means: "topic ids and places of partitions are not compared".into(),
            remedy: "see what is told of its files".into(),
        });
        return None;
    }
    Some(metadata)
}

impl Metadata {
    /// What is known of a partition's topic.
    pub(super) fn topic(&self, partition: &TopicPartition) -> Option<Topic> {
        let name: &str = &partition.topic;
        if name == TOPIC {
            return Some(Topic {
                id: TopicId(Uuid::ONE.0),
                compacted: false,
            });
        }
        let (id, _) = self.names.iter().find(|(_, known)| *known == name)?;
        let policy = self.cleanup.get(name);
        Some(Topic {
            id: TopicId(id.0),
            // Internal topics are compacted; a broker's own default is not known here and rarely `compact`.
            compacted: policy.map_or(name.starts_with("__"), |policy| policy.contains("compact")),
        })
    }

    /// Partitions that should be in these directories, and folders that no topic has.
    pub(super) fn compare(&self, directories: &[Directory], findings: &mut Vec<Finding>) {
        for directory in directories {
            let Some(properties) = &directory.properties else {
                continue;
            };
            let path = |folder: &str| directory.dir.path(folder).display().to_string();
            for partition in &directory.partitions {
                if self.topic(partition).is_none() {
                    findings.push(Finding {
                        severity: Severity::Warning,
                        path: path(&name::folder(partition)),
                        position: None,
                        what: format!("the metadata log has no topic {}", partition.topic),
                        means: "the topic was deleted, or the folder was put here".into(),
                        remedy: "nothing: the broker sets it aside as -stray at its next start"
                            .into(),
                    });
                }
            }
            let Some(own) = properties.directory_id else {
                continue;
            };
            for ((topic, partition), replicas) in &self.places {
                let Some(name) = self.names.get(topic) else {
                    continue;
                };
                let wanted = TopicPartition::new(name.as_str(), *partition);
                let here = replicas.contains(&(properties.node_id, Uuid(own.0)));
                if here && !directory.partitions.contains(&wanted) {
                    findings.push(Finding {
                        severity: Severity::Damage,
                        path: path(&name::folder(&wanted)),
                        position: None,
                        what: "the metadata log places this partition here, and there is no such folder".into(),
                        means: "its records are not here: at its next start the broker begins an empty one".into(),
                        remedy: "restore the folder from a backup, or let it be filled from another replica".into(),
                    });
                }
            }
        }
    }

    /// The newest snapshot, then the log behind it. `None` when the disk fails or a file is damaged.
    fn load(&mut self, dir: &LogDir, folder: &str) -> Option<()> {
        let entries = dir.list(folder).ok()?;
        let snapshots = entries
            .iter()
            .filter(|entry| entry.name.ends_with(".checkpoint"));
        let snapshot = snapshots.max_by(|a, b| a.name.cmp(&b.name));
        if let Some(snapshot) = snapshot {
            self.load_file(dir, &format!("{folder}/{}", snapshot.name))?;
        }
        let mut bases: Vec<_> = entries
            .iter()
            .filter_map(|entry| match name::parse_file(&entry.name) {
                Some((base, Content::Log, Fate::Live)) => Some(base),
                _ => None,
            })
            .collect();
        bases.sort_unstable();
        // Records of the log that the snapshot has already change nothing when they are taken in again, in order.
        for base in bases {
            self.load_file(dir, &format!("{folder}/{}", name::file(base, Content::Log)))?;
        }
        Some(())
    }

    fn load_file(&mut self, dir: &LogDir, name: &str) -> Option<()> {
        let file = dir.open_file(name, Mode::Read).ok()?;
        let mut reader = Reader::new(&file, u64::MAX).ok()?;
        let mut position = 0;
        while position < reader.end() {
            let Ok(Found::Batch(batch)) = reader.batch(position) else {
                // A torn end is no reason to know nothing.
                return (position > 0).then_some(());
            };
            let batch = batch.check().ok()?;
            position += batch.size() as u64;
            if batch.header().attributes.is_control() {
                continue;
            }
            let payload = batch.open(INFLATED_BYTES_MAX).ok()?;
            for record in payload.records() {
                let value = record.ok()?.value.unwrap_or_default();
                self.take(&payload.data().slice_ref(value));
            }
        }
        Some(())
    }

    fn take(&mut self, value: &Bytes) {
        let mut cursor = Cursor::new(value);
        let (Ok(1), Ok(kind), Ok(version)) = (cursor.varint(), cursor.varint(), cursor.varint())
        else {
            return;
        };
        let rest = value.slice_ref(cursor.rest());
        let (Ok(kind), Ok(version)) = (i16::try_from(kind), i16::try_from(version)) else {
            return;
        };
        match kind {
            TopicRecord::RECORD_TYPE => {
                if let Ok(topic) = TopicRecord::from_bytes(&rest, version) {
                    self.names.insert(topic.topic_id, topic.name);
                }
            }
            RemoveTopicRecord::RECORD_TYPE => {
                if let Ok(removed) = RemoveTopicRecord::from_bytes(&rest, version) {
                    let name = self.names.remove(&removed.topic_id);
                    name.map(|name| self.cleanup.remove(&name));
                    self.places
                        .retain(|(topic, _), _| *topic != removed.topic_id);
                }
            }
            PartitionRecord::RECORD_TYPE => {
                if let Ok(partition) = PartitionRecord::from_bytes(&rest, version) {
                    let place = (partition.topic_id, partition.partition_id);
                    let replicas = partition.replicas.into_iter();
                    self.places
                        .insert(place, replicas.zip(partition.directories).collect());
                }
            }
            PartitionChangeRecord::RECORD_TYPE => {
                if let Ok(change) = PartitionChangeRecord::from_bytes(&rest, version)
                    && let Some(place) =
                        self.places.get_mut(&(change.topic_id, change.partition_id))
                {
                    let replicas = change
                        .replicas
                        .unwrap_or_else(|| place.iter().map(|(replica, _)| *replica).collect());
                    if let Some(directories) = change.directories {
                        *place = replicas.into_iter().zip(directories).collect();
                    }
                }
            }
            ConfigRecord::RECORD_TYPE => {
                if let Ok(config) = ConfigRecord::from_bytes(&rest, version)
                    && config.resource_type == RESOURCE_TOPIC
                    && config.name == "cleanup.policy"
                {
                    match config.value {
                        Some(policy) => self.cleanup.insert(config.resource_name, policy),
                        None => self.cleanup.remove(&config.resource_name),
                    };
                }
            }
            _ => {}
        }
    }
}

/// A topic, in a config record.
const RESOURCE_TOPIC: i8 = 2;
