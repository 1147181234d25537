//! Stopping.

use std::time::Duration;

use corelog_net::connection::CloseReason;
use corelog_net::limits::ConnectionLimits;
use corelog_net::server::Drained;
use corelog_runtime::{now, spawn};

use super::harness::*;

#[test]
fn what_is_in_flight_is_answered_and_nothing_new_is_read() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let mut busy = stage.connect().await;
        let mut all = request(0, HOLD, &[1]);
        all.extend(request(1, ECHO, b"b"));
        busy.send(&all).await;
        let mut idle = stage.connect().await;
        let mut half = stage.connect().await;
        half.send(&[0, 0, 0, 100, 0, 3]).await;
        until("both are dispatched", || stage.script.dispatched.get() == 2).await;
        until("all are open", || stage.server.connection_count() == 3).await;

        let server = stage.server.clone();
        let stopping = spawn("stop", async move {
            server.shutdown(now() + Duration::from_secs(20)).await
        });
        idle.assert_closed("nothing in flight").await;
        half.assert_closed("half a request is none").await;
        busy.send(&request(2, ECHO, b"too late")).await;
        stage.script.release(1);
        busy.assert_response(0, &[1]).await;
        busy.assert_response(1, b"b").await;
        busy.assert_closed("answered").await;
        drop((busy, idle, half));
        let drained = stopping.await.expect("stopped");
        assert_eq!(
            drained,
            Drained {
                connections: 3,
                cut: 0
            }
        );
        assert_eq!(stage.server.counters().closed_for(CloseReason::Shutdown), 3);
        assert!(
            corelog_runtime::Tcp::connect(stage.addr).await.is_err(),
            "it does not listen"
        );
        stage.end().await;
    });
}

#[test]
fn a_request_that_is_being_started_is_still_answered() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let mut raw = stage.connect().await;
        raw.send(&request(0, DISPATCH_SLOWLY, &[1])).await;
        until("it has begun", || stage.script.dispatched.get() == 1).await;
        let server = stage.server.clone();
        let stopping = spawn("stop", async move {
            server.shutdown(now() + Duration::from_secs(20)).await
        });
        corelog_runtime::yield_now().await;
        stage.script.release(1);
        raw.assert_response(0, &[1]).await;
        raw.assert_closed("answered").await;
        drop(raw);
        assert_eq!(
            stopping.await.expect("stopped"),
            Drained {
                connections: 1,
                cut: 0
            }
        );
        stage.end().await;
    });
}

#[test]
fn the_deadline_cuts_what_does_not_end() {
    run(async {
        let stage = Stage::new(ConnectionLimits {
            send_buffer: Some(4096),
            ..ConnectionLimits::default()
        });
        let mut held = stage.connect().await;
        held.send(&request(0, HOLD, &[1])).await;
        let mut dispatching = stage.connect().await;
        dispatching.send(&request(0, DISPATCH_SLOWLY, &[1])).await;
        let unread = stage.connect().await;
        unread
            .send(&request(0, FILL, &20_000_000_u32.to_be_bytes()))
            .await;
        until("all have begun", || stage.script.dispatched.get() == 3).await;
        let drained = stage
            .server
            .shutdown(now() + Duration::from_millis(100))
            .await;
        assert_eq!(
            drained,
            Drained {
                connections: 3,
                cut: 3
            }
        );
        assert_eq!(
            stage.server.counters().closed_for(CloseReason::ShutdownCut),
            3
        );
        held.assert_closed("cut").await;
        dispatching.assert_closed("cut").await;
        stage.end().await;
    });
}
