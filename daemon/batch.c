/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/batch.c - see daemon/batch.h. */
#include "daemon/batch.h"

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
    batch->n_entries = batch->n_starts = batch->n_parts = batch->n_pages = 0;
}

/* The ranks learn a sequence's pages with its first positions; all of them, it owns them all. */
static void tell_pages(struct batch *batch, struct run *run)
{
    for (int32_t i = 0; i < run->n_pages; i++)
        batch->pages[batch->n_pages++] =
            (struct clus_page){.seq = run->seq, .page_idx = i, .page_id = run->pages[i]};
}

static void add_start(struct batch *batch, struct run *run, int32_t position, int32_t row)
{
    int32_t i = batch->n_starts++;
    float *injected = batch->injected + (size_t)i * (size_t)batch->n_embd;
    batch->prelude[i] = (struct model_border_in){
        .place = {.pages = run->pages, .n_pages = run->n_pages, .position = position},
        .token = run->tokens[position],
        .e = injected,
    };
    bool is_zero = run->spec->init_scale == 0;
    batch->starts[i] = (struct clus_start){
        .row = row,
        .position = position,
        .kind = is_zero ? CLUS_START_ZERO : CLUS_START_SEED,
        .seed = is_zero ? 0 : run->spec->seed,
        .init_scale = is_zero ? 0 : run->spec->init_scale,
        .injected = injected,
    };
}

int32_t batch_add(struct batch *batch, struct run *run, int32_t most)
{
    int32_t room = batch->max_entries - batch->n_entries;
    int32_t n = run->call_end - run->next;
    n = n < most ? n : most;
    n = n < room ? n : room;
    if (n <= 0)
        return 0;
    if (!run->pages_known)
        tell_pages(batch, run);
    uint32_t flags = run_wants(run);
    batch->parts[batch->n_parts++] = (struct batch_part){
        .run = run, .entry_begin = batch->n_entries, .entry_end = batch->n_entries + n};
    for (int32_t i = 0; i < n; i++) {
        int32_t position = run->next++;
        int32_t row = run->rows[position - run->call_begin];
        if (run->step_idx == 0)
            add_start(batch, run, position, row);
        batch->entries[batch->n_entries++] = (struct clus_entry){
            .row = row,
            .seq = run->seq,
            .position = position,
            .step_idx = run->step_idx,
            .flags = flags,
        };
    }
    return n;
}

void batch_close_seq(struct batch *batch, int32_t seq)
{
    batch->closed[batch->n_closed++] = seq;
}

struct clus_tick batch_tick(const struct batch *batch, uint64_t tick_id)
{
    return (struct clus_tick){
        .tick_id = tick_id,
        .closed = batch->closed,
        .n_closed = batch->n_closed,
        .pages = batch->pages,
        .n_pages = batch->n_pages,
        .starts = batch->starts,
        .n_starts = batch->n_starts,
        .entries = batch->entries,
        .n_entries = batch->n_entries,
    };
}

void batch_applied(struct batch *batch)
{
    for (int32_t p = 0; p < batch->n_parts; p++)
        batch->parts[p].run->pages_known = true;
    batch->n_closed = 0;
    batch->n_pages = 0;
}
