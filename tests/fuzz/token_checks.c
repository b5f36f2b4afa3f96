/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/token_checks.c - see tests/fuzz/token_checks.h. */
#include "tests/fuzz/token_checks.h"

#include <string.h>

#include "base/utf8.h"
#include "model/detokenizer.h"
#include "tests/fuzz/fuzz.h"

#define ALREADY_THERE 3 /* what stands in a list is not touched */

static bool encode(const struct model_tokenizer *tok, const char *text, size_t len, unsigned flags,
                   struct model_tokens *out)
{
    struct ltd_err err = {0};
    model_tokens_init(out);
    FUZZ_CHECK(model_tokens_push(out, ALREADY_THERE, &err) == 0, "%s", err.msg);
    bool is_good = model_tokenizer_encode(tok, text, len, flags, out, &err) == 0;
    if (!is_good) {
        fuzz_check_refusal(&err);
        FUZZ_CHECK(out->n == 1, "refused, but %zu ids were added", out->n - 1);
    }
    FUZZ_CHECK(out->ids[0] == ALREADY_THERE, "the list's first id is %d", out->ids[0]);
    FUZZ_CHECK(!is_good || ltd_utf8_valid_prefix(text, len) == len, "bytes that are no UTF-8");
    return is_good;
}

static void check_ids(const struct model_tokenizer *tok, const struct model_tokens *a,
                      const struct model_tokens *b)
{
    FUZZ_CHECK(a->n == b->n && memcmp(a->ids, b->ids, a->n * sizeof *a->ids) == 0,
               "one text, two encodings");
    for (size_t i = 1; i < a->n; i++)
        FUZZ_CHECK(a->ids[i] >= 0 && a->ids[i] < model_tokenizer_vocab_size(tok) &&
                       model_tokenizer_text(tok, a->ids[i]),
                   "id %d has no token", a->ids[i]);
}

static void check_decoding(const struct model_tokenizer *tok, const int32_t *ids, size_t n,
                           struct ltd_bytes *whole)
{
    struct ltd_err err = {0};
    struct ltd_bytes pushed;
    struct model_detok detok;
    ltd_bytes_init(&pushed);
    model_detok_init(&detok, tok, false);
    FUZZ_CHECK(model_detokenize(tok, ids, n, false, whole, &err) == 0, "%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        size_t before = pushed.len;
        FUZZ_CHECK(model_detok_push(&detok, ids[i], &pushed, &err) == 0, "%s", err.msg);
        size_t more = pushed.len - before;
        FUZZ_CHECK(more == 0 || ltd_utf8_valid_prefix(pushed.data + before, more) == more,
                   "a hand-out of %zu bytes is no UTF-8", more);
    }
    FUZZ_CHECK(model_detok_flush(&detok, &pushed, &err) == 0, "%s", err.msg);
    FUZZ_CHECK(pushed.len == whole->len &&
                   (pushed.len == 0 || memcmp(pushed.data, whole->data, pushed.len) == 0),
               "%zu bytes at once, %zu one by one", whole->len, pushed.len);
    ltd_bytes_fini(&pushed);
}

bool fuzz_check_text(const struct model_tokenizer *tok, const char *text, size_t len,
                     unsigned flags, struct ltd_bytes *text_out)
{
    struct model_tokens a, b;
    struct ltd_bytes decoded;
    ltd_bytes_init(&decoded);
    bool is_good = encode(tok, text, len, flags, &a);
    FUZZ_CHECK(encode(tok, text, len, flags, &b) == is_good, "one text, two verdicts");
    check_ids(tok, &a, &b);
    if (is_good)
        check_decoding(tok, a.ids + 1, a.n - 1, text_out ? text_out : &decoded);
    model_tokens_fini(&a);
    model_tokens_fini(&b);
    ltd_bytes_fini(&decoded);
    return is_good;
}
