//! The page that a scrape gets: the samples of all shards, and what shard 0 knows of the whole, in the order of the table.
//!
//! Owns: which number stands under which name.
//! Lives on: shard 0.
//! Invariants:
//! 1. Every name of the table is begun, whether it has samples or not: who looks for a name finds its meaning.
//! 2. Printing yields after every [`STRETCH`] samples.
//!
//! Not here: the numbers (`sample.rs`), the format (`text.rs`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_net::connection::CloseReason;
use corelog_net::server::CountersSnapshot;
use corelog_net::wire::ApiKey;
use corelog_runtime::Map;
use corelog_runtime::limits::ProcessUsage;

use super::histogram::Distribution;
use super::names::{self, Family};
use super::real;
use super::sample::{NetworkSample, PartitionSample, Sample, Selection, TrafficSample};
use super::text::Text;
use crate::admin::{Phase, Progress};
use crate::group::Census;
use crate::metadata::Image;
use crate::metadata::image::NO_LEADER;
use crate::shard::Shard;
use crate::shard::disks::Condition;

/// A family, and where its number stands.
type Row<T, N> = (Family, fn(&T) -> N);

/// Everything that a page tells.
pub(crate) struct Gathered {
    /// In the order of the shards.
    pub(crate) samples: Vec<Sample>,
    pub(crate) selection: Arc<Selection>,
    pub(crate) usage: ProcessUsage,
    /// How long the shards took, nanoseconds.
    pub(crate) took_ns: u64,
}

/// Partitions counted by what the metadata says of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    led: usize,
    under_replicated: usize,
    under_min_isr: usize,
    at_min_isr: usize,
    reassigning: usize,
    leaderless: usize,
    not_preferred: usize,
}

/// The page.
pub(crate) async fn print(shard: &Shard, gathered: &Gathered) -> String {
    let samples = &gathered.samples;
    let partitions: usize = samples.iter().map(|one| one.partitions.len()).sum();
    let mut text = Text::with_capacity(64 * 1024 + partitions * 4 * 96);
    let image = shard.image();
    traffic(&mut text, samples).await;
    requests(&mut text, shard, samples);
    let standing = standing(shard, &image).await;
    replicas(&mut text, shard, samples, standing);
    controller(&mut text, &image, standing);
    logs(&mut text, shard, samples).await;
    groups(&mut text, samples, &gathered.selection).await;
    directories(&mut text, shard, samples);
    background(&mut text, samples);
    start(&mut text, shard);
    shards(&mut text, samples);
    connections(&mut text, samples);
    clients(&mut text, samples).await;
    scrape(&mut text, shard, gathered);
    text.finish()
}

async fn traffic(text: &mut Text, samples: &[Sample]) {
    let mut all = TrafficSample::default();
    let mut topics: BTreeMap<&str, TrafficSample> = BTreeMap::new();
    for sample in samples {
        all.add(&sample.traffic);
        for (topic, traffic) in &sample.topics {
            topics.entry(topic).or_default().add(traffic);
        }
    }
    let families: [Row<TrafficSample, u64>; 7] = [
        (names::BYTES_IN, |one| one.bytes_in),
        (names::BYTES_OUT, |one| one.bytes_out),
        (names::MESSAGES_IN, |one| one.records_in),
        (names::PRODUCE_REQUESTS, |one| one.produces),
        (names::FETCH_REQUESTS, |one| one.fetches),
        (names::FAILED_PRODUCE_REQUESTS, |one| one.failed_produces),
        (names::FAILED_FETCH_REQUESTS, |one| one.failed_fetches),
    ];
    for (family, value) in families {
        text.begin(family);
        text.put(&[], value(&all));
        for (number, (topic, traffic)) in topics.iter().enumerate() {
            text.put(&[topic], value(traffic));
            rest(number).await;
        }
    }
    let refused = [
        names::BYTES_REJECTED,
        names::INVALID_MAGIC,
        names::INVALID_CRC,
        names::INVALID_OFFSETS,
    ];
    for (at, family) in refused.into_iter().enumerate() {
        text.single(family, sum(samples, |one| one.refusals[at]));
    }
}

