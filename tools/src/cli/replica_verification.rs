//! **Owns** `replica-verification`: Kafka's `kafka-replica-verification`.
//! **Lives on** the command's thread, until it is ended or nobody reads what it prints.
//! **Invariants** (1) All replicas of a partition are read from one offset, each from its own broker; what lies below the
//! smallest of their high watermarks must be equal, batch by batch. (2) A replica that does not answer is named, and the
//! others go on.
//! **Not here** checking the files of a directory (`check`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use corelog_runtime::{now, sleep};
use corelog_storage::batch::UncheckedBatch;
use regex::Regex;
use serde_json::json;

use super::bar::{Bar, Unit};
use super::date_format::DateFormat;
use super::options::{Given, Opt, Refusal, Table, value};
use super::session::{Address, Fault, Printer, tool};
use super::{Out, properties};
use crate::check::Progress as _;
use crate::client::ApiError;
use crate::client::admin::{Admin, Isolation, OffsetSpec};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        work(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    given.require(&["broker-list"])?;
    let brokers = given.one("broker-list").map_err(Refusal::Error)?;
    properties::check_bootstrap(brokers.unwrap_or_default()).map_err(Refusal::Usage)
}

/// A partition, and how far its replicas were compared.
struct Compared {
    topic: String,
    partition: i32,
    replicas: Vec<i32>,
    offset: i64,
}

async fn work(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let pattern = given.one("topics-include")?.unwrap_or(".*");
    let pattern = Regex::new(&format!("^(?:{pattern})$"))
        .map_err(|_| format!("{pattern} is an invalid regex"))?;
    let spec = match given.parsed::<i64>("time")?.unwrap_or(-1) {
        -1 => OffsetSpec::Latest,
        -2 => OffsetSpec::Earliest,
        timestamp => OffsetSpec::Timestamp(timestamp),
    };
    let every = Duration::from_millis(given.parsed("report-interval-ms")?.unwrap_or(30_000));
    let how = How {
        fetch_size: given.parsed("fetch-size")?.unwrap_or(1 << 20),
        max_wait_ms: given.parsed("max-wait-ms")?.unwrap_or(1000),
    };
    let brokers = given.one("broker-list")?.unwrap_or_default();
    let admin = Address::new(brokers, false, None)?
        .connect("listTopics")
        .await?;
    let mut all = partitions(&admin, &pattern, spec).await?;
    if all.is_empty() {
        return Err(
            "No topics found. [topics-include] if specified, is either filtering out all topics or there is no topic."
                .to_owned()
                .into(),
        );
    }
    let as_json = given.json()?;
    // As Kafka's tool writes times: milliseconds behind a comma.
    let stamp = || {
        let text = DateFormat::default().print(corelog_runtime::wall_clock());
        let (seconds, millis) = text.rsplit_once(':').unwrap_or((&text, "0"));
        format!("{seconds},{millis}")
    };
    if !as_json {
        out.line(&format!("{}: verification process is started", stamp()));
        out.flush();
    }
    loop {
        let until = now().saturating_add(every);
        // Of each round that compares everything once.
        let bar = Bar::new(all.len() as u64, Unit::Partitions);
        let mut worst;
        loop {
            // The first of those that are furthest behind, as it is shown.
            worst = None::<(i64, String, i64)>;
            let mut is_further = false;
            bar.restart();
            for one in &mut all {
                let before = one.offset;
                let compared = compare(&admin, one, how).await;
                bar.advance(1);
                bar.aside(|| compared.print(out));
                let lag = compared.lag;
                is_further |= one.offset > before;
                let name = format!("{}-{}", one.topic, one.partition);
                if worst.as_ref().is_none_or(|worst| lag > worst.0) {
                    worst = Some((lag, name, one.offset));
                }
            }
            if !is_further || now() >= until {
                break;
            }
        }
        bar.finish();
        if let Some((lag, name, offset)) = worst {
            if as_json {
                out.item(&json!({
                    "timestamp": corelog_runtime::wall_clock(), "maxLag": lag, "partition": name, "offset": offset,
                    "partitions": all.len(),
                }));
            } else {
                out.line(&format!(
                    "{}: max lag is {lag} for partition {name} at offset {offset} among {} partitions",
                    stamp(),
                    all.len()
                ));
            }
            out.flush();
        }
        if out.is_broken() {
            return Ok(0);
        }
        sleep(until.duration_since(now())).await;
    }
}

