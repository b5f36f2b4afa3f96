#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""int4_variants.py - what four bits could have been: groups, ends of the range and matrices left out, by quality.

    int4_variants.py --build build/release [--model models/demo] [--seeds 2] [--scores 120] [--csv FILE]

Each variant is made here, plainly: the weights of the model are brought to four bits and back, and the model that comes
out is stored in f32 and served in f32. So one build answers for every variant; what rounds activations to int8 is the
same for all and left out. Three figures:

    rms      of the error over the rms of the weights: the model's, and 64 rows of 5280 drawn here (normal, and with
             one in 300 seven times as large), which is a length of the 3.5 billion model
    right    percent of the model's questions, by depth, with answers lost and gained against the plain model
    moved    mean distance of log-probabilities of the right answers from the plain model's, at depths 8 and 32

A row of the model may be shorter than a group; it is one group then.
"""
import argparse
import array
import datetime
import json
import math
import os
import random
import shutil
import struct
import sys
import tempfile

from formats import ROOT, Service, commit, compare, machine

DEPTHS = (1, 2, 4, 8, 16, 32)
SCORE_DEPTHS = (8, 32)

# Name: columns of a group, least integer, type of the scale, tensors left as they are.
VARIANTS = {
    "plain": (0, 0, "f32", ()),
    "32, -8..7, bf16": (32, -8, "bf16", ()),
    "32, -8..7, f32": (32, -8, "f32", ()),
    "32, -7..7, bf16": (32, -7, "bf16", ()),
    "64, -8..7, bf16": (64, -8, "bf16", ()),
    "160, -8..7, bf16": (160, -8, "bf16", ()),
    "160, -7..7, bf16": (160, -7, "bf16", ()),
    "32, -8..7, bf16, but embedding and head": (32, -8, "bf16", ("wte", "lm_head")),
    "32, -8..7, bf16, but prelude and coda, too": (32, -8, "bf16", ("wte", "lm_head", "prelude", "coda")),
}


def to_f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def to_bf16(value):
    """To nearest, ties to even."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return struct.unpack("<f", struct.pack("<I", bits))[0]


SCALES = {"f32": to_f32, "bf16": to_bf16}


def there_and_back(row, group, least, scale_type):
    """A row as what four bits say."""
    out = []
    for begin in range(0, len(row), group):
        part = row[begin:begin + group]
        extreme = max(part, key=abs)
        if least == -7:
            extreme = abs(extreme)
        scale = SCALES[scale_type](extreme / (-8 if least == -8 else 7))
        if scale == 0:
            out += [0.0] * len(part)
        else:
            out += [max(least, min(7, round(w / scale))) * scale for w in part]
    return out


def rms_of_error(rows, variant):
    group, least, scale_type, _ = variant
    error = weight = 0.0
    for row in rows:
        for a, b in zip(row, there_and_back(row, group, least, scale_type)):
            error += (a - b) ** 2
            weight += a * a
    return math.sqrt(error / weight)


def drawn_rows(outliers):
    draw = random.Random(1)
    return [[draw.gauss(0, 1) * (7 if outliers and draw.random() * 300 < 1 else 1) for _ in range(5280)]
            for _ in range(64)]


def read_model(path):
    """{name: (shape, values)} of a BF16 or F32 file."""
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        piece = data[slice(*entry["data_offsets"])]
        if entry["dtype"] == "BF16":
            halves = array.array("H", piece)
            words = array.array("I", (half << 16 for half in halves))
            piece = words.tobytes()
        elif entry["dtype"] != "F32":
            raise SystemExit("int4_variants.py: %s: %s, expected BF16 or F32" % (name, entry["dtype"]))
        tensors[name] = entry["shape"], array.array("f", piece)
    return tensors


def rows_of(shape, values):
    return [values[i:i + shape[1]].tolist() for i in range(0, len(values), shape[1])]


def is_matrix(name, shape, kept=()):
    return len(shape) == 2 and "norm" not in name and not any(word in name for word in kept)


def write_model(source, tensors, variant, to):
    group, least, scale_type, kept = variant
    header, data = {}, bytearray()
    for name, (shape, values) in tensors.items():
        if group and is_matrix(name, shape, kept):
            values = array.array("f", (w for row in rows_of(shape, values)
                                       for w in there_and_back(row, group, least, scale_type)))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + 4 * len(values)]}
        data += values.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(to, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    for name in os.listdir(source):
        if name.endswith(".json"):
            shutil.copy(os.path.join(source, name), to)


def measure(args, questions, model):
    """{(seed, question, depth): is right}, {(question, depth): log-probability of the right answer}."""
    service = Service(args.build, model, "f32")
    try:
        right, scores = {}, {}
        for n in range(args.seeds):
            found = service.ask("eval", os.path.join(args.model, "questions.jsonl"), "--answers", "--seed",
                                str(1 + 100000 * n), "--depths", ",".join(map(str, DEPTHS)))
            for answer in found["answers"]:
                right[n, answer["line"], answer["depth"]] = answer["correct"]
        for i, question in enumerate(questions[::max(1, len(questions) // args.scores)]):
            for depth in SCORE_DEPTHS:
                scores[i, depth] = service.ask("score", "--context", question["prompt"], "--continuation",
                                               question["answer"], "--depth", str(depth), "--seed", str(i))["sum"]
        return right, scores
    finally:
        service.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--model", default=os.path.join(ROOT, "models/demo"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--scores", type=int, default=120)
    parser.add_argument("--csv")
    args = parser.parse_args()
    tensors = read_model(os.path.join(args.model, "model.safetensors"))
    with open(os.path.join(args.model, "questions.jsonl"), encoding="utf-8") as file:
        questions = [json.loads(line) for line in file]
    model_rows = [row for name, (shape, values) in tensors.items() if is_matrix(name, shape)
                  for row in rows_of(shape, values)]
    normal, outliers = drawn_rows(False), drawn_rows(True)
    lines, plain = [], None
    for name, variant in VARIANTS.items():
        errors = [rms_of_error(rows, variant) if variant[0] else 0.0 for rows in (model_rows, normal, outliers)]
        with tempfile.TemporaryDirectory(prefix="ltd-int4-") as folder:
            write_model(args.model, tensors, variant, folder)
            right, scores = measure(args, questions, folder)
        plain = plain or (right, scores)
        by_depth = [compare(right, plain[0], depth) for depth in DEPTHS]
        moved = [sum(abs(scores[key] - plain[1][key]) for key in scores if key[1] == depth) * len(SCORE_DEPTHS)
                 / len(scores) for depth in SCORE_DEPTHS]
        cells = ["%.4f" % e for e in errors] + ["%.2f -%d +%d" % row[:3] for row in by_depth] + ["%.4f" % m for m in moved]
        lines.append('"%s",' % name + ",".join(cells))
        print("%-40s %s" % (name, "  ".join(cells)), flush=True)
    if args.csv:
        with open(args.csv, "w", encoding="utf-8") as file:
            file.write("# date: %s\n# commit: %s\n" % (datetime.date.today(), commit()))
            file.write("# command: bench/int4_variants.py --seeds %d --scores %d\n" % (args.seeds, args.scores))
            file.write("# machine: %s\n# what the columns are: bench/int4_variants.py\n" % machine())
            file.write("variant,rms_model,rms_normal,rms_outliers,%s,%s\n" % (
                ",".join("right_%d" % d for d in DEPTHS), ",".join("moved_%d" % d for d in SCORE_DEPTHS)))
            file.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
