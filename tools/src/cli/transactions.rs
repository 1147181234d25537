//! **Owns** `transactions`: Kafka's `kafka-transactions`.
//! **Lives on** the command's thread.
//! **Invariants** (1) Nothing is aborted but what the user names.
//! **Not here** the calls (`client::admin`).

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_producers::ProducerState;

use super::argparse::{Arg, Args, Complaint, Kind, Parser, Sub, arg};
use super::session::{Address, Fault, Printer, ended, lend, objects, tabbed};
use super::{Out, time};
use crate::client::ApiError;
use crate::client::admin::{Admin, Marker, TransactionFilter};

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
    check(args)?;
    let bootstrap = args.one("bootstrap-server").unwrap_or_default();
    let address = Address::new(bootstrap, false, args.one("command-config"))?;
    let admin = address.connect(first_call(args)).await?;
    match args.command {
        "list" => list(args, &admin, out).await?,
        "describe" => describe(args, &admin, out).await?,
        "describe-producers" => describe_producers(args, &admin, out).await?,
        "abort" => abort(args, &admin).await?,
        "find-hanging" => find_hanging(args, &admin, out).await?,
        _ => {
            let id = args.one("transactionalId").unwrap_or_default();
            let done = admin.terminate_transaction(id).await;
            failed(&format!("force terminate transactionalId `{id}`"), done)?;
        }
    }
    Ok(0)
}

fn first_call(args: &Args) -> &'static str {
    match args.command {
        "list" => "findAllBrokers",
        "describe" => "describeTransactions(api=FIND_COORDINATOR)",
        "find-hanging" => "describeTopics",
        "forceTerminateTransaction" => "fenceProducer(api=FIND_COORDINATOR)",
        _ => "describeProducers(api=METADATA)",
    }
}

/// What the parser does not see.
fn check(args: &Args) -> Result<(), Fault> {
    if args.command == "abort" && !args.has("start-offset") {
        if !args.has("producer-id") {
            return Err(
                "The transaction to abort must be identified either with --start-offset (for brokers on 3.0 or above) or \
                 with --producer-id, --producer-epoch, and --coordinator-epoch (for older brokers)"
                    .to_owned()
                    .into(),
            );
        }
        for name in ["producer-epoch", "coordinator-epoch"] {
            if !args.has(name) {
                return Err(format!("Missing required argument --{name}").into());
            }
        }
    }
    if args.command == "find-hanging" && !args.has("topic") && !args.has("broker-id") {
        return Err(
            "The `find-hanging` command requires either --topic or --broker-id to limit the scope of the search"
                .to_owned()
                .into(),
        );
    }
    Ok(())
}

/// Kafka's tool ends so.
fn failed<T>(what: &str, done: Result<T, ApiError>) -> Result<T, Fault> {
    done.map_err(|error| refused(what, &error.text()))
}

fn refused(what: &str, why: &str) -> Fault {
    format!("Failed to {what}: {why}. Enable debug logging for additional detail.").into()
}

fn show(header: &[&str], rows: &[Vec<String>], args: &Args, out: &Printer) {
    if args.json() {
        out.json(&objects(header, rows));
    } else {
        tabbed(header, rows, out);
    }
}

async fn list(args: &Args, admin: &Admin, out: &Printer) -> Result<(), Fault> {
    let filter = TransactionFilter {
        producer_ids: Vec::new(),
        duration_ms: args.number("duration-filter"),
        id_pattern: args.one("transactional-id-pattern").map(str::to_owned),
    };
    let found = failed("list transactions", admin.list_transactions(&filter).await)?;
    let mut rows = Vec::new();
    for (broker, transactions) in found {
        for it in transactions {
            rows.push(vec![
                it.transactional_id,
                broker.to_string(),
                it.producer_id.to_string(),
                it.transaction_state,
            ]);
        }
    }
    let header = [
        "TransactionalId",
        "Coordinator",
        "ProducerId",
        "TransactionState",
    ];
    show(&header, &rows, args, out);
    Ok(())
}

