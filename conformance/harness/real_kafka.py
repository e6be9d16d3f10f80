"""Apache Kafka 4.0 in KRaft mode, every node broker and controller at once, from the jars that Maven brings."""

import base64
import time
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

from . import certificates, install
from .addresses import block
from .check import eventually
from .process import Server, run

CLIENT_PORT, CONTROLLER_PORT = 9092, 9099
# A listener by another name speaks TLS.
PROTOCOLS = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
LOGGING = ["-Dorg.slf4j.simpleLogger.logFile=System.out", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"]
# What Kafka's own start script passes, with a smaller heap: three brokers share the machine with their clients.
MACHINE = ["-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true"]


@contextmanager
def cluster(folder: Path, brokers: int, listeners: dict[str, int] = {}, properties: dict[str, str] = {}) -> Iterator[dict[str, str]]:
    """`listeners` come beside the plain one, and `properties` beside what stands in the configuration of every cluster."""
    install.debian("java", "default-jre-headless")
    jars = f"{install.java_packages(install.KAFKA_JARS)}/*"
    identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    with ExitStack() as stack:
        prefix = block(stack, [CLIENT_PORT, CONTROLLER_PORT, *listeners.values()])
        hosts = [f"{prefix}{node}" for node in range(1, brokers + 1)]
        more = "".join(f"{name}={value}\n" for name, value in properties.items())
        more = certificates.filled_in(more, folder)
        files = [formatted(folder, jars, identifier, configuration(hosts, node, listeners) + more, node) for node in range(1, brokers + 1)]
        started = time.monotonic()
        servers = [broker(stack, jars, file) for file in files]
        for server in servers:
            server.wait_ready(90)
        seconds = time.monotonic() - started
        install.debian("kcat", "kcat")
        for host in hosts:
            eventually(lambda host=host: f" {brokers} brokers:" in run(["kcat", "-b", f"{host}:{CLIENT_PORT}", "-L"], 20), 60)
        yield {
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(f"{host}:{CLIENT_PORT}" for host in hosts),
            "SERVER_PIDS": ",".join(str(server.pid) for server in servers),
            "START_SECONDS": str(seconds),
            "JARS": jars,
            "KAFKA_SSL_CA_FILE": str(folder / "authority.pem"),
            **{f"KAFKA_BOOTSTRAP_SERVERS_{name}": ",".join(f"{host}:{port}" for host in hosts) for name, port in listeners.items()},
        }


def formatted(folder: Path, jars: str, identifier: str, configured: str, node: int) -> Path:
    """The configuration of a broker whose log directory is formatted, as KRaft asks before the first start."""
    data = folder / f"kafka-{node}"
    data.mkdir()
    properties = data / "server.properties"
    properties.write_text(f"log.dirs={data / 'log'}\n{configured}")
    run(["java", *LOGGING, "-cp", jars, "kafka.tools.StorageTool", "format", f"--cluster-id={identifier}", "-c", str(properties)], 60)
    return properties


def broker(stack: ExitStack, jars: str, properties: Path) -> Server:
    command = ["java", *MACHINE, *LOGGING, "-cp", jars, "kafka.Kafka", str(properties)]
    server = Server(command, properties.parent / "server.log", r"Kafka Server started")
    stack.callback(server.stop, 20)
    return server


def configuration(hosts: list[str], node: int, listeners: dict[str, int]) -> str:
    """Kafka's defaults, except for addresses and zones (Atoll's nodes have one each), and for what a small cluster cannot have."""
    host = hosts[node - 1]
    voters = ",".join(f"{number}@{name}:{CONTROLLER_PORT}" for number, name in enumerate(hosts, 1))
    replicas = min(3, len(hosts))
    more = "".join(f",{name}://{host}:{port}" for name, port in listeners.items())
    protocols = "".join(f",{name}:{name if name in PROTOCOLS else 'SSL'}" for name in listeners)
    return f"""
process.roles=broker,controller
node.id={node}
broker.rack=zone-{node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{host}:{CLIENT_PORT},CONTROLLER://{host}:{CONTROLLER_PORT}{more}
advertised.listeners=PLAINTEXT://{host}:{CLIENT_PORT}{more}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
offsets.topic.replication.factor={replicas}
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={min(2, replicas)}
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={min(2, replicas)}
group.initial.rebalance.delay.ms=0
"""
