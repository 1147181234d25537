//! **Owns** `reassign-partitions`: Kafka's `kafka-reassign-partitions`.
//! **Lives on** the command's thread.
//! **Invariants** (1) What a plan would replace is printed before it is carried out, so that it can be taken back.
//! **Not here** reading and proposing plans (`plan`), the calls (`client::admin`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::list_partition_reassignments::OngoingPartitionReassignment;
use corelog_runtime::{now, sleep};
use serde_json::json;

use super::Out;
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::session::{Address, Fault, Printer, lend, read_text};
use crate::client::ApiError;
use crate::client::admin::{Admin, ConfigChange, ConfigResource};

mod plan;

use plan::{Dirs, Move, Plan};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let given = match TABLE
        .parse(arguments)
        .and_then(|given| check(&given).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let done = lend(out, |printer| async move { work(&given, &printer).await });
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) | Err(fault) => {
            out.line(&format!("Error: {}", fault.shown()));
            1
        }
    }
}

fn check(given: &Given) -> Result<(), Refusal> {
    let usage = |message: &str| Err(Refusal::Usage(message.to_owned()));
    let actions = ["generate", "execute", "verify", "cancel", "list"];
    let Some(action) = actions.iter().find(|action| given.has(action)) else {
        return usage(ONE_ACTION);
    };
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        return usage(ONE_ACTION);
    }
    if given.has("bootstrap-server") == given.has("bootstrap-controller") {
        return usage("Please specify either --bootstrap-server or --bootstrap-controller");
    }
    let (required, allowed): (&[&str], &[&str]) = match *action {
        "generate" => (
            &["topics-to-move-json-file", "broker-list"],
            &["disable-rack-aware"],
        ),
        "execute" => (
            &["reassignment-json-file"],
            &[
                "additional",
                "replica-alter-log-dirs-throttle",
                "throttle",
                "timeout",
                "disallow-replication-factor-change",
            ],
        ),
        "verify" => (&["reassignment-json-file"], &["preserve-throttles"]),
        "cancel" => (
            &["reassignment-json-file"],
            &["preserve-throttles", "timeout"],
        ),
        _ => (&[], &[]),
    };
    given.require(required)?;
    let common = [
        "bootstrap-server",
        "bootstrap-controller",
        "command-config",
        "output",
    ];
    for name in given.names() {
        let known = [required, allowed, &common, &[*action]];
        if !known.iter().any(|names| names.contains(&name)) {
            return usage(&format!(
                "Option \"[{name}]\" can't be used with action \"[{action}]\""
            ));
        }
    }
    Ok(())
}

const ONE_ACTION: &str =
    "Command must include exactly one action: --generate, --execute, --verify, --cancel, --list";

/// A refusal as Java shows it.
fn refused(call: &'static str) -> impl Fn(ApiError) -> Fault {
    move |error| Fault::from(Fault::of(call, &error).java())
}

async fn work(given: &Given, out: &Printer) -> Result<(), Fault> {
    let file =
        |name: &str| -> Result<String, Fault> { read_text(given.one(name)?.unwrap_or_default()) };
    let address = Address::of(given, "command-config")?;
    if given.has("list") {
        let admin = address.connect("listPartitionReassignments").await?;
        return list(&admin, out).await;
    }
    if given.has("generate") {
        let topics = plan::topics(&file("topics-to-move-json-file")?)?;
        let brokers = plan::brokers(given.one("broker-list")?.unwrap_or_default())?;
        let admin = address.connect("describeTopics").await?;
        return generate(given, &admin, &topics, &brokers, out).await;
    }
    let plan = Plan::read(&file("reassignment-json-file")?)?;
    if given.has("execute") {
        plan.check()?;
    }
    let admin = address.connect("describeTopics").await?;
    if given.has("execute") {
        execute(given, &admin, &plan, out).await
    } else if given.has("verify") {
        verify(given, &admin, &plan, out).await
    } else {
        cancel(given, &admin, &plan, out).await
    }
}

