//! The state of the cluster after some record.
//!
//! **Owns** topics, partitions, settings, brokers, features, producer-id blocks, and what other parts
//! keep in the metadata log (quotas, ACLs, credentials, tokens, controllers).
//! **Lives on** every shard, immutable once published; the shard of the controller makes the next one
//! from a clone.
//! **Invariants**: 1. both topic maps hold the same topics; 2. a topic's partitions are numbered from
//! 0 without gaps; 3. a settings resource without settings has no entry.
//! **Not here**: answers (`answers`), the order of records (`replay`).

use std::collections::BTreeMap;
use std::sync::Arc;

use corelog_net::wire::Uuid;
use corelog_net::wire::records::{
    AccessControlEntryRecord, BrokerRegistrationChangeRecord, ClearElrRecord, ClientQuotaRecord,
    ConfigRecord, DelegationTokenRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    RegisterBrokerRecord, RegisterControllerRecord, TopicRecord, UserScramCredentialRecord,
    ZkMigrationStateRecord,
};

use super::delta::Delta;
use super::quorum::Quorum;
use super::record::MetadataRecord;
use super::sharded::{Bucketed, InOrder, ShardedMap, spread};
use super::snapshot::SnapshotId;
use super::topic_name;
use crate::config::ConfigMap;

/// What settings belong to; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic.
    Topic = 2,
    /// A broker by its id, or all brokers by the empty name.
    Broker = 4,
    /// A broker's loggers.
    BrokerLogger = 8,
    /// A client-metrics subscription.
    ClientMetrics = 16,
    /// A group.
    Group = 32,
}

impl ResourceType {
    /// The type of a number from the wire.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    /// The protocol's number.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// A thing with settings. The type is kept as a number: a later release may have more of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// Number of the type, see [`ResourceType`].
    pub kind: i8,
    /// The thing's name.
    pub name: Arc<str>,
}

impl ConfigResource {
    /// A resource of a known type.
    #[must_use]
    pub fn new(kind: ResourceType, name: &str) -> Self {
        Self {
            kind: kind.code(),
            name: Arc::from(name),
        }
    }
}

impl Bucketed for ConfigResource {
    fn bucket(&self) -> u8 {
        spread(self.name.bytes())
    }
}

impl Bucketed for Arc<str> {
    fn bucket(&self) -> u8 {
        str::bucket(self)
    }
}

impl Bucketed for str {
    /// Names that collide ([`topic_name::collides`]) share a bucket, so that who looks for one looks at one bucket.
    fn bucket(&self) -> u8 {
        spread(topic_name::folded(self))
    }
}

impl Bucketed for Uuid {
    fn bucket(&self) -> u8 {
        spread(self.0.iter().copied())
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicImage {
    /// Name.
    pub name: Arc<str>,
    /// Id.
    pub id: Uuid,
    /// Partitions; the index is the partition's number.
    pub partitions: Vec<Arc<PartitionImage>>,
}

impl TopicImage {
    /// A partition by number.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Arc<PartitionImage>> {
        usize::try_from(index)
            .ok()
            .and_then(|index| self.partitions.get(index))
    }

    /// Partitions with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (i32, &Arc<PartitionImage>)> {
        (0_i32..).zip(&self.partitions)
    }

    /// Number of partitions, as the protocol counts them.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }

