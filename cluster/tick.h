/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cluster/tick.h - the tick stream: everything a rank group is ever told, and all it answers.
 *
 * One tick is one recurrent step for a batch of positions. The engine fills a `struct clus_tick`,
 * it is encoded once, every rank decodes the same bytes and does the same; rank 0 answers with the
 * latents that were asked for. Bytes are little endian and versioned; a decoder trusts no count
 * before it has compared it with the limits of the group and with the bytes that are left.
 *
 *     table of rows (one per running position, on every rank)        sequences
 *     row 0: latent[n], injected e[n], position, next step           seq 0: page ids 7, 2, 9
 *     row 1: ...                                                     seq 1: page ids 4
 *     a start fills a row; an entry names a row and advances it      a page assignment appends one
 *
 * Pages outlive sequences: closing a sequence lets go of its pages, and what they hold stays until
 * they are released. A page whose 16 positions are all there may be shared by any number of
 * sequences; nobody writes to it any more.
 *
 * Order inside a tick, whatever the order of the fields: sequences are closed, pages are released,
 * pages are assigned, rows are started, then all entries take their step together. So a seq, a page
 * or a row that is given up in a tick can be used again in the same tick. docs/tick-stream.md has
 * the transcript.
 *
 * Nothing here knows MPI or the model's arithmetic. Threads: plain values, one owner at a time.
 */
#ifndef LATENTD_CLUSTER_TICK_H
#define LATENTD_CLUSTER_TICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* Changes whenever a byte of the stream changes its meaning; ranks of two versions refuse each
 * other in the handshake. */
#define CLUS_STREAM_VERSION 3

/* What the group was started with; every rank has the same values (the handshake compares). */
struct clus_limits {
    int32_t n_embd;         /* width n of a latent and of e */
    int32_t block_size;     /* positions of one sequence: 0 <= position < block_size */
    int32_t page_positions; /* positions that one KV page holds */
    int32_t n_rows;         /* running positions at one time */
    int32_t n_seqs;         /* sequences at one time */
    int32_t n_pages;        /* KV pages of the pool */
    int32_t max_batch;      /* entries of one tick, and starts of one tick */
};

/* Refuses limits that are not positive or whose products leave int32_t. */
int clus_limits_check(const struct clus_limits *limits, struct ltd_err *err);

/* Page assignments that one tick can hold: every sequence may get all the pages it can have. That
 * may be more than there are pages, because pages are shared. */
int32_t clus_limits_max_assigned(const struct clus_limits *limits);

/* Sequence `seq` keeps positions [page_idx * page_positions, ...) in page `page_id`. Pages of a
 * sequence are assigned in order (page_idx = how many it has). Without is_shared the page must be
 * empty (new or released) and in no sequence. With is_shared all its positions must have been
 * stepped, at the same page_idx, and all pages before it in this sequence must be shared ones too:
 * its positions count as this sequence's own, and none of them may be entered in it again. */
struct clus_page {
    int32_t seq;
    int32_t page_idx;
    int32_t page_id;
    bool is_shared;
};

enum clus_start_kind {
    CLUS_START_ZERO = 0,  /* s_0 = 0 */
    CLUS_START_SEED = 1,  /* s_0 drawn by every rank itself from (seed, position, element) */
    CLUS_START_GIVEN = 2, /* s_0 travels in the stream */
};

/* A position begins: the row's latent becomes s_0, its e is stored, its next step is 0. */
struct clus_start {
    int32_t row;
    int32_t position;
    enum clus_start_kind kind;
    uint64_t seed;         /* SEED only, else 0 */
    float init_scale;      /* SEED only, else 0; finite, >= 0 */
    const float *latent;   /* [n_embd] GIVEN only, else NULL; borrowed */
    const float *injected; /* [n_embd] e, the prelude's output; borrowed */
};

#define CLUS_WANT_LATENT       1u /* the reply holds this entry's latent after the step */
#define CLUS_WANT_DIFF         2u /* the reply holds MODEL_VALUE_DIFF of this step (model/exit.h) */
#define CLUS_WANT_COSINE       4u /* or MODEL_VALUE_COSINE: at most one of the three */
#define CLUS_WANT_ACCELERATION 8u /* or MODEL_VALUE_ACCELERATION */
#define CLUS_WANT_VALUE        14u /* any of them */
#define CLUS_EARLY             16u /* the step is made with the early copy of the recurrent block */

