#!/usr/bin/env bash
# The data plane over 12 drives of one host: throughput, overhead on disk, repair of a lost drive (alone and under load), compaction after deletes.
# usage: data-plane-bench.sh [--short] [--only throughput|overhead|repair|compaction] [--drives N]
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
duration=10s drives=12 only= fill_large=128 fill_small=100000 fill_delete=32768
while [ $# -gt 0 ]; do
    case "$1" in
        --short) duration=3s fill_large=24 fill_small=30000 fill_delete=4096; shift ;;
        --only) only=$2; shift 2 ;;
        --drives) drives=$2; shift 2 ;;
        *) fail "unknown option $1" ;;
    esac
done
load=$(find_build bench/LoadGenerator ObjectStore.LoadGenerator)
missed=0

run() { # $1: label; the rest: mode and options. Leaves the JSON line in $result.
    local label=$1
    shift
    result=$(dotnet "$load" "$@" --label "$label" --endpoint "$endpoint" --server-pid "$server_pid") || fail "$label"
    python3 - "$result" <<'PY'
import json, sys
r = json.loads(sys.argv[1])
print("%-34s %9.0f/s %9.1f MB/s   p50 %7.0f us  p99 %8.0f us  max %8.0f us  server %6.0f us/op" % (
    r["label"], r["ops_per_second"], r["mb_per_second"], r["latency_p50_us"], r["latency_p99_us"], r["latency_max_us"], r["server_cpu_us_per_op"] or 0))
PY
}

at_least() { # $1: what, $2: JSON field, $3: floor
    python3 - "$result" "$2" "$3" "$1" <<'PY' || missed=1
import json, sys
value, floor = json.loads(sys.argv[1])[sys.argv[2]], float(sys.argv[3])
print("    %s: %.0f, floor %.0f%s" % (sys.argv[4], value, floor, "" if value >= floor else "  MISSED"))
sys.exit(0 if value >= floor else 1)
PY
}

drive_list() { echo "$work/$1/{1...$drives}"; }

selected() { [ -z "$only" ] || [ "$only" = "$1" ]; }

health() { curl -fsS -m 10 "$endpoint/health"; }

if selected throughput; then
    echo "== Throughput, $drives drives"
    start_server throughput --drives "$(drive_list throughput-drives)"
    run "PUT 4 KiB x 3 copies @32" put --bucket put-small --size 4KiB --connections 32 --duration "$duration" --warmup 6s --keys 1000000 --distinct 0
    at_least "PUT 4 KiB a second" ops_per_second 3000
    run "GET 4 KiB @32" get --bucket get-small --size 4KiB --connections 32 --duration "$duration" --warmup 2s --keys 10000 --verify 10
    run "PUT 64 MiB 6+3 @2" put --bucket put-large --size 64MiB --connections 2 --duration "$duration" --warmup 2s --keys 8 --distinct 0
    at_least "PUT 64 MiB, MB/s" mb_per_second 450
    run "GET 64 MiB 6+3 @2" get --bucket get-large --size 64MiB --connections 2 --duration "$duration" --warmup 2s --keys 4 --distinct 0 --preload-connections 2
    at_least "GET 64 MiB, MB/s" mb_per_second 1400
    stop_server
    rm -rf "$work"/throughput*
fi

overhead() { # $1: label, $2: object size in bytes, $3: how many, $4: most bytes on disk for each byte (or each object where the size is 1024). Stops the server.
    local state
    state=$(health)
    stop_server # which moves what an index has in its write-ahead log into its file
    python3 - "$work" "$1" "$2" "$3" "$4" "$state" <<'PY' || missed=1
import glob, json, os, sys
work, label, size, count, limit, health = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), json.loads(sys.argv[6])
live, log = (sum(d[k] for d in health["drives"]) for k in ("liveBytes", "logBytes"))
index = sum(os.path.getsize(f) for f in glob.glob(work + "/overhead-drives/*/index.db*"))
per = (log + index) / count
ratio = per / size
shown = "%.3f x" % ratio if size > 1024 else "%.0f bytes each" % per
value = ratio if size > 1024 else per
print("%-34s log %d (records %d), index %d: %s, limit %s%s" % (label, log, live, index, shown, limit, "" if value <= limit else "  MISSED" if "as written" not in label else "  over it until compacted"))
sys.exit(0 if value <= limit or "as written" in label else 1)
PY
}

