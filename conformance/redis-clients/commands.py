"""redis-py as applications use it, on one node of the cluster: data types, transactions, blocking pops, pub/sub.

The argument is the RESP version. Every key has one hash tag, and the client talks to the primary that serves it.
"""

import os
import sys
import threading
import time

import redis

from harness.check import check, end, equal, eventually, raises

PROTOCOL = int(sys.argv[1])
TAG = f"{{resp{PROTOCOL}}}"


def owner() -> tuple[str, int]:
    """The primary that serves the tag, as CLUSTER SLOTS names it."""
    host, port = os.environ["REDIS_NODES"].split(",")[0].split(":")
    seed = redis.Redis(host, int(port))
    slot = seed.execute_command("CLUSTER KEYSLOT", TAG)
    for first, last, primary, *_ in raw_slots(seed):
        if first <= slot <= last:
            return primary[0].decode(), primary[1]
    raise AssertionError(f"no shard serves slot {slot}")


def raw_slots(client: redis.Redis) -> list:
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("CLUSTER", "SLOTS")
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


HOST, PORT = owner()
client = redis.Redis(HOST, PORT, protocol=PROTOCOL, decode_responses=True, socket_timeout=20)
client.flushall()


def key(name: str) -> str:
    return f"{TAG}{name}"


def name(text: str) -> str:
    return f"redis-py RESP{PROTOCOL}: {text}"


def blocked_clients() -> int:
    return client.info("clients")["blocked_clients"]


def message(listener) -> dict:
    return eventually(lambda: listener.get_message(timeout=1), 10)


@check(name("strings"))
def _():
    k = key("string")
    equal(client.set(k, "a"), True)
    equal(client.append(k, "bc"), 3)
    equal(client.getrange(k, 1, 2), "bc")
    equal(client.setrange(k, 1, "XY"), 3)
    equal(client.get(k), "aXY")
    equal(client.strlen(k), 3)
    equal(client.getset(k, "n"), "aXY")
    equal(client.getdel(k), "n")
    equal(client.get(k), None)
    equal(client.mset({key("m1"): "1", key("m2"): "2"}), True)
    equal(client.mget(key("m1"), key("m2"), key("none")), ["1", "2", None])
    equal(client.msetnx({key("m1"): "x", key("m3"): "3"}), False)
    equal(client.exists(key("m3")), 0)


@check(name("SET with its options"))
def _():
    k = key("options")
    equal(client.set(k, "1", nx=True), True)
    equal(client.set(k, "2", nx=True), None)
    equal(client.set(k, "3", xx=True, get=True), "1")
    equal(client.set(k, "4", ex=100), True)
    assert 0 < client.ttl(k) <= 100
    equal(client.set(k, "5", keepttl=True), True)
    assert 0 < client.pttl(k) <= 100_000
    equal(client.persist(k), True)
    equal(client.ttl(k), -1)
    equal(client.ttl(key("absent")), -2)


@check(name("counters"))
def _():
    k = key("counter")
    equal(client.incr(k), 1)
    equal(client.incrby(k, 41), 42)
    equal(client.decr(k, 2), 40)
    equal(client.incrbyfloat(k, 0.5), 40.5)
    raises(redis.ResponseError, "value is not an integer or out of range", client.incr, k)
    client.set(k, "9223372036854775807")
    raises(redis.ResponseError, "increment or decrement would overflow", client.incr, k)


@check(name("binary values and large values"))
def _():
    raw = redis.Redis(HOST, PORT, protocol=PROTOCOL)
    value = bytes(range(256)) * 8192
    raw.set(key("binary"), value)
    equal(raw.get(key("binary")) == value, True)
    raw.set(key("empty"), b"")
    equal(raw.get(key("empty")), b"")


@check(name("hashes"))
def _():
    k = key("hash")
    equal(client.hset(k, mapping={"a": "1", "b": "2"}), 2)
    equal(client.hset(k, "a", "3"), 0)
    equal(client.hgetall(k), {"a": "3", "b": "2"})
    equal(client.hmget(k, "a", "none"), ["3", None])
    equal(client.hincrby(k, "a", 4), 7)
    equal(client.hincrbyfloat(k, "b", 0.25), 2.25)
    equal(client.hsetnx(k, "a", "x"), 0)
    equal(client.hexists(k, "a"), True)
    equal(client.hlen(k), 2)
    equal(sorted(client.hkeys(k)), ["a", "b"])
    equal(sorted(client.hvals(k)), ["2.25", "7"])
    equal(client.hstrlen(k, "b"), 4)
    equal(dict(client.hscan_iter(k)), {"a": "7", "b": "2.25"})
    equal(client.hdel(k, "a", "b", "c"), 2)
    equal(client.exists(k), 0)


