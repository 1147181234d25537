"""The curves: one table at the end. A curve's function measures one broker at one x and gives {metric: value}."""
import os, signal, socket, statistics, struct, tempfile, threading, time, urllib.request
from pathlib import Path

from brokers import TARGET, Corelog, Trouble, perf, free_port
from wire import Wire


class Metric:
    """What a number is called and its unit; `grows` is the power of x that is no surprise: 0 for costs per request, 1 for sums."""

    def __init__(self, name, title, unit, grows=0.0):
        self.name, self.title, self.unit, self.grows = name, title, unit, grows


REQUEST = [Metric("cpu", "broker CPU per request", "µs"), Metric("user", "broker CPU per request, user", "µs"),
           Metric("system", "broker CPU per request, system", "µs")]


class Meter:
    """Processor time of a broker between two looks."""

    def __init__(self, broker):
        self.broker, self.begin, self.cpu = broker, time.monotonic(), broker.cpu()

    def seconds(self):
        return time.monotonic() - self.begin

    def spent(self):
        now = self.broker.cpu()
        return now[0] - self.cpu[0], now[1] - self.cpu[1]

    def per(self, count):
        user, system = self.spent()
        return {"cpu": (user + system) / count * 1e6, "user": user / count * 1e6, "system": system / count * 1e6}


def pss(broker):
    """Bytes resident, shared ones by share."""
    for line in Path("/proc/%d/smaps_rollup" % broker.pid).read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return broker.rss()


def workload(at, broker, text, seconds, warm_up):
    """Runs a workload file; what a request cost, and what there is besides."""
    path = at.where / "workload.toml"
    path.write_text(text)
    result = perf("mixed", "--workload", path, "--bootstrap-server", broker.boot, "--broker-pid", broker.pid, "--seconds", at.seconds(seconds),
                  "--warm-up-seconds", warm_up)
    cost = result["broker"]
    requests = result["produced"]["requests"] + result["consumed"]["requests"] + result["pings"]
    if not requests:
        raise Trouble("%s answered nothing" % broker.name)
    return result, {"cpu": (cost["user_seconds"] + cost["system_seconds"]) / requests * 1e6, "user": cost["user_seconds"] / requests * 1e6,
                    "system": cost["system_seconds"] / requests * 1e6, "requests": requests / result["seconds"], "cores": cost["cores"]}


def topic_of(at, broker, partitions):
    """A topic whose partitions have all been written to: the first write makes files, maps and descriptors."""
    name = "p%d" % partitions
    if name not in broker.made:
        wire = Wire(broker.port)
        wire.create([(name, partitions)])
        wire.close()
        until_made(broker, name, partitions)
        # More than index.interval.bytes, in several batches: the first entry of an index faults its file in. Kafka's has 10 MB, and
        # the kernel reads it ahead: with read_ahead_kb = 8192 that is 15 to 40 ms of system time for each partition.
        perf("producer", "--bootstrap-server", broker.boot, "--topic", name, "--num-records", partitions * 3, "--record-size", 5000, "--throughput", -1,
             "--producer-props", "batch.size=5000", "linger.ms=0", "acks=1")
        broker.made.add(name)
    return name


def until_made(broker, name, partitions):
    """Kafka answers before it has made the logs."""
    begin = time.monotonic()
    while sum(1 for _ in broker.data.glob(name + "-*/*.log")) < partitions:
        broker.check()
        if time.monotonic() - begin > 600:
            raise Trouble("%s has not made %d partitions" % (broker.name, partitions))
        time.sleep(0.05)


def producers(topic, rate, batch=175, linger=0, more="", setting=""):
    """Producers of 100-byte records; with the default batch size each goes alone."""
    return """
[[producers]]
topic = "%s"
rate = %d
record-size = 100
%sproperties = { "batch.size" = %d, "linger.ms" = %d, acks = "1", "enable.idempotence" = "false"%s }
""" % (topic, rate, more, batch, linger, setting)


def produce(at, broker, partitions):
    """Unbatched: a request a record, each for the next partition."""
    topic = topic_of(at, broker, partitions)
    result, cost = workload(at, broker, producers(topic, 1500, more="clients = 4\n"), 6, 2)
    cost["p99"] = result["produced"]["latency_ms"]["p99"]
    return cost


