//! A client's connection: requests pipelined, responses matched.
//!
//! **Owns** the client's side of a connection, for tools, load generators and brokers that fetch.
//! **Lives on** one shard (one runtime); handles are `Rc`s of it.
//! **Invariants**
//! 1. Requests leave in the order of [`Client::send`]; responses come back in that order, and one
//!    that does not carry the expected correlation id ends the connection.
//! 2. When the connection ends, every request in flight learns why.
//! 3. No memory is taken for a response's claimed size beyond what has come (fourfold).
//!
//! **Not here**: which broker to ask, retries, metadata (`corelog_tools::client`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut, RangeInclusive};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use corelog_runtime::{Receiver, Sender, Task, Tcp, now, oneshot, spawn, timeout_at};

use crate::frame::{FrameWriter, HeaderError, Parts, skip_tagged_fields};
use crate::transport::Transport;
use crate::wire::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{
    ApiKey, Budget, DecodeError, Decoder, EncodeError, Encoder, ErrorCode, Message, Request,
};

mod driver;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The name it gives itself.
    pub client_id: Option<Rc<str>>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long [`Client::call`] waits for its response.
    pub request_timeout: Duration,
    /// The largest response that is accepted.
    pub response_size_max: usize,
    /// The socket's send buffer; `None` leaves it to the kernel.
    pub send_buffer: Option<usize>,
    /// The socket's receive buffer; `None` leaves it to the kernel.
    pub receive_buffer: Option<usize>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            client_id: None,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            response_size_max: 1 << 30,
            send_buffer: None,
            receive_buffer: None,
        }
    }
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Connecting failed.
    #[error("cannot connect to {addr}: {kind}")]
    Connect {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// The broker closed the connection. To a request it does not accept a broker answers so.
    #[error("{addr} closed the connection")]
    Closed {
        /// The address.
        addr: SocketAddr,
    },
    /// The connection failed.
    #[error("the connection to {addr} failed: {kind}")]
    Io {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// No response in time. The connection goes on; the response is ignored when it comes.
    #[error("no response to {api_key:?} within {}", humane(*after))]
    TimedOut {
        /// The API asked.
        api_key: ApiKey,
        /// How long was waited.
        after: Duration,
    },
    /// The response is not readable.
    #[error("the response to {api_key:?} is malformed: {error}")]
    Decode {
        /// The API asked.
        api_key: ApiKey,
        /// What is wrong.
        error: DecodeError,
    },
    /// The response's header is not readable.
    #[error("the response's header is malformed: {0}")]
    Header(#[from] HeaderError),
    /// The request cannot be written in this version.
    #[error("the request cannot be written: {0}")]
    Encode(#[from] EncodeError),
    /// The request is larger than a frame can be.
    #[error("the request is larger than a frame can be")]
    TooLarge,
    /// A response came that was not the next one expected.
    #[error("a response with correlation id {got} came where {expected:?} was expected")]
    Correlation {
        /// The id that came.
        got: i32,
        /// The id of the oldest request in flight.
        expected: Option<i32>,
    },
    /// A response claims a size that is not accepted.
    #[error("a response claims {0} bytes")]
    ResponseSize(i32),
    /// Broker and client have no version of this API in common.
    #[error("the broker serves no version of {0:?} that this client speaks")]
    NoVersion(ApiKey),
    /// `ApiVersions` was answered with an error.
    #[error("ApiVersions was answered with {0:?}")]
    ApiVersions(ErrorCode),
    /// [`Client::close`] was called.
    #[error("the connection was closed here")]
    ClosedHere,
}

fn humane(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// A connection to a broker. Clones are handles of the same connection; it ends with the last one.
#[derive(Clone)]
pub struct Client(Rc<Handle>);

struct Handle {
    state: Rc<State>,
    /// Dropped with the last handle, which cancels it.
    _driver: Task<()>,
}

/// What handles and driver share.
struct State {
    addr: SocketAddr,
    options: ClientOptions,
    correlation_id: Cell<i32>,
    outgoing: RefCell<VecDeque<Parts>>,
    /// Bytes in `outgoing` and in the send under way.
    outgoing_bytes: Cell<u64>,
    /// Requests that expect a response, oldest first.
    in_flight: RefCell<VecDeque<InFlight>>,
    ended: RefCell<Option<ClientError>>,
    driver: RefCell<Option<Waker>>,
    /// Those who wait in [`Client::writable`].
    writable: RefCell<Vec<Waker>>,
}

struct InFlight {
    correlation_id: i32,
    flexible_header: bool,
    sender: Sender<Result<Bytes, ClientError>>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The connection is refused or takes too long.
    pub async fn connect(addr: SocketAddr, options: &ClientOptions) -> Result<Self, ClientError> {
        let failed = |kind| ClientError::Connect { addr, kind };
        let tcp = timeout_at(now() + options.connect_timeout, Tcp::connect(addr))
            .await
            .ok_or(failed(io::ErrorKind::TimedOut))?
            .map_err(|error| failed(error.kind()))?;
        let transport = Transport::plain(tcp, options.send_buffer, options.receive_buffer)
            .map_err(|error| failed(error.kind()))?;
        let state = Rc::new(State {
            addr,
            options: options.clone(),
            correlation_id: Cell::new(0),
            outgoing: RefCell::default(),
            outgoing_bytes: Cell::new(0),
            in_flight: RefCell::default(),
            ended: RefCell::default(),
            driver: RefCell::default(),
            writable: RefCell::default(),
        });
        let driver = spawn(
            "client connection",
            driver::drive(transport, Rc::clone(&state)),
        );
        Ok(Self(Rc::new(Handle {
            state,
            _driver: driver,
        })))
    }

    /// Sends a request and waits for its response, for [`ClientOptions::request_timeout`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ClientError> {
        self.call_within(version, request, self.0.state.options.request_timeout)
            .await
    }

    /// Sends a request and waits for its response, for this long.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn call_within<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let api_key = R::API_KEY;
        let mut frame = self.request(api_key, version, SMALL_REQUEST);
        request.encode(&mut Encoder::new(frame.buffer()), version)?;
        let pending = self.send(frame)?;
        let body = timeout_at(now() + timeout, pending)
            .await
            .ok_or(ClientError::TimedOut {
                api_key,
                after: timeout,
            })??;
        decode(api_key, &body, version)
    }

    /// Starts a request that is written piece by piece: its header is there, `capacity` bytes or
    /// about are expected inline.
    pub fn request(&self, api_key: ApiKey, version: i16, capacity: usize) -> RequestWriter {
        let state = &self.0.state;
        let correlation_id = state.correlation_id.get();
        state
            .correlation_id
            .set(correlation_id.wrapping_add(1) & i32::MAX);
        let client_id = state.options.client_id.as_deref();
        let header_version = api_key.request_header_version(version);
        let id_size = client_id.map_or(0, str::len);
        let mut frame = FrameWriter::new(HEADER_MAX + id_size + capacity);
        let buffer = frame.buffer();
        buffer.extend_from_slice(&i16::from(api_key).to_be_bytes());
        buffer.extend_from_slice(&version.to_be_bytes());
        buffer.extend_from_slice(&correlation_id.to_be_bytes());
        if header_version >= 1 {
            match client_id.and_then(|id| i16::try_from(id.len()).ok().zip(Some(id))) {
                Some((size, id)) => {
                    buffer.extend_from_slice(&size.to_be_bytes());
                    buffer.extend_from_slice(id.as_bytes());
                }
                None => buffer.extend_from_slice(&(-1_i16).to_be_bytes()),
            }
        }
        if header_version >= 2 {
            buffer.push(0); // no tagged fields
        }
        let flexible_header = api_key.response_header_version(version) >= 1;
        RequestWriter {
            frame,
            correlation_id,
            flexible_header,
        }
    }

    /// Sends a request; the future that comes back gives the response's body, the bytes after its
    /// header. Dropping that future does not take the request back.
    ///
    /// Nothing here waits: a caller that sends much calls [`Client::writable`] in between.
    ///
    /// # Errors
    /// The connection has ended, or the request is too large.
    pub fn send(&self, request: RequestWriter) -> Result<PendingResponse, ClientError> {
        let RequestWriter {
            frame,
            correlation_id,
            flexible_header,
        } = request;
        let (parts, size) = frame.finish().map_err(|_| ClientError::TooLarge)?;
        let state = &self.0.state;
        state.check_open()?;
        let (sender, receiver) = oneshot();
        let in_flight = InFlight {
            correlation_id,
            flexible_header,
            sender,
        };
        state.in_flight.borrow_mut().push_back(in_flight);
        state.queue(parts, size);
        Ok(PendingResponse {
            receiver,
            state: Rc::clone(state),
        })
    }

    /// Sends a request that has no response: Produce with acks=0.
    ///
    /// # Errors
    /// The connection has ended, or the request is too large.
    pub fn send_unanswered(&self, request: RequestWriter) -> Result<(), ClientError> {
        let (parts, size) = request.frame.finish().map_err(|_| ClientError::TooLarge)?;
        self.0.state.check_open()?;
        self.0.state.queue(parts, size);
        Ok(())
    }

    /// Waits until less than 1 MiB waits to be sent.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn writable(&self) -> Result<(), ClientError> {
        let state = &self.0.state;
        std::future::poll_fn(|cx| {
            state.check_open()?;
            if state.outgoing_bytes.get() < WRITABLE_BELOW {
                return Poll::Ready(Ok(()));
            }
            state.writable.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The versions that the broker serves: asks with `ApiVersions`, in an older version if the broker
    /// does not know the newest.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn versions(&self, name: &str, version: &str) -> Result<BrokerVersions, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: name.to_owned(),
            client_software_version: version.to_owned(),
            ..ApiVersionsRequest::default()
        };
        let api_key = ApiKey::ApiVersions;
        let timeout = self.0.state.options.request_timeout;
        let mut ask = *ApiVersionsRequest::VALID_VERSIONS.end();
        loop {
            let mut frame = self.request(api_key, ask, SMALL_REQUEST);
            request.encode(&mut Encoder::new(frame.buffer()), ask)?;
            let pending = self.send(frame)?;
            let body =
                timeout_at(now() + timeout, pending)
                    .await
                    .ok_or(ClientError::TimedOut {
                        api_key,
                        after: timeout,
                    })??;
            let error = body
                .first_chunk::<2>()
                .map_or(0, |code| i16::from_be_bytes(*code));
            if error != i16::from(ErrorCode::UnsupportedVersion) {
                let response: ApiVersionsResponse = decode(api_key, &body, ask)?;
                return match ErrorCode::try_from(response.error_code) {
                    Ok(ErrorCode::None) => Ok(BrokerVersions(response)),
                    Ok(error) => Err(ClientError::ApiVersions(error)),
                    Err(_) => Err(ClientError::ApiVersions(ErrorCode::UnknownServerError)),
                };
            }
            // The answer to a version the broker does not know is of version 0, and may say which
            // it knows. Every step is to a lower version, so this ends.
            let told: ApiVersionsResponse = decode(api_key, &body, 0)?;
            let max = BrokerVersions(told)
                .range(api_key)
                .map_or(0, |range| *range.end());
            if ask == 0 {
                return Err(ClientError::NoVersion(api_key));
            }
            ask = max.clamp(0, ask - 1);
        }
    }

    /// The broker's address.
    pub fn addr(&self) -> SocketAddr {
        self.0.state.addr
    }

    /// Requests that have no response yet.
    pub fn in_flight(&self) -> usize {
        self.0.state.in_flight.borrow().len()
    }

    /// Why the connection has ended, if it has.
    pub fn ended(&self) -> Option<ClientError> {
        self.0.state.ended.borrow().clone()
    }

    /// Ends the connection; what is in flight fails with [`ClientError::ClosedHere`].
    pub fn close(&self) {
        self.0.state.end(&ClientError::ClosedHere);
    }
}

fn decode<M: Message>(api_key: ApiKey, body: &Bytes, version: i16) -> Result<M, ClientError> {
    let mut budget = Budget::for_frame(body.len());
    M::decode(&mut Decoder::new(body, &mut budget), version)
        .map_err(|error| ClientError::Decode { api_key, error })
}

/// What a broker serves, as it said itself.
#[derive(Clone, Debug)]
pub struct BrokerVersions(pub ApiVersionsResponse);

impl BrokerVersions {
    /// The versions of an API that the broker serves.
    pub fn range(&self, api_key: ApiKey) -> Option<RangeInclusive<i16>> {
        let key = i16::from(api_key);
        let row = self.0.api_keys.iter().find(|row| row.api_key == key)?;
        Some(row.min_version..=row.max_version)
    }

    /// The newest version of `R` that the broker serves and this crate speaks.
    ///
    /// # Errors
    /// There is none.
    pub fn best<R: Request>(&self) -> Result<i16, ClientError> {
        self.best_within(R::API_KEY, &R::VALID_VERSIONS)
    }

    /// The newest version within `ours` that the broker serves.
    ///
    /// # Errors
    /// There is none.
    pub fn best_within(
        &self,
        api_key: ApiKey,
        ours: &RangeInclusive<i16>,
    ) -> Result<i16, ClientError> {
        let none = ClientError::NoVersion(api_key);
        let served = self.range(api_key).ok_or_else(|| none.clone())?;
        let best = *served.end().min(ours.end());
        if best >= *served.start().max(ours.start()) {
            Ok(best)
        } else {
            Err(none)
        }
    }
}

/// A request being written; derefs to [`FrameWriter`] for its `buffer`, `bytes` and `file`.
#[derive(Debug)]
pub struct RequestWriter {
    frame: FrameWriter,
    correlation_id: i32,
    flexible_header: bool,
}

impl RequestWriter {
    /// The number that the response will carry.
    pub fn correlation_id(&self) -> i32 {
        self.correlation_id
    }
}

impl Deref for RequestWriter {
    type Target = FrameWriter;

    fn deref(&self) -> &FrameWriter {
        &self.frame
    }
}

impl DerefMut for RequestWriter {
    fn deref_mut(&mut self) -> &mut FrameWriter {
        &mut self.frame
    }
}

/// A response on its way.
#[must_use = "dropping it ignores the response"]
pub struct PendingResponse {
    receiver: Receiver<Result<Bytes, ClientError>>,
    state: Rc<State>,
}

impl Future for PendingResponse {
    type Output = Result<Bytes, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver)
            .poll(cx)
            .map(|received| received.unwrap_or_else(|_| Err(self.state.why_ended())))
    }
}

