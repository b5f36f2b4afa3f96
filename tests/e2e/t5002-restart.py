#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A stop parks jobs and the next process goes on with them; what it cannot go on with waits or fails, as configured;
one log belongs to one daemon."""
import hashlib
import os
import shutil
import signal
import subprocess

import grpc

import harness
from harness import Answer, assert_same_answer, job_pb2, latentd_pb2, make_spec, patience
from supervised import Client, Service, check_events

PROMPT = [59, 79, 62, 76, 19, 27]
DEEP = dict(max_steps=4096, kv_slots=4, threads=1, drain_seconds=600)


def long_spec(depth=500, tokens=30, **fields):
    return make_spec(PROMPT, depth=depth, max_tokens=tokens, seed=3, ignore_eos=True, logprobs=1, **fields)


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Calls of the one whose token it is."""

    def __init__(self, token):
        self.token = token

    def _add(self, details):
        return details._replace(metadata=list(details.metadata or ()) + [("authorization", "Bearer " + self.token)])

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self._add(details), request)

    def intercept_unary_stream(self, continuation, details, request):
        return continuation(self._add(details), request)


def access_file(path, limits):
    """alice and bob, each with a token of that name."""
    with open(path, "w") as file:
        for name in ("alice", "bob"):
            file.write("token sha256:%s %s inference jobs cluster\n" % (hashlib.sha256(name.encode()).hexdigest(), name))
        file.write(limits + "\n")
    os.chmod(path, 0o600)
    return path


def first_tokens(call):
    """Read a stream until the first token is there; the events so far."""
    events = []
    for event in call:
        if event.seq:
            events.append(event)
        if event.WhichOneof("event") == "tokens":
            return events
    raise AssertionError("the stream ended before the first token: %s" % events)


