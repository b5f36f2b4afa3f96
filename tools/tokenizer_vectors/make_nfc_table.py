#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write model/nfc_table.c: the canonical decompositions, classes and compositions of Unicode.

The data are those of the unicodedata module of the Python that runs this; Debian 12's has Unicode
14.0, the version that its PCRE2 has too, so that normalising and cutting agree on what a character
is. Usage: make_nfc_table.py > model/nfc_table.c
"""
import sys
import unicodedata as ud

HANGUL = range(0xAC00, 0xAC00 + 11172)


def decompositions():
    """(code, first, second), second 0 for a single code point; one level, not the full one."""
    for code in range(sys.maxunicode + 1):
        text = ud.decomposition(chr(code))
        if text and not text.startswith("<") and code not in HANGUL:
            parts = [int(part, 16) for part in text.split()]
            yield code, parts[0], parts[1] if len(parts) > 1 else 0


def class_ranges():
    """(first, last, class) of the code points whose combining class is not 0."""
    first = last = value = None
    for code in range(sys.maxunicode + 2):
        found = ud.combining(chr(code)) if code <= sys.maxunicode else 0
        if value and found != value:
            yield first, last, value
        if found != value:
            first = code
        last, value = code, found


def compositions(rows):
    """(first, second, code): the pairs that NFC puts together, sorted by pair."""
    return sorted((a, b, code) for code, a, b in rows
                  if b and ud.normalize("NFC", chr(a) + chr(b)) == chr(code))


def emit(name, kind, rows):
    print(f"\nconst struct {kind} model_{name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(f"0x{v:X}" if v > 255 else str(v) for v in row) + "},"
        if len(line) + len(item) > 100:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")
    print(f"const size_t model_n_{name} = {len(rows)};")


def main():
    rows = list(decompositions())
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/*")
    print(" * model/nfc_table.c - the tables of model/nfc.c; see model/nfc_table.h.")
    print(" *")
    print(" * Written by tools/tokenizer_vectors/make_nfc_table.py from the Unicode Character")
    print(f" * Database, version {ud.unidata_version}. Not to be edited.")
    print(" */")
    print("/* clang-format off */")
    print('#include "model/nfc_table.h"')
    emit("nfc_decompositions", "model_nfc_decomposition", rows)
    emit("nfc_classes", "model_nfc_class", list(class_ranges()))
    emit("nfc_compositions", "model_nfc_composition", compositions(rows))


main()
