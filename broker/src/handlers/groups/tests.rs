//! The forms of answers that differ by version; each is encoded to see that its version can carry it.

use corelog_net::wire::Message;
use corelog_net::wire::messages::leave_group::LeaveGroupRequest;
use corelog_net::wire::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use corelog_net::wire::messages::sync_group::SyncGroupRequest;

use super::super::{
    describe_groups, join_group, leave_group, offset_commit, offset_fetch, sync_group,
};
use crate::group::{FetchTopic, GroupError, JoinGroup, LeftMember, Reply, Request};
use crate::metadata::Image;

fn refused_join(error: GroupError) -> crate::group::JoinedGroup {
    let request = Request::JoinGroup(Box::new(JoinGroup {
        member_id: "m".to_owned(),
        ..JoinGroup::default()
    }));
    let Reply::JoinGroup(joined) = request.refuse(error) else {
        unreachable!()
    };
    *joined
}

#[test]
fn a_refused_join_has_an_empty_protocol_before_version_7_and_none_after() {
    for version in 0..=9 {
        let answer = join_group::answer(version, refused_join(GroupError::UnknownMemberId));
        let expected = (version < 7).then(String::new);
        assert_eq!(
            (answer.error_code, &answer.protocol_name, &*answer.member_id),
            (25, &expected, "m")
        );
        answer.to_vec(version).unwrap();
    }
}

#[test]
fn sync_names_its_protocol_from_version_5_on() {
    let question = |version| sync_group::question(version, SyncGroupRequest::default());
    assert!(question(4).is_ok());
    assert_eq!(question(5), Err(GroupError::InconsistentGroupProtocol));
}

#[test]
fn one_who_leaves_alone_gets_its_fate_as_the_answer_before_version_3() {
    let request = LeaveGroupRequest {
        member_id: "m".to_owned(),
        ..LeaveGroupRequest::default()
    };
    let Request::LeaveGroup(leave) = leave_group::question(2, request) else {
        unreachable!()
    };
    assert_eq!(leave.members[0].member_id, "m");
    let error = Some(GroupError::UnknownMemberId);
    let left = vec![LeftMember {
        member_id: "m".to_owned(),
        instance_id: None,
        error,
    }];
    for version in 0..=5 {
        let answer = leave_group::answer(version, Ok(left.clone()));
        let expected = if version < 3 { (25, 0) } else { (0, 1) };
        assert_eq!((answer.error_code, answer.members.len()), expected);
        answer.to_vec(version).unwrap();
    }
}

#[test]
fn an_unknown_group_is_dead_and_from_version_6_an_error() {
    let describe = |version| {
        describe_groups::answer(
            version,
            "nogrp".to_owned(),
            Err(GroupError::GroupIdNotFound),
        )
    };
    let (old, new) = (describe(5), describe(6));
    assert_eq!(
        (old.error_code, &*old.group_state, old.error_message),
        (0, "Dead", None)
    );
    assert_eq!((new.error_code, &*new.group_state), (69, "Dead"));
    assert_eq!(new.error_message.as_deref(), Some("Group nogrp not found."));
}

#[test]
fn commits_to_unknown_topics_are_refused_before_the_coordinator_is_asked() {
    let topic = || OffsetCommitRequestTopic {
        name: "nope".to_owned(),
        partitions: vec![OffsetCommitRequestPartition::default()],
        ..OffsetCommitRequestTopic::default()
    };
    for (version, code) in [(2, 3), (9, 3), (10, 100)] {
        let (response, left) = offset_commit::sort_out(&Image::default(), version, vec![topic()]);
        assert_eq!(response.topics[0].partitions[0].error_code, code);
        assert_eq!(left, []);
        response.to_vec(version).unwrap();
    }
}

#[test]
fn a_refused_fetch_says_so_in_each_partition_in_version_1() {
    let asked = [FetchTopic {
        name: "t".to_owned(),
        topic_id: [0; 16],
        partitions: vec![4],
    }];
    for version in 1..=7 {
        let answer = offset_fetch::answer_one(version, &asked, Err(GroupError::LoadInProgress));
        let codes: Vec<i16> = answer
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .map(|p| p.error_code)
            .collect();
        let expected = if version == 1 { vec![14] } else { vec![] };
        assert_eq!((answer.error_code, codes), (14, expected));
        answer.to_vec(version).unwrap();
    }
}
