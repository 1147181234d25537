//! Owns: one epoll instance for sockets and a few helper threads for files: the driver for systems where
//! `io_uring` is forbidden or too old.
//! Lives on: its shard; the helpers carry out what they are sent and answer.
//! Invariants: 1. A descriptor is registered once, edge-triggered, for both directions. 2. A helper owns the
//! work (and so the buffers) from the moment it is sent until its answer is taken. 3. An answer is sent
//! before the poke, and looked for after the sleep flag is set: none is slept over.
//! Not here: socket calls (`tcp`); long jobs (`companion`).
#![expect(unsafe_code, reason = "rustix has no sync_file_range")]

use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::event::{Timespec, epoll};
use rustix::fs::{Advice, FallocateFlags};
use rustix::io::Errno;

use crate::driver::{Event, Wait};
use crate::op::{OpKey, Ops, Outcome, Work};
use crate::runtime::Counters;
use crate::slot::Slot;
use crate::source::{POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_RDHUP, Watch};

pub(crate) struct Readiness {
    epoll: OwnedFd,
    buffer: Vec<epoll::Event>,
    helpers: DiskThreads,
}

/// Events taken from the kernel at a time.
const BATCH: usize = 256;
const WAKE: u64 = u64::MAX;

impl Readiness {
    pub(crate) fn new(shard: usize, slot: &'static Slot) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        // Each write to the eventfd is an edge; the counter is never read.
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(
            &epoll,
            slot.wake_fd(),
            epoll::EventData::new_u64(WAKE),
            flags,
        )?;
        Ok(Self {
            epoll,
            buffer: Vec::with_capacity(BATCH),
            helpers: DiskThreads::new(shard, slot),
        })
    }

    pub(crate) fn register(
        &mut self,
        index: u32,
        watch: &Watch,
        fd: BorrowedFd<'_>,
    ) -> io::Result<()> {
        use epoll::EventFlags as E;
        let name = u64::from(watch.generation) << 32 | u64::from(index);
        let flags = E::IN | E::OUT | E::RDHUP | E::ET;
        Ok(epoll::add(
            &self.epoll,
            fd,
            epoll::EventData::new_u64(name),
            flags,
        )?)
    }

    pub(crate) fn unregister(&mut self, fd: BorrowedFd<'_>) {
        // It was added by `register`; a failure would mean it is gone already.
        let _ = epoll::delete(&self.epoll, fd);
    }

    pub(crate) fn start(&mut self, key: OpKey, ops: &mut Ops) {
        let work = ops.take_work(key).expect("a fresh operation has its work");
        self.helpers.send(key, work);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.helpers.in_flight
    }

    pub(crate) fn park(&mut self, wait: Wait, events: &mut Vec<Event>, counters: &Counters) {
        let wait = if self.helpers.answers.is_empty() {
            wait
        } else {
            Wait::No
        };
        let timeout = match wait {
            Wait::No => Some(Timespec::default()),
            // An absurdly long wait is cut by the kernel, which then says so by returning early.
            Wait::For(left) => Some(Timespec::try_from(left).unwrap_or(LONGEST)),
            Wait::Forever => None,
        };
        counters.enters.set(counters.enters.get() + 1);
        self.buffer.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.buffer);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => panic!("epoll_wait: {error}"),
        }
        for event in &self.buffer {
            let (data, flags) = (event.data, event.flags);
            if data.u64() != WAKE {
                let (index, generation) = split(data.u64());
                let bits = flags.bits() & EVENTS;
                events.push(Event::Poll {
                    index,
                    generation,
                    events: bits,
                    disarmed: None,
                });
            }
        }
        self.helpers.reap(events);
    }
}

const EVENTS: u32 = POLL_IN | POLL_OUT | POLL_ERR | POLL_HUP | POLL_RDHUP;
const LONGEST: Timespec = Timespec {
    tv_sec: 1 << 31,
    tv_nsec: 0,
};

#[expect(clippy::cast_possible_truncation, reason = "two fields of 32 bits")]
fn split(name: u64) -> (u32, u32) {
    (name as u32, (name >> 32) as u32)
}

/// Threads that carry out file operations, started when there is more to do than they can take.
struct DiskThreads {
    shard: usize,
    slot: &'static Slot,
    work: Option<flume::Sender<Sent>>,
    inbox: flume::Receiver<Sent>,
    outbox: flume::Sender<Answer>,
    answers: flume::Receiver<Answer>,
    threads: Vec<JoinHandle<()>>,
    in_flight: usize,
}

