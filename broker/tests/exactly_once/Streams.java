import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.*;

/** A small application of Kafka Streams: a table joined, two streams joined in a window, sums over windows. See README.md. */
public final class Streams {
    static final int PARTITIONS = 4, KEYS = 40;
    static final long JOINED_MS = 5_000, WINDOW_MS = 10_000;

    public static void main(String[] a) throws Exception {
        switch (a[0]) {
            case "create" -> create(a[1]);
            case "feed" -> feed(a[1], Integer.parseInt(a[2]), Integer.parseInt(a[3]));
            case "member" -> member(a[1], a[2], a[3]);
            case "settled" -> settled(a[1], a[2], Integer.parseInt(a[3]));
            case "check" -> check(a[1], Long.parseLong(a[2]), Long.parseLong(a[3]), Integer.parseInt(a[4]));
            default -> throw new IllegalArgumentException(a[0]);
        }
    }

    static void create(String bootstrap) throws Exception {
        try (Admin admin = Admin.create(Pipeline.properties(bootstrap))) {
            var topics = new ArrayList<NewTopic>();
            for (String name : List.of("people", "orders", "payments", "named", "paid", "sums")) topics.add(new NewTopic(name, PARTITIONS, (short) 1));
            admin.createTopics(topics).all().get();
        }
    }

    // What is fed, as functions of its number: so the whole output can be computed.
    static String key(long n) { return "k" + (n * 7919 + n / 3) % KEYS; }
    static String payer(long n) { return "k" + (n * 104729 + n / 5) % KEYS; }
    static long orderMs(long base, int rate, long n) { return base + n * 1000 / rate + (n * 7907) % 1500; }
    static long paymentMs(long base, int rate, long n) { return base + n * 1000 / rate + (n * 6997) % 2500; }
    static long amount(long n) { return n % 97; }

    /** People first, then orders and payments, `rate` a second of each. Prints how many, and when they began. */
    static void feed(String bootstrap, int rate, int seconds) throws Exception {
        Properties p = Pipeline.properties(bootstrap);
        p.put("enable.idempotence", "true");
        p.put("delivery.timeout.ms", "2147483647");
        p.put("max.block.ms", "2147483647");
        p.put("linger.ms", "5");
        var failure = new AtomicReference<Exception>();
        Callback sent = (where, error) -> { if (error != null) failure.compareAndSet(null, error); };
        long base = System.currentTimeMillis(), count = 0;
        try (var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            for (int k = 0; k < KEYS; k++) producer.send(new ProducerRecord<>("people", null, base - 60_000, "k" + k, "name" + k), sent);
            producer.flush();
            while (System.currentTimeMillis() - base < seconds * 1_000L) {
                producer.send(new ProducerRecord<>("orders", null, orderMs(base, rate, count), key(count), count + " " + amount(count)), sent);
                producer.send(new ProducerRecord<>("payments", null, paymentMs(base, rate, count), payer(count), Long.toString(count)), sent);
                count++;
                long ahead = count * 1_000 / rate - (System.currentTimeMillis() - base);
                if (ahead > 0) Thread.sleep(ahead);
            }
        }
        if (failure.get() != null) throw failure.get();
        System.out.println(count + " " + base + " " + rate);
    }

