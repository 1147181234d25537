//! `ListTransactions` (key 66): the transactional ids of this broker (KIP-664).
//!
//! Versions: v1 by duration (KIP-994) · v2 by pattern (KIP-1152).
//!
//! Known deviations: patterns are of the `regex` crate, whose syntax is that of RE2 but for rare classes.
//!
//! Owns: nothing.
//! Lives on: the connection's shard.
//! Invariants: none.
//! Not here: coordination (`txn.rs`).

use std::rc::Rc;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};
use regex::Regex;

use crate::handlers::Context;
use crate::handlers::transactions::{self, Fencing};
use crate::shard::Shard;
use crate::txn::{ListTransactions, Reply, Request, State, TxnError};

/// Answers the request.
pub(crate) async fn handle(
    shard: Rc<Shard>,
    _context: Context,
    request: ListTransactionsRequest,
) -> ListTransactionsResponse {
    let refused = |error: ErrorCode| ListTransactionsResponse {
        error_code: error.code(),
        ..Default::default()
    };
    let pattern = request
        .transactional_id_pattern
        .filter(|text| !text.is_empty());
    let Ok(pattern) = pattern.map(|text| whole(&text)).transpose() else {
        return refused(ErrorCode::InvalidRegularExpression);
    };
    let (mut states, mut unknown_state_filters) = (Vec::new(), Vec::new());
    for name in request.state_filters {
        match State::from_name(&name) {
            Some(state) => states.push(state),
            None => unknown_state_filters.push(name),
        }
    }
    if states.is_empty() && !unknown_state_filters.is_empty() {
        return ListTransactionsResponse {
            unknown_state_filters,
            ..Default::default()
        };
    }
    let question = ListTransactions {
        states,
        producer_ids: request.producer_id_filters,
        longer_than_ms: Some(request.duration_filter).filter(|least| *least >= 0),
    };
    let mut transaction_states = Vec::new();
    for reply in transactions::ask_all(&shard, || Request::List(question.clone())).await {
        match reply {
            Some(Reply::List(Ok(listed))) => {
                let wanted = |id: &str| pattern.as_ref().is_none_or(|p| p.is_match(id));
                let listed = listed
                    .into_iter()
                    .filter(|one| wanted(&one.transactional_id));
                transaction_states.extend(listed.map(|one| TransactionState {
                    transactional_id: one.transactional_id.to_string(),
                    producer_id: one.producer_id,
                    transaction_state: one.state.name().to_owned(),
                    ..Default::default()
                }));
            }
            // Another broker's.
            Some(Reply::List(Err(TxnError::NotCoordinator))) => {}
            Some(Reply::List(Err(error))) => {
                return refused(transactions::code(error, Fencing::Current));
            }
            _ => return refused(ErrorCode::CoordinatorNotAvailable),
        }
    }
    ListTransactionsResponse {
        unknown_state_filters,
        transaction_states,
        ..Default::default()
    }
}

/// The pattern, which the whole id must match.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    // By itself first: brackets that close nothing must not close ours.
    Regex::new(pattern)?;
    Regex::new(&format!("^(?:{pattern})$"))
}
