"""Consumer groups through confluent-kafka: joining, leaving, dying, commits, static members, administration of groups."""

import os
import subprocess
import sys
import threading
import time
import uuid

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.check import check, end, equal, eventually

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
RUN = uuid.uuid4().hex[:8]
PARTITIONS = 6
admin = AdminClient({"bootstrap.servers": SERVERS})
TOPIC = f"groups-{RUN}"


def name(text: str) -> str:
    return f"consumer groups: {text}"


def member(group: str, strategy: str = "range", **config) -> Consumer:
    consumer = Consumer(
        {
            "bootstrap.servers": SERVERS,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 500,
            "partition.assignment.strategy": strategy,
            **config,
        }
    )
    consumer.subscribe([TOPIC])
    return consumer


def settle(members: list[Consumer], seconds: float = 30.0) -> list[list[int]]:
    """Polls all members in turn until every partition has exactly one owner and every member some."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in members:
            one.poll(0.05)
        owned = [sorted(part.partition for part in one.assignment()) for one in members]
        if all(owned) and sorted(sum(owned, [])) == list(range(PARTITIONS)):
            return owned
    raise AssertionError(f"not settled within {seconds} s: {owned}")


def fill(count: int) -> None:
    producer = Producer({"bootstrap.servers": SERVERS, "acks": "all"})
    for number in range(count):
        producer.produce(TOPIC, str(number).encode(), partition=number % PARTITIONS)
    equal(producer.flush(30), 0)


def drain(consumer: Consumer, count: int) -> list[int]:
    values: list[int] = []
    deadline = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        for message in consumer.consume(count - len(values), 0.5):
            if message.error():
                raise KafkaException(message.error())
            values.append(int(message.value()))
    return values


admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result(20)
fill(60)


@check(name("one member owns and reads everything"))
def _():
    one = member(f"single-{RUN}")
    equal(sorted(drain(one, 60)), list(range(60)))
    one.close()


@check(name("a second member takes its share when it joins, and gives it back when it leaves"))
def _():
    first = member(f"join-{RUN}")
    equal(settle([first]), [list(range(PARTITIONS))])
    second = member(f"join-{RUN}")
    equal(sorted(len(owned) for owned in settle([first, second])), [3, 3])
    second.close()
    equal(settle([first]), [list(range(PARTITIONS))])
    first.close()


@check(name("three members, round robin"))
def _():
    members = [member(f"three-{RUN}", "roundrobin") for _ in range(3)]
    equal([len(owned) for owned in settle(members)], [2, 2, 2])
    for one in members:
        one.close()


@check(name("cooperative rebalancing"))
def _():
    first = member(f"coop-{RUN}", "cooperative-sticky")
    settle([first])
    second = member(f"coop-{RUN}", "cooperative-sticky")
    equal(sorted(len(owned) for owned in settle([first, second])), [3, 3])
    first.close()
    equal(settle([second]), [list(range(PARTITIONS))])
    second.close()


DYING = """
import os, sys
from confluent_kafka import Consumer
consumer = Consumer({"bootstrap.servers": sys.argv[1], "group.id": sys.argv[2], "session.timeout.ms": 6000,
                     "heartbeat.interval.ms": 500, "partition.assignment.strategy": "range"})
consumer.subscribe([sys.argv[3]])
while not consumer.assignment():
    consumer.poll(0.1)
print("assigned", flush=True)
while True:
    consumer.poll(0.1)
