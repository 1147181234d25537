//! What a topic's codec makes of a producer's batch, and what no codec lets through.

use super::*;
use crate::batch::{
    BatchBuilder, BatchOptions, Header, RecordError, RecordHeader, TimestampRules, validate,
};
use crate::limits::INFLATED_BYTES_MAX;
use crate::types::{ProducerEpoch, ProducerId, Sequence};

const NOW: Timestamp = Timestamp(1_795_245_800_043);

/// A batch of an idempotent, transactional producer.
fn produced(codec: Codec, count: i32, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: codec.into(),
        producer_id: ProducerId(7),
        producer_epoch: ProducerEpoch(3),
        base_sequence: Sequence(41),
        transactional: true,
        ..BatchOptions::default()
    });
    for index in 0..count {
        let headers = [RecordHeader {
            key: b"h",
            value: None,
        }];
        let timestamp = Timestamp(NOW.0 - i64::from(index % 7));
        builder
            .append(timestamp, Some(b"key"), Some(value), &headers)
            .unwrap();
    }
    builder.finish().unwrap().to_bytes()
}

fn transcode(bytes: &Bytes, to: Compression, rules: &BatchRules) -> Result<Batch, BatchError> {
    Transcoder::new().validate(bytes.clone(), rules, to, NOW)
}

fn inflated(batch: &Batch) -> Bytes {
    batch.open(INFLATED_BYTES_MAX).unwrap().data().clone()
}

/// What must not change.
fn kept(header: &Header) -> Header {
    Header {
        length: 0,
        crc: 0,
        attributes: header.attributes.with_codec(Codec::None),
        ..*header
    }
}

#[test]
fn every_codec_becomes_every_other() {
    let rules = BatchRules::default();
    for from in Codec::ALL {
        let bytes = produced(from, 200, b"some value, some value");
        let before = validate(bytes.clone(), &rules, NOW).unwrap();
        for codec in Codec::ALL {
            assert_eq!(
                transcodes(&bytes, codec),
                from != codec,
                "{from} to {codec}"
            );
            for level in [None, Some(1), Some(3), Some(9), Some(17)] {
                let batch = transcode(&bytes, Compression { codec, level }, &rules).unwrap();
                let header = batch.header();
                assert_eq!(header.attributes.codec(), Some(codec));
                assert_eq!(kept(header), kept(before.header()), "{from} to {codec}");
                assert_eq!(
                    inflated(&batch),
                    inflated(&before),
                    "{from} to {codec} {level:?}"
                );
                assert_eq!(header.size(), batch.size());
                // A reader's checks and a producer's pass again, the CRC among them.
                assert_eq!(
                    validate(batch.to_bytes(), &rules, NOW).unwrap().header(),
                    header
                );
            }
        }
    }
}

#[test]
fn a_transcoder_remembers_nothing_of_the_batch_before() {
    let rules = BatchRules::default();
    let mut kept = Transcoder::new();
    for codec in [
        Codec::Lz4,
        Codec::Zstd,
        Codec::Snappy,
        Codec::Gzip,
        Codec::None,
    ] {
        for (level, count) in [(1, 900), (12, 1), (9, 40), (12, 900)] {
            let to = Compression {
                codec,
                level: Some(level),
            };
            let bytes = produced(Codec::None, count, b"abcabcabcabcabcabc");
            let again = kept.validate(bytes.clone(), &rules, to, NOW).unwrap();
            let fresh = transcode(&bytes, to, &rules).unwrap();
            assert_eq!(again.to_bytes(), fresh.to_bytes(), "{codec} {level}");
        }
    }
}

#[test]
fn a_higher_level_makes_no_more_bytes() {
    let rules = BatchRules::default();
    let words: Vec<u8> = (0..30_000_u32)
        .flat_map(|n| (n.wrapping_mul(2_654_435_761) % 300).to_be_bytes())
        .collect();
    let bytes = produced(Codec::None, 3, &words);
    for (codec, low, high) in [
        (Codec::Gzip, 1, 9),
        (Codec::Lz4, 1, 12),
        (Codec::Zstd, 1, 19),
    ] {
        let size = |level| {
            let level = Some(level);
            transcode(&bytes, Compression { codec, level }, &rules)
                .unwrap()
                .size()
        };
        assert!(
            size(high) < size(low),
            "{codec}: {} {}",
            size(high),
            size(low)
        );
    }
}

#[test]
fn log_append_time_stamps_the_header_only() {
    let rules = BatchRules {
        timestamps: TimestampRules {
            kind: TimestampType::LogAppendTime,
            ..TimestampRules::default()
        },
        ..BatchRules::default()
    };
    let bytes = produced(Codec::None, 20, b"value");
    let batch = transcode(&bytes, Codec::Zstd.into(), &rules).unwrap();
    let header = batch.header();
    assert_eq!(
        header.attributes.timestamp_type(),
        TimestampType::LogAppendTime
    );
    assert_eq!(header.max_timestamp, NOW);
    assert_eq!(inflated(&batch), bytes.slice(BATCH_HEADER_SIZE..));
    batch
        .open(INFLATED_BYTES_MAX)
        .unwrap()
        .records()
        .for_each(|record| assert_eq!(record.unwrap().timestamp, NOW));
}

