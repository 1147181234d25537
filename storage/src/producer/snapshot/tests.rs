use super::*;

fn snapshot() -> Snapshot {
    let entry = SnapshotEntry {
        producer: ProducerId(1000),
        epoch: ProducerEpoch(1),
        last_sequence: Sequence(9),
        last_offset: Offset(99),
        offset_delta: 3,
        timestamp: Timestamp(1_700_000_000_002),
        coordinator_epoch: -1,
        transaction: Offset(90),
    };
    Snapshot {
        entries: vec![
            entry,
            SnapshotEntry {
                producer: ProducerId(2),
                ..entry
            },
        ],
    }
}

#[test]
fn damaged_snapshots_are_refused() {
    let good = snapshot().encode();
    assert_eq!(Snapshot::decode(&good).unwrap(), snapshot());
    for cut in 0..good.len() {
        assert!(Snapshot::decode(&good[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        assert!(Snapshot::decode(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_lying_count_is_refused_though_the_crc_is_right() {
    for count in [-1_i32, 0, 1, 3, i32::MAX, i32::MIN] {
        let mut bad = snapshot().encode();
        bad[6..10].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&bad[6..]);
        bad[2..6].copy_from_slice(&crc.to_be_bytes());
        let error = Snapshot::decode(&bad).unwrap_err();
        assert!(
            matches!(error, SnapshotError::Size { size: 102, .. }),
            "{count}: {error}"
        );
    }
}
