//! Numbers of connections, idleness, memory.

use std::net::IpAddr;
use std::time::Duration;

use corelog_net::connection::CloseReason;
use corelog_net::limits::ConnectionLimits;
use corelog_runtime::{now, timeout_at};

use super::harness::*;

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
}

#[test]
fn idle_connections_are_closed_and_busy_ones_are_not() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            idle_max: Duration::from_millis(200),
            ..limits()
        });
        let mut silent = stage.connect().await;
        let mut half_frame = stage.connect().await;
        half_frame.send(&[0, 0, 0, 20, 0, 3]).await;
        let mut waiting = stage.connect().await;
        waiting.send(&request(1, HOLD, &[1])).await;
        let began = now();
        silent.assert_closed("idle").await;
        half_frame.assert_closed("idle within a frame").await;
        assert!(now().duration_since(began) >= Duration::from_millis(100));
        let idle = stage.server.counters().closed_for(CloseReason::Idle);
        assert_eq!(idle, 2);
        assert_eq!(
            stage.server.connection_count(),
            1,
            "a request in flight is not idleness"
        );
        stage.script.release(1);
        waiting.assert_response(1, &[1]).await;
        waiting.assert_closed("idle since then").await;
        stage.end().await;
    });
}

#[test]
fn a_peer_that_never_reads_is_closed_after_the_idle_time() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            idle_max: Duration::from_millis(200),
            send_buffer: Some(4096),
            ..limits()
        });
        let raw = stage.connect().await;
        raw.send(&request(1, FILL, &20_000_000_u32.to_be_bytes()))
            .await;
        until("it is closed", || {
            stage.server.counters().closed_for(CloseReason::Unread) == 1
        })
        .await;
        stage.end().await;
    });
}

#[test]
fn one_connection_too_many_from_an_address_is_closed_at_once() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            connections_per_ip_max: 2,
            ..limits()
        });
        let mut a = stage.connect().await;
        a.send(&request(1, ECHO, b"a")).await;
        a.assert_response(1, b"a").await;
        let mut b = stage.connect().await;
        b.send(&request(1, ECHO, b"b")).await;
        b.assert_response(1, b"b").await;
        let mut c = stage.connect().await;
        c.send(&request(1, ECHO, b"c")).await;
        c.assert_closed("the third of two").await;
        assert_eq!(stage.server.counters().refused_per_ip, 1);
        drop(a);
        until("its place is free", || stage.server.connection_count() == 1).await;
        let mut d = stage.connect().await;
        d.send(&request(1, ECHO, b"d")).await;
        d.assert_response(1, b"d").await;
        drop((b, d));
        stage.end().await;
    });
}

#[test]
fn an_address_may_have_a_limit_of_its_own() {
    run(async {
        let own = (IpAddr::from([127, 0, 0, 1]), 1);
        let stage = Stage::new(ConnectionLimits {
            connections_per_ip_overrides: vec![own],
            ..limits()
        });
        let mut a = stage.connect().await;
        a.send(&request(1, ECHO, b"a")).await;
        a.assert_response(1, b"a").await;
        let mut b = stage.connect().await;
        b.assert_closed("the second of one").await;
        drop(a);
        stage.end().await;
    });
}

#[test]
fn above_max_connections_a_connection_waits_for_a_place() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            connections_max: 1,
            ..limits()
        });
        let mut a = stage.connect().await;
        a.send(&request(1, ECHO, b"a")).await;
        a.assert_response(1, b"a").await;
        let mut b = stage.connect().await;
        b.send(&request(1, ECHO, b"b")).await;
        until("it waits", || stage.server.counters().waited_full == 1).await;
        assert_eq!(stage.server.connection_count(), 1);
        drop(a);
        b.assert_response(1, b"b").await;
        drop(b);
        stage.end().await;
    });
}

#[test]
fn announcing_much_and_sending_little_takes_little_memory() {
    run(async {
        let stage = Stage::new(limits());
        let mut liars = Vec::new();
        for _ in 0..50 {
            let raw = stage.connect().await;
            // 100 MB announced, 100 kB sent.
            let mut head = 104_857_600_i32.to_be_bytes().to_vec();
            head.extend([0, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff]);
            head.extend(pattern(100_000));
            raw.send(&head).await;
            liars.push(raw);
        }
        until("all are within their frames", || {
            stage.server.counters().receives >= 50
        })
        .await;
        let held = stage.server.request_bytes();
        assert!(held <= 50 * 400_100, "{held} bytes for 50 × 100 kB");
        let mut honest = stage.connect().await;
        honest.send(&request(1, ECHO, b"served")).await;
        honest.assert_response(1, b"served").await;
        drop((liars, honest));
        stage.end().await;
    });
}

#[test]
fn a_frame_that_stops_arriving_gives_way_when_others_need_its_memory() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            request_bytes_max: 300_000,
            stall_max: Duration::from_millis(100),
            ..limits()
        });
        let mut stalled = stage.connect().await;
        let whole = frame(0, 3, 1, &[&[SUM][..], &pattern(250_000)].concat());
        stalled.send(&whole[..100_000]).await;
        until("it holds its memory", || {
            stage.server.request_bytes() > 200_000
        })
        .await;
        let mut honest = stage.connect().await;
        honest.send(&whole).await;
        assert!(honest.response().await.is_some());
        stalled.assert_closed("it gave way").await;
        assert_eq!(stage.server.counters().closed_for(CloseReason::Stalled), 1);
        drop(honest);
        stage.end().await;
    });
}

#[test]
fn reading_stops_at_the_budget_of_the_shard_and_goes_on_below_it() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            request_bytes_max: 100_000,
            ..limits()
        });
        let mut connections = Vec::new();
        for id in 0..10_u8 {
            let raw = stage.connect().await;
            let body = [&[id][..], &pattern(30_000)].concat();
            raw.send(&frame(0, 3, 1, &[&[HOLD][..], &body].concat()))
                .await;
            connections.push(raw);
        }
        until("three are in flight", || stage.script.dispatched.get() == 3).await;
        let early = timeout_at(now() + Duration::from_millis(50), async {
            until("a fourth", || stage.script.dispatched.get() > 3).await;
        });
        assert!(early.await.is_none(), "the fourth does not fit");
        assert!(stage.server.request_bytes() <= 100_000);
        for id in 0..10 {
            stage.script.release(id);
        }
        for (id, raw) in (0..).zip(&mut connections) {
            raw.assert_response(1, &[id]).await;
        }
        drop(connections);
        stage.end().await;
    });
}

#[test]
fn requests_in_flight_are_bounded_per_connection() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            in_flight_max: 4,
            ..limits()
        });
        let mut raw = stage.connect().await;
        let all: Vec<u8> = (0..10).flat_map(|id| request(id, HOLD, &[1])).collect();
        raw.send(&all).await;
        until("it is held back", || stage.server.counters().held_back == 1).await;
        assert_eq!(stage.script.dispatched.get(), 4);
        stage.script.release(1);
        for id in 0..10 {
            raw.assert_response(id, &[1]).await;
        }
        drop(raw);
        stage.end().await;
    });
}
