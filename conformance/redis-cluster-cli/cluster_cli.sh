#!/usr/bin/env bash
# A cluster is administered with redis-cli --cluster while keys are in it; afterwards every key is there.
set -u
. ../harness/check.sh
IFS=',' read -ra nodes <<<"$REDIS_NODES"
host=${nodes[0]%:*} port=${nodes[0]##*:}
first="$host:$port"

cli() { redis-cli -h "$host" -p "$port" "$@"; }
# Without its colours.
admin() { redis-cli --cluster "$@" 2>&1 | sed 's/\x1b\[[0-9;]*m//g'; }
# The address of the n-th primary, and its name.
primary() { cli CLUSTER NODES | awk '$3 ~ /master/ && $9 != "" {print $2}' | sort | sed -n "$1p" | cut -d@ -f1; }
id_of() { redis-cli -h "${1%:*}" -p "${1##*:}" CLUSTER MYID; }
keys_there() {
  for number in $(seq 1 300); do echo "GET key$number"; done | redis-cli -c -h "$host" -p "$port" | grep -c '^value'
}

for number in $(seq 1 300); do echo "SET key$number value$number"; done | redis-cli -c -h "$host" -p "$port" >/dev/null
like "all keys are there" '^300$' keys_there
like "check: all slots are covered" 'All 16384 slots covered' admin check "$first"
like "info counts keys" '300 keys in 3 masters' admin info "$first"

source=$(primary 1) target=$(primary 2)
like "reshard moves a hundred slots" 'Moving slot 99 from' \
  admin reshard "$first" --cluster-from "$(id_of "$source")" --cluster-to "$(id_of "$target")" --cluster-slots 100 --cluster-yes
eventually "check: all agree after it" 'All nodes agree about slots configuration' admin check "$first"
like "all keys are there after it" '^300$' keys_there
like "rebalance moves them back" 'Moving [0-9]+ slots from' admin rebalance "$first" --cluster-threshold 1
like "all keys are there after rebalancing" '^300$' keys_there

redis-cli -h "${source%:*}" -p "${source##*:}" CLUSTER SETSLOT 100 MIGRATING "$(id_of "$target")" >/dev/null
like "check finds an open slot" 'slots in migrating state 100' admin check "$first"
like "fix closes it" 'Fixing open slot 100' admin fix "$first"
like "check finds none afterwards" 'All 16384 slots covered' admin check "$first"

replica=$(cli CLUSTER NODES | awk '$3 == "slave" {print $2}' | sort | sed -n 1p | cut -d@ -f1)
name=$(id_of "$replica")
like "del-node resets a replica" 'Sending CLUSTER RESET SOFT to the deleted node' admin del-node "$first" "$name"
eventually "it is forgotten" '^cluster_known_nodes:5' cli CLUSTER INFO
# The others forget the name for a minute, and say so in their pings: it comes back under a new one.
like "it begins anew" '^OK' redis-cli -h "${replica%:*}" -p "${replica##*:}" CLUSTER RESET HARD
like "add-node brings it back as a primary" 'New node added correctly' admin add-node "$replica" "$first"
met() {
  for node in "${nodes[@]}"; do redis-cli -h "${node%:*}" -p "${node##*:}" CLUSTER INFO | tr -d '\r'; done |
    grep -c '^cluster_known_nodes:6'
}
eventually "everybody knows it" "^${#nodes[@]}\$" met
eventually "an empty primary gets its share" 'Moving [0-9]+ slots from' admin rebalance "$first" --cluster-use-empty-masters
eventually "check: all agree with four primaries" 'All nodes agree about slots configuration' admin check "$first"
like "all keys are there with four primaries" '^300$' keys_there
like "info counts four primaries" '300 keys in 4 masters' admin info "$first"

other=$(cli CLUSTER NODES | awk '$3 == "slave" {print $2}' | sort | sed -n 1p | cut -d@ -f1)
like "CLUSTER FAILOVER is accepted" '^OK' redis-cli -h "${other%:*}" -p "${other##*:}" CLUSTER FAILOVER
eventually "the replica is a primary" '^master' redis-cli -h "${other%:*}" -p "${other##*:}" ROLE
eventually "all keys are there after the failover" '^300$' keys_there
exit $failed
