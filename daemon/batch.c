/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/batch.c - see daemon/batch.h. */
#include "daemon/batch.h"

#include <string.h>

#include "base/size.h"

int batch_init(struct batch *batch, int32_t max_entries, int32_t max_pages, int32_t max_seqs,
               int32_t n_embd, struct ltd_err *err)
{
    *batch = (struct batch){.max_entries = max_entries, .max_pages = max_pages, .n_embd = n_embd};
    size_t n = (size_t)max_entries, floats;
    if (!ltd_size_mul(n, (size_t)n_embd, &floats))
        return ltd_fail(err, LTD_E_EXHAUSTED, "a batch of %d is too large", max_entries);
    batch->entries = ltd_alloc(n, sizeof *batch->entries);
    batch->starts = ltd_alloc(n, sizeof *batch->starts);
    batch->prelude = ltd_alloc(n, sizeof *batch->prelude);
    batch->injected = ltd_alloc(floats, sizeof *batch->injected);
    batch->parts = ltd_alloc(n, sizeof *batch->parts);
    batch->pages = ltd_alloc((size_t)max_pages, sizeof *batch->pages);
    batch->closed = ltd_alloc((size_t)max_seqs, sizeof *batch->closed);
    if (batch->entries && batch->starts && batch->prelude && batch->injected && batch->parts &&
        batch->pages && batch->closed)
        return 0;
    batch_fini(batch);
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a batch of %d positions", max_entries);
}

void batch_fini(struct batch *batch)
{
    ltd_free(batch->entries);
    ltd_free(batch->starts);
    ltd_free(batch->prelude);
    ltd_free(batch->injected);
    ltd_free(batch->parts);
    ltd_free(batch->pages);
    ltd_free(batch->closed);
    *batch = (struct batch){0};
}

void batch_begin(struct batch *batch)
{
    batch->n_entries = batch->n_starts = batch->n_prelude = batch->n_parts = batch->n_pages = 0;
}

/* The ranks learn of a sequence's pages with its next positions; all of them, it holds them all. */
static void tell_pages(struct batch *batch, struct run *run)
{
    for (int32_t i = run->n_pages_told; i < run->n_pages; i++)
        batch->pages[batch->n_pages++] = (struct clus_page){.seq = run->seq,
                                                            .page_idx = i,
                                                            .page_id = run->pages[i],
                                                            .is_shared = i < run->n_shared};
}

/* Where e of the start is: with the run, or in the batch once the prelude has been there. */
static const float *injected_of(struct batch *batch, struct run *run, int32_t position)
{
    if (run->has_injected)
        return run->injected;
    float *injected = batch->injected + (size_t)batch->n_prelude * (size_t)batch->n_embd;
    batch->prelude[batch->n_prelude++] = (struct model_border_in){
        .place = {.pages = run->pages, .n_pages = run->n_pages, .position = position},
        .token = run->tokens[position],
        .e = injected,
    };
    return injected;
}

static void add_start(struct batch *batch, struct run *run, int32_t position, int32_t row)
{
    bool is_zero = run->origin.init_scale == 0;
    batch->starts[batch->n_starts++] = (struct clus_start){
        .row = row,
        .position = position,
        .kind = is_zero ? CLUS_START_ZERO : CLUS_START_SEED,
        .seed = run->origin.seed,
        .init_scale = run->origin.init_scale,
        .injected = injected_of(batch, run, position),
    };
}

static void add_entry(struct batch *batch, struct run *run, int32_t position)
{
    int32_t row = run->rows[position - run->call_begin];
    if (run->step_idx == 0)
        add_start(batch, run, position, row);
    batch->entries[batch->n_entries++] = (struct clus_entry){
        .row = row,
        .seq = run->seq,
        .position = position,
        .step_idx = run->step_idx,
        .flags = run_wants(run, position) | (run_is_early(run) ? CLUS_EARLY : 0),
    };
}

int32_t batch_add(struct batch *batch, struct run *run, int32_t most)
{
    int32_t room = batch->max_entries - batch->n_entries;
    int32_t n = run->n_ready < most ? run->n_ready : most;
    n = n < room ? n : room;
    if (n <= 0 || batch->n_pages + run->n_pages - run->n_pages_told > batch->max_pages)
        return 0; /* pages of shared prefixes may be too many for one tick; never those of one run */
    tell_pages(batch, run);
    struct batch_part *part = &batch->parts[batch->n_parts++];
    *part = (struct batch_part){.run = run, .entry_begin = batch->n_entries};
    for (int32_t i = 0; i < n; i++) {
        add_entry(batch, run, run->next);
        run_position_taken(run);
    }
    part->entry_end = batch->n_entries;
    return n;
}

void batch_close_seq(struct batch *batch, int32_t seq)
{
    batch->closed[batch->n_closed++] = seq;
}

struct clus_tick batch_tick(struct batch *batch, const struct pages *pages, uint64_t tick_id)
{
    batch->n_closed_told = batch->n_closed;
    batch->n_released_told = pages->n_released;
    return (struct clus_tick){
        .tick_id = tick_id,
        .closed = batch->closed,
        .n_closed = batch->n_closed,
        .released = pages->released,
        .n_released = pages->n_released,
        .pages = batch->pages,
        .n_pages = batch->n_pages,
        .starts = batch->starts,
        .n_starts = batch->n_starts,
        .entries = batch->entries,
        .n_entries = batch->n_entries,
    };
}

void batch_applied(struct batch *batch, struct pages *pages)
{
    for (int32_t p = 0; p < batch->n_parts; p++)
        batch->parts[p].run->n_pages_told = batch->parts[p].run->n_pages;
    batch->n_closed -= batch->n_closed_told;
    memmove(batch->closed, batch->closed + batch->n_closed_told,
            (size_t)batch->n_closed * sizeof *batch->closed);
    pages_clear_released(pages, batch->n_released_told);
}
