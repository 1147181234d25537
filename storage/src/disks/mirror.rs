//! Copying a partition's folder to another log directory while it is written to, and putting the copy in its place.
//!
//! **Owns** the `-future` folder, what of it is copied, the order of the steps that make it the partition's folder.
//! **Lives on** the companion, in pieces that the owner paces; between them it is plain data.
//! **Invariants** 1. The copy is whole and synced before the original loses its name: whatever folder has the
//! partition's name, or is the only one left, has every acknowledged record. 2. A crash at any step leaves one truth: the
//! original beside a `-future` folder (to be dropped), or no original and a `-future` folder (to be promoted), or the
//! copy. 3. What is set aside in the folder goes along; leftovers of deletions and cleanings do not. 4. Names are not
//! versions: what was copied before a cleaned segment or a truncation changed the files is copied anew.
//! **Not here** when to copy how much, and holding the writes at the end (`broker`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::disk::{DiskError, Entry, EntryKind, LogDir, Mode, Wait};
use crate::segment::name::{self, Content, Fate};
use crate::types::{Offset, TopicPartition};

/// Which side of a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The directory that the partition lies in.
    #[error("reading: {0}")]
    Source(#[source] DiskError),
    /// The directory that it shall move to.
    #[error("writing: {0}")]
    Target(#[source] DiskError),
}

/// A copy that grows.
#[derive(Debug)]
pub struct Mirror {
    source: LogDir,
    target: LogDir,
    partition: TopicPartition,
    /// Name of the folder in `target`.
    future: String,
    files: BTreeMap<String, Copied>,
    copied: u64,
    /// The state of the original's files that `files` is of.
    layout: u64,
}

/// What is copied of a file.
#[derive(Clone, Copy, Debug, Default)]
struct Copied {
    bytes: u64,
    /// Copied whole and synced when it had this size and time of change.
    whole: Option<(u64, i64)>,
}

/// The segments as their owner knows them: base and written bytes, oldest first; the last one still grows.
pub type Segments = [(Offset, u64)];

/// What a piece of copying came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes copied now.
    pub copied: u64,
    /// Bytes of the segments that were still to copy when it began.
    pub left: u64,
    /// Below this offset everything is in the copy.
    pub end: Offset,
}

impl Mirror {
    /// Creates the `-future` folder. `id` keeps its name unique.
    pub fn begin(
        source: &LogDir,
        target: &LogDir,
        partition: &TopicPartition,
        id: u128,
    ) -> Result<Self, MirrorError> {
        let future = name::future_folder(partition, id);
        target.create_dir(&future).map_err(MirrorError::Target)?;
        target.sync_dir("").map_err(MirrorError::Target)?;
        Ok(Self {
            source: source.clone(),
            target: target.clone(),
            partition: partition.clone(),
            future,
            files: BTreeMap::new(),
            copied: 0,
            layout: 0,
        })
    }

    /// Bytes in the copy's segments.
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// Copies at most `budget` bytes of the segments, oldest first. `layout` is the log's ([`crate::log::Log::layout`])
    /// from when they were asked for. An error of the source says nothing when the log has another one by now.
    pub fn step(
        &mut self,
        segments: &Segments,
        layout: u64,
        budget: u64,
    ) -> Result<Step, MirrorError> {
        self.begin_layout(layout);
        let mut step = Step {
            copied: 0,
            left: 0,
            end: segments.first().map_or(Offset::ZERO, |(base, _)| *base),
        };
        for (at, (base, written)) in segments.iter().enumerate() {
            let file = name::file(*base, Content::Log);
            let before = self.files.get(&file).map_or(0, |copied| copied.bytes);
            step.left += written.saturating_sub(before);
            let room = budget - step.copied;
            if before < *written && room > 0 {
                let to = (*written).min(before.saturating_add(room));
                step.copied += self.extend(&file, to)?;
            }
            let whole = self.files.get(&file).map_or(0, |copied| copied.bytes) >= *written;
            if let Some((following, _)) = segments.get(at + 1)
                && whole
                && step.left <= step.copied
            {
                step.end = *following;
            }
        }
        self.copied += step.copied;
        Ok(step)
    }

