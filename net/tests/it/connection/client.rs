//! The client's side, against a server and against brokers that misbehave.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::client::{Client, ClientError, ClientOptions};
use corelog_net::limits::ConnectionLimits;
use corelog_net::wire::ApiKey;
use corelog_net::wire::messages::api_versions::ApiVersionsRequest;
use corelog_net::wire::messages::fetch::FetchRequest;
use corelog_net::wire::messages::metadata::MetadataRequest;
use corelog_runtime::{ListenOptions, Listener, Task, spawn};

use super::harness::*;

fn options() -> ClientOptions {
    ClientOptions {
        client_id: Some(Rc::from("tester")),
        ..ClientOptions::default()
    }
}

/// A broker that takes one connection and answers whole requests as it is told.
fn broker<F>(answer: impl Fn(Raw) -> F + 'static) -> (SocketAddr, Task<()>)
where
    F: Future<Output = ()> + 'static,
{
    let options = ListenOptions {
        reuse_port: false,
        backlog: 1,
    };
    let listener = Listener::bind(loopback(), &options).expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let task = spawn("broker", async move {
        let (tcp, _) = listener.accept().await.expect("a connection");
        answer(Raw::over(tcp)).await;
    });
    (addr, task)
}

#[test]
fn calls_are_pipelined_and_matched() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let client = Client::connect(stage.addr, &options())
            .await
            .expect("connected");
        let mut pending = Vec::new();
        for id in 0..20_u8 {
            let mut request = client.request(ApiKey::Metadata, 1, 2);
            request.buffer().extend_from_slice(&[HOLD, id]);
            pending.push(client.send(request).expect("open"));
        }
        assert_eq!(client.in_flight(), 20);
        until("all are dispatched", || stage.script.dispatched.get() == 20).await;
        for id in (0..20).rev() {
            stage.script.release(id);
        }
        for (id, response) in (0..).zip(pending) {
            assert_eq!(response.await.expect("a response"), Bytes::from(vec![id]));
        }
        assert!(
            stage
                .script
                .client_ids
                .borrow()
                .iter()
                .all(|id| id == "tester")
        );
        drop(client);
        until("it is closed", || stage.server.connection_count() == 0).await;
        stage.end().await;
    });
}

#[test]
fn large_frames_go_out_and_come_back_whole() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let client = Client::connect(stage.addr, &options())
            .await
            .expect("connected");
        for size in [10_000, 70_000, 262_144, 3_000_000, 3_000_000] {
            let body = Bytes::from(pattern(size));
            let mut request = client.request(ApiKey::Produce, 3, 1);
            request.buffer().push(ECHO);
            request.bytes(body.slice(..size / 2));
            request.bytes(body.slice(size / 2..));
            let mut nothing = client.request(ApiKey::Metadata, 1, 1);
            nothing.buffer().push(NOTHING);
            client.send_unanswered(nothing).expect("open");
            let response = client
                .send(request)
                .expect("open")
                .await
                .expect("a response");
            assert!(response == body, "{size} bytes");
            client.writable().await.expect("open");
        }
        drop(client);
        stage.end().await;
    });
}

#[test]
fn versions_are_negotiated_and_the_best_common_one_is_found() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let client = Client::connect(stage.addr, &options())
            .await
            .expect("connected");
        let versions = client.versions("corelog", "1.0").await.expect("versions");
        assert_eq!(versions.range(ApiKey::Produce), Some(3..=12));
        assert_eq!(versions.best::<MetadataRequest>(), Ok(12));
        assert_eq!(
            versions.best::<FetchRequest>(),
            Err(ClientError::NoVersion(ApiKey::Fetch))
        );
        assert_eq!(versions.best_within(ApiKey::Produce, &(0..=7)), Ok(7));
        let none = versions.best_within(ApiKey::Produce, &(13..=20));
        assert_eq!(none, Err(ClientError::NoVersion(ApiKey::Produce)));
        let response = client
            .call(4, &ApiVersionsRequest::default())
            .await
            .expect("a response");
        assert_eq!(response.api_keys.len(), 3);
        drop(client);
        stage.end().await;
    });
}

