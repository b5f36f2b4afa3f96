/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/model/test_safetensors.c - broken tensor files, each refused with file, item, found and
 * expected; and every truncation and many byte flips of a good one, which must never crash.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "model/safetensors.h"

static char path[] = "/tmp/latentd-safetensors-XXXXXX";

static int make_path(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int drop_path(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const void *data, size_t len)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

/* A file of a header and `n_data` bytes of data. */
static void write_tensors(const char *header, size_t n_data)
{
    struct ltd_bytes b;
    ltd_bytes_init(&b);
    ltd_bytes_put_u64(&b, strlen(header));
    ltd_bytes_put_str(&b, header);
    for (size_t i = 0; i < n_data; i++)
        ltd_bytes_put_u8(&b, (uint8_t)i);
    assert_false(b.failed);
    write_file(b.data, b.len);
    ltd_bytes_fini(&b);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"
#define B "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}"

static void a_good_file_is_read(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    write_tensors("{\"__metadata__\":{\"format\":\"pt\"}," B "," A "}  ", 32);
    struct model_safetensors *file = model_safetensors_open(path, &err);
    if (!file)
        fail_msg("%s", err.msg);
    assert_int_equal(model_safetensors_count(file), 2);
    assert_string_equal(model_safetensors_at(file, 0)->name, "a");
    assert_string_equal(model_safetensors_at(file, 1)->name, "b");
    const struct model_tensor *b = model_safetensors_find(file, "b");
    assert_int_equal(b->dtype, MODEL_BF16);
    assert_int_equal(b->n_dims, 1);
    assert_int_equal(b->shape[0], 4);
    assert_int_equal(b->bytes, 8);
    assert_int_equal(b->data[0], 24);
    assert_null(model_safetensors_find(file, "c"));
    assert_null(model_safetensors_find(file, "__metadata__"));
    model_safetensors_close(file);
}

static void scalars_and_empty_files_are_read(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    write_tensors("{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}", 8);
    struct model_safetensors *file = model_safetensors_open(path, &err);
    assert_non_null(file);
    assert_int_equal(model_safetensors_at(file, 0)->n_dims, 0);
    model_safetensors_close(file);
    write_tensors("{}", 0);
    file = model_safetensors_open(path, &err);
    assert_non_null(file);
    assert_int_equal(model_safetensors_count(file), 0);
    model_safetensors_close(file);
}

static void refused(const char *what, const char *item, const char *expected)
{
    struct ltd_err err = {0};
    if (model_safetensors_open(path, &err))
        fail_msg("%s was accepted", what);
    assert_int_equal(err.code, LTD_E_CORRUPT);
    if (!strstr(err.msg, path) || !strstr(err.msg, item) || !strstr(err.msg, expected))
        fail_msg("%s: \"%s\", expected the path, \"%s\" and \"%s\" in it", what, err.msg, item,
                 expected);
}

#define T(fields) "{\"t\":{" fields "}}"
#define DT        "\"dtype\":\"F32\","
#define SH        "\"shape\":[2],"
#define OFF       "\"data_offsets\":[0,8]"

static void broken_headers_are_refused_by_item_and_expectation(void **state)
{
    static const struct {
        const char *header;
        size_t n_data;
        const char *item, *expected;
    } rows[] = {
        {"", 0, "header", "line"},
        {"{", 0, "header", "line"},
        {"[]", 0, "header", "object"},
        {"7", 0, "header", "object"},
        {"{\"t\":7}", 0, "tensor t", "expected an object"},
        {"{\"t\":[]}", 0, "tensor t", "expected an object"},
        {T(SH OFF), 8, "dtype", "expected one of"},
        {T("\"dtype\":\"F8_E4M3\"," SH OFF), 8, "dtype is string \"F8_E4M3\"", "expected one of"},
        {T("\"dtype\":32," SH OFF), 8, "dtype is integer 32", "expected one of"},
        {T("\"dtype\":\"f32\"," SH OFF), 8, "\"f32\"", "expected one of"},
        {T(DT OFF), 8, "shape is nothing", "expected an array"},
        {T(DT "\"shape\":2," OFF), 8, "shape is integer 2", "expected an array"},
        {T(DT "\"shape\":[1,1,1,1,1,1,1,1,2]," OFF), 8, "array of 9", "at most 8"},
        {T(DT "\"shape\":[-2]," OFF), 8, "integer -2", "fits memory"},
        {T(DT "\"shape\":[2.0]," OFF), 8, "number 2", "fits memory"},
        {T(DT "\"shape\":[\"2\"]," OFF), 8, "string", "fits memory"},
        {T(DT "\"shape\":[4294967296,4294967296]," OFF), 8, "4294967296", "fits memory"},
        {T(DT "\"shape\":[9223372036854775807]," OFF), 8, "9223372036854775807", "fits memory"},
        {T(DT "\"shape\":[2]"), 8, "data_offsets is nothing", "two integers"},
        {T(DT SH "\"data_offsets\":[0]"), 8, "array of 1", "two integers"},
        {T(DT SH "\"data_offsets\":[0,8,8]"), 8, "array of 3", "two integers"},
        {T(DT SH "\"data_offsets\":[0,\"8\"]"), 8, "data_offsets", "two integers"},
        {T(DT SH "\"data_offsets\":[0,8.0]"), 8, "data_offsets", "two integers"},
        {T(DT SH "\"data_offsets\":{}"), 8, "data_offsets", "two integers"},
        {T(DT SH "\"data_offsets\":[-8,0]"), 8, "[-8, 0]", "inside the 8 bytes"},
        {T(DT SH "\"data_offsets\":[8,0]"), 8, "[8, 0]", "inside the 8 bytes"},
        {T(DT SH "\"data_offsets\":[0,9]"), 8, "[0, 9]", "inside the 8 bytes"},
        {T(DT SH "\"data_offsets\":[0,9223372036854775807]"), 8, "9223372036854775807",
         "inside the 8 bytes"},
        {T(DT SH "\"data_offsets\":[0,4]"), 4, "4 bytes", "expected 8"},
        {T(DT "\"shape\":[3]," OFF), 8, "8 bytes", "expected 12"},
        {T(DT SH OFF), 9, "9 bytes of data", "expected 8"},
        {T(DT SH "\"data_offsets\":[1,9]"), 9, "begins at 1", "expected 0"},
        {"{" A ","
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[20,28]}}",
         28, "tensor b", "expected 24"},
        {"{" A ","
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[28,36]}}",
         36, "tensor b", "expected 24"},
        {"{" A ","
         "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}",
         24, "begins at 0", "expected 24"},
        {"{" A "," A "}", 24, "header", "duplicate"},
        {T(DT DT SH OFF), 8, "header", "duplicate"},
        {"{}", 1, "1 bytes of data", "expected 0"},
    };
    (void)state;
    print_message("%zu broken headers\n", sizeof rows / sizeof rows[0]);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_tensors(rows[i].header, rows[i].n_data);
        refused(rows[i].header, rows[i].item, rows[i].expected);
    }
}

