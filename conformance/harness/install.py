"""Installing what a suite needs, once, into a cache outside the repository (`ATOLL_CONFORMANCE_CACHE`, or ~/.cache/atoll).

Nothing is copied into the repository. Every package has its version in the suite's `suite.json`; Debian's packages have
the version of the distribution, since that is what their users have.
"""

import fcntl
import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .process import Broken, run
from .suites import REPOSITORY, Suite

CACHE = Path(os.environ.get("ATOLL_CONFORMANCE_CACHE") or Path.home() / ".cache/atoll/conformance")

CARGO = os.environ.get("CARGO", "cargo")

# The real Kafka and the Java clients are the same jars, so that one download serves the target and the suites.
KAFKA_JARS = ["org.apache.kafka:kafka_2.13:4.0.0", "org.apache.kafka:kafka-tools:4.0.0", "org.slf4j:slf4j-simple:1.7.36"]


@dataclass
class Tools:
    """Where the installed things stand, as the environment that programs get."""

    environment: dict[str, str] = field(default_factory=dict)


def provide(suite: Suite) -> Tools:
    """Installs everything that `suite.needs` names and that is not there yet."""
    tools = Tools()
    path = os.environ.get("PATH", "")
    for command, package in suite.needs.get("apt", {}).items():
        debian(command, package)
    if suite.needs.get("pip"):
        path = f"{python_packages(suite.needs['pip'])}/bin:{path}"
    if suite.needs.get("npm"):
        tools.environment["NODE_PATH"] = str(node_packages(suite.needs["npm"]) / "node_modules")
    if suite.needs.get("maven"):
        tools.environment["JARS"] = f"{java_packages(suite.needs['maven'])}/*"
    for project in suite.needs.get("cargo", []):
        path = f"{rust_programs(suite.folder / project)}:{path}"
    for package in suite.needs.get("source", []):
        tools.environment[f"SOURCE_{package.upper().replace('-', '_')}"] = str(debian_source(package))
    for name, (repository, commit) in suite.needs.get("git", {}).items():
        tools.environment[f"SOURCE_{name.upper().replace('-', '_')}"] = str(git_source(repository, commit))
    tools.environment["PATH"] = path
    return tools


def debian(command: str, package: str) -> None:
    """A command from a Debian package."""
    if shutil.which(command) or shutil.which(command, path="/usr/sbin:/sbin"):
        return
    if os.geteuid() != 0:
        raise Broken(f"`{command}` is missing: apt-get install {package}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    # A package that brings a service must not start it: the targets here are started by the harness alone.
    policy = Path("/usr/sbin/policy-rc.d")
    with locked(CACHE / "apt.lock"):
        ours = not policy.exists()
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            run(["apt-get", "update", "-qq"], 300, quiet)
            run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], 600, quiet)
        finally:
            if ours:
                policy.unlink()


