//! Kafka's answers to what a producer may send, row by row, then what hostile bytes do.

use super::*;
use crate::batch::{
    Attributes, BatchBuilder, BatchOptions, CRC_FROM, Compression, RecordFault, put_varint,
};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};

const NOW: Timestamp = Timestamp(1_795_245_800_043);

fn options() -> BatchOptions {
    BatchOptions::default()
}

fn batch_of(count: i32, options: BatchOptions) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for index in 0..count {
        let value = format!("value {index}");
        builder
            .append(NOW, Some(b"key"), Some(value.as_bytes()), &[])
            .unwrap();
    }
    builder.finish().unwrap().to_bytes().to_vec()
}

/// Changes the header and sets the CRC right again.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::parse(bytes).unwrap();
    change(&mut header);
    let mut bytes = bytes.to_vec();
    bytes[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
    seal(bytes)
}

fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A sealed batch of `count` records whose bytes are `records`.
fn batch_with(records: &[u8], count: i32, codec: Codec) -> Vec<u8> {
    let mut bytes = batch_of(1, options());
    bytes.truncate(BATCH_HEADER_SIZE);
    bytes.extend_from_slice(records);
    let length = i32::try_from(bytes.len() - 12).unwrap();
    with_header(&bytes, |header| {
        header.length = length;
        header.record_count = count;
        header.last_offset_delta = count - 1;
        header.attributes = header.attributes.with_codec(codec);
    })
}

fn check(bytes: Vec<u8>) -> Result<Batch, BatchError> {
    validate(bytes.into(), &BatchRules::default(), NOW)
}

fn refused(bytes: Vec<u8>) -> BatchError {
    check(bytes).unwrap_err()
}

fn partition() -> TopicPartition {
    TopicPartition::new("cmp", 0)
}

#[test]
fn a_good_batch_passes_by_reference() {
    let bytes = Bytes::from(batch_of(3, options()));
    let batch = validate(bytes.clone(), &BatchRules::default(), NOW).unwrap();
    assert_eq!(batch.header().record_count, 3);
    assert_eq!(batch.to_bytes().as_ptr(), bytes.as_ptr());
    assert_eq!(batch.body().as_ptr(), bytes[BATCH_HEADER_SIZE..].as_ptr());
}

#[test]
fn the_stream_is_cut_as_kafka_cuts_it() {
    let good = batch_of(1, options());
    assert_eq!(refused(Vec::new()), BatchError::Missing);
    assert_eq!(refused(good[..16].to_vec()), BatchError::Missing);
    assert_eq!(
        refused(good[..good.len() - 1].to_vec()),
        BatchError::Missing
    );
    for garbage in 1..17 {
        check([&good[..], &vec![0; garbage]].concat()).unwrap();
    }
    assert_eq!(
        refused([&good[..], &good[..]].concat()),
        BatchError::MoreThanOne
    );
    // A second batch that is cut short is none.
    check([&good[..], &good[..good.len() - 1]].concat()).unwrap();

    let with_length = |length| with_header(&good, |header| header.length = length);
    let error = refused(with_length(5));
    assert_eq!(error, BatchError::LengthBelowMinimum { length: 5 });
    assert_eq!(
        error.message(&partition()).unwrap(),
        "Record size 5 is less than the minimum record overhead (14)"
    );
    assert!(!error.answers_log_start_offset());
    assert_eq!(
        refused(with_length(13)),
        BatchError::LengthBelowMinimum { length: 13 }
    );
    assert_eq!(
        refused(with_length(-1)),
        BatchError::LengthBelowMinimum { length: -1 }
    );
    assert_eq!(
        refused(with_length(i32::MIN)),
        BatchError::LengthBelowMinimum { length: i32::MIN }
    );
    assert_eq!(
        refused(with_length(14)),
        BatchError::BelowHeader { size: 26 }
    );
    assert_eq!(
        refused(with_length(48)),
        BatchError::BelowHeader { size: 60 }
    );
    assert_eq!(refused(with_length(i32::MAX)), BatchError::Missing);
}

