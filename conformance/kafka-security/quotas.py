"""Client quotas: set over the protocol, and felt by librdkafka and kafka-python, who say for how long they were throttled.

librdkafka cannot set quotas, so that requests are made by hand.
"""

import json
import os
import time
import uuid

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, NewPartitions, NewTopic, ResourcePatternType, ResourceType
from kafka import KafkaProducer

from harness.check import check, end, equal, eventually
from harness.kafka_wire import Broker

RUN = uuid.uuid4().hex[:8]
SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
SASL = os.environ["KAFKA_BOOTSTRAP_SERVERS_SASL_PLAINTEXT"]
admin = AdminClient({"bootstrap.servers": SERVERS})
asker = Broker(1)
TOPIC = f"throttled-{RUN}"
# So much may come within ten seconds at 40,000 bytes a second; what comes beyond it is muted.
RATE, BURST = 40_000, 400_000
USER = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "alice", "sasl.password": "alice-secret", "bootstrap.servers": SASL}


def alter(entity: dict, **quotas) -> None:
    """`alter({"user": "alice"}, producer_byte_rate=1000)`; None takes a quota away."""
    parts = [{"entity_type": kind, "entity_name": name} for kind, name in entity.items()]
    ops = [{"key": key, "value": float(value or 0), "remove": value is None} for key, value in quotas.items()]
    (answer,) = asker.ask("AlterClientQuotas", 1, entries=[{"entity": parts, "ops": ops}], validate_only=False).entries
    equal((answer.error_code, answer.error_message), (0, None))
    for node in (1, 2, 3):
        eventually(lambda node=node: described(entity, node) == {key: value for key, value in quotas.items() if value is not None})


def described(entity: dict, node: int = 1) -> dict:
    components = [{"entity_type": kind, "match_type": 0, "match": name} for kind, name in entity.items()]
    entries = Broker(node).ask("DescribeClientQuotas", 1, components=components, strict=True).entries
    return {value.key: value.value for entry in entries for value in entry.values}


class Client:
    """What a client of librdkafka is told of its throttling: by its callback, and in its statistics."""

    def __init__(self, **config):
        self.seconds: list[float] = []
        self.statistics: list[float] = []
        self.config = {"bootstrap.servers": SERVERS, "statistics.interval.ms": 100, "throttle_cb": self.throttled, "stats_cb": self.told, **config}

    def throttled(self, event) -> None:
        self.seconds.append(event.throttle_time)

    def told(self, text: str) -> None:
        brokers = json.loads(text)["brokers"].values()
        self.statistics += [broker["throttle"]["max"] for broker in brokers if broker["throttle"]["max"]]


def produce(kilobytes: int, topic: str = TOPIC, **config) -> Client:
    client = Client(**config)
    producer = Producer({"linger.ms": 0, "batch.size": 10_000, "acks": 1, **client.config})
    failed = []
    for _ in range(kilobytes):
        producer.produce(topic, b"x" * 1000, on_delivery=lambda error, _: failed.append(error) if error else None)
    equal((producer.flush(60), failed), (0, []))
    producer.poll(0.3)
    return client


for made in admin.create_topics([NewTopic(TOPIC, 1, 3), NewTopic(f"theirs-{RUN}", 1, 3)]).values():
    made.result(20)
rule = AclBinding(ResourceType.TOPIC, f"theirs-{RUN}", ResourcePatternType.LITERAL, "User:alice", "*", AclOperation.WRITE, AclPermissionType.ALLOW)
admin.create_acls([rule])[rule].result(20)
eventually(lambda: f"theirs-{RUN}" in AdminClient(USER).list_topics(timeout=10).topics)
produce(100)


@check("quotas: nobody is throttled without one")
def _():
    client = produce(600, **{"client.id": f"free-{RUN}"})
    equal((client.seconds, client.statistics), ([], []))


@check("quotas: librdkafka is told that it produces too much, and waits")
def _():
    alter({"client-id": f"producer-{RUN}"}, producer_byte_rate=RATE)
    began = time.monotonic()
    client = produce(500, **{"client.id": f"producer-{RUN}"})
    took = time.monotonic() - began
    # 100,000 bytes too much at 40,000 a second; whoever was muted sends less than that before it is muted again.
    assert client.seconds and max(client.seconds) > 0.1, client.seconds
    assert took > 1.5, f"it took {took} s, and was told {client.seconds}"
    assert client.statistics, "the statistics say nothing"


