#!/usr/bin/env bash
# Resolve every *.in file into exact versions with hashes, valid for Python 3.11 and newer on any platform.
# The layer's lock is split in two: what has a pure wheel, and what is compiled (built once per architecture, see src/Makefile).
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate)
"${compile[@]}" -o requirements-dev.txt requirements-dev.in
"${compile[@]}" -c requirements-dev.txt -o requirements.txt requirements.in
"${compile[@]}" -c requirements-dev.txt --no-emit-package rpds-py -o src/requirements.txt src/requirements.in
"${compile[@]}" -c requirements-dev.txt --no-deps -o src/requirements-compiled.txt - <<<"$(grep -o '^rpds-py==[^ ]*' requirements-dev.txt)"
