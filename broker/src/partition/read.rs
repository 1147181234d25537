//! Reading from the partitions of one shard for a fetch, and waiting for data.
//!
//! Owns: [`FetchCall`], [`Fetched`], the choice of temperature (memory, sendfile, ring read).
//! Lives on: the owning shard.
//! Invariants:
//! 1. Nothing at or beyond the bound of the isolation level (high watermark, last stable offset)
//!    leaves the shard.
//! 2. A reader is woken by data, by its deadline, by cancellation or by a partition's end, and then looks at
//!    what changed. Nothing polls.
//!
//! Not here: what changed and who waits (`watch.rs`), sessions and the response (`handlers/fetch.rs`, on the
//! connection's shard).

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::ErrorCode;
use corelog_runtime::{File, Instant, Temperature};
use corelog_storage::batch::{Batch, UncheckedBatch};
use corelog_storage::limits::{BATCH_HEADER_SIZE, BATCH_LENGTH_OVERHEAD};
use corelog_storage::log::{LocateError, LocateJob, Located, Read, ReadError, Wait};
use corelog_storage::producer::AbortedTransaction;
use corelog_storage::types::{LeaderEpoch, Offset, TopicId};
use smallvec::SmallVec;

use crate::partition::watch::{Change, Fetching, Watch};
use crate::partition::{Partition, State};
use crate::shard::Shard;

/// File ranges up to this size are read and sent; `sendfile` costs more than the copy for them.
const SENDFILE_BYTES_MIN: u64 = 16 * 1024;

/// A cold range is read from the disk in pieces of at most this size, or of one batch where that is
/// larger; the reader comes back for the rest.
const COLD_READ_BYTES_MAX: u64 = 1024 * 1024;

/// Watches of single fetches that a shard keeps to be used again.
const SPARE_WATCHES: usize = 64;

/// Which records a reader may see (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

impl Isolation {
    /// The request's; anything but 1 reads everything.
    pub(crate) fn of(level: i8) -> Self {
        if level == 1 {
            Self::ReadCommitted
        } else {
            Self::ReadUncommitted
        }
    }
}

/// Partitions of one shard to read from.
pub(crate) struct FetchCall {
    /// The fetch session's number on the sender's shard; `None`: the parts are this fetch's alone.
    pub(crate) watch: Option<u64>,
    /// Every part is answered, not only those with news.
    pub(crate) all: bool,
    /// To the parts there are.
    pub(crate) changes: Vec<Change>,
    pub(crate) isolation: Isolation,
    /// The most to read over all parts; the first record batch may exceed it.
    pub(crate) size_max: usize,
    /// Wait until this many bytes are there, at most `size_max`, or…
    pub(crate) size_min: usize,
    /// …until then. `None`: answer with what is there.
    pub(crate) deadline: Option<Instant>,
}

/// One partition to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchPart {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
    /// -1: the client does not know.
    pub(crate) current_leader_epoch: LeaderEpoch,
    /// -1: the client does not know.
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) size_max: usize,
}

impl FetchPart {
    /// Of a place where nothing is.
    pub(crate) const NONE: Self = Self {
        topic_id: TopicId([0; 16]),
        partition: -1,
        offset: Offset(0),
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        size_max: 0,
    };
}

/// What was read at one place of a call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) place: u32,
    pub(crate) fetched: Fetched,
}

/// What was read from one partition.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) error: ErrorCode,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    /// The client's log has diverged (KIP-595): its epoch ends here.
    pub(crate) diverging: Option<(LeaderEpoch, Offset)>,
    /// Aborted transactions in the range, with their first offsets; `None` for `read_uncommitted`.
    pub(crate) aborted: Option<Vec<(i64, i64)>>,
    pub(crate) records: Payload,
    /// The reader has all it may see: nothing more is there until the partition changes.
    pub(crate) at_end: bool,
}