fn requests(text: &mut Text, shard: &Shard, samples: &[Sample]) {
    let mut apis: BTreeMap<ApiKey, (Vec<u64>, Distribution)> = BTreeMap::new();
    for api in samples.iter().flat_map(|sample| &sample.apis) {
        let (versions, times) = apis.entry(api.key).or_default();
        versions.resize(api.versions.len().max(versions.len()), 0);
        for (mine, theirs) in versions.iter_mut().zip(&api.versions) {
            *mine += theirs;
        }
        times.add(&api.times);
    }
    // There are no followers: all fetches are consumers'.
    let named = |key: &ApiKey| match key {
        ApiKey::Fetch => vec!["Fetch", "FetchConsumer"],
        key => vec![key.name()],
    };
    text.begin(names::REQUESTS);
    for (key, (versions, _)) in &apis {
        for name in named(key) {
            let counted = versions.iter().enumerate().filter(|(_, count)| **count > 0);
            for (version, count) in counted {
                text.put(&[name, &version.to_string()], *count);
            }
        }
    }
    text.begin(names::TOTAL_TIME);
    for (key, (_, times)) in &apis {
        for name in named(key) {
            summary(text, &[name], times, MILLISECOND);
        }
    }
    text.begin(names::CONNECTION_COUNT);
    for (at, listener) in shard.config.listeners.iter().enumerate() {
        for sample in samples {
            let network = sample.network.as_ref();
            let count = network.map_or(0, |network| network.connections[at]);
            text.put(&[&listener.endpoint.name, &sample.shard.to_string()], count);
        }
    }
    let load: f64 = samples.iter().map(|one| one.load).sum();
    let idle = 1.0 - load / real(samples.len().max(1) as u64);
    text.single(names::PROCESSOR_IDLE, idle);
    text.single(names::HANDLER_IDLE, idle);
}

async fn standing(shard: &Shard, image: &Image) -> Standing {
    let mut standing = Standing::default();
    for (number, topic) in image.topics().enumerate() {
        let min_isr = shard.topic_config(topic).min_insync_replicas;
        for partition in &topic.partitions {
            let in_sync = partition.isr.len();
            let least = usize::try_from(min_isr)
                .unwrap_or(1)
                .min(partition.replicas.len());
            standing.leaderless += usize::from(partition.leader == NO_LEADER);
            let preferred = partition.replicas.first() == Some(&partition.leader);
            standing.not_preferred += usize::from(!preferred);
            if partition.leader == shard.config.node_id {
                standing.led += 1;
                standing.under_replicated += usize::from(in_sync < partition.replicas.len());
                standing.under_min_isr += usize::from(in_sync < least);
                standing.at_min_isr += usize::from(in_sync == least);
                let moving = partition.adding_replicas.len() + partition.removing_replicas.len();
                standing.reassigning += usize::from(moving > 0);
            }
        }
        rest(number).await;
    }
    standing
}

fn replicas(text: &mut Text, shard: &Shard, samples: &[Sample], standing: Standing) {
    text.single(names::UNDER_REPLICATED, standing.under_replicated);
    text.single(names::UNDER_MIN_ISR, standing.under_min_isr);
    text.single(names::AT_MIN_ISR, standing.at_min_isr);
    text.single(
        names::PARTITION_COUNT,
        sum(samples, |one| one.partitions_open as u64),
    );
    text.single(names::LEADER_COUNT, standing.led);
    text.single(
        names::OFFLINE_REPLICAS,
        sum(samples, |one| one.partitions_offline as u64),
    );
    text.single(names::REASSIGNING, standing.reassigning);
    text.single(
        names::PRODUCER_IDS,
        sum(samples, |one| one.producer_ids as u64),
    );
    text.single(names::SESSIONS, sum(samples, |one| one.sessions as u64));
    text.single(
        names::SESSION_PARTITIONS,
        sum(samples, |one| one.session_partitions as u64),
    );
    text.single(names::BROKER_STATE, shard.status.phase().kafka_state());
}

fn controller(text: &mut Text, image: &Image, standing: Standing) {
    let fenced = image
        .brokers()
        .filter(|(_, broker)| broker.fenced())
        .count();
    // The only node of a quorum of one is its controller.
    text.single(names::ACTIVE_CONTROLLER, 1_u64);
    text.single(names::ACTIVE_BROKERS, image.brokers().count() - fenced);
    text.single(names::FENCED_BROKERS, fenced);
    text.single(names::GLOBAL_TOPICS, image.topic_count());
    text.single(names::GLOBAL_PARTITIONS, image.partition_count());
    text.single(names::OFFLINE_PARTITIONS, standing.leaderless);
    text.single(names::PREFERRED_IMBALANCE, standing.not_preferred);
    text.single(names::LAST_APPLIED, image.at().end_offset - 1);
}