type Sent = (OpKey, Box<Work>);
type Answer = (OpKey, Outcome, Box<Work>);

/// File operations at a time per shard: enough to keep one disk's queue from being idle.
const HELPERS_MAX: usize = 4;

impl DiskThreads {
    fn new(shard: usize, slot: &'static Slot) -> Self {
        let (work, inbox) = flume::unbounded();
        let (outbox, answers) = flume::unbounded();
        Self {
            shard,
            slot,
            work: Some(work),
            inbox,
            outbox,
            answers,
            threads: Vec::new(),
            in_flight: 0,
        }
    }

    fn send(&mut self, key: OpKey, work: Box<Work>) {
        if self.in_flight >= self.threads.len() && self.threads.len() < HELPERS_MAX {
            self.start_thread();
        }
        self.in_flight += 1;
        let sent = self
            .work
            .as_ref()
            .is_some_and(|queue| queue.send((key, work)).is_ok());
        assert!(
            sent,
            "the queue of the disk helpers is open as long as the driver lives"
        );
    }

    fn start_thread(&mut self) {
        let (inbox, outbox, slot) = (self.inbox.clone(), self.outbox.clone(), self.slot);
        let started = std::thread::Builder::new()
            .name(format!("disk-{}-{}", self.shard, self.threads.len()))
            .spawn(move || {
                while let Ok((key, mut work)) = inbox.recv() {
                    let outcome = carry_out(&mut work);
                    // ORDER: the answer, then the poke (invariant 3).
                    if outbox.send((key, outcome, work)).is_err() {
                        return;
                    }
                    slot.poke();
                }
            });
        match started {
            Ok(thread) => self.threads.push(thread),
            Err(error) if self.threads.is_empty() => {
                panic!("the system cannot start one thread for file operations: {error}")
            }
            // Those that run do the work, only later.
            Err(error) => tracing::warn!(%error, "no further disk helper thread"),
        }
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        while let Ok((key, outcome, work)) = self.answers.try_recv() {
            self.in_flight -= 1;
            events.push(Event::Op {
                key,
                outcome,
                work: Some(work),
            });
        }
    }
}

impl Drop for DiskThreads {
    fn drop(&mut self) {
        // ORDER: the queue is closed before the threads are joined.
        self.work = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Does one operation on the calling thread.
pub(crate) fn carry_out(work: &mut Work) -> Outcome {
    let result = match work {
        Work::Read {
            file,
            position,
            len,
            block,
            ..
        } => {
            let spare = block.spare();
            let room = spare.len().min(*len);
            let mut slices = [IoSliceMut::new(&mut spare[..room])];
            rustix::io::preadv(file.fd(), &mut slices, *position)
        }
        Work::Write {
            file,
            position,
            parts,
            first,
            skip,
            ..
        } => crate::file::pwrite(file.fd(), parts, *first, *skip, *position),
        Work::Sync { file } => rustix::fs::fdatasync(file.fd()).map(|()| 0),
        Work::Reserve { file, range } => {
            let size = range.end - range.start;
            rustix::fs::fallocate(file.fd(), FallocateFlags::KEEP_SIZE, range.start, size)
                .map(|()| 0)
        }
        Work::Forget { file, range } => {
            let size = NonZeroU64::new(range.end - range.start);
            rustix::fs::fadvise(file.fd(), range.start, size, Advice::DontNeed).map(|()| 0)
        }
        Work::Writeback { file, range } => {
            writeback(file.fd(), range.start, range.end - range.start).map(|()| 0)
        }
    };
    match result {
        // The kernel moves at most 2^31 - 4096 bytes at a time.
        Ok(n) => Outcome::try_from(n).unwrap_or(Outcome::MAX),
        Err(errno) => -errno.raw_os_error(),
    }
}

pub(crate) fn writeback(file: &OwnedFd, start: u64, size: u64) -> Result<(), Errno> {
    let (Ok(start), Ok(size)) = (i64::try_from(start), i64::try_from(size)) else {
        return Err(Errno::INVAL);
    };
    // SAFETY: numbers and an open descriptor only; no memory is named.
    let failed = unsafe { sync_file_range(file.as_raw_fd(), start, size, SYNC_FILE_RANGE_WRITE) };
    if failed != 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(())
}

const SYNC_FILE_RANGE_WRITE: u32 = 2;

unsafe extern "C" {
    fn sync_file_range(fd: i32, offset: i64, size: i64, flags: u32) -> i32;
}
