//! **Owns** plans of reassignments: reading them, writing them, proposing them.
//! **Lives on** any thread: pure.
//! **Invariants** (1) A plan that is carried out names each partition once, with at least one replica, and none twice.
//! **Not here** carrying out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cli::java;
use crate::cli::session::Fault;

/// Where the replicas of a partition are to be on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dirs {
    /// Wherever.
    Any,
    /// A directory for each replica, or `any`.
    Named(Vec<String>),
}

/// One partition of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) replicas: Vec<i32>,
    pub(super) dirs: Dirs,
}

impl Move {
    pub(super) fn at(&self) -> (String, i32) {
        (self.topic.clone(), self.partition)
    }
}

/// A plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) moves: Vec<Move>,
}

pub(super) fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}

fn parse(text: &str) -> Result<Value, Fault> {
    serde_json::from_str(text).map_err(|error| {
        Fault::from(format!(
            "the file is no JSON: {error}; expected {{\"version\": 1, \"partitions\": […]}}"
        ))
    })
}

fn number(value: Option<&Value>) -> Option<i32> {
    value
        .and_then(Value::as_i64)
        .and_then(|number| i32::try_from(number).ok())
}

/// The topics of `--topics-to-move-json-file`.
pub(super) fn topics(text: &str) -> Result<Vec<String>, Fault> {
    let document = parse(text)?;
    let listed = document.get("topics").and_then(Value::as_array);
    let mut topics = Vec::new();
    for topic in listed.into_iter().flatten() {
        let name = topic.get("topic").and_then(Value::as_str);
        let name =
            name.ok_or_else(|| Fault::from(format!("each topic needs \"topic\": {topic}")))?;
        topics.push(name.to_owned());
    }
    Ok(topics)
}

/// The ids of `--broker-list`.
pub(super) fn brokers(list: &str) -> Result<Vec<i32>, Fault> {
    let mut ids = Vec::new();
    let mut twice = Vec::new();
    for text in list.split(',') {
        let id: i32 = text
            .trim()
            .parse()
            .map_err(|_| format!("For input string: \"{text}\""))?;
        if ids.contains(&id) {
            twice.push(id);
        }
        ids.push(id);
    }
    if !twice.is_empty() {
        return Err(format!(
            "Broker list contains duplicate entries: {}",
            java::list(twice)
        )
        .into());
    }
    Ok(ids)
}

impl Plan {
    pub(super) fn read(text: &str) -> Result<Self, Fault> {
        let document = parse(text)?;
        let mut moves = Vec::new();
        let listed = document.get("partitions").and_then(Value::as_array);
        for partition in listed.into_iter().flatten() {
            let wrong = || {
                Fault::from(format!(
                    "each partition needs \"topic\", \"partition\" and \"replicas\": {partition}"
                ))
            };
            let topic = partition.get("topic").and_then(Value::as_str);
            let replicas: Option<Vec<i32>> = partition
                .get("replicas")
                .and_then(Value::as_array)
                .and_then(|ids| ids.iter().map(|id| number(Some(id))).collect());
            let dirs = match partition.get("log_dirs").and_then(Value::as_array) {
                None => Dirs::Any,
                Some(dirs) => Dirs::Named(
                    dirs.iter()
                        .map(|dir| dir.as_str().map(str::to_owned))
                        .collect::<Option<Vec<String>>>()
                        .ok_or_else(wrong)?,
                ),
            };
            moves.push(Move {
                topic: topic.ok_or_else(wrong)?.to_owned(),
                partition: number(partition.get("partition")).ok_or_else(wrong)?,
                replicas: replicas.ok_or_else(wrong)?,
                dirs,
            });
        }
        for it in &moves {
            if let Dirs::Named(dirs) = &it.dirs
                && dirs.len() != it.replicas.len()
            {
                return Err(format!(
                    "Size of replicas list {} is different from size of log dirs list {} for partition {}-{}",
                    java::list(&it.replicas),
                    java::list(dirs),
                    it.topic,
                    it.partition
                )
                .into());
            }
        }
        Ok(Self { moves })
    }

