/* SPDX-License-Identifier: Apache-2.0 */
/*
 * daemon/pages.c - see daemon/pages.h.
 *
 * Invariants: a free page has no references and no serial; a cached page has a serial, no
 * references, and is in the list from oldest to newest; every page with a serial that was the first
 * of its contents is in its bucket.
 */
#include "daemon/pages.h"

#include <string.h>

#include "base/size.h"

int pages_init(struct pages *pages, int32_t n_total, int32_t max_cached, struct ltd_err *err)
{
    size_t n = (size_t)n_total;
    *pages =
        (struct pages){.n_total = n_total, .max_cached = max_cached, .oldest = -1, .newest = -1};
    pages->pages = ltd_alloc(n, sizeof *pages->pages);
    pages->free = ltd_alloc(n, sizeof *pages->free);
    pages->buckets = ltd_alloc(n, sizeof *pages->buckets);
    pages->released = ltd_alloc(n, sizeof *pages->released);
    if (!pages->pages || !pages->free || !pages->buckets || !pages->released) {
        pages_fini(pages);
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the account of %d pages", n_total);
    }
    for (int32_t i = 0; i < n_total; i++) {
        pages->pages[i] = (struct page){.next_in_bucket = -1, .older = -1, .newer = -1};
        pages->buckets[i] = -1;
        pages->free[pages->n_free++] = n_total - 1 - i; /* low numbers first */
    }
    return 0;
}

void pages_fini(struct pages *pages)
{
    ltd_free(pages->pages);
    ltd_free(pages->free);
    ltd_free(pages->buckets);
    ltd_free(pages->released);
    *pages = (struct pages){0};
}

/* ---- contents ---- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash =
        (hash ^ value) * 0x9E3779B97F4A7C15ull; /* 2^64 / golden ratio: spreads low bits upwards */
    return hash ^ hash >> 29;
}

static int32_t *bucket_of(const struct pages *pages, const struct pages_content *content)
{
    uint64_t hash = mix(mix(content->before, content->origin.seed), (uint64_t)content->page_idx);
    for (int32_t i = 0; i < KERN_PAGE_POSITIONS; i++)
        hash =
            mix(hash, (uint64_t)(uint32_t)content->tokens[i] << 32 | (uint32_t)content->depths[i]);
    return &pages->buckets[hash % (uint64_t)pages->n_total];
}

bool pages_same_origin(const struct pages_origin *a, const struct pages_origin *b)
{
    return a->seed == b->seed && a->init_scale == b->init_scale && a->early_steps == b->early_steps;
}

static bool is_equal(const struct pages_content *a, const struct pages_content *b)
{
    return a->before == b->before && a->page_idx == b->page_idx &&
           pages_same_origin(&a->origin, &b->origin) &&
           memcmp(a->tokens, b->tokens, sizeof a->tokens) == 0 &&
           memcmp(a->depths, b->depths, sizeof a->depths) == 0;
}

int32_t pages_find(const struct pages *pages, const struct pages_content *content)
{
    int32_t page = *bucket_of(pages, content);
    while (page >= 0 && !is_equal(&pages->pages[page].content, content))
        page = pages->pages[page].next_in_bucket;
    return page;
}

uint64_t pages_seal(struct pages *pages, int32_t page, const struct pages_content *content)
{
    struct page *p = &pages->pages[page];
    int32_t first = pages_find(pages, content);
    ltd_assert(p->n_refs > 0 && p->serial == 0, p->n_refs, p->serial);
    if (first >= 0)
        return pages->pages[first].serial; /* this one stays a page of its job and nothing else */
    int32_t *bucket = bucket_of(pages, content);
    p->content = *content;
    p->serial = ++pages->last_serial;
    p->next_in_bucket = *bucket;
    *bucket = page;
    return p->serial;
}

