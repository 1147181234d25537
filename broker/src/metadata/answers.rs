//! The bodies of Metadata, `DescribeTopicPartitions` and `DescribeCluster`.
//!
//! **Owns** how the image looks to a client on one listener, in every version of the three APIs.
//! **Lives on** any shard, for the length of a request.
//! **Invariants**: an answer is a function of the image and the request.
//! **Not here**: authorization (the handler removes what may not be seen), creating topics.

use std::collections::BTreeSet;

use corelog_net::wire::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use corelog_net::wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic, ResponseCursor,
};
use corelog_net::wire::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use corelog_net::wire::{ErrorCode, Uuid};

use super::image::{Image, PartitionImage, TopicImage, is_internal};
use super::topic_name;

mod all_topics;

pub(crate) use all_topics::{AllTopics, is_asked as is_all_asked};

/// What an answer is made from.
#[derive(Clone, Copy, Debug)]
pub struct ClusterView<'a> {
    /// The image.
    pub image: &'a Image,
    /// The cluster's id.
    pub cluster_id: &'a str,
    /// This broker.
    pub node_id: i32,
    /// Name of the listener the client came through.
    pub listener: &'a str,
}

/// A Metadata answer, and what the request would like to exist.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataAnswer {
    /// The body.
    pub response: MetadataResponse,
    /// Topics that do not exist, have valid names, and that the request lets us create. In the body
    /// they stand as unknown.
    pub missing: Vec<String>,
}

