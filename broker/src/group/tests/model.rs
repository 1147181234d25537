//! Random members against the coordinator: they join, rejoin, leave, fall silent, commit; appends are stored late or
//! fail; the coordinator dies and comes back from its log. Checked throughout:
//!
//! * one owner per partition and generation: what members own in a generation is what its leader assigned, once;
//! * no acknowledged commit is lost, none that was refused appears;
//! * every request is answered once;
//! * left alone, the group converges: everybody in one generation, every partition owned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{
    AppendError, CommitPartition, CommitTopic, Coordinator, Effects, Event, FetchTopic, GroupError,
    GroupSettings, Heartbeat, JoinGroup, JoinProtocol, LeaveGroup, LeavingMember, Now,
    OffsetCommit, OffsetFetch, Record, Reply, Request, SyncGroup, Ticket, Token,
};
use super::subscription;

const PARTITIONS: u8 = 5;

#[derive(Clone, Debug)]
enum Action {
    /// A client does what it should do next.
    Act(usize),
    /// A client vanishes without a word and starts afresh.
    Crash(usize),
    Leave(usize),
    Commit(usize, u8),
    Wait(u64),
    Store(usize),
    Fail,
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        12 => (0..CLIENTS).prop_map(Action::Act),
        1 => (0..CLIENTS).prop_map(Action::Crash),
        1 => (0..CLIENTS).prop_map(Action::Leave),
        4 => (0..CLIENTS, 0..PARTITIONS).prop_map(|(client, partition)| Action::Commit(client, partition)),
        4 => (0..4_000_u64).prop_map(Action::Wait),
        6 => (1..4_usize).prop_map(Action::Store),
        1 => Just(Action::Fail),
        1 => Just(Action::Restart),
    ]
}

const CLIENTS: usize = 5;

#[derive(Clone, Debug, Default)]
struct Client {
    /// Clients 3 and 4 are static.
    instance: Option<String>,
    id: String,
    generation: i32,
    phase: Phase,
    roster: Vec<String>,
    owns: BTreeSet<u8>,
    waits_for: Option<Token>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    Joined,
    Synced,
}

struct World {
    coordinator: Coordinator,
    settings: Arc<GroupSettings>,
    now: Now,
    lives: u64,
    log: Vec<Record>,
    in_flight: Vec<(Ticket, Vec<Record>)>,
    clients: Vec<Client>,
    /// Who asked, and what for: commits by partition and offset.
    waiting: BTreeMap<Token, (usize, Option<(u8, i64)>)>,
    next_token: u64,
    next_offset: i64,
    /// The last acknowledged commit, and later ones whose fate is open.
    acknowledged: BTreeMap<u8, i64>,
    possible: BTreeMap<u8, BTreeSet<i64>>,
    /// Owners by generation and partition.
    owners: BTreeMap<(i32, u8), String>,
}

