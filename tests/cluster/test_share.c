/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/test_share.c - pages that outlive their sequence and serve others: a shared prefix
 * gives the bits of one that was computed again, and what would break that is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/latent.h"
#include "team.h"

#define SMALL TEST_DATA_DIR "/golden/tiny-p2r4c2"

#define WIDTH_MAX 128
#define CHUNK     16
#define N_PROMPT  41 /* two whole pages and a bit */
#define N_PREFIX  32 /* the two pages */
#define N_NEW     4

static const struct team_spec one = {
    .dir = SMALL, .tier = "ref", .policy = DRIVER_POLICY, .n_ranks = 1, .n_threads = 1};

/* What is computed: tokens are told apart by the seed of their injected vectors. */
struct text {
    uint64_t prefix, tail; /* of positions before and from N_PREFIX on */
    uint64_t latents;      /* seed of the initial latents */
    int32_t depth;
};

static const struct text first_text = {100, 200, 7, 9}, second_text = {100, 300, 7, 9};

static void fill_injected(const struct team *team, const struct text *text, int32_t position,
                          float *out)
{
    uint64_t seed = position < N_PREFIX ? text->prefix : text->tail;
    model_latent_init(out, team_limits(team)->n_embd, seed, position, 1.0f);
}

static int32_t page_of(int32_t seq, int32_t idx)
{
    return 6 * seq + idx;
}

/* One step of positions [first, first + n), n <= CHUNK, in the rows of their numbers. */
static struct clus_reply step(struct team *team, int32_t seq, const struct text *text,
                              int32_t first, int32_t n, int32_t step_idx)
{
    static float injected[CHUNK][WIDTH_MAX];
    struct clus_start starts[CHUNK];
    struct clus_entry entries[CHUNK];
    struct clus_tick tick = {.starts = starts, .entries = entries, .n_entries = n};
    for (int32_t i = 0; i < n; i++) {
        entries[i] = (struct clus_entry){first + i, seq, first + i, step_idx, CLUS_WANT_LATENT};
        if (step_idx > 0)
            continue;
        fill_injected(team, text, first + i, injected[i]);
        starts[tick.n_starts++] = (struct clus_start){.row = first + i,
                                                      .position = first + i,
                                                      .kind = CLUS_START_SEED,
                                                      .seed = text->latents,
                                                      .init_scale = 1.0f,
                                                      .injected = injected[i]};
    }
    return team_run_good(team, &tick);
}

/* Positions [first, end) as one call, in lockstep over depth; the last position's latent to out. */
static void call(struct team *team, int32_t seq, const struct text *text, int32_t first,
                 int32_t end, int32_t depth, float *out)
{
    size_t n_embd = (size_t)team_limits(team)->n_embd;
    for (int32_t k = 0; k < depth; k++)
        for (int32_t at = first; at < end; at += CHUNK) {
            int32_t n = end - at < CHUNK ? end - at : CHUNK;
            struct clus_reply reply = step(team, seq, text, at, n, k);
            memcpy(out, reply.latents + (size_t)(n - 1) * n_embd, n_embd * sizeof *out);
        }
}

/* The prompt from position `first` on, and some more positions of other depths: what a job does
 * behind a prefix. out: [1 + N_NEW][WIDTH_MAX] */
static void write_on(struct team *team, int32_t seq, const struct text *text, int32_t first,
                     float (*out)[WIDTH_MAX])
{
    const int32_t depths[N_NEW] = {text->depth, 1, 2, text->depth};
    memset(out, 0, (1 + N_NEW) * sizeof *out);
    call(team, seq, text, first, N_PROMPT, text->depth, out[0]);
    for (int32_t i = 0; i < N_NEW; i++)
        call(team, seq, text, N_PROMPT + i, N_PROMPT + i + 1, depths[i], out[1 + i]);
}

