/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/textout.c - see daemon/textout.h. Stop strings are few and short, so the search is plain. */
#include "daemon/textout.h"

#include <string.h>

void textout_init(struct textout *out, const struct job_spec *spec,
                  const struct model_tokenizer *tokenizer)
{
    *out = (struct textout){.spec = spec, .has_tokenizer = tokenizer != NULL};
    ltd_bytes_init(&out->held);
    if (tokenizer)
        model_detok_init(&out->detok, tokenizer, true);
}

void textout_fini(struct textout *out)
{
    ltd_bytes_fini(&out->held);
}

/* Length of the longest stop string that ends at `end` of the held text; 0 when none does. */
static size_t stop_ending_at(const struct textout *out, size_t end)
{
    size_t longest = 0;
    for (int32_t i = 0; i < out->spec->n_stop; i++) {
        const struct spec_stop *stop = &out->spec->stop[i];
        if (stop->len <= end && stop->len > longest &&
            memcmp(out->held.data + end - stop->len, stop->text, stop->len) == 0)
            longest = stop->len;
    }
    return longest;
}

/* How many bytes at the end of the held text could be the beginning of a stop string. */
static size_t undecided(const struct textout *out)
{
    size_t most = 0;
    for (int32_t i = 0; i < out->spec->n_stop; i++) {
        const struct spec_stop *stop = &out->spec->stop[i];
        size_t n = stop->len - 1 < out->held.len ? stop->len - 1 : out->held.len;
        for (; n > most; n--)
            if (memcmp(out->held.data + out->held.len - n, stop->text, n) == 0)
                most = n;
    }
    return most;
}

/* Move the first `n` held bytes to `text`. */
static int hand_out(struct textout *out, size_t n, struct ltd_bytes *text, struct ltd_err *err)
{
    ltd_bytes_put(text, out->held.data, n);
    if (text->failed || out->held.failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory for the text of a job");
    if (n > 0)
        memmove(out->held.data, out->held.data + n, out->held.len - n);
    out->held.len -= n;
    return 0;
}

/* Look for a complete stop string among the bytes that came after `old_len`; hand out the rest. */
static int settle(struct textout *out, size_t old_len, struct ltd_bytes *text, struct ltd_err *err)
{
    for (size_t end = old_len + 1; end <= out->held.len; end++) {
        size_t len = stop_ending_at(out, end);
        if (len == 0)
            continue;
        out->stopped = true;
        int rc = hand_out(out, end - len, text, err);
        ltd_bytes_clear(&out->held);
        return rc;
    }
    return hand_out(out, out->held.len - undecided(out), text, err);
}

int textout_push(struct textout *out, int32_t id, struct ltd_bytes *text, struct ltd_err *err)
{
    if (!out->has_tokenizer || out->stopped)
        return 0;
    size_t old_len = out->held.len;
    if (model_detok_push(&out->detok, id, &out->held, err) != 0)
        return -1;
    return settle(out, old_len, text, err);
}

int textout_flush(struct textout *out, struct ltd_bytes *text, struct ltd_err *err)
{
    if (!out->has_tokenizer || out->stopped)
        return 0;
    size_t old_len = out->held.len;
    if (model_detok_flush(&out->detok, &out->held, err) != 0)
        return -1;
    if (settle(out, old_len, text, err) != 0)
        return -1;
    return hand_out(out, out->held.len, text, err);
}
