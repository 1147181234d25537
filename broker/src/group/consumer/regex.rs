//! Subscriptions by regular expression (KIP-1043): checked at once, resolved elsewhere.
//!
//! Owns the syntax (RE2's, matched against whole names) and when a group's expressions are resolved again.
//! Lives inside its group; [`Resolve::run`] on a thread for brief jobs.
//! Invariants: 1. One resolution of a group is under way at most. 2. A stranger's pattern takes linear time and bounded memory.
//! Not here: what a resolution changes (`ConsumerGroup::resolved`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use crate::metadata::Image;

/// Topics that an expression stood for, and as of when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::group) struct Resolved {
    /// Ascending.
    pub(in crate::group) topics: BTreeSet<Arc<str>>,
    /// Offset of the metadata they were taken from.
    pub(in crate::group) version: i64,
    /// Wall clock.
    pub(in crate::group) at_ms: i64,
}

/// A question for a thread that may take its time.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// Whose expressions they are.
    pub group: Arc<str>,
    /// The expressions.
    pub patterns: Vec<Arc<str>>,
    /// Where topics come from.
    pub image: Arc<Image>,
}

impl PartialEq for Resolve {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.patterns == other.patterns
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Whose expressions they are.
    pub group: Arc<str>,
    /// Each with the topics it stands for.
    pub topics: Vec<(Arc<str>, BTreeSet<Arc<str>>)>,
    /// Offset of the metadata.
    pub version: i64,
}

impl Resolve {
    /// Finds the topics; blocks for as long as there are topics and expressions.
    pub fn run(self) -> Resolution {
        let mut topics: BTreeMap<Arc<str>, BTreeSet<Arc<str>>> = BTreeMap::new();
        for pattern in self.patterns {
            // One that was read from a log of others and does not compile stands for nothing.
            let matching = compile(&pattern).map(|regex| {
                let names = self.image.topics().map(|topic| &topic.name);
                names
                    .filter(|name| regex.is_match(name.as_bytes()))
                    .cloned()
                    .collect()
            });
            topics.insert(pattern, matching.unwrap_or_default());
        }
        Resolution {
            group: self.group,
            topics: topics.into_iter().collect(),
            version: version_of(&self.image),
        }
    }
}

/// The offset of the last record in the image, as Kafka counts versions of metadata.
pub(in crate::group) fn version_of(image: &Image) -> i64 {
    image.at().end_offset - 1
}

/// The expression, for whole names; or what RE2 would say of it.
pub(in crate::group) fn compile(pattern: &str) -> Result<Regex, &'static str> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            // Names of topics are ASCII, and so are RE2's classes.
            .unicode(false)
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .nest_limit(NESTING_MAX)
            .build()
    };
    check_repetition(pattern)?;
    // ORDER: alone first, or `a)|(b` would find its other halves in what is put around it.
    build(pattern).map_err(|error| describe(&error))?;
    build(&format!(r"\A(?:{pattern})\z")).map_err(|error| describe(&error))
}

/// RE2 refuses what is repeated twice, and counts above a thousand.
fn check_repetition(pattern: &str) -> Result<(), &'static str> {
    let bytes = pattern.as_bytes();
    let (mut at, mut in_class, mut repeated) = (0, false, false);
    while let Some(&byte) = bytes.get(at) {
        let mut repeats = false;
        match byte {
            b'\\' => at += 1,
            b'[' if !in_class => {
                in_class = true;
                // A bracket that comes first is one of the class.
                at += usize::from(bytes.get(at + 1) == Some(&b'^'));
                at += usize::from(bytes.get(at + 1) == Some(&b']'));
            }
            b']' => in_class = false,
            b'*' | b'+' | b'?' if !in_class => repeats = true,
            b'{' if !in_class => {
                if let Some((size, count)) = count(&bytes[at + 1..]) {
                    if count > REPEAT_MAX {
                        return Err("invalid repeat count");
                    }
                    repeats = true;
                    at += size;
                }
            }
            _ => {}
        }
        if repeats && repeated {
            return Err("invalid nested repetition operator");
        }
        at += 1;
        if repeats && bytes.get(at) == Some(&b'?') {
            at += 1;
        }
        repeated = repeats;
    }
    Ok(())
}

