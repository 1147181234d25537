//! **Owns** workload files: what they may say, and what is wrong with one.
//! **Lives on** the command's thread, before anything runs.
//! **Invariants** (1) Every fault is found before the first connection and named by its place in the file. (2) Settings of
//! clients have Kafka's names and go through the checks of `corelog`'s other commands.
//! **Not here** running it (`mixed`).
//!
//! ```toml
//! seconds = 30                    # measured; default 30
//! warm-up-seconds = "steady"      # or a number; default 5
//! threads = 1                     # of this process
//! verify = true                   # number the records, and check what consumers get
//!
//! [[topics]]
//! name = "orders"                 # created when it is not there
//! partitions = 6
//! configs = { "retention.ms" = 600000 }
//!
//! [[producers]]
//! topic = "orders"
//! clients = 10                    # each with connections of its own
//! rate = 1000                     # records a second of each; left out: as fast as possible
//! arrivals = "poisson"            # or even
//! record-size = [{ bytes = 100, weight = 9 }, { bytes = 10000, weight = 1 }]   # or a number
//! keys = 1000                     # left out: no keys
//! churn-seconds = 10              # reconnect about so often
//! properties = { acks = "all", "linger.ms" = 5, "compression.type" = "lz4" }
//!
//! [[consumers]]
//! topics = ["orders"]
//! clients = 10                    # each reads everything …
//! group = "readers"               # … or, with a group, they share the partitions
//! properties = { "fetch.min.bytes" = 1 }
//!
//! [[connections]]
//! count = 5000                    # that do nothing
//! request-every-seconds = 60      # but ask for the brokers so often
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use corelog_tools::cli::properties::{self, Properties};
use corelog_tools::client::ClientConfig;
use corelog_tools::client::consumer::ConsumerConfig;
use corelog_tools::client::producer::ProducerConfig;
use corelog_tools::load::to_f64;
use corelog_tools::load::verify::STAMP_SIZE;
use serde::{Deserialize, Serialize};

use crate::schedule::Arrivals;

#[cfg(test)]
mod tests;

/// A workload as it is written down.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Draft {
    /// Who to connect to; `--bootstrap-server` goes before it.
    pub bootstrap_server: Option<String>,
    /// How long to measure.
    pub seconds: Option<f64>,
    /// How long not to.
    pub warm_up_seconds: Option<WarmUpDraft>,
    /// Threads of this process.
    pub threads: Option<usize>,
    /// Whether records are numbered and checked.
    #[serde(default)]
    pub verify: bool,
    /// Topics to be created when they are not there.
    #[serde(default)]
    pub topics: Vec<TopicDraft>,
    /// Who produces.
    #[serde(default)]
    pub producers: Vec<ProducersDraft>,
    /// Who consumes.
    #[serde(default)]
    pub consumers: Vec<ConsumersDraft>,
    /// Who only connects.
    #[serde(default)]
    pub connections: Vec<ConnectionsDraft>,
}

/// A number, or a word.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum WarmUpDraft {
    /// So long.
    Seconds(f64),
    /// `steady`.
    Word(String),
}

impl From<&str> for WarmUpDraft {
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Word(text.to_owned()), Self::Seconds)
    }
}

/// See the module's example.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TopicDraft {
    /// Its name.
    pub name: String,
    /// Default 1.
    pub partitions: Option<i32>,
    /// Default: the broker's.
    pub replication_factor: Option<i16>,
    /// Kafka's names.
    #[serde(default)]
    pub configs: BTreeMap<String, toml::Value>,
}

/// See the module's example.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProducersDraft {
    /// Where to.
    pub topic: String,
    /// Default 1.
    pub clients: Option<usize>,
    /// Records a second of each client.
    pub rate: Option<f64>,
    /// Default even.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Default 100.
    pub record_size: Option<SizeDraft>,
    /// How many keys there are.
    pub keys: Option<u64>,
    /// How often to reconnect.
    pub churn_seconds: Option<f64>,
    /// Kafka's names.
    #[serde(default)]
    pub properties: BTreeMap<String, toml::Value>,
}

