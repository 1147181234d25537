//! Our own consumer as a member of groups of the consumer protocol (KIP-848), and the commands that use it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use corelog_net::wire::messages::consumer_group_describe::Member;
use corelog_net::wire::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use corelog_runtime::{Config, Runtime, now};
use corelog_storage::batch::Codec;
use corelog_tools::cli::{self, Out};
use corelog_tools::client::consumer::{Consumer, ConsumerConfig, GroupConfig, Protocol, Reset};
use corelog_tools::client::{Client as Link, ClientConfig};

use crate::consumer_groups::describe;
use crate::groups::await_coordinator;
use crate::harness::{Broker, PATIENCE};
use crate::records::{batch, coded, now_ms, values};
use crate::topics::{create, produce};

/// Heartbeats and assignments as fast as the protocol goes.
const FAST: &[&str] = &[
    "group.consumer.assignment.interval.ms=0",
    "group.consumer.min.heartbeat.interval.ms=50",
    "group.consumer.heartbeat.interval.ms=50",
    "group.consumer.min.session.timeout.ms=1000",
];

fn on_runtime(work: impl Future<Output = ()> + 'static) {
    let runtime = Runtime::new(&Config::default()).expect("a runtime");
    runtime.run(work);
}

async fn link(broker: &Broker) -> Rc<Link> {
    let config = ClientConfig {
        api_timeout: PATIENCE,
        ..ClientConfig::new([broker.bootstrap()])
    };
    Link::connect(config).await.expect("the broker answers")
}

fn group(name: &str, topics: &[&str]) -> GroupConfig {
    GroupConfig {
        protocol: Protocol::Consumer,
        auto_commit: Some(Duration::from_mins(10)),
        ..GroupConfig::new(name, topics.iter().copied())
    }
}

fn member(link: &Rc<Link>, group: GroupConfig) -> Consumer {
    let config = ConsumerConfig {
        reset: Reset::Earliest,
        fetch_wait_max: Duration::from_millis(20),
        ..ConsumerConfig::default()
    };
    let consumer = Consumer::new(link, config);
    consumer.subscribe(group);
    consumer
}

type Seen = BTreeMap<(String, i32, i64), usize>;

/// Has all members read until the condition holds; counts how often each record was given out.
async fn read_until(
    what: &str,
    members: &[&Consumer],
    seen: &mut Seen,
    mut done: impl FnMut(&Seen) -> bool,
) {
    let deadline = now() + PATIENCE;
    while !done(seen) {
        assert!(now() < deadline, "waited in vain until {what}: {seen:?}");
        for member in members {
            let records = member.poll(Duration::from_millis(5)).await;
            for record in records.expect("records are read") {
                let place = (record.topic.to_string(), record.partition, record.offset);
                *seen.entry(place).or_default() += 1;
            }
        }
    }
}

fn partitions(consumer: &Consumer) -> BTreeSet<(String, i32)> {
    let all = consumer.assignment().into_iter();
    all.map(|(topic, number)| (topic.to_string(), number))
        .collect()
}

#[test]
fn members_share_give_back_and_take_over_without_a_record_twice_or_never() {
    let broker = Broker::with(FAST);
    let mut client = broker.client();
    create(&mut client, "shared", 4, &[]);
    await_coordinator(&mut client, "crowd");
    let mut write = move |round: usize| {
        for partition in 0..4 {
            let text = format!("{round}");
            produce(&mut client, "shared", partition, values(&[&text, &text]));
        }
    };
    write(1);
    on_runtime(async move {
        let link = link(&broker).await;
        let mut seen = Seen::new();
        let first = member(&link, group("crowd", &["shared"]));
        read_until("the first has read all", &[&first], &mut seen, |seen| {
            seen.len() == 8
        })
        .await;
        assert_eq!(partitions(&first).len(), 4);
        let second = member(&link, group("crowd", &["shared"]));
        let both = [&first, &second];
        read_until("each has two", &both, &mut seen, |_| {
            both.iter().all(|one| partitions(one).len() == 2)
        })
        .await;
        assert!(partitions(&first).is_disjoint(&partitions(&second)));
        write(2);
        read_until("both have read on", &both, &mut seen, |seen| {
            seen.len() == 16
        })
        .await;
        let mut admin_client = broker.client();
        let described = describe(&mut admin_client, "crowd");
        assert_eq!(described.group_state, "Stable");
        assert_eq!(described.assignor_name, "uniform");
        assert_eq!(described.members.len(), 2);
        second.close().await.expect("it leaves");
        read_until("the first has all again", &[&first], &mut seen, |_| {
            partitions(&first).len() == 4
        })
        .await;
        write(3);
        read_until("the first has read on", &[&first], &mut seen, |seen| {
            seen.len() == 24
        })
        .await;
        first.close().await.expect("it leaves");
        assert_eq!(describe(&mut admin_client, "crowd").members, []);
        // What was read is committed, so whoever comes next begins behind it.
        let last = member(&link, group("crowd", &["shared"]));
        write(4);
        read_until("the last has read the rest", &[&last], &mut seen, |seen| {
            seen.len() == 32
        })
        .await;
        last.close().await.expect("it leaves");
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    });
}

