//! Metrics of clients: what they are asked for, what is taken, where it shows (KIP-714).

use bytes::{BufMut as _, Bytes};
use corelog_net::wire::Uuid;
use corelog_net::wire::messages::get_telemetry_subscriptions::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use corelog_net::wire::messages::push_telemetry::PushTelemetryRequest;

use crate::client::Client;
use crate::configs::alter;
use crate::harness::Broker;
use crate::metrics::{ON_ANY_PORT, scrape};
use crate::table::error;

const CLIENT_METRICS: i8 = 16;

fn subscribe(client: &mut Client, instance: Uuid) -> GetTelemetrySubscriptionsResponse {
    let request = GetTelemetrySubscriptionsRequest {
        client_instance_id: instance,
        ..GetTelemetrySubscriptionsRequest::default()
    };
    client.call(0, &request)
}

fn push(
    client: &mut Client,
    told: &GetTelemetrySubscriptionsResponse,
    metrics: &[u8],
) -> &'static str {
    pushing(client, told, metrics, |_| {})
}

fn pushing(
    client: &mut Client,
    told: &GetTelemetrySubscriptionsResponse,
    metrics: &[u8],
    change: impl FnOnce(&mut PushTelemetryRequest),
) -> &'static str {
    let mut request = PushTelemetryRequest {
        client_instance_id: told.client_instance_id,
        subscription_id: told.subscription_id,
        metrics: Bytes::copy_from_slice(metrics),
        ..PushTelemetryRequest::default()
    };
    change(&mut request);
    error(client.call(0, &request).error_code)
}

/// A gauge of OpenTelemetry with one number and no attributes.
fn gauge(name: &str, value: f64) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let size = u8::try_from(bytes.len()).expect("short");
        assert!(size < 0x80);
        [&[number << 3 | 2, size][..], bytes].concat()
    };
    let mut point = vec![4 << 3 | 1];
    point.put_u64_le(value.to_bits());
    let metric = [field(1, name.as_bytes()), field(5, &field(1, &point))].concat();
    field(1, &field(2, &field(2, &metric)))
}

#[test]
fn what_clients_push_shows_on_the_page_of_metrics() {
    let broker = Broker::with(&[ON_ANY_PORT, "telemetry.max.bytes=1000"]);
    let mut client = broker.client();
    let nobody = subscribe(&mut client, Uuid([9; 16]));
    assert_eq!(error(nobody.error_code), "NONE");
    assert_eq!(
        (nobody.push_interval_ms, nobody.requested_metrics.len()),
        (300_000, 0)
    );
    assert_eq!(
        error(subscribe(&mut client, Uuid([9; 16])).error_code),
        "THROTTLING_QUOTA_EXCEEDED"
    );

    let changes = [
        (
            "metrics",
            0,
            Some("org.apache.kafka.producer.,org.apache.kafka.consumer."),
        ),
        ("interval.ms", 0, Some("100")),
        ("match", 0, Some("client_source_address=127\\..*")),
    ];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "all", &changes), "NONE");
    let changes = [
        ("metrics", 0, Some("*")),
        ("match", 0, Some("client_id=somebody else")),
    ];
    assert_eq!(
        alter(&mut client, CLIENT_METRICS, "others", &changes),
        "NONE"
    );
    let told = subscribe(&mut client, Uuid::ZERO);
    assert_eq!(error(told.error_code), "NONE");
    assert_ne!(told.client_instance_id, Uuid::ZERO, "it gets an id");
    assert_eq!(
        (
            told.push_interval_ms,
            told.telemetry_max_bytes,
            told.requested_metrics.join(" ").as_str()
        ),
        (
            100,
            1000,
            "org.apache.kafka.consumer. org.apache.kafka.producer."
        )
    );

    let name = "org.apache.kafka.producer.record.send.rate";
    assert_eq!(push(&mut client, &told, &gauge(name, 12.5)), "NONE");
    let id = told.client_instance_id.to_string();
    let page = scrape(&broker);
    let shown = page.all("corelog_client_metric");
    assert_eq!(shown.len(), 1, "{shown:?}");
    let (labels, value) = shown[0];
    let labels = format!("{labels:?}");
    assert!(labels.contains(name) && labels.contains(&id), "{labels}");
    assert!((value - 12.5).abs() < 1e-9);
    assert!((page.value("corelog_client_pushes_total", &[]) - 1.0).abs() < 1e-9);

    // Each refused in its own way; who comes too early changes nothing.
    let mut other = |change: fn(&mut PushTelemetryRequest)| {
        let told = subscribe(&mut client, Uuid::ZERO);
        pushing(&mut client, &told, &gauge(name, 1.0), change)
    };
    assert_eq!(
        other(|request| request.subscription_id ^= 1),
        "UNKNOWN_SUBSCRIPTION_ID"
    );
    assert_eq!(
        other(|request| request.compression_type = 2),
        "UNSUPPORTED_COMPRESSION_TYPE"
    );
    assert_eq!(
        other(|request| request.metrics = Bytes::from(vec![0; 1001])),
        "TELEMETRY_TOO_LARGE"
    );
    assert_eq!(
        other(|request| request.metrics = Bytes::from_static(b"\xff")),
        "INVALID_RECORD"
    );
    assert_eq!(
        other(|request| request.client_instance_id = Uuid::ZERO),
        "INVALID_REQUEST"
    );
    let last = subscribe(&mut client, Uuid::ZERO);
    assert_eq!(push(&mut client, &last, &gauge(name, 1.0)), "NONE");
    let changes = [("interval.ms", 0, Some("3600000"))];
    assert_eq!(alter(&mut client, CLIENT_METRICS, "all", &changes), "NONE");
    assert_eq!(
        push(&mut client, &last, &gauge(name, 2.0)),
        "THROTTLING_QUOTA_EXCEEDED"
    );
    let terminating = |request: &mut PushTelemetryRequest| request.terminating = true;
    assert_eq!(
        pushing(&mut client, &last, &gauge(name, 3.0), terminating),
        "UNKNOWN_SUBSCRIPTION_ID",
        "the interval has changed"
    );
    assert_eq!(
        pushing(&mut client, &last, &gauge(name, 4.0), terminating),
        "INVALID_REQUEST"
    );
}
