"""One connection to a broker of Kafka, with kafka-python's message definitions and nothing of its client.

A request goes out in the version that the caller names, also where a client would never send it.
"""

import os
import socket
import struct

from kafka.protocol import admin, consumer, metadata, producer

MODULES = (metadata, admin, consumer, producer)
CLOSED = "the connection was closed"


def kind(name: str):
    """The class of a message, such as `MetadataRequest`."""
    for module in MODULES:
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(name)


def built(shape, version: int, fields: dict):
    """A message, or a part of one, from plain data."""
    values = {}
    for name, value in fields.items():
        field = shape.fields[name]
        if isinstance(value, dict):
            value = built(field.data_class, version, value)
        elif field.is_struct_array() and value is not None:
            value = [built(field.data_class, version, entry) for entry in value]
        values[name] = value
    return shape(version=version, **values)


class Broker:
    """A connection to node 1, 2 or 3. It is opened anew after the broker closed it.

    `user` is a name and a password for PLAIN; then the connection goes to the listener SASL_PLAINTEXT.
    """

    def __init__(self, node: int, user: tuple[str, str] | None = None, client_id: str = "dual"):
        listener = "KAFKA_BOOTSTRAP_SERVERS_SASL_PLAINTEXT" if user else "KAFKA_BOOTSTRAP_SERVERS"
        self.address = os.environ[listener].split(",")[node - 1]
        self.node = node
        self.client_id = client_id
        self._user = user
        self._socket: socket.socket | None = None
        self._correlation = 0

    def ask(self, api: str, version: int, **fields):
        """Sends a request and returns the decoded answer, `CLOSED`, or None where no answer is due."""
        request = built(kind(f"{api}Request"), version, fields)
        self._correlation += 1
        request.with_header(correlation_id=self._correlation, client_id=self.client_id)
        payload = bytes(request.encode(header=True))
        if not request.expect_response():
            self._send(payload)
            return None
        answer = self.exchange(payload)
        if answer is CLOSED:
            return CLOSED
        response = kind(f"{api}Response")
        if api == "ApiVersions" and answer[4:6] == b"\x00\x23":
            version = 0  # The answer to a version that is not known comes in the oldest form.
        return response.decode(answer, version=version, header=True)

    def exchange(self, payload: bytes):
        """Sends a frame with this payload, and returns the payload of the answer."""
        try:
            self._send(payload)
            (size,) = struct.unpack(">i", self._read(4))
            return self._read(size)
        except (ConnectionError, EOFError):
            self._close()
            return CLOSED
        except TimeoutError:
            self._close()
            raise

    def _send(self, payload: bytes) -> None:
        if self._socket is None:
            host, port = self.address.rsplit(":", 1)
            self._socket = socket.create_connection((host, int(port)), 15)
            if self._user:
                self._log_in(*self._user)
        self._socket.sendall(struct.pack(">i", len(payload)) + payload)

    def _close(self) -> None:
        self._socket.close()
        self._socket = None

    def _log_in(self, name: str, password: str) -> None:
        assert self.exchange(b"\x00\x11\x00\x01\0\0\0\0\xff\xff\x00\x05PLAIN")[4:6] == b"\0\0"
        token = f"\0{name}\0{password}".encode()
        answer = self.exchange(b"\x00\x24\x00\x01\0\0\0\0\xff\xff" + struct.pack(">i", len(token)) + token)
        assert answer is not CLOSED and answer[4:6] == b"\0\0", answer

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._socket.recv(count - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)
