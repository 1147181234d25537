//! Where new partitions go on a node with several log directories, and what a failed one means.

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreateTopicsRequest,
};
use corelog_net::wire::records::{BrokerRegistrationChangeRecord, FeatureLevelRecord};

use super::Node;

#[test]
fn new_partitions_go_to_the_least_loaded_directory() {
    let mut node = Node::new("");
    node.topic("before", 2);
    let ids = [Uuid([6; 16]), Uuid([7; 16]), Uuid([8; 16])];
    let register = |ids: &[Uuid]| {
        vec![
            BrokerRegistrationChangeRecord {
                broker_id: 1,
                broker_epoch: 9,
                log_dirs: ids.to_vec(),
                ..BrokerRegistrationChangeRecord::default()
            }
            .into(),
        ]
    };
    node.store(&register(&ids));
    let place = |node: &mut Node, name: &str, count: i32, avoided: &[Uuid]| {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                num_partitions: count,
                replication_factor: 1,
                ..CreatableTopic::default()
            }],
            ..CreateTopicsRequest::default()
        };
        let mut drawn = u8::try_from(node.image.topic_count()).expect("few") + 100;
        let mut draw = || {
            drawn += 1;
            Uuid([drawn; 16])
        };
        let mut records = node.controller().create_topics(&request, &mut draw).records;
        node.controller().choose_directories(&mut records, avoided);
        node.store(&records);
        let topic = node.image.topic(name).expect("it was made");
        let directory = |index| topic.partition(index).and_then(|one| one.directory(1));
        (0..count)
            .map(|index| directory(index).expect("it has one").0[0])
            .collect::<Vec<_>>()
    };
    // Two lie in the first already.
    assert_eq!(place(&mut node, "a", 5, &[]), [7, 8, 7, 8, 6]);
    assert_eq!(place(&mut node, "b", 2, &[ids[1], ids[2]]), [6, 6]);
    assert_eq!(place(&mut node, "c", 2, &ids), [7, 8]);
    // A failed directory is not registered, gets nothing, and what it holds has no leader.
    let records = node.controller().directory_failed(ids[1]);
    node.store(&records);
    assert_eq!(node.controller().directory_failed(ids[1]), []);
    assert_eq!(place(&mut node, "d", 2, &[]), [8, 8]);
    let topic = node.image.topic("a").expect("the topic");
    let leaders: Vec<_> = topic.partitions.iter().map(|one| one.leader).collect();
    assert_eq!(leaders, [-1, 1, -1, 1, 1]);
    // Found again, it gets its lead back.
    let found = [(topic.id, 0, ids[2])];
    let records = node.controller().assign_directories(&found);
    node.store(&records);
    let partition = &node.image.topic("a").expect("the topic").partitions[0];
    assert_eq!(
        (partition.leader, partition.directory(1)),
        (1, Some(ids[2]))
    );
}

#[test]
fn a_directory_is_recorded_once() {
    let mut node = Node::new("");
    node.topic("g", 1);
    let id = node.image.topic("g").expect("the topic").id;
    let chosen = [
        (id, 0, Uuid([8; 16])),
        (id, 7, Uuid([8; 16])),
        (Uuid([9; 16]), 0, Uuid([8; 16])),
    ];
    let records = node.controller().assign_directories(&chosen);
    assert_eq!(records.len(), 1);
    node.store(&records);
    let partition = &node.image.topic("g").expect("the topic").partitions[0];
    assert_eq!(partition.directory(1), Some(Uuid([8; 16])));
    assert_eq!((partition.leader, partition.leader_epoch), (1, 0));
    assert_eq!(node.controller().assign_directories(&chosen), []);
}

#[test]
fn a_cordoned_directory_gets_nothing_but_what_is_put_there_by_hand() {
    let mut node = Node::new("");
    let ids = [Uuid([6; 16]), Uuid([7; 16]), Uuid([8; 16])];
    let both = BrokerRegistrationChangeRecord {
        broker_id: 1,
        broker_epoch: 9,
        log_dirs: ids.to_vec(),
        ..BrokerRegistrationChangeRecord::default()
    };
    node.store(&[both.into()]);
    let cordon = |node: &mut Node, cordoned: &[Uuid]| {
        let record = node.controller().cordon(cordoned);
        let records: Vec<_> = record.into_iter().collect();
        node.store(&records);
        records.len()
    };
    // The answer's sentence, or where the partitions went.
    let place = |node: &mut Node, name: &str, wanted: CreatableTopic, avoided: &[Uuid]| {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.to_owned(),
                ..wanted
            }],
            ..CreateTopicsRequest::default()
        };
        let mut draw = || Uuid([name.as_bytes()[0]; 16]);
        let outcome = node.controller().create_topics(&request, &mut draw);
        if let Some(message) = &outcome.response.topics[0].error_message {
            assert_eq!(outcome.response.topics[0].error_code, 38);
            return Err(message.clone());
        }
        let mut records = outcome.records;
        node.controller().choose_directories(&mut records, avoided);
        node.store(&records);
        let topic = node.image.topic(name).expect("it was made");
        let directories = topic.partitions.iter().map(|one| one.directory(1));
        Ok(directories
            .map(|id| id.expect("it has one").0[0])
            .collect::<Vec<_>>())
    };
    let count = |num_partitions: i32| CreatableTopic {
        num_partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let by_hand = || {
        let assignment = |partition_index| CreatableReplicaAssignment {
            partition_index,
            broker_ids: vec![1],
            ..CreatableReplicaAssignment::default()
        };
        CreatableTopic {
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![assignment(0), assignment(1)],
            ..CreatableTopic::default()
        }
    };
    assert_eq!(cordon(&mut node, &[ids[1]]), 1);
    assert_eq!(cordon(&mut node, &[ids[1]]), 0, "it is so");
    assert_eq!(place(&mut node, "a", count(4), &[]), Ok(vec![6, 8, 6, 8]));
    // Rather a full one than a cordoned one.
    assert_eq!(
        place(&mut node, "b", count(2), &[ids[0], ids[2]]),
        Ok(vec![6, 8])
    );
    assert_eq!(place(&mut node, "c", by_hand(), &[]), Ok(vec![6, 8]));
    // With all of them cordoned the node gets nothing that does not name it.
    assert_eq!(cordon(&mut node, &ids), 1);
    let none = "All brokers are currently fenced, or have all their log directories cordoned.";
    assert_eq!(
        place(&mut node, "d", count(1), &[]),
        Err(format!(
            "Unable to replicate the partition 1 time(s): {none}"
        ))
    );
    let more = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic {
            name: "a".to_owned(),
            count: 5,
            assignments: None,
            ..CreatePartitionsTopic::default()
        }],
        ..CreatePartitionsRequest::default()
    };
    let outcome = node.controller().create_partitions(&more);
    let result = &outcome.response.results[0];
    assert_eq!(
        (result.error_code, result.error_message.as_deref()),
        (38, Some(none))
    );
    assert_eq!(place(&mut node, "e", by_hand(), &[]), Ok(vec![7, 7]));
    assert_eq!(cordon(&mut node, &[]), 1);
    assert_eq!(place(&mut node, "f", count(1), &[]), Ok(vec![7]));
    // Registrations of an older cluster cannot say it.
    let old = FeatureLevelRecord {
        name: "metadata.version".to_owned(),
        feature_level: 29,
        ..FeatureLevelRecord::default()
    };
    node.store(&[old.into()]);
    assert_eq!(cordon(&mut node, &ids), 0);
}
