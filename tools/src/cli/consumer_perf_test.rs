//! **Owns** `consumer-perf-test`: Kafka's `kafka-consumer-perf-test`; and the reading of its options for
//! `corelog-perf consumer`.
//! **Lives on** the command's thread.
//! **Not here** consuming (`load::consume`).
//! **Invariants** none beyond the types'.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

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
    let outcome = carry_out(request.load.clone(), out, move |window, out| {
        if detailed {
            out.line(&window_line(window));
        }
    });
    match outcome {
        Ok(consumed) => {
            if consumed.timed_out {
                out.line(&format!(
                    "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. \
                     You can use the --timeout option to increase the timeout.",
                    request.load.timeout.as_millis()
                ));
            }
            if json {
                out.document(&document(&consumed));
            } else if !detailed {
                out.line(&total_line(&consumed));
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
pub fn window_line(window: &Window) -> String {
    let seconds = window.length.as_secs_f64();
    let fetching = window.length.saturating_sub(window.joining.1);
    let (mb, records) = (to_f64(window.bytes.1) / MB, to_f64(window.records.1));
    format!(
        "{}, 0, {:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        date_time(window.at),
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
pub fn total_line(consumed: &Consumed) -> String {
    let seconds = consumed.length.as_secs_f64();
    let fetching = consumed.length.saturating_sub(consumed.joining);
    let (mb, records) = (to_f64(consumed.bytes) / MB, to_f64(consumed.records));
    format!(
        "{}, {}, {mb:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        date_time(consumed.at.0),
        date_time(consumed.at.1),
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

/// `yyyy-MM-dd HH:mm:ss:SSS`, in UTC.
pub fn date_time(ms: i64) -> String {
    let days = ms.div_euclid(86_400_000);
    let of_day = ms.rem_euclid(86_400_000);
    // Howard Hinnant's civil_from_days: years begin in March, eras of 400 years repeat.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}:{:03}",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000
    )
}

/// The command, read.
#[derive(Clone, Debug)]
pub struct Request {
    /// What to do.
    pub load: ConsumeLoad,
    /// `--show-detailed-stats`.
    pub detailed: bool,
    /// `--hide-header`.
    pub hide_header: bool,
    /// `--output json`.
    pub json: bool,
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
            if given.has("include") {
                return Err(Refusal::Error(
                    "--include is not supported yet: name the topic with --topic".to_owned(),
                ));
            }
            if given.has("messages") {
                out.line("Warning: --messages is deprecated. Use --num-records instead.");
            }
            request(&given, interval).map_err(Refusal::Error)
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
    let interval = given
        .parsed("reporting-interval")?
        .map_or(interval, Duration::from_millis);
    Ok(Request {
        load: ConsumeLoad {
            topics: vec![given.one("topic")?.unwrap_or_default().to_owned()],
            records,
            group: (!given.has("no-group")).then_some(group_config),
            from_latest: given.has("from-latest"),
            timeout: Duration::from_millis(timeout),
            client: properties::client_config(&all)?,
            consumer: properties::consumer_config(&all)?,
            interval: interval.max(Duration::from_millis(1)),
            verify: given.has("verify"),
            watch: None,
        },
        detailed: given.has("show-detailed-stats"),
        hide_header: given.has("hide-header"),
        json: match given.one("output")? {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(format!("--output {other}: text or json")),
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
        "Accepted; times are yyyy-MM-dd HH:mm:ss:SSS in UTC.",
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
        "Not supported yet.",
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
    flag("print-metrics", "Accepted: the summary has all figures."),
    value(
        "reporting-interval",
        "Integer: interval_ms",
        "Milliseconds between two lines of progress.",
    ),
    flag("show-detailed-stats", "Print a line each interval."),
    value(
        "socket-buffer-size",
        "Integer: size",
        "Accepted; the kernel sizes the buffer.",
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

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(0), "1970-01-01 00:00:00:000");
        assert_eq!(date_time(951_782_400_123), "2000-02-29 00:00:00:123");
        assert_eq!(date_time(1_700_000_000_000), "2023-11-14 22:13:20:000");
    }
}
