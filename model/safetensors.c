/* SPDX-License-Identifier: Apache-2.0 */
/* model/safetensors.c - map a tensor file and check its header; see model/safetensors.h. */
#include "model/safetensors.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"

struct model_safetensors {
    char *path;         /* owned */
    const uint8_t *map; /* whole file */
    size_t map_bytes;
    const uint8_t *data; /* behind the header */
    size_t data_bytes;
    json_t *header;               /* owned; names point into it */
    struct model_tensor *tensors; /* owned, sorted by name */
    int32_t n_tensors;
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[MODEL_N_DTYPES] = {
    [MODEL_F64] = {"F64", 8},   [MODEL_F32] = {"F32", 4}, [MODEL_F16] = {"F16", 2},
    [MODEL_BF16] = {"BF16", 2}, [MODEL_I64] = {"I64", 8}, [MODEL_I32] = {"I32", 4},
    [MODEL_I16] = {"I16", 2},   [MODEL_I8] = {"I8", 1},   [MODEL_U8] = {"U8", 1},
    [MODEL_BOOL] = {"BOOL", 1},
};

const char *model_dtype_name(enum model_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t model_dtype_bytes(enum model_dtype dtype)
{
    return dtypes[dtype].bytes;
}

static int map_file(struct model_safetensors *file, struct ltd_err *err)
{
    size_t bytes;
    int fd = ltd_file_open(file->path, &bytes, err);
    if (fd < 0)
        return -1;
    int rc = -1;
    if (bytes < 8) {
        ltd_fail(err, LTD_E_CORRUPT, "%s: %zu bytes, expected at least 8 (the header's length)",
                 file->path, bytes);
    } else {
        void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            ltd_fail(err, LTD_E_EXHAUSTED, "map %s: %s", file->path, strerror(errno));
        } else {
            /* What is read through this mapping comes in huge pages, where the file system has them
             * in its cache, and is then mapped by fewer faults. Only a hint. */
            madvise(map, bytes, MADV_HUGEPAGE);
            file->map = map;
            file->map_bytes = bytes;
            rc = 0;
        }
    }
    close(fd);
    return rc;
}

static int parse_header(struct model_safetensors *file, struct ltd_err *err)
{
    struct ltd_cursor cursor = ltd_cursor_init(file->map, file->map_bytes);
    uint64_t header_bytes = ltd_cursor_u64(&cursor);
    uint64_t room = file->map_bytes - 8;
    if (header_bytes > MODEL_HEADER_MAX_BYTES || header_bytes > room)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "%s: header of %llu bytes, expected at most %llu (the rest of the file, "
                        "and never more than %d)",
                        file->path, (unsigned long long)header_bytes, (unsigned long long)room,
                        MODEL_HEADER_MAX_BYTES);
    file->header = ltd_json_parse((const char *)file->map + 8, header_bytes, file->path, err);
    if (!file->header) {
        if (err)
            err->code = LTD_E_CORRUPT;
        return ltd_err_context(err, "safetensors header");
    }
    char found[96];
    if (!json_is_object(file->header))
        return ltd_fail(err, LTD_E_CORRUPT, "%s: header: %s, expected a JSON object", file->path,
                        ltd_json_describe(file->header, found, sizeof found));
    file->data = file->map + 8 + header_bytes;
    file->data_bytes = room - header_bytes;
    return 0;
}

static int bad(const struct model_safetensors *file, const char *name, const char *key,
               const json_t *found, const char *expected, struct ltd_err *err)
{
    char text[96] = "nothing";
    if (found)
        ltd_json_describe(found, text, sizeof text);
    return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %.100s: %s is %s, expected %s", file->path,
                    name, key, text, expected);
}

static int parse_dtype(const struct model_safetensors *file, const json_t *entry,
                       struct model_tensor *t, struct ltd_err *err)
{
    const json_t *value = json_object_get(entry, "dtype");
    const char *name = json_string_value(value);
    for (int i = 0; name && i < MODEL_N_DTYPES; i++)
        if (strcmp(name, dtypes[i].name) == 0) {
            t->dtype = (enum model_dtype)i;
            return 0;
        }
    return bad(file, t->name, "dtype", value,
               "one of F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL", err);
}

/* Shape into t, and the bytes that it takes. */
static int parse_shape(const struct model_safetensors *file, const json_t *entry,
                       struct model_tensor *t, struct ltd_err *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > MODEL_TENSOR_MAX_DIMS)
        return bad(file, t->name, "shape", shape, "an array of at most 8 numbers", err);
    t->bytes = dtypes[t->dtype].bytes;
    t->n_dims = (int32_t)json_array_size(shape);
    for (int32_t i = 0; i < t->n_dims; i++) {
        const json_t *dim = json_array_get(shape, (size_t)i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0 ||
            !ltd_size_mul(t->bytes, (size_t)json_integer_value(dim), &t->bytes))
            return bad(file, t->name, "a dimension", dim,
                       "a number whose product with the others fits memory", err);
        t->shape[i] = json_integer_value(dim);
    }
    return 0;
}

