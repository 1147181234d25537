//! Offsets by timestamp or epoch, and deletion of records, on the partitions of one shard.
//!
//! Owns: [`LookupCall`] and its answers.
//! Lives on: the owning shard.
//! Invariants:
//! 1. No offset at or beyond the bound of the isolation level is told.
//!
//! Not here: the wire (`handlers/{list_offsets,offset_for_leader_epoch,delete_records}.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_storage::log::{LocateError, Log, Lookup, Wait};
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp, TopicId};

use crate::mesh;
use crate::partition::read::{Isolation, moves_away, unreadable};
use crate::partition::{Partition, State, owner};
use crate::shard::Shard;

/// Questions to partitions of one shard.
pub(crate) struct LookupCall {
    pub(crate) parts: Vec<LookupPart>,
}

/// One question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LookupPart {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) question: Question,
}

/// What is asked of a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Earliest,
    Latest(Isolation),
    /// The first record at or after.
    AtTimestamp(Timestamp, Isolation),
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// Where the epoch ends.
    EpochEnd(LeaderEpoch),
    /// Delete everything below; `None`: below the high watermark.
    DeleteBefore(Option<Offset>),
}

/// One answer. What does not apply is -1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) error: ErrorCode,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) leader_epoch: i32,
}

impl Looked {
    pub(crate) fn refused(error: ErrorCode) -> Self {
        Self {
            error,
            offset: -1,
            timestamp: -1,
            leader_epoch: -1,
        }
    }

    fn found(offset: Offset, timestamp: i64, epoch: Option<LeaderEpoch>) -> Self {
        Self {
            error: ErrorCode::None,
            offset: offset.0,
            timestamp,
            leader_epoch: epoch.map_or(-1, |epoch| epoch.0),
        }
    }

    fn nothing() -> Self {
        Self::refused(ErrorCode::None)
    }
}

impl Shard {
    /// Answers every part, in order.
    pub(crate) async fn look(self: Rc<Self>, call: LookupCall) -> Vec<Looked> {
        let mut answers = Vec::with_capacity(call.parts.len());
        for part in call.parts {
            answers.push(match self.partition(part.topic_id, part.partition) {
                None => Looked::refused(ErrorCode::UnknownTopicOrPartition),
                Some(partition) => match unreadable(&partition, part.current_leader_epoch) {
                    Some(error) => Looked::refused(error),
                    None => self.look_one(&partition, part.question).await,
                },
            });
        }
        answers
    }

    async fn look_one(&self, partition: &Rc<Partition>, question: Question) -> Looked {
        let high_watermark = partition.high_watermark();
        let (stable, start) = {
            let log = partition.log.borrow();
            (
                log.last_stable_offset().min(high_watermark),
                log.start_offset(),
            )
        };
        let bound = |isolation| match isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => stable,
        };
        let epoch_at = |offset| partition.log.borrow().epochs().epoch_of(offset);
        match question {
            Question::Earliest => Looked::found(start, -1, epoch_at(start)),
            Question::Latest(isolation) => {
                let offset = bound(isolation);
                Looked::found(offset, -1, Some(partition.leader_epoch.get()))
            }
            Question::AtTimestamp(timestamp, isolation) => {
                let upper = bound(isolation);
                let lookup = |log: &mut Log| log.offset_for_timestamp(timestamp, upper);
                self.found(partition, lookup).await
            }
            Question::MaxTimestamp => {
                let lookup = |log: &mut Log| log.max_timestamp(high_watermark);
                self.found(partition, lookup).await
            }
            Question::EpochEnd(epoch) => match partition.log.borrow().end_offset_for_epoch(epoch) {
                None => Looked::nothing(),
                Some(end) => Looked::found(end.end_offset.min(high_watermark), -1, Some(end.epoch)),
            },
            Question::DeleteBefore(offset) => {
                let offset = offset.unwrap_or(high_watermark);
                if offset.0 < 0 || offset > high_watermark {
                    return Looked::refused(ErrorCode::OffsetOutOfRange);
                }
                let start = partition.log.borrow_mut().delete_records_before(offset);
                partition.start_moved();
                Looked::found(start, -1, None)
            }
        }
    }

    async fn found(
        &self,
        partition: &Rc<Partition>,
        lookup: impl Fn(&mut Log) -> Lookup,
    ) -> Looked {
        let found = loop {
            let job = match lookup(&mut partition.log.borrow_mut()) {
                Lookup::Answer(found) => break Ok(found),
                Lookup::Scan(job) => job,
            };
            let layout = job.layout();
            let found = match job.run(Wait::No) {
                Err(LocateError::WouldBlock) => {
                    corelog_runtime::blocking_brief("lookup", move || job.run(Wait::Yes)).await
                }
                done => done,
            };
            // Compaction may have replaced the files meanwhile, or a move their folder; a log that has ended answers
            // as it can.
            let moves = found.as_ref().is_err_and(|e| moves_away(partition, e));
            let as_it_was = partition.log.borrow().is_current(layout) && !moves;
            if as_it_was || partition.state.get() != State::Online {
                break found;
            }
            self.swapped(partition).await;
        };
        match found {
            Ok(Some(found)) => {
                Looked::found(found.offset, found.timestamp.0, Some(found.leader_epoch))
            }
            Ok(None) => Looked::nothing(),
            Err(error) => {
                tracing::error!("partition={} lookup by time: {error}", partition.name);
                if let LocateError::Disk(error) = &error {
                    self.read_failed(partition, error);
                }
                Looked::refused(ErrorCode::KafkaStorageError)
            }
        }
    }
}

impl Shard {
    /// Asks the owners of the partitions; the answers in the order of the questions.
    pub(crate) async fn ask(self: &Rc<Self>, questions: &[Asked<'_>]) -> Vec<Looked> {
        let image = self.image();
        let mut calls: Vec<(usize, Vec<LookupPart>)> = Vec::new();
        let mut places = Vec::with_capacity(questions.len());
        for asked in questions {
            let topic = image.topic(asked.topic);
            let Some(topic) = topic.filter(|topic| topic.partition(asked.partition).is_some())
            else {
                places.push(None);
                continue;
            };
            let topic_id = TopicId(topic.id.0);
            let owner = owner(topic_id, asked.partition, self.shards);
            let call = calls
                .iter()
                .position(|(at, _)| *at == owner)
                .unwrap_or_else(|| {
                    calls.push((owner, Vec::new()));
                    calls.len() - 1
                });
            places.push(Some((call, calls[call].1.len())));
            calls[call].1.push(LookupPart {
                topic_id,
                partition: asked.partition,
                current_leader_epoch: asked.current_leader_epoch,
                question: asked.question,
            });
        }
        let mut pending = Vec::with_capacity(calls.len());
        for (owner, parts) in calls {
            pending.push(
                self.start_call(owner, mesh::Request::Lookup(LookupCall { parts }))
                    .await,
            );
        }
        let mut answers = Vec::with_capacity(pending.len());
        for one in pending {
            answers.push(match one.reply().await {
                mesh::Reply::Looked(looked) => looked,
                _ => Vec::new(),
            });
        }
        let answer = |place| match place {
            None => Looked::refused(ErrorCode::UnknownTopicOrPartition),
            Some((call, part)) => answers
                .get::<usize>(call)
                .and_then(|answers| answers.get::<usize>(part).copied())
                .unwrap_or(Looked::refused(ErrorCode::NotLeaderOrFollower)),
        };
        places.into_iter().map(answer).collect()
    }
}

/// A question to a partition by its topic's name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    /// -1: the client does not know.
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) question: Question,
}
