//! Random members of both protocols against a consumer group: they join, stay, give back, leave, fall silent, come back
//! as another process and with the other protocol; topics grow; appends are stored late or fail; the coordinator dies
//! and comes back from its log. Checked throughout:
//!
//! * one owner per partition: whoever is in the group, in the epoch the coordinator knows, has only what the coordinator
//!   knows it to have; and that has one holder (`assert_sound`);
//! * no acknowledged commit is lost, none that was refused appears;
//! * every request is answered once;
//! * left alone, the group converges: everybody in one epoch, every partition owned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{
    AppendError, CommitPartition, CommitTopic, ConsumerHeartbeat, Coordinator, DescribeGroup,
    Effects, Event, FetchTopic, GroupError, GroupSettings, Heartbeat, JoinGroup, JoinProtocol,
    LeaveGroup, LeavingMember, Now, OffsetCommit, OffsetFetch, Record, Reply, Request, SyncGroup,
    Ticket, Token,
};
use super::script::consumer::{topic_id, topics};
use super::subscription;
use crate::metadata::Image;

const CLIENTS: usize = 5;

#[derive(Clone, Debug)]
enum Action {
    /// A client does what it should do next.
    Act(usize),
    /// A client vanishes without a word and starts afresh, with this protocol.
    Crash(usize, Protocol),
    Leave(usize),
    Commit(usize, u8),
    Wait(u64),
    Store(usize),
    Fail,
    Restart,
    Grow,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Protocol {
    #[default]
    Consumer,
    Classic,
}

fn action() -> impl Strategy<Value = Action> {
    let protocol = prop_oneof![2 => Just(Protocol::Consumer), 1 => Just(Protocol::Classic)];
    prop_oneof![
        14 => (0..CLIENTS).prop_map(Action::Act),
        1 => (0..CLIENTS, protocol).prop_map(|(client, protocol)| Action::Crash(client, protocol)),
        1 => (0..CLIENTS).prop_map(Action::Leave),
        4 => (0..CLIENTS, 0..9_u8).prop_map(|(client, partition)| Action::Commit(client, partition)),
        4 => (0..4_000_u64).prop_map(Action::Wait),
        7 => (1..4_usize).prop_map(Action::Store),
        1 => Just(Action::Fail),
        1 => Just(Action::Restart),
        1 => Just(Action::Grow),
    ]
}

#[derive(Clone, Debug, Default)]
struct Client {
    protocol: Protocol,
    /// Clients 3 and 4 are static.
    instance: Option<String>,
    id: String,
    /// Member epoch or generation.
    epoch: i32,
    phase: Phase,
    roster: Vec<String>,
    /// What it may use.
    owns: BTreeSet<i32>,
    waits_for: Option<Token>,
    /// Its last heartbeat was not answered as it should: the next one says everything, and is told everything.
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    /// Of the classic protocol: it must ask for its assignment.
    Joined,
    In,
}

struct World {
    coordinator: Coordinator,
    settings: Arc<GroupSettings>,
    image: Arc<Image>,
    partitions: i32,
    now: Now,
    lives: u64,
    log: Vec<Record>,
    in_flight: Vec<(Ticket, Vec<Record>)>,
    clients: Vec<Client>,
    names: u64,
    /// Who asked, and what for: commits by partition and offset.
    waiting: BTreeMap<Token, (usize, Option<(i32, i64)>)>,
    next_token: u64,
    next_offset: i64,
    /// The last acknowledged commit, and later ones whose fate is open.
    acknowledged: BTreeMap<i32, i64>,
    possible: BTreeMap<i32, BTreeSet<i64>>,
}

impl World {
    fn new() -> Self {
        let settings = Arc::new(GroupSettings {
            initial_rebalance_delay_ms: 0,
            ..GroupSettings::default()
        });
        let mut clients = vec![Client::default(); CLIENTS];
        for (place, client) in clients.iter_mut().enumerate().skip(3) {
            client.instance = Some(format!("instance-{place}"));
        }
        let mut world = Self {
            coordinator: Coordinator::new(0, settings.clone(), 1),
            settings,
            image: Arc::new(topics(&Image::default(), &["t=5"]).0),
            partitions: 5,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_000_000,
            },
            lives: 1,
            log: Vec::new(),
            in_flight: Vec::new(),
            clients,
            names: 0,
            waiting: BTreeMap::new(),
            next_token: 0,
            next_offset: 1,
            acknowledged: BTreeMap::new(),
            possible: BTreeMap::new(),
        };
        world.coordinator.set_metadata(world.image.clone(), 1_000);
        world.coordinator.loaded(world.now);
        world
    }

