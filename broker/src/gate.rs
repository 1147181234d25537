//! The one place that every request passes before anything is done for it.
//!
//! Owns: [`Admitted`], without which no handler can be reached.
//! Lives on: the connection's shard, between the frame and the handler.
//! Invariants:
//! 1. `handlers::dispatch` and `produce::dispatch` take an [`Admitted`]; it is made in [`admit`] and nowhere else.
//! 2. Passing costs nothing on the hot path: no allocation, no hop, no lookup as long as there is nothing to look up.
//!
//! Not here: quotas as stored (`controller::quotas`), what single handlers will ask about topics and groups. Today everyone
//! is `User:ANONYMOUS` of a PLAINTEXT listener, there is no authorizer, and no quota is enforced: everybody passes. Who adds
//! them decides here, by the caller and the API, whether a request goes on, waits (its connection is muted for as long), or
//! is refused, and charges the caller by the sizes that [`Admitted`] then carries to the answer.

use corelog_net::connection::Request;

use crate::shard::Session;

/// The proof that a request has passed.
#[derive(Debug)]
#[must_use = "a request that has passed goes on to its handler"]
pub(crate) struct Admitted(());

/// Lets a request of a connection pass.
// HOT: 0 alloc
#[inline]
pub(crate) fn admit(_session: &Session, _request: &Request) -> Admitted {
    Admitted(())
}
