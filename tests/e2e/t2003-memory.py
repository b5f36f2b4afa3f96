#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs come and go and the daemon's memory does not grow with them.

A warm-up runs 200 jobs of every kind and a crowd that touches every page of the key-value cache; the daemon
keeps 100 finished jobs, so it holds as many ever after. Then 1,000 more jobs run, and the resident size may
grow by less than 0.5 KiB per job in at least one half of them: a leak grows in both, and is seen when it is
one event or one job's record; what grows once (a crowd at a moment that had none before, an allocator's arena)
does not. Under the sanitizers resident sizes mean nothing; there the leak check at exit is the test."""
import harness
from harness import make_spec, rss_kib

WARM_UP, MORE = 200, 1000
ALLOWED_KIB = MORE // 2 * 0.5


class Memory(harness.Case):
    def run_jobs(self, daemon, count):
        """Batches of ten at once: streamed, submitted and fetched, cancelled, refused, scored, cut off."""
        apis = [daemon.api() for _ in range(2)]

        def generate(i):
            spec = make_spec("9-7-2-3-9+6-4*9=", depth=8 + i % 5, max_tokens=4 + i % 9, seed=i, logprobs=i % 4,
                             ignore_eos=True, temperature=0.5 * (i % 3))
            apis[i % 2].generate(spec)

        def submit(i):
            api = apis[i % 2]
            job = api.submit(make_spec("eve's rival's friend's boss?", depth=(1, 32, 0.03), seed=i),
                             request_id="%d-%d" % (self.batch, i))
            api.finish(job.name)

        def cancel(i):
            api = apis[i % 2]
            job = api.submit(make_spec("1+2+3=", depth=64, max_tokens=60, ignore_eos=True, stop=["never"]))
            api.cancel(job.name)
            api.finish(job.name)

        def cut(i):
            call = apis[i % 2].inference.Generate(harness.latentd_pb2.GenerateRequest(
                spec=make_spec("1+2+3=", depth=64, max_tokens=60, ignore_eos=True)), timeout=harness.patience())
            next(call)
            call.cancel()

        def refuse(i):
            try:
                apis[i % 2].submit(make_spec("1+1=", depth=9999))
            except harness.grpc.RpcError as error:
                assert error.code() == harness.grpc.StatusCode.INVALID_ARGUMENT, error

        kinds = (generate, generate, generate, generate, submit, submit, submit, cancel, cut, refuse)
        for _ in range(count // len(kinds)):
            self.batch += 1
            harness.run_together([lambda i=i, kind=kind: kind(i) for i, kind in enumerate(kinds)])
        daemon.close_channels()

    def settled(self, daemon):
        """Resident size once every job and every connection is gone."""
        api = daemon.api()
        harness.wait_until(lambda: not (api.status().jobs_running or api.status().jobs_queued), "every job over")
        return rss_kib(daemon.rank_pids()[0])

    def touch_every_page(self, daemon):
        api = daemon.api()
        names = [api.submit(make_spec("1+2+3=", depth=4, max_tokens=90, ignore_eos=True)).name for _ in range(32)]
        for name in names:
            api.finish(name)
        daemon.close_channels()

    def test_a_thousand_jobs_leave_the_resident_size_as_it_was(self):
        self.batch = 0
        daemon = self.daemon(options=dict(finished_jobs_kept=100, kv_slots=2, kv_pages=64))
        sanitized = bool(harness.SANITIZE)
        self.run_jobs(daemon, 100 if sanitized else WARM_UP)
        self.touch_every_page(daemon)
        sizes = [self.settled(daemon)]
        for _ in range(2):
            self.run_jobs(daemon, 50 if sanitized else MORE // 2)
            sizes.append(self.settled(daemon))
        print("resident KiB after the warm-up and after each half of the jobs: %s" % sizes)
        if not sanitized:
            self.assertLess(min(sizes[1] - sizes[0], sizes[2] - sizes[1]), ALLOWED_KIB,
                            "growth in KiB over %d jobs" % (MORE // 2))
        # A leak found at exit makes the exit status 99 in a sanitizer build.
        self.assert_stops_cleanly(daemon)

    def test_idle_connections_are_given_back(self):
        daemon = self.daemon()
        pid = daemon.pid

        def open_and_close(count):
            apis = [daemon.api() for _ in range(count)]
            for api in apis:
                api.status()
            daemon.close_channels()

        open_and_close(200)
        sizes = [rss_kib(pid)]
        for _ in range(2):
            for _ in range(3):
                open_and_close(200)
            sizes.append(rss_kib(pid))
        print("resident KiB after 200 connections and after each 600 more: %s" % sizes)
        if not harness.SANITIZE:
            self.assertLess(min(sizes[1] - sizes[0], sizes[2] - sizes[1]), ALLOWED_KIB)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
