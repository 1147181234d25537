//! A Kafka client on the shard runtime.
//!
//! **Owns** what a client of any Kafka 4.x cluster needs: connections, versions, metadata, [`admin`], [`producer`],
//! [`consumer`].
//! **Lives on** the thread inside [`corelog_runtime::Runtime::run`]; every type here is local to it.
//! **Invariants** (1) Nothing blocks the thread: names are resolved on the companion. (2) Dropping a [`Client`],
//! [`producer::Producer`] or [`consumer::Consumer`] ends its tasks and closes its connections.
//! **Not here** printing and flags (`cli`), load generation (`load`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::messages::describe_cluster::DescribeClusterRequest;
use corelog_net::wire::messages::find_coordinator::FindCoordinatorRequest;
use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use corelog_net::wire::{ErrorCode, Request, Uuid};
use corelog_runtime::{Instant, now, sleep};

pub mod admin;
pub mod connection;
pub mod consumer;
mod error;
pub mod metadata;
mod murmur2;
pub mod producer;

pub use connection::Connection;
pub use error::{ApiError, CallError, ConnectError, error_name};
pub use metadata::Metadata;

/// What a client needs to know before it can connect.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port` of some brokers (`bootstrap.servers`).
    pub bootstrap: Vec<String>,
    /// Sent with every request (`client.id`).
    pub client_id: String,
    /// How long to wait for one connection.
    pub connect_timeout: Duration,
    /// How long to wait for one response (`request.timeout.ms`).
    pub request_timeout: Duration,
    /// How long to go on when something retriable fails (`default.api.timeout.ms`).
    pub api_timeout: Duration,
    /// The pause between two tries (`retry.backoff.ms`).
    pub retry_backoff: Duration,
    /// The socket's receive buffer in bytes (`receive.buffer.bytes`); none leaves it to the kernel.
    pub receive_buffer: Option<usize>,
    /// After how long metadata is asked for again (`metadata.max.age.ms`).
    pub metadata_age_max: Duration,
    /// Whether the bootstrap addresses are controllers' (`bootstrap.controllers`).
    pub controllers: bool,
}

impl ClientConfig {
    /// Defaults of Kafka's clients, for these brokers.
    pub fn new(bootstrap: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(Into::into).collect(),
            client_id: "corelog".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            api_timeout: Duration::from_mins(1),
            retry_backoff: Duration::from_millis(100),
            receive_buffer: None,
            metadata_age_max: Duration::from_mins(5),
            controllers: false,
        }
    }
}

/// The entry to a cluster: connections by broker, and what is known about topics.
pub struct Client {
    config: ClientConfig,
    metadata: RefCell<Metadata>,
    /// Connections for metadata and administration, and those a producer or consumer shares, by node id.
    nodes: RefCell<BTreeMap<i32, Rc<Connection>>>,
    bootstrap: RefCell<Option<Rc<Connection>>>,
    /// Topics that somebody works with; a refresh asks for all of them.
    wanted: RefCell<std::collections::BTreeSet<String>>,
    auto_create: Cell<bool>,
}

