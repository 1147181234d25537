//! Which names each type has, in each version.

use corelog_net::wire::Message as _;
use corelog_net::wire::records::{ConfigRecord, TopicRecord};

use super::list;
use crate::metadata::{Image, ResourceType};

fn image() -> Image {
    let mut image = Image::default();
    let topic = TopicRecord {
        name: "orders".to_owned(),
        topic_id: corelog_net::wire::Uuid([7; 16]),
        ..Default::default()
    };
    image.apply(&topic.into()).unwrap();
    for (kind, name) in [
        (ResourceType::ClientMetrics, "slow clients"),
        (ResourceType::Group, "readers"),
        (ResourceType::Topic, "orders"),
    ] {
        let record = ConfigRecord {
            resource_type: kind.code(),
            resource_name: name.to_owned(),
            name: "n".to_owned(),
            value: Some("v".to_owned()),
            ..Default::default()
        };
        image.apply(&record.into()).unwrap();
    }
    image
}

fn told(asked: &[i8], version: i16) -> Vec<(i8, String)> {
    let answer = list(&image(), asked, version);
    answer.to_vec(version).unwrap();
    assert_eq!(answer.error_code, 0);
    let pair = |one: &super::ConfigResource| (one.resource_type, one.resource_name.clone());
    answer.config_resources.iter().map(pair).collect()
}

#[test]
fn version_0_tells_client_metrics_alone() {
    assert_eq!(told(&[], 0), [(16, "slow clients".to_owned())]);
}

#[test]
fn without_types_all_are_told() {
    let expected = [(2, "orders"), (16, "slow clients"), (32, "readers")];
    assert_eq!(
        told(&[], 1),
        expected.map(|(kind, name)| (kind, name.to_owned()))
    );
    assert_eq!(told(&[2], 1), [(2, "orders".to_owned())]);
}

#[test]
fn a_type_that_does_not_exist_is_refused() {
    let answer = list(&image(), &[2, 99], 1);
    assert_eq!((answer.error_code, answer.config_resources.len()), (35, 0));
}
