//! One simulated file: what the process sees of it and what the disk has.
//!
//! **Owns** the page cache of a file in sectors: dirty ones, and those the disk refused.
//! **Lives on** the simulated disk.
//! **Invariants** 1. A sector that is neither dirty nor lost is the same on both sides, as far as both reach. 2. A lost
//! sector is clean to the kernel: a sync does not write it, and only a new write makes it dirty again.
//! **Not here** when sectors are written back, and which survive (`disk::sim`).

use std::collections::BTreeSet;

use super::chance::Random;

/// A file's bytes, volatile and durable.
#[derive(Default)]
pub(super) struct Inode {
    /// What reads return.
    pub volatile: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since they last reached the disk.
    dirty: BTreeSet<usize>,
    /// Sectors the disk refused: the page cache shows what was written, the disk has what was before.
    lost: BTreeSet<usize>,
    /// A truncation that is not on the disk.
    cut: Option<usize>,
    /// A write-back failed and nobody was told yet.
    pub error: bool,
    /// Time of the last change, in ms since 1970.
    pub modified: i64,
}

impl Inode {
    /// Writes into the page cache.
    pub(super) fn write(&mut self, position: usize, bytes: &[u8], sector: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        let from = position.min(self.volatile.len());
        if self.volatile.len() < end {
            self.volatile.resize(end, 0);
        }
        self.volatile[position..end].copy_from_slice(bytes);
        for touched in from / sector..=(end - 1) / sector {
            self.dirty.insert(touched);
            self.lost.remove(&touched);
        }
    }

    /// Cuts the file or makes it longer with zeros.
    pub(super) fn truncate(&mut self, size: usize, sector: usize) {
        if size < self.volatile.len() {
            self.cut = Some(self.cut.map_or(size, |cut| cut.min(size)));
            self.dirty.retain(|number| number * sector < size);
            self.lost.retain(|number| number * sector < size);
        } else if size > self.volatile.len() {
            self.dirty
                .extend(self.volatile.len() / sector..=(size - 1) / sector);
        }
        self.volatile.resize(size, 0);
    }

    /// Everything reaches the disk, but for what it refused before.
    pub(super) fn sync(&mut self, sector: usize) {
        self.apply_cut();
        self.durable.resize(self.volatile.len(), 0);
        for number in std::mem::take(&mut self.dirty) {
            self.store(number, sector);
        }
    }

    /// Some dirty sectors reach the disk by themselves. Those that do are clean.
    pub(super) fn write_back(&mut self, random: &mut Random, sector: usize) -> bool {
        let numbers = self.draw_dirty(random);
        if !numbers.is_empty() {
            self.apply_cut();
        }
        for number in &numbers {
            self.store(*number, sector);
            self.dirty.remove(number);
        }
        !numbers.is_empty()
    }

    /// The disk refuses dirty sectors (all of them when a sync fails): they are clean from now on, and only the page
    /// cache has what was written. Says whether there were any.
    pub(super) fn refuse(&mut self, random: &mut Random, sector: usize, all: bool) -> bool {
        let numbers = if all {
            std::mem::take(&mut self.dirty)
        } else {
            self.draw_dirty(random)
        };
        let any = !numbers.is_empty();
        for number in numbers {
            self.dirty.remove(&number);
            if all && random.one_in(3) {
                self.apply_cut();
                self.store(number, sector);
            } else {
                self.lost.insert(number);
            }
        }
        any
    }

    /// Clean pages leave the page cache: what the disk refused is seen as the disk has it. Says whether anything was.
    pub(super) fn forget_clean(&mut self, sector: usize) -> bool {
        let any = !self.lost.is_empty();
        for number in std::mem::take(&mut self.lost) {
            let start = number * sector;
            let end = (start + sector).min(self.volatile.len());
            for at in start..end {
                self.volatile[at] = self.durable.get(at).copied().unwrap_or(0);
            }
        }
        any
    }

    /// Power is cut: what is durable stays, and of the dirty sectors each with a chance of `odds` in 8. The size may
    /// have become durable without the bytes.
    pub(super) fn crash(&mut self, random: &mut Random, sector: usize, odds: u64) {
        if self.cut.is_some() && random.below(8) < odds {
            self.apply_cut();
        }
        self.cut = None;
        for number in std::mem::take(&mut self.dirty) {
            if random.below(8) < odds {
                self.store(number, sector);
            }
        }
        if self.durable.len() < self.volatile.len() && random.one_in(16) {
            self.durable.resize(self.volatile.len(), 0);
        }
        self.lost.clear();
        self.error = false;
        self.volatile.clone_from(&self.durable);
    }

    /// Flips a bit on the disk and in the page cache.
    pub(super) fn flip(&mut self, position: usize, bit: u8) {
        for half in [&mut self.volatile, &mut self.durable] {
            if let Some(byte) = half.get_mut(position) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Whether there is anything the disk does not have.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn apply_cut(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.truncate(cut);
        }
    }

    fn store(&mut self, number: usize, sector: usize) {
        let start = number * sector;
        let end = (start + sector).min(self.volatile.len());
        if start < end {
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[start..end].copy_from_slice(&self.volatile[start..end]);
        }
    }

    fn draw_dirty(&self, random: &mut Random) -> BTreeSet<usize> {
        self.dirty
            .iter()
            .copied()
            .filter(|_| random.one_in(2))
            .collect()
    }
}