/// Where the records are.
#[derive(Debug)]
pub(crate) enum Payload {
    Empty,
    Memory {
        parts: SmallVec<[Bytes; 4]>,
        size: usize,
    },
    File {
        file: Arc<OwnedFd>,
        range: Range<u64>,
    },
}

impl Payload {
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Memory { size, .. } => *size,
            Self::File { range, .. } => {
                usize::try_from(range.end - range.start).unwrap_or(usize::MAX)
            }
        }
    }
}

impl Fetched {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging: None,
            aborted: None,
            records: Payload::Empty,
            at_end: false,
        }
    }

    /// Must the reader be told at once, data or not?
    pub(crate) fn is_urgent(&self) -> bool {
        self.error != ErrorCode::None || self.diverging.is_some()
    }
}

/// What a fetch has found so far.
#[derive(Default)]
struct Found {
    answers: Vec<Answer>,
    /// Bytes of records in them.
    size: usize,
    /// One of them is to be told at once.
    urgent: bool,
}

/// How a read that was begun goes on.
struct Rest {
    limit: usize,
    /// The first batch is read whole, however large.
    first: bool,
    /// Nothing from here on is read.
    bound: Offset,
    read: Result<Read, ReadError>,
}

impl Shard {
    /// Fixes the place of a fetch among those of its session.
    pub(crate) fn begin_fetch(&self, from: usize, call: &mut FetchCall) -> Fetching {
        match call.watch {
            None => {
                let spare = self.spare_watches.borrow_mut().pop();
                spare.unwrap_or_else(|| Watch::new(false)).begin(call)
            }
            Some(number) => {
                let watch = Rc::clone(
                    self.watches
                        .borrow_mut()
                        .entry((from, number))
                        .or_insert_with(|| Watch::new(true)),
                );
                watch.begin(call)
            }
        }
    }

    /// A fetch session of a shard is over.
    pub(crate) fn unwatch(&self, from: usize, number: u64) {
        let watch = self.watches.borrow_mut().remove(&(from, number));
        if let Some(watch) = watch {
            watch.end();
        }
    }

    /// Reads what is worth a look; where there is less than asked for, waits for more.
    // HOT: parts that did not change are not looked at
    pub(crate) async fn fetch(self: Rc<Self>, call: FetchCall, fetching: Fetching) -> Vec<Answer> {
        let watch = &fetching.watch;
        let mut found = Found {
            answers: Vec::with_capacity(if call.all { watch.expected() } else { 0 }),
            ..Found::default()
        };
        let mut is_late = false;
        loop {
            self.look_over(&call, &fetching, &mut found).await;
            let Some(deadline) = call.deadline else {
                break;
            };
            let is_enough = found.size >= call.size_min || found.urgent;
            if is_enough || is_late || fetching.is_cancelled() {
                break;
            }
            // Between the looks and this line nothing else ran on the shard unless a look itself waited (a cold lookup);
            // what came in unseen then is ready.
            if watch.waits(call.size_min - found.size) {
                let woken = corelog_runtime::timeout_at(deadline, watch.woken.notified()).await;
                is_late = woken.is_none();
            }
        }
        watch.rests();
        for one in &found.answers {
            let size = one.fetched.records.size() as u64;
            if size > 0 {
                self.metrics.traffic.bytes_out.add(size);
                if let Some(partition) = watch.partition(one.place) {
                    partition.traffic.bytes_out.add(size);
                }
            } else if one.fetched.error != ErrorCode::None {
                self.count_failed(watch.partition(one.place));
            }
        }
        if call.watch.is_none() {
            self.spare(fetching.watch);
        }
        found.answers
    }

    /// Keeps the watch of a fetch that is over for the next, if nobody else has it.
    fn spare(&self, watch: Rc<Watch>) {
        watch.clear();
        let mut spare = self.spare_watches.borrow_mut();
        if Rc::strong_count(&watch) == 1 && watch.is_small() && spare.len() < SPARE_WATCHES {
            spare.push(watch);
        }
    }

