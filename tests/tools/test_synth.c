/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/tools/test_synth.c - made up models: shapes, numbers, files, and directories that are there
 * whole or not at all.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster/shard.h"
#include "kernels/bf16.h"
#include "model/checkpoint.h"
#include "model/index.h"
#include "model/layout.h"
#include "model/shard.h"
#include "tests/tools/scratch.h"
#include "tools/bar.h"
#include "tools/census.h"
#include "tools/folder.h"
#include "tools/shape.h"
#include "tools/weights.h"

/* ---- shapes ---- */

static const char *const names[] = {"huginn-0125", "100m", "l2-512k", "l2-1m", "l2-2m", "tiny"};

static struct model_config shape_of(const char *name)
{
    return scratch_options(name, 0).shape;
}

static void every_named_shape_is_listed_and_its_config_reads_back_as_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct model_config shape = shape_of(names[i]), back;
        struct ltd_bytes text;
        struct ltd_err err = {0};
        assert_non_null(strstr(tool_shape_names, names[i]));
        ltd_bytes_init(&text);
        tool_shape_config_json(&shape, "bfloat16", &text);
        assert_false(text.failed);
        memset(&back, 0, sizeof back);
        scratch_good(model_config_parse((const char *)text.data, text.len, names[i], &back, &err),
                     &err);
        assert_int_equal(back.n_embd, shape.n_embd);
        assert_int_equal(back.n_heads, shape.n_heads);
        assert_int_equal(back.head_dim, shape.head_dim);
        assert_int_equal(back.intermediate, shape.intermediate);
        assert_int_equal(back.vocab, shape.vocab);
        assert_int_equal(back.n_prelude, shape.n_prelude);
        assert_int_equal(back.n_core, shape.n_core);
        assert_int_equal(back.n_coda, shape.n_coda);
        assert_int_equal(back.max_positions, shape.max_positions);
        assert_int_equal(back.default_steps, shape.default_steps);
        assert_true(back.norm_eps == shape.norm_eps && back.rope_base == shape.rope_base);
        assert_true(back.tied == shape.tied && back.qk_bias == shape.qk_bias);
        ltd_bytes_fini(&text);
    }
}

static void the_published_shape_has_the_published_number_of_parameters(void **state)
{
    (void)state;
    struct model_config shape = shape_of("huginn-0125");
    struct model_layout layout;
    struct ltd_err err = {0};
    uint64_t total = 0;
    scratch_good(model_layout_build(&layout, &shape, &err), &err);
    for (int32_t i = 0; i < layout.n_rows; i++) {
        uint64_t n = 1;
        for (int32_t k = 0; k < layout.rows[i].n_dims; k++)
            n *= (uint64_t)layout.rows[i].shape[k];
        total += n;
    }
    free(layout.rows);
    assert_int_equal(total, 3564976800); /* arXiv 2502.05171: 3.5 B; exact from the shapes */
}

static void a_cache_shape_fits_two_caches_with_room_and_not_one(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t cache;
    } shapes[] = {{"l2-512k", 512 << 10}, {"l2-1m", 1 << 20}, {"l2-2m", 2 << 20}};
    for (size_t i = 0; i < 3; i++) {
        struct model_config c = shape_of(shapes[i].name);
        const struct clus_shard_shape cut = {c.n_heads, c.n_embd, c.intermediate};
        const double shares[2] = {1, 1};
        struct model_shard all = model_shard_all(&c), half[2];
        struct ltd_err err = {0};
        scratch_good(clus_shard_plan(&cut, shares, 2, half, &err), &err);
        int64_t whole = 4 * model_shard_weights(&all, &c);
        assert_true(whole > shapes[i].cache * 5 / 4);
        for (int r = 0; r < 2; r++)
            assert_true(4 * model_shard_weights(&half[r], &c) <= shapes[i].cache * 4 / 5);
    }
}

static void an_unknown_shape_is_refused_with_the_list_and_a_directory_gives_its_own(void **state)
{
    (void)state;
    struct model_config found;
    struct ltd_err err = {0};
    scratch_bad(tool_shape_find("huge", &found, &err), &err, LTD_E_INVALID, "\"huge\"",
                "huginn-0125");
    ltd_err_clear(&err);
    scratch_bad(tool_shape_find("./nowhere", &found, &err), &err, LTD_E_NOT_FOUND, "nowhere", NULL);
    scratch_good(tool_shape_find(TEST_DATA_DIR "/golden/tiny-p1r2c1-bf16", &found, &err), &err);
    assert_int_equal(found.n_core, 2);
}

