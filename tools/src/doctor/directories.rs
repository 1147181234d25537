//! **Owns** the judgement of log directories: whose they are, what they lie on, how fast that is.
//! **Lives on** no thread in particular.
//! **Invariants** those of `findings`.
//! **Not here** whether what lies in them is whole (`check`).

use std::collections::BTreeMap;

use super::facts::{Directory, Disk, Facts, Settings, Syncs};
use super::finding::{Change, Finding};
use super::findings::size;

/// All of them, one by one and among each other.
pub(super) fn directories(facts: &Facts, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    let mut disks: Vec<&str> = Vec::new();
    for directory in &facts.directories {
        if !place(facts, directory, all) {
            continue;
        }
        file_system(directory, all);
        space(directory, settings, all);
        syncs(directory, settings, all);
        if let Some(disk) = &directory.disk
            && !disks.contains(&disk.name.as_str())
        {
            disks.push(&disk.name);
            look_at_disk(disk, all);
        }
    }
    together(facts, settings, all);
}

/// It is there, and the broker may write to it. Without that nothing else is worth a look.
fn place(facts: &Facts, directory: &Directory, all: &mut Vec<Finding>) -> bool {
    let path = &directory.path;
    let owner = facts.user.as_ref().map_or("corelog", |user| &user.name);
    if let Some(why) = &directory.unreadable {
        all.push(
            Finding::fail(
                "directory",
                format!("{path}: {why}"),
                "the broker leaves a directory out whose disk fails, with all partitions in it",
            )
            .command(format!("ls -ld '{path}'; dmesg | tail")),
        );
        return false;
    }
    if directory.exists && !directory.is_folder {
        all.push(
            Finding::fail(
                "directory",
                format!("{path} is no directory"),
                "the broker does not start",
            )
            .command(format!(
                "mv '{path}' '{path}.old' && install -d -o {owner} -m 750 '{path}'"
            )),
        );
        return false;
    }
    let writable = facts.user.as_ref().is_none_or(|user| {
        user.uid == 0
            || if directory.uid == user.uid {
                directory.mode & 0o300 == 0o300
            } else if user.gids.contains(&directory.gid) {
                directory.mode & 0o030 == 0o030
            } else {
                directory.mode & 0o003 == 0o003
            }
    });
    if !writable {
        let found = directory.found.as_deref().unwrap_or(path);
        let what = if directory.exists {
            format!("{path} is not writable for {owner}")
        } else {
            format!("{path} does not exist, and {owner} may not make it in {found}")
        };
        let command = if directory.exists {
            format!("chown -R {owner}: '{path}'")
        } else {
            format!("install -d -o {owner} -m 750 '{path}'")
        };
        all.push(
            Finding::fail(
                "directory",
                what,
                "the broker cannot write there, and does not start",
            )
            .command(command),
        );
        return directory.exists;
    }
    if directory.exists && directory.mode & 0o002 != 0 && directory.mode & 0o1000 == 0 {
        all.push(
            Finding::warn(
                "directory",
                format!(
                    "{path} is writable for everybody (mode {:04o})",
                    directory.mode
                ),
                "any user of the machine can change or remove records",
            )
            .command(format!("chmod o-rwx '{path}'")),
        );
    } else if directory.exists {
        all.push(Finding::ok(
            "directory",
            format!(
                "{path}: {} partitions, {} segments",
                directory.partitions, directory.segments
            ),
        ));
    } else {
        all.push(Finding::ok(
            "directory",
            format!("{path} does not exist yet; the broker makes it"),
        ));
    }
    true
}

