/* SPDX-License-Identifier: Apache-2.0 */
/* tests/tools/scratch.c - see tests/tools/scratch.h. */
#include "tests/tools/scratch.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "tools/shape.h"

static char root[] = "/tmp/latentd-tools-XXXXXX";

int scratch_make(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static void empty(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char inner[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        if (unlink(inner) != 0) {
            empty(inner);
            rmdir(inner);
        }
    }
    if (dir)
        closedir(dir);
}

int scratch_remove(void **state)
{
    (void)state;
    empty(root);
    return rmdir(root);
}

const char *scratch_path(const char *name)
{
    static char paths[8][512];
    static unsigned next;
    char *out = paths[next++ % 8];
    snprintf(out, sizeof paths[0], "%s/%s", root, name);
    return out;
}

int scratch_count(void)
{
    DIR *dir = opendir(root);
    int n = -2; /* "." and ".." */
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

struct tool_synth_options scratch_options(const char *like, uint64_t seed)
{
    struct tool_synth_options options = {
        .seed = seed, .dtype = MODEL_BF16, .max_shard_bytes = TOOL_SYNTH_SHARD_BYTES};
    struct ltd_err err = {0};
    scratch_good(tool_shape_find(like, &options.shape, &err), &err);
    return options;
}

const char *scratch_synth(const char *name, const struct tool_synth_options *options)
{
    struct tool_synth_result result;
    struct ltd_err err = {0};
    const char *path = scratch_path(name);
    scratch_good(tool_synth(options, path, &result, &err), &err);
    return path;
}

char *scratch_read(const char *path, size_t *bytes)
{
    struct ltd_err err = {0};
    char *data = ltd_file_read(path, (size_t)64 << 20, bytes, &err);
    scratch_good(data ? 0 : -1, &err);
    return data;
}

void scratch_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

void scratch_good(int rc, const struct ltd_err *err)
{
    if (rc != 0)
        fail_msg("%s: %s", ltd_code_name(err->code), err->msg);
}

void scratch_bad(int rc, const struct ltd_err *err, enum ltd_code code, const char *text,
                 const char *more)
{
    if (rc != -1 || err->code != code || (text && !strstr(err->msg, text)) ||
        (more && !strstr(err->msg, more)))
        fail_msg("found %d, %s: \"%s\"; expected -1, %s: \"%s\" \"%s\"", rc,
                 ltd_code_name(err->code), err->msg, ltd_code_name(code), text ? text : "",
                 more ? more : "");
}