static void forget(struct pages *pages, int32_t page)
{
    struct page *p = &pages->pages[page];
    if (p->serial == 0)
        return;
    int32_t *link = bucket_of(pages, &p->content);
    while (*link != page)
        link = &pages->pages[*link].next_in_bucket;
    *link = p->next_in_bucket;
    p->serial = 0;
    p->next_in_bucket = -1;
}

void pages_unseal(struct pages *pages, int32_t page)
{
    ltd_assert(pages->pages[page].n_refs == 1, page, pages->pages[page].n_refs);
    forget(pages, page);
}

/* ---- cached ---- */

static void cache(struct pages *pages, int32_t page)
{
    struct page *p = &pages->pages[page];
    p->older = pages->newest;
    p->newer = -1;
    *(pages->newest >= 0 ? &pages->pages[pages->newest].newer : &pages->oldest) = page;
    pages->newest = page;
    pages->n_cached++;
}

static void uncache(struct pages *pages, int32_t page)
{
    struct page *p = &pages->pages[page];
    *(p->older >= 0 ? &pages->pages[p->older].newer : &pages->oldest) = p->newer;
    *(p->newer >= 0 ? &pages->pages[p->newer].older : &pages->newest) = p->older;
    p->older = p->newer = -1;
    pages->n_cached--;
}

static void give_back(struct pages *pages, int32_t page)
{
    forget(pages, page);
    pages->free[pages->n_free++] = page;
    if (pages->on_release)
        pages->on_release(pages->on_release_arg, page);
    if (pages->pages[page].is_released)
        return; /* freed twice between two ticks; ranks are told once */
    pages->pages[page].is_released = true;
    pages->released[pages->n_released++] = page;
}

void pages_clear_released(struct pages *pages, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        pages->pages[pages->released[i]].is_released = false;
    pages->n_released -= n;
    memmove(pages->released, pages->released + n,
            (size_t)pages->n_released * sizeof *pages->released);
}

static void evict_oldest(struct pages *pages)
{
    int32_t page = pages->oldest;
    uncache(pages, page);
    give_back(pages, page);
}

/* ---- references ---- */

bool pages_take(struct pages *pages, int32_t n, int32_t *out)
{
    if (pages_n_available(pages) < n)
        return false;
    while (pages->n_free < n)
        evict_oldest(pages);
    for (int32_t i = 0; i < n; i++) {
        out[i] = pages->free[--pages->n_free];
        pages->pages[out[i]].n_refs = 1;
    }
    return true;
}

static void add_refs(struct pages *pages, struct page *p, int32_t n_refs, int32_t n_idle)
{
    pages->n_idle -= p->n_refs > 0 && p->n_idle == p->n_refs;
    p->n_refs += n_refs;
    p->n_idle += n_idle;
    pages->n_idle += p->n_refs > 0 && p->n_idle == p->n_refs;
    ltd_assert(p->n_idle >= 0 && p->n_idle <= p->n_refs, p->n_idle, p->n_refs);
}

void pages_rest(struct pages *pages, int32_t page)
{
    add_refs(pages, &pages->pages[page], 0, 1);
}

void pages_wake(struct pages *pages, int32_t page)
{
    add_refs(pages, &pages->pages[page], 0, -1);
}

void pages_share(struct pages *pages, int32_t page)
{
    struct page *p = &pages->pages[page];
    ltd_assert(p->serial != 0, page, p->n_refs);
    if (p->n_refs == 0)
        uncache(pages, page);
    add_refs(pages, p, 1, 0);
    pages->n_shared += p->n_refs == 2;
}

void pages_drop(struct pages *pages, int32_t page)
{
    struct page *p = &pages->pages[page];
    ltd_assert(p->n_refs > 0, page, p->n_refs);
    pages->n_shared -= p->n_refs == 2;
    add_refs(pages, p, -1, 0);
    if (p->n_refs > 0)
        return;
    if (p->serial == 0 || pages->max_cached == 0) {
        give_back(pages, page);
        return;
    }
    cache(pages, page);
    if (pages->n_cached > pages->max_cached)
        evict_oldest(pages);
}