async fn describe(args: &Args, admin: &Admin, out: &Printer) -> Result<(), Fault> {
    let id = args.one("transactional-id").unwrap_or_default();
    let what = format!("describe transaction state of transactional-id `{id}`");
    let (coordinator, state) = match admin.describe_transaction(id).await {
        Err(error) if error.refusal() == Some(ErrorCode::TransactionalIdNotFound) => {
            let why = format!(
                "DescribeTransactions request for transactionalId `{id}` failed because the ID could not be found"
            );
            return Err(refused(&what, &why));
        }
        other => failed(&what, other)?,
    };
    let started = Some(state.transaction_start_time_ms).filter(|it| *it >= 0);
    let none = || "None".to_owned();
    let partitions: Vec<String> = state
        .topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| format!("{}-{partition}", topic.topic))
        })
        .collect();
    let row = vec![
        coordinator.to_string(),
        id.to_owned(),
        state.producer_id.to_string(),
        state.producer_epoch.to_string(),
        state.transaction_state,
        state.transaction_timeout_ms.to_string(),
        started.map_or_else(none, |it| it.to_string()),
        started.map_or_else(none, |it| (time::now_ms() - it).to_string()),
        partitions.join(","),
    ];
    let header = [
        "CoordinatorId",
        "TransactionalId",
        "ProducerId",
        "ProducerEpoch",
        "TransactionState",
        "TransactionTimeoutMs",
        "CurrentTransactionStartTimeMs",
        "TransactionDurationMs",
        "TopicPartitions",
    ];
    show(&header, &[row], args, out);
    Ok(())
}

/// The producers of one partition.
async fn producers(
    admin: &Admin,
    topic: &str,
    partition: i32,
    broker: Option<i32>,
) -> Result<Vec<ProducerState>, Fault> {
    let at = (topic.to_owned(), partition);
    let place = broker.map_or("leader".to_owned(), |id| format!("broker {id}"));
    let what = format!("describe producers for partition {topic}-{partition} on {place}");
    let found = admin
        .describe_producers(std::slice::from_ref(&at), broker)
        .await;
    let found = found.and_then(|mut found| {
        found
            .remove(&at)
            .unwrap_or_else(|| Err(ApiError::code(ErrorCode::UnknownServerError)))
    });
    Ok(failed(&what, found)?.active_producers)
}

async fn describe_producers(args: &Args, admin: &Admin, out: &Printer) -> Result<(), Fault> {
    let topic = args.one("topic").unwrap_or_default();
    let partition = args.number("partition").unwrap_or_default();
    let found = producers(admin, topic, partition, args.number("broker-id")).await?;
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|it| {
            let start = Some(it.current_txn_start_offset).filter(|it| *it >= 0);
            vec![
                it.producer_id.to_string(),
                it.producer_epoch.to_string(),
                it.coordinator_epoch.to_string(),
                it.last_sequence.to_string(),
                it.last_timestamp.to_string(),
                start.map_or("None".to_owned(), |it| it.to_string()),
            ]
        })
        .collect();
    let header = [
        "ProducerId",
        "ProducerEpoch",
        "LatestCoordinatorEpoch",
        "LastSequence",
        "LastTimestamp",
        "CurrentTransactionStartOffset",
    ];
    show(&header, &rows, args, out);
    Ok(())
}

async fn abort(args: &Args, admin: &Admin) -> Result<(), Fault> {
    let topic = args.one("topic").unwrap_or_default().to_owned();
    let partition = args.number("partition").unwrap_or_default();
    let marker = match args.number::<i64>("start-offset") {
        Some(start) => {
            let found = producers(admin, &topic, partition, None).await?;
            let open = found
                .iter()
                .find(|it| it.current_txn_start_offset == start && start >= 0)
                .ok_or_else(|| {
                    Fault::from(format!(
                        "Could not find any open transactions starting at offset {start} on partition {topic}-{partition}"
                    ))
                })?;
            Marker {
                producer_id: open.producer_id,
                producer_epoch: i16::try_from(open.producer_epoch).unwrap_or(-1),
                // No coordinator has ended a transaction of this producer here: its epoch counts as 0.
                coordinator_epoch: open.coordinator_epoch.max(0),
                topic,
                partition,
            }
        }
        None => Marker {
            producer_id: args.number("producer-id").unwrap_or(-1),
            producer_epoch: args.number("producer-epoch").unwrap_or(-1),
            coordinator_epoch: args.number("coordinator-epoch").unwrap_or(0),
            topic,
            partition,
        },
    };
    let what = format!(
        "abort transaction of producer {} on partition {}-{}",
        marker.producer_id, marker.topic, marker.partition
    );
    failed(&what, admin.abort_transaction(&marker).await)
}

