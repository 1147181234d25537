//! **Owns** `topics`: Kafka's `kafka-topics`.
//! **Lives on** the command's thread.
//! **Not here** the calls (`client::admin`).
//! **Invariants** none beyond the types'.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use corelog_net::wire::messages::describe_configs::DescribeConfigsResourceResult;
use corelog_net::wire::messages::list_partition_reassignments::OngoingPartitionReassignment;
use corelog_net::wire::{ErrorCode, Uuid};
use regex::Regex;
use serde_json::{Value, json};

use super::options::{Given, Opt, Refusal, Table, flag, value};
use super::properties::{self, Properties};
use super::{Out, on_runtime};
use crate::client::admin::{
    Admin, ConfigResource, ListedTopic, NewTopic, PartitionDescription, SOURCE_DEFAULT,
    TopicDescription,
};
use crate::client::{ApiError, Client};

/// Runs the command.
pub(super) fn run(arguments: &[String], out: &mut Out) -> u8 {
    if arguments.is_empty() {
        let usage = "Create, delete, describe, or change a topic.".to_owned();
        return Refusal::Usage(usage).print(&TABLE, out);
    }
    let given = match TABLE.parse(arguments).and_then(|given| {
        check(&given)?;
        Ok(given)
    }) {
        Ok(given) => given,
        Err(refusal) => return refusal.print(&TABLE, out),
    };
    let loaded = match given.one("command-config") {
        Ok(Some(path)) => properties::load(path),
        Ok(None) => Ok(Properties::new()),
        Err(error) => Err(error),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            out.error(&error);
            return 1;
        }
    };
    match work(given, loaded) {
        Ok(said) => {
            said.print(out);
            0
        }
        Err((said, error)) => {
            said.print(out);
            out.line(&format!("Error while executing topic command : {error}"));
            1
        }
    }
}

/// What is to be printed.
#[derive(Clone, Debug, Default)]
struct Said {
    text: String,
    /// With `--output json`.
    document: Option<Value>,
}

impl Said {
    fn print(&self, out: &mut Out) {
        out.bytes(self.text.as_bytes());
        if let Some(document) = &self.document {
            out.document(document);
        }
    }
}

/// Does it; gives what is to be printed, and the error after it.
fn work(given: Given, loaded: Properties) -> Result<Said, (Said, String)> {
    let mut said = Said::default();
    let plan = Plan::new(given, loaded, &mut said.text).map_err(|error| (said.clone(), error))?;
    let (action, before) = (plan.action, said.clone());
    let outcome = on_runtime(async move {
        let done = plan.carry_out(&mut said).await;
        (said, done)
    });
    match outcome {
        Ok((said, Ok(()))) => Ok(said),
        Ok((said, Err(Failure::Unreachable))) => Err((
            said,
            format!(
                "Timed out waiting for a node assignment. Call: {}",
                action.first_call()
            ),
        )),
        Ok((said, Err(Failure::Said(error)))) => Err((said, error)),
        Err(error) => Err((before, error)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Create,
    List,
    Alter,
    Describe,
    Delete,
}

impl Action {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Create, "create"),
        (Self::List, "list"),
        (Self::Alter, "alter"),
        (Self::Describe, "describe"),
        (Self::Delete, "delete"),
    ];

    /// What Kafka's tool would be doing when no broker answers.
    fn first_call(self) -> &'static str {
        match self {
            Self::Create => "createTopics",
            Self::List | Self::Alter | Self::Describe | Self::Delete => "listTopics",
        }
    }
}

enum Failure {
    Unreachable,
    Said(String),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Call(error) if error.is_retriable() => Self::Unreachable,
            error => Self::Said(error.text()),
        }
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Said(error)
    }
}

