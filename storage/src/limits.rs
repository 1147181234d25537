//! **Owns** the constants that bound what this crate takes from disk and network.
//! **Lives on** nothing: constants.
//! **Invariants** related limits are asserted against each other here, at compile time.
//! **Not here** settings an operator changes (the broker's configuration tables).

/// Bytes of a batch's header, and so the size of the smallest batch.
pub const BATCH_HEADER_SIZE: usize = 61;

/// Bytes before a batch's length field counts: base offset and the length itself.
pub const BATCH_LENGTH_OVERHEAD: usize = 12;

/// The smallest value of the length field that Kafka takes for a batch at all (a v0 message's overhead).
pub const BATCH_LENGTH_MIN: i32 = 14;

/// Batches of one producer that a partition remembers to recognise a repeated one, as Kafka's.
pub const PRODUCER_BATCHES_CACHED: usize = 5;

/// Bytes that the records of one compressed batch may inflate to, unless the caller sets less. A batch of the default
/// maximum size (1 MiB) that is inflated by the best honest ratio seen (about 1:200 on logs) stays below it.
pub const INFLATED_BYTES_MAX: usize = 256 << 20;

/// Record errors that one refused batch names. The count of all errors is kept beside them.
pub const RECORD_ERRORS_MAX: usize = 100;

/// Base-2 logarithm of the largest window a zstd frame may ask for: 128 MiB, what zstd's own decoder defaults to.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes of a varint of 32 bits, and of 64 bits.
pub const VARINT_SIZE_MAX: usize = 5;
/// Bytes of a varint of 64 bits.
pub const VARLONG_SIZE_MAX: usize = 10;

const _: () = assert!(BATCH_HEADER_SIZE > BATCH_LENGTH_OVERHEAD + BATCH_LENGTH_MIN as usize);
