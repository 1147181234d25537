//! `CreateDelegationToken` (key 38): refused on a PLAINTEXT listener. KIP-48.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: delegation tokens: they need a listener that authenticates, and this is PLAINTEXT.

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    _shard: Rc<Shard>,
    _context: Context,
    request: CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    // Who asks by PLAINTEXT is nobody in particular.
    let (kind, name) = ("User".to_owned(), "ANONYMOUS".to_owned());
    CreateDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        principal_type: request.owner_principal_type.unwrap_or_else(|| kind.clone()),
        principal_name: request.owner_principal_name.unwrap_or_else(|| name.clone()),
        token_requester_principal_type: kind,
        token_requester_principal_name: name,
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
        ..CreateDelegationTokenResponse::default()
    }
}