#[test]
fn a_member_that_was_put_out_begins_anew() {
    let mut broker = Broker::with(FAST);
    let mut client = broker.client();
    create(&mut client, "t", 2, &[]);
    await_coordinator(&mut client, "fenced");
    produce(&mut client, "t", 0, values(&["a"]));
    on_runtime(async move {
        let link = link(&broker).await;
        let mut seen = Seen::new();
        let consumer = member(&link, group("fenced", &["t"]));
        read_until("it has read", &[&consumer], &mut seen, |seen| {
            seen.len() == 1
        })
        .await;
        consumer.commit().await.expect("offsets are committed");
        // Somebody says goodbye in its name.
        let described = describe(&mut client, "fenced");
        let [one] = &described.members[..] else {
            panic!("{described:?}");
        };
        let (name, epoch) = (one.member_id.clone(), one.member_epoch);
        let goodbye = ConsumerGroupHeartbeatRequest {
            group_id: "fenced".to_owned(),
            member_id: name.clone(),
            member_epoch: -1,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        assert_eq!(client.call(1, &goodbye).error_code, 0);
        produce(&mut client, "t", 1, values(&["b"]));
        read_until(
            "it is back under its name",
            &[&consumer],
            &mut seen,
            |seen| {
                let described = describe(&mut client, "fenced");
                let is_back = |it: &Member| it.member_id == name && it.member_epoch > epoch;
                seen.len() == 2
                    && partitions(&consumer).len() == 2
                    && described.members.iter().all(is_back)
                    && described.members.len() == 1
            },
        )
        .await;
        // A broker that is away for a while is waited for.
        drop(client);
        broker.kill();
        broker.launch();
        let mut client = broker.client();
        produce(&mut client, "t", 1, values(&["c"]));
        read_until(
            "it has read after the crash",
            &[&consumer],
            &mut seen,
            |seen| seen.len() == 3,
        )
        .await;
        consumer.close().await.expect("it leaves");
        // What it had read and not committed when it was put out is read again by who gets it next, here itself.
        seen.remove(&("t".to_owned(), 1, 0));
        assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    });
}

#[test]
fn assignor_pattern_and_topics_are_the_members_choice() {
    let broker = Broker::with(FAST);
    let mut client = broker.client();
    for topic in ["red-1", "red-2", "blue"] {
        create(&mut client, topic, 1, &[]);
        produce(&mut client, topic, 0, values(&[topic]));
    }
    await_coordinator(&mut client, "colours");
    on_runtime(async move {
        let link = link(&broker).await;
        let mut seen = Seen::new();
        let consumer = member(
            &link,
            GroupConfig {
                remote_assignor: Some("range".to_owned()),
                pattern: Some("red-[0-9]+".to_owned()),
                ..group("colours", &[])
            },
        );
        read_until("the red ones are read", &[&consumer], &mut seen, |seen| {
            seen.len() == 2
        })
        .await;
        assert_eq!(describe(&mut client, "colours").assignor_name, "range");
        consumer.set_topics(vec!["blue".to_owned()]);
        read_until("blue is read too", &[&consumer], &mut seen, |seen| {
            seen.len() == 3
        })
        .await;
        let names: Vec<_> = partitions(&consumer).into_iter().collect();
        let all = ["blue", "red-1", "red-2"].map(|name| (name.to_owned(), 0));
        assert_eq!(names, all);
        consumer.close().await.expect("it leaves");
        for (change, sentence) in [
            (
                GroupConfig {
                    remote_assignor: Some("nosuch".to_owned()),
                    ..group("colours", &["blue"])
                },
                "ServerAssignor nosuch is not supported. Supported assignors: uniform, range.",
            ),
            (
                GroupConfig {
                    pattern: Some("(".to_owned()),
                    ..group("colours", &[])
                },
                "SubscribedTopicRegex `(` is not a valid regular expression: ",
            ),
        ] {
            let consumer = member(&link, change);
            let error = consumer.next_within(PATIENCE).await;
            let error = error.expect_err("a refusal").to_string();
            assert!(error.starts_with(sentence), "{error}");
            consumer.close().await.expect("there is nothing to leave");
        }
    });
}

#[test]
fn a_static_member_keeps_its_place() {
    let broker = Broker::with(FAST);
    let mut client = broker.client();
    create(&mut client, "t", 4, &[]);
    await_coordinator(&mut client, "statics");
    let named = |name: &str| GroupConfig {
        instance: Some(name.to_owned()),
        ..group("statics", &["t"])
    };
    on_runtime(async move {
        let link = link(&broker).await;
        let mut seen = Seen::new();
        let (a, b) = (member(&link, named("a")), member(&link, named("b")));
        read_until("each has two", &[&a, &b], &mut seen, |_| {
            partitions(&a).len() == 2 && partitions(&b).len() == 2
        })
        .await;
        let had = partitions(&b);
        // Its place is taken as long as it is there.
        let impostor = member(&link, named("b"));
        let error = impostor.next_within(PATIENCE).await.expect_err("a refusal");
        assert!(error.to_string().contains("instance id b"), "{error}");
        b.close().await.expect("it goes for now");
        let epoch = describe(&mut client, "statics").group_epoch;
        let b = member(&link, named("b"));
        read_until("it is back", &[&a, &b], &mut seen, |_| {
            partitions(&b) == had
        })
        .await;
        assert_eq!(describe(&mut client, "statics").group_epoch, epoch);
        a.close().await.expect("it goes");
        b.close().await.expect("it goes");
    });
}

#[test]
fn a_cluster_without_the_protocol_says_what_to_do() {
    let broker = Broker::with(&["group.coordinator.rebalance.protocols=classic"]);
    let mut client = broker.client();
    create(&mut client, "t", 1, &[]);
    await_coordinator(&mut client, "old");
    on_runtime(async move {
        let link = link(&broker).await;
        let consumer = member(&link, group("old", &["t"]));
        let error = consumer.next_within(PATIENCE).await.expect_err("a refusal");
        assert_eq!(
            error.to_string(),
            "The cluster does not support the new CONSUMER group protocol. Set group.protocol=classic \
             on the consumer configs to revert to the CLASSIC protocol until the cluster is upgraded."
        );
    });
}

/// Exit code, output, errors.
fn run(broker: &Broker, arguments: &[&str]) -> (u8, String, String) {
    let (mut printer, out, err) = Out::kept();
    let bootstrap = broker.bootstrap();
    let server = ["--bootstrap-server", &bootstrap];
    let all = ["corelog"].iter().chain(arguments).chain(&server);
    let all: Vec<String> = all.map(|&one| one.to_owned()).collect();
    let code = cli::main(&all, &mut printer);
    drop(printer);
    (code, out.text(), err.text())
}

#[test]
fn commands_take_the_protocol_as_kafkas_do() {
    let broker = Broker::with(FAST);
    let mut client = broker.client();
    create(&mut client, "t", 2, &[]);
    produce(&mut client, "t", 1, values(&["a", "b", "c"]));
    await_coordinator(&mut client, "console");
    let console = |more: &[&str]| {
        let base = [
            "console-consumer",
            "--topic",
            "t",
            "--from-beginning",
            "--max-messages",
            "3",
            "--group",
            "console",
            "--command-property",
        ];
        run(&broker, &[&base, more].concat())
    };
    let (code, out, err) = console(&[
        "group.protocol=consumer",
        "--command-property",
        "group.remote.assignor=range",
    ]);
    assert_eq!((code, out.as_str()), (0, "a\nb\nc\n"), "{err}");
    let described = describe(&mut client, "console");
    assert_eq!(described.error_code, 0, "a group of the consumer protocol");
    for (properties, sentence) in [
        (
            ["group.protocol=consumer", "session.timeout.ms=10000"],
            "session.timeout.ms cannot be set when group.protocol=CONSUMER",
        ),
        (
            ["group.protocol=CONSUMER", "heartbeat.interval.ms=10"],
            "heartbeat.interval.ms cannot be set when group.protocol=CONSUMER",
        ),
        (
            ["group.protocol=Classic", "group.remote.assignor=range"],
            "group.remote.assignor cannot be set when group.protocol=CLASSIC",
        ),
        (
            ["group.protocol=bogus", "fetch.min.bytes=1"],
            "Invalid value bogus for configuration group.protocol: String must be one of (case \
             insensitive): CONSUMER, CLASSIC",
        ),
    ] {
        let (code, _, err) = console(&[properties[0], "--command-property", properties[1]]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(sentence), "{err}");
    }
    let verifiable = [
        "verifiable-consumer",
        "--topic",
        "t",
        "--max-messages",
        "3",
        "--group-protocol",
        "consumer",
        "--group-id",
        "verified",
    ];
    let (code, out, err) = run(&broker, &verifiable);
    assert_eq!(code, 0, "{err}");
    let events: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event is JSON"))
        .collect();
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["name"].as_str())
        .collect();
    let expected = [
        "startup_complete",
        "partitions_assigned",
        "records_consumed",
        "offsets_committed",
        "partitions_revoked",
        "shutdown_complete",
        "shutdown_requested",
    ];
    assert_eq!(names, expected, "{out}");
    assert_eq!(describe(&mut client, "verified").error_code, 0);
    let (code, out, err) = run(
        &broker,
        &[
            "consumer-perf-test",
            "--topic",
            "t",
            "--num-records",
            "3",
            "--group",
            "timed",
            "--command-property",
            "group.protocol=consumer",
        ],
    );
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(describe(&mut client, "timed").error_code, 0, "{out}{err}");
}

