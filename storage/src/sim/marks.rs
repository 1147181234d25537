//! What a simulated run reached, and whether rare paths are made common in it.
//!
//! **Owns** the counters of `mark!` and the draws of `buggify!`, for the run of this thread.
//! **Lives on** the thread that runs a simulation; elsewhere both do nothing.
//! **Invariants** 1. Every mark stands in [`ALL`].
//! **Not here** the macros (`mark`).

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::disk::sim::Random;

/// Every mark there is: a run over enough seeds reaches all of them.
pub const ALL: &[&str] = &[
    // The log.
    "batch answered as a duplicate",
    "segment rolled",
    "reserved space given back",
    "write held back for the sync of the segment before",
    "write found the disk full",
    "write failed",
    "sync failed",
    "index entries written before a roll",
    "retention rolled the active segment",
    "segments deleted",
    "index entry not believed",
    "truncated inside a segment",
    "truncated to another segment",
    "started anew at another offset",
    "cleaning begun",
    "cleaned segment taken over",
    "cleaned segment outdated",
    "cleaning done",
    "power cut inside a cleaning",
    "moved to another log directory",
    "cleaned while it was copied",
    "power cut inside a move",
    "copy promoted",
    // Recovery.
    "torn end cut",
    "recovery point beyond the end",
    "cut bytes kept aside",
    "empty segment behind a torn one dropped",
    "no segment found",
    "index rebuilt",
    "torn aborted index rebuilt",
    "clean stop did not end with a batch",
    "snapshot not used",
    "missing snapshot written",
    "producers replayed from the first segment",
    "epochs rebuilt",
    "restarted beyond the end",
    // The simulation.
    "power cut",
    "process killed",
    "killed after the disk refused pages",
    "closed in order",
    "opened after a clean stop",
    "power cut inside recovery",
    "power cut inside a work",
    "power cut inside a truncation",
    "power cut inside closing",
    "power cut inside a sync",
    "power cut inside a write",
    "disk failed in recovery",
    "power cut with a roll not synced",
    "plan carried out late",
    "writes confirmed out of order",
];

struct Run {
    reached: BTreeMap<&'static str, u64>,
    random: Random,
    buggify: bool,
}

thread_local! {
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Counts from here on, on this thread.
pub(super) fn begin(seed: u64, buggify: bool) {
    let run = Run {
        reached: BTreeMap::new(),
        random: Random::new(seed),
        buggify,
    };
    RUN.with(|slot| *slot.borrow_mut() = Some(run));
}

/// Stops counting; what was reached.
pub(super) fn end() -> BTreeMap<&'static str, u64> {
    RUN.with(|slot| slot.borrow_mut().take())
        .map(|run| run.reached)
        .unwrap_or_default()
}

/// How often this path was reached.
pub(super) fn count(name: &'static str) -> u64 {
    RUN.with(|slot| {
        let run = slot.borrow();
        run.as_ref()
            .and_then(|run| run.reached.get(name).copied())
            .unwrap_or(0)
    })
}

/// A path was reached.
pub(crate) fn reached(name: &'static str) {
    debug_assert!(ALL.contains(&name), "{name} is not in sim::marks::ALL");
    RUN.with(|slot| {
        if let Some(run) = slot.borrow_mut().as_mut() {
            *run.reached.entry(name).or_default() += 1;
        }
    });
}

/// Whether a rare path is to be taken.
pub(crate) fn buggified() -> bool {
    RUN.with(|slot| {
        slot.borrow_mut()
            .as_mut()
            .is_some_and(|run| run.buggify && run.random.one_in(2))
    })
}
