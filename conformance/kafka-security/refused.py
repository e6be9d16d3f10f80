"""What the programs of this suite share: what a client hears that is not let in."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient


def refusal(config: dict) -> str:
    """What librdkafka says when it is not let in."""
    told = []
    client = AdminClient({**config, "error_cb": lambda error: told.append(str(error))})
    try:
        client.list_topics(timeout=6)
    except KafkaException:
        client.poll(0.5)
        return " ".join(told)
    raise AssertionError("it was let in")
