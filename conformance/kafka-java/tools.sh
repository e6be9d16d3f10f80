#!/usr/bin/env bash
# The tools that every Kafka administrator knows, as their own scripts start them.
set -u
servers=$KAFKA_BOOTSTRAP_SERVERS
topic="java-$$"
group="java-group-$$"

. ./tool.sh

topics() { tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$servers" "$@"; }
groups() { tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$servers" "$@"; }
produce() { # produce LINES OPTIONS…
  local lines=$1
  shift
  printf '%s\n' "$lines" | tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$servers" --topic "$topic" "$@"
}
consume() { tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$servers" --topic "$topic" "$@"; }
all_lines() { consume --from-beginning --max-messages 3 --group "$group" | sort | tr '\n' ' '; }

like "kafka-topics --create" "Created topic $topic" topics --create --topic "$topic" --partitions 3 --replication-factor 3
like "kafka-topics --create of an existing topic" 'already exists' topics --create --topic "$topic"
like "kafka-topics --list" "^$topic$" topics --list
like "kafka-topics --describe" 'PartitionCount: 3.*ReplicationFactor: 3' topics --describe --topic "$topic"
like "kafka-topics --describe shows in-sync sets" 'Partition: 2.*Leader: [1-3].*Isr: [1-3],[1-3],[1-3]' topics --describe --topic "$topic"
like "kafka-topics --describe of an unknown topic" "does not exist" topics --describe --topic "none-$$"
like "kafka-topics --alter --partitions" "" topics --alter --topic "$topic" --partitions 4
like "kafka-topics shows the new count" 'PartitionCount: 4' topics --describe --topic "$topic"
like "kafka-console-producer" '^$' produce $'one\ntwo\nthree'
like "kafka-console-consumer in a group" 'one three two' all_lines
like "kafka-consumer-groups --list" "^$group$" groups --list
like "kafka-consumer-groups --describe" "$group +$topic +[0-9] +[0-9]+ +[0-9]+ +0" groups --describe --group "$group"
like "kafka-consumer-groups --describe --state" "$group.*Empty" groups --describe --group "$group" --state
like "kafka-consumer-groups --reset-offsets" "$group +$topic +[0-9] +0" groups --reset-offsets --group "$group" --topic "$topic" --to-earliest --execute
like "kafka-consumer-groups --delete" 'successful' groups --delete --group "$group"
like "kafka-get-offsets" "^$topic:[0-3]:[0-9]+" tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$servers" --topic "$topic"
like "kafka-broker-api-versions" 'Produce\(0\): ' tool org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$servers"
like "kafka-configs --describe" 'Dynamic configs for topic' tool kafka.admin.ConfigCommand --bootstrap-server "$servers" --describe --entity-type topics --entity-name "$topic"
like "kafka-producer-perf-test" '20000 records sent' tool org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records 20000 --record-size 100 --throughput -1 --producer-props "bootstrap.servers=$servers" acks=all
like "kafka-consumer-perf-test" ', 20[0-9]{3}, ' tool org.apache.kafka.tools.ConsumerPerformance --bootstrap-server "$servers" --topic "$topic" --messages 20000 --timeout 30000
like "kafka-producer-perf-test in transactions" '1000 records sent' tool org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records 1000 --record-size 100 --throughput 1000 --producer-props "bootstrap.servers=$servers" --transactional-id "java-$$" --transaction-duration-ms 100
like "kafka-transactions list" "^java-$$ .*CompleteCommit" tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$servers" list
like "kafka-transactions describe" "java-$$ .*CompleteCommit" tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$servers" describe --transactional-id "java-$$"
like "kafka-transactions describe-producers" '^[0-9]+[[:space:]]+[0-9]+[[:space:]]' tool org.apache.kafka.tools.TransactionsCommand --bootstrap-server "$servers" describe-producers --topic "$topic" --partition 0
like "kafka-features describe" 'Feature: transaction.version.*FinalizedVersionLevel: 2' tool org.apache.kafka.tools.FeatureCommand --bootstrap-server "$servers" describe
delete_records() {
  echo "{\"partitions\":[{\"topic\":\"$topic\",\"partition\":0,\"offset\":2}],\"version\":1}" >"$SCRATCH/delete.json"
  tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$servers" --offset-json-file "$SCRATCH/delete.json"
}
like "kafka-delete-records" "partition: $topic-0.*low_watermark: 2" delete_records
like "kafka-get-offsets --time earliest after that" "^$topic:0:2$" tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$servers" --topic "$topic" --time earliest
like "kafka-topics --delete" '^$' topics --delete --topic "$topic"
exit $failed
