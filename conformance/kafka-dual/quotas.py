"""The script of a dual run: client quotas, set and described, and for how long clients are muted. Real Kafka's answers are kept
in quotas.json.
"""

from wire import Broker, Names, batch

from harness.check import patiently
from harness.dual import Script

names = Names(words=True)
script = Script("quotas.json")
step = script.step
brokers = {node: Broker(node) for node in (1, 2, 3)}
UNKNOWN = "none-such"


def ask(api: str, version: int, node: int = 1, **fields):
    return names.plain(brokers[node].ask(api, version, **fields))


def entity(**parts) -> list:
    """`user="alice", client_id=None`: None is the default."""
    return [{"entity_type": kind.replace("_", "-"), "entity_name": name} for kind, name in parts.items()]


def change(parts: list, *ops: tuple) -> dict:
    """Operations are a key and a value, which is None to remove it."""
    return {"entity": parts, "ops": [{"key": key, "value": 0.0 if value is None else float(value), "remove": value is None} for key, value in ops]}


def alter(*changes: dict, version: int = 1, validate_only: bool = False):
    answer = ask("AlterClientQuotas", version, entries=list(changes), validate_only=validate_only)
    for entry in answer["entries"]:
        entry["entity"].sort(key=str)
    return {**answer, "entries": sorted(answer["entries"], key=str)}


def describe(*components: tuple, strict: bool = False, version: int = 1, node: int = 1):
    """Components are a type, a kind of match (0 just this, 1 the default, 2 any) and a name."""
    asked = [{"entity_type": kind, "match_type": how, "match": name} for kind, how, name in components]
    answer = ask("DescribeClientQuotas", version, node, components=asked, strict=strict)
    for entry in answer["entries"] or []:
        entry["entity"].sort(key=lambda part: part["entity_type"])
        entry["values"].sort(key=lambda value: value["key"])
    if answer["entries"]:
        answer["entries"].sort(key=str)
    return answer


def described_at_all(count: int) -> None:
    def known():
        assert [len(describe(node=node)["entries"]) for node in brokers] == [count] * 3

    patiently(known)


def setting() -> None:
    step("nothing is set", lambda: describe())
    for version in (0, 1):
        step(f"AlterClientQuotas v{version}", lambda v=version: alter(change(entity(user=f"v{v}"), ("producer_byte_rate", 1000 + v)), version=v))
    step("AlterClientQuotas only validated", lambda: alter(change(entity(user="validated"), ("producer_byte_rate", 1)), validate_only=True))
    every = [("producer_byte_rate", 1), ("consumer_byte_rate", 2), ("request_percentage", 0.5), ("controller_mutation_rate", 0.25)]
    step("AlterClientQuotas of every key", lambda: alter(change(entity(user="alice"), *every)))
    parts = [entity(user=None), entity(client_id="c"), entity(client_id=None), entity(user="alice", client_id="c"), entity(user="alice", client_id=None), entity(user=None, client_id="c"), entity(user=None, client_id=None)]
    step("AlterClientQuotas of every kind of entity", lambda: alter(*[change(part, ("producer_byte_rate", 10)) for part in parts]))
    step("AlterClientQuotas by address", lambda: alter(change(entity(ip="10.0.0.1"), ("connection_creation_rate", 5)), change(entity(ip=None), ("connection_creation_rate", 6)), change(entity(ip="::1"), ("connection_creation_rate", 7))))
    step("AlterClientQuotas of strange names", lambda: alter(change(entity(user="a b,c=d\N{LATIN SMALL LETTER E WITH ACUTE}"), ("producer_byte_rate", 1))))
    step("AlterClientQuotas changes what is there", lambda: alter(change(entity(user="v0"), ("producer_byte_rate", 5), ("consumer_byte_rate", 6))))
    step("AlterClientQuotas removes one key", lambda: alter(change(entity(user="v0"), ("producer_byte_rate", None))))
    step("AlterClientQuotas removes what is not there", lambda: alter(change(entity(user="v0"), ("request_percentage", None)), change(entity(user="nobody"), ("producer_byte_rate", None))))
    step("AlterClientQuotas removes an unknown key", lambda: alter(change(entity(user="v0"), ("no_such_key", None))))
    step("AlterClientQuotas removes the last key", lambda: alter(change(entity(user="v1"), ("producer_byte_rate", None))))
    step("AlterClientQuotas of nothing", lambda: [alter(), alter(change(entity(user="nothing")))])


