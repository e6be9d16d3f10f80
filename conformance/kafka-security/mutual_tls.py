"""TLS listeners that ask clients for a certificate, and the principals that certificates make.

The harness makes an authority and three clients: `alice` and `robot`, whom it vouches for, and `stranger`, by another authority.
Who somebody is shows in what rules let them do, since no request asks for it.
"""

import os
import socket
import ssl
import uuid

from confluent_kafka import Producer
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType, ResourceType
from kafka import KafkaProducer
from refused import refusal

from harness.check import check, end, equal, eventually

RUN = uuid.uuid4().hex[:8]
ASKED, MUTUAL = (os.environ[f"KAFKA_BOOTSTRAP_SERVERS_{name}"] for name in ("SSL", "MUTUAL"))
# The folder of the run, where the certificates are.
FOLDER, CA = os.environ["SCRATCH"], os.environ["KAFKA_SSL_CA_FILE"]
admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
TOPIC = f"mutual-{RUN}"
admin.create_topics([NewTopic(TOPIC, 1, 3)])[TOPIC].result(20)


def file(name: str) -> str:
    return os.path.join(FOLDER, name)


def configured(servers: str, who: str | None = None, **more) -> dict:
    config = {"bootstrap.servers": servers, "security.protocol": "SSL", "ssl.ca.location": CA, **more}
    if who:
        config |= {"ssl.certificate.location": file(f"{who}.pem"), "ssl.key.location": file(f"{who}.key")}
    return config


def allow(principal: str, *operations: AclOperation) -> None:
    rules = [AclBinding(ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, principal, "*", operation, AclPermissionType.ALLOW) for operation in operations]
    for outcome in admin.create_acls(rules).values():
        outcome.result(20)


def sees(config: dict) -> bool:
    return TOPIC in AdminClient(config).list_topics(timeout=15).topics


def produced(config: dict) -> str:
    told = []
    producer = Producer({**config, "message.timeout.ms": 10000})
    producer.produce(TOPIC, "x", on_delivery=lambda error, _: told.append(error.name() if error else "done"))
    producer.flush(15)
    return told[0] if told else "nothing"


def shaken_hands(servers: str, who: str | None = None) -> bool:
    """By TLS 1.2, where a client hears of a refusal while it shakes hands."""
    context = ssl.create_default_context(cafile=CA)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if who:
        context.load_cert_chain(file(f"{who}.pem"), file(f"{who}.key"))
    host, port = servers.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True


@check("mutual tls: without a certificate nobody is let in where one is required")
def _():
    seen = refusal(configured(MUTUAL))
    assert "SSL" in seen and ("certificate required" in seen or "handshake failure" in seen or "bad certificate" in seen), seen


@check("mutual tls: without a certificate nobody is let in by TLS 1.2 either")
def _():
    equal(shaken_hands(MUTUAL), False)
    equal(shaken_hands(MUTUAL, "alice"), True)
    equal(shaken_hands(MUTUAL, "stranger"), False)


@check("mutual tls: a certificate of another authority is not enough")
def _():
    seen = refusal(configured(MUTUAL, "stranger"))
    assert "SSL" in seen, seen


@check("mutual tls: nor where one is only asked for, if it is shown")
def _():
    equal(shaken_hands(ASKED), True)
    equal(shaken_hands(ASKED, "alice"), True)
    equal(shaken_hands(ASKED, "stranger"), False)


@check("mutual tls: librdkafka shows none that the broker does not ask for by its authority")
def _():
    assert sees(configured(ASKED, "stranger")), "anonymous is a superuser of this suite"


@check("mutual tls: whoever has a certificate is let in, as nobody who was given anything")
def _():
    assert not sees(configured(MUTUAL, "alice"))
    equal(produced(configured(MUTUAL, "alice")), "TOPIC_AUTHORIZATION_FAILED")


@check("mutual tls: a rule of ssl.principal.mapping.rules makes the principal")
def _():
    allow("User:alice", AclOperation.WRITE)
    eventually(lambda: sees(configured(MUTUAL, "alice")))
    equal(produced(configured(MUTUAL, "alice")), "done")
    assert not sees(configured(MUTUAL, "robot"))


@check("mutual tls: whom no other rule means has the whole name of the certificate")
def _():
    allow("User:CN=Robot,OU=machines,O=Example", AclOperation.WRITE)
    eventually(lambda: sees(configured(MUTUAL, "robot")))
    equal(produced(configured(MUTUAL, "robot")), "done")


@check("mutual tls: where a certificate is only asked for, whoever shows none is anonymous")
def _():
    assert sees(configured(ASKED)), "a superuser of this suite"
    assert sees(configured(ASKED, "alice"))
    other = f"other-{RUN}"
    admin.create_topics([NewTopic(other, 1, 3)])[other].result(20)
    eventually(lambda: other in AdminClient(configured(ASKED)).list_topics(timeout=15).topics)
    assert other not in AdminClient(configured(ASKED, "alice")).list_topics(timeout=15).topics


@check("mutual tls: kafka-python")
def _():
    producer = KafkaProducer(
        bootstrap_servers=MUTUAL.split(","), security_protocol="SSL", ssl_cafile=CA,
        ssl_certfile=file("alice.pem"), ssl_keyfile=file("alice.key"), enable_idempotence=False,
    )  # fmt: skip
    equal(producer.send(TOPIC, b"x").get(20).topic, TOPIC)
    producer.close()


end()
