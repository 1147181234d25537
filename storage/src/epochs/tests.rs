use super::*;

fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
    let mut epochs = LeaderEpochs::new();
    for &(epoch, offset) in entries {
        assert!(epochs.assign(LeaderEpoch(epoch), Offset(offset)));
    }
    epochs
}

fn plain(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
    epochs
        .entries()
        .iter()
        .map(|entry| (entry.epoch.0, entry.start_offset.0))
        .collect()
}

#[test]
fn an_epoch_is_assigned_once_and_contradictions_go() {
    let mut epochs = epochs(&[(0, 0), (2, 10), (5, 30)]);
    assert!(!epochs.assign(LeaderEpoch(5), Offset(40)));
    assert!(!epochs.assign(LeaderEpoch(5), Offset(30)));
    assert!(!epochs.assign(LeaderEpoch::NONE, Offset(50)));
    assert!(
        epochs.assign(LeaderEpoch(5), Offset(25)),
        "an earlier start is news"
    );
    assert_eq!(plain(&epochs), [(0, 0), (2, 10), (5, 25)]);
    assert!(
        epochs.assign(LeaderEpoch(7), Offset(10)),
        "what lies beyond was never written"
    );
    assert_eq!(plain(&epochs), [(0, 0), (7, 10)]);
    assert!(
        epochs.assign(LeaderEpoch(3), Offset(20)),
        "an older epoch further on"
    );
    assert_eq!(plain(&epochs), [(0, 0), (3, 20)]);
}

#[test]
fn an_epoch_ends_where_the_next_began() {
    let epochs = epochs(&[(1, 10), (2, 20), (5, 30)]);
    let end = |epoch| {
        epochs
            .end_offset_for(LeaderEpoch(epoch), Offset(99))
            .map(|end| (end.epoch.0, end.end_offset.0))
    };
    assert_eq!(end(-1), None);
    assert_eq!(end(0), Some((0, 10)), "before all known");
    assert_eq!(end(1), Some((1, 20)));
    assert_eq!(end(2), Some((2, 30)));
    assert_eq!(end(4), Some((2, 30)), "a gap belongs to the epoch before");
    assert_eq!(end(5), Some((5, 99)));
    assert_eq!(end(6), None, "newer than all known");
    assert_eq!(
        LeaderEpochs::new().end_offset_for(LeaderEpoch(0), Offset(0)),
        None
    );
}

#[test]
fn offsets_belong_to_the_last_epoch_before_them() {
    let epochs = epochs(&[(1, 10), (2, 20)]);
    let of = |offset| epochs.epoch_of(Offset(offset)).map(LeaderEpoch::value);
    assert_eq!(
        [of(9), of(10), of(19), of(20), of(99)],
        [None, Some(1), Some(1), Some(2), Some(2)]
    );
    assert_eq!(
        epochs.before(LeaderEpoch(2)).map(|entry| entry.epoch),
        Some(LeaderEpoch(1))
    );
    assert_eq!(epochs.before(LeaderEpoch(1)), None);
    assert_eq!(
        epochs.earliest().map(|entry| entry.start_offset),
        Some(Offset(10))
    );
}

#[test]
fn both_ends_can_be_cut() {
    let full = epochs(&[(1, 10), (2, 20), (5, 30)]);
    for (to, left) in [(31, 3), (30, 2), (20, 1), (11, 1), (10, 0)] {
        let mut epochs = full.clone();
        assert_eq!(epochs.truncate_to(Offset(to)), left != 3, "{to}");
        assert_eq!(epochs.entries().len(), left, "{to}");
    }
    for (from, expected) in [
        (5, vec![(1, 10), (2, 20), (5, 30)]),
        (10, vec![(1, 10), (2, 20), (5, 30)]),
        (15, vec![(1, 15), (2, 20), (5, 30)]),
        (20, vec![(2, 20), (5, 30)]),
        (99, vec![(5, 99)]),
    ] {
        let mut epochs = full.clone();
        assert_eq!(epochs.start_moved_to(Offset(from)), from > 10, "{from}");
        assert_eq!(plain(&epochs), expected, "{from}");
    }
    assert!(!LeaderEpochs::new().start_moved_to(Offset(5)));
}

#[test]
fn the_file_is_kafkas() {
    let text = "0\n3\n0 0\n2 1\n4 2\n";
    let epochs = LeaderEpochs::parse(text.as_bytes()).unwrap();
    assert_eq!(plain(&epochs), [(0, 0), (2, 1), (4, 2)]);
    assert_eq!(epochs.print(), text);
    for (wrong, line) in [
        ("", 1),
        ("1\n0\n", 1),
        ("0\n", 2),
        ("0\nx\n", 2),
        ("0\n-1\n", 2),
        ("0\n2\n0 0\n", 4),
        ("0\n1\n0 0\n1 1\n", 4),
        ("0\n1\n0\n", 3),
        ("0\n1\n0 0 0\n", 3),
        ("0\n1\nzero 0\n", 3),
        ("0\n2\n1 0\n1 5\n", 4),
        ("0\n2\n1 5\n2 5\n", 4),
    ] {
        assert_eq!(
            LeaderEpochs::parse(wrong.as_bytes()).unwrap_err().line,
            line,
            "{wrong:?}"
        );
    }
}
