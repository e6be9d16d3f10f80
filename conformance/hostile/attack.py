"""What all attacks share: raw sockets, a neighbour who must not notice, and the memory of the server under attack."""

import os
import resource
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from pathlib import Path

PATIENCE_S = 20.0
# A neighbour may wait this long for an answer while the server is under attack: the machine may be busy with other tests.
NEIGHBOUR_PATIENCE_S = 3.0


def raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE_S)


def until_closed(connection: socket.socket, bytes_max: int = 1 << 20) -> bytes:
    """All that the server says before it closes the connection, in whatever way. A server that does not close it times out."""
    said = b""
    while len(said) < bytes_max:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        if not part:
            break
        said += part
    return said


def send_meanwhile(connection: socket.socket, data: bytes) -> threading.Thread:
    """Sends while the caller reads."""
    thread = threading.Thread(target=send_all_or_reset, args=(connection, data), daemon=True)
    thread.start()
    return thread


def is_open(connection: socket.socket, seconds: float = 0.2) -> bool:
    """The server neither answers nor closes within a moment: it waits for the rest."""
    connection.settimeout(seconds)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(PATIENCE_S)


def send_meanwhile(connection: socket.socket, data: bytes) -> threading.Thread:
    """Sends while the caller reads."""
    thread = threading.Thread(target=send_all_or_reset, args=(connection, data), daemon=True)
    thread.start()
    return thread


def is_open(connection: socket.socket, seconds: float = 0.2) -> bool:
    """The server neither answers nor closes within a moment: it waits for the rest."""
    connection.settimeout(seconds)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(PATIENCE_S)


def send_all_or_reset(connection: socket.socket, data: bytes) -> None:
    """Sends as much as the server takes: it may close the connection in the middle, which is an answer."""
    try:
        connection.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        pass


@contextmanager
def unharmed(ask, memory_of: tuple[str, int] | None = None, growth_mib_max: int = 128):
    """While the block runs, another client calls `ask` again and again; none of its calls may fail or take long.

    With `memory_of`, the process that listens there may not grow by more than `growth_mib_max` meanwhile.
    """
    pid = listener(memory_of) if memory_of else None
    before = resident_mib(pid)
    neighbour = Neighbour(ask)
    neighbour.start()
    try:
        yield neighbour
        growth = resident_mib(pid) - before
    finally:
        neighbour.stop()
    if neighbour.trouble:
        raise AssertionError(f"another client met {neighbour.trouble!r}")
    if neighbour.longest_s > NEIGHBOUR_PATIENCE_S:
        raise AssertionError(f"another client waited {neighbour.longest_s:.1f} s")
    if neighbour.is_alive():
        raise AssertionError("another client still waits for an answer")
    if growth > growth_mib_max:
        raise AssertionError(f"the server grew by {growth} MiB")


class Neighbour(threading.Thread):
    def __init__(self, ask):
        super().__init__(daemon=True)
        self._ask = ask
        self._is_over = threading.Event()
        self.calls = 0
        self.longest_s = 0.0
        self.trouble: Exception | None = None

    def run(self) -> None:
        # The last call is made after the attack: what harms may show only then.
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(0.01)
            began = time.monotonic()
            try:
                self._ask()
            except Exception as error:  # Whatever it is, it is harm.
                self.trouble = error
                return
            self.calls += 1
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def stop(self) -> None:
        self._is_over.set()
        self.join(PATIENCE_S)


def listener(address: tuple[str, int]) -> int | None:
    """The process that listens at an address, from /proc; None if it is not ours to see."""
    host, port = address
    wanted = "".join(f"{int(part):02X}" for part in reversed(host.split("."))) + f":{port:04X}"
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted and fields[3] == "0A":
            inodes.add(f"socket:[{fields[9]}]")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) in inodes for descriptor in (folder / "fd").iterdir()):
                return int(folder.name)
        except OSError:
            continue
    return None


def resident_mib(pid: int | None) -> int:
    if pid is None:
        return 0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError as error:
        raise AssertionError("the server is gone") from error
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def drip(connection: socket.socket, data: bytes, pause_s: float) -> None:
    """Sends byte by byte, as a client on a very bad line would."""
    for byte in data:
        connection.sendall(bytes([byte]))
        time.sleep(pause_s)


def herd(address: tuple[str, int], count: int) -> list[socket.socket]:
    """So many connections that say nothing."""
    connections = []
    try:
        for _ in range(count):
            connections.append(connect(address))
    except OSError:
        close(connections)
        raise
    return connections


def close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()
