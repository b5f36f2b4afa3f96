/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/nfc.c - see model/nfc.h.
 *
 * The three passes of the standard, over arrays: take every character apart, sort each run of
 * combining marks by class (stably: equal classes keep their order), put pairs together again.
 */
#include "model/nfc.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/utf8.h"
#include "model/nfc_table.h"

/* Hangul syllables are numbered by their letters; Unicode standard, section 3.12. */
#define HANGUL_BASE 0xAC00u
#define LEAD_BASE   0x1100u
#define VOWEL_BASE  0x1161u
#define TAIL_BASE   0x11A7u
#define N_LEADS     19u
#define N_VOWELS    21u
#define N_TAILS     28u
#define N_SYLLABLES (N_LEADS * N_VOWELS * N_TAILS)

/* No character takes more than four code points apart (U+1F82 and its like). */
#define PARTS_MAX 4

struct letters {
    uint32_t *codes;  /* [n] */
    uint8_t *classes; /* [n] combining classes */
    size_t n;
};

/* ---- tables ---- */

static const struct model_nfc_decomposition *find_decomposition(uint32_t code)
{
    size_t begin = 0, end = model_n_nfc_decompositions;
    while (begin < end) {
        size_t mid = begin + (end - begin) / 2;
        if (model_nfc_decompositions[mid].code == code)
            return &model_nfc_decompositions[mid];
        if (model_nfc_decompositions[mid].code < code)
            begin = mid + 1;
        else
            end = mid;
    }
    return NULL;
}

static uint8_t find_class(uint32_t code)
{
    size_t begin = 0, end = model_n_nfc_classes;
    while (begin < end) {
        size_t mid = begin + (end - begin) / 2;
        if (code < model_nfc_classes[mid].first)
            end = mid;
        else if (code > model_nfc_classes[mid].last)
            begin = mid + 1;
        else
            return model_nfc_classes[mid].value;
    }
    return 0;
}

/* What two code points make, 0 when nothing. */
static uint32_t find_composition(uint32_t first, uint32_t second)
{
    if (first - LEAD_BASE < N_LEADS && second - VOWEL_BASE < N_VOWELS)
        return HANGUL_BASE + ((first - LEAD_BASE) * N_VOWELS + (second - VOWEL_BASE)) * N_TAILS;
    if (first - HANGUL_BASE < N_SYLLABLES && (first - HANGUL_BASE) % N_TAILS == 0 &&
        second - TAIL_BASE - 1 < N_TAILS - 1)
        return first + (second - TAIL_BASE);
    uint64_t wanted = (uint64_t)first << 32 | second;
    size_t begin = 0, end = model_n_nfc_compositions;
    while (begin < end) {
        size_t mid = begin + (end - begin) / 2;
        const struct model_nfc_composition *row = &model_nfc_compositions[mid];
        uint64_t pair = (uint64_t)row->first << 32 | row->second;
        if (pair == wanted)
            return row->code;
        if (pair < wanted)
            begin = mid + 1;
        else
            end = mid;
    }
    return 0;
}

/* ---- the passes ---- */

static void append(struct letters *l, uint32_t code)
{
    l->codes[l->n] = code;
    l->classes[l->n++] = code < 0x300 ? 0 : find_class(code);
}

static void take_apart(struct letters *l, uint32_t code)
{
    if (code - HANGUL_BASE < N_SYLLABLES) {
        uint32_t at = code - HANGUL_BASE;
        append(l, LEAD_BASE + at / (N_VOWELS * N_TAILS));
        append(l, VOWEL_BASE + at % (N_VOWELS * N_TAILS) / N_TAILS);
        if (at % N_TAILS)
            append(l, TAIL_BASE + at % N_TAILS);
        return;
    }
    /* Only the first of two parts can have parts itself, so the seconds wait in a short stack. */
    uint32_t waiting[PARTS_MAX];
    size_t n_waiting = 0;
    const struct model_nfc_decomposition *row;
    while (code >= 0xC0 && (row = find_decomposition(code)) && n_waiting < PARTS_MAX) {
        if (row->second)
            waiting[n_waiting++] = row->second;
        code = row->first;
    }
    append(l, code);
    while (n_waiting > 0)
        append(l, waiting[--n_waiting]);
}

