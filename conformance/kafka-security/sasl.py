"""Authentications: by librdkafka, by kafka-python, and byte by byte over a socket, where clients hide what they are told."""

import os
import socket
import struct
import time
import uuid

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka import KafkaAdminClient
from refused import refusal

from harness.check import check, end, equal, eventually

PLAIN = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
SASL = os.environ["KAFKA_BOOTSTRAP_SERVERS_SASL_PLAINTEXT"]
RUN = uuid.uuid4().hex[:8]
# A listener of its own is not among its clients' concerns: whoever asks over it is told of it alone.
admin = AdminClient({"bootstrap.servers": PLAIN})


def login(mechanism: str, user: str, password: str, **more) -> dict:
    return {
        "bootstrap.servers": SASL,
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.username": user,
        "sasl.password": password,
        **more,
    }


@check("librdkafka: PLAIN")
def _():
    brokers = AdminClient(login("PLAIN", "admin", "admin-secret")).list_topics(timeout=20).brokers.values()
    equal(sorted(f"{broker.host}:{broker.port}" for broker in brokers), sorted(SASL.split(",")))


@check("librdkafka: PLAIN with a wrong password")
def _():
    seen = refusal(login("PLAIN", "admin", "wrong"))
    assert "Authentication failed: Invalid username or password" in seen, seen


@check("kafka-python: PLAIN")
def _():
    client = KafkaAdminClient(
        bootstrap_servers=SASL.split(","),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_plain_username="admin",
        sasl_plain_password="admin-secret",
    )
    equal(len(client.describe_cluster()["brokers"]), 3)


MECHANISMS = {"SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256, "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512}
for mechanism, number in MECHANISMS.items():
    user, simple = f"user,{mechanism}={RUN}", f"user-{mechanism}-{RUN}"

    @check(f"librdkafka: {mechanism}")
    def _():
        credential = UserScramCredentialUpsertion(user, ScramCredentialInfo(number, 8192), b"wonder")
        admin.alter_user_scram_credentials([credential])[user].result(20)
        eventually(lambda: AdminClient(login(mechanism, user, "wonder")).list_topics(timeout=10).brokers)

    @check(f"librdkafka: {mechanism} with a wrong password")
    def _():
        seen = refusal(login(mechanism, user, "other"))
        reason = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism}"
        assert reason in seen, seen

    # kafka-python does not escape commas and equals signs in names.
    @check(f"kafka-python: {mechanism}")
    def _():
        credential = UserScramCredentialUpsertion(simple, ScramCredentialInfo(number, 4096), b"wonder")
        admin.alter_user_scram_credentials([credential])[simple].result(20)
        eventually(lambda: AdminClient(login(mechanism, simple, "wonder")).list_topics(timeout=10).brokers)
        client = KafkaAdminClient(
            bootstrap_servers=SASL.split(","),
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism=mechanism,
            sasl_plain_username=simple,
            sasl_plain_password="wonder",
        )
        equal(len(client.describe_cluster()["brokers"]), 3)

    @check(f"librdkafka: a credential for {mechanism} is described and taken away")
    def _():
        found = admin.describe_user_scram_credentials([user])[user].result(20)
        equal([(info.mechanism, info.iterations) for info in found.scram_credential_infos], [(number, 8192)])
        admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, number)])[user].result(20)

        def gone() -> bool:
            try:
                admin.describe_user_scram_credentials([user])[user].result(20)
            except KafkaException as error:
                equal(error.args[0].name(), "RESOURCE_NOT_FOUND")
                return True
            return False

        eventually(gone)


@check("librdkafka: too few iterations")
def _():
    credential = UserScramCredentialUpsertion("x", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4095), b"wonder")
    try:
        admin.alter_user_scram_credentials([credential])["x"].result(20)
    except KafkaException as error:
        equal((error.args[0].name(), error.args[0].str()), ("UNACCEPTABLE_CREDENTIAL", "Too few iterations"))
    else:
        raise AssertionError("it was taken")


@check("librdkafka authenticates anew before the session ends")
def _():
    topic = f"reauthenticated-{RUN}"
    trouble = []
    producer = Producer(login("PLAIN", "admin", "admin-secret", error_cb=lambda error: trouble.append(str(error))))
    delivered = []
    for number in range(10):
        producer.produce(topic, str(number), on_delivery=lambda error, _: delivered.append(error))
        producer.flush(20)
        time.sleep(0.5)
    equal(delivered, [None] * 10)
    equal(trouble, [])


# Byte by byte.


