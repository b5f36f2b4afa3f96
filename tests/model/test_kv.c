/* SPDX-License-Identifier: Apache-2.0 */
/* tests/model/test_kv.c - policies, counts of planes, holes, and the bytes of a page. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bf16.h"
#include "model/kv.h"

static struct model_kv_policy parse(const char *name)
{
    struct model_kv_policy policy;
    struct ltd_err err = {0};
    if (model_kv_policy_parse(name, 4, 32, &policy, &err) != 0)
        fail_msg("%s: %s", name, err.msg);
    return policy;
}

static void published_names_give_their_planes(void **state)
{
    static const struct {
        const char *name;
        int32_t n_planes;
        bool anchor;
        enum model_kv_holes holes;
    } rows[] = {
        {"full", 32, false, MODEL_KV_SKIP},
        {"latest-m4", 32, false, MODEL_KV_LATEST},
        {"compress-s4", 1, false, MODEL_KV_SKIP},
        {"compress-s16", 4, false, MODEL_KV_SKIP},
        {"compress-s4096", 32, false, MODEL_KV_SKIP}, /* never more than there are steps */
        {"compress-anchor", 9, true, MODEL_KV_SKIP},
        {"latest-m4-compress-s4", 1, false, MODEL_KV_LATEST},
        {"latest-m4-compress-s16", 4, false, MODEL_KV_LATEST},
        {"latest-m4-compress-anchor", 9, true, MODEL_KV_LATEST},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct model_kv_policy p = parse(rows[i].name);
        assert_int_equal(p.n_planes, rows[i].n_planes);
        assert_int_equal(p.anchor, rows[i].anchor);
        assert_int_equal(p.holes, rows[i].holes);
    }
}

static void other_names_are_refused_with_what_is_known(void **state)
{
    static const char *const names[] = {
        "",
        "Full",
        "full ",
        "latest",
        "latest-m4-",
        "latest-m5",
        "compress-",
        "compress-s",
        "compress-s0",
        "compress-s-4",
        "compress-4",
        "compress-s6",
        "compress-s4x",
        "compress-q8",
        "compress-s99999999999",
        "skip",
        "randomized",
        "latest-m4-full",
        "compress-anchors",
        "compress-s 4",
        "compress-s04",
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct model_kv_policy policy;
        struct ltd_err err = {0};
        if (model_kv_policy_parse(names[i], 4, 32, &policy, &err) != -1)
            fail_msg("\"%s\" was taken as a policy", names[i]);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_non_null(strstr(err.msg, "expected"));
        assert_non_null(strstr(err.msg, names[i]));
    }
}

static void a_step_finds_its_plane(void **state)
{
    struct model_kv_policy ring = parse("compress-s16"), anchor = parse("compress-anchor");
    (void)state;
    for (int32_t k = 0; k < 32; k++) {
        assert_int_equal(model_kv_plane(&ring, k), k % 4);
        assert_int_equal(model_kv_plane(&anchor, k), k < 8 ? k : 8);
    }
    struct model_kv_policy full = parse("full");
    assert_true(model_kv_policy_replayable(&full, 32));
    assert_false(model_kv_policy_replayable(&ring, 32));
    assert_true(model_kv_policy_replayable(&ring, 4));
}

static struct model_kv *pool_of(const char *policy, int32_t n_pages, enum model_kv_format format)
{
    struct ltd_err err = {0};
    const struct model_kv_spec spec = {n_pages, 4, 3, 6, parse(policy), format};
    struct model_kv *kv = model_kv_create(&spec, &err);
    if (!kv)
        fail_msg("model_kv_create: %s", err.msg);
    return kv;
}

static struct model_kv *pool(const char *policy, int32_t n_pages)
{
    return pool_of(policy, n_pages, MODEL_KV_F32);
}

static const int32_t pages[] = {2, 0};

static void start(struct model_kv *kv, int32_t position, int32_t step)
{
    struct ltd_err err = {0};
    const struct model_place place = {pages, 2, position, step};
    if (model_kv_start(kv, &place, 1, &err) != 0)
        fail_msg("model_kv_start: %s", err.msg);
}

static void expect_planes(struct model_kv *kv, int32_t position, int32_t step,
                          const int16_t *expected)
{
    int16_t planes[32];
    struct ltd_err err = {0};
    const struct model_place place = {pages, 2, position, step};
    if (model_kv_planes(kv, &place, planes, &err) != 0)
        fail_msg("model_kv_planes: %s", err.msg);
    for (int32_t j = 0; j <= position; j++)
        if (planes[j] != expected[j])
            fail_msg("step %d: position %d is read at plane %d, expected %d", step, j, planes[j],
                     expected[j]);
}

