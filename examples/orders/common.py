"""What every service of the orders application shares: logging, settings, an HTTP server and an HTTP client.

Kafka is in `streams.py` and Redis in `shards.py`, so that a service loads only what it needs.
"""

import http.client
import http.server
import json
import os
import queue
import random
import re
import signal
import sys
import threading
import time
import urllib.parse

# A request occupies a thread. The stacks are kept small and the number of threads is limited, so that a burst
# is answered with 503 instead of growing the process.
threading.stack_size(256 * 1024)
REQUESTS_MAX = 1000
BODY_BYTES_MAX = 64 * 1024

SERVICE = os.path.splitext(os.path.basename(sys.argv[0]))[0]
POD = os.environ.get("POD_NAME") or os.environ.get("HOSTNAME", "")

_log_lock = threading.Lock()


def log(event, **fields):
    """Write one event as one line of JSON on standard output."""
    now = time.time()
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".%03dZ" % (now % 1 * 1000),
        "service": SERVICE,
        "pod": POD,
        "event": event,
        **fields,
    }
    text = json.dumps(line, separators=(",", ":"), default=str) + "\n"
    with _log_lock:
        sys.stdout.write(text)
        sys.stdout.flush()


def setting(name, default):
    """A setting from the environment, of the default's type."""
    value = os.environ.get(name)
    return default if value is None or value == "" else type(default)(value)


