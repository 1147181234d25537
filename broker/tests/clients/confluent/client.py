#!/usr/bin/env python3
"""client.py BOOTSTRAP create TOPIC PARTITIONS | produce TOPIC CODEC COUNT [RATE] | consume TOPIC COUNT | member TOPIC GROUP [PROTOCOL]"""
import sys, time
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

boot, verb, topic = sys.argv[1:4]
if verb == "create":
    admin = AdminClient({"bootstrap.servers": boot})
    for done in admin.create_topics([NewTopic(topic, int(sys.argv[4]), 1)]).values():
        done.result(30)
elif verb == "produce":
    codec, count, rate = sys.argv[4], int(sys.argv[5]), int(sys.argv[6]) if len(sys.argv) > 6 else 0
    producer = Producer({"bootstrap.servers": boot, "compression.type": codec, "linger.ms": 20, "enable.idempotence": True,
                         "queue.buffering.max.messages": 500000})
    failed, begin = [], time.monotonic()
    report = lambda error, message: error and failed.append(error)
    for i in range(count):
        while True:
            try:
                producer.produce(topic, b"%d" % i, on_delivery=report)
                break
            except BufferError:
                producer.poll(0.1)
        if i % 500 == 0:
            producer.poll(0)
            if rate:
                time.sleep(max(0, begin + i / rate - time.monotonic()))
    assert producer.flush(120) == 0 and not failed, failed[:1]
elif verb == "consume":
    consumer = Consumer({"bootstrap.servers": boot, "group.id": "unused", "enable.auto.commit": False})
    partitions = consumer.list_topics(topic, 30).topics[topic].partitions
    consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
    left, end = int(sys.argv[4]), time.monotonic() + 60
    while left > 0:
        assert time.monotonic() < end, "%d records did not come" % left
        for m in consumer.consume(5000, 1.0):
            assert not m.error(), m.error()
            sys.stdout.write("%d\t%d\t%s\n" % (m.partition(), m.offset(), m.value().decode()))
            left -= 1
            end = time.monotonic() + 60
    consumer.close()
elif verb == "member":
    settings = {"bootstrap.servers": boot, "group.id": sys.argv[4], "auto.offset.reset": "earliest", "auto.commit.interval.ms": 500}
    if sys.argv[5:] == ["consumer"]:
        settings["group.protocol"] = "consumer"
    else:
        settings.update({"session.timeout.ms": 6000, "heartbeat.interval.ms": 500})
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    while True:
        records = [m for m in consumer.consume(500, 0.5) if not m.error()]
        if records:
            sys.stdout.write("".join("%d\t%d\t%s\n" % (m.partition(), m.offset(), m.value().decode()) for m in records))
            sys.stdout.flush()
