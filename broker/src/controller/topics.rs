//! Creating and deleting topics.
//!
//! **Owns** `CreateTopics` (KIP-4, KIP-525) and `DeleteTopics` (KIP-516), by name and by id.
//! **Lives on** shard 0.
//! **Invariants**: names of one request are decided one by one; a refused topic writes nothing.
//! **Not here**: adding partitions (`partitions`), where replicas go (`placement`).

use std::collections::{BTreeMap, BTreeSet};

use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use corelog_net::wire::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use corelog_net::wire::records::{ClearElrRecord, RemoveTopicRecord, TopicRecord};
use corelog_net::wire::{ErrorCode, Uuid};

use super::placement::{check_manual, new_partition, place};
use super::{Controller, Outcome, PARTITIONS_PER_REQUEST_MAX, refuse};
use crate::config::ConfigMap;
use crate::config::alter::{Refusal, validate_topic};
use crate::metadata::features::ELR_NAME;
use crate::metadata::topic_name;
use crate::metadata::{MetadataRecord, ResourceType};

impl Controller<'_> {
    /// Decides on `CreateTopics`. `ids` draws random ids.
    pub fn create_topics(
        &self,
        request: &CreateTopicsRequest,
        ids: &mut dyn FnMut() -> Uuid,
    ) -> Outcome<CreateTopicsResponse> {
        let mut records = Vec::new();
        let mut response = CreateTopicsResponse::default();
        let names = request.topics.iter().map(|topic| topic.name.as_str());
        let twice = duplicates(names);
        let too_many = self.partition_total(request) > PARTITIONS_PER_REQUEST_MAX;
        let mut refused_twice = BTreeSet::new();
        for topic in &request.topics {
            let name = topic.name.as_str();
            if twice.contains(name) && !refused_twice.insert(name) {
                continue;
            }
            let created = if twice.contains(name) {
                Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    "Duplicate topic name.",
                ))
            } else if too_many {
                let message = "Excessively large number of partitions per request.";
                Err(Refusal::new(ErrorCode::PolicyViolation, message))
            } else {
                self.create_topic(topic, ids)
            };
            response.topics.push(match created {
                Ok(created) => {
                    records.extend(created.records);
                    created.response
                }
                Err(refusal) => refused(name, refusal),
            });
        }
        if request.validate_only {
            records.clear();
        }
        Outcome { records, response }
    }

    fn partition_total(&self, request: &CreateTopicsRequest) -> usize {
        let count = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
            (0, -1) => usize::try_from(self.config.num_partitions).unwrap_or(0),
            (0, count) => usize::try_from(count).unwrap_or(0),
            (assigned, _) => assigned,
        };
        request
            .topics
            .iter()
            .map(count)
            .fold(0, usize::saturating_add)
    }

    fn create_topic(
        &self,
        topic: &CreatableTopic,
        ids: &mut dyn FnMut() -> Uuid,
    ) -> Result<Outcome<CreatableTopicResult>, Refusal> {
        self.check_new_name(&topic.name)?;
        let configs = self.new_topic_configs(topic)?;
        let replicas = if topic.assignments.is_empty() {
            self.automatic(topic)?
        } else {
            self.manual(topic)?
        };
        let id = self.new_id(ids);
        let name = topic.name.clone();
        let mut records: Vec<MetadataRecord> = vec![
            TopicRecord {
                name,
                topic_id: id,
                ..TopicRecord::default()
            }
            .into(),
        ];
        let changes = configs
            .iter()
            .map(|(name, value)| (name.as_str(), Some(value.as_str())));
        records.extend(super::configs::records(
            ResourceType::Topic,
            &topic.name,
            changes,
        ));
        if configs.contains_key("min.insync.replicas") && self.image.feature(ELR_NAME) > 0 {
            let topic_name = topic.name.clone();
            records.push(
                ClearElrRecord {
                    topic_name,
                    ..ClearElrRecord::default()
                }
                .into(),
            );
        }
        let (count, factor) = (replicas.len(), replicas.first().map_or(0, Vec::len));
        for (index, replicas) in replicas.into_iter().enumerate() {
            records.push(new_partition(self.image, id, index, replicas)?.into());
        }
        let response = CreatableTopicResult {
            name: topic.name.clone(),
            topic_id: id,
            error_code: 0,
            error_message: None,
            num_partitions: i32::try_from(count).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
            configs: Some(self.view().created_topic(&configs)),
            ..CreatableTopicResult::default()
        };
        Ok(Outcome { records, response })
    }

    fn check_new_name(&self, name: &str) -> Result<(), Refusal> {
        if name == METADATA_TOPIC {
            return Err(refuse(ErrorCode::TopicAuthorizationFailed));
        }
        topic_name::validate(name).map_err(|fault| {
            let message = format!("Topic name is invalid: {fault}");
            Refusal::new(ErrorCode::InvalidTopicException, message)
        })?;
        if self.image.topic(name).is_some() {
            let message = format!("Topic '{name}' already exists.");
            return Err(Refusal::new(ErrorCode::TopicAlreadyExists, message));
        }
        if !name.contains(['.', '_']) {
            return Ok(());
        }
        match self.image.colliding_topic(name) {
            None => Ok(()),
            Some(other) => {
                let other = &other.name;
                let message = format!("Topic '{name}' collides with existing topic: {other}");
                Err(Refusal::new(ErrorCode::InvalidTopicException, message))
            }
        }
    }

    /// The settings a new topic is to have. Of a name given twice the later value counts.
    fn new_topic_configs(&self, topic: &CreatableTopic) -> Result<ConfigMap, Refusal> {
        let without = topic.configs.iter().filter(|config| config.value.is_none());
        let without: Vec<&str> = without.map(|config| config.name.as_str()).collect();
        if !without.is_empty() {
            let names = without.join(",");
            let message = format!("Null value not supported for topic configs: {names}");
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        }
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        let configs: ConfigMap = topic
            .configs
            .iter()
            .map(|config| (config.name.clone(), value(&config.value)))
            .collect();
        validate_topic(&configs, self.view().layers)?;
        Ok(configs)
    }

    fn automatic(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let factor = match topic.replication_factor {
            -1 => self.config.default_replication_factor,
            factor if factor < 1 => {
                return Err(Refusal::new(
                    ErrorCode::InvalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value.",
                ));
            }
            factor => factor,
        };
        let count = match topic.num_partitions {
            -1 => self.config.num_partitions,
            count if count < 1 => {
                return Err(Refusal::new(
                    ErrorCode::InvalidPartitions,
                    "Number of partitions was set to an invalid non-positive value.",
                ));
            }
            count => count,
        };
        let size = |number: i32| usize::try_from(number).unwrap_or(0);
        place(self.image, 0, size(count), size(i32::from(factor))).map_err(|refusal| {
            let why = refusal.message.unwrap_or_default();
            let message = format!("Unable to replicate the partition {factor} time(s): {why}");
            Refusal::new(refusal.error, message)
        })
    }

    fn manual(&self, topic: &CreatableTopic) -> Result<Vec<Vec<i32>>, Refusal> {
        let request = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        if topic.replication_factor != -1 {
            return request(
                "A manual partition assignment was specified, but replication factor was not set \
                 to -1.",
            );
        }
        if topic.num_partitions != -1 {
            return request(
                "A manual partition assignment was specified, but numPartitions was not set to -1.",
            );
        }
        self.manual_replicas(&topic.assignments)
    }

    fn manual_replicas(
        &self,
        assignments: &[CreatableReplicaAssignment],
    ) -> Result<Vec<Vec<i32>>, Refusal> {
        let refuse =
            |message: String| Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
        let mut by_index = BTreeMap::new();
        let mut factor = None;
        for assignment in assignments {
            let index = assignment.partition_index;
            if by_index.contains_key(&index) {
                return refuse(format!(
                    "Found multiple manual partition assignments for partition {index}"
                ));
            }
            check_manual(self.image, &assignment.broker_ids, factor)?;
            factor = Some(assignment.broker_ids.len());
            by_index.insert(index, assignment.broker_ids.clone());
        }
        if by_index
            .keys()
            .zip(0..)
            .any(|(index, expected)| *index != expected)
        {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return refuse(message.to_owned());
        }
        Ok(by_index.into_values().collect())
    }

    /// A drawn id that is free, not reserved, and does not look like a flag on a command line.
    fn new_id(&self, ids: &mut dyn FnMut() -> Uuid) -> Uuid {
        loop {
            let id = ids();
            let reserved = id.is_zero() || id == Uuid::ONE || id.to_string().starts_with('-');
            if !reserved && self.image.topic_by_id(id).is_none() {
                return id;
            }
        }
    }

    /// Decides on `DeleteTopics`.
    #[must_use]
    pub fn delete_topics(
        &self,
        request: &DeleteTopicsRequest,
        version: i16,
    ) -> Outcome<DeleteTopicsResponse> {
        let named = |name: &String| DeleteTopicState {
            name: Some(name.clone()),
            ..DeleteTopicState::default()
        };
        let topics: Vec<DeleteTopicState> = if version >= 6 {
            request.topics.clone()
        } else {
            request.topic_names.iter().map(named).collect()
        };
        if !self.config.delete_topic_enable {
            // Clients before version 3 do not know the code.
            let error = if version < 3 {
                ErrorCode::InvalidRequest
            } else {
                ErrorCode::TopicDeletionDisabled
            };
            let responses = topics
                .iter()
                .map(|topic| not_deleted(topic, refuse(error)))
                .collect();
            let response = DeleteTopicsResponse {
                responses,
                ..Default::default()
            };
            return Outcome {
                records: Vec::new(),
                response,
            };
        }
        let twice = duplicates(topics.iter().filter_map(|topic| topic.name.as_deref()));
        let ids = topics
            .iter()
            .map(|topic| topic.topic_id)
            .filter(|id| !id.is_zero());
        let ids_twice = duplicates(ids);
        let mut records = Vec::new();
        let mut response = DeleteTopicsResponse::default();
        let (mut told, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for topic in &topics {
            let double = topic
                .name
                .as_deref()
                .is_some_and(|name| twice.contains(name))
                || ids_twice.contains(&topic.topic_id);
            if double && !told.insert((topic.name.clone(), topic.topic_id)) {
                continue;
            }
            let found = self.to_delete(topic, double, &mut deleted);
            response.responses.push(match found {
                Ok(result) => {
                    let topic_id = result.topic_id;
                    records.push(
                        RemoveTopicRecord {
                            topic_id,
                            ..Default::default()
                        }
                        .into(),
                    );
                    result
                }
                Err(refusal) => not_deleted(topic, refusal),
            });
        }
        Outcome { records, response }
    }

    fn to_delete(
        &self,
        topic: &DeleteTopicState,
        double: bool,
        deleted: &mut BTreeSet<Uuid>,
    ) -> Result<DeletableTopicResult, Refusal> {
        let request = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        let found = match (&topic.name, topic.topic_id.is_zero()) {
            (Some(_), false) => {
                return request("You may not specify both topic name and topic id.");
            }
            (None, true) => return request("Neither topic name nor id were specified."),
            (Some(_), true) if double => return request("Duplicate topic name."),
            (None, false) if double => return request("Duplicate topic id."),
            (Some(name), true) => self
                .image
                .topic(name)
                .ok_or(ErrorCode::UnknownTopicOrPartition),
            (None, false) => self
                .image
                .topic_by_id(topic.topic_id)
                .ok_or(ErrorCode::UnknownTopicId),
        };
        let found = found.map_err(|error| Refusal::new(error, error.message()))?;
        if !deleted.insert(found.id) {
            return request("The provided topic name maps to an ID that was already supplied.");
        }
        Ok(DeletableTopicResult {
            name: Some(found.name.to_string()),
            topic_id: found.id,
            error_code: 0,
            error_message: None,
            ..DeletableTopicResult::default()
        })
    }
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code: refusal.error.code(),
        error_message: refusal.message,
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}

fn not_deleted(topic: &DeleteTopicState, refusal: Refusal) -> DeletableTopicResult {
    DeletableTopicResult {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        error_code: refusal.error.code(),
        error_message: refusal.message,
        ..DeletableTopicResult::default()
    }
}

/// What occurs more than once.
pub(super) fn duplicates<T: Ord + Copy>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}

/// The metadata log itself, which nobody may create.
const METADATA_TOPIC: &str = "__cluster_metadata";
