/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/executor.c - check a tick, apply it, step; see cluster/executor.h.
 *
 * A tick is checked against the state it will meet when its entries run, which is not the state
 * before it: its own closes, releases, pages and starts come first. The check therefore writes what
 * will be into `next_` fields that count only while their `epoch` is that of the tick. The state
 * proper changes in apply_plan(), after the last possible refusal.
 *
 * Pages are empty, begun, left over or whole (docs/tick-stream.md has the table). What a page holds
 * is known by the KV pool's counts, which are equal on all ranks, also on those that own no head.
 *
 * Invariants: a page's references are the sequences whose tables list it; only whole pages have
 * more than one, and then nobody writes to them; positions 0 .. n_positions-1 of a sequence were
 * stepped at least once since their pages were released; at most one row is bound to a position of
 * a sequence, the one that started it last.
 */
#include "cluster/executor.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "model/latent.h"

#define ROWS_PER_BLOCK 64
#define ROW_VECTORS    3 /* latent, e, the latent before the last step */

struct row {
    /* state */
    int32_t position; /* -1: never started */
    int32_t next_step;
    int32_t seq;         /* bound by step 0; -1 before, and after another row took the position */
    uint64_t generation; /* of the sequence when the row was bound */
    /* scratch of the check */
    uint64_t start_epoch; /* tick that starts the row */
    int32_t next_position;
    uint64_t entry_epoch; /* tick that has an entry for the row */
};

struct seq {
    /* state */
    int32_t *pages; /* [pages_per_seq] page ids; part of executor->page_tables */
    int32_t n_pages;
    int32_t n_shared;    /* the first n_shared of them are shared: read, never written */
    int32_t n_positions; /* positions [0, n_positions) were started */
    uint64_t generation; /* counts closes */
    /* scratch of the check */
    uint64_t epoch; /* tick that the fields below belong to */
    bool is_closing;
    int32_t next_n_pages;
    int32_t next_n_shared;
    int32_t next_n_positions;
    int32_t last_position; /* of the entries seen so far; -1 before the first */
};

struct page {
    /* state */
    int32_t n_refs;   /* sequences that have it in their tables */
    int32_t page_idx; /* place in those tables: what it holds was computed there */
    /* scratch of the check */
    uint64_t epoch; /* tick that the fields below belong to */
    int32_t next_n_refs;
    bool is_releasing;
};

struct clus_executor {
    struct clus_executor_config config;
    int32_t pages_per_seq;
    /* state: rank thread */
    struct row *rows;   /* [n_rows] */
    float **row_blocks; /* [n_row_blocks] of [ROWS_PER_BLOCK][3][n]: latent, e, the latent
                         * before the last step; NULL until used */
    int32_t n_row_blocks;
    struct seq *seqs;     /* [n_seqs] */
    int32_t *page_tables; /* [n_seqs][pages_per_seq] */
    struct page *pages;   /* [n_pages] */
    uint64_t epoch;       /* ticks seen */
    /* scratch */
    struct model_slot *slots; /* [max_batch] */
    float *out_latents;       /* [max_batch][n] */
    double *out_values;       /* [max_batch] */
};

/* ---- life --------------------------------------------------------------------------------- */

static int check_config(const struct clus_executor_config *config, struct ltd_err *err)
{
    const struct model_config *model = model_core_config(config->core);
    const struct model_kv_spec *kv = model_kv_spec_of(model_core_kv(config->core));
    const struct clus_limits *limits = &config->limits;
    if (clus_limits_check(limits, err))
        return -1;
    if (limits->n_embd != model->n_embd)
        return ltd_fail(err, LTD_E_INVALID, "limit n_embd: %d, expected the model's %d",
                        limits->n_embd, model->n_embd);
    if (limits->block_size > model->max_positions)
        return ltd_fail(err, LTD_E_INVALID, "limit block_size: %d, the model has %d positions",
                        limits->block_size, model->max_positions);
    if (limits->page_positions != KERN_PAGE_POSITIONS)
        return ltd_fail(err, LTD_E_INVALID, "limit page_positions: %d, expected %d",
                        limits->page_positions, KERN_PAGE_POSITIONS);
    if (limits->n_pages != kv->n_pages)
        return ltd_fail(err, LTD_E_INVALID, "limit n_pages: %d, the KV pool has %d",
                        limits->n_pages, kv->n_pages);
    if (config->n_threads < 1)
        return ltd_fail(err, LTD_E_INVALID, "executor: %d threads, expected at least 1",
                        config->n_threads);
    return 0;
}

