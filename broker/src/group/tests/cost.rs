//! What many members cost.

use std::sync::Arc;

use super::super::{
    ConsumerBeat, ConsumerHeartbeat, Coordinator, Effects, Event, GroupSettings, Heartbeat,
    JoinGroup, JoinProtocol, JoinedGroup, Now, Reply, Request, SyncGroup, Token,
};
use super::script::consumer::{topic_id, topics};
use super::{records, subscription};
use crate::metadata::Image;

struct Crowd {
    coordinator: Coordinator,
    now: Now,
}

impl Crowd {
    fn new() -> Self {
        let mut coordinator = Coordinator::new(0, Arc::new(GroupSettings::default()), 1);
        coordinator.loaded(Now::default());
        Self {
            coordinator,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_000_000,
            },
        }
    }

    /// A step whose append is stored at once.
    fn step(&mut self, event: Event) -> Effects {
        let mut effects = self.coordinator.step(self.now, event);
        if let Some(append) = &effects.append {
            let stored = self
                .coordinator
                .step(self.now, Event::Appended(append.ticket));
            assert_eq!(records(&stored), []);
            effects.replies.extend(stored.replies);
        }
        effects
    }

    fn ask(&mut self, token: usize, request: Request) -> Effects {
        self.step(Event::Request {
            token: Token(token as u64),
            request,
        })
    }

    fn join(&mut self, token: usize, group: &str, id: &str) -> Effects {
        let request = JoinGroup {
            group_id: group.to_owned(),
            member_id: id.to_owned(),
            client_id: "c".to_owned(),
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinProtocol {
                name: "range".to_owned(),
                metadata: subscription(&["t"]),
            }],
            requires_known_member_id: false,
            ..JoinGroup::default()
        };
        self.ask(token, Request::JoinGroup(Box::new(request)))
    }

    fn tick(&mut self, ms: u64) -> Effects {
        self.now.steady_ms += ms;
        self.step(Event::Tick)
    }

    fn beat(&mut self, group: &str, id: &str, generation_id: i32) -> Effects {
        let (group_id, member_id) = (group.to_owned(), id.to_owned());
        let beat = Heartbeat {
            group_id,
            generation_id,
            member_id,
            instance_id: None,
        };
        self.ask(0, Request::Heartbeat(beat))
    }

    /// The leader assigns nothing in particular; everybody else asks as well.
    fn sync_all(&mut self, group: &str, joined: &[JoinedGroup]) {
        for member in joined {
            let sync = SyncGroup {
                group_id: group.to_owned(),
                generation_id: member.generation_id,
                member_id: member.member_id.to_string(),
                ..SyncGroup::default()
            };
            self.ask(0, Request::SyncGroup(sync));
        }
    }
}

fn joined(effects: Effects) -> Vec<JoinedGroup> {
    let join = |(_, reply)| match reply {
        Reply::JoinGroup(joined) => *joined,
        other => panic!("{other:?} is not a join"),
    };
    effects.replies.into_iter().map(join).collect()
}

/// 500 members come at once, then one more makes all of them rejoin: two generations, not five hundred.
#[test]
fn a_storm_of_500_members_is_two_generations() {
    let mut crowd = Crowd::new();
    for token in 0..500 {
        assert_eq!(crowd.join(token, "g", "").replies, []);
    }
    crowd.tick(3_000);
    let first = joined(crowd.tick(3_000));
    assert_eq!(first.len(), 500);
    assert!(
        first
            .iter()
            .all(|member| member.generation_id == 1 && member.error.is_none())
    );
    assert_eq!(
        first.iter().map(|member| member.members.len()).max(),
        Some(500)
    );
    crowd.sync_all("g", &first);

    assert_eq!(crowd.join(500, "g", "").replies, []);
    let before = crowd.coordinator.timer_operations();
    for member in &first[..499] {
        assert_eq!(crowd.join(0, "g", &member.member_id).replies, []);
    }
    assert_eq!(
        crowd.coordinator.timer_operations(),
        before,
        "waiting for others moves no timer"
    );
    let second = joined(crowd.join(0, "g", &first[499].member_id));
    assert_eq!(second.len(), 501);
    assert!(
        second
            .iter()
            .all(|member| member.generation_id == 2 && member.error.is_none())
    );
    crowd.sync_all("g", &second);
    for member in &second {
        assert_eq!(
            crowd.beat("g", &member.member_id, 2).replies[0].1,
            Reply::Heartbeat(Ok(()))
        );
    }
    // A session each, and the search for expired offsets.
    assert_eq!(crowd.coordinator.timer_count(), 502);
}

/// A heartbeat moves no timer; time moves each one once per session timeout, whatever the heartbeats.
#[test]
fn heartbeats_of_50_000_members_move_timers_once_a_session() {
    let mut crowd = Crowd::new();
    let mut members = Vec::new();
    for group in 0..10_000 {
        let group = format!("group-{group}");
        for token in 0..5 {
            crowd.join(token, &group, "");
        }
        members.push((group, Vec::new()));
    }
    crowd.tick(3_000);
    for (token, joined) in joined(crowd.tick(3_000)).into_iter().enumerate() {
        members[token / 5].1.push(joined);
    }
    // Groups are completed in the order of their timers, which is the order in which they were made.
    for (group, joined) in members.clone() {
        crowd.sync_all(&group, &joined);
    }
    assert_eq!(crowd.coordinator.timer_count(), 50_001);

    // Fifteen heartbeats each, three seconds apart: one session timeout.
    let before = crowd.coordinator.timer_operations();
    let mut beats = 0_u64;
    for _ in 0..15 {
        for (group, joined) in &members {
            for member in joined {
                let effects = crowd.beat(group, &member.member_id, 1);
                assert_eq!(effects.replies[0].1, Reply::Heartbeat(Ok(())));
                beats += 1;
            }
        }
        assert_eq!(crowd.tick(3_000), Effects::default());
    }
    let moved = crowd.coordinator.timer_operations() - before;
    assert_eq!(beats, 750_000);
    // Out of the order and in again, once per member.
    assert!(moved <= 2 * 50_001, "{moved} moves for {beats} heartbeats");
    assert_eq!(crowd.coordinator.timer_count(), 50_001);
}

