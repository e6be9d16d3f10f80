"""The script of a dual run: rules of access, and what is denied by them. Real Kafka's answers are kept in access.json.

`alice` and `bob` log in; `admin`, who does not, is a superuser of the suite's cluster. Each step's words are compared.
"""

import json
import time

from wire import CLOSED, Broker, Names, batch

from harness.check import patiently
from harness.dual import Script

names = Names(words=True)
script = Script("access.json")
step = script.step
NODES = (1, 2, 3)
USERS = {
    "admin": {node: Broker(node) for node in NODES},
    "alice": {node: Broker(node, ("alice", "alice-secret")) for node in NODES},
    "bob": {node: Broker(node, ("bob", "bob-secret")) for node in NODES},
}
NO_ID = "00000000-0000-0000-0000-000000000000"
NAMELESS = {"cluster_id", "leader_epoch"}
TOPICS = ("ours", "ours-too", "theirs")

# The numbers of the protocol.
ANY, MATCH, LITERAL, PREFIXED = 1, 2, 3, 4
TOPIC, GROUP, CLUSTER, TRANSACTION, USER = 2, 3, 4, 5, 7
ALL, READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT = range(2, 13)
DENY, ALLOW = 2, 3


def ask(api: str, version: int, who: str = "alice", node: int = 1, **fields):
    return by_content(names.plain(USERS[who][node].ask(api, version, **fields)))


