//! How records are written in each log directory: by measurement, or as the settings say.
//!
//! Owns: the probe of a directory's file system, and what is concluded from it.
//! Lives on: the main thread at start, before there is any shard.
//! Invariants:
//! 1. The probe's file has no name left when the probe ends, unless the process ends in it.
//!
//! Not here: the measuring (`corelog_runtime::probe_writes`, `probe_direct`), the writing (`shard/flush.rs`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use corelog_runtime::{Backend, File, Runtime, WriteCost, probe_direct, probe_writes};
use corelog_storage::disk::{LogDir, Mode};

use super::directories::Directories;
use crate::config::broker::{BrokerConfig, WriteWay, Writes};

/// The ways of every directory, in their order. Says in the log what was found. What is offline is not asked.
pub(super) fn choose(
    config: &BrokerConfig,
    directories: &Directories,
    runtime: &corelog_runtime::Config,
) -> Arc<[Writes]> {
    let set = |small| Writes {
        small,
        direct: config.io_direct == Some(true),
    };
    let one = |(directory, offline): (&LogDir, &Option<String>)| {
        if offline.is_some() {
            return set(WriteWay::Inline);
        }
        let root = directory.root().display();
        if let (Some(small), Some(direct)) = (config.io_write, config.io_direct) {
            tracing::info!(
                "log directory {root} writes={small} direct={direct} as the settings say"
            );
            return set(small);
        }
        match probe(directory, runtime) {
            Ok(None) => {
                let small = config.io_write.unwrap_or(WriteWay::Inline);
                tracing::info!("log directory {root} writes={small}: there is no ring");
                set(small)
            }
            Ok(Some(found)) => {
                let writes = Writes {
                    small: config.io_write.unwrap_or_else(|| way(found.cost)),
                    direct: config.io_direct.unwrap_or_else(|| is_fast(found.direct)),
                };
                tracing::info!(
                    "log directory {root} writes={} direct={} 64 KiB cost inline_ns={} ring_ns={} 1 MiB direct_us={}",
                    writes.small,
                    writes.direct,
                    found.cost.inline_ns,
                    found.cost.driver_ns,
                    found
                        .direct
                        .map_or(-1, |took| i64::try_from(took.as_micros())
                            .unwrap_or(i64::MAX)),
                );
                writes
            }
            Err(error) => {
                let small = config.io_write.unwrap_or(WriteWay::Inline);
                tracing::warn!("log directory {root} writes={small}: the probe failed: {error}");
                set(small)
            }
        }
    };
    directories
        .all
        .iter()
        .zip(directories.offline.iter())
        .map(one)
        .collect()
}

/// What a probe measured.
struct Found {
    cost: WriteCost,
    direct: Option<Duration>,
}

/// Past the page cache where the disk keeps up with producers: on a slower one they would wait for what the page cache takes
/// in at once.
fn is_fast(direct: Option<Duration>) -> bool {
    direct.is_some_and(|took| took <= DIRECT_MEBIBYTE_MAX)
}

/// The ring where it costs no more: there a write that must wait for the disk (too much is dirty)
/// is the kernel's and does not hold the shard up.
fn way(cost: WriteCost) -> WriteWay {
    if cost.driver_ns.saturating_mul(100) <= cost.inline_ns.saturating_mul(RING_PERCENT_MAX) {
        WriteWay::Ring
    } else {
        WriteWay::Inline
    }
}

/// `None` when the runtime has no ring: its helper threads are never cheaper.
fn probe(directory: &LogDir, config: &corelog_runtime::Config) -> io::Result<Option<Found>> {
    let runtime = Runtime::new(config).map_err(io::Error::other)?;
    if runtime.backend() != Backend::Ring {
        return Ok(None);
    }
    let file = directory
        .open_file(PROBE, Mode::Replace)
        .map_err(|error| io::Error::other(error.to_string()))?;
    directory
        .remove_file(PROBE)
        .map_err(|error| io::Error::other(error.to_string()))?;
    let file = File::from_fd(file.descriptor());
    runtime.run(async move {
        let cost = probe_writes(&file).await?;
        let direct = probe_direct(&file).await;
        Ok(Some(Found { cost, direct }))
    })
}

/// Neither Kafka nor this broker takes a plain file of another name for anything.
const PROBE: &str = ".corelog-probe";
/// 250 MB/s.
const DIRECT_MEBIBYTE_MAX: Duration = Duration::from_millis(4);
/// Within the spread of the measurement.
const RING_PERCENT_MAX: u64 = 115;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_taken_where_it_costs_no_more() {
        for (inline_ns, driver_ns, expected) in [
            (1000, 900, WriteWay::Ring),
            (1000, 1150, WriteWay::Ring),
            (1000, 1151, WriteWay::Inline),
            (1000, 2500, WriteWay::Inline),
        ] {
            let cost = WriteCost {
                inline_ns,
                driver_ns,
            };
            assert_eq!(way(cost), expected, "{cost:?}");
        }
    }

    #[test]
    fn a_slow_disk_is_written_by_way_of_the_page_cache() {
        assert!(is_fast(Some(Duration::from_millis(1))));
        assert!(!is_fast(Some(Duration::from_millis(9))));
        assert!(!is_fast(None));
    }
}
