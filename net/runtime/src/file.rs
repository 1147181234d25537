//! Owns: reading, writing and syncing files.
//! Lives on: its shard; a `File` is a counted descriptor and may be cloned freely.
//! Invariants: 1. Buffers of an operation in flight belong to the operation (`op`). 2. A read that the page
//! cache can answer is made inline and never waits for the disk (`RWF_NOWAIT`).
//! Not here: opening, creating, renaming (`storage::disk`).

use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};

use crate::Io;
use crate::block::{BLOCK_MIN, Block};
use crate::op::{Handle, Outcome, PARTS_MAX, Punt, Work, perform, rest};
#[cfg(any(test, feature = "sim"))]
use crate::sim;
use crate::{readiness, residency};

/// Whether a range is thought to be in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temperature {
    /// Try inline, without waiting; the driver gets what is missing.
    Warm,
    /// Straight to the driver.
    Cold,
}

/// An open file. Cloning shares the descriptor.
#[derive(Clone, Debug)]
pub struct File {
    handle: Handle,
}

/// What a descriptor past the page cache is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `read_direct`.
    Read,
    /// `write_at`, of whole units from blocks.
    Write,
}

/// What `O_DIRECT` asks of positions, sizes and addresses on every usual disk, bytes (open(2)); the memory of a block has it.
pub const DIRECT_ALIGNMENT: u64 = BLOCK_MIN as u64;

/// From this size a cold read goes to a kernel worker at once instead of being tried inline by the ring.
const PUNT_MIN: usize = 256 << 10;
/// The smallest unit of any disk.
const SECTOR: usize = 512;
/// Step between probes of `resident`.
const PROBE_STEP: u64 = 128 << 10;

impl File {
    /// Takes a share of an open file.
    pub fn from_fd(fd: Arc<OwnedFd>) -> Self {
        Self {
            handle: Handle::Real(fd),
        }
    }

    /// The descriptor.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        self.handle.fd()
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn simulated(file: u64) -> Self {
        Self {
            handle: Handle::Sim(file),
        }
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn read_simulated(&self, into: &mut [u8], position: u64) -> Result<usize, Errno> {
        let Handle::Sim(file) = self.handle else {
            return Err(Errno::BADF);
        };
        Ok(sim::World::current()
            .ok_or(Errno::BADF)?
            .read_now(file, into, position))
    }

    /// Appends up to `len` bytes from `position` to the block (bounded by its spare part). Fewer means the end
    /// of the file. Dropping the future gives the block up: it goes back to the pool when the kernel is done.
    pub async fn read_at(
        &self,
        mut into: Block,
        mut position: u64,
        len: usize,
        temperature: Temperature,
    ) -> Io<usize, Block> {
        let wanted = len.min(into.capacity() - into.len());
        let mut total = 0;
        if temperature == Temperature::Warm {
            let n = self.read_cached(&mut into, position, wanted);
            total += n;
            position += n as u64;
        }
        while total < wanted {
            let left = wanted - total;
            let punt = if temperature == Temperature::Cold && left >= PUNT_MIN {
                Punt::AtOnce
            } else {
                Punt::Never
            };
            let work = Work::Read {
                file: self.handle.clone(),
                position,
                len: left,
                block: into,
                punt,
            };
            let (outcome, work) = perform(work).await;
            let Work::Read { block, .. } = work else {
                unreachable!("a read comes back a read")
            };
            into = block;
            match count(outcome) {
                Ok(0) => break,
                Ok(n) => {
                    into.advance(n);
                    total += n;
                    position += n as u64;
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return (Err(error.into()), into),
            }
        }
        (Ok(total), into)
    }

    /// A descriptor of its own for the same file, by which reads or writes go past the page cache (`O_DIRECT`), also when the
    /// file has no name any more.
    ///
    /// # Errors
    /// `EINVAL` where the file system cannot; any error of open(2), also where `/proc` is not mounted.
    pub fn past_the_cache(&self, access: Access) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", self.fd().as_raw_fd());
        let access = match access {
            Access::Read => OFlags::RDONLY,
            Access::Write => OFlags::WRONLY,
        };
        let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self::from_fd(Arc::new(fd)))
    }

