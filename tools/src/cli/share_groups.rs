//! **Owns** `share-groups` and `streams-groups`: what of Kafka's `kafka-share-groups` and `kafka-streams-groups` lists,
//! describes and deletes.
//! **Lives on** the command's thread.
//! **Invariants** (1) As Kafka's tools, they end with 0 where a share group is refused, with 1 where a streams group is.
//! **Not here** resetting offsets of such groups.

use corelog_net::wire::messages::list_groups::ListedGroup;
use serde_json::{Value, json};

use super::consumer_groups::kind;
use super::options::{Given, Opt, Refusal, Table, flag, maybe, value};
use super::session::{Address, Fault, Printer, lend};
use super::{Out, java};
use crate::client::ApiError;
use crate::client::admin::Admin;

/// Runs `share-groups`.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    run_as(&SHARE, arguments, out)
}

/// Runs `streams-groups`.
pub(super) fn run_streams(arguments: &[String], out: &mut Out) -> u8 {
    run_as(&STREAMS, arguments, out)
}

/// What is different between the two.
struct Flavour {
    kind: &'static str,
    name: &'static str,
    table: &'static Table,
    states: &'static [&'static str],
    actions: &'static str,
    missing: &'static str,
    refusal_code: u8,
}

static SHARE: Flavour = Flavour {
    kind: "Share",
    name: "share",
    table: &SHARE_TABLE,
    states: &["Stable", "Empty", "Dead"],
    actions: "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets.",
    missing: "is not a share group.",
    refusal_code: 0,
};

static STREAMS: Flavour = Flavour {
    kind: "Streams",
    name: "streams",
    table: &STREAMS_TABLE,
    states: &[
        "Dead",
        "Assigning",
        "Reconciling",
        "NotReady",
        "Stable",
        "Empty",
    ],
    actions: "Command must include exactly one action: --list, --describe, --delete, --reset-offsets, or --delete-offsets.",
    missing: "does not exist or is not a streams group.",
    refusal_code: 1,
};

fn run_as(flavour: &'static Flavour, arguments: &[String], out: &mut Out) -> u8 {
    let table = flavour.table;
    if arguments.is_empty() {
        return Refusal::Usage(table.about.to_owned()).print(table, out);
    }
    let given = match table
        .parse(arguments)
        .and_then(|given| check(flavour, &given).map(|()| given))
    {
        Ok(given) => given,
        Err(refusal) => return refusal.print(table, out),
    };
    let done = lend(out, |printer| async move {
        work(flavour, &given, &printer).await
    });
    match done {
        Ok(Ok(())) => 0,
        Ok(Err(fault)) | Err(fault) => {
            out.note_failure();
            out.line(&format!(
                "\nError: Executing {} group command failed due to {}",
                flavour.name,
                fault.shown()
            ));
            out.error(fault.message());
            flavour.refusal_code
        }
    }
}

fn check(flavour: &Flavour, given: &Given) -> Result<(), Refusal> {
    let usage = |message: String| Err(Refusal::Usage(message));
    given.require(&["bootstrap-server"])?;
    for action in ["describe", "delete"] {
        if given.has(action) && !given.has("group") && !given.has("all-groups") {
            return usage(format!(
                "Option [{action}] takes one of these options: [all-groups], [group]"
            ));
        }
    }
    let actions = ["list", "describe", "delete"];
    if actions.iter().filter(|action| given.has(action)).count() != 1 {
        return usage(flavour.actions.to_owned());
    }
    if given.has("list") {
        states(flavour, given).map_err(Refusal::Usage)?;
    }
    given.exclude("group", &["all-groups", "list"])
}

fn states(flavour: &Flavour, given: &Given) -> Result<Vec<&'static str>, String> {
    let Some(list) = given.one("state")? else {
        return Ok(Vec::new());
    };
    let mut states = Vec::new();
    for part in list.split(',') {
        let state = flavour
            .states
            .iter()
            .find(|state| state.eq_ignore_ascii_case(part.trim()));
        states.push(*state.ok_or_else(|| {
            format!(
                "Invalid state list '{list}'. Valid states are: {}",
                flavour.states.join(", ")
            )
        })?);
    }
    Ok(states)
}

/// A refusal as Kafka's tools show it: inside the failure that Java's futures wrap around it.
fn refused(call: &'static str) -> impl Fn(ApiError) -> Fault {
    move |error| {
        let fault = Fault::of(call, &error);
        Fault::from(fault.java()).with_sentence(fault.message())
    }
}

async fn listed(flavour: &Flavour, admin: &Admin) -> Result<Vec<ListedGroup>, Fault> {
    let groups = admin
        .list_some_groups(&[], &[])
        .await
        .map_err(refused("listGroups"))?;
    let mut groups = java::hash_order(groups, |group| java::string_hash(&group.group_id));
    groups.retain(|group| kind(&group.group_type) == flavour.kind);
    Ok(groups)
}

