//! The table of APIs: key, versions, handler. ApiVersions, dispatch and metrics come from it.
//!
//! Owns: [`versions`], [`dispatch`].
//! Lives on: every shard; a handler runs on the connection's shard and asks others by `mesh.call`.
//! Invariants:
//! 1. What is advertised works, in every version advertised.
//! 2. A handler returns a response, never an error: authorize, look up, one call into the domain.
//! 3. Requests of one connection take effect in the order they were sent: a produce is *dispatched*
//!    only when everything before it on the connection is done or dispatched, and what is no produce
//!    sees what was produced before it (see [`Turn`]).
//!
//! Not here: framing, response order (`corelog_net::connection`), Produce's and Fetch's own walks.

pub(crate) mod add_offsets_to_txn;
pub(crate) mod add_partitions_to_txn;
pub(crate) mod add_raft_voter;
pub(crate) mod alter_client_quotas;
pub(crate) mod alter_configs;
pub(crate) mod alter_partition_reassignments;
pub(crate) mod alter_replica_log_dirs;
pub(crate) mod alter_user_scram_credentials;
pub(crate) mod api_versions;
pub(crate) mod consumer_group_describe;
pub(crate) mod consumer_group_heartbeat;
pub(crate) mod create_acls;
pub(crate) mod create_delegation_token;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_acls;
pub(crate) mod delete_groups;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_acls;
pub(crate) mod describe_client_quotas;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_delegation_token;
pub(crate) mod describe_groups;
pub(crate) mod describe_log_dirs;
pub(crate) mod describe_producers;
pub(crate) mod describe_quorum;
pub(crate) mod describe_topic_partitions;
pub(crate) mod describe_transactions;
pub(crate) mod describe_user_scram_credentials;
pub(crate) mod elect_leaders;
pub(crate) mod end_txn;
pub(crate) mod error_code;
pub(crate) mod expire_delegation_token;
pub(crate) mod fetch;
pub(crate) mod find_coordinator;
pub(crate) mod get_telemetry_subscriptions;
pub(crate) mod groups;
pub(crate) mod heartbeat;
pub(crate) mod incremental_alter_configs;
pub(crate) mod init_producer_id;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod list_config_resources;
pub(crate) mod list_groups;
pub(crate) mod list_offsets;
pub(crate) mod list_partition_reassignments;
pub(crate) mod list_transactions;
pub(crate) mod metadata;
pub(crate) mod offset_commit;
pub(crate) mod offset_delete;
pub(crate) mod offset_fetch;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod push_telemetry;
pub(crate) mod remove_raft_voter;
pub(crate) mod renew_delegation_token;
pub(crate) mod sync_group;
pub(crate) mod transactions;
pub(crate) mod txn_offset_commit;
pub(crate) mod unregister_broker;
pub(crate) mod update_features;
pub(crate) mod write_txn_markers;

use std::cell::{Cell, RefCell};
use std::ops::RangeInclusive;
use std::rc::Rc;

use corelog_net::connection::{Dispatched, Later, Reply, Request, Response};
use corelog_net::wire::{self, ApiKey, Budget, Decoder, Uuid};
use corelog_runtime::Notify;

use crate::gate::Admitted;
use crate::group;
use crate::metrics::Timing;
use crate::shard::Shard;
use crate::telemetry::{Client, Software};

macro_rules! apis {
    ($( $api:ident $versions:expr => $module:ident; )*) => {
        /// The versions of `key` that work; `None`: the API is not served.
        pub(crate) fn versions(key: ApiKey) -> Option<RangeInclusive<i16>> {
            match key {
                ApiKey::Produce => Some(produce::VERSIONS),
                ApiKey::Fetch => Some(fetch::VERSIONS),
                $( ApiKey::$api => Some($versions), )*
                _ => None,
            }
        }

        /// Every API served.
        pub(crate) const SERVED: &[ApiKey] = &[ApiKey::Produce, ApiKey::Fetch, $( ApiKey::$api, )*];

        /// Answers the request in its turn. A box for each API: one future for all would be as large as the largest, and
        /// every heartbeat would pay for it.
        fn answer(begun: Begun, shard: Rc<Shard>, context: Context, request: Request) -> Later {
            match request.header.api_key {
                $( ApiKey::$api => begun.then(reply(shard, context, request, $module::handle)), )*
                _ => begun.then(async { Reply::Close("an API that is not served") }),
            }
        }
    };
}

