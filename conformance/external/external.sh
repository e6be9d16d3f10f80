#!/usr/bin/env bash
# The engine behind `external:` is the real one: what a program writes through Atoll's addresses is there without Atoll.
set -u
cd "$(mktemp -d -p "$SCRATCH")" || exit 1

# Any port will do that nobody has; the server itself says whether it got it.
for port in 17379 17380 17381 17382; do
  redis-server --bind 127.0.0.1 --port "$port" --save "" --appendonly no --daemonize yes --pidfile "$PWD/redis.pid" \
    --logfile "$PWD/redis.log" >/dev/null
  for _ in $(seq 100); do
    [ "$(redis-cli -p "$port" config get pidfile 2>/dev/null | tail -1)" = "$PWD/redis.pid" ] && break 2
    read -rt 0.05 <> <(:) || :
  done
done
trap 'kill "$(cat redis.pid)"' EXIT

cat >atoll.yaml <<YAML
apiVersion: atoll.dev/v1alpha1
kind: Stack
metadata: {name: external-$$}
engines:
  redis: {external: "127.0.0.1:$port"}
images:
  reader: {command: [sh, -c, 'echo "\$REDIS_URL has \$(redis-cli -u "\$REDIS_URL" get written-by)"']}
manifests: [reader.yaml]
YAML
cat >reader.yaml <<YAML
apiVersion: v1
kind: Pod
metadata: {name: reader}
spec:
  restartPolicy: Never
  containers:
    - name: reader
      image: reader
      envFrom: [{configMapRef: {name: atoll-engines}}]
YAML

# check NAME WANTED FOUND
check() {
  if [ "$2" = "$3" ]; then echo "ok $1"; else echo "not ok $1 # wanted $2, found $3"; fi
}

found=$("$ATOLL" run -- sh -c 'redis-cli -u "$REDIS_URL" set written-by run' 2>&1)
check "a command beside the stack writes to the real engine" OK "$found"
check "and it is there without Atoll" run "$(redis-cli -p "$port" get written-by)"

"$ATOLL" up -d --ephemeral >up.log 2>&1
check "the stack starts" 0 $?
check "its environment names the real engine" "redis://127.0.0.1:$port" "$("$ATOLL" env --json | sed -n 's/.*"REDIS_URL": "\(.*\)".*/\1/p')"
check "the engine is shown as external" external "$("$ATOLL" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["engines"]["redis"]["mode"])')"
check "nothing is embedded for it" "" "$(ss -ltnpH "sport = :6379 or sport = :6381" | grep "pid=$("$ATOLL" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["pid"])'),")"
for _ in $(seq 200); do
  said=$("$ATOLL" logs pod/reader --json)
  [ -n "$said" ] && break
  read -rt 0.1 <> <(:) || :
done
check "a pod reaches it, too" "redis://10.240.255.254:$port has run" "$(sed -n 's/.*"text":"\(.*\)".*/\1/p' <<<"$said")"
"$ATOLL" down >/dev/null 2>&1
check "the stack ends and leaves the real engine alone" PONG "$(redis-cli -p "$port" ping)"
