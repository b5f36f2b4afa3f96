#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A stop lets running jobs end within drain_seconds, then ends them; new work is refused meanwhile."""
import signal

import grpc

import harness
from harness import Answer, assert_same_answer, health_pb2, job_pb2, latentd_pb2, make_spec, patience

# Runs long enough to be caught running: at a depth of thousands of steps, on one thread.
DEEP = dict(max_steps=4096, kv_slots=4, threads=1)
PROMPT = [59, 79, 62, 76, 19, 27]


def long_spec(depth=2000, tokens=80):
    return make_spec(PROMPT, depth=depth, max_tokens=tokens, seed=3, ignore_eos=True, logprobs=1)


class Drain(harness.Case):
    def started(self, call):
        """Read a Generate call until the job's first token is there."""
        events = []
        for event in call:
            events.append(event)
            if event.WhichOneof("event") == "tokens":
                return events
        self.fail("the stream ended before the first token: %s" % events)

    def test_a_running_job_finishes_within_the_grace_time_with_the_same_bytes(self):
        spec = long_spec(500, 20)
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, drain_seconds=600))
        expected = Answer.of_events(daemon.api().generate(spec))
        call = daemon.api().inference.Generate(latentd_pb2.GenerateRequest(spec=spec),
                                               timeout=patience(300))
        events = self.started(call)
        daemon.signal(signal.SIGTERM)
        events += list(call)
        assert_same_answer(self, Answer.of_events(events), expected, "answer during a drain")
        self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_without_grace_a_running_job_ends_with_unavailable_and_the_exit_status_is_zero(self):
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, drain_seconds=0))
        call = daemon.api().inference.Generate(latentd_pb2.GenerateRequest(spec=long_spec()),
                                               timeout=patience(300))
        self.started(call)
        daemon.signal(signal.SIGTERM)
        with self.assertRaises(grpc.RpcError) as caught:
            for _ in call:
                pass
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_while_it_drains_health_says_not_serving_and_new_jobs_are_refused(self):
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, drain_seconds=600))
        api = daemon.api()
        watch = api.health.Watch(health_pb2.HealthCheckRequest(), timeout=patience(300))
        states = (event.status for event in watch)
        self.assertEqual(next(states), health_pb2.HealthCheckResponse.SERVING)
        job = api.submit(long_spec())
        call = api.watch(job.name, seconds=300)
        self.started(call)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(next(states), health_pb2.HealthCheckResponse.NOT_SERVING)
        with self.assertRaises(grpc.RpcError) as caught:
            api.submit(make_spec(PROMPT, depth=1, max_tokens=1))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        # A second signal asks for less patience: what still runs is ended.
        daemon.signal(signal.SIGTERM)
        self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_a_job_that_nobody_watches_does_not_keep_the_daemon_beyond_the_grace_time(self):
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, drain_seconds=0.1))
        job = daemon.api().submit(long_spec())
        self.started(daemon.api().watch(job.name))
        self.assertEqual(job.state in (job_pb2.JOB_STATE_QUEUED, job_pb2.JOB_STATE_RUNNING), True)
        self.assert_stops_cleanly(daemon)


if __name__ == "__main__":
    harness.main()
