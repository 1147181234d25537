//! **Owns** `producer-perf-test`: Kafka's `kafka-producer-perf-test`, whose option parser is unlike that of the others; and
//! the reading of these options for `corelog-perf producer`.
//! **Lives on** the command's thread.
//! **Not here** producing (`load::produce`).
//! **Invariants** none beyond the types'.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use serde_json::{Value, json};

use super::bar::{Bar, Unit};
use super::client_figures;
use super::client_metrics::random_id;
use super::properties::{self, Properties};
use super::{Out, on_runtime};
use crate::load::produce::{Payload, ProduceLoad, Produced, Window, produce};
use crate::load::{MB, to_f64};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match read("kafka-producer-perf-test", arguments, out) {
        Ok(request) => request,
        Err(code) => return code,
    };
    let json = request.json;
    let warmup = request.load.warmup;
    if warmup > 0 && !json {
        out.line(&format!(
            "Warmup first {warmup} records. Steady state results will print after the complete test summary."
        ));
    }
    let bar = Bar::new(request.load.records, Unit::Records);
    let mut load = request.load.clone();
    load.listener = Some(bar.listener());
    let above = bar.clone();
    let warm = Cell::new(warmup == 0);
    let outcome = carry_out(load, out, move |window, out| {
        above.aside(|| {
            if json {
                out.progress(&window_line(window));
                return;
            }
            if !window.is_warmup && !warm.replace(true) {
                out.line(STEADY);
            }
            out.line(&window_line(window));
            out.flush();
        });
    });
    bar.finish();
    match outcome {
        Ok(produced) => {
            for (failure, count) in &produced.failures {
                out.error(&format!("{count} records were not delivered: {failure}"));
            }
            let client = &request.load.client.client_id;
            let length = produced
                .whole
                .as_ref()
                .map_or(produced.total.length, |it| it.length);
            let figures = client_figures::producer(client, &produced.figures, length);
            if json {
                let mut document = document(&produced);
                if request.metrics {
                    document["metrics"] = figures.document();
                }
                out.document(&document);
            } else {
                if let Some(whole) = &produced.whole {
                    out.line(&total_line(whole));
                    out.line(&steady_line(&produced.total));
                } else {
                    out.line(&total_line(&produced.total));
                }
                if request.metrics {
                    figures.print(out);
                }
            }
            u8::from(produced.failed > 0 && produced.total.records == 0 && request.strict)
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

/// Runs a load on a runtime of its own, and shows its windows.
pub fn carry_out(
    load: ProduceLoad,
    out: &mut Out,
    show: impl Fn(&Window, &mut Out) + 'static,
) -> Result<Produced, String> {
    out.flush();
    // The runtime wants what it runs to own everything: the printer comes back when it is done.
    let printer = Rc::new(RefCell::new(std::mem::replace(
        out,
        Out::new(Box::new(std::io::sink()), Box::new(std::io::sink())),
    )));
    let inner = Rc::clone(&printer);
    let produced = on_runtime(produce(load, move |window| {
        let mut out = inner.borrow_mut();
        show(window, &mut out);
        out.flush();
    }));
    std::mem::swap(out, &mut printer.borrow_mut());
    produced.and_then(|produced| produced)
}

/// Kafka's line for an interval.
pub fn window_line(window: &Window) -> String {
    let seconds = window.length.as_secs_f64();
    format!(
        "{} records sent, {:.1} records/sec ({:.2} MB/sec), {:.1} ms avg latency, {:.1} ms max latency.",
        window.records,
        to_f64(window.records) / seconds,
        to_f64(window.bytes) / MB / seconds,
        window.latencies.mean_ms(),
        window.latencies.max_ms(),
    )
}

/// Kafka's last line.
pub fn total_line(total: &Window) -> String {
    sum_line(total, "records")
}

/// Kafka's last line where some records were not measured.
fn steady_line(total: &Window) -> String {
    sum_line(total, "steady state records")
}

fn sum_line(total: &Window, what: &str) -> String {
    let seconds = total.length.as_secs_f64();
    let latencies = &total.latencies;
    format!(
        "{} {what} sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, \
         {:.0} ms 50th, {:.0} ms 95th, {:.0} ms 99th, {:.0} ms 99.9th.",
        total.records,
        to_f64(total.records) / seconds,
        to_f64(total.bytes) / MB / seconds,
        latencies.mean_ms(),
        latencies.max_ms(),
        latencies.quantile_ms(0.5),
        latencies.quantile_ms(0.95),
        latencies.quantile_ms(0.99),
        latencies.quantile_ms(0.999),
    )
}

/// The same for `--output json`.
fn document(produced: &Produced) -> Value {
    let total = &produced.total;
    let seconds = total.length.as_secs_f64();
    let latencies = &total.latencies;
    json!({
        "records": total.records,
        "failed": produced.failed,
        "bytes": total.bytes,
        "seconds": seconds,
        "recordsPerSecond": to_f64(total.records) / seconds,
        "megabytesPerSecond": to_f64(total.bytes) / MB / seconds,
        "latencyMs": {
            "mean": latencies.mean_ms(),
            "max": latencies.max_ms(),
            "p50": latencies.quantile_ms(0.5),
            "p95": latencies.quantile_ms(0.95),
            "p99": latencies.quantile_ms(0.99),
            "p999": latencies.quantile_ms(0.999),
        },
    })
}

/// The command, read.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub load: ProduceLoad,
    /// `--output json`.
    pub json: bool,
    /// `--strict`: records that fail make the command fail.
    pub strict: bool,
    /// `--print-metrics`.
    pub metrics: bool,
}

/// Kafka's.
const TRANSACTION: Duration = Duration::from_secs(3);
const STEADY: &str = "In steady state.";

#[derive(Default)]
struct Read {
    one: std::collections::BTreeMap<&'static str, String>,
    many: std::collections::BTreeMap<&'static str, Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    One,
    Many,
}

/// The options and what they do.
pub(super) fn options() -> Vec<(&'static str, &'static str)> {
    OPTIONS
        .iter()
        .map(|(name, _, help)| (*name, *help))
        .collect()
}

const OPTIONS: &[(&str, Takes, &str)] = &[
    (
        "--bootstrap-server",
        Takes::One,
        "the brokers to connect to, host:port separated by commas",
    ),
    ("--topic", Takes::One, "the topic"),
    ("--num-records", Takes::One, "how many records"),
    (
        "--payload-delimiter",
        Takes::One,
        "what separates the payloads of a payload file (default: a new line)",
    ),
    (
        "--throughput",
        Takes::One,
        "records per second; -1 is as fast as possible",
    ),
    (
        "--producer-props",
        Takes::Many,
        "(deprecated) producer properties, name=value",
    ),
    (
        "--command-property",
        Takes::Many,
        "producer properties, name=value",
    ),
    (
        "--producer.config",
        Takes::One,
        "(deprecated) a file of producer properties",
    ),
    (
        "--command-config",
        Takes::One,
        "a file of producer properties",
    ),
    (
        "--print-metrics",
        Takes::Nothing,
        "print the client's figures at the end",
    ),
    (
        "--transactional-id",
        Takes::One,
        "send in transactions of this id (default with a duration: performance-producer- and a random id)",
    ),
    (
        "--transaction-duration-ms",
        Takes::One,
        "milliseconds after which each transaction is committed (default with a transactional id: 3000)",
    ),
    (
        "--warmup-records",
        Takes::One,
        "how many records are not counted in a second summary",
    ),
    (
        "--reporting-interval",
        Takes::One,
        "milliseconds between two lines of progress (default: 5000; corelog-perf: 1000)",
    ),
    ("--record-size", Takes::One, "bytes of a record's value"),
    (
        "--payload-file",
        Takes::One,
        "a file of payloads to choose from",
    ),
    (
        "--payload-monotonic",
        Takes::Nothing,
        "payloads are the numbers from 0",
    ),
    (
        "--connections",
        Takes::One,
        "corelog: how many clients, each with its own connections (default: 1)",
    ),
    (
        "--keys",
        Takes::One,
        "corelog: every record has one of so many keys, at random (default: no keys)",
    ),
    (
        "--verify",
        Takes::Nothing,
        "corelog: number the records of each partition, for a consumer with --verify",
    ),
    (
        "--strict",
        Takes::Nothing,
        "corelog: exit 1 when no record was delivered",
    ),
    ("--output", Takes::One, "corelog: text or json"),
];

const USAGE: &str = "       [-h] [--bootstrap-server BOOTSTRAP-SERVER] --topic TOPIC
       --num-records NUM-RECORDS [--payload-delimiter PAYLOAD-DELIMITER]
       --throughput THROUGHPUT
       [--producer-props PROP-NAME=PROP-VALUE [PROP-NAME=PROP-VALUE ...]]
       [--command-property PROP-NAME=PROP-VALUE [PROP-NAME=PROP-VALUE ...]]
       [--producer.config CONFIG-FILE] [--command-config CONFIG-FILE]
       [--print-metrics] [--transactional-id TRANSACTIONAL-ID]
       [--transaction-duration-ms TRANSACTION-DURATION]
       [--warmup-records WARMUP-RECORDS] [--reporting-interval INTERVAL-MS]
       (--record-size RECORD-SIZE | --payload-file PAYLOAD-FILE |
       --payload-monotonic)";

/// Reads the options; on a fault prints it and gives the exit code.
pub fn read(program: &str, arguments: &[String], out: &mut Out) -> Result<Request, u8> {
    if arguments.is_empty() || arguments.iter().any(|it| it == "-h" || it == "--help") {
        out.line(&format!("usage: {program}\n{USAGE}\n\noptions:"));
        for (name, _, help) in OPTIONS {
            out.line(&format!("  {name:<28} {help}"));
        }
        // Kafka's tool says so, too: no arguments is no error, asking for help is one.
        return Err(u8::from(!arguments.is_empty()));
    }
    let interval = if program == "corelog-perf producer" {
        Duration::from_secs(1)
    } else {
        Duration::from_secs(5)
    };
    split(arguments)
        .map_err(Fault::Usage)
        .and_then(|read| {
            // Our own tool takes the old names for good.
            let told = if program.starts_with("kafka-") { DEPRECATED } else { &[] };
            for (old, new) in told {
                if read.one.contains_key(*old) || read.many.contains_key(*old) {
                    out.line(&format!(
                        "Option {old} has been deprecated and will be removed in a future version. Use {new} instead."
                    ));
                }
            }
            let request = request(&read, interval)?;
            if let (Some(path), Payload::Lines(lines)) =
                (read.one.get("--payload-file"), &request.load.payload)
                && !told.is_empty()
            {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
                out.line(&format!("Reading payloads from: {}", path.display()));
                out.line(&format!("Number of records read: {}", lines.len()));
            }
            Ok(request)
        })
        .map_err(|fault| {
            match fault {
                Fault::Usage(error) => {
                    if !out.is_json() {
                        out.error(&format!("usage: {program}\n{USAGE}"));
                    }
                    out.error(&format!("{program}: error: {error}"));
                }
                Fault::Properties(error) => out.error(&error),
            }
            1
        })
}

/// What is wrong with a command line.
enum Fault {
    /// The options.
    Usage(String),
    /// What they say of the producer.
    Properties(String),
}

impl From<String> for Fault {
    fn from(error: String) -> Self {
        Self::Usage(error)
    }
}

const DEPRECATED: &[(&str, &str)] = &[
    ("--producer-props", "--command-property"),
    ("--producer.config", "--command-config"),
];

fn split(arguments: &[String]) -> Result<Read, String> {
    let mut read = Read::default();
    let mut rest = arguments.iter().peekable();
    let mut unknown = Vec::new();
    while let Some(argument) = rest.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let Some((name, takes, _)) = OPTIONS.iter().find(|(option, ..)| *option == name) else {
            unknown.push(format!("'{argument}'"));
            continue;
        };
        match takes {
            Takes::Nothing => {
                read.one.insert(name, String::new());
            }
            Takes::One => {
                let value = match inline {
                    Some(value) => value,
                    // A negative number is a value.
                    None => rest
                        .next_if(|next| !next.starts_with("--"))
                        .cloned()
                        .ok_or_else(|| format!("argument {name}: expected one argument"))?,
                };
                read.one.insert(name, value);
            }
            Takes::Many => {
                let values = read.many.entry(name).or_default();
                values.extend(inline);
                while let Some(value) = rest.next_if(|next| !next.starts_with("--")) {
                    values.push(value.clone());
                }
            }
        }
    }
    if !unknown.is_empty() {
        return Err(format!("unrecognized arguments: {}", unknown.join(" ")));
    }
    Ok(read)
}

