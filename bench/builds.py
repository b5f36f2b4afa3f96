#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""builds.py - is one build of latentd as fast as another? Both serve the same model at once and are asked in turns.

    builds.py BEFORE NOW [--model models/demo] [--threads 1,2] [--depth 32] [--tokens 60] [--rounds 15] [--csv FILE]

BEFORE and NOW are build directories, of two commits for example. A round is one job to each of them, through its own
latentctl; the ratio is taken within the round, so what the machine does meanwhile meets both. The other one waits without
using a processor. Exits with 1 when the median of NOW / BEFORE is above --most (1.0) for some number of threads.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from formats import ROOT, commit, machine

READY_SECONDS = 60


class Service:
    def __init__(self, build, model, threads):
        self.dir = tempfile.TemporaryDirectory(prefix="ltd-builds-")
        self.address = "unix:" + os.path.join(self.dir.name, "socket")
        self.ctl = os.path.join(build, "cli/latentctl")
        ready, began = os.path.join(self.dir.name, "ready"), time.monotonic()
        self.process = subprocess.Popen(
            [os.path.join(build, "daemon/latentd"), "--model", model, "--threads", threads, "--listen", self.address,
             "--set", "ready_file=" + ready, "--log-level", "warning"], stdin=subprocess.DEVNULL)
        while not os.path.exists(ready) or os.path.getsize(ready) == 0:
            if self.process.poll() is not None or time.monotonic() > began + READY_SECONDS:
                raise SystemExit("builds.py: latentd of %s did not become ready" % build)
            time.sleep(0.05)

    def seconds(self, args, seed):
        began = time.monotonic()
        subprocess.run([self.ctl, "think", "--server", self.address, "--tokens", "1", "--depth", str(args.depth),
                        "--max-tokens", str(args.tokens), "--seed", str(seed), "--ignore-eos"],
                       stdout=subprocess.DEVNULL, check=True)
        return time.monotonic() - began

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.dir.cleanup()


def compare(args, threads):
    """Pairs of seconds, one per round."""
    services = []
    try:
        for build in (args.before, args.now):
            services.append(Service(build, args.model, threads))
        return [[service.seconds(args, seed) for service in services] for seed in range(args.rounds)]
    finally:
        for service in services:
            service.close()


def main():
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", metavar="BEFORE")
    parser.add_argument("now", metavar="NOW")
    parser.add_argument("--model", default=os.path.join(ROOT, "models/demo"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--depth", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--most", type=float, default=1.0, help="the largest median of NOW / BEFORE that is good")
    parser.add_argument("--csv")
    args = parser.parse_args()
    lines, ok = ["threads,round,before_s,now_s,ratio"], True
    for threads in args.threads.split(","):
        pairs = compare(args, threads)
        ratios = [now / before for before, now in pairs]
        lines += ["%s,%d,%.4f,%.4f,%.3f" % (threads, i, *pairs[i], ratios[i]) for i in range(len(pairs))]
        print("threads %s: now / before %.3f (%.2f to %.2f)"
              % (threads, statistics.median(ratios), min(ratios), max(ratios)))
        ok = ok and statistics.median(ratios) <= args.most
    if args.csv:
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write("# commit of this script: %s\n# command: bench/builds.py %s\n# machine: %s\n%s\n"
                       % (commit(), " ".join(sys.argv[1:]), machine(), "\n".join(lines)))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
