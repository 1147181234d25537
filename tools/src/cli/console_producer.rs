//! **Owns** `console-producer`: Kafka's `kafka-console-producer`.
//! **Lives on** the command's thread; standard input is read on the companion.
//! **Not here** cutting lines (`line_reader`).
//! **Invariants** none beyond the types'.

use std::cell::RefCell;
use std::io::{IsTerminal, Read};
use std::rc::Rc;

use corelog_storage::batch::RecordHeader;

use super::line_reader::LineReader;
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::properties::{self, Properties};
use super::{Out, on_runtime};
use crate::client::producer::{NewRecord, Observer, Producer, ProducerConfig};
use crate::client::{Client, ClientConfig};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let plan = TABLE
        .parse(arguments)
        .map_err(Refusal::with_usage)
        .and_then(|given| Plan::new(&given, out));
    let plan = match plan {
        Ok(plan) => plan,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    out.flush();
    let input = out.input();
    let prompt = std::io::stdin().is_terminal() && out.is_terminal();
    let outcome = on_runtime(plan.carry_out(input, prompt));
    match outcome {
        Ok(Ok(complaints)) => {
            for complaint in complaints {
                out.error(&complaint);
            }
            0
        }
        Ok(Err(error)) | Err(error) => {
            out.error(&error);
            1
        }
    }
}

struct Plan {
    topic: String,
    client: ClientConfig,
    producer: ProducerConfig,
    reader: LineReader,
    sync: bool,
}

impl Plan {
    fn new(given: &Given, out: &mut Out) -> Result<Self, Refusal> {
        given.require(&["topic"])?;
        for (old, new) in RENAMED {
            if given.has(old) && given.has(new) {
                return Err(Refusal::Usage(format!(
                    "Options --{new} and --{old} cannot be specified together."
                )));
            }
        }
        for (old, new) in RENAMED {
            if given.has(old) {
                out.line(&format!(
                    "Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead."
                ));
            }
        }
        if given.has("max-partition-memory-bytes") {
            out.line(
                "Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. \
                 Use --batch-size instead.",
            );
        }
        let bootstrap = given.one("bootstrap-server").map_err(Refusal::Error)?;
        properties::check_bootstrap(bootstrap.unwrap_or_default()).map_err(Refusal::Usage)?;
        Self::read(given, bootstrap.unwrap_or_default()).map_err(Refusal::Error)
    }

    fn read(given: &Given, bootstrap: &str) -> Result<Self, String> {
        let either = |new: &str, old: &str| -> Result<Option<String>, String> {
            Ok(given.one(new)?.or(given.one(old)?).map(str::to_owned))
        };
        let mut properties = match either("command-config", "producer.config")? {
            Some(path) => properties::load(&path)?,
            None => Properties::new(),
        };
        // Kafka's tool: a flag given wins over the properties, its default does not.
        for (flag, property, default) in FLAGS {
            let value = given.one(flag)?;
            if let Some(value) = value {
                properties.insert((*property).to_owned(), value.to_owned());
            } else if !default.is_empty() {
                properties
                    .entry((*property).to_owned())
                    .or_insert_with(|| (*default).to_owned());
            }
        }
        if given.has("compression-codec") {
            let codec = given.one("compression-codec")?.unwrap_or("gzip");
            properties.insert("compression.type".to_owned(), codec.to_owned());
        }
        properties::pairs(given.all("producer-property"), &mut properties)?;
        properties::pairs(given.all("command-property"), &mut properties)?;
        properties.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
        properties
            .entry("client.id".to_owned())
            .or_insert_with(|| "console-producer".to_owned());
        let mut reading = match given.one("reader-config")? {
            Some(path) => properties::load(path)?,
            None => Properties::new(),
        };
        properties::pairs(given.all("property"), &mut reading)?;
        properties::pairs(given.all("reader-property"), &mut reading)?;
        if let Some(class) = given.one("line-reader")?
            && !class.ends_with("LineMessageReader")
        {
            return Err(format!(
                "line reader {class} is not supported: only LineMessageReader is"
            ));
        }
        Ok(Self {
            topic: given.one("topic")?.unwrap_or_default().to_owned(),
            client: properties::client_config(&properties)?,
            producer: properties::producer_config(&properties)?,
            reader: LineReader::new(&reading)?,
            sync: given.has("sync"),
        })
    }

    /// Produces every line; gives what went wrong with single records.
    async fn carry_out(
        mut self,
        mut input: Box<dyn Read + Send>,
        prompt: bool,
    ) -> Result<Vec<String>, String> {
        let client = Client::connect(self.client)
            .await
            .map_err(|error| error.to_string())?;
        let producer = Producer::new(client, self.producer)
            .await
            .map_err(|error| error.text())?;
        let complaints = Rc::new(RefCell::new(Vec::new()));
        producer.observe(complain_into(&complaints));
        let mut pending: Vec<u8> = Vec::new();
        loop {
            if prompt {
                ask();
            }
            let (back, chunk) = corelog_runtime::blocking("stdin", move || {
                let mut chunk = vec![0; CHUNK];
                let read = loop {
                    match input.read(&mut chunk) {
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                        other => break other,
                    }
                };
                let chunk = read.map(|read| {
                    chunk.truncate(read);
                    chunk
                });
                (input, chunk)
            })
            .await;
            input = back;
            let chunk = chunk.map_err(|error| format!("cannot read standard input: {error}"))?;
            let at_end = chunk.is_empty();
            pending.extend_from_slice(&chunk);
            let mut rest = pending.as_slice();
            let mut failed = None;
            while let Some((line, after)) = next_line(rest, at_end) {
                rest = after;
                if let Err(error) =
                    send(&producer, &self.topic, &mut self.reader, line, self.sync).await
                {
                    failed = Some(error);
                    break;
                }
            }
            let left = rest.to_vec();
            pending = left;
            if let Some(error) = failed {
                // What was read before the fault is sent, as Kafka's tool does when it closes.
                producer.flush().await;
                return Err(error);
            }
            if at_end {
                break;
            }
        }
        producer.flush().await;
        drop(producer);
        Ok(complaints.take())
    }
}

