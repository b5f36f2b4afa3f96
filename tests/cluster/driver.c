/* SPDX-License-Identifier: Apache-2.0 */
/* tests/cluster/driver.c - see tests/cluster/driver.h. */
#include "driver.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "model/latent.h"

#define N_SEQS        4
#define N_ROWS        70 /* more than a block of the executor's row table */
#define MAX_BATCH     16
#define PAGES_PER_SEQ 6
#define N_PAGES       (N_SEQS * PAGES_PER_SEQ)
#define MAX_CHUNK     4
#define MAX_WIDTH     128

struct clus_limits driver_limits(const struct model_config *config)
{
    return (struct clus_limits){.n_embd = config->n_embd,
                                .block_size = config->max_positions,
                                .page_positions = KERN_PAGE_POSITIONS,
                                .n_rows = N_ROWS,
                                .n_seqs = N_SEQS,
                                .n_pages = N_PAGES,
                                .max_batch = MAX_BATCH};
}

uint64_t driver_hash(uint64_t hash, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ at[i]) * 0x100000001B3u;
    return hash;
}

int driver_hash_reply(const struct clus_limits *limits, const struct clus_reply *reply,
                      uint64_t *hash, struct ltd_err *err)
{
    struct ltd_bytes bytes;
    ltd_bytes_init(&bytes);
    int rc = clus_reply_encode(reply, limits, &bytes, err);
    if (rc == 0)
        *hash = driver_hash(*hash, bytes.data, bytes.len);
    ltd_bytes_fini(&bytes);
    return rc;
}

static int run(const struct driver_port *port, const struct clus_tick *tick,
               struct clus_reply *reply, struct ltd_err *err)
{
    if (port->run(port->arg, tick, reply, err))
        return -1;
    if (reply->tick_id != tick->tick_id)
        return ltd_fail(err, LTD_E_INTERNAL, "reply to tick %llu, expected %llu",
                        (unsigned long long)reply->tick_id, (unsigned long long)tick->tick_id);
    if (reply->err.code != LTD_OK)
        return ltd_fail(err, reply->err.code, "tick %llu refused: %s",
                        (unsigned long long)tick->tick_id, reply->err.msg);
    return 0;
}

/* ---- the mixed stream --------------------------------------------------------------------- */

struct sequence {
    int32_t pages[PAGES_PER_SEQ];
    int32_t n_pages, n_shared, n_positions;
    int32_t rows[MAX_CHUNK]; /* of the positions that run, ascending */
    int32_t first;           /* position of rows[0] */
    int32_t n_running, step, depth;
};

struct mixer {
    const struct clus_limits *limits;
    uint64_t random;
    bool has_early;
    struct sequence seqs[N_SEQS];
    int32_t n_refs[N_PAGES];             /* of each page: sequences that have it */
    int32_t kept[PAGES_PER_SEQ], n_kept; /* full pages that a closed sequence left */
    bool is_kept[N_PAGES];               /* is it one of them? */
    int32_t free_pages[N_PAGES], n_free_pages;
    int32_t free_rows[N_ROWS], n_free_rows;
    float vectors[2 * MAX_BATCH][MAX_WIDTH];
    int32_t closed[N_SEQS], released[N_PAGES];
    struct clus_page pages[N_PAGES];
    struct clus_start starts[MAX_BATCH];
    struct clus_entry entries[MAX_BATCH];
    struct clus_tick tick;
};

static uint32_t draw(struct mixer *m, uint32_t n)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->random >> 33) % n;
}

/* Nobody has the page and nobody shall: its number can be used again, from this tick on. */
static void mix_release(struct mixer *m, int32_t page)
{
    if (m->n_refs[page] > 0 || m->is_kept[page])
        return;
    m->released[m->tick.n_released++] = page;
    m->free_pages[m->n_free_pages++] = page;
}

static void mix_forget(struct mixer *m)
{
    while (m->n_kept > 0) {
        int32_t page = m->kept[--m->n_kept];
        m->is_kept[page] = false;
        mix_release(m, page);
    }
}

/* Pages whose positions all have been stepped and will not be again. */
static int32_t n_whole(const struct sequence *seq)
{
    return (seq->n_running > 0 ? seq->first : seq->n_positions) / KERN_PAGE_POSITIONS;
}

/* The full pages of a sequence that closes stay for the next one that begins like it. */
static void mix_keep(struct mixer *m, const struct sequence *seq)
{
    mix_forget(m);
    for (int32_t i = 0; i < n_whole(seq); i++) {
        m->kept[m->n_kept++] = seq->pages[i];
        m->is_kept[seq->pages[i]] = true;
    }
}

