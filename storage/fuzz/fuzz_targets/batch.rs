//! Any bytes through every check and reader of batches, snapshots and checkpoint files. The CRC is set right first,
//! so that what lies behind it is reached. What validates must also read, and read the same again from its own bytes.

#![no_main]

use bytes::Bytes;
use corelog_storage::batch::{BatchRules, EndTransactionMarker, Inspect, UncheckedBatch, validate};
use corelog_storage::checkpoint::{CleanShutdown, MetaProperties, OffsetCheckpoint, PartitionMetadata, QuorumState};
use corelog_storage::epochs::LeaderEpochs;
use corelog_storage::producer::{Origin, Producers, Snapshot};
use corelog_storage::types::{Offset, Timestamp};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const INFLATED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    text(data);
    batch(data.to_vec());
});

fn text(data: &[u8]) {
    if let Ok(checkpoint) = OffsetCheckpoint::parse(data) {
        assert_eq!(OffsetCheckpoint::parse(checkpoint.print().as_bytes()).expect("printed"), checkpoint);
    }
    if let Ok(epochs) = LeaderEpochs::parse(data) {
        assert_eq!(LeaderEpochs::parse(epochs.print().as_bytes()).expect("printed"), epochs);
    }
    if let Ok(meta) = MetaProperties::parse(data) {
        let again = MetaProperties::parse(meta.print().as_bytes()).expect("printed");
        assert_eq!((again.cluster_id, again.node_id, again.others), (meta.cluster_id, meta.node_id, meta.others));
    }
    let _ = (PartitionMetadata::parse(data), CleanShutdown::parse(data), QuorumState::parse(data));
    let mut sealed = data.to_vec();
    if sealed.len() > 6 {
        let crc = crc32c::crc32c(&sealed[6..]);
        sealed[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    if let Ok(snapshot) = Snapshot::decode(&sealed) {
        assert_eq!(snapshot.encode(), sealed);
        let _ = Producers::restore(&snapshot, Offset(0), i64::MAX, NOW).snapshot();
    }
}

fn batch(mut data: Vec<u8>) {
    if data.len() > 61 {
        // One batch that fills the input, with the right CRC, at base offset 0 unless the first byte says otherwise.
        if data[0] < 0xc0 {
            data[..8].fill(0);
            data[16] = 2;
            let length = i32::try_from(data.len() - 12).expect("inputs are small");
            data[8..12].copy_from_slice(&length.to_be_bytes());
        }
        let crc = crc32c::crc32c(&data[21..]);
        data[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let bytes = Bytes::from(data);
    let mut producers = Producers::new(1000);
    for inner in [Inspect::Always, Inspect::Never] {
        for compacted in [false, true] {
            let mut rules = BatchRules { inner, compacted, inflated_bytes_max: INFLATED_BYTES_MAX, ..Default::default() };
            rules.timestamps.after_ms_max = i64::MAX;
            let Ok(batch) = validate(bytes.clone(), &rules, NOW) else { continue };
            let mut stored = batch.to_bytes();
            let stored = UncheckedBatch::take(&mut stored).expect("whole").expect("whole").check().expect("its CRC");
            let _ = producers.admit(stored.header(), Origin::Client);
            producers.append(stored.header());
            if let Ok(payload) = stored.open(INFLATED_BYTES_MAX) {
                let read = payload.records().filter(|record| record.is_ok()).count();
                let count = usize::try_from(stored.header().record_count).expect("checked");
                assert!(read == count || inner == Inspect::Never, "{read} of {count}");
            }
        }
    }
    let mut log = bytes;
    while let Ok(Some(batch)) = UncheckedBatch::take(&mut log) {
        let Ok(batch) = batch.check() else { continue };
        let Ok(payload) = batch.open(INFLATED_BYTES_MAX) else { continue };
        for record in payload.records().flatten() {
            let _ = record.headers.map(|header| header.key.len()).sum::<usize>();
            if let (Some(key), Some(value)) = (record.key, record.value) {
                let _ = EndTransactionMarker::decode(key, value);
            }
        }
    }
}
