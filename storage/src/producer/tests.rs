//! The rows of Kafka's behaviour for idempotent producers, in their order, then transactions and expiry.

use super::*;
use crate::batch::{Batch, BatchBuilder, BatchOptions};
use crate::types::LeaderEpoch;

const MARKER: EndTransactionMarker = EndTransactionMarker {
    commit: false,
    coordinator_epoch: 0,
};

struct Partition {
    producers: Producers,
    end: Offset,
}

impl Partition {
    fn new() -> Self {
        Self {
            producers: Producers::new(1000),
            end: Offset(0),
        }
    }

    fn header(
        &self,
        producer: i64,
        epoch: i16,
        sequence: i32,
        count: i32,
        transactional: bool,
    ) -> Header {
        let options = BatchOptions {
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
            transactional,
            ..BatchOptions::default()
        };
        let mut builder = BatchBuilder::new(options);
        for _ in 0..count {
            builder.append(Timestamp(5000), None, None, &[]).unwrap();
        }
        self.placed(builder.finish().unwrap())
    }

    fn placed(&self, mut batch: Batch) -> Header {
        batch.place(self.end, LeaderEpoch(0));
        *batch.header()
    }

    fn send_batch(&mut self, header: &Header) -> Result<Admission, ProducerError> {
        let admission = self.producers.admit(header, Origin::Client)?;
        if admission == Admission::Append {
            self.producers.append(header);
            self.end = header.next_offset();
        }
        Ok(admission)
    }

    /// Sends a batch of one record; the offset that Kafka answers with.
    fn send(&mut self, producer: i64, epoch: i16, sequence: i32) -> Result<i64, ProducerError> {
        let header = self.header(producer, epoch, sequence, 1, false);
        match self.send_batch(&header)? {
            Admission::Append => Ok(header.base_offset.0),
            Admission::Duplicate(batch) => Ok(batch.first_offset().0),
        }
    }

    fn end_transaction(
        &mut self,
        producer: i64,
        epoch: i16,
        marker: EndTransactionMarker,
    ) -> Option<CompletedTransaction> {
        let batch = marker
            .batch(ProducerId(producer), ProducerEpoch(epoch), Timestamp(5000))
            .unwrap();
        let header = self.placed(batch);
        self.producers
            .admit_marker(&header, marker, TransactionVersion::One, Origin::Client)
            .unwrap();
        let completed = self.producers.append_marker(&header, marker);
        self.end = header.next_offset();
        completed
    }

    fn write(&mut self, producer: i64, epoch: i16, sequence: i32) {
        let header = self.header(producer, epoch, sequence, 1, true);
        assert_eq!(self.send_batch(&header), Ok(Admission::Append));
    }
}

fn out_of_order(incoming: i32, last: i32) -> Result<i64, ProducerError> {
    Err(ProducerError::OutOfOrderSequence {
        producer: ProducerId(0),
        incoming: Sequence(incoming),
        last: Sequence(last),
    })
}

#[test]
fn idempotent_producers_are_answered_as_kafka_answers_them() {
    let mut partition = Partition::new();
    assert_eq!(partition.send(0, 0, 0), Ok(0));
    assert_eq!(
        partition.send(0, 0, 0),
        Ok(0),
        "a duplicate has its first offset"
    );
    assert_eq!(partition.send(0, 0, 1), Ok(1));
    assert_eq!(partition.send(0, 0, 5), out_of_order(5, 1));
    assert_eq!(partition.end, Offset(2));
    for sequence in 2..8 {
        assert_eq!(partition.send(0, 0, sequence), Ok(i64::from(sequence)));
    }
    assert_eq!(
        partition.send(0, 0, 0),
        out_of_order(0, 7),
        "beyond the five that are remembered"
    );
    assert_eq!(
        partition.send(0, 0, 2),
        out_of_order(2, 7),
        "the sixth from the end"
    );
    assert_eq!(partition.send(0, 0, 3), Ok(3), "the fifth from the end");
    assert_eq!(partition.send(0, 0, 4), Ok(4));
    let error = partition.send(0, 1, 3).unwrap_err();
    assert!(matches!(
        error,
        ProducerError::NewEpochNotFromZero {
            incoming: Sequence(3),
            ..
        }
    ));
    assert_eq!(partition.send(0, 1, 0), Ok(8));
    let stale = ProducerError::StaleEpoch {
        producer: ProducerId(0),
        incoming: ProducerEpoch(0),
        current: ProducerEpoch(1),
    };
    assert_eq!(partition.send(0, 0, 8), Err(stale));
    assert_eq!(
        partition.send(0, 0, 7),
        Err(stale),
        "what the old epoch wrote is no longer a duplicate"
    );
    assert_eq!(
        partition.send(999_999, 0, 7),
        Ok(9),
        "an unknown producer begins anywhere"
    );
    assert_eq!(partition.send(5, -1, 0), Ok(10));
    assert_eq!(partition.send(6, 0, i32::MAX), Ok(11));
    assert_eq!(
        partition.send(6, 0, 0),
        Ok(12),
        "after the largest sequence comes 0"
    );
    assert_eq!(partition.send(6, 0, i32::MAX), Ok(11));
}

