"""The audit check, on written histories."""

import json
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))

import check_audit  # noqa: E402


def told(*events):
    lines = [json.dumps({"event": "audit_acknowledged", "order": o, "partition": p, "offset": n}) for o, p, n in events]
    return check_audit.acknowledged(lines)


def ledger(*subjects, count=1):
    entries = [{"kind": "acked_lost", "subject": subject, "count": count} for subject in subjects]
    return check_audit.named_lost({"entries": entries})


class Audit(unittest.TestCase):
    def test_lines_inside_the_merged_log_are_read(self):
        inner = json.dumps({"event": "audit_acknowledged", "order": "a", "partition": 0, "offset": 3})
        outer = json.dumps({"at_ms": 1, "source": "pod/orders", "text": inner})
        self.assertEqual(check_audit.acknowledged([outer, "not json\n"]), {(0, 3): ["a"]})

    def test_what_is_there_is_not_lost(self):
        result = check_audit.compare(told(("a", 0, 0)), {(0, 0): "a"}, {})
        self.assertEqual((result["lost"], result["lost_and_not_named"]), (0, []))

    def test_an_offset_given_out_twice_lost_the_first(self):
        history = told(("a", 0, 0), ("b", 0, 0))
        present = {(0, 0): "b"}
        self.assertEqual(len(check_audit.compare(history, present, {})["lost_and_not_named"]), 1)
        self.assertEqual(check_audit.compare(history, present, ledger("order-audit-0@0"))["lost_and_not_named"], [])

    def test_a_run_of_records_is_one_entry(self):
        history = told(("a", 2, 7), ("b", 2, 8))
        result = check_audit.compare(history, {}, ledger("order-audit-2@7", count=2))
        self.assertEqual((result["lost"], result["lost_and_not_named"]), (2, []))

    def test_a_name_for_something_that_is_there_is_wrong(self):
        result = check_audit.compare(told(("a", 0, 0)), {(0, 0): "a"}, ledger("order-audit-0@0"))
        self.assertEqual(len(result["named_and_not_lost"]), 1)

    def test_a_name_with_another_order_is_not_this_one(self):
        history = told(("a", 0, 0), ("b", 0, 1))
        named = ledger("order-audit-0@0 key=a", "order-audit-0@1 key=x")
        result = check_audit.compare(history, {}, named)
        self.assertEqual([entry["order"] for entry in result["lost_and_not_named"]], ["b"])

    def test_a_lost_record_and_its_successor_at_the_same_place(self):
        history = told(("a", 0, 0), ("b", 0, 0))
        result = check_audit.compare(history, {(0, 0): "b"}, ledger("order-audit-0@0 key=a"))
        self.assertEqual((result["lost"], result["lost_and_not_named"], result["named_and_not_lost"]), (1, [], []))

    def test_other_topics_are_left_alone(self):
        self.assertEqual(ledger("orders-0@0"), {})


if __name__ == "__main__":
    unittest.main()
