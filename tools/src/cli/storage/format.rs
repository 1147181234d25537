//! **Owns** `storage format`: what an empty log directory gets, as Kafka's tool writes it.
//! **Lives on** the command's thread, over the disk's door.
//! **Invariants** (1) `meta.properties` is written last: a directory without it is not formatted. (2) The directory of the
//! metadata log is formatted after all others. (3) Nothing is written before everything asked for is found valid.
//! **Not here** how a broker formats its empty directories by itself (`broker`'s boot), levels of releases
//! (`features::levels`).
//!
//! ```text
//! DIR/meta.properties                                  every directory
//! DIR/bootstrap.checkpoint                             every directory: levels of features, SCRAM credentials
//! DIR/__cluster_metadata-0/0…0-0000000000.checkpoint   the metadata directory, when the log names its voters (KIP-853)
//! ```

use std::fmt;

use bytes::Bytes;
use corelog_net::sasl::scram::{ITERATIONS_MIN, Keys, Mechanism, salted_password};
use corelog_net::wire::messages::kraft_version_record::KRaftVersionRecord;
use corelog_net::wire::messages::snapshot_footer_record::SnapshotFooterRecord;
use corelog_net::wire::messages::snapshot_header_record::SnapshotHeaderRecord;
use corelog_net::wire::messages::voters_record::{
    Endpoint, KRaftVersionFeature, Voter, VotersRecord,
};
use corelog_net::wire::records::{FeatureLevelRecord, UserScramCredentialRecord};
use corelog_net::wire::{Message, Record, Uuid};
use corelog_storage::batch::{BatchBuilder, BatchOptions, ControlKey, ControlKind};
use corelog_storage::checkpoint::{MetaProperties, name};
use corelog_storage::disk::LogDir;
use corelog_storage::types::{LeaderEpoch, Offset, Timestamp, TopicId};
use serde_json::json;

use super::super::argparse::Args;
use super::super::client_metrics::random_id;
use super::super::features::levels;
use super::super::properties::Properties;
use super::super::session::{Fault, load};
use super::super::{Out, on_runtime, scram, uuid};
use super::{directories, meta};

/// Runs the subcommand.
pub(super) fn run(args: &Args, out: &mut Out) -> Result<u8, Fault> {
    let properties = load(args.one("config").unwrap_or_default())?;
    let plan = Plan::new(args, &properties)?;
    let done = on_runtime(async move { plan.write() });
    let done = done.map_err(Fault::from)??;
    if args.json() {
        out.document(&done.json());
        return Ok(0);
    }
    if done.formatted.is_empty() {
        out.line("All of the log directories are already formatted.");
        return Ok(0);
    }
    out.line(&format!("Bootstrap metadata: {}", done.shown));
    for (kind, directory, _) in &done.formatted {
        out.line(&format!(
            "Formatting {kind} {directory} with metadata.version {}.",
            done.release
        ));
    }
    Ok(0)
}

/// Everything that is to be written, found valid.
#[derive(Debug)]
struct Plan {
    cluster_id: String,
    node_id: i32,
    /// Not formatted yet; that of the metadata log last.
    empty: Vec<String>,
    metadata_directory: String,
    metadata_version: i16,
    /// Beside `metadata.version`, by name; none is 0.
    features: Vec<(String, i16)>,
    credentials: Vec<Credential>,
    quorum: Quorum,
}

/// Who the metadata log names as voters.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Quorum {
    /// Nobody: the settings do, or others will.
    Unnamed,
    /// This controller alone, at these addresses (name, host, port).
    Standalone(Vec<(String, String, u16)>),
    /// These.
    Initial(Vec<InitialVoter>),
}

/// `ID@HOST:PORT:DIRECTORY`
#[derive(Clone, Debug, PartialEq, Eq)]
struct InitialVoter {
    id: i32,
    host: String,
    port: u16,
    directory: Uuid,
    listener: String,
}

