"""confluent-kafka (librdkafka) as applications use it: administration, producing with every acknowledgement, reading."""

import os
import time
import uuid

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from harness.check import check, end, equal, eventually, patiently

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
RUN = uuid.uuid4().hex[:8]
admin = AdminClient({"bootstrap.servers": SERVERS})


def name(text: str) -> str:
    return f"confluent-kafka: {text}"


def topic(text: str, partitions: int = 1, replicas: int = 3, config: dict | None = None) -> str:
    created = f"{text}-{RUN}"
    admin.create_topics([NewTopic(created, partitions, replicas, config=config or {})])[created].result(20)
    # Each broker answers from its own view, so one that knows the topic does not speak for the others.
    for broker in SERVERS.split(","):
        asked = AdminClient({"bootstrap.servers": broker})
        eventually(lambda asked=asked: has_leaders(created, partitions, asked))
    return created


def has_leaders(of: str, partitions: int, through: AdminClient = admin) -> bool:
    seen = through.list_topics(of, timeout=10).topics[of]
    return len(seen.partitions) == partitions and all(part.leader > 0 for part in seen.partitions.values())


def produce(to: str, values: list, config: dict | None = None, **options) -> list:
    """Sends the values and returns what was delivered, in order of delivery; an undelivered record raises."""
    delivered = []

    def on_delivery(error, message):
        if error is not None:
            raise KafkaException(error)
        delivered.append(message)

    producer = Producer({"bootstrap.servers": SERVERS, "linger.ms": 5, **(config or {})})
    for value in values:
        producer.produce(to, value, on_delivery=on_delivery, **options)
    equal(producer.flush(30), 0)
    return delivered


def read(of: str, count: int, partition: int = 0, offset: int = 0, config: dict | None = None) -> list:
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": f"read-{RUN}", "enable.auto.commit": False, **(config or {})})
    consumer.assign([TopicPartition(of, partition, offset)])
    messages = []
    deadline = time.monotonic() + 30
    while len(messages) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(messages), 1.0):
            if message.error():
                raise KafkaException(message.error())
            messages.append(message)
    consumer.close()
    return messages


@check(name("the cluster has three brokers and a controller"))
def _():
    seen = admin.describe_cluster().result(20)
    equal(sorted(node.id for node in seen.nodes), [1, 2, 3])
    assert seen.controller.id in (1, 2, 3) and seen.cluster_id


@check(name("a topic is created, described and deleted"))
def _():
    made = topic("admin", partitions=4)
    seen = admin.list_topics(made, timeout=10).topics[made]
    equal(sorted(seen.partitions), [0, 1, 2, 3])
    equal({len(part.replicas) for part in seen.partitions.values()}, {3})
    equal({tuple(sorted(part.isrs)) for part in seen.partitions.values()}, {(1, 2, 3)})
    leaders = [part.leader for part in seen.partitions.values()]
    equal(len(set(leaders)), 3)
    admin.delete_topics([made])[made].result(20)
    eventually(lambda: made not in admin.list_topics(timeout=10).topics)


def error_of(future) -> str:
    try:
        future.result(20)
    except KafkaException as error:
        return error.args[0].name()
    return "NO_ERROR"


@check(name("errors of topic creation"))
def _():
    made = topic("errors")
    equal(error_of(admin.create_topics([NewTopic(made, 1, 1)])[made]), "TOPIC_ALREADY_EXISTS")
    equal(error_of(admin.create_topics([NewTopic("bad name", 1, 1)])["bad name"]), "TOPIC_EXCEPTION")
    equal(error_of(admin.create_topics([NewTopic(f"rf-{RUN}", 1, 4)])[f"rf-{RUN}"]), "INVALID_REPLICATION_FACTOR")
    equal(error_of(admin.create_topics([NewTopic(f"parts-{RUN}", 0, 1)])[f"parts-{RUN}"]), "INVALID_PARTITIONS")
    wrong = NewTopic(f"config-{RUN}", 1, 1, config={"retention.ms": "soon"})
    equal(error_of(admin.create_topics([wrong])[wrong.topic]), "INVALID_CONFIG")
    equal(error_of(admin.delete_topics([f"none-{RUN}"])[f"none-{RUN}"]), "UNKNOWN_TOPIC_OR_PART")


@check(name("partitions are added"))
def _():
    made = topic("grow")
    admin.create_partitions([NewPartitions(made, 3)])[made].result(20)
    eventually(lambda: has_leaders(made, 3))
    equal(error_of(admin.create_partitions([NewPartitions(made, 2)])[made]), "INVALID_PARTITIONS")


@check(name("configurations are described with their defaults"))
def _():
    made = topic("config", config={"min.insync.replicas": "2"})
    resource = ConfigResource(ConfigResource.Type.TOPIC, made)
    seen = patiently(lambda: admin.describe_configs([resource])[resource].result(20))
    equal(seen["min.insync.replicas"].value, "2")
    equal(seen["cleanup.policy"].value, "delete")
    equal(seen["retention.ms"].value, "604800000")
    assert seen["cleanup.policy"].is_default and not seen["min.insync.replicas"].is_default


