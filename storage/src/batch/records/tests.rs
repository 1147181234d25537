use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::batch::{Batch, BatchBuilder, BatchOptions, BatchRules, UncheckedBatch, validate};

type Part = Option<Vec<u8>>;
type Input = (i64, Part, Part, Vec<(Vec<u8>, Part)>);

fn part_strategy() -> impl Strategy<Value = Part> {
    option::of(vec(any::<u8>(), 0..200))
}

fn input() -> impl Strategy<Value = Vec<Input>> {
    let header = (vec(any::<u8>(), 0..20), part_strategy());
    vec(
        (
            any::<i64>(),
            part_strategy(),
            part_strategy(),
            vec(header, 0..4),
        ),
        1..40,
    )
}

fn build(records: &[Input], codec: Codec) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        compression: codec.into(),
        ..BatchOptions::default()
    });
    for (timestamp, key, value, headers) in records {
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        builder
            .append(
                Timestamp(*timestamp),
                key.as_deref(),
                value.as_deref(),
                &headers,
            )
            .unwrap();
    }
    builder.finish().unwrap()
}

proptest! {
    #[test]
    fn what_is_built_is_read(records in input(), codec in 0_u8..5) {
        let codec = Codec::from_id(codec).unwrap();
        let batch = build(&records, codec);
        let batch = UncheckedBatch::take(&mut batch.to_bytes()).unwrap().unwrap().check().unwrap();
        let payload = batch.open(1 << 20).unwrap();
        let mut expected = records.iter().enumerate();
        for record in payload.records() {
            let record = record.unwrap();
            let (index, (timestamp, key, value, headers)) = expected.next().unwrap();
            prop_assert_eq!(record.offset, Offset(i64::try_from(index).unwrap()));
            prop_assert_eq!(record.timestamp, Timestamp(*timestamp));
            prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            prop_assert_eq!(record.headers.len(), headers.len());
            let read: Vec<_> = record.headers.map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&read, headers);
        }
        prop_assert!(expected.next().is_none());
    }

    #[test]
    fn damaged_records_never_panic(records in input(), codec in 0_u8..5, at: usize, to: u8, count: i32) {
        let codec = Codec::from_id(codec).unwrap();
        let batch = build(&records, codec);
        let mut bytes = batch.body().to_vec();
        let at = at % bytes.len();
        bytes[at] = to;
        let mut header = *batch.header();
        let bytes = Bytes::from(bytes);
        for count in [header.record_count, count] {
            header.record_count = count;
            if let Ok(payload) = Payload::open(&header, bytes.clone(), 1 << 20) {
                let steps = payload.records().count();
                prop_assert!(steps <= bytes.len().max(1 << 20) + 1);
                let walked = walk(&payload.data, count.max(0), |_, _| ());
                let read = payload.records().try_for_each(|record| record.map(drop));
                prop_assert_eq!(walked.is_ok(), read.is_ok());
            }
            let _ = walk_compressed(codec, &bytes, count.max(0), 1 << 20, |_, _| ());
        }
    }
}

#[test]
fn after_a_fault_the_iterator_ends() {
    let batch = build(&vec![(0, None, None, vec![]); 3], Codec::None);
    let mut header = *batch.header();
    header.record_count = 5;
    let payload = Payload::open(&header, batch.body(), 0).unwrap();
    let read: Vec<_> = payload
        .records()
        .map(|record| record.map(|record| record.offset))
        .collect();
    assert_eq!(
        read,
        [
            Ok(Offset(0)),
            Ok(Offset(1)),
            Ok(Offset(2)),
            Err(RecordFault::Truncated)
        ]
    );
    header.record_count = 2;
    let payload = Payload::open(&header, batch.body(), 0).unwrap();
    assert_eq!(payload.records().last(), Some(Err(RecordFault::Surplus)));
    header.record_count = -1;
    let payload = Payload::open(&header, batch.body(), 0).unwrap();
    assert_eq!(payload.records().next(), Some(Err(RecordFault::Surplus)));
}

#[test]
fn sequences_of_records_wrap() {
    let options = BatchOptions {
        producer_id: crate::types::ProducerId(1),
        producer_epoch: crate::types::ProducerEpoch(0),
        base_sequence: Sequence(i32::MAX),
        ..BatchOptions::default()
    };
    let mut builder = BatchBuilder::new(options);
    builder.append(Timestamp(5), None, None, &[]).unwrap();
    builder.append(Timestamp(5), None, None, &[]).unwrap();
    let bytes = builder.finish().unwrap().to_bytes();
    let batch = validate(bytes, &BatchRules::default(), Timestamp(5)).unwrap();
    let payload = batch.open(0).unwrap();
    let sequences: Vec<_> = payload
        .records()
        .map(|record| record.unwrap().sequence.0)
        .collect();
    assert_eq!(sequences, [i32::MAX, 0]);
    assert_eq!(batch.header().last_sequence(), Sequence(0));
}
