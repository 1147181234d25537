use std::collections::BTreeMap;

use super::{Subscriber, range, round_robin};

fn member(id: &str, topics: &[&str]) -> Subscriber {
    Subscriber {
        id: id.to_owned(),
        instance: None,
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
    }
}

fn counts(of: &[(&str, i32)]) -> BTreeMap<String, i32> {
    of.iter()
        .map(|(topic, count)| ((*topic).to_owned(), *count))
        .collect()
}

fn text(assigned: &BTreeMap<String, Vec<(String, i32)>>) -> String {
    let mut lines = Vec::new();
    for (member, partitions) in assigned {
        let names: Vec<String> = partitions
            .iter()
            .map(|(topic, partition)| format!("{topic}{partition}"))
            .collect();
        lines.push(format!("{member}: {}", names.join(" ")));
    }
    lines.join("; ")
}

/// The example of the documentation of Kafka's `RangeAssignor`.
#[test]
fn ranges_give_the_rest_to_the_first_members() {
    let members = [member("C0", &["a", "b"]), member("C1", &["a", "b"])];
    let assigned = range(&members, &counts(&[("a", 3), ("b", 3)]));
    assert_eq!(text(&assigned), "C0: a0 a1 b0 b1; C1: a2 b2");
    let assigned = range(&members, &counts(&[("a", 1)]));
    assert_eq!(text(&assigned), "C0: a0; C1: ");
}

/// The example of the documentation of Kafka's `RoundRobinAssignor`.
#[test]
fn round_robin_passes_over_who_does_not_read_the_topic() {
    let members = [
        member("C0", &["a"]),
        member("C1", &["a", "b"]),
        member("C2", &["a", "b", "c"]),
    ];
    let assigned = round_robin(&members, &counts(&[("a", 1), ("b", 2), ("c", 3)]));
    assert_eq!(text(&assigned), "C0: a0; C1: b0; C2: b1 c0 c1 c2");
}
