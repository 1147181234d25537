//! Appending produced batches to the partitions of one shard.
//!
//! Owns: [`AppendCall`], the order in which batches get their offsets, the wait for acknowledgement.
//! Lives on: the owning shard.
//! Invariants:
//! 1. [`Shard::append`] assigns offsets before it returns; the order of calls is the order of offsets.
//! 2. What waits for acknowledgement holds no borrow of the log.
//!
//! Not here: validation of batches (`handlers/produce.rs`, on the connection's shard), writing
//! (`shard/flush.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::produce::BatchIndexAndErrorMessage;
use corelog_storage::batch::Batch;
use corelog_storage::log::{AppendError, Origin};
use corelog_storage::producer::{Guard, TransactionVersion};
use corelog_storage::types::{Offset, Timestamp, TopicId};

use crate::handlers::error_code;
use crate::partition::{Partition, State};
use crate::shard::Shard;

/// What the producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    /// acks=0: nothing.
    None,
    /// acks=1: in the leader's log.
    Leader,
    /// acks=all: in every in-sync replica's log and, with `corelog.sync.on.ack`, on the disk.
    All,
    /// On the disk, whatever the settings: the metadata log's.
    Disk,
}

/// Batches for partitions of one shard.
pub(crate) struct AppendCall {
    pub(crate) acks: Acks,
    pub(crate) origin: Origin,
    pub(crate) parts: Vec<AppendPart>,
}

/// The batch for one partition.
pub(crate) struct AppendPart {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    /// The batch, or what is wrong with it: such a refusal tells where the log starts, which only
    /// the owner knows.
    pub(crate) batch: Result<Batch, Box<Appended>>,
    pub(crate) admission: Admission,
}

/// What a batch must stand beside the checks of every append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Nothing.
    Plain,
    /// It belongs to a transaction that is open here, or opens one under this guard.
    InTransaction(Guard),
    /// It ends a transaction by these rules.
    Marker(TransactionVersion),
}

/// The answer for one partition.
#[derive(Clone, Debug)]
pub(crate) struct Appended {
    pub(crate) error: ErrorCode,
    pub(crate) message: Option<String>,
    pub(crate) record_errors: Vec<BatchIndexAndErrorMessage>,
    pub(crate) base_offset: i64,
    pub(crate) log_append_time_ms: i64,
    pub(crate) log_start_offset: i64,
}

impl Appended {
    pub(crate) fn refused(error: ErrorCode, log_start_offset: i64) -> Self {
        Self {
            error,
            message: None,
            record_errors: Vec::new(),
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset,
        }
    }
}

/// Appends that have their offsets and wait to be acknowledged.
pub(crate) struct PendingAppend {
    outcomes: Vec<Appended>,
    waits: Vec<Wait>,
    patience: Patience,
    shard: Rc<Shard>,
}

struct Wait {
    outcome: usize,
    partition: Rc<Partition>,
    /// Acknowledged when everything below is this safe.
    end: Offset,
    level: Level,
}

/// What happens to those who wait for a write that finds the disk full. It is done when there is room again, unless
/// the broker ends before: until then nobody can say whether the records are in the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// They are told, and may send again: an idempotent producer's repetition is recognised.
    UntilFull,
    /// They wait: coordinators and the controller build on what they wrote.
    Endless,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Written,
    Durable,
}

