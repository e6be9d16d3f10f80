#!/usr/bin/env bash
# kcat as Debian ships it: an old librdkafka that asks with old protocol versions.
set -u
about="kcat: "
. ../harness/check.sh
servers=$KAFKA_BOOTSTRAP_SERVERS
topic="kcat-$$"

produce() { # produce LINES OPTIONS…
  local lines=$1
  shift
  printf '%s\n' "$lines" | kcat -b "$servers" -P -t "$topic" -X log_level=3 "$@"
}
consume() { timeout 30 kcat -b "$servers" -C -t "$topic" -e -q "$@"; }

like "-L lists three brokers" '^ 3 brokers:' kcat -b "$servers" -L
like "-L names a controller" 'controller' kcat -b "$servers" -L
same "-P creates the topic on first use" "" produce $'one\ntwo\nthree' -p 0
like "-L shows the topic" "topic \"$topic\" with [0-9]+ partitions" kcat -b "$servers" -L -t "$topic"
like "-L shows replicas and in-sync sets" 'partition 0, leader [1-3], replicas: .*, isrs: ' kcat -b "$servers" -L -t "$topic"
same "-C reads from the beginning" $'one\ntwo\nthree' consume -p 0 -o beginning
same "-C reads from an offset" $'two\nthree' consume -p 0 -o 1
same "-C reads the last record" three consume -p 0 -o -1
same "-C counts" one consume -p 0 -o beginning -c 1
same "-C prints offsets" $'0:one\n1:two\n2:three' consume -p 0 -o beginning -f '%o:%s\n'
same "-P with keys and headers" "" produce 'key:value' -p 0 -K : -H name=worth
same "-C shows keys and headers" 'key=value name=worth' consume -p 0 -o 3 -f '%k=%s %h\n'
for codec in gzip snappy lz4 zstd; do
  same "-P compresses with $codec" "" produce "squeezed by $codec" -p 0 -z $codec
done
same "-C reads compressed records" $'squeezed by gzip\nsqueezed by snappy\nsqueezed by lz4\nsqueezed by zstd' consume -p 0 -o 4
same "-P with acks=0" "" produce 'acks none' -p 0 -X acks=0
same "-P with acks=1" "" produce 'acks one' -p 0 -X acks=1
same "-P with acks=all" "" produce 'acks all' -p 0 -X acks=all
same "-P idempotent" "" produce 'exactly once' -p 0 -X enable.idempotence=true
same "-C reads what all acks wrote" $'acks none\nacks one\nacks all\nexactly once' consume -p 0 -o 8
like "-Q asks an offset for a time" "^$topic \[0\] offset 0" kcat -b "$servers" -Q -t "$topic:0:1"
like "-C of an unknown partition" 'partition 99 does not exist|Unknown partition' consume -p 99 -o beginning
exit $failed
