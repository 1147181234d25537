//! The files of one partition folder, and what recovery does to them.
//!
//! **Owns** leftovers of deletions and of the cleaner, the check of index files, cutting, setting aside.
//! **Lives on** the companion.
//! **Invariants** 1. A `.swap` log never replaces a live one of the same base: with that one alive, all that it was cleaned
//! from are. 2. What is cut although valid batches lie
//! in it is copied aside and synced first.
//! **Not here** the order of the steps (`recovery`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::prefix::Prefix;
use super::scan::{self, Scanned};
use super::{Cut, OpenError, Progress, Recovered, index_size, load_snapshot, time_index_size};
use crate::checkpoint;
use crate::disk::{DiskError, Entry, EntryKind, File, LogDir, Mode, Wait};
use crate::epochs::LeaderEpochs;
use crate::index::{self, INDEX_ENTRY_SIZE, TIME_ENTRY_SIZE};
use crate::log::{LogSettings, Open};
use crate::producer::{AbortedTransaction, Producers};
use crate::segment::Segment;
use crate::segment::name::{self, Content, Fate};
use crate::types::{Offset, Timestamp};

pub(super) struct Folder {
    dir: LogDir,
    name: Arc<str>,
    /// Oldest first.
    pub segments: Vec<Segment>,
    /// Sizes of the live files that are no logs.
    files: BTreeMap<(Offset, Content), u64>,
    /// Files opened for reading, of one segment: it is looked at from several sides.
    open: Vec<((Offset, Content), File)>,
    /// A name was created, changed or removed since the folder was synced.
    names_changed: bool,
}

impl Folder {
    /// Lists the folder and clears leftovers away.
    pub(super) fn read(
        dir: &LogDir,
        name: &Arc<str>,
        settings: &LogSettings,
        now: Timestamp,
        notes: &mut Vec<String>,
    ) -> Result<Self, OpenError> {
        let mut folder = Self {
            dir: dir.clone(),
            name: name.clone(),
            segments: Vec::new(),
            files: BTreeMap::new(),
            open: Vec::new(),
            names_changed: false,
        };
        let entries = dir.list(name)?;
        let mut swaps = BTreeMap::new();
        let mut cleaned = Vec::new();
        for entry in &entries {
            if entry.kind != EntryKind::File {
                continue;
            }
            let Some((base, content, fate)) = name::parse_file(&entry.name) else {
                if let Some((_, position)) = name::parse_cut_file(&entry.name) {
                    folder.keep_or_remove_cut(entry, position, settings, now, notes)?;
                }
                continue;
            };
            match fate {
                Fate::Live if content == Content::Log => {
                    let mut segment = Segment::empty(base, Timestamp(entry.modified));
                    segment.size = entry.size;
                    segment.written = entry.size;
                    folder.segments.push(segment);
                }
                Fate::Live => {
                    folder.files.insert((base, content), entry.size);
                }
                Fate::Cleaned => {
                    if content == Content::Log {
                        cleaned.push(base);
                    }
                    dir.remove_file(&folder.path(&entry.name))?;
                    folder.names_changed = true;
                }
                Fate::Deleted => {
                    dir.remove_file(&folder.path(&entry.name))?;
                    folder.names_changed = true;
                }
                Fate::Swap => {
                    let of_base: &mut BTreeMap<Content, (u64, i64)> =
                        swaps.entry(base).or_default();
                    of_base.insert(content, (entry.size, entry.modified));
                }
            }
        }
        for (base, swap) in swaps {
            folder.take_swap(base, swap, cleaned.contains(&base), notes)?;
        }
        folder.segments.sort_by_key(|segment| segment.base);
        folder.remove_orphans(notes)?;
        Ok(folder)
    }