/* Positions 0, 1, 2 leave after 2, 7 and 5 steps; position 3 reads them at every depth. */
static void play(struct model_kv *kv, const int16_t expected[][4], int32_t n_steps)
{
    static const int32_t depth[3] = {2, 7, 5};
    for (int32_t p = 0; p < 3; p++)
        for (int32_t k = 0; k < depth[p]; k++)
            start(kv, p, k);
    for (int32_t k = 0; k < n_steps; k++) {
        start(kv, 3, k);
        expect_planes(kv, 3, k, expected[k]);
    }
}

static void full_skips_positions_that_left_early(void **state)
{
    static const int16_t expected[][4] = {{0, 0, 0, 0},   {1, 1, 1, 1},   {-1, 2, 2, 2},
                                          {-1, 3, 3, 3},  {-1, 4, 4, 4},  {-1, 5, -1, 5},
                                          {-1, 6, -1, 6}, {-1, -1, -1, 7}};
    (void)state;
    struct model_kv *kv = pool("full", 3);
    play(kv, expected, 8);
    model_kv_destroy(kv);
}

static void latest_reads_the_deepest_plane_not_deeper_than_the_reader(void **state)
{
    static const int16_t expected[][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 2, 2}, {1, 3, 3, 3},
                                          {1, 4, 4, 4}, {1, 5, 4, 5}, {1, 6, 4, 6}, {1, 6, 4, 7}};
    (void)state;
    struct model_kv *kv = pool("latest-m4", 3);
    play(kv, expected, 8);
    model_kv_destroy(kv);
}

static void a_ring_compares_slots_not_steps(void **state)
{
    static const int16_t expected[][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 2, 2}, {1, 3, 3, 3},
                                          {0, 0, 0, 0}, {1, 1, 1, 1}, {1, 2, 2, 2}};
    (void)state;
    struct model_kv *kv = pool("latest-m4-compress-s16", 3);
    play(kv, expected, 7);
    model_kv_destroy(kv);
}

static void an_anchored_ring_shares_its_last_plane(void **state)
{
    (void)state;
    struct model_kv *kv = pool("latest-m4-compress-anchor", 3);
    for (int32_t k = 0; k < 20; k++)
        start(kv, 0, k);
    for (int32_t k = 0; k < 12; k++) {
        const int16_t expected[2] = {(int16_t)(k < 8 ? k : 8), (int16_t)(k < 8 ? k : 8)};
        start(kv, 1, k);
        expect_planes(kv, 1, k, expected);
    }
    model_kv_destroy(kv);
}

static void a_position_that_starts_anew_forgets_its_planes(void **state)
{
    static const int16_t expected[2] = {0, 2};
    (void)state;
    struct model_kv *kv = pool("latest-m4", 3);
    for (int32_t k = 0; k < 9; k++)
        start(kv, 0, k);
    assert_int_equal(model_kv_present(kv, pages[0], 0), 9);
    start(kv, 0, 0);
    assert_int_equal(model_kv_present(kv, pages[0], 0), 1);
    for (int32_t k = 0; k < 3; k++)
        start(kv, 1, k);
    expect_planes(kv, 1, 2, expected);
    model_kv_destroy(kv);
}

static void a_broken_plan_is_refused_before_anything_is_read(void **state)
{
    static const int32_t outside[] = {2, 3}, negative[] = {-1, 0};
    static const struct {
        struct model_place place;
        const char *said;
    } rows[] = {
        {{pages, 2, 32, 0}, "position 32"}, {{pages, 2, -1, 0}, "position -1"},
        {{pages, 2, 0, -1}, "step -1"},     {{pages, 1, 16, 0}, "1 pages"},
        {{outside, 2, 16, 0}, "page 3"},    {{negative, 2, 0, 0}, "page -1"},
        {{pages, 2, 0, 1}, "step 1"},       {{pages, 2, 5, 3}, "expected the 3"},
    };
    (void)state;
    struct model_kv *kv = pool("full", 3);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ltd_err err = {0};
        assert_int_equal(model_kv_start(kv, &rows[i].place, 1, &err), -1);
        assert_int_equal(err.code, LTD_E_INTERNAL);
        if (!strstr(err.msg, rows[i].said))
            fail_msg("\"%s\", expected \"%s\" in it", err.msg, rows[i].said);
    }
    model_kv_destroy(kv);
}

static void reading_a_position_that_never_started_is_refused(void **state)
{
    int16_t planes[32];
    struct ltd_err err = {0};
    const struct model_place place = {pages, 2, 17, 0};
    (void)state;
    struct model_kv *kv = pool("latest-m4", 3);
    for (int32_t p = 0; p < 18; p++)
        if (p != 11)
            start(kv, p, 0);
    assert_int_equal(model_kv_planes(kv, &place, planes, &err), -1);
    assert_non_null(strstr(err.msg, "position 11"));
    model_kv_destroy(kv);
}

