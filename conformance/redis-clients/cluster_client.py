"""redis-py's RedisCluster: discovery, redirects, commands over several slots, reading from replicas."""

import os

import redis
from redis.cluster import ClusterNode, RedisCluster

from harness.check import check, end, equal, eventually, raises

NODES = [ClusterNode(host, int(port)) for host, port in (node.rsplit(":", 1) for node in os.environ["REDIS_NODES"].split(","))]
cluster = RedisCluster(startup_nodes=NODES, decode_responses=True)


def name(text: str) -> str:
    return f"RedisCluster: {text}"


@check(name("finds three primaries and three replicas"))
def _():
    equal((len(cluster.get_primaries()), len(cluster.get_replicas())), (3, 3))


@check(name("a thousand keys over all shards"))
def _():
    for number in range(1000):
        cluster.set(f"key:{number}", number)
    equal([cluster.get(f"key:{number}") for number in range(1000)], [str(number) for number in range(1000)])
    sizes = [cluster.dbsize(target_nodes=node) for node in cluster.get_primaries()]
    assert min(sizes) > 200, sizes


@check(name("one node is enough to find the others"))
def _():
    alone = RedisCluster(startup_nodes=[NODES[1]], decode_responses=True)
    equal(alone.get("key:7"), "7")
    equal(len(alone.get_nodes()), 6)


@check(name("a stale slot map is mended by MOVED"))
def _():
    owner = cluster.get_node_from_key("key:7")
    other = next(node for node in cluster.get_primaries() if node.name != owner.name)
    direct = redis.Redis(other.host, other.port, decode_responses=True)
    slot = cluster.keyslot("key:7")
    raises(redis.exceptions.MovedError, f"{slot} {owner.host}:{owner.port}", direct.get, "key:7")


@check(name("commands over several slots, split by the client"))
def _():
    cluster.mset_nonatomic({f"n:{n}": n for n in range(50)})
    equal(cluster.mget_nonatomic([f"n:{n}" for n in range(50)]), [str(n) for n in range(50)])
    equal(cluster.delete(*(f"n:{n}" for n in range(50))), 50)


@check(name("a pipeline over several slots"))
def _():
    pipe = cluster.pipeline()
    for number in range(300):
        pipe.set(f"pipe:{number}", number)
    equal(pipe.execute(), [True] * 300)


@check(name("CROSSSLOT from the server"))
def _():
    node = cluster.get_node_from_key("foo")
    direct = redis.Redis(node.host, node.port)
    raises(redis.ResponseError, "don't hash to the same slot", direct.execute_command, "MGET", "foo", "bar")


@check(name("a replica answers reads after READONLY, and MOVED before"))
def _():
    cluster.set("replica-read", "x")
    owner = cluster.get_node_from_key("replica-read")
    replica = cluster.get_node_from_key("replica-read", replica=True)
    assert replica.name != owner.name
    direct = redis.Redis(replica.host, replica.port, decode_responses=True, single_connection_client=True)
    raises(redis.exceptions.MovedError, f"{owner.host}:{owner.port}", direct.get, "replica-read")
    direct.readonly()
    eventually(lambda: direct.get("replica-read") == "x")
    raises(redis.exceptions.MovedError, "", direct.set, "replica-read", "y")
    direct.readwrite()
    raises(redis.exceptions.MovedError, "", direct.get, "replica-read")


@check(name("reads spread over replicas"))
def _():
    reader = RedisCluster(startup_nodes=NODES, decode_responses=True, read_from_replicas=True)
    cluster.set("spread", "x")
    eventually(lambda: all(reader.get("spread") == "x" for _ in range(10)))


@check(name("CLUSTER SLOTS, SHARDS and NODES agree"))
def _():
    slots = cluster.cluster_slots()
    covered = sum(last - first + 1 for first, last in slots)
    equal(covered, 16384)
    nodes = cluster.cluster_nodes()
    equal(len(nodes), 6)
    shards = cluster.execute_command("CLUSTER SHARDS", target_nodes=cluster.get_random_node())
    equal(len(shards), 3)


@check(name("KEYS and SCAN reach every shard"))
def _():
    equal(len(set(cluster.scan_iter(match="key:*", count=500))), 1000)
    equal(len(cluster.keys("key:*", target_nodes=RedisCluster.PRIMARIES)), 1000)


@check(name("CLUSTER COUNTKEYSINSLOT and GETKEYSINSLOT"))
def _():
    slot = cluster.keyslot("{counted}")
    cluster.set("{counted}a", 1)
    cluster.set("{counted}b", 1)
    equal(cluster.cluster_countkeysinslot(slot), 2)
    equal(sorted(cluster.cluster_get_keys_in_slot(slot, 10)), ["{counted}a", "{counted}b"])


@check(name("sharded pub/sub"))
def _():
    listener = cluster.pubsub()
    node = cluster.get_node_from_key("sharded-news")
    listener.ssubscribe("sharded-news")
    eventually(lambda: listener.get_sharded_message(timeout=1, target_node=node))
    equal(cluster.spublish("sharded-news", "hello"), 1)
    equal(eventually(lambda: listener.get_sharded_message(timeout=1, target_node=node))["data"], "hello")


end()