async fn list(admin: &Admin, out: &Printer) -> Result<(), Fault> {
    let found = admin
        .reassignments()
        .await
        .map_err(refused("listPartitionReassignments"))?;
    if out.is_json() {
        let rows = found.iter().map(|((topic, partition), it)| {
            json!({
                "topic": topic,
                "partition": partition,
                "replicas": it.replicas,
                "addingReplicas": it.adding_replicas,
                "removingReplicas": it.removing_replicas,
            })
        });
        out.json(&rows.collect());
        return Ok(());
    }
    if found.is_empty() {
        out.line("No partition reassignments found.");
        return Ok(());
    }
    out.line("Current partition reassignments:");
    for ((topic, partition), it) in found {
        let mut line = format!(
            "{topic}-{partition}: replicas: {}.",
            plan::joined(&it.replicas)
        );
        if !it.adding_replicas.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(line, " adding: {}.", plan::joined(&it.adding_replicas));
        }
        if !it.removing_replicas.is_empty() {
            let _ = write!(line, " removing: {}.", plan::joined(&it.removing_replicas));
        }
        out.line(&line);
    }
    Ok(())
}

/// The replicas of partitions as they are.
async fn replicas(
    admin: &Admin,
    topics: &BTreeSet<String>,
) -> Result<BTreeMap<(String, i32), Vec<i32>>, Fault> {
    let names: Vec<String> = topics.iter().cloned().collect();
    let mut found = BTreeMap::new();
    for (name, described) in admin
        .describe_topics(&names, 2000)
        .await
        .map_err(refused("describeTopics"))?
    {
        let described = match described {
            Err(error) if error.refusal() == Some(ErrorCode::UnknownTopicOrPartition) => {
                return Err(Fault::from(format!(
                    "org.apache.kafka.common.errors.UnknownTopicOrPartitionException: Topic {name} not found."
                )));
            }
            other => other.map_err(refused("describeTopics"))?,
        };
        for partition in described.partitions {
            found.insert((name.clone(), partition.index), partition.replicas);
        }
    }
    Ok(found)
}

