//! **Owns** the table of `--print-metrics`: what our clients measure of themselves, under the names of Kafka's.
//! **Lives on** any thread: pure.
//! **Invariants** what is not measured is not printed; rates are over the whole run, where Kafka's are over its last half minute.
//! **Not here** measuring (`client`, `load`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Out;
use crate::client::producer::{Figures, OfTopic};
use crate::load::consume::Consumed;
use crate::load::to_f64;

/// Rows by name: `group:name:{tags}`.
#[derive(Debug)]
pub(super) struct Rows {
    client: String,
    rows: BTreeMap<String, f64>,
}

impl Rows {
    fn new(client: &str) -> Self {
        Self {
            client: client.to_owned(),
            rows: BTreeMap::new(),
        }
    }

    fn add(&mut self, group: &str, name: &str, tags: &str, value: f64) {
        let comma = if tags.is_empty() { "" } else { ", " };
        let client = &self.client;
        self.rows.insert(
            format!("{group}:{name}:{{client-id={client}{comma}{tags}}}"),
            value,
        );
    }

    /// A total, and how much of it comes in a second.
    fn flow(&mut self, group: &str, name: &str, tags: &str, total: u64, seconds: f64) {
        self.add(group, &format!("{name}-total"), tags, to_f64(total));
        self.add(
            group,
            &format!("{name}-rate"),
            tags,
            to_f64(total) / seconds,
        );
    }

    /// Prints them as Kafka's tools do.
    pub(super) fn print(&self, out: &mut Out) {
        let version = format!("app-info:version:{{client-id={}}}", self.client);
        let names = self.rows.keys().map(String::len);
        let width = names.max().unwrap_or(0).max(version.len());
        out.line("");
        out.line(&format!("{:<width$}   Value", "Metric Name"));
        out.line(&format!(
            "{version:<width$} : {}",
            env!("CARGO_PKG_VERSION")
        ));
        for (name, value) in &self.rows {
            out.line(&format!("{name:<width$} : {value:.3}"));
        }
    }

    /// For `--output json`.
    pub(super) fn document(&self) -> Value {
        let rows = self.rows.iter();
        // What has no value (a mean of nothing) is null.
        let rows = rows.map(|(name, value)| (name.clone(), json!(value)));
        Value::Object(rows.collect::<Map<_, _>>())
    }
}

/// A producer's, or several that share the load.
pub(super) fn producer(client: &str, all: &[Figures], length: Duration) -> Rows {
    const GROUP: &str = "producer-metrics";
    const TOPIC: &str = "producer-topic-metrics";
    let seconds = length.as_secs_f64();
    let mut rows = Rows::new(client);
    let mut topics: BTreeMap<&str, OfTopic> = BTreeMap::new();
    for (name, of_topic) in all.iter().flat_map(|figures| &figures.topics) {
        let sum = topics.entry(name).or_default();
        *sum = sum.plus(*of_topic);
    }
    let whole = topics.values().fold(OfTopic::default(), |a, b| a.plus(*b));
    let sum = |of: fn(&Figures) -> u64| all.iter().map(of).sum::<u64>();
    let time = |of: fn(&Figures) -> Duration| all.iter().map(of).sum::<Duration>();
    let longest = |of: fn(&Figures) -> Duration| all.iter().map(of).max().unwrap_or_default();
    let (requests, responses, batches) = (
        sum(|it| it.requests),
        sum(|it| it.responses),
        sum(|it| it.batches),
    );
    rows.flow(GROUP, "record-send", "", whole.records, seconds);
    rows.flow(GROUP, "record-retry", "", whole.retries, seconds);
    rows.flow(GROUP, "record-error", "", whole.errors, seconds);
    rows.flow(GROUP, "request", "", requests, seconds);
    rows.flow(GROUP, "response", "", responses, seconds);
    for (name, value) in [
        ("batch-size-avg", ratio(sum(|it| it.bytes), batches)),
        (
            "batch-size-max",
            to_f64(all.iter().map(|it| it.batch_size_max).max().unwrap_or(0)),
        ),
        (
            "records-per-request-avg",
            ratio(whole.records + whole.retries, requests),
        ),
        (
            "request-latency-avg",
            mean(time(|it| it.latency), responses),
        ),
        ("request-latency-max", ms(longest(|it| it.latency_max))),
        ("record-queue-time-avg", mean(time(|it| it.queued), batches)),
        ("record-queue-time-max", ms(longest(|it| it.queued_max))),
        ("flush-time-ns-total", ns(time(|it| it.flushing))),
        ("txn-init-time-ns-total", ns(time(|it| it.transactions[0]))),
        (
            "txn-commit-time-ns-total",
            ns(time(|it| it.transactions[1])),
        ),
        ("txn-abort-time-ns-total", ns(time(|it| it.transactions[2]))),
        ("buffer-total-bytes", to_f64(sum(|it| it.memory.0 as u64))),
        (
            "buffer-available-bytes",
            to_f64(sum(|it| it.memory.1 as u64)),
        ),
        (
            "requests-in-flight",
            to_f64(requests.saturating_sub(responses)),
        ),
    ] {
        rows.add(GROUP, name, "", value);
    }
    for (topic, of_topic) in topics {
        let tags = format!("topic={topic}");
        rows.flow(TOPIC, "record-send", &tags, of_topic.records, seconds);
        rows.flow(TOPIC, "record-retry", &tags, of_topic.retries, seconds);
        rows.flow(TOPIC, "record-error", &tags, of_topic.errors, seconds);
        rows.flow(TOPIC, "byte", &tags, of_topic.bytes, seconds);
    }
    rows
}