/* One slot of the tick: the position in `row` takes step `step_idx`. A row occurs once per tick,
 * and the entries of one sequence stand in ascending order of position. */
struct clus_entry {
    int32_t row;
    int32_t seq;      /* the same at all steps of a row */
    int32_t position; /* that of the row's start */
    int32_t step_idx; /* the row's next step: 0, 1, 2, ... without a gap */
    uint32_t flags;   /* CLUS_WANT_*, CLUS_EARLY */
};

struct clus_tick {
    uint64_t tick_id;
    const int32_t *closed; /* [n_closed] sequences whose page tables are emptied */
    int32_t n_closed;
    const int32_t *released; /* [n_released] pages, in no sequence, whose contents are forgotten */
    int32_t n_released;
    const struct clus_page *pages; /* [n_pages] */
    int32_t n_pages;
    const struct clus_start *starts; /* [n_starts], <= max_batch */
    int32_t n_starts;
    const struct clus_entry *entries; /* [n_entries], <= max_batch; may be 0 */
    int32_t n_entries;
};

/* What rank 0 answers to one tick. */
struct clus_reply {
    uint64_t tick_id;
    int32_t n_latents;    /* entries with WANT_LATENT; 0 when err is set */
    const float *latents; /* [n_latents][n_embd] in the order of the tick's entries; borrowed */
    int32_t n_values;     /* entries with a WANT_VALUE flag; 0 when err is set */
    const double *values; /* [n_values] in the order of the tick's entries; borrowed */
    struct ltd_err err;   /* LTD_OK, or why the whole tick was refused: nothing of it was applied */
};

enum clus_msg_kind {
    CLUS_MSG_TICK = 1,
    CLUS_MSG_STOP = 2, /* the last message of a stream */
    CLUS_MSG_REPLY = 3,
    CLUS_MSG_REFUSAL = 4,
};

/*
 * Memory that decoded messages live in; grows to what the limits allow and is then used again and
 * again, so that a steady stream allocates nothing. A decoded value borrows from it until the next
 * decode into the same buffer.
 */
struct clus_tick_buf {
    int32_t *closed;
    int32_t *released;
    struct clus_page *pages;
    struct clus_start *starts;
    struct clus_entry *entries;
    float
        *vectors; /* [n_vectors][n_embd] e and given latents of the starts, or a reply's latents */
    double *values;
    /* in elements */
    size_t closed_room, released_room, pages_room, starts_room, entries_room, vectors_room;
    size_t values_room;
};

void clus_tick_buf_init(struct clus_tick_buf *buf);
void clus_tick_buf_fini(struct clus_tick_buf *buf);

/* The encoders append one whole message to `out`.
 * Errors: LTD_E_EXHAUSTED when a count is above its limit or memory is out. */
int clus_tick_encode(const struct clus_tick *tick, const struct clus_limits *limits,
                     struct ltd_bytes *out, struct ltd_err *err);
int clus_reply_encode(const struct clus_reply *reply, const struct clus_limits *limits,
                      struct ltd_bytes *out, struct ltd_err *err);
int clus_stop_encode(struct ltd_bytes *out, struct ltd_err *err);

/* The kind of an encoded message; LTD_E_PEER when it is none, or of another version. */
int clus_msg_kind(const void *data, size_t len, enum clus_msg_kind *kind, struct ltd_err *err);

/*
 * The decoders take exactly one whole message and never read, allocate or believe more than the
 * limits allow. They check the form (counts, kinds, flags, no bytes left over, no negative index);
 * whether an index means something is the executor's to say.
 * Errors: LTD_E_PEER with a sentence that names the field; LTD_E_EXHAUSTED when memory is out.
 */
int clus_tick_decode(const void *data, size_t len, const struct clus_limits *limits,
                     struct clus_tick_buf *buf, struct clus_tick *tick, struct ltd_err *err);
int clus_reply_decode(const void *data, size_t len, const struct clus_limits *limits,
                      struct clus_tick_buf *buf, struct clus_reply *reply, struct ltd_err *err);

#endif
