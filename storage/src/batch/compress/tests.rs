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

/// Nothing, less than a match, what repeats, what does not, and the block's border.
fn lz4_samples() -> Vec<Vec<u8>> {
    let noise = |size: u32| -> Vec<u8> {
        let mut state = 1_u64;
        (0..size)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
            .collect()
    };
    let mut samples = samples();
    for size in [
        11,
        12,
        13,
        14,
        16,
        17,
        300,
        (64 << 10) - 1,
        64 << 10,
        (64 << 10) + 1,
        200_000,
    ] {
        samples.push(vec![7; size]);
        samples.push(b"abcde".iter().copied().cycle().take(size).collect());
        samples.push(noise(u32::try_from(size).unwrap()));
    }
    let mut mixed = noise(5_000);
    mixed.extend_from_within(100..4_000);
    mixed.extend(noise(300));
    mixed.extend_from_within(50..5_000);
    samples.push(mixed);
    samples
}

#[test]
fn lz4_of_every_level_inflates() {
    for level in [1, 2, 4, 8, 10, 13, 17] {
        for data in lz4_samples() {
            let compressed = deflate(Codec::Lz4, Some(level), &data);
            assert!(looks_like(Codec::Lz4, &compressed));
            assert_eq!(
                inflate(Codec::Lz4, &compressed, data.len().max(1)).unwrap(),
                data,
                "level {level}, {} bytes",
                data.len()
            );
            // Never more than the frame and four bytes a block above the data.
            assert!(compressed.len() <= data.len() + 11 + 4 * data.len().div_ceil(64 << 10));
        }
    }
}

#[test]
fn lz4_level_9_is_the_fast_one() {
    let data = samples().pop().unwrap();
    assert_eq!(
        deflate(Codec::Lz4, Some(9), &data),
        deflate(Codec::Lz4, None, &data)
    );
    assert!(deflate(Codec::Lz4, Some(10), &data).len() < deflate(Codec::Lz4, None, &data).len());
}

proptest::proptest! {
    #[test]
    fn lz4_searches_never_lose_a_byte(
        level in 1..=17,
        pieces in proptest::collection::vec((0..4_usize, 1..600_usize, 0..=255_u8), 0..40),
    ) {
        let mut data: Vec<u8> = Vec::new();
        for (kind, size, byte) in pieces {
            match kind {
                0 => data.extend(std::iter::repeat_n(byte, size)),
                1 => data.extend((0..size).map(|n| byte.wrapping_add((n % 251).to_be_bytes()[7]))),
                _ => {
                    let from = data.len().saturating_sub(size * kind);
                    let to = (from + size).min(data.len());
                    data.extend_from_within(from..to);
                }
            }
        }
        let compressed = deflate(Codec::Lz4, Some(level), &data);
        proptest::prop_assert_eq!(inflate(Codec::Lz4, &compressed, data.len().max(1)).unwrap(), data);
    }
}
