"""Builds librdkafka's test-runner once, and runs each of its tests that needs a broker in a process of its own.

`ONLY=0081,0102` runs some of them; `SMOKE=1` those that take a few seconds each. A test that the runner itself skips is skipped here.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

SOURCE = Path(os.environ["SOURCE_LIBRDKAFKA"])
SCRATCH = Path(os.environ["SCRATCH"])
SECONDS_MAX = 180
# What a broker of any kind cannot show here, by the runner's name for it.
LEFT_OUT = {
    "0038_performance": "measures, and asserts nothing",
    "0055_producer_latency": "measures, and fails on a machine that is busy",
    "0097_ssl_verify": "needs the certificates that librdkafka's own cluster scripts make",
    "0109_auto_create_topics": "needs an authorizer for kafka-acls.sh",
    "0115_producer_auth": "needs an authorizer, and would shut the other tests out",
    "0119_consumer_auth": "needs an authorizer, and would shut the other tests out",
    "0126_oauthbearer_oidc": "needs an identity provider",
}
QUICK = "0001 0002 0003 0005 0007 0008 0012 0013 0014 0015 0017 0019 0021 0022 0026 0031 0039 0040 0057 0063 0067 0070 0073 0085 0099 0109 0110 0130".split()


# Kafka's own scripts that tests call, and the classes behind them.
SCRIPTS = {"kafka-topics.sh": "org.apache.kafka.tools.TopicCommand", "kafka-configs.sh": "kafka.admin.ConfigCommand"}


def main() -> int:
    build()
    scripts()
    config = SCRATCH / "test.conf"
    config.write_text(f"bootstrap.servers={os.environ['KAFKA_BOOTSTRAP_SERVERS']}\n")
    names = tests()
    only = os.environ.get("ONLY", "").split(",") if os.environ.get("ONLY") else QUICK if os.environ.get("SMOKE") else None
    bad = False
    for name in names:
        if only is None or any(name.startswith(number) for number in only):
            bad = run(name, config) or bad
    return 1 if bad else 0


def build() -> None:
    if (SOURCE / "tests/test-runner").exists():
        return
    for command in (["./configure", "--disable-curl"], ["make", "-j2", "libs"], ["make", "-j2", "-C", "tests", "test-runner"]):
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed: {done.stderr[-2000:]}")


def scripts() -> None:
    folder = SCRATCH / "kafka/bin"
    folder.mkdir(parents=True)
    for name, main_class in SCRIPTS.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec java -cp "{os.environ["JARS"]}" {main_class} "$@"\n')
        script.chmod(0o755)


def tests() -> list[str]:
    """The tests of the runner's table that talk to a broker and need no simulated sockets."""
    text = (SOURCE / "tests/test.c").read_text()
    table = text[text.index("struct test tests[] = {"):]
    table = table[: table.index("};")]
    entries = re.findall(r"_TEST\((\d{4}_\w+),\s*([^,)]+)", table)
    unwanted = ("TEST_F_LOCAL", "TEST_F_SOCKEM", "TEST_F_MANUAL", "TEST_F_KNOWN_ISSUE")
    return [name for name, flags in entries if not any(flag in flags for flag in unwanted)]


def run(name: str, config: Path) -> bool:
    if name in LEFT_OUT:
        print(f"ok {name} # SKIP {LEFT_OUT[name]}", flush=True)
        return False
    libraries = f"{SOURCE / 'src'}:{SOURCE / 'src-cpp'}"
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries, "RDKAFKA_TEST_CONF": str(config), "TESTS": name, "TEST_KAFKA_VERSION": "4.0.0.0",
                   "KAFKA_PATH": str(SCRATCH / "kafka"), "BROKERS": os.environ["KAFKA_BOOTSTRAP_SERVERS"]}
    started = time.monotonic()
    command = ["./test-runner", "-p1", "-Q", "-E"]
    log = SCRATCH / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=SOURCE / "tests", env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    result = re.search(rf"^\|\s+{name}\s+\|\s+(\w+)", text, re.MULTILINE)
    state = result.group(1) if result else "did not end"
    seconds = f"{time.monotonic() - started:.0f} s"
    print(f"{name}: {state} in {seconds}", file=sys.stderr, flush=True)
    if state == "PASSED":
        print(f"ok {name}", flush=True)
    elif state == "SKIPPED":
        print(f"ok {name} # SKIP the runner skips it", flush=True)
    else:
        print(f"not ok {name} # {state} after {seconds}: {reason(text)}", flush=True)
    return state not in ("PASSED", "SKIPPED")


def reason(text: str) -> str:
    """The runner's own words for what went wrong."""
    lines = [line for line in text.splitlines() if "Test failed" in line or "TEST FAILURE" in line or "### Test" in line]
    index = text.find("TEST FAILURE")
    words = text[index : index + 400] if index >= 0 else (lines or text.splitlines() or ["no output"])[-1]
    return " ".join(words.replace("#", "").split())[:200]


sys.exit(main())