    fn run(&mut self, action: &Action) {
        match *action {
            Action::Act(client) => self.act(client),
            Action::Crash(client, protocol) => self.begin_anew(client, protocol),
            Action::Leave(client) => self.leave(client),
            Action::Commit(client, partition) => self.commit(client, partition.into()),
            Action::Wait(ms) => self.wait(ms),
            Action::Store(count) => (0..count).for_each(|_| self.store()),
            Action::Fail => self.fail(),
            Action::Restart => self.restart(),
            Action::Grow => self.grow(),
        }
        self.coordinator.assert_sound();
        self.check_owners();
    }

    fn begin_anew(&mut self, place: usize, protocol: Protocol) {
        let instance = self.clients[place].instance.take();
        self.clients[place] = Client {
            protocol,
            instance,
            ..Client::default()
        };
    }

    fn grow(&mut self) {
        if self.partitions == 9 {
            return;
        }
        self.partitions += 1;
        let (image, delta) = topics(&self.image, &[&format!("t={}", self.partitions)]);
        self.image = Arc::new(image);
        self.coordinator
            .follow_metadata(self.image.clone(), &delta, 1_000);
    }

    fn ask(&mut self, client: usize, commit: Option<(i32, i64)>, request: Request) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.waiting.insert(token, (client, commit));
        if commit.is_none() {
            self.clients[client].waits_for = Some(token);
        }
        let event = Event::Request { token, request };
        let effects = self.coordinator.step(self.now, event);
        self.take(effects);
    }

    fn act(&mut self, place: usize) {
        if self.clients[place].waits_for.is_some() {
            return;
        }
        let request = match self.clients[place].protocol {
            Protocol::Consumer => self.heartbeat(place),
            Protocol::Classic => self.classic_request(place),
        };
        self.ask(place, None, request);
    }

    fn heartbeat(&mut self, place: usize) -> Request {
        if self.clients[place].id.is_empty() {
            self.names += 1;
            self.clients[place].id = format!("member-{}", self.names);
        }
        let client = &self.clients[place];
        let joins = client.phase == Phase::Out;
        let full = joins || client.in_doubt;
        let owned = client.owns.iter().copied().collect::<Vec<_>>();
        let owned = if owned.is_empty() {
            Vec::new()
        } else {
            vec![(topic_id("t"), owned)]
        };
        Request::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
            group_id: "g".to_owned(),
            member_id: client.id.clone(),
            member_epoch: if joins { 0 } else { client.epoch },
            instance_id: client.instance.clone(),
            rebalance_timeout_ms: if full { 8_000 } else { -1 },
            topics: full.then(|| vec!["t".to_owned()]),
            owned: Some(owned),
            client_id: "c".to_owned(),
            ..ConsumerHeartbeat::default()
        }))
    }

    fn classic_request(&self, place: usize) -> Request {
        let client = &self.clients[place];
        let (group_id, member_id, instance_id) =
            ("g".to_owned(), client.id.clone(), client.instance.clone());
        let generation_id = client.epoch;
        match client.phase {
            Phase::Out => Request::JoinGroup(Box::new(JoinGroup {
                group_id,
                member_id,
                instance_id,
                client_id: format!("c{place}"),
                session_timeout_ms: 10_000,
                rebalance_timeout_ms: 8_000,
                protocol_type: "consumer".to_owned(),
                protocols: vec![JoinProtocol {
                    name: "range".to_owned(),
                    metadata: subscription(&["t"]),
                }],
                requires_known_member_id: place.is_multiple_of(2),
                ..JoinGroup::default()
            })),
            Phase::Joined => {
                let count = client.roster.len().max(1);
                let part = |number: usize| -> Vec<i32> {
                    let mine = |p: &i32| usize::try_from(*p).unwrap() % count == number;
                    (0..self.partitions).filter(mine).collect()
                };
                let members = client.roster.iter().enumerate();
                let assignments =
                    members.map(|(number, id)| (id.clone(), assignment(&part(number))));
                Request::SyncGroup(SyncGroup {
                    group_id,
                    generation_id,
                    member_id,
                    instance_id,
                    assignments: assignments.collect(),
                    ..SyncGroup::default()
                })
            }
            Phase::In => Request::Heartbeat(Heartbeat {
                group_id,
                generation_id,
                member_id,
                instance_id,
            }),
        }
    }

    fn leave(&mut self, place: usize) {
        let client = &self.clients[place];
        if client.waits_for.is_some() || client.id.is_empty() || client.phase == Phase::Out {
            return;
        }
        let (member_id, instance_id) = (client.id.clone(), client.instance.clone());
        let group_id = "g".to_owned();
        let request = match client.protocol {
            Protocol::Classic => Request::LeaveGroup(LeaveGroup {
                group_id,
                members: vec![LeavingMember {
                    member_id,
                    instance_id,
                }],
            }),
            Protocol::Consumer => Request::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
                group_id,
                member_id,
                // Static members say that they will be back.
                member_epoch: if instance_id.is_some() { -2 } else { -1 },
                instance_id,
                rebalance_timeout_ms: -1,
                client_id: "c".to_owned(),
                ..ConsumerHeartbeat::default()
            })),
        };
        let protocol = client.protocol;
        self.begin_anew(place, protocol);
        self.ask(place, None, request);
        // It does not wait for the answer.
        self.clients[place].waits_for = None;
    }

    fn commit(&mut self, place: usize, partition: i32) {
        let client = &self.clients[place];
        if client.phase != Phase::In || !client.owns.contains(&partition) {
            return;
        }
        let offset = self.next_offset;
        self.next_offset += 1;
        let partitions = vec![CommitPartition {
            partition,
            offset,
            leader_epoch: 0,
            metadata: None,
        }];
        let commit = OffsetCommit {
            group_id: "g".to_owned(),
            generation_id: client.epoch,
            member_id: client.id.clone(),
            instance_id: client.instance.clone(),
            retention_ms: -1,
            knows_group_id_not_found: true,
            knows_member_epochs: true,
            topics: vec![CommitTopic {
                name: "t".to_owned(),
                topic_id: topic_id("t").0,
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
            let deadline = self.coordinator.next_deadline();
            let next = deadline.map_or(end, |next| next.clamp(self.now.steady_ms, end));
            self.now.wall_ms += i64::try_from(next - self.now.steady_ms).unwrap();
            self.now.steady_ms = next;
            let effects = self.coordinator.step(self.now, Event::Tick);
            self.take(effects);
            let deadline = self.coordinator.next_deadline();
            if self.now.steady_ms == end && deadline.is_none_or(|next| next > end) {
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
        let error = AppendError::TimedOut;
        let event = Event::AppendFailed { from, error };
        let effects = self.coordinator.step(self.now, event);
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
        self.coordinator.set_metadata(self.image.clone(), 1_000);
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
            let asked = self.waiting.remove(&token);
            let (place, commit) = asked.expect("a request is answered once");
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

    fn committed(&mut self, partition: i32, offset: i64, error: Option<GroupError>) {
        if error.is_none() {
            self.acknowledged.insert(partition, offset);
            let possible = self.possible.entry(partition).or_default();
            possible.retain(|later| *later > offset);
        } else if !matches!(error, Some(GroupError::NotCoordinator)) {
            self.possible.entry(partition).or_default().remove(&offset);
        }
    }

    fn answered(&mut self, place: usize, reply: Reply) {
        let client = &mut self.clients[place];
        let error = match reply {
            Reply::ConsumerHeartbeat(Ok(beat)) => {
                client.phase = Phase::In;
                client.in_doubt = false;
                client.epoch = beat.member_epoch;
                if let Some(assignment) = beat.assignment {
                    // What is no longer assigned is given back before the next heartbeat.
                    let partitions = assignment
                        .into_iter()
                        .flat_map(|(_, partitions)| partitions);
                    client.owns = partitions.collect();
                }
                None
            }
            Reply::ConsumerHeartbeat(Err(refusal)) => Some(refusal.error),
            Reply::JoinGroup(joined) => {
                if joined.error.is_none() || joined.error == Some(GroupError::MemberIdRequired) {
                    client.id = joined.member_id.to_string();
                }
                if joined.error.is_none() {
                    client.epoch = joined.generation_id;
                    client.phase = Phase::Joined;
                    let members = joined.members.iter();
                    client.roster = members.map(|member| member.member_id.to_string()).collect();
                }
                joined.error
            }
            Reply::SyncGroup(synced) => {
                if synced.error.is_none() {
                    client.phase = Phase::In;
                    client.owns = read_assignment(&synced.assignment);
                }
                synced.error
            }
            Reply::Heartbeat(alive) => alive.err(),
            Reply::LeaveGroup(_) => return,
            other => panic!("{other:?} was not asked for"),
        };
        match error {
            None | Some(GroupError::MemberIdRequired) => {}
            Some(GroupError::NotCoordinator | GroupError::NotAvailable)
                if client.protocol == Protocol::Consumer =>
            {
                client.in_doubt = true;
            }
            // An eager member gives everything back before it joins again.
            Some(GroupError::UnknownMemberId | GroupError::FencedInstanceId)
                if client.protocol == Protocol::Classic =>
            {
                client.id = String::new();
                (client.phase, client.owns) = (Phase::Out, BTreeSet::new());
            }
            Some(_) => (client.phase, client.owns) = (Phase::Out, BTreeSet::new()),
        }
    }

    /// What clients believe against what the coordinator knows.
    fn check_owners(&mut self) {
        let describe = Request::DescribeConsumerGroup(DescribeGroup {
            group_id: "g".to_owned(),
        });
        let event = Event::Request {
            token: Token(u64::MAX),
            request: describe,
        };
        let effects = self.coordinator.step(self.now, event);
        let Reply::DescribeConsumerGroup(Ok(group)) = &effects.replies[0].1 else {
            return;
        };
        let members: BTreeMap<&str, _> = group
            .members
            .iter()
            .map(|member| (&*member.member_id, member))
            .collect();
        for client in &self.clients {
            let Some(member) = members.get(client.id.as_str()) else {
                continue;
            };
            if client.phase != Phase::In || client.epoch != member.epoch {
                continue;
            }
            let held: BTreeSet<i32> = member
                .assignment
                .iter()
                .flat_map(|(_, p)| p)
                .copied()
                .collect();
            assert!(
                client.owns.is_subset(&held),
                "{client:?} has more than {held:?}"
            );
        }
    }

    fn check_commits(&mut self) {
        let partitions: Vec<i32> = (0..9).collect();
        let topics = Some(vec![FetchTopic {
            name: "t".to_owned(),
            topic_id: [0; 16],
            partitions: partitions.clone(),
        }]);
        let fetch = OffsetFetch {
            group_id: "g".to_owned(),
            member_epoch: -1,
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
        for (partition, fetched) in partitions.into_iter().zip(&topics[0].partitions) {
            let acknowledged = self.acknowledged.get(&partition).copied().unwrap_or(-1);
            let possible = self.possible.get(&partition);
            let possible = possible.is_some_and(|possible| possible.contains(&fetched.offset));
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

    /// Nothing fails any more.
    fn converge(&mut self) {
        for _ in 0..90 {
            while !self.in_flight.is_empty() {
                self.store();
            }
            (0..CLIENTS).for_each(|client| self.act(client));
            self.wait(700);
        }
        self.coordinator.assert_sound();
        self.check_owners();
        let epochs: BTreeSet<i32> = self.clients.iter().map(|client| client.epoch).collect();
        assert_eq!(epochs.len(), 1, "{:#?}", self.clients);
        let owned = self
            .clients
            .iter()
            .flat_map(|client| client.owns.iter().copied());
        let mut owned: Vec<i32> = owned.collect();
        owned.sort_unstable();
        assert_eq!(
            owned,
            (0..self.partitions).collect::<Vec<_>>(),
            "{:#?}",
            self.clients
        );
        for place in 0..CLIENTS {
            assert_eq!(self.clients[place].phase, Phase::In);
            (0..self.partitions).for_each(|partition| self.commit(place, partition));
        }
        while !self.in_flight.is_empty() {
            self.store();
        }
        self.check_commits();
        self.restart();
    }
}

/// A consumer's assignment: version 0, partitions of `t`, no user data.
fn assignment(partitions: &[i32]) -> Bytes {
    let mut out = vec![0, 0, 0, 0, 0, 1, 0, 1, b't'];
    out.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
    for partition in partitions {
        out.extend(partition.to_be_bytes());
    }
    out.extend((-1_i32).to_be_bytes());
    out.into()
}

fn read_assignment(bytes: &Bytes) -> BTreeSet<i32> {
    let topics = bytes.get(2..6).map_or(0, |count| count[3]);
    if topics == 0 {
        return BTreeSet::new();
    }
    let count = usize::from(bytes[12]);
    let partition = |n: usize| i32::from(bytes[13 + 4 * n + 3]);
    (0..count).map(partition).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn consumer_groups_stay_sound_and_converge(actions in prop::collection::vec(action(), 1..150)) {
        let mut world = World::new();
        for action in &actions {
            world.run(action);
        }
        world.check_commits();
        world.converge();
    }
}
