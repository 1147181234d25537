//! What is refused before a shard is asked.

use corelog_net::wire::messages::alter_replica_log_dirs::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic, AlterReplicaLogDirsRequest,
};
use corelog_net::wire::records::{PartitionRecord, TopicRecord};
use corelog_net::wire::{Message as _, Uuid};

use super::{answer, ask};
use crate::metadata::Image;

fn error(path: &str, partition: i32) -> i16 {
    let mut image = Image::default();
    let topic_id = Uuid([7; 16]);
    let topic = TopicRecord {
        name: "t".to_owned(),
        topic_id,
        ..Default::default()
    };
    image.apply(&topic.into()).unwrap();
    let only = PartitionRecord {
        partition_id: 0,
        topic_id,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        ..Default::default()
    };
    image.apply(&only.into()).unwrap();
    let request = AlterReplicaLogDirsRequest {
        dirs: vec![AlterReplicaLogDir {
            path: path.to_owned(),
            topics: vec![AlterReplicaLogDirTopic {
                name: "t".to_owned(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let directories = ["/d".to_owned(), "/cordoned".to_owned()];
    let asked = ask(&image, &directories, |at| at == 1, &request);
    let errors = asked
        .iter()
        .map(|one| one.question.err().unwrap_or_default());
    let answer = answer(&asked, errors);
    for version in 1..=2 {
        answer.to_vec(version).unwrap();
    }
    assert_eq!(answer.results[0].topic_name, "t");
    answer.results[0].partitions[0].error_code
}

#[test]
fn a_replica_may_stay_where_it_is_and_other_paths_are_not_found() {
    assert_eq!(error("/d", 0), 0);
    assert_eq!(error("/d", 5), 3);
    assert_eq!(error("relative", 0), 57);
    assert_eq!(error("/cordoned", 0), 39);
    assert_eq!(error("/cordoned", 5), 39);
}
