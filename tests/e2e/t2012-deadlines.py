#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Deadlines buy depth. Jobs with a range of steps and a budget come at random (Poisson) up to twice as fast as the
service can answer them at full depth: none is refused, hardly any is late, and it is the depth that gives.
With a fixed depth the same load is refused, with a time to come back, and what was accepted is answered.

Capacity is measured first, by the test itself, so rates and budgets suit whatever machine this is. What another
program takes from the machine meanwhile, nobody can foresee: LATE is what may be late, where the scheduler alone has
none (tests/daemon shows that in simulated time), and what failed is tried again. Sanitizer builds look
at memory, and judge no time."""
import random
import time

import grpc

import harness
from harness import job_pb2, make_spec, retry_delay_ms

SEED = 20261123
SEATS, TOKENS, LEAST, MOST = 8, 24, 4, 64
LATE, TRIES = 0.03, 6
QUESTION = "9-7-2-3-9+6-4*9+7+5*0-5-2="
SHRINK = 8 if harness.SANITIZE else 1


class Load:
    """Jobs of one kind at random times; what became of them."""

    def __init__(self, api, rate, count, seed, **fields):
        rng, self.refused, names = random.Random(seed), [], []
        at = time.monotonic()
        for i in range(count):
            at += rng.expovariate(rate)
            time.sleep(max(0, at - time.monotonic()))
            spec = make_spec(QUESTION, max_tokens=TOKENS, ignore_eos=True, seed=i, client="client-%d" % (i % 3),
                             **fields)
            try:
                names.append(api.submit(spec).name)
            except grpc.RpcError as error:
                self.refused.append(error)
        self.jobs = [api.finish(name, seconds=300) for name in names]
        self.count = count

    def late(self):
        return sum(job.late for job in self.jobs)

    def mean_depth(self):
        steps = [n for job in self.jobs for n in job.output.tokens.steps]
        return sum(steps) / len(steps)

    def misses(self):
        """By how much of its run time each prediction was off, best first."""
        known = [job for job in self.jobs if job.predicted_end_us]
        return sorted(abs(job.predicted_end_us - job.end_us) / (job.end_us - job.start_us) for job in known)


class Deadlines(harness.Case):
    def serve(self, **options):
        daemon = self.daemon(options=dict(dict(threads=1, max_jobs_running=SEATS, held_jobs=0, kv_cached_memory=0,
                                               max_queue=400), **options))
        return daemon, daemon.api()

    def capacity(self, api):
        """Jobs per second at full depth with every seat taken, and how long one of them takes there."""
        spec = make_spec(QUESTION, depth=MOST, max_tokens=TOKENS, ignore_eos=True)
        for count in (SEATS, 6 * SEATS // SHRINK):  # the first round only warms up
            jobs = [api.finish(name) for name in [api.submit(spec).name for _ in range(count)]]
            seconds = (max(job.end_us for job in jobs) - min(job.create_us for job in jobs)) / 1e6
        times = sorted((job.end_us - job.start_us) / 1e6 for job in jobs)
        return count / seconds, times[len(times) // 2]

    def check_range(self, api, factor):
        """One phase: rate `factor` of what full depth allows. """
        rate, seconds = self.capacity(api)
        budget_ms = int(2.5 * seconds * 1000)
        # Long enough that a backlog would show: several budgets.
        count = max(60, int(5 * budget_ms / 1000 * rate * factor)) // SHRINK
        load = Load(api, factor * rate, count, SEED + int(10 * factor), depth=(LEAST, MOST), total_ms=budget_ms)
        misses = load.misses()
        print("  %.1f of capacity (%.1f jobs/s of %.0f ms), %d jobs in %d ms each: %d late, %d refused, mean depth"
              " %.1f; predictions off by %.0f %% (median), %.0f %% (95th of 100)"
              % (factor, rate, seconds * 1000, count, budget_ms, load.late(), len(load.refused), load.mean_depth(),
                 100 * misses[len(misses) // 2], 100 * misses[len(misses) * 95 // 100]))
        self.assertEqual(load.refused, [], "refused while ranges leave room")
        for job in load.jobs:
            self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED, job.error)
            self.assertEqual(job.late, job.end_us - job.create_us > budget_ms * 1000, "is it late?")
            for steps, reason in zip(job.output.tokens.steps, job.output.tokens.exits):
                self.assertTrue(LEAST <= steps <= MOST, steps)
                whole = job_pb2.EXIT_REASON_MAX_STEPS if steps == MOST else job_pb2.EXIT_REASON_BUDGET
                self.assertEqual(reason, whole, steps)
        return load

    @staticmethod
    def complaint(loads):
        """What a machine of one's own would not show; None when all is well."""
        late = [load.late() for load in loads]
        little, some, much = (load.mean_depth() for load in loads)
        if any(load.late() > LATE * load.count for load in loads):
            return "%s late" % late
        # Not all of MOST: who came while it was quiet was promised an end, and keeps it when others come.
        if little < 0.4 * MOST:
            return "depth %.1f with little load" % little
        if not much < 0.85 * little:
            return "depth %.1f with much load, %.1f with little" % (much, little)
        if not much < some < 1.25 * little:
            return "depth %.1f, %.1f, %.1f with rising load" % (little, some, much)
        return None

    def test_ranges_give_depth_instead_of_being_late(self):
        daemon, api = self.serve()
        for _ in range(TRIES):
            loads = [self.check_range(api, factor) for factor in (0.4, 1.0, 2.0)]
            found = None if harness.SANITIZE else self.complaint(loads)
            if not found:
                break
            print("  once more: " + found)
        self.assertIsNone(found, "in the last of %d tries" % TRIES)
        self.assert_stops_cleanly(daemon)

    def test_fixed_depths_are_refused_with_a_time_to_come_back_and_none_is_dropped(self):
        daemon, api = self.serve()
        rate, seconds = self.capacity(api)
        load = Load(api, 4 * rate, 80 // SHRINK, SEED, depth=MOST, total_ms=int(2.5 * seconds * 1000))
        print("  %d of %d refused, %d late" % (len(load.refused), load.count, load.late()))
        for error in load.refused:
            self.assertEqual(error.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, error.details())
            self.assertIn("budget.total_ms", error.details())
            self.assertGreaterEqual(retry_delay_ms(error), 1000)
        self.assertEqual(len(load.jobs) + len(load.refused), load.count)
        for job in load.jobs:
            self.assertEqual(job.state, job_pb2.JOB_STATE_SUCCEEDED, job.error)
            self.assertEqual(set(job.output.tokens.steps), {MOST}, "a fixed depth is a promise")
        if not harness.SANITIZE:
            self.assertGreater(len(load.refused), 0)
            self.assertGreater(len(load.jobs), 0)
        # Later there is room again.
        name = api.submit(make_spec(QUESTION, depth=MOST, max_tokens=TOKENS, total_ms=600_000)).name
        self.assertFalse(api.finish(name).late)
        self.assert_stops_cleanly(daemon)

    def test_a_full_queue_says_when_to_come_back(self):
        daemon, api = self.serve(max_jobs_running=1, max_queue=2, max_steps=4096, kv_slots=1)
        spec = make_spec(QUESTION, depth=4096, max_tokens=90, ignore_eos=True)
        names = [api.submit(spec).name for _ in range(3)]
        calls = (lambda: api.submit(spec), lambda: api.generate(spec), lambda: api.score([1, 2], [3], 4),
                 lambda: api.submit(make_spec(QUESTION, depth=(1, 64), total_ms=1000)))
        for call in calls:
            with self.assertRaises(grpc.RpcError) as caught:
                call()
            self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED, caught.exception.details())
            self.assertGreaterEqual(retry_delay_ms(caught.exception), 1000)
        for name in names:
            api.cancel(name)
        self.assert_stops_cleanly(daemon)

    def test_a_budget_per_token_sets_the_depth_of_every_token(self):
        deepest = 1024
        daemon, api = self.serve(max_steps=deepest, kv_slots=4)

        def token_ms(job):
            return (job.end_us - job.start_us) / 1000 / len(job.output.tokens.ids)

        def ask(**fields):
            return api.finish(api.submit(make_spec("1+2=", max_tokens=30 // SHRINK, ignore_eos=True, **fields)).name,
                              seconds=300)
        tries = []
        for _ in range(TRIES):
            whole = token_ms(ask(depth=deepest))
            job = ask(depth=(1, deepest), token_ms=max(1, int(whole / 2)))
            steps = sum(job.output.tokens.steps) / len(job.output.tokens.steps)
            tries.append(steps / deepest)
            print("  %.1f ms per token at depth %d; %.0f steps with a budget of half, %.1f ms per token"
                  % (whole, deepest, steps, token_ms(job)))
            if harness.SANITIZE or 0.25 < tries[-1] < 0.75:
                break
        if not harness.SANITIZE:
            self.assertTrue(any(0.25 < part < 0.75 for part in tries), tries)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
