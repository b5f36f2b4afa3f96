/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/tools/test_checksum.c - a model directory is what it was, or the message names what is not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "model/safetensors.h"
#include "tests/tools/scratch.h"
#include "tools/checksum.h"

/* A model in three files with checksums beside them, SCRATCH/name. */
static const char *make_model(const char *name)
{
    struct tool_synth_options options = scratch_options("tiny", 4);
    struct tool_check_result result;
    struct ltd_err err = {0};
    options.max_shard_bytes = 160000;
    const char *dir = scratch_synth(name, &options);
    scratch_good(tool_checksum_write(dir, &result, &err), &err);
    assert_int_equal(result.n_tensors, 39);
    assert_int_equal(result.n_files, 3);
    assert_int_equal(result.bytes, 380032);
    return dir;
}

static int verify(const char *dir, struct ltd_err *err)
{
    struct tool_check_result result;
    bool has_sums = false;
    ltd_err_clear(err);
    int rc = tool_checksum_verify(dir, &has_sums, &result, err);
    assert_true(rc != 0 || has_sums);
    return rc;
}

/* Which tensor a byte of the file belongs to; "" for the head. */
static void tensor_at(const char *path, size_t at, char out[128])
{
    struct ltd_err err = {0};
    struct model_safetensors *file = model_safetensors_open(path, &err);
    size_t head;
    scratch_good(file ? 0 : -1, &err);
    const uint8_t *map = model_safetensors_head(file, &head);
    out[0] = '\0';
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        if (map + at >= t->data && map + at < t->data + t->bytes)
            snprintf(out, 128, "tensor %s:", t->name);
    }
    assert_true((at < head) == (out[0] == '\0'));
    model_safetensors_close(file);
}

/* Flip a bit, expect a refusal that names file and tensor, and flip it back. */
static void check_flip(const char *dir, const char *path, char *bytes, size_t n, size_t at, int bit)
{
    char tensor[128];
    struct ltd_err err = {0};
    const char *name = strrchr(path, '/') + 1;
    tensor_at(path, at, tensor);
    bytes[at] ^= (char)(1 << bit);
    scratch_write(path, bytes, n);
    if (verify(dir, &err) == 0 || !strstr(err.msg, name) || !strstr(err.msg, tensor))
        fail_msg("bit %d of byte %zu of %s: \"%s\", expected a refusal with \"%s\"", bit, at, name,
                 err.msg, tensor);
    bytes[at] ^= (char)(1 << bit);
    scratch_write(path, bytes, n);
}

static void a_flipped_bit_anywhere_in_a_file_of_weights_is_refused_by_name(void **state)
{
    (void)state;
    const char *dir = make_model("flips");
    uint64_t random = 88172645463325252u;
    for (int f = 1; f <= 3; f++) {
        char path[512];
        size_t n;
        snprintf(path, sizeof path, "%s/model-%05d-of-00003.safetensors", dir, f);
        char *bytes = scratch_read(path, &n);
        struct ltd_cursor cursor = ltd_cursor_init(bytes, n);
        size_t head = 8 + (size_t)ltd_cursor_u64(&cursor);
        /* The length, the header here and there, its last eight bytes with the padding, the first
         * and the last of the data, and a hundred bits anywhere. */
        for (size_t at = 0; at < head; at += at < 8 || at + 8 >= head ? 1 : 13)
            check_flip(dir, path, bytes, n, at, (int)(at % 8));
        check_flip(dir, path, bytes, n, head, 7);
        check_flip(dir, path, bytes, n, n - 1, 0);
        for (int i = 0; i < 100; i++) {
            random ^= random << 13; /* xorshift64 (Marsaglia 2003) */
            random ^= random >> 7;
            random ^= random << 17;
            check_flip(dir, path, bytes, n, (size_t)(random >> 3) % n, (int)(random % 8));
        }
        free(bytes);
    }
    struct ltd_err err = {0};
    scratch_good(verify(dir, &err), &err);
}

