//! **Owns** the cluster itself: nodes, features, the metadata quorum.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use corelog_net::wire::messages::add_raft_voter::{self, AddRaftVoterRequest};
use corelog_net::wire::messages::api_versions::ApiVersionsResponse;
use corelog_net::wire::messages::describe_cluster::{
    DescribeClusterRequest, DescribeClusterResponse,
};
use corelog_net::wire::messages::describe_quorum::{
    DescribeQuorumRequest, Node, RequestPartitionData, RequestTopicData, ResponsePartitionData,
};
use corelog_net::wire::messages::remove_raft_voter::RemoveRaftVoterRequest;
use corelog_net::wire::messages::unregister_broker::UnregisterBrokerRequest;
use corelog_net::wire::messages::update_features::{FeatureUpdateKey, UpdateFeaturesRequest};
use corelog_net::wire::{ErrorCode, Uuid};

use super::Admin;
use crate::client::ApiError;

/// A feature update's result, by the feature's name.
type FeatureResults = Vec<(String, Result<(), ApiError>)>;

impl Admin {
    /// The cluster's id and nodes: brokers, or controllers where those were connected to.
    pub async fn describe_cluster(
        &self,
        include_fenced: bool,
    ) -> Result<DescribeClusterResponse, ApiError> {
        let request = DescribeClusterRequest {
            endpoint_type: if self.client.config().controllers {
                2
            } else {
                1
            },
            include_fenced_brokers: include_fenced,
            ..DescribeClusterRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message.clone())?;
        Ok(response)
    }

    /// Forgets a broker that is gone for good.
    pub async fn unregister_broker(&self, id: i32) -> Result<(), ApiError> {
        let request = UnregisterBrokerRequest {
            broker_id: id,
            ..UnregisterBrokerRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)
    }

    /// APIs and features of a node, or of any.
    pub async fn versions(&self, node: Option<i32>) -> Result<ApiVersionsResponse, ApiError> {
        let connection = match node {
            Some(id) => self.client.node(id).await?,
            None => self.client.any().await?,
        };
        Ok(connection.versions().0.clone())
    }

    /// Changes levels of features; all or nothing in newer clusters.
    pub async fn update_features(
        &self,
        updates: Vec<FeatureUpdateKey>,
        validate_only: bool,
    ) -> Result<FeatureResults, ApiError> {
        let names: Vec<String> = updates.iter().map(|it| it.feature.clone()).collect();
        let request = UpdateFeaturesRequest {
            timeout_ms: self.timeout_ms(),
            feature_updates: updates,
            validate_only,
            ..UpdateFeaturesRequest::default()
        };
        let response = self.controller(&request).await?;
        // From version 2 on there is one result for all.
        if response.results.is_empty() {
            let outcome = ApiError::check(response.error_code, response.error_message);
            return Ok(names
                .into_iter()
                .map(|name| (name, outcome.clone()))
                .collect());
        }
        ApiError::check(response.error_code, response.error_message)?;
        Ok(response
            .results
            .into_iter()
            .map(|it| {
                let outcome = ApiError::check(it.error_code, it.error_message);
                (it.feature, outcome)
            })
            .collect())
    }

    /// The metadata quorum, and where its voters listen.
    pub async fn describe_quorum(&self) -> Result<(ResponsePartitionData, Vec<Node>), ApiError> {
        let request = DescribeQuorumRequest {
            topics: vec![RequestTopicData {
                topic_name: "__cluster_metadata".to_owned(),
                partitions: vec![RequestPartitionData::default()],
                ..RequestTopicData::default()
            }],
            ..DescribeQuorumRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)?;
        let partition = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions)
            .next()
            .ok_or_else(|| ApiError::code(ErrorCode::UnknownServerError))?;
        ApiError::check(partition.error_code, partition.error_message.clone())?;
        Ok((partition, response.nodes))
    }

    /// Makes a controller a voter; listeners are (name, host, port).
    pub async fn add_voter(
        &self,
        id: i32,
        directory: Uuid,
        listeners: &[(String, String, u16)],
    ) -> Result<(), ApiError> {
        let request = AddRaftVoterRequest {
            cluster_id: None,
            timeout_ms: self.timeout_ms(),
            voter_id: id,
            voter_directory_id: directory,
            listeners: listeners
                .iter()
                .map(|(name, host, port)| add_raft_voter::Listener {
                    name: name.clone(),
                    host: host.clone(),
                    port: *port,
                    ..add_raft_voter::Listener::default()
                })
                .collect(),
            ..AddRaftVoterRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)
    }

    /// Takes a voter's vote.
    pub async fn remove_voter(&self, id: i32, directory: Uuid) -> Result<(), ApiError> {
        let request = RemoveRaftVoterRequest {
            // Any cluster, as Kafka's tool says.
            cluster_id: None,
            voter_id: id,
            voter_directory_id: directory,
            ..RemoveRaftVoterRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)
    }
}
