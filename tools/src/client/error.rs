//! **Owns** the ways a call to a broker fails, and which of them are worth another try.
//! **Lives on** any thread: plain values.
//! **Not here** what a command prints about them (`cli`).
//! **Invariants** none beyond the types'.

use corelog_net::client::ClientError;
use corelog_net::wire::ErrorCode;

/// A client could not be made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// No bootstrap broker answered.
    #[error("no bootstrap broker answers: {0}")]
    Bootstrap(#[source] Box<CallError>),
}

/// A request got no response that could be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// There is no bootstrap address.
    #[error("no bootstrap address is given")]
    NoBootstrap,
    /// An address is not `host:port`.
    #[error("'{0}' is not host:port")]
    BadAddress(String),
    /// A host name has no address.
    #[error("cannot resolve '{host}': {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// The metadata names no such broker.
    #[error("broker {0} is not known")]
    UnknownNode(i32),
    /// The connection failed, or the response is not readable.
    #[error(transparent)]
    Wire(#[from] ClientError),
}

impl CallError {
    /// Whether the same call may succeed later, or elsewhere.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::UnknownNode(_) => true,
            Self::NoBootstrap | Self::BadAddress(_) | Self::Resolve { .. } => false,
            Self::Wire(error) => match error {
                ClientError::Connect { .. }
                | ClientError::Closed { .. }
                | ClientError::Io { .. }
                | ClientError::ClosedHere
                | ClientError::TimedOut { .. } => true,
                ClientError::Decode { .. }
                | ClientError::Header(_)
                | ClientError::Encode(_)
                | ClientError::TooLarge
                | ClientError::Correlation { .. }
                | ClientError::ResponseSize(_)
                | ClientError::NoVersion(_)
                | ClientError::ApiVersions(_) => false,
            },
        }
    }

    /// Whether broker and client have no version of the API in common.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Self::Wire(ClientError::NoVersion(_)))
    }
}

/// A call failed, or was answered with an error code.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ApiError {
    /// No readable response.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The broker refused.
    #[error("{}", self.text())]
    Refused {
        /// Its code.
        code: ErrorCode,
        /// Its words, when it sent any.
        message: Option<String>,
    },
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        Self::Call(error.into())
    }
}

impl ApiError {
    /// A refusal without words.
    pub fn code(code: ErrorCode) -> Self {
        Self::Refused {
            code,
            message: None,
        }
    }

    /// `Ok` for code 0, else the refusal.
    pub fn check(code: i16, message: Option<String>) -> Result<(), Self> {
        match code_of(code) {
            ErrorCode::None => Ok(()),
            code => Err(Self::Refused { code, message }),
        }
    }

    /// The broker's code, when it answered.
    pub fn refusal(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Call(_) => None,
        }
    }

    /// Whether the same call may succeed later, or elsewhere.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Call(error) => error.is_retriable(),
            Self::Refused { code, .. } => code.is_retriable(),
        }
    }

    /// The broker's words, or those that go with its code.
    pub fn text(&self) -> String {
        match self {
            Self::Call(error) => error.to_string(),
            Self::Refused {
                message: Some(message),
                ..
            } => message.clone(),
            Self::Refused { code, .. } => code.message().to_owned(),
        }
    }
}

/// The code of a number; numbers of later releases count as unknown server errors, as in Kafka's clients.
pub(crate) fn code_of(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError)
}

/// The name of a code, as `UNKNOWN_TOPIC_OR_PARTITION`.
pub fn error_name(code: i16) -> String {
    code_of(code).to_string()
}
