//! **Owns** `--reset-offsets`: of which partitions, and to where.
//! **Lives on** the command's thread.
//! **Invariants** (1) Offsets stay between a log's start and its end. (2) Nothing is written but with `--execute`, and not
//! to a group that has members.
//! **Not here** the other actions.

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use serde_json::json;

use super::{Ended, executed_of};
use crate::cli::options::Given;
use crate::cli::session::{Fault, Printer, read_text};
use crate::cli::{java, time};
use crate::client::ApiError;
use crate::client::admin::{Admin, CommittedOffset, Isolation, OffsetSpec};

/// The options that say where to.
pub(super) const SCENARIOS: &[&str] = &[
    "to-offset",
    "to-datetime",
    "by-duration",
    "to-earliest",
    "to-latest",
    "to-current",
    "shift-by",
    "from-file",
];

type Partition = (String, i32);
type Offsets = Vec<(Partition, i64)>;

pub(super) async fn reset(
    given: &Given,
    admin: &Admin,
    groups: &[String],
    out: &Printer,
    as_json: bool,
) -> Result<(), Ended> {
    let mut plans: Vec<(String, Offsets)> = Vec::new();
    for group in groups {
        let state = match admin.describe_consumer_group(group).await {
            Ok(described) => described.state,
            // A group that is not there yet may be given offsets.
            Err(error) if error.refusal() == Some(ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Err(error) => return Err(executed_of(&error).into()),
        };
        if !matches!(state.as_str(), "Empty" | "Dead") {
            out.note_failure();
            out.line(&format!(
                "\nError: Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."
            ));
            plans.push((group.clone(), Vec::new()));
            continue;
        }
        let plan = Plan { given, admin, out };
        let partitions = plan.partitions(group).await?;
        let offsets = plan.offsets(group, partitions).await?;
        if given.has("execute") && !offsets.is_empty() {
            let offsets: Vec<(String, i32, CommittedOffset)> = offsets
                .iter()
                .map(|((topic, partition), offset)| {
                    let committed = CommittedOffset {
                        offset: *offset,
                        leader_epoch: None,
                    };
                    (topic.clone(), *partition, committed)
                })
                .collect();
            let results = admin
                .alter_group_offsets(group, &offsets)
                .await
                .map_err(|error| executed_of(&error))?;
            for result in results.into_values() {
                result.map_err(|error| executed_of(&error))?;
            }
        }
        plans.push((group.clone(), offsets));
    }
    let plans = java::hash_order(plans, |(group, _)| java::string_hash(group));
    if as_json {
        let plans: Vec<_> = plans
            .iter()
            .map(|(group, offsets)| {
                let offsets: Vec<_> = offsets
                    .iter()
                    .map(|((topic, partition), offset)| {
                        json!({ "topic": topic, "partition": partition, "newOffset": offset })
                    })
                    .collect();
                json!({ "group": group, "offsets": offsets })
            })
            .collect();
        out.json(&json!({ "executed": given.has("execute"), "groups": plans }));
    } else if given.has("export") {
        export(&plans, groups.len() == 1 && !given.has("all-groups"), out);
    } else {
        print(&plans, out);
    }
    Ok(())
}

fn export(plans: &[(String, Offsets)], is_one: bool, out: &Printer) {
    for (group, offsets) in plans {
        for ((topic, partition), offset) in offsets {
            if is_one {
                out.line(&format!("{},{partition},{offset}", quoted(topic)));
            } else {
                out.line(&format!(
                    "{},{},{partition},{offset}",
                    quoted(group),
                    quoted(topic)
                ));
            }
        }
    }
    out.line("");
}

/// A field of CSV.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', ' ', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn print(plans: &[(String, Offsets)], out: &Printer) {
    let mut group_width = 15;
    let mut topic_width = 15;
    for (group, offsets) in plans {
        group_width = group_width.max(group.chars().count());
        for ((topic, _), _) in offsets {
            topic_width = topic_width.max(topic.chars().count());
        }
    }
    let line = |group: &str, topic: &str, partition: &str, offset: &str| {
        format!("{group:<group_width$} {topic:<topic_width$} {partition:<10} {offset}")
    };
    out.line(&format!(
        "\n{}",
        line("GROUP", "TOPIC", "PARTITION", "NEW-OFFSET")
    ));
    for (group, offsets) in plans {
        for ((topic, partition), offset) in offsets {
            out.line(&line(
                group,
                topic,
                &partition.to_string(),
                &offset.to_string(),
            ));
        }
    }
}

struct Plan<'a> {
    given: &'a Given,
    admin: &'a Admin,
    out: &'a Printer,
}

