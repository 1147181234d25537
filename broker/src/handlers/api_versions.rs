//! ApiVersions (key 18): what works here (KIP-35, KIP-511, KIP-584).
//!
//! Versions: v3 client software, flexible body with a header that stays v0 · v4 features from level 0.
//! A version beyond is answered at v0 by the connection.
//!
//! Owns: nothing: the answer is the table in `handlers.rs`.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: the features' meaning (`metadata`).

use std::rc::Rc;

use corelog_net::connection::Service as _;
use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};

use crate::handlers::{Context, SERVED};
use crate::metadata::features::{KRAFT_VERSION_NAME, SUPPORTED};
use crate::shard::Shard;
use crate::telemetry::Software;

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    context: Context,
    request: ApiVersionsRequest,
) -> ApiVersionsResponse {
    if context.version >= 3
        && !(is_name(&request.client_software_name) && is_name(&request.client_software_version))
    {
        return ApiVersionsResponse {
            error_code: ErrorCode::InvalidRequest.code(),
            ..Default::default()
        };
    }
    let short = |name: &str| name.chars().take(NAME_MAX).collect();
    *context.software.borrow_mut() = Software {
        name: short(&request.client_software_name),
        version: short(&request.client_software_version),
    };
    let mut keys = SERVED.to_vec();
    keys.sort_unstable_by_key(|key| key.key());
    let api_keys = keys.into_iter().filter_map(|key| {
        let versions = shard.versions(key)?;
        Some(ApiVersion {
            api_key: key.key(),
            min_version: *versions.start(),
            max_version: *versions.end(),
            ..Default::default()
        })
    });
    let image = shard.image();
    let supported = SUPPORTED.iter();
    ApiVersionsResponse {
        error_code: ErrorCode::None.code(),
        api_keys: api_keys.collect(),
        // Before v4 a client may not understand a range that begins at 0.
        supported_features: supported
            .filter(|feature| context.version >= 4 || feature.min > 0)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.to_owned(),
                min_version: feature.min,
                max_version: feature.max,
                ..Default::default()
            })
            .collect(),
        finalized_features_epoch: image.at().end_offset - 1,
        finalized_features: image
            .features()
            .iter()
            .map(|(name, level)| (name.as_str(), *level))
            // The quorum's level is no record of the image's.
            .chain([(KRAFT_VERSION_NAME, image.quorum().kraft_version)])
            .filter(|(_, level)| *level > 0)
            .map(|(name, level)| FinalizedFeatureKey {
                name: name.to_owned(),
                max_version_level: level,
                min_version_level: level,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Letters, digits, and inside `.` and `-`, as KIP-511 has it.
fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_alphanumeric();
    text.as_bytes().first().is_some_and(alphanumeric)
        && text.as_bytes().last().is_some_and(alphanumeric)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

/// Characters of a name that are kept with the connection.
const NAME_MAX: usize = 128;