#[test]
fn a_sequence_inside_an_old_batch_is_no_duplicate() {
    let mut partition = Partition::new();
    let three = partition.header(0, 0, 0, 3, false);
    partition.send_batch(&three).unwrap();
    assert_eq!(partition.send(0, 0, 1), out_of_order(1, 2));
    let two = partition.header(0, 0, 0, 2, false);
    assert!(partition.send_batch(&two).is_err());
    let again = partition.header(0, 0, 0, 3, false);
    let Ok(Admission::Duplicate(batch)) = partition.send_batch(&again) else {
        panic!()
    };
    assert_eq!(
        (batch.first_offset(), batch.last_offset, batch.timestamp),
        (Offset(0), Offset(2), Timestamp(5000))
    );
}

#[test]
fn batches_without_a_producer_only_move_the_end() {
    let mut partition = Partition::new();
    for _ in 0..3 {
        let header = partition.header(-1, -1, -1, 2, false);
        assert_eq!(partition.send_batch(&header), Ok(Admission::Append));
    }
    assert!(partition.producers.is_empty());
    assert_eq!(partition.producers.end_offset(), Offset(6));
}

#[test]
fn followers_take_what_their_leader_took() {
    let mut partition = Partition::new();
    partition.send(0, 3, 0).unwrap();
    let odd = partition.header(0, 1, 77, 1, false);
    assert!(partition.producers.admit(&odd, Origin::Client).is_err());
    assert_eq!(
        partition.producers.admit(&odd, Origin::Replication),
        Ok(Admission::Append)
    );
    partition.producers.append(&odd);
    assert_eq!(
        partition
            .producers
            .state(ProducerId(0))
            .unwrap()
            .last_sequence(),
        Sequence(77)
    );
}

#[test]
fn a_transaction_holds_readers_back_until_its_marker_is_replicated() {
    let mut partition = Partition::new();
    assert_eq!(partition.producers.first_unstable_offset(), None);
    partition.write(1, 0, 0); // 0
    partition.write(2, 0, 0); // 1
    partition.write(1, 0, 1); // 2
    assert_eq!(partition.producers.first_unstable_offset(), Some(Offset(0)));
    let error = partition.send(1, 0, 2).unwrap_err();
    let first_offset = Offset(0);
    assert_eq!(
        error,
        ProducerError::NotTransactional {
            producer: ProducerId(1),
            first_offset
        }
    );

    let completed = partition.end_transaction(1, 0, MARKER).unwrap(); // 3
    let expected = CompletedTransaction {
        producer: ProducerId(1),
        first_offset,
        last_offset: Offset(3),
        aborted: true,
    };
    assert_eq!(completed, expected);
    assert_eq!(
        partition.producers.last_stable_offset_after(&completed),
        Offset(1)
    );
    assert_eq!(
        partition.producers.first_unstable_offset(),
        Some(Offset(0)),
        "the marker is not replicated"
    );
    partition.producers.replicated_to(Offset(3));
    assert_eq!(partition.producers.first_unstable_offset(), Some(Offset(0)));
    partition.producers.replicated_to(Offset(4));
    assert_eq!(partition.producers.first_unstable_offset(), Some(Offset(1)));

    let commit = EndTransactionMarker {
        commit: true,
        coordinator_epoch: 0,
    };
    let completed = partition.end_transaction(2, 1, commit).unwrap(); // 4, and the next epoch
    assert!(!completed.aborted);
    assert_eq!(
        partition.producers.last_stable_offset_after(&completed),
        Offset(5)
    );
    partition.producers.replicated_to(Offset(5));
    assert_eq!(partition.producers.first_unstable_offset(), None);
    let state = partition.producers.state(ProducerId(2)).unwrap();
    assert_eq!(
        (state.epoch(), state.batches().len()),
        (ProducerEpoch(1), 0)
    );
    partition.write(2, 1, 0);
    assert_eq!(
        partition.end_transaction(7, 0, commit),
        None,
        "nothing was written"
    );
}

