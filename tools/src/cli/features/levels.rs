//! **Owns** the levels of features: of which release they are, and what they need.
//! **Lives on** any thread: constants.
//! **Invariants** (1) A release's levels are those of Kafka 4.3.1's own table.
//! **Not here** what a cluster has.

use crate::cli::Out;
use crate::cli::argparse::Args;

/// Levels of `metadata.version` and their names.
const METADATA: &[(i16, &str)] = &[
    (7, "3.3-IV3"),
    (8, "3.4-IV0"),
    (9, "3.5-IV0"),
    (10, "3.5-IV1"),
    (11, "3.5-IV2"),
    (12, "3.6-IV0"),
    (13, "3.6-IV1"),
    (14, "3.6-IV2"),
    (15, "3.7-IV0"),
    (16, "3.7-IV1"),
    (17, "3.7-IV2"),
    (18, "3.7-IV3"),
    (19, "3.7-IV4"),
    (20, "3.8-IV0"),
    (21, "3.9-IV0"),
    (22, "4.0-IV0"),
    (23, "4.0-IV1"),
    (24, "4.0-IV2"),
    (25, "4.0-IV3"),
    (26, "4.1-IV0"),
    (27, "4.1-IV1"),
    (28, "4.2-IV0"),
    (29, "4.2-IV1"),
    (30, "4.3-IV0"),
    (31, "4.4-IV0"),
];

/// The last that is for production.
pub(in crate::cli) const LATEST: i16 = 30;

/// Features, and from which level of `metadata.version` on their levels 1, 2, … are a release's.
const SINCE: &[(&str, &[i16])] = &[
    ("kraft.version", &[21]),
    // Level 1 was never a release's own.
    ("transaction.version", &[24, 24]),
    ("group.version", &[22]),
    ("eligible.leader.replicas.version", &[26]),
    ("share.version", &[28]),
    ("streams.version", &[29]),
];

/// The level of a release (`4.3`) or of a name (`4.3-IV0`).
pub(in crate::cli) fn metadata(name: &str) -> Result<i16, String> {
    let by_name = METADATA.iter().find(|(_, it)| *it == name);
    let of_release = || {
        METADATA.iter().rev().find(|(level, it)| {
            // Patch releases have the levels of their minor one.
            let mut parts = name.split('.');
            let (major, minor) = (parts.next(), parts.next());
            let (version, _) = it.split_once('-').unwrap_or((it, ""));
            let wanted = format!("{}.{}", major.unwrap_or(""), minor.unwrap_or(""));
            *level <= LATEST && version == wanted
        })
    };
    if let Some((level, _)) = by_name.or_else(of_release) {
        return Ok(*level);
    }
    let names: Vec<&str> = METADATA.iter().map(|(_, name)| *name).collect();
    Err(format!(
        "Unknown metadata.version '{name}'. Supported metadata.version are: {}",
        names.join(", ")
    ))
}

/// The other features' levels in a release with this `metadata.version`.
pub(in crate::cli) fn defaults(metadata: i16) -> Vec<(&'static str, i16)> {
    SINCE
        .iter()
        .map(|(name, since)| {
            let level = since.iter().filter(|since| metadata >= **since).count();
            (*name, i16::try_from(level).unwrap_or(0))
        })
        .collect()
}

/// Whether there is such a feature, and such a level of it.
pub(in crate::cli) fn check(name: &str, level: i16) -> Result<(), String> {
    if name == "metadata.version" {
        if METADATA.iter().any(|(it, _)| *it == level) {
            return Ok(());
        }
        return Err(format!("No MetadataVersion with feature level {level}"));
    }
    let Some((_, since)) = SINCE.iter().find(|(it, _)| *it == name) else {
        let mut names: Vec<&str> = SINCE.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        return Err(format!(
            "Unsupported feature: {name}. Supported features are: {}",
            names.join(", ")
        ));
    };
    if usize::try_from(level).is_ok_and(|level| level <= since.len()) {
        return Ok(());
    }
    Err(format!("No feature:{name} with feature level {level}"))
}

