"""A dual run of groups in which members of the classic protocol and of KIP-848 are mixed. Real Kafka's answers are in real.json.

`RECORD=1 conformance/run kafka-groups --target real` writes them anew. A line says who does what, and what it is told; how many
partitions it gets is told and not which, since that depends on ids that are drawn.
"""

import struct

from harness.check import patiently
from harness.dual import Script
from harness.kafka_wire import CLOSED, Broker

# Two members and three have equal shares of six: who has more than others is decided by the order of ids, which chance gives.
TOPIC, PARTITIONS = "both-orders", 6
NO_ID = "00000000-0000-0000-0000-000000000000"

script = Script("real.json", "both protocols: ")
brokers = {node: Broker(node) for node in (1, 2, 3)}


def step(name: str, seen: str) -> None:
    script.step(name, lambda: seen)


def coordinator(group: str) -> Broker:
    def found():
        answer = brokers[1].ask("FindCoordinator", 4, key_type=0, coordinator_keys=[group])
        assert answer.coordinators[0].error_code == 0
        broker = brokers[answer.coordinators[0].node_id]
        seen = broker.ask("OffsetFetch", 8, groups=[{"group_id": group, "topics": None}], require_stable=False)
        assert seen.groups[0].error_code == 0
        return broker

    return patiently(found)


# What KIP-848 adds, which kafka-python does not know.


def short(text: str | None) -> bytes:
    return b"\0" if text is None else bytes([len(text) + 1]) + text.encode()


def heartbeat_request(group: str, member: str, epoch: int, instance: str | None, topic: bytes, owned) -> bytes:
    joins = epoch == 0
    body = short(group) + short(member) + struct.pack(">i", epoch) + short(instance) + short(None)
    body += struct.pack(">i", 30000 if joins else -1)
    body += b"\x02" + short(TOPIC) if joins else b"\0"
    body += short(None) + short(None)
    parts = b"\x02" + topic + bytes([len(owned) + 1]) + b"".join(struct.pack(">i", part) for part in owned) + b"\0" if owned else b"\x01"
    return struct.pack(">hhih", 68, 1, 7, 4) + b"dual\0" + body + parts + b"\0"