static int alloc_tables(struct clus_executor *ex)
{
    const struct clus_limits *limits = &ex->config.limits;
    size_t n_seqs = (size_t)limits->n_seqs, per_seq = (size_t)ex->pages_per_seq;
    size_t max_batch = (size_t)limits->max_batch, n_embd = (size_t)limits->n_embd;
    ex->rows = calloc((size_t)limits->n_rows, sizeof *ex->rows);
    ex->row_blocks = calloc((size_t)ex->n_row_blocks, sizeof *ex->row_blocks);
    ex->seqs = calloc(n_seqs, sizeof *ex->seqs);
    ex->page_tables = calloc(n_seqs, per_seq * sizeof *ex->page_tables);
    ex->pages = calloc((size_t)limits->n_pages, sizeof *ex->pages);
    ex->slots = calloc(max_batch, sizeof *ex->slots);
    ex->out_latents = calloc(max_batch, n_embd * sizeof *ex->out_latents);
    ex->out_values = calloc(max_batch, sizeof *ex->out_values);
    if (!ex->rows || !ex->row_blocks || !ex->seqs || !ex->page_tables || !ex->pages || !ex->slots ||
        !ex->out_latents || !ex->out_values)
        return -1;
    for (int32_t i = 0; i < limits->n_rows; i++)
        ex->rows[i].position = ex->rows[i].seq = -1;
    for (size_t i = 0; i < n_seqs; i++)
        ex->seqs[i].pages = ex->page_tables + i * per_seq;
    return 0;
}

struct clus_executor *clus_executor_create(const struct clus_executor_config *config,
                                           struct ltd_err *err)
{
    if (check_config(config, err))
        return NULL;
    struct clus_executor *ex = calloc(1, sizeof *ex);
    if (!ex)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "executor: no memory");
    const struct clus_limits *limits = &config->limits;
    ex->config = *config;
    ex->pages_per_seq = (limits->block_size + limits->page_positions - 1) / limits->page_positions;
    ex->n_row_blocks = (limits->n_rows + ROWS_PER_BLOCK - 1) / ROWS_PER_BLOCK;
    if (alloc_tables(ex)) {
        clus_executor_destroy(ex);
        return ltd_fail_null(err, LTD_E_EXHAUSTED,
                             "executor: no memory for %d rows, %d sequences, %d pages",
                             limits->n_rows, limits->n_seqs, limits->n_pages);
    }
    return ex;
}

void clus_executor_destroy(struct clus_executor *ex)
{
    if (!ex)
        return;
    for (int32_t i = 0; ex->row_blocks && i < ex->n_row_blocks; i++)
        ltd_free(ex->row_blocks[i]);
    free(ex->rows);
    free(ex->row_blocks);
    free(ex->seqs);
    free(ex->page_tables);
    free(ex->pages);
    free(ex->slots);
    free(ex->out_latents);
    free(ex->out_values);
    free(ex);
}

const struct clus_executor_config *clus_executor_config(const struct clus_executor *ex)
{
    return &ex->config;
}

/* ---- check -------------------------------------------------------------------------------- */

static int refuse(struct ltd_err *why, const char *what, int64_t found, int64_t limit)
{
    return ltd_fail(why, LTD_E_INVALID, "tick: %s %lld, expected 0 to %lld", what, (long long)found,
                    (long long)limit - 1);
}

/* The sequence with its scratch valid for this tick. */
static struct seq *look_at_seq(struct clus_executor *ex, int32_t idx)
{
    struct seq *seq = &ex->seqs[idx];
    if (seq->epoch != ex->epoch) {
        seq->epoch = ex->epoch;
        seq->is_closing = false;
        seq->next_n_pages = seq->n_pages;
        seq->next_n_shared = seq->n_shared;
        seq->next_n_positions = seq->n_positions;
        seq->last_position = -1;
    }
    return seq;
}

/* The page with its scratch valid for this tick. */
static struct page *look_at_page(struct clus_executor *ex, int32_t idx)
{
    struct page *page = &ex->pages[idx];
    if (page->epoch != ex->epoch) {
        page->epoch = ex->epoch;
        page->next_n_refs = page->n_refs;
        page->is_releasing = false;
    }
    return page;
}

