//! The views and writers of Produce and Fetch against the generated code.

use bytes::Bytes;
use corelog_net::wire::fetch::{self, FetchResponseWriter, FetchView, Gap};
use corelog_net::wire::header::RequestHeader;
use corelog_net::wire::messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use corelog_net::wire::produce::{self, ProduceResponseWriter, ProduceView};
use corelog_net::wire::{ApiKey, Budget, Decoder, ErrorCode, Message, Uuid};

use crate::allocations::counted;
use crate::golden::exchanges;
use crate::schema::{Random, Schema};

fn produce_agrees(body: &Bytes, version: i16) {
    let mut budget = Budget::for_frame(body.len());
    let message = ProduceRequest::decode(&mut Decoder::new(body, &mut budget), version);
    let view = ProduceView::parse(body.clone(), version);
    let (message, view) = match (message, view) {
        (Ok(message), Ok(view)) => (message, view),
        (message, view) => {
            assert_eq!(message.err(), view.err());
            return;
        }
    };
    assert_eq!(view.version(), version);
    assert_eq!(view.acks(), message.acks);
    assert_eq!(view.timeout_ms(), message.timeout_ms);
    assert_eq!(view.transactional_id(), message.transactional_id.as_deref());
    assert_eq!(view.topic_count(), message.topic_data.len());
    assert_eq!(view.topics().len(), message.topic_data.len());
    let (mut partitions, mut size) = (0, 0);
    let mut topics = view.topics();
    for expected in &message.topic_data {
        let topic = topics.next().expect("as many topics");
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.name.as_str(), expected.topic_id)
        );
        assert_eq!(topic.partitions.len(), expected.partition_data.len());
        let mut walk = topic.partitions;
        for expected in &expected.partition_data {
            let partition = walk.next().expect("as many partitions");
            assert_eq!(partition.index, expected.index);
            assert_eq!(partition.records(), expected.records);
            assert_eq!(partition.record_bytes(), expected.records.as_deref());
            partitions += 1;
            size += expected.records.as_ref().map_or(0, Bytes::len);
        }
        assert!(walk.next().is_none());
    }
    assert!(topics.next().is_none());
    assert_eq!(
        (view.partition_count(), view.records_size()),
        (partitions, size)
    );
}

fn fetch_agrees(body: &Bytes, version: i16) {
    let mut budget = Budget::for_frame(body.len());
    let message = FetchRequest::decode(&mut Decoder::new(body, &mut budget), version);
    let view = FetchView::parse(body.clone(), version);
    let (message, view) = match (message, view) {
        (Ok(message), Ok(view)) => (message, view),
        (message, view) => {
            assert_eq!(message.err(), view.err());
            return;
        }
    };
    let replica = if version <= 14 {
        message.replica_id
    } else {
        message.replica_state.replica_id
    };
    assert_eq!(view.version(), version);
    assert_eq!(view.replica_id(), replica);
    assert_eq!(view.replica_epoch(), message.replica_state.replica_epoch);
    assert_eq!(view.max_wait_ms(), message.max_wait_ms);
    assert_eq!(view.min_bytes(), message.min_bytes);
    assert_eq!(view.max_bytes(), message.max_bytes);
    assert_eq!(view.isolation_level(), message.isolation_level);
    assert_eq!(view.session_id(), message.session_id);
    assert_eq!(view.session_epoch(), message.session_epoch);
    assert_eq!(view.rack_id(), message.rack_id);
    assert_eq!(view.cluster_id(), message.cluster_id.as_deref());
    assert_eq!(view.topic_count(), message.topics.len());
    assert_eq!(view.forgotten_count(), message.forgotten_topics_data.len());
    let mut partitions = 0;
    let mut topics = view.topics();
    for expected in &message.topics {
        let topic = topics.next().expect("as many topics");
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.topic.as_str(), expected.topic_id)
        );
        let mut walk = topic.partitions;
        assert_eq!(walk.len(), expected.partitions.len());
        for expected in &expected.partitions {
            let partition = walk.next().expect("as many partitions");
            assert_eq!(partition.index, expected.partition);
            assert_eq!(
                partition.current_leader_epoch,
                expected.current_leader_epoch
            );
            assert_eq!(partition.fetch_offset, expected.fetch_offset);
            assert_eq!(partition.last_fetched_epoch, expected.last_fetched_epoch);
            assert_eq!(partition.log_start_offset, expected.log_start_offset);
            assert_eq!(partition.max_bytes, expected.partition_max_bytes);
            assert_eq!(
                partition.replica_directory_id,
                expected.replica_directory_id
            );
            assert_eq!(partition.high_watermark, expected.high_watermark);
            partitions += 1;
        }
        assert!(walk.next().is_none());
    }
    assert!(topics.next().is_none());
    assert_eq!(view.partition_count(), partitions);
    let mut forgotten = view.forgotten();
    for expected in &message.forgotten_topics_data {
        let topic = forgotten.next().expect("as many forgotten topics");
        assert_eq!(
            (topic.name, topic.topic_id),
            (expected.topic.as_str(), expected.topic_id)
        );
        assert_eq!(topic.partitions().collect::<Vec<_>>(), expected.partitions);
    }
    assert!(forgotten.next().is_none());
}