def refusing() -> None:
    wrong = {
        "no entity": change([], ("producer_byte_rate", 1)),
        "an unknown entity": change(entity(group="x"), ("producer_byte_rate", 1)),
        "an entity twice": change(entity(user="a") + entity(user="b"), ("producer_byte_rate", 1)),
        "an entity of an empty type": change([{"entity_type": "", "entity_name": "x"}], ("producer_byte_rate", 1)),
        "a user without a name": change(entity(user=""), ("producer_byte_rate", 1)),
        "a client without a name": change(entity(client_id=""), ("producer_byte_rate", 1)),
        "an address and a user": change(entity(user="a", ip="10.0.0.1"), ("connection_creation_rate", 1)),
        "an address that is none": change(entity(ip="no such host.invalid"), ("connection_creation_rate", 1)),
        "an unknown key": change(entity(user="a"), ("no_such_key", 1)),
        "an empty key": change(entity(user="a"), ("", 1)),
        "a key of addresses for a user": change(entity(user="a"), ("connection_creation_rate", 1)),
        "a key of users for an address": change(entity(ip="10.0.0.1"), ("producer_byte_rate", 1)),
        "0": change(entity(user="a"), ("producer_byte_rate", 0)),
        "less than 0": change(entity(user="a"), ("consumer_byte_rate", -1)),
        "a fraction of a byte": change(entity(user="a"), ("producer_byte_rate", 1.5)),
        "almost a whole byte": change(entity(user="a"), ("producer_byte_rate", 1.0000000001)),
        "a fraction of a connection": change(entity(ip="10.0.0.1"), ("connection_creation_rate", 1.5)),
        "too many connections": change(entity(ip="10.0.0.1"), ("connection_creation_rate", 1e10)),
        "too many bytes": change(entity(user="a"), ("producer_byte_rate", 1e300)),
        "a key twice": change(entity(user="a"), ("producer_byte_rate", 1), ("producer_byte_rate", 2)),
        "a key set and removed": change(entity(user="a"), ("producer_byte_rate", 1), ("producer_byte_rate", None)),
        "a right key and a wrong one": change(entity(user="a"), ("producer_byte_rate", 1), ("no_such_key", 2)),
    }
    for name, asked in wrong.items():
        step(f"AlterClientQuotas with {name}", lambda a=asked: alter(a))
    step("AlterClientQuotas of one entity twice", lambda: alter(change(entity(user="twice"), ("producer_byte_rate", 1)), change(entity(user="twice"), ("consumer_byte_rate", 1))))
    step("AlterClientQuotas of one entity twice, told in another order", lambda: alter(change(entity(user="u", client_id="d"), ("producer_byte_rate", 1)), change(entity(client_id="d", user="u"), ("consumer_byte_rate", 1))))
    step("AlterClientQuotas of one entity twice: the first counts", lambda: describe(("user", 0, "twice")))
    step("AlterClientQuotas of which one is wrong", lambda: alter(change(entity(user="right"), ("producer_byte_rate", 1)), wrong["0"]))
    step("AlterClientQuotas only validated, and wrong", lambda: alter(wrong["0"], validate_only=True))


def describing() -> None:
    def settled():
        assert describe()["entries"] == describe(node=2)["entries"] == describe(node=3)["entries"]
        assert "right" in str(describe()["entries"])

    patiently(settled)
    for version in (0, 1):
        step(f"DescribeClientQuotas v{version} of all", lambda v=version: describe(version=v))
    step("DescribeClientQuotas of nothing, strictly", lambda: describe(strict=True))
    asked = {
        "users": [("user", 2, None)],
        "a user": [("user", 0, "alice")],
        "the default user": [("user", 1, None)],
        "clients": [("client-id", 2, None)],
        "a client": [("client-id", 0, "c")],
        "the default client": [("client-id", 1, None)],
        "a user's client": [("user", 0, "alice"), ("client-id", 0, "c")],
        "a user's default client": [("user", 0, "alice"), ("client-id", 1, None)],
        "all with both": [("user", 2, None), ("client-id", 2, None)],
        "addresses": [("ip", 2, None)],
        "an address": [("ip", 0, "10.0.0.1")],
        "the default address": [("ip", 1, None)],
        "another address": [("ip", 0, "10.0.0.9")],
        "a user that is not there": [("user", 0, UNKNOWN)],
    }
    for name, components in asked.items():
        step(f"DescribeClientQuotas of {name}", lambda c=components: [describe(*c), describe(*c, strict=True)])
    wrong = {
        "an address and a user": [("ip", 2, None), ("user", 2, None)],
        "an unknown type": [("group", 2, None)],
        "an empty type": [("", 2, None)],
        "a type twice": [("user", 2, None), ("user", 1, None)],
        "an unknown match": [("user", 7, None)],
        "just this one, without a name": [("user", 0, None)],
        "the default, with a name": [("user", 1, "x")],
        "any, with a name": [("user", 2, "x")],
        "an empty name": [("user", 0, "")],
    }
    for name, components in wrong.items():
        step(f"DescribeClientQuotas of {name}", lambda c=components: describe(*c))