/* How many of the page's positions were stepped since it was released. */
static int32_t count_present(const struct clus_executor *ex, int32_t page_id)
{
    const struct model_kv *kv = model_core_kv(ex->config.core);
    int32_t n = 0;
    for (int32_t i = 0; i < ex->config.limits.page_positions; i++)
        n += model_kv_present(kv, page_id, i) > 0;
    return n;
}

/* The same after the tick's releases. Entries come last, so an assignment finds so many. */
static int32_t next_count_present(struct clus_executor *ex, int32_t page_id)
{
    return look_at_page(ex, page_id)->is_releasing ? 0 : count_present(ex, page_id);
}

static int check_closed(struct clus_executor *ex, const struct clus_tick *tick, struct ltd_err *why)
{
    for (int32_t i = 0; i < tick->n_closed; i++) {
        if (tick->closed[i] < 0 || tick->closed[i] >= ex->config.limits.n_seqs)
            return refuse(why, "closed seq", tick->closed[i], ex->config.limits.n_seqs);
        struct seq *seq = look_at_seq(ex, tick->closed[i]);
        if (seq->is_closing)
            return ltd_fail(why, LTD_E_INVALID, "tick: seq %d is closed twice", tick->closed[i]);
        seq->is_closing = true;
        seq->next_n_pages = 0;
        seq->next_n_shared = 0;
        seq->next_n_positions = 0;
        for (int32_t p = 0; p < seq->n_pages; p++)
            look_at_page(ex, seq->pages[p])->next_n_refs--;
    }
    return 0;
}

static int check_released(struct clus_executor *ex, const struct clus_tick *tick,
                          struct ltd_err *why)
{
    for (int32_t i = 0; i < tick->n_released; i++) {
        int32_t page_id = tick->released[i];
        if (page_id < 0 || page_id >= ex->config.limits.n_pages)
            return refuse(why, "released page", page_id, ex->config.limits.n_pages);
        struct page *page = look_at_page(ex, page_id);
        if (page->is_releasing)
            return ltd_fail(why, LTD_E_INVALID, "tick: page %d is released twice", page_id);
        if (page->next_n_refs > 0)
            return ltd_fail(why, LTD_E_INVALID,
                            "tick: released page %d is in %d sequences, expected none", page_id,
                            page->next_n_refs);
        page->is_releasing = true;
    }
    return 0;
}

/* A page that the sequence will fill itself: nobody has it, and it holds nothing. */
static int check_own_page(struct clus_executor *ex, const struct clus_page *assign,
                          struct ltd_err *why)
{
    if (look_at_page(ex, assign->page_id)->next_n_refs > 0)
        return ltd_fail(why, LTD_E_INVALID, "tick: page %d for seq %d is already in use",
                        assign->page_id, assign->seq);
    int32_t n_present = next_count_present(ex, assign->page_id);
    if (n_present > 0)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: page %d for seq %d holds %d positions, expected a released page",
                        assign->page_id, assign->seq, n_present);
    return 0;
}

/* A page that another sequence has filled, in the same place, and nobody writes to any more. */
static int check_shared_page(struct clus_executor *ex, const struct clus_page *assign,
                             struct ltd_err *why)
{
    const struct seq *seq = look_at_seq(ex, assign->seq);
    int32_t n_present = next_count_present(ex, assign->page_id);
    int32_t page_idx = ex->pages[assign->page_id].page_idx;
    if (n_present < ex->config.limits.page_positions)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: shared page %d for seq %d holds %d positions, expected %d",
                        assign->page_id, assign->seq, n_present, ex->config.limits.page_positions);
    if (page_idx != assign->page_idx)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: shared page %d was filled at page_idx %d, seq %d wants it at %d",
                        assign->page_id, page_idx, assign->seq, assign->page_idx);
    if (seq->next_n_shared != assign->page_idx)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: shared page %d for seq %d comes after pages of its own",
                        assign->page_id, assign->seq);
    return 0;
}

