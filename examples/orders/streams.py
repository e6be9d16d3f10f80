"""Kafka: producers that lose nothing, and a consumer that repeats rather than skips."""

import json
import time
from collections import deque

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from common import backoff, log, setting

BOOTSTRAP = setting("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092")
PARTITIONS = setting("TOPIC_PARTITIONS", 6)
REPLICATION = setting("TOPIC_REPLICATION_FACTOR", 3)

ORDERS, PAYMENTS, RESERVATIONS, AUDIT = "orders", "payments", "reservations", "order-audit"
# What must not be lost is written to a majority before it is acknowledged. The audit trail prefers speed.
TOPICS = {
    ORDERS: {"min.insync.replicas": "2"},
    PAYMENTS: {"min.insync.replicas": "2"},
    RESERVATIONS: {"min.insync.replicas": "2"},
    AUDIT: {"min.insync.replicas": "1"},
}

class _Troubles:
    """Logs what the library reports, once a second for each kind: a broker that is away is reported at every attempt."""

    def __init__(self):
        self.last = {}

    def __call__(self, error):
        now, (said, unsaid) = time.monotonic(), self.last.get(error.name(), (0.0, 0))
        if now - said < 1:
            self.last[error.name()] = (said, unsaid + 1)
        else:
            self.last[error.name()] = (now, 0)
            log("kafka_trouble", code=error.name(), error=error.str(), repeated=unsaid)


# The library's defaults wait for a silent broker for a minute. These notice it in seconds, and go on trying.
COMMON = {
    "bootstrap.servers": BOOTSTRAP,
    "socket.timeout.ms": 6000,
    "socket.connection.setup.timeout.ms": 2000,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1000,
    "topic.metadata.refresh.interval.ms": 10000,
    "log_level": 2,  # the library's own lines are no JSON; what matters comes through error_cb as well
    "error_cb": _Troubles(),
}


def create_topics(stop):
    """Create the topics unless they are there. Every service calls this, so that none has to be first."""
    admin = AdminClient(COMMON)
    attempt = 0
    while not stop.is_set():
        wanted = [NewTopic(name, PARTITIONS, REPLICATION, config=dict(config)) for name, config in TOPICS.items()]
        failures = {}
        for name, future in admin.create_topics(wanted, operation_timeout=5, request_timeout=8).items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    failures[name] = str(error)
        if not failures:
            return
        log("topics_not_created", failures=failures)
        stop.wait(backoff(attempt, first=0.2))
        attempt += 1


def producer(**options):
    """A producer for what must not be lost: acknowledged by the in-sync replicas, without duplicates by retries."""
    return Producer(
        {
            **COMMON,
            "acks": "all",
            "enable.idempotence": True,
            "request.timeout.ms": 5000,
            "delivery.timeout.ms": 25000,
            "retry.backoff.ms": 50,
            "linger.ms": 2,
            "queue.buffering.max.kbytes": 8192,
                **options,
        }
    )


class OffsetTracker:
    """Which offset may be committed when records are finished out of order.

    Committing offset n says that everything below n is finished, so the answer is the lowest unfinished offset.
    """

    def __init__(self):
        self._open = {}  # (topic, partition) -> offsets handed out and not known to be finished, ascending
        self._finished = {}  # (topic, partition) -> those of them that are finished, behind an unfinished one
        self._next = {}  # (topic, partition) -> offset after the last one handed out
        self._committed = {}  # (topic, partition) -> what has been committed, or where reading began

    def start(self, partition, offset):
        self._open.setdefault(partition, deque()).append(offset)
        self._committed.setdefault(partition, offset)
        self._next[partition] = offset + 1

    def finish(self, partition, offset):
        if partition not in self._open:
            return  # finished after the partition went to another member, which repeats the record
        finished, waiting = self._finished.setdefault(partition, set()), self._open[partition]
        finished.add(offset)
        while waiting and waiting[0] in finished:
            finished.remove(waiting.popleft())

    def committable(self):
        """{(topic, partition): offset} where more is finished than `committed` was told."""
        positions = {}
        for partition, waiting in self._open.items():
            position = waiting[0] if waiting else self._next[partition]
            if position != self._committed[partition]:
                positions[partition] = position
        return positions

    def committed(self, positions):
        for partition, offset in positions.items():
            if partition in self._committed:
                self._committed[partition] = offset

    def forget(self, partitions):
        for partition in partitions:
            for table in (self._open, self._finished, self._next, self._committed):
                table.pop(partition, None)


class Record:
    """One record on its way through a service."""

    __slots__ = ("partition", "offset", "value", "attempts", "due")

    def __init__(self, partition, offset, value):
        self.partition, self.offset, self.value = partition, offset, value
        self.attempts, self.due = 0, 0.0


