#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# demo.sh - thinking longer instead of writing more, shown on this machine in a few minutes.
#
# Installs what is missing, builds, starts two ranks with mpirun on the small model in models/demo,
# asks it hard questions at several depths, prints the accuracy by difficulty and depth, and stops.
# Exits with 0 only if the hardest questions fail at depth 2 and succeed at depth 32, and nothing is
# left behind. Works from any directory, as root or not, as often as one likes.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release
latentctl=$build/cli/latentctl
model=$root/models/demo

"$root/scripts/deps.sh"
echo "== building"
cd "$root"
mkdir -p "$root/build"
cmake --preset release >"$root/build/release.configure.log" 2>&1 ||
    { cat "$root/build/release.configure.log" >&2; exit 1; }
cmake --build "$build" --target latentd latentctl

# Everything that Open MPI writes goes into one directory of our own, and so does our log.
dir=$(mktemp -d "${TMPDIR:-/tmp}/latentd-demo-XXXXXX")
mpirun_pid=
cleanup() {
    status=$?
    if [ -n "$mpirun_pid" ] && kill -0 "$mpirun_pid" 2>/dev/null; then
        kill -USR1 "$mpirun_pid" 2>/dev/null || true
        wait "$mpirun_pid" || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

port=$(/usr/bin/python3 - <<'PY'
import random
import socket

# Below 32768: outgoing connections take their local ports from there on.
for port in random.sample(range(20000, 32000), 200):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(port)
        break
PY
)
server=127.0.0.1:$port

# In the shell's own variables, so that every rank and mpirun itself see them.
export TMPDIR="$dir"
export OMPI_MCA_pml=ob1 OMPI_MCA_mpi_yield_when_idle=1 HWLOC_COMPONENTS=-gl
as_root=
[ "$(id -u)" -ne 0 ] || as_root=--allow-run-as-root
ls /dev/shm >"$dir/shm-before" 2>/dev/null || true

echo "== starting two ranks"
# shellcheck disable=SC2086 # empty when it is not wanted
mpirun $as_root --bind-to none --oversubscribe -n 2 "$build/daemon/latentd" --model "$model" \
    --listen "$server" --set "ready_file=$dir/ready" >"$dir/log" 2>&1 </dev/null &
mpirun_pid=$!
patience=600 # tenths of a second: a model of half a megabyte is loaded in far less
while ! [ -s "$dir/ready" ]; do
    if ! kill -0 "$mpirun_pid" 2>/dev/null || [ "$patience" -eq 0 ]; then
        echo "demo.sh: latentd did not become ready; its log:" >&2
        cat "$dir/log" >&2
        exit 1
    fi
    patience=$((patience - 1))
    sleep 0.1
done
"$latentctl" info --server "$server"

ask() { # QUESTION EXPECTED: one line with the answer at each depth, one with what adaptive depth did
    printf '\n%s   (right: %s)\n' "$1" "$2"
    for depth in 1 2 4 8 16 32; do
        answer=$("$latentctl" think --server "$server" --depth "$depth" --seed 1 "$1" | tr -d '\n')
        mark=' '
        [ "$answer" != "$2" ] || mark='*'
        printf '   depth %2d: %-4s%s' "$depth" "$answer" "$mark"
    done
    "$latentctl" think --server "$server" --depth adaptive --max-steps 64 --seed 1 --json "$1" |
        /usr/bin/python3 -c 'import json, sys
a = json.load(sys.stdin)
print("\n   adaptive: %s after %d steps, one token written" % (a["text"].strip(), a["steps"][0]))'
}

echo
echo "== the same question, the same weights, the same context: only the number of steps differs"
echo "   (* = right)"
# The hardest question of each family in the held-out set.
/usr/bin/python3 - "$model/questions.jsonl" >"$dir/hard" <<'PY'
import json
import sys

hardest = {}
with open(sys.argv[1], encoding="utf-8") as file:
    for line in file:
        question = json.loads(line)
        key = (question["difficulty"], len(question["prompt"]))
        if key > hardest.get(question["family"], ((0, 0), None))[0]:
            hardest[question["family"]] = (key, question)
for _, question in hardest.values():
    print("%s\t%s" % (question["prompt"], question["answer"]))
PY
tab=$(printf '\t')
while IFS="$tab" read -r prompt answer; do
    ask "$prompt" "$answer" </dev/null
done <"$dir/hard"

echo
echo "== accuracy by difficulty and depth, $(wc -l <"$model/questions.jsonl") questions that training never saw"
"$latentctl" eval --server "$server" "$model/questions.jsonl" --depths 1,2,4,8,16,32,adaptive
"$latentctl" eval --server "$server" "$model/questions.jsonl" --depths 2,32 --json >"$dir/eval.json"

echo
echo "== stopping"
kill -USR1 "$mpirun_pid"
stopped=0
wait "$mpirun_pid" || stopped=$?
mpirun_pid=
if [ "$stopped" -ne 0 ]; then
    echo "demo.sh: mpirun ended with $stopped, expected 0; the log:" >&2
    cat "$dir/log" >&2
    exit 1
fi
# Whatever is new in /dev/shm and used by nobody would be ours.
ls /dev/shm >"$dir/shm-after" 2>/dev/null || true
for entry in $(comm -13 "$dir/shm-before" "$dir/shm-after"); do
    if [ -e "/dev/shm/$entry" ] && ! grep -qs "/dev/shm/$entry" /proc/[0-9]*/maps; then
        echo "demo.sh: /dev/shm/$entry was left behind" >&2
        exit 1
    fi
done

/usr/bin/python3 - "$dir/eval.json" <<'PY'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    cells = json.load(file)["cells"]
hardest = max(cell["difficulty"] for cell in cells)
accuracy = {cell["depth"]: cell["accuracy_percent"] for cell in cells if cell["difficulty"] == hardest}
print("stopped cleanly. Hardest questions: %.1f %% right at depth 2 (expected at most 40), "
      "%.1f %% at depth 32 (expected at least 95)" % (accuracy[2], accuracy[32]))
sys.exit(0 if accuracy[2] <= 40 and accuracy[32] >= 95 else 1)
PY
