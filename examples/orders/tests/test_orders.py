"""The services' logic without any engine: `python -m unittest discover -s examples/orders/tests`."""

import json
import pathlib
import sys
import threading
import unittest
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import books  # noqa: E402
import common  # noqa: E402
import inventory  # noqa: E402
import orders  # noqa: E402
import payment  # noqa: E402
import shards  # noqa: E402
import streams  # noqa: E402


def order(identity="o-1", customer="ada", **changes):
    items = [{"sku": "tea", "quantity": 2, "price_cents": 450}]
    return {"id": identity, "customer": customer, "items": items, **changes}


def setUpModule():
    for module in (books, common, inventory, orders, payment, shards, streams):
        mock.patch.object(module, "log", lambda *_, **__: None).start()


def tearDownModule():
    mock.patch.stopall()


class Validation(unittest.TestCase):
    def test_an_order_gets_its_total(self):
        self.assertEqual(common.validate(order())["total_cents"], 900)

    def test_validation_is_stable(self):
        once = common.validate(order(note="not published"))
        self.assertEqual(common.validate(once), once)
        self.assertNotIn("note", once)

    def test_what_is_wrong_is_named(self):
        wrong = [
            ([], "JSON object"),
            (order(identity=""), "id:"),
            (order(identity="o\n1"), "id:"),
            (order(identity="o" * 65), "id:"),
            (order(customer=7), "customer:"),
            (order(items=[]), "1 to 50"),
            (order(items=[{"sku": "tea"}] * 51), "1 to 50"),
            (order(items=["tea"]), "items[0]"),
            (order(items=[{"sku": "tea", "quantity": True, "price_cents": 1}]), "items[0].quantity"),
            (order(items=[{"sku": "tea", "quantity": 0, "price_cents": 1}]), "items[0].quantity"),
            (order(items=[{"sku": "tea", "quantity": 1, "price_cents": -1}]), "items[0].price_cents"),
            (order(total_cents=1), "the items cost 900"),
        ]
        for document, reason in wrong:
            with self.assertRaises(common.Invalid) as caught:
                common.validate(document)
            self.assertIn(reason, str(caught.exception))


class Offsets(unittest.TestCase):
    def setUp(self):
        self.tracker, self.partition = streams.OffsetTracker(), ("orders", 0)

    def start(self, *offsets):
        for offset in offsets:
            self.tracker.start(self.partition, offset)

    def finish(self, *offsets):
        for offset in offsets:
            self.tracker.finish(self.partition, offset)

    def test_nothing_finished_is_nothing_to_commit(self):
        self.start(10, 11)
        self.assertEqual(self.tracker.committable(), {})

    def test_an_unfinished_record_holds_the_commit_back(self):
        self.start(10, 11, 12, 13)
        self.finish(10, 12, 13)
        self.assertEqual(self.tracker.committable(), {self.partition: 11})
        self.finish(11)
        self.assertEqual(self.tracker.committable(), {self.partition: 14})

    def test_a_commit_is_said_once(self):
        self.start(10)
        self.finish(10)
        self.tracker.committed(self.tracker.committable())
        self.assertEqual(self.tracker.committable(), {})

    def test_gaps_in_the_log_are_passed_over(self):
        self.start(10, 15)
        self.finish(10)
        self.assertEqual(self.tracker.committable(), {self.partition: 15})

    def test_a_partition_that_went_away_is_not_committed(self):
        self.start(10, 11)
        self.finish(10)
        self.tracker.forget({self.partition})
        self.finish(11)
        self.assertEqual(self.tracker.committable(), {})


class Producer:
    """A producer whose acknowledgements are given by the test."""

    def __init__(self):
        self.sent = []

    def produce(self, topic, key, value, on_delivery):
        self.sent.append((topic, key, json.loads(value), on_delivery))

    def acknowledge(self, error=None):
        message = mock.Mock(**{"partition.return_value": 0, "offset.return_value": 7})
        for _, _, _, on_delivery in self.sent[-1:]:
            on_delivery(error, message)


