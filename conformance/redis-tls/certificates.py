"""Who is let in: certificates of this authority, of another, and none, with each value of `tls-auth-clients`."""

import os
import socket
import ssl
import subprocess

import redis

from harness.check import check, end, equal, raises

SCRATCH = os.environ["SCRATCH"]
CA, CERTIFICATE, KEY = (os.environ[f"REDIS_TLS_{what}_FILE"] for what in ("CA", "CERT", "KEY"))
HOST, PORT = os.environ["REDIS_TLS_NODES"].split(",")[0].rsplit(":", 1)
PLAIN_PORT = int(os.environ["REDIS_NODES"].split(",")[0].rsplit(":", 1)[1])
OTHER, OTHER_KEY = f"{SCRATCH}/other.pem", f"{SCRATCH}/other-key.pem"
make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", OTHER_KEY, "-out", OTHER]
subprocess.run(make, check=True, capture_output=True)
admin = redis.Redis(HOST, PLAIN_PORT, decode_responses=True)


def ping(ca=CA, certificate=None, key=None, **more):
    """What a client of these files gets: one attempt, so that an error is the server's."""
    once = {"retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0), "socket_timeout": 10}
    client = redis.Redis(HOST, int(PORT), ssl=True, ssl_ca_certs=ca, ssl_certfile=certificate, ssl_keyfile=key, **once, **more)
    try:
        return client.ping()
    finally:
        client.close()


def refused(text: str, **files) -> None:
    raises(redis.ConnectionError, text, ping, **files)


@check("yes: a certificate of the cluster's authority")
def _():
    equal(admin.config_get("tls-auth-clients"), {"tls-auth-clients": "yes"})
    equal(ping(certificate=CERTIFICATE, key=KEY), True)


@check("yes: no certificate")
def _():
    refused("")


@check("yes: a certificate of another authority")
def _():
    refused("", certificate=OTHER, key=OTHER_KEY)


@check("a client that trusts another authority")
def _():
    refused("certificate verify failed", ca=OTHER, certificate=CERTIFICATE, key=KEY)


@check("optional: no certificate, a good one, a bad one")
def _():
    admin.config_set("tls-auth-clients", "optional")
    equal((ping(), ping(certificate=CERTIFICATE, key=KEY)), (True, True))
    refused("", certificate=OTHER, key=OTHER_KEY)


@check("no: nobody is asked")
def _():
    admin.config_set("tls-auth-clients", "no")
    equal((ping(), ping(certificate=OTHER, key=OTHER_KEY)), (True, True))


@check("versions 1.2 and 1.3, and only what tls-protocols says")
def _():
    def version(wanted) -> str | None:
        context = ssl.create_default_context(cafile=CA)
        context.minimum_version = context.maximum_version = wanted
        with socket.create_connection((HOST, int(PORT)), 10) as plain, context.wrap_socket(plain, server_hostname=HOST) as secured:
            return secured.version()

    tls12, tls13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    equal((version(tls12), version(tls13)), ("TLSv1.2", "TLSv1.3"))
    admin.config_set("tls-protocols", "TLSv1.3")
    raises(ssl.SSLError, "", version, tls12)
    equal(version(tls13), "TLSv1.3")
    admin.config_set("tls-protocols", "")
    equal(version(tls12), "TLSv1.2")


@check("tls-ciphersuites chooses among those of TLS 1.3")
def _():
    def cipher() -> str:
        context = ssl.create_default_context(cafile=CA)
        with socket.create_connection((HOST, int(PORT)), 10) as plain, context.wrap_socket(plain, server_hostname=HOST) as secured:
            return secured.cipher()[0]

    for name in ("TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"):
        admin.config_set("tls-ciphersuites", name)
        equal(cipher(), name)
    admin.config_set("tls-ciphersuites", "")


@check("plain bytes on a port for TLS end the connection, and nobody else notices")
def _():
    with socket.create_connection((HOST, int(PORT)), 10) as plain:
        plain.sendall(b"PING\r\nPING\r\n")
        seen = b""
        try:
            while more := plain.recv(100):
                seen += more
        except ConnectionError:
            pass
        assert b"PONG" not in seen, seen
    equal(ping(), True)


@check("TLS on a plain port fails, and nobody else notices")
def _():
    context = ssl.create_default_context(cafile=CA)

    def greet() -> None:
        with socket.create_connection((HOST, PLAIN_PORT), 10) as plain:
            plain.settimeout(3)
            context.wrap_socket(plain, server_hostname=HOST)

    raises(OSError, "", greet)
    equal(admin.ping(), True)


@check("a port for TLS is not another's name: maxclients counts both")
def _():
    most = admin.config_get("maxclients")["maxclients"]
    try:
        admin.config_set("maxclients", admin.info("clients")["connected_clients"])
        raises((redis.ConnectionError, OSError), "", ping)
    finally:
        admin.config_set("maxclients", most)
    equal(ping(), True)


admin.config_set("tls-auth-clients", "yes")
end()