def stop_on_signals():
    """An event that is set on SIGTERM (the pod is being deleted) and SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def backoff(attempt, first=0.05, longest=2.0):
    """Seconds to wait before attempt n+1: doubling, with jitter so that many clients do not return in step."""
    return min(longest, first * 2 ** min(attempt, 16)) * random.uniform(0.5, 1.0)


# ----------------------------------------------------------------------------------------------- orders


class Invalid(ValueError):
    """The order cannot be accepted as it is. The message is meant for the customer."""


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def validate(document):
    """The order as it is published, or `Invalid`. The same document always gives the same order."""
    if not isinstance(document, dict):
        raise Invalid("an order is a JSON object")
    order = {"id": _name(document, "id"), "customer": _name(document, "customer")}
    items = document.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= 50:
        raise Invalid("items: a list of 1 to 50 items is needed")
    order["items"] = [_item(item, position) for position, item in enumerate(items)]
    total = sum(item["quantity"] * item["price_cents"] for item in order["items"])
    if document.get("total_cents", total) != total:
        raise Invalid("total_cents: the items cost %d" % total)
    order["total_cents"] = total
    return order


def _name(document, field):
    value = document.get(field)
    if not isinstance(value, str) or not _ID.match(value):
        raise Invalid(field + ": 1 to 64 letters, digits, '-', '_' or '.' are needed")
    return value


def _item(item, position):
    where = "items[%d]" % position
    if not isinstance(item, dict):
        raise Invalid(where + ": an object is needed")
    try:
        sku = _name(item, "sku")
    except Invalid as error:
        raise Invalid(where + "." + str(error)) from None
    return {
        "sku": sku,
        "quantity": _whole(item, "quantity", 1, 1000, where),
        "price_cents": _whole(item, "price_cents", 0, 10_000_000, where),
    }


def _whole(item, field, least, most, where):
    value = item.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Invalid("%s.%s: a whole number from %d to %d is needed" % (where, field, least, most))
    return value


# ------------------------------------------------------------------------------------------ HTTP server


def serve(routes, port=None, ready=lambda: True):
    """Serve HTTP/1.1 in the background and return the server.

    `routes` maps (method, first part of the path) to `handler(path, query, body) -> (status, document)`.
    `/healthz` (alive) and `/readyz` (can do its work) are there always.
    """
    routes = {
        ("GET", "healthz"): lambda *_: (200, {"status": "alive"}),
        ("GET", "readyz"): lambda *_: (200, {"status": "ready"}) if ready() else (503, {"error": "not ready"}),
        **routes,
    }
    server = _Server(("0.0.0.0", port or setting("PORT", 8080)), _Handler)
    server.routes = routes
    threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
    return server


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, *arguments):
        self.slots = threading.BoundedSemaphore(REQUESTS_MAX)
        super().__init__(*arguments)

    def server_bind(self):
        # The base class looks its own name up in the DNS, which nobody needs and which can take seconds.
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.socket.getsockname()[:2]

    def handle_error(self, request, client_address):
        log("connection_failed", client=client_address[0], error=str(sys.exc_info()[1]))


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 75  # an idle connection is closed after this many seconds
    wbufsize = -1  # status, headers and body leave in one packet

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        path = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        query = dict(urllib.parse.parse_qsl(url.query))
        body = self.body()
        if body is None:
            return
        handler = self.server.routes.get((self.command, path[0]))
        if handler is None:
            self.respond(404, {"error": "no such path"})
        elif not self.server.slots.acquire(blocking=False):
            self.respond(503, {"error": "too many requests at once"})
        else:
            try:
                status, document = handler(path, query, body)
            except Exception as error:  # a bug in a handler is one failed request, not a dead service
                log("request_failed", path=self.path, error=repr(error))
                status, document = 500, {"error": "internal error"}
            finally:
                self.server.slots.release()
            self.respond(status, document)

    def body(self):
        length = self.headers.get("Content-Length") or "0"
        if self.headers.get("Transfer-Encoding") or not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self.respond(413, {"error": "a body of at most %d bytes with a Content-Length is needed" % BODY_BYTES_MAX})
            return None
        return self.rfile.read(int(length))

    def respond(self, status, document):
        body = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass  # services log what happened to an order, not every request


# ------------------------------------------------------------------------------------------ HTTP client


class Unreachable(Exception):
    """No answer within the deadline. Whether the request was carried out is unknown."""


class Upstream:
    """A client of another service: pooled connections, timeouts, and retries of requests that may be repeated."""

    def __init__(self, address, connect_seconds=1.0, attempt_seconds=9.0):
        host, _, port = address.partition(":")
        self.host, self.port = host, int(port or 80)
        self.connect_seconds, self.attempt_seconds = connect_seconds, attempt_seconds
        self.idle = queue.LifoQueue(maxsize=64)

    def request(self, method, path, body=None, within=10.0):
        """(status, body) of the first answer that is not 502, 503 or 504; the last such answer at the deadline.

        Every request of this application may be repeated: reads by nature, orders because they carry their id.
        """
        deadline = time.monotonic() + within
        attempt, answer, error = 0, None, None
        while True:
            left = deadline - time.monotonic()
            if answer is not None and left < self.attempt_seconds:
                return answer  # too late for another whole attempt, and a cut one would only break a connection
            if left > 0.05:
                try:
                    answer = self._once(method, path, body, left)
                    if answer[0] not in (502, 503, 504):
                        return answer
                except TimeoutError as failure:
                    # Silence may be this connection's alone. Making many new ones at once would not help a slow upstream.
                    error = failure
                except (OSError, http.client.HTTPException) as failure:
                    error = failure
                    self._forget_idle()
            pause = backoff(attempt)
            if time.monotonic() + pause >= deadline:
                if answer is None:
                    raise Unreachable("%s:%d did not answer: %r" % (self.host, self.port, error))
                return answer
            time.sleep(pause)
            attempt += 1

    def _once(self, method, path, body, left):
        connection = self._connection(left)
        try:
            connection.sock.settimeout(min(self.attempt_seconds, left))
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer = response.status, response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            try:
                self.idle.put_nowait(connection)
            except queue.Full:
                connection.close()
        return answer

    def _forget_idle(self):
        # What broke one connection has probably broken the others to the same place.
        while True:
            try:
                self.idle.get_nowait().close()
            except queue.Empty:
                return

    def _connection(self, left):
        try:
            return self.idle.get_nowait()
        except queue.Empty:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=min(self.connect_seconds, left))
            connection.connect()
            return connection