fn complain_into(complaints: &Rc<RefCell<Vec<String>>>) -> Observer {
    let complaints = Rc::clone(complaints);
    Rc::new(move |done| {
        if let Err(error) = &done.outcome {
            complaints.borrow_mut().push(format!(
                "Error when sending {} message(s) to topic {}: {error}",
                done.count, done.topic
            ));
        }
    })
}

async fn send(
    producer: &Producer,
    topic: &str,
    reader: &mut LineReader,
    line: &[u8],
    sync: bool,
) -> Result<(), String> {
    let line = reader.read(line)?;
    let headers: Vec<RecordHeader<'_>> = line
        .headers
        .iter()
        .map(|(key, value)| RecordHeader {
            key,
            value: value.as_deref(),
        })
        .collect();
    let record = NewRecord {
        topic,
        key: line.key.as_deref(),
        value: line.value.as_deref(),
        headers: &headers,
        ..NewRecord::default()
    };
    let delivery = producer
        .send(record)
        .await
        .map_err(|error| error.to_string())?;
    if sync {
        producer.flush().await;
        delivery.await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The next line without its end, and what follows; at the end of the input, what is left is a line too.
fn next_line(bytes: &[u8], at_end: bool) -> Option<(&[u8], &[u8])> {
    if let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = &bytes[..at];
        return Some((line.strip_suffix(b"\r").unwrap_or(line), &bytes[at + 1..]));
    }
    (at_end && !bytes.is_empty()).then_some((bytes, &[]))
}

fn ask() {
    let mut out = Out::standard();
    out.bytes(b">");
    out.flush();
}

/// How much of standard input is read at once.
const CHUNK: usize = 64 * 1024;

/// Options that got other names: (old, new).
const RENAMED: &[(&str, &str)] = &[
    ("producer-property", "command-property"),
    ("producer.config", "command-config"),
    ("property", "reader-property"),
];

/// Flags that stand for a property, and their defaults.
const FLAGS: &[(&str, &str, &str)] = &[
    ("request-required-acks", "acks", "-1"),
    ("request-timeout-ms", "request.timeout.ms", "1500"),
    ("message-send-max-retries", "retries", "3"),
    ("retry-backoff-ms", "retry.backoff.ms", "100"),
    ("timeout", "linger.ms", "1000"),
    ("max-block-ms", "max.block.ms", "60000"),
    ("max-memory-bytes", "buffer.memory", "33554432"),
    ("max-partition-memory-bytes", "batch.size", ""),
    ("batch-size", "batch.size", ""),
    ("metadata-expiry-ms", "metadata.max.age.ms", "300000"),
    ("socket-buffer-size", "send.buffer.bytes", "102400"),
];

const OPTIONS: &[Opt] = &[
    value(
        "batch-size",
        "Integer: size",
        "Bytes of records collected for a partition before they are sent.",
    ),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: config file",
        "A file of producer properties.",
    ),
    value(
        "command-property",
        "String: producer_prop",
        "A producer property, name=value.",
    ),
    maybe(
        "compression-codec",
        "String: compression-codec",
        "none, gzip, snappy, lz4 or zstd; gzip when no codec is named.",
    ),
    value(
        "line-reader",
        "String: reader_class",
        "The class that reads lines; only LineMessageReader.",
    ),
    value(
        "max-block-ms",
        "Long: max block on send",
        "How long a send may wait for metadata or memory.",
    ),
    value(
        "max-memory-bytes",
        "Long: total memory in bytes",
        "Memory for records that wait.",
    ),
    value(
        "max-partition-memory-bytes",
        "Integer: memory in bytes per partition",
        "(DEPRECATED) See --batch-size.",
    ),
    value(
        "message-send-max-retries",
        "Integer",
        "How often a batch is sent again.",
    ),
    value(
        "metadata-expiry-ms",
        "Long: metadata expiration interval",
        "After how long metadata is asked for again.",
    ),
    value(
        "producer-property",
        "String: producer_prop",
        "(DEPRECATED) See --command-property.",
    ),
    value(
        "producer.config",
        "String: config file",
        "(DEPRECATED) See --command-config.",
    ),
    value(
        "property",
        "String: prop",
        "(DEPRECATED) See --reader-property.",
    ),
    value(
        "reader-config",
        "String: config file",
        "A file of properties for the line reader.",
    ),
    value(
        "reader-property",
        "String: prop",
        "A property of the line reader, name=value: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator, headers.key.separator, ignore.error, null.marker.",
    ),
    value(
        "request-required-acks",
        "String: request required acks",
        "0, 1, or all.",
    ),
    value(
        "request-timeout-ms",
        "Integer: request timeout ms",
        "How long a request may take.",
    ),
    value(
        "retry-backoff-ms",
        "Long",
        "The pause before a batch is sent again.",
    ),
    value(
        "socket-buffer-size",
        "Integer: size",
        "The socket's send buffer.",
    ),
    flag("sync", "Wait for each record before the next is read."),
    value(
        "timeout",
        "Long: timeout_ms",
        "How long records wait for others to be sent with.",
    ),
    value("topic", "String: topic", "REQUIRED: the topic."),
];

pub(super) const TABLE: Table = Table {
    about: "This tool helps to read data from standard input and publish it to Kafka.",
    options: OPTIONS,
};
