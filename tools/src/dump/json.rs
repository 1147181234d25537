//! **Owns** dumped lines as JSON objects, for `--output json`.
//! **Lives on** any thread: pure.
//! **Invariants** (1) Free text (keys, values, names of headers) is never taken apart by words: only what this program
//! wrote itself, names and numbers, is.
//! **Not here** what is printed of a file (`log`, `index`, `decoder`).

use serde_json::{Map, Value};

/// `name: value name: value`, values without blanks.
pub(super) fn fields(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut words = text.split_whitespace().filter(|word| *word != "|");
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        fields.insert(name.trim_end_matches(':').to_owned(), scalar(value));
    }
    fields
}

fn scalar(word: &str) -> Value {
    if word == "OptionalLong.empty" {
        return Value::Null;
    }
    let inner = word
        .strip_prefix("OptionalLong[")
        .and_then(|rest| rest.strip_suffix(']'));
    let word = inner.unwrap_or(word);
    match (word.parse::<i64>(), word) {
        (Ok(number), _) => number.into(),
        (_, "true") => true.into(),
        (_, "false") => false.into(),
        _ => word.into(),
    }
}

/// ` key: {…} payload: {…}` of an internal topic's record; what is no JSON is text.
pub(super) fn contents(text: &str) -> Map<String, Value> {
    let mut contents = Map::new();
    let mut rest = text;
    if let Some(key) = rest.strip_prefix(" key: ") {
        let (value, behind) = one(key);
        contents.insert("key".to_owned(), value);
        rest = behind;
    }
    if let Some(payload) = rest.strip_prefix(" payload: ") {
        let value = match payload {
            "<DELETE>" => Value::Null,
            payload => one(payload).0,
        };
        contents.insert("payload".to_owned(), value);
    }
    contents
}

/// The document that a text begins with and what follows it; all of it as text where it begins with none.
fn one(text: &str) -> (Value, &str) {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => (value, text.get(values.byte_offset()..).unwrap_or_default()),
        _ => (text.into(), ""),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_become_numbers_and_names() {
        let read = fields(
            "| offset: 3 CreateTime: -1 isvalid: true a: OptionalLong[7] b: OptionalLong.empty c: gzip",
        );
        let wanted =
            json!({"offset": 3, "CreateTime": -1, "isvalid": true, "a": 7, "b": null, "c": "gzip"});
        assert_eq!(Value::from(read), wanted);
    }

    #[test]
    fn a_key_that_looks_like_a_payload_stays_a_key() {
        let read = contents(" key: {\"group\":\"a payload: b\"} payload: {\"offset\":1}");
        let wanted = json!({"key": {"group": "a payload: b"}, "payload": {"offset": 1}});
        assert_eq!(Value::from(read), wanted);
        let deleted = contents(" key: {\"group\":\"g\"} payload: <DELETE>");
        assert_eq!(
            Value::from(deleted),
            json!({"key": {"group": "g"}, "payload": null})
        );
        let unknown = contents(" key: Unknown record type 9 at offset 4, skipping.");
        assert_eq!(
            Value::from(unknown),
            json!({"key": "Unknown record type 9 at offset 4, skipping."})
        );
    }
}
