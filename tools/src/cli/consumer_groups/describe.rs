//! **Owns** the views of `--describe`: offsets, members, state.
//! **Lives on** the command's thread.
//! **Invariants** (1) Columns are as wide as Kafka's tool makes them.
//! **Not here** which groups.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cli::options::Given;
use crate::cli::session::{Fault, Printer};
use crate::client::admin::{
    Admin, CommittedOffset, GroupDescription, GroupMember, Isolation, OffsetSpec,
};

pub(super) async fn describe(
    given: &Given,
    admin: &Admin,
    groups: &[String],
    out: &Printer,
    as_json: bool,
) -> Result<(), Fault> {
    let mut described = BTreeMap::new();
    for group in groups {
        let group = admin
            .describe_consumer_group(group)
            .await
            .map_err(|error| executed(&Fault::of(CALL, &error)))?;
        described.insert(group.id.clone(), group);
    }
    let verbose = given.has("verbose");
    let mut documents = Vec::new();
    for group in described.values() {
        if given.has("members") {
            documents.push(members_json(group));
        } else if given.has("state") {
            documents.push(state_json(group, admin));
        } else {
            let rows = rows(group, admin).await?;
            if as_json {
                documents.push(json!({
                    "group": group.id,
                    "state": group.state,
                    "partitions": rows.iter().map(Row::json).collect::<Vec<_>>(),
                }));
            } else if shall_print(group, rows.len(), out) {
                print_offsets(&rows, verbose, out);
            }
            continue;
        }
        if as_json || !shall_print(group, 1, out) {
            continue;
        }
        if given.has("members") {
            print_members(group, verbose, out);
        } else {
            print_state(group, admin, verbose, out);
        }
    }
    if as_json {
        out.json(&json!(documents));
    }
    Ok(())
}

/// Kafka's tool shows the failure inside the one that Java's futures wrap around it.
fn executed(fault: &Fault) -> Fault {
    Fault::new("", fault.java()).with_sentence(fault.message())
}

/// Says what is to be said of the group as a whole, and whether there is a table.
fn shall_print(group: &GroupDescription, rows: usize, out: &Printer) -> bool {
    let id = &group.id;
    match group.state.as_str() {
        "Dead" => {
            out.note_failure();
            out.line(&format!("\nError: Consumer group '{id}' does not exist."));
            return false;
        }
        "Empty" => out.error(&format!("\nConsumer group '{id}' has no active members.")),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            out.error(&format!("\nWarning: Consumer group '{id}' is rebalancing."));
        }
        _ => {}
    }
    rows > 0
}

/// A partition that the group reads, or has read.
struct Row<'a> {
    group: &'a str,
    topic: String,
    partition: i32,
    committed: Option<CommittedOffset>,
    end: Option<i64>,
    member: Option<&'a GroupMember>,
}

impl Row<'_> {
    fn lag(&self) -> Option<i64> {
        Some(self.end? - self.committed?.offset)
    }

    fn json(&self) -> Value {
        json!({
            "topic": self.topic,
            "partition": self.partition,
            "leaderEpoch": self.committed.and_then(|it| it.leader_epoch),
            "currentOffset": self.committed.map(|it| it.offset),
            "logEndOffset": self.end,
            "lag": self.lag(),
            "consumerId": self.member.map(|it| &it.id),
            "host": self.member.map(|it| &it.host),
            "clientId": self.member.map(|it| &it.client_id),
        })
    }
}

async fn rows<'a>(group: &'a GroupDescription, admin: &Admin) -> Result<Vec<Row<'a>>, Fault> {
    let committed = admin
        .committed_offsets(&group.id, None)
        .await
        .map_err(|error| {
            let call = "listConsumerGroupOffsets(api=FIND_COORDINATOR)";
            executed(&Fault::of(call, &error))
        })?;
    let mut members: Vec<&GroupMember> = group
        .members
        .iter()
        .filter(|member| !member.assignment.is_empty())
        .collect();
    members.sort_by_key(|member| std::cmp::Reverse(partition_count(member)));
    let mut rows = Vec::new();
    let mut seen = BTreeSet::new();
    for member in members {
        for (topic, partitions) in &member.assignment {
            for partition in partitions {
                let at = (topic.clone(), *partition);
                seen.insert(at.clone());
                rows.push(Row {
                    group: &group.id,
                    committed: committed.get(&at).copied().filter(|it| it.offset >= 0),
                    topic: at.0,
                    partition: at.1,
                    end: None,
                    member: Some(member),
                });
            }
        }
    }
    for (at, offset) in &committed {
        if !seen.contains(at) && offset.offset >= 0 {
            rows.push(Row {
                group: &group.id,
                topic: at.0.clone(),
                partition: at.1,
                committed: Some(*offset),
                end: None,
                member: None,
            });
        }
    }
    let wanted: Vec<(String, i32, OffsetSpec)> = rows
        .iter()
        .map(|row| (row.topic.clone(), row.partition, OffsetSpec::Latest))
        .collect();
    let ends = existing_offsets(admin, &wanted).await;
    for row in &mut rows {
        row.end = ends.get(&(row.topic.clone(), row.partition)).copied();
    }
    // A member's partitions stand by number; topics as the member has them.
    Ok(rows)
}

