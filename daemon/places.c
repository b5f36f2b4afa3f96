/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/places.c - see daemon/places.h. */
#include "daemon/places.h"

#include <string.h>

#include "model/border.h"

static void on_release(void *arg, int32_t page)
{
    struct model_border *border = arg;
    model_border_release(border, page);
}

int places_init(struct places *places, const struct engine_config *config, struct batch *batch,
                struct ltd_err *err)
{
    *places = (struct places){.batch = batch, .max_held = config->n_held_jobs};
    int32_t max_cached = config->is_replayable ? config->n_cached_pages : 0;
    if (pages_init(&places->pages, config->n_pages, max_cached, err) != 0 ||
        idpool_init(&places->rows, config->n_rows, err) != 0 ||
        idpool_init(&places->seqs, config->n_seqs, err) != 0) {
        places_fini(places);
        return -1;
    }
    places->pages.on_release = on_release;
    places->pages.on_release_arg = config->border;
    return 0;
}

void places_fini(struct places *places)
{
    if (places->oldest_held)
        places_forget_all(places);
    pages_fini(&places->pages);
    idpool_fini(&places->rows);
    idpool_fini(&places->seqs);
    *places = (struct places){0};
}

/* ---- held runs ---- */

static struct run *unlink_held(struct places *places, struct run **link)
{
    struct run *run = *link;
    *link = run->next_held;
    places->n_held--;
    places->n_rows_held -= run->n_rows;
    for (int32_t i = 0; i < run->n_pages; i++)
        pages_wake(&places->pages, run->pages[i]);
    return run;
}

static void end_held(struct places *places, struct run **link)
{
    struct run *run = unlink_held(places, link);
    places_give(places, run);
    run_destroy(run);
}

/* The run that finished the job called `key` and still holds its places; unlinked. */
static struct run *unhold(struct places *places, const char *key)
{
    struct run **link = &places->oldest_held;
    while (*link && strcmp((*link)->key, key) != 0)
        link = &(*link)->next_held;
    return *link ? unlink_held(places, link) : NULL;
}

bool places_hold(struct places *places, struct run *take_run)
{
    struct run *run = take_run;
    if (places->max_held == 0 || !run->is_placed || run->key[0] == '\0' ||
        run->n_done != run->call_end || run->n_pages_told < run->n_pages)
        return false;
    if (places->n_held == places->max_held)
        end_held(places, &places->oldest_held);
    struct run **link = &places->oldest_held;
    while (*link)
        link = &(*link)->next_held;
    run_strip(run);
    textout_fini(&run->text);
    run->spec = NULL; /* the job owns it, and is over */
    run->next_held = NULL;
    *link = run;
    places->n_held++;
    places->n_rows_held += run->n_rows;
    for (int32_t i = 0; i < run->n_pages; i++)
        pages_rest(&places->pages, run->pages[i]);
    return true;
}

void places_forget_all(struct places *places)
{
    while (places->oldest_held)
        end_held(places, &places->oldest_held);
}

/* ---- room ---- */

/* Just what make_room can reach: with nobody running that is all there is, or jobs would wait for
 * ever. */
struct sched_places places_free(const struct places *places)
{
    return (struct sched_places){
        .n_pages = pages_n_available(&places->pages) + places->pages.n_idle,
        .n_rows = places->rows.n_free + places->n_rows_held,
        .n_seqs = places->seqs.n_free + places->n_held,
    };
}

/* End held runs until so much is free. */
static bool make_room(struct places *places, int32_t n_pages, int32_t n_rows, int32_t n_seqs)
{
    while (pages_n_available(&places->pages) < n_pages || places->rows.n_free < n_rows ||
           places->seqs.n_free < n_seqs) {
        if (!places->oldest_held)
            return false;
        end_held(places, &places->oldest_held);
    }
    return true;
}

/* ---- taking over ---- */

