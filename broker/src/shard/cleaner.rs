//! The cleaner: one compacted log of the shard after the other, the dirtiest first.
//!
//! Owns: which log is next, the pace, what becomes of a cleaning's results and failures.
//! Lives on: every shard; reading and writing is done slice by slice on the companion.
//! Invariants:
//! 1. At most one cleaning runs on a shard, and of it at most one slice is with the companion: what else needs the
//!    companion waits for one slice only.
//! 2. Before a folder is renamed or a log is closed no slice of it runs any more and none begins: deletion runs on the same
//!    companion behind it, a stop waits for [`Shard::stop_cleaning`].
//! 3. A log whose data cannot be read as it should is left alone until the broker restarts.
//!
//! Not here: what stays and what goes (`corelog_storage::compaction`), retention (`housekeeping.rs`).

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_runtime::{File, Notify, spawn};
use corelog_storage::compaction::{
    Cleanable, Cleaned, Cleaning, CleaningError, CleaningOptions, CompactionRules, Step,
};
use corelog_storage::log::Replaced;
use corelog_storage::types::Timestamp;

use crate::config::layers::Layers;
use crate::config::{CleanerConfig, TopicConfig};
use crate::metadata::ResourceType;
use crate::partition::{Partition, State};
use crate::shard::Shard;

/// The state of a shard's cleaner.
pub(crate) struct Cleaner {
    stopping: Cell<bool>,
    running: Cell<bool>,
    /// A log is being cleaned.
    cleaning: Cell<bool>,
    /// `stopping` or `running` changed.
    changed: Notify,
}

impl Cleaner {
    pub(crate) fn new() -> Self {
        Self {
            stopping: Cell::new(false),
            running: Cell::new(false),
            cleaning: Cell::new(false),
            changed: Notify::new(),
        }
    }
}

/// A log that is to be cleaned.
struct Dirty {
    partition: Rc<Partition>,
    range: Cleanable,
    config: Arc<TopicConfig>,
}

/// How a cleaning ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Clean,
    /// It came to nothing; the next try is after the backoff.
    GaveUp,
}

impl Shard {
    /// The cleaner task.
    pub(crate) async fn clean_for_ever(self: Rc<Self>) {
        while !self.cleaner.stopping.get() {
            let settings = self.cleaner_settings();
            self.cleaner.running.set(true);
            let end = if settings.enable {
                self.clean_dirtiest(&settings).await
            } else {
                End::GaveUp
            };
            self.cleaner.running.set(false);
            self.cleaner.changed.notify_all();
            if end == End::GaveUp {
                self.rest(settings.backoff.max(Duration::from_millis(1)))
                    .await;
            }
        }
    }

    /// Has the cleaner stop for good and waits for the slice that runs.
    pub(crate) async fn stop_cleaning(&self) {
        self.cleaner.stopping.set(true);
        self.cleaner.changed.notify_all();
        while self.cleaner.running.get() {
            self.cleaner.changed.notified().await;
        }
    }

    /// Whether a log is being cleaned just now.
    pub(crate) fn is_cleaning(&self) -> bool {
        self.cleaner.cleaning.get()
    }

    /// The settings in force now.
    fn cleaner_settings(&self) -> CleanerConfig {
        let image = self.image();
        let node = self.config.node_id.to_string();
        let layers = Layers {
            node: image.config(ResourceType::Broker, &node),
            cluster: image.config(ResourceType::Broker, ""),
            fixed: &self.config.fixed,
        };
        CleanerConfig::resolve(layers, self.shards)
    }

    /// Sleeps, or until the cleaner is to stop.
    async fn rest(&self, time: Duration) {
        let until = corelog_runtime::now() + time;
        while !self.cleaner.stopping.get() {
            let changed = self.cleaner.changed.notified();
            if corelog_runtime::timeout_at(until, changed).await.is_none() {
                return;
            }
        }
    }

    async fn clean_dirtiest(self: &Rc<Self>, settings: &CleanerConfig) -> End {
        let Some(dirty) = self.dirtiest().await else {
            return End::GaveUp;
        };
        let partition = Rc::clone(&dirty.partition);
        partition.cleaning.set(true);
        self.cleaner.cleaning.set(true);
        let cleaned = self.clean(dirty, settings).await;
        self.cleaner.cleaning.set(false);
        partition.cleaning.set(false);
        // A move waits for it.
        partition.progress.notify_all();
        let counts = &self.metrics.cleanings;
        match cleaned {
            Ok(end) => {
                match end {
                    End::Clean => counts.clean.add(1),
                    End::GaveUp => counts.gave_up.add(1),
                }
                end
            }
            Err(error) => {
                counts.failed.add(1);
                self.cleaning_failed(&partition, &error);
                End::GaveUp
            }
        }
    }