    static Topology topology() {
        var builder = new StreamsBuilder();
        var strings = Consumed.with(Serdes.String(), Serdes.String());
        var texts = Produced.with(Serdes.String(), Serdes.String());
        KTable<String, String> people = builder.table("people", strings);
        KStream<String, String> orders = builder.stream("orders", strings);
        KStream<String, String> payments = builder.stream("payments", strings);
        orders.leftJoin(people, (order, name) -> order + " " + name).to("named", texts);
        var joined = StreamJoined.with(Serdes.String(), Serdes.String(), Serdes.String());
        var near = JoinWindows.ofTimeDifferenceAndGrace(Duration.ofMillis(JOINED_MS), Duration.ofHours(24));
        orders.join(payments, (order, payment) -> order.split(" ")[0] + " " + payment, near, joined).to("paid", texts);
        orders.groupByKey().windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofMillis(WINDOW_MS), Duration.ofHours(24)))
            .aggregate(() -> "0 0", (key, order, sum) -> {
                String[] so = sum.split(" ");
                return (Long.parseLong(so[0]) + 1) + " " + (Long.parseLong(so[1]) + Long.parseLong(order.split(" ")[1]));
            }, Materialized.with(Serdes.String(), Serdes.String()))
            .toStream((window, sum) -> window.key() + "@" + window.window().start()).to("sums", texts);
        return builder.build();
    }

    /** One instance, until SIGTERM. */
    static void member(String bootstrap, String application, String state) throws Exception {
        Properties p = Pipeline.properties(bootstrap);
        p.put("application.id", application);
        p.put("processing.guarantee", "exactly_once_v2");
        p.put("state.dir", state);
        p.put("num.stream.threads", "2");
        p.put("replication.factor", "1");
        p.put("commit.interval.ms", "200");
        // Every update is to be seen in the output.
        p.put("statestore.cache.max.bytes", "0");
        p.put("consumer.session.timeout.ms", "6000");
        p.put("consumer.heartbeat.interval.ms", "1000");
        p.put("consumer.auto.offset.reset", "earliest");
        p.put("producer.transaction.timeout.ms", "15000");
        // The table is there before it is joined.
        p.put("max.task.idle.ms", "2000");
        var streams = new KafkaStreams(topology(), p);
        streams.setUncaughtExceptionHandler(error -> {
            Pipeline.say("thread replaced: " + Pipeline.reason(error));
            return StreamThreadExceptionResponse.REPLACE_THREAD;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            // One that cannot come to an end in time, because the broker is away again, goes like one that is killed.
            if (!streams.close(Duration.ofSeconds(60))) Pipeline.say("again close: not in time");
            Pipeline.say("left");
        }));
        streams.start();
        Pipeline.say("committed by Streams");
        Thread.sleep(Long.MAX_VALUE);
    }

    static void settled(String bootstrap, String application, int seconds) throws Exception {
        for (String in : List.of("people", "orders", "payments"))
            for (String out : List.of("named", "paid", "sums")) Pipeline.settled(bootstrap, application, in, out, PARTITIONS, seconds);
    }

    /** The whole output, line by line, against the computed one. */
    static void check(String bootstrap, long count, long base, int rate) {
        var named = new ArrayList<String>();
        var paid = new ArrayList<String>();
        var sums = new ArrayList<String>();
        var payments = new HashMap<String, List<Long>>();
        for (long n = 0; n < count; n++) payments.computeIfAbsent(payer(n), k -> new ArrayList<>()).add(n);
        var windows = new TreeMap<String, long[]>();
        for (long n = 0; n < count; n++) {
            String key = key(n);
            long at = orderMs(base, rate, n);
            named.add(key + "\t" + n + " " + amount(n) + " name" + key.substring(1));
            for (long m : payments.getOrDefault(key, List.of()))
                if (Math.abs(paymentMs(base, rate, m) - at) <= JOINED_MS) paid.add(key + "\t" + n + " " + m);
            // The orders of a key lie in one partition, in the order of their numbers.
            long[] sum = windows.computeIfAbsent(key + "@" + at / WINDOW_MS * WINDOW_MS, w -> new long[2]);
            sum[0]++;
            sum[1] += amount(n);
            sums.add(key + "@" + at / WINDOW_MS * WINDOW_MS + "\t" + sum[0] + " " + sum[1]);
        }
        boolean same = compare(bootstrap, "named", named) & compare(bootstrap, "paid", paid) & compare(bootstrap, "sums", sums);
        if (!same) System.exit(1);
    }

    static boolean compare(String bootstrap, String topic, List<String> expected) {
        Properties c = Pipeline.properties(bootstrap);
        c.put("isolation.level", "read_committed");
        var found = new ArrayList<String>();
        try (var consumer = new KafkaConsumer<>(c, new StringDeserializer(), new StringDeserializer())) {
            var all = new ArrayList<TopicPartition>();
            for (int i = 0; i < PARTITIONS; i++) all.add(new TopicPartition(topic, i));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            var ends = consumer.endOffsets(all);
            while (all.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition)))
                for (var r : consumer.poll(Duration.ofMillis(200))) found.add(r.key() + "\t" + r.value());
        }
        int count = found.size();
        Collections.sort(expected);
        Collections.sort(found);
        int missing = 0, surplus = 0, i = 0, j = 0;
        var examples = new ArrayList<String>();
        while (i < expected.size() || j < found.size()) {
            int order = i == expected.size() ? 1 : j == found.size() ? -1 : expected.get(i).compareTo(found.get(j));
            if (order == 0) { i++; j++; continue; }
            String example = order < 0 ? "missing " + expected.get(i++) : "surplus " + found.get(j++);
            if (order < 0) missing++; else surplus++;
            if (examples.size() < 10) examples.add(example);
        }
        System.out.println(topic + ": " + count + " records, " + missing + " missing, " + surplus + " too many " + (examples.isEmpty() ? "" : examples));
        return missing + surplus == 0;
    }
}
