use std::io::Write as _;

use super::*;

#[test]
fn pushes_are_inflated_up_to_a_bound() {
    let plain = otlp::tests::message("name", 1.0, None);
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("it fits");
        Bytes::from(encoder.finish().expect("it fits"))
    };
    let zstd = |bytes: &[u8]| Bytes::from(zstd::encode_all(bytes, 1).expect("it fits"));
    let lz4 = |bytes: &[u8]| {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("it fits");
        Bytes::from(encoder.finish().expect("it fits"))
    };
    let expected = otlp::points(&plain, 10).expect("one");
    assert_eq!(
        read(Codec::None, &Bytes::from(plain.clone())),
        Ok(expected.clone())
    );
    assert_eq!(read(Codec::Gzip, &gzip(&plain)), Ok(expected.clone()));
    assert_eq!(read(Codec::Zstd, &zstd(&plain)), Ok(expected.clone()));
    assert_eq!(read(Codec::Lz4, &lz4(&plain)), Ok(expected));
    let bomb = vec![0_u8; usize::try_from(INFLATED_MAX).expect("16 MiB") + 1];
    for (codec, bytes) in [
        (Codec::Gzip, gzip(&bomb)),
        (Codec::Zstd, zstd(&bomb)),
        (Codec::Lz4, lz4(&bomb)),
    ] {
        let why = read(codec, &bytes).expect_err("a bomb");
        assert!(why.contains("more than 16777216 bytes"), "{codec:?}: {why}");
        assert!(
            read(codec, &Bytes::from_static(b"nonsense")).is_err(),
            "{codec:?}"
        );
    }
}
