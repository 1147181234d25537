//! What must be in the log: told in the plainest way there is.
//!
//! **Owns** the batches as they were appended, and what follows from them: producers, transactions, epochs.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. Nothing here looks at a file or at the log. 2. Everything but the batches is computed anew when it
//! is asked for.
//! **Not here** the comparison (`sim::check`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::batch::{EndTransactionMarker, Header};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Everything appended and not cut off, oldest first; also what lies below the start.
    pub batches: Vec<Kept>,
    pub start: Offset,
    pub end: Offset,
    pub epoch: LeaderEpoch,
    /// The end when the log was opened: the segment that was active then counts its index interval anew.
    pub opened: Offset,
    /// Below it a cleaning may have been.
    pub clean_to: Offset,
    /// The farthest start there was.
    pub deleted_to: Offset,
    /// The high watermark when the last cleaning began: what it threw away, it did because of what lies below.
    pub decided_to: Offset,
    /// A mistake: see [`super::Mistake::ForgetTransaction`].
    pub forgets_transactions: bool,
    /// What these producers did counts from here on: see [`Model::forget_before`].
    pub begins: BTreeMap<ProducerId, Offset>,
    /// Epochs that began, with or without a record.
    pub epochs: BTreeSet<LeaderEpoch>,
}

/// A batch as it must be read.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub header: Header,
    pub marker: Option<EndTransactionMarker>,
    /// Timestamps of its records.
    pub timestamps: Vec<Timestamp>,
    pub bytes: Bytes,
}

/// What is known of a producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub epoch: ProducerEpoch,
    pub coordinator_epoch: i32,
    /// First and last sequence, first and last offset of its batches in this epoch, at most five.
    pub batches: Vec<(Sequence, Sequence, Offset, Offset)>,
    pub transaction: Option<Offset>,
    /// Behind the last it wrote or was written for it.
    pub end: Offset,
    /// Its last marker.
    pub marker: Offset,
}

/// An aborted transaction: producer, first offset, offset of its marker.
pub(super) type Aborted = (ProducerId, Offset, Offset);

impl Model {
    pub(super) fn push(&mut self, kept: Kept) {
        self.end = kept.header.next_offset();
        self.epochs.insert(kept.header.leader_epoch);
        self.batches.push(kept);
    }

    /// Forgets what lies at or above `end`.
    pub(super) fn cut(&mut self, end: Offset) {
        self.batches.retain(|kept| kept.next() <= end);
        self.end = end;
        self.clean_to = self.clean_to.min(end);
        self.decided_to = self.decided_to.min(end);
        self.begins.retain(|_, begins| *begins <= end);
        self.start = self.start.min(end);
    }

    /// Everything is gone; the log goes on at `offset`.
    pub(super) fn start_anew(&mut self, offset: Offset) {
        self.batches.clear();
        self.start = offset;
        self.end = offset;
        self.clean_to = offset;
        self.deleted_to = offset;
        self.decided_to = offset;
        self.begins.clear();
    }

    /// The batches that a reader from `from` gets, below `upper`.
    pub(super) fn from(&self, from: Offset, upper: Offset) -> &[Kept] {
        let first = self.batches.partition_point(|kept| kept.next() <= from);
        let last = self.batches.partition_point(|kept| kept.next() <= upper);
        &self.batches[first..last.max(first)]
    }

    /// Batches that the log still has records of.
    pub(super) fn live(&self) -> &[Kept] {
        self.from(self.start, self.end)
    }

    pub(super) fn producers(&self) -> BTreeMap<ProducerId, Known> {
        let mut producers = BTreeMap::new();
        for kept in &self.batches {
            let header = &kept.header;
            if header.producer_id.is_none() || self.is_forgotten(header) {
                continue;
            }
            let known: &mut Known = producers
                .entry(header.producer_id)
                .or_insert_with(|| Known {
                    epoch: header.producer_epoch,
                    coordinator_epoch: -1,
                    ..Known::default()
                });
            if known.epoch != header.producer_epoch {
                known.epoch = header.producer_epoch;
                known.batches.clear();
            }
            known.end = kept.next();
            if let Some(marker) = kept.marker {
                known.coordinator_epoch = marker.coordinator_epoch;
                known.marker = kept.base();
                known.transaction = None;
                continue;
            }
            known.batches.push((
                header.base_sequence,
                header.last_sequence(),
                header.base_offset,
                header.last_offset(),
            ));
            if known.batches.len() > 5 {
                known.batches.remove(0);
            }
            if header.attributes.is_transactional() {
                known.transaction.get_or_insert(header.base_offset);
            }
        }
        producers
    }