    /// Of the logs that are dirty enough the one with the largest dirty share.
    async fn dirtiest(&self) -> Option<Dirty> {
        let image = self.image();
        let mut dirtiest: Option<Dirty> = None;
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for (number, partition) in partitions.into_iter().enumerate() {
            if number % PARTITIONS_LOOKED_AT == 0 {
                corelog_runtime::yield_now().await;
            }
            if self.cleaner.stopping.get() {
                return None;
            }
            // An idle log has one segment; nothing more is asked of it.
            let idle = partition.log.borrow().segment_count() < 2;
            let unfit = partition.uncleanable.get() || partition.moving.get();
            if idle || unfit || partition.state.get() != State::Online {
                continue;
            }
            let Some(topic) = image.topic(&partition.name.topic) else {
                continue;
            };
            let config = self.topic_config(topic);
            if !config.compact {
                continue;
            }
            let rules = config.compaction_rules();
            let now = Timestamp(corelog_runtime::wall_clock());
            let Some(range) = partition.log.borrow().cleanable(&rules, now) else {
                continue;
            };
            let ratio = range.dirty_ratio();
            if dirtiest
                .as_ref()
                .is_some_and(|other| other.range.dirty_ratio() >= ratio)
            {
                continue;
            }
            if ratio > rules.min_dirty_ratio
                || self.is_overdue(&partition, &range, &rules, now).await
            {
                dirtiest = Some(Dirty {
                    partition,
                    range,
                    config,
                });
            }
        }
        dirtiest
    }

    /// Whether a record has been dirty for longer than `max.compaction.lag.ms`.
    async fn is_overdue(
        &self,
        partition: &Partition,
        range: &Cleanable,
        rules: &CompactionRules,
        now: Timestamp,
    ) -> bool {
        if rules.max_lag_ms == i64::MAX {
            return false;
        }
        let job = partition.log.borrow().oldest_dirty(range);
        let oldest = corelog_runtime::blocking("oldest dirty", move || job.run()).await;
        match oldest {
            Ok(oldest) => {
                oldest.is_some_and(|oldest| oldest.0 < now.0.saturating_sub(rules.max_lag_ms))
            }
            Err(error) => {
                // Retention may have been quicker; a disk that fails is found by those who use it.
                tracing::debug!(
                    "partition={} age of the dirty part: {error}",
                    partition.name
                );
                false
            }
        }
    }

    async fn clean(
        self: &Rc<Self>,
        dirty: Dirty,
        settings: &CleanerConfig,
    ) -> Result<End, CleaningError> {
        let Dirty {
            partition,
            range,
            config,
        } = dirty;
        let begun = corelog_runtime::now();
        let options = CleaningOptions {
            dedupe_bytes: settings.dedupe_bytes,
            dedupe_load: settings.dedupe_load,
            buffer_bytes: settings.buffer_bytes,
            delete_retention_ms: config.delete_retention_ms,
            now: Timestamp(corelog_runtime::wall_clock()),
            seed: [corelog_runtime::random(), corelog_runtime::random()],
        };
        let budget = settings.buffer_bytes as u64;
        let mut cleaning = partition.log.borrow().clean(range, options);
        loop {
            let (back, slice) = corelog_runtime::blocking("clean", move || {
                let slice = cleaning.run(budget);
                (cleaning, slice)
            })
            .await;
            cleaning = back;
            let slice = match slice {
                Ok(slice) => slice,
                Err(error) => {
                    self.abandon(&partition, cleaning).await;
                    return Err(error);
                }
            };
            for (file, range) in slice.spent {
                File::from_fd(file.descriptor()).drop_cache(range).await;
            }
            match slice.step {
                Step::More => {}
                Step::Replace(cleaned) => {
                    if !self.take_over(&partition, *cleaned).await {
                        tracing::info!(
                            "partition={} was changed while it was cleaned; it will be cleaned anew",
                            partition.name
                        );
                        return Ok(End::GaveUp);
                    }
                }
                Step::Done => break,
            }
            let stopping = self.cleaner.stopping.get() || partition.moving.get();
            if stopping || partition.state.get() != State::Online {
                self.abandon(&partition, cleaning).await;
                return Ok(End::GaveUp);
            }
            self.pay(slice.bytes).await;
        }
        partition.log.borrow_mut().set_cleaned_to(cleaning.end());
        let stats = cleaning.stats();
        self.metrics.cleanings.bytes_before.add(stats.bytes_before);
        self.metrics.cleanings.bytes_after.add(stats.bytes_after);
        tracing::info!(
            "partition={} cleaned from={} to={} keys={} records={}->{} bytes={}->{} ms={}",
            partition.name,
            range.from,
            cleaning.end(),
            stats.keys,
            stats.records_read,
            stats.records_kept,
            stats.bytes_before,
            stats.bytes_after,
            corelog_runtime::now().duration_since(begun).as_millis()
        );
        self.unlink_later(&partition, &config);
        Ok(End::Clean)
    }

