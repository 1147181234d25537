//! **Owns** `metadata-quorum`: Kafka's `kafka-metadata-quorum`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** the calls (`client::admin`).

use std::fmt::Write as _;

use corelog_net::wire::messages::describe_quorum::{Node, ReplicaState, ResponsePartitionData};
use serde_json::json;

use super::argparse::{Arg, Args, Complaint, Kind, Parser, Sub, arg};
use super::properties::Properties;
use super::session::{Address, Fault, Printer, ended, lend, load, objects, read_text, tabbed};
use super::{Out, time, uuid};
use crate::client::admin::Admin;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    let args = match PARSER.parse(arguments, out) {
        Ok(args) => args,
        Err(code) => return code,
    };
    let done = lend(out, |printer| async move { work(&args, &printer).await });
    ended(done, out)
}

async fn work(args: &Args, out: &Printer) -> Result<u8, Fault> {
    let error = |message: &str| Err(Fault::from(message.to_owned()));
    let (status, replication) = (args.has("status"), args.has("replication"));
    if args.command == "describe" {
        if status && replication {
            return error(
                "Only one of --status or --replication should be specified with describe sub-command",
            );
        }
        if !status && !replication {
            return error(
                "One of --status or --replication must be specified with describe sub-command",
            );
        }
        if status && args.has("human-readable") {
            return error("The option --human-readable is only supported along with --replication");
        }
    }
    let controllers = args.has("bootstrap-controller");
    let bootstrap = args
        .one("bootstrap-server")
        .or(args.one("bootstrap-controller"))
        .unwrap_or_default();
    let address = Address::new(bootstrap, controllers, args.one("command-config"))?;
    match args.command {
        "describe" => {
            let admin = address.connect("describeMetadataQuorum").await?;
            let (quorum, nodes) = admin
                .describe_quorum()
                .await
                .map_err(|error| Fault::of("describeMetadataQuorum", &error))?;
            if replication {
                show_replication(&quorum, args, out);
            } else {
                let cluster = admin
                    .describe_cluster(false)
                    .await
                    .map_err(|error| Fault::of("listNodes", &error))?;
                show_status(&cluster.cluster_id, &quorum, &nodes, args, out);
            }
        }
        "add-controller" => add(args, &address, out).await?,
        _ => remove(args, &address, out).await?,
    }
    Ok(0)
}

fn show_status(
    cluster: &str,
    quorum: &ResponsePartitionData,
    nodes: &[Node],
    args: &Args,
    out: &Printer,
) {
    let leader = quorum
        .current_voters
        .iter()
        .find(|voter| voter.replica_id == quorum.leader_id);
    let followers = || {
        quorum
            .current_voters
            .iter()
            .filter(|voter| voter.replica_id != quorum.leader_id)
    };
    let lag = leader.map_or(0, |leader| {
        let last = followers().map(|it| it.log_end_offset).min();
        last.map_or(0, |last| leader.log_end_offset - last)
    });
    let lag_ms = leader.map_or(-1, |leader| {
        match followers().map(|it| it.last_caught_up_timestamp).min() {
            None => 0,
            Some(-1) => -1,
            Some(last) => leader.last_caught_up_timestamp - last,
        }
    });
    let described = |replica: &ReplicaState, with_endpoints: bool| {
        let mut text = format!("{{\"id\": {}", replica.replica_id);
        if !replica.replica_directory_id.is_zero() {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                ", \"directoryId\": \"{}\"",
                replica.replica_directory_id
            );
        }
        let node = nodes.iter().find(|node| node.node_id == replica.replica_id);
        if let Some(node) = node.filter(|node| with_endpoints && !node.listeners.is_empty()) {
            let endpoints: Vec<String> = node
                .listeners
                .iter()
                .map(|it| format!("\"{}://{}:{}\"", it.name, it.host, it.port))
                .collect();
            // Writing to a String cannot fail.
            let _ = write!(text, ", \"endpoints\": [{}]", endpoints.join(", "));
        }
        text.push('}');
        text
    };
    let list = |replicas: &[ReplicaState], with_endpoints: bool| {
        let all: Vec<String> = replicas
            .iter()
            .map(|it| described(it, with_endpoints))
            .collect();
        format!("[{}]", all.join(", "))
    };
    let voters = list(&quorum.current_voters, true);
    let observers = list(&quorum.observers, false);
    if args.json() {
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
        out.json(&json!({
            "clusterId": cluster,
            "leaderId": quorum.leader_id,
            "leaderEpoch": quorum.leader_epoch,
            "highWatermark": quorum.high_watermark,
            "maxFollowerLag": lag,
            "maxFollowerLagTimeMs": lag_ms,
            "currentVoters": parsed(&voters),
            "currentObservers": parsed(&observers),
        }));
        return;
    }
    for (name, text) in [
        ("ClusterId:", cluster.to_owned()),
        ("LeaderId:", quorum.leader_id.to_string()),
        ("LeaderEpoch:", quorum.leader_epoch.to_string()),
        ("HighWatermark:", quorum.high_watermark.to_string()),
        ("MaxFollowerLag:", lag.to_string()),
        ("MaxFollowerLagTimeMs:", lag_ms.to_string()),
        ("CurrentVoters:", voters),
        ("CurrentObservers:", observers),
    ] {
        out.line(&format!("{name:<24}{text}"));
    }
}

