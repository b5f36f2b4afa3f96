#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# t0006-systemd-unit.sh verify|security UNIT - judge a unit with systemd-analyze.
#
# verify: any output is a failure, because systemd-analyze returns 0 even for a misspelt directive.
# The unit is checked from a directory of its own, with the daemon's path replaced by a program that
# exists, so that nothing need be installed. security: an exposure above 2.0 is a failure.
# Skipped (77) only where systemd-analyze is absent.
set -eu

what=$1 unit=$2
if ! command -v systemd-analyze >/dev/null 2>&1; then
    echo "skipped: systemd-analyze is not installed"
    exit 77
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
sed 's|/usr/bin/latentd|/bin/true|' "$unit" >"$dir/latentd.service"

case $what in
verify)
    # The test itself is tested: a misspelt directive must be noticed.
    sed 's/^KillMode=/KilMode=/' "$dir/latentd.service" >"$dir/misspelt.service"
    misspelt=$(SYSTEMD_LOG_TARGET=console systemd-analyze verify --man=no "$dir/misspelt.service" 2>&1 || true)
    case $misspelt in
    *KilMode*) ;;
    *)
        echo "systemd-analyze did not notice KilMode=; it said: $misspelt"
        exit 1
        ;;
    esac
    output=$(SYSTEMD_LOG_TARGET=console systemd-analyze verify --man=no "$dir/latentd.service" 2>&1) || status=$?
    if [ -n "$output" ] || [ "${status:-0}" -ne 0 ]; then
        printf 'systemd-analyze verify: status %s, expected 0 and no output, found:\n%s\n' \
            "${status:-0}" "$output"
        exit 1
    fi
    ;;
security)
    systemd-analyze security --offline=yes --threshold=20 --no-pager "$dir/latentd.service" |
        tail -n 3
    systemd-analyze security --offline=yes --threshold=20 --no-pager "$dir/latentd.service" \
        >/dev/null
    ;;
*)
    echo "t0006-systemd-unit.sh: $what: expected verify or security"
    exit 2
    ;;
esac