static int check_page(struct clus_executor *ex, const struct clus_page *assign, struct ltd_err *why)
{
    const struct clus_limits *limits = &ex->config.limits;
    if (assign->seq < 0 || assign->seq >= limits->n_seqs)
        return refuse(why, "seq of a page", assign->seq, limits->n_seqs);
    if (assign->page_id < 0 || assign->page_id >= limits->n_pages)
        return refuse(why, "page_id", assign->page_id, limits->n_pages);
    if (assign->page_idx < 0 || assign->page_idx >= ex->pages_per_seq)
        return refuse(why, "page_idx", assign->page_idx, ex->pages_per_seq);
    struct seq *seq = look_at_seq(ex, assign->seq);
    if (assign->page_idx != seq->next_n_pages)
        return ltd_fail(why, LTD_E_INVALID, "tick: page_idx %d of seq %d, expected its next, %d",
                        assign->page_idx, assign->seq, seq->next_n_pages);
    if (assign->is_shared ? check_shared_page(ex, assign, why) : check_own_page(ex, assign, why))
        return -1;
    look_at_page(ex, assign->page_id)->next_n_refs++;
    seq->next_n_pages++;
    if (assign->is_shared) {
        seq->next_n_shared++;
        seq->next_n_positions = seq->next_n_shared * limits->page_positions;
    }
    return 0;
}

static int check_start(struct clus_executor *ex, const struct clus_start *start,
                       struct ltd_err *why)
{
    const struct clus_limits *limits = &ex->config.limits;
    if (start->row < 0 || start->row >= limits->n_rows)
        return refuse(why, "row of a start", start->row, limits->n_rows);
    if (start->position < 0 || start->position >= limits->block_size)
        return refuse(why, "position of a start", start->position, limits->block_size);
    struct row *row = &ex->rows[start->row];
    if (row->start_epoch == ex->epoch)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d is started twice", start->row);
    row->start_epoch = ex->epoch;
    row->next_position = start->position;
    return 0;
}

/* The row is where the entry believes it to be. */
static int check_entry_row(struct clus_executor *ex, const struct clus_entry *entry,
                           struct ltd_err *why)
{
    struct row *row = &ex->rows[entry->row];
    bool is_starting = row->start_epoch == ex->epoch;
    int32_t position = is_starting ? row->next_position : row->position;
    int32_t step = is_starting ? 0 : row->next_step;
    if (row->entry_epoch == ex->epoch)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d has two entries", entry->row);
    row->entry_epoch = ex->epoch;
    if (position < 0)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d was never started", entry->row);
    if (entry->position != position)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d at position %d, expected %d", entry->row,
                        entry->position, position);
    if (entry->step_idx != step)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d (position %d) at step %d, expected %d",
                        entry->row, position, entry->step_idx, step);
    if (step == INT32_MAX)
        return ltd_fail(why, LTD_E_INVALID, "tick: row %d has no step after %d", entry->row, step);
    return 0;
}

/* Nobody but this sequence may see what the entry writes. A page that this tick assigns needs no
 * look: it is shared by this sequence, or it is empty and has no other reference. */
static int check_entry_page(struct clus_executor *ex, const struct clus_entry *entry,
                            struct ltd_err *why)
{
    const struct seq *seq = look_at_seq(ex, entry->seq);
    int32_t page_idx = entry->position / ex->config.limits.page_positions;
    if (page_idx < seq->next_n_shared)
        return ltd_fail(why, LTD_E_INVALID, "tick: position %d of seq %d lies in a shared page",
                        entry->position, entry->seq);
    if (seq->is_closing || page_idx >= seq->n_pages)
        return 0;
    const struct page *page = look_at_page(ex, seq->pages[page_idx]);
    if (page->next_n_refs > 1)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: position %d of seq %d lies in page %d, which %d sequences share",
                        entry->position, entry->seq, seq->pages[page_idx], page->next_n_refs);
    return 0;
}

/* The position is one that the sequence can have now. */
static int check_entry_seq(struct clus_executor *ex, const struct clus_entry *entry,
                           struct ltd_err *why)
{
    struct seq *seq = look_at_seq(ex, entry->seq);
    const struct row *row = &ex->rows[entry->row];
    if (entry->position / ex->config.limits.page_positions >= seq->next_n_pages)
        return ltd_fail(why, LTD_E_INVALID, "tick: position %d of seq %d lies behind its %d pages",
                        entry->position, entry->seq, seq->next_n_pages);
    if (entry->position <= seq->last_position)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: position %d of seq %d comes after %d, expected ascending order",
                        entry->position, entry->seq, seq->last_position);
    if (entry->position > seq->next_n_positions)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: position %d of seq %d before its position %d was ever stepped",
                        entry->position, entry->seq, seq->next_n_positions);
    bool is_bound =
        row->seq == entry->seq && row->generation == seq->generation && !seq->is_closing;
    if (entry->step_idx > 0 && !is_bound)
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: row %d at step %d does not hold position %d of seq %d", entry->row,
                        entry->step_idx, entry->position, entry->seq);
    seq->last_position = entry->position;
    if (entry->position == seq->next_n_positions)
        seq->next_n_positions++;
    return 0;
}

