//! The assignors against Kafka's, case by case (`testdata/assignors_kafka_4_3.txt` is what Kafka 4.3.1 answered), and at random.

use std::collections::{BTreeMap, BTreeSet};

use corelog_net::wire::Uuid;
use proptest::prelude::*;

use super::super::member::Partitions;
use super::{Assignor, Topic, Wish};

const KAFKA: &str = include_str!("../../testdata/assignors_kafka_4_3.txt");

#[derive(Clone, Debug, Default)]
struct Case {
    topics: Vec<i32>,
    members: Vec<Asking>,
    /// What Kafka answered, by assignor.
    answers: BTreeMap<String, Vec<BTreeSet<(usize, i32)>>>,
}

#[derive(Clone, Debug, Default)]
struct Asking {
    id: String,
    instance: Option<String>,
    wants: BTreeSet<usize>,
    has: BTreeSet<(usize, i32)>,
}

fn place(word: &str) -> (usize, i32) {
    let (topic, partition) = word.split_once('-').unwrap();
    (topic.parse().unwrap(), partition.parse().unwrap())
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for block in KAFKA.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let mut case = Case::default();
        for line in block.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[0] {
                "topics" => case.topics = words[1..].iter().map(|n| n.parse().unwrap()).collect(),
                "member" => {
                    let has = words.iter().position(|word| *word == "has").unwrap();
                    case.members.push(Asking {
                        id: words[1].to_owned(),
                        instance: (words[2] != "-").then(|| words[2].to_owned()),
                        wants: words[4..has].iter().map(|n| n.parse().unwrap()).collect(),
                        has: words[has + 1..].iter().map(|word| place(word)).collect(),
                    });
                }
                name => {
                    let parts = words[1..].iter().map(|part| {
                        let (_, places) = part.split_once('=').unwrap();
                        places
                            .split(',')
                            .filter(|p| !p.is_empty())
                            .map(place)
                            .collect()
                    });
                    case.answers.insert(name.to_owned(), parts.collect());
                }
            }
        }
        cases.push(case);
    }
    cases
}

fn id(topic: usize) -> Uuid {
    Uuid([u8::try_from(topic + 1).unwrap(); 16])
}

fn assign(assignor: Assignor, case: &Case) -> Vec<BTreeSet<(usize, i32)>> {
    let topics: Vec<Topic> = case
        .topics
        .iter()
        .enumerate()
        .map(|(place, &partitions)| Topic {
            id: id(place),
            partitions,
        })
        .collect();
    let currents: Vec<Partitions> = case
        .members
        .iter()
        .map(|member| {
            let mut current = Partitions::new();
            for &(topic, partition) in &member.has {
                current.entry(id(topic)).or_default().push(partition);
            }
            current
        })
        .collect();
    let members: Vec<Wish<'_>> = case
        .members
        .iter()
        .zip(&currents)
        .map(|(member, current)| Wish {
            member_id: &member.id,
            instance_id: member.instance.as_deref(),
            topics: member.wants.iter().copied().collect(),
            current,
        })
        .collect();
    let show = |assigned: Partitions| {
        let mut shown = BTreeSet::new();
        for (topic, partitions) in assigned {
            assert!(partitions.is_sorted());
            let topic = usize::from(topic.0[0]) - 1;
            shown.extend(partitions.into_iter().map(|partition| (topic, partition)));
        }
        shown
    };
    assignor
        .assign(&topics, &members)
        .into_iter()
        .map(show)
        .collect()
}

/// Every partition somebody wants has one owner, who wants it.
fn check_complete(case: &Case, assigned: &[BTreeSet<(usize, i32)>]) {
    let mut owned = BTreeSet::new();
    for (member, parts) in case.members.iter().zip(assigned) {
        for &(topic, partition) in parts {
            assert!(member.wants.contains(&topic), "{case:?}");
            assert!(
                owned.insert((topic, partition)),
                "{topic}-{partition} twice: {case:?}"
            );
        }
    }
    for (topic, &partitions) in case.topics.iter().enumerate() {
        let wanted = case
            .members
            .iter()
            .any(|member| member.wants.contains(&topic));
        for partition in 0..partitions {
            assert_eq!(
                owned.contains(&(topic, partition)),
                wanted,
                "{topic}-{partition}: {case:?}"
            );
        }
    }
}