/// Offsets of the partitions that are there.
async fn existing_offsets(
    admin: &Admin,
    wanted: &[(String, i32, OffsetSpec)],
) -> BTreeMap<(String, i32), i64> {
    let mut found = BTreeMap::new();
    let topics: BTreeSet<&str> = wanted.iter().map(|(topic, ..)| topic.as_str()).collect();
    for name in topics {
        let of: Vec<(String, i32, OffsetSpec)> = wanted
            .iter()
            .filter(|(topic, ..)| topic == name)
            .cloned()
            .collect();
        if super::reset::partitions_of(admin, name).await.is_err() {
            continue;
        }
        if let Ok(offsets) = admin.list_offsets(&of, Isolation::ReadUncommitted).await {
            for (at, result) in offsets {
                if let Ok((offset, _)) = result {
                    found.insert(at, offset);
                }
            }
        }
    }
    found
}

fn partition_count(member: &GroupMember) -> usize {
    member.assignment.iter().map(|(_, it)| it.len()).sum()
}

fn width<'a>(least: usize, texts: impl Iterator<Item = &'a str>) -> usize {
    texts
        .map(|text| text.chars().count())
        .max()
        .unwrap_or_default()
        .max(least)
}

fn print_offsets(rows: &[Row<'_>], verbose: bool, out: &Printer) {
    let group_width = width(15, rows.iter().map(|row| row.group));
    let topic_width = width(15, rows.iter().map(|row| row.topic.as_str()));
    let member = |row: &Row<'_>, of: fn(&GroupMember) -> &str| {
        row.member
            .map_or("-".to_owned(), |member| of(member).to_owned())
    };
    let ids: Vec<String> = rows.iter().map(|row| member(row, |it| &it.id)).collect();
    let hosts: Vec<String> = rows.iter().map(|row| member(row, |it| &it.host)).collect();
    let id_width = width(15, ids.iter().map(String::as_str));
    let host_width = width(15, hosts.iter().map(String::as_str));
    let line = |group: &str,
                topic: &str,
                partition: &str,
                epoch: &str,
                offsets: [&str; 3],
                id: &str,
                host: &str,
                client: &str| {
        let epoch = if verbose {
            format!(" {epoch:<15}")
        } else {
            String::new()
        };
        let [current, end, lag] = offsets;
        format!(
            "{group:<group_width$} {topic:<topic_width$} {partition:<10}{epoch} {current:<15} {end:<15} {lag:<15} \
             {id:<id_width$} {host:<host_width$} {client}"
        )
    };
    out.line(&format!(
        "\n{}",
        line(
            "GROUP",
            "TOPIC",
            "PARTITION",
            "LEADER-EPOCH",
            ["CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"],
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID"
        )
    ));
    let number = |number: Option<i64>| number.map_or("-".to_owned(), |it| it.to_string());
    for (index, row) in rows.iter().enumerate() {
        let epoch = row.committed.and_then(|it| it.leader_epoch);
        out.line(&line(
            row.group,
            &row.topic,
            &row.partition.to_string(),
            &number(epoch.map(i64::from)),
            [
                &number(row.committed.map(|it| it.offset)),
                &number(row.end),
                &number(row.lag()),
            ],
            &ids[index],
            &hosts[index],
            &member(row, |it| &it.client_id),
        ));
    }
}

/// `t1:0,1;t2:0`
fn assignment(of: &[(String, Vec<i32>)]) -> String {
    let mut topics: Vec<String> = of
        .iter()
        .filter(|(_, partitions)| !partitions.is_empty())
        .map(|(topic, partitions)| {
            let mut partitions = partitions.clone();
            partitions.sort_unstable();
            let partitions: Vec<String> = partitions.iter().map(i32::to_string).collect();
            format!("{topic}:{}", partitions.join(","))
        })
        .collect();
    topics.sort();
    if topics.is_empty() {
        return "-".to_owned();
    }
    topics.join(";")
}

