//! A broker as a child process, and how to wait for it.
//!
//! **Owns** the process, its directory and its log output.
//! **Lives on** the test's thread.
//! **Invariants**
//! 1. A broker that was started here is ended here, by its process id, also when the test fails.
//! 2. A failing test prints the end of the broker's log; a passing one leaves no directory behind.
//!
//! **Not here**: what is said to the broker (`client`).
//!
//! `CORELOG_TEST_BACKEND=readiness` runs the brokers on the readiness driver.
//! `CORELOG_TEST_BINARY=path` runs another binary, such as one of a release build.
//! `CORELOG_TEST_SERVER=host:port` runs no broker at all: the tests talk to the server that is
//! there, say a real Kafka, to see whether it keeps the same promises. Tests that stop their broker
//! or need settings of their own fail then.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;

/// How long a test waits for what must happen. Generous: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running broker, or one that was stopped and can be started again.
pub(crate) struct Broker {
    child: Option<Child>,
    addr: SocketAddr,
    dir: PathBuf,
    overrides: Vec<String>,
    environment: Vec<(String, String)>,
    /// A settings file in the place of the harness's own settings.
    settings: Option<PathBuf>,
}

impl Broker {
    /// Starts a broker with two shards on an empty directory.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a broker with settings of its own.
    pub(crate) fn with(overrides: &[&str]) -> Self {
        if let Ok(server) = std::env::var("CORELOG_TEST_SERVER") {
            assert!(overrides.is_empty(), "this test needs a broker of its own");
            return Self {
                child: None,
                addr: server.parse().expect("CORELOG_TEST_SERVER is host:port"),
                dir: PathBuf::new(),
                overrides: Vec::new(),
                environment: Vec::new(),
                settings: None,
            };
        }
        Self::on(|_| {}, overrides)
    }

    /// Starts a broker with a settings file and nothing else; `text` gets the directory for the data and the address.
    pub(crate) fn with_settings(text: impl FnOnce(&Path, SocketAddr) -> String) -> Self {
        let mut broker = Self::unstarted(&[]);
        let file = broker.dir.join("server.properties");
        fs::write(&file, text(&broker.data(), broker.addr)).expect("a file can be written");
        broker.settings = Some(file);
        broker.launch();
        broker
    }

    /// Starts a broker on a directory that `prepare` fills; it gets the path of the data.
    pub(crate) fn on(prepare: impl FnOnce(&Path), overrides: &[&str]) -> Self {
        let mut broker = Self::unstarted(overrides);
        prepare(&broker.data());
        broker.launch();
        broker
    }

