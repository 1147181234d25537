//! What a shard says when it is scraped.
//!
//! Owns: [`Sample`], what of it is bounded and how ([`Selection`]).
//! Lives on: made on every shard, read on shard 0.
//! Invariants:
//! 1. No more partitions and topics than the [`Selection`] names stand one by one; all others are in the sums.
//! 2. Making one yields after every [`STRETCH`] partitions, groups' partitions or coordinators.
//!
//! Not here: printing (`page.rs`).

use std::rc::Rc;
use std::sync::Arc;

use corelog_net::server::CountersSnapshot;
use corelog_net::wire::ApiKey;
use corelog_runtime::{Map, Stats};
use corelog_storage::types::TopicId;

use super::histogram::Distribution;
use super::{Reads, Traffic};
use crate::group::Census;
use crate::metadata::Image;
use crate::partition::{Partition, State};
use crate::shard::Shard;
use crate::shard::control::METADATA_TOPIC_ID;
use crate::telemetry::Series;

/// What stands one by one: topics in the order of their names, as many as the settings allow. `None`: all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// The first topic that has no series of its own.
    topics_end: Option<Arc<str>>,
    /// The first topic whose partitions have none.
    partitions_end: Option<Arc<str>>,
    /// Committed offsets that a shard may name.
    pub(crate) offsets_max: usize,
    pub(crate) topics_left_out: usize,
    pub(crate) partitions_left_out: usize,
}

impl Selection {
    /// The first topics of the image with all their partitions, within the limits.
    pub(crate) fn new(image: &Image, topics_max: usize, partitions_max: usize) -> Self {
        let (topics, partitions) = (image.topic_count(), image.partition_count());
        if topics <= topics_max && partitions <= partitions_max {
            return Self {
                offsets_max: partitions_max,
                ..Self::default()
            };
        }
        let topics = image.topics_sorted();
        let topics = topics.iter().map(|one| (&one.name, one.partitions.len()));
        Self::of(topics, topics_max, partitions_max)
    }

    /// The same of topics in the order of their names, with their partitions.
    pub(super) fn of<'a>(
        topics: impl Iterator<Item = (&'a Arc<str>, usize)>,
        topics_max: usize,
        partitions_max: usize,
    ) -> Self {
        let mut selection = Self {
            offsets_max: partitions_max,
            ..Self::default()
        };
        let mut counted = 0;
        for (at, (name, partitions)) in topics.enumerate() {
            if at >= topics_max {
                selection.topics_end.get_or_insert_with(|| Arc::clone(name));
                selection.topics_left_out += 1;
            }
            if selection.partitions_end.is_some() || counted + partitions > partitions_max {
                selection
                    .partitions_end
                    .get_or_insert_with(|| Arc::clone(name));
                selection.partitions_left_out += partitions;
            }
            counted += partitions;
        }
        selection
    }

    pub(super) fn has_topic(&self, name: &str) -> bool {
        self.topics_end.as_deref().is_none_or(|end| name < end)
    }

    pub(super) fn has_partitions(&self, name: &str) -> bool {
        self.partitions_end.as_deref().is_none_or(|end| name < end)
    }
}

/// [`Traffic`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrafficSample {
    pub(crate) bytes_in: u64,
    pub(crate) records_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) produces: u64,
    pub(crate) fetches: u64,
    pub(crate) failed_produces: u64,
    pub(crate) failed_fetches: u64,
}

impl TrafficSample {
    fn of(traffic: &Traffic) -> Self {
        Self {
            bytes_in: traffic.bytes_in.get(),
            records_in: traffic.records_in.get(),
            bytes_out: traffic.bytes_out.get(),
            produces: traffic.produces.get(),
            fetches: traffic.fetches.get(),
            failed_produces: traffic.failed_produces.get(),
            failed_fetches: traffic.failed_fetches.get(),
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.bytes_in += other.bytes_in;
        self.records_in += other.records_in;
        self.bytes_out += other.bytes_out;
        self.produces += other.produces;
        self.fetches += other.fetches;
        self.failed_produces += other.failed_produces;
        self.failed_fetches += other.failed_fetches;
    }
}

/// One API of one shard.
#[derive(Clone, Debug)]
pub(crate) struct ApiSample {
    pub(crate) key: ApiKey,
    /// Requests by version.
    pub(crate) versions: Vec<u64>,
    pub(crate) times: Distribution,
}

/// One partition that stands by itself.
#[derive(Clone, Debug)]
pub(crate) struct PartitionSample {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) size: u64,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) segments: usize,
}

