//! **Owns** turning lines into records: Kafka's `LineMessageReader`.
//! **Lives on** any thread: pure.
//! **Not here** where lines come from.
//! **Invariants** none beyond the types'.

use super::properties::Properties;

/// How lines are cut.
#[derive(Clone, Debug)]
pub(super) struct LineReader {
    parse_key: bool,
    parse_headers: bool,
    key_separator: String,
    headers_delimiter: String,
    headers_separator: String,
    headers_key_separator: String,
    ignore_error: bool,
    null_marker: Option<String>,
    line_number: u64,
}

/// A line's record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<Header>,
}

/// Key and value.
pub(super) type Header = (Vec<u8>, Option<Vec<u8>>);

impl LineReader {
    pub(super) fn new(properties: &Properties) -> Result<Self, String> {
        let text = |name: &str, default: &str| {
            properties
                .get(name)
                .map_or_else(|| default.to_owned(), String::clone)
        };
        let is_on = |name: &str| {
            properties
                .get(name)
                .is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
        };
        let reader = Self {
            parse_key: is_on("parse.key"),
            parse_headers: is_on("parse.headers"),
            key_separator: text("key.separator", "\t"),
            headers_delimiter: text("headers.delimiter", "\t"),
            headers_separator: text("headers.separator", ","),
            headers_key_separator: text("headers.key.separator", ":"),
            ignore_error: is_on("ignore.error"),
            null_marker: properties.get("null.marker").cloned(),
            line_number: 0,
        };
        reader.check()?;
        Ok(reader)
    }

    fn check(&self) -> Result<(), String> {
        let delimiter = ("headers.delimiter", &self.headers_delimiter);
        let separator = ("headers.separator", &self.headers_separator);
        let key_separator = ("headers.key.separator", &self.headers_key_separator);
        let mut pairs = vec![
            (delimiter, separator),
            (delimiter, key_separator),
            (separator, key_separator),
        ];
        if let Some(marker) = &self.null_marker {
            let marker = ("null.marker", marker);
            pairs.push((marker, ("key.separator", &self.key_separator)));
            pairs.push((marker, delimiter));
            pairs.push((marker, separator));
            pairs.push((marker, key_separator));
        }
        for ((a, x), (b, y)) in pairs {
            if x == y {
                return Err(format!("{a} and {b} may not be equal"));
            }
        }
        Ok(())
    }

    /// Cuts the next line.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<Line, String> {
        self.line_number += 1;
        let (headers, rest) = self.take(
            self.parse_headers,
            line,
            line,
            &self.headers_delimiter,
            "headers delimiter",
        )?;
        let (key, value) = self.take(
            self.parse_key,
            line,
            rest,
            &self.key_separator,
            "key separator",
        )?;
        let headers = match headers.and_then(|headers| self.unless_null(headers)) {
            Some(headers) => self.split_headers(headers)?,
            None => Vec::new(),
        };
        Ok(Line {
            key: key
                .and_then(|key| self.unless_null(key))
                .map(<[u8]>::to_vec),
            value: self.unless_null(value).map(<[u8]>::to_vec),
            headers,
        })
    }

    fn unless_null<'a>(&self, part: &'a [u8]) -> Option<&'a [u8]> {
        let is_null = self
            .null_marker
            .as_ref()
            .is_some_and(|marker| marker.as_bytes() == part);
        (!is_null).then_some(part)
    }

    /// The part before a separator, and what follows it.
    fn take<'a>(
        &self,
        enabled: bool,
        line: &[u8],
        rest: &'a [u8],
        separator: &str,
        what: &str,
    ) -> Result<(Option<&'a [u8]>, &'a [u8]), String> {
        if !enabled {
            return Ok((None, rest));
        }
        match find(rest, separator.as_bytes()) {
            Some(at) => Ok((Some(&rest[..at]), &rest[at + separator.len()..])),
            None if self.ignore_error => Ok((None, rest)),
            None => Err(format!(
                "No {what} found on line number {}: '{}'",
                self.line_number,
                String::from_utf8_lossy(line)
            )),
        }
    }

    fn split_headers(&self, headers: &[u8]) -> Result<Vec<Header>, String> {
        let mut split = Vec::new();
        let mut rest = Some(headers);
        while let Some(headers) = rest {
            let (pair, after) = match find(headers, self.headers_separator.as_bytes()) {
                Some(at) => (
                    &headers[..at],
                    Some(&headers[at + self.headers_separator.len()..]),
                ),
                None => (headers, None),
            };
            // Java's `split` drops what is empty at the end.
            rest = after.filter(|after| !after.is_empty());
            let separator = self.headers_key_separator.as_bytes();
            let Some(at) = find(pair, separator) else {
                if self.ignore_error {
                    split.push((pair.to_vec(), None));
                    continue;
                }
                return Err(format!(
                    "No header key separator found in pair '{}' on line number {}",
                    String::from_utf8_lossy(pair),
                    self.line_number
                ));
            };
            let Some(key) = self.unless_null(&pair[..at]) else {
                return Err(format!(
                    "Header keys should not be equal to the null marker '{}' as they can't be null",
                    self.null_marker.as_deref().unwrap_or_default()
                ));
            };
            let value = self.unless_null(&pair[at + separator.len()..]);
            split.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        }
        Ok(split)
    }
}

fn find(within: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() {
        return Some(0);
    }
    within.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests;
