//! `corelog-perf`: load on any Kafka, measured.
//!
//! **Owns** the choice of a subcommand.
//! **Lives on** the main thread.

use std::process::ExitCode;

use corelog_perf::{consumer, end_to_end, groups, mixed, producer, raw, report};
use corelog_tools::cli::Out;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = Out::standard();
    let (name, rest) = arguments
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let code = match name {
        "producer" => producer::run(rest, &mut out),
        "consumer" => consumer::run(rest, &mut out),
        "end-to-end" => end_to_end::run(rest, &mut out),
        "mixed" => mixed::run(rest, &mut out),
        "groups" => groups::run(rest, &mut out),
        "raw" => raw::run(rest, &mut out),
        "report" => report::run(rest, &mut out),
        "--version" => {
            out.line(&format!("corelog-perf {}", env!("CARGO_PKG_VERSION")));
            0
        }
        _ => {
            out.error("usage: corelog-perf <producer|consumer|end-to-end|mixed|groups|raw|report> [options]; --help lists the options of each");
            u8::from(name != "--help")
        }
    };
    out.flush();
    ExitCode::from(code)
}