/// Who asks for nothing leaves; who asks again is back, and what was read in between is not committed.
async fn a_member_that_does_not_read_leaves(broker: &Broker, protocol: Protocol) {
    let link = link(broker).await;
    let patient = GroupConfig {
        protocol,
        rebalance_timeout: PATIENCE * 2,
        heartbeat: Duration::from_millis(50),
        ..group("lazy", &["t"])
    };
    let hurried = GroupConfig {
        rebalance_timeout: Duration::from_millis(700),
        ..patient.clone()
    };
    let mut seen = Seen::new();
    let (lazy, keen) = (member(&link, hurried), member(&link, patient));
    read_until("each has two", &[&lazy, &keen], &mut seen, |_| {
        partitions(&lazy).len() == 2 && partitions(&keen).len() == 2
    })
    .await;
    read_until("one has all", &[&keen], &mut seen, |_| {
        partitions(&keen).len() == 4
    })
    .await;
    let refused = lazy.commit().await.expect_err("it is no member");
    assert!(
        refused
            .to_string()
            .starts_with("Offset commit cannot be completed"),
        "{refused}"
    );
    read_until("it is back", &[&lazy, &keen], &mut seen, |_| {
        partitions(&lazy).len() == 2 && partitions(&keen).len() == 2
    })
    .await;
    lazy.close().await.expect("it goes");
    keen.close().await.expect("it goes");
}

