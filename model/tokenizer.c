/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/tokenizer.c - opens a tokenizer.json part by part, and runs a text through the parts.
 *
 * The parts each read their own piece of the file; this file knows the order, and refuses what none
 * of them reads.
 */
#include "model/tokenizer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/nfc.h"
#include "model/pretokenizer.h"
#include "model/template.h"
#include "model/tokenizer_json.h"
#include "model/vocab.h"

/* A vocabulary of 65,536 takes some 5 MB; what a file may take once it is parsed is base/json.h's
 * to bound. */
#define FILE_MAX_BYTES ((size_t)32 << 20)

struct model_tokenizer {
    char *path; /* owned */
    struct model_vocab vocab;
    struct model_bpe bpe;
    struct model_added_tokens added;
    struct model_pretokenizer pre;
    struct model_template template;
    model_normalize_fn normalize;                   /* NULL when the file has no normalizer */
    bool has_bpe, has_added, has_pre, has_template; /* what close has to undo */
};

/* ---- a list of ids ---- */

void model_tokens_init(struct model_tokens *tokens)
{
    *tokens = (struct model_tokens){.ids = NULL};
}

void model_tokens_fini(struct model_tokens *tokens)
{
    free(tokens->ids);
    model_tokens_init(tokens);
}

int model_tokens_push(struct model_tokens *tokens, int32_t id, struct ltd_err *err)
{
    if (tokens->n == tokens->capacity) {
        size_t capacity = tokens->capacity ? tokens->capacity * 2 : 64;
        int32_t *grown = realloc(tokens->ids, capacity * sizeof *grown);
        if (!grown)
            return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for %zu token ids", capacity);
        tokens->ids = grown;
        tokens->capacity = capacity;
    }
    tokens->ids[tokens->n++] = id;
    return 0;
}

static int push_all(struct model_tokens *out, const struct model_tokens *more, struct ltd_err *err)
{
    for (size_t i = 0; i < more->n; i++)
        if (model_tokens_push(out, more->ids[i], err) != 0)
            return -1;
    return 0;
}

/* ---- open ---- */

/* The file's path, owned; NULL with LTD_E_NOT_FOUND only when there is no such file. */
static char *find_file(const char *dir_or_path, struct ltd_err *err)
{
    struct stat st;
    bool is_dir = stat(dir_or_path, &st) == 0 && S_ISDIR(st.st_mode);
    char *path = NULL;
    if (asprintf(&path, "%s%s", dir_or_path, is_dir ? "/tokenizer.json" : "") < 0)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a path");
    if (!ltd_file_is_absent(path))
        return path;
    ltd_fail(err, LTD_E_NOT_FOUND, "open %s: no such file", path);
    free(path);
    return NULL;
}

/* An object's key is absent, null, or has exactly this value. */
static int require_bool(const json_t *object, const char *key, bool expected, const char *where,
                        struct ltd_err *err)
{
    bool value = expected;
    if (ltd_json_get_bool(object, key, &value, where, err) < 0)
        return -1;
    if (value != expected)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s.%s: found %s, expected %s", where, key,
                        value ? "true" : "false", expected ? "true" : "false");
    return 0;
}

/* Files of the first days have no model.type; vocab and merges say what they are. */
static int check_model(const json_t *model, const char *path, struct ltd_err *err)
{
    static const char *const keys[] = {"type",
                                       "dropout",
                                       "unk_token",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "fuse_unk",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "vocab",
                                       "merges",
                                       NULL};
    char where[MODEL_WHERE_BYTES];
    const char *type = "BPE";
    model_where(where, "%s: model", path);
    if (!json_is_object(model))
        return model_json_invalid(model, "an object", where, err);
    if (ltd_json_get_string(model, "type", &type, where, err) < 0)
        return -1;
    if (strcmp(type, "BPE") != 0)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s.type: found %s, expected BPE", where,
                        model_excerpt(type, strlen(type)).text);
    if (model_json_keys(model, keys, where, err) != 0 ||
        model_json_off(model, "dropout", where, err) != 0 ||
        model_json_off(model, "unk_token", where, err) != 0 ||
        model_json_off(model, "continuing_subword_prefix", where, err) != 0 ||
        model_json_off(model, "end_of_word_suffix", where, err) != 0)
        return -1;
    return require_bool(model, "byte_fallback", false, where, err);
}