def produce_wide(at, broker, partitions):
    """A request with records for many partitions: what one partition's batch in it costs."""
    topic = topic_of(at, broker, partitions)
    keys = "keys = %d\n" % max(partitions, 2)
    load = producers(topic, 50000, 16384, 20, keys, ', "max.request.size" = 8388608')
    result, _ = workload(at, broker, load, 6, 2)
    # Of 1,000 records with random keys so many partitions get some; of one partition, so many full batches.
    distinct = max(partitions * (1 - (1 - 1 / partitions) ** 1000), 7)
    batches = result["produced"]["records"] / 1000 * distinct
    user, system = result["broker"]["user_seconds"], result["broker"]["system_seconds"]
    return {"batch": (user + system) / batches * 1e6, "user": user / batches * 1e6, "system": system / batches * 1e6}


def fetch(at, broker, partitions):
    """One reader of everything in a fetch session, 500 records a second spread over the partitions."""
    topic = topic_of(at, broker, partitions)
    result, cost = workload(at, broker, producers(topic, 500) + """
[[consumers]]
topics = ["%s"]
properties = { "fetch.min.bytes" = 1, "max.partition.fetch.bytes" = 65536 }
""" % topic, 6, 2)
    cost["p50"] = result["consumed"]["latency_ms"]["p50"]
    cost["p99"] = result["consumed"]["latency_ms"]["p99"]
    return cost


def connections(at, broker, count):
    """So many connections that together ask 2,000 times a second."""
    before = pss(broker)
    result, cost = workload(at, broker, "[[connections]]\ncount = %d\nrequest-every-seconds = %g\n" % (count, max(count / 2000, 0.0005)), 6, 2)
    cost["memory"] = (result["broker"]["resident_bytes"] - before) / 1e6
    # They close when the load ends.
    time.sleep(0.5)
    return cost


def partitions(at, kind, count):
    """A broker with so many partitions in one topic: to create them, at rest, to stop, to start. Its data stays for `deletion`."""
    broker = at.fresh(kind)
    broker.start()
    wire = Wire(broker.port)
    before, meter = pss(broker), Meter(broker)
    wire.create([("life", count)])
    until_made(broker, "life", count)
    values = {"create": meter.seconds(), "create_cpu": sum(meter.spent())}
    wire.close()
    time.sleep(2)
    values["memory"] = (pss(broker) - before) / 1e6
    meter = Meter(broker)
    time.sleep(at.seconds(10))
    values["idle"] = sum(meter.spent()) / meter.seconds() * 1e3
    begin = time.monotonic()
    broker.end()
    values["stop"] = time.monotonic() - begin
    values["start"] = broker.start(topics=count)
    begin = time.monotonic()
    broker.end()
    values["stop_again"] = time.monotonic() - begin
    at.kept[kind.kind, count] = broker
    return values


def deletion(at, kind, count):
    """Of one topic with all these partitions, empty ones."""
    broker = at.kept.pop((kind.kind, count), None)
    if broker is None:
        partitions(at, kind, count)
        broker = at.kept.pop((kind.kind, count))
    broker.start(topics=count)
    wire = Wire(broker.port)
    meter = Meter(broker)
    wire.delete(["life"])
    values = {"delete": meter.seconds()}
    # Meanwhile someone else wants a topic.
    values["other"] = wire.create([("other", 1)])
    while any(broker.data.glob("life*")):
        broker.check()
        if meter.seconds() > 600:
            raise Trouble("%s does not free the files of %d partitions in 600 s" % (broker.name, count))
        time.sleep(0.05)
    values["freed"] = meter.seconds()
    values["delete_cpu"] = sum(meter.spent())
    wire.close()
    broker.end()
    return values


