/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/cluster/test_executor.c - ticks on one rank and on ranks that are threads: the golden
 * tokens come out, every group gives the same bytes, and a wrong tick changes nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "model/exit.h"
#include "model/safetensors.h"
#include "team.h"

#define SMALL TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define BF16  TEST_DATA_DIR "/golden/tiny-p1r2c1-bf16"

static const struct team_spec one = {
    .dir = SMALL, .tier = "ref", .policy = DRIVER_POLICY, .n_ranks = 1, .n_threads = 1};

/* ---- golden tokens ------------------------------------------------------------------------ */

static int64_t golden_int(const struct model_safetensors *file, const char *name, int64_t idx)
{
    const struct model_tensor *tensor = model_safetensors_find(file, name);
    int64_t value;
    if (!tensor || (size_t)idx >= tensor->bytes / sizeof value)
        fail_msg("golden vectors have no %s[%lld]", name, (long long)idx);
    memcpy(&value, tensor->data + (size_t)idx * sizeof value, sizeof value);
    return value;
}

static void generate(const struct team_spec *spec, const int32_t *prompt, int32_t chunk,
                     int32_t *tokens)
{
    struct ltd_err err = {0};
    struct team *team = team_create(spec);
    const struct driver_port port = team_port(team);
    const struct driver_generation what = {prompt, 11, 20, 8, chunk};
    if (driver_generate(&port, team_limits(team), team_border(team), &what, tokens, &err))
        fail_msg("%s", err.msg);
    team_destroy(team);
}

static void expect_golden_tokens(const struct team_spec *spec, int32_t chunk)
{
    char path[512];
    int32_t prompt[11], tokens[20];
    struct ltd_err err = {0};
    snprintf(path, sizeof path, "%s/golden.safetensors", spec->dir);
    struct model_safetensors *golden = model_safetensors_open(path, &err);
    if (!golden)
        fail_msg("%s", err.msg);
    for (int i = 0; i < 11; i++)
        prompt[i] = (int32_t)golden_int(golden, "gen.prompt", i);
    generate(spec, prompt, chunk, tokens);
    for (int i = 0; i < 20; i++)
        if (tokens[i] != golden_int(golden, "gen.full.r8.tokens", i))
            fail_msg("chunk %d, token %d: %d, expected %lld", chunk, i, tokens[i],
                     (long long)golden_int(golden, "gen.full.r8.tokens", i));
    model_safetensors_close(golden);
}

static void golden_tokens_come_out_of_one_rank(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.policy = "full";
    expect_golden_tokens(&spec, 11);
}

static void golden_tokens_come_out_of_a_prefill_in_chunks(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.policy = "full";
    expect_golden_tokens(&spec, 4);
    expect_golden_tokens(&spec, 1);
}

static void golden_tokens_come_out_of_three_uneven_ranks(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.policy = "full";
    spec.n_ranks = 3;
    spec.shares = "1,0.1,4";
    expect_golden_tokens(&spec, 5);
    spec.dir = BF16;
    expect_golden_tokens(&spec, 11);
}

/* Prelude and coda keep bf16, too. */
static void tokens_from_bf16_keys_depend_on_neither_chunks_nor_ranks(void **state)
{
    const int32_t prompt[11] = {5, 90, 17, 3, 71, 42, 80, 7, 64, 28, 11};
    int32_t expected[20], tokens[20];
    (void)state;
    struct team_spec spec = one;
    spec.kv_format = MODEL_KV_BF16;
    generate(&spec, prompt, 11, expected);
    generate(&spec, prompt, 4, tokens);
    assert_memory_equal(tokens, expected, sizeof tokens);
    spec.n_ranks = 3;
    spec.shares = "1,0.01,2";
    generate(&spec, prompt, 3, tokens);
    assert_memory_equal(tokens, expected, sizeof tokens);
}

/* ---- one answer --------------------------------------------------------------------------- */

