"""HTTP and JSON that no client would send to a Kubernetes API. Refusals are Status objects, as the API server words them."""

import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
import time

from attack import close, connect, drip, herd, raise_descriptor_limit, send_all_or_reset, unharmed, until_closed
from harness.check import check, end, equal, report

if "KUBECONFIG" not in os.environ:
    report("Kubernetes: hostile requests", skip="there is no Kubernetes API here")
    sys.exit(0)

raise_descriptor_limit()


def client() -> tuple[tuple[str, int], ssl.SSLContext, str]:
    """The address of the API and the credentials in the kubeconfig: a certificate, or a token."""
    command = ["kubectl", "config", "view", "--raw", "--minify", "--flatten", "-o", "json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
    host, port = cluster["server"].removeprefix("https://").rsplit(":", 1)
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    token = user.get("token", "")
    if "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as file:
            file.write(base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
            file.flush()
            context.load_cert_chain(file.name)
    return (host, int(port)), context, f"Authorization: Bearer {token}\r\n" if token else ""


ADDRESS, CONTEXT, AUTHORIZATION = client()
POST = "/api/v1/namespaces/default/configmaps"


def secure():
    return CONTEXT.wrap_socket(connect(ADDRESS), server_hostname=ADDRESS[0])


def request(method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
    length = "" if "Content-Length" in headers or "Transfer-Encoding" in headers or not body else f"Content-Length: {len(body)}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: {ADDRESS[0]}\r\n{AUTHORIZATION}Content-Type: application/json\r\n{length}{headers}\r\n"
    return head.encode() + body


def answer(connection) -> tuple[int, dict]:
    """The status code and the body, for answers with a length."""
    file = connection.makefile("rb")
    status = int(file.readline().split()[1])
    length = 0
    while (line := file.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    body = file.read(length)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, {}


def neighbour():
    connection = secure()

    def ask() -> None:
        connection.sendall(request("GET", "/version"))
        status, told = answer(connection)
        equal((status, "gitVersion" in told), (200, True))

    return ask


def unharmed_api(**options):
    return unharmed(neighbour(), memory_of=ADDRESS, **options)


def refused(name: str, sent: bytes, status: int, reason: str) -> None:
    @check(f"Kubernetes: {name} is answered with {status}")
    def _():
        with unharmed_api(growth_mib_max=64):
            connection = secure()
            send_all_or_reset(connection, sent)
            seen, told = answer(connection)
            equal((seen, told.get("reason", reason), told.get("kind", "Status")), (status, reason, "Status"))


DEEP = 1_000_000
METADATA = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hostile"},"data":'
refused("a claim of 2 GiB", request("POST", POST, "Content-Length: 2147483648\r\n") + b"{", 413, "RequestEntityTooLarge")
refused("a body of 4 MiB", request("POST", POST, body=METADATA + b'{"k":"' + b"x" * (4 << 20) + b'"}}'), 413, "RequestEntityTooLarge")
refused("a million arrays in each other", request("POST", POST, body=METADATA + b"[" * DEEP + b"]" * DEEP + b"}"), 400, "BadRequest")
refused("a million objects in each other, cut short", request("POST", POST, body=b'{"a":' * 500_000), 400, "BadRequest")
refused("a body that is no JSON", request("POST", POST, body=b"\x00\xff\xfe{{{"), 400, "BadRequest")
refused("an object without a name", request("POST", POST, body=b"{}"), 422, "Invalid")
refused("a negative limit", request("GET", f"{POST}?limit=-1"), 400, "BadRequest")
refused("an impossible resource version", request("GET", f"{POST}?watch=1&resourceVersion=x"), 422, "Invalid")
refused("an unknown path", request("GET", "/" + "a/" * 2000), 404, "NotFound")


@check("Kubernetes: headers without an end are refused")
def _():
    with unharmed_api(growth_mib_max=64):
        connection = secure()
        try:
            connection.sendall(request("GET", "/version")[:-2])
            for _ in range(2_000):
                connection.sendall(b"X-Header: " + b"x" * 1000 + b"\r\n")
            said = until_closed(connection)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            said = b""
        assert not said.startswith(b"HTTP/1.1 200"), f"the server took 2 MB of headers: {said[:60]!r}"


@check("Kubernetes: a client that sends a byte at a time is served")
def _():
    with unharmed_api():
        connection = secure()
        drip(connection, request("GET", "/version"), 0.01)
        equal(answer(connection)[0], 200)


@check("Kubernetes: plain HTTP on the TLS port is refused")
def _():
    with unharmed_api():
        connection = connect(ADDRESS)
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        said = until_closed(connection)
        assert b"200" not in said[:20], f"the server answered {said[:60]!r}"


@check("Kubernetes: 5,000 connections that never begin TLS, and the others unharmed")
def _():
    with unharmed_api() as other:
        idle = herd(ADDRESS, 5_000)
        before = other.calls
        time.sleep(1)
        assert other.calls - before > 10, f"another client made only {other.calls - before} calls in a second"
        close(idle)


@check("Kubernetes: 500 watches that nobody reads, and the others unharmed")
def _():
    with unharmed_api(growth_mib_max=256):
        watchers = [secure() for _ in range(500)]
        for connection in watchers:
            connection.sendall(request("GET", f"{POST}?watch=1"))
        writer = secure()
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"hostile-"},"data":{"k":"' + b"x" * 10_000 + b'"}}'
        made = []
        for _ in range(50):
            writer.sendall(request("POST", POST, body=body))
            status, told = answer(writer)
            equal(status, 201)
            made.append(told["metadata"]["name"])
        for name in made:
            writer.sendall(request("DELETE", f"{POST}/{name}"))
            equal(answer(writer)[0], 200)
        close(watchers)


end()
