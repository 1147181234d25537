//! The disk door: the only place of this crate that makes a system call.
//!
//! **Owns** files, directories, the lock of a log directory, and their simulated twins.
//! **Lives on** any thread: a [`File`] and a [`LogDir`] are counted handles and `Send`.
//! **Invariants** 1. Every error names the operation and the path. 2. A name below a log directory is
//! relative (`orders-0/00000000000000000000.log`). 3. Nothing here retries a failed sync.
//! **Not here** what the bytes mean: `segment`, `index`, `checkpoint`.

mod layout;
mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

pub use layout::{Folders, LayoutError};

/// A failed operation on a disk: what was tried, on which path, and what the system said.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct DiskError {
    /// What was tried, in the words of the system call ("open", "fdatasync").
    pub operation: &'static str,
    /// The path as it is on disk.
    pub path: String,
    /// The system's answer.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn new(operation: &'static str, path: impl fmt::Display, source: io::Error) -> Self {
        Self {
            operation,
            path: path.to_string(),
            source,
        }
    }

    /// The cause alone, for plans that are handed back with an [`io::Error`].
    pub fn into_io(self) -> io::Error {
        io::Error::new(self.source.kind(), self)
    }

    /// True when the file or directory was not there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// True when the disk is full (ENOSPC, EDQUOT): a state that passes, unlike other faults.
    pub fn is_full(&self) -> bool {
        is_full(&self.source)
    }
}

/// True for the errors of a full disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether a read may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Page cache only (`RWF_NOWAIT`); `WouldBlock` when the bytes are not there.
    No,
    /// Read, whatever it takes. Only on a companion thread.
    Yes,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It must exist; read only.
    Read,
    /// It must exist; read and write.
    Write,
    /// Read and write, created when it is not there.
    Create,
    /// Read and write, created or emptied.
    Replace,
}

/// An open file or directory. Clones share the descriptor.
#[derive(Clone)]
pub struct File {
    kind: FileKind,
    path: Arc<str>,
}

#[derive(Clone)]
enum FileKind {
    Real(Arc<OwnedFd>),
    #[cfg(any(test, feature = "sim"))]
    Sim(sim::Handle),
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("File").field(&self.path).finish()
    }
}

