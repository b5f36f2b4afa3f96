/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/test_page_books.c - random ticks, most of them nearly right, against a second set of
 * books that is kept in another way: it does what a tick says on a copy and throws the copy away at
 * the first thing that is not allowed. Both must accept the same ticks, and after each of them the
 * references of every page are the open sequences that list it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "team.h"

#define SMALL TEST_DATA_DIR "/golden/tiny-p2r4c2"

#define SEQS      4
#define PAGES     24
#define PER_SEQ   6
#define POSITIONS 96
#define ROWS      70
#define BATCH     16

/* ---- the second set of books -------------------------------------------------------------- */

struct book_row {
    int32_t position; /* -1: never started */
    int32_t next_step;
    int32_t seq; /* that it thinks for, or -1 */
};

struct book_seq {
    int32_t pages[PER_SEQ];
    int32_t n_pages, n_shared, n_positions;
};

struct book_page {
    uint32_t present; /* bit i: position i was stepped */
    int32_t page_idx;
};

struct books {
    struct book_row rows[ROWS];
    struct book_seq seqs[SEQS];
    struct book_page pages[PAGES];
};

static int32_t lists_of(const struct books *b, int32_t page)
{
    int32_t n = 0;
    for (int32_t s = 0; s < SEQS; s++)
        for (int32_t i = 0; i < b->seqs[s].n_pages; i++)
            n += b->seqs[s].pages[i] == page;
    return n;
}

static bool is_in(int32_t value, int32_t end)
{
    return value >= 0 && value < end;
}

static bool do_closes(struct books *b, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_closed; i++) {
        int32_t idx = tick->closed[i];
        for (int32_t k = 0; k < i; k++)
            if (tick->closed[k] == idx)
                return false;
        if (!is_in(idx, SEQS))
            return false;
        b->seqs[idx] = (struct book_seq){0};
        for (int32_t r = 0; r < ROWS; r++)
            if (b->rows[r].seq == idx)
                b->rows[r].seq = -1;
    }
    return true;
}

static bool do_releases(struct books *b, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_released; i++) {
        int32_t page = tick->released[i];
        for (int32_t k = 0; k < i; k++)
            if (tick->released[k] == page)
                return false;
        if (!is_in(page, PAGES) || lists_of(b, page) > 0)
            return false;
        b->pages[page].present = 0;
    }
    return true;
}

static bool do_page(struct books *b, const struct clus_page *assign)
{
    if (!is_in(assign->seq, SEQS) || !is_in(assign->page_id, PAGES) ||
        !is_in(assign->page_idx, PER_SEQ))
        return false;
    struct book_seq *seq = &b->seqs[assign->seq];
    struct book_page *page = &b->pages[assign->page_id];
    if (assign->page_idx != seq->n_pages)
        return false;
    if (assign->is_shared) {
        if (page->present != 0xFFFF || page->page_idx != seq->n_pages ||
            seq->n_shared != seq->n_pages)
            return false;
        seq->n_shared++;
        seq->n_positions += 16;
    } else if (lists_of(b, assign->page_id) > 0 || page->present != 0) {
        return false;
    }
    page->page_idx = assign->page_idx;
    seq->pages[seq->n_pages++] = assign->page_id;
    return true;
}

static bool do_starts(struct books *b, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_starts; i++) {
        const struct clus_start *start = &tick->starts[i];
        for (int32_t k = 0; k < i; k++)
            if (tick->starts[k].row == start->row)
                return false;
        if (!is_in(start->row, ROWS) || !is_in(start->position, POSITIONS))
            return false;
        b->rows[start->row] = (struct book_row){start->position, 0, -1};
    }
    return true;
}

static bool do_entry(struct books *b, const struct clus_entry *entry)
{
    if (!is_in(entry->row, ROWS) || !is_in(entry->seq, SEQS) || !is_in(entry->position, POSITIONS))
        return false;
    struct book_row *row = &b->rows[entry->row];
    struct book_seq *seq = &b->seqs[entry->seq];
    int32_t page_idx = entry->position / 16;
    if (row->position != entry->position || row->next_step != entry->step_idx ||
        (entry->step_idx > 0 && row->seq != entry->seq))
        return false;
    if (page_idx >= seq->n_pages || page_idx < seq->n_shared ||
        entry->position > seq->n_positions || lists_of(b, seq->pages[page_idx]) != 1)
        return false;
    for (int32_t r = 0; r < ROWS; r++)
        if (b->rows[r].seq == entry->seq && b->rows[r].position == entry->position)
            b->rows[r].seq = -1;
    row->seq = entry->seq;
    row->next_step++;
    if (entry->position == seq->n_positions)
        seq->n_positions++;
    b->pages[seq->pages[page_idx]].present |= 1u << (entry->position % 16);
    return true;
}

static bool do_entries(struct books *b, const struct clus_tick *tick)
{
    for (int32_t i = 0; i < tick->n_entries; i++) {
        const struct clus_entry *entry = &tick->entries[i];
        for (int32_t k = 0; k < i; k++)
            if (tick->entries[k].row == entry->row ||
                (tick->entries[k].seq == entry->seq &&
                 tick->entries[k].position >= entry->position))
                return false;
        if (!do_entry(b, entry))
            return false;
    }
    return true;
}

