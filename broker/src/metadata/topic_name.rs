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

/// A name in which `.` and `_` are the same: two topics whose names are equal so would share the
/// names of their metrics.
#[must_use]
pub fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// Room for `-partition` and a suffix in a file name of 255 bytes.
const NAME_SIZE_MAX: usize = 249;
