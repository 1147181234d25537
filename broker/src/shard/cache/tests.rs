use super::*;

fn file() -> Arc<OwnedFd> {
    Arc::new(OwnedFd::from(std::io::pipe().expect("a pipe").0))
}

#[test]
fn what_cold_readers_read_is_dropped_oldest_first() {
    let window = CacheWindow::new(1 << 30);
    let file = file();
    let piece = READ_BYTES_MAX / 4;
    for number in 0..4 {
        let range = number * piece..(number + 1) * piece;
        assert!(window.add_read(&file, range).is_empty(), "{number}");
    }
    for number in 4..40 {
        let range = number * piece..(number + 1) * piece;
        let dropped = window.add_read(&file, range);
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].range, (number - 4) * piece..(number - 3) * piece);
    }
    // Nothing of it counts against what was written.
    assert_eq!(window.bytes.get(), 0);
}

#[test]
fn written_ranges_are_pushed_in_pieces_and_dropped_in_the_order_they_came() {
    let window = CacheWindow::new(4 * PIECE_BYTES);
    let logs: Vec<_> = (0..3).map(|_| (file(), Cell::new(0))).collect();
    let (mut pushed, mut dropped) = (Vec::new(), Vec::new());
    for number in 0..64 {
        for (file, growing) in &logs {
            let range = number * (PIECE_BYTES / 4)..(number + 1) * (PIECE_BYTES / 4);
            let (full, old) = window.add(growing, file, range);
            pushed.extend(full);
            dropped.extend(old);
        }
        assert!(window.bytes.get() <= 4 * PIECE_BYTES);
    }
    assert!(pushed.iter().all(|one| one.size() == PIECE_BYTES));
    assert_eq!(pushed.len(), 3 * 16);
    for (at, stretch) in dropped.iter().enumerate() {
        assert!(stretch.is_of(&logs[at % 3].0));
        let place = u64::try_from(at / 3).expect("a count");
        assert_eq!(
            stretch.range,
            place * PIECE_BYTES..(place + 1) * PIECE_BYTES
        );
    }
    assert!(dropped.len() >= 3 * 14);
}

/// Ten thousand logs with a record each are neither looked through nor kept open.
#[test]
fn many_small_logs_stay_closed() {
    let window = CacheWindow::new(1 << 20);
    let mut closed = Vec::new();
    for _ in 0..200 {
        let (file, growing) = (file(), Cell::new(0));
        for number in 0..10 {
            window.add(&growing, &file, number * 100..(number + 1) * 100);
        }
        closed.push(Arc::downgrade(&file));
    }
    assert!(closed.iter().all(|file| file.upgrade().is_none()));
    assert_eq!(window.written.borrow().len(), 200);
    assert_eq!(window.bytes.get(), 200 * 1000);
}

#[test]
fn a_new_file_or_a_gap_begins_a_new_piece() {
    let window = CacheWindow::new(1 << 30);
    let (first, second, growing) = (file(), file(), Cell::new(0));
    for (file, range) in [
        (&first, 0..10),
        (&first, 10..30),
        (&first, 40..50),
        (&second, 50..60),
        (&second, 60..61),
    ] {
        window.add(&growing, file, range);
    }
    let written = window.written.borrow();
    let ranges: Vec<_> = written
        .iter()
        .map(|one| one.stretch.range.clone())
        .collect();
    assert_eq!(ranges, [0..30, 40..50, 50..61]);
}

/// What everyone keeps of what it wants.
fn divide(room: usize, wanted: &[usize]) -> Vec<usize> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let mut shares = Shares::new(room, wanted.len());
    let kept = wanted.iter().map(|want| {
        let kept = shares.next().min(*want);
        shares.took(kept);
        kept
    });
    kept.collect()
}

#[test]
fn one_hot_tail_takes_what_the_others_leave_and_no_more() {
    assert_eq!(divide(1000, &[5000, 10, 20, 30]), [10, 20, 30, 940]);
    assert_eq!(divide(1000, &[5000, 4000]), [500, 500]);
    assert_eq!(divide(1000, &[5000, 400, 4000]), [333, 333, 334]);
    assert_eq!(divide(1000, &[100, 200]), [100, 200]);
    let crowd = divide(1000, &[50; 100]);
    assert_eq!(crowd, [10; 100]);
    for wanted in [
        vec![1; 7],
        vec![999_999; 3],
        (0..300).collect(),
        vec![0, 0, 5],
    ] {
        let kept = divide(1000, &wanted);
        assert!(kept.iter().sum::<usize>() <= 1000, "{kept:?}");
        // Nobody who wants more has less.
        assert!(kept.is_sorted(), "{kept:?}");
    }
}