static uint64_t hash_of_mixed_stream(const struct team_spec *spec)
{
    uint64_t hash;
    struct ltd_err err = {0};
    struct team *team = team_create(spec);
    const struct driver_port port = team_port(team);
    if (driver_mixed(&port, team_limits(team), 2, 150, &hash, &err))
        fail_msg("%d ranks: %s", spec->n_ranks, err.msg);
    for (int32_t r = 0; r < spec->n_ranks; r++)
        if (clus_executor_audit(team_executor(team, r), &err))
            fail_msg("rank %d of %d: %s", r, spec->n_ranks, err.msg);
    team_destroy(team);
    return hash;
}

static void expect_equal_hash(const struct team_spec *spec, uint64_t expected)
{
    uint64_t hash = hash_of_mixed_stream(spec);
    if (hash != expected)
        fail_msg("tier %s, policy %s, %d ranks, shares %s, %d threads: hash %016llx, expected "
                 "%016llx of one rank",
                 spec->tier, spec->policy, spec->n_ranks, spec->shares ? spec->shares : "equal",
                 spec->n_threads, (unsigned long long)hash, (unsigned long long)expected);
}

static void replies_are_the_same_bytes_for_any_number_of_ranks(void **state)
{
    (void)state;
    const char *const policies[] = {"full", "latest-m4", "latest-m4-compress-s4"};
    for (int i = 0; i < 3; i++) {
        struct team_spec spec = one;
        spec.policy = policies[i];
        uint64_t expected = hash_of_mixed_stream(&spec);
        for (int32_t n = 2; n <= TEAM_MAX_RANKS; n++) {
            spec.n_ranks = n;
            if (n != 4 && n != 6)
                expect_equal_hash(&spec, expected);
        }
    }
}

static void replies_are_the_same_bytes_for_any_shares(void **state)
{
    (void)state;
    struct team_spec spec = one;
    uint64_t expected = hash_of_mixed_stream(&spec);
    spec.n_ranks = 3;
    spec.shares = "1,1,2";
    expect_equal_hash(&spec, expected);
    spec.shares = "0.01,5,0.01";
    expect_equal_hash(&spec, expected);
    spec.n_threads = 2;
    expect_equal_hash(&spec, expected);
}

static void replies_are_the_same_bytes_in_the_portable_tier(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.tier = "auto";
    uint64_t expected = hash_of_mixed_stream(&spec);
    spec.n_ranks = 3;
    expect_equal_hash(&spec, expected);
    spec.n_ranks = 2;
    spec.shares = "1,3";
    spec.n_threads = 2;
    expect_equal_hash(&spec, expected);
}

static void replies_are_the_same_bytes_with_keys_and_values_in_bf16(void **state)
{
    (void)state;
    struct team_spec spec = one;
    uint64_t in_f32 = hash_of_mixed_stream(&spec);
    spec.kv_format = MODEL_KV_BF16;
    uint64_t expected = hash_of_mixed_stream(&spec);
    assert_true(expected != in_f32);
    spec.n_ranks = 3;
    spec.shares = "1,0.01,2";
    expect_equal_hash(&spec, expected);
    spec.n_ranks = 5;
    spec.shares = NULL;
    spec.n_threads = 2;
    expect_equal_hash(&spec, expected);
}

/* Any step may be early, also one behind a late one: ranks do as they are told. */
static void replies_are_the_same_bytes_with_early_and_late_steps_in_one_tick(void **state)
{
    (void)state;
    struct team_spec spec = one;
    spec.tier = "auto";
    spec.format = KERN_BF16;
    uint64_t all_late = hash_of_mixed_stream(&spec);
    spec.has_early = true;
    spec.early_format = KERN_INT8;
    uint64_t expected = hash_of_mixed_stream(&spec);
    assert_true(expected != all_late);
    spec.n_ranks = 3;
    spec.shares = "1,0.01,2";
    expect_equal_hash(&spec, expected);
    spec.n_ranks = 5;
    spec.shares = NULL;
    spec.n_threads = 2;
    expect_equal_hash(&spec, expected);
    spec.tier = "ref"; /* these formats have one definition */
    spec.n_ranks = 1;
    expect_equal_hash(&spec, expected);
}

