//! Blocks of producer ids (KIP-730).
//!
//! **Owns** the next id that is free in the whole cluster.
//! **Lives on** shard 0.
//! **Invariants**: no id is given out twice: the record is stored before the block is used.
//! **Not here**: ids within a block (the broker's shards).

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::allocate_producer_ids::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse,
};
use corelog_net::wire::records::ProducerIdsRecord;

use super::{Controller, Outcome};

/// Ids of a block.
pub const BLOCK_LEN: i32 = 1000;

impl Controller<'_> {
    /// Decides on `AllocateProducerIds`.
    #[must_use]
    pub fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Outcome<AllocateProducerIdsResponse> {
        let epoch = self
            .image
            .broker(request.broker_id)
            .map(|it| it.registration.broker_epoch);
        if epoch != Some(request.broker_epoch) {
            let error_code = ErrorCode::StaleBrokerEpoch.code();
            let response = AllocateProducerIdsResponse {
                error_code,
                ..Default::default()
            };
            return Outcome {
                records: Vec::new(),
                response,
            };
        }
        let first = self.image.next_producer_id();
        let Some(next_producer_id) = first.checked_add(i64::from(BLOCK_LEN)) else {
            let error_code = ErrorCode::UnknownServerError.code();
            let response = AllocateProducerIdsResponse {
                error_code,
                ..Default::default()
            };
            return Outcome {
                records: Vec::new(),
                response,
            };
        };
        let record = ProducerIdsRecord {
            broker_id: request.broker_id,
            broker_epoch: request.broker_epoch,
            next_producer_id,
            ..ProducerIdsRecord::default()
        };
        let response = AllocateProducerIdsResponse {
            producer_id_start: first,
            producer_id_len: BLOCK_LEN,
            ..AllocateProducerIdsResponse::default()
        };
        Outcome {
            records: vec![record.into()],
            response,
        }
    }

    /// A block for this node itself: what [`Self::allocate_producer_ids`] answers its own request.
    #[must_use]
    pub fn own_producer_ids(&self) -> Outcome<AllocateProducerIdsResponse> {
        let broker_id = self.config.node_id;
        let broker = self.image.broker(broker_id);
        let broker_epoch = broker.map_or(-1, |broker| broker.registration.broker_epoch);
        let request = AllocateProducerIdsRequest {
            broker_id,
            broker_epoch,
            ..Default::default()
        };
        self.allocate_producer_ids(&request)
    }
}
