//! Ids for idempotent producers, out of blocks that the controller gives to this shard.
//!
//! Owns: the shard's current block.
//! Lives on: every shard.
//! Invariants:
//! 1. An id is given out once, also over restarts: a block is in the metadata log before it is used,
//!    and what a stopped broker had left of its block is never used.
//!
//! Not here: the blocks (`controller`).

use std::cell::Cell;
use std::rc::Rc;

use corelog_runtime::Semaphore;

use crate::shard::Shard;

/// The shard's block.
pub(crate) struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    fetching: Semaphore,
}

impl ProducerIds {
    pub(crate) fn new() -> Self {
        Self {
            next: Cell::new(0),
            end: Cell::new(0),
            fetching: Semaphore::new(1),
        }
    }

    fn take(&self) -> Option<i64> {
        let next = self.next.get();
        (next < self.end.get()).then(|| {
            self.next.set(next + 1);
            next
        })
    }
}

impl Shard {
    /// The next producer id; `None` when the controller gives no block.
    pub(crate) async fn next_producer_id(self: &Rc<Self>) -> Option<i64> {
        let ids = &self.producer_ids;
        if let Some(id) = ids.take() {
            return Some(id);
        }
        let _turn = ids.fetching.acquire().await;
        if let Some(id) = ids.take() {
            return Some(id);
        }
        let (start, count) = self.allocate_producer_ids().await?;
        ids.next.set(start);
        ids.end.set(start + i64::from(count));
        ids.take()
    }
}