#[test]
fn markers_of_old_epochs_and_coordinators_are_fenced() {
    let mut partition = Partition::new();
    partition.write(1, 5, 0);
    partition.end_transaction(
        1,
        5,
        EndTransactionMarker {
            commit: true,
            coordinator_epoch: 3,
        },
    );
    let header = |epoch| {
        *MARKER
            .batch(ProducerId(1), ProducerEpoch(epoch), Timestamp(0))
            .unwrap()
            .header()
    };
    let admit = |epoch, coordinator_epoch, origin| {
        let marker = EndTransactionMarker {
            commit: true,
            coordinator_epoch,
        };
        partition
            .producers
            .admit_marker(&header(epoch), marker, TransactionVersion::One, origin)
    };
    assert!(matches!(
        admit(4, 3, Origin::Client),
        Err(ProducerError::StaleEpoch { .. })
    ));
    assert!(matches!(
        admit(5, 2, Origin::Client),
        Err(ProducerError::CoordinatorFenced { .. })
    ));
    assert_eq!(admit(5, 3, Origin::Client), Ok(()));
    assert_eq!(admit(4, 2, Origin::Replication), Ok(()));
}

#[test]
fn silent_producers_are_forgotten_but_not_in_a_transaction() {
    let mut partition = Partition::new();
    partition.send(1, 0, 0).unwrap();
    partition.write(2, 0, 0);
    for (now, gone) in [(5999, 0), (6000, 1), (6001, 0)] {
        assert_eq!(partition.producers.expire(Timestamp(now)), gone, "at {now}");
    }
    assert!(partition.producers.state(ProducerId(2)).is_some());
    assert_eq!(
        partition.send(1, 0, 44),
        Ok(2),
        "forgotten, it begins anywhere"
    );
    let snapshot = partition.producers.snapshot();
    let later = Producers::restore(&snapshot, Offset(3), 1000, Timestamp(6000));
    assert_eq!((later.len(), later.end_offset()), (1, Offset(3)));
    assert_eq!(later.first_unstable_offset(), Some(Offset(1)));
    let kept = Producers::restore(&snapshot, Offset(3), 1000, Timestamp(5999));
    assert_eq!(kept.len(), 2);
}

#[test]
fn after_a_snapshot_only_the_last_batch_is_remembered() {
    let mut partition = Partition::new();
    partition.send(0, 0, 0).unwrap();
    partition.send(0, 0, 1).unwrap();
    let snapshot = Snapshot::decode(&partition.producers.snapshot().encode()).unwrap();
    partition.producers = Producers::restore(&snapshot, partition.end, 1000, Timestamp(5000));
    assert_eq!(partition.send(0, 0, 1), Ok(1));
    assert_eq!(partition.send(0, 0, 0), out_of_order(0, 1));
    assert_eq!(partition.send(0, 0, 2), Ok(2));
}

#[test]
fn aborted_transactions_are_stored_as_kafka_stores_them() {
    let entry = AbortedTransaction {
        producer: ProducerId(2),
        first_offset: Offset(3),
        last_offset: Offset(5),
        last_stable_offset: Offset(6),
    };
    let mut bytes = entry.encode();
    assert_eq!((bytes[9], bytes[17], bytes[25], bytes[33]), (2, 3, 5, 6));
    assert_eq!(AbortedTransaction::decode(&bytes), Ok(entry));
    bytes[1] = 1;
    assert_eq!(AbortedTransaction::decode(&bytes), Err(1));
}

#[test]
fn moving_the_start_drops_ended_transactions_only() {
    let mut partition = Partition::new();
    partition.write(1, 0, 0);
    partition.write(2, 0, 0);
    partition.end_transaction(1, 0, MARKER);
    partition.producers.start_moved_to(Offset(3));
    assert_eq!(partition.producers.first_unstable_offset(), Some(Offset(1)));
    partition.producers.clear(Offset(0));
    assert!(
        partition.producers.is_empty() && partition.producers.first_unstable_offset().is_none()
    );
}

