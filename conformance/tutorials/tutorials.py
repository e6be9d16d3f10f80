"""Types what the tutorials in docs/tutorials say, block by block, into one shell, and expects every command to succeed.

A block whose command is meant to fail stands behind the comment `<!-- fails -->`. The shell begins in an empty folder
with `atoll` on its path, so a tutorial that forgets a step fails here as it would for a reader.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.check import end, report  # noqa: E402

TUTORIALS = Path(__file__).resolve().parent.parent.parent / "docs" / "tutorials"
MEANT_TO_FAIL = "<!-- fails -->"
BLOCK_SECONDS_MAX = 120
# The shell says after each block how it ended; no command prints this.
MARK = "--- end of block:"


def blocks(page: Path) -> list[tuple[list[str], bool]]:
    """The indented blocks of a page: their lines, and whether they are meant to fail."""
    found, is_meant_to_fail = [], False
    for paragraph in re.split(r"\n\s*\n", page.read_text()):
        lines = paragraph.strip("\n").split("\n")
        if all(line.startswith("    ") for line in lines):
            found.append(([line.strip() for line in lines], is_meant_to_fail))
            is_meant_to_fail = False
        else:
            is_meant_to_fail = paragraph.rstrip().endswith(MEANT_TO_FAIL)
    return found


def script(page: Path) -> str:
    """One shell program of all blocks: each line must succeed, and after each block its outcome is told."""
    parts = []
    for number, (lines, _) in enumerate(blocks(page)):
        parts += ["status=0", *(f"{line} || status=$?" for line in lines), f'echo "{MARK} {number} $status"']
    return "\n".join(parts) + "\n"


def follow(page: Path) -> None:
    folder = Path(os.environ["SCRATCH"]) / page.stem
    home = folder / "home"
    programs = folder / "programs"
    for made in (home, programs):
        made.mkdir(parents=True)
    (programs / "atoll").symlink_to(os.environ["ATOLL"])
    environment = {**os.environ, "HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            ["bash", "-c", script(page)],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BLOCK_SECONDS_MAX,
        )
        said = done.stdout
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
    print(said, file=sys.stderr)
    told = dict(re.findall(rf"{MARK} (\d+) (\d+)", said))
    for number, (lines, is_meant_to_fail) in enumerate(blocks(page)):
        status = told.get(str(number))
        trouble = "did not end" if status is None else "" if (status != "0") == is_meant_to_fail else f"ended with {status}"
        report(f"{page.stem}: {lines[0]}", trouble=trouble)


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def main() -> None:
    for page in sorted(TUTORIALS.glob("*.md")):
        # The pages name standard addresses, as a reader's own stack has them.
        if is_taken(6379) or is_taken(9092):
            report(f"{page.stem}", skip="another program has the standard ports of 127.0.0.1")
        else:
            follow(page)
    end()


if __name__ == "__main__":
    main()