#[test]
fn views_agree_with_the_decoder_on_golden_frames() {
    let mut checked = 0;
    for exchange in exchanges() {
        let mut budget = Budget::new(1 << 20);
        let mut d = Decoder::new(&exchange.request, &mut budget);
        let header = RequestHeader::decode(&mut d).expect("a header");
        match header.api_key {
            ApiKey::Produce => produce_agrees(&d.rest(), header.api_version),
            ApiKey::Fetch => fetch_agrees(&d.rest(), header.api_version),
            _ => continue,
        }
        checked += 1;
    }
    assert!(checked > 40, "only {checked} frames");
}

/// Random bodies of a request, whole, cut and mutated.
fn bodies(name: &str, version: i16, mut check: impl FnMut(&Bytes, i16)) {
    let schema = Schema::load(name);
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let value = schema.random(version, &mut random);
        let bytes = schema.write(version, &value, seed % 3 == 0);
        check(&Bytes::copy_from_slice(&bytes), version);
        check(
            &Bytes::copy_from_slice(&bytes[..random.below(bytes.len())]),
            version,
        );
        for _ in 0..20 {
            let mut bytes = bytes.clone();
            let place = random.below(bytes.len());
            bytes[place] = random.next().to_be_bytes()[0];
            check(&Bytes::from(bytes), version);
        }
    }
}

#[test]
fn views_agree_with_the_decoder_on_random_and_broken_frames() {
    for version in ProduceRequest::VALID_VERSIONS {
        bodies("ProduceRequest", version, produce_agrees);
    }
    for version in FetchRequest::VALID_VERSIONS {
        bodies("FetchRequest", version, fetch_agrees);
    }
    for version in [-1, 0, 2, 14, 99] {
        assert!(ProduceView::parse(Bytes::from_static(&[0; 64]), version).is_err());
    }
    for version in [-1, 3, 19, 99] {
        assert!(FetchView::parse(Bytes::from_static(&[0; 64]), version).is_err());
    }
}

fn known_error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

#[test]
fn the_produce_writer_writes_what_the_encoder_writes() {
    let schema = Schema::load("ProduceResponse");
    for version in ProduceResponse::VALID_VERSIONS {
        for seed in 0..200 {
            let value = schema.random(version, &mut Random::new(seed));
            let bytes = Bytes::from(schema.write(version, &value, false));
            let mut message = ProduceResponse::from_bytes(&bytes, version).expect("decodes");
            let mut out = vec![0xaa; 3];
            let mut writer = ProduceResponseWriter::new(&mut out, version, message.responses.len())
                .expect("a valid version");
            for topic in &mut message.responses {
                let count = topic.partition_responses.len();
                writer
                    .topic(&topic.name, topic.topic_id, count)
                    .expect("short");
                for partition in &mut topic.partition_responses {
                    let error_code = known_error(partition.error_code);
                    partition.error_code = error_code.code();
                    let leader = &partition.current_leader;
                    writer
                        .partition(&produce::PartitionAnswer {
                            index: partition.index,
                            error_code,
                            base_offset: partition.base_offset,
                            log_append_time_ms: partition.log_append_time_ms,
                            log_start_offset: partition.log_start_offset,
                            record_errors: &partition.record_errors,
                            error_message: partition.error_message.as_deref(),
                            current_leader: Some((leader.leader_id, leader.leader_epoch)),
                        })
                        .expect("short");
                }
            }
            writer
                .finish(message.throttle_time_ms, &message.node_endpoints)
                .expect("short");
            assert_eq!(
                out[3..],
                message.to_vec(version).expect("encodes"),
                "v{version} {seed}"
            );
        }
    }
}