struct Done {
    /// What it is, where, its id.
    formatted: Vec<(&'static str, String, Uuid)>,
    release: String,
    shown: String,
    cluster_id: String,
    node_id: i32,
}

impl Done {
    fn json(&self) -> serde_json::Value {
        let formatted = self.formatted.iter().map(|(kind, directory, id)| {
            json!({"directory": directory, "directoryId": id.to_string(), "kind": kind})
        });
        json!({
            "clusterId": self.cluster_id,
            "nodeId": self.node_id,
            "metadataVersion": self.release,
            "formatted": formatted.collect::<Vec<_>>(),
        })
    }
}

impl Plan {
    fn new(args: &Args, properties: &Properties) -> Result<Self, Fault> {
        let node_id = properties
            .get("node.id")
            .or_else(|| properties.get("broker.id"))
            .ok_or_else(|| "node.id is not set".to_owned())?;
        let node_id: i32 = node_id
            .trim()
            .parse()
            .map_err(|_| format!("node.id={node_id} is not a number"))?;
        let quorum = quorum(args, properties)?;
        let (metadata_version, features) = wanted_features(args, &quorum)?;
        let credentials = args
            .all("add-scram")
            .into_iter()
            .map(Credential::parse)
            .collect::<Result<_, _>>()?;
        let cluster_id = args.one("cluster-id").unwrap_or_default().to_owned();
        let all = directories(properties);
        let metadata_directory = properties
            .get("metadata.log.dir")
            .or_else(|| all.first())
            .ok_or_else(|| "No log directories found in the configuration.".to_owned())?
            .clone();
        let mut empty = Vec::new();
        for directory in all {
            let Some(found) = meta(&directory)? else {
                empty.push(directory);
                continue;
            };
            if found.cluster_id != cluster_id {
                return Err(Fault::from(format!(
                    "Invalid cluster.id in: {directory}/meta.properties. Expected {cluster_id}, but read {}",
                    found.cluster_id
                )));
            }
            if found.node_id != node_id {
                return Err(Fault::from(format!(
                    "Stored node id {} doesn't match previous node id {node_id} in {directory}/meta.properties",
                    found.node_id
                )));
            }
            if !args.has("ignore-formatted") {
                return Err(Fault::from(format!(
                    "Log directory {directory} is already formatted. Use --ignore-formatted to ignore this directory and \
                     format the others."
                )));
            }
        }
        empty.sort_by_key(|directory| *directory == metadata_directory);
        Ok(Self {
            cluster_id,
            node_id,
            empty,
            metadata_directory,
            metadata_version,
            features,
            credentials,
            quorum,
        })
    }

    /// Writes it all.
    fn write(self) -> Result<Done, Fault> {
        let now = Timestamp(corelog_runtime::wall_clock());
        let release = levels::shown("metadata.version", self.metadata_version);
        let credentials: Vec<_> = self.credentials.iter().map(Credential::record).collect();
        let (records, shown) = self.records(&credentials)?;
        let mut formatted = Vec::new();
        for path in &self.empty {
            let fault = |error: &dyn fmt::Display| Fault::from(format!("{path}: {error}"));
            let directory = LogDir::open(path.as_str()).map_err(|error| fault(&error))?;
            // A broker that runs holds it; two must not write.
            let _lock = directory.lock().map_err(|error| fault(&error))?;
            let is_metadata = *path == self.metadata_directory;
            let id = self.directory_id(is_metadata);
            let bootstrap = snapshot(&records, &[], Timestamp(0), now)?;
            directory
                .replace_file(name::BOOTSTRAP, &bootstrap)
                .map_err(|error| fault(&error))?;
            let voters = self.voters(id);
            if let Some(voters) = voters.as_ref().filter(|_| is_metadata) {
                let version = KRaftVersionRecord {
                    kraft_version: 1,
                    ..KRaftVersionRecord::default()
                };
                let more = [
                    (ControlKind::KraftVersion, encoded(&version)?),
                    (ControlKind::KraftVoters, encoded(voters)?),
                ];
                let first = snapshot(&[], &more, now, now)?;
                let folder = "__cluster_metadata-0";
                directory
                    .create_dir(folder)
                    .and_then(|()| {
                        let file = format!("{folder}/{:020}-{:010}.checkpoint", 0, 0);
                        directory.replace_file(&file, &first)
                    })
                    .map_err(|error| fault(&error))?;
            }
            // ORDER: with this file the directory is formatted; all else is there by then.
            directory
                .write_meta_properties(&MetaProperties {
                    cluster_id: self.cluster_id.clone(),
                    node_id: self.node_id,
                    directory_id: Some(TopicId(id.0)),
                    date: None,
                    others: Vec::new(),
                })
                .map_err(|error| fault(&error))?;
            let kind = match (is_metadata, &voters) {
                (false, _) => "data directory",
                (true, None) => "metadata directory",
                (true, Some(voters)) => {
                    if voters
                        .voters
                        .iter()
                        .any(|voter| voter.voter_id == self.node_id)
                    {
                        "dynamic metadata voter directory"
                    } else {
                        "dynamic metadata directory"
                    }
                }
            };
            formatted.push((kind, path.clone(), id));
        }
        Ok(Done {
            formatted,
            release,
            shown,
            cluster_id: self.cluster_id,
            node_id: self.node_id,
        })
    }

