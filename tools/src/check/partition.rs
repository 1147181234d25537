//! **Owns** the check of one partition's folder: which files there are, and what they say beside the log.
//! **Lives on** a checking thread.
//! **Invariants** (1) Only the producers of one partition are in memory; snapshots are read when the walk reaches them.
//! **Not here** the walk over a segment (`segment`).

use corelog_storage::checkpoint::{PartitionMetadata, name as files};
use corelog_storage::disk::{DiskError, EntryKind, File, LogDir, Mode};
use corelog_storage::epochs::LeaderEpochs;
use corelog_storage::index::decode_txn_index;
use corelog_storage::producer::{AbortedTransaction, Producers, Snapshot, SnapshotEntry};
use corelog_storage::segment::name::{self, Content, Fate};
use corelog_storage::types::{LeaderEpoch, Offset, TopicPartition};

use super::directory::Directory;
use super::metadata::Topic;
use super::segment::Place;
use super::{CheckError, Finding, Progress, Report, Severity};

/// A partition to be checked.
pub(super) struct Job<'d> {
    pub(super) directory: &'d Directory,
    pub(super) partition: TopicPartition,
    /// Bytes of its logs.
    pub(super) bytes: u64,
    /// What the metadata log says of its topic.
    pub(super) topic: Option<Topic>,
}

/// A partition being checked.
pub(super) struct Partition<'p> {
    pub(super) dir: LogDir,
    pub(super) folder: String,
    pub(super) report: Report,
    pub(super) producers: Producers,
    /// Until it is found wrong.
    pub(super) epochs: Option<LeaderEpochs>,
    pub(super) last_epoch: LeaderEpoch,
    /// The offset behind the last valid batch.
    pub(super) end: Offset,
    /// Compaction may leave gaps.
    pub(super) compacted: bool,
    /// The broker stopped in order.
    pub(super) clean: bool,
    pub(super) recovery_point: Offset,
    pub(super) deep: bool,
    /// The first gap in the offsets, and how many more.
    gaps: Option<(Offset, Offset, u64)>,
    /// Offsets of the producer snapshots that the walk has not reached.
    snapshots: Vec<Offset>,
    progress: &'p dyn Progress,
}

/// The files of a segment.
#[derive(Clone, Debug, Default)]
pub(super) struct SegmentFiles {
    pub(super) base: Offset,
    size: u64,
    has_index: bool,
    has_times: bool,
    has_txn: bool,
}

impl Job<'_> {
    /// Checks it.
    pub(super) fn check(&self, deep: bool, progress: &dyn Progress) -> Result<Report, CheckError> {
        let of = |map: &std::collections::BTreeMap<TopicPartition, Offset>| {
            map.get(&self.partition).copied()
        };
        let directory = self.directory;
        let mut partition = Partition {
            dir: directory.dir.clone(),
            folder: name::folder(&self.partition),
            report: Report::default(),
            producers: Producers::new(i64::MAX),
            epochs: None,
            last_epoch: LeaderEpoch::NONE,
            end: Offset::ZERO,
            compacted: self.topic.as_ref().is_none_or(|topic| topic.compacted),
            clean: directory.clean,
            recovery_point: of(&directory.recovery_points).unwrap_or(Offset::ZERO),
            deep,
            gaps: None,
            snapshots: Vec::new(),
            progress,
        };
        partition.report.partitions = 1;
        partition.identity(self.topic.as_ref());
        partition.read_epochs();
        let segments = partition.files()?;
        if segments.is_empty() {
            partition.finding_of_folder(
                "no segment is in the folder",
                "the partition is empty at its next start",
            );
        } else {
            partition.segments(&segments)?;
            partition.told_beside_the_log(self);
        }
        Ok(partition.report)
    }
}

