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
//! Not here: sessions (`fetch/session.rs`), reading and waiting (`partition/read.rs`).

pub(crate) mod session;

use std::future::poll_fn;
use std::ops::{Range, RangeInclusive};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::connection::{Reply, Request, Response, ResponseWriter};
use corelog_net::wire::fetch::{FetchResponseWriter, FetchView, PartitionAnswer, Start};
use corelog_net::wire::messages::fetch::AbortedTransaction;
use corelog_net::wire::{EncodeError, ErrorCode, Uuid};
use corelog_runtime::{File, Instant};
use corelog_storage::types::{LeaderEpoch, Offset, TopicId};
use smallvec::SmallVec;

use crate::handlers::Context;
use crate::mesh;
use crate::partition::read::{FetchCall, FetchPart, Fetched, Isolation, Payload};
use crate::partition::{self, Parked};
use crate::shard::Shard;
use session::{Kind, Resolved, TopicKey, Wanted};

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
pub(crate) async fn handle(shard: Rc<Shard>, context: Context, request: Request) -> Reply {
    let version = context.version;
    let Ok(view) = FetchView::parse(request.body.clone(), version) else {
        return Reply::Close("a request that cannot be read");
    };
    let by_id = version >= 13;
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
    let mut wanted = Vec::with_capacity(view.partition_count());
    for topic in view.topics() {
        let key = key(by_id, topic.name, topic.topic_id);
        wanted.extend(topic.partitions.map(|part| {
            let size_max = usize::try_from(part.max_bytes).unwrap_or(0);
            Wanted::new(
                key.clone(),
                part.index,
                Offset(part.fetch_offset),
                LeaderEpoch(part.current_leader_epoch),
                LeaderEpoch(part.last_fetched_epoch),
                size_max,
            )
        }));
    }
    let mut forgotten = Vec::with_capacity(view.forgotten_count());
    for topic in view.forgotten() {
        let key = key(by_id, topic.name, topic.topic_id);
        forgotten.extend(topic.partitions().map(|partition| (key.clone(), partition)));
    }
    let now = corelog_runtime::now();
    let resolved = shard.sessions.borrow_mut().resolve(
        now,
        (view.session_id(), view.session_epoch()),
        by_id,
        wanted,
        forgotten.into_iter(),
        corelog_runtime::random,
    );
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(error) => return session_refused(&request, error),
    };
    let wait = Duration::from_millis(u64::try_from(view.max_wait_ms()).unwrap_or(0));
    let asked = Asked {
        isolation,
        size_min: usize::try_from(view.min_bytes()).unwrap_or(0),
        size_max: usize::try_from(view.max_bytes())
            .unwrap_or(0)
            .min(shard.settings.fetch_size_max),
        deadline: (!wait.is_zero() && view.min_bytes() > 0).then(|| now + wait),
    };
    drop(view);
    let mut fetched = gather(&shard, &resolved.wanted, by_id, &asked).await;
    cut(&mut fetched, asked.size_max);
    answer(&shard, &request, &resolved, fetched)
}

fn key(by_id: bool, name: &str, id: Uuid) -> TopicKey {
    if by_id {
        TopicKey::Id(TopicId(id.0))
    } else {
        TopicKey::Name(name.into())
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
        Err(error) => {
            tracing::error!("a fetch response is too large: {error}");
            Reply::Close("an answer above 2 GiB")
        }
    }
}

