/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model/vocab.c - see model/vocab.h.
 *
 * All texts live in one arena whose size is known before the first is copied, so pointers into it
 * stay good. A token needs its text and NUL, and at most as many bytes again when it is decoded
 * from the byte alphabet, in which a character takes at least one byte.
 */
#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/byte_alphabet.h"
#include "model/tokenizer_json.h"

/* Bytes that the texts of both lists can need. */
static size_t arena_bytes(const json_t *model_vocab, const json_t *added)
{
    size_t total = 1;
    const char *text;
    const json_t *item;
    json_object_foreach((json_t *)model_vocab, text, item) total += 2 * strlen(text) + 1;
    size_t i;
    json_array_foreach((json_t *)added, i, item) total +=
        2 * json_string_length(json_object_get(item, "content")) + 1;
    return total;
}

static const char *keep(struct model_vocab *vocab, const char *text, size_t len)
{
    char *copy = vocab->arena + vocab->arena_used;
    memcpy(copy, text, len);
    copy[len] = '\0';
    vocab->arena_used += len + 1;
    return copy;
}

/* The id of an entry, checked; -1 with a message. */
static int32_t read_id(const struct model_vocab *vocab, const json_t *value, const char *where,
                       struct ltd_err *err)
{
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) < vocab->size)
        return (int32_t)json_integer_value(value);
    char found[96];
    return ltd_fail(err, LTD_E_INVALID,
                    "%s: found %s, expected an id in [0, %d), the model's "
                    "vocabulary",
                    where, value ? ltd_json_describe(value, found, sizeof found) : "nothing",
                    vocab->size);
}

/* Give a free id its text. */
static int add_token(struct model_vocab *vocab, const char *text, size_t len, int32_t id,
                     const char *where, struct ltd_err *err)
{
    struct model_vocab_token *token = &vocab->tokens[id];
    if (token->flags)
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: found id %d, which is the id of \"%s\" already, "
                        "expected an id of its own",
                        where, id, model_excerpt(token->text, token->text_len).text);
    token->text = keep(vocab, text, len);
    token->text_len = (uint32_t)len;
    token->bytes = (const uint8_t *)token->text;
    token->n_bytes = token->text_len;
    vocab->n_tokens++;
    model_string_map_add(&vocab->by_text, token->text, len, id);
    return 0;
}

static int load_model_vocab(struct model_vocab *vocab, const json_t *model_vocab, const char *path,
                            struct ltd_err *err)
{
    const char *text;
    const json_t *value;
    json_object_foreach((json_t *)model_vocab, text, value)
    {
        char where[MODEL_WHERE_BYTES];
        model_where(where, "%s: model.vocab \"%s\"", path, model_excerpt(text, strlen(text)).text);
        int32_t id = read_id(vocab, value, where, err);
        if (id < 0 || add_token(vocab, text, strlen(text), id, where, err) != 0)
            return -1;
        vocab->tokens[id].flags = MODEL_TOKEN_MODEL;
    }
    return 0;
}

/* An added token either has a text of its own, or repeats an entry of model.vocab with its id. */
static int load_added_token(struct model_vocab *vocab, const json_t *item, const char *where,
                            struct ltd_err *err)
{
    const json_t *content = json_object_get(item, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        return model_json_invalid(item, "an object with a non-empty string at content", where, err);
    int32_t id = read_id(vocab, json_object_get(item, "id"), where, err);
    bool special = false;
    if (id < 0 || ltd_json_get_bool(item, "special", &special, where, err) < 0)
        return -1;
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    int32_t known = model_vocab_find(vocab, text, len);
    if (known >= 0 && (known != id || (vocab->tokens[id].flags & MODEL_TOKEN_ADDED)))
        return ltd_fail(err, LTD_E_INVALID,
                        "%s: found \"%s\" with id %d, expected it once and with "
                        "the id %d it has before",
                        where, model_excerpt(text, len).text, id, known);
    if (known < 0 && add_token(vocab, text, len, id, where, err) != 0)
        return -1;
    vocab->tokens[id].flags |= MODEL_TOKEN_ADDED | (special ? MODEL_TOKEN_SPECIAL : 0);
    return 0;
}

static int load_added(struct model_vocab *vocab, const json_t *added, const char *path,
                      struct ltd_err *err)
{
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *)added, i, item)
    {
        char where[MODEL_WHERE_BYTES];
        model_where(where, "%s: added_tokens[%zu]", path, i);
        if (load_added_token(vocab, item, where, err) != 0)
            return -1;
    }
    return 0;
}

