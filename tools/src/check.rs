//! Verifying data directories offline: every file that the broker would believe.
//!
//! **Owns** the findings: what is wrong, what it means, what to do.
//! **Lives on** one thread per core while a check runs; partitions are shared out one by one.
//! **Invariants** (1) Nothing is changed; the lock is held, so no broker changes anything either. (2) Memory per thread is
//! bounded by one batch and the producers of one partition. (3) What the broker puts right by itself at a start is a
//! warning; what it does not, or not without losing records, is damage.
//! **Not here** the formats (`storage`), printing (`cli::log_check`).

mod directory;
mod follow;
mod metadata;
mod partition;
mod segment;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};

use corelog_storage::disk::{DiskError, LogDir};
use corelog_storage::types::TopicPartition;

use directory::Directory;
use partition::Job;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Records are lost or wrong, or the broker would believe something wrong.
    Damage,
    /// The broker puts it right at its next start, or it is only strange.
    Warning,
}

impl Severity {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or folder.
    pub path: String,
    /// Byte in the file, where there is one to name.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What follows from it.
    pub means: String,
    /// What to do: a sentence or commands; empty when nothing need be done.
    pub remedy: String,
}

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The log directories of one broker.
    pub directories: Vec<String>,
    /// Only these partitions; all when empty.
    pub partitions: Vec<TopicPartition>,
    /// Look into the records too, inflating them.
    pub deep: bool,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Partitions checked.
    pub partitions: usize,
    /// Segments checked.
    pub segments: usize,
    /// Batches checked.
    pub batches: u64,
    /// Bytes of logs read.
    pub bytes: u64,
    /// By path and position.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        let of_it = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of_it).count()
    }

    fn add(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.segments += other.segments;
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.findings.extend(other.findings);
    }
}

/// Why a check cannot run.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The disk does not answer.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Somebody works in the directory.
    #[error(
        "{path} is in use: a broker holds its lock. Stop the broker first; what it is writing would be taken for damage"
    )]
    Locked {
        /// The directory.
        path: String,
    },
    /// One level too deep.
    #[error(
        "{path} is the folder of a partition: give the data directory that it lies in, and --partition for this one alone"
    )]
    PartitionFolder {
        /// The folder.
        path: String,
    },
    /// A filter that fits nothing.
    #[error("there is no partition {partition} in {directories}")]
    NoSuchPartition {
        /// The filter.
        partition: String,
        /// Where it was looked for.
        directories: String,
    },
}

/// Told of the work: first how many bytes there are, then of every piece done.
pub trait Progress: Sync {
    /// There are so many bytes of logs.
    fn begin(&self, bytes: u64);
    /// So many more are done.
    fn advance(&self, bytes: u64);
}

/// Runs a check.
pub fn run(plan: &Plan, progress: &dyn Progress) -> Result<Report, CheckError> {
    let mut directories = Vec::new();
    let mut locks = Vec::new();
    let mut report = Report::default();
    for path in &plan.directories {
        let dir = LogDir::existing(path)?;
        if directory::is_partition(&dir)? {
            return Err(CheckError::PartitionFolder { path: path.clone() });
        }
        // Every broker that ever ran here left the file; where there is none, none runs, and none is to be made.
        if dir.exists(directory::LOCK) {
            match dir.lock() {
                Ok(lock) => locks.push(lock),
                Err(error) if error.source.kind() == std::io::ErrorKind::WouldBlock => {
                    return Err(CheckError::Locked { path: path.clone() });
                }
                // A directory that cannot be written to (a read-only mount) has no broker in it.
                Err(error) if is_read_only(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        directories.push(Directory::read(dir, &mut report.findings)?);
    }
    let metadata = metadata::read(&directories, &mut report.findings);
    let jobs = directory::jobs(&directories, metadata.as_ref(), plan, &mut report.findings)?;
    progress.begin(jobs.iter().map(|job| job.bytes).sum());
    for done in shared_out(&jobs, plan, progress) {
        report.add(done?);
    }
    drop(locks);
    report.findings.sort_by(|a, b| {
        (&a.path, a.position, a.severity, &a.what).cmp(&(&b.path, b.position, b.severity, &b.what))
    });
    Ok(report)
}

fn is_read_only(error: &DiskError) -> bool {
    matches!(
        error.source.kind(),
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied
    )
}

/// One thread per core takes partitions off the list, the largest first.
fn shared_out(
    jobs: &[Job<'_>],
    plan: &Plan,
    progress: &dyn Progress,
) -> Vec<Result<Report, CheckError>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut report = Report::default();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            report.add(job.check(plan.deep, progress)?);
        }
        Ok(report)
    };
    // A tool has no shards: its threads live as long as this function, and share a counter.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(jobs.len()))
            .map(|_| scope.spawn(work))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}
