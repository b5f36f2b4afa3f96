/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/test_invariance.c - a sequence's latents have the same bits in any company.
 *
 * The story of one sequence (a prompt of 19 positions, so that it crosses a page, then four decoded
 * ones) is told alone, among strangers at other depths, in chunks, and on a rank group; every
 * latent after every step must agree, and so must what was measured of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "model/latent.h"
#include "rig.h"

#define DIR       TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define PROMPT    19
#define DECODED   4
#define LENGTH    (PROMPT + DECODED)
#define STEPS     5
#define SEED      77
#define MAX_N     64
#define STRANGERS 16

/* Everything that happens to the sequence: latents after each step, hidden rows at the end. A value
 * is of the kind that the position's number says. */
struct story {
    float latent[LENGTH][STEPS][MAX_N];
    double value[LENGTH][STEPS];
    float hidden[LENGTH][MAX_N];
};

struct teller {
    struct rig *rig;
    int32_t n;
    int32_t early_steps; /* of the sequence; strangers of every other kind, when there is a copy */
    bool has_early;
    float e[LENGTH][MAX_N];
    float latent[LENGTH][MAX_N];
    float previous[LENGTH][MAX_N];
    /* strangers: sequences 8 .. 8 + STRANGERS - 1 at their position 0, at their own depths */
    bool crowded;
    uint64_t random;
    float stranger_e[STRANGERS][MAX_N];
    float stranger[STRANGERS][MAX_N];
    int32_t stranger_step[STRANGERS];
};

static int32_t token_at(int32_t position)
{
    return (position * 31 + 5) % 97;
}

static uint32_t next_random(struct teller *t)
{
    t->random = t->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(t->random >> 33);
}

static void enter(struct teller *t, int32_t begin, int32_t end)
{
    struct model_border_in in[LENGTH];
    struct ltd_err err = {0};
    for (int32_t p = begin; p < end; p++) {
        in[p - begin] = (struct model_border_in){rig_place(t->rig, 0, p, 0), token_at(p), t->e[p]};
        model_latent_init(t->latent[p], t->n, SEED, p, 1.0f);
    }
    if (model_border_prelude(rig_border(t->rig), in, end - begin, &err) != 0)
        rig_fail("model_border_prelude", &err);
}

static void add_stranger(struct teller *t, int32_t i, struct model_slot *slot)
{
    if (t->stranger_step[i] == 0)
        for (int32_t c = 0; c < t->n; c++) {
            t->stranger[i][c] = (float)(next_random(t) % 1000) * 0.004f - 2.0f;
            t->stranger_e[i][c] = (float)(next_random(t) % 1000) * 0.004f - 2.0f;
        }
    *slot = (struct model_slot){.place = rig_place(t->rig, 8 + i, 0, t->stranger_step[i]),
                                .latent = t->stranger[i],
                                .e = t->stranger_e[i],
                                .is_early = t->has_early && next_random(t) % 2};
    t->stranger_step[i] = (t->stranger_step[i] + 1) % (STEPS + i % 3);
}

/* One tick: step `step` of positions [begin, end), with or without strangers between them. */
static void tick(struct teller *t, struct story *story, int32_t begin, int32_t end, int32_t step)
{
    struct model_slot slots[RIG_MAX_SLOTS];
    int32_t at[LENGTH], n_slots = 0, stranger = 0;
    for (int32_t p = begin; p < end; p++) {
        while (t->crowded && stranger < STRANGERS && next_random(t) % 2)
            add_stranger(t, stranger++, &slots[n_slots++]);
        at[p] = n_slots;
        slots[n_slots++] = (struct model_slot){.place = rig_place(t->rig, 0, p, step),
                                               .latent = t->latent[p],
                                               .previous = t->previous[p],
                                               .e = t->e[p],
                                               .is_early = step < t->early_steps,
                                               .want = (enum model_exit_value)(p % MODEL_N_VALUES)};
    }
    while (t->crowded && stranger < STRANGERS)
        add_stranger(t, stranger++, &slots[n_slots++]);
    rig_step(t->rig, slots, n_slots);
    for (int32_t p = begin; p < end; p++) {
        memcpy(story->latent[p][step], t->latent[p], (size_t)t->n * sizeof(float));
        story->value[p][step] = slots[at[p]].value;
    }
}

