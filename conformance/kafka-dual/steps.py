"""The script of a dual run: versions, topics, options, records, groups. Real Kafka's answers are kept in real.json."""

import time

from wire import Broker, Names, batch, batches

from harness.check import patiently
from harness.dual import Script

names = Names()
brokers = {node: Broker(node) for node in (1, 2, 3)}
script = Script("real.json")
step = script.step


def ask(api: str, version: int, node: int = 1, **fields):
    return names.plain(brokers[node].ask(api, version, **fields))


# Where things are. These requests prepare steps and are not compared themselves.


def raw_metadata(topic: str, node: int = 1):
    answer = brokers[node].ask("Metadata", 12, topics=[{"name": topic, "topic_id": NO_ID}], allow_auto_topic_creation=False)
    return answer.topics[0]


def wait_for(topic: str, partitions: int) -> None:
    """Until all brokers know all leaders of the topic."""

    def known():
        for node in brokers:
            seen = raw_metadata(topic, node)
            assert seen.error_code == 0 and len(seen.partitions) == partitions, seen
            assert all(part.leader_id > 0 and len(part.isr_nodes) == len(part.replica_nodes) for part in seen.partitions), seen

    patiently(known)


def wait_until_gone(topic: str) -> None:
    def gone():
        assert all(raw_metadata(topic, node).error_code == 3 for node in brokers)

    patiently(gone)


def leader(topic: str, partition: int = 0) -> int:
    return next(part.leader_id for part in raw_metadata(topic).partitions if part.partition_index == partition)


def follower(topic: str, partition: int = 0) -> int:
    return next(node for node in brokers if node != leader(topic, partition))


def topic_id(topic: str):
    return raw_metadata(topic).topic_id


def coordinator(group: str) -> int:
    def found():
        answer = brokers[1].ask("FindCoordinator", 4, key_type=0, coordinator_keys=[group])
        assert answer.coordinators[0].error_code == 0
        node = answer.coordinators[0].node_id
        seen = brokers[node].ask("OffsetFetch", 8, groups=[{"group_id": group, "topics": None}], require_stable=False)
        assert seen.groups[0].error_code == 0
        return node

    return patiently(found)


NO_ID = "00000000-0000-0000-0000-000000000000"


def created(name: str, partitions: int = 1, replicas: int = 3, configs=(), **more) -> dict:
    configs = [{"name": key, "value": value} for key, value in configs]
    return {"name": name, "num_partitions": partitions, "replication_factor": replicas, "assignments": [], "configs": configs, **more}


def create(topic: dict, version: int = 5, validate_only: bool = False):
    return ask("CreateTopics", version, topics=[topic], timeout_ms=10000, validate_only=validate_only)


def produce(topic: str, data: bytes, version: int = 9, acks: int = -1, partition: int = 0, node: int | None = None, **fields):
    name = {"name": topic} if version < 13 else {"topic_id": topic_id(topic)}
    parts = [{"index": partition, "records": data}]
    fields = {"transactional_id": None, "acks": acks, "timeout_ms": 10000, **fields}
    return ask("Produce", version, node or leader(topic, partition), topic_data=[{**name, "partition_data": parts}], **fields)


