use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// Two shards; topics by name, each with an id, some partitions, and all odd ones on shard 1.
#[derive(Default)]
struct World {
    topics: RefCell<BTreeMap<String, (u8, i32)>>,
}

impl World {
    fn with(topics: &[(&str, u8, i32)]) -> Self {
        let world = Self::default();
        for (name, id, partitions) in topics {
            world.put(name, *id, *partitions);
        }
        world
    }

    fn put(&self, name: &str, id: u8, partitions: i32) {
        self.topics
            .borrow_mut()
            .insert(name.to_owned(), (id, partitions));
    }
}

fn topic_id(id: u8) -> TopicId {
    TopicId([id; 16])
}

impl Locate for World {
    fn locate(&self, topic: &TopicKey, partition: i32) -> Result<(TopicId, usize), ErrorCode> {
        let topics = self.topics.borrow();
        let found = match topic {
            TopicKey::Name(name) => topics.get(&**name).copied(),
            TopicKey::Id(id) => topics
                .values()
                .find(|(known, _)| topic_id(*known) == *id)
                .copied(),
        };
        match found {
            Some((id, count)) if partition < count => {
                Ok((topic_id(id), usize::from(partition % 2 == 1)))
            }
            _ => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }
}

fn name(name: &str) -> TopicKey {
    TopicKey::Name(name.into())
}

fn wanted(partition: i32, offset: i64) -> (TopicKey, Wanted) {
    let wanted = Wanted {
        partition,
        offset: Offset(offset),
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        size_max: 1024,
    };
    (name("t"), wanted)
}

fn at(seconds: u64) -> Instant {
    Instant::default() + Duration::from_secs(seconds)
}

/// What the owners know, from what they are told: topic, partition and offset at each place.
type Places = BTreeMap<(usize, u32), (TopicId, i32, i64)>;

/// Numbers sessions 7, 8, 9, …
struct Client {
    sessions: Sessions,
    world: World,
    next: u64,
    places: Places,
}

impl Client {
    fn new(slots: usize, world: World) -> Self {
        Self {
            sessions: Sessions::new(slots),
            world,
            next: 7,
            places: Places::new(),
        }
    }

    fn ask(
        &mut self,
        seconds: u64,
        session: (i32, i32),
        wanted: Vec<(TopicKey, Wanted)>,
        forgotten: &[i32],
    ) -> Result<Step, ErrorCode> {
        let forgotten = forgotten.iter().map(|at| (name("t"), *at));
        let next = &mut self.next;
        let random = || {
            *next += 1;
            *next - 1
        };
        let count = wanted.len();
        let wanted = wanted.into_iter();
        let world = &self.world;
        let step = self.sessions.step(
            at(seconds),
            session,
            false,
            count,
            wanted,
            forgotten,
            world,
            random,
        )?;
        if let Step::Turn(turn) = &step {
            // Who is not asked has nothing left; it is told so when it is asked again.
            let is_asked = |owner| turn.asks.iter().any(|ask| ask.owner == owner);
            self.places.retain(|(owner, _), _| is_asked(*owner));
            for ask in &turn.asks {
                for change in &ask.changes {
                    match *change {
                        Change::Set(place, part) => {
                            let now = (part.topic_id, part.partition, part.offset.0);
                            self.places.insert((ask.owner, place), now);
                        }
                        Change::Drop(place) => {
                            self.places.remove(&(ask.owner, place));
                        }
                    }
                }
            }
        }
        Ok(step)
    }

    fn turn(
        &mut self,
        session: (i32, i32),
        wanted: Vec<(TopicKey, Wanted)>,
        forgotten: &[i32],
    ) -> Turn {
        match self.ask(0, session, wanted, forgotten) {
            Ok(Step::Turn(turn)) => turn,
            other => panic!("{other:?}"),
        }
    }

