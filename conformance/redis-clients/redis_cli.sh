#!/usr/bin/env bash
# What a person types first: redis-cli with and without -c, in RESP2 and RESP3.
set -u
. ../harness/check.sh
IFS=',' read -ra nodes <<<"$REDIS_NODES"
host=${nodes[0]%:*} port=${nodes[0]##*:}

cli() { redis-cli -h "$host" -p "$port" "$@"; }
cluster() { cli -c "$@"; }

same "redis-cli: PING" PONG cli PING
same "redis-cli -c: SET follows the redirect of another shard" OK cluster SET foo bar
same "redis-cli -c: GET follows it as well" bar cluster GET foo
same "redis-cli -c: a key of the third shard" OK cluster SET hello world
same "redis-cli -c: a key of this shard" OK cluster SET bar baz
like "redis-cli without -c shows where the key lives" '^MOVED 12182 [0-9.]+:6379$' cli GET foo
same "CLUSTER KEYSLOT" 12182 cli CLUSTER KEYSLOT foo
like "CLUSTER INFO says ok" '^cluster_state:ok' cli CLUSTER INFO
like "CLUSTER INFO counts slots" '^cluster_slots_assigned:16384' cli CLUSTER INFO
like "CLUSTER INFO counts nodes" '^cluster_known_nodes:6' cli CLUSTER INFO
like "CLUSTER INFO counts shards" '^cluster_size:3' cli CLUSTER INFO
same "CLUSTER NODES names three primaries" 3 bash -c "redis-cli -h $host -p $port CLUSTER NODES | grep -c master"
same "CLUSTER NODES names three replicas" 3 bash -c "redis-cli -h $host -p $port CLUSTER NODES | grep -c slave"
same "CLUSTER NODES marks the asked node" 1 bash -c "redis-cli -h $host -p $port CLUSTER NODES | grep -c myself"
like "keys of two slots" "^CROSSSLOT Keys in request don't hash to the same slot" cli MSET foo 1 bar 2
same "keys of one slot by hash tag" OK cluster MSET '{t}1' 1 '{t}2' 2
same "MGET of one slot, with nothing for an absent key" $'1\n2' cluster MGET '{t}1' '{t}2' '{t}3'
like "a wrong type" '^WRONGTYPE Operation against a key holding the wrong kind of value' cluster LPUSH bar x
like "an unknown command" "^ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b'" cli NOSUCH a b
like "a wrong number of arguments" "^ERR wrong number of arguments for 'get' command" cli GET
like "INFO says cluster_enabled" '^cluster_enabled:1' cli INFO cluster
like "INFO says the role" '^role:master' cli INFO replication
like "INFO counts connected replicas" '^connected_slaves:1' cli INFO replication
like "INFO names a version" '^redis_version:7\.' cli INFO server
like "HELLO 3 answers a map" '1# "server" => "redis"' cli -3 --no-raw HELLO 3
like "COMMAND COUNT" '^[0-9]+$' cli COMMAND COUNT
like "--cluster check agrees" 'All 16384 slots covered' redis-cli --cluster check "$host:$port"
like "--cluster check: nodes agree" 'All nodes agree about slots configuration' redis-cli --cluster check "$host:$port"
same "inline commands" $'+PONG\r' bash -c "exec 3<>/dev/tcp/$host/$port; printf 'PING\r\n' >&3; head -n 1 <&3"
exit $failed
