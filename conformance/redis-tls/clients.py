"""redis-py over TLS: one node, the cluster, asyncio, and what each kind of client is told of ports."""

import asyncio
import os

import redis
import redis.asyncio.cluster
from redis.cluster import ClusterNode, RedisCluster

from harness.check import check, end, equal, eventually, raises

PLAIN, TLS = ([node.rsplit(":", 1) for node in os.environ[name].split(",")] for name in ("REDIS_NODES", "REDIS_TLS_NODES"))
SECURE = {
    "ssl": True,
    "ssl_ca_certs": os.environ["REDIS_TLS_CA_FILE"],
    "ssl_certfile": os.environ["REDIS_TLS_CERT_FILE"],
    "ssl_keyfile": os.environ["REDIS_TLS_KEY_FILE"],
}


def one(node: int = 0, **more) -> redis.Redis:
    host, port = TLS[node]
    return redis.Redis(host, int(port), decode_responses=True, **SECURE, **more)


def plain(node: int = 0) -> redis.Redis:
    host, port = PLAIN[node]
    return redis.Redis(host, int(port), decode_responses=True, protocol=2)


def nodes() -> list[ClusterNode]:
    return [ClusterNode(host, int(port)) for host, port in TLS]


@check("redis-py: names of hosts are checked and good")
def _():
    equal(one(ssl_check_hostname=True).ping(), True)


@check("redis-py: five megabytes there and back")
def _():
    client, value = one(), "x" * (5 << 20)
    equal(client.set("bar", value), True)
    equal(client.get("bar") == value, True)
    client.delete("bar")


@check("redis-py: a pipeline of ten thousand commands")
def _():
    pipe = one().pipeline(transaction=False)
    for number in range(10_000):
        pipe.set("{bar}", number)
        pipe.get("{bar}")
    answers = pipe.execute()
    equal(answers[1::2], [str(number) for number in range(10_000)])


@check("redis-py: a blocking pop is served by a plain client")
def _():
    waiting = one(protocol=3)
    with waiting.client() as client:
        client.connection.send_command("BLPOP", "{bar}q", 10)
        eventually(lambda: plain().info("clients")["blocked_clients"])
        equal(plain().rpush("{bar}q", "x"), 1)
        equal(client.connection.read_response(), ["{bar}q", "x"])


@check("redis-py: messages from a plain publisher")
def _():
    listener = one().pubsub()
    listener.subscribe("news")
    eventually(lambda: listener.get_message(timeout=1))
    plain().publish("news", "hello")
    equal(eventually(lambda: listener.get_message(timeout=1))["data"], "hello")


@check("MOVED names ports of the client's own kind")
def _():
    raises(redis.exceptions.MovedError, ":6380", one().get, "foo")
    raises(redis.exceptions.MovedError, ":6379", plain().get, "foo")


def ports(client: redis.Redis) -> dict[str, list[int]]:
    """The ports of primaries and replicas, as three commands name them."""
    client.response_callbacks.clear()
    slots = client.execute_command("CLUSTER", "SLOTS")
    lines = client.execute_command("CLUSTER", "NODES").splitlines()
    return {
        "CLUSTER SLOTS": sorted({entry[1] for _, _, *entries in slots for entry in entries}),
        "CLUSTER NODES": sorted({int(line.split()[1].split("@")[0].rsplit(":", 1)[1]) for line in lines}),
        "the bus": sorted({int(line.split()[1].split("@")[1].split(",")[0]) for line in lines}),
    }


@check("CLUSTER SLOTS and CLUSTER NODES name them as well")
def _():
    equal(ports(one()), {"CLUSTER SLOTS": [6380, 6382], "CLUSTER NODES": [6380, 6382], "the bus": [16380, 16382]})
    equal(ports(plain()), {"CLUSTER SLOTS": [6379, 6381], "CLUSTER NODES": [6379, 6381], "the bus": [16380, 16382]})


@check("CLUSTER SHARDS names both ports to everybody")
def _():
    for client in (one(protocol=2), plain()):
        client.response_callbacks.clear()
        found = set()
        for shard in client.execute_command("CLUSTER", "SHARDS"):
            for member in dict(zip(shard[::2], shard[1::2]))["nodes"]:
                member = dict(zip(member[::2], member[1::2]))
                found.add((member["port"], member["tls-port"]))
        equal(sorted(found), [(6379, 6380), (6381, 6382)])


@check("INFO and ROLE name the ports that replicas use")
def _():
    client = one()
    equal(client.info("replication")["slave0"]["port"], 6382)
    equal([port for _, port, _ in client.role()[2]], ["6382"])
    equal(client.info("server")["tcp_port"], 6379)


@check("INFO names both listeners")
def _():
    from harness.check import Skip

    info = one().info("server")
    if "listener0" not in info:
        raise Skip("Redis does so since 7.2")
    equal((info["listener0"]["name"], info["listener2"]["name"], info["listener2"]["port"]), ("tcp", "tls", 6380))


@check("RedisCluster finds six nodes over TLS")
def _():
    cluster = RedisCluster(startup_nodes=nodes(), decode_responses=True, **SECURE)
    equal((len(cluster.get_primaries()), len(cluster.get_replicas())), (3, 3))
    equal({node.port for node in cluster.get_nodes()}, {6380, 6382})


@check("RedisCluster: a thousand keys over all shards")
def _():
    cluster = RedisCluster(startup_nodes=nodes()[1:2], decode_responses=True, **SECURE)
    pipe = cluster.pipeline()
    for number in range(1000):
        pipe.set(f"tls:{number}", number)
    equal(pipe.execute(), [True] * 1000)
    equal([cluster.get(f"tls:{number}") for number in range(1000)], [str(number) for number in range(1000)])
    reader = RedisCluster(startup_nodes=nodes(), decode_responses=True, read_from_replicas=True, **SECURE)
    eventually(lambda: all(reader.get(f"tls:{number}") == str(number) for number in range(100)))


@check("asyncio RedisCluster")
def _():
    async def run():
        startup = [redis.asyncio.cluster.ClusterNode(host, int(port)) for host, port in TLS]
        async with redis.asyncio.cluster.RedisCluster(startup_nodes=startup, decode_responses=True, **SECURE) as cluster:
            # Each of those that run at once has a connection of its own, with a handshake.
            at_once = asyncio.Semaphore(10)

            async def one_after_another(*words):
                async with at_once:
                    return await cluster.execute_command(*words)

            await asyncio.gather(*(one_after_another("SET", f"async:{number}", number) for number in range(300)))
            return await asyncio.gather(*(one_after_another("GET", f"async:{number}") for number in range(300)))

    equal(asyncio.run(run()), [str(number) for number in range(300)])


end()