fn show_replication(quorum: &ResponsePartitionData, args: &Args, out: &Printer) {
    let now = time::now_ms();
    let end = quorum
        .current_voters
        .iter()
        .find(|voter| voter.replica_id == quorum.leader_id)
        .map_or(0, |leader| leader.log_end_offset);
    let at = |ms: i64| match ms {
        -1 => "-1".to_owned(),
        ms if args.has("human-readable") => format!("{} ms ago", now - ms),
        ms => ms.to_string(),
    };
    let row = |replica: &ReplicaState, status: &str| {
        vec![
            replica.replica_id.to_string(),
            replica.replica_directory_id.to_string(),
            replica.log_end_offset.to_string(),
            (end - replica.log_end_offset).to_string(),
            at(replica.last_fetch_timestamp),
            at(replica.last_caught_up_timestamp),
            status.to_owned(),
        ]
    };
    let mut rows = Vec::new();
    for (is_leader, status) in [(true, "Leader"), (false, "Follower")] {
        rows.extend(
            quorum
                .current_voters
                .iter()
                .filter(|it| (it.replica_id == quorum.leader_id) == is_leader)
                .map(|it| row(it, status)),
        );
    }
    rows.extend(quorum.observers.iter().map(|it| row(it, "Observer")));
    let header = [
        "NodeId",
        "DirectoryId",
        "LogEndOffset",
        "Lag",
        "LastFetchTimestamp",
        "LastCaughtUpTimestamp",
        "Status",
    ];
    if args.json() {
        out.json(&objects(&header, &rows));
    } else {
        tabbed(&header, &rows, out);
    }
}

async fn remove(args: &Args, address: &Address, out: &Printer) -> Result<(), Fault> {
    let id: i32 = args.number("controller-id").unwrap_or(-1);
    if id < 0 {
        return Err(format!("Invalid negative --controller-id: {id}").into());
    }
    let directory = args.one("controller-directory-id").unwrap_or_default();
    let directory = uuid(directory)
        .map_err(|why| format!("Failed to parse --controller-directory-id: {why}"))?;
    if args.has("dry-run") {
        out.line(&format!(
            "DRY RUN of removing  KRaft controller {id} with directory id {directory}"
        ));
        return Ok(());
    }
    let admin: Admin = address.connect("removeRaftVoter").await?;
    admin
        .remove_voter(id, directory)
        .await
        .map_err(|error| Fault::of("removeRaftVoter", &error))?;
    out.line(&format!(
        "Removed KRaft controller {id} with directory id {directory}"
    ));
    Ok(())
}

async fn add(args: &Args, address: &Address, out: &Printer) -> Result<(), Fault> {
    let Some(path) = args.one("command-config") else {
        return Err(
            "You must supply the configuration file of the controller you are adding when using add-controller."
                .to_owned()
                .into(),
        );
    };
    let properties = load(path)?;
    let id = property(&properties, "node.id")?
        .parse()
        .map_err(|_| Fault::from("node.id is not a number".to_owned()))?;
    let folder = properties
        .get("metadata.log.dir")
        .or_else(|| properties.get("log.dirs"))
        .or_else(|| properties.get("log.dir"))
        .and_then(|list| list.split(',').next())
        .ok_or_else(|| Fault::from("No log.dirs found in the configuration file.".to_owned()))?;
    let meta = java_properties::read(read_text(&format!("{folder}/meta.properties"))?.as_bytes())
        .map_err(|error| error.to_string())?;
    let directory = meta
        .get("directory.id")
        .ok_or_else(|| format!("{folder}/meta.properties has no directory.id"))?;
    let directory = uuid(directory)?;
    let listeners = controller_listeners(&properties)?;
    let shown: Vec<String> = listeners
        .iter()
        .map(|(name, host, port)| format!("{name}://{host}:{port}"))
        .collect();
    let what = format!(
        "controller {id} with directory id {directory} and endpoints: {}",
        shown.join(", ")
    );
    if args.has("dry-run") {
        out.line(&format!("DRY RUN of adding {what}"));
        return Ok(());
    }
    let admin: Admin = address.connect("addRaftVoter").await?;
    admin
        .add_voter(id, directory, &listeners)
        .await
        .map_err(|error| Fault::of("addRaftVoter", &error))?;
    out.line(&format!("Added {what}"));
    Ok(())
}

