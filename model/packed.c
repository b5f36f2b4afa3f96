/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/packed.c - see model/packed.h.
 *
 * Order of the checks: what the file says it is, the table of checksums by itself, then what the
 * table says of the header and of the copied files, then names, sizes and shapes. So damage is
 * called damage wherever it hit, and only a whole file is held against its model.
 */
#include "model/packed.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "model/seal.h"

#define LINE_BYTES     64                /* alignment that vector loads of whole lines need */
#define COPIED_MAX     ((size_t)1 << 30) /* of one copied file, as the daemon bounds a tokenizer.json */
#define PARALLEL_BYTES ((size_t)1 << 20) /* below it, waking threads costs more than reading */

struct model_packed {
    const char *dir;                      /* borrowed */
    const struct model_safetensors *file; /* borrowed */
    const struct model_tensor *table;     /* the tensor of checksums */
    struct model_seal seal;
    uint64_t *first_block; /* owned [tensors of the file, by name] */
    struct model_packed_formats formats;
};

/* -------------------------------------------------------------------------------- formats */

static bool has(const struct model_packed_formats *formats, enum kern_format format)
{
    for (int32_t i = 0; i < formats->n; i++)
        if (formats->items[i] == format)
            return true;
    return false;
}

int model_packed_formats_parse(const char *text, struct model_packed_formats *out,
                               struct ltd_err *err)
{
    struct model_packed_formats formats = {.n = 0};
    for (const char *at = text;; at++) {
        char name[16];
        enum kern_format format;
        size_t length = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1),
                 at);
        if (kern_format_parse(name, &format) != 0 || has(&formats, format))
            return ltd_fail(err, LTD_E_INVALID,
                            "\"%.60s\", expected formats of weights, each once, such as bf16,int8",
                            text);
        formats.items[formats.n++] = format;
        at += length;
        if (!*at)
            break;
    }
    *out = formats;
    return 0;
}

const char *model_packed_formats_text(const struct model_packed_formats *formats, char *out)
{
    size_t used = 0;
    out[0] = '\0';
    for (int32_t i = 0; i < formats->n && used < MODEL_PACKED_FORMATS_BYTES; i++)
        used += (size_t)snprintf(out + used, MODEL_PACKED_FORMATS_BYTES - used, i ? ",%s" : "%s",
                                 kern_format_name(formats->items[i]));
    return out;
}

bool model_packed_holds(const struct model_packed_formats *formats, const char *tensor,
                        enum kern_format format)
{
    static const char block[] = "transformer.core_block.";
    bool is_block =
        strncmp(tensor, block, sizeof block - 1) == 0 || strcmp(tensor, MODEL_NAME_ADAPTER) == 0;
    return format == formats->items[0] || (is_block && has(formats, format));
}

const char *model_packed_name(char out[MODEL_PACKED_NAME_BYTES], const char *tensor,
                              enum kern_format format)
{
    snprintf(out, MODEL_PACKED_NAME_BYTES, "%s@%s", tensor, kern_format_name(format));
    return out;
}

void model_packed_shape(const struct model_layout_row *row, char key[MODEL_PACKED_NAME_BYTES],
                        char value[48])
{
    snprintf(key, MODEL_PACKED_NAME_BYTES, "shape %s", row->name);
    snprintf(value, 48, "%" PRId64 " %" PRId64, row->shape[0], row->shape[1]);
}

/* -------------------------------------------------------------------------------- sentences */

static const char *path_of(const struct model_packed *p)
{
    return model_safetensors_path(p->file);
}

static int bad_sum(const char *where, const char *what, uint64_t found, uint64_t expected,
                   struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_CORRUPT, "%s%s: checksum %016" PRIx64 ", expected %016" PRIx64,
                    where, what, found, expected);
}

static int expect_text(const struct model_packed *p, const char *key, const char *expected,
                       enum ltd_code code, struct ltd_err *err)
{
    const char *found = model_safetensors_metadata(p->file, key);
    if (found && strcmp(found, expected) == 0)
        return 0;
    return ltd_fail(err, code, "%s: metadata %s: %s%.60s%s, expected \"%s\"", path_of(p), key,
                    found ? "\"" : "", found ? found : "nothing", found ? "\"" : "", expected);
}

/* ----------------------------------------------------------------------------- what is there */