apis! {
    // api                    versions   handler
    ListOffsets               1..=11  => list_offsets;
    Metadata                  0..=13  => metadata;
    OffsetCommit              2..=10  => offset_commit;
    OffsetFetch               1..=10  => offset_fetch;
    FindCoordinator           0..=6   => find_coordinator;
    JoinGroup                 0..=9   => join_group;
    Heartbeat                 0..=4   => heartbeat;
    LeaveGroup                0..=5   => leave_group;
    SyncGroup                 0..=5   => sync_group;
    DescribeGroups            0..=6   => describe_groups;
    ListGroups                0..=5   => list_groups;
    ApiVersions               0..=4   => api_versions;
    CreateTopics              2..=7   => create_topics;
    DeleteTopics              1..=6   => delete_topics;
    DeleteRecords             0..=2   => delete_records;
    InitProducerId            0..=5   => init_producer_id;
    OffsetForLeaderEpoch      2..=4   => offset_for_leader_epoch;
    AddPartitionsToTxn        0..=5   => add_partitions_to_txn;
    AddOffsetsToTxn           0..=4   => add_offsets_to_txn;
    EndTxn                    0..=5   => end_txn;
    WriteTxnMarkers           1..=2   => write_txn_markers;
    TxnOffsetCommit           0..=5   => txn_offset_commit;
    DescribeAcls              1..=3   => describe_acls;
    CreateAcls                1..=3   => create_acls;
    DeleteAcls                1..=3   => delete_acls;
    DescribeConfigs           1..=4   => describe_configs;
    AlterConfigs              0..=2   => alter_configs;
    AlterReplicaLogDirs       1..=2   => alter_replica_log_dirs;
    DescribeLogDirs           1..=5   => describe_log_dirs;
    CreatePartitions          0..=3   => create_partitions;
    CreateDelegationToken     1..=3   => create_delegation_token;
    RenewDelegationToken      1..=2   => renew_delegation_token;
    ExpireDelegationToken     1..=2   => expire_delegation_token;
    DescribeDelegationToken   1..=3   => describe_delegation_token;
    DeleteGroups              0..=2   => delete_groups;
    ElectLeaders              0..=2   => elect_leaders;
    IncrementalAlterConfigs   0..=1   => incremental_alter_configs;
    AlterPartitionReassignments 0..=1 => alter_partition_reassignments;
    ListPartitionReassignments 0..=0  => list_partition_reassignments;
    OffsetDelete              0..=0   => offset_delete;
    DescribeClientQuotas      0..=1   => describe_client_quotas;
    AlterClientQuotas         0..=1   => alter_client_quotas;
    DescribeUserScramCredentials 0..=0 => describe_user_scram_credentials;
    AlterUserScramCredentials 0..=0   => alter_user_scram_credentials;
    DescribeQuorum            0..=2   => describe_quorum;
    UpdateFeatures            0..=2   => update_features;
    DescribeCluster           0..=2   => describe_cluster;
    DescribeProducers         0..=0   => describe_producers;
    UnregisterBroker          0..=0   => unregister_broker;
    DescribeTransactions      0..=0   => describe_transactions;
    ListTransactions          0..=2   => list_transactions;
    ConsumerGroupHeartbeat    0..=1   => consumer_group_heartbeat;
    ConsumerGroupDescribe     0..=1   => consumer_group_describe;
    GetTelemetrySubscriptions 0..=0   => get_telemetry_subscriptions;
    PushTelemetry             0..=0   => push_telemetry;
    ListConfigResources       0..=1   => list_config_resources;
    DescribeTopicPartitions   0..=0   => describe_topic_partitions;
    AddRaftVoter              0..=1   => add_raft_voter;
    RemoveRaftVoter           0..=0   => remove_raft_voter;
}

/// What a handler knows of the request besides its body.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) version: i16,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) client_port: u16,
    /// What the client's connection said of itself.
    pub(crate) software: Rc<RefCell<Software>>,
    /// The listener it came in by, whose advertised address the answers name.
    pub(crate) listener: usize,
}

impl Context {
    /// The sender as metrics subscriptions match it.
    pub(crate) fn client(&self, instance: Uuid) -> Client {
        Client {
            instance,
            id: self.client_id.clone(),
            software: self.software.borrow().clone(),
            address: self.client_host.trim_start_matches('/').to_owned(),
            port: self.client_port,
        }
    }
}

/// The order of a connection's requests. The connection polls all replies at once; requests with
/// effects nevertheless take place one after the other, as Kafka does it.
#[derive(Default)]
pub(crate) struct Turn {
    begun: Cell<u64>,
    done: Cell<u64>,
    /// Produces that are not acknowledged.
    producing: Cell<usize>,
    moved: Notify,
}

/// A request's place in the order; its drop lets the next one begin.
struct Place {
    turn: Rc<Turn>,
    number: u64,
}

impl Turn {
    fn place(self: &Rc<Self>) -> Place {
        let number = self.begun.get();
        self.begun.set(number + 1);
        Place {
            turn: Rc::clone(self),
            number,
        }
    }

    /// Notes a produce that begins; it lasts until the guard is dropped.
    fn produce(self: &Rc<Self>) -> Producing {
        self.producing.set(self.producing.get() + 1);
        Producing(Rc::clone(self))
    }

    /// Whether nothing of the connection is under way.
    fn is_idle(&self) -> bool {
        self.done.get() == self.begun.get() && self.producing.get() == 0
    }

    /// Waits until everything begun so far is done.
    pub(crate) async fn idle(&self) {
        self.reaches(self.begun.get()).await;
    }

    /// Waits until `number` requests are done.
    async fn reaches(&self, number: u64) {
        while self.done.get() < number {
            self.moved.notified().await;
        }
    }
}

