"""Debian's redis-server: alone, or six processes as the cluster that Atoll shows (three primaries, a replica each)."""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

from . import certificates, install
from .addresses import block
from .check import eventually
from .process import Server, run

PRIMARY_PORT, REPLICA_PORT = 6379, 6381
# Each instance listens for TLS one port above.
TLS_STEP = 1
READY = "Ready to accept connections"


@contextmanager
def standalone(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        host = f"{block(stack, [PRIMARY_PORT])}1"
        pid = server(stack, folder, host, PRIMARY_PORT, []).pid
        yield {"REDIS_URL": f"redis://{host}:{PRIMARY_PORT}", "REDIS_NODES": f"{host}:{PRIMARY_PORT}", "SERVER_PIDS": str(pid)}


@contextmanager
def shard(folder: Path) -> Iterator[dict[str, str]]:
    """A cluster of one node that owns every slot."""
    with ExitStack() as stack:
        host = f"{block(stack, [PRIMARY_PORT])}1"
        pid = server(stack, folder, host, PRIMARY_PORT, ["--cluster-enabled", "yes"]).pid
        ask = ["redis-cli", "-h", host, "-p", str(PRIMARY_PORT)]
        run([*ask, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"], 10)
        eventually(lambda: "cluster_state:ok" in run([*ask, "CLUSTER", "INFO"], 10), 30)
        yield {"REDIS_URL": f"redis://{host}:{PRIMARY_PORT}", "REDIS_NODES": f"{host}:{PRIMARY_PORT}", "SERVER_PIDS": str(pid)}


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        prefix = block(stack, [PRIMARY_PORT, REPLICA_PORT])
        places = [(f"{prefix}{node}", port) for port in (PRIMARY_PORT, REPLICA_PORT) for node in (1, 2, 3)]
        servers = [server(stack, folder, host, port, ["--cluster-enabled", "yes"]) for host, port in places]
        nodes = [f"{host}:{port}" for host, port in places]
        run(["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"], 60)
        for host, port in places:
            eventually(lambda host=host, port=port: is_settled(host, port), 60)
        pids = ",".join(str(one.pid) for one in servers)
        yield {"REDIS_URL": f"redis://{nodes[0]}", "REDIS_NODES": ",".join(nodes[:3]), "SERVER_PIDS": pids}


@contextmanager
def encrypted_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """The same with a port for TLS beside each plain one; the bus and the replicas use TLS."""
    with ExitStack() as stack:
        prefix = block(stack, [port + step for port in (PRIMARY_PORT, REPLICA_PORT) for step in (0, TLS_STEP)])
        places = [(f"{prefix}{node}", port) for port in (PRIMARY_PORT, REPLICA_PORT) for node in (1, 2, 3)]
        hosts = [f"{prefix}{node}" for node in (1, 2, 3)]
        certificates.make(folder)
        ca, certificate, key = (str(folder / file) for file in ("authority.pem", "alice.pem", "alice.key"))
        files = ["--tls-ca-cert-file", ca, "--tls-cert-file", str(folder / "server.pem"), "--tls-key-file", str(folder / "server.key")]
        common = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-replication", "yes", *files]
        started = [server(stack, folder, host, port, ["--tls-port", str(port + TLS_STEP), *common]) for host, port in places]
        known = ["--tls", "--cacert", ca, "--cert", certificate, "--key", key]
        nodes = [f"{host}:{port + TLS_STEP}" for host, port in places]
        run(["redis-cli", *known, "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"], 60)
        for host, port in places:
            eventually(lambda host=host, port=port: is_settled(host, port), 60)
        plain = [f"{host}:{PRIMARY_PORT}" for host in hosts]
        yield {
            "REDIS_URL": f"redis://{plain[0]}",
            "REDIS_NODES": ",".join(plain),
            "REDIS_TLS_URL": f"rediss://{nodes[0]}",
            "REDIS_TLS_NODES": ",".join(nodes[:3]),
            "REDIS_TLS_CA_FILE": ca,
            "REDIS_TLS_CERT_FILE": certificate,
            "REDIS_TLS_KEY_FILE": key,
            "SERVER_PIDS": ",".join(str(one.pid) for one in started),
        }


def server(stack: ExitStack, folder: Path, host: str, port: int, options: list[str]) -> Server:
    install.debian("redis-server", "redis-server")
    data = folder / f"redis-{host}-{port}"
    data.mkdir()
    command = ["redis-server", "--port", str(port), "--bind", host, "--dir", str(data), "--save", "", "--appendonly", "no"]
    command += ["--bind-source-addr", host, "--protected-mode", "no", "--enable-debug-command", "yes"]
    command += ["--enable-module-command", "yes", "--enable-protected-configs", "yes", *options]
    started = Server(command, data / "server.log", READY)
    stack.callback(started.stop)
    started.wait_ready(20)
    return started


def is_settled(host: str, port: int) -> bool:
    """The node sees all slots served, and it names three replicas, which it does once it knows their offsets."""
    ask = ["redis-cli", "-h", host, "-p", str(port)]
    info = run([*ask, "CLUSTER", "INFO"], 10)
    slots = run([*ask, "CLUSTER", "SLOTS"], 10).split()
    replication = run([*ask, "INFO", "replication"], 10)
    is_linked = "role:master" in replication or "master_link_status:up" in replication
    return "cluster_state:ok" in info and slots.count(str(REPLICA_PORT)) == 3 and is_linked
