//! What the handlers of transaction APIs share: asking the right coordinator, and having it vouch for what producers
//! write.
//!
//! Owns: the way from a transactional id to its coordinator; the word of the coordinator before a partition's first
//! batch of a transaction (KIP-890).
//! Lives on: the connection's shard.
//! Invariants:
//! 1. The coordinator is asked before anything is sent to a partition, and not again while the transaction is open there.
//!
//! Not here: coordination (`txn.rs`), the log's own check (`corelog_storage::producer`).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_storage::producer::{Guard, Standing};
use corelog_storage::types::{TopicId, TopicPartition};

use crate::handlers::error_code;
use crate::mesh;
use crate::partition::owner;
use crate::shard::Shard;
use crate::shard::verify::Unverified;
use crate::txn::{self, AddPartitions, Reply, Request, TRANSACTION_TOPIC, TxnError, Version};

/// Asks the coordinator of the request's transactional id.
pub(crate) async fn ask(shard: &Rc<Shard>, request: Request) -> Reply {
    let image = shard.image();
    let (Some(topic), Some(id)) = (image.topic(TRANSACTION_TOPIC), request.transactional_id())
    else {
        return request.refuse(TxnError::NotCoordinator);
    };
    let partition = txn::partition_for(id, topic.partition_count());
    let refused = request.refuse(TxnError::NotCoordinator);
    ask_at(shard, TopicId(topic.id.0), partition, request)
        .await
        .unwrap_or(refused)
}

/// Asks every coordinator of this broker.
pub(crate) async fn ask_all(
    shard: &Rc<Shard>,
    request: impl Fn() -> Request,
) -> Vec<Option<Reply>> {
    let image = shard.image();
    let Some(topic) = image.topic(TRANSACTION_TOPIC) else {
        return Vec::new();
    };
    let mut replies = Vec::new();
    for partition in 0..topic.partition_count() {
        replies.push(ask_at(shard, TopicId(topic.id.0), partition, request()).await);
    }
    replies
}

async fn ask_at(
    shard: &Rc<Shard>,
    topic_id: TopicId,
    partition: i32,
    request: Request,
) -> Option<Reply> {
    let owner = owner(topic_id, partition, shard.shards);
    let request = mesh::Request::Txn {
        partition,
        request: Box::new(request),
    };
    match shard.call(owner, request).await {
        mesh::Reply::Txn(reply) => Some(*reply),
        _ => None,
    }
}

/// The code of a refusal. `Old`: a version that knows `PRODUCER_FENCED` under another name.
pub(crate) fn code(error: TxnError, fencing: Fencing) -> ErrorCode {
    match (error, fencing) {
        (TxnError::Fenced, Fencing::Old) => ErrorCode::InvalidProducerEpoch,
        (error, _) => error_code::txn(error),
    }
}

/// How a version names the fate of a replaced producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fencing {
    /// `INVALID_PRODUCER_EPOCH`, fatal.
    Old,
    /// `PRODUCER_FENCED`.
    Current,
}

impl Fencing {
    /// Of an API whose version `since` brought the change (KIP-588).
    pub(crate) fn of(version: i16, since: i16) -> Self {
        if version >= since {
            Self::Current
        } else {
            Self::Old
        }
    }
}

/// What the version of a request says about its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// It adds partitions by request, and takes `INVALID_TXN_STATE` for a missing one.
    Plain,
    /// It adds partitions by request, and knows `TRANSACTION_ABORTABLE`.
    Abortable,
    /// What it writes to is added on the way.
    Adding,
}

impl Support {
    /// The rules of its transactions.
    pub(crate) fn version(self) -> Version {
        match self {
            Self::Plain | Self::Abortable => Version::One,
            Self::Adding => Version::Two,
        }
    }
}

/// A partition that a producer wants to write to.
pub(crate) struct Wanted {
    pub(crate) topic: Arc<str>,
    pub(crate) question: Unverified,
}

/// Whether producers may write what no coordinator vouched for: the setting
/// `transaction.partition.verification.enable`, off. What adds partitions is always asked for.
pub(crate) fn is_unchecked(shard: &Shard, support: Support) -> bool {
    let checks = shard.live_config().transaction.verify_partitions;
    support != Support::Adding && !checks
}

