//! Requests in, responses out, in order and whole.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use corelog_net::limits::ConnectionLimits;
use corelog_runtime::spawn;

use super::harness::*;

fn limits() -> ConnectionLimits {
    ConnectionLimits::default()
}

#[test]
fn responses_leave_in_request_order_though_they_become_ready_in_another() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = Vec::new();
        for id in 0..5 {
            all.extend(request(i32::from(id), HOLD, &[id]));
        }
        all.extend(request(5, ECHO, b"last"));
        raw.send(&all).await;
        until("all are dispatched", || stage.script.dispatched.get() == 6).await;
        for id in [3, 1, 4, 0, 2] {
            stage.script.release(id);
            corelog_runtime::yield_now().await;
        }
        for id in 0..5_u8 {
            raw.assert_response(i32::from(id), &[id]).await;
        }
        raw.assert_response(5, b"last").await;
        let counters = stage.server.counters();
        assert_eq!((counters.requests, counters.responses), (6, 6));
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn a_request_starts_when_the_one_before_it_is_dispatched_not_before() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = request(0, DISPATCH_SLOWLY, &[9]);
        all.extend(request(1, ECHO, b"b"));
        raw.send(&all).await;
        until("the first has begun", || stage.script.dispatched.get() == 1).await;
        let other = Raw::connect(stage.addr).await;
        other.send(&request(0, RELEASE, &[9])).await;
        raw.assert_response(0, &[9]).await;
        raw.assert_response(1, b"b").await;
        drop((raw, other));
        stage.end().await;
    });
}

#[test]
fn requests_that_arrive_together_are_answered_with_one_send() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let all: Vec<u8> = (0..50).flat_map(|id| request(id, ECHO, b"x")).collect();
        raw.send(&all).await;
        for id in 0..50 {
            raw.assert_response(id, b"x").await;
        }
        let counters = stage.server.counters();
        assert!(counters.sends <= 3, "{} sends", counters.sends);
        assert!(counters.receives <= 3, "{} receives", counters.receives);
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn a_small_request_costs_one_receive_and_one_send() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        for id in 0..100 {
            raw.send(&request(id, ECHO, b"x")).await;
            raw.assert_response(id, b"x").await;
        }
        let counters = stage.server.counters();
        assert_eq!((counters.receives, counters.sends), (100, 100));
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn frames_arrive_whole_in_whatever_pieces_they_come() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = Vec::new();
        let bodies: Vec<Vec<u8>> = [0, 1, 3, 100, 5000].into_iter().map(pattern).collect();
        for (id, body) in (0..).zip(&bodies) {
            all.extend(request(id, ECHO, body));
        }
        for piece in [1_usize, 3, 11, 13, 700] {
            for bytes in all.chunks(piece) {
                raw.send(bytes).await;
                corelog_runtime::yield_now().await;
            }
            for (id, body) in (0..).zip(&bodies) {
                raw.assert_response(id, body).await;
            }
        }
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn frames_of_every_size_are_received_byte_for_byte() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        // Around the sizes where the way of receiving changes, twice: the second time the connection
        // is believed.
        let sizes = [
            16_000, 65_000, 65_536, 65_537, 262_144, 300_000, 1_048_576, 7_000_000,
        ];
        for round in 0..2 {
            for (id, size) in (0..).zip(sizes) {
                let body = pattern(size);
                let mut all = frame(0, 3, id, &[&[SUM][..], &body].concat());
                all.extend(request(100 + id, ECHO, b"next"));
                raw.send(&all).await;
                let sum = body
                    .iter()
                    .fold(0_u64, |sum, &b| sum * 31 % 1_000_003 + u64::from(b));
                raw.assert_response(id, &sum.to_be_bytes()).await;
                raw.assert_response(100 + id, b"next").await;
                assert_eq!(stage.server.request_bytes(), 0, "round {round} size {size}");
            }
        }
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn a_large_response_passes_a_tiny_send_buffer() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            send_buffer: Some(4096),
            ..limits()
        });
        let mut raw = stage.connect().await;
        let size = 1_000_123;
        let mut all = request(0, FILL, &1_000_123_u32.to_be_bytes());
        all.extend(request(1, ECHO, b"after"));
        raw.send(&all).await;
        let expected: Vec<u8> = pattern(1000).into_iter().cycle().take(size).collect();
        raw.assert_response(0, &expected).await;
        raw.assert_response(1, b"after").await;
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn file_ranges_are_sent_in_their_place_byte_for_byte() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            send_buffer: Some(64 * 1024),
            ..limits()
        });
        let content = pattern(4_000_000);
        *stage.script.file.borrow_mut() = Some(file_with(&content));
        let mut raw = stage.connect().await;
        let ranges: [(u64, u64); 5] = [
            (0, 100),
            (5_000, 5_000),
            (1, 4_000_000),
            (77, 300_000),
            (3_999_999, 4_000_000),
        ];
        let mut all = Vec::new();
        for (id, (start, end)) in (0..).zip(ranges) {
            all.extend(request(
                id,
                FILE,
                &[start.to_be_bytes(), end.to_be_bytes()].concat(),
            ));
            all.extend(request(id, ECHO, b"between"));
        }
        raw.send(&all).await;
        for (id, (start, end)) in (0..).zip(ranges) {
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            raw.assert_response(id, &[b"<", &content[range], b">"].concat())
                .await;
            raw.assert_response(id, b"between").await;
        }
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn a_file_shorter_than_promised_ends_the_connection() {
    run(async {
        let stage = Stage::new(limits());
        *stage.script.file.borrow_mut() = Some(file_with(b"short"));
        let mut raw = stage.connect().await;
        raw.send(&request(
            0,
            FILE,
            &[0_u64.to_be_bytes(), 50_u64.to_be_bytes()].concat(),
        ))
        .await;
        assert_eq!(raw.response().await, None);
        stage.end().await;
    });
}

