//! The view of Fetch against the generated decoder: same verdict, same values.

#![no_main]

use bytes::Bytes;
use corelog_net::wire::fetch::FetchView;
use corelog_net::wire::messages::FetchRequest;
use corelog_net::wire::{Budget, Decoder, Message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [version, body @ ..] = data else { return };
    let version = 3 + i16::from(*version % 17);
    let body = Bytes::copy_from_slice(body);
    let mut budget = Budget::new(usize::MAX);
    let message = FetchRequest::decode(&mut Decoder::new(&body, &mut budget), version);
    let (message, view) = match (message, FetchView::parse(body.clone(), version)) {
        (Ok(message), Ok(view)) => (message, view),
        (message, view) => {
            assert_eq!(message.err(), view.err());
            return;
        }
    };
    assert_eq!(
        (view.max_wait_ms(), view.min_bytes()),
        (message.max_wait_ms, message.min_bytes)
    );
    assert_eq!(
        (view.session_id(), view.session_epoch()),
        (message.session_id, message.session_epoch)
    );
    assert_eq!(view.replica_epoch(), message.replica_state.replica_epoch);
    assert_eq!(view.rack_id(), message.rack_id);
    assert_eq!(view.cluster_id(), message.cluster_id.as_deref());
    assert_eq!(view.topics().count(), message.topics.len());
    for (topic, expected) in view.topics().zip(&message.topics) {
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.topic.as_str(), expected.topic_id)
        );
        assert_eq!(topic.partitions.clone().count(), expected.partitions.len());
        for (partition, expected) in topic.partitions.zip(&expected.partitions) {
            assert_eq!(partition.index, expected.partition);
            assert_eq!(partition.fetch_offset, expected.fetch_offset);
            assert_eq!(partition.max_bytes, expected.partition_max_bytes);
            assert_eq!(partition.high_watermark, expected.high_watermark);
            assert_eq!(
                partition.replica_directory_id,
                expected.replica_directory_id
            );
        }
    }
    for (topic, expected) in view.forgotten().zip(&message.forgotten_topics_data) {
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.topic.as_str(), expected.topic_id)
        );
        assert!(topic.partitions().eq(expected.partitions.iter().copied()));
    }
});
