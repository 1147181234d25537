//! The table, the page and what is printed from them agree.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::names::{self, Kind};
use super::sample::Selection;
use super::text::Text;

#[expect(dead_code, reason = "shared with the wire tests, which use all of it")]
#[path = "../../tests/it/exposition.rs"]
mod exposition;

use exposition::Page;

#[test]
fn names_are_unique_and_well_formed() {
    let mut seen = BTreeSet::new();
    for family in names::ALL {
        assert!(seen.insert(family.name), "{} twice", family.name);
        let total = family.name.ends_with("_total");
        assert_eq!(total, family.kind == Kind::Counter, "{}", family.name);
        assert!(
            family.help.ends_with('.') && !family.help.contains('\n'),
            "{}",
            family.name
        );
        assert!(!family.labels.contains(&"quantile"), "{}", family.name);
    }
}

#[test]
fn a_page_reads_back_whatever_stands_in_its_labels() {
    let hostile = "a\"b\\c\nd{},= é";
    let mut text = Text::with_capacity(0);
    text.begin(names::BYTES_IN);
    text.put(&[], u64::MAX);
    text.put(&[hostile], 7_u64);
    text.begin(names::TOTAL_TIME);
    text.quantile(&["Fetch"], "0.99", 1.5);
    text.count_and_sum(&["Fetch"], 3, 4.5);
    text.begin(names::LOG_END);
    text.put(&["t", "0"], -1_i64);
    text.single(names::PROCESSOR_IDLE, f64::NAN);
    text.single(names::LAST_APPLIED, f64::INFINITY);
    let text = text.finish();
    let page = Page::parse(&text).expect("well formed");
    let value = |name: &str, labels: &[(&str, &str)]| page.value(name, labels);
    assert!((value(names::BYTES_IN.name, &[("topic", hostile)]) - 7.0).abs() < 1e-9);
    assert!((value(names::LOG_END.name, &[("topic", "t"), ("partition", "0")]) + 1.0).abs() < 1e-9);
    let time = names::TOTAL_TIME.name;
    assert!((value(&format!("{time}_sum"), &[("request", "Fetch")]) - 4.5).abs() < 1e-9);
    assert!(value(names::PROCESSOR_IDLE.name, &[]).is_nan());
    assert!(Page::parse(&text.repeat(2)).is_err(), "a family twice");
    assert!(Page::parse(&text[..text.len() - 1]).is_err(), "cut short");
}

#[test]
fn what_stands_one_by_one_is_bounded() {
    let topics: Vec<(Arc<str>, usize)> = vec![
        ("a".into(), 3),
        ("b".into(), 4),
        ("c".into(), 1),
        ("d".into(), 1),
    ];
    let select = |topics_max, partitions_max| {
        let topics = topics.iter().map(|(name, count)| (name, *count));
        Selection::of(topics, topics_max, partitions_max)
    };
    let left_out = |selection: &Selection| {
        (
            selection.topics_left_out,
            selection.partitions_left_out,
            ["a", "b", "c", "d"].map(|name| selection.has_topic(name)),
            ["a", "b", "c", "d"].map(|name| selection.has_partitions(name)),
        )
    };
    let (all, none) = ([true; 4], [false; 4]);
    assert_eq!(left_out(&select(4, 9)), (0, 0, all, all));
    assert_eq!(
        left_out(&select(3, 8)),
        (1, 1, [true, true, true, false], [true, true, true, false])
    );
    // A topic that does not fit ends the list, even if a later one would.
    assert_eq!(
        left_out(&select(5, 6)),
        (0, 6, all, [true, false, false, false])
    );
    assert_eq!(left_out(&select(0, 0)), (4, 9, none, none));
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_exist() {
    for path in [
        "deploy/prometheus/corelog-alerts.yml",
        "deploy/grafana/corelog.json",
    ] {
        let text = read(path);
        let named = exposition::named_in(&text);
        assert!(named.len() > 10, "{path} names {}", named.len());
        for name in named {
            assert!(is_known(&name), "{path} asks for {name}");
        }
    }
}

/// Whether the table has the name, or the summary that it is a part of.
fn is_known(name: &str) -> bool {
    let of_summary = name
        .strip_suffix("_sum")
        .or_else(|| name.strip_suffix("_count"));
    names::ALL.iter().any(|family| {
        family.name == name || (family.kind == Kind::Summary && Some(family.name) == of_summary)
    })
}

/// `CORELOG_WRITE_DOCS=1 cargo test -p corelog-broker metrics` writes the page anew.
#[test]
fn the_documentation_lists_the_table() {
    let mut text = String::from(
        "# Metrics\n\nWhat `GET /metrics` on the admin port (`corelog.admin.listener`) prints, in Prometheus' text format. \
         What Kafka measures too has\nthe name that the Prometheus JMX exporter's usual rules give it. A series that is \
         printed without its labels is the sum.\n\nMade from the broker's table of metrics \
         (`broker/src/metrics/names.rs`) by its tests.\n\n| name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for family in names::ALL {
        let labels: Vec<_> = family.labels.iter().map(|one| format!("`{one}`")).collect();
        let (name, kind, help) = (family.name, family.kind.name(), family.help);
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        );
    }
    if std::env::var_os("CORELOG_WRITE_DOCS").is_some() {
        #[expect(clippy::disallowed_methods, reason = "a test that writes a document")]
        std::fs::write(root().join("docs/metrics.md"), &text).expect("docs/ can be written");
    }
    assert!(
        read("docs/metrics.md") == text,
        "docs/metrics.md is not what the table says: CORELOG_WRITE_DOCS=1 cargo test -p corelog-broker metrics"
    );
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test that reads what is deployed"
)]
fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8(bytes).expect("text")
}
