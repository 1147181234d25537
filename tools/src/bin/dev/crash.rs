//! `cargo dev crash`: the crash tests of the broker, many rounds, against a release build.
//!
//! Owns: the build, the environment of the tests.
//! Lives on: a developer's machine and CI.
//! Invariants:
//! 1. The broker that is killed is the one that ships: release, without features.
//!
//! Not here: the tests (`broker/tests/crash`).

use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

/// `--rounds N` (200), `--seed N`; says whether all passed.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    let (mut rounds, mut seed) = (200_u64, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let number = arguments
            .next()
            .and_then(|text| text.parse::<u64>().ok())
            .with_context(|| format!("{argument} wants a number"))?;
        match argument.as_str() {
            "--rounds" => rounds = number,
            "--seed" => seed = Some(number),
            _ => anyhow::bail!("usage: cargo dev crash [--rounds N] [--seed N]"),
        }
    }
    let built = cargo(root)
        .args(["build", "--release", "--package", "corelog-broker"])
        .status()?;
    anyhow::ensure!(built.success(), "the broker does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |target| root.join(target));
    let mut tests = cargo(root);
    tests
        .args(["test", "--package", "corelog-broker", "--test", "it"])
        .args(["--", "--nocapture", "--test-threads=1", "crash::"])
        .env("CORELOG_TEST_BINARY", target.join("release/corelog-broker"))
        .env("CORELOG_CRASH_ROUNDS", rounds.to_string());
    if let Some(seed) = seed {
        tests.env("CORELOG_CRASH_SEED", seed.to_string());
    }
    Ok(tests.status()?.success())
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    command
}