#[test]
fn a_transaction_begins_only_with_the_coordinators_word() {
    let (mut partition, now) = (Partition::new(), Timestamp(0));
    let begin = |partition: &mut Partition, epoch, sequence| {
        partition.producers.begin_verification(
            ProducerId(1),
            ProducerEpoch(epoch),
            Sequence(sequence),
            TransactionVersion::One,
            now,
        )
    };
    let refused = Err(ProducerError::NotInTransaction {
        producer: ProducerId(1),
    });
    let first = partition.header(1, 0, 0, 1, true);
    let admit = |partition: &Partition, header: &Header, guard| {
        partition.producers.admit_in_transaction(header, guard)
    };
    assert_eq!(admit(&partition, &first, Guard::NONE), refused);
    let Standing::Unverified(guard) = begin(&mut partition, 0, 0) else {
        panic!("nothing is open yet");
    };
    let again = begin(&mut partition, 0, 3);
    assert_eq!(again, Standing::Unverified(guard), "one guard per producer");
    let later = partition.header(1, 0, 3, 1, true);
    assert!(
        matches!(
            admit(&partition, &later, guard),
            Err(ProducerError::OutOfOrderSequence { .. })
        ),
        "the earliest announced comes first"
    );
    assert_eq!(admit(&partition, &first, guard), Ok(()));
    partition.write(1, 0, 0);
    assert_eq!(begin(&mut partition, 0, 1), Standing::Ongoing);
    let second = partition.header(1, 0, 1, 1, true);
    assert_eq!(admit(&partition, &second, Guard::NONE), Ok(()));

    // The transaction is aborted and another one begins: what was promised before the marker is worth nothing.
    partition.end_transaction(1, 0, MARKER);
    assert_eq!(admit(&partition, &second, guard), refused);
    let stale = begin(&mut partition, 0, 1);
    assert!(stale != Standing::Unverified(guard) && stale != Standing::Ongoing);
    partition.end_transaction(1, 0, MARKER);
    let Standing::Unverified(stale) = stale else {
        return;
    };
    assert_eq!(
        admit(&partition, &second, stale),
        refused,
        "a marker came between"
    );
}

#[test]
fn a_producer_of_version_2_without_a_past_begins_at_sequence_0() {
    let mut partition = Partition::new();
    for (sequence, fits) in [(4, false), (0, true)] {
        let standing = partition.producers.begin_verification(
            ProducerId(1),
            ProducerEpoch(0),
            Sequence(sequence),
            TransactionVersion::Two,
            Timestamp(0),
        );
        let Standing::Unverified(guard) = standing else {
            panic!("nothing is open yet");
        };
        let header = partition.header(1, 0, sequence, 1, true);
        let admitted = partition.producers.admit_in_transaction(&header, guard);
        assert_eq!(admitted.is_ok(), fits, "sequence {sequence}");
    }
}

#[test]
fn a_marker_of_version_2_has_an_epoch_of_its_own() {
    let mut partition = Partition::new();
    let admit = |partition: &Partition, epoch| {
        let header = *MARKER
            .batch(ProducerId(1), ProducerEpoch(epoch), Timestamp(0))
            .unwrap()
            .header();
        let version = TransactionVersion::Two;
        partition
            .producers
            .admit_marker(&header, MARKER, version, Origin::Coordinator)
            .is_ok()
    };
    partition.write(1, 5, 0);
    assert!(!admit(&partition, 5), "it belongs to a transaction before");
    assert!(admit(&partition, 6));
    partition.end_transaction(1, 6, MARKER);
    assert!(
        admit(&partition, 6),
        "the repetition of one that was written"
    );
    assert!(!admit(&partition, 5));
    partition.write(1, 6, 0);
    assert!(!admit(&partition, 6), "late: the next transaction is open");
}

/// Offsets are written by the group coordinator: without sequences, but not for a producer that was replaced.
#[test]
fn a_zombies_commit_is_refused() {
    let mut partition = Partition::new();
    partition.end_transaction(1, 3, MARKER);
    for (epoch, fits) in [(2, false), (3, true), (4, true)] {
        let header = partition.header(1, epoch, -1, 1, true);
        let admitted = partition.producers.admit(&header, Origin::Coordinator);
        assert_eq!(admitted.is_ok(), fits, "epoch {epoch}");
    }
}

#[test]
fn a_late_marker_of_version_2_does_not_end_the_next_transaction() {
    let mut partition = Partition::new();
    let begin = |partition: &mut Partition| {
        partition.producers.begin_verification(
            ProducerId(1),
            ProducerEpoch(6),
            Sequence(0),
            TransactionVersion::Two,
            Timestamp(0),
        )
    };
    partition.write(1, 5, 0);
    partition.end_transaction(1, 6, MARKER);
    let Standing::Unverified(guard) = begin(&mut partition) else {
        panic!("nothing is open yet");
    };
    let first = partition.header(1, 6, 0, 1, true);
    let admit = |partition: &Partition| partition.producers.admit_in_transaction(&first, guard);
    // The marker of the transaction before is written again, as after a restart.
    partition.end_transaction(1, 6, MARKER);
    assert_eq!(admit(&partition), Ok(()));
    // One of a later epoch ended the transaction itself.
    partition.end_transaction(1, 7, MARKER);
    assert!(admit(&partition).is_err());
}
