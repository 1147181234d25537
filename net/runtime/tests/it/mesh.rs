//! Between shards.

use std::rc::Rc;

use corelog_runtime::{Port, Runtime, mesh, spawn, stats};

use crate::support::{config, run};

fn on_threads<T: Send + 'static>(
    ports: Vec<Port<T>>,
    each: impl AsyncFn(Port<T>) + Copy + Send + 'static,
) {
    let threads: Vec<_> = ports
        .into_iter()
        .map(|port| {
            std::thread::Builder::new()
                .spawn(move || {
                    let config = corelog_runtime::Config {
                        shard: port.shard(),
                        ..config()
                    };
                    Runtime::new(&config)
                        .unwrap()
                        .run(async move { each(port).await });
                })
                .unwrap()
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn full_queues_deadlock_nobody_and_each_pair_keeps_its_order() {
    const SHARDS: usize = 3;
    const EACH: usize = 5_000;
    on_threads(mesh::<usize>(SHARDS, 2), async |port: Port<usize>| {
        let port = Rc::new(port);
        let senders: Vec<_> = (0..SHARDS)
            .map(|to| {
                let port = port.clone();
                spawn("sender", async move {
                    for n in 0..EACH {
                        port.send(to, n).await;
                    }
                })
            })
            .collect();
        let mut next = [0; SHARDS];
        for _ in 0..SHARDS * EACH {
            let (from, n) = port.recv().await;
            assert_eq!(n, next[from]);
            next[from] += 1;
        }
        for sender in senders {
            sender.await.unwrap();
        }
        assert!(port.try_recv().is_none());
    });
}

#[test]
fn several_tasks_that_wait_for_room_all_get_it_and_cancelled_ones_lose_nobodys_wake() {
    on_threads(mesh::<usize>(2, 1), async |port: Port<usize>| {
        let port = Rc::new(port);
        if port.shard() == 0 {
            let send = |n| {
                let port = port.clone();
                spawn("sender", async move { port.send(1, n).await })
            };
            let stay: Vec<_> = (0..20).map(send).collect();
            let go: Vec<_> = (100..120).map(send).collect();
            corelog_runtime::yield_now().await;
            corelog_runtime::yield_now().await;
            drop(go);
            for task in stay {
                task.await.unwrap();
            }
            port.send(1, 999).await;
        } else {
            let mut seen = Vec::new();
            loop {
                let (_, n) = port.recv().await;
                if n == 999 {
                    break;
                }
                seen.push(n);
            }
            seen.retain(|n| *n < 100);
            seen.sort_unstable();
            assert_eq!(seen, (0..20).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_message_to_oneself_arrives_and_a_full_queue_gives_it_back() {
    run(async {
        let port = mesh::<u8>(1, 2).pop().unwrap();
        port.try_send(0, 1).unwrap();
        port.try_send(0, 2).unwrap();
        assert_eq!(port.try_send(0, 3), Err(3));
        assert_eq!(port.recv().await, (0, 1));
        assert_eq!(port.recv().await, (0, 2));
        assert!(port.try_recv().is_none());
    });
}

#[test]
fn sleeping_shards_are_woken_for_every_message_of_a_long_ping_pong() {
    on_threads(mesh::<u32>(2, 4), async |port: Port<u32>| {
        const ROUNDS: u32 = 20_000;
        let other = 1 - port.shard();
        for n in 0..ROUNDS {
            if port.shard() == 0 {
                port.send(other, n).await;
            }
            assert_eq!(port.recv().await, (other, n));
            if port.shard() == 1 {
                port.send(other, n).await;
            }
        }
        assert!(stats().turns < u64::from(ROUNDS) * 20, "no spinning");
    });
}

#[test]
fn messages_that_nobody_took_are_dropped_with_the_mesh() {
    let item = std::sync::Arc::new(());
    let ports = mesh(2, 8);
    ports[0].try_send(1, item.clone()).unwrap();
    ports[0].try_send(1, item.clone()).unwrap();
    drop(ports);
    assert_eq!(std::sync::Arc::strong_count(&item), 1);
}
