//! How long the codec takes over a Produce and a Fetch of 100 partitions: `cargo bench -p corelog-net`.
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
#![expect(clippy::print_stdout, reason = "a bench prints its result")]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use corelog_net::wire::fetch::{self, FetchResponseWriter, FetchView, Start};
use corelog_net::wire::messages::fetch::{FetchPartition, FetchTopic};
use corelog_net::wire::messages::produce::{PartitionProduceData, TopicProduceData};
use corelog_net::wire::messages::{FetchRequest, ProduceRequest};
use corelog_net::wire::produce::{self, ProduceResponseWriter, ProduceView};
use corelog_net::wire::{Budget, Decoder, ErrorCode, Message, Uuid};

fn main() {
    let produce = produce_body();
    measure("produce request, view", || {
        let view = ProduceView::parse(produce.clone(), 13).expect("made here");
        let mut sum = 0;
        for topic in view.topics() {
            for partition in topic.partitions {
                sum += partition.record_bytes().map_or(0, <[u8]>::len);
            }
        }
        sum
    });
    measure("produce request, view with counted records", || {
        let view = ProduceView::parse(produce.clone(), 13).expect("made here");
        let mut sum = 0;
        for topic in view.topics() {
            for partition in topic.partitions {
                sum += black_box(partition.records()).map_or(0, |records| records.len());
            }
        }
        sum
    });
    measure("produce request, structs", || {
        decode::<ProduceRequest>(&produce, 13).topic_data.len()
    });
    let mut out = Vec::with_capacity(1 << 16);
    measure("produce response, writer", || {
        out.clear();
        let mut writer = ProduceResponseWriter::new(&mut out, 13, 1).expect("valid");
        writer.topic("", TOPIC_ID, 100).expect("short");
        for index in 0..100 {
            let answer = produce::PartitionAnswer::error(index, ErrorCode::None);
            writer.partition(&answer).expect("short");
        }
        writer.finish(0, &[]).expect("short");
        out.len()
    });
    let fetch = fetch_body();
    measure("fetch request, view", || {
        let view = FetchView::parse(fetch.clone(), 18).expect("made here");
        let mut sum = 0;
        for topic in view.topics() {
            for partition in topic.partitions {
                sum += i64::from(partition.index) + partition.fetch_offset;
            }
        }
        sum
    });
    measure("fetch request, structs", || {
        decode::<FetchRequest>(&fetch, 18).topics.len()
    });
    let mut gaps = Vec::with_capacity(100);
    measure("fetch response, writer", || {
        out.clear();
        gaps.clear();
        let start = Start {
            throttle_time_ms: 0,
            error_code: ErrorCode::None,
            session_id: 1,
            topic_count: 1,
        };
        let mut writer = FetchResponseWriter::new(&mut out, &mut gaps, 18, start).expect("valid");
        writer.topic("", TOPIC_ID, 100).expect("short");
        for index in 0..100 {
            let mut answer = fetch::PartitionAnswer::error(index, ErrorCode::None);
            answer.records_size = Some(1024);
            writer.partition(&answer).expect("short");
        }
        writer.finish(&[]).expect("short");
        gaps.len()
    });
}

const TOPIC_ID: Uuid = Uuid([7; 16]);

fn produce_body() -> Bytes {
    let message = ProduceRequest {
        topic_data: vec![TopicProduceData {
            topic_id: TOPIC_ID,
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
    Bytes::from(message.to_vec(13).expect("encodes"))
}

fn fetch_body() -> Bytes {
    let message = FetchRequest {
        topics: vec![FetchTopic {
            topic_id: TOPIC_ID,
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
    Bytes::from(message.to_vec(18).expect("encodes"))
}

fn decode<M: Message>(body: &Bytes, version: i16) -> M {
    let mut budget = Budget::for_frame(body.len());
    M::decode(&mut Decoder::new(body, &mut budget), version).expect("made here")
}

/// Prints the best of several rounds: the machine may be shared.
fn measure<T>(what: &str, mut work: impl FnMut() -> T) {
    const TIMES: u32 = 100;
    let mut best = u128::MAX;
    for _ in 0..5_000 {
        let start = Instant::now();
        for _ in 0..TIMES {
            black_box(work());
        }
        best = best.min(start.elapsed().as_nanos());
    }
    println!("{:>7} ns  {what}, 100 partitions", best / u128::from(TIMES));
}
