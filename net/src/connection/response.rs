//! Responses.
//!
//! **Owns** how a response frame is put together: size prefix, header, body parts.
//! **Lives on** the shard of its connection; building one is pure.
//! **Invariants** 1. Every response carries its request's correlation id and the header version its
//! API and version demand (`ApiVersions`: always 0).
//! **Not here**: the layout of bodies (`wire`), sending (`writer`).

use std::ops::{Deref, DerefMut, Range};

use bytes::Bytes;
use corelog_runtime::File;
use smallvec::SmallVec;

use crate::frame::{Body, CutFrame, FrameTooLarge, FrameWriter, Parts, RequestHeader};
use crate::wire::{ApiKey, EncodeError, Encoder, ErrorCode, Message};

/// A whole response, framed.
#[derive(Debug)]
pub struct Response {
    pub(super) parts: Parts,
    /// Bytes on the wire.
    pub(super) size: u64,
}

impl Response {
    /// Frames a message as the answer to a request.
    ///
    /// # Errors
    /// The message cannot be written in the request's version: a fault of ours.
    pub fn message<M: Message>(header: &RequestHeader, message: &M) -> Result<Self, EncodeError> {
        let mut frame = ResponseWriter::new(header, SMALL_RESPONSE);
        message.encode(&mut Encoder::new(frame.buffer()), header.api_version)?;
        // A message in memory above 2 GiB cannot be: its arrays and strings are bounded.
        Ok(frame.finish().expect("a message is below 2 GiB"))
    }

    /// Starts a response that is written piece by piece; `capacity` bytes or about are expected
    /// inline.
    pub fn writer(header: &RequestHeader, capacity: usize) -> ResponseWriter {
        ResponseWriter::new(header, capacity)
    }

    /// What was put between the bytes of a response that was cut.
    pub fn of(frame: CutFrame) -> Self {
        let (parts, size) = frame.finish();
        Self { parts, size }
    }

    /// Bytes on the wire, the size prefix included.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The parts in their order: the first begins with the size prefix.
    pub fn parts(&self) -> &[Body] {
        &self.parts
    }

    /// Bytes that the response holds in memory while it waits for its turn and its peer.
    pub(super) fn memory(&self) -> usize {
        let in_memory = |part: &Body| match part {
            Body::Bytes(bytes) => bytes.len(),
            Body::File { .. } => 0,
        };
        self.parts.iter().map(in_memory).sum()
    }

    /// What a request of `ApiVersions` in a version that is not served is answered with: version 0,
    /// the error, and the range of this one API (KIP-511).
    pub(super) fn api_versions_unsupported(
        correlation_id: i32,
        served: &std::ops::RangeInclusive<i16>,
    ) -> Self {
        let mut body: SmallVec<[u8; 20]> = SmallVec::new();
        body.extend_from_slice(&16_i32.to_be_bytes());
        body.extend_from_slice(&correlation_id.to_be_bytes());
        body.extend_from_slice(&i16::from(ErrorCode::UnsupportedVersion).to_be_bytes());
        body.extend_from_slice(&1_i32.to_be_bytes());
        body.extend_from_slice(&i16::from(ApiKey::ApiVersions).to_be_bytes());
        body.extend_from_slice(&served.start().to_be_bytes());
        body.extend_from_slice(&served.end().to_be_bytes());
        let size = body.len() as u64;
        let mut parts = Parts::new();
        parts.push(Body::Bytes(Bytes::copy_from_slice(&body)));
        Self { parts, size }
    }
}

/// Builds a response inline and by reference; the size prefix and the header are there already.
/// Derefs to [`FrameWriter`] for its `buffer`, `bytes` and `file`.
#[derive(Debug)]
pub struct ResponseWriter(FrameWriter);

impl ResponseWriter {
    fn new(header: &RequestHeader, capacity: usize) -> Self {
        let mut frame = FrameWriter::new(HEADER_MAX + capacity);
        let buffer = frame.buffer();
        buffer.extend_from_slice(&header.correlation_id.to_be_bytes());
        if header.api_key.response_header_version(header.api_version) >= 1 {
            buffer.push(0); // no tagged fields
        }
        Self(frame)
    }

    /// Appends a file range; see [`Body::File`].
    pub fn file(&mut self, file: File, range: Range<u64>) {
        self.0.file(file, range);
    }

    /// Cuts what was written, so that bodies of `size` bytes together can be put between; see [`FrameWriter::cut`].
    ///
    /// # Errors
    /// It is larger than a frame can be, 2 GiB.
    pub fn cut(self, size: u64) -> Result<CutFrame, FrameTooLarge> {
        self.0.cut(size)
    }

    /// The finished response.
    ///
    /// # Errors
    /// It is larger than a frame can be, 2 GiB.
    pub fn finish(self) -> Result<Response, FrameTooLarge> {
        let (parts, size) = self.0.finish()?;
        Ok(Response { parts, size })
    }
}

impl Deref for ResponseWriter {
    type Target = FrameWriter;

    fn deref(&self) -> &FrameWriter {
        &self.0
    }
}

impl DerefMut for ResponseWriter {
    fn deref_mut(&mut self) -> &mut FrameWriter {
        &mut self.0
    }
}

/// Correlation id and an empty section of tagged fields.
const HEADER_MAX: usize = 5;

/// Most responses fit in this at once; the vector grows for the others.
const SMALL_RESPONSE: usize = 128;