    /// What a recovery cut off and kept stays as long as a record of its age would, and every start says so.
    fn keep_or_remove_cut(
        &mut self,
        entry: &Entry,
        position: u64,
        settings: &LogSettings,
        now: Timestamp,
        notes: &mut Vec<String>,
    ) -> Result<(), DiskError> {
        let (name, size) = (&entry.name, entry.size);
        let limit_ms = settings.retention_ms.filter(|_| settings.delete);
        if limit_ms.is_some_and(|limit| now.0.saturating_sub(entry.modified) > limit) {
            notes.push(format!(
                "{name} ({size} bytes that were cut off at position {position}) is older than retention.ms and is removed"
            ));
            self.names_changed = true;
            return self.dir.remove_file(&self.path(name));
        }
        notes.push(format!(
            "{name} holds {size} bytes that a recovery cut off at position {position}, valid batches among them: see \
             'corelog dump-log'; it goes with the topic{}, or remove it by hand",
            match limit_ms {
                Some(_) => ", or at a start after retention.ms",
                None => "",
            }
        ));
        Ok(())
    }

    /// Starts an empty log.
    pub(super) fn begin_at(&mut self, base: Offset, now: Timestamp) -> Result<(), DiskError> {
        self.dir
            .open_file(&self.file(base, Content::Log), Mode::Create)?;
        self.names_changed = true;
        self.segments.push(Segment::empty(base, now));
        Ok(())
    }

    /// What of a segment need not be scanned.
    pub(super) fn prefix(&self, at: usize, open: &Open) -> Result<Option<Prefix>, DiskError> {
        let segment = &self.segments[at];
        if open.clean_shutdown || segment.size == 0 || open.recovery_point <= segment.base {
            return Ok(None);
        }
        Prefix::read(&self.dir, &self.name, segment.base, open.recovery_point)
    }

