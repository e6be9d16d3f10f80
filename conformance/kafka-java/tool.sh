# For the scripts beside: how Kafka's tools are started, and how what they print is checked.

about="java: "
. ../harness/check.sh

# tool CLASS ARGUMENTS…
tool() {
  local class=$1
  shift
  timeout 90 java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$JARS" "$class" "$@"
}