#[test]
fn only_magic_2_is_taken() {
    let good = batch_of(1, options());
    for magic in [0, 1] {
        let error = refused(with_header(&good, |header| header.magic = magic));
        assert_eq!(error, BatchError::OldMagic { magic });
        assert_eq!(
            (
                error.message(&partition()),
                error.answers_log_start_offset()
            ),
            (None, false)
        );
    }
    let error = refused(with_header(&good, |header| header.magic = 3));
    assert_eq!(
        error.message(&partition()).unwrap(),
        "Invalid magic found in record: 3"
    );
    assert_eq!(
        refused(with_header(&good, |header| header.magic = -1)),
        BatchError::Magic { magic: -1 }
    );
}

#[test]
fn the_crc_covers_all_behind_it() {
    let good = batch_of(1, options());
    for at in CRC_FROM..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(matches!(refused(bad), BatchError::Crc { .. }), "byte {at}");
    }
    // Leader epoch and base offset lie outside.
    let epoch = with_header(&good, |header| header.leader_epoch = LeaderEpoch(42));
    assert_eq!(epoch[17..], good[17..]);
    check(epoch).unwrap();
}

#[test]
fn size_is_checked_before_the_crc_and_after_the_base_offset() {
    let mut bytes = batch_of(3, options());
    let size = bytes.len();
    let rules = |batch_bytes_max| BatchRules {
        batch_bytes_max,
        ..BatchRules::default()
    };
    for (limit, passes) in [(size - 1, false), (size, true), (size + 1, true)] {
        let result = validate(bytes.clone().into(), &rules(limit), NOW);
        assert_eq!(result.is_ok(), passes, "limit {limit}");
    }
    bytes[30] ^= 1;
    let error = validate(bytes.clone().into(), &rules(size - 1), NOW).unwrap_err();
    assert_eq!(
        error,
        BatchError::TooLarge {
            size,
            limit: size - 1
        }
    );
    assert!(!error.answers_log_start_offset());
    bytes[7] = 77;
    let error = validate(bytes.into(), &rules(size - 1), NOW).unwrap_err();
    assert_eq!(error, BatchError::BaseOffset(Offset(77)));
    assert!(error.answers_log_start_offset());
}

#[test]
fn counts_must_fit_together() {
    let good = batch_of(1, options());
    for (delta, count) in [
        (-1, 0),
        (5, 1),
        (0, 2),
        (0, 0),
        (0, -1),
        (-2, -1),
        (i32::MAX, i32::MIN),
        (-1, i32::MAX),
    ] {
        let bytes = with_header(&good, |header| {
            header.last_offset_delta = delta;
            header.record_count = count;
        });
        let error = refused(bytes);
        assert_eq!(
            error,
            BatchError::HeaderDisagrees {
                last_offset_delta: delta,
                record_count: count
            }
        );
        assert!(error.answers_log_start_offset());
    }
    let count = |bytes: &[u8], count: i32| {
        with_header(bytes, |header| {
            header.last_offset_delta = count - 1;
            header.record_count = count;
        })
    };
    let truncated = BatchError::Record {
        index: 1,
        fault: RecordFault::Truncated,
    };
    assert_eq!(refused(count(&good, 2)), truncated);
    assert_eq!(refused(count(&good, i32::MAX)), truncated);
    let surplus = BatchError::Record {
        index: 1,
        fault: RecordFault::Surplus,
    };
    assert_eq!(refused(count(&batch_of(2, options()), 1)), surplus);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let compressed = BatchOptions {
            compression: codec.into(),
            ..options()
        };
        check(batch_of(2, compressed)).unwrap();
        assert_eq!(
            refused(count(&batch_of(2, compressed), 1)),
            surplus,
            "{codec}"
        );
        assert_eq!(
            refused(count(&batch_of(1, compressed), 2)),
            truncated,
            "{codec}"
        );
    }
}

#[test]
fn clients_write_no_control_batches_and_need_sequences() {
    let control = BatchOptions {
        control: true,
        ..options()
    };
    assert_eq!(refused(batch_of(1, control)), BatchError::Control);
    let producer = BatchOptions {
        producer_id: ProducerId(5),
        producer_epoch: ProducerEpoch(0),
        ..options()
    };
    assert_eq!(
        refused(batch_of(1, producer)),
        BatchError::NoSequence(Sequence::NONE)
    );
    // A producer id with an epoch of -1 is taken.
    let no_epoch = BatchOptions {
        producer_epoch: ProducerEpoch::NONE,
        base_sequence: Sequence(0),
        ..producer
    };
    check(batch_of(1, no_epoch)).unwrap();
}

