//! **Owns** `console-consumer`: Kafka's `kafka-console-consumer`.
//! **Lives on** the command's thread.
//! **Invariants** (1) What `--group` commits is what was printed.
//! **Not here** the printing of a record (`formatter`). Without `--group` no group is joined: partitions are assigned
//! directly, which starts seconds sooner and leaves no group behind; new partitions are noticed all the same.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use corelog_runtime::{Signal, Signals, Task, now, sleep, spawn};

use super::formatter::Formatter;
use super::java;
use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::properties::{self, Properties};
use super::topics::include_pattern;
use super::{Out, on_runtime};
use crate::client::admin::Admin;
use crate::client::consumer::{ConsumeError, Consumer, ConsumerConfig, GroupConfig, Start};
use crate::client::{Client, ClientConfig};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let mut events = false;
    let plan = TABLE
        .parse(arguments)
        .map_err(Refusal::with_usage)
        .and_then(|given| {
            events = given.has("enable-systest-events");
            Plan::new(&given, out)
        });
    let plan = match plan {
        Ok(plan) => plan,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    out.flush();
    // The runtime wants what it runs to own everything: the printer comes back when it is done.
    let printer = Rc::new(RefCell::new(std::mem::replace(
        out,
        Out::new(Box::new(std::io::sink()), Box::new(std::io::sink())),
    )));
    let inner = Rc::clone(&printer);
    let outcome = on_runtime(async move { plan.carry_out(&inner).await });
    std::mem::swap(out, &mut printer.borrow_mut());
    match outcome {
        Ok((printed, result)) => {
            let code = match result {
                Ok(code) => code,
                Err(error) => {
                    out.error(&error);
                    1
                }
            };
            out.error(&format!("Processed a total of {printed} messages"));
            if events {
                out.line("shutdown_complete");
            }
            code
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

enum What {
    /// Topics by name or pattern, all partitions.
    Topics(Topics),
    Partition(String, i32, Start),
}

#[derive(Clone)]
enum Topics {
    Named(String),
    Like(regex::Regex),
}

struct Plan {
    what: What,
    client: ClientConfig,
    consumer: ConsumerConfig,
    group: Option<GroupConfig>,
    formatter: Formatter,
    skips_errors: bool,
    messages_max: Option<u64>,
    timeout: Option<Duration>,
}

impl Plan {
    fn new(given: &Given, out: &mut Out) -> Result<Self, Refusal> {
        let together = |a: &str, b: &str| {
            Refusal::Usage(format!("Options {a} and {b} cannot be specified together."))
        };
        if given.has("topic") == given.has("include") {
            return Err(Refusal::Usage(
                "Exactly one of the following arguments is required: [topic], [include]".to_owned(),
            ));
        }
        given.require(&["bootstrap-server"])?;
        for (old, new) in RENAMED {
            if given.has(old) && given.has(new) {
                return Err(Refusal::Usage(format!(
                    "Options --{old} and --{new} cannot be specified together."
                )));
            }
            if given.has(old) {
                out.line(&format!(
                    "Option --{old} is deprecated and will be removed in a future version. Use --{new} instead."
                ));
            }
        }
        if given.has("partition") {
            if given.has("include") {
                return Err(Refusal::Usage(
                    "The topic is required when partition is specified.".to_owned(),
                ));
            }
        } else if given.has("offset") {
            return Err(Refusal::Usage(
                "The partition is required when offset is specified.".to_owned(),
            ));
        }
        if given.has("from-beginning") && given.has("offset") {
            return Err(together("from-beginning", "offset"));
        }
        if given.has("group") && given.has("partition") {
            return Err(together("group", "partition"));
        }
        let bootstrap = given.one("bootstrap-server").map_err(Refusal::Error)?;
        properties::check_bootstrap(bootstrap.unwrap_or_default()).map_err(Refusal::Usage)?;
        Self::read(given, bootstrap.unwrap_or_default())
    }

    fn read(given: &Given, bootstrap: &str) -> Result<Self, Refusal> {
        let fault = Refusal::Error;
        let either = |new: &str, old: &str| -> Result<Option<String>, String> {
            Ok(given.one(new)?.or(given.one(old)?).map(str::to_owned))
        };
        let from_file = match either("command-config", "consumer.config").map_err(fault)? {
            Some(path) => properties::load(&path).map_err(fault)?,
            None => Properties::new(),
        };
        let mut from_flags = Properties::new();
        properties::pairs(given.all("consumer-property"), &mut from_flags).map_err(fault)?;
        properties::pairs(given.all("command-property"), &mut from_flags).map_err(fault)?;
        let flag_group = given.one("group").map_err(fault)?;
        let group = one_group([
            flag_group,
            from_flags.get("group.id").map(String::as_str),
            from_file.get("group.id").map(String::as_str),
        ])?;
        let mut all = from_file;
        all.extend(from_flags);
        all.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
        all.entry("client.id".to_owned())
            .or_insert_with(|| "console-consumer".to_owned());
        if let Some(isolation) = given.one("isolation-level").map_err(fault)? {
            all.insert("isolation.level".to_owned(), isolation.to_owned());
        }
        if given.has("from-beginning") {
            if all
                .get("auto.offset.reset")
                .is_some_and(|reset| reset != "earliest")
            {
                return Err(Refusal::Error(format!(
                    "Can't simultaneously specify --from-beginning and 'auto.offset.reset={}', please remove one option",
                    all.get("auto.offset.reset").map_or("", String::as_str)
                )));
            }
            all.insert("auto.offset.reset".to_owned(), "earliest".to_owned());
        }
        let mut consumer = properties::consumer_config(&all).map_err(fault)?;
        properties::group_protocol(&all).map_err(fault)?;
        let start = consumer.reset.start();
        let topic = given.one("topic").map_err(fault)?.unwrap_or_default();
        let what = if let Some(partition) = given.parsed("partition").map_err(fault)? {
            let start = match given.one("offset").map_err(fault)? {
                Some(offset) => start_of(offset)?,
                None => start,
            };
            What::Partition(topic.to_owned(), partition, start)
        } else if let Some(pattern) = given.one("include").map_err(fault)? {
            What::Topics(Topics::Like(include_pattern(pattern).map_err(fault)?))
        } else {
            What::Topics(Topics::Named(topic.to_owned()))
        };
        let mut formatting = match given.one("formatter-config").map_err(fault)? {
            Some(path) => properties::load(path).map_err(fault)?,
            None => Properties::new(),
        };
        properties::pairs(given.all("property"), &mut formatting).map_err(fault)?;
        properties::pairs(given.all("formatter-property"), &mut formatting).map_err(fault)?;
        for name in ["key-deserializer", "value-deserializer"] {
            if let Some(class) = given.one(name).map_err(fault)? {
                formatting.insert(name.replace('-', "."), class.to_owned());
            }
        }
        let formatter = Formatter::new(given.one("formatter").map_err(fault)?, &formatting)
            .map_err(Refusal::Usage)?;
        // The console is the bottleneck; what is fetched ahead only makes `--max-messages` wasteful.
        consumer.buffered_bytes_max = BUFFERED_MAX;
        Ok(Self {
            what,
            client: properties::client_config(&all).map_err(fault)?,
            consumer,
            group: group
                .map(|group| properties::group_config(&group, &all))
                .transpose()
                .map_err(fault)?,
            formatter,
            skips_errors: given.has("skip-message-on-error"),
            messages_max: given
                .parsed::<i64>("max-messages")
                .map_err(fault)?
                .and_then(|max| u64::try_from(max).ok()),
            timeout: given
                .parsed::<i64>("timeout-ms")
                .map_err(fault)?
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
        })
    }

    /// Prints records; gives how many, and the exit code.
    async fn carry_out(self, out: &Rc<RefCell<Out>>) -> (u64, Result<u8, String>) {
        let interrupted = Rc::new(std::cell::Cell::new(None));
        let _listening = listen(&interrupted);
        let mut printed = 0;
        let client = match Client::connect(self.client.clone()).await {
            Ok(client) => client,
            Err(error) => return (0, Err(error.to_string())),
        };
        let consumer = Rc::new(Consumer::new(&client, self.consumer.clone()));
        let following = match self.begin(&client, &consumer).await {
            Ok(following) => following,
            Err(error) => return (0, Err(error)),
        };
        let result = self.print(&consumer, out, &interrupted, &mut printed).await;
        if let Some(task) = following {
            task.cancel().await;
        }
        // The task above held the other handle.
        if let Ok(consumer) = Rc::try_unwrap(consumer)
            && let Err(error) = consumer.close().await
            && result.is_ok()
        {
            return (printed, Err(error.text()));
        }
        (printed, result)
    }

    /// Starts reading; gives the task that looks for new partitions, where there is one.
    async fn begin(
        &self,
        client: &Rc<Client>,
        consumer: &Rc<Consumer>,
    ) -> Result<Option<Task<()>>, String> {
        match (&self.what, &self.group) {
            (What::Partition(topic, partition, start), _) => {
                consumer.assign(&[(topic.clone(), *partition, *start)]);
                Ok(None)
            }
            (What::Topics(topics), Some(group)) => {
                let mut group = group.clone();
                group.topics = match topics {
                    Topics::Named(name) => vec![name.clone()],
                    Topics::Like(_) => names(topics, client).await?,
                };
                consumer.subscribe(group);
                if let Topics::Named(_) = topics {
                    return Ok(None);
                }
                // A pattern is this client's affair, as it is of Kafka's tool, which matches names by Java's rules.
                let (topics, client) = (topics.clone(), Rc::clone(client));
                let consumer = Rc::clone(consumer);
                Ok(Some(spawn("console.topics", async move {
                    loop {
                        sleep(LOOK_AGAIN).await;
                        if let Ok(names) = names(&topics, &client).await {
                            consumer.set_topics(names);
                        }
                    }
                })))
            }
            (What::Topics(topics), None) => {
                let start = self.consumer.reset.start();
                let mut following = Following {
                    topics: topics.clone(),
                    client: Rc::clone(client),
                    known: Vec::new(),
                };
                let all = following.look().await?;
                consumer.assign(
                    &all.iter()
                        .map(|(topic, partition)| (topic.clone(), *partition, start))
                        .collect::<Vec<_>>(),
                );
                following.known = all;
                let consumer = Rc::clone(consumer);
                Ok(Some(spawn("console.partitions", async move {
                    loop {
                        sleep(LOOK_AGAIN).await;
                        if let Ok(all) = following.look().await {
                            following.add(all, &consumer);
                        }
                    }
                })))
            }
        }
    }

    async fn print(
        &self,
        consumer: &Consumer,
        out: &Rc<RefCell<Out>>,
        interrupted: &std::cell::Cell<Option<u8>>,
        printed: &mut u64,
    ) -> Result<u8, String> {
        let (mut text, mut items) = (Vec::new(), Vec::new());
        let is_json = out.borrow().is_json();
        out.borrow_mut().begin_items();
        let mut last = now();
        loop {
            if self.messages_max.is_some_and(|max| *printed >= max) {
                return Ok(0);
            }
            if let Some(code) = interrupted.get() {
                return Ok(code);
            }
            let wait = match self.timeout {
                Some(timeout) => {
                    let waited = now().duration_since(last);
                    if waited >= timeout {
                        return Ok(0);
                    }
                    timeout.saturating_sub(waited).min(GLANCE)
                }
                None => GLANCE,
            };
            let chunk = match consumer.next_within(wait).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => continue,
                Err(error) => {
                    // Kafka's tool ends with code 0 then; scripts that read JSON are told.
                    let mut out = out.borrow_mut();
                    out.error(&in_kafkas_order(error).to_string());
                    out.note_failure();
                    return Ok(0);
                }
            };
            let kind = chunk.timestamp_type();
            let mut next = chunk.next_offset();
            let before = *printed;
            let (mut skipped, mut unreadable) = (Vec::new(), None);
            let visited = chunk.each(|record| {
                if self.messages_max.is_some_and(|max| *printed >= max) {
                    next = record.offset.0;
                    return ControlFlow::Break(());
                }
                let written = if is_json {
                    self.formatter
                        .item(&chunk.topic, chunk.partition, kind, record)
                        .map(|item| items.extend(item))
                } else {
                    self.formatter
                        .write(chunk.partition, kind, record, &mut text)
                };
                *printed += 1;
                match written {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        let place = format!(
                            "the record at offset {} of {}-{}",
                            record.offset.0, chunk.topic, chunk.partition
                        );
                        if self.skips_errors {
                            skipped.push(format!("{place} is skipped: {error}"));
                            return ControlFlow::Continue(());
                        }
                        unreadable = Some(format!("{place} cannot be printed: {error}"));
                        ControlFlow::Break(())
                    }
                }
            });
            let mut out = out.borrow_mut();
            for line in skipped {
                out.error(&line);
            }
            out.bytes(&text);
            for item in items.drain(..) {
                out.item(&item);
            }
            out.flush();
            text.clear();
            let _ = visited.map_err(|error| error.to_string())?;
            if let Some(error) = unreadable {
                return Err(error);
            }
            consumer.consumed(&chunk, next);
            if out.is_broken() {
                return Ok(1);
            }
            if *printed > before {
                last = now();
            }
        }
    }
}

/// Kafka's tool names partitions in the order of a hash table.
fn in_kafkas_order(error: ConsumeError) -> ConsumeError {
    match error {
        ConsumeError::NoOffset(partitions) => {
            ConsumeError::NoOffset(java::partition_order(partitions))
        }
        other => other,
    }
}

/// Looks for partitions that appear later.
struct Following {
    topics: Topics,
    client: Rc<Client>,
    known: Vec<(String, i32)>,
}

impl Following {
    async fn look(&self) -> Result<Vec<(String, i32)>, String> {
        let mut all = Vec::new();
        for name in names(&self.topics, &self.client).await? {
            self.client.forget_leader(&name);
            match self.client.topic_within(&name, Duration::ZERO).await {
                Ok(count) => all.extend((0..count).map(|partition| (name.clone(), partition))),
                // Not there yet, or just being created.
                Err(error) if error.is_retriable() => {}
                Err(error) => return Err(error.text()),
            }
        }
        Ok(all)
    }

    fn add(&mut self, all: Vec<(String, i32)>, consumer: &Consumer) {
        let new: Vec<(String, i32)> = all
            .into_iter()
            .filter(|partition| !self.known.contains(partition))
            .collect();
        if new.is_empty() {
            return;
        }
        let mut assignment: Vec<(String, i32, Start)> = self
            .known
            .iter()
            .map(|(topic, partition)| {
                let position = consumer.consumed_offset(topic, *partition);
                let start = position.map_or(Start::Latest, Start::Offset);
                (topic.clone(), *partition, start)
            })
            .collect();
        // Nothing of a partition that has just appeared was there before us.
        assignment.extend(
            new.iter()
                .map(|(topic, partition)| (topic.clone(), *partition, Start::Earliest)),
        );
        self.known.extend(new);
        consumer.assign(&assignment);
    }
}

async fn names(topics: &Topics, client: &Rc<Client>) -> Result<Vec<String>, String> {
    match topics {
        Topics::Named(name) => Ok(vec![name.clone()]),
        Topics::Like(pattern) => Ok(Admin::new(client)
            .list_topics()
            .await
            .map_err(|error| error.text())?
            .into_iter()
            .filter(|topic| !topic.is_internal && pattern.is_match(&topic.name))
            .map(|topic| topic.name)
            .collect()),
    }
}

/// Notes the exit code that a signal asks for. Where signals cannot be read, they end the process as ever.
fn listen(interrupted: &Rc<std::cell::Cell<Option<u8>>>) -> Option<Task<()>> {
    let mut signals = Signals::new(&[Signal::Int, Signal::Term]).ok()?;
    let interrupted = Rc::clone(interrupted);
    Some(spawn("console.signals", async move {
        let signal = signals.next().await;
        interrupted.set(Some(128 + signal.number()));
    }))
}

fn one_group(found: [Option<&str>; 3]) -> Result<Option<String>, Refusal> {
    let mut groups: Vec<&str> = found.into_iter().flatten().collect();
    groups.dedup();
    if groups.len() > 1 {
        let list: Vec<String> = groups.iter().map(|group| format!("'{group}'")).collect();
        return Err(Refusal::Usage(format!(
            "The group ids provided in different places (directly using '--group', via '--consumer-property', \
             or via '--consumer.config') do not match. Detected group ids: {}",
            list.join(", ")
        )));
    }
    Ok(groups.first().map(|group| (*group).to_owned()))
}

fn start_of(offset: &str) -> Result<Start, Refusal> {
    match offset.to_ascii_lowercase().as_str() {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        number => match number.parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Start::Offset(offset)),
            _ => Err(Refusal::Usage(format!(
                "The provided offset value '{offset}' is incorrect. Valid values are 'earliest', \
                 'latest', or a non-negative long."
            ))),
        },
    }
}

