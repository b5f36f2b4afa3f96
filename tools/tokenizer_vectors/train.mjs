// SPDX-License-Identifier: Apache-2.0
// Writes one small tokenizer.json per kind: a plain byte pair encoding trainer. The text is that of
// some licences (on every Debian machine) and the strings of make_strings.py, so runs of this file
// agree where those agree. Usage: node train.mjs tests/data/tokenizer
import fs from "node:fs";
import path from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { kinds } from "./kinds.mjs";

const out = process.argv[2];
const licences = ["GPL-3", "Apache-2.0", "LGPL-2.1", "MPL-2.0"];
const strings = JSON.parse(fs.readFileSync(path.join(out, "strings.json"), "utf8")).strings;
const texts = [...licences.map((name) => fs.readFileSync(`/usr/share/common-licenses/${name}`, "utf8")),
    ...strings, ...strings.filter((s) => s.length > 12)];

// The 256 characters of the byte alphabet, in the order of the bytes' own characters, then others.
const isPlain = (b) => (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b !== 0xad);
const bytes = Array.from({ length: 256 }, (_, b) => b);
const alphabet = [...bytes.filter(isPlain).map((b) => String.fromCodePoint(b)),
    ...bytes.filter((b) => !isPlain(b)).map((_, i) => String.fromCodePoint(256 + i))];

function skeleton(kind) {
    return {
        version: "1.0", truncation: null, padding: null, added_tokens: [],
        normalizer: kind.normalizer ?? null, pre_tokenizer: kind.pre_tokenizer,
        post_processor: kind.post_processor, decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
        model: {
            type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: kind.merge_arrays ? null : "",
            end_of_word_suffix: kind.merge_arrays ? null : "", fuse_unk: false, byte_fallback: false,
            ignore_merges: kind.ignore_merges ?? false,
            vocab: Object.fromEntries(alphabet.map((c, i) => [c, i])), merges: [],
        },
    };
}

function countWords(file) {
    const tok = new Tokenizer(file, {});
    const words = new Map();
    for (const text of texts)
        for (const word of tok.pre_tokenizer(tok.normalizer ? tok.normalizer(text) : text))
            words.set(word, (words.get(word) ?? 0) + 1);
    return [...words].map(([word, count]) => ({ parts: [...word], count }));
}

// The most frequent pair, the alphabetically first of equals.
function bestPair(words) {
    const counts = new Map();
    for (const { parts, count } of words)
        for (let i = 0; i + 1 < parts.length; i++) {
            const pair = parts[i] + " " + parts[i + 1];
            counts.set(pair, (counts.get(pair) ?? 0) + count);
        }
    let best = null;
    for (const [pair, count] of counts)
        if (!best || count > best.count || (count === best.count && pair < best.pair))
            best = { pair, count };
    return best;
}

function merge(words, left, right) {
    for (const word of words)
        for (let i = 0; i + 1 < word.parts.length; i++)
            if (word.parts[i] === left && word.parts[i + 1] === right)
                word.parts.splice(i, 2, left + right);
}

function addTokens(file, kind) {
    let next = Object.keys(file.model.vocab).length;
    for (const token of kind.added) {
        const id = next++;
        file.added_tokens.push({ id, ...token });
        if (kind.specials_in_vocab)
            file.model.vocab[token.content] = id;
        for (const post of [file.post_processor, ...(file.post_processor?.processors ?? [])])
            if (post?.special_tokens?.[token.content])
                post.special_tokens[token.content].ids = [id];
    }
}

for (const [name, kind] of Object.entries(kinds)) {
    const file = skeleton(kind);
    let words = countWords(file);
    while (file.model.merges.length < kind.n_merges) {
        words = words.filter((word) => word.parts.length > 1);
        const best = bestPair(words);
        if (!best || best.count < 2)
            break;
        const [left, right] = best.pair.split(" ");
        merge(words, left, right);
        file.model.merges.push(kind.merge_arrays ? [left, right] : best.pair);
        file.model.vocab[left + right] ??= Object.keys(file.model.vocab).length;
    }
    addTokens(file, kind);
    const target = path.join(out, `${name}.tokenizer.json`);
    fs.writeFileSync(target, JSON.stringify(file) + "\n");
    console.log(target, file.model.merges.length, "merges", fs.statSync(target).size, "bytes");
}
