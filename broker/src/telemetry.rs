//! Metrics that clients push (KIP-714).
//!
//! Owns: which subscription a client gets, the client instances of a shard, the last values of their metrics.
//! Lives on: the shard of the client's connection. A client that moves to another shard is a new instance there, as it
//! would be on another broker.
//! Invariants:
//! 1. Instances, series of one and series of all are bounded; what is beyond is counted, not kept.
//! 2. Who pushes more often than its subscription says is told to slow down and changes nothing.
//!
//! Not here: the subscriptions' settings (`config`), the bytes ([`otlp`]), the page (`metrics`).

pub(crate) mod otlp;
mod rules;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corelog_net::wire::messages::push_telemetry::PushTelemetryRequest;
use corelog_net::wire::{ErrorCode, Uuid};
use corelog_runtime::Instant;

use crate::metadata::SnapshotId;
use crate::metrics::Count;
use crate::shard::Shard;
use otlp::Point;
use rules::Rule;

/// A client as subscriptions match it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) instance: Uuid,
    /// `client.id`.
    pub(crate) id: String,
    pub(crate) software: Software,
    /// Without a slash in front.
    pub(crate) address: String,
    pub(crate) port: u16,
}

/// What a client said of itself in ApiVersions; empty when it did not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Software {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// What a client is to push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) id: i32,
    pub(crate) interval_ms: i32,
    /// Prefixes of names, or `*` alone; none: nothing is asked for.
    pub(crate) metrics: Vec<String>,
}

/// One number of one client.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) client_id: Arc<str>,
    pub(crate) instance: Uuid,
    pub(crate) name: String,
    pub(crate) attributes: String,
    pub(crate) value: f64,
}

/// The clients of one shard.
pub(crate) struct Telemetry {
    rules: RefCell<Option<(SnapshotId, Rc<[Rule]>)>>,
    instances: RefCell<BTreeMap<Uuid, Instance>>,
    /// Series of all instances.
    series: Cell<usize>,
    pub(crate) pushes: Count,
    pub(crate) refused: Count,
    /// Numbers that found no room.
    pub(crate) dropped: Count,
}

#[derive(Debug)]
struct Instance {
    client_id: Arc<str>,
    subscription_id: i32,
    interval: Duration,
    asked: Option<Instant>,
    pushed: Option<Instant>,
    /// Its last push was refused in a way that asking again cures.
    may_ask: bool,
    terminating: bool,
    values: BTreeMap<(String, String), f64>,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        Self {
            rules: RefCell::default(),
            instances: RefCell::default(),
            series: Cell::new(0),
            pushes: Count::default(),
            refused: Count::default(),
            dropped: Count::default(),
        }
    }

    /// How many clients are known.
    pub(crate) fn instance_count(&self) -> usize {
        self.instances.borrow().len()
    }

    /// The last values of everybody who is not gone for long.
    pub(crate) fn series(&self, now: Instant) -> Vec<Series> {
        self.forget_stale(now);
        let instances = self.instances.borrow();
        let of = |(id, one): (&Uuid, &Instance)| {
            let (id, client_id) = (*id, Arc::clone(&one.client_id));
            let series: Vec<Series> = one
                .values
                .iter()
                .map(|((name, attributes), value)| Series {
                    client_id: Arc::clone(&client_id),
                    instance: id,
                    name: name.clone(),
                    attributes: attributes.clone(),
                    value: *value,
                })
                .collect();
            series
        };
        instances.iter().flat_map(of).collect()
    }

    fn forget_stale(&self, now: Instant) {
        let mut instances = self.instances.borrow_mut();
        instances.retain(|_, one| !one.is_stale(now));
        self.count(&instances);
    }

    fn count(&self, instances: &BTreeMap<Uuid, Instance>) {
        self.series
            .set(instances.values().map(|one| one.values.len()).sum());
    }

    /// The instance of a client, made if it is not known; `None` when there is no room.
    fn with_instance<R>(
        &self,
        client: &Client,
        subscription: &Subscription,
        now: Instant,
        then: impl FnOnce(&mut Instance) -> R,
    ) -> Option<R> {
        if !self.instances.borrow().contains_key(&client.instance) {
            if self.instance_count() >= INSTANCES_MAX {
                self.forget_stale(now);
            }
            if self.instance_count() >= INSTANCES_MAX {
                return None;
            }
        }
        let mut instances = self.instances.borrow_mut();
        let one = instances
            .entry(client.instance)
            .or_insert_with(|| Instance {
                client_id: client.id.as_str().into(),
                subscription_id: subscription.id,
                interval: Duration::ZERO,
                asked: None,
                pushed: None,
                may_ask: false,
                terminating: false,
                values: BTreeMap::new(),
            });
        let told = u64::try_from(subscription.interval_ms).unwrap_or(0);
        one.interval = Duration::from_millis(told);
        Some(then(one))
    }

    fn keep(&self, client: &Client, points: Vec<Point>, series_max: usize) {
        let mut instances = self.instances.borrow_mut();
        let Some(one) = instances.get_mut(&client.instance) else {
            return;
        };
        let mut all = self.series.get();
        for point in points {
            let key = (point.name, point.attributes);
            let room = all < series_max && one.values.len() < SERIES_OF_ONE_MAX;
            match one.values.get_mut(&key) {
                Some(value) if point.is_delta => *value += point.value,
                Some(value) => *value = point.value,
                None if room => {
                    one.values.insert(key, point.value);
                    all += 1;
                }
                None => self.dropped.add(1),
            }
        }
        self.series.set(all);
    }
}

