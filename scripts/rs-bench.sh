#!/usr/bin/env bash
# Erasure coding against ISA-L on this machine: both by turns in one run, so that whatever else the machine does falls on both alike. A table in GB/s of data on stdout.
# Without a C compiler or ISA-L, and no way to install them, it says so and is skipped; --require makes that a failure.
# usage: rs-bench.sh [--rounds 7] [--require]    ISAL_PREFIX=DIR: the ISA-L installed there instead of the system's
source "$(dirname -- "${BASH_SOURCE[0]}")/server.sh"
rounds=7 required=0
while [ $# -gt 0 ]; do
    case "$1" in
        --rounds) rounds=$2; shift 2 ;;
        --require) required=1; shift ;;
        *) fail "unknown option $1" ;;
    esac
done

compile() {
    local flags=(-O2 -Wall -Wextra -Werror)
    [ -z "${ISAL_PREFIX:-}" ] || flags+=("-I$ISAL_PREFIX/include" "-L$ISAL_PREFIX/lib" "-Wl,-rpath,$ISAL_PREFIX/lib")
    cc "${flags[@]}" "$root/bench/IsaL/isal_bench.c" -o "$work/isal_bench" -lisal 2>"$work/compile.log"
}

if ! compile && [ -z "${ISAL_PREFIX:-}" ] && command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends libisal-dev gcc libc6-dev; } >"$work/install.log" 2>&1 || true
    compile || true
fi
if [ ! -x "$work/isal_bench" ]; then
    tail -n 5 "$work/compile.log" >&2
    [ "$required" -eq 0 ] || fail "ISA-L or a C compiler is missing (Debian: libisal-dev, gcc)"
    echo "SKIPPED: ISA-L or a C compiler is missing (Debian: libisal-dev, gcc). Nothing was compared." >&2
    exit 0
fi
dotnet build "$root/bench/Micro" -c Release -nodeReuse:false -v q --nologo >"$work/build.log" 2>&1 </dev/null || { cat "$work/build.log" >&2; fail "bench/Micro does not build"; }
micro=$(find_build bench/Micro ObjectStore.Benchmarks)
version=${ISAL_PREFIX:-$(dpkg-query -W -f '${Version}' libisal-dev 2>/dev/null || echo "of unknown version")}

python3 - "$work/isal_bench" "$micro" "$rounds" "$version" <<'PY'
import json, statistics, subprocess, sys
isal, micro, rounds, version = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
names = [f"ErasureCoding.{operation}.{scheme}.{size}" for operation in ("Encode", "Reconstruct2") for scheme in ("6+3", "8+4", "10+4") for size in (131072, 1048576)]
start = lambda command: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
programs = {"ISA-L": start([isal]), "ours": start(["dotnet", micro, "--interactive", "--quick"])}
median = {(program, name): [] for program in programs for name in names}
best = {key: 0.0 for key in median}

def ask(program, name):
    programs[program].stdin.write(name + "\n")
    line = programs[program].stdout.readline()
    if not line:
        sys.exit(f"FAILED: {program} gave no answer to {name}")
    return json.loads(line)

ask("ours", names[0])  # the first answer of a process includes compiling
for round in range(rounds):
    for name in names:
        # Who goes first changes with the round.
        for program in list(programs)[::1 if round % 2 == 0 else -1]:
            result = ask(program, name)
            median[program, name].append(result["mb_per_second"] / 1e3)
            best[program, name] = max(best[program, name], result["mb_per_second"] / 1e3 * result["nanoseconds_per_operation"] / result["nanoseconds_min"])
for program in programs.values():
    program.stdin.close()
    program.wait()

print(f"GB/s of data, one thread, warm; medians of {rounds} rounds by turns, and the best sample; ISA-L {version}")
print("%-36s %8s %8s %8s %12s %12s %12s" % ("", "ISA-L", "ours", "ratio", "lowest ratio", "ISA-L best", "ours best"))
slower = 0
for name in names:
    theirs, mine = median["ISA-L", name], median["ours", name]
    ratio = statistics.median(b / a for a, b in zip(theirs, mine))
    slower += ratio < 1
    print("%-36s %8.1f %8.1f %8.2f %12.2f %12.1f %12.1f" % (name.removeprefix("ErasureCoding."), statistics.median(theirs), statistics.median(mine), ratio,
          min(b / a for a, b in zip(theirs, mine)), best["ISA-L", name], best["ours", name]))
if slower:
    sys.exit(f"FAILED: slower than ISA-L in {slower} of {len(names)}")
PY