class Accepting(unittest.TestCase):
    def setUp(self):
        self.producer, self.audit = Producer(), Producer()
        self.orders = orders.Orders(self.producer, self.audit)
        self.orders.WAIT_SECONDS = 0.01

    def place(self, document):
        return self.orders.place([], {}, json.dumps(document).encode())[0]

    def test_an_order_is_not_accepted_before_the_acknowledgement(self):
        self.assertEqual(self.place(order()), 503)
        self.producer.acknowledge()
        self.assertEqual(self.place(order()), 201)
        self.assertEqual(len(self.producer.sent), 1, "the repetition joins the first request")

    def test_the_audit_trail_is_written_after_the_acknowledgement(self):
        self.place(order())
        self.assertEqual(self.audit.sent, [])
        self.producer.acknowledge()
        self.assertEqual(self.audit.sent[0][0], streams.AUDIT)

    def test_a_failed_order_may_be_sent_again(self):
        self.place(order())
        self.producer.acknowledge(error="timed out")
        self.assertEqual(self.place(order()), 503)
        self.assertEqual(len(self.producer.sent), 2)

    def test_a_replica_that_gets_no_acknowledgements_is_not_ready(self):
        self.orders.STUCK_SECONDS = 0
        self.assertTrue(self.orders.is_flowing(), "nothing waits")
        self.place(order())
        self.assertFalse(self.orders.is_flowing())
        self.producer.acknowledge()
        self.assertTrue(self.orders.is_flowing())

    def test_another_order_cannot_take_an_id(self):
        self.place(order())
        self.producer.acknowledge()
        self.assertEqual(self.place(order(customer="bob")), 409)

    def test_a_request_waits_for_the_acknowledgement(self):
        self.orders.WAIT_SECONDS = 10
        answers = []
        thread = threading.Thread(target=lambda: answers.append(self.place(order())))
        thread.start()
        while not self.producer.sent:
            pass
        self.producer.acknowledge()
        thread.join()
        self.assertEqual(answers, [201])


class Registry:
    """One Redis shard as a dictionary, with WAIT answering what the test says."""

    def __init__(self):
        self.values, self.replicas, self.down = {}, 1, False

    def by_primary(self, keys):
        return [(self, list(keys))]

    def forget(self):
        pass

    def pipeline(self, transaction):
        return Pipeline(self, transaction)


class Pipeline:
    def __init__(self, registry, transaction):
        self.registry, self.commands, self.queueing = registry, [], not transaction

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def watch(self, *_):
        pass

    def multi(self):
        self.queueing = True

    def mget(self, keys):
        return [self.registry.values.get(key) for key in keys]

    def set(self, key, value, px, nx):
        self.execute_command("SET", key, value, "NX", "PX", px)

    def hincrby(self, key, field, amount):
        self.execute_command("HINCRBY", key, field, amount)

    def execute_command(self, *command):
        self.commands.append(command)

    def execute(self):
        if self.registry.down:
            raise OSError("connection refused")
        return [getattr(self, command[0].lower() + "_")(*command[1:]) for command in self.commands]

    def set_(self, key, value, *_):
        return True if self.registry.values.setdefault(key, value) is value else None

    def get_(self, key):
        return self.registry.values.get(key)

    def pexpire_(self, key, _):
        return int(key in self.registry.values)

    def hincrby_(self, key, field, amount):
        stock = self.registry.values.setdefault(key, {})
        stock[field] = stock.get(field, 0) + amount
        return stock[field]

    def wait_(self, *_):
        return self.registry.replicas


def record(offset, document):
    return streams.Record(("orders", 0), offset, common.validate(document))


