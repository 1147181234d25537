//! **Owns** the form of a result: where, with what, by which build something was measured, and what it cost.
//! **Lives on** the command's thread.
//! **Invariants** (1) What is printed for people is in the JSON too. (2) Fields are only ever added: `report` reads old results.
//! **Not here** measuring (`mixed`, `corelog_tools::load`), drawing (`report`).

use std::time::Duration;

use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Opt, value};
use corelog_tools::load::{Latencies, MB, cpu_time_of, to_f64};
use serde::Serialize;
use serde_json::Value;

/// The machine a result was measured on.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// What the processor calls itself.
    pub processor: String,
    /// Processors that this process may use.
    pub processors: usize,
    /// Memory in bytes.
    pub memory: u64,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let name = rustix::system::uname();
        let memory = rustix::system::sysinfo();
        Self {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            processor: line_of("/proc/cpuinfo", "model name").unwrap_or_default(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.totalram * u64::from(memory.mem_unit),
        }
    }
}

/// The commit of this build or, for want of one, of the run (`CORELOG_COMMIT`).
pub fn commit() -> String {
    option_env!("CORELOG_COMMIT").map_or_else(
        || std::env::var("CORELOG_COMMIT").unwrap_or_else(|_| "unknown".to_owned()),
        str::to_owned,
    )
}

/// What a run cost this process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// Seconds in user space.
    pub user_seconds: f64,
    /// Seconds in the kernel.
    pub system_seconds: f64,
    /// Nanoseconds of both per record.
    pub nanoseconds_per_record: f64,
    /// Records per second of processor time.
    pub records_per_cpu_second: f64,
}

impl Cost {
    /// Of a run with so many records.
    pub fn new((user, system): (Duration, Duration), records: u64) -> Self {
        let seconds = (user + system).as_secs_f64();
        Self {
            user_seconds: user.as_secs_f64(),
            system_seconds: system.as_secs_f64(),
            nanoseconds_per_record: seconds * 1e9 / to_f64(records.max(1)),
            records_per_cpu_second: if seconds > 0.0 {
                to_f64(records) / seconds
            } else {
                0.0
            },
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

/// A broker on this machine whose processor time is looked at.
#[derive(Clone, Debug)]
pub struct Watched {
    pid: String,
    begin: (Duration, Duration),
}

impl Watched {
    /// The process of `--broker-pid`, from now on.
    pub fn new(pid: &str) -> Result<Self, String> {
        if pid.parse::<u32>().is_err() || status(pid).is_none() {
            return Err(format!(
                "--broker-pid {pid}: no such process on this machine"
            ));
        }
        Ok(Self {
            pid: pid.to_owned(),
            begin: cpu_time_of(pid),
        })
    }

    /// Counts from now on.
    pub fn begin(&mut self) {
        self.begin = cpu_time_of(&self.pid);
    }

    /// User and system time so far.
    pub fn so_far(&self) -> (Duration, Duration) {
        let (user, system) = cpu_time_of(&self.pid);
        (
            user.saturating_sub(self.begin.0),
            system.saturating_sub(self.begin.1),
        )
    }

    /// What it cost to move so many bytes with so many requests in so long.
    pub fn cost(
        &self,
        (user, system): (Duration, Duration),
        bytes: u64,
        requests: u64,
        length: Duration,
    ) -> BrokerCost {
        let both = (user + system).as_secs_f64();
        let per = |count: f64| (count > 0.0).then(|| both / count);
        let gigabytes = to_f64(bytes) / 1e9;
        BrokerCost {
            pid: self.pid.clone(),
            user_seconds: user.as_secs_f64(),
            system_seconds: system.as_secs_f64(),
            cores: both / length.as_secs_f64().max(f64::MIN_POSITIVE),
            cpu_seconds_per_gb: per(gigabytes),
            user_seconds_per_gb: (gigabytes > 0.0).then(|| user.as_secs_f64() / gigabytes),
            system_seconds_per_gb: (gigabytes > 0.0).then(|| system.as_secs_f64() / gigabytes),
            microseconds_per_request: per(to_f64(requests)).map(|seconds| seconds * 1e6),
            resident_bytes: resident(&self.pid),
        }
    }
}

/// What a run cost the broker.
#[derive(Clone, Debug, Serialize)]
pub struct BrokerCost {
    /// Its process.
    pub pid: String,
    /// Seconds in user space.
    pub user_seconds: f64,
    /// Seconds in the kernel.
    pub system_seconds: f64,
    /// Of one core, on average.
    pub cores: f64,
    /// Both, per 10⁹ bytes of values that producers sent and consumers got.
    pub cpu_seconds_per_gb: Option<f64>,
    /// Of that in user space.
    pub user_seconds_per_gb: Option<f64>,
    /// Of that in the kernel.
    pub system_seconds_per_gb: Option<f64>,
    /// Both, per produce and fetch request.
    pub microseconds_per_request: Option<f64>,
    /// At the end.
    pub resident_bytes: u64,
}

impl BrokerCost {
    /// For people.
    pub fn line(&self) -> String {
        let or_dash =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        format!(
            "broker CPU {:.2} s user, {:.2} s system, {:.2} cores, {} CPU-s/GB ({} user, {} system), {} us per request, {:.0} MB resident",
            self.user_seconds,
            self.system_seconds,
            self.cores,
            or_dash(self.cpu_seconds_per_gb),
            or_dash(self.user_seconds_per_gb),
            or_dash(self.system_seconds_per_gb),
            or_dash(self.microseconds_per_request),
            to_f64(self.resident_bytes) / MB
        )
    }
}

/// Quantiles, and the whole curve.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quantiles {
    /// How many there are.
    pub count: u64,
    /// Milliseconds, as all below.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 95 %.
    pub p95: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// The largest.
    pub max: f64,
    /// (percentile, milliseconds), as far as there are enough values to tell.
    pub curve: Vec<(f64, f64)>,
}

impl Quantiles {
    /// Of these latencies; none of none.
    pub fn of(latencies: &Latencies) -> Option<Self> {
        let count = latencies.count();
        if count == 0 {
            return None;
        }
        let at = |quantile: f64| latencies.quantile_ms(quantile);
        let curve = CURVE
            .iter()
            // A quantile with no value above it says nothing.
            .filter(|percentile| (100.0 - **percentile) / 100.0 * to_f64(count) >= 0.999)
            .map(|percentile| (*percentile, at(percentile / 100.0)))
            .collect();
        Some(Self {
            count,
            mean: latencies.mean_ms(),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: latencies.max_ms(),
            curve,
        })
    }

    /// For people.
    pub fn line(&self, what: &str) -> String {
        format!(
            "{what} ms: {:.3} p50, {:.3} p90, {:.3} p99, {:.3} p99.9, {:.3} p99.99, {:.3} max",
            self.p50, self.p90, self.p99, self.p999, self.p9999, self.max
        )
    }
}

/// One side of a load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flow {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Requests.
    pub requests: u64,
    /// A second.
    pub records_per_second: f64,
    /// A second, as Kafka's tools count megabytes (2²⁰).
    pub megabytes_per_second: f64,
    /// What there is of latencies.
    pub latency_ms: Option<Quantiles>,
}

impl Flow {
    /// Over so long.
    pub fn new(
        records: u64,
        bytes: u64,
        requests: u64,
        length: Duration,
        latencies: &Latencies,
    ) -> Self {
        let seconds = length.as_secs_f64().max(f64::MIN_POSITIVE);
        Self {
            records,
            bytes,
            requests,
            records_per_second: to_f64(records) / seconds,
            megabytes_per_second: to_f64(bytes) / MB / seconds,
            latency_ms: Quantiles::of(latencies),
        }
    }
}

/// What happened in a second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Second {
    /// Seconds since the load began, at its end.
    pub at: f64,
    /// Whether it counts.
    pub is_measured: bool,
    /// What was produced.
    pub produced: Moment,
    /// What was consumed.
    pub consumed: Moment,
}