impl Partition<'_> {
    pub(super) fn finding(
        &mut self,
        severity: Severity,
        path: &str,
        position: Option<u64>,
        what: String,
        means: String,
        remedy: String,
    ) {
        self.report.findings.push(Finding {
            severity,
            path: path.to_owned(),
            position,
            what,
            means,
            remedy,
        });
    }

    fn finding_of_folder(&mut self, what: &str, means: &str) {
        let path = self.dir.path(&self.folder).display().to_string();
        self.finding(
            Severity::Damage,
            &path,
            None,
            what.to_owned(),
            means.to_owned(),
            "restore the folder from a replica or a backup before the next start".into(),
        );
    }

    pub(super) fn name(&self, base: Offset, content: Content) -> String {
        format!("{}/{}", self.folder, name::file(base, content))
    }

    pub(super) fn path(&self, base: Offset, content: Content) -> String {
        let name = self.name(base, content);
        self.dir.path(&name).display().to_string()
    }

    pub(super) fn epochs_path(&self) -> String {
        let name = format!("{}/{}", self.folder, files::LEADER_EPOCHS);
        self.dir.path(&name).display().to_string()
    }

    pub(super) fn progress(&mut self, bytes: u64) {
        self.report.bytes += bytes;
        self.progress.advance(bytes);
    }

    pub(super) fn gap(&mut self, next: Offset) {
        let end = self.end;
        match &mut self.gaps {
            Some((_, _, more)) => *more += 1,
            None => self.gaps = Some((end, next, 0)),
        }
    }

    /// The topic that the folder says it belongs to is the one that the metadata has.
    fn identity(&mut self, topic: Option<&Topic>) {
        let name = format!("{}/{}", self.folder, files::PARTITION_METADATA);
        let path = self.dir.path(&name).display().to_string();
        let read = match self.dir.read_file(&name) {
            Ok(bytes) => PartitionMetadata::parse(&bytes).map_err(|error| error.to_string()),
            // The metadata log's id is the same everywhere: it needs no file.
            Err(error)
                if error.is_not_found() && self.folder.starts_with(super::metadata::TOPIC) =>
            {
                return;
            }
            Err(error) => Err(error.to_string()),
        };
        match (read, topic) {
            (Err(why), topic) => {
                let remedy = topic.map_or(String::new(), |topic| {
                    format!("printf 'version: 0\\ntopic_id: {}' > '{path}'", topic.id)
                });
                self.finding(
                    Severity::Damage,
                    &path,
                    None,
                    why,
                    "nothing says which topic the folder belongs to; Apache Kafka would set it aside and start an empty one"
                        .into(),
                    remedy,
                );
            }
            (Ok(metadata), Some(topic)) if metadata.topic_id != topic.id => self.finding(
                Severity::Damage,
                &path,
                None,
                format!("topic id {}, the metadata log has {}", metadata.topic_id, topic.id),
                "the folder belongs to another topic of the same name (deleted, or of another cluster): its records are \
                 not this topic's"
                    .into(),
                "move the folder out of the log directory, unless it was put there on purpose".into(),
            ),
            _ => {}
        }
    }

    fn read_epochs(&mut self) {
        let name = format!("{}/{}", self.folder, files::LEADER_EPOCHS);
        let path = self.epochs_path();
        let rebuilt = "nothing: the broker rebuilds it from the batches at its next start";
        match self.dir.read_file(&name) {
            // As Kafka creates it, before it has something to say: filled from the batches.
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => match LeaderEpochs::parse(&bytes) {
                Ok(epochs) => self.epochs = Some(epochs),
                Err(error) => self.finding(
                    Severity::Warning,
                    &path,
                    None,
                    error.to_string(),
                    "Apache Kafka would take the whole log directory offline".into(),
                    rebuilt.into(),
                ),
            },
            Err(error) => self.finding(
                Severity::Warning,
                &path,
                None,
                error.to_string(),
                "where epochs began is not known until it is rebuilt".into(),
                rebuilt.into(),
            ),
        }
    }

    /// Sorts the files of the folder.
    fn files(&mut self) -> Result<Vec<SegmentFiles>, CheckError> {
        let mut segments: Vec<SegmentFiles> = Vec::new();
        let mut others: Vec<(Offset, Content, u64)> = Vec::new();
        let entries = self.dir.list(&self.folder)?;
        for entry in &entries {
            let path = self.dir.path(&format!("{}/{}", self.folder, entry.name));
            let path = path.display().to_string();
            match name::parse_file(&entry.name) {
                Some((base, Content::Log, Fate::Live)) if entry.kind == EntryKind::File => {
                    segments.push(SegmentFiles {
                        base,
                        size: entry.size,
                        ..SegmentFiles::default()
                    });
                }
                Some((base, Content::Snapshot, Fate::Live)) => self.snapshots.push(base),
                Some((base, content, Fate::Live)) => others.push((base, content, entry.size)),
                Some((base, content, fate)) => {
                    let original = name::file(base, content);
                    let replaces = entries.iter().any(|other| other.name == original);
                    self.leftover(&path, fate, replaces);
                }
                None if name::parse_cut_file(&entry.name).is_some() => self.finding(
                    Severity::Warning,
                    &path,
                    None,
                    format!("{} bytes that a recovery cut off its log and kept", entry.size),
                    "they are no part of the log any more; valid batches are among them".into(),
                    "look at them with 'corelog dump-log'; the file goes with the topic, at a start after retention.ms, \
                     or when you remove it"
                        .into(),
                ),
                None if is_known(&self.folder, &entry.name) => {}
                None => self.finding(
                    Severity::Warning,
                    &path,
                    None,
                    "a name that no broker writes".into(),
                    "it is left alone, and takes space".into(),
                    "move it elsewhere if it is not wanted here".into(),
                ),
            }
        }
        segments.sort_by_key(|segment| segment.base);
        self.snapshots.sort_unstable();
        for (base, content, size) in others {
            self.index_beside(&mut segments, base, content, size);
        }
        Ok(segments)
    }

    fn leftover(&mut self, path: &str, fate: Fate, replaces: bool) {
        let (means, remedy) = match fate {
            Fate::Deleted => (
                "a deletion that was not finished",
                "nothing: the broker removes it at its next start",
            ),
            Fate::Cleaned => (
                "a compaction that was not finished; the segments it read are still there",
                "nothing: the broker removes it at its next start",
            ),
            Fate::Swap | Fate::Live if replaces => (
                "a compaction that was not finished; what it would replace is still there",
                "nothing: the broker puts it aside at its next start and compacts again",
            ),
            Fate::Swap | Fate::Live => (
                "a compacted segment that was about to take the place of its originals, which are gone",
                "nothing: the broker takes it in at its next start, if it is whole. Keep a copy until then",
            ),
        };
        self.finding(
            Severity::Warning,
            path,
            None,
            "a leftover".into(),
            means.into(),
            remedy.into(),
        );
    }

    fn index_beside(
        &mut self,
        segments: &mut [SegmentFiles],
        base: Offset,
        content: Content,
        size: u64,
    ) {
        let path = self.path(base, content);
        let rebuilt = "nothing: the broker rebuilds it at its next start";
        let Some(segment) = segments.iter_mut().find(|segment| segment.base == base) else {
            self.finding(
                Severity::Warning,
                &path,
                None,
                "an index without its log".into(),
                "a segment may be missing; if its records are, that is told as a gap".into(),
                "nothing: the broker removes it at its next start".into(),
            );
            return;
        };
        let entry = match content {
            Content::Index => {
                segment.has_index = true;
                corelog_storage::index::INDEX_ENTRY_SIZE
            }
            Content::TimeIndex => {
                segment.has_times = true;
                corelog_storage::index::TIME_ENTRY_SIZE
            }
            Content::TxnIndex | Content::Log | Content::Snapshot => {
                segment.has_txn = true;
                AbortedTransaction::SIZE
            }
        };
        // A torn aborted index is told with its segment.
        if content != Content::TxnIndex && !size.is_multiple_of(entry as u64) {
            let whole = size - size % entry as u64;
            self.finding(
                Severity::Warning,
                &path,
                Some(whole),
                format!("{} bytes behind the last whole entry", size - whole),
                "its end was torn".into(),
                rebuilt.into(),
            );
        }
    }

    fn segments(&mut self, segments: &[SegmentFiles]) -> Result<(), CheckError> {
        let first = segments
            .first()
            .map_or(Offset::ZERO, |segment| segment.base);
        self.end = first;
        self.producers.advance(first);
        if first > Offset::ZERO
            && let Some(snapshot) = self.read_snapshot(first)
        {
            // What was before the log's start is known by the snapshot only.
            self.producers = Producers::restore(
                &snapshot,
                first,
                i64::MAX,
                corelog_storage::types::Timestamp(0),
            );
        }
        let with_data = segments.iter().rposition(|segment| segment.size > 0);
        let at_point = segments.partition_point(|segment| segment.base < self.recovery_point);
        for (at, segment) in segments.iter().enumerate() {
            let place = Place {
                next_base: segments.get(at + 1).map(|next| next.base),
                last: with_data.is_none_or(|last| at >= last),
                scanned: !self.clean && at + 1 >= at_point,
            };
            // What is scanned is given new indexes; a broker writes those of the segment in use when it rolls or stops.
            if !place.scanned {
                self.missing_indexes(segment);
            }
            self.segment(segment, place)?;
        }
        self.snapshots_before(self.end.next());
        Ok(())
    }

    fn missing_indexes(&mut self, segment: &SegmentFiles) {
        if segment.size == 0 {
            return;
        }
        for (content, there) in [
            (Content::Index, segment.has_index),
            (Content::TimeIndex, segment.has_times),
        ] {
            if !there {
                let path = self.path(segment.base, content);
                self.finding(
                    Severity::Warning,
                    &path,
                    None,
                    "the file is not there".into(),
                    "lookups need it".into(),
                    "nothing: the broker rebuilds it at its next start".into(),
                );
            }
        }
    }

    pub(super) fn index_file(
        &self,
        segment: &SegmentFiles,
        content: Content,
    ) -> Result<Option<File>, DiskError> {
        let there = match content {
            Content::Index => segment.has_index,
            Content::TimeIndex => segment.has_times,
            Content::TxnIndex => segment.has_txn,
            Content::Log | Content::Snapshot => false,
        };
        if !there {
            return Ok(None);
        }
        self.dir
            .open_file(&self.name(segment.base, content), Mode::Read)
            .map(Some)
    }

    /// The aborted transactions that a segment's index has; `None` when it cannot be read.
    pub(super) fn aborted_entries(
        &mut self,
        segment: &SegmentFiles,
        severity: Severity,
        remedy: &str,
    ) -> Result<Option<Vec<AbortedTransaction>>, DiskError> {
        let Some(file) = self.index_file(segment, Content::TxnIndex)? else {
            return Ok(Some(Vec::new()));
        };
        let path = self.path(segment.base, Content::TxnIndex);
        let size = file.size()?;
        let torn = size % AbortedTransaction::SIZE as u64;
        let what = if torn != 0 {
            format!(
                "its last entry has {torn} of {} bytes",
                AbortedTransaction::SIZE
            )
        } else if size > TXN_INDEX_SIZE_MAX {
            format!("{size} bytes are more than it can have")
        } else {
            let bytes = self
                .dir
                .read_file(&self.name(segment.base, Content::TxnIndex))?;
            match decode_txn_index(&bytes) {
                Some(entries) => return Ok(Some(entries)),
                None => "an entry is not of version 0".to_owned(),
            }
        };
        // The broker rebuilds a torn one even after a clean stop.
        let (severity, remedy) = if torn != 0 {
            let rebuilt = "nothing: the broker rebuilds it at its next start";
            (Severity::Warning, rebuilt)
        } else {
            (severity, remedy)
        };
        self.finding(
            severity,
            &path,
            Some(size - torn),
            what,
            "which transactions of the segment were aborted is not known from it".into(),
            remedy.to_owned(),
        );
        Ok(None)
    }

    /// Compares the snapshots up to `offset` with what the log says so far.
    pub(super) fn snapshots_before(&mut self, offset: Offset) {
        while let Some(&at) = self.snapshots.first() {
            // A snapshot at the base of the batch to come was taken before it.
            if at > offset {
                return;
            }
            self.snapshots.remove(0);
            let Some(snapshot) = self.read_snapshot(at) else {
                continue;
            };
            let wrong = snapshot
                .entries
                .iter()
                .find_map(|entry| disagreement(entry, &self.producers));
            if let Some(what) = wrong {
                let path = self.path(at, Content::Snapshot);
                self.finding(
                    Severity::Damage,
                    &path,
                    None,
                    what,
                    "a repeated batch could be appended twice, or a right one refused".into(),
                    format!("rm '{path}': the broker goes by an older snapshot and the log"),
                );
            }
        }
    }

    fn read_snapshot(&mut self, at: Offset) -> Option<Snapshot> {
        let name = self.name(at, Content::Snapshot);
        let what = match self.dir.read_file(&name) {
            Ok(bytes) => match Snapshot::decode(&bytes) {
                Ok(snapshot) => return Some(snapshot),
                Err(error) => error.to_string(),
            },
            // At the start of a log that retention moved there need be none.
            Err(error) if error.is_not_found() => return None,
            Err(error) => error.to_string(),
        };
        let path = self.path(at, Content::Snapshot);
        let told = self
            .report
            .findings
            .iter()
            .any(|finding| finding.path == path);
        if !told {
            self.finding(
                Severity::Warning,
                &path,
                None,
                what,
                "it is of no use; an older one and the log tell the same".into(),
                "nothing: the broker passes it over at its next start".into(),
            );
        }
        None
    }

    /// What checkpoints say of the log.
    fn told_beside_the_log(&mut self, job: &Job<'_>) {
        let directory = job.directory;
        let end = self.end;
        for at in std::mem::take(&mut self.snapshots) {
            let path = self.path(at, Content::Snapshot);
            self.finding(
                Severity::Warning,
                &path,
                None,
                format!("a snapshot of offset {at}, the log ends at {end}"),
                "it tells of records that are not there".into(),
                "nothing: the broker removes it at its next start".into(),
            );
        }
        if let Some((from, to, more)) = self.gaps {
            let path = self.dir.path(&self.folder).display().to_string();
            let more = match more {
                0 => String::new(),
                more => format!(", and {more} more gaps"),
            };
            self.finding(
                Severity::Damage,
                &path,
                None,
                format!("no batch has the offsets {from} to {}{more}", to - 1),
                "the topic is not compacted, so these records were there and are lost (unless it was compacted before)".into(),
                "restore them from a replica or a backup; the broker serves what is there".into(),
            );
        }
        for (file, offsets, what, means) in [
            (
                files::RECOVERY_POINTS,
                &directory.recovery_points,
                "the log was on disk up to",
                "records that were synced are missing",
            ),
            (
                files::HIGH_WATERMARKS,
                &directory.high_watermarks,
                "the high watermark was",
                "records that consumers could see are missing",
            ),
            (
                files::LOG_STARTS,
                &directory.log_starts,
                "the log begins at",
                "all records before it were deleted, and those behind it are missing: the broker starts an empty log there",
            ),
        ] {
            let path = directory.dir.path(file).display().to_string();
            if let Some(&offset) = offsets.get(&job.partition)
                && offset > end
            {
                self.finding(
                    Severity::Damage,
                    &path,
                    None,
                    format!("{}: {what} {offset}, its valid batches end at {end}", job.partition),
                    means.to_owned(),
                    "restore the partition's folder from a replica or a backup, if there is one; the broker goes on from \
                     the batches that are there"
                        .into(),
                );
            }
        }
        let epochs_after = self.epochs.as_ref().and_then(|epochs| {
            let after = epochs
                .entries()
                .iter()
                .find(|entry| entry.start_offset > end);
            after.map(|entry| (entry.epoch, entry.start_offset))
        });
        if let Some((epoch, start)) = epochs_after {
            let path = self.epochs_path();
            self.finding(
                Severity::Warning,
                &path,
                None,
                format!("epoch {epoch} begins at {start}, the log ends at {end}"),
                "records of that epoch are not there".into(),
                "nothing: the broker takes the entry out at its next start".into(),
            );
        }
    }
}

