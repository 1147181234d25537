use serde_json::json;

use super::Report;
use super::svg::{Bar, Bars, Group, Lines, Scale, short};

/// Tags nest and end, attributes are quoted, no stray `<` or `&`.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "{text}");
        for entity in text.split('&').skip(1) {
            assert!(
                ["lt;", "gt;", "amp;", "quot;"]
                    .iter()
                    .any(|known| entity.starts_with(known)),
                "{entity}"
            );
        }
        let end = rest[at..].find('>').expect("a tag ends") + at;
        let tag = &rest[at + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap().to_owned());
        }
        assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
}

#[test]
fn lines_are_well_formed_whatever_they_are_called() {
    for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
        let lines = Lines {
            title: "a < b & \"c\" \u{1}".to_owned(),
            x: ("</svg>".to_owned(), scale),
            y: ("ms".to_owned(), Scale::Log),
            series: vec![
                (
                    "<one>".to_owned(),
                    vec![(1.0, 1.0), (50.0, f64::NAN), (99.9, 1000.0)],
                ),
                ("none".to_owned(), vec![(1.0, 0.0)]),
            ],
            grey_until: Some(30.0),
        };
        assert_well_formed(&lines.draw().unwrap());
    }
}

#[test]
fn what_is_empty_is_not_drawn() {
    let lines = Lines {
        title: String::new(),
        x: (String::new(), Scale::Linear),
        y: (String::new(), Scale::Linear),
        series: vec![("x".to_owned(), Vec::new())],
        grey_until: None,
    };
    assert!(lines.draw().is_none());
    let bars = Bars {
        title: String::new(),
        unit: String::new(),
        names: vec!["x".to_owned()],
        groups: vec![Group {
            label: String::new(),
            bars: vec![None],
            note: String::new(),
        }],
    };
    assert!(bars.draw().is_none());
}

#[test]
fn one_value_and_all_zeros_can_be_drawn() {
    for value in [0.0, 1e-7, 3.0, 1e12] {
        let bars = Bars {
            title: "t".to_owned(),
            unit: "u".to_owned(),
            names: vec!["a".to_owned(), "b".to_owned()],
            groups: vec![Group {
                label: "g".to_owned(),
                bars: vec![
                    Some(Bar {
                        value,
                        spread: Some((value, value)),
                    }),
                    None,
                ],
                note: "ratio 1".to_owned(),
            }],
        };
        assert_well_formed(&bars.draw().unwrap());
        let lines = Lines {
            title: "t".to_owned(),
            x: ("s".to_owned(), Scale::Linear),
            y: ("v".to_owned(), Scale::Linear),
            series: vec![("s".to_owned(), vec![(value, value)])],
            grey_until: None,
        };
        assert_well_formed(&lines.draw().unwrap());
    }
}

#[test]
fn numbers_are_short() {
    let all = [0.0, 0.001, 0.25, 12.5, 4_500.0, 45_000.0, 2e6, 3.5e9].map(short);
    assert_eq!(
        all,
        ["0", "1.0e-3", "0.25", "12.5", "4500", "45k", "2M", "3.5G"]
    );
}

fn run_result() -> serde_json::Value {
    json!({
        "command": "mixed", "arguments": ["--workload", "w|x.toml"], "commit": "abc",
        "machine": {"kernel": "6.18", "processor": "P", "processors": 2, "memory": 8_000_000_000_u64},
        "produced": {"records": 10, "records_per_second": 10.0, "megabytes_per_second": 1.5,
            "latency_ms": {"p50": 1.0, "p99": 2.0, "p999": 3.0, "p9999": 3.5, "max": 4.0, "curve": [[0.0, 0.5], [50.0, 1.0], [99.0, 2.0]]}},
        "consumed": {"records": 0},
        "broker": {"cpu_seconds_per_gb": 0.5, "user_seconds_per_gb": 0.2, "system_seconds_per_gb": 0.3},
        "series": [
            {"at": 1.0, "is_measured": false, "produced": {"megabytes_per_second": 1.0, "p50": 1.0, "p99": 2.0, "max": 3.0}},
            {"at": 2.0, "is_measured": true, "produced": {"megabytes_per_second": 2.0, "p50": 1.0, "p99": 2.0, "max": 3.0}},
        ],
    })
}

