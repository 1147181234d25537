//! The controller on shard 0: the pure one asked, its records made durable, the new image published.
//!
//! Owns: the metadata log as a partition of shard 0, the order of metadata changes.
//! Lives on: shard 0.
//! Invariants:
//! 1. One change at a time: decided by the newest image, written, synced, applied, published to
//!    every shard, answered. What a client was told is on disk and in force everywhere.
//! 2. When a deletion is answered no checkpoint speaks of what was deleted: a topic of the same name
//!    must not find another log's recovery point or start.
//! 3. Records that cannot be written end the broker: an image ahead of its log would lie.
//!
//! Not here: decisions (`controller`), start (`boot/metadata_log.rs`).

use std::rc::Rc;
use std::sync::Arc;

use corelog_net::wire::messages::allocate_producer_ids::AllocateProducerIdsResponse;
use corelog_net::wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse,
};
use corelog_net::wire::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use corelog_net::wire::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
};
use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
};
use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse,
};
use corelog_net::wire::messages::create_topics::{CreateTopicsRequest, CreateTopicsResponse};
use corelog_net::wire::messages::delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
use corelog_net::wire::messages::elect_leaders::{ElectLeadersRequest, ElectLeadersResponse};
use corelog_net::wire::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use corelog_net::wire::messages::unregister_broker::{
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use corelog_net::wire::messages::update_features::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::Semaphore;
use corelog_storage::batch::Batch;
use corelog_storage::disk::DiskError;
use corelog_storage::log::{Log, Origin};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use crate::boot::{Directories, METADATA_TOPIC, metadata_directory, own_voter, random_id};
use crate::controller::{Controller, Outcome};
use crate::mesh;
use crate::metadata::log::{self, Place};
use crate::metadata::{
    Delta, Image, MetadataRecord, Quorum as MetadataQuorum, ResourceType, SnapshotId, bootstrap,
};
use crate::partition::Partition;
use crate::partition::append::{Acks, Admission, AppendCall, AppendPart};
use crate::shard::disks::Disks;
use crate::shard::snapshots::{Snapshots, Written};
use crate::shard::{LogOffsets, Shard};

/// The id that Kafka gives to the metadata topic.
pub(crate) const METADATA_TOPIC_ID: TopicId =
    TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The shard that the controller lives on.
pub(crate) const CONTROLLER_SHARD: usize = 0;

/// The controller's place in shard 0.
pub(crate) struct Control {
    /// Held while the metadata changes.
    pub(super) changing: Semaphore,
    pub(super) snapshots: Snapshots,
    directories: Directories,
    checkpointing: Semaphore,
}

impl Control {
    pub(crate) fn new(directories: Directories, written: Written) -> Self {
        Self {
            changing: Semaphore::new(1),
            snapshots: Snapshots::new(written),
            directories,
            checkpointing: Semaphore::new(1),
        }
    }
}

/// Brings the checkpoint files to these offsets; gives the directories where that was not possible.
type WriteCheckpoints = fn(&Directories, &[LogOffsets], &Disks) -> Vec<(usize, DiskError)>;

impl Shard {
    /// Takes over the metadata log as a partition of this shard, directory 0 or where it was opened.
    pub(crate) fn adopt_metadata_log(&self, log: Log, epoch: LeaderEpoch) {
        let root = log.dir().root().to_owned();
        let directory = self
            .directories
            .iter()
            .position(|one| one.root() == root)
            .unwrap_or(0);
        let name = TopicPartition {
            topic: METADATA_TOPIC.into(),
            partition: 0,
        };
        let partition = Partition::new(name, METADATA_TOPIC_ID, directory, epoch, log);
        self.partitions
            .borrow_mut()
            .insert((METADATA_TOPIC_ID, 0), Rc::new(partition));
    }

    /// Asks the controller, wherever it lives; `None` when it stops.
    pub(crate) async fn ask_controller(self: &Rc<Self>, question: Question) -> Option<Answer> {
        match self
            .call(CONTROLLER_SHARD, mesh::Request::Control(Box::new(question)))
            .await
        {
            mesh::Reply::Control(answer) => Some(*answer),
            _ => None,
        }
    }

    /// Decides, writes, publishes, answers. `None` on a shard that is not the controller's.
    pub(crate) async fn control(self: Rc<Self>, question: Question) -> Option<Answer> {
        let control = self.control.get()?;
        let _turn = control.changing.acquire().await;
        let image = self.image();
        let config = self.config.with_dynamic(
            image.config(ResourceType::Broker, &self.config.node_id.to_string()),
            image.config(ResourceType::Broker, ""),
        );
        let controller = Controller::new(&image, &config);
        let mut ids = || Uuid(random_id().0);
        let (mut records, answer) = match question {
            Question::CreateTopics(request) => told(
                controller.create_topics(&request, &mut ids),
                Answer::CreateTopics,
            ),
            Question::AutoCreate(names) => told(
                controller.auto_create(&names, &mut ids),
                Answer::CreateTopics,
            ),
            Question::DeleteTopics(request, version) => told(
                controller.delete_topics(&request, version),
                Answer::DeleteTopics,
            ),
            Question::CreatePartitions(request) => told(
                controller.create_partitions(&request),
                Answer::CreatePartitions,
            ),
            Question::AlterConfigs(request) => {
                told(controller.alter_configs(&request), Answer::AlterConfigs)
            }
            Question::IncrementalAlterConfigs(request) => told(
                controller.incremental_alter_configs(&request),
                Answer::IncrementalAlterConfigs,
            ),
            Question::AlterPartitionReassignments(request) => told(
                controller.alter_reassignments(&request),
                Answer::AlterPartitionReassignments,
            ),
            Question::AlterClientQuotas(request) => told(
                controller.alter_client_quotas(&request),
                Answer::AlterClientQuotas,
            ),
            Question::AlterUserScramCredentials(request) => told(
                controller.alter_scram_credentials(&request),
                Answer::AlterUserScramCredentials,
            ),
            Question::UpdateFeatures(request, version) => {
                let change = controller.update_features(&request, version);
                if change.kraft_version.is_some() {
                    self.name_voters().await;
                }
                told(change.outcome, Answer::UpdateFeatures)
            }
            Question::UnregisterBroker(request) => told(
                controller.unregister_broker(&request),
                Answer::UnregisterBroker,
            ),
            Question::ElectLeaders(request) => {
                told(controller.elect_leaders(&request), Answer::ElectLeaders)
            }
            Question::DirectoryFailed(id) => (controller.directory_failed(id), Answer::Done),
            Question::AssignDirectories(chosen) => {
                (controller.assign_directories(&chosen), Answer::Done)
            }
            Question::Quorum => (Vec::new(), Answer::Quorum(self.quorum())),
            Question::ProducerIds => told(controller.own_producer_ids(), Answer::ProducerIds),
        };
        // Naming the voters has brought another image.
        let image = self.image();
        let controller = Controller::new(&image, &config);
        if records.iter().any(may_cordon) {
            let (next, _) = image
                .after(&records)
                .expect("the controller's records fit the image they were made from");
            let config = self.config.with_dynamic(
                next.config(ResourceType::Broker, &self.config.node_id.to_string()),
                next.config(ResourceType::Broker, ""),
            );
            let disks = self.allowances.disks();
            let ids = (0..config.log_dirs.len()).filter(|at| config.is_cordoned(*at));
            let ids: Vec<Uuid> = ids
                .filter_map(|at| disks.id(at))
                .map(|id| Uuid(id.0))
                .collect();
            // By the image as it will be: a new metadata.version may be the first that records it.
            records.extend(Controller::new(&next, &config).cordon(&ids));
        }
        if !records.is_empty() {
            let full = self.allowances.disks().full_ids();
            let full: Vec<Uuid> = full.into_iter().map(|id| Uuid(id.0)).collect();
            controller.choose_directories(&mut records, &full);
            self.change(&records).await;
        }
        Some(answer)
    }

    /// The last records of a clean stop; the broker epoch for the marker.
    pub(crate) async fn say_goodbye(self: &Rc<Self>) -> i64 {
        let image = self.image();
        let records = bootstrap::stop(&image, self.config.node_id);
        for batch in records.chunks(bootstrap::RECORDS_PER_BATCH) {
            self.write_metadata(batch).await;
        }
        image
            .broker(self.config.node_id)
            .map_or(-1, |broker| broker.registration.broker_epoch)
    }

    /// Makes records durable and the image that they give known to every shard.
    async fn change(self: &Rc<Self>, records: &[MetadataRecord]) {
        let (next, delta) = self
            .image()
            .after(records)
            .expect("the controller's records fit the image they were made from");
        let end = self.write_metadata(records).await;
        self.publish(next, delta, end).await;
    }

    /// Raises `kraft.version`: the log names the quorum's voters from now on, this node (KIP-853). The file `quorum-state`
    /// follows at the next start, as with Kafka.
    async fn name_voters(self: &Rc<Self>) {
        let at = metadata_directory(&self.config);
        let Some(id) = self.allowances.disks().id(at) else {
            return;
        };
        let quorum = MetadataQuorum::standalone(own_voter(&self.config, id));
        let records = quorum
            .to_records()
            .expect("the voter's names came from settings and fit a record");
        let place = self.metadata_place();
        let batch = log::control(&records, place).expect("two small records fit a batch");
        let end = self.write_metadata_batch(batch, place.now).await;
        let (next, delta) = self.image().with_quorum(quorum);
        self.publish(next, delta, end).await;
    }

    /// Makes the image after what was just written known to every shard.
    async fn publish(self: &Rc<Self>, mut next: Image, delta: Delta, end: Offset) {
        let epoch = self.metadata_log().leader_epoch.get();
        next.set_at(SnapshotId {
            end_offset: end.0,
            epoch: epoch.0,
        });
        let (image, delta) = (Arc::new(next), Arc::new(delta));
        self.call_all(|| mesh::Request::Publish {
            image: Arc::clone(&image),
            delta: Arc::clone(&delta),
        })
        .await;
        self.snapshot_if_due();
        if !delta.deleted.is_empty() {
            self.checkpoint().await;
        }
    }

    /// Writes the checkpoint files from what every shard says now.
    pub(crate) async fn checkpoint(self: &Rc<Self>) {
        self.checkpoint_by(Directories::checkpoint).await;
    }

    /// Has `write` bring the checkpoint files to what every shard says now. A directory where it fails is out of service,
    /// unless it is full.
    pub(crate) async fn checkpoint_by(self: &Rc<Self>, write: WriteCheckpoints) {
        let Some(control) = self.control.get() else {
            return;
        };
        // ORDER: one at a time, or what was asked before a deletion is written after it.
        let _turn = control.checkpointing.acquire().await;
        let mut offsets = Vec::new();
        for reply in self.call_all(|| mesh::Request::Checkpoint).await {
            if let mesh::Reply::Offsets(more) = reply {
                offsets.extend(more);
            }
        }
        let directories = control.directories.clone();
        let disks = Arc::clone(self.allowances.disks());
        let failed =
            // Who deletes a topic waits for it: not behind a cleaning, or folders that are removed.
            corelog_runtime::blocking_brief("checkpoints", move || {
                write(&directories, &offsets, &disks)
            })
            .await;
        for (at, error) in failed {
            if error.is_full() {
                tracing::warn!("{error}: the checkpoints stay as they were");
            } else {
                self.directory_failed(at, &error.to_string());
            }
        }
    }

    fn quorum(&self) -> Quorum {
        let partition = self.metadata_log();
        let end_offset = partition.log.borrow().end_offset();
        Quorum {
            leader_epoch: partition.leader_epoch.get(),
            high_watermark: partition.high_watermark(),
            end_offset,
        }
    }

    pub(super) fn metadata_log(&self) -> Rc<Partition> {
        self.partition(METADATA_TOPIC_ID, 0)
            .expect("the controller has its log")
    }

    async fn write_metadata(self: &Rc<Self>, records: &[MetadataRecord]) -> Offset {
        let place = self.metadata_place();
        let batch = log::batch(records, self.image().metadata_version(), place)
            .expect("the controller's records can be written");
        self.write_metadata_batch(batch, place.now).await
    }

    fn metadata_place(&self) -> Place {
        let partition = self.metadata_log();
        Place {
            base_offset: partition.log.borrow().end_offset(),
            epoch: partition.leader_epoch.get(),
            now: Timestamp(corelog_runtime::wall_clock()),
        }
    }

    async fn write_metadata_batch(self: &Rc<Self>, batch: Batch, now: Timestamp) -> Offset {
        let partition = self.metadata_log();
        let size = batch.header().size();
        let part = AppendPart {
            topic_id: METADATA_TOPIC_ID,
            partition: 0,
            batch: Ok(batch),
            admission: Admission::Plain,
        };
        let call = AppendCall {
            acks: Acks::Disk,
            origin: Origin::Coordinator,
            parts: vec![part],
        };
        let appended = self.append(call).acknowledged().await;
        let failed = appended.iter().find(|one| one.error != ErrorCode::None);
        if let Some(one) = failed {
            tracing::error!(
                "the metadata log cannot be written ({}): the broker stops, nothing it said is lost",
                one.error
            );
            std::process::exit(1);
        }
        if let Some(control) = self.control.get() {
            control.snapshots.wrote(size, now);
        }
        partition.log.borrow().end_offset()
    }
}

/// What the controller is asked, by handlers and by the shards themselves.
#[derive(Debug)]
pub(crate) enum Question {
    CreateTopics(CreateTopicsRequest),
    /// Create these as the settings have it: topics that were asked for, internal topics.
    AutoCreate(Vec<String>),
    /// With the version, which says where the names stand.
    DeleteTopics(DeleteTopicsRequest, i16),
    CreatePartitions(CreatePartitionsRequest),
    AlterConfigs(AlterConfigsRequest),
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest),
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest),
    AlterClientQuotas(AlterClientQuotasRequest),
    AlterUserScramCredentials(AlterUserScramCredentialsRequest),
    /// With the version, which says what the ways to change mean.
    UpdateFeatures(UpdateFeaturesRequest, i16),
    UnregisterBroker(UnregisterBrokerRequest),
    ElectLeaders(ElectLeadersRequest),
    /// Where the metadata log stands.
    Quorum,
    /// A block of producer ids for a shard.
    ProducerIds,
    /// A log directory of this node failed.
    DirectoryFailed(Uuid),
    /// Partitions of this node lie in these directories.
    AssignDirectories(Vec<(Uuid, i32, Uuid)>),
}