/// In which directories replicas are, by partition and broker; and in which they will be.
async fn directories(
    admin: &Admin,
    brokers: &BTreeSet<i32>,
) -> Result<BTreeMap<(String, i32, i32), (String, Option<String>)>, Fault> {
    let mut found: BTreeMap<(String, i32, i32), (String, Option<String>)> = BTreeMap::new();
    for broker in brokers {
        if admin.client().metadata().broker(*broker).is_none() {
            continue;
        }
        let dirs = admin
            .log_dirs(*broker, None)
            .await
            .map_err(refused("describeLogDirs"))?;
        for dir in dirs {
            for topic in dir.topics {
                for partition in topic.partitions {
                    let at = (topic.name.clone(), partition.partition_index, *broker);
                    let entry = found.entry(at).or_default();
                    if partition.is_future_key {
                        entry.1 = Some(dir.log_dir.clone());
                    } else {
                        entry.0.clone_from(&dir.log_dir);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The plan that brings back what is.
async fn current(
    admin: &Admin,
    replicas: &BTreeMap<(String, i32), Vec<i32>>,
) -> Result<Plan, Fault> {
    let brokers: BTreeSet<i32> = replicas.values().flatten().copied().collect();
    let dirs = directories(admin, &brokers).await?;
    let moves = replicas
        .iter()
        .map(|((topic, partition), replicas)| {
            let places = replicas
                .iter()
                .map(|broker| {
                    dirs.get(&(topic.clone(), *partition, *broker))
                        .map_or("any".to_owned(), |(now, _)| now.clone())
                })
                .collect();
            Move {
                topic: topic.clone(),
                partition: *partition,
                replicas: replicas.clone(),
                dirs: Dirs::Named(places),
            }
        })
        .collect();
    Ok(Plan { moves })
}

async fn generate(
    given: &Given,
    admin: &Admin,
    topics: &[String],
    brokers: &[i32],
    out: &Printer,
) -> Result<(), Fault> {
    let topics: BTreeSet<String> = topics.iter().cloned().collect();
    let now = replicas(admin, &topics).await?;
    let racks: BTreeMap<i32, Option<String>> = admin
        .client()
        .metadata()
        .brokers()
        .filter(|broker| brokers.contains(&broker.id))
        .map(|broker| (broker.id, broker.rack.clone()))
        .collect();
    let rack_aware = !given.has("disable-rack-aware");
    let proposed = Plan::propose(&now, &racks, rack_aware, corelog_runtime::random())?;
    let current = current(admin, &now).await?;
    if out.is_json() {
        out.json(&json!({ "current": current.json(), "proposed": proposed.json() }));
        return Ok(());
    }
    out.line(&format!(
        "Current partition replica assignment\n{}\n",
        current.text()
    ));
    out.line(&format!(
        "Proposed partition reassignment configuration\n{}",
        proposed.text()
    ));
    Ok(())
}

async fn execute(given: &Given, admin: &Admin, plan: &Plan, out: &Printer) -> Result<(), Fault> {
    let under_way = admin
        .reassignments()
        .await
        .map_err(refused("listPartitionReassignments"))?;
    if !given.has("additional") && !under_way.is_empty() {
        return Err(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and \
             create a new partition assignment in addition to the existing one. The --additional flag can also be used \
             to change the throttle by resubmitting the current reassignment."
                .to_owned()
                .into(),
        );
    }
    for broker in plan.brokers() {
        if admin.client().metadata().broker(broker).is_none() {
            return Err(format!("Unknown broker id {broker}").into());
        }
    }
    let all = replicas(admin, &plan.topics()).await?;
    let now: BTreeMap<(String, i32), Vec<i32>> = all
        .into_iter()
        .filter(|(at, _)| plan.moves.iter().any(|it| it.at() == *at))
        .collect();
    let before = current(admin, &now).await?;
    out.line(&format!(
        "Current partition replica assignment\n\n{}\n\nSave this to use as the --reassignment-json-file option during rollback",
        before.text()
    ));
    let throttle: i64 = given.parsed("throttle")?.unwrap_or(-1);
    let dir_throttle: i64 = given
        .parsed("replica-alter-log-dirs-throttle")?
        .unwrap_or(-1);
    if throttle >= 0 || dir_throttle >= 0 {
        out.line(
            "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed.",
        );
        throttled(admin, plan, &now, throttle, dir_throttle, out).await?;
    }
    let wanted: Vec<(String, i32, Option<Vec<i32>>)> = plan
        .moves
        .iter()
        .map(|it| (it.topic.clone(), it.partition, Some(it.replicas.clone())))
        .collect();
    let results = admin
        .reassign(&wanted, !given.has("disallow-replication-factor-change"))
        .await
        .map_err(refused("alterPartitionReassignments"))?;
    let failed: Vec<String> = results
        .iter()
        .filter_map(|((topic, partition), result)| {
            let error = result.as_ref().err()?;
            Some(format!("{topic}-{partition}: {}", error.text()))
        })
        .collect();
    if !failed.is_empty() {
        return Err(format!("Error reassigning partition(s):\n{}", failed.join("\n")).into());
    }
    let names = plan.names();
    let plural = if names.len() == 1 { "" } else { "s" };
    out.line(&format!(
        "Successfully started partition reassignment{plural} for {}",
        names.join(",")
    ));
    let timeout = given.parsed::<u64>("timeout")?.unwrap_or(MOVE_START_MS);
    move_dirs(admin, plan, Duration::from_millis(timeout), out).await?;
    if out.is_json() {
        out.json(&json!({ "before": before.json(), "started": names }));
    }
    Ok(())
}

/// How long a move may take to begin, unless `--timeout` says otherwise.
const MOVE_START_MS: u64 = 10_000;
const MOVE_RETRY: Duration = Duration::from_millis(100);

/// Moves replicas to the directories that the plan names. One whose broker has not got it yet is asked for again until
/// `--timeout`.
async fn move_dirs(
    admin: &Admin,
    plan: &Plan,
    timeout: Duration,
    out: &Printer,
) -> Result<(), Fault> {
    let until = now().saturating_add(timeout);
    let mut started = Vec::new();
    let mut wanted = plan.dir_moves();
    loop {
        let mut waiting = BTreeMap::new();
        for (broker, moves) in wanted {
            let results = admin
                .alter_log_dirs(broker, &moves)
                .await
                .map_err(refused("alterReplicaLogDirs"))?;
            let mut later = Vec::new();
            for ((topic, partition), result) in results {
                match result {
                    Ok(()) => started.push(format!("{topic}-{partition}-{broker}")),
                    Err(ApiError::Refused {
                        code: ErrorCode::ReplicaNotAvailable,
                        ..
                    }) => later.push((topic, partition)),
                    Err(error) => {
                        // Kafka's tool leaves the reason to its stack trace.
                        out.error(&error.text());
                        return Err(format!(
                            "Failed to alter dir for {topic}-{partition}-{broker}"
                        )
                        .into());
                    }
                }
            }
            if !later.is_empty() {
                let mut again = moves;
                again.retain(|one| {
                    later
                        .iter()
                        .any(|(topic, partition)| one.0 == *topic && one.1 == *partition)
                });
                waiting.insert(broker, again);
            }
        }
        if waiting.is_empty() {
            break;
        }
        if now() >= until {
            let names: Vec<String> = waiting
                .iter()
                .flat_map(|(broker, moves)| {
                    let moves = moves.iter();
                    moves.map(move |one| format!("{}-{}-{broker}", one.0, one.1))
                })
                .collect();
            let plural = if names.len() == 1 { "" } else { "s" };
            return Err(format!(
                "Timed out before log directory move{plural} could be started for: {}",
                names.join(",")
            )
            .into());
        }
        sleep(MOVE_RETRY).await;
        wanted = waiting;
    }
    if !started.is_empty() {
        let plural = if started.len() == 1 { "" } else { "s" };
        out.line(&format!(
            "Successfully started log directory move{plural} for: {}",
            started.join(",")
        ));
    }
    Ok(())
}

async fn throttled(
    admin: &Admin,
    plan: &Plan,
    now: &BTreeMap<(String, i32), Vec<i32>>,
    throttle: i64,
    dir_throttle: i64,
    out: &Printer,
) -> Result<(), Fault> {
    let alter = refused("incrementalAlterConfigs");
    if throttle >= 0 {
        for topic in plan.topics() {
            let (leaders, followers) = plan.throttled_replicas(&topic, now);
            let changes = [
                ConfigChange::Set(LEADER_REPLICAS.to_owned(), leaders),
                ConfigChange::Set(FOLLOWER_REPLICAS.to_owned(), followers),
            ];
            admin
                .alter_configs(ConfigResource::Topic, &topic, &changes)
                .await
                .map_err(&alter)?;
        }
    }
    let mut brokers = plan.brokers();
    brokers.extend(now.values().flatten());
    for broker in brokers {
        let mut changes = Vec::new();
        if throttle >= 0 {
            changes.push(ConfigChange::Set(
                LEADER_RATE.to_owned(),
                throttle.to_string(),
            ));
            changes.push(ConfigChange::Set(
                FOLLOWER_RATE.to_owned(),
                throttle.to_string(),
            ));
        }
        if dir_throttle >= 0 {
            changes.push(ConfigChange::Set(
                DIR_RATE.to_owned(),
                dir_throttle.to_string(),
            ));
        }
        admin
            .alter_configs(ConfigResource::Broker, &broker.to_string(), &changes)
            .await
            .map_err(&alter)?;
    }
    if throttle >= 0 {
        out.line(&format!(
            "The inter-broker throttle limit was set to {throttle} B/s"
        ));
    }
    if dir_throttle >= 0 {
        out.line(&format!(
            "The replica-alter-dir throttle limit was set to {dir_throttle} B/s"
        ));
    }
    Ok(())
}

async fn verify(given: &Given, admin: &Admin, plan: &Plan, out: &Printer) -> Result<(), Fault> {
    let under_way = admin
        .reassignments()
        .await
        .map_err(refused("listPartitionReassignments"))?;
    let mut now = BTreeMap::new();
    for topic in plan.topics() {
        // What is not there has no replicas.
        if let Ok(found) = replicas(admin, &BTreeSet::from([topic])).await {
            now.extend(found);
        }
    }
    out.line("Status of partition reassignment:");
    let mut going_on = false;
    let mut rows = Vec::new();
    for it in &plan.moves {
        going_on |= under_way.contains_key(&it.at());
        out.line(&state_line(it, &under_way, &now));
        let there = now.get(&it.at()).cloned().unwrap_or_default();
        rows.push(json!({
            "topic": it.topic,
            "partition": it.partition,
            "replicas": there,
            "wantedReplicas": it.replicas,
            "inProgress": under_way.contains_key(&it.at()),
            "completed": !under_way.contains_key(&it.at()) && there == it.replicas,
        }));
    }
    let mut dir_rows = Vec::new();
    let dirs = directories(admin, &plan.brokers()).await?;
    if plan.dir_moves().is_empty() {
        // Kafka's tool prints the states of no directory.
        out.line("");
    }
    for it in &plan.moves {
        let Dirs::Named(wanted) = &it.dirs else {
            continue;
        };
        for (broker, wanted) in it.replicas.iter().zip(wanted) {
            if wanted == "any" {
                continue;
            }
            let at = (it.topic.clone(), it.partition, *broker);
            going_on |= dirs.get(&at).is_some_and(|(_, next)| next.is_some());
            dir_rows.push(json!({
                "topic": it.topic,
                "partition": it.partition,
                "broker": broker,
                "logDir": dirs.get(&at).map(|(now, _)| now),
                "futureLogDir": dirs.get(&at).and_then(|(_, next)| next.as_ref()),
                "wantedLogDir": wanted,
            }));
            out.line(&dir_line(it, *broker, wanted, dirs.get(&at)));
        }
    }
    let clears = !going_on && !given.has("preserve-throttles");
    if clears {
        clear_throttles(admin, plan, &now, out).await?;
    }
    if out.is_json() {
        out.json(&json!({
            "partitions": rows, "logDirs": dir_rows, "inProgress": going_on, "throttlesCleared": clears,
        }));
    }
    Ok(())
}

fn state_line(
    it: &Move,
    under_way: &BTreeMap<(String, i32), OngoingPartitionReassignment>,
    now: &BTreeMap<(String, i32), Vec<i32>>,
) -> String {
    let name = format!("{}-{}", it.topic, it.partition);
    if under_way.contains_key(&it.at()) {
        return format!("Reassignment of partition {name} is still in progress.");
    }
    let there = now.get(&it.at()).cloned().unwrap_or_default();
    if there == it.replicas {
        return format!("Reassignment of partition {name} is completed.");
    }
    format!(
        "There is no active reassignment of partition {name}, but replica set is {} rather than {}.",
        plan::joined(&there),
        plan::joined(&it.replicas)
    )
}

fn dir_line(
    it: &Move,
    broker: i32,
    wanted: &str,
    there: Option<&(String, Option<String>)>,
) -> String {
    let name = format!("{}-{}", it.topic, it.partition);
    match there {
        None => format!(
            "Partition {name} cannot be found in any live log directory on broker {broker}."
        ),
        Some((_, Some(next))) if next == wanted => {
            format!("Reassignment of replica {name}-{broker} is still in progress.")
        }
        Some((_, Some(next))) => format!(
            "Partition {name} on broker {broker} is being moved to log dir {next} instead of {wanted}."
        ),
        Some((now, None)) if now == wanted => {
            format!("Reassignment of replica {name}-{broker} completed successfully.")
        }
        Some((now, None)) => format!(
            "Partition {name} on broker {broker} is not being moved from log dir {now} to {wanted}."
        ),
    }
}

async fn cancel(given: &Given, admin: &Admin, plan: &Plan, out: &Printer) -> Result<(), Fault> {
    let under_way = admin
        .reassignments()
        .await
        .map_err(refused("listPartitionReassignments"))?;
    let active: Vec<(String, i32, Option<Vec<i32>>)> = plan
        .moves
        .iter()
        .filter(|it| under_way.contains_key(&it.at()))
        .map(|it| (it.topic.clone(), it.partition, None))
        .collect();
    if active.is_empty() {
        out.line("None of the specified partition reassignments are active.");
    } else {
        let results = admin
            .reassign(&active, true)
            .await
            .map_err(refused("alterPartitionReassignments"))?;
        let mut names = Vec::new();
        for ((topic, partition), result) in results {
            result.map_err(refused("alterPartitionReassignments"))?;
            names.push(format!("{topic}-{partition}"));
        }
        let plural = if names.len() == 1 { "" } else { "s" };
        out.line(&format!(
            "Successfully cancelled partition reassignment{plural} for: {}",
            names.join(",")
        ));
    }
    let dirs = directories(admin, &plan.brokers()).await?;
    let mut back: BTreeMap<i32, Vec<(String, i32, String)>> = BTreeMap::new();
    for it in &plan.moves {
        for broker in &it.replicas {
            let at = (it.topic.clone(), it.partition, *broker);
            if let Some((now, Some(_))) = dirs.get(&at) {
                let to = (at.0, at.1, now.clone());
                back.entry(*broker).or_default().push(to);
            }
        }
    }
    if back.is_empty() {
        // Kafka's tool does not end this line either.
        out.text("None of the specified partition moves are active.");
    }
    for (broker, moves) in back {
        for ((topic, partition), result) in admin
            .alter_log_dirs(broker, &moves)
            .await
            .map_err(refused("alterReplicaLogDirs"))?
        {
            result.map_err(refused("alterReplicaLogDirs"))?;
            out.line(&format!(
                "Successfully cancelled log directory move for: {topic}-{partition}-{broker}"
            ));
        }
    }
    if !given.has("preserve-throttles") {
        clear_throttles(admin, plan, &BTreeMap::new(), out).await?;
    }
    Ok(())
}

async fn clear_throttles(
    admin: &Admin,
    plan: &Plan,
    now: &BTreeMap<(String, i32), Vec<i32>>,
    out: &Printer,
) -> Result<(), Fault> {
    let _ = now;
    let alter = refused("incrementalAlterConfigs");
    let clear = |names: &[&str]| -> Vec<ConfigChange> {
        names
            .iter()
            .map(|name| ConfigChange::Delete((*name).to_owned()))
            .collect()
    };
    let mut brokers: BTreeSet<i32> = plan.brokers();
    brokers.extend(admin.client().metadata().brokers().map(|broker| broker.id));
    let many = if brokers.len() == 1 { "" } else { "s" };
    let all: Vec<i32> = brokers.iter().copied().collect();
    out.line(&format!(
        "Clearing broker-level throttles on broker{many} {}",
        plan::joined(&all)
    ));
    for broker in brokers {
        let changes = clear(&[LEADER_RATE, FOLLOWER_RATE, DIR_RATE]);
        admin
            .alter_configs(ConfigResource::Broker, &broker.to_string(), &changes)
            .await
            .map_err(&alter)?;
    }
    let topics: Vec<String> = plan.topics().into_iter().collect();
    let many = if topics.len() == 1 { "" } else { "s" };
    out.line(&format!(
        "Clearing topic-level throttles on topic{many} {}",
        topics.join(",")
    ));
    for topic in topics {
        let changes = clear(&[LEADER_REPLICAS, FOLLOWER_REPLICAS]);
        admin
            .alter_configs(ConfigResource::Topic, &topic, &changes)
            .await
            .map_err(&alter)?;
    }
    Ok(())
}

const LEADER_RATE: &str = "leader.replication.throttled.rate";
const FOLLOWER_RATE: &str = "follower.replication.throttled.rate";
const DIR_RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to move topic partitions between replicas.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    flag(
        "additional",
        "With --execute: beside a reassignment that is under way.",
    ),
    maybe(
        "bootstrap-controller",
        "String: bootstrap controller to connect to",
        "The controllers to connect to, instead of brokers.",
    ),
    maybe(
        "bootstrap-server",
        "String: Server(s) to use for bootstrapping",
        "The brokers to connect to, host:port separated by commas.",
    ),
    value(
        "broker-list",
        "String: brokerlist",
        "With --generate: the brokers to use, separated by commas.",
    ),
    flag("cancel", "Take back a reassignment that is under way."),
    value(
        "command-config",
        "String: Admin client property file",
        "A file of properties for the client.",
    ),
    flag(
        "disable-rack-aware",
        "With --generate: do not look at racks.",
    ),
    flag(
        "disallow-replication-factor-change",
        "With --execute: refuse plans that change the number of replicas.",
    ),
    flag("execute", "Carry a plan out."),
    flag("generate", "Propose a plan; nothing is changed."),
    flag("list", "List the reassignments under way."),
    flag("preserve-throttles", "Leave throttles as they are."),
    value(
        "reassignment-json-file",
        "String: manual assignment json file path",
        "The plan: {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1, \"replicas\": [1,2], \"log_dirs\": [\"any\",\"any\"]}], \"version\": 1}; log_dirs may be left out.",
    ),
    value(
        "replica-alter-log-dirs-throttle",
        "Long: replicaAlterLogDirsThrottle",
        "With --execute: bytes per second between directories of a broker.",
    ),
    value(
        "throttle",
        "Long: throttle",
        "With --execute: bytes per second between brokers.",
    ),
    value(
        "timeout",
        "Long: timeout",
        "How long to wait for replicas to be there, in milliseconds.",
    ),
    value(
        "topics-to-move-json-file",
        "String: topics to reassign json file path",
        "With --generate: {\"topics\": [{\"topic\": \"foo\"}], \"version\": 1}.",
    ),
    flag(
        "verify",
        "Say how far a plan is, and clear throttles when it is done.",
    ),
];