    fn directory_id(&self, is_metadata: bool) -> Uuid {
        let own = match &self.quorum {
            Quorum::Initial(voters) if is_metadata => {
                voters.iter().find(|voter| voter.id == self.node_id)
            }
            _ => None,
        };
        own.map_or_else(random_id, |voter| voter.directory)
    }

    fn voters(&self, own: Uuid) -> Option<VotersRecord> {
        let voter = |id: i32, directory: Uuid, endpoints: Vec<Endpoint>| Voter {
            voter_id: id,
            voter_directory_id: directory,
            endpoints,
            kraft_version_feature: KRaftVersionFeature {
                min_supported_version: 0,
                max_supported_version: 1,
                ..KRaftVersionFeature::default()
            },
            ..Voter::default()
        };
        let endpoint = |name: &str, host: &str, port: u16| Endpoint {
            name: name.to_owned(),
            host: host.to_owned(),
            port,
            ..Endpoint::default()
        };
        let voters = match &self.quorum {
            Quorum::Unnamed => return None,
            Quorum::Standalone(listeners) => {
                let endpoints = listeners.iter();
                let endpoints = endpoints.map(|(name, host, port)| endpoint(name, host, *port));
                vec![voter(self.node_id, own, endpoints.collect())]
            }
            Quorum::Initial(voters) => voters
                .iter()
                .map(|one| {
                    let endpoint = endpoint(&one.listener, &one.host, one.port);
                    voter(one.id, one.directory, vec![endpoint])
                })
                .collect(),
        };
        Some(VotersRecord {
            voters,
            ..VotersRecord::default()
        })
    }

