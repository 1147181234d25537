//! **Owns** `consumer-perf-test`: Kafka's `kafka-consumer-perf-test`; and the reading of its options for
//! `corelog-perf consumer`.
//! **Lives on** the command's thread.
//! **Not here** consuming (`load::consume`).
//! **Invariants** none beyond the types'.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::bar::{Bar, Unit};
use super::client_figures;
use super::date_format::DateFormat;
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::properties::{self, Properties};
use super::{Out, on_runtime};
use crate::load::consume::{ConsumeLoad, Consumed, Window, consume};
use crate::load::{MB, to_f64};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match read(arguments, out, DEFAULT_INTERVAL) {
        Ok(request) => request,
        Err(code) => return code,
    };
    let json = request.json;
    if !request.hide_header && !json {
        out.line(header(request.detailed));
    }
    let detailed = request.detailed && !json;
    let dates = request.dates.clone();
    let bar = Bar::new(request.load.records, Unit::Records);
    let mut load = request.load.clone();
    load.listener = Some(bar.listener());
    let above = bar.clone();
    let outcome = carry_out(load, out, move |window, out| {
        if detailed {
            above.aside(|| {
                out.line(&window_line(window, &dates));
                out.flush();
            });
        }
    });
    bar.finish();
    match outcome {
        Ok(consumed) => {
            if consumed.timed_out {
                out.line(&format!(
                    "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. \
                     You can use the --timeout option to increase the timeout.",
                    request.load.timeout.as_millis()
                ));
            }
            let figures = client_figures::consumer(&request.load.client.client_id, &consumed);
            if json {
                let mut document = document(&consumed);
                if request.metrics {
                    document["metrics"] = figures.document();
                }
                out.document(&document);
            } else if !detailed {
                out.line(&total_line(&consumed, &request.dates));
            }
            if request.metrics && !json {
                figures.print(out);
            }
            0
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

/// Runs a load on a runtime of its own, and shows its windows.
pub fn carry_out(
    load: ConsumeLoad,
    out: &mut Out,
    show: impl Fn(&Window, &mut Out) + 'static,
) -> Result<Consumed, String> {
    out.flush();
    // The runtime wants what it runs to own everything: the printer comes back when it is done.
    let printer = Rc::new(RefCell::new(std::mem::replace(
        out,
        Out::new(Box::new(std::io::sink()), Box::new(std::io::sink())),
    )));
    let inner = Rc::clone(&printer);
    let consumed = on_runtime(consume(load, move |window| {
        let mut out = inner.borrow_mut();
        show(window, &mut out);
        out.flush();
    }));
    std::mem::swap(out, &mut printer.borrow_mut());
    consumed.and_then(|consumed| consumed)
}

/// Kafka's first line.
pub fn header(detailed: bool) -> &'static str {
    if detailed {
        "time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, \
         fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
    } else {
        "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, \
         fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
    }
}

/// Kafka's line for an interval.
pub fn window_line(window: &Window, dates: &DateFormat) -> String {
    let seconds = window.length.as_secs_f64();
    let fetching = window.length.saturating_sub(window.joining.1);
    let (mb, records) = (to_f64(window.bytes.1) / MB, to_f64(window.records.1));
    format!(
        "{}, 0, {:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        dates.print(window.at),
        to_f64(window.bytes.0) / MB,
        mb / seconds,
        window.records.0,
        records / seconds,
        window.joining.1.as_millis(),
        fetching.as_millis(),
        per_second(mb, fetching),
        per_second(records, fetching),
    )
}

/// Kafka's last line.
pub fn total_line(consumed: &Consumed, dates: &DateFormat) -> String {
    let seconds = consumed.length.as_secs_f64();
    let fetching = consumed.length.saturating_sub(consumed.joining);
    let (mb, records) = (to_f64(consumed.bytes) / MB, to_f64(consumed.records));
    format!(
        "{}, {}, {mb:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        dates.print(consumed.at.0),
        dates.print(consumed.at.1),
        mb / seconds,
        consumed.records,
        records / seconds,
        consumed.joining.as_millis(),
        fetching.as_millis(),
        per_second(mb, fetching),
        per_second(records, fetching),
    )
}

/// The same for `--output json`.
fn document(consumed: &Consumed) -> Value {
    let seconds = consumed.length.as_secs_f64();
    let fetching = consumed.length.saturating_sub(consumed.joining);
    let (mb, records) = (to_f64(consumed.bytes) / MB, to_f64(consumed.records));
    json!({
        "startTimestamp": consumed.at.0,
        "endTimestamp": consumed.at.1,
        "records": consumed.records,
        "bytes": consumed.bytes,
        "seconds": seconds,
        "megabytesPerSecond": mb / seconds,
        "recordsPerSecond": records / seconds,
        "rebalanceMs": u64::try_from(consumed.joining.as_millis()).unwrap_or(u64::MAX),
        "fetchMs": u64::try_from(fetching.as_millis()).unwrap_or(u64::MAX),
        "fetchMegabytesPerSecond": per_second(mb, fetching),
        "fetchRecordsPerSecond": per_second(records, fetching),
        "timedOut": consumed.timed_out,
    })
}

fn per_second(amount: f64, span: Duration) -> f64 {
    if span.is_zero() {
        0.0
    } else {
        amount / span.as_secs_f64()
    }
}

/// The command, read.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub struct Request {
    /// What to do.
    pub load: ConsumeLoad,
    /// `--show-detailed-stats`.
    pub detailed: bool,
    /// `--hide-header`.
    pub hide_header: bool,
    /// `--output json`.
    pub json: bool,
    /// `--print-metrics`.
    pub metrics: bool,
    /// `--date-format`.
    pub dates: DateFormat,
}

