//! **Owns** the course of a workload: threads, stages, which windows count, what comes out of it.
//! **Lives on** the command's thread.
//! **Invariants** (1) Measuring begins and ends between two windows, and the broker's processor time is read there. (2) A failure
//! of one client ends the run with its text.
//! **Not here** what a thread does (`thread`).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_runtime::now;
use corelog_tools::client::Client;
use corelog_tools::client::admin::{Admin, NewTopic};
use corelog_tools::load::{cpu_time, to_f64};

use super::sender::Role;
use super::thread::{Acked, Checked, Control, Said, Share, Stage, WINDOW, run, runtime};
use super::{Outcome, Verified};
use crate::meter::{Assembly, Failures, Window};
use crate::result::{Cost, Flow, Moment, Second, Watched};
use crate::schedule::is_steady;
use crate::workload::{STEADY_WITHIN, WarmUp, Workload};

/// Runs a workload; `on_second` is called with every window, and whether it counts.
pub fn measure(
    workload: &Workload,
    watched: Option<Watched>,
    on_second: &mut dyn FnMut(&Second, bool),
) -> Result<Outcome, String> {
    raise_limit_of_files();
    let workload = Arc::new(workload.clone());
    prepare(&workload)?;
    let stamped = workload
        .producers
        .iter()
        .filter(|producers| producers.stamped)
        .map(|producers| producers.topic.clone())
        .collect();
    let count = workload
        .producers
        .iter()
        .map(|one| one.clients as u64)
        .sum();
    let control = Arc::new(Control {
        stage: AtomicU8::new(Stage::Prepare as u8),
        begin: AtomicU64::new(0),
        acked: OnceLock::new(),
        // Far from where numbers wrap.
        runs: (corelog_runtime::entropy() >> 1, count),
        stamped,
    });
    let (say, hear) = channel();
    let shares = shares_of(&workload, control.runs.0);
    let threads = shares.len();
    let mut handles = Vec::new();
    for share in shares {
        let (workload, control, say) = (Arc::clone(&workload), Arc::clone(&control), say.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "a load generator has as many runtimes as it is told to"
        )]
        handles.push(std::thread::spawn(move || {
            if let Err(error) = run(workload, control, share, say.clone()) {
                // Who would hear it has gone.
                let _ = say.send(Said::Failed(error));
            }
        }));
    }
    drop(say);
    let outcome = Conductor {
        workload: &workload,
        control: &control,
        hear,
        threads,
        watched,
        failures: Failures::new(),
        failed: 0,
        acked: Acked::new(),
        checked: Vec::new(),
        ended: 0,
        flushed: 0,
        ready: 0,
        assembly: Assembly::new(threads),
    }
    .conduct(on_second);
    control.set(Stage::Drain);
    if outcome.is_ok() {
        for handle in handles {
            handle
                .join()
                .map_err(|_| "a thread of the load panicked".to_owned())?;
        }
    }
    outcome
}

struct Conductor<'a> {
    workload: &'a Workload,
    control: &'a Control,
    hear: Receiver<Said>,
    threads: usize,
    watched: Option<Watched>,
    failures: Failures,
    failed: u64,
    acked: Acked,
    checked: Vec<Checked>,
    ready: usize,
    flushed: usize,
    ended: usize,
    assembly: Assembly,
}

