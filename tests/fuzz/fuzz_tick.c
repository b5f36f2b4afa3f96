/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_tick.c - messages of the tick stream as a rank or a coordinator reads them.
 *
 * Input: one encoded message.
 * Checked: what a decoder accepts the encoder turns back into the same bytes; counts stay within
 * the limits of the group and so does the decoder's memory; a refusal has a sentence; a message
 * that no decoder knows as its kind is accepted by none.
 */
#include <stdlib.h>
#include <string.h>

#include "cluster/tick.h"
#include "tests/fuzz/fuzz.h"

/* Small, so that counts at and above their limits are within reach. */
static const struct clus_limits limits = {.n_embd = 2,
                                          .block_size = 64,
                                          .page_positions = 16,
                                          .n_rows = 8,
                                          .n_seqs = 4,
                                          .n_pages = 12,
                                          .max_batch = 6};

static void check_same(const struct ltd_bytes *again, const uint8_t *data, size_t len)
{
    FUZZ_CHECK(again->len == len && memcmp(again->data, data, len) == 0,
               "%zu bytes accepted, %zu others written", len, again->len);
}

static void check_memory(const struct clus_tick_buf *buf)
{
    size_t batch = (size_t)limits.max_batch;
    FUZZ_CHECK(
        buf->closed_room <= (size_t)limits.n_seqs && buf->released_room <= (size_t)limits.n_pages &&
            buf->pages_room <= (size_t)clus_limits_max_assigned(&limits) &&
            buf->starts_room <= batch && buf->entries_room <= batch &&
            buf->vectors_room <= 2 * batch * (size_t)limits.n_embd && buf->values_room <= batch,
        "room beyond the limits: %zu entries, %zu vectors", buf->entries_room, buf->vectors_room);
}

static bool try_tick(const uint8_t *data, size_t len, struct clus_tick_buf *buf)
{
    struct ltd_err err = {0};
    struct clus_tick tick;
    struct ltd_bytes again;
    if (clus_tick_decode(data, len, &limits, buf, &tick, &err) != 0) {
        fuzz_check_refusal(&err);
        return false;
    }
    ltd_bytes_init(&again);
    FUZZ_CHECK(clus_tick_encode(&tick, &limits, &again, &err) == 0, "%s", err.msg);
    check_same(&again, data, len);
    ltd_bytes_fini(&again);
    return true;
}

static bool try_reply(const uint8_t *data, size_t len, struct clus_tick_buf *buf)
{
    struct ltd_err err = {0};
    struct clus_reply reply;
    struct ltd_bytes again;
    if (clus_reply_decode(data, len, &limits, buf, &reply, &err) != 0) {
        fuzz_check_refusal(&err);
        return false;
    }
    ltd_bytes_init(&again);
    FUZZ_CHECK(clus_reply_encode(&reply, &limits, &again, &err) == 0, "%s", err.msg);
    check_same(&again, data, len);
    ltd_bytes_fini(&again);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct ltd_err err = {0};
    struct clus_tick_buf buf;
    enum clus_msg_kind kind;
    uint8_t *copy = fuzz_copy(data, len);
    bool has_kind = clus_msg_kind(copy, len, &kind, &err) == 0;
    clus_tick_buf_init(&buf);
    bool is_tick = try_tick(copy, len, &buf), is_reply = try_reply(copy, len, &buf);
    FUZZ_CHECK(!is_tick || (has_kind && kind == CLUS_MSG_TICK), "kind of a tick: %d", kind);
    FUZZ_CHECK(!is_reply || (has_kind && kind != CLUS_MSG_TICK && kind != CLUS_MSG_STOP),
               "kind of a reply: %d", kind);
    check_memory(&buf);
    clus_tick_buf_fini(&buf);
    free(copy);
    return 0;
}
