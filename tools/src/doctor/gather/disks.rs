//! **Owns** finding out about log directories: owners, mounts, space, disks, what a sync takes.
//! **Lives on** the command's thread; a disk that does not answer is waited for [`SYNC_TIME`] on a thread of its own.
//! **Invariants** (1) The one file that is written, [`PROBE`], is removed; a broker passes over such a name.
//! **Not here** whether what was found is good.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use corelog_storage::checkpoint::{MetaProperties, name};
use corelog_storage::segment::name::{Folder, parse_folder};
use rustix::fs::{Mode, OFlags};

use super::super::facts::{Directory, Disk, Meta, Settings, Syncs};
use super::{chosen, read, word};
use crate::check::Progress;

/// Looks at each.
pub(super) fn directories(settings: &Settings, progress: &dyn Progress) -> Vec<Directory> {
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    progress.begin(settings.log_dirs.len() as u64);
    let look = |path: &String| {
        let found = directory(path, &mounts);
        progress.advance(1);
        found
    };
    settings.log_dirs.iter().map(look).collect()
}

fn directory(path: &str, mounts: &str) -> Directory {
    let mut directory = Directory {
        path: path.to_owned(),
        ..Directory::default()
    };
    // What does not exist yet will lie where its nearest folder lies.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    let found = absolute.ancestors().find_map(|place| {
        let place = place.canonicalize().ok()?;
        let metadata = place.metadata().ok()?;
        Some((place, metadata))
    });
    let Some((place, metadata)) = found else {
        directory.unreadable = Some("nothing of its path can be looked at".to_owned());
        return directory;
    };
    directory.exists = absolute.canonicalize().is_ok_and(|whole| whole == place);
    if let (false, Err(error)) = (directory.exists, absolute.symlink_metadata())
        && error.kind() != std::io::ErrorKind::NotFound
    {
        directory.unreadable = Some(error.to_string());
    }
    directory.is_folder = metadata.is_dir();
    directory.uid = metadata.uid();
    directory.gid = metadata.gid();
    directory.mode = metadata.mode() & 0o7777;
    directory.device = metadata.dev();
    directory.found = Some(place.display().to_string());
    if let Some(mount) = Mount::of(mounts, &place) {
        directory.file_system = Some(mount.kind);
        directory.mount_point = Some(mount.point);
        directory.disk = disk(&mount.device, &mount.source);
        directory.mount_source = Some(mount.source);
        directory.mount_options = mount.options;
    }
    if let Ok(space) = rustix::fs::statvfs(&place) {
        directory.bytes = space.f_blocks.saturating_mul(space.f_frsize);
        directory.bytes_free = space.f_bavail.saturating_mul(space.f_frsize);
        directory.files = space.f_files;
        directory.files_free = space.f_favail;
    }
    if directory.exists && directory.is_folder {
        contents(&place, &mut directory);
        directory.syncs = Some(syncs(place));
    }
    directory
}

/// Partitions, segments, `meta.properties`.
#[expect(
    clippy::disallowed_methods,
    reason = "the doctor looks at directories that a broker may have open"
)]
fn contents(place: &Path, directory: &mut Directory) {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) => {
            directory.unreadable = Some(error.to_string());
            return;
        }
    };
    directory.is_empty = true;
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        if file == "lost+found" || file == PROBE {
            continue;
        }
        directory.is_empty = false;
        if !matches!(parse_folder(file), Ok(Folder::Live(_)))
            || directory.segments > SEGMENTS_COUNTED_MAX
        {
            continue;
        }
        directory.partitions += 1;
        let segments = std::fs::read_dir(entry.path())
            .into_iter()
            .flatten()
            .flatten();
        let segments =
            segments.filter(|one| one.path().extension().is_some_and(|end| end == "log"));
        directory.segments += segments.count() as u64;
    }
    match std::fs::read_to_string(place.join(name::META_PROPERTIES)) {
        Ok(text) => match MetaProperties::parse(text.as_bytes()) {
            Ok(meta) => {
                directory.meta = Some(Meta {
                    cluster_id: meta.cluster_id,
                    node_id: meta.node_id,
                    directory_id: meta
                        .directory_id
                        .map(|id| corelog_net::wire::Uuid(id.0).to_string()),
                });
            }
            Err(error) => directory.meta_damaged = Some(error.to_string()),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => directory.meta_damaged = Some(error.to_string()),
    }
}

