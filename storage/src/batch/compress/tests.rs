use super::*;

fn deflate(codec: Codec, level: Option<i32>, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflate::new()
        .append(Compression { codec, level }, data, &mut out)
        .unwrap();
    out
}

fn samples() -> Vec<Vec<u8>> {
    let words: Vec<u8> = (0..200_000_u32)
        .flat_map(|n| (n % 977).to_be_bytes())
        .collect();
    vec![vec![], vec![1], vec![0; 100_000], words]
}

#[test]
fn what_is_compressed_inflates() {
    for codec in Codec::ALL {
        for data in samples() {
            for level in [None, Some(1), Some(9), Some(-1000), Some(1000)] {
                if data.len() > 1000 && level == Some(1000) {
                    continue; // Slow, and the small samples have shown the clamping.
                }
                let compressed = deflate(codec, level, &data);
                assert!(looks_like(codec, &compressed) || data.is_empty(), "{codec}");
                assert_eq!(
                    inflate(codec, &compressed, data.len()).unwrap(),
                    data,
                    "{codec} {level:?}"
                );
                if let Some(less) = data.len().checked_sub(1) {
                    assert_eq!(
                        inflate(codec, &compressed, less),
                        Err(InflateError::TooLarge { limit: less })
                    );
                }
            }
        }
    }
}

#[test]
fn snappy_is_read_bare_and_framed() {
    let data = samples().pop().unwrap();
    let bare = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    assert_eq!(inflate(Codec::Snappy, &bare, data.len()).unwrap(), data);
    let framed = deflate(Codec::Snappy, None, &data);
    assert_eq!(
        framed[..16],
        [
            0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1
        ]
    );
    let first = u32::from_be_bytes(*framed[16..].first_chunk().unwrap()) as usize;
    assert_eq!(
        snap::raw::decompress_len(&framed[20..20 + first]).unwrap(),
        32 << 10
    );
    for cut in 17..40 {
        assert!(
            inflate(Codec::Snappy, &framed[..cut], data.len()).is_err(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_snappy_block_cannot_claim_memory_that_it_cannot_fill() {
    // A claim of 4 GiB - 1 in five bytes, and then one block byte.
    let lie = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let error = inflate(Codec::Snappy, &lie, usize::MAX).unwrap_err();
    assert!(
        matches!(
            error,
            InflateError::Corrupt {
                codec: Codec::Snappy,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn lz4_frames_have_kafkas_shape() {
    let frame = deflate(Codec::Lz4, None, &[1; 1000]);
    // Magic, then version 1 with independent blocks and nothing else, then blocks of 64 KiB.
    assert_eq!(frame[..6], [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40]);
}

#[test]
fn concatenated_gzip_members_are_one_stream() {
    let two = [
        deflate(Codec::Gzip, None, b"one "),
        deflate(Codec::Gzip, None, b"two"),
    ]
    .concat();
    assert_eq!(inflate(Codec::Gzip, &two, 100).unwrap(), b"one two");
}

#[test]
fn a_zstd_window_above_the_limit_is_refused() {
    // A frame header that asks for a window of 2 GiB: descriptor 0, window descriptor (31 - 10) << 3.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 1, 0, 0];
    assert!(inflate(Codec::Zstd, &frame, 100).is_err());
}

#[test]
fn cut_data_gives_an_error_or_less_never_more() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let data = vec![3; 5000];
        let compressed = deflate(codec, None, &data);
        for cut in 0..compressed.len() {
            if let Ok(inflated) = inflate(codec, &compressed[..cut], 5000) {
                assert!(inflated.len() <= data.len());
            }
        }
    }
}

#[test]
fn names_and_ids_are_kafkas() {
    let names: Vec<_> = Codec::ALL.iter().map(|codec| codec.name()).collect();
    assert_eq!(names, ["none", "gzip", "snappy", "lz4", "zstd"]);
    assert_eq!(Codec::from_id(5), None);
    assert_eq!(Codec::from_name("uncompressed"), Some(Codec::None));
    assert_eq!(Codec::from_name("producer"), None);
}
