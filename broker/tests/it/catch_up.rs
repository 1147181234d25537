//! Consumers that read what only the disk has, and how writes get there.

use std::fs;
use std::path::PathBuf;

use corelog_net::wire::messages::produce::ProduceRequest;
use rustix::fs::Advice;

use crate::client::Client;
use crate::harness::Broker;
use crate::metrics::{ON_ANY_PORT, scrape};
use crate::records::{read, values};
use crate::table::error;
use crate::topics::{create, fetching, only_records, produce, producing, read_all};

/// About 100 KB each, no two alike.
fn large(number: usize) -> Vec<String> {
    (0..10)
        .map(|record| format!("{number}.{record} {}", format!("{number:04}").repeat(2500)))
        .collect()
}

fn sent(number: usize) -> Vec<u8> {
    let values_of = large(number);
    let all: Vec<&str> = values_of.iter().map(String::as_str).collect();
    values(&all)
}

/// The log files of a partition.
fn logs(broker: &Broker, partition: &str) -> Vec<PathBuf> {
    let folder = fs::read_dir(broker.data().join(partition)).expect("the partition's folder");
    let paths = folder.map(|entry| entry.expect("an entry").path());
    let mut logs: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    logs.sort();
    logs
}

/// Takes the files out of the page cache.
fn evict(broker: &Broker, partition: &str) {
    for path in logs(broker, partition) {
        let file = fs::File::open(path).expect("it can be opened");
        file.sync_all().expect("it can be synced");
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("a file has advice");
    }
}

/// Everything from 0, in answers of at most so many bytes; how many answers there were.
fn drain(client: &mut Client, topic: &str, bytes_max: i32, count: i64) -> usize {
    let (mut next, mut answers) = (0, 0);
    while next < count {
        let mut request = fetching(topic, 0, next);
        request.topics[0].partitions[0].partition_max_bytes = bytes_max;
        let found = read(&only_records(&client.call(12, &request)));
        assert!(!found.is_empty(), "nothing at {next}");
        answers += 1;
        for (offset, value) in found {
            if offset < next {
                continue; // The batch began before.
            }
            assert_eq!(offset, next);
            let at = usize::try_from(offset).expect("an offset");
            let expected = format!("{}.{} ", at / 10, at % 10);
            assert!(value.starts_with(expected.as_bytes()), "offset {offset}");
            assert_eq!(value.len(), expected.len() + 10_000);
            next += 1;
        }
    }
    answers
}

#[test]
fn cold_readers_of_every_appetite_read_everything_in_order() {
    const BATCHES: usize = 150;
    let mut broker = Broker::start();
    let mut client = broker.client();
    // 15 MB in three segments.
    create(&mut client, "catch-up", 1, &[("segment.bytes", "6000000")]);
    for number in 0..BATCHES {
        produce(&mut client, "catch-up", 0, sent(number));
    }
    // Nothing is in the broker's memory then.
    broker.restart();
    assert_eq!(logs(&broker, "catch-up-0").len(), 3);
    let mut client = broker.client();
    let count = i64::try_from(BATCHES * 10).expect("a count");
    for bytes_max in [1 << 20, 50_000, 350_000, 3 << 20, 64 << 20] {
        evict(&broker, "catch-up-0");
        let answers = drain(&mut client, "catch-up", bytes_max, count);
        // What is there for a megabyte is sent as one.
        if bytes_max >= 1 << 20 {
            assert!(answers <= 24, "{answers} answers of {bytes_max}");
        }
    }
}

#[test]
fn cold_readers_beside_each_other_do_not_mix() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    for topic in ["beside-a", "beside-b"] {
        create(&mut client, topic, 1, &[]);
        for number in 0..60 {
            produce(&mut client, topic, 0, sent(number));
        }
    }
    broker.restart();
    evict(&broker, "beside-a-0");
    evict(&broker, "beside-b-0");
    std::thread::scope(|scope| {
        for reader in 0..6 {
            let broker = &broker;
            scope.spawn(move || {
                let topic = ["beside-a", "beside-b"][reader % 2];
                let bytes_max = [1 << 20, 700_000, 2 << 20][reader / 2];
                drain(&mut broker.client(), topic, bytes_max, 600);
            });
        }
        // And somebody writes all the while.
        let mut client = broker.client();
        create(&mut client, "beside-hot", 1, &[]);
        for number in 0..100 {
            assert_eq!(
                produce(&mut client, "beside-hot", 0, sent(number)),
                10 * i64::try_from(number).expect("a count")
            );
        }
    });
}

