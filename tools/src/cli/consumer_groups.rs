//! **Owns** `consumer-groups`: Kafka's `kafka-consumer-groups`.
//! **Lives on** the command's thread.
//! **Invariants** (1) As Kafka's tool, it ends with 0 where the cluster refuses; what was wrong is said.
//! **Not here** the tables of `--describe` (`describe`), where offsets are reset to (`reset`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::list_groups::ListedGroup;
use serde_json::json;

use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::session::{Address, Fault, Printer, java_error, lend};
use super::{Out, java, properties};
use crate::client::ApiError;
use crate::client::admin::Admin;

mod describe;
mod re2;
mod reset;

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        return Refusal::Usage(TABLE.about.to_owned()).print(&TABLE, out);
    }
    let given = match TABLE
        .parse(arguments)
        .and_then(|given| check(&given, out).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    if let Ok(Some(pattern)) = given.one("validate-regex") {
        out.line(&match re2::check(pattern) {
            Ok(()) => format!("The regular expression `{pattern}` is valid."),
            Err(why) => format!("The regular expression `{pattern}` is invalid: {why}."),
        });
        return 0;
    }
    let done = lend(
        out,
        |printer| async move { carry_out(&given, &printer).await },
    );
    match done.unwrap_or_else(|fault| Err(Ended::Fault(fault))) {
        Ok(()) => 0,
        Err(Ended::Usage(message)) => Refusal::Usage(message).print(&TABLE, out),
        Err(Ended::Fault(fault)) => {
            out.note_failure();
            out.line(&format!(
                "\nError: Executing consumer group command failed due to {}",
                fault.shown()
            ));
            out.error(fault.message());
            0
        }
        Err(Ended::NoBrokers) => {
            out.note_failure();
            out.line(
                "\nError: Executing consumer group command failed due to java.util.concurrent.ExecutionException: \
                 org.apache.kafka.common.KafkaException: Failed to find brokers to send ListGroups",
            );
            out.error("Failed to find brokers to send ListGroups");
            out.error(Fault::unreachable("findAllBrokers").message());
            0
        }
    }
}

/// A refusal as Kafka's tool shows it: inside the failure that Java's futures wrap around it.
fn executed_of(error: &ApiError) -> Fault {
    let fault = Fault::of("", error);
    Fault::new("", fault.java()).with_sentence(fault.message())
}

/// Why it ends without having done everything.
enum Ended {
    /// What was asked makes no sense.
    Usage(String),
    Fault(Fault),
    /// Nobody answered who could list groups.
    NoBrokers,
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<String> for Ended {
    fn from(message: String) -> Self {
        Self::Fault(message.into())
    }
}

/// The checks of Kafka's tool, in its order.
fn check(given: &Given, out: &mut Out) -> Result<(), Refusal> {
    let usage = |message: &str| Err(Refusal::Usage(message.to_owned()));
    let lonely: Vec<&str> = ONLY_WITH
        .iter()
        .filter(|(option, with)| given.has(option) && !with.iter().any(|it| given.has(it)))
        .map(|(option, _)| *option)
        .collect();
    if !lonely.is_empty() {
        return Err(Refusal::Error(format!(
            "Option(s) [{}] are unavailable given other options on the command line",
            lonely.join(", ")
        )));
    }
    if !given.has("validate-regex") {
        given.require(&["bootstrap-server"])?;
    }
    let selected = given.has("group") || given.has("all-groups");
    if given.has("describe") {
        if !selected {
            return usage("Option [describe] takes one of these options: [group], [all-groups]");
        }
        let views = ["members", "offsets", "state"];
        if views.iter().filter(|view| given.has(view)).count() > 1 {
            return usage(
                "Option [describe] takes at most one of these options: [members], [offsets], [state]",
            );
        }
        if given.has("state") && !given.all("state").is_empty() {
            return usage("Option [describe] does not take a value for [state]");
        }
    }
    if given.has("delete") {
        if !selected {
            return usage("Option [delete] takes one of these options: [group], [all-groups]");
        }
        if given.has("topic") {
            return usage(
                "The consumer does not support topic-specific offset deletion from a consumer group.",
            );
        }
    }
    if given.has("delete-offsets") && !(given.has("group") && given.has("topic")) {
        return usage("Option [delete-offsets] takes the following options: [group], [topic]");
    }
    if given.has("reset-offsets") {
        if given.has("dry-run") && given.has("execute") {
            return usage("Option [reset-offsets] only accepts one of [execute] and [dry-run]");
        }
        if !given.has("dry-run") && !given.has("execute") {
            out.error(NEITHER);
        }
        if !selected {
            return usage(
                "Option [reset-offsets] takes one of these options: [group], [all-groups]",
            );
        }
        for scenario in reset::SCENARIOS {
            let others: Vec<&str> = reset::SCENARIOS
                .iter()
                .copied()
                .filter(|other| other != scenario)
                .collect();
            given.exclude(scenario, &others)?;
        }
    }
    given.exclude("group", &["all-groups", "list"])?;
    given.exclude("topic", &["list", "describe"])?;
    let actions = ACTIONS.iter().filter(|action| given.has(action)).count();
    if actions != 1 {
        return usage(
            "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, \
             --delete-offsets, --validate-regex",
        );
    }
    if given.has("list") {
        states(given).map_err(Refusal::Usage)?;
        types(given).map_err(Refusal::Usage)?;
    }
    if let Ok(Some(bootstrap)) = given.one("bootstrap-server") {
        properties::check_bootstrap(bootstrap).map_err(Refusal::Usage)?;
    }
    Ok(())
}

fn states(given: &Given) -> Result<Vec<&'static str>, String> {
    let Some(list) = given.one("state")? else {
        return Ok(Vec::new());
    };
    known(list, STATES).ok_or_else(|| {
        format!(
            "Invalid state list '{list}'. Valid states are: {}",
            STATES.join(", ")
        )
    })
}