fn file_system(directory: &Directory, all: &mut Vec<Finding>) {
    let Some(kind) = &directory.file_system else {
        return;
    };
    let path = &directory.path;
    let mount = directory.mount_point.as_deref().unwrap_or("/");
    let what = format!("{path} lies on {kind}, mounted at {mount}");
    match kind.as_str() {
        "ext4" | "xfs" => all.push(Finding::ok("filesystem", what)),
        "tmpfs" | "ramfs" => all.push(
            Finding::fail("filesystem", what, "it is memory: everything is gone when the machine stops")
                .command("set log.dirs to a directory on a disk"),
        ),
        "overlay" | "aufs" => all.push(
            Finding::fail(
                "filesystem",
                what,
                "it is a container's own layer: everything is gone with the container, and writes are slow",
            )
            .command("mount a volume there: docker run -v corelog-data:/var/lib/corelog …"),
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" | "fuse" | "virtiofs" => all.push(
            Finding::fail(
                "filesystem",
                what,
                "locks, renames and syncs do not hold over a network as the broker relies on; a lost connection stops it",
            )
            .command("set log.dirs to a directory on a local disk"),
        ),
        kind if kind.starts_with("fuse.") => all.push(
            Finding::fail(
                "filesystem",
                what,
                "what a sync means there is up to a program; most say yes too early",
            )
            .command("set log.dirs to a directory on a local disk"),
        ),
        "btrfs" | "bcachefs" | "zfs" => all.push(
            Finding::warn(
                "filesystem",
                what,
                "it copies on write: every sync writes more, and logs are scattered over the disk",
            )
            .command("use XFS or ext4 for log.dirs (mkfs.xfs)"),
        ),
        _ => all.push(
            Finding::warn("filesystem", what, "the broker is tested on ext4 and XFS only")
                .command("use XFS or ext4 for log.dirs (mkfs.xfs)"),
        ),
    }
    mount_options(directory, kind, mount, all);
}

fn mount_options(directory: &Directory, kind: &str, mount: &str, all: &mut Vec<Finding>) {
    let has = |wanted: &str| {
        directory
            .mount_options
            .iter()
            .any(|option| option == wanted)
    };
    let path = &directory.path;
    let remount =
        |options: &str| format!("mount -o remount,{options} '{mount}' (and in /etc/fstab)");
    let before = all.len();
    if has("ro") {
        all.push(
            Finding::fail(
                "mount",
                format!("{path}: {mount} is mounted read-only"),
                "nothing can be written; file systems turn themselves so after an error of the disk",
            )
            .command(format!("dmesg | grep -i error; {}", remount("rw"))),
        );
    }
    if let Some(option) = ["nobarrier", "barrier=0"].into_iter().find(|one| has(one)) {
        all.push(
            Finding::fail(
                "mount",
                format!("{path}: {mount} is mounted with {option}"),
                "syncs do not reach the disk: a power cut takes records that were confirmed",
            )
            .command(remount("barrier")),
        );
    }
    if has("discard") && kind != "btrfs" {
        all.push(
            Finding::warn(
                "mount",
                format!("{path}: {mount} is mounted with discard"),
                "each deleted segment is discarded on the disk at once; on many disks that stands in front of producers' \
                 syncs",
            )
            .command(format!(
                "{}; systemctl enable --now fstrim.timer",
                remount("nodiscard")
            )),
        );
    }
    if has("sync") || has("dirsync") {
        all.push(
            Finding::warn(
                "mount",
                format!("{path}: {mount} is mounted with sync"),
                "every write waits for the disk, also where nobody asked for it",
            )
            .command(remount("async")),
        );
    }
    if has("strictatime") || !(has("noatime") || has("relatime")) {
        all.push(
            Finding::warn(
                "mount",
                format!("{path}: {mount} is mounted without noatime"),
                "every read of a segment is a write of its inode",
            )
            .command(remount("noatime")),
        );
    }
    if kind == "ext4" && has("errors=continue") {
        all.push(
            Finding::warn(
                "mount",
                format!("{path}: {mount} is mounted with errors=continue"),
                "a damaged file system goes on being written; the broker would notice a read-only one",
            )
            .command(remount("errors=remount-ro")),
        );
    }
    if kind == "ext4" && has("data=writeback") {
        all.push(
            Finding::warn(
                "mount",
                format!("{path}: {mount} is mounted with data=writeback"),
                "after a power cut files may end in other files' old data; recovery cuts it off, but has more to scan",
            )
            .command(format!("data=ordered in /etc/fstab, then umount '{mount}' && mount '{mount}'")),
        );
    }
    if all.len() == before {
        all.push(Finding::ok(
            "mount",
            format!("{path}: {}", directory.mount_options.join(",")),
        ));
    }
}

