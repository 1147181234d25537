use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Ended, World};
use crate::{
    ListenOptions, Listener, Tcp, Temperature, block, blocking, mesh, now, random, sleep, spawn,
    timeout_at, wall_clock, yield_now,
};

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Answers every message with the same bytes.
async fn echo_server(port: u16) {
    let listener = Listener::bind(address(port), &ListenOptions::default()).unwrap();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        spawn("echo", async move {
            while let Ok(block) = tcp.recv_some().await {
                if block.is_empty() || tcp.send(vec![block.freeze()]).await.0.is_err() {
                    return;
                }
            }
        })
        .detach();
    }
}

async fn exchange(tcp: &Tcp, message: Bytes) -> std::io::Result<()> {
    tcp.send(vec![message.slice(..1), message.slice(1..)])
        .await
        .0?;
    let mut back = Vec::new();
    while back.len() < message.len() {
        let block = tcp.recv_some().await?;
        if block.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        back.extend_from_slice(&block);
    }
    assert_eq!(back, message);
    Ok(())
}

/// Five runtimes on three hosts use everything there is.
fn busy_world(seed: u64) -> (Ended, (u64, u64), Vec<u64>) {
    let world = World::new(seed);
    let log = Rc::new(RefCell::new(Vec::new()));
    let _server = world.start("server", 0, echo_server(9092));
    let mut ports = mesh::<u64>(2, 2).into_iter();
    let mut roots = Vec::new();
    for shard in 0..2 {
        let port = ports.next().unwrap();
        let file = world.file("left", &format!("file{shard}"));
        let log = log.clone();
        roots.push(world.start("left", shard, async move {
            let port = Rc::new(port);
            let to = port.clone();
            let other = 1 - shard;
            let sender = spawn("sender", async move {
                for n in 0..20 {
                    to.send(other, n).await;
                    sleep(Duration::from_micros(random() % 100)).await;
                }
            });
            for expected in 0..20 {
                let (from, n) = port.recv().await;
                assert_eq!((from, n), (other, expected));
                file.write_at(vec![Bytes::from(vec![7; 100])], n * 100)
                    .await
                    .0
                    .unwrap();
                if random().is_multiple_of(4) {
                    file.sync_data().await.unwrap();
                }
            }
            sender.await.unwrap();
            let (n, _) = file.read_at(block(4096), 0, 4096, Temperature::Warm).await;
            assert_eq!(n.unwrap(), 2000);
            let answer = blocking("job", || 5).await;
            log.borrow_mut().push(answer);
            log.borrow_mut().push(now().as_nanos());
        }));
    }
    for client in 0..2_u8 {
        let log = log.clone();
        roots.push(world.start("right", usize::from(client), async move {
            sleep(Duration::from_millis(1)).await;
            for round in 0..5 {
                let tcp = Tcp::connect(address(9092)).await.unwrap();
                for size in [2, 5_000, 100_000 * usize::from(client) + 2] {
                    exchange(&tcp, Bytes::from(vec![client; size]))
                        .await
                        .unwrap();
                }
                log.borrow_mut().push(random());
                let cancelled = spawn("cancelled", async move { tcp.recv_some().await.map(drop) });
                sleep(Duration::from_micros(random() % 500)).await;
                drop(cancelled);
                log.borrow_mut()
                    .push(u64::try_from(wall_clock()).unwrap() + round);
            }
        }));
    }
    let ended = world.run_for(Duration::from_mins(1));
    assert!(
        roots.iter().all(|root| root.take().unwrap().is_ok()),
        "seed {seed}"
    );
    let trace = world.trace();
    world.end();
    let log = log.borrow().clone();
    (ended, trace, log)
}

#[test]
fn the_same_seed_gives_the_same_world_bit_for_bit() {
    let mut traces = BTreeSet::new();
    for seed in 0..100 {
        let first = busy_world(seed);
        let second = busy_world(seed);
        assert_eq!(first, second, "seed {seed}");
        assert!(first.1.1 > 1_000, "much happens");
        traces.insert(first.1.0);
    }
    assert_eq!(traces.len(), 100, "and other seeds give other worlds");
}

/// A server that acknowledges after a sync (or, wrongly, before) and crashes: how many acknowledged records
/// are gone.
fn lost_after_crash(seed: u64, sync: bool) -> usize {
    let world = World::new(seed);
    let file = world.file("server", "log");
    let acknowledged = Rc::new(RefCell::new(0_u8));
    let count = acknowledged.clone();
    let root = world.start("server", 0, async move {
        for n in 0..100_u8 {
            file.write_at(vec![Bytes::from(vec![n + 1; 10])], u64::from(n) * 10)
                .await
                .0
                .unwrap();
            if sync {
                file.sync_data().await.unwrap();
            }
            *count.borrow_mut() = n + 1;
            yield_now().await;
        }
    });
    let span = Duration::from_micros(world.random() % 20_000);
    world.run_for(span);
    world.crash("server");
    drop(root);
    let contents = world.contents("server", "log");
    let there = |n: &u8| {
        let at = usize::from(*n) * 10;
        contents
            .get(at..at + 10)
            .is_some_and(|bytes| bytes.iter().all(|byte| *byte == n + 1))
    };
    (0..*acknowledged.borrow()).filter(|n| !there(n)).count()
}

#[test]
fn what_was_synced_survives_a_crash_and_a_missing_sync_is_found() {
    assert!((0..100).all(|seed| lost_after_crash(seed, true) == 0));
    let found = (0..100)
        .filter(|seed| lost_after_crash(*seed, false) > 0)
        .count();
    assert!(found > 50, "{found}");
}

#[test]
fn a_cut_holds_back_and_a_heal_delivers_and_a_crash_resets() {
    for seed in 0..20 {
        let world = World::new(seed);
        let _server = world.start("server", 0, echo_server(9092));
        let inside = world.clone();
        let root = world.start("client", 0, async move {
            sleep(Duration::from_millis(1)).await;
            let refused = Tcp::connect(address(1)).await.err().unwrap();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let tcp = Tcp::connect(address(9092)).await.unwrap();
            exchange(&tcp, Bytes::from_static(b"before")).await.unwrap();
            inside.cut("client", "server");
            let message = Bytes::from_static(b"held");
            let late = timeout_at(now() + Duration::from_secs(5), exchange(&tcp, message)).await;
            assert!(late.is_none());
            inside.heal("server", "client");
            let mut back = Vec::new();
            while back.len() < 4 {
                back.extend_from_slice(&tcp.recv_some().await.unwrap());
            }
            assert_eq!(back, b"held");
            tcp
        });
        assert_eq!(
            world.run_for(Duration::from_secs(30)),
            Ended::Stuck,
            "the server waits for ever"
        );
        let tcp = root.take().unwrap().unwrap();
        drop(tcp);
        let root = world.start("client", 1, async move {
            let tcp = Tcp::connect(address(9092)).await.unwrap();
            exchange(&tcp, Bytes::from_static(b"again")).await.unwrap();
            let sink = spawn("reader", async move { tcp.recv_some().await.map(drop) });
            sink.await.unwrap()
        });
        world.run_for(Duration::from_secs(1));
        world.crash("server");
        assert_eq!(world.run(), Ended::Finished);
        let error = root.take().unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_world_where_nothing_can_happen_says_so() {
    let world = World::new(1);
    let root = world.start("a", 0, std::future::pending::<()>());
    assert_eq!(world.run(), Ended::Stuck);
    assert!(root.take().is_none());
    world.end();
}
