//! Owns: one `io_uring`: polls for sockets, reads, writes and syncs for files, the wake eventfd.
//! Lives on: its shard (`SINGLE_ISSUER`).
//! Invariants: 1. `in_flight` counts every entry pushed whose last completion has not been reaped. 2. The
//! memory an entry points to belongs to its slot in `Ops` until then. 3. The ring is dropped only when
//! `in_flight` is zero (else its slots are leaked by the runtime).
//! Not here: socket calls, which are made inline (`tcp`).
//!
//! ```text
//! user data:  63 62 61            32 31              0
//!            | tag |  generation    |  index          |
//! ```
#![expect(
    unsafe_code,
    reason = "pushing entries that name memory, and entering the kernel"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, cqueue, opcode};
use rustix::io::Errno;

use crate::config::StartError;
use crate::driver::{Event, Wait};
use crate::op::{Address, OpKey, Ops, Punt, Work, rest};
use crate::runtime::Counters;
use crate::slot::Slot;
use crate::source::{Direction, POLL_IN, POLL_OUT, POLL_RDHUP, Watch};

pub(crate) struct Ring {
    uring: IoUring,
    slot: &'static Slot,
    in_flight: usize,
    no_iowait: EnterFlags,
}

const TAG_OP: u64 = 0;
const TAG_READ: u64 = 1;
const TAG_WRITE: u64 = 2;
const TAG_OTHER: u64 = 3;
const WAKE: u64 = TAG_OTHER << 62 | 1;
const CANCEL: u64 = TAG_OTHER << 62 | 2;

const ENTRIES_MIN: u32 = 8;

impl Ring {
    pub(crate) fn new(entries: u32, slot: &'static Slot) -> Result<Self, StartError> {
        let ring = build(entries.clamp(ENTRIES_MIN, 32_768))?;
        let no_iowait = if ring.params().is_feature_no_iowait() {
            EnterFlags::NO_IOWAIT
        } else {
            EnterFlags::empty()
        };
        let mut ring = Self {
            uring: ring,
            slot,
            in_flight: 0,
            no_iowait,
        };
        ring.probe()?;
        ring.arm_wake();
        Ok(ring)
    }

