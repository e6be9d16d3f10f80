"""Faults act on encrypted connections as on plain ones. Only against Atoll: the same is done to real servers by other means."""

import os

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from harness.check import TARGET, Skip, check, end, equal, eventually
from harness.stack import atoll, heal

SECURE = {
    "ssl": True,
    "ssl_ca_certs": os.environ["REDIS_TLS_CA_FILE"],
    "ssl_certfile": os.environ["REDIS_TLS_CERT_FILE"],
    "ssl_keyfile": os.environ["REDIS_TLS_KEY_FILE"],
}
HOST, PORT = os.environ["REDIS_TLS_NODES"].split(",")[0].rsplit(":", 1)


def client(seconds: float = 2.0) -> redis.Redis:
    if TARGET != "atoll":
        raise Skip("there is nobody who breaks it")
    once = {"retry": Retry(NoBackoff(), 0), "socket_timeout": seconds, "socket_connect_timeout": seconds}
    made = redis.Redis(HOST, int(PORT), single_connection_client=True, **SECURE, **once)
    made.ping()
    return made


def answer(held: redis.Redis) -> str:
    try:
        return str(held.ping())
    except redis.exceptions.TimeoutError:
        return "silence"
    except redis.exceptions.ConnectionError as error:
        return "refused" if "refused" in str(error) else "closed"


@check("a paused node is silent, and answers what it was asked when it goes on")
def _():
    held = client()
    held.connection.send_command("PING")
    equal(held.connection.read_response(), b"PONG")
    atoll("node", "pause", "1")
    held.connection.send_command("PING")
    try:
        held.connection.read_response(timeout=1, disconnect_on_error=False)
    except redis.exceptions.TimeoutError:
        pass
    else:
        raise AssertionError("it answered")
    atoll("node", "resume", "1")
    equal(held.connection.read_response(timeout=20), b"PONG")


@check("clients that are cut off hear nothing, on old connections and on new ones")
def _():
    held = client(1.0)
    atoll("link", "cut", "client", "1")
    equal(answer(held), "silence")
    equal(answer(redis.Redis(HOST, int(PORT), socket_timeout=1, retry=Retry(NoBackoff(), 0), **SECURE)), "silence")
    heal()
    equal(answer(client()), "True")


@check("a killed node ends its connections and refuses new ones")
def _():
    held = client()
    atoll("node", "kill", "1")
    equal(answer(held), "closed")
    equal(answer(held), "refused")
    atoll("node", "start", "1")
    eventually(lambda: answer(held) == "True")


end()
