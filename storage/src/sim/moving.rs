//! The partition moves between two log directories, beside everything else.
//!
//! **Owns** the pieces of a copy, its end, and what a start makes of a move that a crash interrupted.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. Whatever ends a move, the partition is found in one directory, or can be promoted in one.
//! **Not here** the copy (`disks::mirror`), who throttles it (the broker).

use super::check::require;
use super::marks::reached;
use super::world::{Outcome, World, partition};
use crate::checkpoint::name;
use crate::disk::DiskError;
use crate::disks::mirror::{Mirror, MirrorError};
use crate::segment::name::folder;

impl World {
    /// Begins a copy in the other directory, goes on with it, or puts it in the original's place.
    pub(super) fn copy_elsewhere(&mut self) -> Outcome {
        if self.log.failure().is_some() {
            return Ok(());
        }
        self.activity = "moving";
        let Some(mut mirror) = self.mirror.take() else {
            return match Mirror::begin(&self.dir, &self.other, &partition(), self.id()) {
                Ok(mirror) => {
                    self.mirror = Some(mirror);
                    Ok(())
                }
                Err(error) => self.copy_failed(None, &error),
            };
        };
        let (segments, layout) = (self.log.segments_written(), self.log.layout());
        let budget = self.random.pick(&[300, 3000, 1 << 20]);
        let left = match mirror.step(&segments, layout, budget) {
            Ok(step) => step.left - step.copied,
            Err(MirrorError::Source(error))
                if error.is_not_found() || !self.log.is_current(layout) =>
            {
                // Retention was faster, or a cleaned segment took the place of what was being read.
                self.mirror = Some(mirror);
                return Ok(());
            }
            Err(error) => return self.copy_failed(Some(mirror), &error),
        };
        if self.cleaning.is_some() || self.log.is_swapping() {
            reached("cleaned while it was copied");
        }
        let out = !self.writes.is_empty() || self.sync.is_some() || self.work.is_some();
        if left > LAST_BYTES || out || !self.log.is_still() || self.log.deletion_waits() {
            self.mirror = Some(mirror);
            return Ok(());
        }
        let segments = self.log.segments_written();
        let deleted = match mirror.finish(&segments, layout, self.id()) {
            Ok(deleted) => deleted,
            Err(error) => return self.copy_failed(Some(mirror), &error),
        };
        reached("moved to another log directory");
        self.log.relocated(self.other.clone());
        std::mem::swap(&mut self.dir, &mut self.other);
        self.left = true;
        if self.random.one_in(2)
            && let Err(error) = self.other.remove_dir(&deleted)
        {
            // The next start removes it.
            self.blame(&error)?;
        }
        Ok(())
    }

    fn copy_failed(&mut self, mirror: Option<Mirror>, error: &MirrorError) -> Outcome {
        if self.disk.struck().is_some() {
            return Ok(());
        }
        match error {
            MirrorError::Target(target) => {
                self.blame(target)?;
                if let Some(mirror) = mirror {
                    // What cannot be removed now is removed at the next start.
                    let _ = mirror.abandon();
                }
                Ok(())
            }
            MirrorError::Source(error) => self.disk_failed(error),
        }
    }

    /// The checkpoints of the directory that the log left speak of it no more: that of its place does.
    pub(super) fn forget_in_the_other(&mut self) -> Outcome {
        if !std::mem::take(&mut self.left) {
            return Ok(());
        }
        if let Err(error) = self.clear_the_other() {
            self.left = true;
            return self.blame(&error);
        }
        Ok(())
    }

    /// Empties the checkpoints of the directory that the log does not lie in.
    pub(super) fn clear_the_other(&self) -> Result<(), DiskError> {
        for file in [
            name::RECOVERY_POINTS,
            name::HIGH_WATERMARKS,
            name::LOG_STARTS,
        ] {
            self.other.write_offsets(file, [])?;
        }
        Ok(())
    }

    /// What a crash left of a move: a copy beside its original goes, one without an original is the partition.
    pub(super) fn resolve_moves(&mut self) -> Result<(), DiskError> {
        let (here, there) = (self.dir.folders()?, self.other.folders()?);
        let mut is_there = !there.live.is_empty();
        let mut is_anywhere = is_there || !here.live.is_empty();
        for (directory, folders, is_other) in
            [(&self.dir, &here, false), (&self.other, &there, true)]
        {
            for future in &folders.future {
                if is_anywhere {
                    directory.remove_dir(future)?;
                } else {
                    // ORDER: that the original lost its name is durable before the copy has it.
                    self.dir.sync_dir("")?;
                    self.other.sync_dir("")?;
                    directory.rename(future, &folder(&partition()))?;
                    directory.sync_dir("")?;
                    reached("copy promoted");
                    (is_anywhere, is_there) = (true, is_other);
                }
            }
            if is_anywhere {
                for deleted in &folders.deleted {
                    directory.remove_dir(deleted)?;
                }
            }
        }
        if is_there && here.live.is_empty() {
            std::mem::swap(&mut self.dir, &mut self.other);
            self.left = true;
        }
        Ok(())
    }

    /// The partition lies in one directory.
    pub(super) fn lies_once(&self) -> Outcome {
        let count = [&self.dir, &self.other]
            .iter()
            .filter_map(|directory| directory.folders().ok())
            .filter(|folders| !folders.live.is_empty())
            .count();
        require!(
            Acknowledged,
            count == 1,
            "the partition lies in {count} directories"
        );
        Ok(())
    }

    fn id(&self) -> u128 {
        self.step as u128 + 1
    }
}

/// With no more than this to copy the writes are held and the move ends.
const LAST_BYTES: u64 = 2000;