/// One side of a second.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Moment {
    /// A second.
    pub records_per_second: f64,
    /// A second.
    pub megabytes_per_second: f64,
    /// Milliseconds.
    pub p50: Option<f64>,
    /// Milliseconds.
    pub p99: Option<f64>,
    /// Milliseconds.
    pub max: Option<f64>,
}

impl Moment {
    /// Over so long.
    pub fn new(records: u64, bytes: u64, length: Duration, latencies: &Latencies) -> Self {
        let seconds = length.as_secs_f64().max(f64::MIN_POSITIVE);
        let has = latencies.count() > 0;
        Self {
            records_per_second: to_f64(records) / seconds,
            megabytes_per_second: to_f64(bytes) / MB / seconds,
            p50: has.then(|| latencies.quantile_ms(0.5)),
            p99: has.then(|| latencies.quantile_ms(0.99)),
            max: has.then(|| latencies.max_ms()),
        }
    }
}

/// What all results say first.
#[derive(Clone, Debug, Serialize)]
pub struct Origin {
    /// The subcommand.
    pub command: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Of the program.
    pub version: &'static str,
    /// Of the repository.
    pub commit: String,
    /// When it ended, milliseconds since the epoch.
    pub at_ms: i64,
    /// Where.
    pub machine: Machine,
}

impl Origin {
    /// Of this process, now.
    pub fn new(command: &str, arguments: &[String]) -> Self {
        Self {
            command: command.to_owned(),
            arguments: arguments.to_vec(),
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            at_ms: corelog_runtime::wall_clock(),
            machine: Machine::this(),
        }
    }
}

