//! Peers that are broken, hostile or something else, and handlers that panic.

use std::io::ErrorKind;

use corelog_net::connection::CloseReason;
use corelog_net::limits::ConnectionLimits;
use corelog_net::wire::ApiKey;

use super::harness::*;

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        request_size_max: 100_000,
        ..ConnectionLimits::default()
    }
}

/// Sends bytes on a connection of their own and expects a close without response, for this reason.
async fn closes(stage: &Stage, bytes: &[u8], reason: CloseReason) {
    let before = stage.server.counters().closed_for(reason);
    let mut raw = stage.connect().await;
    raw.send(bytes).await;
    raw.assert_closed(reason.name()).await;
    until(reason.name(), || {
        stage.server.counters().closed_for(reason) == before + 1
    })
    .await;
}

#[test]
fn sizes_that_cannot_be_are_refused_from_the_first_four_bytes() {
    run(async {
        let stage = Stage::new(limits());
        for size in [-1, i32::MIN, 0, 4, 7, 100_001, i32::MAX] {
            let reason = CloseReason::FrameSize {
                size,
                size_max: 100_000,
            };
            closes(&stage, &size.to_be_bytes(), reason).await;
        }
        closes(
            &stage,
            b"GET / HTTP/1.1\r\n\r\n",
            CloseReason::FrameSize {
                size: 0,
                size_max: 0,
            },
        )
        .await;
        let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
        closes(
            &stage,
            &tls,
            CloseReason::FrameSize {
                size: 0,
                size_max: 0,
            },
        )
        .await;
        stage.end().await;
    });
}

#[test]
fn a_frame_of_exactly_the_limit_is_served() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let frame = frame(0, 3, 1, &vec![ECHO; 100_000 - 11]);
        assert_eq!(frame.len(), 100_004);
        raw.send(&frame).await;
        raw.assert_response(1, &vec![ECHO; 100_000 - 12]).await;
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn an_api_has_its_own_frame_limit() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let api_key = ApiKey::ApiVersions;
        let reason = CloseReason::FrameSizeOfApi {
            api_key,
            size: 0,
            size_max: 0,
        };
        // Twelve bytes are enough to know.
        let mut head = (50_000_000_i32).to_be_bytes().to_vec();
        head.extend([0, 18, 0, 0, 0, 0, 0, 1]);
        closes(&stage, &head, reason).await;
        stage.end().await;
    });
}

#[test]
fn apis_and_versions_that_are_not_served_close() {
    run(async {
        let stage = Stage::new(limits());
        for key in [999, -1, 4, 1, i16::MIN, i16::MAX] {
            closes(&stage, &frame(key, 0, 1, &[]), CloseReason::UnknownApi(key)).await;
        }
        for (key, version) in [(3, 99), (3, 0), (3, -1), (0, 2), (0, 99)] {
            let api_key = ApiKey::try_from(key).expect("known");
            let reason = CloseReason::UnsupportedVersion {
                api_key,
                api_version: version,
            };
            closes(&stage, &frame(key, version, 1, &[]), reason).await;
        }
        stage.end().await;
    });
}

#[test]
fn api_versions_in_an_unknown_version_is_told_the_known_ones() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        for version in [99, 5, -1, i16::MIN, i16::MAX] {
            raw.send(&frame(18, version, 7, b"whatever")).await;
            raw.assert_response(7, b"\0\x23\0\0\0\x01\0\x12\0\0\0\x04")
                .await;
        }
        // The connection goes on.
        raw.send(&request(8, ECHO, b"on")).await;
        raw.assert_response(8, b"on").await;
        drop(raw);
        stage.end().await;
    });
}

#[test]
fn malformed_headers_close() {
    run(async {
        use corelog_net::frame::HeaderError;
        let stage = Stage::new(limits());
        let cut = [0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0, 1];
        closes(&stage, &cut, CloseReason::Header(HeaderError::Truncated)).await;
        let mut long_id = vec![0, 0, 0, 11, 0, 3, 0, 1, 0, 0, 0, 1];
        long_id.extend(30_000_i16.to_be_bytes());
        long_id.push(b'x');
        closes(
            &stage,
            &long_id,
            CloseReason::Header(HeaderError::Truncated),
        )
        .await;
        stage.end().await;
    });
}

#[test]
fn what_was_asked_before_the_garbage_is_answered() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = request(0, HOLD, &[1]);
        all.extend(request(1, ECHO, b"b"));
        all.extend((-5_i32).to_be_bytes());
        raw.send(&all).await;
        until("both are dispatched", || stage.script.dispatched.get() == 2).await;
        stage.script.release(1);
        raw.assert_response(0, &[1]).await;
        raw.assert_response(1, b"b").await;
        raw.assert_closed("a negative size").await;
        stage.end().await;
    });
}

