//! Brokers that are registered.
//!
//! **Owns** `UnregisterBroker`.
//! **Lives on** shard 0.
//! **Invariants**: this node stays registered as long as it runs.
//! **Not here**: registering at a start, fencing at a stop (`metadata::bootstrap`). A known deviation:
//! Kafka lets a running broker be unregistered, after which a cluster of one serves nothing until it is
//! started again.

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::unregister_broker::{
    UnregisterBrokerRequest, UnregisterBrokerResponse,
};
use corelog_net::wire::records::UnregisterBrokerRecord;

use super::{Controller, Outcome};

impl Controller<'_> {
    /// Decides on `UnregisterBroker`.
    #[must_use]
    pub fn unregister_broker(
        &self,
        request: &UnregisterBrokerRequest,
    ) -> Outcome<UnregisterBrokerResponse> {
        let id = request.broker_id;
        let refuse = |error: ErrorCode, message: String| Outcome {
            records: Vec::new(),
            response: UnregisterBrokerResponse {
                error_code: error.code(),
                error_message: Some(message),
                ..UnregisterBrokerResponse::default()
            },
        };
        if id == self.config.node_id {
            let message = format!(
                "Broker {id} is running, and is the only one: without its registration it could \
                 serve nothing. Stop it instead."
            );
            return refuse(ErrorCode::InvalidRequest, message);
        }
        let Some(broker) = self.image.broker(id) else {
            let message = format!("Broker ID {id} is not currently registered");
            return refuse(ErrorCode::BrokerIdNotRegistered, message);
        };
        let record = UnregisterBrokerRecord {
            broker_id: id,
            broker_epoch: broker.registration.broker_epoch,
            ..UnregisterBrokerRecord::default()
        };
        Outcome {
            records: vec![record.into()],
            response: UnregisterBrokerResponse::default(),
        }
    }
}
