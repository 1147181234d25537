//! The logs of a shard: opening them at start, following the metadata, closing them at the end.
//!
//! Owns: which logs are open, the map from topic settings to logs.
//! Lives on: every shard; files are opened, created and closed on the companion.
//! Invariants:
//! 1. A log is open before the image that names it is swapped in, so whoever sees a partition in the
//!    image can use it.
//! 2. A deleted partition refuses before its folder is renamed.
//!
//! Not here: writing and syncing (`flush.rs`), what a log is (`corelog_storage`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use corelog_net::wire::Uuid;
use corelog_runtime::{blocking_all, blocking_brief, spawn};
use corelog_storage::checkpoint::PartitionMetadata;
use corelog_storage::disk::{DiskError, LayoutError, LogDir};
use corelog_storage::disks;
use corelog_storage::log::{Log, LogSettings, NewPartition, Open, OpenError, Progress};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use crate::config::TopicConfig;
use crate::config::layers::Layers;
use crate::group::OFFSETS_TOPIC;
use crate::metadata::image::ConfigResource;
use crate::metadata::image::is_reserved;
use crate::metadata::{Delta, Image, ResourceType, TopicImage};
use crate::partition::{Partition, State, owner};
use crate::shard::control::{METADATA_TOPIC_ID, Question};
use crate::shard::disks::Condition;
use crate::shard::{LogOffsets, LogSize, Shard};
use crate::txn::TRANSACTION_TOPIC;

/// What the log directories said at start.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// For each log directory.
    pub(crate) directories: Vec<DirectoryState>,
    /// Partitions that lie in two directories: a sentence for each.
    pub(crate) twice: BTreeMap<TopicPartition, String>,
    /// Moves that the last stop interrupted, with their directories.
    pub(crate) moves: Vec<(TopicPartition, usize)>,
    /// How far the opening of what they hold is.
    pub(crate) recovery: Recovery,
}

/// How far the start is with opening logs: counted by every thread that opens one, read for log lines.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    /// Logs that are open, or could not be opened.
    pub(crate) logs: AtomicU64,
    /// Bytes that were found to need a check, of the logs begun so far.
    pub(crate) bytes_begun: AtomicU64,
    /// Of these, bytes checked.
    pub(crate) bytes_checked: AtomicU64,
}

impl Recovery {
    fn note(&self, progress: Progress) {
        match progress {
            Progress::Begun(bytes) => self.bytes_begun.fetch_add(bytes, Ordering::Relaxed),
            Progress::Checked(bytes) => self.bytes_checked.fetch_add(bytes, Ordering::Relaxed),
        };
    }
}

impl Checkpoints {
    /// The partitions that lie in more than one directory.
    pub(crate) fn found_twice(&self) -> BTreeSet<TopicPartition> {
        let mut seen = BTreeSet::new();
        let all = self.directories.iter().flat_map(|state| &state.live);
        all.filter(|name| !seen.insert(*name)).cloned().collect()
    }

    /// Has the partitions that lie in more than one directory refused.
    pub(crate) fn note_twice(&mut self, directories: &[LogDir]) {
        let mut seen: BTreeMap<&TopicPartition, &LogDir> = BTreeMap::new();
        for (directory, state) in directories.iter().zip(&self.directories) {
            for name in &state.live {
                let Some(other) = seen.insert(name, directory) else {
                    continue;
                };
                let sentence = format!(
                    "it is in {} and in {}: which one is newer nobody can tell; stop the broker, move one of the two \
                     folders away and start again",
                    other.path(&name.to_string()).display(),
                    directory.path(&name.to_string()).display()
                );
                self.twice.insert(name.clone(), sentence);
            }
        }
    }
}

/// A partition of the shard whose log is not open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unserved {
    /// Where its folder lies, if that is known and can be reached.
    pub(crate) directory: Option<usize>,
}