impl File {
    /// The path it was opened by, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The descriptor, so that the shard's runtime can write to it, read from it and send it.
    ///
    /// # Panics
    /// On a simulated file, which has none; such builds use [`File::write_at`] and [`File::read_at`].
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        match &self.kind {
            FileKind::Real(fd) => Arc::clone(fd),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(_) => panic!("a simulated file has no descriptor: {}", self.path),
        }
    }

    /// Reads up to `into.len()` bytes at `position`; fewer only at the end of the file or, with
    /// [`Wait::No`], at the end of what the page cache holds (`WouldBlock` when that is nothing).
    pub fn read_at(&self, into: &mut [u8], position: u64, wait: Wait) -> Result<usize, DiskError> {
        let mut filled = 0;
        while filled < into.len() {
            let (rest, at) = (&mut into[filled..], position + filled as u64);
            let n = match &self.kind {
                FileKind::Real(fd) => real::read_at(fd, rest, at, wait),
                #[cfg(any(test, feature = "sim"))]
                FileKind::Sim(file) => file.read_at(rest, at, wait),
            };
            match n {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
                Err(e) => return Err(self.error("read", e)),
            }
        }
        Ok(filled)
    }

    /// Writes all parts, one after the other, at `position`. A failure may leave any prefix written.
    pub fn write_at(&self, parts: &[Bytes], mut position: u64) -> Result<(), DiskError> {
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(parts.len().min(IOV_MAX));
        for group in parts.chunks(IOV_MAX) {
            slices.clear();
            slices.extend(group.iter().map(|part| IoSlice::new(part)));
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                let n = match &self.kind {
                    FileKind::Real(fd) => real::write_at(fd, rest, position),
                    #[cfg(any(test, feature = "sim"))]
                    FileKind::Sim(file) => file.write_at(rest, position),
                };
                match n {
                    Ok(0) => return Err(self.error("write", io::ErrorKind::WriteZero.into())),
                    Ok(n) => {
                        position += n as u64;
                        IoSlice::advance_slices(&mut rest, n);
                    }
                    Err(e) => return Err(self.error("write", e)),
                }
            }
        }
        Ok(())
    }

    /// `fdatasync`: data and the size of the file. After a failure the file is not to be trusted.
    pub fn sync_data(&self) -> Result<(), DiskError> {
        match &self.kind {
            FileKind::Real(fd) => rustix::fs::fdatasync(fd).map_err(io::Error::from),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(file) => file.sync(),
        }
        .map_err(|e| self.error("fdatasync", e))
    }

    /// Drops the file's clean pages from the page cache, so that the next read shows what the disk has. After a failed
    /// sync the page cache may show what the disk will never get. File systems that cannot do it are not an error.
    pub fn forget_clean(&self) -> Result<(), DiskError> {
        match &self.kind {
            FileKind::Real(fd) => real::forget_clean(fd),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(file) => file.forget_clean(),
        }
        .map_err(|e| self.error("fadvise", e))
    }

    /// Cuts the file to `size` bytes, and gives back space reserved behind them.
    pub fn truncate(&self, size: u64) -> Result<(), DiskError> {
        match &self.kind {
            FileKind::Real(fd) => rustix::fs::ftruncate(fd, size).map_err(io::Error::from),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(file) => file.truncate(size),
        }
        .map_err(|e| self.error("truncate", e))
    }

    /// Size in bytes.
    pub fn size(&self) -> Result<u64, DiskError> {
        match &self.kind {
            FileKind::Real(fd) => real::size(fd),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(file) => file.size(),
        }
        .map_err(|e| self.error("stat", e))
    }

    /// Reserves blocks for a range without changing the size (`FALLOC_FL_KEEP_SIZE`). File systems
    /// that cannot do it are not an error: reservation is only a matter of speed.
    pub fn reserve(&self, range: std::ops::Range<u64>) -> Result<(), DiskError> {
        match &self.kind {
            FileKind::Real(fd) => real::reserve(fd, &range),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(file) => file.reserve(&range),
        }
        .map_err(|e| self.error("fallocate", e))
    }

    /// Says that the file will be read from front to back, so that more is read ahead. Only an advice.
    pub fn will_read_on(&self) {
        match &self.kind {
            FileKind::Real(fd) => real::will_read_on(fd),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(_) => {}
        }
    }

    /// Says that nothing shall be read ahead of what is asked for. Only an advice.
    pub fn will_read_anywhere(&self) {
        match &self.kind {
            FileKind::Real(fd) => real::will_read_anywhere(fd),
            #[cfg(any(test, feature = "sim"))]
            FileKind::Sim(_) => {}
        }
    }

    /// True when the page cache holds the first byte of the range (a one byte `RWF_NOWAIT` read).
    pub fn resident(&self, position: u64) -> bool {
        let mut byte = [0_u8; 1];
        matches!(self.read_at(&mut byte, position, Wait::No), Ok(1))
    }

    /// Reads exactly `size` bytes at `position`, waiting; fewer bytes there are an error.
    pub fn read_exact_at(&self, size: usize, position: u64) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0_u8; size];
        let n = self.read_at(&mut bytes, position, Wait::Yes)?;
        if n < size {
            return Err(self.error("read", io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn error(&self, operation: &'static str, source: io::Error) -> DiskError {
        DiskError::new(operation, &self.path, source)
    }
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, socket or device: never ours.
    Other,
}

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name alone, without the directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes; zero for a directory.
    pub size: u64,
    /// Time of the last change of its content, in ms since 1970.
    pub modified: i64,
}

/// What a look at a log directory found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes of the whole volume.
    pub total: u64,
    /// The volume takes no writes: mounted so, or turned so by the kernel after an error.
    pub read_only: bool,
    /// Number of the device that the directory lies on.
    pub device: u64,
    /// Number of the directory itself: another one means that something was mounted or unmounted.
    pub inode: u64,
}

impl Look {
    /// What tells the directory from another one under the same path.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

/// One log directory (an entry of `log.dirs`). Clones share it.
#[derive(Clone)]
pub struct LogDir {
    kind: DirKind,
    root: Arc<Path>,
}

#[derive(Clone)]
enum DirKind {
    Real,
    #[cfg(any(test, feature = "sim"))]
    /// With the directory on it, empty for the root.
    Sim(sim::Disk, &'static str),
}

impl fmt::Debug for LogDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogDir").field(&self.root).finish()
    }
}

