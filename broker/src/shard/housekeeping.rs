//! What every shard does from time to time: retention, expiry, giving back what idle logs hold.
//!
//! Owns: the rounds and their pace.
//! Lives on: every shard; files are unlinked on the companion.
//! Invariants:
//! 1. A deleted segment is out of the log at once; its files are unlinked `file.delete.delay.ms`
//!    later, when readers that still hold them are done.
//! 2. A round yields between partitions: it never holds up requests.
//!
//! Not here: which segments are due (`corelog_storage::retention`).

use std::rc::Rc;
use std::time::Duration;

use corelog_storage::types::Timestamp;

use crate::partition::{Partition, State};
use crate::shard::Shard;

impl Shard {
    /// The housekeeping task: a round every `log.retention.check.interval.ms`.
    pub(crate) async fn keep_house_for_ever(self: Rc<Self>) {
        let interval =
            u64::try_from(self.config.log_retention_check_interval_ms).unwrap_or(300_000);
        loop {
            corelog_runtime::sleep(Duration::from_millis(interval.max(1))).await;
            self.readahead.borrow_mut().sweep();
            let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
            for partition in partitions {
                if partition.state.get() == State::Online {
                    self.keep(&partition);
                }
                corelog_runtime::yield_now().await;
            }
        }
    }

    /// Gives memory that nobody needs any more back to the system.
    pub(crate) async fn give_back_for_ever(self: Rc<Self>) {
        loop {
            corelog_runtime::sleep(GIVE_BACK_EVERY).await;
            corelog_runtime::give_back_unused();
        }
    }

    /// Retention and expiry of one partition.
    pub(crate) fn keep(self: &Rc<Self>, partition: &Rc<Partition>) {
        if partition.held.get() {
            // Its folder changes its place; the next round comes.
            return;
        }
        let now = Timestamp(corelog_runtime::wall_clock());
        let idle =
            partition.swept.replace(partition.high_watermark()) == partition.high_watermark();
        let mut log = partition.log.borrow_mut();
        log.expire_producers(now);
        match log.apply_retention(now) {
            Ok(None) => {}
            Ok(Some((segments, reason))) => {
                partition.deleted_at.set(corelog_runtime::now());
                self.metrics.segments_retired.add(segments as u64);
                partition.start_moved();
                tracing::info!(
                    "partition={} segments deleted={segments} reason={reason:?} log_start_offset={}",
                    partition.name,
                    log.start_offset()
                );
            }
            Err(error) => tracing::error!("partition={} retention: {error}", partition.name),
        }
        if idle && !log.has_unwritten() {
            log.release_idle();
            partition.close_direct();
        }
        drop(log);
        self.work(partition);
        self.unlink(partition);
        self.count_tail(partition);
    }

    /// Unlinks what was deleted long enough ago; what was deleted now waits for a later round.
    pub(crate) fn unlink(&self, partition: &Rc<Partition>) {
        let delay = self
            .image()
            .topic(&partition.name.topic)
            .map_or(0, |topic| self.topic_config(topic).file_delete_delay_ms);
        let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
        if partition.held.get() || partition.deleted_at.get() + delay > corelog_runtime::now() {
            return;
        }
        let Some(unlink) = partition.log.borrow_mut().take_unlink() else {
            return;
        };
        self.run_work(partition, unlink);
    }
}

/// A load that comes back sooner finds its memory as it left it.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);
