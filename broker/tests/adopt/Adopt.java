import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.quota.*;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;

/**
 * What the adoption test says to a broker, whichever it is.
 *
 *   write BOOTSTRAP ROUND kafka|corelog   changes the cluster: topics, records, transactions, groups, settings; with Kafka also what only
 *                                         it serves yet
 *   dump BOOTSTRAP ROUNDS kafka|corelog   prints everything a client can see, one sorted line for each thing. Lines that begin with
 *                                         "kafka " are asked of Kafka alone.
 *   wait BOOTSTRAP                        until the broker answers
 */
public class Adopt {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    final String bootstrap;
    final boolean kafka;
    final Admin admin;

    Adopt(String bootstrap, boolean kafka) {
        this.bootstrap = bootstrap;
        this.kafka = kafka;
        admin = Admin.create(properties());
    }

    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "write" -> new Adopt(args[1], args[3].equals("kafka")).write(Integer.parseInt(args[2]));
            case "dump" -> new Adopt(args[1], args[3].equals("kafka")).dump(Integer.parseInt(args[2]), System.out);
            case "wait" -> new Adopt(args[1], false).await();
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.exit(0);
    }

    Properties properties() {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("request.timeout.ms", "20000");
        p.put("default.api.timeout.ms", "40000");
        return p;
    }

    void await() throws Exception {
        for (long end = System.currentTimeMillis() + 60_000; ; Thread.sleep(200)) {
            try {
                if (!admin.describeCluster(new DescribeClusterOptions().timeoutMs(2000)).nodes().get().isEmpty()) return;
            } catch (ExecutionException e) {
                if (System.currentTimeMillis() > end) throw e;
            }
        }
    }

    // ---- changing ------------------------------------------------------------------------------------------------

    void write(int round) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (String codec : CODECS) topics.add(new NewTopic(topic(round, codec), 3, (short) 1));
        topics.add(new NewTopic(topic(round, "doomed"), 2, (short) 1));
        topics.add(new NewTopic(topic(round, "big"), 1, (short) 1).configs(Map.of("segment.bytes", "1048576")));
        topics.add(new NewTopic(topic(round, "config"), 1, (short) 1).configs(
            Map.of("retention.ms", "-1", "cleanup.policy", "compact,delete", "min.compaction.lag.ms", "86400000", "max.message.bytes", "20000" + round)));
        admin.createTopics(topics).all().get();

        for (int earlier = 1; earlier <= round; earlier++)
            for (String codec : CODECS) produce(topic(earlier, codec), codec, round, 150);
        produce(topic(round, "doomed"), "lz4", round, 30);
        produce(topic(round, "config"), "none", round, 30);
        produceBig(topic(round, "big"), round);

        admin.deleteRecords(Map.of(new TopicPartition(topic(round, "gzip"), 0), RecordsToDelete.beforeOffset(10 + round))).all().get();
        alter(ConfigResource.Type.TOPIC, topic(round, "config"), "retention.bytes", "99999" + round);
        alter(ConfigResource.Type.BROKER, "", "log.retention.ms", "86400000" + round);
        alter(ConfigResource.Type.BROKER, "1", "message.max.bytes", "104857" + round);
        if (round > 1) {
            admin.deleteTopics(List.of(topic(round - 1, "doomed"))).all().get();
            alter(ConfigResource.Type.TOPIC, topic(round - 1, "config"), "retention.ms", null);
            admin.createPartitions(Map.of(topic(round - 1, "none"), NewPartitions.increaseTo(4))).all().get();
            produce(topic(round - 1, "none"), "none", round, 40);
        }
        group(round, "classic", Map.of("group.protocol", "classic"));
        group(round, "static", Map.of("group.protocol", "classic", "group.instance.id", "static-" + round, "session.timeout.ms", "600000"));
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (int p = 0; p < 3; p++) offsets.put(new TopicPartition(topic(round, "lz4"), p), new OffsetAndMetadata(5 + p, "note " + p));
        admin.alterConsumerGroupOffsets(group(round, "simple"), offsets).all().get();
        Set<String> features = admin.describeFeatures().featureMetadata().get().finalizedFeatures().keySet();
        if (features.contains("group.version")) {
            group(round, "consumer", Map.of("group.protocol", "consumer"));
            // It stays a member when it is closed: whoever comes next has a living group.
            group(round, "staying", Map.of("group.protocol", "consumer", "group.instance.id", "staying-" + round));
            alter(ConfigResource.Type.GROUP, group(round, "consumer"), "consumer.session.timeout.ms", "50000");
        }
        transactions(round);
        if (kafka) writeWithKafka(round, features);
    }

    void transactions(int round) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic(round, "txn"), 2, (short) 1))).all().get();
        Properties p = producer("lz4");
        p.put("transactional.id", "txn-" + round);
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(p)) {
            producer.initTransactions();
            for (int transaction = 0; transaction < 4; transaction++) {
                producer.beginTransaction();
                for (int i = 0; i < 20; i++)
                    producer.send(new ProducerRecord<>(topic(round, "txn"), i % 2, null, bytes("t" + transaction), bytes("v" + i)));
                producer.sendOffsetsToTransaction(
                    Map.of(new TopicPartition(topic(round, "txn"), 0), new OffsetAndMetadata(transaction)), new ConsumerGroupMetadata(group(round, "txn")));
                if (transaction % 2 == 0) producer.commitTransaction();
                else producer.abortTransaction();
            }
        }
    }

    /** What Kafka alone serves yet; a broker that takes over must keep it. */
    void writeWithKafka(int round, Set<String> features) throws Exception {
        if (features.contains("share.version")) shareGroup(round);
        ClientQuotaEntity user = new ClientQuotaEntity(Map.of("user", "quota-" + round, "client-id", "c"));
        admin.alterClientQuotas(List.of(new ClientQuotaAlteration(user, List.of(new ClientQuotaAlteration.Op("producer_byte_rate", 1000.0 + round))))).all().get();
        admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("scram-" + round,
            new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), "made up " + round))).all().get();
        admin.createAcls(List.of(new AclBinding(new ResourcePattern(ResourceType.TOPIC, "acl-" + round, PatternType.PREFIXED),
            new AccessControlEntry("User:someone", "*", AclOperation.READ, AclPermissionType.ALLOW)))).all().get();
        alter(ConfigResource.Type.CLIENT_METRICS, "metrics-" + round, "interval.ms", "60000");
    }

    void shareGroup(int round) throws Exception {
        alter(ConfigResource.Type.GROUP, group(round, "share"), "share.auto.offset.reset", "earliest");
        Properties s = properties();
        s.put("group.id", group(round, "share"));
        s.put("key.deserializer", ByteArrayDeserializer.class.getName());
        s.put("value.deserializer", ByteArrayDeserializer.class.getName());
        try (KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(s)) {
            consumer.subscribe(List.of(topic(round, "zstd")));
            int seen = 0;
            for (long end = System.currentTimeMillis() + 30_000; seen < 100 && System.currentTimeMillis() < end; ) seen += consumer.poll(Duration.ofMillis(300)).count();
            consumer.commitSync();
            if (seen < 100) throw new IllegalStateException("share group saw " + seen);
        }
    }

    void alter(ConfigResource.Type type, String name, String key, String value) throws Exception {
        AlterConfigOp op = new AlterConfigOp(new ConfigEntry(key, value), value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET);
        admin.incrementalAlterConfigs(Map.of(new ConfigResource(type, name), List.of(op))).all().get();
    }

    void produce(String topic, String codec, int round, int count) throws Exception {
        long now = System.currentTimeMillis();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(producer(codec))) {
            int partitions = producer.partitionsFor(topic).size();
            for (int i = 0; i < count; i++) {
                byte[] key = i % 7 == 0 ? null : bytes("key " + i % 20);
                byte[] value = key != null && i % 11 == 0 ? null : bytes(("value " + round + " " + i + " ").repeat(1 + i % 30));
                ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, i % partitions, now - 3_600_000L + i, key, value);
                if (topic.endsWith("-config")) record = new ProducerRecord<>(topic, 0, null, bytes("key " + i), value);
                if (i % 3 == 0) record.headers().add("round", bytes("" + round)).add("none", null);
                sent.add(producer.send(record));
                if (i % 40 == 39) producer.flush();
            }
        }
        for (Future<RecordMetadata> one : sent) one.get();
    }

    void produceBig(String topic, int round) throws Exception {
        Random random = new Random(round);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(producer("none"))) {
            for (int i = 0; i < 350; i++) {
                byte[] value = new byte[9000];
                random.nextBytes(value);
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null, null, value)));
            }
        }
        for (Future<RecordMetadata> one : sent) one.get();
    }

    /** A member joins, reads a topic, commits, and goes; a static one goes without leaving. */
    void group(int round, String kind, Map<String, String> more) throws Exception {
        Properties p = consumer("read_uncommitted");
        p.put("group.id", group(round, kind));
        p.put("auto.offset.reset", "earliest");
        p.put("max.poll.records", "100");
        p.putAll(more);
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(p)) {
            consumer.subscribe(List.of(topic(round, "snappy")));
            int seen = 0;
            for (long end = System.currentTimeMillis() + 30_000; seen < 100 && System.currentTimeMillis() < end; ) {
                seen += consumer.poll(Duration.ofMillis(300)).count();
                consumer.commitSync();
            }
            if (seen < 100) throw new IllegalStateException("group " + kind + " saw " + seen);
        }
    }

    // ---- looking -------------------------------------------------------------------------------------------------

    void dump(int rounds, PrintStream out) throws Exception {
        Set<String> lines = new TreeSet<>();
        lines.add("cluster " + admin.describeCluster().clusterId().get());
        Map<String, TopicDescription> topics = admin.describeTopics(admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get()).allTopicNames().get();
        List<TopicPartition> partitions = new ArrayList<>();
        List<ConfigResource> resources = new ArrayList<>(List.of(new ConfigResource(ConfigResource.Type.BROKER, ""), new ConfigResource(ConfigResource.Type.BROKER, "1")));
        for (TopicDescription topic : topics.values()) {
            lines.add("topic " + topic.name() + " " + topic.topicId() + " internal=" + topic.isInternal());
            resources.add(new ConfigResource(ConfigResource.Type.TOPIC, topic.name()));
            topic.partitions().forEach(p -> {
                partitions.add(new TopicPartition(topic.name(), p.partition()));
                lines.add("partition " + topic.name() + "-" + p.partition() + " leader=" + p.leader().id() + " replicas=" + p.replicas().size() + " isr=" + p.isr().size());
            });
        }
        configs(resources, "", lines);
        records(partitions, "read_uncommitted", lines);
        records(partitions, "read_committed", lines);
        for (int round = 1; round <= rounds; round++)
            for (String kind : List.of("classic", "static", "simple", "consumer", "staying", "txn")) {
                String group = group(round, kind);
                Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
                offsets.forEach((p, o) -> lines.add("offset " + group + " " + p + " " + o.offset() + " '" + o.metadata() + "' " + o.leaderEpoch()));
            }
        for (GroupListing group : admin.listGroups().all().get())
            if (!group.type().equals(Optional.of(GroupType.SHARE))) lines.add("group " + group.groupId() + " " + group.type() + " " + group.protocol());
        List<String> staying = new ArrayList<>();
        for (GroupListing group : admin.listGroups().all().get()) if (group.groupId().endsWith("-staying")) staying.add(group.groupId());
        admin.describeConsumerGroups(staying).all().get().forEach((id, group) -> {
            lines.add("members " + id + " " + group.type() + " " + group.partitionAssignor() + " epoch=" + group.groupEpoch() + " target=" + group.targetAssignmentEpoch());
            for (MemberDescription one : group.members())
                lines.add("members " + id + " " + one.groupInstanceId() + " " + one.consumerId() + " " + new TreeSet<>(one.assignment().topicPartitions().stream().map(Object::toString).toList()));
        });
        admin.describeProducers(partitions).all().get().forEach((p, state) -> {
            for (ProducerState one : state.activeProducers())
                lines.add("producer " + p + " id=" + one.producerId() + " epoch=" + one.producerEpoch() + " sequence=" + one.lastSequence()
                    + " time=" + one.lastTimestamp() + " transaction=" + one.currentTransactionStartOffset());
        });
        List<String> ids = new ArrayList<>();
        for (TransactionListing one : admin.listTransactions().all().get()) ids.add(one.transactionalId());
        admin.describeTransactions(ids).all().get().forEach((id, t) -> lines.add("transaction " + id + " " + t.producerId() + " " + t.producerEpoch() + " " + t.state() + " " + t.topicPartitions()));
        if (kafka) dumpWithKafka(rounds, lines);
        lines.forEach(out::println);
    }

    void dumpWithKafka(int rounds, Set<String> lines) throws Exception {
        List<ConfigResource> resources = new ArrayList<>();
        for (ConfigResource one : admin.listConfigResources(Set.of(ConfigResource.Type.GROUP, ConfigResource.Type.CLIENT_METRICS), new ListConfigResourcesOptions()).all().get()) resources.add(one);
        configs(resources, "kafka ", lines);
        for (GroupListing group : admin.listGroups().all().get()) lines.add("kafka group " + group.groupId() + " " + group.type() + " " + group.protocol());
        admin.describeClientQuotas(ClientQuotaFilter.all()).entities().get().forEach((e, q) -> lines.add("kafka quota " + new TreeMap<>(e.entries()) + " " + q));
        admin.describeUserScramCredentials().all().get().forEach((u, d) -> lines.add("kafka scram " + u + " " + d.credentialInfos()));
        for (AclBinding acl : admin.describeAcls(AclBindingFilter.ANY).values().get()) lines.add("kafka acl " + acl);
        admin.describeFeatures().featureMetadata().get().finalizedFeatures().forEach((f, r) -> lines.add("kafka feature " + f + " " + r));
        for (int round = 1; round <= rounds; round++) {
            String group = group(round, "share");
            try {
                admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(group).get()
                    .forEach((p, o) -> lines.add("kafka share " + group + " " + p + " " + (o == null ? null : o.startOffset())));
            } catch (ExecutionException e) {
                lines.add("kafka share " + group + " none");
            }
        }
    }

    void configs(Collection<ConfigResource> resources, String before, Set<String> lines) throws Exception {
        Set<ConfigEntry.ConfigSource> own = new HashSet<>(List.of(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG,
            ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_GROUP_CONFIG, ConfigEntry.ConfigSource.DYNAMIC_CLIENT_METRICS_CONFIG));
        admin.describeConfigs(resources).all().get().forEach((resource, config) -> config.entries().stream().filter(e -> own.contains(e.source()))
            .forEach(e -> lines.add(before + "config " + resource.type() + " " + resource.name() + " " + e.name() + "=" + e.value() + " " + e.source())));
    }

    /** Every record of every partition but those a broker writes of its own accord. */
    void records(List<TopicPartition> partitions, String isolation, Set<String> lines) throws Exception {
        List<TopicPartition> chosen = new ArrayList<>(partitions);
        chosen.removeIf(p -> p.topic().startsWith("__"));
        Properties properties = consumer(isolation);
        properties.put("max.poll.records", "5000");
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            consumer.assign(chosen);
            consumer.seekToBeginning(chosen);
            Map<TopicPartition, Long> begin = consumer.beginningOffsets(chosen);
            Map<TopicPartition, Long> end = consumer.endOffsets(chosen);
            chosen.forEach(p -> lines.add("range " + isolation + " " + p + " " + begin.get(p) + ".." + end.get(p)));
            Set<TopicPartition> open = new HashSet<>(chosen);
            for (long until = System.currentTimeMillis() + 60_000; ; ) {
                open.removeIf(p -> consumer.position(p) >= end.get(p));
                if (open.isEmpty()) return;
                if (System.currentTimeMillis() > until) throw new IllegalStateException("not read to their ends: " + open);
                for (ConsumerRecord<byte[], byte[]> r : consumer.poll(Duration.ofMillis(200))) {
                    StringBuilder headers = new StringBuilder();
                    r.headers().forEach(h -> headers.append(' ').append(h.key()).append('=').append(digest(h.value())));
                    lines.add("record " + isolation + " " + r.topic() + "-" + r.partition() + " " + r.offset() + " " + r.timestampType() + " " + r.timestamp() + " " + digest(r.key())
                        + " " + digest(r.value()) + headers + " epoch=" + r.leaderEpoch());
                }
            }
        }
    }

    // ---- names and settings --------------------------------------------------------------------------------------

    static String topic(int round, String kind) { return "r" + round + "-" + kind; }

    static String group(int round, String kind) { return "g" + round + "-" + kind; }

    static byte[] bytes(String text) { return text.getBytes(StandardCharsets.UTF_8); }

    static String digest(byte[] bytes) {
        if (bytes == null) return "null";
        try {
            byte[] sum = MessageDigest.getInstance("SHA-256").digest(bytes);
            StringBuilder out = new StringBuilder();
            for (int i = 0; i < 6; i++) out.append(String.format("%02x", sum[i]));
            return out.toString();
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    Properties producer(String codec) {
        Properties p = properties();
        p.put("key.serializer", ByteArraySerializer.class.getName());
        p.put("value.serializer", ByteArraySerializer.class.getName());
        p.put("compression.type", codec);
        p.put("acks", "all");
        p.put("linger.ms", "20");
        p.put("max.in.flight.requests.per.connection", "1");
        return p;
    }

    Properties consumer(String isolation) {
        Properties p = properties();
        p.put("key.deserializer", ByteArrayDeserializer.class.getName());
        p.put("value.deserializer", ByteArrayDeserializer.class.getName());
        p.put("enable.auto.commit", "false");
        p.put("isolation.level", isolation);
        return p;
    }
}
