"""Members of both protocols in one group, as librdkafka's consumers: nobody stops reading while the group goes over and back."""

import os
import time
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from harness.check import check, end, equal

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
RUN = uuid.uuid4().hex[:8]
TOPIC, PARTITIONS = f"both-{RUN}", 6
admin = AdminClient({"bootstrap.servers": SERVERS})
admin.create_topics([NewTopic(TOPIC, PARTITIONS, 3)])[TOPIC].result(20)


def member(group: str, protocol: str, strategy: str = "cooperative-sticky", **more) -> Consumer:
    config = {"bootstrap.servers": SERVERS, "group.id": f"{group}-{RUN}", "auto.offset.reset": "earliest", "group.protocol": protocol, **more}
    if protocol == "classic":
        config |= {"partition.assignment.strategy": strategy, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500}
    consumer = Consumer(config)
    consumer.subscribe([TOPIC])
    return consumer


def settle(members: list[Consumer], seconds: float = 40.0) -> list[int]:
    """Polls all in turn until every partition has exactly one owner and every member some; how many each has."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in members:
            one.poll(0.05)
        owned = [sorted(part.partition for part in one.assignment()) for one in members]
        if all(owned) and sorted(sum(owned, [])) == list(range(PARTITIONS)):
            return [len(parts) for parts in owned]
    raise AssertionError(f"not settled within {seconds} s: {owned}")


def kind(group: str) -> str:
    named = {entry.group_id: entry.type.name for entry in admin.list_consumer_groups().result(20).valid}
    return named[f"{group}-{RUN}"]


def close(*members: Consumer) -> None:
    for one in members:
        one.close()


for strategy in ("cooperative-sticky", "range"):

    @check(f"both protocols, {strategy}: a classic group takes a member of KIP-848, and goes back when it leaves")
    def _(strategy=strategy):
        group = f"over-{strategy}"
        # From its second generation on librdkafka's cooperative-sticky puts data of its own into assignments, and a group with
        # such an assignor cannot go over: there it is one member in its first.
        old = [member(group, "classic", strategy) for _ in range(1 if strategy == "cooperative-sticky" else 2)]
        share = PARTITIONS // len(old)
        equal(settle(old), [share] * len(old))
        equal(kind(group), "CLASSIC")
        new = member(group, "consumer")
        equal(settle([*old, new]), [PARTITIONS // (len(old) + 1)] * (len(old) + 1))
        equal(kind(group), "CONSUMER")
        new.close()
        equal(settle(old), [share] * len(old))
        equal(kind(group), "CLASSIC")
        close(*old)


@check("both protocols: a group of KIP-848 takes a classic member, and keeps its kind when that leaves")
def _():
    new = member("takes", "consumer")
    equal(settle([new]), [6])
    old = member("takes", "classic")
    equal(sorted(settle([new, old])), [3, 3])
    equal(kind("takes"), "CONSUMER")
    old.close()
    equal(settle([new]), [6])
    new.close()


@check("both protocols: all members go over one by one, and no record is read by two or by none")
def _():
    members = [member("rolling", "classic"), member("rolling", "classic")]
    settle(members)
    producer, sent, seen = Producer({"bootstrap.servers": SERVERS}), 0, []
    for place in range(len(members)):
        members[place].close()  # It commits what it has read.
        members[place] = member("rolling", "consumer")
        deadline = time.monotonic() + 40
        settled = False
        while time.monotonic() < deadline and not (settled and len(seen) == sent):
            if not settled and sent < 2000:
                producer.produce(TOPIC, str(sent), partition=sent % PARTITIONS)
                producer.poll(0)
                sent += 1
            for one in members:
                message = one.poll(0.01)
                if message is not None and message.error() is None:
                    seen.append(int(message.value()))
            owned = sorted(part.partition for one in members for part in one.assignment())
            settled = settled or (owned == list(range(PARTITIONS)) and all(one.assignment() for one in members))
    producer.flush(10)
    equal(sorted(seen), list(range(sent)))
    equal(kind("rolling"), "CONSUMER")
    close(*members)


end()