impl World {
    fn new() -> Self {
        let settings = Arc::new(GroupSettings {
            initial_rebalance_delay_ms: 500,
            ..GroupSettings::default()
        });
        let mut coordinator = Coordinator::new(0, settings.clone(), 1);
        coordinator.loaded(Now::default());
        let mut clients = vec![Client::default(); CLIENTS];
        for (place, client) in clients.iter_mut().enumerate().skip(3) {
            client.instance = Some(format!("instance-{place}"));
        }
        Self {
            coordinator,
            settings,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_000_000,
            },
            lives: 1,
            log: Vec::new(),
            in_flight: Vec::new(),
            clients,
            waiting: BTreeMap::new(),
            next_token: 0,
            next_offset: 1,
            acknowledged: BTreeMap::new(),
            possible: BTreeMap::new(),
            owners: BTreeMap::new(),
        }
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Act(client) => self.act(client),
            Action::Crash(client) => {
                let instance = self.clients[client].instance.take();
                self.clients[client] = Client {
                    instance,
                    ..Client::default()
                };
            }
            Action::Leave(client) => self.leave(client),
            Action::Commit(client, partition) => self.commit(client, partition),
            Action::Wait(ms) => self.wait(ms),
            Action::Store(count) => (0..count).for_each(|_| self.store()),
            Action::Fail => self.fail(),
            Action::Restart => self.restart(),
        }
        self.coordinator.assert_sound();
    }

    fn ask(&mut self, client: usize, commit: Option<(u8, i64)>, request: Request) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, (client, commit));
        if commit.is_none() {
            self.clients[client].waits_for = Some(token);
        }
        let effects = self
            .coordinator
            .step(self.now, Event::Request { token, request });
        self.take(effects);
    }

    fn act(&mut self, place: usize) {
        let client = &self.clients[place];
        if client.waits_for.is_some() {
            return;
        }
        let (group_id, member_id, instance_id) =
            ("g".to_owned(), client.id.clone(), client.instance.clone());
        let generation_id = client.generation;
        let request = match client.phase {
            Phase::Out => Request::JoinGroup(Box::new(JoinGroup {
                group_id,
                member_id,
                instance_id,
                client_id: format!("c{place}"),
                session_timeout_ms: 6_000,
                rebalance_timeout_ms: 8_000,
                protocol_type: "consumer".to_owned(),
                protocols: vec![JoinProtocol {
                    name: "range".to_owned(),
                    metadata: subscription(&["t"]),
                }],
                requires_known_member_id: place.is_multiple_of(2),
                supports_skipping_assignment: true,
                ..JoinGroup::default()
            })),
            Phase::Joined => {
                let members = client.roster.clone();
                let mut parts = vec![Vec::new(); members.len()];
                for partition in 0..PARTITIONS {
                    if let Some(part) = parts.get_mut(usize::from(partition) % members.len().max(1))
                    {
                        part.push(partition);
                    }
                }
                let assignments = members
                    .into_iter()
                    .zip(parts)
                    .map(|(id, part)| (id, Bytes::from(part)));
                let assignments = assignments.collect();
                let (protocol_type, protocol_name) = (None, Some("range".to_owned()));
                Request::SyncGroup(SyncGroup {
                    group_id,
                    generation_id,
                    member_id,
                    instance_id,
                    protocol_type,
                    protocol_name,
                    assignments,
                })
            }
            Phase::Synced => Request::Heartbeat(Heartbeat {
                group_id,
                generation_id,
                member_id,
                instance_id,
            }),
        };
        self.ask(place, None, request);
    }

    fn leave(&mut self, place: usize) {
        let client = &mut self.clients[place];
        if client.waits_for.is_some() || client.id.is_empty() {
            return;
        }
        let member = LeavingMember {
            member_id: client.id.clone(),
            instance_id: client.instance.clone(),
        };
        *client = Client {
            instance: client.instance.take(),
            ..Client::default()
        };
        let leave = LeaveGroup {
            group_id: "g".to_owned(),
            members: vec![member],
        };
        self.ask(place, None, Request::LeaveGroup(leave));
        // It does not wait for the answer.
        self.clients[place].waits_for = None;
    }

    fn commit(&mut self, place: usize, partition: u8) {
        let client = &self.clients[place];
        if client.phase != Phase::Synced || !client.owns.contains(&partition) {
            return;
        }
        let offset = self.next_offset;
        self.next_offset += 1;
        let partitions = vec![CommitPartition {
            partition: i32::from(partition),
            offset,
            leader_epoch: 0,
            metadata: None,
        }];
        let commit = OffsetCommit {
            group_id: "g".to_owned(),
            generation_id: client.generation,
            member_id: client.id.clone(),
            instance_id: client.instance.clone(),
            retention_ms: -1,
            knows_group_id_not_found: true,
            knows_member_epochs: true,
            topics: vec![CommitTopic {
                name: "t".to_owned(),
                topic_id: [0; 16],
                partitions,
            }],
        };
        self.possible.entry(partition).or_default().insert(offset);
        self.ask(
            place,
            Some((partition, offset)),
            Request::OffsetCommit(commit),
        );
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now.steady_ms + ms;
        loop {
            let next = self
                .coordinator
                .next_deadline()
                .map_or(end, |next| next.clamp(self.now.steady_ms, end));
            self.now.wall_ms += i64::try_from(next - self.now.steady_ms).unwrap();
            self.now.steady_ms = next;
            let effects = self.coordinator.step(self.now, Event::Tick);
            self.take(effects);
            if self.now.steady_ms == end
                && self
                    .coordinator
                    .next_deadline()
                    .is_none_or(|next| next > end)
            {
                return;
            }
        }
    }

    fn store(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let (ticket, records) = self.in_flight.remove(0);
        self.log.extend(records);
        let effects = self.coordinator.step(self.now, Event::Appended(ticket));
        self.take(effects);
    }

    fn fail(&mut self) {
        let Some((from, _)) = self.in_flight.first().cloned() else {
            return;
        };
        self.in_flight.clear();
        let effects = self.coordinator.step(
            self.now,
            Event::AppendFailed {
                from,
                error: AppendError::TimedOut,
            },
        );
        self.take(effects);
    }

    /// What was in flight may or may not have reached the log: here every other append had.
    fn restart(&mut self) {
        let effects = self.coordinator.unload();
        self.take(effects);
        assert_eq!(
            self.waiting,
            BTreeMap::new(),
            "everybody who waited was told"
        );
        let reached = self.in_flight.len() / 2;
        for (_, records) in self.in_flight.drain(..).take(reached) {
            self.log.extend(records);
        }
        self.lives += 1;
        self.coordinator = Coordinator::new(0, self.settings.clone(), self.lives);
        for record in &self.log {
            self.coordinator
                .replay(&record.key, record.value.as_deref(), None)
                .unwrap();
        }
        let effects = self.coordinator.loaded(self.now);
        self.take(effects);
        self.check_commits();
    }

    fn take(&mut self, effects: Effects) {
        if let Some(append) = effects.append {
            self.in_flight.push((append.ticket, append.records));
        }
        for (token, reply) in effects.replies {
            let (place, commit) = self
                .waiting
                .remove(&token)
                .expect("a request is answered once");
            if let Some((partition, offset)) = commit {
                let Reply::OffsetCommit(topics) = &reply else {
                    panic!("{reply:?} answers a commit")
                };
                self.committed(partition, offset, topics[0].partitions[0].1);
            } else if self.clients[place].waits_for == Some(token) {
                self.clients[place].waits_for = None;
                self.answered(place, reply);
            }
        }
    }

    fn committed(&mut self, partition: u8, offset: i64, error: Option<GroupError>) {
        if error.is_none() {
            self.acknowledged.insert(partition, offset);
            let possible = self.possible.entry(partition).or_default();
            possible.retain(|later| *later > offset);
        } else if !matches!(error, Some(GroupError::NotCoordinator)) {
            self.possible.entry(partition).or_default().remove(&offset);
        }
    }

    fn check_commits(&mut self) {
        let partitions = (0..i32::from(PARTITIONS)).collect();
        let topics = Some(vec![FetchTopic {
            name: "t".to_owned(),
            topic_id: [0; 16],
            partitions,
        }]);
        let fetch = OffsetFetch {
            group_id: "g".to_owned(),
            topics,
            ..OffsetFetch::default()
        };
        let event = Event::Request {
            token: Token(u64::MAX),
            request: Request::OffsetFetch(fetch),
        };
        let effects = self.coordinator.step(self.now, event);
        let Reply::OffsetFetch(Ok(topics)) = &effects.replies[0].1 else {
            panic!("{effects:?}")
        };
        for (partition, fetched) in (0..PARTITIONS).zip(&topics[0].partitions) {
            let acknowledged = self.acknowledged.get(&partition).copied().unwrap_or(-1);
            let possible = self
                .possible
                .get(&partition)
                .is_some_and(|p| p.contains(&fetched.offset));
            assert!(
                fetched.offset == acknowledged || possible,
                "partition {partition} is at {}, acknowledged was {acknowledged}",
                fetched.offset
            );
            // What is seen once stays.
            if possible {
                self.committed(partition, fetched.offset, None);
            }
        }
    }

    fn answered(&mut self, place: usize, reply: Reply) {
        let client = &mut self.clients[place];
        let error = match reply {
            Reply::JoinGroup(joined) => {
                if joined.error.is_none() || joined.error == Some(GroupError::MemberIdRequired) {
                    client.id = joined.member_id.to_string();
                }
                if joined.error.is_none() {
                    client.generation = joined.generation_id;
                    client.phase = Phase::Joined;
                    client.owns.clear();
                    let leads = !joined.skip_assignment;
                    let members = joined.members.iter().filter(|_| leads);
                    client.roster = members.map(|member| member.member_id.to_string()).collect();
                }
                joined.error
            }
            Reply::SyncGroup(synced) => {
                if synced.error.is_none() {
                    client.phase = Phase::Synced;
                    client.owns = synced.assignment.iter().copied().collect();
                    let who = client.instance.clone().unwrap_or_else(|| client.id.clone());
                    for &partition in &client.owns {
                        let owner = self
                            .owners
                            .entry((client.generation, partition))
                            .or_insert_with(|| who.clone());
                        assert_eq!(
                            *owner, who,
                            "one owner of partition {partition} in generation {}",
                            client.generation
                        );
                    }
                }
                synced.error
            }
            Reply::Heartbeat(alive) => alive.err(),
            Reply::LeaveGroup(_) => return,
            other => panic!("{other:?} was not asked for"),
        };
        match error {
            None | Some(GroupError::MemberIdRequired) => {}
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId) => {
                client.id = String::new();
                client.phase = Phase::Out;
            }
            Some(_) => client.phase = Phase::Out,
        }
    }

    /// Nothing fails any more.
    fn converge(&mut self) {
        for _ in 0..60 {
            while !self.in_flight.is_empty() {
                self.store();
            }
            (0..CLIENTS).for_each(|client| self.act(client));
            self.wait(500);
        }
        self.coordinator.assert_sound();
        let generations: BTreeSet<i32> = self
            .clients
            .iter()
            .map(|client| client.generation)
            .collect();
        assert_eq!(generations.len(), 1, "{:#?}", self.clients);
        let mut owned: Vec<u8> = self
            .clients
            .iter()
            .flat_map(|client| client.owns.iter().copied())
            .collect();
        owned.sort_unstable();
        assert_eq!(
            owned,
            (0..PARTITIONS).collect::<Vec<_>>(),
            "{:#?}",
            self.clients
        );
        for place in 0..CLIENTS {
            assert_eq!(self.clients[place].phase, Phase::Synced);
            (0..PARTITIONS).for_each(|partition| self.commit(place, partition));
        }
        while !self.in_flight.is_empty() {
            self.store();
        }
        self.check_commits();
        self.restart();
        self.check_commits();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn groups_stay_sound_and_converge(actions in prop::collection::vec(action(), 1..150)) {
        let mut world = World::new();
        for action in &actions {
            world.run(action);
        }
        world.check_commits();
        world.converge();
    }
}
