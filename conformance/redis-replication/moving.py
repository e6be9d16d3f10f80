"""Keys and functions that move between the target and real servers: MIGRATE both ways, FUNCTION DUMP and RESTORE both ways.

Whatever is asked of the target as a source is asked of a real server as well, and both must say the same.
"""

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis  # noqa: E402  (the path must be there first)
from harness import real_redis  # noqa: E402
from harness.check import check, end, equal, eventually  # noqa: E402

SCRATCH = Path(os.environ["SCRATCH"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
STACK = ExitStack()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def real(*options: str) -> redis.Redis:
    """A real server on a port of its own."""
    port = free_port()
    real_redis.server(STACK, SCRATCH, "127.0.0.1", port, list(options))
    password = options[options.index("--requirepass") + 1] if "--requirepass" in options else None
    return redis.Redis("127.0.0.1", port, password=password)


TARGET = redis.Redis(HOST, int(PORT))
# The same questions go to both of these; their keys go to the same server.
SOURCES = [TARGET, real()]
ELSEWHERE = real()
GUARDED = real("--requirepass", "secret")


def address(server: redis.Redis) -> tuple[str, int]:
    options = server.connection_pool.connection_kwargs
    return options["host"], options["port"]


def said(function, *arguments) -> str:
    """What a server answers, be it an error."""
    try:
        answer = function(*arguments)
        return answer.decode() if isinstance(answer, bytes) else str(answer)
    except redis.RedisError as error:
        return f"{type(error).__name__} {error}"


def alike(function) -> str:
    """What both sources say, which must be the same."""
    seen = [said(function, source) for source in SOURCES]
    equal(seen[0], seen[1])
    return seen[0]


def migrate(source: redis.Redis, target: redis.Redis, *words) -> str:
    return source.execute_command("MIGRATE", *address(target), *words)


KEYS = ["string", "number", "list", "set", "numbers", "hash", "zset", "stream", "large", "bytes"]


def fill(server: redis.Redis) -> None:
    server.flushall()
    server.set("string", "value", ex=1000)
    server.set("number", 12345)
    server.rpush("list", *[f"item {number}" * 20 for number in range(300)])
    server.sadd("set", *[f"member-{number}" for number in range(300)])
    server.sadd("numbers", *range(100))
    server.hset("hash", mapping={"a": 1, "b": "two"})
    server.zadd("zset", {f"member-{number}": number / 7 for number in range(300)})
    for number in range(5):
        server.xadd("stream", {"field": number}, id=f"{number + 1}-0")
    server.xgroup_create("stream", "group", "0")
    server.xreadgroup("group", "consumer", {"stream": ">"}, count=2)
    server.set("large", b"z" * 3_000_000)
    server.set("bytes", bytes(range(256)))


def content(server: redis.Redis) -> dict:
    lookers = {b"string": server.get, b"list": lambda key: server.lrange(key, 0, -1), b"set": server.smembers, b"hash": server.hgetall}
    lookers[b"zset"] = lambda key: server.zrange(key, 0, -1, withscores=True)
    lookers[b"stream"] = lambda key: (server.xrange(key), [group["pending"] for group in server.xinfo_groups(key)])
    found = {}
    for key in server.scan_iter(count=1000):
        found[key.decode()] = (lookers[server.type(key)](key), server.pttl(key) > 0)
    return found


def moves_everything(source: redis.Redis, target: redis.Redis) -> None:
    fill(source)
    target.flushall()
    wanted = content(source)
    equal(sorted(wanted), sorted(KEYS))
    equal(migrate(source, target, "", 0, 5000, "KEYS", *KEYS), b"OK")
    seen = content(target)
    for key in KEYS:
        assert seen.get(key) == wanted[key], f"{key}: {str(seen.get(key))[:150]} instead of {str(wanted[key])[:150]}"
    equal(source.dbsize(), 0)


@check("MIGRATE: every type from the target to a real server")
def _():
    moves_everything(TARGET, ELSEWHERE)


@check("MIGRATE: every type from a real server to the target")
def _():
    moves_everything(SOURCES[1], TARGET)
    TARGET.flushall()


@check("MIGRATE: an expiry travels as the time that is left")
def _():
    TARGET.set("k", 1, px=50_000)
    migrate(TARGET, ELSEWHERE, "k", 0, 5000, "REPLACE")
    assert 40_000 < ELSEWHERE.pttl("k") <= 50_000, ELSEWHERE.pttl("k")
    equal(TARGET.exists("k"), 0)


@check("MIGRATE: one key, COPY, REPLACE, a key that is there, and none at all")
def _():
    def story(source):
        source.flushall()
        ELSEWHERE.flushall()
        source.mset({"a": 1, "b": 2})
        told = [said(migrate, source, ELSEWHERE, "a", 0, 5000, "COPY"), source.exists("a"), ELSEWHERE.get("a")]
        source.set("a", "new")
        told += [said(migrate, source, ELSEWHERE, "a", 0, 5000), source.get("a"), ELSEWHERE.get("a")]
        told += [said(migrate, source, ELSEWHERE, "", 0, 5000, "KEYS", "a", "b"), sorted(source.keys()), sorted(ELSEWHERE.keys())]
        told += [said(migrate, source, ELSEWHERE, "a", 0, 5000, "REPLACE"), source.keys(), ELSEWHERE.get("a")]
        return str([*told, said(migrate, source, ELSEWHERE, "a", 0, 5000)])

    told = alike(story)
    assert "Target instance replied with error: BUSYKEY Target key name already exists." in told and "NOKEY" in told, told


@check("MIGRATE: another database, and one that is not there")
def _():
    def story(source):
        ELSEWHERE.flushall()
        source.mset({"a": 1, "b": 2})
        told = [said(migrate, source, ELSEWHERE, "a", 3, 5000), source.exists("a")]
        return str([*told, said(migrate, source, ELSEWHERE, "b", 99, 5000), source.exists("b")])

    assert "Target instance replied with error: ERR DB index is out of range" in alike(story)
    equal(redis.Redis(*address(ELSEWHERE), db=3).get("a"), b"1")


@check("MIGRATE: AUTH, AUTH2, a wrong password, none")
def _():
    GUARDED.execute_command("ACL", "SETUSER", "anna", "on", ">hers", "~*", "+restore", "+select", "+auth")

    def story(source):
        GUARDED.flushall()
        source.mset({"a": 1, "b": 2, "c": 3})
        told = [said(migrate, source, GUARDED, "a", 0, 5000)]
        told += [said(migrate, source, GUARDED, "a", 0, 5000, "AUTH", "wrong")]
        told += [said(migrate, source, GUARDED, "c", 0, 5000, "AUTH2", "anna", "wrong")]
        told += [said(migrate, source, GUARDED, "a", 0, 5000, "AUTH", "secret")]
        told += [said(migrate, source, GUARDED, "b", 0, 5000, "AUTH2", "anna", "hers")]
        return str([*told, sorted(source.keys()), sorted(GUARDED.keys())])

    assert "NOAUTH" in (told := alike(story)) and "WRONGPASS" in told, told


@check("MIGRATE: arguments that make no sense")
def _():
    def story(source):
        source.set("a", 1)
        where = address(ELSEWHERE)
        asked = [("a", 0), ("a", "x", 100), ("a", 0, "x"), ("a", 0, 100, "NONSENSE"), ("a", 0, 100, "AUTH"), ("a", 0, 100, "AUTH2", "x")]
        asked += [("a", 0, 100, "KEYS", "b"), ("", 0, 100, "KEYS")]
        return str([said(source.execute_command, "MIGRATE", *where, *words) for words in asked])

    alike(story)


@check("MIGRATE: nobody listens there")
def _():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))

        def story(source):
            source.set("a", 1)
            answer = said(source.execute_command, "MIGRATE", *nobody.getsockname(), "a", 0, 1000)
            return str([answer, source.get("a")])

        assert "IOERR error or timeout writing to target instance" in alike(story)

    def lost(source):
        source.set("a", 1)
        return said(source.execute_command, "MIGRATE", "no.such.host.invalid", 6379, "a", 0, 1000)

    equal(alike(lost), "ResponseError IOERR error or timeout connecting to the client")


