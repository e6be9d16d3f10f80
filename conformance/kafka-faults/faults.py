"""Faults as applications with confluent-kafka (librdkafka) meet them, with the brokers' default timeouts.

Each check begins with a healthy stack and a topic of its own. Nothing is decided by how long it took, but for one thing: nobody
else leads before the dead leader's session has ended.
"""

import os
import threading
import time
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from harness.check import check, end, equal, eventually
from harness.stack import atoll, heal, ledger, status

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")
SESSION_S = 9.0


def server(broker: int) -> str:
    return SERVERS[broker - 1]


def others(broker: int) -> list[int]:
    return [other for other in (1, 2, 3) if other != broker]


def partition(of: str, through: int):
    """What one broker's metadata says of the topic's only partition, or nothing if it does not answer."""
    try:
        seen = AdminClient({"bootstrap.servers": server(through), "socket.timeout.ms": 2000, "log_level": 0}).list_topics(of, timeout=3)
        return seen.topics[of].partitions.get(0)
    except Exception:  # Whatever it is, this broker says nothing now.
        return None


def topic(config: dict | None = None) -> str:
    """A topic with one partition and three replicas, known to all brokers."""
    undo()
    made = f"faults-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": ",".join(SERVERS)})
    admin.create_topics([NewTopic(made, 1, 3, config=config or {})])[made].result(20)
    for broker in (1, 2, 3):
        eventually(lambda broker=broker: (seen := partition(made, broker)) and sorted(seen.isrs) == [1, 2, 3])
    return made


def undo() -> None:
    heal()
    for broker in (1, 2, 3):
        admin = AdminClient({"bootstrap.servers": server(broker), "log_level": 0})
        eventually(lambda admin=admin: len(admin.list_topics(timeout=5).brokers) == 3, 40)


class Application:
    """A producer that counts, in a thread of its own: what was acknowledged, with its offset, and what failed."""

    def __init__(self, to: str, servers: list[str] | None = None, **config):
        self.topic, self.acknowledged, self.failures, self.sent = to, [], [], 0
        self._stop = threading.Event()
        settings = {name.replace("_", "."): value for name, value in config.items()}
        self._producer = Producer({"bootstrap.servers": ",".join(servers or SERVERS), "linger.ms": 0, "log_level": 0, **settings})
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._thread.start()
        self.goes_on()
        return self

    def _told(self, error, message) -> None:
        if error:
            self.failures.append((error.name(), message.value()))
        else:
            self.acknowledged.append((message.offset(), message.value()))

    def _send(self) -> None:
        while not self._stop.wait(0.002):
            if len(self._producer) < 200:
                self.sent += 1
                self._producer.produce(self.topic, b"%d" % self.sent, partition=0, on_delivery=self._told)
            self._producer.poll(0)

    def goes_on(self, seconds: float = 60) -> None:
        """Waits for one more acknowledgement of a record sent from now on."""
        number = self.sent
        eventually(lambda: any(int(value) > number for _, value in self.acknowledged[-300:]), seconds)

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self._producer.flush(60)


def read(of: str, servers: list[str] | None = None) -> list[tuple[int, bytes]]:
    """The whole partition as (offset, value), up to the high watermark."""
    consumer = Consumer({"bootstrap.servers": ",".join(servers or SERVERS), "group.id": "reader", "enable.partition.eof": True, "log_level": 0})
    consumer.assign([TopicPartition(of, 0, 0)])
    seen = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            if message.error().name() == "_PARTITION_EOF":
                break
            continue
        seen.append((message.offset(), message.value()))
    consumer.close()
    return seen


def leader_by_controller(of: str) -> int:
    """Who leads as the controller has it, whatever clients can see."""
    return status()["engines"]["kafka"]["status"]["leaders"][f"{of}-0"]


@check("row 1, leader crash: metadata names the dead leader until its session ends, then another leads; acks=all loses nothing")
def _():
    made = topic({"min.insync.replicas": "2"})
    leader = partition(made, 1).leader
    other = others(leader)[0]
    with Application(made, acks="all") as producer:
        killed = time.monotonic()
        atoll("node", "kill", str(leader))
        equal(partition(made, other).leader, leader)
        eventually(lambda: (seen := partition(made, other)) and seen.leader in others(leader), 60)
        print(f"# a new leader {time.monotonic() - killed:.1f} s after the crash", flush=True)
        # Heartbeats come every 2 s, so the session that ends may have begun that long before.
        assert time.monotonic() - killed > SESSION_S - 2.5, "a new leader before the session had ended"
        producer.goes_on()
    equal(producer.failures, [])
    equal(read(made, [server(other)]), sorted(producer.acknowledged))
    equal([int(value) for _, value in sorted(producer.acknowledged)], list(range(1, producer.sent + 1)))
    equal(ledger("acked_lost", made), 0)
    undo()
    eventually(lambda: sorted(partition(made, other).isrs) == [1, 2, 3], 60)