/* Contents that page `idx` of the run will have, as far as its depths are sure. */
static struct pages_content content_of(const struct run *run, int32_t idx, uint64_t before)
{
    struct pages_content content = {.origin = run->origin, .page_idx = idx, .before = before};
    for (int32_t i = 0; i < KERN_PAGE_POSITIONS; i++) {
        int32_t position = idx * KERN_PAGE_POSITIONS + i;
        content.tokens[i] = run->tokens[position];
        content.depths[i] = run_sure_depth(run, position);
    }
    return content;
}

/* Take references to the longest chain of pages that begins as the run does. */
static void share_pages(struct places *places, struct run *run)
{
    int32_t n_most = run_n_shareable(run) / KERN_PAGE_POSITIONS;
    run->n_shared = 0;
    run->last_serial = 0;
    while (run->n_shared < n_most) {
        struct pages_content content = content_of(run, run->n_shared, run->last_serial);
        int32_t page = pages_find(&places->pages, &content);
        if (page < 0)
            break;
        pages_share(&places->pages, page);
        run->last_serial = places->pages.pages[page].serial;
        run->pages[run->n_shared++] = page;
    }
    run->n_sealed = run->n_shared;
    run->n_pages = run->n_shared;
}

static void unshare_pages(struct places *places, struct run *run)
{
    for (int32_t i = 0; i < run->n_shared; i++)
        pages_drop(&places->pages, run->pages[i]);
    run->n_pages = run->n_shared = run->n_sealed = 0;
    run->last_serial = 0;
}

/* The last call of the held run goes on: nobody else may rely on what its pages hold. */
static bool can_rewrite(const struct places *places, const struct run *held)
{
    int32_t first = held->call_begin / KERN_PAGE_POSITIONS;
    int32_t last = (held->call_end - 1) / KERN_PAGE_POSITIONS;
    for (int32_t i = first; i <= last; i++)
        if (places->pages.pages[held->pages[i]].n_refs > 1)
            return false;
    return true;
}

/* The pages of the call at hand will be written again: take them out of the chain, if they were. */
static void unseal_call(struct places *places, struct run *run)
{
    int32_t first = run->call_begin / KERN_PAGE_POSITIONS;
    if (run->n_sealed <= first)
        return;
    while (run->n_sealed > first) {
        int32_t page = run->pages[--run->n_sealed];
        if (places->pages.pages[page].serial)
            pages_unseal(&places->pages, page);
    }
    run->last_serial = first ? places->pages.pages[run->pages[first - 1]].serial : 0;
    if (first && !run->last_serial)
        run->n_sealed = RUN_NO_SEAL; /* that page has a twin, whose serial is not known here */
}

/* Does the run begin with what the held one computed, as far as `n` positions go? */
static bool continues(const struct run *run, const struct run *held, int32_t n)
{
    if (held->n_prompt != run->n_prompt || !pages_same_origin(&held->origin, &run->origin) ||
        held->n_done > run->n_tokens || held->n_pages > run->sched.n_pages ||
        held->n_rows > run->rows_room ||
        memcmp(held->tokens, run->tokens, (size_t)held->n_done * sizeof *run->tokens) != 0)
        return false;
    for (int32_t p = 0; p < n; p++) {
        int32_t sure = run_sure_depth(run, p);
        bool is_by_rule = sure == 0 && run->spec->depth.is_tokenwise && p < run->n_prompt;
        if (!is_by_rule && sure != held->depths[p])
            return false;
    }
    return true;
}

/* The token behind the last call is to be written again, after more steps of that call. */
static bool can_deepen(const struct places *places, const struct run *run, const struct run *held)
{
    return run->depths[held->call_begin] == 0 &&
           run_sure_depth(run, held->call_begin) > held->depths[held->call_begin] &&
           can_rewrite(places, held) && held->n_rows >= run_call_len(held);
}

/* The places of `held` become those of `run`, which stands where held stopped or inside its last
 * call. */
