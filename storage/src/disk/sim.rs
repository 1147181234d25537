//! A disk in memory with a volatile and a durable half, for tests and `cargo sim`.
//!
//! **Owns** the files, what of them survives a crash, and the faults: those a test injects and those that are drawn.
//! **Lives on** any thread, behind one lock; never part of a shipped binary.
//! **Invariants** 1. What was synced survives [`Disk::crash`], unless a bit is flipped. 2. Of what was not, any sector
//! and any change of names that [`NameOrder`] allows may survive. 3. A handle from before a crash only fails. 4. After a
//! failed sync the next one says yes, and the data is not there: as Linux has it.
//! **Not here** time: nothing waits. A slow disk is one whose plans are carried out late.
#![expect(
    clippy::disallowed_types,
    reason = "handles are Send; the lock is never contended in tests"
)]

mod chance;
mod inode;
mod names;

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use chance::{Blow, Chances, Random};
pub use names::NameOrder;

use super::{Entry, EntryKind, Mode, Wait};
use inode::Inode;
use names::{Change, Names, Node, parent};

/// A fault to inject once.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which operation it hits.
    pub on: Operation,
    /// Only paths that contain this.
    pub path_contains: String,
    /// How many matching operations pass first.
    pub after: u32,
    /// The error it returns.
    pub error: io::ErrorKind,
}

/// Operations that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reading from a file.
    Read,
    /// Writing to a file: a random prefix of the bytes arrives.
    Write,
    /// Syncing a file: nothing more becomes durable than the disk likes.
    Sync,
    /// Opening or creating a file.
    Open,
    /// Truncating a file.
    Truncate,
    /// Creating, renaming, unlinking or listing a name, or syncing a directory.
    Names,
}

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<State>>);

/// An open simulated file.
#[derive(Clone)]
pub(super) struct Handle {
    disk: Disk,
    inode: usize,
    generation: u64,
    name: Arc<str>,
}

struct State {
    random: Random,
    generation: u64,
    names: Names,
    inodes: Vec<Inode>,
    faults: Vec<Fault>,
    chances: Chances,
    order: NameOrder,
    /// Bytes that reach the disk together or not at all.
    sector: usize,
    /// Operations until the blow.
    fuse: Option<(u64, Blow)>,
    struck: Option<Blow>,
    /// The disk refused pages since the last power cut: the page cache may show what it does not have.
    refused: bool,
    capacity: u64,
    cold: bool,
    now: i64,
    /// Errors returned because of a fault.
    provoked: u64,
    /// What happened, by name.
    counts: BTreeMap<&'static str, u64>,
}