static void a_changed_byte_in_any_other_file_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const names[] = {"config.json", "generation_config.json",
                                        "model.safetensors.index.json"};
    const char *dir = make_model("small");
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        size_t n;
        struct ltd_err err = {0};
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        char *bytes = scratch_read(path, &n);
        bytes[n - 1] = ' '; /* the last line feed: to a reader of JSON the same */
        scratch_write(path, bytes, n);
        scratch_bad(verify(dir, &err), &err, LTD_E_CORRUPT, names[i], "SHA-256");
        bytes[n - 1] = '\n';
        scratch_write(path, bytes, n);
        scratch_good(verify(dir, &err), &err);
        free(bytes);
    }
}

static void a_file_that_came_or_went_is_refused_by_name(void **state)
{
    (void)state;
    const char *dir = make_model("files");
    char generation[512], sums[512];
    struct ltd_err err = {0};
    struct tool_check_result result;
    snprintf(generation, sizeof generation, "%s/generation_config.json", dir);
    snprintf(sums, sizeof sums, "%s/" TOOL_CHECKSUM_NAME, dir);
    assert_int_equal(unlink(generation), 0);
    scratch_bad(verify(dir, &err), &err, LTD_E_CORRUPT, "generation_config.json", "absent");
    assert_int_equal(unlink(sums), 0);
    scratch_good(tool_checksum_write(dir, &result, &err), &err);
    scratch_write(generation, "{}", 2);
    scratch_bad(verify(dir, &err), &err, LTD_E_CORRUPT, "generation_config.json", "not listed");
}

static void checksums_that_exist_are_not_written_over(void **state)
{
    (void)state;
    const char *dir = make_model("twice");
    struct tool_check_result result;
    struct ltd_err err = {0};
    scratch_bad(tool_checksum_write(dir, &result, &err), &err, LTD_E_EXISTS, TOOL_CHECKSUM_NAME,
                "verify");
    scratch_good(verify(dir, &err), &err);
}

/* Replace `from` by the text of equal length `to` in SCRATCH/dir/name. */
static void edit(const char *dir, const char *name, const char *from, const char *to)
{
    char path[512];
    size_t n;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *text = scratch_read(path, &n);
    char *at = strstr(text, from);
    assert_non_null(at);
    memcpy(at, to, strlen(to));
    scratch_write(path, text, n);
    free(text);
}

static void a_damaged_file_of_checksums_is_an_error_and_never_a_pass(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        enum ltd_code code;
        const char *text;
    } cases[] = {
        {"latentd-checksums", "latentd-checksumz", LTD_E_INVALID, "format"},
        {"\"version\": 1", "\"version\": 2", LTD_E_INVALID, "version"},
        {"\"files\"", "\"fires\"", LTD_E_INVALID, "files and weights"},
        {"\"weights\"", "\"heights\"", LTD_E_INVALID, "files and weights"},
        {"{\"format\"", "[\"format\"", LTD_E_INVALID, "line"},
        {"\"config.json\"", "\"confix.json\"", LTD_E_CORRUPT, "config.json"},
        {"\"head\"", "\"heed\"", LTD_E_CORRUPT, "header"},
        {"transformer.adapter", "transformer.adopter", LTD_E_CORRUPT, "transformer.adapter"},
        {"model-00002", "model-00009", LTD_E_CORRUPT, "model-00002"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char name[32];
        struct ltd_err err = {0};
        snprintf(name, sizeof name, "sums-%zu", i);
        const char *dir = make_model(name);
        edit(dir, TOOL_CHECKSUM_NAME, cases[i].from, cases[i].to);
        scratch_bad(verify(dir, &err), &err, cases[i].code, cases[i].text, NULL);
    }
}