    /// The records of the bootstrap file, and how Kafka's tool shows them.
    fn records(
        &self,
        credentials: &[UserScramCredentialRecord],
    ) -> Result<(Vec<Vec<u8>>, String), Fault> {
        let version = ("metadata.version".to_owned(), self.metadata_version);
        let mut records = Vec::new();
        let mut shown = Vec::new();
        for (name, level) in std::iter::once(&version).chain(&self.features) {
            records.push(framed(&FeatureLevelRecord {
                name: name.clone(),
                feature_level: *level,
                ..FeatureLevelRecord::default()
            })?);
            shown.push(format!(
                "ApiMessageAndVersion(FeatureLevelRecord(name='{name}', featureLevel={level}) at version 0)"
            ));
        }
        for credential in credentials {
            records.push(framed(credential)?);
            // What a password is kept as is for nobody's terminal; Kafka's tool shows it.
            shown.push(format!(
                "ApiMessageAndVersion(UserScramCredentialRecord(name='{}', mechanism={}, iterations={}) at version 0)",
                credential.name, credential.mechanism, credential.iterations
            ));
        }
        let shown = format!(
            "BootstrapMetadata(records=[{}], metadataVersionLevel={}, source=format command)",
            shown.join(", "),
            self.metadata_version
        );
        Ok((records, shown))
    }
}

/// A record of the metadata log, version 0, in its frame.
fn framed<R: Record>(record: &R) -> Result<Vec<u8>, Fault> {
    let kind = u8::try_from(R::RECORD_TYPE).map_err(|error| Fault::from(error.to_string()))?;
    // Frame version, type, version: varints of one byte each.
    let mut value = vec![1, kind, 0];
    value.extend(encoded(record)?);
    Ok(value)
}

fn encoded<M: Message>(message: &M) -> Result<Vec<u8>, Fault> {
    message
        .to_vec(0)
        .map_err(|error| Fault::from(error.to_string()))
}

/// A snapshot's bytes: a header with these control records behind it, the records, a footer.
fn snapshot(
    records: &[Vec<u8>],
    control: &[(ControlKind, Vec<u8>)],
    last: Timestamp,
    now: Timestamp,
) -> Result<Vec<u8>, Fault> {
    let header = SnapshotHeaderRecord {
        last_contained_log_timestamp: last.0,
        ..SnapshotHeaderRecord::default()
    };
    let mut first = vec![(ControlKind::SnapshotHeader, encoded(&header)?)];
    first.extend_from_slice(control);
    let footer = encoded(&SnapshotFooterRecord::default())?;
    let last = [(ControlKind::SnapshotFooter, footer)];
    let keyed = |records: &[(ControlKind, Vec<u8>)]| -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
        let key = |kind: ControlKind| ControlKey { version: 0, kind }.encode().to_vec();
        let records = records.iter();
        records
            .map(|(kind, value)| (Some(key(*kind)), value.clone()))
            .collect()
    };
    let plain = records.iter().map(|value| (None, value.clone())).collect();
    let mut out = Vec::new();
    let mut offset = Offset::ZERO;
    for (is_control, batch) in [(true, keyed(&first)), (false, plain), (true, keyed(&last))] {
        if batch.is_empty() {
            continue;
        }
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: offset,
            leader_epoch: LeaderEpoch(0),
            control: is_control,
            ..BatchOptions::default()
        });
        let fault = |error: &dyn fmt::Display| Fault::from(error.to_string());
        for (key, value) in &batch {
            builder
                .append(now, key.as_deref(), Some(value), &[])
                .map_err(|error| fault(&error))?;
        }
        let batch = builder.finish().map_err(|error| fault(&error))?;
        out.extend_from_slice(&batch.to_bytes());
        offset = batch.header().next_offset();
    }
    Ok(out)
}

/// Who is to vote; Kafka's rules about which of the options fit the settings.
fn quorum(args: &Args, properties: &Properties) -> Result<Quorum, Fault> {
    let is_set = |name: &str| {
        let value = properties.get(name);
        value.is_some_and(|value| !value.trim().is_empty())
    };
    let has_voters = is_set("controller.quorum.voters");
    let roles = properties.get("process.roles").map_or("", String::as_str);
    let is_controller = roles.split(',').any(|role| role.trim() == "controller");
    let names_voters = args.has("standalone") || args.has("initial-controllers");
    if has_voters && names_voters {
        return Err(Fault::from(
            "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone. \
             If you want to use dynamic quorum, please remove controller.quorum.voters and specify \
             controller.quorum.bootstrap.servers instead."
                .to_owned(),
        ));
    }
    if !has_voters && is_controller && !names_voters && !args.has("no-initial-controllers") {
        return Err(Fault::from(
            "Because controller.quorum.voters is not set on this controller, you must specify one of the following: \
             --standalone, --initial-controllers, or --no-initial-controllers."
                .to_owned(),
        ));
    }
    if names_voters && !is_controller {
        return Err(Fault::from(
            "Only a controller can name the voters of its quorum: process.roles has no controller"
                .to_owned(),
        ));
    }
    let names = properties.get("controller.listener.names");
    let names: Vec<&str> = names
        .map_or("", String::as_str)
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if args.has("standalone") {
        return Ok(Quorum::Standalone(controller_listeners(properties, &names)));
    }
    let Some(text) = args.one("initial-controllers") else {
        return Ok(Quorum::Unnamed);
    };
    let listener = names.first().copied().unwrap_or("CONTROLLER");
    let voters = text
        .split(',')
        .map(|voter| InitialVoter::parse(voter.trim(), listener))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Quorum::Initial(voters))
}

