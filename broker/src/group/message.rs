//! Owns what a coordinator is asked and what it answers, as plain owned values.
//! Lives on any shard: requests and replies cross the mesh.
//! Invariants: 1. Every [`Request`] that enters a coordinator is answered exactly once, with the [`Reply`] of its kind.
//! Not here: wire structs and versions (`handlers` translate both ways, and split requests over several groups).

use std::sync::Arc;

use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_storage::producer::{Guard, TransactionVersion};

use super::consumer::Refusal;
use super::{AppendError, GroupError, Outcome, TEXT_SIZE_MAX};

/// Names a waiting request. The shell chooses it and finds the waiter by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A request about one group, or (`ListGroups`) about all groups of one coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `JoinGroup`
    JoinGroup(Box<JoinGroup>),
    /// `SyncGroup`
    SyncGroup(SyncGroup),
    /// Heartbeat
    Heartbeat(Heartbeat),
    /// `LeaveGroup`
    LeaveGroup(LeaveGroup),
    /// `OffsetCommit`
    OffsetCommit(OffsetCommit),
    /// `TxnOffsetCommit`
    TxnOffsetCommit(Box<TxnOffsetCommit>),
    /// `WriteTxnMarkers`, for this partition of the offsets topic
    Marker(Marker),
    /// `OffsetFetch`, one group of it
    OffsetFetch(OffsetFetch),
    /// `OffsetDelete`
    OffsetDelete(OffsetDelete),
    /// `DescribeGroups`, one group of it
    DescribeGroup(DescribeGroup),
    /// `ListGroups`
    ListGroups(ListGroups),
    /// `DeleteGroups`, one group of it
    DeleteGroup(DeleteGroup),
    /// `ConsumerGroupHeartbeat`
    ConsumerHeartbeat(Box<ConsumerHeartbeat>),
    /// `ConsumerGroupDescribe`, one group of it
    DescribeConsumerGroup(DescribeGroup),
}

/// The answer to the request of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// `JoinGroup`
    JoinGroup(Box<JoinedGroup>),
    /// `SyncGroup`
    SyncGroup(SyncedGroup),
    /// Heartbeat
    Heartbeat(Result<(), GroupError>),
    /// `LeaveGroup`: an error for the whole request, or a verdict per member
    LeaveGroup(Result<Vec<LeftMember>, GroupError>),
    /// `OffsetCommit` and `TxnOffsetCommit`: a verdict per partition, in the request's order
    OffsetCommit(Vec<CommittedTopic>),
    /// The marker is stored, or why not
    Marker(Result<(), GroupError>),
    /// `OffsetFetch`
    OffsetFetch(Result<Vec<FetchedTopic>, GroupError>),
    /// `OffsetDelete`: an error for the whole request, or a verdict per partition
    OffsetDelete(Result<Vec<CommittedTopic>, GroupError>),
    /// `DescribeGroups`
    DescribeGroup(Result<DescribedGroup, GroupError>),
    /// `ListGroups`
    ListGroups(Result<Vec<ListedGroup>, GroupError>),
    /// `DeleteGroups`
    DeleteGroup(Result<(), GroupError>),
    /// `ConsumerGroupHeartbeat`
    ConsumerHeartbeat(Result<ConsumerBeat, Box<Refusal>>),
    /// `ConsumerGroupDescribe`
    DescribeConsumerGroup(Result<DescribedConsumerGroup, GroupError>),
}

