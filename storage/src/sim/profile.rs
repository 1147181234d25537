//! What kind of run a seed is: the topic's settings, the disk's nature, what happens how often.
//!
//! **Owns** the ranges everything is drawn from.
//! **Lives on** the thread that runs a simulation.
//! **Invariants** 1. The same seed has the same profile. 2. Not every run has every trouble: a third of the disks are good,
//! so that a loss under power cuts alone is seen as one.
//! **Not here** what an event does (`sim::world`).

use std::sync::Arc;

use super::event::Event;
use crate::disk::sim::{Chances, NameOrder, Random};
use crate::log::LogSettings;

/// How the high watermark moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watermark {
    /// With what is written, as on a single node.
    Written,
    /// With what is appended.
    Appended,
    /// Now and then, as with slow followers: what lies above may be cut off.
    Lagging,
}

/// See the module's words.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a trait that a run has or has not, whatever the others are"
)]
pub(super) struct Profile {
    pub settings: Arc<LogSettings>,
    pub chances: Chances,
    pub sector: usize,
    pub order: NameOrder,
    pub watermark: Watermark,
    /// Whether the disk is full now and then.
    pub full: bool,
    /// Chance in 100 that a plan is carried out or confirmed later.
    pub late: u64,
    /// Chance in 100 that the machine ends inside an operation.
    pub fuse: u64,
    pub buggify: bool,
    /// Whether leaders write with transactions here.
    pub transactions: bool,
    /// Whether the topic is compacted.
    pub compact: bool,
    /// Weight of each event, in the order of [`Event::ALL`].
    pub weights: Vec<u64>,
}

impl Profile {
    pub(super) fn draw(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x0070_726F_6669_6C65);
        let r = &mut random;
        let compact = r.one_in(4);
        let bytes = r.pick(&[None, Some(6 << 10), Some(30 << 10)]);
        let ms = r.pick(&[None, None, Some(150)]);
        let settings = Arc::new(LogSettings {
            segment_bytes: r.pick(&[2 << 10, 4 << 10, 8 << 10, 40 << 10]),
            segment_index_bytes: r.pick(&[10 << 20, 10 << 20, 240]),
            index_interval_bytes: r.pick(&[0, 200, 1000]),
            segment_ms: r.pick(&[50, 100_000, 100_000]),
            segment_jitter_ms: r.pick(&[0, 0, 20]),
            retention_ms: ms.filter(|_| !compact),
            retention_bytes: bytes.filter(|_| !compact),
            ..LogSettings::default()
        });
        let good = r.one_in(3);
        let mut chance = |most: &[u32]| {
            if good || r.one_in(2) { 0 } else { r.pick(most) }
        };
        let chances = Chances {
            read: chance(&[2, 10]),
            write: chance(&[5, 30]),
            sync: chance(&[20, 100]),
            names: chance(&[5, 20]),
            short: 0,
            write_back: 0,
            write_back_fails: chance(&[5, 30]),
            commit: 0,
            forget: chance(&[10, 100]),
        };
        let chances = Chances {
            short: r.pick(&[0, 100, 2000]),
            write_back: r.pick(&[0, 50, 1000]),
            commit: r.pick(&[0, 100, 1000]),
            ..chances
        };
        let (full, moves) = (r.one_in(3), r.one_in(3));
        let swarm = |r: &mut Random, event: Event| {
            // Every run leaves some things out: then others get further.
            let often = r.pick(&[0, 1, 3, 3, 3, 6]);
            let often = if event.is_needed() {
                often.max(1)
            } else {
                often
            };
            match event {
                Event::Fill if !full => 0,
                Event::Move if !moves => 0,
                // With each all that was reached before is gone.
                Event::StartAnew if !r.one_in(4) => 0,
                Event::Compact if compact => event.weight() * often.max(1) * 3,
                _ => event.weight() * often,
            }
        };
        Self {
            settings,
            chances,
            sector: r.pick(&[512, 512, 4096]),
            order: r.pick(&[
                NameOrder::Journal,
                NameOrder::Journal,
                NameOrder::PerDirectory,
            ]),
            watermark: r.pick(&[
                Watermark::Written,
                Watermark::Written,
                Watermark::Appended,
                Watermark::Lagging,
            ]),
            full,
            late: r.pick(&[0, 10, 60]),
            fuse: r.pick(&[0, 5, 30]),
            buggify: r.one_in(2),
            transactions: r.one_in(2),
            compact,
            weights: Event::ALL.iter().map(|event| swarm(r, *event)).collect(),
        }
    }

    /// One line about what is unusual.
    pub(super) fn summary(&self) -> String {
        let s = &self.settings;
        format!(
            "segment={} index_interval={} segment_ms={} retention={:?}/{:?} sector={} names={:?} late={} fuse={} \
             buggify={} transactions={} compact={} full={} watermark={:?} {:?}",
            s.segment_bytes,
            s.index_interval_bytes,
            s.segment_ms,
            s.retention_bytes,
            s.retention_ms,
            self.sector,
            self.order,
            self.late,
            self.fuse,
            self.buggify,
            self.transactions,
            self.compact,
            self.full,
            self.watermark,
            self.chances
        )
    }
}