    /// Scans a segment.
    pub(super) fn scan(
        &self,
        at: usize,
        next: Option<Offset>,
        settings: &LogSettings,
        prefix: Option<Prefix>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Scanned, DiskError> {
        let (dir, base) = (&self.dir, self.segments[at].base);
        scan::segment(dir, &self.name, base, next, settings, prefix, progress)
    }

    /// Takes the index files of a segment that is not scanned as they are, or rebuilds them when they are not sound.
    pub(super) fn trust(
        &mut self,
        at: usize,
        settings: &LogSettings,
        notes: &mut Vec<String>,
    ) -> Result<(), DiskError> {
        let (base, size) = (self.segments[at].base, self.segments[at].size);
        let aborted = self
            .files
            .get(&(base, Content::TxnIndex))
            .copied()
            .unwrap_or(0);
        self.segments[at].aborted = entries(aborted, AbortedTransaction::SIZE);
        if let Some(why) = self.unsound_index(at)? {
            mark!("index rebuilt");
            notes.push(format!("{base:020}: the index is rebuilt: {why}"));
            let file = self.reader(base, Content::Log)?;
            let found = scan::index_by_headers(&file, base, settings)?;
            self.write_indexes(at, &found)?;
            return Ok(());
        }
        let index = self
            .files
            .get(&(base, Content::Index))
            .copied()
            .unwrap_or(0);
        let times = self
            .files
            .get(&(base, Content::TimeIndex))
            .copied()
            .unwrap_or(0);
        if size == 0 {
            // An index that Kafka allocated and nobody trimmed has no entries.
            return Ok(());
        }
        let segment = &mut self.segments[at];
        segment.index_entries = entries(index, INDEX_ENTRY_SIZE);
        segment.time_entries = entries(times, TIME_ENTRY_SIZE);
        if segment.time_entries > 0 {
            let number = segment.time_entries - 1;
            let file = self.reader(base, Content::TimeIndex)?;
            let last = index::time_entry(&file, number, Wait::Yes)?;
            let segment = &mut self.segments[at];
            segment.max_timestamp = last.timestamp;
            segment.max_timestamp_offset = base + i64::from(last.relative_offset);
        }
        Ok(())
    }

    /// Whether the aborted index of a segment has a size it can have.
    pub(super) fn has_torn_txn_index(&self, at: usize) -> bool {
        let size = self
            .files
            .get(&(self.segments[at].base, Content::TxnIndex))
            .copied();
        size.is_some_and(|size| size % AbortedTransaction::SIZE as u64 != 0)
    }

    /// The offset behind the last batch, when the batch headers of the last segment lead from its last index entry to
    /// the end of the file.
    pub(super) fn end(&mut self) -> Result<Option<Offset>, DiskError> {
        let at = self.segments.len() - 1;
        let (base, size) = (self.segments[at].base, self.segments[at].size);
        if size == 0 {
            return Ok(Some(base));
        }
        let from = self.last_indexed_position(at)?;
        let file = self.reader(base, Content::Log)?;
        let last = scan::walk_to_end(&file, from)?;
        Ok(last.map(|header| header.next_offset()))
    }

    /// The largest timestamp of the last segment's first batch.
    pub(super) fn first_timestamp(&mut self) -> Result<Option<Timestamp>, DiskError> {
        let segment = &self.segments[self.segments.len() - 1];
        if segment.size == 0 {
            return Ok(None);
        }
        let file = self.reader(segment.base, Content::Log)?;
        let mut head = [0_u8; crate::limits::BATCH_HEADER_SIZE];
        let n = file.read_at(&mut head, 0, Wait::Yes)?;
        Ok(crate::batch::Header::parse(&head[..n]).map(|header| header.max_timestamp))
    }

    /// Whether the segments from number `at` on hold nothing.
    pub(super) fn is_empty_from(&self, at: usize) -> bool {
        self.segments[at..].iter().all(|segment| segment.size == 0)
    }

    /// Cuts a damaged end, or refuses when data follows in later segments.
    pub(super) fn cut(
        &mut self,
        at: usize,
        found: &Scanned,
        recovery_point: Offset,
        recovered: &mut Recovered,
    ) -> Result<(), OpenError> {
        let Some(damage) = &found.damage else {
            return Ok(());
        };
        if let Some(magic) = damage.old_format {
            return Err(self.old_format(at, found.valid_bytes, magic));
        }
        let base = self.segments[at].base;
        let name = self.file(base, Content::Log);
        let path = self.dir.path(&name).display().to_string();
        if !self.is_empty_from(at + 1) {
            let (position, why) = (found.valid_bytes, damage.why.clone());
            return Err(OpenError::Damaged {
                dir: self.dir.root().display().to_string(),
                path,
                position,
                why,
            });
        }
        mark!("torn end cut");
        let file = self.dir.open_file(&name, Mode::Write)?;
        let bytes = found.file_bytes - found.valid_bytes;
        let mut kept_in = None;
        if damage.data_behind || found.end_offset < recovery_point {
            // More than a torn end: these bytes, or some of them, had been safe.
            mark!("cut bytes kept aside");
            let aside = self.path(&name::cut_file(base, found.valid_bytes));
            let copy = self.dir.open_file(&aside, Mode::Replace)?;
            let mut done = 0;
            while done < bytes {
                let size = (bytes - done).min(buggify!(COPY_SIZE, 300));
                let mut piece = vec![0_u8; usize::try_from(size).unwrap_or(0)];
                let n = file.read_at(&mut piece, found.valid_bytes + done, Wait::Yes)?;
                if n == 0 {
                    break;
                }
                piece.truncate(n);
                copy.write_at(&[Bytes::from(piece)], done)?;
                done += n as u64;
            }
            copy.sync_data()?;
            self.dir.sync_dir(&self.name)?;
            kept_in = Some(self.dir.path(&aside).display().to_string());
        }
        // ORDER: what is kept is durable before it is cut.
        file.truncate(found.valid_bytes)?;
        file.sync_data()?;
        recovered.cut = Some(Cut {
            path,
            position: found.valid_bytes,
            bytes,
            end_offset: found.end_offset,
            why: damage.why.clone(),
            kept_in,
        });
        Ok(())
    }

    /// The refusal of what is of an old format at this position of segment number `at`.
    pub(super) fn old_format(&self, at: usize, position: u64, magic: i8) -> OpenError {
        let name = self.file(self.segments[at].base, Content::Log);
        let path = self.dir.path(&name).display().to_string();
        OpenError::OldFormat {
            path,
            position,
            magic,
        }
    }

    /// Removes segments behind a cut; they are empty.
    pub(super) fn drop_segments_from(&mut self, count: usize) -> Result<(), DiskError> {
        for segment in self.segments.split_off(count.min(self.segments.len())) {
            mark!("empty segment behind a torn one dropped");
            self.remove_segment(segment.base)?;
        }
        Ok(())
    }

    /// Makes what a scan found the truth: index files and sizes (the log's bytes it has synced).
    pub(super) fn take_scanned(&mut self, at: usize, found: &Scanned) -> Result<(), DiskError> {
        self.segments[at].size = found.valid_bytes;
        self.segments[at].written = found.valid_bytes;
        self.write_indexes(at, found)?;
        // The names may be as new as what was not synced, and a sync of them may have failed.
        self.names_changed = true;
        Ok(())
    }

    /// The newest good snapshot at or below `trusted`, and the offset from which the log must be replayed on it.
    pub(super) fn restore_producers(
        &mut self,
        trusted: Offset,
        settings: &LogSettings,
        now: Timestamp,
        notes: &mut Vec<String>,
    ) -> Result<(Producers, Offset), DiskError> {
        let expiration_ms = settings.producer_id_expiration_ms;
        let first = self.segments[0].base;
        for offset in self
            .snapshots()
            .into_iter()
            .rev()
            // One from before the first segment lacks what was deleted since: a sequence or a marker that it does not
            // know of would refuse a healthy producer, or hold the last stable offset for ever.
            .filter(|offset| (first..=trusted).contains(offset))
        {
            let name = self.file(offset, Content::Snapshot);
            if let Some(snapshot) = load_snapshot(&self.dir, &name)? {
                let producers = Producers::restore(&snapshot, offset, expiration_ms, now);
                return Ok((producers, offset));
            }
            mark!("snapshot not used");
            notes.push(format!("{offset:020}.snapshot is damaged and not used"));
        }
        mark!("producers replayed from the first segment");
        let mut producers = Producers::new(expiration_ms);
        producers.advance(first);
        Ok((producers, first))
    }

    /// Writes the snapshot of producers at a segment's base.
    pub(super) fn write_snapshot(
        &mut self,
        base: Offset,
        producers: &Producers,
    ) -> Result<(), DiskError> {
        if !self.files.contains_key(&(base, Content::Snapshot)) {
            mark!("missing snapshot written");
        }
        // Also when the file says the same: it need not be on the disk.
        self.replace(base, Content::Snapshot, producers.snapshot().encode())
    }

    /// The leader epochs of the checkpoint file; `false` when there is none, or none that can be read.
    pub(super) fn read_epochs(
        &self,
        notes: &mut Vec<String>,
    ) -> Result<(LeaderEpochs, bool), DiskError> {
        let name = format!("{}/{}", self.name, checkpoint::name::LEADER_EPOCHS);
        let bytes = match self.dir.read_file(&name) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok((LeaderEpochs::new(), false)),
            Err(error) => return Err(error),
        };
        Ok(match LeaderEpochs::parse(&bytes) {
            Ok(epochs) => (epochs, true),
            Err(error) => {
                notes.push(format!(
                    "{} is damaged ({error}) and rebuilt from the log",
                    checkpoint::name::LEADER_EPOCHS
                ));
                (LeaderEpochs::new(), false)
            }
        })
    }

