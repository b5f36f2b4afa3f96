#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One process: it says when it is ready and where, serves, and ends in order."""
import os
import signal
import socket
import stat
import subprocess
import unittest

import harness
from harness import Answer, BIN, DEMO, make_spec, patience


class StartAndStop(harness.Case):
    def test_alone_it_becomes_ready_serves_and_ends_with_zero_on_sigterm(self):
        daemon = self.daemon()
        print("ready after %.0f ms" % (1000 * daemon.ready_seconds))
        answer = Answer.of_events(daemon.api().generate(make_spec("3+4=", depth=8)))
        self.assertEqual(answer.text, "7")
        self.assert_stops_cleanly(daemon)
        self.assertFalse(os.path.exists(daemon.ready_file), "the ready file outlived the service")

    def test_no_process_is_left_beside_a_single_one(self):
        daemon = self.daemon()
        self.assertEqual(daemon.members(), [daemon.pid])
        self.assert_stops_cleanly(daemon)

    def test_sigint_and_sigusr1_end_it_in_order_too(self):
        for number in (signal.SIGINT, signal.SIGUSR1):
            with self.subTest(signal=number):
                daemon = self.daemon()
                daemon.signal(number)
                self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_a_signal_while_it_loads_ends_it_in_order_or_by_the_signal_and_leaves_nothing(self):
        daemon = self.daemon(wait=False)
        daemon.signal(signal.SIGTERM)
        self.assertIn(daemon.wait(), (0, -signal.SIGTERM), daemon.log())
        self.assertFalse(os.path.exists(daemon.ready_file))

    def test_a_second_daemon_on_the_same_port_is_refused_and_the_first_goes_on(self):
        first = self.daemon()
        second = self.daemon(listen=[first.address], wait=False)
        status = second.wait()
        self.assertNotEqual(status, 0)
        port = first.address.rsplit(":", 1)[1]
        self.assertIn(port, second.log())
        self.assertIn("in use", second.log())
        answer = Answer.of_events(first.api().generate(make_spec("1+1=", depth=8)))
        self.assertEqual(answer.text, "2")
        self.assert_stops_cleanly(first)

    def test_it_serves_on_a_unix_socket_and_on_tcp_at_once(self):
        path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "ltd-e2e-%d.sock" % os.getpid())
        self.addCleanup(lambda: [os.unlink(p) for p in (path, path + ".lock") if os.path.exists(p)])
        daemon = self.daemon(listen=["unix:" + path, "127.0.0.1:0"])
        self.assertEqual(len(daemon.addresses), 2, daemon.addresses)
        self.assertEqual(daemon.addresses[0], "unix:" + path)
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
        answers = [Answer.of_events(daemon.api(address).generate(make_spec("4+4=", depth=8, seed=1)))
                   for address in daemon.addresses]
        self.assertEqual(answers[0].text, "8")
        self.assertEqual(answers[0], answers[1])
        self.assert_stops_cleanly(daemon)
        self.assertFalse(os.path.exists(path), "the socket outlived the service")

    def test_a_socket_that_a_killed_daemon_left_behind_is_taken_over(self):
        path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "ltd-e2e-%d-b.sock" % os.getpid())
        self.addCleanup(lambda: [os.unlink(p) for p in (path, path + ".lock") if os.path.exists(p)])
        first = self.daemon(listen=["unix:" + path])
        first.signal(signal.SIGKILL)
        first.wait()
        self.assertTrue(os.path.exists(path))
        second = self.daemon(listen=["unix:" + path])
        self.assertEqual(Answer.of_events(second.api().generate(make_spec("2+3=", depth=8))).text, "5")
        self.assert_stops_cleanly(second)

    def test_the_log_says_where_it_listens(self):
        daemon = self.daemon()
        self.assertIn("listening on %s" % daemon.address, daemon.log())
        self.assert_stops_cleanly(daemon)

    def test_a_connection_that_says_nothing_does_not_delay_the_stop(self):
        daemon = self.daemon()
        host, port = daemon.address.rsplit(":", 1)
        with socket.create_connection((host, int(port))):
            self.assert_stops_cleanly(daemon)


class Words(unittest.TestCase):
    """What the program says without serving."""

    def run_daemon(self, *arguments):
        return subprocess.run([BIN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=patience(), encoding="utf-8")

    def test_help_and_version_are_answered_on_standard_output(self):
        shown = self.run_daemon("--help")
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        for word in ("--model", "--listen", "--threads", "--set", "--config", "--check-config",
                     "kv_slots", "shares", "tier"):
            self.assertIn(word, shown.stdout)
        shown = self.run_daemon("--version")
        self.assertEqual((shown.returncode, shown.stderr), (0, ""))
        self.assertRegex(shown.stdout, r"latentd \d+\.\d+")

    def test_a_good_configuration_is_said_to_be_good_and_nothing_is_started(self):
        shown = self.run_daemon("--model", DEMO, "--check-config")
        self.assertEqual(shown.returncode, 0, shown.stderr)


if __name__ == "__main__":
    harness.main()
