import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** One process of the pipeline, or one look at it; the verbs are those of pipeline.py. See README.md. */
public final class Pipeline {
    public static void main(String[] a) throws Exception {
        switch (a[0]) {
            case "create" -> create(a[1], a[2], Integer.parseInt(a[3]));
            case "feed" -> feed(a[1], a[2], Integer.parseInt(a[3]), Integer.parseInt(a[4]), Integer.parseInt(a[5]));
            case "member" -> member(a[1], a[2], a[3], a[4], a[5], a[6], Integer.parseInt(a[7]));
            case "settled" -> settled(a[1], a[2], a[3], a[4], Integer.parseInt(a[5]), Integer.parseInt(a[6]));
            case "dump" -> dump(a[1], a[2], Integer.parseInt(a[3]), a[4]);
            default -> throw new IllegalArgumentException(a[0]);
        }
    }

    /** Makes a topic, and waits for a broker before. */
    static void create(String bootstrap, String topic, int partitions) throws Exception {
        try (Admin admin = admin(bootstrap)) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get();
        }
    }

    /** Writes 0, 1, 2, …: number n to partition n modulo partitions. Prints how many. */
    static void feed(String bootstrap, String topic, int partitions, int rate, int seconds) throws Exception {
        Properties p = properties(bootstrap);
        p.put("enable.idempotence", "true");
        p.put("delivery.timeout.ms", "2147483647");
        p.put("max.block.ms", "2147483647");
        p.put("linger.ms", "5");
        p.put("compression.type", "lz4");
        long count = 0, begin = System.nanoTime();
        var failure = new AtomicReference<Exception>();
        try (var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            while (System.nanoTime() - begin < seconds * 1_000_000_000L) {
                String text = Long.toString(count);
                producer.send(new ProducerRecord<>(topic, (int) (count % partitions), text, text), (sent, error) -> {
                    if (error != null) failure.compareAndSet(null, error);
                });
                count++;
                long ahead = count * 1_000 / rate - (System.nanoTime() - begin) / 1_000_000;
                if (ahead > 0) Thread.sleep(ahead);
            }
        }
        if (failure.get() != null) throw failure.get();
        System.out.println(count);
    }

    static volatile boolean stopping;

    /** Consumes, transforms and produces in transactions until SIGTERM. */
    static void member(String bootstrap, String group, String in, String out, String protocol, String transactionalId, int timeoutMs) throws Exception {
        Properties c = properties(bootstrap);
        c.put("group.id", group);
        c.put("isolation.level", "read_committed");
        c.put("enable.auto.commit", "false");
        c.put("auto.offset.reset", "earliest");
        c.put("max.poll.records", "200");
        switch (protocol) {
            case "consumer" -> c.put("group.protocol", "consumer");
            case "eager" -> c.put("partition.assignment.strategy", RangeAssignor.class.getName());
            case "cooperative" -> c.put("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
            default -> throw new IllegalArgumentException(protocol);
        }
        if (!protocol.equals("consumer")) {
            c.put("session.timeout.ms", "6000");
            c.put("heartbeat.interval.ms", "1000");
        }
        Properties p = properties(bootstrap);
        p.put("transactional.id", transactionalId);
        p.put("transaction.timeout.ms", Integer.toString(timeoutMs));
        p.put("delivery.timeout.ms", "60000");
        p.put("request.timeout.ms", "15000");
        p.put("max.block.ms", "30000");
        p.put("linger.ms", "2");
        var random = new Random();
        var main = Thread.currentThread();
        // Not closed by `try`: what fails is not to be tidied up, it is to be like a crash.
        var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer());
        var consumer = new KafkaConsumer<>(c, new StringDeserializer(), new StringDeserializer());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            consumer.wakeup();
            try { main.join(); } catch (InterruptedException e) { }
        }));
        try {
            again("init", producer::initTransactions);
            consumer.subscribe(List.of(in));
            while (!stopping) {
                ConsumerRecords<String, String> records;
                try {
                    records = consumer.poll(Duration.ofMillis(200));
                } catch (WakeupException e) {
                    break;
                }
                if (records.isEmpty()) continue;
                try {
                    producer.beginTransaction();
                    var offsets = new HashMap<TopicPartition, OffsetAndMetadata>();
                    for (var r : records) {
                        producer.send(new ProducerRecord<>(out, r.partition(), r.key(), r.partition() + " " + r.offset() + " " + r.value()));
                        offsets.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
                    }
                    if (random.nextInt(15) == 0) {
                        producer.flush();
                        throw new Deliberate();
                    }
                    again("offsets", () -> producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata()));
                    again("commit", producer::commitTransaction);
                    say("committed " + records.count());
                } catch (ProducerFencedException | OutOfOrderSequenceException | AuthorizationException | UnsupportedVersionException e) {
                    throw e;
                } catch (Deliberate | KafkaException e) {
                    if (e instanceof Deliberate) say("aborts deliberately");
                    else say("aborts " + reason(e));
                    again("abort", producer::abortTransaction);
                    rewind(consumer);
                }
            }
        } catch (WakeupException e) {
            // Asked to stop in the middle of something: the transaction is left to its timeout.
        } catch (RuntimeException e) {
            say("fatal " + reason(e));
            System.out.flush();
            Runtime.getRuntime().halt(3);
        }
        consumer.close(CloseOptions.timeout(Duration.ofSeconds(10)));
        producer.close(Duration.ofSeconds(10));
        say("left");
    }

    static final class Deliberate extends RuntimeException { }

    /** What timed out may be asked again: the broker is away for some seconds. */
    static void again(String what, Runnable run) {
        for (;;) {
            try {
                run.run();
                return;
            } catch (org.apache.kafka.common.errors.TimeoutException e) {
                say("again " + what + ": " + e.getMessage());
            }
        }
    }

    /** Back to what is committed. */
    static void rewind(KafkaConsumer<String, String> consumer) {
        again("rewind", () -> {
            var committed = consumer.committed(consumer.assignment());
            for (var partition : consumer.assignment()) {
                var offset = committed.get(partition);
                if (offset == null) consumer.seekToBeginning(List.of(partition));
                else consumer.seek(partition, offset.offset());
            }
        });
    }

    static String reason(Throwable e) {
        return e.getClass().getSimpleName() + ": " + e.getMessage() + (e.getCause() == null ? "" : " / " + reason(e.getCause()));
    }

    static synchronized void say(String text) {
        System.out.println(System.currentTimeMillis() + " " + text);
        System.out.flush();
    }

    /** Waits until the group has committed every input and no transaction is open in the output. */
    static void settled(String bootstrap, String group, String in, String out, int partitions, int seconds) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        try (Admin admin = admin(bootstrap)) {
            for (;;) {
                var behind = new ArrayList<String>();
                try {
                    var committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
                    var inputs = ends(admin, in, partitions, IsolationLevel.READ_UNCOMMITTED);
                    inputs.forEach((partition, offset) -> {
                        var at = committed.get(partition);
                        if (offset > 0 && (at == null || at.offset() != offset)) behind.add(partition + " is read to " + (at == null ? "nothing" : at.offset()) + " of " + offset);
                    });
                    var stable = ends(admin, out, partitions, IsolationLevel.READ_COMMITTED);
                    ends(admin, out, partitions, IsolationLevel.READ_UNCOMMITTED).forEach((partition, offset) -> {
                        if (!stable.get(partition).equals(offset)) behind.add(partition + " is stable to " + stable.get(partition) + " of " + offset);
                    });
                } catch (ExecutionException e) {
                    behind.add(reason(e.getCause()));
                }
                if (behind.isEmpty()) return;
                if (System.nanoTime() > end) {
                    System.err.println(behind);
                    System.exit(1);
                }
                Thread.sleep(500);
            }
        }
    }

    static Map<TopicPartition, Long> ends(Admin admin, String topic, int partitions, IsolationLevel level) throws Exception {
        var wanted = new HashMap<TopicPartition, OffsetSpec>();
        for (int i = 0; i < partitions; i++) wanted.put(new TopicPartition(topic, i), OffsetSpec.latest());
        var ends = new TreeMap<TopicPartition, Long>(Comparator.comparing(TopicPartition::partition));
        admin.listOffsets(wanted, new ListOffsetsOptions(level)).all().get().forEach((partition, found) -> ends.put(partition, found.offset()));
        return ends;
    }

    /** Every record: partition, offset, value. */
    static void dump(String bootstrap, String topic, int partitions, String isolation) {
        Properties c = properties(bootstrap);
        c.put("isolation.level", isolation);
        var text = new StringBuilder();
        try (var consumer = new KafkaConsumer<>(c, new StringDeserializer(), new StringDeserializer())) {
            var all = new ArrayList<TopicPartition>();
            for (int i = 0; i < partitions; i++) all.add(new TopicPartition(topic, i));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            var ends = consumer.endOffsets(all);
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition)))
                for (var r : consumer.poll(Duration.ofMillis(200)))
                    text.append(r.partition()).append('\t').append(r.offset()).append('\t').append(r.value()).append('\n');
        }
        System.out.print(text);
    }

    static Admin admin(String bootstrap) {
        Properties p = properties(bootstrap);
        p.put("default.api.timeout.ms", "60000");
        return Admin.create(p);
    }

    static Properties properties(String bootstrap) {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        p.put("reconnect.backoff.max.ms", "500");
        return p;
    }
}