    /// Gives a cleaned segment to the log and waits until its files have their names. `false`: the log has changed, or
    /// ended.
    async fn take_over(&self, partition: &Rc<Partition>, cleaned: Cleaned) -> bool {
        let replaced = partition.log.borrow_mut().replace(cleaned);
        self.work(partition);
        if replaced == Replaced::Outdated {
            return false;
        }
        self.swapped(partition).await;
        self.count_tail(partition);
        partition.deleted_at.set(corelog_runtime::now());
        partition.state.get() == State::Online
    }

    /// Waits until no cleaned segment is being taken over and the folder is not changing its directory.
    pub(crate) async fn swapped(&self, partition: &Rc<Partition>) {
        while partition.state.get() == State::Online && partition.held.get() {
            partition.progress.notified().await;
        }
        let mut tried = false;
        while partition.state.get() == State::Online && partition.log.borrow().is_swapping() {
            if partition.working.get() {
                partition.progress.notified().await;
            } else if std::mem::replace(&mut tried, true) {
                // The disk is full, even for names: it is tried again.
                corelog_runtime::sleep(SWAP_RETRY).await;
                tried = false;
            } else {
                self.work(partition);
            }
        }
    }

    /// Removes what a cleaning that goes no further has written. A deleted topic's folder goes as a whole.
    async fn abandon(&self, partition: &Partition, cleaning: Cleaning) {
        if partition.state.get() != State::Online {
            return;
        }
        let removed = corelog_runtime::blocking("abandon", move || cleaning.abandon()).await;
        if let Err(error) = removed {
            tracing::warn!(
                "partition={} left over from cleaning: {error}",
                partition.name
            );
        }
    }

    /// Keeps to `log.cleaner.io.max.bytes.per.second`, which may change meanwhile.
    #[expect(
        clippy::cast_precision_loss,
        reason = "bytes of a slice, a few megabytes"
    )]
    async fn pay(&self, bytes: u64) {
        let mut owed = bytes as f64;
        while owed > 0.0 && !self.cleaner.stopping.get() {
            let rate = self.cleaner_settings().bytes_per_second.max(1.0);
            let wait = (owed / rate).min(THROTTLE_STEP.as_secs_f64());
            if wait < THROTTLE_LEAST.as_secs_f64() {
                return;
            }
            self.rest(Duration::from_secs_f64(wait)).await;
            owed -= wait * rate;
        }
    }

    /// Unlinks what was replaced once readers that still hold it are done.
    fn unlink_later(&self, partition: &Rc<Partition>, config: &TopicConfig) {
        let delay = Duration::from_millis(u64::try_from(config.file_delete_delay_ms).unwrap_or(0));
        let (shard, partition) = (self.itself(), Rc::clone(partition));
        spawn("unlink cleaned", async move {
            corelog_runtime::sleep(delay).await;
            if partition.state.get() == State::Online {
                // If the log is busy just then, housekeeping comes by.
                shard.unlink(&partition);
            }
        })
        .detach();
    }

    #[cold]
    fn cleaning_failed(&self, partition: &Rc<Partition>, error: &CleaningError) {
        if partition.state.get() != State::Online {
            return;
        }
        if error.is_full() || error.is_not_found() {
            tracing::warn!(
                "partition={} was not cleaned: {error}; the next try follows",
                partition.name
            );
            return;
        }
        match error {
            CleaningError::Corrupt { .. } => {
                partition.uncleanable.set(true);
                tracing::error!("partition={} cannot be compacted: {error}", partition.name);
            }
            CleaningError::Disk(error) => {
                self.disk_failed(partition, "clean", error);
            }
        }
    }
}

/// Partitions looked at before others get their turn.
const PARTITIONS_LOOKED_AT: usize = 64;
/// A full disk is asked this often whether it takes a name.
const SWAP_RETRY: Duration = Duration::from_millis(100);
/// A throttled cleaner looks at its settings this often.
const THROTTLE_STEP: Duration = Duration::from_millis(500);
/// Waits below this are not worth a timer.
const THROTTLE_LEAST: Duration = Duration::from_micros(50);