impl Crowd {
    fn consume(
        &mut self,
        group: &str,
        id: &str,
        epoch: i32,
        owned: Option<&[i32]>,
    ) -> (ConsumerBeat, usize) {
        let joins = epoch == 0;
        let owned = owned.map(|partitions| match partitions {
            [] => Vec::new(),
            partitions => vec![(topic_id("t"), partitions.to_vec())],
        });
        let request = ConsumerHeartbeat {
            group_id: group.to_owned(),
            member_id: id.to_owned(),
            member_epoch: epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            topics: joins.then(|| vec!["t".to_owned()]),
            owned: owned.or(joins.then(Vec::new)),
            client_id: "c".to_owned(),
            ..ConsumerHeartbeat::default()
        };
        let mut effects = self.ask(0, Request::ConsumerHeartbeat(Box::new(request)));
        let count = records(&effects).len();
        let Some((_, Reply::ConsumerHeartbeat(Ok(beat)))) = effects.replies.pop() else {
            panic!("{effects:?}")
        };
        (beat, count)
    }

    fn with_topic(partitions: i32) -> Self {
        let mut crowd = Self::new();
        let (image, delta) = topics(&Image::default(), &[&format!("t={partitions}")]);
        crowd
            .coordinator
            .follow_metadata(Arc::new(image), &delta, 1_000);
        crowd
    }
}

/// A thousand consumers come within a second: what each needs is written, and everybody's targets twice, not a thousand
/// times; three heartbeats later everybody has its part.
#[test]
fn a_storm_of_1_000_consumers_is_two_assignments() {
    let mut crowd = Crowd::with_topic(2_000);
    let ids: Vec<String> = (0..1_000)
        .map(|number| format!("member-{number:04}"))
        .collect();
    let mut members: Vec<(i32, Vec<i32>)> = Vec::new();
    let mut written = 0;
    for id in &ids {
        let (beat, count) = crowd.consume("g", id, 0, None);
        written += count;
        let told = beat.assignment.unwrap_or_default().into_iter();
        members.push((
            beat.member_epoch,
            told.flat_map(|(_, partitions)| partitions).collect(),
        ));
    }
    // Member, epoch and current assignment of each, and the targets of the first.
    assert_eq!(written, 3 * 1_000 + 2);
    crowd.now.wall_ms += 1_000;
    for round in 0.. {
        assert!(round < 4, "everybody has its part after three heartbeats");
        let mut moved = 0;
        for (id, (epoch, owned)) in ids.iter().zip(&mut members) {
            let (beat, count) = crowd.consume("g", id, *epoch, Some(owned));
            moved += count;
            *epoch = beat.member_epoch;
            if let Some(told) = beat.assignment {
                *owned = told
                    .into_iter()
                    .flat_map(|(_, partitions)| partitions)
                    .collect();
            }
        }
        written += moved;
        if moved == 0 {
            break;
        }
    }
    assert!(
        members
            .iter()
            .all(|(epoch, owned)| *epoch == 1_001 && owned.len() == 2)
    );
    assert!(written < 8_000, "{written} records");
}

/// Heartbeats with nothing new write nothing and move timers once per session.
#[test]
fn heartbeats_of_50_000_consumers_write_nothing() {
    let mut crowd = Crowd::with_topic(5);
    let mut members = Vec::new();
    for group in 0..10_000 {
        let group = format!("group-{group}");
        let ids = (0..5).map(|number| format!("member-{number}"));
        let ids: Vec<String> = ids.collect();
        for id in &ids {
            crowd.consume(&group, id, 0, None);
        }
        members.push((group, ids));
    }
    crowd.now.wall_ms += 1_000;
    for (group, ids) in &members {
        let mut state = vec![(2, Vec::new()); 5];
        state[0].1 = vec![0, 1, 2, 3, 4];
        for _ in 0..4 {
            for (id, (epoch, owned)) in ids.iter().zip(&mut state) {
                let (beat, _) = crowd.consume(group, id, *epoch, Some(owned));
                *epoch = beat.member_epoch;
                if let Some(told) = beat.assignment {
                    *owned = told
                        .into_iter()
                        .flat_map(|(_, partitions)| partitions)
                        .collect();
                }
            }
        }
        assert!(
            state
                .iter()
                .all(|(epoch, owned)| *epoch == 6 && owned.len() == 1),
            "{state:?}"
        );
    }
    let before = crowd.coordinator.timer_operations();
    for _ in 0..9 {
        for (group, ids) in &members {
            for id in ids {
                let (beat, count) = crowd.consume(group, id, 6, None);
                assert_eq!((beat.member_epoch, beat.assignment, count), (6, None, 0));
            }
        }
        crowd.now.steady_ms += 5_000;
        assert_eq!(crowd.step(Event::Tick), Effects::default());
    }
    let moved = crowd.coordinator.timer_operations() - before;
    assert!(moved <= 2 * 50_001, "{moved} moves");
}