static void sums_of_more_than_there_is_are_refused(void **state)
{
    (void)state;
    const char *dir = make_model("more");
    char path[512];
    size_t n;
    struct ltd_err err = {0};
    snprintf(path, sizeof path, "%s/" TOOL_CHECKSUM_NAME, dir);
    char *text = scratch_read(path, &n);
    static const struct {
        const char *behind, *added, *named;
    } cases[] = {{"\"files\": {", "\"tokenizer.json\": \"00\", ", "tokenizer.json: absent"},
                 {"\"tensors\": {", "\"lm_head.weight\": \"00\", ", "tensors of a file"},
                 {"\"weights\": {", "\"more.safetensors\": {}, ", "more.safetensors: absent"}};
    for (size_t i = 0; i < 3; i++) {
        struct ltd_bytes edited;
        size_t at = (size_t)(strstr(text, cases[i].behind) - text) + strlen(cases[i].behind);
        ltd_bytes_init(&edited);
        ltd_bytes_put(&edited, text, at);
        ltd_bytes_put_str(&edited, cases[i].added);
        ltd_bytes_put(&edited, text + at, n - at);
        scratch_write(path, edited.data, edited.len);
        scratch_bad(verify(dir, &err), &err, LTD_E_CORRUPT, cases[i].named, NULL);
        ltd_bytes_fini(&edited);
    }
    free(text);
}

static void
without_checksums_a_weight_that_is_not_finite_is_refused_by_file_and_tensor(void **state)
{
    (void)state;
    struct tool_synth_options options = scratch_options("tiny", 4);
    struct ltd_err err = {0};
    struct tool_check_result result;
    bool has_sums = true;
    const char *dir = scratch_synth("finite", &options),
               *path = scratch_path("finite/model.safetensors");
    scratch_good(tool_checksum_verify(dir, &has_sums, &result, &err), &err);
    assert_false(has_sums);
    size_t n;
    char *bytes = scratch_read(path, &n);
    char tensor[128];
    tensor_at(path, n - 2, tensor);
    bytes[n - 2] = (char)0x80; /* bf16 7F80: infinite */
    bytes[n - 1] = 0x7F;
    scratch_write(path, bytes, n);
    scratch_bad(tool_checksum_verify(dir, &has_sums, &result, &err), &err, LTD_E_CORRUPT,
                "finite/model.safetensors", tensor);
    assert_non_null(strstr(err.msg, "inf"));
    /* Nor are checksums written of it. */
    scratch_bad(tool_checksum_write(dir, &result, &err), &err, LTD_E_CORRUPT, tensor, NULL);
    assert_true(access(scratch_path("finite/" TOOL_CHECKSUM_NAME), F_OK) != 0);
    free(bytes);
}

static void the_models_of_the_tree_pass(void **state)
{
    (void)state;
    static const char *const dirs[] = {SOURCE_DIR "/models/demo",
                                       TEST_DATA_DIR "/golden/tiny-p2r4c2",
                                       TEST_DATA_DIR "/golden/tiny-p1r2c1-bf16"};
    for (size_t i = 0; i < 3; i++) {
        struct ltd_err err = {0};
        struct tool_check_result result;
        bool has_sums;
        scratch_good(tool_checksum_verify(dirs[i], &has_sums, &result, &err), &err);
        assert_true(result.n_tensors > 0 && result.bytes > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_anywhere_in_a_file_of_weights_is_refused_by_name),
        cmocka_unit_test(a_changed_byte_in_any_other_file_is_refused_by_name),
        cmocka_unit_test(a_file_that_came_or_went_is_refused_by_name),
        cmocka_unit_test(checksums_that_exist_are_not_written_over),
        cmocka_unit_test(a_damaged_file_of_checksums_is_an_error_and_never_a_pass),
        cmocka_unit_test(sums_of_more_than_there_is_are_refused),
        cmocka_unit_test(
            without_checksums_a_weight_that_is_not_finite_is_refused_by_file_and_tensor),
        cmocka_unit_test(the_models_of_the_tree_pass),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
