//! **Owns** the judgement: facts in, findings out.
//! **Lives on** no thread in particular; it asks nobody.
//! **Invariants** (1) The same facts give the same findings in the same order. (2) What is not known is not judged.
//! **Not here** log directories and disks (`directories`), addresses and clocks (`network`), the facts (`facts`).

use super::facts::{Facts, Limit, Settings, Tried};
use super::finding::{Change, Finding};
use super::{directories, network};

/// Judges everything.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all = Vec::new();
    let defaults = Settings::default();
    let settings = facts.broker.report.settings.as_ref();
    broker(facts, &mut all);
    let known = settings.unwrap_or(&defaults);
    network::listeners(facts, known, &mut all);
    io_uring(facts, known, &mut all);
    files(facts, known, &mut all);
    memory(facts, known, &mut all);
    processors(facts, known, &mut all);
    kernel(facts, &mut all);
    directories::directories(facts, settings, &mut all);
    network::buffers(facts, known, &mut all);
    network::clocks(facts, &mut all);
    all
}

fn broker(facts: &Facts, all: &mut Vec<Finding>) {
    let broker = &facts.broker;
    if let Some(why) = &broker.unknown {
        all.push(
            Finding::fail(
                "settings",
                why,
                "the broker that is to start reads its settings itself; without it only the machine was looked at",
            )
            .command("corelog doctor --broker /path/to/corelog-broker server.properties"),
        );
        return;
    }
    let report = &broker.report;
    for error in &report.errors {
        all.push(Finding::fail(
            "settings",
            error,
            "the broker does not start with this",
        ));
    }
    for warning in &report.warnings {
        all.push(Finding::warn(
            "settings",
            warning,
            "the broker starts, but not everything is as the file says",
        ));
    }
    if let (Some(settings), true) = (&report.settings, report.errors.is_empty()) {
        let running = broker.running.as_ref();
        let running = running.map_or(String::new(), |one| format!(", running as pid {}", one.pid));
        all.push(Finding::ok(
            "settings",
            format!(
                "corelog-broker {} takes them: node.id {}, {} listeners, {} log directories{running}",
                report.version,
                settings.node_id,
                settings.listeners.len(),
                settings.log_dirs.len()
            ),
        ));
    }
}

fn io_uring(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    let disabled = facts.sysctl("kernel.io_uring_disabled").unwrap_or(0);
    match &facts.limits.io_uring {
        Some(Tried::Worked) => {
            let other_user = disabled == 1 && facts.user.as_ref().is_some_and(|user| user.uid != 0);
            if other_user {
                all.push(
                    Finding::warn(
                        "io_uring",
                        "works for who asked, but kernel.io_uring_disabled=1 forbids it to others",
                        "the broker's user gets the slower epoll backend",
                    )
                    .change(Change::Sysctl {
                        name: "kernel.io_uring_disabled",
                        value: "0".to_owned(),
                    }),
                );
            } else {
                all.push(Finding::ok("io_uring", "a ring was made and used"));
            }
        }
        Some(Tried::Failed(why)) => {
            let what = format!("not available: {why}");
            let found = if settings.io_backend == "ring" {
                Finding::fail(
                    "io_uring",
                    what,
                    "corelog.io.backend=ring is set: the broker does not start without it",
                )
            } else {
                Finding::warn(
                    "io_uring",
                    what,
                    "the broker works with epoll and threads instead, at more processor time per request",
                )
            };
            all.push(if disabled > 0 {
                found.change(Change::Sysctl {
                    name: "kernel.io_uring_disabled",
                    value: "0".to_owned(),
                })
            } else {
                found.command(
                    "in a container: allow io_uring_setup, io_uring_enter and io_uring_register in its seccomp profile \
                     (deploy/container/seccomp.json); else: a kernel of 6.1 or newer",
                )
            });
        }
        None => {}
    }
    if let Some(Limit::At(bytes)) = facts.limits.memlock
        && bytes < MEMLOCK_MIN
        && facts.kernel().is_some_and(|version| version < (5, 12))
    {
        all.push(
            Finding::warn(
                "memlock",
                format!("locked memory is limited to {}", size(bytes)),
                "before Linux 5.12 rings count against it, and are refused",
            )
            .command("LimitMEMLOCK=infinity in the systemd unit, or 'ulimit -l unlimited'"),
        );
    } else if let Some(limit) = facts.limits.memlock {
        all.push(Finding::ok("memlock", shown(limit, size)));
    }
}

