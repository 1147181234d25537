//! **Owns** the four codecs of a batch: what Kafka's clients write is read, what is written Kafka's clients read.
//! **Lives on** any thread; large work belongs on a companion.
//! **Invariants** (1) Inflating stops at the caller's limit, and no allocation is sized by a length that the data claims
//! beyond what its codec could reach. (2) What is inflated is never trusted: it is record bytes to be checked.
//! **Not here** when to inflate (`validate`, readers), which level a topic wants (settings).

mod lz4_hc;

use std::io::{self, Read, Write};

use lz4_hc::Lz4Hc;

use crate::limits::ZSTD_WINDOW_LOG_MAX;

/// How the records of a batch are compressed. The discriminant is Kafka's id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy, framed as snappy-java does; read also bare.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames.
    Zstd = 4,
}

impl Codec {
    /// All codecs, by id.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of Kafka's id.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// Kafka's id.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name, as `compression.type` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a name; also `uncompressed`, as the topic setting calls it.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "uncompressed" {
            return Some(Self::None);
        }
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A codec and how hard it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// The codec.
    pub codec: Codec,
    /// gzip 1–9, lz4 1–17, zstd -131072–22 (out of range is moved into it); snappy has none. `None`: the codec's default.
    /// lz4's 9 is its default and the fast method, all others search longer the higher they are: Kafka's reading.
    pub level: Option<i32>,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// Why records do not decompress.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// They would grow beyond the limit.
    #[error("they inflate to more than {limit} bytes")]
    TooLarge {
        /// The caller's limit, in bytes.
        limit: usize,
    },
    /// They are not what the codec writes.
    #[error("not {codec} data: {reason}")]
    Corrupt {
        /// The codec of the attributes.
        codec: Codec,
        /// The decoder's words.
        reason: String,
    },
    /// The attributes name no codec.
    #[error("compression code {0} is unknown")]
    UnknownCodec(u8),
}

/// Inflates `data` whole.
pub(super) fn inflate(
    codec: Codec,
    data: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, InflateError> {
    let mut stream = Inflate::new(codec, data, bytes_max)?;
    let mut out = Vec::with_capacity(
        (data.len() * 2)
            .clamp(CHUNK_SIZE, 1 << 20)
            .min(bytes_max.max(1)),
    );
    loop {
        let filled = out.len();
        if out.capacity() == filled {
            out.reserve(filled);
        }
        let room = (out.capacity() - filled).min(1 << 20);
        out.resize(filled + room, 0);
        let count = stream.fill(&mut out[filled..])?;
        out.truncate(filled + count);
        if count == 0 {
            return Ok(out);
        }
    }
}

/// Inflates as it is read, up to a limit.
pub(super) struct Inflate<'a> {
    codec: Codec,
    left: usize,
    limit: usize,
    decoder: Decoder<'a>,
}

enum Decoder<'a> {
    None(&'a [u8]),
    Gzip(Box<flate2::bufread::MultiGzDecoder<&'a [u8]>>),
    Snappy(SnappyDecoder<'a>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, &'a [u8]>>),
}

impl<'a> Inflate<'a> {
    pub(super) fn new(
        codec: Codec,
        data: &'a [u8],
        bytes_max: usize,
    ) -> Result<Self, InflateError> {
        let decoder = match codec {
            Codec::None => Decoder::None(data),
            Codec::Gzip => Decoder::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(data))),
            Codec::Snappy => Decoder::Snappy(SnappyDecoder::new(data)),
            Codec::Lz4 => Decoder::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(data))),
            Codec::Zstd => Decoder::Zstd(Box::new(
                zstd_decoder(data).map_err(|error| corrupt(codec, &error))?,
            )),
        };
        Ok(Self {
            codec,
            left: bytes_max,
            limit: bytes_max,
            decoder,
        })
    }

    /// Reads some bytes; 0 is the end (or an empty `into`).
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<usize, InflateError> {
        let result = match &mut self.decoder {
            Decoder::None(data) => data.read(into),
            Decoder::Gzip(decoder) => decoder.read(into),
            Decoder::Snappy(decoder) => decoder.read(into),
            Decoder::Lz4(decoder) => decoder.read(into),
            Decoder::Zstd(decoder) => decoder.read(into),
        };
        let count = result.map_err(|error| corrupt(self.codec, &error))?;
        self.left = self
            .left
            .checked_sub(count)
            .ok_or(InflateError::TooLarge { limit: self.limit })?;
        Ok(count)
    }
}

/// Whether `data` begins as its codec must. A glance, for batches that are not looked into.
pub(super) fn looks_like(codec: Codec, data: &[u8]) -> bool {
    match codec {
        Codec::None => true,
        Codec::Gzip => data.starts_with(&[0x1f, 0x8b]),
        Codec::Snappy => data.starts_with(XERIAL_MAGIC) || snap::raw::decompress_len(data).is_ok(),
        Codec::Lz4 => data.starts_with(&[0x04, 0x22, 0x4d, 0x18]),
        Codec::Zstd => data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
    }
}

