//! `cargo dev …`: the chores of the repository.
//!
//! **Owns** the choice of a subcommand; each lives in a file of its own under `dev/`.
//! **Lives on** a developer's machine and in CI, never in a broker.
//! **Not here**: what users run (`corelog`).

use std::path::Path;
use std::process::{Command, ExitCode};

#[path = "dev/ci.rs"]
mod ci;
#[path = "dev/crash.rs"]
mod crash;
#[path = "dev/gen_wire.rs"]
mod gen_wire;
#[path = "dev/tidy.rs"]
mod tidy;

const USAGE: &str = "usage: cargo dev <command>
  tidy                      the rules of the house that no compiler checks
  gen-wire [--check]        generate net/src/wire from net/schemas, or check that it is current
  docs [--check]            writes docs/settings.md and docs/metrics.md from the broker's tables, or checks that they are current
  admin                     every method of Kafka's Admin on a Kafka and on this broker, see broker/tests/admin
  clients [--quick] [NAME…] real clients against a broker, see broker/tests/clients
  adopt [KIND…]             Kafka and this broker take turns on one directory, see broker/tests/adopt
  exactly-once [--seconds N] [VARIANT…]
                            transactions while broker and members die, see broker/tests/exactly_once
  compare [--quick] [--only NAME,…] [--rounds N] [--list]
                            speed and cost beside Apache Kafka, see perf/compare
  scaling [--quick] [--only NAME,…] [--kafka] [--up-to X] [--list]
                            what a request costs as partitions, connections, metadata and shards grow, see perf/scaling
  compare-tools             Kafka's tools and corelog against a Kafka and this broker, see tools/tests/compare-tools
  crash [--rounds N] [--seed N]
                            kill -9 under load, 200 rounds, against a release build
  ci [--after-tests]        everything a commit must pass";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = arguments
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tools lies in the root");
    let outcome = match name {
        "gen-wire" => gen_wire::run(rest).map(|()| true),
        "tidy" => tidy::run(root),
        "docs" => docs(root, rest),
        "admin" => script(root, "admin", rest),
        "clients" => script(root, "clients", rest),
        "adopt" => script(root, "adopt", rest),
        "exactly-once" => script(root, "exactly_once", rest),
        "compare" => run_script(root, "perf/compare/run", rest),
        "scaling" => run_script(root, "perf/scaling/run", rest),
        "compare-tools" => run_script(root, "tools/tests/compare-tools/run", rest),
        "crash" => crash::run(root, rest),
        "ci" => ci::run(root, rest),
        _ => Err(anyhow::anyhow!("{USAGE}")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo dev {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The documents are written, and compared, by tests of the broker, which has the tables.
fn docs(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    let mut command = Command::new("cargo");
    command.args([
        "test",
        "--quiet",
        "-p",
        "corelog-broker",
        "--lib",
        "the_documentation",
    ]);
    match arguments {
        [] => {
            command.env("CORELOG_WRITE_DOCS", "1");
        }
        [check] if check == "--check" => {}
        _ => anyhow::bail!("{USAGE}"),
    }
    Ok(command.current_dir(root).status()?.success())
}

/// Hands over to a script of the repository.
fn run_script(root: &Path, path: &str, arguments: &[String]) -> anyhow::Result<bool> {
    let mut command = Command::new(root.join(path));
    Ok(command
        .args(arguments)
        .current_dir(root)
        .status()?
        .success())
}

/// Hands over to the script of a folder in the broker's tests.
fn script(root: &Path, name: &str, arguments: &[String]) -> anyhow::Result<bool> {
    let script = root.join("broker/tests").join(name).join("run");
    Ok(Command::new(&script).args(arguments).status()?.success())
}
