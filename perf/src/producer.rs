//! **Owns** `corelog-perf producer`: the flags of kafka-producer-perf-test, its lines, and ours.
//! **Lives on** the command's thread.
//! **Not here** producing (`corelog_tools::load::produce`).
//! **Invariants** none beyond the types'.

use corelog_tools::cli::Out;
use corelog_tools::cli::producer_perf_test::{carry_out, read, total_line, window_line};
use corelog_tools::load::produce::{Produced, Window};
use corelog_tools::load::{Latencies, MB, to_f64};
use serde::Serialize;

use crate::report::{Cost, Machine};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let request = match read("corelog-perf producer", arguments, out) {
        Ok(request) => request,
        Err(code) => return code,
    };
    let json = request.json;
    let outcome = carry_out(request.load.clone(), out, move |window, out| {
        // With JSON, standard output holds nothing else.
        if json {
            out.progress(&window_line(window));
        } else {
            out.line(&window_line(window));
        }
    });
    let produced = match outcome {
        Ok(produced) => produced,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    for (failure, count) in &produced.failures {
        out.error(&format!("{count} records were not delivered: {failure}"));
    }
    let cost = Cost::new(produced.cpu, produced.total.records);
    if json {
        let result = Json::new(&request.load.topic, arguments, &produced, cost);
        match serde_json::to_string(&result) {
            Ok(text) => out.line(&text),
            Err(error) => out.error(&error.to_string()),
        }
    } else {
        out.line(&total_line(&produced.total));
        out.line(&our_line(&produced.total.latencies));
        out.line(&cost.line());
    }
    u8::from(produced.failed > 0)
}

fn our_line(latencies: &Latencies) -> String {
    let at = |quantile: f64| latencies.quantile_ms(quantile);
    format!(
        "latency ms: {:.3} p50, {:.3} p90, {:.3} p99, {:.3} p99.9, {:.3} p99.99, {:.3} max",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(0.9999),
        latencies.max_ms()
    )
}

#[derive(Serialize)]
struct Json<'a> {
    command: &'static str,
    arguments: &'a [String],
    version: &'static str,
    machine: Machine,
    topic: &'a str,
    records: u64,
    failed: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    latency_ms: Quantiles,
    client: Cost,
    run: String,
}

#[derive(Serialize)]
struct Quantiles {
    mean: f64,
    p50: f64,
    p90: f64,
    p95: f64,
    p99: f64,
    p999: f64,
    p9999: f64,
    max: f64,
}

impl<'a> Json<'a> {
    fn new(topic: &'a str, arguments: &'a [String], produced: &Produced, client: Cost) -> Self {
        let total: &Window = &produced.total;
        let seconds = total.length.as_secs_f64();
        let at = |quantile: f64| total.latencies.quantile_ms(quantile);
        Self {
            command: "producer",
            arguments,
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::this(),
            topic,
            records: total.records,
            failed: produced.failed,
            bytes: total.bytes,
            seconds,
            records_per_second: to_f64(total.records) / seconds,
            megabytes_per_second: to_f64(total.bytes) / MB / seconds,
            latency_ms: Quantiles {
                mean: total.latencies.mean_ms(),
                p50: at(0.5),
                p90: at(0.9),
                p95: at(0.95),
                p99: at(0.99),
                p999: at(0.999),
                p9999: at(0.9999),
                max: total.latencies.max_ms(),
            },
            client,
            run: format!("{:016x}", produced.run),
        }
    }
}