static void inherit(struct run *run, struct run *held)
{
    run->seq = held->seq;
    memcpy(run->pages, held->pages, (size_t)held->n_pages * sizeof *run->pages);
    run->n_pages = held->n_pages;
    run->n_pages_told = held->n_pages_told;
    run->n_shared = held->n_shared;
    run->n_sealed = held->n_sealed;
    run->last_serial = held->last_serial;
    memcpy(run->rows, held->rows, (size_t)held->n_rows * sizeof *run->rows);
    run->n_rows = held->n_rows;
    memcpy(run->depths, held->depths, (size_t)held->n_done * sizeof *run->depths);
    run->n_done = held->n_done;
    run->call_begin = held->call_begin;
    run->call_end = held->call_end;
    run->is_placed = true;
    held->is_placed = false;
}

/* Go on from the job that this one continues. False, and nothing changed, when that cannot be. */
static bool take_held(struct places *places, struct run *run)
{
    struct run *held = unhold(places, run->spec->continues);
    if (!held)
        return false;
    bool is_deeper = held->n_done == run->n_tokens;
    bool fits = continues(run, held, is_deeper ? held->call_begin : held->n_done) &&
                (!is_deeper || can_deepen(places, run, held));
    int32_t n_more = run->sched.n_pages - held->n_pages;
    if (!fits || !make_room(places, n_more, 0, 0)) {
        places_give(places, held);
        run_destroy(held);
        return false;
    }
    int32_t steps = held->depths[held->call_begin];
    inherit(run, held);
    run_destroy(held);
    pages_take(&places->pages, n_more, run->pages + run->n_pages);
    run->n_pages += n_more;
    if (is_deeper) {
        unseal_call(places, run);
        run_resume_call(run, run->call_begin, steps);
    } else {
        places_shrink_rows(places, run);
        run_begin_call(run);
    }
    return true;
}

/* ---- taking and giving ---- */

bool places_take(struct places *places, struct run *run)
{
    if (run->spec->continues[0] && run->n_done == 0 && take_held(places, run))
        return true;
    share_pages(places, run);
    int32_t n_fresh = run->sched.n_pages - run->n_shared;
    int32_t n_rows = run->sched.n_rows;
    if (!make_room(places, n_fresh, n_rows, 1)) {
        unshare_pages(places, run);
        return false;
    }
    pages_take(&places->pages, n_fresh, run->pages + run->n_shared);
    run->n_pages = run->sched.n_pages;
    idpool_acquire_n(&places->rows, n_rows, run->rows);
    run->n_rows = n_rows;
    run->seq = idpool_acquire(&places->seqs);
    run->n_pages_told = 0;
    run->is_placed = true;
    run_take_over(run, run->n_shared * KERN_PAGE_POSITIONS);
    places->n_prefix_positions += (uint64_t)run->n_done;
    run_begin_call(run);
    return true;
}

void places_give(struct places *places, struct run *run)
{
    if (!run->is_placed)
        return;
    /* Last page first: of a chain that is cached the end goes before the beginning, without which
     * nothing behind it is found. */
    for (int32_t i = run->n_pages - 1; i >= 0; i--)
        pages_drop(&places->pages, run->pages[i]);
    idpool_release_n(&places->rows, run->n_rows, run->rows);
    idpool_release(&places->seqs, run->seq);
    if (run->n_pages_told > 0)
        batch_close_seq(places->batch, run->seq);
    run->n_pages = run->n_rows = 0;
    run->is_placed = false;
}

void places_shrink_rows(struct places *places, struct run *run)
{
    if (run->n_rows <= 1)
        return;
    idpool_release_n(&places->rows, run->n_rows - 1, run->rows + 1);
    run->n_rows = 1;
}

void places_seal(struct places *places, struct run *run)
{
    if (!run->is_replayable || places->pages.max_cached == 0 || run->n_sealed == RUN_NO_SEAL)
        return;
    while ((run->n_sealed + 1) * KERN_PAGE_POSITIONS <= run->n_done) {
        struct pages_content content = content_of(run, run->n_sealed, run->last_serial);
        run->last_serial = pages_seal(&places->pages, run->pages[run->n_sealed], &content);
        run->n_sealed++;
    }
}
