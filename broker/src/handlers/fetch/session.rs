//! Incremental fetch sessions (KIP-227): what a client asked before need not be asked again.
//!
//! Owns: the sessions of one shard, their eviction.
//! Lives on: the connection's shard. A client that comes back on another shard is told that its
//! session is unknown and begins a new one, as after a broker restart.
//! Invariants:
//! 1. A session's epoch is the number of the request it expects next; 0 is never expected.
//! 2. A session speaks names (up to v12) or ids (v13 on) for its whole life.
//! 3. At most `slots` sessions and `PARTITIONS_MAX` partitions over all of them are kept.
//!
//! Not here: reading (`partition/read.rs`), the response (`handlers/fetch.rs`).

use std::sync::Arc;

use corelog_net::wire::ErrorCode;
use corelog_runtime::{Instant, Map};
use corelog_storage::types::{LeaderEpoch, Offset, TopicId};

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
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) offset: Offset,
    pub(crate) current_leader_epoch: LeaderEpoch,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) size_max: usize,
    /// What the last response said of it: high watermark and log start offset.
    told: (i64, i64),
    /// Where its session keeps it, as far as it knows.
    slot: usize,
}

impl Wanted {
    pub(crate) fn new(
        topic: TopicKey,
        partition: i32,
        offset: Offset,
        current_leader_epoch: LeaderEpoch,
        last_fetched_epoch: LeaderEpoch,
        size_max: usize,
    ) -> Self {
        Self {
            topic,
            partition,
            offset,
            current_leader_epoch,
            last_fetched_epoch,
            size_max,
            told: (-1, -1),
            slot: usize::MAX,
        }
    }
}

struct Session {
    epoch: i32,
    by_id: bool,
    used: Instant,
    /// In the order in which they came; each knows its slot.
    wanted: Vec<Wanted>,
    /// Slots in the order in which they are served; those that got data move to the end, so that one busy
    /// partition cannot starve the rest under the response limit. They are moved with every fetch that brings
    /// something, so this is all that moves: partitions of a large session stay where they are.
    order: Vec<u32>,
    slots: Map<(TopicKey, i32), usize>,
}

/// What a fetch request turned into.
pub(crate) struct Resolved {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) kind: Kind,
}

/// How its response is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Every partition is answered; no session.
    Sessionless,
    /// Every partition is answered; the client learns its new session.
    Full { session: i32 },
    /// Only partitions with news are answered.
    Incremental { session: i32 },
}

impl Kind {
    pub(crate) fn session(self) -> i32 {
        match self {
            Self::Sessionless => 0,
            Self::Full { session } | Self::Incremental { session } => session,
        }
    }
}

/// The sessions of one shard.
pub(crate) struct Sessions {
    slots: usize,
    partitions: usize,
    by_number: Map<i32, Session>,
}

