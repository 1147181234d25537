//! The broker's settings, checked.
//!
//! **Owns** the meaning of the names: one struct whose fields need no further parsing, the warnings
//! and the errors of a start.
//! **Lives on** every shard, shared by `Arc`; a dynamic change makes a new one.
//! **Invariants**: 1. a struct exists only if every given value is valid; 2. an error is one
//! sentence that begins with where the value stands.
//! **Not here**: topic settings (`topic`), the tables.

mod check;
mod network;
mod values;

use std::net::IpAddr;
use std::sync::Arc;

use super::broker_settings;
use super::layers::{ConfigMap, Layers};
use super::listener::{Endpoint, Listener};
use super::properties::{FileText, PropertiesError, StaticSettings};
use super::setting::{UpdateMode, Value, split_list};
use crate::group::{Assignor, ConsumerSettings, MigrationPolicy};
use check::check_each;
pub use check::nearest;
use network::Network;
use values::Values;

/// How shards talk to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoBackend {
    /// The best that is allowed here.
    Auto,
    /// `io_uring` or nothing.
    Ring,
    /// epoll.
    Readiness,
}

/// How records go to the files of a log directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writes {
    /// What is not large enough for the way past the page cache.
    pub small: WriteWay,
    /// Whether large stretches go past the page cache.
    pub direct: bool,
}

/// How records go to the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteWay {
    /// `pwritev` on the shard's thread.
    Inline,
    /// Through `io_uring`.
    Ring,
}

impl std::fmt::Display for WriteWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inline => "inline",
            Self::Ring => "ring",
        })
    }
}

/// What the settings mean. Times are milliseconds, sizes bytes, unless a name says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Listeners to open, without the controller's.
    pub listeners: Vec<Listener>,
    /// Listeners named in `controller.listener.names`; accepted and not opened.
    pub controller_listeners: Vec<Endpoint>,
    /// What clients are told, one for each of `listeners` and in their order. An empty host means
    /// the machine's own name, port 0 the port that was bound.
    pub advertised: Vec<Endpoint>,
    /// Name of the listener brokers use among themselves.
    pub inter_broker_listener: String,
    /// Data directories, in order.
    pub log_dirs: Vec<String>,
    /// Those of `log_dirs` that get no new partitions: `cordoned.log.dirs`, resolved.
    pub cordoned_log_dirs: Vec<String>,
    /// Directory of the metadata log.
    pub metadata_log_dir: String,
    /// `corelog.shards`; `None` is one per core.
    pub shards: Option<usize>,
    /// `corelog.io.backend`.
    pub io_backend: IoBackend,
    /// `corelog.io.direct`; `None` leaves it to a probe.
    pub io_direct: Option<bool>,
    /// `corelog.io.write`; `None` leaves it to a probe.
    pub io_write: Option<WriteWay>,
    /// `corelog.io.ring.entries`.
    pub ring_entries: u32,
    /// `corelog.mesh.capacity`.
    pub mesh_capacity: usize,
    /// `corelog.sync.on.ack`.
    pub sync_on_ack: bool,
    /// `corelog.tail.bytes`, per shard.
    pub tail_bytes: u64,
    /// `corelog.cache.bytes`, per shard.
    pub cache_bytes: u64,
    /// `corelog.admin.listener`; `None` is no admin port.
    pub admin_listener: Option<AdminListener>,
    /// How many topics and partitions stand one by one in the metrics.
    pub metrics_limits: MetricsLimits,
    /// `telemetry.max.bytes`.
    pub telemetry_max_bytes: usize,
    /// `corelog.disk.reserve.bytes`; `None` follows from the size of the disk.
    pub disk_reserve_bytes: Option<u64>,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `auto.create.topics.enable`.
    pub auto_create_topics_enable: bool,
    /// `delete.topic.enable`.
    pub delete_topic_enable: bool,
    /// `max.request.partition.size.limit`.
    pub max_request_partition_size_limit: i32,
    /// `message.max.bytes`.
    pub message_max_bytes: i32,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_cache_slots: usize,
    /// `request.timeout.ms`.
    pub request_timeout_ms: i64,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max_ms: i64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads_per_data_dir: usize,
    /// `log.retention.check.interval.ms`.
    pub log_retention_check_interval_ms: i64,
    /// `log.flush.scheduler.interval.ms`.
    pub log_flush_scheduler_interval_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub log_flush_offset_checkpoint_interval_ms: i64,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub log_flush_start_offset_checkpoint_interval_ms: i64,
    /// Sockets and connections.
    pub socket: SocketConfig,
    /// Groups and their topic.
    pub group: GroupConfig,
    /// Transactions and their topic.
    pub transaction: TransactionConfig,
    /// The metadata log.
    pub metadata_log: MetadataLogConfig,
    /// Everything as given at start; the layer below dynamic values.
    pub fixed: Arc<StaticSettings>,
}

