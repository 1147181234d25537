//! What many members cost.

use std::sync::Arc;

use super::super::{
    Coordinator, Effects, Event, GroupSettings, Heartbeat, JoinGroup, JoinProtocol, JoinedGroup,
    Now, Reply, Request, SyncGroup, Token,
};
use super::{records, subscription};

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
