//! What becomes of transactions while a log is read for cleaning.
//!
//! **Owns** which data batches belong to aborted transactions, and which markers have nothing left to mark.
//! **Lives on** the companion, inside a cleaning.
//! **Invariants** 1. Batches are shown to it in the order of the log. 2. A marker may go only when no batch of its
//! transaction was seen, in this cleaning, before it.
//! **Not here** when a marker goes (`rewrite`: not before its delete horizon).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::batch::{Batch, ControlKey, ControlKind};
use crate::producer::AbortedTransaction;
use crate::types::{Offset, ProducerId};

/// The transactions of the range that is read.
#[derive(Debug)]
pub(super) struct Transactions {
    /// Not begun yet, by their first offsets.
    ahead: VecDeque<AbortedTransaction>,
    aborted: BTreeMap<ProducerId, Ongoing>,
    /// Producers with a transaction that was seen and not (yet) known to be aborted.
    committed: BTreeSet<ProducerId>,
}

#[derive(Debug)]
struct Ongoing {
    entry: AbortedTransaction,
    seen: bool,
}

/// What a marker is good for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// It ends something that is still there.
    Needed,
    /// The same, an abort: this entry belongs into the aborted index.
    Aborts(AbortedTransaction),
    /// Nothing of its transaction is left.
    Empty,
}

impl Transactions {
    /// `aborted`: every aborted transaction with an offset in the range.
    pub(super) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|entry| entry.first_offset);
        Self {
            ahead: aborted.into(),
            aborted: BTreeMap::new(),
            committed: BTreeSet::new(),
        }
    }

    /// Shows it a data batch; `true` when its records were aborted.
    pub(super) fn data(&mut self, producer: ProducerId, transactional: bool, last: Offset) -> bool {
        self.begin_up_to(last);
        if !transactional {
            return false;
        }
        if let Some(ongoing) = self.aborted.get_mut(&producer) {
            ongoing.seen = true;
            return true;
        }
        self.committed.insert(producer);
        false
    }

    /// Shows it a control batch; `kind` is that of its record, `None` when it has none left.
    pub(super) fn marker(
        &mut self,
        producer: ProducerId,
        last: Offset,
        kind: Option<ControlKind>,
    ) -> Marker {
        self.begin_up_to(last);
        match kind {
            // Cleaned before: what it marked was gone then.
            None => Marker::Empty,
            Some(ControlKind::Abort) => match self.aborted.remove(&producer) {
                Some(ongoing) if ongoing.seen => Marker::Aborts(ongoing.entry),
                _ => Marker::Empty,
            },
            Some(ControlKind::Commit) => {
                if self.committed.remove(&producer) {
                    Marker::Needed
                } else {
                    Marker::Empty
                }
            }
            Some(_) => Marker::Needed,
        }
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while let Some(entry) = self.ahead.front()
            && entry.first_offset <= offset
        {
            let entry = *entry;
            self.ahead.pop_front();
            self.aborted
                .entry(entry.producer)
                .or_insert(Ongoing { entry, seen: false });
        }
    }
}

/// What the first record of a control batch says.
pub(super) fn control_kind(batch: &Batch, bytes_max: usize) -> Result<Option<ControlKind>, String> {
    let payload = batch.open(bytes_max).map_err(|error| error.to_string())?;
    match payload.records().next() {
        None => Ok(None),
        Some(Err(fault)) => Err(fault.to_string()),
        Some(Ok(record)) => record
            .key
            .and_then(ControlKey::decode)
            .map(|key| Some(key.kind))
            .ok_or_else(|| "a control record without a control key".to_owned()),
    }
}
