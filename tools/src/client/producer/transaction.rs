//! **Owns** transactions of a producer: its id and epoch, which partitions belong to the one that is open, and its end.
//! **Lives on** the client's thread.
//! **Invariants** (1) Nothing of a partition is sent before the coordinator knows that it belongs to the transaction: it was
//! told (before KIP-890), or the broker tells it with the first batch. (2) A transaction in which a batch failed can only be
//! aborted. (3) It ends when all of its batches are dealt with.
//! **Not here** offsets of consumers in transactions; whether a batch is sent again (`sender`).
//!
//! ```text
//! initialized ──begin──► open ──commit──► initialized
//!                          └─── abort ──► initialized
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnTopic,
};
use corelog_net::wire::messages::api_versions::ApiVersionsRequest;
use corelog_net::wire::messages::end_txn::EndTxnRequest;
use corelog_net::wire::messages::init_producer_id::InitProducerIdRequest;
use corelog_net::wire::{ErrorCode, Request};
use corelog_runtime::{now, sleep, spawn};
use corelog_storage::types::{ProducerEpoch, ProducerId};

use super::{Identity, Inner, ProduceError, Producer, State};
use crate::client::error::code_of;
use crate::client::{ApiError, Client, Coordinates};

/// A producer's transactional id. Names in brackets are Kafka's.
#[derive(Clone, Debug)]
pub struct Transactional {
    /// `transactional.id`.
    pub id: String,
    /// `transaction.timeout.ms`: after how long the coordinator aborts one that is open.
    pub timeout: Duration,
}

/// Why a transaction does not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactionError {
    /// A step that does not follow from the one before.
    #[error("the transaction cannot {0}")]
    Order(&'static str),
    /// The coordinator refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A record was not delivered.
    #[error("Cannot execute transactional method because we are in an error state: {0}")]
    Failed(#[source] ProduceError),
}

/// The transaction of a producer that has a transactional id.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Brokers add partitions with their first batch, and each transaction has an epoch of its own
    /// (`transaction.version` 2, KIP-890).
    implicit: bool,
    open: bool,
    /// Partitions (slots) that the coordinator knows of, or is about to.
    added: BTreeSet<usize>,
    /// Partitions that it must be told of before they are sent.
    waiting: BTreeSet<usize>,
    asking: bool,
    /// Why it can only be aborted.
    failed: Option<ProduceError>,
    /// Time spent beginning, committing and aborting.
    pub(super) spent: Spent,
}

/// Time spent in transactions' steps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) initializing: Duration,
    pub(super) committing: Duration,
    pub(super) aborting: Duration,
}

impl Transaction {
    /// The newest version of Produce in which its batches may be sent.
    pub(super) fn produce_newest(&self) -> i16 {
        if self.implicit {
            i16::MAX
        } else {
            LAST_PRODUCE_WITHOUT_ADDING
        }
    }

    /// Whether a partition's batch may be sent now; otherwise it comes back into its line when it may.
    pub(super) fn takes(&mut self, slot: usize) -> bool {
        if self.implicit {
            self.added.insert(slot);
        } else if !self.added.contains(&slot) {
            self.waiting.insert(slot);
            return false;
        }
        true
    }

    /// Whether records may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Notes that a batch was not delivered: the first one is the reason.
    pub(super) fn fail(&mut self, error: &ProduceError) {
        if self.open {
            self.failed.get_or_insert_with(|| error.clone());
        }
    }
}