/// `name=level`.
pub(in crate::cli) fn feature_level(text: &str) -> Result<(String, i16), String> {
    let Some((name, level)) = text.split_once('=') else {
        return Err(format!(
            "Can't parse feature=level string {text}: equals sign not found."
        ));
    };
    let level = level.parse().map_err(|_| {
        format!("Can't parse feature=level string {text}: unable to parse {level} as a short.")
    })?;
    Ok((name.to_owned(), level))
}

/// A level as it is shown: those of `metadata.version` have names.
pub(in crate::cli) fn shown(feature: &str, level: i16) -> String {
    if feature == "metadata.version" {
        let name = METADATA.iter().find(|(it, _)| *it == level);
        return name.map_or_else(
            || format!("UNKNOWN [{level}]"),
            |(_, name)| (*name).to_owned(),
        );
    }
    level.to_string()
}

/// `version-mapping`.
pub(in crate::cli) fn mapping(args: &Args, out: &mut Out) -> Result<(), String> {
    let latest = shown("metadata.version", LATEST);
    let release = args.one("release-version").unwrap_or(&latest);
    let level = metadata(release)?;
    if args.json() {
        let mut map = serde_json::Map::new();
        map.insert("metadata.version".to_owned(), level.into());
        for (name, level) in defaults(level) {
            map.insert(name.to_owned(), level.into());
        }
        out.document(&serde_json::Value::from(map));
        return Ok(());
    }
    let mut text = format!("metadata.version={level} ({release})\n");
    let features: Vec<String> = defaults(level)
        .iter()
        .map(|(name, level)| format!("{name}={level}"))
        .collect();
    text.push_str(&features.join("\n"));
    // Kafka's tool ends the last line, though nothing follows.
    out.line(&text);
    Ok(())
}

/// `feature-dependencies`.
pub(in crate::cli) fn dependencies(args: &Args, out: &mut Out) -> Result<(), String> {
    for text in args.all("feature") {
        let (name, level) = feature_level(text)?;
        if name == "metadata.version" {
            if !METADATA.iter().any(|(it, _)| *it == level) {
                return Err(format!("Unknown metadata.version {level}"));
            }
            out.line(&format!(
                "{name}={level} ({}) has no dependencies.",
                shown(&name, level)
            ));
            continue;
        }
        let Some((_, since)) = SINCE.iter().find(|(it, _)| *it == name) else {
            return Err(format!("Unknown feature: {name}"));
        };
        if level < 0 || usize::try_from(level).unwrap_or(usize::MAX) > since.len() {
            return Err(format!("No feature:{name} with feature level {level}"));
        }
        if name == "eligible.leader.replicas.version" && level == 1 {
            out.line(&format!("{name}={level} requires:"));
            out.line(&format!(
                "    metadata.version=23 ({})",
                shown("metadata.version", 23)
            ));
        } else {
            out.line(&format!("{name}={level} has no dependencies."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kafka 4.3.1's `version-mapping` says.
    #[test]
    fn releases_have_kafkas_levels() {
        let levels = |release: &str| -> Vec<i16> {
            let level = metadata(release).unwrap();
            let defaults = defaults(level).into_iter().map(|(_, level)| level);
            std::iter::once(level).chain(defaults).collect()
        };
        assert_eq!(levels("3.3-IV3"), [7, 0, 0, 0, 0, 0, 0]);
        assert_eq!(levels("3.9"), [21, 1, 0, 0, 0, 0, 0]);
        assert_eq!(levels("4.0"), [25, 1, 2, 1, 0, 0, 0]);
        assert_eq!(levels("4.1"), [27, 1, 2, 1, 1, 0, 0]);
        assert_eq!(levels("4.3"), [30, 1, 2, 1, 1, 1, 1]);
        assert!(metadata("4.4").is_err());
        assert!(metadata("9").is_err());
    }
}
