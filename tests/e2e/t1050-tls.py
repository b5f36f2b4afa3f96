#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""TLS at the daemon: who gets in, the same answer as in plaintext, certificates read again while it serves."""
import os
import shutil
import signal
import subprocess
import tempfile

import grpc

import harness
from harness import BIN, DEMO, Answer, assert_same_answer, make_spec, patience, wait_until

SHORT = make_spec("9-7-2-3=", depth=16, max_tokens=4, seed=5, logprobs=3)
LONG = make_spec("1+2+3=", depth=4096, max_tokens=60, seed=5, ignore_eos=True, logprobs=0)


def make_certificates():
    directory = tempfile.mkdtemp(prefix="ltd-certs-")
    subprocess.run([os.environ["LATENTD_MAKE_CERTS"], directory], check=True)
    return directory


class Tls(harness.Case):
    def setUp(self):
        self.certs = make_certificates()
        self.addCleanup(shutil.rmtree, self.certs, ignore_errors=True)

    def options(self, **more):
        return dict(tls_certificate=self.certs + "/server.pem", tls_key=self.certs + "/server.key", **more)

    def read(self, name):
        with open(os.path.join(self.certs, name), "rb") as file:
            return file.read()

    def channel(self, server, name=None, address=None):
        """A stock client that trusts the CA there is now, and shows a certificate if `name` is given."""
        pair = (self.read(name + ".key"), self.read(name + ".pem")) if name else ()
        address = next(a for a in server.addresses if a.startswith("tls:"))[4:] if not address else address
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(self.read("ca.pem"), *pair),
                                      options=harness.MESSAGE_LIMITS)
        server.channels.append(channel)
        return channel

    def assert_unreachable(self, channel):
        with self.assertRaises(grpc.RpcError) as caught:
            harness.Api(channel).model()
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_an_answer_is_the_same_in_plaintext_and_over_tls(self):
        server = self.daemon(options=self.options(), listen=("127.0.0.1:0", "tls:127.0.0.1:0"))
        plain = Answer.of_events(server.api(server.addresses[0]).generate(SHORT))
        secret = Answer.of_events(harness.Api(self.channel(server)).generate(SHORT))
        assert_same_answer(self, secret, plain, "over TLS")
        self.assert_unreachable(server.channel(server.addresses[1][4:]))  # plaintext to the TLS port
        self.assert_stops_cleanly(server)

    def test_without_a_certificate_nobody_gets_in_where_one_is_required(self):
        options = self.options(tls_client="require", tls_client_ca=self.certs + "/ca.pem")
        server = self.daemon(options=options, listen=("tls:127.0.0.1:0",))
        self.assert_unreachable(self.channel(server))
        self.assert_unreachable(self.channel(server, "stranger"))
        self.assertTrue(harness.Api(self.channel(server, "alice")).model().name)
        self.assert_stops_cleanly(server)

    def test_certificates_are_read_again_while_a_stream_runs(self):
        server = self.daemon(options=self.options(max_steps=4096, kv_slots=4, drain_seconds=0),
                             listen=("tls:127.0.0.1:0",))
        old = harness.Api(self.channel(server))
        stream = old.inference.Generate(harness.latentd_pb2.GenerateRequest(spec=LONG), timeout=patience(300))
        self.addCleanup(stream.cancel)
        next(stream)

        good = self.read("server.pem")
        with open(self.certs + "/server.pem", "wb") as file:
            file.write(b"nothing\n")
        server.signal(signal.SIGUSR2)
        wait_until(lambda: "found no certificate" in server.log(), "the log says what is wrong")
        with open(self.certs + "/server.pem", "wb") as file:
            file.write(good)
        self.assertTrue(harness.Api(self.channel(server)).model().name)  # what it had is still in use

        subprocess.run([os.environ["LATENTD_MAKE_CERTS"], self.certs], check=True)  # another CA and all below it
        self.assert_unreachable(self.channel(server))
        server.signal(signal.SIGUSR2)
        wait_until(lambda: "certificates were read again" in server.log(), "the new ones in use")
        self.assertTrue(harness.Api(self.channel(server)).model().name)
        self.assertTrue(old.model().name)  # the old connection, which the old certificate opened
        self.assertTrue(stream.is_active())
        stream.cancel()
        self.assert_stops_cleanly(server)

    def test_files_that_cannot_be_used_are_named_at_once(self):
        os.chmod(self.certs + "/server.key", 0o644)
        for arguments in (["--check-config"], []):
            done = subprocess.run(
                [BIN, "--model", DEMO, "--listen", "tls:127.0.0.1:0", "--threads", "1"] + arguments
                + [word for key, value in self.options().items() for word in ("--set", f"{key}={value}")],
                capture_output=True, text=True, timeout=patience())
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("server.key", done.stderr)
            self.assertIn("0644", done.stderr)


if __name__ == "__main__":
    harness.main()
