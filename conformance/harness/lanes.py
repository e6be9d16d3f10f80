"""Several suites at a time: most of a suite is waiting. Each is a run of its own, and what it says is told whole once it has ended."""

import os
import subprocess
import sys
import tempfile

from .suites import ROOT, Suite


def run(suites: list[Suite], options: list[str], jobs: int) -> bool:
    """Runs every suite, `jobs` at a time, and says whether all did as well as reviewed."""
    alone = [suite for suite in suites if suite.alone]
    # Those that may take longest come first, so that none of them is the last that all wait for.
    others = sorted((suite for suite in suites if not suite.alone), key=lambda suite: -suite.seconds_max * len(suite.programs))
    good = [run_all([suite], options, 1) for suite in alone]
    return all([*good, run_all(others, options, jobs)])


def run_all(waiting: list[Suite], options: list[str], jobs: int) -> bool:
    good = True
    running: dict[int, tuple[subprocess.Popen, object]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                process, said = start(waiting.pop(0), options)
                running[process.pid] = process, said
            pid = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
            if pid not in running:
                os.waitpid(pid, 0)
                continue
            process, said = running.pop(pid)
            good = process.wait() == 0 and good
            tell(said)
    finally:
        for process, said in running.values():
            process.terminate()
        for process, said in running.values():
            process.wait()
            tell(said)
    return good


def start(suite: Suite, options: list[str]):
    said = tempfile.TemporaryFile("w+", errors="replace")
    command = [sys.executable, str(ROOT / "run"), suite.name, *options]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT), said


def tell(said) -> None:
    said.seek(0)
    sys.stdout.write(said.read())
    sys.stdout.flush()
    said.close()
