#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# kills.sh - the kill test at length: the service is killed with SIGKILL again and again, at random moments,
# under a load of mixed jobs, and every answer is compared with that of an undisturbed run.
#
#     kills.sh [N]      N kills in all, default 200; about two seconds each
#
# LATENTD_SEED=n chooses other jobs and other moments. The suite runs the same test with 20 kills.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
kills=${1:-200}
case $kills in
'' | *[!0-9]*) echo "kills.sh: found $kills, expected a number of kills" >&2; exit 2 ;;
esac
cd "$root"
mkdir -p build
cmake -S . --preset release >build/release.configure.log
cmake --build build/release
# Two cases share the kills: alone, and two ranks.
LATENTD_KILLS=$(((kills + 1) / 2))
export LATENTD_KILLS
cd build/release
exec ctest -R '^t5001' --verbose --no-tests=error --timeout $((300 + kills * 20))