/// Where metrics and health are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListener {
    /// Host name or address.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
    /// Nobody has set it: the broker may go on without.
    pub is_default: bool,
}

/// Bounds of what metrics name one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsLimits {
    /// `corelog.metrics.topics.max`.
    pub topics_max: usize,
    /// `corelog.metrics.partitions.max`.
    pub partitions_max: usize,
    /// `corelog.metrics.clients.series.max`.
    pub client_series_max: usize,
}

/// Sockets and connections.
#[derive(Clone, Debug, PartialEq)]
pub struct SocketConfig {
    /// `socket.listen.backlog.size`.
    pub listen_backlog_size: i32,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<usize>,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<usize>,
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`; `None` never closes.
    pub max_idle_ms: Option<i64>,
    /// `max.connections`.
    pub max_connections: usize,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: usize,
    /// `max.connections.per.ip.overrides`.
    pub max_connections_per_ip_overrides: Vec<(IpAddr, usize)>,
    /// `queued.max.requests`.
    pub queued_max_requests: usize,
    /// `queued.max.request.bytes`; `None` is no limit.
    pub queued_max_request_bytes: Option<usize>,
}

/// Groups and `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout_ms: i64,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout_ms: i64,
    /// `group.max.size`.
    pub max_size: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.commit.timeout.ms`.
    pub offsets_commit_timeout_ms: i64,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_num_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: i32,
    /// `group.consumer.*`.
    pub consumer: ConsumerSettings,
}

/// Transactions and `__transaction_state`.
#[derive(Clone, Debug, PartialEq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`.
    pub max_timeout_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_timed_out_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval_ms: i64,
    /// `transaction.partition.verification.enable`.
    pub verify_partitions: bool,
    /// `add.partitions.to.txn.retry.backoff.ms`.
    pub add_retry_ms: i64,
    /// `add.partitions.to.txn.retry.backoff.max.ms`.
    pub add_retry_ms_max: i64,
    /// `transaction.state.log.num.partitions`.
    pub state_log_num_partitions: i32,
    /// `transaction.state.log.replication.factor`.
    pub state_log_replication_factor: i16,
    /// `transaction.state.log.min.isr`.
    pub state_log_min_isr: i32,
    /// `transaction.state.log.segment.bytes`.
    pub state_log_segment_bytes: i32,
}

/// The metadata log.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataLogConfig {
    /// `internal.metadata.log.segment.bytes`, else `metadata.log.segment.bytes`.
    pub segment_bytes: i32,
    /// `metadata.log.segment.ms`.
    pub segment_ms: i64,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub max_record_bytes_between_snapshots: i64,
    /// `metadata.log.max.snapshot.interval.ms`.
    pub max_snapshot_interval_ms: i64,
    /// `metadata.max.retention.bytes`; negative is no limit.
    pub max_retention_bytes: i64,
    /// `metadata.max.retention.ms`; negative is no limit.
    pub max_retention_ms: i64,
    /// Whether a new directory gets a quorum whose voters stand in its log (KIP-853), as
    /// `kafka-storage format --standalone` makes it: `controller.quorum.bootstrap.servers` is set
    /// and `controller.quorum.voters` is not.
    pub dynamic_quorum: bool,
}

/// A start's settings, and what is to be said about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: BrokerConfig,
    /// Lines for the log, in order.
    pub notes: Vec<Note>,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Something is not as the operator may believe.
    Warning(String),
    /// Worth knowing.
    Information(String),
}

