"""Compares what the orders service was told is safe with what can be read back, record by record.

The audit trail is written with acks=1, so a leader that dies or is cut off may take acknowledged records with it.
Each such record must be named in Atoll's ledger, and nothing that is in the ledger may still be there.

    atoll logs --json --tail 1000000 | python check_audit.py --ledger <(atoll ledger --json --limit 100000)

Exit code 0: every loss is named and every name is a loss. 3: not so. The result is JSON on standard output.
"""

import argparse
import json
import re
import sys

TOPIC = "order-audit"
ENTRY = re.compile(r"(?P<topic>.+)-(?P<partition>\d+)@(?P<offset>\d+)(?: key=(?P<key>.*))?\Z")


def acknowledged(lines):
    """{(partition, offset): [order, ...]} of the acknowledgements in log lines, plain or inside Atoll's."""
    found = {}
    for line in lines:
        event = event_of(line)
        if event.get("event") == "audit_acknowledged":
            found.setdefault((event["partition"], event["offset"]), []).append(event["order"])
    return found


def event_of(line):
    try:
        document = json.loads(line)
        if isinstance(document, dict) and "event" not in document:
            document = json.loads(document.get("text") or document.get("line") or "{}")
        return document if isinstance(document, dict) else {}
    except (TypeError, ValueError):
        return {}


def named_lost(ledger):
    """{(partition, offset): [order or None, ...]} of the ledger's lost records of the audit trail."""
    found = {}
    for entry in ledger.get("entries", []):
        place = ENTRY.match(str(entry.get("subject")))
        if entry.get("kind") == "acked_lost" and place and place["topic"] == TOPIC:
            # An entry is one record, or a run of records from this offset on.
            for step in range(int(entry.get("count", 1))):
                where = int(place["partition"]), int(place["offset"]) + step
                found.setdefault(where, []).append(place["key"])
    return found


def compare(told, present, named):
    """What is wrong, given what was told, {(partition, offset): order} that is present, and what is named as lost."""
    lost, unnamed, wrongly = 0, [], []
    for place, orders in sorted(told.items()):
        names = list(named.get(place, []))
        # An offset can be given out again after a truncation: several orders were told the same place.
        for order in orders:
            if present.get(place) == order:
                continue
            lost += 1
            name = order if order in names else None
            if name in names:
                names.remove(name)
            else:
                unnamed.append({"partition": place[0], "offset": place[1], "order": order})
    for place, names in sorted(named.items()):
        for name in names:
            # A name without an order is taken for the order that was told this place, if it was only one.
            order = name if name is not None or len(told.get(place, [])) != 1 else told[place][0]
            if order is not None and present.get(place) == order:
                wrongly.append({"partition": place[0], "offset": place[1], "order": order})
    return {
        "acknowledged": sum(len(orders) for orders in told.values()),
        "present": len(present),
        "lost": lost,
        "named": sum(len(names) for names in named.values()),
        "lost_and_not_named": unnamed,
        "named_and_not_lost": wrongly,
    }


def read_back(bootstrap):
    """{(partition, offset): order} of everything in the topic."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    options = {"group.id": "audit-check", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({"bootstrap.servers": bootstrap, "auto.offset.reset": "earliest", **options})
    topic = consumer.list_topics(TOPIC, timeout=15).topics[TOPIC]
    reading = set(topic.partitions)
    consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in reading])
    present = {}
    while reading:
        message = consumer.poll(30)
        if message is None:
            raise SystemExit("partitions %s could not be read to their ends" % sorted(reading))
        if message.error() is None:
            present[(message.partition(), message.offset())] = (message.key() or b"").decode(errors="replace")
        elif message.error().code() == KafkaError._PARTITION_EOF:
            reading.discard(message.partition())
        else:
            raise SystemExit(str(message.error()))
    consumer.close()
    return present


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="127.0.0.1:9092", help="Kafka's address")
    parser.add_argument("--ledger", required=True, help="what `atoll ledger --json` printed")
    parser.add_argument("--logs", default="-", help="log lines of the orders service; - is standard input")
    arguments = parser.parse_args()
    with open(arguments.ledger, encoding="utf-8") as file:
        named = named_lost(json.load(file))
    if arguments.logs == "-":
        told = acknowledged(sys.stdin)
    else:
        with open(arguments.logs, encoding="utf-8") as file:
            told = acknowledged(file)
    result = compare(told, read_back(arguments.bootstrap), named)
    print(json.dumps(result, indent=2))
    sys.exit(3 if result["lost_and_not_named"] or result["named_and_not_lost"] else 0)


if __name__ == "__main__":
    main()
