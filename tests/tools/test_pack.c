/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/tools/test_pack.c - a packed directory is the one it was made from, in numbers and in name,
 * and nothing in it changes unnoticed.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/dispatch.h"
#include "model/checkpoint.h"
#include "model/layout.h"
#include "model/packed.h"
#include "model/seal.h"
#include "tests/tools/scratch.h"
#include "tools/check.h"
#include "tools/packer.h"

#define GOLDEN TEST_DATA_DIR "/golden/"

static struct model_packed_formats formats_of(const char *text)
{
    struct model_packed_formats formats;
    struct ltd_err err = {0};
    scratch_good(model_packed_formats_parse(text, &formats, &err), &err);
    return formats;
}

static const char *pack(const char *source, const char *name, const char *formats)
{
    struct model_packed_formats parsed = formats_of(formats);
    const char *path = scratch_path(name);
    struct tool_pack_result result;
    struct ltd_err err = {0};
    scratch_good(tool_pack_directory(source, &parsed, path, &result, &err), &err);
    return path;
}

static struct model_checkpoint *open_model(const char *dir)
{
    struct ltd_err err = {0};
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, &err);
    scratch_good(ckpt ? 0 : -1, &err);
    return ckpt;
}

/* The first golden model in bf16 and int8: made once, and left as it was by every test. */
static const char *golden(void)
{
    const char *path = scratch_path("golden");
    return access(path, F_OK) == 0 ? path : pack(GOLDEN "tiny-p2r4c2", "golden", "bf16,int8");
}

/* The best tier here that takes packed matrices, or NULL. */
static const struct kern_ops *find_tier(void)
{
    for (int32_t i = 0; i < kern_tier_count(); i++) {
        struct kern_tier_info info;
        kern_tier_describe(i, &info);
        const struct kern_ops *ops = info.available ? kern_tier_find(info.name, NULL) : NULL;
        if (ops && kern_packed_taken_by(ops))
            return ops;
    }
    print_message("no tier of this machine takes packed matrices\n");
    return NULL;
}

static void load(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                 const struct model_pack *what, struct kern_mat *mat)
{
    struct ltd_err err = {0};
    scratch_good(model_checkpoint_pack(ckpt, ctx, what, mat, &err), &err);
}

/* ---- the same numbers ---- */

static void compare(const struct model_checkpoint *source, const struct model_checkpoint *packed,
                    const struct kern_ctx *ctx, const struct model_pack *what)
{
    static float a[4096], b[4096];
    struct kern_mat expected, found;
    load(source, ctx, what, &expected);
    load(packed, ctx, what, &found);
    assert_int_equal(found.rows, expected.rows);
    assert_int_equal(found.cols, expected.cols);
    assert_int_equal(found.bytes, expected.bytes);
    assert_int_equal(found.format, expected.format);
    assert_true(found.cols <= 4096);
    for (int32_t r = 0; r < found.rows; r++) {
        ctx->ops->mat_row(ctx, &expected, r, a);
        ctx->ops->mat_row(ctx, &found, r, b);
        if (memcmp(a, b, (size_t)found.cols * sizeof *a) != 0)
            fail_msg("%s in %s, range 0 [%d, %d), row %d of the shard differs", what->name,
                     kern_format_name(what->format), what->ranges[0].begin, what->ranges[0].end, r);
    }
    kern_mat_fini(&expected);
    kern_mat_fini(&found);
}

/* A shard as ranks have them: whole, a third of each third, pairs, panels, and rows across
 * panels. */
static void compare_matrix(const struct model_checkpoint *source,
                           const struct model_checkpoint *packed, const struct kern_ctx *ctx,
                           const struct model_layout_row *row, enum kern_format format)
{
    const int32_t n = (int32_t)row->shape[0], third = n / 3, half = n / 2;
    const struct model_row_range sets[][3] = {
        {{0, n}, {0, 0}, {0, 0}},
        {{0, third}, {third, 2 * third}, {2 * third, n}},
        {{1, third}, {third + 1, 2 * third}, {2 * third + 1, n}},
        {{0, 16}, {half / 16 * 16, n}, {n, n}},
        {{16, 32}, {0, 0}, {0, 0}},
        {{n / 16 * 16, n}, {0, 0}, {0, 0}},
        {{n / 16 * 16, n}, {0, 5}, {0, 0}},
        {{3, 4}, {half, half + 9}, {0, 0}},
        {{0, 0}, {0, 0}, {0, 0}},
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        const struct model_pack what = {row->name, format, sets[i], 3};
        compare(source, packed, ctx, &what);
    }
}

