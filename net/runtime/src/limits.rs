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

/// What the process uses, as the kernel counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProcessUsage {
    /// Processor time of all threads, nanoseconds.
    pub cpu_ns: u64,
    /// Bytes of memory that are resident.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// How many may be open; `None` is unlimited.
    pub descriptors_max: Option<u64>,
    /// Threads.
    pub threads: u64,
}

/// What the process uses now. Reads `/proc` and counts descriptors: for a thread that may block. What cannot be read
/// is 0.
pub fn process_usage() -> ProcessUsage {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let status = read_small("/proc/self/status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|text| text.parse().ok()).unwrap_or(0_u64)
    };
    ProcessUsage {
        cpu_ns: number(cpu.tv_sec) * 1_000_000_000 + number(cpu.tv_nsec),
        resident_bytes: field("VmRSS:") * 1024,
        virtual_bytes: field("VmSize:") * 1024,
        descriptors: descriptor_count().unwrap_or(0),
        descriptors_max: getrlimit(Resource::Nofile).current,
        threads: field("Threads:"),
    }
}

/// The beginning of a small file, or nothing.
fn read_small(path: &str) -> String {
    use rustix::fs::{Mode, OFlags};
    let mut text = vec![0; 8 << 10];
    let read = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(file, &mut text[..]));
    text.truncate(read.unwrap_or(0));
    String::from_utf8_lossy(&text).into_owned()
}

/// Entries of `/proc/self/fd`, without the one that reads them.
fn descriptor_count() -> Option<u64> {
    use rustix::fs::{Dir, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).ok()?;
    let entries = Dir::new(folder).ok()?.flatten();
    let names = entries.filter(|entry| !entry.file_name().to_bytes().starts_with(b"."));
    Some((names.count() as u64).saturating_sub(1))
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
