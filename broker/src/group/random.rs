//! Owns the coordinator's source of member ids.
//! Lives inside its coordinator.
//! Invariants: the same seed gives the same ids.
//! Not here: entropy; the shell hands in the seed.

use corelog_net::wire::Uuid;

/// `SplitMix64`: every seed gives a full period, and 64 bits of state are enough to tell members apart.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 UUID as Kafka prints its own: 22 characters.
    pub(super) fn short_uuid(&mut self) -> String {
        loop {
            let (high, low) = self.version_4();
            let text = Uuid((u128::from(high) << 64 | u128::from(low)).to_be_bytes()).to_string();
            // Kafka's too never begin like an option of a command line.
            if !text.starts_with('-') {
                return text;
            }
        }
    }

    fn version_4(&mut self) -> (u64, u64) {
        let high = self.next() & !0xf000 | 0x4000;
        let low = self.next() & !(0b11 << 62) | (0b10 << 62);
        (high, low)
    }

    /// A version 4 UUID as Java prints it.
    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = self.version_4();
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}
