#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""builds.py - is one build of latentd as fast as another? Both serve the same model at once and are asked in turns.

    builds.py BEFORE NOW [--model models/demo] [--threads 1,2] [--depth 32] [--tokens 60] [--rounds 30] [--csv FILE]

BEFORE and NOW are build directories, of two commits for example. A round is one job to each of them, through its own
latentctl, and who is first alternates: the first one was found to be a tenth slower. The ratio is taken within the round, so
what the machine does meanwhile meets both. A build against itself shows how far that is from 1. Exits with 1 when the
median of NOW / BEFORE is above --most (1.0) for some number of threads.
"""
import argparse
import os
import statistics
import sys
import time

from formats import ROOT, Service, commit, machine


def seconds(service, args, seed):
    began = time.monotonic()
    service.ask("think", "--tokens", "1", "--depth", str(args.depth), "--max-tokens", str(args.tokens), "--seed", str(seed),
                "--ignore-eos")
    return time.monotonic() - began


def compare(args, threads):
    """Pairs of seconds, one per round."""
    services = []
    try:
        for build in (args.before, args.now):
            services.append(Service(build, args.model, "f32", "--threads", threads))
        pairs = []
        for n in range(args.rounds):
            turn = services if n % 2 == 0 else services[::-1]
            took = {service: seconds(service, args, n) for service in turn}
            pairs.append([took[service] for service in services])
        return pairs
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
    parser.add_argument("--rounds", type=int, default=30)
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