async fn partitions(
    admin: &Admin,
    pattern: &Regex,
    spec: OffsetSpec,
) -> Result<Vec<Compared>, Fault> {
    let fault = |call: &'static str| move |error| Fault::of(call, &error);
    let topics = admin.list_topics().await.map_err(fault("listTopics"))?;
    let names = topics.into_iter().map(|topic| topic.name);
    let names: Vec<String> = names.filter(|name| pattern.is_match(name)).collect();
    let mut all = Vec::new();
    let described = admin.describe_topics(&names, 2000).await;
    for (topic, described) in described.map_err(fault("describeTopics"))? {
        for partition in described.map_err(fault("describeTopics"))?.partitions {
            all.push(Compared {
                topic: topic.clone(),
                partition: partition.index,
                replicas: partition.replicas,
                offset: 0,
            });
        }
    }
    let wanted: Vec<_> = all
        .iter()
        .map(|one| (one.topic.clone(), one.partition, spec))
        .collect();
    let found = admin
        .list_offsets(&wanted, Isolation::ReadUncommitted)
        .await
        .map_err(fault("listOffsets"))?;
    for one in &mut all {
        let answer = found.get(&(one.topic.clone(), one.partition));
        one.offset = match answer {
            Some(Ok((offset, _))) => (*offset).max(0),
            _ => 0,
        };
    }
    Ok(all)
}

#[derive(Clone, Copy)]
struct How {
    fetch_size: i32,
    max_wait_ms: i32,
}

/// What a replica showed.
struct Shown {
    high_watermark: i64,
    /// Next offset and checksum of each whole batch, by the offset it begins with.
    batches: BTreeMap<i64, (i64, u32)>,
}

/// What a comparison found.
#[derive(Default)]
struct Outcome {
    /// How many records the last replica is behind the first.
    lag: i64,
    /// Where replicas differ, a line each.
    unequal: Vec<String>,
    /// Replicas that did not answer, and why.
    unread: Vec<String>,
}

impl Outcome {
    fn print(&self, out: &Printer) {
        for line in &self.unequal {
            out.line(line);
        }
        for line in &self.unread {
            out.error(line);
        }
        if !self.unequal.is_empty() {
            out.flush();
        }
    }
}

/// Compares the replicas from where they were last compared.
async fn compare(admin: &Admin, one: &mut Compared, how: How) -> Outcome {
    let mut outcome = Outcome::default();
    let name = format!("{}-{}", one.topic, one.partition);
    let mut shown: BTreeMap<i32, Shown> = BTreeMap::new();
    for replica in &one.replicas {
        match fetch(admin, *replica, one, how).await {
            Ok(found) => {
                shown.insert(*replica, found);
            }
            Err(why) => outcome
                .unread
                .push(format!("partition {name}: replica {replica}: {why}")),
        }
    }
    let watermarks = || shown.values().map(|one| one.high_watermark);
    let (Some(least), Some(most)) = (watermarks().min(), watermarks().max()) else {
        return outcome;
    };
    let mut replicas = shown.iter();
    let Some((first, of_first)) = replicas.next() else {
        return outcome;
    };
    // As far as everybody has shown whole batches.
    let end = |one: &Shown| one.batches.values().map(|(next, _)| *next).max();
    let ends = shown.values().map(|one| end(one).unwrap_or(0));
    let until = ends.min().unwrap_or(0).min(least);
    for (base, (next, checksum)) in &of_first.batches {
        if *next > until {
            break;
        }
        for (other, of_other) in shown.iter().filter(|(other, _)| *other != first) {
            match of_other.batches.get(base) {
                Some((_, theirs)) if theirs == checksum => {}
                Some((_, theirs)) => outcome.unequal.push(format!(
                    "partition {name} has unmatched checksum at offset {base}; replica {first}'s checksum {checksum}; \
                     replica {other}'s checksum {theirs}"
                )),
                None => outcome.unequal.push(format!(
                    "partition {name}: replica {first}'s offset {base} doesn't match replica {other}'s"
                )),
            }
        }
    }
    one.offset = one.offset.max(until);
    outcome.lag = most - least;
    outcome
}

