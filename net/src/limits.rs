//! How much connections may hold.
//!
//! **Owns** the bounds of connections and their defaults.
//! **Lives on** any thread: a plain value, read once from the settings.
//! **Invariants** 1. With these bounds the memory that a shard's connections hold is at most
//! `4 × 2 × request_bytes_max + connections × (one receive block + response_bytes_max + one response)`,
//! whatever peers send and however little they read. The 4 is the runtime's steps of block sizes; a
//! receive block has at most 256 KiB.
//! **Not here**: the limits of messages (`wire::limits`); who counts (`connection`, `server`).

use std::net::IpAddr;
use std::time::Duration;

use crate::wire::limits::FRAME_SIZE_MAX_DEFAULT;

/// Bounds of the connections of one broker. Everything is checked; nothing is advice.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// `socket.request.max.bytes`: the largest size a request frame may claim.
    pub request_size_max: usize,
    /// Request bytes a shard holds, being received or in flight, before it stops reading. Kafka's
    /// `queued.max.request.bytes` divided by the shards. A frame larger than that is still read,
    /// alone.
    pub request_bytes_max: usize,
    /// Request bytes one connection has in flight before it is not read any further; one request
    /// may always be.
    pub connection_request_bytes_max: usize,
    /// Requests one connection has in flight before it is not read any further.
    pub in_flight_max: usize,
    /// Response bytes in memory that wait for the peer to read before its requests are not read
    /// any further.
    pub response_bytes_max: usize,
    /// `connections.max.idle.ms`: a connection with nothing in flight, or with a peer that does not
    /// read its responses, is closed when no byte moved for this long.
    pub idle_max: Duration,
    /// A frame that stopped arriving is given up after this long when other connections wait for
    /// the memory it holds.
    pub stall_max: Duration,
    /// `max.connections`: the broker stops accepting here until one closes.
    pub connections_max: usize,
    /// `max.connections.per.ip`: one more than this is closed at once.
    pub connections_per_ip_max: usize,
    /// `max.connections.per.ip.overrides`.
    pub connections_per_ip_overrides: Vec<(IpAddr, usize)>,
    /// `socket.send.buffer.bytes` and `socket.receive.buffer.bytes`; `None` leaves the size to the
    /// kernel, which adapts it.
    pub send_buffer: Option<usize>,
    /// See `send_buffer`.
    pub receive_buffer: Option<usize>,
    /// `socket.listen.backlog.size`.
    pub backlog: i32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            request_size_max: FRAME_SIZE_MAX_DEFAULT,
            request_bytes_max: 256 * 1024 * 1024,
            connection_request_bytes_max: 16 * 1024 * 1024,
            in_flight_max: 128,
            response_bytes_max: 4 * 1024 * 1024,
            idle_max: Duration::from_mins(10),
            stall_max: Duration::from_secs(5),
            connections_max: i32::MAX as usize,
            connections_per_ip_max: i32::MAX as usize,
            connections_per_ip_overrides: Vec::new(),
            send_buffer: None,
            receive_buffer: None,
            backlog: 50,
        }
    }
}

/// From this size on a frame is received into a block of its own; smaller ones share blocks.
pub(crate) const OWN_BLOCK_MIN: usize = 64 * 1024;

/// The block for what follows a partial small frame.
pub(crate) const SHARED_BLOCK: usize = 16 * 1024;

/// How much of a frame's claimed size is believed before its bytes are there: the first block is at
/// most this large, and each next one at most four times what has arrived. A connection that has
/// completed large frames is believed up to four times the largest of them.
pub(crate) const TRUST_MIN: usize = 256 * 1024;

/// Growth of the belief.
pub(crate) const TRUST_FACTOR: usize = 4;

/// Response bytes of one vectored send; more wait for the next one. Also how finely the server sees
/// that a slow peer reads.
pub(crate) const SEND_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a file range sent in one piece, for the same reason.
pub(crate) const SEND_FILE_MAX: u64 = 4 * 1024 * 1024;

/// Parts of one vectored send: far below the kernel's 1,024 (`IOV_MAX`).
pub(crate) const SEND_PARTS_MAX: usize = 256;

/// What a shutdown waits for a peer to close after the last response: closing with unread requests
/// in the socket would make the kernel reset the connection and throw the response away.
pub(crate) const LINGER: Duration = Duration::from_millis(500);

const _: () = assert!(OWN_BLOCK_MIN <= TRUST_MIN);
const _: () = assert!(SHARED_BLOCK <= OWN_BLOCK_MIN);
const _: () = assert!(SEND_PARTS_MAX < 1024);