impl Producer {
    /// Begins a transaction.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        let mut state = self.inner.state.borrow_mut();
        match &mut state.transaction {
            Some(transaction) if !transaction.open => {
                transaction.open = true;
                Ok(())
            }
            Some(_) => Err(TransactionError::Order("begin: one is open")),
            None => Err(TransactionError::Order(
                "begin: there is no transactional id",
            )),
        }
    }

    /// Waits until all of it is delivered, then commits. After an error it can be aborted.
    pub async fn commit_transaction(&self) -> Result<(), TransactionError> {
        let begun = now();
        self.is_open("commit: none is open")?;
        self.flush().await;
        self.end(true).await?;
        if let Some(transaction) = &mut self.inner.state.borrow_mut().transaction {
            transaction.spent.committing += now().duration_since(begun);
        }
        Ok(())
    }

    /// Takes back what was sent; what was not sent yet fails.
    pub async fn abort_transaction(&self) -> Result<(), TransactionError> {
        let begun = now();
        self.is_open("abort: none is open")?;
        if let Some(transaction) = &mut self.inner.state.borrow_mut().transaction {
            transaction.fail(&ProduceError::Aborted);
        }
        self.inner.give_up_unsent();
        self.flush().await;
        self.end(false).await?;
        if let Some(transaction) = &mut self.inner.state.borrow_mut().transaction {
            transaction.spent.aborting += now().duration_since(begun);
        }
        Ok(())
    }

    fn is_open(&self, otherwise: &'static str) -> Result<(), TransactionError> {
        let state = self.inner.state.borrow();
        if state.transaction.as_ref().is_some_and(|it| it.open) {
            Ok(())
        } else {
            Err(TransactionError::Order(otherwise))
        }
    }

    async fn end(&self, commit: bool) -> Result<(), TransactionError> {
        let (implicit, identity, is_empty) = {
            let state = self.inner.state.borrow();
            let Some(transaction) = &state.transaction else {
                return Err(TransactionError::Order("end: there is none"));
            };
            if commit && let Some(error) = &transaction.failed {
                return Err(TransactionError::Failed(error.clone()));
            }
            (
                transaction.implicit,
                state.identity.unwrap_or(Identity::NONE),
                transaction.added.is_empty(),
            )
        };
        let mut next = None;
        if !is_empty {
            let request = EndTxnRequest {
                transactional_id: self.inner.transactional_id().to_owned(),
                producer_id: identity.id.0,
                producer_epoch: identity.epoch.0,
                committed: commit,
                ..EndTxnRequest::default()
            };
            let newest = if implicit {
                i16::MAX
            } else {
                LAST_END_WITHOUT_EPOCH
            };
            let check = |response: &<EndTxnRequest as Request>::Response| {
                ApiError::check(response.error_code, None)
            };
            let response = coordinated(
                &self.inner.client,
                self.inner.transactional_id(),
                newest,
                &request,
                check,
            )
            .await?;
            if implicit && response.producer_id >= 0 {
                next = Some(Identity {
                    id: ProducerId(response.producer_id),
                    epoch: ProducerEpoch(response.producer_epoch),
                });
            }
        }
        let failed = {
            let mut state = self.inner.state.borrow_mut();
            let Some(transaction) = &mut state.transaction else {
                return Ok(());
            };
            transaction.open = false;
            transaction.added.clear();
            transaction.waiting.clear();
            transaction.failed.take()
        };
        if next.is_none() && failed.is_some() {
            // Batches that failed left a gap in the sequence: a new epoch begins it anew.
            let transactional = self.inner.config.transactional.as_ref();
            if let Some(transactional) = transactional {
                next = Some(initialize(&self.inner.client, transactional, identity).await?);
            }
        }
        if let Some(next) = next {
            self.inner.state.borrow_mut().become_anew(next);
        }
        Ok(())
    }
}

impl Inner {
    pub(super) fn transactional_id(&self) -> &str {
        let transactional = self.config.transactional.as_ref();
        transactional.map_or("", |it| it.id.as_str())
    }

    /// In a transaction that can only be aborted, fails what is not sent yet.
    pub(super) fn give_up_unsent(&self) {
        let (error, given_up) = {
            let mut state = self.state.borrow_mut();
            let failure = state.transaction.as_ref().and_then(|it| it.failed.clone());
            let Some(error) = failure else { return };
            let mut given_up = Vec::new();
            for slot in 0..state.partitions.len() {
                // A batch that cannot be built tells its own deliveries.
                let _ = state.seal(slot);
                let ready = state.partitions[slot].ready.drain(..);
                given_up.extend(ready.map(|sealed| (slot, sealed)));
            }
            (error, given_up)
        };
        for (slot, sealed) in given_up {
            self.finish(slot, &sealed, Err(error.clone()));
        }
    }
}

impl State {
    /// Goes on under another id or epoch, whose sequences begin at 0.
    pub(super) fn become_anew(&mut self, identity: Identity) {
        self.identity = Some(identity);
        self.identity_lost = false;
        for partition in &mut self.partitions {
            partition.begin_sequence();
        }
    }
}

