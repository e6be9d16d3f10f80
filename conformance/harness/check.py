"""For the Python programs of suites: checks that print lines of the Test Anything Protocol.

    from harness.check import check, end

    @check("INCR counts")
    def _():
        assert client.incr("counter") == 1

    end()
"""

import os
import sys
import time
import traceback

TARGET = os.environ.get("TARGET", "atoll")

_failures = 0


class Skip(Exception):
    """Raised by a check that cannot say anything here, with the reason."""


def report(name: str, trouble: str = "", skip: str = "") -> None:
    """Prints the outcome of one check. `trouble` is what was seen instead, empty when it passed."""
    global _failures
    one_line = " ".join((skip or trouble).split())[:400]
    if skip:
        print(f"ok {name} # SKIP {one_line}", flush=True)
    elif trouble:
        _failures += 1
        print(f"not ok {name} # {one_line}", flush=True)
    else:
        print(f"ok {name}", flush=True)


def check(name: str, *arguments):
    """Decorates a function that runs at once; what it raises is the outcome."""

    def run(function):
        try:
            function(*arguments)
        except Skip as reason:
            report(name, skip=str(reason) or "no reason given")
        except Exception as error:  # Whatever a client raises is what its user would see.
            traceback.print_exc(file=sys.stderr)
            report(name, trouble=f"{type(error).__name__}: {str(error) or where(error)}")
        else:
            report(name)
        return function

    return run


def where(error: BaseException) -> str:
    """The source line that raised, since a plain `assert` says nothing by itself."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


def equal(seen, wanted) -> None:
    """Like `assert seen == wanted`, but it says both."""
    if seen != wanted:
        raise AssertionError(f"saw {seen!r}, wanted {wanted!r}")


def raises(kind, text: str, function, *arguments, **options) -> None:
    """Passes when `function` raises `kind` with `text` in its message."""
    try:
        seen = function(*arguments, **options)
    except kind as error:
        if text not in str(error):
            raise AssertionError(f"the error said {str(error)!r}, wanted {text!r} in it") from error
        return
    raise AssertionError(f"no error but {seen!r}, wanted {text!r}")


def eventually(condition, seconds: float = 20.0):
    """Waits until `condition()` is true, and returns it; for states that a client can only ask for."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)


def patiently(function, *arguments, seconds: float = 20.0):
    """Calls until nothing is raised; for what a cluster knows at one node a moment before the others."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return function(*arguments)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def end() -> None:
    """Ends the program with the status that its checks earned."""
    sys.stdout.flush()
    sys.exit(1 if _failures else 0)
