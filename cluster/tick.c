/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/tick.c - encode and decode the messages of the tick stream; see cluster/tick.h.
 *
 * Invariant: what a decoder accepts, the encoder turns back into the same bytes. Every field has
 * one spelling (unused fields are zero, nothing is left over), so a recorded stream can be compared
 * with memcmp. Each list is read by one function; each checks its count before it reserves memory.
 */
#include "cluster/tick.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define MSG_MAGIC 0x5354444Cu /* "LDTS" as bytes: latentd tick stream */

#define HEADER_BYTES 12 /* magic, version, kind */
#define PAGE_BYTES   16
#define START_BYTES  24 /* without the vectors */
#define ENTRY_BYTES  20

/* Counts above this are mistakes, and products of any two limits stay far below SIZE_MAX. */
#define LIMIT_MAX (1 << 26)

int clus_limits_check(const struct clus_limits *limits, struct ltd_err *err)
{
    const struct {
        const char *name;
        int32_t value, max;
    } rows[] = {
        {"n_embd", limits->n_embd, 1 << 20},
        {"block_size", limits->block_size, LIMIT_MAX},
        {"page_positions", limits->page_positions, 1 << 16},
        {"n_rows", limits->n_rows, 1 << 20},
        {"n_seqs", limits->n_seqs, 1 << 20},
        {"n_pages", limits->n_pages, LIMIT_MAX},
        {"max_batch", limits->max_batch, 1 << 16},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].value < 1 || rows[i].value > rows[i].max)
            return ltd_fail(err, LTD_E_INVALID, "limit %s: %d, expected 1 to %d", rows[i].name,
                            rows[i].value, rows[i].max);
    return 0;
}

int32_t clus_limits_max_assigned(const struct clus_limits *limits)
{
    int64_t per_seq =
        ((int64_t)limits->block_size + limits->page_positions - 1) / limits->page_positions;
    int64_t all = per_seq * limits->n_seqs;
    return all < INT32_MAX ? (int32_t)all : INT32_MAX;
}

/* ---- memory ------------------------------------------------------------------------------- */

void clus_tick_buf_init(struct clus_tick_buf *buf)
{
    *buf = (struct clus_tick_buf){0};
}

void clus_tick_buf_fini(struct clus_tick_buf *buf)
{
    free(buf->closed);
    free(buf->released);
    free(buf->pages);
    free(buf->starts);
    free(buf->entries);
    free(buf->vectors);
    free(buf->values);
    clus_tick_buf_init(buf);
}

/* Room for `n` elements; contents need not be kept. Returns the block or NULL with *room = 0. */
static void *make_room(void *block, size_t *room, size_t n, size_t element, struct ltd_err *err)
{
    if (n <= *room && block)
        return block;
    size_t bytes;
    free(block);
    *room = 0;
    block = ltd_size_mul(n ? n : 1, element, &bytes) ? malloc(bytes) : NULL;
    if (!block)
        return ltd_fail_null(err, LTD_E_EXHAUSTED, "tick: no memory for %zu items of %zu bytes", n,
                             element);
    *room = n;
    return block;
}

/* ---- encoding ----------------------------------------------------------------------------- */

static void put_i32(struct ltd_bytes *out, int32_t v)
{
    ltd_bytes_put_u32(out, (uint32_t)v);
}

static void put_f64(struct ltd_bytes *out, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    ltd_bytes_put_u64(out, bits);
}

static void put_header(struct ltd_bytes *out, enum clus_msg_kind kind)
{
    ltd_bytes_put_u32(out, MSG_MAGIC);
    ltd_bytes_put_u32(out, CLUS_STREAM_VERSION);
    ltd_bytes_put_u32(out, (uint32_t)kind);
}

static void put_page(struct ltd_bytes *out, const struct clus_page *page)
{
    put_i32(out, page->seq);
    put_i32(out, page->page_idx);
    put_i32(out, page->page_id);
    ltd_bytes_put_u32(out, page->is_shared);
}

static void put_start(struct ltd_bytes *out, const struct clus_start *start, size_t n_embd)
{
    bool is_seed = start->kind == CLUS_START_SEED;
    put_i32(out, start->row);
    put_i32(out, start->position);
    ltd_bytes_put_u32(out, (uint32_t)start->kind);
    ltd_bytes_put_u64(out, is_seed ? start->seed : 0);
    ltd_bytes_put_f32(out, is_seed ? start->init_scale : 0.0f);
    ltd_bytes_put_f32s(out, start->injected, n_embd);
    if (start->kind == CLUS_START_GIVEN)
        ltd_bytes_put_f32s(out, start->latent, n_embd);
}