for acks in ("0", "1", "all"):

    @check(name(f"a thousand records with acks={acks} are read back in order"))
    def _():
        made = topic(f"acks-{acks}")
        values = [f"value {number}".encode() for number in range(1000)]
        produce(made, values, {"acks": acks})
        messages = read(made, 1000)
        equal([message.value() for message in messages], values)
        equal([message.offset() for message in messages], list(range(1000)))


@check(name("delivery reports carry partition and offset"))
def _():
    made = topic("reports")
    delivered = produce(made, [b"a", b"b", b"c"], {"acks": "all"})
    equal([(message.partition(), message.offset()) for message in delivered], [(0, 0), (0, 1), (0, 2)])


@check(name("an idempotent producer"))
def _():
    made = topic("idempotent")
    values = [str(number).encode() for number in range(2000)]
    produce(made, values, {"enable.idempotence": True, "batch.num.messages": 50})
    equal([message.value() for message in read(made, 2000)], values)


@check(name("keys, headers, timestamps and empty values"))
def _():
    made = topic("shape")
    headers = [("a", b"1"), ("a", b"2"), ("none", None)]
    produce(made, [b"", None], key=b"k", headers=headers, timestamp=1_600_000_000_000)
    first, second = read(made, 2)
    equal((first.key(), first.value(), second.value()), (b"k", b"", None))
    equal(first.headers(), headers)
    equal(first.timestamp(), (1, 1_600_000_000_000))


for codec in ("gzip", "snappy", "lz4", "zstd"):

    @check(name(f"compression {codec}"))
    def _():
        made = topic(f"codec-{codec}")
        values = [b"squeeze " * 50 + str(number).encode() for number in range(500)]
        produce(made, values, {"compression.type": codec})
        equal([message.value() for message in read(made, 500)], values)


@check(name("records of a megabyte, and the error above the limit"))
def _():
    made = topic("large")
    produce(made, [b"x" * 900_000], {"message.max.bytes": 2_000_000})
    equal(len(read(made, 1)[0].value()), 900_000)
    try:
        produce(made, [b"x" * 1_500_000], {"message.max.bytes": 2_000_000})
    except KafkaException as error:
        equal(error.args[0].name(), "MSG_SIZE_TOO_LARGE")
    else:
        raise AssertionError("a record above max.message.bytes was taken")


@check(name("keys choose partitions, and each keeps its order"))
def _():
    made = topic("keyed", partitions=3)
    producer = Producer({"bootstrap.servers": SERVERS})
    for number in range(300):
        producer.produce(made, str(number).encode(), key=str(number % 10).encode())
    equal(producer.flush(30), 0)
    watermarks = admin.list_offsets({TopicPartition(made, part): OffsetSpec.latest() for part in range(3)})
    ends = {part.partition: future.result(20).offset for part, future in watermarks.items()}
    equal(sum(ends.values()), 300)
    seen: dict = {}
    for part, count in ends.items():
        for message in read(made, count, part):
            seen.setdefault(message.key(), []).append(int(message.value()))
    equal(seen, {str(key).encode(): list(range(key, 300, 10)) for key in range(10)})


@check(name("watermarks, seek and offsets for times"))
def _():
    made = topic("times")
    for number in range(10):
        produce(made, [str(number).encode()], timestamp=1_700_000_000_000 + number * 1000)
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": f"times-{RUN}"})
    equal(consumer.get_watermark_offsets(TopicPartition(made, 0), 10), (0, 10))
    asked = [TopicPartition(made, 0, 1_700_000_000_000 + 4500)]
    equal(consumer.offsets_for_times(asked, 10)[0].offset, 5)
    equal(consumer.offsets_for_times([TopicPartition(made, 0, 1_800_000_000_000)], 10)[0].offset, -1)
    consumer.assign([TopicPartition(made, 0, 3)])
    equal(consumer.poll(20).value(), b"3")
    consumer.seek(TopicPartition(made, 0, 8))
    equal(eventually(lambda: consumer.poll(1)).value(), b"8")
    consumer.close()


@check(name("the end of a partition is told"))
def _():
    made = topic("end")
    produce(made, [b"only"])
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": f"end-{RUN}", "enable.partition.eof": True})
    consumer.assign([TopicPartition(made, 0, 0)])
    equal(consumer.poll(20).value(), b"only")
    equal(consumer.poll(20).error().code(), KafkaError._PARTITION_EOF)
    consumer.close()


@check(name("an offset out of range follows auto.offset.reset"))
def _():
    made = topic("range")
    produce(made, [b"a", b"b"])
    equal(read(made, 1, offset=1000, config={"auto.offset.reset": "earliest"})[0].offset(), 0)


@check(name("a long poll is woken by a record"))
def _():
    made = topic("wake")
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": f"wake-{RUN}", "fetch.wait.max.ms": 10000, "fetch.min.bytes": 1})
    consumer.assign([TopicPartition(made, 0, 0)])
    equal(consumer.poll(1.0), None)
    started = time.monotonic()
    produce(made, [b"now"])
    equal(consumer.poll(20).value(), b"now")
    assert time.monotonic() - started < 3, f"{time.monotonic() - started:.1f} s"
    consumer.close()


end()
