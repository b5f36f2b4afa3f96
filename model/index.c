/* SPDX-License-Identifier: Apache-2.0 */
/* model/index.c - open what holds the tensors; see model/index.h. */
#include "model/index.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "model/packed.h"

#define SINGLE          "model.safetensors"
#define INDEX           "model.safetensors.index.json"
#define INDEX_MAX_BYTES ((size_t)16 << 20)

static int join(char out[PATH_MAX], const char *dir, const char *name, struct ltd_err *err)
{
    if (snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
        return ltd_fail(err, LTD_E_INVALID, "%.100s/...: path is longer than %d", dir, PATH_MAX);
    return 0;
}

static int open_file(struct model_index *index, const char *path, struct ltd_err *err)
{
    struct model_safetensors *file = model_safetensors_open(path, err);
    if (!file)
        return -1;
    index->files[index->n_files++] = file;
    return 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static struct model_safetensors *file_named(const struct model_index *index, const char *name)
{
    for (int32_t i = 0; i < index->n_files; i++)
        if (strcmp(base_name(model_safetensors_path(index->files[i])), name) == 0)
            return index->files[i];
    return NULL;
}

/* A name that leaves the directory would let a model file read any other file. */
static int check_file_name(const char *path, const char *tensor, const json_t *value,
                           struct ltd_err *err)
{
    char found[96];
    const char *name = json_string_value(value);
    if (name && *name && !strchr(name, '/') && !strchr(name, '\\') && name[0] != '.')
        return 0;
    return ltd_fail(err, LTD_E_INVALID,
                    "%s: weight_map[%.100s]: %s, expected a file name without a path", path, tensor,
                    ltd_json_describe(value, found, sizeof found));
}

static int open_mapped(struct model_index *index, const char *dir, const char *path, json_t *map,
                       struct ltd_err *err)
{
    const char *tensor;
    json_t *value;
    char file_path[PATH_MAX];
    json_object_foreach(map, tensor, value)
    {
        if (check_file_name(path, tensor, value, err) != 0)
            return -1;
        struct model_safetensors *file = file_named(index, json_string_value(value));
        if (!file) {
            if (index->n_files == MODEL_MAX_FILES)
                return ltd_fail(err, LTD_E_INVALID, "%s: more than %d files", path,
                                MODEL_MAX_FILES);
            if (join(file_path, dir, json_string_value(value), err) != 0 ||
                open_file(index, file_path, err) != 0)
                return -1;
            file = index->files[index->n_files - 1];
        }
        if (!model_safetensors_find(file, tensor))
            return ltd_fail(err, LTD_E_CORRUPT, "%s: tensor %.100s is missing, expected by %s",
                            model_safetensors_path(file), tensor, path);
    }
    return 0;
}

/* The other direction: nothing lies in a file that the map does not send there. */
static int check_nothing_else(const struct model_index *index, const char *path, json_t *map,
                              struct ltd_err *err)
{
    for (int32_t f = 0; f < index->n_files; f++) {
        const char *file = model_safetensors_path(index->files[f]);
        for (int32_t i = 0; i < model_safetensors_count(index->files[f]); i++) {
            const char *tensor = model_safetensors_at(index->files[f], i)->name;
            const char *mapped = json_string_value(json_object_get(map, tensor));
            if (!mapped || strcmp(mapped, base_name(file)) != 0)
                return ltd_fail(err, LTD_E_CORRUPT,
                                "%s: holds tensor %.100s, expected in %.60s by %s", file, tensor,
                                mapped ? mapped : "no file", path);
        }
    }
    return 0;
}

static int open_sharded(struct model_index *index, const char *dir, const char *path,
                        struct ltd_err *err)
{
    json_t *root = ltd_json_load(path, INDEX_MAX_BYTES, err);
    if (!root)
        return -1;
    int rc = -1;
    json_t *map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        ltd_fail(err, LTD_E_INVALID, "%s: key weight_map: %s, expected an object of file names",
                 path, map ? "an empty or other value" : "nothing");
    else if (open_mapped(index, dir, path, map, err) == 0)
        rc = check_nothing_else(index, path, map, err);
    json_decref(root);
    return rc;
}

int model_index_open(struct model_index *index, const char *dir, struct ltd_err *err)
{
    static const char *const names[] = {SINGLE, INDEX, MODEL_PACKED_FILE};
    char paths[3][PATH_MAX];
    int found = -1;
    *index = (struct model_index){0};
    for (int i = 0; i < 3; i++) {
        if (join(paths[i], dir, names[i], err) != 0)
            return -1;
        if (ltd_file_is_absent(paths[i]))
            continue;
        if (found >= 0)
            return ltd_fail(err, LTD_E_INVALID, "%s: both %s and %s, expected one", dir,
                            names[found], names[i]);
        found = i;
    }
    if (found < 0)
        return ltd_fail(
            err, LTD_E_NOT_FOUND,
            "%s: neither " SINGLE " nor " INDEX " nor " MODEL_PACKED_FILE ", expected one", dir);
    index->files = calloc(MODEL_MAX_FILES, sizeof *index->files);
    if (!index->files)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", dir);
    index->is_packed = found == 2;
    int rc =
        found == 1 ? open_sharded(index, dir, paths[1], err) : open_file(index, paths[found], err);
    if (rc != 0)
        model_index_close(index);
    return rc;
}

void model_index_close(struct model_index *index)
{
    for (int32_t i = 0; i < index->n_files; i++)
        model_safetensors_close(index->files[i]);
    free(index->files);
    *index = (struct model_index){0};
}

const struct model_tensor *model_index_find(const struct model_index *index, const char *name,
                                            const char **file)
{
    for (int32_t i = 0; i < index->n_files; i++) {
        const struct model_tensor *t = model_safetensors_find(index->files[i], name);
        if (!t)
            continue;
        if (file)
            *file = model_safetensors_path(index->files[i]);
        return t;
    }
    return NULL;
}