/// What lies in one log directory, of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct DirectorySample {
    pub(crate) partitions: usize,
    pub(crate) uncleanable: usize,
    pub(crate) syncs: Distribution,
}

/// What one shard says.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) shard: usize,
    pub(crate) stats: Stats,
    /// Nanoseconds that the loop did not sleep.
    pub(crate) busy_ns: u64,
    /// Of the last one to two minutes, 0 to 1.
    pub(crate) load: f64,
    pub(crate) mesh_queue: usize,
    pub(crate) mesh_calls: usize,
    pub(crate) mesh_messages: u64,
    pub(crate) apis: Vec<ApiSample>,
    /// Of all partitions there were.
    pub(crate) traffic: TrafficSample,
    /// Of the partitions there are.
    pub(crate) topics: Vec<(Arc<str>, TrafficSample)>,
    pub(crate) partitions: Vec<PartitionSample>,
    /// Partitions whose logs are open, the metadata log not counted.
    pub(crate) partitions_open: usize,
    pub(crate) partitions_offline: usize,
    pub(crate) producer_ids: usize,
    pub(crate) directories: Vec<DirectorySample>,
    /// Too large (bytes), magic, checksum, offsets.
    pub(crate) refusals: [u64; 4],
    /// Tail, warm, ahead, cold.
    pub(crate) reads: [u64; 4],
    pub(crate) writes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) direct_bytes: u64,
    pub(crate) tail_bytes: usize,
    /// Clean, gave up, failed; bytes before and after.
    pub(crate) cleanings: [u64; 5],
    pub(crate) cleaning: bool,
    /// Arrived, cancelled, failed.
    pub(crate) moves_ended: [u64; 3],
    pub(crate) moves: usize,
    pub(crate) move_bytes: u64,
    pub(crate) move_lag: u64,
    pub(crate) segments_retired: u64,
    pub(crate) sessions: usize,
    pub(crate) session_partitions: usize,
    pub(crate) groups: Census,
    pub(crate) clients: ClientSample,
    /// Transactional ids by state.
    pub(crate) transactions: Vec<(&'static str, u64)>,
    /// `None` before listeners are open.
    pub(crate) network: Option<NetworkSample>,
}

/// What clients pushed to one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSample {
    pub(crate) instances: usize,
    /// Taken in, refused; numbers that found no room.
    pub(crate) pushes: [u64; 3],
    pub(crate) series: Vec<Series>,
}

/// The connections of one shard.
#[derive(Clone, Debug)]
pub(crate) struct NetworkSample {
    pub(crate) counters: CountersSnapshot,
    /// By listener.
    pub(crate) connections: Vec<usize>,
    pub(crate) request_bytes: usize,
}

impl Shard {
    /// What this shard says when it is scraped.
    pub(crate) async fn sample(self: Rc<Self>, selection: Arc<Selection>) -> Sample {
        let stats = corelog_runtime::stats();
        let (busy_ns, load) = self.metrics.load(&stats);
        let mut sample = self.counted(stats, busy_ns, load);
        self.sample_partitions(&selection, &mut sample).await;
        self.sample_groups(&mut sample.groups, selection.offsets_max)
            .await;
        sample.transactions = self.transaction_states();
        sample
    }

