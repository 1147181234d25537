//! **Owns** progress bars: how far long work is, on a terminal.
//! **Lives on** the command's thread.
//! **Invariants** (1) A bar is drawn where standard error is a terminal, and nowhere else: a pipe gets nothing. (2) It is
//! cleared away when it is dropped. (3) What a command prints meanwhile goes above it ([`Bar::aside`]).
//! **Not here** what is long.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::check::Progress;
use crate::load::Listener;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Records.
    Records,
    /// Partitions.
    Partitions,
    /// Directories.
    Directories,
}

/// A bar; clones are the same one.
#[derive(Clone, Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A bar for work that takes long.
    pub fn new(total: u64, unit: Unit) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
        let counted = match unit {
            Unit::Bytes => "{bytes} of {total_bytes}",
            Unit::Records => "{human_pos} of {human_len} records",
            Unit::Partitions => "{human_pos} of {human_len} partitions",
            Unit::Directories => "{human_pos} of {human_len} directories",
        };
        let style = ProgressStyle::with_template(&format!("{{bar:40}} {counted}, {{eta}} left"));
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// A bar for work that is shown by its output: only where that goes elsewhere.
    pub fn beside_output(total: u64, unit: Unit) -> Self {
        let bar = Self::new(total, unit);
        if std::io::stdout().is_terminal() {
            bar.0.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar
    }

    /// Prints something above it.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Lets a load advance it.
    pub fn listener(&self) -> Listener {
        let bar = self.clone();
        Listener::new(move |amount| bar.advance(amount))
    }

    /// Begins again.
    pub fn restart(&self) {
        self.0.reset();
    }

    /// Takes it away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Progress for Bar {
    fn begin(&self, total: u64) {
        self.0.set_length(total);
    }

    fn advance(&self, amount: u64) {
        self.0.inc(amount);
    }
}