"""


@check(name("a member that dies loses its share when its session ends"))
def _():
    group = f"die-{RUN}"
    survivor = member(group)
    settle([survivor])
    process = subprocess.Popen([sys.executable, "-c", DYING, SERVERS, group, TOPIC], stdout=subprocess.PIPE, text=True)
    told = threading.Thread(target=process.stdout.readline)
    told.start()
    while told.is_alive():
        survivor.poll(0.05)
    eventually(lambda: survivor.poll(0.05) or len(survivor.assignment()) == 3)
    process.kill()
    process.wait()
    died = time.monotonic()
    equal(settle([survivor]), [list(range(PARTITIONS))])
    assert 3 < time.monotonic() - died < 12, f"{time.monotonic() - died:.1f} s for a session of 6 s"
    survivor.close()


@check(name("commits are where the next member starts"))
def _():
    group = f"commit-{RUN}"
    one = member(group)
    seen = drain(one, 30)
    one.commit(asynchronous=False)
    one.close()
    other = member(group)
    seen += drain(other, 30)
    equal(sorted(seen), list(range(60)))
    other.close()


@check(name("a commit of named offsets with metadata, and committed()"))
def _():
    one = Consumer({"bootstrap.servers": SERVERS, "group.id": f"named-{RUN}"})
    part = TopicPartition(TOPIC, 2, 7, metadata="note")
    one.commit(offsets=[part], asynchronous=False)
    seen = one.committed([TopicPartition(TOPIC, 2), TopicPartition(TOPIC, 3)], 10)
    equal([(p.offset, p.metadata or "") for p in seen], [(7, "note"), (-1001, "")])
    one.close()


@check(name("automatic commits on close"))
def _():
    group = f"auto-{RUN}"
    one = member(group, **{"enable.auto.commit": True})
    drain(one, 60)
    one.close()
    seen = Consumer({"bootstrap.servers": SERVERS, "group.id": group}).committed([TopicPartition(TOPIC, p) for p in range(PARTITIONS)], 10)
    equal([part.offset for part in seen], [10] * PARTITIONS)


@check(name("a static member keeps its share over a restart"))
def _():
    group = f"static-{RUN}"
    other = member(group, **{"group.instance.id": "b"})
    first = member(group, **{"group.instance.id": "a"})
    before = settle([other, first])
    changes = []
    other.subscribe([TOPIC], on_assign=lambda _, parts: changes.append(len(parts)))
    settle([other, first])
    changes.clear()
    first.close()  # A static member does not leave the group when it closes.
    again = member(group, **{"group.instance.id": "a"})
    equal(settle([other, again]), before)
    equal(changes, [])
    other.close()
    again.close()


@check(name("groups are listed and described"))
def _():
    group = f"described-{RUN}"
    one = member(group, **{"client.id": "me"})
    settle([one])
    listed = {entry.group_id for entry in admin.list_consumer_groups().result(20).valid}
    assert group in listed, listed
    seen = admin.describe_consumer_groups([group])[group].result(20)
    equal((seen.state.name, seen.partition_assignor), ("STABLE", "range"))
    equal([entry.client_id for entry in seen.members], ["me"])
    equal(len(seen.members[0].assignment.topic_partitions), PARTITIONS)
    one.close()
    eventually(lambda: admin.describe_consumer_groups([group])[group].result(20).state.name in ("EMPTY", "DEAD"))


@check(name("a group's offsets are listed, and an empty group is deleted"))
def _():
    group = f"delete-{RUN}"
    one = Consumer({"bootstrap.servers": SERVERS, "group.id": group})
    one.commit(offsets=[TopicPartition(TOPIC, 0, 5)], asynchronous=False)
    one.close()
    asked = [ConsumerGroupTopicPartitions(group)]
    seen = admin.list_consumer_group_offsets(asked)[group].result(20).topic_partitions
    equal([(part.partition, part.offset) for part in seen], [(0, 5)])
    admin.delete_consumer_groups([group])[group].result(20)
    assert group not in {entry.group_id for entry in admin.list_consumer_groups().result(20).valid}


@check(name("a group with members is not deleted"))
def _():
    group = f"busy-{RUN}"
    one = member(group)
    settle([one])
    try:
        admin.delete_consumer_groups([group])[group].result(20)
    except KafkaException as error:
        equal(error.args[0].name(), "NON_EMPTY_GROUP")
    else:
        raise AssertionError("it was deleted")
    one.close()


end()