static void other_streams_give_other_replies(void **state)
{
    (void)state;
    uint64_t a, b;
    struct team *team = team_create(&one);
    const struct driver_port port = team_port(team);
    assert_int_equal(driver_mixed(&port, team_limits(team), 2, 20, &a, NULL), 0);
    assert_int_equal(driver_mixed(&port, team_limits(team), 3, 20, &b, NULL), 0);
    assert_true(a != b);
    team_destroy(team);
}

static void stream_gives_the_same_replies_on_an_executor_that_was_used_before(void **state)
{
    (void)state;
    uint64_t a, b;
    struct team *team = team_create(&one);
    const struct driver_port port = team_port(team);
    assert_int_equal(driver_mixed(&port, team_limits(team), 5, 60, &a, NULL), 0);
    assert_int_equal(driver_mixed(&port, team_limits(team), 6, 60, &b, NULL), 0);
    assert_int_equal(driver_mixed(&port, team_limits(team), 5, 60, &b, NULL), 0);
    assert_true(a == b);
    team_destroy(team);
}

/* ---- values ------------------------------------------------------------------------------- */

#define N_VALUE_STEPS 5

/* The latents of a position that starts with `first` in row 8, and the value of each step, when
 * `flag` asks for it. */
static void think(struct team *team, const float *first, uint32_t flag,
                  float latents[N_VALUE_STEPS][128], double values[N_VALUE_STEPS])
{
    size_t bytes = (size_t)team_limits(team)->n_embd * sizeof(float);
    float injected[128];
    for (int i = 0; i < 128; i++)
        injected[i] = 0.05f * (float)i - 1.0f;
    const struct clus_start start = {
        .row = 8, .kind = CLUS_START_GIVEN, .latent = first, .injected = injected};
    for (int32_t k = 0; k < N_VALUE_STEPS; k++) {
        const struct clus_entry entry = {8, 0, 0, k, CLUS_WANT_LATENT | flag};
        const struct clus_tick tick = {
            .starts = &start, .n_starts = k == 0, .entries = &entry, .n_entries = 1};
        struct clus_reply reply = team_run_good(team, &tick);
        assert_int_equal(reply.n_latents, 1);
        assert_int_equal(reply.n_values, flag != 0);
        memcpy(latents[k], reply.latents, bytes);
        values[k] = flag ? reply.values[0] : 0.0;
    }
}

static double value_of(uint32_t flag, const float *now, const float *before, const float *older,
                       int32_t n)
{
    if (flag == CLUS_WANT_DIFF)
        return model_exit_diff(now, before, n);
    if (flag == CLUS_WANT_COSINE)
        return model_exit_cosine(now, before, n);
    return older ? model_exit_acceleration(now, before, older, n) : NAN;
}

/* Latents that follow each other in the replies give the values that the replies report; a row that
 * starts anew has forgotten what was in it. */
static void values_are_those_of_the_latents_before_and_after(void **state)
{
    static const uint32_t flags[] = {CLUS_WANT_DIFF, CLUS_WANT_COSINE, CLUS_WANT_ACCELERATION, 0};
    static float latents[N_VALUE_STEPS][128], first[128];
    double values[N_VALUE_STEPS];
    const struct clus_page page = {0, 0, 5, false};
    (void)state;
    struct team *team = team_create(&one);
    int32_t n = team_limits(team)->n_embd;
    team_run_good(team, &(struct clus_tick){.pages = &page, .n_pages = 1});
    for (int round = 0; round < 8; round++) {
        uint32_t flag = flags[round % 4];
        for (int i = 0; i < 128; i++)
            first[i] = 0.01f * (float)((i * 37 + round) % 100) - 0.5f;
        think(team, first, flag, latents, values);
        for (int k = 0; k < N_VALUE_STEPS && flag; k++) {
            const float *before = k > 0 ? latents[k - 1] : first;
            const float *older = k > 1 ? latents[k - 2] : k > 0 ? first : NULL;
            double expected = value_of(flag, latents[k], before, older, n);
            if (isnan(expected) ? !isnan(values[k]) : values[k] != expected)
                fail_msg("flag %u, step %d: %.17g, expected %.17g", flag, k, values[k], expected);
        }
    }
    team_destroy(team);
}

