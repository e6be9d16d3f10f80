"""MIGRATE over TLS, as `tls-cluster` says: from the target, and from a real server, to another real one. Both must say the same."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import redis

from harness import real_redis
from harness.check import check, end, equal

SCRATCH = Path(os.environ["SCRATCH"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
STACK = ExitStack()
UNREACHABLE = "IOERR error or timeout connecting to the client"
# Those of the target's own configuration: whoever has them is trusted, and by everybody.
FILES = {"ca-cert": "authority.pem", "cert": "server.pem", "key": "server.key"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def real(*options: str) -> tuple[redis.Redis, int]:
    """A real server, and its port for TLS."""
    port, encrypted = free_port(), free_port()
    files = [word for name, file in FILES.items() for word in (f"--tls-{name}-file", str(SCRATCH / file))]
    real_redis.server(STACK, SCRATCH, "127.0.0.1", port, ["--tls-port", str(encrypted), *files, *options])
    return redis.Redis("127.0.0.1", port, decode_responses=True), encrypted


TARGET = redis.Redis(HOST, int(PORT), decode_responses=True)
TARGET.config_set("tls-cluster", "yes")
SOURCES = [TARGET, real("--tls-cluster", "yes")[0]]
ELSEWHERE, ENCRYPTED = real()
PLAIN = ELSEWHERE.connection_pool.connection_kwargs["port"]


def migrate(source: redis.Redis, port: int, *words) -> str:
    try:
        return str(source.execute_command("MIGRATE", "127.0.0.1", port, *words))
    except redis.RedisError as error:
        return str(error)


@check("MIGRATE over TLS: a key, and several with a value of many records")
def _():
    for source in SOURCES:
        ELSEWHERE.flushall()
        source.mset({"one": "1", "two": "x" * 500_000})
        source.rpush("three", *range(1000))
        equal(migrate(source, ENCRYPTED, "one", 0, 5000), "OK")
        equal((source.exists("one"), ELSEWHERE.get("one")), (0, "1"))
        equal(migrate(source, ENCRYPTED, "", 0, 5000, "KEYS", "two", "three"), "OK")
        equal((source.exists("two", "three"), len(ELSEWHERE.get("two")), ELSEWHERE.llen("three")), (0, 500_000, 1000))


@check("MIGRATE over TLS: a key that is there, and AUTH where none is wanted")
def _():
    ELSEWHERE.set("one", "before")
    for source in SOURCES:
        source.set("one", "1")
    equal(*(migrate(source, ENCRYPTED, "one", 0, 5000) for source in SOURCES))
    equal(*(migrate(source, ENCRYPTED, "one", 0, 5000, "AUTH", "secret") for source in SOURCES))
    equal(ELSEWHERE.get("one"), "before")


@check("MIGRATE over TLS: to a plain port, and where nobody listens")
def _():
    nobody = free_port()
    for source in SOURCES:
        source.set("one", "1")
        equal(migrate(source, PLAIN, "one", 0, 2000), UNREACHABLE)
        equal(migrate(source, nobody, "one", 0, 2000), UNREACHABLE)
        equal(source.get("one"), "1")


@check("MIGRATE over TLS: to whom the target's certificate is that of a stranger")
def _():
    stranger, encrypted = real("--tls-ca-cert-file", str(SCRATCH / "other.pem"))
    equal(*(migrate(source, encrypted, "one", 0, 2000).split(" timeout ")[0] for source in SOURCES))
    equal(stranger.dbsize(), 0)


@check("MIGRATE over TLS: plainly, once tls-cluster is no")
def _():
    for source in SOURCES:
        ELSEWHERE.flushall()
        source.set("one", "1")
        source.config_set("tls-cluster", "no")
        equal(migrate(source, PLAIN, "one", 0, 5000), "OK")
        equal((source.exists("one"), ELSEWHERE.get("one")), (0, "1"))


STACK.close()
end()
