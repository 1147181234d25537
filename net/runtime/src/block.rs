//! Owns: mutable, page-aligned receive and read memory, pooled per shard.
//! Lives on: a block belongs to the shard that made it; it may travel and comes home when dropped.
//! Invariants: 1. Memory is always initialised (fresh pages are zero), so `spare` is a safe slice.
//! 2. A block is in exactly one place: a `Block`, the shard's free list, or the home stack. 3. The home
//! stack is pushed by anyone and emptied whole by its shard, so a pointer is never popped twice (no ABA).
//! 4. What a load needs at its peak stays, so that no page is touched anew under load (a fault costs more than the copy
//! into the page); what was not needed for a while goes back (`give_back_unused`).
//! Not here: immutable views: `freeze` makes a `bytes::Bytes`.
#![expect(
    unsafe_code,
    reason = "raw memory: allocation, slices over it, an intrusive stack"
)]

use std::alloc::Layout;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The smallest block, bytes; also the alignment of all.
pub const BLOCK_MIN: usize = 4 << 10;
/// The largest block that is kept for reuse, bytes.
pub const BLOCK_MAX_POOLED: usize = 4 << 20;

/// Sizes of the classes, and how many of each a shard keeps at most at rest.
const CLASSES: [(usize, usize); 6] = [
    (4 << 10, 2048),
    (16 << 10, 1024),
    (64 << 10, 512),
    (256 << 10, 128),
    (1 << 20, 48),
    (4 << 20, 16),
];
const COUNT: usize = CLASSES.len();
const _: () = assert!(CLASSES[0].0 == BLOCK_MIN && CLASSES[COUNT - 1].0 == BLOCK_MAX_POOLED);

/// A block of at least `capacity_min` bytes, empty. From the shard's pool; outside of a runtime it is
/// allocated and freed plainly.
///
/// # Panics
/// When memory is exhausted.
pub fn block(capacity_min: usize) -> Block {
    crate::core::with_current(|core| core.pool.take(capacity_min))
        .unwrap_or_else(|| Block::allocate(capacity_min, nowhere()))
}

/// Mutable memory with a filled part and a spare part.
pub struct Block {
    memory: NonNull<u8>,
    capacity: usize,
    len: usize,
    home: Arc<Home>,
}

// SAFETY: a block owns its memory alone; `Home` is made of atomics.
unsafe impl Send for Block {}
// SAFETY: a shared block gives out shared slices only.
unsafe impl Sync for Block {}

impl Block {
    fn allocate(capacity_min: usize, home: Arc<Home>) -> Self {
        let capacity = match class_for(capacity_min) {
            Some(class) => CLASSES[class].0,
            None => capacity_min.next_multiple_of(BLOCK_MIN),
        };
        home.alive.fetch_add(1, Ordering::Relaxed);
        Self {
            memory: map(capacity),
            capacity,
            len: 0,
            home,
        }
    }

    /// Bytes filled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is filled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes in all.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The part not filled. What it holds is old bytes of this process; see `advance`.
    pub fn spare(&mut self) -> &mut [u8] {
        let spare = self.capacity - self.len;
        // SAFETY: `len <= capacity`, so the pointer stays inside the allocation.
        let start = unsafe { self.memory.as_ptr().add(self.len) };
        // SAFETY: `spare` initialised bytes from `start` belong to this block, borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(start, spare) }
    }

    /// Counts `n` bytes of the spare part, written by the caller, as filled.
    ///
    /// # Panics
    /// When the spare part is shorter.
    pub fn advance(&mut self, n: usize) {
        assert!(
            n <= self.capacity - self.len,
            "advance by {n} in {} spare",
            self.capacity - self.len
        );
        self.len += n;
    }