impl Client {
    /// Connects to the first bootstrap broker that answers, and asks it who the brokers are.
    pub async fn connect(config: ClientConfig) -> Result<Rc<Self>, ConnectError> {
        let client = Rc::new(Self {
            config,
            metadata: RefCell::default(),
            nodes: RefCell::default(),
            bootstrap: RefCell::default(),
            wanted: RefCell::default(),
            auto_create: Cell::new(true),
        });
        let until = now() + client.config.api_timeout;
        loop {
            match client.refresh().await {
                Ok(()) => return Ok(client),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(client.config.retry_backoff).await;
                }
                Err(error) => return Err(ConnectError::Bootstrap(Box::new(error))),
            }
        }
    }

    /// Like [`Client::connect`], but tries every bootstrap broker only once.
    pub async fn connect_once(config: ClientConfig) -> Result<Rc<Self>, ConnectError> {
        let config = ClientConfig {
            api_timeout: Duration::ZERO,
            ..config
        };
        Self::connect(config).await
    }

    /// The configuration.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether asking for the metadata of a topic may create it (`allow.auto.create.topics`).
    pub fn set_auto_create(&self, on: bool) {
        self.auto_create.set(on);
    }

    /// What is known about brokers and topics.
    pub fn metadata(&self) -> std::cell::Ref<'_, Metadata> {
        self.metadata.borrow()
    }

    /// Asks again for brokers and for the topics in use.
    pub async fn refresh(&self) -> Result<(), CallError> {
        let topics = self.wanted.borrow().iter().cloned().collect::<Vec<_>>();
        self.refresh_some(topics).await
    }

    async fn refresh_some(&self, topics: Vec<String>) -> Result<(), CallError> {
        if self.config.controllers {
            return self.refresh_controllers().await;
        }
        let request = MetadataRequest {
            topics: Some(
                topics
                    .into_iter()
                    .map(|name| MetadataRequestTopic {
                        name: Some(name),
                        ..MetadataRequestTopic::default()
                    })
                    .collect(),
            ),
            allow_auto_topic_creation: self.auto_create.get(),
            ..MetadataRequest::default()
        };
        let response = self.call_any(&request).await?;
        self.metadata.borrow_mut().learn(response, now());
        Ok(())
    }

    /// Controllers know of each other, and of no topics.
    async fn refresh_controllers(&self) -> Result<(), CallError> {
        let request = DescribeClusterRequest {
            endpoint_type: 2,
            ..DescribeClusterRequest::default()
        };
        let response = self.call_any(&request).await?;
        self.metadata
            .borrow_mut()
            .learn_controllers(response, now());
        Ok(())
    }

    /// Waits until the topic is known with a leader for each partition, and gives its partition count. From then on
    /// refreshes include it.
    pub async fn topic(&self, name: &str) -> Result<i32, ApiError> {
        self.topic_within(name, self.config.api_timeout).await
    }

    /// [`Client::topic`] with a limit of its own.
    pub async fn topic_within(&self, name: &str, limit: Duration) -> Result<i32, ApiError> {
        if let Some(topic) = self.metadata().topic(name)
            && topic.error == ErrorCode::None
            && topic.has_leaders()
        {
            return topic.partition_count();
        }
        self.wanted.borrow_mut().insert(name.to_owned());
        let until = now() + limit;
        loop {
            let refreshed = self.refresh_some(vec![name.to_owned()]).await;
            let error = match refreshed {
                Err(error) if !error.is_retriable() => return Err(error.into()),
                Err(error) => ApiError::from(error),
                Ok(()) => {
                    let metadata = self.metadata();
                    match metadata.topic(name) {
                        Some(topic) if topic.error == ErrorCode::None && topic.has_leaders() => {
                            return topic.partition_count();
                        }
                        Some(topic) if topic.error != ErrorCode::None => {
                            if !topic.error.is_retriable() {
                                return Err(ApiError::code(topic.error));
                            }
                            ApiError::code(topic.error)
                        }
                        Some(_) => ApiError::code(ErrorCode::LeaderNotAvailable),
                        None => ApiError::code(ErrorCode::UnknownTopicOrPartition),
                    }
                }
            };
            if now() >= until {
                return Err(error);
            }
            sleep(self.config.retry_backoff).await;
        }
    }

    /// Stops including a topic in refreshes.
    pub fn forget_topic(&self, name: &str) {
        self.wanted.borrow_mut().remove(name);
        self.metadata.borrow_mut().forget(name);
    }

    /// Makes the next [`Client::topic`] ask the brokers, without leaving refreshes.
    pub fn forget_leader(&self, name: &str) {
        self.metadata.borrow_mut().doubt(name);
    }

    /// Whether the metadata is older than it should be.
    pub fn metadata_is_stale(&self) -> bool {
        self.metadata().age(now()) > self.config.metadata_age_max
    }

    /// The connection to a broker, made on first use and again when it broke.
    pub async fn node(&self, id: i32) -> Result<Rc<Connection>, CallError> {
        if let Some(connection) = self.nodes.borrow().get(&id)
            && !connection.is_closed()
        {
            return Ok(Rc::clone(connection));
        }
        let connection = self.dial_node(id).await?;
        self.nodes.borrow_mut().insert(id, Rc::clone(&connection));
        Ok(connection)
    }

    /// A connection of its own to a broker, shared with nobody.
    pub async fn dial_node(&self, id: i32) -> Result<Rc<Connection>, CallError> {
        let (host, port) = {
            let metadata = self.metadata();
            let broker = metadata.broker(id).ok_or(CallError::UnknownNode(id))?;
            (broker.host.clone(), broker.port)
        };
        self.dial(&host, port).await
    }

    /// Any broker that answers.
    pub async fn any(&self) -> Result<Rc<Connection>, CallError> {
        let open = self
            .nodes
            .borrow()
            .values()
            .find(|connection| !connection.is_closed())
            .cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let open = self
            .bootstrap
            .borrow()
            .clone()
            .filter(|connection| !connection.is_closed());
        if let Some(connection) = open {
            return Ok(connection);
        }
        let known: Vec<(String, u16)> = self
            .metadata()
            .brokers()
            .map(|broker| (broker.host.clone(), broker.port))
            .collect();
        let mut last = None;
        for (host, port) in known {
            match self.dial(&host, port).await {
                Ok(connection) => {
                    *self.bootstrap.borrow_mut() = Some(Rc::clone(&connection));
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        for address in &self.config.bootstrap {
            let dialled = match split_address(address) {
                Some((host, port)) => self.dial(host, port).await,
                None => Err(CallError::BadAddress(address.clone())),
            };
            match dialled {
                Ok(connection) => {
                    *self.bootstrap.borrow_mut() = Some(Rc::clone(&connection));
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(CallError::NoBootstrap))
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Rc<Connection>, CallError> {
        let addresses = resolve(host, port).await?;
        let mut last = None;
        for address in addresses {
            match Connection::open(address, &self.config).await {
                Ok(connection) => return Ok(Rc::new(connection)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| CallError::BadAddress(format!("{host}:{port}"))))
    }

    /// Calls any broker.
    pub async fn call_any<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        self.any().await?.call(request).await
    }

    /// Calls one broker.
    pub async fn call_node<R: Request>(
        &self,
        id: i32,
        request: &R,
    ) -> Result<R::Response, CallError> {
        self.node(id).await?.call(request).await
    }

    /// Finds the broker that coordinates a group or transaction.
    pub async fn coordinator(&self, kind: Coordinates, key: &str) -> Result<i32, ApiError> {
        let until = now() + self.config.api_timeout;
        loop {
            let error = match self.find_coordinator(kind, key).await {
                Ok(node) => return Ok(node),
                Err(error) => error,
            };
            if !error.is_retriable() || now() >= until {
                return Err(error);
            }
            sleep(self.config.retry_backoff).await;
        }
    }

    async fn find_coordinator(&self, kind: Coordinates, key: &str) -> Result<i32, ApiError> {
        let connection = self.any().await?;
        let batched = connection
            .version_of::<FindCoordinatorRequest>()
            .is_some_and(|version| version >= 4);
        let request = FindCoordinatorRequest {
            key: if batched {
                String::new()
            } else {
                key.to_owned()
            },
            key_type: kind as i8,
            coordinator_keys: if batched {
                vec![key.to_owned()]
            } else {
                Vec::new()
            },
            ..FindCoordinatorRequest::default()
        };
        let response = connection.call(&request).await?;
        let (code, message, id, host, port) = match response.coordinators.into_iter().next() {
            Some(it) => (
                it.error_code,
                it.error_message,
                it.node_id,
                it.host,
                it.port,
            ),
            None => (
                response.error_code,
                response.error_message,
                response.node_id,
                response.host,
                response.port,
            ),
        };
        ApiError::check(code, message)?;
        if let Ok(port) = u16::try_from(port) {
            self.metadata.borrow_mut().learn_broker(id, host, port);
        }
        Ok(id)
    }

    /// The id that the last metadata gave for a topic; zero when there is none.
    pub fn topic_id(&self, name: &str) -> Uuid {
        self.metadata()
            .topic(name)
            .map_or(Uuid::ZERO, |topic| topic.id)
    }

    /// The name of a topic by its id: as it is known, or else as a broker says; none when the brokers do not have it. From
    /// then on refreshes include it.
    pub async fn topic_name(&self, id: Uuid) -> Result<Option<String>, CallError> {
        if let Some(name) = self.metadata().name_of(id) {
            return Ok(Some(name.to_owned()));
        }
        let response = self.call_any(&about_topic(id)).await?;
        self.metadata.borrow_mut().learn(response, now());
        let name = self.metadata().name_of(id).map(str::to_owned);
        if let Some(name) = &name {
            self.wanted.borrow_mut().insert(name.clone());
        }
        Ok(name)
    }

    /// When the metadata was last learned.
    pub fn metadata_learned(&self) -> Option<Instant> {
        self.metadata().learned()
    }
}

/// Asks for a topic by its id.
pub(crate) fn about_topic(id: Uuid) -> MetadataRequest {
    MetadataRequest {
        topics: Some(vec![MetadataRequestTopic {
            topic_id: id,
            name: None,
            ..MetadataRequestTopic::default()
        }]),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    }
}

/// What a coordinator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Coordinates {
    /// A consumer group.
    Group = 0,
    /// A transactional id.
    Transaction = 1,
}

/// `host:port`, also `[v6]:port`.
pub fn split_address(address: &str) -> Option<(&str, u16)> {
    let address = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .map_or(Some(host), |rest| rest.strip_suffix(']'))?;
    if host.is_empty() || (host.contains(':') && host.parse::<IpAddr>().is_err()) {
        return None;
    }
    Some((host, port.parse().ok()?))
}

async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, CallError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let name = host.to_owned();
    let found = corelog_runtime::blocking("resolve", move || {
        (name.as_str(), port)
            .to_socket_addrs()
            .map(Iterator::collect::<Vec<_>>)
            .map_err(|error| error.to_string())
    })
    .await;
    match found {
        // v4 first: a broker that listens on 127.0.0.1 is the usual `localhost`.
        Ok(mut addresses) => {
            addresses.sort_by_key(SocketAddr::is_ipv6);
            Ok(addresses)
        }
        Err(reason) => Err(CallError::Resolve {
            host: host.to_owned(),
            reason,
        }),
    }
}

#[cfg(test)]
mod tests;