static void put_entry(struct ltd_bytes *out, const struct clus_entry *entry)
{
    put_i32(out, entry->row);
    put_i32(out, entry->seq);
    put_i32(out, entry->position);
    put_i32(out, entry->step_idx);
    ltd_bytes_put_u32(out, entry->flags);
}

static int check_count(const char *what, int32_t count, int32_t max, struct ltd_err *err)
{
    if (count < 0 || count > max)
        return ltd_fail(err, LTD_E_EXHAUSTED, "tick: %d %s, at most %d fit", count, what, max);
    return 0;
}

static int finish(const struct ltd_bytes *out, const char *what, struct ltd_err *err)
{
    if (out->failed)
        return ltd_fail(err, LTD_E_EXHAUSTED, "no memory to encode a %s", what);
    return 0;
}

int clus_tick_encode(const struct clus_tick *tick, const struct clus_limits *limits,
                     struct ltd_bytes *out, struct ltd_err *err)
{
    if (check_count("closed sequences", tick->n_closed, limits->n_seqs, err) ||
        check_count("released pages", tick->n_released, limits->n_pages, err) ||
        check_count("page assignments", tick->n_pages, clus_limits_max_assigned(limits), err) ||
        check_count("starts", tick->n_starts, limits->max_batch, err) ||
        check_count("entries", tick->n_entries, limits->max_batch, err))
        return -1;
    put_header(out, CLUS_MSG_TICK);
    ltd_bytes_put_u64(out, tick->tick_id);
    put_i32(out, tick->n_closed);
    put_i32(out, tick->n_released);
    put_i32(out, tick->n_pages);
    put_i32(out, tick->n_starts);
    put_i32(out, tick->n_entries);
    for (int32_t i = 0; i < tick->n_closed; i++)
        put_i32(out, tick->closed[i]);
    for (int32_t i = 0; i < tick->n_released; i++)
        put_i32(out, tick->released[i]);
    for (int32_t i = 0; i < tick->n_pages; i++)
        put_page(out, &tick->pages[i]);
    for (int32_t i = 0; i < tick->n_starts; i++)
        put_start(out, &tick->starts[i], (size_t)limits->n_embd);
    for (int32_t i = 0; i < tick->n_entries; i++)
        put_entry(out, &tick->entries[i]);
    return finish(out, "tick", err);
}

static void put_refusal(struct ltd_bytes *out, const struct clus_reply *reply)
{
    size_t len = strlen(reply->err.msg);
    put_header(out, CLUS_MSG_REFUSAL);
    ltd_bytes_put_u64(out, reply->tick_id);
    ltd_bytes_put_u32(out, (uint32_t)reply->err.code);
    ltd_bytes_put_u32(out, (uint32_t)len);
    ltd_bytes_put(out, reply->err.msg, len);
}

int clus_reply_encode(const struct clus_reply *reply, const struct clus_limits *limits,
                      struct ltd_bytes *out, struct ltd_err *err)
{
    if (reply->err.code != LTD_OK) {
        put_refusal(out, reply);
        return finish(out, "refusal", err);
    }
    if (check_count("latents", reply->n_latents, limits->max_batch, err) ||
        check_count("values", reply->n_values, limits->max_batch, err))
        return -1;
    put_header(out, CLUS_MSG_REPLY);
    ltd_bytes_put_u64(out, reply->tick_id);
    put_i32(out, reply->n_latents);
    put_i32(out, reply->n_values);
    ltd_bytes_put_f32s(out, reply->latents, (size_t)reply->n_latents * (size_t)limits->n_embd);
    for (int32_t i = 0; i < reply->n_values; i++)
        put_f64(out, reply->values[i]);
    return finish(out, "reply", err);
}

int clus_stop_encode(struct ltd_bytes *out, struct ltd_err *err)
{
    put_header(out, CLUS_MSG_STOP);
    return finish(out, "stop message", err);
}

/* ---- decoding ----------------------------------------------------------------------------- */