static void compare_vector(const struct model_checkpoint *source,
                           const struct model_checkpoint *packed,
                           const struct model_layout_row *row)
{
    static float a[8192], b[8192];
    struct ltd_err err = {0};
    int64_t n = 1;
    for (int32_t i = 0; i < row->n_dims; i++)
        n *= row->shape[i];
    assert_true(n <= 8192);
    scratch_good(model_checkpoint_floats(source, row->name, 0, n, a, &err), &err);
    scratch_good(model_checkpoint_floats(packed, row->name, 0, n, b, &err), &err);
    assert_memory_equal(a, b, (size_t)n * sizeof *a);
    scratch_good(model_checkpoint_floats(packed, row->name, n / 2, 1, b, &err), &err);
    assert_true(b[0] == a[n / 2]);
}

static void compare_directories(const char *source_dir, const char *packed_dir,
                                const struct kern_ctx *ctx, enum model_use use)
{
    struct model_checkpoint *source = open_model(source_dir), *packed = open_model(packed_dir);
    const struct model_packed_formats *formats =
        model_packed_formats(model_checkpoint_packed(packed));
    struct model_layout layout;
    struct ltd_err err = {0};
    scratch_good(model_layout_build(&layout, model_checkpoint_config(source), &err), &err);
    model_checkpoint_set_use(packed, use);
    for (int32_t i = 0; i < layout.n_rows; i++) {
        if (layout.rows[i].n_dims != 2)
            compare_vector(source, packed, &layout.rows[i]);
        for (int32_t f = 0; layout.rows[i].n_dims == 2 && f < formats->n; f++)
            if (model_packed_holds(formats, layout.rows[i].name, formats->items[f]))
                compare_matrix(source, packed, ctx, &layout.rows[i], formats->items[f]);
    }
    assert_int_equal(model_checkpoint_is_lent(packed), use == MODEL_USE_MMAP);
    free(layout.rows);
    model_checkpoint_close(source);
    model_checkpoint_close(packed);
}

static void every_matrix_is_the_one_that_is_packed_from_the_source(void **state)
{
    struct tool_synth_options options = scratch_options("tiny", 5);
    char made[300];
    const char *const sources[] = {GOLDEN "tiny-p2r4c2", GOLDEN "tiny-p1r2c1-bf16", made};
    const struct kern_ctx ctx = {find_tier(), 2, 0};
    (void)state;
    snprintf(made, sizeof made, "%s", scratch_synth("synth", &options));
    for (int i = 0; ctx.ops && i < 3; i++)
        for (int f = i == 0 ? 0 : 1; f < 2; f++) {
            static const char *const formats[] = {"f32", "bf16,int8,int4"};
            char name[40];
            snprintf(name, sizeof name, "equal-%d-%d", i, f);
            char packed[300];
            snprintf(packed, sizeof packed, "%s", pack(sources[i], name, formats[f]));
            for (int use = MODEL_USE_AUTO; use <= MODEL_USE_COPY; use++)
                compare_directories(sources[i], packed, &ctx, (enum model_use)use);
        }
}

/* ---- the same name ---- */

static void a_packed_directory_has_the_hash_of_its_source_and_its_files(void **state)
{
    struct tool_synth_options options = scratch_options("tiny", 6);
    const char *source = scratch_synth("named", &options);
    char a[MODEL_HASH_HEX_BYTES], b[MODEL_HASH_HEX_BYTES];
    struct ltd_err err = {0};
    (void)state;
    scratch_write(scratch_path("named/tokenizer_config.json"), "{}\n", 3);
    scratch_write(scratch_path("named/old.bin"), "weights", 7);
    scratch_write(scratch_path("named/.hidden"), "x", 1);
    const char *packed = pack(source, "named-packed", "bf16");
    struct model_checkpoint *x = open_model(source), *y = open_model(packed);
    scratch_good(model_checkpoint_hash(x, a, &err), &err);
    scratch_good(model_checkpoint_hash(y, b, &err), &err);
    assert_string_equal(a, b);
    assert_int_equal(model_checkpoint_format(x), KERN_F32);
    assert_int_equal(model_checkpoint_format(y), KERN_BF16);
    model_checkpoint_close(x);
    model_checkpoint_close(y);
    size_t bytes;
    char *text = scratch_read(scratch_path("named-packed/tokenizer_config.json"), &bytes);
    assert_string_equal(text, "{}\n");
    free(text);
    assert_int_not_equal(access(scratch_path("named-packed/old.bin"), F_OK), 0);
    assert_int_not_equal(access(scratch_path("named-packed/.hidden"), F_OK), 0);
}

