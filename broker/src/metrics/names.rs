//! The table of metrics: name, kind, labels, meaning. The page, its HELP lines and `docs/metrics.md` come from it.
//!
//! Owns: every name that a scrape prints.
//! Lives on: no shard; constants.
//! Invariants:
//! 1. One row per name; nothing is printed that has no row.
//! 2. What Kafka measures too has the name that the Prometheus JMX exporter's usual rules give it
//!    (`lowercaseOutputName`), so that dashboards and alerts made for Kafka go on working.
//!
//! Not here: values (`sample.rs`), the format (`text.rs`).

/// What a number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until the broker starts again.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Quantiles of the last one to two minutes, count and sum since the start.
    Summary,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
        }
    }
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Names of its labels. A sample may leave out the last ones: the sum over them.
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($( $id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal; )*) => {
        $( pub(crate) const $id: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            help: $help,
        }; )*

        /// All.
        #[cfg(test)]
        pub(crate) const ALL: &[Family] = &[$( $id, )*];
    };
}

families! {
    BYTES_IN Counter "kafka_server_brokertopicmetrics_bytesin_total" ["topic"]
        "Bytes of record batches appended; without a topic: of all topics.";
    BYTES_OUT Counter "kafka_server_brokertopicmetrics_bytesout_total" ["topic"]
        "Bytes of record batches given to consumers.";
    MESSAGES_IN Counter "kafka_server_brokertopicmetrics_messagesin_total" ["topic"]
        "Records appended.";
    PRODUCE_REQUESTS Counter "kafka_server_brokertopicmetrics_totalproducerequests_total" ["topic"]
        "Appends asked for, one for each partition of a Produce request.";
    FETCH_REQUESTS Counter "kafka_server_brokertopicmetrics_totalfetchrequests_total" ["topic"]
        "Reads made for fetches, one for each partition and look; a long poll looks again when it is woken.";
    FAILED_PRODUCE_REQUESTS Counter "kafka_server_brokertopicmetrics_failedproducerequests_total" ["topic"]
        "Appends that were refused or failed.";
    FAILED_FETCH_REQUESTS Counter "kafka_server_brokertopicmetrics_failedfetchrequests_total" ["topic"]
        "Reads that were refused or failed.";
    BYTES_REJECTED Counter "kafka_server_brokertopicmetrics_bytesrejected_total" []
        "Bytes of batches that were larger than max.message.bytes.";
    INVALID_MAGIC Counter "kafka_server_brokertopicmetrics_invalidmagicnumberrecords_total" []
        "Batches refused for their format version.";
    INVALID_CRC Counter "kafka_server_brokertopicmetrics_invalidmessagecrcrecords_total" []
        "Batches refused because their checksum is wrong.";
    INVALID_OFFSETS Counter "kafka_server_brokertopicmetrics_invalidoffsetorsequencerecords_total" []
        "Batches refused for their offsets or sequence numbers.";

    REQUESTS Counter "kafka_network_requestmetrics_requests_total" ["request", "version"]
        "Requests begun, by API and version. Fetches stand under Fetch and, as Kafka has them, FetchConsumer.";
    TOTAL_TIME Summary "kafka_network_requestmetrics_totaltimems" ["request"]
        "Milliseconds from a request's last byte to its answer being ready, waiting included; quantiles of the last one to two minutes.";
    CONNECTION_COUNT Gauge "kafka_server_socket_server_metrics_connection_count" ["listener", "networkProcessor"]
        "Connections open, by listener and shard.";
    PROCESSOR_IDLE Gauge "kafka_network_socketserver_networkprocessoravgidlepercent" []
        "Share of the time that shards sleep, 0 to 1, mean of all over the last one to two minutes.";
    HANDLER_IDLE Gauge "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent" []
        "The same under Kafka's other name: a shard both talks to the network and handles requests.";

    UNDER_REPLICATED Gauge "kafka_server_replicamanager_underreplicatedpartitions" []
        "Partitions led here whose in-sync replicas are fewer than their replicas.";
    UNDER_MIN_ISR Gauge "kafka_server_replicamanager_underminisrpartitioncount" []
        "Partitions led here with fewer in-sync replicas than min.insync.replicas: acks=all is refused.";
    AT_MIN_ISR Gauge "kafka_server_replicamanager_atminisrpartitioncount" []
        "Partitions led here with just as many in-sync replicas as min.insync.replicas.";
    PARTITION_COUNT Gauge "kafka_server_replicamanager_partitioncount" []
        "Partitions of this broker whose logs are open.";
    LEADER_COUNT Gauge "kafka_server_replicamanager_leadercount" []
        "Partitions that this broker leads.";
    OFFLINE_REPLICAS Gauge "kafka_server_replicamanager_offlinereplicacount" []
        "Partitions of this broker that are not served: their log directory is offline, or their log does not open.";
    REASSIGNING Gauge "kafka_server_replicamanager_reassigningpartitions" []
        "Partitions led here whose replicas are being reassigned.";
    PRODUCER_IDS Gauge "kafka_server_replicamanager_produceridcount" []
        "Idempotent producers that partitions remember.";
    SESSIONS Gauge "kafka_server_fetchsessioncache_numincrementalfetchsessions" []
        "Incremental fetch sessions.";
    SESSION_PARTITIONS Gauge "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached" []
        "Partitions in incremental fetch sessions.";
    BROKER_STATE Gauge "kafka_server_kafkaserver_brokerstate" []
        "1 starting, 2 recovering its logs, 3 running, 6 stopping.";

    ACTIVE_CONTROLLER Gauge "kafka_controller_kafkacontroller_activecontrollercount" []
        "1 where this node is the active controller.";
    ACTIVE_BROKERS Gauge "kafka_controller_kafkacontroller_activebrokercount" []
        "Brokers that are registered and not fenced.";
    FENCED_BROKERS Gauge "kafka_controller_kafkacontroller_fencedbrokercount" []
        "Brokers that are registered and fenced.";
    GLOBAL_TOPICS Gauge "kafka_controller_kafkacontroller_globaltopiccount" []
        "Topics of the cluster.";
    GLOBAL_PARTITIONS Gauge "kafka_controller_kafkacontroller_globalpartitioncount" []
        "Partitions of the cluster.";
    OFFLINE_PARTITIONS Gauge "kafka_controller_kafkacontroller_offlinepartitionscount" []
        "Partitions of the cluster that have no leader.";
    PREFERRED_IMBALANCE Gauge "kafka_controller_kafkacontroller_preferredreplicaimbalancecount" []
        "Partitions of the cluster that are not led by their first replica.";
    LAST_APPLIED Gauge "kafka_controller_kafkacontroller_lastappliedrecordoffset" []
        "Offset up to which the metadata log is applied.";

    LOG_SIZE Gauge "kafka_log_log_size" ["topic", "partition"]
        "Bytes of a partition's segments.";
    LOG_END Gauge "kafka_log_log_logendoffset" ["topic", "partition"]
        "Offset that the next record of a partition gets.";
    LOG_START Gauge "kafka_log_log_logstartoffset" ["topic", "partition"]
        "Offset of the first record of a partition that may be read.";
    LOG_SEGMENTS Gauge "kafka_log_log_numlogsegments" ["topic", "partition"]
        "Segments of a partition.";
    OFFLINE_DIRECTORIES Gauge "kafka_log_logmanager_offlinelogdirectorycount" []
        "Log directories that failed; they stay offline until the broker starts again.";
    DIRECTORY_OFFLINE Gauge "kafka_log_logmanager_logdirectoryoffline" ["logDirectory"]
        "1 where the log directory failed.";
    FLUSH_TIME Summary "kafka_log_logflushstats_logflushrateandtimems" []
        "Milliseconds that a sync of a log takes, all log directories together.";
    UNCLEANABLE Gauge "kafka_log_logcleanermanager_uncleanable_partitions_count" ["logDirectory"]
        "Compacted partitions that are left alone because their data does not read as it should.";

    GROUPS Gauge "kafka_coordinator_group_groupmetadatamanager_numgroups" []
        "Groups coordinated here.";
    GROUP_OFFSETS Gauge "kafka_coordinator_group_groupmetadatamanager_numoffsets" []
        "Offsets that groups have committed.";
    GROUPS_PREPARING Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance" []
        "Groups whose members are joining.";
    GROUPS_COMPLETING Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance" []
        "Groups that wait for their assignment.";
    GROUPS_STABLE Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsstable" []
        "Groups whose members all have an assignment.";
    GROUPS_EMPTY Gauge "kafka_coordinator_group_groupmetadatamanager_numgroupsempty" []
        "Groups without members.";
    GROUPS_BY_STATE Gauge "corelog_groups" ["type", "state"]
        "Groups coordinated here, by type and state.";
    GROUP_OFFSET Gauge "kafka_consumergroup_current_offset" ["consumergroup", "topic", "partition"]
        "The offset that a group has committed (the name is kafka-exporter's).";
    GROUP_LAG Gauge "kafka_consumergroup_lag" ["consumergroup", "topic", "partition"]
        "Offsets between a group's commit and the high watermark (the name is kafka-exporter's).";
    GROUP_LAG_STABLE Gauge "corelog_consumergroup_lag_stable" ["consumergroup", "topic", "partition"]
        "Offsets between a group's commit and the last stable offset: what a read_committed consumer still has to read. Where it is 0 and the lag is not, the group waits for an open transaction.";
    GROUP_LAG_SUM Gauge "kafka_consumergroup_lag_sum" ["consumergroup"]
        "Sum of a group's lag over the partitions printed.";
    TRANSACTIONS Gauge "corelog_transactions" ["state"]
        "Transactional ids coordinated here, by state.";

    DIRECTORY_STATE Gauge "corelog_log_directory_state" ["log_dir", "state"]
        "1 for the state that the log directory is in: usable, full (producers are refused), offline.";
    DIRECTORY_FREE Gauge "corelog_log_directory_free_bytes" ["log_dir"]
        "Bytes free on the disk of the log directory at the last look, at most some seconds ago.";
    DIRECTORY_TOTAL Gauge "corelog_log_directory_total_bytes" ["log_dir"]
        "Bytes of the disk of the log directory.";
    DIRECTORY_RESERVE Gauge "corelog_log_directory_reserve_bytes" ["log_dir"]
        "Bytes that corelog.disk.reserve.bytes keeps free there.";
    DIRECTORY_PARTITIONS Gauge "corelog_log_directory_partitions" ["log_dir"]
        "Partitions that lie in the log directory.";
    SYNC_TIME Summary "corelog_log_sync_seconds" ["log_dir"]
        "Seconds that a sync of a log takes, by log directory: what an acks=all producer waits for.";
    WRITTEN_BYTES Counter "corelog_log_written_bytes_total" []
        "Bytes written to segments.";
    DIRECT_BYTES Counter "corelog_log_direct_written_bytes_total" []
        "Of these, bytes that went past the page cache.";
    WRITES Counter "corelog_log_writes_total" []
        "Writes to segments; batches that arrive together share one.";

    FETCH_BYTES Counter "corelog_fetch_read_bytes_total" ["source"]
        "Bytes read for consumers and the broker itself, by where they were: tail (memory), warm (page cache), ahead (read before they were asked for), cold (waited for the disk).";
    TAIL_BYTES Gauge "corelog_tail_bytes" ["shard"]
        "Memory that holds the newest records, see corelog.tail.bytes.";

    MOVES Gauge "corelog_moves" []
        "Partitions on their way to another log directory.";
    MOVE_BYTES Gauge "corelog_move_copied_bytes" []
        "Bytes that the moves under way have copied.";
    MOVE_LAG Gauge "corelog_move_lag_offsets" []
        "Offsets that the moves under way still have to copy.";
    MOVES_ENDED Counter "corelog_moves_ended_total" ["outcome"]
        "Moves that ended: arrived, cancelled, failed.";
    CLEANING Gauge "corelog_cleaner_running" []
        "Shards that compact a log just now.";
    CLEANINGS Counter "corelog_cleaner_cleanings_total" ["outcome"]
        "Cleanings that ended: clean, gave_up, failed.";
    CLEANED_READ Counter "corelog_cleaner_read_bytes_total" []
        "Bytes of segments that were compacted, before.";
    CLEANED_KEPT Counter "corelog_cleaner_kept_bytes_total" []
        "Bytes of the same segments after it.";
    RETIRED Counter "corelog_retention_segments_deleted_total" []
        "Segments that retention deleted.";

    READY Gauge "corelog_ready" []
        "1 while listeners are open and the broker is not stopping.";
    RECOVERY_LOGS Gauge "corelog_recovery_logs" []
        "Logs that this start had to open.";
    RECOVERY_DONE Gauge "corelog_recovery_logs_done" []
        "Of these, how many are open, or could not be opened.";
    RECOVERY_BYTES Gauge "corelog_recovery_bytes" []
        "Bytes of the logs begun that had to be checked.";
    RECOVERY_CHECKED Gauge "corelog_recovery_bytes_checked" []
        "Of these, how many are checked.";
    READY_SECONDS Gauge "corelog_start_seconds" []
        "How long the last start took until listeners were open; absent before.";

    SHARD_BUSY Counter "corelog_shard_busy_seconds_total" ["shard"]
        "Seconds that a shard's loop did not sleep: it worked, or waited for its core.";
    SHARD_LOAD Gauge "corelog_shard_busy_ratio" ["shard"]
        "Share of the last one to two minutes that a shard's loop did not sleep, 0 to 1.";
    LOOP_TURNS Counter "corelog_shard_loop_turns_total" ["shard"]
        "Turns of a shard's loop.";
    LOOP_ENTERS Counter "corelog_shard_loop_enters_total" ["shard"]
        "System calls of a shard's loop into its driver (io_uring_enter or epoll_wait).";
    LOOP_SLEEPS Counter "corelog_shard_loop_sleeps_total" ["shard"]
        "Times that a shard's loop found nothing to do.";
    LOOP_POLLS Counter "corelog_shard_task_polls_total" ["shard"]
        "Polls of a shard's tasks.";
    TASKS Gauge "corelog_shard_tasks" ["shard"]
        "Tasks of a shard.";
    OPERATIONS Gauge "corelog_shard_file_operations" ["shard"]
        "File operations of a shard that are under way.";
    BLOCKS Gauge "corelog_shard_blocks" ["shard"]
        "Buffers of a shard's pool that are in use.";
    MESH_QUEUE Gauge "corelog_shard_mesh_queue" ["shard"]
        "Requests of other shards that wait to be taken.";
    MESH_CALLS Gauge "corelog_shard_mesh_calls" ["shard"]
        "Calls of a shard to others that wait for their answer, long polls included.";
    MESH_MESSAGES Counter "corelog_shard_mesh_messages_total" ["shard"]
        "Messages that a shard has sent to others, answers included.";
    REQUEST_MEMORY Gauge "corelog_shard_request_bytes" ["shard"]
        "Bytes of requests that a shard holds, arriving or being handled.";

    ACCEPTED Counter "corelog_connections_accepted_total" []
        "Sockets accepted.";
    ACCEPT_ERRORS Counter "corelog_connections_accept_errors_total" []
        "Accepts that failed.";
    REFUSED_PER_IP Counter "corelog_connections_refused_per_ip_total" []
        "Sockets closed at once for max.connections.per.ip.";
    WAITED_FULL Counter "corelog_connections_waited_full_total" []
        "Sockets that had to wait for max.connections.";
    OPENED Counter "corelog_connections_opened_total" ["shard"]
        "Connections begun.";
    CLOSED Counter "corelog_connections_closed_total" ["reason"]
        "Connections ended, by reason.";
    HELD_BACK Counter "corelog_connections_held_back_total" []
        "Times that a connection was not read because of what it had in flight or unread.";
    REQUEST_BYTES Counter "corelog_network_request_bytes_total" []
        "Bytes of requests read.";
    RESPONSE_BYTES Counter "corelog_network_response_bytes_total" []
        "Bytes of responses, those from files included.";
    FILE_BYTES Counter "corelog_network_file_bytes_total" []
        "Bytes of responses that went from files to sockets without a copy.";
    RECEIVES Counter "corelog_network_receives_total" []
        "Receives from sockets.";
    SENDS Counter "corelog_network_sends_total" []
        "Vectored sends to sockets.";

    CLIENT_INSTANCES Gauge "corelog_client_instances" []
        "Clients that push metrics, or have asked what to push, in the last three of their intervals.";
    CLIENT_PUSHES Counter "corelog_client_pushes_total" []
        "Pushes of clients' metrics that were taken in.";
    CLIENT_PUSHES_REFUSED Counter "corelog_client_pushes_refused_total" []
        "Pushes of clients' metrics that were refused: too early, too large, of another subscription, not readable.";
    CLIENT_NUMBERS_DROPPED Counter "corelog_client_numbers_dropped_total" []
        "Numbers in pushes that found no room, see corelog.metrics.clients.series.max.";
    CLIENT_METRIC Gauge "corelog_client_metric" ["metric", "client_id", "client_instance_id", "attributes"]
        "The last number that a client pushed (kafka-client-metrics), under the client's own name of the metric.";

    TOPICS_LEFT_OUT Gauge "corelog_metrics_topics_left_out" []
        "Topics beyond corelog.metrics.topics.max: only the sums count them.";
    PARTITIONS_LEFT_OUT Gauge "corelog_metrics_partitions_left_out" []
        "Partitions beyond corelog.metrics.partitions.max: no series of their own, and no lag of groups.";
    OFFSETS_LEFT_OUT Gauge "corelog_metrics_group_offsets_left_out" []
        "Committed offsets without series of their own, beyond corelog.metrics.partitions.max or of a partition left out.";
    SCRAPE_SECONDS Gauge "corelog_metrics_gather_seconds" []
        "How long the shards took to answer this scrape.";
    BUILD Gauge "corelog_build_info" ["version", "node_id", "cluster_id"]
        "Always 1.";

    CPU Counter "process_cpu_seconds_total" []
        "Processor time of the broker.";
    RESIDENT Gauge "process_resident_memory_bytes" []
        "Memory of the broker that is resident.";
    VIRTUAL Gauge "process_virtual_memory_bytes" []
        "Address space of the broker.";
    FDS Gauge "process_open_fds" []
        "Open descriptors.";
    FDS_MAX Gauge "process_max_fds" []
        "How many descriptors may be open.";
    THREADS Gauge "process_threads" []
        "Threads.";
    START_TIME Gauge "process_start_time_seconds" []
        "When the broker started, seconds since 1970.";
}
