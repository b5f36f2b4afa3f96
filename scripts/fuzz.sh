#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh - look for inputs that break a parser or one of its invariants (docs/fuzzing.md).
#
#     fuzz.sh [--built DIR] [--csv FILE] [SECONDS_PER_TARGET] [TARGET...]
#
#     SECONDS_PER_TARGET   default 60
#     TARGET               names from tests/fuzz/fuzz_NAME.c; default: all of them
#     --built DIR          use the fuzz build in DIR; default: build/fuzz, made first
#     --csv FILE           append one line per target: date, machine, commit, target, seconds, executions, edges,
#                          features, inputs kept, findings. The commit is that of the tree now: with --built the
#                          programs may be older, and the line is then to be corrected
#
# Two targets run at a time. Inputs that reach new code are kept in DIR/fuzz/corpus/TARGET and used by the
# next run; the committed corpora are only read. A finding is a failure: its input and the log are named, and the
# exit status is 1. LATENTD_FUZZ_JOBS changes how many run at a time. LATENTD_FUZZ_SEED=n begins
# with that seed; without it each run looks somewhere else.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
build=
csv=
while [ $# -gt 0 ]; do
    case $1 in
    --built) build=$(cd "$2" && pwd); shift 2 ;;
    --csv) csv=$(realpath "$2"); shift 2 ;;
    -h | --help) sed -n '4,20s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "fuzz.sh: unknown option $1, expected --built or --csv" >&2; exit 2 ;;
    *) break ;;
    esac
done
seconds=60
case ${1:-x} in
*[!0-9]*) ;;
*) seconds=$1; shift ;;
esac

if [ -z "$build" ]; then
    build=$root/build/fuzz
    mkdir -p "$build"
    (cd "$root" && cmake --preset fuzz >"$build.configure.log") || { cat "$build.configure.log" >&2; exit 1; }
    cmake --build "$build"
fi
programs=$build/tests/fuzz
if [ $# -eq 0 ]; then
    set -- $(cd "$root/tests/fuzz" && ls fuzz_*.c | sed 's/^fuzz_\(.*\)\.c$/\1/')
fi
for target in "$@"; do
    [ -x "$programs/fuzz_$target" ] ||
        { echo "fuzz.sh: no target $target in $programs, expected one of tests/fuzz/fuzz_NAME.c" >&2; exit 2; }
done
work=$build/fuzz
mkdir -p "$work/findings" "$work/logs"

# One target, in a shell of its own; the status says whether anything was found.
run_one='
target=$1 seconds=$2 root=$3 programs=$4 work=$5
log=$work/logs/$target
mkdir -p "$work/corpus/$target"
set -- "$work/corpus/$target"
for dir in "$programs/seeds/$target" "$root/tests/fuzz/corpus/$target" "$root/tests/fuzz/crashes/$target"; do
    [ ! -d "$dir" ] || set -- "$@" "$dir"
done
[ ! -f "$root/tests/fuzz/dictionaries/$target" ] || set -- "-dict=$root/tests/fuzz/dictionaries/$target" "$@"
"$programs/fuzz_$target" ${LATENTD_FUZZ_SEED:+-seed="$LATENTD_FUZZ_SEED"} -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="$work/findings/$target-" "$@" >"$log" 2>&1
status=$?
runs=$(sed -n "s/^stat::number_of_executed_units: *//p" "$log")
last=$(grep -E "^#[0-9]+.*(DONE|pulse|NEW|REDUCE|INITED)" "$log" | tail -n 1)
edges=$(printf %s "$last" | sed -n "s/.* cov: \([0-9]*\).*/\1/p")
features=$(printf %s "$last" | sed -n "s/.* ft: \([0-9]*\).*/\1/p")
kept=$(ls "$work/corpus/$target" | wc -l)
printf "%s,%s,%s,%s,%s,%s,%s\n" "$target" "$seconds" "${runs:-0}" "${edges:-0}" "${features:-0}" "$kept" \
    "$([ $status -eq 0 ] && echo 0 || echo 1)" >"$log.csv"
printf "%-16s %4s s %10s runs %6s edges %6s features, %s inputs kept\n" "$target" "$seconds" "${runs:-0}" \
    "${edges:-0}" "${features:-0}" "$kept"
[ $status -eq 0 ] && exit 0
echo "$target: FOUND SOMETHING"
grep -E "does not hold|ERROR:|SUMMARY:|runtime error|Test unit written|^ *#[0-9] " "$log" | head -n 20
echo "$target: the whole log is $log"
exit 1'

status=0
printf '%s\n' "$@" |
    xargs -P "${LATENTD_FUZZ_JOBS:-2}" -I '{}' sh -c "$run_one" fuzz.sh '{}' "$seconds" "$root" "$programs" "$work" ||
    status=1
if [ -n "$csv" ]; then
    [ -s "$csv" ] || echo "date,machine,commit,target,seconds,runs,edges,features,inputs,findings" >"$csv"
    machine=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | tr ',' ' ')
    commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
    for target in "$@"; do
        echo "$(date +%F),$machine,$commit,$(cat "$work/logs/$target.csv")" >>"$csv"
    done
fi
exit $status
