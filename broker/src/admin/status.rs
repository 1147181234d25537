//! How far the broker is, in words and as JSON.
//!
//! Owns: [`Status`]: the phase between start and stop, the progress of recovery.
//! Lives on: every shard has one; only shard 0's is told and asked.
//! Invariants: the phase only goes on, never back.
//! Not here: deciding the phase (`boot.rs`).

use std::cell::{Cell, OnceCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use corelog_runtime::Instant;
use serde_json::{Value, json};

use crate::boot::METADATA_TOPIC;
use crate::metrics::page::{self, Gathered};
use crate::metrics::real;
use crate::shard::Shard;
use crate::shard::disks::Condition;
use crate::shard::logs::Checkpoints;

/// Where the broker is between its start and its stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The metadata is read; nothing else is open yet.
    Starting,
    /// Logs are being opened.
    Recovering,
    /// Listeners are open.
    Serving,
    /// It was told to stop.
    Stopping,
}

impl Phase {
    /// The number that Kafka's `BrokerState` has for it.
    pub(crate) fn kafka_state(self) -> u64 {
        match self {
            Self::Starting => 1,
            Self::Recovering => 2,
            Self::Serving => 3,
            Self::Stopping => 6,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Recovering => "recovering",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// How far the opening of logs is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) logs: u64,
    pub(crate) logs_done: u64,
    /// Of the logs begun.
    pub(crate) bytes: u64,
    pub(crate) bytes_checked: u64,
}

/// See the module.
pub(crate) struct Status {
    phase: Cell<Phase>,
    begun: Instant,
    started_at_ms: i64,
    ready_after_ms: Cell<Option<u64>>,
    checkpoints: OnceCell<Arc<Checkpoints>>,
}

impl Status {
    pub(crate) fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Starting),
            begun: corelog_runtime::now(),
            started_at_ms: corelog_runtime::wall_clock(),
            ready_after_ms: Cell::new(None),
            checkpoints: OnceCell::new(),
        }
    }

    /// Logs are being opened; what they find is counted there.
    pub(crate) fn recovers(&self, checkpoints: Arc<Checkpoints>) {
        // A start opens logs once.
        let _ = self.checkpoints.set(checkpoints);
        self.phase.set(Phase::Recovering);
    }

    /// Listeners are open, so long after the process began.
    pub(crate) fn serves(&self, ready_after_ms: u64) {
        self.ready_after_ms.set(Some(ready_after_ms));
        self.phase.set(Phase::Serving);
    }

    pub(crate) fn stops(&self) {
        self.phase.set(Phase::Stopping);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn ready_after_ms(&self) -> Option<u64> {
        self.ready_after_ms.get()
    }

    /// Milliseconds since the epoch.
    pub(crate) fn started_at_ms(&self) -> i64 {
        self.started_at_ms
    }

    pub(crate) fn progress(&self) -> Progress {
        let Some(checkpoints) = self.checkpoints.get() else {
            return Progress::default();
        };
        let recovery = &checkpoints.recovery;
        // The metadata log was opened before all others.
        let live = checkpoints.directories.iter().flat_map(|one| &one.live);
        let live = live.filter(|name| *name.topic != *METADATA_TOPIC);
        Progress {
            logs: live.count() as u64,
            logs_done: recovery.logs.load(Ordering::Relaxed),
            bytes: recovery.bytes_begun.load(Ordering::Relaxed),
            bytes_checked: recovery.bytes_checked.load(Ordering::Relaxed),
        }
    }

    /// Why clients are not served; `None` when they are.
    pub(super) fn not_ready(&self) -> Option<String> {
        match self.phase() {
            Phase::Serving => None,
            Phase::Starting => Some("starting".to_owned()),
            Phase::Stopping => Some("stopping".to_owned()),
            Phase::Recovering => {
                let Progress {
                    logs,
                    logs_done,
                    bytes,
                    bytes_checked,
                } = self.progress();
                Some(format!(
                    "recovering: logs={logs_done} of {logs}, checked {bytes_checked} of {bytes} bytes of the logs begun"
                ))
            }
        }
    }
}

/// What `/status.json` tells; without what the shards say when they do not answer in time.
pub(super) fn json(shard: &Shard, gathered: Option<&Gathered>) -> String {
    let status = &shard.status;
    let image = shard.image();
    let uptime = corelog_runtime::now().duration_since(status.begun);
    let Progress {
        logs,
        logs_done,
        bytes,
        bytes_checked,
    } = status.progress();
    let mut value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "node_id": shard.config.node_id,
        "cluster_id": &*shard.cluster_id,
        "phase": status.phase().name(),
        "ready": status.not_ready().is_none(),
        "started_at_ms": status.started_at_ms,
        "uptime_seconds": uptime.as_secs(),
        "ready_after_ms": status.ready_after_ms(),
        "listeners": shard.config.listeners.iter().map(|one| one.endpoint.to_string()).collect::<Vec<_>>(),
        "recovery": {
            "logs": logs, "logs_done": logs_done, "bytes": bytes, "bytes_checked": bytes_checked,
        },
        "topics": image.topic_count(),
        "partitions": image.partition_count(),
        "metadata_offset": image.at().end_offset,
        "log_dirs": (0..shard.directories.len()).map(|at| directory(shard, at)).collect::<Vec<_>>(),
    });
    if let (Some(gathered), Some(members)) = (gathered, value.as_object_mut()) {
        members.insert("shards".to_owned(), shards(gathered));
        members.insert("busiest_topics".to_owned(), busiest(gathered));
        let usage = &gathered.usage;
        members.insert(
            "process".to_owned(),
            json!({
                "cpu_seconds": real(usage.cpu_ns) / 1e9,
                "resident_bytes": usage.resident_bytes,
                "descriptors": usage.descriptors,
                "descriptors_max": usage.descriptors_max,
                "threads": usage.threads,
            }),
        );
    }
    format!("{value:#}\n")
}

fn directory(shard: &Shard, at: usize) -> Value {
    let disks = shard.allowances.disks();
    let (free, total, reserve) = disks.room(at);
    json!({
        "path": disks.path(at).to_string(),
        "state": match disks.condition(at) {
            Condition::Usable => "usable",
            Condition::Full => "full",
            Condition::Offline => "offline",
        },
        "free_bytes": free,
        "total_bytes": total,
        "reserve_bytes": reserve,
    })
}

fn shards(gathered: &Gathered) -> Value {
    let shard = |sample: &crate::metrics::sample::Sample| {
        json!({
            "shard": sample.shard,
            "busy_ratio": (sample.load * 1e4).round() / 1e4,
            "partitions": sample.partitions_open,
            "partitions_offline": sample.partitions_offline,
            "connections": sample.network.as_ref().map_or(0, |one| one.connections.iter().sum::<usize>()),
            "groups": sample.groups.groups.iter().map(|one| one.2).sum::<u64>(),
            "bytes_in": sample.traffic.bytes_in,
            "bytes_out": sample.traffic.bytes_out,
            "moves": sample.moves,
            "mesh_queue": sample.mesh_queue,
        })
    };
    gathered.samples.iter().map(shard).collect()
}

fn busiest(gathered: &Gathered) -> Value {
    let topics = page::busiest(&gathered.samples, TOPICS_SHOWN);
    let topic = |(name, traffic): &(Arc<str>, crate::metrics::sample::TrafficSample)| json!({"topic": &**name, "bytes_in": traffic.bytes_in, "bytes_out": traffic.bytes_out});
    topics.iter().map(topic).collect()
}

const TOPICS_SHOWN: usize = 10;
