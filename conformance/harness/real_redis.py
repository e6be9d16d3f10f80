"""Debian's redis-server: alone, or six processes as the cluster that Atoll shows (three primaries, a replica each)."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

from . import install
from .check import eventually
from .process import Server, run

# A block of loopback addresses of its own, so that a stack of Atoll may run at the same time.
ADDRESS = "127.40.0.{}"
PRIMARY_PORT, REPLICA_PORT = 6379, 6381
READY = "Ready to accept connections"


@contextmanager
def standalone(folder: Path) -> Iterator[dict[str, str]]:
    host = ADDRESS.format(1)
    with ExitStack() as stack:
        server(stack, folder, host, PRIMARY_PORT, [])
        yield {"REDIS_URL": f"redis://{host}:{PRIMARY_PORT}", "REDIS_NODES": f"{host}:{PRIMARY_PORT}"}


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    places = [(ADDRESS.format(node), port) for port in (PRIMARY_PORT, REPLICA_PORT) for node in (1, 2, 3)]
    with ExitStack() as stack:
        for host, port in places:
            server(stack, folder, host, port, ["--cluster-enabled", "yes"])
        nodes = [f"{host}:{port}" for host, port in places]
        run(["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"], 60)
        for host, port in places:
            eventually(lambda host=host, port=port: is_settled(host, port), 60)
        yield {"REDIS_URL": f"redis://{nodes[0]}", "REDIS_NODES": ",".join(nodes[:3])}


def server(stack: ExitStack, folder: Path, host: str, port: int, options: list[str]) -> None:
    install.debian("redis-server", "redis-server")
    data = folder / f"redis-{host}-{port}"
    data.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", host, "--dir", str(data), "--save", "", "--appendonly", "no"]
    command += ["--bind-source-addr", host, "--protected-mode", "no", "--enable-debug-command", "yes", *options]
    started = Server(command, data / "server.log", READY)
    stack.callback(started.stop)
    started.wait_ready(20)


def is_settled(host: str, port: int) -> bool:
    """The node sees all slots served and three replicas that are linked to their primaries."""
    ask = ["redis-cli", "-h", host, "-p", str(port)]
    info = run([*ask, "CLUSTER", "INFO"], 10)
    nodes = run([*ask, "CLUSTER", "NODES"], 10)
    replication = run([*ask, "INFO", "replication"], 10)
    is_linked = "role:master" in replication or "master_link_status:up" in replication
    return "cluster_state:ok" in info and nodes.count("slave") == 3 and is_linked
