//! **Owns** administration: topics, configs, offsets, groups, transactions, replicas, the cluster, security.
//! **Lives on** the client's thread.
//! **Invariants** (1) What fails in a retriable way is tried again until `api_timeout`. (2) Each topic, group or resource
//! has a result of its own.
//! **Not here** what a command prints.

use std::rc::Rc;

use corelog_net::wire::Request;
use corelog_runtime::{now, sleep};

use super::{ApiError, Client};

mod cluster;
mod configs;
mod groups;
mod offsets;
mod quotas;
mod replicas;
mod security;
mod topics;
mod transactions;

pub use configs::{ConfigChange, ConfigResource, SOURCE_DEFAULT};
pub use groups::{CommittedOffset, GroupDescription, GroupKind, GroupMember};
pub use offsets::{Isolation, OffsetSpec};
pub use replicas::Election;
pub use topics::{Growth, ListedTopic, NewTopic, PartitionDescription, TopicDescription};
pub use transactions::{Marker, TransactionFilter};

/// Administration over a client.
#[derive(Clone)]
pub struct Admin {
    client: Rc<Client>,
}

impl Admin {
    /// Over this client.
    pub fn new(client: &Rc<Client>) -> Self {
        Self {
            client: Rc::clone(client),
        }
    }

    /// The client beneath.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Calls the controller's broker, or any when none is known, until it answers.
    pub(crate) async fn controller<R: Request>(
        &self,
        request: &R,
    ) -> Result<R::Response, ApiError> {
        self.until_answered(request, true).await
    }

    /// Calls any broker, until one answers.
    pub(crate) async fn anyone<R: Request>(&self, request: &R) -> Result<R::Response, ApiError> {
        self.until_answered(request, false).await
    }

    async fn until_answered<R: Request>(
        &self,
        request: &R,
        controller: bool,
    ) -> Result<R::Response, ApiError> {
        let until = now() + self.client.config().api_timeout;
        loop {
            let controller_id = self.client.metadata().controller();
            let answer = if controller && controller_id >= 0 {
                self.client.call_node(controller_id, request).await
            } else {
                self.client.call_any(request).await
            };
            match answer {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(self.client.config().retry_backoff).await;
                    // Who is the controller may have changed; if nobody answers, the next round fails again.
                    let _ = self.client.refresh().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Calls one broker, until it answers.
    pub(crate) async fn node<R: Request>(
        &self,
        id: i32,
        request: &R,
    ) -> Result<R::Response, ApiError> {
        let until = now() + self.client.config().api_timeout;
        loop {
            match self.client.call_node(id, request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() && now() < until => {
                    sleep(self.client.config().retry_backoff).await;
                    let _ = self.client.refresh().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.client.config().request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}
