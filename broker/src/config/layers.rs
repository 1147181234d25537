//! The layers a broker setting's value can come from.
//!
//! **Owns** precedence: this broker's dynamic value, the cluster's dynamic default, the file, the
//! built-in default (KIP-226).
//! **Lives on** no shard; it borrows for the length of a question.
//! **Invariants**: a dynamic value that does not parse is passed over, never a reason to stop.
//! **Not here**: topic and group layers on top (`topic`, `describe`).

use std::collections::BTreeMap;

use super::broker_settings;
use super::properties::StaticSettings;
use super::setting::{Setting, Value};

/// Dynamic values of one resource: name → text.
pub type ConfigMap = BTreeMap<String, String>;

/// Where a described value comes from; the numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set for the topic.
    DynamicTopic = 1,
    /// Set for this broker at run time.
    DynamicBroker = 2,
    /// Set for all brokers at run time.
    DynamicDefaultBroker = 3,
    /// From the file or the command line.
    StaticBroker = 4,
    /// Built in.
    Default = 5,
    /// A logger's level.
    DynamicBrokerLogger = 6,
    /// Set for a client-metrics subscription.
    ClientMetrics = 7,
    /// Set for a group.
    Group = 8,
}

impl Source {
    /// The protocol's number.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// The layers below topics and groups.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Dynamic values of this broker.
    pub node: Option<&'a ConfigMap>,
    /// Dynamic defaults of the cluster.
    pub cluster: Option<&'a ConfigMap>,
    /// Values given at start.
    pub fixed: &'a StaticSettings,
}

impl<'a> Layers<'a> {
    /// Only what was given at start.
    #[must_use]
    pub const fn fixed(fixed: &'a StaticSettings) -> Self {
        Self {
            node: None,
            cluster: None,
            fixed,
        }
    }

    /// Every value a single name has, best first.
    pub fn values_of(self, name: &str) -> impl Iterator<Item = (Source, &'a str)> + use<'a> {
        let dynamic =
            |layer: Option<&'a ConfigMap>| layer.and_then(|map| map.get(name)).map(String::as_str);
        let default = broker_settings::find(name).and_then(Setting::default_text);
        [
            (Source::DynamicBroker, dynamic(self.node)),
            (Source::DynamicDefaultBroker, dynamic(self.cluster)),
            (Source::StaticBroker, fixed_text(self.fixed, name)),
            (Source::Default, default),
        ]
        .into_iter()
        .filter_map(|(source, text)| text.map(|text| (source, text)))
    }

    /// The value in force of a single name, its synonyms left aside.
    #[must_use]
    pub fn value(self, row: &Setting) -> Option<(Source, Value)> {
        self.values_of(row.name)
            .find_map(|(source, text)| row.parse(text).ok().map(|value| (source, value)))
    }

    /// The value in force of the first of `synonyms` that has one, in the first one's unit.
    #[must_use]
    pub fn first_of(self, synonyms: &[(&str, i64)]) -> Option<(Source, Value)> {
        synonyms.iter().find_map(|(name, factor)| {
            let row = broker_settings::find(name)?;
            let (source, value) = self.value(row)?;
            let value = match value {
                Value::Number(number) if *factor != 1 && number >= 0 => {
                    Value::Number(number.saturating_mul(*factor))
                }
                other => other,
            };
            Some((source, value))
        })
    }
}

/// `node.id` and `broker.id` are one value under two names, whichever the file used.
fn fixed_text<'a>(fixed: &'a StaticSettings, name: &str) -> Option<&'a str> {
    fixed.get(name).or_else(|| match name {
        "node.id" => fixed.get("broker.id"),
        "broker.id" => fixed.get("node.id"),
        _ => None,
    })
}