    /// Empties the block; its memory stays.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Shortens the filled part to `n`; no effect when it is shorter.
    pub fn truncate(&mut self, n: usize) {
        self.len = self.len.min(n);
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// When they do not fit: a block never grows.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let spare = self.spare();
        assert!(
            bytes.len() <= spare.len(),
            "{} bytes into {} spare",
            bytes.len(),
            spare.len()
        );
        spare[..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// An immutable counted view of the filled part. The memory goes home when the last view is dropped.
    pub fn freeze(self) -> Bytes {
        if self.len == 0 {
            return Bytes::new();
        }
        Bytes::from_owner(self)
    }

    /// Where the kernel may write. Valid as long as the block.
    pub(crate) fn spare_ptr(&mut self) -> *mut u8 {
        self.spare().as_mut_ptr()
    }
}

impl Deref for Block {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are inside the allocation and initialised.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.home.alive.fetch_sub(1, Ordering::Relaxed);
        let Some(class) =
            class_of(self.capacity).filter(|_| !self.home.closed.load(Ordering::Acquire))
        else {
            unmap(self.memory, self.capacity);
            return;
        };
        let at_home = crate::core::with_current(|core| {
            let ours = Arc::ptr_eq(&core.pool.home, &self.home);
            if ours {
                core.pool.give(class, self.memory);
            }
            ours
        });
        if at_home != Some(true) {
            self.home.push(class, self.memory);
        }
    }
}

/// What other threads see of a shard's pool.
pub(crate) struct Home {
    closed: AtomicBool,
    /// Blocks in hands, of every class and none.
    alive: AtomicUsize,
    returned: [AtomicPtr<u8>; COUNT],
    /// Upper bound of what each stack holds.
    held: [AtomicUsize; COUNT],
}

impl Home {
    fn new(closed: bool) -> Arc<Self> {
        Arc::new(Self {
            closed: AtomicBool::new(closed),
            alive: AtomicUsize::new(0),
            returned: [const { AtomicPtr::new(std::ptr::null_mut()) }; COUNT],
            held: [const { AtomicUsize::new(0) }; COUNT],
        })
    }

