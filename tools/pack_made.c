/* SPDX-License-Identifier: Apache-2.0 */
/* tools/pack_made.c - a made-up model as a source for tools/packer.h; see tools/synth.h. */
#include <stdlib.h>
#include <string.h>

#include "tools/made.h"
#include "tools/packer.h"
#include "tools/synth.h"

struct made_source {
    const struct tool_synth_options *options;
    struct model_layout layout;
    struct tool_made made;
    uint8_t *rows; /* owned: what is being packed */
    size_t rows_bytes;
    struct ltd_bytes config, generation;
};

static int get_rows(void *arg, const struct model_layout_row *row, int32_t begin, int32_t n,
                    struct kern_rows *out, struct ltd_err *err)
{
    struct made_source *s = arg;
    uint64_t cols = (uint64_t)row->shape[1], count = (uint64_t)n * cols;
    size_t bytes = (size_t)count * model_dtype_bytes(s->made.dtype);
    if (bytes > s->rows_bytes) {
        free(s->rows);
        s->rows_bytes = bytes;
        s->rows = malloc(bytes);
    }
    if (!s->rows)
        return ltd_fail(err, LTD_E_EXHAUSTED, "tensor %s: no memory for %d rows", row->name, n);
    tool_made_bytes(&s->made, row, (uint64_t)begin * cols, count, s->rows);
    *out = (struct kern_rows){s->rows,
                              s->made.dtype == MODEL_BF16 ? KERN_DTYPE_BF16 : KERN_DTYPE_F32, 0, n};
    return 0;
}

static int get_floats(void *arg, const struct model_layout_row *row, int64_t count, float *out,
                      struct ltd_err *err)
{
    const struct made_source *s = arg;
    uint8_t stored[sizeof(float)];
    (void)err;
    for (int64_t i = 0; i < count; i++) {
        tool_made_bytes(&s->made, row, (uint64_t)i, 1, stored);
        kern_widen(&out[i], stored, s->made.dtype == MODEL_BF16 ? KERN_DTYPE_BF16 : KERN_DTYPE_F32,
                   1);
    }
    return 0;
}

static int get_file(void *arg, int32_t idx, const char **name, struct ltd_bytes *out,
                    struct ltd_err *err)
{
    const struct made_source *s = arg;
    const struct ltd_bytes *text = idx == 0 ? &s->config : &s->generation;
    (void)err;
    if (idx > 1)
        return 0;
    *name = idx == 0 ? "config.json" : "generation_config.json";
    ltd_bytes_put(out, text->data, text->len);
    return 1;
}

static int pack(struct made_source *s, const struct model_packed_formats *formats, const char *path,
                struct tool_pack_result *result, struct ltd_err *err)
{
    char hash[MODEL_HASH_HEX_BYTES];
    const struct tool_pack_source source = {
        .config = &s->options->shape,
        .hash = hash,
        .arg = s,
        .rows = get_rows,
        .floats = get_floats,
        .file = get_file,
    };
    tool_synth_settings(s->options, &s->config, &s->generation);
    if (s->config.failed || s->generation.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for config.json", path);
    if (model_layout_build(&s->layout, &s->options->shape, err) != 0 ||
        tool_made_hash(&s->made, (const char *)s->config.data, s->config.len, hash, err) != 0)
        return -1;
    return tool_pack(&source, formats, path, result, err);
}

int tool_synth_packed(const struct tool_synth_options *options,
                      const struct model_packed_formats *formats, const char *path,
                      struct tool_pack_result *result, struct ltd_err *err)
{
    struct made_source *s = calloc(1, sizeof *s);
    if (!s)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a buffer of %zu bytes", sizeof *s);
    s->options = options;
    s->made.shape = &options->shape;
    s->made.layout = &s->layout;
    s->made.seed = options->seed;
    s->made.dtype = options->dtype;
    ltd_bytes_init(&s->config);
    ltd_bytes_init(&s->generation);
    int rc = pack(s, formats, path, result, err);
    ltd_bytes_fini(&s->config);
    ltd_bytes_fini(&s->generation);
    free(s->rows);
    free(s->layout.rows);
    free(s);
    return rc;
}
