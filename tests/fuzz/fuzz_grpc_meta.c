/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_grpc_meta.c - values of headers and trailers, as any peer may send them.
 *
 * Input: one header value; for the encoders it is a message or a number.
 * Checked: a timeout that is accepted has the form of one, and one that we write is read back as
 * the same time, rounded up by less than a unit; percent-encoding is printable and decodes to what
 * went in; decoding never grows and may be done in place; base64 gives back what went in, with
 * padding and without; a token lies inside its header; fields of a request are found again and
 * counted; the retry hint that we write is read back exactly, and any value can be asked for one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/authorize.h"
#include "rpc/base64.h"
#include "rpc/fields.h"
#include "rpc/grpc_meta.h"
#include "rpc/status_details.h"
#include "tests/fuzz/fuzz.h"

static void try_timeout(const uint8_t *value, size_t len)
{
    uint64_t ns = 77, again;
    char text[RPC_TIMEOUT_BYTES];
    if (rpc_meta_timeout_parse(value, len, &ns) != 0) {
        FUZZ_CHECK(ns == 77, "a refused timeout was written");
        return;
    }
    FUZZ_CHECK(len >= 2 && len <= 9 && strchr("HMSmun", value[len - 1]), "a timeout of %zu bytes",
               len);
    uint64_t ms = ns / LTD_NS_PER_MS;
    size_t n = rpc_meta_timeout_format(ms, text);
    FUZZ_CHECK(n < sizeof text && rpc_meta_timeout_parse((uint8_t *)text, n, &again) == 0,
               "%.*s is not read back", (int)n, text);
    FUZZ_CHECK(again / LTD_NS_PER_MS >= ms || again == UINT64_MAX || text[n - 1] == 'H',
               "%.*s is earlier than asked for", (int)n, text);
}

static void try_percent(const uint8_t *value, size_t len)
{
    char *coded = malloc(RPC_PERCENT_BYTES(len) + 1), *plain = malloc(len + 1);
    FUZZ_CHECK(coded && plain, "no memory");
    size_t n_coded = rpc_meta_percent_encode(value, len, coded);
    FUZZ_CHECK(n_coded <= RPC_PERCENT_BYTES(len), "%zu bytes for %zu", n_coded, len);
    for (size_t i = 0; i < n_coded; i++)
        FUZZ_CHECK(coded[i] >= 0x20 && coded[i] <= 0x7E, "byte 0x%02x", (unsigned char)coded[i]);
    size_t n = rpc_meta_percent_decode((uint8_t *)coded, n_coded, coded);
    FUZZ_CHECK(n == len && (n == 0 || memcmp(coded, value, len) == 0), "%zu bytes became %zu", len,
               n);
    n = rpc_meta_percent_decode(value, len, plain);
    FUZZ_CHECK(n <= len, "%zu bytes from %zu", n, len);
    free(coded);
    free(plain);
}

