//! FindCoordinator (key 10): who coordinates a group or a transactional id. On a single node it is this broker,
//! as soon as the internal topic is there; asking creates it.
//!
//! Versions: v1 key types · v4 several keys (KIP-699) · v6 share groups (KIP-932: not served).
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`, `txn.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};

use crate::group::OFFSETS_TOPIC;
use crate::handlers::Context;
use crate::shard::Shard;
use crate::txn::TRANSACTION_TOPIC;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    if context.version < 4 {
        let found = find(&shard, &context, request.key_type, request.key).await;
        return FindCoordinatorResponse {
            error_code: found.error_code,
            error_message: found.error_message,
            node_id: found.node_id,
            host: found.host,
            port: found.port,
            ..Default::default()
        };
    }
    let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
    for key in request.coordinator_keys {
        coordinators.push(find(&shard, &context, request.key_type, key).await);
    }
    FindCoordinatorResponse {
        coordinators,
        ..Default::default()
    }
}

async fn find(shard: &Rc<Shard>, context: &Context, key_type: i8, key: String) -> Coordinator {
    let refused = |key, error: ErrorCode| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: error.code(),
        error_message: Some(
            if context.version < 4 || error == ErrorCode::InvalidRequest {
                error.message().to_owned()
            } else {
                String::new()
            },
        ),
        ..Default::default()
    };
    let topic = match key_type {
        GROUP => OFFSETS_TOPIC,
        TRANSACTION => TRANSACTION_TOPIC,
        _ => return refused(key, ErrorCode::InvalidRequest),
    };
    if shard.image().topic(topic).is_none() {
        // Kafka answers that the coordinator is not available and creates the topic behind it; here it
        // is ready when the controller answers, so the client is spared a second question.
        if !shard.auto_create(topic).await {
            return refused(key, ErrorCode::CoordinatorNotAvailable);
        }
    }
    let (host, port) = shard.advertised(context.listener);
    Coordinator {
        key,
        node_id: shard.config.node_id,
        host: host.to_owned(),
        port: i32::from(port),
        error_code: ErrorCode::None.code(),
        error_message: Some(if context.version < 4 {
            ErrorCode::None.message().to_owned()
        } else {
            String::new()
        }),
        ..Default::default()
    }
}
