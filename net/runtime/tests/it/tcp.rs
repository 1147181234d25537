//! Sockets: order, size, ends, hand-over.

use std::net::SocketAddr;

use bytes::Bytes;
use corelog_runtime::{ListenOptions, Listener, Tcp, block, spawn, stats};

use crate::support::run;

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub(crate) async fn pair() -> (Tcp, Tcp) {
    let listener = Listener::bind(local(), &ListenOptions::default()).unwrap();
    let address = listener.local_addr().unwrap();
    let client = spawn(
        "connect",
        async move { Tcp::connect(address).await.unwrap() },
    );
    let (server, _) = listener.accept().await.unwrap();
    (client.await.unwrap(), server)
}

#[test]
fn bytes_arrive_whole_and_in_order_whatever_the_partial_writes() {
    run(async {
        let (client, server) = pair().await;
        client.set_buffer_sizes(None, Some(8 << 10)).unwrap();
        let sender = spawn("sender", async move {
            let mut parts = Vec::new();
            let mut counter = 0_u32;
            for round in 0..50_usize {
                for part in 0..100 {
                    let words = (round * 7 + part * 13) % 500;
                    let mut bytes = Vec::new();
                    for _ in 0..words {
                        bytes.extend_from_slice(&counter.to_be_bytes());
                        counter += 1;
                    }
                    parts.push(Bytes::from(bytes));
                }
                let (result, back) = client.send(parts).await;
                result.unwrap();
                assert!(back.is_empty());
                parts = back;
            }
            counter
        });
        let mut received = Vec::new();
        loop {
            let block = server.recv_some().await.unwrap();
            if block.is_empty() {
                break;
            }
            received.extend_from_slice(&block);
        }
        let count = sender.await.unwrap();
        assert_eq!(received.len(), count as usize * 4);
        for (expected, word) in received.chunks(4).enumerate() {
            assert_eq!(
                u32::from_be_bytes(word.try_into().unwrap()) as usize,
                expected
            );
        }
        assert_eq!(stats().blocks, 0);
    });
}

#[test]
fn recv_appends_and_says_when_the_stream_ends() {
    run(async {
        let (client, server) = pair().await;
        client
            .send(vec![Bytes::from_static(b"abc")])
            .await
            .0
            .unwrap();
        let (n, into) = server.recv(block(100)).await;
        assert_eq!(n.unwrap(), 3);
        client
            .send(vec![Bytes::from_static(b"def")])
            .await
            .0
            .unwrap();
        client.shutdown_send();
        let (n, into) = server.recv(into).await;
        assert_eq!(n.unwrap(), 3);
        assert_eq!(&into[..], b"abcdef");
        let (n, _) = server.recv(into).await;
        assert_eq!(n.unwrap(), 0);
        server
            .send(vec![Bytes::from_static(b"back")])
            .await
            .0
            .unwrap();
        assert_eq!(&client.recv_some().await.unwrap()[..], b"back");
        drop(server);
        assert!(client.recv_some().await.unwrap().is_empty());
    });
}
