# Shared by ./demo and ./test: where things are, and how a missing tool is installed.
# To be sourced from the repository's root.

# The user's own tools come first; cargo may not be on the path of a fresh shell.
PATH="$PATH:$HOME/.cargo/bin"
export PATH

# Says something to the person at the terminal, apart from data on standard output.
say() { printf '%s\n' "$*" >&2; }

# need COMMAND PACKAGE: makes sure that a command exists, with Debian's package if we may install it.
need() {
  command -v "$1" >/dev/null 2>&1 && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    say "\`$1\` is missing. Install it (on Debian: apt-get install $2) and try again."
    exit 1
  fi
  say "installing $2 …"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 ||
    { apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null; } ||
    { say "apt-get could not install $2"; exit 1; }
}

# The orders services are Python programs with one client library for each engine, in an environment of their own.
orders_environment() {
  need python3 python3
  python3 -c 'import ensurepip' 2>/dev/null || need python3-venv-is-missing python3-venv
  venv=examples/orders/.venv
  if ! cmp -s examples/orders/requirements.txt "$venv/installed.txt"; then
    say "installing the client libraries of the orders application …"
    python3 -m venv --clear "$venv" &&
      "$venv/bin/pip" install --quiet --disable-pip-version-check -r examples/orders/requirements.txt &&
      cp examples/orders/requirements.txt "$venv/installed.txt" || { say "the client libraries could not be installed"; exit 1; }
  fi
}

# Rust comes with rustup; the toolchain that rust-toolchain.toml names is fetched by cargo itself.
need_rust() {
  command -v cargo >/dev/null 2>&1 || { say "Rust is missing: install it with rustup, then try again."; exit 1; }
  need cc gcc
}
