#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The public gRPC interoperability cases, with three stock clients, over everything latentd listens on.

python3-grpcio (grpc core), @grpc/grpc-js (node's HTTP/2) and grpc-go (Go's own) share no HTTP/2 code with
each other. Each runs the same twenty cases on TCP, on a Unix socket, over TLS, and over TLS with a client
certificate and a token. The option that serves them is refused where other hosts could reach it.
"""
import hashlib
import os
import shutil
import subprocess
import tempfile

import grpc
import harness
import interop_python
from harness import patience

MODULES = os.environ["LATENTD_NODE_MODULES"]
GO_PATH = "/usr/share/gocode"
N_CASES = 20
TOKEN = "token-of-a-test"


class Interop(harness.Case):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="ltd-interop-")
        cls.addClassCleanup(shutil.rmtree, cls.dir)
        subprocess.run([os.environ["LATENTD_MAKE_CERTS"], cls.dir], check=True)

    def file(self, name):
        return os.path.join(self.dir, name)

    def serve(self, listen, **options):
        return self.daemon(options=dict(options, test_service="on", drain_seconds=0), listen=listen)

    def serve_tls(self, **options):
        return self.serve(["tls:127.0.0.1:0"], tls_certificate=self.file("server.pem"),
                          tls_key=self.file("server.key"), **options)

    def endpoints(self):
        """(what, address without tls:, files and words that a client is given) of every kind."""
        plain = self.serve(["127.0.0.1:0", "unix:" + self.file("sock")])
        yield "tcp", plain.addresses[0], []
        yield "unix", plain.addresses[1], []
        self.assertEqual(plain.stop(), 0, plain.log())
        tls = self.serve_tls()
        yield "tls", tls.address[len("tls:"):], [self.file("ca.pem")]
        self.assertEqual(tls.stop(), 0, tls.log())
        with open(self.file("access"), "w") as access:
            access.write("token sha256:%s tester inference\n" % hashlib.sha256(TOKEN.encode()).hexdigest())
        mutual = self.serve_tls(tls_client="require", tls_client_ca=self.file("ca.pem"),
                                access_file=self.file("access"))
        yield ("mtls and token", mutual.address[len("tls:"):],
               [self.file(n) for n in ("ca.pem", "alice.pem", "alice.key")] + [TOKEN])
        self.assertEqual(mutual.stop(), 0, mutual.log())

    def run_program(self, command, environment):
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8",
                               stderr=subprocess.STDOUT, timeout=patience(200),
                               env=dict(os.environ, LATENTD_PATIENCE_S=str(patience(60)), **environment))
        print(ended.stdout)
        self.assertEqual(ended.returncode, 0, "%s:\n%s" % (" ".join(command), ended.stdout))
        self.assertNotIn("not ok", ended.stdout)
        passed = [line for line in ended.stdout.splitlines() if line.startswith("ok ")]
        self.assertEqual(len(passed), N_CASES, ended.stdout)

    def lacks(self, reason, required):
        if os.environ.get(required):
            self.fail(reason)
        self.skipTest(reason)

    def test_grpcio_passes_every_case_everywhere(self):
        for what, address, words in self.endpoints():
            with self.subTest(what):
                data = [open(name, "rb").read() for name in words[:3]]
                metadata = [("authorization", "Bearer " + token) for token in words[3:]]

                def channel():
                    if not data:
                        return grpc.insecure_channel(address)
                    ca, certificate, key = (data + [None, None])[:3]
                    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, certificate))
                names = interop_python.run(channel, metadata, seconds=patience(60))
                self.assertEqual(len(names), N_CASES, names)

    def test_grpc_js_passes_every_case_everywhere(self):
        node = shutil.which("node") or shutil.which("nodejs")
        if not node or not os.path.isdir(os.path.join(MODULES, "@grpc/grpc-js")):
            self.lacks("no node or no packages in %s" % MODULES, "LATENTD_NODE_REQUIRED")
        script = os.path.join(harness.SOURCE, "tests/e2e/node/interop.js")
        for what, address, words in self.endpoints():
            with self.subTest(what):
                command = [node, script, address, os.path.join(harness.SOURCE, "proto")] + words
                self.run_program(command, dict(NODE_PATH=MODULES))

    def test_grpc_go_passes_every_case_everywhere(self):
        go = shutil.which("go")
        if not go or not os.path.isdir(os.path.join(GO_PATH, "src/google.golang.org/grpc")):
            self.lacks("no go or no grpc in %s" % GO_PATH, "LATENTD_GO_REQUIRED")
        program = self.file("interop")
        built = subprocess.run([go, "build", "-p", "2", "-o", program, "."], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, encoding="utf-8", timeout=patience(400),
                               cwd=os.path.join(harness.SOURCE, "tests/e2e/go"),
                               env=dict(os.environ, GO111MODULE="off", GOPATH=GO_PATH,
                                        GOFLAGS="-buildvcs=false", GOCACHE=self.file("go-cache")))
        self.assertEqual(built.returncode, 0, built.stdout)
        for what, address, words in self.endpoints():
            with self.subTest(what):
                self.run_program([program, address] + words, {})

    def test_the_service_is_there_only_when_asked_for(self):
        daemon = self.daemon()
        with self.assertRaises(AssertionError) as refused:
            interop_python.run(lambda: daemon.channel(), seconds=patience(60))
        self.assertIn("StatusCode.UNIMPLEMENTED", str(refused.exception))
        self.assert_stops_cleanly(daemon)

    def test_the_service_is_refused_where_other_hosts_reach_it(self):
        daemon = self.daemon(options=dict(test_service="on"), listen=["127.0.0.1:0", "0.0.0.0:0"], wait=False)
        self.assertNotEqual(daemon.process.wait(timeout=patience(60)), 0)
        self.assertIn("test_service: found the listener 0.0.0.0:", daemon.log())


if __name__ == "__main__":
    harness.main()