if selected overhead; then
    echo "== Bytes on disk"
    start_server overhead --drives "$(drive_list overhead-drives)" --volume-size 256MiB
    run "PUT 1 MiB" put --bucket b-large --size 1MiB --connections 8 --count 1000 --keys 1000 --distinct 4
    sleep 12 # the index follows within 5 s, the statistics with the next probe
    overhead "1 MiB objects, 6+3" 1048576 1000 1.53
    rm -rf "$work"/overhead*
    start_server overhead --drives "$(drive_list overhead-drives)" --volume-size 64MiB
    run "PUT 1 KiB" put --bucket b-small --size 1KiB --connections 32 --count "$fill_small" --keys "$fill_small" --distinct 0
    sleep 12
    overhead "1 KiB objects, 3 copies, as written" 1024 "$fill_small" 3482
    start_server overhead --drives "$(drive_list overhead-drives)" --volume-size 64MiB
    sleep 150 # rounds of compaction pack what small batches have padded
    overhead "1 KiB objects, 3 copies, compacted" 1024 "$fill_small" 3482
    rm -rf "$work"/overhead*
fi

rebuild() { # $1: drive number to lose, $2: floor in MB/s, $3: how long a load is measured from the first fragment on. Touches $work/begun at the first fragment.
    rm -f "$work/begun"
    rm -rf "$work/repair-drives/$1"
    python3 - "$endpoint" "$2" "$work/begun" "${3:-0}" <<'PY' || missed=1
import json, re, sys, time, urllib.request
endpoint, floor, begun, window = sys.argv[1], float(sys.argv[2]), sys.argv[3], float(sys.argv[4])
def rebuilt():
    text = urllib.request.urlopen(endpoint + "/metrics").read().decode()
    return sum(float(v) for v in re.findall(r"^objectstore_repair_bytes_rebuilt_bytes_total(?:\{[^}]*\})? (\S+)$", text, re.M))
before, began = rebuilt(), time.time()
first = last = None
seen, value, looked = 0, before, began
while seen < 5:
    if time.time() - began > 600: sys.exit("not whole in time")
    now = rebuilt()
    if now > value:
        if first is None: # it began after the last look
            first = looked
            open(begun, "w").close()
        last, value = time.time(), now
    looked = time.time()
    r = json.load(urllib.request.urlopen(endpoint + "/health"))["repair"]
    seen = seen + 1 if value > before and r["incompleteSlots"] == r["unreachableSlots"] == 0 else 0
    time.sleep(1 if window and first else 0.05) # each look costs the server some milliseconds of a core, which clients whose latency is taken would wait for
seconds = max(last - first, 0.1)
rate = (value - before) / seconds / 1e6
short = window > seconds - (1 if window else 0) # it may have ended a second before it was seen to
print("    rebuilt %.2f GB in %.1f s: %.0f MB/s%s; first fragment %.1f s after the loss, whole after %.1f s%s" % (
    (value - before) / 1e9, seconds, rate, "" if rate >= floor else "  MISSED (floor %.0f)" % floor, first - began, last - began,
    "  TOO SHORT to measure %.0f s of load by" % window if short else ""))
sys.exit(0 if rate >= floor and not short else 1)
PY
}

page_cache() { # $1: warm or cold. Reads the volumes into the page cache, again and again until a repair begins; or has them dropped from it.
    rm -f "$work/begun"
    python3 - "$work/repair-drives" "$1" "$work/begun" <<'PY' &
import glob, os, sys, time
os.sync()
deadline = time.time() + 60
while True:
    for path in glob.glob(sys.argv[1] + "/*/volumes/*"):
        try: file = os.open(path, os.O_RDONLY)
        except FileNotFoundError: continue # the lost drive's
        if sys.argv[2] == "cold": os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while not os.path.exists(sys.argv[3]) and os.read(file, 4 << 20): pass
        os.close(file)
    if sys.argv[2] == "cold" or os.path.exists(sys.argv[3]) or time.time() > deadline: break
    open(sys.argv[3] + "-warm", "w").close()
    time.sleep(0.5)
PY
    cache=$!
    if [ "$1" = cold ]; then
        wait "$cache"
    else
        while kill -0 "$cache" 2>/dev/null && [ ! -e "$work/begun-warm" ]; do sleep 0.1; done
        rm -f "$work/begun-warm"
    fi
}

