"""`atoll kafka` as a client among others: everything that it says is compared with what confluent-kafka (librdkafka) says."""

import json
import os
import subprocess
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.check import check, end, equal, eventually
from harness.stack import atoll

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
KEYS = [f"key-{number}" for number in range(20)]
admin = AdminClient({"bootstrap.servers": SERVERS})


def name() -> str:
    return f"cli-{uuid.uuid4().hex[:8]}"


def topic(partitions: int = 5) -> str:
    made = name()
    admin.create_topics([NewTopic(made, partitions, 3)])[made].result(20)
    return made


def told(*words: str):
    return json.loads(atoll("kafka", *words, "--json"))


def fed(lines: list[str], *words: str) -> dict:
    command = [os.environ["ATOLL"], "kafka", "produce", *words, "--json"]
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd=os.environ["ATOLL_FOLDER"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def consumed(of: str, count: int) -> list[dict]:
    lines = atoll("kafka", "consume", of, "--from-beginning", "--max-messages", str(count), "--timeout-ms", "20000", "--json")
    return [json.loads(line) for line in lines.splitlines()]


def read(of: str, partitions: int, count: int) -> list:
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": name(), "enable.auto.commit": False})
    consumer.assign([TopicPartition(of, partition, 0) for partition in range(partitions)])
    messages = []
    while len(messages) < count:
        messages += [message for message in consumer.consume(count, 20) if not message.error()]
    consumer.close()
    return messages


@check("librdkafka reads what `kafka produce` wrote, in its order")
def _():
    made = topic()
    summary = fed([f"{key}={number}" for number, key in enumerate(KEYS)], made, "--key-separator", "=")
    equal(summary["records"], len(KEYS))
    messages = read(made, 5, len(KEYS))
    equal(sorted((message.key().decode(), int(message.value())) for message in messages), sorted((key, n) for n, key in enumerate(KEYS)))
    for partition in range(5):
        values = [int(message.value()) for message in messages if message.partition() == partition]
        equal(values, sorted(values))


@check("keys have the partitions that Kafka's partitioner gives them")
def _():
    made = topic(7)
    fed([f"{key}={key}" for key in KEYS], made, "--key-separator", "=")
    producer = Producer({"bootstrap.servers": SERVERS, "partitioner": "murmur2_random"})
    for key in KEYS:
        producer.produce(made, key=key, value=key)
    equal(producer.flush(20), 0)
    places = {}
    for message in read(made, 7, 2 * len(KEYS)):
        places.setdefault(message.key(), []).append(message.partition())
    assert all(len(of) == 2 and len(set(of)) == 1 for of in places.values()), places


@check("`kafka consume` reads every compression, keys, and empty and absent values")
def _():
    made = topic(1)
    wanted = []
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        producer = Producer({"bootstrap.servers": SERVERS, "compression.type": codec, "linger.ms": 50})
        for key, value in ((codec, "text " * 50), (None, ""), ("gone", None)):
            producer.produce(made, key=key, value=value)
            wanted.append((key, value))
        equal(producer.flush(20), 0)
    seen = consumed(made, len(wanted))
    equal([(record["key"], record["value"]) for record in seen], wanted)
    equal([record["offset"] for record in seen], list(range(len(wanted))))


@check("markers of transactions are no records")
def _():
    made = topic(1)
    producer = Producer({"bootstrap.servers": SERVERS, "transactional.id": name()})
    producer.init_transactions(20)
    for number in range(3):
        producer.begin_transaction()
        producer.produce(made, value=str(number))
        producer.commit_transaction(20)
    equal([(record["offset"], record["value"]) for record in consumed(made, 3)], [(0, "0"), (2, "1"), (4, "2")])


@check("`kafka groups` shows members, what is committed, and the lag")
def _():
    made, group = topic(1), name()
    fed([str(number) for number in range(10)], made)
    config = {"bootstrap.servers": SERVERS, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    consumer = Consumer(config)
    consumer.subscribe([made])
    messages = []
    while len(messages) < 4:
        messages += consumer.consume(4 - len(messages), 20)
    consumer.commit(message=messages[-1], asynchronous=False)
    listed = {entry["group"]: entry for entry in told("groups")}
    equal((listed[group]["type"].lower(), listed[group]["state"], listed[group]["protocol"]), ("classic", "Stable", "consumer"))
    (part,) = told("groups", group)["partitions"]
    equal(part, {"topic": made, "partition": 0, "committedOffset": 4, "endOffset": 10, "lag": 6})
    consumer.close()
    eventually(lambda: {entry["group"]: entry["state"] for entry in told("groups")}[group] == "Empty")


@check("`kafka topics` makes and shows what librdkafka sees")
def _():
    made = name()
    atoll("kafka", "topics", made, "--create", "--partitions", "4", "--replication-factor", "2", "--config", "retention.ms=60000")
    seen = eventually(lambda: admin.list_topics(made, timeout=10).topics[made].partitions)
    shown = told("topics", made)["partitions"]
    equal([(of["partition"], of["leader"], of["replicas"], sorted(of["inSync"])) for of in shown],
          [(index, of.leader, of.replicas, sorted(of.isrs)) for index, of in sorted(seen.items())])
    fed(["one"], made)
    offsets = {of["partition"]: (of["beginOffset"], of["endOffset"]) for of in told("topics", made)["partitions"]}
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": name()})
    equal(offsets, {index: consumer.get_watermark_offsets(TopicPartition(made, index), 20) for index in range(4)})
    consumer.close()
    atoll("kafka", "topics", made, "--delete")
    eventually(lambda: made not in admin.list_topics(timeout=10).topics)


@check("retention's gap is stepped over: consuming begins with the first record that is there")
def _():
    made = topic(1)
    fed([str(number) for number in range(5)], made)
    admin.delete_records([TopicPartition(made, 0, 3)])[TopicPartition(made, 0, 3)].result(20)
    equal([record["value"] for record in consumed(made, 2)], ["3", "4"])


end()
