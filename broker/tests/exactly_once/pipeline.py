#!/usr/bin/env python3
"""The verbs of Pipeline.java, by confluent-kafka (librdkafka). See README.md."""
import random, signal, sys, time
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

boot = sys.argv[2]
# With the default, `rebootstrap`, librdkafka 2.16 forgets its only broker when that is away, and its transactional producer may
# then wait for a coordinator for ever, whatever the broker.
common = {"bootstrap.servers": boot, "reconnect.backoff.max.ms": 500, "metadata.recovery.strategy": "none"}


def say(text):
    print("%d %s" % (time.time() * 1000, text), flush=True)


def create(topic, partitions):
    admin = AdminClient(common)
    admin.create_topics([NewTopic(topic, int(partitions), 1)], request_timeout=60)[topic].result(60)


def feed(topic, partitions, rate, seconds):
    failed, count, begin = [], 0, time.monotonic()
    producer = Producer(common | {"enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4", "message.timeout.ms": 0})
    while time.monotonic() - begin < int(seconds):
        producer.produce(topic, b"%d" % count, b"%d" % count, count % int(partitions), on_delivery=lambda error, _: error and failed.append(error))
        count += 1
        producer.poll(0)
        time.sleep(max(0, begin + count / int(rate) - time.monotonic()))
    assert producer.flush(120) == 0 and not failed, failed[:1]
    print(count)


def again(what, call):
    """What may be asked again is: the broker is away for some seconds."""
    while True:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            say("again %s: %s" % (what, error.args[0].str()))


def member(group, source, target, protocol, transactional_id, timeout_ms):
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    settings = common | {"group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False,
                         "auto.offset.reset": "earliest", "enable.partition.eof": False}
    if protocol == "consumer":
        settings |= {"group.protocol": "consumer"}
    else:
        strategy = {"eager": "range", "cooperative": "cooperative-sticky"}[protocol]
        settings |= {"partition.assignment.strategy": strategy, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
    producer = Producer(common | {"transactional.id": transactional_id, "transaction.timeout.ms": int(timeout_ms), "linger.ms": 2,
                                  "message.timeout.ms": int(timeout_ms)})
    consumer = Consumer(settings)
    try:
        again("init", lambda: producer.init_transactions(30))
        consumer.subscribe([source])
        while not stopping:
            records = [r for r in consumer.consume(200, 0.2) if not r.error()]
            if not records:
                continue
            try:
                producer.begin_transaction()
                offsets = {}
                for r in records:
                    producer.produce(target, b"%d %d %s" % (r.partition(), r.offset(), r.value()), r.key(), r.partition())
                    offsets[r.partition()] = TopicPartition(source, r.partition(), r.offset() + 1)
                if random.random() < 1 / 15:
                    producer.flush(5)
                    raise KafkaException(KafkaError(KafkaError._APPLICATION, "deliberately", txn_requires_abort=True))
                again("offsets", lambda: producer.send_offsets_to_transaction(list(offsets.values()), consumer.consumer_group_metadata(), 30))
                again("commit", lambda: producer.commit_transaction(30))
                say("committed %d" % len(records))
            except KafkaException as error:
                if not error.args[0].txn_requires_abort():
                    raise
                say("aborts %s" % error.args[0].str())
                again("abort", lambda: producer.abort_transaction(30))
                rewind(consumer)
    except KafkaException as error:
        say("fatal %s: %s" % (error.args[0].name(), error.args[0].str()))
        return 3
    consumer.close()
    say("left")
    return 0


def rewind(consumer):
    def seek():
        for at in consumer.committed(consumer.assignment(), 30):
            try:
                consumer.seek(TopicPartition(at.topic, at.partition, max(at.offset, 0)))
            except KafkaException as error:
                # Assigned, but not fetched yet: it begins at the committed offset of itself. Or no longer ours.
                if error.args[0].code() not in (KafkaError._STATE, KafkaError._UNKNOWN_PARTITION):
                    raise
    again("rewind", seek)


def ends(admin, topic, partitions, level):
    asked = {TopicPartition(topic, p): OffsetSpec.latest() for p in range(partitions)}
    return {at.partition: done.result(30).offset for at, done in admin.list_offsets(asked, isolation_level=level).items()}


def settled(group, source, target, partitions, seconds):
    admin, end, partitions = AdminClient(common), time.monotonic() + int(seconds), int(partitions)
    while True:
        try:
            asked = ConsumerGroupTopicPartitions(group, [TopicPartition(source, p) for p in range(partitions)])
            committed = admin.list_consumer_group_offsets([asked])[group].result(30).topic_partitions
            committed = {at.partition: at.offset for at in committed}
            inputs = ends(admin, source, partitions, IsolationLevel.READ_UNCOMMITTED)
            stable = ends(admin, target, partitions, IsolationLevel.READ_COMMITTED)
            all_of = ends(admin, target, partitions, IsolationLevel.READ_UNCOMMITTED)
            behind = {p: (committed[p], inputs[p], stable[p], all_of[p]) for p in range(partitions)
                      if (inputs[p] > 0 and committed[p] != inputs[p]) or stable[p] != all_of[p]}
        except KafkaException as error:
            behind = error
        if not behind:
            return 0
        if time.monotonic() > end:
            print("partition: (committed, end, last stable offset, end of the output)", behind, file=sys.stderr)
            return 1
        time.sleep(0.5)


def dump(topic, partitions, isolation):
    consumer = Consumer(common | {"group.id": "unused", "enable.auto.commit": False, "isolation.level": isolation})
    level = IsolationLevel.READ_COMMITTED if isolation == "read_committed" else IsolationLevel.READ_UNCOMMITTED
    left = ends(AdminClient(common), topic, int(partitions), level)
    consumer.assign([TopicPartition(topic, p, 0) for p in left])
    end = time.monotonic() + 300
    while left:
        assert time.monotonic() < end, "no end of %s" % left
        for r in consumer.consume(5000, 0.2):
            assert not r.error(), r.error()
            print("%d\t%d\t%s" % (r.partition(), r.offset(), r.value().decode()))
        # A position stands behind control records as well, an offset of a record does not.
        for at in consumer.position([TopicPartition(topic, p) for p in left]):
            if at.offset >= left[at.partition] or left[at.partition] == 0:
                del left[at.partition]
    return 0


sys.exit({f.__name__: f for f in (create, feed, member, settled, dump)}[sys.argv[1]](*sys.argv[3:]))
