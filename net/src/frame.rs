//! Frames: a four-byte size, then a header, then a message.
//!
//! **Owns** the layout of the frame and of both headers as the connections read and write them, and
//! [`FrameWriter`], which builds a frame out of inline bytes, counted slices and file ranges.
//! **Lives on** any thread: plain values.
//! **Invariants**
//! 1. [`Head::parse`] refuses a frame from the first bytes that condemn it: nothing waits for, or
//!    takes memory for, a frame that will not be accepted.
//! 2. A finished frame's size prefix is the exact number of bytes that follow it.
//!
//! **Not here**: messages (`wire`), reading from sockets (`connection`).

use std::ops::Range;
use std::rc::Rc;

use bytes::Bytes;
use corelog_runtime::File;
use smallvec::SmallVec;

use crate::wire::ApiKey;

#[cfg(test)]
mod tests;

/// The bytes of the size prefix.
pub const SIZE_PREFIX: usize = 4;

/// The least size a request frame can claim: API key, version and correlation id.
pub const REQUEST_SIZE_MIN: usize = 8;

/// ```text
///   0        4         6         8               12
///   | size   | api key | version | correlation id | client id, tagged fields, body …
/// ```
/// What every request frame begins with, as far as it is needed to judge the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the frame after the size prefix.
    pub size: usize,
    /// The raw API key.
    pub api_key: i16,
    /// The version of the API.
    pub api_version: i16,
    /// The number that the response repeats.
    pub correlation_id: i32,
}

/// The bytes of a [`Head`].
pub const HEAD: usize = SIZE_PREFIX + REQUEST_SIZE_MIN;

/// What the first bytes of a frame say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Not enough bytes to judge the frame.
    Short,
    /// The size cannot be that of a request.
    BadSize(i32),
    /// The beginning of an acceptable frame.
    Head(Head),
}

impl Head {
    /// Reads the beginning of a request frame; `size_max` is `socket.request.max.bytes`.
    #[inline]
    pub fn parse(bytes: &[u8], size_max: usize) -> Parsed {
        let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
            return Parsed::Short;
        };
        let claimed = i32::from_be_bytes(*size);
        let size = match usize::try_from(claimed) {
            Ok(size) if (REQUEST_SIZE_MIN..=size_max).contains(&size) => size,
            _ => return Parsed::BadSize(claimed),
        };
        let Some((&[k0, k1, v0, v1, c0, c1, c2, c3], _)) = rest.split_first_chunk::<8>() else {
            return Parsed::Short;
        };
        Parsed::Head(Self {
            size,
            api_key: i16::from_be_bytes([k0, k1]),
            api_version: i16::from_be_bytes([v0, v1]),
            correlation_id: i32::from_be_bytes([c0, c1, c2, c3]),
        })
    }

    /// Bytes of the whole frame, the size prefix included.
    pub const fn frame_size(&self) -> usize {
        SIZE_PREFIX + self.size
    }
}

/// The header of a request, as the connection hands it to the service.
///
/// The client id is counted and shared by all requests of a connection that carry the same one, so
/// parsing a header allocates nothing after the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API.
    pub api_key: ApiKey,
    /// Its version; within the range the service supports.
    pub api_version: i16,
    /// The number that the response repeats.
    pub correlation_id: i32,
    /// The name the client gives itself; bytes that are not UTF-8 are replaced.
    pub client_id: Option<Rc<str>>,
}

impl RequestHeader {
    /// The client id, or the empty string.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or("")
    }
}

/// Why the rest of a request header is not readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The frame ends within the header.
    #[error("the frame ends within the request header")]
    Truncated,
    /// The client id's length is below -1.
    #[error("the client id has length {0}")]
    ClientIdLength(i16),
    /// The tagged fields are malformed.
    #[error("the header's tagged fields are malformed")]
    TaggedFields,
}

/// What follows the head in a request header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderRest<'a> {
    /// The bytes of the client id.
    pub client_id: Option<&'a [u8]>,
    /// Bytes taken by what was read: the body begins here.
    pub size: usize,
}