/// What one log directory said.
#[derive(Debug, Default)]
pub(crate) struct DirectoryState {
    pub(crate) clean: bool,
    pub(crate) live: Vec<TopicPartition>,
    /// Names of folders of moves that were under way.
    pub(crate) future: Vec<String>,
    /// Names of folders that lost theirs to a deletion, or to a move.
    pub(crate) deleted: Vec<String>,
    pub(crate) recovery_points: BTreeMap<TopicPartition, Offset>,
    pub(crate) log_starts: BTreeMap<TopicPartition, Offset>,
    pub(crate) high_watermarks: BTreeMap<TopicPartition, Offset>,
    pub(crate) cleaned: BTreeMap<TopicPartition, Offset>,
}

/// What opening the logs of a shard came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opened {
    pub(crate) logs: usize,
    pub(crate) segments: usize,
    pub(crate) scanned_bytes: u64,
    /// Logs whose end was cut.
    pub(crate) cut: usize,
    /// Logs that could not be opened; their partitions are not served.
    pub(crate) failed: usize,
}

impl Opened {
    /// Counts another shard's in.
    pub(crate) fn add(&mut self, other: &Self) {
        self.logs += other.logs;
        self.segments += other.segments;
        self.scanned_bytes += other.scanned_bytes;
        self.cut += other.cut;
        self.failed += other.failed;
    }
}

/// A log to open or create.
struct Wanted {
    name: TopicPartition,
    topic_id: TopicId,
    leader_epoch: LeaderEpoch,
    directory: usize,
    /// Id of the directory by the metadata.
    assigned: Uuid,
    settings: Arc<LogSettings>,
    /// `None`: there is no folder yet.
    open: Option<Open>,
    /// From `cleaner-offset-checkpoint`.
    cleaned: Option<Offset>,
}

impl Shard {
    /// The settings of a topic by an image.
    pub(crate) fn resolve(&self, image: &Image, topic: &str) -> TopicConfig {
        let node = self.config.node_id.to_string();
        let layers = Layers {
            node: image.config(ResourceType::Broker, &node),
            cluster: image.config(ResourceType::Broker, ""),
            fixed: &self.config.fixed,
        };
        TopicConfig::resolve(image.config(ResourceType::Topic, topic), layers)
    }

    /// Opens every log that the image gives to this shard.
    pub(crate) async fn open_logs(self: Rc<Self>, checkpoints: Arc<Checkpoints>) -> Opened {
        let image = self.image();
        self.dynamic_settings(&image);
        let mut wanted = Vec::new();
        for topic in image.topics() {
            self.want(&image, topic, Some(&checkpoints), &mut wanted);
        }
        let opened = Rc::clone(&self)
            .open(wanted, Some(Arc::clone(&checkpoints)))
            .await;
        // ORDER: what the other shards have changed meanwhile is followed from here on.
        self.following.release(1);
        self.resume_moves(&checkpoints.moves);
        opened
    }

    /// Follows the metadata from one image to the next.
    pub(crate) async fn follow(self: Rc<Self>, image: Arc<Image>, delta: Arc<Delta>) {
        let _turn = self.following.acquire().await;
        let mut wanted = Vec::new();
        for topic in delta.created.iter().chain(&delta.changed) {
            self.want(&image, topic, None, &mut wanted);
        }
        if !wanted.is_empty() {
            Rc::clone(&self).open(wanted, None).await;
        }
        for topic in &delta.deleted {
            // The new image does not have its settings any more.
            self.topic_config(topic);
        }
        self.set_image(Arc::clone(&image));
        self.groups_follow(&image, &delta);
        for topic in &delta.changed {
            self.lead(topic);
        }
        if !delta.deleted.is_empty() {
            self.delete(&delta.deleted).await;
            let names: Vec<_> = delta
                .deleted
                .iter()
                .map(|topic| topic.name.to_string())
                .collect();
            self.topics_deleted(&names);
        }
        let is_of =
            |kind: ResourceType| move |resource: &&ConfigResource| resource.kind == kind.code();
        if delta
            .configs
            .iter()
            .any(|one| is_of(ResourceType::Broker)(&one))
        {
            self.settings_changed(&image);
        } else {
            for resource in delta.configs.iter().filter(is_of(ResourceType::Topic)) {
                self.topic_settings_changed(&image, &resource.name);
            }
        }
    }