impl Plan<'_> {
    async fn partitions(&self, group: &str) -> Result<Vec<Partition>, Ended> {
        if self.given.has("all-topics") {
            let committed = self.committed(group).await?;
            return Ok(committed.into_keys().collect());
        }
        if self.given.has("topic") {
            let mut partitions = Vec::new();
            for argument in self.given.all("topic") {
                let (topic, some) = topic_argument(argument).map_err(Ended::Usage)?;
                let all = partitions_of(self.admin, &topic)
                    .await
                    .map_err(|error| Fault::of("describeTopics", &error).unwrapped())?;
                let some = some.unwrap_or_else(|| all.clone());
                let unknown: Vec<String> = some
                    .iter()
                    .filter(|partition| !all.contains(partition))
                    .map(|partition| format!("{topic}-{partition}"))
                    .collect();
                if !unknown.is_empty() {
                    let list = unknown.join(",");
                    return Err(format!("The partitions \"{list}\" do not exist").into());
                }
                partitions.extend(some.into_iter().map(|it| (topic.clone(), it)));
            }
            return Ok(partitions);
        }
        if self.given.has("from-file") {
            return Ok(Vec::new());
        }
        Err(Ended::Usage(
            "One of the reset scopes should be defined: --all-topics, --topic.".to_owned(),
        ))
    }

    async fn committed(&self, group: &str) -> Result<BTreeMap<Partition, i64>, Ended> {
        let committed = self
            .admin
            .group_offsets(group, None)
            .await
            .map_err(|error| executed_of(&error))?;
        Ok(committed
            .into_iter()
            .filter(|(_, offset)| *offset >= 0)
            .collect())
    }

    /// Offsets of partitions, in the order of Kafka's tool.
    async fn look_up(
        &self,
        partitions: &[Partition],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<Partition, i64>, Ended> {
        let wanted: Vec<(String, i32, OffsetSpec)> = partitions
            .iter()
            .map(|(topic, partition)| (topic.clone(), *partition, spec))
            .collect();
        let found = self
            .admin
            .list_offsets(&wanted, Isolation::ReadUncommitted)
            .await
            .map_err(|error| Fault::of("listOffsets", &error))?;
        let mut offsets = BTreeMap::new();
        for (at, result) in found {
            let (offset, _) = result.map_err(|error| executed_of(&error))?;
            offsets.insert(at, offset);
        }
        Ok(offsets)
    }

    async fn offsets(&self, group: &str, partitions: Vec<Partition>) -> Result<Offsets, Ended> {
        let given = self.given;
        let ordered = |offsets: BTreeMap<Partition, i64>| -> Offsets {
            java::partition_order(partitions.clone())
                .into_iter()
                .filter_map(|at| offsets.get(&at).map(|offset| (at.clone(), *offset)))
                .collect()
        };
        if let Some(offset) = given.parsed::<i64>("to-offset")? {
            let wanted = partitions.iter().map(|at| (at.clone(), offset)).collect();
            return Ok(ordered(self.bounded(wanted).await?));
        }
        if given.has("to-earliest") {
            return Ok(ordered(
                self.look_up(&partitions, OffsetSpec::Earliest).await?,
            ));
        }
        if given.has("to-latest") {
            return Ok(ordered(
                self.look_up(&partitions, OffsetSpec::Latest).await?,
            ));
        }
        if let Some(shift) = given.parsed::<i64>("shift-by")? {
            let committed = self.committed(group).await?;
            let mut wanted = BTreeMap::new();
            for at in &partitions {
                let Some(offset) = committed.get(at) else {
                    return Err(Ended::Usage(format!(
                        "Cannot shift offset for partition {}-{} since there is no current committed offset",
                        at.0, at.1
                    )));
                };
                wanted.insert(at.clone(), offset.saturating_add(shift));
            }
            return Ok(ordered(self.bounded(wanted).await?));
        }
        if let Some(text) = given.one("to-datetime")? {
            let at = time::datetime(text).map_err(|why| parse_fault(&why))?;
            return self.since(at, partitions).await;
        }
        if let Some(text) = given.one("by-duration")? {
            let duration = time::duration(text)
                .ok_or_else(|| Fault::from("Text cannot be parsed to a Duration".to_owned()))?;
            return self
                .since(time::now_ms().saturating_sub(duration), partitions)
                .await;
        }
        if given.has("to-current") {
            let committed = self.committed(group).await?;
            let (with, without): (Vec<Partition>, Vec<Partition>) = partitions
                .iter()
                .cloned()
                .partition(|at| committed.contains_key(at));
            let mut offsets: BTreeMap<Partition, i64> = with
                .into_iter()
                .filter_map(|at| committed.get(&at).map(|offset| (at.clone(), *offset)))
                .collect();
            if !without.is_empty() {
                offsets.extend(self.look_up(&without, OffsetSpec::Latest).await?);
            }
            return Ok(ordered(offsets));
        }
        if let Some(path) = given.one("from-file")? {
            return self.read_file(group, path).await;
        }
        Err(Ended::Usage(
            "Option '[reset-offsets]' requires one of the following scenarios: [[shift-by], [from-file], [to-datetime], \
             [by-duration], [to-latest], [to-current], [to-earliest], [to-offset]]"
                .to_owned(),
        ))
    }

    async fn since(&self, at: i64, partitions: Vec<Partition>) -> Result<Offsets, Ended> {
        let found = self.look_up(&partitions, OffsetSpec::Timestamp(at)).await?;
        let order = java::partition_order(partitions);
        let none: Vec<Partition> = order
            .iter()
            .filter(|at| found.get(*at).is_none_or(|offset| *offset < 0))
            .cloned()
            .collect();
        for (topic, partition) in &none {
            self.out.line(&format!(
                "\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."
            ));
        }
        let ends = self.look_up(&none, OffsetSpec::Latest).await?;
        Ok(order
            .into_iter()
            .filter_map(|at| {
                let found = found.get(&at).copied().filter(|offset| *offset >= 0);
                let offset = found.or_else(|| ends.get(&at).copied())?;
                Some((at, offset))
            })
            .collect())
    }

    /// Offsets moved to between the start and the end of their logs.
    async fn bounded(
        &self,
        wanted: BTreeMap<Partition, i64>,
    ) -> Result<BTreeMap<Partition, i64>, Ended> {
        let partitions: Vec<Partition> = wanted.keys().cloned().collect();
        let starts = self.look_up(&partitions, OffsetSpec::Earliest).await?;
        let ends = self.look_up(&partitions, OffsetSpec::Latest).await?;
        Ok(wanted
            .into_iter()
            .map(|(at, offset)| {
                let start = starts.get(&at).copied().unwrap_or(0);
                let end = ends.get(&at).copied().unwrap_or(i64::MAX);
                (at, offset.min(end).max(start))
            })
            .collect())
    }

    async fn read_file(&self, group: &str, path: &str) -> Result<Offsets, Ended> {
        let text = read_text(path)
            .map_err(|fault| Fault::new("", fault.java()).with_sentence(fault.message()))?;
        let mut wanted = BTreeMap::new();
        let mut partitions = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            if line.trim().is_empty() {
                continue;
            }
            let Some((of, at, offset)) = csv(line) else {
                return Err(format!(
                    "line {number} of {path} is neither topic,partition,offset nor group,topic,partition,offset: {line}"
                )
                .into());
            };
            if of.is_some_and(|of| of != group) {
                continue;
            }
            partitions.push(at.clone());
            wanted.insert(at, offset);
        }
        if wanted.is_empty() {
            self.out
                .line(&format!("\nError: No reset plan for group {group} found"));
            return Ok(Vec::new());
        }
        let bounded = self.bounded(wanted).await?;
        Ok(java::partition_order(partitions)
            .into_iter()
            .filter_map(|at| bounded.get(&at).map(|offset| (at.clone(), *offset)))
            .collect())
    }
}