static int read_header(struct ltd_cursor *c, enum clus_msg_kind *kind, struct ltd_err *err)
{
    size_t len = c->left;
    uint32_t magic = ltd_cursor_u32(c);
    uint32_t version = ltd_cursor_u32(c);
    uint32_t number = ltd_cursor_u32(c);
    if (c->bad)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message of %zu bytes, expected at least %d",
                        len, HEADER_BYTES);
    if (magic != MSG_MAGIC)
        return ltd_fail(err, LTD_E_PEER, "tick stream: magic %08x, expected %08x", magic,
                        MSG_MAGIC);
    if (version != CLUS_STREAM_VERSION)
        return ltd_fail(err, LTD_E_PEER, "tick stream: version %u, expected %d", version,
                        CLUS_STREAM_VERSION);
    if (number < CLUS_MSG_TICK || number > CLUS_MSG_REFUSAL)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message kind %u, expected %d to %d", number,
                        CLUS_MSG_TICK, CLUS_MSG_REFUSAL);
    *kind = (enum clus_msg_kind)number;
    return 0;
}

int clus_msg_kind(const void *data, size_t len, enum clus_msg_kind *kind, struct ltd_err *err)
{
    struct ltd_cursor c = ltd_cursor_init(data, len);
    return read_header(&c, kind, err);
}

/* A count: at most `max`, and its items of at least `item_bytes` must be there. */
static int read_count(struct ltd_cursor *c, const char *what, int32_t max, size_t item_bytes,
                      int32_t *count, struct ltd_err *err)
{
    uint32_t n = ltd_cursor_u32(c);
    if (n > (uint32_t)max)
        return ltd_fail(err, LTD_E_PEER, "tick stream: %u %s, at most %d allowed", n, what, max);
    if (c->bad || n > c->left / item_bytes)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message ends inside %s", what);
    *count = (int32_t)n;
    return 0;
}

/* An index: never negative once it is an int32_t. The executor compares it with its table. */
static int read_index(struct ltd_cursor *c, const char *what, int32_t *out, struct ltd_err *err)
{
    uint32_t v = ltd_cursor_u32(c);
    if (v > INT32_MAX)
        return ltd_fail(err, LTD_E_PEER, "tick stream: %s %u, at most %d possible", what, v,
                        INT32_MAX);
    *out = (int32_t)v;
    return 0;
}

/* A list of `n` indices into *list, which has room for *room and grows. */
static int read_indices(struct ltd_cursor *c, const char *what, int32_t n, int32_t **list,
                        size_t *room, struct ltd_err *err)
{
    *list = make_room(*list, room, (size_t)n, sizeof **list, err);
    if (!*list)
        return -1;
    for (int32_t i = 0; i < n; i++)
        if (read_index(c, what, &(*list)[i], err))
            return -1;
    return 0;
}

static int read_page(struct ltd_cursor *c, struct clus_page *page, struct ltd_err *err)
{
    if (read_index(c, "seq of a page", &page->seq, err) ||
        read_index(c, "page_idx", &page->page_idx, err) ||
        read_index(c, "page_id", &page->page_id, err))
        return -1;
    uint32_t is_shared = ltd_cursor_u32(c);
    if (is_shared > 1)
        return ltd_fail(err, LTD_E_PEER, "tick stream: is_shared %u of a page, expected 0 or 1",
                        is_shared);
    page->is_shared = is_shared != 0;
    return 0;
}

static int read_pages(struct ltd_cursor *c, struct clus_tick_buf *buf, int32_t n,
                      struct ltd_err *err)
{
    buf->pages = make_room(buf->pages, &buf->pages_room, (size_t)n, sizeof *buf->pages, err);
    if (!buf->pages)
        return -1;
    for (int32_t i = 0; i < n; i++)
        if (read_page(c, &buf->pages[i], err))
            return -1;
    return 0;
}

static int read_start_kind(struct ltd_cursor *c, struct clus_start *start, struct ltd_err *err)
{
    uint32_t kind = ltd_cursor_u32(c);
    start->seed = ltd_cursor_u64(c);
    start->init_scale = ltd_cursor_f32(c);
    if (kind > CLUS_START_GIVEN)
        return ltd_fail(err, LTD_E_PEER, "tick stream: start kind %u, expected 0 to %d", kind,
                        CLUS_START_GIVEN);
    start->kind = (enum clus_start_kind)kind;
    if (start->kind == CLUS_START_SEED) {
        if (!isfinite(start->init_scale) || start->init_scale < 0.0f)
            return ltd_fail(err, LTD_E_PEER, "tick stream: init_scale %g, expected >= 0",
                            (double)start->init_scale);
    } else if (start->seed != 0 || start->init_scale != 0.0f || signbit(start->init_scale)) {
        return ltd_fail(err, LTD_E_PEER, "tick stream: a start of kind %u has a seed", kind);
    }
    return 0;
}

