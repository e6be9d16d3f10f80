"""Reserves the goods of every order exactly once, in Redis Cluster.

A warehouse is one hash tag, so one shard: its stock (a hash of counters) and the reservations of its orders change
together in one transaction. An order that is handed out again finds its reservation and changes nothing.
"""

import uuid
import zlib

import common
import redis
import shards
import streams
from common import log

WAREHOUSES = 12


class Inventory:
    def __init__(self, cluster):
        self.cluster = cluster

    def reserve(self, records):
        """{record: event} of the orders whose goods are reserved for certain."""
        by_key = {}
        for record in records:
            by_key.setdefault(reservation_key(record.value), []).append(record)
        reserved = {}
        groups = shards.guarded(self.cluster, lambda: self.cluster.by_primary(by_key), len(records))
        for client, keys in groups or []:
            orders = {key: by_key[key][0].value for key in keys}
            reserved.update(shards.guarded(self.cluster, lambda: reserve_on(client, orders), len(keys)))
        return {
            record: announcement(record.value, reservation)
            for key, reservation in reserved.items()
            for record in by_key[key]
        }


def warehouse(order):
    """A customer is served from one warehouse."""
    return "{warehouse-%02d}" % (zlib.crc32(order["customer"].encode()) % WAREHOUSES)


def reservation_key(order):
    return "reservation:%s:%s" % (warehouse(order), order["id"])


def reserve_on(client, orders):
    """Reserve the orders {key: order} on one primary: {key: reservation}, all known to a replica."""
    by_warehouse = {}
    for key, order in orders.items():
        by_warehouse.setdefault(warehouse(order), {})[key] = order
    for place, members in by_warehouse.items():
        reserve_in(client, place, members)
    return shards.confirm(client, list(orders))


def reserve_in(client, place, orders):
    """Reserve the orders of one warehouse that are not reserved yet, all in one transaction."""
    keys = list(orders)
    with client.pipeline(transaction=True) as pipe:
        # If another replica reserves one of them in between, the transaction is not carried out at all.
        pipe.watch(*keys)
        known = pipe.mget(keys)
        pipe.multi()
        for key, reservation in zip(keys, known):
            if reservation is None:
                pipe.set(key, uuid.uuid4().hex, px=shards.KEEP_MS, nx=True)
                for item in orders[key]["items"]:
                    pipe.hincrby("stock:" + place, item["sku"], -item["quantity"])
        try:
            pipe.execute()
        except redis.exceptions.WatchError:
            raise shards.NotConfirmed("another replica reserves the same order") from None


def announcement(order, reservation):
    log("reserved", order=order["id"], reservation=reservation, warehouse=warehouse(order))
    return {"order": order["id"], "reservation": reservation}


def main():
    stop = common.stop_on_signals()
    inventory = Inventory(shards.Shards())
    worker = streams.Worker("inventory", streams.ORDERS, common.validate, streams.RESERVATIONS, inventory.reserve)
    common.serve({}, ready=lambda: worker.connected)
    log("started")
    worker.run(stop)
    log("stopped")


if __name__ == "__main__":
    main()