async fn fetch(admin: &Admin, replica: i32, one: &Compared, how: How) -> Result<Shown, String> {
    let connection = admin.client().node(replica).await;
    let connection = connection.map_err(|error| error.to_string())?;
    let request = FetchRequest {
        // A reader for debugging: any replica may answer it, up to its high watermark.
        replica_id: DEBUGGING_CONSUMER,
        max_wait_ms: how.max_wait_ms,
        min_bytes: 0,
        max_bytes: how.fetch_size,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: one.topic.clone(),
            partitions: vec![FetchPartition {
                partition: one.partition,
                fetch_offset: one.offset,
                partition_max_bytes: how.fetch_size,
                ..FetchPartition::default()
            }],
            ..FetchTopic::default()
        }],
        ..FetchRequest::default()
    };
    // Later versions name topics by id.
    let response = connection.call_up_to(12, &request).await;
    let response = response.map_err(|error| error.to_string())?;
    let mut partitions = response
        .responses
        .into_iter()
        .flat_map(|one| one.partitions);
    let partition = partitions.next().ok_or("it answered nothing")?;
    ApiError::check(partition.error_code, None).map_err(|error| error.text())?;
    Ok(Shown {
        high_watermark: partition.high_watermark,
        batches: batches(partition.records.unwrap_or_default()),
    })
}

/// The whole batches; the last one may be cut off.
fn batches(mut records: Bytes) -> BTreeMap<i64, (i64, u32)> {
    let mut found = BTreeMap::new();
    while let Ok(Some(batch)) = UncheckedBatch::take(&mut records) {
        let header = batch.header();
        found.insert(header.base_offset.0, (header.next_offset().0, header.crc));
    }
    found
}

const DEBUGGING_CONSUMER: i32 = -2;

/// The options.
pub(super) const TABLE: Table = Table {
    about: "Validate that all replicas for a set of topics have the same data.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    value(
        "broker-list",
        "String: hostname:port,…",
        "REQUIRED: the brokers to connect to.",
    ),
    value(
        "fetch-size",
        "Integer: bytes",
        "How much is read from each replica at a time (default: 1048576).",
    ),
    value(
        "max-wait-ms",
        "Integer: ms",
        "How long a replica may wait for data (default: 1000).",
    ),
    value(
        "report-interval-ms",
        "Long: ms",
        "How often is reported (default: 30000).",
    ),
    value(
        "time",
        "Long: timestamp/-1(latest)/-2(earliest)",
        "Where to begin (default: -1).",
    ),
    value(
        "topics-include",
        "Java regex (String)",
        "Which topics (default: .*).",
    ),
];

#[cfg(test)]
mod tests {
    use corelog_storage::batch::{BatchBuilder, BatchOptions};
    use corelog_storage::types::{Offset, Timestamp};

    use super::*;

    #[test]
    fn whole_batches_are_known_by_offset_and_checksum() {
        let batch = |base: i64, value: &[u8]| {
            let mut builder = BatchBuilder::new(BatchOptions {
                base_offset: Offset(base),
                ..BatchOptions::default()
            });
            for _ in 0..2 {
                builder
                    .append(Timestamp(1), None, Some(value), &[])
                    .unwrap();
            }
            builder.finish().unwrap().to_bytes().to_vec()
        };
        let bytes = [batch(5, b"a"), batch(7, b"b"), batch(9, b"c")].concat();
        let cut = Bytes::copy_from_slice(&bytes[..bytes.len() - 1]);
        let found = batches(cut);
        let offsets: Vec<_> = found
            .iter()
            .map(|(base, (next, _))| (*base, *next))
            .collect();
        assert_eq!(offsets, [(5, 7), (7, 9)]);
        assert_ne!(found[&5].1, found[&7].1);
        // Offset and epoch lie outside of the checksum: equal records have equal ones.
        assert_eq!(batches(Bytes::from(batch(9, b"b")))[&9].1, found[&7].1);
    }
}