impl Conductor<'_> {
    fn conduct(mut self, on_second: &mut dyn FnMut(&Second, bool)) -> Result<Outcome, String> {
        while self.ready < self.threads {
            self.hear_one()?;
        }
        self.control
            .begin
            .store((now() + LEAD_IN).as_nanos(), Ordering::Release);
        self.control.set(Stage::Run);
        let mut series = Vec::new();
        let mut rates = Vec::new();
        let mut passed = Duration::ZERO;
        let mut show = |window: &Window, passed: Duration, is_measured: bool| {
            let second = second_of(window, passed, is_measured);
            on_second(&second, is_measured);
            series.push(second);
        };
        let is_even = |rates: &[f64]| is_steady(rates, STEADY_TOLERANCE);
        loop {
            let is_warm = match self.workload.warm_up {
                WarmUp::For(length) => is_over(passed, length),
                WarmUp::UntilSteady => is_even(&rates) || passed >= STEADY_WITHIN,
            };
            if is_warm {
                break;
            }
            let window = self.next_window()?;
            passed += window.length;
            rates.push(rate_of(&window));
            show(&window, passed, false);
        }
        let warm_up = passed;
        let was_steady = match self.workload.warm_up {
            // A short warm-up cannot tell.
            WarmUp::For(_) => rates.len() < crate::schedule::STEADY_COUNT || is_even(&rates),
            WarmUp::UntilSteady => is_even(&rates),
        };
        if let Some(watched) = &mut self.watched {
            watched.begin();
        }
        let cpu = cpu_time();
        let mut total = Window::default();
        // At least one, however short the load.
        while total.length.is_zero() || !is_over(total.length, self.workload.seconds) {
            let window = self.next_window()?;
            passed += window.length;
            total.then(&window);
            show(&window, passed, true);
        }
        let broker_cpu = self.watched.as_ref().map(Watched::so_far);
        let cpu_end = cpu_time();
        self.control.set(Stage::Flush);
        while self.flushed < self.threads {
            self.hear_one()?;
        }
        // Once only: nobody else sets it.
        let _ = self.control.acked.set(std::mem::take(&mut self.acked));
        self.control.set(Stage::Drain);
        while self.ended < self.threads {
            self.hear_one()?;
        }
        let flow = |side: &crate::meter::Side| {
            Flow::new(
                side.records,
                side.bytes,
                side.requests,
                total.length,
                &side.latencies,
            )
        };
        let client = (
            cpu_end.0.saturating_sub(cpu.0),
            cpu_end.1.saturating_sub(cpu.1),
        );
        let requests = total.produced.requests + total.consumed.requests + total.pings;
        Ok(Outcome {
            seconds: total.length.as_secs_f64(),
            warm_up_seconds: warm_up.as_secs_f64(),
            was_steady,
            client: Cost::new(client, total.produced.records + total.consumed.records),
            broker: self.watched.as_ref().zip(broker_cpu).map(|(watched, cpu)| {
                watched.cost(
                    cpu,
                    total.produced.bytes + total.consumed.bytes,
                    requests,
                    total.length,
                )
            }),
            verified: self.workload.verify.then(|| self.verdict()),
            produced: flow(&total.produced),
            consumed: flow(&total.consumed),
            pings: total.pings,
            failed: self.failed,
            failures: self.failures,
            series,
        })
    }

    fn verdict(&self) -> Verified {
        let mut verified = Verified::default();
        for one in &self.checked {
            verified.good += one.findings.good;
            // What was refused leaves a gap, and was never acknowledged.
            verified.lost += (one.findings.lost + one.missing).saturating_sub(self.failed);
            verified.reordered += one.findings.reordered;
            if one.shares {
                verified.repeated += one.findings.duplicated;
            } else {
                verified.duplicated += one.findings.duplicated;
            }
        }
        verified
    }

    fn next_window(&mut self) -> Result<Window, String> {
        loop {
            if let Some(window) = self.assembly.take_next() {
                return Ok(window);
            }
            self.hear_one()?;
        }
    }

    fn hear_one(&mut self) -> Result<(), String> {
        match self.hear.recv_timeout(SILENCE_MAX) {
            Ok(Said::Ready) => self.ready += 1,
            Ok(Said::Window(number, window)) => self.assembly.add(number, &window),
            Ok(Said::Flushed { sent, failures }) => {
                self.flushed += 1;
                self.failed += sent.failed;
                for (place, end) in sent.ends {
                    let known = self.acked.entry(place).or_default();
                    *known = end.max(*known);
                }
                for (failure, count) in failures {
                    *self.failures.entry(failure).or_default() += count;
                }
            }
            Ok(Said::Ended { findings }) => {
                self.ended += 1;
                self.checked.extend(findings);
            }
            Ok(Said::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!(
                    "the load has said nothing for {} s: is the broker there?",
                    SILENCE_MAX.as_secs()
                ));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err("a thread of the load ended early".to_owned());
            }
        }
        Ok(())
    }
}