    /// What need not be gathered.
    fn counted(&self, stats: Stats, busy_ns: u64, load: f64) -> Sample {
        let metrics = &self.metrics;
        let now = corelog_runtime::now();
        let apis = metrics.apis.iter().zip(ApiKey::ALL);
        let api = |(api, key): (&std::cell::OnceCell<Rc<super::Api>>, &ApiKey)| {
            let api = api.get()?;
            Some(ApiSample {
                key: *key,
                versions: api.versions.iter().map(std::cell::Cell::get).collect(),
                times: api.times.distribution(now),
            })
        };
        let directory = |syncs: &std::cell::OnceCell<super::Histogram>| DirectorySample {
            syncs: syncs
                .get()
                .map(|syncs| syncs.distribution(now))
                .unwrap_or_default(),
            ..DirectorySample::default()
        };
        let Reads {
            tail,
            warm,
            ahead,
            cold,
        } = &metrics.reads;
        let (refusals, cleanings) = (&metrics.refusals, &metrics.cleanings);
        let future = self.future_sizes();
        let lag = |one: &crate::shard::LogSize| one.future_lag.unwrap_or(0).unsigned_abs();
        let (sessions, session_partitions) = self.sessions.borrow().counts();
        Sample {
            shard: self.index,
            stats,
            busy_ns,
            load,
            mesh_queue: self.mesh.queued(),
            mesh_calls: self.mesh.calls(),
            mesh_messages: self.mesh.sent(),
            apis: apis.filter_map(api).collect(),
            traffic: TrafficSample::of(&metrics.traffic),
            topics: Vec::new(),
            partitions: Vec::new(),
            partitions_open: 0,
            partitions_offline: self.unserved.borrow().len(),
            producer_ids: 0,
            directories: metrics.syncs.iter().map(directory).collect(),
            refusals: [
                refusals.too_large_bytes.get(),
                refusals.magic.get(),
                refusals.crc.get(),
                refusals.offsets.get(),
            ],
            reads: [tail.get(), warm.get(), ahead.get(), cold.get()],
            writes: metrics.writes.get(),
            written_bytes: metrics.written_bytes.get(),
            direct_bytes: metrics.direct_bytes.get(),
            tail_bytes: self.tail_bytes.get(),
            cleanings: [
                cleanings.clean.get(),
                cleanings.gave_up.get(),
                cleanings.failed.get(),
                cleanings.bytes_before.get(),
                cleanings.bytes_after.get(),
            ],
            cleaning: self.is_cleaning(),
            moves_ended: [
                metrics.moves.arrived.get(),
                metrics.moves.cancelled.get(),
                metrics.moves.failed.get(),
            ],
            moves: future.len(),
            move_bytes: future.iter().map(|one| one.size).sum(),
            move_lag: future.iter().map(lag).sum(),
            segments_retired: metrics.segments_retired.get(),
            sessions,
            session_partitions,
            groups: Census::default(),
            clients: ClientSample {
                series: self.telemetry.series(now),
                instances: self.telemetry.instance_count(),
                pushes: [
                    self.telemetry.pushes.get(),
                    self.telemetry.refused.get(),
                    self.telemetry.dropped.get(),
                ],
            },
            transactions: Vec::new(),
            network: self.server.get().map(|server| NetworkSample {
                counters: server.counters(),
                connections: self
                    .config
                    .listeners
                    .iter()
                    .map(|listener| server.connection_count_of(&listener.endpoint.name))
                    .collect(),
                request_bytes: server.request_bytes(),
            }),
        }
    }

    async fn sample_partitions(&self, selection: &Selection, sample: &mut Sample) {
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        let mut topics: Map<TopicId, (Arc<str>, TrafficSample)> = Map::default();
        for (number, partition) in partitions.iter().enumerate() {
            if number % STRETCH == STRETCH - 1 {
                corelog_runtime::yield_now().await;
            }
            if partition.topic_id == METADATA_TOPIC_ID {
                continue;
            }
            match partition.state.get() {
                State::Online => sample.partitions_open += 1,
                State::Offline => sample.partitions_offline += 1,
                State::Closed => continue,
            }
            let directory = &mut sample.directories[partition.directory.get()];
            directory.partitions += 1;
            directory.uncleanable += usize::from(partition.uncleanable.get());
            let name = &partition.name.topic;
            if selection.has_topic(name) {
                topics
                    .entry(partition.topic_id)
                    .or_insert_with(|| (Arc::clone(name), TrafficSample::default()))
                    .1
                    .add(&TrafficSample::of(&partition.traffic));
            }
            sample.producer_ids += partition.log.borrow().producers().len();
            if selection.has_partitions(name) {
                sample.partitions.push(one(partition));
            }
        }
        sample.topics = topics.into_values().collect();
    }
}

fn one(partition: &Partition) -> PartitionSample {
    let log = partition.log.borrow();
    PartitionSample {
        topic: Arc::clone(&partition.name.topic),
        partition: partition.name.partition,
        size: log.size(),
        start: log.start_offset().0,
        end: log.end_offset().0,
        high_watermark: log.high_watermark().0,
        last_stable: log.last_stable_offset().min(log.high_watermark()).0,
        segments: log.segment_count(),
    }
}

/// Partitions between two yields: some microseconds of work.
const STRETCH: usize = 128;
