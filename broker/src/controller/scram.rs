//! SCRAM credentials of users.
//!
//! **Owns** `AlterUserScramCredentials` (KIP-554): what is legal, and its records.
//! **Lives on** shard 0.
//! **Invariants**: 1. a user is changed once in a request or not at all; 2. what is kept is made of the salted password
//! and never the password's: nobody can log in with it elsewhere.
//! **Not here**: describing them (`metadata::scram`); logging in. A known deviation: Kafka answers an empty salted password
//! without a sentence, because its key class throws.

use std::collections::BTreeMap;

use bytes::Bytes;
use corelog_net::sasl::scram::{ITERATIONS_MAX, ITERATIONS_MIN, Keys, Mechanism};
use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AlterUserScramCredentialsResult, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use corelog_net::wire::records::{RemoveUserScramCredentialRecord, UserScramCredentialRecord};

use super::{Controller, Outcome};
use crate::config::alter::Refusal;
use crate::metadata::MetadataRecord;

impl Controller<'_> {
    /// Decides on `AlterUserScramCredentials`. One record for each user, in the order of names.
    #[must_use]
    pub fn alter_scram_credentials(
        &self,
        request: &AlterUserScramCredentialsRequest,
    ) -> Outcome<AlterUserScramCredentialsResponse> {
        let mut users: BTreeMap<&str, Result<MetadataRecord, Refusal>> = BTreeMap::new();
        let deletions = request
            .deletions
            .iter()
            .map(|one| (one.name.as_str(), Change::Delete(one)));
        let upsertions = request
            .upsertions
            .iter()
            .map(|one| (one.name.as_str(), Change::Upsert(one)));
        let too_many = request.deletions.len() + request.upsertions.len() > CHANGES_MAX;
        for (name, change) in deletions.chain(upsertions) {
            let result = match users.get(name) {
                _ if too_many => Err(Refusal::new(
                    ErrorCode::UnknownServerError,
                    format!("A request may alter {CHANGES_MAX} user credentials at most"),
                )),
                None => self.changed(&change),
                // The first refusal is the answer.
                Some(Err(_)) => continue,
                Some(Ok(_)) => Err(Refusal::new(
                    ErrorCode::DuplicateResource,
                    "A user credential cannot be altered twice in the same request",
                )),
            };
            users.insert(name, result);
        }
        let mut records = Vec::new();
        let mut results = Vec::new();
        for (user, result) in users {
            let (error_code, error_message) = match result {
                Ok(record) => {
                    records.push(record);
                    (0, None)
                }
                Err(refusal) => (refusal.error.code(), refusal.message),
            };
            results.push(AlterUserScramCredentialsResult {
                user: user.to_owned(),
                error_code,
                error_message,
                ..AlterUserScramCredentialsResult::default()
            });
        }
        let response = AlterUserScramCredentialsResponse {
            results,
            ..AlterUserScramCredentialsResponse::default()
        };
        Outcome { records, response }
    }

    fn changed(&self, change: &Change<'_>) -> Result<MetadataRecord, Refusal> {
        match change {
            Change::Delete(deletion) => {
                self.check(&deletion.name, deletion.mechanism)?;
                let key = (deletion.name.clone(), deletion.mechanism);
                if !self.image.scram().contains_key(&key) {
                    let message = "Attempt to delete a user credential that does not exist";
                    return Err(Refusal::new(ErrorCode::ResourceNotFound, message));
                }
                Ok(RemoveUserScramCredentialRecord {
                    name: deletion.name.clone(),
                    mechanism: deletion.mechanism,
                    ..RemoveUserScramCredentialRecord::default()
                }
                .into())
            }
            Change::Upsert(upsertion) => {
                let mechanism = self.check(&upsertion.name, upsertion.mechanism)?;
                if upsertion.iterations < ITERATIONS_MIN {
                    return Err(unacceptable("Too few iterations"));
                }
                if upsertion.iterations > ITERATIONS_MAX {
                    return Err(unacceptable("Too many iterations"));
                }
                if upsertion.salted_password.is_empty() {
                    let message = "The salted password must not be empty";
                    return Err(Refusal::new(ErrorCode::UnknownServerError, message));
                }
                let keys = Keys::of(mechanism, &upsertion.salted_password);
                Ok(UserScramCredentialRecord {
                    name: upsertion.name.clone(),
                    mechanism: mechanism.code(),
                    salt: Bytes::copy_from_slice(&upsertion.salt),
                    stored_key: keys.stored.into(),
                    server_key: keys.server.into(),
                    iterations: upsertion.iterations,
                    ..UserScramCredentialRecord::default()
                }
                .into())
            }
        }
    }

    /// What both changes must name.
    fn check(&self, user: &str, mechanism: i8) -> Result<Mechanism, Refusal> {
        if self.image.metadata_version() < METADATA_VERSION_SCRAM {
            let message = "The current metadata.version does not support SCRAM";
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        if user.is_empty() {
            return Err(unacceptable("Username must not be empty"));
        }
        Mechanism::from_code(mechanism).ok_or_else(|| {
            Refusal::new(
                ErrorCode::UnsupportedSaslMechanism,
                "Unknown SCRAM mechanism",
            )
        })
    }
}

/// What is asked for one user.
enum Change<'a> {
    Delete(&'a ScramCredentialDeletion),
    Upsert(&'a ScramCredentialUpsertion),
}

fn unacceptable(message: &str) -> Refusal {
    Refusal::new(ErrorCode::UnacceptableCredential, message)
}

/// The most users of a request: what Kafka's controller writes at once.
const CHANGES_MAX: usize = 10_000;

/// The first `metadata.version` with credentials (3.5-IV2).
const METADATA_VERSION_SCRAM: i16 = 11;
