//! **Owns** the hash that Kafka's clients choose a keyed record's partition by.
//! **Lives on** any thread.
//! **Invariants** (1) Same key, same partition as Java's `DefaultPartitioner`.
//! **Not here** what its callers decide.

/// 32-bit murmur2 with Kafka's seed.
pub(super) fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the hash takes the length modulo 2^32"
    )]
    let mut h: u32 = 0x9747_b28c ^ (data.len() as u32);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        // The bytes of a word lie lowest first, on every machine.
        let mut k = word
            .iter()
            .rev()
            .fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        let k = tail
            .iter()
            .rev()
            .fold(0_u32, |k, byte| (k << 8) | u32::from(*byte));
        h = (h ^ k).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key.
pub(super) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let positive = (murmur2(key) & 0x7fff_ffff).cast_signed();
    positive % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    /// The values of Kafka's own unit test (`UtilsTest.testMurmur2`).
    #[test]
    fn the_hash_is_that_of_java() {
        let cases: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key).cast_signed(), hash, "{key:?}");
        }
    }
}