static void a_model_made_up_in_packed_form_is_the_packed_one_byte_for_byte(void **state)
{
    static const struct {
        const char *like, *formats;
        enum model_dtype dtype;
    } cases[] = {{"tiny", "bf16,int8", MODEL_BF16}, {"tiny", "int8", MODEL_F32}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tool_synth_options options = scratch_options(cases[i].like, 7);
        struct model_packed_formats formats = formats_of(cases[i].formats);
        struct tool_pack_result result;
        struct ltd_err err = {0};
        char name[40], file[80];
        size_t a_bytes, b_bytes;
        options.dtype = cases[i].dtype;
        snprintf(name, sizeof name, "twice-%zu", i);
        const char *source = scratch_synth(name, &options);
        snprintf(name, sizeof name, "twice-%zu-packed", i);
        pack(source, name, cases[i].formats);
        snprintf(file, sizeof file, "%s/%s", name, MODEL_PACKED_FILE);
        char *a = scratch_read(scratch_path(file), &a_bytes);
        snprintf(name, sizeof name, "twice-%zu-made", i);
        scratch_good(tool_synth_packed(&options, &formats, scratch_path(name), &result, &err),
                     &err);
        snprintf(file, sizeof file, "%s/%s", name, MODEL_PACKED_FILE);
        char *b = scratch_read(scratch_path(file), &b_bytes);
        assert_int_equal(a_bytes, b_bytes);
        assert_memory_equal(a, b, a_bytes);
        free(a);
        free(b);
    }
}

/* ---- damage ---- */

static char damaged_dir[200], weights_path[240];

static void use_directory(const char *dir)
{
    snprintf(damaged_dir, sizeof damaged_dir, "%s", dir);
    snprintf(weights_path, sizeof weights_path, "%s/" MODEL_PACKED_FILE, dir);
}

