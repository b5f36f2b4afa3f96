#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The watchdog of systemd: a daemon that has nothing to do, or only jobs that are held back, goes on saying
that it lives; nothing but a job that should advance and does not may end that."""
import os
import socket
import tempfile
import time

import harness
from harness import make_spec, patience


class Watchdog(harness.Case):
    def pings(self, notify, n):
        """Wait for n pings; False when they stop coming."""
        end = time.monotonic() + patience(60)
        while n > 0 and time.monotonic() < end:
            try:
                n -= notify.recv(1000).count(b"WATCHDOG=1")
            except socket.timeout:
                pass
        return n <= 0

    def test_a_held_job_does_not_look_like_a_hanging_one(self):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "notify")
            notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            notify.bind(path)
            notify.settimeout(0.2)
            daemon = self.daemon(model=harness.TINY, options={"drain_seconds": 1},
                                 environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"})
            self.assertTrue(self.pings(notify, 4), "an idle daemon sends no pings")
            api = daemon.api()
            held = api.submit(make_spec([1, 2, 3], depth=2, max_tokens=2, priority=0))
            # The limit is one second and pings come several times as often: twenty are well beyond it.
            self.assertTrue(self.pings(notify, 20), "pings stopped behind a job that is held back")
            self.assertFalse(api.get(held.name).done)
            self.assertNotIn("no progress", daemon.log())
            notify.close()
            self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
