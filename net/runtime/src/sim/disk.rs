//! Owns: simulated files, each with a volatile and a durable half.
//! Lives on: the world.
//! Invariants: a sync makes durable exactly what was written before it took effect; a crash keeps of the rest
//! what the seed says: all of a write, a prefix, or nothing.
//! Not here: names and directories of a real layout (`storage::disk`).

use std::collections::BTreeMap;

use bytes::Bytes;
use rustix::io::Errno;

use super::{World, below, mix};
use crate::file::File;
use crate::op::{Handle, Outcome, Work};

#[derive(Default)]
pub(super) struct Disk {
    files: Vec<Data>,
    names: BTreeMap<(String, String), u64>,
}

#[derive(Default)]
struct Data {
    volatile: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl World {
    /// The file of a name on a host; made empty when it is not there.
    pub fn file(&self, host: &str, name: &str) -> File {
        let mut state = self.shared.state.borrow_mut();
        let disk = &mut state.disk;
        let next = disk.files.len() as u64;
        let id = *disk
            .names
            .entry((host.to_owned(), name.to_owned()))
            .or_insert(next);
        if id == next {
            disk.files.push(Data::default());
        }
        File::simulated(id)
    }

    /// What a reader would find now.
    pub fn contents(&self, host: &str, name: &str) -> Vec<u8> {
        let state = self.shared.state.borrow();
        let id = state.disk.names.get(&(host.to_owned(), name.to_owned()));
        id.map(|id| state.disk.at(*id).volatile.clone())
            .unwrap_or_default()
    }

    pub(crate) fn write_now(&self, file: u64, parts: &[Bytes], position: u64) {
        let mut state = self.shared.state.borrow_mut();
        let mut at = place(position);
        for part in parts {
            state.disk.at_mut(file).write(at, part);
            at += part.len();
        }
    }

    pub(crate) fn read_now(&self, file: u64, into: &mut [u8], at: u64) -> usize {
        self.shared
            .state
            .borrow()
            .disk
            .at(file)
            .read(place(at), into)
    }
}

impl Disk {
    fn at(&self, file: u64) -> &Data {
        &self.files[place(file)]
    }

    fn at_mut(&mut self, file: u64) -> &mut Data {
        &mut self.files[place(file)]
    }

    pub(super) fn carry_out(&mut self, work: &mut Work) -> Outcome {
        let done = match work {
            Work::Read {
                file: Handle::Sim(file),
                position,
                len,
                block,
                ..
            } => {
                let spare = block.spare();
                let room = spare.len().min(*len);
                self.at(*file).read(place(*position), &mut spare[..room])
            }
            Work::Write {
                file: Handle::Sim(file),
                position,
                parts,
                first,
                skip,
                ..
            } => {
                let mut at = place(*position);
                for bytes in crate::op::rest(parts, *first, *skip) {
                    self.at_mut(*file).write(at, bytes);
                    at += bytes.len();
                }
                at - place(*position)
            }
            Work::Sync {
                file: Handle::Sim(file),
            } => {
                self.at_mut(*file).sync();
                0
            }
            Work::Reserve { .. } | Work::Writeback { .. } | Work::Forget { .. } => 0,
            _ => return -Errno::BADF.raw_os_error(),
        };
        Outcome::try_from(done).unwrap_or(Outcome::MAX)
    }

    pub(super) fn crash(&mut self, host: &str, seed: u64) {
        for file in self.of(host) {
            let data = self.at_mut(file);
            for (n, (at, bytes)) in std::mem::take(&mut data.unsynced).into_iter().enumerate() {
                let draw = mix(seed ^ mix(file << 32 ^ n as u64));
                let kept = match draw % 4 {
                    0 | 1 => 0,
                    2 => below(draw >> 2, bytes.len() + 1),
                    _ => bytes.len(),
                };
                put(&mut data.durable, at, &bytes[..kept]);
            }
            data.volatile = data.durable.clone();
        }
    }

    /// What the dying tasks still wrote while they were dropped is gone too.
    pub(super) fn crash_done(&mut self, host: &str) {
        for file in self.of(host) {
            let data = self.at_mut(file);
            data.unsynced.clear();
            data.volatile = data.durable.clone();
        }
    }

    fn of(&self, host: &str) -> Vec<u64> {
        self.names
            .iter()
            .filter(|((of, _), _)| of == host)
            .map(|(_, id)| *id)
            .collect()
    }
}

impl Data {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.volatile, at, bytes);
        self.unsynced.push((at, bytes.to_vec()));
    }

    fn read(&self, at: usize, into: &mut [u8]) -> usize {
        let there = self.volatile.get(at..).unwrap_or_default();
        let n = there.len().min(into.len());
        into[..n].copy_from_slice(&there[..n]);
        n
    }

    fn sync(&mut self) {
        for (at, bytes) in std::mem::take(&mut self.unsynced) {
            put(&mut self.durable, at, &bytes);
        }
    }
}

fn put(into: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if into.len() < at + bytes.len() {
        into.resize(at + bytes.len(), 0);
    }
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

fn place(position: u64) -> usize {
    usize::try_from(position).expect("64-bit")
}
