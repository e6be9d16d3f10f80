#!/usr/bin/env bash
# redis-cli --tls: with the certificate that the cluster asks for, without it, and with another authority.
set -u
. ../harness/check.sh
IFS=',' read -ra nodes <<<"$REDIS_TLS_NODES"
host=${nodes[0]%:*} port=${nodes[0]##*:}

known=(--tls --cacert "$REDIS_TLS_CA_FILE" --cert "$REDIS_TLS_CERT_FILE" --key "$REDIS_TLS_KEY_FILE")
openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout /dev/null -out "$SCRATCH/other-ca.pem" 2>/dev/null
cli() { timeout 20 redis-cli -h "$host" -p "$port" "${known[@]}" "$@"; }

same "redis-cli --tls: PING" PONG cli PING
same "redis-cli --tls -c: SET follows the redirect of another shard" OK cli -c SET foo bar
same "redis-cli --tls -c: GET follows it as well" bar cli -c GET foo
like "redis-cli --tls without -c is sent to a port for TLS" '^MOVED 12182 [0-9.]+:6380$' cli GET foo
like "redis-cli without --tls is sent to a plain port" '^MOVED 12182 [0-9.]+:6379$' redis-cli -h "$host" -p 6379 GET foo
same "redis-cli --tls -3" PONG cli -3 PING
like "redis-cli --tls -u rediss://" '^PONG$' timeout 20 redis-cli -u "rediss://$host:$port" "${known[@]:1}" PING
same "--tls --cluster check: slots" 1 bash -c "timeout 20 redis-cli ${known[*]} --cluster check $host:$port | grep -c 'All 16384 slots covered'"
like "--tls --cluster call reaches all six" 'PONG' timeout 20 redis-cli "${known[@]}" --cluster call "$host:$port" PING
same "--tls --cluster call: every one of them" 6 bash -c "timeout 20 redis-cli ${known[*]} --cluster call $host:$port PING | grep -c PONG"
like "--tls --cluster reshard moves keys between ports for TLS" 'Moving slot' bash -c "
  to=\$(redis-cli ${known[*]} -h $host -p $port CLUSTER NODES | grep myself | cut -d' ' -f1)
  from=\$(redis-cli ${known[*]} -h $host -p $port CLUSTER NODES | grep '12182\|10923' | grep master | cut -d' ' -f1)
  timeout 60 redis-cli ${known[*]} --cluster reshard $host:$port --cluster-from \$from --cluster-to \$to --cluster-slots 2 --cluster-yes"
like "without a certificate nobody is let in" 'ertificate required|Server closed the connection|Connection reset' timeout 20 redis-cli -h "$host" -p "$port" --tls --cacert "$REDIS_TLS_CA_FILE" PING
like "another authority is not trusted" 'certificate verify failed' timeout 20 redis-cli -h "$host" -p "$port" --tls --cacert "$SCRATCH/other-ca.pem" PING
like "without --tls a port for TLS has nothing to say" 'Error: (Protocol error|Server closed the connection|Connection reset)' timeout 20 redis-cli -h "$host" -p "$port" PING
same "the others are unharmed" PONG cli PING
same "tls-port" $'tls-port\n6380' cli CONFIG GET tls-port
same "port" $'port\n6379' cli CONFIG GET port
same "defaults" $'tls-auth-clients\nyes' cli CONFIG GET tls-auth-clients
same "defaults of sessions" $'tls-session-cache-size\n20480' cli CONFIG GET tls-session-cache-size
like "versions that are none" "^ERR CONFIG SET failed \(possibly related to argument 'tls-protocols'\) - Unable to update TLS configuration. Check server logs.$" cli CONFIG SET tls-protocols SSLv3
like "a word that is none" "^ERR CONFIG SET failed \(possibly related to argument 'tls-auth-clients'\) - argument\(s\) must be one of the following: no, yes, optional$" cli CONFIG SET tls-auth-clients maybe
exit $failed
