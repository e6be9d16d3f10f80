"""Runs the files of Redis's Tcl suite one after the other against a running server, and passes their outcomes on.

A file that meets an unknown command may end early; so each file has its own run, and ending early is one failure of that file.
`CLUSTER=1` runs the suite's cluster mode, against a server that owns every slot.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(os.environ["SOURCE_REDIS"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
LINE = re.compile(r"\[(ok|err|ignore|exception)\]: (.*?)(?: \(\d+ ms\))?$")
SECONDS_MAX = 120
# Moves a server that the suite did not start to another port, where nothing after it finds the server.
LEFT_OUT = ["CONFIG SET rollback on apply error"]


def main() -> int:
    prepare()
    files = re.findall(r"^\s+((?:unit|integration)/[\w/-]+)$", (SOURCE / "tests/test_helper.tcl").read_text(), re.MULTILINE)
    bad = False
    for file in files:
        bad = run(file) or bad
    return 1 if bad else 0


def prepare() -> None:
    """The suite looks for the tools that a build would have left in `src`."""
    for tool in ("redis-cli", "redis-benchmark", "redis-server"):
        link = SOURCE / "src" / tool
        found = shutil.which(tool)
        if found and not link.exists():
            link.symlink_to(found)


def run(file: str) -> bool:
    options = ["--host", HOST, "--port", PORT, "--tags", "-slow", "--single", file, "--clients", "1"]
    for test in LEFT_OUT:
        options += ["--skiptest", test]
    if os.environ.get("CLUSTER"):
        options.append("--cluster-mode")
    try:
        done = subprocess.run(["./runtest", *options], cwd=SOURCE, capture_output=True, text=True, errors="replace", timeout=SECONDS_MAX)
        text, ending = done.stdout, "" if done.returncode in (0, 1) else f"ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        text, ending = (error.stdout or b"").decode(errors="replace"), f"took more than {SECONDS_MAX} s"
    seen: dict[str, int] = {}
    bad = False
    for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines():
        match = LINE.match(line.strip())
        if not match:
            continue
        kind, name = match.groups()
        name = f"{file}: {name.split(' in tests/')[0]}".replace(" # ", " ")
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name += f" ({seen[name]})"
        bad = bad or kind in ("err", "exception")
        print({"ok": f"ok {name}", "ignore": f"ok {name} # SKIP the suite ignores it here"}.get(kind, f"not ok {name} # {kind}"), flush=True)
    if "[exception]" in text or "Executing test client" in text:
        ending = ending or last_words(text)
    if ending:
        print(f"not ok {file}: runs to its end # {ending}", flush=True)
    return bad or bool(ending)


def last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if "Executing test client" in line or line.startswith("ERR")]
    return " ".join((lines or ["ended early"])[-1].split())[:200]


sys.exit(main())
