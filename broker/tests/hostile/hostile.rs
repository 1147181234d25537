//! Hostile frames against a live broker, with honest clients beside them.
//!
//! **Owns** the making of hostile frames and what must hold while they come.
//! **Lives on** threads of the test: attackers, honest clients, and the one that watches.
//! **Invariants**
//! 1. The broker stays up, its memory stays bounded, its descriptors come back.
//! 2. Honest clients see no error.
//!
//! **Not here**: each single refusal (`framing`), the decoders alone (`net/fuzz`).
//!
//! `HOSTILE_FRAMES` (20000) and `HOSTILE_SEED` make it longer and repeat it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::ApiKey;

use crate::client::{Client, Heard, raw, with_size};
use crate::groups::{await_coordinator, heartbeat, join, syncing};
use crate::harness::{Broker, PATIENCE, eventually};
use crate::random::{Random, number};
use crate::records::{read, values};
use crate::table::error;
use crate::topics::{create, fetching, only_records, produce};

/// Resident memory that the broker may have at most, in KiB. An honest load takes about half.
const MEMORY_MAX_KIB: u64 = 384 * 1024;

/// The request frames that real clients sent, without their sizes.
fn golden() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/tests/golden");
    let mut frames = Vec::new();
    for folder in std::fs::read_dir(&root).expect("the golden frames") {
        let folder = folder.expect("it can be listed").path();
        let mut files: Vec<_> = std::fs::read_dir(&folder)
            .expect("a folder")
            .map(|file| file.expect("it can be listed").path())
            .filter(|file| file.extension().is_some_and(|ending| ending == "req"))
            .collect();
        files.sort();
        for file in files {
            frames.push(std::fs::read(file).expect("a frame")[4..].to_vec());
        }
    }
    frames.sort();
    assert!(frames.len() > 100, "{} golden frames", frames.len());
    frames
}

/// Whether the frame, taken as it is, is no attack but a request that may fill the disk.
fn makes_topics(frame: &[u8]) -> bool {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    [ApiKey::CreateTopics, ApiKey::CreatePartitions]
        .iter()
        .any(|&api| key == Some(i16::from(api)))
}

/// A frame that nobody should send.
fn hostile(random: &mut Random, golden: &[Vec<u8>]) -> Vec<u8> {
    let sized = |body: &[u8]| with_size([&[0; 4], body].concat());
    let length = 1 + random.below(300);
    match random.below(10) {
        // Noise in a frame, and noise.
        0 => {
            let noise = random.bytes(length);
            sized(&noise)
        }
        1 => random.bytes(length),
        // Noise behind a header that is right.
        2 => {
            let key = i16::try_from(random.below(95)).expect("a key");
            let version = i16::try_from(random.below(19)).expect("a version");
            let body = random.bytes(length);
            if makes_topics(&key.to_be_bytes()) {
                raw(key, 99, 1, &body)
            } else {
                raw(key, version, 1, &body)
            }
        }
        kind => {
            let mut frame = golden[random.below(golden.len())].clone();
            let cut = random.below(frame.len());
            match kind {
                // Cut short, honestly and not.
                3 => sized(&frame[..cut]),
                4 => sized(&frame)[..cut + 4].to_vec(),
                // A size that is too small or too large.
                5 => {
                    let mut lying = sized(&frame);
                    let size = i32::try_from(random.next() >> 36).expect("28 bits");
                    lying[..4].copy_from_slice(&size.to_be_bytes());
                    lying
                }
                // Counts and lengths beyond everything.
                6 => {
                    let claims: [&[u8]; 6] = [
                        &[0x7f, 0xff, 0xff, 0xff],
                        &[0x80, 0, 0, 0],
                        &[0xff, 0xff, 0xff, 0xfe],
                        &[0x7f, 0xff],
                        &[0xff, 0xff, 0xff, 0xff, 0x0f],
                        &[0, 0x0f, 0xff, 0xff],
                    ];
                    let claim = claims[random.below(claims.len())];
                    let end = (cut + claim.len()).min(frame.len());
                    frame[cut..end].copy_from_slice(&claim[..end - cut]);
                    quiet(frame)
                }
                // Another version of the same bytes.
                7 => {
                    let version = i16::try_from(random.below(20)).expect("a version");
                    frame[2..4].copy_from_slice(&version.to_be_bytes());
                    quiet(frame)
                }
                // Single bytes changed.
                _ => {
                    for _ in 0..=random.below(8) {
                        let at = random.below(frame.len());
                        frame[at] = random.next().to_be_bytes()[0];
                    }
                    quiet(frame)
                }
            }
        }
    }
}

/// The frame with its size; one that could make thousands of topics gets a version that nobody has.
fn quiet(mut frame: Vec<u8>) -> Vec<u8> {
    if makes_topics(&frame) {
        frame[2..4].copy_from_slice(&[0x7f, 0xff]);
    }
    with_size([&[0; 4], &frame[..]].concat())
}

/// Sends so many hostile frames, a few on each connection.
fn attack(broker: &Broker, seed: u64, golden: &[Vec<u8>], left: &AtomicU64) {
    let mut random = Random::new(seed);
    loop {
        let mut client = Client::try_connect(broker.addr()).expect("the broker accepts");
        for _ in 0..=random.below(12) {
            if left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_err()
            {
                return;
            }
            client.send_bytes(&hostile(&mut random, golden));
        }
        match random.below(4) {
            // Gone at once, whatever is under way.
            0 => {}
            1 => client.finish_sending(),
            _ => {
                if random.below(2) == 0 {
                    client.finish_sending();
                }
                while let Heard::Frame(_) = client.hear(Duration::from_millis(20)) {}
            }
        }
    }
}

