//! **Owns** what the doctor knows of a machine and a broker's settings: plain data, readable and writable as JSON.
//! **Lives on** no thread in particular.
//! **Invariants** (1) What could not be found out is `None` or empty, never a guess; a check of it is left out. (2) A name
//! that is missing from a recorded set of facts is one that was not found out.
//! **Not here** finding out (`gather`), judging (`findings`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that is judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// What `corelog-broker --check=json` says of the settings.
    pub broker: Broker,
    /// The user the broker is to run as.
    pub user: Option<User>,
    /// The machine.
    pub machine: Machine,
    /// What a process may use here.
    pub limits: Limits,
    /// Sockets to listen on, the admin port among them.
    pub listeners: Vec<Listener>,
    /// Log directories in the settings' order.
    pub directories: Vec<Directory>,
    /// Clocks of other nodes.
    pub clocks: Vec<Clock>,
}

/// The broker that is to start, or runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Broker {
    /// Where its binary is.
    pub binary: Option<String>,
    /// Why its settings could not be asked for.
    pub unknown: Option<String>,
    /// Its answer.
    pub report: Report,
    /// The process that listens on its ports, when one does.
    pub running: Option<Process>,
}

/// The answer of `corelog-broker --check=json`. Names that this version does not know are passed over: the broker may be
/// newer than the doctor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Its version.
    pub version: String,
    /// Why it would not start.
    pub errors: Vec<String>,
    /// What it would warn of.
    pub warnings: Vec<String>,
    /// The settings the machine must fit; `None` with errors.
    pub settings: Option<Settings>,
}

/// Settings the machine must fit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `node.id`.
    pub node_id: i32,
    /// `listeners` with `advertised.listeners`.
    pub listeners: Vec<Address>,
    /// `corelog.admin.listener`.
    pub admin_listener: Option<AdminAddress>,
    /// `host:port` of other nodes.
    pub quorum: Vec<String>,
    /// `log.dirs`.
    pub log_dirs: Vec<String>,
    /// `metadata.log.dir`.
    pub metadata_log_dir: String,
    /// `corelog.shards`; `None` is one per processor.
    pub shards: Option<u64>,
    /// `corelog.io.backend`.
    pub io_backend: String,
    /// Memory that a shard keeps for records.
    pub memory_bytes_per_shard: u64,
    /// `corelog.disk.reserve.bytes`; `None` follows from the size of the disk.
    pub disk_reserve_bytes: Option<u64>,
    /// `corelog.sync.on.ack`.
    pub sync_on_ack: bool,
    /// `max.connections`; `None` is no limit.
    pub connections_max: Option<u64>,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: u64,
    /// `socket.send.buffer.bytes`; `None` leaves it to the kernel.
    pub send_buffer_bytes: Option<u64>,
    /// `socket.receive.buffer.bytes`; `None` leaves it to the kernel.
    pub receive_buffer_bytes: Option<u64>,
}

/// A listener as set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Address {
    /// Its name.
    pub name: String,
    /// Where it binds; empty is every interface.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What clients are told; empty is the machine's name.
    pub advertised_host: String,
    /// What clients are told.
    pub advertised_port: u16,
}

/// The admin port as set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminAddress {
    /// Where it binds.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Nobody has set it.
    pub is_default: bool,
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// Name, or the number again.
    pub name: String,
    /// Number.
    pub uid: u32,
    /// Groups, the first one first.
    pub gids: Vec<u32>,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program's name.
    pub name: String,
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// Processors that a process may run on here.
    pub cpus: u64,
    /// `MemTotal`.
    pub memory_bytes: Option<u64>,
    /// `SwapTotal`.
    pub swap_bytes: Option<u64>,
    /// Contents of `/proc/sys`, by dotted name.
    pub sysctls: BTreeMap<String, String>,
    /// `/sys/kernel/mm/transparent_hugepage/enabled`, the chosen word.
    pub huge_pages: Option<String>,
    /// The same of `defrag`.
    pub huge_pages_defrag: Option<String>,
    /// The clock source in use.
    pub clock_source: Option<String>,
    /// Those that could be.
    pub clock_sources: Vec<String>,
    /// Whether something keeps the clock right.
    pub clock_synchronised: Option<bool>,
    /// Governors in use, and how many processors each has.
    pub governors: BTreeMap<String, u64>,
    /// Those that could be.
    pub governors_available: Vec<String>,
    /// `/proc/sys/net/ipv4/ip_local_port_range`.
    pub local_ports: Option<(u16, u16)>,
    /// `ip_local_reserved_ports`, as ranges.
    pub reserved_ports: Vec<(u16, u16)>,
}

