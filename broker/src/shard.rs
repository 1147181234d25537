//! All that one core owns, and what it does for the others.
//!
//! Owns: the [`Shard`]: its partitions, its connections, its coordinators, its view of the metadata.
//! Lives on: one thread; nothing of it is shared. Others reach it by [`mesh::Request`].
//! Invariants:
//! 1. A partition is in `partitions` if and only if this shard owns it and its log is open.
//! 2. `image` never names a partition of this shard whose log is not open (or failed to open).
//!
//! Not here: start and stop (`boot.rs`), APIs (`handlers.rs`).

pub(crate) mod transactions;
pub(crate) mod verify;

pub(crate) mod cache;
pub(crate) mod cleaner;
pub(crate) mod control;
pub(crate) mod coordinators;
pub(crate) mod direct;
pub(crate) mod disks;
pub(crate) mod flush;
pub(crate) mod housekeeping;
pub(crate) mod logs;
pub(crate) mod moves;
pub(crate) mod producer_ids;
mod replay;
pub(crate) mod snapshots;

use std::cell::{Cell, OnceCell, RefCell};
use std::ops::RangeInclusive;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use corelog_net::connection::{Dispatched, Peer, Request, Service};
use corelog_net::server::{Accepted, Server};
use corelog_net::wire::{ApiKey, ErrorCode};
use corelog_runtime::{Map, Notify, Semaphore, spawn};
use corelog_storage::batch::Transcoder;
use corelog_storage::disk::LogDir;
use corelog_storage::types::TopicId;

use crate::admin::Status;
use crate::config::broker::Writes;
use crate::config::{BrokerConfig, TopicConfig};
use crate::gate;
use crate::group::GroupSettings;
use crate::handlers::fetch::session::Sessions;
use crate::handlers::{self, Context, Turn};
use crate::mesh::{self, Mesh, Pending, Served};
use crate::metadata::{ClusterView, Image, TopicImage};
use crate::metrics::Metrics;
use crate::partition::Partition;
use crate::partition::readahead::{READS_AHEAD, Readahead};
use crate::partition::watch::{Fetching, Watch};
use crate::telemetry::{Software, Telemetry};
use crate::txn::TxnSettings;
use cache::CacheWindow;
use cleaner::Cleaner;
use control::Control;
use coordinators::{Asked, Coordinators};
use disks::{Allowances, Disks};
use flush::Queue;
use logs::Unserved;
use moves::Move;
use producer_ids::ProducerIds;
use transactions::Transactions;

/// What of the settings the hot path asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// `corelog.sync.on.ack`.
    pub(crate) sync_on_ack: bool,
    /// `fetch.max.bytes`.
    pub(crate) fetch_size_max: usize,
    /// `corelog.tail.bytes`, per shard.
    pub(crate) tail_bytes_max: usize,
    /// `corelog.cache.bytes`, per shard.
    pub(crate) cache_bytes_max: u64,
}

/// The checkpointed offsets of one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogOffsets {
    pub(crate) name: corelog_storage::types::TopicPartition,
    pub(crate) directory: usize,
    pub(crate) recovery_point: corelog_storage::types::Offset,
    pub(crate) log_start_offset: corelog_storage::types::Offset,
    pub(crate) high_watermark: corelog_storage::types::Offset,
    /// Below it a compacted log is clean.
    pub(crate) cleaned: Option<corelog_storage::types::Offset>,
    /// The directory it left a moment ago: its checkpoint files name it once more.
    pub(crate) left: Option<usize>,
}

/// What one log holds, as DescribeLogDirs tells it.
#[derive(Clone, Debug)]
pub(crate) struct LogSize {
    pub(crate) name: corelog_storage::types::TopicPartition,
    pub(crate) directory: usize,
    /// Bytes of all segments.
    pub(crate) size: u64,
    /// Of a copy on its way: how many offsets it is behind the log.
    pub(crate) future_lag: Option<i64>,
}

