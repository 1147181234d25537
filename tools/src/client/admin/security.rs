//! **Owns** access control lists and delegation tokens.
//! **Lives on** the client's thread.
//! **Invariants** those of [`super`].
//! **Not here** what a command prints (`cli`).

use corelog_net::wire::messages::create_acls::{AclCreation, CreateAclsRequest};
use corelog_net::wire::messages::create_delegation_token::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse,
};
use corelog_net::wire::messages::delete_acls::{
    DeleteAclsFilter, DeleteAclsMatchingAcl, DeleteAclsRequest,
};
use corelog_net::wire::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResource};
use corelog_net::wire::messages::describe_delegation_token::{
    DescribeDelegationTokenOwner, DescribeDelegationTokenRequest, DescribedDelegationToken,
};
use corelog_net::wire::messages::expire_delegation_token::ExpireDelegationTokenRequest;
use corelog_net::wire::messages::renew_delegation_token::RenewDelegationTokenRequest;

use super::Admin;
use crate::client::ApiError;

impl Admin {
    /// The ACLs that a filter finds.
    pub async fn describe_acls(
        &self,
        filter: &DescribeAclsRequest,
    ) -> Result<Vec<DescribeAclsResource>, ApiError> {
        let response = self.anyone(filter).await?;
        ApiError::check(response.error_code, response.error_message)?;
        Ok(response.resources)
    }

    /// Creates ACLs; the first that fails is the result.
    pub async fn create_acls(&self, creations: Vec<AclCreation>) -> Result<(), ApiError> {
        let request = CreateAclsRequest {
            creations,
            ..CreateAclsRequest::default()
        };
        let response = self.controller(&request).await?;
        for result in response.results {
            ApiError::check(result.error_code, result.error_message)?;
        }
        Ok(())
    }

    /// Deletes the ACLs that filters find, and gives them.
    pub async fn delete_acls(
        &self,
        filters: Vec<DeleteAclsFilter>,
    ) -> Result<Vec<DeleteAclsMatchingAcl>, ApiError> {
        let request = DeleteAclsRequest {
            filters,
            ..DeleteAclsRequest::default()
        };
        let response = self.controller(&request).await?;
        let mut deleted = Vec::new();
        for result in response.filter_results {
            ApiError::check(result.error_code, result.error_message)?;
            deleted.extend(result.matching_acls);
        }
        Ok(deleted)
    }

    /// Creates a delegation token.
    pub async fn create_token(
        &self,
        request: &CreateDelegationTokenRequest,
    ) -> Result<CreateDelegationTokenResponse, ApiError> {
        let response = self.controller(request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response)
    }

    /// Renews a token; gives when it expires.
    pub async fn renew_token(&self, hmac: Vec<u8>, period_ms: i64) -> Result<i64, ApiError> {
        let request = RenewDelegationTokenRequest {
            hmac: hmac.into(),
            renew_period_ms: period_ms,
            ..RenewDelegationTokenRequest::default()
        };
        let response = self.controller(&request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// Changes when a token expires, −1: now; gives when it expires.
    pub async fn expire_token(&self, hmac: Vec<u8>, period_ms: i64) -> Result<i64, ApiError> {
        let request = ExpireDelegationTokenRequest {
            hmac: hmac.into(),
            expiry_time_period_ms: period_ms,
            ..ExpireDelegationTokenRequest::default()
        };
        let response = self.controller(&request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// Tokens of these owners (type, name), or all that one may see.
    pub async fn describe_tokens(
        &self,
        owners: Option<&[(String, String)]>,
    ) -> Result<Vec<DescribedDelegationToken>, ApiError> {
        let request = DescribeDelegationTokenRequest {
            owners: owners.map(|owners| {
                owners
                    .iter()
                    .map(|(kind, name)| DescribeDelegationTokenOwner {
                        principal_type: kind.clone(),
                        principal_name: name.clone(),
                        ..DescribeDelegationTokenOwner::default()
                    })
                    .collect()
            }),
            ..DescribeDelegationTokenRequest::default()
        };
        let response = self.anyone(&request).await?;
        ApiError::check(response.error_code, None)?;
        Ok(response.tokens)
    }
}
