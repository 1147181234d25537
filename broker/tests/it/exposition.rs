//! A strict reader of Prometheus' text format, version 0.0.4.
//!
//! **Owns** what a scraper may rely on: it fails on everything else.
//! **Lives on** the test's thread; the broker's own tests include it too.
//! **Invariants** 1. A family's samples stand together behind HELP and TYPE, each label set once.
//! **Not here**: what the numbers should be.

use std::collections::{BTreeMap, BTreeSet};

/// Label names and values, sorted.
pub(crate) type Labels = BTreeMap<String, String>;

/// A page, read.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Type by name, of all families, also those without samples.
    pub(crate) families: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Page {
    /// Reads a page, or says which line is wrong and why.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut page = Self::default();
        let mut family = String::new();
        let mut help: Option<String> = None;
        if !text.ends_with('\n') {
            return Err("the last line does not end".to_owned());
        }
        for line in text.lines() {
            let bad = |why: &str| Err(format!("{why}: {line}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let Some((name, meaning)) = rest.split_once(' ') else {
                    return bad("a HELP without a text");
                };
                if help.is_some() || meaning.is_empty() || !is_name(name) {
                    return bad("a HELP in the wrong place");
                }
                help = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else {
                    return bad("a TYPE without a kind");
                };
                if help.take().as_deref() != Some(name) {
                    return bad("a TYPE that does not follow its HELP");
                }
                if !["counter", "gauge", "summary"].contains(&kind) {
                    return bad("an unknown kind");
                }
                let before = page.families.insert(name.to_owned(), kind.to_owned());
                if before.is_some() {
                    return bad("a family begun twice");
                }
                name.clone_into(&mut family);
            } else {
                let (name, labels, value) =
                    sample(line).ok_or_else(|| format!("no sample: {line}"))?;
                let kind = page.families.get(&family).map_or("", String::as_str);
                let suffix = name.strip_prefix(family.as_str());
                let fits = match suffix {
                    Some("") => kind != "summary" || labels.contains_key("quantile"),
                    Some("_sum" | "_count") => kind == "summary",
                    _ => false,
                };
                if family.is_empty() || !fits {
                    return bad("a sample outside of its family");
                }
                if kind == "counter" && (value < 0.0 || value.is_nan()) {
                    return bad("a counter that is no count");
                }
                if page.samples.insert((name, labels), value).is_some() {
                    return bad("a sample twice");
                }
            }
        }
        Ok(page)
    }

    /// The sample with exactly these labels.
    pub(crate) fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter();
        let labels = labels.map(|&(name, value)| (name.to_owned(), value.to_owned()));
        self.samples
            .get(&(name.to_owned(), labels.collect()))
            .copied()
    }

    /// The sample with exactly these labels, which must be there.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| {
            panic!(
                "no sample {name} {labels:?}; there are {:?}",
                self.all(name)
            )
        })
    }

    /// All samples of a name.
    pub(crate) fn all(&self, name: &str) -> Vec<(&Labels, f64)> {
        let named = self.samples.iter().filter(|((own, _), _)| own == name);
        named.map(|((_, labels), value)| (labels, *value)).collect()
    }

    /// The sum of all samples of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.all(name).iter().map(|(_, value)| value).sum()
    }
}

/// Every name in a text that looks like one of the broker's metrics, without what a summary adds.
pub(crate) fn named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let prefixes = ["kafka_", "corelog_", "process_"];
    let ours = |word: &&str| prefixes.iter().any(|prefix| word.starts_with(prefix));
    words.filter(ours).map(str::to_owned).collect()
}

/// One line: name, labels, value.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_label(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            let Some(more) = after.strip_prefix(',') else {
                rest = after.strip_prefix('}')?;
                break;
            };
            rest = more;
        }
    }
    let value = match rest.strip_prefix(' ')? {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.bytes().all(|b| b"0123456789.-e".contains(&b)) => number.parse().ok()?,
        _ => return None,
    };
    is_name(name).then(|| (name.to_owned(), labels, value))
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                '\\' => '\\',
                '"' => '"',
                'n' => '\n',
                _ => return None,
            }),
            letter => value.push(letter),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_label(name: &str) -> bool {
    is_name(name) && !name.starts_with("__")
}
