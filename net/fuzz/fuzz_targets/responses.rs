//! Responses of every API and version: the first two bytes choose. All bytes are also read as a
//! response header.

#![no_main]

use bytes::Bytes;
use corelog_net::wire::header::ResponseHeader;
use corelog_net::wire::{ApiKey, Budget, Decoder, visit};
use corelog_net_fuzz::Feed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let frame = Bytes::copy_from_slice(data);
    let _ = ResponseHeader::decode(
        &mut Decoder::new(&frame, &mut Budget::new(1 << 16)),
        ApiKey::Metadata,
        13,
    );
    let [api, version, ..] = *data else { return };
    let api = ApiKey::ALL[usize::from(api) % ApiKey::ALL.len()];
    visit::response(
        api,
        Feed {
            version,
            body: frame.slice(2..),
        },
    );
});