static void leave(struct teller *t, struct story *story, int32_t begin, int32_t end)
{
    struct model_border_out out[LENGTH];
    struct ltd_err err = {0};
    for (int32_t p = begin; p < end; p++)
        out[p - begin] =
            (struct model_border_out){rig_place(t->rig, 0, p, 0), t->latent[p], story->hidden[p]};
    if (model_border_coda(rig_border(t->rig), out, end - begin, &err) != 0)
        rig_fail("model_border_coda", &err);
}

/* Chunks of the prompt go in lockstep over depth: step k of all before step k + 1 of any. */
static void tell(struct teller *t, struct story *story, int32_t chunk)
{
    for (int32_t at = 0; at < PROMPT; at += chunk)
        enter(t, at, at + chunk < PROMPT ? at + chunk : PROMPT);
    for (int32_t step = 0; step < STEPS; step++)
        for (int32_t at = 0; at < PROMPT; at += chunk)
            tick(t, story, at, at + chunk < PROMPT ? at + chunk : PROMPT, step);
    for (int32_t at = 0; at < PROMPT; at += chunk)
        leave(t, story, at, at + chunk < PROMPT ? at + chunk : PROMPT);
    for (int32_t p = PROMPT; p < LENGTH; p++) {
        enter(t, p, p + 1);
        for (int32_t step = 0; step < STEPS; step++)
            tick(t, story, p, p + 1, step);
        leave(t, story, p, p + 1);
    }
}

struct telling {
    const char *tier, *policy;
    int32_t n_ranks, n_threads, chunk;
    bool crowded;
    enum model_kv_format kv_format;
    enum kern_format format;
    bool has_early;
    enum kern_format early_format;
    int32_t early_steps;
    const enum kern_format *border_format; /* NULL: format */
};

/* One rank, one thread, the prompt in one piece, nobody else. */
static struct telling plainly(const char *tier, const char *policy)
{
    return (struct telling){
        .tier = tier, .policy = policy, .n_ranks = 1, .n_threads = 1, .chunk = PROMPT};
}

static struct story *told(const struct telling *how)
{
    struct ltd_err err = {0};
    const struct kern_ops *ops = kern_tier_find(how->tier, &err);
    if (!ops)
        rig_fail("kern_tier_find", &err);
    const struct rig_spec spec = {.dir = DIR,
                                  .ops = ops,
                                  .n_ranks = how->n_ranks,
                                  .n_threads = how->n_threads,
                                  .policy = how->policy,
                                  .kv_format = how->kv_format,
                                  .format = how->format,
                                  .has_early = how->has_early,
                                  .early_format = how->early_format,
                                  .border_format = how->border_format};
    struct story *story = calloc(1, sizeof *story);
    struct teller *t = calloc(1, sizeof *t);
    assert_true(story && t);
    t->rig = rig_create(&spec);
    t->n = rig_config(t->rig)->n_embd;
    t->crowded = how->crowded;
    t->early_steps = how->early_steps;
    t->has_early = how->has_early;
    t->random = 3;
    tell(t, story, how->chunk);
    rig_destroy(t->rig);
    free(t);
    return story;
}

static void same_story(const struct story *a, const struct story *b, const char *what)
{
    for (int32_t p = 0; p < LENGTH; p++) {
        for (int32_t s = 0; s < STEPS; s++)
            if (memcmp(a->latent[p][s], b->latent[p][s], sizeof a->latent[p][s]) != 0)
                fail_msg("%s: the latent of position %d differs after step %d", what, p, s);
        if (memcmp(a->value[p], b->value[p], sizeof a->value[p]) != 0)
            fail_msg("%s: a value of position %d differs", what, p);
        if (memcmp(a->hidden[p], b->hidden[p], sizeof a->hidden[p]) != 0)
            fail_msg("%s: the hidden row of position %d differs", what, p);
    }
}