fn parse_fault(why: &str) -> Fault {
    Fault::new("", format!("java.text.ParseException: {why}")).with_sentence(why)
}

/// A line of CSV: group (in files of several groups), partition, offset.
fn csv(line: &str) -> Option<(Option<String>, Partition, i64)> {
    let fields: Vec<String> = line
        .split(',')
        .map(|field| field.trim().trim_matches('"').to_owned())
        .collect();
    let (group, rest) = match fields.len() {
        3 => (None, &fields[..]),
        4 => (Some(fields[0].clone()), &fields[1..]),
        _ => return None,
    };
    let partition = rest[1].parse().ok()?;
    let offset = rest[2].parse().ok()?;
    Some((group, (rest[0].clone(), partition), offset))
}

/// `topic` or `topic:0,1`.
pub(super) fn topic_argument(argument: &str) -> Result<(String, Option<Vec<i32>>), String> {
    let Some((topic, list)) = argument.split_once(':') else {
        return Ok((argument.to_owned(), None));
    };
    let mut partitions = Vec::new();
    for text in list.split(',') {
        let partition = text.trim().parse().map_err(|_| {
            format!("Invalid partition '{text}' specified in topic arg '{argument}''")
        })?;
        partitions.push(partition);
    }
    Ok((topic.to_owned(), Some(partitions)))
}

/// The partitions of a topic that must be there.
pub(super) async fn partitions_of(admin: &Admin, topic: &str) -> Result<Vec<i32>, ApiError> {
    let described = admin.describe_topics(&[topic.to_owned()], 2000).await?;
    match described.into_iter().next() {
        Some((_, result)) => Ok(result?.partitions.iter().map(|it| it.index).collect()),
        None => Err(ApiError::code(ErrorCode::UnknownTopicOrPartition)),
    }
}