#[test]
fn a_run_has_its_charts_and_the_page_links_them() {
    let report = Report::new("T", &[("One run".to_owned(), run_result())]);
    let names: Vec<&str> = report
        .charts()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "one-run-throughput.svg",
            "one-run-latency.svg",
            "percentiles.svg",
            "cpu-per-gb.svg"
        ]
    );
    for (name, chart) in report.charts() {
        assert_well_formed(chart);
        assert!(report.page().contains(&format!("]({name})")), "{name}");
    }
    assert!(
        report
            .page()
            .contains("| produced | 10 | 1.5 | 1 | 2 | 3 | 3.5 | 4 |"),
        "{}",
        report.page()
    );
    assert!(!report.page().contains("| consumed"));
}

#[test]
fn a_comparison_has_a_table_with_spread_and_ratio_and_says_what_failed() {
    let side = |median: f64| json!({"median": median, "min": median - 0.1, "max": median + 0.1});
    let result = json!({
        "command": "compare", "kafka": "4.3.1", "rounds": 3, "quick": true, "commit": "abc", "machine": {},
        "scenarios": [
            {"name": "produce-1k", "section": "Produce", "title": "1 KiB", "metrics": [
                {"name": "cpu", "title": "broker CPU", "unit": "CPU-s/GB", "better": "less", "aim": 0.2,
                 "corelog": side(0.8), "kafka": side(4.2), "ratio": side(0.19)}]},
            {"name": "cold", "section": "Consume", "title": "cold", "metrics": [], "error": "a broker ended"},
        ],
    });
    let report = Report::new("T", &[("all".to_owned(), result)]);
    let page = report.page();
    assert!(page.contains("| 1 KiB | broker CPU, CPU-s/GB | 0.8 (0.7–0.9) | 4.2 (4.1–4.3) | 0.19 (0.09–0.29) | ≤ 0.2 |"), "{page}");
    assert!(
        page.contains("| cold | failed |") && page.contains("a broker ended"),
        "{page}"
    );
    assert!(page.contains("A quick run"), "{page}");
    let names: Vec<&str> = report
        .charts()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["overview.svg", "produce-broker-cpu.svg"]);
    assert!(
        report
            .charts()
            .iter()
            .all(|(_, chart)| !chart.contains("NaN"))
    );
    assert_well_formed(&report.charts()[0].1);
    assert_well_formed(&report.charts()[1].1);
}

#[test]
fn an_empty_result_makes_a_page_all_the_same() {
    let report = Report::new(
        "T",
        &[
            ("x".to_owned(), json!({})),
            ("y".to_owned(), json!({"command": "compare"})),
        ],
    );
    assert!(report.charts().is_empty());
    assert!(report.page().contains("## x"));
}

#[test]
fn curves_are_drawn_and_what_grows_too_fast_is_marked() {
    let points = |values: [f64; 3]| json!([{"x": 1, "cpu": values[0]}, {"x": 100, "cpu": values[1]}, {"x": 10_000, "cpu": values[2]}]);
    let result = json!({
        "command": "scaling", "commit": "c", "machine": {}, "quick": true,
        "curves": [{
            "name": "produce", "section": "Parts", "title": "Produce | it", "x": "partitions", "note": "why", "disk": "disk",
            "metrics": [{"name": "cpu", "title": "CPU", "unit": "µs", "grows": 0.0}, {"name": "none", "title": "Not there", "unit": "s", "grows": 1.0}],
            "brokers": {
                "corelog": {"points": points([10.0, 11.0, 12.0]), "power": {"cpu": 0.02}, "error": null},
                "kafka": {"points": points([50.0, 60.0, 900.0]), "power": {"cpu": 0.59}, "error": "it is\nout of memory"},
            },
        }],
    });
    let report = Report::new("Scaling", &[("2026-11-21-scaling".to_owned(), result)]);
    let page = report.page();
    assert!(
        page.contains("| Corelog: CPU, µs | 10 | 11 | 12 | 0.02 |"),
        "{page}"
    );
    assert!(
        page.contains("| Kafka: CPU, µs | 50 | 60 | 900 | **0.59** |"),
        "{page}"
    );
    assert!(page.contains("Kafka went no further: out of memory") && page.contains("A quick run"));
    assert!(!page.contains("Not there"), "{page}");
    let names: Vec<&str> = report.charts().iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["produce-us.svg", "produce-beside.svg"]);
    for (_, chart) in report.charts() {
        assert_well_formed(chart);
    }
}