/// Where a snapshot and the log tell of the same producer and do not agree.
fn disagreement(entry: &SnapshotEntry, producers: &Producers) -> Option<String> {
    let state = producers.state(entry.producer)?;
    let last = state.batches().last()?;
    if state.epoch() != entry.epoch {
        return Some(format!(
            "producer {} has epoch {}, the log says {}",
            entry.producer,
            entry.epoch,
            state.epoch()
        ));
    }
    let told = (entry.last_offset, entry.last_sequence);
    if entry.last_offset.is_some() && told != (last.last_offset, last.last_sequence) {
        return Some(format!(
            "producer {} wrote last sequence {} at offset {}, the log says sequence {} at offset {}",
            entry.producer,
            entry.last_sequence,
            entry.last_offset,
            last.last_sequence,
            last.last_offset
        ));
    }
    None
}

/// Names of a folder that are not of a segment.
fn is_known(folder: &str, name: &str) -> bool {
    let own = [
        files::LEADER_EPOCHS,
        files::PARTITION_METADATA,
        files::QUORUM_STATE,
    ];
    let of_metadata = folder.starts_with(super::metadata::TOPIC)
        && (name.ends_with(".checkpoint") || name.ends_with(".checkpoint.part"));
    own.contains(&name) || of_metadata
}

/// Bytes of an aborted index: more than seven million aborts are not one segment's.
const TXN_INDEX_SIZE_MAX: u64 = 256 << 20;
