"""A real redis-server follows the target, the target follows a real one, and both hang between two others.

Whoever follows must hold the same keys, values and deadlines, and name the same offset, as the one that it follows.
"""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis  # noqa: E402  (the path must be there first)
from harness.check import check, end, equal, eventually, raises  # noqa: E402
from harness.process import Server  # noqa: E402

SCRATCH = Path(os.environ["SCRATCH"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
TARGET = redis.Redis(HOST, int(PORT))
STACK = ExitStack()


def real(*options: str) -> redis.Redis:
    """A real server on a port of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = SCRATCH / f"real-{port}"
    folder.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes", *options]
    server = Server(command, folder / "server.log", "Ready to accept connections")
    STACK.callback(server.stop)
    server.wait_ready(20)
    password = options[options.index("--requirepass") + 1] if "--requirepass" in options else None
    return redis.Redis("127.0.0.1", port, password=password)


def address(server: redis.Redis) -> tuple[str, int]:
    options = server.connection_pool.connection_kwargs
    return options["host"], options["port"]


def in_database(server: redis.Redis, database: int) -> redis.Redis:
    options = server.connection_pool.connection_kwargs
    return redis.Redis(options["host"], options["port"], db=database, password=options.get("password"))


def content(server: redis.Redis) -> dict:
    """All keys of the first databases with their values and deadlines."""
    found = {}
    for database in (0, 3):
        one = in_database(server, database)
        for key in one.scan_iter(count=1000):
            found[database, key] = (one.type(key), value(one, key), one.pexpiretime(key))
    return found


def value(server: redis.Redis, key: bytes):
    match server.type(key):
        case b"string":
            return server.get(key)
        case b"list":
            return server.lrange(key, 0, -1)
        case b"set":
            return server.smembers(key)
        case b"hash":
            return server.hgetall(key)
        case b"zset":
            return server.zrange(key, 0, -1, withscores=True)
        case b"stream":
            groups = [(group["name"], group["last-delivered-id"], group["pending"]) for group in server.xinfo_groups(key)]
            return server.xrange(key), groups


def fill(server: redis.Redis) -> None:
    server.flushall()
    OTHER.hset("payload", mapping={"a": 1})
    for number in range(300):
        server.set(f"string-{number}", "x" * number)
    server.set("number", 12345)
    server.set("dies", "later", ex=100_000)
    server.rpush("list-short", *range(10))
    server.rpush("list-long", *[f"item {number}" * 30 for number in range(500)])
    server.sadd("set-of-numbers", *range(100))
    server.sadd("set-of-words", "one", "two", "three")
    server.sadd("set-large", *[f"member-{number}" for number in range(500)])
    server.hset("hash-small", mapping={"field": "value", "n": 1})
    server.hset("hash-large", mapping={f"field-{number}": "v" * number for number in range(300)})
    server.zadd("zset-small", {"a": 1.5, "b": float("inf"), "c": -3})
    server.zadd("zset-large", {f"member-{number}": number / 7 for number in range(300)})
    for number in range(5):
        server.xadd("stream", {"field": number})
    server.xgroup_create("stream", "group", "0")
    server.xreadgroup("group", "consumer", {"stream": ">"}, count=2)
    in_database(server, 3).set("elsewhere", 1)


def write(server: redis.Redis) -> None:
    """What changes on its way to replicas: deadlines, chance, transactions, scripts."""
    server.set("expiring", 1, ex=1000)
    server.expire("number", 5000)
    server.getex("string-1", ex=300)
    server.spop("set-large", 20)
    server.spop("set-of-words")
    server.incrbyfloat("float", 0.1)
    server.hincrbyfloat("hash-small", "n", 0.5)
    with server.pipeline(transaction=True) as together:
        together.incr("counter").rpush("list-short", "x", "y").lpop("list-short").execute()
    server.eval("redis.call('incr', 'scripted') redis.call('sadd', 'set-of-words', 'four') return 1", 0)
    server.xadd("stream", {"more": 1})
    server.xreadgroup("group", "other", {"stream": ">"}, count=1)
    server.xtrim("stream", maxlen=4)
    server.zpopmin("zset-large", 5)
    server.sort("list-long", alpha=True, store="sorted")
    server.copy("list-short", "copied")
    in_database(server, 3).incr("elsewhere")
    in_database(server, 3).move("elsewhere", 0)
    server.set("short-lived", 1, px=30)
    server.bitfield("bits").set("u8", 0, 200).incrby("u8", 0, 100).execute()
    server.setrange("string-5", 10, "patched")
    server.set("string-6", "to be renamed")
    server.rename("string-6", "renamed")
    server.lmove("list-short", "list-moved")
    server.restore("restored", 0, OTHER.dump("payload"), replace=True)


def follows(replica: redis.Redis, master: redis.Redis) -> bool:
    info = replica.info("replication")
    host, port = address(master)
    return info["role"] == "slave" and (info["master_host"], info["master_port"]) == (host, port) and info["master_link_status"] == "up"


def is_level(replica: redis.Redis, master: redis.Redis) -> bool:
    return replica.info("replication")["slave_repl_offset"] == master.info("replication")["master_repl_offset"]


def same(replica: redis.Redis, master: redis.Redis) -> None:
    eventually(lambda: is_level(replica, master))
    # A key may expire between two looks; then they are looked at again.
    eventually(lambda: "short-lived" not in master and is_level(replica, master))
    seen, wanted = content(replica), content(master)
    for name in wanted.keys() | seen.keys():
        if seen.get(name) != wanted.get(name):
            raise AssertionError(f"{name}: {str(seen.get(name))[:150]} instead of {str(wanted.get(name))[:150]}")


def syncs(server: redis.Redis) -> tuple[int, int]:
    stats = server.info("stats")
    return stats["sync_full"], stats["sync_partial_ok"]


def read_commands(stream, count: int) -> list[list[bytes]]:
    commands = []
    while len(commands) < count:
        length = int(stream.readline()[1:])
        words = []
        for _ in range(length):
            words.append(stream.read(int(stream.readline()[1:]) + 2)[:-2])
        if words[0].upper() != b"PING":
            commands.append(words)
    return commands


OTHER = real()
FOLLOWER = real()
TARGET.config_set("repl-diskless-sync-delay", 0)
fill(TARGET)


@check("a real server follows: every type and both databases arrive")
def _():
    FOLLOWER.replicaof(*address(TARGET))
    eventually(lambda: follows(FOLLOWER, TARGET))
    same(FOLLOWER, TARGET)


@check("a real server follows: it is named by INFO and ROLE")
def _():
    one = TARGET.info("replication")["slave0"]
    equal((one["port"], one["state"]), (address(FOLLOWER)[1], "online"))
    equal(TARGET.role()[2][0][1], str(address(FOLLOWER)[1]).encode())


@check("a real server follows: what is written then arrives, and the offsets are the same")
def _():
    write(TARGET)
    same(FOLLOWER, TARGET)


@check("a real server follows: published messages arrive")
def _():
    listener = FOLLOWER.pubsub()
    listener.subscribe("news")
    listener.get_message(timeout=5)
    TARGET.publish("news", "hello")
    equal(listener.get_message(timeout=5)["data"], b"hello")
    listener.close()


@check("a real server follows: WAIT counts it")
def _():
    with TARGET.client() as one:
        one.set("waited", 1)
        equal(one.execute_command("WAIT", 1, 5000), 1)


@check("a real server follows: a write after MULTI/EXEC is waited for as well")
def _():
    with TARGET.pipeline(transaction=True) as together:
        together.incr("w1").incr("w2").execute()
        equal(together.immediate_execute_command("WAIT", 1, 5000), 1)


@check("a real server follows: it goes on where it was after a lost connection")
def _():
    full, partial = syncs(TARGET)
    FOLLOWER.client_kill_filter(_type="master")
    TARGET.set("while-away", 1)
    eventually(lambda: FOLLOWER.get("while-away") == b"1")
    equal(syncs(TARGET), (full, partial + 1))
    same(FOLLOWER, TARGET)


@check("a real server follows: it begins anew when too much was written meanwhile")
def _():
    TARGET.config_set("repl-backlog-size", 20_000)
    full, _ = syncs(TARGET)
    host, port = address(TARGET)
    FOLLOWER.replicaof(*address(OTHER))
    eventually(lambda: follows(FOLLOWER, OTHER))
    for number in range(50):
        TARGET.set(f"large-{number}", "y" * 1000)
    FOLLOWER.replicaof(host, port)
    eventually(lambda: follows(FOLLOWER, TARGET))
    equal(syncs(TARGET)[0], full + 1)
    same(FOLLOWER, TARGET)
    TARGET.config_set("repl-backlog-size", 1 << 20)


@check("a real server follows: a snapshot with its length, as repl-diskless-sync no sends it")
def _():
    TARGET.config_set("repl-diskless-sync", "no")
    second = real("--replicaof", HOST, PORT)
    eventually(lambda: follows(second, TARGET))
    same(second, TARGET)
    second.shutdown(nosave=True)
    TARGET.config_set("repl-diskless-sync", "yes")


@check("a real server follows: large values, written while it synchronises")
def _():
    TARGET.set("huge", "z" * 5_000_000)
    second = real("--replicaof", HOST, PORT)
    for number in range(2000):
        TARGET.incr("meanwhile")
        TARGET.set(f"meanwhile-{number % 50}", number)
    eventually(lambda: follows(second, TARGET))
    same(second, TARGET)
    second.shutdown(nosave=True)
    TARGET.delete("huge")


@check("a real server follows: min-replicas-to-write counts it")
def _():
    # Those of the checks before may just be going.
    eventually(lambda: TARGET.info("replication")["connected_slaves"] == 1)
    TARGET.config_set("min-replicas-to-write", 1)
    eventually(lambda: TARGET.info("replication").get("slave0", {}).get("lag", 9) <= 1)
    assert TARGET.set("good", 1)
    TARGET.config_set("min-replicas-to-write", 2)
    raises(redis.ResponseError, "NOREPLICAS", TARGET.set, "good", 2)
    TARGET.config_set("min-replicas-to-write", 0)


@check("a real server follows: functions arrive")
def _():
    TARGET.function_load("#!lua name=lib\nredis.register_function{function_name='f', callback=function() return 7 end, flags={'no-writes'}}", replace=True)
    eventually(lambda: is_level(FOLLOWER, TARGET))
    equal(FOLLOWER.fcall("f", 0), 7)
    TARGET.function_delete("lib")


@check("redis-cli --rdb takes a snapshot that redis-check-rdb accepts")
def _():
    file = SCRATCH / "taken.rdb"
    subprocess.run(["redis-cli", "-h", HOST, "-p", PORT, "--rdb", str(file)], check=True, capture_output=True, timeout=30)
    checked = subprocess.run(["redis-check-rdb", str(file)], capture_output=True, text=True, timeout=30)
    assert "RDB looks OK" in checked.stdout, checked.stdout[-300:]


@check("redis-cli --replica shows the stream")
def _():
    command = ["redis-cli", "-h", HOST, "-p", PORT, "--replica"]
    shown = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while "REPLCONF ACK 0" not in shown.stdout.readline():
            pass
        TARGET.set("shown", "by redis-cli")
        while "by redis-cli" not in (line := shown.stdout.readline()):
            assert line, "it ended"
    finally:
        shown.terminate()
        shown.wait()


@check("SYNC by hand: a snapshot with its length, then the stream, database first")
def _():
    with socket.create_connection((HOST, int(PORT))) as connection, connection.makefile("rb") as stream:
        connection.sendall(b"SYNC\r\n")
        while (line := stream.readline()) == b"\n":
            pass
        snapshot = stream.read(int(line[1:]))
        assert snapshot.startswith(b"REDIS00"), snapshot[:9]
        server = in_database(TARGET, 3)
        server.set("k", 1)
        with server.pipeline(transaction=True) as together:
            together.set("one", 1).get("one").execute()
        with server.pipeline(transaction=True) as together:
            together.set("one", 1).execute_command("INCR", "one").execute()
        server.set("k", 2, exat=4_000_000_000)
        server.eval("redis.call('set', 'a', 1) return redis.call('set', 'b', 2)", 0)
        server.delete("nothing")
        seen = [[word.lower() for word in command] for command in read_commands(stream, 12)]
        wanted = ["select 3", "set k 1", "set one 1", "multi", "set one 1", "incr one", "exec"]
        wanted += ["set k 2 pxat 4000000000000", "multi", "set a 1", "set b 2", "exec"]
        equal(seen, [text.encode().split() for text in wanted])


@check("PSYNC by hand: another history and offsets that were not reached begin anew")
def _():
    name = TARGET.info("replication")["master_replid"]
    for words in ("? -1", "0123456789012345678901234567890123456789 1", f"{name} 99999999"):
        with socket.create_connection((HOST, int(PORT))) as connection, connection.makefile("rb") as stream:
            connection.sendall(f"REPLCONF capa eof capa psync2\r\nPSYNC {words}\r\n".encode())
            equal(stream.readline(), b"+OK\r\n")
            while (line := stream.readline()) == b"\n":
                pass
            assert line.startswith(f"+FULLRESYNC {name} ".encode()), line


@check("the target follows a real server: every type and both databases arrive")
def _():
    FOLLOWER.replicaof("NO", "ONE")
    fill(OTHER)
    TARGET.replicaof(*address(OTHER))
    eventually(lambda: follows(TARGET, OTHER))
    same(TARGET, OTHER)


@check("the target follows a real server: ROLE and INFO say so on both sides")
def _():
    role = TARGET.role()
    equal((role[0], role[2], role[3]), (b"slave", address(OTHER)[1], b"connected"))
    eventually(lambda: OTHER.info("replication").get("slave0", {}).get("state") == "online")
    equal(OTHER.info("replication")["slave0"]["port"], int(PORT))


@check("the target follows a real server: what is written then arrives, and the offsets are the same")
def _():
    write(OTHER)
    same(TARGET, OTHER)


@check("the target follows a real server: it is read-only, unless it is told otherwise")
def _():
    raises(redis.ResponseError, "You can't write against a read only replica", TARGET.set, "k", 1)
    TARGET.config_set("replica-read-only", "no")
    assert TARGET.set("own", 1)
    TARGET.delete("own")
    TARGET.config_set("replica-read-only", "yes")


@check("the target follows a real server: WAIT counts it there")
def _():
    with OTHER.client() as one:
        one.set("waited", 1)
        equal(one.execute_command("WAIT", 1, 5000), 1)


@check("the target follows a real server: it goes on where it was after a lost connection")
def _():
    full, partial = syncs(OTHER)
    OTHER.client_kill_filter(_type="replica")
    OTHER.set("while-away", 1)
    eventually(lambda: TARGET.get("while-away") == b"1")
    equal(syncs(OTHER), (full, partial + 1))
    same(TARGET, OTHER)


@check("the target follows a real server: stale data are served only if that is allowed")
def _():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        TARGET.replicaof("127.0.0.1", nobody.getsockname()[1])
        equal(TARGET.get("while-away"), b"1")
        TARGET.config_set("replica-serve-stale-data", "no")
        raises(redis.ResponseError, "Link with MASTER is down", TARGET.get, "while-away")
        TARGET.config_set("replica-serve-stale-data", "yes")
    full, partial = syncs(OTHER)
    TARGET.replicaof(*address(OTHER))
    eventually(lambda: follows(TARGET, OTHER))
    equal(syncs(OTHER), (full, partial + 1))


@check("a chain: a real server follows the target, which follows a real one")
def _():
    FOLLOWER.replicaof(*address(TARGET))
    eventually(lambda: follows(FOLLOWER, TARGET))
    write(OTHER)
    same(TARGET, OTHER)
    same(FOLLOWER, TARGET)
    equal(FOLLOWER.info("replication")["master_replid"], OTHER.info("replication")["master_replid"])


@check("REPLICAOF NO ONE: the target is a master with the data, and its follower goes on without a snapshot")
def _():
    before = content(OTHER)
    full, partial = syncs(TARGET)
    name = TARGET.info("replication")["master_replid"]
    TARGET.replicaof("NO", "ONE")
    equal(content(TARGET), before)
    info = TARGET.info("replication")
    equal((info["role"], info["master_replid2"]), ("master", name))
    TARGET.set("own", "again")
    eventually(lambda: FOLLOWER.get("own") == b"again")
    equal(syncs(TARGET), (full, partial + 1))
    same(FOLLOWER, TARGET)


@check("the target follows a real server with a password")
def _():
    guarded = real("--requirepass", "secret")
    guarded.set("guarded", 1)
    TARGET.config_set("masterauth", "secret")
    TARGET.replicaof(*address(guarded))
    eventually(lambda: follows(TARGET, guarded))
    equal(TARGET.get("guarded"), b"1")
    TARGET.replicaof("NO", "ONE")
    TARGET.config_set("masterauth", "")


@check("the target follows a real server that sends its snapshot with its length")
def _():
    plain = real("--repl-diskless-sync", "no")
    fill(plain)
    TARGET.replicaof(*address(plain))
    eventually(lambda: follows(TARGET, plain))
    same(TARGET, plain)
    TARGET.replicaof("NO", "ONE")


@check("REPLICAOF refuses what is no port")
def _():
    raises(redis.ResponseError, "Invalid master port", TARGET.replicaof, "127.0.0.1", "70000")


STACK.close()
end()
