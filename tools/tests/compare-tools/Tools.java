import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.utils.Exit;

/**
 * Kafka's tools in one JVM, so that a run of hundreds of commands does not start one for each.
 *
 * Reads a line for each thing to do: a number, a verb and Base64 fields, all separated by blanks; prints a line when it is
 * done: the number, the exit code, Base64 of what it printed to standard output and to standard error.
 *   tool CLASS SECONDS INPUT ARGUMENT…   runs a tool; after SECONDS it is told to end, as by SIGTERM
 *   member NAME SERVER GROUP PROTOCOL CLIENT TOPIC INSTANCE   joins a group, stays in it
 *   transaction NAME SERVER ID TOPIC     begins a transaction with one record in partition 0, leaves it open
 *   stop NAME                            ends a member or aborts a transaction
 *
 * What a tool prints is told apart by thread: a tool's threads inherit where they print to.
 */
@SuppressWarnings("removal") // The parser of some tools ends the process itself, which only a security manager can stop.
public class Tools {
    /** One run of a tool. */
    static final class Run {
        final ByteArrayOutputStream out = new ByteArrayOutputStream();
        final ByteArrayOutputStream err = new ByteArrayOutputStream();
        final InputStream in;
        final List<Runnable> hooks = new ArrayList<>();
        final CountDownLatch ended = new CountDownLatch(1);
        volatile int code;

        Run(byte[] input) {
            in = new ByteArrayInputStream(input);
        }

        synchronized void end(int code) {
            if (ended.getCount() > 0) {
                this.code = code;
                ended.countDown();
            }
        }
    }