    /// Adds the partitions of the topic that are this shard's and not open.
    fn want(
        &self,
        image: &Image,
        topic: &TopicImage,
        checkpoints: Option<&Checkpoints>,
        wanted: &mut Vec<Wanted>,
    ) {
        let topic_id = TopicId(topic.id.0);
        let expiration = self.live_config().producer_id_expiration_ms;
        let mut settings = None;
        let mut loads = None;
        for (number, partition) in topic.numbered() {
            let ours = owner(topic_id, number, self.shards) == self.index
                && partition.replicas.contains(&self.config.node_id);
            if !ours || self.partition(topic_id, number).is_some() {
                continue;
            }
            let settings = settings.get_or_insert_with(|| {
                Arc::new(self.resolve(image, &topic.name).log_settings(expiration))
            });
            let name = TopicPartition {
                topic: Arc::clone(&topic.name),
                partition: number,
            };
            let assigned = partition.directory(self.config.node_id).unwrap_or_default();
            match self.place(&name, assigned, checkpoints, wanted, &mut loads) {
                Ok((directory, open)) => wanted.push(Wanted {
                    topic_id,
                    leader_epoch: LeaderEpoch(partition.leader_epoch),
                    directory,
                    assigned,
                    settings: Arc::clone(settings),
                    cleaned: checkpoints
                        .and_then(|all| all.directories.get(directory)?.cleaned.get(&name))
                        .copied(),
                    open,
                    name,
                }),
                Err(sentence) => {
                    tracing::error!("partition={name} is not served: {sentence}");
                    let unserved = Unserved { directory: None };
                    self.unserved
                        .borrow_mut()
                        .insert((topic_id, number), unserved);
                }
            }
        }
    }

    /// The directory of a partition's log, and what is known of it where it is there already; or why it cannot be
    /// opened. A partition whose directory is not at hand is never begun anew elsewhere.
    fn place(
        &self,
        name: &TopicPartition,
        assigned: Uuid,
        checkpoints: Option<&Checkpoints>,
        wanted: &[Wanted],
        loads: &mut Option<Vec<usize>>,
    ) -> Result<(usize, Option<Open>), String> {
        let disks = self.allowances.disks();
        if let Some(all) = checkpoints {
            if let Some(sentence) = all.twice.get(name) {
                return Err(sentence.clone());
            }
            if let Some((at, open)) = found(all, name) {
                return Ok((at, Some(open)));
            }
        }
        match disks.find(TopicId(assigned.0)) {
            Some(at) if disks.is_offline(at) => {
                return Err(format!("its log directory {} is offline", disks.path(at)));
            }
            Some(at) => return Ok((at, None)),
            None => {}
        }
        if checkpoints.is_some() && disks.offline_count() > 0 {
            return Err("its folder is not found, and a log directory is offline".to_owned());
        }
        if !is_reserved(assigned) {
            tracing::error!(
                "partition={name} was in a directory (id {assigned}) that this node no longer has: it begins anew, empty"
            );
        }
        let loads = loads.get_or_insert_with(|| self.loads(wanted));
        let at = disks::least_loaded(loads, |at| disks.condition(at) == Condition::Usable)
            .or_else(|| disks::least_loaded(loads, |at| !disks.is_offline(at)))
            .ok_or_else(|| "all log directories are offline".to_owned())?;
        loads[at] += 1;
        Ok((at, None))
    }

    /// How many partitions of this shard lie in each log directory, those counted that will.
    fn loads(&self, wanted: &[Wanted]) -> Vec<usize> {
        let mut loads = vec![0_usize; self.directories.len()];
        for partition in self.partitions.borrow().values() {
            loads[partition.directory.get()] += 1;
        }
        for one in wanted {
            loads[one.directory] += 1;
        }
        loads
    }