fn property<'a>(properties: &'a Properties, name: &str) -> Result<&'a str, Fault> {
    properties
        .get(name)
        .map(String::as_str)
        .ok_or_else(|| format!("{name} not found in the configuration file.").into())
}

/// Where a controller says that it listens.
fn controller_listeners(properties: &Properties) -> Result<Vec<(String, String, u16)>, Fault> {
    let names: Vec<&str> = property(properties, "controller.listener.names")?
        .split(',')
        .map(str::trim)
        .collect();
    let of = |key: &str| -> Vec<(String, String, u16)> {
        properties
            .get(key)
            .map_or("", String::as_str)
            .split(',')
            .filter_map(|listener| {
                let (name, address) = listener.trim().split_once("://")?;
                let (host, port) = crate::client::split_address(address)?;
                Some((name.to_owned(), host.to_owned(), port))
            })
            .filter(|(name, ..)| names.contains(&name.as_str()))
            .collect()
    };
    let advertised = of("advertised.listeners");
    Ok(if advertised.is_empty() {
        of("listeners")
    } else {
        advertised
    })
}

const DRY_RUN: Arg = arg("dry-run", Kind::Flag, "only say what would be done");

/// The command line.
pub(super) const PARSER: Parser = Parser {
    prog: "kafka-metadata-quorum",
    about: "The quorum of controllers: describe it, add and remove voters.",
    usage: "usage: kafka-metadata-quorum [-h] [--command-config COMMAND_CONFIG]
                             (--bootstrap-server BOOTSTRAP_SERVER |
                             --bootstrap-controller BOOTSTRAP_CONTROLLER)
                             {describe,add-controller,remove-controller}
                             ...",
    args: &[
        arg(
            "bootstrap-server",
            Kind::Text,
            "the brokers to connect to, host:port separated by commas",
        )
        .one_of(1),
        arg(
            "bootstrap-controller",
            Kind::Text,
            "the controllers to connect to, host:port separated by commas",
        )
        .one_of(1),
        arg(
            "command-config",
            Kind::Text,
            "a file of properties for the client; with add-controller, the controller's",
        ),
    ],
    subs: &[
        Sub {
            name: "describe",
            about: "describe the quorum",
            usage: "usage: kafka-metadata-quorum (--bootstrap-server BOOTSTRAP_SERVER |
                             --bootstrap-controller BOOTSTRAP_CONTROLLER)
                             describe [-h] [--status] [--replication]
                             [--human-readable]",
            args: &[
                arg("status", Kind::Flag, "leader, epoch, voters"),
                arg("replication", Kind::Flag, "how far each node is"),
                arg("human-readable", Kind::Flag, "times as how long ago"),
            ],
        },
        Sub {
            name: "add-controller",
            about: "make this controller a voter",
            usage: "usage: kafka-metadata-quorum (--bootstrap-server BOOTSTRAP_SERVER |
                             --bootstrap-controller BOOTSTRAP_CONTROLLER)
                             add-controller [-h] [--dry-run]",
            args: &[DRY_RUN],
        },
        Sub {
            name: "remove-controller",
            about: "take a voter's vote",
            usage: "usage: kafka-metadata-quorum (--bootstrap-server BOOTSTRAP_SERVER |
                             --bootstrap-controller BOOTSTRAP_CONTROLLER)
                             remove-controller [-h]
                             --controller-id CONTROLLER_ID
                             --controller-directory-id CONTROLLER_DIRECTORY_ID
                             [--dry-run]",
            args: &[
                arg("controller-id", Kind::Integer, "the voter's id")
                    .short('i')
                    .required(),
                arg(
                    "controller-directory-id",
                    Kind::Text,
                    "the id of its directory",
                )
                .short('d')
                .required(),
                DRY_RUN,
            ],
        },
    ],
    complaint: Complaint::Usage,
};
