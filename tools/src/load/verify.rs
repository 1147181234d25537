//! **Owns** what a verified record carries, and the check of it.
//! **Lives on** any thread: pure.
//! **Invariants** (1) Per partition and run, numbers begin at 0 and go up by one.
//!
//! ```text
//! value: magic u32 | run u64 | number u64 | padding
//! ```
//! **Not here** what its callers decide.

use std::collections::BTreeMap;

/// The least size of a verified record's value.
pub const STAMP_SIZE: usize = 20;
const MAGIC: u32 = 0xC07E_106E;

/// Writes a stamp at the front of a value.
///
/// # Panics
/// When the value is shorter than [`STAMP_SIZE`].
pub fn stamp(value: &mut [u8], run: u64, number: u64) {
    value[..4].copy_from_slice(&MAGIC.to_be_bytes());
    value[4..12].copy_from_slice(&run.to_be_bytes());
    value[12..STAMP_SIZE].copy_from_slice(&number.to_be_bytes());
}

/// The run and number of a value.
pub fn read(value: &[u8]) -> Option<(u64, u64)> {
    let (magic, rest) = value.split_first_chunk::<4>()?;
    let (run, rest) = rest.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    (u32::from_be_bytes(*magic) == MAGIC)
        .then(|| (u64::from_be_bytes(*run), u64::from_be_bytes(*number)))
}

/// What is wrong with what was consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records in order.
    pub good: u64,
    /// Numbers that were skipped and did not come later.
    pub lost: u64,
    /// Numbers that had come before.
    pub duplicated: u64,
    /// Numbers that came after a larger one.
    pub reordered: u64,
    /// Records without a stamp.
    pub foreign: u64,
}

impl Findings {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reordered == 0
    }
}

/// Checks records as they are consumed.
#[derive(Debug, Default)]
pub struct Checker {
    seen: BTreeMap<(i32, u64), Seen>,
    findings: Findings,
}

#[derive(Debug, Default)]
struct Seen {
    next: u64,
    /// Numbers that were jumped over, as ranges by their start.
    gaps: BTreeMap<u64, u64>,
}

impl Checker {
    /// A record of a partition, in the order of consumption.
    pub fn see(&mut self, partition: i32, value: Option<&[u8]>) {
        let Some((run, number)) = value.and_then(read) else {
            self.findings.foreign += 1;
            return;
        };
        let seen = self.seen.entry((partition, run)).or_default();
        if number >= seen.next {
            if number > seen.next {
                seen.gaps.insert(seen.next, number);
            }
            seen.next = number + 1;
            self.findings.good += 1;
            return;
        }
        let gap = seen
            .gaps
            .range(..=number)
            .next_back()
            .map(|(from, to)| (*from, *to))
            .filter(|(_, to)| number < *to);
        let Some((from, to)) = gap else {
            self.findings.duplicated += 1;
            return;
        };
        self.findings.reordered += 1;
        seen.gaps.remove(&from);
        if from < number {
            seen.gaps.insert(from, number);
        }
        if number + 1 < to {
            seen.gaps.insert(number + 1, to);
        }
    }

    /// What was found so far; gaps count as lost.
    pub fn findings(&self) -> Findings {
        let lost = self
            .seen
            .values()
            .flat_map(|seen| &seen.gaps)
            .map(|(from, to)| to - from)
            .sum();
        Findings {
            lost,
            ..self.findings.clone()
        }
    }

    /// Records seen per partition and run: (partition, run) → the number after the last.
    pub fn ends(&self) -> BTreeMap<(i32, u64), u64> {
        self.seen
            .iter()
            .map(|(key, seen)| (*key, seen.next))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Checker, Findings, STAMP_SIZE, stamp};

    fn see(checker: &mut Checker, partition: i32, number: u64) {
        let mut value = [0; STAMP_SIZE + 3];
        stamp(&mut value, 7, number);
        checker.see(partition, Some(&value));
    }

    #[test]
    fn losses_duplicates_and_disorder_are_told_apart() {
        let mut checker = Checker::default();
        // 2 is lost for good, 4 comes late, 1 comes twice.
        for number in [0, 1, 3, 1, 5, 4, 6] {
            see(&mut checker, 0, number);
        }
        see(&mut checker, 1, 0);
        checker.see(1, Some(b"something else"));
        checker.see(1, None);
        let found = Findings {
            good: 6,
            lost: 1,
            duplicated: 1,
            reordered: 1,
            foreign: 2,
        };
        assert_eq!(checker.findings(), found);
        assert!(!checker.findings().is_clean());
    }

    #[test]
    fn what_is_in_order_is_clean() {
        let mut checker = Checker::default();
        for number in 0..1000 {
            see(&mut checker, 3, number);
        }
        assert!(checker.findings().is_clean());
        assert_eq!(checker.findings().good, 1000);
        assert_eq!(checker.ends()[&(3, 7)], 1000);
    }
}
