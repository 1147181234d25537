//! Fetch (key 1): sessions here, reading on the owners, the response as pieces that are never copied.
//!
//! Versions: v4 isolation · v5 log start offset · v7 sessions (KIP-227) · v9 leader epochs ·
//! v11 rack · v12 diverging epochs (KIP-595) · v13 topic ids (KIP-516) · v15 replica state ·
//! v16 node endpoints · v17 directory ids · v18 high watermark of the follower.
//!
//! Owns: the walk over the request, the gathering of owners' answers, the response.
//! Lives on: the connection's shard.
//! Invariants:
//! 1. The response is never larger than `max_bytes` but for one first batch.
//! 2. What an owner hands over is sent by reference or by sendfile.
//!
//! Known deviations: with several owning shards and `min_bytes` above 1, owners are asked again as
//! each gets data; the sum decides, as in Kafka.
//!
//! Not here: sessions (`fetch/session.rs`), reading (`partition/read.rs`), what changed (`partition/watch.rs`).

pub(crate) mod session;

use std::future::poll_fn;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use corelog_net::connection::{Reply, Request, Response, ResponseWriter};
use corelog_net::frame::FrameTooLarge;
use corelog_net::wire::fetch::{self, FetchResponseWriter, FetchView, PartitionAnswer, Start};
use corelog_net::wire::messages::fetch::AbortedTransaction;
use corelog_net::wire::{EncodeError, ErrorCode, Uuid};
use corelog_runtime::{File, Instant};
use corelog_storage::types::{LeaderEpoch, Offset, TopicId};
use smallvec::{SmallVec, smallvec};

use crate::mesh;
use crate::metadata::Image;
use crate::partition;
use crate::partition::read::{Answer, FetchCall, Fetched, Isolation, Payload};
use crate::partition::watch::{Change, Fetching};
use crate::shard::Shard;
use session::{Ask, Locate, Step, TopicKey, Turn, Wanted};

/// See the module's notes.
pub(crate) const VERSIONS: RangeInclusive<i16> = 4..=18;

/// What of the request outlives its walk.
struct Asked {
    isolation: Isolation,
    size_min: usize,
    size_max: usize,
    deadline: Option<Instant>,
}

/// Answers the fetch: its session step, its reads, its response.
pub(crate) async fn handle(shard: Rc<Shard>, request: Request) -> Reply {
    let version = request.header.api_version;
    let Ok(view) = FetchView::parse(request.body.clone(), version) else {
        return Reply::Close("a request that cannot be read");
    };
    if view.replica_id() >= 0 {
        // A follower; there is none on a single node.
        return refused(
            &request,
            &view,
            ErrorCode::None,
            ErrorCode::NotLeaderOrFollower,
        );
    }
    let isolation = match view.isolation_level() {
        0 => Isolation::ReadUncommitted,
        1 => Isolation::ReadCommitted,
        _ => {
            let unknown = ErrorCode::UnknownServerError;
            return refused(&request, &view, unknown, unknown);
        }
    };
    if view.max_bytes() < 0 {
        return refused(
            &request,
            &view,
            ErrorCode::None,
            ErrorCode::UnknownServerError,
        );
    }
    let now = corelog_runtime::now();
    let wait = Duration::from_millis(u64::try_from(view.max_wait_ms()).unwrap_or(0));
    let size_max = usize::try_from(view.max_bytes())
        .unwrap_or(0)
        .min(shard.settings.fetch_size_max);
    let asked = Asked {
        isolation,
        // Nobody waits for more than would be sent.
        size_min: usize::try_from(view.min_bytes()).unwrap_or(0).min(size_max),
        size_max,
        deadline: (!wait.is_zero() && view.min_bytes() > 0).then(|| now + wait),
    };
    let step = step(&shard, &view, now);
    let_go(&shard).await;
    match step {
        Err(error) => session_refused(&request, error),
        Ok(Step::Ended) => session_refused(&request, ErrorCode::None),
        Ok(Step::Sessionless) => fetch_all(&shard, &request, &view, &asked).await,
        Ok(Step::Turn(turn)) => fetch_news(&shard, &request, turn, &asked).await,
    }
}