async fn logs(text: &mut Text, shard: &Shard, samples: &[Sample]) {
    let mut partitions: Vec<&PartitionSample> =
        samples.iter().flat_map(|one| &one.partitions).collect();
    partitions.sort_unstable_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let numbers: Vec<String> = partitions
        .iter()
        .map(|one| one.partition.to_string())
        .collect();
    let families: [Row<PartitionSample, i64>; 4] = [
        (names::LOG_SIZE, |one| one.size.cast_signed()),
        (names::LOG_END, |one| one.end),
        (names::LOG_START, |one| one.start),
        (names::LOG_SEGMENTS, |one| {
            i64::try_from(one.segments).unwrap_or(i64::MAX)
        }),
    ];
    for (family, value) in families {
        text.begin(family);
        for (at, (one, number)) in partitions.iter().zip(&numbers).enumerate() {
            text.put(&[&one.topic, number], value(one));
            rest(at).await;
        }
    }
    let disks = shard.allowances.disks();
    text.single(names::OFFLINE_DIRECTORIES, disks.offline_count());
    text.begin(names::DIRECTORY_OFFLINE);
    for at in 0..shard.directories.len() {
        text.put(&[&disks.path(at).to_string()], disks.is_offline(at));
    }
    let mut syncs = Distribution::default();
    let all = samples.iter().flat_map(|sample| &sample.directories);
    all.for_each(|one| syncs.add(&one.syncs));
    text.begin(names::FLUSH_TIME);
    summary(text, &[], &syncs, MILLISECOND);
    text.begin(names::UNCLEANABLE);
    for at in 0..shard.directories.len() {
        let count = sum(samples, |one| one.directories[at].uncleanable as u64);
        text.put(&[&disks.path(at).to_string()], count);
    }
}

/// A committed offset beside the ends of its partition.
struct Lag<'a> {
    group: &'a str,
    topic: &'a str,
    partition: String,
    offset: i64,
    behind_end: i64,
    behind_stable: i64,
}

async fn groups(text: &mut Text, samples: &[Sample], selection: &Selection) {
    let mut census = Census::default();
    for sample in samples {
        for (group_type, state, count) in &sample.groups.groups {
            census.add(group_type, state, *count);
        }
    }
    census.groups.sort_unstable();
    let in_state = |state: &str| {
        let counts = census.groups.iter().filter(|one| one.1 == state);
        counts.map(|one| one.2).sum::<u64>()
    };
    let all: u64 = census.groups.iter().map(|one| one.2).sum();
    let offsets = sum(samples, |one| one.groups.offsets);
    text.single(names::GROUPS, all);
    text.single(names::GROUP_OFFSETS, offsets);
    text.single(names::GROUPS_PREPARING, in_state("PreparingRebalance"));
    text.single(names::GROUPS_COMPLETING, in_state("CompletingRebalance"));
    text.single(names::GROUPS_STABLE, in_state("Stable"));
    text.single(names::GROUPS_EMPTY, in_state("Empty"));
    text.begin(names::GROUPS_BY_STATE);
    for (group_type, state, count) in &census.groups {
        text.put(&[group_type, state], *count);
    }
    let lags = lags(samples, selection.offsets_max).await;
    let families: [Row<Lag<'_>, i64>; 3] = [
        (names::GROUP_OFFSET, |lag| lag.offset),
        (names::GROUP_LAG, |lag| lag.behind_end),
        (names::GROUP_LAG_STABLE, |lag| lag.behind_stable),
    ];
    for (family, value) in families {
        text.begin(family);
        for (at, lag) in lags.iter().enumerate() {
            text.put(&[lag.group, lag.topic, &lag.partition], value(lag));
            rest(at).await;
        }
    }
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for lag in &lags {
        *sums.entry(lag.group).or_default() += lag.behind_end;
    }
    text.begin(names::GROUP_LAG_SUM);
    for (group, lag) in sums {
        text.put(&[group], lag);
    }
    text.single(
        names::OFFSETS_LEFT_OUT,
        offsets.saturating_sub(lags.len() as u64),
    );
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for (state, count) in samples.iter().flat_map(|sample| &sample.transactions) {
        *states.entry(state).or_default() += count;
    }
    text.begin(names::TRANSACTIONS);
    for (state, count) in states {
        text.put(&[state], count);
    }
}