fn files(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    let Some(limit) = facts.limits.nofile else {
        return;
    };
    let partitions: u64 = facts.directories.iter().map(|one| one.partitions).sum();
    let segments: u64 = facts.directories.iter().map(|one| one.segments).sum();
    let connections = settings.connections_max.unwrap_or(CONNECTIONS_ASSUMED);
    let needed = segments.max(partitions) * FILES_PER_SEGMENT + connections + FILES_OF_BROKER;
    let why_so_many =
        format!("{partitions} partitions with {segments} segments, {connections} connections");
    let whose = if facts.limits.of_broker {
        "the running broker's"
    } else {
        "this shell's"
    };
    match limit {
        Limit::At(files) if files < needed => {
            let found = format!("{whose} limit is {files}; {needed} are wanted for {why_so_many}");
            let found = if files < segments.max(partitions) + FILES_OF_BROKER {
                Finding::fail(
                    "nofile",
                    found,
                    "a broker that has no descriptor left refuses connections and cannot open segments",
                )
            } else {
                Finding::warn(
                    "nofile",
                    found,
                    "a broker that has no descriptor left refuses connections and cannot open segments",
                )
            };
            all.push(found.command(format!(
                "LimitNOFILE={} in the systemd unit, or 'ulimit -n {0}'",
                needed.next_power_of_two().max(NOFILE_SENSIBLE)
            )));
        }
        limit => all.push(Finding::ok(
            "nofile",
            format!(
                "{whose} limit is {}; about {needed} are wanted for {why_so_many}",
                shown(limit, |files| files.to_string())
            ),
        )),
    }
}

fn memory(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    let machine = &facts.machine;
    let shards = settings.shards.unwrap_or(machine.cpus);
    let wanted = settings.memory_bytes_per_shard.saturating_mul(shards) + MEMORY_OF_BROKER;
    let given = [facts.limits.cgroup_memory_bytes, machine.memory_bytes];
    if let Some(bytes) = given.into_iter().flatten().min() {
        let of = if Some(bytes) == facts.limits.cgroup_memory_bytes {
            "the control group gives"
        } else {
            "the machine has"
        };
        let what = format!(
            "{of} {}; {shards} shards keep up to {}",
            size(bytes),
            size(wanted)
        );
        if wanted > bytes {
            all.push(
                Finding::fail(
                    "memory",
                    what,
                    "the kernel kills the broker when its memory grows over what there is",
                )
                .command("set corelog.tail.bytes, corelog.cache.bytes or corelog.shards lower, or give more memory"),
            );
        } else if wanted > bytes / 2 {
            all.push(
                Finding::warn(
                    "memory",
                    what,
                    "what is not left to the page cache is read from the disk again by every consumer",
                )
                .command("set corelog.tail.bytes, corelog.cache.bytes or corelog.shards lower, or give more memory"),
            );
        } else {
            all.push(Finding::ok("memory", what));
        }
    }
    if let (Some(swap), Some(swappiness)) = (machine.swap_bytes, facts.sysctl("vm.swappiness")) {
        let what = format!("vm.swappiness={swappiness}, {} of swap", size(swap));
        if swap > 0 && swappiness > SWAPPINESS_MAX {
            all.push(
                Finding::warn(
                    "swap",
                    what,
                    "a shard whose memory was swapped out stops for as long as the disk takes, with all its partitions",
                )
                .change(Change::Sysctl {
                    name: "vm.swappiness",
                    value: "1".to_owned(),
                }),
            );
        } else {
            all.push(Finding::ok("swap", what));
        }
    }
    match facts.sysctl("vm.overcommit_memory") {
        Some(2) => all.push(
            Finding::warn(
                "overcommit",
                "vm.overcommit_memory=2: memory is refused before it is used up",
                "the broker maps its buffers before it uses them, and ends when a mapping is refused",
            )
            .change(Change::Sysctl {
                name: "vm.overcommit_memory",
                value: "0".to_owned(),
            }),
        ),
        Some(how) => all.push(Finding::ok("overcommit", format!("vm.overcommit_memory={how}"))),
        None => {}
    }
    if let Some(maps) = facts.sysctl("vm.max_map_count") {
        // Segments and indexes are not mapped here, unlike in Kafka: only buffers and rings are.
        if maps < MAPS_MIN {
            all.push(
                Finding::warn(
                    "maps",
                    format!("vm.max_map_count={maps}"),
                    "each large buffer is a mapping; one more than that ends the broker",
                )
                .change(Change::Sysctl {
                    name: "vm.max_map_count",
                    value: MAPS_MIN.to_string(),
                }),
            );
        } else {
            all.push(Finding::ok(
                "maps",
                format!("vm.max_map_count={maps} (no segment is mapped: it need not be raised)"),
            ));
        }
    }
    huge_pages(facts, all);
    dirty(facts, all);
}

