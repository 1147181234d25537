//! Runs `testdata/*.txt`: a line per event, and under it, indented, what the coordinator did.
//!
//! Appends are stored at once unless the script says `hold`; markers wait for a `marked`. With `BLESS=1` in the
//! environment the files are rewritten: read the difference before keeping it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use corelog_storage::types::TopicPartition;

use super::super::log::{self, Stored};
use super::super::{
    AddPartitions, AppendError, Coordinator, Effects, EndTransaction, Event, InitProducer,
    ListTransactions, Markers, Now, Record, Reply, Request, State, Ticket, Token, TxnSettings,
    Verdict, Version,
};

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"), include_str!(concat!("../testdata/", stringify!($name), ".txt")));
        })*
    };
}

scripts! {
    begin,
    version_1,
    version_2,
    exhaustion,
    markers,
    crashes,
    timeouts,
    appends,
    describe_and_list,
    retry_after_the_marker_was_written,
    fenced_in_the_middle_of_end_txn,
    empty_abort_while_markers_are_written,
    commit_on_its_way_when_the_coordinator_aborts,
}

fn check(name: &str, text: &str) {
    let mut world = World::new();
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with("  ")) {
        out.push_str(line);
        out.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            world.run(line, &mut out);
            world.coordinator.assert_sound();
        }
    }
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
        .join("src/txn/testdata")
        .join(name);
    std::fs::write(path, text).unwrap();
}

