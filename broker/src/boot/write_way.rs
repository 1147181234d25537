//! How records are written in each log directory: by measurement, or as the settings say.
//!
//! Owns: the probe of a directory's file system, and what is concluded from it.
//! Lives on: the main thread at start, before there is any shard.
//! Invariants:
//! 1. The probe's file has no name left when the probe ends, unless the process ends in it.
//!
//! Not here: the measuring (`corelog_runtime::probe_writes`), the writing (`shard/flush.rs`).

use std::io;
use std::sync::Arc;

use corelog_runtime::{Backend, File, Runtime, WriteCost, probe_writes};
use corelog_storage::disk::{LogDir, Mode};

use super::directories::Directories;
use crate::config::broker::WriteWay;

/// The way of every directory, in their order. Says in the log what was found. What is offline is not asked.
pub(super) fn choose(
    setting: Option<WriteWay>,
    directories: &Directories,
    runtime: &corelog_runtime::Config,
) -> Arc<[WriteWay]> {
    let one = |(directory, offline): (&LogDir, &Option<String>)| {
        if offline.is_some() {
            return WriteWay::Inline;
        }
        let root = directory.root().display();
        if let Some(way) = setting {
            tracing::info!("log directory {root} writes={way} as corelog.io.write says");
            return way;
        }
        match probe(directory, runtime) {
            Ok(None) => {
                tracing::info!("log directory {root} writes=inline: there is no ring");
                WriteWay::Inline
            }
            Ok(Some(cost)) => {
                let way = way(cost);
                tracing::info!(
                    "log directory {root} writes={way} 64 KiB cost inline_ns={} ring_ns={}",
                    cost.inline_ns,
                    cost.driver_ns
                );
                way
            }
            Err(error) => {
                tracing::warn!("log directory {root} writes=inline: the probe failed: {error}");
                WriteWay::Inline
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
fn probe(directory: &LogDir, config: &corelog_runtime::Config) -> io::Result<Option<WriteCost>> {
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
    runtime
        .run(async move { probe_writes(&file).await })
        .map(Some)
}

/// Neither Kafka nor this broker takes a plain file of another name for anything.
const PROBE: &str = ".corelog-probe";
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
}
