#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""formats.py - what a model loses when its weights are held in fewer bytes: accuracy by depth, each format against f32.

    formats.py --build build/release [--model models/demo] [--seeds 5] [--csv FILE]

For each format one daemon is started (one process, `--set format=...`), and `latentctl eval --answers` asks every
question of the model's questions.jsonl at every depth, once for each seed: the seed draws the initial latent. So the
formats are compared question by question, with equal initial latents. Percentages are over all seeds; "lost" counts
the answers that are right in f32 and wrong in the format, "gained" the other way round. Where f32 answers at random,
because the depth does not suffice for the question, both are luck; what a format spoils shows as lost - gained.

Prints a table and exits with 1 when bf16 has a lower percentage than f32 at any depth by more than the two
standard deviations that chance alone explains, or int8 is more than one point below it. int4 is reported only.
"""
import argparse
import datetime
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FORMATS = ("f32", "bf16", "int8", "int4")
DEPTHS = (1, 2, 4, 8, 16, 32)
INT8_POINTS = 1.0


class Service:
    """One daemon on a socket of its own, for one format."""

    def __init__(self, build, model, weights, *arguments):
        self.dir = tempfile.TemporaryDirectory(prefix="ltd-formats-")
        self.address = "unix:" + os.path.join(self.dir.name, "socket")
        self.ctl = os.path.join(build, "cli/latentctl")
        ready = os.path.join(self.dir.name, "ready")
        self.process = subprocess.Popen(
            [os.path.join(build, "daemon/latentd"), "--model", model, "--listen", self.address, "--set",
             "ready_file=" + ready, "--set", "format=" + weights, "--log-level", "warning", *arguments],
            stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not os.path.exists(ready) or os.path.getsize(ready) == 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("%s: %s/daemon/latentd with format=%s did not become ready" % (sys.argv[0], build, weights))
            time.sleep(0.02)

    def ask(self, *arguments):
        done = subprocess.run([self.ctl, arguments[0], "--server", self.address, *arguments[1:], "--json"],
                              stdout=subprocess.PIPE, check=True, encoding="utf-8")
        return json.loads(done.stdout)

    def close(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.dir.cleanup()


def measure(args, weights):
    """(tier, {(seed, question, depth): is right})."""
    service = Service(args.build, args.model, weights)
    try:
        right, tier = {}, ""
        for n in range(args.seeds):
            # Question i takes seed + i: far apart, so that no two rounds share a draw.
            found = service.ask("eval", os.path.join(args.model, "questions.jsonl"), "--answers", "--seed",
                                str(1 + 100000 * n), "--depths", ",".join(map(str, DEPTHS)))
            tier = found["tier"]
            for answer in found["answers"]:
                right[n, answer["line"], answer["depth"]] = answer["correct"]
        return tier, right
    finally:
        service.close()


def compare(right, reference, depth):
    """Percent of right answers, lost and gained against f32."""
    keys = [key for key in reference if key[2] == depth]
    lost = sum(reference[key] and not right[key] for key in keys)
    gained = sum(right[key] and not reference[key] for key in keys)
    return 100.0 * sum(right[key] for key in keys) / len(keys), lost, gained, len(keys)


def judge(weights, percent, plain, lost, gained, n):
    """Why the figures miss the goal, or ""."""
    if weights == "bf16":
        # Each answer that changed went one way or the other: a fair coin, unless the format spoils something.
        luck = 2 * math.sqrt(lost + gained)
        return "loses accuracy" if lost - gained > luck else ""
    if weights == "int8":
        return "loses more than %g point" % INT8_POINTS if plain - percent > INT8_POINTS else ""
    if weights == "int4":
        return ""  # reported: a model must be asked whether it bears it
    return "differs from itself" if lost or gained or n == 0 else ""


def commit():
    done = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, encoding="utf-8")
    return done.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return "%s, %d cores" % (names[0] if names else "unknown", len(names))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--model", default=os.path.join(ROOT, "models/demo"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--csv")
    args = parser.parse_args()
    measured = {weights: measure(args, weights) for weights in FORMATS}
    reference = measured["f32"][1]
    rows, misses = [], []
    print("%-6s %-10s %s" % ("format", "tier", "".join("%18s" % ("depth %d" % d) for d in DEPTHS)))
    for weights in FORMATS:
        tier, right = measured[weights]
        line = "%-6s %-10s " % (weights, tier.split()[0])
        for depth in DEPTHS:
            percent, lost, gained, n = compare(right, reference, depth)
            plain = compare(reference, reference, depth)[0]
            miss = judge(weights, percent, plain, lost, gained, n)
            if miss:
                misses.append("%s at depth %d %s" % (weights, depth, miss))
            line += "%18s" % ("%.2f %% -%d +%d" % (percent, lost, gained))
            rows.append((weights, tier, depth, n, "%.3f" % percent, lost, gained))
        print(line)
    if args.csv:
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write("# date: %s\n# commit: %s\n" % (datetime.date.today(), commit()))
            file.write("# command: bench/formats.py --seeds %d\n# machine: %s\n" % (args.seeds, machine()))
            file.write("# lost, gained: answers that are right in f32 only, and in the format only\n")
            file.write("format,tier,depth,answers,percent_right,lost,gained\n")
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    for miss in misses:
        print("missed: " + miss)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
