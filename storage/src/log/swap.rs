//! Taking over cleaned segments.
//!
//! **Owns** the check whether a cleaned segment still fits, the order of renames, the swap in the log's books.
//! **Lives on** the owning shard; the renames run on the companion as one [`super::Work`].
//! **Invariants** 1. The books name the originals until every rename is done and durable. 2. While the names change, and
//! after, no answer counts that a job found by names from before. 3. At every point of the order either all originals
//! are there, or the `.swap` log is whole with its aborted index beside it.
//! **Not here** what was cleaned (`compaction`), crash leftovers (`recovery::folder`).

use super::work::Step;
use super::{Cursors, Log};
use crate::compaction::Cleaned;
use crate::segment::Segment;
use crate::segment::name::{self, Content, Fate};
use crate::types::Offset;

/// What came of handing a cleaned segment to the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is being taken over: [`Log::take_work`] has the renames, [`Log::is_swapping`] is true until they are done.
    Swapping,
    /// The log has changed: the segments it was made of are not all there any more. Its files are to be removed by the
    /// next [`Log::take_work`], and the cleaning is to end.
    Outdated,
}

impl Log {
    /// Whether a cleaned segment is being taken over.
    pub fn is_swapping(&self) -> bool {
        self.swap.is_some()
    }

    /// Whether files of an outdated cleaning are still to be removed: the next [`Log::take_work`] does.
    pub(crate) fn is_discarding(&self) -> bool {
        self.chores.discards()
    }

    /// Names the state of the files: a job's answer counts only if [`Log::is_current`] says so of the number from when
    /// the job was made.
    pub fn layout(&self) -> u64 {
        self.layout
    }

    /// Whether a job made at `layout` found what it looked for in files that are still the log's.
    pub fn is_current(&self, layout: u64) -> bool {
        self.layout == layout && self.swap.is_none()
    }

    /// Takes a cleaned segment over in place of those it was made of, if they are all still there.
    pub fn replace(&mut self, cleaned: Cleaned) -> Replaced {
        if !self.fits(&cleaned) {
            let removals = cleaned.contents().map(|content| Step::Remove {
                name: self.name_with_fate(cleaned.base, content, Fate::Cleaned),
            });
            let steps = removals.collect();
            if self.failed.is_none() {
                self.chores.add_discard(steps);
            }
            return Replaced::Outdated;
        }
        let folder = self.folder.to_string();
        let mut steps = Vec::new();
        if let Some(content) = &cleaned.snapshot {
            // ORDER: before the markers go. With them it does no harm.
            steps.push(Step::ReplaceAtomically {
                name: self.name(cleaned.base, Content::Snapshot),
                content: content.clone(),
            });
        }
        let rename = |base, content, from, to| {
            let from = self.name_with_fate(base, content, from);
            let to = self.name_with_fate(base, content, to);
            (from, to)
        };
        // ORDER: with `.log.swap` there, everything that belongs to it is there.
        for content in cleaned.contents() {
            let (from, to) = rename(cleaned.base, content, Fate::Cleaned, Fate::Swap);
            steps.push(Step::Move { from, to });
        }
        steps.push(Step::SyncDir {
            name: folder.clone(),
        });
        // ORDER: oldest first, so that a crash leaves the first original (then all are there) or the swap and the last
        // originals. Index files before their log: they can be rebuilt, and must not be taken for the new log's. The
        // aborted index after it: without, aborted records would be read.
        for (base, _) in &cleaned.sources {
            for content in [
                Content::Index,
                Content::TimeIndex,
                Content::Log,
                Content::TxnIndex,
            ] {
                let (from, to) = rename(*base, content, Fate::Live, Fate::Deleted);
                steps.push(Step::Rename { from, to });
            }
        }
        for content in cleaned.contents() {
            let (from, to) = rename(cleaned.base, content, Fate::Swap, Fate::Live);
            steps.push(Step::Move { from, to });
        }
        for (base, _) in &cleaned.sources[1..] {
            steps.push(Step::Remove {
                name: self.name(*base, Content::Snapshot),
            });
        }
        steps.push(Step::SyncDir { name: folder });
        self.chores.add_swap(steps);
        self.swap = Some(Box::new(cleaned));
        Replaced::Swapping
    }

    /// The renames are done: the books follow.
    pub(super) fn finish_swap(&mut self) {
        let Some(cleaned) = self.swap.take() else {
            return;
        };
        for (base, _) in &cleaned.sources {
            for content in [
                Content::Log,
                Content::Index,
                Content::TimeIndex,
                Content::TxnIndex,
            ] {
                let name = self.name_with_fate(*base, content, Fate::Deleted);
                self.unlink.push(Step::Remove { name });
            }
        }
        let first = self.segment_at(cleaned.base);
        let segment = Segment {
            base: cleaned.base,
            size: cleaned.size,
            max_timestamp: cleaned.max_timestamp,
            max_timestamp_offset: cleaned.max_timestamp_offset,
            modified: cleaned.modified,
            index_entries: cleaned.index_entries,
            time_entries: cleaned.time_entries,
            aborted: cleaned.aborted,
            file: None,
            index_file: None,
            written: cleaned.size,
        };
        let sources = first..first + cleaned.sources.len();
        self.segments.splice(sources, [segment]);
        // Positions in memory are those of the originals.
        self.tail.drop_below(cleaned.next);
        self.cursors = Cursors::default();
        self.layout += 1;
    }

    fn fits(&self, cleaned: &Cleaned) -> bool {
        if self.failed.is_some() || self.swap.is_some() || self.generation != cleaned.generation {
            return false;
        }
        let Some(first) = self.segment_index(cleaned.base) else {
            return false;
        };
        let there = self.segments[first..]
            .iter()
            .map(|segment| (segment.base, segment.size));
        let behind = self.segments.get(first + cleaned.sources.len());
        cleaned
            .sources
            .iter()
            .copied()
            .eq(there.take(cleaned.sources.len()))
            && behind.is_some_and(|segment| segment.base == cleaned.next)
    }

    fn name_with_fate(&self, base: Offset, content: Content, fate: Fate) -> String {
        format!(
            "{}/{}",
            self.folder,
            name::file_with_fate(base, content, fate)
        )
    }
}
