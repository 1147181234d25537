//! **Owns** a connection whose versions are agreed.
//! **Lives on** the client's thread.
//! **Invariants** (1) Every request leaves in the newest version that both sides speak.
//! **Not here** frames and correlation (`corelog_net::client`), which broker to ask (`client`).

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::client::{BrokerVersions, Client, ClientOptions, PendingResponse, RequestWriter};
use corelog_net::wire::{ApiKey, Budget, Decoder, Message, Request};

use super::{CallError, ClientConfig};

/// A connection to one broker. Ends when dropped.
pub struct Connection {
    wire: Client,
    versions: BrokerVersions,
}

impl Connection {
    /// Connects and agrees on versions.
    pub async fn open(address: SocketAddr, config: &ClientConfig) -> Result<Self, CallError> {
        let options = ClientOptions {
            client_id: Some(config.client_id.as_str().into()),
            connect_timeout: config.connect_timeout,
            request_timeout: config.request_timeout,
            receive_buffer: config.receive_buffer,
            ..ClientOptions::default()
        };
        let wire = Client::connect(address, &options).await?;
        let versions = wire.versions("corelog", env!("CARGO_PKG_VERSION")).await?;
        Ok(Self { wire, versions })
    }

    /// Where it leads.
    pub fn address(&self) -> SocketAddr {
        self.wire.addr()
    }

    /// Whether it broke.
    pub fn is_closed(&self) -> bool {
        self.wire.ended().is_some()
    }

    /// What the broker serves.
    pub fn versions(&self) -> &BrokerVersions {
        &self.versions
    }

    /// The version in which `R` is sent; none when there is no common one.
    pub fn version_of<R: Request>(&self) -> Option<i16> {
        self.versions.best::<R>().ok()
    }

    /// Sends a request and waits for its response.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response, CallError> {
        let version = self.versions.best::<R>()?;
        Ok(self.wire.call(version, request).await?)
    }

    /// [`Connection::call`] with a limit of its own.
    pub async fn call_within<R: Request>(
        &self,
        limit: Duration,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let version = self.versions.best::<R>()?;
        Ok(self.wire.call_within(version, request, limit).await?)
    }

    /// Sends a request in a version not above `newest`, and waits for its response.
    pub async fn call_up_to<R: Request>(
        &self,
        newest: i16,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let version = self.best(R::API_KEY, *R::VALID_VERSIONS.start()..=newest)?;
        Ok(self.wire.call(version, request).await?)
    }

    /// The newest common version within `ours`.
    pub fn best(&self, api: ApiKey, ours: RangeInclusive<i16>) -> Result<i16, CallError> {
        Ok(self.versions.best_within(api, &ours)?)
    }

    /// Begins a request that is written piece by piece.
    pub fn request(&self, api: ApiKey, version: i16, capacity: usize) -> RequestWriter {
        self.wire.request(api, version, capacity)
    }

    /// Sends such a request. Its place among the others is fixed when this returns.
    pub fn send(&self, request: RequestWriter) -> Result<PendingResponse, CallError> {
        Ok(self.wire.send(request)?)
    }

    /// Sends a request that is not answered (Produce with `acks=0`).
    pub fn send_unanswered(&self, request: RequestWriter) -> Result<(), CallError> {
        Ok(self.wire.send_unanswered(request)?)
    }

    /// Waits until not much is left to be written.
    pub async fn writable(&self) -> Result<(), CallError> {
        Ok(self.wire.writable().await?)
    }

    /// Ends it; what is in flight fails.
    pub fn close(&self) {
        self.wire.close();
    }

    /// Reads a response body.
    pub fn decode<M: Message>(api_key: ApiKey, body: &Bytes, version: i16) -> Result<M, CallError> {
        let mut budget = Budget::for_frame(body.len());
        M::decode(&mut Decoder::new(body, &mut budget), version)
            .map_err(|error| corelog_net::client::ClientError::Decode { api_key, error }.into())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
