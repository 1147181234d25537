//! `GetTelemetrySubscriptions` (key 71): what a client is to push. KIP-714.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: subscriptions (`telemetry`). A known deviation: Kafka serves this only with a plug-in that receives metrics;
//! here they are on the page of metrics. Totals are asked for as totals, not as what came on top: a push that is lost loses
//! nothing.

use std::rc::Rc;

use corelog_net::wire::Uuid;
use corelog_net::wire::messages::get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;
use crate::telemetry::CODECS;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: GetTelemetrySubscriptionsRequest,
) -> GetTelemetrySubscriptionsResponse {
    let mut instance = request.client_instance_id;
    if instance.is_zero() {
        instance = Uuid(crate::boot::random_id().0);
    }
    match shard.telemetry_subscription(&context.client(instance)) {
        Ok(subscription) => GetTelemetrySubscriptionsResponse {
            client_instance_id: instance,
            subscription_id: subscription.id,
            accepted_compression_types: CODECS.to_vec(),
            push_interval_ms: subscription.interval_ms,
            telemetry_max_bytes: i32::try_from(shard.config.telemetry_max_bytes)
                .unwrap_or(i32::MAX),
            delta_temporality: false,
            requested_metrics: subscription.metrics,
            ..GetTelemetrySubscriptionsResponse::default()
        },
        Err(error) => GetTelemetrySubscriptionsResponse {
            error_code: error.code(),
            ..GetTelemetrySubscriptionsResponse::default()
        },
    }
}
