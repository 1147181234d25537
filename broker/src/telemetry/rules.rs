//! Which client is asked for which metrics.
//!
//! Owns: the settings of client-metrics resources as rules, and what they give a client together.
//! Lives on: a shard, made anew when the metadata has changed.
//! Invariants: 1. the same settings and client give the same subscription id, another subscription another one (but for
//! chance).
//! Not here: which settings are legal (`config::alter`).

use std::collections::BTreeSet;

use regex::Regex;

use super::{Client, Subscription};
use crate::config::setting::split_list;
use crate::metadata::{Image, ResourceType};

/// One client-metrics resource.
pub(super) struct Rule {
    metrics: Vec<String>,
    interval_ms: i32,
    /// All must match.
    matches: Vec<(Part, Regex)>,
}

/// What of a client a pattern looks at.
#[derive(Clone, Copy)]
enum Part {
    Instance,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    Address,
    Port,
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "client_instance_id" => Self::Instance,
            "client_id" => Self::ClientId,
            "client_software_name" => Self::SoftwareName,
            "client_software_version" => Self::SoftwareVersion,
            "client_source_address" => Self::Address,
            "client_source_port" => Self::Port,
            _ => return None,
        })
    }
}

/// The rules of an image. A resource that cannot be read asks for nothing.
pub(super) fn of(image: &Image) -> Vec<Rule> {
    let subscriptions = image
        .configs()
        .filter(|(resource, _)| resource.kind == ResourceType::ClientMetrics.code());
    let rule = |values: &crate::config::ConfigMap| {
        let value = |name: &str| values.get(name).map(String::as_str);
        let matches = split_list(value("match").unwrap_or_default())
            .iter()
            .map(|pattern| {
                let (part, pattern) = pattern.split_once('=')?;
                // The whole text must match, as Java's `matches` has it.
                let whole = format!("^(?:{})$", pattern.trim());
                Some((Part::of(part.trim())?, Regex::new(&whole).ok()?))
            })
            .collect::<Option<Vec<_>>>()?;
        let interval = value("interval.ms").and_then(|text| text.trim().parse().ok());
        Some(Rule {
            metrics: split_list(value("metrics").unwrap_or_default()),
            interval_ms: interval.unwrap_or(INTERVAL_MS),
            matches,
        })
    };
    subscriptions
        .filter_map(|(_, values)| rule(values))
        .collect()
}

/// What the rules that match a client give together: all their metrics, at the shortest of their intervals.
pub(super) fn subscription(rules: &[Rule], client: &Client) -> Subscription {
    let texts = |part: Part| match part {
        Part::Instance => client.instance.to_string(),
        Part::ClientId => client.id.clone(),
        Part::SoftwareName => client.software.name.clone(),
        Part::SoftwareVersion => client.software.version.clone(),
        Part::Address => client.address.clone(),
        Part::Port => client.port.to_string(),
    };
    let fits = |rule: &&Rule| {
        let mut matches = rule.matches.iter();
        matches.all(|(part, pattern)| pattern.is_match(&texts(*part)))
    };
    let mut metrics = BTreeSet::new();
    let mut interval_ms = INTERVAL_MS;
    for rule in rules.iter().filter(fits) {
        metrics.extend(rule.metrics.iter().map(String::as_str));
        interval_ms = interval_ms.min(rule.interval_ms);
    }
    if metrics.contains("*") {
        metrics = BTreeSet::from(["*"]);
    }
    let mut id = 0x811c_9dc5_u32;
    let mut mix = |bytes: &[u8]| {
        for byte in bytes {
            id = (id ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    mix(&client.instance.0);
    mix(&interval_ms.to_be_bytes());
    for name in &metrics {
        mix(name.as_bytes());
        mix(&[0]);
    }
    Subscription {
        id: i32::from_be_bytes(id.to_be_bytes()),
        interval_ms,
        metrics: metrics.into_iter().map(str::to_owned).collect(),
    }
}

/// Kafka's `interval.ms`, also of clients that no subscription matches: they ask again after it.
const INTERVAL_MS: i32 = 300_000;