/* ---- numbers ---- */

#define MATRIX "transformer.core_block.0.mlp.fc.weight"
#define BRANCH "transformer.core_block.0.mlp.proj.weight"

static void a_weight_does_not_depend_on_what_was_drawn_before_it(void **state)
{
    (void)state;
    enum { N = 1000 };
    static float whole[N], part[N];
    struct tool_weights w = tool_weights_of(5, MATRIX, 64);
    tool_weights_fill(&w, 0, N, whole);
    for (int64_t begin = 0; begin < 9; begin++)
        for (int64_t count = 0; count < 40; count++) {
            tool_weights_fill(&w, begin, count, part);
            assert_memory_equal(part, whole + begin, (size_t)count * sizeof *part);
        }
    /* The last element of the largest tensor that the loader takes, and far beyond 32 bits. */
    int64_t far = (int64_t)MODEL_MAX_VOCAB * MODEL_MAX_WIDTH;
    tool_weights_fill(&w, far - 8, 8, part);
    tool_weights_fill(&w, far - 3, 3, part + 8);
    assert_memory_equal(part + 8, part + 5, 3 * sizeof *part);
    assert_memory_not_equal(part, whole, 8 * sizeof *part);
}

static void seeds_and_tensors_have_numbers_of_their_own(void **state)
{
    (void)state;
    float a[64], b[64], c[64], d[64];
    struct tool_weights w[4] = {tool_weights_of(5, MATRIX, 64), tool_weights_of(6, MATRIX, 64),
                                tool_weights_of(5, "transformer.core_block.1.mlp.fc.weight", 64),
                                tool_weights_of(UINT64_C(5) << 32, MATRIX, 64)};
    tool_weights_fill(&w[0], 0, 64, a);
    tool_weights_fill(&w[1], 0, 64, b);
    tool_weights_fill(&w[2], 0, 64, c);
    tool_weights_fill(&w[3], 0, 64, d);
    for (int i = 0; i < 64; i++)
        assert_false(a[i] == b[i] && a[i] == c[i] && a[i] == d[i]);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void no_two_tensors_of_a_large_model_share_a_stream(void **state)
{
    (void)state;
    struct model_config shape = shape_of("tiny");
    struct model_layout layout;
    struct ltd_err err = {0};
    shape.n_prelude = shape.n_core = shape.n_coda = MODEL_MAX_LAYERS;
    scratch_good(model_layout_build(&layout, &shape, &err), &err);
    uint64_t *hashes = calloc((size_t)layout.n_rows, sizeof *hashes);
    assert_non_null(hashes);
    for (int32_t i = 0; i < layout.n_rows; i++)
        hashes[i] = tool_weights_of(0, layout.rows[i].name, shape.n_embd).tensor;
    qsort(hashes, (size_t)layout.n_rows, sizeof *hashes, by_value);
    for (int32_t i = 1; i < layout.n_rows; i++)
        assert_true(hashes[i - 1] != hashes[i]);
    free(hashes);
    free(layout.rows);
}

/* With 2^20 numbers the mean of a uniform distribution is within 5/1000 of its deviation, and the
 * deviation within 0.3 %, of what they should be, five and seven standard errors away. */
static void check_spread(const char *name, double deviation)
{
    enum { N = 1 << 20 };
    float *numbers = malloc(N * sizeof *numbers);
    struct tool_weights w = tool_weights_of(11, name, 64);
    double sum = 0, squares = 0, largest = 0;
    assert_non_null(numbers);
    tool_weights_fill(&w, 0, N, numbers);
    for (int i = 0; i < N; i++) {
        sum += numbers[i];
        squares += (double)numbers[i] * numbers[i];
        largest = fmax(largest, fabs(numbers[i]));
    }
    free(numbers);
    assert_true(fabs(sum / N) < 0.005 * deviation);
    assert_true(fabs(sqrt(squares / N) / deviation - 1) < 0.003);
    assert_true(largest <= deviation * sqrt(3.0) * 1.000001 && largest > deviation * 1.73);
}

static void numbers_have_the_spread_that_the_header_promises(void **state)
{
    (void)state;
    double usual = sqrt(2.0 / (5 * 64));
    check_spread(MATRIX, usual);
    check_spread(BRANCH, usual / 4);
    float norm[3];
    struct tool_weights w = tool_weights_of(11, "transformer.coda.0.norm_3.weight", 64);
    tool_weights_fill(&w, 0, 3, norm);
    assert_true(norm[0] == 1 && norm[1] == 1 && norm[2] == 1);
}

/* ---- files ---- */

static void check_same_tensors(const char *a, const char *b)
{
    struct ltd_err err = {0};
    struct model_checkpoint *x = model_checkpoint_open(a, &err), *y;
    scratch_good(x ? 0 : -1, &err);
    y = model_checkpoint_open(b, &err);
    scratch_good(y ? 0 : -1, &err);
    int compared = 0;
    for (int32_t f = 0; f < model_checkpoint_n_files(x); f++) {
        const struct model_safetensors *file = model_checkpoint_file(x, f);
        for (int32_t i = 0; i < model_safetensors_count(file); i++, compared++) {
            const struct model_tensor *t = model_safetensors_at(file, i);
            const struct model_tensor *other = model_checkpoint_tensor(y, t->name, &err);
            assert_non_null(other);
            assert_int_equal(t->bytes, other->bytes);
            assert_memory_equal(t->data, other->data, t->bytes);
        }
    }
    assert_int_equal(compared, 39); /* 4 layers of 9, wte, adapter, ln_f */
    model_checkpoint_close(y);
    model_checkpoint_close(x);
}

static void the_size_of_files_changes_no_tensor(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 3);
    struct tool_synth_result result;
    struct ltd_err err = {0};
    const char *whole = scratch_synth("whole", &options);
    for (uint64_t bytes = 1; bytes <= 262144; bytes *= 64) {
        char name[32];
        snprintf(name, sizeof name, "cut-%llu", (unsigned long long)bytes);
        options.max_shard_bytes = bytes;
        const char *cut = scratch_path(name);
        scratch_good(tool_synth(&options, cut, &result, &err), &err);
        assert_int_equal(result.n_files, bytes == 1      ? 39 /* every tensor is larger */
                                         : bytes == 64   ? 39
                                         : bytes == 4096 ? result.n_files
                                                         : 2);
        check_same_tensors(whole, cut);
    }
}

