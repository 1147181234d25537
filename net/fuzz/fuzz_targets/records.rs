//! Records of internal topics and of the metadata log, and other data: the first two bytes choose.

#![no_main]

use bytes::Bytes;
use corelog_net::wire::visit;
use corelog_net_fuzz::Feed;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [name, version, body @ ..] = data else {
        return;
    };
    let name = visit::DATA[usize::from(*name) % visit::DATA.len()];
    visit::data(
        name,
        Feed {
            version: *version,
            body: Bytes::copy_from_slice(body),
        },
    );
});
