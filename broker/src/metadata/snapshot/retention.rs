//! Which snapshots of the metadata log may go.
//!
//! **Owns** the rule of `metadata.max.retention.bytes` and `metadata.max.retention.ms`.
//! **Lives on** the controller's shard.
//! **Invariants**: the newest snapshot stays; the oldest goes first, and the log begins where the
//! oldest that stays ends.
//! **Not here**: deleting files and segments (`shard/snapshots.rs`).

use corelog_storage::types::Timestamp;

use super::SnapshotId;

/// A snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name.
    pub id: SnapshotId,
    /// Bytes.
    pub size: u64,
    /// When its last record was written, as its header says.
    pub last_timestamp: Option<Timestamp>,
}

/// The limits; `None` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the log and all snapshots together.
    pub bytes: Option<u64>,
    /// Age of the last record of a snapshot.
    pub ms: Option<i64>,
}

/// Whether the oldest of these snapshots, in the order of their ids, is over a limit beside a log of
/// `log_size` bytes.
#[must_use]
pub fn oldest_due(files: &[SnapshotFile], log_size: u64, limits: Limits, now: Timestamp) -> bool {
    let [oldest, _, ..] = files else {
        return false;
    };
    let total = files.iter().map(|file| file.size).sum::<u64>() + log_size;
    let large = limits.bytes.is_some_and(|limit| total > limit);
    let old = limits.ms.zip(oldest.last_timestamp);
    large || old.is_some_and(|(limit, last)| now.0.saturating_sub(last.0) > limit)
}

#[cfg(test)]
mod tests {
    use super::{Limits, SnapshotFile, oldest_due};
    use crate::metadata::SnapshotId;
    use corelog_storage::types::Timestamp;

    fn files() -> Vec<SnapshotFile> {
        let file = |number: i64| SnapshotFile {
            id: SnapshotId {
                end_offset: 100 * number,
                epoch: 1,
            },
            size: 10,
            last_timestamp: Some(Timestamp(1000 * number)),
        };
        (1..=4).map(file).collect()
    }

    fn gone(limits: Limits, log_size: u64, now: i64) -> usize {
        let mut files = files();
        while oldest_due(&files, log_size, limits, Timestamp(now)) {
            files.remove(0);
        }
        4 - files.len()
    }

    #[test]
    fn the_oldest_go_until_the_rest_fits_and_one_always_stays() {
        let gone = |bytes, log_size| {
            let (bytes, ms) = (Some(bytes), None);
            gone(Limits { bytes, ms }, log_size, 0)
        };
        assert_eq!(gone(140, 100), 0);
        assert_eq!(gone(139, 100), 1);
        assert_eq!(gone(129, 100), 2);
        assert_eq!(gone(0, 100), 3);
    }

    #[test]
    fn an_old_snapshot_goes_when_a_newer_one_is_there() {
        let gone = |now| {
            let (bytes, ms) = (None, Some(500));
            gone(Limits { bytes, ms }, 0, now)
        };
        assert_eq!(gone(1500), 0);
        assert_eq!(gone(1501), 1);
        assert_eq!(gone(2501), 2);
        assert_eq!(gone(1_000_000), 3);
    }

    #[test]
    fn without_limits_nothing_goes() {
        let (bytes, ms) = (None, None);
        assert_eq!(gone(Limits { bytes, ms }, u64::MAX / 2, i64::MAX), 0);
    }
}