@check(name("lists"))
def _():
    k, other = key("list"), key("list2")
    equal(client.rpush(k, "b", "c"), 2)
    equal(client.lpush(k, "a"), 3)
    equal(client.lrange(k, 0, -1), ["a", "b", "c"])
    equal(client.lindex(k, -1), "c")
    equal(client.linsert(k, "before", "b", "ab"), 4)
    equal(client.lset(k, 1, "AB"), True)
    raises(redis.ResponseError, "index out of range", client.lset, k, 9, "x")
    equal(client.lpos(k, "c"), 3)
    equal(client.lrem(k, 0, "AB"), 1)
    equal(client.lmove(k, other, "LEFT", "RIGHT"), "a")
    equal(client.rpoplpush(k, other), "c")
    equal(client.lrange(other, 0, -1), ["c", "a"])
    equal(client.ltrim(other, 1, -1), True)
    equal(client.lpop(other, 5), ["a"])
    equal(client.llen(other), 0)
    equal(client.rpop(key("absent")), None)
    equal(client.rpushx(key("absent"), "x"), 0)


@check(name("sets"))
def _():
    a, b = key("set-a"), key("set-b")
    equal(client.sadd(a, "1", "2", "3"), 3)
    equal(client.sadd(b, "2", "3", "4"), 3)
    equal(client.smembers(a), {"1", "2", "3"})
    equal(client.sinter(a, b), {"2", "3"})
    equal(client.sunion(a, b), {"1", "2", "3", "4"})
    equal(client.sdiff(a, b), {"1"})
    equal(client.sinterstore(key("set-c"), a, b), 2)
    equal(client.smove(a, b, "1"), True)
    equal(client.sismember(b, "1"), 1)
    equal(client.smismember(b, ["1", "9"]), [1, 0])
    equal(client.scard(b), 4)
    equal(set(client.sscan_iter(b)), {"1", "2", "3", "4"})
    equal(len(client.srandmember(b, 2)), 2)
    assert client.spop(b) in {"1", "2", "3", "4"}
    equal(client.srem(a, "2", "3"), 2)


@check(name("expiry"))
def _():
    k = key("expiring")
    client.set(k, "x", px=60)
    assert 0 < client.pttl(k) <= 60
    eventually(lambda: client.get(k) is None, 5)
    equal(client.exists(k), 0)
    client.set(k, "x")
    equal(client.expire(k, 100), True)
    equal(client.expire(k, 50, nx=True), False)
    equal(client.expire(k, 200, gt=True), True)
    equal(client.expire(k, -1), True)
    equal(client.exists(k), 0)


@check(name("keys: TYPE, RENAME, COPY, SCAN, UNLINK"))
def _():
    client.set(key("type-s"), "1")
    client.rpush(key("type-l"), "1")
    equal(client.type(key("type-s")), "string")
    equal(client.type(key("type-l")), "list")
    equal(client.type(key("absent")), "none")
    equal(client.rename(key("type-s"), key("renamed")), True)
    raises(redis.ResponseError, "no such key", client.rename, key("type-s"), key("x"))
    equal(client.copy(key("renamed"), key("copied")), True)
    found = set(client.scan_iter(match=f"{TAG}*opied", count=10))
    equal(found, {key("copied")})
    equal(client.unlink(key("copied"), key("renamed"), key("absent")), 2)
    equal(client.delete(key("type-l")), 1)


@check(name("a pipeline answers in order"))
def _():
    pipe = client.pipeline(transaction=False)
    for number in range(1000):
        pipe.set(key(f"p{number}"), number)
        pipe.get(key(f"p{number}"))
    answers = pipe.execute()
    equal(answers[1::2], [str(number) for number in range(1000)])


@check(name("an error in a pipeline hurts only its own command"))
def _():
    pipe = client.pipeline(transaction=False)
    pipe.set(key("pe"), "x").lpush(key("pe"), "y").get(key("pe"))
    answers = pipe.execute(raise_on_error=False)
    equal([answers[0], type(answers[1]), answers[2]], [True, redis.ResponseError, "x"])


@check(name("MULTI and EXEC"))
def _():
    pipe = client.pipeline(transaction=True)
    pipe.set(key("tx"), 1).incr(key("tx")).get(key("tx"))
    equal(pipe.execute(), [True, 2, "2"])


@check(name("WATCH aborts a transaction whose key changed"))
def _():
    with client.pipeline() as pipe:
        pipe.watch(key("watched"))
        client.set(key("watched"), "changed")
        pipe.multi()
        pipe.set(key("watched"), "mine")
        raises(redis.WatchError, "", pipe.execute)
    equal(client.get(key("watched")), "changed")


