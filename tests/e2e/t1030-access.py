#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""t1030-access.py - a real daemon with an access file: who is let in, what each may do and see.

Tokens over TCP, a user id over a Unix socket, a certificate over TLS; limits, reload, and mistakes.
"""
import hashlib
import os
import signal
import subprocess

import grpc

import harness
from harness import make_spec
from latentd.rpc import status_details_pb2
from latentd.v1 import latentd_pb2, latentd_pb2_grpc

Code = grpc.StatusCode
PROMPT = "7-5="
LONG = dict(depth=64, max_tokens=40, ignore_eos=True)


def entry(token, name, rights):
    return "token sha256:%s %s %s" % (hashlib.sha256(token.encode()).hexdigest(), name, rights)


FILE = "\n".join([
    "# everybody of this test",
    entry("ltd_alice", "alice", "inference jobs cluster"),
    entry("ltd_alice_looks", "alice", "jobs"),
    entry("ltd_bob", "bob", "inference jobs"),
    entry("ltd_prober", "prober", "cluster metrics"),
    entry("ltd_boss", "boss", "admin"),
    entry("ltd_small", "small", "inference jobs"),
    entry("ltd_slow", "slow", "inference jobs"),
    "uid 4242 somebody jobs",
    "cert client-of-the-test carol jobs inference",
    "limits small queued=1 running=1",
    "limits slow steps_per_hour=10",
]) + "\n"


def reason_of(error):
    found = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if found is None:
        return None
    for detail in status_details_pb2.Status.FromString(found).details:
        if detail.type_url == "type.googleapis.com/google.rpc.ErrorInfo":
            return status_details_pb2.ErrorInfo.FromString(detail.value).reason
    return None


class WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Puts the token into every call; channel credentials would want TLS for it."""

    def __init__(self, token):
        self.token = token

    def add(self, details):
        metadata = list(details.metadata or ()) + [("authorization", "Bearer " + self.token)]
        return details._replace(metadata=metadata)

    def intercept_unary_unary(self, continuation, details, request):
        return continuation(self.add(details), request)

    def intercept_unary_stream(self, continuation, details, request):
        return continuation(self.add(details), request)


