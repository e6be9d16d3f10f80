"""Runs the files of Redis's Tcl suite one after the other against a running server, and passes their outcomes on.

A file that meets an unknown command may end early; so each file has its own run, and ending early is one failure of that file.
`CLUSTER=1` runs the suite's cluster mode, against a server that owns every slot.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

SOURCE = Path(os.environ["SOURCE_REDIS"])
HOST, PORT = os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)
LINE = re.compile(r"\[(ok|err|ignore|exception)\]: (.*?)(?: \(\d+ ms\))?$")
TARGET = os.environ.get("TARGET", "real")
SECONDS_MAX = 300
# Moves a server that the suite did not start to another port, where nothing after it finds the server.
LEFT_OUT = ["CONFIG SET rollback on apply error"]
# Against Atoll, which is 7.2, these would wait for ever for what 7.0 alone does. They are left out and count as failed.
OF_7_0 = {
    "unit/tracking": ["Tracking only occurs for scripts when a command calls a read-only command"],
    "unit/type/list": [
        "SWAPDB wants to wake blocked client, but the key already expired",
        "MULTI + LPUSH + EXPIRE + DEBUG SLEEP on blocked client, key already expired",
    ],
}
# 7.2 holds small lists as listpacks, which 7.0 does not know: in these files encodings are not compared against Atoll.
LISTS = ["unit/type/list", "unit/type/list-2", "unit/type/list-3", "unit/sort"]
# What a file leaves behind when it ends early must not spoil the next one.
SLATE = ["SCRIPT KILL", "FUNCTION KILL", "CLIENT UNPAUSE", "CONFIG SET maxmemory 0 lua-time-limit 5000", "DEBUG SET-ACTIVE-EXPIRE 1", "FLUSHALL", "FUNCTION FLUSH"]


def main() -> int:
    prepare()
    if os.environ.get("CLUSTER"):
        take_every_slot()
    # `FILES` names those to run, with spaces between; without it all are.
    files = os.environ.get("FILES", "").split() or re.findall(r"^\s+((?:unit|integration)/[\w/-]+)$", (SOURCE / "tests/test_helper.tcl").read_text(), re.MULTILINE)
    bad = False
    for file in files:
        ask(*SLATE)
        bad = run(file) or bad
    return 1 if bad else 0


def prepare() -> None:
    """The suite looks for the tools that a build would have left in `src`."""
    for tool in ("redis-cli", "redis-benchmark", "redis-server"):
        link = SOURCE / "src" / tool
        found = shutil.which(tool)
        if found and not link.exists():
            link.symlink_to(found)


def ask(*lines: str) -> str:
    return subprocess.run(["redis-cli", "-h", HOST, "-p", PORT], input="\n".join(lines), text=True, capture_output=True, timeout=SECONDS_MAX).stdout


def take_every_slot() -> None:
    """The suite has keys everywhere and one server. Atoll has three masters: the others, which are empty, lose theirs to the first."""
    name = ask("CLUSTER MYID").strip()
    if re.search(rf"^{name} .* 0-16383$", ask("CLUSTER NODES"), re.MULTILINE):
        return
    # With the highest epoch first, or the others would go on claiming what was theirs.
    ask("CLUSTER BUMPEPOCH", *[f"CLUSTER SETSLOT {slot} NODE {name}" for slot in range(16384)])


def free_port() -> str:
    """Where the suite's own processes meet: its fixed port belongs to whoever runs it first on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def run(file: str) -> bool:
    options = ["--host", HOST, "--port", PORT, "--tags", "-slow -needs:repl", "--single", file, "--clients", "1", "--baseport", free_port()]
    # A test that is not answered as it expects ends, and the file goes on.
    options.append("--durable")
    # The suite itself leaves out what needs several databases where there is one.
    is_of_lists = file == "unit/type/list" and os.environ.get("CLUSTER")
    left_out = OF_7_0.get(file, []) if TARGET == "atoll" and not is_of_lists else []
    for test in LEFT_OUT + left_out:
        options += ["--skiptest", test]
    if TARGET == "atoll" and file in LISTS:
        options.append("--ignore-encoding")
    if os.environ.get("CLUSTER"):
        options.append("--cluster-mode")
    command = ["./runtest", *options]
    runner = subprocess.Popen(command, cwd=SOURCE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        text, _ = runner.communicate(timeout=SECONDS_MAX)
        ending = "" if runner.returncode in (0, 1) else f"ended with status {runner.returncode}"
    except subprocess.TimeoutExpired:
        # With the processes that it started, or their clients would take part in the next file.
        os.killpg(runner.pid, signal.SIGKILL)
        text, ending = runner.communicate()[0], f"took more than {SECONDS_MAX} s"
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
    for test in left_out:
        print(f"not ok {file}: {test} # left out: 7.2 does otherwise", flush=True)
    if "[exception]" in text or "Executing test client" in text:
        ending = ending or last_words(text)
    if not seen and not ending and "All tests passed" not in text:
        # It did not begin, and says at its end why.
        ending = " ".join(text.split()[-12:]) or "it did not begin"
    if ending:
        print(f"not ok {file}: runs to its end # {ending}", flush=True)
    return bad or bool(left_out) or bool(ending)


def last_words(text: str) -> str:
    lines = [line for line in text.splitlines() if "Executing test client" in line or line.startswith("ERR")]
    return " ".join((lines or ["ended early"])[-1].split())[:200]


sys.exit(main())
