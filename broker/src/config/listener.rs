//! Listeners and addresses.
//!
//! **Owns** the syntax of `listeners`, `advertised.listeners` and
//! `listener.security.protocol.map`.
//! **Lives on** no shard.
//! **Invariants**: a name has one protocol; a port is used by one listener.
//! **Not here**: sockets.

use std::fmt;

/// How bytes travel on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Bare TCP.
    Plaintext,
    /// TLS.
    Ssl,
    /// SASL over TCP.
    SaslPlaintext,
    /// SASL over TLS.
    SaslSsl,
}

impl SecurityProtocol {
    /// The number used in registrations.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "PLAINTEXT" => Some(Self::Plaintext),
            "SSL" => Some(Self::Ssl),
            "SASL_PLAINTEXT" => Some(Self::SaslPlaintext),
            "SASL_SSL" => Some(Self::SaslSsl),
            _ => None,
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        })
    }
}

/// A name and an address, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// Host name or address without brackets; empty for every interface.
    pub host: String,
    /// Port; 0 lets the system choose.
    pub port: u16,
}

impl Endpoint {
    /// Reads `NAME://host:port`; the host may be empty or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a listener of the form NAME://host:port");
        let (name, address) = text.trim().split_once("://").ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let named = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !named {
            return Err(bad());
        }
        let port = port.parse().map_err(|_| bad())?;
        Ok(Self {
            name: name.to_ascii_uppercase(),
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// A listener to bind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub endpoint: Endpoint,
    /// How.
    pub protocol: SecurityProtocol,
}

/// Reads `NAME:PROTOCOL` pairs.
pub(super) fn parse_protocol_map(text: &str) -> Result<Vec<(String, SecurityProtocol)>, String> {
    super::setting::split_list(text)
        .iter()
        .map(|pair| {
            pair.split_once(':')
                .and_then(|(name, protocol)| {
                    let protocol =
                        SecurityProtocol::from_name(&protocol.trim().to_ascii_uppercase())?;
                    Some((name.trim().to_ascii_uppercase(), protocol))
                })
                .ok_or_else(|| format!("'{pair}' is not of the form NAME:PROTOCOL"))
        })
        .collect()
}
