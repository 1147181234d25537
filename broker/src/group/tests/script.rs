//! Runs `testdata/*.txt`: a line per event, and under it, indented, what the coordinator did.
//!
//! Member ids are written `#1`, `#2`, … in the order in which they first appear. Appends are stored at once unless the
//! script says `hold`. With `BLESS=1` in the environment the files are rewritten: read the difference before keeping it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use corelog_storage::producer::TransactionVersion;

pub(super) mod consumer;

use super::super::log::{self, Stored};
use super::super::{
    AppendError, CommitPartition, CommitTopic, CommittedTopic, Coordinator, DeleteGroup,
    DescribeGroup, Effects, Event, FetchTopic, GroupError, GroupSettings, Heartbeat, JoinGroup,
    JoinProtocol, LeaveGroup, LeavingMember, ListGroups, Marker, Now, OffsetCommit, OffsetDelete,
    OffsetFetch, Outcome, ProducerFault, Record, Reply, Request, SyncGroup, Ticket, Token,
    TxnOffsetCommit, Writer,
};
use super::super::{ConsumerBeat, MigrationPolicy, News, Note, Refusal, Resolve};
use super::subscription;
use crate::metadata::Image;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"), include_str!(concat!("../testdata/", stringify!($name), ".txt")));
        })*
    };
}

scripts! {
    join_and_sync,
    rebalances,
    static_members,
    protocols,
    timeouts,
    offsets,
    expiry,
    appends,
    refusals,
    committed_offsets_of_an_unknown_group,
    rebalance_in_progress_at_the_right_time,
    a_zombies_commit,
    commit_during_rebalance,
    traps,
    transactions,
    consumer_reconciliation,
    consumer_fencing,
    consumer_static_members,
    consumer_metadata,
    consumer_regexes,
    consumer_migration,
    consumer_appends,
}

fn check(name: &str, text: &str) {
    let mut world = World::new();
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        out.push_str(line);
        out.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            world.run(line, &mut out);
        }
    }
    world.coordinator.assert_sound();
    if std::env::var_os("BLESS").is_some() {
        bless(name, &out);
    } else {
        for (number, (expected, got)) in text.lines().zip(out.lines()).enumerate() {
            assert_eq!(got, expected, "{name}:{}", number + 1);
        }
        assert_eq!(out, text, "{name}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "rewrites the expectations in the source tree, by hand only"
)]
fn bless(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/group/testdata")
        .join(name);
    std::fs::write(path, text).unwrap();
}

struct World {
    settings: GroupSettings,
    coordinator: Coordinator,
    started: bool,
    lives: u64,
    now: Now,
    log: Vec<Logged>,
    held: Option<Vec<(Ticket, Vec<Logged>)>>,
    /// Real member ids by their place.
    members: Vec<String>,
    /// Tokens by the label of the script.
    tokens: BTreeMap<u64, String>,
    /// What there is of topics.
    image: Arc<Image>,
    /// Regular expressions to be resolved.
    resolving: Vec<Resolve>,
}

/// What the log holds.
#[derive(Clone)]
enum Logged {
    /// A record, and the producer of its transaction.
    Record(Record, Option<i64>),
    Marker(i64, Outcome),
}