impl Place {
    /// Waits until all before is done, and every produce acknowledged: none begins after this
    /// request before it is done.
    async fn come(&self) {
        self.turn.reaches(self.number).await;
        while self.turn.producing.get() > 0 {
            self.turn.moved.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turn.done.set(self.turn.done.get() + 1);
        self.turn.moved.notify_all();
    }
}

/// A produce that is under way.
struct Producing(Rc<Turn>);

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.producing.set(self.0.producing.get() - 1);
        self.0.moved.notify_all();
    }
}

/// Begins a question to the coordinator of a group that is likely to be answered at once: where nothing need be waited for, no
/// future is made. Where others of the connection come first, or the way to the coordinator's shard is full, the request comes
/// back, for [`dispatch`].
// HOT: heartbeats; allocations: what the question holds, the answer's buffer; of another shard the reply's oneshot and a box
fn begin<R: wire::Request<Response: 'static>>(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    request: Request,
    question: impl FnOnce(R) -> Result<group::Request, Box<R::Response>>,
    answer: fn(Option<group::Reply>) -> R::Response,
) -> Result<Dispatched, Request> {
    if !turn.is_idle() {
        return Err(request);
    }
    let Some(body) = decoded::<R>(&request) else {
        let _timing = shard.metrics.time(&request);
        return Ok(Dispatched::Now(Reply::Close(UNREADABLE)));
    };
    let put = match question(body) {
        Ok(question) => groups::put(shard, question),
        Err(refused) => {
            let _timing = shard.metrics.time(&request);
            return Ok(Dispatched::Now(encoded(&request, &*refused)));
        }
    };
    let Some(put) = put else {
        return Err(request);
    };
    let timing = shard.metrics.time(&request);
    Ok(match put {
        groups::Put::Answered(reply) => Dispatched::Now(encoded(&request, &answer(reply))),
        put => {
            let place = turn.place();
            Dispatched::Later(Box::pin(async move {
                let reply = put.reply().await;
                let reply = encoded(&request, &answer(reply));
                drop((place, timing));
                reply
            }))
        }
    })
}

/// Begins a request that is no produce; it takes place when all before it are done.
pub(crate) fn dispatch(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    _admitted: Admitted,
    context: Context,
    request: Request,
) -> Dispatched {
    let begun = Begun {
        place: turn.place(),
        timing: shard.metrics.time(&request),
    };
    let shard = Rc::clone(shard);
    Dispatched::Later(match request.header.api_key {
        ApiKey::Metadata => begun.then(metadata::answer(shard, context, request)),
        _ => answer(begun, shard, context, request),
    })
}

/// A request that has its place in the order, and is timed.
struct Begun {
    place: Place,
    timing: Timing,
}

impl Begun {
    /// Does the work when it is its turn.
    fn then(self, work: impl Future<Output = Reply> + 'static) -> Later {
        Box::pin(async move {
            self.place.come().await;
            let reply = work.await;
            drop((self.place, self.timing));
            reply
        })
    }
}

/// Begins a fetch, which asks nothing of its [`Context`].
pub(crate) fn dispatch_fetch(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    _admitted: Admitted,
    request: Request,
) -> Dispatched {
    let begun = Begun {
        place: turn.place(),
        timing: shard.metrics.time(&request),
    };
    Dispatched::Later(begun.then(fetch::handle(Rc::clone(shard), request)))
}

/// Decodes the request, has it handled, encodes the response.
async fn reply<R: wire::Request, F: Future<Output = R::Response>>(
    shard: Rc<Shard>,
    context: Context,
    request: Request,
    handle: impl FnOnce(Rc<Shard>, Context, R) -> F,
) -> Reply {
    let Some(body) = decoded::<R>(&request) else {
        return Reply::Close(UNREADABLE);
    };
    let response = handle(shard, context, body).await;
    encoded(&request, &response)
}

fn encoded(request: &Request, response: &impl wire::Message) -> Reply {
    match Response::message(&request.header, response) {
        Ok(response) => Reply::Response(response),
        Err(error) => not_encoded(request, &error),
    }
}

/// The request's body; none where it cannot be read.
fn decoded<R: wire::Request>(request: &Request) -> Option<R> {
    let mut budget = Budget::for_frame(request.body.len());
    let mut decoder = Decoder::new(&request.body, &mut budget);
    let version = request.header.api_version;
    // Bytes behind the request are ignored, as Kafka ignores them.
    R::decode(&mut decoder, version)
        .inspect_err(|error| tracing::debug!("api={} version={version}: {error}", R::NAME))
        .ok()
}

/// Why a connection is closed whose request cannot be read.
const UNREADABLE: &str = "a request that cannot be read";

fn not_encoded(request: &Request, error: &wire::EncodeError) -> Reply {
    let (api, version) = (request.header.api_key, request.header.api_version);
    tracing::error!("api={api:?} version={version}: the answer cannot be encoded: {error}");
    Reply::Close("an answer that this version cannot carry")
}
