/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/packer.c - see tools/packer.h.
 *
 * A plan of entries, in the order of their places, is all that header, data and checksums are made
 * from.
 */
#include "tools/packer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/json_out.h"
#include "model/seal.h"
#include "tools/bar.h"
#include "tools/folder.h"
#include "tools/stop.h"

#define CHUNK_WEIGHTS   ((int64_t)2 << 20) /* of a matrix that are packed at once */
#define VECTOR_ALIGN    64
#define SMALL_FILES_MAX ((uint64_t)1 << 20) /* header and table of a tiny model, generously */

enum entry_kind { ENTRY_MATRIX, ENTRY_VECTOR, ENTRY_PADDING, ENTRY_TABLE };

/* A tensor of the file. */
struct entry {
    enum entry_kind kind;
    const struct model_layout_row *row; /* of a matrix or vector */
    enum kern_format format;            /* of a matrix */
    int32_t number;                     /* of padding */
    uint64_t bytes;
};

struct packer {
    const struct tool_pack_source *source;
    const struct model_packed_formats *formats;
    struct model_layout layout;
    struct entry *entries; /* owned */
    int32_t n_entries, n_padding;
    uint64_t at; /* plan: where the next entry begins, from the first one */
    int32_t n_threads;
    struct model_seal seal;
    struct ltd_bytes sums; /* of all blocks, in order */
    struct tool_folder folder;
    struct tool_file file;
    struct tool_bar bar;
    struct tool_pack_result result;
    uint8_t block[MODEL_SEAL_BLOCK_BYTES];
    size_t block_used;
};

/* ------------------------------------------------------------------------------------ plan */

static uint64_t elements_of(const struct model_layout_row *row)
{
    uint64_t n = 1; /* cannot overflow: model/config.h bounds every dimension */
    for (int32_t i = 0; i < row->n_dims; i++)
        n *= (uint64_t)row->shape[i];
    return n;
}

static void add(struct packer *p, struct entry entry)
{
    p->entries[p->n_entries++] = entry;
    p->at += entry.bytes;
    if (entry.kind != ENTRY_TABLE)
        p->seal.n_blocks += model_seal_n_blocks(entry.bytes);
}

static void pad(struct packer *p, uint64_t align)
{
    if (p->at % align != 0)
        add(p, (struct entry){.kind = ENTRY_PADDING,
                              .number = p->n_padding++,
                              .bytes = align - p->at % align});
}

static int plan_matrix(struct packer *p, const struct model_layout_row *row, struct ltd_err *err)
{
    p->result.parameters += elements_of(row);
    for (int32_t f = 0; f < p->formats->n; f++) {
        size_t bytes;
        enum kern_format format = p->formats->items[f];
        if (!model_packed_holds(p->formats, row->name, format))
            continue;
        if (!kern_packed_bytes(format, (int32_t)row->shape[0], (int32_t)row->shape[1], &bytes))
            return ltd_fail(err, LTD_E_EXHAUSTED, "tensor %s: more bytes than memory can have",
                            row->name);
        pad(p, MODEL_PACKED_ALIGN);
        add(p, (struct entry){ENTRY_MATRIX, row, format, 0, bytes});
        p->result.bytes += bytes;
    }
    return 0;
}

static int plan(struct packer *p, struct ltd_err *err)
{
    size_t most = (size_t)p->layout.n_rows * (KERN_N_FORMATS + 1) * 2 + 1;
    p->entries = calloc(most, sizeof *p->entries);
    if (!p->entries)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu names", most);
    for (int32_t i = 0; i < p->layout.n_rows; i++)
        if (p->layout.rows[i].n_dims == 2 && plan_matrix(p, &p->layout.rows[i], err) != 0)
            return -1;
    for (int32_t i = 0; i < p->layout.n_rows; i++) {
        const struct model_layout_row *row = &p->layout.rows[i];
        if (row->n_dims == 2)
            continue;
        pad(p, VECTOR_ALIGN);
        add(p, (struct entry){ENTRY_VECTOR, row, KERN_F32, 0, elements_of(row) * sizeof(float)});
        p->result.bytes += elements_of(row) * sizeof(float);
        p->result.parameters += elements_of(row);
    }
    return 0;
}

