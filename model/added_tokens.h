/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/added_tokens.h - finds the tokens that are matched as a whole, before everything else.
 *
 *     "Hi<|end_turn|> there"  ->  text "Hi", token <|end_turn|>, text " there"
 *
 * Matching is leftmost, then longest. Tokens marked `normalized` are looked for in the normalised
 * text, the others before that in the text as it came, so there are two sets. The texts of a set
 * are kept sorted; walking along the text narrows a range of them byte by byte, which costs a
 * binary search per byte and no memory beyond the list (a trie of the usual kind would need
 * hundreds of megabytes for a vocabulary full of added tokens).
 *
 * Options of a token, as the public library has them: single_word (no word character touches it),
 * lstrip and rstrip (white space on that side belongs to it).
 *
 * Threads: immutable after load.
 */
#ifndef LATENTD_MODEL_ADDED_TOKENS_H
#define LATENTD_MODEL_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/bytes.h"
#include "base/err.h"
#include "model/pattern.h"

/* Keeps the worst text, one that almost matches everywhere, cheap. The longest in use has 40. */
#define MODEL_ADDED_MAX_BYTES 256

struct model_added_token {
    char *text; /* owned; [len], normalised in the set of normalised ones */
    size_t len;
    int32_t id;
    bool special;
    bool single_word;
    bool lstrip;
    bool rstrip;
};

/* Tokens of one kind, sorted by bytes. */
struct model_added_set {
    struct model_added_token *tokens; /* owned; [n] */
    size_t n;
    uint32_t first[257];               /* tokens that begin with byte b: [first[b], first[b+1]) */
    const struct model_pattern *words; /* borrowed; one word character, NULL when nobody asks */
};

struct model_added_tokens {
    struct model_added_set raw;        /* looked for in the text as it came */
    struct model_added_set normalized; /* looked for in the normalised text */
    struct model_pattern *words;       /* owned */
};

/* Brings a text to the file's normal form: appends it to `out`. */
typedef int (*model_normalize_fn)(const char *text, size_t len, struct ltd_bytes *out,
                                  struct ltd_err *err);

/*
 * model_added_tokens_load - read the array "added_tokens", whose ids model/vocab.h has checked.
 *
 * normalize  the file's normalizer, NULL when it has none
 *
 * On failure nothing needs fini. Errors: LTD_E_INVALID, LTD_E_UNIMPLEMENTED, LTD_E_EXHAUSTED.
 */
int model_added_tokens_load(struct model_added_tokens *added, const json_t *value,
                            model_normalize_fn normalize, const char *path, struct ltd_err *err);

void model_added_tokens_fini(struct model_added_tokens *added);

/* A place in a text that is being searched. */
struct model_added_scan {
    const struct model_added_set *set;
    const char *text; /* [len] well-formed UTF-8 */
    size_t len;
    bool parse_special; /* false: special tokens are plain text */
    size_t at;          /* search goes on here */
    size_t taken;       /* text before this belongs to tokens or was handed out */
    struct model_pattern_run *match;
};

/* A token and the text that was passed over before it. */
struct model_added_hit {
    size_t text_begin, text_end; /* plain text; may be empty */
    int32_t id;                  /* -1: no further token, the plain text is the rest */
};

/* Returns 1 with the next hit, 0 when the text is used up, -1 with a message. */
int model_added_scan_next(struct model_added_scan *scan, struct model_added_hit *hit,
                          struct ltd_err *err);

#endif
