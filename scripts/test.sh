#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# test.sh - everything that is checked, in one run: what is missing is installed, four builds are
# made, and one ctest runs the whole list in the release build, the whole list again under the
# address and undefined-behaviour sanitizers, the tests labelled `threads` under the thread
# sanitizer, and a minute of fuzzing per parser. The last lines are ctest's summary over all of them.
#
#     test.sh [--quick] [-- CTEST_ARGUMENTS]
#
#     --quick   the release build only
#
# Works from any directory, as root or not, as often as one likes; all output is under build/.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
quick=
while [ $# -gt 0 ]; do
    case $1 in
    --quick) quick=yes ;;
    --) shift; break ;;
    -h | --help) sed -n '4,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "test.sh: unknown option $1, expected --quick or --" >&2; exit 2 ;;
    esac
    shift
done

"$root/scripts/deps.sh"

# The node client's packages, exactly those of the lock file; kept until the lock file changes.
node_dir=$root/build/node
lock=$root/tests/e2e/node/package-lock.json
if ! cmp -s "$lock" "$node_dir/installed.json"; then
    mkdir -p "$node_dir"
    cp "$root/tests/e2e/node/package.json" "$lock" "$node_dir/"
    (cd "$node_dir" && npm ci --ignore-scripts --no-audit --no-fund)
    cp "$lock" "$node_dir/installed.json"
fi

build() {
    cmake -S "$root" --preset "$1" >"$root/build/$1.configure.log" 2>&1 ||
        { cat "$root/build/$1.configure.log" >&2; exit 1; }
    cmake --build "$root/build/$1"
}

cd "$root"
build release
set_of_builds="release.=$root/build/release"
if [ -z "$quick" ]; then
    build asan
    build tsan
    build fuzz
    set_of_builds="$set_of_builds asan.=$root/build/asan tsan.=$root/build/tsan:threads fuzz.=$root/build/fuzz"
fi
# shellcheck disable=SC2086 # the list is meant to be split
/usr/bin/python3 "$root/scripts/all_tests.py" "$root/build/all" $set_of_builds

# A missing client is a failure here and not a skipped test.
LATENTD_NODE_REQUIRED=1
LATENTD_GO_REQUIRED=1
export LATENTD_NODE_REQUIRED LATENTD_GO_REQUIRED
cd "$root/build/all"
exec ctest --parallel "$(nproc)" --output-on-failure --no-tests=error "$@"