class Odd:
    """A server that takes a connection at a time and does with it what `body` says."""

    def __init__(self, body):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.body = body
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.body(connection)

    def __enter__(self):
        return self.listener.getsockname()

    def __exit__(self, *_):
        self.listener.close()


@check("MIGRATE: a target that closes at once, and one that answers nonsense")
def _():
    def nonsense(connection):
        connection.recv(1 << 16)
        connection.sendall(b"+OK\r\n-ODD something else\r\n")

    with Odd(lambda connection: connection.recv(1)) as closing, Odd(nonsense) as odd:

        def story(source):
            source.set("a", 1)
            told = [said(source.execute_command, "MIGRATE", *closing, "a", 0, 3000), source.get("a")]
            return str([*told, said(source.execute_command, "MIGRATE", *odd, "a", 0, 3000), source.get("a")])

        told = alike(story)
    assert "IOERR error or timeout reading to target instance" in told or "writing to target" in told, told
    assert "Target instance replied with error: ODD something else" in told, told


@check("MIGRATE: a silent target keeps only its own client waiting, and those who would write the key")
def _():
    called, may_end = threading.Event(), threading.Event()

    def silent(connection):
        called.set()
        may_end.wait(30)
        connection.recv(1 << 16)
        connection.sendall(b"+OK\r\n+OK\r\n")

    with Odd(silent) as where:
        TARGET.mset({"slow": 1, "free": 2})
        told = []
        mover = threading.Thread(target=lambda: told.append(said(redis.Redis(HOST, int(PORT)).execute_command, "MIGRATE", *where, "slow", 0, 30_000)))
        mover.start()
        assert called.wait(20)
        equal((TARGET.incr("free"), TARGET.get("slow")), (3, b"1"))
        writer = threading.Thread(target=lambda: told.append(said(redis.Redis(HOST, int(PORT)).append, "slow", "x")))
        writer.start()
        eventually(lambda: TARGET.info("clients")["blocked_clients"] == 2)
        equal(told, [])
        may_end.set()
        mover.join(20)
        writer.join(20)
    # The key had gone when the writer's turn came.
    equal((sorted(told), TARGET.get("slow")), (["1", "OK"], b"x"))