#[test]
fn zstd_needs_version_7_and_codecs_must_be_known() {
    let zstd = batch_of(
        1,
        BatchOptions {
            compression: Codec::Zstd.into(),
            ..options()
        },
    );
    let old = BatchRules {
        zstd: false,
        ..BatchRules::default()
    };
    let error = validate(zstd.clone().into(), &old, NOW).unwrap_err();
    assert_eq!(
        (error.clone(), error.answers_log_start_offset()),
        (BatchError::ZstdTooEarly, false)
    );
    check(zstd).unwrap();
    let unknown = with_header(&batch_of(1, options()), |header| {
        header.attributes = Attributes(5);
    });
    let error = refused(unknown);
    assert_eq!(
        (error.clone(), error.answers_log_start_offset()),
        (BatchError::UnknownCodec(5), true)
    );
}

#[test]
fn data_that_is_not_the_codecs_is_refused_with_and_without_looking_inside() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let lie = with_header(&batch_of(1, options()), |header| {
            header.attributes = header.attributes.with_codec(codec);
        });
        assert!(
            matches!(refused(lie.clone()), BatchError::Inflate(_)),
            "{codec}"
        );
        let never = BatchRules {
            inner: Inspect::Never,
            ..BatchRules::default()
        };
        let glanced = validate(lie.into(), &never, NOW);
        // Bare snappy has no first bytes of its own.
        assert!(
            codec == Codec::Snappy || matches!(glanced, Err(BatchError::Inflate(_))),
            "{codec}"
        );
    }
}

#[test]
fn compacted_topics_need_keys() {
    let mut builder = BatchBuilder::new(options());
    for key in [Some(&b"k"[..]), None, None, None, None] {
        builder.append(NOW, key, Some(b"v"), &[]).unwrap();
    }
    let bytes = builder.finish().unwrap().to_bytes();
    check(bytes.to_vec()).unwrap();
    let rules = BatchRules {
        compacted: true,
        inner: Inspect::Never,
        ..BatchRules::default()
    };
    let error = validate(bytes, &rules, NOW).unwrap_err();
    assert!(error.answers_log_start_offset() && !error.is_timestamp());
    let text = "Compacted topic cannot accept message without key in topic partition cmp-0";
    assert_eq!(error.record_errors(&partition())[0], (1, text.to_owned()));
    assert_eq!(
        error.message(&partition()).unwrap(),
        format!(
            "One or more records have been rejected due to 4 record errors in total, and only showing the first three \
             errors at most: [RecordError(batchIndex=1, message='{text}'), RecordError(batchIndex=2, \
             message='{text}'), RecordError(batchIndex=3, message='{text}')]"
        )
    );
    // Also inside a compressed batch, though it is not looked into otherwise.
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: Codec::Lz4.into(),
        ..options()
    });
    builder.append(NOW, None, Some(b"v"), &[]).unwrap();
    let bytes = builder.finish().unwrap().to_bytes();
    assert!(matches!(
        validate(bytes, &rules, NOW),
        Err(BatchError::Records { count: 1, .. })
    ));
}

#[test]
fn many_record_errors_are_counted_but_not_all_kept() {
    for count in [
        RECORD_ERRORS_MAX - 1,
        RECORD_ERRORS_MAX,
        RECORD_ERRORS_MAX + 1,
    ] {
        let mut builder = BatchBuilder::new(options());
        for _ in 0..count {
            builder.append(NOW, None, None, &[]).unwrap();
        }
        let rules = BatchRules {
            compacted: true,
            ..BatchRules::default()
        };
        let result = validate(builder.finish().unwrap().to_bytes(), &rules, NOW);
        let Err(BatchError::Records {
            count: counted,
            errors,
        }) = result
        else {
            panic!("{result:?}")
        };
        assert_eq!(
            (counted, errors.len()),
            (count, count.min(RECORD_ERRORS_MAX))
        );
    }
}

fn at(timestamp: i64, codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: codec.into(),
        ..options()
    });
    builder
        .append(Timestamp(timestamp), Some(b"k"), Some(b"v"), &[])
        .unwrap();
    builder.finish().unwrap().to_bytes()
}

