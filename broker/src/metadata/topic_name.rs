//! Names a topic may have.
//!
//! **Owns** Kafka's rules and sentences.
//! **Lives on** any thread.
//! **Invariants**: a valid name is a valid directory name.
//! **Not here**: whether the topic exists.

/// Checks a name; the error is what Kafka says after "Topic name is invalid: ".
pub fn validate(name: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() {
        return Err("the empty string is not allowed".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("'{name}' is not allowed"));
    }
    if name.len() > NAME_SIZE_MAX {
        let sentence =
            format!("the length of '{name}' is longer than the max allowed length {NAME_SIZE_MAX}");
        return Err(sentence);
    }
    if !name.bytes().all(legal) {
        let sentence = format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'"
        );
        return Err(sentence);
    }
    Ok(())
}

/// The bytes of a name in which `.` and `_` are the same.
pub fn folded(name: &str) -> impl Iterator<Item = u8> + '_ {
    let fold = |byte| if byte == b'.' { b'_' } else { byte };
    name.bytes().map(fold)
}

/// Whether two topics of these names would share the names of their metrics.
#[must_use]
pub fn collides(one: &str, other: &str) -> bool {
    one.len() == other.len() && folded(one).eq(folded(other))
}

/// Room for `-partition` and a suffix in a file name of 255 bytes.
const NAME_SIZE_MAX: usize = 249;