/// Reads the options; on a fault prints it and gives the exit code.
pub fn read(arguments: &[String], out: &mut Out, interval: Duration) -> Result<Request, u8> {
    TABLE
        .parse(arguments)
        .and_then(|given| {
            if !given.has("num-records") && !given.has("messages") {
                return Err(Refusal::Usage(
                    "Exactly one of the following arguments is required: [num-records], [messages]"
                        .to_owned(),
                ));
            }
            given.require(&["bootstrap-server"])?;
            if given.has("topic") == given.has("include") {
                return Err(Refusal::Usage(
                    "Exactly one of the following arguments is required: [topic], [include]"
                        .to_owned(),
                ));
            }
            if given.has("messages") {
                out.line("Warning: --messages is deprecated. Use --num-records instead.");
            }
            request(&given, interval).map_err(|error| {
                // Kafka's tool looks at values only then.
                if !given.has("hide-header") {
                    out.line(header(given.has("show-detailed-stats")));
                }
                Refusal::Error(error)
            })
        })
        .map_err(|refusal| refusal.print(&TABLE, out))
}

fn request(given: &Given, interval: Duration) -> Result<Request, String> {
    let either = |new: &str, old: &str| -> Result<Option<String>, String> {
        Ok(given.one(new)?.or(given.one(old)?).map(str::to_owned))
    };
    let mut all = match either("command-config", "consumer.config")? {
        Some(path) => properties::load(&path)?,
        None => Properties::new(),
    };
    properties::pairs(given.all("command-property"), &mut all)?;
    let bootstrap = given.one("bootstrap-server")?.unwrap_or_default();
    properties::check_bootstrap(bootstrap)?;
    all.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
    all.entry("client.id".to_owned())
        .or_insert_with(|| "perf-consumer-client".to_owned());
    // Kafka's tool sets both to the flag.
    let fetch_size = given.one("fetch-size")?.unwrap_or("1048576").to_owned();
    all.insert("max.partition.fetch.bytes".to_owned(), fetch_size);
    if let Some(bytes) = given.parsed::<i32>("socket-buffer-size")? {
        all.insert("receive.buffer.bytes".to_owned(), bytes.to_string());
    }
    all.entry("check.crcs".to_owned())
        .or_insert_with(|| "false".to_owned());
    let records = match given.parsed("num-records")? {
        Some(records) => records,
        None => given.parsed("messages")?.unwrap_or(0),
    };
    let group = match given.one("group")? {
        Some(group) => group.to_owned(),
        None => format!("perf-consumer-{}", std::process::id() % 100_000),
    };
    let group_config = properties::group_config(&group, &all)?;
    let timeout = given.parsed("timeout")?.unwrap_or(10_000);
    let interval = match given.parsed::<i32>("reporting-interval")? {
        None => interval,
        Some(ms) => match u64::try_from(ms) {
            Ok(ms) if ms > 0 => Duration::from_millis(ms),
            _ => return Err("Reporting interval must be greater than 0.".to_owned()),
        },
    };
    let pattern = given.one("include")?.map(|text| {
        let pattern = regex::Regex::new(&format!("^(?:{text})$"));
        pattern.map_err(|_| format!("{text} is an invalid regex."))
    });
    Ok(Request {
        load: ConsumeLoad {
            topics: given.one("topic")?.map(str::to_owned).into_iter().collect(),
            pattern: pattern.transpose()?,
            records,
            group: (!given.has("no-group")).then_some(group_config),
            from_latest: given.has("from-latest"),
            timeout: Duration::from_millis(timeout),
            client: properties::client_config(&all)?,
            consumer: properties::consumer_config(&all)?,
            interval,
            verify: given.has("verify"),
            listener: None,
            watch: None,
        },
        detailed: given.has("show-detailed-stats"),
        hide_header: given.has("hide-header"),
        json: match given.one("output")? {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(format!("--output {other}: text or json")),
        },
        metrics: given.has("print-metrics"),
        dates: match given.one("date-format")? {
            None => DateFormat::default(),
            Some(pattern) => DateFormat::new(pattern)?,
        },
    })
}