/* ---- wrong ticks -------------------------------------------------------------------------- */

/* Sequence 0 has page 5 and position 0 at step 1 in row 2; sequence 1 has page 6 and nothing. */
struct bed {
    struct team *team;
    struct driver_port port;
    float injected[128];
};

static void run_good(struct bed *bed, const struct clus_tick *tick)
{
    team_run_good(bed->team, tick);
}

static void make_bed(struct bed *bed)
{
    const struct clus_page pages[] = {{0, 0, 5, false}, {1, 0, 6, false}};
    const struct clus_start start = {.row = 2, .kind = CLUS_START_ZERO, .injected = bed->injected};
    const struct clus_entry entry = {.row = 2};
    const struct clus_tick tick = {.pages = pages,
                                   .n_pages = 2,
                                   .starts = &start,
                                   .n_starts = 1,
                                   .entries = &entry,
                                   .n_entries = 1};
    for (int i = 0; i < 128; i++)
        bed->injected[i] = 0.1f * (float)i - 3.0f;
    bed->team = team_create(&one);
    bed->port = team_port(bed->team);
    run_good(bed, &tick);
}

static void expect_refused(struct bed *bed, const struct clus_tick *tick, const char *part)
{
    team_expect_refused(bed->team, tick, part);
}

static void expect_entry_refused(struct bed *bed, struct clus_entry entry, const char *part)
{
    const struct clus_tick tick = {.entries = &entry, .n_entries = 1};
    expect_refused(bed, &tick, part);
}

static void entries_that_contradict_their_row_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    expect_entry_refused(&bed, (struct clus_entry){70, 0, 0, 1, 0}, "row 70, expected 0 to 69");
    expect_entry_refused(&bed, (struct clus_entry){2, 4, 0, 1, 0}, "seq 4, expected 0 to 3");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 96, 1, 0}, "position 96");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, -1, 1, 0}, "position -1");
    expect_entry_refused(&bed, (struct clus_entry){3, 0, 0, 0, 0}, "row 3 was never started");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 1, 1, 0}, "at position 1, expected 0");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 0, 0, 0}, "at step 0, expected 1");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 0, 2, 0}, "at step 2, expected 1");
    expect_entry_refused(&bed, (struct clus_entry){2, 1, 0, 1, 0},
                         "row 2 at step 1 does not hold position 0 of seq 1");
    expect_entry_refused(&bed, (struct clus_entry){2, 2, 0, 1, 0}, "lies behind its 0 pages");
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 0, 1, CLUS_EARLY},
                         "row 2 takes an early step, but there is no early copy");
    const struct clus_entry twice[] = {{2, 0, 0, 1, 0}, {2, 0, 0, 1, 0}};
    const struct clus_tick tick = {.entries = twice, .n_entries = 2};
    expect_refused(&bed, &tick, "row 2 has two entries");
    team_destroy(bed.team);
}

static void pages_that_are_taken_or_out_of_turn_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const struct {
        struct clus_page pages[2];
        const char *part;
    } cases[] = {
        {{{4, 0, 1, false}}, "seq of a page 4"},
        {{{0, 1, 24, false}}, "page_id 24, expected 0 to 23"},
        {{{0, 6, 1, false}}, "page_idx 6, expected 0 to 5"},
        {{{0, 0, 1, false}}, "page_idx 0 of seq 0, expected its next, 1"},
        {{{0, 2, 1, false}}, "page_idx 2 of seq 0"},
        {{{0, 1, 6, false}}, "page 6 for seq 0 is already in use"},
        {{{0, 1, 7, false}, {1, 1, 7, false}}, "page 7 for seq 1 is already in use"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct clus_tick tick = {.pages = cases[i].pages, .n_pages = i == 6 ? 2 : 1};
        expect_refused(&bed, &tick, cases[i].part);
    }
    team_destroy(bed.team);
}

