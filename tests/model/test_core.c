/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/test_core.c - what a slot gives back beside its latent: a measured value, and the
 * latent that the step began with.
 *
 * The latents themselves are judged by test_golden.c and test_invariance.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "model/latent.h"
#include "rig.h"

#define DIR   TEST_DATA_DIR "/golden/tiny-p2r4c2"
#define STEPS 6
#define SLOTS 5 /* positions of one sequence */
#define MAX_N 64

/* Five positions that think STEPS steps side by side, and everything that was seen of them. */
struct thought {
    struct rig *rig;
    int32_t n;
    struct model_slot slots[SLOTS];
    float e[SLOTS][MAX_N];
    float latent[SLOTS][MAX_N], previous[SLOTS][MAX_N];
    float seen[SLOTS][STEPS + 1][MAX_N]; /* s_0 ... s_STEPS */
    double value[SLOTS][STEPS];
};

static void begin(struct thought *t, int32_t n_ranks)
{
    struct ltd_err err = {0};
    const struct rig_spec spec = {.dir = DIR,
                                  .ops = kern_tier_find("openblas", &err),
                                  .n_ranks = n_ranks,
                                  .n_threads = 1,
                                  .policy = "latest-m4"};
    if (!spec.ops)
        rig_fail("kern_tier_find", &err);
    *t = (struct thought){.rig = rig_create(&spec)};
    t->n = rig_config(t->rig)->n_embd;
    assert_true(t->n <= MAX_N);
    struct model_border_in in[SLOTS];
    for (int32_t i = 0; i < SLOTS; i++) {
        in[i] = (struct model_border_in){rig_place(t->rig, 0, i, 0), 7 * i + 3, t->e[i]};
        model_latent_init(t->latent[i], t->n, 11, i, 1.0f);
        memcpy(t->seen[i][0], t->latent[i], sizeof t->latent[i]);
        /* Step 0 must not read it. */
        for (int32_t c = 0; c < t->n; c++)
            t->previous[i][c] = 3.0f;
        t->slots[i] = (struct model_slot){.latent = t->latent[i],
                                          .previous = t->previous[i],
                                          .e = t->e[i],
                                          .want = MODEL_VALUE_NONE,
                                          .value = 42.0};
    }
    if (model_border_prelude(rig_border(t->rig), in, SLOTS, &err) != 0)
        rig_fail("model_border_prelude", &err);
}

static void step(struct thought *t, int32_t idx)
{
    for (int32_t i = 0; i < SLOTS; i++)
        t->slots[i].place = rig_place(t->rig, 0, i, idx);
    rig_step(t->rig, t->slots, SLOTS);
    for (int32_t i = 0; i < SLOTS; i++) {
        memcpy(t->seen[i][idx + 1], t->latent[i], sizeof t->latent[i]);
        t->value[i][idx] = t->slots[i].value;
    }
}

static void same_bits(double found, double expected, int32_t slot, int32_t idx)
{
    if (isnan(found) && isnan(expected))
        return;
    if (memcmp(&found, &expected, sizeof found) != 0)
        fail_msg("slot %d after step %d: %.17g, expected %.17g", slot, idx, found, expected);
}

static void values_are_those_of_the_latents_on_any_number_of_ranks(void **state)
{
    (void)state;
    for (int32_t n_ranks = 1; n_ranks <= 3; n_ranks += 2) {
        struct thought t;
        begin(&t, n_ranks);
        for (int32_t i = 0; i < SLOTS; i++)
            t.slots[i].want = (enum model_exit_value)(i % MODEL_N_VALUES);
        for (int32_t idx = 0; idx < STEPS; idx++)
            step(&t, idx);
        for (int32_t idx = 0; idx < STEPS; idx++) {
            const float(*s)[STEPS + 1][MAX_N] = t.seen;
            same_bits(t.value[0][idx], 42.0, 0, idx); /* asked for nothing: untouched */
            same_bits(t.value[1][idx], model_exit_diff(s[1][idx + 1], s[1][idx], t.n), 1, idx);
            same_bits(t.value[2][idx], model_exit_cosine(s[2][idx + 1], s[2][idx], t.n), 2, idx);
            double turned =
                idx == 0 ? (double)NAN
                         : model_exit_acceleration(s[3][idx + 1], s[3][idx], s[3][idx - 1], t.n);
            same_bits(t.value[3][idx], turned, 3, idx);
            assert_true(idx == 0 || (turned > 0.0 && turned < 10.0));
        }
        rig_destroy(t.rig);
    }
}

static void previous_is_the_latent_that_the_step_began_with(void **state)
{
    struct thought t;
    (void)state;
    begin(&t, 2);
    t.slots[1].want = MODEL_VALUE_ACCELERATION;
    for (int32_t idx = 0; idx < STEPS; idx++) {
        step(&t, idx);
        for (int32_t i = 0; i < SLOTS; i++)
            if (memcmp(t.previous[i], t.seen[i][idx], (size_t)t.n * sizeof(float)) != 0)
                fail_msg("slot %d after step %d: previous is another latent", i, idx);
    }
    rig_destroy(t.rig);
}

static void without_a_previous_latent_there_is_no_acceleration(void **state)
{
    struct thought t;
    (void)state;
    begin(&t, 1);
    t.slots[0].previous = NULL;
    t.slots[0].want = MODEL_VALUE_ACCELERATION;
    t.slots[1].previous = NULL;
    t.slots[1].want = MODEL_VALUE_DIFF;
    for (int32_t idx = 0; idx < 3; idx++) {
        step(&t, idx);
        same_bits(t.value[0][idx], NAN, 0, idx);
        same_bits(t.value[1][idx], model_exit_diff(t.seen[1][idx + 1], t.seen[1][idx], t.n), 1,
                  idx);
    }
    rig_destroy(t.rig);
}

static void asking_for_values_changes_no_latent(void **state)
{
    struct thought quiet, asked;
    (void)state;
    begin(&quiet, 1);
    begin(&asked, 1);
    for (int32_t i = 0; i < SLOTS; i++) {
        quiet.slots[i].previous = NULL;
        asked.slots[i].want = (enum model_exit_value)(1 + i % 3);
    }
    for (int32_t idx = 0; idx < STEPS; idx++) {
        step(&quiet, idx);
        step(&asked, idx);
    }
    assert_memory_equal(quiet.seen, asked.seen, sizeof quiet.seen);
    rig_destroy(quiet.rig);
    rig_destroy(asked.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_latents_on_any_number_of_ranks),
        cmocka_unit_test(previous_is_the_latent_that_the_step_began_with),
        cmocka_unit_test(without_a_previous_latent_there_is_no_acceleration),
        cmocka_unit_test(asking_for_values_changes_no_latent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