static bool do_tick(struct books *b, const struct clus_tick *tick)
{
    if (!do_closes(b, tick) || !do_releases(b, tick))
        return false;
    for (int32_t i = 0; i < tick->n_pages; i++)
        if (!do_page(b, &tick->pages[i]))
            return false;
    return do_starts(b, tick) && do_entries(b, tick);
}

/* ---- random ticks ------------------------------------------------------------------------- */

struct maker {
    uint64_t random;
    struct books plan; /* the books, with what this tick has said so far; not always allowed */
    int32_t closed[3], released[6];
    struct clus_page pages[8];
    struct clus_start starts[BATCH];
    struct clus_entry entries[BATCH];
    struct clus_tick tick;
};

static int32_t draw(struct maker *m, int32_t n)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return (int32_t)((m->random >> 33) % (uint64_t)n);
}

/* Once in a while something else than what would be right. */
static int32_t spoiled(struct maker *m, int32_t right, int32_t end)
{
    return draw(m, 150) == 0 ? draw(m, end + 2) - 1 : right;
}

static void make_closes(struct maker *m)
{
    for (int32_t n = draw(m, 12) == 0 ? 1 + draw(m, 2) : 0; n > 0; n--) {
        int32_t seq = spoiled(m, draw(m, SEQS), SEQS);
        m->closed[m->tick.n_closed++] = seq;
        if (is_in(seq, SEQS))
            m->plan.seqs[seq] = (struct book_seq){0};
    }
}

/* Usually a page that nobody lists; some of these stay as they are, to be shared. */
static void make_releases(struct maker *m)
{
    for (int32_t n = draw(m, 4) == 0 ? 1 + draw(m, 5) : 0; n > 0; n--) {
        int32_t page = spoiled(m, draw(m, PAGES), PAGES);
        bool is_odd = !is_in(page, PAGES) || lists_of(&m->plan, page) > 0;
        if (is_odd && draw(m, 60) != 0)
            continue;
        m->released[m->tick.n_released++] = page;
        if (!is_odd)
            m->plan.pages[page].present = 0;
    }
}

/* A page that fits: shared or own; -1 when there is none. */
static int32_t find_page(struct maker *m, const struct book_seq *seq, bool is_shared)
{
    int32_t first = draw(m, PAGES);
    for (int32_t i = 0; i < PAGES; i++) {
        int32_t id = (first + i) % PAGES;
        const struct book_page *page = &m->plan.pages[id];
        if (is_shared ? page->present == 0xFFFF && page->page_idx == seq->n_pages
                      : page->present == 0 && lists_of(&m->plan, id) == 0)
            return id;
    }
    return -1;
}

static void make_pages(struct maker *m)
{
    for (int32_t n = draw(m, 3) == 0 ? 1 + draw(m, 4) : 0; n > 0; n--) {
        int32_t idx = draw(m, SEQS);
        struct book_seq *seq = &m->plan.seqs[idx];
        bool is_late = seq->n_shared < seq->n_pages && draw(m, 20) != 0;
        bool is_shared = !is_late && draw(m, 2) == 0;
        int32_t id = find_page(m, seq, is_shared);
        if (id < 0 || seq->n_pages >= PER_SEQ)
            continue;
        if (draw(m, 100) == 0)
            is_shared = !is_shared;
        const struct clus_page page = {spoiled(m, idx, SEQS), spoiled(m, seq->n_pages, PER_SEQ),
                                       spoiled(m, id, PAGES), is_shared};
        m->pages[m->tick.n_pages++] = page;
        struct books trial = m->plan;
        if (do_page(&trial, &page))
            m->plan = trial;
    }
}

static void add_entry(struct maker *m, struct clus_entry entry)
{
    static const float injected[1024];
    entry.row = spoiled(m, entry.row, ROWS);
    entry.position = spoiled(m, entry.position, POSITIONS);
    if (entry.step_idx == 0)
        m->starts[m->tick.n_starts++] =
            (struct clus_start){.row = entry.row, .position = entry.position, .injected = injected};
    if (draw(m, 300) == 0)
        entry.step_idx++;
    entry.flags = draw(m, 4) == 0 ? CLUS_WANT_LATENT : 0;
    m->entries[m->tick.n_entries++] = entry;
}

/* New positions, an old one again, or the next step of rows that have begun. */
static void make_entries(struct maker *m, int32_t idx)
{
    const struct book_seq *seq = &m->plan.seqs[idx];
    int32_t room = seq->n_pages * 16, most = BATCH / 2 - 1;
    if (draw(m, 4) == 0) {
        for (int32_t r = 0; r < ROWS && most > 0; r++)
            if ((m->plan.rows[r].seq == idx || draw(m, 2000) == 0) && draw(m, 4) == 0) {
                add_entry(m, (struct clus_entry){r, idx, m->plan.rows[r].position,
                                                 m->plan.rows[r].next_step, 0});
                most = 0;
            }
        return;
    }
    int32_t first = seq->n_positions;
    if (first > 0 && draw(m, 6) == 0)
        first = draw(m, first);
    for (int32_t i = 0; i < 1 + draw(m, most) && first + i < room; i++)
        add_entry(m, (struct clus_entry){(idx * 17 + first + i) % ROWS, idx, first + i, 0, 0});
}