    /// Brings the copied bytes to the disk, so that little is left to sync at the end.
    pub fn sync(&self) -> Result<(), MirrorError> {
        for file in self.files.keys() {
            self.target
                .open_file(&self.future_file(file), Mode::Write)
                .and_then(|file| file.sync_data())
                .map_err(MirrorError::Target)?;
        }
        Ok(())
    }

    /// Copies what is missing, syncs, and puts the copy in the original's place, which becomes a `-delete` folder: its
    /// name is returned. Nothing may be written to the original meanwhile. After an error the original is in its
    /// place.
    pub fn finish(
        &mut self,
        segments: &Segments,
        layout: u64,
        id: u128,
    ) -> Result<String, MirrorError> {
        self.begin_layout(layout);
        let source = self.list()?;
        for (base, written) in segments {
            let file = name::file(*base, Content::Log);
            let entry = source.iter().find(|entry| entry.name == file);
            self.complete_log(&file, *written, entry)?;
        }
        let last = segments.last().map(|(base, _)| *base);
        let is_live = |base: Offset| segments.iter().any(|(one, _)| *one == base);
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for entry in &source {
            // What grows, and what is replaced under its name, is copied again however it looks.
            let fresh = match name::parse_file(&entry.name) {
                Some((base, Content::Snapshot, _)) => Some(base) >= last,
                Some((base, _, _)) if !is_live(base) => continue,
                Some((base, _, _)) => Some(base) == last,
                None => true,
            };
            kept.insert(&entry.name);
            if !matches!(name::parse_file(&entry.name), Some((_, Content::Log, _))) {
                self.copy_whole(entry, fresh)?;
            }
        }
        let copies = self
            .target
            .list(&self.future)
            .map_err(MirrorError::Target)?;
        for entry in copies
            .iter()
            .filter(|entry| !kept.contains(entry.name.as_str()))
        {
            // Retention took the original away.
            let path = self.future_file(&entry.name);
            self.target
                .remove_file(&path)
                .map_err(MirrorError::Target)?;
        }
        self.target
            .sync_dir(&self.future)
            .map_err(MirrorError::Target)?;
        self.commit(id)
    }

    /// A cleaned segment has the name of the first it was made of, and a truncated one may have grown again: the front
    /// of one and the end of the other are no segment.
    fn begin_layout(&mut self, layout: u64) {
        if self.layout != layout {
            self.layout = layout;
            self.files.clear();
        }
    }

    /// Removes the copy.
    pub fn abandon(self) -> Result<(), DiskError> {
        self.target.remove_dir(&self.future)
    }

    fn commit(&self, id: u128) -> Result<String, MirrorError> {
        // ORDER: the original loses its name, durably, before the copy gets it: a partition is never found twice. In
        // between the copy is the only one, and is promoted by the next start.
        let deleted = self
            .source
            .mark_deleted(&self.partition, id)
            .map_err(MirrorError::Source)?;
        self.source.sync_dir("").map_err(MirrorError::Source)?;
        let folder = name::folder(&self.partition);
        let renamed = self
            .target
            .rename(&self.future, &folder)
            .and_then(|()| self.target.sync_dir(""));
        if let Err(error) = renamed {
            // ORDER: the copy gives the name back first, durably, if its disk still can.
            let _ = self
                .target
                .rename(&folder, &self.future)
                .and_then(|()| self.target.sync_dir(""));
            self.source
                .rename(&deleted, &folder)
                .and_then(|()| self.source.sync_dir(""))
                .map_err(MirrorError::Source)?;
            return Err(MirrorError::Target(error));
        }
        Ok(deleted)
    }

