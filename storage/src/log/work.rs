//! File work as plain data: what is not on the append path and may wait a little.
//!
//! **Owns** the steps a [`Work`] consists of, and the log's queue of them.
//! **Lives on** the owning shard until taken; runs on the companion.
//! **Invariants** 1. Works of one log run one at a time, in order. 2. A work's barrier holds the recovery point
//! down until it is done: what it writes is then on disk whenever the recovery point says so.
//! **Not here** the bytes written (`index`, `producer`, `checkpoint`).

use std::collections::VecDeque;

use bytes::Bytes;

use super::append::Token;
use crate::disk::{DiskError, LogDir, Mode};
use crate::types::Offset;

/// File work to run on the companion with [`Work::run`]; the result goes to [`super::Log::worked`].
#[derive(Debug)]
pub struct Work {
    pub(super) token: Token,
    dir: LogDir,
    /// Steps that belong together, in order.
    chores: Vec<Vec<Step>>,
}

/// What came of a [`Work`].
#[derive(Debug)]
pub struct WorkOutcome {
    pub(super) token: Token,
    pub(super) result: Result<(), DiskError>,
    /// What found the disk full, from the step on that did; the rest is done.
    pub(super) undone: Vec<Vec<Step>>,
}

impl Work {
    /// Does it. Blocks. What only changes names is done on a full disk too, though other steps in front of it have to
    /// wait: deletions are what makes room.
    pub fn run(self) -> WorkOutcome {
        let mut result = Ok(());
        let mut undone: Vec<Vec<Step>> = Vec::new();
        for mut steps in self.chores {
            if result.is_err() && steps.iter().any(Step::writes) {
                undone.push(steps);
                continue;
            }
            let failed = steps
                .iter()
                .enumerate()
                .find_map(|(at, step)| step.run(&self.dir).err().map(|error| (at, error)));
            match failed {
                None => {
                    // What was to be written to a file that is gone is not wanted any more.
                    for gone in steps.iter().filter_map(Step::takes_away) {
                        for steps in &mut undone {
                            steps.retain(|step| !(step.writes() && step.name() == gone));
                        }
                    }
                }
                Some((at, error)) if error.is_full() => {
                    result = Err(error);
                    undone.push(steps.split_off(at));
                }
                Some((_, error)) => {
                    result = Err(error);
                    break;
                }
            }
        }
        WorkOutcome {
            token: self.token,
            result,
            undone,
        }
    }

    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.chores.into_iter().flatten().collect()
    }
}

/// One operation on one file or folder. Names are relative to the log directory.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes into a file, created when it is not there.
    Write {
        name: String,
        position: u64,
        bytes: Bytes,
    },
    /// Cuts (or empties) a file, created when it is not there, and syncs it.
    Finish {
        name: String,
        size: u64,
    },
    /// Syncs a file that is there.
    SyncFile {
        name: String,
    },
    /// Writes a new file whole and syncs it.
    Replace {
        name: String,
        content: Bytes,
    },
    /// The same by way of a temporary file and a rename.
    ReplaceAtomically {
        name: String,
        content: Bytes,
    },
    /// Renames what may have been renamed before.
    Rename {
        from: String,
        to: String,
    },
    /// Renames what must be there.
    Move {
        from: String,
        to: String,
    },
    /// Nothing: behind the steps that give a cleaned segment its names, it says that they are done.
    Swapped,
    Remove {
        name: String,
    },
    SyncDir {
        name: String,
    },
}

impl Step {
    /// Whether it puts bytes into a file, so that a full disk can be in its way.
    fn writes(&self) -> bool {
        match self {
            Self::Write { .. }
            | Self::Finish { .. }
            | Self::SyncFile { .. }
            | Self::Replace { .. }
            | Self::ReplaceAtomically { .. } => true,
            Self::Rename { .. }
            | Self::Move { .. }
            | Self::Swapped
            | Self::Remove { .. }
            | Self::SyncDir { .. } => false,
        }
    }

    /// What it is about; of a renaming, the old name.
    fn name(&self) -> &str {
        match self {
            Self::Write { name, .. }
            | Self::Finish { name, .. }
            | Self::SyncFile { name }
            | Self::Replace { name, .. }
            | Self::ReplaceAtomically { name, .. }
            | Self::Remove { name }
            | Self::SyncDir { name }
            | Self::Rename { from: name, .. }
            | Self::Move { from: name, .. } => name,
            Self::Swapped => "",
        }
    }

    /// The name that is no longer there after it.
    fn takes_away(&self) -> Option<&str> {
        match self {
            Self::Rename { .. } | Self::Move { .. } | Self::Remove { .. } => Some(self.name()),
            Self::Write { .. }
            | Self::Finish { .. }
            | Self::SyncFile { .. }
            | Self::Replace { .. }
            | Self::ReplaceAtomically { .. }
            | Self::Swapped
            | Self::SyncDir { .. } => None,
        }
    }

    pub(crate) fn run(&self, dir: &LogDir) -> Result<(), DiskError> {
        match self {
            Self::Write {
                name,
                position,
                bytes,
            } => dir
                .open_file(name, Mode::Create)?
                .write_at(std::slice::from_ref(bytes), *position),
            Self::Finish { name, size } => {
                let file = dir.open_file(name, Mode::Create)?;
                file.truncate(*size)?;
                file.sync_data()
            }
            Self::SyncFile { name } => dir.open_file(name, Mode::Write)?.sync_data(),
            Self::Replace { name, content } => {
                let file = dir.open_file(name, Mode::Replace)?;
                file.write_at(std::slice::from_ref(content), 0)?;
                file.sync_data()
            }
            Self::ReplaceAtomically { name, content } => dir.replace_file(name, content),
            Self::Rename { from, to } => match dir.rename(from, to) {
                Err(e) if e.is_not_found() => Ok(()),
                other => other,
            },
            Self::Move { from, to } => dir.rename(from, to),
            Self::Swapped => Ok(()),
            Self::Remove { name } => dir.remove_file(name),
            Self::SyncDir { name } => dir.sync_dir(name),
        }
    }
}

