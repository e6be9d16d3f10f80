"""Faults as an application with redis-py's RedisCluster meets them, and the exact errors on plain connections beside it.

`cluster-node-timeout` is 2 s here, by its real option; the transcripts in `crates/engines/redis/testdata` have the default. Nothing
is decided by how long it took, but for one thing: nobody takes over before the timeout has passed.
"""

import os
import socket
import threading
import time

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import RedisError
from redis.retry import Retry

from harness.check import check, end, equal, eventually
from harness.stack import atoll, heal, ledger, status

NODE_TIMEOUT_S = 2.0
NODES = [ClusterNode(host, int(port)) for host, port in (node.rsplit(":", 1) for node in os.environ.get("REDIS_NODES", "").split(",") if node)]


def application() -> RedisCluster:
    return RedisCluster(startup_nodes=NODES, decode_responses=True, socket_timeout=2, socket_connect_timeout=2)


def direct(host: str, port: int, seconds: float = 1.0) -> redis.Redis:
    """One plain connection's client: it neither redirects nor retries, and shows replies as they came."""
    client = redis.Redis(host, port, decode_responses=True, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0))
    client.response_callbacks.clear()
    return client


def answer(client: redis.Redis, *words):
    """What a command comes to, as text: a reply, an error's line, or how the connection failed."""
    try:
        return str(client.execute_command(*words))
    except redis.exceptions.MovedError as error:
        return f"MOVED {error}"
    except redis.exceptions.ClusterDownError as error:
        return str(error) if str(error).startswith("CLUSTERDOWN") else f"CLUSTERDOWN {error}"
    except redis.exceptions.TimeoutError:
        return "silence"
    except redis.exceptions.ConnectionError as error:
        return "refused" if "refused" in str(error) else "closed"
    except RedisError as error:
        return str(error)


def stages(client: redis.Redis, *words, until, seconds: float = 30.0) -> list[tuple[float, str]]:
    """The different answers to one command, in order and with the time of the first of each, until one satisfies `until`."""
    start, seen = time.monotonic(), []
    while True:
        now = answer(client, *words)
        if not seen or seen[-1][1] != now:
            seen.append((time.monotonic() - start, now))
        if until(now):
            print("# " + ", ".join(f"+{at:.1f} s {text}" for at, text in seen), flush=True)
            return seen
        assert time.monotonic() - start < seconds, f"not within {seconds} s: {seen}"
        time.sleep(0.02)


def refuses(host: str, port: int) -> None:
    """A process that ends refuses connections; one that came while it ended is reset. Nothing is answered."""
    seen = [text for _, text in stages(direct(host, port), "PING", until=lambda text: text == "refused")]
    equal([text for text in seen if text not in ("closed", "refused")], [])


class Shard:
    """The shard that serves a key: its primary, the primary's node of the stack, its replica, and the primaries of the others."""

    def __init__(self, key: str):
        self.slot = redis.crc.key_slot(key.encode())
        slots = everybody()
        first, last, self.primary, self.replica = next(entry for entry in slots if entry[0] <= self.slot <= entry[1])
        self.others = [entry[2] for entry in slots if entry[0] != first]
        self.node, self.replica_node = node_of(self.primary[0]), node_of(self.replica[0])


def node_of(host: str) -> str:
    """The number of the node with this address."""
    nodes = status()["nodes"]
    return next(str(node["id"]) for node in nodes if node["address"] == host)


def slots_of(client: redis.Redis) -> list:
    """CLUSTER SLOTS as (first, last, primary, replica…), or nothing while the instance does not call the cluster healthy."""
    if "cluster_state:ok" not in str(client.execute_command("CLUSTER INFO")):
        return []
    entries = client.execute_command("CLUSTER SLOTS")
    return sorted((first, last, *((host, port) for host, port, *_ in nodes)) for first, last, *nodes in entries)


def everybody() -> list:
    """CLUSTER SLOTS, once every instance says that there are three shards with a replica each."""

    def agreed():
        try:
            first = slots_of(direct(NODES[0].host, NODES[0].port))
            places = {place for entry in first for place in entry[2:]}
            views = [slots_of(direct(*place)) for place in places]
        except RedisError:
            return None
        return first if len(places) == 6 and all(view == first and len(view) == 3 for view in views) else None

    return eventually(agreed, 60)


