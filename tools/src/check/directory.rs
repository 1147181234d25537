//! **Owns** what lies in a log directory beside the partitions, and which partitions there are to check.
//! **Lives on** the command's thread, before the partitions are shared out.
//! **Invariants** (1) A malformed file is a finding, and counts as empty from there on.
//! **Not here** the folders' contents (`partition`).

use std::collections::BTreeMap;

use corelog_storage::checkpoint::{MetaProperties, name};
use corelog_storage::disk::{EntryKind, LayoutError, LogDir};
use corelog_storage::segment::name::{Folder, folder, parse_file, parse_folder};
use corelog_storage::types::{Offset, TopicPartition};

use super::metadata::Metadata;
use super::partition::Job;
use super::{CheckError, Finding, Plan, Severity};

/// A log directory.
pub(super) struct Directory {
    pub(super) dir: LogDir,
    /// The broker stopped in order.
    pub(super) clean: bool,
    pub(super) properties: Option<MetaProperties>,
    pub(super) recovery_points: BTreeMap<TopicPartition, Offset>,
    pub(super) high_watermarks: BTreeMap<TopicPartition, Offset>,
    pub(super) log_starts: BTreeMap<TopicPartition, Offset>,
    pub(super) partitions: Vec<TopicPartition>,
}

impl Directory {
    pub(super) fn read(dir: LogDir, findings: &mut Vec<Finding>) -> Result<Self, CheckError> {
        let mut directory = Self {
            clean: dir.exists(name::CLEAN_SHUTDOWN),
            properties: None,
            recovery_points: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            log_starts: BTreeMap::new(),
            partitions: Vec::new(),
            dir,
        };
        directory.folders(findings)?;
        directory.properties = directory.meta_properties(findings)?;
        directory.recovery_points = directory.offsets(
            name::RECOVERY_POINTS,
            "after an unclean stop every log is read from its start: slow, nothing is lost",
            findings,
        )?;
        directory.high_watermarks = directory.offsets(
            name::HIGH_WATERMARKS,
            "high watermarks begin at the log starts until replicas answer",
            findings,
        )?;
        directory.log_starts = directory.offsets(
            name::LOG_STARTS,
            "records that DeleteRecords deleted come back",
            findings,
        )?;
        directory.offsets(name::CLEANED, "compaction begins from the start", findings)?;
        Ok(directory)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path(name).display().to_string()
    }

