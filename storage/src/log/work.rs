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
    steps: Vec<Step>,
}

/// What came of a [`Work`].
#[derive(Debug)]
pub struct WorkOutcome {
    pub(super) token: Token,
    pub(super) result: Result<(), DiskError>,
}

impl Work {
    /// Does it. Blocks.
    pub fn run(self) -> WorkOutcome {
        let mut result = Ok(());
        for step in &self.steps {
            result = step.run(&self.dir);
            if result.is_err() {
                break;
            }
        }
        WorkOutcome {
            token: self.token,
            result,
        }
    }

    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
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
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncDir {
        name: String,
    },
}

impl Step {
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
    index_written: Option<IndexWritten>,
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
}

impl Chores {
    /// Adds steps; the recovery point may not pass `barrier` before they are done.
    pub(super) fn add(&mut self, steps: Vec<Step>, barrier: Offset, index: Option<IndexWritten>) {
        self.queue.push_back(Chore {
            steps,
            barrier,
            index_written: index,
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

    /// The offset the recovery point must not pass yet.
    pub(super) fn barrier(&self) -> Offset {
        let queued = self.queue.iter().map(|chore| chore.barrier);
        let running = self.running.iter().map(|running| running.barrier);
        queued.chain(running).min().unwrap_or(NO_BARRIER)
    }

    /// Everything queued, as one work.
    pub(super) fn take(&mut self, dir: &LogDir, token: Token) -> Work {
        let barrier = self.barrier();
        let mut steps = Vec::new();
        let mut index_written = Vec::new();
        for chore in self.queue.drain(..) {
            steps.extend(chore.steps);
            index_written.extend(chore.index_written);
        }
        self.running = Some(Running {
            token,
            barrier,
            index_written,
        });
        Work {
            token,
            dir: dir.clone(),
            steps,
        }
    }

    /// The running work is done; what it wrote of indexes.
    pub(super) fn done(&mut self, token: Token) -> Vec<IndexWritten> {
        match self.running.take() {
            Some(running) if running.token == token => running.index_written,
            other => {
                // An outcome from before a truncation: what it wrote is replaced.
                self.running = other;
                Vec::new()
            }
        }
    }
}

/// Nothing holds the recovery point down.
pub(super) const NO_BARRIER: Offset = Offset(i64::MAX);