async fn work(flavour: &Flavour, given: &Given, out: &Printer) -> Result<(), Fault> {
    let admin = Address::of(given, "command-config")?
        .connect("listGroups")
        .await?;
    let as_json = given.json()?;
    if given.has("list") {
        let wanted = states(flavour, given)?;
        let mut groups = listed(flavour, &admin).await?;
        groups.retain(|group| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|it| it.eq_ignore_ascii_case(&group.group_state))
        });
        if as_json {
            let groups: Vec<Value> = groups
                .iter()
                .map(|it| json!({ "group": it.group_id, "state": it.group_state }))
                .collect();
            out.json(&json!(groups));
        } else if given.has("state") {
            let names = groups.iter().map(|it| it.group_id.chars().count());
            let width = names.max().unwrap_or_default().max(15);
            out.line(&format!("{:<width$} STATE", "GROUP"));
            for group in groups {
                out.line(&format!("{:<width$} {}", group.group_id, group.group_state));
            }
        } else {
            for group in groups {
                out.line(&group.group_id);
            }
        }
        return Ok(());
    }
    let groups: Vec<String> = if given.has("all-groups") {
        let all = listed(flavour, &admin).await?;
        all.into_iter().map(|it| it.group_id).collect()
    } else {
        given.all("group").into_iter().map(str::to_owned).collect()
    };
    if given.has("delete") {
        return delete(flavour, &admin, &groups, out, as_json).await;
    }
    let mut documents = Vec::new();
    for group in &groups {
        if flavour.kind == "Share" {
            describe_share(given, &admin, group, out, &mut documents).await?;
        } else {
            describe_streams(given, &admin, group, out, &mut documents).await?;
        }
    }
    if as_json {
        out.json(&json!(documents));
    }
    Ok(())
}

async fn delete(
    flavour: &Flavour,
    admin: &Admin,
    groups: &[String],
    out: &Printer,
    as_json: bool,
) -> Result<(), Fault> {
    let known = listed(flavour, admin).await?;
    let (mut deleted, mut failed) = (Vec::new(), Vec::new());
    for group in groups {
        if !known.iter().any(|it| it.group_id == *group) {
            let why = format!("Group '{group}' {}", flavour.missing);
            failed.push((group, format!("java.lang.IllegalArgumentException: {why}")));
            continue;
        }
        match admin.delete_group(group).await {
            Ok(()) => deleted.push(group.as_str()),
            Err(error) => failed.push((group, Fault::of("deleteGroups", &error).java())),
        }
    }
    let names = format!("'{}'", deleted.join("', '"));
    let name = flavour.name;
    if as_json {
        let failed: Vec<Value> = failed
            .iter()
            .map(|(group, error)| json!({ "group": group, "error": error }))
            .collect();
        out.json(&json!({ "deleted": deleted, "failed": failed }));
    } else if failed.is_empty() {
        out.line(&format!(
            "Deletion of requested {name} groups ({names}) was successful."
        ));
    } else {
        out.line(&format!("\nError: Deletion of some {name} groups failed:"));
        for (group, error) in failed {
            out.line(&format!(
                "* Group '{group}' could not be deleted due to: {error}"
            ));
        }
        if !deleted.is_empty() {
            out.line(&format!(
                "\nThese {name} groups were deleted successfully: {names}"
            ));
        }
    }
    Ok(())
}

fn empty_note(name: &str, group: &str, state: &str, out: &Printer) {
    if state == "Empty" {
        out.error(&format!("\n{name} group '{group}' has no active members."));
    }
}