static int check_entry(struct clus_executor *ex, const struct clus_entry *entry,
                       struct ltd_err *why)
{
    const struct clus_limits *limits = &ex->config.limits;
    if (entry->row < 0 || entry->row >= limits->n_rows)
        return refuse(why, "row", entry->row, limits->n_rows);
    if (entry->seq < 0 || entry->seq >= limits->n_seqs)
        return refuse(why, "seq", entry->seq, limits->n_seqs);
    if (entry->position < 0 || entry->position >= limits->block_size)
        return refuse(why, "position", entry->position, limits->block_size);
    if (entry->flags & CLUS_EARLY && !model_core_has_early(ex->config.core))
        return ltd_fail(why, LTD_E_INVALID,
                        "tick: row %d takes an early step, but there is no early copy", entry->row);
    return check_entry_row(ex, entry, why) || check_entry_seq(ex, entry, why) ||
                   check_entry_page(ex, entry, why)
               ? -1
               : 0;
}

static int check_tick(struct clus_executor *ex, const struct clus_tick *tick, struct ltd_err *why)
{
    if (tick->n_entries > ex->config.limits.max_batch)
        return ltd_fail(why, LTD_E_EXHAUSTED, "tick: %d entries, at most %d fit", tick->n_entries,
                        ex->config.limits.max_batch);
    if (check_closed(ex, tick, why) || check_released(ex, tick, why))
        return -1;
    for (int32_t i = 0; i < tick->n_pages; i++)
        if (check_page(ex, &tick->pages[i], why))
            return -1;
    for (int32_t i = 0; i < tick->n_starts; i++)
        if (check_start(ex, &tick->starts[i], why))
            return -1;
    for (int32_t i = 0; i < tick->n_entries; i++)
        if (check_entry(ex, &tick->entries[i], why))
            return -1;
    return 0;
}

/* ---- apply -------------------------------------------------------------------------------- */

static void close_seq(struct clus_executor *ex, struct seq *seq)
{
    for (int32_t i = 0; i < seq->n_pages; i++)
        ex->pages[seq->pages[i]].n_refs--;
    seq->n_pages = 0;
    seq->n_shared = 0;
    seq->n_positions = 0;
    seq->generation++;
}

static void assign_page(struct clus_executor *ex, const struct clus_page *assign)
{
    struct seq *seq = &ex->seqs[assign->seq];
    struct page *page = &ex->pages[assign->page_id];
    seq->pages[assign->page_idx] = assign->page_id;
    seq->n_pages = assign->page_idx + 1;
    page->n_refs++;
    page->page_idx = assign->page_idx;
    if (assign->is_shared) {
        seq->n_shared = seq->n_pages;
        seq->n_positions = seq->n_shared * ex->config.limits.page_positions;
    }
}

static float *row_latent(const struct clus_executor *ex, int32_t row)
{
    size_t n = (size_t)ex->config.limits.n_embd;
    return ex->row_blocks[row / ROWS_PER_BLOCK] + (size_t)(row % ROWS_PER_BLOCK) * ROW_VECTORS * n;
}

static float *row_injected(const struct clus_executor *ex, int32_t row)
{
    return row_latent(ex, row) + ex->config.limits.n_embd;
}

static float *row_previous(const struct clus_executor *ex, int32_t row)
{
    return row_injected(ex, row) + ex->config.limits.n_embd;
}

/* Memory behind every row that the tick starts; the only thing that can fail on one rank alone. */
static int reserve_rows(struct clus_executor *ex, const struct clus_tick *tick, struct ltd_err *err)
{
    size_t row_bytes = ROW_VECTORS * (size_t)ex->config.limits.n_embd * sizeof(float);
    for (int32_t i = 0; i < tick->n_starts; i++) {
        float **block = &ex->row_blocks[tick->starts[i].row / ROWS_PER_BLOCK];
        if (!*block)
            *block = ltd_alloc(ROWS_PER_BLOCK, row_bytes);
        if (!*block)
            return ltd_fail(err, LTD_E_RANK, "executor: no memory for %d more rows (%zu bytes)",
                            ROWS_PER_BLOCK, ROWS_PER_BLOCK * row_bytes);
    }
    return 0;
}