static void flip(const char *path, uint64_t at, uint8_t mask)
{
    uint8_t byte;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= mask;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* As verify, and as a daemon that loads everything: both refuse, and name file and piece. */
static void expect_refusal(const char *file, const char *piece, const char *what)
{
    struct tool_check_result result;
    struct ltd_err err = {0};
    if (tool_check(damaged_dir, NULL, NULL, &result, &err) == 0)
        fail_msg("%s: nobody noticed", what);
    if (!strstr(err.msg, file) || (piece && !strstr(err.msg, piece)))
        fail_msg("%s: \"%s\" names neither %s nor %s", what, err.msg, file, piece ? piece : "");
    if (err.code != LTD_E_CORRUPT && err.code != LTD_E_INVALID)
        fail_msg("%s: code %s: %s", what, ltd_code_name(err.code), err.msg);
}

static void expect_flip_refused(const char *file, uint64_t at, const char *piece)
{
    char path[300], what[400];
    uint8_t mask = (uint8_t)(1u << (at % 8));
    snprintf(path, sizeof path, "%s/%s", damaged_dir, file);
    snprintf(what, sizeof what, "bit %d of byte %llu of %s", (int)(at % 8), (unsigned long long)at,
             path);
    flip(path, at, mask);
    expect_refusal(file, piece, what);
    flip(path, at, mask);
}

/* The whole file in steps: length and header, tensors of every kind, padding, table. */
static void a_bit_that_flips_anywhere_is_refused_and_the_file_is_named(void **state)
{
    size_t bytes, step = 1009;
    struct tool_check_result result;
    struct ltd_err err = {0};
    (void)state;
    use_directory(golden());
    free(scratch_read(weights_path, &bytes));
    for (uint64_t at = 0; at < bytes; at += at < 16 ? 1 : step)
        expect_flip_refused(MODEL_PACKED_FILE, at, NULL);
    for (uint64_t at = bytes - 64; at < bytes; at++)
        expect_flip_refused(MODEL_PACKED_FILE, at, MODEL_PACKED_SEAL);
    scratch_good(tool_check(damaged_dir, NULL, NULL, &result, &err), &err);
    assert_true(result.is_packed);
}

/* The tensor is named, by verify and by whoever loads it. */
static void expect_tensor_named(const struct model_checkpoint *ckpt, const struct kern_ctx *ctx,
                                const struct model_tensor *t, const uint8_t *file_begin,
                                size_t offset)
{
    char matrix[MODEL_PACKED_NAME_BYTES];
    struct ltd_err err = {0};
    uint64_t at = (uint64_t)(t->data - file_begin) + offset;
    expect_flip_refused(MODEL_PACKED_FILE, at, t->name);
    const char *sign = strchr(t->name, '@');
    if (!sign || !ctx->ops)
        return;
    snprintf(matrix, sizeof matrix, "%.*s", (int)(sign - t->name), t->name);
    struct kern_mat mat;
    enum kern_format format;
    char key[MODEL_PACKED_NAME_BYTES + 8];
    int32_t rows;
    snprintf(key, sizeof key, "shape %s", matrix);
    rows = atoi(model_safetensors_metadata(model_checkpoint_file(ckpt, 0), key));
    assert_int_equal(kern_format_parse(sign + 1, &format), 0);
    const struct model_row_range all = {0, rows};
    const struct model_pack what = {matrix, format, &all, 1};
    flip(weights_path, at, 4);
    scratch_bad(model_checkpoint_pack(ckpt, ctx, &what, &mat, &err), &err, LTD_E_CORRUPT, t->name,
                "checksum");
    flip(weights_path, at, 4);
    load(ckpt, ctx, &what, &mat);
    kern_mat_fini(&mat);
}

static void a_flipped_bit_of_a_tensor_is_refused_by_its_name_when_it_is_loaded(void **state)
{
    const struct kern_ctx ctx = {find_tier(), 2, 0};
    size_t head_bytes;
    (void)state;
    use_directory(golden());
    struct model_checkpoint *ckpt = open_model(damaged_dir);
    const struct model_safetensors *file = model_checkpoint_file(ckpt, 0);
    const uint8_t *begin = model_safetensors_head(file, &head_bytes);
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        expect_tensor_named(ckpt, &ctx, t, begin, 0);
        expect_tensor_named(ckpt, &ctx, t, begin, t->bytes / 2);
        expect_tensor_named(ckpt, &ctx, t, begin, t->bytes - 1); /* of int8: a scale */
    }
    model_checkpoint_close(ckpt);
}

static void a_damaged_norm_is_refused_when_it_is_loaded(void **state)
{
    size_t head_bytes;
    float value;
    struct ltd_err err = {0};
    (void)state;
    use_directory(golden());
    struct model_checkpoint *ckpt = open_model(damaged_dir);
    const struct model_tensor *t = model_checkpoint_tensor(ckpt, MODEL_NAME_LN_F, &err);
    const uint8_t *begin = model_safetensors_head(model_checkpoint_file(ckpt, 0), &head_bytes);
    flip(weights_path, (uint64_t)(t->data - begin) + 9, 1);
    scratch_bad(model_checkpoint_floats(ckpt, MODEL_NAME_LN_F, 0, 1, &value, &err), &err,
                LTD_E_CORRUPT, MODEL_NAME_LN_F, "checksum");
    flip(weights_path, (uint64_t)(t->data - begin) + 9, 1);
    model_checkpoint_close(ckpt);
}