    fn probe(&self) -> Result<(), StartError> {
        let mut probe = Probe::new();
        let refuse = |reason: String| StartError::Ring {
            reason,
            cure: "Use Linux 6.1 or newer, or set the backend to readiness",
        };
        self.uring
            .submitter()
            .register_probe(&mut probe)
            .map_err(|e| refuse(format!("its operations cannot be listed: {e}")))?;
        for (code, name) in [
            (opcode::PollAdd::CODE, "POLL_ADD"),
            (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
            (opcode::Read::CODE, "READ"),
            (opcode::Write::CODE, "WRITE"),
            (opcode::Writev::CODE, "WRITEV"),
            (opcode::Fsync::CODE, "FSYNC"),
            (opcode::Fallocate::CODE, "FALLOCATE"),
            (opcode::SyncFileRange::CODE, "SYNC_FILE_RANGE"),
        ] {
            if !probe.is_supported(code) {
                return Err(refuse(format!("the kernel lacks its operation {name}")));
            }
        }
        Ok(())
    }

    /// Each write to the eventfd is an edge; the counter is never read, so no buffer is ever pending.
    fn arm_wake(&mut self) {
        let fd = Fd(self.slot.wake_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, POLL_IN)
            .multi(true)
            .build()
            .user_data(WAKE);
        self.push(&entry);
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Reads are watched by one multishot poll for the life of the socket, writes by one poll per wait.
    pub(crate) fn arm(
        &mut self,
        index: u32,
        watch: &Watch,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) {
        let fd = Fd(fd.as_raw_fd());
        let (tag, events, multi, armed) = match direction {
            Direction::Read => (TAG_READ, POLL_IN | POLL_RDHUP, true, &watch.read_armed),
            Direction::Write => (TAG_WRITE, POLL_OUT, false, &watch.write_armed),
        };
        if armed.replace(true) {
            return;
        }
        let name = user_data(tag, index, watch.generation);
        self.push(
            &opcode::PollAdd::new(fd, events)
                .multi(multi)
                .build()
                .user_data(name),
        );
    }

    /// The kernel's poll holds the socket open: it must go for the peer to see the close.
    pub(crate) fn disarm(&mut self, index: u32, watch: &Watch) {
        for (tag, armed) in [
            (TAG_READ, &watch.read_armed),
            (TAG_WRITE, &watch.write_armed),
        ] {
            if armed.replace(false) {
                let name = user_data(tag, index, watch.generation);
                self.push(&opcode::AsyncCancel::new(name).build().user_data(CANCEL));
            }
        }
    }

    pub(crate) fn start(&mut self, key: OpKey, ops: &mut Ops) {
        let work = ops.work_mut(key).expect("a fresh operation has its work");
        let entry = describe(work).user_data(user_data(TAG_OP, key.index, key.generation));
        self.push(&entry);
    }

    pub(crate) fn cancel(&mut self, key: OpKey) {
        let name = user_data(TAG_OP, key.index, key.generation);
        self.push(&opcode::AsyncCancel::new(name).build().user_data(CANCEL));
    }

    pub(crate) fn cancel_all(&mut self) {
        let all = CancelBuilder::any().all();
        self.push(&opcode::AsyncCancel2::new(all).build().user_data(CANCEL));
    }

    fn push(&mut self, entry: &Entry) {
        self.in_flight += 1;
        loop {
            // SAFETY: the memory an entry names is owned by its slot until the completion (`describe`);
            // descriptors are kept open by that slot, or are only polled, which is safe for any number.
            let pushed = unsafe { self.uring.submission().push(entry) };
            if pushed.is_ok() {
                return;
            }
            // Full: hand over what is there. Completions stay in the kernel's list if their queue is full.
            self.enter(0, None);
        }
    }

    /// Submits everything and runs the kernel's deferred work. Errors are of the moment (interrupted, out of
    /// memory, completion queue full): the next turn tries again.
    fn enter(&mut self, want: u32, timeout: Option<&Timespec>) {
        let queued = u32::try_from(self.uring.submission().len()).expect("at most 32768 entries");
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | self.no_iowait;
        let mut args = SubmitArgs::new();
        if let Some(timeout) = timeout {
            args = args.timespec(timeout);
        }
        // SAFETY: the arguments are what EXT_ARG asks for, and live across the call.
        let entered = unsafe {
            self.uring
                .submitter()
                .enter(queued, want, flags.bits(), Some(&args))
        };
        if let Err(error) = entered {
            match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::TIME | Errno::INTR | Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => {}
                _ => panic!("io_uring_enter: {error}"),
            }
        }
    }

    pub(crate) fn park(&mut self, wait: Wait, events: &mut Vec<Event>, counters: &Counters) {
        let submission = self.uring.submission();
        let due = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        if wait != Wait::No || due {
            counters.enters.set(counters.enters.get() + 1);
            match wait {
                Wait::No => self.enter(0, None),
                Wait::Forever => self.enter(1, None),
                Wait::For(left) => {
                    let timeout = Timespec::from(left);
                    self.enter(1, Some(&timeout));
                }
            }
        }
        self.reap(events);
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        let mut wake_ended = false;
        for entry in self.uring.completion() {
            let more = cqueue::more(entry.flags());
            if !more {
                self.in_flight -= 1;
            }
            let (data, result) = (entry.user_data(), entry.result());
            let (tag, index, generation) = split(data);
            match tag {
                TAG_OP => {
                    let key = OpKey { index, generation };
                    events.push(Event::Op {
                        key,
                        outcome: result,
                        work: None,
                    });
                }
                TAG_READ | TAG_WRITE => {
                    // A poll that failed makes the call be tried, which then tells the error itself.
                    let fallback = POLL_IN | POLL_OUT;
                    let bits = u32::try_from(result).unwrap_or(fallback);
                    let direction = if tag == TAG_READ {
                        Direction::Read
                    } else {
                        Direction::Write
                    };
                    let disarmed = (!more).then_some(direction);
                    events.push(Event::Poll {
                        index,
                        generation,
                        events: bits,
                        disarmed,
                    });
                }
                _ => wake_ended |= data == WAKE && !more && result >= 0,
            }
        }
        if wake_ended {
            self.arm_wake();
        }
    }
}

/// Describes an operation to the kernel. Every address in the entry points into memory that `work` owns on
/// the heap; `work` itself stays in its slot until the completion.
fn describe(work: &mut Work) -> Entry {
    match work {
        Work::Read {
            file,
            position,
            len,
            block,
            punt,
        } => {
            let fd = Fd(file.fd().as_raw_fd());
            let len = u32::try_from(*len).unwrap_or(READ_MAX).min(READ_MAX);
            let entry = opcode::Read::new(fd, block.spare_ptr(), len)
                .offset(*position)
                .build();
            if *punt == Punt::AtOnce {
                entry.flags(Flags::ASYNC)
            } else {
                entry
            }
        }
        Work::Write {
            file,
            position,
            parts,
            first,
            skip,
            addresses,
        } => {
            let fd = Fd(file.fd().as_raw_fd());
            addresses.clear();
            addresses.extend(rest(parts, *first, *skip).map(Address::of));
            let count = u32::try_from(addresses.len()).expect("at most PARTS_MAX");
            opcode::Writev::new(fd, addresses.as_ptr().cast(), count)
                .offset(*position)
                .build()
        }
        Work::Sync { file } => opcode::Fsync::new(Fd(file.fd().as_raw_fd()))
            .flags(FsyncFlags::DATASYNC)
            .build(),
        Work::Reserve { file, range } => {
            opcode::Fallocate::new(Fd(file.fd().as_raw_fd()), range.end - range.start)
                .offset(range.start)
                .mode(FALLOC_FL_KEEP_SIZE)
                .build()
        }
        Work::Forget { file, range } => {
            let fd = Fd(file.fd().as_raw_fd());
            // More than 2 GiB at once nobody forgets; what is cut off stays in the cache.
            let len = i32::try_from(range.end - range.start).unwrap_or(i32::MAX);
            opcode::Fadvise::new(fd, len.into(), POSIX_FADV_DONTNEED)
                .offset(range.start)
                .build()
        }
        Work::Writeback { file, range } => {
            let len = u32::try_from(range.end - range.start).unwrap_or(u32::MAX);
            opcode::SyncFileRange::new(Fd(file.fd().as_raw_fd()), len)
                .offset(range.start)
                .flags(SYNC_FILE_RANGE_WRITE)
                .build()
        }
    }
}

/// The most one read asks for: the kernel's own cap (`MAX_RW_COUNT`), rounded down.
const READ_MAX: u32 = 1 << 30;
const FALLOC_FL_KEEP_SIZE: i32 = 1;
const SYNC_FILE_RANGE_WRITE: u32 = 2;
const POSIX_FADV_DONTNEED: i32 = 4;

fn user_data(tag: u64, index: u32, generation: u32) -> u64 {
    tag << 62 | u64::from(generation) << 32 | u64::from(index)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the fields have 32 and 30 bits"
)]
fn split(data: u64) -> (u64, u32, u32) {
    (
        data >> 62,
        data as u32,
        (data >> 32) as u32 & crate::op::GENERATION_MASK,
    )
}

