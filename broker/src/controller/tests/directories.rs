//! Where new partitions go on a node with several log directories, and what a failed one means.

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use corelog_net::wire::records::BrokerRegistrationChangeRecord;

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
