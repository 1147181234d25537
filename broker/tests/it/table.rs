//! Tables of what was sent and what must come back.
//!
//! **Owns** the comparison: every row is looked at before the test fails.
//! **Lives on** the test's thread.
//! **Invariants** 1. A table without rows fails.

use std::fmt::{Display, Write as _};

use corelog_net::wire::ErrorCode;

/// A table under way.
#[must_use = "a table says what it found in `finish`"]
pub(crate) struct Table {
    name: &'static str,
    rows: usize,
    wrong: String,
}

impl Table {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            rows: 0,
            wrong: String::new(),
        }
    }

    /// Compares one row.
    pub(crate) fn row(&mut self, what: &str, got: impl Display, expected: &str) {
        self.rows += 1;
        let got = got.to_string();
        if got != expected {
            let _ = write!(
                self.wrong,
                "\n{what}\n  got      {got}\n  expected {expected}"
            );
        }
    }

    /// Fails if a row was not as expected.
    #[track_caller]
    pub(crate) fn finish(self) {
        assert!(self.rows > 0, "{}: no rows", self.name);
        assert!(self.wrong.is_empty(), "{}:{}", self.name, self.wrong);
    }
}

/// Kafka's name of an error code.
pub(crate) fn error(code: i16) -> &'static str {
    ErrorCode::from_code(code).map_or("an unknown error", ErrorCode::name)
}

/// ` message=…`, or nothing.
pub(crate) fn message(text: Option<&String>) -> String {
    text.map_or(String::new(), |text| format!(" message={text}"))
}