static void no_file_holds_more_than_was_asked_unless_one_tensor_does(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 3);
    struct ltd_err err = {0};
    options.max_shard_bytes = 40000;
    struct model_checkpoint *ckpt = model_checkpoint_open(scratch_synth("bound", &options), &err);
    scratch_good(ckpt ? 0 : -1, &err);
    assert_in_range(model_checkpoint_n_files(ckpt), 10, 39);
    for (int32_t f = 0; f < model_checkpoint_n_files(ckpt); f++) {
        const struct model_safetensors *file = model_checkpoint_file(ckpt, f);
        uint64_t bytes = 0;
        for (int32_t i = 0; i < model_safetensors_count(file); i++)
            bytes += model_safetensors_at(file, i)->bytes;
        assert_true(bytes <= 40000 || model_safetensors_count(file) == 1);
    }
    model_checkpoint_close(ckpt);
}

static void the_same_options_give_the_same_bytes_for_ever(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 1);
    struct ltd_err err = {0};
    char hash[MODEL_HASH_HEX_BYTES];
    struct model_checkpoint *ckpt = model_checkpoint_open(scratch_synth("one", &options), &err);
    scratch_good(ckpt ? 0 : -1, &err);
    scratch_good(model_checkpoint_hash(ckpt, hash, &err), &err);
    model_checkpoint_close(ckpt);
    /* Benchmarks of two versions compare the same model only as long as this holds. */
    assert_string_equal(hash, "8a83ead1cb377ddea3de7344adec87b22b1419597aafd4a402dee8a61f12322b");
    size_t a_bytes, b_bytes;
    scratch_synth("two", &options);
    char *a = scratch_read(scratch_path("one/model.safetensors"), &a_bytes);
    char *b = scratch_read(scratch_path("two/model.safetensors"), &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(a, b, a_bytes);
    free(a);
    free(b);
}

