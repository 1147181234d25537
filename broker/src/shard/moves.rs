//! Moving logs between the log directories of this node, online (KIP-113).
//!
//! Owns: the moves of this shard's partitions, their pace, the moment in which a copy takes the original's place.
//! Lives on: the partition's shard; the copying is done piece by piece on its companion.
//! Invariants:
//! 1. Producers go on during a move. For its last step writes are held (what is appended waits in memory), the rest is
//!    copied and synced, and the folder changes its place: tens of milliseconds.
//! 2. What was acknowledged is in the folder that has the partition's name, at every moment.
//! 3. A move ends by arriving, by being taken back, or by a failure that leaves the partition where it is. One that a
//!    stop or a crash interrupts begins again at the next start.
//!
//! Not here: the copy itself (`corelog_storage::disks::mirror`), the request (`handlers/alter_replica_log_dirs.rs`).

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::{blocking, spawn};
use corelog_storage::disks::mirror::{Mirror, MirrorError};
use corelog_storage::types::{Offset, TopicId, TopicPartition};

use crate::partition::{Partition, State};
use crate::shard::control::Question;
use crate::shard::disks::Condition;
use crate::shard::{LogSize, Shard};

/// A partition to be moved, or to stay where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocate {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: i32,
    /// Index of the directory.
    pub(crate) target: usize,
}

/// A move under way.
pub(crate) struct Move {
    target: usize,
    cancelled: Cell<bool>,
    copied: Cell<u64>,
    /// Below this everything is copied.
    end: Cell<Offset>,
}

/// What ended a move before it arrived.
enum Ended {
    /// Taken back, or the partition is gone.
    Cancelled,
    /// The broker stops, or the source failed: what is copied stays, for the next start to see.
    Interrupted,
    Failed(MirrorError),
}

impl Shard {
    /// Takes requests to move logs; the answers are in their order. The moves go on after it.
    pub(crate) fn relocate(self: &Rc<Self>, wanted: &[Relocate]) -> Vec<ErrorCode> {
        wanted.iter().map(|one| self.relocate_one(*one)).collect()
    }

    fn relocate_one(self: &Rc<Self>, wanted: Relocate) -> ErrorCode {
        if self.allowances.disks().is_offline(wanted.target) {
            return ErrorCode::KafkaStorageError;
        }
        let key = (wanted.topic_id, wanted.partition);
        let Some(partition) = self.partition(key.0, key.1) else {
            return self.absent(key.0, key.1);
        };
        if partition.state.get() != State::Online {
            return ErrorCode::KafkaStorageError;
        }
        let under_way = self.moves.borrow().get(&key).cloned();
        if let Some(moving) = under_way {
            if moving.target == wanted.target {
                return ErrorCode::None;
            }
            moving.cancelled.set(true);
            self.moves.borrow_mut().remove(&key);
        }
        if partition.directory.get() == wanted.target {
            return ErrorCode::None;
        }
        if partition.name.to_string().len() + FUTURE_SUFFIX_SIZE > FOLDER_NAME_MAX {
            tracing::error!(
                "partition={} cannot be moved: the name of its folder is too long for a suffix",
                partition.name
            );
            return ErrorCode::InvalidTopicException;
        }
        let moving = Rc::new(Move {
            target: wanted.target,
            cancelled: Cell::new(false),
            copied: Cell::new(0),
            end: Cell::new(partition.log.borrow().start_offset()),
        });
        self.moves.borrow_mut().insert(key, Rc::clone(&moving));
        let shard = Rc::clone(self);
        spawn("move", async move { shard.carry(partition, moving).await }).detach();
        ErrorCode::None
    }

    /// Begins the moves again that the last stop interrupted.
    pub(crate) fn resume_moves(self: &Rc<Self>, moves: &[(TopicPartition, usize)]) {
        let partitions: Vec<_> = self.partitions.borrow().values().cloned().collect();
        for (name, target) in moves {
            if let Some(partition) = partitions.iter().find(|one| one.name == *name) {
                tracing::info!("partition={name} its move begins again");
                self.relocate_one(Relocate {
                    topic_id: partition.topic_id,
                    partition: name.partition,
                    target: *target,
                });
            }
        }
    }

    /// The copies that moves of this shard have made so far.
    pub(crate) fn future_sizes(&self) -> Vec<LogSize> {
        let moves = self.moves.borrow();
        let size = |((topic_id, number), moving): (&(TopicId, i32), &Rc<Move>)| {
            let partition = self.partition(*topic_id, *number)?;
            let end = partition.log.borrow().end_offset();
            Some(LogSize {
                name: partition.name.clone(),
                directory: moving.target,
                size: moving.copied.get(),
                future_lag: Some(end.since(moving.end.get()).max(0)),
            })
        };
        moves.iter().filter_map(size).collect()
    }