    /// Reads up to `len` bytes from `position` into an empty block, by a descriptor of `past_the_cache`. Fewer means the
    /// end of the file. Position and length are multiples of what the disk asks for, or the error is `EINVAL`.
    pub async fn read_direct(
        &self,
        mut into: Block,
        position: u64,
        len: usize,
    ) -> Io<usize, Block> {
        let wanted = len.min(into.capacity());
        into.clear();
        loop {
            let work = Work::Read {
                file: self.handle.clone(),
                position: position + into.len() as u64,
                len: wanted - into.len(),
                block: into,
                // Submitting waits for nothing: there are no pages to be found or freed.
                punt: Punt::Never,
            };
            let (outcome, work) = perform(work).await;
            let Work::Read { block, .. } = work else {
                unreachable!("a read comes back a read")
            };
            into = block;
            match count(outcome) {
                Ok(n) => {
                    into.advance(n);
                    // A part of a sector is the last one.
                    if n == 0 || n % SECTOR != 0 || into.len() == wanted {
                        return (Ok(into.len()), into);
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return (Err(error.into()), into),
            }
        }
    }

    /// What the page cache has, without waiting.
    fn read_cached(&self, into: &mut Block, position: u64, wanted: usize) -> usize {
        #[cfg(any(test, feature = "sim"))]
        if let Handle::Sim(_) = self.handle {
            return 0;
        }
        let mut total = 0;
        while total < wanted {
            let mut slices = [IoSliceMut::new(&mut into.spare()[..wanted - total])];
            let at = position + total as u64;
            match rustix::io::preadv2(self.fd(), &mut slices, at, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(_) => break,
                Ok(n) => {
                    into.advance(n);
                    total += n;
                }
            }
        }
        total
    }

    /// Writes all parts at `position`, in however many steps. The vector comes back cleared. A write whose
    /// future is dropped may or may not happen, whole or in part.
    pub async fn write_at(&self, parts: Vec<Bytes>, position: u64) -> Io<(), Vec<Bytes>> {
        let (mut parts, mut position, mut first, mut skip) = (parts, position, 0, 0);
        let mut addresses = Vec::new();
        let result = loop {
            while parts.get(first).is_some_and(|part| part.len() == skip) {
                (first, skip) = (first + 1, 0);
            }
            if first == parts.len() {
                break Ok(());
            }
            let work = Work::Write {
                file: self.handle.clone(),
                position,
                parts,
                first,
                skip,
                addresses,
            };
            let (outcome, work) = perform(work).await;
            let Work::Write {
                parts: back,
                addresses: room,
                ..
            } = work
            else {
                unreachable!("a write comes back a write")
            };
            (parts, addresses) = (back, room);
            match count(outcome) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    position += n as u64;
                    (first, skip) = advance(&parts, first, skip, n);
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => break Err(error.into()),
            }
        };
        parts.clear();
        (result, parts)
    }

    /// Writes all parts into the page cache, inline.
    pub fn write_now(&self, parts: &[Bytes], mut position: u64) -> io::Result<()> {
        #[cfg(any(test, feature = "sim"))]
        if let Handle::Sim(file) = self.handle {
            sim::World::current()
                .expect("inside of its world")
                .write_now(file, parts, position);
            return Ok(());
        }
        let (mut first, mut skip) = (0, 0);
        loop {
            while parts.get(first).is_some_and(|part| part.len() == skip) {
                (first, skip) = (first + 1, 0);
            }
            if first == parts.len() {
                return Ok(());
            }
            let written = pwrite(self.fd(), parts, first, skip, position);
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    position += n as u64;
                    (first, skip) = advance(parts, first, skip, n);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// `fdatasync`. After an error the data must be taken for lost: never retry.
    pub async fn sync_data(&self) -> io::Result<()> {
        done(
            perform(Work::Sync {
                file: self.handle.clone(),
            })
            .await
            .0,
        )
    }

    /// Reserves space without making the file longer (`FALLOC_FL_KEEP_SIZE`).
    pub async fn reserve(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        done(
            perform(Work::Reserve {
                file: self.handle.clone(),
                range,
            })
            .await
            .0,
        )
    }

    /// Asks the kernel to begin writing the range out (`SYNC_FILE_RANGE_WRITE`); promises nothing.
    pub async fn start_writeback(&self, range: Range<u64>) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        done(
            perform(Work::Writeback {
                file: self.handle.clone(),
                range,
            })
            .await
            .0,
        )
    }

    /// The same inline: for a few pages that were just written, where the way through the driver costs more than the call.
    pub fn start_writeback_now(&self, range: Range<u64>) -> io::Result<()> {
        #[cfg(any(test, feature = "sim"))]
        if let Handle::Sim(_) = self.handle {
            return Ok(());
        }
        if range.is_empty() {
            return Ok(());
        }
        let size = range.end - range.start;
        Ok(readiness::writeback(self.fd(), range.start, size)?)
    }

    /// Lets the kernel forget the clean pages of the range. Never inline: where a page of it is not free at once the
    /// kernel waits for a worker of every processor, which on a busy machine takes many milliseconds.
    pub async fn drop_cache(&self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Advice only: a kernel that does not take it has lost nothing.
        let forget = Work::Forget {
            file: self.handle.clone(),
            range,
        };
        let _ = perform(forget).await;
    }

    /// Whether the range is in the page cache and can be read without waiting: its first and last byte and one in
    /// 128 KiB between are asked for, which finds what is still on its way in; then `cachestat`, where the kernel has
    /// it, which finds holes. `false` also where the file system cannot say.
    pub fn resident(&self, range: Range<u64>) -> bool {
        #[cfg(any(test, feature = "sim"))]
        if let Handle::Sim(file) = self.handle {
            return file < u64::MAX;
        }
        if range.is_empty() {
            return true;
        }
        let mut position = range.start;
        while position < range.end {
            if !self.probe(position) {
                return false;
            }
            position += PROBE_STEP;
        }
        self.probe(range.end - 1)
            && residency::cached_bytes(self.fd(), &range)
                .is_none_or(|cached| cached >= residency::touched_bytes(&range))
    }

    /// Whether all of the range is in the page cache, read or on its way in; nothing is asked of the disk. `None` where
    /// the kernel cannot say (`cachestat`, Linux 6.5).
    pub fn cached(&self, range: Range<u64>) -> Option<bool> {
        #[cfg(any(test, feature = "sim"))]
        if let Handle::Sim(_) = self.handle {
            return None;
        }
        residency::cached_bytes(self.fd(), &range)
            .map(|cached| cached >= residency::touched_bytes(&range))
    }

    fn probe(&self, position: u64) -> bool {
        let mut byte = [0];
        let mut slices = [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(self.fd(), &mut slices, position, ReadWriteFlags::NOWAIT).is_ok()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd().as_fd()
    }
}

/// One `pwritev` of what is left.
pub(crate) fn pwrite(
    file: &OwnedFd,
    parts: &[Bytes],
    first: usize,
    skip: usize,
    position: u64,
) -> Result<usize, Errno> {
    let mut slices = rest(parts, first, skip);
    if parts.len() - first == 1 {
        return rustix::io::pwrite(file, slices.next().unwrap_or_default(), position);
    }
    let slices: smallvec::SmallVec<[IoSlice<'_>; 16]> = slices.map(IoSlice::new).collect();
    debug_assert!(slices.len() <= PARTS_MAX);
    rustix::io::pwritev(file, &slices, position)
}

/// Where a write stands after `n` more bytes.
fn advance(parts: &[Bytes], mut first: usize, skip: usize, n: usize) -> (usize, usize) {
    let mut skip = skip + n;
    while let Some(part) = parts.get(first) {
        if skip < part.len() {
            break;
        }
        skip -= part.len();
        first += 1;
    }
    (first, skip)
}

fn count(outcome: Outcome) -> Result<usize, Errno> {
    usize::try_from(outcome).map_err(|_| Errno::from_raw_os_error(outcome.wrapping_neg()))
}

fn done(outcome: Outcome) -> io::Result<()> {
    count(outcome).map(drop).map_err(io::Error::from)
}
