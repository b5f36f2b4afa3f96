/* SPDX-License-Identifier: Apache-2.0 */
/* tools/check.c - see tools/check.h. */
#include "tools/check.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/file.h"
#include "model/packed.h"
#include "model/tokenizer.h"
#include "tools/bar.h"
#include "tools/stop.h"

#define CHUNK_WEIGHTS  65536
#define PACKED_CHUNK   ((size_t)1 << 20) /* a whole number of blocks, so each is read once */
#define SMALL_FILE_MAX ((size_t)1 << 30) /* as the daemon limits a tokenizer.json */

/* What a daemon may read besides weights. */
static const char *const small_files[] = {"config.json", "generation_config.json", "tokenizer.json",
                                          "model.safetensors.index.json"};

struct pass {
    const struct model_checkpoint *ckpt;
    tool_piece_fn piece;
    void *arg;
    EVP_MD_CTX *md;
    struct tool_bar bar;
    struct tool_check_result result;
    float widened[CHUNK_WEIGHTS];
};

/* ---------------------------------------------------------------------------------- pieces */

static int refused_hash(struct ltd_err *err)
{
    return ltd_fail(err, LTD_E_INTERNAL, "the library refused to compute SHA-256");
}

static int begin_piece(struct pass *p, struct ltd_err *err)
{
    return !p->piece || EVP_DigestInit_ex(p->md, EVP_sha256(), NULL) == 1 ? 0 : refused_hash(err);
}

static int put(struct pass *p, const void *data, size_t bytes, struct ltd_err *err)
{
    return !p->piece || EVP_DigestUpdate(p->md, data, bytes) == 1 ? 0 : refused_hash(err);
}

static int end_piece(struct pass *p, enum tool_piece_kind kind, const char *path,
                     const char *tensor, struct ltd_err *err)
{
    struct tool_piece piece = {.kind = kind, .path = path, .tensor = tensor};
    uint8_t digest[32];
    unsigned int length = 0;
    if (!p->piece)
        return 0;
    if (EVP_DigestFinal_ex(p->md, digest, &length) != 1 || length != sizeof digest)
        return refused_hash(err);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(piece.sha256 + 2 * i, 3, "%02x", digest[i]);
    return p->piece(p->arg, &piece, err);
}

static int hash_small_file(struct pass *p, const char *name, struct ltd_err *err)
{
    char path[PATH_MAX];
    size_t bytes;
    snprintf(path, sizeof path, "%s/%s", model_checkpoint_dir(p->ckpt), name);
    if (ltd_file_is_absent(path))
        return 0;
    char *data = ltd_file_read(path, SMALL_FILE_MAX, &bytes, err);
    if (!data)
        return -1;
    int rc = -1;
    if (begin_piece(p, err) == 0 && put(p, data, bytes, err) == 0)
        rc = end_piece(p, TOOL_PIECE_FILE, path, NULL, err);
    free(data);
    return rc;
}

static int hash_head(struct pass *p, const struct model_safetensors *file, struct ltd_err *err)
{
    size_t bytes;
    const uint8_t *head = model_safetensors_head(file, &bytes);
    if (begin_piece(p, err) != 0 || put(p, head, bytes, err) != 0)
        return -1;
    return end_piece(p, TOOL_PIECE_HEAD, model_safetensors_path(file), NULL, err);
}

/* What is not of the model (freqs_cis) is hashed, and may hold anything. */
static int check_tensor(struct pass *p, const struct model_safetensors *file,
                        const struct model_tensor *t, struct ltd_err *err)
{
    struct ltd_err other = {0};
    const struct model_tensor *own = model_checkpoint_tensor(p->ckpt, t->name, &other);
    size_t element = model_dtype_bytes(t->dtype), n = t->bytes / element;
    if (begin_piece(p, err) != 0)
        return -1;
    for (size_t at = 0; at < n; at += CHUNK_WEIGHTS) {
        size_t count = n - at < CHUNK_WEIGHTS ? n - at : CHUNK_WEIGHTS;
        if (own == t && model_checkpoint_floats(p->ckpt, t->name, (int64_t)at, (int64_t)count,
                                                p->widened, err) != 0)
            return -1;
        if (put(p, t->data + at * element, count * element, err) != 0 || tool_stop_check(err) != 0)
            return -1;
        tool_bar_add(&p->bar, count * element);
    }
    p->result.n_tensors++;
    p->result.bytes += t->bytes;
    return end_piece(p, TOOL_PIECE_TENSOR, model_safetensors_path(file), t->name, err);
}

/* ------------------------------------------------------------------------------------ pass */

