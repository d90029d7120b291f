#!/usr/bin/env bash
# kill -9 under 32 parallel uploads, again and again: builds the server and bench/KillTest and runs them. Options as of bench/KillTest (--help).
# The short form for CI: kill-test.sh --rounds 3
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
"$root/objectstore" version >&2
exec "$root/objectstore" kill-test "$@"
