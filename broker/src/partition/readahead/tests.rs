use super::*;

fn file() -> Arc<OwnedFd> {
    let file = std::io::pipe().expect("a pipe").0;
    Arc::new(OwnedFd::from(file))
}

fn ranges(pieces: &[Rc<Piece>]) -> Vec<(u64, u64)> {
    let ends = |piece: &Rc<Piece>| (piece.range.start, piece.range.end);
    pieces.iter().map(ends).collect()
}

const M: u64 = 1 << 20;

#[test]
fn the_first_read_reads_nothing_ahead_and_the_window_doubles() {
    let mut readahead = Readahead::default();
    let file = file();
    assert!(readahead.advance(&file, 0, M, 100 * M).is_empty());
    assert!(readahead.knows(&file, M));
    assert!(!readahead.knows(&file, 2 * M));
    let asked = readahead.advance(&file, M, 2 * M, 100 * M);
    assert_eq!(ranges(&asked), [(2 * M, 3 * M)]);
    let asked = readahead.advance(&file, 2 * M, 3 * M, 100 * M);
    assert_eq!(ranges(&asked), [(3 * M, 4 * M), (4 * M, 5 * M)]);
    let asked = readahead.advance(&file, 3 * M, 4 * M, 100 * M);
    assert_eq!(
        ranges(&asked),
        [(5 * M, 6 * M), (6 * M, 7 * M), (7 * M, 8 * M)]
    );
    let asked = readahead.advance(&file, 4 * M, 5 * M, 100 * M);
    assert_eq!(ranges(&asked), [(8 * M, 9 * M)]);
    // Elsewhere it is somebody new.
    assert!(readahead.advance(&file, 50 * M, 51 * M, 100 * M).is_empty());
}

#[test]
fn nothing_is_read_beyond_what_is_written() {
    let mut readahead = Readahead::default();
    let file = file();
    readahead.advance(&file, 0, M, 2 * M);
    assert!(readahead.advance(&file, M, 2 * M, 2 * M).is_empty());
    // At half a piece it begins, below it waits.
    assert!(
        readahead
            .advance(&file, 2 * M, 3 * M, 3 * M + M / 2 - 1)
            .is_empty()
    );
    let asked = readahead.advance(&file, 3 * M, 4 * M, 4 * M + M / 2);
    assert_eq!(ranges(&asked), [(4 * M, 4 * M + M / 2)]);
}

#[test]
fn the_pieces_of_all_readers_are_bounded() {
    let mut readahead = Readahead::default();
    let files: Vec<_> = (0..3 * STREAMS_MAX).map(|_| file()).collect();
    for turn in 0..8 {
        for file in &files {
            readahead.advance(file, turn * M, (turn + 1) * M, u64::MAX / 2);
            assert!(readahead.held() <= BYTES_MAX, "{}", readahead.held());
            assert!(readahead.streams.len() <= STREAMS_MAX);
        }
    }
    // A few get all they may.
    let mut readahead = Readahead::default();
    for turn in 0..8 {
        for file in &files[..8] {
            readahead.advance(file, turn * M, (turn + 1) * M, u64::MAX / 2);
        }
    }
    assert_eq!(readahead.held(), 8 * AHEAD_MAX);
    drop(files);
    readahead.sweep();
    assert_eq!(readahead.held(), 0);
}