struct World {
    coordinator: Coordinator,
    level: i16,
    now: Now,
    log: Vec<Record>,
    held: Option<Vec<(Ticket, Vec<Record>)>>,
    /// The last markers of each id.
    markers: BTreeMap<String, Markers>,
    tokens: BTreeMap<Token, String>,
    next_token: u64,
    next_producer_id: i64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            coordinator: Coordinator::new(0, Arc::new(TxnSettings::default())),
            level: 2,
            now: Now {
                steady_ms: 0,
                wall_ms: 1_000_000,
            },
            log: Vec::new(),
            held: None,
            markers: BTreeMap::new(),
            tokens: BTreeMap::new(),
            next_token: 0,
            next_producer_id: 1000,
        };
        let _ = world.coordinator.loaded(world.now);
        world
    }

    fn run(&mut self, line: &str, out: &mut String) {
        let line = line.split(" //").next().unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "wait" => self.wait(span(words[1]), out),
            "hold" => self.held = Some(Vec::new()),
            "store" => {
                for (ticket, records) in self.held.take().unwrap() {
                    self.log.extend(records);
                    self.step(Event::Appended(ticket), out);
                }
            }
            "fail" => {
                let held = self.held.take().unwrap();
                let from = held[0].0;
                let error = AppendError::Unavailable;
                self.step(Event::AppendFailed { from, error }, out);
            }
            "marked" => self.marked(&words, out),
            "crash" => self.crash(words.get(1) == Some(&"loading"), out),
            "loaded" => {
                let effects = self.coordinator.loaded(self.now);
                self.carry_out(effects, out);
            }
            "resign" => {
                let effects = self.coordinator.unload();
                self.carry_out(effects, out);
            }
            "epoch" => {
                let epoch = words[2].parse().unwrap();
                self.next_producer_id = self.next_producer_id.max(2000);
                let stored = super::super::state::Transaction {
                    epoch,
                    ..super::super::state::Transaction::new(1000, 60_000, self.now.wall_ms)
                };
                let record = log::transaction(words[1], &stored, log::Format::Tagged).unwrap();
                self.log.push(Record {
                    key: record.0,
                    value: record.1,
                    timestamp_ms: self.now.wall_ms,
                });
                self.crash(false, out);
            }
            "level" => {
                self.level = words[1].parse().unwrap();
                self.coordinator.set_level(self.level);
            }
            label => {
                let request = request(&words[1..]);
                self.ask(label, request, out);
            }
        }
    }

    fn ask(&mut self, label: &str, request: Request, out: &mut String) {
        let token = Token(self.next_token);
        self.next_token += 1;
        self.tokens.insert(token, label.to_owned());
        self.step(Event::Request { token, request }, out);
    }

    fn wait(&mut self, ms: u64, out: &mut String) {
        let end = self.now.steady_ms + ms;
        loop {
            let due = self.coordinator.next_deadline().unwrap_or(u64::MAX);
            let at = due.min(end).max(self.now.steady_ms);
            self.now.wall_ms += i64::try_from(at - self.now.steady_ms).unwrap();
            self.now.steady_ms = at;
            if due > end {
                return;
            }
            self.step(Event::Tick, out);
        }
    }

    /// `marked id [t-0=written …]`; what is not named is written.
    fn marked(&mut self, words: &[&str], out: &mut String) {
        let markers = self.markers[words[1]].clone();
        let verdict = |partition: &TopicPartition| {
            let named = words.iter().find_map(|word| {
                let (name, verdict) = word.split_once('=')?;
                (name == partition.to_string()).then_some(verdict)
            });
            match named {
                None | Some("written") => Verdict::Written,
                Some("later") => Verdict::Later,
                Some("gone") => Verdict::Gone,
                Some("fenced") => Verdict::Fenced,
                Some(other) => panic!("{other}"),
            }
        };
        let verdicts = markers.partitions.iter().map(|p| (p.clone(), verdict(p)));
        let event = Event::Marked {
            transactional_id: markers.transactional_id.clone(),
            attempt: markers.attempt,
            verdicts: verdicts.collect(),
        };
        self.step(event, out);
    }

    /// A new life, from the log.
    fn crash(&mut self, stays_loading: bool, out: &mut String) {
        self.held = None;
        self.tokens.clear();
        self.coordinator = Coordinator::new(0, Arc::new(TxnSettings::default()));
        self.coordinator.set_level(self.level);
        for record in &self.log {
            self.coordinator
                .replay(&record.key, record.value.as_deref())
                .unwrap();
        }
        if !stays_loading {
            let effects = self.coordinator.loaded(self.now);
            self.carry_out(effects, out);
        }
    }

    fn step(&mut self, event: Event, out: &mut String) {
        let effects = self.coordinator.step(self.now, event);
        self.carry_out(effects, out);
    }

    fn carry_out(&mut self, effects: Effects, out: &mut String) {
        for (token, reply) in effects.replies {
            let label = self.tokens.remove(&token).unwrap();
            if let Reply::WantsProducerId(request) = reply {
                let id = self.next_producer_id;
                self.next_producer_id += 1;
                self.ask(&label, request.with_producer_id(id), out);
                continue;
            }
            let _ = writeln!(out, "  {label}: {}", show(&reply));
        }
        for markers in effects.markers {
            let partitions: Vec<_> = markers.partitions.iter().map(ToString::to_string).collect();
            let _ = writeln!(
                out,
                "  markers {} {} {},{} {:?}: {}",
                markers.transactional_id,
                if markers.commit { "commit" } else { "abort" },
                markers.producer_id,
                markers.producer_epoch,
                markers.version,
                partitions.join(" ")
            );
            self.markers
                .insert(markers.transactional_id.to_string(), markers);
        }
        let Some(append) = effects.append else {
            return;
        };
        for record in &append.records {
            let _ = writeln!(out, "  append {}", show_record(record));
        }
        if let Some(held) = &mut self.held {
            held.push((append.ticket, append.records));
            return;
        }
        self.log.extend(append.records);
        self.step(Event::Appended(append.ticket), out);
    }
}

