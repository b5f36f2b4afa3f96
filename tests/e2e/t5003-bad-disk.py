#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A disk that is full, and a log that is damaged: what was acknowledged is not lost, what cannot be kept is refused, and
the service says how it is. The disk is a tmpfs of its own; without the right to mount one this is skipped, and the
unit tests of the store still make it full by other means."""
import os
import subprocess
import tempfile
import time

import grpc

import harness
from harness import Answer, assert_same_answer, health_pb2, job_pb2, make_spec, patience
from supervised import Client, Service

PROMPT = [59, 79, 62, 76, 19, 27]
OPTIONS = dict(max_steps=4096, kv_slots=4, threads=1)


def spec(i, depth=400, tokens=24):
    return make_spec(PROMPT, depth=depth, max_tokens=tokens, seed=i, ignore_eos=True, logprobs=3)


class Disk:
    """A file system of `mib` mebibytes that can be filled and emptied."""

    def __init__(self, mib):
        self.dir = tempfile.mkdtemp(prefix="ltd-disk-")
        self.ballast = os.path.join(self.dir, "ballast")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm" % mib, "latentd-test", self.dir], check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.why_not = done.stdout.decode() if done.returncode else ""

    def fill(self):
        with open(self.ballast, "wb", buffering=0) as file:
            for size in (65536, 4096, 512, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def empty(self):
        os.unlink(self.ballast)

    def close(self):
        if not self.why_not:
            subprocess.run(["umount", "-l", self.dir], check=False)
        os.rmdir(self.dir)


class BadDisk(harness.Case):
    def expected(self, specs):
        daemon = self.daemon(model=harness.TINY, options=dict(OPTIONS, store="memory"))
        answers = [Answer.of_events(daemon.api().generate(one, seconds=300)) for one in specs]
        self.assert_stops_cleanly(daemon)
        return answers

    def service_on(self, disk):
        service = Service(harness.TINY, OPTIONS)
        service.store = service.options["store"] = os.path.join(disk.dir, "jobs.db")
        self.addCleanup(service.close)
        service.start()
        return service

    def wait_serving(self, api, status):
        def is_so():
            return api.health.Check(health_pb2.HealthCheckRequest(), timeout=patience()).status == status
        harness.wait_until(is_so, "health %d" % status)

    def check_refused(self, api):
        """A new job is refused with a reason to try again; asked twice, because the first may find the disk out."""
        def refused():
            try:
                api.submit(spec(99), "refused")
            except grpc.RpcError as error:
                self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE, error)
                self.assertGreater(harness.retry_delay_ms(error), 0)
                return True
            return False
        harness.wait_until(refused, "a refused Submit")

    def test_a_full_disk_is_a_pause(self):
        disk = Disk(4)
        self.addCleanup(disk.close)
        if disk.why_not:
            self.skipTest(disk.why_not)
        specs = [spec(i) for i in range(6)]
        expected = self.expected(specs)
        service = self.service_on(disk)
        api = service.daemon.api()
        names = [api.submit(one, "job-%d" % i).name for i, one in enumerate(specs)]
        disk.fill()
        self.wait_serving(api, health_pb2.HealthCheckResponse.NOT_SERVING)
        self.check_refused(api)
        seen = api.get(names[0]).last_seq
        self.assertGreater(seen, 0)  # reading goes on
        # Killed while the disk is full: the log has less than the engine had, and nobody had been told of the rest.
        service.kill("coordinator")
        disk.empty()
        service.start()
        client = Client(service)
        self.addCleanup(client.close)
        self.assertEqual([client.submit(one, "job-%d" % i).name for i, one in enumerate(specs)], names)
        disk.fill()
        self.wait_serving(client.api(), health_pb2.HealthCheckResponse.NOT_SERVING)
        time.sleep(1)  # jobs go on against the full disk; nothing to wait for but that
        disk.empty()
        self.wait_serving(client.api(), health_pb2.HealthCheckResponse.SERVING)
        for name, answer in zip(names, expected):
            assert_same_answer(self, Answer.of_events(client.follow(name)), answer, name)
        client.close()
        self.assertEqual(service.drain(), 0)

    def test_a_stop_while_the_disk_is_full_does_not_hang_and_loses_nothing(self):
        disk = Disk(4)
        self.addCleanup(disk.close)
        if disk.why_not:
            self.skipTest(disk.why_not)
        one = spec(1, depth=1500)
        expected = self.expected([one])[0]
        service = self.service_on(disk)
        api = service.daemon.api()
        name = api.submit(one).name
        disk.fill()
        self.wait_serving(api, health_pb2.HealthCheckResponse.NOT_SERVING)
        self.assertEqual(service.drain(), 0)
        disk.empty()
        service.start()
        job = service.daemon.api().finish(name, seconds=300)
        assert_same_answer(self, Answer.of_job(job), expected, name)
        self.assertEqual(service.drain(), 0)

    def test_a_file_that_is_no_log_or_a_damaged_one_is_refused_by_name(self):
        service = Service(harness.TINY, OPTIONS)
        self.addCleanup(service.close)
        service.start()
        service.daemon.api().finish(service.daemon.api().submit(spec(1, depth=2, tokens=3)).name)
        self.assertEqual(service.drain(), 0)
        with open(service.store, "r+b") as file:
            whole = file.read()
            for what, data in (("no database", b"not a database at all, and long enough to be one" * 100),
                               ("a damaged page", whole[:4096] + b"\xff" * 4096 + whole[8192:])):
                file.seek(0)
                file.truncate()
                file.write(data)
                file.flush()
                with self.subTest(what):
                    daemon = self.daemon(model=harness.TINY, options=service.options, wait=False)
                    self.assertEqual(daemon.wait(), 2, daemon.log())
                    self.assertIn(service.store, daemon.log())
            file.seek(0)
            file.truncate()
            file.write(whole)
        service.start()
        self.assertEqual(len(service.daemon.api().jobs.List(harness.latentd_pb2.ListJobsRequest()).jobs), 1)
        self.assertEqual(service.drain(), 0)


if __name__ == "__main__":
    harness.main()