    /// Whether Kafka itself keeps the topic.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

/// Whether a topic of this name is Kafka's own and hidden from patterns.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

/// Whether an id of a directory says something else than a directory: Kafka keeps the first hundred for that
/// (0 not assigned, 1 lost, 2 migrating).
#[must_use]
pub fn is_reserved(directory: Uuid) -> bool {
    u128::from_be_bytes(directory.0) < 100
}

/// A partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartitionImage {
    /// Brokers with a copy, preferred leader first.
    pub replicas: Vec<i32>,
    /// Log directory of each replica, in the order of `replicas`.
    pub directories: Vec<Uuid>,
    /// In-sync replicas.
    pub isr: Vec<i32>,
    /// Replicas a reassignment takes away.
    pub removing_replicas: Vec<i32>,
    /// Replicas a reassignment adds.
    pub adding_replicas: Vec<i32>,
    /// Replicas outside the ISR that have every committed record (KIP-966).
    pub eligible_leader_replicas: Vec<i32>,
    /// The last ISR and eligible replicas before all were lost.
    pub last_known_elr: Vec<i32>,
    /// The leader, −1 for none.
    pub leader: i32,
    /// 1 after an unclean election until the leader has recovered.
    pub leader_recovery_state: i8,
    /// Raised with each change of leader.
    pub leader_epoch: i32,
    /// Raised with each change.
    pub partition_epoch: i32,
}

impl PartitionImage {
    /// The directory of a broker's replica; zero when it has none yet.
    #[must_use]
    pub fn directory(&self, broker: i32) -> Option<Uuid> {
        let index = self
            .replicas
            .iter()
            .position(|replica| *replica == broker)?;
        self.directories.get(index).copied()
    }

    /// Whether a broker's replica lies in a directory that the broker has not registered: it failed, or is gone.
    #[must_use]
    pub fn is_directory_lost(&self, broker: i32, registered: &[Uuid]) -> bool {
        let known = |id: Uuid| is_reserved(id) || registered.is_empty() || registered.contains(&id);
        self.directory(broker).is_some_and(|id| !known(id))
    }

    fn from_record(record: &PartitionRecord) -> Self {
        Self {
            replicas: record.replicas.clone(),
            directories: record.directories.clone(),
            isr: record.isr.clone(),
            removing_replicas: record.removing_replicas.clone(),
            adding_replicas: record.adding_replicas.clone(),
            eligible_leader_replicas: record.eligible_leader_replicas.clone().unwrap_or_default(),
            last_known_elr: record.last_known_elr.clone().unwrap_or_default(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
        }
    }

    fn change(&mut self, record: &PartitionChangeRecord) {
        let set = |field: &mut Vec<i32>, value: &Option<Vec<i32>>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut self.isr, &record.isr);
        set(&mut self.replicas, &record.replicas);
        set(&mut self.removing_replicas, &record.removing_replicas);
        set(&mut self.adding_replicas, &record.adding_replicas);
        set(
            &mut self.eligible_leader_replicas,
            &record.eligible_leader_replicas,
        );
        set(&mut self.last_known_elr, &record.last_known_elr);
        if let Some(directories) = &record.directories {
            self.directories.clone_from(directories);
        }
        if record.leader != LEADER_UNCHANGED {
            self.leader = record.leader;
            self.leader_epoch += 1;
        }
        if record.leader_recovery_state != RECOVERY_UNCHANGED {
            self.leader_recovery_state = record.leader_recovery_state;
        }
        self.partition_epoch += 1;
    }

    pub(super) fn to_record(&self, topic: Uuid, partition: i32) -> PartitionRecord {
        let present = |replicas: &Vec<i32>| Some(replicas.clone()).filter(|list| !list.is_empty());
        PartitionRecord {
            partition_id: partition,
            topic_id: topic,
            replicas: self.replicas.clone(),
            isr: self.isr.clone(),
            removing_replicas: self.removing_replicas.clone(),
            adding_replicas: self.adding_replicas.clone(),
            leader: self.leader,
            leader_recovery_state: self.leader_recovery_state,
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            directories: self.directories.clone(),
            eligible_leader_replicas: present(&self.eligible_leader_replicas),
            last_known_elr: present(&self.last_known_elr),
            ..PartitionRecord::default()
        }
    }
}

/// A registered broker: its last registration with all changes since.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerImage {
    /// The registration.
    pub registration: RegisterBrokerRecord,
}

impl BrokerImage {
    /// Whether it may not lead or be told to clients.
    #[must_use]
    pub fn fenced(&self) -> bool {
        self.registration.fenced
    }

