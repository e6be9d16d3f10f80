"""Rules of access: made, listed and deleted by clients, and felt by their producers, consumers and administrators."""

import os
import uuid

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as python_errors
from kafka.admin import ACL, ACLFilter, ACLOperation, ACLPermissionType, ResourcePattern
from kafka.admin import ResourceType as PythonResourceType

from harness.check import check, end, equal, eventually

RUN = uuid.uuid4().hex[:8]
admin = AdminClient({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
SASL = os.environ["KAFKA_BOOTSTRAP_SERVERS_SASL_PLAINTEXT"]
ALICE = {
    "bootstrap.servers": SASL,
    "security.protocol": "SASL_PLAINTEXT",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": "alice-secret",
    # Whoever was denied asks again soon, since the next step may have allowed it.
    "topic.metadata.refresh.fast.interval.ms": 50,
}
PYTHON_ALICE = {
    "bootstrap_servers": SASL.split(","),
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "alice",
    "sasl_plain_password": "alice-secret",
}
alice = AdminClient(ALICE)
ORDERS, SECRET = f"orders-{RUN}", f"orders-{RUN}-secret"
GROUP = f"group-{RUN}"


def rule(kind, name, operation, *, prefixed=False, deny=False, principal="User:alice", host="*") -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    permission = AclPermissionType.DENY if deny else AclPermissionType.ALLOW
    return AclBinding(kind, name, pattern, principal, host, operation, permission)


def allow(*rules: AclBinding) -> None:
    for outcome in admin.create_acls(list(rules)).values():
        outcome.result(20)


def wanted(**chosen) -> AclBindingFilter:
    every = {
        "restype": ResourceType.ANY, "name": None, "resource_pattern_type": ResourcePatternType.ANY, "principal": "User:alice",
        "host": None, "operation": AclOperation.ANY, "permission_type": AclPermissionType.ANY,
    }  # fmt: skip
    return AclBindingFilter(**{**every, **chosen})


def deleted(**chosen) -> int:
    (outcome,) = admin.delete_acls([wanted(**chosen)]).values()
    return len(outcome.result(20))


def produced(topic: str, **more) -> str:
    """The name of the error, or `done`."""
    told = []
    producer = Producer({**ALICE, "message.timeout.ms": 8000, "allow.auto.create.topics": False, **more})
    producer.produce(topic, "x", on_delivery=lambda error, _: told.append(error.name() if error else "done"))
    producer.flush(15)
    return told[0] if told else "nothing"


def consumed(topic: str, group: str) -> str:
    """The name of the error, or `done` when a record has come."""
    consumer = Consumer({**ALICE, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        message = consumer.poll(20)
        return "nothing" if message is None else message.error().name() if message.error() else "done"
    finally:
        consumer.close()


def error_of(future) -> str:
    try:
        future.result(20)
    except KafkaException as error:
        return error.args[0].name()
    return "done"


for made in admin.create_topics([NewTopic(ORDERS, 1, 3), NewTopic(SECRET, 1, 3)]).values():
    made.result(20)
warm = Producer({"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"]})
warm.produce(ORDERS, "first")
warm.flush(20)


@check("access: whoever was given nothing sees nothing")
def _():
    seen = alice.list_topics(timeout=10).topics
    equal([name for name in seen if RUN in name], [])
    equal(alice.list_topics(ORDERS, timeout=10).topics[ORDERS].error.name(), "TOPIC_AUTHORIZATION_FAILED")


@check("access: and may neither write nor read")
def _():
    equal(produced(ORDERS), "TOPIC_AUTHORIZATION_FAILED")
    assert consumed(ORDERS, GROUP) in ("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED")


@check("access: nor make, change or see anything")
def _():
    equal(error_of(alice.create_topics([NewTopic(f"new-{RUN}", 1, 1)])[f"new-{RUN}"]), "TOPIC_AUTHORIZATION_FAILED")
    equal(error_of(alice.delete_topics([ORDERS])[ORDERS]), "TOPIC_AUTHORIZATION_FAILED")
    resource = ConfigResource(ConfigResource.Type.TOPIC, ORDERS)
    equal(error_of(alice.describe_configs([resource])[resource]), "TOPIC_AUTHORIZATION_FAILED")
    broker = ConfigResource(ConfigResource.Type.BROKER, "1")
    equal(error_of(alice.describe_configs([broker])[broker]), "CLUSTER_AUTHORIZATION_FAILED")
    (created,) = alice.create_acls([rule(ResourceType.TOPIC, ORDERS, AclOperation.ALL)]).values()
    equal(error_of(created), "CLUSTER_AUTHORIZATION_FAILED")
    # That this is denied confluent-kafka does not say; it brings nothing.
    equal(alice.describe_acls(wanted()).result(20), [])


@check("access: an idempotent producer without a topic to write to is let in no more")
def _():
    # What comes first: the topic's metadata, or that there is no id for the producer, which ends it.
    assert produced(ORDERS, **{"enable.idempotence": True}) in ("TOPIC_AUTHORIZATION_FAILED", "_FATAL")


@check("access: kafka-python is told the same")
def _():
    producer = KafkaProducer(**PYTHON_ALICE, enable_idempotence=False, max_block_ms=8000)
    try:
        producer.send(ORDERS, b"x").get(10)
    except python_errors.TopicAuthorizationFailedError as error:
        assert ORDERS in str(error), error
    else:
        raise AssertionError("it was let in")
    finally:
        producer.close(0)


@check("access: a rule for all topics whose names begin alike")
def _():
    allow(rule(ResourceType.TOPIC, f"orders-{RUN}", AclOperation.WRITE, prefixed=True))
    eventually(lambda: produced(ORDERS) == "done")
    equal(produced(SECRET), "done")
    equal(produced(ORDERS, **{"enable.idempotence": True}), "done")


@check("access: writing lets one describe, and not read")
def _():
    assert ORDERS in alice.list_topics(timeout=10).topics
    allow(rule(ResourceType.GROUP, GROUP, AclOperation.READ))
    eventually(lambda: consumed(ORDERS, GROUP) == "TOPIC_AUTHORIZATION_FAILED")


@check("access: kafka-python reads only what it may")
def _():
    consumer = KafkaConsumer(ORDERS, **PYTHON_ALICE, group_id=GROUP, auto_offset_reset="earliest")
    try:
        consumer.poll(15000)
    except python_errors.TopicAuthorizationFailedError as error:
        assert ORDERS in str(error), error
    else:
        raise AssertionError("it was let in")
    finally:
        consumer.close(autocommit=False)


@check("access: what is denied counts before what is allowed")
def _():
    allow(rule(ResourceType.TOPIC, SECRET, AclOperation.WRITE, deny=True, principal="User:*"))
    eventually(lambda: produced(SECRET) == "TOPIC_AUTHORIZATION_FAILED")
    equal(produced(ORDERS), "done")


@check("access: a group's members read")
def _():
    allow(rule(ResourceType.TOPIC, ORDERS, AclOperation.READ))
    eventually(lambda: consumed(ORDERS, GROUP) == "done")
    equal(consumed(ORDERS, f"other-{RUN}"), "GROUP_AUTHORIZATION_FAILED")


@check("access: groups are seen and deleted by whoever may")
def _():
    groups = [group.group_id for group in alice.list_consumer_groups().result(20).valid]
    equal([group for group in groups if RUN in group], [GROUP])
    equal(error_of(alice.delete_consumer_groups([GROUP])[GROUP]), "GROUP_AUTHORIZATION_FAILED")
    asked = ConsumerGroupTopicPartitions(f"other-{RUN}", [TopicPartition(ORDERS, 0)])
    equal(error_of(alice.list_consumer_group_offsets([asked])[f"other-{RUN}"]), "GROUP_AUTHORIZATION_FAILED")


@check("access: rules are listed by name, and by what they hold for")
def _():
    def found(pattern: ResourcePatternType) -> list:
        asked = wanted(restype=ResourceType.TOPIC, name=ORDERS, resource_pattern_type=pattern)
        return sorted((acl.name, acl.resource_pattern_type.name, acl.operation.name, acl.permission_type.name) for acl in admin.describe_acls(asked).result(20))

    reading = (ORDERS, "LITERAL", "READ", "ALLOW")
    equal(found(ResourcePatternType.LITERAL), [reading])
    equal(found(ResourcePatternType.MATCH), [reading, (f"orders-{RUN}", "PREFIXED", "WRITE", "ALLOW")])


@check("access: operations that are allowed are told")
def _():
    (topic,) = alice.describe_topics(TopicCollection([ORDERS]), include_authorized_operations=True).values()
    equal(sorted(operation.name for operation in topic.result(20).authorized_operations), ["DESCRIBE", "READ", "WRITE"])
    (group,) = alice.describe_consumer_groups([GROUP], include_authorized_operations=True).values()
    equal(sorted(operation.name for operation in group.result(20).authorized_operations), ["DESCRIBE", "READ"])
    cluster = alice.describe_cluster(include_authorized_operations=True).result(20)
    equal(cluster.authorized_operations or [], [])


@check("access: a rule for another host holds for nobody here")
def _():
    elsewhere = f"elsewhere-{RUN}"
    allow(rule(ResourceType.TOPIC, elsewhere, AclOperation.CREATE, host="203.0.113.7"), rule(ResourceType.TOPIC, f"here-{RUN}", AclOperation.CREATE))
    eventually(lambda: error_of(alice.create_topics([NewTopic(f"here-{RUN}", 1, 1)])[f"here-{RUN}"]) in ("done", "TOPIC_ALREADY_EXISTS"))
    equal(error_of(alice.create_topics([NewTopic(elsewhere, 1, 1)])[elsewhere]), "TOPIC_AUTHORIZATION_FAILED")


@check("access: a transactional id is a resource of its own")
def _():
    transactional = {**ALICE, "transactional.id": f"id-{RUN}"}
    try:
        Producer(transactional).init_transactions(10)
    except KafkaException as error:
        equal(error.args[0].code(), KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
        assert error.args[0].fatal()
    else:
        raise AssertionError("it was let in")
    allow(rule(ResourceType.TRANSACTIONAL_ID, f"id-{RUN}", AclOperation.WRITE))

    def committed() -> bool:
        again = Producer(transactional)
        try:
            again.init_transactions(10)
        except KafkaException:
            return False
        again.begin_transaction()
        again.produce(ORDERS, "z")
        again.commit_transaction(20)
        return True

    eventually(committed)


@check("access: a transaction that writes where it may not cannot be committed")
def _():
    producer = Producer({**ALICE, "transactional.id": f"id-{RUN}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(SECRET, "no")
    try:
        producer.commit_transaction(20)
    except KafkaException as error:
        equal((error.args[0].name(), error.args[0].txn_requires_abort()), ("TOPIC_AUTHORIZATION_FAILED", True))
    else:
        raise AssertionError("it was committed")


@check("access: offsets of a group that is denied cannot be part of a transaction")
def _():
    reader = Consumer({**ALICE, "group.id": f"other-{RUN}"})
    producer = Producer({**ALICE, "transactional.id": f"id-{RUN}"})
    producer.init_transactions(10)
    producer.begin_transaction()
    try:
        producer.send_offsets_to_transaction([TopicPartition(ORDERS, 0, 1)], reader.consumer_group_metadata(), 10)
    except KafkaException as error:
        equal(error.args[0].name(), "GROUP_AUTHORIZATION_FAILED")
        producer.abort_transaction(20)
    else:
        raise AssertionError("they were taken")
    finally:
        reader.close()


@check("access: rules that make no sense are refused")
def _():
    (outcome,) = admin.create_acls([rule(ResourceType.BROKER, "other", AclOperation.ALTER)]).values()
    try:
        outcome.result(20)
    except KafkaException as error:
        equal(error.args[0].name(), "INVALID_REQUEST")
        equal(error.args[0].str(), "The only valid name for the CLUSTER resource is kafka-cluster")
    else:
        raise AssertionError("it was made")


@check("access: kafka-python makes rules, lists them and takes them away")
def _():
    client = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(","))
    pattern = ResourcePattern(PythonResourceType.TOPIC, f"python-{RUN}")
    made = ACL("User:bob", "*", ACLOperation.READ, ACLPermissionType.ALLOW, pattern)
    equal(client.create_acls([made])["succeeded"], [made])
    asked = ACLFilter("User:bob", None, ACLOperation.ANY, ACLPermissionType.ANY, pattern)
    eventually(lambda: client.describe_acls(asked)[0] == [made])
    ((_, removed, error),) = client.delete_acls([asked])
    equal((removed, error), ([made], python_errors.NoError))
    eventually(lambda: client.describe_acls(asked)[0] == [])


@check("access: a rule for the cluster lets one look at it")
def _():
    allow(rule(ResourceType.BROKER, "kafka-cluster", AclOperation.DESCRIBE), rule(ResourceType.BROKER, "kafka-cluster", AclOperation.DESCRIBE_CONFIGS))
    eventually(lambda: len(alice.describe_acls(wanted()).result(20)) >= 5)
    broker = ConfigResource(ConfigResource.Type.BROKER, "1")
    eventually(lambda: error_of(alice.describe_configs([broker])[broker]) == "done")
    (created,) = alice.create_acls([rule(ResourceType.TOPIC, ORDERS, AclOperation.ALL)]).values()
    equal(error_of(created), "CLUSTER_AUTHORIZATION_FAILED")


@check("access: rules are deleted, and what they allowed is over")
def _():
    equal(deleted(restype=ResourceType.TOPIC, name=ORDERS, operation=AclOperation.READ), 1)
    assert deleted() >= 4
    equal(deleted(name=SECRET, principal="User:*"), 1)
    eventually(lambda: produced(ORDERS) == "TOPIC_AUTHORIZATION_FAILED")


end()
