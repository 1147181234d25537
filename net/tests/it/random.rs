//! Random messages of every schema and version, written by the interpreter, through the codec.

use bytes::Bytes;
use corelog_net::wire::visit::{self, Visitor};
use corelog_net::wire::{ApiKey, Budget, DecodeError, Decoder, Message};

use crate::schema::{Random, Schema};

/// Visits all messages that have versions.
pub(crate) fn for_all<V: Visitor<Output = ()>>(mut visitor: impl FnMut() -> V) {
    for &api in ApiKey::ALL {
        let removed = visit::request(api, visitor()).is_none();
        assert_eq!(removed, visit::response(api, visitor()).is_none());
        assert_eq!(removed, api.valid_versions().is_empty());
    }
    for name in visit::DATA {
        visit::data(name, visitor()).expect("listed");
    }
}

fn decode<M: Message>(bytes: &[u8], version: i16) -> Result<(M, usize), DecodeError> {
    let bytes = Bytes::copy_from_slice(bytes);
    let mut budget = Budget::for_frame(bytes.len());
    let mut d = Decoder::new(&bytes, &mut budget);
    let message = M::decode(&mut d, version)?;
    Ok((message, d.remaining()))
}

struct RoundTrip;

impl Visitor for RoundTrip {
    type Output = ();

    fn visit<M: Message>(self) {
        let schema = Schema::load(M::NAME);
        for version in M::VALID_VERSIONS {
            for seed in 0..24 {
                let value = schema.random(version, &mut Random::new(seed));
                let bytes = schema.write(version, &value, seed % 3 == 0);
                let context = || format!("{} v{version} seed {seed}: {value}", M::NAME);
                let (message, left) = decode::<M>(&bytes, version)
                    .unwrap_or_else(|error| panic!("{}: {error}", context()));
                assert_eq!(left, 0, "{}", context());
                let again = message
                    .to_vec(version)
                    .expect("what was decoded can be encoded");
                assert_eq!(again, bytes, "{}", context());
                assert!(bytes.len() >= M::size_min(version), "{}", context());
            }
        }
    }
}

#[test]
fn random_messages_survive_decoding_and_encoding() {
    for_all(|| RoundTrip);
}

struct Defaults;

impl Visitor for Defaults {
    type Output = ();

    fn visit<M: Message>(self) {
        let schema = Schema::load(M::NAME);
        for version in M::VALID_VERSIONS {
            // No field given: the interpreter writes the schema's defaults.
            let bytes = schema.write(version, &serde_json::json!({}), false);
            let (message, _) = decode::<M>(&bytes, version).expect("defaults decode");
            let (again, _) =
                decode::<M>(&message.to_vec(version).expect("encodes"), version).expect("decodes");
            assert_eq!(
                message.to_vec(version).expect("encodes"),
                again.to_vec(version).expect("encodes"),
                "{} v{version}",
                M::NAME
            );
        }
        let outside = [M::VALID_VERSIONS.start() - 1, M::VALID_VERSIONS.end() + 1];
        for version in outside {
            let refused = decode::<M>(&[0; 64], version).err();
            let message = M::NAME;
            assert_eq!(
                refused,
                Some(DecodeError::UnsupportedVersion { message, version })
            );
        }
    }
}

#[test]
fn defaults_encode_in_every_version_and_other_versions_are_refused() {
    for_all(|| Defaults);
}

struct Mutated;

impl Visitor for Mutated {
    type Output = ();

    fn visit<M: Message>(self) {
        let schema = Schema::load(M::NAME);
        for version in M::VALID_VERSIONS {
            for seed in 0..4 {
                let mut random = Random::new(seed + 1000);
                let value = schema.random(version, &mut random);
                let bytes = schema.write(version, &value, false);
                for size in 0..bytes.len() {
                    // A shorter message may only be accepted when nothing was missing.
                    if let Ok((message, left)) = decode::<M>(&bytes[..size], version) {
                        let again = message.to_vec(version).expect("decoded");
                        assert_eq!(again.len() + left, size, "{} v{version}", M::NAME);
                    }
                }
                for _ in 0..40 {
                    let mut bytes = bytes.clone();
                    for _ in 0..=random.below(3) {
                        if let Some(place) = random.below(bytes.len() + 1).checked_sub(1) {
                            bytes[place] = match random.below(3) {
                                0 => 0xff,
                                1 => 0x7f,
                                _ => random.next().to_be_bytes()[0],
                            };
                        }
                    }
                    // Any answer but a panic.
                    let _ = decode::<M>(&bytes, version);
                }
            }
        }
    }
}

#[test]
fn cut_and_mutated_messages_are_refused_or_read_but_never_panic() {
    for_all(|| Mutated);
}
