"""Brokers as child processes: started, measured, ended by their process id, their data deleted."""
import json, os, shutil, signal, socket, struct, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 900


class Trouble(Exception):
    """A scenario cannot go on; the next one can."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def metadata(port):
    """Metadata v0, all topics: (number of brokers, {topic: [leader of each partition]}), or None when there is no answer."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.settimeout(30)
            body = struct.pack(">hhih", 3, 0, 1, -1) + struct.pack(">i", 0)
            s.sendall(struct.pack(">i", len(body)) + body)
            file = s.makefile("rb")
            size = file.read(4)
            if len(size) < 4:
                return None
            answer = file.read(struct.unpack(">i", size)[0])
    except OSError:
        return None
    at = 4

    def take(form):
        nonlocal at
        values = struct.unpack_from(">" + form, answer, at)
        at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def text():
        nonlocal at
        size = take("h")
        at += size
        return answer[at - size:at].decode()

    brokers = take("i")
    for _ in range(brokers):
        take("i"), text(), take("i")
    topics = {}
    for _ in range(take("i")):
        take("h")
        name, leaders = text(), []
        for _ in range(take("i")):
            _, _, leader = take("hii")
            leaders.append(leader)
            for _ in range(2):
                count = take("i")
                at += 4 * count
        topics[name] = leaders
    return brokers, topics


def run(command, timeout=PATIENCE, env=None):
    """Runs a command to its end; gives its standard output."""
    command = [str(one) for one in command]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, env=env)
    except subprocess.TimeoutExpired:
        raise Trouble("%s takes longer than %d s" % (" ".join(command), timeout))
    if done.returncode:
        raise Trouble("%s failed:\n%s" % (" ".join(command), (done.stderr + done.stdout)[-1500:]))
    return done.stdout