/// Builds a ring, halving it while the kernel says it may not lock that much memory.
fn build(mut entries: u32) -> Result<IoUring, StartError> {
    let wanted = entries;
    loop {
        let error = match build_sized(entries) {
            Ok(ring) => {
                if entries < wanted {
                    tracing::warn!(
                        entries,
                        wanted,
                        "smaller io_uring: the limit of locked memory is low; raise it (ulimit -l, LimitMEMLOCK=)"
                    );
                }
                return Ok(ring);
            }
            Err(error) => error,
        };
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOMEM) if entries > ENTRIES_MIN => entries /= 2,
            errno => return Err(refused(&error, errno)),
        }
    }
}

fn build_sized(entries: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::<Entry, cqueue::Entry>::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(entries * 4);
    let bare = builder.clone();
    match builder.setup_no_sqarray().build(entries) {
        // Before Linux 6.6.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            bare.build(entries)
        }
        built => built,
    }
}

fn refused(error: &io::Error, errno: Option<Errno>) -> StartError {
    let cure = match errno {
        Some(Errno::NOMEM) => {
            "Raise the limit of locked memory (ulimit -l, LimitMEMLOCK=infinity), or set the backend to readiness"
        }
        Some(Errno::PERM | Errno::ACCESS) => {
            "Allow it (sysctl kernel.io_uring_disabled=0; in a container a seccomp profile that permits io_uring_setup), or set the backend to readiness"
        }
        Some(Errno::NOSYS | Errno::INVAL) => {
            "Use Linux 6.1 or newer with io_uring built in, or set the backend to readiness"
        }
        Some(Errno::MFILE | Errno::NFILE) => {
            "Raise the limit of open files (ulimit -n, LimitNOFILE=)"
        }
        _ => "Set the backend to readiness",
    };
    StartError::Ring {
        reason: error.to_string(),
        cure,
    }
}
