//! `ConsumerGroupHeartbeat` (key 68): a member of a consumer group joins, stays, or leaves (KIP-848).
//!
//! Versions: v1 regular expressions (KIP-1043); the member brings its own id (KIP-1082).
//!
//! Known deviation: `\p{…}` in expressions is refused; RE2 knows it. Names of topics are ASCII.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`group.rs`).

use std::rc::Rc;

use corelog_net::connection::{self, Dispatched};
use corelog_net::wire::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ResponseTopicPartitions,
};

use crate::gate::Admitted;
use crate::group::{self, ConsumerBeat, ConsumerHeartbeat, GroupError, Refusal, Reply, Request};
use crate::handlers::{self, Context, Turn, groups};
use crate::shard::Shard;

/// Begins the request where it can be answered without a wait; else it comes back.
pub(crate) fn begin(
    shard: &Rc<Shard>,
    turn: &Rc<Turn>,
    _admitted: &Admitted,
    context: Context,
    request: connection::Request,
) -> Result<Dispatched, connection::Request> {
    let asked = |request| ask(shard, context, request);
    handlers::begin(shard, turn, request, asked, reply)
}

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    match ask(&shard, context, request) {
        Ok(question) => reply(groups::ask(&shard, question).await),
        Err(refused) => *refused,
    }
}

/// The question to the coordinator; the answer, where none need be asked.
fn ask(
    shard: &Shard,
    context: Context,
    request: ConsumerGroupHeartbeatRequest,
) -> Result<Request, Box<ConsumerGroupHeartbeatResponse>> {
    let version = context.version;
    let mut question = question(context, request);
    let settings = &shard.group_settings().consumer;
    let served = settings.enabled && groups::is_consumer_protocol_on(shard);
    let checked = if served {
        group::check_heartbeat(&question, version >= 1, &settings.assignors)
    } else {
        Err(GroupError::UnsupportedVersion.into())
    };
    checked.map_err(|refusal| Box::new(refused(refusal)))?;
    if question.member_id.is_empty() && question.member_epoch == 0 {
        question.member_id = groups::new_member_id();
    }
    Ok(Request::ConsumerHeartbeat(Box::new(question)))
}

fn reply(reply: Option<Reply>) -> ConsumerGroupHeartbeatResponse {
    match reply {
        Some(Reply::ConsumerHeartbeat(Ok(beat))) => answer(&beat),
        Some(Reply::ConsumerHeartbeat(Err(refusal))) => refused(*refusal),
        _ => refused(GroupError::NotCoordinator.into()),
    }
}

fn question(context: Context, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let owned = request.topic_partitions.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|topic| (topic.topic_id, topic.partitions))
            .collect()
    });
    ConsumerHeartbeat {
        group_id: request.group_id,
        member_id: request.member_id,
        member_epoch: request.member_epoch,
        instance_id: request.instance_id,
        rack_id: request.rack_id,
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: request.subscribed_topic_names,
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned,
        client_id: context.client_id,
        client_host: context.client_host,
    }
}

fn answer(beat: &ConsumerBeat) -> ConsumerGroupHeartbeatResponse {
    let topic = |(topic_id, partitions): &(_, Vec<i32>)| ResponseTopicPartitions {
        topic_id: *topic_id,
        partitions: partitions.clone(),
        ..Default::default()
    };
    ConsumerGroupHeartbeatResponse {
        member_id: Some(beat.member_id.to_string()),
        member_epoch: beat.member_epoch,
        heartbeat_interval_ms: beat.heartbeat_interval_ms,
        assignment: beat.assignment.as_ref().map(|topics| Assignment {
            topic_partitions: topics.iter().map(topic).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn refused(refusal: Refusal) -> ConsumerGroupHeartbeatResponse {
    let error = handlers::error_code::group(refusal.error);
    ConsumerGroupHeartbeatResponse {
        error_code: error.code(),
        error_message: refusal.message.or_else(|| Some(error.message().to_owned())),
        ..Default::default()
    }
}
