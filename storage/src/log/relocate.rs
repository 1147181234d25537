//! A log whose folder moved to another log directory.
//!
//! **Owns** what the owner must know to copy a log, and the change of its place. **Lives on** the owning shard.
//! **Invariants** 1. A log changes its place only when no plan of it is out, and the copy has all that is written, synced.
//! **Not here** the copying (`disks::mirror`).

use super::Log;
use crate::disk::LogDir;
use crate::types::Offset;

impl Log {
    /// Base and written bytes of every segment, oldest first: what a copy must hold.
    pub fn segments_written(&self) -> Vec<(Offset, u64)> {
        self.segments
            .iter()
            .map(|segment| (segment.base, segment.written))
            .collect()
    }

    /// Whether no write, sync or work is out, so that the files stand still until the next is taken.
    pub fn is_still(&self) -> bool {
        self.syncing.is_none()
            && self.chores.nothing_runs()
            && self.swap.is_none()
            && !self.writes.iter().any(super::append::PendingWrite::is_out)
    }

    /// Whether a deletion waits for file work in front of it ([`Log::take_work`]). Then the log is not to move: what it
    /// deletes is not copied, and what it waits for (the producer snapshot that speaks for the deleted segments) is not
    /// written yet.
    pub fn deletion_waits(&self) -> bool {
        self.chores.deletes_behind_writes()
    }

    /// The folder is in another log directory now, with everything written, synced.
    ///
    /// # Panics
    /// When a plan is out: it would be carried out in the old place.
    pub fn relocated(&mut self, dir: LogDir) {
        assert!(
            self.is_still(),
            "a log was moved while a plan of it was out"
        );
        self.dir = dir;
        for segment in &mut self.segments {
            segment.file = None;
            segment.index_file = None;
        }
        // What was written behind a gap, where the disk had been full, did not come along: it is written again.
        for write in &mut self.writes {
            write.repeat();
        }
        self.active.reserved = self.segment().written;
        self.unsynced.clear();
        // A segment that was rolled meanwhile gets its file here with its first write.
        self.folder_changed = true;
        self.durable = self.durable.max(self.written);
        self.producers.durable_to(self.durable);
        // Files that deletions renamed did not come along.
        self.unlink.clear();
        // Lookups that are under way know the old files: they are asked again.
        self.cursors = super::Cursors::default();
        self.generation += 1;
        self.layout += 1;
    }
}
