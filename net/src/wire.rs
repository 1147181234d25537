//! Kafka's wire protocol: every message of release 4.3, both directions, and the records of the
//! internal topics and of the metadata log.
//!
//! **Owns** the byte layout of messages: primitives ([`Decoder`], [`Encoder`]), the generated
//! structs ([`messages`], [`records`]), the tables [`ApiKey`] and [`ErrorCode`], the headers, and
//! the views that walk Produce and Fetch requests without building structs.
//! **Lives on** any thread: plain values, no I/O, no clock.
//! **Invariants**
//! 1. Decoding never panics and never allocates by a claimed length: a count is checked against the
//!    bytes that remain and against [`limits::ELEMENT_COUNT_MAX`], and memory is charged to a
//!    [`Budget`] before it is taken.
//! 2. Decoding and encoding again gives the same bytes (for canonical input): unknown tagged fields
//!    are kept.
//!
//! **Not here**: frames on a socket (`connection`), the layout of record batches
//! (`corelog_storage::batch`); the wire carries records as opaque bytes.

mod api_key;
mod cursor;
mod decoder;
mod encoder;
mod error_code;
mod message;
mod uuid;

pub mod fetch;
pub mod header;
pub mod layout;
pub mod limits;
pub mod messages;
pub mod produce;
pub mod records;
pub mod visit;

pub use api_key::{ApiKey, Listeners};
pub use cursor::{Cursor, Tag};
pub use decoder::{Budget, DecodeError, Decoder};
pub use encoder::{EncodeError, Encoder, required};
pub use error_code::ErrorCode;
pub use message::{Form, Message, RawTaggedField, Record, Request, Structure};
pub use uuid::Uuid;