/// One core's part of the broker.
pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) shards: usize,
    pub(crate) mesh: Rc<Mesh>,
    /// As it was at the start.
    pub(crate) config: Arc<BrokerConfig>,
    /// With the dynamic values of the image on top.
    live: RefCell<Arc<BrokerConfig>>,
    pub(crate) settings: Settings,
    pub(crate) directories: Arc<[LogDir]>,
    /// The directory of the metadata log.
    pub(crate) metadata_directory: usize,
    /// Partitions of this shard whose logs are not open: their directory is offline, or they are damaged.
    pub(crate) unserved: RefCell<Map<(TopicId, i32), Unserved>>,
    /// Partitions of this shard on their way to another directory.
    pub(crate) moves: RefCell<Map<(TopicId, i32), Rc<Move>>>,
    /// How to write in each directory.
    pub(crate) write_ways: Arc<[Writes]>,
    pub(crate) partitions: RefCell<Map<(TopicId, i32), Rc<Partition>>>,
    pub(crate) writes: Queue,
    pub(crate) cache: CacheWindow,
    pub(crate) allowances: Allowances,
    pub(crate) cleaner: Cleaner,
    pub(crate) readahead: RefCell<Readahead>,
    /// The turn to read a piece ahead, of every log directory.
    pub(crate) reading_ahead: Box<[Semaphore]>,
    pub(crate) sessions: RefCell<Sessions>,
    pub(crate) metrics: Metrics,
    pub(crate) telemetry: Telemetry,
    /// How far the broker is; told by shard 0.
    pub(crate) status: Status,
    pub(crate) coordinators: Coordinators,
    pub(crate) transactions: Transactions,
    pub(crate) producer_ids: ProducerIds,
    /// The controller; on shard 0 only.
    pub(crate) control: OnceCell<Control>,
    pub(crate) server: OnceCell<Server<Shard>>,
    /// Sockets that others accepted before this shard listened.
    pub(crate) early: RefCell<Vec<Accepted>>,
    pub(crate) cluster_id: Arc<str>,
    image: RefCell<Arc<Image>>,
    topic_configs: RefCell<Map<TopicId, Arc<TopicConfig>>>,
    /// Images are followed one after the other, and none before the logs are open: a partition that is being opened
    /// would be taken for a new one.
    following: Semaphore,
    /// Fetches of other shards that wait here, by sender and call.
    waiting_fetches: RefCell<Map<(usize, u64), Fetching>>,
    /// What fetch sessions have here, by the shard of their connection and their number there.
    pub(crate) watches: RefCell<Map<(usize, u64), Rc<Watch>>>,
    /// Watches of single fetches that are over.
    pub(crate) spare_watches: RefCell<Vec<Rc<Watch>>>,
    /// Compresses small batches anew; large ones are, one at a time, elsewhere.
    pub(crate) transcoder: RefCell<Transcoder>,
    pub(crate) transcoding: Semaphore,
    pub(crate) tail_bytes: Cell<usize>,
    is_closed: Cell<bool>,
    closing: Notify,
    weak: Weak<Shard>,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) index: usize,
    pub(crate) ports: mesh::Ports,
    pub(crate) shards: usize,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) settings: Settings,
    pub(crate) directories: Arc<[LogDir]>,
    pub(crate) disks: Arc<Disks>,
    pub(crate) metadata_directory: usize,
    pub(crate) write_ways: Arc<[Writes]>,
    pub(crate) image: Arc<Image>,
    pub(crate) cluster_id: Arc<str>,
}

