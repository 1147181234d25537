// Workload BOOTSTRAP SEED: writes compacted topics, the same for the same seed but for what the broker decides itself.
//
// Topics: one per codec, and one per codec with transactions of two producers that commit, abort and interleave. Keys come
// from a small set, a fifth of the values are null, some values are large, some batches have many records, some records
// headers. What is produced last rolls the active segment.

import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.StringSerializer;

public class Workload {
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};

    public static void main(String[] args) throws Exception {
        String bootstrap = args[0];
        Random random = new Random(Long.parseLong(args[1]));
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            List<NewTopic> topics = new ArrayList<>();
            for (String codec : CODECS) {
                for (String kind : List.of("kept", "spent")) {
                    Map<String, String> configs = new HashMap<>(Map.of(
                        "cleanup.policy", "compact",
                        "internal.segment.bytes", String.valueOf(8000 + random.nextInt(30000)),
                        "min.cleanable.dirty.ratio", "0.0",
                        "index.interval.bytes", String.valueOf(100 + random.nextInt(5000)),
                        "delete.retention.ms", kind.equals("kept") ? "86400000" : "1"));
                    topics.add(new NewTopic("plain-" + kind + "-" + codec, 1, (short) 1).configs(configs));
                    topics.add(new NewTopic("txn-" + kind + "-" + codec, 1, (short) 1).configs(configs));
                }
            }
            admin.createTopics(topics).all().get();
        }
        for (String codec : CODECS) {
            for (String kind : List.of("kept", "spent")) {
                plain(bootstrap, "plain-" + kind + "-" + codec, codec, random);
                transactions(bootstrap, "txn-" + kind + "-" + codec, codec, random);
            }
        }
    }

    static KafkaProducer<String, String> producer(String bootstrap, String codec, Random random, String id) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("compression.type", codec);
        properties.put("linger.ms", 20);
        properties.put("batch.size", 200 + random.nextInt(8000));
        properties.put("enable.idempotence", id != null || random.nextBoolean());
        if (id != null) properties.put("transactional.id", id);
        return new KafkaProducer<>(properties, new StringSerializer(), new StringSerializer());
    }

    static ProducerRecord<String, String> record(String topic, Random random, int keys) {
        String key = "key-" + random.nextInt(keys);
        int size = random.nextInt(20) == 0 ? random.nextInt(3000) : random.nextInt(120);
        StringBuilder value = new StringBuilder();
        while (value.length() < size) value.append(Integer.toString(random.nextInt(1 << 30), 36));
        boolean tombstone = random.nextInt(5) == 0;
        var record = new ProducerRecord<String, String>(topic, 0, key, tombstone ? null : value.toString());
        if (random.nextInt(10) == 0) record.headers().add(new RecordHeader("h", new byte[] {1, 2}));
        return record;
    }

    static void plain(String bootstrap, String topic, String codec, Random random) throws Exception {
        int keys = 5 + random.nextInt(200);
        for (int part = 0; part < 3; part++) {
            try (var producer = producer(bootstrap, codec, random, null)) {
                for (int i = 0; i < 700; i++) {
                    producer.send(record(topic, random, keys));
                    if (random.nextInt(60) == 0) producer.flush();
                }
            }
        }
        fill(bootstrap, topic, random);
    }

    static void transactions(String bootstrap, String topic, String codec, Random random) throws Exception {
        int keys = 5 + random.nextInt(60);
        try (var one = producer(bootstrap, codec, random, topic + "-one");
                var two = producer(bootstrap, codec, random, topic + "-two");
                var free = producer(bootstrap, codec, random, null)) {
            var producers = List.of(one, two);
            for (var producer : producers) producer.initTransactions();
            boolean[] open = new boolean[2];
            for (int i = 0; i < 160; i++) {
                int who = random.nextInt(2);
                var producer = producers.get(who);
                if (!open[who]) {
                    producer.beginTransaction();
                    open[who] = true;
                }
                int count = random.nextInt(6);
                for (int n = 0; n < count; n++) producer.send(record(topic, random, keys));
                if (random.nextInt(3) > 0) producer.flush();
                if (random.nextInt(4) == 0) {
                    free.send(record(topic, random, keys));
                    free.flush();
                }
                if (random.nextInt(3) == 0) {
                    if (random.nextBoolean()) producer.commitTransaction();
                    else producer.abortTransaction();
                    open[who] = false;
                }
            }
            for (int who = 0; who < 2; who++) if (open[who]) producers.get(who).abortTransaction();
        }
        fill(bootstrap, topic, random);
    }

    /** Enough that the segments before are sealed. */
    static void fill(String bootstrap, String topic, Random random) throws Exception {
        try (var producer = producer(bootstrap, "none", random, null)) {
            for (int i = 0; i < 40; i++) {
                producer.send(new ProducerRecord<>(topic, 0, "filler-" + (i % 3), "f".repeat(1000)));
                if (i % 2 == 0) producer.flush();
            }
        }
    }
}
