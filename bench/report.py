#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""report.py - the CSV of bench_step and bench_kernels as tables for docs/performance.md.

    report.py FILE...

Lines that begin with # are passed on as notes. A file of bench_step gives a table of parts, one of bench_kernels a
table for each shape: positions down, candidates across, median ms and in brackets the share of the plain read.
"""
import csv
import sys

STEP = (("positions", "positions"), ("context", "older positions"), ("step_ms", "step"), ("products_ms", "products"),
        ("attention_ms", "attention"), ("norms_ms", "norms"), ("elementwise_ms", "elementwise"), ("wait_ms", "waiting"),
        ("gather_ms", "gather"), ("rest_ms", "rest"), ("step_to_products", "step / its products"),
        ("step_to_replay", "step / products alone"))


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|" + " --- |" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def rounded(text):
    """Three digits are what these figures are worth."""
    try:
        value = float(text)
        return text if "." not in text else "%.0f" % value if value >= 1000 else "%.3g" % value
    except ValueError:
        return text


def report_step(rows):
    groups = {}
    for row in rows:
        what = "%(model)s, %(tier)s, %(format)s, keys %(kv)s, %(ranks)s x %(threads)s" % row
        groups.setdefault("%s, rank %s" % (what, row["rank"]), []).append(row)
    for what, group in groups.items():
        print("**%s** (ms)\n" % what)
        table([title for _, title in STEP], [[rounded(row[column]) for column, _ in STEP] for row in group])


def report_kernels(rows):
    for shape in dict.fromkeys((row["rows"], row["cols"], row["threads"]) for row in rows):
        mine = [row for row in rows if (row["rows"], row["cols"], row["threads"]) == shape]
        ways = list(dict.fromkeys((row["tier"], row["format"]) for row in mine))
        cells = {(row["n_pos"], row["tier"], row["format"]): row for row in mine}
        print("**%s x %s, threads: %s** (ms, share of the plain read)\n" % shape)
        table(["positions"] + ["%s %s" % way for way in ways],
              [[n_pos] + ["%s (%s)" % (rounded(cells[n_pos, *way]["median_ms"]), cells[n_pos, *way]["share"])
                          for way in ways] for n_pos in dict.fromkeys(row["n_pos"] for row in mine)])


def main():
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
        print("\n".join(line for line in lines if line.startswith("#")) + "\n")
        rows = list(csv.DictReader(line for line in lines if line and not line.startswith("#")))
        if rows and "step_ms" in rows[0]:
            report_step(rows)
        elif rows and "share" in rows[0]:
            report_kernels(rows)
        else:
            raise SystemExit("report.py: %s is neither of bench_step nor of bench_kernels" % path)


if __name__ == "__main__":
    main()