/// How many of the partitions that members had, and may have, they keep.
fn kept(case: &Case, assigned: &[BTreeSet<(usize, i32)>]) -> usize {
    let pairs = case.members.iter().zip(assigned);
    pairs
        .map(|(member, parts)| member.has.intersection(parts).count())
        .sum()
}

fn loads(assigned: &[BTreeSet<(usize, i32)>]) -> Vec<usize> {
    let mut loads: Vec<usize> = assigned.iter().map(BTreeSet::len).collect();
    loads.sort_unstable();
    loads
}

fn unevenness(assigned: &[BTreeSet<(usize, i32)>]) -> usize {
    assigned.iter().map(|parts| parts.len() * parts.len()).sum()
}

fn is_homogeneous(case: &Case) -> bool {
    case.members
        .iter()
        .all(|member| member.wants == case.members[0].wants)
}

#[test]
fn range_gives_what_kafkas_gives() {
    let cases = cases();
    assert_eq!(cases.len(), 60);
    for case in cases {
        assert_eq!(
            assign(Assignor::Range, &case),
            case.answers["range"],
            "{case:?}"
        );
    }
}

/// Which of several equal members gets the odd partition, Kafka leaves to a hash table. How evenly, it does not.
#[test]
fn uniform_is_as_even_as_kafkas_and_moves_no_more() {
    for case in cases() {
        let (ours, theirs) = (assign(Assignor::Uniform, &case), &case.answers["uniform"]);
        check_complete(&case, &ours);
        if is_homogeneous(&case) {
            assert_eq!(loads(&ours), loads(theirs), "{case:?}");
            assert!(
                kept(&case, &ours) >= kept(&case, theirs),
                "{case:?} {ours:?}"
            );
        } else {
            assert!(unevenness(&ours) <= unevenness(theirs), "{case:?} {ours:?}");
        }
    }
}

fn case() -> impl Strategy<Value = Case> {
    let topics = prop::collection::vec(0..9_i32, 1..5);
    topics.prop_flat_map(|topics| {
        let count = topics.len();
        let wants = prop::collection::btree_set(0..count, 0..=count);
        let has = prop::collection::btree_set((0..count, 0..10_i32), 0..12);
        let member = (wants, has, any::<bool>());
        (Just(topics), prop::collection::vec(member, 1..8)).prop_map(|(topics, members)| {
            let members = members.into_iter().enumerate();
            let members = members.map(|(place, (wants, has, is_static))| Asking {
                id: format!("m{place}"),
                instance: is_static.then(|| format!("i{}", 9 - place)),
                wants,
                has,
            });
            Case {
                topics,
                members: members.collect(),
                ..Case::default()
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Also when what members had is nonsense: twice owned, not wanted, not there.
    #[test]
    fn every_partition_has_one_owner_and_nothing_moves_twice(case in case()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let assigned = assign(assignor, &case);
            check_complete(&case, &assigned);
            let mut again = case.clone();
            for (member, parts) in again.members.iter_mut().zip(&assigned) {
                member.has.clone_from(parts);
            }
            prop_assert_eq!(&assign(assignor, &again), &assigned);
            if assignor == Assignor::Uniform {
                for (poor, poorer) in again.members.iter().zip(&assigned) {
                    for rich in &assigned {
                        let movable = rich.iter().any(|(topic, _)| poor.wants.contains(topic));
                        prop_assert!(!movable || rich.len() <= poorer.len() + 1, "{:?}", assigned);
                    }
                }
            }
        }
    }
}
