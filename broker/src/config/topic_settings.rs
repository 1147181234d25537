//! The tables of settings that belong to a topic, a group or a client-metrics subscription.
//!
//! **Owns** their names, and which broker settings stand in for them when they are not set.
//! **Lives on** no shard.
//! **Invariants**: as in `broker_settings`.
//! **Not here**: the resolution over layers (`topic`).

use super::setting::DefaultValue::{Is, Null};
use super::setting::Importance::Medium;
use super::setting::Status::{Accepted, Supported};
use super::setting::Type::{Boolean, Double, Int, List, Long, String};
use super::setting::Valid::{
    Any, AtLeast, Between, BetweenOr, BetweenReal, ListOf, OneOf, ShareReset, ThrottledReplicas,
};
use super::setting::Visibility::{Internal, Public};
use super::setting::{
    DefaultValue, Importance, Setting, Status, Type, UpdateMode, Valid, Visibility,
};

/// The row of a topic setting.
#[must_use]
pub fn find_topic(name: &str) -> Option<&'static Setting> {
    TOPIC.iter().find(|row| row.name == name)
}

/// The row of a group setting.
#[must_use]
pub fn find_group(name: &str) -> Option<&'static Setting> {
    GROUP.iter().find(|row| row.name == name)
}

/// The row of a client-metrics setting.
#[must_use]
pub fn find_client_metrics(name: &str) -> Option<&'static Setting> {
    CLIENT_METRICS.iter().find(|row| row.name == name)
}

#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
const fn scoped(
    name: &'static str,
    kind: Type,
    default: DefaultValue,
    valid: Valid,
    importance: Importance,
    visibility: Visibility,
    synonyms: &'static [(&'static str, i64)],
    status: Status,
) -> Setting {
    let update = UpdateMode::ClusterWide;
    Setting {
        name,
        kind,
        default,
        valid,
        importance,
        update,
        visibility,
        synonyms,
        status,
    }
}

