#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ranks that do not agree on model or options refuse to start, and say which rank and what."""
import os
import shutil
import subprocess
import tempfile

import harness
from harness import BIN, DEMO, patience


class Disagreement(harness.Case):
    def run_pair(self, first, second):
        """Two ranks with different arguments under one mpirun; returns exit status and log."""
        directory = tempfile.mkdtemp(prefix="ltd-pair-")
        self.addCleanup(shutil.rmtree, directory, True)
        root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        listen = ["--listen", "127.0.0.1:0"]
        command = (["mpirun", "--bind-to", "none", "--oversubscribe"] + root
                   + ["-n", "1", BIN] + first + listen + [":", "-n", "1", BIN] + second + listen)
        environment = dict(os.environ, TMPDIR=directory, OMPI_MCA_pml="ob1", OMPI_MCA_mpi_yield_when_idle="1",
                           OMPI_MCA_btl_vader_backing_directory=directory, HWLOC_COMPONENTS="-gl")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, encoding="utf-8", env=environment,
                                   start_new_session=True)
        try:
            log, _ = process.communicate(timeout=patience(120))
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("two ranks that disagree did not end") from None
        harness.wait_until(lambda: not harness.session_members(process.pid), "both ranks gone")
        return process.returncode, log

    def copy_of_demo(self, change):
        directory = tempfile.mkdtemp(prefix="ltd-other-")
        self.addCleanup(shutil.rmtree, directory, True)
        copy = os.path.join(directory, "demo")
        shutil.copytree(DEMO, copy)
        change(copy)
        return copy

    @staticmethod
    def flip_weight(copy):
        with open(os.path.join(copy, "model.safetensors"), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)[0]
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last ^ 1]))

    def test_another_model_on_one_rank_is_refused_and_the_rank_named(self):
        other = self.copy_of_demo(self.flip_weight)
        status, log = self.run_pair(["--model", DEMO], ["--model", other])
        self.assertEqual(status, 4, log)
        self.assertRegex(log, r"rank 1\b.*\bmodel\b")
        self.assertNotIn("listening", log)

    def test_another_tier_on_one_rank_is_refused_and_the_rank_named(self):
        status, log = self.run_pair(["--model", DEMO, "--set", "tier=ref"], ["--model", DEMO, "--set", "tier=openblas"])
        self.assertEqual(status, 4, log)
        self.assertRegex(log, r"rank 1\b.*\btiers?\b")

    def test_another_format_of_the_weights_on_one_rank_is_refused_and_the_rank_named(self):
        for tier in ((), ("--set", "tier=ref")):
            status, log = self.run_pair(["--model", DEMO, "--set", "format=int8", *tier], ["--model", DEMO, *tier])
            self.assertEqual(status, 4, log)
            self.assertRegex(log, r'rank 1\b.*"weights f32, .*expected "weights int8, .*of rank 0')
            self.assertNotIn("listening", log)

    def test_another_early_format_on_one_rank_is_refused_and_the_rank_named(self):
        status, log = self.run_pair(["--model", DEMO, "--set", "early_format=int8"], ["--model", DEMO])
        self.assertEqual(status, 4, log)
        self.assertRegex(log, r'rank 1\b.*"weights f32, early none, .*expected "weights f32, early int8, .*of rank 0')
        self.assertNotIn("listening", log)

    def test_the_same_model_under_two_paths_is_one_model(self):
        copy = self.copy_of_demo(lambda path: None)
        daemon = self.daemon()
        name = daemon.api().cluster.GetModel(harness.latentd_pb2.GetModelRequest()).hash
        other = self.daemon(model=copy)
        self.assertEqual(other.api().cluster.GetModel(harness.latentd_pb2.GetModelRequest()).hash, name)
        for one in (daemon, other):
            self.assert_stops_cleanly(one)


if __name__ == "__main__":
    harness.main()