static void fill_start(const struct clus_executor *ex, const struct clus_start *start)
{
    int32_t n = ex->config.limits.n_embd;
    size_t bytes = (size_t)n * sizeof(float);
    float *latent = row_latent(ex, start->row);
    memcpy(row_injected(ex, start->row), start->injected, bytes);
    switch (start->kind) {
    case CLUS_START_ZERO:
        memset(latent, 0, bytes);
        break;
    case CLUS_START_SEED:
        model_latent_init(latent, n, start->seed, start->position, start->init_scale);
        break;
    case CLUS_START_GIVEN:
        memcpy(latent, start->latent, bytes);
        break;
    }
}

static void start_rows(struct clus_executor *ex, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_starts; i++) {
        struct row *row = &ex->rows[tick->starts[i].row];
        row->position = tick->starts[i].position;
        row->next_step = 0;
        row->seq = -1;
    }
    /* Drawing a truncated normal takes some 0.1 us per element; a prompt chunk has 64 x 5280. */
#pragma omp parallel for schedule(static) num_threads(ex->config.n_threads) if (tick->n_starts > 1)
    for (int32_t i = 0; i < tick->n_starts; i++)
        fill_start(ex, &tick->starts[i]);
}

/* A position that was started before begins anew in another row: the old row lets go of it. */
static void unbind_others(struct clus_executor *ex, const struct clus_entry *entry)
{
    for (int32_t i = 0; i < ex->config.limits.n_rows; i++) {
        struct row *row = &ex->rows[i];
        if (i != entry->row && row->seq == entry->seq && row->position == entry->position)
            row->seq = -1;
    }
}

static void bind_entry(struct clus_executor *ex, const struct clus_entry *entry)
{
    struct row *row = &ex->rows[entry->row];
    struct seq *seq = &ex->seqs[entry->seq];
    if (entry->step_idx == 0) {
        if (entry->position < seq->n_positions)
            unbind_others(ex, entry);
        row->seq = entry->seq;
        row->generation = seq->generation;
    }
    if (entry->position == seq->n_positions)
        seq->n_positions++;
    row->next_step = entry->step_idx + 1;
}

static void apply_plan(struct clus_executor *ex, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_closed; i++)
        close_seq(ex, &ex->seqs[tick->closed[i]]);
    for (int32_t i = 0; i < tick->n_released; i++)
        model_kv_release(model_core_kv(ex->config.core), tick->released[i]);
    for (int32_t i = 0; i < tick->n_pages; i++)
        assign_page(ex, &tick->pages[i]);
    start_rows(ex, tick);
}

/* The decoder saw that at most one is asked for. */
static enum model_exit_value wanted(uint32_t flags)
{
    if (flags & CLUS_WANT_DIFF)
        return MODEL_VALUE_DIFF;
    if (flags & CLUS_WANT_COSINE)
        return MODEL_VALUE_COSINE;
    return flags & CLUS_WANT_ACCELERATION ? MODEL_VALUE_ACCELERATION : MODEL_VALUE_NONE;
}

static int step_entries(struct clus_executor *ex, const struct clus_tick *tick, struct ltd_err *err)
{
    if (tick->n_entries == 0)
        return 0;
    for (int32_t i = 0; i < tick->n_entries; i++) {
        const struct clus_entry *entry = &tick->entries[i];
        const struct seq *seq = &ex->seqs[entry->seq];
        bind_entry(ex, entry);
        ex->slots[i] = (struct model_slot){
            .place = {.pages = seq->pages,
                      .n_pages = seq->n_pages,
                      .position = entry->position,
                      .step_idx = entry->step_idx},
            .latent = row_latent(ex, entry->row),
            .previous = row_previous(ex, entry->row),
            .e = row_injected(ex, entry->row),
            .is_early = entry->flags & CLUS_EARLY,
            .want = wanted(entry->flags),
        };
    }
    if (model_core_step(ex->config.core, ex->slots, tick->n_entries, &ex->config.exchange, err)) {
        /* Whatever it was, latents are unspecified now and other ranks may be ahead of us. */
        err->code = LTD_E_RANK;
        return ltd_err_context(err, "tick %llu", (unsigned long long)tick->tick_id);
    }
    return 0;
}