/// How much is fetched ahead of the console.
const BUFFERED_MAX: usize = 8 * 1024 * 1024;
/// How often a waiting command looks whether it was interrupted.
const GLANCE: Duration = Duration::from_millis(100);
/// How often new partitions are looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

const RENAMED: &[(&str, &str)] = &[
    ("consumer-property", "command-property"),
    ("consumer.config", "command-config"),
    ("property", "formatter-property"),
];

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: config file",
        "A file of consumer properties.",
    ),
    value(
        "command-property",
        "String: consumer_prop",
        "A consumer property, name=value.",
    ),
    value(
        "consumer-property",
        "String: consumer_prop",
        "(DEPRECATED) See --command-property.",
    ),
    value(
        "consumer.config",
        "String: config file",
        "(DEPRECATED) See --command-config.",
    ),
    flag(
        "enable-systest-events",
        "Print what happens to the consumer, for system tests.",
    ),
    value(
        "formatter",
        "String: class",
        "How records are printed: DefaultMessageFormatter, LoggingMessageFormatter, NoOpMessageFormatter, OffsetsMessageFormatter, GroupMetadataMessageFormatter, TransactionLogMessageFormatter, ShareGroupStateMessageFormatter of org.apache.kafka.tools.consumer.",
    ),
    value(
        "formatter-config",
        "String: config file",
        "A file of properties for the formatter.",
    ),
    value(
        "formatter-property",
        "String: prop",
        "A property of the formatter, name=value: print.timestamp, print.key, print.offset, print.partition, print.headers, print.value, print.epoch, print.delivery, key.separator, line.separator, headers.separator, null.literal, key.deserializer, value.deserializer, headers.deserializer.",
    ),
    flag(
        "from-beginning",
        "Begin at the first record where there is no committed offset.",
    ),
    value("group", "String: consumer group id", "The group to join."),
    value(
        "include",
        "String: Java regex (String)",
        "A regular expression of the topics to read.",
    ),
    value(
        "isolation-level",
        "String",
        "read_committed or read_uncommitted.",
    ),
    value(
        "key-deserializer",
        "String: deserializer for keys",
        "What keys are.",
    ),
    value(
        "max-messages",
        "Integer: num_messages",
        "End after so many records.",
    ),
    value(
        "offset",
        "String: consume offset",
        "earliest, latest or an offset; with --partition.",
    ),
    value("partition", "Integer: partition", "The partition to read."),
    value(
        "property",
        "String: prop",
        "(DEPRECATED) See --formatter-property.",
    ),
    flag(
        "skip-message-on-error",
        "Skip records that cannot be printed as their kind instead of ending.",
    ),
    value(
        "timeout-ms",
        "Long: timeout_ms",
        "End when no record comes for so long.",
    ),
    value("topic", "String: topic", "The topic to read."),
    value(
        "value-deserializer",
        "String: deserializer for values",
        "What values are.",
    ),
];

pub(super) const TABLE: Table = Table {
    about: "This tool helps to read data from Kafka topics and outputs it to standard output.",
    options: OPTIONS,
};