impl Instance {
    fn is_stale(&self, now: Instant) -> bool {
        let last = self.asked.max(self.pushed);
        last.is_none_or(|last| now.duration_since(last) > self.interval * STALE_AFTER)
    }

    fn may_subscribe(&mut self, now: Instant) -> bool {
        let last = self.asked.max(self.pushed);
        let in_time = last.is_none_or(|last| now.duration_since(last) >= self.interval);
        let may = in_time || self.may_ask;
        if may {
            self.asked = Some(now);
            self.may_ask = false;
        }
        may
    }

    /// The first push after a question comes when the client likes; the others at the interval.
    fn may_push(&mut self, now: Instant) -> bool {
        let first = self.asked > self.pushed || self.pushed.is_none();
        let in_time = self
            .pushed
            .is_none_or(|last| now.duration_since(last) >= self.interval);
        if first || in_time {
            self.pushed = Some(now);
        }
        first || in_time
    }
}

impl Shard {
    /// Answers a client that asks what it is to push.
    pub(crate) fn telemetry_subscription(
        &self,
        client: &Client,
    ) -> Result<Subscription, ErrorCode> {
        let now = corelog_runtime::now();
        let subscription = self.subscription_of(client);
        let asked = self
            .telemetry
            .with_instance(client, &subscription, now, |one| {
                one.subscription_id = subscription.id;
                one.may_subscribe(now)
            });
        match asked {
            Some(true) => Ok(subscription),
            // Too early, or too many clients: it comes again later.
            Some(false) | None => Err(ErrorCode::ThrottlingQuotaExceeded),
        }
    }

    /// Takes in what a client pushed.
    pub(crate) async fn push_telemetry(
        &self,
        client: &Client,
        request: PushTelemetryRequest,
    ) -> ErrorCode {
        let outcome = self.take_push(client, request).await;
        match outcome {
            Ok(()) => {
                self.telemetry.pushes.add(1);
                ErrorCode::None
            }
            Err(error) => {
                self.telemetry.refused.add(1);
                error
            }
        }
    }