    /// One move from its beginning to its end.
    async fn carry(self: Rc<Self>, partition: Rc<Partition>, moving: Rc<Move>) {
        let disks = std::sync::Arc::clone(self.allowances.disks());
        let source = partition.directory.get();
        let (from, to) = (
            self.directories[source].clone(),
            self.directories[moving.target].clone(),
        );
        tracing::info!(
            "partition={} moves from {} to {}",
            partition.name,
            disks.path(source),
            disks.path(moving.target)
        );
        while partition.moving.get() {
            // An earlier move of it is being taken back.
            partition.progress.notified().await;
        }
        partition.moving.set(true);
        while partition.cleaning.get() {
            // It sees `moving` and ends: cleaned segments would replace what is copied.
            partition.progress.notified().await;
        }
        disks.move_begins();
        let name = partition.name.clone();
        let id = random();
        let begun = blocking("begin move", move || Mirror::begin(&from, &to, &name, id)).await;
        let outcome = match begun {
            Ok(mirror) => {
                let mut mirror = Some(mirror);
                let outcome = self.copy(&partition, &moving, &mut mirror).await;
                if !matches!(outcome, Ok(_) | Err(Ended::Interrupted)) {
                    let removed = blocking("end move", move || mirror.expect(IN_HAND).abandon());
                    if let Err(error) = removed.await {
                        tracing::warn!("partition={} its copy stays: {error}", partition.name);
                    }
                }
                outcome
            }
            Err(error) => Err(Ended::Failed(error)),
        };
        disks.move_ends();
        partition.moving.set(false);
        partition.progress.notify_all();
        let key = (partition.topic_id, partition.name.partition);
        let own = |one: &Rc<Move>| Rc::ptr_eq(one, &moving);
        if self.moves.borrow().get(&key).is_some_and(own) {
            self.moves.borrow_mut().remove(&key);
        }
        match outcome {
            Ok(deleted) => {
                self.metrics.moves.arrived.add(1);
                self.arrived(&partition, source, deleted).await;
            }
            Err(Ended::Cancelled) => {
                self.metrics.moves.cancelled.add(1);
                tracing::info!("partition={} its move was taken back", partition.name);
            }
            Err(Ended::Interrupted) => {}
            Err(Ended::Failed(error)) => {
                self.metrics.moves.failed.add(1);
                tracing::error!("partition={} is not moved: {error}", partition.name);
                self.move_failed(source, moving.target, &error);
            }
        }
    }

    /// Copies until little is left, then has the copy take the original's place; the original's new name.
    async fn copy(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        moving: &Rc<Move>,
        mirror: &mut Option<Mirror>,
    ) -> Result<String, Ended> {
        let mut synced = false;
        loop {
            Self::check(partition, moving)?;
            let (segments, layout, end) = {
                let log = partition.log.borrow();
                (log.segments_written(), log.layout(), log.written_offset())
            };
            let disks = self.allowances.disks();
            if disks.condition(moving.target) == Condition::Full {
                // It goes on when there is room: the reserve is not for copies.
                corelog_runtime::sleep(PAUSE_MAX).await;
                continue;
            }
            let rate = disks.move_rate();
            let budget = (rate / PIECES_PER_SECOND).clamp(PIECE_MIN, PIECE_MAX);
            let begun = corelog_runtime::now();
            let mut copying = mirror.take().expect(IN_HAND);
            let (copying, step) = blocking("move", move || {
                let step = copying.step(&segments, layout, budget);
                (copying, step)
            })
            .await;
            moving.copied.set(copying.copied());
            *mirror = Some(copying);
            let step = match step {
                // Retention took a segment away in the meantime.
                Err(MirrorError::Source(error)) if error.is_not_found() => continue,
                // A cleaned segment took the place of one that was just being read.
                Err(MirrorError::Source(_)) if !partition.log.borrow().is_current(layout) => {
                    corelog_runtime::sleep(PAUSE_MAX).await;
                    continue;
                }
                step => step.map_err(Ended::Failed)?,
            };
            let left = step.left - step.copied;
            moving.end.set(if left == 0 { end } else { step.end });
            if left < budget && left < LAST_BYTES {
                if partition.log.borrow().deletion_waits() {
                    self.work(partition);
                    corelog_runtime::sleep(PAUSE_MAX).await;
                    continue;
                }
                if synced {
                    return self.take_place(partition, moving, mirror).await;
                }
                synced = true;
                let syncing = mirror.take().expect(IN_HAND);
                let (syncing, done) = blocking("sync move", move || {
                    let done = syncing.sync();
                    (syncing, done)
                })
                .await;
                *mirror = Some(syncing);
                done.map_err(Ended::Failed)?;
            }
            let due = Duration::from_micros(step.copied.saturating_mul(1_000_000) / rate.max(1));
            let took = corelog_runtime::now().duration_since(begun);
            match due.checked_sub(took) {
                Some(rest) if !rest.is_zero() => corelog_runtime::sleep(rest.min(PAUSE_MAX)).await,
                _ => corelog_runtime::yield_now().await,
            }
        }
    }