/// Puts the response together: heads are written, records go by reference.
// HOT: one buffer for all heads; records are never copied
fn answer(shard: &Shard, request: &Request, resolved: &Resolved, fetched: Vec<Fetched>) -> Reply {
    let version = request.header.api_version;
    let news = tell(shard, resolved, &fetched);
    // Partitions of a topic stand together in the request, mostly; a topic may come again.
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (place, told) in news.iter().enumerate() {
        if !told {
            continue;
        }
        match runs.last_mut() {
            Some(run)
                if run.end == place
                    && resolved.wanted[run.start].topic == resolved.wanted[place].topic =>
            {
                run.end += 1;
            }
            _ => runs.push(place..place + 1),
        }
    }
    let told: usize = runs.iter().map(Range::len).sum();
    let mut head = Vec::with_capacity(32 + 40 * runs.len() + 64 * told);
    let mut gaps = Vec::with_capacity(told);
    let written = (|| {
        let start = Start {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: if version >= 7 {
                resolved.kind.session()
            } else {
                0
            },
            topic_count: runs.len(),
        };
        let mut writer = FetchResponseWriter::new(&mut head, &mut gaps, version, start)?;
        for run in &runs {
            let (name, id) = match &resolved.wanted[run.start].topic {
                TopicKey::Name(name) => (&**name, Uuid::ZERO),
                TopicKey::Id(id) => ("", Uuid(id.0)),
            };
            writer.topic(name, id, run.len())?;
            for place in run.clone() {
                let one = &fetched[place];
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
                    ..PartitionAnswer::error(resolved.wanted[place].partition, one.error)
                })?;
            }
        }
        writer.finish(&[])
    })();
    let mut frame = Response::writer(
        &request.header,
        if gaps.is_empty() { head.len() } else { 0 },
    );
    let head = Bytes::from(head);
    let mut from = 0;
    let mut payloads = fetched
        .into_iter()
        .zip(&news)
        .filter(|(one, told)| **told && one.records.size() > 0)
        .map(|(one, _)| one.records);
    for gap in &gaps {
        if gap.size == 0 {
            continue;
        }
        frame.bytes(head.slice(from..gap.position));
        from = gap.position;
        match payloads.next() {
            Some(Payload::Memory { parts, .. }) => {
                parts.into_iter().for_each(|part| frame.bytes(part));
            }
            Some(Payload::File { file, range }) => frame.file(File::from_fd(file), range),
            Some(Payload::Empty) | None => unreachable!("a gap for every payload"),
        }
    }
    if from == 0 {
        frame.buffer().extend_from_slice(&head);
    } else {
        frame.bytes(head.slice(from..));
    }
    finished(frame, written)
}

/// Which partitions the response names: all, or in an incremental session those with news.
fn tell(shard: &Shard, resolved: &Resolved, fetched: &[Fetched]) -> Vec<bool> {
    if resolved.kind == Kind::Sessionless {
        return vec![true; fetched.len()];
    }
    let session = resolved.kind.session();
    let incremental = matches!(resolved.kind, Kind::Incremental { .. });
    let mut sessions = shard.sessions.borrow_mut();
    let mut served = Vec::new();
    let news = resolved.wanted.iter().zip(fetched).map(|(wanted, one)| {
        let data = one.records.size() > 0 || one.is_urgent();
        if one.records.size() > 0 {
            served.push((wanted.topic.clone(), wanted.partition));
        }
        let news = sessions.tell(
            session,
            wanted,
            one.high_watermark,
            one.log_start_offset,
            data,
        );
        news || !incremental
    });
    let news = news.collect();
    sessions.rotate(session, &served);
    news
}

/// Where each wanted partition is asked: the shard and the place in its call, or why not.
enum Place {
    Refused(ErrorCode),
    At { call: usize, part: usize },
}

/// Asks every owner; with a deadline, until there is enough, something to tell, or no time left.
async fn gather(shard: &Rc<Shard>, wanted: &[Wanted], by_id: bool, asked: &Asked) -> Vec<Fetched> {
    let image = shard.image();
    let mut calls: SmallVec<[(usize, Vec<FetchPart>); 2]> = SmallVec::new();
    let mut places = Vec::with_capacity(wanted.len());
    for one in wanted {
        let topic = match &one.topic {
            TopicKey::Name(name) => image.topic(name),
            TopicKey::Id(id) => image.topic_by_id(Uuid(id.0)),
        };
        let Some(topic) = topic.filter(|topic| topic.partition(one.partition).is_some()) else {
            places.push(Place::Refused(match (topic, by_id) {
                (None, true) => ErrorCode::UnknownTopicId,
                _ => ErrorCode::UnknownTopicOrPartition,
            }));
            continue;
        };
        let owner = partition::owner(TopicId(topic.id.0), one.partition, shard.shards);
        let call = calls
            .iter()
            .position(|(at, _)| *at == owner)
            .unwrap_or_else(|| {
                calls.push((owner, Vec::new()));
                calls.len() - 1
            });
        places.push(Place::At {
            call,
            part: calls[call].1.len(),
        });
        calls[call].1.push(FetchPart {
            topic_id: TopicId(topic.id.0),
            partition: one.partition,
            offset: one.offset,
            current_leader_epoch: one.current_leader_epoch,
            last_fetched_epoch: one.last_fetched_epoch,
            size_max: one.size_max,
        });
    }
    if calls.is_empty() {
        return refusals(places);
    }
    // Partitions that are unknown here are told with the rest; they do not end the wait, as in Kafka.
    let deadline = asked.deadline;
    let mut answers = if let [(owner, parts)] = &mut calls[..] {
        let parts = std::mem::take(parts);
        vec![
            start(shard, *owner, parts, asked, asked.size_min, deadline)
                .await
                .answer
                .await,
        ]
    } else {
        ask_all(shard, &calls, asked, deadline).await
    };
    places
        .into_iter()
        .map(|place| match place {
            Place::Refused(error) => Fetched::refused(error),
            Place::At { call, part } => match answers[call].get_mut(part) {
                Some(fetched) => std::mem::replace(fetched, Fetched::refused(ErrorCode::None)),
                None => Fetched::refused(ErrorCode::NotLeaderOrFollower),
            },
        })
        .collect()
}