fn types(given: &Given) -> Result<Vec<&'static str>, String> {
    let Some(list) = given.one("type")? else {
        return Ok(Vec::new());
    };
    known(list, TYPES).ok_or_else(|| {
        format!(
            "Invalid types list '{list}'. Valid types are: {}",
            TYPES.join(", ")
        )
    })
}

/// Names of a list separated by commas, whatever their case.
fn known(list: &str, names: &[&'static str]) -> Option<Vec<&'static str>> {
    list.split(',')
        .map(|part| {
            names
                .iter()
                .copied()
                .find(|name| name.eq_ignore_ascii_case(part.trim()))
        })
        .collect()
}

async fn carry_out(given: &Given, out: &Printer) -> Result<(), Ended> {
    let limit: Option<i64> = given.parsed("timeout")?;
    let limit = limit
        .and_then(|ms| u64::try_from(ms).ok())
        .map(Duration::from_millis);
    let json = given.json()?;
    let address = Address::of(given, "command-config")?;
    let lists = given.has("list") || given.has("all-groups");
    let call = if given.has("describe") {
        "describeConsumerGroups(api=FIND_COORDINATOR)"
    } else if given.has("delete") {
        "deleteConsumerGroups(api=FIND_COORDINATOR)"
    } else {
        "describeTopics"
    };
    let admin = match address.connect_within(call, limit).await {
        Err(fault) if lists && fault == Fault::unreachable(call) => return Err(Ended::NoBrokers),
        other => other?,
    };
    if given.has("list") {
        return Ok(list(given, &admin, out, json).await?);
    }
    let groups: Vec<String> = if given.has("all-groups") {
        listed(&admin)
            .await?
            .into_iter()
            .map(|group| group.group_id)
            .collect()
    } else {
        given.all("group").into_iter().map(str::to_owned).collect()
    };
    if given.has("describe") {
        return Ok(describe::describe(given, &admin, &groups, out, json).await?);
    }
    if given.has("delete") {
        delete(&admin, &groups, out, json).await;
        return Ok(());
    }
    if given.has("delete-offsets") {
        return delete_offsets(given, &admin, out, json).await;
    }
    reset::reset(given, &admin, &groups, out, json).await
}

/// Consumer groups of both protocols, in the order of Kafka's tool.
async fn listed(admin: &Admin) -> Result<Vec<ListedGroup>, Fault> {
    let groups = admin
        .list_some_groups(&[], &[])
        .await
        .map_err(|error| Fault::of("listGroups", &error))?;
    let mut groups = java::hash_order(groups, |group| java::string_hash(&group.group_id));
    groups.retain(|group| {
        matches!(group.protocol_type.as_str(), "" | "consumer")
            && matches!(
                group.group_type.to_ascii_lowercase().as_str(),
                "" | "classic" | "consumer"
            )
    });
    Ok(groups)
}

async fn list(given: &Given, admin: &Admin, out: &Printer, json: bool) -> Result<(), Fault> {
    let (states, types) = (states(given)?, types(given)?);
    let mut groups = listed(admin).await?;
    let fits = |names: &[&str], name: &str| {
        names.is_empty() || names.iter().any(|it| it.eq_ignore_ascii_case(name))
    };
    groups
        .retain(|group| fits(&states, &group.group_state) && fits(&types, kind(&group.group_type)));
    if json {
        let groups: Vec<_> = groups
            .iter()
            .map(|group| {
                json!({
                    "group": group.group_id,
                    "type": kind(&group.group_type),
                    "state": group.group_state,
                })
            })
            .collect();
        out.json(&json!(groups));
        return Ok(());
    }
    let (with_type, with_state) = (given.has("type"), given.has("state"));
    if !with_type && !with_state {
        for group in groups {
            out.line(&group.group_id);
        }
        return Ok(());
    }
    let width = groups
        .iter()
        .map(|group| group.group_id.chars().count())
        .max()
        .unwrap_or_default()
        .max(15)
        + 10;
    let row = |group: &str, kind: &str, state: &str| {
        let mut line = format!("{group:<width$}");
        if with_type {
            // Writing to a String cannot fail.
            let _ = write!(line, " {kind:<20}");
        }
        if with_state {
            let _ = write!(line, " {state:<20}");
        }
        line
    };
    out.line(&row("GROUP", "TYPE", "STATE"));
    for group in &groups {
        out.line(&row(
            &group.group_id,
            kind(&group.group_type),
            &group.group_state,
        ));
    }
    Ok(())
}

/// A group's type as Kafka's tools write it; brokers from before there were types have classic ones.
pub(super) fn kind(group_type: &str) -> &'static str {
    match group_type.to_ascii_lowercase().as_str() {
        "" | "classic" => "Classic",
        "consumer" => "Consumer",
        "share" => "Share",
        "streams" => "Streams",
        _ => "Unknown",
    }
}

async fn delete(admin: &Admin, groups: &[String], out: &Printer, json: bool) {
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in groups {
        match admin.delete_group(group).await {
            Ok(()) => deleted.push(group.as_str()),
            Err(error) => failed.push((group.as_str(), error)),
        }
    }
    if json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(group, error)| json!({ "group": group, "error": error.text() }))
            .collect();
        out.json(&json!({ "deleted": deleted, "failed": failed }));
        return;
    }
    let names = format!("'{}'", deleted.join("', '"));
    if failed.is_empty() {
        out.line(&format!(
            "Deletion of requested consumer groups ({names}) was successful."
        ));
        return;
    }
    out.line("\nError: Deletion of some consumer groups failed:");
    for (group, error) in failed {
        out.line(&format!(
            "* Group '{group}' could not be deleted due to: {}",
            java_error(&error)
        ));
    }
    if !deleted.is_empty() {
        out.line(&format!(
            "\nThese consumer groups were deleted successfully: {names}"
        ));
    }
}

