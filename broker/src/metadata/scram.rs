//! SCRAM credentials of users, described.
//!
//! **Owns** the answer to `DescribeUserScramCredentials` (KIP-554).
//! **Lives on** any shard, for the length of a request.
//! **Invariants**: salts and keys are not told, to nobody.
//! **Not here**: changing them (`controller::scram`), logging in.

use std::collections::BTreeMap;

use corelog_net::wire::ErrorCode;
use corelog_net::wire::messages::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};

use super::Image;

impl Image {
    /// Answers `DescribeUserScramCredentials`: the users named, or all when none are; in the order of names.
    #[must_use]
    pub fn describe_scram_credentials(
        &self,
        request: &DescribeUserScramCredentialsRequest,
    ) -> DescribeUserScramCredentialsResponse {
        // How often a user was asked for.
        let mut users: BTreeMap<&str, usize> = BTreeMap::new();
        match request.users.as_deref() {
            None | Some([]) => {
                users.extend(self.scram().keys().map(|(user, _)| (user.as_str(), 1)));
            }
            Some(named) => {
                for user in named {
                    *users.entry(&user.name).or_default() += 1;
                }
            }
        }
        let results = users.into_iter().map(|(user, times)| {
            let infos = self.credentials_of(user);
            let refusal = if times > 1 {
                let what = "Cannot describe SCRAM credentials for the same user twice in a single";
                Some((
                    ErrorCode::DuplicateResource,
                    format!("{what} request: {user}"),
                ))
            } else if infos.is_empty() {
                let what = "Attempt to describe a user credential that does not exist";
                Some((ErrorCode::ResourceNotFound, format!("{what}: {user}")))
            } else {
                None
            };
            let user = user.to_owned();
            match refusal {
                Some((error, message)) => DescribeUserScramCredentialsResult {
                    user,
                    error_code: error.code(),
                    error_message: Some(message),
                    ..DescribeUserScramCredentialsResult::default()
                },
                None => DescribeUserScramCredentialsResult {
                    user,
                    credential_infos: infos,
                    ..DescribeUserScramCredentialsResult::default()
                },
            }
        });
        DescribeUserScramCredentialsResponse {
            results: results.collect(),
            ..DescribeUserScramCredentialsResponse::default()
        }
    }

    fn credentials_of(&self, user: &str) -> Vec<CredentialInfo> {
        let from = (user.to_owned(), i8::MIN);
        self.scram()
            .range(from..)
            .take_while(|((name, _), _)| name == user)
            .map(|((_, mechanism), credential)| CredentialInfo {
                mechanism: *mechanism,
                iterations: credential.iterations,
                ..CredentialInfo::default()
            })
            .collect()
    }
}