static const char *const tiers[] = {"ref", "openblas", "auto"};
static const char *const policies[] = {"full", "compress-s4", "latest-m4-compress-s16"};

static void neighbours_in_the_batch_do_not_matter(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int p = 0; p < 3; p++) {
            struct telling how = plainly(tiers[t], policies[p]);
            struct story *alone = told(&how);
            how.crowded = true;
            how.n_threads = 2;
            struct story *crowd = told(&how);
            same_story(alone, crowd, policies[p]);
            free(alone);
            free(crowd);
        }
}

static void chunks_of_a_prompt_do_not_matter(void **state)
{
    static const int32_t chunks[] = {1, 3, 7, 16};
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int p = 0; p < 3; p++) {
            struct telling how = plainly(tiers[t], policies[p]);
            struct story *whole = told(&how);
            for (int c = 0; c < 4; c++) {
                how.chunk = chunks[c];
                struct story *cut = told(&how);
                same_story(whole, cut, policies[p]);
                free(cut);
            }
            free(whole);
        }
}

static void ranks_chunks_and_neighbours_together_do_not_matter(void **state)
{
    (void)state;
    struct telling how = plainly("openblas", "latest-m4-compress-s16");
    struct story *plain = told(&how);
    how.n_ranks = 5;
    how.chunk = 4;
    how.crowded = true;
    struct story *busy = told(&how);
    same_story(plain, busy, "5 ranks, chunks of 4, strangers");
    free(plain);
    free(busy);
}

/* Rounded keys are the same keys for everybody, the position's own among them. */
static void keys_in_bf16_are_as_indifferent_to_company(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (int p = 0; p < 3; p++) {
            struct telling how = plainly(tiers[t], policies[p]);
            struct story *exact = told(&how);
            how.kv_format = MODEL_KV_BF16;
            struct story *whole = told(&how);
            how.n_ranks = 3;
            how.n_threads = 2;
            how.chunk = 7;
            how.crowded = true;
            struct story *busy = told(&how);
            same_story(whole, busy, policies[p]);
            assert_memory_not_equal(exact->latent, whole->latent, sizeof exact->latent);
            free(exact);
            free(whole);
            free(busy);
        }
}

/* ---- two copies of the block ---- */

/* bf16, and the first steps in int8. */
static struct telling laddered(const char *tier, const char *policy, int32_t early_steps)
{
    struct telling how = plainly(tier, policy);
    how.format = KERN_BF16;
    how.has_early = true;
    how.early_format = KERN_INT8;
    how.early_steps = early_steps;
    return how;
}

static void early_steps_beside_late_ones_do_not_matter(void **state)
{
    static const char *const with_int8[] = {"ref", "auto"};
    (void)state;
    for (int t = 0; t < 2; t++)
        for (int p = 0; p < 3; p++) {
            struct telling how = laddered(with_int8[t], policies[p], 2);
            struct story *alone = told(&how);
            how.n_ranks = 3;
            how.n_threads = 2;
            how.chunk = 7;
            how.crowded = true;
            struct story *busy = told(&how);
            same_story(alone, busy, policies[p]);
            free(alone);
            free(busy);
        }
}

static void no_early_step_is_as_if_there_were_no_early_copy(void **state)
{
    (void)state;
    struct telling how = laddered("auto", "latest-m4", 0);
    struct story *unused = told(&how);
    how.has_early = false;
    struct story *absent = told(&how);
    same_story(absent, unused, "an early copy that nobody uses");
    free(unused);
    free(absent);
}

static void early_steps_throughout_are_a_block_in_the_early_format(void **state)
{
    static const enum kern_format border = KERN_BF16;
    (void)state;
    struct telling how = laddered("auto", "latest-m4", STEPS);
    struct story *throughout = told(&how);
    how.early_steps = STEPS + 3;
    struct story *beyond = told(&how);
    how = plainly("auto", "latest-m4");
    how.format = KERN_INT8;
    how.border_format = &border;
    struct story *only = told(&how);
    same_story(only, throughout, "every step early");
    same_story(only, beyond, "more early steps than steps");
    free(throughout);
    free(beyond);
    free(only);
}

