//! **Owns** `groups`: Kafka's `kafka-groups`.
//! **Lives on** the command's thread.
//! **Invariants** none beyond the types'.
//! **Not here** what groups do (`consumer_groups`, `share_groups`, `streams_groups`).

use serde_json::json;

use super::consumer_groups::kind;
use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::session::{Address, Fault, Printer, tool};
use super::{Out, java};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        let missing = Refusal::Usage("Missing required option(s) [bootstrap-server]".to_owned());
        return missing.print(&TABLE, out);
    }
    tool(&TABLE, arguments, out, check, |given, printer| async move {
        list(&given, &printer).await
    })
}

fn check(given: &Given) -> Result<(), Refusal> {
    if !given.has("bootstrap-server") {
        return Err(Refusal::Usage(
            "Missing required option(s) [bootstrap-server]".to_owned(),
        ));
    }
    if !given.has("list") {
        return Err(Refusal::Usage(
            "Command must include exactly one action: --list.".to_owned(),
        ));
    }
    given.exclude("consumer", &["group-type", "protocol", "share", "streams"])?;
    given.exclude("share", &["consumer", "group-type", "protocol", "streams"])?;
    given.exclude("streams", &["consumer", "group-type", "protocol", "share"])?;
    let wanted = given.one("group-type").map_err(Refusal::Error)?;
    if wanted.is_some_and(|wanted| kind(wanted) == "Unknown" || wanted.is_empty()) {
        return Err(Refusal::Error(
            "--group-type must be a valid group type.".to_owned(),
        ));
    }
    Ok(())
}

async fn list(given: &Given, out: &Printer) -> Result<u8, Fault> {
    let admin = Address::of(given, "command-config")?
        .connect("listGroups")
        .await?;
    let groups = admin
        .list_some_groups(&[], &[])
        .await
        .map_err(|error| Fault::of("listGroups", &error))?;
    let mut groups = java::hash_order(groups, |group| java::string_hash(&group.group_id));
    let wanted = given.one("group-type")?;
    let protocol = given.one("protocol")?;
    groups.retain(|group| {
        let kind = kind(&group.group_type);
        let of_consumers = matches!(group.protocol_type.as_str(), "" | "consumer");
        (!given.has("consumer") || kind == "Consumer" || (kind == "Classic" && of_consumers))
            && (!given.has("share") || kind == "Share")
            && (!given.has("streams") || kind == "Streams")
            && wanted.is_none_or(|wanted| kind.eq_ignore_ascii_case(wanted))
            && protocol.is_none_or(|protocol| protocol == group.protocol_type)
    });
    if given.json()? {
        let groups: Vec<_> = groups
            .iter()
            .map(|group| {
                json!({
                    "group": group.group_id,
                    "type": kind(&group.group_type),
                    "protocol": group.protocol_type,
                })
            })
            .collect();
        out.json(&json!(groups));
        return Ok(0);
    }
    let width = groups
        .iter()
        .map(|group| group.group_id.chars().count())
        .max()
        .unwrap_or_default()
        .max(20);
    out.line(&format!(
        "{:<width$} {:<width$} {:<width$}",
        "GROUP", "TYPE", "PROTOCOL"
    ));
    for group in groups {
        out.line(&format!(
            "{:<width$} {:<width$} {:<width$} ",
            group.group_id,
            kind(&group.group_type),
            group.protocol_type
        ));
    }
    Ok(0)
}

/// The options.
pub(super) const TABLE: Table = Table {
    about: "This tool helps to list groups of all types.",
    options: OPTIONS,
};

const OPTIONS: &[Opt] = &[
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
    flag("consumer", "Only groups of consumers, of both protocols."),
    value(
        "group-type",
        "String: type",
        "Only groups of this type: classic, consumer, share or streams.",
    ),
    flag("list", "List the groups."),
    value(
        "protocol",
        "String: protocol",
        "Only groups of this protocol type.",
    ),
    flag("share", "Only share groups."),
    flag("streams", "Only streams groups."),
];
