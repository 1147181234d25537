//! What a new log directory begins with, as `kafka-storage format` leaves it.
//!
//! Owns: `bootstrap.checkpoint`, and the first snapshot of a quorum whose voters stand in its log.
//! Lives on: the main thread.
//! Invariants:
//! 1. `meta.properties` is written after these: a directory without it is not formatted yet.
//!
//! Not here: `meta.properties` (`directories.rs`), reading these (`metadata_load.rs`).

use anyhow::Context as _;
use bytes::Bytes;
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::voters_record::{Endpoint, KRaftVersionFeature, Voter};
use corelog_storage::disk::LogDir;
use corelog_storage::types::{LeaderEpoch, Timestamp, TopicId};

use super::metadata_log::TOPIC;
use crate::config::BrokerConfig;
use crate::metadata::features::METADATA_VERSION;
use crate::metadata::{Image, MetadataRecord, Quorum, SnapshotId, bootstrap, snapshot};

/// Writes what a directory of any kind begins with.
pub(crate) fn bootstrap(directory: &LogDir) -> anyhow::Result<()> {
    if directory.exists(BOOTSTRAP) {
        return Ok(());
    }
    let bytes = snapshot::write(
        &bootstrap::features(),
        &Quorum::default(),
        METADATA_VERSION,
        LeaderEpoch(0),
        Timestamp(0),
        Timestamp(corelog_runtime::wall_clock()),
    )?;
    directory.replace_file(BOOTSTRAP, &bytes)?;
    Ok(())
}

/// Writes what the directory of the metadata log begins with in a quorum that names its voters.
pub(crate) fn standalone(
    config: &BrokerConfig,
    directory: &LogDir,
    id: TopicId,
) -> anyhow::Result<()> {
    let folder = format!("{TOPIC}-0");
    let path = format!("{folder}/{}", SnapshotId::default().file_name());
    if directory.exists(&path) {
        return Ok(());
    }
    let now = Timestamp(corelog_runtime::wall_clock());
    let image = Image::of(Quorum::standalone(own_voter(config, id)));
    directory.create_dir(&folder)?;
    directory.replace_file(&path, &image.to_snapshot(now, now)?)?;
    Ok(())
}

/// This node as the only voter, with the id of the metadata log's directory.
pub(crate) fn own_voter(config: &BrokerConfig, id: TopicId) -> Voter {
    let endpoints = config.controller_listeners.iter().map(|endpoint| Endpoint {
        name: endpoint.name.clone(),
        host: match endpoint.host.as_str() {
            "" | "0.0.0.0" | "::" => corelog_runtime::limits::host_name(),
            host => host.to_owned(),
        },
        port: endpoint.port,
        ..Endpoint::default()
    });
    Voter {
        voter_id: config.node_id,
        voter_directory_id: Uuid(id.0),
        endpoints: endpoints.collect(),
        kraft_version_feature: KRaftVersionFeature {
            min_supported_version: 0,
            max_supported_version: 1,
            ..KRaftVersionFeature::default()
        },
        ..Voter::default()
    }
}

/// What `format` decided for the first start; `None` when there is no such file.
pub(crate) fn decided(directory: &LogDir) -> anyhow::Result<Option<Vec<MetadataRecord>>> {
    let bytes = match directory.read_file(BOOTSTRAP) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let records = snapshot::bootstrap_records(bytes)
        .with_context(|| format!("{} is damaged", directory.path(BOOTSTRAP).display()))?;
    Ok(Some(records))
}

const BOOTSTRAP: &str = "bootstrap.checkpoint";