/// The checks of Kafka's tool, in its order.
fn check(given: &Given) -> Result<(), Refusal> {
    let actions = Action::ALL
        .iter()
        .filter(|(_, name)| given.has(name))
        .count();
    if actions != 1 {
        return Err(Refusal::Usage(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete"
                .to_owned(),
        ));
    }
    if !given.has("bootstrap-server") {
        return Err(Refusal::Error(
            "--bootstrap-server must be specified".to_owned(),
        ));
    }
    if given.has("describe")
        && given.has("if-exists")
        && !given.has("topic")
        && !given.has("topic-id")
    {
        return Err(Refusal::Usage(
            "--topic or --topic-id is required to describe a topic".to_owned(),
        ));
    }
    if given.has("create") || given.has("delete") {
        given.require(&["topic"])?;
    }
    if given.has("alter") {
        if given.has("config") {
            return Err(Refusal::Usage(
                "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \
                 \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)"
                    .to_owned(),
            ));
        }
        given.require(&["partitions"])?;
    }
    for (option, allowed) in ONLY_WITH {
        let others: Vec<&str> = TOPIC_LEVEL
            .iter()
            .copied()
            .filter(|name| !allowed.contains(name))
            .collect();
        given.exclude(option, &others)?;
    }
    let filters = [
        "under-replicated-partitions",
        "under-min-isr-partitions",
        "at-min-isr-partitions",
        "unavailable-partitions",
        "topics-with-overrides",
    ];
    for filter in filters {
        let others: Vec<&str> = filters.into_iter().filter(|it| *it != filter).collect();
        given.exclude(filter, &others)?;
    }
    if given.has("create") {
        given.exclude("replica-assignment", &["partitions", "replication-factor"])?;
    }
    Ok(())
}

/// The command, read.
struct Plan {
    action: Action,
    given: Given,
    properties: Properties,
    pattern: Option<Regex>,
    new: NewTopic,
}

impl Plan {
    fn new(given: Given, mut properties: Properties, said: &mut String) -> Result<Self, String> {
        let action = Action::ALL
            .iter()
            .find(|(_, name)| given.has(name))
            .map_or(Action::List, |(action, _)| *action);
        let bootstrap = given.one("bootstrap-server")?.unwrap_or_default();
        properties.insert("bootstrap.servers".to_owned(), bootstrap.to_owned());
        let topic = given.one("topic")?;
        let mut new = NewTopic::default();
        if let Some(topic) = topic {
            topic.clone_into(&mut new.name);
        }
        if matches!(action, Action::Create | Action::Alter) {
            if action == Action::Create && new.name.contains(['.', '_']) {
                said.push_str(COLLISION_WARNING);
            }
            new.partitions = given.parsed("partitions")?;
            let factor: Option<i32> = given.parsed("replication-factor")?;
            if factor.is_some_and(|factor| factor > i32::from(i16::MAX) || factor < 1) {
                return Err(
                    "The replication factor must be between 1 and 32767 inclusive".to_owned(),
                );
            }
            new.replication_factor = factor.and_then(|factor| i16::try_from(factor).ok());
            if action == Action::Create && new.partitions.is_some_and(|count| count < 1) {
                return Err("The partitions must be greater than 0".to_owned());
            }
            if let Some(assignment) = given.one("replica-assignment")? {
                new.assignment = replica_assignment(assignment)?;
            }
            for config in given.all("config") {
                new.configs.push(topic_config(config)?);
            }
        }
        let pattern = match (action, topic) {
            (Action::Create, _) | (_, None) => None,
            (_, Some(topic)) => Some(include_pattern(topic)?),
        };
        Ok(Self {
            action,
            given,
            properties,
            pattern,
            new,
        })
    }

    async fn carry_out(&self, said: &mut Said) -> Result<(), Failure> {
        let config = properties::client_config(&self.properties)?;
        let client = Client::connect(config).await.map_err(|error| {
            let crate::client::ConnectError::Bootstrap(error) = error;
            Failure::from(ApiError::Call(*error))
        })?;
        let admin = Admin::new(&client);
        match self.action {
            Action::Create => self.create(&admin, &mut said.text).await,
            Action::List => {
                let topics = self.matching(&admin).await?;
                if self.given.json()? {
                    let topics: Vec<Value> = topics
                        .iter()
                        .map(|topic| {
                            json!({
                                "topic": topic.name,
                                "topicId": topic.id.to_string(),
                                "internal": topic.is_internal,
                            })
                        })
                        .collect();
                    said.document = Some(json!(topics));
                    return Ok(());
                }
                let names: Vec<String> = topics.into_iter().map(|topic| topic.name).collect();
                said.text.push_str(&names.join("\n"));
                said.text.push('\n');
                Ok(())
            }
            Action::Alter => self.alter(&admin).await,
            Action::Describe => self.describe(&admin, said).await,
            Action::Delete => {
                let names = self.existing(&admin).await?;
                let results = admin.delete_topics(&names).await?;
                for (_, result) in results {
                    result?;
                }
                Ok(())
            }
        }
    }

