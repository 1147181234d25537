//! A connection of the tests: blocking, one request after the other or bytes as they are.
//!
//! **Owns** the socket and the correlation ids.
//! **Lives on** the test's thread.
//! **Invariants** 1. No wait is longer than [`PATIENCE`].
//! **Not here**: the client of the tools (`corelog_net::client`), which these tests do not trust
//! either: here is a plain socket.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::header::{RequestHeader, ResponseHeader};
use corelog_net::wire::messages::metadata::MetadataRequest;
use corelog_net::wire::{ApiKey, Budget, Decoder, Encoder, Message, Request};

use crate::harness::PATIENCE;

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    correlation_id: i32,
}

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) correlation_id: i32,
    version: i16,
}

/// What a read on the connection came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A whole response, without its size.
    Frame(Bytes),
    /// The peer closed or reset the connection.
    Closed,
    /// Nothing in time.
    Silence,
}

impl Client {
    /// Connects, if somebody listens.
    pub(crate) fn try_connect(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        Some(Self {
            stream,
            correlation_id: 0,
        })
    }

    /// Whether the broker answers Metadata on this connection.
    pub(crate) fn is_ready(&mut self) -> bool {
        let request = MetadataRequest {
            topics: Some(Vec::new()),
            ..MetadataRequest::default()
        };
        self.try_call(1, &request)
            .is_some_and(|response| !response.brokers.is_empty())
    }

    /// Sends the request and waits for its response.
    #[track_caller]
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request)
            .unwrap_or_else(|| panic!("{} v{version}: the connection was closed", R::NAME))
    }

    /// As [`Client::call`]; `None` when the broker closes the connection instead.
    #[track_caller]
    pub(crate) fn try_call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        let sent = self.try_send(version, request).ok()?;
        self.try_receive::<R>(sent)
    }

    /// Sends the request; [`Client::receive`] takes its response.
    #[track_caller]
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> Sent {
        self.try_send(version, request)
            .expect("the broker takes requests")
    }

    /// As [`Client::send`]; fails when the broker has gone.
    #[track_caller]
    pub(crate) fn try_send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<Sent> {
        self.correlation_id += 1;
        let bytes = frame(version, self.correlation_id, request);
        self.stream.write_all(&bytes)?;
        Ok(Sent {
            correlation_id: self.correlation_id,
            version,
        })
    }

    /// Waits for the response; it must be the next one on the connection.
    #[track_caller]
    pub(crate) fn receive<R: Request>(&mut self, sent: Sent) -> R::Response {
        self.try_receive::<R>(sent)
            .unwrap_or_else(|| panic!("{}: the connection was closed", R::NAME))
    }

    /// As [`Client::receive`]; `None` when the broker closes the connection instead.
    #[track_caller]
    pub(crate) fn try_receive<R: Request>(&mut self, sent: Sent) -> Option<R::Response> {
        match self.hear(PATIENCE) {
            Heard::Closed => None,
            Heard::Silence => panic!("{}: no response within {PATIENCE:?}", R::NAME),
            Heard::Frame(frame) => Some(decode::<R>(&frame, sent)),
        }
    }

    /// As [`Client::receive`]; `None` when nothing comes in so short a time.
    #[track_caller]
    pub(crate) fn receive_within<R: Request>(
        &mut self,
        sent: Sent,
        patience: Duration,
    ) -> Option<R::Response> {
        match self.hear(patience) {
            Heard::Closed => panic!("{}: the connection was closed", R::NAME),
            Heard::Silence => None,
            Heard::Frame(frame) => Some(decode::<R>(&frame, sent)),
        }
    }

    /// Sends bytes as they are; a broker that has gone is no error here, [`Client::hear`] tells.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Where the connection leads.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().expect("the socket is connected")
    }

    /// Tells the broker that nothing more will be sent.
    pub(crate) fn finish_sending(&mut self) {
        // It fails when the broker has closed already; `hear` tells.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Waits for whatever comes next.
    pub(crate) fn hear(&mut self, patience: Duration) -> Heard {
        let mut size = [0; 4];
        match self.fill(&mut size, patience) {
            Ok(true) => {}
            Ok(false) => return Heard::Silence,
            Err(_) => return Heard::Closed,
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size is not negative");
        let mut body = vec![0; size];
        match self.fill(&mut body, PATIENCE) {
            Ok(true) => Heard::Frame(body.into()),
            Ok(false) => panic!("half a response"),
            Err(_) => Heard::Closed,
        }
    }

    /// Fills the buffer; `false`: nothing came in time.
    fn fill(&mut self, into: &mut [u8], patience: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(patience))?;
        match self.stream.read_exact(into) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The request as it goes over the wire.
#[track_caller]
pub(crate) fn frame<R: Request>(version: i16, correlation_id: i32, request: &R) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    let mut encoder = Encoder::new(&mut bytes);
    let header = RequestHeader {
        api_key: R::API_KEY,
        api_version: version,
        correlation_id,
        client_id: Some("ref".to_owned()),
        unknown_tagged_fields: Vec::new(),
    };
    header
        .encode(&mut encoder)
        .expect("a header can be encoded");
    request
        .encode(&mut encoder, version)
        .expect("the request is right for the version");
    with_size(bytes)
}

/// Writes the size of what follows into the first four bytes.
pub(crate) fn with_size(mut bytes: Vec<u8>) -> Vec<u8> {
    let size = i32::try_from(bytes.len() - 4).expect("a frame is below 2 GiB");
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}

#[track_caller]
fn decode<R: Request>(frame: &Bytes, sent: Sent) -> R::Response {
    let mut budget = Budget::for_frame(frame.len());
    let mut decoder = Decoder::new(frame, &mut budget);
    let version = sent.version;
    let header = ResponseHeader::decode(&mut decoder, R::API_KEY, version).expect("a header");
    assert_eq!(header.correlation_id, sent.correlation_id, "of {}", R::NAME);
    let response = R::Response::decode(&mut decoder, version)
        .unwrap_or_else(|error| panic!("{} v{version}: {error}", R::Response::NAME));
    decoder
        .finish()
        .unwrap_or_else(|error| panic!("{} v{version}: {error}", R::Response::NAME));
    response
}

/// The correlation id of a response.
pub(crate) fn correlation_id(frame: &Bytes) -> i32 {
    i32::from_be_bytes(
        *frame
            .first_chunk()
            .expect("a response has a correlation id"),
    )
}

/// The start of a request by numbers, for keys and versions that no type has.
pub(crate) fn raw(key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&key.to_be_bytes());
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    bytes.extend_from_slice(&[0, 3]);
    bytes.extend_from_slice(b"ref");
    if ApiKey::from_key(key).is_ok_and(|api| api.request_header_version(version) >= 2) {
        bytes.push(0);
    }
    bytes.extend_from_slice(body);
    with_size(bytes)
}