static void closes_and_starts_out_of_range_or_twice_are_refused(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const int32_t far = 4, twice[] = {1, 1};
    expect_refused(&bed, &(struct clus_tick){.closed = &far, .n_closed = 1}, "closed seq 4");
    expect_refused(&bed, &(struct clus_tick){.closed = twice, .n_closed = 2}, "closed twice");
    struct clus_start starts[] = {{.row = 9, .injected = bed.injected},
                                  {.row = 9, .position = 1, .injected = bed.injected}};
    expect_refused(&bed, &(struct clus_tick){.starts = starts, .n_starts = 2}, "started twice");
    starts[0].row = 70;
    expect_refused(&bed, &(struct clus_tick){.starts = starts, .n_starts = 1}, "row of a start 70");
    starts[0] = (struct clus_start){.row = 9, .position = 96, .injected = bed.injected};
    expect_refused(&bed, &(struct clus_tick){.starts = starts, .n_starts = 1},
                   "position of a start 96");
    team_destroy(bed.team);
}

static void positions_must_come_in_order_and_without_a_gap(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const struct clus_start starts[] = {{.row = 10, .position = 1, .injected = bed.injected},
                                        {.row = 11, .position = 2, .injected = bed.injected}};
    struct clus_entry entries[] = {{11, 0, 2, 0, 0}, {10, 0, 1, 0, 0}};
    struct clus_tick tick = {.starts = starts, .n_starts = 2, .entries = entries, .n_entries = 2};
    expect_refused(&bed, &tick, "position 2 of seq 0 before its position 1");
    entries[0] = (struct clus_entry){10, 0, 1, 0, 0};
    entries[1] = (struct clus_entry){2, 0, 0, 1, 0};
    expect_refused(&bed, &tick, "position 0 of seq 0 comes after 1");
    entries[0] = (struct clus_entry){10, 0, 1, 0, 0};
    entries[1] = (struct clus_entry){11, 0, 2, 0, 0};
    run_good(&bed, &tick);
    team_destroy(bed.team);
}

static void position_that_begins_again_in_another_row_is_lost_to_the_old_one(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const struct clus_start start = {.row = 30, .position = 0, .injected = bed.injected};
    const struct clus_entry entry = {30, 0, 0, 0, 0}, next = {30, 0, 0, 1, 0};
    run_good(&bed, &(struct clus_tick){
                       .starts = &start, .n_starts = 1, .entries = &entry, .n_entries = 1});
    expect_entry_refused(&bed, (struct clus_entry){2, 0, 0, 1, 0}, "row 2 at step 1 does not hold");
    run_good(&bed, &(struct clus_tick){.entries = &next, .n_entries = 1});
    team_destroy(bed.team);
}

static void row_of_a_closed_sequence_cannot_go_on_in_the_one_that_took_its_place(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const int32_t closed = 0, released = 5;
    const struct clus_page page = {0, 0, 5, false};
    const struct clus_entry entry = {2, 0, 0, 1, 0};
    struct clus_tick tick = {.closed = &closed,
                             .n_closed = 1,
                             .released = &released,
                             .n_released = 1,
                             .pages = &page,
                             .n_pages = 1,
                             .entries = &entry,
                             .n_entries = 1};
    expect_refused(&bed, &tick, "row 2 at step 1 does not hold position 0 of seq 0");
    tick.n_entries = 0;
    run_good(&bed, &tick);
    expect_entry_refused(&bed, entry, "row 2 at step 1 does not hold");
    team_destroy(bed.team);
}

/* The next step's latent after some refused ticks, against that of a bed that saw none. */
static void refused_tick_changes_nothing(void **state)
{
    (void)state;
    float latents[2][128];
    for (int with = 0; with < 2; with++) {
        struct bed bed;
        struct clus_reply reply;
        make_bed(&bed);
        const int32_t closed = 0, released = 5;
        const struct clus_page pages[] = {{1, 1, 5, false}, {1, 2, 9, false}};
        const struct clus_start start = {.row = 2, .position = 0, .injected = bed.injected};
        const struct clus_entry bad = {2, 0, 0, 7, 0}, good = {2, 0, 0, 1, CLUS_WANT_LATENT};
        const struct clus_tick all_of_it = {.closed = &closed,
                                            .n_closed = 1,
                                            .released = &released,
                                            .n_released = 1,
                                            .pages = pages,
                                            .n_pages = 2,
                                            .starts = &start,
                                            .n_starts = 1,
                                            .entries = &bad,
                                            .n_entries = 1};
        if (with)
            expect_refused(&bed, &all_of_it, "at step 7, expected 0");
        const struct clus_tick next = {.entries = &good, .n_entries = 1};
        assert_int_equal(bed.port.run(bed.port.arg, &next, &reply, NULL), 0);
        if (reply.err.code != LTD_OK || reply.n_latents != 1)
            fail_msg("after a refused tick: %s", reply.err.msg);
        memcpy(latents[with], reply.latents, 40 * sizeof(float));
        team_destroy(bed.team);
    }
    assert_memory_equal(latents[0], latents[1], 40 * sizeof(float));
}