impl Shard {
    /// The shard, and the tasks that serve the others and carry out the logs' plans.
    pub(crate) fn start(parts: Parts) -> Rc<Self> {
        let slots = parts
            .config
            .fetch_session_cache_slots
            .div_ceil(parts.shards);
        let group_settings = Arc::new(group_settings(&parts.config.group));
        let shard = Rc::new_cyclic(|weak| Self {
            index: parts.index,
            shards: parts.shards,
            mesh: Rc::new(Mesh::new(parts.ports, parts.shards)),
            settings: parts.settings,
            metadata_directory: parts.metadata_directory,
            unserved: RefCell::default(),
            moves: RefCell::default(),
            reading_ahead: parts
                .write_ways
                .iter()
                .map(|_| Semaphore::new(READS_AHEAD))
                .collect(),
            write_ways: parts.write_ways,
            partitions: RefCell::default(),
            writes: Queue::new(),
            allowances: Allowances::new(parts.disks),
            cache: CacheWindow::new(parts.settings.cache_bytes_max),
            cleaner: Cleaner::new(),
            readahead: RefCell::default(),
            sessions: RefCell::new(Sessions::new(slots)),
            metrics: Metrics::new(parts.directories.len()),
            telemetry: Telemetry::new(),
            directories: parts.directories,
            status: Status::new(),
            coordinators: Coordinators::new(group_settings),
            transactions: Transactions::new(txn_settings(&parts.config.transaction)),
            producer_ids: ProducerIds::new(),
            control: OnceCell::new(),
            server: OnceCell::new(),
            early: RefCell::default(),
            cluster_id: parts.cluster_id,
            image: RefCell::new(parts.image),
            topic_configs: RefCell::default(),
            following: Semaphore::new(0),
            waiting_fetches: RefCell::default(),
            watches: RefCell::default(),
            spare_watches: RefCell::default(),
            transcoder: RefCell::default(),
            transcoding: Semaphore::new(1),
            tail_bytes: Cell::new(0),
            is_closed: Cell::new(false),
            closing: Notify::new(),
            weak: weak.clone(),
            live: RefCell::new(Arc::clone(&parts.config)),
            config: parts.config,
        });
        spawn("flush", Rc::clone(&shard).write_for_ever()).detach();
        spawn("group timers", Rc::clone(&shard).tick_groups()).detach();
        spawn("transaction timers", Rc::clone(&shard).tick_transactions()).detach();
        spawn("housekeeping", Rc::clone(&shard).keep_house_for_ever()).detach();
        spawn("give back", Rc::clone(&shard).give_back_for_ever()).detach();
        spawn("watch disks", Rc::clone(&shard).watch_disks_for_ever()).detach();
        spawn("cleaner", Rc::clone(&shard).clean_for_ever()).detach();
        spawn("mesh replies", Rc::clone(&shard.mesh).collect()).detach();
        let serving = Rc::clone(&shard);
        let serve = move |from, call, request| Rc::clone(&serving).accept(from, call, request);
        spawn("mesh requests", Rc::clone(&shard.mesh).serve(serve)).detach();
        shard
    }

    /// Itself, counted.
    pub(crate) fn itself(&self) -> Rc<Self> {
        self.weak
            .upgrade()
            .expect("whoever calls a method holds the shard")
    }

