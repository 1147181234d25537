//! **Owns** what a result says about where and how it was measured.
//! **Lives on** the command's thread.
//! **Not here** the figures (`corelog_tools::load`).
//! **Invariants** none beyond the types'.

use std::time::Duration;

use serde::Serialize;

/// The machine a result was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// Processors that this process may use.
    pub processors: usize,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let name = rustix::system::uname();
        Self {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What a run cost this process.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Seconds in user space.
    pub user_seconds: f64,
    /// Seconds in the kernel.
    pub system_seconds: f64,
    /// Nanoseconds of both per record.
    pub nanoseconds_per_record: f64,
}

impl Cost {
    /// Of a run with so many records.
    pub fn new((user, system): (Duration, Duration), records: u64) -> Self {
        let nanoseconds = (user + system).as_secs_f64() * 1e9;
        Self {
            user_seconds: user.as_secs_f64(),
            system_seconds: system.as_secs_f64(),
            nanoseconds_per_record: nanoseconds / corelog_tools::load::to_f64(records.max(1)),
        }
    }

    /// For people.
    pub fn line(&self) -> String {
        format!(
            "client CPU {:.2} s user, {:.2} s system, {:.0} ns per record",
            self.user_seconds, self.system_seconds, self.nanoseconds_per_record
        )
    }
}