static void bf16_is_f32_rounded(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 9);
    struct ltd_err err = {0};
    struct model_checkpoint *half = model_checkpoint_open(scratch_synth("half", &options), &err);
    options.dtype = MODEL_F32;
    struct model_checkpoint *full = model_checkpoint_open(scratch_synth("full", &options), &err);
    assert_non_null(half);
    assert_non_null(full);
    const struct model_tensor *h = model_checkpoint_tensor(half, MATRIX, &err);
    const struct model_tensor *f = model_checkpoint_tensor(full, MATRIX, &err);
    assert_int_equal(h->dtype, MODEL_BF16);
    assert_int_equal(f->dtype, MODEL_F32);
    for (size_t i = 0; i < h->bytes / 2; i++) {
        uint16_t rounded;
        float value;
        memcpy(&rounded, h->data + 2 * i, sizeof rounded);
        memcpy(&value, f->data + 4 * i, sizeof value);
        assert_int_equal(rounded, kern_bf16_round(value));
    }
    model_checkpoint_close(full);
    model_checkpoint_close(half);
}

static void more_files_than_a_loader_takes_are_refused(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 1);
    struct tool_synth_result result;
    struct ltd_err err = {0};
    int before = scratch_count();
    options.shape.n_core = 128;
    options.max_shard_bytes = 1;
    scratch_bad(tool_synth(&options, scratch_path("many"), &result, &err), &err, LTD_E_INVALID,
                "1173 files", "1024");
    assert_int_equal(scratch_count(), before);
}

/* ---- directories ---- */

static void a_name_that_is_taken_is_refused_and_nothing_is_left(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 1);
    struct tool_synth_result result;
    struct ltd_err err = {0};
    assert_int_equal(mkdir(scratch_path("taken"), 0777), 0);
    scratch_write(scratch_path("file"), "x", 1);
    assert_int_equal(symlink("nowhere", scratch_path("link")), 0);
    int before = scratch_count();
    static const char *const taken[] = {"taken", "taken/", "file", "link"};
    for (size_t i = 0; i < 4; i++)
        scratch_bad(tool_synth(&options, scratch_path(taken[i]), &result, &err), &err, LTD_E_EXISTS,
                    "exists", NULL);
    scratch_bad(tool_synth(&options, scratch_path("none/new"), &result, &err), &err,
                LTD_E_NOT_FOUND, "none", NULL);
    scratch_bad(tool_synth(&options, scratch_path("file/new"), &result, &err), &err,
                LTD_E_NOT_FOUND, "file", NULL);
    scratch_bad(tool_synth(&options, "/", &result, &err), &err, LTD_E_INVALID, "\"/\"", NULL);
    scratch_bad(tool_synth(&options, "", &result, &err), &err, LTD_E_INVALID, "\"\"", NULL);
    assert_int_equal(scratch_count(), before);
}

static void more_than_the_disk_holds_is_refused_before_anything_is_made(void **state)
{
    (void)state;
    struct tool_folder folder;
    struct ltd_err err = {0};
    int before = scratch_count();
    scratch_bad(tool_folder_begin(&folder, scratch_path("large"), UINT64_MAX, &err), &err,
                LTD_E_EXHAUSTED, "18446744073709551615", "free");
    tool_folder_drop(&folder);
    assert_int_equal(scratch_count(), before);
}

static void a_folder_that_is_dropped_or_comes_too_late_leaves_nothing(void **state)
{
    (void)state;
    struct tool_folder folder;
    struct tool_file file;
    struct ltd_err err = {0};
    int before = scratch_count();
    for (int late = 0; late < 2; late++) {
        scratch_good(tool_folder_begin(&folder, scratch_path("new"), 0, &err), &err);
        scratch_good(tool_file_create(&file, &folder, "a", &err), &err);
        scratch_good(tool_file_write(&file, "abc", 3, &err), &err);
        assert_true(access(scratch_path("new"), F_OK) != 0);
        assert_int_equal(scratch_count(), before + 1);
        if (late) {
            scratch_good(tool_file_close(&file, &err), &err);
            assert_int_equal(mkdir(scratch_path("new"), 0777),
                             0); /* empty: rename alone would win */
            scratch_bad(tool_folder_commit(&folder, &err), &err, LTD_E_EXISTS, "new", NULL);
            assert_int_equal(rmdir(scratch_path("new")), 0);
        }
        tool_file_abandon(&file);
        tool_folder_drop(&folder);
        assert_int_equal(scratch_count(), before);
    }
}

/* ---- bar ---- */