def cpu_of(command, timeout=PATIENCE):
    """Runs a command to its end; gives the processor time it needed in seconds."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([str(one) for one in command], stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        end = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > end:
                process.kill()
                os.wait4(process.pid, 0)
                raise Trouble("%s takes longer than %d s" % (command[0], timeout))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise Trouble("%s failed:\n%s" % (" ".join(map(str, command)), output.read().decode(errors="replace")[-1500:]))
    return usage.ru_utime + usage.ru_stime


def perf(*arguments, timeout=PATIENCE):
    """A subcommand of corelog-perf; gives its result."""
    return json.loads(run([TARGET / "release/corelog-perf", *arguments, "--output", "json"], timeout).splitlines()[-1])


class Broker:
    """One broker with a directory of its own. `alive` holds all that run, so that none is left behind."""

    alive = []

    def __init__(self, where, settings=()):
        self.where = Path(where) / self.name
        self.data = self.where / "data"
        self.settings = list(settings)
        self.port = free_port()
        self.process = None
        self.where.mkdir(parents=True, exist_ok=True)
        self.prepare()

    def prepare(self):
        pass

    def start(self, topics=0):
        """Starts the process; seconds until it answers Metadata with itself and with leaders for so many partitions."""
        begin = time.monotonic()
        log = open(self.where / "log", "a")
        self.process = subprocess.Popen([str(one) for one in self.command()], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        cwd=self.where, env={**os.environ, **self.environment()})
        log.close()
        Broker.alive.append(self)
        while True:
            if self.process.poll() is not None:
                raise Trouble("%s ended at its start:\n%s" % (self.name, self.tail()))
            if time.monotonic() - begin > PATIENCE:
                raise Trouble("%s is not ready after %d s:\n%s" % (self.name, PATIENCE, self.tail()))
            answer = metadata(self.port)
            if answer and answer[0] >= 1 and sum(leader >= 0 for all in answer[1].values() for leader in all) >= topics:
                return time.monotonic() - begin
            time.sleep(0.002)

    def environment(self):
        return {}

    def tail(self):
        try:
            return (self.where / "log").read_text(errors="replace")[-1500:]
        except OSError:
            return ""

    @property
    def boot(self):
        return "127.0.0.1:%d" % self.port

    @property
    def pid(self):
        return self.process.pid

    def check(self):
        if self.process is None or self.process.poll() is not None:
            raise Trouble("%s has ended:\n%s" % (self.name, self.tail()))

    def cpu(self):
        """(user, system) seconds so far."""
        self.check()
        fields = Path("/proc/%d/stat" % self.pid).read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) / TICK, int(fields[12]) / TICK

    def rss(self):
        """Bytes resident."""
        self.check()
        for line in Path("/proc/%d/status" % self.pid).read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        return 0

    def end(self, with_signal=signal.SIGTERM):
        if self.process is None:
            return
        if self in Broker.alive:
            Broker.alive.remove(self)
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def delete(self):
        self.end()
        shutil.rmtree(self.where, ignore_errors=True)

    def topic(self, name, partitions, configs=()):
        run([TARGET / "release/corelog", "topics", "--bootstrap-server", self.boot, "--create", "--topic", name, "--partitions", partitions,
             *(x for one in configs for x in ("--config", one))])

    def drop(self, name):
        """Deletes a topic and waits until its bytes are gone."""
        begin, trouble = time.monotonic(), ""
        try:
            run([TARGET / "release/corelog", "topics", "--bootstrap-server", self.boot, "--delete", "--topic", name])
        except Trouble as error:
            # Who asks again, because the first answer came late, hears that there is no such topic.
            trouble = str(error)
        while any(self.data.glob(name + "-*")) or any(self.data.glob(name + ".*")):
            self.check()
            if time.monotonic() - begin > 300:
                raise Trouble("%s does not free the files of %s in 300 s\n%s" % (self.name, name, trouble))
            time.sleep(0.1)
        if time.monotonic() - begin > 30:
            print("  %s took %.0f s to delete %s" % (self.name, time.monotonic() - begin, name), flush=True)

    def files(self, topic):
        return sorted(self.data.glob(topic + "-*/*.log"))

    def evict(self, topic):
        """Out of the page cache."""
        for path in self.files(topic):
            with open(path) as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def touch(self, topic):
        """Into the page cache."""
        piece = bytearray(1 << 20)
        for path in self.files(topic):
            with open(path, "rb", buffering=0) as file:
                while file.readinto(piece):
                    pass


class Corelog(Broker):
    name = "corelog"
    kind = "corelog"

    def command(self):
        settings = ["listeners=PLAINTEXT://127.0.0.1:%d" % self.port, "log.dirs=%s" % self.data, "group.initial.rebalance.delay.ms=0",
                    "corelog.admin.listener=", "log.segment.delete.delay.ms=1000", *self.settings]
        return [TARGET / "release/corelog-broker", *(x for one in settings for x in ("--override", one))]


class Kafka(Broker):
    name = "kafka"
    kind = "kafka"
    # As its own scripts set it: bin/kafka-server-start.sh, bin/kafka-run-class.sh of 4.3.1.
    jvm = ["-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
           "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"]

    @staticmethod
    def lib():
        folder = Path(os.environ.get("KAFKA_DIR", TARGET / "clients/kafka"))
        if not (folder / "lib").is_dir():
            run([ROOT / "broker/tests/clients/java/get", folder])
        return folder / "lib"

    def prepare(self):
        controller = free_port()
        self.properties = self.where / "server.properties"
        self.properties.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@127.0.0.1:%d" % controller,
            "listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (self.port, controller),
            "controller.listener.names=CONTROLLER", "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs=%s" % self.data, "offsets.topic.replication.factor=1", "transaction.state.log.replication.factor=1",
            "transaction.state.log.min.isr=1", "group.initial.rebalance.delay.ms=0", "log.segment.delete.delay.ms=1000",
            *self.settings]) + "\n")
        run(["java", "-cp", "%s/*" % self.lib(), "kafka.tools.StorageTool", "format", "-t", "Y29yZWxvZy1jb21wYXJlLQ", "-c", self.properties])

    def command(self):
        return ["java", *self.jvm, "-cp", "%s/*" % self.lib(), "kafka.Kafka", self.properties]


def end_all():
    for broker in list(Broker.alive):
        broker.end(signal.SIGKILL)


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    names = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {"kernel": os.uname().release, "architecture": os.uname().machine, "processor": names[0] if names else "",
            "processors": len(os.sched_getaffinity(0)), "memory": memory}


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip() or "unknown"


def stopped(*_):
    """Ends with everything cleared away; who is told twice clears away all the same."""
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    sys.exit(1)