/// Prints a result as one line of JSON, or writes it to a file.
pub fn put(result: &impl Serialize, file: Option<&str>, out: &mut Out) -> Result<(), String> {
    let text = serde_json::to_string(result).map_err(|error| error.to_string())?;
    match file {
        None => {
            out.line(&text);
            Ok(())
        }
        Some(path) =>
        {
            #[expect(
                clippy::disallowed_methods,
                reason = "a command writes its user's file when all is over"
            )]
            std::fs::write(path, text + "\n")
                .map_err(|error| format!("cannot write {path}: {error}"))
        }
    }
}

/// Reads a file of the user's.
pub fn text_of(path: &str) -> Result<String, String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a command reads its user's file before anything runs"
    )]
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    String::from_utf8(bytes).map_err(|error| format!("{path} is not text: {error}"))
}

/// A result that was kept.
pub fn load(path: &str) -> Result<Value, String> {
    serde_json::from_str(&text_of(path)?)
        .map_err(|error| format!("{path} is not a result: {error}"))
}

/// Flags of ours beside those of Kafka's tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnFlags {
    /// `--broker-pid`.
    pub broker_pid: Option<String>,
    /// `--json`.
    pub json: Option<String>,
}

/// The row of `--json` where the options are ours alone.
pub const JSON_FILE: Opt = value("json", "file", "Also write the result there.");
/// The row of `--broker-pid`.
pub const BROKER_PID: Opt = value(
    "broker-pid",
    "pid",
    "A broker on this machine whose processor time to show.",
);

/// [`take_flags`], and the process that `--broker-pid` names.
pub fn own_flags(arguments: &[String]) -> Result<(Vec<String>, OwnFlags, Option<Watched>), String> {
    let (rest, own) = take_flags(arguments)?;
    let watched = own.broker_pid.as_deref().map(Watched::new).transpose()?;
    Ok((rest, own, watched))
}

/// Takes our flags out of arguments; the rest is for the parser of Kafka's.
pub fn take_flags(arguments: &[String]) -> Result<(Vec<String>, OwnFlags), String> {
    let (mut rest, mut own) = (Vec::new(), OwnFlags::default());
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let to = match name {
            "--broker-pid" => &mut own.broker_pid,
            "--json" => &mut own.json,
            _ => {
                rest.push(argument.clone());
                continue;
            }
        };
        let value = inline.or_else(|| all.next().cloned());
        *to = Some(value.ok_or_else(|| format!("{name} wants a value"))?);
    }
    Ok((rest, own))
}

fn status(pid: &str) -> Option<String> {
    text_of(&format!("/proc/{pid}/status")).ok()
}

/// Memory in bytes that a process has resident; 0 for one that is not there.
pub fn resident(pid: &str) -> u64 {
    status(pid)
        .and_then(|status| {
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS:"))?
                .to_owned();
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .unwrap_or(0)
        * 1024
}

fn line_of(path: &str, name: &str) -> Option<String> {
    let text = text_of(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Percentiles of a curve: finer towards the end, as a plot over 1/(1−p) wants them.
const CURVE: &[f64] = &[
    0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 96.0, 97.0,
    98.0, 98.5, 99.0, 99.25, 99.5, 99.75, 99.9, 99.925, 99.95, 99.975, 99.99, 99.9925, 99.995,
    99.9975, 99.999, 99.9995, 99.9999,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corelog_tools::load::Latencies;

    use super::{Quantiles, Watched, take_flags};

    #[test]
    fn a_curve_ends_where_there_are_no_values() {
        let mut latencies = Latencies::default();
        assert!(Quantiles::of(&latencies).is_none());
        for ms in 1..=1_000 {
            latencies.add(Duration::from_millis(ms));
        }
        let quantiles = Quantiles::of(&latencies).unwrap();
        assert_eq!(quantiles.count, 1_000);
        assert!((quantiles.p99 - 990.0).abs() < 1.0, "{}", quantiles.p99);
        let (last, at) = *quantiles.curve.last().unwrap();
        assert!(
            (last - 99.9).abs() < 1e-9 && (at - 999.0).abs() < 2.0,
            "{last} {at}"
        );
        assert!(
            quantiles
                .curve
                .windows(2)
                .all(|pair| pair[0].1 <= pair[1].1)
        );
    }

    #[test]
    fn our_flags_are_told_from_kafkas() {
        let arguments = [
            "--topic",
            "t",
            "--json=r.json",
            "--broker-pid",
            "7",
            "--num-records",
            "1",
        ];
        let (rest, own) = take_flags(&arguments.map(str::to_owned)).unwrap();
        assert_eq!(rest, ["--topic", "t", "--num-records", "1"]);
        assert_eq!(
            (own.json.as_deref(), own.broker_pid.as_deref()),
            (Some("r.json"), Some("7"))
        );
        assert!(
            take_flags(&["--json".to_owned()])
                .unwrap_err()
                .contains("--json")
        );
    }

    #[test]
    fn a_process_that_is_not_there_is_refused_by_name() {
        assert!(Watched::new("no").unwrap_err().contains("--broker-pid no"));
        assert!(Watched::new(&std::process::id().to_string()).is_ok());
    }
}
