//! Incremental fetch sessions (KIP-227) over many partitions: whatever happens to their topics between requests and while
//! one waits, nothing is skipped, nothing is told twice without reason, and what ended is noticed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};

use crate::client::{Client, Heard};
use crate::harness::{Broker, eventually};
use crate::log_dirs::{directory_of, with_directories};
use crate::moves::moving;
use crate::random::Random;
use crate::records::{read, values};
use crate::table::error;
use crate::topics::{create, delete, deleting_records, end_offset, produce};

/// A consumer with a session: what it wants, from where, and what of it the session knows already.
struct Reader {
    client: Client,
    topic: String,
    id: Uuid,
    version: i16,
    session: (i32, i32),
    wanted: BTreeMap<i32, i64>,
    /// To be told with the next request.
    changed: Vec<i32>,
    forgotten: Vec<i32>,
    wait_ms: i32,
    size_min: i32,
    size_max: i32,
}

impl Reader {
    fn new(broker: &Broker, topic: &str, id: Uuid, partitions: i32) -> Self {
        Self {
            client: broker.client(),
            topic: topic.to_owned(),
            id,
            version: 13,
            session: (0, 0),
            wanted: (0..partitions).map(|partition| (partition, 0)).collect(),
            changed: (0..partitions).collect(),
            forgotten: Vec::new(),
            wait_ms: 0,
            size_min: 1,
            size_max: 1 << 20,
        }
    }

    fn request(&mut self) -> FetchRequest {
        let (topic, topic_id) = if self.version >= 13 {
            (String::new(), self.id)
        } else {
            (self.topic.clone(), Uuid::ZERO)
        };
        let partitions: Vec<_> = std::mem::take(&mut self.changed)
            .into_iter()
            .filter_map(|partition| Some((partition, *self.wanted.get(&partition)?)))
            .map(|(partition, fetch_offset)| FetchPartition {
                partition,
                fetch_offset,
                partition_max_bytes: 1 << 20,
                ..FetchPartition::default()
            })
            .collect();
        let forgotten = std::mem::take(&mut self.forgotten);
        FetchRequest {
            max_wait_ms: self.wait_ms,
            min_bytes: self.size_min,
            max_bytes: self.size_max,
            session_id: self.session.0,
            session_epoch: self.session.1,
            topics: (!partitions.is_empty())
                .then(|| FetchTopic {
                    topic: topic.clone(),
                    topic_id,
                    partitions,
                    ..FetchTopic::default()
                })
                .into_iter()
                .collect(),
            forgotten_topics_data: (!forgotten.is_empty())
                .then(|| ForgottenTopic {
                    topic,
                    topic_id,
                    partitions: forgotten,
                    ..ForgottenTopic::default()
                })
                .into_iter()
                .collect(),
            ..FetchRequest::default()
        }
    }

    #[track_caller]
    fn took(&mut self, response: FetchResponse) -> Vec<PartitionData> {
        assert_eq!(error(response.error_code), "NONE");
        self.session = (response.session_id, self.session.1 + 1);
        let topics = response.responses.into_iter();
        topics.flat_map(|topic| topic.partitions).collect()
    }

    #[track_caller]
    fn fetch(&mut self) -> Vec<PartitionData> {
        let (version, request) = (self.version, self.request());
        let response = self.client.call(version, &request);
        self.took(response)
    }

    /// Fetches, and goes on behind what came. The values by partition; errors fail.
    #[track_caller]
    fn advance(&mut self) -> Vec<(i32, Vec<u8>)> {
        let mut got = Vec::new();
        for one in self.fetch() {
            let partition = one.partition_index;
            assert_eq!(error(one.error_code), "NONE", "{partition}");
            let next = self.wanted[&partition];
            let records = read(&one.records.unwrap_or_default());
            let new = records.into_iter().filter(|(offset, _)| *offset >= next);
            let mut end = next;
            for (offset, value) in new {
                assert_eq!(offset, end, "partition {partition}: the next record");
                end = offset + 1;
                got.push((partition, value));
            }
            if end > next {
                self.wanted.insert(partition, end);
                self.changed.push(partition);
            }
        }
        got
    }
}

fn errors(answers: &[PartitionData]) -> Vec<(i32, &'static str)> {
    let mut all: Vec<_> = answers
        .iter()
        .map(|one| (one.partition_index, error(one.error_code)))
        .collect();
    all.sort_unstable();
    all
}

