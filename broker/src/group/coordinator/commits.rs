//! Committing offsets, at once or with a transaction, and the ends of transactions.
//!
//! Owns the way of a commit from the request to its records.
//! Lives inside the coordinator.
//! Invariants:
//! 1. Offsets of a transaction are seen by nobody before its commit marker is stored.
//! 2. They are taken from producers only while the log takes their records: epochs are the log's to judge.
//!
//! Not here: who may commit (`classic`), what is held back (`offsets`).

use std::sync::Arc;

use super::super::classic::CommitKind;
use super::super::offsets::{Change, Committed};
use super::super::step::{After, Outcomes, Step};
use super::super::{
    CommitTopic, CommittedTopic, GroupError, Marker, Now, OffsetCommit, Reply, Token,
    TxnOffsetCommit, Writer, log,
};
use super::{Coordinator, Group, Protocol};

impl Coordinator {
    pub(super) fn commit(
        &mut self,
        now: Now,
        token: Token,
        request: OffsetCommit,
        out: &mut Outcomes,
    ) {
        if let Err(error) = self.check_commit(&request, CommitKind::Plain) {
            out.replies
                .push((token, Reply::OffsetCommit(request.verdict(Some(error)))));
            return;
        }
        let (group, changes, verdicts) = self.write_commit(now, request, out);
        if !changes.is_empty() {
            let group = group.clone();
            out.after.push(After::Offsets { group, changes });
        }
        self.answer_commit(token, &group, verdicts, out);
    }

    pub(super) fn commit_in_transaction(
        &mut self,
        now: Now,
        token: Token,
        request: TxnOffsetCommit,
        out: &mut Outcomes,
    ) {
        let TxnOffsetCommit {
            producer_id,
            producer_epoch,
            guard,
            commit,
        } = request;
        if let Err(error) = self.check_commit(&commit, CommitKind::Transactional) {
            // A producer knows generations only; a stale epoch by its own name would be fatal to it.
            let error = match error {
                GroupError::StaleMemberEpoch => GroupError::IllegalGeneration,
                error => error,
            };
            out.replies
                .push((token, Reply::OffsetCommit(commit.verdict(Some(error)))));
            return;
        }
        let (group, changes, verdicts) = self.write_commit(now, commit, out);
        if !changes.is_empty() {
            out.writer = Writer::Producer {
                id: producer_id,
                epoch: producer_epoch,
                guard,
            };
            let group = group.clone();
            out.after.push(After::Held {
                group,
                producer_id,
                changes,
            });
        }
        self.answer_commit(token, &group, verdicts, out);
    }

    /// The records of a commit that may be made. Makes the group if there is none.
    fn write_commit(
        &mut self,
        now: Now,
        request: OffsetCommit,
        out: &mut Outcomes,
    ) -> (Arc<str>, Vec<Change>, Vec<CommittedTopic>) {
        let known = self
            .groups
            .get_key_value(&request.group_id)
            .map(|(id, _)| id.clone());
        let id: Arc<str> = known.unwrap_or_else(|| request.group_id.as_str().into());
        let mut sequence = self.sequence;
        let (mut cx, groups) = self.context(now, out);
        let group = groups.get_or_insert_with(&id, || Group::simple(id.clone()));
        if let Protocol::Classic(classic) = &mut group.protocol {
            classic.heard_committing(&mut cx, &request.member_id);
        }
        let expire_ms =
            (request.retention_ms >= 0).then(|| now.wall_ms.saturating_add(request.retention_ms));
        let mut changes = Vec::new();
        let mut verdicts = Vec::with_capacity(request.topics.len());
        for topic in request.topics {
            let name = group.offsets.topic_name(&topic.name);
            let verdict = write_topic(
                &mut cx,
                &id,
                topic,
                &name,
                expire_ms,
                &mut sequence,
                &mut changes,
            );
            verdicts.push(verdict);
        }
        self.sequence = sequence;
        (id, changes, verdicts)
    }

    fn answer_commit(
        &mut self,
        token: Token,
        group: &str,
        verdicts: Vec<CommittedTopic>,
        out: &mut Outcomes,
    ) {
        let reply = Reply::OffsetCommit(verdicts);
        if out.records.is_empty() {
            out.replies.push((token, reply));
            self.drop_if_trivial(group);
        } else {
            out.after.push(After::Reply(token, reply));
        }
    }

    fn check_commit(&self, request: &OffsetCommit, kind: CommitKind) -> Result<(), GroupError> {
        let Some(group) = self.groups.get(&request.group_id) else {
            // A consumer that is in no group, or an administrator, makes a group by committing.
            return match request.generation_id {
                ..0 => Ok(()),
                _ if request.knows_group_id_not_found => Err(GroupError::GroupIdNotFound),
                _ => Err(GroupError::IllegalGeneration),
            };
        };
        let instance_id = request.instance_id.as_deref();
        match &group.protocol {
            Protocol::Classic(classic) => {
                classic.check_commit(&request.member_id, instance_id, request.generation_id, kind)
            }
            Protocol::Consumer(group) => group.check_commit(request, kind),
        }
    }

    /// Offsets of a transaction that are stored and wait for its end.
    pub(super) fn hold(&mut self, producer_id: i64, id: &Arc<str>, changes: Vec<Change>) {
        let groups = self.transactional.entry(producer_id).or_default();
        groups.insert(id.clone());
        let offsets = &mut self.group_or_new(id).offsets;
        for change in changes {
            if let Some(value) = change.value {
                offsets.hold(producer_id, &change.topic, change.partition, value);
            }
        }
    }
}

fn write_topic(
    cx: &mut Step<'_>,
    group: &str,
    topic: CommitTopic,
    name: &Arc<str>,
    expire_ms: Option<i64>,
    sequence: &mut u64,
    changes: &mut Vec<Change>,
) -> CommittedTopic {
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for commit in topic.partitions {
        let metadata = commit.metadata.unwrap_or_default();
        *sequence += 1;
        let committed = Committed {
            offset: commit.offset,
            leader_epoch: commit.leader_epoch,
            metadata: metadata.into(),
            commit_ms: cx.now.wall_ms,
            expire_ms,
            topic_id: topic.topic_id,
            sequence: *sequence,
        };
        let fits = committed.metadata.len() <= cx.settings.offset_metadata_size_max;
        match log::offset(group, name, commit.partition, &committed) {
            Ok(record) if fits => {
                cx.write(record);
                changes.push(Change {
                    topic: name.clone(),
                    partition: commit.partition,
                    value: Some(committed),
                });
                partitions.push((commit.partition, None));
            }
            Ok(_) | Err(_) => {
                partitions.push((commit.partition, Some(GroupError::OffsetMetadataTooLarge)));
            }
        }
    }
    CommittedTopic {
        name: topic.name,
        topic_id: topic.topic_id,
        partitions,
    }
}

/// The end of a transaction: it concerns whatever groups have offsets in it.
pub(super) fn write_marker(token: Token, marker: Marker, out: &mut Outcomes) {
    out.writer = Writer::Marker(marker);
    out.after.push(After::Ended {
        producer_id: marker.producer_id,
        outcome: marker.outcome,
    });
    out.after.push(After::Reply(token, Reply::Marker(Ok(()))));
}