fn file_with(content: &[u8]) -> Arc<std::os::fd::OwnedFd> {
    let mut file = tempfile();
    file.write_all(content).expect("written");
    Arc::new(file.into())
}

#[expect(clippy::disallowed_methods, reason = "a test makes its file")]
fn tempfile() -> std::fs::File {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("corelog-net-{}-{number}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("a new file");
    std::fs::remove_file(&path).expect("unlinked");
    file
}

#[test]
fn a_request_without_response_leaves_no_gap() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = Vec::new();
        for id in 0..300 {
            all.extend(request(id, NOTHING, &[]));
        }
        all.extend(request(300, ECHO, b"here"));
        raw.send(&all).await;
        raw.assert_response(300, b"here").await;
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn what_was_asked_is_answered_after_the_peer_closed_its_side() {
    run(async {
        let stage = Stage::new(limits());
        let raw = stage.connect().await;
        let mut all = request(0, HOLD, &[1]);
        all.extend(request(1, ECHO, b"b"));
        raw.send(&all).await;
        // The runtime's sockets close both sides at once; the standard library's do not.
        let half = std::net::TcpStream::from(raw.tcp.into_fd());
        half.shutdown(std::net::Shutdown::Write)
            .expect("half closed");
        let tcp = corelog_runtime::Tcp::from_fd(half.into()).expect("adopted");
        let mut raw = Raw::over(tcp);
        until("both are dispatched", || stage.script.dispatched.get() == 2).await;
        stage.script.release(1);
        raw.assert_response(0, &[1]).await;
        raw.assert_response(1, b"b").await;
        raw.assert_closed("nothing was asked after that").await;
        stage.end().await;
    });
}

#[test]
fn a_peer_that_sends_and_never_reads_is_held_back_and_loses_nothing() {
    run(async {
        let bound = ConnectionLimits {
            send_buffer: Some(64 * 1024),
            response_bytes_max: 300_000,
            in_flight_max: 16,
            ..limits()
        };
        let stage = Stage::new(bound);
        let raw = Rc::new(stage.connect().await);
        let count = 60;
        let sender = Rc::clone(&raw);
        let sending = spawn("sender", async move {
            for id in 0..count {
                sender
                    .send(&request(id, FILL, &200_000_u32.to_be_bytes()))
                    .await;
            }
        });
        until("it is held back", || stage.server.counters().held_back > 0).await;
        let dispatched = stage.script.dispatched.get();
        assert!(
            dispatched < 30,
            "{dispatched} requests are held for a peer that does not read"
        );
        let other = stage.connect();
        let mut other = other.await;
        other.send(&request(7, ECHO, b"others live on")).await;
        other.assert_response(7, b"others live on").await;
        sending.await.expect("sent");
        let mut raw = Rc::into_inner(raw).expect("the sender is done");
        let expected: Vec<u8> = pattern(1000).into_iter().cycle().take(200_000).collect();
        for id in 0..count {
            raw.assert_response(id, &expected).await;
        }
        drop((raw, other));
        stage.end().await;
    });
}

#[test]
fn client_ids_are_told_apart() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        for (id, name) in (0..).zip(["a", "a", "bb", "", "a"]) {
            let mut all = Vec::new();
            all.extend(u32::try_from(10 + name.len()).unwrap().to_be_bytes());
            all.extend([0, 3, 0, 1]);
            all.extend(i32::to_be_bytes(id));
            all.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            all.extend(name.as_bytes());
            raw.send(&all).await;
            raw.assert_response(id, b"").await;
        }
        assert_eq!(*stage.script.client_ids.borrow(), ["a", "a", "bb", "", "a"]);
        drop(raw);
        stage.end().await;
    });
}