/// The bytes up to the closing brace of `n}`, `n,}` or `n,m}`, and the larger number.
fn count(rest: &[u8]) -> Option<(usize, u32)> {
    let size = rest.iter().position(|&byte| byte == b'}')?;
    let text = std::str::from_utf8(&rest[..size]).ok()?;
    let (low, high) = text.split_once(',').unwrap_or((text, ""));
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let low = number(low)?;
    let high = if high.is_empty() { low } else { number(high)? };
    Some((size + 1, low.max(high)))
}

/// RE2's words for an error, as Kafka's clients show them.
fn describe(error: &regex::Error) -> &'static str {
    let text = match error {
        regex::Error::Syntax(text) => text.as_str(),
        _ => return "expression too large",
    };
    let reasons = [
        ("unclosed group", "missing closing )"),
        ("unopened group", "regexp/syntax: internal error"),
        ("unclosed character class", "missing closing ]"),
        (
            "repetition operator missing",
            "missing argument to repetition operator",
        ),
        (
            "incomplete escape sequence",
            "trailing backslash at end of expression",
        ),
        ("escape", "invalid escape sequence"),
        ("backreference", "invalid escape sequence"),
        ("look-around", "invalid or unsupported Perl syntax"),
        ("flag", "invalid or unsupported Perl syntax"),
        ("character class range", "invalid character class range"),
        ("repetition", "invalid repeat count"),
        ("capture group name", "invalid named capture"),
        ("nest", "expression nests too deeply"),
    ];
    let found = reasons.iter().find(|(part, _)| text.contains(part));
    found.map_or("invalid or unsupported Perl syntax", |(_, reason)| reason)
}

/// RE2's limit of a counted repetition.
const REPEAT_MAX: u32 = 1_000;

/// Bytes of a compiled expression.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Groups within groups.
const NESTING_MAX: u32 = 200;

#[cfg(test)]
mod tests {
    use super::compile;

    fn reason(pattern: &str) -> &'static str {
        compile(pattern).err().unwrap_or("fine")
    }

    /// The texts that Kafka 4.3.1 answered to these patterns.
    #[test]
    fn errors_read_as_kafkas() {
        assert_eq!(reason("("), "missing closing )");
        assert_eq!(reason("a)"), "regexp/syntax: internal error");
        assert_eq!(reason("a)|(b"), "regexp/syntax: internal error");
        assert_eq!(reason("[a"), "missing closing ]");
        assert_eq!(reason("*a"), "missing argument to repetition operator");
        assert_eq!(reason("a**"), "invalid nested repetition operator");
        assert_eq!(reason("a\\"), "trailing backslash at end of expression");
        assert_eq!(reason("a\\1"), "invalid escape sequence");
        assert_eq!(reason("(?=a)"), "invalid or unsupported Perl syntax");
        assert_eq!(reason("[z-a]"), "invalid character class range");
        assert_eq!(reason("a{2000}"), "invalid repeat count");
        assert_eq!(reason("a{3,2}"), "invalid repeat count");
        assert_eq!(reason("(?P<n"), "invalid named capture");
    }

    #[test]
    fn what_re2_takes_is_taken() {
        for pattern in [
            "",
            "t[12]",
            "a*?b+?c??",
            "a{2}?b{1,3}",
            "[]a]*",
            "[^]]*",
            "\\*\\*",
            "(?i)x",
        ] {
            assert_eq!(reason(pattern), "fine", "{pattern}");
        }
    }

    #[test]
    fn a_name_matches_as_a_whole() {
        let regex = compile("a|b").unwrap();
        assert!(regex.is_match(b"a") && regex.is_match(b"b"));
        assert!(!regex.is_match(b"ab") && !regex.is_match(b"xa") && !regex.is_match(b"a\n"));
    }
}
