//! `cargo sim`: replays one history of the storage simulation, or runs many.
//!
//! **Owns** the command line and what is printed.
//! **Lives on** a developer's machine and in CI; never part of a shipped binary.
//! **Not here** the simulation (`corelog_storage::sim`).

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;

use corelog_storage::sim::{self, Options, marks};

const USAGE: &str =
    "usage: cargo sim [-- --seed N] [--seeds COUNT] [--steps COUNT] [--verbose] [--no-shorten]
  --seed N      replay this seed (with --seeds: begin at it)
  --seeds N     run so many seeds (1,000; with --seed: 1)
  --steps N     events in each (250)
  --verbose     print every event
  --no-shorten  show a failing history as it is";

fn main() -> ExitCode {
    match command() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("{sentence}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn command() -> Result<bool, String> {
    let (mut seed, mut seeds, mut steps) = (None, None, 250_usize);
    let (mut verbose, mut shorten) = (false, true);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let text = arguments.next().unwrap_or_default();
            let parsed = text.parse::<u64>();
            parsed.map_err(|_| format!("{argument} wants a number, not {text:?}"))
        };
        match argument.as_str() {
            "--seed" => seed = Some(number()?),
            "--seeds" => seeds = Some(number()?),
            "--steps" => {
                steps = usize::try_from(number()?).map_err(|error| error.to_string())?;
            }
            // The alias ends with one, and who types another means the same.
            "--" => {}
            "--verbose" => verbose = true,
            "--no-shorten" => shorten = false,
            other => return Err(format!("{other} is not known")),
        }
    }
    let count = seeds.unwrap_or(if seed.is_some() { 1 } else { 1000 });
    let first = seed.unwrap_or(0);
    let mut out = std::io::stdout().lock();
    let mut say = |text: &str| {
        // A closed pipe ends the printing, not the run.
        let _ = writeln!(out, "{text}");
    };
    if !verbose {
        // A panic is told with its history; where it was is told by `--verbose`.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let (mut faults, mut reached) = (BTreeMap::new(), BTreeMap::new());
    let (mut failed, mut done) = (0_u64, 0_usize);
    for seed in first..first.saturating_add(count) {
        let options = Options::new(seed, steps);
        let outcome = sim::run(&options, &mut |text| {
            if verbose {
                say(text);
            }
        });
        let report = match outcome {
            Ok(report) => report,
            Err(failure) => {
                failed += 1;
                let (shorter, failure) = if shorten {
                    sim::shorten(&options, &failure, SHORTEN_RUNS)
                } else {
                    (options, *failure)
                };
                say(&format!(
                    "seed {seed} FAILED in step {}: {:?}: {}\n  {}\n  {} of {} events are needed; the last of them:",
                    failure.step,
                    failure.violation.checker,
                    failure.violation.text,
                    failure.report.profile,
                    shorter.steps - shorter.skip.len().min(shorter.steps),
                    steps
                ));
                for line in &failure.last {
                    say(&format!("    {line}"));
                }
                say(&format!(
                    "  again: cargo sim -- --seed {seed} --steps {steps} --verbose"
                ));
                failure.report
            }
        };
        done += report.steps;
        if count == 1 {
            say(&format!("seed {seed}: {}", report.profile));
        }
        add(&mut faults, &report.faults);
        add(&mut reached, &report.marks);
    }
    say(&format!(
        "{count} seeds from {first}, {done} events, {failed} failed"
    ));
    say("faults:");
    for (name, count) in &faults {
        say(&format!("  {count:>9} {name}"));
    }
    say("reached:");
    for name in marks::ALL {
        let count = reached.get(name).copied().unwrap_or(0);
        say(&format!("  {count:>9} {name}"));
    }
    Ok(failed == 0)
}

fn add(total: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (name, count) in more {
        *total.entry(name).or_default() += count;
    }
}

/// Runs that are spent on making a failing history short.
const SHORTEN_RUNS: usize = 400;
