//! **Owns** a batch on its way: its bytes, its sequence, and what becomes of it.
//! **Lives on** the client's thread.
//! **Invariants** (1) The records of a sealed batch are never touched again; producer id, epoch and sequence are written
//! into its header only, and its CRC follows by arithmetic (a CRC is linear), so resending and reusing batches is free.
//! **Not here** when it is sent (`sender`).

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use corelog_runtime::{Instant, now};
use corelog_storage::batch::{Batch, BatchBuilder, Header};
use corelog_storage::limits::BATCH_HEADER_SIZE;
use corelog_storage::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{Identity, ProduceError};

/// A finished batch whose header can be rewritten cheaply. Clones share the records.
#[derive(Clone, Debug)]
pub struct Prepared {
    header: Header,
    body: Bytes,
    crc: Rc<BodyCrc>,
}

/// What the CRC of a whole batch needs of its body. To carry a front's CRC over the body takes 32 combinations, some 50 µs:
/// that pays for a large batch which is sent again and again, and only then.
#[derive(Debug, Default)]
struct BodyCrc {
    uses: Cell<u32>,
    carried: OnceCell<Carried>,
}

#[derive(Debug)]
struct Carried {
    /// Of the body alone.
    crc: u32,
    /// `shift[i]`: CRC contribution of bit `i` of the front's CRC, carried over the body's length.
    shift: [u32; 32],
}

impl BodyCrc {
    /// Of front and body, from the front's.
    fn whole(&self, front: u32, body: &[u8]) -> u32 {
        let uses = self.uses.get();
        if uses < DIRECT_USES || body.len() <= DIRECT_BYTES {
            self.uses.set(uses.saturating_add(1));
            return crc32c::crc32c_append(front, body);
        }
        let carried = self.carried.get_or_init(|| Carried {
            crc: crc32c::crc32c(body),
            shift: std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, body.len())),
        });
        let mut sum = carried.crc;
        let mut rest = front;
        while rest != 0 {
            sum ^= carried.shift[rest.trailing_zeros() as usize];
            rest &= rest - 1;
        }
        sum
    }
}

impl Prepared {
    /// From a finished batch.
    pub fn new(batch: &Batch) -> Self {
        Self {
            header: *batch.header(),
            body: batch.body(),
            crc: Rc::default(),
        }
    }

    /// The same records, all timestamps moved to `base`.
    #[must_use]
    pub fn at(&self, base: i64) -> Self {
        let mut moved = self.clone();
        let span = self.header.max_timestamp.0 - self.header.base_timestamp.0;
        moved.header.base_timestamp = Timestamp(base);
        moved.header.max_timestamp = Timestamp(base + span);
        moved
    }

    /// Records.
    pub fn count(&self) -> i32 {
        self.header.record_count
    }

    /// Bytes of the batch.
    pub fn size(&self) -> usize {
        BATCH_HEADER_SIZE + self.body.len()
    }

    pub(super) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Writes the header, with its CRC, at the end of `to`.
    pub(super) fn put_head(&self, to: &mut Vec<u8>) {
        let mut header = self.header;
        let bytes = header.encode();
        header.crc = self
            .crc
            .whole(crc32c::crc32c(&bytes[CRC_FROM..]), &self.body);
        to.extend_from_slice(&header.encode());
    }
}

/// A batch in line or in flight.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) batch: Prepared,
    /// What it holds of the producer's memory.
    pub(super) charged: usize,
    pub(super) attempts: u32,
    /// Its place among the batches of its partition.
    pub(super) order: u64,
    pub(super) token: u64,
    pub(super) fate: Rc<Fate>,
}

impl Sealed {
    pub(super) fn new(batch: Prepared, token: u64, charged: usize, fate: Rc<Fate>) -> Self {
        Self {
            batch,
            charged,
            attempts: 0,
            order: 0,
            token,
            fate,
        }
    }