fn space(directory: &Directory, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    if directory.bytes == 0 {
        return;
    }
    let path = &directory.path;
    // The broker's own default: 2 % of the disk, at most 1 GiB.
    let reserve = settings
        .and_then(|settings| settings.disk_reserve_bytes)
        .unwrap_or_else(|| (directory.bytes / 50).min(1 << 30));
    let free = directory.bytes_free;
    let percent = free.saturating_mul(100) / directory.bytes;
    let what = format!(
        "{path}: {} free of {} ({percent} %), the reserve is {}",
        size(free),
        size(directory.bytes),
        size(reserve)
    );
    let command = || {
        format!(
            "du -xh '{path}' | sort -h | tail; or shorter retention: kafka-configs --alter --add-config retention.ms=…"
        )
    };
    if free < reserve {
        all.push(
            Finding::fail(
                "space",
                what,
                "below the reserve producers are refused until there is room again",
            )
            .command(command()),
        );
    } else if free < reserve.saturating_mul(4) || percent < PERCENT_FREE_MIN {
        all.push(
            Finding::warn("space", what, "below the reserve producers are refused")
                .command(command()),
        );
    } else {
        all.push(Finding::ok("space", what));
    }
    if directory.files > 0 && directory.files_free < directory.files / 20 {
        all.push(
            Finding::warn(
                "inodes",
                format!(
                    "{path}: {} of {} files are left on the file system",
                    directory.files_free, directory.files
                ),
                "a segment is up to four files; without inodes none can be made, however much space is free",
            )
            .command(format!("df -i '{path}'")),
        );
    }
}

fn syncs(directory: &Directory, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    let path = &directory.path;
    match &directory.syncs {
        Some(Syncs::Measured {
            count,
            median_us,
            max_us,
        }) => {
            let what = format!(
                "{path}: a sync takes {} in the middle, {} at most (of {count})",
                time(*median_us),
                time(*max_us)
            );
            let on_disk = !matches!(directory.file_system.as_deref(), Some("tmpfs" | "ramfs"));
            let acknowledged = settings.is_none_or(|settings| settings.sync_on_ack);
            if on_disk && *median_us < SYNC_US_BELIEVABLE {
                all.push(
                    Finding::warn(
                        "sync",
                        what,
                        "no disk is so fast: somebody says yes before it is written (a hypervisor's cache=unsafe, \
                         eatmydata, a mount without barriers)",
                    )
                    .command("ask for cache=none or cache=writeback at the hypervisor"),
                );
            } else if acknowledged && *median_us > SYNC_US_SLOW {
                all.push(
                    Finding::warn(
                        "sync",
                        what,
                        "each acks=all produce waits for one; clients with few requests under way see it as their latency",
                    )
                    .command("a disk with power-loss protection (or a controller with a battery) syncs in tens of microseconds"),
                );
            } else {
                all.push(Finding::ok("sync", what));
            }
        }
        Some(Syncs::Stuck(ms)) => all.push(
            Finding::fail(
                "sync",
                format!("{path}: a sync of 4 KiB did not come back in {ms} ms"),
                "the disk hangs or is drowned in writes; the broker's acks=all producers wait as long",
            )
            .command("iostat -x 1; dmesg | tail"),
        ),
        Some(Syncs::Failed(why)) => all.push(
            Finding::fail(
                "sync",
                format!("{path}: a small file could not be written and synced: {why}"),
                "the broker takes a directory out of use whose disk answers so",
            )
            .command("dmesg | tail"),
        ),
        None => {}
    }
}

fn look_at_disk(disk: &Disk, all: &mut Vec<Finding>) {
    let name = &disk.name;
    if let Some(scheduler) = &disk.scheduler {
        let turns = disk.rotational == Some(true);
        let virtual_disk = name.starts_with("vd") || name.starts_with("xvd");
        // A hypervisor's disk says that it turns when nobody told it otherwise.
        let good: &[&str] = if name.starts_with("nvme") {
            &["none"]
        } else if turns && !virtual_disk {
            &["mq-deadline", "bfq"]
        } else {
            &["none", "mq-deadline"]
        };
        let what = format!("{name}: scheduler {scheduler}");
        if good.contains(&scheduler.as_str()) {
            all.push(Finding::ok("scheduler", what));
        } else {
            let better = good
                .iter()
                .find(|one| disk.schedulers.iter().any(|name| name == *one));
            let found = Finding::warn(
                "scheduler",
                what,
                "it costs processor time per write and holds small syncs back behind large writes",
            );
            all.push(match better {
                Some(better) => found.change(Change::Sys {
                    paths: vec![format!("/sys/block/{name}/queue/scheduler")],
                    value: (*better).to_owned(),
                }),
                None => found,
            });
        }
    }
    if let Some(kib) = disk.read_ahead_kb {
        let what = format!("{name}: read_ahead_kb {kib}");
        // Segments are read without the kernel's reading ahead; what is left are indexes, recovery and other programs.
        if kib > READ_AHEAD_KB_MAX {
            all.push(
                Finding::warn(
                    "readahead",
                    what,
                    "a lookup in an index that is not in memory reads that much; the broker itself reads ahead as needed",
                )
                .change(Change::Sys {
                    paths: vec![format!("/sys/block/{name}/queue/read_ahead_kb")],
                    value: "128".to_owned(),
                }),
            );
        } else {
            all.push(Finding::ok("readahead", what));
        }
    }
}