/* `vectors` holds two vectors per start: e, then the given latent. */
static int read_start(struct ltd_cursor *c, struct clus_start *start, float *vectors, size_t n_embd,
                      struct ltd_err *err)
{
    if (read_index(c, "row of a start", &start->row, err) ||
        read_index(c, "position of a start", &start->position, err) ||
        read_start_kind(c, start, err))
        return -1;
    ltd_cursor_f32s(c, vectors, n_embd);
    start->injected = vectors;
    start->latent = NULL;
    if (start->kind == CLUS_START_GIVEN) {
        ltd_cursor_f32s(c, vectors + n_embd, n_embd);
        start->latent = vectors + n_embd;
    }
    if (c->bad)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message ends inside a start");
    return 0;
}

static int read_starts(struct ltd_cursor *c, struct clus_tick_buf *buf, int32_t n, size_t n_embd,
                       struct ltd_err *err)
{
    size_t pair = 2 * n_embd;
    buf->starts = make_room(buf->starts, &buf->starts_room, (size_t)n, sizeof *buf->starts, err);
    if (!buf->starts)
        return -1;
    buf->vectors =
        make_room(buf->vectors, &buf->vectors_room, (size_t)n * pair, sizeof *buf->vectors, err);
    if (!buf->vectors)
        return -1;
    for (int32_t i = 0; i < n; i++)
        if (read_start(c, &buf->starts[i], buf->vectors + (size_t)i * pair, n_embd, err))
            return -1;
    return 0;
}

static int read_entry(struct ltd_cursor *c, struct clus_entry *entry, struct ltd_err *err)
{
    const uint32_t known = CLUS_WANT_LATENT | CLUS_WANT_VALUE | CLUS_EARLY;
    if (read_index(c, "row", &entry->row, err) || read_index(c, "seq", &entry->seq, err) ||
        read_index(c, "position", &entry->position, err) ||
        read_index(c, "step_idx", &entry->step_idx, err))
        return -1;
    entry->flags = ltd_cursor_u32(c);
    if (entry->flags & ~known)
        return ltd_fail(err, LTD_E_PEER, "tick stream: entry flags %#x, known are %#x",
                        entry->flags, known);
    uint32_t value = entry->flags & CLUS_WANT_VALUE;
    if (value & (value - 1))
        return ltd_fail(err, LTD_E_PEER, "tick stream: entry flags %#x ask for more than one value",
                        entry->flags);
    return 0;
}

static int read_entries(struct ltd_cursor *c, struct clus_tick_buf *buf, int32_t n,
                        struct ltd_err *err)
{
    buf->entries =
        make_room(buf->entries, &buf->entries_room, (size_t)n, sizeof *buf->entries, err);
    if (!buf->entries)
        return -1;
    for (int32_t i = 0; i < n; i++)
        if (read_entry(c, &buf->entries[i], err))
            return -1;
    return 0;
}

/* Nothing was read past the end, and nothing is left over. */
static int read_end(const struct ltd_cursor *c, const char *what, struct ltd_err *err)
{
    if (c->bad)
        return ltd_fail(err, LTD_E_PEER, "tick stream: %s ends too early", what);
    if (c->left > 0)
        return ltd_fail(err, LTD_E_PEER, "tick stream: %zu bytes after the end of a %s", c->left,
                        what);
    return 0;
}

static int expect_kind(struct ltd_cursor *c, enum clus_msg_kind want, const char *what,
                       struct ltd_err *err)
{
    enum clus_msg_kind kind;
    if (read_header(c, &kind, err))
        return -1;
    if (kind != want)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message kind %d, expected a %s", (int)kind,
                        what);
    return 0;
}

