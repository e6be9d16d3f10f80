"""Charges every order exactly once.

Kafka hands an order out at least once: after a crash, a rebalance or a pause, another replica charges it again, even
while this one is still at it. The charge is therefore registered under the order's id, the first to do so wins
(SET NX), and every other attempt finds and announces the same charge.
"""

import uuid

import common
import shards
import streams
from common import log


class Payment:
    def __init__(self, registry):
        self.registry = registry

    def charge(self, records):
        """{record: event} of the orders that are charged for certain."""
        orders = {"charge:" + record.value["id"]: record for record in records}
        events = {}
        groups = shards.guarded(self.registry, lambda: self.registry.by_primary(orders), len(records))
        for client, keys in groups or []:
            charges = shards.guarded(self.registry, lambda: register(client, keys), len(keys))
            for key, charge in charges.items():
                events[orders[key]] = announcement(orders[key].value, charge)
        # The same order can be twice in a batch; both records are finished by the one charge.
        for record in records:
            winner = orders["charge:" + record.value["id"]]
            if winner in events:
                events[record] = events[winner]
        return events


def register(client, keys):
    """{key: charge}: of all attempts at an order the first is the charge."""
    attempts = [("SET", key, uuid.uuid4().hex, "NX", "PX", shards.KEEP_MS) for key in keys]
    return shards.confirm(client, keys, attempts)


def announcement(order, charge):
    log("charged", order=order["id"], charge=charge, cents=order["total_cents"])
    return {"order": order["id"], "charge": charge, "cents": order["total_cents"]}


def main():
    stop = common.stop_on_signals()
    payment = Payment(shards.Shards())
    worker = streams.Worker("payment", streams.ORDERS, common.validate, streams.PAYMENTS, payment.charge)
    common.serve({}, ready=lambda: worker.connected)
    log("started")
    worker.run(stop)
    log("stopped")


if __name__ == "__main__":
    main()
