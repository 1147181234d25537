//! Owns: the process-wide table of runtimes: for each its eventfd, its sleep flag and the set of tasks
//! that other threads want polled.
//! Lives on: every thread; the only shared mutable state besides the mesh.
//! Invariants: 1. A slot and its eventfd live as long as the process: a wake that races with a
//! shutdown may hit a later runtime in the same slot, where it is a spurious poll, but never a
//! recycled descriptor. 2. A foreign wake sets its bits first and reads the sleep flag second; a
//! runtime sets the flag first and reads the bits second; both sequentially consistent, so one of the
//! two always sees the other. 3. The eventfd is written only when the flag was taken from `true`.
//! Not here: what a wake means (`waker`, `core`).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::event::{EventfdFlags, eventfd};

use crate::config::StartError;

/// How many tasks a runtime can hold at a time (20 bits of a waker).
pub(crate) const TASKS_MAX: usize = 1 << 20;
/// How many runtimes a process can hold at a time (12 bits of a waker).
pub(crate) const RUNTIMES_MAX: usize = 1 << 12;

static SLOTS: [OnceLock<Slot>; RUNTIMES_MAX] = [const { OnceLock::new() }; RUNTIMES_MAX];

/// One runtime's place in the table.
pub(crate) struct Slot {
    pub(crate) index: u16,
    taken: AtomicBool,
    wake: OwnedFd,
    sleeping: AtomicBool,
    /// Something other than a task wants attention: completions of helper threads.
    poked: AtomicBool,
    foreign: ForeignSet,
    /// The generation that the next runtime's tasks start at, so stale wakers rarely match.
    pub(crate) generation: AtomicU64,
}

impl Slot {
    /// Takes a free slot, making one when all are taken.
    pub(crate) fn claim() -> Result<&'static Slot, StartError> {
        for (index, cell) in SLOTS.iter().enumerate() {
            if let Some(slot) = cell.get() {
                if !slot.taken.swap(true, Ordering::AcqRel) {
                    slot.foreign.clear();
                    slot.poked.store(false, Ordering::SeqCst);
                    slot.sleeping.store(false, Ordering::SeqCst);
                    return Ok(slot);
                }
                continue;
            }
            let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
                .map_err(|e| StartError::Wake(e.into()))?;
            let slot = Slot {
                index: u16::try_from(index).expect("the table has 2^12 entries"),
                taken: AtomicBool::new(true),
                wake,
                sleeping: AtomicBool::new(false),
                poked: AtomicBool::new(false),
                foreign: ForeignSet::new(),
                generation: AtomicU64::new(1),
            };
            // Another thread may have filled the place meanwhile; then ours is closed unused and we go on.
            if cell.set(slot).is_ok() {
                return Ok(cell.get().expect("just set"));
            }
        }
        Err(StartError::TooMany(RUNTIMES_MAX))
    }

    /// Gives the slot back. The eventfd stays open.
    pub(crate) fn release(&self) {
        self.taken.store(false, Ordering::Release);
    }

    pub(crate) fn of(index: u16) -> Option<&'static Slot> {
        SLOTS.get(usize::from(index))?.get()
    }

    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Asks for a poll of the task at `index`, from any thread.
    pub(crate) fn wake_task(&self, index: u32) {
        self.foreign.insert(index);
        self.ring_bell();
    }

    /// Makes the runtime look at its driver, from any thread.
    pub(crate) fn poke(&self) {
        self.poked.store(true, Ordering::SeqCst);
        self.ring_bell();
    }

    fn ring_bell(&self) {
        if self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst) {
            // The counter is never read: each write is an edge for both drivers, and 2^64 writes do not happen.
            #[expect(clippy::host_endian_bytes, reason = "the kernel adds a native integer")]
            let one = 1_u64.to_ne_bytes();
            let _ = rustix::io::write(&self.wake, &one);
        }
    }

    /// The owner is about to sleep. `false`: it must not, there is work.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        if self.has_foreign() {
            self.sleeping.store(false, Ordering::SeqCst);
            return false;
        }
        true
    }

    pub(crate) fn wake_up(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
    }

    pub(crate) fn has_foreign(&self) -> bool {
        self.poked.load(Ordering::SeqCst) || !self.foreign.is_empty()
    }

    /// Takes all foreign wakes, in order of task index.
    pub(crate) fn take_foreign(&self, each: impl FnMut(u32)) {
        if self.poked.load(Ordering::Relaxed) {
            self.poked.store(false, Ordering::SeqCst);
        }
        self.foreign.drain(each);
    }
}

/// A set of task indices: a three-level bitmap, 4 × 64 × 64 × 64 bits; the leaves appear when used.
/// Waking the same task twice costs nothing, and nothing is allocated per wake.
struct ForeignSet {
    root: [AtomicU64; 4],
    middle: [AtomicU64; 256],
    leaves: [OnceLock<Box<[AtomicU64; 64]>>; 256],
}

impl ForeignSet {
    fn new() -> Self {
        Self {
            root: [const { AtomicU64::new(0) }; 4],
            middle: [const { AtomicU64::new(0) }; 256],
            leaves: [const { OnceLock::new() }; 256],
        }
    }

    fn insert(&self, index: u32) {
        let index = index as usize;
        let (leaf, word, bit) = (index >> 12, (index >> 6) & 63, index & 63);
        let words = self.leaves[leaf].get_or_init(|| Box::new([const { AtomicU64::new(0) }; 64]));
        // Bottom up: who sees a bit above finds the bit below. Drained top down.
        words[word].fetch_or(1 << bit, Ordering::SeqCst);
        self.middle[leaf].fetch_or(1 << word, Ordering::SeqCst);
        self.root[leaf >> 6].fetch_or(1 << (leaf & 63), Ordering::SeqCst);
    }

    fn is_empty(&self) -> bool {
        self.root
            .iter()
            .all(|word| word.load(Ordering::SeqCst) == 0)
    }

    fn drain(&self, mut each: impl FnMut(u32)) {
        for (quarter, root) in self.root.iter().enumerate() {
            if root.load(Ordering::Relaxed) == 0 {
                continue;
            }
            for leaf in bits(root.swap(0, Ordering::SeqCst)) {
                let leaf = quarter << 6 | leaf;
                for word in bits(self.middle[leaf].swap(0, Ordering::SeqCst)) {
                    let Some(words) = self.leaves[leaf].get() else {
                        continue;
                    };
                    for bit in bits(words[word].swap(0, Ordering::SeqCst)) {
                        let index = leaf << 12 | word << 6 | bit;
                        each(u32::try_from(index).expect("20 bits"));
                    }
                }
            }
        }
    }

    fn clear(&self) {
        self.drain(|_| ());
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(bit)
    })
}
