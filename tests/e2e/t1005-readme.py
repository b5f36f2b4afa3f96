#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What README.md shows is what happens: its shell examples and its Python client run as they are printed.

Fenced blocks with an HTML comment `<!-- tested: NAME -->` in front are taken from the text. The only
change made to them is the address, since a test may not take the default port."""
import os
import re
import subprocess

import harness
from harness import BIN, CTL, SOURCE, patience


def blocks():
    with open(os.path.join(SOURCE, "README.md"), encoding="utf-8") as file:
        found = re.findall(r"<!-- tested: (\S+) -->\n```\w*\n(.*?)```", file.read(), re.S)
    return dict(found)


class Readme(harness.Case):
    def run_text(self, command, daemon, cwd=SOURCE):
        text = command.replace("127.0.0.1:7470", daemon.address)
        environment = dict(os.environ, LATENTD_SERVER=daemon.address)
        return subprocess.run(["/bin/sh", "-euc", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, encoding="utf-8", cwd=cwd, env=environment,
                              timeout=patience(120))

    def test_the_first_job_answers_as_the_text_says(self):
        daemon = self.daemon()
        lines = blocks()["first-job"].splitlines()
        asked = [line for line in lines if line.startswith("build/release/cli/latentctl")]
        self.assertGreaterEqual(len(asked), 3)
        for line in asked:
            command, _, expected = line.partition("#")
            ended = self.run_text(command.replace("build/release/cli/latentctl", CTL), daemon)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            if expected.strip():
                self.assertEqual(ended.stdout.split()[0], expected.split()[0], line)
        self.assertIn("build/release/daemon/latentd --model models/demo", blocks()["first-job"])
        self.assertTrue(os.access(BIN, os.X_OK))
        self.assert_stops_cleanly(daemon)

    def test_the_dial_turns_as_the_text_says(self):
        daemon = self.daemon()
        ended = self.run_text(blocks()["dial"].replace("build/release/cli/latentctl", CTL), daemon)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(ended.stdout.count("eve\n"), 3, ended.stdout)
        self.assertEqual(ended.stdout.count("ola\n"), 1, ended.stdout)
        self.assertIn("recurrent step", ended.stdout)
        self.assertIn("EXIT", ended.stdout)
        self.assert_stops_cleanly(daemon)

    def test_a_killed_service_goes_on_as_the_text_says(self):
        daemon = self.daemon()
        text = blocks()["durable"].replace("build/release/cli/latentctl", CTL).replace(
            "build/release/daemon/latentd", BIN) + "wait $!\ncat $keep/answer\nrm -r $keep\n"
        ended = self.run_text(text, daemon)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        expected = harness.ctl(daemon, "think", "--depth", "64", "--max-tokens", "100", "--ignore-eos", "--seed", "1",
                               "3-2+6+9*3=")
        self.assertEqual(expected.returncode, 0, expected.stderr)
        self.assertEqual(ended.stdout, expected.stdout)
        self.assertGreater(len(ended.stdout), 50)
        self.assert_stops_cleanly(daemon)

    def test_the_python_client_runs_as_printed(self):
        daemon = self.daemon()
        directory = daemon.dir
        stubs = blocks()["python-stubs"].replace("proto/", os.path.join(SOURCE, "proto/")).replace(
            "-Iproto", "-I" + os.path.join(SOURCE, "proto"))
        made = self.run_text(stubs, daemon, cwd=directory)
        self.assertEqual(made.returncode, 0, made.stderr)
        script = os.path.join(directory, "ask.py")
        with open(script, "w", encoding="utf-8") as file:
            file.write(blocks()["python-client"].replace("127.0.0.1:7470", daemon.address))
        ended = subprocess.run(["/usr/bin/python3", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, encoding="utf-8", cwd=directory, timeout=patience(120))
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("eve after [32] steps", ended.stdout)
        self.assertTrue(ended.stdout.endswith("eve\n"), ended.stdout)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