/// What the request asks of its session.
fn step(shard: &Shard, view: &FetchView, now: Instant) -> Result<Step, ErrorCode> {
    let by_id = view.version() >= 13;
    let image = shard.image();
    let atlas = Atlas {
        image: &image,
        shards: shard.shards,
    };
    let wanted = view.topics().flat_map(|topic| {
        let key = key(by_id, topic.name, topic.topic_id);
        topic
            .partitions
            .map(move |part| (key.clone(), wanted(&part)))
    });
    let forgotten = view.forgotten().flat_map(|topic| {
        let key = key(by_id, topic.name, topic.topic_id);
        topic
            .partitions()
            .map(move |partition| (key.clone(), partition))
    });
    shard.sessions.borrow_mut().step(
        now,
        (view.session_id(), view.session_epoch()),
        by_id,
        view.partition_count(),
        wanted,
        forgotten,
        &atlas,
        corelog_runtime::random,
    )
}

/// Tells the owners of sessions that are over.
async fn let_go(shard: &Shard) {
    loop {
        let over = shard.sessions.borrow_mut().over();
        let Some((owner, watch)) = over else {
            return;
        };
        if owner == shard.index {
            shard.unwatch(owner, watch);
        } else {
            shard.mesh.post(owner, mesh::Request::Unwatch(watch)).await;
        }
    }
}

fn wanted(part: &fetch::Partition) -> Wanted {
    Wanted {
        partition: part.index,
        offset: Offset(part.fetch_offset),
        current_leader_epoch: LeaderEpoch(part.current_leader_epoch),
        last_fetched_epoch: LeaderEpoch(part.last_fetched_epoch),
        size_max: usize::try_from(part.max_bytes).unwrap_or(0),
    }
}

fn key(by_id: bool, name: &str, id: Uuid) -> TopicKey {
    if by_id {
        TopicKey::Id(TopicId(id.0))
    } else {
        TopicKey::Name(name.into())
    }
}

/// Where partitions are, by the metadata.
struct Atlas<'a> {
    image: &'a Image,
    shards: usize,
}

impl Locate for Atlas<'_> {
    fn locate(&self, topic: &TopicKey, partition: i32) -> Result<(TopicId, usize), ErrorCode> {
        let found = match topic {
            TopicKey::Name(name) => self.image.topic(name),
            TopicKey::Id(id) => self.image.topic_by_id(Uuid(id.0)),
        };
        match found {
            Some(found) if found.partition(partition).is_some() => {
                let id = TopicId(found.id.0);
                Ok((id, partition::owner(id, partition, self.shards)))
            }
            None if matches!(topic, TopicKey::Id(_)) => Err(ErrorCode::UnknownTopicId),
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }
}

/// Every partition asked for is answered with `error`, the fetch itself with `whole`.
fn refused(request: &Request, view: &FetchView, whole: ErrorCode, error: ErrorCode) -> Reply {
    let mut gaps = Vec::new();
    let mut frame = Response::writer(&request.header, 64 + 48 * view.partition_count());
    let written = (|| {
        let start = Start {
            throttle_time_ms: 0,
            error_code: whole,
            session_id: 0,
            topic_count: view.topic_count(),
        };
        let mut writer =
            FetchResponseWriter::new(frame.buffer(), &mut gaps, view.version(), start)?;
        for topic in view.topics() {
            writer.topic(topic.name, topic.topic_id, topic.partitions.len())?;
            for part in topic.partitions {
                writer.partition(&PartitionAnswer::error(part.index, error))?;
            }
        }
        writer.finish(&[])
    })();
    finished(frame, written)
}

/// The session is the error.
fn session_refused(request: &Request, error: ErrorCode) -> Reply {
    let mut gaps = Vec::new();
    let mut frame = Response::writer(&request.header, 32);
    let start = Start {
        throttle_time_ms: 0,
        error_code: error,
        session_id: 0,
        topic_count: 0,
    };
    let written =
        FetchResponseWriter::new(frame.buffer(), &mut gaps, request.header.api_version, start)
            .and_then(|writer| writer.finish(&[]));
    finished(frame, written)
}

