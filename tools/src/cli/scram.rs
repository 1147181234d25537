//! **Owns** SCRAM credentials as a client makes them: a salt, and the password hashed with it many times (RFC 5802).
//! **Lives on** any thread: pure, but for [`salt`].
//! **Invariants** (1) SHA-256 and SHA-512 are those of FIPS 180-4; the tests hold them to its examples.
//! **Not here** logging in.

/// The number of a mechanism on the wire.
pub(super) fn mechanism(name: &str) -> Option<i8> {
    match name {
        "SCRAM-SHA-256" => Some(1),
        "SCRAM-SHA-512" => Some(2),
        _ => None,
    }
}

/// Its name.
pub(super) fn name(mechanism: i8) -> &'static str {
    match mechanism {
        1 => "SCRAM-SHA-256",
        2 => "SCRAM-SHA-512",
        _ => "UNKNOWN",
    }
}

/// `iterations=4096,password=secret`, in any order.
pub(super) fn credential(text: &str) -> Option<(i32, &str)> {
    let mut iterations = ITERATIONS_MIN;
    let mut password = None;
    for part in text.split(',') {
        match part.trim().split_once('=')? {
            ("iterations", number) => iterations = number.parse().ok()?,
            ("password", text) => password = Some(text),
            _ => return None,
        }
    }
    Some((iterations, password.filter(|it| !it.is_empty())?))
}

/// A new salt.
pub(super) fn salt() -> Vec<u8> {
    (0..3)
        .flat_map(|_| corelog_runtime::random().to_be_bytes())
        .collect()
}

/// `Hi(password, salt, iterations)`.
pub(super) fn salted(
    mechanism: i8,
    password: &str,
    salt: &[u8],
    iterations: i32,
) -> Option<Vec<u8>> {
    let hash: fn(&[u8]) -> Vec<u8> = match mechanism {
        1 => sha256,
        2 => sha512,
        _ => return None,
    };
    let block = if mechanism == 1 { 64 } else { 128 };
    let key = password.as_bytes();
    let mut first = salt.to_vec();
    first.extend_from_slice(&1_u32.to_be_bytes());
    let mut last = hmac(hash, block, key, &first);
    let mut result = last.clone();
    for _ in 1..iterations {
        last = hmac(hash, block, key, &last);
        for (byte, more) in result.iter_mut().zip(&last) {
            *byte ^= more;
        }
    }
    Some(result)
}

/// `StoredKey` and `ServerKey` of RFC 5802, what a broker keeps in a password's place.
pub(super) fn keys(mechanism: i8, salted: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let hash: fn(&[u8]) -> Vec<u8> = match mechanism {
        1 => sha256,
        2 => sha512,
        _ => return None,
    };
    let block = if mechanism == 1 { 64 } else { 128 };
    let client = hmac(hash, block, salted, b"Client Key");
    Some((hash(&client), hmac(hash, block, salted, b"Server Key")))
}

fn hmac(hash: fn(&[u8]) -> Vec<u8>, block: usize, key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut key = if key.len() > block {
        hash(key)
    } else {
        key.to_vec()
    };
    key.resize(block, 0);
    let pad = |with: u8| key.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let mut inner = pad(0x36);
    inner.extend_from_slice(text);
    let mut outer = pad(0x5c);
    outer.extend_from_slice(&hash(&inner));
    hash(&outer)
}

/// The first bits of the fractional parts of roots of the first primes, by integer arithmetic: what SHA-2 calls its
/// constants. `bits` is 32 or 64.
fn root_bits(prime: u128, cube: bool, bits: u32) -> u64 {
    // The largest x with x^2 (or x^3) <= prime · 2^(2·bits) (or 2^(3·bits)), whose low bits are the fraction.
    let (mut low, mut high) = (0_u128, 1_u128 << (bits + 5));
    while low + 1 < high {
        let middle = u128::midpoint(low, high);
        if power_is_at_most(middle, cube, prime, bits) {
            low = middle;
        } else {
            high = middle;
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the fraction's bits are wanted"
    )]
    let fraction = (low & ((1_u128 << bits) - 1)) as u64;
    fraction
}

/// Whether `x^2 <= prime · 2^(2·bits)`, or `x^3 <= prime · 2^(3·bits)`, without overflow.
fn power_is_at_most(x: u128, cube: bool, prime: u128, bits: u32) -> bool {
    // Long multiplication in 32-bit digits.
    let digits = |mut number: u128| {
        let mut digits = Vec::new();
        while number > 0 {
            digits.push((number & 0xffff_ffff) as u64);
            number >>= 32;
        }
        digits
    };
    let times = |a: &[u64], b: &[u64]| {
        let mut product = vec![0_u64; a.len() + b.len()];
        for (i, x) in a.iter().enumerate() {
            let mut carry = 0_u64;
            for (j, y) in b.iter().enumerate() {
                let sum = product[i + j] + x * y + carry;
                product[i + j] = sum & 0xffff_ffff;
                carry = sum >> 32;
            }
            product[i + b.len()] += carry;
        }
        product
    };
    let x = digits(x);
    let mut power = times(&x, &x);
    let mut shift = 2 * bits / 32;
    if cube {
        power = times(&power, &x);
        shift += bits / 32;
    }
    let mut limit = vec![0_u64; shift as usize];
    limit.extend(digits(prime));
    let length = power.len().max(limit.len());
    power.resize(length, 0);
    limit.resize(length, 0);
    power.iter().rev().le(limit.iter().rev())
}

