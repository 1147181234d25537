//! Producers: what they append, and what they try.
//!
//! **Owns** batches of idempotent and transactional producers, markers, and appends that must be refused.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. A producer goes on behind what the model says it wrote, as one does that asked again after a restart.
//! **Not here** the plans that bring it to the disk (`world`).

use super::Mistake;
use super::check::{Checker, require, violation};
use super::marks::reached;
use super::model::Kept;
use super::world::{Outcome, World};
use crate::batch::{Batch, BatchBuilder, BatchOptions, EndTransactionMarker};
use crate::log::{AppendError, Origin};
use crate::producer::ProducerError;
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp};

impl World {
    pub(super) fn append(&mut self) -> Outcome {
        if self.random.one_in(2) {
            let batch = self.batch(BatchOptions::default(), None);
            return self.push(batch, Origin::Client);
        }
        let producer = ProducerId(1 + i64::try_from(self.random.below(3)).unwrap_or(0));
        let raise = self.random.one_in(15);
        let options = self.next_of(producer, raise);
        let batch = self.batch(options, None);
        self.push(batch, Origin::Client)
    }

    pub(super) fn append_in_transaction(&mut self) -> Outcome {
        if !self.profile.transactions {
            return self.append();
        }
        let producer = ProducerId(11 + i64::try_from(self.random.below(3)).unwrap_or(0));
        let open = self
            .model
            .producers()
            .get(&producer)
            .is_some_and(|known| known.transaction.is_some());
        let raise = !open && self.random.one_in(15);
        let options = BatchOptions {
            transactional: true,
            ..self.next_of(producer, raise)
        };
        let batch = self.batch(options, None);
        self.push(batch, Origin::Client)
    }

    pub(super) fn end_transaction(&mut self) -> Outcome {
        let producers = self.model.producers();
        let open: Vec<_> = producers
            .iter()
            .filter(|(_, known)| known.transaction.is_some() || self.random.one_in(20))
            .collect();
        if open.is_empty() || !self.profile.transactions {
            return Ok(());
        }
        let (producer, known) = open[self.random.index(open.len())];
        if producer.0 < 11 {
            return Ok(());
        }
        let marker = EndTransactionMarker {
            commit: self.random.one_in(2),
            coordinator_epoch: known.coordinator_epoch.max(0) + i32::from(self.random.one_in(8)),
        };
        let epoch = ProducerEpoch(known.epoch.0 + i16::from(self.random.one_in(4)));
        let now = self.now();
        let batch = marker
            .batch(*producer, epoch, now)
            .expect("a marker is a small batch");
        self.push_kept(batch, vec![now], Some(marker), Origin::Coordinator)
    }

    /// What the producer would send next.
    fn next_of(&self, producer: ProducerId, raise: bool) -> BatchOptions {
        let known = self.model.producers().remove(&producer).unwrap_or_default();
        let epoch = ProducerEpoch(known.epoch.0.max(0) + i16::from(raise));
        let begins = raise
            || known.batches.is_empty()
            || self
                .log
                .producers()
                .state(producer)
                .is_some_and(|state| state.last_sequence().is_none());
        let sequence = if begins {
            Sequence::ZERO
        } else {
            known
                .batches
                .last()
                .map_or(Sequence::ZERO, |last| last.1.forward(1))
        };
        BatchOptions {
            producer_id: producer,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        }
    }

    /// A batch of a few records, or of as many as are asked for, with their timestamps.
    fn batch(&mut self, options: BatchOptions, count: Option<usize>) -> (Batch, Vec<Timestamp>) {
        let size = match self.random.below(10) {
            0 => 1200,
            1 if self.profile.settings.segment_bytes > 8000 => 6000,
            _ => 20 + self.random.index(300),
        };
        let count = count.unwrap_or(1 + self.random.index(4));
        let first = self.now().0 - i64::try_from(self.random.below(20)).unwrap_or(0);
        let mut builder = BatchBuilder::new(options);
        let mut timestamps = Vec::new();
        for (number, at) in (first..).take(count).enumerate() {
            let fill = u8::try_from(self.random.below(256)).unwrap_or(0);
            let value = vec![fill; size / count];
            builder
                .append(
                    Timestamp(at),
                    Some(&number.to_be_bytes()),
                    Some(&value),
                    &[],
                )
                .expect("a small record");
            timestamps.push(Timestamp(at));
        }
        (builder.finish().expect("a small batch"), timestamps)
    }

    fn push(&mut self, (batch, timestamps): (Batch, Vec<Timestamp>), origin: Origin) -> Outcome {
        self.push_kept(batch, timestamps, None, origin)
    }