/// A line of `mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    point: String,
    kind: String,
    source: String,
    options: Vec<String>,
}

impl Mount {
    /// The mount that a path lies on: of those whose point is the longest beginning of it, the last, which hides others.
    fn of(mounts: &str, path: &Path) -> Option<Self> {
        let mut best: Option<Self> = None;
        for mount in mounts.lines().filter_map(Self::parse) {
            let longer = best
                .as_ref()
                .is_none_or(|best| mount.point.len() >= best.point.len());
            if path.starts_with(&mount.point) && longer {
                best = Some(mount);
            }
        }
        best
    }

    /// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [OPTIONAL…] - KIND SOURCE OPTIONS`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let mut options: Vec<String> = Vec::new();
        for option in left.get(5)?.split(',').chain(right.get(2)?.split(',')) {
            // The mount's own word stands before that of the file system: `ro` beside `rw` is read-only.
            let contrary = option == "rw" && options.iter().any(|one| one == "ro");
            if !contrary && options.iter().all(|one| one != option) {
                options.push(option.to_owned());
            }
        }
        if options.iter().any(|one| one == "ro") {
            options.retain(|one| one != "rw");
        }
        Some(Self {
            device: (*left.get(2)?).to_owned(),
            point: unescaped(left.get(4)?),
            kind: (*right.first()?).to_owned(),
            source: unescaped(right.get(1)?),
            options,
        })
    }
}

/// `mountinfo` writes blanks as `\040`.
fn unescaped(text: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let mut text = text.to_owned();
    for (from, to) in escapes {
        text = text.replace(from, to);
    }
    text
}

/// The disk of a device; a partition's is the one around it.
fn disk(device: &str, source: &str) -> Option<Disk> {
    let by_number = Path::new("/sys/dev/block").join(device).canonicalize();
    // File systems of several devices have a number of their own.
    let by_name = || {
        let name = Path::new(source).canonicalize().ok()?;
        Path::new("/sys/class/block")
            .join(name.file_name()?)
            .canonicalize()
            .ok()
    };
    let mut folder = by_number.ok().or_else(by_name)?;
    if folder.join("partition").exists() {
        folder.pop();
    }
    let name = folder.file_name()?.to_str()?.to_owned();
    let queue = |file: &str| word(&folder.join("queue").join(file).display().to_string());
    let schedulers = queue("scheduler");
    Some(Disk {
        rotational: queue("rotational").map(|text| text == "1"),
        scheduler: schedulers.as_deref().and_then(chosen),
        schedulers: schedulers
            .unwrap_or_default()
            .split_whitespace()
            .map(|one| one.trim_matches(['[', ']']).to_owned())
            .collect(),
        read_ahead_kb: queue("read_ahead_kb").and_then(|text| text.parse().ok()),
        write_cache: queue("write_cache"),
        name,
    })
}

/// Writes 4 KiB and syncs, again and again, for a bounded time.
fn syncs(place: PathBuf) -> Syncs {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name("sync probe".to_owned());
    // A thread that hangs in a sync ends with the process, or when the disk answers.
    let started = thread.spawn(move || sender.send(measure(&place)));
    if let Err(error) = started {
        return Syncs::Failed(error.to_string());
    }
    let begun = corelog_runtime::Instant::fresh();
    match receiver.recv_timeout(SYNC_TIME * 2) {
        Ok(Ok(mut times)) => {
            times.sort_unstable();
            Syncs::Measured {
                count: times.len() as u64,
                median_us: times.get(times.len() / 2).copied().unwrap_or(0),
                max_us: times.last().copied().unwrap_or(0),
            }
        }
        Ok(Err(error)) => Syncs::Failed(error.to_string()),
        Err(_) => {
            let waited = corelog_runtime::Instant::fresh().duration_since(begun);
            Syncs::Stuck(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX))
        }
    }
}

