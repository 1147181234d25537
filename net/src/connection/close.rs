//! Why connections end.
//!
//! **Owns** the reasons, their words in the log and their names in the metrics.
//! **Lives on** any thread.
//! **Invariants** 1. Every connection ends with exactly one reason.
//! **Not here**: counting them (`server::counters`).

use std::io;

use crate::frame::HeaderError;
use crate::wire::ApiKey;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed, between frames, and everything it asked has been answered.
    #[error("closed by the peer")]
    Peer,
    /// The peer closed within a frame.
    #[error("the peer closed within a frame: {received} of {expected} bytes came")]
    Truncated {
        /// Bytes of the frame that came.
        received: usize,
        /// Bytes of the whole frame, or of the part that says how large it is.
        expected: usize,
    },
    /// The first four bytes of a frame are no size of a request.
    #[error("frame size {size} is not within 8..={size_max}{}", hint(*size))]
    FrameSize {
        /// The size claimed.
        size: i32,
        /// `socket.request.max.bytes`.
        size_max: usize,
    },
    /// The frame is larger than this API may be.
    #[error("a frame of {size} bytes is above the {size_max} that {api_key:?} may have")]
    FrameSizeOfApi {
        /// The API.
        api_key: ApiKey,
        /// The size claimed.
        size: usize,
        /// The limit.
        size_max: usize,
    },
    /// No such API, or not on this listener.
    #[error("API key {0} is not served")]
    UnknownApi(i16),
    /// A version that is not served.
    #[error("{api_key:?} version {api_version} is not served")]
    UnsupportedVersion {
        /// The API.
        api_key: ApiKey,
        /// The version.
        api_version: i16,
    },
    /// The request header is malformed.
    #[error("{0}")]
    Header(HeaderError),
    /// The service asked for it, with a reason.
    #[error("{0}")]
    Service(&'static str),
    /// The service panicked.
    #[error("the handler of {0:?} panicked")]
    Panicked(ApiKey),
    /// Nothing moved for `connections.max.idle.ms`.
    #[error("idle")]
    Idle,
    /// The peer did not read its responses for `connections.max.idle.ms`.
    #[error("the peer does not read its responses")]
    Unread,
    /// A frame stopped arriving while others waited for its memory.
    #[error("a frame stopped arriving while other connections waited for its memory")]
    Stalled,
    /// A frame grew while the shard held twice its budget of request bytes.
    #[error("no memory for the rest of a frame: the shard holds twice queued.max.request.bytes")]
    Overdrawn,
    /// Receiving failed.
    #[error("receive failed: {0}")]
    Receive(io::ErrorKind),
    /// Sending failed.
    #[error("send failed: {0}")]
    Send(io::ErrorKind),
    /// A file range could not be sent; its size had been promised.
    #[error("sending a file range failed: {0}")]
    SendFile(io::ErrorKind),
    /// The server stops, and everything asked has been answered.
    #[error("the server is stopping")]
    Shutdown,
    /// The server stops, and the deadline came before the answers.
    #[error("the server stopped before everything was answered")]
    ShutdownCut,
}

/// What a peer that speaks something else seems to speak.
fn hint(size: i32) -> &'static str {
    match size.to_be_bytes() {
        [0x16, 0x03, _, _] => " (this is a TLS hello: the listener is plain text)",
        [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] | [b'H', b'E', b'A', b'D'] => {
            " (this is HTTP)"
        }
        _ => "",
    }
}

impl CloseReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::NAMES.len();

    /// The names of the reasons, as metrics carry them; [`CloseReason::index`] counts here.
    pub const NAMES: [&'static str; 18] = [
        "peer",
        "truncated",
        "frame_size",
        "frame_size_of_api",
        "unknown_api",
        "unsupported_version",
        "header",
        "service",
        "panicked",
        "idle",
        "unread",
        "stalled",
        "overdrawn",
        "receive",
        "send",
        "send_file",
        "shutdown",
        "shutdown_cut",
    ];

    /// The place of this reason in [`CloseReason::NAMES`].
    pub const fn index(self) -> usize {
        match self {
            Self::Peer => 0,
            Self::Truncated { .. } => 1,
            Self::FrameSize { .. } => 2,
            Self::FrameSizeOfApi { .. } => 3,
            Self::UnknownApi(_) => 4,
            Self::UnsupportedVersion { .. } => 5,
            Self::Header(_) => 6,
            Self::Service(_) => 7,
            Self::Panicked(_) => 8,
            Self::Idle => 9,
            Self::Unread => 10,
            Self::Stalled => 11,
            Self::Overdrawn => 12,
            Self::Receive(_) => 13,
            Self::Send(_) => 14,
            Self::SendFile(_) => 15,
            Self::Shutdown => 16,
            Self::ShutdownCut => 17,
        }
    }

    /// The name of this reason in the metrics.
    pub const fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Whether this is how connections end every day.
    pub(crate) fn is_ordinary(self) -> bool {
        matches!(
            self,
            Self::Peer
                | Self::Idle
                | Self::Shutdown
                | Self::Receive(io::ErrorKind::ConnectionReset)
                | Self::Send(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
        )
    }

    /// Whether the fault is ours or our disk's.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Panicked(_) | Self::SendFile(_))
    }
}
