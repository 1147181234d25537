//! What the metadata log and its snapshots say.
//!
//! Owns: the choice of the snapshot, replaying the log behind it.
//! Lives on: the main thread, which may block.
//! Invariants:
//! 1. The image holds every record of the log, or the broker does not start.
//! 2. A damaged snapshot is set aside, never removed, and only where an older one and the log say
//!    the same.
//!
//! Not here: writing to the log (`metadata_log.rs`), writing snapshots (`shard/snapshots.rs`).

use anyhow::Context as _;
use bytes::Bytes;
use corelog_storage::batch::{Batch, UncheckedBatch};
use corelog_storage::disk::LogDir;
use corelog_storage::log::{Log, Read, Wait};
use corelog_storage::types::{Offset, Timestamp, TopicPartition};

use crate::metadata::snapshot::last_timestamp;
use crate::metadata::{Image, Replay, SnapshotId, snapshot};
use crate::shard::snapshots::Written;

/// What was loaded.
pub(crate) struct Loaded {
    pub(crate) image: Image,
    /// The log ends within a metadata transaction.
    pub(crate) open_transaction: bool,
    pub(crate) written: Written,
}

/// The image that the newest snapshot and the log behind it give.
pub(crate) fn load(
    directory: &LogDir,
    name: &TopicPartition,
    log: &mut Log,
    now: Timestamp,
) -> anyhow::Result<Loaded> {
    let folder = name.to_string();
    let snapshot = newest(directory, &folder, log)?;
    let (image, mut written) = match snapshot {
        Some((image, timestamp)) => {
            let latest = Some(image.at());
            let last_timestamp = timestamp.unwrap_or(Timestamp::NONE);
            (image, written(latest, last_timestamp))
        }
        None => (Image::default(), written(None, Timestamp::NONE)),
    };
    let mut from = Offset(image.at().end_offset);
    if log.end_offset() < from {
        begin_at(log, from, now).with_context(|| {
            format!("the metadata log cannot begin anew at offset {from}, where its snapshot ends")
        })?;
    }
    anyhow::ensure!(
        from >= log.start_offset(),
        "the metadata log begins at offset {}, and no snapshot in {} holds what was before: bring \
         one back, the settings of the cluster are in it",
        log.start_offset(),
        directory.path(&folder).display()
    );
    let mut replay = Replay::from(image);
    while from < log.end_offset() {
        let batches = read(log, from)?;
        let Some(last) = batches.last() else { break };
        let next = last.header().next_offset();
        for batch in &batches {
            replay.batch(batch)?;
            let header = batch.header();
            written.bytes += header.size() as u64;
            written.last_timestamp = written.last_timestamp.max(header.max_timestamp);
        }
        from = next;
    }
    let replayed = replay.finish();
    Ok(Loaded {
        image: replayed.image,
        open_transaction: replayed.open_transaction,
        written,
    })
}

fn written(latest: Option<SnapshotId>, last_timestamp: Timestamp) -> Written {
    Written {
        latest,
        bytes: 0,
        last_timestamp,
    }
}

/// The newest snapshot that can be read. Files of snapshots that were never finished, or were being
/// deleted, are removed.
fn newest(
    directory: &LogDir,
    folder: &str,
    log: &Log,
) -> anyhow::Result<Option<(Image, Option<Timestamp>)>> {
    let mut ids = Vec::new();
    for entry in directory.list(folder)? {
        if let Some(id) = SnapshotId::from_file_name(&entry.name) {
            ids.push(id);
        } else if UNFINISHED.iter().any(|end| entry.name.ends_with(end)) {
            directory.remove_file(&format!("{folder}/{}", entry.name))?;
        }
    }
    ids.sort();
    while let Some(id) = ids.pop() {
        let path = format!("{folder}/{}", id.file_name());
        let bytes = Bytes::from(directory.read_file(&path)?);
        let timestamp = last_timestamp(bytes.clone());
        let error = match snapshot::read(bytes, id) {
            Ok(image) => return Ok(Some((image, timestamp))),
            Err(error) => error,
        };
        let file = directory.path(&path);
        let before = ids.last().map_or(0, |older| older.end_offset);
        let covered = log.start_offset().0 <= before && log.end_offset().0 >= id.end_offset;
        anyhow::ensure!(
            covered,
            "the metadata snapshot {} is damaged ({error}) and the log does not hold what was in it: \
             bring the file back from a copy",
            file.display()
        );
        let aside = format!("{path}.damaged");
        directory.rename(&path, &aside)?;
        directory.sync_dir(folder)?;
        tracing::warn!(
            "the metadata snapshot {} is damaged ({error}): it is set aside as {}, the log holds \
             everything that was in it",
            file.display(),
            directory.path(&aside).display()
        );
    }
    Ok(None)
}

/// Throws the log away, all of which a snapshot holds, and begins it where the snapshot ends.
fn begin_at(log: &mut Log, offset: Offset, now: Timestamp) -> anyhow::Result<()> {
    let truncate = log
        .truncate_fully_and_start_at(offset, now)
        .context("the log is in use")?;
    log.truncated(truncate.run())?;
    log.set_high_watermark(offset);
    Ok(())
}

/// Whole batches from `from` on.
fn read(log: &mut Log, from: Offset) -> anyhow::Result<Vec<Batch>> {
    let upper = log.end_offset();
    let mut read = log.read(from, READ_BYTES, upper, true)?;
    if let Read::Locate(job) = read {
        read = log.located(job.run(Wait::Yes)?)?;
    }
    let mut bytes = match read {
        Read::Empty => Bytes::new(),
        Read::Memory { parts, .. } => parts.concat().into(),
        Read::File { file, range } => {
            let size = usize::try_from(range.end - range.start)?;
            file.read_exact_at(size, range.start)?.into()
        }
        Read::Locate(_) => anyhow::bail!("a place in the metadata log cannot be found"),
    };
    let mut batches = Vec::new();
    while let Some(batch) = UncheckedBatch::take(&mut bytes)? {
        batches.push(batch.check()?);
    }
    Ok(batches)
}

const READ_BYTES: usize = 1024 * 1024;
/// Ends of the names of snapshots that do not count: begun by Kafka or by us, or being deleted.
const UNFINISHED: [&str; 3] = [".checkpoint.part", ".checkpoint.tmp", ".checkpoint.deleted"];
