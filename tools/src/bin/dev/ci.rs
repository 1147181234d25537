//! `cargo dev ci`: everything a commit must pass, what fails soonest first.
//!
//! Owns: the list of steps.
//! Lives on: a developer's machine and CI.
//! Invariants:
//! 1. The first failing step ends the run, with its name.
//!
//! Not here: the steps themselves.

use std::path::Path;
use std::process::Command;

/// One step: its name, what it sets in the environment, its command.
struct Step {
    name: &'static str,
    environment: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
    /// What follows it.
    more: &'static [&'static str],
}

/// What every run of the simulated log begins with.
const SIMULATION: &[&str] = &[
    "cargo",
    "run",
    "--quiet",
    "--release",
    "-p",
    "corelog-storage",
    "--features",
    "sim",
    "--bin",
    "sim",
    "--",
];

const TESTS: Step = Step {
    name: "tests",
    environment: &[],
    command: &["cargo", "test", "--workspace"],
    more: &[],
};

const STEPS: &[Step] = &[
    Step {
        name: "format",
        environment: &[],
        command: &["cargo", "fmt", "--all", "--check"],
        more: &[],
    },
    Step {
        name: "tidy",
        environment: &[],
        command: &["cargo", "dev", "tidy"],
        more: &[],
    },
    Step {
        name: "generated code is current",
        environment: &[],
        command: &["cargo", "dev", "gen-wire", "--check"],
        more: &[],
    },
    Step {
        name: "clippy",
        environment: &[],
        command: &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        more: &[],
    },
    Step {
        name: "documentation is current",
        environment: &[],
        command: &["cargo", "dev", "docs", "--check"],
        more: &[],
    },
    Step {
        name: "tests of what touches sockets and rings, on the readiness backend",
        environment: &[("CORELOG_TEST_BACKEND", "readiness")],
        command: &[
            "cargo",
            "test",
            "-p",
            "corelog-runtime",
            "-p",
            "corelog-net",
            "-p",
            "corelog-broker",
        ],
        more: &[],
    },
    Step {
        name: "histories of the simulated log",
        environment: &[],
        command: SIMULATION,
        more: &["--seeds", "20000"],
    },
    Step {
        name: "long histories of the simulated log",
        environment: &[],
        command: SIMULATION,
        more: &["--seeds", "500", "--steps", "2000"],
    },
    Step {
        name: "a short run of real clients",
        environment: &[],
        command: &[
            "cargo",
            "dev",
            "clients",
            "--quick",
            "kcat",
            "confluent",
            "kafka-python",
        ],
        more: &[],
    },
];

/// Runs the steps (`--after-tests`: without the tests, which ran); says whether all passed.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    let tested = match arguments {
        [] => false,
        [one] if one == "--after-tests" => true,
        _ => anyhow::bail!("usage: cargo dev ci [--after-tests]"),
    };
    for step in STEPS.iter().chain((!tested).then_some(&TESTS)) {
        let all = [step.command, step.more].concat();
        eprintln!("ci: {}: {}", step.name, all.join(" "));
        let status = Command::new(step.command[0])
            .args(&step.command[1..])
            .args(step.more)
            .envs(step.environment.iter().copied())
            .current_dir(root)
            .status()?;
        if !status.success() {
            eprintln!("ci: {} failed", step.name);
            return Ok(false);
        }
    }
    eprintln!("ci: all passed");
    Ok(true)
}
