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
use std::time::Duration;

use corelog_net::connection::{Reply, Request, Response};
use corelog_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::handlers::{Context, UNREADABLE, decoded, not_encoded, reply};
use crate::metadata::answers::{AllTopics, is_all_asked};
use crate::shard::Shard;

/// Answers a request of either kind: for all topics, which may be 100,000 partitions, piece by piece, so that others'
/// requests do not wait for all of it.
pub(crate) async fn answer(shard: Rc<Shard>, context: Context, request: Request) -> Reply {
    let Some(body) = decoded::<MetadataRequest>(&request) else {
        return Reply::Close(UNREADABLE);
    };
    let version = context.version;
    if !is_all_asked(&body, version) {
        return reply(shard, context, request, handle).await;
    }
    let image = shard.image();
    let view = shard.view(&image, context.listener);
    let mut frame = Response::writer(&request.header, AllTopics::size_hint(&image));
    let mut all = match AllTopics::begin(view, &body, version, frame.buffer()) {
        Ok(all) => all,
        Err(error) => return not_encoded(&request, &error),
    };
    loop {
        match all.piece(frame.buffer()) {
            Ok(true) => break,
            // Who only yields comes again before the loop looks at the sockets, up to 128 times: nobody else would gain.
            Ok(false) => corelog_runtime::sleep(NEXT_TURN).await,
            Err(error) => return not_encoded(&request, &error),
        }
    }
    match frame.finish() {
        Ok(response) => Reply::Response(response),
        Err(error) => {
            tracing::error!("a Metadata response is too large: {error}");
            Reply::Close("an answer above 2 GiB")
        }
    }
}

/// Not before the loop's next turn.
const NEXT_TURN: Duration = Duration::from_nanos(1);

/// Answers a request for some topics.
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
