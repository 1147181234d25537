//! What the targets share: any bytes through the codec of one message.
//!
//! **Owns** the property: decoding stays within its budget, and what decodes encodes, to bytes that
//! decode and encode to themselves.

use bytes::Bytes;
use corelog_net::wire::visit::Visitor;
use corelog_net::wire::{Budget, Decoder, Message};

/// Feeds a body to a message, in the version that the byte chooses.
pub struct Feed {
    pub version: u8,
    pub body: Bytes,
}

impl Visitor for Feed {
    type Output = ();

    fn visit<M: Message>(self) {
        let (first, last) = (*M::VALID_VERSIONS.start(), *M::VALID_VERSIONS.end());
        let version = first + i16::from(self.version) % (last - first + 1);
        let Some(message) = decode::<M>(&self.body, version) else {
            return;
        };
        let once = Bytes::from(
            message
                .to_vec(version)
                .expect("what was decoded can be encoded"),
        );
        let again = decode::<M>(&once, version).expect("what was encoded can be decoded");
        assert_eq!(once, again.to_vec(version).expect("encodes"), "{}", M::NAME);
    }
}

fn decode<M: Message>(body: &Bytes, version: i16) -> Option<M> {
    let mut budget = Budget::for_frame(body.len());
    let message = M::decode(&mut Decoder::new(body, &mut budget), version);
    assert!(budget.used() <= 4 * body.len() + 4 * 1024 * 1024);
    message.ok()
}
