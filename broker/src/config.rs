//! Settings: names, meanings, and what may be done to them.
//!
//! **Owns** the tables of broker, topic, group and client-metrics settings; the reading of
//! `server.properties` into a checked [`BrokerConfig`]; the resolution of a topic's settings over
//! all layers into a checked [`TopicConfig`]; the answers of `DescribeConfigs` and the validation
//! of changes.
//! **Lives on** no shard: values are built at start or from an image and are then shared.
//! **Invariants**: 1. every name exists in exactly one row of a table; 2. below this module nobody
//! parses a setting's text; 3. nothing here reads a file, a clock or the network.
//! **Not here**: where dynamic values are kept (`metadata::Image`), who may change them
//! (`controller`).

pub mod alter;
pub mod broker;
pub mod broker_settings;
pub mod cleaner;
pub mod describe;
pub mod layers;
pub mod listener;
pub mod properties;
#[cfg(test)]
mod reference;
pub mod setting;
pub mod topic;
pub mod topic_settings;

pub use broker::{BrokerConfig, LoadError, Loaded, Note};
pub use cleaner::CleanerConfig;
pub use describe::ConfigView;
pub use layers::{ConfigMap, Layers, Source};
pub use listener::{Endpoint, Listener, SecurityProtocol};
pub use properties::{FileText, StaticSettings};
pub use setting::{Setting, Status, Type, UpdateMode, Value};
pub use topic::{Compression, TopicConfig};