    /// Partition and offset of everything that owners look after.
    fn watched(&self) -> Vec<(i32, i64)> {
        let mut all: Vec<_> = self
            .places
            .values()
            .map(|(_, partition, offset)| (*partition, *offset))
            .collect();
        all.sort_unstable();
        all
    }
}

fn changes(turn: &Turn) -> usize {
    turn.asks.iter().map(|ask| ask.changes.len()).sum()
}

#[test]
fn owners_are_told_what_changes_and_nothing_else() {
    let mut client = Client::new(10, World::with(&[("t", 1, 10)]));
    let first = client.turn((0, 0), vec![wanted(0, 5), wanted(1, 6)], &[]);
    assert!(first.is_first && first.session == 7);
    assert_eq!(client.watched(), [(0, 5), (1, 6)]);
    let more = client.turn((7, 1), vec![wanted(1, 9), wanted(2, 1)], &[]);
    assert!(!more.is_first);
    assert_eq!((changes(&more), more.asks.len()), (2, 2));
    assert_eq!(client.watched(), [(0, 5), (1, 9), (2, 1)]);
    let same = client.turn((7, 2), vec![], &[]);
    assert_eq!((changes(&same), same.asks.len()), (0, 2));
    // A place that is left is given again, in the same request too.
    client.turn((7, 3), vec![wanted(4, 1)], &[0, 44]);
    assert_eq!(client.watched(), [(1, 9), (2, 1), (4, 1)]);
    client.turn((7, 4), vec![wanted(6, 2), wanted(8, 3)], &[6]);
    assert_eq!(client.watched(), [(1, 9), (2, 1), (4, 1), (8, 3)]);
    // Who has nothing left is not asked.
    let even = client.turn((7, 5), vec![], &[1]);
    assert_eq!(even.asks.len(), 1);
    assert_eq!(client.sessions.counts(), (1, 3));
}

#[test]
fn wrong_epochs_and_unknown_sessions_are_refused() {
    let mut client = Client::new(10, World::with(&[("t", 1, 10)]));
    client.turn((0, 0), vec![wanted(0, 0)], &[]);
    assert_eq!(
        client.ask(0, (7, 7), vec![], &[]).err(),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert_eq!(
        client.ask(0, (99, 1), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    let none = || std::iter::empty();
    let world = &client.world;
    let by_id = client.sessions.step(
        at(0),
        (7, 1),
        true,
        0,
        none(),
        std::iter::empty(),
        world,
        || 1,
    );
    assert_eq!(by_id.err(), Some(ErrorCode::FetchSessionTopicIdError));
}

#[test]
fn an_answer_is_for_the_last_request_of_its_session() {
    let mut client = Client::new(10, World::with(&[("t", 1, 10)]));
    let first = client.turn((0, 0), vec![wanted(0, 0)], &[]);
    assert!(client.sessions.resume(&first).is_ok());
    let next = client.turn((7, 1), vec![], &[]);
    assert_eq!(
        client.sessions.resume(&first).err(),
        Some(ErrorCode::InvalidFetchSessionEpoch)
    );
    assert!(client.sessions.resume(&next).is_ok());
    client.ask(0, (7, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert_eq!(
        client.sessions.resume(&next).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
}

#[test]
fn forgetting_everything_and_closing_end_a_session() {
    let mut client = Client::new(10, World::with(&[("t", 1, 10)]));
    client.turn((0, 0), vec![wanted(0, 0), wanted(1, 0)], &[]);
    let nothing = client.ask(0, (7, 1), vec![], &[0, 1]).unwrap();
    assert!(matches!(nothing, Step::Ended));
    let told = [client.sessions.over(), client.sessions.over()];
    assert_eq!(told, [Some((1, 1)), Some((0, 1))]);
    assert_eq!(client.sessions.over(), None);
    assert_eq!(
        client.ask(0, (7, 2), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    client.turn((0, 0), vec![wanted(0, 0)], &[]);
    let closed = client.ask(0, (8, -1), vec![wanted(0, 0)], &[]).unwrap();
    assert!(matches!(closed, Step::Sessionless));
    assert_eq!(client.sessions.over(), Some((0, 2)));
    assert_eq!(
        client.ask(0, (8, 1), vec![], &[]).err(),
        Some(ErrorCode::FetchSessionIdNotFound)
    );
    assert_eq!(client.sessions.counts(), (0, 0));
}

#[test]
fn only_old_sessions_make_room() {
    let mut client = Client::new(1, World::with(&[("t", 1, 10)]));
    client.turn((0, 0), vec![wanted(0, 0)], &[]);
    let busy = client.ask(119, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert!(matches!(busy, Step::Sessionless));
    let room = client.ask(121, (0, 0), vec![wanted(0, 0)], &[]).unwrap();
    assert!(matches!(room, Step::Turn(turn) if turn.session == 8));
}

#[test]
fn what_nobody_owns_is_looked_up_anew_and_a_recreated_topic_is_found() {
    let mut client = Client::new(10, World::with(&[("t", 1, 2)]));
    let all = vec![wanted(0, 3), wanted(1, 4), wanted(5, 0)];
    let turn = client.turn((0, 0), all, &[]);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let session = client.sessions.resume(&turn).unwrap();
    assert_eq!(session.lost().collect::<Vec<_>>(), [(2, unknown)]);
    // The owners say that the topic is gone.
    for (ask, slot) in turn.asks.iter().zip([0, 1]) {
        assert_eq!(session.slot(ask.owner, 0), Some(slot));
        session.lose(slot, unknown);
        assert_eq!(session.slot(ask.owner, 0), None);
    }
    client.world.topics.borrow_mut().clear();
    let turn = client.turn((7, 1), vec![], &[]);
    assert_eq!(turn.asks.len(), 0);
    let session = client.sessions.resume(&turn).unwrap();
    assert_eq!(session.lost().count(), 3);
    client.world.put("t", 2, 6);
    client.turn((7, 2), vec![wanted(1, 0)], &[5]);
    let ids: Vec<_> = client.places.values().map(|(id, ..)| *id).collect();
    assert_eq!(ids, [topic_id(2); 2]);
    assert_eq!(client.watched(), [(0, 3), (1, 0)]);
}

/// Random requests beside a model: the owners look after exactly what the client wants and somebody owns, and every place
/// leads back to its partition.
#[test]
fn owners_and_client_agree_whatever_is_asked() {
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..50 {
        let mut client = Client::new(10, World::with(&[("t", 1, 8)]));
        let mut model = BTreeMap::new();
        let mut count = 8;
        model.insert(0, 0);
        client.turn((0, 0), vec![wanted(0, 0)], &[]);
        for epoch in 1..60 {
            let mut asked = Vec::new();
            for _ in 0..random(4) {
                let partition = i32::try_from(random(12)).unwrap();
                let offset = i64::try_from(random(100)).unwrap();
                asked.push(wanted(partition, offset));
                model.insert(partition, offset);
            }
            let mut forgotten = Vec::new();
            for _ in 0..random(3) {
                let partition = i32::try_from(random(12)).unwrap();
                if partition != 0 {
                    forgotten.push(partition);
                    model.remove(&partition);
                }
            }
            model.entry(0).or_insert(0);
            if random(5) == 0 {
                // Partitions come, or the topic is another; what left is said by the owners.
                count = 4 + i32::try_from(random(8)).unwrap();
                let id = u8::try_from(1 + random(3)).unwrap();
                client.world.put("t", id, count);
            }
            let turn = client.turn((7, epoch), asked, &forgotten);
            let (id, _) = client.world.topics.borrow()["t"];
            let session = client.sessions.resume(&turn).unwrap();
            let mut lost: Vec<i32> = session
                .lost()
                .map(|(slot, _)| session.name(slot).1)
                .collect();
            for (&(owner, place), &(known, partition, offset)) in &client.places {
                let slot = session.slot(owner, place).expect("it is the client's");
                assert_eq!(session.name(slot), (&name("t"), partition));
                assert_eq!(model.get(&partition), Some(&offset));
                if known != topic_id(id) || partition >= count {
                    session.lose(slot, ErrorCode::UnknownTopicOrPartition);
                }
            }
            lost.extend(client.watched().iter().map(|(partition, _)| *partition));
            lost.sort_unstable();
            let all: Vec<i32> = model.keys().copied().collect();
            assert_eq!(lost, all, "each is owned or lost, and once");
        }
    }
}

#[test]
fn epochs_wrap_to_one() {
    assert_eq!(next_epoch(i32::MAX), 1);
    assert_eq!(next_epoch(1), 2);
}
