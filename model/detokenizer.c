/* SPDX-License-Identifier: Apache-2.0 */
/* model/detokenizer.c - see model/detokenizer.h. */
#include "model/detokenizer.h"

#include <string.h>

#include "base/utf8.h"

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Length of the longest beginning of a code point at `s`, of which the next byte is wrong; 1 when
 * already the first byte begins none. */
static size_t bad_bytes(const uint8_t *s, size_t len)
{
    size_t n = 1;
    while (n < len && ltd_utf8_next(s, n, NULL) == LTD_UTF8_INCOMPLETE &&
           ltd_utf8_next(s, n + 1, NULL) == LTD_UTF8_INCOMPLETE)
        n++;
    return n;
}

/* Append what of `s` is complete, broken bytes replaced. Returns the number of bytes taken; what
 * is left, at most three, is the beginning of a code point. */
static size_t put_complete(const uint8_t *s, size_t len, struct ltd_bytes *out)
{
    size_t at = 0;
    while (at < len) {
        int n = ltd_utf8_next(s + at, len - at, NULL);
        if (n == LTD_UTF8_INCOMPLETE)
            break;
        if (n > 0) {
            ltd_bytes_put(out, s + at, (size_t)n);
            at += (size_t)n;
        } else {
            ltd_bytes_put_str(out, replacement);
            at += bad_bytes(s + at, len - at);
        }
    }
    return at;
}

/* Bytes of a token: first finish the held code point, one byte at a time, then the rest at once. */
static void feed(struct model_detok *detok, const uint8_t *bytes, size_t len, struct ltd_bytes *out)
{
    size_t at = 0;
    while (detok->n_held > 0 && at < len) {
        detok->held[detok->n_held++] = bytes[at++];
        size_t taken = put_complete(detok->held, detok->n_held, out);
        detok->n_held -= taken;
        memmove(detok->held, detok->held + taken, detok->n_held);
    }
    at += put_complete(bytes + at, len - at, out);
    if (at < len) {
        memcpy(detok->held, bytes + at, len - at);
        detok->n_held = len - at;
    }
}

static void end_code_point(struct model_detok *detok, struct ltd_bytes *out)
{
    if (detok->n_held > 0)
        ltd_bytes_put_str(out, replacement);
    detok->n_held = 0;
}

void model_detok_init(struct model_detok *detok, const struct model_tokenizer *tok,
                      bool skip_special)
{
    *detok = (struct model_detok){.tok = tok, .skip_special = skip_special};
}

/* Undo a push or flush that ran out of memory. */
static int give_back(struct model_detok *detok, const struct model_detok *before,
                     struct ltd_bytes *out, size_t len_before, struct ltd_err *err)
{
    *detok = *before;
    out->len = len_before;
    out->failed = false;
    return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for text");
}

int model_detok_push(struct model_detok *detok, int32_t id, struct ltd_bytes *out,
                     struct ltd_err *err)
{
    const struct model_detok before = *detok;
    size_t len_before = out->len;
    if (id < 0 || id >= model_tokenizer_vocab_size(detok->tok))
        return ltd_fail(err, LTD_E_INVALID, "found token id %d, expected one in [0, %d)", id,
                        model_tokenizer_vocab_size(detok->tok));
    if (detok->skip_special && model_tokenizer_is_special(detok->tok, id))
        return 0;
    size_t len;
    const uint8_t *bytes = model_tokenizer_bytes(detok->tok, id, &len);
    if (!bytes)
        return 0;
    feed(detok, bytes, len, out);
    if (out->failed)
        return give_back(detok, &before, out, len_before, err);
    return 0;
}

int model_detok_flush(struct model_detok *detok, struct ltd_bytes *out, struct ltd_err *err)
{
    const struct model_detok before = *detok;
    size_t len_before = out->len;
    end_code_point(detok, out);
    if (out->failed)
        return give_back(detok, &before, out, len_before, err);
    return 0;
}

int model_detokenize(const struct model_tokenizer *tok, const int32_t *ids, size_t n,
                     bool skip_special, struct ltd_bytes *out, struct ltd_err *err)
{
    struct model_detok detok;
    size_t len_before = out->len;
    model_detok_init(&detok, tok, skip_special);
    for (size_t i = 0; i < n; i++)
        if (model_detok_push(&detok, ids[i], out, err) != 0) {
            out->len = len_before;
            return ltd_err_context(err, "token %zu of %zu", i, n);
        }
    if (model_detok_flush(&detok, out, err) != 0) {
        out->len = len_before;
        return -1;
    }
    return 0;
}
