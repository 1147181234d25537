//! **Owns** fetching from one broker: one request at a time, for all partitions that it leads and that have room.
//! **Lives on** the client's thread, a task per broker.
//! **Invariants** (1) A partition's position moves to the end of what came, before the next request is written; what
//! came for an older generation is dropped.
//! **Not here** sessions (KIP-227): every request is a full one.

use std::collections::BTreeMap;
use std::rc::Rc;

use corelog_net::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData,
};
use corelog_net::wire::{ApiKey, Encoder, ErrorCode, Message, Uuid};
use corelog_runtime::{Instant, now, sleep, timeout_at};
use corelog_storage::batch::{Header, frame_size};

use super::{Chunk, ConsumeError, Inner, Isolation, Reset, State, wants_metadata};
use crate::client::error::code_of;
use crate::client::{ApiError, CallError, Connection};

/// Fetches until it is dropped.
pub(super) async fn fetch_from(inner: Rc<Inner>, node: i32) {
    let mut connection: Option<Rc<Connection>> = None;
    loop {
        let woken = inner.hungry.notified();
        let plan = plan(&inner, node);
        if plan.is_empty() {
            match next_retry(&inner, node) {
                Some(at) => {
                    let _ = timeout_at(at, woken).await;
                }
                None => woken.await,
            }
            continue;
        }
        let link = match &connection {
            Some(link) if !link.is_closed() => Ok(Rc::clone(link)),
            _ => inner.client.dial_node(node).await,
        };
        let fetched = match link {
            Ok(link) => {
                connection = Some(Rc::clone(&link));
                fetch(&inner, &link, &plan).await
            }
            Err(error) => Err(error),
        };
        match fetched {
            Ok(response) => settle(&inner, node, &plan, response),
            Err(error) => {
                connection = None;
                if !error.is_retriable() {
                    inner.fail(ApiError::from(error).into());
                }
                lose_leader(&inner, node);
                sleep(inner.client.config().retry_backoff).await;
                // If nobody answers, the finder tries again.
                let _ = inner.client.refresh().await;
                inner.hungry.notify_all();
            }
        }
    }
}

fn next_retry(inner: &Inner, node: i32) -> Option<Instant> {
    let state = inner.state.borrow();
    state
        .partitions
        .iter()
        .filter(|partition| partition.leader == Some(node))
        .filter_map(|partition| partition.retry_at)
        .min()
}

struct Wanted {
    slot: usize,
    topic: Rc<str>,
    id: Uuid,
    number: i32,
    epoch: i32,
    position: i64,
    generation: u64,
}

fn plan(inner: &Inner, node: i32) -> Vec<Wanted> {
    let state = inner.state.borrow();
    if state.buffered >= inner.config.buffered_bytes_max {
        return Vec::new();
    }
    let at = now();
    let metadata = inner.client.metadata();
    let room = usize::try_from(inner.config.partition_bytes_max).unwrap_or(usize::MAX);
    let mut wanted = Vec::new();
    for (slot, partition) in state.partitions.iter().enumerate() {
        if partition.leader != Some(node)
            || partition.buffered > room
            || partition.retry_at.is_some_and(|retry_at| retry_at > at)
        {
            continue;
        }
        let Some(position) = partition.position else {
            continue;
        };
        wanted.push(Wanted {
            slot,
            topic: Rc::clone(&partition.topic),
            id: metadata
                .topic(&partition.topic)
                .map_or(Uuid::ZERO, |topic| topic.id),
            number: partition.number,
            epoch: metadata
                .leader(&partition.topic, partition.number)
                .map_or(-1, |(_, epoch)| epoch),
            position,
            generation: partition.generation,
        });
    }
    wanted
}