#[test]
fn an_older_broker_is_asked_again_in_a_version_it_knows() {
    run(async {
        let (addr, broker) = broker(|mut raw| async move {
            // The request that Raw takes for a response: key and version, then the rest.
            let (key_version, _) = raw.response().await.expect("a request");
            assert_eq!(key_version, 18 << 16 | 4);
            let mut told = b"\0\0\0\x10\0\0\0\0\0\x23\0\0\0\x01\0\x12\0\0\0\x02".to_vec();
            raw.send(&told).await;
            let (key_version, _) = raw.response().await.expect("a request");
            assert_eq!(key_version, 18 << 16 | 2, "the newest it says it knows");
            told[7] = 1; // correlation id
            told[9] = 0; // no error
            told.extend([0; 4]); // throttle time
            told[3] += 4;
            raw.send(&told).await;
            assert_eq!(raw.response().await, None);
        });
        let client = Client::connect(addr, &options()).await.expect("connected");
        let versions = client.versions("corelog", "1.0").await.expect("versions");
        assert_eq!(versions.range(ApiKey::ApiVersions), Some(0..=2));
        drop(client);
        broker.await.expect("as expected");
    });
}

#[test]
fn a_close_fails_everything_in_flight_and_later() {
    run(async {
        let (addr, broker) = broker(|mut raw| async move {
            raw.response().await.expect("a request");
        });
        let client = Client::connect(addr, &options()).await.expect("connected");
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                client
                    .send(client.request(ApiKey::Metadata, 1, 0))
                    .expect("open")
            })
            .collect();
        broker.await.expect("closed");
        for response in waiting {
            let error = response.await.expect_err("it closed");
            assert!(
                matches!(error, ClientError::Closed { .. } | ClientError::Io { .. }),
                "{error}"
            );
        }
        assert!(client.ended().is_some());
        assert!(client.send(client.request(ApiKey::Metadata, 1, 0)).is_err());
        assert!(client.writable().await.is_err());
    });
}

#[test]
fn a_response_that_nobody_asked_for_ends_the_connection() {
    run(async {
        let (addr, broker) = broker(|mut raw| async move {
            raw.response().await.expect("a request");
            raw.send(b"\0\0\0\x04\0\0\0\x63").await;
            assert_eq!(raw.response().await, None);
        });
        let client = Client::connect(addr, &options()).await.expect("connected");
        let pending = client
            .send(client.request(ApiKey::Metadata, 1, 0))
            .expect("open");
        let error = pending.await.expect_err("the wrong one");
        let expected = ClientError::Correlation {
            got: 0x63,
            expected: Some(0),
        };
        // The waiting one was the oldest; it learns of the end as all do.
        assert!(
            error == expected || matches!(error, ClientError::Closed { .. }),
            "{error}"
        );
        until("it has ended", || client.ended() == Some(expected.clone())).await;
        broker.await.expect("closed");
    });
}

#[test]
fn sizes_that_cannot_be_end_the_connection() {
    run(async {
        let (addr, broker) = broker(|mut raw| async move {
            raw.response().await.expect("a request");
            raw.send(&i32::MAX.to_be_bytes()).await;
            assert_eq!(raw.response().await, None);
        });
        let client = Client::connect(addr, &options()).await.expect("connected");
        let pending = client
            .send(client.request(ApiKey::Metadata, 1, 0))
            .expect("open");
        assert_eq!(pending.await, Err(ClientError::ResponseSize(i32::MAX)));
        broker.await.expect("closed");
    });
}

#[test]
fn a_timeout_gives_up_one_request_and_not_the_connection() {
    run(async {
        let stage = Stage::new(ConnectionLimits::default());
        let client = Client::connect(stage.addr, &options())
            .await
            .expect("connected");
        let mut held = client.request(ApiKey::Metadata, 1, 2);
        held.buffer().extend_from_slice(&[HOLD, 1]);
        let held = client.send(held).expect("open");
        let patience = Duration::from_millis(20);
        let late = client
            .call_within(4, &ApiVersionsRequest::default(), patience)
            .await;
        let api_key = ApiKey::ApiVersions;
        assert_eq!(
            late,
            Err(ClientError::TimedOut {
                api_key,
                after: patience
            })
        );
        stage.script.release(1);
        assert_eq!(held.await.expect("a response"), Bytes::from_static(&[1]));
        let again = client.call(4, &ApiVersionsRequest::default()).await;
        assert!(again.is_ok(), "{again:?}");
        client.close();
        let closed = client.call(4, &ApiVersionsRequest::default()).await;
        assert_eq!(closed, Err(ClientError::ClosedHere));
        stage.end().await;
    });
}

#[test]
fn a_refused_connection_says_so() {
    run(async {
        let options = ListenOptions {
            reuse_port: false,
            backlog: 1,
        };
        let listener = Listener::bind(loopback(), &options).expect("a free port");
        let addr = listener.local_addr().expect("an address");
        drop(listener);
        let error = Client::connect(addr, &self::options())
            .await
            .err()
            .expect("refused");
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    });
}