impl ClusterView<'_> {
    /// Answers a Metadata request.
    #[must_use]
    pub fn metadata(&self, request: &MetadataRequest, version: i16) -> MetadataAnswer {
        let mut missing = Vec::new();
        let topics = match &request.topics {
            Some(topics) if !all_topics::is_asked(request, version) => {
                match self.asked_topics(topics, request, version, &mut missing) {
                    Ok(topics) => topics,
                    Err(error) => topics
                        .iter()
                        .map(|topic| failed_topic(topic, error))
                        .collect(),
                }
            }
            _ => {
                let all = self.image.topics_sorted();
                all.into_iter()
                    .map(|topic| self.metadata_topic(topic, version))
                    .collect()
            }
        };
        let mut response = MetadataResponse {
            topics,
            ..self.metadata_cluster(request, version)
        };
        if request.include_topic_authorized_operations {
            for topic in &mut response.topics {
                if topic.error_code == 0 {
                    topic.topic_authorized_operations = TOPIC_OPERATIONS;
                }
            }
        }
        MetadataAnswer { response, missing }
    }

    /// The topics of a request in its order, each once.
    fn asked_topics(
        &self,
        asked: &[MetadataRequestTopic],
        request: &MetadataRequest,
        version: i16,
        missing: &mut Vec<String>,
    ) -> Result<Vec<MetadataResponseTopic>, ErrorCode> {
        let malformed = |topic: &MetadataRequestTopic| {
            version < 12 && (topic.name.is_none() || !topic.topic_id.is_zero())
        };
        if asked.iter().any(malformed) {
            return Err(ErrorCode::InvalidRequest);
        }
        if asked
            .iter()
            .any(|topic| topic.name.is_none() && topic.topic_id.is_zero())
        {
            return Err(ErrorCode::UnknownServerError);
        }
        let by_id = asked.iter().any(|topic| !topic.topic_id.is_zero());
        let mut seen = BTreeSet::new();
        let mut out = Vec::with_capacity(asked.len());
        for topic in asked {
            let name = topic.name.as_deref().unwrap_or_default();
            if by_id {
                if !topic.topic_id.is_zero() && seen.insert((topic.topic_id, "")) {
                    out.push(self.topic_by_id(topic.topic_id, version));
                }
            } else if seen.insert((Uuid::ZERO, name)) {
                out.push(self.topic_by_name(name, version, request, missing));
            }
        }
        Ok(out)
    }

    fn topic_by_id(&self, id: Uuid, version: i16) -> MetadataResponseTopic {
        match self.image.topic_by_id(id) {
            Some(topic) => self.metadata_topic(topic, version),
            None => MetadataResponseTopic {
                error_code: ErrorCode::UnknownTopicId.code(),
                name: None,
                topic_id: id,
                ..MetadataResponseTopic::default()
            },
        }
    }

    fn topic_by_name(
        &self,
        name: &str,
        version: i16,
        request: &MetadataRequest,
        missing: &mut Vec<String>,
    ) -> MetadataResponseTopic {
        if let Some(topic) = self.image.topic(name) {
            return self.metadata_topic(topic, version);
        }
        let error = unknown_topic(name);
        // Before version 4 a request cannot forbid creation.
        if error == ErrorCode::UnknownTopicOrPartition
            && (version < 4 || request.allow_auto_topic_creation)
        {
            missing.push(name.to_owned());
        }
        MetadataResponseTopic {
            error_code: error.code(),
            name: Some(name.to_owned()),
            is_internal: is_internal(name),
            ..MetadataResponseTopic::default()
        }
    }

    /// A Metadata answer but for its topics.
    fn metadata_cluster(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let mut response = MetadataResponse {
            brokers: self.metadata_brokers(),
            cluster_id: Some(self.cluster_id.to_owned()),
            controller_id: self.controller_id(),
            ..MetadataResponse::default()
        };
        if request.include_cluster_authorized_operations && (8..=10).contains(&version) {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        response
    }

    fn metadata_topic(&self, topic: &TopicImage, version: i16) -> MetadataResponseTopic {
        let partition = |(index, partition): (i32, &std::sync::Arc<PartitionImage>)| {
            self.metadata_partition(index, partition, version)
        };
        MetadataResponseTopic {
            error_code: 0,
            name: Some(topic.name.to_string()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions: topic.numbered().map(partition).collect(),
            ..MetadataResponseTopic::default()
        }
    }

    fn metadata_partition(
        &self,
        index: i32,
        partition: &PartitionImage,
        version: i16,
    ) -> MetadataResponsePartition {
        // Version 0 clients were promised brokers that exist only.
        let alive = |replicas: &[i32]| -> Vec<i32> {
            let reachable = |id: &i32| version > 0 || self.endpoint(*id).is_some();
            replicas.iter().copied().filter(reachable).collect()
        };
        let replica_nodes = alive(&partition.replicas);
        let isr_nodes = alive(&partition.isr);
        let (leader_id, mut error) = self.leader(partition, version >= 6);
        let hidden =
            replica_nodes.len() < partition.replicas.len() || isr_nodes.len() < partition.isr.len();
        if error.is_none() && hidden {
            error = ErrorCode::ReplicaNotAvailable;
        }
        MetadataResponsePartition {
            error_code: error.code(),
            partition_index: index,
            leader_id,
            leader_epoch: partition.leader_epoch,
            replica_nodes,
            isr_nodes,
            offline_replicas: self.offline_replicas(partition),
            ..MetadataResponsePartition::default()
        }
    }

    fn metadata_brokers(&self) -> Vec<MetadataResponseBroker> {
        self.image
            .brokers()
            .filter(|(_, broker)| !broker.fenced())
            .filter_map(|(node_id, broker)| {
                let (host, port) = broker.endpoint(self.listener)?;
                Some(MetadataResponseBroker {
                    node_id,
                    host: host.to_owned(),
                    port: i32::from(port),
                    rack: broker.registration.rack.clone(),
                    ..MetadataResponseBroker::default()
                })
            })
            .collect()
    }

    /// Answers a `DescribeTopicPartitions` request; `limit` is the broker's own.
    #[must_use]
    pub fn topic_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
        limit: i32,
    ) -> DescribeTopicPartitionsResponse {
        let cursor = request.cursor.as_ref();
        if cursor.is_some_and(|cursor| cursor.partition_index < 0) {
            return refused_partitions(request);
        }
        let from = cursor.map_or("", |cursor| cursor.topic_name.as_str());
        let mut remaining = usize::try_from(limit.min(request.response_partition_limit))
            .unwrap_or(0)
            .max(1);
        let names: BTreeSet<&str> = if request.topics.is_empty() {
            let names = self.image.topics().map(|topic| &*topic.name);
            let mut names: Vec<&str> = names.filter(|name| *name >= from).collect();
            // A topic has a partition, so this page and its cursor name no more than these: the others are not sorted.
            if names.len() > remaining + 1 {
                names.select_nth_unstable(remaining);
                names.truncate(remaining + 1);
            }
            names.into_iter().collect()
        } else {
            let names = request.topics.iter().map(|topic| topic.name.as_str());
            names.filter(|name| *name >= from).collect()
        };
        let mut response = DescribeTopicPartitionsResponse::default();
        for name in names {
            if remaining == 0 {
                response.next_cursor = Some(cursor_at(name, 0));
                break;
            }
            let Some(topic) = self.image.topic(name) else {
                response.topics.push(unknown_described(name));
                continue;
            };
            let start = cursor
                .filter(|cursor| cursor.topic_name == name)
                .map_or(0, |cursor| cursor.partition_index);
            let (described, next) = self.described_topic(topic, start, remaining);
            remaining -= described.partitions.len();
            response.topics.push(described);
            if let Some(next) = next {
                response.next_cursor = Some(cursor_at(name, next));
                break;
            }
        }
        response
    }

    fn described_topic(
        &self,
        topic: &TopicImage,
        start: i32,
        room: usize,
    ) -> (DescribeTopicPartitionsResponseTopic, Option<i32>) {
        let skip = usize::try_from(start).unwrap_or(0);
        let partitions: Vec<_> = topic
            .numbered()
            .skip(skip)
            .take(room)
            .map(|(index, partition)| self.described_partition(index, partition))
            .collect();
        let end = skip.saturating_add(partitions.len());
        let next = i32::try_from(end)
            .ok()
            .filter(|_| end < topic.partitions.len());
        let described = DescribeTopicPartitionsResponseTopic {
            error_code: 0,
            name: Some(topic.name.to_string()),
            topic_id: topic.id,
            is_internal: topic.is_internal(),
            partitions,
            topic_authorized_operations: TOPIC_OPERATIONS,
            ..DescribeTopicPartitionsResponseTopic::default()
        };
        (described, next)
    }

    fn described_partition(
        &self,
        index: i32,
        partition: &PartitionImage,
    ) -> DescribeTopicPartitionsResponsePartition {
        let (leader_id, error) = self.leader(partition, true);
        DescribeTopicPartitionsResponsePartition {
            error_code: error.code(),
            partition_index: index,
            leader_id,
            leader_epoch: partition.leader_epoch,
            replica_nodes: partition.replicas.clone(),
            isr_nodes: partition.isr.clone(),
            eligible_leader_replicas: Some(partition.eligible_leader_replicas.clone()),
            last_known_elr: Some(partition.last_known_elr.clone()),
            offline_replicas: self.offline_replicas(partition),
            ..DescribeTopicPartitionsResponsePartition::default()
        }
    }

    /// Answers a `DescribeCluster` request (KIP-700, KIP-919, KIP-1073).
    #[must_use]
    pub fn cluster(&self, request: &DescribeClusterRequest) -> DescribeClusterResponse {
        match request.endpoint_type {
            BROKER_ENDPOINT => self.described_cluster(request),
            CONTROLLER_ENDPOINT => refused_cluster(
                ErrorCode::MismatchedEndpointType,
                "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of \
                 type CONTROLLER"
                    .to_owned(),
            ),
            other => refused_cluster(
                ErrorCode::UnsupportedEndpointType,
                format!("Unsupported endpoint type {other}"),
            ),
        }
    }

    fn described_cluster(&self, request: &DescribeClusterRequest) -> DescribeClusterResponse {
        let broker = |(broker_id, broker): (i32, &std::sync::Arc<super::BrokerImage>)| {
            let (host, port) = broker.endpoint(self.listener)?;
            Some(DescribeClusterBroker {
                broker_id,
                host: host.to_owned(),
                port: i32::from(port),
                rack: broker.registration.rack.clone(),
                is_fenced: broker.fenced(),
                ..DescribeClusterBroker::default()
            })
        };
        let told =
            |broker: &DescribeClusterBroker| request.include_fenced_brokers || !broker.is_fenced;
        let mut response = DescribeClusterResponse {
            cluster_id: self.cluster_id.to_owned(),
            controller_id: self.controller_id(),
            brokers: self
                .image
                .brokers()
                .filter_map(broker)
                .filter(told)
                .collect(),
            ..DescribeClusterResponse::default()
        };
        if request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        response
    }

    /// Kafka names any live broker, since each forwards; we name ourselves while we live.
    fn controller_id(&self) -> i32 {
        let live = |id: &i32| {
            self.image
                .broker(*id)
                .is_some_and(|broker| !broker.fenced())
        };
        Some(self.node_id)
            .filter(live)
            .or_else(|| self.image.brokers().map(|(id, _)| id).find(live))
            .unwrap_or(-1)
    }

    fn endpoint(&self, broker: i32) -> Option<(&str, u16)> {
        self.image.broker(broker)?.endpoint(self.listener)
    }

    /// The leader a client can reach, or why there is none. Older versions do not know that a
    /// listener may be missing.
    fn leader(&self, partition: &PartitionImage, knows_listeners: bool) -> (i32, ErrorCode) {
        if self.endpoint(partition.leader).is_some() {
            return (partition.leader, ErrorCode::None);
        }
        let registered = self.image.broker(partition.leader).is_some();
        if registered && knows_listeners {
            (-1, ErrorCode::ListenerNotFound)
        } else {
            (-1, ErrorCode::LeaderNotAvailable)
        }
    }

    fn offline_replicas(&self, partition: &PartitionImage) -> Vec<i32> {
        let offline = |id: &i32| {
            self.image.broker(*id).is_none_or(|broker| {
                broker.fenced()
                    || broker.endpoint(self.listener).is_none()
                    || partition.is_directory_lost(*id, &broker.registration.log_dirs)
            })
        };
        partition.replicas.iter().copied().filter(offline).collect()
    }
}

