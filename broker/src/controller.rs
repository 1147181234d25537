//! The controller: what a request makes of the cluster.
//!
//! **Owns** the decision: from an image and a request to the records to write and the answer to give.
//! **Lives on** shard 0. It does no I/O, knows no clock, draws no random number.
//! **Invariants**: 1. the records of an outcome apply to the image they were made from; 2. an answer
//! is sent only after its records are stored, and nothing is decided on an image before the records
//! of earlier outcomes are applied to it; 3. refusals are Kafka's codes and sentences.
//! **Not here**: the metadata log, publishing (`metadata`), authorization (`handlers`).

pub mod brokers;
pub mod configs;
pub mod directories;
pub mod elections;
pub mod features;
pub mod internal_topics;
pub mod partitions;
pub mod placement;
pub mod producer_ids;
pub mod quotas;
pub mod reassignment;
pub mod scram;
pub mod topics;

use corelog_net::wire::ErrorCode;

use crate::config::alter::Refusal;
use crate::config::{BrokerConfig, ConfigView};
use crate::metadata::{Image, MetadataRecord};

/// What a request comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<R> {
    /// To be stored together, in this order, before the answer leaves; may be none.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub response: R,
}

/// A moment of the cluster to decide on.
#[derive(Clone, Debug)]
pub struct Controller<'a> {
    image: &'a Image,
    config: &'a BrokerConfig,
    node_name: String,
}

impl<'a> Controller<'a> {
    /// Decides on `image`, which holds all records stored so far. `config` is this node's, with
    /// dynamic values applied.
    #[must_use]
    pub fn new(image: &'a Image, config: &'a BrokerConfig) -> Self {
        Self {
            image,
            config,
            node_name: config.node_id.to_string(),
        }
    }

    fn view(&self) -> ConfigView<'a> {
        ConfigView::new(self.image, self.config, &self.node_name)
    }
}

/// A refusal without a sentence.
fn refuse(error: ErrorCode) -> Refusal {
    Refusal {
        error,
        message: None,
    }
}

/// Most partitions one request may create; more would stall every other request.
const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

#[cfg(test)]
mod tests;
