"""Blocks of loopback addresses for real engines, so that runs at the same time, and a stack of Atoll, do not meet."""

import fcntl
import socket
from contextlib import ExitStack

from .install import CACHE
from .process import Broken

BLOCKS = range(100, 140)


def block(stack: ExitStack, ports: list[int]) -> str:
    """Takes `127.K.0.` for the length of the run: no other run has it, and nothing listens on the ports there."""
    folder = CACHE / "blocks"
    folder.mkdir(parents=True, exist_ok=True)
    for number in BLOCKS:
        lock = stack.enter_context((folder / str(number)).open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        prefix = f"127.{number}.0."
        if all(is_free(f"{prefix}{node}", port) for node in (1, 2, 3) for port in ports):
            return prefix
    raise Broken(f"no free block of loopback addresses among {BLOCKS}")


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