class Writer:
    """An application that counts: one key, written through a RedisCluster until it is told to stop."""

    def __init__(self, key: str):
        self.key, self.acknowledged, self.failures = key, 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._client = application()
        self._thread.start()
        eventually(lambda: self.acknowledged > 0)
        return self

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self._client.set(self.key, number)
                self.acknowledged = number
            except RedisError as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def goes_on(self) -> None:
        """Waits for one more acknowledgement."""
        before = self.acknowledged
        eventually(lambda: self.acknowledged > before, 40)

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(40)


def undo() -> None:
    heal()
    # Every primary on a node of its own again, so that the next fault leaves a majority.
    for entry in everybody():
        for place in entry[3:]:
            if place in HOME:
                eventually(lambda place=place: answer(direct(*place), "CLUSTER", "FAILOVER") == "OK", 30)
    eventually(lambda: {entry[2] for entry in everybody()} == HOME, 30)


HOME = {entry[2] for entry in everybody()}


@check("row 1, primary crash: refused, CLUSTERDOWN from every shard, then MOVED to the replica; the application goes on")
def _():
    undo()
    shard = Shard("crash")
    other = direct(*shard.others[0])
    other_key = next(f"o{n}" for n in range(1000) if answer(other, "SET", f"o{n}", "1") == "OK")
    with Writer("crash") as writer:
        atoll("node", "kill", shard.node)
        killed = time.monotonic()
        refuses(*shard.primary)
        equal(answer(other, "GET", "crash"), f"MOVED {shard.slot} {shard.primary[0]}:{shard.primary[1]}")
        down = stages(other, "GET", other_key, until=lambda text: text.startswith("CLUSTERDOWN"))
        equal([text for _, text in down], ["1", "CLUSTERDOWN The cluster is down"])
        assert down[-1][0] >= NODE_TIMEOUT_S - 0.5, f"down after {down[-1][0]} s: earlier than cluster-node-timeout"
        moved = stages(other, "GET", "crash", until=lambda text: text.startswith("MOVED"))
        equal(moved[-1][1], f"MOVED {shard.slot} {shard.replica[0]}:{shard.replica[1]}")
        print(f"# redirected {time.monotonic() - killed:.1f} s after the crash", flush=True)
        writer.goes_on()
    equal(application().get("crash"), str(writer.acknowledged))
    assert all("MOVED" not in failure for failure in writer.failures), writer.failures
    atoll("node", "start", shard.node)
    eventually(lambda: answer(direct(*shard.primary), "ROLE").startswith("['slave', "))


@check("row 2, replica crash: WAIT counts fewer and never fails, CLUSTER SLOTS forgets it, min-replicas-to-write refuses")
def _():
    undo()
    shard = Shard("replica-crash")
    primary = direct(*shard.primary, seconds=10)
    # Its node is that of another shard's primary as well, which is not what this is about.
    primary.execute_command("CONFIG", "SET", "cluster-require-full-coverage", "no")
    equal(answer(primary, "SET", "replica-crash", "1"), "OK")
    equal(answer(primary, "WAIT", "1", "5000"), "1")
    atoll("node", "kill", shard.replica_node)
    equal(answer(primary, "SET", "replica-crash", "2"), "OK")
    equal(answer(primary, "WAIT", "1", "200"), "0")
    primary.execute_command("CONFIG", "SET", "min-replicas-to-write", "1")
    equal(answer(primary, "SET", "replica-crash", "3"), "NOREPLICAS Not enough good replicas to write.")
    equal(answer(primary, "GET", "replica-crash"), "2")
    primary.execute_command("CONFIG", "SET", "min-replicas-to-write", "0")
    eventually(lambda: any(entry[2:] == (shard.primary,) for entry in slots_of(primary)), 30)
    primary.execute_command("CONFIG", "SET", "cluster-require-full-coverage", "yes")
    atoll("node", "start", shard.replica_node)
    eventually(lambda: answer(primary, "WAIT", "1", "1000") == "1")


