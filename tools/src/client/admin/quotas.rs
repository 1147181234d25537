//! **Owns** client quotas and SCRAM credentials: what is configured per user, client id and address.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use corelog_net::wire::messages::alter_client_quotas::{
    AlterClientQuotasRequest, OpData, RequestEntityData, RequestEntryData,
};
use corelog_net::wire::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use corelog_net::wire::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, EntryData,
};
use corelog_net::wire::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResult, UserName,
};

use super::Admin;
use crate::client::ApiError;

impl Admin {
    /// The quotas of all entities that fit the components.
    pub async fn describe_quotas(
        &self,
        components: Vec<ComponentData>,
        strict: bool,
    ) -> Result<Vec<EntryData>, ApiError> {
        let request = DescribeClientQuotasRequest {
            components,
            strict,
            ..DescribeClientQuotasRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)?;
        Ok(response.entries.unwrap_or_default())
    }

    /// Changes the quotas of one entity.
    pub async fn alter_quotas(
        &self,
        entity: Vec<RequestEntityData>,
        ops: Vec<OpData>,
    ) -> Result<(), ApiError> {
        let request = AlterClientQuotasRequest {
            entries: vec![RequestEntryData {
                entity,
                ops,
                ..RequestEntryData::default()
            }],
            ..AlterClientQuotasRequest::default()
        };
        let response = self.controller(&request).await?;
        for entry in response.entries {
            ApiError::check(entry.error_code, entry.error_message)?;
        }
        Ok(())
    }

    /// SCRAM credentials of users, or of all when none are named.
    pub async fn describe_scram(
        &self,
        users: Option<&[String]>,
    ) -> Result<Vec<DescribeUserScramCredentialsResult>, ApiError> {
        let request = DescribeUserScramCredentialsRequest {
            users: users.map(|users| {
                users
                    .iter()
                    .map(|name| UserName {
                        name: name.clone(),
                        ..UserName::default()
                    })
                    .collect()
            }),
            ..DescribeUserScramCredentialsRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, response.error_message)?;
        Ok(response.results)
    }

    /// Sets and deletes SCRAM credentials.
    pub async fn alter_scram(
        &self,
        upsertions: Vec<ScramCredentialUpsertion>,
        deletions: Vec<ScramCredentialDeletion>,
    ) -> Result<(), ApiError> {
        let request = AlterUserScramCredentialsRequest {
            deletions,
            upsertions,
            ..AlterUserScramCredentialsRequest::default()
        };
        let response = self.controller(&request).await?;
        for result in response.results {
            ApiError::check(result.error_code, result.error_message)?;
        }
        Ok(())
    }
}
