//! Which segments have outlived their time, their size, or the log's start.
//!
//! **Owns** Kafka's three rules of deletion. **Lives on** the owning shard: a pure decision over what is known of segments.
//! **Invariants** 1. Only whole segments go, oldest first, without a gap. 2. A segment with data above the high watermark
//! stays. 3. The active segment stays, unless it is full of expired data: then the log rolls first.
//! **Not here** the file work (`log::change`), compaction.

use crate::log::LogSettings;
use crate::segment::Segment;
use crate::types::{Offset, Timestamp};

/// Why segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `retention.ms`.
    Time,
    /// `retention.bytes`.
    Size,
    /// Below the log start offset (`DeleteRecords`).
    LogStart,
}

/// How many of the oldest segments are to go, and why. The count may include the active segment, the last: then the
/// log must roll before.
pub(crate) fn due(
    segments: &[Segment],
    settings: &LogSettings,
    start: Offset,
    high_watermark: Offset,
    end: Offset,
    now: Timestamp,
) -> Option<(usize, Reason)> {
    let ends = |at: usize| segments.get(at + 1).map_or(end, |following| following.base);
    let below_start = (0..segments.len() - 1)
        .take_while(|at| ends(*at) <= start)
        .count();
    let mut best = (below_start, Reason::LogStart);
    if settings.delete {
        if let Some(retention_ms) = settings.retention_ms {
            let expired = (0..segments.len())
                .take_while(|at| {
                    let segment = &segments[*at];
                    let age = now.0.saturating_sub(segment.retention_timestamp().0);
                    // An empty active segment has nothing to expire; a sealed one, emptied by compaction, may go.
                    let nothing = segment.size == 0 && *at + 1 == segments.len();
                    age > retention_ms && ends(*at) <= high_watermark && !nothing
                })
                .count();
            if expired > best.0 {
                best = (expired, Reason::Time);
            }
        }
        if let Some(retention_bytes) = settings.retention_bytes {
            let total: u64 = segments.iter().map(|segment| segment.size).sum();
            let mut surplus = total.saturating_sub(retention_bytes);
            let mut count = 0;
            for (at, segment) in segments[..segments.len() - 1].iter().enumerate() {
                if segment.size > surplus || ends(at) > high_watermark {
                    break;
                }
                surplus -= segment.size;
                count += 1;
            }
            if count > best.0 {
                best = (count, Reason::Size);
            }
        }
    }
    (best.0 > 0).then_some(best)
}

#[cfg(test)]
mod tests;
