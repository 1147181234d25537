//! `RenewDelegationToken` (key 39): refused on a PLAINTEXT listener. KIP-48.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: delegation tokens: they need a listener that authenticates, and this is PLAINTEXT.

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::renew_delegation_token::{
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

use crate::handlers::Context;
use crate::shard::Shard;

/// Answers the request.
pub(crate) async fn handle(
    _shard: Rc<Shard>,
    _context: Context,
    _request: RenewDelegationTokenRequest,
) -> RenewDelegationTokenResponse {
    RenewDelegationTokenResponse {
        error_code: ErrorCode::DelegationTokenRequestNotAllowed.code(),
        expiry_timestamp_ms: -1,
        ..RenewDelegationTokenResponse::default()
    }
}