/* Pages of its own from page_idx `from` on. */
static void give_pages(struct team *team, int32_t seq, int32_t from)
{
    struct clus_page pages[3];
    int32_t n = 0;
    for (int32_t i = from; i < 3; i++)
        pages[n++] = (struct clus_page){seq, i, page_of(seq, i), false};
    team_run_good(team, &(struct clus_tick){.pages = pages, .n_pages = n});
}

static void close_and_share(struct team *team, const int32_t *closed, int32_t n_closed, int32_t seq,
                            int32_t owner)
{
    const struct clus_page pages[] = {{seq, 0, page_of(owner, 0), true},
                                      {seq, 1, page_of(owner, 1), true}};
    team_run_good(team, &(struct clus_tick){
                            .closed = closed, .n_closed = n_closed, .pages = pages, .n_pages = 2});
}

static void audit(const struct team *team, int32_t n_ranks)
{
    struct ltd_err err = {0};
    for (int32_t r = 0; r < n_ranks; r++)
        if (clus_executor_audit(team_executor(team, r), &err))
            fail_msg("rank %d: %s", r, err.msg);
}

static void compare(const struct team_spec *spec, const char *when, float (*found)[WIDTH_MAX],
                    float (*expected)[WIDTH_MAX])
{
    for (int32_t i = 0; i <= N_NEW; i++)
        if (memcmp(found[i], expected[i], sizeof found[i]) != 0)
            fail_msg(
                "policy %s, format %s, %d ranks, %s: latent %d begins with %.9g, expected %.9g",
                spec->policy, model_kv_format_name(spec->kv_format), spec->n_ranks, when, i,
                (double)found[i][0], (double)expected[i][0]);
}

/* Sequence 0 computes the first text, 1 the second one without help, 2 with the pages of 0. */
static void expect_shared_prefix_to_be_invisible(const struct team_spec *spec, int32_t depth)
{
    static float expected[1 + N_NEW][WIDTH_MAX], found[1 + N_NEW][WIDTH_MAX];
    struct text first = first_text, second = second_text;
    const int32_t zero[] = {0}, two[] = {2, 1};
    first.depth = second.depth = depth;
    struct team *team = team_create(spec);
    give_pages(team, 0, 0);
    write_on(team, 0, &first, 0, found);
    give_pages(team, 1, 0);
    write_on(team, 1, &second, 0, expected);
    close_and_share(team, NULL, 0, 2, 0);
    give_pages(team, 2, 2);
    write_on(team, 2, &second, N_PREFIX, found);
    compare(spec, "beside the owner", found, expected);
    audit(team, spec->n_ranks);
    assert_int_equal(clus_executor_page_refs(team_executor(team, 0), page_of(0, 0)), 2);
    /* Its owner is gone, then all are: the contents stay. */
    close_and_share(team, zero, 1, 3, 0);
    give_pages(team, 3, 2);
    write_on(team, 3, &second, N_PREFIX, found);
    compare(spec, "after the owner", found, expected);
    team_run_good(team, &(struct clus_tick){.closed = two, .n_closed = 2});
    team_run_good(team, &(struct clus_tick){.closed = (const int32_t[]){3}, .n_closed = 1});
    assert_int_equal(clus_executor_page_refs(team_executor(team, 0), page_of(0, 0)), 0);
    close_and_share(team, NULL, 0, 1, 0);
    team_run_good(team,
                  &(struct clus_tick){.released = (const int32_t[]){page_of(2, 2)},
                                      .n_released = 1,
                                      .pages = &(struct clus_page){1, 2, page_of(2, 2), false},
                                      .n_pages = 1});
    write_on(team, 1, &second, N_PREFIX, found);
    compare(spec, "from nobody", found, expected);
    audit(team, spec->n_ranks);
    team_destroy(team);
}