    fn is_forgotten(&self, header: &Header) -> bool {
        let begins = self.begins.get(&header.producer_id);
        begins.is_some_and(|begins| header.base_offset < *begins)
    }

    /// The log does not know any more what this producer did below `offset`: on a full disk segments go before the
    /// snapshot behind them is written.
    pub(super) fn forget_before(&mut self, producer: ProducerId, offset: Offset) {
        self.begins.insert(producer, offset);
    }

    /// Ended transactions, in the order of their markers: producer, first offset, marker, committed.
    fn ended(&self) -> Vec<(ProducerId, Offset, Offset, bool)> {
        self.ended_of(|header| !self.is_forgotten(header))
    }

    fn ended_of(
        &self,
        counts: impl Fn(&Header) -> bool,
    ) -> Vec<(ProducerId, Offset, Offset, bool)> {
        let mut open: BTreeMap<ProducerId, Offset> = BTreeMap::new();
        let mut ended = Vec::new();
        for kept in &self.batches {
            let header = &kept.header;
            if !counts(header) {
                continue;
            }
            match kept.marker {
                Some(marker) => {
                    if let Some(first) = open.remove(&header.producer_id) {
                        ended.push((header.producer_id, first, header.base_offset, marker.commit));
                    }
                }
                None if header.attributes.is_transactional() => {
                    open.entry(header.producer_id).or_insert(header.base_offset);
                }
                None => {}
            }
        }
        ended
    }

    /// Aborted transactions, in the order of their markers.
    pub(super) fn aborted(&self) -> Vec<Aborted> {
        aborted_of(self.ended())
    }

    /// The same, also what was forgotten.
    pub(super) fn aborted_ever(&self) -> Vec<Aborted> {
        aborted_of(self.ended_of(|_| true))
    }

    /// Up to where a `read_committed` reader may read.
    pub(super) fn stable(&self, high_watermark: Offset) -> Offset {
        if self.forgets_transactions {
            return high_watermark;
        }
        let open = self
            .producers()
            .into_values()
            .filter_map(|known| known.transaction);
        let undecided = self
            .ended()
            .into_iter()
            .filter(|(_, _, marker, _)| *marker >= high_watermark)
            .map(|(_, first, _, _)| first);
        open.chain(undecided).min().map_or(high_watermark, |first| {
            first.clamp(self.start, high_watermark)
        })
    }

    /// The first record from the start on with at least this timestamp.
    pub(super) fn at_time(&self, timestamp: Timestamp) -> Option<Offset> {
        self.records()
            .find(|(_, at)| *at >= timestamp)
            .map(|(offset, _)| offset)
    }

    /// The first record with the largest timestamp.
    pub(super) fn newest(&self) -> Option<Offset> {
        let newest = self.records().map(|(_, at)| at).max()?;
        self.records()
            .find(|(_, at)| *at == newest)
            .map(|(offset, _)| offset)
    }

    fn records(&self) -> impl Iterator<Item = (Offset, Timestamp)> {
        let live = self.live().iter().flat_map(|kept| {
            (0..)
                .zip(&kept.timestamps)
                .map(|(number, at)| (kept.header.base_offset + number, *at))
        });
        live.filter(|(offset, _)| *offset >= self.start)
    }
}

fn aborted_of(ended: Vec<(ProducerId, Offset, Offset, bool)>) -> Vec<Aborted> {
    ended
        .into_iter()
        .filter(|(_, _, _, committed)| !committed)
        .map(|(producer, first, marker, _)| (producer, first, marker))
        .collect()
}

impl Kept {
    pub(super) fn base(&self) -> Offset {
        self.header.base_offset
    }

    pub(super) fn next(&self) -> Offset {
        self.header.next_offset()
    }
}