static void collect(struct clus_executor *ex, const struct clus_tick *tick,
                    struct clus_reply *reply)
{
    size_t n = (size_t)ex->config.limits.n_embd;
    reply->latents = ex->out_latents;
    reply->values = ex->out_values;
    for (int32_t i = 0; i < tick->n_entries; i++) {
        if (tick->entries[i].flags & CLUS_WANT_LATENT)
            memcpy(ex->out_latents + (size_t)reply->n_latents++ * n, ex->slots[i].latent,
                   n * sizeof(float));
        if (tick->entries[i].flags & CLUS_WANT_VALUE)
            ex->out_values[reply->n_values++] = ex->slots[i].value;
    }
}

int clus_executor_run(struct clus_executor *ex, const struct clus_tick *tick,
                      struct clus_reply *reply, struct ltd_err *err)
{
    struct clus_reply result = {.tick_id = tick->tick_id};
    struct ltd_err fatal = {0};
    ex->epoch++;
    if (check_tick(ex, tick, &result.err)) {
        *reply = result;
        return 0;
    }
    if (reserve_rows(ex, tick, &fatal)) {
        if (err)
            *err = fatal;
        return -1;
    }
    apply_plan(ex, tick);
    if (step_entries(ex, tick, &fatal)) {
        if (err)
            *err = fatal;
        return -1;
    }
    collect(ex, tick, &result);
    *reply = result;
    return 0;
}

/* ---- audit -------------------------------------------------------------------------------- */

int32_t clus_executor_page_refs(const struct clus_executor *ex, int32_t page_id)
{
    ltd_assert(page_id >= 0 && page_id < ex->config.limits.n_pages, page_id,
               ex->config.limits.n_pages);
    return ex->pages[page_id].n_refs;
}

static int audit_seq(const struct clus_executor *ex, int32_t idx, int32_t *n_listed,
                     struct ltd_err *err)
{
    const struct seq *seq = &ex->seqs[idx];
    const struct model_kv *kv = model_core_kv(ex->config.core);
    int32_t width = ex->config.limits.page_positions;
    for (int32_t i = 0; i < seq->n_pages; i++) {
        const struct page *page = &ex->pages[seq->pages[i]];
        n_listed[seq->pages[i]]++;
        if (page->page_idx != i)
            return ltd_fail(err, LTD_E_INTERNAL,
                            "executor: page %d of page_idx %d is at %d in seq %d", seq->pages[i],
                            page->page_idx, i, idx);
    }
    if (seq->n_shared > seq->n_pages || seq->n_positions < seq->n_shared * width ||
        seq->n_positions > seq->n_pages * width)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "executor: seq %d has %d positions in %d pages, %d of them shared", idx,
                        seq->n_positions, seq->n_pages, seq->n_shared);
    for (int32_t i = 0; i < seq->n_positions; i++)
        if (model_kv_present(kv, seq->pages[i / width], i) == 0)
            return ltd_fail(err, LTD_E_INTERNAL, "executor: position %d of seq %d is not there", i,
                            idx);
    return 0;
}

static int audit_page(const struct clus_executor *ex, int32_t idx, int32_t n_listed,
                      struct ltd_err *err)
{
    int32_t n_refs = ex->pages[idx].n_refs;
    if (n_refs != n_listed)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "executor: page %d has %d references, %d sequences list it", idx, n_refs,
                        n_listed);
    if (n_refs > 1 && count_present(ex, idx) < ex->config.limits.page_positions)
        return ltd_fail(err, LTD_E_INTERNAL,
                        "executor: page %d is shared by %d sequences with %d positions", idx,
                        n_refs, count_present(ex, idx));
    return 0;
}

int clus_executor_audit(const struct clus_executor *ex, struct ltd_err *err)
{
    const struct clus_limits *limits = &ex->config.limits;
    int32_t *n_listed = calloc((size_t)limits->n_pages, sizeof *n_listed);
    int rc = n_listed ? 0 : ltd_fail(err, LTD_E_EXHAUSTED, "executor: no memory for an audit");
    for (int32_t i = 0; i < limits->n_seqs && rc == 0; i++)
        rc = audit_seq(ex, i, n_listed, err);
    for (int32_t i = 0; i < limits->n_pages && rc == 0; i++)
        rc = audit_page(ex, i, n_listed[i], err);
    free(n_listed);
    return rc;
}
