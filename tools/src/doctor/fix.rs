//! **Owns** making the changes that are safe.
//! **Lives on** the command's thread.
//! **Invariants** (1) Only [`Change`]s are made, each file is written once and read again: what is reported is what the
//! kernel then says.
//! **Not here** which changes (`findings`).

use std::collections::BTreeSet;

use super::finding::{Change, Finding, Remedy};

/// A file that was to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file.
    pub path: String,
    /// What it said.
    pub before: String,
    /// What it says now, or why it could not be written.
    pub after: Result<String, String>,
}

/// The changes of all findings, each once, in order.
pub fn wanted(findings: &[Finding]) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let changes = findings.iter().filter_map(|finding| match &finding.remedy {
        Remedy::Safe(change) => Some(change.clone()),
        Remedy::None | Remedy::Command(_) => None,
    });
    changes
        .filter(|change| seen.insert(change.clone()))
        .collect()
}

/// Makes one.
pub fn make(change: &Change) -> Vec<Made> {
    let (paths, value) = change.files();
    let one = |path: String| {
        let before = read(&path).unwrap_or_default();
        #[expect(
            clippy::disallowed_methods,
            reason = "a setting of the kernel is no file on a disk"
        )]
        let written = std::fs::write(&path, value);
        let after = written
            .and_then(|()| read(&path))
            .map_err(|error| error.to_string());
        Made {
            path,
            before,
            after,
        }
    };
    paths.into_iter().map(one).collect()
}

/// Whether who asks may make changes.
pub fn is_allowed() -> bool {
    rustix::process::geteuid().is_root()
}

fn read(path: &str) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}
