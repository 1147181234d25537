//! Values, their errors and how they print.

use std::collections::BTreeSet;

use super::{Setting, Type, UpdateMode, Value, java_double};
use crate::config::broker_settings::{self, BROKER};
use crate::config::topic_settings::{CLIENT_METRICS, GROUP, TOPIC, find_group, find_topic};

#[test]
fn doubles_print_as_java_prints_them() {
    let rows = [
        (0.0, "0.0"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        (0.01, "0.01"),
        (0.0001, "1.0E-4"),
        (1e7, "1.0E7"),
        (2_147_483_647.0, "2.147483647E9"),
        (f64::MAX, "1.7976931348623157E308"),
        (9_999_999.0, "9999999.0"),
    ];
    for (value, text) in rows {
        assert_eq!(java_double(value), text);
    }
}

#[test]
fn every_name_has_one_row_and_every_default_is_valid() {
    for table in [BROKER, TOPIC, GROUP, CLIENT_METRICS] {
        let mut names = BTreeSet::new();
        for row in table {
            assert!(names.insert(row.name), "{} stands twice", row.name);
            assert!(!row.status.text().is_empty(), "{} says nothing", row.name);
            if let Some(default) = row.default_text() {
                let value = row.parse(default).expect("a default must be valid");
                assert_eq!(row.parse(&value.to_string()), Ok(value), "{}", row.name);
            }
            for (synonym, _) in row.synonyms {
                assert!(
                    broker_settings::find(synonym).is_some(),
                    "{synonym} has no row"
                );
            }
        }
    }
}

/// Kafka's own tables, as its `ConfigDef`s print them: name, type, default, …
#[test]
fn the_tables_are_kafkas() {
    let broker = include_str!("../../../tests/fixtures/settings/broker.tsv");
    let topic = include_str!("../../../tests/fixtures/settings/topic.tsv");
    let group = include_str!("../../../tests/fixtures/settings/group.tsv");
    let kafka = |row: &&Setting| !row.name.starts_with("corelog.");
    for (text, table) in [(broker, BROKER), (topic, TOPIC), (group, GROUP)] {
        let rows: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(rows.len(), table.iter().filter(kafka).count());
        for line in rows {
            let columns: Vec<&str> = line.split('\t').collect();
            let row = table
                .iter()
                .find(|row| row.name == columns[0])
                .expect("a row for the name");
            assert_eq!(row.kind.name(), columns[1], "{}", row.name);
            let default = match columns[2] {
                "null" | "(required)" => None,
                "\"\"" => Some(""),
                other => Some(other),
            };
            assert_eq!(row.default_text(), default, "{}", row.name);
        }
    }
    for line in include_str!("../../../tests/fixtures/settings/broker-dynamic.tsv")
        .lines()
        .skip(1)
    {
        let (name, mode) = line.split_once('\t').expect("two columns");
        let only = broker_settings::DYNAMIC_ONLY
            .iter()
            .find(|row| row.name == name);
        let row = broker_settings::find(name)
            .or(only)
            .expect("a row for the name");
        let expected = match mode {
            "per-broker" => UpdateMode::PerBroker,
            _ => UpdateMode::ClusterWide,
        };
        assert_eq!(row.update, expected, "{name}");
    }
}

#[test]
fn bad_values_are_refused_in_kafkas_words() {
    let rows = [
        ("retention.ms", "abc", "Not a number of type LONG"),
        ("retention.ms", "-2", "Value must be at least -1"),
        ("segment.bytes", "1", "Value must be at least 1048576"),
        ("segment.bytes", "99999999999", "Not a number of type INT"),
        (
            "cleanup.policy",
            "none",
            "String must be one of: compact, delete",
        ),
        (
            "compression.type",
            "bogus",
            "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level",
            "10",
            "Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.gzip.level",
            "0",
            "Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "Value must be no more than 17",
        ),
        (
            "preallocate",
            "maybe",
            "Expected value to be either true or false",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Value must be no more than 1",
        ),
    ];
    for (name, text, must) in rows {
        let row = find_topic(name).expect("a topic setting");
        let sentence = format!("Invalid value {text} for configuration {name}: {must}");
        assert_eq!(row.parse(text), Err(sentence));
    }
    let row = find_topic("leader.replication.throttled.replicas").expect("a topic setting");
    let sentence = "Invalid value [x] for configuration leader.replication.throttled.replicas: \
                    leader.replication.throttled.replicas must be the literal '*' or a list of \
                    replicas in the following format: \
                    [partitionId]:[brokerId],[partitionId]:[brokerId],...";
    assert_eq!(row.parse("x"), Err(sentence.to_owned()));
}

#[test]
fn bounds_take_their_ends() {
    let good = [
        ("compression.gzip.level", "-1"),
        ("compression.gzip.level", "9"),
        ("retention.ms", "-1"),
        ("segment.bytes", " 1048576 "),
        ("min.cleanable.dirty.ratio", "1"),
        ("cleanup.policy", ""),
        ("cleanup.policy", "delete, compact"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "0:1,1:2"),
        ("preallocate", "TRUE"),
    ];
    for (name, text) in good {
        let row = find_topic(name).expect("a topic setting");
        assert!(
            row.parse(text).is_ok(),
            "{name}={text}: {:?}",
            row.parse(text)
        );
    }
    let reset = find_group("share.auto.offset.reset").expect("a group setting");
    assert!(reset.parse("by_duration:PT1H").is_ok());
    assert!(reset.parse("sometimes").is_err());
}

#[test]
fn lists_lose_duplicates_and_spaces() {
    let row = find_topic("cleanup.policy").expect("a topic setting");
    assert_eq!(row.kind, Type::List);
    let list = Value::List(vec!["delete".to_owned(), "compact".to_owned()]);
    assert_eq!(row.parse(" delete , compact,delete "), Ok(list));
}
