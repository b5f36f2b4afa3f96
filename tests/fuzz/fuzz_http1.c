/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_http1.c - requests for pages over HTTP/1.1, as anybody on the network sends them.
 *
 * Input: four bytes of seed for the cuts, then a client's stream.
 * Checked: the answers do not depend on where the stream is cut (the Date field aside); each begins
 * with a status line and ends its head; nothing of a request comes back in an answer; what waits
 * stays within its bound; the first octets are recognised the same however many there are.
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/conn.h"
#include "rpc/http1.h"
#include "tests/fuzz/fuzz.h"

#define TEXT "the page\n"
#define DATE "Date: "

static void make_page(void *arg, struct rpc_page_answer *answer)
{
    (void)arg;
    ltd_bytes_put_str(&answer->body, TEXT);
}

static const struct rpc_page pages[] = {{"/", make_page, NULL, 0}, {"/secret", make_page, NULL, 1}};
static struct rpc_shared shared;
static const struct rpc_peer peer = {.address = "192.0.2.1:9", .host = "192.0.2.1"};

/* The secret page is for whoever brings the token "secret". */
static int authorize(void *arg, const struct rpc_question *question, struct rpc_identity *out,
                     struct ltd_err *err)
{
    (void)arg;
    (void)out;
    FUZZ_CHECK(question->rights == 1 && !question->method, "asked for rights %u", question->rights);
    if (question->bearer && question->bearer_len == 6 && memcmp(question->bearer, "secret", 6) == 0)
        return 0;
    return ltd_fail(err, LTD_E_UNAUTHENTICATED, "no token");
}

/* Seconds may pass between two runs over the same input. */
static void blank_dates(struct ltd_bytes *out)
{
    for (size_t i = 0; i + sizeof DATE + 28 < out->len; i++)
        if (memcmp(out->data + i, DATE, sizeof DATE - 1) == 0)
            memset(out->data + i + sizeof DATE - 1, '.', 29);
}

static void check_answer(const struct ltd_bytes *out, size_t begin)
{
    const char *text = (const char *)out->data + begin;
    size_t len = out->len - begin;
    FUZZ_CHECK(len > 17 && memcmp(text, "HTTP/1.1 ", 9) == 0 && text[9] >= '2' && text[9] <= '5',
               "%zu bytes of an answer", len);
    FUZZ_CHECK(memmem(text, len, "\r\n\r\n", 4), "an answer without an end of its head");
}

/* All answers to a stream that comes whole, or in pieces when there is a seed. */
static enum rpc_http1_next serve(const struct fuzz_input *in, uint32_t *seed, struct ltd_bytes *out)
{
    struct rpc_http1 http1;
    enum rpc_http1_next next = RPC_HTTP1_MORE;
    rpc_http1_init(&http1);
    ltd_bytes_init(out);
    for (size_t at = 0; at < in->len && next != RPC_HTTP1_LAST;) {
        size_t n = seed ? fuzz_piece(seed, in->len - at) : in->len;
        uint8_t *piece = fuzz_copy(in->data + at, n);
        bool is_taken = rpc_http1_put(&http1, piece, n);
        free(piece);
        if (!is_taken)
            break;
        at += n;
        do {
            size_t begin = out->len;
            next = rpc_http1_next(&http1, &shared, &peer, out);
            FUZZ_CHECK(!out->failed && http1.in.len <= RPC_HTTP1_WAITING_BYTES, "%zu bytes wait",
                       http1.in.len);
            if (next != RPC_HTTP1_MORE)
                check_answer(out, begin);
        } while (next == RPC_HTTP1_ANSWERED);
    }
    rpc_http1_fini(&http1);
    blank_dates(out);
    return next;
}

static void check_recognised(const struct fuzz_input *in)
{
    int before = -1;
    for (size_t n = 1; n <= 5 && n <= in->len; n++) {
        int now = rpc_http1_recognise(in->data, n);
        FUZZ_CHECK(before == -1 || now == before, "%zu octets: %d, one fewer: %d", n, now, before);
        FUZZ_CHECK(n < 5 || now != -1, "five octets are not enough");
        before = now;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct fuzz_input in = {data, len};
    struct ltd_bytes whole, cut;
    uint32_t seed = fuzz_u32(&in);
    shared.pages = pages;
    shared.n_pages = sizeof pages / sizeof *pages;
    shared.authorize = authorize;
    if (in.len > RPC_HTTP1_WAITING_BYTES)
        in.len = RPC_HTTP1_WAITING_BYTES; /* in pieces there may be room for more */
    check_recognised(&in);
    enum rpc_http1_next a = serve(&in, NULL, &whole), b = serve(&in, &seed, &cut);
    FUZZ_CHECK(a == b, "whole ends with %d, cut with %d", a, b);
    FUZZ_CHECK(whole.len == cut.len &&
                   (whole.len == 0 || memcmp(whole.data, cut.data, cut.len) == 0),
               "%zu bytes of answers to the whole, %zu to pieces", whole.len, cut.len);
    ltd_bytes_fini(&whole);
    ltd_bytes_fini(&cut);
    return 0;
}