fn zstd_decoder(data: &[u8]) -> io::Result<zstd::stream::read::Decoder<'static, &[u8]>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(data)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Snappy as snappy-java frames it: 16 bytes of head, then chunks, each its size (big-endian u32) and a block. Data
/// without that head is one bare block, as librdkafka writes it.
struct SnappyDecoder<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
    chunk: Vec<u8>,
    read: usize,
}

impl<'a> SnappyDecoder<'a> {
    fn new(data: &'a [u8]) -> Self {
        let framed = data.starts_with(XERIAL_MAGIC);
        let rest = if framed {
            data.get(XERIAL_HEAD_SIZE..).unwrap_or_default()
        } else {
            data
        };
        Self {
            rest,
            framed,
            decoder: snap::raw::Decoder::new(),
            chunk: Vec::new(),
            read: 0,
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            if self.rest.is_empty() {
                return Ok(0);
            }
            self.next_chunk()?;
        }
        let count = (self.chunk.len() - self.read).min(into.len());
        into[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let block = if self.framed {
            let (size, rest) = self
                .rest
                .split_first_chunk()
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = u32::from_be_bytes(*size) as usize;
            let (block, rest) = rest
                .split_at_checked(size)
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            self.rest = rest;
            block
        } else {
            std::mem::take(&mut self.rest)
        };
        let size = snap::raw::decompress_len(block).map_err(io::Error::other)?;
        // The longest copy (64 bytes) takes 3 bytes of input, so no honest block claims more than this.
        if size > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
            return Err(io::Error::other("a block claims an impossible size"));
        }
        self.chunk.resize(size, 0);
        self.read = 0;
        self.decoder
            .decompress(block, &mut self.chunk)
            .map_err(io::Error::other)?;
        Ok(())
    }
}

/// Compresses, keeping what a codec wants to keep between batches.
pub(super) struct Deflate {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    snappy: snap::raw::Encoder,
    lz4_hc: Lz4Hc,
    chunk: Vec<u8>,
}

impl Deflate {
    pub(super) fn new() -> Self {
        Self {
            zstd: None,
            snappy: snap::raw::Encoder::new(),
            lz4_hc: Lz4Hc::default(),
            chunk: Vec::new(),
        }
    }

    /// Appends `data`, compressed, to `to`.
    pub(super) fn append(
        &mut self,
        how: Compression,
        data: &[u8],
        to: &mut Vec<u8>,
    ) -> io::Result<()> {
        match how.codec {
            Codec::None => {
                to.extend_from_slice(data);
                Ok(())
            }
            Codec::Gzip => {
                let level = how
                    .level
                    .map_or(6, |level| level.clamp(1, 9).unsigned_abs());
                let mut encoder =
                    flate2::write::GzEncoder::new(to, flate2::Compression::new(level));
                encoder.write_all(data)?;
                encoder.finish().map(drop)
            }
            Codec::Snappy => self.append_snappy(data, to),
            Codec::Lz4 if how.level.is_some_and(|level| level != LZ4_LEVEL_FAST) => {
                self.lz4_hc
                    .append(how.level.unwrap_or(LZ4_LEVEL_FAST), data, to);
                Ok(())
            }
            Codec::Lz4 => {
                // Kafka's frame: blocks of 64 KiB, each by itself, no checksums (its readers look at the head's only).
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, to);
                encoder.write_all(data)?;
                encoder.finish().map(drop).map_err(io::Error::other)
            }
            Codec::Zstd => self.append_zstd(how.level, data, to),
        }
    }

    fn append_snappy(&mut self, data: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        to.extend_from_slice(XERIAL_MAGIC);
        to.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
        for block in data.chunks(XERIAL_BLOCK_SIZE) {
            self.chunk
                .resize(snap::raw::max_compress_len(block.len()), 0);
            let size = self
                .snappy
                .compress(block, &mut self.chunk)
                .map_err(io::Error::other)?;
            let prefix = u32::try_from(size).map_err(io::Error::other)?;
            to.extend_from_slice(&prefix.to_be_bytes());
            to.extend_from_slice(&self.chunk[..size]);
        }
        Ok(())
    }

    fn append_zstd(&mut self, level: Option<i32>, data: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        let level = level.map_or(3, |level| level.clamp(-131_072, 22));
        let compressor = match &mut self.zstd {
            Some((kept, compressor)) if *kept == level => compressor,
            slot => &mut slot.insert((level, zstd::bulk::Compressor::new(level)?)).1,
        };
        let frame = compressor.compress(data)?;
        to.extend_from_slice(&frame);
        Ok(())
    }
}

fn corrupt(codec: Codec, error: &io::Error) -> InflateError {
    InflateError::Corrupt {
        codec,
        reason: error.to_string(),
    }
}

const CHUNK_SIZE: usize = 16 << 10;
/// The level of `compression.lz4.level` that names LZ4's fast method.
const LZ4_LEVEL_FAST: i32 = 9;
const XERIAL_MAGIC: &[u8] = &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEAD_SIZE: usize = 16;
/// What snappy-java compresses at a time by default.
const XERIAL_BLOCK_SIZE: usize = 32 << 10;
const SNAPPY_RATIO_MAX: usize = 22;

#[cfg(test)]
mod tests;
