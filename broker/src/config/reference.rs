//! `docs/settings.md`, made from the tables; `cargo dev docs` writes it, the test here compares it.
//!
//! **Owns** the page.
//! **Lives on** a developer's machine and in CI: it is part of the tests alone.
//! **Invariants**: every public row of every table stands on the page.
//! **Not here**: what the rows say (`broker_settings`, `topic_settings`).

use std::fmt::Write as _;
use std::path::Path;

use super::broker_settings::{BROKER, DYNAMIC_ONLY};
use super::setting::{DefaultValue, Setting, Status, UpdateMode, Visibility};
use super::topic_settings::{CLIENT_METRICS, GROUP, TOPIC};

/// How a reader finds what a row means here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Works,
    Meaningless,
    Refused,
}

impl Part {
    fn of(row: &Setting) -> Self {
        match row.status {
            Status::Supported(_) => Self::Works,
            Status::Accepted(_) => Self::Meaningless,
            Status::Refused(_) => Self::Refused,
        }
    }
}

fn rows(text: &mut String, table: &[Setting], part: Part, with_mode: bool) {
    let public = |row: &&Setting| row.visibility == Visibility::Public && Part::of(row) == part;
    let mut rows: Vec<&Setting> = table.iter().filter(public).collect();
    rows.sort_by_key(|row| row.name);
    if rows.is_empty() {
        return;
    }
    let last = match part {
        Part::Works => "what it does",
        Part::Meaningless => "why it has no effect",
        Part::Refused => "why it cannot be set",
    };
    let mode = if with_mode { " may change |" } else { "" };
    let line = if with_mode { "---|" } else { "" };
    let _ = writeln!(
        text,
        "| name | type | default |{mode} {last} |\n|---|---|---|{line}---|"
    );
    for row in rows {
        let default = match row.default {
            DefaultValue::Is("") => "empty".to_owned(),
            DefaultValue::Is(value) => format!("`{value}`"),
            DefaultValue::Null => "none".to_owned(),
            DefaultValue::Required => "our own".to_owned(),
        };
        let mode = match (with_mode, row.update) {
            (false, _) => "",
            (_, UpdateMode::ReadOnly) => " at a start |",
            (_, UpdateMode::PerBroker) => " per broker |",
            (_, UpdateMode::ClusterWide) => " per broker, for all |",
        };
        let kind = format!("{:?}", row.kind).to_lowercase();
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {default} |{mode} {} |",
            row.name,
            row.status.text()
        );
    }
    text.push('\n');
}

fn page() -> String {
    let mut text = String::from(
        "# Settings\n\nKafka's settings, with its names and defaults, and ours under `corelog.`. Made from the broker's tables \
         (`broker/src/config`) by\n`cargo dev docs`.\n\nA value counts in this order: the topic's (or group's), the dynamic one of \
         this broker, the dynamic default of all brokers, the one\nin `server.properties` or of `--override`, the default here. \
         What may change at run time (`kafka-configs`) acts at once; what may not\nis refused. Names that are not listed are \
         warned of at a start.\n\n## Brokers\n\n",
    );
    rows(&mut text, BROKER, Part::Works, true);
    text.push_str("Only at run time, never in a file:\n\n");
    rows(&mut text, DYNAMIC_ONLY, Part::Works, true);
    rows(&mut text, DYNAMIC_ONLY, Part::Meaningless, true);
    text.push_str("### Accepted, without effect\n\n");
    rows(&mut text, BROKER, Part::Meaningless, true);
    text.push_str("### Refused\n\nA start fails with another value than the default.\n\n");
    rows(&mut text, BROKER, Part::Refused, true);
    for (title, table) in [
        ("Topics", TOPIC),
        ("Groups", GROUP),
        ("Client metrics", CLIENT_METRICS),
    ] {
        let _ = writeln!(text, "## {title}\n");
        rows(&mut text, table, Part::Works, false);
        if table.iter().any(|row| Part::of(row) == Part::Meaningless) {
            text.push_str("Accepted, without effect:\n\n");
            rows(&mut text, table, Part::Meaningless, false);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test that reads and writes a document"
)]
fn the_documentation_of_settings_is_current() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md"));
    let page = page();
    if std::env::var_os("CORELOG_WRITE_DOCS").is_some() {
        std::fs::write(path, &page).expect("docs/ can be written");
    }
    let written = std::fs::read(path).unwrap_or_default();
    assert!(
        String::from_utf8_lossy(&written) == page,
        "docs/settings.md is not what the tables say: cargo dev docs"
    );
}