fn finished(frame: ResponseWriter, written: Result<(), EncodeError>) -> Reply {
    if let Err(error) = written {
        tracing::error!("a fetch response cannot be encoded: {error}");
        return Reply::Close("an answer that cannot be encoded");
    }
    match frame.finish() {
        Ok(response) => Reply::Response(response),
        Err(error) => too_large(error),
    }
}

#[cold]
fn too_large(error: FrameTooLarge) -> Reply {
    tracing::error!("a fetch response is too large: {error}");
    Reply::Close("an answer above 2 GiB")
}

/// One partition of a response.
struct Line<'a> {
    /// As its topic is named: by name or by id.
    topic: (&'a str, Uuid),
    partition: i32,
    fetched: &'a mut Fetched,
}

/// Puts the response together: heads are written, records go by reference.
// HOT: one buffer for all heads; records are never copied
fn answer(request: &Request, session: i32, mut lines: SmallVec<[Line<'_>; 8]>) -> Reply {
    let version = request.header.api_version;
    // Partitions of a topic stand together, mostly; a topic may come again.
    let mut runs: SmallVec<[Range<usize>; 8]> = SmallVec::new();
    for (place, line) in lines.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if is_same(lines[run.start].topic, line.topic) => run.end += 1,
            _ => runs.push(place..place + 1),
        }
    }
    let mut frame = Response::writer(&request.header, 32 + 40 * runs.len() + 64 * lines.len());
    let mut gaps = Vec::with_capacity(lines.len());
    let written = (|| {
        let start = Start {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: if version >= 7 { session } else { 0 },
            topic_count: runs.len(),
        };
        let mut writer = FetchResponseWriter::new(frame.buffer(), &mut gaps, version, start)?;
        for run in &runs {
            let (name, id) = lines[run.start].topic;
            writer.topic(name, id, run.len())?;
            for line in &lines[run.clone()] {
                let one = &*line.fetched;
                let aborted: Option<Vec<_>> = one.aborted.as_ref().map(|all| {
                    let aborted = |&(producer_id, first_offset): &(i64, i64)| AbortedTransaction {
                        producer_id,
                        first_offset,
                        ..AbortedTransaction::default()
                    };
                    all.iter().map(aborted).collect()
                });
                writer.partition(&PartitionAnswer {
                    high_watermark: one.high_watermark,
                    last_stable_offset: one.last_stable_offset,
                    log_start_offset: one.log_start_offset,
                    diverging_epoch: one.diverging.map(|(epoch, end)| (epoch.0, end.0)),
                    aborted_transactions: aborted.as_deref(),
                    records_size: Some(one.records.size()),
                    ..PartitionAnswer::error(line.partition, one.error)
                })?;
            }
        }
        writer.finish(&[])
    })();
    if gaps.is_empty() || written.is_err() {
        return finished(frame, written);
    }
    let end = frame.buffer().len();
    let size = gaps.iter().map(|gap| gap.size as u64).sum();
    let mut frame = match frame.cut(size) {
        Ok(frame) => frame,
        Err(error) => return too_large(error),
    };
    let mut payloads = lines
        .iter_mut()
        .filter(|line| line.fetched.records.size() > 0)
        .map(|line| std::mem::replace(&mut line.fetched.records, Payload::Empty));
    for gap in &gaps {
        frame.until_left(end - gap.position);
        match payloads.next() {
            Some(Payload::Memory { parts, .. }) => {
                parts.into_iter().for_each(|part| frame.bytes(part));
            }
            Some(Payload::File { file, range }) => frame.file(File::from_fd(file), range),
            Some(Payload::Empty) | None => unreachable!("a gap for every payload"),
        }
    }
    Reply::Response(Response::of(frame))
}