static void a_header_longer_than_the_file_or_the_limit_is_refused(void **state)
{
    static const uint64_t lengths[] = {3, 100000001, 1ull << 32, 1ull << 63, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct ltd_bytes b;
        ltd_bytes_init(&b);
        ltd_bytes_put_u64(&b, lengths[i]);
        ltd_bytes_put_str(&b, "{}");
        write_file(b.data, b.len);
        ltd_bytes_fini(&b);
        refused("a long header", "header of", "expected at most 2");
    }
}

static void a_header_over_the_limit_is_refused_even_when_the_file_is_longer(void **state)
{
    const uint64_t length = MODEL_HEADER_MAX_BYTES + 1ull;
    struct ltd_bytes b;
    (void)state;
    ltd_bytes_init(&b);
    ltd_bytes_put_u64(&b, length);
    write_file(b.data, b.len);
    ltd_bytes_fini(&b);
    assert_int_equal(truncate(path, MODEL_HEADER_MAX_BYTES + 64), 0); /* a hole: no disk used */
    refused("a header over the limit", "header of 16777217", "never more than 16777216");
}

static void what_is_no_file_of_eight_bytes_is_refused(void **state)
{
    struct ltd_err err = {0};
    (void)state;
    for (size_t n = 0; n < 8; n++) {
        write_file("\0\0\0\0\0\0\0\0", n);
        refused("a short file", "bytes", "at least 8");
    }
    assert_null(model_safetensors_open("/tmp", &err));
    assert_null(model_safetensors_open("/nonexistent.safetensors", &err));
    assert_int_equal(err.code, LTD_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent.safetensors"));
}

static uint8_t *read_golden(size_t *len)
{
    FILE *f =
        fopen(TEST_DATA_DIR "/golden/tiny-p1r2c1-bf16/model-00001-of-00002.safetensors", "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*len);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

/* Opens and touches every byte that the file promises; returns whether it was accepted. */
static bool open_and_read(void)
{
    struct ltd_err err = {0};
    struct model_safetensors *file = model_safetensors_open(path, &err);
    unsigned sum = 0;
    if (!file) {
        assert_true(err.msg[0] != '\0');
        return false;
    }
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        for (size_t k = 0; k < t->bytes; k += 997)
            sum += t->data[k];
        assert_ptr_equal(model_safetensors_find(file, t->name), t);
    }
    model_safetensors_close(file);
    return sum != 1u << 31;
}

static void no_truncation_is_accepted(void **state)
{
    size_t len;
    (void)state;
    uint8_t *bytes = read_golden(&len);
    write_file(bytes, len);
    assert_true(open_and_read());
    for (size_t cut = 0; cut < len; cut += cut < 4000 ? 13 : 9973) {
        write_file(bytes, cut);
        if (open_and_read())
            fail_msg("the first %zu of %zu bytes were accepted", cut, len);
    }
    write_file(bytes, len - 1);
    assert_false(open_and_read());
    free(bytes);
}

static void flipped_header_bytes_never_crash(void **state)
{
    size_t len, accepted = 0;
    (void)state;
    uint8_t *bytes = read_golden(&len);
    for (size_t at = 0; at < 2600; at += 1) {
        uint8_t saved = bytes[at];
        bytes[at] ^= (uint8_t)(1 << at % 8);
        write_file(bytes, len);
        accepted += open_and_read(); /* a letter of a name may change without harm here */
        bytes[at] = saved;
    }
    print_message("%zu of 2600 flips left a readable file\n", accepted);
    assert_in_range(accepted, 1, 2000);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_file_is_read),
        cmocka_unit_test(scalars_and_empty_files_are_read),
        cmocka_unit_test(broken_headers_are_refused_by_item_and_expectation),
        cmocka_unit_test(a_header_longer_than_the_file_or_the_limit_is_refused),
        cmocka_unit_test(a_header_over_the_limit_is_refused_even_when_the_file_is_longer),
        cmocka_unit_test(what_is_no_file_of_eight_bytes_is_refused),
        cmocka_unit_test(no_truncation_is_accepted),
        cmocka_unit_test(flipped_header_bytes_never_crash),
    };
    return cmocka_run_group_tests(tests, make_path, drop_path);
}