def by_content(value):
    """Lists whose order is a cluster's own choice, by what is in them."""
    if isinstance(value, dict):
        return {name: by_content(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return sorted((by_content(inner) for inner in value), key=lambda inner: json.dumps(inner, sort_keys=True))
    return value


def leader(topic: str, partition: int = 0) -> int:
    answer = USERS["admin"][1].ask("Metadata", 9, topics=[{"name": topic}], allow_auto_topic_creation=False)
    return next(part.leader_id for part in answer.topics[0].partitions if part.partition_index == partition)


def coordinator(key: str, kind: int = 0) -> int:
    def found():
        answer = USERS["admin"][1].ask("FindCoordinator", 4, key_type=kind, coordinator_keys=[key])
        assert answer.coordinators[0].error_code == 0
        return answer.coordinators[0].node_id

    return patiently(found)


def topic_id(topic: str):
    return USERS["admin"][1].ask("Metadata", 12, topics=[{"name": topic, "topic_id": NO_ID}], allow_auto_topic_creation=False).topics[0].topic_id


def wait_for(topic: str) -> None:
    def known():
        for node in NODES:
            answer = USERS["admin"][node].ask("Metadata", 9, topics=[{"name": topic}], allow_auto_topic_creation=False)
            assert answer.topics[0].error_code == 0 and all(part.leader_id > 0 for part in answer.topics[0].partitions)

    patiently(known)


# Rules.


def rule(kind: int, name: str, operation: int, pattern: int = LITERAL, permission: int = ALLOW, principal: str = "User:alice", host: str = "*") -> dict:
    return {
        "resource_type": kind, "resource_name": name, "resource_pattern_type": pattern, "principal": principal,
        "host": host, "operation": operation, "permission_type": permission,
    }  # fmt: skip


def chosen(kind: int = ANY, name: str | None = None, pattern: int = ANY, principal: str | None = None, host: str | None = None, operation: int = ANY, permission: int = ANY) -> dict:
    return {
        "resource_type_filter": kind, "resource_name_filter": name, "pattern_type_filter": pattern, "principal_filter": principal,
        "host_filter": host, "operation": operation, "permission_type": permission,
    }  # fmt: skip


def create(*rules: dict, version: int = 3, who: str = "admin"):
    return ask("CreateAcls", version, who, creations=list(rules))


def delete(*filters: dict, version: int = 3, who: str = "admin"):
    return ask("DeleteAcls", version, who, filters=list(filters))


def describe(version: int = 3, who: str = "admin", **filter):
    return ask("DescribeAcls", version, who, **chosen(**filter))


def count(node: int) -> int:
    answer = USERS["admin"][node].ask("DescribeAcls", 3, **chosen())
    return sum(len(resource.acls) for resource in answer.resources)


def allow(*rules: dict) -> None:
    """Makes rules, and waits until every broker knows them."""
    assert all(result.error_code == 0 for result in USERS["admin"][1].ask("CreateAcls", 3, creations=list(rules)).results)
    wait_for_rules(*rules)


def wait_for_rules(*rules: dict) -> None:
    def known():
        for made in rules:
            numbers = (made["resource_type"], made["resource_name"], made["resource_pattern_type"], made["principal"], made["host"], made["operation"], made["permission_type"])
            for node in NODES:
                assert USERS["admin"][node].ask("DescribeAcls", 3, **chosen(*numbers)).resources, f"{node} does not know {made}"

    patiently(known)


def everywhere(wanted: int) -> None:
    def known():
        assert [count(node) for node in NODES] == [wanted] * 3, [count(node) for node in NODES]

    patiently(known)


def forget() -> None:
    USERS["admin"][1].ask("DeleteAcls", 3, filters=[chosen()])
    everywhere(0)


# What can be asked, as somebody who may be allowed to or not.


def produce(topic: str = "ours", version: int = 9, acks: int = -1, who: str = "alice", data: bytes | None = None, transactional_id: str | None = None, more: tuple = ()):
    name = {"name": topic} if version < 13 else {"topic_id": topic_id(topic)}
    # Older records would be gone when a slow machine looks at them.
    data = data or batch([b"x"], time=int(time.time() * 1000))
    every = [{**name, "partition_data": [{"index": 0, "records": data}]}]
    every += [{"name": other, "partition_data": [{"index": 0, "records": data}]} for other in more]
    return ask("Produce", version, who, home(topic), transactional_id=transactional_id, acks=acks, timeout_ms=10000, topic_data=every)


def home(topic: str) -> int:
    return leader(topic) if topic in TOPICS else 1


def fetch(topic: str = "ours", version: int = 11, who: str = "alice"):
    name = {"topic": topic} if version < 13 else {"topic_id": topic_id(topic)}
    part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
    answer = ask(
        "Fetch", version, who, home(topic), max_wait_ms=100, min_bytes=1, max_bytes=1 << 20,
        topics=[{**name, "partitions": [part]}], forgotten_topics_data=[], rack_id="",
    )  # fmt: skip
    # How many records there are, and where they end, is said elsewhere.
    return [part["error_code"] for topic in answer["responses"] for part in topic["partitions"]] or answer


def metadata(*topics: str, version: int = 9, who: str = "alice", create: bool = False, **more):
    asked = [{"name": topic, "topic_id": NO_ID} if version > 9 else {"name": topic} for topic in topics] or None
    answer = ask("Metadata", version, who, topics=asked, allow_auto_topic_creation=create, **more)
    for topic in answer["topics"]:
        topic["partitions"] = len(topic["partitions"])
    answer["topics"] = [topic for topic in answer["topics"] if not topic["is_internal"]]
    return answer


def create_topics(*topics: str, version: int = 5, who: str = "alice", **options):
    asked = [{"name": topic, "num_partitions": 1, "replication_factor": 3, "assignments": [], "configs": []} for topic in topics]
    answer = ask("CreateTopics", version, who, topics=asked, timeout_ms=10000, **options)
    for topic in answer["topics"]:
        if topic.get("configs"):
            topic["configs"] = len(topic["configs"])
    return answer


def configs(api: str, kind: int, name: str, value: bool = True, who: str = "alice", version: int = 1):
    key = {2: "retention.ms", 4: "log.retention.ms", 32: "consumer.session.timeout.ms"}[kind]
    entry = {"name": key, "value": "60000"}
    if api == "IncrementalAlterConfigs":
        entry["config_operation"] = 0
    if api == "DescribeConfigs":
        resource = {"resource_type": kind, "resource_name": name, "configuration_keys": [key]}
        return ask(api, 4, who, resources=[resource], include_synonyms=False, include_documentation=False)
    return ask(api, version, who, resources=[{"resource_type": kind, "resource_name": name, "configs": [entry]}], validate_only=True)


def transactional(api: str, version: int, who: str = "alice", **fields):
    return ask(api, version, who, 1, transactional_id="id", producer_id=1, producer_epoch=0, **fields)


def add_partitions(*topics: str, version: int = 3, who: str = "alice"):
    listed = [{"name": topic, "partitions": [0]} for topic in topics]
    if version > 3:
        transaction = {"transactional_id": "id", "producer_id": 1, "producer_epoch": 0, "verify_only": False, "topics": listed}
        return ask("AddPartitionsToTxn", version, who, coordinator("id", 1), transactions=[transaction])
    return ask("AddPartitionsToTxn", version, who, v3_and_below_transactional_id="id", v3_and_below_producer_id=1, v3_and_below_producer_epoch=0, v3_and_below_topics=listed)


def commit(topics=("ours",), group: str = "ours", version: int = 7, who: str = "alice"):
    listed = [{"name": topic, "partitions": [{"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}]} for topic in topics]
    return ask("OffsetCommit", version, who, coordinator(group), group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None, topics=listed)


def commit_in_transaction(topics=("ours",), group: str = "ours", version: int = 3, who: str = "alice"):
    listed = [{"name": topic, "partitions": [{"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}]} for topic in topics]
    return ask("TxnOffsetCommit", version, who, coordinator(group), transactional_id="id", group_id=group, producer_id=1, producer_epoch=0, generation_id=-1, member_id="", group_instance_id=None, topics=listed)


def committed(topics=("ours",), group: str = "ours", version: int = 5, who: str = "alice"):
    listed = topics and [{"name": topic, "partition_indexes": [0]} for topic in topics]
    if version < 8:
        return ask("OffsetFetch", version, who, coordinator(group), group_id=group, topics=listed)
    return ask("OffsetFetch", version, who, coordinator(group), groups=[{"group_id": group, "topics": listed}], require_stable=False)


def init_producer(transactional_id: str | None = None, who: str = "alice", version: int = 4):
    def answered():
        answer = ask("InitProducerId", version, who, transactional_id=transactional_id, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1)
        assert answer["error_code"] not in (14, 15), "the coordinator is not ready"
        return answer

    answer = patiently(answered)
    return {**answer, "producer_id": "some" if answer["producer_id"] != -1 else -1}


def offset_delete(*topics: str, who: str = "alice"):
    listed = [{"name": topic, "partitions": [{"partition_index": 0}]} for topic in topics]
    return ask("OffsetDelete", 0, who, coordinator("ours"), group_id="ours", topics=listed)


def delete_records(*topics: str, who: str = "alice"):
    # At an offset that is not there, so that nothing goes.
    listed = [{"name": topic, "partitions": [{"partition_index": 0, "offset": 1000}]} for topic in topics]
    return ask("DeleteRecords", 1, who, leader("ours"), topics=listed, timeout_ms=10000)


def listed(who: str = "alice") -> list:
    """Of this program's groups."""
    found = (group["group_id"] for node in NODES for group in ask("ListGroups", 4, who, node)["groups"])
    return sorted(group for group in found if group in ("ours", "theirs"))


def cluster(**more):
    return {
        name: value for name, value in ask("DescribeCluster", 0, include_cluster_authorized_operations=True, **more).items() if name == "cluster_authorized_operations"
    }


def quorum(who: str = "alice"):
    answer = ask("DescribeQuorum", 2, who, topics=[{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]}])
    parts = [[part["error_code"], part["error_message"]] for topic in answer["topics"] for part in topic["partitions"]]
    return [answer["error_code"], answer["error_message"], parts]


def log_dirs(who: str = "alice", topics=()):
    answer = ask("DescribeLogDirs", 4, who, topics=[{"topic": topic, "partitions": [0]} for topic in topics])
    return [answer["error_code"], [[result["error_code"], len(result["topics"])] for result in answer["results"]]]


def prepared() -> None:
    create_topics(*TOPICS, who="admin")
    for topic in TOPICS:
        wait_for(topic)
        produce(topic, who="admin")
    for group in ("ours", "theirs"):

        def taken():
            answer = commit(TOPICS, group, who="admin")
            assert {part["error_code"] for topic in answer["topics"] for part in topic["partitions"]} == {0}, answer

        patiently(taken)
    coordinator("id", 1)


def nothing_allowed() -> None:
    """Alice, of whom no rule says anything."""
    prepared()
    for version in (1, 5, 9, 12):
        step(f"denied: Metadata v{version} of topics, there or not", lambda v=version: metadata("ours", "none-such", version=v))
    step("denied: Metadata by id", lambda: ask("Metadata", 12, topics=[{"name": None, "topic_id": topic_id("ours")}]))
    step("denied: Metadata of all topics", lambda: metadata())
    step("denied: Metadata creates no topic", lambda: metadata("made-by-metadata", create=True))
    step("denied: Metadata and what may be done", lambda: metadata("ours", version=8, include_cluster_authorized_operations=True, include_topic_authorized_operations=True))
    step("denied: DescribeCluster and what may be done", lambda: cluster())
    step("denied: DescribeTopicPartitions", lambda: ask("DescribeTopicPartitions", 0, topics=[{"name": "ours"}, {"name": "none-such"}], response_partition_limit=10, cursor=None))
    for version in (3, 7, 9, 12):
        step(f"denied: Produce v{version}", lambda v=version: produce(version=v))
    step("denied: Produce to a topic that is not there", lambda: produce("none-such"))
    step("denied: Produce with a transactional id", lambda: produce(transactional_id="id", data=batch([b"x"], producer_id=1, producer_epoch=0, base_sequence=0, transactional=True)))
    step("denied: Produce with acks=0 ends the connection", produced_in_silence)
    for version in (4, 11, 12, 13, 15):
        step(f"denied: Fetch v{version}", lambda v=version: fetch(version=v))
    step("denied: Fetch of a topic that is not there", lambda: fetch("none-such"))
    listed = {"partition_index": 0, "current_leader_epoch": -1, "timestamp": -1}
    step("denied: ListOffsets", lambda: [ask("ListOffsets", version, replica_id=-1, isolation_level=0, topics=[{"name": "ours", "partitions": [listed]}]) for version in (2, 5, 7)])
    epoch = {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}
    step("denied: OffsetForLeaderEpoch", lambda: ask("OffsetForLeaderEpoch", 4, replica_id=-1, topics=[{"topic": "ours", "partitions": [epoch]}]))
    denied_to_groups()
    denied_to_transactions()
    denied_to_administrators()


def produced_in_silence():
    node = leader("ours")
    assert produce(acks=0) is None
    return ask("Metadata", 9, "alice", node, topics=[]) == CLOSED


def denied_to_groups() -> None:
    for kind in (0, 1):
        step(f"denied: FindCoordinator of kind {kind}", lambda k=kind: [ask("FindCoordinator", 2, key="id", key_type=k), ask("FindCoordinator", 4, coordinator_keys=["id", "other"], key_type=k)])
    member = {"group_id": "ours", "member_id": "m"}
    protocols = [{"name": "range", "metadata": b""}]
    step("denied: JoinGroup", lambda: [ask("JoinGroup", version, **member, session_timeout_ms=10000, rebalance_timeout_ms=10000, protocol_type="consumer", protocols=protocols) for version in (4, 7, 9)])
    step("denied: SyncGroup", lambda: [ask("SyncGroup", version, **member, generation_id=1, assignments=[]) for version in (2, 3, 5)])
    step("denied: Heartbeat", lambda: ask("Heartbeat", 4, **member, generation_id=1))
    step("denied: LeaveGroup", lambda: [ask("LeaveGroup", 2, **member), ask("LeaveGroup", 4, group_id="ours", members=[{"member_id": "m", "group_instance_id": None}])])
    step("denied: OffsetCommit", lambda: [commit(version=version) for version in (2, 7, 8)])
    step("denied: OffsetFetch", lambda: [committed(version=version) for version in (1, 5, 7, 8)])
    step("denied: OffsetFetch of all topics", lambda: [committed(None, version=version) for version in (5, 8)])
    step("denied: OffsetDelete", lambda: offset_delete("ours"))
    step("denied: DescribeGroups", lambda: [ask("DescribeGroups", version, groups=["ours"], include_authorized_operations=True) for version in (4, 6)])
    step("denied: ListGroups", lambda: [ask("ListGroups", 4, "alice", node) for node in NODES])
    step("denied: DeleteGroups", lambda: ask("DeleteGroups", 2, groups_names=["ours", "none-such"]))


def denied_to_transactions() -> None:
    step("denied: InitProducerId", lambda: [init_producer(version=version) for version in (1, 4)])
    step("denied: InitProducerId with a transactional id", lambda: init_producer("id"))
    step("denied: AddPartitionsToTxn", lambda: [add_partitions("ours", "theirs", version=version) for version in (0, 3)])
    step("denied: AddPartitionsToTxn of brokers", lambda: add_partitions("ours", version=4))
    step("denied: AddOffsetsToTxn", lambda: transactional("AddOffsetsToTxn", 3, group_id="ours"))
    step("denied: EndTxn", lambda: transactional("EndTxn", 3, committed=True))
    step("denied: TxnOffsetCommit", lambda: [commit_in_transaction(version=version) for version in (2, 3)])
    marker = {"producer_id": 1, "producer_epoch": 0, "transaction_result": True, "topics": [{"name": "ours", "partition_indexes": [0]}], "coordinator_epoch": 0}
    step("denied: WriteTxnMarkers", lambda: ask("WriteTxnMarkers", 1, markers=[marker]))
    step("denied: DescribeTransactions", lambda: ask("DescribeTransactions", 0, "alice", coordinator("id", 1), transactional_ids=["id"]))
    step("denied: ListTransactions", lambda: ask("ListTransactions", 0, state_filters=[], producer_id_filters=[])["transaction_states"])
    step("denied: DescribeProducers", lambda: ask("DescribeProducers", 0, topics=[{"name": "ours", "partition_indexes": [0]}, {"name": "none-such", "partition_indexes": [0]}]))
    step("allowed to describe producers of what is not there", lambda: ask("DescribeProducers", 0, "admin", leader("ours"), topics=[{"name": "ours", "partition_indexes": [9]}, {"name": "none-such", "partition_indexes": [0]}, {"name": "a b", "partition_indexes": [0]}]))


def denied_to_administrators() -> None:
    step("denied: CreateTopics", lambda: [create_topics("new", "ours", version=version) for version in (2, 5, 7)])
    step("CreateTopics of names that are none", lambda: create_topics("", ".", "..", "y" * 249, "y" * 250, "a b", "\N{GREEK SMALL LETTER ALPHA}" * 249, "made-by-name", who="admin", validate_only=True))
    step("CreateTopics of two names that collide", lambda: [create_topics("col.lide", who="admin"), create_topics("col_lide", who="admin")])
    step("denied: DeleteTopics", lambda: ask("DeleteTopics", 5, topic_names=["ours", "none-such"], timeout_ms=10000))
    step("denied: DeleteTopics by id", lambda: ask("DeleteTopics", 6, topics=[{"name": None, "topic_id": topic_id("ours")}], timeout_ms=10000))
    step("denied: CreatePartitions", lambda: ask("CreatePartitions", 3, topics=[{"name": "ours", "count": 3, "assignments": None}, {"name": "none-such", "count": 3, "assignments": None}], timeout_ms=10000))
    step("denied: DeleteRecords", lambda: delete_records("ours", "none-such"))
    for api in ("DescribeConfigs", "AlterConfigs", "IncrementalAlterConfigs"):
        for kind, name in ((2, "ours"), (2, "none-such"), (4, "1"), (32, "ours")):
            if (api, kind) != ("AlterConfigs", 32):
                step(f"denied: {api} of resource {kind} named {name}", lambda a=api, k=kind, n=name: configs(a, k, n))
    step("denied: ElectLeaders", lambda: ask("ElectLeaders", 2, election_type=0, topic_partitions=[{"topic": "ours", "partitions": [0]}], timeout_ms=10000))
    step("denied: ElectLeaders of all", lambda: [ask("ElectLeaders", version, topic_partitions=None, timeout_ms=10000) for version in (0, 1)])
    step("denied: AlterPartitionReassignments", lambda: ask("AlterPartitionReassignments", 0, timeout_ms=10000, topics=[{"name": "ours", "partitions": [{"partition_index": 0, "replicas": [1]}]}]))
    step("denied: ListPartitionReassignments", lambda: ask("ListPartitionReassignments", 0, timeout_ms=10000, topics=None))
    step("denied: ListPartitionReassignments of a topic", lambda: ask("ListPartitionReassignments", 0, timeout_ms=10000, topics=[{"name": "ours", "partition_indexes": [0, 1]}]))
    step("denied: DescribeLogDirs", log_dirs)
    step("denied: AlterReplicaLogDirs", lambda: ask("AlterReplicaLogDirs", 2, dirs=[{"path": "/", "topics": [{"name": "ours", "partitions": [0]}]}]))
    step("denied: DescribeQuorum", quorum)
    step("denied: UpdateFeatures", lambda: ask("UpdateFeatures", 1, timeout_ms=10000, feature_updates=[{"feature": "metadata.version", "max_version_level": 25, "upgrade_type": 1}], validate_only=True))
    # Who is denied all users, by null, is never answered by Kafka.
    step("denied: DescribeUserScramCredentials", lambda: [ask("DescribeUserScramCredentials", 0, users=users) for users in ([{"name": "alice"}, {"name": "bob"}], [])])
    deletion = {"name": "alice", "mechanism": 1}
    step("denied: AlterUserScramCredentials", lambda: ask("AlterUserScramCredentials", 0, deletions=[deletion], upsertions=[]))
    step("denied: CreateAcls", lambda: create(rule(TOPIC, "ours", ALL), who="alice"))
    step("denied: DescribeAcls", lambda: describe(who="alice"))
    step("denied: DeleteAcls", lambda: delete(chosen(), who="alice"))
    entity = {"entity": [{"entity_type": "user", "entity_name": "alice"}], "ops": [{"key": "producer_byte_rate", "value": 1.0, "remove": False}]}
    step("denied: AlterClientQuotas", lambda: ask("AlterClientQuotas", 1, entries=[entity], validate_only=False))
    step("denied: DescribeClientQuotas", lambda: ask("DescribeClientQuotas", 1, components=[], strict=False))


def making_rules() -> None:
    for version in (1, 2, 3):
        step(f"CreateAcls v{version}", lambda v=version: create(rule(TOPIC, f"made-{v}", READ), version=v))
    step("CreateAcls of a user's tokens", lambda: create(rule(USER, "bob", 13)))
    step("CreateAcls once more", lambda: create(rule(TOPIC, "made-1", READ)))
    step("CreateAcls twice in one request", lambda: create(rule(TOPIC, "twice", READ), rule(TOPIC, "twice", READ)))
    step("CreateAcls of nothing", lambda: create())
    wrong = {
        "another cluster": rule(CLUSTER, "other", ALTER),
        "no name": rule(TOPIC, "", READ),
        "any pattern": rule(TOPIC, "x", READ, ANY),
        "matching patterns": rule(TOPIC, "x", READ, MATCH),
        "any operation": rule(TOPIC, "x", ANY),
        "any permission": rule(TOPIC, "x", READ, permission=ANY),
        "any resource": rule(ANY, "x", READ),
        "a principal without a type": rule(TOPIC, "x", READ, principal="alice"),
        "an empty principal": rule(TOPIC, "x", READ, principal=""),
        "a principal without a name": rule(TOPIC, "x", READ, principal="User:"),
        "another type of principal": rule(TOPIC, "x", READ, principal="Group:x"),
        "an operation that the resource has not": rule(GROUP, "x", WRITE),
        "an empty host": rule(TOPIC, "x", READ, host=""),
        "a host that is none": rule(TOPIC, "x", READ, host="somewhere"),
        "a prefix of the cluster": rule(CLUSTER, "kafka-cluster", ALTER, PREFIXED),
        "resource 0": rule(0, "x", READ),
        "resource 99": rule(99, "x", READ),
        "pattern 9": rule(TOPIC, "x", READ, 9),
        "operation 0": rule(TOPIC, "x", 0),
        "operation 99": rule(TOPIC, "x", 99),
        "permission 0": rule(TOPIC, "x", READ, permission=0),
        "permission 99": rule(TOPIC, "x", READ, permission=99),
        "everything unknown": rule(99, "", 99, 99, 99, principal="alice"),
        "all but its name unknown": rule(99, "x", 99, 99, 99, principal="alice"),
        "a topic's name that is none": rule(TOPIC, "a b", READ),
    }
    for name, made in wrong.items():
        step(f"CreateAcls with {name}", lambda m=made: create(m))
    step("CreateAcls, of which one is wrong", lambda: create(rule(TOPIC, "right", READ), wrong["any operation"], wrong["no name"]))
    step("CreateAcls in version 1 with a user", lambda: create(rule(USER, "x", 13), version=1))
    wait_for_rules(rule(USER, "x", 13))
    step("the rules that came of it", lambda: describe())


def describing_rules() -> None:
    forget()
    allow(
        rule(TOPIC, "ours", READ), rule(TOPIC, "ours", WRITE, permission=DENY), rule(TOPIC, "ou", READ, PREFIXED, principal="User:bob"),
        rule(TOPIC, "*", DESCRIBE, principal="User:*"), rule(GROUP, "ours", READ, host="10.0.0.1"), rule(CLUSTER, "kafka-cluster", ALTER),
        rule(TRANSACTION, "id", WRITE, PREFIXED),
    )  # fmt: skip
    for version in (1, 2, 3):
        step(f"DescribeAcls v{version}", lambda v=version: describe(v))
    filters = {
        "topics": {"kind": TOPIC},
        "a name": {"name": "ours"},
        "a name of topics": {"kind": TOPIC, "name": "ours"},
        "a literal name": {"kind": TOPIC, "name": "ours", "pattern": LITERAL},
        "a prefix": {"kind": TOPIC, "name": "ou", "pattern": PREFIXED},
        "a longer prefix": {"kind": TOPIC, "name": "ours", "pattern": PREFIXED},
        "what matches a name": {"kind": TOPIC, "name": "ours", "pattern": MATCH},
        "what matches another name": {"kind": TOPIC, "name": "other", "pattern": MATCH},
        "what matches in all kinds": {"name": "ours", "pattern": MATCH},
        "a wildcard": {"kind": TOPIC, "name": "*"},
        "what matches a wildcard": {"kind": TOPIC, "name": "*", "pattern": MATCH},
        "no name, matching": {"pattern": MATCH},
        "prefixes": {"pattern": PREFIXED},
        "a principal": {"principal": "User:alice"},
        "everybody": {"principal": "User:*"},
        "a host": {"host": "10.0.0.1"},
        "any host": {"host": "*"},
        "an operation": {"operation": READ},
        "all operations": {"operation": ALL},
        "what is denied": {"permission": DENY},
        "nothing that is there": {"kind": GROUP, "operation": WRITE},
        "resource 0": {"kind": 0},
        "pattern 0": {"pattern": 0},
        "operation 99": {"operation": 99},
        "resource 99": {"kind": 99},
        "pattern 99": {"pattern": 99},
        "permission 99": {"permission": 99},
        "operation -1": {"operation": -1},
        "permission 0": {"permission": 0},
        "an empty name": {"name": ""},
        "a principal that is none": {"principal": "alice"},
    }
    for name, asked in filters.items():
        step(f"DescribeAcls of {name}", lambda a=asked: describe(**a))
    step("DeleteAcls of nothing that is there", lambda: delete(chosen(TOPIC, "none-such")))
    step("DeleteAcls of no filter", lambda: delete())
    step("DeleteAcls of operation 99", lambda: delete(chosen(operation=99)))
    step("DeleteAcls of pattern 0", lambda: delete(chosen(pattern=0)))
    step("DeleteAcls by two filters, of which both find one", lambda: delete(chosen(TOPIC, "ours", operation=READ), chosen(operation=READ)))
    everywhere(4)
    step("DeleteAcls by what matches, v1", lambda: delete(chosen(TOPIC, "ours", MATCH), version=1))
    everywhere(2)
    step("DeleteAcls of all", lambda: delete(chosen(), version=2))
    everywhere(0)


def some_allowed() -> None:
    """Alice writes to what begins with `ours`, and reads in a group."""
    allow(rule(TOPIC, "ours", WRITE, PREFIXED), rule(TRANSACTION, "id", WRITE))
    step("allowed: Metadata of all topics", lambda: metadata())
    step("allowed: Metadata of two", lambda: metadata("ours", "theirs", "ours-not-there"))
    step("allowed: Metadata and what may be done", lambda: metadata("ours", version=8, include_cluster_authorized_operations=True, include_topic_authorized_operations=True))
    step("allowed: DescribeTopicPartitions", lambda: [topic["topic_authorized_operations"] for topic in ask("DescribeTopicPartitions", 0, topics=[{"name": "ours"}, {"name": "theirs"}], response_partition_limit=10, cursor=None)["topics"]])
    step("allowed: Produce to topics of which one is denied", lambda: codes(produce(more=("theirs",))))
    step("allowed: Produce to what begins so and is not there", lambda: codes(produce("ours-not-there")))
    step("allowed: Produce, and not Fetch", lambda: [fetch(version=version) for version in (11, 13)])
    step("allowed: InitProducerId, since some topic may be written to", lambda: init_producer())
    step("allowed: AddPartitionsToTxn of which one is denied", lambda: add_partitions("ours", "theirs"))
    step("allowed: AddPartitionsToTxn of which one is denied and one is not there", lambda: add_partitions("ours-not-there", "theirs"))
    step("allowed: AddOffsetsToTxn to a group that is denied", lambda: transactional("AddOffsetsToTxn", 3, group_id="ours"))
    step("allowed: TxnOffsetCommit to a group that is denied", lambda: commit_in_transaction())
    step("allowed: DescribeProducers needs reading", lambda: ask("DescribeProducers", 0, "alice", leader("ours"), topics=[{"name": "ours", "partition_indexes": [0]}]))
    step("allowed: DeleteRecords needs deleting", lambda: delete_records("ours"))
    step("allowed: CreatePartitions needs altering", lambda: ask("CreatePartitions", 3, topics=[{"name": "ours", "count": 3, "assignments": None}], timeout_ms=10000))
    step("allowed: DeleteTopics needs deleting, and says so of what one may describe", lambda: [ask("DeleteTopics", 6, topics=[{"name": None, "topic_id": topic_id(topic)}], timeout_ms=10000) for topic in ("ours", "theirs")])
    step("allowed: DescribeConfigs needs more than describing", lambda: configs("DescribeConfigs", 2, "ours"))
    allow(rule(TOPIC, "ours", WRITE, permission=DENY, principal="User:*"))
    step("denied before allowed: Produce", lambda: [codes(produce()), codes(produce("ours-too"))])
    step("denied before allowed: describing stays", lambda: metadata("ours", version=8, include_topic_authorized_operations=True))
    allow(rule(TOPIC, "ours-too", WRITE, permission=DENY, host="10.0.0.1"))
    step("denied to another host is not denied here", lambda: codes(produce("ours-too")))
    allow(rule(TOPIC, "ours", WRITE, PREFIXED, DENY))
    step("denied by a prefix: Produce", lambda: codes(produce("ours-too")))
    step("denied by a prefix: InitProducerId", lambda: init_producer())
    forget()
    reading()
    administering()


def reading() -> None:
    allow(rule(GROUP, "ours", READ), rule(TOPIC, "ours", READ), rule(TOPIC, "ours-too", DESCRIBE))
    step("group: FindCoordinator of two", lambda: [[entry["key"], entry["error_code"], entry["error_message"]] for entry in ask("FindCoordinator", 4, coordinator_keys=["ours", "theirs"], key_type=0)["coordinators"]])
    step("group: Fetch", lambda: [fetch(version=version) for version in (11, 13)])
    step("group: Fetch of what may be described", lambda: fetch("ours-too"))
    step("group: OffsetCommit of which two are denied", lambda: commit(TOPICS))
    step("group: OffsetCommit of topics that are all denied", lambda: commit(("theirs",)))
    step("group: OffsetFetch of which one is denied", lambda: [committed(TOPICS, version=version) for version in (5, 8)])
    step("group: OffsetFetch of all", lambda: [committed(None, version=version) for version in (5, 8)])
    step("group: OffsetFetch of another group", lambda: committed(group="theirs"))
    step("group: DescribeGroups of two", lambda: [[group["group_id"], group["error_code"], group["authorized_operations"]] for group in ask("DescribeGroups", 5, "alice", coordinator("ours"), groups=["ours", "theirs"], include_authorized_operations=True)["groups"]])
    step("group: ListGroups", lambda: listed())
    step("group: DeleteGroups needs deleting", lambda: ask("DeleteGroups", 2, "alice", coordinator("ours"), groups_names=["ours"]))
    step("group: OffsetDelete needs deleting", lambda: offset_delete("ours"))
    step("group: DescribeProducers", lambda: [topic["partitions"][0]["error_code"] for topic in ask("DescribeProducers", 0, "alice", leader("ours"), topics=[{"name": "ours", "partition_indexes": [0]}])["topics"]])
    allow(rule(GROUP, "ours", DELETE), rule(TRANSACTION, "id", WRITE))
    step("group: OffsetDelete of topics of which some are denied", lambda: offset_delete(*TOPICS))
    step("group: TxnOffsetCommit of topics of which one is denied", lambda: commit_in_transaction(("ours", "theirs")))
    step("group: TxnOffsetCommit of topics that are denied", lambda: commit_in_transaction(("theirs",)))
    step("group: FindCoordinator of a transaction", lambda: [entry["error_code"] for entry in ask("FindCoordinator", 4, coordinator_keys=["id"], key_type=1)["coordinators"]])
    allow(rule(TRANSACTION, "described", DESCRIBE))
    step("group: InitProducerId needs writing", lambda: init_producer("described"))
    step("group: DescribeTransactions that may be described", lambda: ask("DescribeTransactions", 0, "alice", coordinator("described", 1), transactional_ids=["described"]))
    allow(rule(CLUSTER, "kafka-cluster", DESCRIBE))
    step("group: whoever may describe the cluster sees all groups", lambda: listed())
    step("group: and what may be done to it", lambda: cluster())
    forget()


def administering() -> None:
    allow(rule(TOPIC, "new", CREATE, PREFIXED))
    step("administration: CreateTopics of which one is denied", lambda: create_topics("new-1", "other", version=7))
    step("administration: Metadata needs a topic to be seen before it is made", lambda: metadata("new-2", create=True))
    allow(rule(TOPIC, "new", DESCRIBE, PREFIXED), rule(TOPIC, "new", DESCRIBE_CONFIGS, PREFIXED))
    step("administration: Metadata creates a topic", lambda: metadata("new-2", create=True))
    step("administration: CreateTopics tells options to whoever may see them", lambda: create_topics("new-3", version=7))
    wait_for("new-3")
    step("administration: DescribeConfigs", lambda: configs("DescribeConfigs", 2, "new-3"))
    step("administration: IncrementalAlterConfigs needs altering", lambda: configs("IncrementalAlterConfigs", 2, "new-3"))
    allow(rule(CLUSTER, "kafka-cluster", CREATE))
    step("administration: whoever may make topics in the cluster makes any", lambda: create_topics("other", version=5))
    step("administration: DeleteTopics is denied", lambda: ask("DeleteTopics", 5, topic_names=["new-1", "theirs"], timeout_ms=10000))
    allow(rule(TOPIC, "new", DELETE, PREFIXED), rule(TOPIC, "new", ALTER, PREFIXED))
    step("administration: DeleteTopics", lambda: ask("DeleteTopics", 5, topic_names=["new-1", "theirs"], timeout_ms=10000))
    step("administration: CreatePartitions of two", lambda: ask("CreatePartitions", 3, topics=[{"name": "new-3", "count": 2, "assignments": None}, {"name": "theirs", "count": 3, "assignments": None}], timeout_ms=10000))
    allow(rule(CLUSTER, "kafka-cluster", ALTER))
    step("administration: CreateAcls", lambda: create(rule(TOPIC, "more", READ), who="alice"))
    wait_for_rules(rule(TOPIC, "more", READ))
    step("administration: whoever may alter may describe", lambda: len(describe(who="alice")["resources"]))
    step("administration: what may be done to the cluster", lambda: cluster())
    step("administration: quotas need altering options", lambda: ask("DescribeClientQuotas", 1, components=[], strict=False)["error_code"])
    allow(rule(CLUSTER, "kafka-cluster", ALTER_CONFIGS))
    step("administration: quotas are described", lambda: ask("DescribeClientQuotas", 1, components=[], strict=False)["error_code"])
    step("administration: options of brokers", lambda: configs("DescribeConfigs", 4, "1")["results"][0]["error_code"])
    step("administration: DescribeQuorum", quorum)
    step("administration: DescribeLogDirs", lambda: log_dirs(topics=("ours",)))
    forget()
    allow(rule(CLUSTER, "kafka-cluster", IDEMPOTENT))
    step("administration: IDEMPOTENT_WRITE", lambda: init_producer())
    allow(rule(CLUSTER, "kafka-cluster", ACTION))
    step("administration: AddPartitionsToTxn of brokers", lambda: add_partitions("ours", version=4))
    forget()
    step("administration: bob has nothing of what alice had", lambda: metadata(who="bob"))


def codes(answer):
    return [[topic["name"], [part["error_code"] for part in topic["partition_responses"]]] for topic in answer["responses"]]


def main() -> None:
    forget()
    script.run(nothing_allowed, making_rules, describing_rules, some_allowed)


main()
