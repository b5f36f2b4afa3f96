/* SPDX-License-Identifier: Apache-2.0 */
/* model/bpe.c - see model/bpe.h. */
#include "model/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/tokenizer_json.h"

#define NO_PAIR  UINT64_MAX
#define NO_RANK  UINT32_MAX
#define NO_INDEX UINT32_MAX

/* One token of the piece while it is merged. */
struct model_bpe_symbol {
    int32_t id;
    uint32_t prev; /* index of the neighbour, NO_INDEX at the ends */
    uint32_t next;
    uint32_t rank;  /* of the merge with `next`; NO_RANK when there is none or this one is gone */
    int32_t merged; /* what that merge makes */
};

/* ---- loading ---- */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct model_merge *probe(const struct model_bpe *bpe, uint64_t pair)
{
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    for (size_t i = (h ^ h >> 32) & bpe->mask;; i = (i + 1) & bpe->mask)
        if (bpe->merges[i].pair == pair || bpe->merges[i].pair == NO_PAIR)
            return &bpe->merges[i];
}

/* The two texts of a merge; false when it is written in neither notation. */
static bool merge_parts(const json_t *merge, const char *part[2], size_t len[2])
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        for (size_t i = 0; i < 2; i++) {
            const json_t *item = json_array_get(merge, i);
            part[i] = json_string_value(item);
            len[i] = json_string_length(item);
        }
        return part[0] && part[1];
    }
    const char *text = json_string_value(merge);
    const char *space = text ? strchr(text, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return false;
    part[0] = text;
    len[0] = (size_t)(space - text);
    part[1] = space + 1;
    len[1] = strlen(space + 1);
    return true;
}

/* The id of a text that a merge names; -1 with a message. */
static int32_t merge_token(const struct model_vocab *vocab, const char *text, size_t len,
                           const char *where, struct ltd_err *err)
{
    int32_t id = model_vocab_find(vocab, text, len);
    if (id >= 0 && (vocab->tokens[id].flags & MODEL_TOKEN_MODEL))
        return id;
    return ltd_fail(err, LTD_E_INVALID,
                    "%s: found token \"%s\", which is not in model.vocab, "
                    "expected a token of it",
                    where, model_excerpt(text, len).text);
}

/* The id of the token that two parts make. */
static int32_t merge_result(const struct model_vocab *vocab, const char *part[2],
                            const size_t len[2], const char *where, struct ltd_err *err)
{
    size_t total = len[0] + len[1];
    char *text = malloc(total + 1);
    if (!text)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    memcpy(text, part[0], len[0]);
    memcpy(text + len[0], part[1], len[1]);
    int32_t id = merge_token(vocab, text, total, where, err);
    free(text);
    if (id >= 0 && (vocab->tokens[id].flags & MODEL_TOKEN_SPECIAL))
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: found a merge that makes the special token "
                        "\"%s\", expected special tokens to come from no plain text",
                        where, model_excerpt(vocab->tokens[id].text, total).text);
    return id;
}

static int load_merge(struct model_bpe *bpe, const json_t *merge, uint32_t rank, const char *where,
                      struct ltd_err *err)
{
    const char *part[2];
    size_t len[2];
    if (!merge_parts(merge, part, len))
        return model_json_invalid(merge, "\"LEFT RIGHT\" or [\"LEFT\", \"RIGHT\"]", where, err);
    int32_t left = merge_token(bpe->vocab, part[0], len[0], where, err);
    int32_t right = left < 0 ? -1 : merge_token(bpe->vocab, part[1], len[1], where, err);
    int32_t id = right < 0 ? -1 : merge_result(bpe->vocab, part, len, where, err);
    if (id < 0)
        return -1;
    struct model_merge *slot = probe(bpe, pair_of(left, right));
    if (slot->pair != NO_PAIR)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: found the pair of model.merges[%u] again, expected "
                        "every pair once",
                        where, slot->rank);
    *slot = (struct model_merge){.pair = pair_of(left, right), .rank = rank, .id = id};
    return 0;
}

static int load_merges(struct model_bpe *bpe, const json_t *merges, const char *path,
                       struct ltd_err *err)
{
    size_t n_slots = 16;
    while (n_slots / 2 < json_array_size(merges))
        n_slots *= 2;
    bpe->mask = n_slots - 1;
    bpe->merges = malloc(n_slots * sizeof *bpe->merges);
    if (!bpe->merges)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu merges", path, n_slots / 2);
    memset(bpe->merges, 0xFF, n_slots * sizeof *bpe->merges); /* NO_PAIR everywhere */
    size_t i;
    const json_t *merge;
    json_array_foreach((json_t *)merges, i, merge)
    {
        char where[MODEL_WHERE_BYTES];
        model_where(where, "%s: model.merges[%zu]", path, i);
        if (load_merge(bpe, merge, (uint32_t)i, where, err) != 0)
            return -1;
    }
    return 0;
}

int model_bpe_load(struct model_bpe *bpe, const struct model_vocab *vocab, const json_t *model,
                   const char *path, struct ltd_err *err)
{
    char where[MODEL_WHERE_BYTES];
    *bpe = (struct model_bpe){.vocab = vocab};
    model_where(where, "%s: model", path);
    if (ltd_json_get_bool(model, "ignore_merges", &bpe->ignore_merges, where, err) < 0)
        return -1;
    const json_t *merges = json_object_get(model, "merges");
    model_where(where, "%s: model.merges", path);
    if (!json_is_array(merges))
        return model_json_invalid(merges, "an array of merges", where, err);
    if (load_merges(bpe, merges, path, err) != 0) {
        model_bpe_fini(bpe);
        return -1;
    }
    return 0;
}

