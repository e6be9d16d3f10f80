# For the scripts beside: how Kafka's tools are started, and what is looked for in what they print.

# like NAME PATTERN COMMAND…: some line of the output matches the extended regular expression.
like() {
  local name=$1 pattern=$2 seen
  shift 2
  seen=$("$@" 2>&1)
  if grep -Eq -- "$pattern" <<<"$seen"; then echo "ok java: $name"; else
    echo "not ok java: $name # saw $(tr '\n' '|' <<<"$seen" | head -c 300), wanted $pattern"
    failed=1
  fi
}

# tool CLASS ARGUMENTS…
tool() {
  local class=$1
  shift
  timeout 90 java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$JARS" "$class" "$@"
}
