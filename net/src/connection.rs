//! Connections: requests in, responses out, in request order.
//!
//! **Owns** the contract between connections and what serves them ([`Service`]), and the life of a
//! connection from the accepted socket to its close.
//! **Lives on** the shard that the socket was handed to, as one task.
//! **Invariants**
//! 1. Responses leave in the order of their requests, whatever order they become ready in.
//! 2. A request is dispatched only after [`Service::dispatch`] of the one before it has returned.
//! 3. Memory is charged before it is taken; a peer that sends without reading, or announces without
//!    sending, holds a bounded amount (`limits`).
//! 4. [`Service::closed`] is called exactly once for every session opened, also after a panic.
//! 5. No fault of a peer, and no panic of a handler, ends more than the connection it came on.
//!
//! **Not here**: accepting and spreading (`server`), the meaning of requests (the broker).
//!
//! # Cost of a small request
//! On an idle connection: one wake-up of the task, one receive, one send. Allocations: one for the
//! counted owner of the receive block (`Block::freeze`; several requests that arrive together share
//! it) and what the service allocates, which is one buffer for the response and, for
//! [`Dispatched::Later`], its box. Queues, part lists and wakers of a connection are reused.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelog_runtime::Instant;

use crate::wire::ApiKey;
use crate::wire::limits::request_frame_size_max;

mod budget;
mod close;
mod input;
mod queue;
mod reader;
mod response;
mod state;
mod task;
mod writer;

pub use crate::frame::{Body, RequestHeader};
pub use budget::Charge;
pub use close::CloseReason;
pub use response::{Response, ResponseWriter};

pub(crate) use budget::Budget;
pub(crate) use state::{Order, Shared};
pub(crate) use task::serve;

/// What serves the requests of a shard's connections: the broker's shard, or a test's echo.
pub trait Service: 'static {
    /// What the service keeps per connection: principal, quota state, fetch sessions, ….
    type Session: 'static;

    /// A connection begins.
    fn open(self: &Rc<Self>, peer: &Peer) -> Self::Session;

    /// The versions of an API that are served; others, and APIs without, are refused by the
    /// connection.
    fn versions(&self, api_key: ApiKey) -> Option<RangeInclusive<i16>>;

    /// The largest frame of this API that is accepted from this session, given
    /// `socket.request.max.bytes`. An implementation with authentication lowers it before that.
    fn frame_size_max(
        &self,
        session: &Self::Session,
        api_key: ApiKey,
        socket_request_max_bytes: usize,
    ) -> usize {
        let _ = session;
        request_frame_size_max(api_key, socket_request_max_bytes)
    }

    /// Starts a request. When this returns, the request's place among all others is fixed and the
    /// connection may start its next one.
    ///
    /// The future of this is a part of every connection, idle ones too: box what is large in it.
    fn dispatch(
        self: &Rc<Self>,
        session: &Rc<Self::Session>,
        request: Request,
    ) -> impl Future<Output = Dispatched>;

    /// A connection has ended, however it ended.
    fn closed(self: &Rc<Self>, session: Rc<Self::Session>);
}

/// The other side of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The name of the listener it connected to, such as `PLAINTEXT`.
    pub listener: Arc<str>,
    /// A number that no other connection of this shard has had since the start.
    pub id: u64,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer={} listener={}", self.addr, self.listener)
    }
}

/// One request, whole.
#[derive(Debug)]
pub struct Request {
    /// Its header, with an API and a version that the service supports.
    pub header: RequestHeader,
    /// What follows the header: a slice of the receive buffer, which it keeps alive.
    pub body: Bytes,
    /// Bytes on the wire, the size prefix included.
    pub frame_size: usize,
    /// The memory of the frame, charged to its connection and shard until this is dropped. Keep it
    /// as long as `body` is kept *because of the request*.
    pub charge: Charge,
    /// When its last byte was seen.
    pub received: Instant,
}

/// What [`Service::dispatch`] made of a request.
pub enum Dispatched {
    /// It is answered.
    Now(Reply),
    /// It will be answered. The future is polled by the connection, concurrently with those of the
    /// requests before and after it, and dropped when the connection ends.
    Later(Later),
}

/// A reply that takes time.
pub type Later = Pin<Box<dyn Future<Output = Reply>>>;

impl fmt::Debug for Dispatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(reply) => f.debug_tuple("Now").field(reply).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// The outcome of a request, for its connection.
#[derive(Debug)]
pub enum Reply {
    /// Send this.
    Response(Response),
    /// Send nothing: Produce with acks=0.
    Nothing,
    /// Close, once the requests before this one have been answered: the request was not readable,
    /// or its answer can only be a close (an error of Produce with acks=0).
    Close(&'static str),
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

impl From<Response> for Dispatched {
    fn from(response: Response) -> Self {
        Self::Now(Reply::Response(response))
    }
}

impl From<Reply> for Dispatched {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}