async fn delete_offsets(
    given: &Given,
    admin: &Admin,
    out: &Printer,
    json: bool,
) -> Result<(), Ended> {
    let group = given.one("group")?.unwrap_or_default();
    // Topics that are not there have a row without a partition.
    let mut rows: BTreeMap<(String, Option<i32>), Option<String>> = BTreeMap::new();
    let mut wanted = Vec::new();
    for argument in given.all("topic") {
        let (topic, partitions) = reset::topic_argument(argument).map_err(Ended::Usage)?;
        if let Some(partitions) = partitions {
            wanted.extend(partitions.into_iter().map(|it| (topic.clone(), it)));
            continue;
        }
        match reset::partitions_of(admin, &topic).await {
            Ok(partitions) => wanted.extend(partitions.into_iter().map(|it| (topic.clone(), it))),
            Err(error) => {
                rows.insert((topic, None), Some(java_error(&error)));
            }
        }
    }
    let mut top = None;
    if !wanted.is_empty() {
        match admin.delete_group_offsets(group, &wanted).await {
            Ok(results) => {
                for ((topic, partition), result) in results {
                    let error = result.err();
                    if let Some(error) = &error {
                        top.get_or_insert_with(|| match error.refusal() {
                            Some(
                                ErrorCode::UnknownTopicOrPartition
                                | ErrorCode::GroupSubscribedToTopic
                                | ErrorCode::TopicAuthorizationFailed,
                            ) => {
                                "Encountered some partition-level error, see the follow-up details."
                                    .to_owned()
                            }
                            _ => error.text(),
                        });
                    }
                    rows.insert(
                        (topic, Some(partition)),
                        error.map(|error| java_error(&error)),
                    );
                }
            }
            Err(error) => {
                top = Some(error.text());
                for (topic, partition) in wanted {
                    rows.insert((topic, Some(partition)), Some(java_error(&error)));
                }
            }
        }
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|((topic, partition), error)| {
                json!({ "topic": topic, "partition": partition, "error": error })
            })
            .collect();
        out.json(&json!({ "group": group, "offsets": rows }));
        return Ok(());
    }
    match top {
        None => out.line(&format!(
            "Request succeeded for deleting offsets from group {group}."
        )),
        Some(error) => out.line(&format!("\nError: {error}")),
    }
    let row = |topic: &str, partition: &str, status: &str| {
        format!("{topic:<15} {partition:<10} {status:<15}")
    };
    out.line(&format!("\n{}", row("TOPIC", "PARTITION", "STATUS")));
    for ((topic, partition), error) in rows {
        let partition = partition.map_or("-".to_owned(), |it| it.to_string());
        let status = error.map_or("Successful".to_owned(), |it| format!("Error: {it}"));
        out.line(&row(&topic, &partition, &status));
    }
    Ok(())
}

