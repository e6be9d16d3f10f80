"""Runs resp-compatibility, which compares replies with those that Redis gave, and passes its outcomes on.

`CLUSTER=1` runs its cluster mode. The real server is Debian's 7.0; Atoll stands in for 7.2, and is asked for that much.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(os.environ["SOURCE_RESP_COMPATIBILITY"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
VERSION = "7.2.0" if os.environ["TARGET"] == "atoll" else "7.0.0"
TEST = re.compile(r"test: (.*?) (passed|failed|skipped|tags skipped|version skipped)$")
REASON = re.compile(r"FailedTest\(name='(.*?)', reason=(.*)\)$")


def main() -> int:
    command = [sys.executable, "resp_compatibility.py", "--host", HOST, "--port", PORT, "--testfile", "cts.json", "--specific-version", VERSION]
    command += ["--show-failed"] + (["--cluster"] if os.environ.get("CLUSTER") else [])
    run = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=100)
    lines = run.stdout.splitlines()
    reasons = dict(match.groups() for line in lines if (match := REASON.match(line)))
    seen: dict[str, int] = {}
    for match in filter(None, map(TEST.match, lines)):
        name, outcome = match.groups()
        if outcome in ("tags skipped", "version skipped"):
            # It has another mode's commands, or a newer version's, and is not of this run.
            continue
        seen[name] = seen.get(name, 0) + 1
        shown = f"{name} ({seen[name]})" if seen[name] > 1 else name
        print({"passed": f"ok {shown}", "skipped": f"ok {shown} # SKIP the suite skips it"}.get(outcome, f"not ok {shown} # {reasons.get(name, '')}"))
    if run.returncode != 0 or not seen:
        print(f"not ok runs to its end # {' '.join((run.stderr or run.stdout).split()[-20:])}")
        return 1
    return 1 if reasons else 0


sys.exit(main())