/* Every position counts from its own step 0: until step 2 nothing tells it from one that is early
 * for ever, and from there on everything does. */
static void a_position_changes_copies_after_its_own_early_steps(void **state)
{
    (void)state;
    struct telling how = laddered("ref", "full", 2);
    struct story *two = told(&how);
    how.early_steps = STEPS;
    struct story *all = told(&how);
    for (int32_t p = 0; p < LENGTH; p++)
        for (int32_t s = 0; s < STEPS; s++)
            assert_int_equal(
                memcmp(two->latent[p][s], all->latent[p][s], sizeof two->latent[p][s]) == 0, s < 2);
    free(two);
    free(all);
}

/* With a plane per step, decoded positions may be replayed as one prompt. */
static void replaying_as_one_prefill_gives_the_decoded_latents(void **state)
{
    (void)state;
    static const enum model_kv_format formats[] = {MODEL_KV_F32, MODEL_KV_BF16};
    for (int f = 0; f < 2; f++) {
        struct telling how = plainly("openblas", "full");
        how.kv_format = formats[f];
        struct story *decoded = told(&how);
        struct ltd_err err = {0};
        const struct rig_spec spec = {.dir = DIR,
                                      .ops = kern_tier_find("openblas", &err),
                                      .n_ranks = 1,
                                      .n_threads = 1,
                                      .policy = "full",
                                      .kv_format = formats[f]};
        struct story *replayed = calloc(1, sizeof *replayed);
        struct teller *t = calloc(1, sizeof *t);
        assert_true(replayed && t);
        t->rig = rig_create(&spec);
        t->n = rig_config(t->rig)->n_embd;
        enter(t, 0, LENGTH);
        for (int32_t step = 0; step < STEPS; step++)
            tick(t, replayed, 0, LENGTH, step);
        leave(t, replayed, 0, LENGTH);
        same_story(decoded, replayed, model_kv_format_name(formats[f]));
        rig_destroy(t->rig);
        free(t);
        free(replayed);
        free(decoded);
    }
}

/* A released page must not leave anything behind for the next sequence. */
static void a_sequence_on_used_pages_is_as_on_new_ones(void **state)
{
    (void)state;
    struct ltd_err err = {0};
    const struct rig_spec spec = {.dir = DIR,
                                  .ops = kern_tier_find("openblas", &err),
                                  .n_ranks = 2,
                                  .n_threads = 1,
                                  .policy = "latest-m4"};
    const struct telling how = plainly("openblas", "latest-m4");
    struct story *fresh = told(&how);
    struct story *again = calloc(1, sizeof *again);
    struct teller *t = calloc(1, sizeof *t);
    assert_true(again && t);
    t->rig = rig_create(&spec);
    t->n = rig_config(t->rig)->n_embd;
    tell(t, again, 5);
    rig_release(t->rig, 0);
    memset(again, 0, sizeof *again);
    tell(t, again, PROMPT);
    same_story(fresh, again, "second use of the pages");
    rig_destroy(t->rig);
    free(t);
    free(again);
    free(fresh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_in_the_batch_do_not_matter),
        cmocka_unit_test(chunks_of_a_prompt_do_not_matter),
        cmocka_unit_test(ranks_chunks_and_neighbours_together_do_not_matter),
        cmocka_unit_test(keys_in_bf16_are_as_indifferent_to_company),
        cmocka_unit_test(early_steps_beside_late_ones_do_not_matter),
        cmocka_unit_test(no_early_step_is_as_if_there_were_no_early_copy),
        cmocka_unit_test(early_steps_throughout_are_a_block_in_the_early_format),
        cmocka_unit_test(a_position_changes_copies_after_its_own_early_steps),
        cmocka_unit_test(replaying_as_one_prefill_gives_the_decoded_latents),
        cmocka_unit_test(a_sequence_on_used_pages_is_as_on_new_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