/* Stable counting sort of a run of marks. `spare` has room for [n]. */
static void sort_run(uint32_t *codes, uint8_t *classes, size_t n, uint32_t *spare)
{
    size_t next[257] = {0};
    for (size_t i = 0; i < n; i++)
        next[classes[i] + 1]++;
    for (size_t c = 0; c < 256; c++)
        next[c + 1] += next[c];
    for (size_t i = 0; i < n; i++)
        spare[next[classes[i]]++] = codes[i];
    memcpy(codes, spare, n * sizeof *codes);
    for (size_t i = 0; i < n; i++)
        classes[i] = find_class(codes[i]);
}

static void sort_marks(struct letters *l, uint32_t *spare)
{
    for (size_t begin = 0; begin < l->n; begin++) {
        size_t end = begin;
        int sorted = 1;
        for (; end < l->n && l->classes[end] != 0; end++)
            sorted &= end == begin || l->classes[end - 1] <= l->classes[end];
        if (!sorted)
            sort_run(l->codes + begin, l->classes + begin, end - begin, spare);
        begin = end;
    }
}

/* Each mark joins the last starter unless a mark between them has the same class or a higher one.
 */
static void put_together(struct letters *l)
{
    size_t starter = SIZE_MAX;
    size_t out = 0;
    int last_class = -1; /* of what stands between the starter and here; -1 for nothing */
    for (size_t i = 0; i < l->n; i++) {
        uint8_t class = l->classes[i];
        uint32_t made =
            starter != SIZE_MAX && last_class < (int)class ? find_composition(l->codes[starter],
                                                                              l->codes[i])
                                                           : 0;
        if (made) {
            l->codes[starter] = made;
            continue;
        }
        if (class == 0) {
            starter = out;
            last_class = -1;
        } else {
            last_class = class;
        }
        l->codes[out] = l->codes[i];
        l->classes[out++] = class;
    }
    l->n = out;
}

static void encode(const struct letters *l, struct ltd_bytes *out)
{
    for (size_t i = 0; i < l->n; i++) {
        uint8_t utf8[4];
        ltd_bytes_put(out, utf8, (size_t)ltd_utf8_put(l->codes[i], utf8));
    }
}

int model_nfc(const char *text, size_t len, struct ltd_bytes *out, struct ltd_err *err)
{
    size_t plain = 0; /* below U+0300 (lead byte 0xCC) nothing changes */
    while (plain < len && (uint8_t)text[plain] < 0xCC)
        plain++;
    if (plain == len) {
        ltd_bytes_put(out, text, len);
        return out->failed ? ltd_fail(err, LTD_E_EXHAUSTED, "no memory to normalise") : 0;
    }
    struct letters l = {.codes = NULL};
    uint32_t *spare = NULL;
    size_t n_max;
    if (ltd_size_mul(len, PARTS_MAX / 2, &n_max)) {
        l.codes = malloc(n_max * sizeof *l.codes);
        l.classes = malloc(n_max);
        spare = malloc(n_max * sizeof *spare);
    }
    bool done = l.codes && l.classes && spare;
    for (size_t at = 0; done && at < len;) {
        uint32_t code = 0;
        at += (size_t)ltd_utf8_next((const uint8_t *)text + at, len - at, &code);
        take_apart(&l, code);
    }
    if (done) {
        sort_marks(&l, spare);
        put_together(&l);
        encode(&l, out);
    }
    free(spare);
    free(l.classes);
    free(l.codes);
    return done && !out->failed ? 0 : ltd_fail(err, LTD_E_EXHAUSTED, "no memory to normalise");
}
