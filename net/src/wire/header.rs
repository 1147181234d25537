//! Request and response headers.
//!
//! **Owns** which header version goes with which message version.
//! **Lives on** any thread.
//! **Invariants** 1. The client id of a request is never compact, also in the flexible header.
//! **Not here**: the frame's length prefix (`connection`).

use super::messages::request_header::RequestHeader as Fields;
use super::messages::response_header::ResponseHeader as ResponseFields;
use super::{ApiKey, DecodeError, Decoder, EncodeError, Encoder, RawTaggedField, Structure};

/// What stands before a request.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestHeader {
    /// The API called.
    pub api_key: ApiKey,
    /// The version of request and response; not yet known to be valid.
    pub api_version: i16,
    /// Chosen by the client, repeated in the response.
    pub correlation_id: i32,
    /// The client's name of itself.
    pub client_id: Option<String>,
    /// Tagged fields this schema does not know; empty in header version 1.
    pub unknown_tagged_fields: Vec<RawTaggedField>,
}

impl RequestHeader {
    /// Reads the header; the request follows in the decoder.
    ///
    /// The version may be one we do not know: then the header is read as Kafka reads it, flexible
    /// when the version is not below the first flexible one.
    ///
    /// # Errors
    /// The key is unknown, or the bytes are malformed.
    pub fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let (key, version) = d.peek_i16s()?;
        let api_key = ApiKey::from_key(key)?;
        let fields = Fields::read(d, api_key.request_header_version(version))?;
        Ok(Self {
            api_key,
            api_version: version,
            correlation_id: fields.correlation_id,
            client_id: fields.client_id,
            unknown_tagged_fields: fields.unknown_tagged_fields,
        })
    }

    /// Writes the header; the request follows.
    ///
    /// # Errors
    /// The client id is too long.
    pub fn encode(&self, e: &mut Encoder<'_>) -> Result<(), EncodeError> {
        let fields = Fields {
            request_api_key: self.api_key.key(),
            request_api_version: self.api_version,
            correlation_id: self.correlation_id,
            client_id: self.client_id.clone(),
            unknown_tagged_fields: self.unknown_tagged_fields.clone(),
        };
        fields.write(e, self.api_key.request_header_version(self.api_version))
    }
}

/// What stands before a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The request's.
    pub correlation_id: i32,
    /// Tagged fields this schema does not know; empty in header version 0.
    pub unknown_tagged_fields: Vec<RawTaggedField>,
}

impl ResponseHeader {
    /// A header without tagged fields.
    pub const fn new(correlation_id: i32) -> Self {
        Self {
            correlation_id,
            unknown_tagged_fields: Vec::new(),
        }
    }

    /// Reads the header that goes with this API and version; the response follows.
    ///
    /// # Errors
    /// The bytes are malformed.
    pub fn decode(d: &mut Decoder<'_>, api: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let fields = ResponseFields::read(d, api.response_header_version(version))?;
        Ok(Self {
            correlation_id: fields.correlation_id,
            unknown_tagged_fields: fields.unknown_tagged_fields,
        })
    }

    /// Writes the header that goes with this API and version; the response follows.
    ///
    /// # Errors
    /// Tagged fields are out of order.
    pub fn encode(
        &self,
        e: &mut Encoder<'_>,
        api: ApiKey,
        version: i16,
    ) -> Result<(), EncodeError> {
        e.i32(self.correlation_id);
        if api.response_header_version(version) >= 1 {
            e.unknown_tags(&self.unknown_tagged_fields)?;
        }
        Ok(())
    }
}