static void make_tick(struct maker *m, const struct books *books)
{
    m->plan = *books;
    m->tick = (struct clus_tick){.tick_id = m->tick.tick_id + 1,
                                 .closed = m->closed,
                                 .released = m->released,
                                 .pages = m->pages,
                                 .starts = m->starts,
                                 .entries = m->entries};
    make_closes(m);
    make_releases(m);
    make_pages(m);
    if (draw(m, 2) == 0)
        make_entries(m, draw(m, SEQS));
    if (draw(m, 4) == 0)
        make_entries(m, draw(m, SEQS));
}

/* ---- both ---------------------------------------------------------------------------------- */

struct tally {
    int32_t n_accepted, n_refused, n_shared, n_released, most_refs;
};

static void compare_books(const struct team *team, int32_t n_ranks, const struct books *books,
                          struct tally *tally)
{
    struct ltd_err err = {0};
    for (int32_t r = 0; r < n_ranks; r++) {
        const struct clus_executor *executor = team_executor(team, r);
        if (clus_executor_audit(executor, &err))
            fail_msg("rank %d: %s", r, err.msg);
        for (int32_t page = 0; page < PAGES; page++) {
            int32_t refs = clus_executor_page_refs(executor, page);
            if (refs != lists_of(books, page))
                fail_msg("rank %d: page %d has %d references, expected %d", r, page, refs,
                         lists_of(books, page));
            tally->most_refs = refs > tally->most_refs ? refs : tally->most_refs;
        }
    }
}

static void run_one(struct team *team, int32_t n_ranks, struct maker *m, struct books *books,
                    struct tally *tally)
{
    const struct driver_port port = team_port(team);
    struct clus_reply reply;
    struct ltd_err err = {0};
    struct books after = *books;
    make_tick(m, books);
    bool is_allowed = do_tick(&after, &m->tick);
    if (port.run(port.arg, &m->tick, &reply, &err))
        fail_msg("tick %llu: lost: %s", (unsigned long long)m->tick.tick_id, err.msg);
    if ((reply.err.code == LTD_OK) != is_allowed)
        fail_msg("tick %llu: %s, expected it to be %s", (unsigned long long)m->tick.tick_id,
                 reply.err.code == LTD_OK ? "accepted" : reply.err.msg,
                 is_allowed ? "accepted" : "refused");
    if (is_allowed) {
        *books = after;
        tally->n_released += m->tick.n_released;
        for (int32_t i = 0; i < m->tick.n_pages; i++)
            tally->n_shared += m->tick.pages[i].is_shared;
    }
    *(is_allowed ? &tally->n_accepted : &tally->n_refused) += 1;
    compare_books(team, n_ranks, books, tally);
}

static struct tally run_many(const struct team_spec *spec, uint64_t seed, int32_t n_ticks)
{
    struct team *team = team_create(spec);
    struct maker *m = calloc(1, sizeof *m);
    struct books books = {0};
    struct tally tally = {0};
    assert_non_null(m);
    m->random = seed;
    for (int32_t r = 0; r < ROWS; r++)
        books.rows[r] = (struct book_row){-1, 0, -1};
    for (int32_t i = 0; i < n_ticks; i++)
        run_one(team, spec->n_ranks, m, &books, &tally);
    free(m);
    team_destroy(team);
    print_message("%d ranks: %d ticks accepted, %d refused, %d pages shared, %d released, at most "
                  "%d references\n",
                  spec->n_ranks, tally.n_accepted, tally.n_refused, tally.n_shared,
                  tally.n_released, tally.most_refs);
    return tally;
}

static void hundred_thousand_ticks_leave_the_references_right(void **state)
{
    (void)state;
    const struct team_spec spec = {.dir = SMALL,
                                   .tier = "auto",
                                   .policy = "latest-m4-compress-s16",
                                   .n_ranks = 1,
                                   .n_threads = 1};
    struct tally tally = run_many(&spec, 1, 100000);
    /* The test is about something: all of it happened, and not by chance once. */
    assert_true(tally.n_accepted > 30000 && tally.n_refused > 5000);
    assert_true(tally.n_shared > 1000 && tally.n_released > 10000);
    assert_int_equal(tally.most_refs, SEQS);
}

static void ranks_accept_the_same_ticks_whatever_they_own(void **state)
{
    (void)state;
    const struct team_spec spec = {.dir = SMALL,
                                   .tier = "auto",
                                   .policy = "full",
                                   .shares = "1,0.001,1", /* the second one has no head */
                                   .n_ranks = 3,
                                   .n_threads = 1,
                                   .kv_format = MODEL_KV_BF16};
    struct tally tally = run_many(&spec, 2, 1000);
    assert_true(tally.n_accepted > 200 && tally.n_refused > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundred_thousand_ticks_leave_the_references_right),
        cmocka_unit_test(ranks_accept_the_same_ticks_whatever_they_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
