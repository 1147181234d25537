//! **Owns** which leader epoch began at which offset of a partition, and the file that keeps it.
//! **Lives on** the shard that owns the partition, inside its log.
//! **Invariants** (1) Epochs and start offsets both ascend strictly. (2) An offset belongs to the last epoch that began at
//! or before it.
//! **Not here** writing the file (`log`, through the disk door).

use crate::checkpoint::{LineError, Lines};
use crate::types::{LeaderEpoch, Offset};

/// The leader epochs of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochEntry>,
}

/// An epoch and where it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// The first offset that its leader wrote.
    pub start_offset: Offset,
}

/// Where an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch up to the one asked for.
    pub epoch: LeaderEpoch,
    /// The offset behind its last record.
    pub end_offset: Offset,
}

impl LeaderEpochs {
    /// No epoch known.
    pub fn new() -> Self {
        Self::default()
    }

    /// All epochs, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The oldest epoch known.
    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// The epoch that `offset` was written in.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        Some(self.entries[..after].last()?.epoch)
    }

    /// The newest epoch before `epoch`.
    pub fn before(&self, epoch: LeaderEpoch) -> Option<EpochEntry> {
        let from = self.entries.partition_point(|entry| entry.epoch < epoch);
        self.entries[..from].last().copied()
    }

    /// Says that `epoch` wrote at `offset`. True when that was news, and the file must be written. Entries that it
    /// contradicts (as new an epoch, or as far an offset) go.
    pub fn assign(&mut self, epoch: LeaderEpoch, offset: Offset) -> bool {
        if epoch.is_none() || offset.is_none() {
            return false;
        }
        if let Some(latest) = self.latest()
            && latest.epoch == epoch
            && latest.start_offset <= offset
        {
            return false;
        }
        self.entries
            .retain(|entry| entry.epoch < epoch && entry.start_offset < offset);
        self.entries.push(EpochEntry {
            epoch,
            start_offset: offset,
        });
        true
    }

    /// Where `epoch` ended, as `OffsetForLeaderEpoch` answers it; None when the epoch is none or newer than all known.
    /// The newest epoch ends at `log_end_offset`. An epoch before all known ends where the first known began.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end_offset: Offset) -> Option<EpochEnd> {
        if epoch.is_none() {
            return None;
        }
        if self.latest()?.epoch == epoch {
            return Some(EpochEnd {
                epoch,
                end_offset: log_end_offset,
            });
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let end_offset = self.entries.get(higher)?.start_offset;
        let epoch = self.entries[..higher]
            .last()
            .map_or(epoch, |entry| entry.epoch);
        Some(EpochEnd { epoch, end_offset })
    }

    /// The log was cut: nothing from `end_offset` on is left. True when an entry went.
    pub fn truncate_to(&mut self, end_offset: Offset) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// The log now starts at `start_offset`: older epochs go, the one that reaches over it begins there. True when
    /// something changed.
    pub fn start_moved_to(&mut self, start_offset: Offset) -> bool {
        let reached = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(over) = reached.checked_sub(1) else {
            return false;
        };
        if over == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..over);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Reads `leader-epoch-checkpoint`.
    pub fn parse(text: &[u8]) -> Result<Self, LineError> {
        let mut lines = Lines::versioned(text)?;
        let mut entries: Vec<EpochEntry> = Vec::new();
        while let Some([epoch, offset]) = lines.entry("an epoch and its start offset")? {
            let entry = EpochEntry {
                epoch: LeaderEpoch(lines.number(epoch, "a leader epoch")?),
                start_offset: Offset(lines.number(offset, "an offset")?),
            };
            if entries.last().is_some_and(|last| {
                last.epoch >= entry.epoch || last.start_offset >= entry.start_offset
            }) {
                return Err(lines.error("an epoch and an offset above those of the line before"));
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }

    /// The contents of `leader-epoch-checkpoint`.
    pub fn print(&self) -> String {
        use std::fmt::Write;

        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start_offset);
        }
        text
    }
}

#[cfg(test)]
mod tests;
