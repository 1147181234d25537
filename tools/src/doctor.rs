//! Is this machine, with these settings, fit for a broker?
//!
//! **Owns** the way from a question to findings: [`gather`] finds facts out, [`findings()`] judges them, [`fix`] makes what
//! is safe.
//! **Lives on** the command's thread.
//! **Invariants** (1) Judging asks nobody: recorded facts give the same findings on any machine. (2) The settings are read
//! by the broker that is to start (`corelog-broker --check=json`), not by a second reader that would have to agree.
//! **Not here** what is printed (`cli::doctor`), whether a log directory's contents are whole (`check`).

mod directories;
mod facts;
mod finding;
mod findings;
pub mod fix;
pub mod gather;
mod network;
#[cfg(test)]
mod tests;

pub use facts::{Clock, Facts, Tried};
pub use finding::{Change, Finding, Level, Remedy};
pub use findings::findings;