/// Where the metadata log stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quorum {
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) high_watermark: Offset,
    pub(crate) end_offset: Offset,
}

/// What it answers, under the question's name.
#[derive(Debug)]
pub(crate) enum Answer {
    CreateTopics(CreateTopicsResponse),
    DeleteTopics(DeleteTopicsResponse),
    CreatePartitions(CreatePartitionsResponse),
    AlterConfigs(AlterConfigsResponse),
    IncrementalAlterConfigs(IncrementalAlterConfigsResponse),
    AlterPartitionReassignments(AlterPartitionReassignmentsResponse),
    AlterClientQuotas(AlterClientQuotasResponse),
    AlterUserScramCredentials(AlterUserScramCredentialsResponse),
    UpdateFeatures(UpdateFeaturesResponse),
    UnregisterBroker(UnregisterBrokerResponse),
    ElectLeaders(ElectLeadersResponse),
    Quorum(Quorum),
    ProducerIds(AllocateProducerIdsResponse),
    /// It is so.
    Done,
}

/// Whether a record may change which log directories are cordoned, or whether that is recorded.
fn may_cordon(record: &MetadataRecord) -> bool {
    match record {
        MetadataRecord::Config(record) => {
            record.resource_type == ResourceType::Broker.code()
                && record.name == "cordoned.log.dirs"
        }
        MetadataRecord::FeatureLevel(_) => true,
        _ => false,
    }
}