fn request(read: &Read, interval: Duration) -> Result<Request, Fault> {
    let text = |name: &str| read.one.get(name).map(String::as_str);
    let need = |name: &str| text(name).ok_or_else(|| format!("argument {name} is required"));
    let signed = |name: &str| text(name).map(|value| long(name, value)).transpose();
    let number = |name: &str| text(name).map(|value| long::<u64>(name, value)).transpose();
    let mut all = match text("--command-config").or(text("--producer.config")) {
        Some(path) => properties::load(path)?,
        None => Properties::new(),
    };
    for name in ["--producer-props", "--command-property"] {
        if let Some(pairs) = read.many.get(name) {
            properties::pairs(pairs.iter().map(String::as_str), &mut all)?;
        }
    }
    if let Some(bootstrap) = text("--bootstrap-server") {
        all.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
    }
    if !all.contains_key("bootstrap.servers") {
        return Err(
            "At least one of --bootstrap-server, bootstrap.servers in --command-property or in --command-config is required"
                .to_owned().into(),
        );
    }
    all.entry("client.id".to_owned())
        .or_insert_with(|| "perf-producer-client".to_owned());
    let transaction = transaction(
        text("--transactional-id"),
        signed("--transaction-duration-ms")?,
        &mut all,
    )?;
    let topic = need("--topic")?.to_owned();
    let records =
        signed("--num-records")?.ok_or_else(|| "argument --num-records is required".to_owned())?;
    let records = u64::try_from(records).unwrap_or(0);
    if records == 0 {
        return Err("--num-records should be greater than zero."
            .to_owned()
            .into());
    }
    let warmup = u64::try_from(signed("--warmup-records")?.unwrap_or(0)).unwrap_or(0);
    if warmup >= records {
        return Err(
            "The value for --warmup-records must be strictly fewer than the number of records in the test, \
             --num-records."
                .to_owned().into(),
        );
    }
    let interval = match signed("--reporting-interval")?.map(u64::try_from) {
        None => interval,
        Some(Ok(ms)) if ms > 0 => Duration::from_millis(ms),
        Some(_) => {
            return Err("--reporting-interval should be greater than zero."
                .to_owned()
                .into());
        }
    };
    let throughput: f64 = need("--throughput")?
        .parse()
        .map_err(|_| "argument --throughput: could not convert to a number".to_owned())?;
    let size = number("--record-size")?.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    let payload = match (size, text("--payload-file"), text("--payload-monotonic")) {
        (Some(size), None, None) if text("--verify").is_some() => Payload::Verified(size),
        (Some(0), None, None) => {
            return Err("--record-size must be greater than 0".to_owned().into());
        }
        (Some(size), None, None) => Payload::Random(size),
        (None, Some(path), None) => {
            let delimiter = text("--payload-delimiter").unwrap_or("\n");
            Payload::Lines(lines(path, &delimiter.replace("\\n", "\n"))?)
        }
        (None, None, Some(_)) => Payload::Monotonic,
        (None, None, None) => {
            return Err(
                "one of the arguments --record-size --payload-file --payload-monotonic is required"
                    .to_owned()
                    .into(),
            );
        }
        _ => {
            return Err(
                "only one of the arguments --record-size --payload-file --payload-monotonic is allowed"
                    .to_owned().into(),
            );
        }
    };
    Ok(Request {
        load: ProduceLoad {
            topic,
            records,
            warmup,
            payload,
            keys: number("--keys")?.unwrap_or(0),
            throughput: (throughput > 0.0).then_some(throughput),
            client: properties::client_config(&all).map_err(Fault::Properties)?,
            producer: properties::producer_config(&all).map_err(Fault::Properties)?,
            connections: usize::try_from(number("--connections")?.unwrap_or(1)).unwrap_or(1),
            transaction,
            interval,
            listener: None,
            watch: None,
        },
        json: match text("--output") {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(format!("--output {other}: text or json").into()),
        },
        strict: text("--strict").is_some(),
        metrics: text("--print-metrics").is_some(),
    })
}