#[cfg(any(test, feature = "sim"))]
fn under(directory: &str, name: &str) -> String {
    match (directory, name) {
        ("", name) => name.to_owned(),
        (directory, "") => directory.to_owned(),
        (directory, name) => format!("{directory}/{name}"),
    }
}

/// Holds the lock of a log directory until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Option<Arc<OwnedFd>>,
}

impl LogDir {
    /// A directory on a real disk; created, with its parents, when it is not there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root: PathBuf = root.into();
        real::create_dirs(&root)?;
        Ok(Self {
            kind: DirKind::Real,
            root: root.into(),
        })
    }

    /// A directory on a real disk that must be there: for tools, which create nothing.
    pub fn existing(root: impl Into<PathBuf>) -> Result<Self, DiskError> {
        let root: PathBuf = root.into();
        // Listing is what every tool does first; a file or nothing in its place is told here, once.
        real::is_dir(&root).map_err(|e| DiskError::new("open", root.display(), e))?;
        Ok(Self {
            kind: DirKind::Real,
            root: root.into(),
        })
    }

    /// A directory that is not touched: to name one that cannot be used.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        let root: PathBuf = root.into();
        Self {
            kind: DirKind::Real,
            root: root.into(),
        }
    }

    /// A directory on a simulated disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn simulated(disk: &sim::Disk) -> Self {
        Self {
            kind: DirKind::Sim(disk.clone(), ""),
            root: Path::new("/sim").into(),
        }
    }

    /// Another directory of the same simulated disk, which takes its faults with it; created, if it is not there.
    #[cfg(any(test, feature = "sim"))]
    pub fn simulated_at(disk: &sim::Disk, at: &'static str) -> Result<Self, DiskError> {
        let root = Self::simulated(disk);
        root.create_dir(at)?;
        root.sync_dir("")?;
        Ok(Self {
            kind: DirKind::Sim(disk.clone(), at),
            root: root.path(at).into(),
        })
    }

    /// What a name below it is called on its simulated disk.
    #[cfg(any(test, feature = "sim"))]
    pub fn simulated_name(&self, name: &str) -> String {
        match &self.kind {
            DirKind::Real => name.to_owned(),
            DirKind::Sim(_, at) => under(at, name),
        }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a name below it, for messages.
    pub fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() {
            self.root.to_path_buf()
        } else {
            self.root.join(name)
        }
    }

    /// Takes the lock that keeps a second broker, ours or Kafka's, out of the directory.
    pub fn lock(&self) -> Result<Lock, DiskError> {
        match &self.kind {
            DirKind::Real => real::lock(&self.path(LOCK_FILE)).map(|fd| Lock { _file: Some(fd) }),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(..) => Ok(Lock { _file: None }),
        }
    }

    /// Opens a file.
    pub fn open_file(&self, name: &str, mode: Mode) -> Result<File, DiskError> {
        let path = self.path(name);
        let shown: Arc<str> = path.to_string_lossy().into();
        let kind = match &self.kind {
            DirKind::Real => real::open(&path, mode).map(|fd| FileKind::Real(Arc::new(fd))),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.open(&under(at, name), mode).map(FileKind::Sim),
        }
        .map_err(|e| DiskError::new("open", &shown, e))?;
        Ok(File { kind, path: shown })
    }

    /// The whole content of a file, waiting. For small files.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>, DiskError> {
        let file = self.open_file(name, Mode::Read)?;
        let size = file.size()?;
        let size = usize::try_from(size)
            .map_err(|_| file.error("read", io::ErrorKind::FileTooLarge.into()))?;
        file.read_exact_at(size, 0)
    }

    /// Replaces a file: `name.tmp` is written and synced, renamed over `name`, the directory synced.
    /// A crash leaves the old or the new content, never a mixture.
    pub fn replace_file(&self, name: &str, content: &[u8]) -> Result<(), DiskError> {
        let temporary = format!("{name}.tmp");
        let file = self.open_file(&temporary, Mode::Replace)?;
        file.write_at(&[Bytes::copy_from_slice(content)], 0)?;
        file.sync_data()?;
        drop(file);
        // ORDER: the content is durable before the name points to it.
        self.rename(&temporary, name)?;
        self.sync_dir(name.rsplit_once('/').map_or("", |(dir, _)| dir))
    }

    /// Replaces several files of a folder (`""`: the root) like [`LogDir::replace_file`], each atomically, with one sync
    /// of the folder for all, also when there is no file.
    pub fn replace_files(&self, folder: &str, files: &[(&str, String)]) -> Result<(), DiskError> {
        let path = |file: &str| match folder {
            "" => file.to_owned(),
            folder => format!("{folder}/{file}"),
        };
        let mut written = Vec::new();
        for (name, content) in files {
            let file = self.open_file(&path(&format!("{name}.tmp")), Mode::Replace)?;
            file.write_at(&[Bytes::copy_from_slice(content.as_bytes())], 0)?;
            written.push(file);
        }
        // ORDER: the contents are durable before the names point to them. Written first and synced then, they share
        // the file system's commit.
        for file in written {
            file.sync_data()?;
        }
        for (name, _) in files {
            self.rename(&path(&format!("{name}.tmp")), &path(name))?;
        }
        self.sync_dir(folder)
    }

    /// Renames within the log directory, replacing what has the new name.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        match &self.kind {
            DirKind::Real => {
                rustix::fs::rename(self.path(from), self.path(to)).map_err(io::Error::from)
            }
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.rename(&under(at, from), &under(at, to)),
        }
        .map_err(|e| DiskError::new("rename", self.path(from).display(), e))
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        let done = match &self.kind {
            DirKind::Real => rustix::fs::unlink(self.path(name)).map_err(io::Error::from),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.remove(&under(at, name)),
        };
        match done {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| DiskError::new("unlink", self.path(name).display(), e)),
        }
    }

    /// Removes a directory and the files in it (partition folders have no folders inside).
    pub fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        for entry in self.list(name)? {
            self.remove_file(&format!("{name}/{}", entry.name))?;
        }
        match &self.kind {
            DirKind::Real => rustix::fs::rmdir(self.path(name)).map_err(io::Error::from),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.remove(&under(at, name)),
        }
        .map_err(|e| DiskError::new("rmdir", self.path(name).display(), e))
    }

    /// Creates a directory; one that is there already is no error.
    pub fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        match &self.kind {
            DirKind::Real => real::create_dir(&self.path(name)),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.create_dir(&under(at, name)),
        }
        .map_err(|e| DiskError::new("mkdir", self.path(name).display(), e))
    }

    /// Makes names created, renamed or removed in a directory durable; `""` is the root.
    pub fn sync_dir(&self, name: &str) -> Result<(), DiskError> {
        match &self.kind {
            DirKind::Real => real::sync_dir(&self.path(name)),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.sync_dir(&under(at, name)),
        }
        .map_err(|e| DiskError::new("fsync", self.path(name).display(), e))
    }

    /// The names in a directory, sorted; `""` is the root.
    pub fn list(&self, name: &str) -> Result<Vec<Entry>, DiskError> {
        let mut entries = match &self.kind {
            DirKind::Real => real::list(&self.path(name)),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.list(&under(at, name)),
        }
        .map_err(|e| DiskError::new("list", self.path(name).display(), e))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What the volume says of itself, and whether the directory is still the same.
    pub fn look(&self) -> Result<Look, DiskError> {
        match &self.kind {
            DirKind::Real => real::look(&self.root),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, _) => {
                let (free, total) = disk.space();
                Ok(Look {
                    free,
                    total,
                    read_only: false,
                    device: 0,
                    inode: 0,
                })
            }
        }
        .map_err(|e| DiskError::new("statvfs", self.root.display(), e))
    }

    /// Bytes that can still be written: `(free, total)`.
    pub fn space(&self) -> Result<(u64, u64), DiskError> {
        match &self.kind {
            DirKind::Real => real::space(&self.root),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, _) => Ok(disk.space()),
        }
        .map_err(|e| DiskError::new("statvfs", self.root.display(), e))
    }

    /// True when the name is there.
    pub fn exists(&self, name: &str) -> bool {
        match &self.kind {
            DirKind::Real => rustix::fs::stat(self.path(name)).is_ok(),
            #[cfg(any(test, feature = "sim"))]
            DirKind::Sim(disk, at) => disk.exists(&under(at, name)),
        }
    }
}

/// Most parts one `pwritev` takes (`UIO_MAXIOV` in the kernel).
const IOV_MAX: usize = 1024;
/// Kafka's name for the lock file of a log directory.
const LOCK_FILE: &str = ".lock";
