//! **Owns** the reading of options as those of Kafka's tools read them that are built on argparse4j: subcommands, short
//! names, a usage on standard error.
//! **Lives on** any thread: plain data.
//! **Invariants** (1) Messages break and stretch their lines where argparse4j does.
//! **Not here** the other tools (`options`).

use std::collections::BTreeMap;
use std::str::FromStr;

use super::options::KAFKA_VERSION;
use super::{Out, nearest};

/// What an option's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is none.
    Flag,
    /// Anything.
    Text,
    /// A Java int.
    Integer,
    /// A Java long.
    Long,
}

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Without dashes; what it is asked for by.
    pub name: &'static str,
    /// The short name's letter.
    pub short: Option<char>,
    /// What follows.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// One of those with the same number must be there, and only one.
    pub group: Option<u8>,
    /// What it does.
    pub help: &'static str,
}

/// An option that may be there.
pub const fn arg(name: &'static str, kind: Kind, help: &'static str) -> Arg {
    Arg {
        name,
        short: None,
        kind,
        required: false,
        group: None,
        help,
    }
}

impl Arg {
    /// With a short name.
    #[must_use]
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// It must be there.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// One of this group must be there.
    #[must_use]
    pub const fn one_of(mut self, group: u8) -> Self {
        self.group = Some(group);
        self
    }

    fn shown(&self) -> String {
        match self.short {
            Some(short) => format!("--{}/-{short}", self.name),
            None => format!("--{}", self.name),
        }
    }

    fn metavar(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }
}

/// A subcommand.
#[derive(Clone, Copy, Debug)]
pub struct Sub {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its usage, as argparse4j breaks it.
    pub usage: &'static str,
    /// Its options.
    pub args: &'static [Arg],
}

/// How a tool says that its command line is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The usage, and a line beneath it.
    Usage,
    /// One line.
    Line,
}

/// A tool's command line.
#[derive(Debug)]
pub struct Parser {
    /// What it calls itself.
    pub prog: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its usage, as argparse4j breaks it.
    pub usage: &'static str,
    /// Options before the subcommand.
    pub args: &'static [Arg],
    /// Subcommands; none where it is a tool without.
    pub subs: &'static [Sub],
    /// How it complains.
    pub complaint: Complaint,
}

/// A command line, read.
#[derive(Clone, Debug, Default)]
pub struct Args {
    /// The subcommand; empty for a tool without.
    pub command: &'static str,
    values: BTreeMap<&'static str, Vec<String>>,
}

/// What is said of a command line that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wrong {
    usage: &'static str,
    message: String,
}

impl Parser {
    /// Reads arguments; what is wrong with them, or help, is printed here, and the exit code given.
    pub(super) fn parse(&self, arguments: &[String], out: &mut Out) -> Result<Args, u8> {
        if arguments.iter().any(|it| it == "--version" || it == "-v")
            && self.args.iter().any(|it| it.name == "version")
        {
            out.line(KAFKA_VERSION);
            return Err(0);
        }
        match self.read(arguments) {
            Ok(Some(args)) => Ok(args),
            Ok(None) => {
                self.help(arguments, out);
                Err(0)
            }
            Err(wrong) => {
                self.complain(&wrong, out);
                Err(1)
            }
        }
    }

    fn complain(&self, wrong: &Wrong, out: &mut Out) {
        match self.complaint {
            Complaint::Usage => {
                out.error(wrong.usage);
                let line = format!("{}: error: {}", self.prog, wrong.message);
                out.error(&justified(&line, WIDTH));
            }
            Complaint::Line => out.error(&format!(
                "Command line error: {}. Type --help for help.",
                wrong.message
            )),
        }
    }

