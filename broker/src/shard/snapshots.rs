//! Snapshots of the metadata log: when one is written, which go.
//!
//! Owns: the pace (`metadata.log.max.record.bytes.between.snapshots`,
//! `metadata.log.max.snapshot.interval.ms`), the files beside the log, the start of the log.
//! Lives on: shard 0; files are written and deleted on the companion.
//! Invariants:
//! 1. A snapshot holds only records that are durable: it is made from a published image.
//! 2. A file bears a snapshot's name only when it is whole and on disk.
//! 3. The log begins at or below the end of the newest snapshot.
//!
//! Not here: a snapshot's bytes (`metadata/snapshot.rs`), loading one (`boot/metadata_log.rs`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelog_runtime::{Instant, blocking, spawn};
use corelog_storage::disk::{DiskError, LogDir, Mode, Wait};
use corelog_storage::types::{Offset, Timestamp};

use crate::metadata::snapshot::retention::{self, Limits, SnapshotFile};
use crate::metadata::{Image, SnapshotId, snapshot};
use crate::shard::Shard;

/// Where the metadata log stands towards its snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The newest snapshot.
    pub(crate) latest: Option<SnapshotId>,
    /// Bytes of records that are not in it.
    pub(crate) bytes: u64,
    /// When the last record was written.
    pub(crate) last_timestamp: Timestamp,
}

/// The pace of snapshots, part of the controller.
pub(crate) struct Snapshots {
    written: Cell<Written>,
    /// When the last one was begun, or the broker started.
    begun: Cell<Instant>,
    running: Cell<bool>,
}

impl Snapshots {
    pub(crate) fn new(written: Written) -> Self {
        Self {
            written: Cell::new(written),
            begun: Cell::new(corelog_runtime::now()),
            running: Cell::new(false),
        }
    }

    /// Notes a batch of the metadata log.
    pub(crate) fn wrote(&self, bytes: usize, at: Timestamp) {
        let mut written = self.written.get();
        written.bytes += bytes as u64;
        written.last_timestamp = written.last_timestamp.max(at);
        self.written.set(written);
    }
}

impl Shard {
    /// Begins a snapshot of the image if one is due. Call it while no change of metadata is under
    /// way, so that the image holds all that was written.
    pub(crate) fn snapshot_if_due(self: &Rc<Self>) {
        let Some(control) = self.control.get() else {
            return;
        };
        let snapshots = &control.snapshots;
        let (config, written) = (&self.config.metadata_log, snapshots.written.get());
        let image = self.image();
        let news = written
            .latest
            .is_none_or(|latest| latest.end_offset < image.at().end_offset);
        if snapshots.running.get() || !news {
            return;
        }
        let enough = i64::try_from(written.bytes)
            .is_ok_and(|bytes| bytes >= config.max_record_bytes_between_snapshots);
        let interval = u64::try_from(config.max_snapshot_interval_ms).unwrap_or(0);
        let since = corelog_runtime::now().duration_since(snapshots.begun.get());
        let late = interval > 0 && since >= Duration::from_millis(interval);
        if !(enough || late) {
            return;
        }
        snapshots.running.set(true);
        snapshots.begun.set(corelog_runtime::now());
        snapshots.written.set(Written {
            latest: Some(image.at()),
            bytes: 0,
            ..written
        });
        let shard = Rc::clone(self);
        spawn("metadata snapshot", async move {
            let done = shard.snapshot(image, written.last_timestamp).await;
            let Some(control) = shard.control.get() else {
                return;
            };
            control.snapshots.running.set(false);
            if done {
                shard.clean_metadata().await;
                return;
            }
            let mut now = control.snapshots.written.get();
            (now.latest, now.bytes) = (written.latest, now.bytes + written.bytes);
            control.snapshots.written.set(now);
        })
        .detach();
    }

    /// Writes one; says whether it is on disk.
    async fn snapshot(&self, image: Arc<Image>, last_timestamp: Timestamp) -> bool {
        let (directory, folder) = self.metadata_folder();
        let now = Timestamp(corelog_runtime::wall_clock());
        let begun = corelog_runtime::now();
        let id = image.at();
        let path = format!("{folder}/{}", id.file_name());
        let written = blocking("metadata snapshot", move || {
            let bytes = image
                .to_snapshot(last_timestamp, now)
                .map_err(|error| error.to_string())?;
            write_whole(&directory, &path, &bytes).map_err(|error| error.to_string())?;
            Ok::<_, String>(bytes.len())
        })
        .await;
        match written {
            Ok(size) => {
                let took = corelog_runtime::now().duration_since(begun);
                tracing::info!(
                    "metadata snapshot={id} bytes={size} ms={}",
                    took.as_millis()
                );
                true
            }
            Err(error) => {
                tracing::error!(
                    "metadata snapshot={id} was not written: {error}; the log is kept, the next one is tried later"
                );
                false
            }
        }
    }