    /// Whether the first batch there is lies below `offset`.
    pub(super) fn begins_before(&self, offset: Offset) -> Result<bool, DiskError> {
        // A cleaning may have left nothing of the first ones.
        let first = self.segments.iter().find(|segment| segment.size > 0);
        let Some(segment) = first.filter(|segment| segment.base < offset) else {
            return Ok(false);
        };
        let name = self.file(segment.base, Content::Log);
        let file = self.dir.open_file(&name, Mode::Read)?;
        let mut head = [0_u8; crate::limits::BATCH_HEADER_SIZE];
        let n = file.read_at(&mut head, 0, Wait::Yes)?;
        let header = crate::batch::Header::parse(&head[..n]);
        Ok(header.is_some_and(|header| header.base_offset < offset))
    }

    /// Rewrites the aborted index of a scanned segment.
    pub(super) fn write_txn_index(
        &mut self,
        at: usize,
        aborted: &[AbortedTransaction],
    ) -> Result<(), DiskError> {
        let base = self.segments[at].base;
        self.segments[at].aborted = count(aborted.len());
        if aborted.is_empty() && !self.files.contains_key(&(base, Content::TxnIndex)) {
            return Ok(());
        }
        let bytes: Vec<u8> = aborted
            .iter()
            .flat_map(AbortedTransaction::encode)
            .collect();
        self.replace(base, Content::TxnIndex, bytes)
    }

