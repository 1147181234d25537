//! **Owns** `corelog-perf producer`: the flags of kafka-producer-perf-test, its lines, and ours.
//! **Lives on** the command's thread.
//! **Not here** producing (`corelog_tools::load::produce`).
//! **Invariants** none beyond the types'.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use corelog_tools::cli::Out;
use corelog_tools::cli::producer_perf_test::{carry_out, read, total_line, window_line};
use serde::Serialize;

use crate::result::{BrokerCost, Cost, Flow, Moment, Origin, Quantiles, Second, own_flags, put};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let (rest, own, watched) = match own_flags(arguments) {
        Ok(taken) => taken,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    let mut request = match read("corelog-perf producer", &rest, out) {
        Ok(request) => request,
        Err(code) => {
            if rest.iter().any(|it| it == "-h" || it == "--help") {
                out.line("  --broker-pid                 corelog: a broker on this machine whose processor time to show");
                out.line("  --json                       corelog: a file to write the result to");
            }
            return code;
        }
    };
    request.load.watch.clone_from(&own.broker_pid);
    let json = request.json;
    let series = Rc::new(RefCell::new((Duration::ZERO, Vec::new())));
    let seconds = Rc::clone(&series);
    let outcome = carry_out(request.load.clone(), out, move |window, out| {
        let mut series = seconds.borrow_mut();
        series.0 += window.length;
        let second = Second {
            at: series.0.as_secs_f64(),
            is_measured: !window.is_warmup,
            produced: Moment::new(
                window.records,
                window.bytes,
                window.length,
                &window.latencies,
            ),
            consumed: Moment::default(),
        };
        series.1.push(second);
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
    let total = &produced.total;
    let result = Json {
        origin: Origin::new("producer", arguments),
        settings: Settings::new(&request.load),
        topic: &request.load.topic,
        records: total.records,
        failed: produced.failed,
        bytes: total.bytes,
        seconds: total.length.as_secs_f64(),
        records_per_second: corelog_tools::load::to_f64(total.records) / total.length.as_secs_f64(),
        megabytes_per_second: corelog_tools::load::to_f64(total.bytes)
            / corelog_tools::load::MB
            / total.length.as_secs_f64(),
        latency_ms: Quantiles::of(&total.latencies).unwrap_or_default(),
        produced: Flow::new(
            total.records,
            total.bytes,
            produced.requests,
            total.length,
            &total.latencies,
        ),
        client: Cost::new(produced.cpu, total.records),
        broker: watched
            .zip(produced.watched_cpu)
            .map(|(watched, cpu)| watched.cost(cpu, total.bytes, produced.requests, total.length)),
        run: format!("{:016x}", produced.run),
        series: std::mem::take(&mut series.borrow_mut().1),
    };
    if !json {
        out.line(&total_line(total));
        out.line(&result.latency_ms.line("latency"));
        out.line(&result.client.line());
        if let Some(broker) = &result.broker {
            out.line(&broker.line());
        }
    }
    let mut printed = Ok(());
    if json {
        printed = put(&result, None, out);
    }
    if let Some(file) = &own.json {
        printed = printed.and(put(&result, Some(file), out));
    }
    if let Err(error) = printed {
        out.error(&error);
        return 1;
    }
    u8::from(produced.failed > 0)
}

#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    origin: Origin,
    settings: Settings,
    topic: &'a str,
    records: u64,
    failed: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    megabytes_per_second: f64,
    latency_ms: Quantiles,
    produced: Flow,
    client: Cost,
    broker: Option<BrokerCost>,
    run: String,
    series: Vec<Second>,
}

/// What the flags came to.
#[derive(Serialize)]
struct Settings {
    acks: i16,
    batch_size: usize,
    linger_ms: u128,
    compression: String,
    idempotence: bool,
    connections: usize,
    keys: u64,
    throughput: Option<f64>,
    warmup_records: u64,
}

impl Settings {
    fn new(load: &corelog_tools::load::produce::ProduceLoad) -> Self {
        let producer = &load.producer;
        Self {
            acks: producer.acks as i16,
            batch_size: producer.batch_size,
            linger_ms: producer.linger.as_millis(),
            compression: format!("{:?}", producer.compression.codec).to_lowercase(),
            idempotence: producer.idempotence,
            connections: load.connections,
            keys: load.keys,
            throughput: load.throughput,
            warmup_records: load.warmup,
        }
    }
}
