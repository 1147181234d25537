use super::*;

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder
        .append(Timestamp(1), Some(b"k"), Some(b"v"), &[])
        .unwrap();
    builder.append(Timestamp(2), Some(b"k"), None, &[]).unwrap();
    builder.finish().unwrap()
}

#[test]
fn placing_changes_only_the_first_sixteen_bytes() {
    let mut batch = batch();
    let before = batch.to_bytes();
    batch.place(Offset(1000), LeaderEpoch(7));
    let after = batch.to_bytes();
    assert_eq!(after[16..], before[16..]);
    assert_eq!(after, [&batch.head()[..], &batch.body()].concat());
    let header = Header::parse(&after).unwrap();
    assert_eq!(
        (header.base_offset, header.leader_epoch),
        (Offset(1000), LeaderEpoch(7))
    );
    assert_eq!(
        (header.last_offset(), header.next_offset()),
        (Offset(1001), Offset(1002))
    );
    UncheckedBatch::take(&mut after.clone())
        .unwrap()
        .unwrap()
        .check()
        .unwrap();
}

#[test]
fn a_log_is_taken_apart_batch_by_batch() {
    let one = batch().to_bytes();
    let mut log = Bytes::from([&one[..], &one[..], &one[..10]].concat());
    assert_eq!(
        UncheckedBatch::take(&mut log)
            .unwrap()
            .unwrap()
            .check()
            .unwrap()
            .to_bytes(),
        one
    );
    assert_eq!(
        UncheckedBatch::take(&mut log).unwrap().unwrap().size(),
        one.len()
    );
    assert!(UncheckedBatch::take(&mut log).unwrap().is_none());
    assert_eq!(log.len(), 10);
}

#[test]
fn what_a_log_holds_is_checked_too() {
    let good = batch().to_bytes();
    let changed = |change: &dyn Fn(&mut Header)| {
        let mut header = Header::parse(&good).unwrap();
        change(&mut header);
        let mut bytes = good.to_vec();
        bytes[..BATCH_HEADER_SIZE].copy_from_slice(&header.encode());
        let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        UncheckedBatch::take(&mut bytes.into())
            .unwrap()
            .unwrap()
            .check()
    };
    changed(&|header| header.record_count = 0).unwrap();
    changed(&|header| header.last_offset_delta = 9).unwrap();
    changed(&|header| header.base_offset = Offset(i64::MAX - 2)).unwrap();
    for wrong in [
        (&|header: &mut Header| header.record_count = 3) as &dyn Fn(&mut Header),
        &|header| header.record_count = -1,
        &|header| header.last_offset_delta = -1,
        &|header| header.base_offset = Offset(-1),
        &|header| header.base_offset = Offset(i64::MAX),
    ] {
        assert!(matches!(
            changed(wrong),
            Err(BatchError::HeaderDisagrees { .. })
        ));
    }
}

#[test]
fn attributes_have_kafkas_bits() {
    let all = Attributes::default()
        .with_codec(Codec::Zstd)
        .with_timestamp_type(TimestampType::LogAppendTime)
        .with_transactional(true)
        .with_control(true)
        .with_delete_horizon(true);
    assert_eq!(all.0, 0b111_1100);
    assert_eq!(all.codec(), Some(Codec::Zstd));
    assert_eq!(
        all.with_codec(Codec::None).with_control(false).0,
        0b101_1000
    );
    assert_eq!(Attributes(7).codec(), None);
}

#[test]
fn markers_have_kafkas_bytes() {
    let marker = EndTransactionMarker {
        commit: true,
        coordinator_epoch: 9,
    };
    let batch = marker
        .batch(ProducerId(2), ProducerEpoch(1), Timestamp(5))
        .unwrap();
    let header = batch.header();
    assert!(header.attributes.is_control() && header.attributes.is_transactional());
    assert_eq!((header.base_sequence, batch.size()), (Sequence::NONE, 78));
    let payload = batch.open(0).unwrap();
    let record = payload.records().next().unwrap().unwrap();
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]));
    assert_eq!(record.value, Some(&[0, 0, 0, 0, 0, 9][..]));
    assert_eq!(
        EndTransactionMarker::decode(record.key.unwrap(), record.value.unwrap()),
        Some(marker)
    );
    assert_eq!(EndTransactionMarker::decode(&[0, 0, 0, 2], &[0; 6]), None);
    assert_eq!(EndTransactionMarker::decode(&[0, 0, 0], &[0; 6]), None);
    assert_eq!(EndTransactionMarker::decode(&[0, 0, 0, 1], &[0; 5]), None);
    for id in -1..8 {
        assert_eq!(ControlKind::from_id(id).id(), id);
    }
}

#[test]
fn the_builder_refuses_what_a_batch_cannot_be() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    assert!(matches!(builder.finish(), Err(BuildError::Empty)));
    builder.append_at(3, Timestamp(0), None, None, &[]).unwrap();
    let again = builder.append_at(3, Timestamp(0), None, None, &[]);
    assert!(matches!(again, Err(BuildError::OffsetsOutOfOrder)));
    assert_eq!(builder.finish().unwrap().header().last_offset_delta, 3);
    assert!(builder.is_empty());
    builder
        .append_at(i32::MAX, Timestamp(0), None, None, &[])
        .unwrap();
    assert!(matches!(
        builder.append(Timestamp(0), None, None, &[]),
        Err(BuildError::TooLarge)
    ));
}

#[test]
fn whole_batches_end_where_the_next_is_cut() {
    let one = batch().to_bytes();
    let log = [&one[..], &one[..], &one[..]].concat();
    let size = one.len();
    for (length, whole) in [
        (0, 0),
        (size - 1, 0),
        (size, size),
        (size + 60, size),
        (size + 61, size),
        (2 * size, 2 * size),
        (3 * size - 1, 2 * size),
        (3 * size, 3 * size),
    ] {
        assert_eq!(whole_batches(&log[..length]), whole, "{length} bytes");
    }
    // A length that lies does not send anyone in circles or beyond the end.
    for lie in [-1_i32, 0, 48, i32::MAX] {
        let mut log = log.clone();
        log[size + 8..size + 12].copy_from_slice(&lie.to_be_bytes());
        assert_eq!(whole_batches(&log), size, "{lie}");
    }
}
