"""What the programs of the dual run share: answers as plain data in which everything that differs between two clusters by right
(addresses, ids that are drawn, who leads) has become a name, and record batches.
"""

import struct

from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

from harness.kafka_wire import CLOSED, Broker

__all__ = ["CLOSED", "Broker", "Names", "batch", "batches"]
BROKERS = (1, 2, 3)
REFUSED = ("Request Request(", "Cluster authorization failed.")


class Names:
    """Gives what is drawn by the cluster a name in the order of first appearance: `topic 1`, `member 2`.

    Messages are compared word for word where `words` is set, and else only whether there is one.
    """

    def __init__(self, words: bool = False):
        self._words = words
        self._known: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}

    def name(self, sort: str, value) -> str:
        key = (sort, str(value))
        if key not in self._known:
            self._counts[sort] = self._counts.get(sort, 0) + 1
            self._known[key] = f"{sort} {self._counts[sort]}"
        return self._known[key]

    def plain(self, message):
        """A decoded message as plain data with names."""
        if message is None or message is CLOSED:
            return message
        return self._value("", message.to_dict(json=False), {})

    def _value(self, field: str, value, parent: dict):
        if isinstance(value, dict):
            if field == "node_endpoints":  # Where a leader is that was asked for, and any broker may lead.
                value = {**value, "node_id": "a broker", "rack": "its zone"}
            return {name: self._value(name, inner, value) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return ordered([self._value(field, inner, parent) for inner in value], field)
        if field == "records":
            return records(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value).hex()
        return self._drawn(field, value, parent)

    def _drawn(self, field: str, value, parent: dict):
        """A value that a cluster draws or chooses, as a name; any other as it is."""
        text = str(value)
        if field == "topic_id":
            return "no topic" if value is None or int(text.replace("-", ""), 16) == 0 else self.name("topic", value)
        if value and (field == "cluster_id" or (field == "host" and "port" in parent)):
            return field
        if field == "port" and value > 0:
            return "port"
        if field in ("controller_id", "leader_id") and value in BROKERS:
            return "a broker"
        if field == "node_id" and value in BROKERS and "isr_nodes" not in parent and "rack" not in parent:
            return "a broker"
        if field in ("member_id", "leader") and value:
            return self.name("member", value)
        if field == "client_host" and value:
            return "an address"
        if field == "producer_id" and value >= 0:
            return self.name("producer", value)
        if field == "session_id" and value:
            return "a session"
        if field.endswith("error_message") and value:
            # What is refused as a whole names the request, with numbers of its connection.
            return "the request is not authorized" if value.startswith(REFUSED) else value if self._words else "a message"
        if isinstance(value, (bool, int, float, str)) or value is None:
            return value
        return text


def ordered(values: list, field: str) -> list:
    """Lists whose order is a cluster's own choice, in one order; how many replicas there are, not which."""
    if field in ("replica_nodes", "isr_nodes", "replicas") and all(isinstance(value, int) for value in values):
        return [f"{len(values)} of the brokers"] if set(values) <= set(BROKERS) else sorted(values)
    return sorted(values, key=lambda value: str(sort_key(value))) if values and isinstance(values[0], dict) else values


def sort_key(value: dict):
    for name in ("node_id", "broker_id", "name", "topic", "partition_index", "partition", "index", "group_id", "api_key", "client_id", "member_id", "key"):
        if name in value:
            return value[name] if not isinstance(value[name], int) else f"{value[name]:06}"
    return ""


def records(raw) -> list:
    """The records of a fetched set: offsets, keys, values, headers, timestamps, and the producer of their batch."""
    seen = []
    if not raw:
        return seen
    batches = MemoryRecords(bytes(raw))
    while batches.has_next():
        batch = batches.next_batch()
        for record in batch:
            seen.append(
                {
                    "offset": record.offset,
                    "timestamp": record.timestamp,
                    "key": text(record.key),
                    "value": text(record.value),
                    "headers": [[name, text(value)] for name, value in record.headers],
                    "sequence": getattr(batch, "base_sequence", None),
                }
            )
    return seen


def batches(raw: bytes) -> list:
    """The headers of a fetched set's batches. The time from which deletions may go is a time of the cluster, and becomes a name."""
    seen = []
    while raw:
        offset, length = struct.unpack(">qi", raw[:12])
        attributes, delta, first, newest, _, epoch, sequence, count = struct.unpack(">hiqqqhii", raw[21:61])
        first = "a time of the cluster" if attributes & 0x40 else first
        seen.append({"base_offset": offset, "delta": delta, "attributes": attributes, "first": first, "newest": newest, "epoch": epoch, "sequence": sequence, "count": count})
        raw = raw[12 + length :]
    return seen


def text(value):
    return None if value is None else bytes(value).decode("latin-1")


def batch(values: list, codec: int = 0, key: bytes | None = b"k", time: int = 1_700_000_000_000, magic: int = 2, **producer_state) -> bytes:
    """A record batch whose records have these values and timestamps a second apart."""
    builder = MemoryRecordsBuilder(magic, codec, 1 << 20, **producer_state)
    for number, value in enumerate(values):
        builder.append(time + number * 1000, key, value, [] if magic < 2 else [("h", b"v")])
    builder.close()
    return bytes(builder.buffer())