/// What the directories say of each other.
fn together(facts: &Facts, settings: Option<&Settings>, all: &mut Vec<Finding>) {
    let formatted = |one: &&Directory| one.meta.is_some();
    let directories = &facts.directories;
    let any_formatted = directories.iter().any(|one| one.meta.is_some());
    let mut clusters: BTreeMap<&str, &str> = BTreeMap::new();
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    let before = all.len();
    for directory in directories {
        let path = &directory.path;
        if let Some(why) = &directory.meta_damaged {
            all.push(
                Finding::fail(
                    "meta",
                    format!("{path}/meta.properties: {why}"),
                    "nothing says whose directory it is: the broker does not start",
                )
                .command("write it again: version=1, cluster.id, node.id and directory.id as the other directories have them"),
            );
            continue;
        }
        let Some(meta) = &directory.meta else {
            if any_formatted && directory.exists {
                all.push(
                    Finding::warn(
                        "meta",
                        format!("{path} has no meta.properties, other directories have"),
                        "a new disk, or a disk that is not mounted; the broker leaves an empty directory alone while one of \
                         its directories is missing",
                    )
                    .command(format!("findmnt --target '{path}'")),
                );
            }
            continue;
        };
        if let Some(settings) = settings
            && settings.node_id != meta.node_id
        {
            all.push(
                Finding::fail(
                    "meta",
                    format!(
                        "{path} belongs to node {}, the settings say node.id={}",
                        meta.node_id, settings.node_id
                    ),
                    "the broker does not start on another node's data",
                )
                .command(format!(
                    "node.id={} in the settings, or other log.dirs",
                    meta.node_id
                )),
            );
        }
        clusters.entry(&meta.cluster_id).or_insert(path);
        if let Some(id) = &meta.directory_id
            && let Some(other) = ids.insert(id, path)
        {
            all.push(
                Finding::fail(
                    "meta",
                    format!("{path} and {other} have the same directory.id {id}"),
                    "one is a copy of the other; which holds a partition's newest records cannot be told",
                )
                .command(format!("take the copy out of log.dirs, or compare: diff -r '{path}' '{other}'")),
            );
        }
    }
    if clusters.len() > 1 {
        let both: Vec<String> = clusters
            .iter()
            .map(|(cluster, path)| format!("{path} to {cluster}"))
            .collect();
        all.push(
            Finding::fail(
                "meta",
                format!(
                    "the directories belong to different clusters: {}",
                    both.join(", ")
                ),
                "the broker does not start on data of two clusters",
            )
            .command("take those of the other cluster out of log.dirs"),
        );
    }
    if all.len() == before
        && let Some((cluster, _)) = clusters.first_key_value()
    {
        let count = directories.iter().filter(formatted).count();
        all.push(Finding::ok(
            "meta",
            format!(
                "{count} of {} directories belong to cluster {cluster}",
                directories.len()
            ),
        ));
    }
    let mut devices: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for directory in directories.iter().filter(|one| one.device != 0) {
        devices
            .entry(directory.device)
            .or_default()
            .push(&directory.path);
    }
    for paths in devices.values().filter(|paths| paths.len() > 1) {
        all.push(
            Finding::warn(
                "jbod",
                format!("{} lie on one file system", paths.join(" and ")),
                "partitions are spread over directories, not over disks: one is as good as several, and if the disk fails \
                 all are gone",
            )
            .command("findmnt; mount a disk at each, or set one log.dirs"),
        );
    }
}

fn time(us: u64) -> String {
    if us < 1000 {
        format!("{us} µs")
    } else {
        format!("{}.{} ms", us / 1000, us % 1000 / 100)
    }
}

const PERCENT_FREE_MIN: u64 = 10;
/// The fastest disk with power-loss protection takes about ten for the way there and back.
const SYNC_US_BELIEVABLE: u64 = 5;
/// A disk without power-loss protection takes one to five milliseconds, one that turns about ten.
const SYNC_US_SLOW: u64 = 15_000;
const READ_AHEAD_KB_MAX: u64 = 1024;