    /// Opens or creates logs, many at once. `at_start` counts the progress of the broker's start.
    async fn open(
        self: Rc<Self>,
        wanted: Vec<Wanted>,
        at_start: Option<Arc<Checkpoints>>,
    ) -> Opened {
        let now = Timestamp(corelog_runtime::wall_clock());
        let job = |one: Wanted| {
            let (directories, at_start) = (Arc::clone(&self.directories), at_start.clone());
            move || {
                let recovery = at_start.as_ref().map(|all| &all.recovery);
                let result = open_one(&directories, &one, now, recovery);
                if let Some(recovery) = recovery {
                    recovery.logs.fetch_add(1, Ordering::Relaxed);
                }
                (result, one)
            }
        };
        let threads = if wanted.iter().all(|one| one.open.is_none()) {
            (CREATORS / self.shards).clamp(THREADS_MIN, CREATORS / 2)
        } else {
            self.threads()
        };
        let jobs = wanted.into_iter().map(job).collect();
        let results = blocking_all("open logs", threads, jobs).await;
        let results = self.name_created(results).await;
        let mut opened = Opened::default();
        let mut assigned = Vec::new();
        for (result, one) in results {
            let (mut log, recovered) = match result {
                Ok(done) => done,
                Err(fault) => {
                    opened.failed += 1;
                    tracing::error!("partition={} is not served: {}", one.name, fault.sentence);
                    let directory = Some(one.directory);
                    self.unserved
                        .borrow_mut()
                        .insert((one.topic_id, one.name.partition), Unserved { directory });
                    if fault.disk_failed {
                        self.directory_failed(one.directory, &fault.sentence);
                    }
                    continue;
                }
            };
            if let Some(id) = self.allowances.disks().id(one.directory)
                && id.0 != one.assigned.0
            {
                assigned.push((Uuid(one.topic_id.0), one.name.partition, Uuid(id.0)));
            }
            opened.logs += 1;
            if let Some(recovered) = recovered {
                opened.segments += recovered.segments;
                opened.scanned_bytes += recovered.scanned_bytes;
                for note in &recovered.notes {
                    tracing::warn!("partition={}: {note}", one.name);
                }
                if let Some(cut) = &recovered.cut {
                    opened.cut += 1;
                    tracing::warn!(
                        "partition={} {} was cut at position {} ({} bytes, end offset {}): {}",
                        one.name,
                        cut.path,
                        cut.position,
                        cut.bytes,
                        cut.end_offset,
                        cut.why
                    );
                }
            }
            // On a single node everything in the log is in every in-sync replica's log.
            log.set_high_watermark(log.end_offset());
            log.begin_epoch(one.leader_epoch);
            if let Some(cleaned) = one.cleaned {
                log.set_cleaned_to(cleaned);
            }
            let key = (one.topic_id, one.name.partition);
            let offsets = *one.name.topic == *OFFSETS_TOPIC;
            let partition = Rc::new(Partition::new(
                one.name,
                one.topic_id,
                one.directory,
                one.leader_epoch,
                log,
            ));
            self.partitions
                .borrow_mut()
                .insert(key, Rc::clone(&partition));
            if self
                .allowances
                .disks()
                .is_offline(partition.directory.get())
            {
                // It failed while the log was opened.
                self.take_offline(partition.directory.get());
                continue;
            }
            if offsets {
                self.lead_groups(&partition);
            }
            if *partition.name.topic == *TRANSACTION_TOPIC {
                self.lead_transactions(&partition);
            }
        }
        if !assigned.is_empty() {
            // Not awaited: the controller may be waiting for this shard.
            let shard = Rc::clone(&self);
            spawn("assign directories", async move {
                shard
                    .ask_controller(Question::AssignDirectories(assigned))
                    .await;
            })
            .detach();
        }
        opened
    }

    /// Makes the folders' names of logs that were created durable, once for each log directory.
    async fn name_created(&self, mut results: Vec<Tried>) -> Vec<Tried> {
        let created = |(result, one): &Tried| match result {
            Ok((_, None)) => Some(one.directory),
            _ => None,
        };
        let directories: BTreeSet<usize> = results.iter().filter_map(created).collect();
        for at in directories {
            let directory = self.directories[at].clone();
            let sync = move || directory.sync_dir("");
            let synced = blocking_brief("sync a log directory", sync).await;
            let Err(error) = synced else { continue };
            let fault = OpenFault::from(error);
            for one in &mut results {
                if created(one) == Some(at) {
                    one.0 = Err(fault.clone());
                }
            }
        }
        results
    }

