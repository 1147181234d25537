//! **Owns** consuming load.
//! **Lives on** the runtime's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what its callers decide.

use std::ops::ControlFlow;
use std::time::Duration;

use corelog_runtime::{now, wall_clock};

use super::verify::{Checker, Findings};
use crate::client::consumer::{Consumer, ConsumerConfig, GroupConfig, Reset, Start};
use crate::client::{Client, ClientConfig};

/// What to consume.
#[derive(Clone, Debug)]
pub struct ConsumeLoad {
    /// From where.
    pub topics: Vec<String>,
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
    if let Some(group) = &load.group {
        consumer.subscribe(GroupConfig {
            topics: load.topics.clone(),
            ..group.clone()
        });
    } else {
        let start = if load.from_latest {
            Start::Latest
        } else {
            Start::Earliest
        };
        let mut all = Vec::new();
        for topic in &load.topics {
            let count = client.topic(topic).await.map_err(|error| error.text())?;
            all.extend((0..count).map(|partition| (topic.clone(), partition, start)));
        }
        consumer.assign(&all);
    }
    let mut records = 0_u64;
    let mut bytes = 0_u64;
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
            last = now();
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
    };
    consumer.close().await.map_err(|error| error.text())?;
    Ok(consumed)
}
