use corelog_storage::batch::{BatchBuilder, BatchOptions};
use corelog_storage::types::Timestamp;

use super::*;

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder
        .append(Timestamp(1), None, Some(&vec![7; size]), &[])
        .expect("it is small");
    builder.finish().expect("it has a record").to_bytes()
}

/// Cut into parts anywhere and ended anywhere, whole batches are left, and all of them.
#[test]
fn what_follows_the_last_whole_batch_is_taken_off() {
    let batches = [batch(10), batch(300), batch(1), batch(90)];
    let whole: Bytes = batches.concat().into();
    let ends: Vec<usize> = batches
        .iter()
        .scan(0, |end, batch| {
            *end += batch.len();
            Some(*end)
        })
        .collect();
    for end in 0..=whole.len() {
        for step in [1, 7, 61, 200, 4096] {
            let mut parts: SmallVec<[Bytes; 4]> = (0..end)
                .step_by(step)
                .map(|from| whole.slice(from..(from + step).min(end)))
                .collect();
            let kept = ends.iter().rev().find(|one| **one <= end);
            match (kept, cut_at_batch(&mut parts)) {
                (Some(kept), Cut::Whole(size)) => {
                    assert_eq!(size, *kept);
                    assert_eq!(parts.concat(), whole[..*kept]);
                }
                (None, Cut::Missing(missing)) => {
                    assert_eq!(missing, ends[0] - end);
                    assert_eq!(parts.concat(), whole[..end]);
                }
                // Not even the length is there.
                (None, Cut::Whole(0)) => assert!(end < BATCH_LENGTH_OVERHEAD),
                other => panic!("{end} {step}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_length_that_lies_ends_the_walk() {
    for length in [-1_i32, 0, 48, i32::MIN] {
        let mut bytes = batch(10).to_vec();
        let first = bytes.len();
        bytes.extend_from_slice(&batch(10));
        bytes[first + 8..first + 12].copy_from_slice(&length.to_be_bytes());
        let mut parts = SmallVec::from_iter([Bytes::from(bytes)]);
        assert_eq!(cut_at_batch(&mut parts), Cut::Whole(first), "{length}");
    }
}
