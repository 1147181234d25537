//! The names of a simulated disk, and the journal that makes them durable.
//!
//! **Owns** the tree, changes that are not durable, and what of them a power cut leaves.
//! **Lives on** the simulated disk.
//! **Invariants** 1. A change is whole or not at all. 2. What was synced stays. 3. A change never becomes durable before
//! one of the same name that came earlier.
//! **Not here** the bytes of files (`inode`).

use std::collections::BTreeMap;

use super::chance::Random;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory,
    File(usize),
}

/// In which order changes of names become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrder {
    /// In the order they were made, whatever the directory: one journal, as ext4 and XFS have it.
    Journal,
    /// In the order they were made within each directory, directories in any: a file system that logs directories by
    /// themselves. (POSIX promises less; nothing that Linux mounts does less.)
    PerDirectory,
}

#[derive(Clone, Debug)]
pub(super) enum Change {
    Set(String, Node),
    Remove(String),
    Rename(String, String),
}

#[derive(Default)]
pub(super) struct Names {
    volatile: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Change>,
}

impl Names {
    pub(super) fn find(&self, name: &str) -> Option<Node> {
        self.volatile.get(name).copied()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&str, Node)> {
        self.volatile
            .iter()
            .map(|(name, node)| (name.as_str(), *node))
    }

    pub(super) fn change(&mut self, change: Change) {
        apply(&mut self.volatile, &change);
        self.pending.push(change);
    }

    /// Whether a change waits to become durable.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Every change in this directory is durable, and so is all that it builds on.
    pub(super) fn sync(&mut self, directory: &str) {
        let wanted: Vec<bool> = self
            .pending
            .iter()
            .map(|change| change.names().iter().any(|name| parent(name) == directory))
            .collect();
        self.keep(wanted);
    }

    /// The journal commits by itself: some of the oldest changes are durable.
    pub(super) fn commit(&mut self, random: &mut Random) {
        let count = random.below(self.pending.len() as u64 + 1);
        let wanted = (0..self.pending.len()).map(|at| (at as u64) < count);
        let wanted = wanted.collect();
        self.keep(wanted);
    }

    /// Power is cut.
    pub(super) fn crash(&mut self, random: &mut Random, order: NameOrder) {
        match order {
            NameOrder::Journal => self.commit(random),
            NameOrder::PerDirectory => {
                let mut left: BTreeMap<String, u64> = BTreeMap::new();
                for change in &self.pending {
                    *left.entry(change.directory().to_owned()).or_default() += 1;
                }
                for count in left.values_mut() {
                    *count = random.below(*count + 1);
                }
                let wanted = self.pending.iter().map(|change| {
                    let left = left.entry(change.directory().to_owned()).or_default();
                    let wanted = *left > 0;
                    *left = left.saturating_sub(1);
                    wanted
                });
                let wanted = wanted.collect();
                self.keep(wanted);
            }
        }
        self.pending.clear();
        let directories: Vec<String> = self.durable.keys().cloned().collect();
        self.durable.retain(|name, _| {
            let parent = parent(name);
            parent.is_empty()
                || directories
                    .binary_search_by(|one| one.as_str().cmp(parent))
                    .is_ok()
        });
        self.volatile.clone_from(&self.durable);
    }

    /// Makes the wanted changes durable, with every earlier one that shares a name with them.
    fn keep(&mut self, mut wanted: Vec<bool>) {
        for at in (0..wanted.len()).rev() {
            if wanted[at] {
                let (earlier, this) = (&self.pending[..at], &self.pending[at]);
                for (wanted, change) in wanted.iter_mut().zip(earlier) {
                    *wanted |= change.touches(this);
                }
            }
        }
        let durable = &mut self.durable;
        let mut wanted = wanted.into_iter();
        self.pending.retain(|change| {
            let keep = wanted.next().unwrap_or(false);
            if keep {
                apply(durable, change);
            }
            !keep
        });
    }
}

impl Change {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Set(name, _) | Self::Remove(name) => vec![name],
            Self::Rename(from, to) => vec![from, to],
        }
    }

    /// The directory it changes; no rename here leaves its own.
    fn directory(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Remove(name) | Self::Rename(_, name) => parent(name),
        }
    }

    /// Whether two changes concern the same name, or one renames the directory that the other's lies in. A new file does
    /// not make its new directory durable.
    fn touches(&self, other: &Self) -> bool {
        let same = self.names().iter().any(|name| other.names().contains(name));
        same || self.renames_above(other) || other.renames_above(self)
    }

    fn renames_above(&self, other: &Self) -> bool {
        let Self::Rename(from, to) = self else {
            return false;
        };
        let below = |directory: &str, name: &str| {
            name.strip_prefix(directory)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        let names = other.names();
        names
            .iter()
            .any(|name| below(from, name) || below(to, name))
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &Change) {
    match change {
        Change::Set(path, node) => {
            names.insert(path.clone(), *node);
        }
        Change::Remove(path) => {
            names.remove(path);
        }
        Change::Rename(from, to) => {
            let inside = format!("{from}/");
            let moved: Vec<String> = names
                .keys()
                .filter(|path| *path == from || path.starts_with(&inside))
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

/// The directory a name lies in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