    #[cold]
    fn count_failed(&self, partition: Option<Rc<Partition>>) {
        self.metrics.traffic.failed_fetches.add(1);
        if let Some(partition) = partition {
            partition.traffic.failed_fetches.add(1);
        }
    }

    /// One pass over the parts that are ready. What a part had before is replaced.
    async fn look_over(&self, call: &FetchCall, fetching: &Fetching, found: &mut Found) {
        let Fetching { watch, number } = fetching;
        loop {
            // Where only news is told, what finds no room is not looked at: it stays ready.
            if !call.all && found.size > 0 && found.size >= call.size_max {
                return;
            }
            let Some(mut look) = watch.next(*number) else {
                return;
            };
            if let Some(before) = look.before {
                found.size -= found.answers[before].fetched.records.size();
            }
            let part = look.part;
            let limit = part.size_max.min(call.size_max.saturating_sub(found.size));
            if look.partition.is_none() {
                look.partition = self.partition(part.topic_id, part.partition);
                if let Some(partition) = &look.partition {
                    watch.resolved(&look, partition);
                }
            }
            let fetched = match &look.partition {
                None => Fetched::refused(self.absent(part.topic_id, part.partition)),
                // The first batch found is sent whole, however large, or its reader would be stuck.
                Some(partition) => {
                    partition.traffic.fetches.add(1);
                    self.metrics.traffic.fetches.add(1);
                    let first = found.size == 0;
                    match self.read_now(partition, &part, call.isolation, limit, first) {
                        (fetched, None) => fetched,
                        (begun, Some(rest)) => {
                            self.read_on_disk(partition, &part, call.isolation, begun, rest)
                                .await
                        }
                    }
                }
            };
            found.size += fetched.records.size();
            found.urgent |= fetched.is_urgent();
            let at = look.before.unwrap_or(found.answers.len());
            let is_news = watch.settle(*number, &look, &fetched, at);
            if let Some(before) = look.before {
                found.answers[before].fetched = fetched;
            } else if is_news || call.all {
                if !is_news {
                    watch.answered(*number, &look, at);
                }
                let place = look.place;
                found.answers.push(Answer { place, fetched });
            }
        }
    }

    async fn read_partition(
        &self,
        partition: &Rc<Partition>,
        part: &FetchPart,
        isolation: Isolation,
        limit: usize,
    ) -> Fetched {
        match self.read_now(partition, part, isolation, limit, true) {
            (fetched, None) => fetched,
            (begun, Some(rest)) => {
                self.read_on_disk(partition, part, isolation, begun, rest)
                    .await
            }
        }
    }

