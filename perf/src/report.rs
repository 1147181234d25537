//! **Owns** `corelog-perf report`: a Markdown page and charts, made from result files.
//! **Lives on** the command's thread.
//! **Invariants** (1) A field that a result does not have is left out, never guessed: old results can be read. (2) Files are
//! named after what they show, so that links to them last.
//! **Not here** drawing (`svg`), measuring (`mixed`, `perf/compare`).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use corelog_tools::cli::Out;
use serde_json::Value;

use crate::result::load;

mod curves;
pub mod svg;
#[cfg(test)]
mod tests;

use svg::{Bar, Bars, Group, Lines, Scale, short};

const USAGE: &str = "usage: corelog-perf report RESULT.json … [--dir FOLDER] [--title TEXT]
  RESULT.json   what producer, consumer, end-to-end, mixed, raw (--json FILE), cargo dev compare or cargo dev scaling wrote
  --dir         where report.md and the charts go (default: report)
  --title       of the page";

/// Runs the command; gives the exit code.
pub fn run(arguments: &[String], out: &mut Out) -> u8 {
    let mut files = Vec::new();
    let (mut folder, mut title) = (PathBuf::from("report"), "Measurements".to_owned());
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let mut value = || {
            inline
                .clone()
                .or_else(|| all.next().cloned())
                .ok_or_else(|| format!("{name} wants a value"))
        };
        let taken = match name {
            "--help" | "-h" => {
                out.line(USAGE);
                return 0;
            }
            "--dir" => value().map(|value| folder = value.into()),
            "--title" => value().map(|value| title = value),
            name if name.starts_with("--") => Err(format!("{name} is not known\n{USAGE}")),
            file => {
                files.push(file.to_owned());
                Ok(())
            }
        };
        if let Err(error) = taken {
            out.error(&error);
            return 1;
        }
    }
    if files.is_empty() {
        out.error(USAGE);
        return 1;
    }
    let report = files
        .iter()
        .map(|file| {
            let stem = Path::new(file)
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned());
            load(file).map(|value| (stem.unwrap_or_default(), value))
        })
        .collect::<Result<Vec<_>, _>>()
        .map(|results| Report::new(&title, &results));
    match report.and_then(|report| report.write(&folder)) {
        Ok(written) => {
            for path in written {
                out.line(&path.display().to_string());
            }
            0
        }
        Err(error) => {
            out.error(&error);
            1
        }
    }
}

/// A page and its charts.
#[derive(Debug)]
pub struct Report {
    page: String,
    /// (file name, content)
    charts: Vec<(String, String)>,
}

impl Report {
    /// Of these results, by name.
    pub fn new(title: &str, results: &[(String, Value)]) -> Self {
        let mut report = Self {
            page: format!("# {title}\n"),
            charts: Vec::new(),
        };
        let is = |result: &Value, command: &str| result["command"] == command;
        let comparisons = results
            .iter()
            .filter(|(_, result)| is(result, "compare"))
            .count();
        for (name, result) in results {
            if is(result, "compare") {
                // The only one needs no name: links to its charts stay when it is measured again.
                let prefix = if comparisons == 1 {
                    String::new()
                } else {
                    format!("{name} ")
                };
                report.comparison(&prefix, result);
            } else if is(result, "raw") {
                report.raw(name, result);
            } else if is(result, "scaling") {
                let prefix = if results.len() == 1 {
                    String::new()
                } else {
                    format!("{name} ")
                };
                report.scaling(&prefix, result);
            }
        }
        let runs: Vec<&(String, Value)> = results
            .iter()
            .filter(|(_, result)| {
                let of_scripts = ["compare", "raw", "scaling"];
                !of_scripts.iter().any(|command| is(result, command))
            })
            .collect();
        for (name, result) in &runs {
            report.run(name, result);
        }
        if !runs.is_empty() {
            report.together(&runs);
        }
        report
    }