static uint64_t all_bytes(const struct model_checkpoint *ckpt)
{
    uint64_t bytes = 0;
    for (int32_t f = 0; f < model_checkpoint_n_files(ckpt); f++) {
        const struct model_safetensors *file = model_checkpoint_file(ckpt, f);
        for (int32_t i = 0; i < model_safetensors_count(file); i++)
            bytes += model_safetensors_at(file, i)->bytes;
    }
    return bytes;
}

static int check_all(struct pass *p, struct ltd_err *err)
{
    for (size_t i = 0; p->piece && i < sizeof small_files / sizeof small_files[0]; i++)
        if (hash_small_file(p, small_files[i], err) != 0)
            return -1;
    for (int32_t f = 0; f < model_checkpoint_n_files(p->ckpt); f++) {
        const struct model_safetensors *file = model_checkpoint_file(p->ckpt, f);
        if (hash_head(p, file, err) != 0)
            return -1;
        for (int32_t i = 0; i < model_safetensors_count(file); i++)
            if (check_tensor(p, file, model_safetensors_at(file, i), err) != 0)
                return -1;
        p->result.n_files++;
    }
    return 0;
}

/* Header, table and copied files were checked when it was opened; a finite number was packed, and
 * its bytes are what they were. */
static int check_packed(struct pass *p, struct ltd_err *err)
{
    const struct model_packed *packed = model_checkpoint_packed(p->ckpt);
    const struct model_safetensors *file = model_checkpoint_file(p->ckpt, 0);
    for (int32_t i = 0; i < model_safetensors_count(file); i++) {
        const struct model_tensor *t = model_safetensors_at(file, i);
        if (strcmp(t->name, MODEL_PACKED_SEAL) == 0)
            continue;
        for (size_t at = 0; at < t->bytes; at += PACKED_CHUNK) {
            size_t n = t->bytes - at < PACKED_CHUNK ? t->bytes - at : PACKED_CHUNK;
            if (model_packed_read(packed, t, at, at + n, NULL, 1, err) != 0 ||
                tool_stop_check(err) != 0)
                return -1;
            tool_bar_add(&p->bar, n);
        }
        if (strncmp(t->name, MODEL_PACKED_PADDING, sizeof MODEL_PACKED_PADDING - 1) == 0)
            continue;
        p->result.n_tensors++;
        p->result.bytes += t->bytes;
    }
    p->result.n_files = 1;
    p->result.is_packed = true;
    return 0;
}

static int run_pass(const struct model_checkpoint *ckpt, tool_piece_fn piece, void *arg,
                    struct tool_check_result *result, struct ltd_err *err)
{
    struct pass *p = calloc(1, sizeof *p);
    int rc = -1;
    if (!p)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a buffer of %zu bytes", sizeof *p);
    p->ckpt = ckpt;
    p->piece = piece;
    p->arg = arg;
    p->md = EVP_MD_CTX_new();
    tool_bar_begin(&p->bar, all_bytes(ckpt));
    if (model_checkpoint_packed(ckpt))
        rc = check_packed(p, err);
    else if (p->md)
        rc = check_all(p, err);
    else
        refused_hash(err);
    tool_bar_end(&p->bar);
    if (rc == 0)
        *result = p->result;
    EVP_MD_CTX_free(p->md);
    free(p);
    return rc;
}

int tool_check_open_text(const struct model_checkpoint *ckpt, bool *has_tokenizer,
                         struct model_generation *generation, struct ltd_err *err)
{
    const char *dir = model_checkpoint_dir(ckpt);
    int32_t vocab = model_checkpoint_config(ckpt)->vocab;
    struct model_generation unused;
    struct ltd_err why = {0};
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/generation_config.json", dir) >= (int)sizeof path)
        return ltd_fail(err, LTD_E_INVALID, "%.100s...: path is too long", dir);
    if (model_generation_load(path, vocab, generation ? generation : &unused, err) != 0)
        return -1;
    struct model_tokenizer *tokenizer = model_tokenizer_open(dir, vocab, &why);
    if (has_tokenizer)
        *has_tokenizer = tokenizer != NULL;
    if (!tokenizer && why.code != LTD_E_NOT_FOUND) {
        *err = why;
        return -1;
    }
    model_tokenizer_close(tokenizer);
    return 0;
}

int tool_check(const char *dir, tool_piece_fn piece, void *arg, struct tool_check_result *result,
               struct ltd_err *err)
{
    struct model_checkpoint *ckpt = model_checkpoint_open(dir, err);
    int rc = -1;
    if (ckpt && piece && model_checkpoint_packed(ckpt))
        ltd_fail(err, LTD_E_INVALID,
                 "%s is packed: it has checksums of its own, which verify compares", dir);
    else if (ckpt && tool_check_open_text(ckpt, NULL, NULL, err) == 0)
        rc = run_pass(ckpt, piece, arg, result, err);
    model_checkpoint_close(ckpt);
    return rc;
}
