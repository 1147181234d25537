//! Owns: what the operating system allows this process: open files, locked memory, processors, priority.
//! Lives on: start-up.
//! Invariants: nothing here fails hard; what could not be raised is reported, for the log to explain.
//! Not here: the limits of the protocol (net).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The limit of open files before and after `raise_nofile`. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NofileLimit {
    /// The soft limit as found.
    pub soft_before: Option<u64>,
    /// The soft limit now.
    pub soft: Option<u64>,
    /// The hard limit, which only root can raise.
    pub hard: Option<u64>,
}

/// Raises the soft limit of open files to the hard one.
pub fn raise_nofile() -> NofileLimit {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let soft = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    NofileLimit {
        soft_before: before.current,
        soft,
        hard: before.maximum,
    }
}

/// The soft limit of locked memory, bytes; `None` is unlimited. Rings count against it.
pub fn memlock() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// The processors this process may run on, ascending.
pub fn cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU)
            .filter(|cpu| set.is_set(*cpu))
            .collect(),
        Err(_) => vec![0],
    }
}

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Makes the calling thread one that waits when others want the processor.
pub(crate) fn lower_priority(nice: i32) {
    let thread = rustix::thread::gettid();
    // Lowering one's own priority is always allowed; a kernel that refuses leaves it as it was.
    let _ = rustix::process::setpriority_process(Some(thread), nice);
}

/// The machine's own name, as `hostname` prints it; `uname(2)`.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