static int load_normalizer(struct model_tokenizer *tok, const json_t *value, struct ltd_err *err)
{
    static const char *const keys[] = {"type", NULL};
    char where[MODEL_WHERE_BYTES];
    const char *type = NULL;
    model_where(where, "%s: normalizer", tok->path);
    if (!value || json_is_null(value))
        return 0;
    if (model_json_type(value, &type, where, err) != 0)
        return -1;
    if (strcmp(type, "NFC") != 0)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s: found type %s, expected null or NFC", where,
                        model_excerpt(type, strlen(type)).text);
    tok->normalize = model_nfc;
    return model_json_keys(value, keys, where, err);
}

/* ByteLevel, or a Sequence of it with Fuse, which changes nothing behind or before it. */
static int check_decoder(const json_t *value, bool in_sequence, bool *found, const char *where,
                         struct ltd_err *err)
{
    const char *type = NULL;
    char item[MODEL_WHERE_BYTES];
    if (!value || json_is_null(value))
        return model_json_unsupported(value, "a decoder of type ByteLevel", where, err);
    if (model_json_type(value, &type, where, err) != 0)
        return -1;
    const json_t *list = json_object_get(value, "decoders");
    if (strcmp(type, "Sequence") == 0 && !in_sequence && json_is_array(list)) {
        for (size_t i = 0; i < json_array_size(list); i++) {
            model_where(item, "%s.decoders[%zu]", where, i);
            if (check_decoder(json_array_get(list, i), true, found, item, err) != 0)
                return -1;
        }
        return *found ? 0 : model_json_unsupported(list, "ByteLevel among them", where, err);
    }
    if (strcmp(type, "ByteLevel") == 0 && !*found) {
        *found = true;
        return 0;
    }
    if (in_sequence && strcmp(type, "Fuse") == 0)
        return 0;
    return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s: found type %s, expected ByteLevel, once", where,
                    model_excerpt(type, strlen(type)).text);
}

static int check_file(const struct model_tokenizer *tok, const json_t *root, struct ltd_err *err)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    char where[MODEL_WHERE_BYTES];
    const char *version = "1.0";
    bool found = false;
    if (model_json_keys(root, keys, tok->path, err) != 0 ||
        ltd_json_get_string(root, "version", &version, tok->path, err) < 0)
        return -1;
    if (strcmp(version, "1.0") != 0)
        return ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s: version: found \"%s\", expected \"1.0\"",
                        tok->path, model_excerpt(version, strlen(version)).text);
    model_where(where, "%s: decoder", tok->path);
    return check_decoder(json_object_get(root, "decoder"), false, &found, where, err);
}

static int load_parts(struct model_tokenizer *tok, const json_t *root, int32_t vocab_size,
                      struct ltd_err *err)
{
    const json_t *model = json_object_get(root, "model");
    const json_t *added = json_object_get(root, "added_tokens");
    if (check_file(tok, root, err) != 0 || check_model(model, tok->path, err) != 0 ||
        load_normalizer(tok, json_object_get(root, "normalizer"), err) != 0 ||
        model_vocab_load(&tok->vocab, json_object_get(model, "vocab"), added, vocab_size, tok->path,
                         err) != 0)
        return -1;
    tok->has_bpe = model_bpe_load(&tok->bpe, &tok->vocab, model, tok->path, err) == 0;
    if (!tok->has_bpe)
        return -1;
    tok->has_added =
        model_added_tokens_load(&tok->added, added, tok->normalize, tok->path, err) == 0;
    if (!tok->has_added)
        return -1;
    tok->has_pre = model_pretokenizer_load(&tok->pre, json_object_get(root, "pre_tokenizer"),
                                           tok->path, err) == 0;
    if (!tok->has_pre)
        return -1;
    tok->has_template = model_template_load(&tok->template, json_object_get(root, "post_processor"),
                                            &tok->vocab, tok->path, err) == 0;
    return tok->has_template ? 0 : -1;
}

