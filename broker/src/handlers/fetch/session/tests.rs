use std::time::Duration;

use super::*;

fn wanted(partition: i32, offset: i64) -> Wanted {
    let topic = TopicKey::Name("t".into());
    Wanted::new(
        topic,
        partition,
        Offset(offset),
        LeaderEpoch::NONE,
        LeaderEpoch::NONE,
        1024,
    )
}

fn at(seconds: u64) -> Instant {
    Instant::default() + Duration::from_secs(seconds)
}

/// Numbers sessions 7, 8, 9, …
struct Client {
    sessions: Sessions,
    next: u64,
}

impl Client {
    fn new(slots: usize) -> Self {
        Self {
            sessions: Sessions::new(slots),
            next: 7,
        }
    }

    fn ask(
        &mut self,
        seconds: u64,
        session: (i32, i32),
        wanted: Vec<Wanted>,
        forgotten: &[i32],
    ) -> Result<Resolved, ErrorCode> {
        let forgotten = forgotten.iter().map(|at| (TopicKey::Name("t".into()), *at));
        let next = &mut self.next;
        let random = || {
            *next += 1;
            *next - 1
        };
        self.sessions
            .resolve(at(seconds), session, false, wanted, forgotten, random)
    }
}

fn places(resolved: &Resolved) -> Vec<(i32, i64)> {
    resolved
        .wanted
        .iter()
        .map(|one| (one.partition, one.offset.0))
        .collect()
}

#[test]
fn a_session_remembers_what_was_asked() {
    let mut client = Client::new(10);
    let full = client
        .ask(0, (0, 0), vec![wanted(0, 5), wanted(1, 6)], &[])
        .unwrap();
    assert_eq!(full.kind, Kind::Full { session: 7 });
    let more = client
        .ask(1, (7, 1), vec![wanted(1, 9), wanted(2, 1)], &[])
        .unwrap();
    assert_eq!(more.kind, Kind::Incremental { session: 7 });
    assert_eq!(places(&more), [(0, 5), (1, 9), (2, 1)]);
    let less = client.ask(2, (7, 2), vec![], &[0, 44]).unwrap();
    assert_eq!(places(&less), [(1, 9), (2, 1)]);
}

#[test]
fn wrong_epochs_and_unknown_sessions_are_refused() {
    let mut client = Client::new(10);
    client.ask(0, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(
        client.ask(0, (7, 7), vec![], &[]).err(),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(
        client.ask(0, (99, 1), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    let by_id = client
        .sessions
        .resolve(at(0), (7, 1), true, vec![], std::iter::empty(), || 1);
    assert_eq!(by_id.err(), Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn forgetting_everything_and_closing_end_a_session() {
    let mut client = Client::new(10);
    client.ask(0, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    let nothing = client.ask(0, (7, 1), vec![], &[0]).unwrap();
    assert_eq!((nothing.kind, nothing.wanted.len()), (Kind::Sessionless, 0));
    assert_eq!(
        client.ask(0, (7, 2), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    client.ask(0, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    let closed = client.ask(0, (8, -1), vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(closed.kind, Kind::Sessionless);
    assert_eq!(
        client.ask(0, (8, 1), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    assert_eq!(client.sessions.partitions, 0);
}

#[test]
fn only_old_sessions_make_room() {
    let mut client = Client::new(1);
    client.ask(0, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    let busy = client.ask(119, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(busy.kind, Kind::Sessionless);
    let room = client.ask(121, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(room.kind, Kind::Full { session: 8 });
}

#[test]
fn only_news_is_told_and_who_was_served_comes_last() {
    let mut client = Client::new(1);
    let all = vec![wanted(0, 0), wanted(1, 0), wanted(2, 0)];
    let resolved = client.ask(0, (0, 0), all, &[]).unwrap();
    let mut tell = |at: usize, watermark, data| {
        client
            .sessions
            .tell(7, &resolved.wanted[at], watermark, 0, data)
    };
    assert!(tell(0, 10, false));
    assert!(!tell(0, 10, false));
    assert!(tell(0, 10, true));
    assert!(tell(0, 11, false));
    client
        .sessions
        .rotate(7, &[(TopicKey::Name("t".into()), 0)]);
    let next = client.ask(1, (7, 1), vec![], &[]).unwrap();
    assert_eq!(places(&next), [(1, 0), (2, 0), (0, 0)]);
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(1), 2);
}

#[test]
fn what_is_forgotten_leaves_the_order_and_what_was_told() {
    let mut client = Client::new(10);
    let all = (0..5).map(|partition| wanted(partition, 0)).collect();
    client.ask(0, (0, 0), all, &[]).unwrap();
    let asked = client.ask(1, (7, 1), vec![], &[]).unwrap();
    for one in &asked.wanted {
        assert!(client.sessions.tell(7, one, 3, 0, false), "it is news");
    }
    let name = |partition| (TopicKey::Name("t".into()), partition);
    client.sessions.rotate(7, &[name(1), name(3)]);
    let less = client
        .ask(2, (7, 2), vec![wanted(9, 0)], &[0, 3])
        .unwrap()
        .wanted;
    let order: Vec<i32> = less.iter().map(|one| one.partition).collect();
    assert_eq!(order, [2, 4, 1, 9]);
    let news: Vec<bool> = less
        .iter()
        .map(|one| client.sessions.tell(7, one, 3, 0, false))
        .collect();
    assert_eq!(news, [false, false, false, true]);
    // Who was asked before the slots closed up finds its partition all the same.
    assert!(!client.sessions.tell(7, &asked.wanted[4], 3, 0, false));
    assert!(client.sessions.tell(7, &asked.wanted[4], 4, 0, false));
    assert_eq!(client.sessions.counts(), (1, 4));
}
