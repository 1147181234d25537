//! How much a peer may make us hold.
//!
//! **Owns** the ceilings of frames and of decoding.
//! **Lives on** any thread: constants and pure functions.
//! **Invariants** 1. No ceiling exceeds [`FRAME_SIZE_MAX_DEFAULT`] unless the setting does.
//! **Not here**: counting connections and their memory (`connection`).

use super::ApiKey;

/// Kafka's default of `socket.request.max.bytes`.
pub const FRAME_SIZE_MAX_DEFAULT: usize = 100 * 1024 * 1024;

/// The largest frame before a connection has authenticated: handshakes, tokens and `ApiVersions`.
/// OAUTHBEARER and GSSAPI tokens are tens of KiB at most.
pub const FRAME_SIZE_MAX_UNAUTHENTICATED: usize = 512 * 1024;

/// The most elements one array may have, whatever the frame size.
pub const ELEMENT_COUNT_MAX: usize = 1 << 20;

/// The longest string, in bytes: Kafka's limit in both length forms.
pub const STRING_SIZE_MAX: usize = 0x7fff;

/// The most tagged fields of one struct.
pub const TAG_COUNT_MAX: usize = 1024;

/// The largest request frame of this API, given `socket.request.max.bytes`.
///
/// Records travel only in Produce and in the requests that carry opaque user bytes; all others name
/// topics, partitions, members and settings. [`CONTROL_FRAME_SIZE_MAX`] holds 10,000 partitions
/// with topic names of 249 characters each (2.7 MB) several times over.
pub fn request_frame_size_max(api: ApiKey, socket_request_max_bytes: usize) -> usize {
    let own = match api {
        ApiKey::Produce => socket_request_max_bytes,
        // Client metrics, group metadata and assignments, state blobs, forwarded requests, offsets
        // with metadata strings.
        ApiKey::PushTelemetry
        | ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::OffsetCommit
        | ApiKey::TxnOffsetCommit
        | ApiKey::WriteShareGroupState
        | ApiKey::Envelope => PAYLOAD_FRAME_SIZE_MAX,
        ApiKey::ApiVersions | ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => {
            FRAME_SIZE_MAX_UNAUTHENTICATED
        }
        ApiKey::Heartbeat
        | ApiKey::InitProducerId
        | ApiKey::EndTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::GetTelemetrySubscriptions
        | ApiKey::AllocateProducerIds
        | ApiKey::UnregisterBroker
        | ApiKey::DescribeCluster => SMALL_FRAME_SIZE_MAX,
        _ => CONTROL_FRAME_SIZE_MAX,
    };
    own.min(socket_request_max_bytes)
}

/// For requests that name a thing or two.
pub const SMALL_FRAME_SIZE_MAX: usize = 256 * 1024;
/// For requests that name many topics and partitions.
pub const CONTROL_FRAME_SIZE_MAX: usize = 8 * 1024 * 1024;
/// For requests that carry bytes of the user's besides records.
pub const PAYLOAD_FRAME_SIZE_MAX: usize = 32 * 1024 * 1024;

const _: () = assert!(SMALL_FRAME_SIZE_MAX < FRAME_SIZE_MAX_UNAUTHENTICATED);
const _: () = assert!(FRAME_SIZE_MAX_UNAUTHENTICATED < CONTROL_FRAME_SIZE_MAX);
const _: () = assert!(CONTROL_FRAME_SIZE_MAX < PAYLOAD_FRAME_SIZE_MAX);
const _: () = assert!(PAYLOAD_FRAME_SIZE_MAX < FRAME_SIZE_MAX_DEFAULT);