    /// The page.
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The charts: file name and content.
    pub fn charts(&self) -> &[(String, String)] {
        &self.charts
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a command writes its user's files when all is computed"
    )]
    fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let page = std::iter::once(("report.md", &self.page));
        page.chain(
            self.charts
                .iter()
                .map(|(name, chart)| (name.as_str(), chart)),
        )
        .map(|(name, content)| {
            let path = folder.join(name);
            std::fs::write(&path, content)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok(path)
        })
        .collect()
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.page, "{line}");
    }

    fn chart(&mut self, name: &str, about: &str, drawn: Option<String>) {
        if let Some(drawn) = drawn {
            let file = format!("{}.svg", file_name(name));
            self.line(format_args!("\n![{}]({file})", plain(about)));
            self.charts.push((file, drawn));
        }
    }

    fn origin(&mut self, result: &Value) {
        let machine = &result["machine"];
        let text = |value: &Value| value.as_str().unwrap_or("unknown").to_owned();
        self.line(format_args!(
            "\nCommit {}, {} × {}, Linux {}, {:.1} GB of memory.",
            plain(&text(&result["commit"])),
            machine["processors"],
            plain(&text(&machine["processor"])),
            plain(&text(&machine["kernel"])),
            machine["memory"].as_f64().unwrap_or(0.0) / 1e9
        ));
    }

    /// One run: its figures, throughput and latency over time.
    fn run(&mut self, name: &str, result: &Value) {
        self.line(format_args!("\n## {}", plain(name)));
        self.origin(result);
        let command = result["command"].as_str().unwrap_or("run");
        let arguments: Vec<&str> = list(&result["arguments"])
            .filter_map(Value::as_str)
            .collect();
        self.line(format_args!(
            "\n    corelog-perf {command} {}",
            plain(&arguments.join(" "))
        ));
        self.line(format_args!(
            "\n| | records/s | MB/s | p50 ms | p99 ms | p99.9 ms | p99.99 ms | max ms |"
        ));
        self.line(format_args!("|---|---|---|---|---|---|---|---|"));
        for side in ["produced", "consumed"] {
            let flow = &result[side];
            if flow["records"].as_u64().unwrap_or(0) == 0 {
                continue;
            }
            let latency = |key: &str| number(&flow["latency_ms"][key]);
            self.line(format_args!(
                "| {side} | {} | {} | {} | {} | {} | {} | {} |",
                number(&flow["records_per_second"]),
                number(&flow["megabytes_per_second"]),
                latency("p50"),
                latency("p99"),
                latency("p999"),
                latency("p9999"),
                latency("max"),
            ));
        }
        if result["broker"].is_object() {
            let broker = &result["broker"];
            self.line(format_args!(
                "\nBroker: {} CPU-s/GB ({} user, {} system), {} µs per request, {} cores.",
                number(&broker["cpu_seconds_per_gb"]),
                number(&broker["user_seconds_per_gb"]),
                number(&broker["system_seconds_per_gb"]),
                number(&broker["microseconds_per_request"]),
                number(&broker["cores"]),
            ));
        }
        let seconds: Vec<&Value> = list(&result["series"]).collect();
        let over_time = |side: &str, key: &str| -> Vec<(f64, f64)> {
            seconds
                .iter()
                .filter_map(|second| Some((second["at"].as_f64()?, second[side][key].as_f64()?)))
                .collect()
        };
        let warm_up = seconds
            .iter()
            .filter(|second| second["is_measured"] == false)
            .filter_map(|second| second["at"].as_f64())
            .next_back();
        let throughput = Lines {
            title: format!("{name}: throughput"),
            x: ("seconds (grey: warm-up)".to_owned(), Scale::Linear),
            y: ("MB/s".to_owned(), Scale::Linear),
            series: [("produced", "produced"), ("consumed", "consumed")]
                .into_iter()
                .map(|(side, label)| (label.to_owned(), over_time(side, "megabytes_per_second")))
                .filter(|(_, points)| points.iter().any(|point| point.1 > 0.0))
                .collect(),
            grey_until: warm_up,
        };
        self.chart(
            &format!("{name}-throughput"),
            "throughput over time",
            throughput.draw(),
        );
        let mut series = Vec::new();
        for (side, what) in [("produced", "acknowledged"), ("consumed", "end to end")] {
            for key in ["p50", "p99", "max"] {
                let points = over_time(side, key);
                if !points.is_empty() {
                    series.push((format!("{what} {key}"), points));
                }
            }
        }
        let latency = Lines {
            title: format!("{name}: latency"),
            x: ("seconds (grey: warm-up)".to_owned(), Scale::Linear),
            y: ("milliseconds".to_owned(), Scale::Log),
            series,
            grey_until: warm_up,
        };
        self.chart(
            &format!("{name}-latency"),
            "latency over time",
            latency.draw(),
        );
    }

    /// All runs: percentile curves, CPU per GB.
    fn together(&mut self, runs: &[&(String, Value)]) {
        self.line(format_args!("\n## All"));
        let mut series = Vec::new();
        for (name, result) in runs {
            for (side, what) in [("produced", "acknowledged"), ("consumed", "end to end")] {
                let curve: Vec<(f64, f64)> = list(&result[side]["latency_ms"]["curve"])
                    .filter_map(|point| Some((point[0].as_f64()?, point[1].as_f64()?)))
                    .collect();
                if !curve.is_empty() {
                    series.push((format!("{name} {what}"), curve));
                }
            }
        }
        let curves = Lines {
            title: "Latency by percentile".to_owned(),
            x: ("percentile".to_owned(), Scale::Nines),
            y: ("milliseconds".to_owned(), Scale::Log),
            series,
            grey_until: None,
        };
        self.chart("percentiles", "latency by percentile", curves.draw());
        let groups = runs
            .iter()
            .filter(|(_, result)| result["broker"]["cpu_seconds_per_gb"].is_number())
            .map(|(name, result)| Group {
                label: name.clone(),
                bars: ["user_seconds_per_gb", "system_seconds_per_gb"]
                    .into_iter()
                    .map(|key| {
                        result["broker"][key].as_f64().map(|value| Bar {
                            value,
                            spread: None,
                        })
                    })
                    .collect(),
                note: String::new(),
            })
            .collect();
        let cpu = Bars {
            title: "Broker CPU per GB".to_owned(),
            unit: "CPU-s/GB".to_owned(),
            names: vec!["user".to_owned(), "system".to_owned()],
            groups,
        };
        self.chart("cpu-per-gb", "broker CPU per GB", cpu.draw());
    }

    fn raw(&mut self, name: &str, result: &Value) {
        self.line(format_args!("\n## {}", plain(name)));
        self.origin(result);
        self.line(format_args!(
            "\n| loop | CPU-s/GB | user | system |\n|---|---|---|---|"
        ));
        for one in list(&result["loops"]) {
            self.line(format_args!(
                "| {} | {} | {} | {} |",
                plain(one["name"].as_str().unwrap_or_default()),
                number(&one["cpu_seconds_per_gb"]),
                number(&one["user_seconds_per_gb"]),
                number(&one["system_seconds_per_gb"]),
            ));
        }
    }

    /// What `cargo dev compare` measured: a table and bars for each section.
    fn comparison(&mut self, prefix: &str, result: &Value) {
        self.line(format_args!(
            "\n## Beside Apache Kafka {}",
            plain(result["kafka"].as_str().unwrap_or(""))
        ));
        self.origin(result);
        self.line(format_args!(
            "\nMedians of {} rounds, both brokers on one machine and disk, in turn; in brackets the least and the most. \
             A ratio is ours through Kafka's, round by round.{}",
            result["rounds"],
            if result["quick"] == true { " **A quick run: an indication, no measurement.**" } else { "" }
        ));
        let scenarios: Vec<&Value> = list(&result["scenarios"]).collect();
        self.overview(prefix, &scenarios);
        let mut sections: Vec<&str> = Vec::new();
        for scenario in &scenarios {
            let section = scenario["section"].as_str().unwrap_or("Other");
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        for section in sections {
            let of_section: Vec<&&Value> = scenarios
                .iter()
                .filter(|scenario| scenario["section"].as_str().unwrap_or("Other") == section)
                .collect();
            self.section(prefix, section, &of_section);
        }
    }

    /// Every scenario's first metric, as a ratio of which less is better.
    fn overview(&mut self, prefix: &str, scenarios: &[&Value]) {
        let groups = scenarios
            .iter()
            .filter_map(|scenario| {
                let metric = list(&scenario["metrics"]).next()?;
                let ratio = |key: &str| metric["ratio"][key].as_f64();
                let is_more = metric["better"] == "more";
                let turned = |ratio: f64| if is_more { 1.0 / ratio } else { ratio };
                let (value, low, high) = (ratio("median")?, ratio("min")?, ratio("max")?);
                let spread = if is_more {
                    (turned(high), turned(low))
                } else {
                    (low, high)
                };
                let title = text(&scenario["title"]);
                Some(Group {
                    label: format!("{}: {title}", text(&scenario["section"])),
                    bars: vec![Some(Bar {
                        value: turned(value),
                        spread: Some(spread),
                    })],
                    note: format!(
                        "{}{}",
                        text(&metric["title"]),
                        if is_more { " (inverse)" } else { "" }
                    ),
                })
            })
            .collect();
        let bars = Bars {
            title: "Corelog's share of what the other needs (1: the same; less is better)"
                .to_owned(),
            unit: "ratio".to_owned(),
            names: vec!["ratio".to_owned()],
            groups,
        };
        self.chart(&format!("{prefix}overview"), "all ratios", bars.draw());
    }

    fn section(&mut self, prefix: &str, section: &str, scenarios: &[&&Value]) {
        self.line(format_args!("\n### {}", plain(section)));
        let other = scenarios
            .iter()
            .find_map(|scenario| scenario["other"].as_str())
            .unwrap_or("Apache Kafka");
        self.line(format_args!(
            "\n| | | Corelog | {} | ratio | aim |\n|---|---|---|---|---|---|",
            plain(other)
        ));
        // (metric's title, its unit, bars)
        let mut charts: Vec<(String, String, Vec<Group>)> = Vec::new();
        let mut notes = Vec::new();
        for scenario in scenarios {
            let title = scenario["title"].as_str().unwrap_or_default();
            if let Some(error) = scenario["error"].as_str() {
                self.line(format_args!("| {} | failed | | | | |", plain(title)));
                notes.push(format!("{title}: {error}"));
            }
            if let Some(note) = scenario["note"].as_str().filter(|note| !note.is_empty()) {
                notes.push(format!("{title}: {note}"));
            }
            for metric in list(&scenario["metrics"]) {
                let (what, unit) = (text(&metric["title"]), text(&metric["unit"]));
                self.line(format_args!(
                    "| {} | {}, {} | {} | {} | {} | {} |",
                    plain(title),
                    plain(&what),
                    plain(&unit),
                    spread(&metric["corelog"]),
                    spread(&metric["kafka"]),
                    spread(&metric["ratio"]),
                    metric["aim"].as_f64().map_or(String::new(), |aim| {
                        format!(
                            "{} {}",
                            if metric["better"] == "more" {
                                "≥"
                            } else {
                                "≤"
                            },
                            short(aim)
                        )
                    }),
                ));
                let group = Group {
                    label: title.to_owned(),
                    bars: vec![bar(&metric["corelog"]), bar(&metric["kafka"])],
                    note: metric["ratio"]["median"]
                        .as_f64()
                        .map_or(String::new(), |ratio| format!("ratio {}", short(ratio))),
                };
                match charts
                    .iter_mut()
                    .find(|chart| (&chart.0, &chart.1) == (&what, &unit))
                {
                    Some(chart) => chart.2.push(group),
                    None => charts.push((what, unit, vec![group])),
                }
            }
        }
        for note in notes {
            self.line(format_args!("\n- {}", plain(&note)));
        }
        for (what, unit, groups) in charts {
            let bars = Bars {
                title: format!("{section}: {what}"),
                unit,
                names: vec!["Corelog".to_owned(), other.to_owned()],
                groups,
            };
            self.chart(
                &format!("{prefix}{section} {what}"),
                &format!("{section}: {what}"),
                bars.draw(),
            );
        }
    }
}

fn bar(values: &Value) -> Option<Bar> {
    let value = values["median"].as_f64()?;
    let spread = values["min"].as_f64().zip(values["max"].as_f64());
    Some(Bar { value, spread })
}

fn spread(values: &Value) -> String {
    let Some(median) = values["median"].as_f64() else {
        return "–".to_owned();
    };
    match (values["min"].as_f64(), values["max"].as_f64()) {
        (Some(low), Some(high)) if low < high => {
            format!("{} ({}–{})", short(median), short(low), short(high))
        }
        _ => short(median),
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or("–".to_owned(), short)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Text that cannot end a table's cell or begin a tag.
fn plain(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
        .replace('|', "\\|")
        .replace('<', "&lt;")
}

/// Lower-case letters, digits and dashes.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        if character.is_ascii_alphanumeric() || character == '.' {
            name.push(character);
        } else if !name.ends_with('-') && !name.is_empty() {
            name.push('-');
        }
    }
    name.trim_end_matches('-').to_owned()
}