/// Why the broker cannot start with these settings: at least one sentence, all that were found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentences.join("\n"))]
pub struct LoadError {
    /// One sentence for each fault.
    pub sentences: Vec<String>,
}

impl BrokerConfig {
    /// Reads a file (or assumes a single node on this machine when there is none) and overrides.
    pub fn load(file: Option<FileText<'_>>, overrides: &[String]) -> Result<Loaded, LoadError> {
        let fixed =
            StaticSettings::read(file, overrides).map_err(|error: PropertiesError| LoadError {
                sentences: vec![error.to_string()],
            })?;
        let mut notes = Vec::new();
        let sentences = check_each(&fixed, &mut notes);
        if !sentences.is_empty() {
            return Err(LoadError { sentences });
        }
        let fixed = Arc::new(fixed);
        let config =
            Self::build(&fixed, Layers::fixed(&fixed), &mut notes).map_err(|sentence| {
                LoadError {
                    sentences: vec![sentence],
                }
            })?;
        Ok(Loaded { config, notes })
    }

    /// These settings with dynamic values on top: of this node, then the cluster's defaults. Values
    /// that do not parse, or may not change at run time, are passed over.
    #[must_use]
    pub fn with_dynamic(&self, node: Option<&ConfigMap>, cluster: Option<&ConfigMap>) -> Self {
        let fits = |name: &str, text: &str| match name {
            OVERRIDES => connection_overrides(text).is_some(),
            CORDONED => cordoned(&split_list(text), &self.log_dirs).is_ok(),
            _ => true,
        };
        let only_dynamic = |layer: Option<&ConfigMap>| -> ConfigMap {
            let dynamic = |name: &str, text: &str| {
                !is_fixed_here(name)
                    && broker_settings::find(name)
                        .is_some_and(|row| row.update != UpdateMode::ReadOnly)
                    && fits(name, text)
            };
            layer
                .into_iter()
                .flatten()
                .filter(|(name, text)| dynamic(name, text))
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect()
        };
        let (node, cluster) = (only_dynamic(node), only_dynamic(cluster));
        let layers = Layers {
            node: Some(&node),
            cluster: Some(&cluster),
            fixed: &self.fixed,
        };
        match Self::build(&self.fixed, layers, &mut Vec::new()) {
            // Ports that were found and names that were looked up at the start stay.
            Ok(config) => Self {
                listeners: self.listeners.clone(),
                advertised: self.advertised.clone(),
                ..config
            },
            Err(_) => self.clone(),
        }
    }

