//! **Owns** `corelog-perf groups`: members of groups that join, join again all at once, and then send heartbeats; what is
//! printed of it, and how members of classic groups do it.
//! **Lives on** a runtime of its own; a task per connection.
//! **Invariants** (1) The members of a group have connections of their own. (2) A connection serves one member of each of some
//! groups, as a process with several consumers does, because a machine has fewer ports than there are members to try.
//! **Not here** members of the newer protocol (`consumer`); a consumer (`corelog_tools::client::consumer`): nothing is fetched
//! or committed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::find_coordinator::FindCoordinatorRequest;
use corelog_net::wire::messages::heartbeat::HeartbeatRequest;
use corelog_net::wire::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use corelog_net::wire::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use corelog_runtime::{Config, Instant, Notify, Runtime, now, sleep, sleep_until, spawn};
use corelog_tools::cli::Out;
use corelog_tools::cli::options::{Given, Opt, Table, value};
use corelog_tools::client::{ClientConfig, Connection};
use corelog_tools::load::{Latencies, cpu_time_of, to_f64};

use crate::result::BROKER_PID;

mod consumer;

const OPTIONS: &[Opt] = &[
    value(
        "bootstrap-server",
        "address:port",
        "The broker; an IP address.",
    ),
    value(
        "protocol",
        "name",
        "classic (default), or consumer (KIP-848): the broker assigns.",
    ),
    value("groups", "count", "Groups (default 100)."),
    value("members", "count", "Members of each (default 5)."),
    value(
        "groups-per-connection",
        "count",
        "Groups of which a connection serves a member (default 1).",
    ),
    value(
        "rejoins",
        "count",
        "How often all members join again at once (default 1).",
    ),
    value(
        "seconds",
        "count",
        "How long to send heartbeats (default 30).",
    ),
    value(
        "interval-ms",
        "ms",
        "Between two heartbeats of a member (default 3000; in the consumer protocol what the broker tells).",
    ),
    value(
        "metadata-size",
        "bytes",
        "Of a subscription (default 100); classic protocol only.",
    ),
    BROKER_PID,
];