const NEITHER: &str = "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require \
     either --dry-run or --execute to be specified. You should add the --dry-run option explicitly if you are scripting \
     this command and want to keep the current default behavior without prompting.";

const ACTIONS: &[&str] = &[
    "list",
    "describe",
    "delete",
    "reset-offsets",
    "delete-offsets",
    "validate-regex",
];

/// Options and the actions they go with.
const ONLY_WITH: &[(&str, &[&str])] = &[
    ("members", &["describe"]),
    ("offsets", &["describe"]),
    ("state", &["describe", "list"]),
    ("type", &["list"]),
    ("verbose", &["describe"]),
];

/// As Kafka's tool names them.
const STATES: &[&str] = &[
    "Dead",
    "PreparingRebalance",
    "Stable",
    "Reconciling",
    "Assigning",
    "Empty",
    "CompletingRebalance",
];

const TYPES: &[&str] = &["Consumer", "Classic"];

const OPTIONS: &[Opt] = &[
    flag("all-groups", "All consumer groups."),
    flag(
        "all-topics",
        "With --reset-offsets: all topics of the group.",
    ),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED (but for --validate-regex): the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "by-duration",
        "String: duration",
        "Reset to what was written this long ago, as PnDTnHnMnS.",
    ),
    value(
        "command-config",
        "String: command config property file",
        "A file of properties for the client.",
    ),
    flag("delete", "Delete groups that nobody is a member of."),
    flag(
        "delete-offsets",
        "Delete the committed offsets of topics in one group.",
    ),
    flag(
        "describe",
        "Show where a group is: what it has read and what is left.",
    ),
    flag(
        "dry-run",
        "With --reset-offsets: only show what would be done.",
    ),
    flag("execute", "With --reset-offsets: do it."),
    flag("export", "With --reset-offsets: print the result as CSV."),
    value(
        "from-file",
        "String: path to CSV file",
        "Reset to the offsets of a CSV file.",
    ),
    value(
        "group",
        "String: consumer group",
        "The group. May be given several times.",
    ),
    flag("list", "List all consumer groups."),
    flag("members", "With --describe: the members of the group."),
    flag(
        "offsets",
        "With --describe: topics, offsets and lag; the default.",
    ),
    flag(
        "reset-offsets",
        "Set the committed offsets of groups that nobody is a member of.",
    ),
    value(
        "shift-by",
        "Long: number-of-offsets",
        "Move offsets forwards or, negative, backwards.",
    ),
    maybe(
        "state",
        "String",
        "With --describe: the state of the group. With --list: the states, or only groups in these.",
    ),
    value(
        "timeout",
        "Long: timeout (ms)",
        "How long to go on trying; 30000 if not given.",
    ),
    flag("to-current", "Reset to the committed offsets."),
    value(
        "to-datetime",
        "String: datetime",
        "Reset to what was written from then on, as YYYY-MM-DDTHH:mm:SS.sss.",
    ),
    flag("to-earliest", "Reset to the first offsets."),
    flag("to-latest", "Reset to the last offsets."),
    value("to-offset", "Long: offset", "Reset to this offset."),
    value(
        "topic",
        "String: topic",
        "The topic, or topic:0,1,2 for some partitions. May be given several times.",
    ),
    maybe(
        "type",
        "String",
        "With --list: the types, or only groups of these.",
    ),
    value(
        "validate-regex",
        "String: regex",
        "Say whether brokers take a regular expression as a subscription.",
    ),
    flag("verbose", "With --describe: more columns."),
];

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to list all consumer groups, describe a consumer group, delete consumer group info, or reset consumer group offsets.",
    options: OPTIONS,
};
