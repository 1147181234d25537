//! The log that Apache Kafka 4.3.1 wrote, read and written again.

use std::sync::Arc;

use bytes::Bytes;
use corelog_storage::batch::UncheckedBatch;

use super::super::log::{self, Format, Stored};
use super::super::{Coordinator, Now, State, TxnSettings};

/// `__transaction_state-0` of a broker that ran commits and aborts of three ids, one left open.
const KAFKA_LOG: &[u8] = include_bytes!("../testdata/transaction_state_kafka_4_3.log");

fn records() -> Vec<(Bytes, Option<Bytes>)> {
    let (mut records, mut rest) = (Vec::new(), Bytes::from_static(KAFKA_LOG));
    while let Some(batch) = UncheckedBatch::take(&mut rest).unwrap() {
        let payload = batch.check().unwrap().open(usize::MAX).unwrap();
        for record in payload.records() {
            let record = record.unwrap();
            records.push((
                Bytes::copy_from_slice(record.key.unwrap()),
                record.value.map(Bytes::copy_from_slice),
            ));
        }
    }
    records
}

#[test]
fn every_record_of_kafka_is_written_again_byte_for_byte() {
    let records = records();
    assert!(records.len() > 30, "{}", records.len());
    for (at, (key, value)) in records.iter().enumerate() {
        let Stored::Transaction(id, Some(transaction)) =
            log::decode(key, value.as_deref()).unwrap()
        else {
            panic!("record {at} is a transaction");
        };
        let again = log::transaction(&id, &transaction, Format::Tagged).unwrap();
        assert_eq!(again, (key.clone(), value.clone()), "record {at}, {id}");
    }
}

#[test]
fn the_coordinator_takes_kafkas_log_over() {
    let mut coordinator = Coordinator::new(0, Arc::new(TxnSettings::default()));
    for (key, value) in records() {
        coordinator.replay(&key, value.as_deref()).unwrap();
    }
    let effects = coordinator.loaded(Now::default());
    assert_eq!(
        effects,
        super::super::Effects::default(),
        "nothing is half done"
    );
    assert_eq!(coordinator.records_skipped(), 0);
    let states: Vec<_> = coordinator.states().collect();
    assert!(states.contains(&State::Ongoing), "{states:?}");
    assert!(states.contains(&State::CompleteCommit) || states.contains(&State::CompleteAbort));
}

#[test]
fn records_of_the_future_are_skipped_and_broken_ones_told() {
    let (key, value) = records().swap_remove(0);
    let value = value.unwrap();
    let mut coordinator = Coordinator::new(0, Arc::new(TxnSettings::default()));
    let mut newer = value.to_vec();
    newer[1] = 9;
    assert_eq!(coordinator.replay(&key, Some(&newer)), Ok(()));
    assert_eq!(coordinator.records_skipped(), 1);
    for cut in 0..value.len() {
        assert!(
            coordinator.replay(&key, Some(&value[..cut])).is_err(),
            "cut at {cut}"
        );
    }
    for cut in 0..key.len() {
        assert!(
            coordinator.replay(&key[..cut], Some(&value)).is_err(),
            "key cut at {cut}"
        );
    }
    let mut state = value.to_vec();
    state[2 + 8 + 2 + 4] = 77;
    assert!(
        coordinator.replay(&key, Some(&state)).is_err(),
        "no such state"
    );
}