@check("row 3, partition: the minority acknowledges, then CLUSTERDOWN; healed, MOVED; the ledger names each lost write")
def _():
    undo()
    shard = Shard("minority")
    primary = direct(*shard.primary)
    equal(answer(primary, "SET", "minority", "before"), "OK")
    blocked: list[str] = []
    waiting = threading.Thread(target=lambda: blocked.append(answer(direct(*shard.primary, seconds=60), "BLPOP", "{minority}list", "0")))
    waiting.start()
    eventually(lambda: "blocked_clients:1" in str(answer(primary, "INFO", "clients")))
    majority = ",".join(str(n) for n in (1, 2, 3) if str(n) != shard.node)
    atoll("partition", f"{shard.node}|{majority}")
    acknowledged = 0
    while (text := answer(primary, "SET", "minority", str(acknowledged))) == "OK":
        acknowledged += 1
        time.sleep(0.01)
    equal(text, "CLUSTERDOWN The cluster is down")
    waiting.join(30)
    equal(blocked[0] in ("CLUSTERDOWN The cluster is down", "closed") or blocked[0].startswith("UNBLOCKED"), True)
    successor = direct(*shard.replica)
    seen = stages(successor, "SET", "minority", "majority", until=lambda text: text == "OK")
    assert seen[0][1].startswith(("MOVED", "CLUSTERDOWN", "OK")), seen
    atoll("heal")
    seen = stages(primary, "GET", "minority", until=lambda text: text.startswith("MOVED"))
    equal([text for _, text in seen][-1], f"MOVED {shard.slot} {shard.replica[0]}:{shard.replica[1]}")
    equal(set(text.split()[0] for _, text in seen) <= {"CLUSTERDOWN", "MOVED"}, True)
    equal(ledger("acked_lost", "minority"), acknowledged)
    equal(application().get("minority"), "majority")


@check("row 4, clients cut off: silence, slot maps that go on naming the node, and no failover")
def _():
    undo()
    shard = Shard("cut")
    epoch = answer(direct(*shard.others[0]), "CLUSTER", "INFO").split("cluster_current_epoch")[1][:8]
    atoll("link", "cut", "client", shard.node)
    equal(answer(direct(*shard.primary), "PING"), "silence")
    time.sleep(NODE_TIMEOUT_S * 2)
    equal(answer(direct(*shard.others[0]), "GET", "cut"), f"MOVED {shard.slot} {shard.primary[0]}:{shard.primary[1]}")
    equal(answer(direct(*shard.others[0]), "CLUSTER", "INFO").split("cluster_current_epoch")[1][:8], epoch)
    atoll("heal")
    eventually(lambda: answer(direct(*shard.primary), "SET", "cut", "1") == "OK")


@check("row 6, pause: what was queued runs and is acknowledged on waking, and then is lost; then MOVED")
def _():
    undo()
    shard = Shard("pause")
    host, port = shard.primary
    equal(answer(direct(host, port), "SET", "pause", "before"), "OK")
    # A plain socket: a client would give up on a server that is silent for so long.
    queued = socket.create_connection((host, port), timeout=60)
    atoll("node", "pause", shard.node)
    queued.sendall(b"SET pause queued\r\n")
    stages(direct(*shard.replica), "SET", "pause", "after", until=lambda text: text == "OK")
    atoll("node", "resume", shard.node)
    told = queued.recv(200).decode().strip()
    print(f"# the queued write was answered: {told}", flush=True)
    assert told == "+OK" or told.startswith("-CLUSTERDOWN") or told.startswith("-MOVED"), told
    seen = stages(direct(host, port), "GET", "pause", until=lambda text: text.startswith("MOVED"))
    equal(seen[-1][1], f"MOVED {shard.slot} {shard.replica[0]}:{shard.replica[1]}")
    # The ledger names it as soon as the deposed primary gives its branch up.
    eventually(lambda: ledger("acked_lost", "pause") == (1 if told == "+OK" else 0))
    equal(application().get("pause"), "after")


@check("row 9, power failure of every node: with appendfsync always nothing acknowledged is missing")
def _():
    undo()
    with Writer("power") as writer:
        writer.goes_on()
    for node in "123":
        atoll("node", "power", node)
    refuses(NODES[0].host, NODES[0].port)
    undo()
    # The last write may have been done without its acknowledgement.
    assert int(application().get("power")) in (writer.acknowledged, writer.acknowledged + 1)


end()