/// One size, or several with weights.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum SizeDraft {
    /// All are alike.
    Bytes(usize),
    /// Each as often as its weight says.
    Mixed(Vec<WeighedSize>),
}

/// A size and how often it comes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WeighedSize {
    /// Of the value.
    pub bytes: usize,
    /// Against the other sizes.
    pub weight: u32,
}

/// See the module's example.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConsumersDraft {
    /// From where.
    pub topics: Vec<String>,
    /// Default 1.
    pub clients: Option<usize>,
    /// Without one, each client reads everything.
    pub group: Option<String>,
    /// How often to reconnect.
    pub churn_seconds: Option<f64>,
    /// Kafka's names; `auto.offset.reset` is `latest` by default, as in Kafka.
    #[serde(default)]
    pub properties: BTreeMap<String, toml::Value>,
}

/// See the module's example.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConnectionsDraft {
    /// How many.
    pub count: usize,
    /// Never, when left out.
    pub request_every_seconds: Option<f64>,
}

/// A workload that can run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How everybody connects.
    pub client: ClientConfig,
    /// How long to measure.
    pub seconds: Duration,
    /// How long not to.
    pub warm_up: WarmUp,
    /// Threads.
    pub threads: usize,
    /// Whether what consumers get is checked.
    pub verify: bool,
    /// Topics to be created.
    pub topics: Vec<Topic>,
    /// Who produces.
    pub producers: Vec<Producers>,
    /// Who consumes.
    pub consumers: Vec<Consumers>,
    /// Who only connects.
    pub connections: Vec<Connections>,
}

/// When measuring begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarmUp {
    /// After so long.
    For(Duration),
    /// When the load has settled, or after [`STEADY_WITHIN`].
    UntilSteady,
}

/// A topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Partitions of a new one.
    pub partitions: i32,
    /// Of a new one.
    pub replication_factor: Option<i16>,
    /// Of a new one.
    pub configs: BTreeMap<String, String>,
}

/// Clients that produce alike.
#[derive(Clone, Debug)]
pub struct Producers {
    /// Where to.
    pub topic: String,
    /// How many.
    pub clients: usize,
    /// Records a second of each; none is as fast as possible.
    pub rate: Option<f64>,
    /// How arrivals are spread.
    pub arrivals: Arrivals,
    /// How large values are.
    pub sizes: Sizes,
    /// How many keys there are; 0: records have none.
    pub keys: u64,
    /// How often to reconnect.
    pub churn: Option<Duration>,
    /// How to produce.
    pub producer: ProducerConfig,
    /// Records say when they were due, and where in their partition they belong.
    pub stamped: bool,
}

/// Clients that consume alike.
#[derive(Clone, Debug)]
pub struct Consumers {
    /// From where.
    pub topics: Vec<String>,
    /// How many.
    pub clients: usize,
    /// Without one, each reads everything.
    pub group: Option<String>,
    /// How often to reconnect.
    pub churn: Option<Duration>,
    /// How to fetch.
    pub consumer: ConsumerConfig,
}

/// Connections that do (almost) nothing.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// How many.
    pub count: usize,
    /// How often each asks for the brokers.
    pub request_every: Option<Duration>,
}

/// How large values are.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// (size, weights up to and with it).
    steps: Vec<(usize, u64)>,
}

impl Sizes {
    /// All are alike.
    pub fn fixed(bytes: usize) -> Self {
        Self {
            steps: vec![(bytes, 1)],
        }
    }

    /// Of these, by weight.
    fn weighed(sizes: &[WeighedSize]) -> Self {
        let mut sum = 0;
        let steps = sizes
            .iter()
            .filter(|size| size.weight > 0)
            .map(|size| {
                sum += u64::from(size.weight);
                (size.bytes, sum)
            })
            .collect();
        Self { steps }
    }

    /// The one size, if there is only one.
    pub fn only(&self) -> Option<usize> {
        match self.steps[..] {
            [(size, _)] => Some(size),
            _ => None,
        }
    }

    /// The least.
    pub fn least(&self) -> usize {
        self.steps.iter().map(|(size, _)| *size).min().unwrap_or(0)
    }

