"""The script of a dual run: each step's answer is compared with what real Kafka 4.0 answered.

`RECORD=1 conformance/run SUITE --target real` writes the answers anew. A step is a function that returns plain data; its name
says what is asked. Steps run in order, since later ones read what earlier ones wrote.
"""

import json
import os
import sys
import traceback
from pathlib import Path

from .check import TARGET, end, report

RECORDING = os.environ.get("RECORD") == "1" and TARGET == "real"


class Script:
    """The steps of one program, and the file beside it with the real answers. `about` stands before the names of steps that are told."""

    def __init__(self, kept: str, about: str = ""):
        self._path = Path(sys.argv[0]).resolve().parent / kept
        self._about = about
        self._kept = json.loads(self._path.read_text()) if self._path.exists() else {}
        self._recorded: dict = {}

    def step(self, name: str, function) -> None:
        """Runs a step and compares what it returns with the real answer."""
        try:
            seen = json.loads(json.dumps(function()))
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            seen = f"{type(error).__name__}: {error}"
        assert name not in self._recorded, f"two steps are named {name}"
        self._recorded[name] = seen
        if RECORDING:
            trouble = ""
        elif name not in self._kept:
            trouble = f"{self._path.name} does not know this step: record it"
        else:
            trouble = difference(seen, self._kept[name])
        report(f"{self._about}{name}", trouble=trouble)

    def run(self, *parts) -> None:
        """Runs the parts one after the other, and ends the program."""
        for part in parts:
            try:
                part()
            except Exception as error:  # What a part needs is missing: the steps after it in this part are not run, the others are.
                traceback.print_exc(file=sys.stderr)
                report(f"{part.__name__}: the part runs to its end", trouble=f"{type(error).__name__}: {error}")
        if RECORDING:
            self._path.write_text(json.dumps(self._recorded, indent=1, sort_keys=True) + "\n")
        end()


def difference(seen, wanted, path: str = "") -> str:
    """The first place where two answers differ, empty where they do not."""
    if isinstance(seen, dict) and isinstance(wanted, dict):
        for field in sorted(set(seen) | set(wanted)):
            if field not in seen or field not in wanted:
                return f"{path}.{field}: only {'Kafka' if field in wanted else 'this target'} has it"
            found = difference(seen[field], wanted[field], f"{path}.{field}")
            if found:
                return found
        return ""
    if isinstance(seen, list) and isinstance(wanted, list) and len(seen) == len(wanted):
        return next((found for index, pair in enumerate(zip(seen, wanted)) if (found := difference(*pair, f"{path}[{index}]"))), "")
    return "" if seen == wanted else f"{path.lstrip('.')}: saw {json.dumps(seen)[:160]}, Kafka answers {json.dumps(wanted)[:160]}"
