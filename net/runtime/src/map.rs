//! Owns: the hash maps of the project.
//! Lives on: everywhere.
//! Invariants: every map of a process hashes with the one seed handed in at boot, so a stranger cannot
//! aim collisions and a simulation is repeatable.
//! Not here: ordered maps (`BTreeMap` is fine as it is).

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A hash map with the seed of the process.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seeded>;
/// A hash set with the seed of the process.
pub type Set<K> = hashbrown::HashSet<K, Seeded>;

static SEED: OnceLock<(u64, SharedSeed)> = OnceLock::new();

/// Fixes the seed of all maps of this process. The first call (or the first map) wins; the answer says
/// whether this call did.
pub fn seed_maps(seed: u64) -> bool {
    SEED.set((seed, SharedSeed::from_u64(seed))).is_ok()
}

/// Hashes with the seed of the process.
#[derive(Debug, Clone)]
pub struct Seeded(SeedableRandomState);

impl Default for Seeded {
    fn default() -> Self {
        let (seed, shared) = SEED.get_or_init(|| {
            let seed = entropy();
            (seed, SharedSeed::from_u64(seed))
        });
        Self(SeedableRandomState::with_seed(*seed, shared))
    }
}

impl BuildHasher for Seeded {
    type Hasher = <SeedableRandomState as BuildHasher>::Hasher;
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// 64 bits from the operating system, also outside of a runtime: for ids made before one runs.
pub fn entropy() -> u64 {
    RandomState::new().hash_one(0x0063_6f72_656c_6f67_u64)
}
