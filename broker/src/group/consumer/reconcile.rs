//! One step of a member towards its target: give back first, then take what is free.
//!
//! Owns the rules of reconciliation.
//! Lives nowhere: a pure function.
//! Invariants:
//! 1. A member is given only partitions that nobody else holds.
//! 2. A member that must give something back stays in its epoch until it says that it has.
//!
//! Not here: who decides the target (`assignor`), what is written (`heartbeat`).

use corelog_net::wire::Uuid;

use super::member::{Held, Member, MemberState, Partitions};

/// What a member is reconciled with.
pub(super) struct Target<'a> {
    /// The epoch of the assignment.
    pub(super) epoch: i32,
    /// The member's part of it.
    pub(super) partitions: &'a Partitions,
    /// Whether the member is subscribed to the topic.
    pub(super) subscribed: &'a dyn Fn(Uuid) -> bool,
    /// Whether nobody holds the partition.
    pub(super) free: &'a dyn Fn(Uuid, i32) -> bool,
    /// What the member says it has; `None`: it does not say.
    pub(super) owned: Option<&'a [(Uuid, Vec<i32>)]>,
}

/// Whether the member has just changed what it wants: then it loses at once what it does not want any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    Kept,
    Changed,
}

/// A state that this broker does not know; the member must begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownState;

/// The member after its next step; `None`: it stays as it is.
pub(super) fn step(
    member: &Member,
    target: &Target<'_>,
    subscription: Subscription,
) -> Result<Option<Member>, UnknownState> {
    let next = match member.state {
        MemberState::Stable if member.epoch != target.epoch => {
            advance(member, target, member.epoch)
        }
        MemberState::Stable if subscription == Subscription::Changed => {
            drop_unwanted(member, target)
        }
        MemberState::Stable => return Ok(None),
        MemberState::UnrevokedPartitions if target.still_owns(&member.revoking) => {
            if subscription == Subscription::Kept {
                return Ok(None);
            }
            drop_unwanted(member, target)
        }
        MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
            advance(member, target, member.epoch)
        }
        MemberState::Unknown if target.owned.is_some_and(<[_]>::is_empty) => {
            advance(member, target, target.epoch)
        }
        MemberState::Unknown => return Err(UnknownState),
    };
    Ok(Some(next).filter(|next| !next.holds_the_same(member)))
}

impl Target<'_> {
    /// Whether the member has, for all we know, some of what it must give back.
    fn still_owns(&self, revoking: &Held) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        owned.iter().any(|(topic, partitions)| {
            let revoking = revoking.get(topic);
            partitions
                .iter()
                .any(|partition| revoking.is_some_and(|held| held.contains_key(partition)))
        })
    }
}

/// The full comparison with the target.
fn advance(member: &Member, target: &Target<'_>, epoch: i32) -> Member {
    let (mut keeps, mut revokes) = (Held::new(), Held::new());
    let wanted = |topic: Uuid| {
        let partitions = target.partitions.get(&topic)?;
        (target.subscribed)(topic).then_some(partitions.as_slice())
    };
    for (&topic, held) in &member.assigned {
        let wanted = wanted(topic).unwrap_or_default();
        for (&partition, &since) in held {
            let into = if wanted.binary_search(&partition).is_ok() {
                &mut keeps
            } else {
                &mut revokes
            };
            put(into, topic, partition, since);
        }
    }
    if !revokes.is_empty() && target.still_owns(&revokes) {
        let mut next = member.clone();
        next.state = MemberState::UnrevokedPartitions;
        next.set_epoch(epoch);
        (next.assigned, next.revoking) = (keeps, revokes);
        return next;
    }
    let mut waits = false;
    for (&topic, partitions) in target.partitions {
        if !(target.subscribed)(topic) {
            continue;
        }
        for &partition in partitions {
            if keeps
                .get(&topic)
                .is_some_and(|held| held.contains_key(&partition))
            {
                continue;
            }
            // What the member itself is giving back is free for it.
            let its_own = |held: &Held| {
                held.get(&topic)
                    .is_some_and(|held| held.contains_key(&partition))
            };
            if (target.free)(topic, partition) || its_own(&member.revoking) {
                put(&mut keeps, topic, partition, target.epoch);
            } else {
                waits = true;
            }
        }
    }
    let mut next = member.clone();
    next.state = if waits {
        MemberState::UnreleasedPartitions
    } else {
        MemberState::Stable
    };
    next.set_epoch(target.epoch);
    (next.assigned, next.revoking) = (keeps, Held::new());
    next
}

/// Takes away the topics that the member no longer wants.
fn drop_unwanted(member: &Member, target: &Target<'_>) -> Member {
    let mut next = member.clone();
    let mut dropped = false;
    for (&topic, held) in &member.assigned {
        if !(target.subscribed)(topic) {
            dropped = true;
            next.assigned.remove(&topic);
            next.revoking.entry(topic).or_default().extend(held);
        }
    }
    if !dropped {
        return next;
    }
    if target.still_owns(&next.revoking) {
        next.state = MemberState::UnrevokedPartitions;
    } else {
        next.revoking.clone_from(&member.revoking);
    }
    next.set_epoch(member.epoch);
    next
}

fn put(held: &mut Held, topic: Uuid, partition: i32, since: i32) {
    held.entry(topic).or_default().insert(partition, since);
}