    /// Whether it takes no new replicas because each of its log directories is cordoned (KIP-1066).
    #[must_use]
    pub fn is_cordoned(&self) -> bool {
        let directories = &self.registration.log_dirs;
        !directories.is_empty() && directories.iter().all(|id| self.cordoned().contains(id))
    }

    /// The log directories that get no new partitions.
    #[must_use]
    pub fn cordoned(&self) -> &[Uuid] {
        let cordoned = self.registration.cordoned_log_dirs.as_deref();
        cordoned.unwrap_or_default()
    }

    /// Host and port on a listener.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<(&str, u16)> {
        self.registration
            .end_points
            .iter()
            .find(|endpoint| endpoint.name == listener)
            .map(|endpoint| (endpoint.host.as_str(), endpoint.port))
    }

    fn change(&mut self, record: &BrokerRegistrationChangeRecord) {
        match record.fenced {
            -1 => self.registration.fenced = false,
            1 => self.registration.fenced = true,
            _ => {}
        }
        if record.in_controlled_shutdown == 1 {
            self.registration.in_controlled_shutdown = true;
        }
        if !record.log_dirs.is_empty() {
            self.registration.log_dirs.clone_from(&record.log_dirs);
        }
        if record.cordoned_log_dirs.is_some() {
            self.registration
                .cordoned_log_dirs
                .clone_from(&record.cordoned_log_dirs);
        }
    }
}

/// Key of a quota: the entity's parts by type, then the quota's name.
pub type QuotaKey = (Vec<(String, Option<String>)>, String);

/// See the module. Cloning copies a few pointers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub(super) topics: ShardedMap<Arc<str>, Arc<TopicImage>>,
    pub(super) topic_names: ShardedMap<Uuid, Arc<str>>,
    pub(super) configs: ShardedMap<ConfigResource, Arc<ConfigMap>>,
    pub(super) brokers: Arc<BTreeMap<i32, Arc<BrokerImage>>>,
    pub(super) controllers: Arc<BTreeMap<i32, RegisterControllerRecord>>,
    pub(super) features: Arc<BTreeMap<String, i16>>,
    pub(super) quotas: Arc<BTreeMap<QuotaKey, f64>>,
    pub(super) acls: Arc<BTreeMap<Uuid, AccessControlEntryRecord>>,
    pub(super) scram: Arc<BTreeMap<(String, i8), UserScramCredentialRecord>>,
    pub(super) tokens: Arc<BTreeMap<String, DelegationTokenRecord>>,
    pub(super) producer_ids: Option<Arc<ProducerIdsRecord>>,
    pub(super) zk_migration: Option<Arc<ZkMigrationStateRecord>>,
    pub(super) quorum: Arc<Quorum>,
    pub(super) partition_count: usize,
    pub(super) at: SnapshotId,
}

/// A record that does not fit the image: the log is damaged, or of a release that allows more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A record names a topic that is not there.
    #[error("a record names the topic id {0}, which does not exist")]
    UnknownTopic(Uuid),
    /// A record changes a partition that is not there.
    #[error("a record changes partition {1} of the topic id {0}, which does not exist")]
    UnknownPartition(Uuid, i32),
    /// A partition's number is negative or leaves a gap.
    #[error("a record adds partition {1} to the topic id {0}, which has {2}")]
    PartitionGap(Uuid, i32, usize),
    /// A record changes a broker that is not registered.
    #[error("a record changes broker {0}, which is not registered")]
    UnknownBroker(i32),
}