class Access(harness.Case):
    def start(self, text=FILE, options=None, listen=("127.0.0.1:0",), **more):
        self.path = os.path.join(self.make_dir(), "access")
        self.write(text)
        options = dict(options or {}, access_file=self.path)
        return self.daemon(options=options, listen=listen, **more)

    def make_dir(self):
        import shutil
        import tempfile
        path = tempfile.mkdtemp(prefix="ltd-access-")
        self.addCleanup(shutil.rmtree, path, ignore_errors=True)
        return path

    def write(self, text):
        with open(self.path + ".new", "w") as file:
            file.write(text)
        os.chmod(self.path + ".new", 0o600)
        os.rename(self.path + ".new", self.path)

    def api(self, daemon, token, address=None):
        channel = daemon.channel(address)
        return harness.Api(grpc.intercept_channel(channel, WithToken(token)) if token else channel)

    def refused(self, call, code, reason):
        try:
            call()
        except grpc.RpcError as error:
            self.assertEqual((error.code(), reason_of(error)), (code, reason), error.details())
            return error
        self.fail("expected %s %s, the call succeeded" % (code, reason))

    def test_each_may_do_what_the_file_says_and_nothing_else(self):
        daemon = self.start()
        alice, prober = self.api(daemon, "ltd_alice"), self.api(daemon, "ltd_prober")
        nobody, wrong = self.api(daemon, None), self.api(daemon, "ltd_alicia")
        spec = make_spec(PROMPT, depth=2, max_tokens=2)
        self.refused(nobody.model, Code.UNAUTHENTICATED, "TOKEN_MISSING")
        self.refused(wrong.model, Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.refused(lambda: wrong.generate(spec), Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.assertEqual(prober.status().state, "serving")
        self.assertTrue(alice.model().name)
        self.refused(lambda: prober.generate(spec), Code.PERMISSION_DENIED, "ROLE")
        self.refused(lambda: prober.submit(spec), Code.PERMISSION_DENIED, "ROLE")
        self.refused(self.api(daemon, "ltd_bob").model, Code.PERMISSION_DENIED, "ROLE")
        self.refused(lambda: self.api(daemon, "ltd_alice_looks").generate(spec), Code.PERMISSION_DENIED, "ROLE")
        self.refused(lambda: latentd_pb2_grpc.AdminStub(alice.channel).Drain(latentd_pb2.DrainRequest()),
                     Code.PERMISSION_DENIED, "ROLE")
        self.assertGreater(len(alice.generate(spec)), 1)
        # Health is for everybody.
        check = harness.health_pb2.HealthCheckRequest()
        self.assertEqual(nobody.health.Check(check).status, harness.health_pb2.HealthCheckResponse.SERVING)
        self.assertEqual(wrong.health.Check(check).status, harness.health_pb2.HealthCheckResponse.SERVING)
        self.assert_stops_cleanly(daemon)

    def test_the_jobs_of_others_do_not_exist(self):
        daemon = self.start()
        alice, bob, boss = (self.api(daemon, "ltd_" + name) for name in ("alice", "bob", "boss"))
        spec = make_spec(PROMPT, **LONG, client="thesis")
        job = alice.submit(spec, request_id="same")
        self.assertEqual((job.owner, job.client), ("alice", "alice/thesis"))
        other = bob.submit(make_spec(PROMPT, depth=2, max_tokens=2), request_id="same")
        self.assertEqual((other.owner, other.client), ("bob", "bob"))
        self.assertNotEqual(other.name, job.name)
        self.assertEqual(alice.submit(spec, request_id="same").name, job.name)
        for call in (lambda: bob.get(job.name), lambda: bob.cancel(job.name), lambda: bob.delete(job.name),
                     lambda: bob.set_priority(job.name, 3), lambda: list(bob.watch(job.name)),
                     lambda: bob.continue_job(job.name, more_tokens=1)):
            self.refused(call, Code.NOT_FOUND, "JOB_NOT_FOUND")

        def names(api, **fields):
            return sorted(one.name for one in api.jobs.List(latentd_pb2.ListJobsRequest(**fields)).jobs)
        self.assertEqual(names(alice), [job.name])
        self.assertEqual(names(bob), [other.name])
        self.assertEqual(names(boss), sorted([job.name, other.name]))
        self.assertEqual(names(boss, owner="alice"), [job.name])
        self.assertEqual(names(boss, owner="nobody"), [])
        self.assertEqual(names(boss, client="alice/thesis"), [job.name])
        self.assertEqual(names(boss, created_before_us=job.create_us), [])
        self.assertEqual(names(boss, created_after_us=job.create_us + 1), [other.name])
        self.assertEqual(names(alice, owner="alice"), [job.name])
        self.refused(lambda: names(bob, owner="alice"), Code.PERMISSION_DENIED, "ROLE")
        # Another token of the same name is the same owner.
        self.assertEqual(self.api(daemon, "ltd_alice_looks").get(job.name).owner, "alice")
        self.assertTrue(boss.cancel(job.name).done)
        self.refused(lambda: alice.submit(make_spec(PROMPT, client="x" * 60)), Code.INVALID_ARGUMENT, "FIELD_INVALID")
        self.assertEqual(boss.submit(make_spec(PROMPT, depth=2, max_tokens=1, client="alice")).client, "alice")
        self.assert_stops_cleanly(daemon)

    def test_limits_are_of_a_name(self):
        daemon = self.start(options=dict(max_steps=4096, kv_slots=4, drain_seconds=0))
        small, slow = self.api(daemon, "ltd_small"), self.api(daemon, "ltd_slow")
        endless = make_spec(PROMPT, depth=4096, max_tokens=40, ignore_eos=True)
        first = small.submit(endless, request_id="one").name
        harness.wait_until(lambda: small.get(first).start_us, "the first job has started")
        second = small.submit(endless).name
        error = self.refused(lambda: small.submit(endless), Code.RESOURCE_EXHAUSTED, "QUOTA")
        self.assertGreaterEqual(harness.retry_delay_ms(error), 1)
        self.assertEqual(small.submit(endless, request_id="one").name, first)  # a repetition is no new job
        self.assertEqual(small.get(second).start_us, 0)  # though there is room for it
        self.assertTrue(slow.finish(slow.submit(make_spec(PROMPT, depth=8, max_tokens=4)).name).done)
        error = self.refused(lambda: slow.submit(make_spec(PROMPT)), Code.RESOURCE_EXHAUSTED, "QUOTA")
        self.assertGreater(harness.retry_delay_ms(error), 60000)
        self.refused(lambda: slow.generate(make_spec(PROMPT)), Code.RESOURCE_EXHAUSTED, "QUOTA")
        self.refused(lambda: slow.score([1], [2], 4), Code.RESOURCE_EXHAUSTED, "QUOTA")
        small.cancel(first)
        harness.wait_until(lambda: small.get(second).start_us, "the second job has started behind the first")
        third = small.submit(endless).name
        self.assertEqual(small.get(third).start_us, 0)
        # A new limit holds from the moment it is read, not from the next end of a job.
        self.write(FILE.replace("queued=1 running=1", "queued=1 running=2"))
        daemon.signal(signal.SIGUSR2)
        harness.wait_until(lambda: small.get(third).start_us, "the third job has started beside the second")
        self.assertFalse(small.get(second).done)
        small.cancel(second)
        small.cancel(third)
        self.assert_stops_cleanly(daemon)

    def test_a_reload_is_whole_or_nothing(self):
        daemon = self.start()
        alice, eve = self.api(daemon, "ltd_alice"), self.api(daemon, "ltd_eve")
        self.refused(eve.model, Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.write(FILE + "uid nobody eve jobs\n" + entry("ltd_eve", "eve", "cluster") + "\n")
        daemon.signal(signal.SIGUSR2)
        line = FILE.count("\n") + 1
        harness.wait_until(lambda: "%s:%d: \"nobody\" is no user id" % (self.path, line) in daemon.log(),
                           "the mistake is in the log")
        self.refused(eve.model, Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.assertTrue(alice.model().name)
        self.write(entry("ltd_eve", "eve", "cluster") + "\n")
        daemon.signal(signal.SIGUSR2)
        harness.wait_until(lambda: "was read again: 1 entries" in daemon.log(), "the new file is read")
        self.assertTrue(eve.model().name)
        self.refused(alice.model, Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.assertNotIn("ltd_", daemon.log())  # no token, not even a wrong one, is in the log
        self.assert_stops_cleanly(daemon)

    def test_the_owner_of_the_process_needs_no_token_over_a_unix_socket(self):
        socket = "unix:" + os.path.join(self.make_dir(), "socket")
        daemon = self.start(listen=(socket, "127.0.0.1:0"))
        mine = self.api(daemon, None, socket)
        job = mine.submit(make_spec(PROMPT, depth=2, max_tokens=2))
        self.assertEqual(job.owner, "uid:%d" % os.geteuid())
        self.refused(lambda: self.api(daemon, "ltd_bob").get(job.name), Code.NOT_FOUND, "JOB_NOT_FOUND")
        self.refused(self.api(daemon, None, daemon.addresses[1]).model, Code.UNAUTHENTICATED, "TOKEN_MISSING")
        self.refused(self.api(daemon, "wrong", socket).model, Code.UNAUTHENTICATED, "TOKEN_WRONG")
        self.write("uid %d me cluster\n" % os.geteuid())
        daemon.signal(signal.SIGUSR2)
        harness.wait_until(lambda: "was read again" in daemon.log(), "the new file is read")
        self.assertTrue(mine.model().name)
        self.refused(lambda: mine.get(job.name), Code.PERMISSION_DENIED, "ROLE")
        self.assert_stops_cleanly(daemon)

    def test_a_certificate_makes_a_name(self):
        here = self.make_dir()

        def make(name, *more):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                            "-nodes", "-days", "2", "-subj", "/CN=" + name, "-keyout", "%s/%s.key" % (here, name),
                            "-out", "%s/%s.pem" % (here, name)] + list(more), check=True, capture_output=True)
            with open("%s/%s.key" % (here, name), "rb") as key, open("%s/%s.pem" % (here, name), "rb") as pem:
                return key.read(), pem.read()
        _, server = make("localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        make("ca", "-addext", "basicConstraints=critical,CA:TRUE")
        issued = ("-CA", here + "/ca.pem", "-CAkey", here + "/ca.key", "-addext", "basicConstraints=CA:FALSE")
        key, pem = make("client-of-the-test", *issued)
        stranger_key, stranger_pem = make("somebody-else", *issued)
        daemon = self.start(listen=("tls:127.0.0.1:0",), options=dict(
            tls_certificate=here + "/localhost.pem", tls_key=here + "/localhost.key", tls_client="ask",
            tls_client_ca=here + "/ca.pem"))
        address = daemon.address[len("tls:"):]

        def api(*pair):
            credentials = grpc.ssl_channel_credentials(server, *pair)
            channel = grpc.secure_channel(address, credentials, (("grpc.ssl_target_name_override", "localhost"),))
            daemon.channels.append(channel)
            return harness.Api(channel)
        self.assertEqual(api(key, pem).submit(make_spec(PROMPT, depth=2, max_tokens=1)).owner, "carol")
        self.refused(api(stranger_key, stranger_pem).model, Code.UNAUTHENTICATED, "TOKEN_MISSING")
        self.refused(api().model, Code.UNAUTHENTICATED, "TOKEN_MISSING")
        self.assert_stops_cleanly(daemon)

    def test_a_drain_over_the_wire_ends_the_service_in_order(self):
        daemon = self.start()
        boss = self.api(daemon, "ltd_boss")
        admin = latentd_pb2_grpc.AdminStub(boss.channel)
        self.refused(lambda: admin.Drain(latentd_pb2.DrainRequest(grace_seconds=-1)), Code.INVALID_ARGUMENT,
                     "FIELD_INVALID")
        answer = admin.Drain(latentd_pb2.DrainRequest(grace_seconds=2.5), timeout=harness.patience())
        self.assertEqual((answer.grace_seconds, answer.jobs_running, answer.jobs_queued), (2.5, 0, 0))
        daemon.close_channels()
        self.assertEqual(daemon.wait(), 0, daemon.log())

    def test_a_wrong_file_stops_the_start_and_every_mistake_is_told(self):
        path = os.path.join(self.make_dir(), "access")
        with open(path, "w") as file:
            file.write("uid 1 a jobs\nuid 1 b jobs\ntoken ltd_secret a jobs\n")
        os.chmod(path, 0o600)
        command = [harness.BIN, "--model", harness.DEMO, "--listen", "127.0.0.1:0", "--threads", "1",
                   "--set", "access_file=" + path]
        for more in ([], ["--check-config"]):
            done = subprocess.run(command + more, capture_output=True, text=True, timeout=harness.patience(120),
                                  env=dict(os.environ, HWLOC_COMPONENTS="-gl"))
            said = done.stdout + done.stderr
            self.assertEqual(done.returncode, 2, said)
            self.assertIn(path + ":2: the same user id as in line 1", said)
            self.assertIn(path + ":3: ", said)
            self.assertNotIn("secret", said)


if __name__ == "__main__":
    harness.main()
