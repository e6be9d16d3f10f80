"""Starting servers and ending them: by readiness line and by process id, never by name or by a fixed sleep."""

import os
import re
import signal
import subprocess
import threading
from pathlib import Path


class Broken(Exception):
    """A target or a tool did not do what it must, with what it said."""


class Server:
    """A process in a session of its own whose output goes to a log, and which is ready once a line says so."""

    def __init__(self, command: list[str], log: Path, ready: str, environment: dict | None = None, folder: Path | None = None):
        self.command = command
        self.log = log
        self._ready = re.compile(ready)
        self._is_ready = threading.Event()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            cwd=folder,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        with self.log.open("w") as log:
            for line in self._process.stdout:
                log.write(line)
                log.flush()
                if self._ready.search(line):
                    self._is_ready.set()
        self._is_ready.set()  # The end of the output wakes the waiter as well, who then finds the process gone.

    def wait_ready(self, seconds: float) -> None:
        in_time = self._is_ready.wait(seconds)
        if not in_time or not self._ready.search(self.log.read_text(errors="replace")):
            self.stop()
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
            raise Broken(f"{' '.join(self.command[:3])}… was not ready within {seconds} s; its log ends:\n{tail}")

    def stop(self, seconds: float = 10.0) -> None:
        """Asks the process to end, and makes it end when it does not."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)


def run(command: list[str], seconds: float, environment: dict | None = None, folder: Path | None = None) -> str:
    """Runs a command to its end and returns its stdout; a failure carries everything that it said."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, **(environment or {})},
            cwd=folder,
        )
    except subprocess.TimeoutExpired as error:
        raise Broken(f"{' '.join(command[:4])}… took more than {seconds} s") from error
    except OSError as error:
        raise Broken(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise Broken(f"{' '.join(command[:6])} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