/// Tells the coordinator of partitions that wait for it; called by the pump.
pub(super) fn add_partitions(inner: &Rc<Inner>) {
    let mut state = inner.state.borrow_mut();
    let state = &mut *state;
    let Some(transaction) = &mut state.transaction else {
        return;
    };
    if transaction.waiting.is_empty() || transaction.asking || transaction.failed.is_some() {
        return;
    }
    transaction.asking = true;
    let slots = std::mem::take(&mut transaction.waiting);
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for slot in &slots {
        let partition = &state.partitions[*slot];
        let numbers = topics.entry(partition.topic.to_string()).or_default();
        numbers.push(partition.number);
    }
    let identity = state.identity.unwrap_or(Identity::NONE);
    let request = AddPartitionsToTxnRequest {
        v3_and_below_transactional_id: inner.transactional_id().to_owned(),
        v3_and_below_producer_id: identity.id.0,
        v3_and_below_producer_epoch: identity.epoch.0,
        v3_and_below_topics: topics
            .into_iter()
            .map(|(name, partitions)| AddPartitionsToTxnTopic {
                name,
                partitions,
                ..AddPartitionsToTxnTopic::default()
            })
            .collect(),
        ..AddPartitionsToTxnRequest::default()
    };
    let inner = Rc::clone(inner);
    spawn("producer.transaction", async move {
        let check = |response: &<AddPartitionsToTxnRequest as Request>::Response| {
            let topics = response.results_by_topic_v3_and_below.iter();
            let mut codes = topics
                .flat_map(|topic| &topic.results_by_partition)
                .map(|partition| partition.partition_error_code)
                // Those beside the one at fault.
                .filter(|code| code_of(*code) != ErrorCode::OperationNotAttempted);
            let first = codes.find(|code| *code != 0).unwrap_or(0);
            ApiError::check(first, None)
        };
        let answer = coordinated(
            &inner.client,
            inner.transactional_id(),
            LAST_ADD_OF_CLIENTS,
            &request,
            check,
        )
        .await;
        {
            let mut state = inner.state.borrow_mut();
            let state = &mut *state;
            if let Some(transaction) = &mut state.transaction {
                transaction.asking = false;
                match answer {
                    Ok(_) => transaction.added.extend(slots.iter().copied()),
                    Err(error) => transaction.fail(&error.into()),
                }
            }
            for slot in slots {
                state.line_up(slot);
            }
        }
        inner.wake.notify_one();
    })
    .detach();
}

/// Gets an id and epoch for a transactional id, which ends what an earlier producer of it has left open; and says how
/// transactions go in this cluster.
pub(super) async fn begin(
    client: &Rc<Client>,
    transactional: &Transactional,
) -> Result<(Identity, Transaction), ApiError> {
    let begun = now();
    let request = ApiVersionsRequest {
        client_software_name: "corelog".to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..ApiVersionsRequest::default()
    };
    let versions = client.call_any(&request).await?;
    let implicit = versions
        .finalized_features
        .iter()
        .any(|feature| feature.name == FEATURE && feature.max_version_level >= IMPLICIT_SINCE);
    let identity = initialize(client, transactional, Identity::NONE).await?;
    let transaction = Transaction {
        implicit,
        open: false,
        added: BTreeSet::new(),
        waiting: BTreeSet::new(),
        asking: false,
        failed: None,
        spent: Spent {
            initializing: now().duration_since(begun),
            ..Spent::default()
        },
    };
    Ok((identity, transaction))
}

async fn initialize(
    client: &Rc<Client>,
    transactional: &Transactional,
    before: Identity,
) -> Result<Identity, ApiError> {
    let request = InitProducerIdRequest {
        transactional_id: Some(transactional.id.clone()),
        transaction_timeout_ms: i32::try_from(transactional.timeout.as_millis())
            .unwrap_or(i32::MAX),
        producer_id: before.id.0,
        producer_epoch: before.epoch.0,
        ..InitProducerIdRequest::default()
    };
    let check = |response: &<InitProducerIdRequest as Request>::Response| {
        ApiError::check(response.error_code, None)
    };
    let response = coordinated(client, &transactional.id, i16::MAX, &request, check).await?;
    Ok(Identity {
        id: ProducerId(response.producer_id),
        epoch: ProducerEpoch(response.producer_epoch),
    })
}

/// Asks the coordinator of a transactional id, in a version not above `newest`, until it does not ask for patience.
async fn coordinated<R: Request>(
    client: &Rc<Client>,
    id: &str,
    newest: i16,
    request: &R,
    check: impl Fn(&R::Response) -> Result<(), ApiError>,
) -> Result<R::Response, ApiError> {
    let until = now() + client.config().api_timeout;
    loop {
        let node = client.coordinator(Coordinates::Transaction, id).await?;
        let answer = match client.node(node).await {
            Ok(connection) => connection.call_up_to(newest, request).await,
            Err(error) => Err(error),
        };
        let error = match answer {
            Ok(response) => match check(&response) {
                Ok(()) => return Ok(response),
                Err(error) => error,
            },
            Err(error) => error.into(),
        };
        let busy = error.refusal() == Some(ErrorCode::ConcurrentTransactions);
        if !(busy || error.is_retriable()) || now() >= until {
            return Err(error);
        }
        let pause = if busy {
            // The markers of the last one are being written: as Kafka's client, look again soon.
            BUSY_BACKOFF.min(client.config().retry_backoff)
        } else {
            client.config().retry_backoff
        };
        sleep(pause).await;
    }
}

const FEATURE: &str = "transaction.version";
const IMPLICIT_SINCE: i16 = 2;
/// From the next version on a batch of a partition that was not added adds it.
const LAST_PRODUCE_WITHOUT_ADDING: i16 = 11;
/// From the next version on the answer has the next transaction's epoch.
const LAST_END_WITHOUT_EPOCH: i16 = 4;
/// Later ones are for brokers.
const LAST_ADD_OF_CLIENTS: i16 = 3;
const BUSY_BACKOFF: Duration = Duration::from_millis(20);