class Worker:
    """Reads a topic as a member of a group, and finishes every record at least once.

    `handle(records)` returns {record: event} for those that it carried out; the others are tried again later.
    The event is published, and the record is finished when Kafka has acknowledged the event. Only then may its
    offset be committed: a crash anywhere before repeats the record, and `handle` has to bear that.
    """

    OUTSTANDING_MAX = 2000
    BATCH_MAX = 100
    COMMIT_SECONDS = 0.5

    def __init__(self, group, topic, parse, output, handle):
        self.topic, self.parse, self.output, self.handle = topic, parse, output, handle
        self.tracker = OffsetTracker()
        self.retries = []  # records to try again
        self.publishing = 0
        self.paused = False
        self.last_commit = 0.0
        self.connected = False
        self.producer = producer()
        self.consumer = Consumer(consumer_options(group))

    def run(self, stop):
        create_topics(stop)
        self.consumer.subscribe([self.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        self.connected = True
        while not stop.is_set():
            self.step()
        self.producer.flush(5)
        self._commit()
        self.consumer.close()

    def step(self):
        new = self._read()
        now = time.monotonic()
        due = [record for record in self.retries if record.due <= now][: self.BATCH_MAX]
        batch = due + new
        if batch:
            taken = set(due)
            self.retries = [record for record in self.retries if record not in taken]
            self._carry_out(batch)
        self.producer.poll(0)
        if now - self.last_commit > self.COMMIT_SECONDS:
            self._commit()
            self.last_commit = now

    def _read(self):
        full = len(self.retries) + self.publishing >= self.OUTSTANDING_MAX
        if full != self.paused:
            (self.consumer.pause if full else self.consumer.resume)(self.consumer.assignment())
            self.paused = full
        # The first poll waits; whatever else has arrived is taken without waiting.
        first = self.consumer.poll(0.02 if self.publishing or self.retries else 0.1)
        if first is None:
            return []
        records = []
        for message in [first, *self.consumer.consume(self.BATCH_MAX - 1, timeout=0)]:
            if message.error():
                log("kafka_read_failed", error=str(message.error()))
                continue
            partition = (message.topic(), message.partition())
            self.tracker.start(partition, message.offset())
            try:
                records.append(Record(partition, message.offset(), self.parse(decode(message))))
            except ValueError as error:
                # One bad record must not stop a partition for ever.
                log("record_not_understood", partition=partition, offset=message.offset(), error=str(error))
                self.tracker.finish(partition, message.offset())
        return records

    def _carry_out(self, batch):
        events = self.handle(batch)
        now = time.monotonic()
        for record in batch:
            event = events.get(record)
            if event is None or not self._publish(record, event):
                self._retry(record, now)

    def _retry(self, record, now):
        record.due = now + backoff(record.attempts, first=0.1)
        record.attempts += 1
        self.retries.append(record)

    def _publish(self, record, event):
        def answered(error, _message):
            self.publishing -= 1
            if error is None:
                self.tracker.finish(record.partition, record.offset)
            else:
                log("event_not_published", topic=self.output, order=event["order"], error=str(error))
                self._retry(record, time.monotonic())

        try:
            self.producer.produce(self.output, key=event["order"], value=encode(event), on_delivery=answered)
        except BufferError:
            return False
        self.publishing += 1
        return True

    def _commit(self):
        positions = self.tracker.committable()
        if not positions:
            return
        offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in positions.items()]
        try:
            self.consumer.commit(offsets=offsets, asynchronous=False)
            self.tracker.committed(positions)
        except KafkaException as error:
            # Another member may own the partitions by now and repeat the records; otherwise the next commit says it.
            log("commit_failed", error=str(error))

    def _assigned(self, _consumer, partitions):
        self.paused = False
        log("assigned", partitions=[[p.topic, p.partition] for p in partitions])

    def _revoked(self, _consumer, partitions):
        self._commit()
        self._drop(partitions)

    def _lost(self, _consumer, partitions):
        self._drop(partitions)

    def _drop(self, partitions):
        gone = {(p.topic, p.partition) for p in partitions}
        self.tracker.forget(gone)
        self.retries = [record for record in self.retries if record.partition not in gone]
        log("revoked", partitions=sorted(gone))


def consumer_options(group):
    return {
        **COMMON,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        # A dead member's partitions are given to others after ten seconds instead of forty-five.
        "session.timeout.ms": 10000,
        "heartbeat.interval.ms": 2000,
        "fetch.wait.max.ms": 200,
        "queued.max.messages.kbytes": 4096,
    }


def encode(event):
    return json.dumps(event, separators=(",", ":")).encode()


def decode(message):
    """The record's JSON object, or ValueError."""
    try:
        value = json.loads(message.value() or b"")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value
