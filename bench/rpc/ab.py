#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ab.py - what a call costs in latentd, against the stock C++ gRPC server, in one paired run.

    ab.py --latentd build/bench/daemon/latentd --echo build/bench/bench/rpc/echo_cpp
          [--floor build/bench/bench/rpc/floor] [--rounds 7] [--csv FILE]

    A  echo_cpp: grpc.testing.TestService with the callback API, nothing else (echo_cpp.cc)
    B  latentd:  the same service of the real daemon (option test_service), every call with a token from
                 an access file, limits and metrics as they are served
    F  floor:    canned answers, nothing but the system calls of an answer (floor.c): on one connection
                 with one call at a time it shows what any server must pay, and so how large B/A can be

Each round runs every load on A, then on B, so that both see the same machine; what counts is the ratio of
a round, and the median of the ratios over the rounds. Main figure: requests (or messages) per second of
processor time of the server, from /proc/PID/stat. Latencies are those that h2load logs per request. The
client is the same program with the same arguments for both sides; with two processors or more, server and
client get one each.

Loads: unary c=1, 10, 100 with one call at a time per connection and c=1, 10 with a hundred; 32 streams
that write one small message each 10 ms; memory of 1000 idle connections; B over TLS against B without.

Needs, besides what scripts/deps.sh installs: apt-get install nghttp2-client libgrpc++-dev libprotobuf-dev (h2load,
and echo_cpp, which -DLATENTD_BENCH=ON builds). Prints a table with the goals, appends one line per
measurement to --csv, and exits with 1 when a goal is missed.
"""
import argparse
import datetime
import hashlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICK = os.sysconf("SC_CLK_TCK")
TOKEN = "bench-token-0123456789"
UNARY, PACED = "/grpc.testing.TestService/UnaryCall", "/grpc.testing.TestService/StreamingOutputCall"
STREAMS, MESSAGES, GAP_US = 32, 300, 10000
IDLE = 1000
# load, figure, goal of the ratio B/A (or B's own figure), and whether more is better
GOALS = [
    ("unary c=1 m=1", "per_cpu_s", 2.5, True), ("unary c=10 m=1", "per_cpu_s", 2.5, True),
    ("unary c=100 m=1", "per_cpu_s", 2.5, True), ("unary c=1 m=100", "per_cpu_s", 5.0, True),
    ("unary c=10 m=100", "per_cpu_s", 5.0, True), ("unary c=10 m=1", "p99_us", 0.5, False),
    ("paced", "cpu_us", 0.35, False),
]
IDLE_GOAL_BYTES, TLS_GOAL = 16 * 1024, 1.6
COLUMNS = ("date", "machine", "commit", "round", "side", "load", "requests", "wall_s", "cpu_s", "per_cpu_s", "cpu_us",
           "p50_us", "p99_us", "bytes_per_connection", "command")


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def framed(message):
    return b"\0" + len(message).to_bytes(4, "big") + message


UNARY_REQUEST = b"\x10\x10" + field(3, field(2, b"0123456789abcdef"))
PACED_REQUEST = field(2, b"\x08\x08\x10" + varint(GAP_US)) * MESSAGES


class Server:
    """One process under test; `port` and `tls_port` of its listeners."""

    def __init__(self, side, command, ports, cpus):
        self.side, self.command = side, command
        self.process = subprocess.Popen(cpus + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self.ports = ports(self.process)
        except Exception:
            self.stop()
            raise

    def cpu_s(self):
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) * 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def read_port(process):
    line = process.stdout.readline()
    if not line.startswith("listening "):
        raise RuntimeError("no port: " + line + process.stderr.read())
    return [int(line.split()[1])]


def read_ready_file(path, process):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("latentd is not ready: " + process.stderr.read())
        time.sleep(0.05)
    with open(path) as f:
        return [int(line.rsplit(":", 1)[1]) for line in f if line.strip()]


class Bench:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.n_starts = 0
        cpus = sorted(os.sched_getaffinity(0))
        two = len(cpus) > 1 and not args.no_pinning
        self.server_cpus = ["taskset", "-c", str(cpus[0])] if two else []
        self.client_cpus = ["taskset", "-c", str(cpus[1])] if two else []
        for name, data in (("unary", UNARY_REQUEST), ("paced", PACED_REQUEST)):
            with open(self.path(name), "wb") as f:
                f.write(framed(data))
        with open(self.path("access"), "w") as f:
            os.fchmod(f.fileno(), 0o600)
            f.write("token sha256:%s bench inference jobs cluster metrics admin\n" %
                    hashlib.sha256(TOKEN.encode()).hexdigest())
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2",
                        "-keyout", self.path("key"), "-out", self.path("cert")], check=True, stderr=subprocess.DEVNULL)
        os.chmod(self.path("key"), 0o600)
        self.known = subprocess.run([args.latentd, "--print-options-markdown"], check=True, stdout=subprocess.PIPE,
                                    text=True).stdout
        self.rows = []
        self.date = datetime.date.today().isoformat()
        with open("/proc/cpuinfo") as f:
            self.machine = re.search(r"model name\s*: (.*)", f.read()).group(1).replace(",", " ")
        self.commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE,
                                     text=True).stdout.strip() or "unknown"

    def path(self, name):
        return os.path.join(self.work, name)

    def start(self, side):
        if side == "A":
            return Server("A", [self.args.echo, "127.0.0.1:0"], read_port, self.server_cpus)
        if side == "F":
            return Server("F", [self.args.floor], read_port, self.server_cpus)
        self.n_starts += 1
        ready = self.path("ready-%d" % self.n_starts)
        options = {"ready_file": ready, "metrics_listen": "127.0.0.1:0", "test_service": "on",
                   "log_level": "warning", "max_connections": str(2 * IDLE),
                   "max_connections_local": str(2 * IDLE), "tls_certificate": self.path("cert"),
                   "tls_key": self.path("key")}
        # A thousand idle connections from one address are more than the daemon takes by itself.
        options = {name: value for name, value in options.items()
                   if name != "max_connections_local" or name in self.known}
        if not self.args.no_access:
            options["access_file"] = self.path("access")
        options.update(pair.split("=", 1) for pair in self.args.set)
        command = [self.args.latentd, "--model", os.path.join(ROOT, "models/demo"), "--listen", "127.0.0.1:0",
                   "--listen", "tls:127.0.0.1:0"]
        for name, value in options.items():
            command += ["--set", "%s=%s" % (name, value)]
        return Server("B", command, lambda process: read_ready_file(ready, process), self.server_cpus)

    def check(self, server):
        """h2load counts HTTP statuses; that the calls succeed as gRPC is looked at once, with a stock client."""
        import grpc
        with grpc.insecure_channel("127.0.0.1:%d" % server.ports[0]) as channel:
            answer = channel.unary_unary(UNARY)(UNARY_REQUEST, timeout=20,
                                                metadata=[("authorization", "Bearer " + TOKEN)])
            assert answer == field(1, field(2, b"\0" * 16)), "%s answers %r" % (server.side, answer)
            if server.side == "B" and not self.args.no_access:
                try:
                    channel.unary_unary(UNARY)(UNARY_REQUEST, timeout=20)
                    raise AssertionError("B answers without a token")
                except grpc.RpcError as error:
                    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error

    def h2load(self, server, n, c, m, body, path, tls=False, log=None):
        port = server.ports[1 if tls else 0]
        command = ["h2load", "-n", str(n), "-c", str(c), "-m", str(m), "-t", "1", "-d", self.path(body),
                   "-H", "content-type: application/grpc", "-H", "te: trailers",
                   "-H", "authorization: Bearer " + TOKEN]
        if log:
            if os.path.exists(log):
                os.unlink(log)
            command.append("--log-file=" + log)
        command.append("%s://127.0.0.1:%d%s" % ("https" if tls else "http", port, path))
        cpu, wall = server.cpu_s(), time.monotonic()
        out = subprocess.run(self.client_cpus + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             timeout=600).stdout
        wall, cpu = time.monotonic() - wall, server.cpu_s() - cpu
        done = re.search(r"requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed", out)
        if not done or int(done.group(2)) != n:
            raise RuntimeError("%s: not all of %d requests succeeded:\n%s" % (server.side, n, out))
        return wall, cpu, " ".join(command).replace(self.work, "WORK").replace(TOKEN, "TOKEN")

    def calls_for(self, server, c, m, tls):
        """How many calls keep the server busy for about args.seconds of processor time."""
        n = 200 * c if m == 1 else 20 * c * m
        while True:
            _, cpu, _ = self.h2load(server, n, c, m, "unary", UNARY, tls)
            if cpu >= 0.2:
                return max(c * m, int(n * self.args.seconds / cpu))
            n *= 4

    def unary(self, server, round_no, c, m, tls=False, log=False):
        n = self.calls_for(server, c, m, tls)
        log_path = self.path("log") if log else None
        wall, cpu, command = self.h2load(server, n, c, m, "unary", UNARY, tls, log_path)
        row = {"load": "unary c=%d m=%d%s" % (c, m, " TLS" if tls else ""), "requests": n, "wall_s": wall,
               "cpu_s": cpu, "per_cpu_s": n / cpu, "cpu_us": cpu / n * 1e6, "command": command}
        if log:
            with open(log_path) as f:
                times = sorted(int(line.split("\t")[2]) for line in f)
            row["p50_us"], row["p99_us"] = times[len(times) // 2], times[len(times) * 99 // 100]
        self.add(row, server, round_no)

    def paced(self, server, round_no):
        wall, cpu, command = self.h2load(server, STREAMS, 4, STREAMS // 4, "paced", PACED)
        n = STREAMS * MESSAGES
        if wall < MESSAGES * GAP_US / 1e6 * 0.95:
            raise RuntimeError("%s: %d messages in %.2f s, expected a pace" % (server.side, MESSAGES, wall))
        self.add({"load": "paced", "requests": n, "wall_s": wall, "cpu_s": cpu, "per_cpu_s": n / max(cpu, 1 / TICK),
                  "cpu_us": cpu / n * 1e6, "command": command}, server, round_no)

    def idle(self, side, round_no):
        """Memory of connections that have greeted and say nothing; a fresh process each time."""
        server = self.start(side)
        sockets = []
        try:
            self.check(server)
            before = server.rss()
            for _ in range(IDLE):
                s = socket.create_connection(("127.0.0.1", server.ports[0]))
                s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                sockets.append(s)
            for s in sockets:
                s.settimeout(20)
                assert s.recv(4096), "%s closed a connection" % side
                s.sendall(bytes([0, 0, 0, 4, 1, 0, 0, 0, 0]))
            time.sleep(1)
            self.add({"load": "idle", "requests": IDLE, "bytes_per_connection": (server.rss() - before) / IDLE}, server,
                     round_no)
        finally:
            for s in sockets:
                s.close()
            server.stop()

    def add(self, row, server, round_no):
        row.update({"date": self.date, "machine": self.machine, "commit": self.commit, "round": round_no,
                    "side": server.side})
        self.rows.append(row)
        shown = ["%s %s" % (key, "%.4g" % row[key]) for key in COLUMNS[6:14] if key in row]
        print("round %d %s %-20s %s" % (round_no, row["side"], row["load"], ", ".join(shown)), flush=True)

    def floor(self, round_no):
        server = self.start("F")
        try:
            self.unary(server, round_no, 1, 1)
        finally:
            server.stop()

    def run_round(self, round_no):
        for side in "AB":
            server = self.start(side)
            try:
                self.check(server)
                for c, m in ((1, 1), (10, 1), (100, 1), (1, 100), (10, 100)):
                    self.unary(server, round_no, c, m, log=(c, m) == (10, 1))
                self.paced(server, round_no)
                if side == "B":
                    self.unary(server, round_no, 10, 10)
                    self.unary(server, round_no, 10, 10, tls=True)
            finally:
                server.stop()
            self.idle(side, round_no)
        if self.args.floor:
            self.floor(round_no)

    # ---- what came of it ----

    def figure(self, side, load, key):
        return {row["round"]: row[key] for row in self.rows if row["side"] == side and row["load"] == load}

    def median_ratio(self, over, under):
        ratios = [over[r] / under[r] for r in sorted(set(over) & set(under)) if under[r]]
        return statistics.median(ratios), min(ratios), max(ratios)

    def report(self):
        n_missed = 0

        def line(name, value, low, high, goal, more_is_better):
            good = value >= goal if more_is_better else value <= goal
            print("%-34s %10.3g  [%.3g, %.3g]  goal %s %.4g  %s" % (name, value, low, high, ">=" if more_is_better
                  else "<=", goal, "met" if good else "MISSED"))
            return 0 if good else 1

        print("\nmedian of %d rounds, B/A where not said otherwise; range in brackets" % self.args.rounds)
        for load, key, goal, more_is_better in GOALS:
            value, low, high = self.median_ratio(self.figure("B", load, key), self.figure("A", load, key))
            n_missed += line("%s, %s" % (load, key), value, low, high, goal, more_is_better)
        if self.args.floor:
            print("%-34s %10.3g  [%.3g, %.3g]  the most that is possible here" % (
                "unary c=1 m=1, floor/A, per_cpu_s", *self.median_ratio(self.figure("F", "unary c=1 m=1", "per_cpu_s"),
                                                                        self.figure("A", "unary c=1 m=1", "per_cpu_s"))))
        idle = sorted(self.figure("B", "idle", "bytes_per_connection").values())
        n_missed += line("idle connection, bytes of B", statistics.median(idle), idle[0], idle[-1], IDLE_GOAL_BYTES, False)
        tls = self.median_ratio(self.figure("B", "unary c=10 m=10 TLS", "cpu_us"),
                                self.figure("B", "unary c=10 m=10", "cpu_us"))
        n_missed += line("TLS / plaintext of B, cpu_us", *tls, TLS_GOAL, False)
        return n_missed

    def write_csv(self, path):
        is_new = not os.path.exists(path)
        with open(path, "a") as out:
            if is_new:
                out.write(",".join(COLUMNS) + "\n")
            for row in self.rows:
                values = [row.get(key, "") for key in COLUMNS]
                out.write(",".join("%.6g" % v if isinstance(v, float) else str(v).replace(",", ";") for v in values) + "\n")


def main():
    parser = argparse.ArgumentParser(description="latentd against the stock C++ gRPC server")
    parser.add_argument("--latentd", required=True)
    parser.add_argument("--echo", required=True)
    parser.add_argument("--floor", help="also measure what the system calls alone cost")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.5, help="processor time of the server per measurement")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further options of latentd")
    parser.add_argument("--no-access", action="store_true", help="without an access file, to see what it costs")
    parser.add_argument("--no-pinning", action="store_true", help="server and client on any processor")
    parser.add_argument("--csv")
    args = parser.parse_args()
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (4 * IDLE, max(4 * IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with tempfile.TemporaryDirectory(prefix="latentd-bench-") as work:
        bench = Bench(args, work)
        try:
            for round_no in range(1, args.rounds + 1):
                bench.run_round(round_no)
        finally:
            if args.csv and bench.rows:
                bench.write_csv(args.csv)
        sys.exit(1 if bench.report() else 0)


if __name__ == "__main__":
    main()
