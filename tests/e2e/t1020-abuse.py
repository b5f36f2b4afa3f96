#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What one hostile client can do to the others, and to the daemon's memory: class by class (attacks.py).

For each class a process of its own misbehaves against a running latentd while an honest client calls
Health.Check. Two things are judged: the honest client's 99th percentile may grow by 50 ms at most
against its own just before, in the best of a few tries, because the machine is shared; and the
daemon's resident size may grow by no more than what docs/wire.md allows that class. All figures are
printed. Where the attacker must be thrown out, the reason that it was given is compared too. Under a
sanitizer all this is only printed: then the daemon's own checks are what is tested.

    t1020-abuse.py [CLASS...]        ctest runs all of them
"""
import os
import subprocess
import sys
import time

import harness

sys.path.insert(0, os.path.join(harness.SOURCE, "tests/rpc"))
try:
    from attacks import ATTACKS, CHECK, request
    from h2_peer import HEADERS, RST_STREAM, END_STREAM, Peer
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

ATTACKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "attacks.py")
DELAY_MS = 50
TRIES = 8
CALM_MS = 20  # what an honest client waits where nobody attacks; more means that others use the machine
WANTED = sys.argv[1:]


class Honest:
    """Health.Check, one call at a time, some milliseconds apart."""

    def __init__(self, address):
        self.peer = Peer(address)
        self.peer.hello()
        self.stream = -1

    def call_ms(self):
        self.stream += 2
        stream, begin = self.stream, time.monotonic()
        self.peer.seen.clear()
        self.peer.raw(request(stream, CHECK))
        done = self.peer.wait(lambda f: f.stream == stream and f.kind in (HEADERS, RST_STREAM) and
                              (f.kind == RST_STREAM or f.flags & END_STREAM))
        if done is None or done.kind == RST_STREAM or ("grpc-status", "0") not in done.fields:
            raise AssertionError(f"an honest call failed: {self.peer.seen}")
        return (time.monotonic() - begin) * 1000

    def p99_ms(self, until):
        """Call until `until()`; at least 100 times."""
        times = []
        while len(times) < 100 or not until():
            times.append(self.call_ms())
            time.sleep(0.002)  # a client that pauses, as clients do
        times.sort()
        return times[len(times) * 99 // 100]


class Abuse(harness.Case):
    def one_try(self, daemon, name):
        """The honest client's p99 before and during, the growth in MiB, and how it ended."""
        pid = daemon.rank_pids()[0]
        honest = Honest(daemon.address)
        end = time.monotonic() + 0.25
        before = honest.p99_ms(lambda: time.monotonic() > end)
        rss = harness.rss_kib(pid)
        attacker = subprocess.Popen([sys.executable, ATTACKER, name, daemon.address],
                                    stdout=subprocess.PIPE, text=True)
        self.assertEqual(attacker.stdout.readline(), "go\n")
        most = [rss]

        def over():
            most.append(harness.rss_kib(pid))
            return attacker.poll() is not None
        during = honest.p99_ms(over)
        ends = attacker.stdout.read().strip()
        attacker.stdout.close()
        self.assertEqual(attacker.returncode, 0, f"the attacker itself failed: {name}")
        honest.peer.close()
        return before, during, (max(most) - rss) / 1024, ends

    def wait_for_calm(self, daemon):
        """Other work on the machine delays everybody; what is judged is what the attack adds."""
        honest = Honest(daemon.address)
        end = time.monotonic() + harness.patience(20)
        while honest.p99_ms(lambda: True) > CALM_MS and time.monotonic() < end:
            time.sleep(0.2)
        honest.peer.close()

    def one_class(self, daemon, name):
        wanted = ATTACKS[name]
        for number in range(TRIES):
            if number > 0:
                self.wait_for_calm(daemon)
            before, during, grown, ends = self.one_try(daemon, name)
            slow = not harness.SANITIZE and during > before + DELAY_MS
            fat = not harness.SANITIZE and grown > wanted.budget_mib
            print(f"{name}: p99 {before:.1f} -> {during:.1f} ms, grown {grown:.1f} of "
                  f"{wanted.budget_mib} MiB; {ends or 'held'}", flush=True)
            # What a class may do is a rate; under a sanitizer the daemon may be too slow to exceed it.
            unsaid = not harness.SANITIZE and bool(wanted.ends) and wanted.ends not in ends
            if not slow and not fat and not unsaid:
                break
        self.assertFalse(slow, f"{name}: the honest client waited {during:.1f} ms (p99), "
                               f"{before:.1f} without the attack")
        self.assertFalse(fat, f"{name}: grown by {grown:.1f} MiB, at most {wanted.budget_mib}")
        self.assertFalse(unsaid, f"{name}: no connection ended with {wanted.ends}, but: {ends}")

    def test_each_class_leaves_the_honest_client_and_the_memory_alone(self):
        daemon = self.daemon()
        for name in WANTED or ATTACKS:
            with self.subTest(name):
                self.one_class(daemon, name)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    del sys.argv[1:]
    harness.main()