    /// Threads that open or close logs at once: their waits for the disk overlap, and the file system makes one commit
    /// of syncs that arrive together.
    fn threads(&self) -> usize {
        let each = self.live_config().recovery_threads_per_data_dir;
        let recoveries = each.saturating_mul(self.directories.len());
        recoveries.clamp(THREADS_MIN, THREADS_MAX)
    }

    /// Takes over new leader epochs.
    fn lead(&self, topic: &TopicImage) {
        for (number, image) in topic.numbered() {
            let Some(partition) = self.partition(TopicId(topic.id.0), number) else {
                continue;
            };
            let epoch = LeaderEpoch(image.leader_epoch);
            if epoch > partition.leader_epoch.get() {
                partition.leader_epoch.set(epoch);
                partition.log.borrow_mut().begin_epoch(epoch);
            }
        }
    }

    /// Takes the logs of these topics out of service and renames their folders; the files go later.
    async fn delete(self: &Rc<Self>, topics: &[Arc<TopicImage>]) {
        let mut gone = Vec::new();
        for topic in topics {
            self.take_out(topic, &mut gone).await;
        }
        if gone.is_empty() {
            return;
        }
        // Brief: who deletes waits for it, and with him whoever else changes a topic.
        let renamed = blocking_brief("delete logs", move || rename_deleted(gone)).await;
        spawn("remove folders", async move {
            let begun = corelog_runtime::now();
            for (delay, folders) in renamed {
                // Readers may still hold files of the folder; Kafka's file.delete.delay.ms.
                corelog_runtime::sleep_until(begun + delay).await;
                remove(folders).await;
            }
        })
        .detach();
    }

    async fn take_out(self: &Rc<Self>, topic: &TopicImage, gone: &mut Vec<Gone>) {
        let topic_id = TopicId(topic.id.0);
        let delay = Duration::from_millis(
            u64::try_from(self.topic_config(topic).file_delete_delay_ms).unwrap_or(0),
        );
        self.forget_topic_config(topic_id);
        for (number, _) in topic.numbered() {
            let random = || {
                u128::from(corelog_runtime::random()) << 64 | u128::from(corelog_runtime::random())
            };
            let unserved = self.unserved.borrow_mut().remove(&(topic_id, number));
            if let Some(at) = unserved.and_then(|one| one.directory) {
                let name = TopicPartition {
                    topic: Arc::clone(&topic.name),
                    partition: number,
                };
                gone.push(Gone {
                    directory: at,
                    root: self.directories[at].clone(),
                    name,
                    id: random(),
                    delay,
                });
            }
            let Some(partition) = self.partitions.borrow_mut().remove(&(topic_id, number)) else {
                continue;
            };
            if *partition.name.topic == *TRANSACTION_TOPIC {
                self.resign_transactions(number);
            }
            if *partition.name.topic == *OFFSETS_TOPIC {
                self.resign_groups(number);
            }
            partition.deleted.set(true);
            partition.shut(State::Closed);
            while partition.held.get() {
                // Its folder changes its place; it is renamed where it arrives.
                partition.progress.notified().await;
            }
            {
                let mut log = partition.log.borrow_mut();
                log.trim_tail(0);
                log.fail("its topic was deleted");
            }
            self.count_tail(&partition);
            let directory = partition.directory.get();
            gone.push(Gone {
                directory,
                root: self.directories[directory].clone(),
                name: partition.name.clone(),
                id: random(),
                delay,
            });
        }
    }

    /// Settings of one topic changed: its logs go by the new ones. The others are not looked at: a client that creates
    /// its topics with settings would make each of them dearer than the one before.
    fn topic_settings_changed(&self, image: &Image, name: &str) {
        let Some(topic) = image.topic(name) else {
            return;
        };
        let topic_id = TopicId(topic.id.0);
        self.forget_topic_config(topic_id);
        let expiration = self.live_config().producer_id_expiration_ms;
        let settings = Arc::new(self.resolve(image, name).log_settings(expiration));
        for (number, _) in topic.numbered() {
            if let Some(partition) = self.partition(topic_id, number) {
                let mut log = partition.log.borrow_mut();
                log.set_settings(Arc::clone(&settings));
            }
        }
    }

