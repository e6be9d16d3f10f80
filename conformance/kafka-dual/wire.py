"""One connection to a broker, with kafka-python's message definitions and nothing of its client.

A request goes out in the version that the step names, and the answer comes back as plain data in which everything that
differs between two clusters by right (addresses, ids that are drawn, who leads) has become a name.
"""

import os
import socket
import struct

from kafka.protocol import admin, consumer, metadata, producer
from kafka.record.memory_records import MemoryRecords, MemoryRecordsBuilder

MODULES = (metadata, admin, consumer, producer)
SERVERS = [server.rsplit(":", 1) for server in os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")]
BROKERS = (1, 2, 3)
CLOSED = "the connection was closed"


def kind(name: str):
    """The class of a message, such as `MetadataRequest`."""
    for module in MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def built(shape, version: int, fields: dict):
    """A message, or a part of one, from plain data."""
    values = {}
    for name, value in fields.items():
        field = shape.fields[name]
        if isinstance(value, dict):
            value = built(field.data_class, version, value)
        elif field.is_struct_array() and value is not None:
            value = [built(field.data_class, version, entry) for entry in value]
        values[name] = value
    return shape(version=version, **values)


class Broker:
    """A connection to node 1, 2 or 3. It is opened anew after the broker closed it."""

    def __init__(self, node: int):
        self.node = node
        self._socket: socket.socket | None = None
        self._correlation = 0

    def ask(self, api: str, version: int, **fields):
        """Sends a request and returns the decoded answer, `CLOSED`, or None where no answer is due."""
        request = built(kind(f"{api}Request"), version, fields)
        self._correlation += 1
        request.with_header(correlation_id=self._correlation, client_id="dual")
        payload = bytes(request.encode(header=True))
        if not request.expect_response():
            self._send(payload)
            return None
        answer = self.exchange(payload)
        if answer is CLOSED:
            return CLOSED
        response = kind(f"{api}Response")
        if api == "ApiVersions" and answer[4:6] == b"\x00\x23":
            version = 0  # The answer to a version that is not known comes in the oldest form.
        return response.decode(answer, version=version, header=True)

    def exchange(self, payload: bytes):
        """Sends a frame with this payload, and returns the payload of the answer."""
        try:
            self._send(payload)
            (size,) = struct.unpack(">i", self._read(4))
            return self._read(size)
        except (ConnectionError, EOFError):
            self._socket.close()
            self._socket = None
            return CLOSED

    def _send(self, payload: bytes) -> None:
        if self._socket is None:
            host, port = SERVERS[self.node - 1]
            self._socket = socket.create_connection((host, int(port)), 15)
        self._socket.sendall(struct.pack(">i", len(payload)) + payload)

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)


class Names:
    """Gives what is drawn by the cluster a name in the order of first appearance: `topic 1`, `member 2`."""

    def __init__(self):
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
        if field in ("cluster_id", "host") and value:
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
            return "a message"
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