    /// The largest.
    pub fn largest(&self) -> usize {
        self.steps.iter().map(|(size, _)| *size).max().unwrap_or(0)
    }

    /// One of them, by a random number.
    pub fn pick(&self, random: u64) -> usize {
        let sum = self.steps.last().map_or(1, |(_, sum)| *sum);
        let place = random % sum;
        self.steps
            .iter()
            .find(|(_, upto)| place < *upto)
            .map_or(0, |(size, _)| *size)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        let (mut total, mut before) = (0.0, 0);
        for (size, upto) in &self.steps {
            total += to_f64(*size as u64) * to_f64(upto - before);
            before = *upto;
        }
        total / to_f64(before.max(1))
    }
}

/// Reads a workload file.
pub fn parse(text: &str, name: &str) -> Result<Draft, String> {
    toml::from_str(text).map_err(|error| format!("{name}: {error}"))
}

impl Draft {
    /// Checks it; `bootstrap` goes before what the file says.
    pub fn check(&self, bootstrap: Option<&str>) -> Result<Workload, String> {
        let bootstrap = bootstrap.or(self.bootstrap_server.as_deref()).ok_or(
            "bootstrap-server is not set: give --bootstrap-server host:port, or set it in the file",
        )?;
        properties::check_bootstrap(bootstrap).map_err(|error| error.trim_end().to_owned())?;
        let mut client = Properties::new();
        client.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
        client.insert("client.id".to_owned(), "corelog-perf".to_owned());
        if self.producers.is_empty() && self.consumers.is_empty() && self.connections.is_empty() {
            return Err("the workload has no [[producers]], no [[consumers]] and no [[connections]]: nobody does anything".to_owned());
        }
        let producers = numbered("producers", &self.producers, |one| self.producers_of(one))?;
        let consumers = numbered("consumers", &self.consumers, consumers_of)?;
        let seconds = positive("seconds", self.seconds.unwrap_or(30.0))?;
        Ok(Workload {
            client: properties::client_config(&client)?,
            seconds,
            warm_up: match &self.warm_up_seconds {
                None => WarmUp::For(Duration::from_secs(5)),
                Some(WarmUpDraft::Seconds(seconds)) if *seconds >= 0.0 && seconds.is_finite() => {
                    WarmUp::For(Duration::from_secs_f64(*seconds))
                }
                Some(WarmUpDraft::Word(word)) if word == "steady" => WarmUp::UntilSteady,
                Some(WarmUpDraft::Seconds(seconds)) => {
                    return Err(format!("warm-up-seconds = {seconds}: zero or more"));
                }
                Some(WarmUpDraft::Word(word)) => {
                    return Err(format!(
                        "warm-up-seconds = \"{word}\": a number or \"steady\""
                    ));
                }
            },
            threads: match self.threads {
                Some(0) => return Err("threads = 0: at least 1".to_owned()),
                threads => threads.unwrap_or(1),
            },
            verify: self.verify,
            topics: numbered("topics", &self.topics, topic_of)?,
            producers,
            consumers,
            connections: numbered("connections", &self.connections, |one| {
                Ok(Connections {
                    count: one.count,
                    request_every: optional("request-every-seconds", one.request_every_seconds)?,
                })
            })?,
        })
    }

