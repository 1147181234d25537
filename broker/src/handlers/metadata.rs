//! Metadata (key 3): brokers, topics, partitions; creates asked-for topics where that is allowed.
//!
//! Versions: v1 null means all · v4 creation is asked for · v8 authorized operations · v10 topic ids ·
//! v12 topics by id · v13 an error of the whole request.
//!
//! Owns: when a topic is created by asking for it.
//! Lives on: the connection's shard.
//! Invariants: the answer does not wait for the creation; clients ask again, as with Kafka.
//!
//! Not here: the answer's body (`metadata/answers.rs`), creation (`controller`).

use std::rc::Rc;

use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: MetadataRequest,
) -> MetadataResponse {
    let image = shard.image();
    let answer = shard
        .view(&image, context.listener)
        .metadata(&request, context.version);
    if !answer.missing.is_empty() && shard.config.auto_create_topics_enable {
        let asker = Rc::clone(&shard);
        corelog_runtime::spawn("auto create", async move {
            for name in answer.missing {
                asker.auto_create(&name).await;
            }
        })
        .detach();
    }
    answer.response
}
