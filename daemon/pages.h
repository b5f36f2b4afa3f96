/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/pages.h - who holds which KV page, and which pages hold something that another job can
 * use.
 *
 *     free ──pages_take──▶ held (refs 1) ──pages_drop──▶ free          contents forgotten
 *                           │    ▲                  └──▶ cached        contents kept, nobody holds it
 *                pages_seal │    └── pages_share ───────────┘ │
 *                           ▼        (also refs 1 -> 2, ...)  └─ evicted, oldest first ─▶ free
 *                         sealed: full, never written again
 *
 * A sealed page is found by what it holds: sixteen tokens, the depth of each, the source of the
 * initial latents and the copies that make the steps, and the page before it. Two chains of pages
 * that are equal in all of that hold equal bits (docs/numerics.md#kv-sharing), so a job may take
 * over the pages of another one. Contents have serial numbers that are never used twice, so a chain
 * cannot be mistaken when its pages are reused; equality is checked on the contents themselves, the
 * hash only finds candidates.
 *
 * The exact account: free + held + cached = total, at any time.
 * Threads: engine thread only. Nothing is allocated after init.
 */
#ifndef LATENTD_DAEMON_PAGES_H
#define LATENTD_DAEMON_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kernels/kernels.h"

/* Where the latents of a sequence come from: the initial ones (both zero when init_scale is 0), and
 * which copy of the recurrent block makes the steps. */
struct pages_origin {
    uint64_t seed;
    float init_scale;
    int32_t early_steps;
};

/* pages_same_origin - do sequences of equal tokens and depths have equal latents? */
bool pages_same_origin(const struct pages_origin *a, const struct pages_origin *b);

/* What a full page holds. */
struct pages_content {
    struct pages_origin origin;
    int32_t page_idx; /* positions begin at page_idx * KERN_PAGE_POSITIONS */
    uint64_t before;  /* serial of the contents of the page before; 0 for the first page */
    int32_t tokens[KERN_PAGE_POSITIONS];
    int32_t depths[KERN_PAGE_POSITIONS]; /* steps that each position took */
};

struct page {
    int32_t n_refs, n_idle; /* the second: references of finished jobs, part of the first */
    bool is_released;       /* stands in `released` */
    uint64_t serial;        /* of the sealed contents; 0 = not sealed */
    struct pages_content content;
    int32_t next_in_bucket;
    int32_t older, newer; /* of cached pages */
};

struct pages {
    struct page *pages; /* [n_total] */
    int32_t *free;      /* [n_total]; the first n_free */
    int32_t *buckets;   /* [n_total] heads by hash, -1 = empty */
    int32_t *released;  /* [n_total] freed; ranks are still to be told to forget them */
    int32_t n_total, n_free, n_cached, n_shared, n_released;
    int32_t n_idle;     /* held by finished jobs only: free as soon as those give them up */
    int32_t max_cached; /* sealed pages that nobody holds are kept up to this many */
    int32_t oldest, newest;
    uint64_t last_serial;
    void (*on_release)(void *arg, int32_t page); /* contents are forgotten; NULL = nobody cares */
    void *on_release_arg;
};

/* Errors: LTD_E_EXHAUSTED. */
int pages_init(struct pages *pages, int32_t n_total, int32_t max_cached, struct ltd_err *err);
void pages_fini(struct pages *pages);

/* Pages that pages_take could give: free and cached ones. */
static inline int32_t pages_n_available(const struct pages *pages)
{
    return pages->n_free + pages->n_cached;
}

/* pages_take - n empty pages with one reference each; cached ones are evicted as needed. False, and
 * nothing taken, when there are not so many. */
bool pages_take(struct pages *pages, int32_t n, int32_t *out);

/* pages_share - one more reference to a sealed page. */
void pages_share(struct pages *pages, int32_t page);

/* pages_drop - one reference less. */
void pages_drop(struct pages *pages, int32_t page);

/* pages_rest - one of the page's references is a finished job's from now on, which gives it up when
 * somebody needs it; pages_wake takes that back, as before the reference is dropped. */
void pages_rest(struct pages *pages, int32_t page);
void pages_wake(struct pages *pages, int32_t page);

/* pages_seal - the page is full and will not be written again. Of two pages with equal contents
 * only the first is found. Returns the serial of the contents (that of the first, if there are
 * two). */
uint64_t pages_seal(struct pages *pages, int32_t page, const struct pages_content *content);

/* pages_unseal - its one holder is going to write to it after all. Not for shared pages. */
void pages_unseal(struct pages *pages, int32_t page);

/* pages_find - a page with these contents, held or cached; -1 when there is none. */
int32_t pages_find(const struct pages *pages, const struct pages_content *content);

static inline int32_t pages_n_held(const struct pages *pages)
{
    return pages->n_total - pages->n_free - pages->n_cached;
}

/* The ranks have forgotten the first n of `released`. */
void pages_clear_released(struct pages *pages, int32_t n);

#endif
