/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/synth.c - see tools/synth.h.
 *
 * Two passes over the names: the first gives each tensor a file, so that headers and the index are
 * known; the second draws and writes.
 */
#include "tools/synth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/json_out.h"
#include "model/index.h"
#include "model/layout.h"
#include "tools/bar.h"
#include "tools/folder.h"
#include "tools/made.h"
#include "tools/shape.h"
#include "tools/stop.h"

#define CHUNK_WEIGHTS     65536 /* that are drawn and written at once */
#define HEADER_ALIGN      8 /* data begins at a multiple of this, as the published tools do it */
#define NAME_BYTES        48
#define SMALL_FILES_BYTES ((uint64_t)1 << 20) /* all that is not weights, generously */

struct synth {
    const struct tool_synth_options *options;
    struct model_layout layout;
    int32_t *file_of; /* [layout.n_rows]: never falls from one row to the next */
    int32_t n_files;
    uint64_t total_bytes;
    uint64_t parameters;
    struct tool_folder folder;
    struct tool_file file;
    struct tool_bar bar;
    struct tool_made made;
    uint8_t stored[CHUNK_WEIGHTS * sizeof(float)];
};

static uint64_t elements_of(const struct model_layout_row *row)
{
    uint64_t n = 1; /* cannot overflow: model/config.h bounds every dimension */
    for (int32_t i = 0; i < row->n_dims; i++)
        n *= (uint64_t)row->shape[i];
    return n;
}

static uint64_t bytes_of(const struct synth *s, int32_t row)
{
    return elements_of(&s->layout.rows[row]) * model_dtype_bytes(s->options->dtype);
}

/* Files are filled in the order of names. */
static int plan(struct synth *s, struct ltd_err *err)
{
    uint64_t in_file = 0;
    s->file_of = calloc((size_t)s->layout.n_rows, sizeof *s->file_of);
    if (!s->file_of)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %d names", s->layout.n_rows);
    s->n_files = 1;
    for (int32_t i = 0; i < s->layout.n_rows; i++) {
        uint64_t bytes = bytes_of(s, i);
        if (in_file > 0 && bytes > s->options->max_shard_bytes - in_file) {
            s->n_files++;
            in_file = 0;
        }
        s->file_of[i] = s->n_files - 1;
        /* A tensor that is too large for any file fills its own. */
        in_file = in_file + bytes > s->options->max_shard_bytes ? s->options->max_shard_bytes
                                                                : in_file + bytes;
        s->total_bytes += bytes;
        s->parameters += elements_of(&s->layout.rows[i]);
    }
    if (s->n_files > MODEL_MAX_FILES)
        return ltd_fail(err, LTD_E_INVALID,
                        "--max-shard-bytes: %" PRIu64 " gives %d files, expected at most %d",
                        s->options->max_shard_bytes, s->n_files, MODEL_MAX_FILES);
    return 0;
}

static void name_file(const struct synth *s, int32_t idx, char out[NAME_BYTES])
{
    if (s->n_files == 1)
        snprintf(out, NAME_BYTES, "model.safetensors");
    else
        snprintf(out, NAME_BYTES, "model-%05d-of-%05d.safetensors", idx + 1, s->n_files);
}

