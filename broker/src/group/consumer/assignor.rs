//! The server-side assignors: who gets which partitions.
//!
//! Owns the assignors' names and their common question.
//! Lives nowhere: pure functions.
//! Invariants:
//! 1. Every partition of a topic that somebody wants goes to exactly one member that wants it.
//! 2. The same question has the same answer.
//!
//! Not here: when it is asked (`heartbeat`). Racks: Kafka's assignors stopped looking at them in 4.0, and so do these.

use std::sync::Arc;

use corelog_net::wire::Uuid;

use super::member::Partitions;

mod range;
#[cfg(test)]
mod tests;
mod uniform;

/// An assignor by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Equal shares of all partitions, and as few moves as that allows.
    Uniform,
    /// Equal shares of each topic, in ranges; the same range of every topic of the same size.
    Range,
}

impl Assignor {
    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of a name, also of the class that Kafka's documentation names.
    pub fn find(name: &str) -> Option<Self> {
        match name.rsplit('.').next()? {
            "uniform" | "UniformAssignor" => Some(Self::Uniform),
            "range" | "RangeAssignor" => Some(Self::Range),
            _ => None,
        }
    }

    pub(super) fn assign(self, topics: &[Topic], members: &[Wish<'_>]) -> Vec<Partitions> {
        match self {
            Self::Uniform => uniform::assign(topics, members),
            Self::Range => range::assign(topics, members),
        }
    }
}

/// A topic that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    pub(super) id: Uuid,
    pub(super) partitions: i32,
}

/// What one member wants and has.
#[derive(Clone, Debug)]
pub(super) struct Wish<'a> {
    pub(super) member_id: &'a str,
    pub(super) instance_id: Option<&'a str>,
    /// Places in the list of topics, ascending.
    pub(super) topics: Arc<[usize]>,
    /// Its target so far.
    pub(super) current: &'a Partitions,
}

/// Whether everybody wants the same.
fn is_homogeneous(members: &[Wish<'_>]) -> bool {
    members.iter().all(|member| {
        Arc::ptr_eq(&member.topics, &members[0].topics) || member.topics == members[0].topics
    })
}
