//! Owns: asking the kernel how much of a file's range is in the page cache.
//! Lives on: any thread.
//! Invariants: 1. Nothing here waits for a disk. 2. Where the kernel cannot say (before 6.5, some file systems),
//! the answer is `None`, never a guess.
//! Not here: whether what is there can be read at once (`file`: a page on its way in counts as there).
#![expect(
    unsafe_code,
    reason = "cachestat has no wrapper in the C library or in rustix"
)]

use std::ffi::{c_int, c_long, c_uint};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of the pages of `range` that are in the page cache; whole pages count.
pub(crate) fn cached_bytes(file: &OwnedFd, range: &Range<u64>) -> Option<u64> {
    if UNKNOWN.load(Ordering::Relaxed) {
        return None;
    }
    let wanted = CachestatRange {
        position: range.start,
        size: range.end - range.start,
    };
    let mut found = Cachestat::default();
    let flags: c_uint = 0;
    let descriptor: c_int = file.as_raw_fd();
    // SAFETY: the kernel reads one CachestatRange and writes one Cachestat, laid out as in its header; both live here.
    let failed = unsafe {
        syscall(
            CACHESTAT,
            descriptor,
            &raw const wanted,
            &raw mut found,
            flags,
        )
    };
    if failed == 0 {
        return Some(found.cached.saturating_mul(page_size()));
    }
    // Seccomp answers EPERM, old kernels ENOSYS: asking again would cost as much each time.
    UNKNOWN.store(true, Ordering::Relaxed);
    None
}

/// Bytes of the pages that `range` touches.
pub(crate) fn touched_bytes(range: &Range<u64>) -> u64 {
    let page = page_size();
    (range.end.div_ceil(page) - range.start / page) * page
}

fn page_size() -> u64 {
    rustix::param::page_size() as u64
}

#[repr(C)]
struct CachestatRange {
    position: u64,
    size: u64,
}

/// Counts of pages.
#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

static UNKNOWN: AtomicBool = AtomicBool::new(false);

/// The number of `cachestat(2)`, the same on every architecture.
const CACHESTAT: c_long = 451;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_whole() {
        let page = page_size();
        for (range, pages) in [
            (0..1, 1),
            (0..page, 1),
            (0..page + 1, 2),
            (page - 1..page + 1, 2),
            (page..2 * page, 1),
        ] {
            assert_eq!(touched_bytes(&range), pages * page, "{range:?}");
        }
    }

    #[test]
    fn the_kernel_counts_what_is_there_and_not_what_is_behind_it() {
        let exe = std::env::current_exe().expect("the test's own file");
        let flags = rustix::fs::OFlags::RDONLY;
        let file = rustix::fs::open(&exe, flags, rustix::fs::Mode::empty()).expect("it is there");
        let size = u64::try_from(rustix::fs::fstat(&file).expect("it is open").st_size);
        let end = size.expect("a size") + (1 << 30);
        // `None` where the kernel has no cachestat: then there is nothing to count.
        if let Some(cached) = cached_bytes(&file, &(end..end + (1 << 20))) {
            assert_eq!(cached, 0);
            assert!(cached_bytes(&file, &(0..end)).is_some_and(|cached| cached <= end));
        }
    }
}
