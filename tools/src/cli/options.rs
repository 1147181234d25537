//! **Owns** the reading of options as Kafka's tools read them, and their usage texts.
//! **Lives on** any thread: plain data.
//! **Invariants** (1) Long options with one or two dashes, values after a space or `=`; names are not abbreviated; what is
//! no option is ignored, as Kafka's parser does.
//! **Not here** the tools whose parser is another one (`producer_perf_test`).

use std::collections::BTreeMap;
use std::str::FromStr;

use super::{Out, nearest};

/// What follows an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// Nothing.
    None,
    /// A value, described so.
    Required(&'static str),
    /// A value or nothing.
    Optional(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// Without dashes.
    pub name: &'static str,
    /// What follows it.
    pub argument: Argument,
    /// What it does.
    pub help: &'static str,
}

impl Opt {
    /// Its name and what follows it, as help and man pages show them.
    pub fn left(&self) -> String {
        match self.argument {
            Argument::None => format!("--{}", self.name),
            Argument::Required(argument) => format!("--{} <{argument}>", self.name),
            Argument::Optional(argument) => format!("--{} [{argument}]", self.name),
        }
    }
}

/// An option that takes a value.
pub const fn value(name: &'static str, argument: &'static str, help: &'static str) -> Opt {
    Opt {
        name,
        argument: Argument::Required(argument),
        help,
    }
}

/// An option that takes none.
pub const fn flag(name: &'static str, help: &'static str) -> Opt {
    Opt {
        name,
        argument: Argument::None,
        help,
    }
}

/// An option that takes a value or none.
pub const fn maybe(name: &'static str, argument: &'static str, help: &'static str) -> Opt {
    Opt {
        name,
        argument: Argument::Optional(argument),
        help,
    }
}

/// A command's options.
#[derive(Debug)]
pub struct Table {
    /// Said above the options on `--help`.
    pub about: &'static str,
    /// By name.
    pub options: &'static [Opt],
}

/// Why a command does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Print this and the options; exit 1.
    Usage(String),
    /// Print this to standard error; exit 1.
    Error(String),
    /// Print the version; exit 0.
    Version,
}

impl Refusal {
    /// The same with the options behind it, as some of Kafka's tools refuse what they do not know.
    #[must_use]
    pub fn with_usage(self) -> Self {
        match self {
            Self::Error(message) => Self::Usage(message),
            other => other,
        }
    }

    /// Does so; gives the exit code.
    pub fn print(&self, table: &Table, out: &mut Out) -> u8 {
        match self {
            Self::Usage(message) => {
                out.error(message);
                table.print(out);
                1
            }
            Self::Error(message) => {
                out.error(message);
                1
            }
            Self::Version => {
                out.line(KAFKA_VERSION);
                0
            }
        }
    }
}

/// Options as given.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Every value of each option given, in order; `None` where an optional value was left out.
    values: BTreeMap<&'static str, Vec<Option<String>>>,
    /// The same, as they stood.
    order: Vec<(&'static str, Option<String>)>,
}

