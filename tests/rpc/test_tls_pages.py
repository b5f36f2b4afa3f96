#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is spoken inside TLS: by ALPN, or by the first octets; and what a flood of handshakes does.

    test_tls_pages.py ECHO_SERVER MAKE_CERTS
"""
import os
import random
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"
GET = b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
MAX_HANDSHAKES = 32  # the default of rpc_limits.max_handshakes


def free_port():
    for _ in range(200):
        port = random.randrange(15000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise SystemExit("no free port")


class InsideTls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        name = cls.directory.name
        subprocess.run([sys.argv[2], name], check=True)
        cls.port = free_port()
        cls.server = subprocess.Popen(
            [sys.argv[1], "--tls", f"{name}/server.pem", f"{name}/server.key",
             f"tls:127.0.0.1:{cls.port}"], stdout=subprocess.PIPE, text=True)
        if not cls.server.stdout.readline().startswith("listening"):
            raise SystemExit("the server did not start")

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait(20)
        cls.server.stdout.close()
        cls.directory.cleanup()

    def tcp(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.settimeout(10)
        self.addCleanup(s.close)
        return s

    def tls(self, *protocols):
        context = ssl.create_default_context(cafile=f"{self.directory.name}/ca.pem")
        if protocols:
            context.set_alpn_protocols(protocols)
        s = context.wrap_socket(self.tcp(), server_hostname="localhost")
        self.addCleanup(s.close)
        return s

    def all_of(self, s):
        got = b""
        while True:
            try:
                octets = s.recv(65536)
            except (ssl.SSLEOFError, ConnectionResetError):
                return got
            if not octets:
                return got
            got += octets

    def test_http_1_1_by_alpn_gets_a_page(self):
        s = self.tls("http/1.1")
        self.assertEqual(s.selected_alpn_protocol(), "http/1.1")
        s.sendall(GET)
        got = self.all_of(s)
        self.assertTrue(got.startswith(b"HTTP/1.1 200 OK\r\n"), got)
        self.assertTrue(got.endswith(b"\r\n\r\nplain\n"), got)

    def test_http_1_1_by_alpn_is_not_http_2_whatever_comes(self):
        s = self.tls("http/1.1")
        s.sendall(PREFACE)
        got = self.all_of(s)
        self.assertTrue(got.startswith(b"HTTP/1.1 "), got)
        self.assertIn(b"Connection: close", got)

    def test_h2_by_alpn_is_greeted_before_it_speaks(self):
        s = self.tls("h2", "http/1.1")
        self.assertEqual(s.selected_alpn_protocol(), "h2")
        self.assertEqual(s.recv(9)[3:4], b"\4")  # SETTINGS

    def test_h2_by_alpn_is_not_http_1_1_whatever_comes(self):
        s = self.tls("h2")
        s.sendall(GET)
        self.assertNotIn(b"HTTP/1.1", self.all_of(s))

    def test_without_alpn_the_first_octets_tell(self):
        s = self.tls()
        self.assertIsNone(s.selected_alpn_protocol())
        s.sendall(GET)
        self.assertTrue(self.all_of(s).endswith(b"\r\n\r\nplain\n"))
        s = self.tls()
        s.sendall(PREFACE)
        self.assertEqual(s.recv(9)[3:4], b"\4")

    def test_silent_handshakes_do_not_keep_others_out(self):
        silent = [self.tcp() for _ in range(MAX_HANDSHAKES + 8)]
        s = self.tls("http/1.1")
        s.sendall(GET)
        self.assertTrue(self.all_of(s).endswith(b"\r\n\r\nplain\n"))
        # The oldest gave way to those behind them and to the last one; the others still may speak.
        closed = [x for x in silent[:8] if select.select([x], [], [], 10)[0] and not x.recv(1)]
        self.assertEqual(len(closed), 8)
        self.assertFalse(select.select(silent[-8:], [], [], 0)[0])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
