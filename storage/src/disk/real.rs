//! The system calls behind the door.
//!
//! **Owns** nothing: free functions over descriptors and paths. **Lives on** any thread.
//! **Invariants** 1. `EINTR` is retried, nothing else is. 2. Every descriptor is close-on-exec.
//! **Not here** error context: `disk` adds operation and path.

use std::io::{self, IoSlice, IoSliceMut};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode as Permissions, OFlags, StatxFlags,
};
use rustix::io::{Errno, ReadWriteFlags};

use super::{DiskError, Entry, EntryKind, Look, Mode, Wait};

pub(super) fn open(path: &Path, mode: Mode) -> io::Result<OwnedFd> {
    let flags = match mode {
        Mode::Read => OFlags::RDONLY,
        Mode::Write => OFlags::RDWR,
        Mode::Create => OFlags::RDWR | OFlags::CREATE,
        Mode::Replace => OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
    };
    let permissions = Permissions::from_raw_mode(0o644);
    Ok(rustix::io::retry_on_intr(|| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, permissions)
    })?)
}

/// One read; it may be short.
pub(super) fn read_at(
    fd: &OwnedFd,
    into: &mut [u8],
    position: u64,
    wait: Wait,
) -> io::Result<usize> {
    let read = rustix::io::retry_on_intr(|| match wait {
        Wait::No => rustix::io::preadv2(
            fd,
            &mut [IoSliceMut::new(into)],
            position,
            ReadWriteFlags::NOWAIT,
        ),
        Wait::Yes => rustix::io::pread(fd, &mut *into, position),
    });
    match read {
        // A file system without RWF_NOWAIT cannot promise not to block: let the companion read.
        Err(Errno::OPNOTSUPP) if wait == Wait::No => Err(io::ErrorKind::WouldBlock.into()),
        other => Ok(other?),
    }
}

/// One write; it may be short.
pub(super) fn write_at(fd: &OwnedFd, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::pwritev(fd, parts, position)
    })?)
}

pub(super) fn forget_clean(fd: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fadvise(fd, 0, None, rustix::fs::Advice::DontNeed) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn size(fd: &OwnedFd) -> io::Result<u64> {
    Ok(u64::try_from(rustix::fs::fstat(fd)?.st_size).unwrap_or(0))
}

pub(super) fn reserve(fd: &OwnedFd, range: &Range<u64>) -> io::Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let length = range.end - range.start;
    match rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, range.start, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn will_read_on(fd: &OwnedFd) {
    // A system that does not take the advice reads as it would have.
    let _ = rustix::fs::fadvise(fd, 0, None, rustix::fs::Advice::Sequential);
}

pub(super) fn will_read_anywhere(fd: &OwnedFd) {
    // A system that does not take the advice reads ahead as it would have.
    let _ = rustix::fs::fadvise(fd, 0, None, rustix::fs::Advice::Random);
}

pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    match rustix::fs::mkdir(path, Permissions::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        other => Ok(other?),
    }
}

pub(super) fn create_dirs(path: &Path) -> Result<(), DiskError> {
    if rustix::fs::stat(path).is_ok_and(|s| FileType::from_raw_mode(s.st_mode).is_dir()) {
        return Ok(());
    }
    if let Some(parent) = path.parent()
        && !parent.as_os_str().is_empty()
    {
        create_dirs(parent)?;
    }
    create_dir(path).map_err(|e| DiskError::new("mkdir", path.display(), e))
}

pub(super) fn is_dir(path: &Path) -> io::Result<()> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Permissions::empty())?;
    // The whole fsync: fdatasync may leave out a new name when the directory did not grow.
    Ok(rustix::fs::fsync(fd)?)
}

pub(super) fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Permissions::empty())?;
    let mut entries = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let raw = entry.file_name();
        if raw == c"." || raw == c".." {
            continue;
        }
        let mask = StatxFlags::TYPE | StatxFlags::SIZE | StatxFlags::MTIME;
        let stat = match rustix::fs::statx(&fd, raw, AtFlags::SYMLINK_NOFOLLOW, mask) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            _ => EntryKind::Other,
        };
        entries.push(Entry {
            name: raw.to_string_lossy().into_owned(),
            kind,
            size: if kind == EntryKind::File {
                stat.stx_size
            } else {
                0
            },
            modified: stat.stx_mtime.tv_sec * 1000 + i64::from(stat.stx_mtime.tv_nsec / 1_000_000),
        });
    }
    Ok(entries)
}

pub(super) fn look(path: &Path) -> io::Result<Look> {
    let volume = rustix::fs::statvfs(path)?;
    let directory = rustix::fs::stat(path)?;
    Ok(Look {
        free: volume.f_bavail * volume.f_frsize,
        total: volume.f_blocks * volume.f_frsize,
        read_only: volume
            .f_flag
            .contains(rustix::fs::StatVfsMountFlags::RDONLY),
        device: directory.st_dev,
        inode: directory.st_ino,
    })
}

pub(super) fn space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}

/// Two locks: `flock` is held by the open file, so it also stops a second broker of this process;
/// the POSIX record lock is the one Java's `FileChannel.tryLock` takes, so it stops Kafka.
pub(super) fn lock(path: &Path) -> Result<Arc<OwnedFd>, DiskError> {
    let error = |e: Errno| DiskError::new("lock", path.display(), e.into());
    let fd = open(path, Mode::Create).map_err(|e| DiskError::new("open", path.display(), e))?;
    rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(error)?;
    rustix::fs::fcntl_lock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(error)?;
    Ok(Arc::new(fd))
}
