#!/usr/bin/env python3
"""client.py BOOTSTRAP create TOPIC PARTITIONS | produce TOPIC CODEC COUNT [RATE] | consume TOPIC COUNT | member TOPIC GROUP"""
import sys, time
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

boot, verb, topic = sys.argv[1:4]
if verb == "create":
    KafkaAdminClient(bootstrap_servers=boot).create_topics([NewTopic(topic, int(sys.argv[4]), 1)])
elif verb == "produce":
    codec, count, rate = sys.argv[4], int(sys.argv[5]), int(sys.argv[6]) if len(sys.argv) > 6 else 0
    producer = KafkaProducer(bootstrap_servers=boot, compression_type=None if codec == "none" else codec, linger_ms=20,
                             batch_size=65536, acks="all", enable_idempotence=True)
    failed, begin = [], time.monotonic()
    for i in range(count):
        producer.send(topic, b"%d" % i).add_errback(failed.append)
        if rate and i % 500 == 0:
            time.sleep(max(0, begin + i / rate - time.monotonic()))
    producer.flush()
    assert not failed, failed[0]
    producer.close()
elif verb == "consume":
    consumer = KafkaConsumer(bootstrap_servers=boot, consumer_timeout_ms=60000, max_poll_records=5000)
    places = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
    consumer.assign(places)
    consumer.seek_to_beginning(*places)
    left = int(sys.argv[4])
    for m in consumer:
        sys.stdout.write("%d\t%d\t%s\n" % (m.partition, m.offset, m.value.decode()))
        left -= 1
        if not left:
            break
elif verb == "member":
    consumer = KafkaConsumer(topic, bootstrap_servers=boot, group_id=sys.argv[4], auto_offset_reset="earliest",
                             session_timeout_ms=6000, heartbeat_interval_ms=500, auto_commit_interval_ms=500)
    while True:
        for records in consumer.poll(500).values():
            sys.stdout.write("".join("%d\t%d\t%s\n" % (m.partition, m.offset, m.value.decode()) for m in records))
            sys.stdout.flush()