/// A reader that follows at once what is written behind the end it knew.
#[test]
fn a_reader_that_catches_up_goes_on_with_what_comes() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    create(&mut client, "catch-end", 1, &[]);
    for number in 0..45 {
        produce(&mut client, "catch-end", 0, sent(number));
    }
    broker.restart();
    evict(&broker, "catch-end-0");
    let mut client = broker.client();
    drain(&mut client, "catch-end", 1 << 20, 450);
    for number in 45..60 {
        produce(&mut client, "catch-end", 0, sent(number));
    }
    drain(&mut client, "catch-end", 1 << 20, 600);
}

#[test]
fn what_the_ring_wrote_is_there_after_a_kill() {
    rolls_and_survives(&["corelog.io.write=ring", "corelog.io.direct=never"]);
}

#[test]
fn what_was_written_inline_is_there_after_a_kill() {
    rolls_and_survives(&["corelog.io.write=inline", "corelog.io.direct=never"]);
}

#[test]
fn what_was_written_past_the_page_cache_is_there_after_a_kill() {
    rolls_and_survives(&["corelog.io.write=inline", "corelog.io.direct=always"]);
}

/// Many batches on their way at once, over many segments: each is acknowledged, and then there.
fn rolls_and_survives(ways: &[&str; 2]) {
    let mut broker = Broker::with(&[ways[0], ways[1], ON_ANY_PORT]);
    let mut client = broker.client();
    create(&mut client, "by-ring", 2, &[("segment.bytes", "1048576")]);
    let mut requests = Vec::new();
    for number in 0..60 {
        for partition in 0..2 {
            requests.push(client.send(9, &producing("by-ring", partition, sent(number))));
        }
    }
    for (at, request) in requests.into_iter().enumerate() {
        let response = client.receive::<ProduceRequest>(request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(error(answer.error_code), "NONE");
        assert_eq!(
            answer.base_offset,
            10 * i64::try_from(at / 2).expect("a count")
        );
    }
    let said = ways.map(|way| way.split('=').nth(1).expect("a value"));
    let direct = said[1] == "always";
    assert!(
        broker
            .log()
            .contains(&format!("writes={} direct={direct}", said[0]))
    );
    let before = scrape(&broker);
    broker.kill();
    broker.launch();
    let mut client = broker.client();
    for partition in 0..2 {
        let all = read_all(&mut client, "by-ring", partition, 0);
        assert!(all.iter().map(|(offset, _)| *offset).eq(0..600));
        let same = |(at, value): (usize, &Vec<u8>)| *value == large(at / 10)[at % 10].as_bytes();
        assert!(all.iter().map(|(_, value)| value).enumerate().all(same));
    }
    assert!(logs(&broker, "by-ring-0").len() > 5);
    let past_the_cache = before.value("corelog_log_direct_written_bytes_total", &[]);
    assert_eq!(past_the_cache > 2e6, direct, "{past_the_cache} bytes");
    broker.stop();
}

#[test]
fn the_log_says_how_a_directory_is_written() {
    let broker = Broker::start();
    let log = broker.log();
    let line = log
        .lines()
        .find(|line| line.contains(" writes="))
        .unwrap_or_else(|| panic!("{log}"));
    let way = ["writes=inline", "writes=ring"];
    assert!(way.iter().any(|way| line.contains(way)), "{line}");
    let left = fs::read_dir(broker.data()).expect("the data directory");
    let mut names = left.map(|entry| entry.expect("an entry").file_name());
    assert!(names.all(|name| !name.to_string_lossy().contains("probe")));
}