    /// Defaults changed: every log goes by the new ones.
    fn settings_changed(&self, image: &Image) {
        self.topic_configs.borrow_mut().clear();
        self.dynamic_settings(image);
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        let expiration = self.live_config().producer_id_expiration_ms;
        let mut resolved: BTreeMap<Arc<str>, Arc<LogSettings>> = BTreeMap::new();
        for partition in partitions {
            // The metadata log is no topic: what topics default to would delete it.
            if partition.topic_id == METADATA_TOPIC_ID {
                continue;
            }
            let topic = &partition.name.topic;
            let settings = resolved
                .entry(Arc::clone(topic))
                .or_insert_with(|| Arc::new(self.resolve(image, topic).log_settings(expiration)));
            partition
                .log
                .borrow_mut()
                .set_settings(Arc::clone(settings));
        }
    }

    /// Takes over the broker settings that may change while it runs.
    fn dynamic_settings(&self, image: &Image) {
        let node = self.config.node_id.to_string();
        let (own, all) = (
            image.config(ResourceType::Broker, &node),
            image.config(ResourceType::Broker, ""),
        );
        let config = Arc::new(self.config.with_dynamic(own, all));
        *self.live.borrow_mut() = Arc::clone(&config);
        let disks = self.allowances.disks();
        disks.set_reserve(config.disk_reserve_bytes);
        let rate = [own, all]
            .into_iter()
            .flatten()
            .find_map(|values| values.get(MOVE_RATE)?.parse().ok());
        disks.set_move_rate(rate.unwrap_or(u64::MAX));
        if let Some(server) = self.server.get() {
            server.set_limits(&crate::boot::connection_limits(&config, self.shards));
        }
    }

    fn forget_topic_config(&self, topic_id: TopicId) {
        self.topic_configs.borrow_mut().remove(&topic_id);
    }

    /// What the checkpoint files shall say of this shard's logs.
    pub(crate) fn offsets(&self) -> Vec<LogOffsets> {
        let offsets = |partition: &Rc<Partition>| {
            let log = partition.log.borrow();
            LogOffsets {
                name: partition.name.clone(),
                directory: partition.directory.get(),
                recovery_point: log.recovery_point(),
                log_start_offset: log.start_offset(),
                high_watermark: log.high_watermark(),
                cleaned: log.cleaned_to(),
                left: partition.left.take(),
            }
        };
        self.partitions.borrow().values().map(offsets).collect()
    }

    /// How large this shard's logs are.
    pub(crate) fn sizes(&self) -> Vec<LogSize> {
        let size = |partition: &Rc<Partition>| LogSize {
            name: partition.name.clone(),
            directory: partition.directory.get(),
            size: partition.log.borrow().size(),
            future_lag: None,
        };
        let mut sizes: Vec<_> = self.partitions.borrow().values().map(size).collect();
        sizes.extend(self.future_sizes());
        sizes
    }

    /// Writes out and closes every log; what the checkpoints shall say of those that closed well.
    pub(crate) async fn close_logs(self: Rc<Self>) -> Vec<LogOffsets> {
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        self.stop_cleaning().await;
        // ORDER: coordinators end first, or their timers append to logs that are closed.
        for partition in &partitions {
            if *partition.name.topic == *OFFSETS_TOPIC {
                self.resign_groups(partition.name.partition);
            }
            if *partition.name.topic == *TRANSACTION_TOPIC {
                self.resign_transactions(partition.name.partition);
            }
        }
        // All are asked before one is waited for: their syncs go together.
        for partition in &partitions {
            if partition.state.get() == State::Online && partition.is_busy() {
                self.queue_sync(partition);
            }
        }
        let (mut closed, mut jobs) = (Vec::new(), Vec::new());
        for partition in partitions {
            self.settle(&partition).await;
            let plan = partition.log.borrow_mut().close_plan();
            partition.shut(State::Closed);
            let Some(plan) = plan else {
                tracing::error!("partition={} does not close cleanly", partition.name);
                continue;
            };
            let offsets = LogOffsets {
                name: partition.name.clone(),
                directory: partition.directory.get(),
                recovery_point: plan.recovery_point,
                log_start_offset: plan.log_start_offset,
                high_watermark: plan.high_watermark,
                cleaned: partition.log.borrow().cleaned_to(),
                left: None,
            };
            if plan.is_done() {
                closed.push(offsets);
            } else {
                jobs.push(move || (plan.run(), offsets));
            }
        }
        for (result, offsets) in blocking_all("close logs", self.threads(), jobs).await {
            match result {
                Ok(()) => closed.push(offsets),
                Err(error) => {
                    tracing::error!("partition={} does not close cleanly: {error}", offsets.name);
                }
            }
        }
        closed
    }