fn primes(count: usize) -> Vec<u128> {
    let mut primes: Vec<u128> = Vec::new();
    let mut candidate = 2;
    while primes.len() < count {
        if primes.iter().all(|prime| candidate % prime != 0) {
            primes.push(candidate);
        }
        candidate += 1;
    }
    primes
}

/// The constants of SHA-2 with words of this many bits: initial state and round constants.
fn constants(bits: u32, rounds: usize) -> ([u64; 8], Vec<u64>) {
    let primes = primes(rounds);
    let mut state = [0; 8];
    for (word, prime) in state.iter_mut().zip(&primes) {
        *word = root_bits(*prime, false, bits);
    }
    let round = primes
        .iter()
        .map(|prime| root_bits(*prime, true, bits))
        .collect();
    (state, round)
}

/// The message, a one, zeros, and its length in bits at the end of a block.
fn padded(message: &[u8], block: usize) -> Vec<u8> {
    let mut padded = message.to_vec();
    padded.push(0x80);
    let length_size = block / 8;
    while padded.len() % block != block - length_size {
        padded.push(0);
    }
    let bits = (message.len() as u128) * 8;
    padded.extend_from_slice(&bits.to_be_bytes()[16 - length_size..]);
    padded
}

/// The rotations and shifts of a variant.
struct Variant {
    bits: u32,
    big: [[u32; 3]; 2],
    small: [[u32; 3]; 2],
}

const SHA256: Variant = Variant {
    bits: 32,
    big: [[2, 13, 22], [6, 11, 25]],
    small: [[7, 18, 3], [17, 19, 10]],
};

const SHA512: Variant = Variant {
    bits: 64,
    big: [[28, 34, 39], [14, 18, 41]],
    small: [[1, 8, 7], [19, 61, 6]],
};

fn sha256(message: &[u8]) -> Vec<u8> {
    thread_local! {
        static CONSTANTS: ([u64; 8], Vec<u64>) = constants(32, 64);
    }
    CONSTANTS.with(|constants| sha2(&SHA256, constants, message))
}

fn sha512(message: &[u8]) -> Vec<u8> {
    thread_local! {
        static CONSTANTS: ([u64; 8], Vec<u64>) = constants(64, 80);
    }
    CONSTANTS.with(|constants| sha2(&SHA512, constants, message))
}

fn sha2(variant: &Variant, (initial, round): &([u64; 8], Vec<u64>), message: &[u8]) -> Vec<u8> {
    let bits = variant.bits;
    let mask = u64::MAX >> (64 - bits);
    let rotate = |word: u64, by: u32| ((word >> by) | (word << (bits - by))) & mask;
    let big = |word: u64, [a, b, c]: [u32; 3]| rotate(word, a) ^ rotate(word, b) ^ rotate(word, c);
    let small = |word: u64, [a, b, c]: [u32; 3]| rotate(word, a) ^ rotate(word, b) ^ (word >> c);
    let add = |words: &[u64]| {
        words
            .iter()
            .fold(0_u64, |sum, word| sum.wrapping_add(*word) & mask)
    };
    let word_size = bits as usize / 8;
    let mut state = *initial;
    for block in padded(message, word_size * 16).chunks(word_size * 16) {
        let mut words: Vec<u64> = block
            .chunks(word_size)
            .map(|bytes| {
                bytes
                    .iter()
                    .fold(0, |word, byte| (word << 8) | u64::from(*byte))
            })
            .collect();
        for at in 16..round.len() {
            let (old, new) = (words[at - 15], words[at - 2]);
            words.push(add(&[
                words[at - 16],
                small(old, variant.small[0]),
                words[at - 7],
                small(new, variant.small[1]),
            ]));
        }
        // The standard's a to h, in this order.
        let mut turn = state;
        for (word, constant) in words.iter().zip(round) {
            let (e, f, g) = (turn[4], turn[5], turn[6]);
            let choice = (e & f) ^ (!e & mask & g);
            let first = add(&[turn[7], big(e, variant.big[1]), choice, *constant, *word]);
            let majority = (turn[0] & turn[1]) ^ (turn[0] & turn[2]) ^ (turn[1] & turn[2]);
            let second = add(&[big(turn[0], variant.big[0]), majority]);
            turn.rotate_right(1);
            turn[4] = add(&[turn[4], first]);
            turn[0] = add(&[first, second]);
        }
        for (word, more) in state.iter_mut().zip(turn) {
            *word = add(&[*word, more]);
        }
    }
    state
        .iter()
        .flat_map(|word| word.to_be_bytes()[8 - word_size..].to_vec())
        .collect()
}

/// Kafka's for both mechanisms.
pub(super) const ITERATIONS_MIN: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        let mut text = String::new();
        for byte in bytes {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The examples of FIPS 180-4.
    #[test]
    fn hashes_are_those_of_the_standard() {
        assert_eq!(
            hex(&sha256(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(&sha512(b"abc")),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
    }

    /// RFC 7677: user "user", password "pencil".
    #[test]
    fn a_password_is_salted_as_in_the_rfc() {
        let salt = [
            0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36,
            0xfa, 0x81,
        ];
        let salted = salted(1, "pencil", &salt, 4096).unwrap();
        assert_eq!(
            hex(&salted),
            "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d"
        );
    }

    #[test]
    fn credentials_are_read() {
        assert_eq!(credential("password=pw"), Some((4096, "pw")));
        assert_eq!(
            credential("iterations=8192,password=pw"),
            Some((8192, "pw"))
        );
        assert_eq!(credential("iterations=8192"), None);
        assert_eq!(credential("pw"), None);
    }
}