static void a_bar_says_how_much_how_fast_and_how_long(void **state)
{
    (void)state;
    char text[CLI_PROGRESS_BYTES];
    assert_string_equal(tool_bar_format(0, 100, 0, text),
                        "[>                   ]   0 %  0 B of 100 B");
    assert_string_equal(tool_bar_format(1500000000, 6000000000, 5 * LTD_NS_PER_S, text),
                        "[=====>              ]  25 %  1.50 GB of 6.00 GB  300 MB/s  15 s left");
    assert_string_equal(tool_bar_format(7, 7, 10, text),
                        "[====================] 100 %  7 B of 7 B");
    assert_string_equal(tool_bar_format(0, 0, 10, text),
                        "[====================] 100 %  0 B of 0 B");
    /* It fits a terminal of 80 columns at its longest. */
    assert_true(strlen(tool_bar_format(99900000000, 999000000000, LTD_NS_PER_S, text)) < 80);
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.00 kB"},
                 {9994, "9.99 kB"},
                 {9996, "10.0 kB"},
                 {99960, "100 kB"},
                 {999499, "999 kB"},
                 {999500, "1.00 MB"},
                 {7129953600, "7.13 GB"},
                 {3000000000000, "3.00 TB"}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char bytes[TOOL_BYTES_TEXT];
        assert_string_equal(tool_bytes_text(sizes[i].bytes, bytes), sizes[i].text);
    }
}

/* ---- what ranks need ---- */

static void the_ranks_of_a_group_hold_the_model_once(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 2);
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(scratch_synth("ranks", &options), &err);
    struct tool_census census;
    struct tool_rank ranks[7];
    const struct model_config *c = &options.shape;
    scratch_good(ckpt ? 0 : -1, &err);
    scratch_good(tool_census_take(ckpt, &census, &err), &err);
    assert_int_equal(census.total, 190016);
    assert_int_equal(census.bytes, 2 * 190016);
    assert_int_equal(census.dtypes[MODEL_BF16].tensors, 39);
    uint64_t norms = 4u * 4u * (uint64_t)c->n_embd * (uint64_t)c->n_core;
    for (int32_t n = 1; n <= 7; n++) {
        uint64_t weights = 0, position = 0;
        scratch_good(tool_census_ranks(c, &census, n, 3, ranks, &err), &err);
        for (int32_t r = 0; r < n; r++) {
            weights += ranks[r].weight_bytes;
            position += ranks[r].position_bytes;
        }
        /* Norms are small and on every rank. */
        assert_int_equal(weights, 4 * census.total + (uint64_t)(n - 1) * norms);
        assert_int_equal(position, 4 * 2 * 64 * (3 * 2 + 1 + 1));
    }
    scratch_bad(tool_census_ranks(c, &census, 0, 1, ranks, &err), &err, LTD_E_INVALID, "0 ranks",
                NULL);
    scratch_bad(tool_census_ranks(c, &census, CLUS_MAX_RANKS + 1, 1, ranks, &err), &err,
                LTD_E_INVALID, "1025 ranks", NULL);
    model_checkpoint_close(ckpt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_named_shape_is_listed_and_its_config_reads_back_as_itself),
        cmocka_unit_test(the_published_shape_has_the_published_number_of_parameters),
        cmocka_unit_test(a_cache_shape_fits_two_caches_with_room_and_not_one),
        cmocka_unit_test(an_unknown_shape_is_refused_with_the_list_and_a_directory_gives_its_own),
        cmocka_unit_test(a_weight_does_not_depend_on_what_was_drawn_before_it),
        cmocka_unit_test(seeds_and_tensors_have_numbers_of_their_own),
        cmocka_unit_test(no_two_tensors_of_a_large_model_share_a_stream),
        cmocka_unit_test(numbers_have_the_spread_that_the_header_promises),
        cmocka_unit_test(the_size_of_files_changes_no_tensor),
        cmocka_unit_test(no_file_holds_more_than_was_asked_unless_one_tensor_does),
        cmocka_unit_test(the_same_options_give_the_same_bytes_for_ever),
        cmocka_unit_test(bf16_is_f32_rounded),
        cmocka_unit_test(more_files_than_a_loader_takes_are_refused),
        cmocka_unit_test(a_name_that_is_taken_is_refused_and_nothing_is_left),
        cmocka_unit_test(more_than_the_disk_holds_is_refused_before_anything_is_made),
        cmocka_unit_test(a_folder_that_is_dropped_or_comes_too_late_leaves_nothing),
        cmocka_unit_test(a_bar_says_how_much_how_fast_and_how_long),
        cmocka_unit_test(the_ranks_of_a_group_hold_the_model_once),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