def metadata(at, broker, count):
    """So many partitions in topics of ten: what it takes to know of them, to tell of them, and to change one thing."""
    wire = Wire(broker.port)
    made = broker.partitions_made
    while made < count:
        topics = [("some.topic-of-ten_%06d" % number, 10) for number in range(made // 10, min(count, made + 5_000) // 10)]
        wire.create(topics)
        made += 10 * len(topics)
        if broker.kind == "kafka":
            until_made(broker, "some.topic-of-ten_*", made)
    broker.partitions_made = made
    time.sleep(1)
    values = {"memory": (pss(broker) - broker.before) / 1e6}
    values["answer"], values["answer_cpu"], values["size"] = repeated(at, broker, lambda: wire.metadata(None))
    values["size"] /= 1e6
    _, values["one_cpu"], _ = repeated(at, broker, lambda: wire.metadata(["some.topic-of-ten_000000"]))
    values["stall"] = stall(at, broker)
    turns = at.turns(20)

    def change(name, work):
        meter, times = Meter(broker), []
        for turn in range(turns):
            times.append(work(turn))
        values[name] = statistics.median(times) * 1e3
        values[name + "_cpu"] = sum(meter.spent()) / turns * 1e3

    change("create", lambda turn: wire.create([("some.topic-of-one_%06d" % turn, 1)]))
    change("configured", lambda turn: wire.create([("some.topic-of-two_%06d" % turn, 1)], [("retention.ms", "86400000")]))
    change("delete", lambda turn: wire.delete(["some.topic-of-one_%06d" % turn]))
    wire.delete(["some.topic-of-two_%06d" % turn for turn in range(turns)])
    wire.close()
    return values


def repeated(at, broker, ask):
    """The median of answers in ms, CPU of one in ms, its size."""
    times, size, meter = [], 0, Meter(broker)
    while meter.seconds() < at.seconds(2) or len(times) < 5:
        seconds, size = ask()
        times.append(seconds)
    return statistics.median(times) * 1e3, sum(meter.spent()) / len(times) * 1e3, size


def stall(at, broker):
    """The longest that others' small requests wait, ms, while someone asks for all topics again and again."""
    over, worst = threading.Event(), []

    def others():
        # Connections are spread over shards.
        wires = [Wire(broker.port) for _ in range(4)]
        while not over.is_set():
            worst.extend(wire.metadata([])[0] for wire in wires)
            time.sleep(0.001)
        for wire in wires:
            wire.close()

    asker = Wire(broker.port)
    thread = threading.Thread(target=others)
    thread.start()
    begin = time.monotonic()
    while time.monotonic() - begin < at.seconds(3):
        asker.metadata(None)
    over.set()
    thread.join()
    asker.close()
    return sorted(worst)[int(len(worst) * 0.99)] * 1e3


def shards(at, kind, count):
    """So many shards on this machine's cores, whatever these are: what of a request crosses to another shard."""
    admin = free_port()
    broker = at.fresh(kind, ("corelog.shards=%d" % count, "corelog.admin.listener=127.0.0.1:%d" % admin))
    try:
        broker.start()
        values = {}
        topic = topic_of(at, broker, 64)
        for name, text in (("one", """
[[producers]]
topic = "%s"
clients = 16
rate = 250
record-size = 100
properties = { "batch.size" = 175, "linger.ms" = 0, acks = "1", "enable.idempotence" = "false" }
"""), ("wide", """
[[producers]]
topic = "%s"
clients = 8
rate = 2000
keys = 64
record-size = 100
properties = { "batch.size" = 16384, "linger.ms" = 20, acks = "1", "enable.idempotence" = "false" }
""")):
            before = counted(admin)
            result, cost = workload(at, broker, text % topic, 5, 0)
            after = counted(admin)
            requests = result["produced"]["requests"]
            values[name + "_messages"] = (after - before) / max(requests, 1)
            values[name + "_cpu"] = cost["cpu"]
        return values
    finally:
        broker.delete()


def counted(port):
    """Messages that shards have sent each other so far, by the page of metrics."""
    page = urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=30).read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith("corelog_shard_mesh_messages_total"))


class Curve:
    """`life`: one (a broker for all of the curve's points, which grow), own (the function starts brokers itself)."""

    def __init__(self, name, section, title, x, points, work, metrics, *, life="one", kafka=(), settings=(), note="", memory_disk=False):
        self.name, self.section, self.title, self.x, self.points, self.work, self.metrics = name, section, title, x, points, work, metrics
        self.life, self.kafka, self.settings, self.note, self.memory_disk = life, kafka, settings, note, memory_disk


