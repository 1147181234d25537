//! A log on a simulated disk beside a model of it.

mod append;
mod compaction;
mod restart;
mod stop_and_start;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::batch::{Batch, BatchBuilder, BatchOptions, UncheckedBatch};
use crate::disk::{Mode, sim::Disk};
use crate::index;
use crate::segment::name::Content;
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn small() -> Arc<LogSettings> {
    Arc::new(LogSettings {
        segment_bytes: 8 << 10,
        index_interval_bytes: 256,
        retention_ms: None,
        ..LogSettings::default()
    })
}

/// A batch of `count` records whose values fill about `size` bytes; timestamps rise by one from `timestamp`.
fn batch(count: usize, size: usize, timestamp: i64) -> Batch {
    batch_with(BatchOptions::default(), count, size, timestamp)
}

fn batch_with(options: BatchOptions, count: usize, size: usize, timestamp: i64) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for (i, at) in (timestamp..).take(count).enumerate() {
        let fill = u8::try_from(at & 0x7f).unwrap();
        let value = vec![fill; size / count];
        builder
            .append(Timestamp(at), Some(&i.to_be_bytes()), Some(&value), &[])
            .unwrap();
    }
    builder.finish().unwrap()
}

fn produced_by(producer: i64, epoch: i16, sequence: i32) -> BatchOptions {
    BatchOptions {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        ..BatchOptions::default()
    }
}

/// Executes everything the log asks for.
fn flush(log: &mut Log) {
    loop {
        let mut idle = true;
        while let Some(write) = log.take_write() {
            let outcome = write.run().map_err(DiskError::into_io);
            log.written(write.token, outcome).unwrap();
            idle = false;
        }
        if let Some(sync) = log.take_sync() {
            let outcome = sync.run().map_err(DiskError::into_io);
            log.synced(sync.token, outcome).unwrap();
            idle = false;
        }
        if let Some(work) = log.take_work() {
            log.worked(work.run()).unwrap();
            idle = false;
        }
        if idle {
            break;
        }
    }
    assert_eq!(log.written_offset(), log.end_offset());
    assert_eq!(log.durable_offset(), log.end_offset());
    assert_eq!(log.recovery_point(), log.end_offset());
}

/// A read, wherever it leads, as bytes.
fn read(
    log: &mut Log,
    from: Offset,
    bytes_max: usize,
    upper: Offset,
    whole_first: bool,
) -> Vec<u8> {
    let mut read = log.read(from, bytes_max, upper, whole_first).unwrap();
    loop {
        match read {
            Read::Empty => return Vec::new(),
            Read::Memory { parts, size } => {
                let bytes = parts.concat();
                assert_eq!(bytes.len(), size);
                return bytes;
            }
            Read::File { file, range } => {
                let size = usize::try_from(range.end - range.start).unwrap();
                return file.read_exact_at(size, range.start).unwrap();
            }
            Read::Locate(job) => {
                let located = match job.run(Wait::No) {
                    Err(LocateError::WouldBlock) => job.run(Wait::Yes),
                    other => other,
                };
                read = log.located(located.unwrap()).unwrap();
            }
        }
    }
}

/// The whole batches at the front of `bytes`.
fn batches(bytes: Vec<u8>) -> Vec<Batch> {
    let mut rest = Bytes::from(bytes);
    let mut found = Vec::new();
    while let Some(unchecked) = UncheckedBatch::take(&mut rest).unwrap() {
        found.push(unchecked.check().unwrap());
    }
    found
}

/// Every entry of every index file names a batch, and none is out of order.
fn check_indexes(log: &Log) {
    for (at, segment) in log.segments.iter().enumerate() {
        let source = log.source(at);
        let file = log
            .dir
            .open_file(&log.name(segment.base, Content::Log), Mode::Read)
            .unwrap();
        let mut last_position = 0;
        if segment.index_entries > 0 {
            let name = log.name(segment.base, Content::Index);
            let index = log.dir.open_file(&name, Mode::Read).unwrap();
            for number in 0..segment.index_entries {
                let entry = index::index_entry(&index, number, Wait::Yes).unwrap();
                assert!(
                    entry.position > last_position,
                    "{name} entry {number}: {entry:?}"
                );
                last_position = entry.position;
                let header = source
                    .header(&file, u64::from(entry.position), Wait::Yes)
                    .unwrap();
                let last = segment.base + i64::from(entry.relative_offset);
                assert_eq!(header.last_offset(), last, "{name} entry {number}");
            }
        }
        let mut last = Timestamp::NONE;
        for number in 0..segment.time_entries {
            let name = log.name(segment.base, Content::TimeIndex);
            let times = log.dir.open_file(&name, Mode::Read).unwrap();
            let entry = index::time_entry(&times, number, Wait::Yes).unwrap();
            assert!(
                entry.timestamp > last,
                "{name} entry {number}: {entry:?} after {last}"
            );
            last = entry.timestamp;
        }
    }
}