    /// The metadata as this shard knows it.
    pub(crate) fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image.borrow())
    }

    /// The settings in force now, dynamic ones included.
    pub(crate) fn live_config(&self) -> Arc<BrokerConfig> {
        Arc::clone(&self.live.borrow())
    }

    pub(crate) fn partition(&self, topic_id: TopicId, partition: i32) -> Option<Rc<Partition>> {
        self.partitions
            .borrow()
            .get(&(topic_id, partition))
            .cloned()
    }

    /// What is answered for a partition that this shard has no log of.
    #[cold]
    pub(crate) fn absent(&self, topic_id: TopicId, partition: i32) -> ErrorCode {
        if self.unserved.borrow().contains_key(&(topic_id, partition)) {
            ErrorCode::KafkaStorageError
        } else {
            ErrorCode::UnknownTopicOrPartition
        }
    }

    /// The settings in force for a topic.
    pub(crate) fn topic_config(&self, topic: &TopicImage) -> Arc<TopicConfig> {
        let id = TopicId(topic.id.0);
        if let Some(config) = self.topic_configs.borrow().get(&id) {
            return Arc::clone(config);
        }
        let config = Arc::new(self.resolve(&self.image(), &topic.name));
        self.topic_configs
            .borrow_mut()
            .insert(id, Arc::clone(&config));
        config
    }

    /// Host and port that clients of a listener are told.
    pub(crate) fn advertised(&self, listener: usize) -> (&str, u16) {
        let endpoint = &self.config.advertised[listener];
        (&endpoint.host, endpoint.port)
    }

    /// The image as a client of a listener sees it.
    pub(crate) fn view<'a>(&'a self, image: &'a Image, listener: usize) -> ClusterView<'a> {
        ClusterView {
            image,
            cluster_id: &self.cluster_id,
            node_id: self.config.node_id,
            listener: &self.config.listeners[listener].endpoint.name,
        }
    }

    /// Resolves when the shard has closed its logs, its last duty.
    pub(crate) async fn closed(&self) {
        while !self.is_closed.get() {
            self.closing.notified().await;
        }
    }

    /// Starts a request to any shard, itself included; its order is fixed when this returns.
    pub(crate) async fn start_call(self: &Rc<Self>, to: usize, request: mesh::Request) -> Pending {
        if to != self.index {
            return self.mesh.start(to, request).await;
        }
        Pending::here(Rc::clone(self).accept(to, None, request))
    }

    /// Asks a shard and waits for its answer.
    pub(crate) async fn call(self: &Rc<Self>, to: usize, request: mesh::Request) -> mesh::Reply {
        self.start_call(to, request).await.reply().await
    }

    /// Asks every shard and waits for all answers, in the order of the shards.
    pub(crate) async fn call_all(
        self: &Rc<Self>,
        mut request: impl FnMut() -> mesh::Request,
    ) -> Vec<mesh::Reply> {
        let mut pending = Vec::with_capacity(self.shards);
        for to in 0..self.shards {
            pending.push(self.start_call(to, request()).await);
        }
        let mut replies = Vec::with_capacity(pending.len());
        for one in pending {
            replies.push(one.reply().await);
        }
        replies
    }

    /// Takes in a request of another shard: what has an order gets its place before this returns,
    /// what takes time is the future.
    fn accept(self: Rc<Self>, from: usize, call: Option<u64>, request: mesh::Request) -> Served {
        match request {
            mesh::Request::Append(append) => {
                let pending = self.append(append);
                Served::later(async move { mesh::Reply::Appended(pending.acknowledged().await) })
            }
            mesh::Request::Fetch(mut fetch) => {
                let fetching = self.begin_fetch(from, &mut fetch);
                let key = call.map(|call| (from, call));
                if let Some(key) = key {
                    self.waiting_fetches
                        .borrow_mut()
                        .insert(key, fetching.clone());
                }
                Served::later(async move {
                    let answers = Rc::clone(&self).fetch(fetch, fetching).await;
                    if let Some(key) = key {
                        self.waiting_fetches.borrow_mut().remove(&key);
                    }
                    mesh::Reply::Fetched(answers)
                })
            }
            mesh::Request::CancelFetch(call) => {
                if let Some(fetching) = self.waiting_fetches.borrow().get(&(from, call)) {
                    fetching.cancel();
                }
                Served::Done
            }
            mesh::Request::Unwatch(number) => {
                self.unwatch(from, number);
                Served::Done
            }
            mesh::Request::Lookup(lookup) => {
                Served::later(async move { mesh::Reply::Looked(self.look(lookup).await) })
            }
            mesh::Request::Group { partition, request } => {
                match self.ask_group(partition, *request) {
                    Asked::Now(reply) => Served::Now(mesh::Reply::Group(Box::new(reply))),
                    Asked::Later(later) => {
                        Served::later(
                            async move { mesh::Reply::Group(Box::new(later.reply().await)) },
                        )
                    }
                }
            }
            mesh::Request::Txn { partition, request } => Served::later(async move {
                mesh::Reply::Txn(Box::new(self.txn(partition, *request).await))
            }),
            mesh::Request::Verify(wanted) => {
                let standings = self.standings(&wanted);
                Served::Now(mesh::Reply::Standings(standings))
            }
            mesh::Request::Producers(wanted) => {
                let producers = self.producers(&wanted);
                Served::Now(mesh::Reply::Producers(producers))
            }
            mesh::Request::Control(request) => Served::later(async move {
                self.control(*request)
                    .await
                    .map_or(mesh::Reply::Gone, |answer| {
                        mesh::Reply::Control(Box::new(answer))
                    })
            }),
            mesh::Request::Publish { image, delta } => Served::later(async move {
                self.follow(image, delta).await;
                mesh::Reply::Done
            }),
            mesh::Request::Open(checkpoints) => {
                Served::later(async move { mesh::Reply::Opened(self.open_logs(checkpoints).await) })
            }
            mesh::Request::Listen(admission, addresses) => {
                Served::Now(mesh::Reply::Listening(self.listen(&admission, &addresses)))
            }
            mesh::Request::Adopt(accepted) => {
                match self.server.get() {
                    Some(server) => server.adopt(accepted),
                    // Another shard listens already; `listen` takes it.
                    None => self.early.borrow_mut().push(accepted),
                }
                Served::Done
            }
            mesh::Request::Beat => Served::Now(mesh::Reply::Done),
            mesh::Request::Checkpoint => Served::Now(mesh::Reply::Offsets(self.offsets())),
            mesh::Request::DirectoryFailed(at) => {
                self.take_offline(at);
                Served::Done
            }
            mesh::Request::Relocate(wanted) => {
                let errors = self.relocate(&wanted);
                Served::Now(mesh::Reply::Relocated(errors))
            }
            mesh::Request::Sample(selection) => {
                Served::later(
                    async move { mesh::Reply::Sample(Box::new(self.sample(selection).await)) },
                )
            }
            mesh::Request::Sizes => Served::Now(mesh::Reply::Sizes(self.sizes())),
            mesh::Request::Drain => Served::later(async move {
                self.drain().await;
                mesh::Reply::Done
            }),
            mesh::Request::Close => Served::later(async move {
                let offsets = Rc::clone(&self).close_logs().await;
                self.is_closed.set(true);
                self.closing.notify_all();
                mesh::Reply::Offsets(offsets)
            }),
        }
    }

    fn set_image(&self, image: Arc<Image>) {
        *self.image.borrow_mut() = image;
    }
}