    /// The aborted transactions of a segment.
    pub(super) fn read_txn_index(&self, at: usize) -> Result<Vec<AbortedTransaction>, DiskError> {
        if self.segments[at].aborted == 0 {
            return Ok(Vec::new());
        }
        let bytes = self
            .dir
            .read_file(&self.file(self.segments[at].base, Content::TxnIndex))?;
        Ok(index::decode_txn_index(&bytes).unwrap_or_default())
    }

    /// Keeps the snapshots at segment bases and the newest; those above the end are wrong, the others of no use.
    pub(super) fn remove_stray_snapshots(&mut self, end: Offset) -> Result<(), DiskError> {
        let snapshots = self.snapshots();
        let newest = snapshots
            .iter()
            .rev()
            .find(|offset| **offset <= end)
            .copied();
        for offset in snapshots {
            let at_base = self.segments.iter().any(|segment| segment.base == offset);
            if offset > end || (Some(offset) != newest && !at_base) {
                self.dir
                    .remove_file(&self.file(offset, Content::Snapshot))?;
                self.files.remove(&(offset, Content::Snapshot));
                self.names_changed = true;
            }
        }
        Ok(())
    }

    /// Without records nothing is known of who wrote them.
    pub(super) fn remove_snapshots(&mut self) -> Result<(), DiskError> {
        for offset in self.snapshots() {
            self.dir
                .remove_file(&self.file(offset, Content::Snapshot))?;
            self.files.remove(&(offset, Content::Snapshot));
            self.names_changed = true;
        }
        Ok(())
    }

    /// Replaces everything by an empty segment at `start`.
    pub(super) fn restart_at(&mut self, start: Offset, now: Timestamp) -> Result<(), DiskError> {
        let old = std::mem::take(&mut self.segments);
        // ORDER: the new segment first. The checkpoint of the start may be older, and without any segment the log would
        // begin there again, or at 0: at offsets that were given out.
        self.begin_at(start, now)?;
        self.sync_names()?;
        for segment in old {
            self.remove_segment(segment.base)?;
        }
        self.remove_snapshots()
    }

    /// The active segment has both index files, as Kafka's has, and they are empty when it is.
    pub(super) fn complete_active(&mut self) -> Result<(), DiskError> {
        let segment = &self.segments[self.segments.len() - 1];
        let (base, is_empty) = (segment.base, segment.size == 0);
        for content in [Content::Index, Content::TimeIndex] {
            let size = self.files.get(&(base, content)).copied();
            if size.is_none() || (is_empty && size != Some(0)) {
                self.write_anew(base, content, Vec::new())?;
            }
        }
        Ok(())
    }

