//! Start and stop, in order, on one screen each: [`run`], [`lead`], [`stop`].
//!
//! Owns: the order in which directories, metadata, shards, logs and listeners come up and go down.
//! Lives on: the main thread, which becomes shard 0.
//! Invariants:
//! 1. Nothing is written into a log directory before it is locked and found to be of this node.
//! 2. A listener accepts only when every log of every shard is open.
//! 3. `.kafka_cleanshutdown` is written last, and only where every log closed well.
//!
//! Not here: what a shard does (`shard.rs`), the formats (`corelog_storage`).

mod directories;
mod format;
mod metadata_load;
mod metadata_log;
mod write_way;

use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use corelog_net::limits::ConnectionLimits;
use corelog_net::server::{Admission, Server};
use corelog_runtime::{BackendChoice, Runtime, Signal, Signals, limits};

use crate::config::BrokerConfig;
use crate::config::broker::IoBackend;
use crate::mesh::{self, Reply, Request};
use crate::shard::disks::Disks;
use crate::shard::logs::Opened;
use crate::shard::{Parts, Settings, Shard};
use crate::supervision::Supervision;
pub(crate) use directories::{Directories, metadata_directory, random_id};
pub(crate) use format::own_voter;
pub(crate) use metadata_log::TOPIC as METADATA_TOPIC;

/// Connections get this long to see their requests answered when the broker stops.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// Of connections that the kernel keeps before they are accepted. With `socket.listen.backlog.size`'s 50 it threw away most
/// handshakes of thousands of clients that come back at once, and they try again after a second, then two, then four; a
/// longer queue costs nothing while it is empty. The kernel cuts it to net.core.somaxconn.
const BACKLOG_MIN: i32 = 4096;

/// How often a recovery that takes long says how far it is.
const RECOVERY_TOLD_EVERY: Duration = Duration::from_secs(2);

/// Runs a broker until it is told to stop by SIGTERM or SIGINT.
pub fn run(config: BrokerConfig) -> anyhow::Result<()> {
    let begun = corelog_runtime::now();
    let signals = Signals::new(&[Signal::Term, Signal::Int]).context("cannot take signals")?;
    let files = limits::raise_nofile();
    let config = Arc::new(with_ports(config)?);
    let cpus = limits::cpus();
    let shards = config.shards.unwrap_or(cpus.len());
    if shards > cpus.len() {
        tracing::warn!(
            "corelog.shards={shards} on {} cores: shards share cores",
            cpus.len()
        );
    }
    tracing::info!(
        "corelog {} node.id={} shards={shards} nofile={}",
        env!("CARGO_PKG_VERSION"),
        config.node_id,
        files
            .soft
            .map_or_else(|| "unlimited".to_owned(), |soft| soft.to_string())
    );
    let mut directories = Directories::open(&config)?;
    let metadata = metadata_log::open(&config, &mut directories)?;
    let image = Arc::new(metadata.image.clone());
    tracing::info!(
        "cluster.id={} topics={} partitions={} metadata offset={}",
        directories.cluster_id,
        image.topic_count(),
        image.partition_count(),
        image.at().end_offset
    );
    let settings = Settings {
        sync_on_ack: config.sync_on_ack,
        fetch_size_max: usize::try_from(config.fetch_max_bytes).unwrap_or(0),
        tail_bytes_max: usize::try_from(config.tail_bytes).unwrap_or(usize::MAX),
        cache_bytes_max: config.cache_bytes,
    };
    let disks = Disks::new(
        &directories.all,
        &directories.ids,
        config.disk_reserve_bytes,
    );
    let disks = Arc::new(disks);
    let runtime = runtime_config(&config, 0, &cpus);
    let write_ways = write_way::choose(&config, &directories, &runtime);
    let mut parts: Vec<_> = mesh::ports(shards, config.mesh_capacity)
        .into_iter()
        .enumerate()
        .map(|(index, ports)| Parts {
            index,
            ports,
            shards,
            config: Arc::clone(&config),
            settings,
            directories: Arc::clone(&directories.all),
            disks: Arc::clone(&disks),
            metadata_directory: metadata_directory(&config),
            write_ways: Arc::clone(&write_ways),
            image: Arc::clone(&image),
            cluster_id: Arc::clone(&directories.cluster_id),
        })
        .collect();
    let mut threads = Vec::new();
    for parts in parts.drain(1..).rev() {
        let runtime = runtime_config(&config, parts.index, &cpus);
        let name = format!("shard-{}", parts.index);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let index = parts.index;
            match Runtime::new(&runtime) {
                Ok(runtime) => runtime.run(async move { Shard::start(parts).closed().await }),
                Err(error) => {
                    // The other shards wait for this one: without it there is no broker.
                    tracing::error!("shard={index} cannot start: {error}");
                    std::process::exit(1);
                }
            }
        })?;
        threads.push(thread);
    }
    let parts = parts.pop().expect("there is a shard 0");
    let runtime = Runtime::new(&runtime)?;
    tracing::info!("io backend={:?}", runtime.backend());
    let outcome = runtime.run(async move {
        let shard = Shard::start(parts);
        lead(shard, directories, metadata, signals, begun).await
    });
    // On an error nobody has told the other shards to stop: they end with the process.
    outcome?;
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a shard's thread panicked"))?;
    }
    Ok(())
}

