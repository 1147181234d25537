//! **Owns** LZ4 at levels that try harder: chains of earlier places with the same four bytes, searched as deep as the
//! level says, and one look ahead before a match is taken.
//! **Lives on** any thread; large work belongs on a companion.
//! **Invariants** (1) Every decoder of LZ4 frames reads what is written: blocks of at most 64 KiB, each by itself. (2)
//! The tables are bounded and reused; nothing is allocated per block but the output.
//! **Not here** the default level, which is the fast one (`lz4_flex`).
//!
//! ```text
//! frame    | magic 4 | flags 0x60 | block size 0x40 | checksum of the two 0x82 | blocks | 0 0 0 0 |
//! block    | size u32 le, top bit: stored | bytes |
//! sequence | token: literals << 4, match - 4 | more literals | literals | distance u16 le | more match |
//! ```

/// Compresses at levels above and below Kafka's default.
#[derive(Default)]
pub(super) struct Lz4Hc {
    /// Place behind the last one with a hash; 0 is none.
    heads: Vec<u32>,
    /// The place before each, of the same hash.
    previous: Vec<u32>,
    block: Vec<u8>,
}

/// A stretch that was there before.
#[derive(Clone, Copy)]
struct Match {
    size: usize,
    distance: usize,
}

impl Lz4Hc {
    /// Appends `data` as one frame to `to`.
    pub(super) fn append(&mut self, level: i32, data: &[u8], to: &mut Vec<u8>) {
        let depth = 1 << (level.clamp(1, LEVEL_MAX) - 1).unsigned_abs();
        to.extend_from_slice(&FRAME_HEAD);
        for input in data.chunks(BLOCK_SIZE) {
            self.compress(input, depth);
            let stored = self.block.len() >= input.len();
            let body = if stored { input } else { &self.block };
            // A block has at most 64 KiB: 17 bits.
            let [_, high, middle, low] = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
            to.extend_from_slice(&[low, middle, high, if stored { 0x80 } else { 0 }]);
            to.extend_from_slice(body);
        }
        to.extend_from_slice(&[0; 4]);
    }

    /// Compresses one block into `self.block`.
    fn compress(&mut self, input: &[u8], depth: usize) {
        self.heads.clear();
        self.heads.resize(1 << HASH_BITS, 0);
        self.previous.resize(BLOCK_SIZE, 0);
        self.block.clear();
        let (mut position, mut anchor, mut known) = (0, 0, 0);
        while position + MATCH_BEFORE_END <= input.len() {
            self.learn(input, &mut known, position);
            let Some(mut found) = self.search(input, position, depth) else {
                position += 1;
                continue;
            };
            // A longer match one byte later is worth a literal.
            while position + 1 + MATCH_BEFORE_END <= input.len() {
                self.learn(input, &mut known, position + 1);
                match self.search(input, position + 1, depth) {
                    Some(later) if later.size > found.size + 1 => {
                        position += 1;
                        found = later;
                    }
                    _ => break,
                }
            }
            sequence(&mut self.block, &input[anchor..position], Some(found));
            position += found.size;
            anchor = position;
        }
        sequence(&mut self.block, &input[anchor..], None);
    }

    /// Enters all places from `known` to before `until` into the chains.
    fn learn(&mut self, input: &[u8], known: &mut usize, until: usize) {
        while *known < until {
            let hash = hash(input, *known);
            self.previous[*known] = self.heads[hash];
            *known += 1;
            self.heads[hash] = u32::try_from(*known).unwrap_or(0);
        }
    }

    /// The longest stretch before `position` that is repeated there.
    fn search(&self, input: &[u8], position: usize, depth: usize) -> Option<Match> {
        let limit = input.len() - LITERALS_AT_END;
        let mut best = Match {
            size: MATCH_MIN - 1,
            distance: 0,
        };
        let mut place = self.heads[hash(input, position)];
        for _ in 0..depth {
            let Some(at) = (place as usize).checked_sub(1) else {
                break;
            };
            // Only what also agrees one byte further than the best can be longer.
            if input[at + best.size] == input[position + best.size] {
                let size = common(&input[at..], &input[position..limit]);
                if size > best.size {
                    best = Match {
                        size,
                        distance: position - at,
                    };
                    if position + size == limit {
                        break;
                    }
                }
            }
            place = self.previous[at];
        }
        (best.size >= MATCH_MIN).then_some(best)
    }
}

/// How many bytes `a` and `b` have in common at their start.
fn common(a: &[u8], b: &[u8]) -> usize {
    let (mut a_words, mut b_words) = (a.chunks_exact(8), b.chunks_exact(8));
    let mut same = 0;
    for (x, y) in a_words.by_ref().zip(b_words.by_ref()) {
        if x != y {
            break;
        }
        same += 8;
    }
    let rest = a[same..].iter().zip(&b[same..]);
    same + rest.take_while(|(x, y)| x == y).count()
}

/// Writes literals and the match behind them; without a match, the block's end.
fn sequence(to: &mut Vec<u8>, literals: &[u8], found: Option<Match>) {
    let more = found.map_or(0, |found| found.size - MATCH_MIN);
    let nibble = |size: usize| u8::try_from(size.min(15)).unwrap_or(15);
    to.push(nibble(literals.len()) << 4 | nibble(more));
    length(to, literals.len());
    to.extend_from_slice(literals);
    if let Some(found) = found {
        // Below 64 KiB: the block is no longer.
        let [high, low] = u16::try_from(found.distance).unwrap_or(0).to_be_bytes();
        to.extend_from_slice(&[low, high]);
        length(to, more);
    }
}

/// What of a length does not fit its four bits.
fn length(to: &mut Vec<u8>, size: usize) {
    let Some(mut rest) = size.checked_sub(15) else {
        return;
    };
    while rest >= 255 {
        to.push(255);
        rest -= 255;
    }
    to.push(u8::try_from(rest).unwrap_or(0));
}

fn hash(input: &[u8], position: usize) -> usize {
    let word: [u8; 4] = [
        input[position],
        input[position + 1],
        input[position + 2],
        input[position + 3],
    ];
    (u32::from_be_bytes(word).wrapping_mul(2_654_435_761) >> (32 - HASH_BITS)) as usize
}

/// Magic, then flags: version 1, independent blocks, no checksums; 64 KiB blocks; the second byte of their xxHash32.
const FRAME_HEAD: [u8; 7] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82];
const BLOCK_SIZE: usize = 64 << 10;
/// 4,096 places looked at; Kafka's levels go on to 17, where 65,536 would be looked at for next to no gain.
const LEVEL_MAX: i32 = 13;
const HASH_BITS: u32 = 15;
const MATCH_MIN: usize = 4;
/// The format's rules: the last five bytes are literals, the last match begins twelve before the end.
const LITERALS_AT_END: usize = 5;
const MATCH_BEFORE_END: usize = 12;

const _: () = assert!(MATCH_BEFORE_END > LITERALS_AT_END + MATCH_MIN);