    fn build(
        fixed: &Arc<StaticSettings>,
        layers: Layers<'_>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, String> {
        let values = Values { layers };
        let node_id = values.node_id();
        check_roles(values, node_id)?;
        let net = Network::read(values, notes)?;
        let log_dirs = values.log_dirs();
        let metadata_log_dir = values
            .text("metadata.log.dir")
            .unwrap_or_else(|| log_dirs[0].clone());
        if !log_dirs.contains(&metadata_log_dir) {
            return Err(at(
                fixed,
                "metadata.log.dir",
                "must be one of log.dirs here",
            ));
        }
        let cordoned_log_dirs = cordoned(&values.list(CORDONED), &log_dirs)
            .map_err(|sentence| at(fixed, CORDONED, &format!("is not right: {sentence}")))?;
        Ok(Self {
            node_id,
            rack: values.text("broker.rack"),
            listeners: net.listeners,
            controller_listeners: net.controller,
            advertised: net.advertised,
            inter_broker_listener: net.inter_broker,
            log_dirs,
            cordoned_log_dirs,
            metadata_log_dir,
            shards: Some(values.size("corelog.shards")).filter(|shards| *shards > 0),
            io_backend: match values.text("corelog.io.backend").as_deref() {
                Some("ring") => IoBackend::Ring,
                Some("readiness") => IoBackend::Readiness,
                _ => IoBackend::Auto,
            },
            io_direct: match values.text("corelog.io.direct").as_deref() {
                Some("always") => Some(true),
                Some("never") => Some(false),
                _ => None,
            },
            io_write: match values.text("corelog.io.write").as_deref() {
                Some("ring") => Some(WriteWay::Ring),
                Some("inline") => Some(WriteWay::Inline),
                _ => None,
            },
            ring_entries: u32::try_from(values.number("corelog.io.ring.entries")).unwrap_or(1024),
            mesh_capacity: values.size("corelog.mesh.capacity"),
            sync_on_ack: values.flag("corelog.sync.on.ack"),
            tail_bytes: values.number("corelog.tail.bytes").unsigned_abs(),
            cache_bytes: values.number("corelog.cache.bytes").unsigned_abs(),
            admin_listener: admin_listener(values)?,
            metrics_limits: MetricsLimits {
                topics_max: values.size("corelog.metrics.topics.max"),
                partitions_max: values.size("corelog.metrics.partitions.max"),
                client_series_max: values.size("corelog.metrics.clients.series.max"),
            },
            telemetry_max_bytes: values.size("telemetry.max.bytes"),
            disk_reserve_bytes: u64::try_from(values.number("corelog.disk.reserve.bytes")).ok(),
            num_partitions: values.int("num.partitions"),
            default_replication_factor: values.short("default.replication.factor"),
            auto_create_topics_enable: values.flag("auto.create.topics.enable"),
            delete_topic_enable: values.flag("delete.topic.enable"),
            max_request_partition_size_limit: values.int("max.request.partition.size.limit"),
            message_max_bytes: values.int("message.max.bytes"),
            fetch_max_bytes: values.int("fetch.max.bytes"),
            fetch_session_cache_slots: values.size("max.incremental.fetch.session.cache.slots"),
            request_timeout_ms: values.number("request.timeout.ms"),
            replica_lag_time_max_ms: values.number("replica.lag.time.max.ms"),
            producer_id_expiration_ms: values.number("producer.id.expiration.ms"),
            recovery_threads_per_data_dir: values.size("num.recovery.threads.per.data.dir"),
            log_retention_check_interval_ms: values.number("log.retention.check.interval.ms"),
            log_flush_scheduler_interval_ms: values.number("log.flush.scheduler.interval.ms"),
            log_flush_offset_checkpoint_interval_ms: values
                .number("log.flush.offset.checkpoint.interval.ms"),
            log_flush_start_offset_checkpoint_interval_ms: values
                .number("log.flush.start.offset.checkpoint.interval.ms"),
            socket: SocketConfig::read(values)?,
            group: GroupConfig::read(values),
            transaction: TransactionConfig::read(values),
            metadata_log: MetadataLogConfig::read(values),
            fixed: Arc::clone(fixed),
        })
    }
}

/// `host:port`, the host perhaps in brackets; nothing is no port.
fn admin_listener(values: Values<'_>) -> Result<Option<AdminListener>, String> {
    const NAME: &str = "corelog.admin.listener";
    let text = values.text(NAME).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::parse(&format!("ADMIN://{}", text.trim()))
        .ok()
        .filter(|endpoint| !endpoint.host.is_empty())
        .ok_or_else(|| {
            let sentence = format!("'{text}' is not of the form host:port");
            at(values.layers.fixed, NAME, &sentence)
        })?;
    Ok(Some(AdminListener {
        host: endpoint.host,
        port: endpoint.port,
        is_default: values.layers.fixed.origin(NAME).is_none(),
    }))
}

impl SocketConfig {
    fn read(values: Values<'_>) -> Result<Self, String> {
        let buffer = |name: &str| Some(values.size(name)).filter(|_| values.number(name) >= 0);
        let overrides = values.text(OVERRIDES).unwrap_or_default();
        let overrides = connection_overrides(&overrides)
            .ok_or_else(|| at(values.layers.fixed, OVERRIDES, OVERRIDES_MUST))?;
        Ok(Self {
            listen_backlog_size: values.int("socket.listen.backlog.size"),
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
            send_buffer_bytes: buffer("socket.send.buffer.bytes"),
            request_max_bytes: values.size("socket.request.max.bytes"),
            max_idle_ms: Some(values.number("connections.max.idle.ms")).filter(|ms| *ms >= 0),
            max_connections: values.size("max.connections"),
            max_connections_per_ip: values.size("max.connections.per.ip"),
            max_connections_per_ip_overrides: overrides,
            queued_max_requests: values.size("queued.max.requests"),
            queued_max_request_bytes: buffer("queued.max.request.bytes").filter(|size| *size > 0),
        })
    }
}