fn print_members(group: &GroupDescription, verbose: bool, out: &Printer) {
    let mut members: Vec<&GroupMember> = group.members.iter().collect();
    members.sort_by_key(|member| std::cmp::Reverse(partition_count(member)));
    let with_instance = members.iter().any(|it| it.instance.is_some());
    let with_upgraded = verbose && members.iter().any(|it| it.is_classic == Some(true));
    let of = |text: fn(&GroupMember) -> &str| width(15, members.iter().map(|it| text(it)));
    let group_width = width(15, std::iter::once(group.id.as_str()));
    let (id_width, host_width, client_width) =
        (of(|it| &it.id), of(|it| &it.host), of(|it| &it.client_id));
    let instance_width = width(17, members.iter().filter_map(|it| it.instance.as_deref()));
    let currents: Vec<String> = members
        .iter()
        .map(|it| assignment(&it.assignment))
        .collect();
    let targets: Vec<String> = members
        .iter()
        .map(|it| it.target.as_deref().map_or("-".to_owned(), assignment))
        .collect();
    let current_width = width(20, currents.iter().map(String::as_str));
    let target_width = width(20, targets.iter().map(String::as_str));
    let line = |id: &str,
                instance: &str,
                host: &str,
                client: &str,
                count: &str,
                more: [&str; 5],
                first: &str| {
        let instance = if with_instance {
            format!(" {instance:<instance_width$}")
        } else {
            String::new()
        };
        let [epoch, current, target_epoch, target, upgraded] = more;
        let more = if verbose {
            let upgraded = if with_upgraded {
                format!(" {upgraded:<15}")
            } else {
                String::new()
            };
            format!(
                "{epoch:<15} {current:<current_width$} {target_epoch:<15} {target:<target_width$}{upgraded}"
            )
        } else {
            String::new()
        };
        format!(
            "{first:<group_width$} {id:<id_width$}{instance} {host:<host_width$} {client:<client_width$} {count:<15} {more}"
        )
    };
    out.line(&format!(
        "\n{}",
        line(
            "CONSUMER-ID",
            "GROUP-INSTANCE-ID",
            "HOST",
            "CLIENT-ID",
            "#PARTITIONS",
            [
                "CURRENT-EPOCH",
                "CURRENT-ASSIGNMENT",
                "TARGET-EPOCH",
                "TARGET-ASSIGNMENT",
                "UPGRADED"
            ],
            "GROUP"
        )
    ));
    let number = |number: Option<i32>| number.map_or("-".to_owned(), |it| it.to_string());
    for (index, member) in members.iter().enumerate() {
        let upgraded = member
            .is_classic
            .map_or("-".to_owned(), |is_classic| (!is_classic).to_string());
        let target_epoch = group
            .epochs
            .filter(|_| member.target.is_some())
            .map(|(_, target)| target);
        out.line(&line(
            &member.id,
            member.instance.as_deref().unwrap_or_default(),
            &member.host,
            &member.client_id,
            &partition_count(member).to_string(),
            [
                &number(member.epoch),
                &currents[index],
                &number(target_epoch),
                &targets[index],
                &upgraded,
            ],
            &group.id,
        ));
    }
}

fn members_json(group: &GroupDescription) -> Value {
    let partitions = |of: &[(String, Vec<i32>)]| {
        of.iter()
            .map(|(topic, partitions)| json!({ "topic": topic, "partitions": partitions }))
            .collect::<Vec<_>>()
    };
    let members: Vec<Value> = group
        .members
        .iter()
        .map(|member| {
            json!({
                "consumerId": member.id,
                "groupInstanceId": member.instance,
                "host": member.host,
                "clientId": member.client_id,
                "epoch": member.epoch,
                "assignment": partitions(&member.assignment),
                "targetAssignment": member.target.as_deref().map(partitions),
            })
        })
        .collect();
    json!({ "group": group.id, "state": group.state, "members": members })
}

fn coordinator(group: &GroupDescription, admin: &Admin) -> String {
    let metadata = admin.client().metadata();
    metadata
        .broker(group.coordinator)
        .map_or_else(String::new, |node| format!("{}:{}", node.host, node.port))
}

fn print_state(group: &GroupDescription, admin: &Admin, verbose: bool, out: &Printer) {
    let node = format!("{}  ({})", coordinator(group, admin), group.coordinator);
    let group_width = width(15, std::iter::once(group.id.as_str()));
    let node_width = width(25, std::iter::once(node.as_str()));
    let line =
        |id: &str, node: &str, assignor: &str, state: &str, epochs: [&str; 2], count: &str| {
            let epochs = if verbose {
                format!(" {:<15} {:<25}", epochs[0], epochs[1])
            } else {
                String::new()
            };
            format!(
                "{id:<group_width$} {node:<node_width$} {assignor:<20} {state:<20}{epochs} {count}"
            )
        };
    out.line(&format!(
        "\n{}",
        line(
            "GROUP",
            "COORDINATOR (ID)",
            "ASSIGNMENT-STRATEGY",
            "STATE",
            ["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"],
            "#MEMBERS"
        )
    ));
    let epoch = |of: fn((i32, i32)) -> i32| {
        group
            .epochs
            .map_or("-".to_owned(), |epochs| of(epochs).to_string())
    };
    let assignor = if group.assignor.is_empty() {
        "-"
    } else {
        &group.assignor
    };
    out.line(&line(
        &group.id,
        &node,
        assignor,
        &group.state,
        [&epoch(|it| it.0), &epoch(|it| it.1)],
        &group.members.len().to_string(),
    ));
}

fn state_json(group: &GroupDescription, admin: &Admin) -> Value {
    json!({
        "group": group.id,
        "coordinator": { "id": group.coordinator, "address": coordinator(group, admin) },
        "assignmentStrategy": group.assignor,
        "state": group.state,
        "groupEpoch": group.epochs.map(|it| it.0),
        "targetAssignmentEpoch": group.epochs.map(|it| it.1),
        "members": group.members.len(),
    })
}

const CALL: &str = "describeConsumerGroups(api=FIND_COORDINATOR)";