static void a_released_page_is_empty(void **state)
{
    struct ltd_err err = {0};
    float k[18], v[18];
    (void)state;
    struct model_kv *kv = pool("full", 3);
    for (int i = 0; i < 18; i++)
        k[i] = v[i] = 1.0f + (float)i;
    const struct model_place place = {pages, 2, 3, 0};
    start(kv, 3, 0);
    model_kv_store(kv, 2, &place, k, v);
    struct kern_kv_layer view = model_kv_layer(kv, 2);
    assert_int_equal(view.format, KERN_KV_F32);
    const float *plane = (const float *)view.pool + 2 * view.page_stride;
    for (int i = 0; i < 18; i++)
        assert_true(plane[i * 16 + 3] == 1.0f + (float)i);
    for (int h = 0; h < 3; h++)
        for (int c = 0; c < 6; c++)
            assert_true(plane[18 * 16 + (h * 16 + 3) * 6 + c] == 1.0f + (float)(h * 6 + c));
    model_kv_release(kv, 2);
    assert_int_equal(model_kv_present(kv, 2, 3), 0);
    int16_t planes[32];
    assert_int_equal(model_kv_planes(kv, &place, planes, &err), -1);
    model_kv_destroy(kv);
}

static void formats_have_names_and_others_are_refused(void **state)
{
    static const char *const others[] = {"", "F32", "bf16 ", "f16", "int8", "bf16x"};
    enum model_kv_format format = MODEL_KV_F32;
    struct ltd_err err = {0};
    (void)state;
    assert_int_equal(model_kv_format_parse("bf16", &format, &err), 0);
    assert_int_equal(format, MODEL_KV_BF16);
    assert_string_equal(model_kv_format_name(format), "bf16");
    assert_int_equal(model_kv_format_parse("f32", &format, &err), 0);
    assert_int_equal(format, MODEL_KV_F32);
    assert_string_equal(model_kv_format_name(format), "f32");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (model_kv_format_parse(others[i], &format, &err) != -1)
            fail_msg("\"%s\" was taken as a format", others[i]);
        assert_int_equal(err.code, LTD_E_INVALID);
        assert_non_null(strstr(err.msg, "expected f32 or bf16"));
        assert_int_equal(format, MODEL_KV_F32);
    }
}

static void a_bf16_page_holds_rounded_numbers_where_an_f32_page_holds_them_whole(void **state)
{
    float k[18], v[18];
    (void)state;
    struct model_kv *whole = pool_of("full", 3, MODEL_KV_F32);
    struct model_kv *rounded = pool_of("full", 3, MODEL_KV_BF16);
    for (int i = 0; i < 18; i++) {
        k[i] = 1.0f + (float)(i + 1) * 0x1p-10f; /* not bf16; some round up, some down */
        v[i] = -k[i];
    }
    k[3] = v[4] = NAN;
    k[5] = v[6] = INFINITY;
    for (int32_t step = 0; step < 3; step++) {
        const struct model_place place = {pages, 2, 19, step};
        model_kv_store(whole, 2, &place, k, v);
        model_kv_store(rounded, 2, &place, k, v);
    }
    struct kern_kv_layer a = model_kv_layer(whole, 2), b = model_kv_layer(rounded, 2);
    assert_int_equal(b.format, KERN_KV_BF16);
    assert_int_equal(a.plane_stride, b.plane_stride);
    for (size_t plane = 0; plane < 32; plane++) {
        const float *f = (const float *)a.pool + plane * a.plane_stride;
        const uint16_t *h = (const uint16_t *)b.pool + plane * b.plane_stride;
        for (size_t i = 0; i < (size_t)2 * 18 * 16; i++)
            if (h[i] != kern_bf16_round(f[i]))
                fail_msg("plane %zu element %zu: %04x, expected %.9g rounded", plane, i, h[i],
                         (double)f[i]);
    }
    /* Something was stored where it was looked for: position 19 is lane 3 of page 0. */
    const uint16_t *h = (const uint16_t *)b.pool + 2 * b.plane_stride;
    assert_int_equal(h[0 * 16 + 3], kern_bf16_round(k[0]));
    assert_true(kern_bf16_widen(h[0 * 16 + 3]) != k[0]);
    assert_true(isnan(kern_bf16_widen(h[3 * 16 + 3])));
    assert_true(isinf(kern_bf16_widen(h[5 * 16 + 3])));
    model_kv_destroy(whole);
    model_kv_destroy(rounded);
}

