/* SPDX-License-Identifier: Apache-2.0 */
/* tools/checksum.c - see tools/checksum.h. */
#include "tools/checksum.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/json_out.h"
#include "tools/folder.h"

#define FORMAT       "latentd-checksums"
#define VERSION      1
#define SUMS_MAX     ((size_t)32 << 20) /* 100,000 tensors, the most that headers hold, twice over */
#define SHOWN_DIGITS 16                 /* of a checksum, in messages */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* ----------------------------------------------------------------------------------- write */

struct writer {
    struct cli_json json;
    int32_t n_heads; /* files of weights so far; the last one's tensors are still open */
};

/* Behind "files" comes "weights", one object per head. */
static int write_piece(void *arg, const struct tool_piece *piece, struct ltd_err *err)
{
    struct writer *w = arg;
    (void)err; /* a failed allocation is remembered by the text */
    switch (piece->kind) {
    case TOOL_PIECE_FILE:
        cli_json_str(&w->json, base_name(piece->path), piece->sha256);
        break;
    case TOOL_PIECE_HEAD:
        if (w->n_heads++ > 0) {
            cli_json_end(&w->json);
            cli_json_end(&w->json);
        } else {
            cli_json_end(&w->json);
            cli_json_begin(&w->json, "weights", '{');
        }
        cli_json_begin(&w->json, base_name(piece->path), '{');
        cli_json_str(&w->json, "head", piece->sha256);
        cli_json_begin(&w->json, "tensors", '{');
        break;
    case TOOL_PIECE_TENSOR:
        cli_json_str(&w->json, piece->tensor, piece->sha256);
        break;
    }
    return 0;
}

static int path_of(const char *dir, char out[PATH_MAX], struct ltd_err *err)
{
    if (snprintf(out, PATH_MAX, "%s/" TOOL_CHECKSUM_NAME, dir) >= PATH_MAX)
        return ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", dir);
    return 0;
}

