#!/usr/bin/env bash
# The table of measurements against a fresh server: one JSON line per run on stdout, a summary on stderr.
# usage: bench.sh [--short] [--duration 10s] [--out FILE]
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
duration=10s keys=100000 warmup=2s out="$work/results.jsonl"
while [ $# -gt 0 ]; do
    case "$1" in
        --short) duration=3s keys=10000 warmup=1s; shift ;;
        --duration) duration=$2; shift 2 ;;
        --out) out=$2; shift 2 ;;
        *) fail "unknown option $1" ;;
    esac
done
load=$(find_build bench/LoadGenerator ObjectStore.LoadGenerator)
: >"$out"
start_server data

run() { # $1: label; the rest: mode and options
    local label=$1
    shift
    dotnet "$load" "$@" --label "$label" --endpoint "$endpoint" --server-pid "$server_pid" | tee -a "$out" || fail "$label"
}

run "PUT 4 KiB @32" put --bucket put-small --size 4KiB --connections 32 --duration "$duration" --warmup "$warmup" --keys 1000000 --distinct 0
run "GET 4 KiB @32" get --bucket get-small --size 4KiB --connections 32 --duration "$duration" --warmup "$warmup" --keys 10000 --verify 10
run "HEAD @32" head --bucket get-small --size 4KiB --connections 32 --duration "$duration" --warmup "$warmup" --keys 10000 --no-preload
run "GET 64 MiB @2" get --bucket get-large --size 64MiB --connections 2 --duration "$duration" --warmup "$warmup" --keys 4 --distinct 0 --preload-connections 2
run "PUT 64 MiB @2" put --bucket put-large --size 64MiB --connections 2 --duration "$duration" --warmup "$warmup" --keys 8 --distinct 0
run "LIST 1000 of $keys @2" list --bucket list --size 0 --connections 2 --duration "$duration" --warmup "$warmup" --keys "$keys" --max-keys 1000
run "DELETE @32" delete --bucket list --size 0 --connections 32 --keys "$((keys / 2))" --no-preload
run "MIXED 4 KiB @32" mixed --bucket mixed --size 4KiB --connections 32 --duration "$duration" --warmup "$warmup" --keys 10000

python3 - "$out" >&2 <<'PY'
import json, sys
columns = "%-24s %10s %10s %10s %9s %9s %9s %9s %9s %9s %8s"
print(columns % ("", "ops/s", "MB/s", "keys/s", "p50 us", "p99 us", "p99.9 us", "max us", "gen us", "srv us", "RSS MB"))
for line in open(sys.argv[1]):
    r = json.loads(line)
    n = lambda v: "-" if v is None else "%.0f" % v
    print(columns % (r["label"], n(r["ops_per_second"]), n(r["mb_per_second"]), n(r["keys_per_second"]), n(r["latency_p50_us"]), n(r["latency_p99_us"]),
                     n(r["latency_p999_us"]), n(r["latency_max_us"]), n(r["generator_cpu_us_per_op"]), n(r["server_cpu_us_per_op"]), n(r["server_peak_rss_bytes"] / 1e6)))
PY
