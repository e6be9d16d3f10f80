"""Keeps the books: for every order, whether it was ordered, paid, reserved and booked, and how often.

The books are what the three topics say, read from the beginning at every start. A charge or a reservation that is
announced twice counts once; two different charges for one order count twice, and that is what an auditor looks for.
"""

import threading
import time

import common
import streams
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException
from common import log


class Books:
    """What is known of every order. Safe to use from several threads."""

    # Beyond this many, the oldest balanced orders are kept as a sum only.
    DETAILED_MAX = 50_000

    def __init__(self):
        self.lock = threading.Lock()
        self.clear()

    def clear(self):
        with self.lock:
            self.entries = {}  # order -> [ordered, charges, reservations], oldest first
            self.folded = 0
            self.open = 0  # how many entries are not balanced

    def record(self, topic, event):
        """Enter one record. Returns True when the order has just become booked."""
        identity = event.get("order")
        if not isinstance(identity, str):
            return False
        with self.lock:
            entry = self.entries.get(identity)
            if entry is None:
                entry = self.entries[identity] = [0, (), ()]
                self.open += 1
                self._fold()
            before, was_balanced = booked(entry), is_balanced(entry)
            if topic == streams.ORDERS:
                entry[0] = 1
            elif topic == streams.PAYMENTS:
                entry[1] = with_one_more(entry[1], event.get("charge"))
            elif topic == streams.RESERVATIONS:
                entry[2] = with_one_more(entry[2], event.get("reservation"))
            self.open += was_balanced - is_balanced(entry)
            return booked(entry) > before

    def _fold(self):
        while len(self.entries) > self.DETAILED_MAX:
            oldest = next(iter(self.entries))
            if is_balanced(self.entries[oldest]):
                self.folded += 1
                del self.entries[oldest]
            else:
                # An order that is not balanced stays visible for as long as others are still to come behind it.
                self.entries[oldest] = self.entries.pop(oldest)
                return

    def look_up(self, identity):
        with self.lock:
            entry = self.entries.get(identity)
            return counts(identity, entry) if entry else None

    def page(self, offset, limit):
        """(orders, next offset or None, totals), oldest first."""
        with self.lock:
            names = list(self.entries)[offset : offset + limit]
            orders = [counts(name, self.entries[name]) for name in names]
            following = offset + limit if offset + limit < len(self.entries) else None
            totals = {"orders": len(self.entries) + self.folded, "folded": self.folded, "open": self.open}
        return orders, following, totals


def with_one_more(known, identity):
    return known if identity in known else (*known, identity)


def booked(entry):
    """An order is booked when it is known, paid and reserved: once for each pair of a charge and a reservation."""
    return entry[0] * min(len(entry[1]), len(entry[2]))


def is_balanced(entry):
    return (entry[0], len(entry[1]), len(entry[2])) == (1, 1, 1)


def counts(identity, entry):
    paid, reserved, times = len(entry[1]), len(entry[2]), booked(entry)
    return {
        "order": identity,
        "ordered": entry[0],
        "paid": paid,
        "reserved": reserved,
        "booked": times,
        "balanced": is_balanced(entry),
    }


class Reader:
    """Reads the three topics into the books."""

    def __init__(self, books):
        self.books = books
        self.ends = {}  # (topic, partition) -> True while nothing more is there to be read
        self.connected = False
        self.consumer = Consumer({**streams.consumer_options("books"), "enable.partition.eof": True})

    def run(self, stop):
        streams.create_topics(stop)
        topics = [streams.ORDERS, streams.PAYMENTS, streams.RESERVATIONS]
        self.consumer.subscribe(topics, on_assign=self.assigned, on_revoke=self.revoked)
        self.connected = True
        committed_at = time.monotonic()
        while not stop.is_set():
            self.read()
            if time.monotonic() - committed_at > 1:
                self.commit()
                committed_at = time.monotonic()
        self.consumer.close()

    def read(self):
        for message in self.consumer.consume(500, timeout=0.05):
            partition = (message.topic(), message.partition())
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    self.ends[partition] = True
                else:
                    log("kafka_read_failed", error=str(message.error()))
                continue
            self.ends[partition] = False
            try:
                event = streams.decode(message)
            except ValueError as error:
                log("record_not_understood", partition=partition, offset=message.offset(), error=str(error))
                continue
            if self.books.record(message.topic(), event):
                log("booked", order=event["order"])

    def assigned(self, consumer, partitions):
        # The books live in memory, so a new assignment begins with empty books and the first record.
        self.books.clear()
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING
        self.ends = {(p.topic, p.partition): False for p in partitions}
        consumer.assign(partitions)
        log("assigned", partitions=len(partitions))

    def revoked(self, _consumer, _partitions):
        self.ends = {}

    def commit(self):
        # The position is only for those who watch the group's lag: the books themselves never read it.
        try:
            self.consumer.commit(asynchronous=True)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._NO_OFFSET:
                log("commit_failed", error=str(error))

    def caught_up(self):
        return bool(self.ends) and all(self.ends.values())


class Desk:
    """Answers questions about the books."""

    PAGE_MAX = 5000

    def __init__(self, books, reader):
        self.books, self.reader = books, reader

    def list(self, _path, query, _body):
        try:
            offset, limit = int(query.get("offset", 0)), int(query.get("limit", 1000))
        except ValueError:
            offset = limit = -1
        if offset < 0 or not 1 <= limit <= self.PAGE_MAX:
            return 400, {"error": "offset: from 0, limit: from 1 to %d" % self.PAGE_MAX}
        caught_up = self.reader.caught_up()
        orders, following, totals = self.books.page(offset, limit)
        return 200, {"caught_up": caught_up, "totals": totals, "orders": orders, "next": following}

    def look_up(self, path, _query, _body):
        entry = self.books.look_up(path[1]) if len(path) == 2 else None
        return (200, entry) if entry else (404, {"error": "no such order is in the books yet"})


def main():
    stop = common.stop_on_signals()
    books = Books()
    reader = Reader(books)
    desk = Desk(books, reader)
    common.serve({("GET", "books"): desk.list, ("GET", "orders"): desk.look_up}, ready=lambda: reader.connected)
    log("started")
    reader.run(stop)
    log("stopped")


if __name__ == "__main__":
    main()