fn request(words: &[&str]) -> Request {
    let named = |name: &str| {
        words
            .iter()
            .find_map(|word| word.split_once('=').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    let id = words.get(1).copied().unwrap_or_default().to_owned();
    let id = if id == "''" { String::new() } else { id };
    let producer = || {
        let (producer_id, epoch) = words[2].split_once(',').unwrap();
        (producer_id.parse().unwrap(), epoch.parse().unwrap())
    };
    let version = if words.contains(&"v2") {
        Version::Two
    } else {
        Version::One
    };
    let add = || {
        let (producer_id, producer_epoch) = producer();
        let partitions = words[3..].iter().filter(|word| word.contains('-'));
        AddPartitions {
            transactional_id: id.clone(),
            producer_id,
            producer_epoch,
            partitions: partitions.map(|word| partition(word)).collect(),
            version,
        }
    };
    match words[0] {
        "init" => Request::Init(InitProducer {
            transactional_id: id,
            timeout_ms: named("timeout").map_or(60_000, |ms| ms.parse().unwrap()),
            expected: named("has").map(|has| {
                let (producer_id, epoch) = has.split_once(',').unwrap();
                (producer_id.parse().unwrap(), epoch.parse().unwrap())
            }),
            fresh_producer_id: None,
        }),
        "add" => Request::Add(add()),
        "verify" => Request::Verify(add()),
        "commit" | "abort" => {
            let (producer_id, producer_epoch) = producer();
            Request::End(EndTransaction {
                transactional_id: id,
                producer_id,
                producer_epoch,
                commit: words[0] == "commit",
                version,
                fresh_producer_id: None,
            })
        }
        "describe" => Request::Describe(id),
        "list" => Request::List(ListTransactions {
            states: named("state")
                .and_then(State::from_name)
                .into_iter()
                .collect(),
            producer_ids: named("producer")
                .map(|id| id.parse().unwrap())
                .into_iter()
                .collect(),
            longer_than_ms: named("longer").map(|ms| ms.parse().unwrap()),
        }),
        other => panic!("{other}"),
    }
}

fn partition(text: &str) -> TopicPartition {
    let (topic, number) = text.rsplit_once('-').unwrap();
    TopicPartition::new(topic, number.parse().unwrap())
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Init(Ok(one)) => format!("{},{}", one.producer_id, one.producer_epoch),
        Reply::Add(Ok(())) => "ok".to_owned(),
        Reply::Verify(Ok(known)) => format!("{known:?}"),
        Reply::End(Ok(one)) => format!("{},{}", one.producer_id, one.producer_epoch),
        Reply::Describe(Ok(one)) => {
            let partitions: Vec<_> = one.partitions.iter().map(ToString::to_string).collect();
            format!(
                "{} {},{} timeout={} start={} [{}]",
                one.state.name(),
                one.producer_id,
                one.producer_epoch,
                one.timeout_ms,
                one.start_ms,
                partitions.join(" ")
            )
        }
        Reply::List(Ok(listed)) => {
            let one = |one: &super::super::ListedTransaction| {
                let (id, state) = (&one.transactional_id, one.state.name());
                format!("{id}={state}({})", one.producer_id)
            };
            format!("[{}]", listed.iter().map(one).collect::<Vec<_>>().join(" "))
        }
        Reply::Init(Err(error))
        | Reply::Add(Err(error))
        | Reply::Verify(Err(error))
        | Reply::End(Err(error))
        | Reply::Describe(Err(error))
        | Reply::List(Err(error)) => crate::handlers::error_code::txn(*error).name().to_owned(),
        Reply::WantsProducerId(_) => unreachable!("asked again by the world"),
    }
}

fn show_record(record: &Record) -> String {
    match log::decode(&record.key, record.value.as_deref()).unwrap() {
        Stored::Transaction(id, None) => format!("{id} forgotten"),
        Stored::Transaction(id, Some(one)) => {
            let partitions: Vec<_> = one.partitions.iter().map(ToString::to_string).collect();
            let next = if one.next_producer_id == -1 {
                String::new()
            } else {
                format!(" next={}", one.next_producer_id)
            };
            format!(
                "{id} {} {},{}{next} {:?} [{}]",
                one.state.name(),
                one.producer_id,
                one.epoch,
                one.version,
                partitions.join(" ")
            )
        }
        Stored::Unknown => "unknown".to_owned(),
    }
}

/// `20ms`, `10s`, `7d`.
fn span(text: &str) -> u64 {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let number: u64 = digits.parse().unwrap();
    match &text[digits.len()..] {
        "ms" => number,
        "s" => number * 1_000,
        "d" => number * 86_400_000,
        other => panic!("{other}"),
    }
}