@check("row 2, follower crash: acks=all stalls until it is fenced, and acks=1 does not; below min.insync.replicas it is refused")
def _():
    made = topic({"min.insync.replicas": "2"})
    leader = partition(made, 1).leader
    first, second = others(leader)
    with Application(made, acks="all") as careful, Application(made, acks="1", enable_idempotence="false") as careless:
        atoll("node", "kill", str(first))
        careless.goes_on()
        equal(sorted(partition(made, leader).isrs), [1, 2, 3])
        careful.goes_on()
        equal(sorted(partition(made, leader).isrs), sorted([leader, second]))
    equal(careful.failures + careless.failures, [])
    everything = sorted(careful.acknowledged + careless.acknowledged)
    equal(read(made, [server(leader)]), everything)


@check("row 2, too few in sync: NOT_ENOUGH_REPLICAS to acks=all, and not to acks=1")
def _():
    made = topic({"min.insync.replicas": "3"})
    leader = partition(made, 1).leader
    atoll("node", "kill", str(others(leader)[0]))
    eventually(lambda: len(partition(made, leader).isrs) == 2, 60)
    errors = []
    for acks in ("all", "1"):
        producer = Producer({"bootstrap.servers": server(leader), "acks": acks, "retries": 0, "log_level": 0})
        producer.produce(made, b"x", partition=0, on_delivery=lambda error, _: errors.append(error and error.name()))
        equal(producer.flush(30), 0)
    equal(errors, ["NOT_ENOUGH_REPLICAS", None])


@check("row 3, isolated leader: acks=1 is acknowledged and truncated on healing, acks=all times out; the ledger names each lost record")
def _():
    made = topic({"min.insync.replicas": "2"})
    leader = partition(made, 1).leader
    majority = others(leader)
    atoll("partition", f"{leader}|{','.join(str(broker) for broker in majority)}")
    alone = [server(leader)]
    # At once, while the other side has no leader that the client could find.
    errors = []
    careful = Producer({"bootstrap.servers": alone[0], "acks": "all", "retries": 0, "request.timeout.ms": 2000, "log_level": 0})
    careful.produce(made, b"all", partition=0, on_delivery=lambda error, _: errors.append(error and error.name()))
    equal(careful.flush(60), 0)
    equal(errors, ["REQUEST_TIMED_OUT"])
    for broker in majority:  # Or the client would ask them, and find out.
        atoll("link", "cut", "client", str(broker))
    with Application(made, alone, acks="1", enable_idempotence="false") as careless:
        eventually(lambda: leader_by_controller(made) in majority, 60)
        careless.goes_on()
    for broker in majority:
        atoll("link", "heal", "client", str(broker))
    lost = careless.acknowledged
    with Application(made, [server(majority[0])], acks="all") as other_side:
        other_side.goes_on()
    atoll("heal")
    eventually(lambda: all((seen := partition(made, broker)) and sorted(seen.isrs) == [1, 2, 3] for broker in (1, 2, 3)), 90)
    kept = read(made)
    equal(kept, sorted(other_side.acknowledged))
    equal(ledger("acked_lost", made), len(lost))


@check("row 4, clients cut from the leader: never a failover; the producer's own timeout ends its waiting")
def _():
    made = topic()
    leader = partition(made, 1).leader
    other = others(leader)[0]
    epoch = partition(made, other)
    with Application(made, acks="all", delivery_timeout_ms=6000, request_timeout_ms=3000, socket_timeout_ms=4000) as producer:
        atoll("link", "cut", "client", str(leader))
        eventually(lambda: producer.failures, 60)
        equal(producer.failures[0][0], "_MSG_TIMED_OUT")
        time.sleep(SESSION_S + 1)
        seen = partition(made, other)
        equal((seen.leader, sorted(seen.isrs)), (leader, sorted(epoch.isrs)))
        atoll("heal")
        producer.goes_on(90)


undo()
end()
