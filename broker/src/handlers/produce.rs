//! Produce (key 0): split by owner, validated here, appended there, answered in order.
//!
//! Versions: v3 record batches v2 · v7 zstd · v8 record errors (KIP-467) · v10 current leader ·
//! v12 implicit partition adding (KIP-890) · v13 topic ids (KIP-516). v0–2 are advertised because
//! librdkafka asks for them (KIP-896) and closed when used, as Kafka does.
//!
//! Owns: the walk over the request, the split by owning shard, the response.
//! Lives on: the connection's shard.
//! Invariants:
//! 1. When [`dispatch`] returns, every batch has its place in the order of its partition's shard.
//! 2. Records are slices of the frame; nothing is copied here.
//!
//! Known deviations: a record set that is null is answered with `INVALID_RECORD`; Kafka never answers
//! and leaves the connection hanging. A partition that stands twice in a request is appended to twice
//! and answered twice; Kafka keeps the last batch and drops the others without a word.
//!
//! Not here: offsets and acknowledgement (`partition/append.rs`).

use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use corelog_net::connection::{Dispatched, Reply, Request, Response};
use corelog_net::wire::produce::{PartitionAnswer, ProduceResponseWriter, ProduceView};
use corelog_net::wire::{EncodeError, ErrorCode, Uuid};
use corelog_storage::batch::{
    self, Batch, BatchError, BatchRules, Codec, Compression, InflateError, Inspect, Transcoder,
};
use corelog_storage::log::Origin;
use corelog_storage::types::{Timestamp, TopicId, TopicPartition};
use smallvec::SmallVec;

use crate::config::TopicConfig;
use crate::gate::Admitted;
use crate::handlers::transactions::{Support, Wanted, is_unchecked, vouch};
use crate::handlers::{Turn, error_code};
use crate::mesh;
use crate::metadata::TopicImage;
use crate::partition;
use crate::partition::append::{Acks, Admission, AppendCall, AppendPart, Appended, PendingAppend};
use crate::shard::Shard;
use crate::shard::verify::Unverified;

/// What ApiVersions says; see the module's notes on v0–2.
pub(crate) const VERSIONS: RangeInclusive<i16> = 0..=13;

/// Where the answer for a partition of the request comes from.
enum Slot {
    /// Refused on this shard.
    Refused(Box<Appended>),
    /// Position in the answer of a shard.
    Asked { call: usize, part: usize },
}

/// The parts for one shard and, once it answered, their answers.
struct Call {
    shard: usize,
    parts: Vec<AppendPart>,
}

enum Running {
    Here(PendingAppend),
    There(mesh::Pending),
}