/// Whether two lines are of one topic. Strings that are the same or empty are not compared: the empty one lies at an address
/// without memory, and comparing nothing there costs a processor with masked loads 100 ns.
fn is_same(one: (&str, Uuid), other: (&str, Uuid)) -> bool {
    let is_same_name = std::ptr::eq(one.0, other.0) || (one.0.is_empty() && other.0.is_empty());
    one.1 == other.1 && (is_same_name || one.0 == other.0)
}

/// Where a partition of the request is asked: the owner and the place in its call, or why not.
#[derive(Clone, Copy)]
enum Place {
    Refused(ErrorCode),
    At { ask: usize, place: usize },
}

/// A fetch without a session: everything that the request names is read and answered.
async fn fetch_all(shard: &Rc<Shard>, request: &Request, view: &FetchView, asked: &Asked) -> Reply {
    let by_id = view.version() >= 13;
    let mut asks: SmallVec<[Ask; 2]> = SmallVec::new();
    let mut places: SmallVec<[Place; 8]> = SmallVec::with_capacity(view.partition_count());
    let image = shard.image();
    for topic in view.topics() {
        let found = if by_id {
            image.topic_by_id(topic.topic_id)
        } else {
            image.topic(topic.name)
        };
        let owners = found.map(|found| {
            let id = TopicId(found.id.0);
            (found, id, partition::Owners::of(id, shard.shards))
        });
        for part in topic.partitions {
            let known = owners.filter(|(found, ..)| found.partition(part.index).is_some());
            let Some((_, id, owners)) = known else {
                places.push(Place::Refused(match (found, by_id) {
                    (None, true) => ErrorCode::UnknownTopicId,
                    _ => ErrorCode::UnknownTopicOrPartition,
                }));
                continue;
            };
            let owner = owners.of_partition(part.index);
            let known = asks.iter().position(|one| one.owner == owner);
            let ask = known.unwrap_or_else(|| {
                asks.push(Ask {
                    owner,
                    changes: Vec::new(),
                });
                asks.len() - 1
            });
            let changes = &mut asks[ask].changes;
            let place = changes.len();
            places.push(Place::At { ask, place });
            let number = u32::try_from(place).expect("a frame holds fewer partitions");
            changes.push(Change::Set(number, wanted(&part).of(id)));
        }
    }
    drop(image);
    let gathering = Gathering {
        watch: None,
        all: true,
        asked,
    };
    // Partitions that are unknown here are told with the rest; they do not end the wait, as in Kafka.
    let mut answers = gathering.gather(shard, &mut asks).await;
    let mut found: SmallVec<[Fetched; 1]> = SmallVec::with_capacity(places.len());
    found.extend(places.iter().map(|place| match *place {
        Place::Refused(error) => Fetched::refused(error),
        Place::At { ask, place } => match answers[ask].get_mut(place) {
            Some(answer) => {
                std::mem::replace(&mut answer.fetched, Fetched::refused(ErrorCode::None))
            }
            None => Fetched::refused(ErrorCode::NotLeaderOrFollower),
        },
    }));
    let mut left = found.iter_mut();
    let mut lines = SmallVec::with_capacity(places.len());
    for topic in view.topics() {
        let named = (topic.name, topic.topic_id);
        for (part, fetched) in topic.partitions.zip(&mut left) {
            lines.push(Line {
                topic: named,
                partition: part.index,
                fetched,
            });
        }
    }
    cut(&mut lines, asked.size_max);
    answer(request, 0, lines)
}