class Restart(harness.Case):
    def service(self, ranks=0, **options):
        service = Service(harness.TINY, dict(DEEP, **options), ranks)
        self.addCleanup(service.close)
        service.start()
        return service

    def expected(self, spec):
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, store="memory"))
        answer = Answer.of_events(daemon.api().generate(spec, seconds=300))
        self.assert_stops_cleanly(daemon)
        return answer

    def check_parked(self, service, stop):
        """`stop` ends the service while a job runs; the next process ends the job with the same bytes."""
        spec = long_spec()
        client = Client(service)
        self.addCleanup(client.close)
        name = client.submit(spec, "once").name
        call = client.api().watch(name, seconds=300)
        events = first_tokens(call)
        stop(service)
        with self.assertRaises(grpc.RpcError) as caught:
            for event in call:
                if event.seq:
                    events.append(event)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertNotEqual(events[-1].WhichOneof("event"), "finished")
        client.close()
        service.start()
        again = client.submit(spec, "once")
        self.assertEqual(again.name, name)
        self.assertGreaterEqual(again.last_seq, events[-1].seq)
        rest = [event for event in client.api().watch(name, after_seq=events[-1].seq, seconds=300) if event.seq]
        check_events(self, events + rest, name)
        assert_same_answer(self, Answer.of_events(events + rest), self.expected(spec), "answer over a restart")

    def test_a_signal_parks_jobs_and_their_answers_are_the_same(self):
        def stop(service):
            self.assertEqual(service.drain(), 0)
        self.check_parked(self.service(), stop)

    def test_under_mpirun_too(self):
        def stop(service):
            self.assertEqual(service.drain(), 0)
        self.check_parked(self.service(ranks=2), stop)

    def test_a_drain_asked_for_over_the_wire_does_the_same(self):
        def stop(service):
            stub = harness.latentd_pb2_grpc.AdminStub(service.daemon.channel())
            answer = stub.Drain(latentd_pb2.DrainRequest(grace_seconds=500), timeout=patience())
            self.assertEqual((answer.grace_seconds, answer.jobs_queued, answer.jobs_running), (500, 0, 1))
            self.assertEqual(service.daemon.wait(), 0)
            service._end()
        self.check_parked(self.service(), stop)

    def test_a_call_that_owns_its_job_may_finish_within_the_grace_time(self):
        service = self.service()
        spec = long_spec(300, 10)
        call = service.daemon.api().inference.Generate(latentd_pb2.GenerateRequest(spec=spec), timeout=patience(300))
        events = first_tokens(call)
        service.daemon.signal(signal.SIGTERM)
        events += [event for event in call if event.seq]
        self.assertEqual(service.daemon.wait(), 0)
        assert_same_answer(self, Answer.of_events(events), self.expected(spec), "answer during a drain")

    def test_the_job_of_a_call_that_died_with_the_process_has_failed(self):
        service = self.service()
        api = service.daemon.api()
        calls = [api.inference.Generate(latentd_pb2.GenerateRequest(spec=long_spec(), keep_on_disconnect=keep),
                                        timeout=patience(300)) for keep in (True, False)]
        kept, lost = [first_tokens(call)[0].name for call in calls]
        service.kill("coordinator")
        service.start()
        api = service.daemon.api()
        job = api.finish(lost)
        self.assertEqual(job.state, job_pb2.JOB_STATE_FAILED)
        self.assertEqual(job.error.code, grpc.StatusCode.UNAVAILABLE.value[0])
        self.assertEqual(api.finish(kept, seconds=300).state, job_pb2.JOB_STATE_SUCCEEDED)

    def test_a_job_of_other_numerics_waits_for_a_process_that_has_them(self):
        service = self.service()
        spec = long_spec()
        api = service.daemon.api()
        name = api.submit(spec).name
        first_tokens(api.watch(name))
        doomed = api.submit(spec).name
        self.assertEqual(service.drain(), 0)

        service.start(kv_slots=8)
        api = service.daemon.api()
        self.assertEqual(api.get(name).state, job_pb2.JOB_STATE_RUNNING)
        other = api.submit(make_spec(PROMPT, depth=3, max_tokens=2)).name
        self.assertEqual(api.finish(other).state, job_pb2.JOB_STATE_SUCCEEDED)  # nobody is held up
        self.assertEqual(api.cancel(doomed).state, job_pb2.JOB_STATE_CANCELLED)
        self.assertIn("waits", service.daemon.log())
        self.assertEqual(service.drain(), 0)

        service.start()
        job = service.daemon.api().finish(name, seconds=300)
        assert_same_answer(self, Answer.of_job(job), self.expected(spec), "answer after a wait")

    def test_a_job_begun_with_other_arithmetic_waits_for_it(self):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            if " fma " not in file.read():
                self.skipTest("the C library has no other code for this processor")
        service = self.service()
        spec = long_spec()
        name = service.daemon.api().submit(spec).name
        first_tokens(service.daemon.api().watch(name))
        self.assertEqual(service.drain(), 0)
        # The same program and library as on a host whose processor cannot fuse: other logarithms.
        service.start(environment={"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4"})
        self.assertEqual(service.daemon.api().get(name).state, job_pb2.JOB_STATE_RUNNING)
        self.assertIn("waits", service.daemon.log())
        self.assertEqual(service.drain(), 0)
        service.start()
        job = service.daemon.api().finish(name, seconds=300)
        assert_same_answer(self, Answer.of_job(job), self.expected(spec), "answer after a wait for its arithmetic")

    def test_a_job_begun_with_weights_in_another_format_waits_for_them(self):
        service = self.service(format="bf16")
        spec = long_spec()
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, store="memory", format="bf16"))
        expected = Answer.of_events(daemon.api().generate(spec, seconds=300))
        self.assert_stops_cleanly(daemon)
        name = service.daemon.api().submit(spec).name
        first_tokens(service.daemon.api().watch(name))
        self.assertEqual(service.drain(), 0)
        service.start(format="int8")
        self.assertEqual(service.daemon.api().get(name).state, job_pb2.JOB_STATE_RUNNING)
        self.assertIn("waits", service.daemon.log())
        self.assertEqual(service.drain(), 0)
        service.start()
        job = service.daemon.api().finish(name, seconds=300)
        assert_same_answer(self, Answer.of_job(job), expected, "answer after a wait for bf16")

    def test_a_job_keeps_its_early_steps_over_a_restart_with_another_default(self):
        ladder = dict(format="bf16", early_format="int8")
        service = self.service(early_steps=100, **ladder)
        spec = long_spec()
        daemon = self.daemon(model=harness.TINY, options=dict(DEEP, store="memory", **ladder))
        explicit = job_pb2.JobSpec()
        explicit.CopyFrom(spec)
        explicit.depth.early_steps = 100
        expected, other = [Answer.of_events(daemon.api().generate(s, seconds=300)) for s in (explicit, spec)]
        self.assertNotEqual(expected.logprobs, other.logprobs)
        self.assert_stops_cleanly(daemon)
        name = service.daemon.api().submit(spec).name
        first_tokens(service.daemon.api().watch(name))
        self.assertEqual(service.drain(), 0)
        service.start(early_format="none", early_steps=0)
        job = service.daemon.api().get(name)
        self.assertEqual((job.state, job.early_steps), (job_pb2.JOB_STATE_RUNNING, 100))
        self.assertIn("waits", service.daemon.log())
        self.assertEqual(service.drain(), 0)
        service.start(early_steps=3)
        job = service.daemon.api().finish(name, seconds=300)
        self.assertEqual(job.early_steps, 100)
        assert_same_answer(self, Answer.of_job(job), expected, "answer with early steps over a restart")

    def test_or_fails_where_that_is_configured(self):
        service = self.service()
        api = service.daemon.api()
        name = api.submit(long_spec()).name
        first_tokens(api.watch(name))
        self.assertEqual(service.drain(), 0)
        service.start(kv_format="bf16", other_numerics="fail")
        job = service.daemon.api().finish(name)
        self.assertEqual(job.state, job_pb2.JOB_STATE_FAILED)
        self.assertEqual(job.error.code, grpc.StatusCode.FAILED_PRECONDITION.value[0])
        self.assertGreater(len(job.output.tokens.ids), 0)

    def test_other_files_beside_the_weights_are_other_numerics(self):
        model = os.path.join(self.daemon(model=harness.TINY).dir, "model")
        shutil.copytree(harness.TINY, model)
        service = Service(model, dict(DEEP))
        self.addCleanup(service.close)
        service.start()
        api = service.daemon.api()
        name = api.submit(long_spec()).name
        first_tokens(api.watch(name))
        self.assertEqual(service.drain(), 0)
        with open(os.path.join(model, "generation_config.json"), "w", encoding="utf-8") as file:
            file.write('{"temperature": 0.5}')
        service.start()
        self.assertEqual(service.daemon.api().get(name).state, job_pb2.JOB_STATE_RUNNING)
        self.assertIn("waits", service.daemon.log())
        self.assertEqual(service.daemon.api().cancel(name).state, job_pb2.JOB_STATE_CANCELLED)
        self.assertEqual(service.drain(), 0)

    def test_one_log_belongs_to_one_daemon(self):
        service = self.service()
        second = subprocess.run([harness.BIN, "--model", harness.TINY, "--listen", "127.0.0.1:0", "--store", service.store],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                env=service.daemon.environment, timeout=patience(), check=False)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn(service.store, second.stdout.decode())
        self.assertIn(str(service.daemon.pid), second.stdout.decode())
        self.assertEqual(service.daemon.api().status().state, "serving")
        self.assertEqual(service.drain(), 0)

    def as_user(self, service, name):
        return harness.Api(grpc.intercept_channel(service.daemon.channel(), WithToken(name)))

    def test_jobs_belong_to_their_owners_after_a_restart_too(self):
        service = Service(harness.TINY, DEEP)
        self.addCleanup(service.close)
        service.options["access_file"] = access_file(os.path.join(service.dir, "access"), "limits alice queued=1 running=1")
        service.start()
        alice, bob = self.as_user(service, "alice"), self.as_user(service, "bob")
        running = alice.submit(long_spec(label="hers"), "same").name
        first_tokens(alice.watch(running))
        waiting = alice.submit(long_spec(depth=3, tokens=2), "next").name
        short = bob.submit(make_spec(PROMPT, depth=2, max_tokens=2, client="his"), "same").name
        self.assertEqual(bob.finish(short).state, job_pb2.JOB_STATE_SUCCEEDED)
        service.kill("coordinator")

        service.start()
        alice, bob = self.as_user(service, "alice"), self.as_user(service, "bob")
        self.assertEqual({job.name for job in alice.jobs.List(latentd_pb2.ListJobsRequest()).jobs}, {running, waiting})
        self.assertEqual([job.name for job in bob.jobs.List(latentd_pb2.ListJobsRequest()).jobs], [short])
        for call in (bob.get, bob.cancel, lambda name: list(bob.watch(name))):
            with self.assertRaises(grpc.RpcError) as caught:
                call(running)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        job = alice.get(running)
        self.assertEqual((job.spec.label, job.owner, job.client), ("hers", "alice", "alice"))
        self.assertEqual((bob.get(short).owner, bob.get(short).client), ("bob", "bob/his"))
        # Request ids are each owner's own, and limits count what was there before.
        self.assertEqual(alice.submit(long_spec(label="hers"), "same").name, running)
        self.assertEqual(bob.submit(make_spec(PROMPT, depth=2, max_tokens=2, client="his"), "same").name, short)
        with self.assertRaises(grpc.RpcError) as caught:
            alice.submit(long_spec(depth=3, tokens=2))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertEqual(alice.get(waiting).state, job_pb2.JOB_STATE_QUEUED)
        self.assertEqual(alice.cancel(running).state, job_pb2.JOB_STATE_CANCELLED)
        self.assertEqual(alice.finish(waiting).state, job_pb2.JOB_STATE_SUCCEEDED)

    def test_defaults_that_changed_change_no_job_that_was_begun(self):
        service = self.service(default_max_tokens=30)
        spec = make_spec(PROMPT, depth=500, seed=3, ignore_eos=True, logprobs=1)
        api = service.daemon.api()
        name = api.submit(spec).name
        first_tokens(api.watch(name))
        self.assertEqual(service.drain(), 0)
        service.start(default_max_tokens=1)
        job = service.daemon.api().finish(name, seconds=300)
        assert_same_answer(self, Answer.of_job(job), self.expected(long_spec()), "answer with another default")

    def test_systemd_gives_the_place(self):
        service = self.service()
        self.assertEqual(service.drain(), 0)
        state = os.path.join(service.dir, "state")
        os.mkdir(state)
        daemon = self.daemon(model=harness.TINY, options=DEEP, environment={"STATE_DIRECTORY": state})
        name = daemon.api().submit(make_spec(PROMPT, depth=2, max_tokens=2)).name
        daemon.api().finish(name)
        self.assert_stops_cleanly(daemon)
        self.assertTrue(os.path.exists(os.path.join(state, "jobs.db")))
        daemon = self.daemon(model=harness.TINY, options=DEEP, environment={"STATE_DIRECTORY": state})
        self.assertEqual(daemon.api().get(name).state, job_pb2.JOB_STATE_SUCCEEDED)


if __name__ == "__main__":
    harness.main()