/// Producers, a reader that takes partitions on and lets them go, and deletions of records, in a random order: every
/// record comes once and in order, no fetch comes back empty while there is something, and nobody is starved.
#[test]
fn whatever_is_asked_every_record_comes_once_and_in_order() {
    const PARTITIONS: i32 = 24;
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "session-model";
    let id = create(&mut client, topic, PARTITIONS, &[]);
    let mut random = Random::new(7);
    let mut reader = Reader::new(&broker, topic, id, PARTITIONS);
    // A few batches, so that limits matter.
    reader.size_max = 300;
    let mut ends = [0_i64; 24];
    let mut gone: BTreeMap<i32, i64> = BTreeMap::new();
    for step in 0..600 {
        match random.below(8) {
            0..4 => {
                let partition = i32::try_from(random.below(24)).expect("small");
                let at = usize::try_from(partition).expect("positive");
                let value = format!("{partition}:{}", ends[at]);
                let base = produce(&mut client, topic, partition, values(&[&value]));
                assert_eq!(base, ends[at]);
                ends[at] += 1;
            }
            4 => {
                // Let go, to be taken on again later.
                let partition = i32::try_from(random.below(24)).expect("small");
                if reader.wanted.len() > 3
                    && let Some(offset) = reader.wanted.remove(&partition)
                {
                    gone.insert(partition, offset);
                    if reader.session.0 != 0 {
                        reader.forgotten.push(partition);
                    }
                }
            }
            5 => {
                if let Some((partition, offset)) = gone.pop_first() {
                    reader.forgotten.retain(|one| *one != partition);
                    reader.wanted.insert(partition, offset);
                    reader.changed.push(partition);
                }
            }
            _ => {
                let behind: i64 = reader
                    .wanted
                    .iter()
                    .map(|(partition, offset)| {
                        ends[usize::try_from(*partition).expect("positive")] - offset
                    })
                    .sum();
                let got = reader.advance();
                assert!(
                    got.is_empty() == (behind == 0),
                    "step {step}: {behind} {got:?}"
                );
            }
        }
    }
    for (partition, offset) in gone {
        reader.wanted.insert(partition, offset);
        reader.changed.push(partition);
    }
    // A busy partition must not keep the others waiting: they are read to their ends in no more fetches than there are records.
    for _ in 0..300 {
        produce(&mut client, topic, 0, values(&["busy"]));
        assert!(!reader.advance().is_empty());
    }
    for (partition, offset) in &reader.wanted {
        let end = ends[usize::try_from(*partition).expect("positive")];
        if *partition != 0 {
            assert_eq!(*offset, end, "partition {partition}");
        }
    }
}

#[test]
fn only_what_changed_is_told() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "session-news";
    let id = create(&mut client, topic, 16, &[]);
    for partition in 0..16 {
        produce(&mut client, topic, partition, values(&["a", "b"]));
    }
    let mut reader = Reader::new(&broker, topic, id, 16);
    assert_eq!(
        reader.fetch().len(),
        16,
        "the first answer names everything"
    );
    for partition in 0..16 {
        reader.wanted.insert(partition, 2);
        reader.changed.push(partition);
    }
    assert_eq!(reader.fetch().len(), 0);
    produce(&mut client, topic, 9, values(&["c"]));
    assert_eq!(reader.advance(), [(9, b"c".to_vec())]);
    assert_eq!(reader.fetch().len(), 0);
    // A log that begins later is news without records.
    let request = deleting_records(topic, 1);
    client.call(2, &request);
    let told = reader.fetch();
    let starts: Vec<_> = told
        .iter()
        .map(|one| (one.partition_index, one.log_start_offset))
        .collect();
    assert_eq!(starts, [(0, 1)]);
    assert_eq!(reader.fetch().len(), 0);
}

#[test]
fn a_session_that_waits_is_woken_by_any_of_its_partitions() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "session-wait";
    let id = create(&mut client, topic, 8, &[]);
    let mut reader = Reader::new(&broker, topic, id, 8);
    reader.fetch();
    reader.wait_ms = 25_000;
    for partition in 0..8 {
        let request = reader.request();
        let waiting = reader.client.send(13, &request);
        assert_eq!(
            reader.client.hear(Duration::from_millis(10)),
            Heard::Silence
        );
        let begun = Instant::now();
        produce(&mut client, topic, partition, values(&["news"]));
        let response = reader.client.receive::<FetchRequest>(waiting);
        let told = reader.took(response);
        assert_eq!(errors(&told), [(partition, "NONE")]);
        assert!(begun.elapsed() < Duration::from_secs(20));
        reader.wanted.insert(partition, 1);
        reader.changed.push(partition);
    }
    // The bytes of all partitions count together, wherever they lie.
    reader.size_min = 200;
    let request = reader.request();
    let waiting = reader.client.send(13, &request);
    for partition in [0, 1] {
        produce(&mut client, topic, partition, values(&["v0"]));
        assert_eq!(
            reader.client.hear(Duration::from_millis(20)),
            Heard::Silence
        );
    }
    produce(&mut client, topic, 2, values(&["v0"]));
    let response = reader.client.receive::<FetchRequest>(waiting);
    let told = reader.took(response);
    assert_eq!(errors(&told), [(0, "NONE"), (1, "NONE"), (2, "NONE")]);
    // And no longer than told.
    reader.wait_ms = 200;
    for partition in 0..3 {
        reader.wanted.insert(partition, 2);
        reader.changed.push(partition);
    }
    let begun = Instant::now();
    assert_eq!(reader.fetch().len(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(195));
}