static int publish(const char *dir, struct writer *w, struct ltd_err *err)
{
    while (w->json.depth > 0)
        cli_json_end(&w->json);
    ltd_bytes_put_u8(&w->json.text, '\n');
    if (w->json.text.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for checksums", dir);
    return tool_file_publish(dir, TOOL_CHECKSUM_NAME, w->json.text.data, w->json.text.len, err);
}

int tool_checksum_write(const char *dir, struct tool_check_result *result, struct ltd_err *err)
{
    char path[PATH_MAX];
    struct writer w = {.n_heads = 0};
    if (path_of(dir, path, err) != 0)
        return -1;
    if (!ltd_file_is_absent(path))
        return ltd_fail(err, LTD_E_EXISTS,
                        "%s exists: verify compares it; remove it to write it anew", path);
    cli_json_init(&w.json);
    cli_json_begin(&w.json, NULL, '{');
    cli_json_str(&w.json, "format", FORMAT);
    cli_json_u64(&w.json, "version", VERSION);
    cli_json_str(&w.json, "algorithm", "sha256");
    cli_json_begin(&w.json, "files", '{');
    int rc = tool_check(dir, write_piece, &w, result, err);
    if (rc == 0)
        rc = publish(dir, &w, err);
    cli_json_fini(&w.json);
    return rc;
}

/* --------------------------------------------------------------------------------- compare */

struct reader {
    const char *path; /* of the file of checksums */
    json_t *files, *weights;
    json_t *head;                       /* of the current file of weights */
    size_t n_files, n_heads, n_tensors; /* seen; tensors of the current file */
};

static int compare(const struct reader *r, const json_t *listed, const struct tool_piece *piece,
                   struct ltd_err *err)
{
    const char *expected = json_string_value(listed);
    const char *what = piece->tensor                    ? piece->tensor
                       : piece->kind == TOOL_PIECE_HEAD ? "header"
                                                        : "";
    const char *kind = piece->tensor ? ": tensor " : *what ? ": " : "";
    if (expected && strcmp(expected, piece->sha256) == 0)
        return 0;
    if (!expected)
        return ltd_fail(err, LTD_E_CORRUPT, "%s%s%.100s: not listed in %s, expected it absent",
                        piece->path, kind, what, base_name(r->path));
    return ltd_fail(err, LTD_E_CORRUPT, "%s%s%.100s: SHA-256 %.*s..., expected %.*s... as in %s",
                    piece->path, kind, what, SHOWN_DIGITS, piece->sha256, SHOWN_DIGITS, expected,
                    base_name(r->path));
}

/* A tensor that is listed and was not met: the header would be another one, so its sum comes first,
 * unless the file of checksums itself is damaged. */
static int end_head(const struct reader *r, struct ltd_err *err)
{
    size_t n = json_object_size(json_object_get(r->head, "tensors"));
    if (!r->head || n == r->n_tensors)
        return 0;
    return ltd_fail(err, LTD_E_CORRUPT, "%s: %zu tensors of a file, which has %zu", r->path, n,
                    r->n_tensors);
}

static int compare_piece(void *arg, const struct tool_piece *piece, struct ltd_err *err)
{
    struct reader *r = arg;
    const char *name = base_name(piece->path);
    switch (piece->kind) {
    case TOOL_PIECE_FILE:
        r->n_files++;
        return compare(r, json_object_get(r->files, name), piece, err);
    case TOOL_PIECE_HEAD:
        if (end_head(r, err) != 0)
            return -1;
        r->head = json_object_get(r->weights, name);
        r->n_heads++;
        r->n_tensors = 0;
        return compare(r, json_object_get(r->head, "head"), piece, err);
    case TOOL_PIECE_TENSOR:
        r->n_tensors++;
        return compare(r, json_object_get(json_object_get(r->head, "tensors"), piece->tensor),
                       piece, err);
    }
    return 0;
}

/* The first listed file that is not there. */
static int check_seen(const struct reader *r, const char *dir, struct ltd_err *err)
{
    json_t *const lists[] = {r->files, r->weights};
    const size_t seen[] = {r->n_files, r->n_heads};
    if (end_head(r, err) != 0)
        return -1;
    for (size_t i = 0; i < 2; i++) {
        const char *name;
        json_t *value;
        char path[PATH_MAX];
        if (json_object_size(lists[i]) == seen[i])
            continue;
        json_object_foreach(lists[i], name, value)
        {
            int n = snprintf(path, sizeof path, "%s/%s", dir, name);
            if (n >= (int)sizeof path || ltd_file_is_absent(path))
                return ltd_fail(err, LTD_E_CORRUPT, "%s/%.100s: absent, expected it as in %s", dir,
                                name, base_name(r->path));
        }
        return ltd_fail(err, LTD_E_CORRUPT, "%s lists %zu files, expected the %zu of the model",
                        r->path, json_object_size(lists[i]), seen[i]);
    }
    return 0;
}

static int read_sums(struct reader *r, const json_t *root, struct ltd_err *err)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    int64_t version = 0;
    r->files = json_object_get(root, "files");
    r->weights = json_object_get(root, "weights");
    if (!format || strcmp(format, FORMAT) != 0)
        return ltd_fail(err, LTD_E_INVALID, "%s: key format: \"%.40s\", expected \"" FORMAT "\"",
                        r->path, format ? format : "");
    if (ltd_json_get_int(root, "version", 1, INT32_MAX, &version, r->path, err) < 0)
        return -1;
    if (version != VERSION)
        return ltd_fail(err, LTD_E_INVALID, "%s: key version: %" PRId64 ", expected %d", r->path,
                        version, VERSION);
    if (!json_is_object(r->files) || !json_is_object(r->weights))
        return ltd_fail(err, LTD_E_INVALID, "%s: expected objects under files and weights",
                        r->path);
    return 0;
}

int tool_checksum_verify(const char *dir, bool *has_sums, struct tool_check_result *result,
                         struct ltd_err *err)
{
    char path[PATH_MAX];
    struct reader r = {.path = path};
    if (path_of(dir, path, err) != 0)
        return -1;
    if (ltd_file_is_absent(path)) {
        *has_sums = false;
        return tool_check(dir, NULL, NULL, result, err);
    }
    json_t *root = ltd_json_load(path, SUMS_MAX, err);
    if (!root)
        return -1;
    int rc = -1;
    if (read_sums(&r, root, err) == 0 && tool_check(dir, compare_piece, &r, result, err) == 0)
        rc = check_seen(&r, dir, err);
    json_decref(root);
    if (rc == 0)
        *has_sums = true;
    return rc;
}
