//! **Owns** what the regular expressions of subscriptions may be: brokers read them as RE2 does.
//! **Lives on** any thread: pure.
//! **Invariants** (1) What is wrong is said in RE2's words.
//! **Not here** matching: brokers do that.

/// Whether a pattern is one, or why not.
pub(super) fn check(pattern: &str) -> Result<(), &'static str> {
    Scanner {
        rest: pattern.chars().collect(),
        at: 0,
        open: 0,
    }
    .scan()
}

struct Scanner {
    rest: Vec<char>,
    at: usize,
    open: usize,
}

/// What stands before a repetition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    Atom,
    Repetition,
}

impl Scanner {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.get(self.at).copied();
        self.at += 1;
        letter
    }

    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn scan(mut self) -> Result<(), &'static str> {
        let mut before = Before::Nothing;
        while let Some(letter) = self.next() {
            before = match letter {
                '(' => {
                    self.group()?;
                    self.open += 1;
                    Before::Nothing
                }
                ')' => {
                    // RE2 for Java takes it for a fault of its own.
                    self.open = self
                        .open
                        .checked_sub(1)
                        .ok_or("regexp/syntax: internal error")?;
                    Before::Atom
                }
                '[' => {
                    self.class()?;
                    Before::Atom
                }
                '\\' => {
                    self.escape()?;
                    Before::Atom
                }
                '|' => Before::Nothing,
                '*' | '+' | '?' => self.repeated(before)?,
                '{' if self.counts()? => self.repeated(before)?,
                _ => Before::Atom,
            };
        }
        if self.open > 0 {
            return Err("missing closing )");
        }
        Ok(())
    }

    fn repeated(&mut self, before: Before) -> Result<Before, &'static str> {
        match before {
            Before::Nothing => Err("missing argument to repetition operator"),
            Before::Repetition => Err("invalid nested repetition operator"),
            Before::Atom => {
                if self.peek() == Some('?') {
                    self.at += 1;
                }
                Ok(Before::Repetition)
            }
        }
    }

    /// Behind `(`.
    fn group(&mut self) -> Result<(), &'static str> {
        if self.peek() != Some('?') {
            return Ok(());
        }
        self.at += 1;
        if self.peek() == Some('P') || self.peek() == Some('<') {
            let is_p = self.peek() == Some('P');
            self.at += 1;
            if is_p && self.next() != Some('<') {
                return Err("invalid named capture");
            }
            let mut name = String::new();
            loop {
                match self.next() {
                    Some('>') if !name.is_empty() => return Ok(()),
                    Some(letter) if letter.is_ascii_alphanumeric() || letter == '_' => {
                        name.push(letter);
                    }
                    _ if !is_p && matches!(self.rest.get(self.at - 1), Some('=' | '!')) => {
                        return Err("invalid or unsupported Perl syntax");
                    }
                    _ => return Err("invalid named capture"),
                }
            }
        }
        loop {
            match self.next() {
                Some(':') => return Ok(()),
                Some(')') => {
                    self.at -= 1;
                    return Ok(());
                }
                Some('i' | 'm' | 's' | 'U' | '-') => {}
                None => return Err("missing closing )"),
                Some(_) => return Err("invalid or unsupported Perl syntax"),
            }
        }
    }

    /// Behind `[`.
    fn class(&mut self) -> Result<(), &'static str> {
        if self.peek() == Some('^') {
            self.at += 1;
        }
        let mut first = true;
        let mut from: Option<char> = None;
        loop {
            let letter = self.next().ok_or("missing closing ]")?;
            match letter {
                ']' if !first => return Ok(()),
                '[' if self.peek() == Some(':') => {
                    self.named_class()?;
                    from = None;
                }
                '\\' => {
                    self.escape()?;
                    from = None;
                }
                '-' if from.is_some() && !matches!(self.peek(), Some(']') | None) => {
                    let to = self.next().ok_or("missing closing ]")?;
                    if from.is_some_and(|from| to < from) && to != '\\' {
                        return Err("invalid character class range");
                    }
                    if to == '\\' {
                        self.escape()?;
                    }
                    from = None;
                }
                letter => from = Some(letter),
            }
            first = false;
        }
    }

    /// At the colon of `[[:name:]]`.
    fn named_class(&mut self) -> Result<(), &'static str> {
        let name: String = self.rest[self.at + 1..]
            .iter()
            .take_while(|letter| **letter != ':')
            .collect();
        let end = self.at + 1 + name.chars().count();
        if self.rest.get(end) != Some(&':') || self.rest.get(end + 1) != Some(&']') {
            return Ok(());
        }
        let name = name.trim_start_matches('^');
        if !CLASSES.contains(&name) {
            return Err("invalid character class range");
        }
        self.at = end + 2;
        Ok(())
    }

    /// Behind `\`.
    fn escape(&mut self) -> Result<(), &'static str> {
        let letter = self
            .next()
            .ok_or("trailing backslash at end of expression")?;
        match letter {
            'p' | 'P' => {
                let name: String = if self.peek() == Some('{') {
                    self.at += 1;
                    let name: String = self.rest[self.at..]
                        .iter()
                        .take_while(|letter| **letter != '}')
                        .collect();
                    self.at += name.chars().count() + 1;
                    if self.at > self.rest.len() {
                        return Err("invalid character class range");
                    }
                    name
                } else {
                    self.next().map(String::from).unwrap_or_default()
                };
                // Names of scripts and categories are many; those of one letter are these.
                let is_known = match name.as_str() {
                    "" => false,
                    name if name.len() == 1 => "CLMNPSZ".contains(name),
                    _ => true,
                };
                is_known
                    .then_some(())
                    .ok_or("invalid character class range")
            }
            'Q' => {
                // Quoted up to \E.
                while let Some(letter) = self.next() {
                    if letter == '\\' && self.peek() == Some('E') {
                        self.at += 1;
                        break;
                    }
                }
                Ok(())
            }
            'x' => {
                let digits = |text: &[char]| text.iter().all(char::is_ascii_hexdigit);
                if self.peek() == Some('{') {
                    let end = self.rest[self.at..].iter().position(|it| *it == '}');
                    let end = end.ok_or("invalid escape sequence")?;
                    let inside = &self.rest[self.at + 1..self.at + end];
                    if inside.is_empty() || !digits(inside) {
                        return Err("invalid escape sequence");
                    }
                    self.at += end + 1;
                    return Ok(());
                }
                let two = self.rest.get(self.at..self.at + 2);
                if !two.is_some_and(digits) {
                    return Err("invalid escape sequence");
                }
                self.at += 2;
                Ok(())
            }
            '1'..='7' => {
                // One digit is a back reference, which RE2 has none of; more are an octal number.
                if !matches!(self.peek(), Some('0'..='7')) {
                    return Err("invalid escape sequence");
                }
                while matches!(self.peek(), Some('0'..='7')) {
                    self.at += 1;
                }
                Ok(())
            }
            letter if letter.is_ascii_alphanumeric() && !ESCAPES.contains(letter) => {
                Err("invalid escape sequence")
            }
            _ => Ok(()),
        }
    }

    /// Behind `{`: whether it is a repetition; what is none stands for itself.
    fn counts(&mut self) -> Result<bool, &'static str> {
        let inside: String = self.rest[self.at..]
            .iter()
            .take_while(|letter| **letter != '}')
            .collect();
        let length = inside.chars().count();
        if self.rest.get(self.at + length) != Some(&'}') {
            return Ok(false);
        }
        let (from, to) = match inside.split_once(',') {
            Some((from, "")) => (from, None),
            Some((from, to)) => (from, Some(to)),
            None => (inside.as_str(), Some(inside.as_str())),
        };
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
        };
        let Some(from) = number(from) else {
            return Ok(false);
        };
        let to = match to {
            None => None,
            Some(to) => match number(to) {
                Some(to) => Some(to),
                None => return Ok(false),
            },
        };
        if from > REPEATS_MAX || to.is_some_and(|to| to > REPEATS_MAX || to < from) {
            return Err("invalid repeat count");
        }
        self.at += length + 1;
        Ok(true)
    }
}