def python_packages(packages: list[str]) -> Path:
    """A virtual environment with exactly these packages."""

    def build(folder: Path) -> None:
        run([sys.executable, "-m", "venv", str(folder)], 120)
        run([str(folder / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *packages], 600)

    return cached("python", packages, build)


def node_packages(packages: list[str]) -> Path:
    def build(folder: Path) -> None:
        (folder / "package.json").write_text('{"private": true}')
        run(["npm", "install", "--no-audit", "--no-fund", "--silent", *packages], 600, folder=folder)

    if not shutil.which("npm"):
        debian("npm", "npm")
    return cached("node", packages, build)


def java_packages(packages: list[str]) -> Path:
    """A folder with these artifacts and everything that they need at run time."""

    def build(folder: Path) -> None:
        wanted = "".join(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>".format(*package.split(":"))
            for package in packages
        )
        (folder / "pom.xml").write_text(
            "<project xmlns='http://maven.apache.org/POM/4.0.0'><modelVersion>4.0.0</modelVersion><groupId>conformance</groupId>"
            f"<artifactId>jars</artifactId><version>1</version><dependencies>{wanted}</dependencies></project>"
        )
        run(["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-DincludeScope=runtime"], 900, folder=folder)

    debian("mvn", "maven")
    return cached("java", packages, build)


def rust_programs(project: Path) -> Path:
    """The folder with the programs of a Cargo project beside the suite. Cargo itself knows what has changed since the last time."""
    if not shutil.which(CARGO):
        raise Broken("`cargo` is missing: https://rustup.rs")
    digest = hashlib.sha256((project / "Cargo.lock").read_bytes()).hexdigest()[:12]
    folder = CACHE / f"cargo-{project.name}-{digest}"
    with locked(CACHE / f"{folder.name}.lock"):
        run([CARGO, "build", "--quiet", "--locked", "--target-dir", str(folder)], 900, folder=project)
    return folder / "debug"


def debian_source(package: str) -> Path:
    """The unpacked source of a Debian package, as Debian patched it."""

    def build(folder: Path) -> None:
        debian("dpkg-source", "dpkg-dev")
        # Machines usually list binary packages only. A copy of that list with sources serves this one command.
        listing, lists = folder / "sources.list", folder / "lists"
        (lists / "partial").mkdir(parents=True)
        listing.write_text("".join(f"{line}\n" for line in source_lines()))
        options = [f"-oDir::Etc::sourcelist={listing}", "-oDir::Etc::sourceparts=-", f"-oDir::State::lists={lists}"]
        run(["apt-get", *options, "update", "-qq"], 300)
        run(["apt-get", *options, "source", "-qq", package], 300, folder=folder)
        shutil.rmtree(lists)
        unpacked = [entry for entry in folder.iterdir() if entry.is_dir()]
        if len(unpacked) != 1:
            raise Broken(f"apt-get source {package} left {len(unpacked)} folders")
        unpacked[0].rename(folder / "source")

    return cached("source", [package], build) / "source"


def rdkafka_performance() -> Path:
    """librdkafka's load generator, which Debian has the source of but no package."""
    source = debian_source("librdkafka")
    program = source / "examples/rdkafka_performance"
    with locked(CACHE / "rdkafka_performance.lock"):
        if not program.exists():
            debian("make", "make")
            if not (source / "src/librdkafka.a").exists():
                run(["./configure", "--disable-curl"], 300, folder=source)
                run(["make", "-j2", "libs"], 900, folder=source)
            run(["make", "-C", "examples", "rdkafka_performance"], 300, folder=source)
    return program


def git_source(repository: str, commit: str) -> Path:
    """What a repository held at one commit. Git's own `url.BASE.insteadOf` can name a mirror of it."""

    def build(folder: Path) -> None:
        debian("git", "git")
        run(["git", "init", "--quiet", "source"], 30, folder=folder)
        run(["git", "fetch", "--quiet", "--depth", "1", repository, commit], 300, folder=folder / "source")
        run(["git", "checkout", "--quiet", "FETCH_HEAD"], 60, folder=folder / "source")

    return cached("git", [repository, commit], build) / "source"


def source_lines() -> list[str]:
    """`deb-src` lines for every place that this machine takes Debian's own binary packages from."""
    lines = []
    for entry in Path("/etc/apt/sources.list.d").glob("*.sources"):
        for block in entry.read_text().split("\n\n"):
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith("#"))
            if "debian" in fields.get("URIs", "") and "main" in fields.get("Components", "").split():
                lines += [f"deb-src {fields['URIs']} {suite} main" for suite in fields["Suites"].split()]
    listing = Path("/etc/apt/sources.list")
    if listing.exists():
        lines += [line.replace("deb ", "deb-src ", 1) for line in listing.read_text().splitlines() if line.startswith("deb ") and "debian" in line]
    return lines


def cached(kind: str, packages: list[str], build) -> Path:
    """The folder for this very list of packages, built once, also when two runs ask at the same time."""
    digest = hashlib.sha256("\n".join([sys.version.split()[0], *packages]).encode()).hexdigest()[:12]
    folder = CACHE / f"{kind}-{digest}"
    done = folder / ".complete"
    with locked(CACHE / f"{kind}-{digest}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            build(folder)
            done.touch()
    return folder


@contextmanager
def locked(path: Path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def atoll_binary() -> Path:
    """The binary under test: $ATOLL, or the newest that Cargo built."""
    named = os.environ.get("ATOLL")
    if named:
        return Path(named).resolve()
    built = [path for path in (REPOSITORY / "target/release/atoll", REPOSITORY / "target/debug/atoll") if path.exists()]
    if not built:
        raise Broken("no binary: cargo build -p atoll, or name one in $ATOLL")
    return max(built, key=lambda path: path.stat().st_mtime)