class Charging(unittest.TestCase):
    def setUp(self):
        self.registry = Registry()
        self.payment = payment.Payment(self.registry)

    def test_an_order_that_comes_twice_is_charged_once(self):
        first, again = record(0, order()), record(1, order())
        one = self.payment.charge([first])[first]
        two = payment.Payment(self.registry).charge([again])[again]
        self.assertEqual(one, two)

    def test_an_order_twice_in_a_batch_is_charged_once(self):
        first, again = record(0, order()), record(1, order())
        events = self.payment.charge([first, again])
        self.assertEqual(events[first], events[again])

    def test_a_charge_that_no_replica_has_does_not_count_yet(self):
        self.registry.replicas = 0
        one = record(0, order())
        self.assertEqual(self.payment.charge([one]), {})
        self.registry.replicas = 1
        self.assertIn(one, self.payment.charge([one]))

    def test_trouble_is_tried_again_and_not_raised(self):
        self.registry.down = True
        self.assertEqual(self.payment.charge([record(0, order())]), {})


class Reserving(unittest.TestCase):
    def setUp(self):
        self.registry = Registry()
        self.inventory = inventory.Inventory(self.registry)

    def stock(self):
        return sum(sum(value.values()) for value in self.registry.values.values() if isinstance(value, dict))

    def test_goods_are_reserved_once_however_often_the_order_comes(self):
        events = [self.inventory.reserve([record(n, order())]) for n in range(3)]
        self.assertEqual(len({event["reservation"] for answer in events for event in answer.values()}), 1)
        self.assertEqual(self.stock(), -2)

    def test_a_crash_after_the_write_does_not_reserve_again(self):
        self.registry.replicas = 0
        self.assertEqual(self.inventory.reserve([record(0, order())]), {})
        self.registry.replicas = 1
        self.assertEqual(len(self.inventory.reserve([record(0, order())])), 1)
        self.assertEqual(self.stock(), -2)

    def test_a_warehouse_is_one_hash_tag(self):
        key = inventory.reservation_key(common.validate(order()))
        self.assertRegex(key, r"\Areservation:\{warehouse-\d\d\}:o-1\Z")


class Bookkeeping(unittest.TestCase):
    def setUp(self):
        self.books = books.Books()

    def enter(self, identity="o-1", charge="c-1", reservation="r-1"):
        self.books.record(streams.ORDERS, {"order": identity})
        self.books.record(streams.PAYMENTS, {"order": identity, "charge": charge})
        return self.books.record(streams.RESERVATIONS, {"order": identity, "reservation": reservation})

    def test_an_order_is_booked_when_all_three_are_there(self):
        self.assertTrue(self.enter())
        self.assertTrue(self.books.look_up("o-1")["balanced"])

    def test_a_repeated_announcement_changes_nothing(self):
        self.enter()
        self.assertFalse(self.enter())
        self.assertTrue(self.books.look_up("o-1")["balanced"])

    def test_a_second_charge_is_seen(self):
        self.enter()
        self.enter(charge="c-2")
        self.assertEqual(self.books.look_up("o-1")["paid"], 2)
        self.assertFalse(self.books.look_up("o-1")["balanced"])

    def test_a_payment_without_an_order_is_seen(self):
        self.books.record(streams.PAYMENTS, {"order": "o-9", "charge": "c-9"})
        self.assertFalse(self.books.look_up("o-9")["balanced"])

    def test_open_entries_are_counted(self):
        self.books.record(streams.ORDERS, {"order": "o-1"})
        self.assertEqual(self.books.page(0, 1)[2]["open"], 1)
        self.enter()
        self.assertEqual(self.books.page(0, 1)[2]["open"], 0)
        self.enter(charge="c-2")
        self.assertEqual(self.books.page(0, 1)[2]["open"], 1)

    def test_old_balanced_orders_become_a_sum_and_open_ones_stay(self):
        self.books.DETAILED_MAX = 3
        self.books.record(streams.ORDERS, {"order": "open"})
        for number in range(5):
            self.enter("o-%d" % number)
        _, _, totals = self.books.page(0, 10)
        self.assertEqual(totals["orders"], 6)
        self.assertIsNotNone(self.books.look_up("open"))

    def test_pages_follow_each_other(self):
        for number in range(5):
            self.enter("o-%d" % number)
        seen, offset = [], 0
        while offset is not None:
            page, offset, _ = self.books.page(offset, 2)
            seen += [entry["order"] for entry in page]
        self.assertEqual(seen, ["o-%d" % number for number in range(5)])


if __name__ == "__main__":
    unittest.main()
