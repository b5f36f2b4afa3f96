/* SPDX-License-Identifier: Apache-2.0 */
/* model/added_tokens.c - see model/added_tokens.h. */
#include "model/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "model/tokenizer_json.h"

/* ---- loading ---- */

static int by_text(const void *a, const void *b)
{
    const struct model_added_token *left = a, *right = b;
    size_t n = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->text, right->text, n);
    if (order != 0)
        return order;
    return (left->len > right->len) - (left->len < right->len);
}

/* The token's text in the form that is searched for. */
static int copy_text(struct model_added_token *token, const json_t *item,
                     model_normalize_fn normalize, const char *where, struct ltd_err *err)
{
    const json_t *content = json_object_get(item, "content");
    struct ltd_bytes text;
    ltd_bytes_init(&text);
    int rc = 0;
    if (normalize)
        rc = normalize(json_string_value(content), json_string_length(content), &text, err);
    else
        ltd_bytes_put(&text, json_string_value(content), json_string_length(content));
    if (rc == 0 && text.failed)
        rc = ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory", where);
    if (rc == 0 && (text.len == 0 || text.len > MODEL_ADDED_MAX_BYTES))
        rc =
            ltd_fail(err, LTD_E_UNIMPLEMENTED, "%s: found a content of %zu bytes, expected 1 to %d",
                     where, text.len, MODEL_ADDED_MAX_BYTES);
    if (rc != 0) {
        ltd_bytes_fini(&text);
        return -1;
    }
    token->text = (char *)text.data;
    token->len = text.len;
    return 0;
}

static int load_token(struct model_added_tokens *added, const json_t *item,
                      model_normalize_fn normalize, const char *where, struct ltd_err *err)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    struct model_added_token token = {
        .id = (int32_t)json_integer_value(json_object_get(item, "id")),
    };
    if (model_json_keys(item, keys, where, err) != 0 ||
        ltd_json_get_bool(item, "special", &token.special, where, err) < 0)
        return -1;
    bool normalized = !token.special;
    if (ltd_json_get_bool(item, "normalized", &normalized, where, err) < 0 ||
        ltd_json_get_bool(item, "single_word", &token.single_word, where, err) < 0 ||
        ltd_json_get_bool(item, "lstrip", &token.lstrip, where, err) < 0 ||
        ltd_json_get_bool(item, "rstrip", &token.rstrip, where, err) < 0 ||
        copy_text(&token, item, normalized ? normalize : NULL, where, err) != 0)
        return -1;
    struct model_added_set *set = normalized ? &added->normalized : &added->raw;
    set->tokens[set->n++] = token;
    return 0;
}

/* Sort a set and note where each first byte begins. */
static int index_set(struct model_added_set *set, const char *path, struct ltd_err *err)
{
    if (set->n > 0)
        qsort(set->tokens, set->n, sizeof *set->tokens, by_text);
    for (size_t i = 0; i < set->n; i++) {
        if (i > 0 && by_text(&set->tokens[i - 1], &set->tokens[i]) == 0)
            return ltd_fail(err, LTD_E_INVALID,
                            "%s: added_tokens: found \"%s\" with ids %d and %d, "
                            "expected texts that differ after normalization",
                            path, model_excerpt(set->tokens[i].text, set->tokens[i].len).text,
                            set->tokens[i - 1].id, set->tokens[i].id);
        set->first[(uint8_t)set->tokens[i].text[0] + 1]++;
    }
    for (size_t b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
    return 0;
}

/* One word character of the Rust regex crate, which the public library asks. */
static int load_words(struct model_added_tokens *added, const char *path, struct ltd_err *err)
{
    static const char word[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}]";
    char where[MODEL_WHERE_BYTES];
    model_where(where, "%s: added_tokens: single_word", path);
    added->words = model_pattern_compile(word, sizeof word - 1, false, where, err);
    added->raw.words = added->words;
    added->normalized.words = added->words;
    return added->words ? 0 : -1;
}

static int load_all(struct model_added_tokens *added, const json_t *value,
                    model_normalize_fn normalize, const char *path, struct ltd_err *err)
{
    size_t n = json_array_size(value);
    added->raw.tokens = calloc(n + 1, sizeof *added->raw.tokens);
    added->normalized.tokens = calloc(n + 1, sizeof *added->normalized.tokens);
    if (!added->raw.tokens || !added->normalized.tokens)
        return ltd_fail(err, LTD_E_EXHAUSTED, "%s: no memory for %zu added tokens", path, n);
    size_t i;
    const json_t *item;
    json_array_foreach((json_t *)value, i, item)
    {
        char where[MODEL_WHERE_BYTES];
        model_where(where, "%s: added_tokens[%zu]", path, i);
        if (load_token(added, item, normalize, where, err) != 0)
            return -1;
    }
    if (index_set(&added->raw, path, err) != 0 || index_set(&added->normalized, path, err) != 0)
        return -1;
    return load_words(added, path, err);
}

int model_added_tokens_load(struct model_added_tokens *added, const json_t *value,
                            model_normalize_fn normalize, const char *path, struct ltd_err *err)
{
    memset(added, 0, sizeof *added);
    if (load_all(added, value, normalize, path, err) != 0) {
        model_added_tokens_fini(added);
        return -1;
    }
    return 0;
}