@check("quotas: a quota that is raised while a client runs is felt by the next request")
def _():
    name = {"client-id": f"changing-{RUN}"}
    alter(name, producer_byte_rate=RATE)
    client = Client(**{"client.id": name["client-id"]})
    producer = Producer({"linger.ms": 0, "batch.size": 10_000, "acks": 1, **client.config})

    def send(kilobytes: int) -> int:
        before = len(client.seconds)
        for _ in range(kilobytes):
            producer.produce(TOPIC, b"x" * 1000)
        equal(producer.flush(60), 0)
        producer.poll(0.3)
        return len(client.seconds) - before

    assert send(450) > 0, "it was not throttled"
    alter(name, producer_byte_rate=RATE * 1000)
    send(1)
    equal(send(450), 0)
    alter(name, producer_byte_rate=None)
    equal(described(name), {})
    equal(send(450), 0)


@check("quotas: librdkafka is told that it reads too much")
def _():
    alter({"client-id": f"consumer-{RUN}"}, consumer_byte_rate=RATE)
    client = Client(**{"client.id": f"consumer-{RUN}", "group.id": f"quota-{RUN}", "auto.offset.reset": "earliest", "fetch.max.bytes": 1_000_000})
    consumer = Consumer(client.config)
    consumer.subscribe([TOPIC])
    read, began = 0, time.monotonic()
    while read < 500_000 and time.monotonic() - began < 40:
        read += sum(len(message.value()) for message in consumer.consume(500, 0.5) if not message.error())
    took = time.monotonic() - began
    consumer.close()
    assert read >= 500_000, f"{read} bytes in {took} s"
    assert client.seconds and took > 1.5, f"it took {took} s, and was told {client.seconds}"


@check("quotas: a user's clients share what the user has")
def _():
    alter({"user": "alice"}, producer_byte_rate=RATE)
    one = produce(300, f"theirs-{RUN}", **USER, **{"client.id": f"one-{RUN}"})
    equal(one.seconds, [])
    other = produce(200, f"theirs-{RUN}", **USER, **{"client.id": f"other-{RUN}"})
    assert other.seconds, "it was not throttled"
    alter({"user": "alice"}, producer_byte_rate=None)


@check("quotas: a user's client has its own before what the user has")
def _():
    alter({"user": "alice"}, producer_byte_rate=RATE)
    alter({"user": "alice", "client-id": f"rich-{RUN}"}, producer_byte_rate=RATE * 1000)
    equal(produce(500, f"theirs-{RUN}", **USER, **{"client.id": f"rich-{RUN}"}).seconds, [])
    alter({"user": "alice"}, producer_byte_rate=None)
    alter({"user": "alice", "client-id": f"rich-{RUN}"}, producer_byte_rate=None)


@check("quotas: kafka-python says for how long it was throttled")
def _():
    alter({"client-id": f"python-{RUN}"}, producer_byte_rate=RATE)
    producer = KafkaProducer(bootstrap_servers=SERVERS.split(","), client_id=f"python-{RUN}", linger_ms=0, batch_size=10_000, max_in_flight_requests_per_connection=1)
    sent = [producer.send(TOPIC, b"x" * 1000) for _ in range(450)]
    producer.flush(60)
    assert all(future.succeeded() for future in sent)
    told = [group["throttle-time-max"] for group in producer.metrics().values() if "throttle-time-max" in group]
    producer.close()
    assert told and max(told) > 0, told


@check("quotas: changes of topics are limited for whoever makes too many")
def _():
    alter({"client-id": f"maker-{RUN}"}, controller_mutation_rate=1)
    client = Client(**{"client.id": f"maker-{RUN}"})
    maker = AdminClient(client.config)
    first, second = f"many-{RUN}", f"more-{RUN}"
    maker.create_topics([NewTopic(first, 13, 1)])[first].result(20)
    # Eleven at once and one a second thereafter: the next is refused, or kept waiting where the version has no such error.
    try:
        began = time.monotonic()
        maker.create_partitions([NewPartitions(first, 14)])[first].result(20)
        waited = time.monotonic() - began
    except KafkaException as error:
        equal(error.args[0].name(), "THROTTLING_QUOTA_EXCEEDED")
    else:
        assert waited > 0.5, f"it waited for {waited} s"
    admin.create_topics([NewTopic(second, 13, 1)])[second].result(20)


@check("quotas: a share of the brokers' time mutes whoever takes more")
def _():
    alter({"client-id": f"busy-{RUN}"}, request_percentage=0.0001)
    client = produce(300, **{"client.id": f"busy-{RUN}"})
    assert client.seconds, "it was not throttled"
    assert max(client.seconds) <= 1.0, client.seconds
    alter({"client-id": f"busy-{RUN}"}, request_percentage=None)


end()