    fn push(&self, class: usize, memory: NonNull<u8>) {
        if self.held[class].fetch_add(1, Ordering::Relaxed) >= CLASSES[class].1 {
            self.held[class].fetch_sub(1, Ordering::Relaxed);
            unmap(memory, CLASSES[class].0);
            return;
        }
        let mut head = self.returned[class].load(Ordering::Relaxed);
        loop {
            // SAFETY: the memory is ours, at least 4 KiB and page-aligned: its first word may hold the link.
            unsafe { memory.cast::<*mut u8>().write(head) };
            match self.returned[class].compare_exchange_weak(
                head,
                memory.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn pop_all(&self, class: usize, mut each: impl FnMut(NonNull<u8>)) {
        if self.returned[class].load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut next = self.returned[class].swap(std::ptr::null_mut(), Ordering::Acquire);
        let mut count = 0;
        while let Some(memory) = NonNull::new(next) {
            // SAFETY: the whole stack was taken; each of its blocks starts with the link that `push` wrote.
            next = unsafe { memory.cast::<*mut u8>().read() };
            count += 1;
            each(memory);
        }
        self.held[class].fetch_sub(count, Ordering::Relaxed);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for (class, (size, _)) in CLASSES.iter().enumerate() {
            self.pop_all(class, |memory| unmap(memory, *size));
        }
    }
}

fn nowhere() -> Arc<Home> {
    static NOWHERE: OnceLock<Arc<Home>> = OnceLock::new();
    NOWHERE.get_or_init(|| Home::new(true)).clone()
}

/// Gives memory back to the system: of the blocks of this shard's pool that nobody has needed since the last call, half.
/// Outside of a runtime there is no pool. To be called now and then, whatever the load.
pub fn give_back_unused() {
    crate::core::with_current(|core| core.pool.give_back_unused());
}

/// The shard's side: free lists without atomics.
pub(crate) struct Pool {
    home: Arc<Home>,
    free: RefCell<[Vec<NonNull<u8>>; COUNT]>,
    /// How short each list has been since the last look: so many blocks were not needed.
    unused: [Cell<usize>; COUNT],
}

impl Pool {
    pub(crate) fn new() -> Self {
        Self {
            home: Home::new(false),
            free: RefCell::default(),
            unused: [const { Cell::new(0) }; COUNT],
        }
    }

    /// Bytes at rest, but for those that others have just returned.
    pub(crate) fn bytes(&self) -> usize {
        let free = self.free.borrow();
        let sizes = free
            .iter()
            .zip(CLASSES)
            .map(|(list, (size, _))| list.len() * size);
        sizes.sum()
    }

    fn give_back_unused(&self) {
        for (class, (size, _)) in CLASSES.iter().enumerate() {
            let mut free = self.free.borrow_mut();
            let list = &mut free[class];
            // The longest unused lie at the front.
            let going = list.drain(..self.unused[class].get().div_ceil(2));
            for memory in going {
                unmap(memory, *size);
            }
            self.home.pop_all(class, |memory| list.push(memory));
            self.unused[class].set(list.len());
        }
    }

    /// Blocks in hands anywhere that came from here.
    pub(crate) fn alive(&self) -> usize {
        self.home.alive.load(Ordering::Relaxed)
    }

    // HOT: 0 alloc in the steady state
    pub(crate) fn take(&self, capacity_min: usize) -> Block {
        let Some(class) = class_for(capacity_min) else {
            return Block::allocate(capacity_min, self.home.clone());
        };
        let mut free = self.free.borrow_mut();
        let list = &mut free[class];
        if list.is_empty() {
            self.home.pop_all(class, |memory| list.push(memory));
        }
        let Some(memory) = list.pop() else {
            return Block::allocate(CLASSES[class].0, self.home.clone());
        };
        let unused = &self.unused[class];
        unused.set(unused.get().min(list.len()));
        self.home.alive.fetch_add(1, Ordering::Relaxed);
        Block {
            memory,
            capacity: CLASSES[class].0,
            len: 0,
            home: self.home.clone(),
        }
    }

    fn give(&self, class: usize, memory: NonNull<u8>) {
        let mut free = self.free.borrow_mut();
        if free[class].len() < CLASSES[class].1 {
            free[class].push(memory);
        } else {
            drop(free);
            unmap(memory, CLASSES[class].0);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.home.closed.store(true, Ordering::Release);
        for (list, (size, _)) in self.free.get_mut().iter_mut().zip(CLASSES) {
            for memory in list.drain(..) {
                unmap(memory, size);
            }
        }
    }
}

/// The smallest class that holds `capacity_min`.
fn class_for(capacity_min: usize) -> Option<usize> {
    CLASSES.iter().position(|(size, _)| capacity_min <= *size)
}

fn class_of(capacity: usize) -> Option<usize> {
    CLASSES.iter().position(|(size, _)| capacity == *size)
}

/// From this size memory comes straight from the kernel, zeroed when first touched.
const MAPPED_MIN: usize = 64 << 10;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, BLOCK_MIN).expect("a multiple of the page size below isize::MAX")
}

fn map(size: usize) -> NonNull<u8> {
    if size >= MAPPED_MIN && !cfg!(miri) {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at an address of the kernel's choice aliases nothing.
        let memory =
            unsafe { mmap_anonymous(std::ptr::null_mut(), size, flags, MapFlags::PRIVATE) };
        let memory = memory.unwrap_or_else(|_| std::alloc::handle_alloc_error(layout(size)));
        return NonNull::new(memory.cast()).expect("mmap never returns null");
    }
    // SAFETY: the size is not zero: every capacity is at least one page.
    let memory = unsafe { std::alloc::alloc_zeroed(layout(size.max(BLOCK_MIN))) };
    NonNull::new(memory).unwrap_or_else(|| std::alloc::handle_alloc_error(layout(size)))
}

fn unmap(memory: NonNull<u8>, size: usize) {
    if size >= MAPPED_MIN && !cfg!(miri) {
        // SAFETY: `map` made this mapping with this size, and nothing refers to it any more.
        let _ = unsafe { rustix::mm::munmap(memory.as_ptr().cast(), size) };
        return;
    }
    // SAFETY: `map` allocated it with this very layout, and nothing refers to it any more.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout(size.max(BLOCK_MIN))) };
}
