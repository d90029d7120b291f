#!/usr/bin/env bash
# The server's memory under the loads that could make it grow: one object of 5 GiB up and down, and 1,000,000 objects of 1 KiB.
# One JSON line each on stdout; exit code 1 when a peak (VmHWM) is over its limit.
# usage: memory-test.sh [--short]    (--short: 512 MiB and 50,000 objects, same limits)
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
size=5GiB objects=1000000 large_limit=$((300 * 1000 * 1000)) small_limit=$((1000 * 1000 * 1000))
case "${1:-}" in
    "") ;;
    --short) size=512MiB objects=50000 ;;
    *) fail "unknown option $1" ;;
esac
load=$(find_build bench/LoadGenerator ObjectStore.LoadGenerator)
failed=0

check() { # $1: label, $2: limit in bytes
    local peak
    peak=$(peak_bytes)
    printf '{"label":"%s","server_peak_rss_bytes":%s,"limit_bytes":%s,"passed":%s}\n' "$1" "$peak" "$2" "$([ "$peak" -lt "$2" ] && echo true || echo false)"
    [ "$peak" -lt "$2" ] || failed=1
}

# VmHWM never falls, so each load gets a process of its own.
start_server large
dotnet "$load" multipart --label "multipart $size" --endpoint "$endpoint" --server-pid "$server_pid" --bucket large --size "$size" --part-size 64MiB --distinct 0 --count 1 --connections 1 --timeout 300s
check "upload $size" "$large_limit"
stop_server
start_server large
dotnet "$load" get --label "get $size" --endpoint "$endpoint" --server-pid "$server_pid" --bucket large --size "$size" --distinct 0 --keys 1 --no-preload --count 1 --connections 1 --verify --timeout 300s
check "download $size" "$large_limit"
stop_server
start_server single
dotnet "$load" put --label "put $size at once" --endpoint "$endpoint" --server-pid "$server_pid" --bucket large --size "$size" --distinct 0 --count 1 --connections 1 --timeout 600s
check "upload $size in one request" "$large_limit"
stop_server
rm -rf "${work:?}/large" "${work:?}/single"

start_server small
dotnet "$load" put --label "put $objects of 1 KiB" --endpoint "$endpoint" --server-pid "$server_pid" --bucket small --size 1KiB --distinct 0 --count "$objects" --connections 32
check "$objects objects" "$small_limit"
dotnet "$load" list --label "list $objects" --endpoint "$endpoint" --server-pid "$server_pid" --bucket small --keys "$objects" --no-preload --connections 2 --count "$((objects / 500))"
check "list of $objects objects" "$small_limit"
[ $failed -eq 0 ] || fail "a peak is over its limit"