static void shared_prefix_gives_the_bits_of_one_that_was_computed_again(void **state)
{
    static const struct {
        const char *policy;
        int32_t depth;
    } rows[] = {
        {"full", 9},
        {"latest-m4", 16},
        {"compress-s16", 4}, /* four layers: four planes */
        {"compress-anchor", 9},
        {"latest-m4-compress-anchor", 5},
        {"latest-m4-compress-s4", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (int32_t k = 0; k < 2; k++) {
            struct team_spec spec = one;
            spec.policy = rows[i].policy;
            spec.kv_format = k ? MODEL_KV_BF16 : MODEL_KV_F32;
            expect_shared_prefix_to_be_invisible(&spec, rows[i].depth);
        }
}

static void shared_prefix_gives_the_same_bits_on_uneven_ranks(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.policy = "latest-m4";
    spec.n_ranks = 3;
    spec.shares = "1,0.01,3"; /* the second one has no head */
    spec.kv_format = MODEL_KV_BF16;
    expect_shared_prefix_to_be_invisible(&spec, 6);
}

/* Why docs/numerics.md forbids it: with fewer planes than steps the prefix shows its last step to
 * readers at every step. */
static void prefix_in_shared_planes_would_give_other_bits(void **state)
{
    static float expected[1 + N_NEW][WIDTH_MAX], found[1 + N_NEW][WIDTH_MAX];
    struct text text = second_text;
    (void)state;
    struct team_spec spec = one;
    spec.policy = "latest-m4-compress-s4";
    text.depth = 4;
    struct team *team = team_create(&spec);
    give_pages(team, 0, 0);
    write_on(team, 0, &text, 0, expected);
    close_and_share(team, NULL, 0, 1, 0);
    give_pages(team, 1, 2);
    write_on(team, 1, &text, N_PREFIX, found);
    assert_memory_not_equal(found, expected, sizeof found);
    team_destroy(team);
}

/* ---- what is refused ---------------------------------------------------------------------- */

/* Sequence 0 has pages 0, 1, 2 with 41 positions at one step; sequence 1 shares 0 and 1; sequence 2
 * is empty; the rows of sequence 0's positions are bound. */
static struct team *make_bed(void)
{
    float ignored[WIDTH_MAX];
    struct text text = first_text;
    struct team *team = team_create(&one);
    give_pages(team, 0, 0);
    call(team, 0, &text, 0, N_PROMPT, 1, ignored);
    close_and_share(team, NULL, 0, 1, 0);
    return team;
}

static void expect_page_refused(struct team *team, struct clus_page page, const char *part)
{
    team_expect_refused(team, &(struct clus_tick){.pages = &page, .n_pages = 1}, part);
    audit(team, 1);
}

static void expect_released_refused(struct team *team, const int32_t *released, int32_t n,
                                    const char *part)
{
    team_expect_refused(team, &(struct clus_tick){.released = released, .n_released = n}, part);
    audit(team, 1);
}

static void pages_in_use_or_out_of_range_are_not_released(void **state)
{
    (void)state;
    struct team *team = make_bed();
    const int32_t far = 24, negative = -1, own = 2, shared = 1, twice[] = {9, 9}, zero = 0;
    expect_released_refused(team, &far, 1, "released page 24, expected 0 to 23");
    expect_released_refused(team, &negative, 1, "released page -1, expected 0 to 23");
    expect_released_refused(team, &own, 1, "released page 2 is in 1 sequences, expected none");
    expect_released_refused(team, &shared, 1, "released page 1 is in 2 sequences, expected none");
    expect_released_refused(team, twice, 2, "page 9 is released twice");
    /* The owner's close is not enough while another one has it. */
    team_expect_refused(
        team,
        &(struct clus_tick){.closed = &zero, .n_closed = 1, .released = &shared, .n_released = 1},
        "released page 1 is in 1 sequences, expected none");
    const int32_t both[] = {1, 0}, all[] = {0, 1, 2};
    team_run_good(
        team, &(struct clus_tick){.closed = both, .n_closed = 2, .released = all, .n_released = 3});
    audit(team, 1);
    expect_page_refused(team, (struct clus_page){2, 0, 0, true}, "holds 0 positions, expected 16");
    team_destroy(team);
}

static void page_that_holds_something_is_not_given_to_write(void **state)
{
    (void)state;
    struct team *team = make_bed();
    const int32_t both[] = {0, 1};
    expect_page_refused(team, (struct clus_page){2, 0, 0, false},
                        "page 0 for seq 2 is already in use");
    team_run_good(team, &(struct clus_tick){.closed = both, .n_closed = 2});
    expect_page_refused(team, (struct clus_page){2, 0, 0, false},
                        "page 0 for seq 2 holds 16 positions, expected a released page");
    expect_page_refused(team, (struct clus_page){2, 0, 2, false},
                        "page 2 for seq 2 holds 9 positions, expected a released page");
    team_destroy(team);
}

static void page_that_was_never_written_needs_no_release(void **state)
{
    (void)state;
    struct team *team = make_bed();
    const struct clus_page to_two = {2, 0, 20, false}, to_three = {3, 0, 20, false};
    const int32_t two = 2;
    team_run_good(team, &(struct clus_tick){.pages = &to_two, .n_pages = 1});
    team_run_good(team, &(struct clus_tick){.closed = &two, .n_closed = 1});
    team_run_good(team, &(struct clus_tick){.pages = &to_three, .n_pages = 1});
    audit(team, 1);
    team_destroy(team);
}

static void only_whole_pages_in_their_place_are_shared(void **state)
{
    (void)state;
    struct team *team = make_bed();
    expect_page_refused(team, (struct clus_page){1, 2, 2, true},
                        "shared page 2 for seq 1 holds 9 positions, expected 16");
    expect_page_refused(team, (struct clus_page){2, 0, 20, true},
                        "shared page 20 for seq 2 holds 0 positions, expected 16");
    expect_page_refused(team, (struct clus_page){2, 0, 1, true},
                        "shared page 1 was filled at page_idx 1, seq 2 wants it at 0");
    expect_page_refused(team, (struct clus_page){1, 2, 1, true},
                        "shared page 1 was filled at page_idx 1, seq 1 wants it at 2");
    /* One that this tick assigns is empty, one that it releases will be. */
    const struct clus_page fresh[] = {{2, 0, 20, false}, {3, 0, 20, true}};
    team_expect_refused(team, &(struct clus_tick){.pages = fresh, .n_pages = 2},
                        "shared page 20 for seq 3 holds 0 positions");
    const int32_t both[] = {0, 1}, zero = 0;
    const struct clus_page gone = {2, 0, 0, true};
    team_expect_refused(team,
                        &(struct clus_tick){.closed = both,
                                            .n_closed = 2,
                                            .released = &zero,
                                            .n_released = 1,
                                            .pages = &gone,
                                            .n_pages = 1},
                        "shared page 0 for seq 2 holds 0 positions");
    team_destroy(team);
}

static void shared_page_stands_before_all_pages_of_its_own(void **state)
{
    (void)state;
    struct team *team = make_bed();
    const struct clus_page pages[] = {{2, 0, 20, false}, {2, 1, 1, true}};
    team_expect_refused(team, &(struct clus_tick){.pages = pages, .n_pages = 2},
                        "shared page 1 for seq 2 comes after pages of its own");
    team_destroy(team);
}

static void expect_entry_refused(struct team *team, int32_t seq, int32_t position, int32_t step_idx,
                                 const char *part)
{
    static const float injected[WIDTH_MAX];
    const struct clus_start start = {.row = position, .position = position, .injected = injected};
    const struct clus_entry entry = {position, seq, position, step_idx, 0};
    team_expect_refused(
        team,
        &(struct clus_tick){
            .starts = &start, .n_starts = step_idx == 0, .entries = &entry, .n_entries = 1},
        part);
}

static void nobody_writes_to_a_page_that_is_shared(void **state)
{
    float ignored[WIDTH_MAX];
    struct text text = first_text;
    const int32_t one_ = 1, zero = 0;
    (void)state;
    struct team *team = make_bed();
    expect_entry_refused(team, 1, 31, 0, "position 31 of seq 1 lies in a shared page");
    expect_entry_refused(team, 1, 0, 0, "position 0 of seq 1 lies in a shared page");
    expect_entry_refused(team, 0, 31, 0,
                         "position 31 of seq 0 lies in page 1, which 2 sequences share");
    expect_entry_refused(team, 0, 5, 1,
                         "position 5 of seq 0 lies in page 0, which 2 sequences share");
    /* Behind its shared pages a sequence goes on at their end. */
    give_pages(team, 1, 2);
    expect_entry_refused(team, 1, 33, 0, "position 33 of seq 1 before its position 32");
    call(team, 1, &text, 32, 34, 1, ignored);
    /* Alone again, the owner may think on; who only shares may not. */
    team_run_good(team, &(struct clus_tick){.closed = &one_, .n_closed = 1});
    step(team, 0, &text, 5, 1, 1);
    close_and_share(team, &zero, 1, 2, 0);
    expect_entry_refused(team, 2, 5, 0, "position 5 of seq 2 lies in a shared page");
    audit(team, 1);
    team_destroy(team);
}

/* What a tick lets go of does not count for its own entries; what it shares does. */
static void sharing_counts_from_the_tick_that_begins_or_ends_it(void **state)
{
    const int32_t one_ = 1;
    const struct clus_entry entry = {5, 0, 5, 1, 0};
    const struct clus_page page = {2, 0, 0, true};
    (void)state;
    struct team *team = make_bed();
    team_expect_refused(team,
                        &(struct clus_tick){.closed = &one_,
                                            .n_closed = 1,
                                            .pages = &page,
                                            .n_pages = 1,
                                            .entries = &entry,
                                            .n_entries = 1},
                        "position 5 of seq 0 lies in page 0, which 2 sequences share");
    team_run_good(team, &(struct clus_tick){
                            .closed = &one_, .n_closed = 1, .entries = &entry, .n_entries = 1});
    audit(team, 1);
    team_destroy(team);
}

/* ---- the mixed stream really shares ------------------------------------------------------- */

struct counter {
    struct driver_port inner;
    int32_t n_shared, n_released;
};

static int count(void *arg, const struct clus_tick *tick, struct clus_reply *reply,
                 struct ltd_err *err)
{
    struct counter *counter = arg;
    counter->n_released += tick->n_released;
    for (int32_t i = 0; i < tick->n_pages; i++)
        counter->n_shared += tick->pages[i].is_shared;
    return counter->inner.run(counter->inner.arg, tick, reply, err);
}

static void mixed_streams_share_and_release_pages(void **state)
{
    uint64_t hash;
    struct ltd_err err = {0};
    (void)state;
    struct team *team = team_create(&one);
    struct counter counter = {.inner = team_port(team)};
    const struct driver_port port = {.run = count, .arg = &counter};
    if (driver_mixed(&port, team_limits(team), 2, 150, &hash, &err))
        fail_msg("%s", err.msg);
    if (counter.n_shared < 10 || counter.n_released < 10)
        fail_msg("%d pages shared, %d released", counter.n_shared, counter.n_released);
    team_destroy(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_prefix_gives_the_bits_of_one_that_was_computed_again),
        cmocka_unit_test(shared_prefix_gives_the_same_bits_on_uneven_ranks),
        cmocka_unit_test(prefix_in_shared_planes_would_give_other_bits),
        cmocka_unit_test(pages_in_use_or_out_of_range_are_not_released),
        cmocka_unit_test(page_that_holds_something_is_not_given_to_write),
        cmocka_unit_test(page_that_was_never_written_needs_no_release),
        cmocka_unit_test(only_whole_pages_in_their_place_are_shared),
        cmocka_unit_test(shared_page_stands_before_all_pages_of_its_own),
        cmocka_unit_test(nobody_writes_to_a_page_that_is_shared),
        cmocka_unit_test(sharing_counts_from_the_tick_that_begins_or_ends_it),
        cmocka_unit_test(mixed_streams_share_and_release_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