/// Kafka's.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

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
        "String: prop1=val1",
        "A consumer property, name=value.",
    ),
    value(
        "consumer.config",
        "String: config file",
        "(DEPRECATED) See --command-config.",
    ),
    value(
        "date-format",
        "String: date format",
        "How times are printed, in the letters of java.text.SimpleDateFormat and in UTC. (default: yyyy-MM-dd HH:mm:ss:SSS)",
    ),
    value(
        "fetch-size",
        "Integer: size",
        "Bytes to fetch of a partition at once.",
    ),
    flag(
        "from-latest",
        "Begin at the end where there is no committed offset.",
    ),
    value("group", "String: gid", "The group to join."),
    flag("hide-header", "Leave the header line out."),
    value(
        "include",
        "String: Java regex (String)",
        "Read the topics whose whole name matches.",
    ),
    value("messages", "Long: count", "(DEPRECATED) See --num-records."),
    flag(
        "no-group",
        "corelog: read all partitions without joining a group.",
    ),
    value("num-records", "Long: count", "REQUIRED: how many records."),
    value(
        "output",
        "String: text|json",
        "corelog: how the result is printed (corelog-perf).",
    ),
    flag(
        "print-metrics",
        "Print what the consumer measures of itself at the end, under the names of Kafka's.",
    ),
    value(
        "reporting-interval",
        "Integer: interval_ms",
        "Milliseconds between two lines of progress.",
    ),
    flag("show-detailed-stats", "Print a line each interval."),
    value(
        "socket-buffer-size",
        "Integer: size",
        "Bytes of a socket's receive buffer. (default: left to the kernel, which grows it as needed)",
    ),
    maybe(
        "timeout",
        "Long: milliseconds",
        "End when no record comes for so long.",
    ),
    value("topic", "String: topic", "The topic."),
    flag(
        "verify",
        "corelog: check records that a producer made with --verify.",
    ),
];

pub(super) const TABLE: Table = Table {
    about: "This tool is used to verify the consumer performance.",
    options: OPTIONS,
};
