//! **Owns** the finding out: the broker's report, users, the machine, limits, the control group.
//! **Lives on** the command's thread, which may block; nothing waits longer than its bound.
//! **Invariants** (1) Nothing is changed, but for one small file per log directory, made and removed. (2) What cannot be
//! found out is left out, and never the reason to stop.
//! **Not here** disks (`gather/disks`), sockets (`gather/sockets`), other nodes' clocks (the command: they need a client).

mod disks;
mod sockets;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use corelog_runtime::{BackendChoice, Config, Runtime};
use rustix::process::{Resource, getrlimit};

use super::facts::{Broker, Facts, Limit, Limits, Machine, Report, Tried, User};
use crate::check::Progress;

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// `server.properties`; without one, what a broker without one assumes.
    pub settings: Option<String>,
    /// Settings that count more than the file.
    pub overrides: Vec<String>,
    /// The broker's binary; looked for when not given.
    pub broker: Option<String>,
    /// The user it is to run as; that of the running broker, or who asks.
    pub user: Option<String>,
}

/// Finds everything out, but other nodes' clocks; `progress` is told of the log directories, each measured for a while.
pub fn facts(question: &Question, progress: &dyn Progress) -> Facts {
    let mut broker = ask_broker(question);
    let settings = broker.report.settings.clone().unwrap_or_default();
    let listeners = sockets::listeners(&settings);
    broker.running = sockets::running_broker(&listeners);
    let running = broker.running.as_ref().map(|one| one.pid);
    Facts {
        user: user(question.user.as_deref(), running),
        machine: machine(),
        limits: limits(running),
        directories: disks::directories(&settings, progress),
        listeners,
        broker,
        clocks: Vec::new(),
    }
}

fn ask_broker(question: &Question) -> Broker {
    let Some(binary) = question.broker.clone().or_else(find_broker) else {
        return Broker {
            unknown: Some(
                "corelog-broker is neither beside this program nor on PATH: its settings cannot be read".to_owned(),
            ),
            ..Broker::default()
        };
    };
    let mut command = Command::new(&binary);
    command.arg("--check=json").stdin(Stdio::null());
    for one in &question.overrides {
        command.args(["--override", one]);
    }
    command.args(&question.settings);
    let answer = match command.output() {
        Err(error) => Err(format!("{binary} cannot be run: {error}")),
        Ok(output) => serde_json::from_slice::<Report>(&output.stdout).map_err(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it said nothing");
            format!("{binary} --check=json gave no report ({error}): {said}")
        }),
    };
    let (report, unknown) = match answer {
        Ok(report) => (report, None),
        Err(why) => (Report::default(), Some(why)),
    };
    Broker {
        binary: Some(binary),
        unknown,
        report,
        running: None,
    }
}

