// SPDX-License-Identifier: Apache-2.0
// What npm's @huggingface/tokenizers makes of every string and of many id lists, per tokenizer.
// Usage: node vectors.mjs tests/data/tokenizer [NAME TOKENIZER.json]
//
// Four things are left out, because there the JavaScript library is known to differ from the Rust
// one, which is the original and whose rules latentd follows (docs/tokenizer.md):
//   - ByteLevel's own pattern: JavaScript's \s has U+FEFF and lacks U+0085;
//   - Digits: JavaScript's \d is ASCII only, the original takes every character of category N;
//   - Punctuation: the library joins neighbours whatever the behavior is (the test file says
//     Contiguous, where both agree);
//   - (?i:...): the library folds ASCII letters only, so U+017F is no s and U+212A no k to it.
import fs from "node:fs";
import path from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { kinds } from "./kinds.mjs";

const out = process.argv[2];
const { strings, categories } = JSON.parse(fs.readFileSync(path.join(out, "strings.json"), "utf8"));

for (const [category, chars] of Object.entries(categories))
    for (const char of chars)
        if (!new RegExp(`^\\p{gc=${category}}$`, "u").test(char))
            throw new Error(`U+${char.codePointAt(0).toString(16)}: the strings say ${category}, this engine disagrees`);

let seed = 12345;
const random = (n) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % n;
};

const usesOwnPattern = (pre) => pre.type === "ByteLevel" ? pre.use_regex : (pre.pretokenizers ?? []).some(usesOwnPattern);
const usesDigits = (pre) => pre.type === "Digits" || (pre.pretokenizers ?? []).some(usesDigits);

function isComparable(file, text) {
    if (usesOwnPattern(file.pre_tokenizer) && /[\u0085\ufeff]/.test(text))
        return false;
    if (JSON.stringify(file.pre_tokenizer).includes("(?i:") && /[\u017f\u212a]/.test(text))
        return false;
    return !(usesDigits(file.pre_tokenizer) && /[^\P{N}0-9]/u.test(text));
}

function decodeCases(file, tok, encoded) {
    const n_ids = tok.model.vocab.length;
    const specials = file.added_tokens.map((t) => t.id);
    const lists = [];
    for (let i = 0; i < 150; i++)
        lists.push(Array.from({ length: 1 + random(12) }, () => random(n_ids)));
    for (let i = 0; i < 150; i++) // single bytes: mostly broken UTF-8
        lists.push(Array.from({ length: 1 + random(10) }, () => random(8) ? random(256) : specials[random(specials.length)]));
    const long = encoded.filter((ids) => ids && ids.length > 3);
    for (let i = 0; i < 100; i++) { // real texts, cut and with special tokens in the middle
        const ids = [...long[random(long.length)]].slice(random(3));
        ids.splice(random(ids.length), random(2), specials[random(specials.length)]);
        lists.push(ids.slice(0, 24));
    }
    const decode = (ids, skip) => tok.decode(ids, { skip_special_tokens: skip, clean_up_tokenization_spaces: false });
    return lists.filter((ids) => ids.length).map((ids) => [ids, decode(ids, false), decode(ids, true)]);
}

function write(name, file) {
    const tok = new Tokenizer(file, {});
    const encode = (text, special) => tok.encode(text, { add_special_tokens: special }).ids;
    const encoded = strings.map((text) => isComparable(file, text) ? encode(text, false) : null);
    const rows = strings.map((text, i) => {
        if (!encoded[i])
            return null;
        const decoded = encoded[i].length ? tok.decode(encoded[i], { clean_up_tokenization_spaces: false }) : "";
        return decoded === text ? [encoded[i]] : [encoded[i], decoded];
    });
    const with_special = strings.slice(0, 2000).filter((_, i) => i % 40 === 3 && encoded[i])
        .map((text) => [text, encode(text, true)]);
    const result = { encode: rows, with_special, decode: decodeCases(file, tok, encoded) };
    const lines = (list) => "[\n" + list.map((row) => JSON.stringify(row)).join(",\n") + "\n]";
    const text = `{"encode": ${lines(result.encode)},\n"with_special": ${lines(with_special)},\n"decode": ${lines(result.decode)}}\n`;
    fs.writeFileSync(path.join(out, `${name}.vectors.json`), text);
    console.log(name, encoded.filter((x) => x).length, "of", strings.length, "strings,", result.decode.length, "decodings,", text.length, "bytes");
}

if (process.argv[3])
    write(process.argv[3], JSON.parse(fs.readFileSync(process.argv[4], "utf8")));
else
    for (const name of Object.keys(kinds))
        write(name, JSON.parse(fs.readFileSync(path.join(out, `${name}.tokenizer.json`), "utf8")));