static void a_released_bf16_page_is_empty_and_its_neighbour_is_not(void **state)
{
    float k[18], v[18];
    (void)state;
    struct model_kv *kv = pool_of("full", 3, MODEL_KV_BF16);
    for (int i = 0; i < 18; i++)
        k[i] = v[i] = 1.0f + (float)i;
    const struct model_place first = {pages, 2, 3, 0}, second = {pages, 2, 19, 0};
    start(kv, 3, 0);
    start(kv, 19, 0);
    model_kv_store(kv, 3, &first, k, v);
    model_kv_store(kv, 3, &second, k, v);
    model_kv_release(kv, pages[0]);
    struct kern_kv_layer view = model_kv_layer(kv, 3);
    const uint16_t *gone = (const uint16_t *)view.pool + (size_t)pages[0] * view.page_stride;
    const uint16_t *kept = (const uint16_t *)view.pool + (size_t)pages[1] * view.page_stride;
    assert_int_equal(gone[3], 0);
    assert_int_equal(kept[3], kern_bf16_round(1.0f));
    assert_int_equal(model_kv_present(kv, pages[0], 3), 0);
    assert_int_equal(model_kv_present(kv, pages[1], 19), 1);
    model_kv_destroy(kv);
}

static void a_page_has_room_for_all_its_planes(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    struct model_kv_spec spec = {1000, 4, 55, 96, parse("compress-s16"), MODEL_KV_BF16};
    /* 4 planes, 4 layers, keys and values, 55 heads of 96, 16 positions, 2 or 4 bytes */
    assert_int_equal(model_kv_page_bytes(&spec), 4 * 4 * 2 * 55 * 96 * 16 * 2);
    spec.format = MODEL_KV_F32;
    assert_int_equal(model_kv_page_bytes(&spec), 4 * 4 * 2 * 55 * 96 * 16 * 4);
    struct model_kv *kv = model_kv_create(&spec, &err); /* 10 GB of addresses, no memory yet */
    assert_non_null(kv);
    model_kv_destroy(kv);
}

static void a_rank_without_heads_keeps_counts_only(void **state)
{
    struct ltd_err err = {0};
    const float nothing = 0.0f;
    (void)state;
    const struct model_kv_spec spec = {3, 4, 0, 6, parse("full"), MODEL_KV_BF16};
    assert_int_equal(model_kv_page_bytes(&spec), 0);
    struct model_kv *kv = model_kv_create(&spec, &err);
    assert_non_null(kv);
    start(kv, 0, 0);
    const struct model_place place = {pages, 2, 0, 0};
    model_kv_store(kv, 0, &place, &nothing, &nothing);
    assert_int_equal(model_kv_present(kv, 2, 0), 1);
    model_kv_release(kv, 2);
    model_kv_destroy(kv);
}

static void impossible_pools_are_refused(void **state)
{
    static const struct model_kv_spec specs[] = {
        {0, 4, 1, 2, {1, false, MODEL_KV_SKIP}, MODEL_KV_F32},
        {1, 0, 1, 2, {1, false, MODEL_KV_SKIP}, MODEL_KV_F32},
        {1, 4, -1, 2, {1, false, MODEL_KV_SKIP}, MODEL_KV_F32},
        {1, 4, 1, 0, {1, false, MODEL_KV_SKIP}, MODEL_KV_BF16},
        {1, 4, 1, 2, {0, false, MODEL_KV_SKIP}, MODEL_KV_BF16},
        {1, 4, 1, 2, {4097, false, MODEL_KV_SKIP}, MODEL_KV_F32},
        {1, 4, 1, 2, {1, false, MODEL_KV_SKIP}, (enum model_kv_format)2},
    };
    (void)state;
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        struct ltd_err err = {0};
        assert_null(model_kv_create(&specs[i], &err));
        assert_int_equal(err.code, LTD_E_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_names_give_their_planes),
        cmocka_unit_test(other_names_are_refused_with_what_is_known),
        cmocka_unit_test(a_step_finds_its_plane),
        cmocka_unit_test(full_skips_positions_that_left_early),
        cmocka_unit_test(latest_reads_the_deepest_plane_not_deeper_than_the_reader),
        cmocka_unit_test(a_ring_compares_slots_not_steps),
        cmocka_unit_test(an_anchored_ring_shares_its_last_plane),
        cmocka_unit_test(a_position_that_starts_anew_forgets_its_planes),
        cmocka_unit_test(a_broken_plan_is_refused_before_anything_is_read),
        cmocka_unit_test(reading_a_position_that_never_started_is_refused),
        cmocka_unit_test(a_released_page_is_empty),
        cmocka_unit_test(formats_have_names_and_others_are_refused),
        cmocka_unit_test(a_bf16_page_holds_rounded_numbers_where_an_f32_page_holds_them_whole),
        cmocka_unit_test(a_released_bf16_page_is_empty_and_its_neighbour_is_not),
        cmocka_unit_test(a_page_has_room_for_all_its_planes),
        cmocka_unit_test(a_rank_without_heads_keeps_counts_only),
        cmocka_unit_test(impossible_pools_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