void model_bpe_fini(struct model_bpe *bpe)
{
    free(bpe->merges);
    memset(bpe, 0, sizeof *bpe);
}

void model_bpe_scratch_init(struct model_bpe_scratch *scratch)
{
    memset(scratch, 0, sizeof *scratch);
}

void model_bpe_scratch_fini(struct model_bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    memset(scratch, 0, sizeof *scratch);
}

/* ---- the heap: smallest (rank, position) first ---- */

static void heap_push(struct model_bpe_scratch *s, uint64_t entry)
{
    size_t i = s->n_heap++;
    while (i > 0 && s->heap[(i - 1) / 2] > entry) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = entry;
}

static uint64_t heap_pop(struct model_bpe_scratch *s)
{
    uint64_t top = s->heap[0];
    uint64_t last = s->heap[--s->n_heap];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < s->n_heap && s->heap[child + 1] < s->heap[child])
            child++;
        if (child >= s->n_heap || s->heap[child] >= last)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    s->n_steps++;
    return top;
}

/* ---- encoding ---- */

/* Room for a piece of `len` bytes. A piece pushes len - 1 pairs at first and at most two per merge,
 * of which there are at most len - 1. */
static int reserve(struct model_bpe_scratch *s, size_t len, struct ltd_err *err)
{
    if (len > UINT32_MAX / 4)
        return ltd_fail(err, LTD_E_EXHAUSTED, "a piece of %zu bytes, expected at most %u", len,
                        UINT32_MAX / 4);
    if (len > s->n_symbols_max) {
        void *grown = realloc(s->symbols, len * sizeof *s->symbols);
        if (!grown)
            return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a piece of %zu bytes", len);
        s->symbols = grown;
        s->n_symbols_max = len;
    }
    if (3 * len > s->n_heap_max) {
        void *grown = realloc(s->heap, 3 * len * sizeof *s->heap);
        if (!grown)
            return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a piece of %zu bytes", len);
        s->heap = grown;
        s->n_heap_max = 3 * len;
    }
    return 0;
}

/* Look up what a symbol and its right neighbour make, and queue it. */
static void offer(const struct model_bpe *bpe, struct model_bpe_scratch *s, uint32_t at)
{
    struct model_bpe_symbol *symbol = &s->symbols[at];
    symbol->rank = NO_RANK;
    if (symbol->next == NO_INDEX)
        return;
    const struct model_merge *merge = probe(bpe, pair_of(symbol->id, s->symbols[symbol->next].id));
    if (merge->pair == NO_PAIR)
        return;
    symbol->rank = merge->rank;
    symbol->merged = merge->id;
    heap_push(s, (uint64_t)merge->rank << 32 | at);
}

/* Join a symbol with its right neighbour and queue the two new pairs. */
static void join(const struct model_bpe *bpe, struct model_bpe_scratch *s, uint32_t at)
{
    struct model_bpe_symbol *symbol = &s->symbols[at];
    struct model_bpe_symbol *gone = &s->symbols[symbol->next];
    symbol->id = symbol->merged;
    symbol->next = gone->next;
    gone->rank = NO_RANK;
    if (symbol->next != NO_INDEX)
        s->symbols[symbol->next].prev = at;
    offer(bpe, s, at);
    if (symbol->prev != NO_INDEX)
        offer(bpe, s, symbol->prev);
}

/* One symbol per byte. */
static int fill(const struct model_bpe *bpe, struct model_bpe_scratch *s, const uint8_t *piece,
                size_t len, struct ltd_err *err)
{
    for (size_t i = 0; i < len; i++) {
        int32_t id = bpe->vocab->byte_ids[piece[i]];
        if (id < 0)
            return ltd_fail(err, LTD_E_INVALID,
                            "the text holds byte 0x%02x, which has no token in "
                            "this vocabulary",
                            piece[i]);
        s->symbols[i] = (struct model_bpe_symbol){
            .id = id,
            .prev = i > 0 ? (uint32_t)i - 1 : NO_INDEX,
            .next = i + 1 < len ? (uint32_t)i + 1 : NO_INDEX,
        };
    }
    return 0;
}

int model_bpe_encode(const struct model_bpe *bpe, struct model_bpe_scratch *s, const uint8_t *piece,
                     size_t len, struct model_tokens *out, struct ltd_err *err)
{
    if (len == 0)
        return 0;
    if (bpe->ignore_merges) {
        int32_t whole = model_string_map_find(&bpe->vocab->by_bytes, piece, len);
        if (whole >= 0)
            return model_tokens_push(out, whole, err);
    }
    if (reserve(s, len, err) != 0 || fill(bpe, s, piece, len, err) != 0)
        return -1;
    s->n_heap = 0;
    for (uint32_t i = 0; i < len; i++)
        offer(bpe, s, i);
    while (s->n_heap > 0) {
        uint64_t entry = heap_pop(s);
        uint32_t at = (uint32_t)entry;
        /* An entry is stale when its pair has changed since; a pair never comes back to an old
         * rank, because every join makes a new, longer token. */
        if (s->symbols[at].rank == (uint32_t)(entry >> 32))
            join(bpe, s, at);
    }
    for (uint32_t at = 0; at != NO_INDEX; at = s->symbols[at].next)
        if (model_tokens_push(out, s->symbols[at].id, err) != 0)
            return -1;
    return 0;
}
