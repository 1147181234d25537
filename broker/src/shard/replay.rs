//! Reading an internal partition whole, for the coordinator it belongs to.
//!
//! Owns: the way from the log's start to what is committed, and the patience with a log that does not read.
//! Lives on: the partition's shard.
//! Invariants:
//! 1. A coordinator serves only after it has seen every batch below the high watermark of the beginning.
//! 2. What cannot be read is tried again, for as long as the partition is in service.
//!
//! Not here: what a record means (`coordinators`, `transactions`).

use std::rc::Rc;
use std::time::Duration;

use corelog_storage::batch::Batch;

use crate::partition::{Partition, State};
use crate::shard::Shard;

impl Shard {
    /// Hands every batch of the partition to `replay`, which says how many of its records it did not understand. `false`:
    /// the partition went out of service on the way. `what` is for the log: groups or transactions.
    pub(crate) async fn replay_partition(
        &self,
        partition: &Rc<Partition>,
        what: &str,
        mut replay: impl FnMut(&Batch) -> u64,
    ) -> bool {
        let name = &partition.name;
        let end = partition.high_watermark();
        let mut offset = partition.log.borrow().start_offset();
        let (mut unreadable, mut pause) = (0, PAUSE_MIN);
        while offset < end {
            match self.read_batches(partition, offset, READ_BYTES).await {
                Ok(batches) => {
                    unreadable += batches.iter().map(&mut replay).sum::<u64>();
                    // Nothing below the end: what was there is compacted away.
                    offset = batches
                        .last()
                        .map_or(end, |last| last.header().next_offset());
                    pause = PAUSE_MIN;
                    corelog_runtime::yield_now().await;
                }
                Err(error) => {
                    if partition.state.get() != State::Online {
                        tracing::warn!(
                            "partition={name} {what} are not loaded: it is out of service"
                        );
                        return false;
                    }
                    tracing::error!(
                        "partition={name} {what} cannot be loaded: {error}; they are unavailable, the next try is in {} s",
                        pause.as_secs()
                    );
                    corelog_runtime::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                    offset = offset.max(partition.log.borrow().start_offset());
                }
            }
        }
        if unreadable > 0 {
            tracing::warn!("partition={name} {what}: {unreadable} records were not understood");
        }
        true
    }
}

/// Bytes of log read at a time.
const READ_BYTES: usize = 1 << 20;
/// Between two tries to read what does not read.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