/// An open transaction that nobody has written to for long.
struct Candidate {
    topic: String,
    partition: i32,
    producer: ProducerState,
}

async fn find_hanging(args: &Args, admin: &Admin, out: &Printer) -> Result<(), Fault> {
    let broker: Option<i32> = args.number("broker-id");
    let limit_ms = args
        .number::<i64>("max-transaction-timeout")
        .unwrap_or(15)
        .saturating_mul(60_000);
    let partitions = searched(args, admin, broker).await?;
    let now = time::now_ms();
    let mut candidates = Vec::new();
    for (topic, partition) in partitions {
        for producer in producers(admin, &topic, partition, broker).await? {
            if producer.current_txn_start_offset >= 0 && now - producer.last_timestamp > limit_ms {
                candidates.push(Candidate {
                    topic: topic.clone(),
                    partition,
                    producer,
                });
            }
        }
    }
    let hanging = if candidates.is_empty() {
        Vec::new()
    } else {
        forgotten(admin, candidates).await?
    };
    let rows: Vec<Vec<String>> = hanging
        .iter()
        .map(|it| {
            vec![
                it.topic.clone(),
                it.partition.to_string(),
                it.producer.producer_id.to_string(),
                it.producer.producer_epoch.to_string(),
                it.producer.coordinator_epoch.to_string(),
                it.producer.current_txn_start_offset.to_string(),
                it.producer.last_timestamp.to_string(),
                ((now - it.producer.last_timestamp) / 60_000).to_string(),
            ]
        })
        .collect();
    let header = [
        "Topic",
        "Partition",
        "ProducerId",
        "ProducerEpoch",
        "CoordinatorEpoch",
        "StartOffset",
        "LastTimestamp",
        "Duration(min)",
    ];
    show(&header, &rows, args, out);
    Ok(())
}

/// The partitions that are looked at.
async fn searched(
    args: &Args,
    admin: &Admin,
    broker: Option<i32>,
) -> Result<Vec<(String, i32)>, Fault> {
    let names: Vec<String> = match args.one("topic") {
        Some(topic) => {
            if let Some(partition) = args.number("partition") {
                return Ok(vec![(topic.to_owned(), partition)]);
            }
            vec![topic.to_owned()]
        }
        None => failed("list topics", admin.list_topics().await)?
            .into_iter()
            .map(|topic| topic.name)
            .collect(),
    };
    let what = format!("describe {} topics", names.len());
    let mut partitions = Vec::new();
    for (name, described) in failed(&what, admin.describe_topics(&names, 2000).await)? {
        for partition in failed(&what, described)?.partitions {
            if broker.is_none_or(|id| partition.replicas.contains(&id)) {
                partitions.push((name.clone(), partition.index));
            }
        }
    }
    Ok(partitions)
}

/// Those of the open transactions that no coordinator knows to be open there.
async fn forgotten(admin: &Admin, candidates: Vec<Candidate>) -> Result<Vec<Candidate>, Fault> {
    let filter = TransactionFilter {
        producer_ids: candidates
            .iter()
            .map(|it| it.producer.producer_id)
            .collect(),
        ..TransactionFilter::default()
    };
    let known = failed("list transactions", admin.list_transactions(&filter).await)?;
    let mut ids: BTreeMap<i64, String> = BTreeMap::new();
    for transaction in known.into_values().flatten() {
        ids.insert(transaction.producer_id, transaction.transactional_id);
    }
    let mut hanging = Vec::new();
    for candidate in candidates {
        let Some(id) = ids.get(&candidate.producer.producer_id) else {
            hanging.push(candidate);
            continue;
        };
        let what = format!("describe transaction state of transactional-id `{id}`");
        let (_, state) = failed(&what, admin.describe_transaction(id).await)?;
        let is_part = state.topics.iter().any(|topic| {
            topic.topic == candidate.topic && topic.partitions.contains(&candidate.partition)
        });
        let is_ended = matches!(
            state.transaction_state.as_str(),
            "Empty" | "CompleteCommit" | "CompleteAbort" | "Dead"
        );
        if !is_part || is_ended {
            hanging.push(candidate);
        }
    }
    Ok(hanging)
}

