#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print the strings of the tokenizer tests as JSON: {"strings": [...], "categories": {...}}.

Every general category of Unicode gets its share, then come the texts that have broken tokenizers
before: runs of white space, emoji glued by joiners, marks without a letter, special tokens spelt
out. The characters are those of this Python's Unicode version (14.0 in Debian 12, the same as in
its PCRE2); `categories` lets vectors.mjs check that the JavaScript engine agrees about each.
The seed is fixed: the output is always the same.
"""
import json
import random
import unicodedata as ud

rng = random.Random(20240229)

PER_CATEGORY = 14
SHAPES = ["{c}", "a{c}b", " {c}", "{c}{c}{c}", "x {c} 1{c}", "'{c}s\n{c}"]
TOKENS = [
    "<|begin_text|>", "<|end_text|>", "<|begin_header|>", "<|end_header|>", "<|end_turn|>",
    "<|pad|>", "<|c_0|>", "<|endoftext|>", "<|eot_id|>", "<tool>", "</tool>", "<think>", "<mask>",
    "[SEP]", "caf\u00e9!",
]
EMOJI = [
    "\U0001F600", "\U0001F468\u200d\U0001F469\u200d\U0001F467\u200d\U0001F466",
    "\U0001F3F3\ufe0f\u200d\U0001F308", "\U0001F1E9\U0001F1EA", "\U0001F1E9", "1\ufe0f\u20e3",
    "\U0001F44D\U0001F3FD", "\u2764\ufe0f", "\u2764\ufe0f\u200d\U0001F525",
    "\U0001F9D1\U0001F3FF\u200d\U0001F680", "\u263a", "\U0001F3F4\U000E0067\U000E0062\U000E007F",
]
WHITE = [" ", "  ", "\t", "\n", "\r\n", "\n\n", "\r", "\u00a0", "\u3000", "\u2003", "\u2028",
         "\u200b", "\x0b", "\x0c", "\u1680", "\u180e", "\u202f"]
WORDS = [
    "the", "Latent", "depth", "don't", "WE'LL", "I'm", "they've", "he'd", "it's", "IT'S", "'S", "'lL",
    "Stra\u00dfe", "na\u00efve", "na\u0131ve", "\u0130stanbul", "\u01c5ep", "ﬁnd", "\ufb01",
    "\u00e9t\u00e9", "e\u0301te\u0301", "\u1e9b\u0323", "A\u030angstro\u0308m", "\u212bngstrom",
    "\u041f\u0440\u0438\u0432\u0435\u0442", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "\u65e5\u672c\u8a9e", "\u6c49\u5b57\u6f22\u5b57", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab",
    "\u3072\u3089\u304c\u306a", "\u30ab\u30bf\u30ab\u30ca", "\uff76\uff9e",
    "\u05e9\u05dc\u05d5\u05dd", "\u0645\u0631\u062d\u0628\u0627", "\u0645\u064f\u062d\u064e",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0ba8\u0bbf",
    "\u1ea1\u0302", "q\u0307\u0323", "q\u0323\u0307", "zal\u0335\u0321\u0322go", "\u0958", "\u2126",
]
CODE = [
    "int main(void)\n{\n\treturn 0;\n}\n", "for (i = 0; i < n; i++) a[i] += b[i] * 2;",
    "def f(x):\n    return x**2  # square\n\n\nprint(f(3))", "if (a && !b || c != 0x1F) { x->y = &z; }",
    "SELECT * FROM jobs WHERE id='01J8' AND t >= 10;", "#include <stdio.h>\r\n#define X(a) #a\r\n",
    "\\begin{equation}\n\\frac{a}{b} = \\sqrt{x^2+y_1}\n\\end{equation}",
    "\n\\begin{itemize}\n\\item one\n\\item[2] two\n\\end{itemize}\n\\label{fig:1}",
    "\\alpha\\beta \\gamma^{2}_{i}$x$ $$y$$", "https://example.org/a/b?c=d&e=f#g", "a@b.example",
    "{\"key\": [1, 2.5e-3, null, true], \"k\\\"2\": \"v\"}", "<a href='x'>y</a><!-- z -->", "--", "->",
    "=>", "...", "!?!?", "***bold*** __x__ `code` ~~s~~", "C:\\temp\\new\\table", "x^2 + ^ - ^^",
    "^start\n^line\n  ^indented", "a - b -c- -d --e", "1+1=2", "3 + 4 * 5 = 23", "-1 - -1",
]
NUMBERS = ["0", "7", "42", "123", "1234", "1234567890" * 3, "3.14159", "1,000,000", "1e-9", "0x1F", "2nd",
           "12ab34", "\u0661\u0662\u0663\u0664", "\u00bd\u00b2", "\u2167", "\u4e09", "\U0001D7D8\U0001D7D9"]


def by_category():
    pools = {}
    for code in range(0x110000):
        category = ud.category(chr(code))
        if category != "Cs" and category != "Cn":
            pools.setdefault(category, []).append(chr(code))
    pools["Cn"] = ["\uffff", "\ufdd0", "\U0010ffff"]
    return pools


def lookalikes():
    for token in TOKENS:
        yield token
        yield f"a{token}b"
        yield f"  {token}  "
        yield f"\t\n{token}\n\n{token}"
        yield token * 3
        yield token[:-1]
        yield token[1:]
        yield token[:-1] + " " + token[-1]
        yield token.upper()
        yield f"one {token} two {rng.choice(TOKENS)}three"
        yield f"\u0120{token}\u00a0x"
        yield f"word{token}word {token}."


def main():
    pools = by_category()
    strings = ["", " ", "\n", "\x00", "a\x00b\x00\x00c"]
    for category in sorted(pools):
        for char in rng.sample(pools[category], min(PER_CATEGORY, len(pools[category]))):
            strings += [shape.replace("{c}", char) for shape in SHAPES]
    strings += [chr(c) for c in range(256)]
    strings += lookalikes()
    for group in (EMOJI, WHITE, WORDS, CODE, NUMBERS):
        strings += group
        strings += ["".join(rng.choice(group) for _ in range(rng.randint(2, 6))) for _ in range(40)]
    everything = EMOJI + WHITE * 2 + WORDS * 2 + CODE + NUMBERS * 2
    for _ in range(260):
        strings.append("".join(rng.choice(everything) for _ in range(rng.randint(2, 9))))
    for _ in range(60):
        pool = [rng.choice(pools[rng.choice(sorted(pools))]) for _ in range(6)] + [" ", "a", "\n"]
        strings.append("".join(rng.choice(pool) for _ in range(rng.randint(3, 24))))
    for unit in ("a", " ", "\n", "ab", "\u0301", "\U0001F600", "1", "!", "\t ", " \n", "aA ", "\r\n"):
        strings += [unit * n for n in (2, 3, 5, 17, 64, 300)]
    strings = list(dict.fromkeys(strings))
    categories = {}
    for char in sorted(set("".join(strings))):
        categories[ud.category(char)] = categories.get(ud.category(char), "") + char
    print(json.dumps({"strings": strings, "categories": categories}, indent=0))


main()
