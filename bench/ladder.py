#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ladder.py - what early steps in a cheaper format cost, against the bytes that they save.

    ladder.py --build build/release [--csv FILE] [--early-formats int8,int4]

Runs `latentd-model compare`: the recurrent block in bf16 with the first k steps of each position in an early format,
against bf16 throughout, on models/demo (the questions of its evaluation with their answers) and on a made-up model of
the proportions of huginn-0125 (`latentd-model synth --like 100m`; one prompt of 16 token ids). For each k: the KL divergence of
the next token's distribution in nats, mean and largest, how often the most likely token is the same, how far the
latents have drifted apart, and how many bytes of weights a step reads on the mean.

There is no clock in it: two runs print the same.
"""
import argparse
import datetime
import json
import os
import subprocess
import tempfile

from formats import ROOT, commit, machine

DEMO = os.path.join(ROOT, "models/demo")
LADDERS = (8, 16, 24, 31, 32)
DEPTH = 32
# A made-up prompt for a made-up model: whatever it is, it is the same each time.
IDS = ",".join(str((i * i * 7 + i * 13 + 11) % 4096) for i in range(16))


def begin(build, model, early, prompts):
    command = [os.path.join(build, "tools/latentd-model"), "compare", "--format", "bf16", "--against", "bf16",
               "--early-format", early, "--early-steps", ",".join(map(str, LADDERS)), "--depth", str(DEPTH), "--json",
               "--threads", "1", *prompts, model]
    return subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")


def measure(args, directory):
    """(name of the model, early format, comparison)."""
    made_up = os.path.join(directory, "100m")
    subprocess.run([os.path.join(args.build, "tools/latentd-model"), "synth", "--like", "100m", "--seed", "1", made_up],
                   check=True, stdout=subprocess.DEVNULL)
    models = (("demo", DEMO, ("--prompts", os.path.join(DEMO, "questions.jsonl"))), ("100m", made_up, ("--tokens", IDS)))
    begun = [(name, early, begin(args.build, path, early, prompts))
             for name, path, prompts in models for early in args.early_formats.split(",")]
    for name, early, process in begun:
        text, _ = process.communicate()
        if process.returncode != 0:
            raise SystemExit("ladder.py: comparing %s with early %s failed" % (name, early))
        yield name, early, json.loads(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--early-formats", default="int8,int4")
    parser.add_argument("--csv")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="ltd-ladder-") as directory:
        for model, early, found in measure(args, directory):
            print("\n%s, bf16 behind early %s, depth %d, %d positions, tier %s"
                  % (model, early, DEPTH, found["positions"], found["tier"]))
            print("%6s %10s %10s %9s %9s %10s" % ("early", "KL mean", "KL max", "same", "drift", "bytes"))
            for row in found["rows"]:
                same = 100.0 * row["same_top"] / found["positions"]
                share = row["step_bytes"] / found["against_step_bytes"]
                rows.append((model, early, row["early_steps"], row["depth"], found["positions"], "%.4g" % row["kl_mean"],
                             "%.4g" % row["kl_max"], "%.3f" % same, "%.4g" % row["drift"], "%.0f" % row["step_bytes"],
                             "%.4f" % share, found["tier"]))
                if row["depth"] == DEPTH:
                    print("%6d %10.2g %10.2g %8.2f%% %9.2g %9.1f%%" % (row["early_steps"], row["kl_mean"], row["kl_max"],
                                                                   same, row["drift"], 100 * share))
    if args.csv:
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write("# date: %s\n# commit: %s\n" % (datetime.date.today(), commit()))
            file.write("# command: bench/ladder.py\n# machine: %s\n" % machine())
            file.write("# bf16 with the first early_steps steps in early_format, against bf16 throughout\n")
            file.write("model,early_format,early_steps,depth,positions,kl_mean,kl_max,percent_same_top,drift,"
                       "step_bytes,share_of_bf16_bytes,tier\n")
            file.writelines(",".join(map(str, row)) + "\n" for row in rows)


if __name__ == "__main__":
    main()
