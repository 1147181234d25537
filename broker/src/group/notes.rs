//! What operators are told of groups.
//!
//! Owns the sentences of the log.
//! Lives in the effects of a step.
//! Invariants: 1. A note is made where something changes for a member that did not ask for it, or for all; never by a
//! request that changes nothing.
//! Not here: who writes them down (`shard::coordinators`).

use std::fmt;
use std::sync::Arc;

/// One event worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The group.
    pub group: Arc<str>,
    /// What happened.
    pub news: News,
}

/// What happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A member is out: why.
    Removed(Arc<str>, Removal),
    /// Every member of a classic group is known: the generation, how many, and the protocol they chose.
    Generation(i32, usize, Option<Arc<str>>),
}

/// Why a member was taken out without asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// No heartbeat within its session.
    Silent,
    /// It did not join again in time.
    DidNotJoin,
    /// It did not ask for its assignment in time.
    DidNotSync,
    /// It did not give back partitions in time.
    DidNotRevoke,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names are the clients': none of them breaks the line.
        write!(f, "group={} ", self.group.escape_debug())?;
        match &self.news {
            News::Removed(member, why) => {
                write!(f, "member={} is removed: {why}", member.escape_debug())
            }
            News::Generation(generation, members, protocol) => {
                write!(f, "generation={generation} members={members}")?;
                match protocol {
                    Some(protocol) => write!(f, " protocol={}", protocol.escape_debug()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "no heartbeat within its session timeout",
            Self::DidNotJoin => "it did not join the rebalance in time",
            Self::DidNotSync => "it did not ask for its assignment in time",
            Self::DidNotRevoke => "it did not give back its partitions in time",
        })
    }
}