/* What any peer may send: whatever it is, the answers are of their forms. */
static void ask_details(const uint8_t *value, size_t len)
{
    char reason[RPC_REASON_BYTES];
    memset(reason, 'x', sizeof reason);
    (void)rpc_status_details_retry_ms(value, len);
    bool has_reason = rpc_status_details_reason(value, len, reason);
    FUZZ_CHECK(memchr(reason, 0, sizeof reason) && has_reason == (reason[0] != 0),
               "a reason without an end");
    for (const char *c = reason; *c; c++)
        FUZZ_CHECK(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", *c), "reason %s", reason);
}

/* What we write: an error of ours, with a message from the input. */
static void try_details(struct fuzz_input in)
{
    struct ltd_err err = {0};
    char reason[RPC_REASON_BYTES], *text = NULL;
    ask_details(in.data, in.len);
    uint32_t retry_ms = fuzz_u32(&in);
    uint8_t knobs = fuzz_u8(&in);
    ltd_fail(&err, knobs & 1 ? LTD_E_INVALID : LTD_E_EXHAUSTED, "%.*s", (int)in.len,
             (const char *)in.data);
    FUZZ_CHECK(rpc_status_details_field(err.msg) <= strlen(err.msg), "a field beyond the message");
    err.retry_after_ms = retry_ms;
    err.reason = knobs & 2 ? "QUEUE_FULL" : NULL;
    size_t len = rpc_status_details_encode(&err, &text);
    FUZZ_CHECK(text || (retry_ms == 0 && !err.reason), "nothing is said of a reason or a hint");
    if (text) {
        uint32_t found = rpc_status_details_retry_ms((uint8_t *)text, len);
        /* The last second before the end of the scale reads as its end. */
        FUZZ_CHECK(found == retry_ms || retry_ms / 1000 >= UINT32_MAX / 1000,
                   "%u ms written, %u read", retry_ms, found);
        FUZZ_CHECK(rpc_status_details_reason((uint8_t *)text, len, reason) == !!err.reason,
                   "the reason is lost or invented");
        ask_details((uint8_t *)text, len);
    }
    free(text);
}

static void try_base64(const uint8_t *value, size_t len)
{
    size_t n_coded = rpc_base64_bytes(len);
    char *coded = malloc(n_coded + 3);
    uint8_t *plain = malloc(n_coded + len + 3);
    FUZZ_CHECK(coded && plain, "no memory");
    rpc_base64_encode(value, len, coded);
    FUZZ_CHECK(rpc_base64_decode((uint8_t *)coded, n_coded, plain) == (ptrdiff_t)len &&
                   (len == 0 || memcmp(plain, value, len) == 0),
               "%zu octets do not come back", len);
    while (n_coded % 4)
        coded[n_coded++] = '=';
    FUZZ_CHECK(rpc_base64_decode((uint8_t *)coded, n_coded, plain) == (ptrdiff_t)len,
               "%zu octets do not come back with padding", len);
    ptrdiff_t n = rpc_base64_decode(value, len, plain);
    FUZZ_CHECK(n >= -1 && n <= (ptrdiff_t)len, "%td octets of %zu characters", n, len);
    free(coded);
    free(plain);
}

static void try_bearer(const uint8_t *value, size_t len)
{
    size_t token_len = 0;
    const char *token = rpc_bearer_token((const char *)value, len, &token_len);
    FUZZ_CHECK(!token || (token >= (const char *)value + 7 &&
                          token + token_len <= (const char *)value + len),
               "a token of %zu in a header of %zu", token_len, len);
    struct rpc_bearer bearer = {0};
    rpc_bearer_take(&bearer, value, len);
    FUZZ_CHECK(bearer.seen && !bearer.broken && !bearer.text == !token, "the header is not seen");
    FUZZ_CHECK(!token || (bearer.len == token_len && memcmp(bearer.text, token, token_len) == 0),
               "another token is kept");
    rpc_bearer_wipe(&bearer);
}

/* A name, then its value, told apart by the first newline; both twice. */
static void try_fields(const uint8_t *value, size_t len)
{
    const uint8_t *end = memchr(value, '\n', len);
    size_t name_len = end ? (size_t)(end - value) : len;
    size_t begin = end ? name_len + 1 : len;
    struct rpc_fields fields = {0};
    bool is_custom = rpc_field_is_custom(value, name_len), is_bad = false;
    rpc_field_is_ascii(value + begin, len - begin);
    for (int i = 0; i < 2; i++) {
        int rc = rpc_fields_receive(&fields, value, name_len, value + begin, len - begin, &is_bad);
        const struct rpc_field *field = rpc_fields_find(&fields, value, name_len);
        FUZZ_CHECK(rc == 0 ? field != NULL : is_bad, "received: %d, found: %d", rc, field != NULL);
        FUZZ_CHECK(rc == 0 || rpc_field_is_binary(value, name_len), "text is refused as base64");
        FUZZ_CHECK(!field || field->value_len <= (size_t)(i + 1) * (len - begin) + 1,
                   "a value of %zu from one of %zu", field->value_len, len - begin);
    }
    FUZZ_CHECK(!is_custom || name_len > 0, "a name without characters");
    FUZZ_CHECK(fields.n <= 1, "%zu fields of one name", fields.n);
    rpc_fields_fini(&fields);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy = fuzz_copy(data, len);
    try_timeout(copy, len);
    try_percent(copy, len);
    try_details((struct fuzz_input){copy, len});
    try_base64(copy, len);
    try_bearer(copy, len);
    try_fields(copy, len);
    int status = rpc_meta_status_parse(copy, len);
    FUZZ_CHECK(status >= -1 && status <= 999, "status %d", status);
    if (rpc_meta_is_grpc_content(copy, len))
        FUZZ_CHECK(len >= 16, "a content type of %zu bytes", len);
    free(copy);
    return 0;
}