fn huge_pages(facts: &Facts, all: &mut Vec<Finding>) {
    const FOLDER: &str = "/sys/kernel/mm/transparent_hugepage";
    for (name, chosen) in [
        ("enabled", &facts.machine.huge_pages),
        ("defrag", &facts.machine.huge_pages_defrag),
    ] {
        let Some(chosen) = chosen else { continue };
        let what = format!("transparent_hugepage/{name} is {chosen}");
        if chosen == "always" {
            all.push(
                Finding::warn(
                    "thp",
                    what,
                    "the kernel stops a thread to find or make a huge page: milliseconds in the middle of a request",
                )
                .change(Change::Sys {
                    paths: vec![format!("{FOLDER}/{name}")],
                    value: "madvise".to_owned(),
                }),
            );
        } else {
            all.push(Finding::ok("thp", what));
        }
    }
}

/// How much written data may wait in memory. The broker pushes its own out in small pieces; others on the machine do not.
fn dirty(facts: &Facts, all: &mut Vec<Finding>) {
    let Some(memory) = facts.machine.memory_bytes else {
        return;
    };
    let amount = |bytes: &'static str, ratio: &'static str| {
        let bytes = facts.sysctl(bytes).filter(|bytes| *bytes > 0);
        let of_ratio = || facts.sysctl(ratio).map(|percent| memory / 100 * percent);
        bytes.or_else(of_ratio)
    };
    let background = amount("vm.dirty_background_bytes", "vm.dirty_background_ratio");
    let hard = amount("vm.dirty_bytes", "vm.dirty_ratio");
    let (Some(background), Some(hard)) = (background, hard) else {
        return;
    };
    let what = format!(
        "written data is pushed out from {}, and writers wait from {}",
        size(background),
        size(hard)
    );
    if hard < DIRTY_HARD_MIN {
        all.push(
            Finding::warn(
                "dirty",
                what,
                "writes of the broker stop when so little waits for the disk",
            )
            .change(Change::Sysctl {
                name: "vm.dirty_bytes",
                value: (DIRTY_HARD_MIN * 4).to_string(),
            }),
        );
    } else if background > DIRTY_BACKGROUND_MAX {
        all.push(
            Finding::warn(
                "dirty",
                what,
                "what another process has written stands in front of the broker's syncs: gigabytes of it, for seconds",
            )
            .change(Change::Sysctl {
                name: "vm.dirty_background_bytes",
                value: (256_u64 << 20).to_string(),
            }),
        );
    } else {
        all.push(Finding::ok("dirty", what));
    }
}

fn processors(facts: &Facts, settings: &Settings, all: &mut Vec<Finding>) {
    let machine = &facts.machine;
    let shards = settings.shards.unwrap_or(machine.cpus);
    if let Some(cpus) = facts.limits.cgroup_cpus {
        let what = format!("the control group gives {cpus:.2} processors to {shards} shards");
        #[expect(clippy::cast_precision_loss, reason = "shards are few")]
        if cpus + 0.001 < shards as f64 {
            all.push(
                Finding::warn(
                    "cpu",
                    what,
                    "when the quota is used up all shards stop until the next period: up to 100 ms in every request",
                )
                .command("CPUQuota= (none) and AllowedCPUs= in the unit, --cpuset-cpus for a container, or corelog.shards"),
            );
        } else {
            all.push(Finding::ok("cpu", what));
        }
    } else if machine.cpus > 0 {
        let what = format!("{shards} shards on {} processors", machine.cpus);
        if shards > machine.cpus {
            all.push(
                Finding::warn(
                    "cpu",
                    what,
                    "shards that share a processor wait for each other",
                )
                .command(format!("corelog.shards={}", machine.cpus)),
            );
        } else {
            all.push(Finding::ok("cpu", what));
        }
    }
    if let Some(times) = facts.limits.cgroup_throttled.filter(|times| *times > 0) {
        all.push(
            Finding::warn(
                "throttled",
                format!("the running broker was held back {times} times by its processor quota"),
                "each time is up to 100 ms in which nothing is answered",
            )
            .command("CPUQuota= (none) in the unit, no --cpus for a container"),
        );
    }
    let slow: u64 = machine
        .governors
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "powersave" | "conservative" | "userspace"))
        .map(|(_, processors)| processors)
        .sum();
    if slow > 0 {
        let found = Finding::warn(
            "governor",
            format!(
                "{slow} processors save power: {}",
                names(&machine.governors)
            ),
            "a processor that has to speed up first answers small requests late",
        );
        all.push(
            if machine
                .governors_available
                .iter()
                .any(|one| one == "performance")
            {
                found.change(Change::Sys {
                    paths: (0..machine.governors.values().sum())
                        .map(|cpu| {
                            format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor")
                        })
                        .collect(),
                    value: "performance".to_owned(),
                })
            } else {
                found.command("set the power profile of the firmware to performance")
            },
        );
    } else if !machine.governors.is_empty() {
        all.push(Finding::ok("governor", names(&machine.governors)));
    }
}