impl Image {
    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.topics.get(name)
    }

    /// A topic of another name that would share the names of its metrics.
    #[must_use]
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<TopicImage>> {
        let mut beside = self.topics.beside(name);
        beside
            .find(|(other, _)| ***other != *name && topic_name::collides(other, name))
            .map(|(_, topic)| topic)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<TopicImage>> {
        self.topics.get(self.topic_names.get(&id)?)
    }

    /// All topics, in no useful order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// All topics by name.
    #[must_use]
    pub fn topics_sorted(&self) -> Vec<&Arc<TopicImage>> {
        self.topics
            .sorted()
            .into_iter()
            .map(|(_, topic)| topic)
            .collect()
    }

    /// All topics by name, found as they are asked for.
    pub(super) fn topics_in_order(&self) -> InOrder<'_, Arc<str>, Arc<TopicImage>> {
        self.topics.in_order()
    }

    /// Number of topics.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Number of partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The settings set for a resource.
    #[must_use]
    pub fn config(&self, kind: ResourceType, name: &str) -> Option<&ConfigMap> {
        self.configs
            .get(&ConfigResource::new(kind, name))
            .map(Arc::as_ref)
    }

    /// All resources with settings.
    pub fn configs(&self) -> impl Iterator<Item = (&ConfigResource, &ConfigMap)> {
        self.configs
            .iter()
            .map(|(resource, map)| (resource, map.as_ref()))
    }

    /// A broker.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerImage>> {
        self.brokers.get(&id)
    }

    /// All brokers by id.
    pub fn brokers(&self) -> impl Iterator<Item = (i32, &Arc<BrokerImage>)> {
        self.brokers.iter().map(|(id, broker)| (*id, broker))
    }

    /// The finalized level of a feature; 0 when none is.
    #[must_use]
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// All finalized features by name.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The finalized `metadata.version`; the newest when nothing is finalized yet.
    #[must_use]
    pub fn metadata_version(&self) -> i16 {
        match self.feature(super::features::METADATA_VERSION_NAME) {
            0 => super::features::METADATA_VERSION,
            level => level,
        }
    }

    /// The first producer id that is not given out.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.producer_ids
            .as_ref()
            .map_or(0, |record| record.next_producer_id)
    }

    /// Quotas by entity and name.
    #[must_use]
    pub fn quotas(&self) -> &BTreeMap<QuotaKey, f64> {
        &self.quotas
    }

    /// SCRAM credentials by user and number of the mechanism.
    #[must_use]
    pub fn scram(&self) -> &BTreeMap<(String, i8), UserScramCredentialRecord> {
        &self.scram
    }

    /// What the log says of its quorum.
    #[must_use]
    pub fn quorum(&self) -> &Quorum {
        &self.quorum
    }

    /// The last applied offset and its epoch, as set by [`Image::set_at`].
    #[must_use]
    pub fn at(&self) -> SnapshotId {
        self.at
    }

    /// An empty cluster with this quorum.
    #[must_use]
    pub fn of(quorum: Quorum) -> Self {
        Self {
            quorum: Arc::new(quorum),
            ..Self::default()
        }
    }

    /// The same cluster with this quorum, and what that changes.
    #[must_use]
    pub fn with_quorum(&self, quorum: Quorum) -> (Self, Delta) {
        let next = Self {
            quorum: Arc::new(quorum),
            ..self.clone()
        };
        let delta = Delta {
            features: true,
            ..Delta::default()
        };
        (next, delta)
    }

    /// Says which records this image holds.
    pub fn set_at(&mut self, at: SnapshotId) {
        self.at = at;
    }

    /// Applies one record.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::RegisterBroker(record) => self.register_broker(record),
            MetadataRecord::UnregisterBroker(record) => {
                Arc::make_mut(&mut self.brokers).remove(&record.broker_id);
            }
            MetadataRecord::Topic(record) => self.add_topic(record),
            MetadataRecord::Partition(record) => self.add_partition(record)?,
            MetadataRecord::Config(record) => self.set_config(record),
            MetadataRecord::PartitionChange(record) => self.change_partition(record)?,
            MetadataRecord::FenceBroker(record) => self.set_fenced(record.id, 1)?,
            MetadataRecord::UnfenceBroker(record) => self.set_fenced(record.id, -1)?,
            MetadataRecord::RemoveTopic(record) => self.remove_topic(record.topic_id)?,
            MetadataRecord::DelegationToken(record) => {
                let tokens = Arc::make_mut(&mut self.tokens);
                tokens.insert(record.token_id.clone(), record.clone());
            }
            MetadataRecord::UserScramCredential(record) => {
                let key = (record.name.clone(), record.mechanism);
                Arc::make_mut(&mut self.scram).insert(key, record.clone());
            }
            MetadataRecord::FeatureLevel(record) => {
                self.set_feature(&record.name, record.feature_level);
            }
            MetadataRecord::ClientQuota(record) => self.set_quota(record),
            MetadataRecord::ProducerIds(record) => {
                self.producer_ids = Some(Arc::new(record.clone()));
            }
            MetadataRecord::BrokerRegistrationChange(record) => {
                self.broker_mut(record.broker_id)?.change(record);
            }
            MetadataRecord::AccessControlEntry(record) => {
                Arc::make_mut(&mut self.acls).insert(record.id, record.clone());
            }
            MetadataRecord::RemoveAccessControlEntry(record) => {
                Arc::make_mut(&mut self.acls).remove(&record.id);
            }
            MetadataRecord::ZkMigrationState(record) => {
                self.zk_migration = Some(Arc::new(record.clone()));
            }
            MetadataRecord::RemoveUserScramCredential(record) => {
                let key = (record.name.clone(), record.mechanism);
                Arc::make_mut(&mut self.scram).remove(&key);
            }
            MetadataRecord::RemoveDelegationToken(record) => {
                Arc::make_mut(&mut self.tokens).remove(&record.token_id);
            }
            MetadataRecord::RegisterController(record) => {
                let controllers = Arc::make_mut(&mut self.controllers);
                controllers.insert(record.controller_id, record.clone());
            }
            MetadataRecord::UnregisterController(record) => {
                Arc::make_mut(&mut self.controllers).remove(&record.controller_id);
            }
            MetadataRecord::ClearElr(record) => self.clear_elr(record),
            MetadataRecord::NoOp(_)
            | MetadataRecord::BeginTransaction(_)
            | MetadataRecord::EndTransaction(_)
            | MetadataRecord::AbortTransaction(_) => {}
        }
        Ok(())
    }

    fn register_broker(&mut self, record: &RegisterBrokerRecord) {
        let broker = Arc::new(BrokerImage {
            registration: record.clone(),
        });
        Arc::make_mut(&mut self.brokers).insert(record.broker_id, broker);
    }

    fn broker_mut(&mut self, id: i32) -> Result<&mut BrokerImage, ApplyError> {
        Arc::make_mut(&mut self.brokers)
            .get_mut(&id)
            .map(Arc::make_mut)
            .ok_or(ApplyError::UnknownBroker(id))
    }

    fn set_fenced(&mut self, id: i32, fenced: i8) -> Result<(), ApplyError> {
        let change = BrokerRegistrationChangeRecord {
            fenced,
            ..Default::default()
        };
        self.broker_mut(id)?.change(&change);
        Ok(())
    }

    fn add_topic(&mut self, record: &TopicRecord) {
        let name: Arc<str> = Arc::from(record.name.as_str());
        let topic = TopicImage {
            name: Arc::clone(&name),
            id: record.topic_id,
            partitions: Vec::new(),
        };
        self.topic_names.insert(record.topic_id, Arc::clone(&name));
        if let Some(before) = self.topics.insert(name, Arc::new(topic)) {
            self.partition_count -= before.partitions.len();
            if before.id != record.topic_id {
                self.topic_names.remove(&before.id);
            }
        }
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut TopicImage, ApplyError> {
        let name = self
            .topic_names
            .get(&id)
            .ok_or(ApplyError::UnknownTopic(id))?;
        let topic = self
            .topics
            .get_mut(name)
            .ok_or(ApplyError::UnknownTopic(id))?;
        Ok(Arc::make_mut(topic))
    }

    fn add_partition(&mut self, record: &PartitionRecord) -> Result<(), ApplyError> {
        let (id, number) = (record.topic_id, record.partition_id);
        let topic = self.topic_mut(id)?;
        let count = topic.partitions.len();
        let index = usize::try_from(number)
            .ok()
            .filter(|index| *index <= count)
            .ok_or(ApplyError::PartitionGap(id, number, count))?;
        let partition = Arc::new(PartitionImage::from_record(record));
        if index == count {
            topic.partitions.push(partition);
            self.partition_count += 1;
        } else {
            topic.partitions[index] = partition;
        }
        Ok(())
    }

    fn change_partition(&mut self, record: &PartitionChangeRecord) -> Result<(), ApplyError> {
        let (id, number) = (record.topic_id, record.partition_id);
        let topic = self.topic_mut(id)?;
        let partition = usize::try_from(number)
            .ok()
            .and_then(|index| topic.partitions.get_mut(index))
            .ok_or(ApplyError::UnknownPartition(id, number))?;
        Arc::make_mut(partition).change(record);
        Ok(())
    }

    fn remove_topic(&mut self, id: Uuid) -> Result<(), ApplyError> {
        let name = self
            .topic_names
            .remove(&id)
            .ok_or(ApplyError::UnknownTopic(id))?;
        if let Some(topic) = self.topics.remove(&name) {
            self.partition_count -= topic.partitions.len();
        }
        self.configs
            .remove(&ConfigResource::new(ResourceType::Topic, &name));
        Ok(())
    }

    fn set_config(&mut self, record: &ConfigRecord) {
        let resource = ConfigResource {
            kind: record.resource_type,
            name: Arc::from(record.resource_name.as_str()),
        };
        let mut map = self.configs.get(&resource).cloned().unwrap_or_default();
        let values = Arc::make_mut(&mut map);
        match &record.value {
            Some(value) => values.insert(record.name.clone(), value.clone()),
            None => values.remove(&record.name),
        };
        if values.is_empty() {
            self.configs.remove(&resource);
        } else {
            self.configs.insert(resource, map);
        }
    }

    fn set_feature(&mut self, name: &str, level: i16) {
        let features = Arc::make_mut(&mut self.features);
        if level == 0 {
            features.remove(name);
        } else {
            features.insert(name.to_owned(), level);
        }
    }

    fn set_quota(&mut self, record: &ClientQuotaRecord) {
        let part = |part: &corelog_net::wire::records::client_quota::EntityData| {
            (part.entity_type.clone(), part.entity_name.clone())
        };
        let mut entity: Vec<_> = record.entity.iter().map(part).collect();
        entity.sort();
        let key = (entity, record.key.clone());
        let quotas = Arc::make_mut(&mut self.quotas);
        if record.remove {
            quotas.remove(&key);
        } else {
            quotas.insert(key, record.value);
        }
    }

    /// Forgets eligible leader replicas of one topic, or of all when no topic is named (KIP-966).
    fn clear_elr(&mut self, record: &ClearElrRecord) {
        let named =
            |topic: &TopicImage| record.topic_name.is_empty() || *topic.name == *record.topic_name;
        let has_elr = |partition: &Arc<PartitionImage>| {
            !(partition.eligible_leader_replicas.is_empty() && partition.last_known_elr.is_empty())
        };
        let affected: Vec<Uuid> = self
            .topics()
            .filter(|topic| named(topic) && topic.partitions.iter().any(has_elr))
            .map(|topic| topic.id)
            .collect();
        for id in affected {
            let Ok(topic) = self.topic_mut(id) else {
                continue;
            };
            for partition in topic
                .partitions
                .iter_mut()
                .filter(|partition| has_elr(partition))
            {
                let partition = Arc::make_mut(partition);
                partition.eligible_leader_replicas.clear();
                partition.last_known_elr.clear();
                partition.partition_epoch += 1;
            }
        }
    }
}

/// In place of a leader: nobody leads.
pub const NO_LEADER: i32 = -1;
/// In a [`PartitionChangeRecord`]: the leader stays.
pub const LEADER_UNCHANGED: i32 = -2;
/// In a [`PartitionChangeRecord`]: the recovery state stays.
pub const RECOVERY_UNCHANGED: i8 = -1;

#[cfg(test)]
mod tests;