static void mix_close(struct mixer *m, int32_t idx)
{
    struct sequence *seq = &m->seqs[idx];
    if (draw(m, 2) == 0)
        mix_keep(m, seq);
    for (int32_t i = 0; i < seq->n_pages; i++) {
        m->n_refs[seq->pages[i]]--;
        mix_release(m, seq->pages[i]);
    }
    while (seq->n_running > 0)
        m->free_rows[m->n_free_rows++] = seq->rows[--seq->n_running];
    seq->n_pages = seq->n_shared = seq->n_positions = 0;
    m->closed[m->tick.n_closed++] = idx;
}

static void mix_start(struct mixer *m, struct clus_start *start, int32_t row, int32_t position)
{
    int32_t n = m->limits->n_embd, i = (int32_t)(start - m->starts);
    uint64_t seed = m->random;
    *start = (struct clus_start){.row = row,
                                 .position = position,
                                 .kind = (enum clus_start_kind)draw(m, 3),
                                 .injected = m->vectors[2 * i]};
    model_latent_init(m->vectors[2 * i], n, seed, position, 1.0f);
    if (start->kind == CLUS_START_SEED) {
        start->seed = ~seed;
        start->init_scale = 1.0f;
    } else if (start->kind == CLUS_START_GIVEN) {
        model_latent_init(m->vectors[2 * i + 1], n, seed + 1, position, 0.5f);
        start->latent = m->vectors[2 * i + 1];
    }
}

static void mix_page(struct mixer *m, int32_t idx)
{
    struct sequence *seq = &m->seqs[idx];
    if (m->n_free_pages == 0)
        mix_forget(m);
    int32_t page = m->free_pages[--m->n_free_pages];
    m->pages[m->tick.n_pages++] = (struct clus_page){idx, seq->n_pages, page, false};
    m->n_refs[page] = 1;
    seq->pages[seq->n_pages++] = page;
}

static void mix_share_page(struct mixer *m, int32_t idx, int32_t page)
{
    struct sequence *seq = &m->seqs[idx];
    m->pages[m->tick.n_pages++] = (struct clus_page){idx, seq->n_pages, page, true};
    m->n_refs[page]++;
    seq->pages[seq->n_pages++] = page;
    seq->n_shared = seq->n_pages;
    seq->n_positions = seq->n_pages * KERN_PAGE_POSITIONS;
}

/* An empty sequence begins with pages that another one filled: one that is closed, or one that goes
 * on behind them. */
static void mix_share(struct mixer *m, int32_t idx)
{
    const int32_t *pages = m->kept;
    int32_t n = m->n_kept;
    for (int32_t i = 0; i < N_SEQS; i++) {
        const struct sequence *other = &m->seqs[i];
        if (n_whole(other) > 0 && (n == 0 || draw(m, 3) == 0)) {
            pages = other->pages;
            n = n_whole(other);
        }
    }
    if (n == PAGES_PER_SEQ)
        n--; /* some room is left for positions of its own */
    for (int32_t i = 0; i < n; i++)
        mix_share_page(m, idx, pages[i]);
}

/* May the last position be thought again? Not in a page that others have, too. */
static bool may_repeat(const struct mixer *m, const struct sequence *seq)
{
    int32_t page_idx = (seq->n_positions - 1) / KERN_PAGE_POSITIONS;
    return seq->n_positions > 0 && page_idx >= seq->n_shared &&
           m->n_refs[seq->pages[page_idx]] == 1;
}

/* A chunk of new positions, sometimes with the last old one thought again. */
static void mix_begin(struct mixer *m, int32_t idx)
{
    struct sequence *seq = &m->seqs[idx];
    int32_t n = 1 + (int32_t)draw(m, MAX_CHUNK);
    if (seq->n_pages == 0 && draw(m, 4) != 0)
        mix_share(m, idx);
    seq->first = seq->n_positions - (may_repeat(m, seq) && draw(m, 8) == 0);
    if (m->tick.n_starts + n > MAX_BATCH || m->n_free_rows < n ||
        seq->first + n > m->limits->block_size)
        return;
    while (seq->n_pages * KERN_PAGE_POSITIONS < seq->first + n)
        mix_page(m, idx);
    for (int32_t i = 0; i < n; i++) {
        int32_t row = m->free_rows[--m->n_free_rows];
        seq->rows[i] = row;
        mix_start(m, &m->starts[m->tick.n_starts++], row, seq->first + i);
    }
    seq->n_positions = seq->first + n;
    seq->n_running = n;
    seq->step = 0;
    seq->depth = 1 + (int32_t)draw(m, 6);
}

static uint32_t mix_flags(struct mixer *m)
{
    static const uint32_t values[] = {0, CLUS_WANT_DIFF, CLUS_WANT_COSINE, CLUS_WANT_ACCELERATION};
    uint32_t flags = values[draw(m, 4)] | (draw(m, 2) ? CLUS_WANT_LATENT : 0);
    return m->has_early && draw(m, 2) ? flags | CLUS_EARLY : flags;
}

