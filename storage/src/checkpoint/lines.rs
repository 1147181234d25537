//! **Owns** the frame of a checkpoint file: version, count, entries.
//! **Lives on** any thread.
//! **Invariants** (1) Every error names the line, counted from one. (2) No more entries are read than the text has lines.
//! **Not here** what the entries mean.

use std::str::FromStr;

/// A malformed text file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found:?}")]
pub struct LineError {
    /// The line, from one.
    pub line: usize,
    /// What should have stood there.
    pub expected: &'static str,
    /// What stands there, shortened.
    pub found: String,
}

/// Reads a text file line by line.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    rest: &'a str,
    current: &'a str,
    line: usize,
    left: usize,
}

impl<'a> Lines<'a> {
    /// Begins at the first line.
    pub fn new(text: &'a [u8]) -> Result<Self, LineError> {
        match std::str::from_utf8(text) {
            Ok(rest) => Ok(Self {
                rest,
                current: "",
                line: 0,
                left: 0,
            }),
            Err(error) => {
                let line = text[..error.valid_up_to()]
                    .split(|&byte| byte == b'\n')
                    .count();
                Err(LineError {
                    line,
                    expected: "UTF-8 text",
                    found: "other bytes".to_owned(),
                })
            }
        }
    }

    /// Begins a checkpoint file: its version, which must be 0, and its count of entries.
    pub fn versioned(text: &'a [u8]) -> Result<Self, LineError> {
        let mut lines = Self::new(text)?;
        let version = lines.line("version 0")?;
        if version.trim() != "0" {
            return Err(lines.error("version 0"));
        }
        let count = lines.line("the count of entries")?;
        lines.left = lines.number(count.trim(), "the count of entries")?;
        Ok(lines)
    }

    /// The next line; an error at the end of the text.
    pub fn line(&mut self, expected: &'static str) -> Result<&'a str, LineError> {
        self.line += 1;
        if self.rest.is_empty() {
            let found = "the end of the file".to_owned();
            return Err(LineError {
                line: self.line,
                expected,
                found,
            });
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        self.current = line.strip_suffix('\r').unwrap_or(line);
        Ok(self.current)
    }

    /// The words of the next entry, `None` after the last one. More lines than the count, or fewer, are an error.
    pub fn entry<const N: usize>(
        &mut self,
        expected: &'static str,
    ) -> Result<Option<[&'a str; N]>, LineError> {
        if self.left == 0 {
            if self.rest.trim().is_empty() {
                return Ok(None);
            }
            self.line("the end of the file")?;
            return Err(self.error("the end of the file, as the count says"));
        }
        self.left -= 1;
        let line = self.line(expected)?;
        let mut words = line.split_whitespace();
        let mut entry = [""; N];
        for slot in &mut entry {
            *slot = words.next().ok_or_else(|| self.error(expected))?;
        }
        if words.next().is_some() {
            return Err(self.error(expected));
        }
        Ok(Some(entry))
    }

    /// The number that a word of the current line stands for.
    pub fn number<T: FromStr>(&self, word: &str, expected: &'static str) -> Result<T, LineError> {
        word.parse().map_err(|_| self.error(expected))
    }

    /// An error about the current line.
    pub fn error(&self, expected: &'static str) -> LineError {
        let found = self.current.chars().take(FOUND_CHARACTERS_MAX).collect();
        LineError {
            line: self.line,
            expected,
            found,
        }
    }
}

const FOUND_CHARACTERS_MAX: usize = 80;