/// RE2's.
const REPEATS_MAX: u32 = 1000;

/// Letters and digits that mean something behind a backslash.
const ESCAPES: &str = "AbBCdDfaEnrstvSwWz0";

const CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

#[cfg(test)]
mod tests {
    use super::check;

    /// As Kafka 4.3.1 said.
    #[test]
    fn what_is_wrong_is_said_in_re2s_words() {
        for (pattern, why) in [
            ("a.*", ""),
            ("a{2", ""),
            ("(", "missing closing )"),
            ("[a", "missing closing ]"),
            ("*a", "missing argument to repetition operator"),
            ("a\\", "trailing backslash at end of expression"),
            ("(?P<n", "invalid named capture"),
            ("a**", "invalid nested repetition operator"),
            ("(?=a)", "invalid or unsupported Perl syntax"),
            (")", "regexp/syntax: internal error"),
            ("[z-a]", "invalid character class range"),
            ("a{3,2}", "invalid repeat count"),
            ("\\pX", "invalid character class range"),
            ("[[:foo:]]", "invalid character class range"),
            ("\\8", "invalid escape sequence"),
            ("(?P<n>a|b)[^]x]+?\\d{2,3}$", ""),
        ] {
            assert_eq!(check(pattern).err().unwrap_or(""), why, "{pattern}");
        }
    }
}
