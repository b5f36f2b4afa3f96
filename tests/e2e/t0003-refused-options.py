#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Wrong options are refused at start: exit status 2, every mistake named, nothing clamped, nothing guessed."""
import concurrent.futures
import os
import subprocess
import tempfile

import harness
from harness import BIN, DEMO, TINY, patience

# (what is wrong, arguments, what the message must name)
WRONG = [
    ("no model", [], ["model"]),
    ("an unknown flag", ["--model", DEMO, "--frobnicate"], ["--frobnicate"]),
    ("a flag without its value", ["--model"], ["--model"]),
    ("a word that is no flag", ["--model", DEMO, "serve"], ["serve"]),
    ("an unknown key", ["--model", DEMO, "--set", "kv_slot=4"], ["kv_slot", "kv_slots"]),
    ("--set without a value", ["--model", DEMO, "--set", "threads"], ["threads", "="]),
    ("a negative number", ["--model", DEMO, "--threads", "-1"], ["threads", "-1", "0"]),
    ("a number too large", ["--model", DEMO, "--threads", "99999999999999999999"], ["threads", "99999999999999999999"]),
    ("a word for a number", ["--model", DEMO, "--set", "kv_slots=many"], ["kv_slots", "many", "number"]),
    ("a number with a tail", ["--model", DEMO, "--set", "max_batch=8x"], ["max_batch", "8x"]),
    ("an empty number", ["--model", DEMO, "--set", "max_batch="], ["max_batch"]),
    ("a fraction for a count", ["--model", DEMO, "--set", "max_batch=1.5"], ["max_batch", "1.5", "whole number"]),
    ("NaN", ["--model", DEMO, "--set", "drain_seconds=nan"], ["drain_seconds", "nan"]),
    ("infinity", ["--model", DEMO, "--set", "linger_ms=inf"], ["linger_ms", "inf"]),
    ("an unknown tier", ["--model", DEMO, "--set", "tier=avx9000"], ["tier", "avx9000", "ref"]),
    ("a format nobody knows", ["--model", DEMO, "--set", "format=int3"], ["format", "int3", "f32, bf16, int8 or int4"]),
    ("a format that the tier has not", ["--model", DEMO, "--set", "format=int8", "--set", "tier=openblas"],
     ["format", "int8", "openblas", "ref"]),
    ("an unknown policy", ["--model", DEMO, "--set", "kv_policy=forgetful"], ["kv_policy", "forgetful", "full"]),
    ("a share that is not a number", ["--model", DEMO, "--set", "shares=1,nan"], ["shares", "1,nan"]),
    ("a share of nothing", ["--model", DEMO, "--set", "shares=0"], ["shares", "0", "positive"]),
    ("more shares than ranks", ["--model", DEMO, "--set", "shares=1,2,3"], ["shares", "3", "1"]),
    ("a chunk larger than a batch", ["--model", DEMO, "--set", "max_batch=8", "--set", "prefill_chunk=9"],
     ["prefill_chunk", "9", "max_batch", "8"]),
    ("no address", ["--model", DEMO, "--listen", "nonsense"], ["listen", "nonsense", "HOST:PORT"]),
    ("a port too large", ["--model", DEMO, "--listen", "127.0.0.1:65536"], ["listen", "127.0.0.1:65536"]),
    ("a negative port", ["--model", DEMO, "--listen", "127.0.0.1:-1"], ["listen", "127.0.0.1:-1"]),
    ("an empty socket path", ["--model", DEMO, "--listen", "unix:"], ["listen", "unix:"]),
    ("a log level nobody knows", ["--model", DEMO, "--log-level", "loud"], ["log_level", "loud", "debug"]),
    ("a configuration that is absent", ["--model", DEMO, "--config", "/nonexistent/latentd.conf"],
     ["/nonexistent/latentd.conf"]),
    ("a policy that does not fit the model", ["--model", TINY, "--set", "kv_policy=compress-s3"],
     ["kv_policy", "compress-s3", "4"]),
]

MISTAKES = """# a comment
model = %s
threads = four

max_batch = 0
listn = 127.0.0.1:1
this line says nothing
drain_seconds = -1
tier = ref # and a comment behind a value
tier = ref
"""


class RefusedOptions(harness.Case):
    def run_daemon(self, *arguments):
        return subprocess.run([BIN, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=patience(), encoding="utf-8")

    def test_each_wrong_option_is_refused_with_a_message_that_names_it(self):
        # Six at a time in one TMPDIR: daemons that start and end at once must not get into each other's way.
        listen = ["--listen", "127.0.0.1:0"]
        commands = [arguments if "--listen" in arguments else listen + arguments for _, arguments, _ in WRONG]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            results = list(pool.map(lambda arguments: self.run_daemon(*arguments), commands))
        for (what, _, wanted), ended in zip(WRONG, results):
            with self.subTest(what):
                self.assertEqual(ended.returncode, 2, "%s: exit status; it said:\n%s" % (what, ended.stdout))
                for text in wanted:
                    self.assertIn(text, ended.stdout, what)

    def test_check_config_starts_nothing_and_prints_every_mistake_with_file_and_line(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(MISTAKES % DEMO)
            file.flush()
            ended = self.run_daemon("--config", file.name, "--check-config", "--set", "shares=x")
            self.assertEqual(ended.returncode, 2, ended.stdout)
            for line, wanted in ((3, ["threads", "four"]), (5, ["max_batch", "0"]), (6, ["listn", "listen"]),
                                 (7, ["this line says nothing"]), (8, ["drain_seconds", "-1"]), (10, ["tier"])):
                said = [s for s in ended.stdout.splitlines() if "%s:%d:" % (file.name, line) in s]
                self.assertEqual(len(said), 1, "line %d; it said:\n%s" % (line, ended.stdout))
                for text in wanted:
                    self.assertIn(text, said[0])
            self.assertIn("shares", ended.stdout)

    def test_what_a_file_says_is_used_and_an_argument_wins_over_it(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("model = %s\nmax_steps = 40\nkv_slots = 2\n" % TINY)
            file.flush()
            daemon = self.daemon(model=None, arguments=["--config", file.name, "--set", "max_steps=50"])
            model = daemon.api().cluster.GetModel(harness.latentd_pb2.GetModelRequest())
            self.assertEqual(model.name, "models/tiny-p2r4c2")
            self.assertEqual(model.max_steps, 50)
            self.assert_stops_cleanly(daemon)

    def test_a_directory_or_a_huge_file_in_place_of_the_configuration_is_refused(self):
        directory = tempfile.mkdtemp(prefix="ltd-conf-")
        self.addCleanup(os.rmdir, directory)
        huge = os.path.join(directory, "huge.conf")
        with open(huge, "wb") as file:
            file.truncate(1 << 40)  # sparse: it takes no room, reading it whole would
        self.addCleanup(os.unlink, huge)
        for path in (directory, huge):
            ended = self.run_daemon("--model", DEMO, "--config", path)
            self.assertEqual(ended.returncode, 2, ended.stdout)
            self.assertIn(path, ended.stdout)


if __name__ == "__main__":
    harness.main()