/* The bytes of every token of model.vocab that is written in the byte alphabet. A text outside it
 * stands for its own UTF-8, as the public libraries decode it; no merge can ever make it. */
static void decode_bytes(struct model_vocab *vocab)
{
    for (int32_t id = 0; id < vocab->size; id++) {
        struct model_vocab_token *token = &vocab->tokens[id];
        if (!(token->flags & MODEL_TOKEN_MODEL) || (token->flags & MODEL_TOKEN_SPECIAL))
            continue;
        uint8_t *bytes = (uint8_t *)vocab->arena + vocab->arena_used;
        ptrdiff_t n = model_byte_decode(token->text, token->text_len, bytes);
        if (n <= 0)
            continue;
        vocab->arena_used += (size_t)n;
        model_string_map_add(&vocab->by_bytes, bytes, (size_t)n, id);
        if (n == 1)
            vocab->byte_ids[bytes[0]] = id;
        if (!(token->flags & MODEL_TOKEN_ADDED)) {
            token->bytes = bytes;
            token->n_bytes = (uint32_t)n;
        }
    }
}

static int allocate(struct model_vocab *vocab, const json_t *model_vocab, const json_t *added,
                    struct ltd_err *err)
{
    size_t n_keys = json_object_size(model_vocab) + json_array_size(added);
    vocab->arena = malloc(arena_bytes(model_vocab, added));
    vocab->tokens = calloc((size_t)vocab->size, sizeof *vocab->tokens);
    if (!vocab->arena || !vocab->tokens)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for a vocabulary of %d", vocab->size);
    if (model_string_map_init(&vocab->by_text, n_keys, err) != 0)
        return -1;
    return model_string_map_init(&vocab->by_bytes, json_object_size(model_vocab), err);
}

int model_vocab_load(struct model_vocab *vocab, const json_t *model_vocab, const json_t *added,
                     int32_t size, const char *path, struct ltd_err *err)
{
    char where[MODEL_WHERE_BYTES];
    memset(vocab, 0, sizeof *vocab);
    memset(vocab->byte_ids, -1, sizeof vocab->byte_ids);
    vocab->size = size;
    model_where(where, "%s: model.vocab", path);
    if (!json_is_object(model_vocab))
        return model_json_invalid(model_vocab, "an object of token texts and ids", where, err);
    model_where(where, "%s: added_tokens", path);
    if (added && !json_is_null(added) && !json_is_array(added))
        return model_json_invalid(added, "an array", where, err);
    if (allocate(vocab, model_vocab, added, err) != 0 ||
        load_model_vocab(vocab, model_vocab, path, err) != 0 ||
        load_added(vocab, added, path, err) != 0) {
        model_vocab_fini(vocab);
        return -1;
    }
    decode_bytes(vocab);
    return 0;
}

void model_vocab_fini(struct model_vocab *vocab)
{
    model_string_map_fini(&vocab->by_text);
    model_string_map_fini(&vocab->by_bytes);
    free(vocab->tokens);
    free(vocab->arena);
    memset(vocab, 0, sizeof *vocab);
}

int32_t model_vocab_find(const struct model_vocab *vocab, const char *text, size_t len)
{
    return model_string_map_find(&vocab->by_text, text, len);
}

const struct model_vocab_token *model_vocab_at(const struct model_vocab *vocab, int32_t id)
{
    if (id < 0 || id >= vocab->size || !vocab->tokens[id].flags)
        return NULL;
    return &vocab->tokens[id];
}