/// Topic settings; the synonyms are broker settings with their unit in this one's.
#[rustfmt::skip]
pub static TOPIC: &[Setting] = &[
    scoped("cleanup.policy", List, Is("delete"), ListOf(&["compact", "delete"]), Medium, Public, &[("log.cleanup.policy", 1)], Supported("What happens to old segments: delete, compact, both, or nothing when empty.")),
    scoped("compression.lz4.level", Int, Is("9"), Between(1, 17), Medium, Public, &[("compression.lz4.level", 1)], Supported("Level when the broker compresses with lz4.")),
    scoped("compression.type", String, Is("producer"), OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, Public, &[("compression.type", 1)], Supported("Codec of the log; 'producer' keeps what the producer chose.")),
    scoped("flush.messages", Long, Is("9223372036854775807"), AtLeast(1), Medium, Public, &[("log.flush.interval.messages", 1)], Supported("Records after which the log is synced.")),
    scoped("compression.zstd.level", Int, Is("3"), Between(-131_072, 22), Medium, Public, &[("compression.zstd.level", 1)], Supported("Level when the broker compresses with zstd.")),
    scoped("flush.ms", Long, Is("9223372036854775807"), AtLeast(0), Medium, Public, &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)], Supported("Time after which the log is synced.")),
    scoped("follower.replication.throttled.replicas", List, Is(""), ThrottledReplicas, Medium, Public, &[], Accepted("A single node has nothing to throttle.")),
    scoped("index.interval.bytes", Int, Is("4096"), AtLeast(0), Medium, Public, &[("log.index.interval.bytes", 1)], Supported("Bytes of log between two index entries.")),
    scoped("internal.segment.bytes", Int, Null, Any, Medium, Internal, &[], Supported("Segment size for tests, without the lower bound.")),
    scoped("leader.replication.throttled.replicas", List, Is(""), ThrottledReplicas, Medium, Public, &[], Accepted("A single node has nothing to throttle.")),
    scoped("local.retention.bytes", Long, Is("-2"), AtLeast(-2), Medium, Public, &[("log.local.retention.bytes", 1)], Accepted("Tiered storage is not part of this broker.")),
    scoped("local.retention.ms", Long, Is("-2"), AtLeast(-2), Medium, Public, &[("log.local.retention.ms", 1)], Accepted("Tiered storage is not part of this broker.")),
    scoped("max.compaction.lag.ms", Long, Is("9223372036854775807"), AtLeast(1), Medium, Public, &[("log.cleaner.max.compaction.lag.ms", 1)], Supported("Longest time a record may stay uncompacted.")),
    scoped("file.delete.delay.ms", Long, Is("60000"), AtLeast(0), Medium, Public, &[("log.segment.delete.delay.ms", 1)], Supported("How long a deleted file stays on disk.")),
    scoped("max.message.bytes", Int, Is("1048588"), AtLeast(0), Medium, Public, &[("message.max.bytes", 1)], Supported("Largest record batch.")),
    scoped("message.timestamp.after.max.ms", Long, Is("3600000"), AtLeast(0), Medium, Public, &[("log.message.timestamp.after.max.ms", 1)], Supported("How far a record's timestamp may lie in the future.")),
    scoped("message.timestamp.before.max.ms", Long, Is("9223372036854775807"), AtLeast(0), Medium, Public, &[("log.message.timestamp.before.max.ms", 1)], Supported("How far a record's timestamp may lie in the past.")),
    scoped("message.timestamp.type", String, Is("CreateTime"), OneOf(&["CreateTime", "LogAppendTime"]), Medium, Public, &[("log.message.timestamp.type", 1)], Supported("Whether the producer's or the broker's time is kept.")),
    scoped("min.cleanable.dirty.ratio", Double, Is("0.5"), BetweenReal(0.0, 1.0), Medium, Public, &[("log.cleaner.min.cleanable.ratio", 1)], Supported("Share of the log that must be dirty before it is compacted.")),
    scoped("min.compaction.lag.ms", Long, Is("0"), AtLeast(0), Medium, Public, &[("log.cleaner.min.compaction.lag.ms", 1)], Supported("Shortest time a record stays uncompacted.")),
    scoped("min.insync.replicas", Int, Is("1"), AtLeast(1), Medium, Public, &[("min.insync.replicas", 1)], Supported("Replicas that must have a record before an acks=all answer.")),
    scoped("preallocate", Boolean, Is("false"), Any, Medium, Public, &[("log.preallocate", 1)], Supported("New segment files get their full size at once.")),
    scoped("remote.log.copy.disable", Boolean, Is("false"), Any, Medium, Public, &[], Accepted("Tiered storage is not part of this broker.")),
    scoped("remote.log.delete.on.disable", Boolean, Is("false"), Any, Medium, Public, &[], Accepted("Tiered storage is not part of this broker.")),
    scoped("remote.storage.enable", Boolean, Is("false"), Any, Medium, Public, &[], Accepted("Tiered storage is not part of this broker.")),
    scoped("retention.bytes", Long, Is("-1"), Any, Medium, Public, &[("log.retention.bytes", 1)], Supported("Size of a partition above which its oldest segments go; -1 for no limit.")),
    scoped("delete.retention.ms", Long, Is("86400000"), AtLeast(0), Medium, Public, &[("log.cleaner.delete.retention.ms", 1)], Supported("How long tombstones stay after compaction.")),
    scoped("segment.bytes", Int, Is("1073741824"), AtLeast(1_048_576), Medium, Public, &[("log.segment.bytes", 1)], Supported("Largest segment file.")),
    scoped("retention.ms", Long, Is("604800000"), AtLeast(-1), Medium, Public, &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)], Supported("Age at which segments go; -1 for never.")),
    scoped("compression.gzip.level", Int, Is("-1"), BetweenOr(1, 9, -1), Medium, Public, &[("compression.gzip.level", 1)], Supported("Level when the broker compresses with gzip.")),
    scoped("segment.index.bytes", Int, Is("10485760"), AtLeast(4), Medium, Public, &[("log.index.size.max.bytes", 1)], Supported("Largest index file of a segment.")),
    scoped("segment.jitter.ms", Long, Is("0"), AtLeast(0), Medium, Public, &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)], Supported("Spread of the roll age.")),
    scoped("segment.ms", Long, Is("604800000"), AtLeast(1), Medium, Public, &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)], Supported("Age at which a new segment is begun.")),
    scoped("unclean.leader.election.enable", Boolean, Is("false"), Any, Medium, Public, &[("unclean.leader.election.enable", 1)], Supported("A replica outside the in-sync set may lead when no other is left.")),
];