#[test]
fn a_member_of_either_protocol_that_does_not_read_leaves() {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        let broker = Broker::with(&[FAST, &["group.initial.rebalance.delay.ms=0"]].concat());
        let mut client = broker.client();
        create(&mut client, "t", 4, &[]);
        await_coordinator(&mut client, "lazy");
        on_runtime(async move {
            a_member_that_does_not_read_leaves(&broker, protocol).await;
        });
    }
}

#[test]
fn without_an_offset_a_consumer_begins_where_its_settings_say() {
    let broker = Broker::with(FAST);
    let mut client = broker.client();
    create(&mut client, "t", 1, &[]);
    let hour = 3_600_000;
    let (old, new) = (now_ms() - 3 * hour, now_ms() - hour);
    let records = [(old, None, "old"), (new, None, "new")];
    for record in records {
        produce(&mut client, "t", 0, batch(coded(Codec::None), &[record]));
    }
    await_coordinator(&mut client, "resets");
    let console = |more: &[&str]| {
        let base = ["console-consumer", "--topic", "t", "--timeout-ms", "1500"];
        run(&broker, &[&base, more].concat())
    };
    let reset = |policy: &str| format!("auto.offset.reset={policy}");
    for protocol in ["group.protocol=classic", "group.protocol=consumer"] {
        let (code, out, err) = console(&[
            "--group",
            "resets",
            "--command-property",
            protocol,
            "--command-property",
            &reset("none"),
        ]);
        assert_eq!((code, out.as_str()), (0, ""), "{err}");
        let sentence = "Undefined offset with no reset policy for partitions: [t-0]\n";
        assert!(err.starts_with(sentence), "{err}");
    }
    for (policy, expected) in [("PT2H", "new\n"), ("PT30M", ""), ("P1D", "old\nnew\n")] {
        let reset = reset(&format!("by_duration:{policy}"));
        let (code, out, err) = console(&["--command-property", &reset]);
        assert_eq!((code, out.as_str()), (0, expected), "{policy}: {err}");
    }
    let (code, _, err) = console(&["--command-property", &reset("by_duration:-PT1S")]);
    assert_eq!(code, 1);
    let sentence = "Invalid value `by_duration:-PT1S` for configuration auto.offset.reset. The value must be either \
                    'earliest', 'latest', 'none' or of the format 'by_duration:<PnDTnHnMn.nS.>'.";
    assert!(err.contains(sentence), "{err}");
    let far = ["--partition", "0", "--offset", "99", "--command-property"];
    let (code, _, err) = console(&[&far[..], &[&reset("none")]].concat());
    let address = broker.bootstrap();
    let sentence = format!(
        "Fetch position FetchPosition{{offset=99, offsetEpoch=Optional.empty, currentLeader=LeaderAndEpoch{{\
         leader=Optional[{address} (id: 1 rack: null isFenced: false)], epoch=0}}}} is out of range for partition t-0\n"
    );
    assert_eq!(code, 0);
    assert!(err.starts_with(&sentence), "{err}");
}
