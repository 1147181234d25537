//! ListConfigResources (key 74): the names that settings can be described of. KIP-714, KIP-1142.
//!
//! Versions: v0 client-metrics subscriptions alone · v1 every type.
//!
//! Owns: the answer.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the settings (`config`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use crate::handlers::Context;
use crate::metadata::{Image, ResourceType};
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    list(&shard.image(), &request.resource_types, context.version)
}

/// The names of the types asked for; of all types when none is named.
fn list(image: &Image, asked: &[i8], version: i16) -> ListConfigResourcesResponse {
    let types: Vec<_> = match asked {
        _ if version == 0 => vec![Some(ResourceType::ClientMetrics)],
        [] => ALL.iter().copied().map(Some).collect(),
        asked => asked
            .iter()
            .map(|code| ResourceType::from_code(*code))
            .collect(),
    };
    let mut response = ListConfigResourcesResponse::default();
    for kind in types {
        let Some(kind) = kind else {
            return ListConfigResourcesResponse {
                error_code: ErrorCode::UnsupportedVersion.code(),
                ..Default::default()
            };
        };
        let named = |resource_name: String| ConfigResource {
            resource_name,
            resource_type: kind.code(),
            ..ConfigResource::default()
        };
        response
            .config_resources
            .extend(names(image, kind).into_iter().map(named));
    }
    response
}

fn names(image: &Image, kind: ResourceType) -> Vec<String> {
    match kind {
        ResourceType::Topic => image
            .topics_sorted()
            .iter()
            .map(|topic| topic.name.to_string())
            .collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => {
            image.brokers().map(|(id, _)| id.to_string()).collect()
        }
        // These exist by having settings.
        ResourceType::ClientMetrics | ResourceType::Group => {
            let mut names: Vec<_> = image
                .configs()
                .filter(|(resource, _)| resource.kind == kind.code())
                .map(|(resource, _)| resource.name.to_string())
                .collect();
            names.sort_unstable();
            names
        }
    }
}

const ALL: [ResourceType; 5] = [
    ResourceType::Topic,
    ResourceType::Broker,
    ResourceType::BrokerLogger,
    ResourceType::ClientMetrics,
    ResourceType::Group,
];

#[cfg(test)]
mod tests;
