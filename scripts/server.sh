# Sourced by the other scripts: a fresh server on a free loopback port over a folder of its own, ended by its process id.
# Sets root, work, server_pid, endpoint and the credentials; the caller may set SERVER_DLL.
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
export OBJECTSTORE_ACCESS_KEY=scripttest OBJECTSTORE_SECRET_KEY=scripttest-secret-key
work=$(mktemp -d "${TMPDIR:-/tmp}/objectstore-$(basename "$0" .sh)-XXXXXX")
server_pid=

fail() { echo "FAILED: $*" >&2; exit 1; }

newest_build() { ls -t "$root"/artifacts/*/bin/"$1"/release/"$1".dll 2>/dev/null | head -n 1 || true; } # $1: assembly

# The newest release build of an assembly; builds it when there is none, or a source is newer, so that nothing old is measured.
find_build() { # $1: project folder, $2: assembly
    local dll runtime
    dll=$(newest_build "$2")
    if [ -z "$dll" ] || [ -n "$(find "$root/src" "$root/bench" "$root/Directory.Build.props" "$root/Directory.Build.targets" "$root/Directory.Packages.props" -newer "$dll" -type f -print -quit)" ]; then
        runtime=${dll#"$root/artifacts/"}
        runtime=${runtime%%/*}
        dotnet build "$root/$1" -c Release ${runtime:+-p:GrainRuntime="$runtime"} -nodeReuse:false -v q --nologo >&2 </dev/null || fail "$1 does not build"
        dll=$(newest_build "$2")
        touch "$dll"
    fi
    echo "$dll"
}

stop_server() {
    [ -n "$server_pid" ] || return 0
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}

finish() {
    local status=$?
    trap - EXIT
    stop_server
    if [ $status -eq 0 ]; then rm -rf "$work"; else echo "kept for inspection: $work" >&2; fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

start_server() { # $1: name of the data folder within $work; the rest: options of the server
    local data="$work/$1" port dll
    shift
    dll=${SERVER_DLL:-$(find_build src/Silo ObjectStore.Silo)}
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    endpoint="http://127.0.0.1:$port"
    dotnet "$dll" run --data "$data" --listen "$endpoint" "$@" >>"$work/server.log" 2>&1 </dev/null &
    server_pid=$!
    for _ in $(seq 1 300); do
        if curl -fsS -o /dev/null -m 2 "$endpoint/health" 2>/dev/null; then return; fi
        kill -0 "$server_pid" 2>/dev/null || break
        sleep 0.1
    done
    tail -n 20 "$work/server.log" >&2
    fail "the server did not start"
}

peak_bytes() { awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$server_pid/status"; }