const TABLE: Table = Table {
    about: "Measures what members of consumer groups cost a broker.",
    options: OPTIONS,
};

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let given = match TABLE.parse(arguments) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let outcome = Plan::read(&given).and_then(|plan| {
        let config = Config {
            ring_entries: 4096,
            ..Config::default()
        };
        let runtime = Runtime::new(&config).map_err(|error| error.to_string())?;
        let pid = given.one("broker-pid")?.map(str::to_owned);
        runtime.run(measure(Rc::new(plan), pid))
    });
    match outcome {
        Ok(lines) => {
            for line in lines {
                out.line(&line);
            }
            0
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Classic,
    Consumer,
}

struct Plan {
    address: SocketAddr,
    groups: usize,
    members: usize,
    groups_per_connection: usize,
    rejoins: usize,
    length: Duration,
    protocol: Protocol,
    /// None: as the broker tells.
    interval: Option<Duration>,
    metadata: Bytes,
    run: u64,
}

impl Plan {
    fn read(given: &Given) -> Result<Self, String> {
        let number = |name: &str, default: usize| {
            given
                .parsed::<usize>(name)
                .map(|value| value.unwrap_or(default).max(1))
        };
        let address = given.one("bootstrap-server")?.unwrap_or("127.0.0.1:9092");
        let millis = |count: usize| Duration::from_millis(u64::try_from(count).unwrap_or(u64::MAX));
        let protocol = match given.one("protocol")? {
            None | Some("classic") => Protocol::Classic,
            Some("consumer") => Protocol::Consumer,
            Some(other) => return Err(format!("--protocol {other}: classic or consumer")),
        };
        let interval = given.parsed::<usize>("interval-ms")?;
        let interval = match protocol {
            Protocol::Classic => Some(interval.unwrap_or(3_000)),
            Protocol::Consumer => interval,
        };
        Ok(Self {
            protocol,
            address: address
                .parse()
                .map_err(|_| format!("{address} is not an IP address and a port"))?,
            groups: number("groups", 100)?,
            members: number("members", 5)?,
            groups_per_connection: number("groups-per-connection", 1)?,
            rejoins: given.parsed("rejoins")?.unwrap_or(1),
            length: millis(number("seconds", 30)? * 1_000),
            interval: interval.map(|count| millis(count.max(1))),
            metadata: Bytes::from(vec![0; number("metadata-size", 100)?]),
            run: corelog_runtime::entropy(),
        })
    }

    fn group(&self, number: usize) -> String {
        format!("perf-{:x}-{number}", self.run)
    }

    /// What members of the consumer protocol read.
    fn topic(&self) -> String {
        format!("perf-{:x}", self.run)
    }

    fn blocks(&self) -> usize {
        self.groups.div_ceil(self.groups_per_connection)
    }

    /// The groups of a block of connections.
    fn groups_of(&self, block: usize) -> std::ops::Range<usize> {
        let first = block * self.groups_per_connection;
        first..(first + self.groups_per_connection).min(self.groups)
    }
}

/// Where everybody waits for everybody.
struct Stage {
    expected: usize,
    arrived: Cell<usize>,
    failed: RefCell<Option<String>>,
    open: Cell<usize>,
    opened: Notify,
    complete: Notify,
    latencies: RefCell<Latencies>,
    errors: Cell<u64>,
    /// Between two heartbeats, as the broker last told.
    interval: Cell<Duration>,
}

impl Stage {
    /// A connection has done its part of a phase.
    fn note(&self) {
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() == self.expected {
            self.complete.notify_one();
        }
    }

    /// The same, and it waits for the next one.
    async fn arrive(&self, next: usize) {
        self.note();
        while self.open.get() < next {
            self.opened.notified().await;
        }
    }

    fn fail(&self, error: String) {
        self.failed.borrow_mut().get_or_insert(error);
        self.complete.notify_one();
    }

    /// Opens a phase, and waits until everybody has done it.
    async fn phase(&self, number: usize) -> Result<Duration, String> {
        let begin = now();
        self.arrived.set(0);
        self.open.set(number);
        self.opened.notify_all();
        self.complete.notified().await;
        match self.failed.borrow_mut().take() {
            Some(error) => Err(error),
            None => Ok(now() - begin),
        }
    }
}

struct Member {
    group: String,
    id: String,
    generation: i32,
}

async fn measure(plan: Rc<Plan>, pid: Option<String>) -> Result<Vec<String>, String> {
    let stage = Rc::new(Stage {
        expected: plan.blocks() * plan.members,
        arrived: Cell::new(0),
        failed: RefCell::new(None),
        open: Cell::new(0),
        opened: Notify::new(),
        complete: Notify::new(),
        latencies: RefCell::default(),
        errors: Cell::new(0),
        interval: Cell::new(plan.interval.unwrap_or_default()),
    });
    prepare(&plan).await?;
    for block in 0..plan.blocks() {
        for place in 0..plan.members {
            let (plan, stage) = (Rc::clone(&plan), Rc::clone(&stage));
            spawn("connection", async move {
                let done = match plan.protocol {
                    Protocol::Classic => connection(&plan, &stage, block, place).await,
                    Protocol::Consumer => consumer::connection(&plan, &stage, block, place).await,
                };
                if let Err(error) = done {
                    stage.fail(error);
                }
            })
            .detach();
        }
    }
    stage.complete.notified().await;
    if let Some(error) = stage.failed.borrow_mut().take() {
        return Err(error);
    }
    let members = plan.groups * plan.members;
    let mut lines = vec![format!(
        "{} {} groups, {members} members, {} connections",
        plan.groups,
        match plan.protocol {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        },
        stage.expected
    )];
    let first = stage.phase(1).await?;
    lines.push(format!("first join: {:.3} s", first.as_secs_f64()));
    for rejoin in 0..plan.rejoins {
        let took = stage.phase(2 + rejoin).await?;
        lines.push(format!("all join again: {:.3} s", took.as_secs_f64()));
    }
    let cpu = || {
        let (user, system) = cpu_time_of(pid.as_deref().unwrap_or("none"));
        user + system
    };
    let before = cpu();
    let took = stage.phase(2 + plan.rejoins).await?.as_secs_f64();
    let busy = cpu().saturating_sub(before).as_secs_f64();
    let latencies = stage.latencies.borrow();
    let count = latencies.count();
    lines.push(format!(
        "{count} heartbeats in {took:.1} s, every {} ms, {:.0} a second, {} refused; latency ms: {:.3} p50, {:.3} p99, {:.3} max",
        stage.interval.get().as_millis(),
        to_f64(count) / took,
        stage.errors.get(),
        latencies.quantile_ms(0.5),
        latencies.quantile_ms(0.99),
        latencies.max_ms()
    ));
    if pid.is_some() {
        lines.push(format!(
            "broker CPU {busy:.2} s, {:.1} % of one core, {:.1} us per heartbeat",
            100.0 * busy / took,
            busy * 1e6 / to_f64(count.max(1))
        ));
    }
    Ok(lines)
}

/// Waits until the broker has its group coordinators.
async fn prepare(plan: &Plan) -> Result<(), String> {
    let connection = open(plan).await?;
    let request = FindCoordinatorRequest {
        coordinator_keys: vec![plan.group(0)],
        ..FindCoordinatorRequest::default()
    };
    for _ in 0..100 {
        let response = connection.call(&request).await.map_err(text)?;
        if response.coordinators.iter().all(|one| one.error_code == 0) {
            return match plan.protocol {
                Protocol::Classic => Ok(()),
                Protocol::Consumer => consumer::prepare(plan, &connection).await,
            };
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err("the broker has no group coordinator".to_owned())
}

async fn open(plan: &Plan) -> Result<Connection, String> {
    let config = ClientConfig {
        connect_timeout: Duration::from_mins(1),
        request_timeout: Duration::from_mins(5),
        ..ClientConfig::new([plan.address.to_string()])
    };
    Connection::open(plan.address, &config).await.map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One member of each group of a block.
async fn connection(plan: &Plan, stage: &Stage, block: usize, place: usize) -> Result<(), String> {
    let wire = open(plan).await?;
    let mut members: Vec<Member> = plan
        .groups_of(block)
        .map(|group| Member {
            group: plan.group(group),
            id: String::new(),
            generation: -1,
        })
        .collect();
    for phase in 1..=1 + plan.rejoins {
        stage.arrive(phase).await;
        for member in &mut members {
            join(plan, &wire, member, phase).await?;
        }
    }
    stage.arrive(2 + plan.rejoins).await;
    let until = now() + plan.length;
    let step = plan.interval.unwrap_or_default() / u32::try_from(members.len()).unwrap_or(1).max(1);
    // Members do not beat in step.
    let number = u32::try_from(block * plan.members + place).unwrap_or(0);
    let mut due = now() + step * (number % 1_000) / 1_000;
    let mut turn = 0;
    while due < until {
        sleep_until(due).await;
        beat(stage, &wire, &members[turn], due).await?;
        turn = (turn + 1) % members.len();
        due = due + step;
    }
    stage.arrive(0).await;
    std::future::pending().await
}

async fn beat(
    stage: &Stage,
    wire: &Connection,
    member: &Member,
    due: Instant,
) -> Result<(), String> {
    let request = HeartbeatRequest {
        group_id: member.group.clone(),
        generation_id: member.generation,
        member_id: member.id.clone(),
        ..HeartbeatRequest::default()
    };
    let response = wire.call(&request).await.map_err(text)?;
    stage.latencies.borrow_mut().add(now() - due);
    if response.error_code != 0 {
        stage.errors.set(stage.errors.get() + 1);
    }
    Ok(())
}

/// Joins until an assignment is there.
async fn join(
    plan: &Plan,
    wire: &Connection,
    member: &mut Member,
    phase: usize,
) -> Result<(), String> {
    // Who comes again with nothing new is given what it has; another subscription makes another generation.
    let mut subscription = plan.metadata.to_vec();
    subscription[0] = u8::try_from(phase % 256).unwrap_or(0);
    let subscription = Bytes::from(subscription);
    loop {
        let request = JoinGroupRequest {
            group_id: member.group.clone(),
            member_id: member.id.clone(),
            session_timeout_ms: 300_000,
            rebalance_timeout_ms: 300_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: subscription.clone(),
                ..JoinGroupRequestProtocol::default()
            }],
            ..JoinGroupRequest::default()
        };
        let joined = wire.call(&request).await.map_err(text)?;
        member.id.clone_from(&joined.member_id);
        match ErrorCode::try_from(joined.error_code) {
            Ok(ErrorCode::None) => {}
            Ok(ErrorCode::MemberIdRequired) => continue,
            Ok(ErrorCode::CoordinatorLoadInProgress) => {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            error => return Err(format!("JoinGroup: {error:?}")),
        }
        member.generation = joined.generation_id;
        if joined.leader == joined.member_id && joined.members.len() != plan.members {
            return Err(format!(
                "{} began with {} members: group.initial.rebalance.delay.ms of the broker is too short",
                member.group,
                joined.members.len()
            ));
        }
        let assignment = |one: &str| SyncGroupRequestAssignment {
            member_id: one.to_owned(),
            assignment: plan.metadata.clone(),
            ..SyncGroupRequestAssignment::default()
        };
        let members = joined.members.iter();
        let sync = SyncGroupRequest {
            group_id: member.group.clone(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: joined.protocol_type.clone(),
            protocol_name: joined.protocol_name.clone(),
            assignments: members.map(|one| assignment(&one.member_id)).collect(),
            ..SyncGroupRequest::default()
        };
        let synced = wire.call(&sync).await.map_err(text)?;
        match ErrorCode::try_from(synced.error_code) {
            Ok(ErrorCode::None) => return Ok(()),
            // Another generation has begun.
            Ok(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {}
            error => return Err(format!("SyncGroup: {error:?}")),
        }
    }
}
