"""The scenarios: one table at the end. A scenario's function does one round against one broker and gives {metric: value}."""
import signal, statistics, subprocess, time

from brokers import TARGET, Corelog, Kafka, Trouble, cpu_of, perf, run

KIB = 1024


class Metric:
    """What a number is called, its unit, whether less or more of it is better, and the ratio to reach, if any."""

    def __init__(self, name, title, unit, better="less", aim=None):
        self.name, self.title, self.unit, self.better, self.aim = name, title, unit, better, aim


def cpu(aim=None):
    return [Metric("cpu", "broker CPU", "CPU-s/GB", aim=aim), Metric("user", "broker CPU, user", "CPU-s/GB"),
            Metric("system", "broker CPU, system", "CPU-s/GB"), Metric("rate", "throughput", "MB/s", "more")]


def of_broker(result, flow):
    broker = result["broker"]
    return {"cpu": broker["cpu_seconds_per_gb"], "user": broker["user_seconds_per_gb"], "system": broker["system_seconds_per_gb"],
            "rate": result[flow]["megabytes_per_second"], "request": broker["microseconds_per_request"], "cores": broker["cores"],
            "client": result["client"]["nanoseconds_per_record"]}


def produce(at, side, round, *, size=KIB, partitions=6, props=("acks=all",), configs=(), gb=1.0, connections=1, records=None, batch=1 << 20, linger=5):
    topic = "produce-%d" % round
    configs = configs.get(side.kind, ()) if isinstance(configs, dict) else configs
    side.topic(topic, partitions, configs)
    count = at.scaled(records) if records else max(int(at.scaled(gb) * 1e9 / size), 1000)
    # The first write of a partition makes files and maps, and the first entry of its indexes (after index.interval.bytes) faults them in:
    # that is not what is asked here. Kafka's are 10 MB each, and the kernel reads them ahead: with read_ahead_kb = 8192, 1,000
    # partitions are 16 GB of zeroes and 12 to 40 s of system time, once.
    perf("producer", "--bootstrap-server", side.boot, "--topic", topic, "--num-records", partitions * max(4, 3 * 4096 // size + 2), "--record-size", size, "--throughput", -1,
         "--producer-props", "batch.size=%d" % size, "acks=1")
    result = perf("producer", "--bootstrap-server", side.boot, "--topic", topic, "--num-records", count, "--record-size", size, "--throughput", -1,
                  "--connections", connections, "--broker-pid", side.pid, "--producer-props", "batch.size=%d" % batch, "linger.ms=%d" % linger,
                  "buffer.memory=67108864", "max.request.size=2097152", *props)
    side.drop(topic)
    return of_broker(result, "produced")


def fill(at, side, topic, gb, partitions=6, size=KIB):
    side.topic(topic, partitions)
    count = int(at.scaled(gb) * 1e9 / size)
    perf("producer", "--bootstrap-server", side.boot, "--topic", topic, "--num-records", count, "--record-size", size, "--throughput", -1,
         "--producer-props", "batch.size=262144", "linger.ms=5", "acks=1")
    return count


def consume(at, side, round, *, cache, gb=1.0):
    topic = "consume-%d" % round
    count = fill(at, side, topic, gb)
    side.evict(topic)
    if cache == "warm":
        side.touch(topic)
    result = perf("consumer", "--bootstrap-server", side.boot, "--topic", topic, "--num-records", count, "--no-group", "--timeout", 60000,
                  "--broker-pid", side.pid)
    if result["records"] < count:
        raise Trouble("%s gave %d of %d records" % (side.name, result["records"], count))
    side.drop(topic)
    return of_broker(result, "consumed")


def workload(at, side, text, seconds=15, warm_up=3, timeout=600):
    """Runs a workload file; gives its result."""
    path = at.where / "workload.toml"
    path.write_text(text)
    result = perf("mixed", "--workload", path, "--bootstrap-server", side.boot, "--broker-pid", side.pid, "--seconds", at.seconds(seconds),
                  "--warm-up-seconds", at.seconds(warm_up), timeout=timeout)
    return result


FAN_OUT = """
[[topics]]
name = "%(topic)s"
partitions = 6
[[producers]]
topic = "%(topic)s"
rate = %(rate)d
record-size = 1024
properties = { "batch.size" = 262144, "linger.ms" = 20, acks = "1", "max.request.size" = 1048576 }
"""
READERS = """
[[consumers]]
topics = ["%(topic)s"]
clients = %(readers)d
properties = { "fetch.min.bytes" = 65536, "check.crcs" = "false" }
"""


def fan_out(at, side, round, *, rate=10_000, readers=10):
    names = {"topic": "fan-%d" % round, "rate": rate, "readers": readers}
    result = workload(at, side, (FAN_OUT + READERS) % names)
    side.drop(names["topic"])
    return of_broker(result, "consumed")


def small_fetches(at, side, round, *, partitions=1000):
    topic = "many-%d" % round
    side.topic(topic, partitions)
    result = workload(at, side, """
[[producers]]
topic = "%s"
rate = 1000
record-size = 100
properties = { "batch.size" = 200, "linger.ms" = 0, acks = "1" }
[[consumers]]
topics = ["%s"]
clients = 4
properties = { "fetch.min.bytes" = 1 }
""" % (topic, topic))
    side.drop(topic)
    return of_broker(result, "consumed")


def end_to_end(at, side, round, *, rate, size=100, partitions=1, producers=1, seconds=30, props=()):
    if callable(rate):
        rate = rate(at)
    topic = "e2e-%d" % round
    result = perf("end-to-end", "--bootstrap-server", side.boot, "--topic", topic, "--partitions", partitions, "--rate", rate, "--record-size", size,
                  "--producers", producers, "--seconds", at.seconds(seconds), "--warm-up-seconds", at.seconds(4), "--broker-pid", side.pid, "--verify",
                  *(x for one in props for x in ("--producer-property", one)))
    side.drop(topic)
    latency = result["consumed"]["latency_ms"]
    return {"p50": latency["p50"], "p99": latency["p99"], "p999": latency["p999"], "p9999": latency["p9999"], "max": latency["max"],
            "cores": result["broker"]["cores"]}


def latencies(p50=None, p99=None, p9999=None, cores=None):
    return [Metric("p50", "end to end, p50", "ms", aim=p50), Metric("p99", "end to end, p99", "ms", aim=p99),
            Metric("p999", "end to end, p99.9", "ms"), Metric("p9999", "end to end, p99.99", "ms", aim=p9999),
            Metric("cores", "broker CPU", "cores", aim=cores)]


def half_of_kafka(at):
    """Half of what Kafka takes of 1 KiB records in batches of 16 KiB, measured once."""
    if at.half is None:
        kafka = at.current.sides["kafka"]
        kafka.topic("maximum", 6)
        count = int(at.scaled(1.0) * 1e9 / KIB)
        rates = [perf("producer", "--bootstrap-server", kafka.boot, "--topic", "maximum", "--num-records", count, "--record-size", KIB, "--throughput",
                      -1, "--producer-props", "linger.ms=0")["records_per_second"] for _ in range(2)]
        kafka.drop("maximum")
        at.half = int(rates[-1] / 2)
    return at.half


# Scenarios below have brokers of their own: they get the class.


def alone(at, kind, settings=()):
    return kind(at.where / "alone", settings)


def start(at, kind, round):
    broker = alone(at, kind)
    try:
        first = broker.start()
        time.sleep(0.5)
        begin = time.monotonic()
        broker.end()
        stop = time.monotonic() - begin
        return {"start": first, "again": broker.start(), "stop": stop}
    finally:
        broker.delete()


def killed(at, kind, round, *, gb=4.0):
    broker = alone(at, kind, ("corelog.sync.on.ack=false",) if kind is Corelog else ())
    try:
        broker.start()
        fill(at, broker, "killed", gb, partitions=8)
        broker.end(signal.SIGKILL)
        for path in broker.files("killed"):
            subprocess.run(["sync", str(path)], check=False)
        broker.evict("killed")
        return {"ready": broker.start(topics=8)}
    finally:
        broker.delete()


def memory(at, kind, round, *, partitions=0):
    broker = alone(at, kind)
    try:
        broker.start()
        begin = time.monotonic()
        number, left = 0, partitions
        while left:
            count = min(left, 1000)
            broker.topic("m%d" % number, count)
            number, left = number + 1, left - count
        # Kafka answers before it has made the logs.
        while sum(1 for _ in broker.data.glob("m*-*/*.log")) < partitions:
            broker.check()
            if time.monotonic() - begin > 600:
                raise Trouble("%s has not made %d partitions" % (broker.name, partitions))
            time.sleep(0.05)
        created = time.monotonic() - begin
        time.sleep(3)
        return {"rss": broker.rss() / 1e6, "create": created}
    finally:
        broker.delete()


def idle(at, kind, round):
    broker = alone(at, kind)
    try:
        broker.start()
        time.sleep(at.seconds(10))
        before, begin = sum(broker.cpu()), time.monotonic()
        time.sleep(at.seconds(30))
        return {"cores": (sum(broker.cpu()) - before) / (time.monotonic() - begin)}
    finally:
        broker.delete()


def connections(at, kind, round, *, count=5000):
    broker = alone(at, kind)
    try:
        broker.start()
        time.sleep(2)
        before = broker.rss()
        result = workload(at, broker, "[[connections]]\ncount = %d\nrequest-every-seconds = 10\n" % at.scaled(count, 0.2))
        return {"rss": (result["broker"]["resident_bytes"] - before) / at.scaled(count, 0.2) / 1e3,
                "request": result["broker"]["microseconds_per_request"], "cores": result["broker"]["cores"]}
    finally:
        broker.delete()


def command_line(at, side, round):
    """Of the tools: Kafka's against Kafka, ours against ours."""
    if side.kind == "corelog":
        command = [TARGET / "release/corelog", "topics"]
    else:
        command = ["java", "-Xmx256M", "-server", "-XX:+UseG1GC", "-cp", "%s/*" % Kafka.lib(), "org.apache.kafka.tools.TopicCommand"]
    times = []
    for _ in range(3):
        begin = time.monotonic()
        run([*command, "--bootstrap-server", side.boot, "--list"])
        times.append(time.monotonic() - begin)
    return {"start": statistics.median(times)}


def client(at, side, round):
    """What a producing client needs itself: Kafka's perf tool beside ours, each against its own broker."""
    topic, count = "client-%d" % round, at.scaled(4_000_000)
    side.topic(topic, 6)
    flags = ["--topic", topic, "--num-records", count, "--record-size", 100, "--throughput", -1, "--producer-props", "bootstrap.servers=" + side.boot,
             "acks=1", "batch.size=65536", "linger.ms=5"]
    ours = [TARGET / "release/corelog-perf", "producer"]
    theirs = ["java", "-Xmx512M", "-cp", "%s/*" % Kafka.lib(), "org.apache.kafka.tools.ProducerPerformance"]
    spent = cpu_of([*(ours if side.kind == "corelog" else theirs), *flags])
    side.drop(topic)
    return {"client": spent / count * 1e9}


# Against the machine: ours beside loops without a broker.


def raw_loop(at, name):
    return perf("raw", "--loop", name, "--gb", at.scaled(2.0), "--dir", at.where)["loops"][0]["cpu_seconds_per_gb"]


def raw_produce(at, side, round):
    ours = produce(at, side, round, props=("acks=1",), gb=1.0)
    return {"cpu": (ours["cpu"], raw_loop(at, "receive-crc-write"))}


def raw_send(at, side, round):
    names = {"topic": "raw-%d" % round, "rate": 10_000, "readers": 10}
    alone = workload(at, side, FAN_OUT % names)["broker"]
    both = workload(at, side, (FAN_OUT + READERS) % names)
    side.drop(names["topic"])
    spent = both["broker"]["user_seconds"] + both["broker"]["system_seconds"]
    spent -= (alone["user_seconds"] + alone["system_seconds"]) * both["seconds"] / alone_seconds(alone)
    return {"cpu": (spent / (both["consumed"]["bytes"] / 1e9), raw_loop(at, "send"))}


def alone_seconds(broker):
    return (broker["user_seconds"] + broker["system_seconds"]) / max(broker["cores"], 1e-9)


def raw_sendfile(at, side, round):
    ours = consume(at, side, round, cache="warm")
    return {"cpu": (ours["cpu"], raw_loop(at, "sendfile"))}


class Scenario:
    """`brokers`: pair (both run all the time, settings as given), own (a broker for each round), ours (no Kafka)."""

    def __init__(self, name, section, title, work, metrics, *, brokers="pair", settings=(), other="Apache Kafka", note="", long=False, warm_up=1,
                 rounds=None, **arguments):
        self.name, self.section, self.title, self.work, self.metrics = name, section, title, work, metrics
        self.brokers, self.settings, self.other, self.note, self.long = brokers, settings, other, note, long
        self.warm_up, self.rounds, self.arguments = warm_up, rounds, arguments


NO_SYNC = ("corelog.sync.on.ack=false",)
KAFKA_SYNC = {"kafka": ("flush.messages=1",)}
REQUEST = [Metric("request", "broker CPU per request", "µs", aim=0.2), Metric("rate", "throughput", "MB/s", "more")]


def table():
    all = []

    def add(*values, **more):
        all.append(Scenario(*values, **more))

    for text, size in (("100 B", 100), ("1 KiB", KIB), ("10 KiB", 10 * KIB)):
        add("produce-%s" % text.replace(" ", "").lower(), "Produce", "%s, 6 partitions, acks=all" % text, produce, cpu(0.2), size=size,
            note="as shipped: Corelog answers when the data is on disk, Kafka before" if size == KIB else "")
    for count in (1, 1000):
        add("produce-%d-partitions" % count, "Produce", "1 KiB, %d partition%s, acks=all" % (count, "s" if count > 1 else ""), produce, cpu(0.2),
            partitions=count, batch=1 << 20 if count == 1 else 16384)
    for acks in ("0", "1"):
        add("produce-acks-%s" % acks, "Produce", "1 KiB, 6 partitions, acks=%s" % acks, produce, cpu(0.2), props=("acks=%s" % acks,))
    add("produce-idempotent", "Produce", "1 KiB, idempotent; Corelog on disk, Kafka not", produce,
        [Metric("rate", "throughput", "MB/s", "more", 1.0), Metric("cpu", "broker CPU", "CPU-s/GB", aim=0.2)],
        props=("acks=all", "enable.idempotence=true"), batch=16384, connections=4)
    add("produce-no-sync", "Produce", "1 KiB, acks=all, neither on disk", produce, cpu(0.2), settings=NO_SYNC)
    add("produce-sync", "Produce", "1 KiB, acks=all, both on disk", produce, cpu(0.2), configs=KAFKA_SYNC,
        note="Kafka with flush.messages=1", gb=0.3)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        add("produce-%s" % codec, "Produce, compressed", "1 KiB, %s" % codec, produce,
            [Metric("cpu", "broker CPU", "CPU-s per GB before compression"), Metric("rate", "throughput", "MB/s", "more")],
            props=("acks=all", "compression.type=%s" % codec), gb=0.5)
    add("produce-unbatched", "Requests", "100 B, one record a request, 16 connections, acks=1", produce, REQUEST, size=100, partitions=16, connections=16,
        batch=175, linger=0, records=200_000, props=("acks=1", "max.in.flight.requests.per.connection=1", "enable.idempotence=false"))
    add("fetch-small", "Requests", "1,000 partitions, 1,000 records/s, 4 readers", small_fetches,
        [Metric("request", "broker CPU per request", "µs", aim=0.2), Metric("cores", "broker CPU", "cores")], note="produce and fetch requests together")
    add("consume-hot", "Consume", "the tail, one reader", fan_out, cpu(), readers=1, rate=30_000, note="per GB sent and received: the producer's share is in it")
    add("consume-fan-out", "Consume", "the tail, ten readers", fan_out, cpu(1 / 3), note="per GB sent and received: the producer's share is in it")
    add("consume-warm", "Consume", "from the page cache", consume, cpu(0.85), cache="warm",
        note="both use sendfile; the least there is stands under Against the machine")
    add("consume-cold", "Consume", "from the disk",
        consume, [Metric("cpu", "broker CPU", "CPU-s/GB", aim=0.67), Metric("rate", "throughput", "MB/s", "more", 1.0)], cache="cold")
    add("latency-1000", "End to end", "1,000 records/s of 100 B", end_to_end, latencies(0.7, 1 / 3, None, 1 / 3), rate=1000,
        settings=NO_SYNC, note="neither on disk: Corelog with corelog.sync.on.ack=false")
    add("latency-1000-disk", "End to end", "1,000 records/s of 100 B, Corelog on disk", end_to_end, latencies(), rate=1000,
        note="as shipped: Corelog shows a record when it is on disk, Kafka before")
    add("latency-10000", "End to end", "10,000 records/s of 100 B", end_to_end, latencies(), rate=10_000, settings=NO_SYNC)
    add("latency-half", "End to end", "half of what Kafka takes, 1 KiB, 6 partitions", end_to_end, latencies(None, 0.25, 0.25), rate=half_of_kafka,
        size=KIB, partitions=6, settings=NO_SYNC)
    add("start", "Start and stop", "empty", start,
        [Metric("start", "first start", "s", aim=1 / 15), Metric("again", "second start", "s", aim=1 / 15), Metric("stop", "stop", "s")],
        brokers="own", warm_up=0)
    add("killed", "Start and stop", "4 GB after kill -9, page cache dropped", killed, [Metric("ready", "until ready", "s", aim=0.1)], brokers="own",
        warm_up=0, rounds=3)
    add("memory-idle", "Memory", "idle", memory, [Metric("rss", "resident", "MB", aim=0.1)], brokers="own", warm_up=0, rounds=3,
        note="Kafka with its scripts' heap of 1 GB")
    for count in (1000, 10_000):
        add("memory-%d" % count, "Memory", "%s partitions" % format(count, ","), memory,
            [Metric("rss", "resident", "MB", aim=0.2 if count == 10_000 else None), Metric("create", "to create them", "s")], brokers="own", warm_up=0,
            rounds=1 if count == 10_000 else 2, partitions=count, long=count == 10_000)
    add("connections", "Idle", "5,000 connections, each asks every 10 s", connections,
        [Metric("rss", "memory per connection", "kB"), Metric("request", "broker CPU per request", "µs"), Metric("cores", "broker CPU", "cores")],
        brokers="own", warm_up=0, rounds=2)
    add("idle", "Idle", "nobody connected", idle, [Metric("cores", "broker CPU", "cores", aim=0.05)], brokers="own", warm_up=0, rounds=2)
    add("command-line", "Tools", "topics --list", command_line, [Metric("start", "to the end", "s", aim=1 / 40)])
    add("client", "Tools", "producer perf tools, 100 B", client, [Metric("client", "client CPU per record", "ns", aim=0.25)])
    machine = {"brokers": "ours", "other": "bare machine", "settings": NO_SYNC}
    add("raw-produce", "Against the machine", "large batches; receive, CRC, write", raw_produce,
        [Metric("cpu", "broker CPU", "CPU-s/GB", aim=1.25)], **machine)
    add("raw-hot", "Against the machine", "the tail to ten readers; send", raw_send, [Metric("cpu", "broker CPU", "CPU-s/GB", aim=1.25)], **machine)
    add("raw-warm", "Against the machine", "from the page cache; sendfile", raw_sendfile, [Metric("cpu", "broker CPU", "CPU-s/GB", aim=1.15)],
        **machine)
    return all
