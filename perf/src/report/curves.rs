//! **Owns** what `cargo dev scaling` measured as tables and curves: costs over the number of things.
//! **Lives on** the command's thread.
//! **Invariants** (1) A cost that grows faster than the curve says it may is marked, never left out.
//! **Not here** drawing (`svg`), measuring (`perf/scaling`).

use serde_json::Value;

use super::svg::{Lines, Scale, short};
use super::{Report, list, number, plain, text};

impl Report {
    /// A table for each curve, a chart for each unit of its metrics.
    pub(super) fn scaling(&mut self, prefix: &str, result: &Value) {
        self.line(format_args!("\n## Costs as things grow"));
        self.origin(result);
        self.line(format_args!(
            "\nOne load at every point, so what changes is the number of things. The last column is how a figure grows over the last \
             two decades, as a power: 0 is flat, 1 in proportion; **bold** is steeper than it should be by {STEEPER}.{}",
            if result["quick"] == true {
                " **A quick run: an indication, no measurement.**"
            } else {
                ""
            }
        ));
        let mut section = String::new();
        for curve in list(&result["curves"]) {
            let of = text(&curve["section"]);
            if of != section {
                self.line(format_args!("\n### {}", plain(&of)));
                section = of;
            }
            self.curve(prefix, curve);
        }
    }

    fn curve(&mut self, prefix: &str, curve: &Value) {
        let (name, title, x) = (
            text(&curve["name"]),
            text(&curve["title"]),
            text(&curve["x"]),
        );
        self.line(format_args!("\n**{}**", plain(&title)));
        if let Some(note) = curve["note"].as_str().filter(|note| !note.is_empty()) {
            self.line(format_args!("\n{}.", plain(note)));
        }
        if curve["disk"] == "memory" {
            self.line(format_args!(
                "\nData directories in memory (tmpfs): the disk is not what is asked."
            ));
        }
        let metrics: Vec<&Value> = list(&curve["metrics"]).collect();
        self.table(curve, &metrics, &x);
        for (key, who) in BROKERS {
            if let Some(error) = curve["brokers"][key]["error"].as_str() {
                self.line(format_args!(
                    "\n- {who} went no further: {}",
                    plain(error.lines().last().unwrap_or_default())
                ));
            }
        }
        let mut units: Vec<String> = Vec::new();
        for metric in &metrics {
            let unit = text(&metric["unit"]);
            if !units.contains(&unit) {
                units.push(unit);
            }
        }
        for unit in units {
            let series: Vec<_> = metrics
                .iter()
                .filter(|metric| text(&metric["unit"]) == unit)
                .map(|metric| (text(&metric["title"]), points(curve, "corelog", metric)))
                .filter(|(_, points)| !points.is_empty())
                .collect();
            let file = format!("{prefix}{name} {}", unit.replace('µ', "u"));
            self.lines(&file, &title, &x, &unit, series);
        }
        if let Some(first) = metrics.first() {
            let what = text(&first["title"]);
            let beside: Vec<_> = BROKERS
                .iter()
                .map(|(key, who)| ((*who).to_owned(), points(curve, key, first)))
                .filter(|(_, points)| !points.is_empty())
                .collect();
            if beside.len() > 1 {
                self.lines(
                    &format!("{prefix}{name} beside"),
                    &format!("{title}: {what}"),
                    &x,
                    &text(&first["unit"]),
                    beside,
                );
            }
        }
    }

    fn table(&mut self, curve: &Value, metrics: &[&Value], x: &str) {
        let mut places: Vec<f64> = BROKERS
            .iter()
            .flat_map(|(key, _)| list(&curve["brokers"][*key]["points"]))
            .filter_map(|point| point["x"].as_f64())
            .collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let heads: Vec<String> = places.iter().map(|place| short(*place)).collect();
        self.line(format_args!(
            "\n| {} | {} | power |\n|---|{}---|",
            plain(x),
            heads.join(" | "),
            "---|".repeat(places.len())
        ));
        for (key, who) in BROKERS {
            let broker = &curve["brokers"][key];
            for metric in metrics {
                let name = text(&metric["name"]);
                let cells: Vec<String> = places
                    .iter()
                    .map(|place| {
                        list(&broker["points"])
                            .find(|point| point["x"].as_f64() == Some(*place))
                            .map_or("–".to_owned(), |point| number(&point[&name]))
                    })
                    .collect();
                if cells.iter().all(|cell| cell == "–") {
                    continue;
                }
                let power = broker["power"][&name].as_f64();
                let may = metric["grows"].as_f64().unwrap_or(0.0);
                let power = power.map_or("–".to_owned(), |power| {
                    if power > may + STEEPER {
                        format!("**{power:.2}**")
                    } else {
                        format!("{power:.2}")
                    }
                });
                self.line(format_args!(
                    "| {who}: {}, {} | {} | {power} |",
                    plain(&text(&metric["title"])),
                    plain(&text(&metric["unit"])),
                    cells.join(" | ")
                ));
            }
        }
    }

    fn lines(
        &mut self,
        name: &str,
        title: &str,
        x: &str,
        unit: &str,
        series: Vec<(String, Vec<(f64, f64)>)>,
    ) {
        let values = || {
            series
                .iter()
                .flat_map(|(_, points)| points)
                .map(|one| one.1)
        };
        let most = values().fold(0.0, f64::max);
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        // What spans decades shows its shape only by its logarithm.
        let scale = if most > least * 30.0 {
            Scale::Log
        } else {
            Scale::Linear
        };
        let lines = Lines {
            title: title.to_owned(),
            x: (x.to_owned(), Scale::Log),
            y: (unit.to_owned(), scale),
            series,
            grey_until: None,
        };
        self.chart(name, &format!("{title}: {unit} by {x}"), lines.draw());
    }
}

/// (x, value) of a broker's points that have the metric.
fn points(curve: &Value, broker: &str, metric: &Value) -> Vec<(f64, f64)> {
    let name = text(&metric["name"]);
    list(&curve["brokers"][broker]["points"])
        .filter_map(|point| Some((point["x"].as_f64()?, point[&name].as_f64()?)))
        .collect()
}

const BROKERS: [(&str, &str); 2] = [("corelog", "Corelog"), ("kafka", "Kafka")];
/// As `perf/scaling/run` has it: what measurements of a shared machine differ by.
const STEEPER: f64 = 0.15;
