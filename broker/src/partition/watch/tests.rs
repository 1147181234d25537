use bytes::Bytes;
use corelog_net::wire::ErrorCode;
use corelog_storage::types::TopicId;

use super::*;
use crate::partition::read::Payload;

fn part(partition: i32) -> FetchPart {
    FetchPart {
        topic_id: TopicId([1; 16]),
        partition,
        size_max: 1000,
        ..FetchPart::NONE
    }
}

fn call(changes: Vec<Change>) -> FetchCall {
    FetchCall {
        watch: Some(1),
        all: false,
        changes,
        isolation: Isolation::ReadUncommitted,
        size_max: 1000,
        size_min: 1,
        deadline: None,
    }
}

fn set(places: Range<u32>) -> Vec<Change> {
    places
        .map(|place| Change::Set(place, part(i32::try_from(place).unwrap())))
        .collect()
}

fn at_end() -> Fetched {
    Fetched {
        high_watermark: 5,
        log_start_offset: 0,
        at_end: true,
        ..Fetched::refused(ErrorCode::None)
    }
}

fn with_data() -> Fetched {
    let parts = [Bytes::from_static(b"data")].into_iter().collect();
    Fetched {
        records: Payload::Memory { parts, size: 4 },
        at_end: false,
        ..at_end()
    }
}

/// Looks at everything that is ready, as a reader that finds data at `full`; says where it looked, and what was news.
fn pass(watch: &Rc<Watch>, changes: Vec<Change>, full: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let fetching = watch.begin(&mut call(changes));
    look(&fetching, full)
}

fn look(fetching: &Fetching, full: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut looked, mut news) = (Vec::new(), Vec::new());
    while let Some(look) = fetching.watch.next(fetching.number) {
        let found = if full.contains(&look.place) {
            with_data()
        } else {
            at_end()
        };
        looked.push(look.place);
        let told = fetching
            .watch
            .settle(fetching.number, &look, &found, news.len());
        if told && look.before.is_none() {
            news.push(look.place);
        }
    }
    (looked, news)
}

/// The stamp of a place, as what watches for it has it.
fn stamp(watch: &Watch, place: u32) -> u32 {
    watch.inner.borrow().parts[index(place)].stamp
}

#[test]
fn what_has_nothing_is_looked_at_once_until_it_changes() {
    let watch = Watch::new(true);
    assert_eq!(
        pass(&watch, set(0..4), &[]),
        (vec![0, 1, 2, 3], vec![0, 1, 2, 3])
    );
    assert_eq!(pass(&watch, vec![], &[]), (vec![], vec![]));
    assert!(watch.fed(2, stamp(&watch, 2), 10));
    assert!(watch.mark(1, stamp(&watch, 1)));
    // What is told already is no news, unless there is data.
    assert_eq!(pass(&watch, vec![], &[2]), (vec![2, 1], vec![2]));
    // Data that the reader did not go on from is there again.
    assert_eq!(pass(&watch, vec![], &[2]), (vec![2], vec![2]));
    assert_eq!(pass(&watch, set(2..3), &[]), (vec![2], vec![]));
    assert_eq!(pass(&watch, vec![], &[]), (vec![], vec![]));
}

#[test]
fn who_was_served_comes_last() {
    let watch = Watch::new(true);
    pass(&watch, set(0..4), &[0, 1, 2]);
    for place in [3, 0] {
        watch.mark(place, stamp(&watch, place));
    }
    assert_eq!(pass(&watch, vec![], &[0, 1]).0, [3, 0, 1, 2]);
}

#[test]
fn a_fetch_looks_again_at_what_grew_while_it_waited() {
    let watch = Watch::new(true);
    let fetching = watch.begin(&mut call(set(0..3)));
    assert_eq!(look(&fetching, &[0]).0, [0, 1, 2]);
    assert!(watch.waits(10));
    watch.fed(0, stamp(&watch, 0), 4);
    assert!(watch.missing.get() == 6, "not enough to wake anybody");
    watch.fed(1, stamp(&watch, 1), 6);
    assert!(watch.missing.get() == 0, "woken");
    let again = fetching.watch.next(fetching.number).map(|look| look.before);
    assert_eq!(again, Some(Some(0)), "in place of what it had");
    assert!(!watch.waits(10), "there is something to look at first");
}

#[test]
fn a_place_does_not_hear_of_the_partition_before() {
    let watch = Watch::new(true);
    pass(&watch, set(0..2), &[]);
    let before = stamp(&watch, 0);
    let other = Change::Set(0, part(9));
    assert_eq!(pass(&watch, vec![Change::Drop(0), other], &[]).0, [0]);
    assert!(!watch.fed(0, before, 1) && !watch.mark(0, before));
    watch.lost(0, before);
    assert_eq!(pass(&watch, vec![], &[]), (vec![], vec![]));
    // The same partition at the same place is told again too: the reader let it go between.
    let again = vec![Change::Drop(0), Change::Set(0, part(9))];
    assert_eq!(pass(&watch, again, &[]), (vec![0], vec![0]));
    assert_eq!(pass(&watch, vec![Change::Drop(1)], &[]), (vec![], vec![]));
    watch.end();
    assert!(!watch.is_current(0, 2) && !watch.is_current(0, 3));
}

#[test]
fn of_two_fetches_at_once_the_older_ends_and_loses_nothing() {
    let watch = Watch::new(true);
    let older = watch.begin(&mut call(set(0..2)));
    let looked = watch.next(older.number).expect("there are two");
    let younger = watch.begin(&mut call(Vec::new()));
    assert!(older.is_cancelled() && !younger.is_cancelled());
    watch.settle(older.number, &looked, &with_data(), 0);
    assert_eq!(look(&younger, &[]).0, [1, 0]);
}

#[test]
fn another_isolation_looks_at_everything() {
    let watch = Watch::new(true);
    pass(&watch, set(0..3), &[]);
    let mut committed = call(Vec::new());
    committed.isolation = Isolation::ReadCommitted;
    let fetching = watch.begin(&mut committed);
    assert_eq!(look(&fetching, &[]).0, [0, 1, 2]);
}
