//! Requests answered as Kafka 4.3.1 answered them, and what their records make of the image.

mod directories;
mod properties;
mod quotas;
mod scram;

use corelog_net::wire::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsTopic,
};
use corelog_net::wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
    CreateTopicsRequest,
};
use corelog_net::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use corelog_net::wire::messages::elect_leaders::{ElectLeadersRequest, TopicPartitions};
use corelog_net::wire::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use corelog_net::wire::messages::{
    alter_configs, alter_partition_reassignments as reassign, incremental_alter_configs as alter,
};
use corelog_net::wire::{Message, Uuid};

use super::Controller;
use crate::config::{BrokerConfig, Endpoint, FileText};
use crate::metadata::bootstrap::{self, NodeRegistration, Restart};
use crate::metadata::{Image, MetadataRecord, ResourceType};

/// A node that decides, stores and applies.
struct Node {
    image: Image,
    config: BrokerConfig,
    drawn: u64,
    /// What was stored, when a test wants to know.
    log: Option<Vec<MetadataRecord>>,
}

impl Node {
    fn new(settings: &str) -> Self {
        let settings = format!("offsets.topic.replication.factor=1\n{settings}");
        let file = FileText {
            path: "f",
            bytes: settings.as_bytes(),
        };
        let config = BrokerConfig::load(Some(file), &[])
            .expect("good settings")
            .config;
        let mut image = Image::default();
        let node = NodeRegistration {
            node_id: 1,
            incarnation_id: Uuid([5; 16]),
            endpoints: vec![Endpoint::parse("PLAINTEXT://h:1").expect("an endpoint")],
            rack: None,
            log_dirs: vec![Uuid([6; 16])],
            cordoned_log_dirs: Vec::new(),
        };
        let first = bootstrap::empty_cluster(bootstrap::features());
        for record in
            first
                .iter()
                .chain(&bootstrap::start(&image.clone(), &node, 9, Restart::Clean))
        {
            image.apply(record).expect("it fits");
        }
        Self {
            image,
            config,
            drawn: 0,
            log: None,
        }
    }

    fn controller(&self) -> Controller<'_> {
        Controller::new(&self.image, &self.config)
    }

    fn store(&mut self, records: &[MetadataRecord]) {
        let (image, _) = self
            .image
            .after(records)
            .expect("records of an outcome fit");
        self.image = image;
        if let Some(log) = &mut self.log {
            log.extend_from_slice(records);
        }
    }

    fn create(&mut self, request: &CreateTopicsRequest) -> Vec<CreatableTopicResult> {
        let mut drawn = self.drawn;
        let mut ids = || {
            drawn += 1;
            let mut id = [3; 16];
            id[8..].copy_from_slice(&drawn.to_be_bytes());
            Uuid(id)
        };
        let outcome = self.controller().create_topics(request, &mut ids);
        self.drawn = drawn;
        self.store(&outcome.records);
        outcome.response.topics
    }

    fn topic(&mut self, name: &str, partitions: i32) {
        let results = self.create(&request(vec![topic(name, partitions, 1)]));
        assert_eq!(results[0].error_code, 0, "{:?}", results[0].error_message);
    }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    let name = name.to_owned();
    CreatableTopic {
        name,
        num_partitions,
        replication_factor,
        ..CreatableTopic::default()
    }
}

fn request(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest {
        topics,
        ..CreateTopicsRequest::default()
    }
}

fn assigned(partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignment = |(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
        ..CreatableReplicaAssignment::default()
    };
    let assignments = partitions.iter().map(assignment).collect();
    CreatableTopic {
        assignments,
        ..topic("b", -1, -1)
    }
}

fn configured(configs: &[(&str, Option<&str>)]) -> CreatableTopic {
    let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
        name: (*name).to_owned(),
        value: value.map(str::to_owned),
        ..CreatableTopicConfig::default()
    };
    CreatableTopic {
        configs: configs.iter().map(config).collect(),
        ..topic("b", 1, 1)
    }
}