#[test]
fn timestamps_must_lie_in_the_topics_range() {
    let times = TimestampRules {
        before_ms_max: 1000,
        after_ms_max: 1000,
        ..TimestampRules::default()
    };
    for (codec, inner) in [
        (Codec::None, Inspect::Always),
        (Codec::Zstd, Inspect::Always),
        (Codec::Zstd, Inspect::Never),
    ] {
        let rules = BatchRules {
            timestamps: times,
            inner,
            ..BatchRules::default()
        };
        for (offset, passes) in [
            (-1001, false),
            (-1000, true),
            (0, true),
            (1000, true),
            (1001, false),
        ] {
            let result = validate(at(NOW.0 + offset, codec), &rules, NOW);
            assert_eq!(result.is_ok(), passes, "{offset} {codec}");
        }
        let error = validate(at(1_795_245_690_665, codec), &rules, NOW).unwrap_err();
        assert!(error.is_timestamp() && error.answers_log_start_offset());
        assert_eq!(
            error.record_errors(&partition()),
            [(
                0,
                "Timestamp 1795245690665 of message with offset 0 is out of range. The timestamp should be within \
                 [1795245799043, 1795245801043]"
                    .to_owned()
            )]
        );
        assert_eq!(
            error.message(&partition()).unwrap(),
            "One or more records have been rejected due to invalid timestamp"
        );
    }
}

#[test]
fn default_timestamp_rules_print_kafkas_range() {
    let now = Timestamp(1_795_245_800_057);
    let error = validate(
        at(1_795_252_990_665, Codec::None),
        &BatchRules::default(),
        now,
    )
    .unwrap_err();
    assert_eq!(
        error.record_errors(&partition())[0].1,
        "Timestamp 1795252990665 of message with offset 0 is out of range. The timestamp should be within \
         [-9223370241608975750, 1795249400057]"
    );
    for timestamp in [-1, -5, 0] {
        validate(at(timestamp, Codec::None), &BatchRules::default(), now).unwrap();
    }
    for timestamp in [i64::MIN, i64::MAX] {
        let rules = BatchRules {
            timestamps: TimestampRules {
                before_ms_max: 1000,
                ..TimestampRules::default()
            },
            ..BatchRules::default()
        };
        assert!(
            validate(at(timestamp, Codec::None), &rules, now)
                .unwrap_err()
                .is_timestamp()
        );
    }
}

#[test]
fn a_wrong_max_timestamp_is_set_right() {
    let good = batch_of(5, options());
    let wrong = with_header(&good, |header| {
        header.max_timestamp = Timestamp(NOW.0 + 999);
    });
    assert_eq!(check(wrong).unwrap().to_bytes(), good);
}

#[test]
fn log_append_time_changes_only_the_header() {
    let rules = BatchRules {
        timestamps: TimestampRules {
            kind: TimestampType::LogAppendTime,
            before_ms_max: 0,
            after_ms_max: 0,
        },
        ..BatchRules::default()
    };
    for codec in Codec::ALL {
        let bytes = batch_of(
            5,
            BatchOptions {
                compression: codec.into(),
                ..options()
            },
        );
        let later = Timestamp(NOW.0 + 5000);
        let batch = validate(bytes.clone().into(), &rules, later).unwrap();
        assert_eq!(batch.header().max_timestamp, later);
        assert_eq!(
            batch.header().attributes.timestamp_type(),
            TimestampType::LogAppendTime
        );
        assert_eq!(batch.body(), bytes[BATCH_HEADER_SIZE..]);
        // The CRC that was carried over is the one that a reader computes.
        let stored = UncheckedBatch::take(&mut batch.to_bytes())
            .unwrap()
            .unwrap()
            .check()
            .unwrap();
        let payload = stored.open(1 << 20).unwrap();
        assert!(
            payload
                .records()
                .all(|record| record.unwrap().timestamp == later)
        );
    }
    // A producer that sets the type itself is refused by such a topic, and overruled by others.
    let bold = with_header(&batch_of(1, options()), |header| {
        header.attributes = header
            .attributes
            .with_timestamp_type(TimestampType::LogAppendTime);
    });
    assert!(
        validate(bold.clone().into(), &rules, NOW)
            .unwrap_err()
            .is_timestamp()
    );
    let overruled = check(bold).unwrap();
    assert_eq!(
        overruled.header().attributes.timestamp_type(),
        TimestampType::CreateTime
    );
}

fn record(parts: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(&mut bytes, i32::try_from(parts.len()).unwrap());
    bytes.extend_from_slice(parts);
    bytes
}

