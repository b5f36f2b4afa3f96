#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""serve.py - tokens per second of a running daemon: by depth, and with many jobs at once.

    serve.py depth --model DIR [--ranks 1] [--threads N] [--format bf16] [--depths 1,4,8,16,32,64] [--tokens 2] [--rounds 3]
    serve.py jobs  --model DIR [--ranks 1] [--threads N] [--format bf16] [--depth 8] [--jobs 16] [--tokens 4] [--rounds 3]
             both: [--build build/release] [--weights auto] [--csv FILE]

One latentd is started on a socket of its own (with mpirun for more ranks than one) and asked through latentctl; the
prompt is one token id, so a job of n tokens is n positions and nothing else.

depth  one job at a time, at each depth in turn, rounds rotating: the median time of a token and the line through it,
       time = a + b * depth, with R^2. Exits with 1 when R^2 is below 0.99.
jobs   rounds of one job alone and of all at once, A B A B: tokens per second of the many / of the one, within a round.
       Exits with 1 when the median is below 0.75 * jobs.

A model for it: latentd-model synth --like huginn-0125 --seed 1 DIR (7 GB), or --like 100m.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from formats import ROOT, commit, machine

READY_SECONDS = 600

if os.geteuid() == 0:
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


class Service:
    """One daemon, perhaps of several ranks."""

    def __init__(self, args):
        self.dir = tempfile.TemporaryDirectory(prefix="ltd-serve-")
        self.address = "unix:" + os.path.join(self.dir.name, "socket")
        self.ctl = os.path.join(args.build, "cli/latentctl")
        ready = os.path.join(self.dir.name, "ready")
        launch = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(args.ranks)] if args.ranks > 1 else []
        threads = ["--threads", str(args.threads)] if args.threads else []
        began = time.monotonic()
        self.process = subprocess.Popen(
            launch + [os.path.join(args.build, "daemon/latentd"), "--model", args.model, "--listen", self.address,
                      "--set", "ready_file=" + ready, "--set", "format=" + args.format, "--set", "weights=" + args.weights,
                      "--log-level", "warning"] + threads, stdin=subprocess.DEVNULL)
        while not os.path.exists(ready) or os.path.getsize(ready) == 0:
            if self.process.poll() is not None or time.monotonic() > began + READY_SECONDS:
                raise SystemExit("serve.py: latentd did not become ready")
            time.sleep(0.05)
        self.start_s = time.monotonic() - began

    def begin(self, depth, tokens, seed):
        return subprocess.Popen(
            [self.ctl, "think", "--server", self.address, "--tokens", "1", "--depth", str(depth), "--max-tokens",
             str(tokens), "--seed", str(seed), "--json"], stdout=subprocess.PIPE, encoding="utf-8")

    def jobs(self, n, depth, tokens):
        """Seconds that n jobs take which begin together."""
        began = time.monotonic()
        running = [self.begin(depth, tokens, seed) for seed in range(n)]
        answers = [json.loads(job.communicate()[0]) for job in running]
        seconds = time.monotonic() - began
        for answer in answers:
            if len(answer["tokens"]) != tokens:
                raise SystemExit("serve.py: %d tokens, expected %d" % (len(answer["tokens"]), tokens))
        return seconds

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.dir.cleanup()


def fit(points):
    """(a, b, R^2) of the line through (x, y)."""
    mean_x, mean_y = (statistics.mean(axis) for axis in zip(*points))
    b = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    a = mean_y - b * mean_x
    left = sum((y - a - b * x) ** 2 for x, y in points)
    return a, b, 1 - left / sum((y - mean_y) ** 2 for _, y in points)


def by_depth(args, service):
    depths = [int(depth) for depth in args.depths.split(",")]
    found = {depth: [] for depth in depths}
    for n in range(args.rounds):
        for i in range(len(depths)):
            depth = depths[(i + n) % len(depths)]
            found[depth].append(service.jobs(1, depth, args.tokens) / args.tokens)
    points = [(depth, statistics.median(found[depth])) for depth in depths]
    a, b, r2 = fit(points)
    lines = ["depth,token_ms,least_ms,most_ms"]
    lines += ["%d,%.2f,%.2f,%.2f" % (depth, 1e3 * ms, 1e3 * min(found[depth]), 1e3 * max(found[depth]))
              for depth, ms in points]
    lines.append("# token_ms = %.2f + %.3f * depth, R^2 = %.5f" % (1e3 * a, 1e3 * b, r2))
    return lines, r2 >= 0.99


def by_jobs(args, service):
    rows = []
    for n in range(args.rounds):
        one = args.tokens / service.jobs(1, args.depth, args.tokens)
        many = args.jobs * args.tokens / service.jobs(args.jobs, args.depth, args.tokens)
        rows.append((one, many, many / one))
    ratio = statistics.median(row[2] for row in rows)
    lines = ["round,one_tokens_per_s,%d_tokens_per_s,ratio" % args.jobs]
    lines += ["%d,%.3f,%.3f,%.2f" % (n, *row) for n, row in enumerate(rows)]
    lines.append("# %d jobs against one: %.2f" % (args.jobs, ratio))
    return lines, ratio >= 0.75 * args.jobs


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("depth", "jobs"))
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--format", default="bf16")
    parser.add_argument("--weights", default="auto", help="the daemon's option: auto, mmap or copy")
    parser.add_argument("--depths", default="1,4,8,16,32,64")
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv")
    args = parser.parse_args()
    args.tokens = args.tokens or (2 if args.what == "depth" else 4)
    service = Service(args)
    try:
        service.jobs(1, 1, 1)  # wakes what sleeps
        lines, ok = (by_depth if args.what == "depth" else by_jobs)(args, service)
    finally:
        service.close()
    lines.insert(0, "# ready after %.1f s" % service.start_s)
    print("\n".join(lines))
    if args.csv:
        with open(args.csv, "a", encoding="utf-8") as file:
            file.write("# commit: %s\n# command: bench/serve.py %s\n# machine: %s\n" %
                       (commit(), " ".join(sys.argv[1:]), machine()))
            file.write("\n".join(lines) + "\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