impl World {
    fn new() -> Self {
        let settings = GroupSettings {
            initial_rebalance_delay_ms: 0,
            session_timeout_ms_min: 1_000,
            ..GroupSettings::default()
        };
        let coordinator = Coordinator::new(0, Arc::new(settings.clone()), 1);
        let now = Now {
            steady_ms: 0,
            wall_ms: 1_000_000,
        };
        let (log, members, tokens) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self {
            settings,
            coordinator,
            started: false,
            lives: 1,
            now,
            log,
            held: None,
            members,
            tokens,
            image: Arc::default(),
            resolving: Vec::new(),
        }
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let line = line.split(" //").next().unwrap();
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| self.real(word))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (command, rest) = words.split_first().unwrap();
        match *command {
            "set" => {
                self.set(rest);
                return;
            }
            "loading" => {
                self.started = true;
                return;
            }
            "loaded" => {
                let effects = self.coordinator.loaded(self.now);
                self.show(effects, out);
                return;
            }
            _ => {}
        }
        if !self.started {
            self.started = true;
            self.coordinator = Coordinator::new(0, Arc::new(self.settings.clone()), 1);
            self.coordinator.set_metadata(self.image.clone(), 1_000);
            let effects = self.coordinator.loaded(self.now);
            self.show(effects, out);
        }
        let event = match *command {
            "topics" => {
                let (image, delta) = consumer::topics(&self.image, rest);
                self.image = Arc::new(image);
                self.coordinator
                    .follow_metadata(self.image.clone(), &delta, 1_000);
                return;
            }
            "resolve" => Event::Resolved(self.resolving.remove(0).run()),
            "wait" => return self.wait(rest[0].parse().unwrap(), out),
            "hold" => {
                self.held = Some(Vec::new());
                return;
            }
            "restart" => return self.restart(out),
            "unload" => {
                let effects = self.coordinator.unload();
                return self.show(effects, out);
            }
            "stored" => {
                let Some((ticket, records)) = self.held.as_mut().map(|held| held.remove(0)) else {
                    unreachable!()
                };
                self.log.extend(records);
                Event::Appended(ticket)
            }
            "refused" => {
                let (ticket, _) = self.held.as_mut().unwrap().pop().unwrap();
                let error = AppendError::Producer(ProducerFault::StaleEpoch);
                Event::AppendRefused { ticket, error }
            }
            "failed" => {
                let error = match rest[0] {
                    "TooLarge" => AppendError::TooLarge,
                    "NotLeader" => AppendError::NotLeader,
                    "TimedOut" => AppendError::TimedOut,
                    other => panic!("unknown error {other}"),
                };
                let held = std::mem::take(self.held.as_mut().unwrap());
                Event::AppendFailed {
                    from: held[0].0,
                    error,
                }
            }
            "deleted" => {
                Event::TopicsDeleted(rest.iter().map(|topic| (*topic).to_owned()).collect())
            }
            command => {
                let token = Token(self.tokens.len() as u64);
                self.tokens.insert(token.0, rest[0].to_owned());
                Event::Request {
                    token,
                    request: request(command, &rest[1..]),
                }
            }
        };
        let effects = self.coordinator.step(self.now, event);
        self.show(effects, out);
        self.coordinator.assert_sound();
    }

    fn set(&mut self, words: &[&str]) {
        let value = words[1];
        match words[0] {
            "policy" => {
                self.settings.consumer.migration_policy = MigrationPolicy::from_name(value);
            }
            "consumers-max" => self.settings.consumer.members_max = value.parse().unwrap(),
            "delay" => self.settings.initial_rebalance_delay_ms = value.parse().unwrap(),
            "members-max" => self.settings.members_max = value.parse().unwrap(),
            "retention" => self.settings.offsets_retention_ms = value.parse().unwrap(),
            "check" => self.settings.offsets_retention_check_interval_ms = value.parse().unwrap(),
            "metadata-max" => self.settings.offset_metadata_size_max = value.parse().unwrap(),
            other => panic!("unknown setting {other}"),
        }
    }

    /// Time passes; every deadline on the way is a tick.
    fn wait(&mut self, ms: u64, out: &mut String) {
        let end = self.now.steady_ms + ms;
        loop {
            let next = self.coordinator.next_deadline().filter(|next| *next <= end);
            let next = next.map_or(end, |next| next.max(self.now.steady_ms));
            let step = next - self.now.steady_ms;
            self.now.steady_ms = next;
            self.now.wall_ms += i64::try_from(step).unwrap();
            let effects = self.coordinator.step(self.now, Event::Tick);
            if effects != Effects::default() {
                writeln!(out, "  at {}:", self.now.wall_ms).unwrap();
            }
            self.show(effects, out);
            self.coordinator.assert_sound();
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

    /// The coordinator goes away and comes back from its log.
    fn restart(&mut self, out: &mut String) {
        let effects = self.coordinator.unload();
        self.show(effects, out);
        // What was on its way is lost.
        self.held = None;
        self.lives += 1;
        self.coordinator = Coordinator::new(0, Arc::new(self.settings.clone()), self.lives);
        self.coordinator.set_metadata(self.image.clone(), 1_000);
        for logged in &self.log {
            match logged {
                Logged::Record(record, producer) => self
                    .coordinator
                    .replay(&record.key, record.value.as_deref(), *producer)
                    .unwrap(),
                Logged::Marker(producer, outcome) => {
                    self.coordinator.replay_marker(*producer, *outcome);
                }
            }
        }
        let effects = self.coordinator.loaded(self.now);
        self.show(effects, out);
        self.coordinator.assert_sound();
    }

    fn show(&mut self, effects: Effects, out: &mut String) {
        for question in effects.resolve {
            writeln!(
                out,
                "  resolve: {} {}",
                question.group,
                question.patterns.join(" ")
            )
            .unwrap();
            self.resolving.push(question);
        }
        for (token, reply) in effects.replies {
            let label = self.tokens[&token.0].clone();
            let shown = self.show_reply(reply);
            writeln!(out, "  {label}: {shown}").unwrap();
        }
        for note in effects.notes {
            let news = match note.news {
                News::Removed(id, why) => News::Removed(self.alias(&id).into(), why),
                news @ News::Generation(..) => news,
            };
            writeln!(out, "  says: {}", Note { news, ..note }).unwrap();
        }
        let Some(append) = effects.append else { return };
        for record in &append.records {
            let shown = self.show_record(record);
            let whose = match &append.writer {
                Writer::Producer { id, epoch, .. } => format!("{id},{epoch} "),
                Writer::Coordinator | Writer::Marker(_) => String::new(),
            };
            writeln!(out, "  log: {whose}{shown}").unwrap();
        }
        let producer = match &append.writer {
            Writer::Producer { id, .. } => Some(*id),
            Writer::Coordinator | Writer::Marker(_) => None,
        };
        let records = append.records.into_iter();
        let mut logged: Vec<_> = records.map(|one| Logged::Record(one, producer)).collect();
        if let Writer::Marker(marker) = &append.writer {
            let (id, outcome) = (marker.producer_id, marker.outcome);
            writeln!(out, "  log: {id},{} {outcome:?}", marker.producer_epoch).unwrap();
            logged.push(Logged::Marker(id, outcome));
        }
        if let Some(held) = &mut self.held {
            held.push((append.ticket, logged));
        } else {
            self.log.extend(logged);
            let effects = self
                .coordinator
                .step(self.now, Event::Appended(append.ticket));
            self.show(effects, out);
        }
    }

    fn show_record(&mut self, record: &Record) -> String {
        match log::decode(&record.key, record.value.as_deref(), 0).unwrap() {
            Stored::Offset {
                group,
                topic,
                partition,
                value: None,
            } => format!("offset {group} {topic}:{partition} gone"),
            Stored::Offset {
                group,
                topic,
                partition,
                value: Some(value),
            } => {
                let mut shown = format!("offset {group} {topic}:{partition}={}", value.offset);
                if !value.metadata.is_empty() {
                    write!(shown, " metadata={}", value.metadata).unwrap();
                }
                if let Some(expire_ms) = value.expire_ms {
                    write!(shown, " until={expire_ms}").unwrap();
                }
                shown
            }
            Stored::ClassicGroup { group, value: None } => format!("group {group} gone"),
            Stored::ClassicGroup {
                group,
                value: Some(value),
            } => {
                let members = value.members.iter().map(|member| {
                    let id = self.alias(&member.member_id);
                    format!(" {id}={}", text(&member.assignment))
                });
                let members: String = members.collect();
                let leader = value
                    .leader
                    .map_or("-".to_owned(), |leader| self.alias(&leader));
                let (generation, protocol) =
                    (value.generation, value.protocol.as_deref().unwrap_or("-"));
                let since = value.current_state_timestamp;
                format!(
                    "group {group} gen={generation} {}/{protocol} leader={leader} since={since}{members}",
                    value.protocol_type
                )
            }
            Stored::Consumer { group, entry } => {
                let shown = consumer::entry(&entry, &mut |id| self.alias(id));
                format!("{group} {shown}")
            }
            Stored::Unknown => "unknown".to_owned(),
        }
    }

    fn show_reply(&mut self, reply: Reply) -> String {
        match reply {
            Reply::JoinGroup(joined) => {
                let mut shown = format!("join {}", error(joined.error));
                let id = self.alias(&joined.member_id);
                if !id.is_empty() {
                    write!(shown, " id={id}").unwrap();
                }
                if joined.generation_id != -1 {
                    let protocol = joined.protocol_name.as_deref().unwrap_or("-");
                    let leader = self.alias(&joined.leader);
                    write!(
                        shown,
                        " gen={} {protocol} leader={leader}",
                        joined.generation_id
                    )
                    .unwrap();
                }
                if joined.skip_assignment {
                    shown.push_str(" skip");
                }
                if !joined.members.is_empty() {
                    let ids: Vec<_> = joined
                        .members
                        .iter()
                        .map(|member| self.alias(&member.member_id))
                        .collect();
                    write!(shown, " members={}", ids.join(",")).unwrap();
                }
                shown
            }
            Reply::SyncGroup(synced) => match synced.error {
                None => format!("sync ok {}", text(&synced.assignment)),
                some => format!("sync {}", error(some)),
            },
            Reply::Heartbeat(alive) => format!("beat {}", error(alive.err())),
            Reply::LeaveGroup(Err(refused)) => format!("leave {refused:?}"),
            Reply::LeaveGroup(Ok(members)) => {
                let shown = members.iter().map(|member| {
                    let id = self.alias(&member.member_id);
                    let who = if id.is_empty() {
                        member.instance_id.clone().unwrap_or_default()
                    } else {
                        id
                    };
                    format!(" {who}={}", error(member.error))
                });
                format!("leave{}", shown.collect::<String>())
            }
            Reply::OffsetCommit(topics) => format!("commit{}", verdicts(&topics)),
            Reply::OffsetDelete(Ok(topics)) => format!("offset-delete{}", verdicts(&topics)),
            Reply::OffsetDelete(Err(refused)) => format!("offset-delete {refused:?}"),
            Reply::OffsetFetch(Err(refused)) => format!("fetch {refused:?}"),
            Reply::OffsetFetch(Ok(topics)) => {
                let mut shown = "fetch".to_owned();
                for topic in topics {
                    for p in topic.partitions {
                        write!(shown, " {}:{}={}", topic.name, p.partition, p.offset).unwrap();
                        if !p.metadata.is_empty() {
                            write!(shown, "@{}", p.metadata).unwrap();
                        }
                        if let Some(refused) = p.error {
                            write!(shown, "!{refused:?}").unwrap();
                        }
                    }
                }
                shown
            }
            Reply::DescribeGroup(Err(refused)) => format!("describe {refused:?}"),
            Reply::DescribeGroup(Ok(group)) => {
                let members = group
                    .members
                    .iter()
                    .map(|m| format!(" {}={}", self.alias(&m.member_id), text(&m.assignment)));
                let members: String = members.collect();
                format!(
                    "describe {} {}/{}{members}",
                    group.state, group.protocol_type, group.protocol
                )
            }
            Reply::ListGroups(Err(refused)) => format!("list {refused:?}"),
            Reply::ListGroups(Ok(groups)) => {
                let shown = groups.iter().map(|g| {
                    format!(
                        " {}({},{},{})",
                        g.group_id, g.protocol_type, g.state, g.group_type
                    )
                });
                format!("list{}", shown.collect::<String>())
            }
            Reply::DeleteGroup(deleted) => format!("delete {}", error(deleted.err())),
            Reply::ConsumerHeartbeat(beat) => consumer::beat(&beat, &self.alias_of(&beat)),
            Reply::DescribeConsumerGroup(described) => {
                consumer::described(&described, &mut |id| self.alias(id))
            }
            Reply::Marker(marked) => format!("marker {}", error(marked.err())),
        }
    }

    fn alias(&mut self, id: &str) -> String {
        // A generated id ends in a UUID; made-up ones are shown as they are.
        if id.len() < 37 && id.len() != 22 {
            return id.to_owned();
        }
        let place = self
            .members
            .iter()
            .position(|known| known == id)
            .unwrap_or_else(|| {
                self.members.push(id.to_owned());
                self.members.len() - 1
            });
        format!("#{}", place + 1)
    }

    fn alias_of(&mut self, beat: &Result<ConsumerBeat, Box<Refusal>>) -> String {
        beat.as_ref()
            .map(|beat| self.alias(&beat.member_id))
            .unwrap_or_default()
    }

    /// Replaces the `#n` of a word by member ids.
    fn real(&self, word: &str) -> String {
        let mut out = String::new();
        let mut parts = word.split('#');
        out.push_str(parts.next().unwrap());
        for part in parts {
            let digits = part
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(part.len());
            let place: usize = part[..digits].parse().unwrap();
            out.push_str(&self.members[place - 1]);
            out.push_str(&part[digits..]);
        }
        out
    }
}

fn error(error: Option<GroupError>) -> String {
    error.map_or("ok".to_owned(), |error| format!("{error:?}"))
}

fn text(bytes: &Bytes) -> String {
    if bytes.is_empty() {
        "-".to_owned()
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    }
}

fn verdicts(topics: &[CommittedTopic]) -> String {
    let mut shown = String::new();
    for topic in topics {
        for (partition, verdict) in &topic.partitions {
            write!(shown, " {}:{partition}={}", topic.name, error(*verdict)).unwrap();
        }
    }
    shown
}

fn request(command: &str, words: &[&str]) -> Request {
    let mut options: BTreeMap<&str, &str> = BTreeMap::new();
    let mut plain = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) if !name.contains(':') => {
                options.insert(name, value);
            }
            _ => plain.push(*word),
        }
    }
    let group_id = || match plain.first() {
        Some(&"-") | None => String::new(),
        Some(id) => (*id).to_owned(),
    };
    let option = |name: &str| options.get(name).map(|value| (*value).to_owned());
    let number = |name: &str, default: i32| {
        options
            .get(name)
            .map_or(default, |value| value.parse().unwrap())
    };
    match command {
        "join" => {
            let version = number("v", 9);
            Request::JoinGroup(Box::new(JoinGroup {
                group_id: group_id(),
                member_id: option("id").unwrap_or_default(),
                instance_id: option("instance"),
                client_id: "c".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                session_timeout_ms: number("session", 10_000),
                rebalance_timeout_ms: number("rebalance", 20_000),
                protocol_type: option("type").unwrap_or_else(|| "consumer".to_owned()),
                protocols: offer(options.get("speaks").unwrap_or(&"range:t")),
                requires_known_member_id: version >= 4,
                supports_skipping_assignment: version >= 9,
            }))
        }
        "sync" => Request::SyncGroup(SyncGroup {
            group_id: group_id(),
            generation_id: number("gen", 1),
            member_id: option("id").unwrap_or_default(),
            instance_id: option("instance"),
            protocol_type: option("type"),
            protocol_name: option("protocol"),
            assignments: plain[1..]
                .iter()
                .map(|part| {
                    let (id, assignment) = part.split_once(':').unwrap();
                    (id.to_owned(), Bytes::copy_from_slice(assignment.as_bytes()))
                })
                .collect(),
        }),
        "beat" => Request::Heartbeat(Heartbeat {
            group_id: group_id(),
            generation_id: number("gen", 1),
            member_id: option("id").unwrap_or_default(),
            instance_id: option("instance"),
        }),
        "leave" => Request::LeaveGroup(LeaveGroup {
            group_id: group_id(),
            members: plain[1..]
                .iter()
                .map(|who| match who.split_once('/') {
                    Some((id, instance)) => LeavingMember {
                        member_id: id.to_owned(),
                        instance_id: Some(instance.to_owned()),
                    },
                    None => LeavingMember {
                        member_id: (*who).to_owned(),
                        instance_id: None,
                    },
                })
                .collect(),
        }),
        "commit" => {
            let commit = OffsetCommit {
                group_id: group_id(),
                generation_id: number("gen", -1),
                member_id: option("id").unwrap_or_default(),
                instance_id: option("instance"),
                retention_ms: number("retention", -1).into(),
                knows_group_id_not_found: number("v", 9) >= 9,
                knows_member_epochs: number("v", 9) >= 9,
                topics: plain[1..]
                    .iter()
                    .map(|commit| {
                        let (place, value) = commit.split_once('=').unwrap();
                        let (name, partition) = place.split_once(':').unwrap();
                        let (offset, metadata) = match value.split_once('@') {
                            Some((offset, metadata)) => (offset, Some(metadata.to_owned())),
                            None => (value, None),
                        };
                        let (partition, offset) =
                            (partition.parse().unwrap(), offset.parse().unwrap());
                        let partitions = vec![CommitPartition {
                            partition,
                            offset,
                            leader_epoch: 3,
                            metadata,
                        }];
                        CommitTopic {
                            name: name.to_owned(),
                            topic_id: consumer::topic_id(name).0,
                            partitions,
                        }
                    })
                    .collect(),
            };
            match options.get("producer").map(|text| producer(text)) {
                None => Request::OffsetCommit(commit),
                Some((producer_id, producer_epoch)) => {
                    Request::TxnOffsetCommit(Box::new(TxnOffsetCommit {
                        producer_id,
                        producer_epoch,
                        guard: None,
                        commit,
                    }))
                }
            }
        }
        "marker" => {
            let (producer_id, producer_epoch) = producer(options["producer"]);
            Request::Marker(Marker {
                producer_id,
                producer_epoch,
                coordinator_epoch: 0,
                outcome: if plain[0] == "commit" {
                    Outcome::Commit
                } else {
                    Outcome::Abort
                },
                version: TransactionVersion::Two,
            })
        }
        "fetch" => Request::OffsetFetch(OffsetFetch {
            group_id: group_id(),
            member_id: option("id"),
            member_epoch: number("epoch", -1),
            require_stable: options.contains_key("stable"),
            topics: (plain.len() > 1).then(|| places(&plain[1..])),
        }),
        "offset-delete" => Request::OffsetDelete(OffsetDelete {
            group_id: group_id(),
            topics: places(&plain[1..]),
        }),
        "hb" => consumer::heartbeat(group_id(), &options),
        "cdescribe" => Request::DescribeConsumerGroup(DescribeGroup {
            group_id: group_id(),
        }),
        "describe" => Request::DescribeGroup(DescribeGroup {
            group_id: group_id(),
        }),
        "delete" => Request::DeleteGroup(DeleteGroup {
            group_id: group_id(),
        }),
        "list" => {
            let filter = |name: &str| {
                options
                    .get(name)
                    .into_iter()
                    .map(|filter| (*filter).to_owned())
                    .collect()
            };
            Request::ListGroups(ListGroups {
                states: filter("state"),
                types: filter("type"),
            })
        }
        other => panic!("unknown command {other}"),
    }
}

fn producer(text: &str) -> (i64, i16) {
    let (id, epoch) = text.split_once(',').unwrap();
    (id.parse().unwrap(), epoch.parse().unwrap())
}

fn places(words: &[&str]) -> Vec<FetchTopic> {
    let place = |word: &&str| {
        let (name, partition) = word.split_once(':').unwrap();
        let partitions = vec![partition.parse().unwrap()];
        FetchTopic {
            name: name.to_owned(),
            topic_id: [0; 16],
            partitions,
        }
    };
    words.iter().map(place).collect()
}

/// `range:t1+t2,sticky:t1`; `range:!x` is a subscription nobody can read; `-` is none.
fn offer(spec: &str) -> Vec<JoinProtocol> {
    if spec == "-" {
        return Vec::new();
    }
    let protocol = |part: &str| {
        let (name, topics) = part.split_once(':').unwrap_or((part, "t"));
        let metadata = match topics.strip_prefix('!') {
            Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
            None => subscription(&topics.split('+').collect::<Vec<_>>()),
        };
        JoinProtocol {
            name: name.to_owned(),
            metadata,
        }
    };
    spec.split(',').map(protocol).collect()
}