/// The committed offsets of partitions that stand by themselves, at most `count_max`.
async fn lags(samples: &[Sample], count_max: usize) -> Vec<Lag<'_>> {
    let mut ends: Map<(&str, i32), (i64, i64)> = Map::default();
    for (at, one) in samples.iter().flat_map(|one| &one.partitions).enumerate() {
        let both = (one.high_watermark, one.last_stable);
        ends.insert((&one.topic, one.partition), both);
        rest(at).await;
    }
    let mut lags = Vec::new();
    let commits = samples.iter().flat_map(|sample| &sample.groups.commits);
    for (at, commit) in commits.enumerate() {
        rest(at).await;
        let Some((end, stable)) = ends.get(&(&*commit.topic, commit.partition)) else {
            continue;
        };
        if lags.len() == count_max {
            break;
        }
        lags.push(Lag {
            group: &commit.group,
            topic: &commit.topic,
            partition: commit.partition.to_string(),
            offset: commit.offset,
            behind_end: end.saturating_sub(commit.offset).max(0),
            behind_stable: stable.saturating_sub(commit.offset).max(0),
        });
    }
    lags
}

fn directories(text: &mut Text, shard: &Shard, samples: &[Sample]) {
    let disks = shard.allowances.disks();
    let all: Vec<_> = (0..shard.directories.len())
        .map(|at| (at, disks.path(at).to_string()))
        .collect();
    text.begin(names::DIRECTORY_STATE);
    for (at, path) in &all {
        let condition = disks.condition(*at);
        for (state, name) in [
            (Condition::Usable, "usable"),
            (Condition::Full, "full"),
            (Condition::Offline, "offline"),
        ] {
            text.put(&[path, name], condition == state);
        }
    }
    let rooms: [Row<(u64, u64, u64), u64>; 3] = [
        (names::DIRECTORY_FREE, |room| room.0),
        (names::DIRECTORY_TOTAL, |room| room.1),
        (names::DIRECTORY_RESERVE, |room| room.2),
    ];
    for (family, value) in rooms {
        text.begin(family);
        for (at, path) in &all {
            text.put(&[path], value(&disks.room(*at)));
        }
    }
    text.begin(names::DIRECTORY_PARTITIONS);
    for (at, path) in &all {
        let count = sum(samples, |one| one.directories[*at].partitions as u64);
        text.put(&[path], count);
    }
    text.begin(names::SYNC_TIME);
    for (at, path) in &all {
        let mut syncs = Distribution::default();
        for sample in samples {
            syncs.add(&sample.directories[*at].syncs);
        }
        summary(text, &[path], &syncs, SECOND);
    }
    text.single(names::WRITTEN_BYTES, sum(samples, |one| one.written_bytes));
    text.single(names::DIRECT_BYTES, sum(samples, |one| one.direct_bytes));
    text.single(names::WRITES, sum(samples, |one| one.writes));
}

fn background(text: &mut Text, samples: &[Sample]) {
    text.begin(names::FETCH_BYTES);
    for (at, source) in ["tail", "warm", "ahead", "cold"].into_iter().enumerate() {
        text.put(&[source], sum(samples, |one| one.reads[at]));
    }
    by_shard(text, names::TAIL_BYTES, samples, |one| {
        one.tail_bytes as u64
    });
    text.single(names::MOVES, sum(samples, |one| one.moves as u64));
    text.single(names::MOVE_BYTES, sum(samples, |one| one.move_bytes));
    text.single(names::MOVE_LAG, sum(samples, |one| one.move_lag));
    text.begin(names::MOVES_ENDED);
    for (at, outcome) in ["arrived", "cancelled", "failed"].into_iter().enumerate() {
        text.put(&[outcome], sum(samples, |one| one.moves_ended[at]));
    }
    text.single(names::CLEANING, sum(samples, |one| u64::from(one.cleaning)));
    text.begin(names::CLEANINGS);
    for (at, outcome) in ["clean", "gave_up", "failed"].into_iter().enumerate() {
        text.put(&[outcome], sum(samples, |one| one.cleanings[at]));
    }
    text.single(names::CLEANED_READ, sum(samples, |one| one.cleanings[3]));
    text.single(names::CLEANED_KEPT, sum(samples, |one| one.cleanings[4]));
    text.single(names::RETIRED, sum(samples, |one| one.segments_retired));
}