    async fn take_push(
        &self,
        client: &Client,
        request: PushTelemetryRequest,
    ) -> Result<(), ErrorCode> {
        if client.instance.is_zero() {
            return Err(ErrorCode::InvalidRequest);
        }
        let now = corelog_runtime::now();
        let subscription = self.subscription_of(client);
        let bytes_max = self.config.telemetry_max_bytes;
        let codec = Codec::of(request.compression_type);
        let checked = self
            .telemetry
            .with_instance(client, &subscription, now, |one| {
                if one.terminating {
                    return Err(ErrorCode::InvalidRequest);
                }
                if !one.may_push(now) && !request.terminating {
                    return Err(ErrorCode::ThrottlingQuotaExceeded);
                }
                one.terminating = request.terminating;
                // The settings may have changed since it asked.
                if request.subscription_id != subscription.id {
                    one.may_ask = true;
                    return Err(ErrorCode::UnknownSubscriptionId);
                }
                if codec.is_none() {
                    one.may_ask = true;
                    return Err(ErrorCode::UnsupportedCompressionType);
                }
                if request.metrics.len() > bytes_max {
                    return Err(ErrorCode::TelemetryTooLarge);
                }
                Ok(())
            });
        checked.unwrap_or(Err(ErrorCode::ThrottlingQuotaExceeded))?;
        let Some(codec) = codec else {
            return Err(ErrorCode::UnsupportedCompressionType);
        };
        // It may take a while to inflate and to read.
        let metrics = request.metrics;
        let read = corelog_runtime::blocking("client metrics", move || read(codec, &metrics)).await;
        let points = read.map_err(|why| {
            tracing::debug!("client={} pushed what cannot be read: {why}", client.id);
            ErrorCode::InvalidRecord
        })?;
        let series_max = self.config.metrics_limits.client_series_max / self.shards.max(1);
        self.telemetry.keep(client, points, series_max);
        Ok(())
    }

    fn subscription_of(&self, client: &Client) -> Subscription {
        let image = self.image();
        let known = self.telemetry.rules.borrow().clone();
        let rules = match known {
            Some((at, rules)) if at == image.at() => rules,
            _ => {
                let rules: Rc<[Rule]> = rules::of(&image).into();
                *self.telemetry.rules.borrow_mut() = Some((image.at(), Rc::clone(&rules)));
                rules
            }
        };
        rules::subscription(&rules, client)
    }
}

/// How a push is compressed; numbers of the protocol. Snappy is not offered: clients take another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    None,
    Gzip,
    Lz4,
    Zstd,
}

impl Codec {
    fn of(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// What a client may compress with, best first.
pub(crate) const CODECS: [i8; 3] = [4, 3, 1];

/// The numbers of a push, or why it is none.
fn read(codec: Codec, bytes: &Bytes) -> Result<Vec<Point>, String> {
    let inflated;
    let plain = match codec {
        Codec::None => &bytes[..],
        Codec::Gzip => {
            inflated = inflate(flate2::read::GzDecoder::new(&bytes[..]))?;
            &inflated
        }
        Codec::Lz4 => {
            inflated = inflate(lz4_flex::frame::FrameDecoder::new(&bytes[..]))?;
            &inflated
        }
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&bytes[..]);
            let mut decoder = decoder.map_err(|error| error.to_string())?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(|error| error.to_string())?;
            inflated = inflate(decoder)?;
            &inflated
        }
    };
    otlp::points(plain, POINTS_MAX).map_err(|error| error.to_string())
}

/// What decompression gives, if it is not a bomb.
fn inflate(mut decoder: impl Read) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let read = decoder
        .by_ref()
        .take(INFLATED_MAX + 1)
        .read_to_end(&mut out);
    read.map_err(|error| error.to_string())?;
    if out.len() as u64 > INFLATED_MAX {
        return Err(format!("more than {INFLATED_MAX} bytes when inflated"));
    }
    Ok(out)
}

/// Clients of one shard.
const INSTANCES_MAX: usize = 10_000;
/// Numbers of one client; the Java producer has about fifty, and a few for each broker and topic.
const SERIES_OF_ONE_MAX: usize = 500;
/// Numbers of one push.
const POINTS_MAX: usize = 2_000;
/// Bytes of one push, inflated: 16 times the default of `telemetry.max.bytes`.
const INFLATED_MAX: u64 = 16 << 20;
/// A window of 8 MiB, what the format asks every decoder to take.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Intervals without a word after which a client is forgotten.
const STALE_AFTER: u32 = 3;

#[cfg(test)]
mod tests;
