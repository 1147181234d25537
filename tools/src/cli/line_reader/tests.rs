use super::{Line, LineReader};
use crate::cli::properties::Properties;

fn reader(properties: &[(&str, &str)]) -> Result<LineReader, String> {
    let properties: Properties = properties
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    LineReader::new(&properties)
}

#[test]
fn key_headers_and_value_are_cut_apart() {
    let mut reader = reader(&[("parse.key", "true"), ("parse.headers", "true")]).unwrap();
    let line = reader.read(b"h1:v1,h2:v2\tk1\tvalue 1").unwrap();
    let expected = Line {
        key: Some(b"k1".to_vec()),
        value: Some(b"value 1".to_vec()),
        headers: vec![
            (b"h1".to_vec(), Some(b"v1".to_vec())),
            (b"h2".to_vec(), Some(b"v2".to_vec())),
        ],
    };
    assert_eq!(line, expected);
    assert_eq!(
        reader.read(b"\tk2\tvalue 2").unwrap_err(),
        "No header key separator found in pair '' on line number 2"
    );
}

#[test]
fn a_line_without_key_is_an_error_unless_ignored() {
    let mut strict = reader(&[("parse.key", "true"), ("key.separator", ":")]).unwrap();
    strict.read(b"k1:v1").unwrap();
    assert_eq!(
        strict.read(b"nokey").unwrap_err(),
        "No key separator found on line number 2: 'nokey'"
    );
    let mut lenient = reader(&[("parse.key", "true"), ("ignore.error", "true")]).unwrap();
    let line = lenient.read(b"nokey").unwrap();
    assert_eq!((line.key, line.value), (None, Some(b"nokey".to_vec())));
}

#[test]
fn the_null_marker_stands_for_null() {
    let mut reader = reader(&[("parse.key", "true"), ("null.marker", "NULL")]).unwrap();
    assert_eq!(reader.read(b"k3\tNULL").unwrap().value, None);
    assert_eq!(reader.read(b"NULL\tno key").unwrap().key, None);
}

#[test]
fn separators_must_differ() {
    let error = reader(&[("headers.separator", ":")]).unwrap_err();
    assert_eq!(
        error,
        "headers.separator and headers.key.separator may not be equal"
    );
}