    /// What becomes of the `.swap` files of one base. The cleaner touches what it replaces only when the swap is whole and
    /// durable, and then oldest first.
    fn take_swap(
        &mut self,
        base: Offset,
        mut swap: BTreeMap<Content, (u64, i64)>,
        is_being_named: bool,
        notes: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let log = swap.get(&Content::Log).copied();
        let is_live = self.segments.iter().any(|segment| segment.base == base);
        let has_txn_index = self.files.contains_key(&(base, Content::TxnIndex));
        match log {
            Some((size, modified)) if !is_live => {
                swap.remove(&Content::Log);
                let txn = swap.remove(&Content::TxnIndex).map(|(size, _)| size);
                self.promote(base, size, Timestamp(modified), txn, notes)?;
            }
            // Kafka names the log first: where it has its name, the aborted index is still to get its own.
            None if is_live && !has_txn_index && !is_being_named => {
                if let Some((size, _)) = swap.remove(&Content::TxnIndex) {
                    self.promote_txn_index(base, size)?;
                }
            }
            _ => {}
        }
        for content in swap.into_keys() {
            let name = name::file_with_fate(base, content, Fate::Swap);
            notes.push(format!(
                "{name} is left over from a cleaning and is set aside"
            ));
            let deleted = name::file_with_fate(base, content, Fate::Deleted);
            self.dir.rename(&self.path(&name), &self.path(&deleted))?;
            self.names_changed = true;
        }
        Ok(())
    }

    /// Makes the names in the folder durable, if any changed.
    pub(super) fn sync_names(&mut self) -> Result<(), DiskError> {
        if std::mem::take(&mut self.names_changed) {
            self.dir.sync_dir(&self.name)?;
        }
        Ok(())
    }

    /// The segments, and nothing else of it.
    pub(super) fn into_segments(self) -> Vec<Segment> {
        let mut segments = self.segments;
        segments.shrink_to_fit();
        segments
    }

    /// A `.swap` whose originals are gone, or the first of them, becomes the live segment, if it is whole.
    fn promote(
        &mut self,
        base: Offset,
        size: u64,
        modified: Timestamp,
        txn_index: Option<u64>,
        notes: &mut Vec<String>,
    ) -> Result<(), OpenError> {
        let swap = self.path(&name::file_with_fate(base, Content::Log, Fate::Swap));
        let file = self.dir.open_file(&swap, Mode::Read)?;
        // Empty it is whole too: then nothing of the originals was worth keeping.
        let end = match scan::check_whole(&file)? {
            None if size == 0 => Some(base),
            end => end,
        };
        let Some(end) = end else {
            return Err(OpenError::Damaged {
                dir: self.dir.root().display().to_string(),
                path: self.dir.path(&swap).display().to_string(),
                position: 0,
                why: "a cleaned segment that is not whole, and its originals are gone".to_owned(),
            });
        };
        notes.push(format!(
            "{base:020}.log.swap takes the place of what it was cleaned from"
        ));
        // Originals that have their names still and lie between its base and its end; behind the end they may stay, what
        // they hold was to go and does no harm.
        for segment in self
            .segments
            .extract_if(.., |s| s.base > base && s.base < end)
        {
            let from = format!("{}/{}", self.name, name::file(segment.base, Content::Log));
            let deleted = name::file_with_fate(segment.base, Content::Log, Fate::Deleted);
            self.dir
                .rename(&from, &format!("{}/{deleted}", self.name))?;
        }
        // Index files that are still there under this base are the originals': they are rebuilt.
        for content in [Content::Index, Content::TimeIndex] {
            if self.files.remove(&(base, content)).is_some() {
                self.dir.remove_file(&self.file(base, content))?;
            }
        }
        match txn_index {
            Some(size) => self.promote_txn_index(base, size)?,
            None => self.prune_txn_index(base, &file)?,
        }
        // ORDER: the log last; until it has its name, this is done again.
        self.dir.sync_dir(&self.name)?;
        self.dir.rename(&swap, &self.file(base, Content::Log))?;
        self.names_changed = true;
        let mut segment = Segment::empty(base, modified);
        segment.size = size;
        segment.written = size;
        self.segments.push(segment);
        Ok(())
    }

    fn promote_txn_index(&mut self, base: Offset, size: u64) -> Result<(), DiskError> {
        let swap = self.path(&name::file_with_fate(base, Content::TxnIndex, Fate::Swap));
        self.dir
            .rename(&swap, &self.file(base, Content::TxnIndex))?;
        self.files.insert((base, Content::TxnIndex), size);
        Ok(())
    }