#[test]
fn the_fetch_writer_and_its_gaps_give_what_the_encoder_writes() {
    let schema = Schema::load("FetchResponse");
    for version in FetchResponse::VALID_VERSIONS {
        for seed in 0..200 {
            let value = schema.random(version, &mut Random::new(seed));
            let bytes = Bytes::from(schema.write(version, &value, false));
            let mut message = FetchResponse::from_bytes(&bytes, version).expect("decodes");
            message.error_code = known_error(message.error_code).code();
            let (mut out, mut gaps) = (vec![0xaa; 3], Vec::new());
            let start = fetch::Start {
                throttle_time_ms: message.throttle_time_ms,
                error_code: known_error(message.error_code),
                session_id: message.session_id,
                topic_count: message.responses.len(),
            };
            let mut writer = FetchResponseWriter::new(&mut out, &mut gaps, version, start)
                .expect("a valid version");
            for topic in &mut message.responses {
                writer
                    .topic(&topic.topic, topic.topic_id, topic.partitions.len())
                    .expect("short");
                for partition in &mut topic.partitions {
                    let error_code = known_error(partition.error_code);
                    partition.error_code = error_code.code();
                    let diverging = &partition.diverging_epoch;
                    let leader = &partition.current_leader;
                    let snapshot = &partition.snapshot_id;
                    writer
                        .partition(&fetch::PartitionAnswer {
                            index: partition.partition_index,
                            error_code,
                            high_watermark: partition.high_watermark,
                            last_stable_offset: partition.last_stable_offset,
                            log_start_offset: partition.log_start_offset,
                            diverging_epoch: Some((diverging.epoch, diverging.end_offset)),
                            current_leader: Some((leader.leader_id, leader.leader_epoch)),
                            snapshot_id: Some((snapshot.end_offset, snapshot.epoch)),
                            aborted_transactions: partition.aborted_transactions.as_deref(),
                            preferred_read_replica: partition.preferred_read_replica,
                            records_size: partition.records.as_ref().map(Bytes::len),
                        })
                        .expect("short");
                }
            }
            writer.finish(&message.node_endpoints).expect("short");
            let records = message.responses.iter().flat_map(|topic| &topic.partitions);
            let records = records
                .filter_map(|p| p.records.clone())
                .filter(|records| !records.is_empty());
            let whole = filled(&out, &gaps, records);
            assert_eq!(
                whole[3..],
                message.to_vec(version).expect("encodes"),
                "v{version} {seed}"
            );
        }
    }
}

/// Puts records into their gaps.
fn filled(out: &[u8], gaps: &[Gap], mut records: impl Iterator<Item = Bytes>) -> Vec<u8> {
    let mut whole = Vec::new();
    let mut from = 0;
    for gap in gaps {
        whole.extend_from_slice(&out[from..gap.position]);
        let bytes = records.next().expect("records for each gap");
        assert_eq!(bytes.len(), gap.size);
        whole.extend_from_slice(&bytes);
        from = gap.position;
    }
    assert!(records.next().is_none());
    whole.extend_from_slice(&out[from..]);
    whole
}

#[test]
fn a_hundred_partitions_are_walked_and_answered_without_allocating() {
    use corelog_net::wire::messages::fetch::{FetchPartition, FetchTopic};
    use corelog_net::wire::messages::produce::{PartitionProduceData, TopicProduceData};
    let topic_id = Uuid([7; 16]);
    let message = ProduceRequest {
        topic_data: vec![TopicProduceData {
            topic_id,
            partition_data: (0..100)
                .map(|index| PartitionProduceData {
                    index,
                    records: Some(Bytes::from_static(&[1; 80])),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = Bytes::from(message.to_vec(13).expect("encodes"));
    // The first clone of a vector's bytes makes their counter; frames have theirs already.
    let _counted = body.clone();
    let mut out = Vec::with_capacity(16 * 1024);
    let (sum, taken) = counted(|| {
        let view = ProduceView::parse(body.clone(), 13).expect("decodes");
        let mut writer =
            ProduceResponseWriter::new(&mut out, 13, view.topic_count()).expect("valid");
        let mut sum = 0;
        for topic in view.topics() {
            writer
                .topic(topic.name, topic.topic_id, topic.partitions.len())
                .expect("short");
            for partition in topic.partitions {
                sum += partition.records().map_or(0, |records| records.len());
                writer
                    .partition(&produce::PartitionAnswer::error(
                        partition.index,
                        ErrorCode::None,
                    ))
                    .expect("short");
            }
        }
        writer.finish(0, &[]).expect("short");
        sum
    });
    assert_eq!((sum, taken.count), (8000, 0));

    let message = FetchRequest {
        topics: vec![FetchTopic {
            topic_id,
            partitions: (0..100)
                .map(|partition| FetchPartition {
                    partition,
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let body = Bytes::from(message.to_vec(18).expect("encodes"));
    let _counted = body.clone();
    let mut gaps = Vec::with_capacity(100);
    out.clear();
    let (count, taken) = counted(|| {
        let view = FetchView::parse(body.clone(), 18).expect("decodes");
        let start = fetch::Start {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: 0,
            topic_count: view.topic_count(),
        };
        let mut writer = FetchResponseWriter::new(&mut out, &mut gaps, 18, start).expect("valid");
        for topic in view.topics() {
            writer
                .topic(topic.name, topic.topic_id, topic.partitions.len())
                .expect("short");
            for partition in topic.partitions {
                let mut answer = fetch::PartitionAnswer::error(partition.index, ErrorCode::None);
                answer.records_size = Some(1024);
                writer.partition(&answer).expect("short");
            }
        }
        writer.finish(&[]).expect("short");
        view.partition_count()
    });
    assert_eq!((count, taken.count, gaps.len()), (100, 0, 100));
}
