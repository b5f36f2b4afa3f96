/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tools/pack_directory.c - a model directory in the published layout as a source for
 * tools/packer.h.
 *
 * Everything beside the weights is copied, because nobody can know what a user wants to keep; what
 * is left behind is weights in any packaging, and checksums of the source.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "tools/check.h"
#include "tools/checksum.h"
#include "tools/packer.h"

#define COPIED_MAX ((size_t)1 << 30) /* of one file, as the daemon bounds a tokenizer.json */

struct directory {
    const struct model_checkpoint *ckpt;
    const char *path;
    struct dirent **names; /* owned, in bytewise order */
    int n_names, next;
};

static int get_rows(void *arg, const struct model_layout_row *row, int32_t begin, int32_t n,
                    struct kern_rows *out, struct ltd_err *err)
{
    const struct directory *d = arg;
    const struct model_tensor *t = model_checkpoint_tensor(d->ckpt, row->name, err);
    if (!t)
        return -1;
    enum kern_dtype dtype = t->dtype == MODEL_F32    ? KERN_DTYPE_F32
                            : t->dtype == MODEL_BF16 ? KERN_DTYPE_BF16
                                                     : KERN_DTYPE_F16;
    *out = (struct kern_rows){t->data, dtype, begin, begin + n};
    return 0;
}

static int get_floats(void *arg, const struct model_layout_row *row, int64_t count, float *out,
                      struct ltd_err *err)
{
    const struct directory *d = arg;
    return model_checkpoint_floats(d->ckpt, row->name, 0, count, out, err);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), n = strlen(end);
    return length >= n && strcmp(name + length - n, end) == 0;
}

static int is_copied(const struct dirent *entry)
{
    static const char *const left_behind[] = {
        ".safetensors", ".index.json", ".bin",  ".pt",      ".pth",  ".gguf",
        ".h5",          ".msgpack",    ".onnx", ".partial", ".lock", TOOL_CHECKSUM_NAME};
    if (entry->d_name[0] == '.')
        return 0;
    for (size_t i = 0; i < sizeof left_behind / sizeof left_behind[0]; i++)
        if (ends_with(entry->d_name, left_behind[i]))
            return 0;
    return 1;
}

static int get_file(void *arg, int32_t idx, const char **name, struct ltd_bytes *out,
                    struct ltd_err *err)
{
    struct directory *d = arg;
    (void)idx; /* directories between the files make numbers of our own necessary */
    while (d->next < d->n_names) {
        char path[PATH_MAX];
        struct stat st;
        size_t bytes;
        *name = d->names[d->next++]->d_name;
        if (snprintf(path, sizeof path, "%s/%s", d->path, *name) >= (int)sizeof path)
            return ltd_fail(err, LTD_E_INVALID, "%.100s/...: path is too long", d->path);
        if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
            continue;
        char *data = ltd_file_read(path, COPIED_MAX, &bytes, err);
        if (!data)
            return -1;
        ltd_bytes_put(out, data, bytes);
        free(data);
        return 1;
    }
    return 0;
}

static int pack_open(struct directory *d, const struct model_packed_formats *formats,
                     const char *path, struct tool_pack_result *result, struct ltd_err *err)
{
    char hash[MODEL_HASH_HEX_BYTES];
    const struct tool_pack_source source = {
        .config = model_checkpoint_config(d->ckpt),
        .hash = hash,
        .arg = d,
        .rows = get_rows,
        .floats = get_floats,
        .file = get_file,
    };
    if (model_checkpoint_packed(d->ckpt))
        return ltd_fail(err, LTD_E_INVALID,
                        "%s is packed, expected a directory in the published layout", d->path);
    if (tool_check_open_text(d->ckpt, NULL, NULL, err) != 0 ||
        model_checkpoint_hash(d->ckpt, hash, err) != 0)
        return -1;
    d->n_names = scandir(d->path, &d->names, is_copied, alphasort);
    if (d->n_names < 0)
        return ltd_fail(err, LTD_E_NOT_FOUND, "list %s: %s", d->path, strerror(errno));
    return tool_pack(&source, formats, path, result, err);
}

int tool_pack_directory(const char *dir, const struct model_packed_formats *formats,
                        const char *path, struct tool_pack_result *result, struct ltd_err *err)
{
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, err);
    struct directory d = {.ckpt = ckpt, .path = dir};
    if (!ckpt)
        return -1;
    int rc = pack_open(&d, formats, path, result, err);
    for (int i = 0; i < d.n_names; i++)
        free(d.names[i]);
    free(d.names);
    model_checkpoint_close(ckpt);
    return rc;
}