/// Whether windows make up a length: one of them may be a little shorter than the others.
fn is_over(passed: Duration, length: Duration) -> bool {
    passed + WINDOW / 2 > length
}

fn rate_of(window: &Window) -> f64 {
    let seconds = window.length.as_secs_f64().max(f64::MIN_POSITIVE);
    to_f64(window.produced.records + window.consumed.records + window.pings) / seconds
}

fn second_of(window: &Window, passed: Duration, is_measured: bool) -> Second {
    let moment = |side: &crate::meter::Side| {
        Moment::new(side.records, side.bytes, window.length, &side.latencies)
    };
    Second {
        at: passed.as_secs_f64(),
        is_measured,
        produced: moment(&window.produced),
        consumed: moment(&window.consumed),
    }
}

/// Deals the clients out to threads.
fn shares_of(workload: &Workload, first_run: u64) -> Vec<Share> {
    let mut shares: Vec<Share> = (0..workload.threads)
        .map(|_| Share {
            senders: Vec::new(),
            readers: Vec::new(),
            idle: Vec::new(),
        })
        .collect();
    let mut run = first_run;
    let mut turn = 0;
    let mut next = || {
        turn += 1;
        (turn - 1) % workload.threads
    };
    for producers in &workload.producers {
        let kind = Arc::new(producers.clone());
        for index in 0..producers.clients {
            shares[next()].senders.push(Role {
                kind: Arc::clone(&kind),
                run,
                index,
            });
            run += 1;
        }
    }
    for consumers in &workload.consumers {
        if consumers.group.is_some() {
            shares[next()]
                .readers
                .push((consumers.clone(), consumers.clients));
        } else {
            for _ in 0..consumers.clients {
                shares[next()].readers.push((consumers.clone(), 1));
            }
        }
    }
    for connections in &workload.connections {
        for (index, share) in shares.iter_mut().enumerate() {
            let count = connections.count / workload.threads
                + usize::from(index < connections.count % workload.threads);
            share.idle.push((count, connections.request_every));
        }
    }
    shares
}

/// Creates the topics that are not there.
fn prepare(workload: &Arc<Workload>) -> Result<(), String> {
    let workload = Arc::clone(workload);
    runtime()?.run(async move {
        let client = Client::connect(workload.client.clone())
            .await
            .map_err(|error| error.to_string())?;
        let admin = Admin::new(&client);
        for topic in &workload.topics {
            let new = NewTopic {
                replication_factor: topic.replication_factor,
                configs: topic
                    .configs
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                ..NewTopic::new(topic.name.clone(), topic.partitions)
            };
            match admin.create_topic(new).await {
                Ok(_) => {}
                Err(error) if error.refusal() == Some(ErrorCode::TopicAlreadyExists) => {}
                Err(error) => return Err(format!("topic {}: {}", topic.name, error.text())),
            }
        }
        Ok(())
    })
}

/// As many files as this process may have.
fn raise_limit_of_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // What is refused here is told when a connection cannot be made.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// Between everybody being ready and the first record.
const LEAD_IN: Duration = Duration::from_millis(20);
/// How far windows of a load that has settled are from their mean.
const STEADY_TOLERANCE: f64 = 0.1;
/// Nothing is heard for so long only when something hangs.
const SILENCE_MAX: Duration = Duration::from_mins(3);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::is_over;

    #[test]
    fn windows_that_are_a_little_short_make_up_a_length_all_the_same() {
        let ms = Duration::from_millis;
        assert!(is_over(ms(0), ms(0)));
        assert!(!is_over(ms(0), ms(1_000)));
        assert!(!is_over(ms(999), ms(2_000)));
        assert!(is_over(ms(1_998), ms(2_000)));
        assert!(is_over(ms(2_003), ms(2_000)));
    }
}