/// Appends everything that can be appended; the reply waits for acknowledgement.
// HOT: no copy of records; allocations: slots, one Vec per owning shard, the boxed reply
pub(crate) async fn dispatch(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    _admitted: Admitted,
    request: Request,
) -> Dispatched {
    let timing = shard.metrics.time(&request);
    // Several produces of a connection may be under way at once: their offsets are given out in
    // order before this returns. Anything else before this one must be done.
    turn.idle().await;
    let producing = turn.produce();
    let version = request.header.api_version;
    let Ok(view) = ProduceView::parse(request.body.clone(), version) else {
        return Dispatched::Now(Reply::Close("a request that cannot be read"));
    };
    let acks = match view.acks() {
        0 => Ok(Acks::None),
        1 => Ok(Acks::Leader),
        -1 => Ok(Acks::All),
        _ => Err(ErrorCode::InvalidRequiredAcks),
    };
    let now = Timestamp(corelog_runtime::wall_clock());
    let image = shard.image();
    let mut slots: SmallVec<[Slot; 2]> = SmallVec::with_capacity(view.partition_count());
    let mut calls: SmallVec<[Call; 2]> = SmallVec::new();
    let mut in_transaction = false;
    for topic in view.topics() {
        let known = if version >= 13 {
            image
                .topic_by_id(topic.topic_id)
                .ok_or(ErrorCode::UnknownTopicId)
        } else {
            image
                .topic(topic.name)
                .ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        // Only coordinators write to internal topics.
        let known = known.and_then(|known| {
            if known.is_internal() {
                Err(ErrorCode::InvalidTopicException)
            } else {
                Ok(known)
            }
        });
        let ready = acks.and(known).map(|known| {
            let config = shard.topic_config(known);
            (
                TopicId(known.id.0),
                known.partition_count(),
                (rules(&config, version), config.compression.target()),
            )
        });
        for part in topic.partitions {
            let batch = ready
                .as_ref()
                .map_err(|error| *error)
                .and_then(|(id, count, rules)| {
                    if (0..*count).contains(&part.index) {
                        Ok((*id, rules))
                    } else {
                        Err(ErrorCode::UnknownTopicOrPartition)
                    }
                });
            let (topic_id, (rules, codec)) = match batch {
                Ok(ready) => ready,
                Err(error) => {
                    shard.metrics.traffic.failed_produces.add(1);
                    slots.push(Slot::Refused(Box::new(Appended::refused(error, -1))));
                    continue;
                }
            };
            let records = part.records().unwrap_or_default();
            let checked = match codec {
                Some(to) if batch::transcodes(&records, to.codec) => {
                    Box::pin(transcode(shard, records, *rules, *to, now)).await
                }
                _ => batch::validate(records, rules, now),
            };
            let batch = checked.map_err(|error| {
                count_refusal(shard, &error);
                refusal(&error, known.ok().map(AsRef::as_ref), part.index)
            });
            in_transaction |= batch
                .as_ref()
                .is_ok_and(|batch| batch.header().attributes.is_transactional());
            match batch {
                Err((At::Door, refused)) => {
                    shard.metrics.traffic.failed_produces.add(1);
                    slots.push(Slot::Refused(refused));
                }
                batch => {
                    let batch = batch.map_err(|(_, refused)| refused);
                    let owner = partition::owner(topic_id, part.index, shard.shards);
                    let call = calls.iter().position(|call| call.shard == owner);
                    let call = call.unwrap_or_else(|| {
                        calls.push(Call {
                            shard: owner,
                            parts: Vec::new(),
                        });
                        calls.len() - 1
                    });
                    slots.push(Slot::Asked {
                        call,
                        part: calls[call].parts.len(),
                    });
                    calls[call].parts.push(AppendPart {
                        topic_id,
                        partition: part.index,
                        batch,
                        admission: Admission::Plain,
                    });
                }
            }
        }
    }
    if in_transaction {
        admit_transaction(shard, &view, &mut slots, &mut calls).await;
    }
    let acks = acks.unwrap_or(Acks::None);
    let silent = view.acks() == 0;
    let mut running: SmallVec<[Running; 2]> = SmallVec::with_capacity(calls.len());
    for call in calls {
        let append = AppendCall {
            acks,
            origin: Origin::Client,
            parts: call.parts,
        };
        running.push(if call.shard == shard.index {
            Running::Here(shard.append(append))
        } else {
            Running::There(
                shard
                    .mesh
                    .start(call.shard, mesh::Request::Append(append))
                    .await,
            )
        });
    }
    Dispatched::Later(Box::pin(async move {
        let _guards = (producing, timing);
        let mut answers: SmallVec<[Vec<Appended>; 2]> = SmallVec::new();
        for one in running {
            answers.push(match one {
                Running::Here(pending) => pending.acknowledged().await,
                Running::There(pending) => match pending.reply().await {
                    mesh::Reply::Appended(answers) => answers,
                    _ => Vec::new(),
                },
            });
        }
        let gone = Appended::refused(ErrorCode::NotLeaderOrFollower, -1);
        let mut outcomes = slots.iter().map(|slot| match slot {
            Slot::Refused(appended) => appended,
            Slot::Asked { call, part } => answers[*call].get(*part).unwrap_or(&gone),
        });
        if silent {
            // The only way to tell a client that does not listen.
            return if outcomes.all(|one| one.error == ErrorCode::None) {
                Reply::Nothing
            } else {
                Reply::Close("a produce with acks=0 failed")
            };
        }
        match response(&request, &view, outcomes) {
            Ok(response) => Reply::Response(response),
            Err(error) => {
                tracing::error!("a produce response cannot be encoded: {error}");
                Reply::Close("an answer that cannot be encoded")
            }
        }
    }))
}

/// Finds out what a transactional request may write: its coordinator vouches for partitions where its transaction is not
/// open yet. What it may not is refused here.
#[cold]
async fn admit_transaction(
    shard: &Rc<Shard>,
    view: &ProduceView,
    slots: &mut [Slot],
    calls: &mut [Call],
) {
    let refuse_all = |slots: &mut [Slot], calls: &mut [Call], error| {
        slots.fill_with(|| Slot::Refused(Box::new(Appended::refused(error, -1))));
        for call in calls {
            call.parts.clear();
        }
    };
    let Some(transactional_id) = view.transactional_id() else {
        let error = ErrorCode::TransactionalIdAuthorizationFailed;
        return refuse_all(slots, calls, error);
    };
    let support = match view.version() {
        ..=10 => Support::Plain,
        11 => Support::Abortable,
        _ => Support::Adding,
    };
    let image = shard.image();
    let (mut wanted, mut places) = (Vec::new(), Vec::new());
    for (call, one) in calls.iter().enumerate() {
        for (part, one) in one.parts.iter().enumerate() {
            let Ok(header) = one.batch.as_ref().map(Batch::header) else {
                continue;
            };
            if !header.attributes.is_transactional() || !header.has_producer() {
                continue;
            }
            let Some(topic) = image.topic_by_id(Uuid(one.topic_id.0)) else {
                continue;
            };
            places.push((call, part));
            wanted.push(Wanted {
                topic: Arc::clone(&topic.name),
                question: Unverified {
                    topic_id: one.topic_id,
                    partition: one.partition,
                    producer_id: header.producer_id,
                    producer_epoch: header.producer_epoch,
                    sequence: header.base_sequence,
                    version: support.version().of_storage(),
                },
            });
        }
    }
    let producer = |one: &Wanted| (one.question.producer_id, one.question.producer_epoch);
    if wanted
        .iter()
        .any(|one| producer(one) != producer(&wanted[0]))
    {
        return refuse_all(slots, calls, ErrorCode::InvalidProducerIdMapping);
    }
    if wanted.is_empty() || is_unchecked(shard, support) {
        return;
    }
    let verdicts = vouch(shard, transactional_id, support, &wanted).await;
    for ((call, part), verdict) in places.into_iter().zip(verdicts) {
        match verdict {
            Ok(guard) => calls[call].parts[part].admission = Admission::InTransaction(guard),
            Err(error) => {
                let refused = Box::new(Appended::refused(error, -1));
                let asked = |slot: &&mut Slot| matches!(slot, Slot::Asked { call: c, part: p } if (*c, *p) == (call, part));
                // The part stays in its place, so that the others find their answers.
                calls[call].parts[part].batch = Err(refused.clone());
                if let Some(slot) = slots.iter_mut().find(asked) {
                    *slot = Slot::Refused(refused);
                }
            }
        }
    }
}

/// Where Kafka finds that a batch is bad: before it looks at the log, or with the log in hand. The
/// answer then tells the log's start.
#[derive(Clone, Copy)]
enum At {
    Door,
    Log,
}

/// Kafka counts these kinds one by one.
#[cold]
fn count_refusal(shard: &Shard, error: &BatchError) {
    let refusals = &shard.metrics.refusals;
    match error {
        BatchError::TooLarge { size, .. } => refusals.too_large_bytes.add(*size as u64),
        BatchError::Magic { .. } | BatchError::OldMagic { .. } => refusals.magic.add(1),
        BatchError::Crc { .. } => refusals.crc.add(1),
        BatchError::BaseOffset(_)
        | BatchError::HeaderDisagrees { .. }
        | BatchError::NoSequence(_) => refusals.offsets.add(1),
        BatchError::Missing
        | BatchError::LengthBelowMinimum { .. }
        | BatchError::BelowHeader { .. }
        | BatchError::MoreThanOne
        | BatchError::ZstdTooEarly
        | BatchError::UnknownCodec(_)
        | BatchError::Control
        | BatchError::Inflate(_)
        | BatchError::Deflate(..)
        | BatchError::Record { .. }
        | BatchError::Records { .. } => {}
    }
}

#[cold]
fn refusal(error: &BatchError, topic: Option<&TopicImage>, partition: i32) -> (At, Box<Appended>) {
    let at = match error {
        BatchError::Missing
        | BatchError::LengthBelowMinimum { .. }
        | BatchError::Magic { .. }
        | BatchError::OldMagic { .. }
        | BatchError::BelowHeader { .. }
        | BatchError::MoreThanOne
        | BatchError::ZstdTooEarly
        | BatchError::TooLarge { .. }
        | BatchError::Crc { .. } => At::Door,
        BatchError::BaseOffset(_)
        | BatchError::UnknownCodec(_)
        | BatchError::HeaderDisagrees { .. }
        | BatchError::Control
        | BatchError::NoSequence(_)
        | BatchError::Inflate(_)
        | BatchError::Deflate(..)
        | BatchError::Record { .. }
        | BatchError::Records { .. } => At::Log,
    };
    let topic = topic
        .map(|topic| Arc::clone(&topic.name))
        .unwrap_or_default();
    let name = TopicPartition { topic, partition };
    (at, Box::new(error_code::batch(error, &name)))
}

/// What a topic and a request's version ask of a batch.
fn rules(topic: &TopicConfig, version: i16) -> BatchRules {
    // What producers compressed is not inflated here; see ARCHITECTURE.md, Decisions.
    BatchRules {
        inner: Inspect::Never,
        ..topic.batch_rules(version >= 7)
    }
}

/// Checks a batch and brings it into its topic's codec: small ones at once, the others on a thread
/// for brief jobs. The connection's next request is read only when this one is dispatched, so the
/// order of its effects stays.
#[cold]
async fn transcode(
    shard: &Rc<Shard>,
    records: Bytes,
    rules: BatchRules,
    to: Compression,
    now: Timestamp,
) -> Result<Batch, BatchError> {
    let inline_bytes_max = transcoded_inline_max(to);
    if records.len() <= inline_bytes_max {
        let here = BatchRules {
            inflated_bytes_max: inline_bytes_max.min(rules.inflated_bytes_max),
            ..rules
        };
        let done = shard
            .transcoder
            .borrow_mut()
            .validate(records.clone(), &here, to, now);
        match done {
            // It holds more than it looked: not here.
            Err(BatchError::Inflate(InflateError::TooLarge { .. })) => {}
            done => return done,
        }
    }
    // One at a time: they are all work for this one core, and what they inflate is held in memory.
    let _turn = shard.transcoding.acquire().await;
    corelog_runtime::blocking_brief("transcode", move || {
        Transcoder::new().validate(records, &rules, to, now)
    })
    .await
}

/// Bytes of records that are compressed between two requests: about half a millisecond of work.
fn transcoded_inline_max(to: Compression) -> usize {
    let slow = match to.codec {
        Codec::None | Codec::Snappy => false,
        Codec::Gzip => to.level.is_some_and(|level| level > 6),
        Codec::Lz4 => to.level.is_some_and(|level| level > 9),
        Codec::Zstd => to.level.is_some_and(|level| level > 6),
    };
    if slow { 2 << 10 } else { 16 << 10 }
}

fn response<'a>(
    request: &Request,
    view: &ProduceView,
    mut outcomes: impl Iterator<Item = &'a Appended>,
) -> Result<Response, EncodeError> {
    let mut frame = Response::writer(&request.header, 32 + 48 * view.partition_count());
    let mut writer = ProduceResponseWriter::new(
        frame.buffer(),
        request.header.api_version,
        view.topic_count(),
    )?;
    for topic in view.topics() {
        writer.topic(topic.name, topic.topic_id, topic.partitions.len())?;
        for part in topic.partitions {
            let one = outcomes.next().expect("an outcome for every partition");
            writer.partition(&PartitionAnswer {
                base_offset: one.base_offset,
                log_append_time_ms: one.log_append_time_ms,
                log_start_offset: one.log_start_offset,
                record_errors: &one.record_errors,
                error_message: one.message.as_deref(),
                ..PartitionAnswer::error(part.index, one.error)
            })?;
        }
    }
    writer.finish(0, &[])?;
    Ok(frame
        .finish()
        .expect("a produce response is far below 2 GiB"))
}