static void copied_files_that_changed_went_or_came_are_refused(void **state)
{
    struct tool_synth_options options = scratch_options("tiny", 8);
    const char *source = scratch_synth("copies", &options);
    size_t bytes;
    (void)state;
    scratch_write(scratch_path("copies/notes.txt"), "keep me\n", 8);
    use_directory(pack(source, "copies-packed", "bf16"));
    free(scratch_read(scratch_path("copies-packed/config.json"), &bytes));
    for (uint64_t at = 0; at < bytes; at += 31)
        expect_flip_refused("config.json", at, NULL);
    for (uint64_t at = 0; at < 8; at++)
        expect_flip_refused("notes.txt", at, "checksum");
    expect_flip_refused("generation_config.json", 1, "checksum");
    scratch_write(scratch_path("copies-packed/notes.txt"), "keep me\n\n", 9);
    expect_refusal("notes.txt", "9 bytes, expected 8", "a longer file");
    scratch_write(scratch_path("copies-packed/notes.txt"), "keep me\n", 8);
    scratch_write(scratch_path("copies-packed/tokenizer.json"), "{}", 2);
    expect_refusal("tokenizer.json", "expected it absent", "a tokenizer that came");
    unlink(scratch_path("copies-packed/tokenizer.json"));
    scratch_write(scratch_path("copies-packed/model.safetensors"), "{}", 2);
    expect_refusal("both model.safetensors and packed.safetensors", NULL, "two kinds of weights");
    unlink(scratch_path("copies-packed/model.safetensors"));
    unlink(scratch_path("copies-packed/notes.txt"));
    struct tool_check_result result;
    struct ltd_err err = {0};
    scratch_bad(tool_check(damaged_dir, NULL, NULL, &result, &err), &err, LTD_E_NOT_FOUND,
                "notes.txt", NULL);
}

static void a_file_that_ends_early_or_late_is_refused_at_every_length(void **state)
{
    size_t bytes;
    (void)state;
    use_directory(golden());
    char *whole = scratch_read(weights_path, &bytes);
    for (size_t keep = 0; keep < bytes; keep += keep < 16 ? 1 : 8191) {
        scratch_write(weights_path, whole, keep);
        expect_refusal(MODEL_PACKED_FILE, NULL, "a truncated file");
    }
    char *longer = calloc(1, bytes + 1);
    assert_non_null(longer);
    memcpy(longer, whole, bytes);
    scratch_write(weights_path, longer, bytes + 1);
    expect_refusal(MODEL_PACKED_FILE, NULL, "a file with one byte more");
    scratch_write(weights_path, whole, bytes);
    free(longer);
    free(whole);
}

/* ---- files that are whole and wrong ---- */

/* Replace a text of the header by one of the same length, and make every checksum agree again. */
static void rewrite(const char *from, const char *to)
{
    size_t bytes, head_bytes;
    char *file = scratch_read(weights_path, &bytes);
    char *at = memmem(file, bytes, from, strlen(from));
    struct model_seal seal;
    struct ltd_err err = {0};
    struct ltd_bytes table;
    assert_non_null(at);
    assert_int_equal(strlen(from), strlen(to));
    struct model_safetensors *opened = model_safetensors_open(weights_path, &err);
    scratch_good(opened ? 0 : -1, &err);
    const struct model_tensor *t = model_safetensors_find(opened, MODEL_PACKED_SEAL);
    const uint8_t *begin = model_safetensors_head(opened, &head_bytes);
    scratch_good(model_seal_decode(t->data, t->bytes, &seal, &err), &err);
    memcpy(at, to, strlen(to));
    seal.head_sum = model_seal_sum(file, head_bytes);
    ltd_bytes_init(&table);
    model_seal_encode(&seal, &table);
    assert_false(table.failed);
    assert_int_equal(table.len, t->bytes);
    assert_int_equal(table.len, model_seal_bytes(&seal));
    memcpy(file + (t->data - begin), table.data, table.len);
    model_safetensors_close(opened);
    scratch_write(weights_path, file, bytes);
    ltd_bytes_fini(&table);
    free(file);
}

static void another_version_layout_shape_or_format_is_refused_by_what_was_found(void **state)
{
    static const struct {
        const char *from, *to, *file, *text;
    } cases[] = {
        {"\"version\": \"1\"", "\"version\": \"7\"", "metadata version", "\"7\", expected \"1\""},
        {"panels-16", "panels-32", "metadata layout", "\"panels-32\", expected \"panels-16\""},
        {"latentd-packed", "latentd-pickle", "metadata format", "expected \"latentd-packed\""},
        {"wte.weight\": \"97 40", "wte.weight\": \"40 97", "shape transformer.wte.weight",
         "\"40 97\", expected \"97 40\""},
        {"\"formats\": \"bf16,int8\"", "\"formats\": \"int8,bf16\"", "@int8", "is missing"},
        {"\"formats\": \"bf16", "\"formats\": \"bf17", "metadata formats", "bf17"},
        {"coda.0.norm_1.weight", "coda.0.norm_9.weight", "norm_1.weight", "is missing"},
        {"\"source\": \"", "\"sourcf\": \"", "metadata source", "expected a SHA-256"},
    };
    size_t bytes;
    (void)state;
    use_directory(golden());
    char *whole = scratch_read(weights_path, &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        rewrite(cases[i].from, cases[i].to);
        expect_refusal(cases[i].file, cases[i].text, cases[i].to);
        scratch_write(weights_path, whole, bytes);
    }
    free(whole);
}

