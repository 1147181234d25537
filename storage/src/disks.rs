//! Several log directories: how full each may get, and which one takes a new partition.
//!
//! **Owns** the reserve's default, the state "disk full" with its edges, the bytes a shard may append between two looks at
//! a disk, the choice of the least loaded directory.
//! **Lives on** any shard: pure decisions over numbers; the looks are [`crate::disk::LogDir::look`].
//! **Invariants** 1. All allowances of one look together never exceed what is free above the reserve. 2. A full disk
//! is left only with more free than it was entered with, so the state does not flap. 3. A directory that is not usable
//! gets nothing new.
//! **Not here** what a failed disk does to its partitions (`broker`), the system calls (`disk`).

pub mod mirror;

/// Bytes to keep free on a disk of `total` bytes when the settings do not say: 2 % of it, at most 1 GiB.
#[must_use]
pub fn reserve_default(total: u64) -> u64 {
    (total / 50).min(1 << 30)
}

/// Whether producing is refused because the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fullness {
    /// There is room above the reserve.
    Room,
    /// What is free is the reserve: only the broker itself writes.
    Full,
}

impl Fullness {
    /// The state after a look that found `free` bytes.
    #[must_use]
    pub fn after(self, free: u64, reserve: u64) -> Self {
        let enough = match self {
            Self::Room => reserve,
            Self::Full => reserve.saturating_add(reserve / LEAVING_PART),
        };
        if free > enough {
            Self::Room
        } else {
            Self::Full
        }
    }
}

/// What one of `sharers` (shards times log directories on the same disk) may append before the next look.
#[must_use]
pub fn allowance(free: u64, reserve: u64, sharers: usize) -> u64 {
    free.saturating_sub(reserve) / (sharers.max(1) as u64)
}

/// The directory for a new partition: the one with the fewest, the first of equals, of those that are `usable`.
/// `loads` has the number of partitions of each.
#[must_use]
pub fn least_loaded(loads: &[usize], usable: impl Fn(usize) -> bool) -> Option<usize> {
    let candidates = loads.iter().enumerate().filter(|(at, _)| usable(*at));
    candidates.min_by_key(|(_, load)| **load).map(|(at, _)| at)
}

/// A full disk is left when this part of the reserve is free above the reserve itself.
const LEAVING_PART: u64 = 16;

#[cfg(test)]
mod tests;