impl<'a> HeaderRest<'a> {
    /// Reads what follows the head: nothing in header version 0, the client id from 1, tagged
    /// fields (skipped: none are defined) from 2. The client id keeps its two-byte length in all.
    #[inline]
    pub fn parse(after_head: &'a [u8], header_version: i16) -> Result<Self, HeaderError> {
        if header_version == 0 {
            return Ok(Self {
                client_id: None,
                size: 0,
            });
        }
        let (length, mut rest) = after_head
            .split_first_chunk::<2>()
            .ok_or(HeaderError::Truncated)?;
        let length = i16::from_be_bytes(*length);
        let mut client_id = None;
        if let Ok(length) = usize::try_from(length) {
            let (id, after) = rest
                .split_at_checked(length)
                .ok_or(HeaderError::Truncated)?;
            client_id = Some(id);
            rest = after;
        } else if length != -1 {
            return Err(HeaderError::ClientIdLength(length));
        }
        if header_version >= 2 {
            rest = skip_tagged_fields(rest)?;
        }
        Ok(Self {
            client_id,
            size: after_head.len() - rest.len(),
        })
    }
}

/// The bytes after a section of tagged fields.
pub(crate) fn skip_tagged_fields(bytes: &[u8]) -> Result<&[u8], HeaderError> {
    if let Some((0, rest)) = bytes.split_first() {
        return Ok(rest);
    }
    let (count, mut rest) = unsigned_varint(bytes)?;
    // Each field takes at least two bytes, so the loop ends with the frame.
    for _ in 0..count {
        let (_tag, after) = unsigned_varint(rest)?;
        let (size, after) = unsigned_varint(after)?;
        let size = usize::try_from(size).map_err(|_| HeaderError::TaggedFields)?;
        rest = after.get(size..).ok_or(HeaderError::TaggedFields)?;
    }
    Ok(rest)
}

fn unsigned_varint(bytes: &[u8]) -> Result<(u32, &[u8]), HeaderError> {
    let mut value = 0_u32;
    for (index, &byte) in bytes.iter().take(5).enumerate() {
        let bits = u32::from(byte & 0x7f);
        if index == 4 && bits > 0x0f {
            break;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            let rest = bytes.get(index + 1..).ok_or(HeaderError::TaggedFields)?;
            return Ok((value, rest));
        }
    }
    Err(HeaderError::TaggedFields)
}

/// One piece of an outgoing frame.
#[derive(Clone)]
pub enum Body {
    /// Bytes in memory, sent by reference.
    Bytes(Bytes),
    /// A range of a file, sent by the kernel without passing through memory of ours.
    File {
        /// The file; it stays open until the range has been sent.
        file: File,
        /// Positions in the file. It must hold all of them: a frame's size is promised before its
        /// bytes are read, so a short file breaks the connection.
        range: Range<u64>,
    },
}

impl Body {
    /// Bytes on the wire.
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { range, .. } => range.end.saturating_sub(range.start),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File { range, .. } => write!(f, "File({range:?})"),
        }
    }
}

/// The pieces of a frame; four are enough for a fetch of one partition.
pub type Parts = SmallVec<[Body; 4]>;

/// Builds one frame: bytes written inline, slices and file ranges by reference, in order.
///
/// ```
/// use corelog_net::frame::FrameWriter;
/// let mut frame = FrameWriter::new(16);
/// frame.buffer().extend_from_slice(b"abc");
/// frame.bytes(bytes::Bytes::from_static(b"def"));
/// let (parts, size) = frame.finish().expect("far below the limit");
/// assert_eq!((parts.len(), size), (2, 10)); // "\0\0\0\x06abc", "def"
/// ```
#[derive(Debug)]
pub struct FrameWriter {
    /// The first bytes, which hold the size prefix; set aside once something follows them.
    head: Vec<u8>,
    /// `parts[0]` is a placeholder for `head`. Empty while everything is in `head`.
    parts: Parts,
    /// Inline bytes after the last part.
    tail: Vec<u8>,
    /// Bytes in `parts`, the placeholder not counted.
    parts_size: u64,
}

/// A frame whose inline bytes are cut where bodies go between them; see [`FrameWriter::cut`].
#[derive(Debug)]
pub struct CutFrame {
    /// Inline bytes that are not in `parts` yet.
    inline: Bytes,
    parts: Parts,
    size: u64,
    /// Bytes in `parts`.
    put: u64,
}

