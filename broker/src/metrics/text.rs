//! Prometheus' text format, version 0.0.4.
//!
//! Owns: HELP and TYPE lines, samples, escaping, how numbers print.
//! Lives on: shard 0, for one scrape.
//! Invariants:
//! 1. All samples of a family stand together behind its HELP and TYPE lines; a family is begun once.
//! 2. A label's value may hold anything: backslash, quote and line feed are escaped.
//!
//! Not here: names (`names.rs`), values (`page.rs`).

use std::fmt::Write as _;

use super::names::{Family, Kind};

/// What `Content-Type` says of a page.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page in the making.
pub(crate) struct Text {
    text: String,
    family: Family,
}

/// A number as it is printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    Signed(i64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Number {
    fn from(flag: bool) -> Self {
        Self::Whole(u64::from(flag))
    }
}

impl Text {
    /// An empty page that expects about `size` bytes.
    pub(crate) fn with_capacity(size: usize) -> Self {
        Self {
            text: String::with_capacity(size),
            family: super::names::BUILD,
        }
    }

    /// Begins a family; the samples that follow are its.
    pub(crate) fn begin(&mut self, family: Family) {
        self.family = family;
        let Family {
            name, kind, help, ..
        } = family;
        let (help, kind) = (help.replace('\\', "\\\\"), kind.name());
        // A String takes everything.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// A sample with the values of the family's first labels; the others are left out.
    pub(crate) fn put(&mut self, values: &[&str], number: impl Into<Number>) {
        self.sample("", values, None, number.into());
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, family: Family, number: impl Into<Number>) {
        self.begin(family);
        self.put(&[], number);
    }

    /// A quantile of a summary.
    pub(crate) fn quantile(&mut self, values: &[&str], quantile: &str, number: f64) {
        assert_eq!(self.family.kind, Kind::Summary, "{}", self.family.name);
        self.sample("", values, Some(quantile), Number::Real(number));
    }

    /// Count and sum of a summary.
    pub(crate) fn count_and_sum(&mut self, values: &[&str], count: u64, sum: f64) {
        assert_eq!(self.family.kind, Kind::Summary, "{}", self.family.name);
        self.sample("_sum", values, None, Number::Real(sum));
        self.sample("_count", values, None, Number::Whole(count));
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn sample(&mut self, suffix: &str, values: &[&str], quantile: Option<&str>, number: Number) {
        let labels = self.family.labels;
        assert!(
            values.len() <= labels.len(),
            "{} has {} labels",
            self.family.name,
            labels.len()
        );
        self.text.push_str(self.family.name);
        self.text.push_str(suffix);
        let labels = labels.iter().copied().zip(values.iter().copied());
        let labels = labels.chain(quantile.map(|quantile| ("quantile", quantile)));
        let mut opened = false;
        for (label, value) in labels {
            self.text.push(if opened { ',' } else { '{' });
            opened = true;
            self.text.push_str(label);
            self.text.push_str("=\"");
            escape(&mut self.text, value);
            self.text.push('"');
        }
        if opened {
            self.text.push('}');
        }
        self.text.push(' ');
        let _ = match number {
            Number::Whole(number) => write!(self.text, "{number}"),
            Number::Signed(number) => write!(self.text, "{number}"),
            Number::Real(number) if number.is_nan() => write!(self.text, "NaN"),
            Number::Real(number) if number.is_infinite() => {
                write!(self.text, "{}Inf", if number > 0.0 { '+' } else { '-' })
            }
            Number::Real(number) => write!(self.text, "{number}"),
        };
        self.text.push('\n');
    }
}

fn escape(into: &mut String, value: &str) {
    if !value.contains(['\\', '"', '\n']) {
        into.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '"' => into.push_str("\\\""),
            '\n' => into.push_str("\\n"),
            other => into.push(other),
        }
    }
}