static void mix_step(struct mixer *m, int32_t idx)
{
    struct sequence *seq = &m->seqs[idx];
    if (m->tick.n_entries + seq->n_running > MAX_BATCH)
        return;
    for (int32_t i = 0; i < seq->n_running; i++)
        m->entries[m->tick.n_entries++] =
            (struct clus_entry){seq->rows[i], idx, seq->first + i, seq->step, mix_flags(m)};
    seq->step++;
}

/* Positions at their depth leave. In the next tick only: until then another sequence could take a
 * row that has an entry in this one. */
static void mix_leave(struct mixer *m, struct sequence *seq)
{
    if (seq->step == seq->depth)
        while (seq->n_running > 0)
            m->free_rows[m->n_free_rows++] = seq->rows[--seq->n_running];
}

static void mix_tick(struct mixer *m)
{
    m->tick = (struct clus_tick){.tick_id = m->tick.tick_id + 1,
                                 .closed = m->closed,
                                 .released = m->released,
                                 .pages = m->pages,
                                 .starts = m->starts,
                                 .entries = m->entries};
    for (int32_t i = 0; i < N_SEQS; i++) {
        struct sequence *seq = &m->seqs[i];
        mix_leave(m, seq);
        bool is_full = seq->n_running == 0 && seq->n_positions + MAX_CHUNK > m->limits->block_size;
        if (is_full || (seq->n_pages > 0 && draw(m, 32) == 0))
            mix_close(m, i);
        if (seq->n_running == 0 && draw(m, 3) != 0)
            mix_begin(m, i);
        if (draw(m, 5) != 0)
            mix_step(m, i);
    }
}

int driver_mixed(const struct driver_port *port, const struct clus_limits *limits, uint64_t seed,
                 int32_t n_ticks, uint64_t *hash, struct ltd_err *err)
{
    if (limits->n_embd > MAX_WIDTH)
        return ltd_fail(err, LTD_E_INTERNAL, "driver: width %d, at most %d", limits->n_embd,
                        MAX_WIDTH);
    struct mixer *m = calloc(1, sizeof *m);
    if (!m)
        return ltd_fail(err, LTD_E_EXHAUSTED, "driver: no memory");
    m->limits = limits;
    m->random = seed;
    m->has_early = port->has_early;
    for (int32_t i = 0; i < limits->n_pages; i++)
        m->free_pages[m->n_free_pages++] = i;
    for (int32_t i = 0; i < limits->n_rows; i++)
        m->free_rows[m->n_free_rows++] = i;
    *hash = DRIVER_HASH_BEGIN;
    int rc = 0;
    for (int32_t i = 0; i <= n_ticks && rc == 0; i++) {
        struct clus_reply reply;
        mix_tick(m);
        if (i == n_ticks) { /* leave nothing behind, so that streams can follow each other */
            m->tick = (struct clus_tick){
                .tick_id = m->tick.tick_id, .closed = m->closed, .released = m->released};
            for (int32_t s = 0; s < N_SEQS; s++)
                m->closed[m->tick.n_closed++] = s;
            for (int32_t page = 0; page < limits->n_pages; page++)
                m->released[m->tick.n_released++] = page;
        }
        rc = run(port, &m->tick, &reply, err) || driver_hash_reply(limits, &reply, hash, err) ? -1
                                                                                              : 0;
    }
    free(m);
    return rc;
}

/* ---- plain decoding ----------------------------------------------------------------------- */

struct writer {
    const struct driver_port *port;
    const struct clus_limits *limits;
    struct model_border *border;
    const struct driver_generation *what;
    int32_t pages[PAGES_PER_SEQ]; /* of sequence 0 */
    int32_t n_assigned;           /* pages that the ranks know */
    uint64_t tick_id;
    float *injected, *hidden, *logits; /* [MAX_BATCH][n], [n], [vocab] */
};

static struct model_place place_of(const struct writer *w, int32_t position)
{
    return (struct model_place){w->pages, PAGES_PER_SEQ, position, 0};
}

static int prelude(struct writer *w, const int32_t *tokens, int32_t first, int32_t n,
                   struct ltd_err *err)
{
    struct model_border_in in[MAX_BATCH];
    for (int32_t i = 0; i < n; i++)
        in[i] = (struct model_border_in){place_of(w, first + i), tokens[i],
                                         w->injected + (size_t)i * (size_t)w->limits->n_embd};
    return model_border_prelude(w->border, in, n, err);
}