    /// Holds the writes, completes the copy and puts it in the original's place.
    async fn take_place(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        moving: &Rc<Move>,
        mirror: &mut Option<Mirror>,
    ) -> Result<String, Ended> {
        partition.held.set(true);
        let outcome = self.take_place_held(partition, moving, mirror).await;
        partition.held.set(false);
        // What waited in memory meanwhile is written now.
        self.queue_sync(partition);
        partition.progress.notify_all();
        outcome
    }

    async fn take_place_held(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        moving: &Rc<Move>,
        mirror: &mut Option<Mirror>,
    ) -> Result<String, Ended> {
        while !partition.log.borrow().is_still() || partition.working.get() {
            Self::check(partition, moving)?;
            partition.progress.notified().await;
        }
        Self::check(partition, moving)?;
        let (segments, layout) = {
            let log = partition.log.borrow();
            (log.segments_written(), log.layout())
        };
        let id = random();
        let mut finishing = mirror.take().expect(IN_HAND);
        let (finishing, done) = blocking("end move", move || {
            let done = finishing.finish(&segments, layout, id);
            (finishing, done)
        })
        .await;
        *mirror = Some(finishing);
        let deleted = done.map_err(Ended::Failed)?;
        let target = moving.target;
        partition
            .log
            .borrow_mut()
            .relocated(self.directories[target].clone());
        partition
            .left
            .set(Some(partition.directory.replace(target)));
        let durable = partition.log.borrow().durable_offset();
        partition.durable.set(durable);
        Ok(deleted)
    }

    /// Whether the move goes on.
    fn check(partition: &Partition, moving: &Move) -> Result<(), Ended> {
        if moving.cancelled.get() {
            return Err(Ended::Cancelled);
        }
        match partition.state.get() {
            State::Online => Ok(()),
            State::Closed if partition.deleted.get() => Err(Ended::Cancelled),
            State::Offline | State::Closed => Err(Ended::Interrupted),
        }
    }

    /// The partition lies in its new place: the world is told, the original removed.
    async fn arrived(self: &Rc<Self>, partition: &Rc<Partition>, source: usize, deleted: String) {
        let disks = self.allowances.disks();
        let target = partition.directory.get();
        tracing::info!(
            "partition={} lies in {} now",
            partition.name,
            disks.path(target)
        );
        if let Some(id) = disks.id(target) {
            let assigned = vec![(
                Uuid(partition.topic_id.0),
                partition.name.partition,
                Uuid(id.0),
            )];
            self.ask_controller(Question::AssignDirectories(assigned))
                .await;
        }
        let delay = self
            .image()
            .topic(&partition.name.topic)
            .map_or(0, |topic| self.topic_config(topic).file_delete_delay_ms);
        let delay = Duration::from_millis(u64::try_from(delay).unwrap_or(0));
        // Readers may still send from the old files.
        corelog_runtime::sleep(delay).await;
        let directory = self.directories[source].clone();
        blocking("remove folders", move || {
            if let Err(error) = directory.remove_dir(&deleted) {
                tracing::warn!("folder={deleted} cannot be removed: {error}");
            }
        })
        .await;
    }

    /// What a failed copy says of the directories.
    fn move_failed(&self, source: usize, target: usize, error: &MirrorError) {
        let (at, error) = match error {
            MirrorError::Source(error) => (source, error),
            MirrorError::Target(error) => (target, error),
        };
        if !error.is_full() && !error.is_not_found() {
            self.directory_failed(at, &error.to_string());
        }
    }
}

fn random() -> u128 {
    u128::from(corelog_runtime::random()) << 64 | u128::from(corelog_runtime::random())
}

const IN_HAND: &str = "a copy comes back from the companion before the next step";

/// A throttled move is paced in pieces of a tenth of a second.
const PIECES_PER_SECOND: u64 = 10;

/// Bytes of a piece: large enough to be worth its file operations, small enough not to hold up the companion's other
/// work.
const PIECE_MIN: u64 = 4 << 10;
const PIECE_MAX: u64 = 1 << 20;

/// With less than this to copy, writes are held for the rest.
const LAST_BYTES: u64 = 1 << 20;

/// A change of the throttle is seen after this at the latest.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// `.`, 32 digits, `-future`.
const FUTURE_SUFFIX_SIZE: usize = 40;
const FOLDER_NAME_MAX: usize = 255;
