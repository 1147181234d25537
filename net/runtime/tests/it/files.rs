//! Files: round trips, and buffers in flight that nobody waits for any more.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use corelog_runtime::{
    Access, Block, File, Temperature, block, give_back_unused, spawn, stats, yield_now,
};
use rustix::fs::{Mode, OFlags};

use crate::support::run;

/// A file without a name beside the test binary (a disk, not a tmpfs, where there is one).
pub(crate) fn unnamed(extra: OFlags) -> Arc<OwnedFd> {
    let exe = std::env::current_exe().unwrap();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | extra;
    Arc::new(rustix::fs::open(exe.parent().unwrap(), flags, Mode::RUSR | Mode::WUSR).unwrap())
}

fn pattern(size: usize) -> Bytes {
    (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[test]
fn what_was_written_is_read_back_warm_cold_and_across_the_end() {
    run(async {
        let fd = unnamed(OFlags::empty());
        let file = File::from_fd(fd.clone());
        let data = pattern(700_001);
        file.reserve(0..1 << 20).await.unwrap();
        assert_eq!(
            rustix::fs::fstat(&*fd).unwrap().st_size,
            0,
            "reserving lengthens no file"
        );
        let parts = vec![
            data.slice(..3),
            Bytes::new(),
            data.slice(3..300_000),
            data.slice(300_000..),
        ];
        let (result, back) = file.write_at(parts, 0).await;
        result.unwrap();
        assert!(back.is_empty());
        file.write_now(
            &[Bytes::from_static(b"ta"), Bytes::from_static(b"il")],
            700_001,
        )
        .unwrap();
        file.start_writeback(0..700_005).await.unwrap();
        file.sync_data().await.unwrap();
        for temperature in [Temperature::Warm, Temperature::Cold] {
            let mut into = block(1 << 20);
            into.extend_from_slice(b"head");
            let (n, into) = file.read_at(into, 0, 1 << 20, temperature).await;
            assert_eq!(n.unwrap(), 700_005, "{temperature:?}");
            assert_eq!(&into[..4], b"head");
            assert!(into[4..700_005] == data[..]);
            assert_eq!(&into[700_005..], b"tail");
            file.drop_cache(0..1 << 20).await;
        }
        let (n, into) = file.read_at(block(4096), 10, 20, Temperature::Warm).await;
        assert_eq!((n.unwrap(), &into[..]), (20, &data[10..30]));
        assert!(file.resident(10..30));
    });
}

#[test]
fn more_parts_than_one_call_takes_are_written_in_order() {
    run(async {
        let file = File::from_fd(unnamed(OFlags::empty()));
        let data = pattern(30_000);
        let parts: Vec<_> = (0..3000).map(|i| data.slice(i * 10..i * 10 + 10)).collect();
        file.write_now(&parts, 0).unwrap();
        file.write_at(parts, 30_000).await.0.unwrap();
        let (n, into) = file
            .read_at(block(1 << 16), 0, 60_000, Temperature::Cold)
            .await;
        assert_eq!(n.unwrap(), 60_000);
        assert!(into[..30_000] == data[..] && into[30_000..] == data[..]);
    });
}

#[test]
fn errors_come_back_with_the_buffer() {
    run(async {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = File::from_fd(Arc::new(
            rustix::fs::open("/", flags, Mode::empty()).unwrap(),
        ));
        let (result, into) = file.read_at(block(4096), 0, 100, Temperature::Warm).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(21), "EISDIR");
        assert_eq!(into.capacity(), 4096);
        let (result, _) = file.write_at(vec![Bytes::from_static(b"x")], 0).await;
        assert_eq!(result.unwrap_err().raw_os_error(), Some(9), "EBADF");
    });
}

/// The read's block must not be handed out again before the kernel is done with it: memory taken right after
/// the cancellation is filled with a mark, and the mark must stay.
#[test]
fn the_kernel_never_writes_into_memory_given_up_by_a_cancelled_read() {
    run(async {
        const SIZE: usize = 1 << 20;
        let fd = unnamed(OFlags::DIRECT);
        let file = File::from_fd(fd);
        let mut source = block(SIZE);
        source.spare().fill(0x11);
        source.advance(SIZE);
        let source = source.freeze();
        for part in 0..8 {
            file.write_at(vec![source.clone()], part * SIZE as u64)
                .await
                .0
                .unwrap();
        }
        for round in 0..60_usize {
            let reads: Vec<_> = (0..8_u64)
                .map(|part| {
                    let file = file.clone();
                    spawn("read", async move {
                        file.read_at(block(SIZE), part * SIZE as u64, SIZE, Temperature::Cold)
                            .await
                    })
                })
                .collect();
            for _ in 0..=round % 4 {
                yield_now().await;
            }
            drop(reads);
            let mut marked: Vec<Block> = (0..8)
                .map(|_| {
                    let mut mark = block(SIZE);
                    mark.spare().fill(0xEE);
                    mark.advance(SIZE);
                    mark
                })
                .collect();
            while stats().operations > 0 {
                yield_now().await;
            }
            for mark in &mut marked {
                assert!(mark.iter().all(|byte| *byte == 0xEE), "round {round}");
            }
        }
        drop(source);
        assert_eq!(stats().blocks, 0);
    });
}

#[test]
fn what_was_written_or_read_is_resident() {
    run(async {
        let file = File::from_fd(unnamed(OFlags::empty()));
        let size = 8 << 20;
        file.write_now(&[pattern(size)], 0).unwrap();
        file.sync_data().await.unwrap();
        let whole = 0..size as u64;
        assert!(file.resident(whole.clone()));
        assert!(file.resident(5..77));
        assert!(file.resident(10..10));
        // A disk's file system forgets it (one in memory has nowhere to forget it to), and reading brings it back.
        file.drop_cache(whole.clone()).await;
        let (n, _) = file.read_at(block(size), 0, size, Temperature::Cold).await;
        assert_eq!(n.unwrap(), size);
        assert!(file.resident(whole));
    });
}

#[test]
fn a_file_without_a_name_is_read_past_the_page_cache() {
    run(async {
        let file = File::from_fd(unnamed(OFlags::empty()));
        let (size, step) = ((1 << 20) + 1234, 64 << 10);
        let bytes = pattern(size);
        file.write_now(std::slice::from_ref(&bytes), 0).unwrap();
        file.sync_data().await.unwrap();
        file.drop_cache(0..size as u64).await;
        let direct = match file.past_the_cache(Access::Read) {
            Ok(direct) => direct,
            // A file system in memory has nothing but its cache.
            Err(error) => return assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput),
        };
        let mut position = 0;
        while position < size {
            let (n, into) = direct.read_direct(block(step), position as u64, step).await;
            assert_eq!(n.unwrap(), step.min(size - position));
            assert_eq!(into[..], bytes[position..size.min(position + step)]);
            position += step;
        }
        let (n, _) = direct.read_direct(block(step), position as u64, step).await;
        assert_eq!(n.unwrap(), 0);
        // Between the multiples it is refused, and said so.
        let (n, _) = direct.read_direct(block(step), 100, step).await;
        assert_eq!(n.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        if let Some(cached) = file.cached(0..size as u64) {
            assert!(!cached, "it went through the page cache");
        }
    });
}

/// So many blocks at once, and where they lie.
fn taken(count: usize, size: usize) -> (Vec<Block>, BTreeSet<usize>) {
    let mut blocks: Vec<Block> = std::iter::repeat_with(|| block(size)).take(count).collect();
    let places = blocks.iter_mut().map(|one| one.spare().as_ptr().addr());
    let places = places.collect();
    (blocks, places)
}

#[test]
fn memory_that_a_load_needs_stays_and_what_nobody_needs_goes_back() {
    run(async {
        for size in [4 << 10, 256 << 10, 4 << 20] {
            let (blocks, places) = taken(16, size);
            drop(blocks);
            give_back_unused();
            let (blocks, again) = taken(16, size);
            assert_eq!(places, again, "{size}");
            drop(blocks);
            // Needed since the last look, so nothing goes; then a half each time.
            let mut kept = Vec::new();
            for _ in 0..4 {
                give_back_unused();
                kept.push(stats().pooled_bytes / size);
            }
            assert_eq!(kept, [16, 8, 4, 2], "{size}");
            while stats().pooled_bytes > 0 {
                give_back_unused();
            }
        }
    });
}

#[test]
fn whole_units_are_written_past_the_page_cache() {
    run(async {
        let file = File::from_fd(unnamed(OFlags::empty()));
        let size = 1 << 20;
        let mut source = block(size);
        source.spare()[..size].fill(7);
        source.advance(size);
        let source = source.freeze();
        let direct = match file.past_the_cache(Access::Write) {
            Ok(direct) => direct,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(22), "no O_DIRECT here: {error}");
                return;
            }
        };
        direct.write_at(vec![source.clone()], 0).await.0.unwrap();
        if let Some(cached) = file.cached(0..size as u64) {
            assert!(!cached, "it went through the page cache");
        }
        let (read, into) = file.read_at(block(size), 0, size, Temperature::Cold).await;
        assert_eq!(read.unwrap(), size);
        assert_eq!(into.freeze(), source);
        assert!(corelog_runtime::probe_direct(&file).await.is_some());
    });
}

#[test]
fn both_ways_of_writing_are_measured() {
    run(async {
        let file = File::from_fd(unnamed(OFlags::empty()));
        let cost = corelog_runtime::probe_writes(&file).await.unwrap();
        assert!(
            cost.inline_ns > 0 && cost.inline_ns < 1_000_000_000,
            "{cost:?}"
        );
        assert!(
            cost.driver_ns > 0 && cost.driver_ns < 1_000_000_000,
            "{cost:?}"
        );
    });
}
