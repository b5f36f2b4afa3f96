#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""step.py - one recurrent step in two ways of sharing the machine: which is faster, and are their bits the same?

    step.py --build build/release [--pair 1x2,2x1] [--like huginn-0125] [--format bf16] [--cells 1:0,8:0] [--rounds 5]
            [--steps 1] [--goal 1.15] [--csv FILE] [-- more options of bench_step]

A way is RANKSxTHREADS of each rank. Both programs (bench/step.c) are loaded at the same time and take turns, A B A B:
who has no turn sleeps. Ratios are taken within a round; what counts is their median. For each cell it prints

    step      time of B's step / A's                                    (--goal: at most this)
    products  time of B's products / A's, of B's slowest rank; from the step itself, and from the products alone

and compares the latents that both computed. To see what a cache gives, take a shape whose block fits two of them and
not one: --pair 1x1,2x1 --like l2-512k --format f32 --steps 200 (see lscpu for the level-2 cache of a core).
Exits with 1 when bits differ or the goal is missed.
"""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile

from formats import ROOT, commit, machine

if os.geteuid() == 0:
    os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")

TIMES = ("step_ms", "products_ms", "replay_ms")


class Way:
    """One loaded program; its ranks wait at their gates."""

    def __init__(self, args, name, directory):
        self.name = name
        self.ranks, threads = (int(part) for part in name.split("x"))
        gate = os.path.join(directory, name)
        self.gates = ["%s.%d" % (gate, rank) for rank in range(self.ranks)]
        for path in self.gates:
            os.mkfifo(path)
        launch = ["mpirun", "--bind-to", "none", "--oversubscribe", "-n", str(self.ranks)] if self.ranks > 1 else []
        self.process = subprocess.Popen(
            launch + [os.path.join(args.build, "bench/bench_step"), "--like", args.like, "--format", args.format,
                      "--threads", str(threads), "--cells", args.cells, "--steps", str(args.steps), "--rounds", "1",
                      "--gate", gate] + args.more, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8")
        # For reading, too: so opening does not wait for a program that may never come.
        self.pens = [os.open(path, os.O_RDWR) for path in self.gates]
        for line in self.process.stdout:
            if line.startswith("model,"):
                self.columns = line.strip().split(",")
            if line.startswith("# ready"):
                return
        raise SystemExit("step.py: bench_step as %s did not become ready" % name)

    def turn(self, n_cells):
        """One round: a list of cells, each a list of rows (dicts), one for each rank."""
        for pen in self.pens:
            os.write(pen, b"x")
        return [[dict(zip(self.columns, self.process.stdout.readline().strip().split(","))) for _ in range(self.ranks)]
                for _ in range(n_cells)]

    def close(self):
        for pen in self.pens:
            os.close(pen)
        self.process.wait(60)


def slowest(rows, column):
    return max(float(row[column]) for row in rows)


def summarise(args, cells, names, rounds):
    """Lines of the table; whether all is well."""
    ok = True
    lines = []
    for i, cell in enumerate(cells):
        pairs = [(a[i], b[i]) for a, b in rounds]
        found = {}
        for column in TIMES:
            found[column] = [slowest(b, column) / slowest(a, column) for a, b in pairs]
        same = all(row["latents"] == a[0]["latents"] for a, b in pairs for row in a + b)
        ratio = statistics.median(found["step_ms"])
        good = same and (args.goal is None or ratio <= args.goal)
        ok = ok and good
        lines.append((cell, names[1], names[0], "%.2f" % statistics.median(slowest(a, "step_ms") for a, _ in pairs),
                      "%.2f" % statistics.median(slowest(b, "step_ms") for _, b in pairs), "%.3f" % ratio,
                      "%.3f" % min(found["step_ms"]), "%.3f" % max(found["step_ms"]),
                      "%.3f" % statistics.median(found["products_ms"]), "%.3f" % statistics.median(found["replay_ms"]),
                      "yes" if same else "NO"))
    return lines, ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--pair", default="1x2,2x1")
    parser.add_argument("--like", default="huginn-0125")
    parser.add_argument("--format", default="bf16")
    parser.add_argument("--cells", default="1:0,8:0")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--goal", type=float)
    parser.add_argument("--csv")
    parser.add_argument("more", nargs="*")
    args = parser.parse_args()
    names, cells = args.pair.split(","), args.cells.split(",")
    with tempfile.TemporaryDirectory(prefix="ltd-step-") as directory:
        ways = [Way(args, name, directory) for name in names]
        rounds = [[way.turn(len(cells)) for way in ways] for _ in range(args.rounds)]
        for way in ways:
            way.close()
    lines, ok = summarise(args, cells, names, rounds)
    head = ("cell", "b", "a", "a_step_ms", "b_step_ms", "b/a", "least", "most", "products_b/a", "replay_b/a",
            "same_bits")
    text = "".join(",".join(line) + "\n" for line in [head] + lines)
    sys.stdout.write(text)
    if args.csv:
        with open(args.csv, "a", encoding="utf-8") as file:
            file.write("# commit: %s\n# command: bench/step.py %s\n# machine: %s\n" %
                       (commit(), " ".join(sys.argv[1:]), machine()))
            file.write("round,%s\n" % ",".join(ways[0].columns))
            file.writelines("%d,%s\n" % (n, ",".join(row.values())) for n, pair in enumerate(rounds)
                            for side in pair for cell in side for row in cell)
            file.write(text)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