/// Addresses of the controller's listeners, advertised ones before those it binds.
fn controller_listeners(properties: &Properties, names: &[&str]) -> Vec<(String, String, u16)> {
    let list = |property: &str| {
        let text = properties.get(property).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for one in text.split(',') {
            let Some((name, address)) = one.trim().split_once("://") else {
                continue;
            };
            let Some((host, port)) = address.rsplit_once(':') else {
                continue;
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if let Ok(port) = port.parse::<u16>() {
                found.push((name.to_ascii_uppercase(), host.to_owned(), port));
            }
        }
        found
    };
    let (advertised, bound) = (list("advertised.listeners"), list("listeners"));
    names
        .iter()
        .filter_map(|wanted| {
            let fits = |one: &&(String, String, u16)| one.0.eq_ignore_ascii_case(wanted);
            let (name, host, port) = advertised
                .iter()
                .find(fits)
                .or_else(|| bound.iter().find(fits))?;
            let host = match host.as_str() {
                "" | "0.0.0.0" | "::" => corelog_runtime::limits::host_name(),
                host => host.to_owned(),
            };
            Some((name.clone(), host, *port))
        })
        .collect()
}

impl InitialVoter {
    fn parse(text: &str, listener: &str) -> Result<Self, Fault> {
        let fault = |sentence: &str| Fault::from(sentence.to_owned());
        let (id, rest) = text
            .split_once('@')
            .ok_or_else(|| fault("No @ found in dynamic voter string."))?;
        let id = id
            .parse()
            .map_err(|_| fault("Failed to parse node id in dynamic voter string."))?;
        let (address, directory) = rest
            .rsplit_once(':')
            .ok_or_else(|| fault("No colon found after hostname in dynamic voter string."))?;
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| fault("No colon following port could be found."))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            id,
            host: host.to_owned(),
            port: port
                .parse()
                .map_err(|_| fault("Failed to parse port in dynamic voter string."))?,
            directory: uuid(directory)?,
            listener: listener.to_owned(),
        })
    }
}

