"""RESP that no client would send. The answers are those of Debian's redis-server, word by word."""

import os
import time

from attack import close, connect, drip, herd, is_open, raise_descriptor_limit, send_all_or_reset, send_meanwhile, unharmed, until_closed
from harness.check import TARGET, Skip, check, end, equal

raise_descriptor_limit()
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
ADDRESS = (HOST, int(PORT))


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def line(connection) -> bytes:
    said = b""
    while not said.endswith(b"\r\n"):
        part = connection.recv(1)
        if not part:
            raise ConnectionError(f"closed after {said!r}")
        said += part
    return said


def neighbour():
    """A client that keeps one connection and pings."""
    connection = connect(ADDRESS)

    def ask() -> None:
        connection.sendall(command(b"PING"))
        equal(line(connection), b"+PONG\r\n")

    return ask


def unharmed_redis(**options):
    return unharmed(neighbour(), memory_of=ADDRESS, **options)


def refused(name: str, sent: bytes, answer: bytes) -> None:
    @check(f"RESP: {name}")
    def _():
        with unharmed_redis():
            connection = connect(ADDRESS)
            send_all_or_reset(connection, sent)
            equal(until_closed(connection), answer)


def error(text: str) -> bytes:
    return f"-ERR Protocol error: {text}\r\n".encode()


refused("a length of 2 GiB", b"*1\r\n$2147483648\r\n", error("invalid bulk length"))
refused("a length of 512 MiB and a byte", b"*1\r\n$536870913\r\n", error("invalid bulk length"))
refused("a negative length", b"*1\r\n$-5\r\n", error("invalid bulk length"))
refused("a length that is no number", b"*1\r\n$12x\r\n", error("invalid bulk length"))
refused("a length above 64 bits", b"*1\r\n$99999999999999999999\r\n", error("invalid bulk length"))
refused("a count of 2^31", b"*2147483648\r\n", error("invalid multibulk length"))
refused("a count that is no number", b"*abc\r\n", error("invalid multibulk length"))
refused("a million arrays in each other", b"*1\r\n" * 1_000_000, error("expected '$', got '*'"))
refused("a number where an argument should be", b"*2\r\n$4\r\nPING\r\n:1\r\n", error("expected '$', got ':'"))
refused("a line without an end", b"A" * 200_000, error("too big inline request"))
refused("a count without an end", b"*" + b"1" * 200_000, error("too big mbulk count string"))
refused("a length without an end", b"*1\r\n$" + b"1" * 200_000, error("too big bulk count string"))
refused("a quote that is not closed", b'SET a "b\r\n', error("unbalanced quotes in request"))


@check("RESP: what came before a protocol error is answered")
def _():
    connection = connect(ADDRESS)
    connection.sendall(command(b"PING") + b"*1\r\n$-5\r\n")
    equal(until_closed(connection), b"+PONG\r\n" + error("invalid bulk length"))


@check("RESP: a count of 2^31 - 1 is waited for, and costs nothing")
def _():
    with unharmed_redis(growth_mib_max=64):
        waiting = [connect(ADDRESS) for _ in range(100)]
        for connection in waiting:
            connection.sendall(b"*2147483647\r\n$4\r\nECHO\r\n")
        assert all(is_open(connection, 0.01) for connection in waiting), "the server did not wait for the arguments"
        close(waiting)


@check("RESP: lengths of 512 MiB without their bytes cost nothing")
def _():
    with unharmed_redis(growth_mib_max=64):
        waiting = [connect(ADDRESS) for _ in range(50)]
        for connection in waiting:
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nabc")
        assert all(is_open(connection, 0.01) for connection in waiting), "the server did not wait for the value"
        close(waiting)


@check("RESP: empty and negative counts are ignored")
def _():
    connection = connect(ADDRESS)
    connection.sendall(b"*0\r\n*-1\r\n*-10\r\n\r\n" + command(b"PING"))
    equal(line(connection), b"+PONG\r\n")


@check("RESP: a client that sends a byte at a time is served")
def _():
    with unharmed_redis():
        connection = connect(ADDRESS)
        drip(connection, command(b"ECHO", b"slowly"), 0.02)
        equal(line(connection), b"$6\r\n")
        equal(line(connection), b"slowly\r\n")


@check("RESP: a hundred thousand requests in one go are answered in order")
def _():
    with unharmed_redis():
        connection = connect(ADDRESS)
        count = 100_000
        connection.settimeout(60)
        requests = b"".join(command(b"ECHO", b"%d" % number) for number in range(count))
        answers = connection.makefile("rb")
        writer = send_meanwhile(connection, requests)
        for number in range(count):
            answers.readline()
            equal(answers.readline(), b"%d\r\n" % number)
        writer.join()


@check("RESP: a subscriber who does not read is cut off at 32 MiB")
def _():
    with unharmed_redis(growth_mib_max=160):
        subscriber = connect(ADDRESS)
        subscriber.sendall(command(b"SUBSCRIBE", b"hostile"))
        for _ in range(6):
            line(subscriber)
        publisher = connect(ADDRESS)
        message = b"x" * (1 << 20)
        received = 1
        for _ in range(100):
            publisher.sendall(command(b"PUBLISH", b"hostile", message))
            received = int(line(publisher)[1:])
            if received == 0:
                break
        equal(received, 0)
        assert len(until_closed(subscriber, bytes_max=200 << 20)) < 100 << 20, "the subscriber got everything"


@check("RESP: a client who asks for 2 GiB and reads nothing is held back")
def _():
    if TARGET == "real":
        raise Skip("Redis keeps all answers in memory unless client-output-buffer-limit is set")
    with unharmed_redis(growth_mib_max=256):
        greedy = connect(ADDRESS)
        greedy.sendall(command(b"SET", b"{hostile}large", b"x" * (1 << 20)))
        moved_or_stored = line(greedy)
        request = command(b"GET", b"{hostile}large") if moved_or_stored == b"+OK\r\n" else command(b"CLUSTER", b"SLOTS")
        writer = send_meanwhile(greedy, request * 2_000)
        writer.join(3)
        close([greedy])


@check("RESP: 5,000 idle connections, and the others unharmed")
def _():
    with unharmed_redis() as other:
        idle = herd(ADDRESS, 5_000)
        before = other.calls
        time.sleep(1)
        assert other.calls - before > 10, f"another client made only {other.calls - before} calls in a second"
        last = idle[-1]
        last.sendall(command(b"PING"))
        equal(line(last), b"+PONG\r\n")
        close(idle)


@check("RESP: connections that come and go at once leave nothing behind")
def _():
    with unharmed_redis(growth_mib_max=32):
        for number in range(2_000):
            connection = connect(ADDRESS)
            if number % 2:
                connection.sendall(b"*3\r\n$3\r\nSET\r\n$1")
            connection.close()


end()