struct model_tokenizer *model_tokenizer_open(const char *dir_or_path, int32_t vocab_size,
                                             struct ltd_err *err)
{
    if (vocab_size <= 0)
        return ltd_fail_null(err, LTD_E_INVALID,
                             "tokenizer %s: found a vocabulary of %d, expected "
                             "at least 1",
                             dir_or_path, vocab_size);
    struct model_tokenizer *tok = calloc(1, sizeof *tok);
    if (!tok)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "no memory for a tokenizer");
    json_t *root = NULL;
    tok->path = find_file(dir_or_path, err);
    if (tok->path) {
        root = ltd_json_load(tok->path, FILE_MAX_BYTES, err);
        /* It is there, so "not found" can only mean that it may not be read. */
        if (!root && err && err->code == LTD_E_NOT_FOUND)
            err->code = LTD_E_UNAVAILABLE;
    }
    if (!root || load_parts(tok, root, vocab_size, err) != 0) {
        model_tokenizer_close(tok);
        tok = NULL;
    }
    json_decref(root);
    return tok;
}

void model_tokenizer_close(struct model_tokenizer *tok)
{
    if (!tok)
        return;
    int saved = errno;
    if (tok->has_template)
        model_template_fini(&tok->template);
    if (tok->has_pre)
        model_pretokenizer_fini(&tok->pre);
    if (tok->has_added)
        model_added_tokens_fini(&tok->added);
    if (tok->has_bpe)
        model_bpe_fini(&tok->bpe);
    model_vocab_fini(&tok->vocab);
    free(tok->path);
    free(tok);
    errno = saved;
}

/* ---- encode ---- */

/* One call at work. */
struct encoding {
    const struct model_tokenizer *tok;
    bool parse_special;
    struct model_tokens *out;
    struct model_bpe_scratch scratch;
    struct model_pretokenizer_run run;
    struct ltd_bytes normal; /* a section in normal form */
};

static int take_piece(void *arg, const char *piece, size_t len, struct ltd_err *err)
{
    struct encoding *e = arg;
    return model_bpe_encode(&e->tok->bpe, &e->scratch, (const uint8_t *)piece, len, e->out, err);
}

/* What is done with text that no added token of a set matches. */
typedef int (*section_fn)(struct encoding *e, const char *text, size_t len, struct ltd_err *err);

static int encode_plain(struct encoding *e, const char *text, size_t len, struct ltd_err *err)
{
    return model_pretokenizer_cut(&e->tok->pre, &e->run, text, len, err);
}

/* Push the added tokens of a set that stand in `text`, and give the text between to `next`. */
static int encode_around(struct encoding *e, const struct model_added_set *set, section_fn next,
                         const char *text, size_t len, struct ltd_err *err)
{
    struct model_added_scan scan = {
        .set = set,
        .text = text,
        .len = len,
        .parse_special = e->parse_special,
        .match = &e->run.match,
    };
    struct model_added_hit hit;
    int found;
    while ((found = model_added_scan_next(&scan, &hit, err)) > 0) {
        if (hit.text_begin < hit.text_end &&
            next(e, text + hit.text_begin, hit.text_end - hit.text_begin, err) != 0)
            return -1;
        if (hit.id >= 0 && model_tokens_push(e->out, hit.id, err) != 0)
            return -1;
    }
    return found;
}