static int check_kind(struct model_packed *p, struct ltd_err *err)
{
    char version[16];
    snprintf(version, sizeof version, "%d", KERN_PACKED_VERSION);
    if (expect_text(p, "format", MODEL_PACKED_KIND, LTD_E_CORRUPT, err) != 0)
        return -1;
    /* Another version is another program's file: nothing is damaged, and packing again helps. */
    return expect_text(p, "version", version, LTD_E_INVALID, err);
}

static int check_table(struct model_packed *p, struct ltd_err *err)
{
    p->table = model_safetensors_find(p->file, MODEL_PACKED_SEAL);
    if (!p->table || p->table->dtype != MODEL_U8 || p->table->n_dims != 1)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: no tensor " MODEL_PACKED_SEAL ", expected bytes",
                        path_of(p));
    if (model_seal_decode(p->table->data, p->table->bytes, &p->seal, err) != 0)
        return ltd_err_context(err, "%s: tensor " MODEL_PACKED_SEAL, path_of(p));
    return 0;
}

static int check_head(const struct model_packed *p, struct ltd_err *err)
{
    size_t bytes;
    const uint8_t *head = model_safetensors_head(p->file, &bytes);
    uint64_t found = model_seal_sum(head, bytes);
    return found == p->seal.head_sum
               ? 0
               : bad_sum(path_of(p), ": header", found, p->seal.head_sum, err);
}

static int check_copy(const struct model_packed *p, const struct model_seal_file *file,
                      struct ltd_err *err)
{
    char path[PATH_MAX];
    size_t bytes;
    if (snprintf(path, sizeof path, "%s/%s", p->dir, file->name) >= (int)sizeof path)
        return ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", p->dir);
    char *data = ltd_file_read(path, COPIED_MAX, &bytes, err);
    if (!data)
        return -1;
    uint64_t found = model_seal_sum(data, bytes);
    free(data);
    if (bytes != file->bytes)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: %zu bytes, expected %" PRIu64 " as packed", path,
                        bytes, file->bytes);
    return found == file->sum ? 0 : bad_sum(path, "", found, file->sum, err);
}

/* A file that changes answers and that nobody sealed came later. */
static int check_unsealed(const struct model_packed *p, const char *name, struct ltd_err *err)
{
    char path[PATH_MAX];
    for (int32_t i = 0; i < p->seal.n_files; i++)
        if (strcmp(p->seal.files[i].name, name) == 0)
            return 0;
    if (snprintf(path, sizeof path, "%s/%s", p->dir, name) >= (int)sizeof path ||
        ltd_file_is_absent(path))
        return 0;
    return ltd_fail(err, LTD_E_CORRUPT, "%s: not among the checksums of %s, expected it absent",
                    path, MODEL_PACKED_FILE);
}

static int check_copies(const struct model_packed *p, struct ltd_err *err)
{
    static const char *const obeyed[] = {"config.json", "generation_config.json", "tokenizer.json"};
    for (int32_t i = 0; i < p->seal.n_files; i++)
        if (check_copy(p, &p->seal.files[i], err) != 0)
            return -1;
    for (size_t i = 0; i < sizeof obeyed / sizeof obeyed[0]; i++)
        if (check_unsealed(p, obeyed[i], err) != 0)
            return -1;
    return 0;
}

static int check_facts(struct model_packed *p, struct ltd_err *err)
{
    const char *formats = model_safetensors_metadata(p->file, "formats");
    if (expect_text(p, "layout", KERN_PACKED_LAYOUT, LTD_E_CORRUPT, err) != 0)
        return -1;
    if (model_packed_formats_parse(formats ? formats : "", &p->formats, err) != 0) {
        err->code = LTD_E_CORRUPT;
        return ltd_err_context(err, "%s: metadata formats", path_of(p));
    }
    const char *source = model_packed_source(p);
    if (source && strlen(source) == 64 && strspn(source, "0123456789abcdef") == 64)
        return 0;
    return ltd_fail(err, LTD_E_CORRUPT, "%s: metadata source: \"%.70s\", expected a SHA-256",
                    path_of(p), source ? source : "");
}

/* --------------------------------------------------------------------------- names and sizes */