/// A consumer's.
pub(super) fn consumer(client: &str, consumed: &Consumed) -> Rows {
    const FETCHES: &str = "consumer-fetch-manager-metrics";
    const GROUP: &str = "consumer-coordinator-metrics";
    let seconds = consumed.length.as_secs_f64();
    let mut rows = Rows::new(client);
    rows.flow(FETCHES, "records-consumed", "", consumed.records, seconds);
    rows.flow(FETCHES, "bytes-consumed", "", consumed.bytes, seconds);
    rows.flow(FETCHES, "fetch", "", consumed.fetches, seconds);
    let wait = mean(consumed.fetch_wait, consumed.fetches);
    rows.add(FETCHES, "fetch-latency-avg", "", wait);
    let size = ratio(consumed.bytes, consumed.fetches);
    rows.add(FETCHES, "fetch-size-avg", "", size);
    let records = ratio(consumed.records, consumed.fetches);
    rows.add(FETCHES, "records-per-request-avg", "", records);
    for (topic, (records, bytes)) in &consumed.topics {
        let tags = format!("topic={topic}");
        rows.flow(FETCHES, "records-consumed", &tags, *records, seconds);
        rows.flow(FETCHES, "bytes-consumed", &tags, *bytes, seconds);
    }
    let mut most = f64::NAN;
    for (topic, partition, lag) in &consumed.lags {
        let lag = lag.map_or(f64::NAN, |lag| to_f64(lag.unsigned_abs()));
        // The maximum of a number and of none is the number.
        most = most.max(lag);
        let tags = format!("topic={topic}, partition={partition}");
        rows.add(FETCHES, "records-lag", &tags, lag);
    }
    rows.add(FETCHES, "records-lag-max", "", most);
    if consumed.joins > 0 {
        let assigned = to_f64(consumed.lags.len() as u64);
        rows.add(GROUP, "assigned-partitions", "", assigned);
        rows.add(GROUP, "rebalance-total", "", to_f64(consumed.joins));
        rows.add(GROUP, "rebalance-latency-total", "", ms(consumed.joining));
        let wait = mean(consumed.joining, consumed.joins);
        rows.add(GROUP, "rebalance-latency-avg", "", wait);
    }
    rows
}

fn ratio(amount: u64, count: u64) -> f64 {
    to_f64(amount) / to_f64(count)
}

fn mean(span: Duration, count: u64) -> f64 {
    ms(span) / to_f64(count)
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn ns(span: Duration) -> f64 {
    to_f64(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}
