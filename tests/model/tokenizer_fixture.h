/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tokenizer_fixture.h - what the tests of the tokenizer share: opening the tokenizers of
 * tests/data/tokenizer, encoding with a message on failure, and files that live for one test.
 *
 * Static functions on purpose: each test program is one file and needs few of them.
 */
#ifndef LATENTD_TESTS_TOKENIZER_FIXTURE_H
#define LATENTD_TESTS_TOKENIZER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "model/tokenizer.h"

#define FIXTURE_UNUSED __attribute__((unused))

FIXTURE_UNUSED static const char *const fixture_names[] = {"gpt2", "huginn", "llama", "digits",
                                                           "nfc"};
#define N_FIXTURES (sizeof fixture_names / sizeof fixture_names[0])

FIXTURE_UNUSED static struct model_tokenizer *open_fixture(const char *name)
{
    char path[512];
    struct ltd_err err = {0};
    snprintf(path, sizeof path, "%s/tokenizer/%s.tokenizer.json", TEST_DATA_DIR, name);
    struct model_tokenizer *tok = model_tokenizer_open(path, 4096, &err);
    if (!tok)
        fail_msg("%s", err.msg);
    return tok;
}

FIXTURE_UNUSED static json_t *load_json(const char *name)
{
    char path[512];
    json_error_t why;
    snprintf(path, sizeof path, "%s/tokenizer/%s", TEST_DATA_DIR, name);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &why);
    if (!root)
        fail_msg("%s: line %d: %s", path, why.line, why.text);
    return root;
}

/* Encode into a list that the caller frees. */
FIXTURE_UNUSED static struct model_tokens encode(const struct model_tokenizer *tok,
                                                 const char *text, size_t len, unsigned flags)
{
    struct model_tokens out;
    struct ltd_err err = {0};
    model_tokens_init(&out);
    if (model_tokenizer_encode(tok, text, len, flags, &out, &err) != 0)
        fail_msg("encode of %zu bytes: %s", len, err.msg);
    return out;
}

FIXTURE_UNUSED static void print_ids(const char *name, const int32_t *ids, size_t n)
{
    fprintf(stderr, "%s:", name);
    for (size_t i = 0; i < n && i < 60; i++)
        fprintf(stderr, " %d", ids[i]);
    fprintf(stderr, n > 60 ? " ... (%zu)\n" : "\n", n);
}

/* A text as a C string literal would show it. */
FIXTURE_UNUSED static void print_text(const char *name, const void *text, size_t len)
{
    const uint8_t *bytes = text;
    fprintf(stderr, "%s: \"", name);
    for (size_t i = 0; i < len && i < 200; i++)
        fprintf(stderr, bytes[i] >= 0x20 && bytes[i] < 0x7F ? "%c" : "\\x%02x", bytes[i]);
    fprintf(stderr, "\"\n");
}

/* False, with both lists on stderr, when they differ. */
FIXTURE_UNUSED static bool same_ids(const int32_t *found, size_t n_found, const int32_t *expected,
                                    size_t n_expected)
{
    if (n_found == n_expected &&
        (n_found == 0 || memcmp(found, expected, n_found * sizeof *found) == 0))
        return true;
    print_ids("found   ", found, n_found);
    print_ids("expected", expected, n_expected);
    return false;
}

FIXTURE_UNUSED static bool same_text(const void *found, size_t n_found, const void *expected,
                                     size_t n_expected)
{
    if (n_found == n_expected && (n_found == 0 || memcmp(found, expected, n_found) == 0))
        return true;
    print_text("found   ", found, n_found);
    print_text("expected", expected, n_expected);
    return false;
}

/* The integers of a JSON array; the caller frees. */
FIXTURE_UNUSED static int32_t *json_ids(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = calloc(*n + 1, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

/* Write a file of one test; `path` gets its name. The caller unlinks it. */
FIXTURE_UNUSED static void write_temp(char path[64], const char *text, size_t len)
{
    strcpy(path, "/tmp/latentd-tokenizer-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

/* Open a tokenizer from text, NULL with a message in `err` when it is refused. */
FIXTURE_UNUSED static struct model_tokenizer *open_text(const char *text, int32_t vocab_size,
                                                        struct ltd_err *err)
{
    char path[64];
    write_temp(path, text, strlen(text));
    struct model_tokenizer *tok = model_tokenizer_open(path, vocab_size, err);
    unlink(path);
    return tok;
}

/*
 * A small tokenizer: the 256 byte tokens with their byte as id, then what the arguments add.
 * All are JSON text. vocab and added begin with a comma or are empty; merges is an array's inside.
 */
struct small_file {
    const char *vocab;
    const char *merges;
    const char *added;
    const char *pre_tokenizer;
    const char *model_more; /* further keys of model, with a comma behind */
    const char *more;       /* further keys of the file, with a comma in front */
};

FIXTURE_UNUSED static char *small_text(const struct small_file *file)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fprintf(out,
            "{\"version\": \"1.0\", \"decoder\": {\"type\": \"ByteLevel\"}, \"pre_tokenizer\": %s",
            file->pre_tokenizer ? file->pre_tokenizer
                                : "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                                  "\"use_regex\": false}");
    fprintf(out, ", \"added_tokens\": [%s], \"model\": {\"type\": \"BPE\", %s\"vocab\": {",
            file->added ? file->added : "", file->model_more ? file->model_more : "");
    unsigned high = 0x100;
    for (unsigned b = 0; b < 256; b++) {
        bool plain = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
        fprintf(out, "%s\"\\u%04x\": %u", b ? ", " : "", plain ? b : high, b);
        high += !plain;
    }
    fprintf(out, "%s}, \"merges\": [%s]}%s}", file->vocab ? file->vocab : "",
            file->merges ? file->merges : "", file->more ? file->more : "");
    fclose(out);
    return text;
}

FIXTURE_UNUSED static struct model_tokenizer *open_small(const struct small_file *file)
{
    struct ltd_err err = {0};
    char *text = small_text(file);
    struct model_tokenizer *tok = open_text(text, 1024, &err);
    free(text);
    if (!tok)
        fail_msg("%s", err.msg);
    return tok;
}

#endif