    /// The files of the original that go along.
    fn list(&self) -> Result<Vec<Entry>, MirrorError> {
        let folder = name::folder(&self.partition);
        let mut entries = self.source.list(&folder).map_err(MirrorError::Source)?;
        entries.retain(|entry| {
            let leftover = entry.name.rsplit_once('.').is_some_and(|(_, end)| end == "tmp")
                || matches!(name::parse_file(&entry.name), Some((_, _, fate)) if fate != Fate::Live);
            entry.kind == EntryKind::File && !leftover
        });
        Ok(entries)
    }

    /// Brings a segment's copy to `written` bytes and to the disk; one that was replaced since it was copied is copied
    /// anew.
    fn complete_log(
        &mut self,
        file: &str,
        written: u64,
        entry: Option<&Entry>,
    ) -> Result<(), MirrorError> {
        let seen = entry.map(|entry| (entry.size, entry.modified));
        let copied = self.files.get(file).copied().unwrap_or_default();
        if copied.bytes == written && copied.whole.is_some() && copied.whole == seen {
            return Ok(());
        }
        if copied.bytes > written {
            self.files.remove(file);
        }
        self.extend(file, written)?;
        let path = self.future_file(file);
        let copy = self
            .target
            .open_file(&path, Mode::Create)
            .map_err(MirrorError::Target)?;
        copy.truncate(written).map_err(MirrorError::Target)?;
        copy.sync_data().map_err(MirrorError::Target)?;
        if let Some(copied) = self.files.get_mut(file) {
            copied.whole = seen;
        }
        Ok(())
    }

    /// Copies a small file, unless that was done and it is as it was then.
    fn copy_whole(&mut self, entry: &Entry, always: bool) -> Result<(), MirrorError> {
        let seen = Some((entry.size, entry.modified));
        let copied = self.files.get(&entry.name).copied().unwrap_or_default();
        if !always && copied.whole == seen {
            return Ok(());
        }
        self.files.remove(&entry.name);
        self.extend(&entry.name, entry.size)?;
        let path = self.future_file(&entry.name);
        let copy = self
            .target
            .open_file(&path, Mode::Create)
            .map_err(MirrorError::Target)?;
        copy.truncate(entry.size).map_err(MirrorError::Target)?;
        copy.sync_data().map_err(MirrorError::Target)?;
        if let Some(copied) = self.files.get_mut(&entry.name) {
            copied.whole = seen;
        }
        Ok(())
    }

    /// Copies a file from where its copy ends up to `to`. Returns how many bytes.
    fn extend(&mut self, file: &str, to: u64) -> Result<u64, MirrorError> {
        let from = format!("{}/{file}", name::folder(&self.partition));
        let source = self
            .source
            .open_file(&from, Mode::Read)
            .map_err(MirrorError::Source)?;
        let target = self
            .target
            .open_file(&self.future_file(file), Mode::Create)
            .map_err(MirrorError::Target)?;
        let copied = self.files.entry(file.to_owned()).or_default();
        let begun = copied.bytes;
        while copied.bytes < to {
            let size = usize::try_from((to - copied.bytes).min(PIECE)).unwrap_or(0);
            let mut piece = vec![0_u8; size];
            let n = source
                .read_at(&mut piece, copied.bytes, Wait::Yes)
                .map_err(MirrorError::Source)?;
            if n == 0 {
                let short = std::io::ErrorKind::UnexpectedEof.into();
                let path = self.source.path(&from);
                return Err(MirrorError::Source(DiskError::new(
                    "read",
                    path.display(),
                    short,
                )));
            }
            piece.truncate(n);
            target
                .write_at(&[Bytes::from(piece)], copied.bytes)
                .map_err(MirrorError::Target)?;
            copied.bytes += n as u64;
        }
        Ok(copied.bytes - begun)
    }

    fn future_file(&self, file: &str) -> String {
        format!("{}/{file}", self.future)
    }
}

/// What is in memory of a copy at a time.
const PIECE: u64 = 256 << 10;

#[cfg(test)]
mod tests;