def muting() -> None:
    everything = [change([{"entity_type": part["entity_type"], "entity_name": part["entity_name"]} for part in entry["entity"]], *[(value["key"], None) for value in entry["values"]]) for entry in describe()["entries"]]
    step("AlterClientQuotas removes all", lambda: sorted(entry["error_code"] for entry in alter(*everything)["entries"]))
    described_at_all(0)
    # Records have the date that they have in every run.
    kept = [{"name": "retention.ms", "value": "-1"}]
    ask("CreateTopics", 5, topics=[{"name": "muted", "num_partitions": 1, "replication_factor": 3, "assignments": [], "configs": kept}], timeout_ms=10000)
    home = patiently(leader)

    def produce(client: str, kilobytes: int, acks: int = 1):
        topic = {"name": "muted", "partition_data": [{"index": 0, "records": batch([b"x" * 1000] * kilobytes)}]}
        connection = Broker(home, client_id=client)
        answer = connection.ask("Produce", 9, transactional_id=None, acks=acks, timeout_ms=10000, topic_data=[topic])
        return answer.throttle_time_ms

    def fetch(client: str, **more):
        part = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1 << 20, "current_leader_epoch": -1, "last_fetched_epoch": -1, "log_start_offset": -1}
        topics = [{"topic": "muted", "partitions": [part]}]
        answer = Broker(home, client_id=client).ask("Fetch", 11, max_wait_ms=100, min_bytes=1, max_bytes=1 << 20, topics=topics, forgotten_topics_data=[], rack_id="", **more)
        return {"seconds": round(answer.throttle_time_ms / 1000), "topics": len(answer.responses), "some": any(bool(part.records) for topic in answer.responses for part in topic.partitions)}

    def muted_seconds(kilobytes: int) -> int:
        """Each time as another client, since what a client has sent before it was limited counts as well."""
        numbers = iter(range(1000))

        def muted():
            time = produce(f"client {next(numbers)}", kilobytes)
            assert time > 0
            return round(time / 1000)

        return patiently(muted)

    step("Produce without a quota", lambda: produce("free", 30))
    alter(change(entity(user=None, client_id=None), ("producer_byte_rate", 2000), ("consumer_byte_rate", 2000)))
    step("Produce of half as much again as ten seconds may bring", lambda: muted_seconds(30))
    step("Produce of less than ten seconds may bring", lambda: produce("little", 15))
    step("and then of as much again", lambda: round(produce("little", 15) / 1000))
    step("another client has an account of its own", lambda: produce("another", 1))
    step("Fetch brings as much as ten seconds may bring, and the next nothing", lambda: [fetch("reader"), fetch("reader")])
    alter(change(entity(client_id="changed"), ("producer_byte_rate", 1000)))
    alter(change(entity(user=None, client_id=None), ("producer_byte_rate", 1_000_000_000)))

    def free():
        assert produce("little", 1) == 0

    patiently(free)
    step("a quota that was raised mutes nobody", lambda: [produce("little", 15), produce("some", 30)])
    mutations()


def leader() -> int:
    answer = brokers[1].ask("Metadata", 9, topics=[{"name": "muted"}], allow_auto_topic_creation=False)
    assert answer.topics[0].error_code == 0 and answer.topics[0].partitions[0].leader_id > 0
    return answer.topics[0].partitions[0].leader_id


def mutations() -> None:
    """Eleven windows of one partition each are let through at once, and a debt of as many seconds is paid off meanwhile."""
    alter(change(entity(client_id="maker"), ("controller_mutation_rate", 1)))

    def known():
        assert "controller_mutation_rate" in str([describe(node=node)["entries"] for node in brokers][0])

    patiently(known)

    def create(name: str, partitions: int, version: int = 6, node: int = 1):
        topic = {"name": name, "num_partitions": partitions, "replication_factor": 1, "assignments": [], "configs": []}
        answer = Broker(node, client_id="maker").ask("CreateTopics", version, topics=[topic], timeout_ms=10000)
        told = answer.topics[0]
        return {"error": told.error_code, "message": told.error_message, "muted": answer.throttle_time_ms > 5000}

    def create_partitions(count: int, version: int):
        answer = Broker(1, client_id="maker").ask("CreatePartitions", version, topics=[{"name": "first", "count": count, "assignments": None}], timeout_ms=10000)
        told = answer.results[0]
        return {"error": told.error_code, "message": told.error_message, "muted": answer.throttle_time_ms > 5000}

    def delete(name: str, version: int):
        answer = Broker(1, client_id="maker").ask("DeleteTopics", version, topic_names=[name], timeout_ms=10000)
        told = answer.responses[0]
        return {"error": told.error_code, "message": told.error_message if version > 4 else None, "muted": answer.throttle_time_ms > 5000}

    step("CreateTopics of twice what may be made at once", lambda: create("first", 22))
    step("CreateTopics while in debt", lambda: create("second", 1))
    step("CreateTopics at another broker while in debt", lambda: [create("second", 1, node=2), create("second", 1, node=3)])
    step("CreatePartitions while in debt", lambda: create_partitions(23, 3))
    step("DeleteTopics while in debt", lambda: delete("first", 5))
    step("CreateTopics in a version that is muted", lambda: create("third", 1, 5))
    step("CreatePartitions in a version that is muted", lambda: create_partitions(23, 2))
    step("DeleteTopics in a version that is muted", lambda: delete("third", 4))


script.run(setting, refusing, describing, muting)