impl CutFrame {
    /// Takes the inline bytes until so many are left.
    ///
    /// # Panics
    /// There are fewer.
    pub fn until_left(&mut self, left: usize) {
        let size = self.inline.len() - left;
        if size > 0 {
            let part = self.inline.split_to(size);
            self.put(Body::Bytes(part));
        }
    }

    /// Puts bytes here.
    pub fn bytes(&mut self, bytes: Bytes) {
        self.put(Body::Bytes(bytes));
    }

    /// Puts a range of a file here.
    pub fn file(&mut self, file: File, range: Range<u64>) {
        self.put(Body::File { file, range });
    }

    fn put(&mut self, body: Body) {
        self.put += body.size();
        self.parts.push(body);
    }

    /// The frame's parts and its whole size on the wire.
    ///
    /// # Panics
    /// The bodies are not as large together as was said.
    pub fn finish(mut self) -> (Parts, u64) {
        self.until_left(0);
        assert!(self.put == self.size, "a frame has the size it claims");
        (self.parts, self.size)
    }
}

/// A frame's size does not fit its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is too large for its size prefix")]
pub struct FrameTooLarge(pub u64);

impl FrameWriter {
    /// A frame of which about `capacity` bytes are written inline before anything else.
    pub fn new(capacity: usize) -> Self {
        let mut head = Vec::with_capacity(SIZE_PREFIX + capacity);
        head.extend_from_slice(&[0; SIZE_PREFIX]);
        Self {
            head,
            parts: Parts::new(),
            tail: Vec::new(),
            parts_size: 0,
        }
    }

    /// Where the next inline bytes are appended. Only append: what is there already belongs to the
    /// frame.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.parts.is_empty() {
            &mut self.head
        } else {
            &mut self.tail
        }
    }

    /// Appends bytes by reference.
    pub fn bytes(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.part(Body::Bytes(bytes));
        }
    }

    /// Appends a range of a file.
    pub fn file(&mut self, file: File, range: Range<u64>) {
        if !range.is_empty() {
            self.part(Body::File { file, range });
        }
    }

    fn part(&mut self, body: Body) {
        if self.parts.is_empty() {
            self.parts.push(Body::Bytes(Bytes::new()));
        }
        self.flush_tail();
        self.parts_size += body.size();
        self.parts.push(body);
    }

    fn flush_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts_size += self.tail.len() as u64;
            self.parts
                .push(Body::Bytes(std::mem::take(&mut self.tail).into()));
        }
    }

    /// Bytes of the frame so far, the size prefix included.
    pub fn size(&self) -> u64 {
        self.head.len() as u64 + self.parts_size + self.tail.len() as u64
    }

    /// Cuts what was written inline, which is all there is so far, so that bodies of `size` bytes together can be put
    /// between.
    ///
    /// # Errors
    /// The frame would be larger than 2 GiB, which its size prefix cannot say.
    ///
    /// # Panics
    /// Something was appended by reference already.
    pub fn cut(mut self, size: u64) -> Result<CutFrame, FrameTooLarge> {
        assert!(self.parts.is_empty(), "only inline bytes can be cut");
        let size = self.size() + size;
        let claimed = i32::try_from(size - SIZE_PREFIX as u64).map_err(|_| FrameTooLarge(size))?;
        if let Some(prefix) = self.head.first_chunk_mut::<SIZE_PREFIX>() {
            *prefix = claimed.to_be_bytes();
        }
        Ok(CutFrame {
            inline: self.head.into(),
            parts: self.parts,
            size,
            put: 0,
        })
    }

    /// The frame's parts and its whole size on the wire.
    ///
    /// # Errors
    /// The frame is larger than 2 GiB, which its size prefix cannot say.
    pub fn finish(mut self) -> Result<(Parts, u64), FrameTooLarge> {
        let size = self.size();
        let claimed = i32::try_from(size - SIZE_PREFIX as u64).map_err(|_| FrameTooLarge(size))?;
        if let Some(prefix) = self.head.first_chunk_mut::<SIZE_PREFIX>() {
            *prefix = claimed.to_be_bytes();
        }
        if !self.parts.is_empty() {
            self.flush_tail();
        }
        let head = Body::Bytes(self.head.into());
        match self.parts.first_mut() {
            Some(placeholder) => *placeholder = head,
            None => self.parts.push(head),
        }
        Ok((self.parts, size))
    }
}