static void free_set(struct model_added_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        free(set->tokens[i].text);
    free(set->tokens);
}

void model_added_tokens_fini(struct model_added_tokens *added)
{
    free_set(&added->raw);
    free_set(&added->normalized);
    model_pattern_free(added->words);
    memset(added, 0, sizeof *added);
}

/* ---- searching ---- */

/* First token of [begin, end) whose byte at `depth` is not below `byte`; all of them are longer
 * than `depth` and equal before it. */
static size_t lower_bound(const struct model_added_set *set, size_t begin, size_t end, size_t depth,
                          unsigned byte)
{
    while (begin < end) {
        size_t mid = begin + (end - begin) / 2;
        if ((uint8_t)set->tokens[mid].text[depth] < byte)
            begin = mid + 1;
        else
            end = mid;
    }
    return begin;
}

/* The longest token at a place, NULL when none is there. */
static const struct model_added_token *longest(const struct model_added_set *set, const char *text,
                                               size_t len)
{
    const struct model_added_token *best = NULL;
    size_t begin = set->first[(uint8_t)text[0]];
    size_t end = set->first[(uint8_t)text[0] + 1];
    for (size_t depth = 1; begin < end; depth++) {
        if (set->tokens[begin].len == depth) /* the shortest of a range sorts first */
            best = &set->tokens[begin++];
        if (depth == len)
            break;
        begin = lower_bound(set, begin, end, depth, (uint8_t)text[depth]);
        end = lower_bound(set, begin, end, depth, (uint8_t)text[depth] + 1u);
    }
    return best;
}

/* The code point that ends before `at`. */
static size_t previous(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && ((uint8_t)text[at] & 0xC0) == 0x80);
    return at;
}

/* White_Space of the Unicode standard. */
static bool is_space(uint32_t code)
{
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

static uint32_t code_at(const struct model_added_scan *scan, size_t at, size_t *end)
{
    uint32_t code = 0;
    int n = ltd_utf8_next((const uint8_t *)scan->text + at, scan->len - at, &code);
    *end = at + (n > 0 ? (size_t)n : 1);
    return code;
}

static size_t strip_left(const struct model_added_scan *scan, size_t begin)
{
    while (begin > scan->taken) {
        size_t end, at = previous(scan->text, begin);
        if (!is_space(code_at(scan, at, &end)))
            break;
        begin = at;
    }
    return begin;
}

static size_t strip_right(const struct model_added_scan *scan, size_t end)
{
    size_t next;
    while (end < scan->len && is_space(code_at(scan, end, &next)))
        end = next;
    return end;
}

/* 1 when no word character touches [begin, end), 0 when one does, -1 with a message. */
static int stands_alone(const struct model_added_scan *scan, size_t begin, size_t end,
                        struct ltd_err *err)
{
    const struct model_pattern *words = scan->set->words;
    size_t unused;
    int before = begin == 0 ? 0
                            : model_pattern_match_at(words, scan->match, scan->text, scan->len,
                                                     previous(scan->text, begin), &unused, err);
    if (before != 0)
        return before < 0 ? -1 : 0;
    int behind = end == scan->len ? 0
                                  : model_pattern_match_at(words, scan->match, scan->text,
                                                           scan->len, end, &unused, err);
    return behind < 0 ? -1 : !behind;
}

/* Does a token that was found count? A token passed over hides others inside it, as in the public
 * library. */
static int counts(const struct model_added_scan *scan, const struct model_added_token *token,
                  size_t begin, struct ltd_err *err)
{
    if (token->special && !scan->parse_special)
        return 0;
    return token->single_word ? stands_alone(scan, begin, begin + token->len, err) : 1;
}

static void take(struct model_added_scan *scan, const struct model_added_token *token, size_t begin,
                 struct model_added_hit *hit)
{
    size_t end = begin + token->len;
    size_t from = token->lstrip ? strip_left(scan, begin) : begin;
    size_t to = token->rstrip ? strip_right(scan, end) : end;
    hit->id = token->id;
    hit->text_begin = scan->taken;
    hit->text_end = from > scan->taken ? from : scan->taken;
    if (to > scan->taken)
        scan->taken = to;
    scan->at = end;
}

int model_added_scan_next(struct model_added_scan *scan, struct model_added_hit *hit,
                          struct ltd_err *err)
{
    while (scan->at < scan->len) {
        size_t begin = scan->at;
        const struct model_added_token *token =
            longest(scan->set, scan->text + begin, scan->len - begin);
        if (!token) {
            scan->at++;
            continue;
        }
        int valid = counts(scan, token, begin, err);
        if (valid < 0)
            return -1;
        if (valid) {
            take(scan, token, begin, hit);
            return 1;
        }
        scan->at = begin + token->len;
    }
    if (scan->taken >= scan->len)
        return 0;
    *hit = (struct model_added_hit){.text_begin = scan->taken, .text_end = scan->len, .id = -1};
    scan->taken = scan->len;
    return 1;
}