    fn read(&self, arguments: &[String]) -> Result<Option<Args>, Wrong> {
        let mut args = Args::default();
        let mut sub: Option<&Sub> = None;
        let mut unknown = None;
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            let usage = sub.map_or(self.usage, |sub| sub.usage);
            let wrong = |message: String| Wrong { usage, message };
            if argument == "-h" || argument == "--help" {
                return Ok(None);
            }
            let known = sub.map_or(self.args, |sub| sub.args);
            if !argument.starts_with('-') || argument.len() == 1 {
                if sub.is_some() || self.subs.is_empty() {
                    if let Some(unknown) = unknown {
                        return Err(unknown);
                    }
                    return Err(wrong(format!("unrecognized arguments: '{argument}'")));
                }
                sub = Some(self.sub(argument).map_err(wrong)?);
                continue;
            }
            let Some((option, inline)) = find(known, argument) else {
                unknown.get_or_insert_with(|| wrong(unrecognized(known, argument)));
                continue;
            };
            let value = match option.kind {
                Kind::Flag => "true".to_owned(),
                _ => match inline.or_else(|| rest.next_if(|it| is_value(it)).cloned()) {
                    Some(value) => value,
                    None => {
                        return Err(wrong(format!(
                            "argument {}: expected one argument",
                            option.shown()
                        )));
                    }
                },
            };
            if let Some(other) = option.group.and_then(|group| {
                known.iter().find(|it| {
                    it.group == Some(group) && it.name != option.name && args.has(it.name)
                })
            }) {
                return Err(wrong(format!(
                    "argument {}: not allowed with argument {}",
                    option.shown(),
                    other.shown()
                )));
            }
            check(option, &value).map_err(wrong)?;
            args.values.entry(option.name).or_default().push(value);
        }
        if let Some(unknown) = unknown {
            return Err(unknown);
        }
        if let Some(sub) = sub {
            args.command = sub.name;
            missing(sub.args, &args, sub.usage)?;
        }
        // Kafka's parser looks at the subcommand before it looks for what else is missing.
        if sub.is_none() && !self.subs.is_empty() {
            return Err(Wrong {
                usage: self.usage,
                message: "too few arguments".to_owned(),
            });
        }
        missing(self.args, &args, self.usage)?;
        Ok(Some(args))
    }

    fn sub(&self, name: &str) -> Result<&'static Sub, String> {
        if let Some(sub) = self.subs.iter().find(|sub| sub.name == name) {
            return Ok(sub);
        }
        let choices: Vec<String> = self
            .subs
            .iter()
            .map(|sub| format!("'{}'", sub.name))
            .collect();
        let near = nearest(name, self.subs.iter().map(|sub| sub.name));
        let hint = near.map_or(String::new(), |near| format!("; did you mean '{near}'?"));
        Err(format!(
            "invalid choice: '{name}' (choose from {}){hint}",
            choices.join(", ")
        ))
    }

    fn help(&self, arguments: &[String], out: &mut Out) {
        let sub = arguments
            .iter()
            .find_map(|argument| self.subs.iter().find(|sub| sub.name == argument));
        let (usage, about, args) = match sub {
            Some(sub) => (sub.usage, sub.about, sub.args),
            None => (self.usage, self.about, self.args),
        };
        out.line(usage);
        out.line("");
        out.line(about);
        if sub.is_none() && !self.subs.is_empty() {
            out.line("\ncommands:");
            for sub in self.subs {
                out.line(&format!("  {:<26} {}", sub.name, sub.about));
            }
        }
        out.line("\noptions:");
        out.line(&format!("  {:<26} show this help", "-h, --help"));
        for arg in args {
            out.line(&format!("  {:<26} {}", arg.left(), arg.help));
        }
        out.line(&format!("  {:<26} {}", "--output json", "print JSON"));
    }
}

impl Arg {
    /// Its names and what follows them, as help and man pages show them.
    pub fn left(&self) -> String {
        let value = match self.kind {
            Kind::Flag => String::new(),
            _ => format!(" {}", self.metavar()),
        };
        match self.short {
            Some(short) => format!("--{}, -{short}{value}", self.name),
            None => format!("--{}{value}", self.name),
        }
    }
}

fn is_value(text: &str) -> bool {
    // A negative number is no option.
    !text.starts_with('-')
        || text[1..]
            .chars()
            .next()
            .is_some_and(|letter| letter.is_ascii_digit())
}

fn find(known: &'static [Arg], argument: &str) -> Option<(&'static Arg, Option<String>)> {
    let all = || known.iter().chain(std::iter::once(&OUTPUT));
    if let Some(text) = argument.strip_prefix("--") {
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        return all()
            .find(|option| option.name == name)
            .map(|option| (option, inline));
    }
    let mut letters = argument.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let rest = letters.as_str();
    let inline = (!rest.is_empty()).then(|| rest.to_owned());
    all()
        .find(|option| option.short == Some(letter))
        .map(|option| (option, inline))
}

fn unrecognized(known: &[Arg], argument: &str) -> String {
    let name = argument.trim_start_matches('-');
    let near = nearest(name, known.iter().map(|option| option.name));
    match near {
        Some(near) => format!("unrecognized arguments: '{argument}'; did you mean --{near}?"),
        None => format!("unrecognized arguments: '{argument}'"),
    }
}

fn check(option: &Arg, value: &str) -> Result<(), String> {
    let (fits, kind) = match option.kind {
        Kind::Flag | Kind::Text => return Ok(()),
        Kind::Integer => (value.parse::<i32>().is_ok(), "Integer"),
        Kind::Long => (value.parse::<i64>().is_ok(), "Long"),
    };
    if fits {
        return Ok(());
    }
    Err(format!(
        "argument {}: could not convert '{value}' to {kind} (For input string: \"{value}\")",
        option.shown()
    ))
}

fn missing(known: &[Arg], args: &Args, usage: &'static str) -> Result<(), Wrong> {
    let wrong = |message| Err(Wrong { usage, message });
    if let Some(option) = known.iter().find(|it| it.required && !args.has(it.name)) {
        return wrong(format!("argument {} is required", option.shown()));
    }
    let groups: std::collections::BTreeSet<u8> = known.iter().filter_map(|it| it.group).collect();
    for group in groups {
        let members: Vec<&Arg> = known.iter().filter(|it| it.group == Some(group)).collect();
        if !members.iter().any(|it| args.has(it.name)) {
            let names: Vec<String> = members.iter().map(|it| it.shown()).collect();
            return wrong(format!(
                "one of the arguments {} is required",
                names.join(" ")
            ));
        }
    }
    Ok(())
}

