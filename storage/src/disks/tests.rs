use super::*;

#[test]
fn the_reserve_is_two_percent_and_at_most_a_gibibyte() {
    assert_eq!(reserve_default(0), 0);
    assert_eq!(reserve_default(10 << 30), (10 << 30) / 50);
    assert_eq!(reserve_default(50 << 30), 1 << 30);
    assert_eq!(reserve_default(16 << 40), 1 << 30);
}

#[test]
fn a_disk_is_full_at_the_reserve_and_not_full_a_sixteenth_above_it() {
    let reserve = 1600;
    for (before, free, after) in [
        (Fullness::Room, 1601, Fullness::Room),
        (Fullness::Room, 1600, Fullness::Full),
        (Fullness::Room, 0, Fullness::Full),
        (Fullness::Full, 1601, Fullness::Full),
        (Fullness::Full, 1700, Fullness::Full),
        (Fullness::Full, 1701, Fullness::Room),
        (Fullness::Full, u64::MAX, Fullness::Room),
    ] {
        assert_eq!(before.after(free, reserve), after, "{before:?} {free}");
    }
    // Without a reserve only a disk without a byte is full.
    assert_eq!(Fullness::Room.after(1, 0), Fullness::Room);
    assert_eq!(Fullness::Room.after(0, 0), Fullness::Full);
    assert_eq!(Fullness::Full.after(u64::MAX, u64::MAX), Fullness::Full);
}

#[test]
fn allowances_together_stay_above_the_reserve() {
    for (free, reserve, sharers) in [(1000, 100, 7), (100, 100, 3), (0, 5, 1), (u64::MAX, 0, 64)] {
        let together = allowance(free, reserve, sharers).checked_mul(sharers as u64);
        assert!(together.is_some_and(|bytes| bytes <= free.saturating_sub(reserve)));
    }
    assert_eq!(allowance(1000, 0, 0), 1000);
}

#[test]
fn the_least_loaded_usable_directory_takes_a_new_partition() {
    assert_eq!(least_loaded(&[3, 1, 2], |_| true), Some(1));
    assert_eq!(least_loaded(&[3, 1, 2], |at| at != 1), Some(2));
    assert_eq!(least_loaded(&[2, 2, 2], |_| true), Some(0));
    assert_eq!(least_loaded(&[2, 2], |_| false), None);
    assert_eq!(least_loaded(&[], |_| true), None);
}