    /// The aborted index under this base may be the original's: an entry whose marker was cleaned away would have readers
    /// drop what its producer wrote later.
    fn prune_txn_index(&mut self, base: Offset, log: &File) -> Result<(), DiskError> {
        if !self.files.contains_key(&(base, Content::TxnIndex)) {
            return Ok(());
        }
        let bytes = self.dir.read_file(&self.file(base, Content::TxnIndex))?;
        let Some(entries) = index::decode_txn_index(&bytes) else {
            return Ok(());
        };
        let markers = scan::control_offsets(log)?;
        let kept: Vec<u8> = entries
            .iter()
            .filter(|entry| markers.binary_search(&entry.last_offset).is_ok())
            .flat_map(AbortedTransaction::encode)
            .collect();
        if kept.len() == bytes.len() {
            return Ok(());
        }
        self.replace(base, Content::TxnIndex, kept)
    }

    /// Index files without their log are of no use.
    fn remove_orphans(&mut self, notes: &mut Vec<String>) -> Result<(), DiskError> {
        let orphans: Vec<(Offset, Content)> = self
            .files
            .keys()
            .filter(|(base, content)| {
                *content != Content::Snapshot && !self.segments.iter().any(|s| s.base == *base)
            })
            .copied()
            .collect();
        for (base, content) in orphans {
            notes.push(format!(
                "{} has no log beside it and is removed",
                name::file(base, content)
            ));
            self.dir.remove_file(&self.file(base, content))?;
            self.files.remove(&(base, content));
            self.names_changed = true;
        }
        Ok(())
    }

    /// Why the index files of a segment cannot be believed.
    fn unsound_index(&mut self, at: usize) -> Result<Option<String>, DiskError> {
        let (base, size) = (self.segments[at].base, self.segments[at].size);
        if size == 0 {
            return Ok(None);
        }
        let Some(index_bytes) = self.files.get(&(base, Content::Index)).copied() else {
            return Ok(Some("it is missing".to_owned()));
        };
        let Some(time_bytes) = self.files.get(&(base, Content::TimeIndex)).copied() else {
            return Ok(Some("the time index is missing".to_owned()));
        };
        if index_bytes % INDEX_ENTRY_SIZE as u64 != 0 || time_bytes % TIME_ENTRY_SIZE as u64 != 0 {
            return Ok(Some(format!(
                "{index_bytes} and {time_bytes} bytes are no whole entries"
            )));
        }
        let next_base = self.segments.get(at + 1).map(|following| following.base);
        let fits = |relative: u32| next_base.is_none_or(|next| base + i64::from(relative) < next);
        let index_count = entries(index_bytes, INDEX_ENTRY_SIZE);
        if index_count > 0 {
            let file = self.reader(base, Content::Index)?;
            let last = index::index_entry(&file, index_count - 1, Wait::Yes)?;
            let lies = last.position == 0
                || u64::from(last.position) >= size
                || !fits(last.relative_offset);
            if lies || !self.is_batch_at(base, last)? {
                return Ok(Some("its last entry names no batch".to_owned()));
            }
        }
        let time_count = entries(time_bytes, TIME_ENTRY_SIZE);
        if time_count == 0 {
            return Ok(Some("the time index is empty".to_owned()));
        }
        let file = self.reader(base, Content::TimeIndex)?;
        let last = index::time_entry(&file, time_count - 1, Wait::Yes)?;
        if last.timestamp.is_none()
            || (last.timestamp.0 == 0 && time_count > 1)
            || !fits(last.relative_offset)
        {
            return Ok(Some(
                "the last entry of the time index cannot be".to_owned(),
            ));
        }
        Ok(None)
    }

    fn is_batch_at(&mut self, base: Offset, entry: index::IndexEntry) -> Result<bool, DiskError> {
        let file = self.reader(base, Content::Log)?;
        let mut bytes = [0_u8; crate::limits::BATCH_HEADER_SIZE];
        let n = file.read_at(&mut bytes, u64::from(entry.position), Wait::Yes)?;
        let wanted = base + i64::from(entry.relative_offset);
        Ok(crate::batch::Header::parse(&bytes[..n])
            .is_some_and(|header| header.last_offset() == wanted))
    }

