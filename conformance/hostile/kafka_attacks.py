"""Kafka frames that no client would send. What Kafka does is to close the connection, with no word to the client."""

import os
import struct
import sys
import time

from attack import close, connect, drip, herd, is_open, raise_descriptor_limit, send_all_or_reset, unharmed, until_closed
from harness.check import check, end, equal, report

if "KAFKA_BOOTSTRAP_SERVERS" not in os.environ:
    report("Kafka: hostile frames", skip="there is no Kafka here")
    sys.exit(0)

raise_descriptor_limit()
HOST, PORT = os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")[0].rsplit(":", 1)
ADDRESS = (HOST, int(PORT))
PRODUCE, FETCH, METADATA, API_VERSIONS, CREATE_TOPICS = 0, 1, 3, 18, 19
UNSUPPORTED_VERSION = 35
INT_MAX = 2**31 - 1


def header(api: int, version: int, flexible: bool = False) -> bytes:
    client = b"hostile"
    return struct.pack(">hhih", api, version, 7, len(client)) + client + (b"\0" if flexible else b"")


def frame(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def answer(connection) -> bytes:
    """One response, without its length."""
    size = struct.unpack(">i", exactly(connection, 4))[0]
    return exactly(connection, size)


def exactly(connection, count: int) -> bytes:
    read = b""
    while len(read) < count:
        part = connection.recv(count - len(read))
        if not part:
            raise ConnectionError(f"closed after {len(read)} of {count} bytes")
        read += part
    return read


VERSIONS = frame(header(API_VERSIONS, 0))


def neighbour():
    connection = connect(ADDRESS)

    def ask() -> None:
        connection.sendall(VERSIONS)
        correlation, error = struct.unpack(">ih", answer(connection)[:6])
        equal((correlation, error), (7, 0))

    return ask


def unharmed_kafka(**options):
    return unharmed(neighbour(), memory_of=ADDRESS, **options)


def closed(name: str, sent: bytes) -> None:
    @check(f"Kafka: {name} closes the connection")
    def _():
        with unharmed_kafka(growth_mib_max=64):
            connection = connect(ADDRESS)
            send_all_or_reset(connection, sent)
            equal(until_closed(connection), b"")


def count(number: int) -> bytes:
    return struct.pack(">i", number)


HUGE_VARINT = b"\xff\xff\xff\xff\x0f"
closed("a length of 2 GiB", count(INT_MAX))
closed("a negative length", count(-1))
closed("a length of 100 MiB and a byte", count(104_857_601))
closed("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
closed("a frame without a header", frame(b""))
closed("a header that is cut short", frame(struct.pack(">hh", METADATA, 1)))
closed("an unknown API", frame(header(9999, 0)))
closed("an unknown version", frame(header(METADATA, 999)))
closed("a client name longer than the frame", frame(struct.pack(">hhih", METADATA, 1, 7, 32767)))
closed("a count of 2^31 - 1 in a body of four bytes", frame(header(METADATA, 1) + count(INT_MAX)))
closed("a count of 2^31 - 1 of topics to create", frame(header(CREATE_TOPICS, 2) + count(INT_MAX)))
closed("a count of 2^31 - 1 of topics to fetch", frame(header(FETCH, 4) + struct.pack(">iiiib", -1, 100, 1, 1000, 0) + count(INT_MAX)))
closed("a compact count of 2^32 - 1", frame(header(METADATA, 12, flexible=True) + HUGE_VARINT))
closed("2^32 - 1 tagged fields", frame(header(API_VERSIONS, 3)[:-1] + b"e" + HUGE_VARINT))
closed("a varint that does not end", frame(header(METADATA, 12, flexible=True) + b"\xff" * 20))
closed("records longer than the frame", frame(header(PRODUCE, 3) + struct.pack(">hhi", -1, -1, 1000) + count(1) + b"\0\1t" + count(1) + count(0) + count(INT_MAX)))


@check("Kafka: ApiVersions of an unknown version is answered, and the connection lives on")
def _():
    connection = connect(ADDRESS)
    connection.sendall(frame(header(API_VERSIONS, 99, flexible=True)))
    correlation, error, versions = struct.unpack(">ihi", answer(connection)[:10])
    equal((correlation, error), (7, UNSUPPORTED_VERSION))
    assert versions > 0, "the answer names no versions"
    connection.sendall(VERSIONS)
    equal(struct.unpack(">ih", answer(connection)[:6]), (7, 0))


@check("Kafka: lengths of 100 MiB without their bytes cost nothing")
def _():
    with unharmed_kafka(growth_mib_max=64):
        waiting = [connect(ADDRESS) for _ in range(5)]
        for connection in waiting:
            connection.sendall(count(100 << 20) + b"\0\0")
        assert all(is_open(connection, 0.05) for connection in waiting), "the broker did not wait for the frame"
        close(waiting)


@check("Kafka: a client that sends a byte at a time is served")
def _():
    with unharmed_kafka():
        connection = connect(ADDRESS)
        drip(connection, VERSIONS, 0.02)
        equal(struct.unpack(">ih", answer(connection)[:6]), (7, 0))


@check("Kafka: ten thousand requests in one go are answered in order")
def _():
    with unharmed_kafka():
        connection = connect(ADDRESS)
        connection.settimeout(60)
        total = 10_000
        for start in range(0, total, 1000):
            requests = [frame(struct.pack(">hhih", API_VERSIONS, 0, number, -1)) for number in range(start, start + 1000)]
            connection.sendall(b"".join(requests))
            for number in range(start, start + 1000):
                equal(struct.unpack(">i", answer(connection)[:4])[0], number)


@check("Kafka: a client who asks for much and reads nothing is held back")
def _():
    with unharmed_kafka(growth_mib_max=128):
        greedy = connect(ADDRESS)
        greedy.settimeout(3)
        try:
            for _ in range(200):
                greedy.sendall(VERSIONS * 1000)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        close([greedy])


@check("Kafka: 5,000 idle connections, and the others unharmed")
def _():
    with unharmed_kafka() as other:
        idle = herd(ADDRESS, 5_000)
        before = other.calls
        time.sleep(1)
        assert other.calls - before > 10, f"another client made only {other.calls - before} calls in a second"
        idle[-1].sendall(VERSIONS)
        equal(struct.unpack(">ih", answer(idle[-1])[:6]), (7, 0))
        close(idle)


@check("Kafka: connections that end in the middle of a frame leave nothing behind")
def _():
    with unharmed_kafka(growth_mib_max=32):
        for number in range(1_000):
            connection = connect(ADDRESS)
            if number % 2:
                connection.sendall(VERSIONS[:-3])
            connection.close()


end()