    /// Waits until everything appended is written and no plan of the log is out.
    async fn settle(self: &Rc<Self>, partition: &Rc<Partition>) {
        // What a full disk does not take stays unacknowledged: a stop does not wait for room.
        while partition.state.get() == State::Online
            && partition.is_busy()
            && !partition.starved.get()
        {
            // One round at a time: each tells of its end, and two that are asked for in turn would
            // keep the partition busy for ever.
            if !partition.sync_wanted.get() && !partition.sync_queued.get() {
                self.queue_sync(partition);
            }
            partition.progress.notified().await;
        }
    }
}

/// A partition whose topic is deleted.
struct Gone {
    directory: usize,
    root: LogDir,
    name: TopicPartition,
    id: u128,
    /// How long its files stay.
    delay: Duration,
}

/// Removes folders. Some at a time, so that nothing waits behind all of them; and some beside each other, because where
/// the file system discards what it frees (`discard` on ext4 without a journal), each file waits for the disk.
async fn remove(folders: Vec<(LogDir, String)>) {
    let mut folders = folders.into_iter();
    let pieces = std::iter::from_fn(move || {
        let piece: Vec<_> = folders.by_ref().take(FOLDERS_PER_PIECE).collect();
        (!piece.is_empty()).then_some(piece)
    });
    let pieces = Rc::new(RefCell::new(pieces));
    let removers: Vec<_> = (0..REMOVERS)
        .map(|_| {
            let pieces = Rc::clone(&pieces);
            spawn("remove folders", async move {
                loop {
                    let Some(piece) = pieces.borrow_mut().next() else {
                        return;
                    };
                    blocking_brief("remove folders", move || remove_piece(piece)).await;
                }
            })
        })
        .collect();
    for remover in removers {
        // One that panicked has been told; the others have done its work but for a piece.
        let _ = remover.await;
    }
}

fn remove_piece(folders: Vec<(LogDir, String)>) {
    for (directory, folder) in folders {
        if let Err(error) = directory.remove_dir(&folder) {
            tracing::warn!("folder={folder} cannot be removed: {error}");
        }
    }
}

/// Renames the folders; their new names by how long their files stay. One sync for each directory makes all of it durable.
fn rename_deleted(gone: Vec<Gone>) -> BTreeMap<Duration, Vec<(LogDir, String)>> {
    let mut renamed: BTreeMap<Duration, Vec<(LogDir, String)>> = BTreeMap::new();
    let mut touched = BTreeMap::new();
    for one in gone {
        match one.root.mark_deleted(&one.name, one.id) {
            Ok(folder) => {
                touched
                    .entry(one.directory)
                    .or_insert_with(|| one.root.clone());
                let with = renamed.entry(one.delay).or_default();
                with.push((one.root, folder));
            }
            Err(error) => tracing::error!("partition={} cannot be deleted: {error}", one.name),
        }
    }
    for root in touched.into_values() {
        if let Err(error) = root.sync_dir("") {
            tracing::error!("deleted partitions may be back after a crash: {error}");
        }
    }
    renamed
}

/// Where the checkpoints have the partition, and what they say of it.
fn found(checkpoints: &Checkpoints, name: &TopicPartition) -> Option<(usize, Open)> {
    let (at, directory) = checkpoints
        .directories
        .iter()
        .enumerate()
        .find(|(_, directory)| directory.live.binary_search(name).is_ok())?;
    // A log that moved just before a crash is still in the files of the directory it left.
    let offset = |offsets: fn(&DirectoryState) -> &BTreeMap<TopicPartition, Offset>| {
        let own = offsets(directory).get(name);
        let mut any = checkpoints.directories.iter().map(offsets);
        let found = own.or_else(|| any.find_map(|offsets| offsets.get(name)));
        found.copied().unwrap_or(Offset::ZERO)
    };
    let open = Open {
        recovery_point: offset(|state| &state.recovery_points),
        log_start_offset: offset(|state| &state.log_starts),
        high_watermark: offset(|state| &state.high_watermarks),
        clean_shutdown: directory.clean,
        now: Timestamp(corelog_runtime::wall_clock()),
    };
    Some((at, open))
}

