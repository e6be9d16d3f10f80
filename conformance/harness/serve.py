"""Starts a real engine for another program: `python3 -m harness.serve redis|redis-cluster|kafka-single|kafka`.

Prints one line of JSON when it is ready (addresses, process ids, seconds until ready) and ends it when stdin closes. The
benches use this, so that how a real engine is started is written down once.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from . import guard, install, targets
from .suites import Suite


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="atoll-real-") as folder:
        started = time.monotonic()
        engine = Suite(name=sys.argv[1], about="a bench", engine=sys.argv[1], programs=[])
        with targets.real(engine, Path(folder)) as environment:
            # What only prepared the start (formatting, forming the cluster) is told apart by the engine itself.
            seconds = float(environment.pop("START_SECONDS", time.monotonic() - started))
            if sys.argv[1].startswith("kafka"):
                environment["RDKAFKA_PERFORMANCE"] = str(install.rdkafka_performance())
            pids = [int(pid) for pid in environment.pop("SERVER_PIDS").split(",")]
            print(json.dumps({"environment": environment, "pids": pids, "start_seconds": seconds}), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    sys.exit(guard.run(main))
