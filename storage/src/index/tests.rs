use super::*;
use crate::disk::{LogDir, Mode, sim::Disk};
use crate::types::{Offset, ProducerId};
use bytes::Bytes;

#[test]
fn entries_are_kafkas_bytes() {
    // From txn-0 and times-0 of the fixtures.
    let entry = IndexEntry {
        relative_offset: 0x3b,
        position: 0x2339,
    };
    assert_eq!(entry.encode(), [0, 0, 0, 0x3b, 0, 0, 0x23, 0x39]);
    assert_eq!(IndexEntry::decode(entry.encode()), entry);
    let entry = TimeEntry {
        timestamp: Timestamp(0x018b_cfe6_5260),
        relative_offset: 1,
    };
    assert_eq!(
        entry.encode(),
        [0, 0, 0x01, 0x8b, 0xcf, 0xe6, 0x52, 0x60, 0, 0, 0, 1]
    );
    assert_eq!(TimeEntry::decode(entry.encode()), entry);
    let aborted = AbortedTransaction {
        producer: ProducerId(2),
        first_offset: Offset(3),
        last_offset: Offset(5),
        last_stable_offset: Offset(6),
    };
    assert_eq!(AbortedTransaction::decode(&aborted.encode()), Ok(aborted));
}

#[test]
fn a_torn_or_foreign_txn_index_is_refused() {
    let entry = AbortedTransaction {
        producer: ProducerId(1),
        first_offset: Offset(0),
        last_offset: Offset(1),
        last_stable_offset: Offset(2),
    };
    let mut bytes = entry.encode().to_vec();
    assert_eq!(decode_txn_index(&bytes), Some(vec![entry]));
    assert_eq!(decode_txn_index(&[]), Some(vec![]));
    bytes.push(0);
    assert_eq!(decode_txn_index(&bytes), None);
    bytes.pop();
    bytes[1] = 1;
    assert_eq!(decode_txn_index(&bytes), None);
}

#[test]
fn a_search_in_a_file_finds_what_a_search_in_memory_finds() {
    let dir = LogDir::simulated(&Disk::new(1));
    for count in [0_u32, 1, 2, 255, 256, 257, 1000, 4097] {
        let entries: Vec<IndexEntry> = (0..count)
            .map(|i| IndexEntry {
                relative_offset: 10 + 3 * i,
                position: 1 + 5 * i,
            })
            .collect();
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.encode()).collect();
        let file = dir.open_file("i", Mode::Replace).unwrap();
        file.write_at(&[Bytes::from(bytes)], 0).unwrap();
        for target in (0..10 + 3 * count + 5).step_by(if count > 300 { 7 } else { 1 }) {
            let expected = entries.iter().rposition(|e| e.relative_offset <= target);
            let found = search_offset(&file, count, target, Wait::Yes).unwrap();
            assert_eq!(found.map(|(n, _)| n as usize), expected);
            assert_eq!(found.map(|(_, e)| e), expected.map(|n| entries[n]));
        }
    }
}