    async fn create(&self, admin: &Admin, said: &mut String) -> Result<(), Failure> {
        let results = admin
            .create_topics(std::slice::from_ref(&self.new), false)
            .await?;
        for (name, result) in results {
            match result {
                Ok(_) => {
                    said.push_str("Created topic ");
                    said.push_str(&name);
                    said.push_str(".\n");
                }
                Err(error)
                    if error.refusal() == Some(ErrorCode::TopicAlreadyExists)
                        && self.given.has("if-not-exists") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn alter(&self, admin: &Admin) -> Result<(), Failure> {
        let names = self.existing(admin).await?;
        if names.is_empty() {
            return Ok(());
        }
        let count = self.new.partitions.unwrap_or_default();
        let mut changes = Vec::new();
        if self.new.assignment.is_empty() {
            changes.extend(names.into_iter().map(|name| (name, count, None)));
        } else {
            for (name, described) in admin.describe_topics(&names, PAGE).await? {
                let there = described?.partitions.len();
                let new = self.new.assignment.iter().skip(there).cloned().collect();
                changes.push((name, count, Some(new)));
            }
        }
        for (_, result) in admin.create_partitions(&changes, false).await? {
            result?;
        }
        Ok(())
    }

    /// The topics that the pattern includes; all without one.
    async fn matching(&self, admin: &Admin) -> Result<Vec<ListedTopic>, Failure> {
        let mut topics = admin.list_topics().await?;
        topics.retain(|topic| {
            !(self.given.has("exclude-internal") && topic.is_internal)
                && self
                    .pattern
                    .as_ref()
                    .is_none_or(|pattern| pattern.is_match(&topic.name))
        });
        Ok(topics)
    }

    /// [`Plan::matching`], at least one unless `--if-exists`.
    async fn existing(&self, admin: &Admin) -> Result<Vec<String>, Failure> {
        let names: Vec<String> = self
            .matching(admin)
            .await?
            .into_iter()
            .map(|topic| topic.name)
            .collect();
        if names.is_empty() && self.pattern.is_some() && !self.given.has("if-exists") {
            let topic = &self.new.name;
            return Err(format!("Topic '{topic}' does not exist as expected").into());
        }
        Ok(names)
    }

    async fn describe(&self, admin: &Admin, said: &mut Said) -> Result<(), Failure> {
        let id = match self.given.one("topic-id")? {
            Some(text) => Some(topic_id(text)?).filter(|id| !id.is_zero()),
            None => None,
        };
        let topics: Vec<TopicDescription> = if let Some(id) = id {
            match admin.describe_topic_by_id(id).await {
                Ok(topic) => vec![topic],
                Err(error)
                    if matches!(
                        error.refusal(),
                        Some(ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition)
                    ) =>
                {
                    if self.given.has("if-exists") {
                        Vec::new()
                    } else {
                        return Err(format!("TopicId '{id}' does not exist as expected").into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        } else {
            let names = self.existing(admin).await?;
            let limit = self
                .given
                .parsed("partition-size-limit-per-response")?
                .unwrap_or(PAGE);
            let mut topics = Vec::new();
            for (_, described) in admin.describe_topics(&names, limit).await? {
                topics.push(described?);
            }
            topics
        };
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let mut configs = BTreeMap::new();
        for (name, described) in admin
            .describe_many_configs(ConfigResource::Topic, &names)
            .await?
        {
            configs.insert(name, described?);
        }
        // Who may not see reassignments sees the topics all the same, as in Kafka's tool.
        let reassignments = admin.reassignments().await.unwrap_or_default();
        let live: BTreeSet<i32> = admin.client().metadata().brokers().map(|b| b.id).collect();
        if self.given.json()? {
            let documents: Vec<Value> = topics
                .iter()
                .map(|topic| {
                    let configs = configs.get(&topic.name).map_or(&[][..], Vec::as_slice);
                    topic_json(topic, configs)
                })
                .collect();
            said.document = Some(json!(documents));
            return Ok(());
        }
        let view = View::new(&self.given);
        for topic in &topics {
            let configs = configs.get(&topic.name).map_or(&[][..], Vec::as_slice);
            view.topic(topic, configs, &reassignments, &live, &mut said.text);
        }
        Ok(())
    }
}

type Reassignments = BTreeMap<(String, i32), OngoingPartitionReassignment>;

/// Which lines `--describe` prints.
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
struct View {
    overrides: bool,
    under_replicated: bool,
    unavailable: bool,
    under_min_isr: bool,
    at_min_isr: bool,
}

impl View {
    fn new(given: &Given) -> Self {
        Self {
            overrides: given.has("topics-with-overrides"),
            under_replicated: given.has("under-replicated-partitions"),
            unavailable: given.has("unavailable-partitions"),
            under_min_isr: given.has("under-min-isr-partitions"),
            at_min_isr: given.has("at-min-isr-partitions"),
        }
    }

    fn is_filtered(&self) -> bool {
        self.under_replicated || self.unavailable || self.under_min_isr || self.at_min_isr
    }

    fn topic(
        &self,
        topic: &TopicDescription,
        configs: &[DescribeConfigsResourceResult],
        reassignments: &Reassignments,
        live: &BTreeSet<i32>,
        said: &mut String,
    ) {
        let set: Vec<&DescribeConfigsResourceResult> = configs
            .iter()
            .filter(|config| config.config_source != SOURCE_DEFAULT)
            .collect();
        let reassignment = |index: i32| reassignments.get(&(topic.name.clone(), index));
        if !self.is_filtered() && (!self.overrides || !set.is_empty()) {
            let factor = topic.partitions.first().map_or(0, |first| {
                replication_factor(first, reassignment(first.index))
            });
            let id = if topic.id.is_zero() {
                String::new()
            } else {
                format!("\tTopicId: {}", topic.id)
            };
            let set: Vec<String> = set
                .iter()
                .map(|config| {
                    let value = config.value.as_deref().unwrap_or("null");
                    format!("{}={value}", config.name)
                })
                .collect();
            // Writing to a string does not fail.
            let _ = writeln!(
                said,
                "Topic: {}{id}\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
                topic.name,
                topic.partitions.len(),
                set.join(",")
            );
        }
        if self.overrides {
            return;
        }
        let min_isr: usize = configs
            .iter()
            .find(|config| config.name == "min.insync.replicas")
            .and_then(|config| config.value.as_deref()?.parse().ok())
            .unwrap_or(1);
        for partition in &topic.partitions {
            let moving = reassignment(partition.index);
            let in_sync = partition.isr.len();
            let shown = !self.is_filtered()
                || (self.under_replicated && in_sync < replication_factor(partition, moving))
                || (self.unavailable && partition.leader.is_none_or(|id| !live.contains(&id)))
                || (self.under_min_isr && (partition.leader.is_none() || in_sync < min_isr))
                || (self.at_min_isr && partition.leader.is_some() && in_sync == min_isr);
            if shown {
                said.push_str(&partition_line(&topic.name, partition, moving));
            }
        }
    }
}

fn topic_json(topic: &TopicDescription, configs: &[DescribeConfigsResourceResult]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|it| {
            json!({
                "partition": it.index,
                "leader": it.leader,
                "replicas": it.replicas,
                "isr": it.isr,
                "elr": it.elr,
                "lastKnownElr": it.last_known_elr,
            })
        })
        .collect();
    let configs: serde_json::Map<String, Value> = configs
        .iter()
        .filter(|config| config.config_source != SOURCE_DEFAULT)
        .map(|config| (config.name.clone(), json!(config.value)))
        .collect();
    json!({
        "topic": topic.name,
        "topicId": topic.id.to_string(),
        "internal": topic.is_internal,
        "configs": configs,
        "partitions": partitions,
    })
}

fn partition_line(
    topic: &str,
    partition: &PartitionDescription,
    moving: Option<&OngoingPartitionReassignment>,
) -> String {
    let leader = partition
        .leader
        .map_or_else(|| "none".to_owned(), |leader| leader.to_string());
    let known = |list: &Option<Vec<i32>>| list.as_deref().map_or("N/A".to_owned(), joined);
    let moving = moving.map_or(String::new(), |moving| {
        format!(
            "\tAdding Replicas: {}\tRemoving Replicas: {}",
            joined(&moving.adding_replicas),
            joined(&moving.removing_replicas)
        )
    });
    format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}{moving}\n",
        partition.index,
        joined(&partition.replicas),
        joined(&partition.isr),
        known(&partition.elr),
        known(&partition.last_known_elr),
    )
}

/// Replicas that are being added do not count yet.
fn replication_factor(
    partition: &PartitionDescription,
    moving: Option<&OngoingPartitionReassignment>,
) -> usize {
    let adding = moving.map_or(0, |moving| moving.adding_replicas.len());
    partition.replicas.len().saturating_sub(adding)
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}

/// Kafka's include list: a regular expression for whole names, where a comma is an alternative.
pub(super) fn include_pattern(text: &str) -> Result<Regex, String> {
    let quotes = |c: char| c == '"' || c == '\'';
    let pattern = text.trim().replace(',', "|").replace(' ', "");
    let pattern = pattern.trim_matches(quotes);
    Regex::new(&format!("^(?:{pattern})$")).map_err(|_| format!("{text} is an invalid regex."))
}

fn topic_id(text: &str) -> Result<Uuid, String> {
    super::uuid(text)
}

fn topic_config(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !value.is_empty() && !value.contains('=') => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(
            "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\"."
                .to_owned(),
        ),
    }
}

fn replica_assignment(text: &str) -> Result<Vec<Vec<i32>>, String> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    for (index, list) in text.split(',').enumerate() {
        let mut brokers = Vec::new();
        for id in list.split(':') {
            let id: i32 = id
                .trim()
                .parse()
                .map_err(|_| format!("For input string: \"{id}\""))?;
            brokers.push(id);
        }
        let mut seen = BTreeSet::new();
        let twice: Vec<i32> = brokers
            .iter()
            .copied()
            .filter(|id| !seen.insert(*id))
            .collect();
        if !twice.is_empty() {
            return Err(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                joined(&twice)
            ));
        }
        if partitions
            .first()
            .is_some_and(|first| first.len() != brokers.len())
        {
            return Err(format!(
                "Partition {index} has different replication factor: [{}]",
                joined(&brokers).replace(',', ", ")
            ));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

/// Partitions per response when the user does not say.
const PAGE: i32 = 2000;

const COLLISION_WARNING: &str = "WARNING: Due to limitations in metric names, topics with a period ('.') or \
     underscore ('_') could collide. To avoid issues it is best to use either, but not both.\n";

/// The options that exclude each other unless [`ONLY_WITH`] says otherwise.
const TOPIC_LEVEL: &[&str] = &["alter", "create", "describe", "list", "delete"];

/// Options and the actions they go with.
const ONLY_WITH: &[(&str, &[&str])] = &[
    ("config", &["alter", "create"]),
    ("delete-config", &["alter"]),
    ("partitions", &["alter", "create"]),
    ("replication-factor", &["create"]),
    ("replica-assignment", &["alter", "create"]),
    ("under-replicated-partitions", &["describe"]),
    ("under-min-isr-partitions", &["describe"]),
    ("at-min-isr-partitions", &["describe"]),
    ("unavailable-partitions", &["describe"]),
    ("topics-with-overrides", &["describe"]),
    ("if-exists", &["alter", "delete", "describe"]),
    ("if-not-exists", &["create"]),
    ("exclude-internal", &["list", "describe"]),
];

const OPTIONS: &[Opt] = &[
    flag("alter", "Change the number of partitions of topics."),
    flag(
        "at-min-isr-partitions",
        "With --describe: only partitions with exactly min.insync.replicas replicas in sync.",
    ),
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
    value(
        "config",
        "String: name=value",
        "With --create: a config of the new topic. May be given several times.",
    ),
    flag("create", "Create a topic."),
    flag("delete", "Delete topics."),
    value(
        "delete-config",
        "String: name",
        "Not supported with --bootstrap-server; see the configs command.",
    ),
    flag("describe", "Show details of topics."),
    flag(
        "exclude-internal",
        "With --list and --describe: leave internal topics out.",
    ),
    flag(
        "if-exists",
        "With --alter, --delete and --describe: nothing to do is no error.",
    ),
    flag(
        "if-not-exists",
        "With --create: that the topic exists is no error.",
    ),
    flag("list", "List topics."),
    value(
        "partition-size-limit-per-response",
        "Integer: maximum number of partitions per response",
        "With --describe: how many partitions to ask for at once.",
    ),
    value(
        "partitions",
        "Integer: # of partitions",
        "The number of partitions.",
    ),
    value(
        "replica-assignment",
        "String: broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , broker_id_for_part2_replica1 : broker_id_for_part2_replica2 , ...",
        "The brokers of each partition.",
    ),
    value(
        "replication-factor",
        "Integer: replication factor",
        "The number of replicas; the broker's default when not given.",
    ),
    value(
        "topic",
        "String: topic",
        "The topic. Except with --create, a regular expression.",
    ),
    value(
        "topic-id",
        "String: topic-id",
        "With --describe: the topic's id.",
    ),
    flag(
        "topics-with-overrides",
        "With --describe: only topics with configs of their own.",
    ),
    flag(
        "unavailable-partitions",
        "With --describe: only partitions whose leader is not available.",
    ),
    flag(
        "under-min-isr-partitions",
        "With --describe: only partitions with fewer than min.insync.replicas replicas in sync.",
    ),
    flag(
        "under-replicated-partitions",
        "With --describe: only partitions with replicas out of sync.",
    ),
];

pub(super) const TABLE: Table = Table {
    about: "This tool helps to create, delete, describe, or change a topic.",
    options: OPTIONS,
};