/// The answers when there is nobody to ask.
fn refusals(places: Vec<Place>) -> Vec<Fetched> {
    let error = |place| match place {
        Place::Refused(error) => Fetched::refused(error),
        Place::At { .. } => Fetched::refused(ErrorCode::NotLeaderOrFollower),
    };
    places.into_iter().map(error).collect()
}

/// A question to one owner that is under way.
struct Waiting {
    owner: usize,
    answer: Pin<Box<dyn Future<Output = Vec<Fetched>>>>,
    answered: Option<Vec<Fetched>>,
    cancel: Cancel,
}

/// How its wait is ended.
enum Cancel {
    Here(Rc<Parked>),
    There(u64),
}

async fn start(
    shard: &Rc<Shard>,
    owner: usize,
    parts: Vec<FetchPart>,
    asked: &Asked,
    size_min: usize,
    deadline: Option<Instant>,
) -> Waiting {
    let call = FetchCall {
        parts,
        isolation: asked.isolation,
        size_max: asked.size_max,
        size_min,
        deadline,
    };
    let (answer, cancel): (Pin<Box<dyn Future<Output = _>>>, _) = if owner == shard.index {
        let parked = Parked::new();
        (
            Box::pin(Rc::clone(shard).fetch(call, Rc::clone(&parked))),
            Cancel::Here(parked),
        )
    } else {
        let pending = shard.mesh.start(owner, mesh::Request::Fetch(call)).await;
        let cancel = match &pending {
            mesh::Pending::There { call, .. } => Cancel::There(*call),
            mesh::Pending::Here(_) => Cancel::Here(Parked::new()),
        };
        let answer = async move {
            match pending.reply().await {
                mesh::Reply::Fetched(fetched) => fetched,
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

/// Asks several owners. Each waits for its share of the bytes still missing: if together they got
/// enough, at least one got its share, and then the sum decides.
async fn ask_all(
    shard: &Rc<Shard>,
    calls: &[(usize, Vec<FetchPart>)],
    asked: &Asked,
    deadline: Option<Instant>,
) -> Vec<Vec<Fetched>> {
    let mut shares = vec![(0, None); calls.len()];
    loop {
        let mut waiting = Vec::with_capacity(calls.len());
        for ((owner, parts), (size_min, deadline)) in calls.iter().zip(&shares) {
            waiting.push(start(shard, *owner, parts.clone(), asked, *size_min, *deadline).await);
        }
        first(&mut waiting).await;
        for one in waiting.iter().filter(|one| one.answered.is_none()) {
            match &one.cancel {
                Cancel::Here(parked) => parked.cancel(),
                Cancel::There(call) => {
                    shard
                        .mesh
                        .post(one.owner, mesh::Request::CancelFetch(*call))
                        .await;
                }
            }
        }
        let mut answers = Vec::with_capacity(calls.len());
        for one in waiting {
            answers.push(match one.answered {
                Some(answered) => answered,
                None => one.answer.await,
            });
        }
        let size =
            |fetched: &[Fetched]| fetched.iter().map(|one| one.records.size()).sum::<usize>();
        let total: usize = answers.iter().map(|fetched| size(fetched)).sum();
        let urgent = answers.iter().flatten().any(Fetched::is_urgent);
        let Some(deadline) = deadline else {
            return answers;
        };
        if total >= asked.size_min || urgent || corelog_runtime::now() >= deadline {
            return answers;
        }
        let share = (asked.size_min - total).div_ceil(calls.len());
        for (shares, fetched) in shares.iter_mut().zip(&answers) {
            *shares = (size(fetched) + share, Some(deadline));
        }
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
fn cut(fetched: &mut [Fetched], size_max: usize) {
    let mut size = 0;
    for one in fetched {
        let more = one.records.size();
        if size > 0 && size + more > size_max {
            one.records = Payload::Empty;
        } else {
            size += more;
        }
    }
}
