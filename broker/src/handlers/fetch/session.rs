//! Incremental fetch sessions (KIP-227): what a client asked before need not be asked again.
//!
//! Owns: the sessions of one shard, their eviction, where each of their partitions is: the owning shard and the place in
//! its [`Watch`](crate::partition::watch::Watch). So a fetch names to the owners only what the client changed.
//! Lives on: the connection's shard. A client that comes back on another shard is told that its
//! session is unknown and begins a new one, as after a broker restart.
//! Invariants:
//! 1. A session's epoch is the number of the request it expects next; 0 is never expected. What was asked is answered only
//!    while no other request of the session came between.
//! 2. A session speaks names (up to v12) or ids (v13 on) for its whole life.
//! 3. At most `slots` sessions and `PARTITIONS_MAX` partitions over all of them are kept.
//! 4. A partition that its owner does not know (deleted, not there yet) is looked up anew with every request.
//!
//! Not here: what is ready and in which order it is served (`partition/watch.rs`), the response (`handlers/fetch.rs`).

use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Instant, Map};
use corelog_storage::types::{LeaderEpoch, Offset, TopicId};
use smallvec::SmallVec;

use crate::partition::read::FetchPart;
use crate::partition::watch::Change;

/// A session unused for this long makes room for a new one.
const EVICTION_AGE: std::time::Duration = std::time::Duration::from_mins(2);

/// Partitions that all sessions of a shard may hold together; beyond it, new fetches are full ones.
const PARTITIONS_MAX: usize = 1_000_000;

/// The epoch of a request that asks for a new session.
const INITIAL_EPOCH: i32 = 0;
/// The epoch of a request that wants no session, or to end one.
const FINAL_EPOCH: i32 = -1;

/// How a client names a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(TopicId),
}

/// One partition that a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) size_max: usize,
}

impl Wanted {
    /// As its owner is asked.
    pub(crate) fn of(self, topic_id: TopicId) -> FetchPart {
        FetchPart {
            topic_id,
            partition: self.partition,
            offset: self.offset,
            current_leader_epoch: self.current_leader_epoch,
            last_fetched_epoch: self.last_fetched_epoch,
            size_max: self.size_max,
        }
    }
}

/// Finds a partition: its topic and the shard that owns it, or why not.
pub(crate) trait Locate {
    fn locate(&self, topic: &TopicKey, partition: i32) -> Result<(TopicId, usize), ErrorCode>;
}

/// What a fetch request turned into.
#[derive(Debug)]
pub(crate) enum Step {
    /// What the request names is fetched, and nothing remembered.
    Sessionless,
    /// The session has nothing left and is over.
    Ended,
    /// A fetch of a session.
    Turn(Turn),
}

/// One request of a session.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) session: i32,
    /// Every partition is answered; the client learns its new session.
    pub(crate) is_first: bool,
    /// What the session expects next, if nobody else asks meanwhile.
    epoch: i32,
    /// The session's number to the owners.
    pub(crate) watch: u64,
    /// The owners to ask: all that have partitions of the session now.
    pub(crate) asks: SmallVec<[Ask; 2]>,
}

impl Turn {
    /// Counts the turns of a session.
    pub(crate) fn number(&self) -> usize {
        usize::try_from(self.epoch).unwrap_or(0)
    }
}

/// What an owner is told.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) owner: usize,
    pub(crate) changes: Vec<Change>,
}

/// One session.
pub(crate) struct Session {
    epoch: i32,
    by_id: bool,
    used: Instant,
    watch: u64,
    wanted: Vec<Slot>,
    vacant: Vec<u32>,
    slots: Map<(TopicKey, i32), u32>,
    /// Slots of partitions that nobody owns, and some that left since.
    lost: Vec<u32>,
    owners: SmallVec<[Owned; 2]>,
}

struct Slot {
    topic: TopicKey,
    wanted: Wanted,
    at: At,
    /// It is in `lost`.
    is_listed: bool,
}

/// Where a slot's partition is.
#[derive(Clone, Copy)]
enum At {
    /// The slot is vacant.
    Nowhere,
    Owned {
        topic_id: TopicId,
        /// Index of the owner in `owners`.
        owner: usize,
        place: u32,
    },
    Lost(ErrorCode),
}

/// What of a session a shard owns.
struct Owned {
    owner: usize,
    /// The slot of every place; `u32::MAX`: vacant.
    places: Vec<u32>,
    vacant: Vec<u32>,
    changes: Vec<Change>,
}

/// The sessions of one shard.
pub(crate) struct Sessions {
    slots: usize,
    partitions: usize,
    by_number: Map<i32, Session>,
    watches: u64,
    /// Owners to be told that a session is over, and its number to them.
    over: Vec<(usize, u64)>,
}