static int parse_offsets(const struct model_safetensors *file, const json_t *entry,
                         struct model_tensor *t, struct ltd_err *err)
{
    const json_t *pair = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(pair, 0), *second = json_array_get(pair, 1);
    if (json_array_size(pair) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return bad(file, t->name, "data_offsets", pair, "an array of two integers", err);
    json_int_t begin = json_integer_value(first), end = json_integer_value(second);
    if (begin < 0 || end < begin || (uint64_t)end > file->data_bytes)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "%s: tensor %.100s: data_offsets [%lld, %lld], expected a range inside the "
                        "%zu bytes of data",
                        file->path, t->name, (long long)begin, (long long)end, file->data_bytes);
    if ((size_t)(end - begin) != t->bytes)
        return ltd_fail(err, LTD_E_CORRUPT,
                        "%s: tensor %.100s: %lld bytes of data, expected %zu from dtype and shape",
                        file->path, t->name, (long long)(end - begin), t->bytes);
    t->data = file->data + begin;
    return 0;
}

static int parse_tensor(const struct model_safetensors *file, const json_t *entry,
                        struct model_tensor *t, struct ltd_err *err)
{
    if (!json_is_object(entry))
        return bad(file, t->name, "its entry", entry, "an object", err);
    if (parse_dtype(file, entry, t, err) != 0 || parse_shape(file, entry, t, err) != 0)
        return -1;
    return parse_offsets(file, entry, t, err);
}

static int parse_tensors(struct model_safetensors *file, struct ltd_err *err)
{
    size_t n = json_object_size(file->header);
    if (n > INT32_MAX || !(file->tensors = calloc(n ? n : 1, sizeof *file->tensors)))
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu tensors", file->path, n);
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, "__metadata__") == 0)
            continue;
        struct model_tensor *t = &file->tensors[file->n_tensors];
        t->name = name;
        if (parse_tensor(file, entry, t, err) != 0)
            return -1;
        file->n_tensors++;
    }
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct model_tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct model_tensor *)a)->name, ((const struct model_tensor *)b)->name);
}

/* Ranges must follow each other from the first byte of data to the last. */
static int check_cover(struct model_safetensors *file, struct ltd_err *err)
{
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, by_place);
    size_t at = 0;
    for (int32_t i = 0; i < file->n_tensors; i++) {
        const struct model_tensor *t = &file->tensors[i];
        size_t begin = (size_t)(t->data - file->data);
        if (begin != at)
            return ltd_fail(err, LTD_E_CORRUPT,
                            "%s: tensor %.100s: data begins at %zu, expected %zu (the end of the "
                            "tensor before it: no gap, no overlap)",
                            file->path, t->name, begin, at);
        at += t->bytes;
    }
    if (at != file->data_bytes)
        return ltd_fail(err, LTD_E_CORRUPT, "%s: %zu bytes of data, expected %zu from the header",
                        file->path, file->data_bytes, at);
    qsort(file->tensors, (size_t)file->n_tensors, sizeof *file->tensors, by_name);
    return 0;
}

struct model_safetensors *model_safetensors_open(const char *path, struct ltd_err *err)
{
    struct model_safetensors *file = calloc(1, sizeof *file);
    if (!file || !(file->path = strdup(path))) {
        free(file);
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "open %s: no memory", path);
    }
    if (map_file(file, err) != 0 || parse_header(file, err) != 0 || parse_tensors(file, err) != 0 ||
        check_cover(file, err) != 0) {
        model_safetensors_close(file);
        return NULL;
    }
    return file;
}

void model_safetensors_close(struct model_safetensors *file)
{
    if (!file)
        return;
    union {
        const uint8_t *from;
        void *to;
    } map = {.from = file->map};
    if (file->map)
        munmap(map.to, file->map_bytes);
    json_decref(file->header);
    free(file->tensors);
    free(file->path);
    free(file);
}

const char *model_safetensors_path(const struct model_safetensors *file)
{
    return file->path;
}

const uint8_t *model_safetensors_head(const struct model_safetensors *file, size_t *bytes)
{
    *bytes = (size_t)(file->data - file->map);
    return file->map;
}

const char *model_safetensors_metadata(const struct model_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(json_object_get(file->header, "__metadata__"), key));
}

int32_t model_safetensors_count(const struct model_safetensors *file)
{
    return file->n_tensors;
}

const struct model_tensor *model_safetensors_at(const struct model_safetensors *file, int32_t idx)
{
    return &file->tensors[idx];
}

const struct model_tensor *model_safetensors_find(const struct model_safetensors *file,
                                                  const char *name)
{
    struct model_tensor key = {.name = name};
    return bsearch(&key, file->tensors, (size_t)file->n_tensors, sizeof key, by_name);
}