def fetch(topic: str, offset: int, version: int = 11, partition: int = 0, node: int | None = None, wait: int = 200, **part):
    name = {"topic": topic} if version < 13 else {"topic_id": topic_id(topic)}
    asked = {"partition": partition, "fetch_offset": offset, "partition_max_bytes": 1 << 20, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
    return ask(
        "Fetch", version, node or leader(topic, partition), max_wait_ms=wait, min_bytes=1, max_bytes=1 << 20,
        topics=[{**name, "partitions": [{**asked, **part}]}], forgotten_topics_data=[], rack_id="",
    )


def offsets(topic: str, timestamp: int, version: int = 5, partition: int = 0, node: int | None = None, epoch: int = -1):
    asked = {"partition_index": partition, "current_leader_epoch": epoch, "timestamp": timestamp}
    return ask("ListOffsets", version, node or leader(topic, partition), replica_id=-1, isolation_level=0, topics=[{"name": topic, "partitions": [asked]}])


def versions_and_metadata() -> None:
    for version in range(5):
        step(f"ApiVersions v{version} succeeds", lambda v=version: ask("ApiVersions", v, client_software_name="dual", client_software_version="1")["error_code"])
    served = {entry["api_key"]: entry for entry in ask("ApiVersions", 3, client_software_name="dual", client_software_version="1")["api_keys"]}
    for key, api in APIS.items():
        step(f"ApiVersions names {api}", lambda k=key: {"from": served[k]["min_version"], "to": served[k]["max_version"]} if k in served else "not served")
    unknown = b"\x00\x12\x00\x63\x00\x00\x00\x07\x00\x04dual\x00"
    step("ApiVersions in an unknown version is answered in version 0 with error 35", lambda: brokers[1].exchange(unknown)[:10].hex())
    step("a request in an unknown version ends the connection", lambda: brokers[1].exchange(b"\x00\x03\x00\x63\x00\x00\x00\x08\x00\x04dual\x00\x00\x00\x00"))
    step("a request of an unknown kind ends the connection", lambda: brokers[1].exchange(b"\x03\xe7\x00\x00\x00\x00\x00\x08\x00\x04dual"))
    step("a request that ends too soon ends the connection", lambda: brokers[1].exchange(b"\x00\x03\x00\x01\x00\x00\x00\x08\x00\x04dual\x00\x00\x00\x05"))
    behind = b"\x00\x03\x00\x0c\x00\x00\x00\x09\x00\x04dual\x00\x01\x00\x00\x00\x00\x00\x00"
    step("bytes behind a request are ignored", lambda: brokers[1].exchange(behind)[:4].hex())
    for version in range(14):
        step(f"Metadata v{version} of no topic", lambda v=version: ask("Metadata", v, topics=[], allow_auto_topic_creation=False))
    step("Metadata of an unknown topic", lambda: ask("Metadata", 9, topics=[{"name": "none-such"}], allow_auto_topic_creation=False))
    step("Metadata of a topic with a bad name", lambda: ask("Metadata", 9, topics=[{"name": "a b"}], allow_auto_topic_creation=True))
    step("Metadata of an unknown topic id", lambda: ask("Metadata", 12, topics=[{"name": None, "topic_id": "00000000-0000-4000-8000-00000000abcd"}]))
    for node in brokers:
        step(f"Metadata from broker {node} names the same cluster", lambda n=node: ask("Metadata", 8, n, topics=[], allow_auto_topic_creation=False))
    for version in range(3):
        step(f"DescribeCluster v{version}", lambda v=version: ask("DescribeCluster", v))


def topics() -> None:
    for version in range(2, 8):
        step(f"CreateTopics v{version}", lambda v=version: create(created(f"made-{v}", 2), v))
    for version in range(2, 8):
        wait_for(f"made-{version}", 2)
    step("CreateTopics with the broker's defaults", lambda: create(created("defaults", -1, -1), 5))
    step("CreateTopics only validated", lambda: create(created("validated"), validate_only=True))
    step("a topic that was only validated is not there", lambda: ask("Metadata", 9, topics=[{"name": "validated"}], allow_auto_topic_creation=False))
    step("CreateTopics of an existing topic", lambda: create(created("made-2")))
    for name in ("", ".", "..", "a b", "a/b", "x" * 249, "x" * 250):
        step(f"CreateTopics named {name[:12]!r} of {len(name)} characters", lambda n=name: create(created(n)))
    step("CreateTopics that collides with a topic by dot and underscore", lambda: [create(created("a.b")), create(created("a_b"))])
    step("CreateTopics with no partitions", lambda: create(created("parts", 0)))
    step("CreateTopics with more replicas than brokers", lambda: create(created("replicas", 1, 4)))
    step("CreateTopics with no replicas", lambda: create(created("replicas", 1, 0)))
    step("CreateTopics with an unknown configuration", lambda: create(created("config", configs=[("no.such", "1")])))
    step("CreateTopics with a wrong configuration value", lambda: create(created("config", configs=[("retention.ms", "soon")])))
    step("CreateTopics with retention.ms", lambda: create(created("kept", configs=[("retention.ms", "60000")]))["topics"][0]["error_code"])
    step("CreateTopics with min.insync.replicas of 0", lambda: create(created("config", configs=[("min.insync.replicas", "0")])))
    by_hand = [{"partition_index": 0, "broker_ids": [2, 3]}, {"partition_index": 1, "broker_ids": [3, 1]}]
    step("CreateTopics with an assignment", lambda: create(created("by-hand", -1, -1, assignments=by_hand)))
    wait_for("by-hand", 2)
    step("an assignment is kept, and its first broker leads", lambda: [[part.leader_id, list(part.replica_nodes)] for part in sorted(raw_metadata("by-hand").partitions, key=lambda part: part.partition_index)])
    holes = [{"partition_index": 0, "broker_ids": [1]}, {"partition_index": 2, "broker_ids": [1]}]
    step("CreateTopics with a hole in the assignment", lambda: create(created("holes", -1, -1, assignments=holes)))
    strange = [{"partition_index": 0, "broker_ids": [9]}]
    step("CreateTopics assigned to an unknown broker", lambda: create(created("strange", -1, -1, assignments=strange)))
    step("CreateTopics with an assignment and a count", lambda: create(created("both", 2, -1, assignments=by_hand)))
    step("CreateTopics twice the same in one request", lambda: ask("CreateTopics", 5, topics=[created("twice"), created("twice")], timeout_ms=10000))
    step("CreateTopics asked of every broker", lambda: [ask("CreateTopics", 5, node, topics=[created(f"at-{node}")], timeout_ms=10000) for node in brokers])
    for version in (1, 5, 9, 10, 12, 13):
        step(f"Metadata v{version} of a topic", lambda v=version: ask("Metadata", v, topics=[{"name": "made-2", "topic_id": NO_ID}], allow_auto_topic_creation=False))
    step("Metadata by topic id", lambda: ask("Metadata", 12, topics=[{"name": None, "topic_id": topic_id("made-2")}]))
    step("Metadata creates a topic when asked to", lambda: ask("Metadata", 9, topics=[{"name": "by-metadata"}], allow_auto_topic_creation=True)["topics"][0]["error_code"])
    wait_for("by-metadata", 1)
    step("DescribeTopicPartitions", lambda: ask("DescribeTopicPartitions", 0, topics=[{"name": "made-2"}, {"name": "none-such"}], response_partition_limit=10, cursor=None))
    step("DescribeTopicPartitions in pages", lambda: ask("DescribeTopicPartitions", 0, topics=[{"name": "made-2"}, {"name": "made-3"}], response_partition_limit=1, cursor=None))
    for version in range(4):
        step(f"CreatePartitions v{version}", lambda v=version: ask("CreatePartitions", v, topics=[{"name": "made-4", "count": 3 + v, "assignments": None}], timeout_ms=10000))
    for count, name in ((2, "fewer"), (6, "as many"), (0, "none")):
        step(f"CreatePartitions to {name}", lambda c=count: ask("CreatePartitions", 1, topics=[{"name": "made-4", "count": c, "assignments": None}], timeout_ms=10000))
    step("CreatePartitions of an unknown topic", lambda: ask("CreatePartitions", 1, topics=[{"name": "none-such", "count": 3, "assignments": None}], timeout_ms=10000))
    for version in (1, 3, 5):
        step(f"DeleteTopics v{version}", lambda v=version: ask("DeleteTopics", v, topic_names=[f"made-{v + 2}"], timeout_ms=10000))
        wait_until_gone(f"made-{version + 2}")
    step("DeleteTopics v6 by name and by unknown id", lambda: ask("DeleteTopics", 6, topics=[{"name": "at-1", "topic_id": NO_ID}, {"name": None, "topic_id": "00000000-0000-4000-8000-00000000abcd"}], timeout_ms=10000))
    step("DeleteTopics of an unknown topic", lambda: ask("DeleteTopics", 5, topic_names=["none-such"], timeout_ms=10000))
    wait_until_gone("at-1")
    step("a deleted topic is unknown", lambda: ask("Metadata", 9, topics=[{"name": "made-3"}], allow_auto_topic_creation=False))


def configurations() -> None:
    create(created("config", configs=[("min.insync.replicas", "2")]))
    wait_for("config", 1)

    def describe(version: int, kind: int = 2, name: str = "config", keys=("retention.ms", "cleanup.policy", "max.message.bytes", "min.insync.replicas")):
        asked = {"resource_type": kind, "resource_name": name, "configuration_keys": list(keys) if keys is not None else None}
        return ask("DescribeConfigs", version, resources=[asked], include_synonyms=False, include_documentation=False)

    def alter(key: str, value, operation: int = 0, name: str = "config", validate_only: bool = False):
        asked = {"resource_type": 2, "resource_name": name, "configs": [{"name": key, "config_operation": operation, "value": value}]}
        return ask("IncrementalAlterConfigs", 1, resources=[asked], validate_only=validate_only)

    for version in range(1, 5):
        step(f"DescribeConfigs v{version}", lambda v=version: describe(v))
    step("DescribeConfigs of all of a topic: the names", lambda: sorted(entry["name"] for entry in describe(4, keys=None)["results"][0]["configs"]))
    step("DescribeConfigs of an unknown topic", lambda: describe(4, name="none-such"))
    step("DescribeConfigs of an unknown option", lambda: describe(4, keys=["no.such"]))
    step("DescribeConfigs of a broker", lambda: describe(4, 4, "1", ["log.retention.hours", "min.insync.replicas", "auto.create.topics.enable"]))
    step("IncrementalAlterConfigs sets", lambda: alter("max.message.bytes", "120000"))
    step("what was set is described", lambda: patiently(lambda: expecting(describe(4, keys=["max.message.bytes"]), "120000")))
    step("IncrementalAlterConfigs deletes", lambda: alter("max.message.bytes", None, 1))
    step("what was deleted has its default", lambda: patiently(lambda: expecting(describe(4, keys=["max.message.bytes"]), "1048588")))
    step("IncrementalAlterConfigs sets retention.ms", lambda: alter("retention.ms", "120000"))
    step("IncrementalAlterConfigs appends to a list", lambda: alter("cleanup.policy", "compact", 2))
    step("IncrementalAlterConfigs appends to what is no list", lambda: alter("retention.ms", "1", 2))
    step("IncrementalAlterConfigs only validated", lambda: alter("retention.ms", "5", validate_only=True))
    step("IncrementalAlterConfigs with a wrong value", lambda: alter("retention.ms", "soon"))
    step("IncrementalAlterConfigs with an unknown option", lambda: alter("no.such", "1"))
    step("IncrementalAlterConfigs of an unknown topic", lambda: alter("retention.ms", "1", name="none-such"))
    sources()


def sources() -> None:
    """Where options have their values from: the topic or group itself, one broker, all brokers, Kafka."""

    def describe(name: str, keys=None, kind: int = 2, node: int = 1):
        asked = {"resource_type": kind, "resource_name": name, "configuration_keys": keys}
        found = brokers[node].ask("DescribeConfigs", 4, resources=[asked], include_synonyms=True, include_documentation=False)
        # By their names, as tools sort them too; but which value counts is told by the order of the synonyms.
        return sorted([entry.name, entry.value, entry.config_source, [[one.name, one.value, one.source] for one in entry.synonyms]] for entry in found.results[0].configs)

    def alter(kind: int, name: str, key: str, value: str | None) -> None:
        asked = {"resource_type": kind, "resource_name": name, "configs": [{"name": key, "config_operation": int(value is None), "value": value}]}
        answer = ask("IncrementalAlterConfigs", 1, resources=[asked], validate_only=False)
        assert answer["responses"][0]["error_code"] == 0, answer

    def from_there(source: int, count: int, *asked, **more):
        """The description once so many values are from this source. Kafka names a source before it takes the value from it."""

        def seen():
            found = describe(*asked, **more)
            assert sum(entry[2] == source and entry[1] == entry[3][0][1] for entry in found) == count, found
            return found

        return patiently(seen)

    step("DescribeConfigs of a topic with synonyms", lambda: from_there(1, 3, "config"))
    keys = ["retention.ms", "segment.ms", "flush.ms", "max.message.bytes", "compression.type"]
    for key, value in (("log.retention.ms", "300000000"), ("message.max.bytes", "900000"), ("compression.type", "lz4")):
        alter(4, "", key, value)
    step("DescribeConfigs of a topic has what all brokers have", lambda: from_there(3, 3, "by-hand", keys))
    step("CreateTopics tells what all brokers have", lambda: [[entry["name"], entry["value"], entry["config_source"]] for entry in create(created("from-all"))["topics"][0]["configs"] if entry["name"] in keys])
    alter(4, "1", "log.retention.ms", "200000000")
    step("DescribeConfigs of a topic has what the asked broker has", lambda: from_there(2, 1, "by-hand", keys))
    step("DescribeConfigs of a topic asked of another broker", lambda: from_there(3, 3, "by-hand", keys, node=2))
    step("DescribeConfigs of a topic's own value with synonyms", lambda: describe("config", ["retention.ms"]))
    alter(4, "1", "log.retention.ms", None)
    for key in ("log.retention.ms", "message.max.bytes", "compression.type"):
        alter(4, "", key, None)
    alter(32, "sourced", "consumer.session.timeout.ms", "50000")
    step("DescribeConfigs of a group with synonyms", lambda: [entry for entry in from_there(8, 1, "sourced", kind=32) if entry[0].startswith("consumer.")])
    alter(32, "sourced", "consumer.session.timeout.ms", None)

    def as_before():
        assert all(entry[2] == 5 for node in brokers for entry in describe("by-hand", keys, node=node))

    patiently(as_before)


def expecting(answer, value: str):
    assert answer["results"][0]["configs"][0]["value"] == value
    return answer


def producing() -> None:
    # What is written has the same old dates in every run, by which a slow one would see it deleted.
    kept = [("retention.ms", "-1")]
    for name in ("log", "idle", "newest", "exact", "small"):
        create(created(name, configs=kept + [("max.message.bytes", "1000")] if name == "small" else kept))
        wait_for(name, 1)
    for version in range(3, 14):
        # The newest versions write elsewhere, so that a target without them keeps the offsets of the steps below.
        step(f"Produce v{version}", lambda v=version: produce("log" if v < 12 else "newest", batch([f"v{v}".encode()]), v))
    for acks in (1, -1):
        step(f"Produce with acks={acks}", lambda a=acks: produce("log", batch([f"acks {a}".encode()]), acks=a))
    step("Produce with acks=0 is not answered", lambda: produce("log", batch([b"acks 0"]), acks=0))
    step("Produce with acks=2", lambda: produce("log", batch([b"x"]), acks=2))
    step("Produce compressed by gzip", lambda: produce("log", batch([b"a" * 100, b"b"], 1)))
    step("Produce of several records", lambda: produce("log", batch([b"1", b"2", b"3"])))
    step("Produce to an unknown topic", lambda: produce("none-such", batch([b"x"]), node=1))
    step("Produce to an unknown topic id", lambda: ask("Produce", 13, transactional_id=None, acks=-1, timeout_ms=10000, topic_data=[{"topic_id": "00000000-0000-4000-8000-00000000abcd", "partition_data": [{"index": 0, "records": batch([b"x"])}]}]))
    step("Produce to an unknown partition", lambda: produce("log", batch([b"x"]), partition=7, node=leader("log")))
    step("Produce to a follower", lambda: produce("log", batch([b"x"]), node=follower("log")))
    step("Produce v12 to a follower names the leader", lambda: produce("log", batch([b"x"]), 12, node=follower("log")))
    broken = bytearray(batch([b"broken"]))
    broken[-1] ^= 1
    step("Produce with a wrong checksum", lambda: produce("log", bytes(broken)))
    step("Produce of a batch that is cut short", lambda: produce("log", batch([b"cut"])[:-5]))
    step("Produce of no records", lambda: produce("log", b""))
    step("Produce of two batches at once", lambda: produce("log", batch([b"one"]) + batch([b"two"])))
    step("Produce in the old message format 1", lambda: produce("log", batch([b"old"], magic=1), 3))
    step("Produce above max.message.bytes", lambda: produce("small", batch([b"x" * 2000])))
    step("Produce with a timestamp in the far future", lambda: produce("log", batch([b"future"], time=4_000_000_000_000)))
    wrong_count = bytearray(batch([b"a", b"b"]))
    wrong_count[57:61] = (5).to_bytes(4, "big")
    step("Produce with a wrong count of records", lambda: produce("log", with_checksum(wrong_count)))
    step("Produce with a transactional id that is unknown", lambda: produce("log", batch([b"x"], producer_id=12345, producer_epoch=0, base_sequence=0, transactional=True), transactional_id="none"))


def with_checksum(data: bytearray) -> bytes:
    """The batch with the checksum that its changed content needs."""
    from kafka.record.util import calc_crc32c

    data[17:21] = calc_crc32c(memoryview(data)[21:]).to_bytes(4, "big")
    return bytes(data)


def idempotence() -> None:
    def begin(version: int = 4):
        return brokers[1].ask("InitProducerId", version, transactional_id=None, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1)

    for version in range(6):
        step(f"InitProducerId v{version}", lambda v=version: {**names.plain(patiently(lambda: succeeded(begin(v)))), "producer_id": "some"})
    producer = begin().producer_id

    def send(sequence: int, values=(b"x",), epoch: int = 0, who: int | None = None):
        data = batch(list(values), producer_id=producer if who is None else who, producer_epoch=epoch, base_sequence=sequence)
        return produce("exact", data)

    step("the first sequence is taken", lambda: send(0))
    step("the next sequence is taken", lambda: send(1, (b"a", b"b")))
    step("a duplicate gets the offset that it had", lambda: send(1, (b"a", b"b")))
    step("an older duplicate within five batches", lambda: send(0))
    step("a gap in the sequence", lambda: send(9))
    step("the sequence goes on after a gap was refused", lambda: send(3))
    for number in range(6):
        send(4 + number)
    step("a duplicate beyond five batches", lambda: send(0))
    step("an older epoch after a newer one", lambda: [send(0, epoch=1), send(1, epoch=0)])
    step("a newer epoch that does not begin at 0", lambda: send(5, epoch=2))
    step("a producer that is not known begins with any sequence", lambda: send(5, who=producer + 1000))
    step("what was written once is there once", lambda: fetch("exact", 0))


def compaction() -> None:
    """Segments last a second by the records' own times, so that each batch with a later time closes the one before it."""
    configs = [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.01"), ("delete.retention.ms", "1000")]
    create(created("prices", configs=configs))
    wait_for("prices", 1)
    begun = brokers[1].ask("InitProducerId", 4, transactional_id=None, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1)

    def put(key: bytes, values: list, seconds: int = 0, codec: int = 0, **producer_state):
        answer = produce("prices", batch(values, codec, key, 1_700_000_000_000 + seconds * 1000, **producer_state))
        assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0, answer

    def shapes() -> list:
        """The batches of the log, with what compaction may change of them. Kafka gives no more than one segment at once."""
        seen, offset = [], 0
        while True:
            asked = {"partition": 0, "fetch_offset": offset, "partition_max_bytes": 1 << 20, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
            answer = brokers[leader("prices")].ask(
                "Fetch", 11, max_wait_ms=0, min_bytes=1, max_bytes=1 << 20, topics=[{"topic": "prices", "partitions": [asked]}], forgotten_topics_data=[], rack_id=""
            )
            found = batches(bytes(answer.responses[0].partitions[0].records or b""))
            if not found:
                return seen
            seen += found
            offset = seen[-1]["base_offset"] + seen[-1]["delta"] + 1

    def compacted(gone: int) -> list:
        """The log once the batch that begins at an offset has gone, or has lost its records."""

        def seen():
            now = shapes()
            assert all(one["base_offset"] != gone for one in now), now
            return now

        return patiently(seen, seconds=90)

    # The record of c lasts longer than a segment, so that another is begun with it.
    put(b"a", [b"1"])
    put(b"a", [b"2"])
    put(b"b", [b"1"])
    put(b"c", [b"1", b"2", b"3"], codec=1)
    put(b"d", [b"1"], producer_id=begun.producer_id, producer_epoch=0, base_sequence=0)
    put(b"d", [b"2"])
    step("what is being written is not compacted", shapes)
    put(b"e", [b"1"], 10)
    step("compaction keeps the last record of each key, and the last batch of each producer", lambda: compacted(0))
    step("Fetch from the beginning, which is a hole", lambda: fetch("prices", 0, partition_max_bytes=1))
    step("Fetch from inside of a batch that has a hole", lambda: fetch("prices", 4, partition_max_bytes=1))
    step("Fetch of a batch without records", lambda: fetch("prices", 6, partition_max_bytes=1))
    step("ListOffsets of a compacted log", lambda: [offsets("prices", -2), offsets("prices", -1), offsets("prices", 1_700_000_000_000)])
    put(b"d", [b"3"], 10, producer_id=begun.producer_id, producer_epoch=0, base_sequence=1)
    put(b"b", [None], 20)
    put(b"f", [b"1"], 30)
    step("a deletion replaces what it deletes, and gets a time from which it may go", lambda: compacted(2))
    time.sleep(1.5)
    put(b"g", [b"1"], 40)
    step("a deletion goes when its time has come", lambda: compacted(10))
    step("Fetch over a hole of several batches", lambda: fetch("prices", 6, partition_max_bytes=1))


def succeeded(answer):
    assert answer.error_code == 0, answer
    return answer


def fetching() -> None:
    for version in range(4, 18):
        step(f"Fetch v{version} of two records", lambda v=version: fetch("log", 0, v, partition_max_bytes=180))
    step("Fetch of everything", lambda: fetch("log", 0))
    step("Fetch from within a batch", lambda: fetch("log", 12))
    step("Fetch at the end waits and is empty", lambda: fetch("idle", 0))
    step("Fetch beyond the end", lambda: fetch("log", 9999))
    step("Fetch before the beginning", lambda: fetch("log", -5))
    step("Fetch of an unknown topic", lambda: fetch("none-such", 0, node=1))
    step("Fetch of an unknown topic id", lambda: ask("Fetch", 13, max_wait_ms=100, min_bytes=1, max_bytes=1000, topics=[{"topic_id": "00000000-0000-4000-8000-00000000abcd", "partitions": [{"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}]}], forgotten_topics_data=[], rack_id=""))
    step("Fetch of an unknown partition", lambda: fetch("log", 0, partition=7, node=leader("log")))
    step("Fetch from a follower", lambda: fetch("log", 0, node=follower("log")))
    step("Fetch v16 from a follower names the leader", lambda: fetch("log", 0, 16, node=follower("log")))
    step("Fetch with an epoch of the future", lambda: fetch("log", 0, current_leader_epoch=9))
    step("Fetch with the present epoch", lambda: fetch("log", 30, current_leader_epoch=0))
    step("Fetch with a diverging epoch", lambda: fetch("log", 30, 12, last_fetched_epoch=0))
    for version in range(1, 11):
        step(f"ListOffsets v{version} of the end", lambda v=version: offsets("log", -1, v))
    step("ListOffsets of the beginning", lambda: offsets("log", -2))
    step("ListOffsets of the largest timestamp", lambda: offsets("log", -3, 7))
    # Whether an offset found by time comes with its epoch depends on how warm Kafka's cache of epochs is.
    for name, time in (("a time", 1_700_000_000_500), ("a time before all", 1), ("a time after all", 4_100_000_000_000)):
        step(f"ListOffsets of {name}", lambda t=time: offset_and_time(offsets("log", t)))
    step("ListOffsets of an empty partition", lambda: [offsets("idle", -1), offsets("idle", -2), offsets("idle", -3, 7), offsets("idle", 1)])
    step("ListOffsets of an unknown topic", lambda: offsets("none-such", -1, node=1))
    step("ListOffsets of a follower", lambda: offsets("log", -1, node=follower("log")))
    step("ListOffsets with an epoch of the future", lambda: offsets("log", -1, epoch=9))

    def end_of(epoch: int, version: int, current: int = -1, topic: str = "log", node: int | None = None):
        part = {"partition": 0, "current_leader_epoch": current, "leader_epoch": epoch}
        return ask("OffsetForLeaderEpoch", version, node or leader(topic), replica_id=-1, topics=[{"topic": topic, "partitions": [part]}])

    for version in (2, 3, 4):
        step(f"OffsetForLeaderEpoch v{version}", lambda v=version: end_of(0, v))
    step("OffsetForLeaderEpoch of a future epoch", lambda: end_of(5, 4))
    step("OffsetForLeaderEpoch with a wrong current epoch", lambda: end_of(0, 4, 9))
    step("OffsetForLeaderEpoch of a follower", lambda: end_of(0, 4, node=follower("log")))
    step("OffsetForLeaderEpoch of an unknown topic", lambda: end_of(0, 4, topic="none-such", node=1))


def offset_and_time(answer) -> list:
    part = answer["topics"][0]["partitions"][0]
    return [part["error_code"], part["offset"], part["timestamp"]]


def sessions() -> None:
    """Incremental fetch sessions (KIP-227): a full fetch opens one, later fetches name only what changed."""
    node = leader("idle")

    def ask_session(session: int, epoch: int, asked: bool):
        part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
        topics = [{"topic": "idle", "partitions": [part]}] if asked else []
        return brokers[node].ask("Fetch", 11, max_wait_ms=100, min_bytes=1, max_bytes=1000, session_id=session, session_epoch=epoch, topics=topics, forgotten_topics_data=[], rack_id="")

    opened = ask_session(0, 0, True)
    step("a fetch session is opened", lambda: names.plain(opened))
    step("a fetch session answers only what changed", lambda: names.plain(ask_session(opened.session_id, 1, False)))
    step("a fetch session with a wrong epoch", lambda: names.plain(ask_session(opened.session_id, 9, False)))
    step("a fetch session that is unknown", lambda: names.plain(ask_session(987654, 1, False)))


def groups() -> None:
    for version in range(4):
        step(f"FindCoordinator v{version}", lambda v=version: patiently(lambda: found(ask("FindCoordinator", v, key="dual", key_type=0))))
    for version in (4, 5, 6):
        step(f"FindCoordinator v{version}", lambda v=version: ask("FindCoordinator", v, key_type=0, coordinator_keys=["dual", "other"]))
    step("FindCoordinator of an unknown kind", lambda: ask("FindCoordinator", 3, key="dual", key_type=9))
    step("FindCoordinator of a group without a name", lambda: ask("FindCoordinator", 3, key="", key_type=0))
    home = coordinator("dual")
    away = next(node for node in brokers if node != home)
    subscription = b"\x00\x00\x00\x00\x00\x01\x00\x03log\xff\xff\xff\xff"

    def join(member: str = "", version: int = 7, group: str = "dual", node: int = home, session: int = 10000, kind: str = "consumer", protocols=(("range", subscription),), **more):
        asked = [{"name": name, "metadata": data} for name, data in protocols]
        return brokers[node].ask("JoinGroup", version, group_id=group, session_timeout_ms=session, rebalance_timeout_ms=10000, member_id=member, protocol_type=kind, protocols=asked, **more)

    def sync(member: str, generation: int, version: int = 5, **more):
        fields = {"protocol_type": "consumer", "protocol_name": "range", **more} if version >= 5 else more
        return ask("SyncGroup", version, home, group_id="dual", generation_id=generation, member_id=member, assignments=[{"member_id": member, "assignment": b"mine"}], **fields)

    def beat(member: str, generation: int, version: int = 4, node: int = home):
        return ask("Heartbeat", version, node, group_id="dual", generation_id=generation, member_id=member)

    first = join()
    step("JoinGroup v7 without a member id is told one", lambda: names.plain(first))
    joined = join(first.member_id)
    member = joined.member_id
    step("JoinGroup with that id", lambda: names.plain(joined))
    step("SyncGroup of the leader", lambda: sync(member, joined.generation_id))
    for version in range(5):
        step(f"Heartbeat v{version}", lambda v=version: beat(member, joined.generation_id, v))
    step("Heartbeat of another generation", lambda: beat(member, 99))
    step("Heartbeat of an unknown member", lambda: beat("nobody", joined.generation_id))
    step("Heartbeat at another broker", lambda: beat(member, joined.generation_id, node=away))
    step("SyncGroup again gives the same assignment", lambda: sync(member, joined.generation_id))
    step("SyncGroup of another generation", lambda: sync(member, 99))
    step("SyncGroup with another protocol", lambda: sync(member, joined.generation_id, protocol_name="roundrobin"))
    step("JoinGroup of an unknown member", lambda: names.plain(join("nobody")))
    step("JoinGroup without a group id", lambda: names.plain(join(group="")))
    step("JoinGroup with a session that is too short", lambda: names.plain(join(session=1)))
    step("JoinGroup with a session that is too long", lambda: names.plain(join(session=10_000_000)))
    step("JoinGroup of another kind", lambda: names.plain(join(kind="connect")))
    step("JoinGroup with a protocol that the group has not", lambda: names.plain(join(protocols=(("other", b""),))))
    step("JoinGroup without protocols", lambda: names.plain(join(protocols=())))
    step("JoinGroup at another broker", lambda: names.plain(join(node=away)))
    for version in (2, 3, 4, 5, 6, 8, 9):
        step(f"JoinGroup v{version} of a new group", lambda v=version: names.plain(join(version=v, group=f"join-{v}", node=coordinator(f"join-{v}"))))
    committing(home, away, member, joined.generation_id)
    describing(home, away)
    leaving(home, member)
    static_members()


def found(answer):
    assert answer["error_code"] == 0, answer
    return answer


def committing(home: int, away: int, member: str, generation: int) -> None:
    def commit(offset: int, version: int = 8, who: str = member, when: int = generation, group: str = "dual", node: int = home, topic: str = "log", partition: int = 0, metadata: str = "note"):
        part = {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": metadata}
        return ask("OffsetCommit", version, node, group_id=group, generation_id_or_member_epoch=when, member_id=who, topics=[{"name": topic, "partitions": [part]}])

    def committed(version: int = 7, group: str = "dual", topics=({"name": "log", "partition_indexes": [0, 1]},), node: int = home):
        asked = list(topics) if topics is not None else None
        if version >= 8:
            return ask("OffsetFetch", version, node, groups=[{"group_id": group, "topics": asked}], require_stable=False)
        return ask("OffsetFetch", version, node, group_id=group, topics=asked)

    for version in range(2, 10):
        step(f"OffsetCommit v{version}", lambda v=version: commit(10 + v, v))
    for version in range(1, 10):
        step(f"OffsetFetch v{version}", lambda v=version: committed(v))
    step("OffsetFetch of all topics", lambda: committed(topics=None))
    step("OffsetFetch of an unknown group", lambda: committed(group="none-such", node=coordinator("none-such")))
    step("OffsetFetch at another broker", lambda: committed(node=away))
    step("OffsetCommit of another generation", lambda: commit(1, when=99))
    step("OffsetCommit of an unknown member", lambda: commit(1, who="nobody"))
    step("OffsetCommit without a member while the group has some", lambda: commit(1, who="", when=-1))
    step("OffsetCommit at another broker", lambda: commit(1, node=away))
    step("OffsetCommit for an unknown topic", lambda: commit(1, topic="none-such"))
    step("OffsetCommit for an unknown partition", lambda: commit(1, partition=9))
    step("OffsetCommit with metadata that is too long", lambda: commit(1, metadata="x" * 5000))
    step("OffsetCommit without a group", lambda: commit(1, group="", who="", when=-1))
    step("OffsetCommit of a simple consumer", lambda: commit(3, group="simple", node=coordinator("simple"), who="", when=-1))
    step("refused commits changed nothing", lambda: committed())
    committing_for_a_time()


def committing_for_a_time() -> None:
    """Only versions 2 to 4 say for how long an offset is kept. Whether it goes then is seen after minutes, when a broker next looks: not here."""
    group = "kept"
    home = coordinator(group)

    def commit(offset: int, version: int, retention_ms: int):
        part = {"partition_index": 0, "committed_offset": offset, "committed_leader_epoch": -1, "committed_metadata": "note"}
        return ask("OffsetCommit", version, home, group_id=group, generation_id_or_member_epoch=-1, member_id="", retention_time_ms=retention_ms, topics=[{"name": "log", "partitions": [part]}])

    def committed():
        return ask("OffsetFetch", 7, home, group_id=group, topics=[{"name": "log", "partition_indexes": [0]}])

    for version in (2, 3, 4):
        step(f"OffsetCommit v{version} for an hour", lambda v=version: [commit(20 + v, v, 3_600_000), committed()])
    for name, retention_ms in (("no time", 0), ("the broker's own time", -1), ("less than no time", -2), ("all time", (1 << 63) - 1)):
        step(f"OffsetCommit for {name}", lambda kept=retention_ms: [commit(30, 2, kept), committed()])
    step("OffsetCommit for an hour without the hour takes its place", lambda: [commit(41, 2, 3_600_000), commit(42, 4, -1), committed()])


def describing(home: int, away: int) -> None:
    for version in range(7):
        step(f"DescribeGroups v{version}", lambda v=version: ask("DescribeGroups", v, home, groups=["dual"]))
    step("DescribeGroups of an unknown group", lambda: [ask("DescribeGroups", version, coordinator("none-such"), groups=["none-such"]) for version in (5, 6)])
    step("DescribeGroups at another broker", lambda: ask("DescribeGroups", 5, away, groups=["dual"]))
    for version in range(6):
        step(f"ListGroups v{version}", lambda v=version: [group for group in ask("ListGroups", v, home)["groups"] if group["group_id"] == "dual"])
    step("ListGroups in state Empty does not name it", lambda: [group for group in ask("ListGroups", 4, home, states_filter=["Empty"])["groups"] if group["group_id"] == "dual"])
    step("ListGroups by kind", lambda: [group for group in ask("ListGroups", 5, home, types_filter=["classic"])["groups"] if group["group_id"] == "dual"])
    for version in range(3):
        step(f"DeleteGroups v{version} of a group with members", lambda v=version: ask("DeleteGroups", v, home, groups_names=["dual"]))
    step("DeleteGroups of an unknown group", lambda: ask("DeleteGroups", 2, coordinator("none-such"), groups_names=["none-such"]))
    step("DeleteGroups at another broker", lambda: ask("DeleteGroups", 2, away, groups_names=["dual"]))


def leaving(home: int, member: str) -> None:
    def leave(who: str, version: int, instance: str | None = None):
        if version < 3:
            return ask("LeaveGroup", version, home, group_id="dual", member_id=who)
        return ask("LeaveGroup", version, home, group_id="dual", members=[{"member_id": who, "group_instance_id": instance}])

    step("LeaveGroup of an unknown member", lambda: [leave("nobody", 2), leave("nobody", 4)])
    step("LeaveGroup", lambda: leave(member, 4))
    step("LeaveGroup once more", lambda: [leave(member, version) for version in (0, 1, 2, 3, 5)])
    step("the group is empty", lambda: ask("DescribeGroups", 5, home, groups=["dual"]))
    step("DeleteGroups of the empty group", lambda: ask("DeleteGroups", 2, home, groups_names=["dual"]))
    step("the group's offsets went with it", lambda: ask("OffsetFetch", 7, home, group_id="dual", topics=[{"name": "log", "partition_indexes": [0]}]))


def static_members() -> None:
    home = coordinator("static")

    def join(member: str, instance: str):
        return brokers[home].ask("JoinGroup", 7, group_id="static", session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id=member, group_instance_id=instance, protocol_type="consumer", protocols=[{"name": "range", "metadata": b"m"}])

    first = join("", "a")
    step("a static member joins at once", lambda: names.plain(first))
    step(
        "SyncGroup of a static member",
        lambda: ask("SyncGroup", 5, home, group_id="static", generation_id=first.generation_id, member_id=first.member_id, group_instance_id="a", protocol_type="consumer", protocol_name="range", assignments=[{"member_id": first.member_id, "assignment": b"mine"}]),
    )
    again = join("", "a")
    step("a static member that comes back keeps generation and assignment", lambda: names.plain(again))
    step("its former self is fenced", lambda: ask("Heartbeat", 4, home, group_id="static", generation_id=first.generation_id, member_id=first.member_id, group_instance_id="a"))
    step("an unknown instance", lambda: ask("Heartbeat", 4, home, group_id="static", generation_id=first.generation_id, member_id=again.member_id, group_instance_id="z"))
    step("LeaveGroup by instance", lambda: ask("LeaveGroup", 4, home, group_id="static", members=[{"member_id": "", "group_instance_id": "a"}]))


APIS = {
    0: "Produce", 1: "Fetch", 2: "ListOffsets", 3: "Metadata", 8: "OffsetCommit", 9: "OffsetFetch", 10: "FindCoordinator", 11: "JoinGroup",
    12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup", 15: "DescribeGroups", 16: "ListGroups", 18: "ApiVersions", 19: "CreateTopics",
    20: "DeleteTopics", 22: "InitProducerId", 23: "OffsetForLeaderEpoch", 32: "DescribeConfigs", 37: "CreatePartitions", 42: "DeleteGroups",
    44: "IncrementalAlterConfigs", 60: "DescribeCluster", 75: "DescribeTopicPartitions",
}  # fmt: skip


script.run(versions_and_metadata, topics, configurations, producing, idempotence, fetching, sessions, groups, compaction)