fn kernel(facts: &Facts, all: &mut Vec<Finding>) {
    let machine = &facts.machine;
    if let Some(version) = facts.kernel() {
        let what = format!("Linux {}", machine.kernel);
        all.push(if version < (6, 1) {
            Finding::warn(
                "kernel",
                what,
                "before 6.1 the broker does without io_uring: more processor time per request",
            )
            .command("install a kernel of 6.1 or newer (the distribution's next release, or its backports)")
        } else if version < (6, 5) {
            Finding::ok(
                "kernel",
                format!("{what} (from 6.5 on the broker can ask what is in the page cache)"),
            )
        } else {
            Finding::ok("kernel", what)
        });
    }
    let Some(source) = &machine.clock_source else {
        return;
    };
    let what = format!("clock source {source}");
    if matches!(
        source.as_str(),
        "hpet" | "acpi_pm" | "jiffies" | "pit" | "refined-jiffies" | "xen"
    ) {
        let found = Finding::warn(
            "clocksource",
            what,
            "each reading of the clock is a system call or slower; the broker reads it for every turn of its loops",
        );
        let better = [
            "tsc",
            "kvm-clock",
            "hyperv_clocksource_tsc_page",
            "arch_sys_counter",
        ];
        let better = better
            .into_iter()
            .find(|one| machine.clock_sources.iter().any(|name| name == one));
        all.push(match better {
            Some(better) => found.change(Change::Sys {
                paths: vec![
                    "/sys/devices/system/clocksource/clocksource0/current_clocksource".to_owned(),
                ],
                value: better.to_owned(),
            }),
            None => found.command(
                "dmesg | grep -i clocksource (the kernel says why it gave the better one up; often a firmware update)",
            ),
        });
    } else {
        all.push(Finding::ok("clocksource", what));
    }
}

impl Facts {
    /// A number of `/proc/sys`.
    pub(super) fn sysctl(&self, name: &str) -> Option<u64> {
        self.machine.sysctls.get(name)?.trim().parse().ok()
    }

    fn kernel(&self) -> Option<(u32, u32)> {
        let mut numbers = self
            .machine
            .kernel
            .split(|letter: char| !letter.is_ascii_digit())
            .map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

fn names(counted: &std::collections::BTreeMap<String, u64>) -> String {
    let one = |(name, count): (&String, &u64)| format!("{name} ({count})");
    counted.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn shown(limit: Limit, number: impl Fn(u64) -> String) -> String {
    match limit {
        Limit::Unlimited => "unlimited".to_owned(),
        Limit::At(at) => number(at),
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 || tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// A segment in use holds its log and up to three of its indexes open.
const FILES_PER_SEGMENT: u64 = 4;
/// Rings, listeners, locks, checkpoints, sockets of the admin port.
const FILES_OF_BROKER: u64 = 256;
/// Where the settings give no limit.
const CONNECTIONS_ASSUMED: u64 = 4096;
/// What the unit of `deploy/` has.
const NOFILE_SENSIBLE: u64 = 1 << 20;
/// A ring with its queues and some registered memory.
const MEMLOCK_MIN: u64 = 64 << 20;
/// What the broker needs beside what its settings bound: frames under way, metadata, groups.
const MEMORY_OF_BROKER: u64 = 256 << 20;
/// The kernel's default is 60.
const SWAPPINESS_MAX: u64 = 10;
/// The kernel's default.
const MAPS_MIN: u64 = 65_530;
/// Less makes every writer wait.
const DIRTY_HARD_MIN: u64 = 64 << 20;
/// More is more than a second of most disks.
const DIRTY_BACKGROUND_MAX: u64 = 4 << 30;