    fn push_kept(
        &mut self,
        mut batch: Batch,
        timestamps: Vec<Timestamp>,
        marker: Option<EndTransactionMarker>,
        origin: Origin,
    ) -> Outcome {
        let now = self.now();
        let (mut origin, epoch) = (origin, self.model.epoch);
        if self.mistake == Some(Mistake::Gap) && self.random.one_in(8) {
            batch.place(self.model.end + 2, epoch);
            origin = Origin::Replication;
        }
        match self.log.append([batch.clone()], origin, epoch, now) {
            Ok(appended) => {
                require!(
                    Offsets,
                    !appended.duplicate && appended.first_offset == self.model.end,
                    "{appended:?} at the end {}",
                    self.model.end
                );
                batch.place(appended.first_offset, epoch);
                self.detail(format!(
                    "{} {}..={} {} B",
                    batch.header().producer_id,
                    appended.first_offset,
                    appended.last_offset,
                    batch.size()
                ));
                self.keep(&batch, timestamps, marker);
                require!(
                    Offsets,
                    self.log.end_offset() == self.model.end,
                    "the end is {}, not {}",
                    self.log.end_offset(),
                    self.model.end
                );
                Ok(())
            }
            Err(AppendError::Failed(_)) => Ok(()),
            Err(AppendError::Roll(error)) => self.blame(&error),
            Err(error) => Err(violation(Checker::Producers, format!("refused: {error}"))),
        }
    }

    fn keep(
        &mut self,
        batch: &Batch,
        timestamps: Vec<Timestamp>,
        marker: Option<EndTransactionMarker>,
    ) {
        let mut kept = Kept {
            header: *batch.header(),
            marker,
            timestamps,
            bytes: batch.to_bytes(),
        };
        if self.random.one_in(8) {
            self.falsify(&mut kept);
        }
        self.model.push(kept);
    }

    /// The mistakes that are the model's.
    fn falsify(&self, kept: &mut Kept) {
        match self.mistake {
            Some(Mistake::Alter) => {
                let mut bytes = kept.bytes.to_vec();
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                kept.bytes = bytes.into();
            }
            Some(Mistake::ShiftTime) => kept.timestamps[0].0 += 1000,
            Some(Mistake::ForgetProducer) if kept.header.producer_id.is_some() => {
                kept.header.base_sequence = kept.header.base_sequence.forward(1);
            }
            Some(Mistake::ForgetAbort) => {
                if let Some(marker) = &mut kept.marker {
                    marker.commit = true;
                }
            }
            Some(Mistake::WrongEpoch) => kept.header.leader_epoch.0 += 1,
            _ => {}
        }
    }

    /// Batches that must be refused, or answered as the one they repeat.
    pub(super) fn probe(&mut self) -> Outcome {
        if self.log.failure().is_some() {
            return Ok(());
        }
        let producers = self.model.producers();
        let known: Vec<_> = producers
            .into_iter()
            .filter(|(producer, _)| {
                let state = self.log.producers().state(*producer);
                state.is_some_and(|state| !state.batches().is_empty())
            })
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        let (producer, known) = &known[self.random.index(known.len())];
        let Some(last) = known.batches.last().copied() else {
            return Ok(());
        };
        let transactional = known.transaction.is_some();
        let right = BatchOptions {
            producer_id: *producer,
            producer_epoch: known.epoch,
            base_sequence: last.1.forward(1),
            transactional,
            ..BatchOptions::default()
        };
        let (now, epoch) = (self.now(), self.model.epoch);
        let tried = |world: &mut Self, options: BatchOptions, count: usize| {
            let (batch, _) = world.batch(options, Some(count));
            world.log.append([batch], Origin::Client, epoch, now)
        };
        let what = self.random.below(4);
        let (ok, said) = match what {
            0 => {
                let options = BatchOptions {
                    base_sequence: last.0,
                    ..right
                };
                let count = usize::try_from(last.3.since(last.2) + 1).unwrap_or(1);
                let answer = tried(self, options, count);
                let ok = answer
                    .as_ref()
                    .is_ok_and(|answer| answer.duplicate && answer.first_offset == last.2);
                if ok {
                    reached("batch answered as a duplicate");
                }
                (ok, format!("repeated {last:?}: {answer:?}"))
            }
            1 => {
                let options = BatchOptions {
                    base_sequence: last.1.forward(2),
                    ..right
                };
                let answer = tried(self, options, 1);
                let ok = matches!(
                    answer,
                    Err(AppendError::Producer(
                        ProducerError::OutOfOrderSequence { .. }
                    ))
                );
                (ok, format!("a gap behind {last:?}: {answer:?}"))
            }
            2 if known.epoch.0 > 0 => {
                let options = BatchOptions {
                    producer_epoch: ProducerEpoch(known.epoch.0 - 1),
                    ..right
                };
                let answer = tried(self, options, 1);
                let ok = matches!(
                    answer,
                    Err(AppendError::Producer(ProducerError::StaleEpoch { .. }))
                );
                (ok, format!("an epoch before {}: {answer:?}", known.epoch))
            }
            3 if transactional => {
                let options = BatchOptions {
                    transactional: false,
                    ..right
                };
                let answer = tried(self, options, 1);
                let ok = matches!(
                    answer,
                    Err(AppendError::Producer(
                        ProducerError::NotTransactional { .. }
                    ))
                );
                (ok, format!("outside its transaction: {answer:?}"))
            }
            _ => return Ok(()),
        };
        require!(Producers, ok, "producer {producer} {said}");
        Ok(())
    }

    pub(super) fn begin_epoch(&mut self) {
        if self.log.failure().is_some() {
            return;
        }
        self.model.epoch = LeaderEpoch(self.model.epoch.0 + 1);
        self.model.epochs.insert(self.model.epoch);
        self.log.begin_epoch(self.model.epoch);
    }
}
