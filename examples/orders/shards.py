"""Redis Cluster: writes that count only when a replica has them.

A primary that is cut off from the others goes on acknowledging writes, and loses them when the cluster heals.
`confirm` therefore waits until a replica has the write (WAIT), and everything not confirmed is tried again.
"""

import redis
from redis.cluster import ClusterNode, RedisCluster

from common import log, setting

NODES = setting("REDIS_NODES", "localhost:6379")
KEEP_MS = 7 * 24 * 3600 * 1000
WAIT_MS = 500


class Shards:
    """The primaries of a Redis Cluster, found by key."""

    def __init__(self, nodes=NODES):
        addresses = [address.strip().rpartition(":") for address in nodes.split(",") if address.strip()]
        self.nodes = [ClusterNode(host, int(port)) for host, _, port in addresses]
        self.cluster = None
        self.clients = {}

    def by_primary(self, keys):
        """The keys grouped by the primary that serves them: [(client, [key, ...])]."""
        if self.cluster is None:
            self.cluster = RedisCluster(
                startup_nodes=self.nodes,
                require_full_coverage=False,
                cluster_error_retry_attempts=1,
                socket_timeout=2,
                socket_connect_timeout=1,
            )
        groups = {}
        for key in keys:
            node = self.cluster.get_node_from_key(key)
            if node is None:
                raise redis.exceptions.RedisError("no primary serves the slot of " + key)
            groups.setdefault(node.name, (node, []))[1].append(key)
        return [(self._client(node), members) for node, members in groups.values()]

    def _client(self, node):
        client = self.clients.get(node.name)
        if client is None:
            client = redis.Redis(
                host=node.host, port=int(node.port), socket_timeout=2, socket_connect_timeout=1, decode_responses=True
            )
            self.clients[node.name] = client
        return client

    def forget(self):
        """Learn the cluster anew: what was believed about it led to an error."""
        for client in self.clients.values():
            client.close()
        self.clients = {}
        cluster, self.cluster = self.cluster, None
        if cluster is not None:
            cluster.close()


def confirm(client, keys, prepare=()):
    """The values of the keys, once a replica of their primary has them; `NotConfirmed` otherwise.

    All of it goes through one connection in one batch, because WAIT speaks of the writes of its own connection.
    Extending the keys' life is such a write, and comes after everything that was written to them before.
    """
    pipe = client.pipeline(transaction=False)
    for command in prepare:
        pipe.execute_command(*command)
    for key in keys:
        pipe.execute_command("PEXPIRE", key, KEEP_MS)
        pipe.execute_command("GET", key)
    pipe.execute_command("WAIT", 1, WAIT_MS)
    answers = pipe.execute()
    replicas = answers.pop()
    if replicas < 1:
        raise NotConfirmed("no replica has the write")
    values = answers[len(prepare) :][1::2]
    if any(value is None for value in values):
        raise NotConfirmed("a key is gone again")
    return dict(zip(keys, values))


class NotConfirmed(Exception):
    """The write may be lost: it has to be tried again."""


def guarded(shards, work, count):
    """Run `work()` and return its answer; on trouble with Redis, log it, learn the cluster anew and return {}."""
    try:
        return work()
    except NotConfirmed as error:
        log("redis_not_confirmed", records=count, error=str(error))
    except (redis.exceptions.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
        log("redis_trouble", records=count, error="%s: %s" % (type(error).__name__, error))
        shards.forget()
    return {}