static void what_a_tick_closes_it_may_use_again(void **state)
{
    (void)state;
    struct bed bed;
    make_bed(&bed);
    const int32_t closed = 0, released = 5;
    const struct clus_page pages[] = {{1, 1, 5, false}, {0, 0, 4, false}};
    const struct clus_start start = {.row = 2, .position = 0, .injected = bed.injected};
    const struct clus_entry entry = {2, 0, 0, 0, 0};
    run_good(&bed, &(struct clus_tick){.closed = &closed,
                                       .n_closed = 1,
                                       .released = &released,
                                       .n_released = 1,
                                       .pages = pages,
                                       .n_pages = 2,
                                       .starts = &start,
                                       .n_starts = 1,
                                       .entries = &entry,
                                       .n_entries = 1});
    team_destroy(bed.team);
}

static void failed_gather_loses_the_rank_and_says_why(void **state)
{
    (void)state;
    struct bed bed;
    struct clus_reply reply;
    struct ltd_err err = {0};
    make_bed(&bed);
    team_break_gather(bed.team);
    const struct clus_entry entry = {2, 0, 0, 1, 0};
    const struct clus_tick tick = {.tick_id = 4, .entries = &entry, .n_entries = 1};
    assert_int_equal(bed.port.run(bed.port.arg, &tick, &reply, &err), -1);
    assert_int_equal(err.code, LTD_E_RANK);
    assert_non_null(strstr(err.msg, "tick 4"));
    assert_non_null(strstr(err.msg, "the cable was pulled"));
    team_destroy(bed.team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_tokens_come_out_of_one_rank),
        cmocka_unit_test(golden_tokens_come_out_of_a_prefill_in_chunks),
        cmocka_unit_test(golden_tokens_come_out_of_three_uneven_ranks),
        cmocka_unit_test(tokens_from_bf16_keys_depend_on_neither_chunks_nor_ranks),
        cmocka_unit_test(replies_are_the_same_bytes_for_any_number_of_ranks),
        cmocka_unit_test(replies_are_the_same_bytes_for_any_shares),
        cmocka_unit_test(replies_are_the_same_bytes_in_the_portable_tier),
        cmocka_unit_test(replies_are_the_same_bytes_with_keys_and_values_in_bf16),
        cmocka_unit_test(replies_are_the_same_bytes_with_early_and_late_steps_in_one_tick),
        cmocka_unit_test(other_streams_give_other_replies),
        cmocka_unit_test(stream_gives_the_same_replies_on_an_executor_that_was_used_before),
        cmocka_unit_test(values_are_those_of_the_latents_before_and_after),
        cmocka_unit_test(entries_that_contradict_their_row_are_refused),
        cmocka_unit_test(pages_that_are_taken_or_out_of_turn_are_refused),
        cmocka_unit_test(closes_and_starts_out_of_range_or_twice_are_refused),
        cmocka_unit_test(positions_must_come_in_order_and_without_a_gap),
        cmocka_unit_test(position_that_begins_again_in_another_row_is_lost_to_the_old_one),
        cmocka_unit_test(row_of_a_closed_sequence_cannot_go_on_in_the_one_that_took_its_place),
        cmocka_unit_test(refused_tick_changes_nothing),
        cmocka_unit_test(what_a_tick_closes_it_may_use_again),
        cmocka_unit_test(failed_gather_loses_the_rank_and_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