fn measure(place: &Path) -> rustix::io::Result<Vec<u64>> {
    let path = place.join(PROBE);
    let flags =
        OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600))?;
    let block = [0x5a_u8; 4096];
    let begun = corelog_runtime::Instant::fresh();
    let mut times = Vec::new();
    let mut outcome = Ok(());
    while times.len() < SYNCS_MAX
        && corelog_runtime::Instant::fresh().duration_since(begun) < SYNC_TIME
    {
        let start = corelog_runtime::Instant::fresh();
        outcome = rustix::io::pwrite(&file, &block, times.len() as u64 * 4096)
            .and_then(|_| rustix::fs::fdatasync(&file));
        if outcome.is_err() {
            break;
        }
        let took = corelog_runtime::Instant::fresh().duration_since(start);
        times.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    // Also after a failure: a file of this name is of no use to anybody.
    let removed = rustix::fs::unlink(&path);
    outcome.and(removed).map(|()| times)
}

/// A name that no log directory uses.
const PROBE: &str = ".corelog-doctor.tmp";
const SYNCS_MAX: usize = 60;
const SYNC_TIME: Duration = Duration::from_millis(1500);
/// More files are not counted: the answer is the same.
const SEGMENTS_COUNTED_MAX: u64 = 2_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,errors=remount-ro
30 27 259:1 / /data/disk\\0401 ro,noatime shared:5 master:1 - xfs /dev/nvme0n1p1 rw,attr2
31 27 259:2 / /data rw,noatime - xfs /dev/nvme1n1 rw
";

    #[test]
    fn a_path_lies_on_the_innermost_mount() {
        let of = |path: &str| Mount::of(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(of("/database").source, "/dev/vda");
        assert_eq!(of("/data/x").source, "/dev/nvme1n1");
        let inner = of("/data/disk 1/log");
        assert_eq!(
            (inner.kind.as_str(), inner.device.as_str()),
            ("xfs", "259:1")
        );
        assert_eq!(inner.options, ["ro", "noatime", "attr2"]);
        assert_eq!(
            of("/").options,
            ["rw", "relatime", "discard", "errors=remount-ro"]
        );
    }

    #[test]
    fn what_is_no_mount_is_passed_over() {
        for line in ["", "1 2 3", " - ", "1 2 0:1 / /x rw - ext4", "a - b c d"] {
            assert_eq!(Mount::parse(line), None, "{line}");
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its folder")]
    fn syncs_are_measured_and_leave_nothing() {
        let place = std::env::temp_dir().join(format!("corelog-doctor-{}", std::process::id()));
        std::fs::create_dir_all(place.join("t-0")).unwrap();
        std::fs::write(place.join("t-0/00000000000000000000.log"), b"").unwrap();
        std::fs::write(place.join("meta.properties"), b"version=1\nnode.id=x\n").unwrap();
        let found = directory(&place.display().to_string(), MOUNTS);
        let Some(Syncs::Measured {
            count,
            median_us,
            max_us,
        }) = found.syncs
        else {
            panic!("{:?}", found.syncs);
        };
        assert!(
            count > 0 && median_us <= max_us,
            "{count} {median_us} {max_us}"
        );
        assert!(!place.join(PROBE).exists());
        assert_eq!((found.partitions, found.segments), (1, 1));
        assert!(found.meta_damaged.is_some(), "{found:?}");
        assert!(found.exists && !found.is_empty);
        let missing = directory(&place.join("a/b").display().to_string(), MOUNTS);
        assert!(!missing.exists && missing.syncs.is_none());
        assert_eq!(missing.unreadable, None);
        std::fs::remove_dir_all(place).unwrap();
    }
}