static int check_size(const struct model_packed *p, const char *name, enum model_dtype dtype,
                      size_t bytes, struct ltd_err *err)
{
    const struct model_tensor *t = model_safetensors_find(p->file, name);
    if (!t)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %s is missing", path_of(p), name);
    if (t->dtype != dtype || t->bytes != bytes)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %s: %zu bytes of %s, expected %zu of %s",
                        path_of(p), name, t->bytes, model_dtype_name(t->dtype), bytes,
                        model_dtype_name(dtype));
    if ((uintptr_t)t->data % LINE_BYTES != 0)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "%s: tensor %s begins %zu bytes behind a multiple of %d", path_of(p), name,
                        (size_t)((uintptr_t)t->data % LINE_BYTES), LINE_BYTES);
    return 0;
}

/* How many tensors hold this one, or -1. */
static int32_t check_row(const struct model_packed *p, const struct model_layout_row *row,
                         struct ltd_err *err)
{
    char name[MODEL_PACKED_NAME_BYTES], shape[48];
    int32_t n = 0;
    if (row->n_dims != 2) {
        size_t bytes = sizeof(float);
        for (int32_t i = 0; i < row->n_dims; i++)
            bytes *= (size_t)row->shape[i];
        return check_size(p, row->name, MODEL_F32, bytes, err) != 0 ? -1 : 1;
    }
    model_packed_shape(row, name, shape);
    if (expect_text(p, name, shape, LTD_E_CORRUPT, err) != 0)
        return -1;
    for (int32_t i = 0; i < p->formats.n; i++) {
        enum kern_format format = p->formats.items[i];
        size_t bytes;
        if (!model_packed_holds(&p->formats, row->name, format))
            continue;
        if (!kern_packed_bytes(format, (int32_t)row->shape[0], (int32_t)row->shape[1], &bytes))
            return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %s: %s, more than memory can have",
                            path_of(p), row->name, shape);
        if (check_size(p, model_packed_name(name, row->name, format), MODEL_U8, bytes, err) != 0)
            return -1;
        n++;
    }
    return n;
}

/* What is counted and is there leaves nothing else but padding and the table. */
static int check_tensors(const struct model_packed *p, const struct model_layout *layout,
                         struct ltd_err *err)
{
    int32_t n = 1, n_here = model_safetensors_count(p->file);
    for (int32_t i = 0; i < layout->n_rows; i++) {
        int32_t held = check_row(p, &layout->rows[i], err);
        if (held < 0)
            return -1;
        n += held;
    }
    for (int32_t i = 0; i < n_here; i++)
        n += strncmp(model_safetensors_at(p->file, i)->name, MODEL_PACKED_PADDING,
                     sizeof MODEL_PACKED_PADDING - 1) == 0;
    return n == n_here ? 0
                       : ltd_fail(err, LTD_E_CORRUPT,
                                  "%s: %d tensors, expected the %d of the model and its padding",
                                  path_of(p), n_here, n);
}

static int by_place(const void *a, const void *b)
{
    const struct model_tensor *x = *(const struct model_tensor *const *)a,
                              *y = *(const struct model_tensor *const *)b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Blocks are counted in the order of places, without the table itself, which must be last. */
static int count_blocks(struct model_packed *p, struct ltd_err *err)
{
    int32_t n = model_safetensors_count(p->file);
    const struct model_tensor *first = model_safetensors_at(p->file, 0), **order;
    uint64_t blocks = 0;
    order = calloc((size_t)n, sizeof *order);
    p->first_block = calloc((size_t)n, sizeof *p->first_block);
    if (!order || !p->first_block) {
        free(order);
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %d tensors", path_of(p), n);
    }
    for (int32_t i = 0; i < n; i++)
        order[i] = model_safetensors_at(p->file, i);
    qsort(order, (size_t)n, sizeof *order, by_place);
    bool is_last = order[n - 1] == p->table;
    for (int32_t i = 0; i < n - 1; i++) {
        p->first_block[order[i] - first] = blocks;
        blocks += model_seal_n_blocks(order[i]->bytes);
    }
    free(order);
    if (is_last && blocks == p->seal.n_blocks)
        return 0;
    return ltd_fail(err, LTD_E_CORRUPT,
                    "%s: tensor " MODEL_PACKED_SEAL ": %" PRIu64 " blocks, expected %" PRIu64
                    " in front of it",
                    path_of(p), p->seal.n_blocks, blocks);
}

/* Nobody else reads it. */
static int check_padding(const struct model_packed *p, struct ltd_err *err)
{
    for (int32_t i = 0; i < model_safetensors_count(p->file); i++) {
        const struct model_tensor *t = model_safetensors_at(p->file, i);
        if (strncmp(t->name, MODEL_PACKED_PADDING, sizeof MODEL_PACKED_PADDING - 1) == 0 &&
            model_packed_read(p, t, 0, t->bytes, NULL, 1, err) != 0)
            return -1;
    }
    return 0;
}

struct model_packed *model_packed_open(const char *dir, const struct model_safetensors *file,
                                       const struct model_layout *layout, struct ltd_err *err)
{
    struct model_packed *p = calloc(1, sizeof *p);
    if (!p)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "%s: no memory", dir);
    p->dir = dir;
    p->file = file;
    if (check_kind(p, err) == 0 && check_table(p, err) == 0 && check_head(p, err) == 0 &&
        check_copies(p, err) == 0 && check_facts(p, err) == 0 &&
        check_tensors(p, layout, err) == 0 && count_blocks(p, err) == 0 &&
        check_padding(p, err) == 0)
        return p;
    model_packed_close(p);
    return NULL;
}

