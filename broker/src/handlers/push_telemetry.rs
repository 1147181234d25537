//! `PushTelemetry` (key 72): metrics of a client. KIP-714.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: what is taken and kept (`telemetry`).

use std::rc::Rc;

use corelog_net::wire::messages::push_telemetry::{PushTelemetryRequest, PushTelemetryResponse};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: PushTelemetryRequest,
) -> PushTelemetryResponse {
    let client = context.client(request.client_instance_id);
    PushTelemetryResponse {
        error_code: shard.push_telemetry(&client, request).await.code(),
        ..PushTelemetryResponse::default()
    }
}
