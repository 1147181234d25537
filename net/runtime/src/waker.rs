//! Owns: the waker of a task: one integer.
//! Lives on: every thread.
//! Invariants: 1. Clone and drop do nothing, so there is no count to overflow or to race. 2. A stale
//! wake finds another generation (or, from another thread, causes one spurious poll): harmless.
//! Not here: the table of runtimes (`slot`), the ready queue (`core`).
//!
//! ```text
//!  63        52 51                         20 19                0
//! +------------+-----------------------------+------------------+
//! | slot    12 | generation               32 | task index    20 |
//! +------------+-----------------------------+------------------+
//! ```
#![expect(
    unsafe_code,
    reason = "a RawWaker can only be made so; its data is an integer"
)]

use std::task::{RawWaker, RawWakerVTable, Waker};

use crate::slot::{RUNTIMES_MAX, Slot, TASKS_MAX};

const _: () = assert!(usize::BITS == 64, "a task is named by 64 bits of a pointer");
const _: () = assert!(RUNTIMES_MAX == 1 << 12 && TASKS_MAX == 1 << 20);

/// The name of a task in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskId(u64);

impl TaskId {
    pub(crate) fn new(slot: u16, generation: u32, index: u32) -> Self {
        debug_assert!((index as usize) < TASKS_MAX);
        Self(u64::from(slot) << 52 | u64::from(generation) << 20 | u64::from(index))
    }

    pub(crate) fn slot(self) -> u16 {
        (self.0 >> 52) as u16
    }

    #[expect(clippy::cast_possible_truncation, reason = "the field has 32 bits")]
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 20) as u32
    }

    pub(crate) fn index(self) -> u32 {
        (self.0 & 0xf_ffff) as u32
    }

    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn waker(self) -> Waker {
        // SAFETY: the functions of VTABLE keep RawWaker's contract for every integer: they only read the
        // data as a number, are callable from any thread, and own nothing.
        unsafe { Waker::from_raw(self.raw()) }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a usize has 64 bits: asserted above"
    )]
    fn raw(self) -> RawWaker {
        RawWaker::new(std::ptr::without_provenance(self.0 as usize), &VTABLE)
    }

    /// The task a waker names, when it is one of ours.
    pub(crate) fn of(waker: &Waker) -> Option<Self> {
        std::ptr::eq(waker.vtable(), &raw const VTABLE).then(|| Self(waker.data().addr() as u64))
    }

    /// Asks for a poll of this task, from any thread.
    pub(crate) fn wake(self) {
        let local = crate::core::with_current(|core| {
            let ours = core.slot.index == self.slot();
            if ours {
                core.make_ready(self);
            }
            ours
        });
        if local != Some(true)
            && let Some(slot) = Slot::of(self.slot())
        {
            slot.wake_task(self.index());
        }
    }
}

static VTABLE: RawWakerVTable = RawWakerVTable::new(
    |data| RawWaker::new(data, &VTABLE),
    |data| TaskId(data.addr() as u64).wake(),
    |data| TaskId(data.addr() as u64).wake(),
    |_| (),
);