impl Sessions {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            partitions: 0,
            by_number: Map::default(),
            watches: 0,
            over: Vec::new(),
        }
    }

    /// How many sessions there are, and how many partitions in them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.by_number.len(), self.partitions)
    }

    /// Finds out what a request with `session` and `epoch` asks for, which names `count` partitions. `random` numbers a new
    /// session.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a field of the request, or a door"
    )]
    pub(crate) fn step(
        &mut self,
        now: Instant,
        (session, epoch): (i32, i32),
        by_id: bool,
        count: usize,
        wanted: impl Iterator<Item = (TopicKey, Wanted)>,
        forgotten: impl Iterator<Item = (TopicKey, i32)>,
        locate: &impl Locate,
        random: impl FnMut() -> u64,
    ) -> Result<Step, ErrorCode> {
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            if session != 0 {
                self.remove(session);
            }
            let is_new = epoch == INITIAL_EPOCH && count > 0 && self.has_room(now, count);
            return Ok(if is_new {
                Step::Turn(self.open(now, by_id, wanted, locate, random))
            } else {
                Step::Sessionless
            });
        }
        let Some(known) = self.by_number.get_mut(&session) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        if known.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if known.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        known.epoch = next_epoch(epoch);
        known.used = now;
        let before = known.slots.len();
        known.find_lost(locate);
        for (topic, one) in wanted {
            known.want(topic, one, locate);
        }
        for (topic, partition) in forgotten {
            known.forget(topic, partition);
        }
        self.partitions = self.partitions - before + known.slots.len();
        if known.slots.is_empty() {
            self.remove(session);
            return Ok(Step::Ended);
        }
        let turn = known.turn(session, epoch);
        Ok(Step::Turn(turn))
    }

    /// The session of a turn, if nobody else asked meanwhile.
    pub(crate) fn resume(&mut self, turn: &Turn) -> Result<&mut Session, ErrorCode> {
        let session = self.by_number.get_mut(&turn.session);
        match session.filter(|session| session.watch == turn.watch) {
            None => Err(ErrorCode::FetchSessionIdNotFound),
            Some(session) if session.epoch != turn.epoch => {
                Err(ErrorCode::InvalidFetchSessionEpoch)
            }
            Some(session) => Ok(session),
        }
    }

    /// An owner to be told that a session is over, and its number to it.
    pub(crate) fn over(&mut self) -> Option<(usize, u64)> {
        self.over.pop()
    }

    fn has_room(&mut self, now: Instant, count: usize) -> bool {
        (self.by_number.len() < self.slots || self.evict(now))
            && self.partitions + count <= PARTITIONS_MAX
    }

    fn open(
        &mut self,
        now: Instant,
        by_id: bool,
        wanted: impl Iterator<Item = (TopicKey, Wanted)>,
        locate: &impl Locate,
        mut random: impl FnMut() -> u64,
    ) -> Turn {
        let number = loop {
            let number = i32::try_from(random() & 0x7fff_ffff).expect("31 bits");
            if number != 0 && !self.by_number.contains_key(&number) {
                break number;
            }
        };
        self.watches += 1;
        let mut session = Session {
            epoch: 1,
            by_id,
            used: now,
            watch: self.watches,
            wanted: Vec::new(),
            vacant: Vec::new(),
            slots: Map::default(),
            lost: Vec::new(),
            owners: SmallVec::new(),
        };
        for (topic, one) in wanted {
            session.want(topic, one, locate);
        }
        self.partitions += session.slots.len();
        let turn = session.turn(number, INITIAL_EPOCH);
        self.by_number.insert(number, session);
        turn
    }

    fn evict(&mut self, now: Instant) -> bool {
        let oldest = self
            .by_number
            .iter()
            .min_by_key(|(_, session)| session.used);
        let Some((&number, session)) = oldest else {
            return false;
        };
        if session.used + EVICTION_AGE > now {
            return false;
        }
        self.remove(number);
        true
    }

    fn remove(&mut self, number: i32) {
        if let Some(session) = self.by_number.remove(&number) {
            self.partitions -= session.slots.len();
            let owners = session.owners.iter().map(|one| (one.owner, session.watch));
            self.over.extend(owners);
        }
    }
}

impl Session {
    /// The topic and number of the partition in a slot.
    pub(crate) fn name(&self, slot: u32) -> (&TopicKey, i32) {
        let slot = &self.wanted[index(slot)];
        (&slot.topic, slot.wanted.partition)
    }

    /// The slot of a place that an owner answers for.
    pub(crate) fn slot(&self, owner: usize, place: u32) -> Option<u32> {
        let owned = self.owners.iter().find(|one| one.owner == owner)?;
        let slot = owned.places.get(index(place))?;
        (*slot != VACANT).then_some(*slot)
    }

