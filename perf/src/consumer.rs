//! **Owns** `corelog-perf consumer`: the flags of kafka-consumer-perf-test, its lines, and ours.
//! **Lives on** the command's thread.
//! **Not here** consuming (`corelog_tools::load::consume`).
//! **Invariants** none beyond the types'.

use std::time::Duration;

use corelog_tools::cli::Out;
use corelog_tools::cli::consumer_perf_test::{carry_out, header, read, total_line, window_line};
use corelog_tools::load::consume::Consumed;
use corelog_tools::load::verify::Findings;
use corelog_tools::load::{MB, to_f64};
use serde::Serialize;

use crate::report::{Cost, Machine};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match read(arguments, out, Duration::from_secs(1)) {
        Ok(request) => request,
        Err(code) => return code,
    };
    let (json, detailed) = (request.json, request.detailed);
    if !request.hide_header && !json {
        out.line(header(detailed));
    }
    let outcome = carry_out(request.load.clone(), out, move |window, out| {
        // Standard output holds what Kafka's tool would print, or nothing but JSON.
        if detailed && !json {
            out.line(&window_line(window));
        } else {
            let seconds = window.length.as_secs_f64();
            out.progress(&format!(
                "{} records received, {:.1} records/sec ({:.2} MB/sec)",
                window.records.0,
                to_f64(window.records.1) / seconds,
                to_f64(window.bytes.1) / MB / seconds
            ));
        }
    });
    let consumed = match outcome {
        Ok(consumed) => consumed,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    if consumed.timed_out {
        let warning = format!(
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. \
             You can use the --timeout option to increase the timeout.",
            request.load.timeout.as_millis()
        );
        if json {
            out.error(&warning);
        } else {
            out.line(&warning);
        }
    }
    let cost = Cost::new(consumed.cpu, consumed.records);
    if json {
        let result = Json::new(arguments, &consumed, cost);
        match serde_json::to_string(&result) {
            Ok(text) => out.line(&text),
            Err(error) => out.error(&error.to_string()),
        }
    } else {
        if !detailed {
            out.line(&total_line(&consumed));
        }
        out.line(&cost.line());
        if let Some(findings) = &consumed.findings {
            out.line(&verdict(findings));
        }
    }
    let is_bad = consumed
        .findings
        .as_ref()
        .is_some_and(|findings| !findings.is_clean() || consumed.timed_out);
    u8::from(is_bad)
}

fn verdict(findings: &Findings) -> String {
    format!(
        "verified: {} in order, {} lost, {} duplicated, {} out of order, {} without a stamp",
        findings.good, findings.lost, findings.duplicated, findings.reordered, findings.foreign
    )
}

#[derive(Serialize)]
struct Json<'a> {
    command: &'static str,
    arguments: &'a [String],
    version: &'static str,
    machine: Machine,
    records: u64,
    bytes: u64,
    seconds: f64,
    joining_seconds: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    fetches: u64,
    timed_out: bool,
    client: Cost,
    verified: Option<Verified>,
}

#[derive(Serialize)]
struct Verified {
    good: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
}

impl<'a> Json<'a> {
    fn new(arguments: &'a [String], consumed: &Consumed, client: Cost) -> Self {
        let seconds = consumed.length.as_secs_f64();
        Self {
            command: "consumer",
            arguments,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::this(),
            records: consumed.records,
            bytes: consumed.bytes,
            seconds,
            joining_seconds: consumed.joining.as_secs_f64(),
            records_per_second: to_f64(consumed.records) / seconds,
            megabytes_per_second: to_f64(consumed.bytes) / MB / seconds,
            fetches: consumed.fetches,
            timed_out: consumed.timed_out,
            client,
            verified: consumed.findings.as_ref().map(|findings| Verified {
                good: findings.good,
                lost: findings.lost,
                duplicated: findings.duplicated,
                reordered: findings.reordered,
                foreign: findings.foreign,
            }),
        }
    }
}
