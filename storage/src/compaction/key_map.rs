//! The last offset of every key, in bounded memory.
//!
//! **Owns** the table and the hash of a key.
//! **Lives on** the companion, inside a cleaning.
//! **Invariants** 1. It never holds more keys than it was made for. 2. A key's offset only grows. 3. The hash is keyed with
//! a number that clients do not know, so that nobody can choose two keys of one hash.
//! **Not here** which records are put in (`compaction`).
//!
//! Keys are known by 128 bits of hash alone, as in Kafka: with 2^32 keys the chance that any two share a hash is below
//! 2^-64. An entry is 24 bytes: two halves of the hash and the offset plus one, 0 for an empty slot.

use crate::types::Offset;

/// Bytes of one slot; `log.cleaner.dedupe.buffer.size` divided by it is how many keys fit.
pub(crate) const SLOT_SIZE: usize = 24;

#[derive(Debug)]
pub(super) struct KeyMap {
    slots: Vec<[u64; 3]>,
    /// Keys that may be put in.
    limit: usize,
    len: usize,
    seed: [u64; 2],
}

impl KeyMap {
    /// A map for up to `keys` keys, as far as `bytes` filled to `load` (between 0 and 1) allow; at least one.
    pub(super) fn new(keys: u64, bytes: usize, load: f64, seed: [u64; 2]) -> Self {
        let slots_max = (bytes / SLOT_SIZE).max(2);
        let per_mille = scaled(load);
        // One slot stays empty always, or a search for an absent key would not end.
        let limit_max = (slots_max / 1000 * per_mille + slots_max % 1000 * per_mille / 1000)
            .clamp(1, slots_max - 1);
        let limit = usize::try_from(keys)
            .unwrap_or(usize::MAX)
            .clamp(1, limit_max);
        let slots = (limit / per_mille * 1000 + limit % per_mille * 1000 / per_mille + 2)
            .clamp(limit + 1, slots_max);
        Self {
            slots: vec![[0; 3]; slots],
            limit,
            len: 0,
            seed,
        }
    }

    /// How many keys are known.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Notes a record. `false`: there is no room for its key, nothing was noted.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.slot(hash);
        let stored = encode(offset);
        let slot = &mut self.slots[at];
        if slot[2] == 0 {
            if self.len >= self.limit {
                return false;
            }
            self.len += 1;
            *slot = [hash[0], hash[1], stored];
        } else {
            slot[2] = slot[2].max(stored);
        }
        true
    }

    /// The last offset noted of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = &self.slots[self.slot(self.hash(key))];
        let offset = slot[2].checked_sub(1)?;
        Some(Offset(i64::try_from(offset).unwrap_or(i64::MAX)))
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        siphash128(self.seed, key)
    }

    /// The slot that holds the key, or the empty one where it belongs.
    fn slot(&self, hash: [u64; 2]) -> usize {
        // The high bits of a product spread over the table without a division.
        let wide = u128::from(hash[0]) * self.slots.len() as u128;
        let mut at = usize::try_from(wide >> 64).unwrap_or_default();
        loop {
            let slot = &self.slots[at];
            if slot[2] == 0 || (slot[0] == hash[0] && slot[1] == hash[1]) {
                return at;
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }
}

/// A load factor in thousandths, between a thousandth and the whole.
fn scaled(load: f64) -> usize {
    (1..=1000_u16)
        .rev()
        .find(|part| f64::from(*part) <= load * 1000.0)
        .map_or(1, usize::from)
}

fn encode(offset: Offset) -> u64 {
    offset.0.unsigned_abs() + 1
}

/// SipHash-2-4 with 128 bits of result.
fn siphash128(seed: [u64; 2], bytes: &[u8]) -> [u64; 2] {
    let mut v = [
        seed[0] ^ 0x736f_6d65_7073_6575,
        seed[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        seed[0] ^ 0x6c79_6765_6e65_7261,
        seed[1] ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        absorb(&mut v, word_of(*word));
    }
    let mut last = [0_u8; 8];
    last[..rest.len()].copy_from_slice(rest);
    absorb(&mut v, word_of(last) | (bytes.len() as u64) << 56);
    v[2] ^= 0xee;
    for _ in 0..4 {
        round(&mut v);
    }
    let first = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for _ in 0..4 {
        round(&mut v);
    }
    [first, v[0] ^ v[1] ^ v[2] ^ v[3]]
}

/// The algorithm reads its words with the lowest byte first.
fn word_of(bytes: [u8; 8]) -> u64 {
    u64::from_be_bytes(bytes).swap_bytes()
}

fn absorb(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    round(v);
    v[0] ^= word;
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests;