@check(name("EXECABORT after a command that cannot be queued"))
def _():
    connection = client.connection_pool.get_connection()
    connection.send_command("MULTI")
    equal(connection.read_response(), "OK")
    connection.send_command("GET")
    raises(redis.ResponseError, "wrong number of arguments", connection.read_response)
    connection.send_command("EXEC")
    raises(redis.exceptions.ExecAbortError, "Transaction discarded because of previous errors", connection.read_response)
    connection.disconnect()
    client.connection_pool.release(connection)


@check(name("BLPOP waits for a push"))
def _():
    seen = []
    waiter = threading.Thread(target=lambda: seen.append(client.blpop([key("q1"), key("q2")], timeout=10)))
    waiter.start()
    eventually(blocked_clients)
    client.rpush(key("q2"), "item")
    waiter.join(10)
    equal([list(pair) for pair in seen], [[key("q2"), "item"]])


@check(name("BLPOP serves waiters in the order they came"))
def _():
    seen, threads = [], []
    for number in range(3):
        waiter = redis.Redis(HOST, PORT, protocol=PROTOCOL, decode_responses=True)
        thread = threading.Thread(target=lambda n=number, w=waiter: seen.append((n, w.blpop(key("fair"), timeout=10)[1])))
        thread.start()
        threads.append(thread)
        eventually(lambda wanted=number + 1: blocked_clients() == wanted)
    for item in ("a", "b", "c"):
        client.rpush(key("fair"), item)
    for thread in threads:
        thread.join(10)
    equal(sorted(seen), [(0, "a"), (1, "b"), (2, "c")])


@check(name("BLPOP times out with nothing"))
def _():
    started = time.monotonic()
    equal(client.blpop(key("nothing"), timeout=0.2), None)
    assert 0.15 < time.monotonic() - started < 2


@check(name("BRPOP and BLMOVE"))
def _():
    client.rpush(key("br"), "a", "b")
    equal(list(client.brpop(key("br"), timeout=1)), [key("br"), "b"])
    equal(client.blmove(key("br"), key("br2"), 1, "LEFT", "RIGHT"), "a")
    equal(client.lrange(key("br2"), 0, -1), ["a"])


@check(name("pub/sub by channel and by pattern"))
def _():
    listener = client.pubsub()
    listener.subscribe("news")
    listener.psubscribe("ne*")
    equal([message(listener)["type"], message(listener)["type"]], ["subscribe", "psubscribe"])
    equal(client.publish("news", "hello"), 2)
    equal(sorted((m["type"], m["data"]) for m in (message(listener), message(listener))), [("message", "hello"), ("pmessage", "hello")])
    equal([tuple(pair) for pair in client.pubsub_numsub("news")], [("news", 1)])
    equal(client.pubsub_numpat(), 1)
    listener.unsubscribe()
    listener.punsubscribe()
    equal(sorted([message(listener)["type"], message(listener)["type"]]), ["punsubscribe", "unsubscribe"])
    listener.close()


@check(name("CLIENT, ECHO, DBSIZE, TIME"))
def _():
    equal(client.client_setname("conformance"), True)
    equal(client.client_getname(), "conformance")
    assert client.client_id() > 0
    equal(client.echo("x"), "x")
    assert client.dbsize() > 0
    assert abs(client.time()[0] - time.time()) < 5


@check(name("SELECT is refused in a cluster"))
def _():
    raises(redis.ResponseError, "SELECT is not allowed in cluster mode", client.execute_command, "SELECT", "1")


@check(name("WAIT counts the replica"))
def _():
    client.set(key("replicated"), "x")
    equal(client.wait(1, 5000), 1)


@check(name("OBJECT ENCODING"))
def _():
    client.set(key("enc"), "12")
    equal(client.object("encoding", key("enc")), "int")
    client.set(key("enc"), "text")
    equal(client.object("encoding", key("enc")), "embstr")
    client.set(key("enc"), "x" * 100)
    equal(client.object("encoding", key("enc")), "raw")


@check(name("COMMAND DOCS, COMMAND INFO and CONFIG GET"))
def _():
    equal(client.execute_command("COMMAND", "INFO", "get")["get"]["arity"], 2)
    assert client.execute_command("COMMAND DOCS", "get")
    equal(client.config_get("cluster-node-timeout"), {"cluster-node-timeout": "15000"})
    equal(client.config_get("maxmemory-policy"), {"maxmemory-policy": "noeviction"})


end()