/// The command line.
pub(super) const PARSER: Parser = Parser {
    prog: "kafka-transactions.sh",
    about: "List, describe and abort transactions, and find those that hang.",
    usage: "usage: kafka-transactions.sh [-h] [-v] [--command-config FILE]
                             --bootstrap-server host:port COMMAND ...",
    args: &[
        arg("version", Kind::Flag, "print the version").short('v'),
        arg(
            "command-config",
            Kind::Text,
            "a file of properties for the client",
        ),
        arg(
            "bootstrap-server",
            Kind::Text,
            "the brokers to connect to, host:port separated by commas",
        )
        .required(),
    ],
    subs: &[
        Sub {
            name: "list",
            about: "list transactions",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port list [-h]
                             [--duration-filter DURATION_FILTER]
                             [--transactional-id-pattern TRANSACTIONAL_ID_PATTERN]",
            args: &[
                arg(
                    "duration-filter",
                    Kind::Long,
                    "only transactions that run this many ms",
                ),
                arg(
                    "transactional-id-pattern",
                    Kind::Text,
                    "only transactional ids that match this regular expression",
                ),
            ],
        },
        Sub {
            name: "describe",
            about: "describe the state of a transactional id",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port describe [-h]
                             --transactional-id TRANSACTIONAL_ID",
            args: &[arg("transactional-id", Kind::Text, "the transactional id").required()],
        },
        Sub {
            name: "describe-producers",
            about: "describe the producers of a partition",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port
                             describe-producers [-h]
                             [--broker-id BROKER_ID] --topic TOPIC
                             --partition PARTITION",
            args: &[
                arg(
                    "broker-id",
                    Kind::Integer,
                    "the broker to ask; the leader when not given",
                ),
                arg("topic", Kind::Text, "the topic").required(),
                PARTITION.required(),
            ],
        },
        Sub {
            name: "abort",
            about: "abort a hanging transaction of one partition",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port abort [-h]
                             --topic TOPIC --partition PARTITION
                             [--start-offset START_OFFSET]
                             [--producer-id PRODUCER_ID]
                             [--producer-epoch PRODUCER_EPOCH]
                             [--coordinator-epoch COORDINATOR_EPOCH]",
            args: &[
                arg("topic", Kind::Text, "the topic").required(),
                PARTITION.required(),
                arg("start-offset", Kind::Long, "where the transaction begins"),
                arg(
                    "producer-id",
                    Kind::Long,
                    "the producer's id (brokers before 3.0)",
                ),
                arg(
                    "producer-epoch",
                    Kind::Integer,
                    "the producer's epoch (brokers before 3.0)",
                ),
                arg(
                    "coordinator-epoch",
                    Kind::Integer,
                    "the coordinator's epoch (brokers before 3.0)",
                ),
            ],
        },
        Sub {
            name: "find-hanging",
            about: "find open transactions that no coordinator knows",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port find-hanging [-h]
                             [--broker-id BROKER_ID]
                             [--max-transaction-timeout MAX_TRANSACTION_TIMEOUT]
                             [--topic TOPIC] [--partition PARTITION]",
            args: &[
                arg("broker-id", Kind::Integer, "look on this broker"),
                arg(
                    "max-transaction-timeout",
                    Kind::Integer,
                    "the longest that a transaction may run, in minutes; 15 when not given",
                ),
                arg("topic", Kind::Text, "look in this topic"),
                PARTITION,
            ],
        },
        Sub {
            name: "forceTerminateTransaction",
            about: "end the open transaction of a transactional id",
            usage: "usage: kafka-transactions.sh --bootstrap-server host:port
                             forceTerminateTransaction [-h]
                             --transactionalId TRANSACTIONALID",
            args: &[arg("transactionalId", Kind::Text, "the transactional id").required()],
        },
    ],
    complaint: Complaint::Usage,
};

const PARTITION: Arg = arg("partition", Kind::Integer, "the partition");
