"""Ends everything that a run has started, whatever becomes of the run.

The program runs in a child of the process that was asked for, its guard. What loses its parent below the guard, as what detaches
itself does, becomes the guard's child; so once the program is gone, whatever else is still there is the guard's to end. A signal
to end is passed on to the program, which unwinds as after an error. A program whose guard is killed unwinds as well.
"""

import ctypes
import os
import signal
import sys
import time
from typing import Callable

# From <linux/prctl.h>.
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What is on its way out is let go by itself; what is asked to end has so long to do it in its own way: a stack stops its pods first.
SETTLING_S, PATIENCE_S = 1.0, 15.0
PAUSE_S = 0.05


def run(main: Callable[[], int | None]) -> int:
    """Runs a program under guard and returns its exit status, which is 128 and the signal's number where one ended it."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    # What comes before the program is there, and before its own handlers are, waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    sys.stdout.flush()
    program = os.fork()
    if program == 0:
        be_program(guard)
        return main() or 0
    for number in SIGNALS:
        signal.signal(number, lambda number, _: os.kill(program, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while True:
        ended, status = os.wait()
        if ended == program:
            break
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    end_children()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def be_program(guard: int) -> None:
    """The child's side: a signal to end unwinds it, once; nothing that comes meanwhile breaks that off.

    It is a process group of its own, so that who kills the whole group of the guard leaves it time to unwind.
    """

    def end(number, _):
        for other in SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        print(f"# ended by {signal.Signals(number).name}", file=sys.stderr, flush=True)
        sys.exit(128 + number)

    os.setpgid(0, 0)
    for number in SIGNALS:
        signal.signal(number, end)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if os.getppid() != guard:
        sys.exit(128 + signal.SIGTERM)


def end_children() -> None:
    """Asks every child to end, and makes it end when it does not. Its own children come to us then."""
    since: dict[int, float] = {}
    asked: set[int] = set()
    while True:
        now = time.monotonic()
        for child in children():
            waited = now - since.setdefault(child, now)
            if waited > PATIENCE_S:
                os.kill(child, signal.SIGKILL)
            elif waited > SETTLING_S and child not in asked:
                print(f"# was left running, and is ended: {command(child)}", file=sys.stderr, flush=True)
                asked.add(child)
                os.kill(child, signal.SIGTERM)
        # A child's number is not another's before it was waited for, so the right one is ended.
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                since.pop(ended, None)
                asked.discard(ended)
        except ChildProcessError:
            return
        time.sleep(PAUSE_S)


def children() -> list[int]:
    """Those that run. Whoever has ended and was not waited for yet is left out."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, parent = file.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append(int(name))
    return found


def command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    except OSError:
        return str(pid)


def prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