DECADES = (1, 10, 100, 1000, 10_000)


def table():
    ms = "ms"
    return [
        Curve("partitions", "Partitions", "A broker with one topic of so many", "partitions", DECADES, partitions,
              [Metric("create", "to create them", "s", 1), Metric("create_cpu", "to create them, CPU", "CPU-s", 1), Metric("memory", "memory they add", "MB", 1),
               Metric("idle", "idle CPU", "millicores", 1), Metric("stop", "to stop", "s", 1), Metric("start", "to start again", "s", 1),
               Metric("stop_again", "to stop again", "s", 1)], life="own", kafka=(1, 100, 1000, 10_000),
              note="created, stopped and started once; the other brokers' files stay until all is measured, because ext4 without a journal looks at every inode deleted in the last minutes for each file that it creates"),
        Curve("produce-partitions", "Partitions", "Produce, one record a request, 6,000 requests/s", "partitions", DECADES, produce,
              [*REQUEST, Metric("p99", "acknowledged, p99", ms)], kafka=DECADES[:4]),
        Curve("produce-wide", "Partitions", "Produce, 50,000 records/s with as many keys as partitions, linger 20 ms", "partitions", DECADES, produce_wide,
              [Metric("batch", "broker CPU per batch", "µs"), Metric("user", "broker CPU per batch, user", "µs"),
               Metric("system", "broker CPU per batch, system", "µs")], kafka=DECADES[:4],
              note="a request has up to 950 batches, one for each partition that 1,000 records with random keys hit: the more partitions the fewer records in a batch, down to one"),
        Curve("fetch-partitions", "Partitions", "Fetch, one reader of all, 500 records/s", "partitions", DECADES, fetch,
              [*REQUEST, Metric("p50", "end to end, p50", ms), Metric("p99", "end to end, p99", ms)], kafka=DECADES[:4],
              note="produce and fetch requests together; every fetch asks for all partitions, so its cost may grow with them"),
        Curve("connections", "Connections", "2,000 small requests/s in all", "connections", DECADES, connections,
              [*REQUEST, Metric("memory", "memory they add", "MB", 1)], kafka=DECADES),
        Curve("deletion", "Partitions", "Deletion of a topic of so many", "partitions", DECADES, deletion,
              [Metric("delete", "until it is answered", "s", 1), Metric("other", "then another topic's creation", "s", 1),
               Metric("freed", "until the files are gone", "s", 1), Metric("delete_cpu", "CPU", "CPU-s", 1)], life="own", kafka=(1, 1000),
              note="log.segment.delete.delay.ms=1000; Kafka begins to remove files 30 s after its start, whenever the deletion was"),
        Curve("metadata", "Metadata", "Topics of ten partitions", "partitions", (10, 100, 1000, 10_000, 100_000), metadata,
              [Metric("memory", "memory", "MB", 1), Metric("size", "Metadata of all topics, size", "MB", 1),
               Metric("answer", "Metadata of all topics, until the last byte", ms, 1), Metric("answer_cpu", "Metadata of all topics, broker CPU", ms, 1),
               Metric("one_cpu", "Metadata of one topic, broker CPU", ms), Metric("stall", "others' requests beside Metadata of all, p99", ms, 1),
               Metric("create", "one more topic", ms), Metric("create_cpu", "one more topic, broker CPU", ms),
               Metric("configured", "one more topic with a setting", ms), Metric("configured_cpu", "one more topic with a setting, broker CPU", ms),
               Metric("delete", "one topic less", ms), Metric("delete_cpu", "one topic less, broker CPU", ms)],
              kafka=(10, 100, 1000, 10_000), memory_disk=True),
        Curve("shards", "Shards", "What of a request crosses to another shard, 64 partitions", "shards", (1, 2, 4, 8, 16, 32), shards,
              [Metric("one_messages", "messages per produce request of one partition", "messages"),
               Metric("wide_messages", "messages per produce request of up to 64 partitions", "messages", 1),
               Metric("one_cpu", "broker CPU per request of one partition", "µs"), Metric("wide_cpu", "broker CPU per request of up to 64", "µs")],
              life="own", note="more shards than this machine has cores: the messages are what a larger machine has, the CPU is dearer than there"),
    ]
