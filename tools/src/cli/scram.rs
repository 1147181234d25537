//! **Owns** SCRAM credentials as command lines write them, and the salts of new ones.
//! **Lives on** any thread: pure, but for [`salt`].
//! **Invariants** none.
//! **Not here** mechanisms and the hashing of passwords (`corelog_net::sasl::scram`); logging in.

use corelog_net::sasl::scram::{ITERATIONS_MIN, Mechanism};

/// A mechanism's name; a number that this release does not know has none.
pub(super) fn name(mechanism: i8) -> &'static str {
    Mechanism::from_code(mechanism).map_or("UNKNOWN", Mechanism::name)
}

/// `iterations=4096,password=secret`, in any order.
pub(super) fn credential(text: &str) -> Option<(i32, &str)> {
    let mut iterations = ITERATIONS_MIN;
    let mut password = None;
    for part in text.split(',') {
        match part.trim().split_once('=')? {
            ("iterations", number) => iterations = number.parse().ok()?,
            ("password", text) => password = Some(text),
            _ => return None,
        }
    }
    Some((iterations, password.filter(|it| !it.is_empty())?))
}

/// A new salt.
pub(super) fn salt() -> Vec<u8> {
    (0..3)
        .flat_map(|_| corelog_runtime::random().to_be_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        assert_eq!(credential("password=pw"), Some((4096, "pw")));
        assert_eq!(
            credential("iterations=8192,password=pw"),
            Some((8192, "pw"))
        );
        assert_eq!(credential("iterations=8192"), None);
        assert_eq!(credential("pw"), None);
    }
}