/// Group settings (KIP-848, KIP-932, KIP-1071).
#[rustfmt::skip]
pub static GROUP: &[Setting] = &[
    scoped("consumer.assignment.interval.ms", Int, Is("1000"), AtLeast(0), Medium, Public, &[("group.consumer.assignment.interval.ms", 1)], Supported("Least time between two assignments of the group.")),
    scoped("consumer.heartbeat.interval.ms", Int, Is("5000"), AtLeast(1), Medium, Public, &[("group.consumer.heartbeat.interval.ms", 1)], Supported("How often members of the group are told to send heartbeats.")),
    scoped("consumer.session.timeout.ms", Int, Is("45000"), AtLeast(1), Medium, Public, &[("group.consumer.session.timeout.ms", 1)], Supported("How long a member of the group may be silent.")),
    scoped("share.assignment.interval.ms", Int, Is("1000"), AtLeast(0), Medium, Public, &[("group.share.assignment.interval.ms", 1)], Accepted("Share groups are not served yet.")),
    scoped("share.auto.offset.reset", String, Is("latest"), ShareReset, Medium, Public, &[], Accepted("Share groups are not served yet.")),
    scoped("share.delivery.count.limit", Int, Is("5"), AtLeast(2), Medium, Public, &[("group.share.delivery.count.limit", 1)], Accepted("Share groups are not served yet.")),
    scoped("share.heartbeat.interval.ms", Int, Is("5000"), AtLeast(1), Medium, Public, &[("group.share.heartbeat.interval.ms", 1)], Accepted("Share groups are not served yet.")),
    scoped("share.isolation.level", String, Is("read_uncommitted"), OneOf(&["read_committed", "read_uncommitted"]), Medium, Public, &[], Accepted("Share groups are not served yet.")),
    scoped("share.partition.max.record.locks", Int, Is("2000"), AtLeast(100), Medium, Public, &[("group.share.partition.max.record.locks", 1)], Accepted("Share groups are not served yet.")),
    scoped("share.record.lock.duration.ms", Int, Is("30000"), AtLeast(1000), Medium, Public, &[("group.share.record.lock.duration.ms", 1)], Accepted("Share groups are not served yet.")),
    scoped("share.renew.acknowledge.enable", Boolean, Is("true"), Any, Medium, Public, &[], Accepted("Share groups are not served yet.")),
    scoped("share.session.timeout.ms", Int, Is("45000"), AtLeast(1), Medium, Public, &[("group.share.session.timeout.ms", 1)], Accepted("Share groups are not served yet.")),
    scoped("streams.assignment.interval.ms", Int, Is("1000"), AtLeast(0), Medium, Public, &[("group.streams.assignment.interval.ms", 1)], Accepted("Streams groups are not served yet.")),
    scoped("streams.heartbeat.interval.ms", Int, Is("5000"), AtLeast(1), Medium, Public, &[("group.streams.heartbeat.interval.ms", 1)], Accepted("Streams groups are not served yet.")),
    scoped("streams.initial.rebalance.delay.ms", Int, Is("3000"), AtLeast(0), Medium, Public, &[("group.streams.initial.rebalance.delay.ms", 1)], Accepted("Streams groups are not served yet.")),
    scoped("streams.num.standby.replicas", Int, Is("0"), AtLeast(0), Medium, Public, &[("group.streams.num.standby.replicas", 1)], Accepted("Streams groups are not served yet.")),
    scoped("streams.session.timeout.ms", Int, Is("45000"), AtLeast(1), Medium, Public, &[("group.streams.session.timeout.ms", 1)], Accepted("Streams groups are not served yet.")),
];

/// Client metrics subscriptions (KIP-714).
#[rustfmt::skip]
pub static CLIENT_METRICS: &[Setting] = &[
    scoped("interval.ms", Int, Is("300000"), Any, Medium, Public, &[], Supported("How often matching clients push.")),
    scoped("match", List, Is(""), Any, Medium, Public, &[], Supported("Which clients push, as key=pattern: client_id, client_instance_id, client_software_name, client_software_version, client_source_address, client_source_port; all patterns must match.")),
    scoped("metrics", List, Is(""), Any, Medium, Public, &[], Supported("Prefixes of the metrics that are pushed; * for all.")),
];