impl Disk {
    /// An empty disk whose faults and crashes follow from `seed`. It fails only when told to.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            generation: 0,
            names: Names::default(),
            inodes: Vec::new(),
            faults: Vec::new(),
            chances: Chances::default(),
            order: NameOrder::Journal,
            sector: 512,
            fuse: None,
            struck: None,
            refused: false,
            capacity: u64::MAX,
            cold: false,
            now: 0,
            provoked: 0,
            counts: BTreeMap::new(),
        })))
    }

    /// Power is cut: the durable half stays, and of the rest whatever the draw says.
    pub fn crash(&self) {
        let mut state = self.state();
        let state = &mut *state;
        state.begin_anew();
        state.refused = false;
        state.names.crash(&mut state.random, state.order);
        let odds = state.random.pick(&[0, 1, 4, 7, 8]);
        for inode in &mut state.inodes {
            inode.crash(&mut state.random, state.sector, odds);
        }
    }

    /// The process dies, the machine stays: all content survives, open handles do not.
    pub fn kill(&self) {
        self.state().begin_anew();
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// How often it misbehaves from now on.
    pub fn set_chances(&self, chances: Chances) {
        self.state().chances = chances;
    }

    /// What reaches the disk together (512 or 4096 bytes), and in which order names do.
    pub fn set_nature(&self, sector: usize, order: NameOrder) {
        let mut state = self.state();
        state.sector = sector;
        state.order = order;
    }

    /// Draws follow from this seed from now on.
    pub fn reseed(&self, seed: u64) {
        self.state().random = Random::new(seed);
    }

    /// After so many operations everything fails, until [`Disk::crash`] or [`Disk::kill`].
    pub fn light_fuse(&self, operations: u64, blow: Blow) {
        self.state().fuse = Some((operations, blow));
    }

    /// Puts the fuse out.
    pub fn put_out(&self) {
        self.state().fuse = None;
    }

    /// The blow that fell, if the fuse burnt down.
    pub fn struck(&self) -> Option<Blow> {
        self.state().struck
    }

    /// Whether the disk refused pages since the last power cut.
    pub fn refused(&self) -> bool {
        self.state().refused
    }

    /// Makes reads that must not wait fail with `WouldBlock`, as with an empty page cache.
    pub fn set_cold(&self, cold: bool) {
        self.state().cold = cold;
    }

    /// Limits the bytes of all files together; writes beyond fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// The time that files get when they change, in ms since 1970.
    pub fn set_time(&self, now: i64) {
        self.state().now = now;
    }

    /// How many errors it returned because of a fault, and not because of what it was asked.
    pub fn provoked(&self) -> u64 {
        self.state().provoked
    }

    /// How often what happened, by name.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().counts.clone()
    }

    /// How often this happened.
    pub fn count_of(&self, what: &str) -> u64 {
        self.state().counts.get(what).copied().unwrap_or(0)
    }

    /// Flips one bit of a file, in both halves.
    pub fn flip_bit(&self, name: &str, position: usize) {
        self.flip(name, position, 0);
    }

    /// Flips the bit with this number, 0 to 7, of a byte of a file, in both halves.
    pub fn flip(&self, name: &str, position: usize, bit: u8) {
        let mut state = self.state();
        if let Some(Node::File(inode)) = state.names.find(name) {
            state.inodes[inode].flip(position, bit);
            state.count("bit flipped");
        }
    }

    pub(super) fn open(&self, name: &str, mode: Mode) -> io::Result<Handle> {
        let mut state = self.state();
        let state = &mut *state;
        state.step(Operation::Open, name)?;
        let found = match state.names.find(name) {
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(inode)) => Some(inode),
            None => None,
        };
        let inode = match (found, mode) {
            (Some(inode), Mode::Replace) => {
                state.inodes[inode].truncate(0, state.sector);
                inode
            }
            (Some(inode), _) => inode,
            (None, Mode::Create | Mode::Replace) => {
                let parent = parent(name);
                if !parent.is_empty() && state.names.find(parent) != Some(Node::Directory) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                if state.used() >= state.capacity {
                    state.provoked += 1;
                    state.count("ENOSPC");
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let mut inode = Inode::default();
                inode.modified = state.now;
                state.inodes.push(inode);
                let number = state.inodes.len() - 1;
                state
                    .names
                    .change(Change::Set(name.to_owned(), Node::File(number)));
                number
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Handle {
            disk: self.clone(),
            inode,
            generation: state.generation,
            name: name.into(),
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Names, from)?;
        if state.names.find(from).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state
            .names
            .change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Names, name)?;
        if state.names.find(name).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.names.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    pub(super) fn create_dir(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Names, name)?;
        if state.names.find(name).is_none() {
            state
                .names
                .change(Change::Set(name.to_owned(), Node::Directory));
        }
        Ok(())
    }

    pub(super) fn sync_dir(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step(Operation::Names, name)?;
        state.names.sync(name);
        Ok(())
    }

    pub(super) fn list(&self, name: &str) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.step(Operation::Names, name)?;
        if !name.is_empty() && state.names.find(name) != Some(Node::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.all().filter(|(path, _)| parent(path) == name);
        let entry = |(path, node): (&str, Node)| {
            let name = path.rsplit('/').next().unwrap_or(path).to_owned();
            let (kind, size, modified) = match node {
                Node::Directory => (EntryKind::Directory, 0, 0),
                Node::File(inode) => {
                    let inode = &state.inodes[inode];
                    (EntryKind::File, inode.volatile.len() as u64, inode.modified)
                }
            };
            Entry {
                name,
                kind,
                size,
                modified,
            }
        };
        Ok(inside.map(entry).collect())
    }

    pub(super) fn space(&self) -> (u64, u64) {
        let state = self.state();
        (state.capacity.saturating_sub(state.used()), state.capacity)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.state().names.find(name).is_some()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    pub(super) fn read_at(&self, into: &mut [u8], position: u64, wait: Wait) -> io::Result<usize> {
        let mut state = self.live()?;
        let state = &mut *state;
        state.step(Operation::Read, &self.name)?;
        if wait == Wait::No && state.cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut wanted = into.len();
        if wanted > 1 && state.chance(state.chances.short, "short read") {
            wanted = 1 + state.random.index(wanted - 1);
        }
        let content = &state.inodes[self.inode].volatile;
        let start = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let n = wanted.min(content.len() - start);
        into[..n].copy_from_slice(&content[start..start + n]);
        Ok(n)
    }

    pub(super) fn write_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let mut state = self.live()?;
        let state = &mut *state;
        let failed = state.step(Operation::Write, &self.name).err();
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut allowed = total;
        let mut error = failed;
        if error.is_some() {
            allowed = state.random.index(total + 1);
        } else if total > 1 && state.chance(state.chances.short, "short write") {
            allowed = 1 + state.random.index(total - 1);
        }
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let grows = (start + allowed).saturating_sub(state.inodes[self.inode].volatile.len());
        let free =
            usize::try_from(state.capacity.saturating_sub(state.used())).unwrap_or(usize::MAX);
        if grows > free {
            allowed -= (grows - free).min(allowed);
            error = Some(io::ErrorKind::StorageFull.into());
            state.provoked += 1;
            state.count("ENOSPC");
            if allowed > 0 {
                state.count("ENOSPC inside a write");
            }
        }
        let inode = &mut state.inodes[self.inode];
        let (mut at, mut left) = (start, allowed);
        for part in parts {
            let n = part.len().min(left);
            inode.write(at, &part[..n], state.sector);
            at += n;
            left -= n;
        }
        inode.modified = state.now;
        error.map_or(Ok(allowed), Err)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.live()?;
        let state = &mut *state;
        let mut outcome = state.step(Operation::Sync, &self.name);
        let (sector, struck) = (state.sector, state.struck.is_some());
        let inode = &mut state.inodes[self.inode];
        if outcome.is_ok() && std::mem::take(&mut inode.error) {
            // What the disk refused before is told to the first who asks, and to nobody after.
            outcome = Err(input_output());
            state.provoked += 1;
            state.count("write-back failure reported");
        } else if outcome.is_ok() {
            inode.sync(sector);
        } else if !struck && inode.refuse(&mut state.random, sector, true) {
            state.refused = true;
            state.count("sync failed with dirty pages");
        }
        outcome
    }

    /// Drops the clean pages from the page cache, so that the next read is the disk's.
    pub(super) fn forget_clean(&self) -> io::Result<()> {
        let mut state = self.live()?;
        let state = &mut *state;
        state.step(Operation::Read, &self.name)?;
        if state.inodes[self.inode].forget_clean(state.sector) {
            state.count("page cache that the disk refused dropped");
        }
        Ok(())
    }

    pub(super) fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.live()?;
        let state = &mut *state;
        state.step(Operation::Truncate, &self.name)?;
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.inodes[self.inode].truncate(size, state.sector);
        Ok(())
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.live()?.inodes[self.inode].volatile.len() as u64)
    }

    pub(super) fn reserve(&self, range: &Range<u64>) -> io::Result<()> {
        let state = self.live()?;
        let grows = range
            .end
            .saturating_sub(state.inodes[self.inode].volatile.len() as u64);
        if grows > state.capacity.saturating_sub(state.used()) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn live(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation {
            Ok(state)
        } else {
            Err(io::Error::other("handle from before a crash"))
        }
    }
}