    /// Writes snapshots when time passes, and deletes old ones.
    pub(crate) async fn snapshot_for_ever(self: Rc<Self>) {
        let interval = u64::try_from(self.config.metadata_log.max_snapshot_interval_ms)
            .ok()
            .filter(|ms| *ms > 0)
            .map_or(CLEAN_INTERVAL, Duration::from_millis);
        loop {
            corelog_runtime::sleep(interval.min(CLEAN_INTERVAL)).await;
            if let Some(control) = self.control.get() {
                let _turn = control.changing.acquire().await;
                self.snapshot_if_due();
            }
            self.clean_metadata().await;
        }
    }

    /// Deletes the snapshots that are over a limit, and what of the log lies before the oldest that
    /// stays.
    async fn clean_metadata(self: &Rc<Self>) {
        let (directory, folder) = self.metadata_folder();
        let listed = blocking("metadata snapshots", {
            let (directory, folder) = (directory.clone(), folder.clone());
            move || snapshots(&directory, &folder)
        })
        .await;
        let mut files = match listed {
            Ok(files) => files,
            Err(error) => {
                tracing::error!("metadata snapshots cannot be listed: {error}");
                return;
            }
        };
        let now = Timestamp(corelog_runtime::wall_clock());
        let config = &self.config.metadata_log;
        let limits = Limits {
            bytes: u64::try_from(config.max_retention_bytes).ok(),
            ms: Some(config.max_retention_ms).filter(|ms| *ms >= 0),
        };
        let partition = self.metadata_log();
        let mut gone = Vec::new();
        // One at a time: what a step takes from the log counts for the next.
        loop {
            let log_size = partition.log.borrow().size();
            if !retention::oldest_due(&files, log_size, limits, now) {
                break;
            }
            gone.push(files.remove(0));
            let start = Offset(files[0].id.end_offset);
            partition.log.borrow_mut().delete_records_before(start);
            self.keep(&partition);
        }
        if gone.is_empty() {
            return;
        }
        let count = gone.len();
        let removed = blocking("metadata snapshots", move || {
            for file in gone {
                directory.remove_file(&format!("{folder}/{}", file.id.file_name()))?;
            }
            Ok::<_, DiskError>(())
        })
        .await;
        let start = partition.log.borrow().start_offset();
        match removed {
            Ok(()) => tracing::info!("metadata snapshots deleted={count} log_start_offset={start}"),
            Err(error) => tracing::error!("metadata snapshots cannot be deleted: {error}"),
        }
    }

    fn metadata_folder(&self) -> (LogDir, String) {
        let partition = self.metadata_log();
        let log = partition.log.borrow();
        (log.dir().clone(), log.partition().to_string())
    }
}

/// Writes a file that appears under its name only when it is whole and on disk.
fn write_whole(directory: &LogDir, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
    // Kafka's suffix of a snapshot that is being written: it deletes such files when it starts.
    let part = format!("{path}.part");
    let file = directory.open_file(&part, Mode::Replace)?;
    file.write_at(&[Bytes::copy_from_slice(bytes)], 0)?;
    file.sync_data()?;
    drop(file);
    // ORDER: the content is durable before the name points to it.
    directory.rename(&part, path)?;
    directory.sync_dir(path.rsplit_once('/').map_or("", |(folder, _)| folder))
}

/// The snapshots of the folder in the order of their ids.
fn snapshots(directory: &LogDir, folder: &str) -> Result<Vec<SnapshotFile>, DiskError> {
    let mut files = Vec::new();
    for entry in directory.list(folder)? {
        let Some(id) = SnapshotId::from_file_name(&entry.name) else {
            continue;
        };
        let file = directory.open_file(&format!("{folder}/{}", entry.name), Mode::Read)?;
        let mut beginning = vec![0; HEADER_SIZE_MAX];
        let size = file.read_at(&mut beginning, 0, Wait::Yes)?;
        beginning.truncate(size);
        files.push(SnapshotFile {
            id,
            size: entry.size,
            last_timestamp: snapshot::last_timestamp(beginning.into()),
        });
    }
    files.sort_by_key(|file| file.id);
    Ok(files)
}

/// Kafka's controllers look at this pace, too.
const CLEAN_INTERVAL: Duration = Duration::from_mins(1);
/// The header batch with its voters is far smaller.
const HEADER_SIZE_MAX: usize = 64 * 1024;