class Answer:
    """The answer to a ConsumerGroupHeartbeat."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 4 + 1 + 4
        (self.error,) = self.take(">h")
        self.message, _ = self.text(), self.text()
        self.epoch, _ = self.take(">ii")
        self.assigned = None
        if self.take(">b")[0] > 0:
            self.assigned = [part for _ in range(self.count()) for part in self.topic()]

    def take(self, shape: str):
        values = struct.unpack_from(shape, self.data, self.at)
        self.at += struct.calcsize(shape)
        return values

    def count(self) -> int:
        return self.take(">B")[0] - 1

    def text(self) -> str | None:
        # Lengths over 126 take two bytes.
        low = self.take(">B")[0]
        length = (low & 127) + (self.take(">B")[0] << 7 if low & 128 else 0) - 1
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def topic(self) -> list[int]:
        self.at += 16
        parts = [self.take(">i")[0] for _ in range(self.count())]
        self.at += 1
        return parts


class Consumer:
    """A member by KIP-848."""

    def __init__(self, group: str, member: str, instance: str | None = None):
        self.group, self.member, self.instance, self.epoch, self.owned = group, member, instance, 0, []

    def beat(self, epoch: int | None = None) -> str:
        epoch = self.epoch if epoch is None else epoch
        raw = coordinator(self.group).exchange(heartbeat_request(self.group, self.member, epoch, self.instance, topic_id(), self.owned))
        assert raw is not CLOSED
        told = Answer(raw)
        if told.error:
            return f"error {told.error}: {told.message}"
        self.epoch = told.epoch
        if told.assigned is not None:
            self.owned = told.assigned
        return f"epoch {told.epoch}, {len(self.owned)} partitions"


class Classic:
    """A member of the classic protocol, which keeps what it may (`cooperative-sticky`)."""

    def __init__(self, group: str, instance: str | None = None, protocol: str = "cooperative-sticky", kind: str = "consumer"):
        self.group, self.instance, self.protocol, self.kind = group, instance, protocol, kind
        self.member, self.generation, self.owned, self.others = "", -1, [], []

    def ask(self, api: str, version: int, **fields):
        return coordinator(self.group).ask(api, version, group_id=self.group, **fields)

    def join(self, metadata: bytes | None = None) -> str:
        metadata = subscription(self.owned) if metadata is None else metadata

        def asked():
            protocols = [{"name": self.protocol, "metadata": metadata}]
            return self.ask("JoinGroup", 9, session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id=self.member,
                            group_instance_id=self.instance, protocol_type=self.kind, protocols=protocols, reason=None)

        told = asked()
        if told.error_code == 79:
            self.member = told.member_id
            told = asked()
        if told.error_code:
            return f"error {told.error_code}, member {'named' if told.member_id else 'not named'}"
        self.member, self.generation = told.member_id, told.generation_id
        self.others = [other.member_id for other in told.members]
        leads = "nobody leads" if not told.leader else "leads" if told.leader == told.member_id else "follows"
        return f"generation {told.generation_id}, {leads}, {told.protocol_type} {told.protocol_name}"

    def sync(self, generation: int | None = None, protocol: str | None = None, kind: str | None = None, given: bytes | None = None) -> str:
        share = PARTITIONS // max(1, len(self.others))
        parts = [list(range(place * share, (place + 1) * share)) for place in range(len(self.others))]
        assignments = [{"member_id": other, "assignment": assignment(owned) if given is None else given} for other, owned in zip(self.others, parts)]
        told = self.ask("SyncGroup", 5, generation_id=self.generation if generation is None else generation, member_id=self.member,
                        group_instance_id=self.instance, protocol_type=kind or self.kind, protocol_name=protocol or self.protocol, assignments=assignments)
        if told.error_code:
            return f"error {told.error_code}"
        if given is None:
            self.owned = assigned(bytes(told.assignment))
        return f"{len(self.owned)} partitions, version {bytes(told.assignment)[:2].hex()}, {told.protocol_type} {told.protocol_name}"

    def beat(self, generation: int | None = None) -> str:
        told = self.ask("Heartbeat", 4, generation_id=self.generation if generation is None else generation, member_id=self.member, group_instance_id=self.instance)
        return f"error {told.error_code}"

    def leave(self) -> str:
        told = self.ask("LeaveGroup", 5, members=[{"member_id": self.member, "group_instance_id": self.instance, "reason": None}])
        return f"error {told.error_code}, {[member.error_code for member in told.members]}"

    def commit(self, generation: int, version: int = 8) -> str:
        part = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}
        told = self.ask("OffsetCommit", version, generation_id_or_member_epoch=generation, member_id=self.member, topics=[{"name": TOPIC, "partitions": [part]}])
        return f"error {told.topics[0].partitions[0].error_code}"


def partitions(owned: list[int]) -> bytes:
    name = TOPIC.encode()
    return struct.pack(">ih", 1, len(name)) + name + struct.pack(f">i{len(owned)}i", len(owned), *owned)


def subscription(owned: list[int]) -> bytes:
    name = TOPIC.encode()
    return struct.pack(">hih", 1, 1, len(name)) + name + struct.pack(">i", -1) + partitions(owned)


def assignment(owned: list[int], data: bytes = b"") -> bytes:
    return struct.pack(">h", 1) + partitions(owned) + (struct.pack(">i", len(data)) + data if data else struct.pack(">i", -1))


def assigned(data: bytes) -> list[int]:
    (topics,) = struct.unpack_from(">i", data, 2)
    if not topics:
        return []
    (length,) = struct.unpack_from(">h", data, 6)
    (count,) = struct.unpack_from(">i", data, 8 + length)
    return list(struct.unpack_from(f">{count}i", data, 12 + length))


def topic_id() -> bytes:
    def known():
        topic = brokers[1].ask("Metadata", 12, topics=[{"name": TOPIC, "topic_id": NO_ID}], allow_auto_topic_creation=False).topics[0]
        assert topic.error_code == 0 and len(topic.partitions) == PARTITIONS
        return topic.topic_id

    identifier = patiently(known)
    return getattr(identifier, "bytes", identifier)


def listed(group: str) -> str:
    groups = coordinator(group).ask("ListGroups", 5, states_filter=[], types_filter=[]).groups
    return " ".join(f"{one.group_type} {one.group_state} {one.protocol_type}" for one in groups if one.group_id == group)


def both_ways() -> None:
    old, new, third = Classic("both"), Consumer("both", "new"), Classic("both")
    step("a classic member joins", old.join())
    step("and syncs", old.sync())
    step("a member of KIP-848 joins, and the group goes over", new.beat())
    step("the group is listed as one of KIP-848", listed("both"))
    step("the classic member is told to join again", old.beat())
    step("and not what it has", old.sync())
    step("with another generation", old.beat(9))
    step("it joins", old.join())
    step("it syncs and learns what to give up", old.sync())
    step("with another protocol", old.sync(protocol="range"))
    step("with another kind", old.sync(kind="connect"))
    step("with another generation it cannot sync", old.sync(generation=9))
    step("the new member waits", new.beat())
    step("the old one is to say that it has given up", old.beat())
    step("it does", old.join())
    step("it syncs again", old.sync())
    step("it is told nothing more", old.beat())
    step("the new member gets its share", new.beat())
    step("a commit in its generation", old.commit(old.generation))
    step("a commit in another", old.commit(old.generation + 5))
    step("a commit by nobody", Classic("both").commit(-1))
    step("another classic member joins", third.join())
    step("it syncs", third.sync())
    for turn in range(3):
        step(f"turn {turn}: the old member beats", old.beat())
        step(f"turn {turn}: the old member joins", old.join())
        step(f"turn {turn}: the old member syncs", old.sync())
        step(f"turn {turn}: the new member beats", new.beat())
        step(f"turn {turn}: the third member beats", third.beat())
        step(f"turn {turn}: the third member joins", third.join())
        step(f"turn {turn}: the third member syncs", third.sync())
    step("a member without an assignor in common", Classic("both", protocol="range").join())
    step("a member of another kind", Classic("both", kind="connect").join())
    step("a member that cannot be understood", Classic("both").join(b"\0"))
    step("an unknown static member", unknown_static("both"))
    step("the last member of KIP-848 leaves, and the group goes back", new.beat(-1))
    step("the group is listed as a classic one", listed("both"))
    step("the old member is told to join again", old.beat())
    step("the third member leaves", third.leave())
    step("and leaves again", third.leave())
    step("the old member joins a classic group", old.join())
    step("and gives itself all", old.sync())
    step("the old member leaves", old.leave())
    step("it is empty", listed("both"))


def unknown_static(group: str) -> str:
    member = Classic(group, instance="nobody")
    member.member = "nobody"
    return f"{member.join()}, {member.beat()}, {member.sync()}"


def static_members() -> None:
    old, new, older = Classic("static", "one"), Consumer("static", "new", "one"), Classic("static", "one")
    step("a static classic member joins", old.join())
    step("a static classic member syncs", old.sync())
    step("it comes back by KIP-848", new.beat())
    step("its former self is fenced", old.beat())
    step("another takes its instance id by KIP-848", Consumer("static", "other", "one").beat())
    step("it comes back as a classic member", older.join())
    step("it syncs as a classic member", older.sync())
    step("and lives", older.beat())
    step("the group went back with it", listed("static"))
    step("the member of KIP-848 is nobody", new.beat())
    step("the static member leaves", older.leave())


def refusals() -> None:
    connect = Classic("refuse-kind", kind="connect")
    connect.join()
    step("a group of another kind is not joined by KIP-848", Consumer("refuse-kind", "new").beat())
    garbled = Classic("refuse-words")
    garbled.join(b"\0")
    garbled.sync()
    step("a group whose subscriptions are malformed", Consumer("refuse-words", "new").beat())
    own = Classic("refuse-data")
    own.join()
    own.sync(given=assignment([0], b"mine"))
    step("a group with an assignor of its own", Consumer("refuse-data", "new").beat())
    strange = Classic("refuse-assignment")
    strange.join()
    strange.sync(given=b"\0")
    step("a group whose assignments are malformed", Consumer("refuse-assignment", "new").beat())
    step("a member that has not joined by KIP-848", Consumer("refuse-data", "new").beat(3))


brokers[1].ask("CreateTopics", 7, topics=[{"name": TOPIC, "num_partitions": PARTITIONS, "replication_factor": 3, "assignments": [], "configs": []}], timeout_ms=20000, validate_only=False)
served = {entry.api_key for entry in brokers[1].ask("ApiVersions", 3, client_software_name="dual", client_software_version="1").api_keys}
step("which APIs of share groups are announced", str(sorted(served & {*range(76, 80), *range(83, 88)})))
script.run(both_ways, static_members, refusals)
