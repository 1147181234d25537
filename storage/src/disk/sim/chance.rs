//! How often a simulated disk misbehaves, and in which way.
//!
//! **Owns** the draws and the kinds of misfortune.
//! **Lives on** the simulated disk.
//! **Invariants** 1. The same seed draws the same on every machine.
//! **Not here** what a misfortune does (`disk::sim`).

/// Chances out of 10,000 per operation; all zero is a good disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chances {
    /// A read fails with EIO.
    pub read: u32,
    /// A write fails with EIO; some of its bytes may have arrived.
    pub write: u32,
    /// A file's sync fails: its dirty pages are dropped and marked clean, as Linux does.
    pub sync: u32,
    /// Opening, cutting, renaming, unlinking, listing or syncing a directory fails with EIO.
    pub names: u32,
    /// A read or a write moves fewer bytes than it was asked to.
    pub short: u32,
    /// Dirty pages reach the disk by themselves, in any order.
    pub write_back: u32,
    /// They are refused then, and the next sync of the file says so, once.
    pub write_back_fails: u32,
    /// The journal of names commits by itself.
    pub commit: u32,
    /// Clean pages leave the page cache.
    pub forget: u32,
}

/// How the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// Power is cut: see [`super::Disk::crash`].
    Power,
    /// The process is killed: see [`super::Disk::kill`].
    Kill,
}

/// xorshift64*, seeded by splitmix64.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// Draws that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self((z ^ (z >> 31)) | 1)
    }

    /// A number below `n`; zero when `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        if n == 0 { 0 } else { drawn % n }
    }

    /// True once in `n` draws.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// True with a chance of `chance` in 10,000.
    pub fn chance(&mut self, chance: u32) -> bool {
        chance > 0 && self.below(10_000) < u64::from(chance)
    }

    /// An index into something of `n` things.
    pub fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}