/// The settings of groups as their coordinators take them.
fn group_settings(config: &crate::config::broker::GroupConfig) -> GroupSettings {
    let unsigned = |ms: i64| u64::try_from(ms).unwrap_or(0);
    let timeout = |ms: i64| i32::try_from(ms).unwrap_or(i32::MAX);
    GroupSettings {
        session_timeout_ms_min: timeout(config.min_session_timeout_ms),
        session_timeout_ms_max: timeout(config.max_session_timeout_ms),
        initial_rebalance_delay_ms: unsigned(config.initial_rebalance_delay_ms),
        members_max: config.max_size,
        offset_metadata_size_max: config.offset_metadata_max_bytes,
        offsets_retention_ms: config.offsets_retention_ms,
        offsets_retention_check_interval_ms: unsigned(config.offsets_retention_check_interval_ms),
        consumer: config.consumer.clone(),
        ..GroupSettings::default()
    }
}

/// The settings of transactions as their coordinators take them.
fn txn_settings(config: &crate::config::broker::TransactionConfig) -> TxnSettings {
    let unsigned = |ms: i64| u64::try_from(ms).unwrap_or(0);
    TxnSettings {
        timeout_ms_max: config.max_timeout_ms,
        id_expiration_ms: config.id_expiration_ms,
        abort_interval_ms: unsigned(config.abort_timed_out_interval_ms),
        expiry_interval_ms: unsigned(config.remove_expired_interval_ms),
        ..TxnSettings::default()
    }
}

/// What a connection is to its shard.
pub(crate) struct Session {
    listener: usize,
    client_host: String,
    client_port: u16,
    /// Told by ApiVersions.
    software: Rc<RefCell<Software>>,
    turn: Rc<Turn>,
}

impl Service for Shard {
    type Session = Session;

    fn open(self: &Rc<Self>, peer: &Peer) -> Session {
        let named = |listener: &crate::config::Listener| *listener.endpoint.name == *peer.listener;
        Session {
            listener: self.config.listeners.iter().position(named).unwrap_or(0),
            client_host: format!("/{}", peer.addr.ip()),
            client_port: peer.addr.port(),
            software: Rc::default(),
            turn: Rc::default(),
        }
    }

    fn versions(&self, api_key: ApiKey) -> Option<RangeInclusive<i16>> {
        handlers::versions(api_key)
    }

    async fn dispatch(self: &Rc<Self>, session: &Rc<Session>, request: Request) -> Dispatched {
        let admitted = gate::admit(session, &request);
        if request.header.api_key == ApiKey::Produce {
            return handlers::produce::dispatch(self, &session.turn, admitted, request).await;
        }
        if request.header.api_key == ApiKey::Fetch {
            return handlers::dispatch_fetch(self, &session.turn, admitted, request);
        }
        let context = |request: &Request| Context {
            version: request.header.api_version,
            client_id: request.header.client_id().to_owned(),
            client_host: session.client_host.clone(),
            client_port: session.client_port,
            software: Rc::clone(&session.software),
            listener: session.listener,
        };
        let (turn, key) = (&session.turn, request.header.api_key);
        let begun = match key {
            ApiKey::Heartbeat => handlers::heartbeat::begin(self, turn, &admitted, request),
            ApiKey::ConsumerGroupHeartbeat => {
                let context = context(&request);
                handlers::consumer_group_heartbeat::begin(self, turn, &admitted, context, request)
            }
            _ => Err(request),
        };
        begun.unwrap_or_else(|request| {
            handlers::dispatch(self, turn, admitted, context(&request), request)
        })
    }

    fn closed(self: &Rc<Self>, session: Rc<Session>) {
        drop(session);
    }
}