fn start(text: &mut Text, shard: &Shard) {
    let phase = shard.status.phase();
    let Progress {
        logs,
        logs_done,
        bytes,
        bytes_checked,
    } = shard.status.progress();
    text.single(names::READY, matches!(phase, Phase::Serving));
    text.single(names::RECOVERY_LOGS, logs);
    text.single(names::RECOVERY_DONE, logs_done);
    text.single(names::RECOVERY_BYTES, bytes);
    text.single(names::RECOVERY_CHECKED, bytes_checked);
    text.begin(names::READY_SECONDS);
    if let Some(ms) = shard.status.ready_after_ms() {
        text.put(&[], real(ms) / 1e3);
    }
}

fn shards(text: &mut Text, samples: &[Sample]) {
    text.begin(names::SHARD_BUSY);
    for one in samples {
        text.put(&[&one.shard.to_string()], real(one.busy_ns) / 1e9);
    }
    text.begin(names::SHARD_LOAD);
    for one in samples {
        text.put(&[&one.shard.to_string()], one.load);
    }
    by_shard(text, names::LOOP_TURNS, samples, |one| one.stats.turns);
    by_shard(text, names::LOOP_ENTERS, samples, |one| one.stats.enters);
    by_shard(text, names::LOOP_SLEEPS, samples, |one| one.stats.sleeps);
    by_shard(text, names::LOOP_POLLS, samples, |one| one.stats.polls);
    by_shard(text, names::TASKS, samples, |one| one.stats.tasks as u64);
    by_shard(text, names::OPERATIONS, samples, |one| {
        one.stats.operations as u64
    });
    by_shard(text, names::BLOCKS, samples, |one| one.stats.blocks as u64);
    by_shard(text, names::MESH_QUEUE, samples, |one| {
        one.mesh_queue as u64
    });
    by_shard(text, names::MESH_CALLS, samples, |one| {
        one.mesh_calls as u64
    });
    by_shard(text, names::MESH_MESSAGES, samples, |one| one.mesh_messages);
    by_shard(text, names::REQUEST_MEMORY, samples, |one| {
        let network = one.network.as_ref();
        network.map_or(0, |network| network.request_bytes as u64)
    });
}

fn connections(text: &mut Text, samples: &[Sample]) {
    let counted = |count: fn(&CountersSnapshot) -> u64| {
        let networks = samples.iter().filter_map(|one| one.network.as_ref());
        networks
            .map(|network: &NetworkSample| count(&network.counters))
            .sum::<u64>()
    };
    text.single(names::ACCEPTED, counted(|one| one.accepted));
    text.single(names::ACCEPT_ERRORS, counted(|one| one.accept_errors));
    text.single(names::REFUSED_PER_IP, counted(|one| one.refused_per_ip));
    text.single(names::WAITED_FULL, counted(|one| one.waited_full));
    by_shard(text, names::OPENED, samples, |one| {
        let network = one.network.as_ref();
        network.map_or(0, |network| network.counters.opened)
    });
    text.begin(names::CLOSED);
    for (at, reason) in CloseReason::NAMES.iter().enumerate() {
        let networks = samples.iter().filter_map(|one| one.network.as_ref());
        let count: u64 = networks.map(|network| network.counters.closed[at]).sum();
        text.put(&[reason], count);
    }
    text.single(names::HELD_BACK, counted(|one| one.held_back));
    text.single(names::REQUEST_BYTES, counted(|one| one.request_bytes));
    text.single(names::RESPONSE_BYTES, counted(|one| one.response_bytes));
    text.single(names::FILE_BYTES, counted(|one| one.file_bytes));
    text.single(names::RECEIVES, counted(|one| one.receives));
    text.single(names::SENDS, counted(|one| one.sends));
}

