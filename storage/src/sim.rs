//! A seeded simulation of one partition's log on a disk that misbehaves, with a model beside it.
//!
//! **Owns** the runs: a seed is a history, and the same seed is the same history on every machine.
//! **Lives on** one thread; never part of a shipped binary (`cargo sim`, and the tests).
//! **Invariants** 1. Every step draws from the seed and its own number alone, so that a history stays the same when
//! steps are left out of it: that is how a failing one is made short. 2. Whatever the seed, a run ends.
//! **Not here** the disk (`disk::sim`).
//!
//! | file | what |
//! |---|---|
//! | `profile` | what kind of run a seed is |
//! | `event` | what can happen in a step |
//! | `world` | how it happens: the driver that a shard is elsewhere |
//! | `producers` | what is appended, and what must be refused |
//! | `restart` | the ends of the process and of the machine, and what must be there afterwards |
//! | `cleaning` | compaction beside everything else |
//! | `moving` | to another log directory while all this goes on |
//! | `damage` | bits that flip at rest |
//! | `model` | what must be in the log |
//! | `check` | the comparison |
//! | `marks` | which rare paths were reached |

mod check;
mod cleaning;
mod damage;
mod event;
pub mod marks;
mod model;
mod moving;
mod producers;
mod profile;
mod restart;
#[cfg(test)]
mod tests;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use check::{Checker, Violation};
use profile::Profile;
use world::World;

/// One run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// How many events.
    pub steps: usize,
    /// Events that are left out.
    pub skip: BTreeSet<usize>,
    /// A deliberate mistake in the driver or the model, to see that a checker finds it.
    pub mistake: Option<Mistake>,
}

impl Options {
    /// A run as it is.
    pub fn new(seed: u64, steps: usize) -> Self {
        Self {
            seed,
            steps,
            skip: BTreeSet::new(),
            mistake: None,
        }
    }
}

/// Mistakes that a broker could make, and ones of the model that look like mistakes of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A failed sync is tried again and believed.
    TrustAfterFailedSync,
    /// A sync is reported that was not carried out.
    AcknowledgeWithoutSync,
    /// The model forgets the last batch when the machine ends.
    Invent,
    /// A leader's batch leaves a gap.
    Gap,
    /// A byte of what was appended is another.
    Alter,
    /// An index entry is wrong.
    SpoilIndex,
    /// The first record of a time is another.
    ShiftTime,
    /// A producer wrote one more than the log has.
    ForgetProducer,
    /// An abort is taken for a commit.
    ForgetAbort,
    /// Open transactions do not hold the last stable offset.
    ForgetTransaction,
    /// A batch has another leader epoch.
    WrongEpoch,
    /// A file is longer than the books say.
    GrowFile,
    /// Retention goes by other settings.
    RetainLess,
    /// The disk fails and nobody knows why.
    FailSilently,
    /// Damage is made to look sound.
    RepairChecksum,
}

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events that happened.
    pub steps: usize,
    /// What the disk did, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rare paths reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// The profile in one line.
    pub profile: String,
    /// The end of the log, and how much of it was ever acknowledged.
    pub end: i64,
}

/// A run that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it was until then.
    pub report: Report,
    /// What is wrong.
    pub violation: Violation,
    /// The step it was seen in.
    pub step: usize,
    /// What happened last, oldest first.
    pub last: Vec<String>,
}

/// Runs one history. `tell` hears every event.
pub fn run(options: &Options, tell: &mut dyn FnMut(&str)) -> Result<Report, Box<Failure>> {
    let profile = Profile::draw(options.seed);
    marks::begin(options.seed, profile.buggify);
    let mut report = Report {
        profile: profile.summary(),
        ..Report::default()
    };
    let mut world = World::new(options, profile);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run(tell)));
    report.marks = marks::end();
    report.faults = world.disk.counts();
    report.steps = world.steps_done;
    report.end = world.model.end.0;
    let violation = match outcome {
        Ok(Ok(())) => return Ok(report),
        Ok(Err(violation)) => violation,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without words");
            check::violation(Checker::Unprovoked, format!("panic: {text}"))
        }
    };
    Err(Box::new(Failure {
        report,
        violation,
        step: world.step,
        last: world.last.into_iter().collect(),
    }))
}

/// Leaves out every step that the same checker does not need to fail; at most `runs` runs.
pub fn shorten(options: &Options, failure: &Failure, mut runs: usize) -> (Options, Failure) {
    let mut best = (options.clone(), failure.clone());
    best.0.steps = best.0.steps.min(failure.step + 1);
    let mut size = best.0.steps / 2;
    while size > 0 && runs > 0 {
        let mut at = 0;
        while at < best.0.steps && runs > 0 {
            let mut shorter = best.0.clone();
            shorter.skip.extend(at..(at + size).min(best.0.steps));
            if shorter.skip.len() > best.0.skip.len() {
                runs -= 1;
                if let Err(again) = run(&shorter, &mut |_| {})
                    && again.violation.checker == failure.violation.checker
                {
                    shorter.steps = shorter.steps.min(again.step + 1);
                    best = (shorter, *again);
                }
            }
            at += size;
        }
        size /= 2;
    }
    best
}