impl BrokerConfig {
    /// Whether the directory at this place gets no new partitions.
    #[must_use]
    pub fn is_cordoned(&self, at: usize) -> bool {
        let directory = self.log_dirs.get(at);
        directory.is_some_and(|path| self.cordoned_log_dirs.contains(path))
    }
}

/// The directories that a list cordons (KIP-1066). Refused in Kafka's words.
fn cordoned(list: &[String], log_dirs: &[String]) -> Result<Vec<String>, String> {
    let list: Vec<&String> = list.iter().filter(|path| !path.is_empty()).collect();
    if list.iter().any(|path| *path == "*") {
        return match list.len() {
            1 => Ok(log_dirs.to_vec()),
            _ => Err(format!(
                "When {CORDONED} is set to *, it must not contain other values"
            )),
        };
    }
    let missing = list.iter().filter(|path| !log_dirs.contains(path));
    let missing: Vec<&str> = missing.map(|path| path.as_str()).collect();
    if missing.is_empty() {
        return Ok(list.into_iter().cloned().collect());
    }
    Err(format!(
        "All entries in {CORDONED} must be present in log.dirs or log.dir. Missing entries : {}",
        missing.join(", ")
    ))
}

/// Whether a list may be set while the broker runs on the directories of these settings.
pub(super) fn check_cordoned(text: &str, layers: Layers<'_>) -> Result<(), String> {
    cordoned(&split_list(text), &Values { layers }.log_dirs()).map(drop)
}

/// `address:count` pairs.
pub(super) fn connection_overrides(text: &str) -> Option<Vec<(IpAddr, usize)>> {
    let pair = |pair: &String| {
        let (host, count) = pair.rsplit_once(':')?;
        let host = host.trim().trim_matches(['[', ']']);
        Some((host.parse().ok()?, count.trim().parse().ok()?))
    };
    split_list(text).iter().map(pair).collect()
}

/// Dynamic in Kafka; here they are read at the start alone.
pub(super) fn is_fixed_here(name: &str) -> bool {
    matches!(name, "listeners" | "listener.security.protocol.map")
}

