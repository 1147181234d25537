//! An idle shard does nothing at all.

use std::time::Duration;

use corelog_runtime::{sleep, spawn, stats};

use crate::support::run;
use crate::tcp::pair;

#[test]
fn idle_connections_and_waiting_tasks_cost_no_turns() {
    run(async {
        let mut readers = Vec::new();
        for _ in 0..50 {
            let (client, server) = pair().await;
            readers.push(spawn("reader", async move {
                server.recv_some().await.map(drop)
            }));
            readers.push(spawn("reader", async move {
                client.recv_some().await.map(drop)
            }));
        }
        sleep(Duration::from_millis(20)).await;
        let before = stats();
        assert_eq!(before.blocks, 0, "an idle connection holds no memory");
        sleep(Duration::from_millis(300)).await;
        let after = stats();
        assert!(after.turns - before.turns <= 6, "{before:?} {after:?}");
        assert!(after.polls - before.polls <= 6, "{before:?} {after:?}");
        assert!(after.enters - before.enters <= 6, "{before:?} {after:?}");
    });
}
