//! Owns: file operations as plain data, and the slab whose slots own every buffer until completion.
//! Lives on: its shard; on the readiness driver the work of a slot travels to a helper thread and back.
//! Invariants: 1. A future owns only a key. Dropping it orphans the slot; the buffers stay in the slot
//! until the kernel (or the helper) is done with them. 2. The memory that a submitted operation points to
//! does not move: blocks, chunks and the vector of addresses all live on the heap. 3. A completion
//! finds its slot by index and generation.
//! Not here: carrying operations out (`ring`, `readiness`, `sim`), sockets (`source`).
#![expect(
    unsafe_code,
    reason = "an iovec is an address, which must be declared Send"
)]

use std::future::Future;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::block::Block;
use crate::core::{Core, current};

/// The file of an operation.
#[derive(Clone, Debug)]
pub(crate) enum Handle {
    Real(Arc<OwnedFd>),
    #[cfg(any(test, feature = "sim"))]
    Sim(u64),
}

impl Handle {
    /// The descriptor, for the real drivers.
    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        match self {
            Self::Real(fd) => fd,
            #[cfg(any(test, feature = "sim"))]
            Self::Sim(file) => unreachable!("simulated file {file} meets the real system"),
        }
    }
}

/// What to do. Sizes and positions are bytes.
pub(crate) enum Work {
    /// Fill up to `len` bytes of the block's spare part.
    Read {
        file: Handle,
        position: u64,
        len: usize,
        block: Block,
        punt: Punt,
    },
    /// Write all parts from the `skip`-th byte of the first on (at most `IOV_MAX` of them).
    Write {
        file: Handle,
        position: u64,
        parts: Vec<Bytes>,
        first: usize,
        skip: usize,
        /// Filled by the ring driver: what the kernel reads; kept here until it has.
        addresses: Vec<Address>,
    },
    /// `fdatasync`.
    Sync { file: Handle },
    /// `fallocate` with `FALLOC_FL_KEEP_SIZE`.
    Reserve { file: Handle, range: Range<u64> },
    /// `sync_file_range` with `SYNC_FILE_RANGE_WRITE`.
    Writeback { file: Handle, range: Range<u64> },
    /// `posix_fadvise` with `POSIX_FADV_DONTNEED`.
    Forget { file: Handle, range: Range<u64> },
}

/// One `struct iovec`.
#[repr(C)]
pub(crate) struct Address {
    base: *const u8,
    size: usize,
}

// SAFETY: only an address; what it points to is owned by the `Work` it stands in, which is Send.
unsafe impl Send for Address {}

impl Address {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            base: bytes.as_ptr(),
            size: bytes.len(),
        }
    }
}

/// The most parts one write takes (`IOV_MAX`).
pub(crate) const PARTS_MAX: usize = 1024;

/// The slices of a write that are still to be written, at most `PARTS_MAX`.
pub(crate) fn rest(parts: &[Bytes], first: usize, skip: usize) -> impl Iterator<Item = &[u8]> {
    let skipped = parts.get(first).map(|part| &part[skip..]);
    skipped
        .into_iter()
        .chain(parts.iter().skip(first + 1).map(|part| &part[..]))
        .take(PARTS_MAX)
}

/// Whether a ring read is tried inline first or goes to a kernel worker at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Punt {
    Never,
    AtOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Bytes done, or a negative `errno`.
pub(crate) type Outcome = i32;

enum State {
    InFlight(Option<Waker>),
    /// The future is gone; the slot is freed at completion.
    Orphan,
    Done(Outcome),
}

struct Slot {
    generation: u32,
    state: State,
    /// `None` while a helper thread has it.
    work: Option<Box<Work>>,
}

/// The operations in flight.
pub(crate) struct Ops {
    slots: slab::Slab<Slot>,
    generation: u32,
}

impl Ops {
    pub(crate) const fn new() -> Self {
        Self {
            slots: slab::Slab::new(),
            generation: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn insert(&mut self, work: Box<Work>) -> OpKey {
        self.generation = self.generation.wrapping_add(1) & GENERATION_MASK;
        let slot = Slot {
            generation: self.generation,
            state: State::InFlight(None),
            work: Some(work),
        };
        let index = u32::try_from(self.slots.insert(slot)).expect("fewer than 2^32 operations");
        OpKey {
            index,
            generation: self.generation,
        }
    }

    fn live(&mut self, key: OpKey) -> Option<&mut Slot> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
    }

    /// The work of a slot in flight, to be described to the kernel in place.
    pub(crate) fn work_mut(&mut self, key: OpKey) -> Option<&mut Work> {
        self.live(key)?.work.as_deref_mut()
    }

    /// Hands the work to a helper thread; `complete` brings it back.
    pub(crate) fn take_work(&mut self, key: OpKey) -> Option<Box<Work>> {
        self.live(key)?.work.take()
    }

    /// Records a completion. The waker is the caller's to wake, and the orphaned work the caller's to
    /// drop, once nothing is borrowed.
    #[must_use]
    pub(crate) fn complete(
        &mut self,
        key: OpKey,
        outcome: Outcome,
        back: Option<Box<Work>>,
    ) -> (Option<Waker>, Option<Box<Work>>) {
        let Some(slot) = self.live(key) else {
            return (None, back);
        };
        if back.is_some() {
            slot.work = back;
        }
        match &mut slot.state {
            State::InFlight(waker) => {
                let waker = waker.take();
                slot.state = State::Done(outcome);
                (waker, None)
            }
            State::Orphan => {
                let slot = self.slots.remove(key.index as usize);
                (None, slot.work)
            }
            State::Done(_) => unreachable!("an operation completes once"),
        }
    }
}

/// Generations of operations and sources share the user data of a ring entry with a tag and an index.
pub(crate) const GENERATION_MASK: u32 = (1 << 30) - 1;

/// Carries out one operation.
pub(crate) fn perform(work: Work) -> Perform {
    let core = current();
    let key = core.ops.borrow_mut().insert(Box::new(work));
    core.start(key);
    Perform {
        core,
        key,
        finished: false,
    }
}

/// A future that owns only the key of its operation.
pub(crate) struct Perform {
    core: Rc<Core>,
    key: OpKey,
    finished: bool,
}

impl Future for Perform {
    type Output = (Outcome, Work);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let core = self.core.clone();
        let mut ops = core.ops.borrow_mut();
        let slot = ops
            .live(self.key)
            .expect("the slot lives as long as its future");
        match &mut slot.state {
            State::InFlight(waker) => {
                match waker {
                    Some(old) => old.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Done(outcome) => {
                let outcome = *outcome;
                let slot = ops.slots.remove(self.key.index as usize);
                self.finished = true;
                Poll::Ready((
                    outcome,
                    *slot.work.expect("a completion brings the work back"),
                ))
            }
            State::Orphan => unreachable!("only a dropped future orphans"),
        }
    }
}

impl Drop for Perform {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let mut ops = self.core.ops.borrow_mut();
        let Some(slot) = ops.live(self.key) else {
            return;
        };
        match &mut slot.state {
            State::InFlight(_) => {
                slot.state = State::Orphan;
                drop(ops);
                self.core.cancel_op(self.key);
            }
            State::Done(_) => {
                let slot = ops.slots.remove(self.key.index as usize);
                drop(ops);
                drop(slot);
            }
            State::Orphan => {}
        }
    }
}