    /// What can be said without waiting: everything, where the records are in memory or there are none; else what is left
    /// to do.
    // HOT: 0 alloc, 0 copy from the tail
    fn read_now(
        &self,
        partition: &Rc<Partition>,
        part: &FetchPart,
        isolation: Isolation,
        limit: usize,
        at_least_one: bool,
    ) -> (Fetched, Option<Rest>) {
        if let Some(error) = unreadable(partition, part.current_leader_epoch) {
            return (Fetched::refused(error), None);
        }
        let high_watermark = partition.high_watermark();
        let mut log = partition.log.borrow_mut();
        let stable = log.last_stable_offset().min(high_watermark);
        let bound = match isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => stable,
        };
        let mut found = Fetched {
            high_watermark: high_watermark.0,
            last_stable_offset: stable.0,
            log_start_offset: log.start_offset().0,
            at_end: part.offset >= bound,
            ..Fetched::refused(ErrorCode::None)
        };
        if part.last_fetched_epoch.0 >= 0 {
            match log.end_offset_for_epoch(part.last_fetched_epoch) {
                None => return (Fetched::refused(ErrorCode::OffsetOutOfRange), None),
                Some(end)
                    if end.epoch < part.last_fetched_epoch || end.end_offset < part.offset =>
                {
                    found.diverging = Some((end.epoch, end.end_offset));
                    return (found, None);
                }
                Some(_) => {}
            }
        }
        let read = log.read(part.offset, limit, bound, at_least_one);
        let is_committed = isolation == Isolation::ReadCommitted;
        match read {
            Ok(Read::Empty) if !is_committed => (found, None),
            Ok(Read::Memory { parts, size }) if !is_committed => {
                self.metrics.reads.tail.add(size as u64);
                found.records = Payload::Memory { parts, size };
                (found, None)
            }
            read => {
                let rest = Rest {
                    limit,
                    first: at_least_one,
                    bound,
                    read,
                };
                (found, Some(rest))
            }
        }
    }

    /// The rest of a read: lookups, aborted transactions, what is in files.
    async fn read_on_disk(
        &self,
        partition: &Rc<Partition>,
        part: &FetchPart,
        isolation: Isolation,
        mut found: Fetched,
        rest: Rest,
    ) -> Fetched {
        let Rest {
            limit,
            first: at_least_one,
            bound,
            mut read,
        } = rest;
        // What a lookup finds may send it on to the next segment, or belong to files that were replaced meanwhile.
        while let Ok(Read::Locate(job)) = read {
            let layout = job.layout();
            read = match locate(job).await {
                Ok(located) => partition.log.borrow_mut().located(located),
                Err(_) if !partition.log.borrow().is_current(layout) => Err(ReadError::Superseded),
                Err(error) if moves_away(partition, &error) => Err(ReadError::Superseded),
                Err(error) => {
                    tracing::error!(
                        "partition={} offset={}: {error}",
                        partition.name,
                        part.offset
                    );
                    if let LocateError::Disk(error) = &error {
                        self.read_failed(partition, error);
                    }
                    return Fetched::refused(ErrorCode::KafkaStorageError);
                }
            };
            if matches!(read, Err(ReadError::Superseded)) {
                self.swapped(partition).await;
                let mut log = partition.log.borrow_mut();
                read = log.read(part.offset, limit, bound, at_least_one);
            }
        }
        if isolation == Isolation::ReadCommitted {
            let upper = Offset(found.last_stable_offset);
            let aborted = loop {
                let job = partition
                    .log
                    .borrow()
                    .aborted_transactions(part.offset, upper);
                if job.is_in_memory() {
                    break job.run();
                }
                let layout = job.layout();
                let aborted = corelog_runtime::blocking_brief("aborted", move || job.run()).await;
                let moves = aborted.as_ref().is_err_and(|e| moves_away(partition, e));
                if (partition.log.borrow().is_current(layout) && !moves)
                    || partition.state.get() != State::Online
                {
                    break aborted;
                }
                self.swapped(partition).await;
            };
            match aborted {
                Ok(aborted) => {
                    let one = |one: AbortedTransaction| (one.producer.0, one.first_offset.0);
                    found.aborted = Some(aborted.into_iter().map(one).collect());
                }
                Err(error) => {
                    tracing::error!("partition={} aborted index: {error}", partition.name);
                    if let LocateError::Disk(error) = &error {
                        self.read_failed(partition, error);
                    }
                    return Fetched::refused(ErrorCode::KafkaStorageError);
                }
            }
        }
        found.records = match read {
            Ok(Read::Memory { parts, size }) => {
                self.metrics.reads.tail.add(size as u64);
                Payload::Memory { parts, size }
            }
            Ok(Read::File { file, range }) => {
                let stop = partition.log.borrow().written_size_at(part.offset);
                match self
                    .payload(partition.directory.get(), file.descriptor(), range, stop)
                    .await
                {
                    Ok(payload) => payload,
                    Err(error) => {
                        self.disk_failed(partition, "read", &error);
                        return Fetched::refused(ErrorCode::KafkaStorageError);
                    }
                }
            }
            // The log ended while the place was looked up: the reader comes again.
            Ok(Read::Empty | Read::Locate(_)) | Err(ReadError::Superseded) => Payload::Empty,
            Err(ReadError::OutOfRange { .. }) => {
                return Fetched::refused(ErrorCode::OffsetOutOfRange);
            }
            Err(ReadError::Failed(_)) => return Fetched::refused(ErrorCode::KafkaStorageError),
        };
        found
    }
}