    /// Whether it can be carried out.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.moves.is_empty() {
            return Err("Partition reassignment list cannot be empty"
                .to_owned()
                .into());
        }
        if self.moves.iter().any(|it| it.replicas.is_empty()) {
            return Err("Partition replica list cannot be empty".to_owned().into());
        }
        let mut seen = BTreeSet::new();
        let twice: Vec<String> = self
            .moves
            .iter()
            .filter(|it| !seen.insert(it.at()))
            .map(|it| format!("{}-{}", it.topic, it.partition))
            .collect();
        if !twice.is_empty() {
            return Err(format!(
                "Partition reassignment contains duplicate topic partitions: {}",
                twice.join(",")
            )
            .into());
        }
        for it in &self.moves {
            let unique: BTreeSet<&i32> = it.replicas.iter().collect();
            if unique.len() != it.replicas.len() {
                return Err(format!(
                    "Partition replica lists may not contain duplicate entries: {}-{} contains multiple entries for {}",
                    it.topic,
                    it.partition,
                    joined(&it.replicas)
                )
                .into());
            }
        }
        Ok(())
    }

    pub(super) fn topics(&self) -> BTreeSet<String> {
        self.moves.iter().map(|it| it.topic.clone()).collect()
    }

    pub(super) fn brokers(&self) -> BTreeSet<i32> {
        self.moves
            .iter()
            .flat_map(|it| &it.replicas)
            .copied()
            .collect()
    }

    /// `topic-partition` of each, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        let mut at: Vec<(String, i32)> = self.moves.iter().map(Move::at).collect();
        at.sort();
        at.iter()
            .map(|(topic, partition)| format!("{topic}-{partition}"))
            .collect()
    }

    /// As Kafka's tool writes it.
    pub(super) fn text(&self) -> String {
        self.json().to_string()
    }

    /// The plan as a document, as its file has it.
    pub(super) fn json(&self) -> Value {
        let partitions: Vec<Value> = self
            .moves
            .iter()
            .map(|it| {
                let dirs = match &it.dirs {
                    Dirs::Any => vec!["any".to_owned(); it.replicas.len()],
                    Dirs::Named(dirs) => dirs.clone(),
                };
                json!({
                    "topic": it.topic,
                    "partition": it.partition,
                    "replicas": it.replicas,
                    "log_dirs": dirs,
                })
            })
            .collect();
        json!({ "version": 1, "partitions": partitions })
    }

    /// Moves between directories, by broker.
    pub(super) fn dir_moves(&self) -> BTreeMap<i32, Vec<(String, i32, String)>> {
        let mut moves: BTreeMap<i32, Vec<(String, i32, String)>> = BTreeMap::new();
        for it in &self.moves {
            let Dirs::Named(dirs) = &it.dirs else {
                continue;
            };
            for (broker, dir) in it.replicas.iter().zip(dirs) {
                if dir != "any" {
                    let to = (it.topic.clone(), it.partition, dir.clone());
                    moves.entry(*broker).or_default().push(to);
                }
            }
        }
        moves
    }

    /// The replicas of a topic that send and those that get, as throttles name them: `partition:broker`.
    pub(super) fn throttled_replicas(
        &self,
        topic: &str,
        now: &BTreeMap<(String, i32), Vec<i32>>,
    ) -> (String, String) {
        let (mut leaders, mut followers) = (BTreeSet::new(), BTreeSet::new());
        for it in self.moves.iter().filter(|it| it.topic == topic) {
            let there = now.get(&it.at()).cloned().unwrap_or_default();
            for broker in &there {
                leaders.insert(format!("{}:{broker}", it.partition));
            }
            for broker in it.replicas.iter().filter(|id| !there.contains(id)) {
                followers.insert(format!("{}:{broker}", it.partition));
            }
        }
        let text = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(",");
        (text(leaders), text(followers))
    }

    /// Spreads the partitions of each topic over brokers, replicas over racks where all have one. Where it begins is drawn.
    pub(super) fn propose(
        now: &BTreeMap<(String, i32), Vec<i32>>,
        racks: &BTreeMap<i32, Option<String>>,
        rack_aware: bool,
        draw: u64,
    ) -> Result<Self, Fault> {
        let with_racks = rack_aware && racks.values().all(Option::is_some);
        if rack_aware && !with_racks && racks.values().any(Option::is_some) {
            return Err(
                "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica \
                 assignment without rack information."
                    .to_owned()
                    .into(),
            );
        }
        let order = alternating(racks, with_racks);
        let mut moves = Vec::new();
        let start = if order.is_empty() {
            0
        } else {
            usize::try_from(draw >> 1).unwrap_or(0) % order.len()
        };
        for ((topic, partition), replicas) in now {
            if replicas.len() > order.len() {
                return Err(format!(
                    "Replication factor: {} larger than available brokers: {}.",
                    replicas.len(),
                    order.len()
                )
                .into());
            }
            let first = start + usize::try_from(*partition).unwrap_or(0);
            moves.push(Move {
                topic: topic.clone(),
                partition: *partition,
                replicas: (0..replicas.len())
                    .map(|at| order[(first + at) % order.len()])
                    .collect(),
                dirs: Dirs::Any,
            });
        }
        Ok(Self { moves })
    }
}

/// Brokers such that neighbours are in different racks as far as possible.
fn alternating(racks: &BTreeMap<i32, Option<String>>, with_racks: bool) -> Vec<i32> {
    if !with_racks {
        return racks.keys().copied().collect();
    }
    let mut by_rack: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (id, rack) in racks {
        by_rack
            .entry(rack.as_deref().unwrap_or_default())
            .or_default()
            .push(*id);
    }
    let mut order = Vec::new();
    for turn in 0..racks.len() {
        order.extend(by_rack.values().filter_map(|ids| ids.get(turn)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_written_as_it_is_read() {
        let text = r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2],"log_dirs":["any","/d"]}]}"#;
        let plan = Plan::read(text).unwrap();
        assert_eq!(plan.text(), text);
        assert!(plan.check().is_ok());
        assert_eq!(plan.names(), ["t-0"]);
        assert_eq!(
            plan.dir_moves(),
            BTreeMap::from([(2, vec![("t".to_owned(), 0, "/d".to_owned())])])
        );
    }

    #[test]
    fn neighbours_are_in_different_racks() {
        let rack = |name: &str| Some(name.to_owned());
        let racks = BTreeMap::from([
            (1, rack("a")),
            (2, rack("a")),
            (3, rack("b")),
            (4, rack("b")),
        ]);
        assert_eq!(alternating(&racks, true), [1, 3, 2, 4]);
        let now = BTreeMap::from([(("t".to_owned(), 0), vec![1, 2])]);
        let plan = Plan::propose(&now, &racks, true, 7).unwrap();
        let [a, b] = plan.moves[0].replicas[..] else {
            panic!("two replicas")
        };
        assert_ne!(racks[&a], racks[&b]);
    }
}
