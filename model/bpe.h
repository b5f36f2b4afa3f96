/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/bpe.h - byte pair encoding: from the bytes of one piece to token ids.
 *
 * A piece starts as one token per byte. Again and again the neighbouring pair whose merge stands
 * earliest in the file, the leftmost of equals, becomes one token, until no pair has a merge. The
 * plain way looks at all pairs before every merge, which is quadratic, and a text without a space
 * is one piece. So pairs wait in a heap ordered by (rank, position), and tokens form a linked list:
 * a merge touches two neighbours and O(log n) of the heap.
 *
 *     l o w e r        heap: (e r, 3) (l o, 7) (o w, 9)
 *     l o w er         "e" and "er"'s old pairs are now stale; stale entries are dropped when met
 *     lo  w er
 *
 * Invariant: the result is that of the plain way (tests/model/test_bpe.c compares them).
 * Not here: how text is cut into pieces (model/pretokenizer.h).
 *
 * Threads: a struct model_bpe is immutable after load; each call brings its own scratch.
 * Source: arXiv 1508.07909; byte-level as in GPT-2.
 */
#ifndef LATENTD_MODEL_BPE_H
#define LATENTD_MODEL_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/err.h"
#include "model/tokenizer.h"
#include "model/vocab.h"

struct model_merge {
    uint64_t pair; /* left id in the high half, right id in the low; UINT64_MAX marks a free slot */
    uint32_t rank; /* index in the file: smaller goes first */
    int32_t id;    /* the token that the pair becomes */
};

struct model_bpe {
    const struct model_vocab *vocab; /* borrowed */
    struct model_merge *merges;      /* owned hash table; [mask + 1], at most half full */
    size_t mask;
    bool ignore_merges; /* a piece that is a token as it stands is taken whole */
};

/* The pieces of one call share this, so that only a longer piece than all before allocates. */
struct model_bpe_scratch {
    struct model_bpe_symbol *symbols; /* owned */
    size_t n_symbols_max;
    uint64_t *heap; /* owned; entries are rank in the high half, position in the low */
    size_t n_heap;
    size_t n_heap_max;
    uint64_t n_steps; /* heap entries taken out so far: the work done, for tests */
};

/*
 * model_bpe_load - read model.merges, in either notation ("a b" or ["a", "b"]).
 *
 * vocab  borrowed until fini; every merge's parts and result must be in its model.vocab
 * model  the object "model" of the file; merges and ignore_merges are read
 *
 * On failure nothing needs fini. Errors: LTD_E_INVALID naming the merge, LTD_E_EXHAUSTED.
 */
int model_bpe_load(struct model_bpe *bpe, const struct model_vocab *vocab, const json_t *model,
                   const char *path, struct ltd_err *err);

void model_bpe_fini(struct model_bpe *bpe);

void model_bpe_scratch_init(struct model_bpe_scratch *scratch);
void model_bpe_scratch_fini(struct model_bpe_scratch *scratch);

/*
 * model_bpe_encode - append the ids of one piece.
 *
 * piece  in  [len] any bytes; len <= UINT32_MAX / 4
 *
 * Cost:   O(len log len); 20 bytes per byte of the piece, and at most 24 of heap.
 * Errors: LTD_E_INVALID when a byte has no token in this vocabulary; LTD_E_EXHAUSTED. `out` may
 *         then hold ids of this piece; the caller cuts it back.
 */
int model_bpe_encode(const struct model_bpe *bpe, struct model_bpe_scratch *scratch,
                     const uint8_t *piece, size_t len, struct model_tokens *out,
                     struct ltd_err *err);

#endif