#[test]
fn topics_are_refused_as_kafka_refuses_them() {
    let mut node = Node::new("");
    for name in ["ct1", "ct_1"] {
        node.topic(name, 1);
    }
    let (long, invalid) = ("x".repeat(250), "Topic name is invalid:");
    let too_long =
        format!("{invalid} the length of '{long}' is longer than the max allowed length 249");
    let non_positive = "Number of partitions was set to an invalid non-positive value.";
    let no_broker = "The manual partition assignment includes broker";
    let sequence = "partitions should be a consecutive 0-based integer sequence";
    let rows: Vec<(CreatableTopic, i16, String)> = vec![
        (topic("ct1", 1, 1), 36, "Topic 'ct1' already exists.".into()),
        (topic("b", 0, 1), 37, non_positive.into()),
        (topic("b", -2, 1), 37, non_positive.into()),
        (topic("b", 1, 0), 38, "Replication factor must be larger than 0, or -1 to use the default value.".into()),
        (topic("b", 1, 2), 38, "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned.".into()),
        (topic("a b", 1, 1), 17, format!("{invalid} 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")),
        (topic("", 1, 1), 17, format!("{invalid} the empty string is not allowed")),
        (topic("..", 1, 1), 17, format!("{invalid} '..' is not allowed")),
        (topic(&long, 1, 1), 17, too_long),
        (topic("ct.1", 1, 1), 17, "Topic 'ct.1' collides with existing topic: ct_1".into()),
        (topic("b", 20_000, 1), 44, "Excessively large number of partitions per request.".into()),
        (CreatableTopic { replication_factor: 1, ..assigned(&[(0, &[1])]) }, 42, "A manual partition assignment was specified, but replication factor was not set to -1.".into()),
        (CreatableTopic { num_partitions: 1, ..assigned(&[(0, &[1])]) }, 42, "A manual partition assignment was specified, but numPartitions was not set to -1.".into()),
        (assigned(&[(0, &[1]), (2, &[1])]), 39, sequence.into()),
        (assigned(&[(1, &[1])]), 39, sequence.into()),
        (assigned(&[(0, &[1]), (0, &[1])]), 39, "Found multiple manual partition assignments for partition 0".into()),
        (assigned(&[(0, &[9])]), 39, format!("{no_broker} 9, but no such broker is registered.")),
        (assigned(&[(0, &[1, 1])]), 39, "The manual partition assignment includes the broker 1 more than once.".into()),
        (assigned(&[(0, &[1]), (1, &[1, 2])]), 39, format!("{no_broker} 2, but no such broker is registered.")),
        (assigned(&[(0, &[])]), 39, "The manual partition assignment includes an empty replica list.".into()),
        (assigned(&[(0, &[-1])]), 39, format!("{no_broker} -1, but no such broker is registered.")),
        (configured(&[("nope", Some("1"))]), 40, "Unknown topic config name: nope".into()),
        (configured(&[("retention.ms", None)]), 40, "Null value not supported for topic configs: retention.ms".into()),
        (configured(&[("retention.ms", Some("abc"))]), 40, "Invalid value abc for configuration retention.ms: Not a number of type LONG".into()),
        (configured(&[("message.format.version", Some("2.0"))]), 40, "Unknown topic config name: message.format.version".into()),
        (configured(&[("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))]), 40, "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)".into()),
        (configured(&[("remote.storage.enable", Some("true"))]), 40, "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.".into()),
    ];
    let before = node.image.clone();
    for (asked, code, message) in rows {
        let result = node.create(&request(vec![asked.clone()])).remove(0);
        assert_eq!(
            (result.error_code, result.error_message),
            (code, Some(message)),
            "{asked:?}"
        );
        assert_eq!((result.num_partitions, result.replication_factor), (-1, -1));
        assert!(result.topic_id.is_zero());
    }
    let twice = node.create(&request(vec![topic("dup", 1, 1), topic("dup", 1, 1)]));
    assert_eq!(twice.len(), 1);
    assert_eq!(
        twice[0].error_message.as_deref(),
        Some("Duplicate topic name.")
    );
    let metadata = node
        .create(&request(vec![topic("__cluster_metadata", 1, 1)]))
        .remove(0);
    assert_eq!((metadata.error_code, metadata.error_message), (29, None));
    assert_eq!(node.image, before);
}

#[test]
fn topics_are_created() {
    let mut node = Node::new("num.partitions=3\n");
    let defaults = node.create(&request(vec![topic("d", -1, -1)])).remove(0);
    assert_eq!(
        (defaults.num_partitions, defaults.replication_factor),
        (3, 1)
    );
    let configs = defaults.configs.expect("settings");
    assert_eq!(configs.len(), 33);
    assert!(configs.is_sorted_by_key(|config| config.name.clone()));
    let sources: Vec<_> = configs.iter().filter(|it| it.config_source != 5).collect();
    assert_eq!(
        (sources.len(), sources[0].name.as_str()),
        (1, "min.insync.replicas")
    );
    let created = node.image.topic("d").expect("the topic");
    assert_eq!(created.id, defaults.topic_id);
    let partition = &created.partitions[2];
    assert_eq!(
        (partition.leader, partition.leader_epoch, &partition.isr),
        (1, 0, &vec![1])
    );
    assert_eq!(partition.directory(1), Some(Uuid([6; 16])));

    let manual = node
        .create(&request(vec![assigned(&[(0, &[1]), (1, &[1])])]))
        .remove(0);
    assert_eq!((manual.num_partitions, manual.replication_factor), (2, 1));
    let given = [
        ("retention.ms", Some("5")),
        ("cleanup.policy", Some("")),
        ("retention.ms", Some("7")),
    ];
    let mut asked = configured(&given);
    asked.name = "y".repeat(249);
    let name = asked.name.clone();
    assert_eq!(node.create(&request(vec![asked]))[0].error_code, 0);
    let values = node
        .image
        .config(ResourceType::Topic, &name)
        .expect("settings");
    assert_eq!(values.get("retention.ms").map(String::as_str), Some("7"));

    let before = node.image.clone();
    let validate = CreateTopicsRequest {
        validate_only: true,
        ..request(vec![topic("v", 2, 1)])
    };
    let result = node.create(&validate).remove(0);
    assert_eq!((result.error_code, result.num_partitions), (0, 2));
    assert!(!result.topic_id.is_zero());
    assert_eq!(node.image, before);
    for version in CreateTopicsRequest::VALID_VERSIONS {
        let outcome = node
            .controller()
            .create_topics(&validate, &mut || Uuid([4; 16]));
        outcome
            .response
            .to_vec(version)
            .expect("an encodable answer");
    }
}

#[test]
fn internal_topics_have_their_own_settings() {
    let mut node = Node::new("offsets.topic.num.partitions=4\n");
    let names = ["__consumer_offsets".to_owned(), "plain".to_owned()];
    let mut number = 0;
    let mut ids = || {
        number += 1;
        Uuid([number; 16])
    };
    let outcome = node.controller().auto_create(&names, &mut ids);
    node.store(&outcome.records);
    assert_eq!(
        node.image
            .topic("__consumer_offsets")
            .map(|it| it.partition_count()),
        Some(4)
    );
    let values = node
        .image
        .config(ResourceType::Topic, "__consumer_offsets")
        .expect("settings");
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let expected = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
    ];
    assert_eq!(values, expected);
    assert!(node.image.config(ResourceType::Topic, "plain").is_none());
    let again = node.controller().auto_create(&names, &mut || Uuid([9; 16]));
    assert_eq!((again.records.len(), again.response.topics.len()), (0, 0));
}

#[test]
fn topics_are_deleted_by_name_and_by_id() {
    let mut node = Node::new("");
    for name in ["a", "b", "c"] {
        node.topic(name, 1);
    }
    let id = |node: &Node, name: &str| node.image.topic(name).expect("a topic").id;
    let state = |name: Option<&str>, topic_id: Uuid| DeleteTopicState {
        name: name.map(str::to_owned),
        topic_id,
        ..DeleteTopicState::default()
    };
    let unknown_topic = "This server does not host this topic-partition.";
    let b = id(&node, "b");
    let rows = vec![
        (
            vec![state(Some("nope"), Uuid::ZERO)],
            3,
            Some(unknown_topic),
        ),
        (
            vec![state(None, Uuid([77; 16]))],
            100,
            Some("This server does not host this topic ID."),
        ),
        (
            vec![state(Some("a"), Uuid([77; 16]))],
            42,
            Some("You may not specify both topic name and topic id."),
        ),
        (
            vec![state(None, Uuid::ZERO)],
            42,
            Some("Neither topic name nor id were specified."),
        ),
        (
            vec![state(Some("c"), Uuid::ZERO), state(Some("c"), Uuid::ZERO)],
            42,
            Some("Duplicate topic name."),
        ),
        (vec![state(Some("a"), Uuid::ZERO)], 0, None),
        (vec![state(None, b)], 0, None),
    ];
    for (topics, code, message) in rows {
        let request = DeleteTopicsRequest {
            topics,
            ..Default::default()
        };
        let outcome = node.controller().delete_topics(&request, 6);
        assert_eq!(outcome.response.responses.len(), 1);
        let result = &outcome.response.responses[0];
        assert_eq!(
            (result.error_code, result.error_message.as_deref()),
            (code, message)
        );
        node.store(&outcome.records);
    }
    let left: Vec<_> = node
        .image
        .topics()
        .map(|topic| topic.name.to_string())
        .collect();
    assert_eq!(left, ["c"]);
    let request = DeleteTopicsRequest {
        topic_names: vec!["c".to_owned()],
        ..Default::default()
    };
    let disabled = Node::new("delete.topic.enable=false\n");
    for (version, code) in [(1, 42), (3, 73), (5, 73)] {
        let outcome = disabled.controller().delete_topics(&request, version);
        let result = &outcome.response.responses[0];
        assert_eq!((result.error_code, &result.error_message), (code, &None));
    }
    let records = node.controller().delete_topics(&request, 5).records;
    node.store(&records);
    assert_eq!(
        (node.image.topic_count(), node.image.partition_count()),
        (0, 0)
    );
}

#[test]
fn partitions_are_added() {
    let mut node = Node::new("");
    node.topic("g", 2);
    let asked = |count, assignments: Option<&[&[i32]]>| CreatePartitionsTopic {
        name: "g".to_owned(),
        count,
        assignments: assignments.map(|all| {
            let one = |brokers: &&[i32]| CreatePartitionsAssignment {
                broker_ids: brokers.to_vec(),
                ..CreatePartitionsAssignment::default()
            };
            all.iter().map(one).collect()
        }),
        ..CreatePartitionsTopic::default()
    };
    let nope = CreatePartitionsTopic {
        name: "nope".to_owned(),
        ..asked(3, None)
    };
    let no_broker = "The manual partition assignment includes broker";
    let (two, nine) = (
        format!("{no_broker} 2, but no such broker is registered."),
        format!("{no_broker} 9, but no such broker is registered."),
    );
    let rows: Vec<(Vec<CreatePartitionsTopic>, i16, Option<&str>)> = vec![
        (
            vec![asked(2, None)],
            37,
            Some("Topic already has 2 partition(s)."),
        ),
        (
            vec![asked(1, None)],
            37,
            Some("The topic g currently has 2 partition(s); 1 would not be an increase."),
        ),
        (
            vec![asked(0, None)],
            37,
            Some("The topic g currently has 2 partition(s); 0 would not be an increase."),
        ),
        (vec![nope], 3, None),
        (
            vec![asked(4, Some(&[&[1]]))],
            39,
            Some(
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
        ),
        (vec![asked(3, Some(&[&[1, 2]]))], 39, Some(&two)),
        (vec![asked(3, Some(&[&[9]]))], 39, Some(&nine)),
        (
            vec![asked(4, None), asked(4, None)],
            42,
            Some("Duplicate topic name."),
        ),
        (vec![asked(3, None)], 0, None),
        (vec![asked(5, Some(&[&[1], &[1]]))], 0, None),
    ];
    for (topics, code, message) in rows {
        let request = CreatePartitionsRequest {
            topics,
            ..Default::default()
        };
        let outcome = node.controller().create_partitions(&request);
        assert_eq!(outcome.response.results.len(), 1);
        let result = &outcome.response.results[0];
        assert_eq!(
            (result.error_code, result.error_message.as_deref()),
            (code, message)
        );
        node.store(&outcome.records);
    }
    assert_eq!(
        node.image.topic("g").map(|topic| topic.partition_count()),
        Some(5)
    );
}

fn alter(
    node: &mut Node,
    kind: i8,
    name: &str,
    configs: &[(&str, i8, Option<&str>)],
) -> (i16, Option<String>) {
    let config =
        |(name, config_operation, value): &(&str, i8, Option<&str>)| alter::AlterableConfig {
            name: (*name).to_owned(),
            config_operation: *config_operation,
            value: value.map(str::to_owned),
            ..alter::AlterableConfig::default()
        };
    let resource = alter::AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: configs.iter().map(config).collect(),
        ..Default::default()
    };
    let resources = vec![resource];
    let request = alter::IncrementalAlterConfigsRequest {
        resources,
        ..Default::default()
    };
    let outcome = node.controller().incremental_alter_configs(&request);
    node.store(&outcome.records);
    let result = outcome
        .response
        .responses
        .into_iter()
        .next()
        .expect("one answer");
    (result.error_code, result.error_message)
}

/// Type, name, changes; code and message.
type Altered<'a> = (
    i8,
    &'a str,
    Vec<(&'a str, i8, Option<&'a str>)>,
    i16,
    Option<&'a str>,
);

#[test]
fn settings_change_as_kafka_changes_them() {
    let mut node = Node::new("");
    node.topic("g", 1);
    let thread = |sentence: &str| {
        format!(
            "Invalid value org.apache.kafka.common.config.ConfigException: {sentence} for configuration Invalid dynamic configuration"
        )
    };
    let cleaner =
        thread("Log cleaner threads cannot be increased to more than double the current value 1");
    let io = thread(
        "Dynamic thread count update validation failed for num.io.threads=1000, value should not be greater than double the current value 8",
    );
    let rows: Vec<Altered<'_>> = vec![
        (
            2,
            "g",
            vec![("retention.ms", 0, Some("abc"))],
            40,
            Some("Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ),
        (
            2,
            "g",
            vec![("nope", 0, Some("1"))],
            40,
            Some("Unknown topic config name: nope"),
        ),
        (
            2,
            "g",
            vec![("retention.ms", 0, None)],
            42,
            Some("Null value not supported for : retention.ms"),
        ),
        (2, "g", vec![("retention.ms", 9, Some("1"))], -1, None),
        (
            2,
            "g",
            vec![("retention.ms", 2, Some("1"))],
            40,
            Some("Can't APPEND to key retention.ms because its type is not LIST."),
        ),
        (
            2,
            "g",
            vec![("retention.ms", 3, Some("1"))],
            40,
            Some("Can't SUBTRACT to key retention.ms because its type is not LIST."),
        ),
        (
            2,
            "g",
            vec![("cleanup.policy", 2, Some("compact"))],
            0,
            None,
        ),
        (2, "g", vec![("cleanup.policy", 3, Some("delete"))], 0, None),
        (
            2,
            "g",
            vec![("cleanup.policy", 3, Some("nothere"))],
            0,
            None,
        ),
        (
            2,
            "g",
            vec![
                ("retention.ms", 0, Some("1")),
                ("retention.ms", 0, Some("2")),
            ],
            42,
            Some("Error due to duplicate config keys"),
        ),
        (
            2,
            "nope",
            vec![("retention.ms", 0, Some("1"))],
            3,
            Some("The topic 'nope' does not exist."),
        ),
        (
            2,
            "",
            vec![("retention.ms", 0, Some("1"))],
            42,
            Some("Default topic resources are not allowed."),
        ),
        (2, "g", vec![("retention.ms", 1, None)], 0, None),
        (2, "g", vec![("nope", 1, None)], 0, None),
        (2, "g", vec![], 0, None),
        (4, "1", vec![("log.cleaner.threads", 0, Some("2"))], 0, None),
        (4, "1", vec![("log.cleaner.threads", 1, None)], 0, None),
        (
            4,
            "1",
            vec![("log.cleaner.threads", 0, Some("100"))],
            42,
            Some(&cleaner),
        ),
        (
            4,
            "1",
            vec![("broker.id", 0, Some("2"))],
            42,
            Some("Cannot update these configs dynamically: [broker.id]"),
        ),
        (4, "1", vec![("nope.config", 0, Some("2"))], 0, None),
        (
            4,
            "7",
            vec![("log.cleaner.threads", 0, Some("2"))],
            42,
            Some("Unexpected broker id, expected 1, but received 7"),
        ),
        (
            4,
            "x",
            vec![("log.cleaner.threads", 0, Some("2"))],
            42,
            Some("Node id must be an integer, but it is: x"),
        ),
        (
            4,
            "",
            vec![("listeners", 0, Some("PLAINTEXT://x:1"))],
            42,
            Some(
                "Cannot update these configs at default cluster level, broker id must be specified: [listeners]",
            ),
        ),
        (
            4,
            "",
            vec![("advertised.listeners", 0, Some("x"))],
            42,
            Some("Cannot update these configs dynamically: [advertised.listeners]"),
        ),
        (4, "1", vec![("log.retention.ms", 0, Some("-5"))], 0, None),
        (
            4,
            "",
            vec![("num.io.threads", 0, Some("1000"))],
            42,
            Some(&io),
        ),
        (
            4,
            "",
            vec![("num.io.threads", 0, Some("0"))],
            42,
            Some("Invalid value 0 for configuration num.io.threads: Value must be at least 1"),
        ),
        (
            8,
            "1",
            vec![("no.such.logger", 0, Some("DEBUG"))],
            40,
            Some("Logger no.such.logger does not exist!"),
        ),
        (
            8,
            "9",
            vec![("root", 0, Some("INFO"))],
            42,
            Some("Unexpected node id. Expected 1, but received 9"),
        ),
        (
            16,
            "cm",
            vec![("interval.ms", 0, Some("1"))],
            42,
            Some(
                "Invalid value 1 for interval.ms, interval must be between 100 and 3600000 (1 hour)",
            ),
        ),
        (16, "cm", vec![("metrics", 0, Some("a."))], 0, None),
        (
            16,
            "cm",
            vec![("match", 0, Some("bad"))],
            40,
            Some("Illegal client matching pattern: bad"),
        ),
        (
            16,
            "cm",
            vec![("nope", 0, Some("1"))],
            42,
            Some("Unknown client metrics configuration: nope"),
        ),
        (
            16,
            "",
            vec![("interval.ms", 0, Some("1000"))],
            42,
            Some("Subscription name can't be empty"),
        ),
        (
            32,
            "g1",
            vec![("consumer.session.timeout.ms", 0, Some("1"))],
            40,
            Some(
                "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
            ),
        ),
        (
            32,
            "g1",
            vec![("consumer.heartbeat.interval.ms", 0, Some("60000"))],
            40,
            Some(
                "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
            ),
        ),
        (
            32,
            "g1",
            vec![("nope", 0, Some("1"))],
            40,
            Some("Unknown group config name: nope"),
        ),
        (
            32,
            "g1",
            vec![("consumer.session.timeout.ms", 0, Some("50000"))],
            0,
            None,
        ),
        (
            32,
            "",
            vec![("consumer.session.timeout.ms", 0, Some("50000"))],
            42,
            Some("Default group resources are not allowed."),
        ),
        (
            99,
            "x",
            vec![("a", 0, Some("1"))],
            42,
            Some("Unknown resource type 99"),
        ),
        (
            0,
            "x",
            vec![("a", 0, Some("1"))],
            42,
            Some("Unknown resource type 0"),
        ),
        (
            4,
            "1",
            vec![("min.insync.replicas", 0, Some("2"))],
            40,
            Some("Broker-level min.insync.replicas cannot be altered while ELR is enabled."),
        ),
        (
            4,
            "",
            vec![("min.insync.replicas", 1, None)],
            40,
            Some("Cluster-level min.insync.replicas cannot be removed while ELR is enabled."),
        ),
    ];
    for (kind, name, configs, code, message) in rows {
        let answer = alter(&mut node, kind, name, &configs);
        let expected = (code, message.map(str::to_owned));
        assert_eq!(answer, expected, "type {kind} name '{name}' {configs:?}");
    }
    let values = node
        .image
        .config(ResourceType::Topic, "g")
        .expect("settings");
    assert_eq!(
        values.get("cleanup.policy").map(String::as_str),
        Some("compact")
    );
    assert_eq!(values.len(), 1);
}

#[test]
fn the_older_api_replaces_all_settings() {
    let mut node = Node::new("");
    node.topic("g", 1);
    alter(
        &mut node,
        2,
        "g",
        &[("retention.ms", 0, Some("5")), ("segment.ms", 0, Some("6"))],
    );
    let request = |value: &str, validate_only| alter_configs::AlterConfigsRequest {
        resources: vec![alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "g".to_owned(),
            configs: vec![alter_configs::AlterableConfig {
                name: "retention.ms".to_owned(),
                value: Some(value.to_owned()),
                ..Default::default()
            }],
            ..Default::default()
        }],
        validate_only,
        ..Default::default()
    };
    let outcome = node.controller().alter_configs(&request("abc", false));
    let result = &outcome.response.responses[0];
    let sentence = "Invalid value abc for configuration retention.ms: Not a number of type LONG";
    assert_eq!(
        (result.error_code, result.error_message.as_deref()),
        (40, Some(sentence))
    );
    assert_eq!(
        node.controller().alter_configs(&request("9", true)).records,
        []
    );
    let outcome = node.controller().alter_configs(&request("9", false));
    node.store(&outcome.records);
    let values = node
        .image
        .config(ResourceType::Topic, "g")
        .expect("settings");
    assert_eq!(
        values.iter().collect::<Vec<_>>(),
        [(&"retention.ms".to_owned(), &"9".to_owned())]
    );
    let mut double = request("9", false);
    double.resources.push(double.resources[0].clone());
    let outcome = node.controller().alter_configs(&double);
    for result in &outcome.response.responses {
        let message = "Each resource must appear at most once.";
        assert_eq!(
            (result.error_code, result.error_message.as_deref()),
            (42, Some(message))
        );
    }
}

#[test]
fn producer_ids_come_in_blocks_of_a_thousand() {
    let mut node = Node::new("");
    for expected in [0, 1000, 2000] {
        let outcome = node.controller().own_producer_ids();
        let response = &outcome.response;
        assert_eq!(
            (response.error_code, response.producer_id_start),
            (0, expected)
        );
        assert_eq!(response.producer_id_len, 1000);
        node.store(&outcome.records);
    }
    let stale = <corelog_net::wire::messages::allocate_producer_ids::AllocateProducerIdsRequest as Default>::default();
    assert_eq!(
        node.controller()
            .allocate_producer_ids(&stale)
            .response
            .error_code,
        77
    );
}

#[test]
fn elections_and_reassignments_of_one_node() {
    let mut node = Node::new("");
    node.topic("g", 1);
    let elect = |topic: &str, election_type| {
        let partitions = TopicPartitions {
            topic: topic.to_owned(),
            partitions: vec![0],
            ..TopicPartitions::default()
        };
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(vec![partitions]),
            ..ElectLeadersRequest::default()
        };
        let response = node.controller().elect_leaders(&request).response;
        let result = response.replica_election_results[0].partition_result[0].clone();
        (
            response.error_code,
            result.error_code,
            result.error_message.unwrap_or_default(),
        )
    };
    let rows = [
        (
            "g",
            0,
            0,
            84,
            "Leader election not needed for topic partition.",
        ),
        ("g", 5, 42, 42, "Unknown election type 5"),
        ("nope", 0, 0, 3, "No such topic as nope"),
    ];
    for (topic, election, top, code, message) in rows {
        assert_eq!(elect(topic, election), (top, code, message.to_owned()));
    }
    let all = ElectLeadersRequest {
        topic_partitions: None,
        ..ElectLeadersRequest::default()
    };
    assert_eq!(
        node.controller()
            .elect_leaders(&all)
            .response
            .replica_election_results,
        []
    );

    let move_to = |name: &str, replicas: Option<&[i32]>, resize| {
        let partition = reassign::ReassignablePartition {
            partition_index: 0,
            replicas: replicas.map(<[i32]>::to_vec),
            ..Default::default()
        };
        let topic = reassign::ReassignableTopic {
            name: name.to_owned(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = reassign::AlterPartitionReassignmentsRequest {
            topics: vec![topic],
            allow_replication_factor_change: resize,
            ..Default::default()
        };
        let outcome = node.controller().alter_reassignments(&request);
        assert_eq!(outcome.records, []);
        let result = outcome.response.responses[0].partitions[0].clone();
        (result.error_code, result.error_message)
    };
    let text = |text: &str| Some(text.to_owned());
    let unknown = text("Unable to find a topic named nope.");
    let empty = text("The manual partition assignment includes an empty replica list.");
    let two = text(
        "The manual partition assignment includes broker 2, but no such broker is registered.",
    );
    assert_eq!(move_to("nope", Some(&[1]), true), (3, unknown));
    assert_eq!(move_to("g", Some(&[]), true), (39, empty));
    assert_eq!(move_to("g", None, true), (85, None));
    assert_eq!(move_to("g", Some(&[1, 2]), false), (39, two));
    assert_eq!(move_to("g", Some(&[1]), true), (0, None));
    let list = node
        .controller()
        .list_reassignments(&ListPartitionReassignmentsRequest::default());
    assert_eq!((list.topics.len(), list.error_code), (0, 0));
}
