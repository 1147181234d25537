//! Owns the settings of group coordination, already checked.
//! Lives on every shard behind one `Arc`.
//! Invariants: 1. `session_timeout_ms_min <= session_timeout_ms_max`; the configuration table checks it.
//! Not here: parsing and defaults shown to operators (`config`).

/// What `server.properties` says about classic groups and offsets. Times are milliseconds.
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
        }
    }
}