impl Table {
    /// Reads arguments. `--help` and `--version` are answered here.
    pub fn parse(&self, arguments: &[String]) -> Result<Given, Refusal> {
        let mut given = Given::default();
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                break;
            }
            let Some(text) = argument
                .strip_prefix("--")
                .or_else(|| argument.strip_prefix('-'))
                .filter(|text| !text.is_empty())
            else {
                continue;
            };
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let Some(option) = self.find(name) else {
                return Err(Refusal::Error(self.unknown(name)));
            };
            let value = match option.argument {
                Argument::None => None,
                Argument::Required(_) => match inline.or_else(|| rest.next().cloned()) {
                    Some(value) => Some(value),
                    None => {
                        return Err(Refusal::Error(format!(
                            "Option {name} requires an argument"
                        )));
                    }
                },
                // A number may be negative.
                Argument::Optional(kind) => inline.or_else(|| {
                    let is_number = kind.starts_with("Long") || kind.starts_with("Integer");
                    let fits = |next: &&String| {
                        !next.starts_with('-') || (is_number && next.parse::<i64>().is_ok())
                    };
                    rest.next_if(|next| fits(next)).cloned()
                }),
            };
            given.order.push((option.name, value.clone()));
            given.values.entry(option.name).or_default().push(value);
        }
        if given.has("help") {
            return Err(Refusal::Usage(self.about.to_owned()));
        }
        if given.has("version") {
            return Err(Refusal::Version);
        }
        Ok(given)
    }

    fn find(&self, name: &str) -> Option<Opt> {
        let common = [HELP, VERSION, OUTPUT];
        self.options
            .iter()
            .chain(&common)
            .find(|option| option.name == name)
            .copied()
    }

    fn unknown(&self, name: &str) -> String {
        let near = nearest(name, self.options.iter().map(|option| option.name));
        match near {
            Some(near) => format!("{name} is not a recognized option; did you mean --{near}?"),
            None => format!("{name} is not a recognized option"),
        }
    }

    /// All options, those that every command has among them, by name.
    pub fn all(&self) -> Vec<Opt> {
        let common = [HELP, VERSION, OUTPUT];
        let mut options: Vec<Opt> = self.options.iter().chain(&common).copied().collect();
        options.sort_by_key(|option| option.name);
        options
    }

    /// Prints the options.
    pub fn print(&self, out: &mut Out) {
        if out.is_json() {
            return;
        }
        let row = |left: &str, right: &str| format!("{left:<LEFT$} {right}");
        out.error(row("Option", "Description").trim_end());
        out.error(row("------", "-----------").trim_end());
        for option in self.all() {
            let left = wrap(&option.left(), LEFT - 1);
            let right = wrap(option.help, RIGHT);
            for line in 0..left.len().max(right.len()) {
                let part = |lines: &[String]| lines.get(line).map_or(String::new(), String::clone);
                out.error(row(&part(&left), &part(&right)).trim_end());
            }
        }
    }
}

/// Lines of at most `width` letters; those after the first are indented.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("  {word}"));
        } else {
            if begun {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

impl Given {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The value of an option that may be given once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, String> {
        match self.values.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([value]) => Ok(value.as_deref()),
            Some(_) => Err(format!(
                "Found multiple arguments for option {name}, but you asked for only one"
            )),
        }
    }

    /// All values of an option, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.values
            .get(name)
            .into_iter()
            .flatten()
            .filter_map(Option::as_deref)
            .collect()
    }

    /// Those of these options that were given, with their values, as they stood.
    pub fn in_order(&self, names: &[&str]) -> Vec<(&'static str, Option<String>)> {
        let mut given = self.order.clone();
        given.retain(|(name, _)| names.contains(name));
        given
    }

    /// [`Given::one`], as a number or the like.
    pub fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        match self.one(name)? {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| format!("Cannot parse argument '{text}' of option {name}")),
        }
    }

    /// Whether `--output json` was given.
    pub fn json(&self) -> Result<bool, String> {
        match self.one("output")? {
            None | Some("text") => Ok(false),
            Some("json") => Ok(true),
            Some(other) => Err(format!("--output {other} is not known: text and json are")),
        }
    }

    /// The names of all options given.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.values.keys().copied()
    }

    /// Kafka's `checkRequiredArgs`.
    pub fn require(&self, names: &[&str]) -> Result<(), Refusal> {
        for name in names {
            if !self.has(name) {
                return Err(Refusal::Usage(format!(
                    "Missing required argument \"[{name}]\""
                )));
            }
        }
        Ok(())
    }

    /// Kafka's `checkInvalidArgs`: with `name`, none of `others`.
    pub fn exclude(&self, name: &str, others: &[&str]) -> Result<(), Refusal> {
        if !self.has(name) {
            return Ok(());
        }
        for other in others {
            if self.has(other) {
                return Err(Refusal::Usage(format!(
                    "Option \"[{name}]\" can't be used with option \"[{other}]\""
                )));
            }
        }
        Ok(())
    }
}

const HELP: Opt = flag("help", "Print usage information.");
const VERSION: Opt = flag("version", "Display Kafka version.");
const OUTPUT: Opt = value("output", "String: text or json", "json: print JSON.");
/// The release whose tools these are like; scripts look at it.
pub const KAFKA_VERSION: &str = "4.3.1";
const LEFT: usize = 41;
const RIGHT: usize = 80;
