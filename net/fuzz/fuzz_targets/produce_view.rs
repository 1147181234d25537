//! The view of Produce against the generated decoder: same verdict, same values.

#![no_main]

use bytes::Bytes;
use corelog_net::wire::messages::ProduceRequest;
use corelog_net::wire::produce::ProduceView;
use corelog_net::wire::{Budget, Decoder, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [version, body @ ..] = data else { return };
    let version = 2 + i16::from(*version % 13);
    let body = Bytes::copy_from_slice(body);
    let mut budget = Budget::new(usize::MAX);
    let message = ProduceRequest::decode(&mut Decoder::new(&body, &mut budget), version);
    let (message, view) = match (message, ProduceView::parse(body.clone(), version)) {
        (Ok(message), Ok(view)) => (message, view),
        (message, view) => {
            assert_eq!(message.err(), view.err());
            return;
        }
    };
    assert_eq!(
        (view.acks(), view.timeout_ms()),
        (message.acks, message.timeout_ms)
    );
    assert_eq!(view.transactional_id(), message.transactional_id.as_deref());
    assert_eq!(view.topics().count(), message.topic_data.len());
    for (topic, expected) in view.topics().zip(&message.topic_data) {
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.name.as_str(), expected.topic_id)
        );
        assert_eq!(
            topic.partitions.clone().count(),
            expected.partition_data.len()
        );
        for (partition, expected) in topic.partitions.zip(&expected.partition_data) {
            assert_eq!(partition.index, expected.index);
            assert_eq!(partition.records(), expected.records);
        }
    }
});