/// A fetch of a session: what is news is answered; with its first request, everything.
async fn fetch_news(shard: &Rc<Shard>, request: &Request, mut turn: Turn, asked: &Asked) -> Reply {
    let gathering = Gathering {
        watch: Some(turn.watch),
        all: turn.is_first,
        asked,
    };
    let mut answers = gathering.gather(shard, &mut turn.asks).await;
    let mut sessions = shard.sessions.borrow_mut();
    let session = match sessions.resume(&turn) {
        Ok(session) => session,
        Err(error) => return session_refused(request, error),
    };
    let refused = |(slot, error)| Answer {
        place: slot,
        fetched: Fetched::refused(error),
    };
    let lost: Vec<Answer> = session.lost().map(refused).collect();
    // Every owner comes first in turn: together they may have read more than is sent.
    let count = answers.len().max(1);
    let first = turn.number() % count;
    let image = shard.image();
    for (ask, answers) in turn.asks.iter().zip(&mut answers) {
        for answer in answers.iter_mut() {
            // From here on a place is a slot of the session.
            let Some(slot) = session.slot(ask.owner, answer.place) else {
                continue;
            };
            answer.place = slot;
            if answer.fetched.error == ErrorCode::UnknownTopicOrPartition {
                if let (TopicKey::Id(id), _) = session.name(slot)
                    && image.topic_by_id(Uuid(id.0)).is_none()
                {
                    answer.fetched.error = ErrorCode::UnknownTopicId;
                }
                session.lose(slot, answer.fetched.error);
            }
        }
    }
    answers.rotate_left(first);
    answers.push(lost);
    let session = &*session;
    let mut lines = SmallVec::new();
    for answer in answers.iter_mut().flatten() {
        let (topic, partition) = session.name(answer.place);
        lines.push(Line {
            topic: match topic {
                TopicKey::Name(name) => (&**name, Uuid::ZERO),
                TopicKey::Id(id) => ("", Uuid(id.0)),
            },
            partition,
            fetched: &mut answer.fetched,
        });
    }
    cut(&mut lines, asked.size_max);
    answer(request, turn.session, lines)
}

/// How owners are asked.
struct Gathering<'a> {
    /// The session's number to them.
    watch: Option<u64>,
    /// They answer every part.
    all: bool,
    asked: &'a Asked,
}

/// What the owners answer, in the order in which they are asked.
type Answers = SmallVec<[Vec<Answer>; 3]>;

/// A question to one owner that is under way.
struct Waiting {
    owner: usize,
    answer: Pin<Box<dyn Future<Output = Vec<Answer>>>>,
    answered: Option<Vec<Answer>>,
    cancel: Cancel,
}

/// How its wait is ended.
enum Cancel {
    Here(Fetching),
    There(u64),
    Never,
}

impl Gathering<'_> {
    /// Asks every owner; with a deadline, until there is enough, something to tell, or no time left.
    async fn gather(&self, shard: &Rc<Shard>, asks: &mut [Ask]) -> Answers {
        match asks {
            [] => Answers::new(),
            [Ask { owner, changes }] => {
                let changes = std::mem::take(changes);
                let mut call = self.call(changes, self.asked.size_min, self.asked.deadline);
                if *owner == shard.index {
                    let fetching = shard.begin_fetch(*owner, &mut call);
                    return smallvec![Rc::clone(shard).fetch(call, fetching).await];
                }
                smallvec![start(shard, *owner, call).await.answer.await]
            }
            _ => self.gather_from_several(shard, asks).await,
        }
    }

    fn call(&self, changes: Vec<Change>, size_min: usize, deadline: Option<Instant>) -> FetchCall {
        FetchCall {
            watch: self.watch,
            all: self.all,
            changes,
            isolation: self.asked.isolation,
            size_max: self.asked.size_max,
            size_min,
            deadline,
        }
    }

    /// Asks several owners. Each waits for its share of the bytes still missing: if together they got
    /// enough, at least one got its share, and then the sum decides.
    async fn gather_from_several(&self, shard: &Rc<Shard>, asks: &mut [Ask]) -> Answers {
        let deadline = self.asked.deadline;
        let share = match deadline {
            Some(_) => self.asked.size_min.div_ceil(asks.len()),
            None => 0,
        };
        let mut shares: SmallVec<[usize; 2]> = smallvec![share; asks.len()];
        let mut before = Answers::new();
        loop {
            let mut waiting: SmallVec<[Waiting; 2]> = SmallVec::new();
            for (ask, size_min) in asks.iter_mut().zip(&shares) {
                // A session keeps its parts at their owners; else they are told again, if there may be an again.
                let is_told_once =
                    self.watch.is_some() || deadline.is_none() || self.asked.size_min <= 1;
                let changes = if is_told_once {
                    std::mem::take(&mut ask.changes)
                } else {
                    ask.changes.clone()
                };
                let call = self.call(changes, *size_min, deadline);
                waiting.push(start(shard, ask.owner, call).await);
            }
            first(&mut waiting).await;
            for one in waiting.iter().filter(|one| one.answered.is_none()) {
                match &one.cancel {
                    Cancel::Here(fetching) => fetching.cancel(),
                    Cancel::There(call) => {
                        shard
                            .mesh
                            .post(one.owner, mesh::Request::CancelFetch(*call))
                            .await;
                    }
                    Cancel::Never => {}
                }
            }
            let mut answers = Answers::new();
            for one in waiting {
                answers.push(match one.answered {
                    Some(answered) => answered,
                    None => one.answer.await,
                });
            }
            if !self.all {
                for (before, answers) in before.drain(..).zip(&mut answers) {
                    keep_news(before, answers);
                }
            }
            let size = |all: &[Answer]| {
                let sizes = all.iter().map(|one| one.fetched.records.size());
                sizes.sum::<usize>()
            };
            let total: usize = answers.iter().map(|all| size(all)).sum();
            let urgent = answers.iter().flatten().any(|one| one.fetched.is_urgent());
            let Some(deadline) = deadline else {
                return answers;
            };
            if total >= self.asked.size_min || urgent || corelog_runtime::now() >= deadline {
                return answers;
            }
            let share = (self.asked.size_min - total).div_ceil(asks.len());
            for (shares, all) in shares.iter_mut().zip(&answers) {
                *shares = size(all) + share;
            }
            before = answers;
        }
    }
}