impl State {
    fn begin_anew(&mut self) {
        self.generation += 1;
        self.faults.clear();
        self.fuse = None;
        self.struck = None;
    }

    fn used(&self) -> u64 {
        let files = self.names.all().filter_map(|(_, node)| match node {
            Node::File(inode) => Some(self.inodes[inode].volatile.len() as u64),
            Node::Directory => None,
        });
        files.sum()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn chance(&mut self, chance: u32, what: &'static str) -> bool {
        let hit = self.random.chance(chance);
        if hit {
            self.count(what);
        }
        hit
    }

    /// What befalls an operation before it is done.
    fn step(&mut self, on: Operation, name: &str) -> io::Result<()> {
        if let Some((left, blow)) = self.fuse.take() {
            if left == 0 {
                self.struck = Some(blow);
                self.count(match blow {
                    Blow::Power => "power cut inside an operation",
                    Blow::Kill => "killed inside an operation",
                });
            } else {
                self.fuse = Some((left - 1, blow));
            }
        }
        if self.struck.is_some() {
            self.provoked += 1;
            return Err(io::Error::other("the machine is gone"));
        }
        self.unfold();
        self.fault(on, name)?;
        let (chance, what) = match on {
            Operation::Read => (self.chances.read, "EIO on read"),
            Operation::Write => (self.chances.write, "EIO on write"),
            Operation::Sync => (self.chances.sync, "EIO on sync"),
            Operation::Open => (self.chances.names, "EIO on open"),
            Operation::Truncate => (self.chances.names, "EIO on truncate"),
            Operation::Names => (self.chances.names, "EIO on names"),
        };
        if self.chance(chance, what) {
            self.provoked += 1;
            return Err(input_output());
        }
        Ok(())
    }

    /// What a disk does by itself.
    fn unfold(&mut self) {
        if self.names.is_dirty() && self.chance(self.chances.commit, "names committed") {
            self.names.commit(&mut self.random);
        }
        if self.inodes.is_empty() {
            return;
        }
        if self.random.chance(self.chances.write_back) {
            let at = self.random.index(self.inodes.len());
            if self.inodes[at].is_dirty()
                && self.inodes[at].write_back(&mut self.random, self.sector)
            {
                self.count("pages written back");
            }
        }
        if self.random.chance(self.chances.write_back_fails) {
            let at = self.random.index(self.inodes.len());
            if self.inodes[at].refuse(&mut self.random, self.sector, false) {
                self.inodes[at].error = true;
                self.refused = true;
                self.count("EIO on write-back");
            }
        }
        if self.random.chance(self.chances.forget) {
            let at = self.random.index(self.inodes.len());
            if self.inodes[at].forget_clean(self.sector) {
                self.count("page cache that the disk refused dropped");
            }
        }
    }

    fn fault(&mut self, on: Operation, name: &str) -> io::Result<()> {
        for i in 0..self.faults.len() {
            let fault = &mut self.faults[i];
            if fault.on == on && name.contains(&fault.path_contains) {
                if fault.after == 0 {
                    self.provoked += 1;
                    self.count("injected fault");
                    return Err(self.faults.remove(i).error.into());
                }
                fault.after -= 1;
            }
        }
        Ok(())
    }
}

/// EIO.
fn input_output() -> io::Error {
    rustix::io::Errno::IO.into()
}
