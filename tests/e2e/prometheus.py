# SPDX-License-Identifier: Apache-2.0
"""prometheus.py - a strict reader of Prometheus' text format 0.0.4, for pages that must have no mistake.

A scraper forgives much and drops what it does not understand; a metric that is silently not there is found on
the day it is needed. So everything that the format or the naming rules ask for is an error here.
"""
import re

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)\Z")
TYPES = ("counter", "gauge", "histogram", "summary")
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"),
            "summary": ("_sum", "_count")}
# Names of what is measured in something else than base units.
FOREIGN_UNITS = re.compile(r"_(ms|milliseconds|us|minutes|hours|kb|kib|mb|mib|percent)(_|\Z)")


class Family:
    def __init__(self, name, help_text):
        self.name, self.help, self.type = name, help_text, None
        self.samples = {}  # (suffix, ((label, value), ...)) -> float

    def value(self, suffix="", **labels):
        return self.samples[suffix, tuple(sorted(labels.items()))]


def check(condition, line, what):
    if not condition:
        raise AssertionError("metrics: %s: %r" % (what, line))


def parse_labels(text, line):
    labels, at = [], 0
    while at < len(text):
        match = LABEL.match(text, at)
        check(match, line, "labels")
        labels.append(match.groups())
        at = match.end()
        if at < len(text):
            check(text[at] == "," and at + 1 < len(text), line, "comma between labels")
            at += 1
    names = [name for name, _ in labels]
    check(len(set(names)) == len(names), line, "a label twice")
    return tuple(sorted(labels))


def parse_sample(family, line):
    match = SAMPLE.match(line)
    check(match, line, "a sample")
    name, labels, value = match.groups()
    check(family is not None and name.startswith(family.name), line, "a sample of no family")
    suffix = name[len(family.name):]
    check(family.type in TYPES and suffix in SUFFIXES[family.type], line, "a sample of the family at hand")
    key = suffix, parse_labels(labels or "", line)
    check(key not in family.samples, line, "a series twice")
    family.samples[key] = float(value)
    if family.type != "gauge":
        check(family.samples[key] >= 0, line, "a count")


def check_histogram(family):
    groups = {}
    for (suffix, labels), value in family.samples.items():
        rest = tuple(pair for pair in labels if pair[0] != "le")
        group = groups.setdefault(rest, {"buckets": []})
        if suffix == "_bucket":
            group["buckets"].append((float(dict(labels)["le"]), value))
        else:
            group[suffix] = value
    for labels, group in groups.items():
        where = "%s %s" % (family.name, labels)
        bounds = [bound for bound, _ in group["buckets"]]
        counts = [count for _, count in group["buckets"]]
        check(bounds == sorted(set(bounds)) and bounds[-1] == float("inf"), where, "bounds that rise to +Inf")
        check(counts == sorted(counts), where, "buckets that add up")
        check(counts[-1] == group["_count"], where, "a count that is the last bucket's")
        check("_sum" in group and (group["_sum"] == 0) == (group["_count"] == 0), where, "a sum")


def check_family(family):
    check(family.type in TYPES, family.name, "a type")
    check(family.samples, family.name, "a family with samples")
    check(NAME.match(family.name), family.name, "a name")
    check((family.type == "counter") == family.name.endswith("_total"), family.name, "_total, on counters only")
    check(not FOREIGN_UNITS.search(family.name), family.name, "base units")
    check(family.help.endswith(".") and "\\" not in family.help, family.name, "a sentence of help")
    if family.type == "histogram":
        check_histogram(family)


def parse(text):
    """{family name: Family}; AssertionError for the first thing that is wrong."""
    families, family = {}, None
    check(text.endswith("\n"), text[-80:], "a newline at the end")
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, help_text = line[7:].split(" ", 1)
            check(name not in families, line, "HELP twice, or a family that is torn apart")
            family = families[name] = Family(name, help_text)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            check(family and name == family.name and family.type is None and not family.samples, line,
                  "TYPE behind HELP, in front of the samples")
            family.type = kind
        else:
            parse_sample(family, line)
    for family in families.values():
        check_family(family)
    return families


def check_monotone(before, after):
    """Nothing that is counted may fall or vanish."""
    for family in before.values():
        if family.type == "gauge":
            continue
        for key, value in family.samples.items():
            found = after[family.name].samples.get(key)
            check(found is not None and found >= value, "%s %s" % (family.name, key),
                  "a count that does not fall (%s, then %s)" % (value, found))
