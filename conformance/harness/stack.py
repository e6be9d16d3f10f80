"""For programs that inject faults into the stack they run against, through the `atoll` command."""

import json
import os
import subprocess


def atoll(*words: str) -> str:
    """Runs `atoll` in the stack's folder and returns what it printed."""
    done = subprocess.run(
        [os.environ["ATOLL"], *words], capture_output=True, text=True, timeout=60, cwd=os.environ["ATOLL_FOLDER"], stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"atoll {' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout


def status() -> dict:
    return json.loads(atoll("status", "--json"))


def heal() -> None:
    """Undoes every fault and starts every node that is down. What the engines make of it takes its time."""
    atoll("heal")
    for node in status()["nodes"]:
        if node["state"] != "running":
            atoll("node", "start", str(node["id"]))


def ledger(kind: str, subject: str) -> int:
    """How many times the ledger says this of subjects that begin so."""
    entries = json.loads(atoll("ledger", "--json", "--limit", "100000"))["entries"]
    return sum(entry["count"] for entry in entries if entry["kind"] == kind and entry["subject"].startswith(subject))
