#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A second stock client (@grpc/grpc-js on node): node/client.js against a daemon on TCP and on a socket."""
import os
import shutil
import subprocess

import harness
from harness import patience

MODULES = os.environ["LATENTD_NODE_MODULES"]


class NodeClient(harness.Case):
    def test_every_case_of_the_node_client_passes_on_tcp_and_on_a_unix_socket(self):
        node = shutil.which("node") or shutil.which("nodejs")
        if not node or not os.path.isdir(os.path.join(MODULES, "@grpc/grpc-js")):
            reason = "no node or no packages in %s; scripts/test.sh installs both" % MODULES
            if os.environ.get("LATENTD_NODE_REQUIRED"):
                self.fail(reason)
            self.skipTest(reason)
        script = os.path.join(harness.SOURCE, "tests/e2e/node/client.js")
        socket = "/tmp/ltd-node-%d.sock" % os.getpid()
        self.addCleanup(lambda: [os.unlink(p) for p in (socket, socket + ".lock") if os.path.exists(p)])
        daemon = self.daemon(options=dict(max_steps=4096, kv_slots=4, drain_seconds=0),
                             listen=["127.0.0.1:0", "unix:" + socket])
        for address in daemon.addresses:
            ended = subprocess.run(
                [node, script, address, os.path.join(harness.SOURCE, "proto")], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=patience(200),
                env=dict(os.environ, NODE_PATH=MODULES, LATENTD_PATIENCE_S=str(patience(60))))
            print(ended.stdout)
            self.assertEqual(ended.returncode, 0, "%s:\n%s" % (address, ended.stdout))
            self.assertNotIn("not ok", ended.stdout)
            self.assertGreaterEqual(ended.stdout.count("\nok "), 10)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