fn unknown_topic(name: &str) -> ErrorCode {
    match topic_name::validate(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    }
}

fn failed_topic(topic: &MetadataRequestTopic, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name: Some(topic.name.clone().unwrap_or_default()),
        topic_id: topic.topic_id,
        ..MetadataResponseTopic::default()
    }
}

fn unknown_described(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: unknown_topic(name).code(),
        name: Some(name.to_owned()),
        is_internal: is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn refused_partitions(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refused = |name: &String| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(name.clone()),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    DescribeTopicPartitionsResponse {
        topics: request
            .topics
            .iter()
            .map(|topic| refused(&topic.name))
            .collect(),
        ..DescribeTopicPartitionsResponse::default()
    }
}

fn cursor_at(name: &str, partition_index: i32) -> ResponseCursor {
    ResponseCursor {
        topic_name: name.to_owned(),
        partition_index,
        ..ResponseCursor::default()
    }
}

fn refused_cluster(error: ErrorCode, message: String) -> DescribeClusterResponse {
    DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(message),
        controller_id: -1,
        ..DescribeClusterResponse::default()
    }
}

/// Read, write, create, delete, alter, describe, describe and alter configs: bits by operation.
pub const TOPIC_OPERATIONS: i32 = 3576;
/// Create, alter, describe, cluster action, describe and alter configs, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = 8096;
const BROKER_ENDPOINT: i8 = 1;
const CONTROLLER_ENDPOINT: i8 = 2;

#[cfg(test)]
mod tests;