under_repair() { # $1: what, $2: drive number to lose, $3: how many times its quiet p99 a request's may be, 0 for no limit; the rest: mode and options
    local what=$1 drive=$2 limit=$3 quiet loader
    shift 3
    local load_options=("$@" --size 64KiB --connections 4 --duration "$duration" --distinct 0)
    run "$what 64 KiB @4, quiet" "${load_options[@]}" --warmup 2s
    quiet=$result
    rm -f "$work/begun"
    dotnet "$load" "${load_options[@]}" --begin-file "$work/begun" --label "$what 64 KiB @4, under repair" --endpoint "$endpoint" --server-pid "$server_pid" >"$work/under.json" &
    loader=$!
    sleep 7
    echo "under $what (its latency is taken from the first fragment on):"
    rebuild "$drive" 0 "${duration%s}"
    wait "$loader" || fail "$what under repair"
    python3 - "$what" "$limit" "$quiet" "$(cat "$work/under.json")" <<'PY' || missed=1
import json, sys
what, limit, quiet, under = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3]), json.loads(sys.argv[4])
ratio = under["latency_p99_us"] / quiet["latency_p99_us"]
missed = limit and ratio > limit
print("    p99 of %s 64 KiB: %.0f us quiet, %.0f us under repair: %.2f x%s; %.0f a second, then %.0f" % (
    what, quiet["latency_p99_us"], under["latency_p99_us"], ratio, "  MISSED (at most %.0f x)" % limit if missed else "", quiet["ops_per_second"], under["ops_per_second"]))
sys.exit(1 if missed else 0)
PY
}

if selected repair; then
    echo "== Repair of one lost drive of $drives"
    start_server repair --drives "$(drive_list repair-drives)" --down-out-after 1 --volume-size 256MiB
    run "PUT 64 MiB (fill)" put --bucket large --size 64MiB --connections 2 --count "$fill_large" --keys "$fill_large" --distinct 4
    run "PUT 64 KiB (fill)" put --bucket small --size 64KiB --connections 16 --count 5000 --keys 5000 --distinct 0
    echo "no foreground load, what was written not in the page cache (one disk under all drives: it reads six bytes for each one rebuilt and is the limit):"
    page_cache cold
    rebuild 5 500
    echo "no foreground load, what was written in the page cache:"
    page_cache warm
    rebuild 4 500
    wait "$cache"
    page_cache warm
    touch "$work/begun"
    wait "$cache"
    under_repair GET 6 2 get --bucket small --keys 5000 --no-preload
    under_repair PUT 7 0 put --bucket written --keys 5000
    stop_server
    rm -rf "$work"/repair*
fi

if selected compaction; then
    echo "== Compaction"
    start_server compaction --drives "$(drive_list compaction-drives)" --volume-size 8MiB --garbage-grace 1
    run "PUT 256 KiB (fill)" put --bucket bulk --size 256KiB --connections 16 --count "$fill_delete" --keys "$fill_delete" --distinct 64
    full=$(du -sB1 "$work/compaction-drives" | cut -f1)
    run "DELETE 90 %" delete --bucket bulk --size 256KiB --connections 16 --count $((fill_delete * 9 / 10)) --keys $((fill_delete * 9 / 10)) --no-preload
    python3 - "$endpoint" "$work/compaction-drives" "$full" $(((fill_delete - fill_delete * 9 / 10) * 256 * 1024 * 3 / 2)) <<'PY' || missed=1
import json, subprocess, sys, time, urllib.request
endpoint, folder, full, lives = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
began = time.time()
time.sleep(15) # until the statistics are of after the deletes
while time.time() - began < 240:
    drives = json.load(urllib.request.urlopen(endpoint + "/health"))["drives"]
    live = min(sum(d["liveBytes"] for d in drives), lives * 1.02) # the statistics lag behind the deletes; records have some bytes of their own
    used = int(subprocess.run(["du", "-sB1", folder], capture_output=True, text=True).stdout.split()[0])
    ratio = used / max(live, 1)
    if ratio <= 1.2: break
    time.sleep(2)
print("    full %.2f GB; after deleting 90 %%: %.3f GB on disk for %.3f GB that live: %.2f x after %.0f s%s" % (full / 1e9, used / 1e9, live / 1e9, ratio, time.time() - began, "" if ratio <= 1.2 else "  MISSED (at most 1.2 x)"))
sys.exit(0 if ratio <= 1.2 else 1)
PY
    stop_server
    rm -rf "$work"/compaction*
fi

[ "$missed" -eq 0 ] || fail "at least one bar was missed; see above"
