//! Owns the settings of group coordination, already checked.
//! Lives on every shard behind one `Arc`.
//! Invariants: 1. `session_timeout_ms_min <= session_timeout_ms_max`; the configuration table checks it.
//! Not here: parsing and defaults shown to operators (`config`).

use super::consumer::assignor::Assignor;
use super::consumer::migrate::MigrationPolicy;

/// What `server.properties` says about groups and offsets. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: u64,
    /// `group.max.size`
    pub members_max: usize,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_size_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval_ms: u64,
    /// How long a `JoinGroup` of a member that does not know its id yet may stay parked: such a member cannot heartbeat,
    /// so nothing else would remove it. Kafka's is fixed at five minutes.
    pub new_member_join_timeout_ms: u64,
    /// Groups of KIP-848.
    pub consumer: ConsumerSettings,
}

/// What `server.properties` says about consumer groups (KIP-848). Times are milliseconds; ranges bound the settings of
/// single groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.coordinator.rebalance.protocols` names `consumer`.
    pub enabled: bool,
    /// `group.consumer.session.timeout.ms`
    pub session_timeout_ms: i32,
    /// `group.consumer.min.session.timeout.ms` and `group.consumer.max.session.timeout.ms`
    pub session_timeout_ms_range: (i32, i32),
    /// `group.consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.min.heartbeat.interval.ms` and `group.consumer.max.heartbeat.interval.ms`
    pub heartbeat_interval_ms_range: (i32, i32),
    /// `group.consumer.assignment.interval.ms`, as it was at start
    pub assignment_interval_ms: i64,
    /// `group.consumer.min.assignment.interval.ms` and `group.consumer.max.assignment.interval.ms`
    pub assignment_interval_ms_range: (i64, i64),
    /// `group.consumer.max.size`
    pub members_max: usize,
    /// `group.consumer.assignors`: the first is the default
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_interval_ms: i64,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            session_timeout_ms: 45_000,
            session_timeout_ms_range: (45_000, 60_000),
            heartbeat_interval_ms: 5_000,
            heartbeat_interval_ms_range: (5_000, 15_000),
            assignment_interval_ms: 1_000,
            assignment_interval_ms_range: (0, 15_000),
            members_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration_policy: MigrationPolicy::default(),
            regex_refresh_interval_ms: 600_000,
        }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: i32::MAX as usize,
            offset_metadata_size_max: 4_096,
            offsets_retention_ms: 10_080 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
            new_member_join_timeout_ms: 300_000,
            consumer: ConsumerSettings::default(),
        }
    }
}