/* A small file in one piece. */
static int write_text(struct synth *s, const char *name, struct ltd_bytes *text,
                      struct ltd_err *err)
{
    if (text->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %s", name);
    if (tool_file_create(&s->file, &s->folder, name, err) != 0 ||
        tool_file_write(&s->file, text->data, text->len, err) != 0)
        return -1;
    return tool_file_close(&s->file, err);
}

void tool_synth_settings(const struct tool_synth_options *options, struct ltd_bytes *config,
                         struct ltd_bytes *generation)
{
    const char *dtype = options->dtype == MODEL_BF16 ? "bfloat16" : "float32";
    tool_shape_config_json(&options->shape, dtype, config);
    tool_shape_generation_json(generation);
}

static int write_settings(struct synth *s, struct ltd_err *err)
{
    struct ltd_bytes config, generation;
    ltd_bytes_init(&config);
    ltd_bytes_init(&generation);
    tool_synth_settings(s->options, &config, &generation);
    int rc = write_text(s, "config.json", &config, err);
    if (rc == 0)
        rc = write_text(s, "generation_config.json", &generation, err);
    ltd_bytes_fini(&config);
    ltd_bytes_fini(&generation);
    return rc;
}

static int write_index(struct synth *s, struct ltd_err *err)
{
    char name[NAME_BYTES];
    struct cli_json j;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_begin(&j, "metadata", '{');
    cli_json_u64(&j, "total_size", s->total_bytes);
    cli_json_end(&j);
    cli_json_begin(&j, "weight_map", '{');
    for (int32_t i = 0; i < s->layout.n_rows; i++) {
        name_file(s, s->file_of[i], name);
        cli_json_str(&j, s->layout.rows[i].name, name);
    }
    cli_json_end(&j);
    cli_json_end(&j);
    ltd_bytes_put_u8(&j.text, '\n');
    int rc = write_text(s, "model.safetensors.index.json", &j.text, err);
    cli_json_fini(&j);
    return rc;
}

static void put_tensor(struct cli_json *j, const struct synth *s, int32_t row, uint64_t *at)
{
    const struct model_layout_row *r = &s->layout.rows[row];
    cli_json_begin(j, r->name, '{');
    cli_json_str(j, "dtype", model_dtype_name(s->options->dtype));
    cli_json_begin(j, "shape", '[');
    for (int32_t i = 0; i < r->n_dims; i++)
        cli_json_i64(j, NULL, r->shape[i]);
    cli_json_end(j);
    cli_json_begin(j, "data_offsets", '[');
    cli_json_u64(j, NULL, *at);
    *at += bytes_of(s, row);
    cli_json_u64(j, NULL, *at);
    cli_json_end(j);
    cli_json_end(j);
}

static int write_header(struct synth *s, int32_t begin, int32_t end, struct ltd_err *err)
{
    struct cli_json j;
    struct ltd_bytes length;
    uint64_t at = 0;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    cli_json_begin(&j, "__metadata__", '{');
    cli_json_str(&j, "format", "pt");
    cli_json_end(&j);
    for (int32_t i = begin; i < end; i++)
        put_tensor(&j, s, i, &at);
    cli_json_end(&j);
    while (j.text.len % HEADER_ALIGN != 0 && !j.text.failed)
        ltd_bytes_put_u8(&j.text, ' ');
    ltd_bytes_init(&length);
    ltd_bytes_put_u64(&length, j.text.len);
    int rc = -1;
    if (j.text.failed || length.failed)
        ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for its header", s->file.path);
    else if (tool_file_write(&s->file, length.data, length.len, err) == 0)
        rc = tool_file_write(&s->file, j.text.data, j.text.len, err);
    ltd_bytes_fini(&length);
    cli_json_fini(&j);
    return rc;
}

static int write_tensor(struct synth *s, int32_t row, struct ltd_err *err)
{
    const struct model_layout_row *r = &s->layout.rows[row];
    uint64_t n = elements_of(r);
    for (uint64_t at = 0; at < n; at += CHUNK_WEIGHTS) {
        size_t count = n - at < CHUNK_WEIGHTS ? (size_t)(n - at) : CHUNK_WEIGHTS;
        size_t bytes = count * model_dtype_bytes(s->options->dtype);
        tool_made_bytes(&s->made, r, at, count, s->stored);
        if (tool_file_write(&s->file, s->stored, bytes, err) != 0 || tool_stop_check(err) != 0)
            return -1;
        tool_bar_add(&s->bar, bytes);
    }
    return 0;
}

static int write_weights(struct synth *s, struct ltd_err *err)
{
    int32_t begin = 0;
    for (int32_t f = 0; f < s->n_files; f++) {
        char name[NAME_BYTES];
        int32_t end = begin;
        while (end < s->layout.n_rows && s->file_of[end] == f)
            end++;
        name_file(s, f, name);
        if (tool_file_create(&s->file, &s->folder, name, err) != 0 ||
            write_header(s, begin, end, err) != 0)
            return -1;
        for (; begin < end; begin++)
            if (write_tensor(s, begin, err) != 0)
                return -1;
        if (tool_file_close(&s->file, err) != 0)
            return -1;
    }
    return 0;
}

static int write_all(struct synth *s, const char *path, struct ltd_err *err)
{
    if (tool_folder_begin(&s->folder, path, s->total_bytes + SMALL_FILES_BYTES, err) != 0)
        return -1;
    tool_bar_begin(&s->bar, s->total_bytes);
    int rc = -1;
    if (write_settings(s, err) == 0 && (s->n_files == 1 || write_index(s, err) == 0) &&
        write_weights(s, err) == 0)
        rc = tool_folder_commit(&s->folder, err);
    tool_bar_end(&s->bar);
    tool_file_abandon(&s->file);
    tool_folder_drop(&s->folder);
    return rc;
}

int tool_synth(const struct tool_synth_options *options, const char *path,
               struct tool_synth_result *result, struct ltd_err *err)
{
    struct synth *s = calloc(1, sizeof *s);
    if (!s)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a buffer of %zu bytes", sizeof *s);
    s->options = options;
    s->made.shape = &options->shape;
    s->made.layout = &s->layout;
    s->made.seed = options->seed;
    s->made.dtype = options->dtype;
    s->file.fd = -1;
    int rc = -1;
    if (model_layout_build(&s->layout, &options->shape, err) == 0 && plan(s, err) == 0)
        rc = write_all(s, path, err);
    if (rc == 0)
        *result = (struct tool_synth_result){s->parameters, s->total_bytes, s->n_files};
    free(s->layout.rows);
    free(s->file_of);
    free(s);
    return rc;
}
