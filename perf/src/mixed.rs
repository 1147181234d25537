//! **Owns** `corelog-perf mixed`, and what a workload comes to: its result, in JSON and for people.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what a workload may say (`workload`), running it (`conductor`), what a client does (`sender`, `reader`).

use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Opt, Table, value};
use serde::Serialize;

use crate::meter::Failures;
use crate::result::{
    BROKER_PID, BrokerCost, Cost, Flow, JSON_FILE, Moment, Origin, Second, Watched, put, text_of,
};
use crate::workload::{Draft, parse};

mod conductor;
mod reader;
mod sender;
mod thread;

pub use conductor::measure;

const OPTIONS: &[Opt] = &[
    value(
        "workload",
        "file",
        "REQUIRED: the workload; see the README.",
    ),
    value(
        "bootstrap-server",
        "host:port,…",
        "The brokers; goes before the file's.",
    ),
    value(
        "seconds",
        "count",
        "How long to measure; goes before the file's.",
    ),
    value(
        "warm-up-seconds",
        "count|steady",
        "How long not to; goes before the file's.",
    ),
    BROKER_PID,
    JSON_FILE,
];

const TABLE: Table = Table {
    about: "Runs a workload of producers, consumers and connections, open loop, and measures it.",
    options: OPTIONS,
};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let given = match TABLE.parse(arguments) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let read = || -> Result<(Draft, Printing), String> {
        let path = given
            .one("workload")?
            .ok_or("--workload is not set: name a workload file (TOML)")?;
        let mut draft = parse(&text_of(path)?, path)?;
        draft.seconds = given.parsed("seconds")?.or(draft.seconds);
        if let Some(warm_up) = given.one("warm-up-seconds")? {
            draft.warm_up_seconds = Some(warm_up.into());
        }
        if let Some(bootstrap) = given.one("bootstrap-server")? {
            draft.bootstrap_server = Some(bootstrap.to_owned());
        }
        Ok((draft, Printing::read(&given)?))
    };
    match read() {
        Ok((draft, printing)) => carry_out("mixed", arguments, &draft, &printing, out),
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct Printing {
    /// Standard output is JSON.
    pub json: bool,
    /// A file to write the JSON to.
    pub file: Option<String>,
    /// Whose processor time to show.
    pub broker_pid: Option<String>,
}

impl Printing {
    /// From the flags `output`, `json` and `broker-pid`.
    pub fn read(given: &corelog_tools::cli::options::Given) -> Result<Self, String> {
        Ok(Self {
            json: given.json()?,
            file: given.one("json")?.map(str::to_owned),
            broker_pid: given.one("broker-pid")?.map(str::to_owned),
        })
    }
}

/// Runs a draft, shows its progress and prints its result; gives the exit code.
pub fn carry_out(
    command: &str,
    arguments: &[String],
    draft: &Draft,
    printing: &Printing,
    out: &mut Out,
) -> u8 {
    let outcome = (|| {
        let workload = draft.check(None)?;
        let watched = printing
            .broker_pid
            .as_deref()
            .map(Watched::new)
            .transpose()?;
        let outcome = measure(&workload, watched, &mut |second, counts| {
            let line = progress_line(second, counts);
            // With JSON, standard output holds nothing else.
            if printing.json {
                out.progress(&line);
            } else {
                out.line(&line);
                out.flush();
            }
        })?;
        Ok::<_, String>(outcome)
    })();
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    for (failure, count) in &outcome.failures {
        out.error(&format!("{count} records were not delivered: {failure}"));
    }
    if !printing.json {
        for line in outcome.lines() {
            out.line(&line);
        }
    }
    let is_bad = outcome.failed > 0 || outcome.verified.as_ref().is_some_and(|it| !it.is_clean());
    let result = MixedResult {
        origin: Origin::new(command, arguments),
        settings: draft,
        outcome,
    };
    let mut printed = Ok(());
    if printing.json {
        printed = put(&result, None, out);
    }
    if let Some(file) = &printing.file {
        printed = printed.and(put(&result, Some(file), out));
    }
    if let Err(error) = printed {
        out.error(&error);
        return 1;
    }
    u8::from(is_bad)
}

fn progress_line(second: &Second, counts: bool) -> String {
    let side = |name: &str, moment: &Moment| {
        let latency = match (moment.p50, moment.p99, moment.max) {
            (Some(p50), Some(p99), Some(max)) => {
                format!(", {p50:.2} ms p50, {p99:.2} ms p99, {max:.2} ms max")
            }
            _ => String::new(),
        };
        format!(
            "{name} {:.0} records/s, {:.2} MB/s{latency}",
            moment.records_per_second, moment.megabytes_per_second
        )
    };
    format!(
        "{:>5.0} s{}  {}; {}",
        second.at,
        if counts { " " } else { "w" },
        side("produced", &second.produced),
        side("consumed", &second.consumed),
    )
}

#[derive(Serialize)]
struct MixedResult<'a> {
    #[serde(flatten)]
    origin: Origin,
    settings: &'a Draft,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What a workload came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How long was measured.
    pub seconds: f64,
    /// How long was not.
    pub warm_up_seconds: f64,
    /// Whether throughput had settled when measuring began.
    pub was_steady: bool,
    /// What producers sent.
    pub produced: Flow,
    /// What consumers got; latencies are from when a record was due to when its consumer had it.
    pub consumed: Flow,
    /// Requests of connections that do nothing else.
    pub pings: u64,
    /// What this process cost.
    pub client: Cost,
    /// What the broker cost.
    pub broker: Option<BrokerCost>,
    /// Records that were not delivered.
    pub failed: u64,
    /// Why.
    pub failures: Failures,
    /// What was found wrong.
    pub verified: Option<Verified>,
    /// Second by second.
    pub series: Vec<Second>,
}

/// What consumers got against what producers sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Records in order.
    pub good: u64,
    /// Acknowledged, and not there.
    pub lost: u64,
    /// There twice.
    pub duplicated: u64,
    /// Behind one that was sent later.
    pub reordered: u64,
    /// Given out again by a group, as after a rebalance; no fault.
    pub repeated: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.reordered == 0 && self.duplicated == 0
    }
}

impl Outcome {
    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, flow, what) in [
            ("produced", &self.produced, "acknowledged after"),
            ("consumed", &self.consumed, "end to end"),
        ] {
            if flow.records > 0 {
                lines.push(format!(
                    "{name} {} records in {:.1} s, {:.1} records/s ({:.2} MB/s), {} requests",
                    flow.records,
                    self.seconds,
                    flow.records_per_second,
                    flow.megabytes_per_second,
                    flow.requests
                ));
            }
            if let Some(quantiles) = &flow.latency_ms {
                lines.push(quantiles.line(what));
            }
        }
        if !self.was_steady {
            lines.push(format!(
                "throughput had not settled after {:.0} s of warm-up",
                self.warm_up_seconds
            ));
        }
        lines.push(self.client.line());
        lines.extend(self.broker.as_ref().map(BrokerCost::line));
        if let Some(it) = self.verified {
            lines.push(format!(
                "verified: {} in order, {} lost, {} duplicated, {} out of order, {} given out again by a group",
                it.good, it.lost, it.duplicated, it.reordered, it.repeated
            ));
        }
        lines
    }
}
