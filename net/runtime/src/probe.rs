//! Owns: measuring what a buffered write costs inline and through the driver, on one file system.
//! Lives on: a runtime at start, when nothing else runs in the process.
//! Invariants: 1. CPU time of the whole process is compared, kernel workers of its ring included: the wall clock
//! would measure its neighbours. 2. Both ways write the same bytes to the same place, in turn.
//! Not here: what to do about it (the broker).

use std::io;

use bytes::Bytes;

use crate::file::File;

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

/// CPU time of this process, user and system, all threads.
fn process_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

const PIECE_SIZE: usize = 64 << 10;
const PIECES: u64 = 16;
const ROUNDS: usize = 8;