/// Uses the broker as it is meant; fails at the first answer that is not as it should be.
fn honest(broker: &Broker, number: i32, over: &AtomicBool) -> u64 {
    let mut client = broker.client();
    let group = format!("honest-{number}");
    await_coordinator(&mut client, &group);
    let member = join(&mut client, &group).member_id;
    client.call(5, &syncing(&group, 1, &member, &[]));
    let mut rounds = 0;
    let mut next = 0;
    while !over.load(Ordering::Relaxed) {
        let value = format!("{number} {rounds}");
        let offset = produce(&mut client, "honest", number, values(&[value.as_str()]));
        assert_eq!(offset, next, "nobody else writes there");
        let mut request = fetching("honest", number, offset);
        request.max_wait_ms = 10_000;
        let fetched = read(&only_records(&client.call(12, &request)));
        assert_eq!(fetched, [(offset, value.into_bytes())]);
        assert_eq!(
            error(client.call(4, &heartbeat(&group, 1, &member)).error_code),
            "NONE"
        );
        assert!(broker.client().is_ready(), "a new connection is served");
        next += 1;
        rounds += 1;
    }
    rounds
}

fn descriptors(broker: &Broker) -> usize {
    let path = format!("/proc/{}/fd", broker.pid());
    std::fs::read_dir(path).expect("the broker runs").count()
}

#[test]
fn hostile_frames_disturb_nobody() {
    let frames = number("HOSTILE_FRAMES", 20_000);
    let seed = number("HOSTILE_SEED", 20_260);
    println!("HOSTILE_SEED={seed} HOSTILE_FRAMES={frames}");
    let mut broker = Broker::with(&["auto.create.topics.enable=false"]);
    create(&mut broker.client(), "honest", 2, &[]);
    let golden = golden();
    let descriptors_before = descriptors(&broker);
    let memory_before = broker.memory_kib("VmRSS");
    let left = AtomicU64::new(frames);
    let over = AtomicBool::new(false);
    let (broker_ref, golden, left_ref, over_ref) = (&broker, &golden, &left, &over);
    let rounds: u64 = std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..2)
            .map(|number| scope.spawn(move || attack(broker_ref, seed + number, golden, left_ref)))
            .collect();
        let honest: Vec<_> = (0..2)
            .map(|number| scope.spawn(move || honest(broker_ref, number, over_ref)))
            .collect();
        let ended: Vec<_> = attackers
            .into_iter()
            .map(|one| one.join().is_ok())
            .collect();
        over.store(true, Ordering::Relaxed);
        assert!(
            ended.iter().all(|&well| well),
            "an attacker found the door shut"
        );
        honest
            .into_iter()
            .map(|one| one.join().expect("an honest client saw an error"))
            .sum()
    });
    assert!(rounds > 10, "honest clients came to {rounds} rounds");
    assert!(broker.exited().is_none(), "the broker is up");
    let peak = broker.memory_kib("VmHWM");
    println!("{rounds} honest rounds, memory {memory_before} KiB before, {peak} KiB at most");
    assert!(peak < MEMORY_MAX_KIB, "memory grew to {peak} KiB");
    // The attack leaves no connection and no file behind, but the segments of the honest.
    eventually("descriptors are given back", || {
        descriptors(&broker) <= descriptors_before + 40
    });
    broker.stop();
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
}

/// `FindCoordinator` v4 with `count` empty keys of one byte each.
fn empty_keys(count: u32) -> Vec<u8> {
    let mut body = vec![0];
    let mut rest = count + 1;
    while rest >= 0x80 {
        body.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    body.push(u8::try_from(rest).expect("seven bits"));
    body.resize(body.len() + usize::try_from(count).expect("small"), 1);
    body.push(0);
    raw(10, 4, 1, &body)
}

#[test]
fn claims_take_no_memory() {
    let mut broker = Broker::with(&[]);
    let before = broker.memory_kib("VmRSS");
    for round in 0..20 {
        let many = empty_keys(10_000_000);
        for (what, bytes) in [
            ("2147483647 topics", raw(3, 1, 1, &i32::MAX.to_be_bytes())),
            (
                "2147483647 topics, compact",
                raw(3, 12, 1, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            ),
            ("ten million empty keys", many),
        ] {
            let mut client = broker.client();
            client.send_bytes(&bytes);
            assert_eq!(
                client.hear(PATIENCE),
                Heard::Closed,
                "{what}, round {round}"
            );
        }
    }
    // Frames that are announced and do not come.
    let announced = Bytes::copy_from_slice(&100_000_000_i32.to_be_bytes());
    let mut waiting: Vec<Client> = (0..100).map(|_| broker.client()).collect();
    for client in &mut waiting {
        client.send_bytes(&announced);
        client.send_bytes(&[0; 100]);
    }
    assert!(broker.client().is_ready());
    let peak = broker.memory_kib("VmHWM");
    assert!(peak < before + 96 * 1024, "from {before} to {peak} KiB");
    drop(waiting);
    broker.stop();
}