async fn clients(text: &mut Text, samples: &[Sample]) {
    text.single(
        names::CLIENT_INSTANCES,
        samples
            .iter()
            .map(|one| one.clients.instances)
            .sum::<usize>(),
    );
    let pushes = [
        names::CLIENT_PUSHES,
        names::CLIENT_PUSHES_REFUSED,
        names::CLIENT_NUMBERS_DROPPED,
    ];
    for (at, family) in pushes.into_iter().enumerate() {
        text.single(family, sum(samples, |one| one.clients.pushes[at]));
    }
    text.begin(names::CLIENT_METRIC);
    let series = samples.iter().flat_map(|one| &one.clients.series);
    for (number, one) in series.enumerate() {
        let instance = one.instance.to_string();
        let labels = [
            one.name.as_str(),
            &one.client_id,
            &instance,
            &one.attributes,
        ];
        text.put(&labels, one.value);
        rest(number).await;
    }
}

fn scrape(text: &mut Text, shard: &Shard, gathered: &Gathered) {
    let selection = &gathered.selection;
    text.single(names::TOPICS_LEFT_OUT, selection.topics_left_out);
    text.single(names::PARTITIONS_LEFT_OUT, selection.partitions_left_out);
    text.single(names::SCRAPE_SECONDS, real(gathered.took_ns) / 1e9);
    text.begin(names::BUILD);
    let node = shard.config.node_id.to_string();
    let version = env!("CARGO_PKG_VERSION");
    text.put(&[version, &node, &shard.cluster_id], 1_u64);
    let usage = &gathered.usage;
    text.single(names::CPU, real(usage.cpu_ns) / 1e9);
    text.single(names::RESIDENT, usage.resident_bytes);
    text.single(names::VIRTUAL, usage.virtual_bytes);
    text.single(names::FDS, usage.descriptors);
    text.begin(names::FDS_MAX);
    if let Some(most) = usage.descriptors_max {
        text.put(&[], most);
    }
    text.single(names::THREADS, usage.threads);
    let started = shard.status.started_at_ms();
    text.single(names::START_TIME, real(started.unsigned_abs()) / 1e3);
}

/// One sample for each shard.
fn by_shard(text: &mut Text, family: Family, samples: &[Sample], value: fn(&Sample) -> u64) {
    text.begin(family);
    for sample in samples {
        text.put(&[&sample.shard.to_string()], value(sample));
    }
}

/// Quantiles, sum and count; `unit` is how many microseconds one is.
fn summary(text: &mut Text, values: &[&str], times: &Distribution, unit: f64) {
    for (per_mille, quantile) in QUANTILES {
        if let Some(value) = times.quantile(per_mille) {
            text.quantile(values, quantile, real(value) / unit);
        }
    }
    text.count_and_sum(values, times.count, real(times.sum) / unit);
}

fn sum(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> u64 {
    samples.iter().map(value).sum()
}

/// Gives others their turn now and then.
async fn rest(number: usize) {
    if number % STRETCH == STRETCH - 1 {
        corelog_runtime::yield_now().await;
    }
}

/// The topics that were given the most, for a glance: name, bytes in.
pub(crate) fn busiest(samples: &[Sample], count: usize) -> Vec<(Arc<str>, TrafficSample)> {
    let mut topics: BTreeMap<&Arc<str>, TrafficSample> = BTreeMap::new();
    for (topic, traffic) in samples.iter().flat_map(|sample| &sample.topics) {
        topics.entry(topic).or_default().add(traffic);
    }
    let mut topics: Vec<_> = topics
        .into_iter()
        .map(|(topic, traffic)| (Arc::clone(topic), traffic))
        .collect();
    topics.sort_by_key(|(_, traffic)| Reverse(traffic.bytes_in));
    topics.truncate(count);
    topics
}

/// As the exporter writes Kafka's percentiles.
const QUANTILES: [(u64, &str); 6] = [
    (500, "0.50"),
    (750, "0.75"),
    (950, "0.95"),
    (980, "0.98"),
    (990, "0.99"),
    (999, "0.999"),
];

/// In microseconds.
const MILLISECOND: f64 = 1e3;
const SECOND: f64 = 1e6;

/// Samples between two yields: some ten microseconds of printing.
const STRETCH: usize = 256;
