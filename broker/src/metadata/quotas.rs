//! Quotas of clients, described.
//!
//! **Owns** the answer to `DescribeClientQuotas` (KIP-546).
//! **Lives on** any shard, for the length of a request.
//! **Invariants**: none.
//! **Not here**: changing them (`controller::quotas`), keeping to them (`gate`).

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData,
    EntryData, ValueData,
};

use super::Image;
use crate::config::alter::Refusal;
use crate::controller::quotas::ENTITY_TYPES;

/// What one part of an entity must be.
enum Wanted<'a> {
    /// This name; none is the default of the type.
    Name(Option<&'a str>),
    /// There.
    Any,
}

impl Image {
    /// Answers `DescribeClientQuotas`.
    #[must_use]
    pub fn describe_quotas(
        &self,
        request: &DescribeClientQuotasRequest,
    ) -> DescribeClientQuotasResponse {
        match wanted(&request.components) {
            Ok(wanted) => DescribeClientQuotasResponse {
                entries: Some(self.matching(&wanted, request.strict)),
                ..DescribeClientQuotasResponse::default()
            },
            Err(refusal) => DescribeClientQuotasResponse {
                error_code: refusal.error.code(),
                error_message: refusal.message,
                entries: None,
                ..DescribeClientQuotasResponse::default()
            },
        }
    }

    fn matching(&self, wanted: &BTreeMap<&str, Wanted<'_>>, strict: bool) -> Vec<EntryData> {
        let mut entries: BTreeMap<&[(String, Option<String>)], Vec<ValueData>> = BTreeMap::new();
        for ((entity, key), value) in self.quotas() {
            let has = |kind: &str, wanted: &Wanted<'_>| {
                entity.iter().any(|(own, name)| {
                    own == kind
                        && match wanted {
                            Wanted::Name(wanted) => name.as_deref() == *wanted,
                            Wanted::Any => true,
                        }
                })
            };
            let fits = wanted.iter().all(|(kind, wanted)| has(kind, wanted));
            if fits && (!strict || entity.len() == wanted.len()) {
                entries.entry(entity).or_default().push(ValueData {
                    key: key.clone(),
                    value: *value,
                    ..ValueData::default()
                });
            }
        }
        let entry = |(entity, values): (&[(String, Option<String>)], Vec<ValueData>)| {
            let part = |(kind, name): &(String, Option<String>)| EntityData {
                entity_type: kind.clone(),
                entity_name: name.clone(),
                ..EntityData::default()
            };
            EntryData {
                entity: entity.iter().map(part).collect(),
                values,
                ..EntryData::default()
            }
        };
        entries.into_iter().map(entry).collect()
    }
}

fn wanted(components: &[ComponentData]) -> Result<BTreeMap<&str, Wanted<'_>>, Refusal> {
    let request = |message: String| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let mut all = BTreeMap::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return request("Invalid empty entity type.".to_owned());
        }
        if all.contains_key(kind) {
            return request(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            ));
        }
        if !ENTITY_TYPES.contains(&kind) {
            let message = format!("Unsupported entity type {kind}");
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        let wanted = match (component.match_type, component.r#match.as_deref()) {
            (0, Some(name)) => Wanted::Name(Some(name)),
            (0, None) => {
                let message = "Request specified MATCH_TYPE_EXACT, but set match string to null.";
                return request(message.to_owned());
            }
            (1, None) => Wanted::Name(None),
            (2, None) => Wanted::Any,
            (1 | 2, Some(_)) => {
                let name = if component.match_type == 1 {
                    "DEFAULT"
                } else {
                    "SPECIFIED"
                };
                return request(format!(
                    "Request specified MATCH_TYPE_{name}, but also specified a match string."
                ));
            }
            (other, _) => return request(format!("Unknown match type {other}")),
        };
        all.insert(kind, wanted);
    }
    if all.contains_key("ip") && all.len() > 1 {
        return request(
            "Invalid entity filter component combination. IP filter component should not be used \
             with user or clientId filter component."
                .to_owned(),
        );
    }
    Ok(all)
}