impl Sessions {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots,
            partitions: 0,
            by_number: Map::default(),
        }
    }

    /// How many sessions there are, and how many partitions in them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.by_number.len(), self.partitions)
    }

    /// Finds out what a request with `session` and `epoch` asks for. `random` numbers a new session.
    pub(crate) fn resolve(
        &mut self,
        now: Instant,
        (session, epoch): (i32, i32),
        by_id: bool,
        wanted: Vec<Wanted>,
        forgotten: impl Iterator<Item = (TopicKey, i32)>,
        random: impl FnMut() -> u64,
    ) -> Result<Resolved, ErrorCode> {
        if epoch == FINAL_EPOCH || epoch == INITIAL_EPOCH {
            if session != 0 {
                self.remove(session);
            }
            let kind = if epoch == FINAL_EPOCH || wanted.is_empty() {
                Kind::Sessionless
            } else {
                self.open(now, by_id, &wanted, random)
            };
            return Ok(Resolved { wanted, kind });
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
        let before = known.wanted.len();
        for one in wanted {
            known.want(one);
        }
        known.forget(forgotten);
        self.partitions = self.partitions - before + known.wanted.len();
        if known.wanted.is_empty() {
            self.remove(session);
            return Ok(Resolved {
                wanted: Vec::new(),
                kind: Kind::Sessionless,
            });
        }
        Ok(Resolved {
            wanted: known.in_order(),
            kind: Kind::Incremental { session },
        })
    }

    /// Says whether a partition's answer is news to the client of an incremental session, and keeps
    /// what it is told. `data`: records or an error go with it.
    pub(crate) fn tell(
        &mut self,
        session: i32,
        one: &Wanted,
        high_watermark: i64,
        log_start_offset: i64,
        data: bool,
    ) -> bool {
        let Some(known) = self.by_number.get_mut(&session) else {
            return true;
        };
        let Some(slot) = known.slot_of(one) else {
            return true;
        };
        let told = (high_watermark, log_start_offset);
        let news = known.wanted[slot].told != told;
        known.wanted[slot].told = told;
        news || data
    }

    /// Serves the partitions that got data last, the next time.
    pub(crate) fn rotate(&mut self, session: i32, served: &[(TopicKey, i32)]) {
        let Some(known) = self.by_number.get_mut(&session) else {
            return;
        };
        if served.is_empty() || served.len() == known.wanted.len() {
            return;
        }
        let mut is_served = vec![false; known.wanted.len()];
        for slot in served.iter().filter_map(|key| known.slots.get(key)) {
            is_served[*slot] = true;
        }
        let mut last = Vec::with_capacity(served.len());
        known.order.retain(|slot| {
            let stays = !is_served[index(*slot)];
            if !stays {
                last.push(*slot);
            }
            stays
        });
        known.order.append(&mut last);
    }

    fn open(
        &mut self,
        now: Instant,
        by_id: bool,
        wanted: &[Wanted],
        mut random: impl FnMut() -> u64,
    ) -> Kind {
        if self.by_number.len() >= self.slots && !self.evict(now)
            || self.partitions + wanted.len() > PARTITIONS_MAX
        {
            return Kind::Sessionless;
        }
        let number = loop {
            let number = i32::try_from(random() & 0x7fff_ffff).expect("31 bits");
            if number != 0 && !self.by_number.contains_key(&number) {
                break number;
            }
        };
        let mut session = Session {
            epoch: 1,
            by_id,
            used: now,
            wanted: Vec::new(),
            order: Vec::new(),
            slots: Map::default(),
        };
        for one in wanted {
            session.want(one.clone());
        }
        self.partitions += session.wanted.len();
        self.by_number.insert(number, session);
        Kind::Full { session: number }
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
            self.partitions -= session.wanted.len();
        }
    }
}

impl Session {
    fn want(&mut self, one: Wanted) {
        let key = (one.topic.clone(), one.partition);
        if let Some(&slot) = self.slots.get(&key) {
            let told = self.wanted[slot].told;
            self.wanted[slot] = Wanted { told, slot, ..one };
        } else {
            let slot = self.wanted.len();
            self.slots.insert(key, slot);
            self.order.push(number(slot));
            self.wanted.push(Wanted { slot, ..one });
        }
    }

    fn in_order(&self) -> Vec<Wanted> {
        let wanted = |slot: &u32| self.wanted[index(*slot)].clone();
        self.order.iter().map(wanted).collect()
    }

    /// Where a partition is now: mostly where it was when it was asked for.
    fn slot_of(&self, one: &Wanted) -> Option<usize> {
        let is_there = self
            .wanted
            .get(one.slot)
            .is_some_and(|found| found.partition == one.partition && found.topic == one.topic);
        if is_there {
            return Some(one.slot);
        }
        let key = (one.topic.clone(), one.partition);
        self.slots.get(&key).copied()
    }

    fn forget(&mut self, forgotten: impl Iterator<Item = (TopicKey, i32)>) {
        let mut is_gone = vec![false; self.wanted.len()];
        let mut any = false;
        for slot in forgotten.filter_map(|key| self.slots.remove(&key)) {
            is_gone[slot] = true;
            any = true;
        }
        if !any {
            return;
        }
        // Slots close up: what is left begins anew, in the order in which it is served.
        let mut before = std::mem::take(&mut self.wanted)
            .into_iter()
            .map(Some)
            .collect::<Vec<_>>();
        let order = std::mem::take(&mut self.order);
        self.slots.clear();
        for slot in order.into_iter().map(index).filter(|slot| !is_gone[*slot]) {
            if let Some(one) = before[slot].take() {
                self.want(one);
            }
        }
    }
}

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