/// What is to be done, what is being done.
#[derive(Debug, Default)]
pub(crate) struct Chores {
    queue: VecDeque<Chore>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Chore {
    steps: Vec<Step>,
    barrier: Offset,
    index_written: Vec<IndexWritten>,
    swap: bool,
    /// It removes what a cleaning wrote in vain.
    discards: bool,
}

/// Index entries of a segment that are in the file once the work is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexWritten {
    pub base: Offset,
    pub index_entries: u32,
    pub time_entries: u32,
}

#[derive(Debug)]
struct Running {
    token: Token,
    barrier: Offset,
    index_written: Vec<IndexWritten>,
    swap: bool,
    /// It removes what a cleaning wrote in vain.
    discards: bool,
}

/// What a finished work has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub index_written: Vec<IndexWritten>,
    /// A cleaned segment has its names.
    pub swap: bool,
}

impl Chores {
    /// Adds steps; the recovery point may not pass `barrier` before they are done.
    pub(super) fn add(&mut self, steps: Vec<Step>, barrier: Offset, index: Option<IndexWritten>) {
        self.queue.push_back(Chore {
            steps,
            barrier,
            index_written: index.into_iter().collect(),
            swap: false,
            discards: false,
        });
    }

    /// Adds steps that remove what a cleaning wrote in vain.
    pub(super) fn add_discard(&mut self, steps: Vec<Step>) {
        self.queue.push_back(Chore {
            steps,
            barrier: NO_BARRIER,
            index_written: Vec::new(),
            swap: false,
            discards: true,
        });
    }

    /// Whether files of a cleaning are still to be removed: another one would write under their names.
    pub(super) fn discards(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.discards)
            || self.queue.iter().any(|chore| chore.discards)
    }

    /// Adds the steps that give a cleaned segment its names.
    pub(super) fn add_swap(&mut self, mut steps: Vec<Step>) {
        steps.push(Step::Swapped);
        self.queue.push_back(Chore {
            steps,
            barrier: NO_BARRIER,
            index_written: Vec::new(),
            swap: true,
            discards: false,
        });
    }

    /// Nothing queued, nothing running.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.running.is_none()
    }

    /// Nothing runs; what is queued can still be dropped.
    pub(super) fn nothing_runs(&self) -> bool {
        self.running.is_none()
    }

    /// Whether a work may be taken: something is queued, nothing runs.
    pub(super) fn is_due(&self) -> bool {
        !self.queue.is_empty() && self.running.is_none()
    }

    /// Whether files are to go behind others that are still to be written.
    pub(super) fn deletes_behind_writes(&self) -> bool {
        let mut writes = false;
        self.queue.iter().any(|chore| {
            writes |= chore.steps.iter().any(Step::writes);
            writes && chore.steps.iter().any(|step| step.takes_away().is_some())
        })
    }

    /// The offset the recovery point must not pass yet.
    pub(super) fn barrier(&self) -> Offset {
        let queued = self.queue.iter().map(|chore| chore.barrier);
        let running = self.running.iter().map(|running| running.barrier);
        queued.chain(running).min().unwrap_or(NO_BARRIER)
    }

    /// Everything queued, as one work.
    pub(super) fn take(&mut self, dir: &LogDir, token: Token) -> Work {
        let barrier = self.barrier();
        let mut chores = Vec::new();
        let mut index_written = Vec::new();
        let (mut swap, mut discards) = (false, false);
        for chore in self.queue.drain(..) {
            chores.push(chore.steps);
            index_written.extend(chore.index_written);
            swap |= chore.swap;
            discards |= chore.discards;
        }
        self.running = Some(Running {
            token,
            barrier,
            index_written,
            swap,
            discards,
        });
        Work {
            token,
            dir: dir.clone(),
            chores,
        }
    }

    /// The running work found the disk full: what is undone of it is due again, before everything else. Says whether a
    /// cleaned segment has got its names all the same.
    pub(super) fn again(&mut self, token: Token, undone: Vec<Vec<Step>>) -> bool {
        match self.running.take() {
            Some(running) if running.token == token => {
                // The entries count as written when the last of the steps is done.
                let mut index_written = Some(running.index_written);
                let mut swapped = running.swap;
                for steps in undone.into_iter().rev() {
                    let swap = steps.iter().any(|step| matches!(step, Step::Swapped));
                    swapped &= !swap;
                    self.queue.push_front(Chore {
                        steps,
                        barrier: running.barrier,
                        index_written: index_written.take().unwrap_or_default(),
                        swap,
                        discards: false,
                    });
                }
                swapped
            }
            other => {
                self.running = other;
                false
            }
        }
    }

    /// The running work is done.
    pub(super) fn done(&mut self, token: Token) -> Done {
        match self.running.take() {
            Some(running) if running.token == token => Done {
                index_written: running.index_written,
                swap: running.swap,
            },
            other => {
                // An outcome from before a truncation: what it wrote is replaced.
                self.running = other;
                Done::default()
            }
        }
    }
}

/// Nothing holds the recovery point down.
pub(super) const NO_BARRIER: Offset = Offset(i64::MAX);