@check("MIGRATE: a silent target is given up after the timeout")
def _():
    may_end = threading.Event()
    with Odd(lambda connection: may_end.wait(30)) as where:
        TARGET.set("slow", 1)
        equal(said(TARGET.execute_command, "MIGRATE", *where, "slow", 0, 200), "ResponseError IOERR error or timeout reading to target instance")
        equal(TARGET.get("slow"), b"1")
        may_end.set()


@check("MIGRATE: what the target's replica and a real follower see is a deletion")
def _():
    TARGET.config_set("repl-diskless-sync-delay", 0)
    follower = real("--replicaof", HOST, PORT)
    TARGET.set("moved", 1)
    eventually(lambda: follower.get("moved") == b"1")
    migrate(TARGET, ELSEWHERE, "moved", 0, 5000, "REPLACE")
    eventually(lambda: follower.exists("moved") == 0)


@check("redis-cli --cluster import: from the target into a real cluster")
def _():
    cluster = real("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    cluster.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(lambda: said(cluster.delete, "k") == "0")
    fill(TARGET)
    wanted = content(TARGET)
    command = ["redis-cli", "--cluster", "import", "{}:{}".format(*address(cluster)), "--cluster-from", f"{HOST}:{PORT}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    equal((done.returncode, TARGET.dbsize()), (0, 0))
    equal(content(cluster) == wanted, True)


LIBRARY = "#!lua name={}\nredis.register_function{{function_name='{}', callback=function() return '{}' end, flags={{'no-writes'}}, description='{}'}}"


def load(server: redis.Redis, *names: str) -> None:
    server.function_flush()
    for name in names:
        server.function_load(LIBRARY.format(name, f"f_{name}", name * 50, "long " * 100))


def libraries(server: redis.Redis) -> list:
    return sorted(str(library) for library in server.function_list(withcode=True))


def dump(server: redis.Redis) -> bytes:
    return server.execute_command("FUNCTION DUMP", NEVER_DECODE=True)


def carries(source: redis.Redis, target: redis.Redis) -> None:
    load(source, "one", "two", "three")
    target.function_flush()
    equal(target.function_restore(dump(source)), True)
    equal(libraries(target), libraries(source))
    equal(target.fcall_ro("f_two", 0), b"two" * 50)


@check("FUNCTION DUMP of the target is restored by a real server")
def _():
    carries(TARGET, ELSEWHERE)


@check("FUNCTION DUMP of a real server is restored by the target")
def _():
    carries(ELSEWHERE, TARGET)


@check("FUNCTION DUMP: one library, or none, is the same byte by byte")
def _():
    payloads = []
    for source in SOURCES:
        load(source)
        payloads.append([dump(source)])
        load(source, "one")
        payloads[-1].append(dump(source))
    equal(payloads[0][0], payloads[1][0])
    # Compressed texts of one source may differ; both are read by both.
    for source in SOURCES:
        for _, payload in payloads:
            equal(source.function_restore(payload, "FLUSH"), True)


@check("FUNCTION RESTORE: APPEND, REPLACE, FLUSH and collisions")
def _():
    load(ELSEWHERE, "one", "two")
    both = dump(ELSEWHERE)
    ELSEWHERE.function_flush()
    ELSEWHERE.function_load("#!lua name=other\nredis.register_function('f_two', function() return 1 end)")
    colliding = dump(ELSEWHERE)

    def story(source):
        load(source, "one")
        told = [said(source.function_restore, both), libraries(source), said(source.function_restore, both, "APPEND")]
        told += [said(source.function_restore, both, "REPLACE"), libraries(source)]
        told += [said(source.function_restore, colliding), said(source.function_restore, colliding, "REPLACE"), libraries(source)]
        told += [said(source.function_restore, colliding, "FLUSH"), libraries(source)]
        told += [said(source.function_restore, both, "NONSENSE"), said(source.execute_command, "FUNCTION RESTORE", both, "FLUSH", "more")]
        return str([*told, said(source.execute_command, "FUNCTION RESTORE"), said(source.execute_command, "FUNCTION DUMP", "x")])

    told = alike(story)
    assert "Library one already exists" in told and "Function f_two already exists" in told, told


def signed(body: bytes) -> bytes:
    """The body with the footer of a payload: a version, and CRC-64 as Redis computes it."""
    body += b"\x0a\x00"
    crc = 0
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x95AC9329AC4BC9B5 if crc & 1 else crc >> 1
    return body + crc.to_bytes(8, "little")


@check("FUNCTION RESTORE: damaged payloads")
def _():
    load(ELSEWHERE, "one")
    payload = dump(ELSEWHERE)
    bodies = [b"\x00\x01x", b"\xf5\x03abc", b"\xf5\x7fabc", b"\xf5\x20#!lua name=x\nnonsense nonsense x"]
    payloads = [b"", b"x", payload[:-1], payload[1:], payload + b"x", payload[:-8] + bytes(8), *map(signed, bodies)]

    def story(source):
        load(source, "kept")
        return str([[said(source.function_restore, damaged, "FLUSH") for damaged in payloads], libraries(source)])

    alike(story)


@check("functions are in a snapshot that a real server loads")
def _():
    load(TARGET, "one", "two")
    port = free_port()
    folder = SCRATCH / "loads"
    folder.mkdir()
    taken = ["redis-cli", "-h", HOST, "-p", PORT, "--rdb", str(folder / "dump.rdb")]
    subprocess.run(taken, check=True, capture_output=True, timeout=30)
    real_redis.server(STACK, SCRATCH, "127.0.0.1", port, ["--dir", str(folder)])
    equal(libraries(redis.Redis("127.0.0.1", port)), libraries(TARGET))


@check("functions are in a snapshot of a real server that the target follows")
def _():
    load(TARGET, "stale")
    load(ELSEWHERE, "one", "two")
    TARGET.replicaof(*address(ELSEWHERE))
    eventually(lambda: TARGET.info("replication")["master_link_status"] == "up")
    equal(libraries(TARGET), libraries(ELSEWHERE))
    load(ELSEWHERE, "three")
    payload = dump(ELSEWHERE)
    ELSEWHERE.function_flush()
    ELSEWHERE.function_restore(payload)
    eventually(lambda: libraries(TARGET) == libraries(ELSEWHERE))
    TARGET.replicaof("NO", "ONE")


STACK.close()
end()
