"""Transactions with confluent-kafka (librdkafka): what is committed is read, what is aborted is not, and a second producer fences the first."""

import os
import uuid

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.check import check, end, equal, eventually

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
RUN = uuid.uuid4().hex[:8]
admin = AdminClient({"bootstrap.servers": SERVERS})


def name(text: str) -> str:
    return f"confluent-kafka transactions: {text}"


def topic(text: str, partitions: int = 1) -> str:
    created = f"{text}-{RUN}"
    admin.create_topics([NewTopic(created, partitions, 3)])[created].result(20)
    for broker in SERVERS.split(","):
        asked = AdminClient({"bootstrap.servers": broker})
        eventually(lambda asked=asked: created in asked.list_topics(timeout=10).topics)
    return created


def producer(transactional_id: str) -> Producer:
    begun = Producer({"bootstrap.servers": SERVERS, "transactional.id": f"{transactional_id}-{RUN}"})
    begun.init_transactions(30)
    return begun


def transact(through: Producer, to: str, values: list, commit: bool) -> None:
    through.begin_transaction()
    for value in values:
        through.produce(to, value, key=value)
    equal(through.flush(30), 0)
    (through.commit_transaction if commit else through.abort_transaction)(30)


def read(of: str, partitions: int, isolation: str) -> list:
    """All values up to the end that a reader of this isolation sees, in the order of each partition."""
    settings = {"bootstrap.servers": SERVERS, "group.id": f"read-{RUN}", "isolation.level": isolation, "enable.partition.eof": True}
    consumer = Consumer({**settings, "enable.auto.commit": False})
    consumer.assign([TopicPartition(of, partition, 0) for partition in range(partitions)])
    values, ended = [], set()
    while len(ended) < partitions:
        message = consumer.poll(30)
        assert message is not None, "neither a record nor an end"
        if message.error():
            ended.add(message.partition())
        else:
            values.append(message.value().decode())
    consumer.close()
    return values


@check(name("what is committed is read, what is aborted is not"))
def _():
    to = topic("ended", 2)
    through = producer("ended")
    for number, commit in enumerate((True, False, True)):
        transact(through, to, [f"{number}-{record}" for record in range(5)], commit)
    kept = sorted(f"{number}-{record}" for number in (0, 2) for record in range(5))
    equal(sorted(read(to, 2, "read_committed")), kept)
    equal(len(read(to, 2, "read_uncommitted")), 15)


@check(name("readers stop before a transaction that is not over"))
def _():
    to = topic("open")
    through = producer("open")
    transact(through, to, ["before"], True)
    through.begin_transaction()
    through.produce(to, "open")
    equal(through.flush(30), 0)
    equal(read(to, 1, "read_committed"), ["before"])
    equal(read(to, 1, "read_uncommitted"), ["before", "open"])
    through.commit_transaction(30)
    equal(read(to, 1, "read_committed"), ["before", "open"])


@check(name("offsets are committed with the transaction"))
def _():
    """Reading, changing and writing, with the offsets in the same transaction."""
    origin, to = topic("origin"), topic("changed")
    plain = Producer({"bootstrap.servers": SERVERS})
    for number in range(4):
        plain.produce(origin, f"in-{number}")
    equal(plain.flush(30), 0)
    group = f"copy-{RUN}"
    consumer = Consumer({"bootstrap.servers": SERVERS, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([origin])
    messages = []
    while len(messages) < 4:
        message = consumer.poll(30)
        assert message is not None and message.error() is None, message
        messages.append(message)
    through = producer("copy")
    for commit in (False, True):
        through.begin_transaction()
        for message in messages:
            through.produce(to, b"copy of " + message.value())
        through.send_offsets_to_transaction(consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30)
        (through.commit_transaction if commit else through.abort_transaction)(30)
        found = consumer.committed([TopicPartition(origin, 0)], 30)[0].offset
        equal(found, 4 if commit else -1001)
    equal(read(to, 1, "read_committed"), [f"copy of in-{number}" for number in range(4)])
    consumer.close()


@check(name("a second producer fences the first and aborts what it left"))
def _():
    to = topic("fenced")
    first = producer("till")
    first.begin_transaction()
    first.produce(to, "left open")
    equal(first.flush(30), 0)
    second = producer("till")
    try:
        first.commit_transaction(30)
        raise AssertionError("the first producer was not fenced")
    except KafkaException as refused:
        assert refused.args[0].fatal(), refused
    transact(second, to, ["counts"], True)
    equal(read(to, 1, "read_committed"), ["counts"])


end()