#[test]
fn topics_that_end_and_begin_are_noticed_within_a_session() {
    let broker = Broker::start();
    let mut client = broker.client();
    let topic = "session-ends";
    let id = create(&mut client, topic, 4, &[]);
    let mut by_id = Reader::new(&broker, topic, id, 4);
    let mut by_name = Reader::new(&broker, topic, id, 4);
    by_name.version = 12;
    for reader in [&mut by_id, &mut by_name] {
        assert_eq!(reader.fetch().len(), 4);
        reader.wait_ms = 25_000;
    }
    // Both wait while the topic is deleted.
    let requests = (by_id.request(), by_name.request());
    let id_waits = by_id.client.send(13, &requests.0);
    let name_waits = by_name.client.send(12, &requests.1);
    assert_eq!(by_id.client.hear(Duration::from_millis(10)), Heard::Silence);
    assert_eq!(
        by_name.client.hear(Duration::from_millis(10)),
        Heard::Silence
    );
    delete(&mut client, topic);
    let response = by_id.client.receive::<FetchRequest>(id_waits);
    let told = by_id.took(response);
    assert!(!told.is_empty());
    for one in &told {
        let code = error(one.error_code);
        assert!(
            ["UNKNOWN_TOPIC_ID", "UNKNOWN_TOPIC_OR_PARTITION"].contains(&code),
            "{code}"
        );
    }
    let response = by_name.client.receive::<FetchRequest>(name_waits);
    for (_, code) in errors(&by_name.took(response)) {
        assert_eq!(code, "UNKNOWN_TOPIC_OR_PARTITION");
    }
    by_id.wait_ms = 0;
    by_name.wait_ms = 0;
    // Errors are told as long as they are there.
    let all = |code| {
        (0..4)
            .map(|partition| (partition, code))
            .collect::<Vec<_>>()
    };
    by_id.fetch();
    assert_eq!(errors(&by_id.fetch()), all("UNKNOWN_TOPIC_ID"));
    by_name.fetch();
    assert_eq!(errors(&by_name.fetch()), all("UNKNOWN_TOPIC_OR_PARTITION"));
    // A topic of the same name is another topic: to who asked for names it is there, with what is in it.
    let other = create(&mut client, topic, 4, &[]);
    assert_ne!(id, other);
    for partition in 0..4 {
        produce(&mut client, topic, partition, values(&["new"]));
    }
    let told = by_name.advance();
    assert_eq!(told.len(), 4, "{told:?}");
    assert_eq!(by_name.advance().len(), 0);
    assert_eq!(errors(&by_id.fetch()), all("UNKNOWN_TOPIC_ID"));
    // Deleted and made again between two requests.
    delete(&mut client, topic);
    create(&mut client, topic, 4, &[]);
    produce(&mut client, topic, 1, values(&["newest"]));
    for partition in 0..4 {
        by_name.wanted.insert(partition, 0);
        by_name.changed.push(partition);
    }
    by_name.fetch();
    by_name.changed.push(1);
    let got = by_name.advance();
    assert_eq!(got, [(1, b"newest".to_vec())]);
    assert_eq!(by_name.advance().len(), 0);
}

/// A session must not keep what was deleted: its files would stay on the disk.
#[test]
fn a_session_at_rest_holds_nothing_of_a_deleted_topic() {
    let broker = Broker::with(&["file.delete.delay.ms=0"]);
    let mut client = broker.client();
    let topic = "session-holds";
    let id = create(&mut client, topic, 4, &[]);
    for partition in 0..4 {
        produce(&mut client, topic, partition, values(&["a"]));
    }
    let mut reader = Reader::new(&broker, topic, id, 4);
    assert_eq!(reader.advance().len(), 4);
    let open = || {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("it runs");
        entries
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter(|path| path.to_string_lossy().contains(topic))
            .count()
    };
    assert!(open() > 0, "its files are open");
    delete(&mut client, topic);
    eventually("its files are closed", || open() == 0);
    assert_eq!(errors(&reader.fetch()).len(), 4);
}

#[test]
fn a_session_goes_on_while_its_partitions_move_to_another_disk() {
    let (broker, directories) = with_directories(2, &[]);
    let mut client = broker.client();
    let topic = "session-moves";
    let id = create(&mut client, topic, 2, &[]);
    let mut reader = Reader::new(&broker, topic, id, 2);
    for round in 0..4 {
        for partition in 0..2 {
            let value = format!("{partition}:{round}");
            produce(&mut client, topic, partition, values(&[&value]));
        }
        let mut got = Vec::new();
        while got.len() < 2 {
            let more = reader.advance();
            assert!(!more.is_empty(), "round {round}: {got:?}");
            got.extend(more);
        }
        assert_eq!(reader.advance().len(), 0);
        for partition in 0..2 {
            let from = directory_of(&mut client, topic, partition).expect("it lies somewhere");
            let to = directories[1 - from].display().to_string();
            assert_eq!(moving(&mut client, &to, topic, partition), "NONE");
            eventually("it has moved", || {
                directory_of(&mut client, topic, partition) == Some(1 - from)
            });
        }
    }
    assert_eq!(end_offset(&mut client, topic, 0), 4);
}
