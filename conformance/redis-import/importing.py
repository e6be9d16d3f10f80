"""Keys of a real server come into the target's cluster with `redis-cli --cluster import`, and leave it with MIGRATE."""

import os
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import redis
from redis.cluster import ClusterNode, RedisCluster

from harness import real_redis
from harness.check import check, end, equal, eventually

SCRATCH = Path(os.environ["SCRATCH"])
NODES = os.environ["REDIS_NODES"].split(",")
CLUSTER = RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, port in (node.rsplit(":", 1) for node in NODES)])
STACK = ExitStack()
COUNT = 300


def real(*options: str) -> redis.Redis:
    """A real server on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    real_redis.server(STACK, SCRATCH, "127.0.0.1", port, list(options))
    password = options[options.index("--requirepass") + 1] if "--requirepass" in options else None
    return redis.Redis("127.0.0.1", port, password=password)


def address(server: redis.Redis) -> tuple[str, int]:
    options = server.connection_pool.connection_kwargs
    return options["host"], options["port"]


def fill(server: redis.Redis) -> None:
    server.flushall()
    pipe = server.pipeline(transaction=False)
    for number in range(COUNT):
        pipe.set(f"string-{number}", f"value-{number}", ex=1000 if number % 2 else None)
        pipe.rpush(f"list-{number}", *range(number % 7 + 1))
        pipe.hset(f"hash-{number}", mapping={"n": number})
        pipe.zadd(f"zset-{number}", {"a": number / 3})
        pipe.sadd(f"set-{number}", "a", number)
        pipe.xadd(f"stream-{number}", {"n": number}, id="1-1")
    pipe.execute()


def holds_all(server) -> None:
    """The keys of `fill`, each with its value; `server` may be a cluster."""
    for number in range(0, COUNT, 7):
        equal((server.get(f"string-{number}"), server.ttl(f"string-{number}") > 0), (f"value-{number}".encode(), number % 2 == 1))
        equal(server.lrange(f"list-{number}", 0, -1), [str(one).encode() for one in range(number % 7 + 1)])
        equal(server.hgetall(f"hash-{number}"), {b"n": str(number).encode()})
        equal(server.zscore(f"zset-{number}", "a"), number / 3)
        equal(server.smembers(f"set-{number}"), {b"a", str(number).encode()})
        equal(server.xrange(f"stream-{number}"), [(b"1-1", {b"n": str(number).encode()})])


def keys_of_cluster() -> int:
    return sum(CLUSTER.dbsize(target_nodes=node) for node in CLUSTER.get_primaries())


def imports(source: redis.Redis, *options: str) -> subprocess.CompletedProcess:
    command = ["redis-cli", "--cluster", "import", NODES[0], "--cluster-from", "{}:{}".format(*address(source)), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


SOURCE = real()
GUARDED = real("--requirepass", "secret")


@check("import with --cluster-copy: every key is in the cluster, and stays where it was")
def _():
    fill(SOURCE)
    done = imports(SOURCE, "--cluster-copy")
    equal((done.returncode, SOURCE.dbsize(), keys_of_cluster()), (0, 6 * COUNT, 6 * COUNT))
    holds_all(CLUSTER)
    holds_all(SOURCE)


@check("import again: keys that are there are refused, with --cluster-replace they are not")
def _():
    SOURCE.set("string-0", "changed")
    done = imports(SOURCE, "--cluster-copy")
    assert "BUSYKEY Target key name already exists" in done.stdout + done.stderr, (done.stdout + done.stderr)[-300:]
    equal(CLUSTER.get("string-0"), b"value-0")
    done = imports(SOURCE, "--cluster-copy", "--cluster-replace")
    equal((done.returncode, CLUSTER.get("string-0")), (0, b"changed"))


@check("import without --cluster-copy leaves nothing behind")
def _():
    CLUSTER.flushall()
    fill(SOURCE)
    equal((imports(SOURCE).returncode, SOURCE.dbsize(), keys_of_cluster()), (0, 0, 6 * COUNT))
    holds_all(CLUSTER)


@check("import from a server with a password")
def _():
    CLUSTER.flushall()
    fill(GUARDED)
    done = imports(GUARDED, "--cluster-from-pass", "secret", "--cluster-copy")
    equal((done.returncode, keys_of_cluster()), (0, 6 * COUNT))
    holds_all(CLUSTER)


@check("replicas have what was imported")
def _():
    for node in CLUSTER.get_replicas():
        one = redis.Redis(node.host, node.port)
        one.readonly()
        master = one.info("replication")
        there = redis.Redis(master["master_host"], master["master_port"])
        eventually(lambda one=one, there=there: one.dbsize() == there.dbsize())


@check("MIGRATE leaves the cluster: a slot's keys go to a real server, with its password")
def _():
    node = CLUSTER.get_node_from_key("{out}")
    owner = redis.Redis(node.host, node.port)
    owner.mset({"{out}a": 1, "{out}b": 2})
    SOURCE.flushall()
    GUARDED.flushall()
    equal(owner.execute_command("MIGRATE", *address(SOURCE), "{out}a", 0, 5000, "COPY"), b"OK")
    equal(owner.execute_command("MIGRATE", *address(GUARDED), "", 0, 5000, "AUTH", "secret", "KEYS", "{out}a", "{out}b"), b"OK")
    equal((SOURCE.get("{out}a"), GUARDED.mget("{out}a", "{out}b")), (b"1", [b"1", b"2"]))
    equal(owner.exists("{out}a", "{out}b"), 0)


@check("MIGRATE from a real server to the wrong node is told where the key belongs")
def _():
    SOURCE.set("foo", 1)
    node = CLUSTER.get_node_from_key("foo")
    wrong = next(other for other in CLUSTER.get_primaries() if other.name != node.name)
    try:
        SOURCE.execute_command("MIGRATE", wrong.host, wrong.port, "foo", 0, 5000)
        raise AssertionError("no error")
    except redis.ResponseError as error:
        equal(str(error), f"Target instance replied with error: MOVED 12182 {node.host}:{node.port}")
    equal(SOURCE.get("foo"), b"1")


STACK.close()
end()