impl Shard {
    /// Whole batches from `offset` on, for a reader inside the broker; none at the end.
    pub(crate) async fn read_batches(
        &self,
        partition: &Rc<Partition>,
        offset: Offset,
        size_max: usize,
    ) -> Result<Vec<Batch>, String> {
        let part = FetchPart {
            topic_id: partition.topic_id,
            partition: partition.name.partition,
            offset,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            size_max,
        };
        let fetched = self
            .read_partition(partition, &part, Isolation::ReadUncommitted, size_max)
            .await;
        if fetched.error != ErrorCode::None {
            return Err(format!("offset {offset} cannot be read: {}", fetched.error));
        }
        let mut bytes = match fetched.records {
            Payload::Empty => Bytes::new(),
            Payload::Memory { parts, .. } => parts.concat().into(),
            Payload::File { file, range } => {
                let size = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
                let block = corelog_runtime::block(size);
                let (read, block) = File::from_fd(file)
                    .read_at(block, range.start, size, Temperature::Warm)
                    .await;
                read.map_err(|error| error.to_string())?;
                block.freeze()
            }
        };
        let mut batches = Vec::new();
        while let Some(batch) =
            UncheckedBatch::take(&mut bytes).map_err(|error| error.to_string())?
        {
            batches.push(batch.check().map_err(|error| error.to_string())?);
        }
        Ok(batches)
    }
}

/// Is there a reason not to read or look up anything in the partition?
pub(crate) fn unreadable(
    partition: &Partition,
    current_leader_epoch: LeaderEpoch,
) -> Option<ErrorCode> {
    match partition.state.get() {
        State::Online => {}
        State::Offline => return Some(ErrorCode::KafkaStorageError),
        State::Closed => return Some(ErrorCode::NotLeaderOrFollower),
    }
    let known = partition.leader_epoch.get();
    if current_leader_epoch.0 < 0 || current_leader_epoch == known {
        None
    } else if current_leader_epoch < known {
        Some(ErrorCode::FencedLeaderEpoch)
    } else {
        Some(ErrorCode::UnknownLeaderEpoch)
    }
}

/// Whether a file is gone because its folder is just changing its directory; [`Shard::swapped`] waits for that.
pub(crate) fn moves_away(partition: &Partition, error: &LocateError) -> bool {
    partition.held.get() && matches!(error, LocateError::Disk(error) if error.is_not_found())
}

/// Looks a place up in the page cache, or on the companion where the disk must be asked.
async fn locate(job: LocateJob) -> Result<Located, LocateError> {
    match job.run(Wait::No) {
        Err(LocateError::WouldBlock) => {
            corelog_runtime::blocking_brief("locate", move || job.run(Wait::Yes)).await
        }
        ready => ready,
    }
}

