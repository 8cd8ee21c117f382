#!/bin/sh
# Make .venv and install the locked dependencies: `tools/setup.sh run` for demo and up, `tools/setup.sh dev` for the tests too.
#
# A stamp holds the checksum of what was installed, so the second time costs milliseconds. The lock for dev holds all of
# the lock for run in the same versions, so it serves both, and one never undoes the other.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
case $1 in
run) lock=requirements.txt ;;
dev) lock=requirements-dev.txt ;;
*) echo "usage: tools/setup.sh run|dev" >&2; exit 2 ;;
esac
venv=.venv

fail() {
  echo "Error: $*" >&2
  exit 1
}

checksum() { # of a lock and of what the command line's own installation depends on, its packages' names among it
  { cat "$1" pyproject.toml; ls -d src/*/__init__.py cli/*/__init__.py; } | cksum
}

is_installed() { # by the stamp of one lock; the interpreter may have gone since
  [ -f "$venv/keyturn-$1.stamp" ] && [ "$(cat "$venv/keyturn-$1.stamp")" = "$(checksum "$2")" ] && "$venv/bin/python" -c "" 2>/dev/null
}

if is_installed dev requirements-dev.txt; then exit 0; fi
if [ "$1" = run ] && is_installed run requirements.txt; then exit 0; fi

command -v "$python" >/dev/null 2>&1 || fail "$python isn't there. Install Python 3.11 or later, or name one: make PYTHON=/path/to/python3"
found=$("$python" -c 'import platform; print(platform.python_version())') || fail "$python doesn't run."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "Python $found is too old: Keyturn needs 3.11 or later. Name another one: make PYTHON=python3.13"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python can't make virtual environments. Install its venv package (Debian, Ubuntu: apt install python3-venv)."
  "$python" -m venv --clear "$venv" >"${TMPDIR:-/tmp}/keyturn-venv.$$" 2>&1 || {
    said=$(tail -n 1 "${TMPDIR:-/tmp}/keyturn-venv.$$")
    rm -f "${TMPDIR:-/tmp}/keyturn-venv.$$"
    fail "making $venv failed: $said"
  }
  rm -f "${TMPDIR:-/tmp}/keyturn-venv.$$"
fi

echo "Installing the locked dependencies ($lock, Python $("$venv/bin/python" -c 'import platform; print(platform.python_version())')) into $venv ..." >&2
pip() {
  "$venv/bin/python" -m pip "$@" --quiet --disable-pip-version-check --no-input
}
# The locks are complete: nothing is resolved here, and nothing comes in without its hash.
pip install --no-deps --require-hashes -r "$lock" || fail "installing $lock failed, see above. Is the package index reachable?"
pip install --no-deps --no-build-isolation -e . || fail "installing the keyturn command failed, see above."
checksum "$lock" >"$venv/keyturn-$1.stamp"