async fn describe_share(
    given: &Given,
    admin: &Admin,
    group: &str,
    out: &Printer,
    documents: &mut Vec<Value>,
) -> Result<(), Fault> {
    let call = "describeShareGroups(api=FIND_COORDINATOR)";
    let (coordinator, described) = admin
        .describe_share_group(group)
        .await
        .map_err(refused(call))?;
    let as_json = given.json()?;
    let width = group.chars().count().max(15);
    if given.has("members") {
        let members: Vec<Value> = described
            .members
            .iter()
            .map(|it| {
                json!({
                    "consumerId": it.member_id,
                    "host": it.client_host,
                    "clientId": it.client_id,
                    "epoch": it.member_epoch,
                })
            })
            .collect();
        if as_json {
            documents.push(json!({ "group": group, "members": members }));
            return Ok(());
        }
        empty_note("Share", group, &described.group_state, out);
        out.line(&format!(
            "\n{:<width$} {:<22} {:<15} {:<15} {:<12} ASSIGNMENT",
            "GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"
        ));
        for member in &described.members {
            let topics = &member.assignment.topic_partitions;
            let count: usize = topics.iter().map(|it| it.partitions.len()).sum();
            let assignment: Vec<String> = topics
                .iter()
                .map(|it| {
                    let ids: Vec<String> = it.partitions.iter().map(i32::to_string).collect();
                    format!("{}:{}", it.topic_name, ids.join(","))
                })
                .collect();
            out.line(&format!(
                "{group:<width$} {:<22} {:<15} {:<15} {count:<12} {}",
                member.member_id,
                member.client_host,
                member.client_id,
                assignment.join(";")
            ));
        }
        return Ok(());
    }
    if given.has("state") {
        print_state(
            "Share",
            given,
            admin,
            (group, coordinator),
            (&described.group_state, described.members.len()),
            out,
            documents,
        )?;
        return Ok(());
    }
    let offsets = admin
        .share_group_offsets(group)
        .await
        .map_err(refused("listShareGroupOffsets(api=FIND_COORDINATOR)"))?;
    if as_json {
        let rows: Vec<Value> = offsets
            .iter()
            .map(|(topic, it)| {
                json!({
                    "topic": topic,
                    "partition": it.partition_index,
                    "startOffset": Some(it.start_offset).filter(|it| *it >= 0),
                    "lag": Some(it.lag).filter(|it| *it >= 0),
                })
            })
            .collect();
        documents.push(json!({ "group": group, "partitions": rows }));
        return Ok(());
    }
    empty_note("Share", group, &described.group_state, out);
    let topics = offsets.iter().map(|(topic, _)| topic.chars().count());
    let topic_width = topics.max().unwrap_or_default().max(15);
    let or_dash = |number: i64| {
        if number >= 0 {
            number.to_string()
        } else {
            "-".to_owned()
        }
    };
    out.line(&format!(
        "\n{:<width$} {:<topic_width$} {:<10} {:<13} LAG",
        "GROUP", "TOPIC", "PARTITION", "START-OFFSET"
    ));
    for (topic, it) in offsets {
        out.line(&format!(
            "{group:<width$} {topic:<topic_width$} {:<10} {:<13} {}",
            it.partition_index,
            or_dash(it.start_offset),
            or_dash(it.lag)
        ));
    }
    Ok(())
}

fn print_state(
    name: &str,
    given: &Given,
    admin: &Admin,
    (group, coordinator): (&str, i32),
    (state, members): (&str, usize),
    out: &Printer,
    documents: &mut Vec<Value>,
) -> Result<(), Fault> {
    let metadata = admin.client().metadata();
    let node = metadata
        .broker(coordinator)
        .map_or_else(String::new, |node| format!("{}:{}", node.host, node.port));
    if given.json()? {
        documents.push(json!({
            "group": group,
            "coordinator": { "id": coordinator, "address": node },
            "state": state,
            "members": members,
        }));
        return Ok(());
    }
    empty_note(name, group, state, out);
    let node = format!("{node} ({coordinator})");
    let width = group.chars().count().max(15);
    let node_width = node.chars().count().max(25);
    out.line(&format!(
        "\n{:<width$} {:<node_width$} {:<15} #MEMBERS",
        "GROUP", "COORDINATOR (ID)", "STATE"
    ));
    out.line(&format!(
        "{group:<width$} {node:<node_width$} {state:<15} {members}"
    ));
    Ok(())
}

async fn describe_streams(
    given: &Given,
    admin: &Admin,
    group: &str,
    out: &Printer,
    documents: &mut Vec<Value>,
) -> Result<(), Fault> {
    let call = "describeStreamsGroups(api=FIND_COORDINATOR)";
    let (coordinator, described) = admin
        .describe_streams_group(group)
        .await
        .map_err(refused(call))?;
    print_state(
        "Streams",
        given,
        admin,
        (group, coordinator),
        (&described.group_state, described.members.len()),
        out,
        documents,
    )
}

/// The options of `share-groups`.
pub(super) const SHARE_TABLE: Table = Table {
    about: "This tool helps to list, describe, reset, or delete share groups.",
    options: OPTIONS,
};

/// The options of `streams-groups`.
pub(super) const STREAMS_TABLE: Table = Table {
    about: "This tool helps to list, describe, or delete streams groups.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
    flag("all-groups", "All groups."),
    value(
        "bootstrap-server",
        "String: server to connect to",
        "REQUIRED: the brokers to connect to, host:port separated by commas.",
    ),
    value(
        "command-config",
        "String: command config property file",
        "A file of properties for the client.",
    ),
    flag("delete", "Delete groups that nobody is a member of."),
    flag("describe", "Describe groups."),
    value(
        "group",
        "String: group",
        "The group. May be given several times.",
    ),
    flag("list", "List the groups."),
    flag("members", "With --describe: the members."),
    flag("offsets", "With --describe: the offsets; the default."),
    maybe(
        "state",
        "String",
        "With --describe: the state. With --list: the states, or only groups in these.",
    ),
    value("timeout", "Long: timeout (ms)", "How long to go on trying."),
    flag("verbose", "With --describe: more columns."),
];