impl Args {
    /// Whether an option was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The last value of an option.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    /// All values of an option.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.values
            .get(name)
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// [`Args::one`] as a number; the parser has looked at it.
    pub fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        self.one(name)?.parse().ok()
    }

    /// Whether `--output json` was given.
    pub fn json(&self) -> bool {
        self.one("output") == Some("json")
    }
}

/// Breaks a line at this width; all but the last are stretched to it, as argparse4j does: spaces go between all words
/// alike, and what is left over to those in the middle.
fn justified(line: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let mut length = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let (word, glued, after) = piece(rest);
        let needed = if words.is_empty() {
            word.len()
        } else {
            length + 1 + word.len()
        };
        if needed <= width {
            if glued && needed + next_piece(after) > width && !after.is_empty() {
                // The rest of a hyphened word goes to the next line.
                words.push(word);
                lines.push(stretched(&words, width));
                words.clear();
                length = 0;
                rest = after;
                continue;
            }
            if glued {
                let whole = rest.split(' ').next().unwrap_or(rest);
                words.push(whole);
                length = if words.len() == 1 {
                    whole.len()
                } else {
                    length + 1 + whole.len()
                };
                rest = rest[whole.len()..].trim_start_matches(' ');
                continue;
            }
            words.push(word);
            length = needed;
            rest = after;
            continue;
        }
        if words.is_empty() {
            lines.push(word.to_owned());
            rest = after;
            continue;
        }
        lines.push(stretched(&words, width));
        words.clear();
        length = 0;
    }
    if !words.is_empty() {
        lines.push(words.join(" "));
    }
    lines.join("\n")
}

/// The next word up to where a line may break, whether it goes on behind that, and what follows.
fn piece(text: &str) -> (&str, bool, &str) {
    let word = text.split(' ').next().unwrap_or(text);
    let after = text[word.len()..].trim_start_matches(' ');
    // A line may break behind the dashes that a name begins with.
    if let Some(name) = word.strip_prefix("--")
        && !name.is_empty()
    {
        return ("--", true, &text[2..]);
    }
    (word, false, after)
}

fn next_piece(text: &str) -> usize {
    text.split(' ').next().unwrap_or(text).len()
}

fn stretched(words: &[&str], width: usize) -> String {
    let used: usize = words.iter().map(|word| word.len()).sum();
    let gaps = words.len().saturating_sub(1);
    if gaps == 0 {
        return words.concat();
    }
    let spaces = width.saturating_sub(used).max(gaps);
    let (each, left) = (spaces / gaps, spaces % gaps);
    let from = (gaps - left).div_ceil(2);
    let mut line = String::new();
    for (index, word) in words.iter().enumerate() {
        line.push_str(word);
        if index < gaps {
            let more = usize::from((from..from + left).contains(&index));
            line.push_str(&" ".repeat(each + more));
        }
    }
    line
}

/// argparse4j's.
const WIDTH: usize = 75;

const OUTPUT: Arg = arg("output", Kind::Text, "json: print JSON");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_and_stretch_as_argparse4js() {
        for (line, expected) in [
            (
                "kafka-cluster: error: invalid choice: 'bogus' (choose from 'cluster-id', 'unregister', 'list-endpoints')",
                "kafka-cluster: error: invalid  choice:  'bogus'  (choose from 'cluster-id',\n'unregister', 'list-endpoints')",
            ),
            (
                "kafka-metadata-quorum: error: argument --controller-directory-id/-d is required",
                "kafka-metadata-quorum:  error:  argument   --controller-directory-id/-d  is\nrequired",
            ),
            (
                "kafka-metadata-quorum: error: one of the arguments --bootstrap-server --bootstrap-controller is required",
                "kafka-metadata-quorum: error: one  of  the  arguments --bootstrap-server --\nbootstrap-controller is required",
            ),
            (
                "kafka-cluster: error: one of the arguments --bootstrap-server/-b --bootstrap-controller/-C is required",
                "kafka-cluster:  error:  one  of   the  arguments  --bootstrap-server/-b  --\nbootstrap-controller/-C is required",
            ),
            (
                "kafka-transactions.sh: error: invalid choice: 'bogus' (choose from 'list', 'describe', 'describe-producers', 'abort', 'find-hanging', 'forceTerminateTransaction')",
                "kafka-transactions.sh: error: invalid choice:  'bogus' (choose from 'list',\n'describe',      'describe-producers',       'abort',       'find-hanging',\n'forceTerminateTransaction')",
            ),
        ] {
            assert_eq!(justified(line, WIDTH), expected);
        }
    }
}