int clus_tick_decode(const void *data, size_t len, const struct clus_limits *limits,
                     struct clus_tick_buf *buf, struct clus_tick *tick, struct ltd_err *err)
{
    struct ltd_cursor c = ltd_cursor_init(data, len);
    size_t n_embd = (size_t)limits->n_embd;
    int32_t n_closed = 0, n_released = 0, n_pages = 0, n_starts = 0, n_entries = 0;
    if (expect_kind(&c, CLUS_MSG_TICK, "tick", err))
        return -1;
    uint64_t tick_id = ltd_cursor_u64(&c);
    if (read_count(&c, "closed sequences", limits->n_seqs, 4, &n_closed, err) ||
        read_count(&c, "released pages", limits->n_pages, 4, &n_released, err) ||
        read_count(&c, "page assignments", clus_limits_max_assigned(limits), PAGE_BYTES, &n_pages,
                   err) ||
        read_count(&c, "starts", limits->max_batch, START_BYTES + 4 * n_embd, &n_starts, err) ||
        read_count(&c, "entries", limits->max_batch, ENTRY_BYTES, &n_entries, err) ||
        read_indices(&c, "closed seq", n_closed, &buf->closed, &buf->closed_room, err) ||
        read_indices(&c, "released page", n_released, &buf->released, &buf->released_room, err) ||
        read_pages(&c, buf, n_pages, err) || read_starts(&c, buf, n_starts, n_embd, err) ||
        read_entries(&c, buf, n_entries, err) || read_end(&c, "tick", err))
        return -1;
    *tick = (struct clus_tick){
        .tick_id = tick_id,
        .closed = buf->closed,
        .n_closed = n_closed,
        .released = buf->released,
        .n_released = n_released,
        .pages = buf->pages,
        .n_pages = n_pages,
        .starts = buf->starts,
        .n_starts = n_starts,
        .entries = buf->entries,
        .n_entries = n_entries,
    };
    return 0;
}

static int read_refusal(struct ltd_cursor *c, struct clus_reply *reply, struct ltd_err *err)
{
    uint32_t code = ltd_cursor_u32(c);
    uint32_t len = ltd_cursor_u32(c);
    const uint8_t *text = len < LTD_ERR_MSG_BYTES ? ltd_cursor_take(c, len) : NULL;
    if (!text && len > 0)
        return ltd_fail(err, LTD_E_PEER, "tick stream: refusal of %u bytes with %zu left", len,
                        c->left);
    if (code == LTD_OK || code >= LTD_N_CODES || (len > 0 && memchr(text, 0, len)))
        return ltd_fail(err, LTD_E_PEER, "tick stream: a refusal with code %u and no sentence",
                        code);
    reply->err.code = (enum ltd_code)code;
    if (len > 0)
        memcpy(reply->err.msg, text, len);
    reply->err.msg[len] = '\0';
    return read_end(c, "refusal", err);
}

static int read_values(struct ltd_cursor *c, struct clus_tick_buf *buf, int32_t n,
                       struct ltd_err *err)
{
    buf->values = make_room(buf->values, &buf->values_room, (size_t)n, sizeof *buf->values, err);
    if (!buf->values)
        return -1;
    for (int32_t i = 0; i < n; i++) {
        uint64_t bits = ltd_cursor_u64(c);
        memcpy(&buf->values[i], &bits, sizeof bits);
    }
    return 0;
}

static int read_results(struct ltd_cursor *c, const struct clus_limits *limits,
                        struct clus_tick_buf *buf, struct clus_reply *reply, struct ltd_err *err)
{
    size_t n_embd = (size_t)limits->n_embd;
    if (read_count(c, "latents", limits->max_batch, 4 * n_embd, &reply->n_latents, err) ||
        read_count(c, "values", limits->max_batch, 8, &reply->n_values, err))
        return -1;
    size_t n = (size_t)reply->n_latents * n_embd;
    buf->vectors = make_room(buf->vectors, &buf->vectors_room, n, sizeof *buf->vectors, err);
    if (!buf->vectors)
        return -1;
    ltd_cursor_f32s(c, buf->vectors, n);
    if (read_values(c, buf, reply->n_values, err))
        return -1;
    reply->latents = buf->vectors;
    reply->values = buf->values;
    return read_end(c, "reply", err);
}

int clus_reply_decode(const void *data, size_t len, const struct clus_limits *limits,
                      struct clus_tick_buf *buf, struct clus_reply *reply, struct ltd_err *err)
{
    struct ltd_cursor c = ltd_cursor_init(data, len);
    struct clus_reply result = {0};
    enum clus_msg_kind kind;
    if (read_header(&c, &kind, err))
        return -1;
    if (kind != CLUS_MSG_REPLY && kind != CLUS_MSG_REFUSAL)
        return ltd_fail(err, LTD_E_PEER, "tick stream: message kind %d, expected a reply",
                        (int)kind);
    result.tick_id = ltd_cursor_u64(&c);
    int rc = kind == CLUS_MSG_REPLY ? read_results(&c, limits, buf, &result, err)
                                    : read_refusal(&c, &result, err);
    if (rc == 0)
        *reply = result;
    return rc;
}