#[test]
fn malformed_records_are_refused_the_same_in_and_out_of_compression() {
    // attributes, timestamp delta 0, offset delta 0, key, value, header count; varints are zigzag: 1 is -1, 2 is 1.
    let cases: [(&str, Vec<u8>, RecordFault); 13] = [
        ("nothing", vec![], RecordFault::Truncated),
        ("negative length", vec![1], RecordFault::Length),
        ("empty record", record(&[]), RecordFault::Length),
        ("only attributes", record(&[0]), RecordFault::Length),
        (
            "key of -2",
            record(&[0, 0, 0, 3, 1, 0]),
            RecordFault::Length,
        ),
        (
            "value of -2",
            record(&[0, 0, 0, 1, 3, 0]),
            RecordFault::Length,
        ),
        (
            "key beyond the record",
            record(&[0, 0, 0, 20, 1, 0]),
            RecordFault::Length,
        ),
        (
            "record longer than its parts",
            record(&[0, 0, 0, 1, 1, 0, 0]),
            RecordFault::Length,
        ),
        (
            "record shorter than its parts",
            record(&[0, 0, 0, 1, 1]),
            RecordFault::Length,
        ),
        (
            "negative headers",
            record(&[0, 0, 0, 1, 1, 1]),
            RecordFault::HeaderCount,
        ),
        (
            "more headers than bytes",
            record(&[0, 0, 0, 1, 1, 200, 1]),
            RecordFault::HeaderCount,
        ),
        (
            "header with a null key",
            record(&[0, 0, 0, 1, 1, 2, 1, 1]),
            RecordFault::Length,
        ),
        (
            "endless number",
            record(&[
                0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1,
            ]),
            RecordFault::Varint,
        ),
    ];
    for (name, bytes, fault) in cases {
        let error = refused(batch_with(&bytes, 1, Codec::None));
        assert_eq!(error, BatchError::Record { index: 0, fault }, "{name}");
        let mut compressed = Vec::new();
        crate::batch::compress::Deflate::new()
            .append(Compression::from(Codec::Lz4), &bytes, &mut compressed)
            .unwrap();
        let error = refused(batch_with(&compressed, 1, Codec::Lz4));
        let BatchError::Record { index: 0, .. } = error else {
            panic!("{name}: {error:?}")
        };
    }
    let deltas = [record(&[0, 0, 0, 1, 1, 0]), record(&[0, 0, 4, 1, 1, 0])].concat();
    let error = refused(batch_with(&deltas, 2, Codec::None));
    let expected = vec![RecordError::OffsetDelta { index: 1, delta: 2 }];
    assert_eq!(
        error,
        BatchError::Records {
            count: 1,
            errors: expected
        }
    );
}

#[test]
fn records_larger_than_the_window_are_walked_in_pieces() {
    let value = vec![7_u8; 300_000];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: codec.into(),
            ..options()
        });
        let header = crate::batch::RecordHeader {
            key: b"h",
            value: Some(&value),
        };
        for _ in 0..3 {
            builder
                .append(NOW, Some(&value), Some(&value), &[header, header])
                .unwrap();
            builder.append(NOW, None, Some(b"small"), &[]).unwrap();
        }
        let batch = check(builder.finish().unwrap().to_bytes().to_vec()).unwrap();
        assert_eq!(batch.header().record_count, 6);
    }
}

#[test]
fn bombs_stop_at_the_limit() {
    let value = vec![0_u8; 1 << 20];
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(BatchOptions {
            compression: codec.into(),
            ..options()
        });
        builder.append(NOW, None, Some(&value), &[]).unwrap();
        let inflated = builder.size() - BATCH_HEADER_SIZE;
        let bytes = builder.finish().unwrap().to_bytes();
        for (limit, passes) in [
            (inflated - 1, false),
            (inflated, true),
            (inflated + 1, true),
        ] {
            let rules = BatchRules {
                inflated_bytes_max: limit,
                ..BatchRules::default()
            };
            let result = validate(bytes.clone(), &rules, NOW);
            assert_eq!(result.is_ok(), passes, "{codec} {limit}");
            let batch = UncheckedBatch::take(&mut bytes.clone())
                .unwrap()
                .unwrap()
                .check()
                .unwrap();
            assert_eq!(batch.open(limit).is_ok(), passes, "{codec} {limit}");
            if !passes {
                assert_eq!(
                    batch.open(limit).unwrap_err(),
                    InflateError::TooLarge { limit }
                );
            }
        }
    }
}