/* Step `step` of positions [first, first + n), whose rows are the positions themselves. */
static int step_chunk(struct writer *w, int32_t first, int32_t n, int32_t step,
                      struct clus_reply *reply, struct ltd_err *err)
{
    struct clus_page pages[PAGES_PER_SEQ];
    struct clus_start starts[MAX_BATCH];
    struct clus_entry entries[MAX_BATCH];
    struct clus_tick tick = {
        .tick_id = w->tick_id++, .pages = pages, .starts = starts, .entries = entries};
    bool is_last = step == w->what->n_steps - 1;
    while (w->n_assigned * KERN_PAGE_POSITIONS < first + n) {
        pages[tick.n_pages++] =
            (struct clus_page){0, w->n_assigned, w->pages[w->n_assigned], false};
        w->n_assigned++;
    }
    for (int32_t i = 0; i < n; i++) {
        if (step == 0)
            starts[tick.n_starts++] = (struct clus_start){
                .row = first + i,
                .position = first + i,
                .kind = CLUS_START_ZERO,
                .injected = w->injected + (size_t)i * (size_t)w->limits->n_embd};
        entries[tick.n_entries++] =
            (struct clus_entry){first + i, 0, first + i, step, is_last ? CLUS_WANT_LATENT : 0};
    }
    return run(w->port, &tick, reply, err);
}

static int coda(struct writer *w, int32_t first, const struct clus_reply *reply,
                struct ltd_err *err)
{
    for (int32_t i = 0; i < reply->n_latents; i++) {
        const struct model_border_out out = {place_of(w, first + i),
                                             reply->latents + (size_t)i * (size_t)w->limits->n_embd,
                                             w->hidden};
        if (model_border_coda(w->border, &out, 1, err))
            return -1;
    }
    return 0;
}

static int32_t argmax(struct writer *w)
{
    int32_t vocab = model_border_config(w->border)->vocab, best = 0;
    model_border_head(w->border, w->hidden, 1, w->logits);
    for (int32_t i = 1; i < vocab; i++)
        if (w->logits[i] > w->logits[best])
            best = i;
    return best;
}

/* Step k of every chunk runs before step k + 1 of any, so e of all chunks is sent at step 0. */
static int prefill(struct writer *w, struct ltd_err *err)
{
    const struct driver_generation *what = w->what;
    for (int32_t step = 0; step < what->n_steps; step++)
        for (int32_t at = 0; at < what->n_prompt; at += what->chunk) {
            int32_t n = what->n_prompt - at < what->chunk ? what->n_prompt - at : what->chunk;
            struct clus_reply reply;
            if ((step == 0 && prelude(w, what->prompt + at, at, n, err)) ||
                step_chunk(w, at, n, step, &reply, err) ||
                (step == what->n_steps - 1 && coda(w, at, &reply, err)))
                return -1;
        }
    return 0;
}

static int decode(struct writer *w, int32_t *tokens, struct ltd_err *err)
{
    const struct driver_generation *what = w->what;
    tokens[0] = argmax(w);
    for (int32_t i = 1; i < what->n_new; i++) {
        int32_t position = what->n_prompt + i - 1;
        struct clus_reply reply;
        if (prelude(w, &tokens[i - 1], position, 1, err))
            return -1;
        for (int32_t step = 0; step < what->n_steps; step++)
            if (step_chunk(w, position, 1, step, &reply, err))
                return -1;
        if (coda(w, position, &reply, err))
            return -1;
        tokens[i] = argmax(w);
    }
    return 0;
}

static int close_sequence(struct writer *w, struct ltd_err *err)
{
    const int32_t closed = 0;
    const struct clus_tick tick = {.tick_id = w->tick_id++,
                                   .closed = &closed,
                                   .n_closed = 1,
                                   .released = w->pages,
                                   .n_released = PAGES_PER_SEQ};
    struct clus_reply reply;
    for (int32_t i = 0; i < PAGES_PER_SEQ; i++)
        model_border_release(w->border, w->pages[i]);
    return run(w->port, &tick, &reply, err);
}

int driver_generate(const struct driver_port *port, const struct clus_limits *limits,
                    struct model_border *border, const struct driver_generation *what,
                    int32_t *tokens, struct ltd_err *err)
{
    struct writer w = {.port = port, .limits = limits, .border = border, .what = what};
    size_t n = (size_t)limits->n_embd;
    for (int32_t i = 0; i < PAGES_PER_SEQ; i++)
        w.pages[i] = limits->n_pages - 1 - 3 * i;
    w.injected = calloc(MAX_BATCH * n, sizeof *w.injected);
    w.hidden = calloc(n, sizeof *w.hidden);
    w.logits = calloc((size_t)model_border_config(border)->vocab, sizeof *w.logits);
    int rc = w.injected && w.hidden && w.logits ? 0 : ltd_fail(err, LTD_E_EXHAUSTED, "no memory");
    rc = rc || prefill(&w, err) || decode(&w, tokens, err) || close_sequence(&w, err) ? -1 : 0;
    free(w.injected);
    free(w.hidden);
    free(w.logits);
    return rc;
}
