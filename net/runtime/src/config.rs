//! Owns: what a runtime is told at start, and why it may refuse to start.
//! Lives on: the thread that builds the runtimes; plain data.
//! Invariants: `Auto` depends on the kernel alone, never on the environment.
//! Not here: the drivers themselves (`ring`, `readiness`).

use std::io;

/// Which driver to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// The ring where the kernel allows it, else readiness.
    #[default]
    Auto,
    /// `io_uring` or nothing.
    Ring,
    /// `epoll` for sockets and helper threads for files.
    Readiness,
}

impl BackendChoice {
    /// What the tests run on: `CORELOG_TEST_BACKEND` is `ring` or `readiness`; unset means `Auto`.
    ///
    /// # Panics
    /// When the variable holds anything else: a typing error must not pass as a green run.
    pub fn from_test_env() -> Self {
        match std::env::var("CORELOG_TEST_BACKEND") {
            Err(_) => Self::Auto,
            Ok(name) if name.is_empty() || name == "auto" => Self::Auto,
            Ok(name) if name == "ring" => Self::Ring,
            Ok(name) if name == "readiness" => Self::Readiness,
            Ok(name) => panic!("CORELOG_TEST_BACKEND={name}: expected ring, readiness or auto"),
        }
    }
}

/// The driver a runtime runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// `io_uring`.
    Ring,
    /// `epoll` and helper threads.
    Readiness,
    /// The simulated world.
    #[cfg(any(test, feature = "sim"))]
    Sim,
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ring => "io_uring",
            Self::Readiness => "readiness (epoll)",
            #[cfg(any(test, feature = "sim"))]
            Self::Sim => "simulated",
        })
    }
}

/// What a runtime is told at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The number of this shard, for thread names and log lines.
    pub shard: usize,
    /// The processor to pin the thread to; `None` leaves it to the kernel.
    pub cpu: Option<usize>,
    /// Which driver.
    pub backend: BackendChoice,
    /// Submission entries of the ring, rounded up to a power of two; completions get four times as many.
    pub ring_entries: u32,
    /// Seeds `random()`.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shard: 0,
            cpu: None,
            backend: BackendChoice::Auto,
            ring_entries: 256,
            seed: crate::map::entropy(),
        }
    }
}

/// Why a runtime could not start. Each text names the cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `io_uring` was demanded and is not to be had.
    #[error("io_uring cannot be used: {reason}. {cure}")]
    Ring {
        /// What the kernel said.
        reason: String,
        /// What an operator can do.
        cure: &'static str,
    },
    /// `epoll` could not be set up.
    #[error(
        "epoll cannot be set up: {0}. Raise the limit of open files (ulimit -n, LimitNOFILE=) if it says «too many open files»"
    )]
    Readiness(io::Error),
    /// The thread could not be pinned.
    #[error(
        "the thread of shard {shard} cannot be pinned to processor {cpu}: {source}. Choose a processor of this process's affinity mask (taskset -p, AllowedCPUs=)"
    )]
    Pin {
        /// The shard.
        shard: usize,
        /// The processor asked for.
        cpu: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The eventfd by which other threads wake this one could not be made.
    #[error(
        "the eventfd of a shard cannot be made: {0}. Raise the limit of open files (ulimit -n, LimitNOFILE=)"
    )]
    Wake(io::Error),
    /// Every place for a runtime in this process is taken.
    #[error("this process already runs {0} runtimes, the most it can")]
    TooMany(usize),
    /// A runtime already runs on this thread.
    #[error("a runtime already runs on this thread")]
    Nested,
}
