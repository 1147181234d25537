use super::*;

fn file() -> Arc<OwnedFd> {
    let file = std::io::pipe().expect("a pipe").0;
    Arc::new(OwnedFd::from(file))
}

fn ranges(pieces: &[Rc<Piece>]) -> Vec<(u64, u64)> {
    let ends = |piece: &Rc<Piece>| (piece.range.start, piece.range.end);
    pieces.iter().map(ends).collect()
}

/// A piece.
const M: u64 = PIECE_SIZE;

/// What is asked for when nothing is in the page cache.
fn advance(
    readahead: &mut Readahead,
    file: &Arc<OwnedFd>,
    from: u64,
    to: u64,
    stop: u64,
) -> Vec<Rc<Piece>> {
    readahead.advance(file, from, to, stop, |_| false).0
}

#[test]
fn the_first_read_reads_nothing_ahead_and_the_window_doubles() {
    let mut readahead = Readahead::default();
    let file = file();
    assert!(advance(&mut readahead, &file, 0, M, 100 * M).is_empty());
    assert!(!readahead.holds(&file, M));
    let asked = advance(&mut readahead, &file, M, 2 * M, 100 * M);
    assert_eq!(ranges(&asked), [(2 * M, 3 * M)]);
    assert!(readahead.holds(&file, 2 * M));
    assert!(!readahead.holds(&file, M));
    let asked = advance(&mut readahead, &file, 2 * M, 3 * M, 100 * M);
    assert_eq!(ranges(&asked), [(3 * M, 4 * M), (4 * M, 5 * M)]);
    let asked = advance(&mut readahead, &file, 3 * M, 4 * M, 100 * M);
    assert_eq!(
        ranges(&asked),
        [(5 * M, 6 * M), (6 * M, 7 * M), (7 * M, 8 * M)]
    );
    let asked = advance(&mut readahead, &file, 4 * M, 5 * M, 100 * M);
    assert_eq!(ranges(&asked), [(8 * M, 9 * M)]);
    // Elsewhere it is somebody new.
    assert!(advance(&mut readahead, &file, 50 * M, 51 * M, 100 * M).is_empty());
}

#[test]
fn nothing_is_read_beyond_what_is_written() {
    let mut readahead = Readahead::default();
    let file = file();
    advance(&mut readahead, &file, 0, M, 2 * M);
    assert!(advance(&mut readahead, &file, M, 2 * M, 2 * M).is_empty());
    // At half a piece it begins, below it waits.
    assert!(advance(&mut readahead, &file, 2 * M, 3 * M, 3 * M + M / 2 - 1).is_empty());
    let asked = advance(&mut readahead, &file, 3 * M, 4 * M, 4 * M + M / 2);
    assert_eq!(ranges(&asked), [(4 * M, 4 * M + M / 2)]);
}

#[test]
fn the_pieces_of_all_readers_are_bounded() {
    let mut readahead = Readahead::default();
    let files: Vec<_> = (0..3 * STREAMS_MAX).map(|_| file()).collect();
    for turn in 0..8 {
        for file in &files {
            advance(&mut readahead, file, turn * M, (turn + 1) * M, u64::MAX / 2);
            assert!(readahead.held() <= BYTES_MAX, "{}", readahead.held());
            assert!(readahead.streams.len() <= STREAMS_MAX);
        }
    }
    // A few get all they may.
    let mut readahead = Readahead::default();
    for turn in 0..8 {
        for file in &files[..8] {
            advance(&mut readahead, file, turn * M, (turn + 1) * M, u64::MAX / 2);
        }
    }
    assert_eq!(readahead.held(), 8 * AHEAD_MAX);
    drop(files);
    readahead.sweep();
    assert_eq!(readahead.held(), 0);
}

#[test]
fn pieces_end_at_multiples_of_their_size() {
    let mut readahead = Readahead::default();
    let file = file();
    advance(&mut readahead, &file, 7, M - 10, 100 * M);
    let asked = advance(&mut readahead, &file, M - 10, 2 * M - 20, 100 * M);
    assert_eq!(ranges(&asked), [(2 * M - 20, 2 * M), (2 * M, 3 * M)]);
}

#[test]
fn what_is_in_the_page_cache_is_not_read_ahead() {
    let mut readahead = Readahead::default();
    let file = file();
    advance(&mut readahead, &file, 0, M, 100 * M);
    advance(&mut readahead, &file, M, 2 * M, 100 * M);
    let cached = |range: Range<u64>| range.end > 4 * M;
    let (asked, _) = readahead.advance(&file, 2 * M, 3 * M, 100 * M, cached);
    assert_eq!(ranges(&asked), [(3 * M, 4 * M)]);
    assert!(readahead.holds(&file, 3 * M));
    let (asked, _) = readahead.advance(&file, 3 * M, 4 * M, 100 * M, cached);
    assert!(asked.is_empty() && !readahead.holds(&file, 4 * M));
}

#[test]
fn a_file_that_cannot_be_read_past_the_page_cache_is_read_through_it() {
    let mut readahead = Readahead::default();
    let file = file();
    advance(&mut readahead, &file, 0, M, 100 * M);
    let way = readahead.advance(&file, M, 2 * M, 100 * M, |_| false).1;
    assert!(!matches!(way, Way::Unknown));
    readahead.give_up_direct(&file);
    let way = readahead.advance(&file, 2 * M, 3 * M, 100 * M, |_| false).1;
    assert!(matches!(way, Way::Cached));
}
