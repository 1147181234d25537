//! What the log costs on top of what must be done anyway.
//!
//! 1. 64 KiB batches: `append` + `take_write` + `pwrite` to reserved space, beside a loop of CRC-32C + `pwrite`.
//! 2. 1 KiB batches over many partitions, 16 per write: nanoseconds of CPU per batch, with and without the `pwrite`.
//!
//! Both sides check the CRC of every batch, in the log's case by `validate`, as a produce request does. CPU time of
//! this thread, medians of five rounds, the two sides in turn. `cargo bench -p corelog-storage --bench append`.
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use corelog_storage::batch::{Batch, BatchBuilder, BatchOptions, BatchRules, Inspect, validate};
use corelog_storage::disk::{LogDir, Mode};
use corelog_storage::log::{Log, LogSettings, Origin};
use corelog_storage::types::{LeaderEpoch, Timestamp, TopicPartition};

fn main() {
    let root = std::env::temp_dir().join(format!("corelog-bench-{}", std::process::id()));
    let dir = LogDir::open(&root).expect("the temporary directory can be written");
    large(&dir);
    small(&dir);
    drop(std::fs::remove_dir_all(&root));
}

fn large(dir: &LogDir) {
    let bytes = batch_bytes(64 << 10);
    let count = 2048;
    let (mut raw, mut log) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        raw.push(cpu_ns(|| raw_loop(dir, &bytes, count, 1)));
        log.push(cpu_ns(|| {
            append_loop(dir, &bytes, count, 1, 1, round, Out::Write)
        }));
    }
    let (raw, log) = (median(raw) / count, median(log) / count);
    println!(
        "64 KiB batches: raw crc+pwrite {raw} ns, log {log} ns, ratio {:.3}",
        ratio(log, raw)
    );
}

fn small(dir: &LogDir) {
    let bytes = batch_bytes(1 << 10);
    let (partitions, per_write, count) = (200, 16, 200 * 16 * 32);
    let (mut raw, mut whole, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        raw.push(cpu_ns(|| raw_loop(dir, &bytes, count, per_write)));
        let written = 100 + round;
        whole.push(cpu_ns(|| {
            append_loop(
                dir,
                &bytes,
                count,
                partitions,
                per_write,
                written,
                Out::Write,
            )
        }));
        let kept = 200 + round;
        alone.push(cpu_ns(|| {
            append_loop(dir, &bytes, count, partitions, per_write, kept, Out::Drop)
        }));
    }
    let (raw, whole, alone) = (
        median(raw) / count,
        median(whole) / count,
        median(alone) / count,
    );
    println!("1 KiB batches, {partitions} partitions, {per_write} per write:");
    println!("  raw crc+pwrite {raw} ns per batch (one file, one pwrite per {per_write})");
    println!(
        "  log {whole} ns per batch with pwrite, ratio {:.3}",
        ratio(whole, raw)
    );
    println!("  log {alone} ns per batch without pwrite (validate, append, plan, confirm)");
}

/// The least a broker can do: check the CRC, write what came to reserved space.
fn raw_loop(dir: &LogDir, bytes: &Bytes, count: u64, per_write: usize) -> u64 {
    let file = dir
        .open_file("raw", Mode::Replace)
        .expect("the file can be created");
    let size = bytes.len() as u64;
    file.reserve(0..count * size).expect("the disk has room");
    let parts = vec![bytes.clone(); per_write];
    let start = thread_ns();
    let mut position = 0;
    for _ in 0..count / per_write as u64 {
        for part in &parts {
            black_box(crc32c::crc32c(black_box(&part[21..])));
        }
        file.write_at(&parts, position).expect("the disk has room");
        position += size * per_write as u64;
    }
    thread_ns() - start
}

#[derive(Clone, Copy, PartialEq)]
enum Out {
    Write,
    Drop,
}

fn append_loop(
    dir: &LogDir,
    bytes: &Bytes,
    count: u64,
    partitions: i32,
    per_write: usize,
    round: u64,
    out: Out,
) -> u64 {
    let settings = Arc::new(LogSettings {
        segment_bytes: 1 << 30,
        ..LogSettings::default()
    });
    let create = |partition| {
        let name = TopicPartition::new(format!("bench{round}"), partition);
        Log::create(dir, &name, settings.clone(), NOW).expect("the folder can be created")
    };
    let mut logs: Vec<Log> = (0..partitions).map(create).collect();
    let rules = BatchRules {
        inner: Inspect::Never,
        ..BatchRules::default()
    };
    let rounds = count / per_write as u64 / logs.len() as u64;
    // The first quarter warms up: first touch of memory costs more than all the rest.
    let mut start = 0;
    for turn in 0..rounds {
        if turn == rounds / 4 {
            start = thread_ns();
        }
        for log in &mut logs {
            for _ in 0..per_write {
                let batch: Batch =
                    validate(bytes.clone(), &rules, NOW).expect("the batch is valid");
                let appended = log.append([batch], Origin::Client, LeaderEpoch(0), NOW);
                black_box(appended.expect("the log takes it"));
            }
            if let Some(reserve) = log.take_reserve() {
                reserve
                    .file
                    .reserve(reserve.range)
                    .expect("the disk has room");
            }
            while let Some(write) = log.take_write() {
                if out == Out::Write {
                    write.run().expect("the disk has room");
                }
                log.written(write.token, Ok(())).expect("it was written");
            }
            if let Some(work) = log.take_work() {
                log.worked(work.run()).expect("the disk has room");
            }
            log.trim_tail(64 << 10);
        }
    }
    let spent = (thread_ns() - start) * rounds / (rounds - rounds / 4);
    for partition in 0..partitions {
        dir.remove_dir(&format!("bench{round}-{partition}"))
            .expect("the folder can be removed");
    }
    spent
}

/// A batch of one record, of about `size` bytes.
fn batch_bytes(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value: Vec<u8> = (0..size - 80)
        .map(|i| u8::try_from(i * 31 % 251).unwrap_or(0))
        .collect();
    builder
        .append(NOW, None, Some(&value), &[])
        .expect("it is small enough");
    builder.finish().expect("it has a record").to_bytes()
}

fn cpu_ns(measured: impl FnOnce() -> u64) -> u64 {
    measured()
}

/// CPU time of this thread, user and system.
fn thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds far below 2^52")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

const ROUNDS: u64 = 5;
const NOW: Timestamp = Timestamp(1_700_000_000_000);