class Wire:
    def __init__(self):
        host, port = SASL.split(",")[0].rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), 10)
        self.socket.settimeout(10)

    def send(self, body: bytes) -> bytes | None:
        """The answer to a frame, or None where the connection ends instead."""
        self.socket.sendall(struct.pack(">i", len(body)) + body)
        try:
            size = self.exactly(4)
            return size and self.exactly(struct.unpack(">i", size)[0])
        except ConnectionError:
            return None

    def exactly(self, count: int) -> bytes | None:
        read = b""
        while len(read) < count:
            more = self.socket.recv(count - len(read))
            if not more:
                return None
            read += more
        return read

    def handshake(self, version: int, mechanism: bytes) -> tuple[int, list[str]] | None:
        answer = self.send(header(17, version) + text(mechanism))
        if answer is None:
            return None
        error, count = struct.unpack(">hi", answer[4:10])
        names, at = [], 10
        for _ in range(count):
            (size,) = struct.unpack(">h", answer[at : at + 2])
            names.append(answer[at + 2 : at + 2 + size].decode())
            at += 2 + size
        return error, names

    def token(self, token: bytes) -> tuple[int, str, int] | None:
        """Error code, message and lifetime."""
        answer = self.send(header(36, 1) + struct.pack(">i", len(token)) + token)
        if answer is None:
            return None
        error, size = struct.unpack(">hh", answer[4:8])
        message = answer[8 : 8 + max(size, 0)].decode()
        rest = answer[8 + max(size, 0) :]
        (size,) = struct.unpack(">i", rest[:4])
        return error, message, struct.unpack(">q", rest[4 + size : 12 + size])[0]


def header(api: int, version: int) -> bytes:
    return struct.pack(">hhi", api, version, 7) + text(b"wire")


def text(value: bytes) -> bytes:
    return struct.pack(">h", len(value)) + value


METADATA = header(3, 1) + struct.pack(">i", 0)
OFFERED = ["SCRAM-SHA-256", "PLAIN", "SCRAM-SHA-512"]
ALLOWED = b"\0admin\0admin-secret"


@check("bytes: a handshake names what is offered")
def _():
    error, names = Wire().handshake(1, b"PLAIN")
    equal((error, sorted(names)), (0, sorted(OFFERED)))


@check("bytes: a mechanism that is not offered is answered, late, and ends the connection")
def _():
    wire, began = Wire(), time.monotonic()
    error, names = wire.handshake(1, b"GSSAPI")
    equal((error, sorted(names)), (33, sorted(OFFERED)))
    assert time.monotonic() - began >= 0.09
    equal(wire.send(METADATA), None)


@check("bytes: a request before the authentication ends the connection")
def _():
    equal(Wire().send(METADATA), None)


@check("bytes: a token before the handshake ends the connection")
def _():
    equal(Wire().token(ALLOWED), None)


@check("bytes: versions can be asked for once before the handshake")
def _():
    wire = Wire()
    assert wire.send(header(18, 0))
    equal(wire.send(header(18, 0)), None)


@check("bytes: the session's lifetime is told, and requests are served")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    equal(wire.token(ALLOWED), (0, "", 3000))
    assert wire.send(METADATA)


@check("bytes: bare tokens after a handshake of version 0")
def _():
    wire = Wire()
    equal(wire.handshake(0, b"PLAIN")[0], 0)
    equal(wire.send(ALLOWED), b"")
    assert wire.send(METADATA)


@check("bytes: another authorization id is refused")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    reason = "Authentication failed: Client requested an authorization id that is different from username"
    equal(wire.token(b"eve" + ALLOWED), (58, reason, 0))


@check("bytes: what is no token of PLAIN is refused with the reason")
def _():
    def refused(token: bytes) -> str:
        wire = Wire()
        wire.handshake(1, b"PLAIN")
        error, reason, _ = wire.token(token)
        equal(error, 58)
        return reason

    for count, token in ((1, b""), (1, b"admin"), (2, b"\0admin"), (4, b"\0admin\0admin-secret\0"), (4, b"\0a\0b\0c\0d\0e")):
        equal(refused(token), f"Invalid SASL/PLAIN response: expected 3 tokens, got {count}")
    equal(refused(b"\0\0secret"), "Authentication failed: username not specified")
    equal(refused(b"\0admin\0"), "Authentication failed: password not specified")
    equal(refused(b"\0\xff\0x"), "Authentication failed: Invalid username or password")


@check("bytes: what is no token of SCRAM is refused without details")
def _():
    for mechanism in (b"SCRAM-SHA-256", b"SCRAM-SHA-512"):
        for token in (b"", b"n,,n=admin", b"n,,n=nobody,r=abc", b"y,,n=admin,r=abc", b"\xff"):
            wire = Wire()
            wire.handshake(1, mechanism)
            reason = f"Authentication failed during authentication due to invalid credentials with SASL mechanism {mechanism.decode()}"
            equal(wire.token(token), (58, reason, 0))


@check("bytes: a session that was not renewed ends with the next request")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    wire.token(ALLOWED)
    time.sleep(3.5)
    equal(wire.send(METADATA), None)


@check("bytes: a session is renewed by the same user alone")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    wire.token(ALLOWED)
    time.sleep(1.2)
    equal(wire.handshake(1, b"PLAIN")[0], 0)
    reason = "Cannot change principals during re-authentication from User.admin: User.alice"
    equal(wire.token(b"\0alice\0alice-secret"), (58, reason, 0))


@check("bytes: authenticating twice within a second is refused")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    wire.token(ALLOWED)
    wire.handshake(1, b"PLAIN")
    wire.token(ALLOWED)
    equal(wire.handshake(1, b"PLAIN"), (34, []))


@check("bytes: a large token ends the connection")
def _():
    wire = Wire()
    wire.handshake(1, b"PLAIN")
    wire.socket.sendall(struct.pack(">i", 524_289))
    equal(wire.exactly(1), None)


end()
