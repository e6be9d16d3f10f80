"""TLS listeners with a certificate of the stack's own authority."""

import os
import ssl
import subprocess
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from kafka import KafkaProducer
from refused import refusal

from harness.check import Skip, check, end, equal

RUN = uuid.uuid4().hex[:8]
TLS, SASL_TLS = (os.environ.get(f"KAFKA_BOOTSTRAP_SERVERS_{name}", "") for name in ("SSL", "SASL_SSL"))
CA = os.environ.get("KAFKA_SSL_CA_FILE", "")


def configured(servers: str, **more) -> dict:
    if not servers:
        raise Skip("the target has no such listener")
    protocol = "SASL_SSL" if servers == SASL_TLS else "SSL"
    return {"bootstrap.servers": servers, "security.protocol": protocol, "ssl.ca.location": CA, **more}


PLAIN = {"sasl.mechanism": "PLAIN", "sasl.username": "admin", "sasl.password": "admin-secret"}


def through(config: dict, topic: str) -> list[bytes]:
    delivered = []
    producer = Producer(config)
    for number in range(1000):
        producer.produce(topic, f"{number:0100}", on_delivery=lambda error, _: delivered.append(error))
    equal(producer.flush(30), 0)
    equal(set(delivered), {None})
    consumer = Consumer({**config, "group.id": f"tls-{topic}", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    read = []
    for _ in range(60):
        read += [message.value() for message in consumer.consume(1000, 0.5) if not message.error()]
        if len(read) >= 1000:
            break
    consumer.close()
    return read


@check("tls: librdkafka produces and reads, and hears of encrypted addresses alone")
def _():
    config = configured(TLS)
    equal(len(through(config, f"tls-{RUN}")), 1000)
    brokers = AdminClient(config).list_topics(timeout=20).brokers.values()
    equal(sorted(f"{broker.host}:{broker.port}" for broker in brokers), sorted(TLS.split(",")))


@check("tls: librdkafka over SASL_SSL")
def _():
    equal(len(through(configured(SASL_TLS, **PLAIN), f"sasl-tls-{RUN}")), 1000)


@check("tls: kafka-python")
def _():
    configured(TLS)
    producer = KafkaProducer(bootstrap_servers=TLS.split(","), security_protocol="SSL", ssl_cafile=CA)
    equal(producer.send(f"tls-{RUN}", b"x").get(20).topic, f"tls-{RUN}")


@check("tls: another authority is not trusted")
def _():
    config = configured(TLS)
    other = os.path.join(os.environ["SCRATCH"], "other.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other", "-keyout", "/dev/null", "-out", other]
    subprocess.run(make, check=True, capture_output=True)
    seen = refusal({**config, "ssl.ca.location": other})
    assert "certificate" in seen, seen


@check("tls: versions 1.2 and 1.3, and nothing older")
def _():
    configured(TLS)
    import socket

    host, port = TLS.split(",")[0].rsplit(":", 1)
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        context = ssl.create_default_context(cafile=CA)
        context.minimum_version = context.maximum_version = version
        with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            equal(secured.version(), name)


@check("tls: plain bytes on an encrypted port end the connection, and nobody else notices")
def _():
    config = configured(TLS)
    import socket

    host, port = TLS.split(",")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        plain.settimeout(10)
        plain.sendall(b"\0\0\0\x10\0\x12\0\0\0\0\0\x01\0\x01x")
        try:
            while plain.recv(100):
                pass
        except ConnectionError:
            pass
    assert AdminClient(config).list_topics(timeout=20).brokers


end()
