"""Outcomes: read from programs in the Test Anything Protocol, saved, and compared with what was reviewed.

`conformance/expected/SUITE.json` says for each target how many checks passed when somebody last looked, and names every
check that fails, with the reason. A run is good when it passes at least as many and fails nothing that is not named.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from .suites import ROOT, Suite

EXPECTED = ROOT / "expected"
RESULTS = ROOT / ".cache/results"
LINE = re.compile(r"^(not )?ok (?P<name>.*?)(?: # (?P<note>.*))?$")


@dataclass
class Outcome:
    suite: str
    target: str
    quiet: bool = False
    seconds: float = 0.0
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def run(self, program: list[str], suite: Suite, environment: dict[str, str]) -> None:
        """Runs one program of the suite and takes in what it prints."""
        label = " ".join(program)
        log = RESULTS / f"{self.suite}-{self.target}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            errors.write(f"\n=== {label}\n".encode())
            errors.flush()
            process = subprocess.Popen(
                program,
                cwd=suite.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
                text=True,
                errors="replace",
            )
            is_late = threading.Event()
            limit = threading.Timer(suite.seconds_max, end_group, (process, is_late))
            limit.start()
            try:
                for line in process.stdout:
                    self.take(line.rstrip("\n"), errors)
                status = process.wait()
            finally:
                limit.cancel()
                if process.poll() is None:  # The run itself is being ended.
                    os.killpg(process.pid, signal.SIGTERM)
        if is_late.is_set():
            self.failure(label, f"took more than {suite.seconds_max} s")
        elif status not in (0, 1) or (status == 1 and not self.failed):
            self.failure(label, f"ended with status {status}; see {log}")

    def take(self, line: str, log) -> None:
        match = LINE.match(line)
        if match is None:
            log.write(f"{line}\n".encode())
            return
        name, note = match["name"], match["note"] or ""
        if match[1]:
            self.failure(name, note)
        elif note.upper().startswith("SKIP"):
            self.skip(name, note[4:].strip())
        else:
            self.passed.append(name)
            if not self.quiet:
                print(f"ok {name}", flush=True)

    def failure(self, name: str, reason: str) -> None:
        self.failed[name] = reason
        print(f"not ok {name} # {reason}", flush=True)

    def skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        print(f"ok {name} # SKIP {reason}", flush=True)

    def broken(self, reason: str) -> None:
        """The target or a tool failed, so that the suite says nothing."""
        self.failure(f"{self.suite} can run", reason)

    def skipped_whole(self, reason: str) -> None:
        self.skip(self.suite, reason)

    def save(self) -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        record = {
            "suite": self.suite,
            "target": self.target,
            "seconds": self.seconds,
            "passed": self.passed,
            "failed": self.failed,
            "skipped": self.skipped,
        }
        (RESULTS / f"{self.suite}-{self.target}.json").write_text(json.dumps(record, indent=1) + "\n")


def end_group(process: subprocess.Popen, is_late: threading.Event) -> None:
    """Ends a program that ran past its limit, with everything that it started."""
    is_late.set()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def compare(outcome: Outcome, is_partial: bool) -> bool:
    """Whether the run did at least as well as the reviewed one. Says what is worse, and what has become better."""
    reviewed = expected(outcome.suite).get(outcome.target)
    if reviewed is None:
        if outcome.failed:
            print(f"# nothing reviewed for {outcome.suite} against {outcome.target}, so every failure counts", file=sys.stderr)
        return not outcome.failed
    known = reviewed["failed"]
    worse, _ = split(outcome)
    for name in worse:
        print(f"# worse than reviewed: {name}", flush=True)
    missing = reviewed["passed"] - len(outcome.passed)
    if missing > 0 and not is_partial and not worse:
        print(f"# worse than reviewed: {missing} checks fewer passed than the reviewed {reviewed['passed']}", flush=True)
    for name in [name for name in known if name in outcome.passed]:
        print(f"# better than reviewed: {name} passes now; --review and say so in the commit", flush=True)
    return not worse and (is_partial or missing <= 0)


def split(outcome: Outcome) -> tuple[list[str], list[str]]:
    """What failed, parted into what nobody has reviewed and what is known, with its reason."""
    reasons = expected(outcome.suite).get(outcome.target, {}).get("failed", {})
    new = [name for name in outcome.failed if not reasons.get(name)]
    return new, [name for name in outcome.failed if reasons.get(name)]


def review(outcome: Outcome) -> None:
    """Writes the outcome down as the reviewed one. A new failure gets no reason, and counts until a person gives it one."""
    record = expected(outcome.suite)
    old = record.get(outcome.target, {}).get("failed", {})
    record[outcome.target] = {
        "passed": len(outcome.passed),
        "skipped": len(outcome.skipped),
        "failed": {name: old.get(name, "") for name in sorted(outcome.failed)},
    }
    EXPECTED.mkdir(exist_ok=True)
    path(outcome.suite).write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n")


def expected(suite: str) -> dict:
    return json.loads(path(suite).read_text()) if path(suite).exists() else {}


def path(suite: str) -> Path:
    return EXPECTED / f"{suite}.json"
