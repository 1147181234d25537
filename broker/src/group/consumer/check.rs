//! What is refused of a `ConsumerGroupHeartbeat` before anybody looks at the group.
//!
//! Owns the rules for the request alone, with Kafka's texts.
//! Lives on the connection's shard.
//! Invariants: 1. A request that passes has what its member epoch calls for.
//! Not here: rules that need the group (`heartbeat`).

use super::assignor::Assignor;
use super::heartbeat::Refusal;
use super::member::{LEAVE_EPOCH, LEAVE_STATIC_EPOCH};
use crate::group::{ConsumerHeartbeat, GroupError};

/// Checks the request. `member_makes_id`: v1 and later, the member brings its id.
pub(crate) fn request(
    request: &ConsumerHeartbeat,
    member_makes_id: bool,
    assignors: &[Assignor],
) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    let needs_id = member_makes_id || epoch > 0 || epoch == LEAVE_EPOCH;
    if needs_id && request.member_id.is_empty() {
        return invalid("MemberId can't be empty.");
    }
    if request.group_id.is_empty() {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref() == Some("") {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref() == Some("") {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        0 => joining(request)?,
        LEAVE_STATIC_EPOCH if request.instance_id.is_none() => {
            return invalid("InstanceId can't be null.");
        }
        ..LEAVE_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if !request.texts_fit() {
        return invalid("An id or a name of the request is too long.");
    }
    match &request.assignor {
        Some(name) if !assignors.iter().any(|known| known.name() == name) => {
            let names: Vec<&str> = assignors.iter().map(|known| known.name()).collect();
            Err(Refusal::new(
                GroupError::UnsupportedAssignor,
                format!(
                    "ServerAssignor {name} is not supported. Supported assignors: {}.",
                    names.join(", ")
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn joining(request: &ConsumerHeartbeat) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return invalid("RebalanceTimeoutMs must be provided in first request.");
    }
    if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return invalid("TopicPartitions must be empty when (re-)joining.");
    }
    if request.topics.is_none() && request.regex.is_none() {
        return invalid(
            "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
        );
    }
    Ok(())
}

fn invalid(message: &str) -> Result<(), Refusal> {
    Err(Refusal::new(GroupError::InvalidRequest, message.to_owned()))
}
