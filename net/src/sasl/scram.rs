//! SCRAM (RFC 5802, RFC 7677): what is kept in a password's place.
//!
//! **Owns** the mechanisms with Kafka's numbers and names, the hashing of a password with a salt, the keys made of it.
//! **Lives on** any thread: plain computation. A password takes thousands of rounds (milliseconds), its keys three.
//! **Invariants** 1. [`Keys`] are not printed.
//! **Not here**: salts (the caller draws them), logging in.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl Mechanism {
    /// The mechanism of a number from the wire.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Its number on the wire and in records.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Sha256 => 1,
            Self::Sha512 => 2,
        }
    }

    /// The mechanism of this name, as SASL and Kafka's tools write it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|one| one.name() == name)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// What a broker keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// `H(HMAC(salted password, "Client Key"))`.
    pub stored: Vec<u8>,
    /// `HMAC(salted password, "Server Key")`.
    pub server: Vec<u8>,
}

impl Keys {
    /// The keys of a salted password.
    #[must_use]
    pub fn of(mechanism: Mechanism, salted_password: &[u8]) -> Self {
        let (stored, server) = match mechanism {
            Mechanism::Sha256 => {
                let client = mac::<Hmac<Sha256>>(salted_password, CLIENT_KEY);
                let server = mac::<Hmac<Sha256>>(salted_password, SERVER_KEY);
                (Sha256::digest(client).to_vec(), server)
            }
            Mechanism::Sha512 => {
                let client = mac::<Hmac<Sha512>>(salted_password, CLIENT_KEY);
                let server = mac::<Hmac<Sha512>>(salted_password, SERVER_KEY);
                (Sha512::digest(client).to_vec(), server)
            }
        };
        Self { stored, server }
    }
}

/// `Hi(password, salt, iterations)`: the password's bytes are taken as they are, as Kafka does it.
#[must_use]
pub fn salted_password(
    mechanism: Mechanism,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
) -> Vec<u8> {
    match mechanism {
        Mechanism::Sha256 => rounds::<Hmac<Sha256>>(password, salt, iterations),
        Mechanism::Sha512 => rounds::<Hmac<Sha512>>(password, salt, iterations),
    }
}

fn rounds<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let keyed = keyed::<M>(password);
    let mut first = keyed.clone();
    first.update(salt);
    first.update(&1_u32.to_be_bytes());
    let mut last = first.finalize().into_bytes();
    let mut result = last.to_vec();
    for _ in 1..iterations {
        let mut next = keyed.clone();
        next.update(&last);
        last = next.finalize().into_bytes();
        for (byte, more) in result.iter_mut().zip(&last) {
            *byte ^= more;
        }
    }
    result
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = keyed::<M>(key);
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn keyed<M: Mac + KeyInit>(key: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// The fewest rounds that Kafka takes, for both mechanisms.
pub const ITERATIONS_MIN: i32 = 4096;

/// The most: a login costs the broker nothing by them, but every client.
pub const ITERATIONS_MAX: i32 = 16384;

const CLIENT_KEY: &[u8] = b"Client Key";
const SERVER_KEY: &[u8] = b"Server Key";

#[cfg(test)]
mod tests;