void model_packed_close(struct model_packed *packed)
{
    if (!packed)
        return;
    free(packed->first_block);
    free(packed);
}

const struct model_packed_formats *model_packed_formats(const struct model_packed *packed)
{
    return &packed->formats;
}

const char *model_packed_source(const struct model_packed *packed)
{
    return model_safetensors_metadata(packed->file, "source");
}

/* ------------------------------------------------------------------------------------- read */

/* Check block `idx` of the tensor and copy what of it lies in [begin, end). */
static bool take_block(const struct model_packed *p, const struct model_tensor *t, uint64_t sum_at,
                       uint64_t idx, size_t begin, size_t end, uint8_t *dst)
{
    size_t from = (size_t)idx * MODEL_SEAL_BLOCK_BYTES;
    size_t to = t->bytes - from < MODEL_SEAL_BLOCK_BYTES ? t->bytes : from + MODEL_SEAL_BLOCK_BYTES;
    if (model_seal_sum(t->data + from, to - from) != model_seal_block(&p->seal, sum_at + idx))
        return false;
    if (!dst)
        return true;
    size_t first = from > begin ? from : begin, last = to < end ? to : end;
    memcpy(dst + (first - begin), t->data + first, last - first);
    return true;
}

static int damaged(const struct model_packed *p, const struct model_tensor *t, uint64_t sum_at,
                   uint64_t idx, struct ltd_err *err)
{
    size_t from = (size_t)idx * MODEL_SEAL_BLOCK_BYTES;
    size_t to = t->bytes - from < MODEL_SEAL_BLOCK_BYTES ? t->bytes : from + MODEL_SEAL_BLOCK_BYTES;
    char what[MODEL_PACKED_NAME_BYTES + 80];
    snprintf(what, sizeof what, ": tensor %.*s: bytes [%zu, %zu)", MODEL_PACKED_NAME_BYTES, t->name,
             from, to);
    return bad_sum(path_of(p), what, model_seal_sum(t->data + from, to - from),
                   model_seal_block(&p->seal, sum_at + idx), err);
}

int model_packed_read(const struct model_packed *packed, const struct model_tensor *tensor,
                      size_t begin, size_t end, uint8_t *dst, int32_t n_threads,
                      struct ltd_err *err)
{
    if (begin == end)
        return 0;
    uint64_t sum_at = packed->first_block[tensor - model_safetensors_at(packed->file, 0)];
    int64_t first = (int64_t)(begin / MODEL_SEAL_BLOCK_BYTES);
    int64_t last = (int64_t)model_seal_n_blocks(end), bad = last;
    int threads = end - begin < PARALLEL_BYTES || n_threads < 1 ? 1 : (int)n_threads;
#pragma omp parallel for num_threads(threads) reduction(min : bad)
    for (int64_t b = first; b < last; b++)
        if (!take_block(packed, tensor, sum_at, (uint64_t)b, begin, end, dst) && b < bad)
            bad = b;
    return bad == last ? 0 : damaged(packed, tensor, sum_at, (uint64_t)bad, err);
}