/// Shard 0 starts the others, serves with them until a signal comes, and stops them.
async fn lead(
    shard: Rc<Shard>,
    directories: Directories,
    metadata: metadata_log::MetadataLog,
    mut signals: Signals,
    begun: corelog_runtime::Instant,
) -> anyhow::Result<()> {
    shard
        .control
        .set(crate::shard::control::Control::new(
            directories.clone(),
            metadata.written,
        ))
        .ok()
        .expect("set once");
    shard.adopt_metadata_log(metadata.log, metadata.epoch);
    // Before the logs: who watches sees a long recovery from the beginning.
    crate::admin::open(&shard).map_err(anyhow::Error::msg)?;
    let supervision = Supervision::begin(&shard);
    shard.status.recovers(Arc::clone(&directories.checkpoints));
    let telling = corelog_runtime::spawn("recovery progress", tell_of_recovery(Rc::clone(&shard)));
    let mut opened = Opened::default();
    for reply in shard
        .call_all(|| Request::Open(Arc::clone(&directories.checkpoints)))
        .await
    {
        if let Reply::Opened(one) = reply {
            opened.add(&one);
        }
    }
    drop(telling);
    tracing::info!(
        "logs={} segments={} scanned={} bytes cut={} failed={}",
        opened.logs,
        opened.segments,
        opened.scanned_bytes,
        opened.cut,
        opened.failed
    );
    // ORDER: a recovery point that names what a crash took comes down before anything is appended in its place.
    shard.checkpoint_by(Directories::checkpoint_recovered).await;
    let limits = connection_limits(&shard.live_config(), shard.shards);
    let admission = Admission::new(shard.shards, &limits);
    let addresses: Arc<[SocketAddr]> = addresses(&shard.config)?.into();
    for reply in shard
        .call_all(|| Request::Listen(Arc::clone(&admission), Arc::clone(&addresses)))
        .await
    {
        if let Reply::Listening(Err(sentence)) = reply {
            anyhow::bail!(sentence);
        }
    }
    for (listener, address) in shard.config.listeners.iter().zip(addresses.iter()) {
        tracing::info!("listener={} address={address}", listener.endpoint.name);
    }
    let checkpoints = corelog_runtime::spawn("checkpoints", checkpoint_for_ever(Rc::clone(&shard)));
    let snapshots =
        corelog_runtime::spawn("metadata snapshots", Rc::clone(&shard).snapshot_for_ever());
    let ready = corelog_runtime::now().duration_since(begun);
    tracing::info!("ready in {} ms", ready.as_millis());
    shard
        .status
        .serves(u64::try_from(ready.as_millis()).unwrap_or(u64::MAX));
    supervision.phase_changed();
    let signal = signals.next().await;
    tracing::info!("{signal:?}: stopping");
    shard.status.stops();
    supervision.phase_changed();
    drop((checkpoints, snapshots));
    let stopped = stop(&shard, &directories).await;
    drop(supervision);
    stopped
}

/// Answers what is in flight, closes the logs, writes the checkpoints and the marker.
async fn stop(shard: &Rc<Shard>, directories: &Directories) -> anyhow::Result<()> {
    let begun = corelog_runtime::now();
    shard.call_all(|| Request::Drain).await;
    let broker_epoch = shard.say_goodbye().await;
    let mut offsets = Vec::new();
    for reply in shard.call_all(|| Request::Close).await {
        if let Reply::Offsets(more) = reply {
            offsets.extend(more);
        }
    }
    let directories = directories.clone();
    let disks = Arc::clone(shard.allowances.disks());
    corelog_runtime::blocking("checkpoints", move || {
        directories.close(&offsets, broker_epoch, &disks)
    })
    .await?;
    let took = corelog_runtime::now().duration_since(begun);
    tracing::info!("stopped in {} ms", took.as_millis());
    Ok(())
}

/// Brings the recovery points to disk from time to time, so that a crash leaves little to scan.
async fn checkpoint_for_ever(shard: Rc<Shard>) {
    let interval = Duration::from_millis(
        u64::try_from(shard.config.log_flush_offset_checkpoint_interval_ms)
            .unwrap_or(60_000)
            .max(1),
    );
    loop {
        corelog_runtime::sleep(interval).await;
        shard.checkpoint().await;
    }
}

