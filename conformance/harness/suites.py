"""What a suite is: a folder with a `suite.json` beside the programs that it runs.

    {
      "about":    "one line for --list",
      "engine":   "redis-cluster" | "redis-cluster-tls" | "redis-shard" | "redis" | "kafka" | "kafka-single" | "stack" | "none",
      "ci":       true when it belongs to every CI run,
      "alone":    true when no other suite may run at the same time,
      "needs":    {"apt": {"COMMAND": "PACKAGE"}, "pip": ["NAME==VERSION"], "npm": ["NAME@VERSION"],
                   "maven": ["GROUP:ARTIFACT:VERSION"], "source": ["DEBIAN SOURCE PACKAGE"],
                   "cargo": ["FOLDER of a Cargo project with its Cargo.lock; its programs are on the PATH"],
                   "git": {"NAME": ["REPOSITORY", "COMMIT"]}},
      "listeners": {"SASL_PLAINTEXT": 9094} for listeners that real Kafka gets beside the plain one,
      "properties": {"NAME": "VALUE"} for what else stands in its configuration,
      "programs": [["python3", "strings.py"], ["node", "cluster.mjs"], ["./script.sh"]],
      "seconds_max": the limit for one program
    }

A program gets its target through the environment (`TARGET`, `REDIS_URL`, `REDIS_NODES`, `KAFKA_BOOTSTRAP_SERVERS`,
`KUBECONFIG`, `ATOLL` for the binary itself) and answers in the Test Anything Protocol on stdout: `ok NAME`,
`not ok NAME # what was seen`, `ok NAME # SKIP why`. So it may be written in any language. Everything else that it prints
goes to the log. In `atoll.yaml` and in `properties`, `AUTHORITY_PEM` and the other names in `harness/certificates.py` stand for
certificates that are made for the run. With the engine "none" a program starts Atoll itself, as the suites about its lifetime do.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT.parent


@dataclass
class Suite:
    name: str
    about: str
    engine: str
    programs: list[list[str]]
    ci: bool = False
    alone: bool = False
    seconds_max: int = 120
    needs: dict = field(default_factory=dict)
    listeners: dict = field(default_factory=dict)
    properties: dict = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        return ROOT / self.name


def load_all() -> dict[str, Suite]:
    """Every suite by name, in alphabetical order. An unknown key in a `suite.json` is an error, not a silent wish."""
    return {path.parent.name: Suite(name=path.parent.name, **json.loads(path.read_text())) for path in sorted(ROOT.glob("*/suite.json"))}
