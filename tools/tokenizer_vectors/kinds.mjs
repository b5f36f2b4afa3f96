// SPDX-License-Identifier: Apache-2.0
// The tokenizers that the tests use: one per way of cutting text, all without merges. train.mjs
// adds those. Nothing here comes from a published model; the patterns are of the published kinds.

const special = (content, more = {}) => ({
    content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more,
});
const byteLevel = (more = {}) => ({
    type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false, ...more,
});
const split = (pattern, behavior, invert) => ({ type: "Split", pattern, behavior, invert });
const sequence = (...pretokenizers) => ({ type: "Sequence", pretokenizers });

// TemplateProcessing over special tokens; ids are filled in by train.mjs.
const template = (head, tail) => ({
    type: "TemplateProcessing",
    single: [
        ...head.map((id) => ({ SpecialToken: { id, type_id: 0 } })),
        { Sequence: { id: "A", type_id: 0 } },
        ...tail.map((id) => ({ SpecialToken: { id, type_id: 0 } })),
    ],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: Object.fromEntries([...head, ...tail].map((id) => [id, { id, ids: [], tokens: [id] }])),
});

// Digits one by one, runs of newlines together, some LaTeX commands with the newline before them,
// one optional character before a word, operators with an optional space or line start (the ^),
// and nothing for lone marks and control characters: they are dropped.
const huginnPattern =
    "\\n\\\\(?:begin|end|item|label)\\b|\\\\[A-Za-z]{2,12}|[^\\r\\n\\p{L}\\p{N}\\\\]?\\p{L}+|\\p{N}|" +
    "(?:[ \\t]|^)[-+*/=<>^]{1,3}(?![\\p{L}])|( )?[\\p{P}\\p{S}]|\\p{So}+|[\\r\\n]+|[ \\t]+(?!\\S)|\\s+";

const llamaPattern =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|" +
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

// Possessive repeats, as tiktoken writes them; {1,3}+ is no possessive repeat in Ruby's syntax.
const possessivePattern =
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,2}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|" +
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+";

const huginnSpecials = [
    "<|begin_text|>", "<|end_text|>", "<|begin_header|>", "<|end_header|>", "<|end_turn|>", "<|pad|>",
    "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|...|>", "<|del|>",
    ...Array.from({ length: 10 }, (_, i) => `<|c_${i}|>`),
    ...Array.from({ length: 10 }, (_, i) => `<|reserved_${i}|>`),
];

export const kinds = {
    gpt2: {
        n_merges: 1400, merge_arrays: false,
        pre_tokenizer: byteLevel({ use_regex: true }),
        post_processor: { type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
        added: [special("<|endoftext|>")],
    },
    huginn: {
        n_merges: 1760, merge_arrays: true, specials_in_vocab: true,
        pre_tokenizer: sequence(split({ Regex: huginnPattern }, "Removed", true), byteLevel()),
        post_processor: template(["<|begin_text|>"], ["<|end_text|>"]),
        added: huginnSpecials.map((content) => special(content)),
    },
    llama: {
        n_merges: 1500, merge_arrays: true, ignore_merges: true,
        pre_tokenizer: sequence(split({ Regex: llamaPattern }, "Isolated", false), byteLevel()),
        post_processor: {
            type: "Sequence",
            processors: [{ type: "ByteLevel", add_prefix_space: true, trim_offsets: false, use_regex: true },
                template(["<|begin_text|>"], [])],
        },
        added: [
            special("<|begin_text|>"), special("<|end_text|>"), special("<|eot_id|>"),
            special("<mask>", { lstrip: true }), special("[SEP]", { rstrip: true }),
            special("<tool>", { special: false }), special("</tool>", { special: false }),
            special("<think>", { special: false }), special("<think>!", { special: false }),
            special("caf\u00e9!", { special: false }),
        ],
    },
    digits: {
        n_merges: 900, merge_arrays: false,
        pre_tokenizer: sequence({ type: "Punctuation", behavior: "Contiguous" },
            { type: "Digits", individual_digits: true }, byteLevel({ add_prefix_space: true, use_regex: true })),
        post_processor: null,
        added: [special("<|endoftext|>"), special("<think>", { special: false, normalized: true })],
    },
    nfc: {
        n_merges: 1200, merge_arrays: true, normalizer: { type: "NFC" },
        pre_tokenizer: sequence(split({ Regex: possessivePattern }, "Isolated", false), byteLevel()),
        post_processor: byteLevel(),
        added: [special("<|endoftext|>"), special("cafe\u0301!", { special: false, normalized: true })],
    },
};