/// What an owner told before and does not tell again, because to the owner it is told: news without records.
fn keep_news(before: Vec<Answer>, answers: &mut Vec<Answer>) {
    let is_kept = |one: &Answer| one.fetched.records.size() == 0 && !one.fetched.is_urgent();
    if !before.iter().any(is_kept) {
        return;
    }
    let mut again: Vec<u32> = answers.iter().map(|one| one.place).collect();
    again.sort_unstable();
    let kept = before
        .into_iter()
        .filter(|one| is_kept(one) && again.binary_search(&one.place).is_err());
    answers.extend(kept);
}

async fn start(shard: &Rc<Shard>, owner: usize, mut call: FetchCall) -> Waiting {
    let (answer, cancel): (Pin<Box<dyn Future<Output = _>>>, _) = if owner == shard.index {
        let fetching = shard.begin_fetch(owner, &mut call);
        let answer = Rc::clone(shard).fetch(call, fetching.clone());
        (Box::pin(answer), Cancel::Here(fetching))
    } else {
        let pending = shard.mesh.start(owner, mesh::Request::Fetch(call)).await;
        let cancel = match &pending {
            mesh::Pending::There { call, .. } => Cancel::There(*call),
            mesh::Pending::Here(_) | mesh::Pending::Answered(_) => Cancel::Never,
        };
        let answer = async move {
            match pending.reply().await {
                mesh::Reply::Fetched(answers) => answers,
                _ => Vec::new(),
            }
        };
        (Box::pin(answer), cancel)
    };
    Waiting {
        owner,
        answer,
        answered: None,
        cancel,
    }
}

/// Waits until at least one has answered; with no waits asked for, all have soon.
async fn first(waiting: &mut [Waiting]) {
    poll_fn(|context| {
        let mut any = waiting.is_empty();
        for one in waiting.iter_mut().filter(|one| one.answered.is_none()) {
            if let Poll::Ready(answered) = one.answer.as_mut().poll(context) {
                one.answered = Some(answered);
                any = true;
            }
        }
        if any { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Keeps the response within its limit: what the owners together read too much is left for the next
/// fetch. The first records stay, however large.
fn cut(lines: &mut [Line<'_>], size_max: usize) {
    let mut size = 0;
    for line in lines {
        let more = line.fetched.records.size();
        if size > 0 && size + more > size_max {
            line.fetched.records = Payload::Empty;
        } else {
            size += more;
        }
    }
}