async fn fetch(
    inner: &Inner,
    connection: &Connection,
    plan: &[Wanted],
) -> Result<FetchResponse, CallError> {
    let config = &inner.config;
    let newest = if plan.iter().all(|wanted| !wanted.id.is_zero()) {
        *FetchRequest::VALID_VERSIONS.end()
    } else {
        LAST_VERSION_WITH_NAMES
    };
    let version = connection.best(
        ApiKey::Fetch,
        *FetchRequest::VALID_VERSIONS.start()..=newest,
    )?;
    let mut topics: BTreeMap<&str, FetchTopic> = BTreeMap::new();
    for wanted in plan {
        let topic = topics.entry(&wanted.topic).or_insert_with(|| FetchTopic {
            topic: wanted.topic.to_string(),
            topic_id: wanted.id,
            ..FetchTopic::default()
        });
        topic.partitions.push(FetchPartition {
            partition: wanted.number,
            current_leader_epoch: wanted.epoch,
            fetch_offset: wanted.position,
            partition_max_bytes: config.partition_bytes_max,
            ..FetchPartition::default()
        });
    }
    let request = FetchRequest {
        max_wait_ms: i32::try_from(config.fetch_wait_max.as_millis()).unwrap_or(i32::MAX),
        min_bytes: config.fetch_bytes_min,
        max_bytes: config.fetch_bytes_max,
        isolation_level: config.isolation as i8,
        session_id: 0,
        session_epoch: -1,
        topics: topics
            .into_values()
            .map(|mut topic| {
                // A field that a version does not have must not be set.
                if version > LAST_VERSION_WITH_NAMES {
                    topic.topic = String::new();
                } else {
                    topic.topic_id = Uuid::ZERO;
                }
                topic
            })
            .collect(),
        ..FetchRequest::default()
    };
    let mut frame = connection.request(ApiKey::Fetch, version, REQUEST_SIZE_GUESS);
    request
        .encode(&mut Encoder::new(frame.buffer()), version)
        .map_err(|error| CallError::Wire(error.into()))?;
    let begun = now();
    let pending = connection.send(frame)?;
    let limit = begun + inner.client.config().request_timeout + config.fetch_wait_max;
    let Some(body) = timeout_at(limit, pending).await else {
        connection.close();
        return Err(CallError::Wire(
            corelog_net::client::ClientError::TimedOut {
                api_key: ApiKey::Fetch,
                after: limit.duration_since(begun),
            },
        ));
    };
    let body = body?;
    {
        let mut state = inner.state.borrow_mut();
        state.fetches += 1;
        state.fetch_wait += now().duration_since(begun);
    }
    Connection::decode(ApiKey::Fetch, &body, version)
}

/// Moves positions on and puts what came in the readers' queue.
fn settle(inner: &Rc<Inner>, node: i32, plan: &[Wanted], response: FetchResponse) {
    let code = code_of(response.error_code);
    if code != ErrorCode::None {
        if !code.is_retriable() && !wants_metadata(code) {
            inner.fail(ApiError::code(code).into());
        }
        lose_leader(inner, node);
        return;
    }
    let mut failure = None;
    let mut lost = false;
    {
        let mut state = inner.state.borrow_mut();
        let state = &mut *state;
        let mut expected = plan.iter();
        for topic in response.responses {
            for data in topic.partitions {
                let is_this = |wanted: &&Wanted| {
                    wanted.number == data.partition_index
                        && if topic.topic_id.is_zero() {
                            *wanted.topic == *topic.topic
                        } else {
                            wanted.id == topic.topic_id
                        }
                };
                // Answers usually come in the order of the questions.
                let wanted = match expected.next() {
                    Some(wanted) if is_this(&wanted) => Some(wanted),
                    _ => plan.iter().find(is_this),
                };
                let Some(wanted) = wanted else { continue };
                match take(inner, state, wanted, data) {
                    Taken::Fine => {}
                    Taken::Lost => lost = true,
                    Taken::Failed(error) => failure = Some(error),
                }
            }
        }
        if lost {
            Inner::wake(inner, state);
        }
    }
    if let Some(error) = failure {
        inner.fail(error);
    }
    inner.arrived.notify_all();
}

/// Kafka's sentence names all that its client knows of the place.
fn out_of_range(inner: &Inner, wanted: &Wanted, consumed_epoch: i32) -> ConsumeError {
    let metadata = inner.client.metadata();
    let known = metadata.leader(&wanted.topic, wanted.number);
    let leader = known.and_then(|(leader, _)| metadata.broker(leader));
    let leader = leader.map_or("Optional.empty".to_owned(), |broker| {
        let rack = broker.rack.as_deref().unwrap_or("null");
        format!(
            "Optional[{}:{} (id: {} rack: {rack} isFenced: false)]",
            broker.host, broker.port, broker.id
        )
    });
    let epoch = match known {
        Some((_, epoch)) if epoch >= 0 => epoch.to_string(),
        _ => "absent".to_owned(),
    };
    ConsumeError::OutOfRange {
        topic: Rc::clone(&wanted.topic),
        partition: wanted.number,
        offset: wanted.position,
        epoch: if consumed_epoch < 0 {
            "Optional.empty".to_owned()
        } else {
            format!("Optional[{consumed_epoch}]")
        },
        leader: format!("LeaderAndEpoch{{leader={leader}, epoch={epoch}}}"),
    }
}