impl Shard {
    /// A file range as what costs least to send: small or cold ranges are read, large warm ones
    /// stay in the file for sendfile. For a reader that catches up the file is read on, to `stop`.
    async fn payload(
        &self,
        directory: usize,
        file: Arc<OwnedFd>,
        range: Range<u64>,
        stop: u64,
    ) -> std::io::Result<Payload> {
        let reader = File::from_fd(Arc::clone(&file));
        let ahead = self.readahead.borrow().holds(&file, range.start);
        // Pages on their way in would hold up whoever sends them: such a reader waits for its piece.
        if !ahead && reader.resident(range.clone()) {
            self.metrics.reads.warm.add(range.end - range.start);
            if range.end - range.start >= SENDFILE_BYTES_MIN {
                return Ok(Payload::File { file, range });
            }
            let mut parts = SmallVec::new();
            let size = range.end - range.start;
            let size = read_part(&reader, range.start, size, Temperature::Warm, &mut parts).await?;
            return Ok(Payload::Memory { parts, size });
        }
        let whole = range.end - range.start;
        let first = range.start..range.end.min(range.start + COLD_READ_BYTES_MAX);
        let mut parts: SmallVec<[Bytes; 4]> = self.read_ahead(&file, &first).await.into();
        let mut size: usize = parts.iter().map(Bytes::len).sum();
        let from_ahead = size;
        let at = range.start + size as u64;
        if at < first.end {
            let left = first.end - at;
            size += read_part(&reader, at, left, Temperature::Cold, &mut parts).await?;
            self.cache_read(&file, at..first.end);
        }
        if (size as u64) < whole {
            // The range was cut without looking. No reader gets on with part of its first batch.
            match cut_at_batch(&mut parts) {
                Cut::Whole(kept) => size = kept,
                Cut::Missing(missing) => {
                    let missing = (missing as u64).min(whole - size as u64);
                    let at = range.start + size as u64;
                    size += read_part(&reader, at, missing, Temperature::Cold, &mut parts).await?;
                }
            }
        }
        let counts = &self.metrics.reads;
        counts.ahead.add(size.min(from_ahead) as u64);
        counts.cold.add(size.saturating_sub(from_ahead) as u64);
        self.read_on(
            directory,
            &file,
            &(range.start..range.start + size as u64),
            stop,
        );
        Ok(Payload::Memory { parts, size })
    }
}

/// What is left of parts that were cut anywhere.
#[derive(Debug, PartialEq, Eq)]
enum Cut {
    /// So many bytes of whole batches.
    Whole(usize),
    /// The first batch needs so many more; nothing is taken away.
    Missing(usize),
}

/// Takes off what follows the last whole batch. A batch may lie across parts.
fn cut_at_batch(parts: &mut SmallVec<[Bytes; 4]>) -> Cut {
    let size: usize = parts.iter().map(Bytes::len).sum();
    let mut whole = 0;
    while let Some(next) = batch_size(parts, whole) {
        if next < BATCH_HEADER_SIZE {
            break;
        }
        if next > size - whole {
            if whole == 0 {
                return Cut::Missing(next - size);
            }
            break;
        }
        whole += next;
    }
    let mut left = whole;
    parts.retain(|part| {
        part.truncate(left);
        left -= part.len();
        !part.is_empty()
    });
    Cut::Whole(whole)
}

/// Bytes of the batch that begins at `at`, as its length field says; `None` when that is cut off.
fn batch_size(parts: &[Bytes], at: usize) -> Option<usize> {
    let mut prefix = [0; BATCH_LENGTH_OVERHEAD];
    let (mut skip, mut filled) = (at, 0);
    for part in parts {
        let from = skip.min(part.len());
        skip -= from;
        let count = (part.len() - from).min(prefix.len() - filled);
        prefix[filled..filled + count].copy_from_slice(&part[from..from + count]);
        filled += count;
    }
    let length = prefix.last_chunk().filter(|_| filled == prefix.len())?;
    let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    Some(length + BATCH_LENGTH_OVERHEAD)
}

/// Reads up to `size` bytes at `position` as one more part; returns how many there were.
async fn read_part(
    file: &File,
    position: u64,
    size: u64,
    temperature: Temperature,
    parts: &mut SmallVec<[Bytes; 4]>,
) -> std::io::Result<usize> {
    let size = usize::try_from(size).expect("no batch or piece is above 2 GiB");
    let (result, block) = file
        .read_at(corelog_runtime::block(size), position, size, temperature)
        .await;
    let size = result?;
    parts.push(block.freeze().slice(..size));
    Ok(size)
}

#[cfg(test)]
mod tests;
