//! `corelog`: Kafka's command lines in one binary.
//!
//! **Owns** nothing but the way from the process's arguments to [`cli::main`].
//! **Lives on** the main thread.

use std::process::ExitCode;

use corelog_tools::cli::{self, Out};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let mut out = Out::standard();
    let code = cli::main(&arguments, &mut out);
    out.flush();
    ExitCode::from(code)
}