    fn meta_properties(
        &self,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<MetaProperties>, CheckError> {
        let what = match self.dir.read_meta_properties() {
            Ok(Some(properties)) => return Ok(Some(properties)),
            Ok(None) => "the file is not there".to_owned(),
            Err(LayoutError::Malformed { why, .. }) => why,
            Err(LayoutError::Disk(error)) => return Err(error.into()),
        };
        findings.push(Finding {
            severity: Severity::Damage,
            path: self.path(name::META_PROPERTIES),
            position: None,
            what,
            means: "nothing says which cluster and broker the directory belongs to; a broker takes it for a new one or \
                    refuses it"
                .into(),
            remedy: "write it again: version=1, cluster.id, node.id and directory.id as the broker's other directories \
                     or the metadata log have them"
                .into(),
        });
        Ok(None)
    }

    fn offsets(
        &self,
        file: &str,
        means: &str,
        findings: &mut Vec<Finding>,
    ) -> Result<BTreeMap<TopicPartition, Offset>, CheckError> {
        match self.dir.read_offsets(file) {
            Ok(offsets) => Ok(offsets),
            Err(LayoutError::Disk(error)) => Err(error.into()),
            Err(LayoutError::Malformed { why, .. }) => {
                findings.push(Finding {
                    severity: Severity::Damage,
                    path: self.path(file),
                    position: None,
                    what: why,
                    means: means.to_owned(),
                    remedy: format!(
                        "mv '{0}' '{0}.damaged': the broker writes a new one",
                        self.path(file)
                    ),
                });
                Ok(BTreeMap::new())
            }
        }
    }

    fn folders(&mut self, findings: &mut Vec<Finding>) -> Result<(), CheckError> {
        for entry in self.dir.list("")? {
            let warning = |what: &str, means: &str, remedy: &str| Finding {
                severity: Severity::Warning,
                path: self.dir.path(&entry.name).display().to_string(),
                position: None,
                what: what.to_owned(),
                means: means.to_owned(),
                remedy: remedy.to_owned(),
            };
            if entry.kind != EntryKind::Directory {
                if !is_known(&entry.name) {
                    findings.push(warning(
                        "a name that no broker writes",
                        "it is left alone, and takes space",
                        "move it elsewhere if it is not wanted here",
                    ));
                }
                continue;
            }
            match parse_folder(&entry.name) {
                Ok(Folder::Live(partition)) => self.partitions.push(partition),
                Ok(Folder::Deleted(_)) => findings.push(warning(
                    "the folder of a deleted partition",
                    "its deletion was not finished",
                    "nothing: the broker removes it at its next start",
                )),
                Ok(Folder::Future(_)) => findings.push(warning(
                    "the folder of a partition on the move to this directory",
                    "the move was not finished; the partition itself is still where it was",
                    "nothing: the broker goes on with the move, or removes the folder",
                )),
                Ok(Folder::Stray(_)) => findings.push(warning(
                    "a folder set aside because no metadata knew its partition",
                    "it is not served, and takes space",
                    "look into it with corelog dump-log, then remove or move it",
                )),
                Err(sentence) if has_logs(&self.dir, &entry.name) => findings.push(Finding {
                    severity: Severity::Damage,
                    ..warning(
                        &sentence,
                        "a broker refuses or passes over it, though there are logs in it",
                        "give it its name back (TOPIC-PARTITION), or move it out of the log directory",
                    )
                }),
                Err(sentence) if entry.name != "lost+found" => findings.push(warning(
                    &sentence,
                    "a broker passes over it",
                    "move it out of the log directory",
                )),
                Err(_) => {}
            }
        }
        self.partitions.sort();
        Ok(())
    }
}

/// The partitions to check, the largest first; and what is wrong between directories.
pub(super) fn jobs<'d>(
    directories: &'d [Directory],
    metadata: Option<&Metadata>,
    plan: &Plan,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Job<'d>>, CheckError> {
    between(directories, findings);
    let mut jobs: Vec<Job<'d>> = Vec::new();
    let mut seen: BTreeMap<&TopicPartition, &Directory> = BTreeMap::new();
    for directory in directories {
        for partition in &directory.partitions {
            if !plan.partitions.is_empty() && !plan.partitions.contains(partition) {
                continue;
            }
            if let Some(other) = seen.insert(partition, directory) {
                findings.push(Finding {
                    severity: Severity::Damage,
                    path: directory.path(&folder(partition)),
                    position: None,
                    what: format!("the partition is also in {}", other.dir.root().display()),
                    means: "a broker cannot tell which of the two is the partition".into(),
                    remedy: "compare where they end (corelog dump-log), and move the shorter one out of its log directory"
                        .into(),
                });
            }
            let entries = directory.dir.list(&folder(partition))?;
            let bytes = entries.iter().map(|entry| entry.size).sum();
            jobs.push(Job {
                directory,
                partition: partition.clone(),
                bytes,
                topic: metadata.and_then(|metadata| metadata.topic(partition)),
            });
        }
    }
    for wanted in &plan.partitions {
        if !seen.contains_key(wanted) {
            return Err(CheckError::NoSuchPartition {
                partition: wanted.to_string(),
                directories: plan.directories.join(", "),
            });
        }
    }
    if let Some(metadata) = metadata
        && plan.partitions.is_empty()
    {
        metadata.compare(directories, findings);
    }
    jobs.sort_by_key(|job| std::cmp::Reverse(job.bytes));
    Ok(jobs)
}

/// The directories of one broker belong to one cluster and one node, and each is itself.
fn between(directories: &[Directory], findings: &mut Vec<Finding>) {
    let mut with: Vec<(&Directory, &MetaProperties)> = Vec::new();
    for directory in directories {
        let Some(properties) = &directory.properties else {
            continue;
        };
        let differs = with.iter().find_map(|(other, theirs)| {
            let what = if theirs.cluster_id != properties.cluster_id {
                format!(
                    "cluster id {}, not {}",
                    properties.cluster_id, theirs.cluster_id
                )
            } else if theirs.node_id != properties.node_id {
                format!("node id {}, not {}", properties.node_id, theirs.node_id)
            } else if properties.directory_id.is_some()
                && theirs.directory_id == properties.directory_id
            {
                "the same directory id, though each directory has its own".to_owned()
            } else {
                return None;
            };
            Some(format!("{what}, as {} has", other.dir.root().display()))
        });
        if let Some(what) = differs {
            findings.push(Finding {
                severity: Severity::Damage,
                path: directory.path(name::META_PROPERTIES),
                position: None,
                what,
                means: "they are not the directories of one broker, or one is a copy of another: a broker does not start"
                    .into(),
                remedy: "check each broker's directories by themselves; take the foreign one out of log.dirs".into(),
            });
        }
        with.push((directory, properties));
    }
}

/// Whether segments lie in the directory itself.
pub(super) fn is_partition(dir: &LogDir) -> Result<bool, CheckError> {
    let entries = dir.list("")?;
    Ok(entries
        .iter()
        .any(|entry| parse_file(&entry.name).is_some()))
}

fn has_logs(dir: &LogDir, folder: &str) -> bool {
    let entries = dir.list(folder).unwrap_or_default();
    entries
        .iter()
        .any(|entry| parse_file(&entry.name).is_some())
}

fn is_known(file: &str) -> bool {
    let known = [
        name::RECOVERY_POINTS,
        name::HIGH_WATERMARKS,
        name::LOG_STARTS,
        name::CLEANED,
        name::META_PROPERTIES,
        name::CLEAN_SHUTDOWN,
        name::BOOTSTRAP,
        LOCK,
    ];
    known.contains(&file)
}

/// What a broker locks.
pub(super) const LOCK: &str = ".lock";