/// Has the coordinator vouch for one producer's wish to write to these partitions, where its transaction is not open
/// yet; the verdicts in the same order. All name the same producer and epoch.
pub(crate) async fn vouch(
    shard: &Rc<Shard>,
    transactional_id: &str,
    support: Support,
    wanted: &[Wanted],
) -> Vec<Result<Guard, ErrorCode>> {
    let standings = standings(shard, wanted).await;
    let is_new = |at: &usize| matches!(standings[*at], Some(Standing::Unverified(_)));
    let new: Vec<usize> = (0..wanted.len()).filter(is_new).collect();
    let mut verdicts: Vec<_> = standings
        .iter()
        .map(|standing| match standing {
            // Where there is no such partition, the append will say so.
            None | Some(Standing::Ongoing) => Ok(Guard::NONE),
            Some(Standing::Unverified(guard)) => Ok(*guard),
        })
        .collect();
    let Some(first) = new.first() else {
        return verdicts;
    };
    let producer = &wanted[*first].question;
    let request = AddPartitions {
        transactional_id: transactional_id.to_owned(),
        producer_id: producer.producer_id.0,
        producer_epoch: producer.producer_epoch.0,
        partitions: new
            .iter()
            .map(|&at| TopicPartition {
                topic: Arc::clone(&wanted[at].topic),
                partition: wanted[at].question.partition,
            })
            .collect(),
        version: support.version(),
    };
    let said = word(shard, support, request).await;
    for (nth, at) in new.into_iter().enumerate() {
        let refusal = match &said {
            Err(error) => Some(*error),
            Ok(known) if known.get(nth) != Some(&true) => Some(match support {
                Support::Plain => ErrorCode::InvalidTxnState,
                Support::Abortable | Support::Adding => ErrorCode::TransactionAbortable,
            }),
            Ok(_) => None,
        };
        if let Some(error) = refusal {
            verdicts[at] = Err(error);
        }
    }
    verdicts
}

/// Where the producers stand with the partitions, from their shards.
async fn standings(shard: &Rc<Shard>, wanted: &[Wanted]) -> Vec<Option<Standing>> {
    let mut calls: Vec<(usize, Vec<Unverified>)> = Vec::new();
    let mut places = Vec::with_capacity(wanted.len());
    for one in wanted {
        let question = one.question;
        let to = owner(question.topic_id, question.partition, shard.shards);
        let call = calls.iter().position(|(shard, _)| *shard == to);
        let call = call.unwrap_or_else(|| {
            calls.push((to, Vec::new()));
            calls.len() - 1
        });
        places.push((call, calls[call].1.len()));
        calls[call].1.push(question);
    }
    let mut pending = Vec::with_capacity(calls.len());
    for (to, questions) in calls {
        pending.push(shard.start_call(to, mesh::Request::Verify(questions)).await);
    }
    let mut answers = Vec::with_capacity(pending.len());
    for one in pending {
        answers.push(match one.reply().await {
            mesh::Reply::Standings(standings) => standings,
            _ => Vec::new(),
        });
    }
    let standing = |(call, part): (usize, usize)| answers[call].get(part).copied().flatten();
    places.into_iter().map(standing).collect()
}

/// What the coordinator says of each partition. One that is busy with the end of the transaction before is asked again
/// for a while: a producer that need not add partitions itself has nobody else who does.
async fn word(
    shard: &Rc<Shard>,
    support: Support,
    request: AddPartitions,
) -> Result<Vec<bool>, ErrorCode> {
    let config = &shard.config.transaction;
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let deadline = corelog_runtime::now() + millis(config.add_retry_ms_max);
    // The end takes a sync or two: it is looked for soon at first, then at the pace of the setting.
    let mut pause = RETRY_FIRST;
    loop {
        let asked = request.partitions.len();
        let said = match support {
            Support::Plain | Support::Abortable => {
                match ask(shard, Request::Verify(request.clone())).await {
                    Reply::Verify(said) => said,
                    _ => Err(TxnError::NotCoordinator),
                }
            }
            Support::Adding => match ask(shard, Request::Add(request.clone())).await {
                Reply::Add(said) => said.map(|()| vec![true; asked]),
                _ => Err(TxnError::NotCoordinator),
            },
        };
        match said {
            Err(TxnError::Concurrent)
                if support == Support::Adding && corelog_runtime::now() < deadline =>
            {
                corelog_runtime::sleep(pause).await;
                pause = (pause * 2).min(millis(config.add_retry_ms));
            }
            Ok(known) => return Ok(known),
            Err(error) => return Err(write_error(error, support)),
        }
    }
}

/// Before the coordinator is asked again for the first time.
const RETRY_FIRST: Duration = Duration::from_millis(1);

/// The coordinator's refusal as a writer understands it.
fn write_error(error: TxnError, support: Support) -> ErrorCode {
    match error {
        TxnError::Fenced => ErrorCode::InvalidProducerEpoch,
        // Old clients retry this one without asking for metadata first.
        TxnError::NotCoordinator
        | TxnError::NotAvailable
        | TxnError::LoadInProgress
        | TxnError::NoProducerId => ErrorCode::NotEnoughReplicas,
        TxnError::Concurrent if support != Support::Adding => ErrorCode::NotEnoughReplicas,
        TxnError::Concurrent
        | TxnError::InvalidRequest
        | TxnError::InvalidTimeout
        | TxnError::InvalidProducerIdMapping
        | TxnError::InvalidState
        | TxnError::NotFound => error_code::txn(error),
    }
}