/// `metadata.version` and the levels of the other features, by name.
fn wanted_features(args: &Args, quorum: &Quorum) -> Result<(i16, Vec<(String, i16)>), Fault> {
    let mut given: Vec<(String, i16)> = Vec::new();
    for text in args.all("feature") {
        let (name, level) = levels::feature_level(text)?;
        // The last one counts, as with Kafka's tool.
        given.retain(|(other, _)| *other != name);
        given.push((name, level));
    }
    let position = given
        .iter()
        .position(|(name, _)| name == "metadata.version");
    let asked = position.map(|at| given.remove(at).1);
    let metadata_version = match (args.one("release-version"), asked) {
        (Some(_), Some(_)) => {
            return Err(Fault::from(
                "Use --release-version instead of --feature metadata.version=X to avoid ambiguity."
                    .to_owned(),
            ));
        }
        (Some(release), None) => levels::metadata(release)?,
        (None, Some(level)) => level,
        (None, None) => levels::LATEST,
    };
    levels::check("metadata.version", metadata_version)?;
    let mut features: Vec<(String, i16)> = levels::defaults(metadata_version)
        .into_iter()
        .map(|(name, level)| (name.to_owned(), level))
        .collect();
    for (name, level) in given {
        levels::check(&name, level)?;
        if let Some(one) = features.iter_mut().find(|(other, _)| *other == name) {
            one.1 = level;
        }
        if name == "kraft.version"
            && level > 0
            && *quorum == Quorum::Unnamed
            && !args.has("no-initial-controllers")
        {
            return Err(Fault::from(format!(
                "Cannot set kraft.version to {level} unless controller.quorum.voters is empty and one of the flags \
                 --standalone, --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, \
                 try using one of --standalone, --initial-controllers, or --no-initial-controllers and removing \
                 controller.quorum.voters."
            )));
        }
        if name == "kraft.version" && level == 0 && *quorum != Quorum::Unnamed {
            return Err(Fault::from(format!(
                "Cannot set kraft.version to {level} if controller.quorum.voters is empty and one of the flags --standalone, \
                 --initial-controllers, or --no-initial-controllers is used. For dynamic controllers support, try removing \
                 the --feature flag for kraft.version."
            )));
        }
        if name == "eligible.leader.replicas.version" && level > 0 && metadata_version < 23 {
            return Err(Fault::from(format!(
                "{name} could not be set to {level} because it depends on metadata.version level 23"
            )));
        }
    }
    // Of the quorum's own version the voters' snapshot speaks.
    features.retain(|(name, level)| *level > 0 && name != "kraft.version");
    features.sort();
    Ok((metadata_version, features))
}

/// `SCRAM-SHA-256=[name=alice,password=secret,iterations=4096,salt="BASE64"]`
#[derive(Clone, Debug, PartialEq, Eq)]
struct Credential {
    mechanism: Mechanism,
    name: String,
    secret: Secret,
    salt: Option<Vec<u8>>,
    iterations: i32,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Password(String),
    Salted(Vec<u8>),
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password",
            Self::Salted(_) => "Salted",
        })
    }
}

impl Credential {
    fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |sentence: String| Fault::from(sentence);
        let (mechanism, rest) = text.split_once('=').ok_or_else(|| {
            fault(format!(
                "Failed to find equals sign in SCRAM argument '{text}'"
            ))
        })?;
        let (mechanism, rest) = (mechanism.trim(), rest.trim());
        let number = Mechanism::from_name(mechanism).ok_or_else(|| {
            fault(format!(
                "The add-scram mechanism {mechanism} is not supported."
            ))
        })?;
        let rest = rest
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| {
                fault(format!(
                    "'{rest}' in add-scram is not of the form [name=…,password=…]"
                ))
            })?;
        let (mut name, mut password, mut salted) = (None, None, None);
        let (mut salt, mut iterations) = (None, ITERATIONS_MIN);
        for part in rest.split(',') {
            let (key, value) = part.trim().split_once('=').ok_or_else(|| {
                fault(format!(
                    "'{part}' in add-scram is not of the form name=value"
                ))
            })?;
            let value = value.trim().trim_matches('"');
            let bytes = || {
                base64(value)
                    .ok_or_else(|| fault(format!("{key} in add-scram is not base64: {value}")))
            };
            match key.trim() {
                "name" => name = Some(value.to_owned()),
                "password" => password = Some(value.to_owned()),
                "saltedpassword" => salted = Some(bytes()?),
                "salt" => salt = Some(bytes()?),
                "iterations" => {
                    iterations = value.parse().map_err(|_| {
                        fault(format!("iterations in add-scram is not a number: {value}"))
                    })?;
                }
                other => return Err(fault(format!("'{other}' in add-scram is not known"))),
            }
        }
        if iterations < ITERATIONS_MIN {
            return Err(fault(format!(
                "The 'iterations' value must be >= {ITERATIONS_MIN} for add-scram using {}",
                mechanism.replace('-', "_")
            )));
        }
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| fault("You must supply 'name' to add-scram".to_owned()))?;
        let secret = match (password, salted) {
            (Some(password), None) => Secret::Password(password),
            (None, Some(_)) if salt.is_none() => {
                return Err(fault(
                    "You must supply 'salt' with 'saltedpassword' to add-scram".to_owned(),
                ));
            }
            (None, Some(salted)) => Secret::Salted(salted),
            _ => {
                return Err(fault(
                    "You must supply one of 'password' or 'saltedpassword' to add-scram".to_owned(),
                ));
            }
        };
        Ok(Self {
            mechanism: number,
            name,
            secret,
            salt,
            iterations,
        })
    }

    fn record(&self) -> UserScramCredentialRecord {
        let salt = self.salt.clone().unwrap_or_else(scram::salt);
        let salted = match &self.secret {
            Secret::Salted(salted) => salted.clone(),
            Secret::Password(password) => salted_password(
                self.mechanism,
                password.as_bytes(),
                &salt,
                self.iterations.unsigned_abs(),
            ),
        };
        let keys = Keys::of(self.mechanism, &salted);
        UserScramCredentialRecord {
            name: self.name.clone(),
            mechanism: self.mechanism.code(),
            salt: Bytes::from(salt),
            stored_key: Bytes::from(keys.stored),
            server_key: Bytes::from(keys.server),
            iterations: self.iterations,
            ..UserScramCredentialRecord::default()
        }
    }
}