    fn last_indexed_position(&mut self, at: usize) -> Result<u64, DiskError> {
        let segment = &self.segments[at];
        let (base, count) = (segment.base, segment.index_entries);
        if count == 0 {
            return Ok(0);
        }
        let file = self.reader(base, Content::Index)?;
        let last = index::index_entry(&file, count - 1, Wait::Yes)?;
        Ok(u64::from(last.position))
    }

    /// Takes the entries for the truth; writes them where the files say otherwise.
    fn write_indexes(&mut self, at: usize, found: &Scanned) -> Result<(), DiskError> {
        let base = self.segments[at].base;
        let segment = &mut self.segments[at];
        segment.index_entries = count(found.index.len());
        segment.time_entries = count(found.times.len());
        segment.max_timestamp = found.max_timestamp;
        segment.max_timestamp_offset = found.max_timestamp_offset;
        let index: Vec<u8> = found
            .index
            .iter()
            .flat_map(|entry| entry.encode())
            .collect();
        let times: Vec<u8> = found
            .times
            .iter()
            .flat_map(|entry| entry.encode())
            .collect();
        debug_assert_eq!(index.len() as u64, index_size(count(found.index.len())));
        debug_assert_eq!(
            times.len() as u64,
            time_index_size(count(found.times.len()))
        );
        for (content, bytes) in [(Content::Index, index), (Content::TimeIndex, times)] {
            let size = self.files.get(&(base, content)).copied();
            if bytes.is_empty() && size == Some(0) {
                continue;
            }
            // Also when the file says the same: a sync of it may have failed, and the page cache shows what the disk
            // does not have. Only what is written again is synced again.
            self.replace(base, content, bytes)?;
        }
        Ok(())
    }

    /// Writes a file anew and syncs it.
    fn replace(&mut self, base: Offset, content: Content, bytes: Vec<u8>) -> Result<(), DiskError> {
        self.write_anew(base, content, bytes)?;
        self.sync(base, content)
    }

    /// Writes a file anew, without a sync.
    fn write_anew(
        &mut self,
        base: Offset,
        content: Content,
        bytes: Vec<u8>,
    ) -> Result<(), DiskError> {
        let file = self
            .dir
            .open_file(&self.file(base, content), Mode::Replace)?;
        self.open.retain(|(key, _)| *key != (base, content));
        let before = self.files.insert((base, content), bytes.len() as u64);
        self.names_changed |= before.is_none();
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_at(&[Bytes::from(bytes)], 0)
    }

    fn sync(&self, base: Offset, content: Content) -> Result<(), DiskError> {
        self.dir
            .open_file(&self.file(base, content), Mode::Write)?
            .sync_data()
    }

    /// A file of a segment, open for reading.
    fn reader(&mut self, base: Offset, content: Content) -> Result<File, DiskError> {
        let key = (base, content);
        if let Some((_, file)) = self.open.iter().find(|(open, _)| *open == key) {
            return Ok(file.clone());
        }
        self.open.retain(|((open, _), _)| *open == base);
        let file = self.dir.open_file(&self.file(base, content), Mode::Read)?;
        self.open.push((key, file.clone()));
        Ok(file)
    }

    fn remove_segment(&mut self, base: Offset) -> Result<(), DiskError> {
        for content in [
            Content::Log,
            Content::Index,
            Content::TimeIndex,
            Content::TxnIndex,
        ] {
            self.dir.remove_file(&self.file(base, content))?;
            self.files.remove(&(base, content));
        }
        self.names_changed = true;
        Ok(())
    }

    fn snapshots(&self) -> Vec<Offset> {
        let snapshots = self
            .files
            .keys()
            .filter(|(_, content)| *content == Content::Snapshot);
        snapshots.map(|(offset, _)| *offset).collect()
    }

    fn file(&self, base: Offset, content: Content) -> String {
        self.path(&name::file(base, content))
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }
}

fn entries(size: u64, entry: usize) -> u32 {
    u32::try_from(size / entry as u64).unwrap_or(0)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

const COPY_SIZE: u64 = 1 << 20;