/// Beside this program, else on `PATH`.
fn find_broker() -> Option<String> {
    let own = std::env::current_exe().ok();
    let beside = own.and_then(|own| Some(own.parent()?.join(BROKER)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(BROKER));
    beside
        .into_iter()
        .chain(on_path)
        .find(|file| file.is_file())
        .map(|file| file.display().to_string())
}

/// A text file of the kernel's or the system's.
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The same, without the line's end.
fn word(path: &str) -> Option<String> {
    read(path).map(|text| text.trim().to_owned())
}

/// The user of this name or number, with the groups of `/etc/group`; that of the running broker; who asks.
fn user(wanted: Option<&str>, running: Option<u32>) -> Option<User> {
    let passwd = read("/etc/passwd").unwrap_or_default();
    let rows = || {
        passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
    };
    let by = |column: usize, text: &str| {
        rows().find_map(|row| {
            let fits = row.get(column) == Some(&text);
            fits.then(|| {
                Some((
                    (*row.first()?).to_owned(),
                    row.get(2)?.parse::<u32>().ok()?,
                    row.get(3)?.parse::<u32>().ok()?,
                ))
            })?
        })
    };
    let of_process = || {
        let status = read(&format!("/proc/{}/status", running?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    let who_asks = || {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        by(2, &uid.to_string()).unwrap_or((uid.to_string(), uid, gid))
    };
    let (name, uid, gid) = if let Some(wanted) = wanted {
        by(0, wanted).or_else(|| by(2, wanted))?
    } else if let Some(uid) = of_process() {
        // Containers have users that no file names.
        by(2, &uid).or_else(|| Some((uid.clone(), uid.parse().ok()?, u32::MAX)))?
    } else {
        who_asks()
    };
    let mut gids = vec![gid];
    for line in read("/etc/group").unwrap_or_default().lines() {
        let row: Vec<&str> = line.split(':').collect();
        if let [_, _, number, members] = row[..]
            && members.split(',').any(|member| member == name)
            && let Ok(number) = number.parse()
        {
            gids.push(number);
        }
    }
    Some(User { name, uid, gids })
}

fn machine() -> Machine {
    let info = read("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kib * 1024)
    };
    let sysctl = |name: &&str| {
        let text = word(&format!("/proc/sys/{}", name.replace('.', "/")))?;
        Some(((*name).to_owned(), text))
    };
    let cpus = corelog_runtime::limits::cpus();
    let (governors, governors_available) = governors(&cpus);
    Machine {
        kernel: word("/proc/sys/kernel/osrelease").unwrap_or_default(),
        cpus: cpus.len() as u64,
        memory_bytes: bytes("MemTotal"),
        swap_bytes: bytes("SwapTotal"),
        sysctls: SYSCTLS.iter().filter_map(sysctl).collect(),
        huge_pages: read(&format!("{PAGES}/enabled"))
            .as_deref()
            .and_then(chosen),
        huge_pages_defrag: read(&format!("{PAGES}/defrag")).as_deref().and_then(chosen),
        clock_source: word(&format!("{CLOCK}/current_clocksource")),
        clock_sources: words(word(&format!("{CLOCK}/available_clocksource"))),
        clock_synchronised: clock_synchronised(),
        governors,
        governors_available,
        local_ports: word("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| {
            let mut ports = text.split_whitespace().map(str::parse);
            Some((ports.next()?.ok()?, ports.next()?.ok()?))
        }),
        reserved_ports: word("/proc/sys/net/ipv4/ip_local_reserved_ports")
            .unwrap_or_default()
            .split(',')
            .filter_map(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                Some((first.parse().ok()?, last.parse().ok()?))
            })
            .collect(),
    }
}

fn words(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// `always [madvise] never` is `madvise`.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn governors(cpus: &[usize]) -> (BTreeMap<String, u64>, Vec<String>) {
    let mut counted = BTreeMap::new();
    let folder = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq");
    for cpu in cpus {
        let Some(governor) = word(&format!("{}/scaling_governor", folder(*cpu))) else {
            continue;
        };
        // In these drivers' active mode `powersave` still follows the load; what counts is the preference.
        let driver = word(&format!("{}/scaling_driver", folder(*cpu)));
        let hardware = matches!(driver.as_deref(), Some("intel_pstate" | "amd-pstate-epp"));
        let preference = word(&format!("{}/energy_performance_preference", folder(*cpu)));
        let governor = match preference {
            Some(preference) if hardware && governor == "powersave" && preference != "power" => {
                format!("powersave/{preference}")
            }
            _ => governor,
        };
        *counted.entry(governor).or_insert(0) += 1;
    }
    let available = words(word(&format!("{}/scaling_available_governors", folder(0))));
    (counted, available)
}

/// As systemd or chrony says it; neither, and nobody knows.
fn clock_synchronised() -> Option<bool> {
    if std::path::Path::new("/run/systemd/timesync/synchronized").exists() {
        return Some(true);
    }
    let mut command = Command::new("timedatectl");
    command.args(["show", "-p", "NTPSynchronized", "--value"]);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn limits(running: Option<u32>) -> Limits {
    let limit = |value: Option<u64>| value.map_or(Limit::Unlimited, Limit::At);
    let group = ControlGroup::of(running);
    let own = Limits {
        of_broker: false,
        nofile: Some(limit(getrlimit(Resource::Nofile).maximum)),
        memlock: Some(limit(getrlimit(Resource::Memlock).current)),
        io_uring: Some(Tried::of(ring())),
        cgroup_cpus: group.cpus(),
        cgroup_throttled: running.and(group.throttled()),
        cgroup_memory_bytes: group.memory(),
    };
    let of_broker = running.and_then(|pid| read(&format!("/proc/{pid}/limits")));
    let Some(text) = of_broker else { return own };
    let find = |name: &str, column: usize| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        match line.split_whitespace().nth(column)? {
            "unlimited" => Some(Limit::Unlimited),
            number => number.parse().ok().map(Limit::At),
        }
    };
    Limits {
        of_broker: true,
        nofile: find("Max open files", 1),
        memlock: find("Max locked memory", 0),
        ..own
    }
}

/// Makes a ring as a shard does, and lets an operation go through it.
fn ring() -> Result<(), corelog_runtime::StartError> {
    let config = Config {
        backend: BackendChoice::Ring,
        ring_entries: 64,
        ..Config::default()
    };
    Runtime::new(&config)?.run(corelog_runtime::sleep(std::time::Duration::from_millis(1)));
    Ok(())
}

/// The control group of a process, in either version.
struct ControlGroup {
    /// Folders with what is set, from the innermost outwards, by controller.
    cpu: Vec<String>,
    memory: Vec<String>,
    is_second: bool,
}

impl ControlGroup {
    fn of(process: Option<u32>) -> Self {
        let who = process.map_or("self".to_owned(), |pid| pid.to_string());
        let text = read(&format!("/proc/{who}/cgroup")).unwrap_or_default();
        let first = |controller: &str| {
            text.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (names, path) = rest.split_once(':')?;
                let fits = names.split(',').any(|name| name == controller);
                fits.then(|| outwards(&format!("/sys/fs/cgroup/{controller}"), path))
            })
        };
        match (first("cpu"), first("memory")) {
            (None, None) => {
                let path = text.lines().find_map(|line| line.strip_prefix("0::"));
                let folders = outwards("/sys/fs/cgroup", path.unwrap_or("/"));
                Self {
                    cpu: folders.clone(),
                    memory: folders,
                    is_second: true,
                }
            }
            (cpu, memory) => Self {
                cpu: cpu.unwrap_or_default(),
                memory: memory.unwrap_or_default(),
                is_second: false,
            },
        }
    }

    /// The least that this group or one around it gives.
    #[expect(
        clippy::cast_precision_loss,
        reason = "microseconds of a period are few"
    )]
    fn cpus(&self) -> Option<f64> {
        let quota = |folder: &String| -> Option<f64> {
            let (quota, period): (u64, u64) = if self.is_second {
                let text = word(&format!("{folder}/cpu.max"))?;
                let (quota, period) = text.split_once(' ')?;
                (quota.parse().ok()?, period.parse().ok()?)
            } else {
                (
                    word(&format!("{folder}/cpu.cfs_quota_us"))?.parse().ok()?,
                    word(&format!("{folder}/cpu.cfs_period_us"))?.parse().ok()?,
                )
            };
            (period > 0).then(|| quota as f64 / period as f64)
        };
        self.cpu.iter().filter_map(quota).min_by(f64::total_cmp)
    }

    fn throttled(&self) -> Option<u64> {
        let text = read(&format!("{}/cpu.stat", self.cpu.first()?))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))?;
        line.trim().parse().ok()
    }

    fn memory(&self) -> Option<u64> {
        let name = if self.is_second {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        let limit = |folder: &String| -> Option<u64> {
            let bytes = word(&format!("{folder}/{name}"))?.parse().ok()?;
            // The first version says "none" with the largest number of pages.
            (bytes < u64::MAX >> 2).then_some(bytes)
        };
        self.memory.iter().filter_map(limit).min()
    }
}

fn outwards(root: &str, path: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() {
        folders.push(format!("{root}{path}"));
        path = path.rsplit_once('/').map_or("", |(outer, _)| outer);
    }
    folders.push(root.to_owned());
    folders
}

const CLOCK: &str = "/sys/devices/system/clocksource/clocksource0";
const PAGES: &str = "/sys/kernel/mm/transparent_hugepage";
const BROKER: &str = "corelog-broker";

const SYSCTLS: &[&str] = &[
    "kernel.io_uring_disabled",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "vm.dirty_background_bytes",
    "vm.dirty_background_ratio",
    "vm.dirty_bytes",
    "vm.dirty_ratio",
    "vm.max_map_count",
    "vm.overcommit_memory",
    "vm.swappiness",
];
