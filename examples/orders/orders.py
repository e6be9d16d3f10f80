"""Accepts orders: an order is answered with 201 once Kafka has it on a majority of its replicas.

Beside it, an audit trail is written with acks=1: quick, and allowed to lose its tail when a leader dies. What
this service was told is safe is logged (`audit_acknowledged`), so that a reconciliation can name what was lost.
"""

import json
import threading
import time
from collections import OrderedDict

import common
import streams
from common import log


class Delivery:
    """One order on its way into Kafka."""

    __slots__ = ("order", "done", "error")

    def __init__(self, order):
        self.order, self.done, self.error = order, threading.Event(), None


class Orders:
    WAIT_SECONDS = 5.0
    STUCK_SECONDS = 2.5
    REMEMBERED_MAX = 10_000

    def __init__(self, producer, audit):
        self.producer, self.audit = producer, audit
        self.lock = threading.Lock()
        self.recent = OrderedDict()  # id -> Delivery, so that a repeated request joins the first
        self.waiting = {}  # Delivery -> since when, oldest first
        self.acknowledged_at = time.monotonic()

    def place(self, _path, _query, body):
        try:
            order = common.validate(json.loads(body))
        except (common.Invalid, ValueError, RecursionError) as error:
            return 400, {"error": str(error)}
        delivery = self.deliver(order)
        if delivery is None:
            return 503, {"error": "too many orders are waiting for Kafka"}
        if delivery.order != order:
            return 409, {"error": "another order has this id"}
        if not delivery.done.wait(self.WAIT_SECONDS):
            return 503, {"error": "Kafka has not acknowledged the order yet"}
        if delivery.error:
            return 503, {"error": "Kafka did not take the order: " + delivery.error}
        return 201, {"id": order["id"], "status": "accepted"}

    def deliver(self, order):
        """The order's delivery: the one under way if the request is a repetition, else a new one."""
        with self.lock:
            delivery = self.recent.get(order["id"])
            if delivery is not None:
                return delivery
            delivery = self.recent[order["id"]] = Delivery(order)
            self.waiting[delivery] = time.monotonic()
            while len(self.recent) > self.REMEMBERED_MAX:
                self.recent.popitem(last=False)
        try:
            self.producer.produce(
                streams.ORDERS,
                key=order["id"],
                value=streams.encode({"order": order["id"], **order}),
                on_delivery=lambda error, message: self.delivered(delivery, error, message),
            )
        except BufferError:
            self.forget(delivery)
            return None
        return delivery

    def delivered(self, delivery, error, message):
        identity = delivery.order["id"]
        if error is not None:
            # Failed is not the same as not written. A repetition is welcome: everything behind bears duplicates.
            delivery.error = str(error)
            self.forget(delivery)
            log("order_failed", order=identity, error=delivery.error)
        else:
            with self.lock:
                self.waiting.pop(delivery, None)
                self.acknowledged_at = time.monotonic()
            log("order_created", order=identity, partition=message.partition(), offset=message.offset())
            self.write_audit(identity, message)
        delivery.done.set()

    def forget(self, delivery):
        with self.lock:
            self.waiting.pop(delivery, None)
            self.recent.pop(delivery.order["id"], None)

    def flowing(self, _path, _query, _body):
        return (200, {"status": "flowing"}) if self.is_flowing() else (503, {"error": "no order is acknowledged"})

    def is_flowing(self):
        """False while orders wait and none is acknowledged: this replica may be cut off, and others may not be.

        A broker that died is no reason: the orders of the other brokers' partitions go on.
        """
        with self.lock:
            oldest = next(iter(self.waiting.values()), None)
            now = time.monotonic()
            return oldest is None or min(now - oldest, now - self.acknowledged_at) < self.STUCK_SECONDS

    def write_audit(self, identity, message):
        entry = {"order": identity, "partition": message.partition(), "offset": message.offset()}
        try:
            self.audit.produce(
                streams.AUDIT,
                key=identity,
                value=streams.encode(entry),
                on_delivery=lambda error, written: self.audited(identity, error, written),
            )
        except BufferError:
            log("audit_failed", order=identity, error="the queue is full")

    def audited(self, identity, error, written):
        if error is not None:
            log("audit_failed", order=identity, error=str(error))
        else:
            log("audit_acknowledged", order=identity, partition=written.partition(), offset=written.offset())


def main():
    stop = common.stop_on_signals()
    connected = threading.Event()
    orders = Orders(streams.producer(), streams.producer(**{"acks": "1", "enable.idempotence": False}))
    # Whether orders flow is for a load balancer, which has other nodes to turn to. It is no reason to be taken out of
    # the service: when Kafka stalls as a whole, that would leave the service without any replica.
    routes = {("POST", "orders"): orders.place, ("GET", "flowing"): orders.flowing}
    common.serve(routes, ready=connected.is_set)
    log("started")
    streams.create_topics(stop)
    connected.set()
    # Answers arrive in poll(), in this thread for the orders and in another one for the audit trail.
    threading.Thread(target=serve_answers, args=(orders.audit, stop), daemon=True).start()
    serve_answers(orders.producer, stop)
    orders.producer.flush(10)
    orders.audit.flush(2)
    log("stopped")


def serve_answers(producer, stop):
    while not stop.is_set():
        producer.poll(0.2)


if __name__ == "__main__":
    main()
