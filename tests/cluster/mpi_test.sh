#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/cluster/mpi_test.sh - run mpi_group_test in real rank groups and compare what they say.
#
#     mpi_test.sh CASE PROGRAM DATA_DIR
#
# Every mpirun has a time limit and all its files in a directory of its own, so that a group that
# dies leaves nothing behind. More ranks than processors are normal here.
set -u -o pipefail

case_name=$1 program=$2 small=$3/golden/tiny-p2r4c2
work=$(mktemp -d "${TMPDIR:-/tmp}/ltd-mpi-XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

export TMPDIR=$work
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_pml=ob1
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_osc_sm_backing_directory=$work
export HWLOC_COMPONENTS=-gl
# Kernel threads that spin at their barriers, in more ranks than processors, turn 1 ms into 1 s.
export OMP_WAIT_POLICY=passive

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# group N ARGS...: run N ranks; standard output in $work/out. Ranks start in the order of mpirun.
group() {
    local n=$1
    shift
    timeout -s KILL 240 mpirun --bind-to none --oversubscribe -n "$n" "$program" "$@" \
        </dev/null >"$work/out" 2>"$work/log"
}

must() {
    "$@" || {
        local status=$?
        cat "$work/out" "$work/log" >&2
        fail "status $status from: $*"
    }
}

line() {
    sed -n "s/^$1 //p" "$work/out"
}

expect_same() { # WHAT FOUND EXPECTED
    [ -n "$2" ] && [ "$2" = "$3" ] || fail "$1: found \"$2\", expected \"$3\""
}

# The hash and the golden tokens for every group, against a process that nobody launched.
answers() {
    timeout -s KILL 240 "$program" answers "$small" 1 "" >"$work/out" 2>"$work/log" ||
        fail "alone: $(cat "$work/out" "$work/log")"
    local hash tokens replies
    hash=$(line hash) tokens=$(line tokens) replies=$(line replies)
    echo "alone: tier $(line tier), hash $hash"
    while read -r n threads shares; do
        must group "$n" answers "$small" "$threads" "$shares"
        expect_same "$n ranks, $threads threads, shares \"$shares\": hash" "$(line hash)" "$hash"
        expect_same "$n ranks, $threads threads: tokens" "$(line tokens)" "$tokens"
        expect_same "$n ranks, $threads threads: replies" "$(line replies)" "$replies"
        echo "$n ranks, $threads threads, shares \"$shares\": same"
    done <<END
1 1
1 2
2 1
2 2 1,3
3 1
3 1 1,1,2
4 1
5 1 0.01,1,1,1,9
7 1
END
}

# A stream that two ranks ran is given to one and to three, and their replies are the same bytes.
replay() {
    must group 2 answers "$small" 1 "" "$work/stream"
    local replies
    replies=$(line replies)
    for n in 1 3; do
        must group "$n" replay "$small" 1 "" "$work/stream"
        expect_same "replay on $n ranks" "$(line replies)" "$replies"
        echo "$n ranks, $(line ticks) ticks: same replies"
    done
}

contract() {
    for n in 1 3; do
        must group "$n" group "$small"
        grep -q "group contract holds" "$work/out" || fail "$n ranks: $(cat "$work/out")"
    done
}

idle() {
    must group 3 idle "$small" 2
    cat "$work/out"
    for rank in 1 2; do
        grep -q "rank $rank lived through its signals" "$work/out" || fail "rank $rank: no signals"
    done
}

# Each disagreement: all three ranks hear one sentence, and it has these words.
refusals() {
    local host heard what words
    host=$(hostname)
    while IFS='|' read -r what words; do
        must group 3 refuse "$small" "$what"
        heard=$(sed -n 's/^rank [0-9]* hears: //p' "$work/out" | sort | uniq -c | sed 's/^ *//')
        [[ $heard == "3 "*"rank 2 on host $host: $words"* ]] ||
            fail "$what: heard \"$heard\", expected three times \"rank 2 on host $host: $words\""
        echo "$what: ${heard#3 }"
    done <<END
model|model hash "feedbeef", expected "
version|stream version 99, expected 3 of rank 0
build|build "another build", expected "
tier|tiers none, expected
kv|KV format "bf16", expected "f32" of rank 0
pages|limit n_pages 5, expected 24 of rank 0
load|/models/gone/config.json: no such file
END
    must group 3 refuse "$small" nothing
    [ "$(grep -c "hears: welcome" "$work/out")" = 3 ] || fail "equals: $(cat "$work/out")"
}

# Rank 0 ends without a word while the others sleep: they notice, and the group ends with it.
leave() {
    group 3 leave "$small"
    local status=$?
    # Rank 0 ends with 9, its workers with 1; mpirun reports the one whose end it notices first.
    [ $status = 9 ] || [ $status = 1 ] || fail "status $status, expected 9 or 1: $(cat "$work/log")"
    grep -q "rank [12]: leave: rank 0 on host .* is gone" "$work/log" ||
        fail "no worker noticed: $(cat "$work/log")"
    echo "workers noticed: $(grep -c "is gone" "$work/log")"
}

# Others connect to the control port before the first worker: the group starts, none of them is kept.
strangers() {
    local alone
    must group 3 strangers "$small"
    alone=$(line connections)
    [ "$alone" -ge 2 ] && [ "$alone" -lt 10 ] ||
        fail "rank 0 has $alone connections, expected those of 2 workers and of MPI"
    ! grep "^stranger" "$work/log" || fail "a stranger could not connect"
    echo "$alone connections are left"
}

# What rank 0 alone fails at ends all ranks in order, and the reason is what is read.
norecord() {
    group 3 norecord "$small"
    local status=$?
    [ $status = 1 ] || fail "status $status, expected rank 0's 1: $(cat "$work/log")"
    grep -q "rank 0: norecord: create /nowhere/stream: No such file" "$work/log" ||
        fail "no reason: $(cat "$work/log")"
    [ "$(grep -c "was told to stop" "$work/out")" = 2 ] || fail "workers: $(cat "$work/out" "$work/log")"
}

# What MPI is told by default: quick alone, yielding always, and never against the user's word.
settings() {
    local plain=(env -u OMPI_MCA_mpi_yield_when_idle -u OMPI_MCA_pml -u HWLOC_COMPONENTS)
    local said
    said=$("${plain[@]}" timeout -s KILL 60 "$program" settings "$small")
    expect_same "alone" "$said" "1 ob1 1 -gl"
    said=$("${plain[@]}" OMPI_MCA_mpi_yield_when_idle=0 timeout -s KILL 60 "$program" settings x)
    expect_same "alone, user's yield" "$said" "1 ob1 0 -gl"
    said=$("${plain[@]}" timeout -s KILL 60 mpirun -n 1 "$program" settings x </dev/null)
    expect_same "launched" "$said" "unset ob1 1 -gl"
}

case $case_name in
answers | replay | contract | idle | refusals | leave | strangers | norecord | settings) "$case_name" ;;
*) fail "unknown case $case_name" ;;
esac