#[test]
fn the_limit_counts_before_and_after() {
    let bytes = produced(Codec::Gzip, 400, b"some value, some value");
    let plain = transcode(&bytes, Codec::None.into(), &BatchRules::default()).unwrap();
    assert!(plain.size() > bytes.len());
    for (limit, fits) in [
        (plain.size() + 1, true),
        (plain.size(), true),
        (plain.size() - 1, false),
        (bytes.len(), false),
    ] {
        let rules = BatchRules {
            batch_bytes_max: limit,
            ..BatchRules::default()
        };
        let done = transcode(&bytes, Codec::None.into(), &rules);
        assert_eq!(done.is_ok(), fits, "{limit}");
        if let Err(error) = done {
            assert!(matches!(error, BatchError::TooLarge { .. }), "{error}");
        }
    }
    // Too large as it came: that it would fit compressed does not help.
    let raw = produced(Codec::None, 400, b"some value, some value");
    let rules = BatchRules {
        batch_bytes_max: raw.len() - 1,
        ..BatchRules::default()
    };
    let refused = transcode(&raw, Codec::Zstd.into(), &rules).unwrap_err();
    assert!(matches!(refused, BatchError::TooLarge { .. }), "{refused}");
    // What does not compress may outgrow the limit by its frame.
    let noise: Vec<u8> = (0..4000_u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_be_bytes()[7])
        .collect();
    let raw = produced(Codec::None, 1, &noise);
    let larger = transcode(&raw, Codec::Snappy.into(), &BatchRules::default()).unwrap();
    let rules = BatchRules {
        batch_bytes_max: raw.len(),
        ..BatchRules::default()
    };
    let done = transcode(&raw, Codec::Snappy.into(), &rules);
    assert_eq!(done.is_err(), larger.size() > raw.len());
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let bytes = produced(Codec::Zstd, 1, &vec![0; 3 << 20]);
    assert!(bytes.len() < 4096);
    let rules = BatchRules {
        inflated_bytes_max: 1 << 20,
        ..BatchRules::default()
    };
    let refused = transcode(&bytes, Codec::Gzip.into(), &rules).unwrap_err();
    assert!(
        matches!(refused, BatchError::Inflate(InflateError::TooLarge { .. })),
        "{refused}"
    );
    let refused = transcode(&bytes, Codec::None.into(), &BatchRules::default()).unwrap_err();
    assert!(matches!(refused, BatchError::TooLarge { .. }), "{refused}");
    let rules = BatchRules {
        inflated_bytes_max: 4 << 20,
        ..BatchRules::default()
    };
    assert!(transcode(&bytes, Codec::Gzip.into(), &rules).is_ok());
}

#[test]
fn what_validate_refuses_inside_is_refused_here() {
    let rules = BatchRules {
        compacted: true,
        ..BatchRules::default()
    };
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(NOW, Some(b"k"), None, &[]).unwrap();
    builder.append(NOW, None, Some(b"v"), &[]).unwrap();
    let bytes = builder.finish().unwrap().to_bytes();
    let refused = transcode(&bytes, Codec::Lz4.into(), &rules).unwrap_err();
    let BatchError::Records { count, errors } = refused else {
        panic!("{refused}");
    };
    assert_eq!((count, errors[0]), (1, RecordError::NoKey { index: 1 }));

    let mut broken = produced(Codec::None, 5, b"value").to_vec();
    let last = broken.len() - 1;
    broken.truncate(last);
    let refused = transcode(&broken.into(), Codec::Lz4.into(), &rules).unwrap_err();
    assert_eq!(refused, BatchError::Missing);

    // Compressed data that is not what its attributes say.
    let honest = produced(Codec::Gzip, 50, b"value");
    let mut header = Header::parse(&honest).unwrap();
    header.attributes = header.attributes.with_codec(Codec::Zstd);
    let mut lying = honest.to_vec();
    lying[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
    let crc = crc32c::crc32c(&lying[CRC_FROM..]);
    lying[17..21].copy_from_slice(&crc.to_be_bytes());
    let refused = transcode(&lying.into(), Codec::Lz4.into(), &rules).unwrap_err();
    assert!(
        matches!(refused, BatchError::Inflate(InflateError::Corrupt { .. })),
        "{refused}"
    );
}

#[test]
fn what_is_no_batch_is_not_transcoded() {
    for size in [0, 1, 22] {
        assert!(!transcodes(&vec![0; size], Codec::Zstd));
    }
    let mut unknown = produced(Codec::None, 1, b"v").to_vec();
    unknown[22] |= 5;
    assert!(!transcodes(&unknown, Codec::Zstd));
    assert!(transcodes(&[0; 23], Codec::Zstd));
}
