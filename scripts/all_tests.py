#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""all_tests.py - one ctest list over several builds, so that one summary counts everything.

    all_tests.py OUT_DIR PREFIX=BUILD_DIR[:LABEL] ...

Writes OUT_DIR/CTestTestfile.cmake with every test of every BUILD_DIR (only those with LABEL, where
one is given), its name preceded by PREFIX. Properties are taken over as `ctest --show-only` reports
them; names inside DEPENDS get the prefix too, and locks do not: two builds that need the machine for
themselves must not run at once.
"""
import json
import os
import subprocess
import sys

# How much slower a test may be in a build; the sanitizers cost about this much and the machine is
# shared. Only limits grow, so a fast machine loses nothing.
TIME_SCALE = {"release.": 1, "asan.": 4, "tsan.": 10, "fuzz.": 1}


def quote(text):
    """A CMake bracket argument: nothing inside is interpreted."""
    level = 0
    while "]" + "=" * level + "]" in text:
        level += 1
    return "[%s[%s]%s]" % ("=" * level, text, "=" * level)


def tests_of(build_dir, label):
    command = ["ctest", "--test-dir", build_dir, "--show-only=json-v1"]
    if label:
        command += ["-L", "^%s$" % label]
    shown = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return [test for test in shown["tests"] if test.get("command")]


def property_lines(prefix, test):
    for item in test.get("properties", []):
        name, value = item["name"], item["value"]
        if name == "WILL_FAIL" or isinstance(value, bool):
            value = "TRUE" if value else "FALSE"
        if name == "TIMEOUT":
            value = float(value) * TIME_SCALE.get(prefix, 1)
        if name == "DEPENDS":
            value = [prefix + one for one in value]
        if name in ("RESOURCE_LOCK", "LABELS", "ENVIRONMENT", "DEPENDS", "REQUIRED_FILES"):
            value = ";".join(value)
        if isinstance(value, (list, dict)):
            if not value:
                continue
            value = ";".join(value)
        yield "  %s %s" % (name, quote("%s" % value))


def main():
    out_dir, builds = sys.argv[1], sys.argv[2:]
    os.makedirs(out_dir, exist_ok=True)
    lines, count = [], {}
    for build in builds:
        prefix, build_dir = build.split("=", 1)
        build_dir, _, label = build_dir.partition(":")
        for test in tests_of(build_dir, label):
            name = quote(prefix + test["name"])
            lines.append("add_test(%s %s)" % (name, " ".join(quote(a) for a in test["command"])))
            properties = list(property_lines(prefix, test))
            if properties:
                lines += ["set_tests_properties(%s PROPERTIES" % name] + properties + [")"]
            count[prefix] = count.get(prefix, 0) + 1
    with open(os.path.join(out_dir, "CTestTestfile.cmake"), "w") as out:
        out.write("\n".join(lines) + "\n")
    print("tests: " + ", ".join("%s %d" % (p.rstrip("."), n) for p, n in count.items()))
    empty = [b for b in builds if b.split("=", 1)[0] not in count]
    if empty:
        sys.exit("all_tests.py: no tests in %s" % ", ".join(empty))


if __name__ == "__main__":
    main()
