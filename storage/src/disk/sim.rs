//! A disk in memory with a volatile and a durable half, for tests.
//!
//! **Owns** the tree, what of it survives a crash, and the injected faults.
//! **Lives on** any thread, behind one lock; never part of a shipped binary.
//! **Invariants** 1. What was synced survives [`Disk::crash`]. 2. Of what was not, any 512-byte sector
//! and any prefix of the pending names may survive. 3. A handle from before a crash only fails.
//! **Not here** time: nothing waits.
#![expect(
    clippy::disallowed_types,
    reason = "handles are Send; the lock is never contended in tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Entry, EntryKind, Mode, Wait};

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
    /// Syncing a file: nothing becomes durable.
    Sync,
    /// Opening or creating a file.
    Open,
    /// Truncating a file.
    Truncate,
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
    random: u64,
    generation: u64,
    names: BTreeMap<String, Node>,
    names_durable: BTreeMap<String, Node>,
    pending_names: Vec<NameChange>,
    inodes: Vec<Inode>,
    faults: Vec<Fault>,
    capacity: u64,
    cold: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    File(usize),
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Default)]
struct Inode {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    cut: Option<usize>,
}

impl Disk {
    /// An empty disk whose faults and crashes follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            generation: 0,
            names: BTreeMap::new(),
            names_durable: BTreeMap::new(),
            pending_names: Vec::new(),
            inodes: Vec::new(),
            faults: Vec::new(),
            capacity: u64::MAX,
            cold: false,
        })))
    }

    /// Power is cut: the durable half stays, and of the rest whatever the draw says.
    pub fn crash(&self) {
        let mut state = self.state();
        let state = &mut *state;
        state.generation += 1;
        state.faults.clear();
        let survive = usize::try_from(state.draw() % (state.pending_names.len() as u64 + 1))
            .unwrap_or_default();
        let pending = std::mem::take(&mut state.pending_names);
        for change in &pending[..survive] {
            apply(&mut state.names_durable, change);
        }
        state.names = state.names_durable.clone();
        let mut random = state.random;
        for inode in &mut state.inodes {
            let mut content = std::mem::take(&mut inode.durable);
            if let Some(cut) = inode.cut.take()
                && coin(&mut random)
            {
                content.truncate(cut);
            }
            for sector in std::mem::take(&mut inode.dirty) {
                let start = sector * SECTOR;
                let end = (start + SECTOR).min(inode.volatile.len());
                if start < end && coin(&mut random) {
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                    content[start..end].copy_from_slice(&inode.volatile[start..end]);
                }
            }
            inode.volatile.clone_from(&content);
            inode.durable = content;
        }
        state.random = random;
    }

    /// The process dies, the machine stays: all content survives, open handles do not.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.faults.clear();
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Makes reads that must not wait fail with `WouldBlock`, as with an empty page cache.
    pub fn set_cold(&self, cold: bool) {
        self.state().cold = cold;
    }

    /// Limits the bytes of all files together; writes beyond fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    /// Flips one bit of a file, in both halves.
    pub fn flip_bit(&self, name: &str, position: usize) {
        let mut state = self.state();
        if let Some(Node::File(inode)) = state.names.get(name).copied() {
            let inode = &mut state.inodes[inode];
            if let Some(byte) = inode.volatile.get_mut(position) {
                *byte ^= 1;
            }
            if let Some(byte) = inode.durable.get_mut(position) {
                *byte ^= 1;
            }
        }
    }

    pub(super) fn open(&self, name: &str, mode: Mode) -> io::Result<Handle> {
        let mut state = self.state();
        state.fault(Operation::Open, name)?;
        let found = match state.names.get(name) {
            Some(Node::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::File(inode)) => Some(*inode),
            None => None,
        };
        let inode = match (found, mode) {
            (Some(inode), Mode::Replace) => {
                state.inodes[inode].truncate(0);
                inode
            }
            (Some(inode), _) => inode,
            (None, Mode::Create | Mode::Replace) => {
                let parent = parent(name);
                if !parent.is_empty() && !state.names.contains_key(parent) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                state.inodes.push(Inode::default());
                let node = Node::File(state.inodes.len() - 1);
                state.change(NameChange::Set(name.to_owned(), node));
                state.inodes.len() - 1
            }
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        let generation = state.generation;
        drop(state);
        Ok(Handle {
            disk: self.clone(),
            inode,
            generation,
            name: name.into(),
        })
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    // The other operations of the door can fail; these cannot, and keep the same shape.
    #[expect(clippy::unnecessary_wraps, reason = "same shape as the real operation")]
    pub(super) fn create_dir(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(name) {
            state.change(NameChange::Set(name.to_owned(), Node::Directory));
        }
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "same shape as the real operation")]
    pub(super) fn sync_dir(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let state = &mut *state;
        let durable = &mut state.names_durable;
        state.pending_names.retain(|change| {
            let path = match change {
                NameChange::Set(path, _) | NameChange::Remove(path) => path,
                NameChange::Rename(_, to) => to,
            };
            let here = parent(path) == name;
            if here {
                apply(durable, change);
            }
            !here
        });
        Ok(())
    }

    pub(super) fn list(&self, name: &str) -> io::Result<Vec<Entry>> {
        let state = self.state();
        if !name.is_empty() && state.names.get(name) != Some(&Node::Directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = state.names.iter().filter(|(path, _)| parent(path) == name);
        Ok(inside
            .map(|(path, node)| Entry {
                name: path.rsplit('/').next().unwrap_or(path).to_owned(),
                kind: if *node == Node::Directory {
                    EntryKind::Directory
                } else {
                    EntryKind::File
                },
                size: match node {
                    Node::Directory => 0,
                    Node::File(inode) => state.inodes[*inode].volatile.len() as u64,
                },
                modified: 0,
            })
            .collect())
    }

    pub(super) fn space(&self) -> (u64, u64) {
        let state = self.state();
        (state.capacity.saturating_sub(state.used()), state.capacity)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.state().names.contains_key(name)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    pub(super) fn read_at(&self, into: &mut [u8], position: u64, wait: Wait) -> io::Result<usize> {
        let mut state = self.live()?;
        state.fault(Operation::Read, &self.name)?;
        if wait == Wait::No && state.cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let content = &state.inodes[self.inode].volatile;
        let start = usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(content.len());
        let n = into.len().min(content.len() - start);
        into[..n].copy_from_slice(&content[start..start + n]);
        Ok(n)
    }

    pub(super) fn write_at(&self, parts: &[Bytes], position: u64) -> io::Result<()> {
        let mut state = self.live()?;
        let failed = state.fault(Operation::Write, &self.name).err();
        let total: usize = parts.iter().map(Bytes::len).sum();
        let mut allowed = total;
        let mut error = failed;
        if error.is_some() {
            allowed = usize::try_from(state.draw() % (total as u64 + 1)).unwrap_or_default();
        }
        let mut position = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let grows = (position + allowed).saturating_sub(state.inodes[self.inode].volatile.len());
        let free =
            usize::try_from(state.capacity.saturating_sub(state.used())).unwrap_or(usize::MAX);
        if grows > free {
            allowed -= (grows - free).min(allowed);
            error = Some(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut state.inodes[self.inode];
        for part in parts {
            let n = part.len().min(allowed);
            inode.write(position, &part[..n]);
            position += n;
            allowed -= n;
        }
        error.map_or(Ok(()), Err)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.live()?;
        if let Err(e) = state.fault(Operation::Sync, &self.name) {
            // As Linux does: the pages are marked clean, and what they held may be gone.
            state.inodes[self.inode].dirty.clear();
            return Err(e);
        }
        state.inodes[self.inode].sync();
        Ok(())
    }

    pub(super) fn truncate(&self, size: u64) -> io::Result<()> {
        let mut state = self.live()?;
        state.fault(Operation::Truncate, &self.name)?;
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
        state.inodes[self.inode].truncate(size);
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
    fn draw(&mut self) -> u64 {
        draw(&mut self.random)
    }

    fn used(&self) -> u64 {
        let mut used = 0;
        for node in self.names.values() {
            if let Node::File(inode) = node {
                used += self.inodes[*inode].volatile.len() as u64;
            }
        }
        used
    }

    fn fault(&mut self, on: Operation, name: &str) -> io::Result<()> {
        for i in 0..self.faults.len() {
            let fault = &mut self.faults[i];
            if fault.on == on && name.contains(&fault.path_contains) {
                if fault.after == 0 {
                    return Err(self.faults.remove(i).error.into());
                }
                fault.after -= 1;
            }
        }
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.pending_names.push(change);
    }
}

impl Inode {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        let from = position.min(self.volatile.len());
        if self.volatile.len() < end {
            self.volatile.resize(end, 0);
        }
        self.volatile[position..end].copy_from_slice(bytes);
        self.dirty.extend(from / SECTOR..=(end - 1) / SECTOR);
    }

    fn truncate(&mut self, size: usize) {
        if size < self.volatile.len() {
            self.cut = Some(self.cut.map_or(size, |cut| cut.min(size)));
            self.dirty.retain(|sector| sector * SECTOR < size);
        } else if size > self.volatile.len() {
            self.dirty
                .extend(self.volatile.len() / SECTOR..=(size - 1) / SECTOR);
        }
        self.volatile.resize(size, 0);
    }

    fn sync(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.durable.truncate(cut);
        }
        self.durable.resize(self.volatile.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.volatile.len());
            if start < end {
                self.durable[start..end].copy_from_slice(&self.volatile[start..end]);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &NameChange) {
    match change {
        NameChange::Set(path, node) => {
            names.insert(path.clone(), *node);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            let inside = format!("{from}/");
            let moved: Vec<String> = names
                .keys()
                .filter(|p| *p == from || p.starts_with(&inside))
                .cloned()
                .collect();
            for path in moved {
                if let Some(node) = names.remove(&path) {
                    names.insert(format!("{to}{}", &path[from.len()..]), node);
                }
            }
        }
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn coin(random: &mut u64) -> bool {
    draw(random) & 1 == 0
}

/// xorshift64*: the draws must be the same for the same seed on every machine.
fn draw(random: &mut u64) -> u64 {
    *random ^= *random >> 12;
    *random ^= *random << 25;
    *random ^= *random >> 27;
    random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
}

/// The unit that a disk writes whole.
const SECTOR: usize = 512;
