//! Quotas of clients: who may send, ask and connect how much.
//!
//! **Owns** `AlterClientQuotas` (KIP-546): which entities and values are legal, and their records.
//! **Lives on** shard 0.
//! **Invariants**: an entity changes whole or not at all; only what differs is recorded.
//! **Not here**: describing them (`metadata::quotas`); keeping to them (`gate`). A known deviation: an
//! IP entity must be an address or `localhost`; Kafka's controller also looks names up, which blocks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, OpData, RequestEntityData,
    ResponseEntityData, ResponseEntryData,
};
use corelog_net::wire::records::ClientQuotaRecord;
use corelog_net::wire::records::client_quota::EntityData;

use super::{Controller, Outcome};
use crate::config::alter::Refusal;
use crate::config::setting::java_bucket;
use crate::metadata::MetadataRecord;

/// The parts of an entity by type; no name is the default of the type.
type Entity<'a> = BTreeMap<&'a str, Option<&'a str>>;

impl Controller<'_> {
    /// Decides on `AlterClientQuotas`.
    #[must_use]
    pub fn alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest,
    ) -> Outcome<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        let mut results: BTreeMap<Entity<'_>, Option<Refusal>> = BTreeMap::new();
        for entry in &request.entries {
            let entity = parts(&entry.entity);
            let mut keys = BTreeSet::new();
            let is_twice = !entry.ops.iter().all(|op| keys.insert(op.key.as_str()));
            let result = if is_twice || results.contains_key(&entity) {
                Err(refuse(format!(
                    "Ignoring duplicate entity {}",
                    shown(&entity)
                )))
            } else {
                self.quota_records(&entity, &entry.ops)
            };
            let refusal = match result {
                Ok(more) => {
                    records.extend(more);
                    None
                }
                Err(refusal) => Some(refusal),
            };
            results.insert(entity, refusal);
        }
        if request.validate_only {
            records.clear();
        }
        let entries = results.into_iter().map(|(entity, refusal)| {
            let (error_code, error_message) = match refusal {
                None => (0, None),
                Some(refusal) => (refusal.error.code(), refusal.message),
            };
            let part = |(entity_type, entity_name): (&str, Option<&str>)| ResponseEntityData {
                entity_type: entity_type.to_owned(),
                entity_name: entity_name.map(str::to_owned),
                ..ResponseEntityData::default()
            };
            ResponseEntryData {
                error_code,
                error_message,
                entity: entity.into_iter().map(part).collect(),
                ..ResponseEntryData::default()
            }
        });
        let response = AlterClientQuotasResponse {
            entries: entries.collect(),
            ..AlterClientQuotasResponse::default()
        };
        Outcome { records, response }
    }

    fn quota_records(
        &self,
        entity: &Entity<'_>,
        ops: &[OpData],
    ) -> Result<Vec<MetadataRecord>, Refusal> {
        let keys = keys_of(entity)?;
        let owned: Vec<(String, Option<String>)> = entity
            .iter()
            .map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned)))
            .collect();
        let mut records = Vec::new();
        for op in ops {
            let Some((_, kind)) = keys.iter().find(|(key, _)| *key == op.key) else {
                return Err(refuse(format!("Invalid configuration key {}", op.key)));
            };
            let current = self.image.quotas().get(&(owned.clone(), op.key.clone()));
            let differs = if op.remove {
                current.is_some()
            } else {
                check_value(&op.key, *kind, op.value)?;
                current.is_none_or(|current| (current - op.value).abs() > EPSILON)
            };
            if differs {
                let part = |(kind, name): &(String, Option<String>)| EntityData {
                    entity_type: kind.clone(),
                    entity_name: name.clone(),
                    ..EntityData::default()
                };
                records.push(
                    ClientQuotaRecord {
                        entity: owned.iter().map(part).collect(),
                        key: op.key.clone(),
                        value: if op.remove { 0.0 } else { op.value },
                        remove: op.remove,
                        ..ClientQuotaRecord::default()
                    }
                    .into(),
                );
            }
        }
        Ok(records)
    }
}

fn parts(entity: &[RequestEntityData]) -> Entity<'_> {
    entity
        .iter()
        .map(|part| (part.entity_type.as_str(), part.entity_name.as_deref()))
        .collect()
}

/// An entity as Kafka prints it.
fn shown(entity: &Entity<'_>) -> String {
    let mut parts: Vec<(&str, Option<&str>)> = entity.iter().map(|(k, n)| (*k, *n)).collect();
    parts.sort_by_key(|(kind, _)| java_bucket(kind, 16));
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(kind, name)| format!("{kind}={}", name.unwrap_or("null")))
        .collect();
    format!("ClientQuotaEntity(entries={{{}}})", parts.join(", "))
}

/// The quotas that an entity may have.
fn keys_of(entity: &Entity<'_>) -> Result<&'static [(&'static str, Kind)], Refusal> {
    if entity.is_empty() {
        return Err(refuse("Invalid empty client quota entity"));
    }
    for (kind, name) in entity {
        if !ENTITY_TYPES.contains(kind) {
            return Err(refuse(format!(
                "Unhandled client quota entity type: {kind}"
            )));
        }
        if *name == Some("") {
            return Err(refuse(format!("Empty {kind} not supported")));
        }
    }
    let Some(ip) = entity.get("ip") else {
        return Ok(CLIENT_KEYS);
    };
    if entity.len() > 1 {
        return Err(refuse(
            "Invalid quota entity combination, IP entity shouldnot be combined with User or \
             ClientId",
        ));
    }
    match ip {
        Some(name) if *name != "localhost" && name.parse::<IpAddr>().is_err() => Err(refuse(
            format!("{name} is not a valid IP or resolvable host."),
        )),
        _ => Ok(IP_KEYS),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Kafka compares with the bound as a double too"
)]
fn check_value(key: &str, kind: Kind, value: f64) -> Result<(), Refusal> {
    if value <= 0.0 {
        return Err(refuse(format!("Quota {key} must be greater than 0")));
    }
    let (bound, name) = match kind {
        Kind::Double => return Ok(()),
        Kind::Int => (f64::from(i32::MAX), "an INT"),
        Kind::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > bound {
        let message = format!("Proposed value for {key} is too large for {name}.");
        return Err(refuse(message));
    }
    if (value - value.trunc()).abs() > EPSILON {
        return Err(refuse(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// What a quota's number must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Double,
    Int,
    Long,
}

/// Numbers that differ by less are the same.
const EPSILON: f64 = 1e-6;

/// What an entity may be made of.
pub(crate) const ENTITY_TYPES: [&str; 3] = ["user", "client-id", "ip"];

const CLIENT_KEYS: &[(&str, Kind)] = &[
    ("consumer_byte_rate", Kind::Long),
    ("controller_mutation_rate", Kind::Double),
    ("producer_byte_rate", Kind::Long),
    ("request_percentage", Kind::Double),
];

const IP_KEYS: &[(&str, Kind)] = &[("connection_creation_rate", Kind::Int)];