/// Says from time to time how far a long recovery is.
async fn tell_of_recovery(shard: Rc<Shard>) {
    loop {
        corelog_runtime::sleep(RECOVERY_TOLD_EVERY).await;
        let progress = shard.status.progress();
        let (begun, checked) = (progress.bytes, progress.bytes_checked);
        tracing::info!(
            "recovering: logs={} of {}, checked {checked} of {begun} bytes ({} %) of the logs begun",
            progress.logs_done,
            progress.logs,
            checked
                .saturating_mul(100)
                .checked_div(begun)
                .unwrap_or(100)
        );
    }
}

impl Shard {
    /// Listens on every listener's address.
    pub(crate) fn listen(
        self: Rc<Self>,
        admission: &Arc<Admission>,
        addresses: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, String> {
        let mesh = Rc::clone(&self.mesh);
        let hand_over = Box::new(move |to, accepted| {
            mesh.try_post(to, Request::Adopt(accepted))
                .map_err(|request| match request {
                    Request::Adopt(accepted) => accepted,
                    _ => unreachable!("what was not sent comes back"),
                })
        });
        let limits = connection_limits(&self.config, self.shards);
        let server = Server::new(
            Rc::clone(&self),
            self.index,
            limits,
            Arc::clone(admission),
            hand_over,
        );
        let mut bound = Vec::new();
        for (listener, address) in self.config.listeners.iter().zip(addresses) {
            bound.push(server.listen(&listener.endpoint.name, *address).map_err(|error| {
                format!(
                    "listener {} cannot bind {address}: {error}; is another broker running there?",
                    listener.endpoint.name
                )
            })?);
        }
        for accepted in self.early.take() {
            server.adopt(accepted);
        }
        self.server
            .set(server)
            .map_err(|_| "listening twice".to_owned())?;
        Ok(bound)
    }

    /// Answers what is in flight and closes the connections.
    pub(crate) async fn drain(&self) {
        let Some(server) = self.server.get() else {
            return;
        };
        let drained = server.shutdown(corelog_runtime::now() + DRAIN_TIME).await;
        if drained.cut > 0 {
            tracing::warn!(
                "shard={} {} connections were cut with requests unanswered",
                self.index,
                drained.cut
            );
        }
    }
}

fn runtime_config(config: &BrokerConfig, shard: usize, cpus: &[usize]) -> corelog_runtime::Config {
    corelog_runtime::Config {
        shard,
        cpu: cpus.get(shard % cpus.len().max(1)).copied(),
        backend: match config.io_backend {
            IoBackend::Auto => BackendChoice::Auto,
            IoBackend::Ring => BackendChoice::Ring,
            IoBackend::Readiness => BackendChoice::Readiness,
        },
        ring_entries: config.ring_entries,
        ..corelog_runtime::Config::default()
    }
}

pub(crate) fn connection_limits(config: &BrokerConfig, shards: usize) -> ConnectionLimits {
    let socket = &config.socket;
    let defaults = ConnectionLimits::default();
    ConnectionLimits {
        request_size_max: socket.request_max_bytes,
        request_bytes_max: socket
            .queued_max_request_bytes
            .map_or(defaults.request_bytes_max, |bytes| bytes.div_ceil(shards)),
        idle_max: socket
            .max_idle_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .map_or(
                Duration::from_secs(u64::from(u32::MAX)),
                Duration::from_millis,
            ),
        connections_max: socket.max_connections,
        connections_per_ip_max: socket.max_connections_per_ip,
        connections_per_ip_overrides: socket.max_connections_per_ip_overrides.clone(),
        send_buffer: socket.send_buffer_bytes,
        receive_buffer: socket.receive_buffer_bytes,
        backlog: socket.listen_backlog_size.max(BACKLOG_MIN),
        ..defaults
    }
}

/// The address to bind for each listener; an empty host is every interface.
fn addresses(config: &BrokerConfig) -> anyhow::Result<Vec<SocketAddr>> {
    let address = |listener: &crate::config::Listener| {
        let host = if listener.endpoint.host.is_empty() {
            "0.0.0.0"
        } else {
            &listener.endpoint.host
        };
        (host, listener.endpoint.port)
            .to_socket_addrs()
            .ok()
            .and_then(|mut found| found.next())
            .with_context(|| {
                format!(
                    "listener {}: the host {host} is not known",
                    listener.endpoint.name
                )
            })
    };
    config.listeners.iter().map(address).collect()
}

/// Listeners on port 0 get their ports now, so that the node can register with them.
fn with_ports(mut config: BrokerConfig) -> anyhow::Result<BrokerConfig> {
    let bound = addresses(&config)?;
    for (at, address) in bound.into_iter().enumerate() {
        if address.port() == 0 {
            config.listeners[at].endpoint.port =
                std::net::TcpListener::bind(address)?.local_addr()?.port();
        }
        let advertised = &mut config.advertised[at];
        if advertised.port == 0 {
            advertised.port = config.listeners[at].endpoint.port;
        }
        if advertised.host.is_empty() {
            advertised.host = limits::host_name();
        }
    }
    Ok(config)
}
