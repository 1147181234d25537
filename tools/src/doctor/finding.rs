//! **Owns** what a finding is, and the changes that are safe to make for it.
//! **Lives on** no thread in particular.
//! **Invariants** (1) A change is safe: it acts at once, loses nothing, touches no file that lasts, and is undone by a
//! start of the machine.
//! **Not here** what is found (`findings`), making changes (`fix`).

use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// The broker works, but slower, or less safe, or not for long.
    Warn,
    /// The broker does not start, does not serve, or can lose what it has confirmed.
    Fail,
}

impl Level {
    /// As it is printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Which check, in one word.
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// Why it matters; empty when it is well.
    pub why: &'static str,
    /// What to do.
    pub remedy: Remedy,
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing.
    None,
    /// A command, or where no command can know enough, a sentence.
    Command(String),
    /// What `--fix` does.
    Safe(Change),
}

impl Remedy {
    /// The exact command.
    pub fn command(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Command(command) => Some(command.clone()),
            Self::Safe(change) => Some(change.command()),
        }
    }
}

/// A change of the running kernel's settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Of `/proc/sys`.
    Sysctl {
        /// Dotted.
        name: &'static str,
        /// The new value.
        value: String,
    },
    /// Of `/sys`.
    Sys {
        /// The files; all get the same.
        paths: Vec<String>,
        /// The new value.
        value: String,
    },
}

impl Change {
    /// The same as a shell's command.
    pub fn command(&self) -> String {
        match self {
            Self::Sysctl { name, value } => format!("sysctl -w {name}='{value}'"),
            Self::Sys { paths, value } => {
                format!("echo {value} | tee {}", paths.join(" "))
            }
        }
    }

    /// The files to write, and what.
    pub fn files(&self) -> (Vec<String>, &str) {
        match self {
            Self::Sysctl { name, value } => {
                (vec![format!("/proc/sys/{}", name.replace('.', "/"))], value)
            }
            Self::Sys { paths, value } => (paths.clone(), value),
        }
    }
}

impl Finding {
    /// As it should be.
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check,
            what: what.into(),
            why: "",
            remedy: Remedy::None,
        }
    }

    /// Works, but.
    pub(super) fn warn(check: &'static str, what: impl Into<String>, why: &'static str) -> Self {
        Self {
            level: Level::Warn,
            why,
            ..Self::ok(check, what)
        }
    }

    /// Does not work.
    pub(super) fn fail(check: &'static str, what: impl Into<String>, why: &'static str) -> Self {
        Self {
            level: Level::Fail,
            why,
            ..Self::ok(check, what)
        }
    }

    /// With a command.
    pub(super) fn command(self, command: impl Into<String>) -> Self {
        Self {
            remedy: Remedy::Command(command.into()),
            ..self
        }
    }

    /// With a change that `--fix` makes.
    pub(super) fn change(self, change: Change) -> Self {
        Self {
            remedy: Remedy::Safe(change),
            ..self
        }
    }

    /// As an object.
    pub fn json(&self) -> Value {
        json!({
            "level": self.level.name(),
            "check": self.check,
            "what": self.what,
            "why": Some(self.why).filter(|why| !why.is_empty()),
            "fix": self.remedy.command(),
            "safe": matches!(self.remedy, Remedy::Safe(_)),
        })
    }

    /// As lines: what, and beneath it why and what to do.
    pub fn lines(&self) -> Vec<String> {
        let line = format!("{:<5} {}: {}", self.level.name(), self.check, self.what);
        // A finding's first line is one line, whatever a path has in it.
        let mut lines = vec![line.replace('\n', "\\n")];
        if !self.why.is_empty() {
            lines.push(format!("      why: {}", self.why));
        }
        if let Some(command) = self.remedy.command() {
            lines.push(format!("      fix: {command}"));
        }
        lines
    }
}
