//! Counts allocations, by thread, so that tests beside each other do not count each other's.
//!
//! **Owns** the test binary's allocator.
//! **Invariants** 1. Counting never allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system allocator unchanged; counting touches thread locals that
// are constant-initialised and need no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        shrink(layout.size());
        grow(size);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.realloc(place, layout, size) }
    }
}

fn grow(size: usize) {
    COUNT.with(|count| count.set(count.get() + 1));
    let live = LIVE.with(|live| {
        live.set(live.get().saturating_add_unsigned(size));
        live.get()
    });
    PEAK.with(|peak| peak.set(peak.get().max(live)));
}

fn shrink(size: usize) {
    LIVE.with(|live| live.set(live.get().saturating_sub_unsigned(size)));
}

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Calls of the allocator.
    pub(crate) count: u64,
    /// The most bytes held at once, above those held before.
    pub(crate) peak: usize,
}

/// Runs `work` and counts what this thread allocates meanwhile.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let count = COUNT.with(Cell::get);
    let live = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(live));
    let result = work();
    let peak = PEAK.with(Cell::get) - live;
    let taken = Taken {
        count: COUNT.with(Cell::get) - count,
        peak: peak.max(0).unsigned_abs(),
    };
    (result, taken)
}

#[test]
fn counts_what_is_allocated() {
    let (vector, taken) = counted(|| vec![0_u8; 1000]);
    assert_eq!(vector.len(), 1000);
    assert_eq!((taken.count, taken.peak), (1, 1000));
}