    fn producers_of(&self, draft: &ProducersDraft) -> Result<Producers, String> {
        if draft.topic.is_empty() {
            return Err("topic is empty".to_owned());
        }
        let sizes = match &draft.record_size {
            None => Sizes::fixed(100),
            Some(SizeDraft::Bytes(bytes)) => Sizes::fixed(*bytes),
            Some(SizeDraft::Mixed(sizes)) => Sizes::weighed(sizes),
        };
        if sizes.steps.is_empty() {
            return Err(
                "record-size: at least one { bytes = …, weight = … } with a weight above 0"
                    .to_owned(),
            );
        }
        let producer = properties::producer_config(&texts(&draft.properties)?)?;
        let least = sizes.least();
        if least == 0 {
            return Err("record-size: a value has at least 1 byte".to_owned());
        }
        if let Some((large, _)) = sizes
            .steps
            .iter()
            .find(|(size, _)| *size > producer.request_size_max)
        {
            return Err(format!(
                "record-size: {large} bytes do not fit in a request of max.request.size = {} bytes; raise it in the properties (and the broker's message.max.bytes)",
                producer.request_size_max
            ));
        }
        let is_read = self
            .consumers
            .iter()
            .any(|readers| readers.topics.contains(&draft.topic));
        if self.verify && least < STAMP_BYTES {
            return Err(format!(
                "record-size: {least} bytes are too few to number records (verify = true); at least {STAMP_BYTES}"
            ));
        }
        Ok(Producers {
            topic: draft.topic.clone(),
            clients: count_of("clients", draft.clients)?,
            rate: match draft.rate {
                Some(rate) if !(rate > 0.0 && rate.is_finite()) => {
                    return Err(format!(
                        "rate = {rate}: above zero, or left out for as fast as possible"
                    ));
                }
                rate => rate,
            },
            arrivals: draft.arrivals,
            keys: draft.keys.unwrap_or(0),
            churn: optional("churn-seconds", draft.churn_seconds)?,
            producer,
            stamped: least >= STAMP_BYTES && (self.verify || is_read),
            sizes,
        })
    }
}

fn consumers_of(draft: &ConsumersDraft) -> Result<Consumers, String> {
    if draft.topics.is_empty() {
        return Err("topics is empty: name at least one".to_owned());
    }
    Ok(Consumers {
        topics: draft.topics.clone(),
        clients: count_of("clients", draft.clients)?,
        group: draft.group.clone(),
        churn: optional("churn-seconds", draft.churn_seconds)?,
        consumer: properties::consumer_config(&texts(&draft.properties)?)?,
    })
}

fn topic_of(draft: &TopicDraft) -> Result<Topic, String> {
    if draft.name.is_empty() {
        return Err("name is empty".to_owned());
    }
    let partitions = draft.partitions.unwrap_or(1);
    if partitions < 1 {
        return Err(format!("partitions = {partitions}: at least 1"));
    }
    Ok(Topic {
        name: draft.name.clone(),
        partitions,
        replication_factor: draft.replication_factor,
        configs: texts(&draft.configs)?,
    })
}

/// Checks each, and says of which a fault is.
fn numbered<D, T>(
    kind: &str,
    drafts: &[D],
    check: impl Fn(&D) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    drafts
        .iter()
        .enumerate()
        .map(|(index, draft)| {
            check(draft).map_err(|error| format!("[[{kind}]] number {}: {error}", index + 1))
        })
        .collect()
}

fn count_of(name: &str, count: Option<usize>) -> Result<usize, String> {
    match count {
        Some(0) => Err(format!("{name} = 0: at least 1")),
        count => Ok(count.unwrap_or(1)),
    }
}

fn positive(name: &str, seconds: f64) -> Result<Duration, String> {
    if seconds > 0.0 && seconds <= SECONDS_MAX {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "{name} = {seconds}: above zero and at most {SECONDS_MAX}"
        ))
    }
}

fn optional(name: &str, seconds: Option<f64>) -> Result<Option<Duration>, String> {
    seconds.map(|seconds| positive(name, seconds)).transpose()
}

/// Values as Kafka's files would have them: texts, numbers, true and false.
fn texts(values: &BTreeMap<String, toml::Value>) -> Result<Properties, String> {
    values
        .iter()
        .map(|(name, value)| {
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Float(number) => number.to_string(),
                toml::Value::Boolean(is) => is.to_string(),
                other => {
                    return Err(format!(
                        "{name}: a text, a number, true or false, not {}; names with dots stand in quotes",
                        other.type_str()
                    ));
                }
            };
            Ok((name.clone(), text))
        })
        .collect()
}

/// The number of a record and when it was due.
pub const STAMP_BYTES: usize = STAMP_SIZE + size_of::<u64>();
/// Load that has not settled by then is measured as it is, and the result says so.
pub const STEADY_WITHIN: Duration = Duration::from_mins(1);
const SECONDS_MAX: f64 = 604_800.0;
