"""What a broker's own part of a single record's latency is: one thread produces a record and waits for it on a fetch that is already there.

    python3 bench/kafka-latency.py HOST:PORT [--records 1000] [--warm 20000] [--every-ms 10] [--processor 1]

Nothing of a client's stands between: no second process, no queue, no timer while a record is under way. With `--every-ms 0` the next record
follows at once. It needs nothing but Python, and a broker that makes topics when they are asked for.
"""

import argparse
import os
import select
import socket
import struct
import time

PRODUCE, FETCH, METADATA = 0, 1, 3
VALUE = b"x" * 100
TOPIC = f"latency-{os.getpid()}".encode()
FETCH_WAIT_MS = 500


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def varint(number: int) -> bytes:
    rest, coded = (number << 1) ^ (number >> 63), b""
    while rest > 127:
        coded, rest = coded + bytes([rest & 127 | 128]), rest >> 7
    return coded + bytes([rest])


def text(name: bytes) -> bytes:
    return struct.pack(">h", len(name)) + name


def record_batch() -> bytes:
    """A batch of one record without a key."""
    record = b"\0" + varint(0) + varint(0) + varint(-1) + varint(len(VALUE)) + VALUE + varint(0)
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", 0, 0, now, now, -1, -1, -1, 1) + varint(len(record)) + record
    return struct.pack(">qiibI", 0, 9 + len(body), -1, 2, crc32c(body)) + body


def one_partition() -> bytes:
    return struct.pack(">i", 1) + text(TOPIC) + struct.pack(">ii", 1, 0)


class Connection:
    def __init__(self, address: tuple[str, int]):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, api: int, version: int, body: bytes) -> None:
        message = struct.pack(">hhi", api, version, 0) + text(b"latency") + body
        self.socket.sendall(struct.pack(">i", len(message)) + message)

    def receive(self) -> bytes:
        (length,) = struct.unpack(">i", self._exactly(4))
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        taken = b""
        while len(taken) < length:
            part = self.socket.recv(length - len(taken))
            if not part:
                raise ConnectionError("the broker closed the connection")
            taken += part
        return taken


class Probe:
    def __init__(self, address: tuple[str, int]):
        self.producer, self.consumer, self.offset = Connection(address), Connection(address), 0
        self.batch = record_batch()
        self._create()

    def _create(self) -> None:
        for _ in range(100):
            self.producer.send(METADATA, 4, struct.pack(">i", 1) + text(TOPIC) + b"\x01")
            self.producer.receive()
            self._produce()
            (error,) = struct.unpack_from(">h", self.producer.receive(), 4 + 4 + 2 + len(TOPIC) + 4 + 4)
            if error == 0:
                self.offset = 1
                return
            time.sleep(0.1)
        raise TimeoutError(f"the topic was not made: error {error}")

    def _produce(self) -> None:
        acks_all, timeout_ms = -1, 5000
        body = struct.pack(">hhi", -1, acks_all, timeout_ms) + one_partition()
        self.producer.send(PRODUCE, 3, body + struct.pack(">i", len(self.batch)) + self.batch)

    def _fetch(self) -> None:
        body = struct.pack(">iiiib", -1, FETCH_WAIT_MS, 1, 1 << 20, 0) + one_partition()
        self.consumer.send(FETCH, 4, body + struct.pack(">qi", self.offset, 1 << 20))

    def record(self, wait_s: float) -> tuple[float, float]:
        """Seconds until the record was acknowledged, and until it was there."""
        self._fetch()
        time.sleep(wait_s)
        begun, acknowledged, arrived = time.perf_counter(), None, None
        self._produce()
        while acknowledged is None or arrived is None:
            open_ones = [self.producer] * (acknowledged is None) + [self.consumer] * (arrived is None)
            ready = select.select([one.socket for one in open_ones], [], [])[0]
            for one in [one for one in open_ones if one.socket in ready]:
                answer, took = one.receive(), time.perf_counter() - begun
                if one is self.producer:
                    acknowledged = took
                elif VALUE in answer:
                    arrived = took
                else:
                    self._fetch()
        self.offset += 1
        return acknowledged, arrived


def percentiles(what: str, waits: list[float]) -> str:
    ordered = sorted(waits)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1e3 for share in (0.5, 0.99, 0.999)]
    return f"{what:<14} p50 {at[0]:.3f}   p99 {at[1]:.3f}   p99.9 {at[2]:.3f} ms"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("broker")
    options.add_argument("--records", type=int, default=1000)
    options.add_argument("--warm", type=int, default=20_000)
    options.add_argument("--every-ms", type=float, default=10)
    options.add_argument("--processor", type=int)
    asked = options.parse_args()
    if asked.processor is not None:
        os.sched_setaffinity(0, {asked.processor})
    host, port = asked.broker.rsplit(":", 1)
    probe = Probe((host, int(port)))
    for _ in range(asked.warm):
        probe.record(0)
    waits = [probe.record(asked.every_ms / 1e3) for _ in range(asked.records)]
    print(percentiles("acknowledged", [acknowledged for acknowledged, _ in waits]))
    print(percentiles("end to end", [arrived for _, arrived in waits]))


if __name__ == "__main__":
    main()
