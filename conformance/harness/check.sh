# For suites that are written for bash: `. ../harness/check.sh`, checks, and `exit $failed`.

failed=0
# What stands before the name of every check.
about=${about:-}

# matches PATTERN COMMAND…: some line of the output, which stays in `seen`, matches the extended regular expression.
matches() {
  local pattern=$1
  shift
  seen=$("$@" 2>&1)
  grep -Eq -- "$pattern" <<<"$seen"
}

# like NAME PATTERN COMMAND…: the check of that.
like() {
  local name=$1 pattern=$2
  shift 2
  if matches "$pattern" "$@"; then echo "ok $about$name"; else
    echo "not ok $about$name # saw $(tr '\n' '|' <<<"$seen" | tail -c 300), wanted $pattern"
    failed=1
  fi
}

# eventually NAME PATTERN COMMAND…: the same, asked again until it is so, for a minute and a half. Every run of the command
# goes to its end: a pipe that closes early would end it amid its work.
eventually() {
  local name=$1 pattern=$2 end=$((SECONDS + 90))
  shift 2
  until matches "$pattern" "$@" || ((SECONDS > end)); do sleep 0.2; done
  like "$name" "$pattern" printf '%s\n' "$seen"
}

# same NAME WANTED COMMAND…: the whole output of the command is WANTED.
same() {
  local name=$1 wanted=$2 seen
  shift 2
  seen=$("$@" 2>&1)
  if [ "$seen" == "$wanted" ]; then echo "ok $about$name"; else
    echo "not ok $about$name # saw $(tr '\n' '|' <<<"$seen" | tail -c 300), wanted $(tr '\n' '|' <<<"$wanted" | head -c 300)"
    failed=1
  fi
}
