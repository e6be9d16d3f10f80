"""What a suite runs against: Atoll, or the engine that it stands in for, started on loopback and ended by process id."""

import json
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Iterator

from . import certificates, install, real_kafka, real_redis
from .process import Broken, run
from .results import RESULTS
from .suites import Suite


class Unavailable(Exception):
    """There is no such target on this machine, for a reason that is nobody's fault: the suite is skipped."""


@contextmanager
def start(suite: Suite, target: str, tools: install.Tools) -> Iterator[dict[str, str]]:
    """Starts the target of the suite and yields the environment for its programs."""
    with ExitStack() as stack:
        # Data belongs on a disk that is there for tests, not into the repository.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="atoll-conformance-")))
        environment = {**tools.environment, "TARGET": target, "SCRATCH": str(folder)}
        environment["CONFORMANCE_CACHE"] = str(install.CACHE)
        if suite.engine == "none":
            if target == "real":
                raise Unavailable("this suite is about Atoll itself")
            environment["ATOLL"] = str(install.atoll_binary())
        elif target == "atoll":
            environment.update(stack.enter_context(atoll(suite, folder)))
        else:
            environment.update(stack.enter_context(real(suite, folder)))
        yield environment


@contextmanager
def atoll(suite: Suite, folder: Path) -> Iterator[dict[str, str]]:
    """A stack in memory with data folder, home and addresses of its own; the suite's `atoll.yaml` configures it."""
    binary = str(install.atoll_binary())
    configuration = suite.folder / "atoll.yaml"
    if configuration.exists():
        # `SUITE` in it stands for the suite's folder, where programs for pods are.
        text = configuration.read_text().replace("SUITE", str(suite.folder))
        (folder / "atoll.yaml").write_text(certificates.filled_in(text, folder))
    log = RESULTS / f"{suite.name}-atoll-stack.log"
    try:
        run([binary, "up", "--ephemeral", "-d"], 60, folder=folder)
        told = json.loads(run([binary, "env", "--json"], 20, folder=folder))
        yield {**flat(told), "ATOLL": binary, "ATOLL_FOLDER": str(folder)}
    finally:
        keep_log(binary, folder, log)
        try:
            run([binary, "down"], 30, folder=folder)
        except Broken as error:
            # A stack that died by itself is told as the failure of what it broke; here it is only noted.
            print(f"# atoll down: {error}", flush=True)


def flat(told: dict) -> dict[str, str]:
    """The variables that `atoll env --json` hands out, whether they stand alone or under a key."""
    variables = told.get("environment", told)
    return {name: str(value) for name, value in variables.items()}


def keep_log(binary: str, folder: Path, log: Path) -> None:
    """What the stack said outlives it, since a failed suite is read from it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        log.write_text(run([binary, "logs", "--tail", "20000"], 20, folder=folder))
    except Broken as error:
        log.write_text(f"{error}\n")


@contextmanager
def real(suite: Suite, folder: Path) -> Iterator[dict[str, str]]:
    engine = suite.engine
    if engine == "redis-cluster":
        with real_redis.cluster(folder) as variables:
            yield variables
    elif engine == "redis-cluster-tls":
        with real_redis.encrypted_cluster(folder) as variables:
            yield variables
    elif engine == "redis-shard":
        with real_redis.shard(folder) as variables:
            yield variables
    elif engine == "redis":
        with real_redis.standalone(folder) as variables:
            yield variables
    elif engine in ("kafka", "kafka-single"):
        with real_kafka.cluster(folder, 3 if engine == "kafka" else 1, suite.listeners, suite.properties) as variables:
            yield variables
    elif engine == "stack":
        with real_redis.standalone(folder) as redis, real_kafka.cluster(folder, brokers=1) as kafka:
            yield {**redis, **kafka}
    else:
        raise Unavailable(f"the real counterpart of `{engine}` cannot be installed from packages")