impl State {
    fn check_open(&self) -> Result<(), ClientError> {
        self.ended.borrow().clone().map_or(Ok(()), Err)
    }

    fn why_ended(&self) -> ClientError {
        let ended = self.ended.borrow().clone();
        ended.unwrap_or(ClientError::Closed { addr: self.addr })
    }

    fn queue(&self, parts: Parts, size: u64) {
        self.outgoing_bytes.set(self.outgoing_bytes.get() + size);
        self.outgoing.borrow_mut().push_back(parts);
        self.wake_driver();
    }

    fn wake_driver(&self) {
        let driver = self.driver.borrow().clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// A whole response frame came, without its size prefix.
    fn received(&self, mut frame: Bytes) -> Result<(), ClientError> {
        let oldest = self.in_flight.borrow_mut().pop_front();
        let got = frame.try_get_i32().map_err(|_| HeaderError::Truncated)?;
        let expected = oldest.as_ref().map(|oldest| oldest.correlation_id);
        let Some(oldest) = oldest.filter(|oldest| oldest.correlation_id == got) else {
            return Err(ClientError::Correlation { got, expected });
        };
        if oldest.flexible_header {
            let skipped = frame.len() - skip_tagged_fields(&frame)?.len();
            frame.advance(skipped);
        }
        // The caller may have lost interest.
        let _ = oldest.sender.send(Ok(frame));
        Ok(())
    }

    /// The connection has ended.
    fn end(&self, error: &ClientError) {
        self.ended.borrow_mut().get_or_insert_with(|| error.clone());
        self.outgoing.borrow_mut().clear();
        let in_flight = std::mem::take(&mut *self.in_flight.borrow_mut());
        for request in in_flight {
            let _ = request.sender.send(Err(error.clone()));
        }
        self.wake_writable();
        self.wake_driver();
    }

    fn wake_writable(&self) {
        let waiting = std::mem::take(&mut *self.writable.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }
}

/// Key, version, correlation id, the size of the client id, no tagged fields.
const HEADER_MAX: usize = 11;

/// Most requests fit in this at once; the vector grows for the others.
const SMALL_REQUEST: usize = 128;

/// See [`Client::writable`].
const WRITABLE_BELOW: u64 = 1024 * 1024;
