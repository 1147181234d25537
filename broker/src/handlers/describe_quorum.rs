//! DescribeQuorum (key 55): the controllers and how far they are. KIP-595, KIP-836, KIP-853.
//!
//! Versions: v1 times of the last fetch · v2 directory ids, error messages, nodes.
//!
//! Owns: the answer.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the metadata log (`shard/control.rs`).
//!
//! Known deviations: a node without a controller listener, which it need not have alone, is told
//! without an endpoint.

use std::rc::Rc;

use corelog_net::wire::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumResponse, Listener, Node, ReplicaState,
    ResponsePartitionData, ResponseTopicData,
};
use corelog_net::wire::{ErrorCode, Uuid};

use crate::boot::METADATA_TOPIC;
use crate::config::BrokerConfig;
use crate::handlers::Context;
use crate::shard::Shard;
use crate::shard::control::{Answer, Question, Quorum};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let metadata_alone = matches!(&request.topics[..], [topic]
        if topic.topic_name == METADATA_TOPIC
            && matches!(&topic.partitions[..], [part] if part.partition_index == 0));
    if !metadata_alone {
        return unknown(&request);
    }
    match shard.ask_controller(Question::Quorum).await {
        Some(Answer::Quorum(quorum)) => {
            let own = shard.config.node_id;
            let image = shard.image();
            let named = image.quorum().voters().iter();
            let mut named = named.filter(|voter| voter.voter_id == own);
            let directory = named.next().map(|voter| voter.voter_directory_id);
            described(
                &shard.config,
                directory.unwrap_or_default(),
                quorum,
                corelog_runtime::wall_clock(),
                context.version,
            )
        }
        _ => DescribeQuorumResponse {
            error_code: ErrorCode::NotLeaderOrFollower.code(),
            error_message: None,
            ..Default::default()
        },
    }
}

/// Every partition asked for is unknown.
fn unknown(request: &DescribeQuorumRequest) -> DescribeQuorumResponse {
    let error = ErrorCode::UnknownTopicOrPartition;
    let topics = request.topics.iter().map(|topic| ResponseTopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|part| ResponsePartitionData {
                partition_index: part.partition_index,
                error_code: error.code(),
                error_message: Some(error.message().to_owned()),
                ..ResponsePartitionData::default()
            })
            .collect(),
        ..ResponseTopicData::default()
    });
    DescribeQuorumResponse {
        error_message: None,
        topics: topics.collect(),
        ..Default::default()
    }
}

/// The only voter leads and is never behind. A quorum given by the settings (KIP-595) knows no
/// directory ids; one that names its voters in the log has `directory`.
fn described(
    config: &BrokerConfig,
    directory: Uuid,
    quorum: Quorum,
    now: i64,
    version: i16,
) -> DescribeQuorumResponse {
    let node_id = config.node_id;
    let voter = ReplicaState {
        replica_id: node_id,
        replica_directory_id: directory,
        log_end_offset: quorum.end_offset.0,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
        ..ReplicaState::default()
    };
    let partition = ResponsePartitionData {
        partition_index: 0,
        error_message: None,
        leader_id: node_id,
        leader_epoch: quorum.leader_epoch.0,
        high_watermark: quorum.high_watermark.0,
        current_voters: vec![voter],
        ..ResponsePartitionData::default()
    };
    let listener = |endpoint: &crate::config::Endpoint| Listener {
        name: endpoint.name.clone(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        ..Listener::default()
    };
    let node = Node {
        node_id,
        listeners: config.controller_listeners.iter().map(listener).collect(),
        ..Node::default()
    };
    DescribeQuorumResponse {
        error_message: None,
        topics: vec![ResponseTopicData {
            topic_name: METADATA_TOPIC.to_owned(),
            partitions: vec![partition],
            ..ResponseTopicData::default()
        }],
        nodes: if version >= 2 { vec![node] } else { Vec::new() },
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