enum Taken {
    Fine,
    /// The finder has work.
    Lost,
    Failed(ConsumeError),
}

fn take(inner: &Inner, state: &mut State, wanted: &Wanted, data: PartitionData) -> Taken {
    let Some(partition) = state.partitions.get_mut(wanted.slot) else {
        return Taken::Fine;
    };
    if partition.generation != wanted.generation {
        return Taken::Fine;
    }
    let code = code_of(data.error_code);
    if code == ErrorCode::OffsetOutOfRange {
        if inner.config.reset == Reset::Fail {
            partition.retry_at = Some(Instant::MAX);
            return Taken::Failed(out_of_range(inner, wanted, partition.consumed_epoch));
        }
        partition.position = None;
        partition.start = inner.config.reset.start();
        return Taken::Lost;
    }
    if code != ErrorCode::None {
        let backoff = inner.client.config().retry_backoff;
        partition.retry_at = Some(now() + backoff);
        if wants_metadata(code) {
            partition.leader = None;
            inner.client.forget_leader(&wanted.topic);
            return Taken::Lost;
        }
        if code.is_retriable() {
            return Taken::Lost;
        }
        partition.retry_at = Some(Instant::MAX);
        return Taken::Failed(ConsumeError::Partition {
            topic: Rc::clone(&wanted.topic),
            partition: wanted.number,
            error: ApiError::code(code),
        });
    }
    partition.retry_at = None;
    partition.high_watermark = match inner.config.isolation {
        Isolation::ReadUncommitted => data.high_watermark,
        Isolation::ReadCommitted => data.last_stable_offset,
    };
    let records = data.records.unwrap_or_default();
    if records.is_empty() {
        return Taken::Fine;
    }
    let Some(next) = end_of(&records) else {
        return Taken::Failed(ConsumeError::Partition {
            topic: Rc::clone(&wanted.topic),
            partition: wanted.number,
            error: ApiError::code(ErrorCode::CorruptMessage),
        });
    };
    let chunk = Chunk {
        topic: Rc::clone(&wanted.topic),
        partition: wanted.number,
        high_watermark: data.high_watermark,
        from: wanted.position,
        next: next.max(wanted.position),
        records,
        check_crcs: inner.config.check_crcs,
        committed_only: inner.config.isolation == Isolation::ReadCommitted,
        aborted: data.aborted_transactions.unwrap_or_default(),
        inflated_bytes_max: inner.config.inflated_bytes_max,
    };
    partition.position = Some(chunk.next);
    partition.buffered += chunk.size();
    state.buffered += chunk.size();
    state
        .chunks
        .push_back((wanted.slot, wanted.generation, chunk));
    Taken::Fine
}

/// The offset after the last whole batch; none when there is no whole batch.
fn end_of(records: &[u8]) -> Option<i64> {
    let mut rest = records;
    let mut end = None;
    while let Ok(Some(size)) = frame_size(rest) {
        let Some((batch, after)) = rest.split_at_checked(size) else {
            break;
        };
        end = Some(Header::parse(batch)?.next_offset().0);
        rest = after;
    }
    end
}

/// The broker does not answer: its partitions look for a leader again.
fn lose_leader(inner: &Rc<Inner>, node: i32) {
    let mut state = inner.state.borrow_mut();
    let state = &mut *state;
    let retry_at = Some(now() + inner.client.config().retry_backoff);
    for partition in &mut state.partitions {
        if partition.leader == Some(node) {
            partition.leader = None;
            partition.retry_at = retry_at;
            inner.client.forget_leader(&partition.topic);
        }
    }
    Inner::wake(inner, state);
}

/// Later ones name topics by id.
const LAST_VERSION_WITH_NAMES: i16 = 12;
const REQUEST_SIZE_GUESS: usize = 512;