impl GroupConfig {
    fn read(values: Values<'_>) -> Self {
        Self {
            initial_rebalance_delay_ms: values.number("group.initial.rebalance.delay.ms"),
            min_session_timeout_ms: values.number("group.min.session.timeout.ms"),
            max_session_timeout_ms: values.number("group.max.session.timeout.ms"),
            max_size: values.size("group.max.size"),
            offset_metadata_max_bytes: values.size("offset.metadata.max.bytes"),
            offsets_commit_timeout_ms: values.number("offsets.commit.timeout.ms"),
            offsets_retention_ms: values.number("offsets.retention.minutes") * 60_000,
            offsets_retention_check_interval_ms: values
                .number("offsets.retention.check.interval.ms"),
            offsets_topic_num_partitions: values.int("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: values.short("offsets.topic.replication.factor"),
            offsets_topic_segment_bytes: values.int("offsets.topic.segment.bytes"),
            consumer: consumer_settings(values),
        }
    }
}

/// Groups of KIP-848.
fn consumer_settings(values: Values<'_>) -> ConsumerSettings {
    let int = |name: &str| values.int(&format!("group.consumer.{name}"));
    let long = |name: &str| values.number(&format!("group.consumer.{name}"));
    let protocols = values.list("group.coordinator.rebalance.protocols");
    let assignors = values.list("group.consumer.assignors");
    ConsumerSettings {
        enabled: protocols.iter().any(|name| name.trim() == "consumer"),
        session_timeout_ms: int("session.timeout.ms"),
        session_timeout_ms_range: (int("min.session.timeout.ms"), int("max.session.timeout.ms")),
        heartbeat_interval_ms: int("heartbeat.interval.ms"),
        heartbeat_interval_ms_range: (
            int("min.heartbeat.interval.ms"),
            int("max.heartbeat.interval.ms"),
        ),
        assignment_interval_ms: long("assignment.interval.ms"),
        assignment_interval_ms_range: (
            long("min.assignment.interval.ms"),
            long("max.assignment.interval.ms"),
        ),
        members_max: values.size("group.consumer.max.size"),
        assignors: assignors
            .iter()
            .filter_map(|name| Assignor::find(name.trim()))
            .collect(),
        migration_policy: MigrationPolicy::from_name(
            &values
                .text("group.consumer.migration.policy")
                .unwrap_or_default(),
        ),
        regex_refresh_interval_ms: long("regex.refresh.interval.ms"),
    }
}

impl TransactionConfig {
    fn read(values: Values<'_>) -> Self {
        Self {
            max_timeout_ms: values.int("transaction.max.timeout.ms"),
            id_expiration_ms: values.number("transactional.id.expiration.ms"),
            abort_timed_out_interval_ms: values
                .number("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            remove_expired_interval_ms: values
                .number("transaction.remove.expired.transaction.cleanup.interval.ms"),
            verify_partitions: values.flag("transaction.partition.verification.enable"),
            add_retry_ms: values.number("add.partitions.to.txn.retry.backoff.ms"),
            add_retry_ms_max: values.number("add.partitions.to.txn.retry.backoff.max.ms"),
            state_log_num_partitions: values.int("transaction.state.log.num.partitions"),
            state_log_replication_factor: values.short("transaction.state.log.replication.factor"),
            state_log_min_isr: values.int("transaction.state.log.min.isr"),
            state_log_segment_bytes: values.int("transaction.state.log.segment.bytes"),
        }
    }
}

impl MetadataLogConfig {
    fn read(values: Values<'_>) -> Self {
        Self {
            segment_bytes: match values.find("internal.metadata.log.segment.bytes") {
                Some(Value::Number(bytes)) => i32::try_from(bytes).unwrap_or(i32::MAX),
                _ => values.int("metadata.log.segment.bytes"),
            },
            segment_ms: values.number("metadata.log.segment.ms"),
            max_record_bytes_between_snapshots: values
                .number("metadata.log.max.record.bytes.between.snapshots"),
            max_snapshot_interval_ms: values.number("metadata.log.max.snapshot.interval.ms"),
            max_retention_bytes: values.number("metadata.max.retention.bytes"),
            max_retention_ms: values.number("metadata.max.retention.ms"),
            dynamic_quorum: values.list("controller.quorum.voters").is_empty()
                && !values
                    .list("controller.quorum.bootstrap.servers")
                    .is_empty(),
        }
    }
}

/// A sentence about a setting, beginning with where it stands.
fn at(fixed: &StaticSettings, name: &str, sentence: &str) -> String {
    match fixed.origin(name) {
        Some(origin) => format!("{origin}: {name} {sentence}"),
        None => format!("{name} {sentence}"),
    }
}

/// This node must be broker and controller, alone in its quorum.
fn check_roles(values: Values<'_>, node_id: i32) -> Result<(), String> {
    let fixed = values.layers.fixed;
    let roles = values.list("process.roles");
    // The table allows no other roles and drops doubles, so two are both.
    if roles.len() == 1 {
        let sentence = "must be broker,controller: this broker is its own controller for now";
        return Err(at(fixed, "process.roles", sentence));
    }
    if let (Some(node), Some(broker)) = (fixed.get("node.id"), fixed.get("broker.id"))
        && node.trim() != broker.trim()
    {
        return Err(at(fixed, "broker.id", "must be the same as node.id"));
    }
    let voters = values.list("controller.quorum.voters");
    let own = format!("{node_id}@");
    if !(voters.is_empty() || voters.len() == 1 && voters[0].starts_with(&own)) {
        let sentence = format!("must name node {node_id} alone: larger quorums are not served yet");
        return Err(at(fixed, "controller.quorum.voters", &sentence));
    }
    Ok(())
}

/// A setting with a form of its own.
pub(super) const OVERRIDES: &str = "max.connections.per.ip.overrides";
pub(super) const CORDONED: &str = "cordoned.log.dirs";
pub(super) const OVERRIDES_MUST: &str = "must be a list of address:count";

#[cfg(test)]
mod tests;
