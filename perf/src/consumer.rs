//! **Owns** `corelog-perf consumer`: the flags of kafka-consumer-perf-test, its lines, and ours.
//! **Lives on** the command's thread.
//! **Not here** consuming (`corelog_tools::load::consume`).
//! **Invariants** none beyond the types'.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_tools::cli::Out;
use corelog_tools::cli::consumer_perf_test::{carry_out, header, read, total_line, window_line};
use corelog_tools::cli::date_format::DateFormat;
use corelog_tools::load::verify::Findings;
use corelog_tools::load::{Latencies, MB, to_f64};
use serde::Serialize;

use crate::result::{BrokerCost, Cost, Flow, Moment, Origin, Second, own_flags, put};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let (rest, own, watched) = match own_flags(arguments) {
        Ok(taken) => taken,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    let mut request = match read(&rest, out, Duration::from_secs(1)) {
        Ok(request) => request,
        Err(code) => return code,
    };
    request.load.watch.clone_from(&own.broker_pid);
    let (json, detailed) = (request.json, request.detailed);
    if !request.hide_header && !json {
        out.line(header(detailed));
    }
    let series = Rc::new(RefCell::new((Duration::ZERO, Vec::new())));
    let seconds = Rc::clone(&series);
    let outcome = carry_out(request.load.clone(), out, move |window, out| {
        let mut series = seconds.borrow_mut();
        series.0 += window.length;
        let second = Second {
            at: series.0.as_secs_f64(),
            is_measured: true,
            produced: Moment::default(),
            consumed: Moment::new(
                window.records.1,
                window.bytes.1,
                window.length,
                &Latencies::default(),
            ),
        };
        series.1.push(second);
        // Standard output holds what Kafka's tool would print, or nothing but JSON.
        if detailed && !json {
            out.line(&window_line(window, &DateFormat::default()));
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
    let seconds = consumed.length.as_secs_f64();
    let result = Json {
        origin: Origin::new("consumer", arguments),
        records: consumed.records,
        bytes: consumed.bytes,
        seconds,
        joining_seconds: consumed.joining.as_secs_f64(),
        records_per_second: to_f64(consumed.records) / seconds,
        megabytes_per_second: to_f64(consumed.bytes) / MB / seconds,
        fetches: consumed.fetches,
        timed_out: consumed.timed_out,
        consumed: Flow::new(
            consumed.records,
            consumed.bytes,
            consumed.fetches,
            consumed.length,
            &Latencies::default(),
        ),
        client: Cost::new(consumed.cpu, consumed.records),
        broker: watched.zip(consumed.watched_cpu).map(|(watched, cpu)| {
            watched.cost(cpu, consumed.bytes, consumed.fetches, consumed.length)
        }),
        verified: consumed.findings.as_ref().map(|findings| Verified {
            good: findings.good,
            lost: findings.lost,
            duplicated: findings.duplicated,
            reordered: findings.reordered,
            foreign: findings.foreign,
        }),
        series: std::mem::take(&mut series.borrow_mut().1),
    };
    let mut printed = Ok(());
    if json {
        printed = put(&result, None, out);
    } else {
        if !detailed {
            out.line(&total_line(&consumed, &request.dates));
        }
        out.line(&result.client.line());
        if let Some(broker) = &result.broker {
            out.line(&broker.line());
        }
        if let Some(findings) = &consumed.findings {
            out.line(&verdict(findings));
        }
    }
    if let Some(file) = &own.json {
        printed = printed.and(put(&result, Some(file), out));
    }
    if let Err(error) = printed {
        out.error(&error);
        return 1;
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
struct Json {
    #[serde(flatten)]
    origin: Origin,
    records: u64,
    bytes: u64,
    seconds: f64,
    joining_seconds: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    fetches: u64,
    timed_out: bool,
    consumed: Flow,
    client: Cost,
    broker: Option<BrokerCost>,
    verified: Option<Verified>,
    series: Vec<Second>,
}

#[derive(Serialize)]
struct Verified {
    good: u64,
    lost: u64,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
}
