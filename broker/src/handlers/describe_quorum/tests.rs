//! The quorum of one, as every version tells it.

use corelog_net::wire::messages::describe_quorum::{
    DescribeQuorumRequest, RequestPartitionData, RequestTopicData,
};
use corelog_net::wire::{Message as _, Uuid};
use corelog_storage::types::{LeaderEpoch, Offset};

use super::{described, unknown};
use crate::config::BrokerConfig;
use crate::shard::control::Quorum;

#[test]
fn the_node_is_the_only_voter_and_not_behind() {
    let config = BrokerConfig::load(None, &[]).unwrap().config;
    let quorum = Quorum {
        leader_epoch: LeaderEpoch(3),
        high_watermark: Offset(40),
        end_offset: Offset(41),
    };
    for version in 0..=2 {
        let answer = described(&config, Uuid::ZERO, quorum, 1_000, version);
        assert_eq!(answer.nodes.len(), usize::from(version == 2));
        answer.to_vec(version).unwrap();
    }
    let answer = described(&config, Uuid::ZERO, quorum, 1_000, 2);
    let part = &answer.topics[0].partitions[0];
    assert_eq!(
        (part.leader_id, part.leader_epoch, part.high_watermark),
        (1, 3, 40)
    );
    let [voter] = &part.current_voters[..] else {
        panic!("one voter, not {:?}", part.current_voters);
    };
    assert_eq!((voter.replica_id, voter.log_end_offset), (1, 41));
    assert_eq!(part.observers, []);
}

#[test]
fn other_partitions_are_unknown() {
    let request = DescribeQuorumRequest {
        topics: vec![RequestTopicData {
            topic_name: "orders".to_owned(),
            partitions: vec![RequestPartitionData {
                partition_index: 4,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = unknown(&request);
    let part = &answer.topics[0].partitions[0];
    assert_eq!((part.partition_index, part.error_code), (4, 3));
    for version in 0..=2 {
        answer.to_vec(version).unwrap();
    }
}
