//! **Owns** what `configs` does for users, clients and addresses: quotas and SCRAM credentials.
//! **Lives on** the command's thread.
//! **Invariants** (1) A password leaves this process only salted.
//! **Not here** configs of topics, brokers and groups.

use std::net::{IpAddr, ToSocketAddrs};

use bytes::Bytes;
use corelog_net::sasl::scram::{ITERATIONS_MIN, Mechanism, salted_password};
use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_client_quotas::{OpData, RequestEntityData};
use corelog_net::wire::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use corelog_net::wire::messages::describe_client_quotas::{ComponentData, EntryData};
use serde_json::json;

use super::{Ended, Entity, refused};
use crate::cli::java;
use crate::cli::options::Given;
use crate::cli::scram;
use crate::cli::session::Printer;
use crate::client::admin::Admin;

/// Whether an address, or a name that has one.
pub(super) fn is_host(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
        || (name, 0_u16)
            .to_socket_addrs()
            .is_ok_and(|mut found| found.next().is_some())
}

fn wire_type(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

fn shown_type(wire: &str) -> &str {
    match wire {
        "user" => "user-principal",
        other => other,
    }
}

pub(super) async fn describe(
    given: &Given,
    admin: &Admin,
    entities: &[Entity],
    out: &Printer,
) -> Result<(), Ended> {
    let components = entities
        .iter()
        .map(|entity| {
            let (match_type, name) = match entity.name.as_deref() {
                None => (2, None),
                Some("") => (1, None),
                Some(name) => (0, Some(name.to_owned())),
            };
            ComponentData {
                entity_type: wire_type(entity.kind).to_owned(),
                match_type,
                r#match: name,
                ..ComponentData::default()
            }
        })
        .collect();
    let entries = admin
        .describe_quotas(components, true)
        .await
        .map_err(refused("describeClientQuotas"))?;
    let mut documents = Vec::new();
    for entry in &entries {
        if given.json()? {
            let entity: serde_json::Map<_, _> = entry
                .entity
                .iter()
                .map(|it| (it.entity_type.clone(), json!(it.entity_name)))
                .collect();
            let values: serde_json::Map<_, _> = entry
                .values
                .iter()
                .map(|it| (it.key.clone(), json!(it.value)))
                .collect();
            documents.push(json!({ "entity": entity, "quotas": values }));
        } else {
            out.line(&quota_line(entry));
        }
    }
    // Credentials belong to users alone.
    if let [entity] = entities
        && entity.kind == "users"
        && entity.name.as_deref() != Some("")
    {
        let users = entity.name.clone().map(|name| vec![name]);
        let found = match admin.describe_scram(users.as_deref()).await {
            Ok(found) => found,
            // A broker without SCRAM has no credentials.
            Err(crate::client::ApiError::Call(error)) if error.is_unsupported() => Vec::new(),
            Err(error) => return Err(refused("describeUserScramCredentials")(error)),
        };
        for user in found {
            if user.error_code == ErrorCode::ResourceNotFound.code() {
                continue;
            }
            let credentials: Vec<String> = user
                .credential_infos
                .iter()
                .map(|it| format!("{}=iterations={}", scram::name(it.mechanism), it.iterations))
                .collect();
            if given.json()? {
                documents.push(json!({ "user": user.user, "scram": credentials }));
            } else {
                out.line(&format!(
                    "SCRAM credential configs for user-principal '{}' are {}",
                    user.user,
                    credentials.join(", ")
                ));
            }
        }
    }
    if given.json()? {
        out.json(&json!(documents));
    }
    Ok(())
}

fn quota_line(entry: &EntryData) -> String {
    let mut entities: Vec<&_> = entry.entity.iter().collect();
    entities.sort_by_key(|it| it.entity_type != "user");
    let entities: Vec<String> = entities
        .iter()
        .map(|it| {
            let kind = shown_type(&it.entity_type);
            match &it.entity_name {
                Some(name) => format!("{kind} '{name}'"),
                None => format!("the default {kind}"),
            }
        })
        .collect();
    let values: Vec<String> = entry
        .values
        .iter()
        .map(|it| format!("{}={}", it.key, java::double(it.value)))
        .collect();
    format!(
        "Quota configs for {} are {}",
        entities.join(", "),
        values.join(", ")
    )
}

pub(super) async fn alter(
    admin: &Admin,
    entities: &[Entity],
    add: &[(String, String)],
    delete: &[String],
) -> Result<(), Ended> {
    let kind = entities.last().map_or("users", |it| it.kind);
    let of_user = entities.len() == 1 && kind == "users";
    let quotas: &[&str] = if kind == "ips" { IP_QUOTAS } else { QUOTAS };
    let is_scram = |name: &str| of_user && Mechanism::from_name(name).is_some();
    let strangers = |names: &mut dyn Iterator<Item = &String>| -> Vec<String> {
        names
            .filter(|name| !quotas.contains(&name.as_str()) && !is_scram(name))
            .cloned()
            .collect()
    };
    let what = if of_user {
        "quota and SCRAM credential"
    } else {
        "quota"
    };
    let added = strangers(&mut add.iter().map(|(name, _)| name));
    if !added.is_empty() {
        return Err(format!(
            "Only {} configs can be added for '{kind}' using --bootstrap-server. Unexpected config names: Set({})",
            what,
            added.join(", ")
        )
        .into());
    }
    let deleted = strangers(&mut delete.iter());
    if !deleted.is_empty() {
        return Err(format!(
            "Only {} configs can be deleted for '{kind}' using --bootstrap-server. Unexpected config names: ArrayBuffer({})",
            what,
            deleted.join(", ")
        )
        .into());
    }
    let scram_count = add.iter().filter(|(name, _)| is_scram(name)).count()
        + delete.iter().filter(|name| is_scram(name)).count();
    if scram_count == 0 {
        return alter_quotas(admin, entities, add, delete).await;
    }
    if scram_count < add.len() + delete.len() {
        return Err(
            "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server."
                .to_owned()
                .into(),
        );
    }
    let user = entities[0].name.clone().unwrap_or_default();
    if user.is_empty() {
        return Err(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using \
             --bootstrap-server."
                .to_owned()
                .into(),
        );
    }
    alter_scram(admin, &user, add, delete).await
}

async fn alter_quotas(
    admin: &Admin,
    entities: &[Entity],
    add: &[(String, String)],
    delete: &[String],
) -> Result<(), Ended> {
    let mut ops = Vec::new();
    for (name, value) in add {
        let value: f64 = value
            .parse()
            .map_err(|_| format!("Cannot parse quota configuration value for {name}: {value}"))?;
        ops.push(OpData {
            key: name.clone(),
            value,
            remove: false,
            ..OpData::default()
        });
    }
    if !delete.is_empty() {
        let there = existing(admin, entities).await?;
        let unknown: Vec<&str> = delete
            .iter()
            .filter(|name| !there.contains(name))
            .map(String::as_str)
            .collect();
        if !unknown.is_empty() {
            return Err(format!("Invalid config(s): {}", unknown.join(",")).into());
        }
    }
    ops.extend(delete.iter().map(|name| OpData {
        key: name.clone(),
        value: 0.0,
        remove: true,
        ..OpData::default()
    }));
    let entity = entities
        .iter()
        .map(|entity| RequestEntityData {
            entity_type: wire_type(entity.kind).to_owned(),
            entity_name: entity.name.clone().filter(|name| !name.is_empty()),
            ..RequestEntityData::default()
        })
        .collect();
    admin
        .alter_quotas(entity, ops)
        .await
        .map_err(refused("alterClientQuotas"))
}

/// The quotas that exactly these entities have.
async fn existing(admin: &Admin, entities: &[Entity]) -> Result<Vec<String>, Ended> {
    let components = entities
        .iter()
        .map(|entity| {
            let name = entity.name.clone().filter(|name| !name.is_empty());
            ComponentData {
                entity_type: wire_type(entity.kind).to_owned(),
                match_type: i8::from(name.is_none()),
                r#match: name,
                ..ComponentData::default()
            }
        })
        .collect();
    let entries = admin
        .describe_quotas(components, true)
        .await
        .map_err(refused("describeClientQuotas"))?;
    Ok(entries
        .into_iter()
        .flat_map(|entry| entry.values)
        .map(|it| it.key)
        .collect())
}

async fn alter_scram(
    admin: &Admin,
    user: &str,
    add: &[(String, String)],
    delete: &[String],
) -> Result<(), Ended> {
    let mut upsertions = Vec::new();
    for (name, value) in add {
        let Some(mechanism) = Mechanism::from_name(name) else {
            continue;
        };
        let wrong = || {
            Ended::Said(format!(
                "Invalid credential property {}={value}",
                name.replace('-', "_")
            ))
        };
        let (iterations, password) = scram::credential(value).ok_or_else(wrong)?;
        if iterations < ITERATIONS_MIN {
            return Err(format!(
                "Iterations {iterations} is less than the minimum {ITERATIONS_MIN} required for {name}"
            )
            .into());
        }
        let salt = scram::salt();
        let salted = salted_password(
            mechanism,
            password.as_bytes(),
            &salt,
            iterations.unsigned_abs(),
        );
        upsertions.push(ScramCredentialUpsertion {
            name: user.to_owned(),
            mechanism: mechanism.code(),
            iterations,
            salt: Bytes::from(salt),
            salted_password: Bytes::from(salted),
            ..ScramCredentialUpsertion::default()
        });
    }
    let deletions = delete
        .iter()
        .filter_map(|name| {
            Some(ScramCredentialDeletion {
                name: user.to_owned(),
                mechanism: Mechanism::from_name(name)?.code(),
                ..ScramCredentialDeletion::default()
            })
        })
        .collect();
    admin
        .alter_scram(upsertions, deletions)
        .await
        .map_err(refused("alterUserScramCredentials"))
}

const QUOTAS: &[&str] = &[
    "producer_byte_rate",
    "consumer_byte_rate",
    "request_percentage",
    "controller_mutation_rate",
];

const IP_QUOTAS: &[&str] = &["connection_creation_rate"];