/* Behind the copied files: their names are in the table. */
static void plan_table(struct packer *p)
{
    pad(p, VECTOR_ALIGN);
    add(p, (struct entry){.kind = ENTRY_TABLE, .bytes = model_seal_bytes(&p->seal)});
}

/* ------------------------------------------------------------------------------ copied files */

static int write_copy(struct packer *p, const char *name, const struct ltd_bytes *text,
                      struct ltd_err *err)
{
    struct model_seal_file *sealed = &p->seal.files[p->seal.n_files];
    if (p->seal.n_files == MODEL_SEAL_MAX_FILES)
        return ltd_fail(err, LTD_E_INVALID, "%s: more than %d files beside the weights", name,
                        MODEL_SEAL_MAX_FILES);
    if (snprintf(sealed->name, sizeof sealed->name, "%s", name) >= (int)sizeof sealed->name)
        return ltd_fail(err, LTD_E_INVALID, "%.100s...: a name of more than %zu bytes", name,
                        sizeof sealed->name - 1);
    if (text->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %s", name);
    sealed->bytes = text->len;
    sealed->sum = model_seal_sum(text->data, text->len);
    p->seal.n_files++;
    if (tool_file_create(&p->file, &p->folder, name, err) != 0 ||
        tool_file_write(&p->file, text->data, text->len, err) != 0)
        return -1;
    return tool_file_close(&p->file, err);
}

static int write_copies(struct packer *p, struct ltd_err *err)
{
    struct ltd_bytes text;
    int rc = 1;
    ltd_bytes_init(&text);
    for (int32_t i = 0; rc == 1; i++) {
        const char *name = NULL;
        ltd_bytes_clear(&text);
        rc = p->source->file(p->source->arg, i, &name, &text, err);
        if (rc == 1 && write_copy(p, name, &text, err) != 0)
            rc = -1;
    }
    ltd_bytes_fini(&text);
    p->result.n_copied = p->seal.n_files;
    return rc;
}

/* ---------------------------------------------------------------------------------- header */

static void put_metadata(struct cli_json *j, const struct packer *p)
{
    char text[MODEL_PACKED_FORMATS_BYTES], key[MODEL_PACKED_NAME_BYTES], shape[48], version[16];
    snprintf(version, sizeof version, "%d", KERN_PACKED_VERSION);
    cli_json_begin(j, "__metadata__", '{');
    cli_json_str(j, "format", MODEL_PACKED_KIND);
    cli_json_str(j, "version", version);
    cli_json_str(j, "layout", KERN_PACKED_LAYOUT);
    cli_json_str(j, "formats", model_packed_formats_text(p->formats, text));
    cli_json_str(j, "source", p->source->hash);
    for (int32_t i = 0; i < p->layout.n_rows; i++) {
        if (p->layout.rows[i].n_dims != 2)
            continue;
        model_packed_shape(&p->layout.rows[i], key, shape);
        cli_json_str(j, key, shape);
    }
    cli_json_end(j);
}

static const char *name_of(const struct entry *e, char out[MODEL_PACKED_NAME_BYTES])
{
    switch (e->kind) {
    case ENTRY_MATRIX:
        return model_packed_name(out, e->row->name, e->format);
    case ENTRY_VECTOR:
        return e->row->name;
    case ENTRY_PADDING:
        snprintf(out, MODEL_PACKED_NAME_BYTES, MODEL_PACKED_PADDING "%d", e->number);
        return out;
    case ENTRY_TABLE:
        break;
    }
    return MODEL_PACKED_SEAL;
}

static void put_entry(struct cli_json *j, const struct entry *e, uint64_t *at)
{
    char name[MODEL_PACKED_NAME_BYTES];
    bool is_vector = e->kind == ENTRY_VECTOR;
    cli_json_begin(j, name_of(e, name), '{');
    cli_json_str(j, "dtype", model_dtype_name(is_vector ? MODEL_F32 : MODEL_U8));
    cli_json_begin(j, "shape", '[');
    for (int32_t i = 0; is_vector && i < e->row->n_dims; i++)
        cli_json_i64(j, NULL, e->row->shape[i]);
    if (!is_vector)
        cli_json_u64(j, NULL, e->bytes);
    cli_json_end(j);
    cli_json_begin(j, "data_offsets", '[');
    cli_json_u64(j, NULL, *at);
    *at += e->bytes;
    cli_json_u64(j, NULL, *at);
    cli_json_end(j);
    cli_json_end(j);
}

/* Length and header, filled up so that the first tensor begins on a page. */
static int write_head(struct packer *p, struct ltd_err *err)
{
    struct cli_json j;
    struct ltd_bytes head;
    uint64_t at = 0;
    int rc = -1;
    cli_json_init(&j);
    cli_json_begin(&j, NULL, '{');
    put_metadata(&j, p);
    for (int32_t i = 0; i < p->n_entries; i++)
        put_entry(&j, &p->entries[i], &at);
    cli_json_end(&j);
    while ((8 + j.text.len) % MODEL_PACKED_ALIGN != 0 && !j.text.failed)
        ltd_bytes_put_u8(&j.text, ' ');
    ltd_bytes_init(&head);
    ltd_bytes_put_u64(&head, j.text.len);
    ltd_bytes_put(&head, j.text.data, j.text.len);
    if (j.text.failed || head.failed) {
        ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for its header", p->file.path);
    } else {
        p->seal.head_sum = model_seal_sum(head.data, head.len);
        rc = tool_file_write(&p->file, head.data, head.len, err);
    }
    ltd_bytes_fini(&head);
    cli_json_fini(&j);
    return rc;
}

/* ------------------------------------------------------------------------------------ data */

static int end_block(struct packer *p, struct ltd_err *err)
{
    size_t bytes = p->block_used;
    if (bytes == 0)
        return 0;
    ltd_bytes_put_u64(&p->sums, model_seal_sum(p->block, bytes));
    p->block_used = 0;
    tool_bar_add(&p->bar, bytes);
    return tool_file_write(&p->file, p->block, bytes, err) != 0 ? -1 : tool_stop_check(err);
}

static int put(struct packer *p, const uint8_t *data, size_t bytes, struct ltd_err *err)
{
    while (bytes > 0) {
        size_t room = sizeof p->block - p->block_used, n = bytes < room ? bytes : room;
        memcpy(p->block + p->block_used, data, n);
        p->block_used += n;
        data += n;
        bytes -= n;
        if (p->block_used == sizeof p->block && end_block(p, err) != 0)
            return -1;
    }
    return 0;
}

int32_t tool_pack_chunk_rows(const struct model_layout_row *row)
{
    int64_t rows = CHUNK_WEIGHTS / row->shape[1] / KERN_PACKED_ROWS * KERN_PACKED_ROWS;
    if (rows < KERN_PACKED_ROWS)
        rows = KERN_PACKED_ROWS;
    return (int32_t)(rows < row->shape[0] ? rows : row->shape[0]);
}

/* Some rows: their tiles are written, their scales wait until all tiles are. */
static int pack_chunk(struct packer *p, const struct entry *e, int32_t begin, int32_t n,
                      struct ltd_bytes *scales, struct ltd_err *err)
{
    int32_t cols = (int32_t)e->row->shape[1];
    size_t panels = (size_t)kern_packed_panels(n);
    struct kern_rows rows;
    struct kern_mat mat;
    if (p->source->rows(p->source->arg, e->row, begin, n, &rows, err) != 0)
        return -1;
    if (kern_packed_pack(p->n_threads, &mat, e->format, &rows, 1, cols, err) != 0)
        return ltd_err_context(err, "tensor %s, counted from row %d", e->row->name, begin);
    int rc = put(p, kern_packed_part_of(&mat, KERN_PACKED_TILES),
                 panels * kern_packed_panel_bytes(e->format, cols, KERN_PACKED_TILES), err);
    size_t scale_bytes = panels * kern_packed_panel_bytes(e->format, cols, KERN_PACKED_SCALES);
    if (scale_bytes > 0)
        ltd_bytes_put(scales, kern_packed_part_of(&mat, KERN_PACKED_SCALES), scale_bytes);
    kern_mat_fini(&mat);
    return rc;
}

static int write_matrix(struct packer *p, const struct entry *e, struct ltd_err *err)
{
    int32_t rows = (int32_t)e->row->shape[0], chunk = tool_pack_chunk_rows(e->row);
    struct ltd_bytes scales;
    int rc = 0;
    ltd_bytes_init(&scales);
    for (int32_t at = 0; at < rows && rc == 0; at += chunk)
        rc = pack_chunk(p, e, at, rows - at < chunk ? rows - at : chunk, &scales, err);
    if (rc == 0 && scales.failed)
        rc = ltd_fail(err, LTD_E_EXHAUSTED, "tensor %s: no memory for its scales", e->row->name);
    if (rc == 0)
        rc = put(p, scales.data, scales.len, err);
    ltd_bytes_fini(&scales);
    return rc;
}

static int write_vector(struct packer *p, const struct entry *e, struct ltd_err *err)
{
    float *values = malloc((size_t)e->bytes);
    int rc = -1;
    if (!values)
        return ltd_fail(err, LTD_E_EXHAUSTED, "tensor %s: no memory", e->row->name);
    if (p->source->floats(p->source->arg, e->row, (int64_t)(e->bytes / sizeof *values), values,
                          err) == 0)
        rc = put(p, (const uint8_t *)values, (size_t)e->bytes, err);
    free(values);
    return rc;
}

static int write_table(struct packer *p, struct ltd_err *err)
{
    struct ltd_bytes table;
    int rc = -1;
    ltd_assert(p->sums.failed || p->sums.len == 8 * p->seal.n_blocks, p->sums.len,
               p->seal.n_blocks);
    p->seal.sums = p->sums.data;
    ltd_bytes_init(&table);
    if (!p->sums.failed)
        model_seal_encode(&p->seal, &table);
    if (p->sums.failed || table.failed)
        ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for its checksums", p->file.path);
    else
        rc = tool_file_write(&p->file, table.data, table.len, err);
    ltd_bytes_fini(&table);
    return rc;
}

static int write_entry(struct packer *p, const struct entry *e, struct ltd_err *err)
{
    static const uint8_t zeros[MODEL_PACKED_ALIGN];
    int rc = 0;
    switch (e->kind) {
    case ENTRY_MATRIX:
        rc = write_matrix(p, e, err);
        break;
    case ENTRY_VECTOR:
        rc = write_vector(p, e, err);
        break;
    case ENTRY_PADDING:
        rc = put(p, zeros, (size_t)e->bytes, err);
        break;
    case ENTRY_TABLE:
        return write_table(p, err);
    }
    return rc == 0 ? end_block(p, err) : -1;
}

static int write_all(struct packer *p, const char *path, struct ltd_err *err)
{
    if (tool_folder_begin(&p->folder, path, p->at + p->at / 1000 + SMALL_FILES_MAX, err) != 0)
        return -1;
    tool_bar_begin(&p->bar, p->at);
    int rc = write_copies(p, err);
    if (rc == 0) {
        plan_table(p);
        rc = tool_file_create(&p->file, &p->folder, MODEL_PACKED_FILE, err);
    }
    if (rc == 0)
        rc = write_head(p, err);
    for (int32_t i = 0; rc == 0 && i < p->n_entries; i++)
        rc = write_entry(p, &p->entries[i], err);
    if (rc == 0)
        rc = tool_file_close(&p->file, err);
    if (rc == 0)
        rc = tool_folder_commit(&p->folder, err);
    tool_bar_end(&p->bar);
    tool_file_abandon(&p->file);
    tool_folder_drop(&p->folder);
    return rc;
}

int tool_pack(const struct tool_pack_source *source, const struct model_packed_formats *formats,
              const char *path, struct tool_pack_result *result, struct ltd_err *err)
{
    struct packer *p = calloc(1, sizeof *p);
    long n_threads = sysconf(_SC_NPROCESSORS_ONLN);
    if (!p)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a buffer of %zu bytes", sizeof *p);
    p->source = source;
    p->formats = formats;
    p->n_threads = n_threads > 0 ? (int32_t)n_threads : 1;
    p->file.fd = -1;
    ltd_bytes_init(&p->sums);
    int rc = -1;
    if (model_layout_build(&p->layout, source->config, err) == 0 && plan(p, err) == 0)
        rc = write_all(p, path, err);
    if (rc == 0)
        *result = p->result;
    ltd_bytes_fini(&p->sums);
    free(p->layout.rows);
    free(p->entries);
    free(p);
    return rc;
}