/// RFC 4648, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_what_kafka_stores() {
        let text = "SCRAM-SHA-256=[name=alice,password=secret,iterations=4096,salt=\"MWx2NHBkbnc0ZndxN25vdGN4bTB5Y3Z3cw==\"]";
        let record = Credential::parse(text).unwrap().record();
        // What Kafka 4.3.1's tool printed for the same.
        assert_eq!(record.salt[..4], [49, 108, 118, 52]);
        assert_eq!(record.stored_key[..4], [70, 0xe3, 0xed, 0xe9]);
        assert_eq!(record.stored_key[28..], [0xad, 0xb6, 0x91, 114]);
        assert_eq!(record.server_key[..4], [3, 0xd6, 0xee, 38]);
        assert_eq!(
            (record.name.as_str(), record.mechanism, record.iterations),
            ("alice", 1, 4096)
        );
    }

    #[test]
    fn credentials_that_are_none_are_refused() {
        for text in [
            "SCRAM-SHA-256",
            "SCRAM-SHA-256=name=a",
            "SCRAM-SHA-1=[name=a,password=b]",
            "SCRAM-SHA-256=[password=b]",
            "SCRAM-SHA-256=[name=a]",
            "SCRAM-SHA-256=[name=a,saltedpassword=AAAA]",
            "SCRAM-SHA-256=[name=a,password=b,iterations=4095]",
            "SCRAM-SHA-256=[name=a,password=b,salt=*]",
            "SCRAM-SHA-256=[name=a,password=b,more=c]",
        ] {
            assert!(Credential::parse(text).is_err(), "{text}");
        }
        assert!(Credential::parse("SCRAM-SHA-512=[name=a,password=b]").is_ok());
    }

    #[test]
    fn voters_are_read() {
        let voter =
            InitialVoter::parse("3@[::1]:9093:AAAAAAAAAAAAAAAAAAAAAg", "CONTROLLER").unwrap();
        assert_eq!(
            (voter.id, voter.host.as_str(), voter.port),
            (3, "::1", 9093)
        );
        for text in [
            "garbage",
            "x@h:1:AAAAAAAAAAAAAAAAAAAAAg",
            "1@h",
            "1@h:1",
            "1@h:p:AAAAAAAAAAAAAAAAAAAAAg",
            "1@h:1:short",
        ] {
            assert!(InitialVoter::parse(text, "CONTROLLER").is_err(), "{text}");
        }
    }

    #[test]
    fn base64_is_read() {
        assert_eq!(base64("TWFu").as_deref(), Some(&b"Man"[..]));
        assert_eq!(base64("TWE=").as_deref(), Some(&b"Ma"[..]));
        assert_eq!(base64("TQ").as_deref(), Some(&b"M"[..]));
        assert_eq!(base64("T*"), None);
    }
}