    /// The owner does not know the partition: it is looked up anew next time.
    pub(crate) fn lose(&mut self, slot: u32, error: ErrorCode) {
        self.release(slot);
        self.list(slot, error);
    }

    /// Slots of partitions that nobody owns, and why.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (u32, ErrorCode)> {
        self.lost
            .iter()
            .filter_map(|slot| match self.wanted[index(*slot)].at {
                At::Lost(error) => Some((*slot, error)),
                At::Nowhere | At::Owned { .. } => None,
            })
    }

    fn turn(&mut self, session: i32, epoch: i32) -> Turn {
        let ask = |one: &mut Owned| Ask {
            owner: one.owner,
            changes: std::mem::take(&mut one.changes),
        };
        Turn {
            session,
            is_first: epoch == INITIAL_EPOCH,
            epoch: self.epoch,
            watch: self.watch,
            asks: self
                .owners
                .iter_mut()
                .filter(|one| one.places.len() > one.vacant.len())
                .map(ask)
                .collect(),
        }
    }

    fn want(&mut self, topic: TopicKey, wanted: Wanted, locate: &impl Locate) {
        let key = (topic, wanted.partition);
        let Some(&slot) = self.slots.get(&key) else {
            let one = Slot {
                topic: key.0.clone(),
                wanted,
                at: At::Nowhere,
                is_listed: false,
            };
            let slot = if let Some(slot) = self.vacant.pop() {
                let is_listed = self.wanted[index(slot)].is_listed;
                self.wanted[index(slot)] = Slot { is_listed, ..one };
                slot
            } else {
                self.wanted.push(one);
                number(self.wanted.len() - 1)
            };
            self.slots.insert(key, slot);
            self.find(slot, locate);
            return;
        };
        let known = &mut self.wanted[index(slot)];
        known.wanted = wanted;
        if let At::Owned {
            topic_id,
            owner,
            place,
        } = known.at
        {
            let change = Change::Set(place, wanted.of(topic_id));
            self.owners[owner].changes.push(change);
        }
    }

    fn forget(&mut self, topic: TopicKey, partition: i32) {
        if let Some(slot) = self.slots.remove(&(topic, partition)) {
            self.release(slot);
            self.vacant.push(slot);
        }
    }

    /// Looks up again what nobody owned.
    fn find_lost(&mut self, locate: &impl Locate) {
        for slot in std::mem::take(&mut self.lost) {
            let one = &mut self.wanted[index(slot)];
            one.is_listed = false;
            if matches!(one.at, At::Lost(_)) {
                self.find(slot, locate);
            }
        }
    }

    /// Gives a slot its place at the owner of its partition.
    fn find(&mut self, slot: u32, locate: &impl Locate) {
        let one = &self.wanted[index(slot)];
        let (topic_id, shard) = match locate.locate(&one.topic, one.wanted.partition) {
            Ok(found) => found,
            Err(error) => return self.list(slot, error),
        };
        let known = self.owners.iter().position(|one| one.owner == shard);
        let owner = known.unwrap_or_else(|| {
            self.owners.push(Owned {
                owner: shard,
                places: Vec::new(),
                vacant: Vec::new(),
                changes: Vec::new(),
            });
            self.owners.len() - 1
        });
        let owned = &mut self.owners[owner];
        let place = owned.vacant.pop().unwrap_or_else(|| {
            owned.places.push(VACANT);
            number(owned.places.len() - 1)
        });
        owned.places[index(place)] = slot;
        let one = &mut self.wanted[index(slot)];
        one.at = At::Owned {
            topic_id,
            owner,
            place,
        };
        let change = Change::Set(place, one.wanted.of(topic_id));
        owned.changes.push(change);
    }

    /// Takes a slot's place at its owner away.
    fn release(&mut self, slot: u32) {
        let at = std::mem::replace(&mut self.wanted[index(slot)].at, At::Nowhere);
        if let At::Owned { owner, place, .. } = at {
            let owned = &mut self.owners[owner];
            owned.places[index(place)] = VACANT;
            owned.vacant.push(place);
            owned.changes.push(Change::Drop(place));
        }
    }

    fn list(&mut self, slot: u32, error: ErrorCode) {
        let one = &mut self.wanted[index(slot)];
        one.at = At::Lost(error);
        if !std::mem::replace(&mut one.is_listed, true) {
            self.lost.push(slot);
        }
    }
}

/// No slot.
const VACANT: u32 = u32::MAX;

fn number(slot: usize) -> u32 {
    u32::try_from(slot).expect("so many partitions would be 300 GB of session")
}

fn index(slot: u32) -> usize {
    slot as usize
}

/// Epochs wrap around past the largest to 1: 0 begins a session.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests;