/* A section without tokens of the first kind: normalise it, then look for those of the second. */
static int encode_section(struct encoding *e, const char *text, size_t len, struct ltd_err *err)
{
    if (e->tok->normalize) {
        ltd_bytes_clear(&e->normal);
        if (e->tok->normalize(text, len, &e->normal, err) != 0)
            return -1;
        text = (const char *)e->normal.data;
        len = e->normal.len;
    }
    return encode_around(e, &e->tok->added.normalized, encode_plain, text, len, err);
}

static int check_text(const char *text, size_t len, struct ltd_err *err)
{
    if (len > MODEL_ENCODE_MAX_BYTES)
        return ltd_fail(err, LTD_E_EXHAUSTED, "a text of %zu bytes, expected at most %zu", len,
                        MODEL_ENCODE_MAX_BYTES);
    size_t good = len ? ltd_utf8_valid_prefix(text, len) : 0;
    if (good < len)
        return ltd_fail(err, LTD_E_INVALID,
                        "the text is no UTF-8: found byte 0x%02x at offset %zu "
                        "of %zu, expected a code point",
                        (uint8_t)text[good], good, len);
    return 0;
}

static int encode_text(struct encoding *e, const char *text, size_t len, struct ltd_err *err)
{
    if (len == 0)
        return 0;
    if (model_pretokenizer_run_init(&e->run, len, take_piece, e, err) != 0)
        return -1;
    model_bpe_scratch_init(&e->scratch);
    ltd_bytes_init(&e->normal);
    int rc = encode_around(e, &e->tok->added.raw, encode_section, text, len, err);
    ltd_bytes_fini(&e->normal);
    model_bpe_scratch_fini(&e->scratch);
    model_pretokenizer_run_fini(&e->run);
    return rc;
}

int model_tokenizer_encode(const struct model_tokenizer *tok, const char *text, size_t len,
                           unsigned flags, struct model_tokens *out, struct ltd_err *err)
{
    struct encoding e = {
        .tok = tok,
        .parse_special = (flags & MODEL_ENCODE_PARSE_SPECIAL) != 0,
        .out = out,
    };
    size_t n_before = out->n;
    if (check_text(text, len, err) != 0)
        return -1;
    if (((flags & MODEL_ENCODE_HEAD) && push_all(out, &tok->template.head, err) != 0) ||
        encode_text(&e, text, len, err) != 0 ||
        ((flags & MODEL_ENCODE_TAIL) && push_all(out, &tok->template.tail, err) != 0)) {
        out->n = n_before;
        return -1;
    }
    return 0;
}

/* ---- lookups ---- */

const char *model_tokenizer_path(const struct model_tokenizer *tok)
{
    return tok->path;
}

int32_t model_tokenizer_vocab_size(const struct model_tokenizer *tok)
{
    return tok->vocab.size;
}

int32_t model_tokenizer_n_tokens(const struct model_tokenizer *tok)
{
    return tok->vocab.n_tokens;
}

const char *model_tokenizer_text(const struct model_tokenizer *tok, int32_t id)
{
    const struct model_vocab_token *token = model_vocab_at(&tok->vocab, id);
    return token ? token->text : NULL;
}

const uint8_t *model_tokenizer_bytes(const struct model_tokenizer *tok, int32_t id, size_t *len)
{
    const struct model_vocab_token *token = model_vocab_at(&tok->vocab, id);
    *len = token ? token->n_bytes : 0;
    return token ? token->bytes : NULL;
}

int32_t model_tokenizer_find(const struct model_tokenizer *tok, const char *text)
{
    return model_vocab_find(&tok->vocab, text, strlen(text));
}

bool model_tokenizer_is_special(const struct model_tokenizer *tok, int32_t id)
{
    const struct model_vocab_token *token = model_vocab_at(&tok->vocab, id);
    return token && (token->flags & MODEL_TOKEN_SPECIAL);
}

bool model_tokenizer_is_added(const struct model_tokenizer *tok, int32_t id)
{
    const struct model_vocab_token *token = model_vocab_at(&tok->vocab, id);
    return token && (token->flags & MODEL_TOKEN_ADDED);
}