/// A member of a consumer group joins, stays, changes its mind, or leaves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group_id: String,
    /// The member; whoever has none is given one before it comes here.
    pub member_id: String,
    /// 0 joins, -1 leaves, -2 leaves for a while.
    pub member_epoch: i32,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.rack`; `None`: as before.
    pub rack_id: Option<String>,
    /// How long the group waits for the member to give partitions back; -1: as before.
    pub rebalance_timeout_ms: i32,
    /// Topics by name; `None`: as before.
    pub topics: Option<Vec<String>>,
    /// Topics by regular expression; empty: not so; `None`: as before.
    pub regex: Option<String>,
    /// The assignor it prefers; `None`: as before.
    pub assignor: Option<String>,
    /// What it has; `None`: as before.
    pub owned: Option<Vec<(Uuid, Vec<i32>)>>,
    /// The request header's client id.
    pub client_id: String,
    /// The peer's address, printed as Kafka does: `/127.0.0.1`.
    pub client_host: String,
}

impl ConsumerHeartbeat {
    /// Whether every text fits the records of the log, whose lengths are `i16` in keys.
    pub(super) fn texts_fit(&self) -> bool {
        let texts = [&self.group_id, &self.member_id, &self.client_id];
        let optional = [&self.instance_id, &self.rack_id, &self.regex];
        texts
            .into_iter()
            .chain(optional.into_iter().flatten())
            .chain(self.topics.iter().flatten())
            .all(|text| text.len() <= TEXT_SIZE_MAX)
    }
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsumerBeat {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its epoch from now on.
    pub member_epoch: i32,
    /// When to come again.
    pub heartbeat_interval_ms: i32,
    /// What it has; `None`: as before.
    pub assignment: Option<Vec<(Uuid, Vec<i32>)>>,
}

/// A consumer group, shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConsumerGroup {
    /// Its state by Kafka's name.
    pub state: &'static str,
    /// Of the group.
    pub epoch: i32,
    /// Of its targets.
    pub assignment_epoch: i32,
    /// The assignor in use.
    pub assignor: &'static str,
    /// Everybody.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a consumer group, shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedConsumer {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its instance id when it is static.
    pub instance_id: Option<Arc<str>>,
    /// Its rack.
    pub rack_id: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// The topics it names.
    pub topics: Vec<Arc<str>>,
    /// Its regular expression, or nothing.
    pub regex: Arc<str>,
    /// What it has.
    pub assignment: Vec<(Uuid, Vec<i32>)>,
    /// What it is to have.
    pub target: Vec<(Uuid, Vec<i32>)>,
    /// It speaks the classic protocol.
    pub is_classic: bool,
}

/// A member asks to take part in the next generation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinGroup {
    /// The group.
    pub group_id: String,
    /// Empty when the member has no id yet.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The request header's client id; new member ids begin with it.
    pub client_id: String,
    /// The peer's address, printed as Kafka does: `/127.0.0.1`.
    pub client_host: String,
    /// How long the member may be silent.
    pub session_timeout_ms: i32,
    /// How long the group waits for the member to rejoin; -1 is the session timeout (`JoinGroup` v0).
    pub rebalance_timeout_ms: i32,
    /// `consumer`, `connect`, …
    pub protocol_type: String,
    /// What the member can speak, preferred first.
    pub protocols: Vec<JoinProtocol>,
    /// v4 and later: a member without an id is given one and must come again.
    pub requires_known_member_id: bool,
    /// v9 and later: the answer can tell the leader to skip the assignment.
    pub supports_skipping_assignment: bool,
}

/// One protocol (assignor) a member offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JoinProtocol {
    /// For example `range`.
    pub name: String,
    /// The member's subscription, opaque but for `consumer` groups' topics.
    pub metadata: Bytes,
}

/// The answer to [`JoinGroup`].
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedGroup {
    /// `None`: the member is in.
    pub error: Option<GroupError>,
    /// -1 with most errors.
    pub generation_id: i32,
    /// `None` on the wire is null.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen protocol. Versions before 7 have no null here; the handler writes an empty name.
    pub protocol_name: Option<Arc<str>>,
    /// Member id of the leader, or empty.
    pub leader: Arc<str>,
    /// The leader has nothing to assign: the stored assignment still holds.
    pub skip_assignment: bool,
    /// The member's id, as far as it has one.
    pub member_id: Arc<str>,
    /// Everybody, for the leader; empty for followers.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its instance id when it is static.
    pub instance_id: Option<Arc<str>>,
    /// What it said under the chosen protocol.
    pub metadata: Bytes,
}

/// A member asks for its assignment; the leader brings everybody's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncGroup {
    /// The group.
    pub group_id: String,
    /// The generation the member joined.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// Checked when present (v5 and later; the handler refuses null there).
    pub protocol_type: Option<String>,
    /// Checked when present.
    pub protocol_name: Option<String>,
    /// Member id and its assignment; only the leader's are used.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to [`SyncGroup`].
#[derive(Clone, Debug, PartialEq)]
pub struct SyncedGroup {
    /// `None`: the assignment holds.
    pub error: Option<GroupError>,
    /// Null with errors.
    pub protocol_type: Option<Arc<str>>,
    /// Null with errors.
    pub protocol_name: Option<Arc<str>>,
    /// Opaque.
    pub assignment: Bytes,
}

/// A member is alive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heartbeat {
    /// The group.
    pub group_id: String,
    /// The member's generation.
    pub generation_id: i32,
    /// The member.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
}

/// Members leave (v3 and later: several; an administrator names static members by instance id alone).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeaveGroup {
    /// The group.
    pub group_id: String,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One of the leaving.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LeavingMember {
    /// Empty when only the instance is known.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
}

/// The verdict on one leaving member.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftMember {
    /// As asked.
    pub member_id: String,
    /// As asked.
    pub instance_id: Option<String>,
    /// `None`: gone.
    pub error: Option<GroupError>,
}

/// Offsets to keep. The handler has already taken out what the metadata image or the authorizer refuses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffsetCommit {
    /// The group; may be empty, as Kafka allows.
    pub group_id: String,
    /// -1 from a consumer that is in no group.
    pub generation_id: i32,
    /// Empty from a consumer that is in no group.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// Kept this long from now, whatever the broker's retention (v2 to 4; -1: the broker's).
    pub retention_ms: i64,
    /// v9 and later: a generation of an unknown group is answered with `GROUP_ID_NOT_FOUND`, not `ILLEGAL_GENERATION`.
    pub knows_group_id_not_found: bool,
    /// v9 and later: the generation may be a member epoch.
    pub knows_member_epochs: bool,
    /// What to keep.
    pub topics: Vec<CommitTopic>,
}

/// Offsets to keep if the producer's transaction commits.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnOffsetCommit {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// What the offsets partition gave when it was asked; `None`: nothing need be shown.
    pub guard: Option<Guard>,
    /// The rest.
    pub commit: OffsetCommit,
}

/// The end of a transaction, for the partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Marker {
    /// The producer.
    pub producer_id: i64,
    /// The epoch of the marker.
    pub producer_epoch: i16,
    /// Of the transaction coordinator.
    pub coordinator_epoch: i32,
    /// How it ended.
    pub outcome: Outcome,
    /// The rules that the transaction coordinator goes by.
    pub version: TransactionVersion,
}

/// Offsets of one topic to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitTopic {
    /// The topic.
    pub name: String,
    /// Its id, all zero when unknown; stored beside the offset.
    pub topic_id: [u8; 16],
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// One offset to keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommitPartition {
    /// The partition.
    pub partition: i32,
    /// The next offset to consume; negative ones are stored as they are.
    pub offset: i64,
    /// -1 when unknown.
    pub leader_epoch: i32,
    /// Whatever the client wants to remember; `None` is stored as empty.
    pub metadata: Option<String>,
}

/// Verdicts on the partitions of one topic, of a commit or a deletion.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedTopic {
    /// The topic.
    pub name: String,
    /// As asked.
    pub topic_id: [u8; 16],
    /// Partition and `None` when it was done.
    pub partitions: Vec<(i32, Option<GroupError>)>,
}

/// Committed offsets are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffsetFetch {
    /// The group.
    pub group_id: String,
    /// A member of a KIP-848 group names itself; ignored for classic groups.
    pub member_id: Option<String>,
    /// With `member_id`.
    pub member_epoch: i32,
    /// Refuse offsets over which a transaction hangs.
    pub require_stable: bool,
    /// `None`: everything the group has.
    pub topics: Option<Vec<FetchTopic>>,
}

/// Partitions of one topic to look up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FetchTopic {
    /// The topic.
    pub name: String,
    /// Handed back as given.
    pub topic_id: [u8; 16],
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// What is committed in one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedTopic {
    /// The topic.
    pub name: Arc<str>,
    /// As given, or the stored one when everything was asked for.
    pub topic_id: [u8; 16],
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// What is committed in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: i32,
    /// -1 when nothing is committed.
    pub offset: i64,
    /// -1 when unknown.
    pub leader_epoch: i32,
    /// As committed.
    pub metadata: Box<str>,
    /// Only `UnstableOffsetCommit`.
    pub error: Option<GroupError>,
}

/// Committed offsets are to be forgotten.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OffsetDelete {
    /// The group.
    pub group_id: String,
    /// Which ones.
    pub topics: Vec<FetchTopic>,
}

/// One group is to be shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DescribeGroup {
    /// The group.
    pub group_id: String,
}

/// A classic group, shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    /// Its state by Kafka's name.
    pub state: &'static str,
    /// Empty for groups that only keep offsets.
    pub protocol_type: Arc<str>,
    /// The chosen protocol, in a stable group.
    pub protocol: Arc<str>,
    /// Everybody; subscriptions and assignments only in a stable group.
    pub members: Vec<DescribedMember>,
}

/// A member, shown.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its instance id when it is static.
    pub instance_id: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// Its subscription.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// All groups are to be listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListGroups {
    /// Kafka's state names, in any case; empty: all.
    pub states: Vec<String>,
    /// Kafka's type names, in any case; empty: all.
    pub types: Vec<String>,
}

/// One group of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: Arc<str>,
    /// Empty for groups that only keep offsets.
    pub protocol_type: Arc<str>,
    /// Its state by Kafka's name.
    pub state: &'static str,
    /// Its type by Kafka's name.
    pub group_type: &'static str,
}

/// One group is to be deleted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeleteGroup {
    /// The group.
    pub group_id: String,
}

impl Request {
    /// The group asked about; `None` for a listing or a marker.
    pub fn group_id(&self) -> Option<&str> {
        Some(match self {
            Self::JoinGroup(r) => &r.group_id,
            Self::SyncGroup(r) => &r.group_id,
            Self::Heartbeat(r) => &r.group_id,
            Self::LeaveGroup(r) => &r.group_id,
            Self::OffsetCommit(r) => &r.group_id,
            Self::TxnOffsetCommit(r) => &r.commit.group_id,
            Self::OffsetFetch(r) => &r.group_id,
            Self::OffsetDelete(r) => &r.group_id,
            Self::DescribeGroup(r) | Self::DescribeConsumerGroup(r) => &r.group_id,
            Self::DeleteGroup(r) => &r.group_id,
            Self::ConsumerHeartbeat(r) => &r.group_id,
            Self::ListGroups(_) | Self::Marker(_) => return None,
        })
    }

    /// The answer that refuses the whole request. The shell uses it too, where no coordinator can be asked
    /// (`NotCoordinator`, `NotAvailable`).
    pub fn refuse(self, error: GroupError) -> Reply {
        match self {
            Self::JoinGroup(r) => {
                Reply::JoinGroup(Box::new(JoinedGroup::refused(error, &r.member_id)))
            }
            Self::SyncGroup(_) => Reply::SyncGroup(SyncedGroup::refused(error)),
            Self::Heartbeat(_) => Reply::Heartbeat(Err(error)),
            Self::LeaveGroup(_) => Reply::LeaveGroup(Err(error)),
            Self::OffsetCommit(r) => Reply::OffsetCommit(r.verdict(Some(error))),
            Self::TxnOffsetCommit(r) => Reply::OffsetCommit(r.commit.verdict(Some(error))),
            Self::Marker(_) => Reply::Marker(Err(error)),
            Self::OffsetFetch(_) => Reply::OffsetFetch(Err(error)),
            Self::OffsetDelete(_) => Reply::OffsetDelete(Err(error)),
            Self::DescribeGroup(_) => Reply::DescribeGroup(Err(error)),
            Self::ListGroups(_) => Reply::ListGroups(Err(error)),
            Self::DeleteGroup(_) => Reply::DeleteGroup(Err(error)),
            Self::ConsumerHeartbeat(_) => Reply::ConsumerHeartbeat(Err(Box::new(error.into()))),
            Self::DescribeConsumerGroup(_) => Reply::DescribeConsumerGroup(Err(error)),
        }
    }
}

impl Reply {
    /// What is said instead when the records this answer stands for were not stored.
    pub(super) fn unstored(self, error: AppendError) -> Self {
        match self {
            Self::JoinGroup(joined) => Self::JoinGroup(Box::new(JoinedGroup::refused(
                error.for_group(),
                &joined.member_id,
            ))),
            Self::SyncGroup(_) => Self::SyncGroup(SyncedGroup::refused(error.for_group())),
            Self::Heartbeat(_) => Self::Heartbeat(Err(error.for_group())),
            Self::LeaveGroup(_) => Self::LeaveGroup(Err(error.for_group())),
            Self::OffsetCommit(mut topics) => {
                for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
                    partition.1.get_or_insert(error.for_commit());
                }
                Self::OffsetCommit(topics)
            }
            Self::Marker(_) => Self::Marker(Err(error.for_group())),
            Self::OffsetFetch(_) => Self::OffsetFetch(Err(error.for_group())),
            Self::OffsetDelete(_) => Self::OffsetDelete(Err(error.for_group())),
            Self::DescribeGroup(_) => Self::DescribeGroup(Err(error.for_group())),
            Self::ListGroups(_) => Self::ListGroups(Err(error.for_group())),
            Self::DeleteGroup(_) => Self::DeleteGroup(Err(error.for_group())),
            Self::ConsumerHeartbeat(_) => {
                Self::ConsumerHeartbeat(Err(Box::new(error.for_group().into())))
            }
            Self::DescribeConsumerGroup(_) => Self::DescribeConsumerGroup(Err(error.for_group())),
        }
    }
}

impl OffsetCommit {
    /// The same verdict on every partition.
    pub fn verdict(self, error: Option<GroupError>) -> Vec<CommittedTopic> {
        let topics = self.topics.into_iter();
        topics
            .map(|topic| CommittedTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|p| (p.partition, error))
                    .collect(),
            })
            .collect()
    }
}

impl LeaveGroup {
    /// What everybody hears where there is no such group.
    pub(super) fn all_unknown(self) -> Vec<LeftMember> {
        let unknown = |member: LeavingMember| LeftMember {
            member_id: member.member_id,
            instance_id: member.instance_id,
            error: Some(GroupError::UnknownMemberId),
        };
        self.members.into_iter().map(unknown).collect()
    }
}

impl JoinedGroup {
    pub(super) fn refused(error: GroupError, member_id: &str) -> Self {
        Self {
            error: Some(error),
            generation_id: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id: Arc::from(member_id),
            members: Vec::new(),
        }
    }
}

impl SyncedGroup {
    pub(super) fn refused(error: GroupError) -> Self {
        Self {
            error: Some(error),
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}