fn long<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| {
        format!(
            "argument {name}: could not convert '{value}' to Long (For input string: \"{value}\")"
        )
    })
}

/// After how long each transaction is committed; puts the transactional id among the properties.
fn transaction(
    id: Option<&str>,
    duration_ms: Option<i64>,
    all: &mut Properties,
) -> Result<Option<Duration>, String> {
    const ID: &str = "transactional.id";
    let duration = match duration_ms.map(u64::try_from) {
        None => None,
        Some(Ok(ms)) if ms > 0 => Some(Duration::from_millis(ms)),
        Some(_) => return Err("--transaction-duration-ms should be greater than zero.".to_owned()),
    };
    if let Some(id) = id {
        all.insert(ID.to_owned(), id.to_owned());
    }
    if duration.is_none() && !all.contains_key(ID) {
        return Ok(None);
    }
    if !all.contains_key(ID) {
        // What is drawn at random comes from a runtime.
        let drawn = on_runtime(async { random_id() })?;
        all.insert(ID.to_owned(), format!("performance-producer-{drawn}"));
    }
    Ok(Some(duration.unwrap_or(TRANSACTION)))
}

fn lines(path: &str, delimiter: &str) -> Result<Rc<[Bytes]>, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command reads its user's file before anything runs"
    )]
    let text = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<Bytes> = text
        .split(delimiter)
        .filter(|line| !line.is_empty())
        .map(|line| Bytes::copy_from_slice(line.as_bytes()))
        .collect();
    if lines.is_empty() {
        return Err(format!(
            "File does not exist or empty file provided: {path}"
        ));
    }
    Ok(lines.into())
}