/// What a process may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Whose limits these are: the running broker's, or those of who asks.
    pub of_broker: bool,
    /// Open files, hard; `None` inside is unlimited.
    pub nofile: Option<Limit>,
    /// Locked memory, soft.
    pub memlock: Option<Limit>,
    /// A ring could be made: `None` inside; or why not.
    pub io_uring: Option<Tried>,
    /// Processors the control group gives.
    pub cgroup_cpus: Option<f64>,
    /// How often the running broker was held back by it.
    pub cgroup_throttled: Option<u64>,
    /// Bytes of memory the control group gives.
    pub cgroup_memory_bytes: Option<u64>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// None at all.
    Unlimited,
    /// So much.
    At(u64),
}

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// It worked.
    Worked,
    /// It did not, and why.
    Failed(String),
}

impl Tried {
    /// From the trial's result.
    pub fn of<T, E: std::fmt::Display>(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Worked,
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

/// A socket to listen on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// The listener's name; `admin` for the admin port.
    pub name: String,
    /// Where it binds; empty is every interface.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The default, which nobody has set.
    pub is_default: bool,
    /// Addresses of the host.
    pub addresses: Vec<String>,
    /// Whether the port could be bound.
    pub bound: Option<Tried>,
    /// Who listens there, when it is taken.
    pub holder: Option<Process>,
    /// What clients are told; `None` for the admin port.
    pub advertised: Option<Advertised>,
}

/// An advertised address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Advertised {
    /// Host, the machine's name filled in.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Addresses of the host.
    pub addresses: Vec<String>,
    /// Whether a connection from here arrives at the listener.
    pub reached: Option<Tried>,
}

/// A log directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Directory {
    /// As set.
    pub path: String,
    /// Where it is, or the nearest folder above it that exists.
    pub found: Option<String>,
    /// It exists.
    pub exists: bool,
    /// It is a folder.
    pub is_folder: bool,
    /// Why it cannot be looked at.
    pub unreadable: Option<String>,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permissions, the lower twelve bits.
    pub mode: u32,
    /// Device number; equal for directories of one file system.
    pub device: u64,
    /// The file system's type.
    pub file_system: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<String>,
    /// What is mounted.
    pub mount_source: Option<String>,
    /// Options, those of the mount and of the file system.
    pub mount_options: Vec<String>,
    /// Bytes of the file system.
    pub bytes: u64,
    /// Free, for who is not root.
    pub bytes_free: u64,
    /// Files the file system can hold; 0 when it does not say.
    pub files: u64,
    /// More that it can hold.
    pub files_free: u64,
    /// The disk beneath.
    pub disk: Option<Disk>,
    /// Times of small writes with a sync, measured.
    pub syncs: Option<Syncs>,
    /// Partitions in it.
    pub partitions: u64,
    /// Segments in it.
    pub segments: u64,
    /// It has nothing but what a file system makes.
    pub is_empty: bool,
    /// `meta.properties`; `None` when there is none.
    pub meta: Option<Meta>,
    /// Why `meta.properties` cannot be understood.
    pub meta_damaged: Option<String>,
}

/// `meta.properties`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the file's names")]
pub struct Meta {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: i32,
    /// `directory.id`.
    pub directory_id: Option<String>,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Disk {
    /// Its kernel name.
    pub name: String,
    /// It turns, or the kernel believes so.
    pub rotational: Option<bool>,
    /// The scheduler in use.
    pub scheduler: Option<String>,
    /// Those that could be.
    pub schedulers: Vec<String>,
    /// `read_ahead_kb`.
    pub read_ahead_kb: Option<u64>,
    /// `write back` or `write through`.
    pub write_cache: Option<String>,
}

/// Measured syncs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Syncs {
    /// Microseconds.
    Measured {
        /// How many.
        count: u64,
        /// The middle one.
        median_us: u64,
        /// The slowest.
        max_us: u64,
    },
    /// Why there are none.
    Failed(String),
    /// The first did not come back in so many milliseconds.
    Stuck(u64),
}

/// The clock of another node, or why it could not be asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {
    /// Who was asked.
    pub address: String,
    /// How far its quorum's leader is ahead of this machine, milliseconds.
    pub ahead_ms: Option<i64>,
    /// Half the time the question took, milliseconds: as exact is the figure.
    pub uncertain_ms: i64,
    /// Why it is not known.
    pub unknown: Option<String>,
}
