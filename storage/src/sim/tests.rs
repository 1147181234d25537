//! The simulation in CI: some hundred seeds, every mark, every checker seen to fail, and the seeds that found something.
//!
//! `LOG_SEED` and `LOG_SEEDS` (300) choose others; `cargo sim` shows a history and makes it short.

use super::*;

const STEPS: usize = 250;

fn show(seed: u64, failure: &Failure) -> String {
    format!(
        "seed {seed} step {}: {:?}: {}\n{}\n{}\nagain: cargo sim -- --seed {seed}",
        failure.step,
        failure.violation.checker,
        failure.violation.text,
        failure.report.profile,
        failure.last.join("\n")
    )
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_history_loses_what_was_acknowledged_or_invents_anything() {
    let (first, count) = (number("LOG_SEED", 0), number("LOG_SEEDS", 300));
    let mut events = 0;
    for seed in first..first + count {
        match run(&Options::new(seed, STEPS), &mut |_| {}) {
            Ok(report) => events += report.steps,
            Err(failure) => panic!("{}", show(seed, &failure)),
        }
    }
    assert!(events > 0);
}

/// Each of these lost or invented something once. What a seed does changes with the simulation: what each of them found
/// is also a test of its own in `log::tests::restart`.
#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    let found = [
        (9, "epochs forgotten for records that a crash brought back"),
        (52, "no aborted index after a clean stop and a power cut"),
        (
            80,
            "a transaction's start forgotten with the segment before",
        ),
        (
            205,
            "trust in the page cache after a failed sync and a kill",
        ),
        (212, "a flipped bit in the index makes the log unreadable"),
        (
            386,
            "the marker of a clean stop came back after a power cut",
        ),
        (
            935,
            "epochs cut off in front of a segment that was not scanned whole",
        ),
        (1250, "a torn snapshot kept in place of a good one"),
        (
            1376,
            "a snapshot that cannot be read taken for a damaged one",
        ),
        (
            1743,
            "an index believed from the page cache after a failed sync",
        ),
        (2668, "index entries left unsynced by recovery"),
        (4855, "an aborted index that begins with zeros"),
        (7138, "a recovery point of another life"),
        (15_257, "a truncation that was not synced, nor again"),
        (15_899, "a new beginning whose names were not synced again"),
        (50_074, "a snapshot from before the first segment believed"),
        (
            50_276,
            "a transaction open for ever whose marker retention took",
        ),
    ];
    for (seed, what) in found {
        if let Err(failure) = run(&Options::new(seed, STEPS), &mut |_| {}) {
            panic!("{what}: {}", show(seed, &failure));
        }
    }
}

#[test]
fn every_rare_path_is_reached() {
    let mut missing: BTreeSet<&str> = marks::ALL.iter().copied().collect();
    let mut seed = 0;
    while !missing.is_empty() && seed < 4000 {
        let report = run(&Options::new(seed, STEPS), &mut |_| {});
        let report = report.unwrap_or_else(|failure| panic!("{}", show(seed, &failure)));
        missing.retain(|mark| !report.marks.contains_key(mark));
        seed += 1;
    }
    assert!(
        missing.is_empty(),
        "not reached in {seed} seeds: {missing:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [3, 52, 117] {
        let tell = |seed| {
            let mut told = Vec::new();
            let outcome = run(&Options::new(seed, STEPS), &mut |text| {
                told.push(text.to_owned());
            });
            (told, outcome.is_ok())
        };
        let first = tell(seed);
        assert!(!first.0.is_empty());
        assert_eq!(first, tell(seed));
    }
}

/// The first failure that a mistake leads to.
fn caught(mistake: Mistake) -> (u64, Failure) {
    for seed in 0..2000 {
        let options = Options {
            mistake: Some(mistake),
            ..Options::new(seed, STEPS)
        };
        if let Err(failure) = run(&options, &mut |_| {}) {
            return (seed, *failure);
        }
    }
    panic!("nobody noticed {mistake:?}");
}

#[test]
fn every_checker_finds_the_mistake_it_is_for() {
    let expected = [
        (Mistake::TrustAfterFailedSync, Checker::Acknowledged),
        (Mistake::AcknowledgeWithoutSync, Checker::Acknowledged),
        (Mistake::Invent, Checker::Invented),
        (Mistake::Gap, Checker::Offsets),
        (Mistake::Alter, Checker::Reads),
        (Mistake::SpoilIndex, Checker::Indexes),
        (Mistake::ShiftTime, Checker::Times),
        (Mistake::ForgetProducer, Checker::Producers),
        (Mistake::ForgetAbort, Checker::Aborted),
        (Mistake::ForgetTransaction, Checker::Stable),
        (Mistake::WrongEpoch, Checker::Epochs),
        (Mistake::GrowFile, Checker::Sizes),
        (Mistake::RetainLess, Checker::Retention),
        (Mistake::FailSilently, Checker::Unprovoked),
        (Mistake::RepairChecksum, Checker::Damage),
    ];
    for (mistake, checker) in expected {
        let (seed, failure) = caught(mistake);
        assert_eq!(
            failure.violation.checker,
            checker,
            "{mistake:?} in {}",
            show(seed, &failure)
        );
    }
}

#[test]
fn a_failing_history_is_made_short() {
    let (seed, failure) = caught(Mistake::AcknowledgeWithoutSync);
    let options = Options {
        mistake: Some(Mistake::AcknowledgeWithoutSync),
        ..Options::new(seed, STEPS)
    };
    let (shorter, again) = shorten(&options, &failure, 200);
    assert_eq!(again.violation.checker, failure.violation.checker);
    let needed = shorter.steps
        - shorter
            .skip
            .iter()
            .filter(|step| **step < shorter.steps)
            .count();
    assert!(needed < 40, "{needed} events are left");
}
