#!/usr/bin/env bash
# kafka-configs for credentials and quotas of users, kafka-acls, and the console clients over SASL_SSL with a rule.
set -u
servers=$KAFKA_BOOTSTRAP_SERVERS
secured=$KAFKA_BOOTSTRAP_SERVERS_SASL_SSL
user="java-$$"
topic="java-secured-$$"
group="java-secured-group-$$"
. ./tool.sh

configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$servers" "$@"; }
acls() { tool org.apache.kafka.tools.AclCommand --bootstrap-server "$servers" "$@"; }
login() { # login MECHANISM PASSWORD: a file of properties
  cat >"$SCRATCH/login-$1-$2.properties" <<END
security.protocol=SASL_SSL
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_SSL_CA_FILE
sasl.mechanism=$1
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username="$user" password="$2";
END
  echo "$SCRATCH/login-$1-$2.properties"
}
produce() { # produce LINE PROPERTIES
  echo "$1" | tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$secured" --topic "$topic" --producer.config "$2"
}
consume() { # consume PROPERTIES
  tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$secured" --topic "$topic" --from-beginning --max-messages 1 --timeout-ms 20000 --group "$group" --consumer.config "$1"
}

like "kafka-configs --add-config SCRAM" "Completed updating config for user $user" configs --alter --add-config 'SCRAM-SHA-512=[iterations=8192,password=wonder]' --entity-type users --entity-name "$user"
like "kafka-configs --describe shows the credential" "SCRAM credential configs for user-principal '$user' are SCRAM-SHA-512=iterations=8192" configs --describe --entity-type users --entity-name "$user"
like "kafka-topics --create of a guarded topic" "Created topic $topic" tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$servers" --create --topic "$topic"
properties=$(login SCRAM-SHA-512 wonder)
like "kafka-console-producer without a rule" "Not authorized to access topics: \[$topic\]" produce one "$properties"
like "kafka-acls --add --producer" "Adding ACLs for resource .*TOPIC, name=$topic, patternType=LITERAL" acls --add --allow-principal "User:$user" --producer --topic "$topic"
like "kafka-acls --list" "principal=User:$user, host=\*, operation=WRITE, permissionType=ALLOW" acls --list --topic "$topic"
like "kafka-acls --list --principal" "principal=User:$user, host=\*, operation=CREATE, permissionType=ALLOW" acls --list --principal "User:$user"
like "kafka-console-producer with a rule" '^$' produce one "$properties"
like "kafka-console-consumer without a rule" "Not authorized to access group: $group|Not authorized to access topics" consume "$properties"
like "kafka-acls --add --consumer" "operation=READ, permissionType=ALLOW" acls --add --allow-principal "User:$user" --consumer --topic "$topic" --group "$group"
like "kafka-console-consumer with a rule" '^one$' consume "$properties"
like "kafka-acls --add --deny-principal on prefixed names" "patternType=PREFIXED" acls --add --deny-principal "User:$user" --operation write --topic java-secured --resource-pattern-type prefixed
like "kafka-console-producer denied by a prefix" "Cluster authorization failed" produce two "$properties"
like "kafka-acls --list of what matches" "patternType=PREFIXED" acls --list --topic "$topic" --resource-pattern-type match
like "kafka-acls --remove" '^$' acls --remove --force --deny-principal "User:$user" --operation write --topic java-secured --resource-pattern-type prefixed
like "kafka-console-producer once the denial is gone" '^$' produce three "$properties"
like "kafka-acls --list by somebody who may not" "ClusterAuthorizationException" tool org.apache.kafka.tools.AclCommand --bootstrap-server "$secured" --command-config "$properties" --list
like "a credential is for one mechanism" "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256" produce four "$(login SCRAM-SHA-256 wonder)"
like "kafka-configs sets quotas of a user" "Completed updating config for user $user" configs --alter --add-config 'producer_byte_rate=20000,consumer_byte_rate=20000' --entity-type users --entity-name "$user"
like "kafka-configs sets quotas of a user's client" "Completed updating config for" configs --alter --add-config 'request_percentage=200' --entity-type users --entity-name "$user" --entity-type clients --entity-name "java-client"
like "kafka-configs sets the default quota of clients" "Completed updating default config for clients" configs --alter --add-config 'controller_mutation_rate=1000' --entity-type clients --entity-default
like "kafka-configs sets the quota of an address" "Completed updating config for ip 203.0.113.9" configs --alter --add-config 'connection_creation_rate=10' --entity-type ips --entity-name 203.0.113.9
like "kafka-configs --describe of a user's quotas" "Quota configs for user-principal '$user' are consumer_byte_rate=20000.0, producer_byte_rate=20000.0|Quota configs for user-principal '$user' are producer_byte_rate=20000.0, consumer_byte_rate=20000.0" configs --describe --entity-type users --entity-name "$user"
like "kafka-configs --describe of a user's client" "Quota configs for user-principal '$user', client-id 'java-client' are request_percentage=200.0" configs --describe --entity-type users --entity-name "$user" --entity-type clients --entity-name java-client
like "kafka-configs --describe of addresses" "Quota configs for ip '203.0.113.9' are connection_creation_rate=10.0" configs --describe --entity-type ips
like "kafka-configs with a quota that is none" "Only quota and SCRAM credential configs can be added for 'users' using --bootstrap-server. Unexpected config names: Set\(speed\)" configs --alter --add-config 'speed=1' --entity-type users --entity-name "$user"
like "kafka-producer-perf-test under a quota" '400 records sent, .*[0-9]+\.[0-9]+ ms avg latency' tool org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records 400 --record-size 1000 --throughput -1 --producer-props "bootstrap.servers=$secured" acks=1 batch.size=10000 --producer.config "$properties" --print-metrics
like "kafka-producer-perf-test was throttled" 'produce-throttle-time-max.* : [1-9]' tool org.apache.kafka.tools.ProducerPerformance --topic "$topic" --num-records 200 --record-size 1000 --throughput -1 --producer-props "bootstrap.servers=$secured" acks=1 batch.size=10000 --producer.config "$properties" --print-metrics
like "kafka-configs --delete-config of quotas" "Completed updating config for user $user" configs --alter --delete-config producer_byte_rate,consumer_byte_rate --entity-type users --entity-name "$user"
like "kafka-configs --delete-config SCRAM" "Completed updating config for user $user" configs --alter --delete-config SCRAM-SHA-512 --entity-type users --entity-name "$user"
like "whose credential is gone is not let in" "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512" produce five "$properties"
exit $failed