    pub(super) fn sequence(&self) -> Sequence {
        self.batch.header.base_sequence
    }

    pub(super) fn is_stamped(&self) -> bool {
        self.batch.header.base_sequence.is_some()
    }

    /// Gives it its place in the producer's sequence, and in its transaction if there is one.
    pub(super) fn stamp(&mut self, identity: Identity, sequence: Sequence, transactional: bool) {
        let attributes = self.batch.header.attributes;
        self.batch.header.attributes = attributes.with_transactional(transactional);
        self.batch.header.producer_id = identity.id;
        self.batch.header.producer_epoch = identity.epoch;
        self.batch.header.base_sequence = sequence;
    }

    pub(super) fn unstamp(&mut self) {
        self.batch.header.producer_id = ProducerId::NONE;
        self.batch.header.producer_epoch = ProducerEpoch::NONE;
        self.batch.header.base_sequence = Sequence::NONE;
    }

    pub(super) fn count(&self) -> i32 {
        self.batch.count()
    }
}

/// The batch that records are appended to.
pub(super) struct Open {
    pub(super) serial: u64,
    pub(super) fate: Rc<Fate>,
    pub(super) charged: usize,
}

impl Open {
    pub(super) fn close(self, builder: &mut BatchBuilder) -> Result<Sealed, String> {
        match builder.finish() {
            Ok(batch) => Ok(Sealed::new(
                Prepared::new(&batch),
                0,
                self.charged,
                self.fate,
            )),
            Err(error) => {
                self.fate.finish(Err(ProduceError::Closed));
                Err(error.to_string())
            }
        }
    }
}

/// What becomes of a batch; shared by its records' deliveries.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) created: Instant,
    outcome: RefCell<Option<(Result<Outcome, ProduceError>, Instant)>>,
    waiting: RefCell<Vec<Waker>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    pub(super) base_offset: i64,
    pub(super) log_append_time: i64,
}

impl Fate {
    pub(super) fn new(created: Instant) -> Self {
        Self {
            created,
            outcome: RefCell::new(None),
            waiting: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn finish(&self, outcome: Result<Outcome, ProduceError>) {
        *self.outcome.borrow_mut() = Some((outcome, now()));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// The outcome of one record (or one prepared batch), to be awaited. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "a failed delivery is only known here"]
pub struct Delivery {
    fate: Rc<Fate>,
    index: i64,
    partition: i32,
}

/// Where a record came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The partition.
    pub partition: i32,
    /// The offset; −1 with `acks=0`, or when the broker knows only that it has it already.
    pub offset: i64,
    /// The broker's time of append in milliseconds, when the topic has it; else −1.
    pub log_append_time: i64,
    /// From the batch's first record to its acknowledgement.
    pub latency: Duration,
}

impl Delivery {
    pub(super) fn new(fate: Rc<Fate>, index: i64, partition: i32) -> Self {
        Self {
            fate,
            index,
            partition,
        }
    }

    /// The partition that was chosen.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The outcome, if it is known.
    pub fn outcome(&self) -> Option<Result<Delivered, ProduceError>> {
        let outcome = self.fate.outcome.borrow();
        let (result, at) = outcome.as_ref()?;
        Some(match result {
            Ok(outcome) => Ok(Delivered {
                partition: self.partition,
                offset: if outcome.base_offset < 0 {
                    -1
                } else {
                    (Offset(outcome.base_offset) + self.index).0
                },
                log_append_time: outcome.log_append_time,
                latency: at.duration_since(self.fate.created),
            }),
            Err(error) => Err(error.clone()),
        })
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, ProduceError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.fate.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// The first byte of a batch that its CRC covers.
const CRC_FROM: usize = 21;
/// A batch sent no more often is not worth the carrying.
const DIRECT_USES: u32 = 2;
/// Nor is one that is no larger: its CRC takes less than half a microsecond.
const DIRECT_BYTES: usize = 4096;