/// A log, or why there is none, beside what was asked for.
type Tried = (Result<OpenedLog, OpenFault>, Wanted);
type OpenedLog = (Log, Option<corelog_storage::log::Recovered>);

/// Why a log is not open.
#[derive(Clone, Debug)]
struct OpenFault {
    sentence: String,
    /// The disk is at fault, not this partition.
    disk_failed: bool,
}

impl From<DiskError> for OpenFault {
    fn from(error: DiskError) -> Self {
        Self {
            disk_failed: !error.is_full() && !error.is_not_found(),
            sentence: error.to_string(),
        }
    }
}

impl From<LayoutError> for OpenFault {
    fn from(error: LayoutError) -> Self {
        match error {
            LayoutError::Disk(error) => error.into(),
            LayoutError::Malformed { .. } => Self {
                sentence: format!(
                    "{error}; restore the file, or remove it to take the folder by its name"
                ),
                disk_failed: false,
            },
        }
    }
}

impl From<OpenError> for OpenFault {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Disk(error) => error.into(),
            OpenError::Damaged { .. } | OpenError::OldFormat { .. } => Self {
                sentence: error.to_string(),
                disk_failed: false,
            },
        }
    }
}

fn open_one(
    directories: &[LogDir],
    wanted: &Wanted,
    now: Timestamp,
    recovery: Option<&Recovery>,
) -> Result<OpenedLog, OpenFault> {
    let directory = &directories[wanted.directory];
    let metadata = PartitionMetadata {
        topic_id: wanted.topic_id,
    };
    let create = || {
        let settings = Arc::clone(&wanted.settings);
        let new = NewPartition {
            metadata: Some(metadata),
            leader_epoch: wanted.leader_epoch,
        };
        let log = Log::create_unnamed(directory, &wanted.name, settings, &new, now)?;
        Ok((log, None))
    };
    let Some(open) = &wanted.open else {
        return create();
    };
    match directory.read_partition_metadata(&wanted.name)? {
        Some(found) if found.topic_id != wanted.topic_id => {
            // The topic was deleted while the directory was offline, and another one has its name now.
            let folder =
                directory.mark_stray(&wanted.name, u128::from_be_bytes(found.topic_id.0))?;
            tracing::warn!(
                "partition={} the folder in {} was of a deleted topic with id {}: it is now {folder}, and the partition \
                 begins anew",
                wanted.name,
                directory.root().display(),
                found.topic_id
            );
            return create();
        }
        Some(_) => {}
        None => {
            tracing::warn!(
                "partition={} has no partition.metadata in {}: the folder is taken by its name",
                wanted.name,
                directory.root().display()
            );
            directory.write_partition_metadata(&wanted.name, &metadata)?;
        }
    }
    let settings = Arc::clone(&wanted.settings);
    let mut progress = |progress| {
        if let Some(recovery) = recovery {
            recovery.note(progress);
        }
    };
    let (log, recovered) = Log::open(directory, &wanted.name, settings, open, &mut progress)?;
    Ok((log, Some(recovered)))
}

/// A setting that only exists at run time (KIP-113).
const MOVE_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// Enough for the syncs of a few hundred logs to share a few commits.
const THREADS_MIN: usize = 8;
const THREADS_MAX: usize = 64;
/// Threads of all shards that create logs. Each log waits for three commits of the file system, and a commit serves
/// everybody who waits for it: 4,000 logs on ext4 took 7.7 s with 16 threads, 4.7 s with 64, 3.1 s with 128.
const CREATORS: usize = 256;
/// Of the four threads for brief jobs that a shard has, so that these still find one.
const REMOVERS: usize = 2;
const FOLDERS_PER_PIECE: usize = 16;