    /// A broker on an empty directory that does not run yet.
    pub(crate) fn unstarted(overrides: &[&str]) -> Self {
        let addr = free_address();
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
            "it-{}-{}",
            std::process::id(),
            addr.port()
        ));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("the test's directory can be made");
        Self {
            child: None,
            addr,
            dir,
            overrides: overrides.iter().map(|&one| one.to_owned()).collect(),
            environment: Vec::new(),
            settings: None,
        }
    }

    /// Starts the process on the directory as it is, and waits until it answers.
    pub(crate) fn launch(&mut self) {
        self.begin();
        eventually("the broker answers Metadata", || {
            if let Some(status) = self.exited() {
                panic!("the broker ended at its start: {status}\n{}", self.log());
            }
            Client::try_connect(self.addr).is_some_and(|mut client| client.is_ready())
        });
    }

    /// Starts the process on the directory as it is, and does not wait.
    pub(crate) fn begin(&mut self) {
        assert!(self.child.is_none(), "the broker runs");
        self.child = Some(self.spawn(&self.log_path()));
    }

    /// Starts the process on the directory as it is; it must end. Returns what it said.
    pub(crate) fn refused(&self) -> String {
        assert!(self.child.is_none(), "the broker runs");
        self.second()
    }

    /// Starts a second process on the directory; it must end. Returns what it said.
    pub(crate) fn second(&self) -> String {
        let log = self.dir.join("second.log");
        let _ = fs::remove_file(&log);
        let mut child = self.spawn(&log);
        let mut status = None;
        eventually("the broker ends at its start", || {
            status = child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(status.is_some_and(|status| !status.success()));
        fs::read_to_string(&log).unwrap_or_default()
    }

    fn spawn(&self, log: &Path) -> Child {
        let binary = std::env::var("CORELOG_TEST_BINARY")
            .unwrap_or_else(|_| env!("CARGO_BIN_EXE_corelog-broker").to_owned());
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file can be opened");
        let mut command = Command::new(binary);
        if let Some(file) = &self.settings {
            command.arg(file);
            return self.run(command, log);
        }
        let mut set = |setting: String| {
            command.arg("--override").arg(setting);
        };
        set(format!("listeners=PLAINTEXT://{}", self.addr));
        set(format!("log.dirs={}", self.data().display()));
        set("corelog.shards=2".to_owned());
        set("offsets.topic.num.partitions=4".to_owned());
        set("corelog.admin.listener=".to_owned());
        set("group.initial.rebalance.delay.ms=0".to_owned());
        set("group.min.session.timeout.ms=1000".to_owned());
        if let Ok(backend) = std::env::var("CORELOG_TEST_BACKEND")
            && !backend.is_empty()
        {
            set(format!("corelog.io.backend={backend}"));
        }
        for setting in &self.overrides {
            set(setting.clone());
        }
        self.run(command, log)
    }

    fn run(&self, mut command: Command, log: fs::File) -> Child {
        command
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log)
            .spawn()
            .expect("the broker can be started")
    }

    /// A new connection.
    pub(crate) fn client(&self) -> Client {
        Client::try_connect(self.addr).expect("the broker accepts connections")
    }

    /// `host:port`, as clients are configured.
    pub(crate) fn bootstrap(&self) -> String {
        self.addr.to_string()
    }

    /// The listener's address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The directory of the logs.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// A file for the test beside the data.
    fn log_path(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// What the broker wrote to its standard output and error, of all its runs.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the broker runs").id()
    }

    /// Settings of the next start, beside those it has.
    pub(crate) fn set(&mut self, setting: &str) {
        self.overrides.push(setting.to_owned());
    }

    /// A variable of the environment of the next start.
    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Whether the process has ended, and how.
    pub(crate) fn exited(&mut self) -> Option<String> {
        let child = self.child.as_mut().expect("the broker was started");
        let status = child.try_wait().expect("a child can be waited for")?;
        Some(status.to_string())
    }

    /// Asks the broker to stop and waits until it has; it must say that all went well.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status, "exit status: 0", "of a stop\n{}", self.log());
    }

    /// Ends the broker without a warning.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Starts it again, after a clean stop in even rounds and after a kill in odd ones; a client of what runs then.
    pub(crate) fn next_round(&mut self, round: usize) -> Client {
        if round.is_multiple_of(2) {
            self.restart();
        } else {
            self.kill();
            self.launch();
        }
        self.client()
    }

    /// A clean stop and a start.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("a child can be signalled");
    }

    fn wait(&mut self) -> String {
        let mut status = None;
        eventually("the broker ends", || {
            status = self.exited();
            status.is_some()
        });
        self.child = None;
        status.expect("it has ended")
    }

    /// A number of `/proc/PID/status` in KiB, such as `VmRSS`.
    pub(crate) fn memory_kib(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number
            .and_then(|number| number.parse().ok())
            .expect("a number of KiB")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let from = log.len().saturating_sub(LOG_SHOWN);
            let from = (from..log.len())
                .find(|&at| log.is_char_boundary(at))
                .unwrap_or(0);
            eprintln!(
                "--- the broker's log, in {} ---\n{}",
                self.dir.display(),
                &log[from..]
            );
        } else if !self.dir.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Waits until the condition holds; fails after [`PATIENCE`].
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// An address nobody listens on, below the ports that the kernel gives to outgoing connections: it stays free until the
/// broker binds it, and over restarts. A port that the kernel chose may be taken by any connection meanwhile, also by the
/// test's own that asks whether somebody listens there yet.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 600).expect("below 600") * 20;
    loop {
        let port = PORT_FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % PORT_COUNT;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}

/// How much of a broker's log a failing test shows, in bytes.
const LOG_SHOWN: usize = 6000;

const PORT_FIRST: u16 = 20_000;
const PORT_COUNT: u16 = 12_000;
