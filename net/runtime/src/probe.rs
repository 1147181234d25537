//! Owns: measuring what a buffered write costs inline and through the driver, and how fast the disk takes one past the page
//! cache, on one file system.
//! Lives on: a runtime at start, when nothing else runs in the process.
//! Invariants: 1. CPU time of the whole process is compared, kernel workers of its ring included: the wall clock
//! would measure its neighbours. 2. Both ways write the same bytes to the same place, in turn.
//! Not here: what to do about it (the broker).

use std::io;

use std::time::Duration;

use bytes::Bytes;

use crate::block::block;
use crate::clock::now;
use crate::file::{Access, File};

/// CPU time of one write of 64 KiB into the page cache, in nanoseconds; the least of several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCost {
    /// `pwritev` on the shard's thread.
    pub inline_ns: u64,
    /// By the driver: inline in the kernel where the file system can (XFS, tmpfs), else by a worker thread (ext4).
    pub driver_ns: u64,
}

/// Measures on a file that may be overwritten up to 1 MiB. Takes some 20 ms.
pub async fn probe_writes(file: &File) -> io::Result<WriteCost> {
    let piece = Bytes::from(vec![0; PIECE_SIZE]);
    let positions = || (0..PIECES).map(|piece| piece * PIECE_SIZE as u64);
    // Only a matter of speed; the first touch of the pages is paid here too.
    drop(file.reserve(0..PIECES * PIECE_SIZE as u64).await);
    for position in positions() {
        file.write_now(std::slice::from_ref(&piece), position)?;
    }
    let mut cost = WriteCost {
        inline_ns: u64::MAX,
        driver_ns: u64::MAX,
    };
    for _ in 0..ROUNDS {
        let begun = process_ns();
        for position in positions() {
            file.write_now(std::slice::from_ref(&piece), position)?;
        }
        cost.inline_ns = cost.inline_ns.min((process_ns() - begun) / PIECES);
        let begun = process_ns();
        for position in positions() {
            file.write_at(vec![piece.clone()], position).await.0?;
        }
        cost.driver_ns = cost.driver_ns.min((process_ns() - begun) / PIECES);
    }
    Ok(cost)
}

/// How long a mebibyte takes past the page cache, on a file that may be overwritten; the least of a few. `None` where the file
/// system has no such way.
pub async fn probe_direct(file: &File) -> Option<Duration> {
    let direct = file.past_the_cache(Access::Write).ok()?;
    let mut least = None;
    for _ in 0..DIRECT_ROUNDS {
        let mut piece = block(DIRECT_SIZE);
        piece.advance(DIRECT_SIZE);
        let begun = now();
        direct.write_at(vec![piece.freeze()], 0).await.0.ok()?;
        let took = now() - begun;
        least = Some(least.map_or(took, |least: Duration| least.min(took)));
    }
    least
}

/// CPU time of this process, user and system, all threads.
fn process_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

const PIECE_SIZE: usize = 64 << 10;
const PIECES: u64 = 16;
const ROUNDS: usize = 8;
const DIRECT_SIZE: usize = 1 << 20;
const DIRECT_ROUNDS: usize = 3;