impl Shard {
    /// Gives the batches their offsets, in order, now. The returned future-to-be waits for
    /// acknowledgement only.
    // HOT: one Vec of outcomes and one of waits per request
    pub(crate) fn append(self: &Rc<Self>, call: AppendCall) -> PendingAppend {
        let now = Timestamp(corelog_runtime::wall_clock());
        let level = match call.acks {
            Acks::Disk => Level::Durable,
            Acks::All if self.settings.sync_on_ack => Level::Durable,
            Acks::All | Acks::Leader | Acks::None => Level::Written,
        };
        let mut pending = PendingAppend {
            outcomes: Vec::with_capacity(call.parts.len()),
            waits: Vec::with_capacity(call.parts.len()),
            patience: match call.origin {
                Origin::Client => Patience::UntilFull,
                Origin::Coordinator | Origin::Replication => Patience::Endless,
            },
            shard: Rc::clone(self),
        };
        for part in call.parts {
            let all = &self.metrics.traffic;
            let Some(partition) = self.partition(part.topic_id, part.partition) else {
                all.failed_produces.add(1);
                let error = self.absent(part.topic_id, part.partition);
                pending.outcomes.push(Appended::refused(error, -1));
                continue;
            };
            let own = &partition.traffic;
            if call.acks != Acks::Disk {
                own.produces.add(1);
                all.produces.add(1);
            }
            match partition.state.get() {
                State::Online => {}
                State::Offline => {
                    self.failed(&partition);
                    pending
                        .outcomes
                        .push(Appended::refused(ErrorCode::KafkaStorageError, -1));
                    continue;
                }
                State::Closed => {
                    self.failed(&partition);
                    pending
                        .outcomes
                        .push(Appended::refused(ErrorCode::NotLeaderOrFollower, -1));
                    continue;
                }
            }
            let batch = match part.batch {
                Ok(batch) => batch,
                Err(refused) => {
                    self.failed(&partition);
                    let log_start_offset = partition.log.borrow().start_offset().0;
                    pending.outcomes.push(Appended {
                        log_start_offset,
                        ..*refused
                    });
                    continue;
                }
            };
            let size = batch.size() as u64;
            let records = batch.header().record_count.unsigned_abs();
            if call.origin != Origin::Client {
                self.allowances.count(partition.directory.get(), size);
            } else if !self.allowances.admit(partition.directory.get(), size) {
                self.failed(&partition);
                pending.outcomes.push(self.full(&partition));
                continue;
            }
            let epoch = partition.leader_epoch.get();
            let (appended, flush_messages) = {
                let mut log = partition.log.borrow_mut();
                let appended = match part.admission {
                    Admission::Plain => log.append([batch], call.origin, epoch, now),
                    Admission::InTransaction(guard) => {
                        log.append_in_transaction(batch, call.origin, guard, epoch, now)
                    }
                    Admission::Marker(version) => log.append_marker(batch, version, epoch, now),
                };
                (appended, log.settings().flush_messages)
            };
            match appended {
                Ok(appended) => {
                    let end = Offset(appended.last_offset.0 + 1);
                    if call.acks != Acks::Disk {
                        own.bytes_in.add(size);
                        all.bytes_in.add(size);
                        own.records_in.add(u64::from(records));
                        all.records_in.add(u64::from(records));
                    }
                    // Whoever fills the count waits for the sync, whatever its acks: as in Kafka,
                    // where the append itself does it.
                    let level = if partition.flush_due(end, flush_messages) {
                        Level::Durable
                    } else {
                        level
                    };
                    pending.outcomes.push(Appended {
                        error: ErrorCode::None,
                        message: None,
                        record_errors: Vec::new(),
                        base_offset: appended.first_offset.0,
                        log_append_time_ms: appended.log_append_time.0,
                        log_start_offset: appended.log_start_offset.0,
                    });
                    match level {
                        Level::Written => self.queue_write(&partition),
                        Level::Durable => self.queue_sync(&partition),
                    }
                    if call.acks != Acks::None {
                        pending.waits.push(Wait {
                            outcome: pending.outcomes.len() - 1,
                            partition,
                            end,
                            level,
                        });
                    }
                }
                Err(error) => {
                    self.failed(&partition);
                    pending.outcomes.push(self.refusal(&error, &partition));
                }
            }
        }
        pending
    }

    #[cold]
    fn failed(&self, partition: &Partition) {
        partition.traffic.failed_produces.add(1);
        self.metrics.traffic.failed_produces.add(1);
    }

    /// Its disk is full: the producer may come again, and reads why.
    #[cold]
    fn full(&self, partition: &Partition) -> Appended {
        Appended {
            message: Some(
                self.allowances
                    .disks()
                    .full_sentence(partition.directory.get()),
            ),
            ..Appended::refused(ErrorCode::KafkaStorageError, -1)
        }
    }

    #[cold]
    fn refusal(&self, error: &AppendError, partition: &Rc<Partition>) -> Appended {
        if let AppendError::Roll(_) = error
            && partition.held.get()
        {
            // The folder had no name for a moment: the producer comes again.
            return Appended {
                message: Some("the partition changes its log directory just now".to_owned()),
                ..Appended::refused(ErrorCode::KafkaStorageError, -1)
            };
        }
        if let AppendError::Roll(error) = error {
            if error.is_full() {
                self.allowances
                    .disks()
                    .found_full(partition.directory.get());
                return self.full(partition);
            }
            self.disk_failed(partition, "roll", &error.source);
        }
        let start = partition.log.borrow().start_offset().0;
        Appended::refused(error_code::append(error), start)
    }
}

impl PendingAppend {
    /// The first refusal of a log that would not take its batch.
    pub(crate) fn refused(&self) -> Option<ErrorCode> {
        let errors = self.outcomes.iter().map(|one| one.error);
        errors.into_iter().find(|error| *error != ErrorCode::None)
    }

    /// Waits until everything is as safe as the producer asked for.
    pub(crate) async fn acknowledged(mut self) -> Vec<Appended> {
        for wait in &self.waits {
            let error = loop {
                let reached = match wait.level {
                    Level::Written => wait.partition.high_watermark(),
                    Level::Durable => wait.partition.durable.get(),
                };
                if reached >= wait.end {
                    break ErrorCode::None;
                }
                if self.patience == Patience::UntilFull && wait.partition.starved.get() {
                    let disks = self.shard.allowances.disks();
                    let message = disks.full_sentence(wait.partition.directory.get());
                    self.outcomes[wait.outcome].message = Some(message);
                    break ErrorCode::KafkaStorageError;
                }
                match wait.partition.state.get() {
                    State::Online => wait.partition.progress.notified().await,
                    State::Offline => break ErrorCode::KafkaStorageError,
                    State::Closed => break ErrorCode::NotLeaderOrFollower,
                }
            };
            if error != ErrorCode::None {
                self.shard.failed(&wait.partition);
                let message = self.outcomes[wait.outcome].message.take();
                self.outcomes[wait.outcome] = Appended {
                    message,
                    ..Appended::refused(error, -1)
                };
            }
        }
        self.outcomes
    }
}