    private static final InputStream STANDARD_INPUT = System.in;
    private static final InheritableThreadLocal<Run> RUN = new InheritableThreadLocal<>();
    private static final Map<String, AutoCloseable> KEPT = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = System.out;
        PrintStream errors = System.err;
        System.setOut(switched(run -> run.out, errors));
        System.setErr(switched(run -> run.err, errors));
        System.setIn(new InputStream() {
            @Override public int read() throws IOException {
                return RUN.get().in.read();
            }
            @Override public int read(byte[] bytes, int from, int count) throws IOException {
                return RUN.get().in.read(bytes, from, count);
            }
            @Override public int available() throws IOException {
                return RUN.get().in.available();
            }
        });
        System.setSecurityManager(new SecurityManager() {
            @Override public void checkPermission(java.security.Permission permission) { }
            @Override public void checkPermission(java.security.Permission permission, Object context) { }
            @Override public void checkExit(int code) {
                if (RUN.get() != null) {
                    exit(code, "");
                }
            }
        });
        Exit.setExitProcedure(Tools::exit);
        Exit.setHaltProcedure(Tools::exit);
        Exit.setShutdownHookAdder((name, hook) -> {
            Run run = RUN.get();
            synchronized (run.hooks) {
                run.hooks.add(hook);
            }
        });
        BufferedReader lines = new BufferedReader(new InputStreamReader(STANDARD_INPUT));
        for (String line; (line = lines.readLine()) != null;) {
            String[] words = line.split(" ", -1);
            List<String> fields = new ArrayList<>();
            for (int at = 2; at < words.length; at++) {
                fields.add(text(words[at]));
            }
            new Thread(() -> {
                Run run = new Run(words[1].equals("tool") ? Base64.getDecoder().decode(words[4]) : new byte[0]);
                RUN.set(run);
                try {
                    perform(words[1], fields, run);
                } catch (Throwable failure) {
                    failure.printStackTrace();
                    run.end(99);
                }
                Base64.Encoder base64 = Base64.getEncoder();
                String answer = words[0] + " " + run.code + " " + base64.encodeToString(run.out.toByteArray()) + " "
                    + base64.encodeToString(run.err.toByteArray());
                synchronized (answers) {
                    answers.println(answer);
                    answers.flush();
                }
            }).start();
        }
        System.exit(0);
    }

    private static String text(String base64) {
        return new String(Base64.getDecoder().decode(base64), java.nio.charset.StandardCharsets.UTF_8);
    }

    private interface Side {
        OutputStream of(Run run);
    }

    private static PrintStream switched(Side side, PrintStream otherwise) {
        return new PrintStream(new OutputStream() {
            private OutputStream target() {
                Run run = RUN.get();
                return run == null ? otherwise : side.of(run);
            }
            @Override public void write(int letter) throws IOException {
                target().write(letter);
            }
            @Override public void write(byte[] bytes, int from, int count) throws IOException {
                target().write(bytes, from, count);
            }
        }, true);
    }

    /** The process would end here: nothing that follows may happen. */
    private static void exit(int code, String message) {
        RUN.get().end(code);
        while (true) {
            LockSupport.park();
        }
    }

    private static void perform(String verb, List<String> fields, Run run) throws Exception {
        switch (verb) {
            case "tool" -> tool(fields.get(0), Integer.parseInt(fields.get(1)), fields.subList(3, fields.size()), run);
            case "member" -> KEPT.put(fields.get(0), member(fields));
            case "transaction" -> KEPT.put(fields.get(0), transaction(fields));
            case "stop" -> KEPT.remove(fields.get(0)).close();
            default -> throw new IllegalArgumentException(verb);
        }
    }

    private static void tool(String name, int seconds, List<String> arguments, Run run) throws Exception {
        // What counts in static fields counts for one process.
        Class<?> tool = Class.forName(name);
        for (Field field : tool.getDeclaredFields()) {
            if (field.getName().equals("messageCount")) {
                field.setAccessible(true);
                field.setInt(null, 0);
            }
        }
        Thread main = new Thread(() -> {
            try {
                tool.getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(new String[0]));
                run.end(0);
            } catch (InvocationTargetException failure) {
                System.err.print("Exception in thread \"main\" ");
                failure.getCause().printStackTrace();
                run.end(1);
            } catch (ReflectiveOperationException failure) {
                throw new IllegalStateException(failure);
            }
        }, "main");
        main.setDaemon(true);
        main.start();
        boolean told = !run.ended.await(seconds, TimeUnit.SECONDS);
        List<Thread> hooks = new ArrayList<>();
        synchronized (run.hooks) {
            run.hooks.forEach(hook -> hooks.add(new Thread(hook)));
        }
        hooks.forEach(Thread::start);
        for (Thread hook : hooks) {
            hook.join(5000);
        }
        if (told) {
            main.join(2000);
            run.end(143);
            run.code = 143;
        }
    }

    private static AutoCloseable member(List<String> fields) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", fields.get(1));
        settings.put("group.id", fields.get(2));
        settings.put("group.protocol", fields.get(3));
        settings.put("client.id", fields.get(4));
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        if (!fields.get(6).isEmpty()) {
            settings.put("group.instance.id", fields.get(6));
        }
        var bytes = "org.apache.kafka.common.serialization.ByteArrayDeserializer";
        settings.put("key.deserializer", bytes);
        settings.put("value.deserializer", bytes);
        var settled = new CountDownLatch(1);
        var stop = new CountDownLatch(1);
        var thread = new Thread(() -> {
            try (var consumer = new KafkaConsumer<byte[], byte[]>(settings)) {
                consumer.subscribe(List.of(fields.get(5)));
                while (stop.getCount() > 0) {
                    consumer.poll(Duration.ofMillis(100));
                    if (settled.getCount() == 0 || consumer.assignment().isEmpty()) {
                        continue;
                    }
                    var ends = consumer.endOffsets(consumer.assignment());
                    if (ends.entrySet().stream().allMatch(end -> consumer.position(end.getKey()) >= end.getValue())) {
                        consumer.commitSync();
                        settled.countDown();
                    }
                }
            }
        });
        thread.start();
        if (!settled.await(60, TimeUnit.SECONDS)) {
            throw new IllegalStateException("the member got no partitions");
        }
        return () -> {
            stop.countDown();
            thread.join();
        };
    }

    private static AutoCloseable transaction(List<String> fields) throws Exception {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", fields.get(1));
        settings.put("transactional.id", fields.get(2));
        settings.put("transaction.timeout.ms", 600000);
        var bytes = "org.apache.kafka.common.serialization.ByteArraySerializer";
        settings.put("key.serializer", bytes);
        settings.put("value.serializer", bytes);
        var producer = new KafkaProducer<byte[], byte[]>(settings);
        producer.initTransactions();
        producer.beginTransaction();
        producer.send(new ProducerRecord<>(fields.get(3), 0, null, "open".getBytes())).get();
        return () -> {
            try {
                producer.abortTransaction();
            } catch (RuntimeException ended) {
                // Somebody else aborted it.
            }
            producer.close(Duration.ofSeconds(1));
        };
    }
}
