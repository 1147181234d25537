//! How fast a batch is checked, built and read: gigabytes of batch per second, best of several rounds.
//! `cargo bench -p corelog-storage --bench batch`

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
#![expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corelog_storage::batch::{
    BatchBuilder, BatchOptions, BatchRules, Codec, Inspect, TimestampRules, TimestampType, validate,
};
use corelog_storage::types::Timestamp;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const BATCH_SIZE: usize = 1 << 20;

fn main() {
    for record_size in [1024, 100] {
        let value: Vec<u8> = (0..record_size)
            .map(|n: u32| b'a' + u8::try_from(n * 7 % 13).unwrap_or(0))
            .collect();
        let plain = batch(&value, Codec::None);
        report(
            &format!("crc only             {record_size:>5} B"),
            plain.len(),
            || {
                black_box(crc32c::crc32c(&plain[21..]));
            },
        );
        let rules = BatchRules::default();
        checked("validate             ", record_size, &plain, &rules);
        let stamp = TimestampRules {
            kind: TimestampType::LogAppendTime,
            ..TimestampRules::default()
        };
        checked(
            "validate, append time",
            record_size,
            &plain,
            &BatchRules {
                timestamps: stamp,
                ..rules
            },
        );
        let mut builder = BatchBuilder::new(BatchOptions::default());
        report(
            &format!("build                {record_size:>5} B"),
            plain.len(),
            || {
                fill(&mut builder, &value);
                black_box(builder.finish().expect("records were appended"));
            },
        );
        let read = validate(plain.clone(), &rules, NOW).expect("the batch is good");
        report(
            &format!("read                 {record_size:>5} B"),
            plain.len(),
            || {
                let payload = read.open(BATCH_SIZE).expect("not compressed");
                black_box(
                    payload
                        .records()
                        .map(|record| record.expect("good").value.map_or(0, <[u8]>::len))
                        .sum::<usize>(),
                );
            },
        );
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = batch(&value, codec);
            let ratio = plain.len() as f64 / packed.len() as f64;
            for inner in [Inspect::Always, Inspect::Never] {
                let name = format!(
                    "validate {codec:<6} {inner:?} {record_size:>5} B (inflated bytes, ratio {ratio:.0})"
                );
                report(&name, plain.len(), || {
                    let rules = BatchRules { inner, ..rules };
                    black_box(validate(packed.clone(), &rules, NOW).expect("the batch is good"));
                });
            }
        }
    }
}

fn batch(value: &[u8], codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: codec.into(),
        ..BatchOptions::default()
    });
    fill(&mut builder, value);
    builder.finish().expect("records were appended").to_bytes()
}

fn fill(builder: &mut BatchBuilder, value: &[u8]) {
    while builder.size() + value.len() + 32 < BATCH_SIZE {
        builder
            .append(NOW, None, Some(value), &[])
            .expect("below every limit");
    }
}

fn checked(name: &str, record_size: u32, bytes: &Bytes, rules: &BatchRules) {
    report(&format!("{name}{record_size:>5} B"), bytes.len(), || {
        black_box(validate(bytes.clone(), rules, NOW).expect("the batch is good"));
    });
}

fn report(name: &str, size: usize, mut job: impl FnMut()) {
    let mut best = Duration::MAX;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(400) {
        let round = Instant::now();
        job();
        best = best.min(round.elapsed());
    }
    let rate = size as f64 / best.as_secs_f64() / 1e9;
    eprintln!(
        "{name:<60} {rate:>7.2} GB/s {:>9.1} µs",
        best.as_secs_f64() * 1e6
    );
}