static void what_is_not_there_is_refused_with_what_is(void **state)
{
    const struct kern_ops *ref = kern_tier_find("ref", NULL), *tier = find_tier();
    struct ltd_err err = {0};
    (void)state;
    struct model_checkpoint *ckpt = open_model(golden());
    scratch_good(model_checkpoint_offers(ckpt, KERN_BF16, false, tier, &err), &err);
    scratch_good(model_checkpoint_offers(ckpt, KERN_INT8, true, tier, &err), &err);
    scratch_bad(model_checkpoint_offers(ckpt, KERN_INT8, false, tier, &err), &err, LTD_E_INVALID,
                "packed in bf16,int8", "not in int8: expected format = bf16");
    scratch_bad(model_checkpoint_offers(ckpt, KERN_F32, true, tier, &err), &err, LTD_E_INVALID,
                "packed in bf16,int8", "not in f32");
    scratch_bad(model_checkpoint_offers(ckpt, KERN_BF16, false, ref, &err), &err, LTD_E_INVALID,
                "panels-16", "tier ref");
    const struct kern_ctx ctx = {tier, 1, 0};
    const struct model_row_range row = {0, 1};
    const struct model_pack what = {MODEL_NAME_WTE, KERN_INT8, &row, 1};
    struct kern_mat mat;
    if (tier)
        scratch_bad(model_checkpoint_pack(ckpt, &ctx, &what, &mat, &err), &err, LTD_E_INVALID,
                    "not in int8", NULL);
    model_checkpoint_close(ckpt);
}

static void what_cannot_be_packed_leaves_nothing_behind(void **state)
{
    struct model_packed_formats formats = formats_of("bf16"), unused;
    struct tool_pack_result result;
    struct ltd_err err = {0};
    const char *packed = golden();
    int before = scratch_count();
    (void)state;
    scratch_bad(tool_pack_directory(packed, &formats, scratch_path("again"), &result, &err), &err,
                LTD_E_INVALID, "is packed", NULL);
    scratch_bad(tool_pack_directory(GOLDEN "tiny-p2r4c2", &formats, packed, &result, &err), &err,
                LTD_E_EXISTS, packed, NULL);
    scratch_bad(tool_pack_directory(GOLDEN, &formats, scratch_path("none"), &result, &err), &err,
                LTD_E_NOT_FOUND, "config.json", NULL);
    assert_int_equal(scratch_count(), before);
    scratch_bad(model_packed_formats_parse("bf16,bf16", &unused, &err), &err, LTD_E_INVALID,
                "each once", NULL);
    scratch_bad(model_packed_formats_parse("", &unused, &err), &err, LTD_E_INVALID, "bf16,int8",
                NULL);
    scratch_bad(model_packed_formats_parse("bf16,", &unused, &err), &err, LTD_E_INVALID, "bf16,",
                NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_matrix_is_the_one_that_is_packed_from_the_source),
        cmocka_unit_test(a_packed_directory_has_the_hash_of_its_source_and_its_files),
        cmocka_unit_test(a_model_made_up_in_packed_form_is_the_packed_one_byte_for_byte),
        cmocka_unit_test(a_bit_that_flips_anywhere_is_refused_and_the_file_is_named),
        cmocka_unit_test(a_flipped_bit_of_a_tensor_is_refused_by_its_name_when_it_is_loaded),
        cmocka_unit_test(a_damaged_norm_is_refused_when_it_is_loaded),
        cmocka_unit_test(copied_files_that_changed_went_or_came_are_refused),
        cmocka_unit_test(a_file_that_ends_early_or_late_is_refused_at_every_length),
        cmocka_unit_test(another_version_layout_shape_or_format_is_refused_by_what_was_found),
        cmocka_unit_test(what_is_not_there_is_refused_with_what_is),
        cmocka_unit_test(what_cannot_be_packed_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
