//! `cargo dev …`: the chores of the repository.
//!
//! **Owns** the choice of a subcommand; each lives in a file of its own under `dev/`.
//! **Lives on** a developer's machine and in CI, never in a broker.
//! **Not here**: what users run (`corelog`).

use std::process::ExitCode;

#[path = "dev/gen_wire.rs"]
mod gen_wire;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = arguments
        .split_first()
        .map_or(("", &[][..]), |(n, r)| (n.as_str(), r));
    let outcome = match name {
        "gen-wire" => gen_wire::run(rest),
        _ => Err(anyhow::anyhow!("usage: cargo dev <gen-wire [--check]>")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo dev {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
