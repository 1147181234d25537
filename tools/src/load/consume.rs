//! **Owns** consuming load.
//! **Lives on** the runtime's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what its callers decide.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{now, wall_clock};

use super::Listener;
use super::verify::{Checker, Findings};
use crate::client::admin::Admin;
use crate::client::consumer::{Consumer, ConsumerConfig, GroupConfig, Reset, Start};
use crate::client::{Client, ClientConfig};

/// What to consume.
#[derive(Clone, Debug)]
pub struct ConsumeLoad {
    /// From where.
    pub topics: Vec<String>,
    /// From the topics whose names match, in the place of those; internal topics do not.
    pub pattern: Option<regex::Regex>,
    /// How many records.
    pub records: u64,
    /// Join this group, for the topics above; none reads all partitions without one.
    pub group: Option<GroupConfig>,
    /// Begin at the end.
    pub from_latest: bool,
    /// End when nothing comes for so long.
    pub timeout: Duration,
    /// How to connect.
    pub client: ClientConfig,
    /// How to fetch.
    pub consumer: ConsumerConfig,
    /// How often there is a [`Window`].
    pub interval: Duration,
    /// Check stamps.
    pub verify: bool,
    /// Told of records as they come.
    pub listener: Option<Listener>,
    /// Another process of this machine whose processor time is measured along.
    pub watch: Option<String>,
}

/// What happened lately.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Records so far, and since the last window.
    pub records: (u64, u64),
    /// Bytes of keys and values so far, and since the last window.
    pub bytes: (u64, u64),
    /// How long it was.
    pub length: Duration,
    /// Time spent joining so far, and since the last window.
    pub joining: (Duration, Duration),
    /// When it ended, in milliseconds since the epoch.
    pub at: i64,
}

/// What happened in all.
#[derive(Clone, Debug, Default)]
pub struct Consumed {
    /// Records.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// From the first look to the last record.
    pub length: Duration,
    /// Of that, joining the group.
    pub joining: Duration,
    /// Begin and end in milliseconds since the epoch.
    pub at: (i64, i64),
    /// Whether the timeout ended it.
    pub timed_out: bool,
    /// Fetches.
    pub fetches: u64,
    /// User and system time of the process.
    pub cpu: (Duration, Duration),
    /// User and system time of the process that is watched.
    pub watched_cpu: Option<(Duration, Duration)>,
    /// What verification found, when asked for.
    pub findings: Option<Findings>,
    /// Times the group was joined.
    pub joins: u64,
    /// Time spent waiting for fetches.
    pub fetch_wait: Duration,
    /// Records, and bytes of their keys and values, by topic.
    pub topics: BTreeMap<Rc<str>, (u64, u64)>,
    /// What is left to be fetched, by partition; none where it is not known.
    pub lags: Vec<(Rc<str>, i32, Option<i64>)>,
}

async fn names(client: &Rc<Client>, pattern: &regex::Regex) -> Result<Vec<String>, String> {
    let topics = Admin::new(client).list_topics().await;
    let topics = topics.map_err(|error| error.text())?.into_iter();
    Ok(topics
        .filter(|topic| !topic.is_internal && pattern.is_match(&topic.name))
        .map(|topic| topic.name)
        .collect())
}

/// Consumes; `on_window` is called about every interval.
pub async fn consume(
    load: ConsumeLoad,
    mut on_window: impl FnMut(&Window),
) -> Result<Consumed, String> {
    let client = Client::connect(load.client.clone())
        .await
        .map_err(|error| error.to_string())?;
    let mut config = load.consumer.clone();
    config.reset = if load.from_latest {
        Reset::Latest
    } else {
        Reset::Earliest
    };
    let begun = now();
    let begun_at = wall_clock();
    let cpu_begun = super::Cpu::now(load.watch.as_deref());
    let consumer = Consumer::new(&client, config);
    let topics = match &load.pattern {
        Some(pattern) => names(&client, pattern).await?,
        None => load.topics.clone(),
    };
    if let Some(group) = &load.group {
        consumer.subscribe(GroupConfig {
            topics,
            ..group.clone()
        });
    } else {
        let start = if load.from_latest {
            Start::Latest
        } else {
            Start::Earliest
        };
        let mut all = Vec::new();
        for topic in &topics {
            let count = client.topic(topic).await.map_err(|error| error.text())?;
            all.extend((0..count).map(|partition| (topic.clone(), partition, start)));
        }
        consumer.assign(&all);
    }
    let mut records = 0_u64;
    let mut bytes = 0_u64;
    let mut topics: BTreeMap<Rc<str>, (u64, u64)> = BTreeMap::new();
    let mut checker = load.verify.then(Checker::default);
    let mut window_begun = begun;
    let mut window_last = (0_u64, 0_u64, Duration::ZERO);
    let mut timed_out = false;
    let mut last = now();
    while records < load.records {
        let waited = now().duration_since(last);
        if waited >= load.timeout {
            timed_out = true;
            break;
        }
        let next_window = (window_begun + load.interval).duration_since(now());
        let wait = load.timeout.saturating_sub(waited).min(next_window);
        let chunk = consumer
            .next_within(wait)
            .await
            .map_err(|error| error.to_string())?;
        if let Some(chunk) = chunk {
            let before = (records, bytes);
            let _ = chunk
                .each(|record| {
                    records += 1;
                    bytes += (record.key.map_or(0, <[u8]>::len)
                        + record.value.map_or(0, <[u8]>::len)) as u64;
                    if let Some(checker) = &mut checker {
                        checker.see(chunk.partition, record.value);
                    }
                    ControlFlow::Continue(())
                })
                .map_err(|error| error.to_string())?;
            consumer.consumed(&chunk, chunk.next_offset());
            let topic = topics.entry(Rc::clone(&chunk.topic)).or_default();
            topic.0 += records - before.0;
            topic.1 += bytes - before.1;
            last = now();
            if let Some(listener) = &load.listener {
                listener.tell(records - before.0);
            }
        }
        let length = now().duration_since(window_begun);
        if length >= load.interval {
            let joining = consumer.rebalances().1;
            on_window(&Window {
                records: (records, records - window_last.0),
                bytes: (bytes, bytes - window_last.1),
                length,
                joining: (joining, joining.saturating_sub(window_last.2)),
                at: wall_clock(),
            });
            window_begun = now();
            window_last = (records, bytes, joining);
        }
    }
    let (cpu, watched_cpu) = cpu_begun.until_now(load.watch.as_deref());
    let consumed = Consumed {
        records,
        bytes,
        length: now().duration_since(begun),
        joining: consumer.rebalances().1,
        at: (begun_at, wall_clock()),
        timed_out,
        fetches: consumer.fetches().0,
        cpu,
        watched_cpu,
        findings: checker.map(|checker| checker.findings()),
        joins: consumer.rebalances().0,
        fetch_wait: consumer.fetches().1,
        topics,
        lags: consumer.lags(),
    };
    consumer.close().await.map_err(|error| error.text())?;
    Ok(consumed)
}
