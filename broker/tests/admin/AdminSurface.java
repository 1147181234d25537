import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.metrics.KafkaMetric;
import org.apache.kafka.common.metrics.Metrics;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;

/**
 * Calls every public method of Admin against the broker at BOOTSTRAP and prints what comes back, one line for each
 * thing: `what was called | result`, where ids, times, ports and directories are replaced by words. Two brokers that
 * answer alike print the same.
 *
 *   AdminSurface BOOTSTRAP [DATA-DIRECTORY]
 */
public class AdminSurface {
    static final Set<String> CALLED = new TreeSet<>();
    static final PrintStream OUT = System.out;
    static String bootstrap;
    static String data = "/nowhere";

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        if (args.length > 1) data = args[1];
        try (Admin real = Admin.create(properties(Map.of(AdminClientConfig.DEFAULT_API_TIMEOUT_MS_CONFIG, "20000", AdminClientConfig.REQUEST_TIMEOUT_MS_CONFIG, "10000")))) {
            Admin admin = (Admin) Proxy.newProxyInstance(Admin.class.getClassLoader(), new Class<?>[] {Admin.class}, (proxy, method, arguments) -> {
                CALLED.add(method.getName());
                try {
                    return method.invoke(real, arguments);
                } catch (InvocationTargetException e) {
                    throw e.getCause();
                }
            });
            new AdminSurface(admin).run();
            admin.close(Duration.ofSeconds(5));
        }
        Admin closed = Admin.create(properties(Map.of()));
        CALLED.add("close");
        closed.close();
        for (var method : Admin.class.getMethods()) {
            if (!Modifier.isStatic(method.getModifiers()) && !CALLED.contains(method.getName())) OUT.println("NOT CALLED | " + method.getName());
        }
        System.exit(0);
    }

    final Admin admin;

    AdminSurface(Admin admin) {
        this.admin = admin;
    }

    static Map<String, Object> properties(Map<String, Object> more) {
        Map<String, Object> all = new HashMap<>();
        all.put("bootstrap.servers", bootstrap);
        all.put("key.serializer", StringSerializer.class.getName());
        all.put("value.serializer", StringSerializer.class.getName());
        all.put("key.deserializer", StringDeserializer.class.getName());
        all.put("value.deserializer", StringDeserializer.class.getName());
        all.put("client.id", "surface");
        all.putAll(more);
        return all;
    }

    // ---- printing

    static String plain(Object value) {
        String text = String.valueOf(value).replace(data, "<dir>").replace(bootstrap, "<host>:<port>");
        String port = bootstrap.substring(bootstrap.indexOf(':') + 1);
        text = text.replaceAll("\\b" + port + "\\b", "<port>").replaceAll("\\b" + (Integer.parseInt(port) + 1) + "\\b", "<port+1>");
        text = text.replaceAll("(?<![A-Za-z0-9_-])(?![A-Za-z]*(Exception|Offsets)\\b)[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])", "<id>").replaceAll("tries=\\d+", "tries=<n>").replaceAll("after \\d+ attempt", "after <n> attempt").replaceAll("\\b1[6-9]\\d{11}\\b", "<time>");
        // How a client says that it gave up depends on where its call stood then.
        text = text.replaceAll("Call\\(callName=(\\w+\\(api=\\w+\\)), .*?\\) timed out at \\S+ after <n> attempt\\(s\\)", "timed out: $1").replaceAll("Timed out waiting for a node assignment. Call: (\\w+\\(api=\\w+\\))", "timed out: $1");
        return text.replace("\n", " / ");
    }

    static Throwable cause(Throwable e) {
        while ((e instanceof ExecutionException || e instanceof CompletionException) && e.getCause() != null) e = e.getCause();
        return e;
    }

    static String failed(Throwable e) {
        Throwable cause = cause(e);
        return "! " + cause.getClass().getSimpleName() + ": " + cause.getMessage();
    }

    /** One line, or one for each element of what is not a single thing. */
    void show(String what, Callable<Object> call) {
        try {
            Object value = call.call();
            if (value instanceof Map<?, ?> map) {
                OUT.println(what + " | " + map.size() + " things");
                new TreeMap<>(map.entrySet().stream().collect(Collectors.toMap(e -> plain(e.getKey()), e -> plain(outcome(e.getValue())), (a, b) -> a + "," + b)))
                    .forEach((key, one) -> OUT.println(what + " " + key + " | " + one));
            } else if (value instanceof Collection<?> all) {
                OUT.println(what + " | " + all.size() + " things");
                all.stream().map(one -> plain(outcome(one))).sorted().forEach(one -> OUT.println(what + " - | " + one));
            } else {
                OUT.println(what + " | " + plain(outcome(value)));
            }
        } catch (Throwable e) {
            OUT.println(what + " | " + plain(failed(e)));
        }
    }

    static Object outcome(Object value) {
        if (value instanceof DeletedRecords deleted) return "low watermark " + deleted.lowWatermark();
        if (!(value instanceof KafkaFuture<?> future)) return value;
        try {
            Object got = future.get(30, TimeUnit.SECONDS);
            return got == null ? "done" : got instanceof KafkaFuture<?> ? got : outcome(got);
        } catch (Throwable e) {
            return failed(e);
        }
    }

    /** Waits for what comes soon. */
    static void until(String what, Callable<Boolean> holds) throws Exception {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try {
                if (holds.call()) return;
            } catch (ExecutionException e) {
                // Not yet.
            }
            if (System.nanoTime() > end) throw new IllegalStateException("waited in vain until " + what);
            Thread.sleep(20);
        }
    }

    void run() throws Exception {
        cluster();
        topics();
        records();
        configs();
        quotas();
        features();
        groups();
        otherGroups();
        transactions();
        security();
        quorum();
        topicsEnd();
        telemetry();
    }

    void cluster() throws Exception {
        show("describeCluster nodes", () -> admin.describeCluster().nodes().get().stream().map(n -> n.idString() + " " + n.rack() + " fenced=" + n.isFenced()).toList());
        show("describeCluster controller", () -> admin.describeCluster().controller().get().idString());
        show("describeCluster id", () -> admin.describeCluster().clusterId());
        show("describeCluster operations", () -> new TreeSet<>(admin.describeCluster(new DescribeClusterOptions().includeAuthorizedOperations(true)).authorizedOperations().get()));
        show("describeCluster fenced", () -> admin.describeCluster(new DescribeClusterOptions().includeFencedBrokers(true)).nodes().get().size());
        show("metrics", () -> admin.metrics().isEmpty() ? "none" : "some");
        show("registerMetricForSubscription", () -> {
            try (Metrics metrics = new Metrics()) {
                var name = metrics.metricName("own", "group");
                metrics.addMetric(name, (config, now) -> 1.0);
                KafkaMetric metric = metrics.metric(name);
                admin.registerMetricForSubscription(metric);
                admin.unregisterMetricFromSubscription(metric);
            }
            return "done";
        });
    }

    // ---- topics

    void topics() throws Exception {
        var options = new CreateTopicsOptions();
        show("createTopics", () -> values(admin.createTopics(List.of(
            new NewTopic("plain", 2, (short) 1),
            new NewTopic("defaults", Optional.empty(), Optional.empty()),
            new NewTopic("assigned", Map.of(0, List.of(1), 1, List.of(1))),
            new NewTopic("configured", 1, (short) 1).configs(Map.of("retention.ms", "1000", "cleanup.policy", "compact")))).values()));
        show("createTopics refused", () -> values(admin.createTopics(List.of(
            new NewTopic("plain", 2, (short) 1),
            new NewTopic("none", 0, (short) 1),
            new NewTopic("many", 1, (short) 3),
            new NewTopic("a b", 1, (short) 1),
            new NewTopic("", 1, (short) 1),
            new NewTopic(".", 1, (short) 1),
            new NewTopic("x".repeat(250), 1, (short) 1),
            new NewTopic("foreign", Map.of(0, List.of(7))),
            new NewTopic("gap", Map.of(1, List.of(1))),
            new NewTopic("twice", Map.of(0, List.of(1, 1))),
            new NewTopic("uneven", Map.of(0, List.of(1), 1, List.of())),
            new NewTopic("badname", 1, (short) 1).configs(Map.of("nope", "1")),
            new NewTopic("badvalue", 1, (short) 1).configs(Map.of("retention.ms", "abc")),
            new NewTopic("lag", 1, (short) 1).configs(Map.of("min.compaction.lag.ms", "9", "max.compaction.lag.ms", "5")),
            new NewTopic("tiered", 1, (short) 1).configs(Map.of("remote.storage.enable", "true")))).values()));
        show("createTopics dots", () -> values(admin.createTopics(List.of(new NewTopic("a.b", 1, (short) 1))).values()));
        show("createTopics underscores", () -> values(admin.createTopics(List.of(new NewTopic("a_b", 1, (short) 1))).values()));
        show("createTopics validate only", () -> values(admin.createTopics(List.of(new NewTopic("unmade", 3, (short) 1)), options.validateOnly(true)).values()));
        var made = admin.createTopics(List.of(new NewTopic("told", 3, (short) 1).configs(Map.of("segment.bytes", "2097152"))));
        show("createTopics result", () -> made.numPartitions("told").get() + " " + made.replicationFactor("told").get() + " " + made.config("told").get().get("segment.bytes"));
        show("createTopics result config", () -> made.config("told").get().entries());
        until("topics are there", () -> admin.listTopics().names().get().contains("told"));
        show("listTopics", () -> admin.listTopics(new ListTopicsOptions().listInternal(false)).listings().get());
        show("describeTopics", () -> values(admin.describeTopics(List.of("plain", "assigned", "absent", "", "a b")).topicNameValues()));
        Uuid id = admin.describeTopics(List.of("plain")).allTopicNames().get().get("plain").topicId();
        show("describeTopics by id", () -> values(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).topicIdValues()));
        show("describeTopics by unknown id", () -> values(admin.describeTopics(TopicCollection.ofTopicIds(List.of(new Uuid(7, 7)))).topicIdValues()));
        show("describeTopics operations", () -> new TreeSet<>(admin.describeTopics(List.of("plain"), new DescribeTopicsOptions().includeAuthorizedOperations(true)).allTopicNames().get().get("plain").authorizedOperations()));
        show("describeTopics limited", () -> admin.describeTopics(List.of("told", "plain"), new DescribeTopicsOptions().partitionSizeLimitPerResponse(1)).allTopicNames().get());
        show("createPartitions", () -> values(admin.createPartitions(Map.of("plain", NewPartitions.increaseTo(3))).values()));
        show("createPartitions assigned", () -> values(admin.createPartitions(Map.of("assigned", NewPartitions.increaseTo(3, List.of(List.of(1))))).values()));
        for (var one : Map.of("fewer", NewPartitions.increaseTo(1), "the same", NewPartitions.increaseTo(3), "wrong count", NewPartitions.increaseTo(5, List.of(List.of(1))),
                "foreign", NewPartitions.increaseTo(4, List.of(List.of(9))), "empty", NewPartitions.increaseTo(4, List.of(List.of()))).entrySet().stream().sorted(Map.Entry.comparingByKey()).toList()) {
            show("createPartitions " + one.getKey(), () -> values(admin.createPartitions(Map.of("plain", one.getValue())).values()));
        }
        show("createPartitions absent", () -> values(admin.createPartitions(Map.of("absent", NewPartitions.increaseTo(3))).values()));
        show("createPartitions validate only", () -> values(admin.createPartitions(Map.of("plain", NewPartitions.increaseTo(9)), new CreatePartitionsOptions().validateOnly(true)).values()));
        until("partitions are there", () -> admin.describeTopics(List.of("plain")).allTopicNames().get().get("plain").partitions().stream().filter(p -> p.leader() != null).count() == 3);
        show("electLeaders preferred", () -> elected(ElectionType.PREFERRED, Set.of(at("plain", 0), at("absent", 0))));
        show("electLeaders unclean", () -> elected(ElectionType.UNCLEAN, Set.of(at("plain", 0), at("plain", 99))));
        show("electLeaders all", () -> elected(ElectionType.PREFERRED, null));
        var to = Optional.of(new NewPartitionReassignment(List.of(1)));
        show("alterPartitionReassignments", () -> values(admin.alterPartitionReassignments(Map.of(at("plain", 0), to, at("absent", 0), to, at("plain", 1), Optional.empty(),
            at("plain", 2), Optional.of(new NewPartitionReassignment(List.of(7))))).values()));
        show("alterPartitionReassignments twice", () -> values(admin.alterPartitionReassignments(Map.of(at("plain", 2), Optional.of(new NewPartitionReassignment(List.of(1, 1))))).values()));
        show("alterPartitionReassignments no change of factor", () -> values(admin.alterPartitionReassignments(Map.of(at("plain", 0), Optional.of(new NewPartitionReassignment(List.of(1, 2)))),
            new AlterPartitionReassignmentsOptions().allowReplicationFactorChange(false)).values()));
        show("listPartitionReassignments", () -> admin.listPartitionReassignments().reassignments());
        show("listPartitionReassignments of one", () -> admin.listPartitionReassignments(Set.of(at("plain", 0), at("absent", 0))).reassignments());
    }

    Object elected(ElectionType type, Set<TopicPartition> partitions) throws Exception {
        return admin.electLeaders(type, partitions).partitions().get().entrySet().stream()
            .collect(Collectors.toMap(Map.Entry::getKey, e -> e.getValue().map(AdminSurface::failed).orElse("elected")));
    }

    // ---- records, offsets, directories

    void records() throws Exception {
        try (var producer = new KafkaProducer<String, String>(properties(Map.of("enable.idempotence", "true")))) {
            for (int i = 0; i < 20; i++) producer.send(new ProducerRecord<>("plain", 0, 1000L + i, "k" + i, "v" + i)).get();
        }
        Map<String, OffsetSpec> specs = new TreeMap<>(Map.of("earliest", OffsetSpec.earliest(), "latest", OffsetSpec.latest(), "max", OffsetSpec.maxTimestamp(), "time", OffsetSpec.forTimestamp(1010),
            "future", OffsetSpec.forTimestamp(9_000_000_000_000L), "local", OffsetSpec.earliestLocal(), "tiered", OffsetSpec.latestTiered(), "upload", OffsetSpec.earliestPendingUpload()));
        for (var spec : specs.entrySet()) {
            show("listOffsets " + spec.getKey(), () -> {
                var result = admin.listOffsets(Map.of(at("plain", 0), spec.getValue()));
                return result.partitionResult(at("plain", 0));
            });
        }
        show("listOffsets committed", () -> admin.listOffsets(Map.of(at("plain", 0), OffsetSpec.latest()), new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all());
        show("listOffsets absent", () -> admin.listOffsets(Map.of(at("absent", 0), OffsetSpec.latest()), new ListOffsetsOptions(IsolationLevel.READ_COMMITTED).timeoutMs(2000)).all().get(30, TimeUnit.SECONDS));
        show("deleteRecords", () -> values(admin.deleteRecords(Map.of(at("plain", 0), RecordsToDelete.beforeOffset(5))).lowWatermarks()));
        show("deleteRecords too far", () -> values(admin.deleteRecords(Map.of(at("plain", 0), RecordsToDelete.beforeOffset(500))).lowWatermarks()));
        show("deleteRecords to the end", () -> values(admin.deleteRecords(Map.of(at("plain", 0), RecordsToDelete.beforeOffset(-1))).lowWatermarks()));
        show("describeLogDirs", () -> admin.describeLogDirs(List.of(1)).allDescriptions().get().get(1).entrySet().stream().map(e -> e.getKey() + " " + failedOr(e.getValue().error())
            + " cordoned=" + e.getValue().isCordoned() + " space=" + (e.getValue().totalBytes().orElse(0) > e.getValue().usableBytes().orElse(0)) + " "
            + e.getValue().replicaInfos().entrySet().stream().filter(r -> !r.getKey().topic().startsWith("__")).map(r -> r.getKey() + ":lag=" + r.getValue().offsetLag() + ",future=" + r.getValue().isFuture()
                + ",data=" + (r.getValue().size() > 0)).sorted().toList()).toList());
        show("describeLogDirs of nobody", () -> admin.describeLogDirs(List.of(9), new DescribeLogDirsOptions().timeoutMs(1000)).allDescriptions());
        var replica = new TopicPartitionReplica("plain", 0, 1);
        var absent = new TopicPartitionReplica("absent", 0, 1);
        show("describeReplicaLogDirs", () -> values(admin.describeReplicaLogDirs(List.of(replica, absent)).values()));
        show("alterReplicaLogDirs where it is", () -> values(admin.alterReplicaLogDirs(Map.of(replica, data)).values()));
        show("alterReplicaLogDirs", () -> values(admin.alterReplicaLogDirs(Map.of(replica, "/no/such/dir", absent, data)).values()));
        show("alterReplicaLogDirs relative", () -> values(admin.alterReplicaLogDirs(Map.of(replica, "relative")).values()));
        show("describeProducers", () -> admin.describeProducers(List.of(at("plain", 0))).partitionResult(at("plain", 0)).get().activeProducers().stream()
            .map(p -> "epoch=" + p.producerEpoch() + " sequence=" + p.lastSequence() + " coordinator=" + p.coordinatorEpoch() + " start=" + p.currentTransactionStartOffset()).toList());
        show("describeProducers absent", () -> admin.describeProducers(List.of(at("plain", 77)), new DescribeProducersOptions().timeoutMs(2000)).partitionResult(at("plain", 77)));
        show("describeProducers elsewhere", () -> admin.describeProducers(List.of(at("plain", 0)), new DescribeProducersOptions().brokerId(1)).partitionResult(at("plain", 0)).get().activeProducers().size());
    }

    // ---- settings

    static ConfigResource of(ConfigResource.Type type, String name) {
        return new ConfigResource(type, name);
    }

    static AlterConfigOp op(String name, String value, AlterConfigOp.OpType type) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    void alter(String what, ConfigResource resource, AlterConfigOp... ops) {
        show("incrementalAlterConfigs " + resource.type() + " '" + resource.name() + "' " + what, () -> values(admin.incrementalAlterConfigs(Map.of(resource, List.of(ops))).values()).values().iterator().next());
    }

    /** All settings of a resource; their descriptions are each broker's own words. */
    void describe(String what, ConfigResource resource) {
        show("describeConfigs " + what, () -> {
            var config = admin.describeConfigs(List.of(resource), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).values().get(resource).get();
            Map<String, Object> all = new TreeMap<>();
            for (var one : config.entries()) {
                boolean documented = one.documentation() != null && !one.documentation().isBlank();
                all.put(one.name(), one.value() + " " + one.source() + " " + one.type() + (one.isReadOnly() ? " read-only" : "") + (one.isSensitive() ? " sensitive" : "")
                    + (documented ? " documented " : " ") + one.synonyms().stream().map(s -> s.name() + "=" + s.value() + "@" + s.source()).toList());
            }
            return all;
        });
    }

    void configs() throws Exception {
        var set = AlterConfigOp.OpType.SET;
        var delete = AlterConfigOp.OpType.DELETE;
        var append = AlterConfigOp.OpType.APPEND;
        var subtract = AlterConfigOp.OpType.SUBTRACT;
        var topic = of(ConfigResource.Type.TOPIC, "plain");
        var one = of(ConfigResource.Type.BROKER, "1");
        var all = of(ConfigResource.Type.BROKER, "");
        var logger = of(ConfigResource.Type.BROKER_LOGGER, "1");
        var group = of(ConfigResource.Type.GROUP, "own");
        var subscription = of(ConfigResource.Type.CLIENT_METRICS, "own");
        describe("of a topic", topic);
        describe("of this broker", one);
        describe("of all brokers", all);
        describe("of a group", group);
        describe("of a subscription", subscription);
        for (var wrong : List.of(of(ConfigResource.Type.TOPIC, "absent"), of(ConfigResource.Type.TOPIC, "a b"), of(ConfigResource.Type.GROUP, ""), of(ConfigResource.Type.CLIENT_METRICS, ""), of(ConfigResource.Type.TOPIC, ""))) {
            describe("refused " + wrong, wrong);
        }
        show("describeConfigs of loggers", () -> admin.describeConfigs(List.of(logger)).values().get(logger).get().get("root"));
        alter("twice", topic, op("retention.ms", "1", set), op("retention.ms", "2", set));
        alter("retention.ms", topic, op("retention.ms", "60000", set));
        alter("bad value", topic, op("retention.ms", "abc", set));
        alter("out of range", topic, op("segment.bytes", "1", set));
        alter("of a list of words", topic, op("compression.type", "best", set));
        alter("append", topic, op("cleanup.policy", "compact", append));
        alter("subtract", topic, op("cleanup.policy", "delete", subtract));
        alter("append to no list", topic, op("retention.ms", "1", append));
        alter("append to unknown", topic, op("nope", "1", append));
        alter("unknown", topic, op("nope", "1", set));
        alter("unknown deleted", topic, op("nope", "", delete));
        alter("throttled", topic, op("leader.replication.throttled.replicas", "*", set));
        alter("throttled wrong", topic, op("leader.replication.throttled.replicas", "0-1", set));
        alter("min.insync.replicas", topic, op("min.insync.replicas", "2", set));
        alter("min.insync.replicas back", topic, op("min.insync.replicas", "", delete));
        alter("tiered", topic, op("remote.storage.enable", "true", set));
        alter("absent", of(ConfigResource.Type.TOPIC, "absent"), op("retention.ms", "1", set));
        alter("nothing", of(ConfigResource.Type.TOPIC, ""), op("retention.ms", "1", set));
        show("incrementalAlterConfigs validate only", () -> values(admin.incrementalAlterConfigs(Map.of(topic, List.of(op("retention.ms", "7", set))), new AlterConfigsOptions().validateOnly(true)).values()));
        show("incrementalAlterConfigs validate only refused", () -> values(admin.incrementalAlterConfigs(Map.of(topic, List.of(op("retention.ms", "x", set))), new AlterConfigsOptions().validateOnly(true)).values()));
        alter("threads", one, op("log.cleaner.threads", "2", set));
        alter("many threads", one, op("num.io.threads", "100", set));
        alter("no threads", one, op("num.network.threads", "0", set));
        alter("read-only", one, op("broker.id", "3", set));
        alter("read-only two", one, op("broker.id", "3", set), op("log.dirs", "x", set));
        alter("unknown", one, op("nope.config", "secret", set));
        alter("bad value", one, op("log.retention.ms", "x", set));
        alter("retention", one, op("log.retention.ms", "70000000", set));
        alter("hours", one, op("log.retention.hours", "3", set));
        alter("password", one, op("ssl.keystore.password", "secret", set));
        alter("listener", one, op("listener.name.external.ssl.keystore.location", "/x", set));
        alter("compression", one, op("compression.type", "best", set));
        alter("policy", one, op("log.cleanup.policy", "none", set));
        alter("message", one, op("message.max.bytes", "-1", set));
        alter("lag", one, op("log.cleaner.min.compaction.lag.ms", "10", set), op("log.cleaner.max.compaction.lag.ms", "5", set));
        alter("lag back", one, op("log.cleaner.min.compaction.lag.ms", "", delete), op("log.cleaner.max.compaction.lag.ms", "", delete));
        alter("insync", one, op("min.insync.replicas", "2", set));
        alter("other", of(ConfigResource.Type.BROKER, "7"), op("log.retention.ms", "5", set));
        alter("no number", of(ConfigResource.Type.BROKER, "x"), op("log.retention.ms", "5", set));
        alter("retention", all, op("log.retention.ms", "80000000", set), op("message.max.bytes", "2000000", set));
        alter("per broker", all, op("ssl.keystore.location", "/x", set));
        alter("listener", all, op("listener.name.external.ssl.keystore.location", "/x", set));
        alter("read-only", all, op("advertised.listeners", "PLAINTEXT://x:1", set));
        alter("insync", all, op("min.insync.replicas", "1", set));
        alter("reporters", all, op("metric.reporters", "no.such.Class", set));
        alter("connections", all, op("max.connections.per.ip.overrides", "127.0.0.1:200", set), op("max.connections", "5000", set));
        alter("unknown", logger, op("no.such.logger", "DEBUG", set));
        alter("bad level", logger, op("root", "BOGUS", set));
        alter("lower case", logger, op("root", "info", set));
        alter("root", logger, op("root", "WARN", set));
        alter("root deleted", logger, op("root", "", delete));
        alter("append", logger, op("root", "INFO", append));
        alter("subtract", logger, op("root", "INFO", subtract));
        alter("fatal", logger, op("root", "FATAL", set));
        show("describeConfigs of loggers fatal", () -> admin.describeConfigs(List.of(logger)).values().get(logger).get().get("root"));
        alter("back", logger, op("root", "INFO", set));
        show("describeConfigs of loggers", () -> admin.describeConfigs(List.of(logger)).values().get(logger).get().get("root"));
        alter("timeouts", group, op("consumer.session.timeout.ms", "50000", set), op("consumer.heartbeat.interval.ms", "6000", set));
        alter("too small", group, op("consumer.session.timeout.ms", "1", set));
        alter("too large", group, op("consumer.heartbeat.interval.ms", "60000", set));
        alter("unknown", group, op("nope", "1", set));
        alter("share", group, op("share.record.lock.duration.ms", "20000", set), op("share.auto.offset.reset", "earliest", set));
        alter("share wrong", group, op("share.auto.offset.reset", "never", set));
        alter("streams", group, op("streams.num.standby.replicas", "1", set));
        alter("streams too many", group, op("streams.num.standby.replicas", "9", set));
        alter("nothing", of(ConfigResource.Type.GROUP, ""), op("consumer.session.timeout.ms", "50000", set));
        alter("subscription", subscription, op("metrics", "org.apache.kafka.consumer.", set), op("interval.ms", "5000", set), op("match", "client_id=nobody.*", set));
        alter("interval", subscription, op("interval.ms", "1", set));
        alter("match", subscription, op("match", "bad", set));
        alter("match key", subscription, op("match", "colour=red", set));
        alter("match pattern", subscription, op("match", "client_id=(", set));
        alter("match empty", subscription, op("match", "", set));
        alter("unknown", subscription, op("nope", "1", set));
        alter("nothing", of(ConfigResource.Type.CLIENT_METRICS, ""), op("interval.ms", "1000", set));
        alter("append", subscription, op("metrics", "org.apache.kafka.producer.", append));
        // Only what differs from before.
        describe("then of a topic", topic);
        describe("then of this broker", one);
        describe("then of all brokers", all);
        describe("then of a group", group);
        describe("then of a subscription", subscription);
        show("listConfigResources", () -> admin.listConfigResources().all().get().stream().filter(r -> !r.name().startsWith("__")).toList());
        show("listConfigResources some", () -> admin.listConfigResources(Set.of(ConfigResource.Type.GROUP, ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get());
        show("listClientMetricsResources", () -> admin.listClientMetricsResources().all());
        for (String name : List.of("log.cleaner.threads", "nope.config", "log.retention.ms", "ssl.keystore.password", "listener.name.external.ssl.keystore.location")) alter("deleted " + name, one, op(name, "", delete));
        for (String name : List.of("log.retention.ms", "message.max.bytes", "max.connections.per.ip.overrides", "max.connections")) alter("deleted " + name, all, op(name, "", delete));
        for (String name : List.of("metrics", "interval.ms", "match")) alter("deleted " + name, subscription, op(name, "", delete));
        show("listConfigResources then", () -> admin.listConfigResources(Set.of(ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get());
    }

    // ---- quotas

    static ClientQuotaEntity entity(String... parts) {
        Map<String, String> all = new HashMap<>();
        for (int i = 0; i < parts.length; i += 2) all.put(parts[i], parts[i + 1]);
        return new ClientQuotaEntity(all);
    }

    void quota(String what, ClientQuotaEntity entity, Object... ops) {
        show("alterClientQuotas " + what, () -> {
            List<ClientQuotaAlteration.Op> all = new ArrayList<>();
            for (int i = 0; i < ops.length; i += 2) all.add(new ClientQuotaAlteration.Op((String) ops[i], (Double) ops[i + 1]));
            return admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity, all))).values().get(entity);
        });
    }

    void quotas() throws Exception {
        String user = ClientQuotaEntity.USER, client = ClientQuotaEntity.CLIENT_ID, ip = ClientQuotaEntity.IP;
        quota("user", entity(user, "alice"), "producer_byte_rate", 1024.0, "consumer_byte_rate", 2048.0);
        quota("user, client", entity(user, "alice", client, "c1"), "request_percentage", 12.5);
        quota("user default", entity(user, null), "controller_mutation_rate", 3.0);
        quota("client default", entity(client, null), "producer_byte_rate", 99.0);
        quota("user and client default", entity(user, null, client, null), "producer_byte_rate", 7.0);
        quota("ip", entity(ip, "127.0.0.9"), "connection_creation_rate", 10.0);
        quota("ip default", entity(ip, null), "connection_creation_rate", 11.0);
        quota("name of an ip", entity(ip, "not an ip"), "connection_creation_rate", 11.0);
        quota("ip and user", entity(ip, "1.2.3.4", user, "x"), "connection_creation_rate", 11.0);
        quota("unknown key", entity(user, "bob"), "nope", 1.0);
        quota("key of another", entity(user, "bob"), "connection_creation_rate", 1.0);
        quota("key of another, ip", entity(ip, "1.2.3.4"), "producer_byte_rate", 1.0);
        quota("negative", entity(user, "bob"), "producer_byte_rate", -1.0);
        quota("zero", entity(user, "bob"), "producer_byte_rate", 0.0);
        quota("fraction", entity(user, "bob"), "producer_byte_rate", 1.5);
        quota("not a number", entity(user, "bob"), "request_percentage", Double.NaN);
        quota("too large", entity(user, "bob"), "producer_byte_rate", 1e30);
        quota("fraction of a rate of connections", entity(ip, "1.2.3.4"), "connection_creation_rate", 1.5);
        quota("large rate of connections", entity(ip, "1.2.3.4"), "connection_creation_rate", 1e10);
        quota("unknown entity", entity("colour", "red"), "producer_byte_rate", 1.0);
        quota("no entity", entity(), "producer_byte_rate", 1.0);
        quota("empty name", entity(user, ""), "producer_byte_rate", 1.0);
        quota("same key twice", entity(user, "carol"), "producer_byte_rate", 1.0, "producer_byte_rate", 2.0);
        quota("remove what is not there", entity(user, "dave"), "producer_byte_rate", null);
        show("alterClientQuotas twice", () -> values(admin.alterClientQuotas(List.of(
            new ClientQuotaAlteration(entity(user, "erin"), List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1.0))),
            new ClientQuotaAlteration(entity(user, "erin"), List.of(new ClientQuotaAlteration.Op("consumer_byte_rate", 2.0))))).values()));
        show("alterClientQuotas validate only", () -> values(admin.alterClientQuotas(List.of(new ClientQuotaAlteration(entity(user, "frank"), List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 5.0)))),
            new AlterClientQuotasOptions().validateOnly(true)).values()));
        until("the last quota is there", () -> admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().containsKey(entity(user, "erin")));
        Map<String, ClientQuotaFilter> filters = new LinkedHashMap<>();
        filters.put("all", ClientQuotaFilter.all());
        filters.put("user alice", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntity(user, "alice"))));
        filters.put("only user alice", ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntity(user, "alice"))));
        filters.put("default user", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofDefaultEntity(user))));
        filters.put("any user", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(user))));
        filters.put("only any user", ClientQuotaFilter.containsOnly(List.of(ClientQuotaFilterComponent.ofEntityType(user))));
        filters.put("any user and client", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(user), ClientQuotaFilterComponent.ofEntityType(client))));
        filters.put("any ip", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(ip))));
        filters.put("ip and user", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(ip), ClientQuotaFilterComponent.ofEntityType(user))));
        filters.put("unknown type", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType("colour"))));
        filters.put("empty type", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(""))));
        filters.put("twice", ClientQuotaFilter.contains(List.of(ClientQuotaFilterComponent.ofEntityType(user), ClientQuotaFilterComponent.ofEntity(user, "alice"))));
        filters.put("only nothing", ClientQuotaFilter.containsOnly(List.of()));
        filters.forEach((what, filter) -> show("describeClientQuotas " + what, () -> sorted(admin.describeClientQuotas(filter).entities().get())));
        quota("user, one removed", entity(user, "alice"), "producer_byte_rate", null);
        quota("user, other removed", entity(user, "alice"), "consumer_byte_rate", null);
        until("the quotas are gone", () -> !admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().containsKey(entity(user, "alice")));
        show("describeClientQuotas then", () -> sorted(admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get()));
    }

    static Object sorted(Map<ClientQuotaEntity, Map<String, Double>> quotas) {
        Map<String, Object> all = new TreeMap<>();
        quotas.forEach((entity, values) -> all.put(new TreeMap<>(entity.entries()).toString(), new TreeMap<>(values)));
        return all;
    }

    // ---- features

    void feature(String what, String name, int level, FeatureUpdate.UpgradeType type, boolean only) {
        show("updateFeatures " + what, () -> values(admin.updateFeatures(Map.of(name, new FeatureUpdate((short) level, type)), new UpdateFeaturesOptions().validateOnly(only)).values()).values().iterator().next());
    }

    void features() {
        var up = FeatureUpdate.UpgradeType.UPGRADE;
        var safe = FeatureUpdate.UpgradeType.SAFE_DOWNGRADE;
        var unsafe = FeatureUpdate.UpgradeType.UNSAFE_DOWNGRADE;
        show("describeFeatures finalized", () -> admin.describeFeatures().featureMetadata().get().finalizedFeatures());
        show("describeFeatures supported", () -> admin.describeFeatures().featureMetadata().get().supportedFeatures());
        feature("to where it is", "metadata.version", 30, up, false);
        feature("beyond", "metadata.version", 99, up, false);
        feature("below", "metadata.version", 3, safe, false);
        feature("metadata.version down by an upgrade", "metadata.version", 29, up, true);
        feature("metadata.version down, safe, validate only", "metadata.version", 29, safe, true);
        feature("metadata.version down, unsafe, validate only", "metadata.version", 29, unsafe, true);
        feature("metadata.version far down, safe, validate only", "metadata.version", 25, safe, true);
        feature("metadata.version far down, unsafe, validate only", "metadata.version", 25, unsafe, true);
        feature("metadata.version to 0", "metadata.version", 0, safe, true);
        feature("unknown", "nope", 1, up, false);
        feature("unknown down", "nope", 1, safe, false);
        feature("empty", "", 1, up, false);
        feature("group.version down by an upgrade", "group.version", 0, up, false);
        feature("group.version up by a downgrade", "group.version", 1, safe, false);
        feature("group.version beyond", "group.version", 9, up, false);
        feature("transaction.version down, validate only", "transaction.version", 1, safe, true);
        feature("transaction.version down, unsafe, validate only", "transaction.version", 1, unsafe, true);
        feature("transaction.version down", "transaction.version", 1, safe, false);
        feature("transaction.version beyond", "transaction.version", 3, up, true);
        feature("transaction.version up", "transaction.version", 2, up, false);
        feature("kraft.version beyond", "kraft.version", 7, up, true);
        feature("kraft.version down", "kraft.version", 0, safe, true);
        feature("eligible leader replicas down, validate only", "eligible.leader.replicas.version", 0, safe, true);
        feature("share.version down, validate only", "share.version", 0, safe, true);
        feature("streams.version down, validate only", "streams.version", 0, safe, true);
        feature("negative", "group.version", -1, safe, true);
        show("updateFeatures two, one wrong", () -> values(admin.updateFeatures(new TreeMap<>(Map.of("group.version", new FeatureUpdate((short) 1, up), "nope", new FeatureUpdate((short) 1, up))), new UpdateFeaturesOptions().validateOnly(true)).values()));
        show("updateFeatures dependency", () -> values(admin.updateFeatures(new TreeMap<>(Map.of("metadata.version", new FeatureUpdate((short) 22, unsafe))), new UpdateFeaturesOptions().validateOnly(true)).values()));
        show("describeFeatures then", () -> admin.describeFeatures().featureMetadata().get().finalizedFeatures());
    }

    // ---- groups

    void groups() throws Exception {
        try (var consumer = new KafkaConsumer<String, String>(properties(Map.of("group.id", "classic", "group.protocol", "classic", "auto.offset.reset", "earliest")));
             var other = new KafkaConsumer<String, String>(properties(Map.of("group.id", "modern", "group.protocol", "consumer", "auto.offset.reset", "earliest")))) {
            for (var one : List.of(consumer, other)) {
                one.subscribe(List.of("plain"));
                until("partitions are assigned", () -> { one.poll(Duration.ofMillis(50)); return !one.assignment().isEmpty(); });
                one.commitSync(Map.of(at("plain", 0), new OffsetAndMetadata(3, "meta")));
            }
            show("describeConsumerGroups", () -> admin.describeConsumerGroups(List.of("classic", "modern", "absent")).describedGroups().entrySet().stream()
                .collect(Collectors.toMap(Map.Entry::getKey, e -> group(e.getValue()))));
            show("describeClassicGroups", () -> admin.describeClassicGroups(List.of("classic", "modern", "absent")).describedGroups().entrySet().stream().collect(Collectors.toMap(Map.Entry::getKey, e -> {
                try {
                    var g = e.getValue().get();
                    return g.groupId() + " " + g.protocol() + " " + g.protocolData() + " " + g.state() + " " + g.members().size();
                } catch (Exception x) {
                    return failed(x);
                }
            })));
            show("listGroups", () -> admin.listGroups().all().get().stream().map(g -> g.groupId() + " " + g.type() + " " + g.protocol() + " " + g.groupState()).toList());
            show("listGroups consumer", () -> admin.listGroups(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))).all().get().stream().map(GroupListing::groupId).toList());
            show("listConsumerGroups", () -> admin.listConsumerGroups().all().get().stream().map(g -> g.groupId() + " " + g.type() + " " + g.groupState() + " " + g.isSimpleConsumerGroup()).toList());
            show("listConsumerGroupOffsets", () -> admin.listConsumerGroupOffsets("classic").partitionsToOffsetAndMetadata());
            show("listConsumerGroupOffsets two", () -> admin.listConsumerGroupOffsets(Map.of("classic", new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(at("plain", 0), at("plain", 1))), "absent", new ListConsumerGroupOffsetsSpec())).all().get());
            show("alterConsumerGroupOffsets in use", () -> admin.alterConsumerGroupOffsets("classic", Map.of(at("plain", 0), new OffsetAndMetadata(1))).all());
            show("deleteConsumerGroupOffsets in use", () -> admin.deleteConsumerGroupOffsets("classic", Set.of(at("plain", 0))).partitionResult(at("plain", 0)));
            show("deleteConsumerGroups in use", () -> values(admin.deleteConsumerGroups(List.of("classic", "modern")).deletedGroups()));
            show("removeMembersFromConsumerGroup unknown", () -> admin.removeMembersFromConsumerGroup("classic", new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("nobody")))).memberResult(new MemberToRemove("nobody")));
            show("removeMembersFromConsumerGroup", () -> admin.removeMembersFromConsumerGroup("classic", new RemoveMembersFromConsumerGroupOptions()).all());
        }
        until("the groups are empty", () -> admin.describeConsumerGroups(List.of("classic", "modern")).all().get().values().stream().allMatch(g -> g.groupState() == GroupState.EMPTY));
        show("alterConsumerGroupOffsets", () -> admin.alterConsumerGroupOffsets("classic", Map.of(at("plain", 0), new OffsetAndMetadata(1), at("plain", 1), new OffsetAndMetadata(2, Optional.of(0), "m"))).all());
        show("alterConsumerGroupOffsets absent topic", () -> admin.alterConsumerGroupOffsets("classic", Map.of(at("absent", 0), new OffsetAndMetadata(1))).partitionResult(at("absent", 0)));
        show("alterConsumerGroupOffsets new group", () -> admin.alterConsumerGroupOffsets("simple", Map.of(at("plain", 0), new OffsetAndMetadata(1))).all());
        show("listConsumerGroupOffsets then", () -> admin.listConsumerGroupOffsets("classic").partitionsToOffsetAndMetadata());
        show("deleteConsumerGroupOffsets", () -> {
            var result = admin.deleteConsumerGroupOffsets("classic", Set.of(at("plain", 0), at("absent", 0)));
            return values(Map.of(at("plain", 0), result.partitionResult(at("plain", 0)), at("absent", 0), result.partitionResult(at("absent", 0))));
        });
        show("deleteConsumerGroupOffsets absent group", () -> admin.deleteConsumerGroupOffsets("absent", Set.of(at("plain", 0))).all());
        show("deleteConsumerGroups", () -> values(admin.deleteConsumerGroups(List.of("classic", "modern", "absent", "")).deletedGroups()));
    }

    static Object group(KafkaFuture<ConsumerGroupDescription> future) {
        try {
            var g = future.get();
            var members = g.members().stream().map(m -> "client=" + m.clientId() + " host=" + m.host() + " instance=" + m.groupInstanceId() + " epoch=" + m.memberEpoch() + " upgraded=" + m.upgraded() + " " + new TreeSet<>(m.assignment().topicPartitions().stream().map(Object::toString).toList())
                + " target=" + m.targetAssignment().map(a -> new TreeSet<>(a.topicPartitions().stream().map(Object::toString).toList()))).toList();
            return g.groupId() + " simple=" + g.isSimpleConsumerGroup() + " " + g.partitionAssignor() + " " + g.type() + " " + g.groupState() + " coordinator=" + g.coordinator().idString() + " epochs=" + g.groupEpoch() + "," + g.targetAssignmentEpoch() + " operations=" + g.authorizedOperations() + " " + members;
        } catch (Exception e) {
            return failed(e);
        }
    }

    void otherGroups() {
        var none = Map.of(at("plain", 0), new OffsetAndMetadata(1));
        show("describeShareGroups", () -> values(admin.describeShareGroups(List.of("absent")).describedGroups()));
        show("alterShareGroupOffsets", () -> admin.alterShareGroupOffsets("sharing", Map.of(at("plain", 0), 1L)).all());
        show("listShareGroupOffsets", () -> admin.listShareGroupOffsets(Map.of("sharing", new ListShareGroupOffsetsSpec().topicPartitions(List.of(at("plain", 0))))).partitionsToOffsetInfo("sharing"));
        show("deleteShareGroupOffsets", () -> admin.deleteShareGroupOffsets("sharing", Set.of("plain")).all());
        show("deleteShareGroups", () -> values(admin.deleteShareGroups(List.of("sharing", "absent")).deletedGroups()));
        show("describeStreamsGroups", () -> values(admin.describeStreamsGroups(List.of("absent")).describedGroups()));
        show("alterStreamsGroupOffsets", () -> admin.alterStreamsGroupOffsets("streaming", none).all());
        show("listStreamsGroupOffsets", () -> admin.listStreamsGroupOffsets(Map.of("streaming", new ListStreamsGroupOffsetsSpec())).partitionsToOffsetAndMetadata("streaming"));
        show("deleteStreamsGroupOffsets", () -> admin.deleteStreamsGroupOffsets("streaming", Set.of(at("plain", 0))).all());
        show("deleteStreamsGroups", () -> values(admin.deleteStreamsGroups(List.of("streaming", "absent")).deletedGroups()));
    }

    // ---- transactions

    void transactions() throws Exception {
        try (var producer = new KafkaProducer<String, String>(properties(Map.of("transactional.id", "tx", "transaction.timeout.ms", "60000")))) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>("plain", 1, "k", "v")).get();
            show("listTransactions", () -> admin.listTransactions().all().get().stream().map(t -> t.transactionalId() + " " + t.state()).toList());
            show("listTransactions states", () -> admin.listTransactions(new ListTransactionsOptions().filterStates(Set.of(TransactionState.COMPLETE_COMMIT))).all());
            show("listTransactions durations", () -> admin.listTransactions(new ListTransactionsOptions().filterOnDuration(3_600_000)).all());
            show("listTransactions pattern", () -> admin.listTransactions(new ListTransactionsOptions().filterOnTransactionalIdPattern("t.*")).all().get().size());
            show("listTransactions bad pattern", () -> admin.listTransactions(new ListTransactionsOptions().filterOnTransactionalIdPattern("(")).all());
            show("describeTransactions", () -> admin.describeTransactions(List.of("tx")).description("tx").get().state() + " " + admin.describeTransactions(List.of("tx")).description("tx").get().topicPartitions()
                + " " + admin.describeTransactions(List.of("tx")).description("tx").get().producerEpoch() + " " + admin.describeTransactions(List.of("tx")).description("tx").get().transactionTimeoutMs());
            show("describeTransactions absent", () -> admin.describeTransactions(List.of("absent")).description("absent"));
            var active = admin.describeProducers(List.of(at("plain", 1))).partitionResult(at("plain", 1)).get().activeProducers().get(0);
            show("abortTransaction", () -> admin.abortTransaction(new AbortTransactionSpec(at("plain", 1), active.producerId(), (short) active.producerEpoch(), active.coordinatorEpoch().orElse(0))).all());
            show("abortTransaction absent", () -> admin.abortTransaction(new AbortTransactionSpec(at("plain", 88), 1, (short) 0, 0), new AbortTransactionOptions().timeoutMs(2000)).all());
            producer.abortTransaction();
        }
        try (var producer = new KafkaProducer<String, String>(properties(Map.of("transactional.id", "open", "transaction.timeout.ms", "60000")))) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>("plain", 2, "k", "v")).get();
            show("forceTerminateTransaction", () -> admin.forceTerminateTransaction("open").result());
            until("it is aborted", () -> admin.describeTransactions(List.of("open")).description("open").get().state() != TransactionState.ONGOING);
            show("fenceProducers", () -> admin.fenceProducers(List.of("open")).producerId("open").get() >= 0);
        }
        show("fenceProducers new", () -> admin.fenceProducers(List.of("new")).epochId("new"));
    }

    // ---- security

    void security() throws Exception {
        var binding = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "plain", PatternType.LITERAL), new AccessControlEntry("User:alice", "*", AclOperation.READ, AclPermissionType.ALLOW));
        show("describeAcls", () -> admin.describeAcls(AclBindingFilter.ANY).values());
        show("createAcls", () -> values(admin.createAcls(List.of(binding)).values()));
        show("deleteAcls", () -> values(admin.deleteAcls(List.of(AclBindingFilter.ANY)).values()));
        show("createDelegationToken", () -> admin.createDelegationToken().delegationToken());
        show("renewDelegationToken", () -> admin.renewDelegationToken(new byte[] {1}).expiryTimestamp());
        show("expireDelegationToken", () -> admin.expireDelegationToken(new byte[] {1}).expiryTimestamp());
        show("describeDelegationToken", () -> admin.describeDelegationToken().delegationTokens());
        show("describeUserScramCredentials", this::credentials);
        show("describeUserScramCredentials some", () -> {
            var result = admin.describeUserScramCredentials(List.of("alice", "bob"));
            return values(Map.of("alice", result.description("alice"), "bob", result.description("bob")));
        });
        show("alterUserScramCredentials", () -> alter(set("alice", ScramMechanism.SCRAM_SHA_256, 4096), delete("bob", ScramMechanism.SCRAM_SHA_512)));
        show("alterUserScramCredentials more", () -> alter(set("bob", ScramMechanism.SCRAM_SHA_512, 16384), set("zoë", ScramMechanism.SCRAM_SHA_256, 5000)));
        show("alterUserScramCredentials another mechanism", () -> alter(set("alice", ScramMechanism.SCRAM_SHA_512, 8192)));
        show("alterUserScramCredentials again", () -> alter(set("bob", ScramMechanism.SCRAM_SHA_512, 4097)));
        show("alterUserScramCredentials both mechanisms", () -> alter(set("erin", ScramMechanism.SCRAM_SHA_256, 4096), set("erin", ScramMechanism.SCRAM_SHA_512, 4096)));
        show("alterUserScramCredentials unknown mechanism", () -> alter(delete("alice", ScramMechanism.UNKNOWN)));
        show("alterUserScramCredentials few iterations", () -> alter(set("carol", ScramMechanism.SCRAM_SHA_256, 10), set("frank", ScramMechanism.SCRAM_SHA_256, 4096)));
        show("alterUserScramCredentials many iterations", () -> alter(set("carol", ScramMechanism.SCRAM_SHA_512, 16385)));
        show("alterUserScramCredentials twice", () -> alter(set("dave", ScramMechanism.SCRAM_SHA_256, 4096), delete("dave", ScramMechanism.SCRAM_SHA_256)));
        show("alterUserScramCredentials set and deleted", () -> alter(set("alice", ScramMechanism.SCRAM_SHA_256, 4096), delete("alice", ScramMechanism.SCRAM_SHA_256)));
        show("alterUserScramCredentials nobody", () -> alter(set("", ScramMechanism.SCRAM_SHA_256, 4096)));
        show("alterUserScramCredentials nothing", () -> alter());
        until("credentials are there", () -> admin.describeUserScramCredentials().all().get().containsKey("frank"));
        show("describeUserScramCredentials then", this::credentials);
        show("describeUserScramCredentials some then", () -> {
            var result = admin.describeUserScramCredentials(List.of("frank", "dave", "zoë"));
            return values(Map.of("frank", result.description("frank"), "dave", result.description("dave"), "zoë", result.description("zoë")));
        });
        show("describeUserScramCredentials twice", () -> admin.describeUserScramCredentials(List.of("alice", "alice")).all());
        show("describeUserScramCredentials users", () -> new TreeSet<>(admin.describeUserScramCredentials().users().get()));
        show("alterUserScramCredentials deletion", () -> alter(delete("alice", ScramMechanism.SCRAM_SHA_256), delete("bob", ScramMechanism.SCRAM_SHA_512), delete("nobody", ScramMechanism.SCRAM_SHA_256)));
        until("a credential is gone", () -> !admin.describeUserScramCredentials().all().get().containsKey("bob"));
        show("describeUserScramCredentials at the end", this::credentials);
    }

    UserScramCredentialAlteration set(String user, ScramMechanism mechanism, int iterations) {
        return new UserScramCredentialUpsertion(user, new ScramCredentialInfo(mechanism, iterations), "secret".getBytes(StandardCharsets.UTF_8), new byte[] {1});
    }

    UserScramCredentialAlteration delete(String user, ScramMechanism mechanism) {
        return new UserScramCredentialDeletion(user, mechanism);
    }

    Object alter(UserScramCredentialAlteration... changes) {
        return values(admin.alterUserScramCredentials(List.of(changes)).values());
    }

    /** By user; Kafka's order of mechanisms is that of a hash table, another in each run. */
    Object credentials() throws Exception {
        var all = new TreeMap<String, Object>();
        admin.describeUserScramCredentials().all().get().forEach((user, description) -> all.put(user,
            description.credentialInfos().stream().map(Object::toString).sorted().toList()));
        return all;
    }

    // ---- the quorum, this broker

    void quorum() {
        show("describeMetadataQuorum", () -> {
            var quorum = admin.describeMetadataQuorum().quorumInfo().get();
            return "leader=" + quorum.leaderId() + " voters=" + quorum.voters().stream().map(v -> v.replicaId() + " caught up=" + v.lastCaughtUpTimestamp().isPresent()).toList() + " observers=" + quorum.observers() + " nodes=" + quorum.nodes().keySet();
        });
        show("addRaftVoter", () -> admin.addRaftVoter(2, new Uuid(3, 4), Set.of(new RaftVoterEndpoint("CONTROLLER", "127.0.0.1", 1))).all());
        show("removeRaftVoter", () -> admin.removeRaftVoter(2, new Uuid(3, 4)).all());
        show("unregisterBroker unknown", () -> admin.unregisterBroker(77).all());
        show("updateFeatures kraft.version, validate only", () -> admin.updateFeatures(Map.of("kraft.version", new FeatureUpdate((short) 1, FeatureUpdate.UpgradeType.UPGRADE)), new UpdateFeaturesOptions().validateOnly(true)).all());
        show("unregisterBroker negative", () -> admin.unregisterBroker(-1).all());
    }

    void topicsEnd() throws Exception {
        Uuid id = admin.describeTopics(List.of("configured")).allTopicNames().get().get("configured").topicId();
        show("deleteTopics", () -> values(admin.deleteTopics(List.of("assigned", "absent", "")).topicNameValues()));
        show("deleteTopics by id", () -> values(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).topicIdValues()));
        show("deleteTopics by unknown id", () -> values(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(new Uuid(5, 6)))).topicIdValues()));
        until("topics are gone", () -> !admin.listTopics().names().get().contains("configured"));
        show("listTopics then", () -> admin.listTopics().names());
    }

    void telemetry() {
        show("clientInstanceId", () -> admin.clientInstanceId(Duration.ofSeconds(5)));
        try (Admin pushing = Admin.create(properties(Map.of("enable.metrics.push", "true")))) {
            show("clientInstanceId pushing", () -> pushing.clientInstanceId(Duration.ofSeconds(5)));
        }
    }

    static <K> Map<K, Object> values(Map<K, ? extends KafkaFuture<?>> futures) {
        Map<K, Object> all = new HashMap<>();
        futures.forEach((key, future) -> all.put(key, outcome(future)));
        return all;
    }

    static String failedOr(Throwable error) {
        return error == null ? "well" : failed(error);
    }

    static TopicPartition at(String topic, int partition) {
        return new TopicPartition(topic, partition);
    }
}