#[test]
fn frames_cut_short_by_a_close_are_dropped() {
    run(async {
        let stage = Stage::new(limits());
        let whole = request(0, ECHO, &pattern(1000));
        let large = frame(0, 3, 0, &pattern(90_000));
        for cut in [
            &whole[..1],
            &whole[..4],
            &whole[..11],
            &whole[..500],
            &large[..80_000],
        ] {
            let raw = stage.connect().await;
            raw.send(cut).await;
            drop(raw);
        }
        until("all are closed", || {
            stage.server.counters().closed_total() == 5
        })
        .await;
        let truncated = CloseReason::Truncated {
            received: 0,
            expected: 0,
        };
        assert_eq!(stage.server.counters().closed_for(truncated), 5);
        assert_eq!(stage.script.dispatched.get(), 0);
        stage.end().await;
    });
}

#[test]
fn a_service_may_close_after_what_it_promised() {
    run(async {
        let stage = Stage::new(limits());
        let mut raw = stage.connect().await;
        let mut all = request(0, ECHO, b"a");
        all.extend(request(1, CLOSE, &[]));
        all.extend(request(2, ECHO, b"never"));
        raw.send(&all).await;
        let first = raw.response().await;
        // Closing with an unread request resets, which may outrun the response.
        assert!(
            first.is_none() || first == Some((0, b"a".to_vec())),
            "{first:?}"
        );
        raw.assert_closed("asked to").await;
        assert_eq!(stage.script.dispatched.get(), 2);
        stage.end().await;
    });
}

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    run(async {
        let stage = Stage::new(limits());
        let mut other = stage.connect().await;
        let panicked = CloseReason::Panicked(ApiKey::Metadata);
        for what in [PANIC, PANIC_LATER] {
            closes(&stage, &request(0, what, &[]), panicked).await;
            other.send(&request(1, ECHO, b"alive")).await;
            other.assert_response(1, b"alive").await;
        }
        drop(other);
        stage.end().await;
    });
}

#[test]
fn a_reset_frees_everything_also_in_the_middle_of_a_response() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            send_buffer: Some(4096),
            ..limits()
        });
        for _ in 0..20 {
            let raw = stage.connect().await;
            let mut all = request(0, FILL, &2_000_000_u32.to_be_bytes());
            all.extend(request(1, HOLD, &[200]));
            raw.send(&all).await;
            let (read, _) = raw.tcp.recv(corelog_runtime::block(4096)).await;
            read.expect("the beginning");
            drop(raw);
        }
        until("all are closed", || stage.server.connection_count() == 0).await;
        let counters = stage.server.counters();
        let failed = counters.closed_for(CloseReason::Send(ErrorKind::BrokenPipe))
            + counters.closed_for(CloseReason::Receive(ErrorKind::ConnectionReset));
        assert_eq!(failed + counters.closed_for(CloseReason::Peer), 20);
        stage.end().await;
    });
}

/// xorshift: reproducible, and good enough to break things.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).expect("below a usize")
    }
}

#[test]
fn ten_thousand_mutated_frames_leave_nothing_behind() {
    run(async {
        let stage = Stage::new(limits());
        stage.script.harmless.set(true);
        let mut honest = stage.connect().await;
        let seeds = [
            request(1, ECHO, &pattern(50)),
            request(1, FILL, &70_000_u32.to_be_bytes()),
            frame(18, 4, 1, b"\0\x02a\x02b\0"),
            frame(0, 9, 1, &pattern(300)),
            request(1, NOTHING, b""),
            frame(3, 12, 1, b"\x01\x05\x02xy"),
        ];
        let mut dice = Dice(88_172_645_463_325_252);
        let mut sent = 0;
        while sent < 10_000 {
            let raw = stage.connect().await;
            // Several on a connection, as long as it lasts.
            let mut all = Vec::new();
            for _ in 0..=dice.roll(8) {
                let mut bytes = seeds[dice.roll(seeds.len())].clone();
                for _ in 0..dice.roll(4) {
                    let at = dice.roll(bytes.len());
                    match dice.roll(5) {
                        0 => bytes[at] = u8::try_from(dice.roll(256)).expect("a byte"),
                        1 => bytes[at] ^= 1 << dice.roll(8),
                        2 => bytes.truncate(at.max(1)),
                        3 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                        _ => bytes.extend(pattern(dice.roll(40))),
                    }
                }
                all.extend(bytes);
                sent += 1;
            }
            raw.send(&all).await;
            if dice.roll(4) == 0 {
                corelog_runtime::yield_now().await;
            }
            drop(raw);
            if dice.roll(50) == 0 {
                honest.send(&request(5, ECHO, b"unharmed")).await;
                honest.assert_response(5, b"\0unharmed").await;
            }
        }
        until("only the honest one is left", || {
            stage.server.connection_count() == 1
        })
        .await;
        honest.send(&request(6, ECHO, b"to the end")).await;
        honest.assert_response(6, b"\0to the end").await;
        assert_eq!(stage.server.request_bytes(), 0);
        drop(honest);
        stage.end().await;
    });
}