fn told<R>(outcome: Outcome<R>, answer: impl FnOnce(R) -> Answer) -> (Vec<MetadataRecord>, Answer) {
    (outcome.records, answer(outcome.response))
}

impl Shard {
    /// Has a topic created as the settings have it; says whether it is there then.
    pub(crate) async fn auto_create(self: &Rc<Self>, name: &str) -> bool {
        let answer = self
            .ask_controller(Question::AutoCreate(vec![name.to_owned()]))
            .await;
        if let Some(Answer::CreateTopics(response)) = answer {
            for topic in response.topics.iter().filter(|topic| topic.error_code != 0) {
                let error = ErrorCode::from_code(topic.error_code).unwrap_or_default();
                let why = topic.error_message.as_deref().unwrap_or_default();
                tracing::warn!("topic={name} could not be created: {error} {why}");
            }
        }
        self.image().topic(name).is_some()
    }

    /// A block of producer ids: the first and how many.
    pub(crate) async fn allocate_producer_ids(self: &Rc<Self>) -> Option<(i64, i32)> {
        match self.ask_controller(Question::ProducerIds).await {
            Some(Answer::ProducerIds(block)) if block.error_code == 0 => {
                Some((block.producer_id_start, block.producer_id_len))
            }
            _ => None,
        }
    }
}
