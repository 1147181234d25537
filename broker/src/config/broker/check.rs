//! The given values one by one: do they parse, do they mean anything, is the name known.
//!
//! **Owns** what is said about single values at a start.
//! **Lives on** the main thread, before anything runs.
//! **Invariants**: a sentence begins with where the value stands.
//! **Not here**: what values mean together (`broker`, `network`).

use super::super::broker_settings;
use super::super::properties::StaticSettings;
use super::super::setting::{Status, Type};
use super::Note;

/// Reads every given value; returns the faults, and notes names without a row or without meaning.
pub(super) fn check_each(fixed: &StaticSettings, notes: &mut Vec<Note>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, text) in fixed.values() {
        let Some(row) = broker_settings::find(name) else {
            notes.push(unknown(fixed, name));
            continue;
        };
        let origin = fixed
            .origin(name)
            .map(ToString::to_string)
            .unwrap_or_default();
        let value = match row.parse(text) {
            Ok(value) => value,
            Err(_) if row.kind == Type::Password => {
                faults.push(format!("{origin}: {name} has an invalid value"));
                continue;
            }
            Err(sentence) => {
                faults.push(format!("{origin}: {sentence}"));
                continue;
            }
        };
        let is_default = row
            .default_text()
            .map_or(text.trim().is_empty(), |default| {
                row.parse(default) == Ok(value)
            });
        match row.status {
            Status::Supported(_) => {}
            _ if is_default || origin == "built-in" => {}
            Status::Accepted(reason) => {
                notes.push(Note::Information(format!(
                    "{origin}: {name} has no effect: {reason}"
                )));
            }
            Status::Refused(_) if name == AUTHORIZER && allows_everyone(fixed) => {
                notes.push(Note::Warning(format!(
                    "{origin}: {name}: no ACL can be made yet, so everyone is allowed everything, \
                     as these settings ask for"
                )));
            }
            Status::Refused(reason) => {
                faults.push(format!("{origin}: {name} cannot be set: {reason}"));
            }
        }
    }
    faults
}

/// Would Kafka's own authorizer, with no ACL made, let everyone do everything? Then a broker
/// without authorization behaves the same, and starting it is safe.
fn allows_everyone(fixed: &StaticSettings) -> bool {
    let value = |name: &str| fixed.get(name).unwrap_or_default().trim();
    // Every client of a PLAINTEXT listener, the only kind there is yet, is User:ANONYMOUS.
    let anonymous = |user: &str| user.trim() == "User:ANONYMOUS";
    value(AUTHORIZER) == "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        && (value("allow.everyone.if.no.acl.found") == "true"
            || value("super.users").split(';').any(anonymous))
}

const AUTHORIZER: &str = "authorizer.class.name";

/// What to say about a name that has no row.
fn unknown(fixed: &StaticSettings, name: &str) -> Note {
    let origin = fixed
        .origin(name)
        .map(ToString::to_string)
        .unwrap_or_default();
    if let Some((_, reason)) = KNOWN_ELSEWHERE
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
    {
        return Note::Warning(format!("{origin}: {name} has no effect: {reason}"));
    }
    let near = nearest(name)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    Note::Warning(format!("{origin}: unknown setting {name}{near}"))
}

/// The known name that takes the fewest edits, if they are few for its length.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static str> {
    broker_settings::BROKER
        .iter()
        .map(|row| (edit_distance(name, row.name), row.name))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 6)
        .map(|(_, known)| known)
}

/// Levenshtein's distance between two texts, in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
/// Names that exist in files of other versions or for parts outside the broker.
const KNOWN_ELSEWHERE: &[(&str, &str)] = &[
    ("zookeeper.", "there is no ZooKeeper"),
    (
        "inter.broker.protocol.version",
        "Kafka 4 removed it; metadata.version took its place",
    ),
    ("log.message.format.version", "Kafka 4 removed it"),
    ("log.message.downconversion.enable", "Kafka 4 removed it"),
    (
        "log.message.timestamp.difference.max.ms",
        "Kafka 4 removed it",
    ),
    ("auto.include.jmx.reporter", "Kafka 4 removed it"),
    (
        "listener.name.",
        "settings of single listeners are not read yet",
    ),
    ("super.users", "authorization is not available yet"),
    (
        "allow.everyone.if.no.acl.found",
        "authorization is not available yet",
    ),
    ("rsm.config.", "tiered storage is not part of this broker"),
    ("rlmm.config.", "tiered storage is not part of this broker"),
    ("confluent.", "it belongs to another product"),
];
